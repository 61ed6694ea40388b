//! The keyed hash by which the ledger and the logs name subjects (R55, R56).

use crate::consent::SubjectKey;
use crate::store::SubjectRef;
use aws_lc_rs::hmac;

/// Least length of the key in bytes.
pub const MIN_KEY_BYTES: usize = 32;

/// Makes [`SubjectRef`]s. The key is held outside the store: whoever has only the store cannot
/// test whether an address is in the ledger.
pub struct Pseudonyms(hmac::Key);

impl Pseudonyms {
    /// From the configured key.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The keyed hash of a subject.
    pub fn of(&self, subject: &SubjectKey) -> SubjectRef {
        let tag = hmac::sign(&self.0, subject.as_str().as_bytes());
        let mut short = [0; 16];
        short.copy_from_slice(&tag.as_ref()[..16]);
        SubjectRef(short)
    }
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms(…)")
    }
}
