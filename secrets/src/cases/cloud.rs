//! Credentials of the large clouds.

use super::Case;
use super::random::{
    ALNUM, BASE32, BASE32_LOWER, BASE64, BASE64_URL, Random, base32, base64, base64_url, crc32,
    in_base, marvin32,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    aws(&mut cases);
    bedrock(&mut cases);
    entra(&mut cases);
    azure_keys(&mut cases);
    azure_common(&mut cases);
    azure_access(&mut cases);
    cases
}

/// A key id of this account: its first bit set, the account in the forty bits behind it.
fn key_id(prefix: &str, account: u64, random: &mut Random) -> String {
    let bits = (1 << 47) | (account << 7);
    let mut bytes = bits.to_be_bytes()[2..].to_vec();
    bytes.extend(random.bytes(4));
    format!("{prefix}{}", base32(&bytes, BASE32))
}

fn secret(random: &mut Random) -> String {
    loop {
        let text = random.text(BASE64, 40);
        let mixed = text.bytes().any(|byte| byte.is_ascii_digit());
        // Its neighbours in a text would be taken for parts of it.
        if mixed && !text.contains("//") {
            return text;
        }
    }
}

fn aws(cases: &mut Vec<Case>) {
    let mut random = Random::of("aws");
    let rule = "aws-access-key-id";
    for prefix in ["AKIA", "ASIA", "ABIA", "ACCA"] {
        let id = key_id(prefix, 123_456_789_012, &mut random);
        cases.push(Case::found(rule, id.clone(), "the account is inside"));
        cases.push(Case::found(rule, format!("id={id};"), "between others"));
        cases.push(Case::nothing(format!("{id}A"), "a character too long"));
        cases.push(Case::nothing(&id[..19], "a character short"));
        cases.push(Case::nothing(format!("X{id}"), "the end of a longer word"));
        cases.push(Case::nothing(id.to_lowercase(), "in lower case"));
    }
    let example = format!("{}IOSFODNN7EXAMPLE", "AKIA");
    cases.push(Case::nothing(example, "the one of the documentation"));
    for prefix in ["AROA", "AIDA", "ANPA"] {
        let id = key_id(prefix, 123_456_789_012, &mut random);
        cases.push(Case::nothing(id, "a role, a user, a policy"));
    }
    let rule = "aws-secret-key";
    let key = secret(&mut random);
    let named = Case::found(rule, key.clone(), "where it is to be");
    cases.push(named.named("AWS_SECRET_ACCESS_KEY"));
    let line = format!("aws_secret_access_key = {key}");
    cases.push(Case::found(rule, line, "in a file of credentials"));
    let json = format!(r#"{{"SecretAccessKey": "{key}"}}"#);
    cases.push(Case::found(rule, json, "in an answer of STS"));
    cases.push(Case::nothing(
        key,
        "forty characters that nothing is said of",
    ));
    let like_an_id = format!("AKIA{}", &secret(&mut random)[4..]);
    let nothing = Case::nothing(like_an_id, "begins like an id and is none");
    cases.push(nothing.named("BUILD_ID"));
    let example = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    cases.push(
        Case::nothing(example, "the one of the documentation").named("AWS_SECRET_ACCESS_KEY"),
    );

    let rule = "aws-session-token";
    for beginning in ["IQoJb3JpZ2luX2VjE", "FwoGZXIvYXdzE", "FQoGZXIvYXdzE"] {
        let token = format!("{beginning}{}", random.text(BASE64, 423));
        cases.push(Case::found(rule, token.clone(), "with its known beginning"));
        cases.push(Case::nothing(
            format!("a{token}"),
            "the end of a longer word",
        ));
        cases.push(Case::nothing(&token[..40], "its beginning only"));
    }
    let other = random.text(BASE64, 356);
    let named = Case::found(rule, other.clone(), "where it is to be");
    cases.push(named.named("AWS_SESSION_TOKEN"));
    cases.push(Case::nothing(other, "nothing says what it is"));
}

fn bedrock(cases: &mut Vec<Case>) {
    let mut random = Random::of("bedrock");
    let login = format!(
        "BedrockAPIKey-ab1c-at-123456789012:{}",
        random.text(ALNUM, 44)
    );
    let key = format!("{}{}", "ABSK", base64(login.as_bytes()));
    let rule = "aws-bedrock-key";
    cases.push(Case::found(
        rule,
        key.clone(),
        "the user that AWS made is inside",
    ));
    cases.push(Case::nothing(format!("a{key}"), "the end of a longer word"));
    cases.push(Case::nothing(&key[..60], "cut off"));
    let url = format!(
        "bedrock.amazonaws.com/?Action=CallWithBearerToken&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}%2F20260921&X-Amz-Date=20260921T120000Z&X-Amz-Expires=43200&X-Amz-Signature={}",
        random.text(BASE32, 20),
        random.text("0123456789abcdef", 64)
    );
    let rule = "aws-bedrock-short-term-key";
    let key = format!("bedrock-api-key-{}", base64(url.as_bytes()));
    cases.push(Case::found(rule, key, "a request signed for hours"));
    let other = format!("bedrock-api-key-{}", random.text(ALNUM, 80));
    cases.push(Case::nothing(other, "no request inside"));
}

fn entra(cases: &mut Vec<Case>) {
    const DIGITS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ1234567890.-_~";
    let mut random = Random::of("entra");
    let rule = "azure-client-secret";
    for _ in 0..4 {
        let before = format!("{}8Q~{}", random.text(ALNUM, 3), random.text(DIGITS, 31));
        let sum = in_base(marvin32(before.as_bytes(), "AadPwd00").into(), DIGITS, 3);
        let secret = format!("{before}{}", &sum[..3]);
        cases.push(Case::found(rule, secret.clone(), "in a variable of any name").named("SP"));
        let json = format!(r#"{{"clientId":"x","clientSecret":"{secret}"}}"#);
        cases.push(Case::found(rule, json, "in a document"));
        cases.push(Case::nothing(format!("a{secret}"), "a character too long"));
        cases.push(Case::nothing(&secret[..39], "a character short"));
    }
    let older = format!("{}7Q~{}", random.text(ALNUM, 3), random.text(DIGITS, 31));
    cases.push(Case::found(rule, older, "of the older kind").named("ARM_CLIENT_SECRET"));
    let oldest = random.text(ALNUM, 34);
    let named = Case::found(rule, oldest.as_str(), "of the oldest kind");
    cases.push(named.named("AZURE_CLIENT_SECRET"));
    cases.push(Case::nothing(oldest, "nothing says what it is"));
    let reference = Case::nothing("$(AZURE_CLIENT_SECRET)", "a reference");
    cases.push(reference.named("AZURE_CLIENT_SECRET"));

    let rule = "azure-devops-pat-legacy";
    let mut bytes: [u8; 33] = random.bytes(33).try_into().expect("33");
    let covered: Vec<u8> = (0..32)
        .filter(|place| ![2, 7, 8, 22].contains(place))
        .map(|place: usize| bytes[place])
        .collect();
    let sum = (crc32(&covered) ^ 0xe0b9_692d).to_le_bytes();
    for (place, byte) in [22, 8, 7, 2].into_iter().zip(sum) {
        bytes[place] = byte;
    }
    // Half a byte more than 32, which says nothing.
    let token = &base32(&bytes, BASE32_LOWER)[..52];
    cases.push(Case::found(rule, token, "four bytes are a checksum").named("AZURE_DEVOPS_EXT_PAT"));
    cases.push(Case::found(rule, token, "the job's own").named("SYSTEM_ACCESSTOKEN"));
    cases.push(Case::nothing(token, "nothing says what it is"));
}

fn azure_keys(cases: &mut Vec<Case>) {
    let mut random = Random::of("azure");
    for (rule, signature, seeds, size) in [
        ("azure-storage-key", "+ASt", &["Default0"][..], 64_usize),
        ("azure-cosmos-key", "ACDb", &["MastRW00", "MastRO00"], 64),
        ("azure-batch-key", "+ABa", &["AbAcct00"], 64),
        ("azure-apim-key", "APIM", &["Tenant00", "Gatewy00"], 64),
        ("azure-ml-key", "+AMC", &["Classic0"], 64),
        ("azure-redis-key", "AzCa", &["Access00"], 32),
        (
            "azure-service-bus-key",
            "+ASb",
            &["Send0000", "Listen00"],
            32,
        ),
        ("azure-event-hub-key", "+AEh", &["Manage00"], 32),
        ("azure-relay-key", "+ARm", &["Send0000"], 32),
        (
            "azure-iot-key",
            "AIoT",
            &["IoTHub00", "Device00", "DpsKey00"],
            32,
        ),
        ("azure-container-registry-key", "+ACR", &["ACRDflt0"], 39),
        ("azure-search-key", "AzSe", &["Query000", "PAdmin00"], 39),
        ("azure-function-key", "AzFu", &["Master00", "Functi00"], 40),
    ] {
        for seed in seeds {
            let key = identifiable(signature, seed, size, &mut random);
            let key = if rule == "azure-function-key" {
                key.replace('+', "-").replace('/', "_")
            } else {
                key
            };
            cases.push(Case::found(rule, key.clone(), "signature and checksum"));
            cases.push(Case::found(rule, format!("k={key};x"), "between others"));
            cases.push(Case::nothing(format!("a{key}"), "the end of a longer word"));
            let moved = format!("{}{}", &key[1..], "");
            cases.push(Case::nothing(moved, "the signature at another place"));
        }
    }
}

/// Bytes whose base64 has the signature ten characters before its end, and the checksum behind it.
fn identifiable(signature: &str, seed: &str, size: usize, random: &mut Random) -> String {
    let before = (size * 4).div_ceil(3) - 10;
    let mut text = random.text(BASE64, before);
    text.push_str(signature);
    text.push_str(&random.text(BASE64, 6));
    let mut bytes = decode(&text, size);
    let sum = marvin32(&bytes[..size - 4], seed);
    bytes[size - 4..].copy_from_slice(&sum.to_le_bytes());
    base64(&bytes)
}

fn decode(text: &str, size: usize) -> Vec<u8> {
    let bits: Vec<u8> = text
        .bytes()
        .flat_map(|one| {
            let value = BASE64.find(char::from(one)).expect("base64");
            (0..6).map(move |bit| u8::from((value >> (5 - bit)) & 1 == 1))
        })
        .collect();
    bits.chunks(8)
        .take(size)
        .map(|byte| byte.iter().fold(0, |value, bit| (value << 1) | bit))
        .collect()
}

fn azure_common(cases: &mut Vec<Case>) {
    let mut random = Random::of("common");
    for (rule, service, kind) in [
        ("azure-common-key", "ACOG", "JQQJ99"),
        ("azure-common-key", "AZEG", "JQQJ9D"),
        ("azure-devops-pat", "AZDO", "JQQJ99"),
    ] {
        for long in [false, true] {
            let before = format!(
                "{}{kind}BC{}{service}",
                random.text(ALNUM, 52),
                random.text(ALNUM, 16),
            );
            assert_eq!(before.len(), 80, "the checksum begins at 80");
            let sum = common_sum(marvin32(&decode(&before, 60), "Default0"));
            let key = if long {
                format!("{before}{sum}==")
            } else {
                format!("{before}{}", &sum[..4])
            };
            cases.push(Case::found(rule, key.clone(), "signatures and checksum"));
            cases.push(Case::found(rule, format!("\"{key}\""), "in quotes"));
            cases.push(Case::nothing(format!("a{key}"), "the end of a longer word"));
        }
    }
    let random_text = random.text(ALNUM, 84);
    cases.push(Case::nothing(random_text, "as long, without signatures"));
}

/// The checksum's bytes as one number in base 62, zeros behind it, its last character cut to two bits.
fn common_sum(sum: u32) -> String {
    const DIGITS: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let number = sum.swap_bytes();
    let zeros = sum
        .to_le_bytes()
        .iter()
        .take(3)
        .take_while(|byte| **byte == 0)
        .count();
    let digits = in_base(number.into(), DIGITS, 1);
    let text = format!("{:0<6}", format!("{}{digits}", "0".repeat(zeros)));
    let last = BASE64.find(&text[5..]).expect("base64") & 0x30;
    format!("{}{}", &text[..5], &BASE64[last..=last])
}

fn azure_access(cases: &mut Vec<Case>) {
    let mut random = Random::of("access");
    let rule = "azure-sas";
    let signature = base64(&random.bytes(32));
    let escaped = signature
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    for query in [
        format!(
            "sv=2024-11-04&ss=b&srt=o&sp=r&se=2026-12-31T23:59:59Z&st=2026-01-01T00:00:00Z&spr=https&sig={escaped}"
        ),
        format!(
            "https://store.example.com/c/f?sp=r&st=2026-11-22T08%3A00%3A00Z&se=2026-11-22T16%3A00%3A00Z&sv=2024-11-04&sr=b&sig={escaped}"
        ),
        format!(
            "SharedAccessSignature sr=bus.example.com%2Fq&sig={escaped}&se=1790003600&skn=send"
        ),
        format!("?sig={escaped}&se=2026-12-31&sv=2024-11-04"),
    ] {
        cases.push(Case::found(rule, query, "with its expiry"));
    }
    cases.push(Case::nothing(
        format!("a=b&sig={escaped}"),
        "a signature of something else",
    ));
    cases.push(Case::nothing(
        "sv=2024-11-04&se=2026-12-31&sig=abc",
        "too short",
    ));
    let rule = "azure-account-key";
    let key = base64(&random.bytes(64));
    let text = format!(
        "DefaultEndpointsProtocol=https;AccountName=store;AccountKey={key};EndpointSuffix=x"
    );
    cases.push(Case::found(rule, text, "of storage, without a signature"));
    let named = Case::found(rule, key.clone(), "by its name");
    cases.push(named.named("AZURE_STORAGE_KEY"));
    cases.push(Case::nothing(key, "nothing says what it is"));
    let key = base64(&random.bytes(32));
    let text =
        format!("Endpoint=sb://bus.example.com/;SharedAccessKeyName=send;SharedAccessKey={key}");
    cases.push(Case::found(rule, text, "of messaging, without a signature"));
    cases.push(Case::nothing("AccountName=store;AccountKey=;", "empty"));
    cases.push(Case::nothing("AccountKey=<key>", "to be filled in"));
    let job = random.text(BASE64_URL, 60);
    cases.push(Case::nothing(job, "nothing says what it is"));
    let plain = base64_url(&random.bytes(32));
    cases.push(Case::nothing(plain, "nothing says what it is"));
}
