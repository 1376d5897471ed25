//! Azure keys that carry the signature of their service at a fixed place, and a checksum behind it.
//!
//! Places, signatures and seeds are those of `microsoft/security-utilities`, which calls them
//! identifiable keys.

use super::base64::{decode, decoded_len};
use super::shape::{ALNUM, Alphabet, BASE64, BASE64_URL, Cursor, PADDING, begins, ends};
use super::{About, Credential, Format, Mark, Sighting};
use crate::checksum::marvin;
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

/// Bytes that the longest of these keys decodes to.
const KEY_BYTES: usize = decoded_len(88);

/// A service: where its signature stands, and the seeds of its kinds of keys.
struct Service {
    signature: [u8; 4],
    /// Characters before the signature.
    before: usize,
    /// Characters after it, without padding: the checksum and what is left of the byte before.
    after: usize,
    padding: usize,
    alphabet: Alphabet,
    seeds: &'static [&'static [u8; 8]],
}

/// Keys of 64 bytes.
const fn long(signature: [u8; 4], seeds: &'static [&'static [u8; 8]]) -> Service {
    Service {
        signature,
        before: 76,
        after: 6,
        padding: 2,
        alphabet: BASE64,
        seeds,
    }
}

/// Keys of 32 bytes.
const fn short(signature: [u8; 4], seeds: &'static [&'static [u8; 8]]) -> Service {
    Service {
        before: 33,
        padding: 1,
        ..long(signature, seeds)
    }
}

/// Keys of 39 bytes, which need no padding.
const fn middle(signature: [u8; 4], seeds: &'static [&'static [u8; 8]]) -> Service {
    Service {
        before: 42,
        padding: 0,
        ..long(signature, seeds)
    }
}

const MESSAGING: &[&[u8; 8]] = &[
    b"Send0000",
    b"Manage00",
    b"Listen00",
    b"System00",
    b"Unknown0",
];

const COSMOS: &[&[u8; 8]] = &[
    b"MastRW00",
    b"MastRO00",
    b"SystRW00",
    b"SystRO00",
    b"SysAll00",
    b"Resour00",
    b"Encryp00",
];

macro_rules! service {
    ($id:literal, $title:literal, $mark:literal, $service:expr) => {
        Format {
            rule: Rule {
                id: $id,
                title: $title,
            },
            marks: &[Mark::Anywhere($mark)],
            about: About {
                check: "signature of the service, Marvin32",
                life: "until revoked",
                classes: &[Class::Static],
            },
            read: |sighting, scratch| identifiable(sighting, scratch, &$service),
        }
    };
}

pub(super) const FORMATS: &[Format] = &[
    service!(
        "azure-storage-key",
        "Azure Storage account key",
        b"+ASt",
        long(*b"+ASt", &[b"Default0"])
    ),
    service!(
        "azure-cosmos-key",
        "Azure Cosmos DB key",
        b"ACDb",
        long(*b"ACDb", COSMOS)
    ),
    service!(
        "azure-batch-key",
        "Azure Batch key",
        b"+ABa",
        long(*b"+ABa", &[b"AbAcct00"])
    ),
    service!(
        "azure-apim-key",
        "Azure API Management key",
        b"APIM",
        long(
            *b"APIM",
            &[b"Tenant00", b"IoTHub00", b"Gatewy00", b"GitKey00"]
        )
    ),
    service!(
        "azure-ml-key",
        "Azure Machine Learning (classic) key",
        b"+AMC",
        long(*b"+AMC", &[b"Classic0"])
    ),
    service!(
        "azure-redis-key",
        "Azure Cache for Redis key",
        b"AzCa",
        short(*b"AzCa", &[b"Access00"])
    ),
    service!(
        "azure-service-bus-key",
        "Azure Service Bus key",
        b"+ASb",
        short(*b"+ASb", MESSAGING)
    ),
    service!(
        "azure-event-hub-key",
        "Azure Event Hubs key",
        b"+AEh",
        short(*b"+AEh", MESSAGING)
    ),
    service!(
        "azure-relay-key",
        "Azure Relay key",
        b"+ARm",
        short(*b"+ARm", MESSAGING)
    ),
    service!(
        "azure-iot-key",
        "Azure IoT Hub or device key",
        b"AIoT",
        short(*b"AIoT", &[b"IoTHub00", b"Device00", b"DpsKey00"])
    ),
    service!(
        "azure-container-registry-key",
        "Azure Container Registry key",
        b"+ACR",
        middle(*b"+ACR", &[b"ACRDflt0"])
    ),
    service!(
        "azure-search-key",
        "Azure AI Search key",
        b"AzSe",
        middle(*b"AzSe", &[b"Query000", b"PAdmin00"])
    ),
    service!(
        "azure-function-key",
        "Azure Functions key",
        b"AzFu",
        Service {
            before: 44,
            alphabet: BASE64_URL,
            ..long(*b"AzFu", &[b"Functi00", b"Master00", b"System00"])
        }
    ),
    Format {
        rule: Rule {
            id: "azure-devops-pat",
            title: "Azure DevOps personal access token",
        },
        marks: COMMON_MARKS,
        about: About {
            check: "signatures, Marvin32",
            life: "until revoked, a year at most",
            classes: &[Class::Static],
        },
        read: |sighting, scratch| common(sighting, scratch, true),
    },
    Format {
        rule: Rule {
            id: "azure-common-key",
            title: "Azure key with the common annotation (OpenAI, AI services, Maps and others)",
        },
        marks: COMMON_MARKS,
        about: About {
            check: "signatures, Marvin32",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: |sighting, scratch| common(sighting, scratch, false),
    },
];

fn identifiable(
    sighting: &Sighting<'_>,
    scratch: &mut Scratch<'_>,
    service: &Service,
) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let start = at.checked_sub(service.before)?;
    begins(text, start, service.alphabet).then_some(())?;
    let mut cursor = Cursor::new(text, start);
    cursor.take(service.alphabet, service.before)?;
    cursor.literal(&service.signature)?;
    cursor.run(service.alphabet, service.after..=service.after)?;
    for _ in 0..service.padding {
        cursor.literal(b"=")?;
    }
    ends(text, cursor.at(), service.alphabet.and(PADDING)).then_some(())?;
    let span = start..cursor.at();
    let key = text.get(span.clone())?;
    (!is_placeholder(key)).then_some(())?;
    let valid = scratch
        .with(KEY_BYTES, |memory, _| {
            let (before, sum) = decode(key, memory)?.split_last_chunk::<4>()?;
            let sum = u32::from_le_bytes(*sum);
            let mut seeds = service.seeds.iter();
            Some(seeds.any(|seed| marvin::hash32(before, **seed) == sum))
        })
        .flatten()?;
    Some(Credential::new(span, Class::Static, Life::Long, Confidence::High).checked(valid))
}

/// Characters before the common annotation, before the service's signature and before the checksum.
const ANNOTATION_AT: usize = 52;
const SIGNATURE_AT: usize = 76;
const SUM_AT: usize = 80;

/// Keys, derived keys, hashes.
const COMMON_MARKS: &[Mark] = &[
    Mark::Anywhere(b"JQQJ99"),
    Mark::Anywhere(b"JQQJ9D"),
    Mark::Anywhere(b"JQQJ9H"),
];

/// 84 characters of letters and digits, or 88 with padding.
fn common(
    sighting: &Sighting<'_>,
    scratch: &mut Scratch<'_>,
    is_devops: bool,
) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let start = at.checked_sub(ANNOTATION_AT)?;
    begins(text, start, BASE64).then_some(())?;
    let mut cursor = Cursor::new(text, start);
    let key = cursor.run(ALNUM, 84..=86)?;
    (key.len() != 85).then_some(())?;
    if key.len() == 86 {
        cursor.literal(b"==")?;
    }
    ends(text, cursor.at(), BASE64.and(PADDING)).then_some(())?;
    let signature = key.get(SIGNATURE_AT..SUM_AT)?;
    (signature.eq_ignore_ascii_case(b"AZDO") == is_devops).then_some(())?;
    (!is_placeholder(key)).then_some(())?;
    let sum = key.get(SUM_AT..)?;
    let valid = scratch
        .with(KEY_BYTES, |memory, _| {
            let bytes = decode(key.get(..SUM_AT)?, memory)?;
            Some(is_common_sum(marvin::hash32(bytes, *b"Default0"), sum))
        })
        .flatten()?;
    let span = start..cursor.at();
    Some(Credential::new(span, Class::Static, Life::Long, Confidence::High).checked(valid))
}

/// Whether the text is this checksum, in base 62 or in base 64; of the short form only the first four
/// characters are there.
fn is_common_sum(sum: u32, text: &[u8]) -> bool {
    let bytes = sum.to_le_bytes();
    let of_62 = base62(bytes);
    let of_64 = base64(bytes);
    match text {
        [_, _, _, _] => of_62.starts_with(text) || of_64.starts_with(text),
        // Two bits of the sixth character count; the rest is cut when it is written as base 64.
        [five @ .., last] => {
            let cut = |character: u8| six_bits(character).map(|bits| bits & 0x30);
            of_64 == text || (of_62.starts_with(five) && cut(of_62[5]) == cut(*last))
        }
        [] => false,
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn six_bits(character: u8) -> Option<usize> {
    DIGITS.iter().position(|digit| *digit == character)
}

/// Four bytes in base 64, unpadded.
fn base64(bytes: [u8; 4]) -> [u8; 6] {
    let bits = u64::from(u32::from_be_bytes(bytes)) << 4;
    [30, 24, 18, 12, 6, 0].map(|shift: u32| {
        let digit = usize::try_from(bits.wrapping_shr(shift) & 0x3f).unwrap_or_default();
        DIGITS.get(digit).copied().unwrap_or_default()
    })
}

/// Four bytes as one number in base 62, filled with zeros on the right. A leading zero byte is a
/// leading zero digit.
fn base62(bytes: [u8; 4]) -> [u8; 6] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let zeros = bytes.iter().take(3).take_while(|byte| **byte == 0).count();
    let mut number = u32::from_be_bytes(bytes);
    let mut digits = [0; 6];
    let mut count: usize = 0;
    loop {
        let digit = usize::try_from(number % 62).unwrap_or_default();
        digits.rotate_right(1);
        digits[0] = DIGITS.get(digit).copied().unwrap_or_default();
        count = count.saturating_add(1);
        number /= 62;
        if number == 0 {
            break;
        }
    }
    let mut text = [b'0'; 6];
    let found = digits.iter().take(count);
    for (slot, digit) in text.iter_mut().skip(zeros).zip(found) {
        *slot = *digit;
    }
    text
}
