//! The checks of `[privacy]`: the keys under which people who were erased are found again (R55).

use super::checked::{Privacy, SuppressionKeySettings};
use super::keys;
use super::raw::Table;
use super::secret::{self, SecretReader};
use secrecy::{ExposeSecret as _, SecretSlice};
use std::collections::BTreeSet;

/// More keys than this are a mistake: each costs a look-up.
const MAX_KEYS: usize = 10;

/// Checks the table.
pub(super) fn build(root: &Table<'_>, secrets: &dyn SecretReader) -> Privacy {
    let table = root.table("privacy", keys::PRIVACY);
    let entries = table.tables("suppression_keys", keys::SUPPRESSION_KEYS);
    if entries.len() > MAX_KEYS {
        table.fault(
            "suppression_keys",
            format!("at most {MAX_KEYS} are possible; `consentd suppressions` shows which are not needed any more"),
        );
    }
    let mut ids = BTreeSet::new();
    let mut suppression_keys: Vec<SuppressionKeySettings> = Vec::new();
    for entry in &entries {
        let id = entry.text_required("id", "a name for the key, e.g. \"2026\"");
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if id.len() > 32 || !id.chars().all(is_plain) {
            entry.fault("id", "is at most 32 lower-case letters, digits and '-'");
        }
        if !id.is_empty() && !ids.insert(id.clone()) {
            entry.fault("id", format!("{id:?} stands twice"));
        }
        if entry.item("file").is_none() {
            entry.fault(
                "file",
                format!(
                    "is missing; set it to the path of a file (mode 0400) with the key ({})",
                    secret::HOW
                ),
            );
        }
        let Some(key) = secret::file(entry, "file", secrets) else {
            continue;
        };
        let bytes = key.expose_secret().as_bytes();
        if let Some(what) = secret::weakness(bytes) {
            entry.fault("file", what);
        }
        let bytes = SecretSlice::from(bytes.to_vec());
        let mut before = suppression_keys.iter();
        if before.any(|other| other.bytes.expose_secret() == bytes.expose_secret()) {
            entry.fault("file", "holds the key of another entry too");
        }
        suppression_keys.push(SuppressionKeySettings { id, bytes });
    }
    Privacy { suppression_keys }
}
