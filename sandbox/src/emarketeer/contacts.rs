//! The contacts of an account.
//!
//! A contact needs an address, and mostly there is one contact to an address; old data has a few duplicates. Where several
//! match, the one with the lowest id is taken.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};

/// Id of the first contact.
const FIRST_ID: u64 = 400_001;

/// Standard fields besides the address, as the present API and as API 1.0 calls them (API 1.0: "Standard fields").
pub(crate) const STANDARD: [(&str, &str); 13] = [
    ("firstName", "firstname"),
    ("lastName", "lastname"),
    ("salutation", "salutation"),
    ("company", "company"),
    ("title", "title"),
    ("phone", "telephone"),
    ("mobilePhone", "mobile"),
    ("address1", "address1"),
    ("address2", "address2"),
    ("city", "city"),
    ("zip", "zip"),
    ("externalId", "external_id"),
    ("note", "note"),
];
/// The field that holds the number of the contact in a CRM.
pub(crate) const EXTERNAL_ID: &str = "externalId";
/// Beginning of the names of custom fields.
pub(crate) const CUSTOM: &str = "c__";

/// Longest address in bytes.
pub(crate) const MAX_ADDRESS_BYTES: usize = 500;

/// Characters that a field holds; what is longer is cut off (contact field character limit).
fn most_chars(field: &str) -> usize {
    match field {
        "mobilePhone" => 100,
        "zip" => 25,
        "note" => 65_535,
        name if name.starts_with(CUSTOM) => 2_000,
        _ => 500,
    }
}

/// One contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) id: u64,
    /// In lower case.
    pub(crate) address: Box<str>,
    /// Fields with a value, by the names of the present API.
    pub(crate) fields: Vec<(Box<str>, Box<str>)>,
    pub(crate) created: DateTime<Utc>,
    pub(crate) modified: DateTime<Utc>,
}

impl Contact {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| &**field == name)
            .map(|(_, value)| &**value)
    }

    fn set(&mut self, name: &str, value: &str) {
        self.fields.retain(|(field, _)| &**field != name);
        if !value.is_empty() {
            let value: String = value.chars().take(most_chars(name)).collect();
            self.fields.push((name.into(), value.into()));
        }
    }
}

/// New values of fields, by the names of the present API; an empty value clears a field.
pub(crate) type Changes = BTreeMap<String, String>;

/// All contacts.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    rows: BTreeMap<u64, Contact>,
    by_address: HashMap<Box<str>, BTreeSet<u64>>,
    by_external: HashMap<Box<str>, BTreeSet<u64>>,
    by_created: BTreeSet<(DateTime<Utc>, u64)>,
    by_modified: BTreeSet<(DateTime<Utc>, u64)>,
    given: u64,
}

/// By which time contacts are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Created,
    Modified,
}

impl Contacts {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds a contact whose address must be in lower case, and returns its id.
    pub(crate) fn add(
        &mut self,
        address: &str,
        changes: &Changes,
        created: DateTime<Utc>,
        modified: DateTime<Utc>,
    ) -> u64 {
        let id = FIRST_ID + self.given;
        self.given += 1;
        let mut contact = Contact {
            id,
            address: address.into(),
            fields: Vec::new(),
            created,
            modified,
        };
        for (name, value) in changes {
            contact.set(name, value);
        }
        self.link(&contact);
        self.rows.insert(id, contact);
        id
    }

    /// Changes a contact; `false` when there is none of this id.
    pub(crate) fn change(&mut self, id: u64, changes: &Changes, now: DateTime<Utc>) -> bool {
        self.edit(id, |contact| {
            for (name, value) in changes {
                contact.set(name, value);
            }
            contact.modified = now;
        })
    }

    /// Gives a contact another address, in lower case; `false` when there is none of this id.
    pub(crate) fn move_to(&mut self, id: u64, address: &str, now: DateTime<Utc>) -> bool {
        self.edit(id, |contact| {
            contact.address = address.into();
            contact.modified = now;
        })
    }

    /// Moves only the modification date.
    pub(crate) fn touch(&mut self, id: u64, now: DateTime<Utc>) {
        self.edit(id, |contact| contact.modified = now);
    }

    fn edit(&mut self, id: u64, change: impl FnOnce(&mut Contact)) -> bool {
        let Some(mut contact) = self.remove(id) else {
            return false;
        };
        change(&mut contact);
        self.link(&contact);
        self.rows.insert(id, contact);
        true
    }

    /// Takes a contact out for good.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Contact> {
        let contact = self.rows.remove(&id)?;
        unlink(&mut self.by_address, &contact.address, id);
        if let Some(external) = contact.field(EXTERNAL_ID) {
            unlink(&mut self.by_external, external, id);
        }
        self.by_created.remove(&(contact.created, id));
        self.by_modified.remove(&(contact.modified, id));
        Some(contact)
    }

    fn link(&mut self, contact: &Contact) {
        let id = contact.id;
        let ids = self.by_address.entry(contact.address.clone()).or_default();
        ids.insert(id);
        if let Some(external) = contact.field(EXTERNAL_ID) {
            let ids = self.by_external.entry(external.into()).or_default();
            ids.insert(id);
        }
        self.by_created.insert((contact.created, id));
        self.by_modified.insert((contact.modified, id));
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Contact> {
        self.rows.get(&id)
    }

    /// All contacts in the order of their ids.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Contact> {
        self.rows.values()
    }

    /// Ids of the contacts with this address, which must be in lower case; lowest first.
    pub(crate) fn at(&self, address: &str) -> impl Iterator<Item = u64> + '_ {
        self.by_address.get(address).into_iter().flatten().copied()
    }

    /// Ids of the contacts with this external id, lowest first.
    pub(crate) fn with_external(&self, external: &str) -> impl Iterator<Item = u64> + '_ {
        self.by_external
            .get(external)
            .into_iter()
            .flatten()
            .copied()
    }

    /// Ids of the contacts in a window, both ends included, oldest first.
    pub(crate) fn window(
        &self,
        order: Order,
        since: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
    ) -> impl Iterator<Item = u64> + '_ {
        let set = match order {
            Order::Created => &self.by_created,
            Order::Modified => &self.by_modified,
        };
        let since = since.unwrap_or(DateTime::<Utc>::MIN_UTC);
        let until = until.unwrap_or(DateTime::<Utc>::MAX_UTC);
        // A window that ends before it begins would be a panic.
        let range = (since, 0)..=(until.max(since), if until < since { 0 } else { u64::MAX });
        set.range(range).map(|(_, id)| *id)
    }
}

fn unlink(index: &mut HashMap<Box<str>, BTreeSet<u64>>, name: &str, id: u64) {
    if let Some(ids) = index.get_mut(name) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(name);
        }
    }
}

/// The form in which an account keeps an address, `None` when it is none.
///
/// With `simple`, characters are refused that API 1.0 names, and all that are not ASCII (API 1.0: "Email").
pub(crate) fn address_of(text: &str, simple: bool) -> Option<String> {
    let address = text.trim().to_lowercase();
    let (local, domain) = address.split_once('@')?;
    let plain = |c: char| {
        !c.is_whitespace()
            && !c.is_control()
            && !matches!(c, '@' | ',' | ';' | '<' | '>' | '"' | '(' | ')' | '[' | ']')
            && (!simple || (c.is_ascii() && !"!#$%*/?^`{|}~".contains(c)))
    };
    let labels = domain.contains('.') && domain.split('.').all(|label| !label.is_empty());
    let sound = address.len() <= MAX_ADDRESS_BYTES
        && !local.is_empty()
        && labels
        && local.chars().chain(domain.chars()).all(plain);
    sound.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_780_000_000 + secs, 0).unwrap_or_default()
    }

    fn field(name: &str, value: &str) -> Changes {
        Changes::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn indexes_follow_every_change() {
        let mut contacts = Contacts::default();
        let one = contacts.add("a@x.example", &field(EXTERNAL_ID, "7"), at(1), at(1));
        let two = contacts.add("a@x.example", &Changes::new(), at(2), at(2));
        assert_eq!(contacts.at("a@x.example").collect::<Vec<_>>(), [one, two]);
        assert!(contacts.move_to(one, "b@x.example", at(9)));
        assert_eq!(contacts.at("a@x.example").collect::<Vec<_>>(), [two]);
        assert_eq!(contacts.at("b@x.example").collect::<Vec<_>>(), [one]);
        assert!(contacts.change(one, &field(EXTERNAL_ID, ""), at(9)));
        assert_eq!(contacts.with_external("7").count(), 0);
        let modified = contacts.window(Order::Modified, Some(at(3)), None);
        assert_eq!(modified.collect::<Vec<_>>(), [one]);
        let created = contacts.window(Order::Created, Some(at(2)), Some(at(1)));
        assert_eq!(created.count(), 0);
        assert!(contacts.remove(two).is_some());
        assert_eq!((contacts.len(), contacts.at("a@x.example").count()), (1, 0));
    }

    #[test]
    fn fields_are_cut_to_their_length() {
        let mut contacts = Contacts::default();
        let id = contacts.add("a@x.example", &field("zip", &"9".repeat(30)), at(1), at(1));
        let contact = contacts.get(id).and_then(|contact| contact.field("zip"));
        assert_eq!(contact.map(str::len), Some(25));
    }

    #[test]
    fn only_simple_addresses_are_taken_unless_told_otherwise() {
        let cases = [
            (" Ann@X.example ", true, Some("ann@x.example")),
            ("ann+news@x.example", true, Some("ann+news@x.example")),
            ("ann!x@x.example", true, None),
            ("ann!x@x.example", false, Some("ann!x@x.example")),
            ("jörg@x.example", true, None),
            ("jörg@x.example", false, Some("jörg@x.example")),
            ("ann@x", false, None),
            ("ann@@x.example", false, None),
            ("ann@x..example", false, None),
            ("@x.example", false, None),
            ("ann x@x.example", false, None),
            ("", false, None),
        ];
        for (text, simple, address) in cases {
            assert_eq!(address_of(text, simple).as_deref(), address, "{text}");
        }
    }
}
