//! What both databases share beside the transaction itself: errors, row decoding, the schema check.

use super::{Access, StoreError};
use sqlx::migrate::Migrator;
use std::borrow::Cow;
use std::time::Duration;

/// A transaction is tried so often before a busy database is reported.
const ATTEMPTS: u32 = 5;

/// The driver's error as ours. `what` says what was being done.
///
/// A database may repeat column values in the details of an error, so only its code and its
/// message, which name none, are kept (R56).
pub(super) fn failed(what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| match source {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => StoreError::Unavailable { what, source },
        sqlx::Error::Database(ref error) => {
            let code = error.code().unwrap_or_default().into_owned();
            let away = is_away(&code);
            let source = sqlx::Error::Database(Box::new(Told {
                code,
                message: error.message().to_owned(),
            }));
            if away {
                StoreError::Unavailable { what, source }
            } else {
                StoreError::Database { what, source }
            }
        }
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. } => StoreError::Corrupt {
            what,
            detail: source.to_string(),
        },
        source => StoreError::Database { what, source },
    }
}

/// What the database said, without the details.
#[derive(Debug, thiserror::Error)]
#[error("{message} (code {code})")]
struct Told {
    code: String,
    message: String,
}

impl sqlx::error::DatabaseError for Told {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.code))
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> sqlx::error::ErrorKind {
        sqlx::error::ErrorKind::Other
    }
}

/// SQLite's primary result code, if this is one of its codes and not an SQLSTATE, which has five
/// characters.
fn sqlite_code(code: &str) -> Option<i32> {
    (code.len() < 5)
        .then(|| code.parse::<i32>().ok())
        .flatten()
        .map(|code| code & 0xff)
}

/// Busy, locked, failing or full disk; lost connection, no resources, operator intervention, or a
/// conflict with another transaction: what may succeed later.
fn is_away(code: &str) -> bool {
    match sqlite_code(code) {
        Some(primary) => matches!(primary, 5 | 6 | 10 | 13),
        None => {
            ["08", "53", "57"]
                .iter()
                .any(|class| code.starts_with(class))
                || matches!(code, "40001" | "40P01" | "55P03")
        }
    }
}

/// How long to wait before the transaction is tried once more; none when that is of no use.
pub(super) fn again_after(error: &StoreError, attempt: u32) -> Option<Duration> {
    let StoreError::Unavailable {
        source: sqlx::Error::Database(error),
        ..
    } = error
    else {
        return None;
    };
    let code = error.code().unwrap_or_default();
    let conflict = match sqlite_code(&code) {
        Some(primary) => matches!(primary, 5 | 6),
        None => matches!(&*code, "40001" | "40P01"),
    };
    (conflict && attempt < ATTEMPTS).then(|| Duration::from_millis(10 << attempt))
}

/// A row could not be what it must be.
pub(super) fn corrupt(what: &'static str, detail: impl Into<String>) -> StoreError {
    StoreError::Corrupt {
        what,
        detail: detail.into(),
    }
}

/// Refuses a change that the database must not take.
pub(super) fn refused(what: &'static str, why: impl Into<String>) -> StoreError {
    StoreError::Database {
        what,
        source: sqlx::Error::Protocol(why.into()),
    }
}

/// Compares the migrations a database has, as (version, completed), with those of this binary.
/// The daemon may go on to migrate; a tool needs the very schema.
pub(super) fn check_schema(
    ours: &Migrator,
    applied: &[(i64, bool)],
    access: Access,
) -> Result<(), StoreError> {
    let known = ours
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    let stored = applied
        .iter()
        .map(|(version, _)| *version)
        .max()
        .unwrap_or(0);
    if let Some((version, _)) = applied.iter().find(|(_, completed)| !completed) {
        return Err(StoreError::Unusable(format!(
            "migration {version} of the state store stopped midway; restore the backup taken \
             before it, then run `consentd migrate`"
        )));
    }
    if stored > known {
        return Err(StoreError::Unusable(format!(
            "the state store has schema {stored}, this consentd knows up to schema {known}; run \
             the newer consentd, or restore a backup taken before the upgrade"
        )));
    }
    if stored < known && access == Access::Tool {
        return Err(StoreError::Unusable(format!(
            "the state store has schema {stored}, this consentd needs schema {known}; run \
             `consentd migrate` or start the daemon"
        )));
    }
    Ok(())
}

/// Why the migrations could not be run.
pub(super) fn not_migrated(error: sqlx::migrate::MigrateError) -> StoreError {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration, VersionMismatch};
    match error {
        Execute(source) => failed("migrating the schema")(source),
        ExecuteMigration(source, version) => StoreError::Unusable(format!(
            "migration {version} of the state store failed and was undone: {}",
            failed("migrating the schema")(source).detail()
        )),
        VersionMismatch(version) => StoreError::Unusable(format!(
            "migration {version} of the state store is not the one this consentd has; was the \
             store made by a development build?"
        )),
        other => StoreError::Unusable(format!("the state store cannot be migrated: {other}")),
    }
}

impl StoreError {
    /// This error and its source in one line.
    fn detail(&self) -> String {
        match self {
            Self::Database { source, .. } | Self::Unavailable { source, .. } => source.to_string(),
            Self::Corrupt { .. } | Self::Unusable(_) => self.to_string(),
        }
    }
}

/// The columns of a contact, in the order in which both databases read them.
macro_rules! contact_columns {
    () => {
        "c.system, c.external, c.subject, c.own_subject, c.link, c.created, c.modified, c.read_at, \
         c.life, c.merged_into, c.written_seq, c.record"
    };
}

/// The columns of an outbox row; bare, for `RETURNING`.
macro_rules! outbox_columns {
    () => {
        "system, external, lane, subject, version, changes, state, in_flight, decided_at, \
         not_before, attempts, claimed_until, last_error"
    };
}

/// The columns of a feed, in the order in which both databases read them.
macro_rules! feed_columns {
    () => {
        "cursor, drained, polled_at, loaded, paused, paused_note, halted, muted_since, \
         shape, accept_fewer, scanned"
    };
}

/// The columns of a send-out without what is large, in the order in which both databases read them.
macro_rules! sendout_columns {
    () => {
        "id, purpose, created_by, created_at, send_at, addressed, state, due_at, settled_at, \
         callback, posts, post_error"
    };
}

/// The columns of a re-subscribe request, in the order in which both databases read them.
macro_rules! request_columns {
    () => {
        "r.id, r.subject, r.subscriber, r.unit, r.unit_name, r.status, r.unsubscribed_at, r.urgent, \
         r.cause, r.evidence, r.opened_at, r.seen_at, r.note, r.closed_at, r.closing, r.closed_by"
    };
}

/// The columns of a hold, in the order in which both databases read them.
macro_rules! hold_columns {
    () => {
        "h.id, h.kind, h.system, h.purpose, h.withdrawn, h.actor, h.opened_at, h.closed_at"
    };
}

/// The columns of what waits under a hold, in the order in which both databases read them.
macro_rules! held_columns {
    () => {
        "w.subject, w.hold, w.purpose, w.since, w.released"
    };
}

/// The columns of an alarm and of one of its posts, in the order in which both databases read them.
macro_rules! alarm_columns {
    () => {
        "a.kind, a.about, a.since, a.raised_at, a.cleared_at, a.text, p.channel, p.told, p.attempts, \
         p.next_try, p.error"
    };
}

/// The columns of a suppression, in the order in which both databases read them.
macro_rules! suppression_columns {
    () => {
        "s.digest, s.key, s.purpose, s.since, s.seen_at"
    };
}

/// The columns of a block of the ledger, in the order in which both databases read them.
macro_rules! block_columns {
    () => {
        "first, last, digest, at, newest_subject, entries, marks"
    };
}

/// Functions that read the rows of one driver that come one by one in both, by position.
macro_rules! queue_readers {
    ($row:ty) => {
        pub(in crate::store) fn outbox(row: &$row) -> Result<OutboxRow, sqlx::Error> {
            Ok(OutboxRow {
                key: WriteKey {
                    system: row.try_get(0)?,
                    external: row.try_get(1)?,
                    lane: row.try_get(2)?,
                },
                subject: row.try_get(3)?,
                version: row.try_get(4)?,
                changes: row.try_get(5)?,
                state: row.try_get(6)?,
                in_flight: row.try_get(7)?,
                decided_at: row.try_get(8)?,
                not_before: row.try_get(9)?,
                attempts: row.try_get(10)?,
                claimed_until: row.try_get(11)?,
                last_error: row.try_get(12)?,
            })
        }

        pub(in crate::store) fn quarantined(row: &$row) -> Result<QuarantineRow, sqlx::Error> {
            Ok(QuarantineRow {
                system: row.try_get(0)?,
                external: row.try_get(1)?,
                reason: row.try_get(2)?,
                raw: row.try_get(3)?,
                seen_at: row.try_get(4)?,
            })
        }

        pub(in crate::store) fn sendout(row: &$row) -> Result<SendoutHead, sqlx::Error> {
            Ok(SendoutHead {
                id: row.try_get(0)?,
                purpose: row.try_get(1)?,
                created_by: row.try_get(2)?,
                created_at: row.try_get(3)?,
                send_at: row.try_get(4)?,
                addressed: row.try_get(5)?,
                state: row.try_get(6)?,
                due_at: row.try_get(7)?,
                settled_at: row.try_get(8)?,
                callback: row.try_get(9)?,
                posts: row.try_get(10)?,
                post_error: row.try_get(11)?,
            })
        }

        /// A send-out with the three columns that are large.
        pub(in crate::store) fn whole_sendout(row: &$row) -> Result<SendoutRow, sqlx::Error> {
            let recipients: Option<&[u8]> = row.try_get(12)?;
            let recipients = parted(recipients.unwrap_or_default())
                .ok_or_else(|| sqlx::Error::Decode("half a keyed hash".into()))?;
            Ok(SendoutRow {
                head: Self::sendout(row)?,
                recipients,
                first: row.try_get(13)?,
                last: row.try_get(14)?,
            })
        }

        pub(in crate::store) fn request(row: &$row) -> Result<RequestRow, sqlx::Error> {
            Ok(RequestRow {
                id: row.try_get(0)?,
                subject: row.try_get(1)?,
                subscriber: row.try_get(2)?,
                unit: row.try_get(3)?,
                unit_name: row.try_get(4)?,
                status: row.try_get(5)?,
                unsubscribed_at: row.try_get(6)?,
                urgent: row.try_get(7)?,
                cause: row.try_get(8)?,
                evidence: row.try_get(9)?,
                opened_at: row.try_get(10)?,
                seen_at: row.try_get(11)?,
                note: row.try_get(12)?,
                closed_at: row.try_get(13)?,
                closing: row.try_get(14)?,
                closed_by: row.try_get(15)?,
            })
        }

        /// A request with its subject's columns behind it.
        pub(in crate::store) fn request_view(row: &$row) -> Result<RequestView, sqlx::Error> {
            Ok(RequestView {
                request: Self::request(row)?,
                subject: SubjectRef(fixed(row.try_get(16)?)?),
                address: row.try_get(17)?,
                verdicts: row.try_get(18)?,
            })
        }

        pub(in crate::store) fn hold(row: &$row) -> Result<HoldRow, sqlx::Error> {
            Ok(HoldRow {
                id: row.try_get(0)?,
                kind: row.try_get(1)?,
                system: row.try_get(2)?,
                purpose: row.try_get(3)?,
                withdrawn: row.try_get(4)?,
                actor: row.try_get(5)?,
                opened_at: row.try_get(6)?,
                closed_at: row.try_get(7)?,
            })
        }

        /// A hold with the counts behind it.
        pub(in crate::store) fn hold_view(row: &$row) -> Result<HoldView, sqlx::Error> {
            Ok(HoldView {
                hold: Self::hold(row)?,
                waiting: row.try_get(8)?,
                released: row.try_get(9)?,
            })
        }

        pub(in crate::store) fn held(row: &$row) -> Result<HeldRow, sqlx::Error> {
            Ok(HeldRow {
                subject: row.try_get(0)?,
                hold: row.try_get(1)?,
                purpose: row.try_get(2)?,
                since: row.try_get(3)?,
                released: row.try_get(4)?,
            })
        }

        /// What waits, with its subject's keyed hash behind it.
        pub(in crate::store) fn held_view(row: &$row) -> Result<HeldView, sqlx::Error> {
            Ok(HeldView {
                row: Self::held(row)?,
                subject: SubjectRef(fixed(row.try_get(5)?)?),
            })
        }

        pub(in crate::store) fn flip_count(row: &$row) -> Result<FlipCount, sqlx::Error> {
            Ok((
                row.try_get(0)?,
                row.try_get(1)?,
                row.try_get(2)?,
                row.try_get(3)?,
            ))
        }

        /// An alarm, and one of its posts if it has any.
        pub(in crate::store) fn alarm(
            row: &$row,
        ) -> Result<(AlarmRow, Option<AlarmPost>), sqlx::Error> {
            let alarm = AlarmRow {
                kind: row.try_get(0)?,
                about: row.try_get(1)?,
                since: row.try_get(2)?,
                raised_at: row.try_get(3)?,
                cleared_at: row.try_get(4)?,
                text: row.try_get(5)?,
                posts: Vec::new(),
            };
            let channel: Option<String> = row.try_get(6)?;
            let Some(channel) = channel else {
                return Ok((alarm, None));
            };
            let post = AlarmPost {
                channel,
                told: row.try_get(7)?,
                attempts: row.try_get(8)?,
                next_try: row.try_get(9)?,
                error: row.try_get(10)?,
            };
            Ok((alarm, Some(post)))
        }

        pub(in crate::store) fn suppression(row: &$row) -> Result<SuppressionRow, sqlx::Error> {
            Ok(SuppressionRow {
                digest: fixed(row.try_get(0)?)?,
                key: row.try_get(1)?,
                purpose: row.try_get(2)?,
                since: row.try_get(3)?,
                seen_at: row.try_get(4)?,
            })
        }

        pub(in crate::store) fn block(row: &$row) -> Result<StoredBlock, sqlx::Error> {
            Ok(StoredBlock {
                block: BlockRow {
                    first: row.try_get(0)?,
                    last: row.try_get(1)?,
                    digest: fixed(row.try_get(2)?)?,
                    at: row.try_get(3)?,
                    newest_subject: row.try_get(4)?,
                },
                entries: row.try_get(5)?,
                marks: row.try_get(6)?,
            })
        }

        pub(in crate::store) fn feed(row: &$row) -> Result<FeedRow, sqlx::Error> {
            Ok(FeedRow {
                cursor: row.try_get(0)?,
                drained: row.try_get(1)?,
                polled_at: row.try_get(2)?,
                loaded: row.try_get(3)?,
                paused: row.try_get(4)?,
                paused_note: row.try_get(5)?,
                halted: row.try_get(6)?,
                muted_since: row.try_get(7)?,
                shape: row.try_get(8)?,
                accept_fewer: row.try_get(9)?,
                scanned: row.try_get(10)?,
            })
        }
    };
}

/// [`super::Store`] for one of the two databases: the loop that repeats a transaction, and the use
/// cases under the names they have inside.
macro_rules! implement_store {
    ($store:ty) => {
        impl $store {
            async fn attempt(
                &self,
                scope: &Scope,
                decide: Decide<'_>,
            ) -> Result<Applied, StoreError> {
                let mut session = self.session().await?;
                let outcome = transact(&mut session, scope, decide).await;
                let transaction = session.into_transaction();
                if let Ok(Outcome::Commit { applied, sequence }) = outcome {
                    self.commit(transaction).await?;
                    self.sequence.fetch_max(sequence, Ordering::AcqRel);
                    return Ok(applied);
                }
                // Where the rollback fails as well, the connection ends, and the transaction with it.
                if let Err(error) = transaction.rollback().await {
                    tracing::debug!(%error, "a transaction could not be rolled back");
                }
                outcome.map(|_| Applied::Overtaken)
            }

            /// By itself, so that it waits for no row while it holds another one.
            async fn attempt_to_give_up(
                &self,
                unsent: &[(i16, &str, i64, &str, &str)],
            ) -> Result<(), StoreError> {
                let mut session = self.session().await?;
                session.give_up(unsent).await?;
                self.commit(session.into_transaction()).await
            }

            async fn attempt_to_postpone(&self, postponed: &[Postponed]) -> Result<(), StoreError> {
                let mut session = self.session().await?;
                let outcome = postpone(&mut session, postponed).await;
                let transaction = session.into_transaction();
                let error = match outcome {
                    Ok(newest) => {
                        self.commit(transaction).await?;
                        if let Some(sequence) = newest {
                            self.sequence.fetch_max(sequence, Ordering::AcqRel);
                        }
                        return Ok(());
                    }
                    Err(error) => error,
                };
                if let Err(error) = transaction.rollback().await {
                    tracing::debug!(%error, "a transaction could not be rolled back");
                }
                Err(error)
            }
        }

        #[async_trait]
        impl Store for $store {
            async fn transact(&self, scope: &Scope, decide: Decide<'_>) -> Result<Applied, StoreError> {
                let mut attempt = 0;
                loop {
                    attempt += 1;
                    match self.attempt(scope, &mut *decide).await {
                        Err(error) => match again_after(&error, attempt) {
                            Some(wait) => tokio::time::sleep(wait).await,
                            None => return Err(error),
                        },
                        applied => return applied,
                    }
                }
            }

            async fn register_systems(&self, names: &[String]) -> Result<Vec<i16>, StoreError> {
                self.register(names).await
            }

            async fn feed(&self, system: i16) -> Result<FeedRow, StoreError> {
                self.feed_row(system).await
            }

            async fn systems(&self) -> Result<Vec<(i16, String)>, StoreError> {
                self.registered().await
            }

            async fn origin(&self) -> Result<Origin, StoreError> {
                self.origin_row().await
            }

            async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
                self.copied_to(path).await
            }

            async fn decided(&self) -> Result<Decided, StoreError> {
                self.decided_so_far().await
            }

            async fn claim_writes(&self, claim: &Claim) -> Result<Vec<OutboxRow>, StoreError> {
                self.claim(claim).await
            }

            async fn addresses(
                &self,
                system: i16,
                contacts: &[&str],
            ) -> Result<Vec<Option<String>>, StoreError> {
                self.addresses_of(system, contacts).await
            }

            async fn still_current(&self, claims: &[(WriteKey, i64)]) -> Result<Vec<WriteKey>, StoreError> {
                self.current(claims).await
            }

            async fn release_claims(&self, system: i16) -> Result<u64, StoreError> {
                self.release(system).await
            }

            async fn postpone(&self, postponed: &[Postponed]) -> Result<(), StoreError> {
                if postponed.is_empty() {
                    return Ok(());
                }
                let mut attempt = 0;
                loop {
                    attempt += 1;
                    match self.attempt_to_postpone(postponed).await {
                        Err(error) => match again_after(&error, attempt) {
                            Some(wait) => tokio::time::sleep(wait).await,
                            None => return Err(error),
                        },
                        Ok(()) => break,
                    }
                }
                let unsent = unsent(postponed);
                attempt = 0;
                while !unsent.is_empty() {
                    attempt += 1;
                    match self.attempt_to_give_up(&unsent).await {
                        Err(error) => match again_after(&error, attempt) {
                            Some(wait) => tokio::time::sleep(wait).await,
                            None => return Err(error),
                        },
                        Ok(()) => break,
                    }
                }
                Ok(())
            }

            async fn next_due(&self, system: i16) -> Result<Option<At>, StoreError> {
                self.due(system).await
            }

            async fn figures(&self, _now: At) -> Result<Figures, StoreError> {
                self.count().await
            }

            async fn dossier(&self, subject: SubjectRef) -> Result<Option<Dossier>, StoreError> {
                self.file_of(subject).await
            }

            async fn subjects_after(&self, after: i64, limit: usize) -> Result<Known, StoreError> {
                self.known_after(after, limit).await
            }

            async fn ledger_blocks(
                &self,
                after: i64,
                limit: usize,
            ) -> Result<Vec<StoredBlock>, StoreError> {
                self.blocks_after(after, limit).await
            }

            async fn ledger_blocks_of(
                &self,
                subjects: &[i64],
            ) -> Result<Vec<(i64, i64)>, StoreError> {
                self.blocks_about(subjects).await
            }

            async fn replace_blocks(&self, blocks: &[(i64, Redacted)]) -> Result<bool, StoreError> {
                self.put_redacted(blocks).await
            }

            async fn quarantined(
                &self,
                system: Option<i16>,
                limit: usize,
            ) -> Result<Vec<QuarantineRow>, StoreError> {
                self.quarantine(system, limit).await
            }

            async fn outbox(&self, skip: usize, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
                self.writes(skip, limit).await
            }

            async fn recipients(
                &self,
                subjects: &[SubjectRef],
                live: &[i16],
            ) -> Result<Vec<Option<RecipientRow>>, StoreError> {
                self.recipient_rows(subjects, live).await
            }

            async fn contacts_of(
                &self,
                subjects: &[SubjectRef],
                systems: &[i16],
            ) -> Result<Vec<SubjectContact>, StoreError> {
                self.live_contacts(subjects, systems).await
            }

            async fn subjects_of(
                &self,
                contacts: &[(i16, &str)],
            ) -> Result<Vec<Option<SubjectRef>>, StoreError> {
                self.homes_of(contacts).await
            }

            async fn subject_addresses(
                &self,
                subjects: &[SubjectRef],
            ) -> Result<Vec<Option<String>>, StoreError> {
                self.addresses_by_ref(subjects).await
            }

            async fn put_sendout(&self, sendout: &SendoutRow, most: usize) -> Result<bool, StoreError> {
                self.keep_sendout(sendout, most).await
            }

            async fn sendout(&self, id: &str) -> Result<Option<SendoutRow>, StoreError> {
                self.whole_sendout(id).await
            }

            async fn sendouts(&self, limit: usize) -> Result<Vec<SendoutHead>, StoreError> {
                self.sendout_heads(limit).await
            }

            async fn due_sendouts(
                &self,
                state: i16,
                limit: usize,
            ) -> Result<Vec<(String, At)>, StoreError> {
                self.sendouts_due(state, limit).await
            }

            async fn advance_sendout(&self, step: &SendoutStep) -> Result<bool, StoreError> {
                self.step_sendout(step).await
            }

            async fn forget_sendouts(&self, now: At) -> Result<u64, StoreError> {
                self.drop_sendouts(now).await
            }

            async fn gate_due(
                &self,
                limit: usize,
            ) -> Result<Vec<(SubjectRef, i64, i64)>, StoreError> {
                self.due_at_the_gate(limit).await
            }

            async fn gate_round(&self) -> Result<GateRound, StoreError> {
                self.round_of_the_gate().await
            }

            async fn requests(
                &self,
                query: &RequestQuery,
                limit: usize,
            ) -> Result<Vec<RequestView>, StoreError> {
                self.requests_asked_for(query, limit).await
            }

            async fn holds(
                &self,
                closed_too: bool,
                limit: usize,
            ) -> Result<Vec<HoldView>, StoreError> {
                self.all_holds(closed_too, limit).await
            }

            async fn held(
                &self,
                hold: i64,
                after: i64,
                limit: usize,
            ) -> Result<Vec<HeldView>, StoreError> {
                self.held_under(hold, after, limit).await
            }

            async fn suppression_keys(&self) -> Result<Vec<SuppressionKey>, StoreError> {
                self.keys_of_suppressions().await
            }

            async fn suppressed(
                &self,
                digests: &[SuppressionDigest],
            ) -> Result<Vec<SuppressionRow>, StoreError> {
                self.view().await?.suppressions(digests).await
            }

            async fn traces(&self, query: &TraceQuery) -> Result<Traces, StoreError> {
                self.traces_of(query).await
            }

            async fn scrub(&self, texts: &[String]) -> Result<Residue, StoreError> {
                self.scrub_files(texts).await
            }

            async fn back_up(&self, file: &Path) -> Result<Option<Backup>, StoreError> {
                self.copy_to(file).await
            }

            async fn expiring(
                &self,
                table: Expiring,
                before: At,
                limit: usize,
            ) -> Result<Vec<ExpiringKey>, StoreError> {
                self.rows_before(table, before, limit).await
            }

            async fn expired_through(&self, class: &str) -> Result<i64, StoreError> {
                self.class_through(class).await
            }

            async fn alarms(&self) -> Result<Vec<AlarmRow>, StoreError> {
                self.all_alarms().await
            }

            async fn put_alarms(&self, changes: &AlarmChanges) -> Result<(), StoreError> {
                self.change_alarms(changes).await
            }

            async fn step_alarm_post(&self, step: &AlarmStep) -> Result<bool, StoreError> {
                self.step_alarm(step).await
            }

            fn sequence(&self) -> i64 {
                self.sequence.load(Ordering::Acquire)
            }

            async fn probe_writable(&self, now: At) -> Result<(), StoreError> {
                self.probe(now).await
            }

            async fn close(&self) {
                self.shut().await;
            }
        }
    };
}

pub(super) use {
    alarm_columns, block_columns, contact_columns, feed_columns, held_columns, hold_columns,
    implement_store, outbox_columns, queue_readers, request_columns, sendout_columns,
    suppression_columns,
};

/// Bytes of a fixed length, as a digest or a keyed hash has.
pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], sqlx::Error> {
    bytes.try_into().map_err(|_| {
        sqlx::Error::Decode(format!("{} bytes where {N} are stored", bytes.len()).into())
    })
}

/// Reads all rows with one of the row readers.
pub(super) fn read_all<Row, T>(
    what: &'static str,
    rows: Result<Vec<Row>, sqlx::Error>,
    read: impl Fn(&Row) -> Result<T, sqlx::Error>,
) -> Result<Vec<T>, StoreError> {
    let rows = rows.map_err(failed(what))?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(failed(what))
}

/// A switch was set of a system that has no number.
pub(super) fn unregistered(system: i16) -> StoreError {
    refused("the feed", format!("no system has the number {system}"))
}
