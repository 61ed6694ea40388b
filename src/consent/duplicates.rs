//! Who speaks for a subject in one system (R4, R8).

use super::contact::Contact;
use super::rules::SystemId;
use super::time::At;

/// R4: the order of age. A contact whose creation is unknown counts as the youngest.
fn age(contact: &Contact) -> (At, &str) {
    (
        contact.created.unwrap_or(At::from_micros(i64::MAX)),
        contact.id.as_str(),
    )
}

/// R4: the system's voice – the oldest live contact by created-at, then by external id. A
/// projection of the contacts as they are, never folded from earlier choices.
pub fn representative(contacts: &[Contact], system: SystemId) -> Option<&Contact> {
    contacts
        .iter()
        .filter(|contact| contact.system == system && contact.life.is_live())
        .min_by(|a, b| age(a).cmp(&age(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::contact::Life;

    const SF: SystemId = SystemId(1);

    fn contact(id: &str, created: Option<i64>, life: Life) -> Contact {
        Contact {
            created: created.map(At::from_micros),
            life,
            ..Contact::unseen(SF, id.to_owned())
        }
    }

    #[test]
    fn r4_the_oldest_live_contact_speaks() {
        let merged = Life::Merged {
            into: "c".to_owned(),
        };
        let rows: Vec<(&str, Vec<Contact>, Option<&str>)> = vec![
            ("nobody speaks where nobody is", vec![], None),
            (
                "the first created",
                vec![
                    contact("b", Some(2), Life::Live),
                    contact("a", Some(3), Life::Live),
                ],
                Some("b"),
            ),
            (
                "equal times: the smaller id",
                vec![
                    contact("b", Some(2), Life::Live),
                    contact("a", Some(2), Life::Live),
                ],
                Some("a"),
            ),
            (
                "a deleted contact no longer speaks",
                vec![
                    contact("a", Some(1), Life::Deleted),
                    contact("b", Some(2), Life::Live),
                ],
                Some("b"),
            ),
            (
                "nor does a merged one",
                vec![
                    contact("a", Some(1), merged),
                    contact("c", Some(9), Life::Live),
                ],
                Some("c"),
            ),
            (
                "an unknown creation counts as youngest",
                vec![
                    contact("a", None, Life::Live),
                    contact("b", Some(9), Life::Live),
                ],
                Some("b"),
            ),
            (
                "another system's contact never speaks for this one",
                vec![Contact::unseen(SystemId(2), "a".to_owned())],
                None,
            ),
        ];
        for (sentence, contacts, expected) in rows {
            assert_eq!(
                representative(&contacts, SF).map(|c| c.id.as_str()),
                expected,
                "{sentence}"
            );
        }
    }
}
