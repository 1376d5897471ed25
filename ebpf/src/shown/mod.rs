//! The name a connection shows, read byte by byte: the server name of a TLS `ClientHello`, the
//! `Host` of HTTP requests.
//!
//! One state machine, fed with the stream as the job sends it. What it says does not depend on how
//! the stream is cut, neither into packets nor into TLS records, and it keeps no more of it than the
//! name. Pure and the same on both sides: the programs keep a [`Reading`] with each socket, tests
//! and fuzzers feed one with arbitrary bytes.
//!
//! It is strict where servers differ: what two servers could read differently is no name.

#![expect(
    missing_debug_implementations,
    unnameable_types,
    reason = "zerocopy's derives inside a macro make hidden helper types"
)]

use zerocopy::{FromBytes, Immutable, IntoBytes};

use self::http::Request;
use self::name::{Name, Push};
use self::tls::Hello;
use crate::abi::open_enum;

pub mod http;
pub mod name;
pub mod tls;

/// Bytes in which the name must have been shown: of a `ClientHello` with its record headers, or of
/// the head of a request. Post-quantum hellos with tickets have up to 4 KiB.
pub const HEAD_MAX: u32 = 16_384;

open_enum! {
    /// What a connection may speak, so that its name can be read: bits of [`crate::abi::ruleset::Grant::verify`].
    pub struct Verify(pub u8) {
        /// Nothing is read: the address is enough.
        NONE = 0, "none";
        /// TLS.
        TLS = 1, "tls";
        /// HTTP.
        HTTP = 2, "http";
    }
}

impl Verify {
    /// Whether one of the others is meant too.
    #[must_use]
    #[inline(always)]
    pub const fn includes(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

open_enum! {
    /// What one byte led to.
    pub struct Step(pub u8) {
        /// Go on.
        MORE = 0, "more";
        /// The name is whole; it is in [`Reading::name`] until the next byte.
        NAME = 1, "name";
        /// Nothing that follows can show another name.
        DONE = 2, "done";
        /// The head ended without a name.
        NO_NAME = 3, "no-name";
        /// Not a protocol a name can be read of, or spoken in a way that could be read in two ways.
        UNREADABLE = 4, "unreadable";
        /// The head is longer than [`HEAD_MAX`].
        TOO_LONG = 5, "too-long";
    }
}

impl Step {
    /// Whether the connection must not go on.
    #[must_use]
    #[inline(always)]
    pub const fn refuses(self) -> bool {
        self.0 > Self::DONE.0
    }
}

open_enum! {
    /// Which machine reads.
    pub struct Protocol(pub u8) {
        /// No byte was seen.
        UNKNOWN = 0, "unknown";
        /// [`tls`]
        TLS = 1, "tls";
        /// [`http`]
        HTTP = 2, "http";
    }
}

/// How far a connection was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Reading {
    /// Bytes that are passed over: of no interest, or of a request's body.
    pub skip: u64,
    /// Bytes of the head so far.
    pub head: u32,
    /// Which machine reads.
    pub protocol: Protocol,
    /// What may be spoken.
    pub verify: Verify,
    /// Always zero.
    pub reserved: u16,
    /// TLS: where it is.
    pub hello: Hello,
    /// HTTP: where it is.
    pub request: Request,
    /// The name so far.
    pub name: Name,
}

impl Reading {
    /// Nothing was read.
    #[must_use]
    #[inline(always)]
    pub const fn new(verify: Verify) -> Self {
        Self {
            skip: 0,
            head: 0,
            protocol: Protocol::UNKNOWN,
            verify,
            reserved: 0,
            hello: Hello::new(),
            request: Request::new(),
            name: Name::EMPTY,
        }
    }

    /// Begins anew, in place.
    #[inline(always)]
    pub fn begin(&mut self, verify: Verify) {
        self.skip = 0;
        self.head = 0;
        self.protocol = Protocol::UNKNOWN;
        self.verify = verify;
        self.hello = Hello::new();
        self.request = Request::new();
        self.name.clear();
    }

    /// How many of the next bytes are of no interest, and need not be given to [`Self::advance`].
    #[must_use]
    #[inline(always)]
    pub fn skippable(&self) -> u64 {
        if self.protocol.0 == Protocol::TLS.0 {
            // A record's header stands between what is passed over.
            self.skip.min(u64::from(self.hello.record))
        } else {
            self.skip
        }
    }

    /// Passes over `bytes`, no more than [`Self::skippable`].
    #[inline(always)]
    pub fn pass_over(&mut self, bytes: u64) -> Step {
        self.skip = self.skip.wrapping_sub(bytes);
        if self.protocol.0 != Protocol::TLS.0 {
            // A body; it has no bound.
            return Step::MORE;
        }
        // Never more than is left of a record.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.hello.record = self.hello.record.wrapping_sub(bytes);
        if self.hello.is_early_data() {
            return Step::MORE;
        }
        self.count(bytes)
    }

    /// Takes the next byte.
    #[inline(always)]
    pub fn advance(&mut self, byte: u8) -> Step {
        if self.protocol.0 == Protocol::UNKNOWN.0 {
            self.protocol = if byte == tls::HANDSHAKE && self.verify.includes(Verify::TLS) {
                Protocol::TLS
            } else if self.verify.includes(Verify::HTTP) {
                Protocol::HTTP
            } else {
                return Step::UNREADABLE;
            };
        }
        let step = if self.protocol.0 == Protocol::TLS.0 {
            self.advance_hello(byte)
        } else {
            self.advance_request(byte)
        };
        let counted = self.count(1);
        if step.0 == Step::MORE.0 {
            counted
        } else {
            step
        }
    }

    /// Counts bytes of the head.
    #[inline(always)]
    fn count(&mut self, bytes: u32) -> Step {
        self.head = self.head.wrapping_add(bytes);
        if self.head > HEAD_MAX {
            Step::TOO_LONG
        } else {
            Step::MORE
        }
    }

    /// Takes the next byte of a name.
    #[inline(always)]
    fn push(&mut self, byte: u8) -> Step {
        match self.name.push(byte) {
            Push::Taken => Step::MORE,
            Push::Refused => Step::UNREADABLE,
        }
    }

    /// Reads a piece of the stream whole: gives the names in it to `name`, and returns what ended the
    /// reading if something did.
    pub fn read(&mut self, bytes: &[u8], mut name: impl FnMut(&[u8])) -> Step {
        let mut rest = bytes;
        loop {
            let skip = usize::try_from(self.skippable())
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let step = if skip > 0 {
                rest = rest.get(skip..).unwrap_or_default();
                self.pass_over(skip as u64)
            } else {
                let Some((first, others)) = rest.split_first() else {
                    return Step::MORE;
                };
                rest = others;
                self.advance(*first)
            };
            if step == Step::NAME {
                name(self.name.as_bytes());
            } else if step != Step::MORE {
                return step;
            }
        }
    }
}

#[cfg(test)]
mod tests;
