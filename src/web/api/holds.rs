//! `/v1/holds`: what waits for a person, and what operators decide about it (R29).
//!
//! The same acts as those of `consentd holds`, with the token's name as the operator's. An answer holds
//! no address: persons are named by keyed hash.

use super::Api;
use super::auth::Act;
use super::bodies::{decide as decision, judge};
use super::problem::Problem;
use crate::config::Token;
use crate::consent::At;
use crate::consent::guard::HoldKind;
use crate::store::HoldView;
use crate::sync::checklist::Crew;
use crate::sync::holds::shown::{self, PersonFault, Prefix, Waiting};
use crate::sync::holds::{self, Desk, Filter, Tally};
use crate::sync::switches::Operator;
use crate::sync::workbench::Word;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Holds in one answer at most.
const MOST_LISTED: usize = 1_000;
/// Persons in one answer at most.
const MOST_PERSONS: usize = 500;

/// A hold as the API shows it.
#[derive(Serialize)]
struct HoldBody {
    hold: i64,
    kind: String,
    rule: &'static str,
    /// None where it is none in particular.
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    /// None where it is of all purposes.
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    direction: &'static str,
    /// Who made the load, unless that is an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    /// Persons.
    waiting: i64,
    opened_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<String>,
    /// What the words would do, while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    approving: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejecting: Option<&'static str>,
}

impl HoldBody {
    fn new(view: &HoldView, desk: &Desk) -> Self {
        let hold = &view.hold;
        let time = |micros: i64| At::from_micros(micros).to_string();
        let word = |word| {
            let open = hold.closed_at.is_none();
            open.then(|| shown::consequence(hold, word))
        };
        Self {
            hold: hold.id,
            kind: hold.kind.clone(),
            rule: shown::rule(hold),
            system: shown::system(hold, desk).map(str::to_owned),
            purpose: Some(hold.purpose.clone()).filter(|name| !name.is_empty()),
            direction: shown::direction_of(hold),
            actor: shown::actor(hold).map(str::to_owned),
            waiting: view.waiting,
            opened_at: time(hold.opened_at),
            closed_at: hold.closed_at.map(time),
            approving: word(Word::Approve),
            rejecting: word(Word::Reject),
        }
    }
}

#[derive(Serialize)]
pub(super) struct HoldList {
    holds: Vec<HoldBody>,
    /// There are older ones than these.
    more: bool,
}

/// Which holds are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    kind: Option<String>,
    system: Option<String>,
    purpose: Option<String>,
    #[serde(default)]
    closed: bool,
}

/// Where a page of persons begins.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Behind {
    #[serde(default)]
    after: i64,
}

/// What waits of one person.
#[derive(Serialize)]
struct PersonBody {
    /// First 12 hex digits of the keyed hash.
    subject: String,
    purpose: String,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    /// Writes that wait, by system.
    writes: Vec<WriteBody>,
}

/// A write that waits. Which contact it is for is not said: an id may be an address.
#[derive(Serialize)]
struct WriteBody {
    system: String,
    change: String,
}

impl From<Waiting> for PersonBody {
    fn from(waiting: Waiting) -> Self {
        let writes = waiting.writes.into_iter();
        Self {
            subject: waiting.subject.short(),
            purpose: waiting.purpose,
            since: At::from_micros(waiting.since).to_string(),
            verdict: waiting.verdict,
            writes: writes
                .map(|write| WriteBody {
                    system: write.system,
                    change: write.change,
                })
                .collect(),
        }
    }
}

/// A hold with a page of those who wait.
#[derive(Serialize)]
pub(super) struct HoldWhole {
    #[serde(flatten)]
    hold: HoldBody,
    persons: Vec<PersonBody>,
    /// `after` of the next page; none on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// Lists holds, the newest first.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<HoldList>, Problem> {
    api.tokens.admit(&headers, Act::Look)?;
    let Query(which) = which.map_err(|fault| not_understood(&fault))?;
    let (_, desk) = at_work(&api)?;
    let of = Of {
        kind: which.kind,
        system: which.system,
        purpose: which.purpose,
        ..Of::default()
    };
    let filter = of.filter(&desk)?;
    let found = shown::list(&*api.switchboard.store, &filter, which.closed).await;
    let found = found.map_err(|error| Problem::store(&error))?;
    let newest = found.iter().take(MOST_LISTED);
    Ok(Json(HoldList {
        holds: newest.map(|view| HoldBody::new(view, &desk)).collect(),
        more: found.len() > MOST_LISTED,
    }))
}

/// Shows a hold with those who wait, a page at a time.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    behind: Result<Query<Behind>, QueryRejection>,
) -> Result<Json<HoldWhole>, Problem> {
    api.tokens.admit(&headers, Act::Look)?;
    let Query(behind) = behind.map_err(|fault| not_understood(&fault))?;
    let (_, desk) = at_work(&api)?;
    let store = &*api.switchboard.store;
    let view = found(&api, &id).await?;
    let page = shown::waiting(store, &desk, view.hold.id, behind.after, MOST_PERSONS).await;
    let page = page.map_err(|error| Problem::store(&error))?;
    Ok(Json(HoldWhole {
        hold: HoldBody::new(&view, &desk),
        persons: page.rows.into_iter().map(PersonBody::from).collect(),
        next: page.next,
    }))
}

/// Which holds an act is about, as a body says it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Of {
    /// Every open hold; said so that nobody means it by leaving everything out.
    pub(super) all: bool,
    pub(super) holds: Vec<i64>,
    pub(super) kind: Option<String>,
    pub(super) system: Option<String>,
    pub(super) purpose: Option<String>,
    /// Beginnings of keyed hashes.
    pub(super) persons: Vec<String>,
}

impl Of {
    /// The filter it means, without persons.
    fn filter(&self, desk: &Desk) -> Result<Filter, Problem> {
        let refused = |title, detail: String| Problem::unprocessable("filter", title, detail);
        let kind = match &self.kind {
            None => None,
            Some(word) => Some(HoldKind::from_word(word).ok_or_else(|| {
                let words = HoldKind::ALL.map(HoldKind::word).join(", ");
                refused("there is no such kind", format!("the kinds are: {words}"))
            })?),
        };
        let system = match &self.system {
            None => None,
            Some(name) => {
                let mut systems = desk.rules.systems.iter();
                let found = systems.find(|system| system.name == *name);
                Some(found.map(|system| system.id.0).ok_or_else(|| {
                    let why = "GET /v1/systems lists those that were ever configured";
                    refused("there is no such system", why.to_owned())
                })?)
            }
        };
        Ok(Filter {
            ids: self.holds.iter().copied().collect(),
            kind,
            system,
            purpose: self.purpose.clone(),
            persons: None,
        })
    }

    fn prefixes(&self) -> Result<Vec<Prefix>, Problem> {
        let prefixes = self.persons.iter().map(|text| Prefix::new(text));
        prefixes.collect::<Result<_, _>>().map_err(not_named)
    }
}

/// What came of an act on one hold.
#[derive(Serialize)]
struct Outcome {
    hold: i64,
    kind: String,
    /// Decisions that were approved or rejected.
    done: u64,
    /// Nothing waited there any more.
    moved_on: u64,
    /// What the person said cannot be taken back, so it is let go.
    irrevocable: u64,
}

#[derive(Serialize)]
pub(super) struct Outcomes {
    holds: Vec<Outcome>,
}

impl From<Vec<(HoldView, Tally)>> for Outcomes {
    fn from(came: Vec<(HoldView, Tally)>) -> Self {
        let outcome = |(view, tally): (HoldView, Tally)| Outcome {
            hold: view.hold.id,
            kind: view.hold.kind,
            done: tally.done,
            moved_on: tally.moved_on,
            irrevocable: tally.irrevocable,
        };
        Self {
            holds: came.into_iter().map(outcome).collect(),
        }
    }
}

/// Approves or rejects what waits under one hold.
pub(super) async fn act(
    State(api): State<Arc<Api>>,
    Path((id, act)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Outcomes>, Problem> {
    let token = api.tokens.admit(request.headers(), Act::Operate)?;
    let word = word(&act).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "act",
            "there is no such act",
            "a hold can be approved or rejected: approve, reject",
        )
    })?;
    let view = found(&api, &id).await?;
    let (by, purpose, persons) = judge(request, &token).await?;
    if view.hold.closed_at.is_some() {
        return Err(closed(view.hold.id));
    }
    let of = Of {
        holds: vec![view.hold.id],
        purpose,
        persons,
        ..Of::default()
    };
    settle(&api, &token, &of, word, &by).await
}

/// Approves or rejects what waits under many holds.
pub(super) async fn decide(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<Outcomes>, Problem> {
    let token = api.tokens.admit(request.headers(), Act::Operate)?;
    let (by, said, of) = decision(request, &token).await?;
    let word = word(&said).ok_or_else(|| {
        Problem::unprocessable(
            "word",
            "there is no such word",
            "the words are: approve, reject",
        )
    })?;
    settle(&api, &token, &of, word, &by).await
}

async fn settle(
    api: &Api,
    token: &Token,
    of: &Of,
    word: Word,
    by: &Operator,
) -> Result<Json<Outcomes>, Problem> {
    let board = &api.switchboard;
    let (crew, desk) = at_work(api)?;
    let store = &*board.store;
    let mut filter = of.filter(&desk)?;
    let open = holds::list(store, &Filter::default()).await;
    let open = open.map_err(|error| Problem::store(&error))?;
    let open: BTreeSet<i64> = open.iter().map(|view| view.hold.id).collect();
    if let Some(id) = filter.ids.difference(&open).next() {
        return Err(closed(*id));
    }
    let prefixes = of.prefixes()?;
    if !prefixes.is_empty() {
        let persons = shown::persons(store, &filter, &prefixes).await;
        filter.persons = Some(persons.map_err(not_named)?);
    }
    let now = || board.clock.now();
    let came = holds::decide(store, &desk, &filter, word, by, &now).await;
    // Also after a failure: what was decided until then stays decided.
    crew.shared.wake_all_emitters();
    let came = came.map_err(|error| Problem::store(&error))?;
    for (view, tally) in &came {
        let (hold, act, name) = (view.hold.id, word.act(), &token.name);
        tracing::info!(hold, act, token = %name, done = tally.done,
            "hold {hold}: {act}, said by {name}: {}", shown::outcome(word, *tally));
    }
    Ok(Json(came.into()))
}

fn word(text: &str) -> Option<Word> {
    [Word::Approve, Word::Reject]
        .into_iter()
        .find(|word| word.act() == text)
}

/// The engine at work, and a desk with its rules.
fn at_work(api: &Api) -> Result<(Crew, Desk), Problem> {
    let crew = api.switchboard.roster.crew().ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "systems",
            "no system is switched on",
            "use `consentd holds`, which needs none",
        )
    })?;
    let desk = Desk::at_work(&crew.shared);
    Ok((crew, desk))
}

/// The hold of that number, open or closed.
async fn found(api: &Api, id: &str) -> Result<HoldView, Problem> {
    // What is no number is the number of no hold.
    let id = id.parse().unwrap_or_default();
    let view = shown::find(&*api.switchboard.store, id).await;
    let view = view.map_err(|error| Problem::store(&error))?;
    view.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "hold",
            "there is no such hold",
            "GET /v1/holds lists those that are open",
        )
    })
}

fn closed(id: i64) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "closed",
        "the hold is not open",
        format!("hold {id} is closed or was never opened; nothing was decided"),
    )
}

fn not_named(fault: PersonFault) -> Problem {
    match fault {
        PersonFault::Store(error) => Problem::store(&error),
        PersonFault::NoHash(_) | PersonFault::Nobody(_) | PersonFault::Several(_) => {
            let detail = match &fault {
                // It may be an address; nobody else is to read it.
                PersonFault::NoHash(_) => {
                    "a person is named by the first 12 to 32 hexadecimal digits of the keyed hash"
                        .to_owned()
                }
                other => other.to_string(),
            };
            Problem::unprocessable("persons", "the persons are refused", detail)
        }
    }
}

fn not_understood(fault: &QueryRejection) -> Problem {
    Problem::unprocessable("query", "the query is not understood", fault.body_text())
}
