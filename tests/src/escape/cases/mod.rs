//! The catalogue: every case, one family a file. To add a case, add an entry to a family's list; its
//! place in the whole list is its number, which gives it a port and a mark of its own.

use std::net::SocketAddr;

use super::ALLOWED_PORT;
use super::case::Case;
use crate::harness::network::{GOOD_V4, at};

mod beside;
mod control;
mod families;
mod life;
mod link;
mod names;
mod options;
mod outside;
pub mod place;
mod raw;
mod tcp;
mod udp;
mod uring;

/// Every case, in the order of running: what makes noise for others comes last.
pub fn all() -> Vec<Case> {
    [
        tcp::CASES,
        udp::CASES,
        uring::CASES,
        raw::CASES,
        options::CASES,
        link::CASES,
        families::CASES,
        names::CASES,
        place::CASES,
        beside::CASES,
        outside::CASES,
        life::CASES,
        control::CASES,
        life::NOISE,
    ]
    .concat()
}

/// Where the job may go.
fn good_v4() -> SocketAddr {
    at(GOOD_V4, ALLOWED_PORT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_are_file_names() {
        let cases = all();
        let ids: BTreeSet<&str> = cases.iter().map(|case| case.id).collect();
        assert_eq!(ids.len(), cases.len());
        for id in ids {
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            assert!(id.bytes().all(plain), "{id}");
        }
    }

    #[test]
    fn techniques_are_sentences_and_in_the_catalogue() {
        for case in all() {
            assert!(case.technique.ends_with('.'), "{}", case.id);
            assert!(!case.catalogue.is_empty(), "{}", case.id);
        }
    }
}
