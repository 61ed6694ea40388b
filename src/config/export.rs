//! The checks of `[export]`: what consent records say of the organisation (R54).

use super::checked::Organisation;
use super::keys;
use super::raw::Table;
use url::Url;

/// Checks the table. All is optional here; the export of records says what it misses.
pub(super) fn build(root: &Table<'_>) -> Organisation {
    let table = root.table("export", keys::EXPORT);
    let url = |key: &str| {
        let text = table.text(key)?;
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "https" | "http") => Some(text),
            Ok(_) | Err(_) => {
                table.fault(
                    key,
                    "must be a web address, e.g. https://www.example.edu/privacy",
                );
                None
            }
        }
    };
    let controller_id = table.text("controller_id");
    if controller_id
        .as_deref()
        .is_some_and(|id| Url::parse(id).is_err())
    {
        table.fault(
            "controller_id",
            "must be an IRI, e.g. https://www.example.edu/#organisation",
        );
    }
    let place = |key: &str, name: &str| {
        let fits = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !fits {
            table.fault(
                key,
                format!("{name:?} is no place as DPV names it, e.g. \"US-CO\", \"US\" or \"EU\""),
            );
        }
    };
    let jurisdiction = table.text("jurisdiction");
    if let Some(name) = &jurisdiction {
        place("jurisdiction", name);
    }
    let storage_locations = table.texts("storage_locations");
    for name in &storage_locations {
        place("storage_locations", name);
    }
    let mut data_categories = table.texts("data_categories");
    for category in &data_categories {
        let known = ["pd:", "dpv:", "https://", "http://"];
        if !known.iter().any(|prefix| category.starts_with(prefix)) || category.contains(' ') {
            table.fault(
                "data_categories",
                format!("{category:?} is no term of DPV, e.g. \"pd:EmailAddress\""),
            );
        }
    }
    if data_categories.is_empty() {
        data_categories.push("pd:EmailAddress".to_owned());
    }
    Organisation {
        controller: table.text("controller"),
        controller_id,
        contact: table.text("contact"),
        postal_address: table.text("postal_address"),
        notice_url: url("notice_url"),
        notice_language: table.text("notice_language"),
        jurisdiction,
        data_categories,
        retention: table.text("retention"),
        storage_locations,
        recipients: table.texts("recipients"),
        withdraw_url: url("withdraw_url"),
        rights_url: url("rights_url"),
        validity: table.text("validity"),
    }
}
