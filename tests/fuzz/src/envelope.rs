//! Evidence from elsewhere: any file is a bundle or report of the exact form, or is refused.

#![no_main]

use cordon::report::envelope::Bundle;
use cordon::report::verify::AnyReport;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = Bundle::parse(bytes) {
        assert!(!error.to_string().is_empty());
    }
    if let Err(error) = AnyReport::parse(bytes) {
        assert!(!error.to_string().is_empty());
    }
});
