//! Alarms: what somebody has to look at, worked out in one place.
//!
//! An alarm is a level, not an event (`docs/adr/0011-alarms-are-levels.md`): at every look [`levels`]
//! says what stands now, [`compare`] holds it against what is stored, what is new is raised and what is
//! gone is given the all-clear. So nothing is told twice, also over a restart, and nothing is lost.
//! Both are pure. [`notifier`] stores and delivers; the ways are [`webhook`] and [`mail`].
//!
//! No text here holds an address: an alarm names systems, batches, requests and keyed hashes (R56).

pub mod mail;
pub mod notifier;
pub mod webhook;

use crate::consent::At;
use crate::consent::guard::HoldKind;
use crate::runtime::health::Login;
use crate::store::{AlarmChanges, AlarmRow, SystemFigures};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Urgent requests that have an alarm each; more of them share one.
pub const MOST_URGENT: usize = 20;
/// Stands for all urgent requests beyond [`MOST_URGENT`].
const FURTHER: &str = "further-requests";
/// Holds that have an alarm each; more of them share one for each kind of alarm.
pub const MOST_HOLDS: usize = 20;
/// Stands for all holds beyond [`MOST_HOLDS`].
const FURTHER_HOLDS: &str = "further-holds";
/// The longest text of an alarm, in characters.
const MAX_TEXT: usize = 500;

/// What an alarm is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What would be granted waits for a person (R25, R26, R28).
    Hold,
    /// Too many withdrawals at once wait for a person, and are not written meanwhile (R26).
    WithdrawalsHeld,
    /// Grants of a system that may be later than what was withdrawn wait for a person (R24).
    WeakGrant,
    /// Half of a withdrawal's time has passed (R34).
    Deadline,
    /// A guard halted a feed (R27).
    FeedHalted,
    /// A system refuses the login, or a permission is missing (R35).
    LoginRefused,
    /// A batch was not acknowledged in time (R46).
    MissingAcknowledgement,
    /// A file was delivered that cannot be understood (R46).
    UnreadableFile,
    /// A person has to be re-subscribed by hand, at once (R47).
    UrgentResubscribe,
    /// Writes to a system were given up (R35).
    DeadLetter,
    /// A task of the daemon is down.
    TaskDown,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Somebody should look today.
    Warning,
    /// Opt-outs may not be honoured while it lasts.
    Critical,
}

impl Severity {
    /// The word used in the API and in messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Hold,
        Self::WithdrawalsHeld,
        Self::WeakGrant,
        Self::Deadline,
        Self::FeedHalted,
        Self::LoginRefused,
        Self::MissingAcknowledgement,
        Self::UnreadableFile,
        Self::UrgentResubscribe,
        Self::DeadLetter,
        Self::TaskDown,
    ];

    /// The word used in the store, in metrics and in messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::WithdrawalsHeld => "withdrawals-held",
            Self::WeakGrant => "weak-grant",
            Self::Deadline => "deadline",
            Self::FeedHalted => "feed-halted",
            Self::LoginRefused => "login-refused",
            Self::MissingAcknowledgement => "missing-acknowledgement",
            Self::UnreadableFile => "unreadable-file",
            Self::UrgentResubscribe => "urgent-resubscribe",
            Self::DeadLetter => "dead-letter",
            Self::TaskDown => "task-down",
        }
    }

    /// The kind of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether it is about one system, so that the name of one stands under `about`.
    pub const fn is_of_system(self) -> bool {
        match self {
            Self::WeakGrant
            | Self::Deadline
            | Self::FeedHalted
            | Self::LoginRefused
            | Self::MissingAcknowledgement
            | Self::UnreadableFile
            | Self::DeadLetter => true,
            Self::Hold | Self::WithdrawalsHeld | Self::UrgentResubscribe | Self::TaskDown => false,
        }
    }

    /// How bad it is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::WithdrawalsHeld
            | Self::Deadline
            | Self::FeedHalted
            | Self::LoginRefused
            | Self::MissingAcknowledgement
            | Self::UnreadableFile => Severity::Critical,
            Self::Hold
            | Self::WeakGrant
            | Self::UrgentResubscribe
            | Self::DeadLetter
            | Self::TaskDown => Severity::Warning,
        }
    }
}

/// One alarm that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What for.
    pub kind: Kind,
    /// The system, hold, request or task; with the kind its identity.
    pub about: String,
    /// Since when; the time at which it was first seen where nobody knows better.
    pub since: Option<At>,
    /// What happened and what to do.
    pub text: String,
}

/// A batch that was not acknowledged in time (R46).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// Configured name of the system.
    pub system: String,
    /// Id of the batch.
    pub batch: String,
    /// When it was handed over.
    pub since: At,
    /// How many rows it holds.
    pub rows: u64,
}

/// A file that was delivered and cannot be understood (R46).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableFile {
    /// Configured name of the system.
    pub system: String,
    /// Name of the file.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

/// An open hold (R29).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenHold {
    /// Its number.
    pub id: i64,
    /// What it is for.
    pub kind: HoldKind,
    /// Configured name of the system whose statements are in question; none where it is none in
    /// particular.
    pub system: Option<String>,
    /// Purpose name; none where it is of all purposes.
    pub purpose: Option<String>,
    /// What waits is a withdrawal.
    pub withdrawn: bool,
    /// Persons who wait.
    pub persons: u64,
    /// When it was opened.
    pub since: At,
}

/// A request to re-subscribe somebody at once (R47).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urgent {
    /// Id of the request.
    pub request: String,
    /// First digits of the subject's keyed hash.
    pub subject: String,
    /// Names of the business units.
    pub units: Vec<String>,
    /// When it was opened.
    pub since: At,
}

/// One system as it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemView {
    /// Configured name.
    pub name: String,
    /// Whether it is switched on. Nobody expects anything of one that is not.
    pub enabled: bool,
    /// Its figures.
    pub figures: SystemFigures,
    /// Why a guard halted its feed, if it did; the outer none while that cannot be told.
    pub halted: Option<Option<String>>,
    /// What became of its login.
    pub login: Login,
}

/// All that is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// By our clock.
    pub now: At,
    /// A withdrawal has to be everywhere within this time (R34).
    pub withdrawal_deadline: Duration,
    /// The configured systems.
    pub systems: Vec<SystemView>,
    /// Batches that were not acknowledged in time.
    pub overdue: Vec<Overdue>,
    /// Files that cannot be understood.
    pub unreadable: Vec<UnreadableFile>,
    /// Holds that are open.
    pub holds: Vec<OpenHold>,
    /// Requests to re-subscribe at once.
    pub urgent: Vec<Urgent>,
    /// Tasks that are down.
    pub tasks_down: Vec<String>,
}

/// What stands, and what cannot be told at present.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Levels {
    /// In the order of kinds and names.
    pub standing: Vec<Alarm>,
    /// What nobody has heard of since the start stays as it is stored: neither raised nor cleared.
    pub unknown: BTreeSet<(Kind, String)>,
}

impl Levels {
    /// Whether an alarm of that kind stands for that system.
    pub fn stands(&self, kind: Kind, about: &str) -> bool {
        self.standing
            .iter()
            .any(|alarm| alarm.kind == kind && alarm.about == about)
    }
}

/// Age of the oldest withdrawal that the system does not show yet; nought when there is none.
pub fn oldest_withdrawal(figures: &SystemFigures, now: At) -> Duration {
    let micros = figures
        .oldest_withdrawal
        .map_or(0, |since| now.since(At::from_micros(since)));
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

/// What stands now.
pub fn levels(view: &View) -> Levels {
    let mut levels = Levels::default();
    for system in view.systems.iter().filter(|system| system.enabled) {
        of_system(&mut levels, system, view);
    }
    let enabled = |name: &str| {
        let mut systems = view.systems.iter();
        systems.any(|system| system.enabled && system.name == name)
    };
    let mut overdue: BTreeMap<&str, Vec<&Overdue>> = BTreeMap::new();
    for batch in view.overdue.iter().filter(|batch| enabled(&batch.system)) {
        overdue.entry(&batch.system).or_default().push(batch);
    }
    for (system, batches) in overdue {
        levels.standing.extend(unacknowledged(system, &batches));
    }
    let mut files: BTreeMap<&str, Vec<&UnreadableFile>> = BTreeMap::new();
    for file in view.unreadable.iter().filter(|file| enabled(&file.system)) {
        files.entry(&file.system).or_default().push(file);
    }
    for (system, files) in files {
        levels.standing.extend(not_understood(system, &files));
    }
    let mut weak: BTreeMap<&str, Vec<&OpenHold>> = BTreeMap::new();
    for hold in view.holds.iter().filter(|hold| is_weak(hold)) {
        let system = hold.system.as_deref().unwrap_or_default();
        if enabled(system) {
            weak.entry(system).or_default().push(hold);
        }
    }
    for (system, holds) in weak {
        levels.standing.extend(weak_grants(system, &holds));
    }
    held(&mut levels, &view.holds);
    urgent(&mut levels, &view.urgent);
    for task in &view.tasks_down {
        levels.standing.push(Alarm {
            kind: Kind::TaskDown,
            about: task.clone(),
            since: None,
            text: format!("the task {task} crashed and is being restarted; the log says why"),
        });
    }
    for alarm in &mut levels.standing {
        alarm.text = alarm.text.chars().take(MAX_TEXT).collect();
    }
    levels
        .standing
        .sort_by(|a, b| (a.kind, &a.about).cmp(&(b.kind, &b.about)));
    levels
        .standing
        .dedup_by(|a, b| (a.kind, &a.about) == (b.kind, &b.about));
    levels
}

fn of_system(levels: &mut Levels, system: &SystemView, view: &View) {
    let (name, figures) = (&system.name, &system.figures);
    let mut raise = |kind, since, text| {
        levels.standing.push(Alarm {
            kind,
            about: name.clone(),
            since,
            text,
        });
    };
    if figures.dead > 0 {
        let dead = figures.dead;
        let text = format!(
            "{dead} writes to {name} were given up; `consentd parity` names the contacts and what the \
             system said, `consentd redrive {name}` has them tried again"
        );
        raise(Kind::DeadLetter, None, text);
    }
    let age = oldest_withdrawal(figures, view.now);
    if age > view.withdrawal_deadline / 2 {
        let hours = age.as_secs() / 3_600;
        let text = format!(
            "a withdrawal has not reached {name} for {hours} h, which is more than half of its time; \
             `consentd plan` lists what waits, `consentd status` says how {name} stands"
        );
        let since = figures.oldest_withdrawal.map(At::from_micros);
        raise(Kind::Deadline, since, text);
    }
    if let Some(Some(reason)) = &system.halted {
        let text = format!(
            "the feed of {name} is halted and nothing is read there: {reason}; `consentd resume {name}` \
             releases it once that is looked after"
        );
        raise(Kind::FeedHalted, None, text);
    }
    if let Login::Refused { since, code } = &system.login {
        let text = format!(
            "{name} refuses the login, or a permission is missing ({code}); `consentd check --live` \
             says which"
        );
        raise(Kind::LoginRefused, Some(*since), text);
    }
    if system.halted.is_none() {
        levels.unknown.insert((Kind::FeedHalted, name.clone()));
    }
    if system.login == Login::Unknown {
        levels.unknown.insert((Kind::LoginRefused, name.clone()));
    }
}

/// One alarm for all batches of a system: the oldest stands in it.
fn unacknowledged(system: &str, batches: &[&Overdue]) -> Option<Alarm> {
    let oldest = batches
        .iter()
        .min_by(|a, b| (a.since, &a.batch).cmp(&(b.since, &b.batch)))?;
    let (batch, rows) = (&oldest.batch, oldest.rows);
    let more = match batches.len() - 1 {
        0 => String::new(),
        more => format!(" nor {more} later ones"),
    };
    Some(Alarm {
        kind: Kind::MissingAcknowledgement,
        about: system.to_owned(),
        since: Some(oldest.since),
        text: format!(
            "{system} has not acknowledged batch {batch} of {rows} rows{more}; look whether it was \
             loaded there. The rows go into the next batch"
        ),
    })
}

/// One alarm for all files of a system: the first stands in it.
fn not_understood(system: &str, files: &[&UnreadableFile]) -> Option<Alarm> {
    let first = files.iter().min_by(|a, b| a.file.cmp(&b.file))?;
    let (file, reason) = (&first.file, &first.reason);
    let more = match files.len() - 1 {
        0 => String::new(),
        more => format!("; so cannot {more} others"),
    };
    Some(Alarm {
        kind: Kind::UnreadableFile,
        about: system.to_owned(),
        since: None,
        text: format!(
            "{system} delivered {file}, which cannot be understood: {reason}{more}. Have it delivered \
             anew, and remove it from the folder of rejected files"
        ),
    })
}

const fn is_weak(hold: &OpenHold) -> bool {
    matches!(hold.kind, HoldKind::WeakGrant)
}

/// R24: one alarm for all weak grants of a system; they are usual after it was first read.
fn weak_grants(system: &str, holds: &[&OpenHold]) -> Option<Alarm> {
    let since = holds.iter().map(|hold| hold.since).min()?;
    let persons: u64 = holds.iter().map(|hold| hold.persons).sum();
    let purposes: BTreeSet<&str> = holds
        .iter()
        .filter_map(|hold| hold.purpose.as_deref())
        .collect();
    let purposes = purposes.into_iter().collect::<Vec<_>>().join(", ");
    Some(Alarm {
        kind: Kind::WeakGrant,
        about: system.to_owned(),
        since: Some(since),
        text: format!(
            "{system} shows grants of {persons} persons that may be later than what they withdrew \
             ({purposes}); the withdrawals stand. `consentd holds list --kind weak-grant --system \
             {system}` lists them, `consentd holds approve` or `reject` decides"
        ),
    })
}

/// R25, R26, R28: an alarm for each hold, the oldest first, and one of each kind for all beyond the bound.
fn held(levels: &mut Levels, holds: &[OpenHold]) {
    for kind in [Kind::Hold, Kind::WithdrawalsHeld] {
        let critical = kind == Kind::WithdrawalsHeld;
        let holds = holds
            .iter()
            .filter(|hold| !is_weak(hold) && hold.withdrawn == critical);
        let mut oldest_first: Vec<&OpenHold> = holds.collect();
        oldest_first.sort_by_key(|hold| hold.id);
        let further = oldest_first.split_off(oldest_first.len().min(MOST_HOLDS));
        for hold in oldest_first {
            levels.standing.push(Alarm {
                kind,
                about: hold.id.to_string(),
                since: Some(hold.since),
                text: of_hold(hold),
            });
        }
        if let Some(first) = further.first() {
            levels.standing.push(Alarm {
                kind,
                about: FURTHER_HOLDS.to_owned(),
                since: Some(first.since),
                text: format!(
                    "{} further holds are open; `consentd holds list` lists them",
                    further.len()
                ),
            });
        }
    }
}

/// What waits under a hold, and what to do.
fn of_hold(hold: &OpenHold) -> String {
    let (id, persons) = (hold.id, hold.persons);
    let of = |word: &str, name: &Option<String>| {
        let name = name.as_ref();
        name.map_or_else(String::new, |name| format!(" {word} {name}"))
    };
    let (purpose, system) = (of("of", &hold.purpose), of("in", &hold.system));
    let (kind, rule) = (hold.kind.word(), hold.kind.rule());
    let what = match (hold.kind, hold.withdrawn) {
        (HoldKind::MassChange, true) => {
            "were withdrawn within an hour, which is more than the threshold; they are not written, and \
             nobody of them is to be mailed"
        }
        (HoldKind::MassChange, false) => {
            "were granted within an hour, which is more than the threshold; they are not written"
        }
        (HoldKind::Load, _) => {
            "were granted by a load where somebody had withdrawn; the withdrawals stand"
        }
        (HoldKind::Flapping, _) => "turn back and forth; the last grants are not written",
        (HoldKind::WeakGrant, _) => "may be later than what was withdrawn; the withdrawals stand",
    };
    format!(
        "hold {id} ({kind}, {rule}): verdicts{purpose}{system} of {persons} persons {what}. `consentd \
         holds show {id}` shows them, `consentd holds approve {id}` or `consentd holds reject {id}` \
         decides"
    )
}

/// An alarm for each request, the oldest first, and one for all beyond the bound.
fn urgent(levels: &mut Levels, requests: &[Urgent]) {
    let mut oldest_first: Vec<&Urgent> = requests.iter().collect();
    oldest_first.sort_by(|a, b| (a.since, &a.request).cmp(&(b.since, &b.request)));
    let further = oldest_first.split_off(oldest_first.len().min(MOST_URGENT));
    for request in oldest_first {
        let units = request.units.join(", ");
        levels.standing.push(Alarm {
            kind: Kind::UrgentResubscribe,
            about: request.request.clone(),
            since: Some(request.since),
            text: format!(
                "subject {} has opted in but is not active in Marketing Cloud ({units}); re-subscribe \
                 at once and close request {}",
                request.subject, request.request
            ),
        });
    }
    if let Some(first) = further.first() {
        levels.standing.push(Alarm {
            kind: Kind::UrgentResubscribe,
            about: FURTHER.to_owned(),
            since: Some(first.since),
            text: format!(
                "{} further people have opted in but are not active in Marketing Cloud; the \
                 re-subscribe sheet lists them",
                further.len()
            ),
        });
    }
}

/// What follows from a look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Followed {
    /// What has to be stored.
    pub changes: AlarmChanges,
    /// What is raised by it: its places in `changes.put`.
    pub raised: Vec<usize>,
    /// What is over by it: its places in `changes.put`.
    pub cleared: Vec<usize>,
}

/// Holds what stands against what is stored. `is_open`: whether a channel has yet to hear of what is
/// over; until then that is kept.
pub fn compare(
    stored: &[AlarmRow],
    levels: &Levels,
    now: At,
    is_open: impl Fn(&AlarmRow) -> bool,
) -> Followed {
    let mut followed = Followed::default();
    let known: BTreeMap<(&str, &str), &AlarmRow> = stored
        .iter()
        .map(|row| ((row.kind.as_str(), row.about.as_str()), row))
        .collect();
    for alarm in &levels.standing {
        let before = known
            .get(&(alarm.kind.word(), alarm.about.as_str()))
            .filter(|row| row.cleared_at.is_none());
        let since = alarm.since.map(At::micros);
        let row = AlarmRow {
            kind: alarm.kind.word().to_owned(),
            about: alarm.about.clone(),
            since: since.unwrap_or(before.map_or(now.micros(), |row| row.since)),
            raised_at: before.map_or(now.micros(), |row| row.raised_at),
            cleared_at: None,
            text: alarm.text.clone(),
            posts: Vec::new(),
        };
        match before {
            None => followed.raised.push(followed.changes.put.len()),
            Some(before) if before.text == row.text && before.since == row.since => continue,
            Some(_) => {}
        }
        followed.changes.put.push(row);
    }
    let standing: BTreeSet<(&str, &str)> = levels
        .standing
        .iter()
        .map(|alarm| (alarm.kind.word(), alarm.about.as_str()))
        .collect();
    let unknown: BTreeSet<(&str, &str)> = levels
        .unknown
        .iter()
        .map(|(kind, about)| (kind.word(), about.as_str()))
        .collect();
    for row in stored {
        let key = (row.kind.as_str(), row.about.as_str());
        if standing.contains(&key) || unknown.contains(&key) {
            continue;
        }
        if row.cleared_at.is_none() {
            followed.cleared.push(followed.changes.put.len());
            followed.changes.put.push(AlarmRow {
                cleared_at: Some(now.micros()),
                posts: Vec::new(),
                ..row.clone()
            });
        } else if !is_open(row) {
            let key = (row.kind.clone(), row.about.clone(), row.raised_at);
            followed.changes.forget.push(key);
        }
    }
    followed
}
