//! `/metrics`: figures for Prometheus.
//!
//! Counters and durations are recorded where things happen; figures of the store, which cost a
//! query, are refreshed by [`Refresher`] at a steady pace and never by a scrape. Labels are system
//! and purpose names, lanes, kinds of call and of hold, and classes of fault, so their number is bounded, and no label can
//! hold anything of a person.

use super::router::App;
use crate::alarm::notifier::Notifier;
use crate::alarm::{
    OpenHold, Overdue, SystemView, UnreadableFile, Urgent, View, oldest_withdrawal,
};
use crate::connector::Connector;
use crate::consent::At;
use crate::consent::guard::HoldKind;
use crate::runtime::clock::Clock;
use crate::runtime::health::{Board, SystemState};
use crate::store::{Figures, RequestQuery, Store, StoreError, SystemFigures};
use crate::sync::first_run;
use crate::sync::gate::{self, Keeper, REQUESTS_AT_ONCE};
use crate::sync::holds::MOST_HOLDS;
use crate::sync::workbench::direction;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time between two refreshes of the store's figures.
pub const REFRESH: Duration = Duration::from_secs(15);
/// Bounds of the buckets for durations of polls, seconds.
const POLL_BUCKETS: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0,
];

/// Starts to collect metrics in this process.
///
/// # Errors
/// When it was called before.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let matcher = Matcher::Full("consentd_poll_duration_seconds".to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(matcher, POLL_BUCKETS)?
        .install_recorder()?;
    describe();
    Ok(handle)
}

fn describe() {
    for (name, unit, what) in [
        ("consentd_ready", Unit::Count, "1 while /readyz answers 200"),
        (
            "consentd_store_writable",
            Unit::Count,
            "1 while the state store can be written",
        ),
        (
            "consentd_feed_lag_seconds",
            Unit::Seconds,
            "Time since everything was read up to",
        ),
        ("consentd_contacts", Unit::Count, "Live contacts"),
        (
            "consentd_contacts_unmatched",
            Unit::Count,
            "Live contacts without a usable address",
        ),
        (
            "consentd_contacts_differing",
            Unit::Count,
            "Live contacts that do not show their verdict yet",
        ),
        (
            "consentd_parity_ratio",
            Unit::Count,
            "Share of live contacts that show their verdict",
        ),
        (
            "consentd_outbox_writes",
            Unit::Count,
            "Writes waiting to be sent, by lane",
        ),
        (
            "consentd_planning",
            Unit::Count,
            "1 while decisions are only planned, and nothing is written to any system",
        ),
        (
            "consentd_planned_writes",
            Unit::Count,
            "Writes that wait until a plan is applied",
        ),
        (
            "consentd_holds",
            Unit::Count,
            "People of whom a decision waits for a person, by kind, system, purpose and direction",
        ),
        (
            "consentd_held_writes",
            Unit::Count,
            "Writes that wait for a person",
        ),
        (
            "consentd_dead_letters",
            Unit::Count,
            "Writes given up until an operator re-drives them",
        ),
        (
            "consentd_quarantined_records",
            Unit::Count,
            "Records that could not be understood",
        ),
        (
            "consentd_oldest_withdrawal_seconds",
            Unit::Seconds,
            "Age of the oldest withdrawal not yet acknowledged",
        ),
        (
            "consentd_withdrawal_late",
            Unit::Count,
            "1 while a withdrawal has used up half of its time",
        ),
        (
            "consentd_alarm",
            Unit::Count,
            "1 while an alarm stands, by kind and system; of kinds that are about no system how many",
        ),
        (
            "consentd_parity_pairs",
            Unit::Count,
            "People of whom two systems show the same, or not, at the last report",
        ),
        (
            "consentd_parity_inconsistent",
            Unit::Count,
            "Contacts whose opt-out and categories were at odds at the last report",
        ),
        (
            "consentd_vendor_quota_used",
            Unit::Count,
            "Calls used of the vendor's daily allowance",
        ),
        (
            "consentd_vendor_quota_allowed",
            Unit::Count,
            "The vendor's daily allowance of calls",
        ),
        (
            "consentd_system_state",
            Unit::Count,
            "1 for what the system is up to, 0 for all else",
        ),
        ("consentd_subjects", Unit::Count, "People known, by address"),
        (
            "consentd_subjects_with_findings",
            Unit::Count,
            "People with a conflict, inconsistency or hold",
        ),
        (
            "consentd_resubscribe_requests",
            Unit::Count,
            "Open requests to set a subscriber active again, by urgency",
        ),
        (
            "consentd_ledger_entries",
            Unit::Count,
            "Entries of the ledger",
        ),
    ] {
        describe_gauge!(name, unit, what);
    }
    for (name, what) in [
        (
            "consentd_vendor_calls_total",
            "Calls to the vendor, by kind",
        ),
        ("consentd_faults_total", "Failed calls and rows, by class"),
        ("consentd_store_faults_total", "Failures of the state store"),
        (
            "consentd_contacts_read_total",
            "Contacts read from the feed",
        ),
        (
            "consentd_records_quarantined_total",
            "Records put into quarantine",
        ),
        (
            "consentd_rows_written_total",
            "Rows written to the state store",
        ),
        ("consentd_writes_total", "Writes by what became of them"),
        (
            "consentd_hooks_total",
            "Calls of web hooks, by what became of them",
        ),
        (
            "consentd_alarm_deliveries_total",
            "Attempts to deliver alarms and all-clears, by channel and result",
        ),
        ("consentd_task_restarts_total", "Restarts of crashed tasks"),
        (
            "consentd_reloads_total",
            "Reloads of the configuration, by result",
        ),
    ] {
        describe_counter!(name, Unit::Count, what);
    }
    describe_histogram!(
        "consentd_poll_duration_seconds",
        Unit::Seconds,
        "Time a complete poll took"
    );
}

/// The text format of Prometheus.
pub(super) async fn scrape(State(app): State<App>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        app.metrics.render(),
    )
}

/// A system whose figures are shown.
#[derive(Clone)]
pub struct Shown {
    /// Number in the store.
    pub number: i16,
    /// Configured name.
    pub name: String,
    /// Its connector, unless it is switched off.
    pub connector: Option<Arc<dyn Connector>>,
}

/// Keeps health and figures fresh: proves that the store can be written, and reads its figures.
#[derive(Clone)]
pub struct Refresher {
    /// The state store.
    pub store: Arc<dyn Store>,
    /// Our clock.
    pub clock: Arc<dyn Clock>,
    /// Where the proof is noted.
    pub board: Arc<Board>,
    /// The systems.
    pub systems: Vec<Shown>,
    /// For upkeep: old observations are let go.
    pub metrics: PrometheusHandle,
    /// Time between two refreshes; [`REFRESH`] in the daemon.
    pub every: Duration,
    /// R34: a withdrawal has to be everywhere within this time; half of it is an alarm.
    pub withdrawal_deadline: Duration,
    /// Raises alarms and gives the all-clear.
    pub notifier: Arc<Notifier>,
    /// Who asks the gate, if there is one.
    pub keeper: Option<Arc<Keeper>>,
    /// Vendor calls counted so far, by system and kind. A connector that replaces another one counts
    /// from nought; what is shown only grows.
    pub counted: Arc<Mutex<BTreeMap<(String, &'static str), u64>>>,
    /// What was last told of planning.
    pub advice: Advice,
    /// Holds that were shown, so that they show as nought once they are closed.
    pub shown_holds: Arc<Mutex<BTreeSet<HoldLabels>>>,
}

/// Tells the log what to do while decisions are only planned: once their number has come to rest, and
/// again whenever it has come to rest elsewhere.
#[derive(Clone, Default)]
pub struct Advice(Arc<Mutex<Told>>);

/// How many writes were planned at the last look, and when it was last told.
#[derive(Default)]
struct Told {
    looked: Option<i64>,
    told: Option<i64>,
}

impl Advice {
    fn look(&self, figures: &Figures) {
        let Some(words) = first_run::advice(figures) else {
            return;
        };
        let planned = figures.planned();
        // Numbers are right whatever a panicking holder left.
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at_rest = seen.looked.replace(planned) == Some(planned);
        if at_rest && seen.told != Some(planned) {
            seen.told = Some(planned);
            tracing::info!(planned, "{words}");
        }
    }
}

/// What a hold is shown under: kind, system, purpose, direction. Empty where it is of none in particular.
pub type HoldLabels = (&'static str, String, String, &'static str);

impl Refresher {
    /// Refreshes until told to stop. A store that fails is noted, not an end.
    pub async fn run(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.refresh().await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.every) => {}
            }
        }
    }

    /// One refresh.
    pub async fn refresh(&self) {
        let now = self.clock.now();
        match self.store.probe_writable(now).await {
            Ok(()) => self.board.store_written(now),
            Err(fault) => {
                tracing::warn!(%fault, "the state store cannot be written: {fault}");
                self.board.store_failed();
            }
        }
        let halted = self.look_at_switches().await;
        match self.store.figures(now).await {
            Ok(figures) => {
                self.show_figures(&figures, now);
                self.advice.look(&figures);
                let told = match self.view(&figures, &halted, now).await {
                    Ok(view) => {
                        self.show_holds(&view.holds);
                        self.notifier.look(&view).await
                    }
                    Err(fault) => Err(fault),
                };
                if let Err(fault) = told {
                    tracing::warn!(%fault, "alarms can be neither raised nor cleared: {fault}");
                }
            }
            Err(fault) => tracing::warn!(%fault, "the store's figures cannot be read: {fault}"),
        }
        self.show_vendors();
        self.show_readiness(now);
        self.metrics.run_upkeep();
    }

    /// R50: another process may have paused or resumed a system, and the next poll may be far. Why a
    /// guard halted each feed that could be looked at.
    async fn look_at_switches(&self) -> BTreeMap<i16, Option<String>> {
        let mut halted = BTreeMap::new();
        for shown in self
            .systems
            .iter()
            .filter(|shown| shown.connector.is_some())
        {
            if let Ok(feed) = self.store.feed(shown.number).await {
                self.board.paused(&shown.name, feed.paused);
                self.board.halted(&shown.name, feed.halted.is_some());
                halted.insert(shown.number, feed.halted);
            }
        }
        halted
    }

    fn show_figures(&self, figures: &Figures, now: At) {
        gauge!("consentd_planning").set(f64::from(u8::from(figures.planning)));
        gauge!("consentd_subjects").set(figures.subjects as f64);
        gauge!("consentd_subjects_with_findings").set(figures.with_findings as f64);
        gauge!("consentd_ledger_entries").set(figures.ledger as f64);
        let weekly = figures.requests.saturating_sub(figures.urgent_requests);
        for (urgency, count) in [("urgent", figures.urgent_requests), ("weekly", weekly)] {
            gauge!("consentd_resubscribe_requests", "urgency" => urgency).set(count as f64);
        }
        for shown in &self.systems {
            show_system(&shown.name, &figures_of(figures, shown.number), now);
        }
    }

    /// What the alarms are worked out from.
    ///
    /// # Errors
    /// When the store fails.
    async fn view(
        &self,
        figures: &Figures,
        halted: &BTreeMap<i16, Option<String>>,
        now: At,
    ) -> Result<View, StoreError> {
        let gate = self.keeper.as_ref().map(|keeper| SystemView {
            name: gate::NAME.to_owned(),
            enabled: true,
            figures: SystemFigures::default(),
            halted: Some(None),
            login: keeper.health.login(),
        });
        let systems = self.systems.iter().map(|shown| SystemView {
            name: shown.name.clone(),
            enabled: shown.connector.is_some(),
            figures: figures_of(figures, shown.number),
            halted: halted.get(&shown.number).cloned(),
            login: self.board.login(&shown.name),
        });
        Ok(View {
            now,
            withdrawal_deadline: self.withdrawal_deadline,
            systems: systems.chain(gate).collect(),
            overdue: self.overdue(),
            unreadable: self.unreadable(),
            holds: self.holds(figures).await?,
            urgent: self.urgent(figures).await?,
            tasks_down: self.board.tasks_down(),
        })
    }

    /// Batches of which the word is late.
    fn overdue(&self) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        for (name, connector) in self.at_work() {
            overdue.extend(connector.overdue().into_iter().map(|late| Overdue {
                system: name.to_owned(),
                batch: late.batch,
                since: late.since,
                rows: late.missing as u64,
            }));
        }
        overdue
    }

    /// Files that were delivered and cannot be understood.
    fn unreadable(&self) -> Vec<UnreadableFile> {
        let mut files = Vec::new();
        for (name, connector) in self.at_work() {
            files.extend(
                connector
                    .unreadable()
                    .into_iter()
                    .map(|file| UnreadableFile {
                        system: name.to_owned(),
                        file: file.name,
                        reason: file.reason,
                    }),
            );
        }
        files
    }

    /// The systems that are switched on, with their connectors.
    fn at_work(&self) -> impl Iterator<Item = (&str, &Arc<dyn Connector>)> {
        let systems = self.systems.iter();
        systems.filter_map(|shown| Some((shown.name.as_str(), shown.connector.as_ref()?)))
    }

    /// The open holds (R29).
    async fn holds(&self, figures: &Figures) -> Result<Vec<OpenHold>, StoreError> {
        if figures.holds == 0 {
            return Ok(Vec::new());
        }
        let found = self.store.holds(false, MOST_HOLDS).await?;
        let known = self.store.systems().await?;
        let name = |number: i16| {
            let mut known = known.iter();
            known.find(|(id, _)| *id == number)
        };
        let holds = found.into_iter().filter_map(|view| {
            let hold = view.hold;
            Some(OpenHold {
                id: hold.id,
                kind: HoldKind::from_word(&hold.kind)?,
                system: name(hold.system).map(|(_, name)| name.clone()),
                purpose: Some(hold.purpose).filter(|purpose| !purpose.is_empty()),
                withdrawn: hold.withdrawn,
                persons: view.waiting.max(0).unsigned_abs(),
                since: At::from_micros(hold.opened_at),
            })
        });
        Ok(holds.collect())
    }

    /// Those who wait, by what their holds are of; the users who made loads are no label.
    fn show_holds(&self, holds: &[OpenHold]) {
        // What was shown is right whatever a panicking holder left.
        let mut shown = self
            .shown_holds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut waiting: BTreeMap<HoldLabels, u64> =
            shown.iter().map(|labels| (labels.clone(), 0)).collect();
        for hold in holds {
            let labels = (
                hold.kind.word(),
                hold.system.clone().unwrap_or_default(),
                hold.purpose.clone().unwrap_or_default(),
                direction(hold.withdrawn),
            );
            shown.insert(labels.clone());
            *waiting.entry(labels).or_default() += hold.persons;
        }
        for ((kind, system, purpose, direction), persons) in waiting {
            let labels = [
                ("kind", kind.to_owned()),
                ("system", system),
                ("purpose", purpose),
                ("direction", direction.to_owned()),
            ];
            gauge!("consentd_holds", &labels).set(persons as f64);
        }
    }

    /// The urgent re-subscribe requests (R47); of very many only the first.
    async fn urgent(&self, figures: &Figures) -> Result<Vec<Urgent>, StoreError> {
        if figures.urgent_requests == 0 {
            return Ok(Vec::new());
        }
        let query = RequestQuery {
            urgent: true,
            ..RequestQuery::default()
        };
        let found = self.store.requests(&query, REQUESTS_AT_ONCE).await?;
        let urgent = found.into_iter().map(|view| Urgent {
            request: view.request.id.to_string(),
            subject: view.subject.short(),
            units: vec![view.request.unit_name],
            since: At::from_micros(view.request.opened_at),
        });
        Ok(urgent.collect())
    }

    fn show_vendors(&self) {
        // Counts are right whatever a panicking holder left.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = &self.keeper {
            for (kind, calls) in keeper.gate.calls() {
                count_calls(&mut counted, gate::NAME, kind, calls);
            }
        }
        for shown in &self.systems {
            let Some(connector) = &shown.connector else {
                continue;
            };
            let system = ("system", shown.name.clone());
            if let Some(quota) = connector.quota() {
                let labels = [system.clone()];
                gauge!("consentd_vendor_quota_used", &labels).set(quota.used as f64);
                gauge!("consentd_vendor_quota_allowed", &labels).set(quota.allowed as f64);
            }
            for (kind, calls) in connector.calls() {
                count_calls(&mut counted, &shown.name, kind, calls);
            }
        }
    }

    fn show_readiness(&self, now: At) {
        let readiness = self.board.readiness(now);
        gauge!("consentd_ready").set(f64::from(u8::from(readiness.is_ready())));
        gauge!("consentd_store_writable").set(f64::from(u8::from(readiness.store_writable)));
        for system in readiness.systems {
            for state in SystemState::ALL {
                let labels = [
                    ("system", system.name.clone()),
                    ("state", state.word().to_owned()),
                ];
                let is = f64::from(u8::from(system.state == state));
                gauge!("consentd_system_state", &labels).set(is);
            }
            if let Some(lag) = system.lag {
                gauge!("consentd_feed_lag_seconds", "system" => system.name).set(lag.as_secs_f64());
            }
        }
    }
}

/// Adds the calls made since the last look. A connector that replaces another one counts from nought.
fn count_calls(
    counted: &mut BTreeMap<(String, &'static str), u64>,
    system: &str,
    kind: &'static str,
    calls: u64,
) {
    let before = counted.entry((system.to_owned(), kind)).or_default();
    let more = calls.checked_sub(*before).unwrap_or(calls);
    *before = calls;
    let labels = [("system", system.to_owned()), ("kind", kind.to_owned())];
    counter!("consentd_vendor_calls_total", &labels).increment(more);
}

fn show_system(name: &str, figures: &SystemFigures, now: At) {
    let set = |metric: &'static str, value: f64| {
        gauge!(metric, "system" => name.to_owned()).set(value);
    };
    set("consentd_contacts", figures.live as f64);
    set("consentd_contacts_unmatched", figures.unmatched as f64);
    set("consentd_contacts_differing", figures.differing as f64);
    set("consentd_parity_ratio", parity(figures));
    set("consentd_planned_writes", figures.planned as f64);
    set("consentd_held_writes", figures.held as f64);
    set("consentd_dead_letters", figures.dead as f64);
    set("consentd_quarantined_records", figures.quarantined as f64);
    let age = oldest_withdrawal(figures, now);
    set("consentd_oldest_withdrawal_seconds", age.as_secs_f64());
    for (lane, writes) in [
        ("withdrawal", figures.pending_withdrawals),
        ("grant", figures.pending_grants),
    ] {
        gauge!("consentd_outbox_writes", "system" => name.to_owned(), "lane" => lane)
            .set(writes as f64);
    }
}

/// The figures of one system. One that never ran has none: it shows as nought, not as absent.
fn figures_of(figures: &Figures, system: i16) -> SystemFigures {
    let found = figures.systems.iter().find(|found| found.system == system);
    found.cloned().unwrap_or_default()
}

/// Share of live contacts that show their verdict; 1 when there is none.
pub fn parity(figures: &SystemFigures) -> f64 {
    if figures.live <= 0 {
        return 1.0;
    }
    1.0 - (figures.differing as f64 / figures.live as f64).clamp(0.0, 1.0)
}
