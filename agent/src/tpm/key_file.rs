//! The file of a key: its public part, and its private one as the TPM wrapped it, in the form that openssl
//! and other tools for TPMs have (ASN.1 Specification for TPM 2.0 Key Files). Pure.

use p256::pkcs8::LineEnding;
use p256::pkcs8::der::asn1::{ContextSpecific, OctetStringRef};
use p256::pkcs8::der::{
    self, AnyRef, Decode as _, Encode as _, Reader as _, SliceReader, Tag, TagMode, TagNumber, pem,
};

use super::wire::{OWNER, is_persistent};
use super::{LABEL, TpmError};

/// 2.23.133.10.1.3: a key that is loaded below another.
const LOADABLE: [u8; 6] = [0x67, 0x81, 0x05, 0x0a, 0x01, 0x03];

/// 2 KiB: more than a part of any P-256 key.
const MAX_PART: usize = 2048;

/// What is in a key file.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct KeyFile {
    /// What it is below.
    pub(super) parent: u32,
    /// `TPM2B_PUBLIC`
    pub(super) public: Vec<u8>,
    /// `TPM2B_PRIVATE`
    pub(super) private: Vec<u8>,
}

const fn unusable(what: &'static str) -> TpmError {
    TpmError::Unusable { what }
}

impl KeyFile {
    /// Reads one.
    pub(super) fn parse(text: &str) -> Result<Self, TpmError> {
        let malformed = "it is malformed";
        let decoded = pem::decode_vec(text.trim_ascii().as_bytes()).ok();
        let (label, bytes) = decoded.ok_or_else(|| unusable(malformed))?;
        if label != LABEL {
            return Err(unusable("its label is another"));
        }
        let outer = AnyRef::from_der(&bytes)
            .ok()
            .ok_or_else(|| unusable(malformed))?;
        Self::read(outer).unwrap_or_else(|_: der::Error| Err(unusable(malformed)))
    }

    fn read(outer: AnyRef<'_>) -> Result<Result<Self, TpmError>, der::Error> {
        if outer.header().tag() != Tag::Sequence {
            return Ok(Err(unusable("it is malformed")));
        }
        let mut reader = SliceReader::new(outer.value())?;
        let kind = AnyRef::decode(&mut reader)?;
        if kind != AnyRef::new(Tag::ObjectIdentifier, &LOADABLE)? {
            return Ok(Err(unusable("it is not one that is loaded")));
        }
        let parent: u32 = loop {
            let next = AnyRef::decode(&mut reader)?;
            match next.header().tag() {
                Tag::Integer => break next.decode_as()?,
                Tag::ContextSpecific { number, .. } => match number.value() {
                    0 if bool::from_der(next.value())? => {}
                    0 => return Ok(Err(unusable("it has a password"))),
                    // What it is called.
                    4 => {}
                    _ => return Ok(Err(unusable("it has a policy, or another kind of parent"))),
                },
                _ => return Ok(Err(unusable("it is malformed"))),
            }
        };
        if parent != OWNER && !is_persistent(parent) {
            return Ok(Err(unusable(
                "its parent is not a storage key of the owner",
            )));
        }
        let public = <&OctetStringRef>::decode(&mut reader)?.as_bytes();
        let private = <&OctetStringRef>::decode(&mut reader)?.as_bytes();
        if !reader.is_finished() || public.len().max(private.len()) > MAX_PART {
            return Ok(Err(unusable("it is malformed")));
        }
        Ok(Ok(Self {
            parent,
            public: public.to_vec(),
            private: private.to_vec(),
        }))
    }

    /// The file.
    pub(super) fn to_pem(&self) -> Result<String, TpmError> {
        let der = self.to_der().ok();
        der.and_then(|der| pem::encode_string(LABEL, LineEnding::LF, &der).ok())
            .ok_or_else(|| unusable("it cannot be written"))
    }

    fn to_der(&self) -> Result<Vec<u8>, der::Error> {
        let no_password = ContextSpecific {
            tag_number: TagNumber(0),
            tag_mode: TagMode::Explicit,
            value: true,
        };
        let parts = [
            AnyRef::new(Tag::ObjectIdentifier, &LOADABLE)?.to_der()?,
            no_password.to_der()?,
            self.parent.to_der()?,
            OctetStringRef::new(&self.public)?.to_der()?,
            OctetStringRef::new(&self.private)?.to_der()?,
        ];
        AnyRef::new(Tag::Sequence, &parts.concat())?.to_der()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::tpm::wire::tests::good;
    use crate::tpm::{Key, is_key};

    fn file(parent: u32) -> KeyFile {
        KeyFile {
            parent,
            public: good(),
            private: vec![0, 2, 7, 7],
        }
    }

    fn again(der: &[u8]) -> Result<KeyFile, TpmError> {
        KeyFile::parse(&pem::encode_string(LABEL, LineEnding::LF, der).unwrap())
    }

    #[test]
    fn a_file_comes_back_as_it_was() {
        for parent in [OWNER, 0x8100_0001] {
            let pem = file(parent).to_pem().unwrap();
            assert!(is_key(pem.as_bytes()));
            assert_eq!(KeyFile::parse(&pem).unwrap(), file(parent));
            let crlf = pem.replace('\n', "\r\n");
            assert_eq!(KeyFile::parse(&crlf).unwrap(), file(parent));
        }
    }

    #[test]
    fn what_cordon_cannot_use_is_refused_and_said() {
        let refused = |der: &[u8], why: &str| {
            let error = again(der).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        // A parent of the platform, of the endorsement hierarchy, or of nobody.
        for parent in [0x4000_000c, 0x4000_000b, 0x4000_0007, 0x8000_0001] {
            refused(&file(parent).to_der().unwrap(), "its parent");
        }
        let der = file(OWNER).to_der().unwrap();
        let with = |at: usize, byte: u8| {
            let mut der = der.clone();
            der[at] = byte;
            der
        };
        // SEQUENCE, long length, OID, [0] { BOOLEAN }.
        let flag = der
            .windows(3)
            .position(|part| part == [1, 1, 0xff])
            .unwrap();
        refused(&with(flag + 2, 0), "password");
        refused(&with(flag - 2, 0xa1), "policy");
        refused(&with(flag - 2, 0xa5), "another kind of parent");
        let oid = der.windows(6).position(|part| part == LOADABLE).unwrap();
        refused(&with(oid + 5, 5), "loaded");
        for end in 0..der.len() {
            again(&der[..end]).unwrap_err();
        }
        again(&[der, vec![0]].concat()).unwrap_err();
        KeyFile::parse("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
            .unwrap_err();
    }

    proptest! {
        #[test]
        fn files_are_read_totally(bytes in any::<Vec<u8>>(), text in any::<String>()) {
            let _any: Result<KeyFile, TpmError> = again(&bytes);
            let _any: Result<Key, TpmError> = Key::parse(&text, Path::new("/tpm"));
        }
    }
}
