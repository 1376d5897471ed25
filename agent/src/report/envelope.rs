//! DSSE envelope and Sigstore bundle: bytes become signed bytes, and signed bytes are checked.
//!
//! The form is the narrow one that every installable verifier takes: Sigstore bundle v0.3, own
//! public key, one ECDSA P-256/SHA-256 signature in DER, `keyid` and `hint` both the OpenSSH
//! fingerprint. Change nothing here without running `tests/verifiers`.
//!
//! **Invariants**: reading is total and bounded; payload bytes come out only by
//! [`Bundle::verify`], and nobody parses the envelope a second time.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};

use super::json;
use super::signer::{KeyError, SigningKey, VerifyingKey};

/// Type of the payload: an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Type of the bundle.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// 16 MiB: what attestation stores take of one predicate.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// Room for the largest payload in base64, and for the rest of the bundle.
pub const MAX_BUNDLE: usize = MAX_PAYLOAD / 3 * 4 + (64 << 10);

/// A bundle that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not base64, in neither alphabet.
    #[error("the bundle's {field} is not base64")]
    Base64 {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        source: base64::DecodeError,
    },
    /// `hint` and `keyid` must be the same.
    #[error("the bundle names two keys: hint `{hint}`, keyid `{keyid}`")]
    HintIsNotKeyId {
        /// `verificationMaterial.publicKey.hint`
        hint: String,
        /// `dsseEnvelope.signatures[0].keyid`
        keyid: String,
    },
    /// Not a bundle.
    #[error("the bundle is not a Sigstore bundle of the expected form")]
    Json(#[source] serde_json::Error),
    /// More bytes than one may have.
    #[error("the {what} has {size} bytes, more than the {limit} it may have")]
    Large {
        /// `bundle` or `payload`.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// The bundle or its payload is of another type.
    #[error("the bundle's {field} is `{found}`, not `{expected}`")]
    OtherType {
        /// Which field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it must say.
        expected: &'static str,
    },
    /// The bundle must have one signature.
    #[error("the bundle has {count} signatures, not exactly one")]
    Signatures {
        /// How many it has.
        count: usize,
    },
    /// The key did not sign this payload.
    #[error(
        "the signature is not one of key {key} over this payload (the bundle names key {named})"
    )]
    Untrusted {
        /// The key it was checked with.
        key: String,
        /// The key id in the bundle; a hint, nothing more.
        named: String,
    },
}

/// The bytes a DSSE signature is over.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// A bundle, not yet verified.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bundle {
    media_type: String,
    verification_material: VerificationMaterial,
    dsse_envelope: DsseEnvelope,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VerificationMaterial {
    public_key: PublicKeyHint,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct PublicKeyHint {
    hint: String,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DsseEnvelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    sig: String,
    keyid: String,
}

impl Bundle {
    /// Signs a payload.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn sign(payload: &[u8], key: &SigningKey) -> Result<Self, KeyError> {
        let id = key.public().id();
        let signature = key.sign(&pae(PAYLOAD_TYPE, payload))?;
        Ok(Self {
            media_type: MEDIA_TYPE.into(),
            verification_material: VerificationMaterial {
                public_key: PublicKeyHint { hint: id.clone() },
            },
            dsse_envelope: DsseEnvelope {
                payload: STANDARD.encode(payload),
                payload_type: PAYLOAD_TYPE.into(),
                signatures: vec![Signature {
                    sig: STANDARD.encode(signature),
                    keyid: id,
                }],
            },
        })
    }

    /// Reads a bundle; its form is checked, its signature is not.
    ///
    /// # Errors
    /// See [`EnvelopeError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        bounded("bundle", bytes.len(), MAX_BUNDLE)?;
        let bundle: Self = json::parse(bytes).map_err(EnvelopeError::Json)?;
        expect("mediaType", &bundle.media_type, MEDIA_TYPE)?;
        expect(
            "payloadType",
            &bundle.dsse_envelope.payload_type,
            PAYLOAD_TYPE,
        )?;
        let hint = bundle.key_id();
        let keyid = &bundle.signature()?.keyid;
        if hint != keyid {
            return Err(EnvelopeError::HintIsNotKeyId {
                hint: hint.into(),
                keyid: keyid.clone(),
            });
        }
        Ok(bundle)
    }

    /// Reads an envelope without a bundle; its form is checked, its signature is not.
    ///
    /// # Errors
    /// See [`EnvelopeError`].
    pub fn parse_envelope(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        bounded("envelope", bytes.len(), MAX_BUNDLE)?;
        let dsse_envelope: DsseEnvelope = json::parse(bytes).map_err(EnvelopeError::Json)?;
        expect("payloadType", &dsse_envelope.payload_type, PAYLOAD_TYPE)?;
        let mut bundle = Self {
            media_type: MEDIA_TYPE.into(),
            verification_material: VerificationMaterial {
                public_key: PublicKeyHint {
                    hint: String::new(),
                },
            },
            dsse_envelope,
        };
        let hint = bundle.signature()?.keyid.clone();
        bundle.verification_material.public_key.hint = hint;
        Ok(bundle)
    }

    /// The envelope alone, as a line of JSON: what verifiers take that know no bundles.
    ///
    /// # Errors
    /// It has no JSON form.
    pub fn envelope_line(&self) -> Result<String, serde_json::Error> {
        let mut line = serde_json::to_string(&self.dsse_envelope)?;
        line.push('\n');
        Ok(line)
    }

    /// The key the bundle names. Nobody vouches for it.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.verification_material.public_key.hint
    }

    /// Checks the signature and gives out the payload that was signed.
    ///
    /// The key decides alone; what the bundle says of its key is only repeated in the error.
    ///
    /// # Errors
    /// See [`EnvelopeError`].
    pub fn verify(&self, key: VerifyingKey) -> Result<Vec<u8>, EnvelopeError> {
        let payload = self.unverified_payload()?;
        let signature = decode("sig", &self.signature()?.sig)?;
        if !key.accepts(&pae(PAYLOAD_TYPE, &payload), &signature) {
            return Err(EnvelopeError::Untrusted {
                key: key.id(),
                named: self.key_id().into(),
            });
        }
        Ok(payload)
    }

    /// The payload, whoever signed it: to find out where a bundle belongs, and nothing else.
    ///
    /// # Errors
    /// It is no base64, or too large.
    pub fn unverified_payload(&self) -> Result<Vec<u8>, EnvelopeError> {
        let payload = decode("payload", &self.dsse_envelope.payload)?;
        bounded("payload", payload.len(), MAX_PAYLOAD)?;
        Ok(payload)
    }

    fn signature(&self) -> Result<&Signature, EnvelopeError> {
        match self.dsse_envelope.signatures.as_slice() {
            [signature] => Ok(signature),
            several => Err(EnvelopeError::Signatures {
                count: several.len(),
            }),
        }
    }
}

fn bounded(what: &'static str, size: usize, limit: usize) -> Result<(), EnvelopeError> {
    if size > limit {
        return Err(EnvelopeError::Large { what, size, limit });
    }
    Ok(())
}

fn expect(field: &'static str, found: &str, expected: &'static str) -> Result<(), EnvelopeError> {
    if found != expected {
        return Err(EnvelopeError::OtherType {
            field,
            found: found.into(),
            expected,
        });
    }
    Ok(())
}

/// DSSE asks of verifiers that they take both alphabets.
fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD
        .decode(text)
        .or_else(|source| URL_SAFE.decode(text).or(Err(source)))
        .map_err(|source| EnvelopeError::Base64 { field, source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::signer::tests::published_key;

    const PAYLOAD: &[u8] = br#"{"_type":"x"}"#;

    fn bundle() -> String {
        serde_json::to_string(&Bundle::sign(PAYLOAD, &published_key()).unwrap()).unwrap()
    }

    fn check(bundle: &str) -> Result<Vec<u8>, EnvelopeError> {
        Bundle::parse(bundle.as_bytes())?.verify(published_key().public())
    }

    #[test]
    fn the_signed_bytes_are_those_of_the_specification() {
        // The example of the DSSE protocol document.
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn what_was_signed_comes_out() {
        assert_eq!(check(&bundle()).unwrap(), PAYLOAD);
    }

    #[test]
    fn another_key_is_not_trusted() {
        let other = SigningKey::generate().unwrap().public();
        let error = Bundle::parse(bundle().as_bytes()).unwrap().verify(other);
        assert!(matches!(error, Err(EnvelopeError::Untrusted { .. })));
    }

    #[test]
    fn another_form_is_refused() {
        let good = bundle();
        let id = published_key().public().id();
        let other_hint = good.replacen(&id, "SHA256:other", 1);
        let two = good.replace("}]}}", &format!(r#"}},{{"sig":"","keyid":"{id}"}}]}}}}"#));
        let none = format!("{}[]}}}}", good.split_once("[{").unwrap().0);
        let twice = good.replacen('{', r#"{"mediaType":"","#, 1);
        let twice_within = good.replace(r#""payload":"#, r#""payload":"","payload":"#);
        let unknown = good.replacen('{', r#"{"more":1,"#, 1);
        assert!(matches!(
            check(&other_hint),
            Err(EnvelopeError::HintIsNotKeyId { .. })
        ));
        assert!(matches!(
            check(&two),
            Err(EnvelopeError::Signatures { count: 2 })
        ));
        assert!(matches!(
            check(&none),
            Err(EnvelopeError::Signatures { count: 0 })
        ));
        for bad in [&twice, &twice_within, &unknown] {
            assert!(matches!(check(bad), Err(EnvelopeError::Json(_))), "{bad}");
        }
        for (from, to) in [(MEDIA_TYPE, "text/plain"), (PAYLOAD_TYPE, "text/plain")] {
            let bad = good.replace(from, to);
            assert!(
                matches!(check(&bad), Err(EnvelopeError::OtherType { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_envelope_alone_is_read_as_strictly() {
        let bundle = Bundle::sign(PAYLOAD, &published_key()).unwrap();
        let line = bundle.envelope_line().unwrap();
        assert!(line.ends_with("]}\n") && !line.trim_end().contains('\n'));
        assert_eq!(Bundle::parse_envelope(line.as_bytes()).unwrap(), bundle);
        for bad in [
            line.replacen('{', r#"{"payload":"","#, 1),
            line.replacen('{', r#"{"more":1,"#, 1),
            line.replace(PAYLOAD_TYPE, "text/plain"),
            line.replace("}]}", r#"},{"sig":"","keyid":""}]}"#),
        ] {
            Bundle::parse_envelope(bad.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn a_bundle_over_its_bound_is_refused_before_it_is_read() {
        let large = vec![b' '; MAX_BUNDLE + 1];
        assert!(matches!(
            Bundle::parse(&large),
            Err(EnvelopeError::Large { .. })
        ));
    }

    #[test]
    fn the_other_alphabet_of_base64_is_taken() {
        let payload = [0xfb, 0xff, 0xfe];
        let signed = Bundle::sign(&payload, &published_key()).unwrap();
        let text = serde_json::to_string(&signed).unwrap();
        let other = text.replace(&STANDARD.encode(payload), &URL_SAFE.encode(payload));
        assert_ne!(text, other);
        assert_eq!(check(&other).unwrap(), payload);
    }

    proptest! {
        #[test]
        fn reading_is_total(bytes in any::<Vec<u8>>()) {
            drop(Bundle::parse(&bytes));
        }

        #[test]
        fn a_changed_byte_is_refused_or_changes_nothing(
            at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut bytes = bundle().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let key = published_key().public();
            let read = Bundle::parse(&bytes).and_then(|bundle| bundle.verify(key));
            if let Ok(payload) = read {
                prop_assert_eq!(payload, PAYLOAD);
            }
        }
    }
}
