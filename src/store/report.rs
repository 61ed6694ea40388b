//! What both databases share of the queue and the reports.

use super::ledger;
use super::session::{Key, Reads, Standing};
use super::{Known, LedgerRow, OutboxRow, Postponed, StoreError, SystemFigures, Unsent, WriteKey};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

/// A dossier shows at most so many entries of the ledger, the newest.
pub(super) const MOST_LEDGER_ROWS: usize = 10_000;

/// The newest entries about one subject.
pub(super) struct LedgerFile {
    subject: i64,
    newest_first: Vec<LedgerRow>,
}

impl LedgerFile {
    /// An empty one.
    pub(super) fn of(subject: i64) -> Self {
        Self {
            subject,
            newest_first: Vec::new(),
        }
    }

    /// Adds the entries of a block that begins with number `first` and is older than those before.
    pub(super) fn add(&mut self, first: i64, packed: &[u8]) -> Result<(), sqlx::Error> {
        let room = MOST_LEDGER_ROWS.saturating_sub(self.newest_first.len());
        if room == 0 {
            return Ok(());
        }
        let mut found = Vec::new();
        for entry in ledger::unpack(first, packed) {
            let (subject, row) = entry.map_err(|error| sqlx::Error::Decode(error.into()))?;
            if subject == Some(self.subject) {
                found.push(row);
            }
        }
        self.newest_first.extend(found.into_iter().rev().take(room));
        Ok(())
    }

    /// The entries in order.
    pub(super) fn rows(self) -> Vec<LedgerRow> {
        let mut rows = self.newest_first;
        rows.reverse();
        rows
    }
}

/// One figure of one system. Several of one kind add up.
pub(super) struct Tally {
    /// System number.
    pub(super) system: i16,
    /// Which figure.
    pub(super) figure: String,
    /// Its value.
    pub(super) value: i64,
}

/// The figures of all systems, in the order of their numbers.
pub(super) fn tallied(tallies: Vec<Tally>) -> Vec<SystemFigures> {
    let mut systems: BTreeMap<i16, SystemFigures> = BTreeMap::new();
    for Tally {
        system,
        figure,
        value,
    } in tallies
    {
        let figures = systems.entry(system).or_default();
        figures.system = system;
        match figure.as_str() {
            "live" => figures.live += value,
            "unmatched" => figures.unmatched += value,
            "differing" => figures.differing += value,
            "withdrawals" => figures.pending_withdrawals += value,
            "grants" => figures.pending_grants += value,
            "dead" => figures.dead += value,
            "held" => figures.held += value,
            "oldest" => figures.oldest_withdrawal = Some(value),
            "planned" => figures.planned += value,
            "sent" => figures.sent += value,
            "batches" => figures.batches += value,
            "quarantined" => figures.quarantined += value,
            _ => {}
        }
    }
    systems.into_values().collect()
}

/// These subjects with their contacts and outbox rows, and nothing else.
pub(super) async fn page_of_subjects<S: Reads + ?Sized>(
    session: &mut S,
    ids: &[i64],
    standing: &Standing,
) -> Result<Known, StoreError> {
    let mut known = Known {
        next_subject: standing.next_subject,
        next_sequence: standing.next_sequence,
        planning: standing.planning,
        ..Known::default()
    };
    if ids.is_empty() {
        return Ok(known);
    }
    known.subjects = session.subjects_by_id(ids).await?;
    known.subjects.sort_unstable_by_key(|subject| subject.id);
    known.contacts = session.contacts_by_subject(ids).await?;
    known
        .contacts
        .sort_unstable_by(|a, b| (a.system, &a.external).cmp(&(b.system, &b.external)));
    if standing.any_outbox && !known.contacts.is_empty() {
        let keys = known
            .contacts
            .iter()
            .map(|row| (row.system, row.external.as_str()));
        let keys: Vec<Key<'_>> = keys.collect();
        known.outbox = session.outbox_by_contact(&keys).await?;
        known.outbox.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    }
    Ok(known)
}

/// Withdrawals first, then by age (R34).
pub(super) fn sort_by_urgency(rows: &mut [OutboxRow]) {
    rows.sort_unstable_by(|a, b| {
        let order = (a.key.lane, a.decided_at).cmp(&(b.key.lane, b.decided_at));
        order.then_with(|| a.key.external.cmp(&b.key.external))
    });
}

/// The keys of the claims at these places, in the order of the claims.
pub(super) fn still_standing(claims: &[(WriteKey, i64)], places: Vec<i64>) -> Vec<WriteKey> {
    let places: HashSet<i64> = places.into_iter().collect();
    let standing = claims
        .iter()
        .zip(0..)
        .filter(|(_, place)| places.contains(place));
    standing.map(|((key, _), _)| key.clone()).collect()
}

/// A claim of which nothing was sent: system, contact, version, what was noted as under way, and what was
/// before.
pub(super) type UnsentRow<'a> = (i16, &'a str, i64, &'a str, &'a str);

/// The claims of which nothing was sent, where that leaves something to be given up.
pub(super) fn unsent(postponed: &[Postponed]) -> Vec<UnsentRow<'_>> {
    let unsent = postponed.iter().filter_map(|row| {
        let Unsent { claimed, earlier } = row.unsent.as_ref()?;
        let key = &row.key;
        Some((
            key.system,
            &*key.external,
            row.version,
            &**claimed,
            &**earlier,
        ))
    });
    unsent.filter(|row| row.3 != row.4).collect()
}

/// Of the writes that went `back`, with their versions: the keys of those that still are what was claimed.
pub(super) fn as_claimed(postponed: &[Postponed], back: Vec<(WriteKey, i64)>) -> Vec<WriteKey> {
    let claimed: BTreeMap<&WriteKey, i64> = postponed
        .iter()
        .map(|row| (&row.key, row.version))
        .collect();
    back.into_iter()
        .filter(|(key, version)| claimed.get(key) == Some(version))
        .map(|(key, _)| key)
        .collect()
}

/// A vendor's words without the character NUL, which no text in the store may hold.
pub(super) fn storable_error(words: &str) -> Cow<'_, str> {
    if words.contains('\0') {
        Cow::Owned(words.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(words)
    }
}
