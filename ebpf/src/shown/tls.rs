//! TLS: the server name of a `ClientHello` (RFC 8446, 4.1.2; RFC 6066, 3).
//!
//! Extensions in any order, messages over any number of records. After a first hello the reading goes
//! on: a server can ask for a second one, and its name must be as good as the first's.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Reading, Step};
use crate::abi::open_enum;

/// Record type of handshake messages: the first byte of a TLS connection.
pub const HANDSHAKE: u8 = 22;
/// Record type that TLS 1.3 sends for the sake of middle boxes.
const CHANGE_CIPHER_SPEC: u8 = 20;
/// Record type of everything encrypted, data sent before the server has spoken included.
const APPLICATION_DATA: u8 = 23;
/// Message type.
const CLIENT_HELLO: u8 = 1;
/// First byte of the version of all records since SSL 3.
const VERSION_MAJOR: u8 = 3;
/// Longest record: RFC 8446, 5.1 and 5.2.
const RECORD_MAX: u32 = 16_384 + 256;
/// Legacy version and random.
const VERSION_AND_RANDOM: u32 = 2 + 32;
/// Extension type.
const SERVER_NAME: u32 = 0;
/// Extension type: data may follow at once, and a second hello after it (RFC 8446, 4.2.10).
const EARLY_DATA: u32 = 42;
/// Name type.
const HOST_NAME: u32 = 0;

open_enum! {
    /// What the next number, or the bytes passed over before it, are.
    pub struct Field(pub u8) {
        /// Type of a handshake message.
        MESSAGE_TYPE = 0, "message-type";
        /// Length of the message.
        MESSAGE_LENGTH = 1, "message-length";
        /// Length of the session id.
        SESSION_LENGTH = 2, "session-length";
        /// Length of the cipher suites.
        CIPHERS_LENGTH = 3, "ciphers-length";
        /// Length of the compression methods.
        COMPRESSION_LENGTH = 4, "compression-length";
        /// Length of all extensions.
        EXTENSIONS_LENGTH = 5, "extensions-length";
        /// Type of an extension.
        EXTENSION_TYPE = 6, "extension-type";
        /// Length of an extension.
        EXTENSION_LENGTH = 7, "extension-length";
        /// Length of the list of names.
        LIST_LENGTH = 8, "list-length";
        /// Type of a name.
        NAME_TYPE = 9, "name-type";
        /// Length of a name.
        NAME_LENGTH = 10, "name-length";
        /// The name.
        NAME = 11, "name";
        /// The last byte of an extension that is passed over.
        LAST_OF_EXTENSION = 12, "last-of-extension";
    }
}

impl Field {
    /// Bytes of the number.
    #[inline(always)]
    const fn width(self) -> u8 {
        match self {
            Self::MESSAGE_LENGTH => 3,
            Self::CIPHERS_LENGTH
            | Self::EXTENSIONS_LENGTH
            | Self::EXTENSION_TYPE
            | Self::EXTENSION_LENGTH
            | Self::LIST_LENGTH
            | Self::NAME_LENGTH => 2,
            _ => 1,
        }
    }
}

/// Where the reading of a hello is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Hello {
    /// Bytes left of the record.
    pub record: u32,
    /// Bytes left of the message after what is passed over.
    pub message: u32,
    /// Bytes left of the extension, or of the name.
    pub extension: u32,
    /// The number that is being read.
    pub number: u32,
    /// What the number is.
    pub field: Field,
    /// Bytes read of it.
    pub have: u8,
    /// Bytes read of the record's header.
    pub header: u8,
    /// Type of the record.
    pub kind: u8,
    /// Type of the extension is that of the server name.
    pub is_name: u8,
    /// A server name was seen in this hello.
    pub named: u8,
    /// A hello was read.
    pub greeted: u8,
    /// A hello has announced early data.
    pub early: u8,
}

impl Hello {
    /// Before the first byte.
    #[must_use]
    #[inline(always)]
    pub const fn new() -> Self {
        Self {
            record: 0,
            message: 0,
            extension: 0,
            number: 0,
            field: Field::MESSAGE_TYPE,
            have: 0,
            header: 0,
            kind: 0,
            is_name: 0,
            named: 0,
            greeted: 0,
            early: 0,
        }
    }

    /// Whether the record is none of the handshake's, and of any length.
    #[inline(always)]
    pub(super) const fn is_early_data(&self) -> bool {
        self.kind == APPLICATION_DATA
    }

    /// Bytes of the message that are accounted for by what is read next; whether it has so many.
    #[inline(always)]
    fn take(&mut self, bytes: u32) -> bool {
        let enough = bytes <= self.message;
        self.message = self.message.wrapping_sub(bytes);
        enough
    }
}

impl Default for Hello {
    fn default() -> Self {
        Self::new()
    }
}

impl Reading {
    #[inline(always)]
    pub(super) fn advance_hello(&mut self, byte: u8) -> Step {
        if self.hello.record == 0 {
            return self.record_header(byte);
        }
        self.hello.record = self.hello.record.wrapping_sub(1);
        if self.hello.field.0 == Field::NAME.0 {
            return self.name_byte(byte);
        }
        self.hello.number = (self.hello.number << 8) | u32::from(byte);
        self.hello.have = self.hello.have.wrapping_add(1);
        if self.hello.have < self.hello.field.width() {
            return Step::MORE;
        }
        let number = self.hello.number;
        self.hello.number = 0;
        self.hello.have = 0;
        self.number(number)
    }

    /// A byte of a record's header.
    #[inline(always)]
    fn record_header(&mut self, byte: u8) -> Step {
        let hello = &mut self.hello;
        let at = hello.header;
        hello.header = at.wrapping_add(1);
        match at {
            0 => {
                hello.kind = byte;
                let between = hello.field.0 == Field::MESSAGE_TYPE.0 && hello.have == 0;
                if byte == HANDSHAKE {
                    Step::MORE
                } else if hello.greeted == 0 || !between {
                    Step::UNREADABLE
                } else if byte == CHANGE_CIPHER_SPEC
                    || (byte == APPLICATION_DATA && hello.early != 0)
                {
                    // A second hello can still follow.
                    Step::MORE
                } else {
                    // Encrypted from here on, or an alert.
                    Step::DONE
                }
            }
            1 if byte == VERSION_MAJOR => Step::MORE,
            1 => Step::UNREADABLE,
            2 => Step::MORE,
            3 => {
                hello.number = u32::from(byte) | (hello.number << 8);
                Step::MORE
            }
            _ => {
                // A number of the message may be half read: it is above these bytes.
                let length = ((hello.number & 0xff) << 8) | u32::from(byte);
                hello.number >>= 8;
                hello.header = 0;
                if length == 0 || length > RECORD_MAX {
                    return Step::UNREADABLE;
                }
                hello.record = length;
                if hello.kind != HANDSHAKE {
                    self.skip = u64::from(length);
                }
                Step::MORE
            }
        }
    }

    /// A whole number of the message.
    #[inline(always)]
    fn number(&mut self, number: u32) -> Step {
        let field = self.hello.field;
        match field {
            Field::MESSAGE_TYPE => self.message_type(number),
            Field::MESSAGE_LENGTH => {
                self.hello.message = number;
                self.hello.named = 0;
                self.name.clear();
                // Version, random and the session's length.
                self.pass_to(VERSION_AND_RANDOM, 1, Field::SESSION_LENGTH)
            }
            Field::SESSION_LENGTH => self.pass_to(number, 2, Field::CIPHERS_LENGTH),
            Field::CIPHERS_LENGTH => self.pass_to(number, 1, Field::COMPRESSION_LENGTH),
            Field::COMPRESSION_LENGTH => {
                if self.hello.message == number {
                    // A hello of old: no extensions.
                    return Step::NO_NAME;
                }
                self.pass_to(number, 2, Field::EXTENSIONS_LENGTH)
            }
            Field::EXTENSIONS_LENGTH => {
                if number != self.hello.message {
                    return Step::UNREADABLE;
                }
                self.next_extension()
            }
            Field::EXTENSION_TYPE => {
                self.hello.is_name = u8::from(number == SERVER_NAME);
                self.hello.early |= u8::from(number == EARLY_DATA);
                self.hello.field = Field::EXTENSION_LENGTH;
                Step::MORE
            }
            Field::EXTENSION_LENGTH => self.extension(number),
            Field::LIST_LENGTH => {
                // One list fills the extension, one name fills the list.
                if number.wrapping_add(2) != self.hello.extension {
                    return Step::UNREADABLE;
                }
                self.hello.field = Field::NAME_TYPE;
                Step::MORE
            }
            Field::NAME_TYPE if number == HOST_NAME => {
                self.hello.field = Field::NAME_LENGTH;
                Step::MORE
            }
            Field::LAST_OF_EXTENSION => self.next_extension(),
            Field::NAME_LENGTH => {
                if number == 0 || number.wrapping_add(5) != self.hello.extension {
                    return Step::UNREADABLE;
                }
                self.hello.extension = number;
                self.hello.field = Field::NAME;
                Step::MORE
            }
            _ => Step::UNREADABLE,
        }
    }

    #[inline(always)]
    fn message_type(&mut self, number: u32) -> Step {
        if number == u32::from(CLIENT_HELLO) {
            self.hello.field = Field::MESSAGE_LENGTH;
            Step::MORE
        } else if self.hello.greeted != 0 {
            // The client answers the server it greeted.
            Step::DONE
        } else {
            Step::UNREADABLE
        }
    }

    /// Passes over bytes of the message, then reads a number of `width` bytes.
    #[inline(always)]
    fn pass_to(&mut self, bytes: u32, width: u32, field: Field) -> Step {
        let needed = bytes.wrapping_add(width);
        if !self.hello.take(needed) {
            return Step::UNREADABLE;
        }
        self.skip = u64::from(bytes);
        self.hello.field = field;
        Step::MORE
    }

    /// The head of the next extension, or the end of the hello.
    #[inline(always)]
    fn next_extension(&mut self) -> Step {
        if self.hello.message == 0 {
            self.hello.field = Field::MESSAGE_TYPE;
            self.hello.greeted = 1;
            return if self.hello.named != 0 {
                Step::NAME
            } else {
                Step::NO_NAME
            };
        }
        if !self.hello.take(4) {
            return Step::UNREADABLE;
        }
        self.hello.field = Field::EXTENSION_TYPE;
        Step::MORE
    }

    #[inline(always)]
    fn extension(&mut self, length: u32) -> Step {
        if !self.hello.take(length) {
            return Step::UNREADABLE;
        }
        if self.hello.is_name != 0 {
            if self.hello.named != 0 {
                return Step::UNREADABLE;
            }
            self.hello.named = 1;
            self.hello.extension = length;
            self.hello.field = Field::LIST_LENGTH;
            return Step::MORE;
        }
        if length == 0 {
            return self.next_extension();
        }
        // What is passed over decides nothing, and the end of a hello has to be seen.
        self.skip = u64::from(length.wrapping_sub(1));
        self.hello.field = Field::LAST_OF_EXTENSION;
        Step::MORE
    }

    #[inline(always)]
    fn name_byte(&mut self, byte: u8) -> Step {
        let step = self.push(byte);
        if step.refuses() {
            return step;
        }
        self.hello.extension = self.hello.extension.wrapping_sub(1);
        if self.hello.extension == 0 {
            return self.next_extension();
        }
        Step::MORE
    }
}
