//! The rows behind the gate: requests to set a subscriber active again, and who is to be asked about
//! (R47).

use super::rows::SubjectRef;

/// A request to set a subscriber active again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestRow {
    /// The number of the ledger entry that opened it; never used twice.
    pub id: i64,
    /// Subject number.
    pub subject: i64,
    /// Subscriber key; empty where the subject's address is the key.
    pub subscriber: String,
    /// The unit's id.
    pub unit: String,
    /// What people called the unit when the request was opened.
    pub unit_name: String,
    /// What the unit said last, in a word.
    pub status: String,
    /// When the subscriber opted out there, if it did and the gate tells.
    pub unsubscribed_at: Option<i64>,
    /// Somebody waits for it; the others are worked weekly.
    pub urgent: bool,
    /// What led to it: an opt-in, or the nightly round.
    pub cause: String,
    /// Packed evidence of the opt-in: where, when, by whom.
    pub evidence: String,
    /// When it was opened, by our clock.
    pub opened_at: i64,
    /// When the unit was last asked.
    pub seen_at: i64,
    /// What came of the daemon's own attempt, or why it made none.
    pub note: Option<String>,
    /// When it was closed; none while it is open.
    pub closed_at: Option<i64>,
    /// Why it was closed, in a word.
    pub closing: Option<String>,
    /// The operator who closed it, with what they said.
    pub closed_by: Option<String>,
}

/// A request with whom it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestView {
    /// The request.
    pub request: RequestRow,
    /// Keyed hash of the subject.
    pub subject: SubjectRef,
    /// Its normalised address.
    pub address: String,
    /// Its packed verdicts, as in [`super::SubjectRow`].
    pub verdicts: String,
}

/// Which requests are asked for, in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestQuery {
    /// Only these; all when empty.
    pub ids: Vec<i64>,
    /// Closed ones too.
    pub closed: bool,
    /// Only urgent ones.
    pub urgent: bool,
    /// Only those of this subject.
    pub subject: Option<SubjectRef>,
    /// Only those with a greater number.
    pub after: i64,
}

/// How far the gate was asked about everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GateRound {
    /// When the last round ended; 0 when there was none.
    pub ended_at: i64,
    /// The round under way has come to this subject; none when none is under way.
    pub after: Option<i64>,
    /// When the sheet was last written; 0 when it never was.
    pub sheet_at: i64,
}

/// What a transaction changes of all that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GateChanges {
    /// Subjects whose verdict has turned, and when: the gate is to be asked about them.
    pub due: Vec<(i64, i64)>,
    /// Subjects that were asked about, with the instants since which that was due. One that has become
    /// due again stays so.
    pub asked: Vec<(i64, i64)>,
    /// Requests to insert or replace whole.
    pub requests: Vec<RequestRow>,
    /// How far the round has come.
    pub round: Option<GateRound>,
}
