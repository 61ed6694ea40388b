//! What is left of people who were erased (R55): HMAC-SHA-256 of the subject under a key that is held
//! outside the store, with purpose and date.
//!
//! The first key is used for new suppressions. Older ones stay for look-ups until nothing stands under
//! them any more: whenever an address is at hand whose suppression stands under an older key, it is put
//! under the first one. The identity key is the last of all, under the id [`IDENTITY`].

use crate::config::Checked;
use crate::consent::{At, Purposes, SubjectKey, suppression};
use crate::store::{Store, StoreError, SuppressionDigest, SuppressionKey, SuppressionRow};
use aws_lc_rs::hmac;
use secrecy::ExposeSecret as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// The id of the identity key, which is always there.
pub const IDENTITY: &str = "identity";
/// Sets the digests apart from the keyed hashes of subjects, where both have one key.
const LABEL: &[u8] = b"suppression\0";

/// The configured keys, the one for new suppressions first.
pub struct Suppressor {
    keys: Vec<(String, hmac::Key)>,
    /// A transaction has seen that somebody was erased.
    is_needed: AtomicBool,
}

impl Suppressor {
    /// With these keys, by their ids; the identity key is added unless one has its id.
    pub fn new<'k>(keys: impl IntoIterator<Item = (&'k str, &'k [u8])>, identity: &[u8]) -> Self {
        let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let mut keys: Vec<(String, hmac::Key)> = keys
            .into_iter()
            .map(|(id, bytes)| (id.to_owned(), key(bytes)))
            .collect();
        if keys.iter().all(|(id, _)| id != IDENTITY) {
            keys.push((IDENTITY.to_owned(), key(identity)));
        }
        Self {
            keys,
            is_needed: AtomicBool::new(false),
        }
    }

    /// As configured.
    pub fn of(checked: &Checked) -> Self {
        let keys = checked.privacy.suppression_keys.iter();
        let keys = keys.map(|key| (key.id.as_str(), key.bytes.expose_secret()));
        Self::new(keys, checked.hash_key.expose_secret())
    }

    /// The digests of a subject under every key, in the order of the keys.
    pub fn digests(&self, subject: &SubjectKey) -> impl Iterator<Item = SuppressionDigest> + '_ {
        let text = [LABEL, subject.as_str().as_bytes()].concat();
        self.keys.iter().map(move |(_, key)| {
            let mut digest = [0; 32];
            digest.copy_from_slice(hmac::sign(key, &text).as_ref());
            digest
        })
    }

    /// What is stored of somebody who is erased now: a row for each root purpose, under the first key.
    pub fn rows(&self, subject: &SubjectKey, purposes: &Purposes, now: At) -> Vec<SuppressionRow> {
        let Some((digest, key)) = self.digests(subject).zip(&self.keys).next() else {
            return Vec::new();
        };
        suppression::roots(purposes)
            .map(|purpose| SuppressionRow {
                digest,
                key: key.0.clone(),
                purpose: purposes.name(purpose).to_owned(),
                since: now.micros(),
                seen_at: None,
            })
            .collect()
    }

    /// A stored row as it stands once its address was seen: under the first key.
    pub fn seen(
        &self,
        row: &SuppressionRow,
        first: SuppressionDigest,
        seen_at: Option<i64>,
    ) -> SuppressionRow {
        let key = self.keys.first().map_or("", |(id, _)| id);
        SuppressionRow {
            digest: first,
            key: key.to_owned(),
            seen_at: seen_at.or(row.seen_at),
            ..row.clone()
        }
    }

    /// Whether subjects are to be looked for among the suppressions before it is known that they are
    /// new.
    pub fn is_needed(&self) -> bool {
        self.is_needed.load(Ordering::Relaxed)
    }

    /// A transaction has found that somebody was erased.
    pub(super) fn note(&self, any: bool) {
        if any {
            self.is_needed.store(true, Ordering::Relaxed);
        }
    }

    /// How many suppressions stand under each configured key, in the order of the keys.
    ///
    /// # Errors
    /// When the store fails, or holds suppressions under a key that is not configured: whoever they are
    /// about would be taken for a stranger.
    pub async fn standing(&self, store: &dyn Store) -> Result<Vec<SuppressionKey>, StoreError> {
        let stored = store.suppression_keys().await?;
        let known = |row: &&SuppressionKey| self.keys.iter().any(|(id, _)| *id == row.key);
        if let Some(missing) = stored.iter().find(|row| !known(row)) {
            return Err(StoreError::Unusable(format!(
                "{} suppressions of people who were erased stand under the key {:?}, which is not \
                 among privacy.suppression_keys; add it there again",
                missing.rows, missing.key
            )));
        }
        let rows = |id: &str| {
            let mut stored = stored.iter().filter(|row| row.key == id);
            stored.next().map_or(0, |row| row.rows)
        };
        let counted = self.keys.iter().map(|(id, _)| SuppressionKey {
            key: id.clone(),
            rows: rows(id),
        });
        Ok(counted.collect())
    }
}

impl std::fmt::Debug for Suppressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Suppressor(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(address: &str) -> SubjectKey {
        SubjectKey::from_address(address).unwrap()
    }

    #[test]
    fn r55_a_digest_is_the_hmac_of_the_label_and_the_subject() {
        let suppressor = Suppressor::new([], b"Jefe");
        let digests: Vec<_> = suppressor.digests(&subject("ann@example.org")).collect();
        let text = b"suppression\0ann@example.org";
        let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"Jefe"), text);
        assert_eq!(digests, [expected.as_ref()]);
    }

    #[test]
    fn r55_the_first_key_is_for_new_ones_and_the_identity_key_is_the_last() {
        let keys = [("2026", b"new".as_slice()), ("2024", b"old")];
        let suppressor = Suppressor::new(keys, b"identity key");
        let digests: Vec<_> = suppressor.digests(&subject("ann@example.org")).collect();
        assert_eq!(digests.len(), 3);
        let purposes = Purposes::default();
        assert_eq!(
            suppressor.rows(&subject("ann@example.org"), &purposes, At::from_micros(1)),
            []
        );
        let own = [("identity", b"other".as_slice())];
        let suppressor = Suppressor::new(own, b"identity key");
        assert_eq!(suppressor.digests(&subject("a@b.example")).count(), 1);
    }
}
