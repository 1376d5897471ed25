//! What a connection sends is the job's: any stream shows the same names however it is cut, and each of
//! them is a host name.

#![no_main]

use cordon_ebpf::shown::{Reading, Step, Verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (verify, size, stream) = input;
    let verify = Verify(verify & 3);
    let whole = read(verify, &[stream]);
    let pieces: Vec<&[u8]> = stream.chunks(usize::from(size).max(1)).collect();
    assert_eq!(whole, read(verify, &pieces));
    for name in &whole.0 {
        assert!(!name.is_empty() && name.len() <= 253);
        assert!(name.iter().all(|byte| b"-._".contains(byte) || byte.is_ascii_alphanumeric()));
    }
});

fn read(verify: Verify, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Step) {
    let mut reading = Reading::new(verify);
    let mut names = Vec::new();
    for piece in pieces {
        let step = reading.read(piece, |name| names.push(name.to_vec()));
        if step != Step::MORE {
            return (names, step);
        }
    }
    (names, Step::MORE)
}
