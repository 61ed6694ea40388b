//! Decisions that wait for a person (R24 to R29): which do, what follows from that person's word, and
//! that a withdrawal never waits for anybody. On both databases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/fake.rs"]
#[expect(dead_code, reason = "this file uses a part of the rig")]
mod fake;
#[path = "common/hub.rs"]
#[expect(dead_code, reason = "this file uses a part of the rig")]
mod hub;
#[path = "common/postgres.rs"]
mod postgres;

use consentd::consent::guard::HoldKind;
use consentd::consent::{Polarity, Shown, SubjectKey};
use consentd::runtime::clock::Clock as _;
use consentd::store::{FeedSwitch, HELD, HoldView, SubjectRef};
use consentd::sync::erasure::{Ground, erase};
use consentd::sync::holds::{Desk, Filter, Tally, decide};
use consentd::sync::identity::Pseudonyms;
use consentd::sync::pack::{unpack_findings, unpack_verdicts};
use consentd::sync::switches::Operator;
use consentd::sync::timeline;
use consentd::sync::workbench::Word;
use hub::{Hub, MARKETING, configured};
use postgres::Database;
use secrecy::ExposeSecret as _;
use std::sync::Arc;

const SYSTEMS: &[&str] = &["crm", "ascend"];
/// Few changes are many here.
const FEW: &str = "
    [policy.mass_change]
    grants_at_least = 5
    grants_percent = 0
    withdrawals_at_least = 8
    withdrawals_percent = 0
";

/// A hub of people who opted out in the CRM, which Ascend shows too.
struct Bench {
    hub: Hub,
    _database: Option<Database>,
}

impl Bench {
    async fn start(on_postgres: bool, people: usize) -> Self {
        let database = if on_postgres {
            Some(Database::create().await)
        } else {
            None
        };
        let url = database.as_ref().map(|database| database.url.clone());
        let hub = Hub::start_in(SYSTEMS, FEW, url).await;
        for person in 0..people {
            hub.fakes.person(SYSTEMS, &name(person));
        }
        let bench = Self {
            hub,
            _database: database,
        };
        bench.hub.settle().await;
        bench
    }

    /// Everybody opts out, some minutes after another, so that nobody takes it for a mass change.
    async fn all_opted_out(on_postgres: bool, people: usize) -> Self {
        let bench = Self::start(on_postgres, people).await;
        for person in 0..people {
            bench.hub.pass(15 * 60);
            bench.set("crm", person, &Shown::Set);
            bench.hub.round().await;
        }
        bench.hub.settle().await;
        bench.hub.pass(2 * 3_600);
        assert!(bench.holds().await.is_empty());
        assert!((0..people).all(|person| bench.shows("ascend", person) == Shown::Set));
        bench
    }

    fn set(&self, system: &str, person: usize, shown: &Shown) {
        let fake = self.hub.fakes.get(system);
        fake.save(&name(person), MARKETING, shown);
    }

    fn shows(&self, system: &str, person: usize) -> Shown {
        self.hub.fakes.get(system).shown(&name(person), MARKETING)
    }

    async fn holds(&self) -> Vec<HoldView> {
        self.hub.store.holds(false, 100).await.unwrap()
    }

    /// The only hold there is.
    async fn hold(&self) -> HoldView {
        let mut holds = self.holds().await;
        assert_eq!(holds.len(), 1, "{holds:?}");
        holds.pop().unwrap()
    }

    async fn say(&self, word: Word, filter: Filter) -> Tally {
        let checked = configured(self.hub.folder.path(), SYSTEMS, FEW);
        let desk = Desk::of(&checked, &*self.hub.store).await.unwrap();
        let by = Operator::new("olga", "looked at it").unwrap();
        let now = || self.hub.clock.now();
        let told = decide(&*self.hub.store, &desk, &filter, word, &by, &now)
            .await
            .unwrap();
        told.iter().fold(Tally::default(), |all, (_, one)| Tally {
            done: all.done + one.done,
            moved_on: all.moved_on + one.moved_on,
            irrevocable: all.irrevocable + one.irrevocable,
        })
    }

    fn subject(&self, person: usize) -> SubjectRef {
        let checked = configured(self.hub.folder.path(), SYSTEMS, FEW);
        let key = format!("{}@hub.example", name(person));
        let key = SubjectKey::from_address(&key).unwrap();
        Pseudonyms::new(checked.hash_key.expose_secret()).of(&key)
    }

    /// The verdict of marketing: status, who said it, its rule.
    async fn verdict(&self, person: usize) -> String {
        let dossier = self.hub.store.dossier(self.subject(person)).await.unwrap();
        let dossier = dossier.unwrap();
        let verdicts = unpack_verdicts(&dossier.known.subjects[0].verdicts).unwrap();
        let verdict = verdicts
            .iter()
            .find(|verdict| verdict.purpose == "marketing");
        verdict.map_or_else(String::new, |verdict| {
            let system = verdict.system.as_deref().unwrap_or("operator");
            format!("{} by {system} {}", verdict.status(), verdict.contact)
        })
    }

    /// What is stored of somebody's verdicts, byte for byte.
    async fn packed(&self, person: usize) -> String {
        let dossier = self.hub.store.dossier(self.subject(person)).await.unwrap();
        dossier.unwrap().known.subjects[0].verdicts.clone()
    }

    async fn findings(&self, person: usize) -> Vec<String> {
        let dossier = self.hub.store.dossier(self.subject(person)).await.unwrap();
        let packed = dossier.unwrap().known.subjects[0].findings.clone();
        let findings = unpack_findings(&packed).unwrap();
        let kinds = findings.iter().map(|finding| finding.kind.to_string());
        kinds.collect()
    }

    async fn held_writes(&self) -> usize {
        let outbox = self.hub.store.outbox(0, 1_000).await.unwrap();
        outbox.iter().filter(|row| row.state == HELD).count()
    }

    /// Whether the check before mail has a doubt about the person's grant.
    async fn is_in_doubt(&self, person: usize) -> bool {
        let subjects = [self.subject(person)];
        let rows = self.hub.store.recipients(&subjects, &[1, 2]).await.unwrap();
        rows[0].as_ref().unwrap().held_purposes == ["marketing"]
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
    r26_a_mass_of_grants_waits_and_one_word_rejects_it
    r26_what_is_approved_goes_out_and_is_not_held_again
    r26_a_mass_change_over_several_pages_takes_in_the_first_ones
    r26_withdrawals_wait_only_in_great_masses_and_nobody_loses_their_own
    r26_a_load_of_withdrawals_can_be_rejected_and_heals
    r29_a_withdrawal_overtakes_a_held_grant
    r29_one_person_is_decided_about_alone
    r25_a_load_waits_for_nobody_heals_and_can_be_approved
    r25_a_rejected_load_is_not_asked_about_again
    r25_a_load_where_nothing_was_said_goes_on_waiting_when_a_system_is_read_anew
    r24_a_weak_grant_waits_and_an_approval_is_not_later_than_it_was
    r24_a_rejected_weak_grant_stays_rejected
    r28_who_flaps_waits_until_somebody_has_looked
    r53_the_timeline_tells_of_holds_and_of_words_about_them
    r55_whoever_is_erased_waits_for_nobody_any_more
}

async fn r26_a_mass_of_grants_waits_and_one_word_rejects_it(on_postgres: bool) {
    let bench = Bench::all_opted_out(on_postgres, 20).await;
    let mut before = Vec::new();
    for person in 0..20 {
        before.push(bench.packed(person).await);
    }
    // Thirty per cent, by one user at one stroke, too few for a load.
    (0..6).for_each(|person| bench.set("crm", person, &Shown::Default));
    assert_eq!(bench.hub.round().await + bench.hub.round().await, 0);
    let view = bench.hold().await;
    assert_eq!(view.hold.kind, HoldKind::MassChange.word());
    assert_eq!((view.waiting, view.released), (6, 0));
    assert!(!view.hold.withdrawn);
    assert_eq!(view.hold.purpose, "marketing");
    assert_eq!(bench.held_writes().await, 6);
    assert!((0..6).all(|person| bench.shows("ascend", person) == Shown::Set));
    assert!(bench.is_in_doubt(0).await && !bench.is_in_doubt(7).await);
    let figures = bench
        .hub
        .store
        .figures(bench.hub.clock.now())
        .await
        .unwrap();
    assert_eq!((figures.holds, figures.held_subjects), (1, 6));

    let tally = bench.say(Word::Reject, Filter::default()).await;
    assert_eq!((tally.done, tally.moved_on, tally.irrevocable), (6, 0, 0));
    assert!(bench.holds().await.is_empty());
    bench.hub.settle().await;
    for (person, before) in before.iter().enumerate() {
        assert_eq!(bench.shows("crm", person), Shown::Set, "{person} is healed");
        assert_eq!(bench.shows("ascend", person), Shown::Set);
        let now = bench.verdict(person).await;
        assert_eq!(now, format!("withdrawn by crm {}", name(person)));
        // The very statement of before decides again.
        let statement = |packed: &str| {
            let verdicts = unpack_verdicts(packed).unwrap();
            verdicts[0].statement()
        };
        assert_eq!(statement(&bench.packed(person).await), statement(before));
    }
    assert!(!bench.is_in_doubt(0).await);
    // A later word of a person still counts.
    bench.hub.pass(60);
    bench.set("crm", 0, &Shown::Default);
    bench.hub.settle().await;
    assert_eq!(bench.shows("ascend", 0), Shown::Default);
}

async fn r26_what_is_approved_goes_out_and_is_not_held_again(on_postgres: bool) {
    let bench = Bench::all_opted_out(on_postgres, 20).await;
    (0..6).for_each(|person| bench.set("crm", person, &Shown::Default));
    bench.hub.round().await;
    let tally = bench.say(Word::Approve, Filter::default()).await;
    assert_eq!(tally.done, 6);
    assert!(bench.holds().await.is_empty());
    bench.hub.settle().await;
    assert!((0..6).all(|person| bench.shows("ascend", person) == Shown::Default));
    assert_eq!(bench.held_writes().await, 0);
    // Those six are judged: the next few are no mass change.
    (6..10).for_each(|person| bench.set("crm", person, &Shown::Default));
    bench.hub.settle().await;
    assert!(bench.holds().await.is_empty());
    assert_eq!(bench.shows("ascend", 9), Shown::Default);
    // But two more are, since they make six.
    (10..12).for_each(|person| bench.set("crm", person, &Shown::Default));
    assert_eq!(bench.hub.round().await, 0);
    // Those that went out already are in it too; nothing of theirs waits to be written.
    assert_eq!(bench.hold().await.waiting, 6);
    assert_eq!(bench.held_writes().await, 2);
}

async fn r26_a_mass_change_over_several_pages_takes_in_the_first_ones(on_postgres: bool) {
    let bench = Bench::all_opted_out(on_postgres, 20).await;
    for person in 0..6 {
        bench.set("crm", person, &Shown::Default);
        bench.hub.pass(5);
        // Nothing is sent yet, as before `grant_settle` has passed.
        bench.hub.poll().await;
    }
    assert_eq!(bench.hold().await.waiting, 6);
    assert_eq!(bench.held_writes().await, 6);
    assert_eq!(bench.hub.emit().await, 0);
    bench.set("crm", 6, &Shown::Default);
    assert_eq!(bench.hub.round().await, 0, "it joins the hold that is open");
    assert_eq!(bench.hold().await.waiting, 7);
}

async fn r26_withdrawals_wait_only_in_great_masses_and_nobody_loses_their_own(on_postgres: bool) {
    let bench = Bench::start(on_postgres, 20).await;
    (0..8).for_each(|person| bench.set("crm", person, &Shown::Set));
    bench.hub.round().await;
    assert!(
        bench.holds().await.is_empty(),
        "eight are not more than eight"
    );
    assert!((0..8).all(|person| bench.shows("ascend", person) == Shown::Set));
    // Flips from silence are none; so they grant first, one by one.
    for person in 8..20 {
        bench.hub.pass(3_700);
        bench.set("crm", person, &Shown::Set);
        bench.hub.round().await;
        bench.set("crm", person, &Shown::Default);
        bench.hub.round().await;
    }
    bench.hub.pass(3_700);
    (8..20).for_each(|person| bench.set("crm", person, &Shown::Set));
    assert_eq!(bench.hub.round().await, 0);
    let view = bench.hold().await;
    assert!(view.hold.withdrawn);
    assert_eq!(view.waiting, 12);
    // Nobody may be mailed meanwhile.
    assert_eq!(bench.verdict(8).await, "withdrawn by crm p008");
    let tally = bench.say(Word::Reject, Filter::default()).await;
    assert_eq!(
        (tally.done, tally.irrevocable),
        (0, 12),
        "they may be their own"
    );
    bench.hub.settle().await;
    assert!((8..20).all(|person| bench.shows("ascend", person) == Shown::Set));
    assert!(bench.holds().await.is_empty());
}

async fn r26_a_load_of_withdrawals_can_be_rejected_and_heals(on_postgres: bool) {
    let bench = Bench::start(on_postgres, 40).await;
    for person in 0..40 {
        bench.hub.pass(3_700);
        bench.set("crm", person, &Shown::Set);
        bench.hub.round().await;
        bench.set("crm", person, &Shown::Default);
        bench.hub.round().await;
    }
    bench.hub.pass(3_700);
    // One of them opts out; later a job of one user opts out thirty others.
    bench.set("crm", 39, &Shown::Set);
    bench.hub.settle().await;
    bench.hub.pass(300);
    (0..30).for_each(|person| bench.set("crm", person, &Shown::Set));
    assert_eq!(bench.hub.round().await, 0);
    assert_eq!(bench.hold().await.waiting, 31);
    let tally = bench.say(Word::Reject, Filter::default()).await;
    assert_eq!((tally.done, tally.irrevocable), (30, 1));
    bench.hub.settle().await;
    for system in SYSTEMS {
        assert!((0..30).all(|person| bench.shows(system, person) == Shown::Default));
        assert_eq!(
            bench.shows(system, 39),
            Shown::Set,
            "that was their own word"
        );
    }
}

async fn r29_a_withdrawal_overtakes_a_held_grant(on_postgres: bool) {
    let bench = Bench::all_opted_out(on_postgres, 20).await;
    (0..6).for_each(|person| bench.set("crm", person, &Shown::Default));
    bench.hub.round().await;
    assert_eq!(bench.hold().await.waiting, 6);
    bench.hub.pass(60);
    bench.set("crm", 2, &Shown::Set);
    bench.hub.round().await;
    assert_eq!(
        bench.hold().await.waiting,
        5,
        "nothing of theirs waits any more"
    );
    let tally = bench.say(Word::Approve, Filter::default()).await;
    assert_eq!(tally.done, 5);
    bench.hub.settle().await;
    assert_eq!(bench.shows("ascend", 2), Shown::Set);
    assert_eq!(bench.shows("ascend", 3), Shown::Default);
    assert_eq!(bench.verdict(2).await, "withdrawn by crm p002");
}

async fn r29_one_person_is_decided_about_alone(on_postgres: bool) {
    let bench = Bench::all_opted_out(on_postgres, 20).await;
    (0..6).for_each(|person| bench.set("crm", person, &Shown::Default));
    bench.hub.round().await;
    let only = |person: usize| Filter {
        persons: Some([bench.subject(person)].into()),
        ..Filter::default()
    };
    assert_eq!(bench.say(Word::Approve, only(0)).await.done, 1);
    assert_eq!(bench.say(Word::Reject, only(1)).await.done, 1);
    assert_eq!(bench.say(Word::Reject, only(1)).await, Tally::default());
    let view = bench.hold().await;
    assert_eq!((view.waiting, view.released), (4, 1));
    bench.hub.settle().await;
    assert_eq!(bench.shows("ascend", 0), Shown::Default);
    assert_eq!(bench.shows("crm", 1), Shown::Set);
    assert_eq!(bench.shows("ascend", 2), Shown::Set);
    assert!(!bench.is_in_doubt(0).await && bench.is_in_doubt(2).await);
    // Decided anew, those who were let go stay so.
    bench.hub.fakes.get("crm").touch(&name(0));
    bench.hub.settle().await;
    assert_eq!(bench.hold().await.waiting, 4);
    assert_eq!(bench.say(Word::Reject, Filter::default()).await.done, 4);
    bench.hub.settle().await;
    assert_eq!(bench.shows("ascend", 0), Shown::Default);
    assert_eq!(bench.shows("crm", 5), Shown::Set);
    assert!(bench.holds().await.is_empty());
}

async fn r25_a_load_waits_for_nobody_heals_and_can_be_approved(on_postgres: bool) {
    let bench = Bench::all_opted_out(on_postgres, 40).await;
    // One user, one minute, thirty people: a load.
    (0..30).for_each(|person| bench.set("crm", person, &Shown::Default));
    bench.hub.settle().await;
    assert!(
        (0..40).all(|person| bench.shows("crm", person) == Shown::Set),
        "healed"
    );
    assert!((0..40).all(|person| bench.shows("ascend", person) == Shown::Set));
    let view = bench.hold().await;
    assert_eq!(view.hold.kind, HoldKind::Load.word());
    assert_eq!((view.waiting, view.hold.actor.as_str()), (30, "ann"));
    let filter = Filter {
        kind: Some(HoldKind::Load),
        ..Filter::default()
    };
    assert_eq!(bench.say(Word::Approve, filter).await.done, 30);
    assert!(bench.holds().await.is_empty());
    bench.hub.settle().await;
    for system in SYSTEMS {
        assert!((0..30).all(|person| bench.shows(system, person) == Shown::Default));
        assert_eq!(bench.shows(system, 30), Shown::Set);
    }
    assert_eq!(bench.verdict(3).await, "granted by operator olga");
    assert!(
        bench.holds().await.is_empty(),
        "an approval is no mass change"
    );
}

async fn r25_a_rejected_load_is_not_asked_about_again(on_postgres: bool) {
    let bench = Bench::all_opted_out(on_postgres, 40).await;
    (0..30).for_each(|person| bench.set("crm", person, &Shown::Default));
    bench.hub.settle().await;
    assert_eq!(bench.say(Word::Reject, Filter::default()).await.done, 30);
    assert!(bench.holds().await.is_empty());
    (0..30).for_each(|person| bench.hub.fakes.get("crm").touch(&name(person)));
    bench.hub.settle().await;
    assert!(bench.holds().await.is_empty());
    assert!((0..40).all(|person| bench.shows("ascend", person) == Shown::Set));
}

async fn r25_a_load_where_nothing_was_said_goes_on_waiting_when_a_system_is_read_anew(
    on_postgres: bool,
) {
    let mut bench = Bench::start(on_postgres, 0).await;
    // The CRM holds a box to be ticked.
    let boxes = [(MARKETING, Polarity::Permission)];
    let mut checked = bench.hub.checked.clone();
    let crm = checked
        .systems
        .iter_mut()
        .find(|system| system.name == "crm");
    crm.unwrap().carries = boxes.to_vec();
    let clock = Arc::clone(&bench.hub.clock) as Arc<dyn consentd::runtime::clock::Clock>;
    let fake = fake::Fake::new(fake::Keeps::History, &boxes, clock);
    bench.hub.fakes.put("crm", fake);
    bench.hub.go_on(&checked).await;
    (0..30).for_each(|person| bench.hub.fakes.person(SYSTEMS, &name(person)));
    bench.hub.settle().await;
    bench.hub.pass(2 * 3_600);
    (0..30).for_each(|person| bench.set("crm", person, &Shown::Set));
    bench.hub.settle().await;
    let view = bench.hold().await;
    assert_eq!((view.hold.kind.as_str(), view.waiting), ("load", 30));
    assert_eq!(bench.verdict(0).await, "", "a load cannot grant");
    // A first load is old news, but what waits goes on waiting.
    let ascend = FeedSwitch::Unload;
    let systems = bench.hub.store.systems().await.unwrap();
    let id = systems.iter().find(|(_, name)| name == "ascend").unwrap().0;
    let now = bench.hub.clock.now();
    bench
        .hub
        .store
        .set_feed_switch(id, ascend, now)
        .await
        .unwrap();
    bench.hub.pass(60);
    bench.set("ascend", 0, &Shown::Set);
    bench.set("ascend", 0, &Shown::Default);
    (0..5).for_each(|person| bench.hub.fakes.get("ascend").touch(&name(person)));
    bench.hub.settle().await;
    assert_eq!(bench.hold().await.waiting, 30);
}

/// Somebody opts in in Ascend behind everybody's back, which is only seen at first sight.
async fn with_a_weak_grant(on_postgres: bool) -> Bench {
    let bench = Bench::start(on_postgres, 1).await;
    bench.set("crm", 0, &Shown::Set);
    bench.hub.settle().await;
    // Nobody looked for three days.
    bench.hub.pass(3 * 86_400);
    bench.set("ascend", 0, &Shown::Default);
    bench.hub.settle().await;
    bench
}

async fn r24_a_weak_grant_waits_and_an_approval_is_not_later_than_it_was(on_postgres: bool) {
    let bench = with_a_weak_grant(on_postgres).await;
    assert_eq!(bench.verdict(0).await, "withdrawn by crm p000");
    assert_eq!(
        bench.shows("ascend", 0),
        Shown::Set,
        "written back meanwhile"
    );
    let view = bench.hold().await;
    assert_eq!((view.hold.kind.as_str(), view.waiting), ("weak-grant", 1));
    assert_eq!(bench.findings(0).await, ["weak-grant"]);
    assert_eq!(bench.say(Word::Approve, Filter::default()).await.done, 1);
    assert_eq!(bench.verdict(0).await, "granted by operator olga");
    assert!(bench.findings(0).await.is_empty());
    bench.hub.settle().await;
    assert_eq!(bench.shows("crm", 0), Shown::Default);
    // A withdrawal made after the grant and before the approval, heard of only now.
    let at = bench.hub.clock.now().minus(60_000_000);
    let crm = bench.hub.fakes.get("crm");
    crm.save_late(&name(0), MARKETING, &Shown::Set, at);
    bench.hub.settle().await;
    assert_eq!(bench.verdict(0).await, "withdrawn by crm p000");
    assert_eq!(bench.shows("ascend", 0), Shown::Set);
}

async fn r24_a_rejected_weak_grant_stays_rejected(on_postgres: bool) {
    let bench = with_a_weak_grant(on_postgres).await;
    assert_eq!(bench.say(Word::Reject, Filter::default()).await.done, 1);
    assert!(bench.holds().await.is_empty());
    assert!(bench.findings(0).await.is_empty());
    bench.hub.fakes.get("ascend").touch(&name(0));
    bench.hub.settle().await;
    assert!(bench.holds().await.is_empty());
    assert_eq!(bench.verdict(0).await, "withdrawn by crm p000");
}

async fn r28_who_flaps_waits_until_somebody_has_looked(on_postgres: bool) {
    let bench = Bench::start(on_postgres, 20).await;
    for _ in 0..4 {
        for shown in [Shown::Set, Shown::Default] {
            bench.hub.pass(60);
            bench.set("crm", 0, &shown);
            bench.hub.round().await;
        }
    }
    let view = bench.hold().await;
    assert_eq!((view.hold.kind.as_str(), view.waiting), ("flapping", 1));
    assert_eq!(bench.findings(0).await, ["flapping"]);
    assert_eq!(bench.shows("ascend", 0), Shown::Set);
    // It does not pass by itself.
    bench.hub.pass(2 * 3_600);
    bench.hub.fakes.get("crm").touch(&name(0));
    bench.hub.settle().await;
    assert_eq!(bench.hold().await.waiting, 1);
    assert_eq!(bench.findings(0).await, ["flapping"]);
    assert_eq!(bench.shows("ascend", 0), Shown::Set);
    assert_eq!(bench.say(Word::Approve, Filter::default()).await.done, 1);
    bench.hub.settle().await;
    assert_eq!(bench.shows("ascend", 0), Shown::Default);
    assert!(bench.holds().await.is_empty() && bench.findings(0).await.is_empty());
}

async fn r53_the_timeline_tells_of_holds_and_of_words_about_them(on_postgres: bool) {
    let bench = Bench::all_opted_out(on_postgres, 20).await;
    (0..6).for_each(|person| bench.set("crm", person, &Shown::Default));
    bench.hub.round().await;
    bench.hub.pass(60);
    bench.set("crm", 6, &Shown::Default);
    bench.hub.round().await;
    let rules = &bench.hub.engine.shared.rules;
    let of = async |person: usize| {
        let subject = bench.subject(person);
        let timeline = timeline::of(&*bench.hub.store, subject, rules)
            .await
            .unwrap();
        timeline.unwrap()
    };
    let before = of(6).await;
    let hold = bench.hold().await.hold.id;
    assert_eq!(before.now.holds.len(), 1);
    assert_eq!(before.now.holds[0].number, hold);
    assert_eq!(before.now.holds[0].purpose, "marketing");
    bench.say(Word::Reject, Filter::default()).await;
    let after = of(6).await;
    assert!(after.now.holds.is_empty());
    // Whoever was taken in when the mass change was noticed is told of as well, in its place.
    let taken_in = of(0).await;
    let told: Vec<(&str, Option<i64>)> = taken_in
        .events
        .iter()
        .filter(|event| matches!(event.kind.as_str(), "waits" | "stated"))
        .map(|event| (event.kind.as_str(), event.hold))
        .collect();
    assert_eq!(told, [("waits", Some(hold)), ("stated", Some(hold))]);
    let kinds: Vec<&str> = after
        .events
        .iter()
        .map(|event| event.kind.as_str())
        .collect();
    let place = |kind: &str| kinds.iter().rposition(|known| *known == kind).unwrap();
    assert!(place("waits") < place("stated") && place("stated") < place("verdict"));
    let stated = &after.events[place("stated")];
    assert_eq!(stated.hold, Some(hold));
    assert_eq!(stated.operator.as_deref(), Some("olga"));
    assert_eq!(stated.reason.as_deref(), Some("looked at it"));
    assert!(stated.overruled);
    assert_eq!(stated.system.as_deref(), Some("crm"));
    let kept = after
        .now
        .remembered
        .iter()
        .find(|kept| kept.why == "overruled");
    assert_eq!(kept.unwrap().contact, "p006");
    let verdict = after.events[place("verdict")].candidates.iter();
    let mut lost = verdict.filter(|candidate| candidate.rule == "R29");
    assert_eq!(lost.next().unwrap().contact, "p006");
}

async fn r55_whoever_is_erased_waits_for_nobody_any_more(on_postgres: bool) {
    let bench = Bench::all_opted_out(on_postgres, 20).await;
    (0..6).for_each(|person| bench.set("crm", person, &Shown::Default));
    bench.hub.round().await;
    let only = |persons: std::ops::Range<usize>| Filter {
        persons: Some(persons.map(|person| bench.subject(person)).collect()),
        ..Filter::default()
    };
    assert_eq!(bench.say(Word::Reject, only(1..6)).await.done, 5);
    assert_eq!(bench.hold().await.waiting, 1);
    let checked = configured(bench.hub.folder.path(), SYSTEMS, FEW);
    let desk = Desk::of(&checked, &*bench.hub.store).await.unwrap();
    let ground = Ground {
        store: &*bench.hub.store,
        pseudonyms: &Pseudonyms::new(checked.hash_key.expose_secret()),
        frame: desk.frame(bench.hub.clock.now()),
    };
    let address = SubjectKey::from_address("p000@hub.example").unwrap();
    let by = Operator::new("olga", "was asked to").unwrap();
    let report = erase(ground, &address, &by, true).await.unwrap();
    assert_eq!(report.contacts, 2);
    assert!(
        bench.holds().await.is_empty(),
        "nobody waits there any more"
    );
    assert!(
        bench
            .hub
            .store
            .dossier(bench.subject(0))
            .await
            .unwrap()
            .is_none()
    );
    let figures = bench
        .hub
        .store
        .figures(bench.hub.clock.now())
        .await
        .unwrap();
    assert_eq!((figures.holds, figures.held_subjects), (0, 0));
}
