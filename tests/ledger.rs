//! The ledger as a whole: a proof finds one flipped byte, an export hands out what is stored, and a
//! replay gives what the store holds (R52, G9). On both databases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of the rig")]
mod common;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;

use common::engine::{Rig, next_second, object};
use common::postgres::Database;
use consentd::consent::{Shown, SubjectKey};
use consentd::store::ledger::{ChainFault, Head, Redacted, redact, unpack};
use consentd::store::{
    self, Access, Changes, DELETED, Known, LedgerDraft, LedgerRow, MERGED, Scope, Store,
    StoreSettings,
};
use consentd::sync::assemble::rules;
use consentd::sync::ledger::proof::{Fault, Proof, prove};
use consentd::sync::ledger::replay::{self, Replayed};
use consentd::sync::pack::Packer;
use consentd::sync::workbench::{Workbench, transact};
use consentd_sandbox::{
    AGENT, CallKind, DATA_LOAD, Fault as Broken, LoadScope, RECORDS, Rule, SPECIALIST,
};
use hub::{Hub, MARKETING};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

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
    let all = rig.store.subjects_after(0, 100_000).await.unwrap();
    for life in [DELETED, MERGED] {
        assert!(all.contacts.iter().any(|row| row.life == life), "{life}");
    }
    assert!(
        all.contacts
            .iter()
            .any(|row| row.subject != row.own_subject)
    );
    assert!(all.subjects.iter().any(|row| !row.remembered.is_empty()));
    assert!(all.subjects.iter().any(|row| row.findings.contains("load")));
    let figures = rig.store.figures(Rig::now()).await.unwrap();
    assert!(figures.systems[0].unmatched > 0);
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
    let withdrawn = |text: &str| text.contains(r#"["w"#) && !text.contains(r#"["g"#);
    let mut subjects = all.subjects.iter();
    let found = subjects.find(|row| withdrawn(&row.verdicts)).unwrap().id;
    let turn = |from: &str, to: &str| {
        format!(
            "UPDATE subjects SET verdicts = replace(verdicts, '[\"{from}', '[\"{to}') \
             WHERE id = {found} AND length($1) = 0"
        )
    };
    tamper(settings, &turn("w", "g"), &[]).await;
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
    tamper(settings, &turn("g", "w"), &[]).await;
    assert!(replayed(&rig).await.is_same());

    // Somebody makes a contact older than it is, and so the one that speaks.
    let aged = |by: i64| {
        format!(
            "UPDATE contacts SET created = created + {by} WHERE system = 1 AND external = \
             (SELECT min(external) FROM contacts WHERE system = 1 AND external > '' \
              AND subject IS NOT NULL AND created IS NOT NULL) AND length($1) = 0"
        )
    };
    tamper(settings, &aged(-1), &[]).await;
    let found = replayed(&rig).await;
    assert_eq!(whats(&found), ["the contact has another time of creation"]);
    assert!(found.differences[0].contact.is_some());
    tamper(settings, &aged(1), &[]).await;
    assert!(replayed(&rig).await.is_same());
    stated_and_forgotten(&rig).await;
}

/// What an operator states is replayed; what is forgotten is told apart from what differs.
async fn stated_and_forgotten(rig: &Rig) {
    let person = SubjectKey::from_address("p20@rig.example").unwrap();
    let shared = &rig.members[0].shared;
    let subject = shared.pseudonyms.of(&person);
    let packer = Packer::new(&shared.rules);
    let said = r#"[["marketing",null,"operator",["we",1767225600000000,0,"eve"]]]"#;
    let state = async |body: Value, is_done: bool| {
        let scope = Scope {
            subjects: vec![subject],
            ..Scope::default()
        };
        let said = body["said"].to_string();
        let act = |bench: &mut Workbench<'_>| {
            if is_done {
                bench.state(subject, &said, &person)?;
            }
            Ok(())
        };
        let body = body.to_string();
        let complete = |changes: &mut Changes| {
            let entry = LedgerDraft {
                kind: "stated",
                subject: None,
                system: None,
                at: Rig::now().micros(),
                body: body.clone(),
            };
            changes.ledger.push(entry);
        };
        let frame = shared.frame(false);
        let done = transact(&*rig.store, scope, frame, &packer, act, complete).await;
        done.unwrap();
    };
    let packed: Value = serde_json::from_str(said).unwrap();
    let body = json!({ "subject": subject.to_string(), "said": packed, "operator": "eve" });
    state(body.clone(), true).await;
    let found = replayed(rig).await;
    assert!(found.is_same(), "{:#?}", found.differences);
    // The ledger tells of a statement that the store did not take in.
    let mut other = body;
    other["said"][0][3][1] = json!(1_767_225_700_000_000_i64);
    state(other.clone(), false).await;
    let remembered = "what is remembered without a contact is not what the ledger gives";
    let found = replayed(rig).await;
    assert!(whats(&found).contains(&remembered), "{found:#?}");
    state(other, true).await;
    let found = replayed(rig).await;
    assert!(found.is_same(), "{:#?}", found.differences);

    // Everything about somebody else is forgotten.
    let other = SubjectKey::from_address("p1@rig.example").unwrap();
    let other = shared.pseudonyms.of(&other).to_string();
    let blocks = rig.store.ledger_blocks(0, 10_000).await.unwrap();
    let about = |body: &str| {
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        body["subject"] == *other
    };
    let numbers: Vec<i64> = blocks
        .iter()
        .flat_map(|stored| unpack(stored.block.first, &stored.entries))
        .map(|entry| entry.unwrap().1)
        .filter(|row| about(&row.body))
        .map(|row| row.seq)
        .collect();
    forget(&*rig.store, &numbers).await;
    let count = numbers.len() as u64;
    let decide = &mut |_: Known| Changes {
        ledger: vec![draft("erased", 0, &json!({ "forgotten": count }))],
        ..Changes::default()
    };
    rig.store.transact(&Scope::default(), decide).await.unwrap();
    let found = replayed(rig).await;
    assert!(count > 3 && found.is_same(), "{:#?}", found.differences);
    // The contact was somebody else's for a while, and its coming back is forgotten.
    assert_eq!((found.forgotten, found.not_replayable), (count, 2));
    let (code, table, _) = command(rig, &["replay", "--check"]).await;
    assert_eq!(code, 0, "{table}");
    assert!(table.contains("2 subjects cannot be rebuilt"), "{table}");
    let (code, table, _) = command(rig, &["verify"]).await;
    assert_eq!(code, 0, "{table}");
    let (_, gone, _) = command(rig, &["export", "--format", "jsonl", "--kind", "forgotten"]).await;
    assert_eq!(gone.lines().count() as u64, count);
    for line in gone.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["subject"], &line["system"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(line["body"].as_str().unwrap().len(), 64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_replaying_the_ledger_gives_what_the_store_holds() {
    gives_what_the_store_holds(Rig::start(150).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_replaying_the_ledger_gives_what_the_store_holds_on_postgres_too() {
    gives_what_the_store_holds(Rig::start_on_postgres(150).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_four_systems_with_flags_and_records_are_rebuilt_too() {
    let rig = Rig::start_hub(80).await;
    rig.settle().await;
    let people: Vec<_> = (0..4).map(|n| rig.person(&format!("q{n}"))).collect();
    rig.settle().await;
    for person in &people {
        Rig::opt(rig.sandbox.ascend(), &person.ascend, true, RECORDS);
    }
    rig.settle().await;
    let found = replayed(&rig).await;
    assert!(found.is_same(), "{:#?}", found.differences);
    assert!(found.entries > 200 && found.subjects > 80, "{found:?}");
}

#[tokio::test]
async fn an_export_names_no_address_and_starts_no_formula() {
    let systems = &["crm", "ascend"];
    let hub = Hub::start(systems, "").await;
    for name in ["ann", "bob"] {
        hub.fakes.person(systems, name);
    }
    hub.settle().await;
    hub.fakes.get("crm").save("ann", MARKETING, &Shown::Set);
    hub.settle().await;
    let export = |more: &[&str]| {
        let answer = hub.command(&[&["ledger", "export", "--format"], more].concat());
        assert_eq!(answer.status, Some(0), "{}", answer.complained);
        answer.said
    };
    let lines = |text: &str| -> Vec<Value> {
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let all = export(&["jsonl"]);
    assert!(!all.contains("hub.example"), "an address: {all}");
    let all = lines(&all);
    let seqs: Vec<i64> = all
        .iter()
        .map(|line| line["seq"].as_i64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=hub.store.sequence()).collect::<Vec<_>>());
    assert_eq!(all[0]["time"], "2026-01-01T00:00:05Z");
    assert_eq!(
        (&all[0]["kind"], &all[0]["system"]),
        (&json!("observed"), &json!("ascend"))
    );
    assert_eq!(all[0]["body"]["contact"], "ann");
    let ann = SubjectKey::from_address("ann@hub.example").unwrap();
    let ann = hub.engine.shared.pseudonyms.of(&ann).to_string();
    let of_ann = lines(&export(&["jsonl", "--person", "Ann@Hub.example"]));
    assert!(of_ann.iter().all(|line| line["subject"] == *ann));
    let mine = all.iter().filter(|line| line["subject"] == *ann).count();
    assert_eq!((of_ann.len(), mine > 3), (mine, true));
    let verdicts = lines(&export(&[
        "jsonl",
        "--person",
        "ann@hub.example",
        "--kind",
        "verdict",
    ]));
    assert_eq!(verdicts.len(), 1);
    let time = verdicts[0]["time"].as_str().unwrap();
    let (since, until) = (
        export(&["jsonl", "--since", time]),
        export(&["jsonl", "--until", time]),
    );
    let (since, until) = (lines(&since).len(), lines(&until).len());
    assert_eq!(
        (since + until, since > 0, until > 0),
        (all.len(), true, true)
    );
    assert_eq!(export(&["jsonl", "--until", "2026-01-01"]), "");

    let entry = LedgerDraft {
        body: "=HYPERLINK(\"http://x\")".to_owned(),
        ..draft("operator", 0, &Value::Null)
    };
    let decide = &mut |_: Known| Changes {
        ledger: vec![entry.clone()],
        ..Changes::default()
    };
    hub.store.transact(&Scope::default(), decide).await.unwrap();
    let file = hub.folder.path().join("ledger.csv");
    std::fs::write(&file, "old").unwrap();
    let path = file.to_str().unwrap();
    let said = export(&["csv", "--to", path]);
    assert_eq!(said, format!("{} entries are in {path}\n", all.len() + 1));
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with("seq,time,kind,subject,system,body\n1,2026-01-01T00:00:05Z,observed,")
    );
    assert!(text.contains("'=HYPERLINK"), "{text}");
    assert_eq!(text.lines().count(), all.len() + 2);
}

#[tokio::test]
async fn verify_prints_the_head_and_names_the_entry_that_was_altered() {
    let systems = &["crm", "ascend"];
    let hub = Hub::start(systems, "").await;
    hub.fakes.person(systems, "ann");
    hub.settle().await;
    let verify = |more: &[&str]| {
        let answer = hub.command(&[&["ledger", "verify", "--output", "json"], more].concat());
        let rows: Value = serde_json::from_str(&answer.said).unwrap_or_default();
        (answer.status, rows[0].clone(), answer.complained)
    };
    let (status, row, said) = verify(&[]);
    assert_eq!((status, &row["fault"]), (Some(0), &Value::Null), "{said}");
    let head = row["head"].as_str().unwrap().to_owned();
    hub.fakes.person(systems, "bob");
    hub.settle().await;
    let (status, row, _) = verify(&["--head", &head]);
    assert_eq!((status, &row["fault"]), (Some(0), &Value::Null));
    let other = head.replace(':', ":0").replace(":0", ":f");
    let (status, _, complained) = verify(&["--head", &other]);
    assert_eq!(status, Some(1), "too long for a head");
    assert!(complained.contains("64 hex digits"), "{complained}");
    let other = format!("{}{}", &head[..head.len() - 4], "beef");
    let (status, row, _) = verify(&["--head", &other]);
    assert_eq!(status, Some(2));
    assert!(
        row["fault"].as_str().unwrap().contains("was noted"),
        "{row}"
    );
    let blocks = hub.store.ledger_blocks(0, 1).await.unwrap();
    let mut bytes = blocks[0].entries.clone();
    bytes[5] ^= 1;
    let path = hub.store_path();
    let sql = "UPDATE ledger_blocks SET entries = $1 WHERE first = 1";
    tamper(&StoreSettings::Sqlite { path }, sql, &bytes).await;
    let (status, row, _) = verify(&[]);
    assert_eq!(status, Some(2));
    let fault = "ledger entry 1 does not read as it was written";
    assert_eq!(row["fault"], fault);
}

/// The most memory that this process has held, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    figure.map_or(0, |figure| figure.parse().unwrap())
}

#[tokio::test]
#[ignore = "a million entries take minutes; run it with --ignored"]
async fn r52_one_flipped_byte_among_a_million_entries_is_found_and_named() {
    for kept in Kept::both().await {
        for block in 0..250 {
            let entries = (block * 4_000)..((block + 1) * 4_000);
            kept.append(entries.map(entry).collect()).await;
            if block == 150 {
                assert_eq!(kept.fault().await, None);
            }
        }
        // More than half of it was proved already: what a proof needs at all, it had then.
        let (before, began) = (peak(), Instant::now());
        let sound = kept.proof().await;
        let took = began.elapsed();
        assert_eq!((sound.entries, sound.fault), (1_000_000, None));
        eprintln!(
            "proved in {took:?}, {} KiB more than before",
            peak() - before
        );
        assert!(peak() - before < 10_000, "memory grows with the ledger");
        let stored = kept.store.ledger_blocks(800_000, 1).await.unwrap();
        let mut bytes = stored[0].entries.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
        put(&kept, "entries", stored[0].block.last, &bytes).await;
        let began = Instant::now();
        let fault = kept.fault().await;
        eprintln!("found in {:?}: {fault:?}", began.elapsed());
        let Some(Fault::Chain(ChainFault::Entry(named))) = fault else {
            panic!("{fault:?}");
        };
        assert!((800_001..=804_000).contains(&named), "{named}");
        let mut now = unpack(800_001, &bytes);
        let mut was = unpack(800_001, &stored[0].entries);
        let same = (800_001..named).all(|_| {
            let (now, was) = (now.next().unwrap(), was.next().unwrap());
            now.unwrap() == was.unwrap()
        });
        assert!(same, "everything before it reads as it was written");
        let (now, was) = (now.next(), was.next().unwrap().unwrap());
        let other = now.is_none_or(|now| now.map_or(true, |now| now != was));
        assert!(other, "and it does not");
    }
}
