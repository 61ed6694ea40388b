//! The rows behind alarms: what stands, and what each channel was told of it.

/// An alarm that stands, or whose all-clear is still to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmRow {
    /// Word of its kind.
    pub kind: String,
    /// What it is about, e.g. a system's name; with the kind its identity.
    pub about: String,
    /// Since when it is so.
    pub since: i64,
    /// When it was raised.
    pub raised_at: i64,
    /// When it was over; none while it stands.
    pub cleared_at: Option<i64>,
    /// What happened and what to do. Holds no address.
    pub text: String,
    /// What the channels were told; written by [`AlarmStep`] only.
    pub posts: Vec<AlarmPost>,
}

/// What one channel was told of an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmPost {
    /// Name of the channel.
    pub channel: String,
    /// It was told that the alarm was raised, and of no all-clear since.
    pub told: bool,
    /// Attempts to tell it the other way, which failed or are under way.
    pub attempts: i32,
    /// No attempt before.
    pub next_try: i64,
    /// What went wrong at the last one.
    pub error: Option<String>,
}

/// What changes in the set of alarms, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlarmChanges {
    /// New ones and changed ones, without their posts.
    pub put: Vec<AlarmRow>,
    /// Kind, subject matter and instant of raising of those to forget, with their posts. One that was
    /// raised anew meanwhile stays.
    pub forget: Vec<(String, String, i64)>,
}

impl AlarmChanges {
    /// Whether nothing changes.
    pub const fn is_empty(&self) -> bool {
        self.put.is_empty() && self.forget.is_empty()
    }
}

/// A step of one channel from where it stands with an alarm. One that stands elsewhere by now, because
/// another daemon is at it, is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmStep {
    /// Word of the alarm's kind.
    pub kind: String,
    /// What the alarm is about.
    pub about: String,
    /// What the channel was told before.
    pub from_told: bool,
    /// Its attempts before.
    pub from_attempts: i32,
    /// Where it stands after.
    pub post: AlarmPost,
}

/// Rows of alarms joined with their posts, in the order of the alarms, as alarms.
pub(super) fn gathered(joined: Vec<(AlarmRow, Option<AlarmPost>)>) -> Vec<AlarmRow> {
    let mut alarms: Vec<AlarmRow> = Vec::new();
    for (row, post) in joined {
        let is_next = alarms
            .last()
            .is_none_or(|last| (&last.kind, &last.about) != (&row.kind, &row.about));
        if is_next {
            alarms.push(row);
        }
        if let Some(last) = alarms.last_mut() {
            last.posts.extend(post);
        }
    }
    alarms
}
