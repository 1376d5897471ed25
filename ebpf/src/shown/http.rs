//! HTTP/1: the `Host` of every request of a connection (RFC 9112).
//!
//! Requests follow each other on one connection, so each of them is read, and its body passed over by
//! its `Content-Length`. What servers are known to read differently is refused: other framing, lines
//! that are folded or end in a line feed alone, a target with a name of its own, `Host` or
//! `Content-Length` twice.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Reading, Step};
use crate::abi::open_enum;

open_enum! {
    /// Where in the head of a request.
    pub struct Place(pub u8) {
        /// The method.
        METHOD = 0, "method";
        /// The first byte of the target.
        TARGET_START = 1, "target-start";
        /// The target.
        TARGET = 2, "target";
        /// The version.
        VERSION = 3, "version";
        /// The line feed after the request line or a field.
        LINE_END = 4, "line-end";
        /// The first byte of a line.
        LINE_START = 5, "line-start";
        /// The name of a field.
        FIELD_NAME = 6, "field-name";
        /// The value of a field that does not matter.
        VALUE = 7, "value";
        /// Space before a value that matters.
        BEFORE_VALUE = 8, "before-value";
        /// The host.
        HOST = 9, "host";
        /// The port behind the host.
        PORT = 10, "port";
        /// The length of the body.
        LENGTH = 11, "length";
        /// Space after a value that matters.
        AFTER_VALUE = 12, "after-value";
        /// The line feed at the end of the head.
        HEAD_END = 13, "head-end";
    }
}

open_enum! {
    /// Which field.
    pub struct FieldName(pub u8) {
        /// One that does not matter.
        OTHER = 0, "other";
        /// `Host`
        HOST = 1, "host";
        /// `Content-Length`
        CONTENT_LENGTH = 2, "content-length";
    }
}

/// Longest method: none that is registered has more.
const METHOD_MAX: u8 = 32;
/// `HTTP/1.`, read as a number.
const VERSION: u64 = 0x0048_5454_502f_312e;
/// The first bytes of names of fields, lower case, as a number.
const HOST: u64 = packed(*b"\0\0\0\0host");
const CONTENT_LENGTH: [u64; 2] = [packed(*b"content-"), packed(*b"\0\0length")];
const TRANSFER_ENCODING: u64 = packed(*b"transfer");
/// Longest body whose length is believed.
const BODY_MAX: u64 = 1 << 48;

const fn packed(text: [u8; 8]) -> u64 {
    u64::from_be_bytes(text)
}

/// Where the reading of a request is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Request {
    /// Bytes 0 to 7 of a field's name; the version; the length.
    pub word: u64,
    /// Bytes 8 to 15 of a field's name.
    pub second: u64,
    /// Length of the body.
    pub body: u64,
    /// Where in the head.
    pub place: Place,
    /// Bytes of the method, the version or a field's name.
    pub count: u8,
    /// The field whose value is read.
    pub field: FieldName,
    /// `Host` was seen.
    pub hosts: u8,
    /// `Content-Length` was seen.
    pub lengths: u8,
    /// Always zero.
    pub reserved: [u8; 3],
}

impl Request {
    /// Before the first byte.
    #[must_use]
    #[inline(always)]
    pub const fn new() -> Self {
        Self {
            word: 0,
            second: 0,
            body: 0,
            place: Place::METHOD,
            count: 0,
            field: FieldName::OTHER,
            hosts: 0,
            lengths: 0,
            reserved: [0; 3],
        }
    }

    #[inline(always)]
    fn go(&mut self, place: Place) -> Step {
        self.place = place;
        self.count = 0;
        self.word = 0;
        self.second = 0;
        Step::MORE
    }
}

impl Default for Request {
    fn default() -> Self {
        Self::new()
    }
}

const CR: u8 = b'\r';
const LF: u8 = b'\n';

/// Bytes of methods and names of fields (RFC 9110, 5.6.2).
#[inline(always)]
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[inline(always)]
const fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

impl Reading {
    #[inline(always)]
    pub(super) fn advance_request(&mut self, byte: u8) -> Step {
        let request = &mut self.request;
        match request.place {
            Place::METHOD => {
                request.count = request.count.wrapping_add(1);
                if byte == b' ' && request.count > 1 {
                    request.go(Place::TARGET_START)
                } else if is_token(byte) && request.count <= METHOD_MAX {
                    Step::MORE
                } else {
                    Step::UNREADABLE
                }
            }
            // `/path` or `*`; anything else names a host of its own.
            Place::TARGET_START if byte == b'/' || byte == b'*' => request.go(Place::TARGET),
            Place::TARGET if byte == b' ' => request.go(Place::VERSION),
            Place::TARGET if byte > b' ' && byte != 0x7f => Step::MORE,
            Place::VERSION => self.version_byte(byte),
            Place::LINE_END if byte == LF => request.go(Place::LINE_START),
            Place::LINE_START if byte == CR => request.go(Place::HEAD_END),
            Place::LINE_START if is_token(byte) => {
                request.place = Place::FIELD_NAME;
                self.field_byte(byte)
            }
            Place::FIELD_NAME if byte == b':' => self.field(),
            Place::FIELD_NAME if is_token(byte) => self.field_byte(byte),
            Place::VALUE if byte == CR => request.go(Place::LINE_END),
            Place::VALUE if byte != 0 && byte != LF => Step::MORE,
            Place::BEFORE_VALUE if is_space(byte) => Step::MORE,
            Place::BEFORE_VALUE if request.field.0 == FieldName::HOST.0 => {
                request.place = Place::HOST;
                self.host_byte(byte)
            }
            Place::BEFORE_VALUE => {
                request.place = Place::LENGTH;
                self.length_byte(byte)
            }
            Place::HOST => self.host_byte(byte),
            Place::PORT if byte.is_ascii_digit() => Step::MORE,
            Place::LENGTH => self.length_byte(byte),
            Place::PORT | Place::AFTER_VALUE if is_space(byte) => {
                request.place = Place::AFTER_VALUE;
                Step::MORE
            }
            Place::PORT | Place::AFTER_VALUE if byte == CR => request.go(Place::LINE_END),
            Place::HEAD_END if byte == LF => self.head_end(),
            _ => Step::UNREADABLE,
        }
    }

    /// `HTTP/1.0` or `HTTP/1.1`, and the end of the line.
    #[inline(always)]
    fn version_byte(&mut self, byte: u8) -> Step {
        let request = &mut self.request;
        request.count = request.count.wrapping_add(1);
        if request.count <= 7 {
            request.word = (request.word << 8) | u64::from(byte);
            return Step::MORE;
        }
        if request.count == 8 && request.word == VERSION && (byte == b'0' || byte == b'1') {
            return Step::MORE;
        }
        if request.count == 9 && byte == CR {
            return request.go(Place::LINE_END);
        }
        Step::UNREADABLE
    }

    /// A byte of a field's name; sixteen are kept, more than the longest that matters has.
    #[inline(always)]
    fn field_byte(&mut self, byte: u8) -> Step {
        let request = &mut self.request;
        let lower = u64::from(if byte.is_ascii_uppercase() {
            byte | 0x20
        } else {
            byte
        });
        if request.count < 8 {
            request.word = (request.word << 8) | lower;
        } else if request.count < 16 {
            request.second = (request.second << 8) | lower;
        }
        // More than sixteen bytes are not told apart.
        if request.count < 17 {
            request.count = request.count.wrapping_add(1);
        }
        Step::MORE
    }

    /// The name of a field is whole.
    #[inline(always)]
    fn field(&mut self) -> Step {
        let request = &mut self.request;
        let [first, second] = CONTENT_LENGTH;
        request.field = FieldName::OTHER;
        if request.count == 4 && request.word == HOST {
            if request.hosts != 0 {
                return Step::UNREADABLE;
            }
            request.hosts = 1;
            request.field = FieldName::HOST;
            self.name.clear();
            return self.request.go(Place::BEFORE_VALUE);
        }
        if request.count == 14 && request.word == first && request.second == second {
            if request.lengths != 0 {
                return Step::UNREADABLE;
            }
            request.lengths = 1;
            request.body = 0;
            request.field = FieldName::CONTENT_LENGTH;
            return request.go(Place::BEFORE_VALUE);
        }
        // `Transfer-Encoding`, whose framing is not followed, and all that begins like it.
        if request.count >= 8 && request.word == TRANSFER_ENCODING {
            return Step::UNREADABLE;
        }
        request.go(Place::VALUE)
    }

    #[inline(always)]
    fn host_byte(&mut self, byte: u8) -> Step {
        if byte == b':' {
            return self.request.go(Place::PORT);
        }
        if is_space(byte) {
            return self.request.go(Place::AFTER_VALUE);
        }
        if byte == CR {
            return self.request.go(Place::LINE_END);
        }
        self.push(byte)
    }

    #[inline(always)]
    fn length_byte(&mut self, byte: u8) -> Step {
        let request = &mut self.request;
        if byte.is_ascii_digit() {
            let digit = u64::from(byte.wrapping_sub(b'0'));
            request.body = request.body.wrapping_mul(10).wrapping_add(digit);
            request.count = 1;
            return if request.body > BODY_MAX {
                Step::UNREADABLE
            } else {
                Step::MORE
            };
        }
        if request.count == 0 {
            return Step::UNREADABLE;
        }
        if is_space(byte) {
            return request.go(Place::AFTER_VALUE);
        }
        if byte == CR {
            return request.go(Place::LINE_END);
        }
        Step::UNREADABLE
    }

    /// The head is whole: its name counts, and after the body comes the next request.
    #[inline(always)]
    fn head_end(&mut self) -> Step {
        let named = self.request.hosts != 0 && self.name.len != 0;
        self.skip = if self.request.lengths != 0 {
            self.request.body
        } else {
            0
        };
        self.request = Request::new();
        // The byte that is being taken is counted after this.
        self.head = 0;
        if named { Step::NAME } else { Step::NO_NAME }
    }
}
