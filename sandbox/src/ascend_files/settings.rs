//! How Ascend's side of the exchange is set up, and what it can be made to do wrong.
//!
//! Settings are lasting and lawful; a [`Behaviour`] is what a client has to bear, once or always.

use serde::{Deserialize, Serialize};

use super::batch::Code;

/// Most behaviours that are set at a time.
pub const MAX_BEHAVIOURS: usize = 100;

/// Which field of a contact the exchange is about, and in which sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Polarity {
    /// `HasOptedOutOfEmail`: true means no e-mail.
    OptOut,
    /// `Email_Permission__c`: true means e-mail.
    Permission,
}

/// What `as_of` of an extract's row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AsOf {
    /// When the value was seen: the time of the extract.
    Seen,
    /// When the value last changed, as far as field history tells; else when the contact was created.
    Changed,
}

/// How an extract spells true and false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spelling {
    /// `TRUE`, `FALSE`.
    TrueFalse,
    /// `Yes`, `No`.
    YesNo,
    /// `y`, `n`.
    YN,
    /// `1`, `0`.
    Digits,
}

impl Spelling {
    pub(super) fn of(self, value: bool) -> &'static str {
        match (self, value) {
            (Spelling::TrueFalse, true) => "TRUE",
            (Spelling::TrueFalse, false) => "FALSE",
            (Spelling::YesNo, true) => "Yes",
            (Spelling::YesNo, false) => "No",
            (Spelling::YN, true) => "y",
            (Spelling::YN, false) => "n",
            (Spelling::Digits, true) => "1",
            (Spelling::Digits, false) => "0",
        }
    }
}

/// The set-up of Ascend's side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Which field is meant.
    pub polarity: Polarity,
    /// Batches are loaded as soon as they are there, without being told to.
    pub automatic: bool,
    /// Batches that are loaded go to `outbound/loaded/`; otherwise they are removed.
    pub keep_loaded: bool,
    /// Zone of the times in the names of extracts, such as `America/Denver`.
    pub time_zone: String,
    /// Extracts have the column `email`.
    pub with_address: bool,
    /// Extracts have the column `created_at`.
    pub with_created: bool,
    /// Extracts have a column that nobody asked for, before all others.
    pub with_extra: bool,
    /// What `as_of` says.
    pub as_of: AsOf,
    /// How true and false are spelled.
    pub spelling: Spelling,
    /// Extracts come with a manifest.
    pub with_manifest: bool,
    /// The SFTP server knows `posix-rename@openssh.com`.
    pub posix_rename: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            polarity: Polarity::OptOut,
            automatic: false,
            keep_loaded: false,
            time_zone: "America/Denver".to_owned(),
            with_address: true,
            with_created: true,
            with_extra: false,
            as_of: AsOf::Seen,
            spelling: Spelling::TrueFalse,
            with_manifest: true,
            posix_rename: true,
        }
    }
}

/// In which way an acknowledgement is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrong {
    /// It is named after a batch that never was.
    UnknownBatch,
    /// It has row numbers that the batch does not have.
    RowNumbers,
    /// It has a status that there is not.
    Status,
    /// It is no CSV.
    Broken,
}

/// Something that Ascend's side does, or does to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Behaviour {
    /// The acknowledgement is held back.
    AckLate {
        /// Until so many seconds have passed; absent: until it is delivered by hand.
        #[serde(default)]
        seconds: Option<u32>,
    },
    /// The acknowledgement has only the first rows; the rest comes in a later file of the same name.
    AckPartly {
        /// Rows that are answered at once.
        rows: usize,
        /// When the rest comes; absent: when it is delivered by hand.
        #[serde(default)]
        seconds: Option<u32>,
    },
    /// The same acknowledgement comes again as soon as the first was fetched.
    AckTwice,
    /// The acknowledgement is wrong. The right one can be had with [`super::Exchange::answer`].
    AckWrongly {
        /// In which way.
        how: Wrong,
    },
    /// Rows are refused.
    Reject {
        /// Ascend ids concerned; absent: all.
        #[serde(default)]
        ids: Option<Vec<String>>,
        /// With which code.
        code: Code,
    },
    /// An extract has only the first part of its rows.
    ShortExtract {
        /// How many of a hundred.
        percent: u8,
    },
    /// An extract has no rows at all.
    EmptyExtract,
    /// An extract also has rows that cannot be used.
    BadRows {
        /// How many.
        rows: usize,
    },
    /// A load leaves its lock lying.
    LockLeft,
    /// SFTP: nobody is let in.
    RefuseLogin,
    /// SFTP: the connection drops.
    DropConnection {
        /// Operations that still work.
        after: u32,
    },
}

/// A behaviour and how often it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What is done.
    #[serde(flatten)]
    pub behaviour: Behaviour,
    /// Times left; `None`: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

impl From<Behaviour> for Rule {
    fn from(behaviour: Behaviour) -> Rule {
        Rule {
            behaviour,
            times: None,
        }
    }
}

impl Behaviour {
    /// The name under which the control API sets and clears it.
    pub fn name(&self) -> String {
        let value = serde_json::to_value(self).ok();
        let name = value.and_then(|value| Some(value.get("name")?.as_str()?.to_owned()));
        name.unwrap_or_default()
    }

    /// Shows so many times and is gone.
    #[must_use]
    pub fn times(self, times: u32) -> Rule {
        Rule {
            behaviour: self,
            times: Some(times),
        }
    }
}

/// The behaviours that are set.
#[derive(Debug, Default)]
pub(super) struct Behaviours(Vec<Rule>);

impl Behaviours {
    /// Adds one; `false` when there is no room.
    pub(super) fn add(&mut self, rule: Rule) -> bool {
        let room = self.0.len() < MAX_BEHAVIOURS;
        if room {
            self.0.push(rule);
        }
        room
    }

    pub(super) fn clear(&mut self, name: Option<&str>) -> usize {
        let before = self.0.len();
        self.0
            .retain(|rule| name.is_some_and(|name| rule.behaviour.name() != name));
        before - self.0.len()
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.0
    }

    /// The first behaviour that `wanted` picks, counted as shown once.
    pub(super) fn show<T>(&mut self, wanted: impl Fn(&Behaviour) -> Option<T>) -> Option<T> {
        let (place, found) = self
            .0
            .iter()
            .enumerate()
            .find_map(|(place, rule)| Some((place, wanted(&rule.behaviour)?)))?;
        if let Some(times) = &mut self.0[place].times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.0.remove(place);
            }
        }
        Some(found)
    }

    /// As [`Behaviours::show`] for all that `wanted` picks.
    pub(super) fn show_all<T>(&mut self, wanted: impl Fn(&Behaviour) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        self.0.retain_mut(|rule| {
            let Some(one) = wanted(&rule.behaviour) else {
                return true;
            };
            found.push(one);
            match &mut rule.times {
                None => true,
                Some(times) => {
                    *times = times.saturating_sub(1);
                    *times > 0
                }
            }
        });
        found
    }
}
