//! `/v1/systems` and `/v1/reload`: what an operator may do while the daemon runs (R49, R50).
//!
//! The same as `consentd pause`, `resume`, `resync` and `redrive`, with the token's name as the
//! operator's. What is done is durable before the answer is given (G13).

use super::Api;
use super::auth::Act;
use super::bodies::{operator, redrive, resume};
use super::problem::Problem;
use crate::config::Token;
use crate::config::reload::Changed;
use crate::consent::At;
use crate::runtime::clock::Clock;
use crate::runtime::supervisor::{ReloadError, Supervisor};
use crate::store::{FeedRow, Store};
use crate::sync::checklist::Roster;
use crate::sync::holds::{self, Filter};
use crate::sync::switches::{self, Resumed};
use async_trait::async_trait;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::Map;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Reads the configuration again.
#[async_trait]
pub trait Reload: Send + Sync {
    /// Goes on with what the configuration says now. What changed, and what waits for a restart.
    ///
    /// # Errors
    /// When nothing was changed.
    async fn reload(&self) -> Result<Changed, ReloadError>;
}

#[async_trait]
impl Reload for Supervisor {
    async fn reload(&self) -> Result<Changed, ReloadError> {
        Self::reload(self).await
    }
}

/// What operators act on.
pub struct Switchboard {
    /// Where the switches are kept.
    pub store: Arc<dyn Store>,
    /// Our clock.
    pub clock: Arc<dyn Clock>,
    /// The systems at work.
    pub roster: Arc<dyn Roster>,
    /// Reads the configuration again.
    pub reload: Arc<dyn Reload>,
}

impl Switchboard {
    /// The number of a system that was ever configured.
    async fn number(&self, name: &str) -> Result<i16, Problem> {
        let systems = self.store.systems().await;
        let mut systems = systems.map_err(|error| Problem::store(&error))?.into_iter();
        let found = systems.find(|(_, known)| known == name);
        found.map(|(id, _)| id).ok_or_else(|| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "system",
                "there is no such system",
                "GET /v1/systems lists those that were ever configured",
            )
        })
    }

    async fn shown(&self, name: &str, id: i16) -> Result<SystemBody, Problem> {
        let feed = self
            .store
            .feed(id)
            .await
            .map_err(|error| Problem::store(&error))?;
        let crew = self.roster.crew();
        let at_work = crew.is_some_and(|crew| crew.members.iter().any(|member| member.id.0 == id));
        Ok(SystemBody::new(name, at_work, feed))
    }

    /// The open holds, by the system whose statements are in question.
    async fn holds(&self) -> Result<BTreeMap<i16, Waiting>, Problem> {
        let holds = holds::list(&*self.store, &Filter::default()).await;
        let mut waiting: BTreeMap<i16, Waiting> = BTreeMap::new();
        for view in holds.map_err(|error| Problem::store(&error))? {
            let of = waiting.entry(view.hold.system).or_default();
            of.holds += 1;
            of.persons += view.waiting;
        }
        Ok(waiting)
    }

    /// A system that goes on need not wait for its next poll.
    fn wake(&self, id: i16) {
        let members = self.roster.crew().map(|crew| crew.members);
        for member in members.unwrap_or_default() {
            if member.id.0 == id {
                member.wake();
            }
        }
    }
}

/// What waits for a person.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    holds: u64,
    /// A person counts once for each hold.
    persons: i64,
}

/// A system's switches.
#[derive(Serialize)]
pub(super) struct SystemBody {
    system: String,
    /// Switched on, so that it is read and written to.
    enabled: bool,
    paused: bool,
    /// Who paused it, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_note: Option<String>,
    /// Why a guard halted its feed.
    #[serde(skip_serializing_if = "Option::is_none")]
    halted: Option<String>,
    /// Its next complete read may find however few contacts.
    accept_fewer: bool,
    /// Since when its word counts for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    muted_since: Option<String>,
    /// It has been read whole.
    loaded: bool,
    /// Everything up to then has been read.
    #[serde(skip_serializing_if = "Option::is_none")]
    read_up_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    polled_at: Option<String>,
    /// Open holds of what it says; in the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<u64>,
    /// Persons who wait under them, once for each hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<i64>,
    /// So many dead letters are tried again, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    redriven: Option<u64>,
}

impl SystemBody {
    fn new(name: &str, enabled: bool, feed: FeedRow) -> Self {
        let time = |micros: i64| At::from_micros(micros).to_string();
        Self {
            system: name.to_owned(),
            enabled,
            paused: feed.paused,
            paused_note: feed.paused_note,
            halted: feed.halted,
            accept_fewer: feed.accept_fewer,
            muted_since: feed.muted_since.map(time),
            loaded: feed.loaded,
            read_up_to: feed.drained.map(time),
            polled_at: feed.polled_at.map(time),
            holds: None,
            waiting: None,
            redriven: None,
        }
    }
}

#[derive(Serialize)]
pub(super) struct SystemList {
    systems: Vec<SystemBody>,
    /// Open holds, also of what no system in particular says.
    holds: i64,
    /// Persons who wait under them, each once.
    waiting: i64,
}

/// Lists every system that was ever configured.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Json<SystemList>, Problem> {
    api.tokens.admit(&headers, Act::Look)?;
    let board = &api.switchboard;
    let known = board.store.systems().await;
    let known = known.map_err(|error| Problem::store(&error))?;
    let figures = board.store.figures(board.clock.now()).await;
    let figures = figures.map_err(|error| Problem::store(&error))?;
    let waiting = board.holds().await?;
    let mut systems = Vec::new();
    for (id, name) in known {
        let mine = waiting.get(&id).copied().unwrap_or_default();
        systems.push(SystemBody {
            holds: Some(mine.holds),
            waiting: Some(mine.persons),
            ..board.shown(&name, id).await?
        });
    }
    Ok(Json(SystemList {
        systems,
        holds: figures.holds,
        waiting: figures.held_subjects,
    }))
}

/// What a system can be asked to do.
#[derive(Clone, Copy)]
enum Turn {
    Pause,
    Resume,
    Resync,
    Redrive,
}

impl Turn {
    fn named(word: &str) -> Option<Self> {
        match word {
            "pause" => Some(Self::Pause),
            "resume" => Some(Self::Resume),
            "resync" => Some(Self::Resync),
            "redrive" => Some(Self::Redrive),
            _ => None,
        }
    }
}

/// Pauses, resumes, has read anew, or has what was given up tried again.
pub(super) async fn turn(
    State(api): State<Arc<Api>>,
    Path((name, act)): Path<(String, String)>,
    request: Request,
) -> Result<Json<SystemBody>, Problem> {
    let token = api.tokens.admit(request.headers(), Act::Operate)?;
    let board = &api.switchboard;
    let id = board.number(&name).await?;
    let turn = Turn::named(&act).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "act",
            "there is no such act",
            "a system can be asked to pause, resume, resync or redrive",
        )
    })?;
    let (store, now) = (&*board.store, board.clock.now());
    let mut redriven = None;
    let turned = match turn {
        Turn::Pause => {
            let by = operator(request, &token).await?;
            switches::pause(store, id, &by, now).await
        }
        Turn::Resume => {
            let (by, accept_fewer) = resume(request, &token).await?;
            let resumed = switches::resume(store, id, accept_fewer, &by, now).await;
            resumed.map(Resumed::is_changed)
        }
        Turn::Resync => {
            let by = operator(request, &token).await?;
            switches::resync(store, id, &by, now).await.map(|()| true)
        }
        Turn::Redrive => {
            let (by, contacts) = redrive(request, &token).await?;
            let done = switches::redrive(store, id, &contacts, &by, now).await;
            done.map(|count| *redriven.insert(count) > 0)
        }
    };
    if turned.map_err(|error| Problem::store(&error))? {
        told(&token, &name, &act);
        board.wake(id);
    }
    let shown = board.shown(&name, id).await?;
    Ok(Json(SystemBody { redriven, ..shown }))
}

fn told(token: &Token, system: &str, act: &str) {
    tracing::info!(system, token = %token.name, act, "{system}: {act}, asked for by {}", token.name);
}

/// What a reload changed.
#[derive(Serialize)]
pub(super) struct Reloaded {
    /// What is different from now on.
    taken: Vec<String>,
    /// Keys that differ, and wait for a restart.
    waiting: Vec<&'static str>,
}

/// Reads the configuration again. One that changes something is in the ledger.
pub(super) async fn reload(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<Reloaded>, Problem> {
    let token = api.tokens.admit(request.headers(), Act::Operate)?;
    let by = operator(request, &token).await?;
    tracing::info!(token = %token.name, "a reload was asked for by {}", token.name);
    let board = &api.switchboard;
    let Changed { taken, ignored } = board
        .reload
        .reload()
        .await
        .map_err(|error| refused(&error))?;
    if !taken.is_empty() {
        let mut what = Map::new();
        what.insert("taken".to_owned(), taken.clone().into());
        let told =
            switches::tell(&*board.store, "reload", &by, None, what, board.clock.now()).await;
        told.map_err(|error| Problem::store(&error))?;
    }
    Ok(Json(Reloaded {
        taken,
        waiting: ignored,
    }))
}

fn refused(error: &ReloadError) -> Problem {
    let detail = error.to_string();
    match error {
        ReloadError::Faulty(_) | ReloadError::NotConnected(_) => {
            Problem::unprocessable("configuration", "the configuration is refused", detail)
        }
        ReloadError::Store(error) => Problem::store(error),
        ReloadError::Interrupted => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "interrupted",
            "the reload was interrupted",
            detail,
        ),
    }
}
