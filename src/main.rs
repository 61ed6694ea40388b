//! The `consentd` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    consentd::cli::main()
}
