//! A person's re-subscribe requests in words (R47): as the ledger tells of them, and as they stand.

use crate::consent::At;
use crate::consent::gate::Closing;
use crate::store::{RequestQuery, RequestRow, Store, StoreError, SubjectRef};
use crate::sync::gate::REQUESTS_AT_ONCE;
use serde::Deserialize;

/// So many closed requests are shown, the newest; the ledger tells of all.
const CLOSED_SHOWN: usize = 10;

/// The body of a ledger entry about a request.
#[derive(Deserialize)]
pub(super) struct Told {
    act: String,
    request: i64,
    #[serde(default)]
    subscriber: String,
    unit: String,
    status: String,
    #[serde(default)]
    operator: Option<String>,
}

impl Told {
    /// The subscriber's key; none where the address is the key.
    pub(super) fn subscriber(&self) -> Option<String> {
        Some(self.subscriber.clone()).filter(|key| !key.is_empty())
    }

    /// What happened.
    pub(super) fn words(&self) -> String {
        let Self {
            act,
            request,
            unit,
            status,
            ..
        } = self;
        let what = match act.as_str() {
            "opened" => format!("is opened: unit {unit} says {status}"),
            "urgent" => "is urgent now".to_owned(),
            "weekly" => "is worked weekly again".to_owned(),
            word => match closing(word) {
                Some(why) => format!("is closed: {why} (unit {unit})"),
                // What came of the daemon's own attempt, in its words.
                None => format!("stays open in unit {unit}: {word}"),
            },
        };
        let by = self.operator.as_deref();
        let by = by.map(|by| format!("; {by}")).unwrap_or_default();
        format!("request {request} {what}{by}")
    }
}

/// Why a request was closed; none for a word that does not close one.
fn closing(word: &str) -> Option<&'static str> {
    let all = [
        Closing::Green,
        Closing::NotFound,
        Closing::NotGranted,
        Closing::Gone,
        Closing::ByHand,
    ];
    let closing = all.into_iter().find(|closing| closing.word() == word)?;
    Some(match closing {
        Closing::Green => "mail is delivered there again",
        Closing::NotFound => "the subscriber is not known there any more",
        Closing::NotGranted => "the person wants no mail",
        Closing::Gone => "no contact of the person names that subscriber, or the unit is not asked",
        Closing::ByHand => "somebody has worked it",
    })
}

/// The requests of a person that are open, and the newest of those that are closed, in the order of their
/// numbers.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn of(
    store: &dyn Store,
    subject: SubjectRef,
) -> Result<Vec<RequestRow>, StoreError> {
    let mut requests = Vec::new();
    let mut query = RequestQuery {
        subject: Some(subject),
        closed: true,
        ..RequestQuery::default()
    };
    loop {
        let page = store.requests(&query, REQUESTS_AT_ONCE).await?;
        let Some(last) = page.last() else {
            break;
        };
        query.after = last.request.id;
        requests.extend(page.into_iter().map(|view| view.request));
    }
    let closed = requests.iter().filter(|row| row.closed_at.is_some());
    let mut left_out = closed.count().saturating_sub(CLOSED_SHOWN);
    requests.retain(|row| {
        let is_old = row.closed_at.is_some() && left_out > 0;
        left_out -= usize::from(is_old);
        !is_old
    });
    Ok(requests)
}

/// How a request stands.
pub(super) fn stands(request: &RequestRow) -> String {
    let time = |micros: i64| At::from_micros(micros).to_string();
    let RequestRow {
        id,
        unit,
        unit_name,
        status,
        cause,
        ..
    } = request;
    let place = if unit_name.is_empty() {
        format!("unit {unit}")
    } else {
        format!("unit {unit} ({unit_name})")
    };
    let opened = time(request.opened_at);
    if let Some(at) = request.closed_at {
        let word = request.closing.as_deref().unwrap_or_default();
        let why = closing(word).unwrap_or(word);
        let by = request.closed_by.as_deref();
        let by = by.map(|by| format!("; {by}")).unwrap_or_default();
        return format!(
            "request {id} of {opened} was closed at {}: {why}, {place}{by}",
            time(at)
        );
    }
    let urgency = if request.urgent { "urgent" } else { "weekly" };
    let read = time(request.seen_at);
    let note = request.note.as_deref();
    let note = note.map(|note| format!("; {note}")).unwrap_or_default();
    format!(
        "request {id} is open since {opened} ({cause}, {urgency}): {place} said {status} at {read}{note}"
    )
}
