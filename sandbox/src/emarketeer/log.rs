//! The consent records of an account: an append-only log.
//!
//! A record is about one address and one purpose. The current state of the two is the record with the latest time; of
//! several with the same time, the one that was written last. Nothing is ever changed or removed, not even with the
//! contact.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::master::Place;

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The address, in lower case.
    pub(crate) key: Arc<str>,
    pub(crate) purpose: Place,
    pub(crate) basis: Place,
    pub(crate) source: Place,
    pub(crate) text: Option<Box<str>>,
    /// Whole seconds.
    pub(crate) at: DateTime<Utc>,
}

/// Number of a record, counted from 0 in the order of writing.
pub(crate) type Number = u32;

/// All records.
#[derive(Debug, Default)]
pub(crate) struct Log {
    records: Vec<Record>,
    /// Whether a record is the current state of its address and purpose; as long as `records`.
    current: Vec<bool>,
    /// Numbers of an address's records, in the order of writing.
    by_key: HashMap<Arc<str>, Vec<Number>>,
    /// Numbers in the order of time, then of writing.
    by_time: Vec<Number>,
}

impl Log {
    /// Writes a record; its key must be in lower case.
    pub(crate) fn append(&mut self, mut record: Record) -> Number {
        let number = self.records.len() as Number;
        match self.by_key.get_key_value(&record.key) {
            // One copy of an address for all its records.
            Some((key, _)) => record.key = Arc::clone(key),
            None => {
                self.by_key.insert(Arc::clone(&record.key), Vec::new());
            }
        }
        let rival = self.current(&record.key, record.purpose);
        let newest =
            rival.is_none_or(|rival| self.get(rival).is_none_or(|old| old.at <= record.at));
        if newest && let Some(mark) = rival.and_then(|rival| self.current.get_mut(rival as usize)) {
            *mark = false;
        }
        let place = self
            .by_time
            .partition_point(|other| self.records[*other as usize].at <= record.at);
        self.by_time.insert(place, number);
        if let Some(numbers) = self.by_key.get_mut(&record.key) {
            numbers.push(number);
        }
        self.records.push(record);
        self.current.push(newest);
        number
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn get(&self, number: Number) -> Option<&Record> {
        self.records.get(number as usize)
    }

    /// Addresses with records, in no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_key.keys()
    }

    /// Numbers of the records of an address, in the order of writing.
    pub(crate) fn of_key(&self, key: &str) -> &[Number] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    /// Numbers of the records of an address, newest first.
    pub(crate) fn history(&self, key: &str) -> Vec<Number> {
        let mut numbers = self.of_key(key).to_vec();
        numbers.sort_by_key(|number| Reverse((self.get(*number).map(|record| record.at), *number)));
        numbers
    }

    pub(crate) fn is_current(&self, number: Number) -> bool {
        self.current.get(number as usize).copied().unwrap_or(false)
    }

    /// The current record of an address and a purpose.
    pub(crate) fn current(&self, key: &str, purpose: Place) -> Option<Number> {
        self.of_key(key).iter().copied().find(|number| {
            self.is_current(*number)
                && self
                    .get(*number)
                    .is_some_and(|record| record.purpose == purpose)
        })
    }

    /// The current legal basis of an address and a purpose.
    pub(crate) fn basis(&self, key: &str, purpose: Place) -> Option<Place> {
        let record = self.get(self.current(key, purpose)?)?;
        Some(record.basis)
    }

    /// Numbers of the records in a window, both ends included, in the order of time.
    pub(crate) fn window(
        &self,
        since: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
    ) -> &[Number] {
        let at = |number: &Number| self.records[*number as usize].at;
        let start = since.map_or(0, |since| {
            self.by_time.partition_point(|number| at(number) < since)
        });
        let end = until.map_or(self.by_time.len(), |until| {
            self.by_time.partition_point(|number| at(number) <= until)
        });
        let range: Range<usize> = start..end.max(start);
        self.by_time.get(range).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_780_000_000 + secs, 0).unwrap_or_default()
    }

    fn record(key: &str, purpose: Place, basis: Place, secs: i64) -> Record {
        Record {
            key: key.into(),
            purpose,
            basis,
            source: 0,
            text: None,
            at: at(secs),
        }
    }

    #[test]
    fn the_latest_time_is_current_whatever_the_order_of_writing() {
        let mut log = Log::default();
        log.append(record("a", 0, 1, 10));
        log.append(record("a", 0, 2, 5));
        assert_eq!(
            log.basis("a", 0),
            Some(1),
            "an older record changes nothing"
        );
        log.append(record("a", 0, 3, 10));
        assert_eq!(
            log.basis("a", 0),
            Some(3),
            "a tie goes to the later writing"
        );
        log.append(record("a", 1, 4, 1));
        assert_eq!((log.basis("a", 0), log.basis("a", 1)), (Some(3), Some(4)));
        assert_eq!(log.basis("b", 0), None);
        assert_eq!(log.history("a"), [2, 0, 1, 3]);
    }

    #[test]
    fn windows_are_in_the_order_of_time() {
        let mut log = Log::default();
        for (number, secs) in [30, 10, 20, 10].into_iter().enumerate() {
            log.append(record(&format!("k{number}"), 0, 0, secs));
        }
        assert_eq!(log.window(None, None), [1, 3, 2, 0]);
        assert_eq!(log.window(Some(at(10)), Some(at(20))), [1, 3, 2]);
        assert_eq!(log.window(Some(at(21)), None), [0]);
        assert!(log.window(Some(at(40)), Some(at(1))).is_empty());
    }
}
