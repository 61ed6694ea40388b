//! Setting subscribers active without a person, where the configuration allows it (R47).
//!
//! The parent first, then the units: a unit that follows the whole enterprise stays shut as long as
//! the parent is. Verdicts and requests are read anew before each call, so that nobody is set active
//! who has opted out meanwhile.

use super::person::people;
use super::{Auto, Keeper, REQUESTS_AT_ONCE, close, entry, unreadable};
use crate::connector::gate::Activation;
use crate::consent::At;
use crate::consent::gate::{Closing, SubscriberStatus, may_activate};
use crate::store::{Changes, Known, RequestQuery, RequestRow, RequestView, Scope, SubjectRef};
use crate::sync::engine::SyncError;
use std::collections::{BTreeMap, BTreeSet};
use tokio_util::sync::CancellationToken;

/// Who closed a request that the daemon worked itself.
const BY_ITSELF: &str = "consentd";

/// A request that may be worked, and its subscriber as the gate is asked for it.
struct Task {
    request: RequestRow,
    key: String,
}

/// What came of one request.
enum Came {
    /// The unit sends mail again.
    Active,
    /// It stays open, with what to say of it.
    Noted(String),
}

impl Keeper {
    /// Works open requests, where that is allowed: all of them when `again`, else those of which
    /// nothing was said yet.
    pub(super) async fn activate(
        &self,
        again: bool,
        stop: &CancellationToken,
    ) -> Result<(), SyncError> {
        // While decisions are only planned, nothing is written to the gate either (R49).
        if self.terms.auto == Auto::Off || self.shared.store.origin().await?.is_planning() {
            return Ok(());
        }
        let open: Vec<RequestView> = self
            .open_requests()
            .await?
            .into_iter()
            .filter(|view| again || view.request.note.is_none())
            .collect();
        let mut shut: BTreeSet<(SubjectRef, String)> = BTreeSet::new();
        // The parent stands first among the units.
        for (place, unit) in self.gate.units().iter().enumerate() {
            let mine: Vec<&RequestView> = open
                .iter()
                .filter(|view| view.request.unit == unit.id)
                .filter(|view| {
                    let of = (view.subject, view.request.subscriber.clone());
                    !shut.contains(&of)
                })
                .collect();
            for chunk in mine.chunks(self.gate.keys_at_once().max(1)) {
                if stop.is_cancelled() {
                    return Ok(());
                }
                let left = self.work(&unit.id, chunk).await?;
                if place == 0 {
                    shut.extend(left);
                }
            }
        }
        Ok(())
    }

    async fn open_requests(&self) -> Result<Vec<RequestView>, SyncError> {
        let mut all = Vec::new();
        let mut query = RequestQuery::default();
        loop {
            let page = self.shared.store.requests(&query, REQUESTS_AT_ONCE).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            query.after = last.request.id;
            all.extend(page);
        }
    }

    /// Works some requests of one unit. Those of them that stay open, by person and subscriber.
    async fn work(
        &self,
        unit: &str,
        requests: &[&RequestView],
    ) -> Result<BTreeSet<(SubjectRef, String)>, SyncError> {
        let subjects: BTreeSet<SubjectRef> = requests.iter().map(|view| view.subject).collect();
        let scope = Scope {
            subjects: subjects.into_iter().collect(),
            requests: true,
            ..Scope::default()
        };
        let ids: BTreeSet<i64> = requests.iter().map(|view| view.request.id).collect();
        let (tasks, mut came) = self.allowed(&scope, &ids).await?;
        if self.terms.auto == Auto::DryRun {
            for task in &tasks {
                let words = "would be set active; auto_resubscribe_dry_run is on";
                came.insert(task.request.id, Came::Noted(words.to_owned()));
            }
        } else if !tasks.is_empty() {
            let keys: Vec<String> = tasks.iter().map(|task| task.key.clone()).collect();
            let outcomes = self.gate.activate(unit, &keys).await?;
            for (task, outcome) in tasks.iter().zip(outcomes) {
                let what = match outcome {
                    Activation::Active => Came::Active,
                    Activation::Unknown(fault) => Came::Noted(format!(
                        "{}: {fault}; the next reading shows what it did",
                        fault.code
                    )),
                    Activation::Failed(fault) => Came::Noted(format!("{}: {fault}", fault.code)),
                };
                came.insert(task.request.id, what);
            }
        }
        let stay = requests
            .iter()
            .filter(|view| !matches!(came.get(&view.request.id), Some(Came::Active)))
            .map(|view| (view.subject, view.request.subscriber.clone()))
            .collect();
        self.note(&scope, &came).await?;
        Ok(stay)
    }

    /// R47: which of these requests may be worked by what is known now, and what to say of the others.
    async fn allowed(
        &self,
        scope: &Scope,
        ids: &BTreeSet<i64>,
    ) -> Result<(Vec<Task>, BTreeMap<i64, Came>), SyncError> {
        let known = self.shared.store.known(scope).await?;
        let people = people(&known, &scope.subjects, &self.shared.rules, &self.terms)
            .map_err(|error| unreadable(&error))?;
        let (mut tasks, mut came) = (Vec::new(), BTreeMap::new());
        for person in &people {
            for request in person
                .open
                .iter()
                .filter(|request| ids.contains(&request.id))
            {
                let status = SubscriberStatus::from_word(&request.status);
                let left = request.unsubscribed_at.map(At::from_micros);
                match may_activate(person.granted_since, status, left) {
                    Ok(()) => tasks.push(Task {
                        key: person.asked_as(&request.subscriber).to_owned(),
                        request: request.clone(),
                    }),
                    Err(reluctance) => {
                        let words = reluctance.words().to_owned();
                        came.insert(request.id, Came::Noted(words));
                    }
                }
            }
        }
        Ok((tasks, came))
    }

    /// Stores what came of requests that are still open.
    async fn note(&self, scope: &Scope, came: &BTreeMap<i64, Came>) -> Result<(), SyncError> {
        if came.is_empty() {
            return Ok(());
        }
        let now = self.shared.clock.now();
        let decide = &mut |known: Known| {
            let mut changes = Changes::default();
            for request in &known.requests {
                let subject = known.subjects.iter().find(|row| row.id == request.subject);
                let (Some(came), Some(row)) = (came.get(&request.id), subject) else {
                    continue;
                };
                match came {
                    Came::Active => {
                        let by = Some(BY_ITSELF);
                        close(row.subject, request, Closing::Green, by, now, &mut changes);
                    }
                    Came::Noted(words) if request.note.as_ref() == Some(words) => {}
                    Came::Noted(words) => {
                        let noted = RequestRow {
                            note: Some(words.clone()),
                            ..request.clone()
                        };
                        let draft = entry(row.subject, &noted, words, Some(BY_ITSELF), now);
                        changes.ledger.push(draft);
                        changes.gate.requests.push(noted);
                    }
                }
            }
            changes
        };
        self.shared.store.transact(scope, decide).await?;
        Ok(())
    }
}
