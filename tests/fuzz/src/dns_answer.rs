//! Answers of a resolver: what is given to a job is the asked name's, public and leased, or nothing.

#![no_main]

use cordon::dns::fuzz_answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz_answer(bytes));
