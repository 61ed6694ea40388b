//! What subscribers, users of the application and mail servers do; as methods, and as data for the control API.

use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::state::{MAX_BOUNCES, Place, State, Status};
use super::units::{ENTERPRISE, Mid, UnsubscribeBehavior};
use super::{Enterprise, SubscriberState, subscriber_state};
use crate::org::state::AGENT;
use crate::{ActError, org::schema::OPT_OUT};

/// Longest time over which bounces are spread.
const MAX_BOUNCE_DAYS: i64 = 3_650;

/// One act, as the control API takes it. Each is the method of [`Enterprise`] with the same name.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each act is described at the method with its name"
)]
pub enum Act {
    AddSubscriber {
        key: String,
        address: String,
        #[serde(default)]
        units: Vec<Mid>,
    },
    SetStatus {
        key: String,
        /// Absent: in the enterprise and in all units that know the subscriber.
        unit: Option<Mid>,
        status: Status,
    },
    Unsubscribe {
        key: String,
        unit: Mid,
        /// Marketing Cloud Connect ticks Email Opt Out in Salesforce.
        #[serde(default = "yes")]
        connect: bool,
    },
    Bounce {
        key: String,
        #[serde(default = "once")]
        times: usize,
        /// Days between the first of them and the last.
        #[serde(default)]
        over_days: i64,
    },
    Engage {
        key: String,
    },
    Delete {
        key: String,
        /// Absent: from the enterprise.
        unit: Option<Mid>,
    },
    AddUnit {
        mid: Mid,
        name: String,
        behavior: UnsubscribeBehavior,
    },
    SetBehavior {
        unit: Mid,
        behavior: UnsubscribeBehavior,
    },
}

fn yes() -> bool {
    true
}

fn once() -> usize {
    1
}

impl Enterprise {
    /// Somebody becomes a subscriber, green, in the enterprise and in these units, as by a first send-out.
    pub fn add_subscriber(&self, key: &str, address: &str, units: &[Mid]) -> Result<(), ActError> {
        let mut state = self.lock();
        for unit in units {
            known_unit(&state, *unit)?;
        }
        let now = state.stamp();
        let place = state
            .add(key, address, Status::Active, now)
            .ok_or_else(|| ActError::Invalid(format!("the key {key:?} is taken")))?;
        for unit in units {
            state.put(place, *unit, Status::Active, "");
        }
        Ok(())
    }

    /// Puts down any status in one place, or everywhere, without any consequence elsewhere.
    pub fn set_status(&self, key: &str, unit: Option<Mid>, status: Status) -> Result<(), ActError> {
        let mut state = self.lock();
        let place = known(&state, key)?;
        let mids = if let Some(unit) = unit {
            known_unit(&state, unit)?;
            vec![unit]
        } else {
            let units = state.units.all().iter().map(|unit| unit.mid);
            units.filter(|unit| state.knows(place, *unit)).collect()
        };
        for mid in mids {
            state.put(place, mid, status, "");
        }
        Ok(())
    }

    /// The link in a message of the unit. With `connect`, Marketing Cloud Connect ticks Email Opt Out of the contact whose
    /// id is the key, as the integration agent; the answer says whether there was one to tick.
    pub fn unsubscribe(&self, key: &str, unit: Mid, connect: bool) -> Result<bool, ActError> {
        let (key, salesforce) = {
            let mut state = self.lock();
            let place = known(&state, key)?;
            known_unit(&state, unit)?;
            state.set(place, unit, Status::Unsubscribed, "Unsubscribe link");
            let key = state.subscriber(place).map(|one| one.key.to_string());
            (key.unwrap_or_default(), state.salesforce.clone())
        };
        if !connect {
            return Ok(false);
        }
        let ticked = Map::from_iter([(OPT_OUT.to_owned(), json!(true))]);
        Ok(salesforce.edit(&key, &ticked, AGENT).is_ok())
    }

    /// Mail to the address bounced so many times, the last time now and the first so many days ago: yellow, and gray
    /// from the third in a row on if more than fourteen days lie between. Red stays red.
    pub fn bounce(&self, key: &str, times: usize, over_days: i64) -> Result<(), ActError> {
        let mut state = self.lock();
        let place = known(&state, key)?;
        if !(1..=MAX_BOUNCES).contains(&times) || !(0..=MAX_BOUNCE_DAYS).contains(&over_days) {
            return Err(ActError::Invalid(format!(
                "1 to {MAX_BOUNCES} times over 0 to {MAX_BOUNCE_DAYS} days"
            )));
        }
        let now = state.stamp();
        let steps = (times as i64 - 1).max(1);
        let at = |number: i64| {
            let ago = over_days * 86_400 * (times as i64 - 1 - number) / steps;
            now - TimeDelta::seconds(ago)
        };
        let times: Vec<_> = (0..times as i64).map(at).collect();
        state.bounce(place, &times);
        Ok(())
    }

    /// The subscriber opens or clicks: yellow and gray become green, and bounces are forgotten.
    pub fn engage(&self, key: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let place = known(&state, key)?;
        state.engage(place);
        Ok(())
    }

    /// A subscriber is removed from a unit, or for good.
    pub fn delete(&self, key: &str, unit: Option<Mid>) -> Result<(), ActError> {
        let mut state = self.lock();
        let place = known(&state, key)?;
        match unit {
            None | Some(ENTERPRISE) => state.remove(place),
            Some(unit) => {
                known_unit(&state, unit)?;
                if let Some(one) = state.subscriber_mut(place) {
                    one.units.remove(&unit);
                }
            }
        }
        Ok(())
    }

    /// A new business unit.
    pub fn add_unit(
        &self,
        mid: Mid,
        name: &str,
        behavior: UnsubscribeBehavior,
    ) -> Result<(), ActError> {
        if self.lock().units.add(mid, name, behavior) {
            Ok(())
        } else {
            Err(ActError::Full(
                "the number is taken, or there are too many units",
            ))
        }
    }

    /// An administrator changes how far unsubscribing in a unit reaches. What was written stays as it is.
    pub fn set_behavior(&self, unit: Mid, behavior: UnsubscribeBehavior) -> Result<(), ActError> {
        let mut state = self.lock();
        known_unit(&state, unit)?;
        if let Some(unit) = state.units.get_mut(unit) {
            unit.behavior = behavior;
        }
        Ok(())
    }

    /// Carries out an act; the answer is how the subscriber then stands, or the units, as JSON.
    pub fn act(&self, act: Act) -> Result<Value, ActError> {
        match act {
            Act::AddSubscriber {
                key,
                address,
                units,
            } => {
                self.add_subscriber(&key, &address, &units)?;
                self.about(&key)
            }
            Act::SetStatus { key, unit, status } => {
                self.set_status(&key, unit, status)?;
                self.about(&key)
            }
            Act::Unsubscribe { key, unit, connect } => {
                let ticked = self.unsubscribe(&key, unit, connect)?;
                let mut answer = self.about(&key)?;
                answer["ticked"] = json!(ticked);
                Ok(answer)
            }
            Act::Bounce {
                key,
                times,
                over_days,
            } => {
                self.bounce(&key, times, over_days)?;
                self.about(&key)
            }
            Act::Engage { key } => {
                self.engage(&key)?;
                self.about(&key)
            }
            Act::Delete { key, unit } => {
                self.delete(&key, unit)?;
                Ok(json!({}))
            }
            Act::AddUnit {
                mid,
                name,
                behavior,
            } => {
                self.add_unit(mid, &name, behavior)?;
                Ok(json!({"units": self.units()}))
            }
            Act::SetBehavior { unit, behavior } => {
                self.set_behavior(unit, behavior)?;
                Ok(json!({"units": self.units()}))
            }
        }
    }

    fn about(&self, key: &str) -> Result<Value, ActError> {
        let state = self.lock();
        let found: Option<SubscriberState> = subscriber_state(&state, known(&state, key)?);
        Ok(json!(found))
    }
}

fn known(state: &State, key: &str) -> Result<Place, ActError> {
    state
        .place(key)
        .ok_or_else(|| ActError::Invalid(format!("no subscriber has the key {key:?}")))
}

fn known_unit(state: &State, unit: Mid) -> Result<(), ActError> {
    match state.units.get(unit) {
        Some(_) => Ok(()),
        None => Err(ActError::Invalid(format!("no unit has the number {unit}"))),
    }
}
