//! How the commands print their lists.

pub use crate::list::{Cell, Format, List};

use std::io::{self, ErrorKind, Write};

/// Shared by every command that prints a list.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct FormatArg {
    /// How to write the list.
    #[arg(long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    pub format: Format,
}

/// Writes to the standard output. A reader that went away, e.g. `head`, is no error.
///
/// # Errors
/// When it cannot be written.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(fault) if fault.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes a line to the standard error, for people, beside a list that a program reads.
///
/// # Errors
/// When it cannot be written.
pub fn note(text: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "{text}")
}
