//! The gate: whether mail to people who want it would be delivered, and what has to be done where it
//! would not (R47).
//!
//! Whoever comes back is asked about at once, everybody who wants mail nightly. What the gate says
//! opens and closes re-subscribe requests, and nothing else: no verdict depends on it. Where that is
//! allowed, `activate` works the requests itself; otherwise people do, from the sheet or by
//! [`by_hand`]. What a look leads to is decided in `consent::gate`.

mod activate;
pub mod by_hand;
mod person;

use self::person::{Person, people};
use super::breaker::Breaker;
use super::engine::{Shared, SyncError};
use super::pack::{PackError, unpack_verdicts};
use super::schedule::next_round;
use super::sheet;
use crate::config::{MarketingCloud, Schedule, Sheet, SubscriberKey};
use crate::connector::gate::{Gate, Standing};
use crate::connector::{Fault, FaultClass};
use crate::consent::gate::{Closing, Open, Seen, Step, review};
use crate::consent::{At, PurposeId, Rules, Status, SystemId};
use crate::runtime::health::Login;
use crate::store::{
    Changes, GateRound, Known, LedgerDraft, RequestQuery, RequestRow, Scope, StoreError, SubjectRef,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What the gate is called in logs, metrics and alarms.
pub const NAME: &str = "marketing_cloud";
/// People who are asked about in one transaction.
const PEOPLE_AT_ONCE: usize = 500;
/// Subjects of a nightly round that are read at once.
const PAGE: usize = 2_000;
/// Requests that are read at once.
pub(crate) const REQUESTS_AT_ONCE: usize = 1_000;
/// The keeper looks for people who came back at least this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// While the systems have not all been read, nobody is asked about.
const NOT_COMPLETE: Duration = Duration::from_secs(2);

/// Whether the daemon sets subscribers active by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auto {
    /// It never does.
    Off,
    /// It says what it would do.
    DryRun,
    /// It does.
    On,
}

/// How the gate is used.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What it guards, with everything below.
    pub purpose: PurposeId,
    /// The system whose contacts name the subscribers.
    pub system: SystemId,
    /// How they do.
    pub key: SubscriberKey,
    /// When everybody is asked about.
    pub schedule: Schedule,
    /// Whether requests are worked by the daemon.
    pub auto: Auto,
    /// Where the sheet is written, and when.
    pub sheet: Option<Sheet>,
}

impl Terms {
    /// How the configuration says; none when the system it names has no number.
    pub fn of(settings: &MarketingCloud, rules: &Rules) -> Option<Self> {
        let mut systems = rules.systems.iter();
        let system = systems.find(|system| system.name == settings.system)?;
        Some(Self {
            purpose: settings.purpose,
            system: system.id,
            key: settings.subscriber_key,
            schedule: settings.schedule.clone(),
            auto: match (settings.auto_resubscribe, settings.auto_resubscribe_dry_run) {
                (false, _) => Auto::Off,
                (true, true) => Auto::DryRun,
                (true, false) => Auto::On,
            },
            sheet: settings.sheet.clone(),
        })
    }
}

/// Why a request was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The person came back.
    OptIn,
    /// The nightly round found it.
    Round,
}

impl Cause {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::OptIn => "opt-in",
            Self::Round => "round",
        }
    }
}

/// What one check led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// People who were asked about.
    pub people: usize,
    /// Requests that were opened.
    pub opened: usize,
    /// Requests that were closed.
    pub closed: usize,
}

impl Report {
    fn add(&mut self, other: Self) {
        self.people += other.people;
        self.opened += other.opened;
        self.closed += other.closed;
    }
}

/// What became of the last login at the gate.
#[derive(Debug, Default)]
pub struct GateHealth(Mutex<Login>);

impl GateHealth {
    /// Whether the gate lets us in.
    pub fn login(&self) -> Login {
        // A login is right whatever a panicking holder left.
        let login = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        login.clone()
    }

    fn note(&self, fault: Option<&Fault>, now: At) {
        let mut login = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match &*login {
            Login::Refused { since, .. } => *since,
            Login::Unknown | Login::Accepted => now,
        };
        match fault {
            None => *login = Login::Accepted,
            Some(fault) if fault.class == FaultClass::Auth => {
                let code = fault.code.clone();
                *login = Login::Refused { since, code };
            }
            // Whoever is away says nothing of the login.
            Some(_) => {}
        }
    }
}

/// Keeps the requests in line with the gate.
pub struct Keeper {
    /// The gate.
    pub gate: Arc<dyn Gate>,
    /// What all systems share.
    pub shared: Arc<Shared>,
    /// How the gate is used.
    pub terms: Terms,
    /// What the last call came to.
    pub health: Arc<GateHealth>,
    /// Pauses calls after faults.
    pub breaker: Breaker,
}

impl Keeper {
    /// Keeps them until told to stop.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut is_known = false;
        while !stop.is_cancelled() {
            let pause = match self.turn(&mut is_known, stop).await {
                Ok(pause) => pause,
                Err(error) => self.failed(&error),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Does what is due; the pause until something may be again. `is_known`: somebody has logged in.
    ///
    /// # Errors
    /// When the gate or the store fails; what was done before that stays done.
    pub async fn turn(
        &self,
        is_known: &mut bool,
        stop: &CancellationToken,
    ) -> Result<Duration, SyncError> {
        if !self.shared.is_complete().await? {
            return Ok(NOT_COMPLETE);
        }
        if !*is_known {
            self.log_in().await?;
            *is_known = true;
        }
        let mut report = self.check_due(stop).await?;
        if report.people > 0 {
            self.activate(false, stop).await?;
        }
        let rounds = self.round(stop).await?;
        if let Some(round) = rounds {
            report.add(round);
            self.activate(true, stop).await?;
        }
        if report != Report::default() {
            let Report {
                people,
                opened,
                closed,
            } = report;
            tracing::info!(
                people,
                opened,
                closed,
                "the gate was asked about {people} people: {opened} re-subscribe requests opened, {closed} closed"
            );
        }
        self.write_sheet().await?;
        self.health.note(None, self.shared.clock.now());
        self.breaker.succeeded();
        Ok(LOOK_INTERVAL)
    }

    async fn log_in(&self) -> Result<(), SyncError> {
        let probe = self.gate.probe().await?;
        for note in &probe.notes {
            tracing::info!(%note, "marketing_cloud: {note}");
        }
        match probe.missing.first() {
            None => Ok(()),
            Some(missing) => {
                let fault = Fault::new(FaultClass::Auth, "missing-permission", missing.clone());
                Err(fault.into())
            }
        }
    }

    /// The pause after a failure.
    fn failed(&self, error: &SyncError) -> Duration {
        match error {
            SyncError::Vendor(fault) => {
                let now = self.shared.clock.now();
                let pause = self.breaker.failed(fault, now, rand::random::<f64>);
                tracing::warn!(class = fault.class.word(), code = %fault.code,
                    "marketing_cloud: {fault}; next try in {:.1} s", pause as f64 / 1e6);
                metrics::counter!("consentd_faults_total", "system" => NAME, "class" => fault.class.word())
                    .increment(1);
                self.health.note(Some(fault), now);
                Duration::from_micros(pause.unsigned_abs())
            }
            SyncError::Store(error) => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                let cause = cause.unwrap_or_default();
                tracing::error!(%cause, "marketing_cloud: {error}: {cause}");
                LOOK_INTERVAL
            }
        }
    }

    /// Asks about everybody whose verdict has turned.
    ///
    /// # Errors
    /// When the gate or the store fails; whoever was not asked about stays due.
    async fn check_due(&self, stop: &CancellationToken) -> Result<Report, SyncError> {
        let mut report = Report::default();
        while !stop.is_cancelled() {
            let due = self.shared.store.gate_due(PEOPLE_AT_ONCE).await?;
            if due.is_empty() {
                break;
            }
            let subjects: Vec<SubjectRef> = due.iter().map(|(subject, ..)| *subject).collect();
            let due: Vec<(i64, i64)> = due.iter().map(|(_, id, since)| (*id, *since)).collect();
            report.add(self.check(&subjects, Cause::OptIn, due, None).await?);
        }
        Ok(report)
    }

    /// Asks about everybody who wants mail, if that is due, and about everybody with an open request.
    /// None when it is not due.
    ///
    /// # Errors
    /// When the gate or the store fails; the next call goes on where this one stopped.
    async fn round(&self, stop: &CancellationToken) -> Result<Option<Report>, SyncError> {
        let store = &self.shared.store;
        let mut round = store.gate_round().await?;
        let now = self.shared.clock.now();
        if round.after.is_none() {
            let last = At::from_micros(round.ended_at);
            match next_round(&self.terms.schedule, last, now) {
                Some(next) if next <= now => {}
                Some(_) | None => return Ok(None),
            }
        }
        let mut report = Report::default();
        let mut after = round.after.unwrap_or(0);
        loop {
            if stop.is_cancelled() {
                return Ok(None);
            }
            let page = store.subjects_after(after, PAGE).await?;
            let Some(last) = page.subjects.last() else {
                break;
            };
            after = last.id;
            round.after = Some(after);
            let wanted = self.wanted(&page).map_err(|error| unreadable(&error))?;
            let chunks: Vec<&[SubjectRef]> = wanted.chunks(PEOPLE_AT_ONCE).collect();
            for (place, chunk) in chunks.iter().enumerate() {
                // How far the round is, is stored with the last of them.
                let step = (place + 1 == chunks.len()).then_some(round);
                report.add(self.check(chunk, Cause::Round, Vec::new(), step).await?);
            }
            if chunks.is_empty() {
                self.store_round(round).await?;
            }
        }
        // Whoever has an open request and wants no mail any more was not among them.
        let left = self.left_with_requests().await?;
        for chunk in left.chunks(PEOPLE_AT_ONCE) {
            report.add(self.check(chunk, Cause::Round, Vec::new(), None).await?);
        }
        self.store_round(GateRound {
            ended_at: self.shared.clock.now().micros(),
            after: None,
            ..round
        })
        .await?;
        Ok(Some(report))
    }

    /// Those of a page who want mail.
    fn wanted(&self, page: &Known) -> Result<Vec<SubjectRef>, PackError> {
        let mut wanted = Vec::new();
        for row in &page.subjects {
            if is_granted(&row.verdicts, &self.shared.rules, self.terms.purpose)? {
                wanted.push(row.subject);
            }
        }
        Ok(wanted)
    }

    /// Those with an open request who want no mail.
    async fn left_with_requests(&self) -> Result<Vec<SubjectRef>, StoreError> {
        let mut subjects = BTreeSet::new();
        let mut query = RequestQuery::default();
        loop {
            let page = self.shared.store.requests(&query, REQUESTS_AT_ONCE).await?;
            let Some(last) = page.last() else {
                return Ok(subjects.into_iter().collect());
            };
            query.after = last.request.id;
            for view in &page {
                let verdicts = &view.verdicts;
                let granted = is_granted(verdicts, &self.shared.rules, self.terms.purpose);
                if !granted.map_err(|error| unreadable(&error))? {
                    subjects.insert(view.subject);
                }
            }
        }
    }

    async fn store_round(&self, round: GateRound) -> Result<(), StoreError> {
        let decide = &mut |_: Known| {
            let mut changes = Changes::default();
            changes.gate.round = Some(round);
            changes
        };
        let store = &self.shared.store;
        store.transact(&Scope::default(), decide).await.map(drop)
    }

    /// Asks about these people and stores what follows. `due`: what is done with by that.
    async fn check(
        &self,
        subjects: &[SubjectRef],
        cause: Cause,
        due: Vec<(i64, i64)>,
        round: Option<GateRound>,
    ) -> Result<Report, SyncError> {
        let store = &self.shared.store;
        let scope = Scope {
            subjects: subjects.to_vec(),
            requests: true,
            ..Scope::default()
        };
        let known = store.known(&scope).await?;
        let before = people(&known, subjects, &self.shared.rules, &self.terms)
            .map_err(|error| unreadable(&error))?;
        let keys: BTreeSet<&str> = before
            .iter()
            .filter(|person| person.granted_since.is_some())
            .flat_map(|person| person.keys.iter().map(|key| key.asked.as_str()))
            .collect();
        let answers = Answers {
            standings: self.ask(&keys).await?,
            asked: keys.iter().map(|key| (*key).to_owned()).collect(),
            names: self.unit_names(),
            now: self.shared.clock.now(),
            cause,
        };
        let mut report = Report::default();
        let mut unread = None;
        let decide = &mut |known: Known| {
            (report, unread) = (Report::default(), None);
            let people = match people(&known, subjects, &self.shared.rules, &self.terms) {
                Ok(people) => people,
                Err(error) => {
                    unread = Some(error);
                    return Changes::default();
                }
            };
            let mut changes = Changes::default();
            changes.gate.asked.clone_from(&due);
            changes.gate.round = round;
            for person in &people {
                answers.settle(person, known.next_sequence, &mut changes, &mut report);
            }
            changes
        };
        store.transact(&scope, decide).await?;
        match unread {
            Some(error) => Err(unreadable(&error).into()),
            None => Ok(report),
        }
    }

    async fn ask(&self, keys: &BTreeSet<&str>) -> Result<BTreeMap<String, Vec<Standing>>, Fault> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let mut standings: BTreeMap<String, Vec<Standing>> = BTreeMap::new();
        for chunk in keys.chunks(self.gate.keys_at_once().max(1)) {
            for standing in self.gate.standings(chunk).await? {
                let known = standings.entry(standing.key.clone()).or_default();
                known.push(standing);
            }
        }
        Ok(standings)
    }

    fn unit_names(&self) -> BTreeMap<String, String> {
        let units = self.gate.units().iter();
        units
            .map(|unit| (unit.id.clone(), unit.name.clone()))
            .collect()
    }

    /// Writes the sheet, if that is due.
    async fn write_sheet(&self) -> Result<(), SyncError> {
        let Some(settings) = &self.terms.sheet else {
            return Ok(());
        };
        let store = &self.shared.store;
        let round = store.gate_round().await?;
        let now = self.shared.clock.now();
        match next_round(&settings.schedule, At::from_micros(round.sheet_at), now) {
            Some(next) if next <= now => {}
            Some(_) | None => return Ok(()),
        }
        let rows = sheet::rows(&**store, &self.shared.rules, self.terms.purpose).await?;
        let (settings, count) = (settings.clone(), rows.len());
        let written = tokio::task::spawn_blocking(move || sheet::write(&settings, &rows, now));
        match written.await {
            Ok(Ok(files)) => {
                let files: Vec<String> = files
                    .iter()
                    .map(|file| file.display().to_string())
                    .collect();
                tracing::info!(count, files = %files.join(", "), "the re-subscribe sheet was written: {count} open requests");
            }
            // The next turn tries again.
            Ok(Err(fault)) => {
                tracing::error!(%fault, "the re-subscribe sheet was not written: {fault}; check [marketing_cloud.sheet] directory");
                return Ok(());
            }
            Err(crash) => std::panic::resume_unwind(crash.into_panic()),
        }
        self.store_round(GateRound {
            sheet_at: now.micros(),
            ..round
        })
        .await?;
        Ok(())
    }
}

/// What the gate said, and what it leads to for each person.
struct Answers {
    standings: BTreeMap<String, Vec<Standing>>,
    /// The keys that were asked for.
    asked: BTreeSet<String>,
    /// Names of the units, by id.
    names: BTreeMap<String, String>,
    now: At,
    cause: Cause,
}

impl Answers {
    /// Adds what follows for one person.
    fn settle(
        &self,
        person: &Person,
        next_sequence: i64,
        changes: &mut Changes,
        report: &mut Report,
    ) {
        let is_granted = person.granted_since.is_some();
        let asked = |key: &person::Key| self.asked.contains(&key.asked);
        if is_granted && !person.keys.iter().all(asked) {
            // A contact came in while the gate was asked.
            changes.gate.due.push((person.id, self.now.micros()));
            return;
        }
        report.people += usize::from(is_granted);
        let keys: BTreeSet<&str> = person.keys.iter().map(|key| key.asked.as_str()).collect();
        let units: BTreeSet<&str> = self.names.keys().map(String::as_str).collect();
        let standings: Vec<&Standing> = keys
            .iter()
            .filter_map(|key| self.standings.get(*key))
            .flatten()
            .collect();
        let seen: Vec<Seen<'_>> = standings
            .iter()
            .map(|standing| Seen {
                key: &standing.key,
                unit: &standing.unit,
                status: standing.status,
            })
            .collect();
        let open: Vec<Open<'_>> = person
            .open
            .iter()
            .map(|request| Open {
                id: request.id,
                key: person.asked_as(&request.subscriber),
                unit: &request.unit,
            })
            .collect();
        let left = |key: &str, unit: &str| {
            let mut all = standings.iter();
            all.find(|standing| standing.key == key && standing.unit == unit)
                .and_then(|standing| standing.unsubscribed_at)
                .map(At::micros)
        };
        for step in review(is_granted, &keys, &units, &seen, &open) {
            match step {
                Step::Open(seen) => {
                    report.opened += 1;
                    let row = RequestRow {
                        id: next_sequence + changes.ledger.len() as i64,
                        subject: person.id,
                        subscriber: person.stored_as(seen.key).to_owned(),
                        unit: seen.unit.to_owned(),
                        unit_name: self.names.get(seen.unit).cloned().unwrap_or_default(),
                        status: seen.status.word().to_owned(),
                        unsubscribed_at: left(seen.key, seen.unit),
                        cause: self.cause.word().to_owned(),
                        evidence: person.evidence.clone(),
                        opened_at: self.now.micros(),
                        seen_at: self.now.micros(),
                        ..RequestRow::default()
                    };
                    changes
                        .ledger
                        .push(entry(person.subject, &row, "opened", None, self.now));
                    changes.gate.requests.push(row);
                }
                Step::Keep { id, status } => {
                    if let Some(row) = person.open.iter().find(|row| row.id == id) {
                        changes.gate.requests.push(RequestRow {
                            status: status.word().to_owned(),
                            unsubscribed_at: left(person.asked_as(&row.subscriber), &row.unit),
                            seen_at: self.now.micros(),
                            ..row.clone()
                        });
                    }
                }
                Step::Close { id, closing } => {
                    if let Some(row) = person.open.iter().find(|row| row.id == id) {
                        report.closed += 1;
                        close(person.subject, row, closing, None, self.now, changes);
                    }
                }
            }
        }
    }
}

/// Closes a request, with its entry in the ledger.
fn close(
    subject: SubjectRef,
    row: &RequestRow,
    closing: Closing,
    by: Option<&str>,
    now: At,
    changes: &mut Changes,
) {
    let row = RequestRow {
        seen_at: now.micros(),
        closed_at: Some(now.micros()),
        closing: Some(closing.word().to_owned()),
        closed_by: by.map(str::to_owned),
        ..row.clone()
    };
    changes
        .ledger
        .push(entry(subject, &row, closing.word(), by, now));
    changes.gate.requests.push(row);
}

/// The entry of the ledger about a request: what happened to it, and who did it.
fn entry(
    subject: SubjectRef,
    row: &RequestRow,
    act: &str,
    by: Option<&str>,
    now: At,
) -> LedgerDraft {
    let body = json!({
        "subject": subject.to_string(),
        "act": act,
        "request": row.id,
        "subscriber": row.subscriber,
        "unit": row.unit,
        "status": row.status,
        "operator": by,
    });
    LedgerDraft {
        kind: "resubscribe",
        subject: Some(row.subject),
        system: None,
        at: now.micros(),
        body: body.to_string(),
    }
}

/// Whether packed verdicts grant that purpose.
pub(super) fn is_granted(
    verdicts: &str,
    rules: &Rules,
    purpose: PurposeId,
) -> Result<bool, PackError> {
    let name = rules.purposes.name(purpose);
    let verdicts = unpack_verdicts(verdicts)?;
    let mut verdicts = verdicts.iter();
    Ok(verdicts.any(|verdict| verdict.purpose == name && verdict.status() == Status::Granted))
}

fn unreadable(error: &PackError) -> StoreError {
    StoreError::Corrupt {
        what: "packed column",
        detail: error.to_string(),
    }
}
