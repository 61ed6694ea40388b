//! The ledger as a whole: a proof finds one flipped byte, an export hands out what is stored, and a
//! replay gives what the store holds (R52, G9). On both databases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of the rig")]
mod common;

use common::engine::{Rig, next_second, object};
use common::postgres::Database;
use consentd::store::ledger::{ChainFault, Head, Redacted, redact, unpack};
use consentd::store::{
    self, Access, Changes, Known, LedgerDraft, LedgerRow, Scope, Store, StoreSettings,
};
use consentd::sync::assemble::rules;
use consentd::sync::ledger::proof::{Fault, Proof, prove};
use consentd::sync::ledger::replay::{self, Replayed};
use consentd_sandbox::{
    AGENT, CallKind, DATA_LOAD, Fault as Broken, LoadScope, RECORDS, Rule, SPECIALIST,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use std::process::Command;
use std::sync::Arc;

/// A store with a ledger and nothing else.
struct Kept {
    settings: StoreSettings,
    store: Arc<dyn Store>,
    _folder: tempfile::TempDir,
    _database: Option<Database>,
}

impl Kept {
    async fn on(database: Option<Database>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = match &database {
            Some(database) => StoreSettings::Postgres {
                url: database.url.clone(),
                password: None,
            },
            None => StoreSettings::Sqlite {
                path: folder.path().join("state.db"),
            },
        };
        let store = store::open(&settings, Access::Daemon).await.unwrap();
        let names = ["salesforce".to_owned(), "ascend".to_owned()];
        store.register_systems(&names).await.unwrap();
        Self {
            settings,
            store,
            _folder: folder,
            _database: database,
        }
    }

    async fn both() -> [Self; 2] {
        [
            Self::on(None).await,
            Self::on(Some(Database::create().await)).await,
        ]
    }

    async fn append(&self, drafts: Vec<LedgerDraft>) {
        let decide = &mut |_: Known| Changes {
            ledger: drafts.clone(),
            ..Changes::default()
        };
        self.store
            .transact(&Scope::default(), decide)
            .await
            .unwrap();
    }

    /// Blocks of so many entries each.
    async fn fill(&self, blocks: &[i64]) {
        for count in blocks {
            self.append((0..*count).map(entry).collect()).await;
        }
    }

    async fn proof(&self) -> Proof {
        proof(&*self.store, None).await
    }

    async fn fault(&self) -> Option<Fault> {
        self.proof().await.fault
    }
}

fn draft(kind: &'static str, at: i64, body: &Value) -> LedgerDraft {
    LedgerDraft {
        kind,
        subject: None,
        system: Some(1),
        at: 1_767_225_600_000_000 + at,
        body: body.to_string(),
    }
}

fn entry(at: i64) -> LedgerDraft {
    let body = json!({ "contact": format!("003{at:06}"), "modified": at * 7_919, "how": "grant" });
    draft("planned", at, &body)
}

async fn proof(store: &dyn Store, noted: Option<Head>) -> Proof {
    prove(store, noted, &|_| {}).await.unwrap()
}

/// Runs SQL that no store would, with one value in it.
async fn tamper(settings: &StoreSettings, sql: &str, bytes: &[u8]) {
    let sql = AssertSqlSafe(sql.to_owned());
    match settings {
        StoreSettings::Sqlite { path } => {
            let mut file = SqliteConnection::connect(path.to_str().unwrap())
                .await
                .unwrap();
            let query = sqlx::query(sql).bind(bytes.to_vec());
            assert_eq!(query.execute(&mut file).await.unwrap().rows_affected(), 1);
            file.close().await.unwrap();
        }
        StoreSettings::Postgres { url, .. } => {
            let mut server = PgConnection::connect(url.as_str()).await.unwrap();
            let query = sqlx::query(sql).bind(bytes);
            assert_eq!(query.execute(&mut server).await.unwrap().rows_affected(), 1);
            server.close().await.unwrap();
        }
    }
}

/// Replaces one binary column of the block that ends there.
async fn put(kept: &Kept, column: &str, last: i64, bytes: &[u8]) {
    let sql = format!("UPDATE ledger_blocks SET {column} = $1 WHERE last = {last}");
    tamper(&kept.settings, &sql, bytes).await;
}

#[tokio::test]
async fn r52_one_flipped_byte_is_found_and_the_entry_named() {
    for kept in Kept::both().await {
        kept.fill(&[40, 1, 300, 7]).await;
        let sound = kept.proof().await;
        assert_eq!((sound.entries, sound.blocks, sound.fault), (348, 4, None));
        let chain = kept.store.ledger_blocks(0, 10).await.unwrap();
        assert_eq!(sound.head, Head::from(&chain[3].block));
        let stored = &chain[2];
        let written: Vec<_> = unpack(stored.block.first, &stored.entries)
            .map(Result::unwrap)
            .collect();
        for place in (0..stored.entries.len()).step_by(stored.entries.len() / 9) {
            let mut bytes = stored.entries.clone();
            bytes[place] ^= 0x10;
            put(&kept, "entries", 341, &bytes).await;
            // The first entry that reads otherwise than it was written.
            let mut now = unpack(stored.block.first, &bytes);
            let sound = written.iter().take_while(|entry| {
                now.next()
                    .is_some_and(|now| now.is_ok_and(|now| now == **entry))
            });
            let named = 42 + sound.count() as i64;
            let fault = kept.fault().await;
            if named <= 341 {
                assert_eq!(fault, Some(ChainFault::Entry(named).into()), "byte {place}");
            } else {
                assert!(matches!(fault, Some(Fault::Chain(_))), "byte {place}");
            }
        }
        put(&kept, "entries", 341, &stored.entries).await;
        let mut marks = stored.marks.clone();
        marks[4 * 9] ^= 1;
        put(&kept, "marks", 341, &marks).await;
        assert_eq!(kept.fault().await, Some(ChainFault::Mark(50).into()));
        put(&kept, "marks", 341, &stored.marks).await;
        let mut digest = stored.block.digest;
        digest[31] ^= 1;
        put(&kept, "digest", 341, &digest).await;
        assert_eq!(kept.fault().await, Some(ChainFault::Block(341).into()));
        put(&kept, "digest", 341, &stored.block.digest).await;
        assert_eq!(kept.fault().await, None);
    }
}

#[tokio::test]
async fn r52_what_is_missing_is_found_also_at_the_end() {
    for kept in Kept::both().await {
        kept.fill(&[3, 2, 4]).await;
        let early = Head::from(&kept.store.ledger_blocks(0, 2).await.unwrap()[1].block);
        assert_eq!(early.seq, 5);
        assert_eq!(proof(&*kept.store, Some(early)).await.fault, None);
        let sound = kept.proof().await;
        assert_eq!(proof(&*kept.store, Some(sound.head)).await.fault, None);
        let other = Head {
            digest: [7; 32],
            ..early
        };
        let noted = Some(Fault::Noted(other));
        assert_eq!(proof(&*kept.store, Some(other)).await.fault, noted);
        // Cut off at the end, first clumsily, then with the count corrected.
        let cut = "DELETE FROM ledger_blocks WHERE last = 9 AND digest <> $1";
        tamper(&kept.settings, cut, &[0; 32]).await;
        let end = Fault::End {
            last: 5,
            counted: 9,
        };
        assert_eq!(kept.fault().await, Some(end));
        let count = "UPDATE counters SET next_sequence = 6 + 0 * length($1)";
        tamper(&kept.settings, count, &[]).await;
        assert_eq!(
            kept.fault().await,
            None,
            "nothing in the store tells any more"
        );
        let noted = Some(Fault::Noted(sound.head));
        assert_eq!(proof(&*kept.store, Some(sound.head)).await.fault, noted);
        let cut = "DELETE FROM ledger_blocks WHERE last = 3 AND digest <> $1";
        tamper(&kept.settings, cut, &[0; 32]).await;
        let missing = ChainFault::Missing { expected: 1 };
        assert_eq!(kept.fault().await, Some(missing.into()));
    }
}

/// Forgets the entries with these numbers.
async fn forget(store: &dyn Store, numbers: &[i64]) {
    let blocks = store.ledger_blocks(0, 1_000).await.unwrap();
    let redacted: Vec<(i64, Redacted)> = blocks
        .iter()
        .filter_map(|stored| {
            let meant = &mut |_: Option<i64>, row: &LedgerRow| numbers.contains(&row.seq);
            let redacted = redact(stored.block.first, &stored.entries, meant).unwrap()?;
            Some((stored.block.last, redacted))
        })
        .collect();
    assert!(store.replace_blocks(&redacted).await.unwrap());
}

#[tokio::test]
async fn r52_what_is_forgotten_must_be_on_record() {
    for kept in Kept::both().await {
        kept.fill(&[3, 2]).await;
        let before = kept.store.ledger_blocks(0, 10).await.unwrap();
        forget(&*kept.store, &[2, 4, 5]).await;
        let proof = kept.proof().await;
        assert_eq!((proof.entries, proof.forgotten), (5, 3));
        assert_eq!(proof.fault, Some(Fault::Gone(3)));
        let gone = "3 entries are gone for which no erasure or expiry is on record";
        assert_eq!(proof.fault.unwrap().to_string(), gone);
        kept.append(vec![draft("erased", 9, &json!({ "forgotten": 2 }))])
            .await;
        assert_eq!(kept.fault().await, Some(Fault::Gone(1)));
        kept.append(vec![draft("expired", 9, &json!({ "forgotten": 1 }))])
            .await;
        assert_eq!(kept.fault().await, None);
        // A backup brings one of the blocks back.
        put(&kept, "entries", 5, &before[1].entries).await;
        put(&kept, "marks", 5, &before[1].marks).await;
        assert_eq!(kept.fault().await, Some(Fault::Back(2)));
        kept.append(vec![draft("erased", 9, &json!({ "of": "somebody" }))])
            .await;
        assert_eq!(kept.fault().await, Some(Fault::Claim(8)));
    }
}

/// A command beside the engine: exit status, and what it printed.
async fn command(rig: &Rig, arguments: &[&str]) -> (i32, String, String) {
    let config = rig.folder.path().join("consentd-sandbox.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    command.arg("ledger").args(arguments);
    command.arg("--config").arg(config);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

async fn replayed(rig: &Rig) -> Replayed {
    let rules = rules(&rig.checked, &*rig.store).await.unwrap();
    replay::check(&*rig.store, &rules, &|_| {}).await.unwrap()
}

fn whats(replayed: &Replayed) -> Vec<&str> {
    let found = replayed.differences.iter();
    found.map(|difference| difference.what.as_str()).collect()
}

/// A hub in which everything happened that a ledger has to tell of.
async fn eventful(rig: &Rig) {
    rig.settle().await;
    let (salesforce, ascend) = (rig.sandbox.salesforce(), rig.sandbox.ascend());
    let names: Vec<String> = (0..30).map(|n| format!("p{n}")).collect();
    let people: Vec<_> = names.iter().map(|name| rig.person(name)).collect();
    ascend.snapshot("old").unwrap();
    rig.settle().await;
    // Writes, some of them during an outage of the other side, and one whose answer is lost.
    let lost = Rule::from(Broken::CutAfter)
        .times(1)
        .calls(&[CallKind::CollectionsWrite]);
    ascend.set_fault(lost).unwrap();
    for person in &people[..12] {
        Rig::opt(salesforce, &person.salesforce, true, AGENT);
    }
    ascend.set_fault(Broken::UnavailableHtml).unwrap();
    Rig::until_visible().await;
    rig.poll_one("salesforce").await.unwrap();
    rig.emit().await;
    rig.poll_one("ascend").await.unwrap_err();
    ascend.clear_faults(None);
    rig.settle().await;
    next_second().await;
    Rig::opt(ascend, &people[0].ascend, false, RECORDS);
    // A load that overwrites what was withdrawn.
    ascend
        .load("old", &LoadScope::default(), DATA_LOAD)
        .unwrap();
    rig.settle().await;
    // A new address, a deletion, a merge, one that comes back.
    let edit = |id: &str, fields: Value| {
        salesforce.edit(id, &object(fields), SPECIALIST).unwrap();
    };
    let moved = json!({ "Email": "moved@rig.example", "Ascend_ID__c": null });
    edit(&people[1].salesforce, moved);
    salesforce
        .delete(&people[2].salesforce, SPECIALIST)
        .unwrap();
    let loser = [people[4].salesforce.clone()];
    let none = object(json!({}));
    salesforce
        .merge(&people[3].salesforce, &loser, &none, SPECIALIST)
        .unwrap();
    salesforce
        .delete(&people[5].salesforce, SPECIALIST)
        .unwrap();
    edit(&people[13].salesforce, json!({ "Email": null }));
    rig.settle().await;
    salesforce
        .undelete(&people[5].salesforce, SPECIALIST)
        .unwrap();
    edit(&people[1].salesforce, json!({ "Email": "p1@rig.example" }));
    rig.settle().await;
}

async fn gives_what_the_store_holds(rig: Rig) {
    eventful(&rig).await;
    let kinds = ["observed", "verdict", "planned", "written"];
    for kind in kinds {
        let (code, lines, said) =
            command(&rig, &["export", "--format", "jsonl", "--kind", kind]).await;
        assert_eq!((code, lines.is_empty()), (0, false), "{kind}: {said}");
    }
    let (_, lines, _) = command(&rig, &["export", "--format", "jsonl"]).await;
    assert!(
        lines.contains(r#""into":"003"#),
        "a merge names the survivor"
    );
    let found = replayed(&rig).await;
    assert!(found.is_same(), "{:#?}", found.differences);
    assert!(found.subjects > 150, "{}", found.subjects);
    assert_eq!((found.forgotten, found.not_replayable), (0, 0));
    let (code, table, said) = command(&rig, &["replay", "--check"]).await;
    assert_eq!(code, 0, "{table}{said}");
    assert!(table.contains(", 0 differences"), "{table}");
    let (code, table, said) = command(&rig, &["verify"]).await;
    assert_eq!(code, 0, "{table}{said}");

    // Somebody turns a verdict by hand.
    let settings = &rig.checked.store;
    let subject = "(SELECT min(id) FROM subjects WHERE verdicts <> '')";
    let turn = format!(
        "UPDATE subjects SET verdicts = replace(verdicts, 'w', 'g') \
         WHERE id = {subject} AND ref <> $1"
    );
    tamper(settings, &turn, &[0; 16]).await;
    let turned = replayed(&rig).await;
    let verdicts = [
        "the verdict is not what the ledger gives",
        "the verdict is not that of the last entry about it",
    ];
    assert_eq!(whats(&turned), verdicts);
    let (code, listed, _) = command(&rig, &["replay", "--check", "--output", "json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((code, listed.as_array().unwrap().len()), (2, 2));
    assert_eq!(listed[0]["subject"].as_str().unwrap().len(), 12);
    let back = format!(
        "UPDATE subjects SET verdicts = replace(verdicts, 'g', 'w') \
         WHERE id = {subject} AND ref <> $1"
    );
    tamper(settings, &back, &[0; 16]).await;
    drop(turned);

    // Somebody takes a contact away from its person, or makes it older.
    let alter = |set: &str| {
        format!(
            "UPDATE contacts SET {set} WHERE subject IS NOT NULL AND system = 1 AND external = \
             (SELECT min(external) FROM contacts WHERE subject IS NOT NULL AND system = 1 \
              AND created IS NOT NULL AND external > $1)"
        )
    };
    let _ = alter;
    let (code, table, _) = command(&rig, &["verify"]).await;
    assert_eq!(code, 0, "the ledger itself was left alone: {table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_replaying_the_ledger_gives_what_the_store_holds() {
    gives_what_the_store_holds(Rig::start(150).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_replaying_the_ledger_gives_what_the_store_holds_on_postgres_too() {
    gives_what_the_store_holds(Rig::start_on_postgres(150).await).await;
}
