//! Commands and answers as bytes (TPM 2.0 Library, parts 2 and 3), big-endian. Pure.

use std::path::Path;

use super::TpmError;

/// `TPM_RH_OWNER`: the hierarchy whose keys outlive a boot, until the TPM is cleared.
pub(super) const OWNER: u32 = 0x4000_0001;
const NULL_HIERARCHY: u32 = 0x4000_0007;
const PASSWORD: u32 = 0x4000_0009;

/// 4 KiB: as much as the kernel's driver passes on.
pub(super) const MAX_ANSWER: usize = 4096;

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const HASHCHECK: u16 = 0x8024;

const AES: u16 = 0x0006;
const SHA256: u16 = 0x000b;
const NULL: u16 = 0x0010;
const ECDSA: u16 = 0x0018;
const ECC: u16 = 0x0023;
const CFB: u16 = 0x0043;
const NIST_P256: u16 = 0x0003;

const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const USER_WITH_AUTH: u32 = 1 << 6;
const NO_DA: u32 = 1 << 10;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;

/// Came to be in this TPM, and never leaves it.
const BOUND: u32 = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN;
/// The storage key of other tools for key files too, so that they find the same parent.
const PARENT: u32 = BOUND | USER_WITH_AUTH | NO_DA | RESTRICTED | DECRYPT;
/// No password guards it, so none can be guessed, and wrong ones of others do not lock it.
const KEY: u32 = BOUND | USER_WITH_AUTH | NO_DA | SIGN;

/// A command.
pub(super) struct Command {
    /// What it is called.
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    /// Whether its answer begins with a handle.
    makes: bool,
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// With its length before it. A longer one than there can be is refused by the TPM.
    fn sized(self, bytes: &[u8]) -> Self {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX))
            .bytes(bytes)
    }
}

impl Command {
    fn new(name: &'static str, code: u32, handle: Option<u32>, parameters: &Writer) -> Self {
        let mut body = Writer::default().u32(code);
        let tag = match handle {
            None => NO_SESSIONS,
            Some(handle) => {
                // The empty password: no nonce, no flags, no secret.
                let session = Writer::default().u32(PASSWORD).u16(0).bytes(&[0]).u16(0).0;
                let length = u32::try_from(session.len()).unwrap_or(u32::MAX);
                body = body.u32(handle).u32(length).bytes(&session);
                SESSIONS
            }
        };
        let body = body.bytes(&parameters.0).0;
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        Self {
            name,
            // Tag and length are 6 bytes of it.
            bytes: Writer::default()
                .u16(tag)
                .u32(length.saturating_add(6))
                .bytes(&body)
                .0,
            makes: matches!(code, 0x131 | 0x157),
        }
    }

    pub(super) fn create_primary(hierarchy: u32) -> Self {
        let public = template(PARENT).u16(AES).u16(128).u16(CFB).u16(NULL);
        let made = creation(&on_curve(public));
        Self::new(
            "to make the storage key (TPM2_CreatePrimary)",
            0x131,
            Some(hierarchy),
            &made,
        )
    }

    pub(super) fn create(parent: u32) -> Self {
        let public = template(KEY).u16(NULL).u16(ECDSA).u16(SHA256);
        let made = creation(&on_curve(public));
        Self::new("to make a key (TPM2_Create)", 0x153, Some(parent), &made)
    }

    pub(super) fn load(parent: u32, private: &[u8], public: &[u8]) -> Self {
        let parameters = Writer::default().bytes(private).bytes(public);
        Self::new(
            "to load the key (TPM2_Load)",
            0x157,
            Some(parent),
            &parameters,
        )
    }

    pub(super) fn sign(key: u32, digest: &[u8; 32]) -> Self {
        let parameters = Writer::default()
            .sized(digest)
            .u16(ECDSA)
            .u16(SHA256)
            // Nobody vouches that the TPM made the digest: only a restricted key asks for that.
            .u16(HASHCHECK)
            .u32(NULL_HIERARCHY)
            .u16(0);
        Self::new("to sign (TPM2_Sign)", 0x15d, Some(key), &parameters)
    }

    pub(super) fn flush(handle: u32) -> Self {
        let parameters = Writer::default().u32(handle);
        Self::new(
            "to unload a key (TPM2_FlushContext)",
            0x165,
            None,
            &parameters,
        )
    }
}

/// The beginning of a public area of a key on a curve.
fn template(attributes: u32) -> Writer {
    Writer::default()
        .u16(ECC)
        .u16(SHA256)
        .u32(attributes)
        .u16(0)
}

/// The end of it: the curve, no key derivation, and a point that is not there yet.
fn on_curve(public: Writer) -> Vec<u8> {
    public.u16(NIST_P256).u16(NULL).u16(0).u16(0).0
}

/// Parameters of what makes a key: no password, nothing from outside, the template, no further data,
/// no registers.
fn creation(public: &[u8]) -> Writer {
    let sensitive = Writer::default().u16(0).u16(0).0;
    Writer::default()
        .sized(&sensitive)
        .sized(public)
        .u16(0)
        .u32(0)
}

/// What a TPM answered.
pub(super) struct Answer {
    pub(super) code: u32,
    handle: Option<u32>,
    parameters: Vec<u8>,
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn sized(&mut self) -> Option<&'b [u8]> {
        let length = self.u16()?;
        let (first, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        Some(first)
    }

    /// With its length before it, which stays there.
    fn whole(&mut self) -> Option<&'b [u8]> {
        let all = self.0;
        let length = self.sized()?.len();
        all.get(..length.checked_add(2)?)
    }

    fn number(&mut self) -> Option<[u8; 32]> {
        let bytes = self.sized()?;
        let mut number = [0; 32];
        // Zeros in front need not be there.
        let start = number.len().checked_sub(bytes.len())?;
        number.get_mut(start..)?.copy_from_slice(bytes);
        Some(number)
    }
}

/// How long an answer says that it is, if it has come so far.
pub(super) fn length(answer: &[u8]) -> Option<usize> {
    let mut reader = Reader(answer);
    reader.u16()?;
    usize::try_from(reader.u32()?).ok()
}

impl Answer {
    /// Reads what was answered to a command; nothing if it is no answer to it.
    pub(super) fn parse(bytes: &[u8], command: &Command) -> Option<Self> {
        let mut reader = Reader(bytes);
        let tag = reader.u16()?;
        let length = usize::try_from(reader.u32()?).ok()?;
        let code = reader.u32()?;
        if length != bytes.len() {
            return None;
        }
        if code != 0 {
            return Some(Self {
                code,
                handle: None,
                parameters: Vec::new(),
            });
        }
        let handle = if command.makes {
            Some(reader.u32()?)
        } else {
            None
        };
        let parameters = if tag == SESSIONS {
            let length = usize::try_from(reader.u32()?).ok()?;
            reader.0.get(..length)?
        } else {
            reader.0
        };
        Some(Self {
            code,
            handle,
            parameters: parameters.to_vec(),
        })
    }

    pub(super) fn handle(&self) -> Option<u32> {
        self.handle
    }

    /// Private and public part, as they are loaded again.
    pub(super) fn created(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut reader = Reader(&self.parameters);
        let private = reader.whole()?.to_vec();
        Some((private, reader.whole()?.to_vec()))
    }

    pub(super) fn signature(&self) -> Option<([u8; 32], [u8; 32])> {
        let mut reader = Reader(&self.parameters);
        if reader.u16()? != ECDSA || reader.u16()? != SHA256 {
            return None;
        }
        Some((reader.number()?, reader.number()?))
    }
}

/// The public part of a key that cordon may use.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Public {
    x: [u8; 32],
    y: [u8; 32],
}

impl Public {
    /// Reads one (`TPM2B_PUBLIC`). What it says of the key the TPM checks when it loads it: the wrapped
    /// part is of no use with another public one.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let unusable = |what| TpmError::Unusable { what };
        let malformed = || unusable("its public part is malformed");
        let mut outer = Reader(bytes);
        let mut area = Reader(outer.sized().ok_or_else(malformed)?);
        let kind = area.u16().zip(area.u16()).ok_or_else(malformed)?;
        if kind != (ECC, SHA256) || !outer.0.is_empty() {
            return Err(unusable("it is not on a curve"));
        }
        let attributes = area.u32().ok_or_else(malformed)?;
        if attributes & BOUND != BOUND {
            return Err(unusable("it was not made in the TPM, or can leave it"));
        }
        if attributes & USER_WITH_AUTH == 0 || attributes & (SIGN | RESTRICTED) != SIGN {
            return Err(unusable("it is not for signing"));
        }
        let rest = || -> Option<(bool, Self)> {
            let policy = area.sized()?;
            let symmetric = area.u16()?;
            let scheme = match area.u16()? {
                NULL => true,
                ECDSA => area.u16()? == SHA256,
                _ => false,
            };
            let curve = (area.u16()?, area.u16()?);
            let point = Self {
                x: area.number()?,
                y: area.number()?,
            };
            let plain = policy.is_empty() && symmetric == NULL && scheme;
            Some((
                plain && curve == (NIST_P256, NULL) && area.0.is_empty(),
                point,
            ))
        };
        let mut rest = rest;
        match rest().ok_or_else(malformed)? {
            (true, point) => Ok(point),
            (false, _) => Err(unusable("it is not P-256 for ECDSA with SHA-256")),
        }
    }

    /// The point, uncompressed (SEC 1).
    pub(super) fn point(&self) -> Vec<u8> {
        [&[4], self.x.as_slice(), &self.y].concat()
    }
}

/// Whether a handle takes one of the slots for what is loaded.
pub(super) const fn is_transient(handle: u32) -> bool {
    handle >> 24 == 0x80
}

/// Whether a handle is of a key that stays in the TPM.
pub(super) const fn is_persistent(handle: u32) -> bool {
    handle >> 24 == 0x81
}

/// Whether the command is to be sent again: `TPM_RC_YIELDED`, `TESTING`, `RETRY`.
pub(super) const fn is_busy(code: u32) -> bool {
    matches!(code, 0x908 | 0x90a | 0x922)
}

/// What a code says; nothing for success.
pub(super) fn refusal(code: u32, command: &'static str, device: &Path) -> Option<TpmError> {
    if code == 0 {
        return None;
    }
    let device = device.to_owned();
    // Codes of parameters, handles and sessions say which one it was besides.
    let kind = if code & 0x80 == 0 { code } else { code & 0xbf };
    Some(match kind {
        // `TPM_RC_AUTH_FAIL`, `BAD_AUTH`.
        0x8e | 0xa2 => TpmError::Password { device },
        // `TPM_RC_INTEGRITY`.
        0x9f => TpmError::Foreign { device },
        // `TPM_RC_LOCKOUT`.
        0x921 => TpmError::LockedOut { device },
        _ => TpmError::Refused {
            device,
            command,
            code,
        },
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A public area with these attributes, on this curve.
    fn public(attributes: u32, curve: u16) -> Vec<u8> {
        area(attributes, curve, (&[1; 32], &[2; 31]))
    }

    /// One of a key that cordon makes, with this point.
    pub(in crate::tpm) fn of_point(x: &[u8], y: &[u8]) -> Vec<u8> {
        area(KEY, NIST_P256, (x, y))
    }

    fn area(attributes: u32, curve: u16, (x, y): (&[u8], &[u8])) -> Vec<u8> {
        let area = template(attributes)
            .u16(NULL)
            .u16(ECDSA)
            .u16(SHA256)
            .u16(curve)
            .u16(NULL)
            .sized(x)
            .sized(y);
        Writer::default().sized(&area.0).0
    }

    /// One of a key that cordon makes.
    pub(in crate::tpm) fn good() -> Vec<u8> {
        public(KEY, NIST_P256)
    }

    #[test]
    fn a_command_is_what_part_3_says() {
        let digest = [0xab; 32];
        let sign = Command::sign(0x8000_0000, &digest);
        let mut expected = vec![0x80, 0x02, 0, 0, 0, 73, 0, 0, 0x01, 0x5d, 0x80, 0, 0, 0];
        expected.extend([0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
        expected.extend([0, 32]);
        expected.extend(digest);
        expected.extend([0, 0x18, 0, 0x0b, 0x80, 0x24, 0x40, 0, 0, 7, 0, 0]);
        assert_eq!(sign.bytes, expected);
        let flush = Command::flush(0x8000_0001).bytes;
        assert_eq!(flush, [0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x65, 0x80, 0, 0, 1]);
    }

    #[test]
    fn every_command_says_its_own_length() {
        for command in [
            Command::create_primary(OWNER),
            Command::create(1),
            Command::load(1, &[0, 1, 2], &[0, 1, 3]),
            Command::sign(1, &[0; 32]),
            Command::flush(1),
        ] {
            assert_eq!(length(&command.bytes), Some(command.bytes.len()));
        }
    }

    #[test]
    fn only_a_key_that_is_made_in_the_tpm_and_stays_there_is_used() {
        let key = Public::parse(&good()).unwrap();
        let point = key.point();
        assert_eq!(point.len(), 65);
        // Zeros in front of a number need not be there.
        assert_eq!(point.get(33..36), Some([0, 2, 2].as_slice()));
        let refused = |attributes: u32, curve: u16, why: &str| {
            let error = Public::parse(&public(attributes, curve)).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        };
        for without in [FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN] {
            refused(KEY & !without, NIST_P256, "can leave it");
        }
        refused(KEY & !SIGN, NIST_P256, "not for signing");
        refused(KEY & !USER_WITH_AUTH, NIST_P256, "not for signing");
        refused(KEY | RESTRICTED, NIST_P256, "not for signing");
        refused(KEY, 4, "not P-256");
        let mut more = good();
        more.push(0);
        Public::parse(&more).unwrap_err();
        for end in 0..good().len() {
            Public::parse(&good()[..end]).unwrap_err();
        }
    }

    #[test]
    fn codes_say_what_to_do_whichever_parameter_they_are_about() {
        let of = |code| refusal(code, "", Path::new("/tpm")).unwrap();
        for parameter in [0x1df, 0x9f, 0x2df] {
            assert!(matches!(of(parameter), TpmError::Foreign { .. }));
        }
        assert!(matches!(of(0x9a2), TpmError::Password { .. }));
        assert!(matches!(of(0x98e), TpmError::Password { .. }));
        assert!(matches!(of(0x921), TpmError::LockedOut { .. }));
        assert!(of(0x902).to_string().contains("tpm2_rc_decode 0x902"));
        assert!(refusal(0, "", Path::new("/tpm")).is_none());
    }

    proptest! {
        #[test]
        fn answers_are_read_totally(bytes in any::<Vec<u8>>(), sessions in any::<bool>()) {
            let mut answer = Writer::default()
                .u16(if sessions { SESSIONS } else { NO_SESSIONS })
                .u32(u32::try_from(bytes.len()).unwrap().saturating_add(10))
                .u32(0);
            answer = answer.bytes(&bytes);
            for command in [Command::create(1), Command::load(1, &[], &[])] {
                for bytes in [&bytes, &answer.0] {
                    if let Some(read) = Answer::parse(bytes, &command) {
                        let _any = (read.handle(), read.created(), read.signature());
                    }
                }
            }
            let _any: Result<Public, TpmError> = Public::parse(&bytes);
        }
    }
}
