//! Who is there: the contacts of one load beside those of the load before.
//!
//! A contact that a load shows no more may be gone, or the load may have missed it; it is named for
//! a look, never taken for deleted (R27). Only numbers are kept, and only while the process lives: a
//! deletion just before a restart shows when the contact is next written to or looked up.

use crate::consent::guard;

/// Contacts of the last load, and of the one under way.
#[derive(Debug, Default)]
pub(super) struct Roster {
    before: Option<Vec<u128>>,
    now: Option<Vec<u128>>,
}

impl Roster {
    /// A load begins to list contacts.
    pub(super) fn begin(&mut self) {
        self.now = Some(Vec::new());
    }

    /// It shows these contacts.
    pub(super) fn saw<'a>(&mut self, contacts: impl Iterator<Item = &'a str>) {
        if let Some(now) = &mut self.now {
            now.extend(contacts.filter_map(number));
        }
    }

    /// The load ends: contacts of the one before that it did not show. None after a load that was
    /// not followed from its beginning, or that shows suddenly too few.
    pub(super) fn end(&mut self) -> Vec<String> {
        let Some(mut now) = self.now.take() else {
            return Vec::new();
        };
        now.sort_unstable();
        now.dedup();
        let before = self.before.take().unwrap_or_default();
        if guard::is_suddenly_empty(now.len() as u64, before.len() as u64) {
            self.before = Some(before);
            return Vec::new();
        }
        let gone = before
            .iter()
            .filter(|contact| now.binary_search(contact).is_err());
        let gone = gone.map(|number| format!("k{number:032x}")).collect();
        self.before = Some(now);
        gone
    }
}

fn number(contact: &str) -> Option<u128> {
    u128::from_str_radix(contact.strip_prefix('k')?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(roster: &mut Roster, contacts: &[u128]) -> Vec<String> {
        let ids: Vec<String> = contacts
            .iter()
            .map(|number| format!("k{number:032x}"))
            .collect();
        roster.begin();
        roster.saw(ids.iter().map(String::as_str));
        roster.end()
    }

    #[test]
    fn who_is_not_shown_any_more_is_named() {
        let mut roster = Roster::default();
        assert_eq!(
            load(&mut roster, &[1, 2, 3]),
            [""; 0],
            "nothing is known before"
        );
        assert_eq!(load(&mut roster, &[3, 1, 1, 4]), [format!("k{:032x}", 2)]);
        assert_eq!(load(&mut roster, &[1, 3, 4]), [""; 0]);
    }

    #[test]
    fn a_load_that_shows_suddenly_few_names_nobody() {
        let mut roster = Roster::default();
        let all: Vec<u128> = (0..100).collect();
        load(&mut roster, &all);
        assert_eq!(load(&mut roster, &[1]), [""; 0]);
        assert_eq!(
            load(&mut roster, &all[1..]),
            [format!("k{:032x}", 0)],
            "it is not forgotten"
        );
    }

    #[test]
    fn a_load_whose_beginning_was_missed_is_not_compared() {
        let mut roster = Roster::default();
        load(&mut roster, &[1, 2]);
        roster.saw(["k00000000000000000000000000000001"].into_iter());
        assert_eq!(roster.end(), [""; 0]);
    }
}
