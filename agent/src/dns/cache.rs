//! Answers that are still good, of one job. Pure: the time is a parameter.
//!
//! One per job: what one job has asked cannot be seen by another from how fast an answer comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable as _;

/// Answers kept.
const ANSWERS: usize = 1024;

/// 4 MiB: bytes of all answers kept, about.
const BYTES: usize = 4 << 20;

/// 256 KiB: an answer that takes more is not kept.
const ANSWER_BYTES: usize = 256 << 10;

/// What a record takes besides what it says, about.
const RECORD_BYTES: usize = 160;

/// Longest that an answer is kept, whatever its TTL: a day (RFC 8767 § 4 advises a week at most).
const LONGEST: u32 = 86_400;

/// Longest that a "no" is kept: an hour (RFC 2308 § 5 advises one to three).
const LONGEST_NO: u32 = 3600;

/// What upstream said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Resolved {
    /// `NOERROR` or `NXDOMAIN`.
    pub code: ResponseCode,
    /// Answer section.
    pub answers: Vec<Record>,
    /// Of a negative answer: the zone's SOA.
    pub authorities: Vec<Record>,
}

impl Resolved {
    /// Seconds for which it is good; `None` if nothing says so.
    fn ttl(&self) -> Option<u32> {
        let shortest = self.answers.iter().map(|record| record.ttl).min();
        let soa = self
            .authorities
            .iter()
            .find_map(|record| match &record.data {
                RData::SOA(soa) => Some(record.ttl.min(soa.minimum).min(LONGEST_NO)),
                _ => None,
            });
        let ttl = match (shortest, soa) {
            (Some(answers), Some(soa)) => answers.min(soa),
            (Some(answers), None) => answers,
            (None, soa) => soa?,
        };
        Some(ttl.min(LONGEST))
    }

    fn bytes(&self) -> usize {
        let records = self.answers.iter().chain(&self.authorities);
        let of = |record: &Record| record.to_bytes().map_or(ANSWER_BYTES, |bytes| bytes.len());
        records
            .map(|record| of(record).saturating_add(RECORD_BYTES))
            .fold(RECORD_BYTES, usize::saturating_add)
    }

    /// The same, this many seconds later.
    fn later(&self, seconds: u32) -> Self {
        let mut later = self.clone();
        for record in later.answers.iter_mut().chain(&mut later.authorities) {
            record.ttl = record.ttl.saturating_sub(seconds);
        }
        later
    }
}

/// A name in canonical form, and a record type.
pub(super) type Key = (String, RecordType);

/// Answers by what was asked.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: BTreeMap<Key, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    resolved: Arc<Resolved>,
    since: Duration,
    until: Duration,
    bytes: usize,
}

impl Cache {
    /// The answer to a question, with the TTLs it has now.
    pub(super) fn get(&self, key: &Key, now: Duration) -> Option<Resolved> {
        let entry = self.entries.get(key).filter(|entry| now < entry.until)?;
        let age = now.saturating_sub(entry.since).as_secs();
        Some(entry.resolved.later(u32::try_from(age).unwrap_or(u32::MAX)))
    }

    /// Keeps an answer for its TTL.
    pub(super) fn put(&mut self, key: Key, resolved: Arc<Resolved>, now: Duration) {
        self.remove(&key);
        let (ttl, bytes) = (resolved.ttl().unwrap_or(0), resolved.bytes());
        if ttl == 0 || bytes > ANSWER_BYTES {
            return;
        }
        while self.entries.len() >= ANSWERS || self.bytes.saturating_add(bytes) > BYTES {
            // Those that ran out have the earliest end and go first.
            let first = self.entries.iter().min_by_key(|(_, entry)| entry.until);
            let Some(key) = first.map(|(key, _)| key.clone()) else {
                break;
            };
            self.remove(&key);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        let until = now.saturating_add(Duration::from_secs(ttl.into()));
        self.entries.insert(
            key,
            Entry {
                resolved,
                since: now,
                until,
                bytes,
            },
        );
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;
    use hickory_proto::rr::rdata::{A, SOA, TXT};
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn name() -> Name {
        Name::from_ascii("a.example.").unwrap()
    }

    fn key(number: usize) -> Key {
        (format!("{number}.example"), RecordType::A)
    }

    fn address(ttl: u32) -> Record {
        Record::from_rdata(name(), ttl, RData::A(A::new(192, 0, 2, 1)))
    }

    fn soa(ttl: u32, minimum: u32) -> Record {
        let soa = SOA::new(name(), name(), 1, 1, 1, 1, minimum);
        Record::from_rdata(name(), ttl, RData::SOA(soa))
    }

    fn answer(answers: Vec<Record>, authorities: Vec<Record>) -> Arc<Resolved> {
        Arc::new(Resolved {
            code: ResponseCode::NoError,
            answers,
            authorities,
        })
    }

    #[test]
    fn an_answer_is_kept_as_long_as_its_shortest_ttl_which_runs_down() {
        let mut cache = Cache::default();
        let both = answer(vec![address(10), address(300)], vec![]);
        cache.put(key(1), both, 5 * SECOND);
        let later = cache.get(&key(1), 9 * SECOND).unwrap();
        assert_eq!([later.answers[0].ttl, later.answers[1].ttl], [6, 296]);
        assert!(cache.get(&key(1), 14 * SECOND).is_some());
        assert!(cache.get(&key(1), 15 * SECOND).is_none());
        assert!(cache.get(&key(2), 9 * SECOND).is_none());
    }

    #[test]
    fn a_no_is_kept_as_long_as_its_soa_says() {
        for (record, kept) in [
            (soa(90, 20), Some(20)),
            (soa(20, 90), Some(20)),
            (soa(100_000, 100_000), Some(LONGEST_NO)),
            (soa(0, 90), None),
        ] {
            let mut cache = Cache::default();
            cache.put(key(1), answer(vec![], vec![record]), SECOND);
            let last = kept.map(|seconds| seconds * SECOND);
            assert_eq!(cache.get(&key(1), SECOND).is_some(), last.is_some());
            assert!(last.is_none_or(|last| cache.get(&key(1), last).is_some()));
            assert!(
                cache
                    .get(&key(1), last.unwrap_or_default() + SECOND)
                    .is_none()
            );
        }
        let mut cache = Cache::default();
        cache.put(key(1), answer(vec![], vec![]), SECOND);
        assert!(
            cache.get(&key(1), SECOND).is_none(),
            "nothing says how long"
        );
    }

    #[test]
    fn an_answer_without_a_ttl_replaces_the_one_before_and_is_not_kept() {
        let mut cache = Cache::default();
        cache.put(key(1), answer(vec![address(60)], vec![]), SECOND);
        cache.put(key(1), answer(vec![address(0)], vec![]), SECOND);
        assert!(cache.get(&key(1), SECOND).is_none());
        assert_eq!(cache.bytes, 0);
    }

    #[test]
    fn what_runs_out_first_makes_room() {
        let mut cache = Cache::default();
        for number in 0..ANSWERS {
            let ttl = if number == 77 { 10 } else { 60 };
            cache.put(key(number), answer(vec![address(ttl)], vec![]), SECOND);
        }
        cache.put(key(ANSWERS), answer(vec![address(60)], vec![]), SECOND);
        assert_eq!(cache.entries.len(), ANSWERS);
        assert!(cache.get(&key(77), SECOND).is_none());
        assert!(cache.get(&key(ANSWERS), SECOND).is_some());
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_its_bounds(
            answers in proptest::collection::vec((0usize..40, 1usize..1200, 0u32..100), 1..60),
        ) {
            let mut cache = Cache::default();
            for (number, records, ttl) in answers {
                let text = "x".repeat(255);
                let text = RData::TXT(TXT::new(vec![text]));
                let record = Record::from_rdata(name(), ttl, text);
                cache.put(key(number), answer(vec![record; records], vec![]), SECOND);
                let bytes: usize = cache.entries.values().map(|entry| entry.bytes).sum();
                prop_assert_eq!(bytes, cache.bytes);
                prop_assert!(bytes <= BYTES && cache.entries.len() <= ANSWERS);
                prop_assert!(cache.entries.values().all(|entry| entry.bytes <= ANSWER_BYTES));
            }
        }
    }
}
