//! From what a system shows to what a contact has said (R8–R16).

use crate::build::{
    ASCEND, EMARKETEER, LOADER, MARKETING, NEWS, OURSELVES, SALESFORCE, STORE, SUPEROFFICE, Say,
    granted, record, rules, t, withdrawn,
};
use consentd::consent::time::{MINUTE, SECOND};
use consentd::consent::{
    At, Basis, Contact, Evidence, Life, Precision, PurposeId, Reading, Rules, Shown, Stamp,
    Statement, Status, SystemId, Told, Viewpoint, observe,
};

const OUT: Shown = Shown::Set;
const IN: Shown = Shown::Default;

/// A story of readings of one contact, told in the order in which they happen.
struct Story {
    rules: Rules,
    system: SystemId,
    contact: Option<Contact>,
    known_since: Option<At>,
    in_flight: Vec<(PurposeId, Shown)>,
    stale: bool,
}

impl Story {
    fn of(system: SystemId) -> Self {
        Self {
            rules: rules(),
            system,
            contact: None,
            known_since: None,
            in_flight: Vec::new(),
            stale: false,
        }
    }

    /// Reads at a minute; the ceiling is five minutes later.
    fn read(&mut self, minute: i64, reading: &Reading) -> &mut Self {
        let Some(system) = self.rules.system(self.system) else {
            return self;
        };
        let view = Viewpoint {
            system,
            policy: &self.rules.policy,
            read_at: t(minute),
            known_since: self.known_since,
            ceiling: t(minute + 5),
            in_flight: &self.in_flight,
            stale: self.stale,
        };
        let after = observe(self.contact.as_ref(), reading, &view);
        let again = observe(Some(&after), reading, &view);
        assert_eq!(again, after, "reading the same again changes nothing");
        self.contact = Some(after);
        self
    }

    /// A write is under way.
    fn writing(&mut self, purpose: PurposeId, shown: Shown) -> &mut Self {
        self.in_flight = vec![(purpose, shown)];
        self
    }

    /// It was acknowledged: the contact is known to show it.
    fn acknowledged(&mut self) -> &mut Self {
        for (purpose, shown) in std::mem::take(&mut self.in_flight) {
            if let Some(contact) = &mut self.contact {
                contact.record.entry(purpose).wrote(shown);
            }
        }
        self
    }

    fn said(&self, purpose: PurposeId) -> Vec<Statement> {
        self.contact
            .as_ref()
            .and_then(|contact| contact.record.get(purpose))
            .map_or_else(Vec::new, |holding| holding.said().cloned().collect())
    }

    fn shown(&self, purpose: PurposeId) -> Option<&Shown> {
        self.contact.as_ref()?.record.shown(purpose)
    }

    fn is_future_stamped(&self) -> bool {
        self.contact
            .as_ref()
            .is_some_and(|contact| contact.record.future_stamped)
    }
}

/// The contact's own row, created long ago and modified at that minute, to the microsecond.
fn row(modified: i64, values: &[(PurposeId, Shown)]) -> Reading {
    Reading {
        contact: "a".to_owned(),
        whole: true,
        created: Some(t(-1000)),
        modified: Some(t(modified)),
        precision: Some(Precision::Micros),
        values: values.to_vec(),
        ..Reading::default()
    }
}

fn told(purpose: PurposeId, shown: Shown, at: At, evidence: Evidence) -> Told {
    Told {
        purpose,
        shown,
        at,
        precision: Precision::Micros,
        evidence,
        actor: None,
    }
}

fn history(purpose: PurposeId, shown: Shown, minute: i64, actor: &str) -> Told {
    Told {
        actor: Some(actor.to_owned()),
        ..told(purpose, shown, t(minute), Evidence::History)
    }
}

fn explicit(purpose: PurposeId, status: Status, at: At) -> Told {
    told(purpose, record(status, None), at, Evidence::Explicit)
}

fn with(mut reading: Reading, rows: &[Told]) -> Reading {
    reading.told.extend_from_slice(rows);
    reading
}

fn by(mut reading: Reading, actor: &str) -> Reading {
    reading.modified_by = Some(actor.to_owned());
    reading
}

/// History rows that came without their contact.
fn rows_alone(rows: &[Told]) -> Reading {
    Reading {
        contact: "a".to_owned(),
        told: rows.to_vec(),
        ..Reading::default()
    }
}

#[test]
fn r12_a_default_value_at_first_sight_is_silence() {
    let rows = [
        (
            "an opt-out flag never seen set",
            SALESFORCE,
            MARKETING,
            IN,
            vec![],
        ),
        ("a box never seen ticked", SALESFORCE, NEWS, IN, vec![]),
        (
            "no consent record",
            SUPEROFFICE,
            STORE,
            Shown::Default,
            vec![],
        ),
        (
            "an opt-out flag found set was set since creation",
            SALESFORCE,
            MARKETING,
            OUT,
            vec![withdrawn(0).found_between(-1000, 10)],
        ),
        (
            "a box found ticked was ticked since creation",
            SALESFORCE,
            NEWS,
            Shown::Set,
            vec![granted(0).found_between(-1000, 10)],
        ),
        (
            "a record found without a time",
            SUPEROFFICE,
            STORE,
            record(Status::Withdrawn, None),
            vec![withdrawn(0).found_between(-1000, 10)],
        ),
        (
            "a purpose that the system does not carry",
            ASCEND,
            NEWS,
            Shown::Set,
            vec![],
        ),
    ];
    for (sentence, system, purpose, shown, said) in rows {
        let mut story = Story::of(system);
        story.read(20, &row(10, &[(purpose, shown)]));
        assert_eq!(story.said(purpose), said, "{sentence}");
    }
}

#[test]
fn r12_a_change_seen_to_the_default_speaks() {
    let rows = [
        (
            "clearing an opt-out grants",
            SALESFORCE,
            MARKETING,
            OUT,
            IN,
            Status::Granted,
        ),
        (
            "setting it withdraws",
            SALESFORCE,
            MARKETING,
            IN,
            OUT,
            Status::Withdrawn,
        ),
        (
            "ticking a box grants",
            SALESFORCE,
            NEWS,
            IN,
            Shown::Set,
            Status::Granted,
        ),
        (
            "unticking it withdraws",
            SALESFORCE,
            NEWS,
            Shown::Set,
            IN,
            Status::Withdrawn,
        ),
        (
            "removing a consent record withdraws",
            SUPEROFFICE,
            STORE,
            record(Status::Granted, None),
            Shown::Default,
            Status::Withdrawn,
        ),
    ];
    for (sentence, system, purpose, from, to, status) in rows {
        let mut story = Story::of(system);
        story
            .read(20, &row(10, &[(purpose, from)]))
            .read(40, &row(30, &[(purpose, to)]));
        let expected = match status {
            Status::Granted => granted(0).seen_after(20, 30),
            Status::Withdrawn => withdrawn(0).seen_after(20, 30),
        };
        assert!(
            story.said(purpose).contains(&expected),
            "{sentence}: {:?}",
            story.said(purpose)
        );
    }
}

#[test]
fn r10_a_contact_created_opted_out_withdrew_at_creation() {
    let mut story = Story::of(SALESFORCE);
    let mut reading = row(10, &[(MARKETING, OUT)]);
    reading.created = Some(t(10));
    story.read(20, &reading);
    assert_eq!(story.said(MARKETING), [withdrawn(0).found_between(10, 10)]);
}

#[test]
fn r10_unlikely_creation_times_do_no_harm() {
    let rows = [
        ("none", None, At::FIRST_PLAUSIBLE),
        (
            "the null date",
            Some(At::from_micros(-62_135_596_800 * SECOND)),
            At::FIRST_PLAUSIBLE,
        ),
        ("after the modification", Some(t(500)), t(10)),
    ];
    for (sentence, created, earliest) in rows {
        let mut story = Story::of(SALESFORCE);
        let mut reading = row(10, &[(MARKETING, OUT)]);
        reading.created = created;
        story.read(20, &reading);
        let stamp = story.said(MARKETING)[0].stamp;
        assert_eq!(
            (stamp.earliest(), stamp.latest()),
            (earliest, t(10)),
            "{sentence}"
        );
    }
}

#[test]
fn r10_a_change_is_bracketed_by_what_was_read_before() {
    let mut story = Story::of(SALESFORCE);
    story.read(20, &row(10, &[(MARKETING, IN)]));
    story.known_since = Some(t(50));
    story.read(70, &row(60, &[(MARKETING, OUT)]));
    assert_eq!(
        story.said(MARKETING),
        [withdrawn(0).seen_after(50, 60)],
        "every change up to 50 had been read, though this contact was read at 20"
    );
    story.known_since = Some(t(40));
    story.read(90, &row(80, &[(MARKETING, IN)]));
    assert_eq!(
        story.said(MARKETING)[0],
        granted(0).seen_after(70, 80),
        "this contact was read at 70, later than the rest"
    );
}

/// Two looks at a system that tells no times, a value between them and another after them.
#[test]
fn r11_an_opt_in_seen_after_the_look_that_showed_an_opt_out_is_later_than_it() {
    let mut story = Story::of(SALESFORCE);
    story
        .read(20, &row(20, &[(MARKETING, IN)]))
        .read(40, &row(40, &[(MARKETING, OUT)]))
        .read(60, &row(60, &[(MARKETING, IN)]));
    let said = story.said(MARKETING);
    let find = |status| said.iter().find(|one| one.status == status).unwrap();
    let (out, back) = (find(Status::Withdrawn), find(Status::Granted));
    assert!(
        back.stamp.earliest() > out.stamp.latest(),
        "or nobody could ever be opted in there: {said:?}"
    );
}

#[test]
fn r10_changes_between_reads_too_far_apart_are_found_not_seen() {
    let day = 24 * 60;
    let rows = [
        ("a day apart is seen", day, Evidence::Observed),
        ("a minute more is found", day + 1, Evidence::Baseline),
    ];
    for (sentence, apart, evidence) in rows {
        let mut story = Story::of(SALESFORCE);
        story
            .read(20, &row(10, &[(MARKETING, OUT)]))
            .read(20 + apart + 5, &row(20 + apart, &[(MARKETING, IN)]));
        let grant = story
            .said(MARKETING)
            .into_iter()
            .find(|statement| statement.status == Status::Granted)
            .map(|statement| statement.evidence);
        assert_eq!(grant, Some(evidence), "{sentence}");
    }
}

#[test]
fn r10_a_transaction_that_committed_late_is_bracketed_by_its_own_time() {
    for (sentence, from, to, expected) in [
        (
            "a grant ranks by its row's time",
            OUT,
            IN,
            granted(0).seen_between(15, 40),
        ),
        (
            "a withdrawal by when it was seen",
            IN,
            OUT,
            withdrawn(0).seen_between(15, 40),
        ),
    ] {
        let mut story = Story::of(SALESFORCE);
        story
            .read(20, &row(10, &[(MARKETING, from)]))
            .read(40, &row(15, &[(MARKETING, to)]));
        assert!(story.said(MARKETING).contains(&expected), "{sentence}");
    }
}

#[test]
fn r11_a_change_in_the_second_of_the_last_read_ranks_from_that_seconds_start() {
    let mut story = Story::of(SALESFORCE);
    let mut before = row(10, &[(MARKETING, OUT)]);
    before.precision = None;
    story.read(20, &before);
    story.known_since = Some(t(30).plus(SECOND / 2));
    let mut after = row(30, &[(MARKETING, IN)]);
    after.precision = None;
    story.read(40, &after);
    let stamp = Stamp::between(t(30), t(30).plus(SECOND - 1));
    assert!(
        story
            .said(MARKETING)
            .iter()
            .any(|statement| statement.stamp == stamp)
    );
}

#[test]
fn r13_an_edit_of_another_field_leaves_stamps_alone() {
    let mut story = Story::of(SALESFORCE);
    story.read(20, &row(10, &[(MARKETING, OUT)]));
    let before = story.said(MARKETING);
    story.read(40, &row(30, &[(MARKETING, OUT)]));
    assert_eq!(story.said(MARKETING), before);
}

#[test]
fn r10_history_tells_better_than_sight() {
    let rows = [
        (
            "rows that come with the contact",
            vec![with(
                row(30, &[(MARKETING, OUT)]),
                &[history(MARKETING, OUT, 5, "ann")],
            )],
        ),
        (
            "rows that come after it",
            vec![
                row(30, &[(MARKETING, OUT)]),
                rows_alone(&[history(MARKETING, OUT, 5, "ann")]),
            ],
        ),
        (
            "rows that come before it",
            vec![
                rows_alone(&[history(MARKETING, OUT, 5, "ann")]),
                row(30, &[(MARKETING, OUT)]),
            ],
        ),
    ];
    for (sentence, readings) in rows {
        let mut story = Story::of(SALESFORCE);
        for (minute, reading) in (40..).zip(&readings) {
            story.read(minute, reading);
        }
        assert_eq!(
            story.said(MARKETING),
            [withdrawn(5).by("ann")],
            "{sentence}"
        );
    }
}

#[test]
fn r10_a_change_that_history_contradicts_is_not_yet_told() {
    let mut story = Story::of(SALESFORCE);
    story.read(0, &row(-10, &[(MARKETING, IN)])).read(
        30,
        &with(
            row(29, &[(MARKETING, OUT)]),
            &[
                history(MARKETING, OUT, 5, "ann"),
                history(MARKETING, IN, 10, "ann"),
            ],
        ),
    );
    assert_eq!(
        story.said(MARKETING)[0],
        withdrawn(0).seen_after(0, 29),
        "it shows an opt-out after the last opt-in that history tells of"
    );
    story.read(31, &rows_alone(&[history(MARKETING, OUT, 20, "ann")]));
    assert_eq!(
        story.said(MARKETING)[0],
        withdrawn(20).by("ann"),
        "now it is told"
    );
}

#[test]
fn r10_an_opt_out_found_against_old_history_counts() {
    let mut story = Story::of(SALESFORCE);
    story.read(
        30,
        &with(
            row(20, &[(MARKETING, OUT)]),
            &[
                history(MARKETING, OUT, -500, "ann"),
                history(MARKETING, IN, -400, "ann"),
            ],
        ),
    );
    assert_eq!(
        story.said(MARKETING)[0],
        withdrawn(0).found_between(-1000, 20)
    );
}

#[test]
fn r08_rows_without_their_contact_tell_what_it_shows() {
    let mut story = Story::of(SALESFORCE);
    story.read(20, &row(10, &[(MARKETING, IN)]));
    story.read(40, &rows_alone(&[history(MARKETING, OUT, 30, "ann")]));
    assert_eq!(
        story.shown(MARKETING),
        Some(&OUT),
        "a later row is what it shows now"
    );
    story.read(41, &rows_alone(&[history(MARKETING, IN, 25, "ann")]));
    assert_eq!(
        story.shown(MARKETING),
        Some(&OUT),
        "a row that came late is not"
    );
    story.read(42, &rows_alone(&[history(MARKETING, IN, 5, "ann")]));
    assert_eq!(
        story.shown(MARKETING),
        Some(&OUT),
        "nor is one from before the last read"
    );
    story.read(50, &row(30, &[(MARKETING, OUT)]));
    assert_eq!(story.said(MARKETING)[0], withdrawn(30).by("ann"));
    story.read(
        60,
        &rows_alone(&[
            history(MARKETING, IN, 55, "ann"),
            history(MARKETING, OUT, 54, "ann"),
        ]),
    );
    assert_eq!(story.shown(MARKETING), Some(&IN), "of several the last");
}

/// A consent record that came without its contact.
fn record_alone(status: Status, at: At) -> Reading {
    Reading {
        life: Life::Deleted,
        ..rows_alone(&[explicit(STORE, status, at)])
    }
}

#[test]
fn r08_a_consent_record_without_a_contact_is_kept_until_the_contact_comes() {
    let mut story = Story::of(EMARKETEER);
    story.read(20, &record_alone(Status::Withdrawn, t(10)));
    let known = story.contact.clone().expect("it is known");
    assert_eq!(known.life, Life::Deleted, "there is no contact");
    assert_eq!(story.said(STORE), [withdrawn(10).explicit()]);
    story.read(30, &row(25, &[]));
    let known = story.contact.clone().expect("it is known");
    assert_eq!(known.life, Life::Live);
    assert_eq!(
        story.shown(STORE),
        Some(&record(Status::Withdrawn, None)),
        "a row that carries no consent hides none"
    );
    story.read(50, &record_alone(Status::Granted, t(40)));
    let known = story.contact.clone().expect("it is known");
    assert_eq!(
        known.life,
        Life::Live,
        "a further record says nothing of it"
    );
    assert_eq!(story.said(STORE)[0], granted(40).explicit());
}

#[test]
fn r12_a_contact_without_any_consent_record_is_silent() {
    let mut story = Story::of(EMARKETEER);
    story.read(20, &row(10, &[]));
    assert_eq!(story.shown(STORE), Some(&Shown::Default));
    assert_eq!(story.said(STORE), []);
    let mut story = Story::of(SALESFORCE);
    story.read(20, &row(10, &[]));
    assert_eq!(story.shown(MARKETING), None, "a flag was not looked at");
}

#[test]
fn r08_a_consent_record_that_is_told_again_is_no_news() {
    let mut story = Story::of(EMARKETEER);
    story
        .read(20, &row(10, &[]))
        .read(20, &record_alone(Status::Granted, t(15)))
        .writing(STORE, record(Status::Withdrawn, None))
        .acknowledged()
        .read(40, &record_alone(Status::Granted, t(15)));
    assert_eq!(
        story.shown(STORE),
        Some(&record(Status::Withdrawn, None)),
        "we wrote after it"
    );
    story.read(50, &record_alone(Status::Granted, t(45)));
    assert_eq!(story.shown(STORE), Some(&record(Status::Granted, None)));
}

#[test]
fn r08_a_consent_record_of_the_second_of_the_last_look_is_news() {
    let mut story = Story::of(EMARKETEER);
    let whole = row(10, &[(STORE, Shown::Default)]);
    story.read(20, &whole);
    let just_before = At::from_micros(t(20).micros() - SECOND);
    story.read(21, &record_alone(Status::Withdrawn, just_before));
    assert_eq!(story.shown(STORE), Some(&record(Status::Withdrawn, None)));
}

#[test]
fn r12_a_consent_record_that_vanished_is_a_withdrawal() {
    let mut story = Story::of(EMARKETEER);
    story
        .read(20, &record_alone(Status::Granted, t(10)))
        .read(30, &row(25, &[]))
        .read(40, &row(35, &[(STORE, Shown::Default)]));
    assert_eq!(story.said(STORE)[0].status, Status::Withdrawn);
}

#[test]
fn r15_our_own_write_is_an_echo() {
    let mut story = Story::of(SALESFORCE);
    story
        .read(20, &row(10, &[(MARKETING, IN)]))
        .writing(MARKETING, OUT)
        .read(40, &by(row(30, &[(MARKETING, OUT)]), "ann"));
    assert_eq!(
        story.said(MARKETING),
        [],
        "a value under way, whoever seems to have set it"
    );
    assert_eq!(
        story.shown(MARKETING),
        Some(&OUT),
        "but it is what the contact shows"
    );

    let mut story = Story::of(SALESFORCE);
    story
        .read(20, &row(10, &[(MARKETING, OUT)]))
        .read(40, &by(row(30, &[(MARKETING, IN)]), OURSELVES));
    assert_eq!(
        story.said(MARKETING),
        [withdrawn(0).found_between(-1000, 10)],
        "a grant by our own user, also after a restart"
    );

    let mut story = Story::of(SALESFORCE);
    story.read(20, &row(10, &[(MARKETING, IN)])).read(
        40,
        &by(
            with(
                row(30, &[(MARKETING, OUT)]),
                &[history(MARKETING, OUT, 30, OURSELVES)],
            ),
            OURSELVES,
        ),
    );
    assert_eq!(
        story.said(MARKETING),
        [],
        "a withdrawal whose history row is ours"
    );

    let mut story = Story::of(SALESFORCE);
    story
        .read(20, &row(10, &[(MARKETING, IN)]))
        .writing(MARKETING, OUT)
        .acknowledged()
        .read(40, &row(30, &[(MARKETING, OUT)]));
    assert_eq!(story.said(MARKETING), [], "what was acknowledged is known");
}

#[test]
fn r15_a_withdrawal_hidden_behind_our_own_edit_counts() {
    let mut story = Story::of(SALESFORCE);
    story
        .read(20, &row(10, &[(MARKETING, IN), (NEWS, Shown::Set)]))
        .writing(MARKETING, IN)
        .read(40, &by(row(30, &[(MARKETING, IN), (NEWS, IN)]), OURSELVES));
    assert_eq!(
        story.said(NEWS)[0],
        withdrawn(0).seen_after(20, 30),
        "a person unticked the box before our write of another field"
    );
}

#[test]
fn r15_a_true_change_after_our_write_speaks() {
    let mut story = Story::of(SALESFORCE);
    story
        .read(20, &row(10, &[(MARKETING, IN)]))
        .writing(MARKETING, OUT)
        .read(40, &row(30, &[(MARKETING, OUT)]))
        .acknowledged()
        .read(60, &by(row(50, &[(MARKETING, IN)]), "ann"));
    assert_eq!(
        story.said(MARKETING),
        [granted(0).seen_after(40, 50).by("ann")]
    );
}

#[test]
fn r15_an_echo_stamped_by_the_targets_clock_does_not_advance() {
    let set = |status, minute| {
        with(
            row(minute, &[(STORE, record(status, None))]),
            &[explicit(STORE, status, t(minute))],
        )
    };
    let mut story = Story::of(EMARKETEER);
    story
        .read(20, &set(Status::Granted, 10))
        .writing(STORE, record(Status::Withdrawn, None))
        .read(40, &set(Status::Withdrawn, 35));
    assert_eq!(
        story.said(STORE),
        [granted(10).explicit()],
        "while under way"
    );
    story.acknowledged().read(60, &set(Status::Withdrawn, 35));
    assert_eq!(
        story.said(STORE),
        [granted(10).explicit()],
        "and once acknowledged"
    );
    story.read(80, &set(Status::Granted, 70));
    assert_eq!(
        story.said(STORE)[0],
        granted(70).explicit(),
        "a true change counts"
    );
    story.read(100, &set(Status::Granted, 90));
    assert_eq!(
        story.said(STORE)[0],
        granted(90).explicit(),
        "and so does saying it again"
    );
}

/// The contact's own row with a record on that basis, stamped by the system at that minute.
fn on(basis: Basis, minute: i64) -> Reading {
    let shown = record(Status::Granted, Some(basis));
    with(
        row(minute, &[(STORE, shown.clone())]),
        &[told(STORE, shown, t(minute), Evidence::Explicit)],
    )
}

#[test]
fn r15_an_echo_of_another_basis_does_not_speak() {
    let mut story = Story::of(EMARKETEER);
    story
        .read(20, &on(Basis::Consent, 10))
        .writing(STORE, record(Status::Granted, Some(Basis::Contract)))
        .acknowledged()
        .read(40, &on(Basis::Contract, 35))
        .read(60, &on(Basis::Contract, 35));
    let consent = granted(10).explicit().on(Basis::Consent);
    assert_eq!(story.said(STORE), std::slice::from_ref(&consent));
    story.read(80, &on(Basis::Contract, 70));
    assert_eq!(
        story.said(STORE),
        [granted(70).explicit().on(Basis::Contract), consent],
        "stamped anew without us, it is a word"
    );
}

#[test]
fn r15_an_echo_that_agrees_with_the_contacts_own_last_word_does_not_advance_it() {
    let withdrawn = || record(Status::Withdrawn, None);
    let granted_on = || record(Status::Granted, Some(Basis::Consent));
    let stamped_out = |minute| {
        with(
            row(minute, &[(STORE, withdrawn())]),
            &[told(STORE, withdrawn(), t(minute), Evidence::Explicit)],
        )
    };
    // It granted; we wrote another system's withdrawal and then its later grant.
    let mut story = Story::of(EMARKETEER);
    story
        .read(20, &on(Basis::Consent, 10))
        .writing(STORE, withdrawn())
        .acknowledged()
        .read(40, &stamped_out(35))
        .writing(STORE, granted_on())
        .acknowledged()
        .read(60, &on(Basis::Consent, 55));
    let own = [granted(10).explicit().on(Basis::Consent)];
    assert_eq!(story.said(STORE), own, "only the grant of its own stands");
    story.stale = true;
    story.read(62, &stamped_out(35));
    assert_eq!(
        story.said(STORE),
        own,
        "nor does an older echo that a slow page tells again"
    );
    story.read(64, &stamped_out(50));
    assert_eq!(
        story.said(STORE)[0],
        crate::build::withdrawn(50).explicit(),
        "but a withdrawal that our own write hid is heard"
    );
}

#[test]
fn r15_a_word_after_our_write_is_none_of_ours() {
    let granted_on = || record(Status::Granted, Some(Basis::Consent));
    let mut story = Story::of(EMARKETEER);
    story
        .read(
            20,
            &with(
                row(10, &[(STORE, record(Status::Withdrawn, None))]),
                &[explicit(STORE, Status::Withdrawn, t(10))],
            ),
        )
        .writing(STORE, granted_on())
        .acknowledged()
        .read(
            40,
            &with(
                row(38, &[(STORE, record(Status::Withdrawn, None))]),
                &[explicit(STORE, Status::Withdrawn, t(38))],
            ),
        )
        .read(60, &on(Basis::Consent, 55));
    assert_eq!(
        story.said(STORE)[..2],
        [
            granted(55).explicit().on(Basis::Consent),
            withdrawn(38).explicit()
        ],
        "the write was overwritten before it was read back, so its stamp never comes"
    );
}

#[test]
fn r15_an_echo_from_a_fast_clock_is_known_again() {
    let withdrawn = || record(Status::Withdrawn, None);
    let ahead = |minute| {
        with(
            row(minute, &[(STORE, withdrawn())]),
            &[told(STORE, withdrawn(), t(500), Evidence::Explicit)],
        )
    };
    let mut story = Story::of(EMARKETEER);
    story
        .read(20, &on(Basis::Consent, 10))
        .writing(STORE, withdrawn())
        .acknowledged()
        .read(40, &ahead(35))
        .read(60, &ahead(35))
        .read(600, &ahead(35));
    assert_eq!(
        story.said(STORE),
        [granted(10).explicit().on(Basis::Consent)]
    );
}

#[test]
fn r15_stale_readings_show_nothing_new() {
    let mut story = Story::of(SALESFORCE);
    story
        .read(20, &row(10, &[(MARKETING, OUT)]))
        .writing(MARKETING, IN)
        .acknowledged();
    story.stale = true;
    story.read(
        30,
        &with(
            row(25, &[(MARKETING, OUT)]),
            &[history(NEWS, Shown::Set, 24, "ann")],
        ),
    );
    assert_eq!(story.shown(MARKETING), Some(&IN));
    assert_eq!(
        story.said(MARKETING),
        [withdrawn(0).found_between(-1000, 10)]
    );
    assert_eq!(
        story.said(NEWS),
        [granted(24).by("ann")],
        "what the system dates is heard"
    );
}

#[test]
fn r16_a_stamp_in_the_future_is_capped_where_it_was_first_seen() {
    let year_9999 = At::from_micros(253_402_214_400 * SECOND);
    let set = |status, at: At| {
        with(
            row(10, &[(STORE, record(status, None))]),
            &[explicit(STORE, status, at)],
        )
    };
    let rows = [
        ("within the bound it is believed", t(25), t(25), false),
        (
            "beyond it the reading's time counts",
            t(25).plus(1),
            t(20),
            true,
        ),
        ("in the year 9999 too", year_9999, t(20), true),
    ];
    for (sentence, at, believed, listed) in rows {
        let mut story = Story::of(EMARKETEER);
        story.read(20, &set(Status::Granted, at));
        assert_eq!(
            story.said(STORE)[0].stamp.earliest(),
            believed,
            "{sentence}"
        );
        assert_eq!(story.is_future_stamped(), listed, "{sentence}");
        story
            .read(21, &set(Status::Granted, at))
            .read(5000, &set(Status::Granted, at));
        assert_eq!(
            story.said(STORE).len(),
            1,
            "{sentence}: and telling it again adds nothing"
        );
    }
    let mut story = Story::of(EMARKETEER);
    story
        .read(20, &set(Status::Granted, year_9999))
        .read(40, &set(Status::Withdrawn, year_9999));
    assert_eq!(
        story.said(STORE)[0].status,
        Status::Withdrawn,
        "a change of value is another act"
    );
    assert_eq!(story.said(STORE)[0].stamp.latest(), t(40));
}

#[test]
fn r16_a_modification_in_the_future_is_capped_and_listed() {
    let mut story = Story::of(SALESFORCE);
    story
        .read(20, &row(10, &[(MARKETING, IN)]))
        .read(40, &row(4000, &[(MARKETING, OUT)]));
    assert_eq!(story.said(MARKETING), [withdrawn(0).seen_after(20, 40)]);
    assert!(story.is_future_stamped());
    let mut story = Story::of(SALESFORCE);
    story.read(20, &row(4000, &[(MARKETING, IN)]));
    assert!(
        !story.is_future_stamped(),
        "a time that stamps nothing is nobody's concern"
    );
}

#[test]
fn r16_impossible_stamps_are_no_stamps() {
    let rows = [
        ("the null date", At::from_micros(-62_135_596_800 * SECOND)),
        ("the epoch", At::from_micros(0)),
        ("the last instant of 1989", At::FIRST_PLAUSIBLE.minus(1)),
    ];
    for (sentence, at) in rows {
        let mut story = Story::of(SUPEROFFICE);
        let set = |minute, status| {
            with(
                row(minute, &[(STORE, record(status, None))]),
                &[explicit(STORE, status, at)],
            )
        };
        story.read(20, &set(10, Status::Granted));
        assert_eq!(
            story.said(STORE),
            [granted(0).found_between(-1000, 10)],
            "{sentence}: found at first sight"
        );
        story.read(40, &set(30, Status::Withdrawn));
        assert_eq!(
            story.said(STORE)[0],
            withdrawn(0).seen_after(20, 30),
            "{sentence}: seen to change"
        );
        assert!(!story.is_future_stamped());
    }
}

#[test]
fn r16_a_modification_that_is_impossible_falls_back_to_the_reading() {
    for (sentence, modified) in [
        ("none", None),
        ("the null date", Some(At::from_micros(i64::MIN))),
    ] {
        let mut story = Story::of(SALESFORCE);
        let mut reading = row(0, &[(MARKETING, OUT)]);
        reading.modified = modified;
        story.read(20, &reading);
        assert_eq!(
            story.said(MARKETING),
            [withdrawn(0).found_between(-1000, 20)],
            "{sentence}"
        );
    }
}

#[test]
fn r10_a_stored_time_is_the_statement() {
    let set = |modified, status, stored| {
        with(
            row(modified, &[(STORE, record(status, None))]),
            &[explicit(STORE, status, t(stored))],
        )
    };
    let mut story = Story::of(SUPEROFFICE);
    story.read(20, &set(10, Status::Granted, -2000));
    assert_eq!(
        story.said(STORE),
        [granted(-2000).explicit()],
        "also one older than the contact, and nothing is found beside it"
    );
    story.read(40, &set(30, Status::Withdrawn, -1500));
    assert_eq!(
        story.said(STORE)[0],
        withdrawn(0).seen_after(20, 30),
        "a withdrawal whose stored time lags is believed to be new"
    );
    story.read(60, &set(50, Status::Granted, -1200));
    assert!(
        story
            .said(STORE)
            .iter()
            .all(|statement| statement.status == Status::Withdrawn || statement.rank() < t(0)),
        "a grant whose stored time lags is only as new as that"
    );
}

#[test]
fn r21_a_withdrawal_carries_no_basis() {
    let mut story = Story::of(SUPEROFFICE);
    let shown = record(Status::Withdrawn, Some(Basis::Contract));
    story.read(20, &row(10, &[(STORE, shown)]));
    assert_eq!(story.said(STORE)[0].basis, None);
    let mut story = Story::of(SUPEROFFICE);
    let shown = record(Status::Granted, Some(Basis::Contract));
    story.read(20, &row(10, &[(STORE, shown)]));
    assert_eq!(story.said(STORE)[0].basis, Some(Basis::Contract));
}

#[test]
fn r25_statements_name_who_made_them() {
    let mut story = Story::of(SALESFORCE);
    story
        .read(20, &row(10, &[(MARKETING, OUT)]))
        .read(40, &by(row(30, &[(MARKETING, IN)]), LOADER));
    assert!(
        story
            .said(MARKETING)
            .iter()
            .any(|statement| statement.actor.as_deref() == Some(LOADER))
    );
}

#[test]
fn r08_life_follows_the_reading_and_statements_stay() {
    let mut story = Story::of(SALESFORCE);
    story.read(20, &row(10, &[(MARKETING, OUT)]));
    let merged = Life::Merged {
        into: "b".to_owned(),
    };
    for (minute, life) in [(30, Life::Deleted), (40, Life::Live), (50, merged)] {
        let mut reading = row(minute, &[]);
        reading.life = life.clone();
        story.read(minute, &reading);
        assert_eq!(story.contact.as_ref().unwrap().life, life);
        assert_eq!(
            story.said(MARKETING),
            [withdrawn(0).found_between(-1000, 10)]
        );
    }
    let mut reading = row(60, &[]);
    reading.created = None;
    story.read(60, &reading);
    assert_eq!(
        story.contact.as_ref().unwrap().created,
        Some(t(-1000)),
        "age is not forgotten"
    );
}

#[test]
fn r13_reading_an_unchanged_contact_changes_nothing() {
    let mut story = Story::of(SALESFORCE);
    let reading = row(10, &[(MARKETING, OUT), (NEWS, IN)]);
    story.read(20, &reading);
    let before = story.contact.clone();
    story.read(90, &reading);
    assert_eq!(story.contact, before, "not even the time of the reading");
}

#[test]
fn r10_a_purpose_carried_from_now_on_is_seen_for_the_first_time() {
    let mut story = Story::of(SALESFORCE);
    story
        .read(20, &row(10, &[(MARKETING, IN)]))
        .read(40, &row(30, &[(MARKETING, IN), (NEWS, Shown::Set)]));
    assert_eq!(story.said(NEWS), [granted(0).found_between(-1000, 30)]);
}

#[test]
fn r09_whole_seconds_rank_withdrawals_by_their_end() {
    let mut story = Story::of(SALESFORCE);
    let mut told = history(MARKETING, OUT, 5, "ann");
    told.precision = Precision::Seconds;
    story.read(20, &rows_alone(&[told]));
    assert_eq!(story.said(MARKETING)[0].rank(), t(5).plus(SECOND - 1));
    assert_eq!(t(6).since(t(5)), MINUTE);
}

/// What a file tells of a flag at that minute, with the time at which the system says it was set.
fn extract(as_of: i64, shown: &Shown, set: i64) -> Reading {
    let reading = Reading {
        as_of: Some(t(as_of)),
        ..by(row(as_of, &[(MARKETING, shown.clone())]), "extract")
    };
    with(
        reading,
        &[history(MARKETING, shown.clone(), set, "extract")],
    )
}

#[test]
fn r15_a_value_that_was_handed_over_is_an_echo_however_the_system_dates_it() {
    let mut story = Story::of(ASCEND);
    story.read(0, &row(0, &[(MARKETING, IN)]));
    story
        .writing(MARKETING, OUT)
        .read(20, &extract(20, &OUT, 15));
    assert_eq!(story.said(MARKETING), [], "while it is under way");
    assert_eq!(story.shown(MARKETING), Some(&OUT));
    story.in_flight.clear();
    story.read(40, &extract(40, &OUT, 15));
    assert_eq!(story.said(MARKETING), [], "and whenever it is told again");
    story.read(60, &extract(60, &IN, 50));
    let said = story.said(MARKETING);
    assert_eq!(said.len(), 1, "somebody changed it afterwards: {said:?}");
    assert_eq!(
        (said[0].status, said[0].evidence),
        (Status::Granted, Evidence::History)
    );
    story.read(80, &extract(80, &OUT, 70));
    assert_eq!(
        story.said(MARKETING).len(),
        2,
        "and back, which is not ours any more"
    );
}

#[test]
fn r15_without_a_write_a_dated_value_of_a_file_is_a_word() {
    let mut story = Story::of(ASCEND);
    story.read(0, &row(0, &[(MARKETING, IN)]));
    story.read(20, &extract(20, &OUT, 15));
    let said = story.said(MARKETING);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(
        (said[0].status, said[0].evidence),
        (Status::Withdrawn, Evidence::History)
    );
    assert_eq!(said[0].stamp.earliest(), t(15));
}
