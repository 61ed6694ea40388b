//! An empty store of either database, and rows to put in it.

use crate::postgres_server::Database;
use consentd::consent::At;
use consentd::store::ledger::StoredBlock;
use consentd::store::{
    Access, Applied, Changes, Claim, ContactRow, FeedChange, FeedRow, Flip, Known, LANE_GRANT,
    LANE_WITHDRAWAL, LIVE, LedgerDraft, LoadKey, OutboxChange, OutboxRow, PENDING, PgStore,
    QuarantineRow, ScanNote, Scope, SqliteStore, Store, StoreError, SubjectRef, SubjectRow,
    WriteKey,
};
use sqlx::sqlite::SqliteConnectOptions;
use std::ops::Deref;
use std::sync::Arc;
use tempfile::TempDir;

/// A store of its own for one test.
pub(crate) enum Bench {
    /// In a file.
    Sqlite(SqliteStore, Arc<TempDir>),
    /// In a database of its own.
    Postgres(PgStore, Arc<Database>),
}

impl Deref for Bench {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Sqlite(store, _) => store,
            Self::Postgres(store, _) => store,
        }
    }
}

impl Bench {
    /// An empty SQLite store with three systems.
    pub(crate) async fn sqlite() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let store = SqliteStore::open(&folder.path().join("state.db"), Access::Daemon)
            .await
            .unwrap();
        Self::Sqlite(store, folder).with_systems().await
    }

    /// An empty Postgres store with three systems.
    pub(crate) async fn postgres() -> Self {
        let database = Arc::new(Database::create().await);
        let store = PgStore::connect(&database.url, None, Access::Daemon)
            .await
            .unwrap();
        Self::Postgres(store, database).with_systems().await
    }

    async fn with_systems(self) -> Self {
        let names = ["salesforce", "ascend", "superoffice"].map(str::to_owned);
        assert_eq!(self.register_systems(&names).await.unwrap(), [1, 2, 3]);
        self
    }

    /// Statements sent by transactions so far.
    pub(crate) fn statements(&self) -> u64 {
        match self {
            Self::Sqlite(store, _) => store.statements(),
            Self::Postgres(store, _) => store.statements(),
        }
    }

    /// Closes the store and opens it again.
    pub(crate) async fn reopened(self) -> Self {
        self.close().await;
        match self {
            Self::Sqlite(store, folder) => {
                drop(store);
                let path = folder.path().join("state.db");
                Self::Sqlite(
                    SqliteStore::open(&path, Access::Daemon).await.unwrap(),
                    folder,
                )
            }
            Self::Postgres(_, database) => {
                let store = PgStore::connect(&database.url, None, Access::Daemon)
                    .await
                    .unwrap();
                Self::Postgres(store, database)
            }
        }
    }

    /// The same store, opened by a tool or another daemon beside this one.
    pub(crate) async fn beside(&self) -> Self {
        match self {
            Self::Sqlite(_, folder) => {
                let path = folder.path().join("state.db");
                let store = SqliteStore::open(&path, Access::Tool).await.unwrap();
                Self::Sqlite(store, Arc::clone(folder))
            }
            Self::Postgres(_, database) => {
                let store = PgStore::connect(&database.url, None, Access::Tool)
                    .await
                    .unwrap();
                Self::Postgres(store, Arc::clone(database))
            }
        }
    }

    /// Why the store, which is closed, cannot be opened any more.
    pub(crate) async fn refusal(&self, access: Access) -> String {
        let opened = match self {
            Self::Sqlite(_, folder) => {
                let copy = folder.path().join("copy.db");
                std::fs::copy(folder.path().join("state.db"), &copy).unwrap();
                SqliteStore::open(&copy, access).await.map(drop)
            }
            Self::Postgres(_, database) => PgStore::connect(&database.url, None, access)
                .await
                .map(drop),
        };
        match opened {
            Err(StoreError::Unusable(why)) => why,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The blocks of the ledger.
    pub(crate) async fn chain(&self) -> Vec<StoredBlock> {
        self.ledger_blocks(0, usize::MAX >> 1).await.unwrap()
    }

    /// Runs SQL that no store would.
    pub(crate) async fn tamper(&self, sql: &'static str) {
        match self {
            Self::Sqlite(_, folder) => {
                let pool = file(folder).await;
                sqlx::query(sql).execute(&pool).await.unwrap();
                pool.close().await;
            }
            Self::Postgres(_, database) => {
                let pool = sqlx::PgPool::connect(database.url.as_str()).await.unwrap();
                sqlx::query(sql).execute(&pool).await.unwrap();
                pool.close().await;
            }
        }
    }

    /// Stores `changes` in a transaction that reads nothing.
    pub(crate) async fn put(&self, changes: Changes) -> u64 {
        self.put_within(&Scope::default(), changes).await
    }

    /// Stores `changes` in a transaction about `scope`; the rows written.
    pub(crate) async fn put_within(&self, scope: &Scope, changes: Changes) -> u64 {
        match self.try_put(scope, changes).await.unwrap() {
            Applied::Stored { rows } => rows,
            Applied::Overtaken => panic!("overtaken"),
        }
    }

    /// The same, whatever comes of it.
    pub(crate) async fn try_put(
        &self,
        scope: &Scope,
        changes: Changes,
    ) -> Result<Applied, StoreError> {
        self.transact(scope, &mut |_: Known| changes.clone()).await
    }

    /// What the store knows within `scope`.
    pub(crate) async fn known(&self, scope: &Scope) -> Known {
        let mut seen = None;
        let decide = &mut |known: Known| {
            seen = Some(known);
            Changes::default()
        };
        assert_eq!(
            self.transact(scope, decide).await.unwrap(),
            Applied::Stored { rows: 0 }
        );
        seen.unwrap()
    }

    /// What is known around some contacts.
    pub(crate) async fn around(&self, contacts: &[(i16, &str)]) -> Known {
        self.known(&named(contacts)).await
    }

    /// Claims up to `limit` writes of system 1 until `now + 100`.
    pub(crate) async fn claim(&self, now: i64, limit: usize) -> Vec<OutboxRow> {
        self.claim_writes(&Claim {
            system: 1,
            lane: None,
            limit,
            now,
            until: now + 100,
        })
        .await
        .unwrap()
    }

    /// Subjects 1 to `count`, each with one contact `c1`, `c2`, … in system 1.
    pub(crate) async fn populate(&self, count: i64) {
        let changes = Changes {
            subjects: (1..=count).map(subject).collect(),
            contacts: (1..=count)
                .map(|id| contact(1, &format!("c{id}"), Some(id)))
                .collect(),
            ..Changes::default()
        };
        assert_eq!(self.put(changes).await, 2 * count as u64);
    }
}

async fn file(folder: &TempDir) -> sqlx::SqlitePool {
    let options = SqliteConnectOptions::new().filename(folder.path().join("state.db"));
    sqlx::SqlitePool::connect_with(options).await.unwrap()
}

/// A scope of contacts.
pub(crate) fn named(contacts: &[(i16, &str)]) -> Scope {
    let contacts = contacts
        .iter()
        .map(|(system, external)| (*system, (*external).to_owned()));
    Scope {
        contacts: contacts.collect(),
        ..Scope::default()
    }
}

pub(crate) fn reference(id: i64) -> SubjectRef {
    let mut bytes = [0x5c; 16];
    bytes[..8].copy_from_slice(
        &id.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64)
            .to_be_bytes(),
    );
    SubjectRef(bytes)
}

pub(crate) fn subject(id: i64) -> SubjectRow {
    SubjectRow {
        id,
        subject: reference(id),
        address: format!("person{id}@example.org"),
        verdicts: format!(r#"[["marketing",{id}]]"#),
        remembered: String::new(),
        findings: String::new(),
    }
}

pub(crate) fn contact(system: i16, external: &str, subject: Option<i64>) -> ContactRow {
    ContactRow {
        system,
        external: external.to_owned(),
        subject,
        own_subject: None,
        link: None,
        created: Some(1),
        modified: None,
        read_at: Some(3),
        life: LIVE,
        merged_into: None,
        written_seq: 0,
        record: r#"{"shown":"Zoë \"Z\"\n"}"#.to_owned(),
    }
}

pub(crate) fn withdrawal(external: &str, subject: i64, decided_at: i64) -> OutboxRow {
    OutboxRow {
        key: WriteKey {
            system: 1,
            external: external.to_owned(),
            lane: LANE_WITHDRAWAL,
        },
        subject,
        version: 1,
        changes: format!(r#"[["marketing","withdrawn",{decided_at}]]"#),
        state: PENDING,
        in_flight: String::new(),
        decided_at,
        not_before: 0,
        attempts: 0,
        claimed_until: 0,
        last_error: None,
    }
}

pub(crate) fn grant(external: &str, subject: i64, decided_at: i64) -> OutboxRow {
    let mut row = withdrawal(external, subject, decided_at);
    row.key.lane = LANE_GRANT;
    row
}

pub(crate) fn puts(rows: &[OutboxRow]) -> Changes {
    let outbox = rows.iter().cloned().map(OutboxChange::Put).collect();
    Changes {
        outbox,
        ..Changes::default()
    }
}

pub(crate) fn entry(kind: &'static str, subject: Option<i64>, at: i64) -> LedgerDraft {
    let body = format!(r#"{{"at":{at}}}"#);
    LedgerDraft {
        kind,
        subject,
        system: subject.map(|_| 2),
        at,
        body,
    }
}

pub(crate) fn quarantined(external: &str, reason: &str, seen_at: i64) -> QuarantineRow {
    let raw = vec![0, 159, 146, 150, b'"'];
    QuarantineRow {
        system: 1,
        external: external.to_owned(),
        reason: reason.to_owned(),
        raw,
        seen_at,
    }
}

pub(crate) fn flip(subject: i64, purpose: &str, at: i64) -> Flip {
    Flip {
        subject,
        purpose: purpose.to_owned(),
        withdrawn: true,
        system: 1,
        at,
    }
}

pub(crate) fn load_key(actor: &str, minute: i64) -> LoadKey {
    LoadKey {
        system: 1,
        actor: actor.to_owned(),
        minute,
    }
}

pub(crate) fn moved(cursor: &str, follows: Option<&str>) -> FeedChange {
    let row = FeedRow {
        cursor: Some(cursor.to_owned()),
        drained: Some(7),
        polled_at: Some(8),
        loaded: true,
        ..FeedRow::default()
    };
    FeedChange {
        system: 1,
        row,
        follows: follows.map(str::to_owned),
        scan: ScanNote::default(),
    }
}

pub(crate) fn at(micros: i64) -> At {
    At::from_micros(micros)
}
