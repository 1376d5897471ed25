//! `cordon-oci`: carries evidence to and from registries, for `cordon publish` and `cordon verify`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cordon_oci::cli::main()
}
