//! Builds: a context is packed anew or refused, and what is written for the engine names no image but by its id.
//!
//! The first byte says which: a context, or a Dockerfile.

#![no_main]

use std::collections::BTreeMap;

use cordon_engine::build::DOCKERFILE;
use cordon_engine::build::archive::Context;
use cordon_engine::build::dockerfile::{Dockerfile, is_id};
use cordon_engine::job::Job;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((b'c', context)) => packed(context),
        Some((_, text)) => written(text),
        None => {}
    }
});

/// However it comes, it is read as the same.
fn packed(bytes: &[u8]) {
    let whole = pack(bytes, bytes.len().max(1));
    assert_eq!(whole, pack(bytes, 7));
    if let Some(out) = whole {
        assert_eq!(out.len() % 512, 0);
        assert!(out.starts_with(b"./\0"));
        // Ours is the only one of its name: its header, and the line that has it ignored.
        let headers = out.chunks(512).filter(|block| block.starts_with(DOCKERFILE.as_bytes()));
        assert!(headers.count() >= 1);
        // Packed again, it is refused for that name alone.
        assert!(pack(&out, 512).is_none());
    }
}

fn pack(bytes: &[u8], piece: usize) -> Option<Vec<u8>> {
    let mut context = Context::new("").ok()?;
    let mut out = Context::begin();
    for piece in bytes.chunks(piece) {
        context.push(piece, &mut out).ok()?;
    }
    context.dockerfile().ok()?;
    Some(context.end("FROM scratch"))
        .map(|end| [out, end].concat())
}

fn written(text: &[u8]) {
    let job = Job {
        id: "job-1".to_owned(),
        cgroup_parent: "/cordon.slice/job-1".to_owned(),
        network: "cordon-job-1".to_owned(),
        runtime: "cordon".to_owned(),
        workspace: Vec::new(),
    };
    let Ok(read) = Dockerfile::read(text, &BTreeMap::new(), "") else { return };
    let id = "0".repeat(64);
    let ids = read.images().into_iter().map(|name| (name.to_owned(), id.clone()));
    let written = read.write(&job, &ids.collect()).expect("each image has an id");
    for line in written.lines() {
        let (word, rest) = line.split_once(' ').expect("an instruction");
        assert!(!line.ends_with('\\') && !line.contains('\r'));
        match word {
            "FROM" => {
                let (image, name) = rest.rsplit_once(" AS ").expect("a stage");
                let image = image.rsplit(' ').next().unwrap_or_default();
                assert!(is_id(image) || image == "scratch" || image.starts_with("cordon-stage-"));
                assert!(name.starts_with("cordon-stage-"));
            }
            "ADD" => {
                let (_options, files) = rest.split_once('[').expect("a list");
                assert!(!files.contains(':') && !files.contains('$'));
            }
            "RUN" => assert!(!rest.starts_with("--")),
            "COPY" if rest.starts_with("--from=") => {
                let from = rest.trim_start_matches("--from=").split(' ').next().unwrap_or_default();
                assert!(is_id(from) || from.starts_with("cordon-stage-"));
            }
            _ => assert_ne!(word, "ONBUILD"),
        }
    }
}
