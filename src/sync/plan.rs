//! What would be written (R51): the writes of an outbox in words, and a plan of them in a file, which can
//! be applied later.
//!
//! A saved plan names people by keyed hash and contacts by the ids of their systems, and holds no address.

use super::assemble::rules;
use super::pack::{PackError, Packer};
use super::switches;
use crate::config::Checked;
use crate::consent::resolve::Reason;
use crate::consent::{At, Basis, Shown, SystemId};
use crate::store::{
    CLAIMED, DEAD, HELD, LANE_GRANT, LANE_WITHDRAWAL, ONCE_READ, OutboxRow, PLANNED, SENT, Store,
    StoreError,
};
use serde::{Deserialize, Serialize};

/// Writes read from the store at once.
const PAGE: usize = 5_000;
/// The version of a plan's form that this program writes and reads.
pub const FORMAT: u32 = 1;

/// Which writes are meant; all of them where nothing is named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Configured names of systems that are written to.
    pub systems: Vec<String>,
    /// Names of purposes; a write that sets several is meant whole when it sets one of them.
    pub purposes: Vec<String>,
}

impl Filter {
    /// Whether everything is meant.
    pub fn is_open(&self) -> bool {
        self.systems.is_empty() && self.purposes.is_empty()
    }

    fn takes(&self, write: &PlannedWrite) -> bool {
        let purposes = &self.purposes;
        (self.systems.is_empty() || self.systems.contains(&write.system))
            && (purposes.is_empty()
                || write
                    .changes
                    .iter()
                    .any(|value| purposes.contains(&value.purpose)))
    }
}

/// Why writes cannot be listed, or a file is no plan that can be applied.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A filter names what is not configured.
    #[error("there is no {what} {name:?}; configured are: {known}")]
    Unknown {
        /// `system` or `purpose`.
        what: &'static str,
        /// As it was given.
        name: String,
        /// What there is.
        known: String,
    },
    /// The file holds something else.
    #[error("this is no plan; `consentd plan --save FILE` makes one: {0}")]
    NoPlan(String),
    /// The plan was made by another version.
    #[error(
        "the plan has the form {0}, and this version reads form {FORMAT}; make it again with \
         `consentd plan --save FILE`"
    )]
    OtherFormat(u64),
    /// The plan was made from another store.
    #[error(
        "the plan was made from another store than the configured one; make one here with \
         `consentd plan --save FILE`"
    )]
    OtherStore,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored row cannot be read back.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// One value that a write sets, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Purpose name.
    pub purpose: String,
    /// What the contact shows; none where that is not known.
    pub from: Option<String>,
    /// What it shall show.
    pub to: String,
}

/// One write, in words. It is sent whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedWrite {
    /// Configured name of the system that is written to.
    pub system: String,
    /// External id.
    pub contact: String,
    /// `withdrawal` or `grant`.
    pub lane: String,
    /// Keyed hash of the person; empty where the contact is nobody's.
    pub subject: String,
    /// What it sets.
    pub changes: Vec<Value>,
    /// The rule that decided.
    pub rule: String,
    /// The system where it was said, or `operator`.
    pub said_in: String,
    /// When it was said.
    pub said_at: String,
    /// Where the write stood when it was listed.
    pub state: String,
}

impl PlannedWrite {
    /// Why it was decided so, in words.
    pub fn reason(&self) -> &'static str {
        Reason::from_rule(&self.rule).map_or("decided by that rule", Reason::words)
    }

    /// The lane's number in the store; none when the word is none of ours.
    pub(super) fn lane_number(&self) -> Option<i16> {
        match self.lane.as_str() {
            WITHDRAWAL => Some(LANE_WITHDRAWAL),
            GRANT => Some(LANE_GRANT),
            _ => None,
        }
    }
}

const WITHDRAWAL: &str = "withdrawal";
const GRANT: &str = "grant";

/// A plan as it is kept in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPlan {
    /// [`FORMAT`].
    pub consentd_plan: u32,
    /// When it was made, by our clock.
    pub made_at: String,
    /// The store it was made from; none where there was none yet.
    pub store: Option<String>,
    /// Version of the policy it was decided by (R23).
    pub policy: String,
    /// The systems it was narrowed to.
    pub systems: Vec<String>,
    /// The purposes it was narrowed to.
    pub purposes: Vec<String>,
    /// It holds everything that was to be written.
    pub complete: bool,
    /// The writes, most urgent first.
    pub writes: Vec<PlannedWrite>,
}

impl SavedPlan {
    /// The file's text.
    ///
    /// # Errors
    /// Only for lack of memory.
    pub fn text(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }

    /// Reads a plan back.
    ///
    /// # Errors
    /// [`PlanError::NoPlan`] and [`PlanError::OtherFormat`].
    pub fn read(text: &[u8]) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        struct Mark {
            consentd_plan: u64,
        }
        // The parser's own words may repeat a value, so only the place is told.
        let no_plan = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            PlanError::NoPlan(format!(
                "line {line}, column {column} is not as it should be"
            ))
        };
        let mark: Mark = serde_json::from_slice(text).map_err(no_plan)?;
        if mark.consentd_plan != u64::from(FORMAT) {
            return Err(PlanError::OtherFormat(mark.consentd_plan));
        }
        serde_json::from_slice(text).map_err(no_plan)
    }
}

/// Refuses a filter that names what is not configured: it would list nothing, and look like good news.
///
/// # Errors
/// [`PlanError::Unknown`].
pub fn check_filter(checked: &Checked, filter: &Filter) -> Result<(), PlanError> {
    let systems = checked.systems.iter().map(|system| system.name.clone());
    let purposes = checked.purposes.iter().map(|(_, one)| one.name.clone());
    let known: [(&'static str, &Vec<String>, Vec<String>); 2] = [
        ("system", &filter.systems, systems.collect()),
        ("purpose", &filter.purposes, purposes.collect()),
    ];
    for (what, named, known) in known {
        if let Some(name) = named.iter().find(|name| !known.contains(name)) {
            return Err(PlanError::Unknown {
                what,
                name: name.clone(),
                known: known.join(", "),
            });
        }
    }
    Ok(())
}

/// The writes of a store's outbox that the filter takes, withdrawals first.
///
/// # Errors
/// When the store fails or holds what cannot be read.
pub async fn writes(
    checked: &Checked,
    store: &dyn Store,
    filter: &Filter,
) -> Result<Vec<PlannedWrite>, PlanError> {
    let rules = rules(checked, store).await?;
    let parked = switches::parked(checked, store).await?;
    let packer = Packer::new(&rules);
    let mut found = Vec::new();
    for skip in (0..).step_by(PAGE) {
        let page = store.outbox(skip, PAGE).await?;
        let contacts = page
            .iter()
            .map(|row| (row.key.system, row.key.external.as_str()));
        let contacts: Vec<(i16, &str)> = contacts.collect();
        let subjects = store.subjects_of(&contacts).await?;
        for (row, subject) in page.iter().zip(subjects) {
            let write = packer.unpack_changes(&row.changes)?;
            let changes = write.changes.iter().map(|change| Value {
                purpose: rules.purposes.name(change.purpose).to_owned(),
                from: change.from.as_ref().map(value),
                to: value(&change.to),
            });
            let write = PlannedWrite {
                system: rules.system_name(SystemId(row.key.system)).to_owned(),
                contact: row.key.external.clone(),
                lane: lane(row.key.lane).to_owned(),
                subject: subject
                    .map(|subject| subject.to_string())
                    .unwrap_or_default(),
                changes: changes.collect(),
                rule: write.rule,
                said_in: write.said_in,
                said_at: write.said_at.to_string(),
                state: state(row, parked.get(&row.key.system)),
            };
            if filter.takes(&write) {
                found.push(write);
            }
        }
        if page.len() < PAGE {
            break;
        }
    }
    Ok(found)
}

/// A value in words, whole: two that differ in anything that is written differ here too.
pub fn value(shown: &Shown) -> String {
    match shown {
        Shown::Default => "not set".to_owned(),
        Shown::Set => "set".to_owned(),
        Shown::Record {
            status,
            basis: None,
        } => status.word().to_owned(),
        Shown::Record {
            status,
            basis: Some(Basis::Other(code)),
        } => format!("{status} on the basis coded {code}"),
        Shown::Record {
            status,
            basis: Some(basis),
        } => format!("{status} on the basis of {}", basis.word()),
    }
}

/// A lane in a word.
pub(super) const fn lane(number: i16) -> &'static str {
    if number == LANE_WITHDRAWAL {
        WITHDRAWAL
    } else {
        GRANT
    }
}

fn state(row: &OutboxRow, parked: Option<&&str>) -> String {
    match (row.state, parked) {
        (DEAD, _) => format!(
            "given up: {}",
            row.last_error.as_deref().unwrap_or("no reason kept")
        ),
        (HELD, _) => "held for a person".to_owned(),
        (_, Some(why)) => format!("parked: {why}"),
        (PLANNED, None) => "planned".to_owned(),
        (CLAIMED, None) => "being written".to_owned(),
        (SENT, None) => format!(
            "handed over in batch {}",
            row.last_error.as_deref().unwrap_or("(unnamed)")
        ),
        (_, None) if row.not_before == ONCE_READ => "once the contact was read again".to_owned(),
        (_, None) => format!("due {}", At::from_micros(row.not_before)),
    }
}
