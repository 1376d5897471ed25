//! Ring records to events. Total: every slice of bytes is an event or a counted reason why not.

use cordon_ebpf::abi::ABI_VERSION;
use cordon_ebpf::abi::record::{
    CallRefused, Connection, Exec, Fork, Moved, NameRefused, RecordHeader, RecordKind,
    SocketRefused, Unserved,
};
use cordon_ebpf::for_each_record;
use zerocopy::FromBytes as _;

macro_rules! events {
    ($($kind:ident => $record:ident,)+) => {
        /// One record, decoded.
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub enum Event {
            $(
                #[doc = concat!("[`", stringify!($record), "`]")]
                $record($record),
            )+
        }

        /// Decodes one record.
        ///
        /// # Errors
        /// It is too short, of another ABI, or of an unknown kind.
        pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
            let (header, _) = RecordHeader::read_from_prefix(bytes)
                .map_err(|_| DecodeError::Short { bytes: bytes.len() })?;
            if header.abi != ABI_VERSION {
                return Err(DecodeError::Abi { abi: header.abi });
            }
            match header.kind {
                $(
                    RecordKind::$kind => $record::read_from_prefix(bytes)
                        .map(|(record, _)| Event::$record(record))
                        .map_err(|_| DecodeError::Short { bytes: bytes.len() }),
                )+
                RecordKind(kind) => Err(DecodeError::Kind { kind }),
            }
        }
    };
}
for_each_record!(events);

/// A record that cannot be read. Counted in the report.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a program of another ABI.
    #[error("record of ABI {abi}, this agent reads {ABI_VERSION}")]
    Abi {
        /// The writer's.
        abi: u32,
    },
    /// Of a kind that this agent does not know.
    #[error("record of unknown kind {kind:#x}")]
    Kind {
        /// Its number.
        kind: u32,
    },
    /// Shorter than its kind is.
    #[error("record of {bytes} bytes is too short")]
    Short {
        /// Its length.
        bytes: usize,
    },
}

/// Text in a fixed field: up to the first NUL, whatever is not UTF-8 replaced.
#[must_use]
pub fn text(field: &[u8]) -> String {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;

    macro_rules! each_kind_decodes {
        ($($kind:ident => $record:ident,)+) => {
            #[test]
            fn every_kind_is_decoded_from_its_own_bytes() {
                $({
                    let mut record = $record::new_zeroed();
                    record.header = RecordHeader::new(RecordKind::$kind, 7, 9, 0);
                    assert_eq!(decode(record.as_bytes()), Ok(Event::$record(record)));
                    let short = &record.as_bytes()[..size_of::<$record>() - 1];
                    assert!(matches!(decode(short), Err(DecodeError::Short { .. })));
                })+
            }
        };
    }
    for_each_record!(each_kind_decodes);

    #[test]
    fn another_abi_is_refused() {
        let mut header = RecordHeader::new(RecordKind::FORK, 0, 0, 0);
        header.abi = ABI_VERSION + 1;
        assert_eq!(
            decode(header.as_bytes()),
            Err(DecodeError::Abi {
                abi: ABI_VERSION + 1
            })
        );
    }

    #[test]
    fn text_ends_at_its_nul() {
        assert_eq!(text(b"curl\0garbage"), "curl");
        assert_eq!(text(b"\xff\xfe"), "\u{fffd}\u{fffd}");
        assert_eq!(text(b""), "");
    }

    proptest! {
        #[test]
        fn decode_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            drop(decode(&bytes));
        }
    }
}
