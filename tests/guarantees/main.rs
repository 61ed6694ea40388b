//! The guarantees of the core as properties. `PROPTEST_CASES` raises the number of cases.

mod model;
mod world;

use consentd::consent::resolve::{Finding, Source};
use consentd::consent::review::{is_own_withdrawal, overrule};
use consentd::consent::{
    At, Basis, Contact, Evidence, Life, PurposeId, Reading, Remembered, Resolution, Shown,
    Statement, Status, Subject, SystemId, Told, observe, plan,
};
use proptest::prelude::*;
use world::{
    ASCEND, CRM, LOADER, MAILER, MARKETING, NEWS, OURSELVES, PERSON, RECORDS, STORE, decided,
    decided_with, is_recorded, rules, statement, statements, t, view,
};

type Said = (usize, PurposeId, Statement);

/// The word that a statement counts for nothing.
fn overruling(contacts: &[Contact], (who, purpose, statement): &Said) -> Remembered {
    Remembered {
        purpose: *purpose,
        source: Source {
            system: Some(contacts[*who].system),
            contact: contacts[*who].id.clone(),
        },
        statement: statement.clone(),
        overruled: true,
    }
}

/// One contact in each system, and a younger duplicate in the first.
fn contacts() -> Vec<Contact> {
    [
        (CRM, "a", 0),
        (CRM, "b", 1),
        (ASCEND, "x", 0),
        (RECORDS, "1", 0),
        (MAILER, "7", 0),
    ]
    .into_iter()
    .map(|(system, id, created)| Contact {
        created: Some(t(created)),
        ..Contact::unseen(system, id.to_owned())
    })
    .collect()
}

fn add(contacts: &mut [Contact], (who, purpose, statement): &Said) {
    if let Some(contact) = contacts.get_mut(*who) {
        contact.record.entry(*purpose).add(statement.clone());
    }
}

fn all(said: &[Said]) -> Vec<Contact> {
    let mut contacts = contacts();
    for one in said {
        add(&mut contacts, one);
    }
    contacts
}

/// G1: a granted verdict ranks above every withdrawal that counts, its own purpose's and the
/// parent's.
fn no_withdrawal_is_reversed(contacts: &[Contact], resolution: &Resolution) {
    for verdict in &resolution.verdicts {
        if verdict.status() != Status::Granted {
            continue;
        }
        let voices = contacts
            .iter()
            .filter(|contact| contact.id != "b" || !contact.life.is_live());
        for contact in voices {
            let parent = (verdict.purpose == NEWS).then_some(MARKETING);
            for purpose in parent.into_iter().chain([verdict.purpose]) {
                let last = contact
                    .record
                    .get(purpose)
                    .and_then(|holding| holding.last_withdrawal());
                if let Some(withdrawal) = last {
                    assert!(
                        verdict.statement.rank() > withdrawal.rank(),
                        "{verdict:?} reversed {withdrawal:?}"
                    );
                    assert!(!verdict.statement.is_weak());
                }
            }
        }
        assert_ne!(
            verdict.statement.actor.as_deref(),
            Some(LOADER),
            "a load never grants"
        );
    }
}

fn shuffled(said: Vec<Said>) -> impl Strategy<Value = (Vec<Said>, Vec<Said>)> {
    let repeated = proptest::sample::subsequence(said.clone(), 0..=said.len());
    (Just(said), repeated).prop_flat_map(|(said, again)| {
        let mut more = said.clone();
        more.extend(again);
        (Just(said), Just(more).prop_shuffle())
    })
}

/// A change of one purpose of one contact: when, what, who.
type Event = (i64, PurposeId, bool, &'static str);

fn events() -> impl Strategy<Value = Vec<Event>> {
    let who = prop::sample::select(vec![PERSON, PERSON, "bob", LOADER, OURSELVES]);
    proptest::collection::vec((1_i64..4, prop::bool::ANY, who), 1..8).prop_map(|steps| {
        let mut now = 0;
        let mut set = [false, false];
        steps
            .into_iter()
            .map(|(wait, first, who)| {
                now += wait;
                let which = usize::from(!first);
                set[which] = !set[which];
                let purpose = if first { MARKETING } else { NEWS };
                (now, purpose, set[which], who)
            })
            .collect()
    })
}

fn flag(set: bool) -> Shown {
    if set { Shown::Set } else { Shown::Default }
}

fn row_of(&(minute, purpose, set, who): &Event) -> Told {
    world::told(purpose, flag(set), t(minute), Evidence::History, Some(who))
}

/// The contact's own row after all events.
fn whole(events: &[Event]) -> Reading {
    let now = |purpose| {
        flag(
            events
                .iter()
                .rev()
                .find(|event| event.1 == purpose)
                .is_some_and(|event| event.2),
        )
    };
    let last = events.last();
    let mut reading = world::row("a", t(last.map_or(-5, |event| event.0)));
    reading.values = vec![(MARKETING, now(MARKETING)), (NEWS, now(NEWS))];
    reading.modified_by = last.map(|event| event.3.to_owned());
    reading
}

/// Reads in the given batches. What our own user set last is a write of ours that is known.
fn told_in(events: &[Event], before: bool, readings: &[Reading]) -> Resolution {
    let rules = rules();
    let ours: Vec<(PurposeId, Shown)> = [MARKETING, NEWS]
        .into_iter()
        .filter_map(|purpose| events.iter().rev().find(|event| event.1 == purpose))
        .filter(|event| event.3 == OURSELVES)
        .map(|event| (event.1, flag(event.2)))
        .collect();
    let mut contact = before.then(|| observe(None, &whole(&[]), &view(&rules, CRM, t(0), &[])));
    for (minute, reading) in (100..).zip(readings) {
        contact = Some(observe(
            contact.as_ref(),
            reading,
            &view(&rules, CRM, t(minute), &ours),
        ));
    }
    decided(&Vec::from_iter(contact), &rules)
}

proptest! {
    #[test]
    fn g01_an_opt_out_is_never_reversed_by_an_older_or_equal_grant(said in statements(0..40)) {
        let rules = rules();
        let mut contacts = contacts();
        for one in &said {
            add(&mut contacts, one);
            no_withdrawal_is_reversed(&contacts, &decided(&contacts, &rules));
        }
    }

    #[test]
    fn g02_the_order_is_total_antisymmetric_and_transitive(
        said in proptest::array::uniform3(statement(Evidence::Observed))
    ) {
        let rules = rules();
        let one = |which: usize| {
            let mut contact = contacts().swap_remove([0, 2, 3][which]);
            contact.record.entry(MARKETING).add(Statement { actor: None, ..said[which].clone() });
            contact
        };
        let winner = |which: &[usize]| {
            let contacts: Vec<Contact> = which.iter().map(|which| one(*which)).collect();
            let resolution = decided(&contacts, &rules);
            let id = resolution.verdict(MARKETING).map(|verdict| verdict.source.contact.clone());
            ["a", "x", "1"].into_iter().position(|name| id.as_deref() == Some(name))
        };
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            let wins = winner(&[a, b]);
            prop_assert!(wins == Some(a) || wins == Some(b), "one of them wins");
            prop_assert_eq!(wins, winner(&[b, a]), "whoever comes first");
            if said[a].rank() == said[b].rank() && said[a].status != said[b].status {
                let restrictive = if said[a].status == Status::Withdrawn { a } else { b };
                prop_assert_eq!(wins, Some(restrictive), "ties are restrictive");
            }
        }
        let best = winner(&[0, 1, 2]);
        for other in 0..3 {
            if Some(other) != best {
                prop_assert_eq!(winner(&[best.unwrap(), other]), best, "the best beats each");
            }
        }
    }

    #[test]
    fn g02_silence_never_counts(said in statements(0..12)) {
        let rules = rules();
        let contacts = all(&said);
        let before = decided(&contacts, &rules);
        let mut more = contacts.clone();
        for (n, contact) in contacts.iter().enumerate() {
            let mut silent = Contact::unseen(contact.system, format!("silent-{n}"));
            silent.record.entry(MARKETING).shown = Some(Shown::Default);
            more.push(silent);
        }
        prop_assert_eq!(decided(&more, &rules), before);
    }

    #[test]
    fn g03_any_order_and_repetition_of_statements_decides_the_same(
        (told, turned) in statements(0..60).prop_flat_map(shuffled)
    ) {
        let rules = rules();
        let (contacts, other) = (all(&told), all(&turned));
        prop_assert_eq!(&contacts, &other);
        let mut reversed = other.clone();
        reversed.reverse();
        prop_assert_eq!(decided(&contacts, &rules), decided(&reversed, &rules));
    }

    #[test]
    fn g03_more_statements_than_are_kept_are_kept_the_same(
        (told, turned) in proptest::collection::vec(
            statement(Evidence::Baseline).prop_map(|said| (0, MARKETING, said)), 30..90
        ).prop_flat_map(shuffled)
    ) {
        prop_assert_eq!(all(&told), all(&turned));
    }

    #[test]
    fn g03_a_history_decides_the_same_however_it_is_told(
        (events, order, cuts, known) in events().prop_flat_map(|events| {
            let places: Vec<usize> = (0..events.len()).chain(0..events.len() / 2).collect();
            let cuts = proptest::collection::vec(prop::bool::ANY, places.len());
            (Just(events), Just(places).prop_shuffle(), cuts, prop::bool::ANY)
        })
    ) {
        let rows: Vec<Told> = events.iter().map(row_of).collect();
        let end = whole(&events);
        let alone = |told: Vec<Told>| Reading { contact: "a".to_owned(), told, ..Reading::default() };
        let mut batches: Vec<Reading> = Vec::new();
        for (place, cut) in order.iter().zip(&cuts) {
            let told = rows[*place].clone();
            match batches.last_mut() {
                Some(batch) if !cut => batch.told.push(told),
                _ => batches.push(alone(vec![told])),
            }
        }
        let together = told_in(&events, known, &[Reading { told: rows.clone(), ..end.clone() }]);
        let mut rows_first = batches.clone();
        rows_first.push(end.clone());
        let mut rows_last = vec![end.clone()];
        rows_last.extend(batches);
        let mut again = rows_first.clone();
        again.push(alone(rows));
        again.push(end);
        prop_assert_eq!(&told_in(&events, known, &rows_first), &together, "rows first");
        prop_assert_eq!(&told_in(&events, known, &rows_last), &together, "rows last");
        prop_assert_eq!(&told_in(&events, known, &again), &together, "told again");
    }

    #[test]
    fn g05_an_echo_never_advances_and_a_true_change_before_it_wins(
        gaps in proptest::array::uniform3(1_i64..30), opted_out: bool, target in 0..4_usize,
        seen_under_way: bool
    ) {
        let rules = rules();
        let origin = gaps[0];
        let (change, echo) = (origin + gaps[1], origin + gaps[1] + gaps[2]);
        let crm = |events: &[Event]| {
            let mut contact = observe(None, &whole(&[]), &view(&rules, CRM, t(0), &[]));
            for event in events {
                let told = Reading { contact: "a".to_owned(), told: vec![row_of(event)], ..Reading::default() };
                contact = observe(Some(&contact), &told, &view(&rules, CRM, t(500), &[]));
            }
            contact
        };
        let first = (origin, MARKETING, opted_out, PERSON);
        let second = (change, MARKETING, !opted_out, PERSON);
        // The target showed the contrary, was written, and stamps our value with its own clock.
        let system = [CRM, ASCEND, RECORDS, MAILER][target];
        let reading = |minute, set, who: Option<&str>| world::showing(system, "z", t(minute), set, who);
        let mut told = observe(None, &reading(-5, !opted_out, None), &view(&rules, system, t(0), &[]));
        let value = world::value(system, opted_out);
        if seen_under_way {
            let under_way = [(MARKETING, value.clone())];
            told = observe(Some(&told), &reading(echo, opted_out, Some(OURSELVES)), &view(&rules, system, t(600), &under_way));
        }
        let before = told.record.get(MARKETING).map(|holding| holding.statements.clone());
        told.record.entry(MARKETING).wrote(value);
        told = observe(Some(&told), &reading(echo, opted_out, Some(OURSELVES)), &view(&rules, system, t(700), &[]));
        prop_assert_eq!(told.record.get(MARKETING).map(|holding| holding.statements.clone()), before);
        let mut origin_contact = crm(&[first, second]);
        origin_contact.created = Some(t(-9_000));
        let resolution = decided(&[origin_contact, told], &rules);
        let verdict = resolution.verdict(MARKETING).unwrap();
        let expected = if opted_out { Status::Granted } else { Status::Withdrawn };
        prop_assert_eq!(verdict.status(), expected);
        prop_assert_eq!(verdict.statement.rank(), t(change));
    }

    #[test]
    fn g05_nor_does_an_echo_that_says_what_the_target_itself_said_before(
        gaps in proptest::array::uniform4(1_i64..30), other_basis: bool, target in 2..4_usize
    ) {
        let rules = rules();
        let system = [CRM, ASCEND, RECORDS, MAILER][target];
        // The target granted; another system withdrew and granted again, and we wrote both there.
        let (out, back, change, echo) = (
            gaps[0], gaps[0] + gaps[1], gaps[0] + gaps[1] + gaps[2], gaps.iter().sum(),
        );
        let granted = world::stored(Some(if other_basis { Basis::Contract } else { Basis::Consent }));
        let reading = |minute, shown: &Shown| {
            let mut reading = world::row("z", t(minute));
            reading.told.push(world::told(MARKETING, shown.clone(), t(minute), Evidence::Explicit, None));
            reading.values.push((MARKETING, shown.clone()));
            reading
        };
        let first = world::stored(Some(Basis::Consent));
        let mut told = observe(None, &reading(-5, &first), &view(&rules, system, t(0), &[]));
        for (minute, shown) in [(out + 1, world::stored(None)), (echo, granted)] {
            told.record.entry(MARKETING).wrote(shown.clone());
            told = observe(Some(&told), &reading(minute, &shown), &view(&rules, system, t(minute + 100), &[]));
        }
        let mut contact = observe(None, &whole(&[]), &view(&rules, CRM, t(0), &[]));
        for event in [
            (out, MARKETING, true, PERSON), (back, MARKETING, false, PERSON), (change, MARKETING, true, PERSON),
        ] {
            let told = Reading { contact: "a".to_owned(), told: vec![row_of(&event)], ..Reading::default() };
            contact = observe(Some(&contact), &told, &view(&rules, CRM, t(500), &[]));
        }
        let resolution = decided(&[contact, told], &rules);
        let verdict = resolution.verdict(MARKETING).unwrap();
        prop_assert_eq!(verdict.status(), Status::Withdrawn, "the true change before the echo wins");
        prop_assert_eq!(verdict.statement.rank(), t(change));
    }

    #[test]
    fn r21_bases_go_only_where_they_are_understood_and_needed(
        said in statements(0..40), shows in proptest::collection::vec((prop::bool::ANY, world::bases()), 10)
    ) {
        let rules = rules();
        let mut contacts = all(&said);
        for (contact, pair) in contacts.iter_mut().zip(shows.chunks(2)) {
            let flags = !is_recorded(contact.system);
            for (purpose, (off, basis)) in [MARKETING, if flags { NEWS } else { STORE }].into_iter().zip(pair) {
                let shown = if flags { flag(*off) } else { world::stored((!off).then(|| basis.clone())) };
                contact.record.entry(purpose).shown = Some(shown);
            }
        }
        let resolution = decided(&contacts, &rules);
        for verdict in &resolution.verdicts {
            let carried = verdict.status() == Status::Granted || verdict.basis.is_none();
            prop_assert!(carried, "a withdrawal has no basis");
            let told = verdict.basis.as_ref().is_none_or(|basis| said.iter()
                .any(|(_, purpose, said)| *purpose == verdict.purpose && said.basis.as_ref() == Some(basis)));
            let settings = rules.purposes.get(verdict.purpose).unwrap();
            // R20: what is withdrawn above is withdrawn here.
            let ended = said.iter().any(|(_, purpose, said)| said.status == Status::Withdrawn
                && (*purpose == verdict.purpose || Some(*purpose) == settings.parent));
            let by_flag = verdict.source.system.is_none_or(|system| !is_recorded(system));
            let configured = Some(&settings.granted_basis);
            prop_assert!(
                told || (ended && by_flag && verdict.basis.as_ref() == configured),
                "a basis is one that somebody said, or the configured one of a flag's grant after a withdrawal"
            );
        }
        let writes = plan(&resolution, &contacts, &rules, &|_| Vec::new());
        for (contact, change) in writes.iter().flat_map(|write| write.changes.iter().map(|change| (write.contact, change))) {
            let Shown::Record { status, basis } = &change.to else {
                prop_assert!(!is_recorded(contact.system), "a record is written as one");
                continue;
            };
            let verdict = resolution.verdict(change.purpose).unwrap();
            prop_assert_eq!(*status, verdict.status());
            match (status, basis) {
                (Status::Withdrawn, basis) => prop_assert_eq!(basis, &None, "a withdrawal never gets one"),
                (Status::Granted, None) => prop_assert!(false, "a grant is never recorded without one"),
                (Status::Granted, Some(Basis::Other(_))) => {
                    prop_assert_eq!(verdict.basis_in, Some(contact.system), "its own system understands it");
                }
                (Status::Granted, Some(basis)) => {
                    let is_granted = matches!(&change.from, Some(Shown::Record { status: Status::Granted, .. }));
                    prop_assert!(
                        verdict.basis.as_ref() == Some(basis) || (!is_granted && verdict.basis.is_none()),
                        "none never overwrites a value"
                    );
                }
            }
        }
    }

    #[test]
    fn g06_an_opt_out_switches_every_category_off_and_an_opt_in_switches_none_on(
        said in statements(0..25), shows in proptest::collection::vec(prop::bool::ANY, 10)
    ) {
        let rules = rules();
        let mut contacts = all(&said);
        for (contact, pair) in contacts.iter_mut().zip(shows.chunks(2)) {
            contact.record.entry(MARKETING).shown = Some(world::value(contact.system, pair[0]));
            contact.record.entry(NEWS).shown = Some(flag(pair[1]));
        }
        let resolution = decided(&contacts, &rules);
        let writes = plan(&resolution, &contacts, &rules, &|_| Vec::new());
        let opted_out = resolution.verdict(MARKETING).is_some_and(|verdict| verdict.status() == Status::Withdrawn);
        for contact in contacts.iter().filter(|contact| contact.system == CRM) {
            let changes: Vec<_> = writes.iter()
                .filter(|write| write.contact.id == contact.id)
                .flat_map(|write| &write.changes)
                .filter(|change| change.purpose == NEWS)
                .collect();
            let now = changes.first().map_or(contact.record.shown(NEWS), |change| Some(&change.to));
            if opted_out {
                prop_assert_eq!(now, Some(&Shown::Default), "a global opt-out implies all categories off");
            }
            if changes.iter().any(|change| change.to == Shown::Set) {
                let verdict = resolution.verdict(NEWS).unwrap();
                prop_assert_eq!(verdict.said_of, NEWS, "a box is ticked by its own statement alone");
                prop_assert_eq!(verdict.status(), Status::Granted);
            }
        }
        // Another opt-in, later than everything, grants no category that was not granted before.
        let opt_in = Statement { status: Status::Granted, basis: None, stamp: world::exact(900),
            evidence: Evidence::History, actor: Some(PERSON.to_owned()) };
        add(&mut contacts, &(0, MARKETING, opt_in));
        let after = decided(&contacts, &rules);
        let granted = |of: &Resolution| of.verdict(NEWS).is_some_and(|verdict| verdict.status() == Status::Granted);
        prop_assert!(granted(&resolution) || !granted(&after) || !opted_out, "opting in never ticks");
    }

    #[test]
    fn g07_the_oldest_is_chosen_from_what_is_there(
        (changes, turned) in proptest::collection::vec((0..5_usize, 0..4_u8), 0..20).prop_flat_map(|changes| {
            // The last word on each contact stays the last, in whatever order contacts are read.
            let mut by_contact: Vec<Vec<(usize, u8)>> = vec![Vec::new(); 5];
            for change in &changes {
                by_contact[change.0].push(*change);
            }
            (Just(changes), Just(by_contact).prop_shuffle())
        }),
        births in proptest::array::uniform5(0_i64..3)
    ) {
        let rules = rules();
        let apply = |changes: &mut dyn Iterator<Item = (usize, u8)>| {
            let mut contacts: Vec<Contact> = Vec::new();
            for (minute, (who, what)) in (10..).zip(changes) {
                let id = format!("c{who}");
                let mut reading = world::showing(CRM, &id, t(5), who % 2 == 0, None);
                reading.created = Some(t(births[who]));
                reading.life = match what {
                    0 => Life::Deleted,
                    1 => Life::Merged { into: "c0".to_owned() },
                    _ => Life::Live,
                };
                let place = contacts.iter().position(|contact| contact.id == id);
                let before = place.map(|place| contacts.swap_remove(place));
                let mut after = observe(before.as_ref(), &reading, &view(&rules, CRM, t(minute), &[]));
                after.read_at = None;
                contacts.push(after);
            }
            contacts.sort_by(|a, b| a.id.cmp(&b.id));
            contacts
        };
        let one = apply(&mut changes.iter().copied());
        let other = apply(&mut turned.into_iter().flatten());
        prop_assert_eq!(decided(&one, &rules), decided(&other, &rules));
        let voice = consentd::consent::duplicates::representative(&one, CRM).map(|contact| contact.id.clone());
        let oldest = one.iter().filter(|contact| contact.life.is_live())
            .map(|contact| (contact.created, contact.id.clone())).min().map(|(_, id)| id);
        prop_assert_eq!(voice, oldest);
    }

    #[test]
    fn g07_a_younger_duplicates_later_opt_out_is_surfaced_and_kept(said in statements(0..30)) {
        let rules = rules();
        let mut contacts = all(&said);
        for contact in &mut contacts {
            contact.record.entry(MARKETING).shown = Some(Shown::Set);
        }
        let resolution = decided(&contacts, &rules);
        let younger = &contacts[1];
        let Some(withdrawal) = younger.record.get(MARKETING).and_then(|holding| holding.last_withdrawal()) else {
            return Ok(());
        };
        let is_last_word = younger.record.get(MARKETING).unwrap().said()
            .all(|other| other.status == Status::Withdrawn || other.rank() <= withdrawal.rank());
        let passes = resolution.verdict(MARKETING).is_none_or(|verdict| {
            verdict.status() == Status::Granted && verdict.statement.rank() <= withdrawal.rank()
        });
        if is_last_word && passes {
            let conflict = resolution.findings.iter().any(|finding| matches!(finding,
                Finding::Conflict { purpose, source } if *purpose == MARKETING && source.contact == "b"));
            prop_assert!(conflict, "surfaced");
            let touched = plan(&resolution, &contacts, &rules, &|_| Vec::new()).iter()
                .any(|write| write.contact.id == "b");
            prop_assert!(!touched, "and not overwritten");
        }
    }

    #[test]
    fn g08_a_deleted_contacts_withdrawals_survive_and_its_grants_end(
        said in statements(0..30), who in 0..5_usize, merged: bool
    ) {
        let rules = rules();
        let mut contacts = all(&said);
        contacts[who].life = if merged { Life::Merged { into: "z".to_owned() } } else { Life::Deleted };
        let resolution = decided(&contacts, &rules);
        let gone = &contacts[who];
        for verdict in &resolution.verdicts {
            if verdict.status() == Status::Granted {
                prop_assert_ne!(&verdict.source.contact, &gone.id, "its grants end");
            }
        }
        for purpose in [MARKETING, NEWS, STORE] {
            let carried = rules.system(gone.system).unwrap().polarity(purpose).is_some();
            let last = gone.record.get(purpose).and_then(|holding| holding.last_withdrawal()).filter(|_| carried);
            if let Some(withdrawal) = last {
                let verdict = resolution.verdict(purpose).unwrap();
                prop_assert!(
                    verdict.status() == Status::Withdrawn || verdict.statement.rank() > withdrawal.rank(),
                    "it is withdrawn, or granted again later"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn g03_words_of_operators_decide_the_same_in_any_order(
        (said, words, turned) in statements(1..40).prop_flat_map(|said| {
            let words = prop::sample::subsequence(said.clone(), 0..said.len().min(8));
            (Just(said), words).prop_flat_map(|(said, words)| {
                let turned = Just(words.clone()).prop_shuffle();
                (Just(said), Just(words), turned)
            })
        })
    ) {
        let rules = rules();
        let contacts = all(&said);
        let facts = |words: &[Said]| -> Vec<Remembered> {
            words.iter().map(|word| overruling(&contacts, word)).collect()
        };
        let before = decided_with(&contacts, &facts(&words), &rules);
        let mut twice = facts(&turned);
        twice.extend(facts(&words));
        prop_assert_eq!(&decided_with(&contacts, &twice, &rules), &before);
        // What is overruled decides nothing.
        for word in &words {
            let Remembered { purpose, source, statement, .. } = overruling(&contacts, word);
            if let Some(verdict) = before.verdict(purpose) {
                prop_assert!(verdict.source != source || verdict.statement != statement);
            }
        }
    }

    #[test]
    fn r30_turning_back_ends_a_grant_and_takes_back_no_withdrawal_of_anybodys_own(
        said in statements(1..40)
    ) {
        let rules = rules();
        let contacts = all(&said);
        let before = decided(&contacts, &rules);
        let is_load = |_: SystemId, statement: &Statement| statement.actor.as_deref() == Some(LOADER);
        let is_own = |source: &Source, statement: &Statement| {
            is_own_withdrawal(&rules, source, statement, &is_load)
        };
        let subject = Subject { contacts: &contacts, remembered: &[], is_load: &|_, _| false };
        for verdict in &before.verdicts {
            let turned = overrule(&subject, &rules, verdict.purpose, verdict.status(), &is_own);
            match (verdict.status(), turned) {
                (Status::Granted, facts) => {
                    let facts = facts.unwrap();
                    prop_assert!(facts.iter().all(|fact| fact.statement.status == Status::Granted));
                    let after = decided_with(&contacts, &facts, &rules);
                    let status = after.verdict(verdict.purpose).map(consentd::consent::Verdict::status);
                    prop_assert_ne!(status, Some(Status::Granted));
                }
                (Status::Withdrawn, Ok(facts)) => {
                    for fact in &facts {
                        prop_assert!(!is_own(&fact.source, &fact.statement));
                    }
                }
                (Status::Withdrawn, Err(_)) => {}
            }
        }
    }
}

#[test]
fn g02_the_ends_of_time_are_ordered_too() {
    assert!(At::from_micros(i64::MIN) < At::from_micros(i64::MAX));
}
