//! Decisions that are turned back (R30): the former state returns, with its own stamps, and what people
//! withdrew themselves stays withdrawn. On both databases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/fake.rs"]
#[expect(dead_code, reason = "this file uses a part of the rig")]
mod fake;
#[path = "common/hub.rs"]
#[expect(dead_code, reason = "this file uses a part of the rig")]
mod hub;
#[path = "common/postgres.rs"]
mod postgres;

use consentd::consent::{At, Shown, SubjectKey};
use consentd::runtime::clock::Clock as _;
use consentd::store::SubjectRef;
use consentd::sync::holds::{Desk, Filter, decide};
use consentd::sync::identity::Pseudonyms;
use consentd::sync::pack::unpack_verdicts;
use consentd::sync::switches::Operator;
use consentd::sync::undo::{UndoError, Undone, Wanted, What, undo};
use consentd::sync::workbench::Word;
use hub::{Hub, MARKETING, configured};
use postgres::Database;
use secrecy::ExposeSecret as _;

const SYSTEMS: &[&str] = &["crm", "ascend"];
/// Few changes are many here.
const FEW: &str = "
    [policy.mass_change]
    grants_at_least = 5
    grants_percent = 0
    withdrawals_at_least = 1000
";
const PEOPLE: usize = 40;

/// A hub of people who opted out in the CRM one after another, which Ascend shows too.
struct Bench {
    hub: Hub,
    _database: Option<Database>,
}

impl Bench {
    async fn start(on_postgres: bool) -> Self {
        let database = if on_postgres {
            Some(Database::create().await)
        } else {
            None
        };
        let url = database.as_ref().map(|database| database.url.clone());
        let hub = Hub::start_in(SYSTEMS, FEW, url).await;
        (0..PEOPLE).for_each(|person| hub.fakes.person(SYSTEMS, &name(person)));
        let bench = Self {
            hub,
            _database: database,
        };
        bench.hub.settle().await;
        for person in 0..PEOPLE {
            bench.hub.pass(15 * 60);
            bench.set("crm", person, &Shown::Set);
            bench.hub.round().await;
        }
        bench.hub.settle().await;
        bench.hub.pass(2 * 3_600);
        bench
    }

    fn set(&self, system: &str, person: usize, shown: &Shown) {
        let fake = self.hub.fakes.get(system);
        fake.save(&name(person), MARKETING, shown);
    }

    fn shows(&self, system: &str, person: usize) -> Shown {
        self.hub.fakes.get(system).shown(&name(person), MARKETING)
    }

    async fn desk(&self) -> Desk {
        let checked = configured(self.hub.folder.path(), SYSTEMS, FEW);
        Desk::of(&checked, &*self.hub.store).await.unwrap()
    }

    /// Approves all that waits, which is one hold. Its number.
    async fn approve(&self) -> i64 {
        let by = Operator::new("olga", "looks fine").unwrap();
        let now = || self.hub.clock.now();
        let desk = self.desk().await;
        let filter = Filter::default();
        let told = decide(&*self.hub.store, &desk, &filter, Word::Approve, &by, &now);
        let told = told.await.unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        told[0].0.hold.id
    }

    async fn undo(&self, what: What, really: bool) -> Result<Undone, UndoError> {
        let by = Operator::new("olaf", "that was wrong").unwrap();
        let wanted = Wanted {
            what,
            system: None,
            purpose: None,
        };
        let now = || self.hub.clock.now();
        let desk = self.desk().await;
        undo(&*self.hub.store, &desk, &wanted, &by, really, &now).await
    }

    fn subject(&self, person: usize) -> SubjectRef {
        let checked = configured(self.hub.folder.path(), SYSTEMS, FEW);
        let key = SubjectKey::from_address(&format!("{}@hub.example", name(person)));
        Pseudonyms::new(checked.hash_key.expose_secret()).of(&key.unwrap())
    }

    /// Who decides, and the stamp of what they said.
    async fn verdict(&self, person: usize) -> String {
        let dossier = self.hub.store.dossier(self.subject(person)).await.unwrap();
        let dossier = dossier.unwrap();
        let verdicts = unpack_verdicts(&dossier.known.subjects[0].verdicts).unwrap();
        let verdict = verdicts.first();
        verdict.map_or_else(String::new, |verdict| {
            let system = verdict.system.as_deref().unwrap_or("operator");
            let stamp = verdict.statement().stamp;
            format!("{} by {system} {stamp}", verdict.status())
        })
    }

    async fn verdicts(&self) -> Vec<String> {
        let mut all = Vec::new();
        for person in 0..PEOPLE {
            all.push(self.verdict(person).await);
        }
        all
    }

    /// The acts of operators about the whole of something.
    async fn acts(&self) -> Vec<String> {
        let page = self.hub.store.ledger_blocks(0, 10_000).await.unwrap();
        let entries = page.iter().flat_map(|stored| {
            consentd::store::ledger::unpack(stored.block.first, &stored.entries)
        });
        let rows = entries.map(|entry| entry.unwrap());
        rows.filter(|(subject, row)| subject.is_none() && row.kind == "operator")
            .map(|(_, row)| row.body)
            .collect()
    }
}

fn name(person: usize) -> String {
    format!("p{person:03}")
}

/// Each test on both databases.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test] async fn $name() { super::$name(false).await; })*
        }
        mod on_postgres {
            $(#[tokio::test] async fn $name() { super::$name(true).await; })*
        }
    };
}

on_both! {
    r30_a_wrongly_approved_mass_change_is_undone_but_for_peoples_own_opt_outs
    r30_a_wrongly_approved_load_is_undone
    r30_everything_since_a_time_is_undone_but_no_opt_out
    r30_a_load_of_withdrawals_is_undone_and_own_withdrawals_are_not
}

async fn r30_a_wrongly_approved_mass_change_is_undone_but_for_peoples_own_opt_outs(
    on_postgres: bool,
) {
    let bench = Bench::start(on_postgres).await;
    let before = bench.verdicts().await;
    (0..10).for_each(|person| bench.set("crm", person, &Shown::Default));
    bench.hub.round().await;
    let hold = bench.approve().await;
    bench.hub.settle().await;
    assert!((0..10).all(|person| bench.shows("ascend", person) == Shown::Default));
    // One of them opts out, and somebody who has nothing to do with it opts in.
    bench.hub.pass(60);
    bench.set("ascend", 4, &Shown::Set);
    bench.set("crm", 20, &Shown::Default);
    bench.hub.settle().await;
    let own = bench.verdict(4).await;
    assert!(own.starts_with("withdrawn by ascend"), "{own}");

    let sequence = bench.hub.store.sequence();
    let plan = bench.undo(What::Hold(hold), false).await.unwrap();
    assert_eq!((plan.verdicts, plan.moved_on, plan.kept.len()), (9, 1, 0));
    assert_eq!(plan.writes.len(), 18, "in both systems");
    assert!(
        plan.writes
            .iter()
            .all(|write| write.withdrawal && write.to == Shown::Set)
    );
    assert_eq!(bench.hub.store.sequence(), sequence, "it is only shown");

    let done = bench.undo(What::Hold(hold), true).await.unwrap();
    assert_eq!(done, plan);
    bench.hub.settle().await;
    let after = bench.verdicts().await;
    for person in 0..PEOPLE {
        let is_own = person == 4 || person == 20;
        assert_eq!(
            after[person] == before[person],
            !is_own,
            "{person}: {after:?}"
        );
        let shown = if person == 20 {
            Shown::Default
        } else {
            Shown::Set
        };
        assert_eq!(bench.shows("crm", person), shown);
        assert_eq!(bench.shows("ascend", person), shown);
    }
    assert_eq!(bench.verdict(4).await, own);
    let again = bench.undo(What::Hold(hold), true).await.unwrap();
    assert_eq!((again.verdicts, again.writes.len()), (0, 0));
    let acts = bench.acts().await;
    let act = acts.last().unwrap();
    assert!(act.contains("\"undo\"") && act.contains("olaf") && act.contains("that was wrong"));
    assert!(matches!(
        bench.undo(What::Hold(1), true).await,
        Err(UndoError::NoHold(1))
    ));
}

async fn r30_a_wrongly_approved_load_is_undone(on_postgres: bool) {
    let bench = Bench::start(on_postgres).await;
    let before = bench.verdicts().await;
    (0..30).for_each(|person| bench.set("crm", person, &Shown::Default));
    bench.hub.settle().await;
    let hold = bench.approve().await;
    bench.hub.settle().await;
    assert_eq!(bench.shows("crm", 7), Shown::Default);
    let done = bench.undo(What::Hold(hold), true).await.unwrap();
    assert_eq!((done.verdicts, done.kept.len()), (30, 0));
    bench.hub.settle().await;
    assert_eq!(bench.verdicts().await, before);
    for person in 0..PEOPLE {
        assert_eq!(bench.shows("crm", person), Shown::Set);
        assert_eq!(bench.shows("ascend", person), Shown::Set);
    }
}

async fn r30_everything_since_a_time_is_undone_but_no_opt_out(on_postgres: bool) {
    let bench = Bench::start(on_postgres).await;
    bench.set("crm", 0, &Shown::Default);
    bench.hub.settle().await;
    bench.hub.pass(3_600);
    let since = bench.hub.clock.now();
    let before = bench.verdicts().await;
    bench.hub.pass(60);
    // An opt-in, an opt-out, and an opt-in that its person took back.
    bench.set("crm", 1, &Shown::Default);
    bench.set("crm", 0, &Shown::Set);
    bench.set("ascend", 2, &Shown::Default);
    bench.hub.settle().await;
    bench.set("crm", 2, &Shown::Set);
    bench.hub.settle().await;
    let later = bench.verdict(2).await;
    let done = bench.undo(What::Since(since), true).await.unwrap();
    assert_eq!((done.verdicts, done.moved_on), (1, 1), "{done:?}");
    assert_eq!(done.kept.len(), 1);
    assert_eq!(done.kept[0].subject, bench.subject(0));
    assert_eq!(done.kept[0].why, "the person opted out");
    bench.hub.settle().await;
    let after = bench.verdicts().await;
    assert_eq!(after[1], before[1]);
    assert_eq!(after[2], later);
    assert!(after[0].starts_with("withdrawn by crm"));
    assert!((0..3).all(|person| bench.shows("ascend", person) == Shown::Set));
    let nothing = bench
        .undo(What::Since(At::from_micros(i64::MAX)), true)
        .await;
    assert_eq!(nothing.unwrap(), Undone::default());
}

async fn r30_a_load_of_withdrawals_is_undone_and_own_withdrawals_are_not(on_postgres: bool) {
    let bench = Bench::start(on_postgres).await;
    // All are granted first, each by themselves.
    for person in 0..PEOPLE {
        bench.hub.pass(15 * 60);
        bench.set("crm", person, &Shown::Default);
        bench.hub.round().await;
    }
    bench.hub.settle().await;
    bench.hub.pass(3_600);
    let since = bench.hub.clock.now();
    let before = bench.verdicts().await;
    assert!(
        before
            .iter()
            .all(|verdict| verdict.starts_with("granted by crm"))
    );
    bench.hub.pass(60);
    bench.set("crm", 39, &Shown::Set);
    bench.hub.settle().await;
    bench.hub.pass(600);
    (0..30).for_each(|person| bench.set("crm", person, &Shown::Set));
    bench.hub.settle().await;
    assert_eq!(
        bench.shows("ascend", 3),
        Shown::Set,
        "withdrawals in loads count"
    );
    let done = bench.undo(What::Since(since), true).await.unwrap();
    assert_eq!((done.verdicts, done.kept.len()), (30, 1));
    assert_eq!(done.kept[0].subject, bench.subject(39));
    bench.hub.settle().await;
    let after = bench.verdicts().await;
    assert_eq!(after[..39], before[..39]);
    assert!((0..30).all(|person| bench.shows("ascend", person) == Shown::Default));
    assert_eq!(bench.shows("ascend", 39), Shown::Set);
}

#[tokio::test]
async fn r30_undoing_from_a_shell_is_shown_first_and_needs_a_reason() {
    let hub = Hub::start(SYSTEMS, FEW).await;
    let since = ["undo", "--since", "2026-01-01"];
    let shown = hub.command(&since);
    assert_eq!(
        shown.status,
        Some(0),
        "nothing turned: {}",
        shown.complained
    );
    assert!(shown.complained.contains("nothing is changed yet"));
    let unexplained = hub.command(&[&since[..], &["--apply"]].concat());
    assert_eq!(unexplained.status, Some(1));
    assert!(unexplained.complained.contains("--reason"));
    let missing = hub.command(&["undo", "--batch", "7"]);
    assert_eq!(missing.status, Some(1));
    assert!(missing.complained.contains("there is no hold 7"));
}
