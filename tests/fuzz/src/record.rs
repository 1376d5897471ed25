//! Ring records hold bytes that a job chose: any slice is an event or an error that can be counted.

#![no_main]

use cordon::events::decode::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = decode(bytes) {
        assert!(!error.to_string().is_empty());
    }
});
