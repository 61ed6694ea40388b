//! A small world: two systems with flags and two with consent records, each with a clock of its own,
//! people who edit, and the core that polls, decides and writes. When people stop, everything agrees and nothing is written (G4).

use crate::world::{
    ASCEND, CRM, MAILER, MARKETING, NEWS, OURSELVES, PERSON, RECORDS, STORE, bases, decided,
    is_recorded, row, rules, stored, t, told,
};
use consentd::consent::plan::{Change, agrees, desired};
use consentd::consent::time::{MINUTE, SECOND};
use consentd::consent::{
    At, Basis, Contact, Evidence, Precision, PurposeId, Reading, Rules, Shown, Status, SystemId,
    Told, Verdict, Viewpoint, observe, plan,
};
use proptest::prelude::*;

const SYSTEMS: [SystemId; 4] = [CRM, ASCEND, RECORDS, MAILER];

/// One system with one contact, as its vendor holds it.
struct Fake {
    system: SystemId,
    values: Vec<(PurposeId, Shown)>,
    modified: At,
    modified_by: &'static str,
    /// History rows, or the stored time of the record.
    dated: Vec<Told>,
}

impl Fake {
    fn new(system: SystemId) -> Self {
        let mut values = vec![(MARKETING, Shown::Default)];
        values.extend(second(system).map(|purpose| (purpose, Shown::Default)));
        Self {
            system,
            values,
            modified: t(-10),
            modified_by: PERSON,
            dated: Vec::new(),
        }
    }

    fn shows(&self, purpose: PurposeId) -> Option<&Shown> {
        self.values
            .iter()
            .find(|(id, _)| *id == purpose)
            .map(|(_, shown)| shown)
    }

    /// Somebody saves a value. Whether that changed anything.
    fn save(&mut self, purpose: PurposeId, shown: &Shown, who: &'static str, now: At) -> bool {
        let Some((_, known)) = self.values.iter_mut().find(|(id, _)| *id == purpose) else {
            return false;
        };
        // Vendors stamp the row even when the value stays.
        self.modified = now;
        self.modified_by = who;
        if known == shown {
            return false;
        }
        *known = shown.clone();
        match self.system {
            CRM => {
                let shown = shown.clone();
                let row = told(purpose, shown, now, Evidence::History, Some(who));
                self.dated.push(row);
            }
            RECORDS | MAILER => {
                // One keeps the user who did it, the other does not.
                let signed = (self.system == RECORDS).then_some(who);
                let stored = told(purpose, shown.clone(), now, Evidence::Explicit, signed);
                self.dated.retain(|other| other.purpose != purpose);
                self.dated.push(stored);
            }
            _ => {}
        }
        true
    }

    fn read(&self) -> Reading {
        let mut reading = row("a", self.modified);
        if self.system == ASCEND {
            reading.precision = Some(Precision::Seconds);
        }
        reading.modified_by = (self.system != MAILER).then(|| self.modified_by.to_owned());
        reading.values.clone_from(&self.values);
        reading.told.clone_from(&self.dated);
        reading
    }
}

/// What a system carries besides marketing.
fn second(system: SystemId) -> Option<PurposeId> {
    match system {
        CRM => Some(NEWS),
        RECORDS | MAILER => Some(STORE),
        _ => None,
    }
}

/// What a system holds once somebody said yes or no.
fn saved(system: SystemId, purpose: PurposeId, off: bool, basis: &Basis) -> Shown {
    if is_recorded(system) {
        stored((!off).then(|| basis.clone()))
    } else if (purpose == NEWS) == off {
        Shown::Default
    } else {
        Shown::Set
    }
}

/// What the daemon knows, and the world around it.
struct World {
    rules: Rules,
    fakes: Vec<Fake>,
    contacts: Vec<Contact>,
    polled: Vec<Option<At>>,
    now: At,
    /// The last change a person made to marketing: where, to what and when.
    last: Option<(SystemId, Status, At)>,
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// A person saves a value: system, its second purpose rather than marketing, opted out or
    /// unticked, the basis of a grant.
    Edit(usize, bool, bool, Basis),
    /// Somebody saves another field of the row.
    Touch(usize),
    Poll(usize),
    /// Writes go out; each is seen in the feed before its acknowledgement, or not.
    Emit(bool),
    /// So many seconds pass.
    Wait(i64),
}

impl World {
    fn new() -> Self {
        let mut rules = rules();
        for system in &mut rules.systems {
            system.own_actor = (system.id != MAILER).then(|| OURSELVES.to_owned());
        }
        Self {
            rules,
            fakes: SYSTEMS.into_iter().map(Fake::new).collect(),
            contacts: SYSTEMS
                .into_iter()
                .map(|system| Contact::unseen(system, "a".to_owned()))
                .collect(),
            polled: vec![None; SYSTEMS.len()],
            now: t(0),
            last: None,
        }
    }

    fn tick(&mut self) {
        self.now = self.now.plus(2 * SECOND + 1_234);
    }

    fn step(&mut self, step: &Step) {
        self.tick();
        match step.clone() {
            Step::Edit(which, other, off, basis) => {
                let fake = &mut self.fakes[which];
                let purpose = second(fake.system).filter(|_| other).unwrap_or(MARKETING);
                let shown = saved(fake.system, purpose, off, &basis);
                let changed = fake.save(purpose, &shown, PERSON, self.now);
                if changed && purpose == MARKETING {
                    let status = if off {
                        Status::Withdrawn
                    } else {
                        Status::Granted
                    };
                    // Set and set back between two reads: nobody sees it where there is no history,
                    // and where nobody signs it looks like the echo of our own last write.
                    let holding = self.contacts[which].record.get(MARKETING);
                    let same =
                        holding.is_some_and(|holding| holding.shown.as_ref() == Some(&shown));
                    let awaited = holding
                        .and_then(|holding| holding.echoes.last())
                        .is_some_and(|echo| echo.stamp.is_none());
                    let unseen = same && (fake.system == ASCEND || awaited);
                    self.last = (!unseen).then_some((fake.system, status, self.now));
                }
            }
            Step::Touch(which) => {
                self.fakes[which].modified = self.now;
                self.fakes[which].modified_by = PERSON;
            }
            Step::Poll(which) => self.poll(which, &[]),
            Step::Emit(seen) => {
                self.emit(seen);
            }
            Step::Wait(seconds) => self.now = self.now.plus(seconds * SECOND),
        }
        self.holds();
    }

    fn poll(&mut self, which: usize, in_flight: &[(PurposeId, Shown)]) {
        let view = Viewpoint {
            system: &self.rules.systems[which],
            policy: &self.rules.policy,
            read_at: self.now,
            known_since: self.polled[which],
            ceiling: self.now.plus(5 * MINUTE),
            in_flight,
            stale: false,
        };
        let reading = self.fakes[which].read();
        let before = self.contacts[which].read_at.map(|_| &self.contacts[which]);
        let after = observe(before, &reading, &view);
        assert_eq!(
            observe(Some(&after), &reading, &view),
            after,
            "reading again changes nothing"
        );
        self.contacts[which] = after;
        self.polled[which] = Some(self.now);
    }

    /// Sends what the plan says. How many values were written.
    fn emit(&mut self, seen: bool) -> usize {
        let resolution = decided(&self.contacts, &self.rules);
        let writes: Vec<(usize, Vec<Change>)> =
            plan(&resolution, &self.contacts, &self.rules, &|_| Vec::new())
                .iter()
                .filter_map(|write| {
                    let which = SYSTEMS.iter().position(|id| *id == write.contact.system)?;
                    Some((which, write.changes.clone()))
                })
                .collect();
        let mut written = 0;
        for (which, changes) in writes {
            // Just before it is sent a write is checked against what the contact shows (R32), here
            // also against its modification: a value set and set back in between is a change too.
            let fake = &self.fakes[which];
            let current = changes
                .iter()
                .all(|change| fake.shows(change.purpose) == change.from.as_ref())
                && (fake.modified_by == OURSELVES
                    || self.polled[which].is_some_and(|polled| fake.modified <= polled));
            if !current {
                continue;
            }
            let mut under_way = Vec::new();
            for Change { purpose, to, .. } in changes {
                self.tick();
                self.fakes[which].save(purpose, &to, OURSELVES, self.now);
                under_way.push((purpose, to));
                written += 1;
            }
            if seen {
                self.poll(which, &under_way);
            }
            for (purpose, shown) in under_way {
                self.contacts[which].record.entry(purpose).wrote(shown);
            }
        }
        written
    }

    /// What holds at every moment.
    fn holds(&self) {
        let resolution = decided(&self.contacts, &self.rules);
        let status = |purpose| resolution.verdict(purpose).map(Verdict::status);
        if status(MARKETING) == Some(Status::Withdrawn) {
            assert_ne!(
                status(NEWS),
                Some(Status::Granted),
                "an opt-out implies all categories off"
            );
        }
    }

    /// A round of the daemon: every system is polled, then what follows is written.
    fn round(&mut self) -> usize {
        for which in 0..SYSTEMS.len() {
            self.tick();
            self.poll(which, &[]);
        }
        self.emit(false)
    }

    fn at_parity(&self) {
        let resolution = decided(&self.contacts, &self.rules);
        for (fake, system) in self.fakes.iter().zip(&self.rules.systems) {
            for (purpose, polarity) in &system.carries {
                if let Some(verdict) = resolution.verdict(*purpose) {
                    let wanted = desired(system.id, *polarity, verdict);
                    // A grant on a basis that nobody else understands is recorded nowhere else.
                    let unmapped = verdict
                        .basis
                        .as_ref()
                        .is_some_and(|basis| !basis.is_mapped());
                    let elsewhere = is_recorded(system.id) && verdict.basis_in != Some(system.id);
                    if unmapped && elsewhere {
                        continue;
                    }
                    assert!(
                        fake.shows(*purpose)
                            .is_some_and(|shown| agrees(shown, &wanted)),
                        "{} shows {:?}, not {wanted:?}",
                        system.name,
                        fake.shows(*purpose)
                    );
                }
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_usize, prop::bool::ANY, prop::bool::ANY, bases())
            .prop_map(|(which, other, off, basis)| Step::Edit(which, other, off, basis)),
        1 => (0..4_usize).prop_map(Step::Touch),
        3 => (0..4_usize).prop_map(Step::Poll),
        2 => prop::bool::ANY.prop_map(Step::Emit),
        1 => (1_i64..600).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn g04_once_people_stop_all_systems_agree_and_writing_stops(steps in steps()) {
        let mut world = World::new();
        for which in 0..SYSTEMS.len() {
            world.poll(which, &[]);
        }
        for step in &steps {
            world.step(step);
        }
        let first = world.round();
        // Marketing in three systems, the box in one, the other purpose in one.
        prop_assert!(first <= 3 + 1 + 1, "at most (systems - 1) x fields are written: {first}");
        prop_assert_eq!(world.round(), 0, "one round after the last edit writing stops");
        world.at_parity();
        // Rows are stamped again without a change of value, time passes: still nothing.
        for which in 0..SYSTEMS.len() {
            world.step(&Step::Touch(which));
        }
        prop_assert_eq!(world.round(), 0, "and it stays so");
        world.at_parity();
        let resolution = decided(&world.contacts, &world.rules);
        let verdict = resolution.verdict(MARKETING);
        let status = verdict.map(Verdict::status);
        match world.last {
            Some((_, Status::Withdrawn, _)) => {
                prop_assert_eq!(status, Some(Status::Withdrawn), "a last opt-out always wins");
            }
            // A flag without history tells a grant's time only within bounds, so it may lose.
            Some((ASCEND, Status::Granted, _)) | None => {}
            Some((_, Status::Granted, at)) => {
                // Nor is a withdrawal there certainly the earlier, once the row was saved again.
                let uncertain = verdict.is_some_and(|verdict| {
                    verdict.source.system == Some(ASCEND)
                        && verdict.statement.stamp.earliest() <= at
                        && verdict.statement.stamp.latest() >= at
                });
                prop_assert!(
                    uncertain || status == Some(Status::Granted),
                    "a last opt-in that is dated wins"
                );
            }
        }
    }
}
