//! Erasure and what is left of it: no byte of the person, a chain that still proves, and a keyed hash by
//! which whoever comes back starts withdrawn (R55, G8).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;
#[path = "common/postgres.rs"]
mod postgres;

use consentd::consent::{Answer, Shown, Status, SubjectKey};
use consentd::store::ledger::{Head, StoredBlock, unpack, verify_range};
use consentd::store::{
    Changes, GateChanges, Known, QuarantineRow, RequestQuery, RequestRow, SCHEDULED, Scope,
    SendoutHead, SendoutRow, SubjectRow, SuppressionKey,
};
use consentd::sync::checklist::{Ask, Crew, Freshness, Outcome, Person, check};
use consentd::sync::erasure::{EraseError, Ground, Report, erase};
use consentd::sync::ledger::replay;
use consentd::sync::pack::{PackedVerdict, unpack_findings, unpack_verdicts};
use consentd::sync::switches::Operator;
use hub::{Hub, MARKETING, configured};
use postgres::Database;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

const SYSTEMS: [&str; 3] = ["crm", "ascend", "shop"];
const ADDRESS: &str = "zaphod.beeblebrox@hub.example";
const IDS: [(&str, &str); 3] = [
    ("crm", "contact-of-zb-in-crm"),
    ("ascend", "contact-of-zb-in-ascend"),
    ("shop", "contact-of-zb-in-shop"),
];

/// A hub with that many others, of whom every third has opted out.
async fn crowd(others: usize, more: &str, database: Option<&Database>) -> Hub {
    let hub = Hub::start_in(
        &SYSTEMS,
        more,
        database.map(|database| database.url.clone()),
    )
    .await;
    for number in 0..others {
        hub.fakes.person(&SYSTEMS, &format!("other-{number:04}"));
    }
    hub.settle().await;
    for number in (0..others).step_by(3) {
        let name = format!("other-{number:04}");
        hub.fakes.get("crm").save(&name, MARKETING, &Shown::Set);
    }
    hub.settle().await;
    hub
}

fn join(hub: &Hub) {
    for (system, id) in IDS {
        hub.fakes.get(system).add(id, ADDRESS);
    }
}

fn key() -> SubjectKey {
    SubjectKey::from_address(ADDRESS).unwrap()
}

async fn try_erase(
    hub: &Hub,
    address: &str,
    reason: &str,
    even_so: bool,
) -> Result<Report, EraseError> {
    let shared = &hub.engine.shared;
    let ground = Ground {
        store: &*hub.store,
        pseudonyms: &shared.pseudonyms,
        frame: shared.frame(false),
    };
    let by = Operator::new("ann", reason).unwrap();
    erase(
        ground,
        &SubjectKey::from_address(address).unwrap(),
        &by,
        even_so,
    )
    .await
}

async fn known(hub: &Hub, address: &str) -> Known {
    let key = SubjectKey::from_address(address).unwrap();
    let scope = Scope {
        subjects: vec![hub.engine.shared.pseudonyms.of(&key)],
        ..Scope::default()
    };
    hub.store.known(&scope).await.unwrap()
}

async fn subject(hub: &Hub, address: &str) -> Option<SubjectRow> {
    let known = known(hub, address).await;
    known
        .subjects
        .into_iter()
        .find(|row| row.address == address)
}

/// Status of marketing, and the kinds of what there is to know.
async fn stands(hub: &Hub, address: &str) -> (Option<Status>, Vec<String>) {
    let row = subject(hub, address).await.unwrap();
    let verdicts = unpack_verdicts(&row.verdicts).unwrap();
    let marketing = verdicts
        .iter()
        .find(|verdict| verdict.purpose == "marketing");
    let findings = unpack_findings(&row.findings).unwrap();
    (
        marketing.map(PackedVerdict::status),
        findings
            .iter()
            .map(|finding| finding.kind.to_string())
            .collect(),
    )
}

async fn answer(hub: &Hub, address: &str) -> Answer {
    let crew = Crew {
        shared: std::sync::Arc::clone(&hub.engine.shared),
        members: hub.engine.members.clone(),
    };
    let ask = Ask {
        purpose: "marketing".to_owned(),
        people: vec![Person::from_text(address, &crew.shared.pseudonyms)],
        freshness: Freshness::Within(Duration::ZERO),
    };
    match check(&crew, &ask).await.unwrap().lines[0].outcome {
        Outcome::Answered(answer) => answer,
        other @ Outcome::Duplicate(_) => panic!("{other:?}"),
    }
}

async fn blocks(hub: &Hub) -> Vec<StoredBlock> {
    hub.store.ledger_blocks(0, 100_000).await.unwrap()
}

async fn assert_chain(hub: &Hub) {
    let mut previous = Head::START;
    for block in blocks(hub).await {
        verify_range(&previous, &block, &mut |_, _| {}).unwrap();
        previous = Head::from(&block.block);
    }
}

/// G9: what the ledger tells gives what the store holds, where nothing was forgotten.
async fn assert_replay(hub: &Hub) {
    let rules = &hub.engine.shared.rules;
    let replayed = replay::check(&*hub.store, rules, &|_| {}).await.unwrap();
    assert!(replayed.is_same(), "{replayed:?}");
    assert!(replayed.subjects > replayed.not_replayable, "{replayed:?}");
}

/// Everything the ledger says, in one text.
async fn said(hub: &Hub) -> String {
    let mut text = String::new();
    for stored in blocks(hub).await {
        for entry in unpack(stored.block.first, &stored.entries) {
            let (_, row) = entry.unwrap();
            writeln!(text, "{} {}", row.kind, row.body).unwrap();
        }
    }
    text
}

/// Somebody with a long history: decisions, writes, another address before, quarantine, a request, a
/// send-out.
async fn live_through_everything(hub: &Hub) {
    join(hub);
    hub.settle().await;
    let crm = hub.fakes.get("crm");
    crm.save(IDS[0].1, MARKETING, &Shown::Set);
    hub.settle().await;
    crm.save(IDS[0].1, MARKETING, &Shown::Default);
    hub.settle().await;
    // Lived at another address for a while, and withdrew there.
    crm.add("contact-that-moved-to-zb", "earlier@hub.example");
    hub.settle().await;
    crm.save("contact-that-moved-to-zb", MARKETING, &Shown::Set);
    hub.settle().await;
    crm.add("contact-that-moved-to-zb", ADDRESS);
    hub.settle().await;
    let row = subject(hub, ADDRESS).await.unwrap();
    let request = RequestRow {
        id: 1,
        subject: row.id,
        subscriber: IDS[0].1.to_owned(),
        unit: "100".to_owned(),
        evidence: format!(r#"{{"contact":"{}"}}"#, IDS[0].1),
        ..RequestRow::default()
    };
    let crm_id = hub.engine.member("crm").unwrap().id.0;
    let poison = |external: &str, raw: &str| QuarantineRow {
        system: crm_id,
        external: external.to_owned(),
        reason: "odd".to_owned(),
        raw: raw.as_bytes().to_vec(),
        seen_at: 1,
    };
    let changes = Changes {
        gate: GateChanges {
            requests: vec![request],
            due: vec![(row.id, 5)],
            ..GateChanges::default()
        },
        quarantine: vec![
            poison("a-digest", &format!("<{}>", ADDRESS.to_uppercase())),
            poison(IDS[0].1, "nothing"),
            poison("another", "somebody.else@hub.example"),
        ],
        ..Changes::default()
    };
    let decide = &mut |_: Known| changes.clone();
    hub.store.transact(&Scope::default(), decide).await.unwrap();
    let other = subject(hub, "other-0001@hub.example").await.unwrap();
    let sendout = SendoutRow {
        head: SendoutHead {
            id: "so_1".to_owned(),
            purpose: "marketing".to_owned(),
            created_by: "shop".to_owned(),
            created_at: 1,
            send_at: i64::MAX,
            addressed: 3,
            state: SCHEDULED,
            due_at: i64::MAX,
            settled_at: None,
            callback: None,
            posts: 0,
            post_error: None,
        },
        recipients: vec![Some(other.subject), Some(row.subject), None],
        first: "{}".to_owned(),
        last: String::new(),
    };
    assert!(hub.store.put_sendout(&sendout, 10).await.unwrap());
}

async fn nothing_is_left_of_whoever_is_erased(hub: Hub) {
    live_through_everything(&hub).await;
    let before = subject(&hub, ADDRESS).await.unwrap();
    let other = subject(&hub, "other-0001@hub.example").await.unwrap();
    let live: Vec<i64> = live(&hub).await;

    let refused = try_erase(&hub, ADDRESS, "asked for", false).await;
    let Err(EraseError::Remaining(remaining)) = refused else {
        panic!("{refused:?}");
    };
    let expected = [("ascend", 1), ("crm", 2), ("shop", 1)];
    assert_eq!(
        remaining,
        expected.map(|(name, count)| (name.to_owned(), count))
    );
    assert!(
        subject(&hub, ADDRESS).await.is_some(),
        "nothing was changed"
    );

    let report = try_erase(&hub, ADDRESS, "asked for", true).await.unwrap();
    assert!(
        report.was_known && report.contacts == 4 && report.forgotten > 10,
        "{report:?}"
    );
    assert_eq!(report.residue.left, Vec::<String>::new());
    assert!(subject(&hub, ADDRESS).await.is_none());
    assert_chain(&hub).await;
    assert_replay(&hub).await;
    let ledger = said(&hub).await;
    for text in [
        ADDRESS,
        &before.subject.to_string(),
        "of-zb-in",
        "moved-to-zb",
    ] {
        assert!(!ledger.contains(text), "{text} is in the ledger");
    }
    let erased = ledger.lines().find(|line| line.starts_with("erased "));
    assert!(erased.is_some_and(
        |line| line.contains(&format!("\"forgotten\":{}", report.forgotten))
            && line.contains("asked for")
    ));
    // What is said of others is said still.
    assert!(ledger.contains(&other.subject.to_string()));
    let now: Vec<i64> = self::live(&hub).await;
    assert_eq!(
        now,
        [live[0] - 1, live[1] - 2, live[2] - 1],
        "the figures follow"
    );
    let left = hub.store.quarantined(None, 10).await.unwrap();
    let left: Vec<&str> = left.iter().map(|row| row.external.as_str()).collect();
    assert_eq!(left, ["another"]);
    assert_eq!(hub.store.gate_due(10).await.unwrap(), []);
    assert_eq!(
        hub.store
            .requests(&RequestQuery::default(), 10)
            .await
            .unwrap(),
        []
    );
    let sendout = hub.store.sendout("so_1").await.unwrap().unwrap();
    assert_eq!(sendout.recipients, [Some(other.subject), None, None]);
    // R14: what was withdrawn at the earlier address stays so, and names no contact that is gone.
    let earlier = subject(&hub, "earlier@hub.example").await.unwrap();
    assert!(
        earlier.remembered.contains("erased"),
        "{}",
        earlier.remembered
    );
    assert_eq!(
        stands(&hub, "earlier@hub.example").await.0,
        Some(Status::Withdrawn)
    );
}

async fn live(hub: &Hub) -> Vec<i64> {
    let figures = hub
        .store
        .figures(hub.engine.shared.clock.now())
        .await
        .unwrap();
    figures.systems.iter().map(|system| system.live).collect()
}

async fn whoever_comes_back_starts_withdrawn(hub: Hub) {
    join(&hub);
    hub.settle().await;
    try_erase(&hub, ADDRESS, "asked for", true).await.unwrap();
    assert_eq!(
        answer(&hub, "other-0001@hub.example").await,
        Answer::NoLegalBasis
    );
    hub.pass(60);
    // Imported anew, and shown as granted at first sight.
    let shop = hub.fakes.get("shop");
    join(&hub);
    hub.settle().await;
    assert_eq!(
        stands(&hub, ADDRESS).await,
        (Some(Status::Withdrawn), vec!["suppressed".to_owned(); 2])
    );
    assert_eq!(
        hub.fakes.get("crm").shown(IDS[0].1, MARKETING),
        Shown::Set,
        "written back"
    );
    assert_eq!(
        hub.fakes.get("ascend").shown(IDS[1].1, MARKETING),
        Shown::Set
    );
    assert_eq!(answer(&hub, ADDRESS).await, Answer::Suppressed);
    assert!(said(&hub).await.contains(r#""act":"suppression""#));
    let digests: Vec<_> = hub.engine.shared.suppressor.digests(&key()).collect();
    let rows = hub.store.suppressed(&digests).await.unwrap();
    assert_eq!(rows.len(), 2, "marketing and store");
    assert!(rows.iter().all(|row| row.seen_at.is_some()), "{rows:?}");
    // R18: a later grant by the person wins.
    hub.pass(60);
    let granted = Shown::Record {
        status: Status::Granted,
        basis: Some(consentd::consent::Basis::Consent),
    };
    shop.save(IDS[2].1, MARKETING, &granted);
    hub.settle().await;
    assert_eq!(
        stands(&hub, ADDRESS).await,
        (Some(Status::Granted), vec!["suppressed".to_owned()])
    );
    assert_eq!(
        answer(&hub, ADDRESS).await,
        Answer::Send,
        "suppressed for store alone"
    );
    assert_eq!(
        hub.fakes.get("crm").shown(IDS[0].1, MARKETING),
        Shown::Default
    );
    assert_chain(&hub).await;
    assert_replay(&hub).await;
}

async fn a_stranger_is_suppressed_too(hub: Hub) {
    let report = try_erase(&hub, ADDRESS, "asked for", false).await.unwrap();
    assert!(!report.was_known && report.contacts == 0 && report.forgotten == 0);
    assert_eq!(
        answer(&hub, ADDRESS).await,
        Answer::Suppressed,
        "although no system has them"
    );
    assert_eq!(
        answer(&hub, "nobody@hub.example").await,
        Answer::UnknownAddress
    );
    join(&hub);
    hub.settle().await;
    assert_eq!(stands(&hub, ADDRESS).await.0, Some(Status::Withdrawn));
    // Erased once more: one suppression a purpose stays.
    try_erase(&hub, ADDRESS, "again", true).await.unwrap();
    let identity = SuppressionKey {
        key: "identity".to_owned(),
        rows: 2,
    };
    assert_eq!(hub.store.suppression_keys().await.unwrap(), [identity]);
    for reason in [
        ADDRESS.to_owned(),
        format!("he, {}, asked", ADDRESS.to_uppercase()),
    ] {
        let refused = try_erase(&hub, ADDRESS, &reason, true).await;
        assert!(
            matches!(refused, Err(EraseError::NamesAddress)),
            "{refused:?}"
        );
    }
}

const KEYS: &str = r#"
    [privacy]
    suppression_keys = [{ id = "2027", file = "HOME/key-2027" }, { id = "2026", file = "HOME/key-2026" }]
"#;
const OLD_KEY: &str = r#"
    [privacy]
    suppression_keys = [{ id = "2026", file = "HOME/key-2026" }]
"#;

fn put_keys(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    for (year, text) in [
        ("2026", "5b0a7c1e44d2986fb1f0e3a7"),
        ("2027", "c4d9e21f7a5b3c8806bd97ff"),
    ] {
        let path = folder.join(format!("key-{year}"));
        std::fs::write(&path, format!("{text}-{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    }
}

async fn keys(hub: &Hub) -> Vec<(String, i64)> {
    let suppressor = &hub.engine.shared.suppressor;
    let keys = suppressor.standing(&*hub.store).await.unwrap();
    keys.into_iter().map(|key| (key.key, key.rows)).collect()
}

async fn an_older_key_is_needed_until_its_addresses_were_seen(mut hub: Hub) {
    put_keys(hub.folder.path());
    hub.go_on(&with_store(&hub, OLD_KEY)).await;
    for address in [ADDRESS, "ford@hub.example"] {
        try_erase(&hub, address, "asked for", true).await.unwrap();
    }
    let named = |counts: [(&str, i64); 3]| counts.map(|(key, rows)| (key.to_owned(), rows));
    hub.go_on(&with_store(&hub, KEYS)).await;
    assert_eq!(
        keys(&hub).await,
        named([("2027", 0), ("2026", 4), ("identity", 0)])
    );
    // One is asked about, the other comes back.
    assert_eq!(answer(&hub, ADDRESS).await, Answer::Suppressed);
    assert_eq!(
        keys(&hub).await,
        named([("2027", 2), ("2026", 2), ("identity", 0)])
    );
    hub.fakes
        .get("crm")
        .add("contact-of-ford", "ford@hub.example");
    hub.settle().await;
    assert_eq!(
        stands(&hub, "ford@hub.example").await.0,
        Some(Status::Withdrawn)
    );
    assert_eq!(
        keys(&hub).await,
        named([("2027", 4), ("2026", 0), ("identity", 0)])
    );
    // The old key can go; the one in use cannot.
    let text = KEYS.replace(r#", { id = "2026", file = "HOME/key-2026" }"#, "");
    hub.go_on(&with_store(&hub, &text)).await;
    assert_eq!(answer(&hub, ADDRESS).await, Answer::Suppressed);
    let missing = consentd::sync::suppression::Suppressor::of(&with_store(&hub, OLD_KEY));
    let fault = missing.standing(&*hub.store).await.unwrap_err().to_string();
    assert!(
        fault.contains("\"2027\"") && fault.contains("privacy.suppression_keys"),
        "{fault}"
    );
}

/// Another configuration over the same systems.
fn with_store(hub: &Hub, more: &str) -> consentd::config::Checked {
    configured(hub.folder.path(), &SYSTEMS, more)
}

macro_rules! on_both_databases {
    ($($case:ident($others:literal)),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::crowd($others, "", None).await).await;
            })+
        }

        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let database = super::Database::create().await;
                super::$case(super::crowd($others, "", Some(&database)).await).await;
            })+
        }
    };
}

on_both_databases! {
    nothing_is_left_of_whoever_is_erased(60),
    whoever_comes_back_starts_withdrawn(2),
    a_stranger_is_suppressed_too(2),
    an_older_key_is_needed_until_its_addresses_were_seen(1),
}

/// Every byte of these files, one after the other.
fn bytes(files: &[std::path::PathBuf]) -> Vec<u8> {
    files
        .iter()
        .filter(|file| file.exists())
        .flat_map(|file| std::fs::read(file).unwrap())
        .collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let window = |window: &[u8]| window.eq_ignore_ascii_case(text.as_bytes());
    bytes.windows(text.len()).any(window)
}

#[tokio::test(flavor = "multi_thread")]
async fn r55_no_byte_is_left_in_the_database_its_log_or_a_backup() {
    let hub = crowd(300, "", None).await;
    live_through_everything(&hub).await;
    let texts = [
        "zaphod.beeblebrox",
        "of-zb-in-crm",
        "of-zb-in-ascend",
        "of-zb-in-shop",
        "moved-to-zb",
    ];
    let path = hub.store_path();
    let beside = |suffix: &str| {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        std::path::PathBuf::from(name)
    };
    let files = [path.clone(), beside("-wal"), beside("-shm")];
    for text in texts {
        assert!(holds(&bytes(&files), text), "{text} was there before");
    }
    let answer = hub.command(&["erase", ADDRESS, "--reason", "asked for"]);
    assert_eq!(answer.status, Some(1), "{answer:?}");
    assert!(
        answer.complained.contains("crm (2)") && answer.complained.contains("--even-so"),
        "{answer:?}"
    );
    let answer = hub.command(&["erase", ADDRESS, "--reason", "asked for", "--even-so"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    assert!(
        answer.said.contains("nothing of the person is left"),
        "{answer:?}"
    );
    println!("{}", answer.said);
    let copy = hub.folder.path().join("copy.db");
    let answer = hub.command(&["backup", copy.to_str().unwrap()]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let left = bytes(&[&files[..], &[copy]].concat());
    for text in texts {
        assert!(!holds(&left, text), "{text} is left");
    }
    assert!(holds(&left, "other-0001@hub.example"), "others are");
    assert_chain(&hub).await;
    let answer = hub.command(&["suppressions", "--output", "csv"]);
    assert!(answer.said.contains("identity,2,"), "{answer:?}");
}
