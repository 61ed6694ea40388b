//! Reading a whole tenant and then its changes, as a walk whose every step is in the cursor.
//!
//! A load of all people is followed by windows of changes. A window asks for consent rows, people and
//! addresses that changed since the last one began, for deletions, and for merges; whoever is named
//! is read whole. It has no upper bound: pages are walked by primary key, so whatever changes
//! meanwhile is found there or in the next window, which begins where this one began, less an
//! overlap. From time to time everything is read again, because a consent row that was removed shows
//! in no list of changes.
//!
//! Sources: OData search, archive providers, best practices (paging, log of merges), soft delete.

mod load;
mod window;

use super::people::People;
use crate::connector::{Cursor, Fault, Page};
use crate::consent::At;
use crate::consent::time::SECOND;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use window::Window;

/// The form of cursors; one of another form starts a load.
const VERSION: u8 = 1;
/// Deleted people stay in the recycle bin for 14 days; a feed that is further behind starts anew.
const OLDEST_WINDOW_MICROS: i64 = 13 * 24 * 3_600 * SECOND;

/// Where the feed stands. Times are microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    v: u8,
    /// When everything is read again.
    sweep: i64,
    phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    /// All people behind `after`, in the order of their ids.
    Load { started: i64, after: u32 },
    /// Nothing under way; changes before `until` are read.
    Idle { until: i64 },
    /// A window of changes.
    Window(Window),
}

/// The page behind `cursor`.
///
/// # Errors
/// When a call fails.
pub async fn read(people: &People<'_>, cursor: Option<&Cursor>) -> Result<Page, Fault> {
    let state = cursor
        .and_then(|cursor| serde_json::from_str::<State>(&cursor.0).ok())
        .filter(|state| state.v == VERSION);
    let Some(state) = state else {
        return load::begin(people).await;
    };
    match state.phase.clone() {
        Phase::Load { started, after } => load::load(people, state, Some(started), after).await,
        Phase::Idle { until } => window::window(people, state, Window::behind(until, people)).await,
        Phase::Window(window) => window::window(people, state, window).await,
    }
}

impl State {
    /// A page that leads to `phase`.
    fn page(mut self, phase: Phase, read_at: At) -> Result<Page, Fault> {
        let load = matches!(self.phase, Phase::Load { .. });
        self.phase = phase;
        Ok(Page {
            readings: Vec::new(),
            poison: Vec::new(),
            next: Cursor::of(&self)?,
            more: true,
            load,
            scan: None,
            read_at,
            drained: None,
        })
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_of_another_form_is_not_taken() {
        let state = State {
            v: VERSION,
            sweep: 1,
            phase: Phase::Load {
                started: 2,
                after: 3,
            },
        };
        let text = Cursor::of(&state).unwrap().0;
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        assert!(serde_json::from_str::<State>("{}").is_err());
        assert!(serde_json::from_str::<State>(r#"{"v":1,"net":{},"phase":"x"}"#).is_err());
    }
}
