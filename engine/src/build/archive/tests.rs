use proptest::prelude::*;

use super::header::Header;
use super::*;

/// A header as old programs write it.
fn entry(name: &str, kind: u8, target: &str, bytes: &[u8]) -> Vec<u8> {
    let mut block = vec![0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..][..bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0001750\0");
    put(116, b"0001750\0");
    put(124, format!("{:011o}\0", bytes.len()).as_bytes());
    put(136, b"14000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(bytes);
    block.resize(block.len().next_multiple_of(BLOCK), 0xff);
    block
}

fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    entry(name, b'0', "", bytes)
}

fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

/// What becomes of a context, read in pieces.
fn packed(dockerfile: &str, context: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
    let mut read = Context::new(dockerfile)?;
    let mut out = Context::begin();
    for piece in context.chunks(piece) {
        read.push(piece, &mut out)?;
    }
    let found = read.dockerfile()?.to_vec();
    out.extend(read.end("FROM ours"));
    Ok((found, out))
}

/// Names, kinds, targets and bytes of what goes on.
fn listed(mut archive: &[u8]) -> Vec<(String, Kind, String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut records = Records::default();
    loop {
        let (block, rest) = archive.split_at(BLOCK);
        archive = rest;
        if block.iter().all(|byte| *byte == 0) {
            assert_eq!(archive, vec![0; BLOCK]);
            return all;
        }
        let mut header = Header::read(block).unwrap();
        let size = usize::try_from(header.size).unwrap();
        let (bytes, rest) = archive.split_at(size.next_multiple_of(BLOCK));
        archive = rest;
        let (bytes, padding) = bytes.split_at(size);
        assert!(padding.iter().all(|byte| *byte == 0));
        if header.kind == Kind::Records {
            records.read(Kind::Records, bytes).unwrap();
            continue;
        }
        header.extend(std::mem::take(&mut records)).unwrap();
        let target = String::from_utf8_lossy(&header.target).into_owned();
        let name = String::from_utf8(header.name).unwrap();
        all.push((name, header.kind, target, bytes.to_vec()));
    }
}

fn names(archive: &[u8]) -> Vec<String> {
    listed(archive).into_iter().map(|(name, ..)| name).collect()
}

#[test]
fn a_context_is_packed_anew_with_our_dockerfile_last() {
    let long = "d/".repeat(120) + "é";
    let mut context = [
        entry("./", b'5', "", b""),
        file("./Dockerfile", b"FROM a"),
        file(".dockerignore", b"*.o"),
        entry("sub//", b'5', "", b""),
        entry("sub/link", b'2', "../../etc", b""),
        entry("sub/hard", b'1', "./Dockerfile", b""),
        entry("././@LongLink", b'L', "", format!("{long}\0").as_bytes()),
        file("short", &[7; 1025]),
        entry("x", b'x', "", b"17 path=in/a/pax\n14 mtime=1.25\n"),
        file("other", b""),
        entry("old/", b'0', "", b""),
    ]
    .concat();
    context.extend(end());
    context.extend(b"whatever follows");
    for piece in [1, 7, 512, 100_000] {
        let (found, out) = packed("", &context, piece).unwrap();
        assert_eq!(found, b"FROM a");
        assert_eq!(
            names(&out),
            [
                "./",
                "Dockerfile",
                "sub/",
                "sub/link",
                "sub/hard",
                long.as_str(),
                "in/a/pax",
                "old/",
                ".dockerignore",
                DOCKERFILE,
            ]
        );
        let list = listed(&out);
        assert_eq!(list[3].2, "../../etc");
        assert_eq!(list[4].2, "Dockerfile");
        assert_eq!(list[5].3, [7; 1025]);
        assert_eq!(list[8].3, b"*.o\n.cordon-dockerfile\n");
        assert_eq!(list[9].3, b"FROM ours");
        assert!(out.starts_with(b"./\0"));
    }
}

#[test]
fn the_dockerfile_is_the_one_that_was_named() {
    let context = [file("dockerfile", b"small"), file("a/B", b"named"), end()].concat();
    assert_eq!(packed("", &context, 512).unwrap().0, b"small");
    assert_eq!(packed("./a//B", &context, 512).unwrap().0, b"named");
    let both = [
        file("dockerfile", b"small"),
        file("Dockerfile", b"large"),
        end(),
    ]
    .concat();
    assert_eq!(packed("Dockerfile", &both, 512).unwrap().0, b"large");
    // One that is not marked as ended is whole between two files.
    let open = file("Dockerfile", b"open");
    assert_eq!(packed("", &open, 512).unwrap().0, b"open");
}

#[test]
fn a_context_that_can_be_read_in_two_ways_is_refused() {
    let good = || file("Dockerfile", b"FROM a");
    let sparse = entry("s", b'S', "", b"");
    let mut damaged = file("a", b"");
    damaged[0] = b'b';
    let mut binary = file("a", b"");
    binary[124] = 0x80;
    // The sum of its bytes is right.
    binary[148..156].copy_from_slice(b"        ");
    let sum: u64 = binary.iter().map(|byte| u64::from(*byte)).sum();
    binary[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    let shown = [
        (
            "twice",
            [good(), file("./Dockerfile", b"FROM b"), end()].concat(),
        ),
        (
            "is no plain file",
            [entry("Dockerfile", b'2', "x", b""), end()].concat(),
        ),
        (
            "is no plain file",
            [good(), entry("Dockerfile", b'1', "x", b""), end()].concat(),
        ),
        (
            "is no plain file",
            [good(), entry(".dockerignore", b'2', "x", b""), end()].concat(),
        ),
        (
            "twice",
            [
                good(),
                file(".dockerignore", b""),
                file(".dockerignore", b""),
                end(),
            ]
            .concat(),
        ),
        (
            "hands a Dockerfile on",
            [good(), file(DOCKERFILE, b"FROM b"), end()].concat(),
        ),
        (
            "hands a Dockerfile on",
            [good(), file(".cordon-dockerfile/x", b""), end()].concat(),
        ),
        (
            "leads out",
            [good(), file("a/../../x", b""), end()].concat(),
        ),
        (
            "leads out",
            [good(), entry("h", b'1', "../x", b""), end()].concat(),
        ),
        (
            "device or a pipe",
            [good(), entry("p", b'6', "", b""), end()].concat(),
        ),
        (
            "device or a pipe",
            [good(), entry("p", b'3', "", b""), end()].concat(),
        ),
        ("of the type", [good(), sparse, end()].concat()),
        ("is no tar file", [good(), damaged, end()].concat()),
        ("not octal", [good(), binary, end()].concat()),
        (
            "bytes of its own",
            [good(), entry("l", b'2', "x", b"y"), end()].concat(),
        ),
        (
            "not known",
            [entry("x", b'x', "", b"22 GNU.sparse.major=1\n"), good()].concat(),
        ),
        (
            "damaged",
            [entry("x", b'x', "", b"99 path=x\n"), good()].concat(),
        ),
        (
            "damaged",
            [entry("x", b'x', "", b"9 path=x "), good()].concat(),
        ),
        (
            "changes all",
            [entry("x", b'g', "", b"10 path=x\n"), good()].concat(),
        ),
        ("cut short", good()[..600].to_vec()),
        ("cut short", good()[..100].to_vec()),
        ("cut short", Vec::new()),
        ("has no file `Dockerfile`", [file("a", b""), end()].concat()),
        (
            "larger than 1 MiB",
            file("Dockerfile", &vec![b'#'; (1 << 20) + 1]),
        ),
        ("is compressed", [&[0x1f, 0x8b][..], &[0; 600]].concat()),
        ("is compressed", vec![0x1f, 0x8b, 8, 0]),
    ];
    for (needle, context) in shown {
        let refusal = packed("", &context, 512).unwrap_err();
        assert!(refusal.message.contains(needle), "{needle}: {refusal}");
    }
    Context::new("../Dockerfile").unwrap_err();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _either = packed("", &bytes, 512);
    }

    /// However it is cut, and whatever was changed in it: what goes on is well-formed, and ours is last.
    #[test]
    fn what_goes_on_is_well_formed(
        names in proptest::collection::vec("(\\./)?[a-z/é.]{1,40}", 0..6),
        kinds in proptest::collection::vec(prop::sample::select(b"0125xgLK37".to_vec()), 6),
        bytes in proptest::collection::vec(any::<u8>(), 0..700),
        piece in 1_usize..1500,
        at in 0_usize..4000,
        change in any::<u8>(),
    ) {
        let mut context = file("Dockerfile", b"FROM a");
        for (name, kind) in names.iter().zip(kinds) {
            let bytes = if matches!(kind, b'1' | b'2' | b'5') { &[][..] } else { &bytes };
            context.extend(entry(name, kind, "target", bytes));
        }
        context.extend(end());
        let whole = packed("", &context, context.len());
        prop_assert_eq!(&packed("", &context, piece), &whole);
        if let Some(byte) = context.get_mut(at) {
            *byte ^= change;
        }
        if let Ok((_, out)) = packed("", &context, piece) {
            let list = listed(&out);
            let last = list.last().unwrap();
            prop_assert_eq!(&last.0, DOCKERFILE);
            prop_assert_eq!(list.iter().filter(|entry| entry.0 == DOCKERFILE).count(), 1);
            for (name, ..) in &list {
                prop_assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."));
            }
        }
    }
}
