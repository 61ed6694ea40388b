//! The `consentd` binary.

fn main() {}
