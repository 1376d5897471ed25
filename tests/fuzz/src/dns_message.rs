//! DNS messages of a job: any packet is a question that is judged, or is answered with an error.

#![no_main]

use cordon::dns::fuzz_query;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz_query(bytes));
