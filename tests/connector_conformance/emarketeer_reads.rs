//! eMarketeer: reading everything, reading changes, and looking up.

use crate::emarketeer_bench::*;
use consentd::connector::{FaultClass, Wanted};
use consentd::consent::{Evidence, Life, Precision, Shown, Stamp};
use consentd_sandbox::emarketeer::{
    FilterScope, ImportRow, NewContact, Spelling, Stamps, Wrapper, master,
};
use consentd_sandbox::{CallKind, Fault, Rule};

const NESTED: &str = r#"
    [systems.em.consent.body]
    key = "/email"
    purpose = "/purpose/id"
    legal_basis = "/legalBasis/id"
    source = "/source/id"
    comment = "/comment"
"#;
pub(crate) const NAMED: &str = r#"
    [systems.em.consent.body]
    key = "/email"
    purpose = "/purpose"
    legal_basis = "/legalBasis"
    source = "/source"
    comment = "/description"
    references = "name"
"#;

/// Everything about an account that is not documented, in as many sets as it takes.
pub(crate) fn plans() -> Vec<(&'static str, Plan)> {
    vec![
        ("an account as it is thought to be", Plan::default()),
        (
            "records with nested master data, in items, paged",
            Plan {
                account: |settings| {
                    settings.spelling = Spelling::Nested;
                    settings.wrapper = Wrapper::Items;
                    settings.stamps = Stamps::Offset;
                    settings.list_rows = Some(70);
                    settings.filter_rows = 30;
                    settings.contact_rows = 40;
                    settings.filter_newest_first = true;
                },
                tables: NESTED,
                ..Plan::default()
            },
        ),
        (
            "records with names, with a total, ids as text",
            Plan {
                account: |settings| {
                    settings.spelling = Spelling::Named;
                    settings.wrapper = Wrapper::Data;
                    settings.stamps = Stamps::Millis;
                    settings.ids_as_text = true;
                    settings.record_ids = true;
                    settings.list_rows = Some(1_000);
                    settings.filter_scope = FilterScope::All;
                },
                tables: NAMED,
                ..Plan::default()
            },
        ),
        (
            "unknown parameters are refused, the filter ignores purposes, pages are small",
            Plan {
                account: |settings| {
                    settings.unknown_parameters_refused = true;
                    settings.filter_honours_purpose = false;
                    settings.filter_scope = FilterScope::All;
                    settings.filter_newest_first = true;
                    settings.key_per_module = true;
                },
                system: "page_rows = 20",
                ..Plan::default()
            },
        ),
        (
            "the filter ignores times, contacts follow consent",
            Plan {
                account: |settings| {
                    settings.filter_honours_since = false;
                    settings.consent_moves_contact = true;
                },
                ..Plan::default()
            },
        ),
        (
            "there is no filter, and contacts do not follow",
            Plan {
                consent: r#"filter = "/consent-public/v1/consents/nowhere""#,
                system: "full_interval_secs = 10",
                ..Plan::default()
            },
        ),
        (
            "a bearer token",
            Plan {
                account: |settings| settings.bearer_on_consent = true,
                ..Plan::default()
            },
        ),
    ]
}

#[tokio::test]
async fn c91_a_load_shows_the_same_however_the_account_answers() {
    for (sentence, plan) in plans() {
        let mut em = Em::with(Plan {
            contacts: 150,
            ..plan
        })
        .await;
        assert_eq!(
            em.connector.probe().await.unwrap().missing,
            [""; 0],
            "{sentence}"
        );
        em.poll().await;
        em.assert_all_known(sentence);
        assert_eq!(em.known.poison, [], "{sentence}");
    }
}

#[tokio::test]
async fn c92_changes_are_found_in_whatever_way_works() {
    for (sentence, plan) in plans() {
        let full = plan.system.contains("full_interval_secs");
        let plan = Plan {
            contacts: 60,
            ..plan
        };
        let mut em = Em::with(plan.clone()).await;
        let account = em.account().clone();
        let all = account.addresses();
        // What was laid down as the past did not move any contact; what happens now does.
        account.bulk_unsubscribe(&all[30..45]).unwrap();
        em.wait(600);
        em.poll().await;
        em.wait(600);
        em.poll().await;
        account.unsubscribe(&all[0]).unwrap();
        account
            .submit_form("new@example.org", &[master::MARKETING], Some("yes"))
            .unwrap();
        account
            .create_contact(&NewContact {
                address: "silent@example.org".to_owned(),
                ..NewContact::default()
            })
            .unwrap();
        em.wait(30);
        account
            .bulk_update(&all[5..25], Some(master::CONTRACT), Some(master::CONSENT))
            .unwrap();
        let rows = [ImportRow {
            address: "imported@example.org".to_owned(),
            ..ImportRow::default()
        }];
        account
            .import(&rows, false, Some(master::CONTRACT), None)
            .unwrap();
        em.wait(30);
        account.unsubscribe(&all[6]).unwrap();
        em.wait(30);
        if full {
            // The next listing of everything is not due yet; a new process does not wait for it.
            em.restart(&plan);
        }
        em.poll().await;
        em.assert_all_known(sentence);
        assert_eq!(
            em.shown("silent@example.org", MARKETING),
            Some(Shown::Default),
            "{sentence}"
        );
    }
}

#[tokio::test]
async fn c92_a_filter_is_used_only_after_it_has_shown_the_newest_records() {
    for (sentence, account, expected) in [
        (
            "it works",
            (|_| {}) as fn(&mut consentd_sandbox::emarketeer::Settings),
            "filter",
        ),
        (
            "it ignores times",
            |settings| settings.filter_honours_since = false,
            "full",
        ),
        (
            "it ignores times, and contacts follow",
            |settings| {
                settings.filter_honours_since = false;
                settings.consent_moves_contact = true;
            },
            "contacts",
        ),
        (
            "it knows its parameter by another name",
            |settings| {
                settings.query.since = "from".to_owned();
                settings.unknown_parameters_refused = true;
            },
            "full",
        ),
    ] {
        let mut em = Em::with(Plan {
            account,
            ..Plan::default()
        })
        .await;
        for address in ["ann@example.org", "bob@example.org"] {
            let long_ago = (em.account().now() - chrono::TimeDelta::days(90)).into();
            em.account()
                .create_contact(&NewContact {
                    address: address.to_owned(),
                    created: long_ago,
                    ..NewContact::default()
                })
                .unwrap();
            em.account()
                .set_basis(
                    address,
                    master::MARKETING,
                    master::CONSENT,
                    master::FORM,
                    None,
                    long_ago,
                )
                .unwrap();
        }
        em.wait(60);
        em.account().unsubscribe("bob@example.org").unwrap();
        em.wait(60);
        em.poll().await;
        em.account().reset_calls();
        em.wait(60);
        em.poll().await;
        let made = em.account().calls();
        let way = match (
            made.of(CallKind::ConsentFilter),
            made.of(CallKind::ContactFind),
        ) {
            (1.., _) => "filter",
            (0, 1..) => "contacts",
            (0, 0) => "full",
        };
        assert_eq!(way, expected, "{sentence}");
    }
}

#[tokio::test]
async fn c31_an_idle_poll_costs_a_call_per_purpose_and_one_for_contacts() {
    let mut em = Em::with(Plan {
        contacts: 50,
        ..Plan::default()
    })
    .await;
    em.poll().await;
    em.wait(1_000);
    em.poll().await;
    em.wait(1_000);
    em.account().reset_calls();
    let drained = em.poll().await;
    assert_eq!(em.account().calls().total(), 3);
    assert!(drained.readings().is_empty() && drained.pages.len() == 1);
}

#[tokio::test]
async fn c20_a_record_arrives_with_the_time_that_the_account_stores() {
    let mut em = Em::new().await;
    em.account()
        .submit_form("ann@example.org", &[master::MARKETING], None)
        .unwrap();
    let at = em
        .account()
        .consent("ann@example.org", master::MARKETING)
        .unwrap()
        .at;
    em.wait(60);
    em.poll().await;
    let contact = em.contact("ann@example.org").unwrap();
    let said = contact
        .record
        .get(MARKETING)
        .unwrap()
        .said()
        .next()
        .unwrap();
    assert_eq!(said.stamp, Stamp::covering(at.into(), Precision::Seconds));
    assert_eq!(said.evidence, Evidence::Explicit);
    assert_eq!(
        said.actor.as_deref(),
        Some(format!("Web form {}", contact.id).as_str()),
        "persons act for themselves, so that many of them are no load"
    );
    em.account()
        .bulk_unsubscribe(&["ann@example.org".to_owned()])
        .unwrap();
    em.wait(60);
    em.poll().await;
    let said = em
        .contact("ann@example.org")
        .unwrap()
        .record
        .get(MARKETING)
        .unwrap();
    assert_eq!(
        said.said().next().unwrap().actor.as_deref(),
        Some("Bulk action")
    );
}

#[tokio::test]
async fn c90_no_address_stands_in_an_id_or_a_cursor() {
    let mut em = Em::with(Plan {
        contacts: 80,
        system: "page_rows = 10",
        ..Plan::default()
    })
    .await;
    let drained = em.poll().await;
    for page in &drained.pages {
        assert!(!page.next.0.contains('@'), "{}", page.next.0);
        for reading in &page.readings {
            let hex = reading.contact.strip_prefix('k').unwrap();
            assert!(hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
    }
    let id = em.known.contacts.keys().next().unwrap().clone();
    let mut other = Em::with(Plan {
        contacts: 80,
        ..Plan::default()
    })
    .await;
    other.poll().await;
    assert!(
        other.known.contacts.contains_key(&id),
        "ids follow from key and address alone"
    );
}

#[tokio::test]
async fn c93_a_list_that_changes_while_it_is_read_is_read_whole() {
    let mut em = Em::with(Plan {
        contacts: 120,
        account: |settings| settings.list_rows = Some(1_000),
        system: "page_rows = 10",
        ..Plan::default()
    })
    .await;
    let ids = em.account().contact_ids(30);
    let mut cursor = None;
    let mut pages = 0;
    loop {
        let page = em.connector.read(cursor.as_ref()).await.unwrap();
        pages += 1;
        // Contacts that were listed already are deleted, one after another.
        if pages % 3 == 0
            && let Some(id) = ids.get(pages / 3)
        {
            em.account().delete_contact(*id).unwrap();
        }
        let more = page.more;
        em.take(&page);
        cursor = Some(page.next);
        if !more {
            break;
        }
    }
    for id in em.account().contact_ids(usize::MAX) {
        let address = em.account().contact(id).unwrap().address;
        assert!(
            em.contact(&address)
                .is_some_and(|contact| contact.life.is_live()),
            "{address}"
        );
    }
}

#[tokio::test]
async fn c14_short_pages_and_rows_that_come_twice_lose_nothing() {
    for fault in [Fault::ShortPages { rows: 7 }, Fault::RepeatedRecords] {
        let mut em = Em::with(Plan {
            contacts: 60,
            account: |settings| settings.list_rows = Some(1_000),
            ..Plan::default()
        })
        .await;
        let name = fault.name();
        em.account().set_fault(fault).unwrap();
        em.poll().await;
        em.assert_all_known(&name);
        em.wait(60);
        em.account()
            .submit_form("new@example.org", &[master::STORE], None)
            .unwrap();
        em.wait(60);
        em.poll().await;
        em.assert_all_known(&name);
    }
}

#[tokio::test]
async fn c93_a_list_that_knows_no_offset_is_not_taken_for_the_whole() {
    let mut em = Em::with(Plan {
        contacts: 60,
        account: |settings| {
            settings.list_rows = Some(20);
            settings.query.offset = "skip".to_owned();
        },
        ..Plan::default()
    })
    .await;
    let fault = em.try_poll().await.err().unwrap();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::ContractBroken, "page-loop")
    );
    assert!(
        fault.message.contains("systems.em.consent.query.offset"),
        "{fault}"
    );
}

#[tokio::test]
async fn c27_a_load_and_a_window_go_on_after_a_restart() {
    let plan = || Plan {
        contacts: 80,
        account: |settings| settings.list_rows = Some(1_000),
        system: "page_rows = 15",
        ..Plan::default()
    };
    let mut em = Em::with(plan()).await;
    let mut cursor = None;
    let mut started = false;
    for _ in 0..200 {
        let page = em.connector.read(cursor.as_ref()).await.unwrap();
        em.take(&page);
        cursor = Some(page.next);
        if !page.more {
            if started {
                break;
            }
            started = true;
            em.wait(60);
            let all = em.account().addresses();
            em.account().bulk_unsubscribe(&all).unwrap();
            em.wait(60);
        }
        em.restart(&plan());
    }
    em.assert_all_known("a new process for every page");
}

#[tokio::test]
async fn c21_every_poll_reads_the_overlap_again() {
    let mut em = Em::new().await;
    em.account()
        .submit_form("ann@example.org", &[master::STORE], None)
        .unwrap();
    em.wait(60);
    em.poll().await;
    em.wait(100);
    let again = em.poll().await;
    assert_eq!(again.readings().len(), 2, "the record and the contact");
    em.wait(400);
    assert_eq!(em.poll().await.readings().len(), 2);
    em.wait(400);
    assert!(
        em.poll().await.readings().is_empty(),
        "and no more than that"
    );
}

#[tokio::test]
async fn c22_what_becomes_visible_late_is_still_read() {
    let mut em = Em::new().await;
    em.account()
        .submit_form("ann@example.org", &[master::STORE], None)
        .unwrap();
    em.wait(60);
    em.poll().await;
    em.account()
        .set_fault(Rule::from(Fault::LateCommit { seconds: 90 }))
        .unwrap();
    em.account().unsubscribe("ann@example.org").unwrap();
    em.account().clear_faults(None);
    em.wait(30);
    em.poll().await;
    assert_eq!(em.shown("ann@example.org", MARKETING), Some(Shown::Default));
    em.wait(90);
    em.poll().await;
    assert_eq!(em.shown("ann@example.org", MARKETING), Some(withdrawn()));
}

#[tokio::test]
async fn c23_any_number_of_records_share_a_second() {
    let mut em = Em::with(Plan {
        contacts: 0,
        account: |settings| settings.filter_rows = 20,
        ..Plan::default()
    })
    .await;
    em.poll().await;
    em.wait(600);
    let rows: Vec<ImportRow> = (0..150)
        .map(|number| ImportRow {
            address: format!("p{number}@example.org"),
            ..ImportRow::default()
        })
        .collect();
    em.account()
        .import(&rows, false, Some(master::CONTRACT), Some(master::CONSENT))
        .unwrap();
    em.wait(60);
    em.poll().await;
    em.assert_all_known("an import within one second");
}

#[tokio::test]
async fn c95_a_contact_that_is_gone_is_looked_up_before_it_is_said() {
    let mut em = Em::with(Plan {
        contacts: 60,
        system: "sweep_interval_secs = 60",
        ..Plan::default()
    })
    .await;
    em.poll().await;
    let id = em.account().contact_ids(1)[0];
    let address = em.account().contact(id).unwrap().address;
    em.account().unsubscribe(&address).unwrap();
    em.account().delete_contact(id).unwrap();
    em.wait(120);
    em.poll().await;
    assert!(
        em.contact(&address).unwrap().life.is_live(),
        "absence alone says nothing"
    );
    let doubtful = em.connector.doubtful();
    assert_eq!(doubtful, [em.id(&address)]);
    let wanted = Wanted {
        contacts: vec![em.target(&address)],
        ..Wanted::default()
    };
    em.look_up(&wanted).await;
    assert!(is_deleted(em.contact(&address)));
    assert_eq!(
        em.shown(&address, MARKETING),
        Some(withdrawn()),
        "what it withdrew outlives it"
    );
    assert_eq!(em.connector.doubtful(), [""; 0]);
    // The same address again: the withdrawal is still there.
    em.account()
        .create_contact(&NewContact {
            address: address.clone(),
            ..NewContact::default()
        })
        .unwrap();
    em.wait(60);
    em.poll().await;
    assert_eq!(em.contact(&address).unwrap().life, Life::Live);
    assert_eq!(em.shown(&address, MARKETING), Some(withdrawn()));
}

#[tokio::test]
async fn c26_a_changed_address_is_another_contact() {
    let mut em = Em::with(Plan {
        contacts: 30,
        system: "sweep_interval_secs = 60",
        ..Plan::default()
    })
    .await;
    em.poll().await;
    let id = em.account().contact_ids(1)[0];
    let before = em.account().contact(id).unwrap().address;
    let fields = [("email".to_owned(), "moved@example.org".to_owned())].into();
    em.account().edit_contact(id, &fields).unwrap();
    em.wait(120);
    em.poll().await;
    assert_eq!(em.contact("moved@example.org").unwrap().life, Life::Live);
    assert_eq!(em.connector.doubtful(), [em.id(&before)]);
}

#[tokio::test]
async fn c90_several_contacts_with_one_address_are_one_and_the_oldest_counts() {
    let mut em = Em::new().await;
    let now = em.account().now();
    let first = now - chrono::TimeDelta::days(900);
    em.account()
        .create_contact(&NewContact {
            address: "ann@example.org".to_owned(),
            created: Some(now - chrono::TimeDelta::days(30)),
            ..NewContact::default()
        })
        .unwrap();
    em.account()
        .add_duplicate("ann@example.org", Some(first))
        .unwrap();
    em.poll().await;
    let contact = em.contact("Ann@Example.org").unwrap();
    assert_eq!(
        contact.created.unwrap().micros() / 1_000_000,
        first.timestamp()
    );
    assert_eq!(em.known.contacts.len(), 1);
}

#[tokio::test]
async fn c44_look_ups_tell_live_ones_from_gone_ones() {
    for legacy in ["", "[systems.em.legacy]\nbase_url = \"{url}/api\""] {
        let mut em = Em::with(Plan {
            contacts: 60,
            tables: legacy,
            ..Plan::default()
        })
        .await;
        em.poll().await;
        let account = em.account().clone();
        let (one, other) = {
            let ids = account.contact_ids(2);
            (
                account.contact(ids[0]).unwrap().address,
                account.contact(ids[1]).unwrap(),
            )
        };
        account.unsubscribe(&one).unwrap();
        account.delete_contact(other.id).unwrap();
        let targets = [em.target(&one), em.target(&other.address)];
        let wanted = Wanted {
            addresses: vec![
                one.clone(),
                "nobody@example.org".to_owned(),
                "o!dd@example.org".to_owned(),
            ],
            contacts: vec![targets[1].clone()],
        };
        let found = em.look_up(&wanted).await;
        assert_eq!(
            found.readings.len(),
            2,
            "{legacy:?}: who is nowhere is not told"
        );
        assert_eq!(em.shown(&one, MARKETING), Some(withdrawn()));
        assert!(is_deleted(em.contact(&other.address)));
        let current = em.connector.current(&targets).await.unwrap();
        assert!(
            matches!(&current[0], consentd::connector::Current::Live(values) if values.contains(&(MARKETING, withdrawn())))
        );
        assert_eq!(current[1], consentd::connector::Current::Gone);
        assert_eq!(
            em.connector.doubtful(),
            [em.id(&other.address)],
            "the feed would not say so"
        );
    }
}

#[tokio::test]
async fn c44_very_many_are_looked_up_by_one_listing() {
    let mut em = Em::with(Plan {
        contacts: 400,
        ..Plan::default()
    })
    .await;
    assert_eq!(em.connector.batching().look_up, 200);
    em.poll().await;
    assert_eq!(em.connector.batching().look_up, 10_000);
    let all = em.account().addresses();
    em.account().bulk_unsubscribe(&all[..50]).unwrap();
    em.account().reset_calls();
    let wanted = Wanted {
        addresses: all.clone(),
        contacts: Vec::new(),
    };
    let found = em.look_up(&wanted).await;
    assert_eq!(found.readings.len(), all.len());
    assert!(
        em.account().calls().total() < 10,
        "{:?}",
        em.account().calls()
    );
    for address in &all[..50] {
        assert_eq!(em.shown(address, MARKETING), Some(withdrawn()));
    }
    em.account().reset_calls();
    let wanted = Wanted {
        addresses: all[..2].to_vec(),
        contacts: Vec::new(),
    };
    em.look_up(&wanted).await;
    assert_eq!(em.account().calls().total(), 4, "and few of them singly");
}

#[tokio::test]
async fn c101_what_was_said_before_a_load_is_told_at_the_first_sight() {
    let mut em = Em::with(Plan {
        bulk_actors: "\"Bulk action\"",
        ..Plan::default()
    })
    .await;
    let account = em.account().clone();
    account
        .submit_form("ann@example.org", &[master::MARKETING], None)
        .unwrap();
    em.wait(60);
    account.unsubscribe("ann@example.org").unwrap();
    em.wait(60);
    account
        .bulk_update(&["ann@example.org".to_owned()], None, Some(master::CONSENT))
        .unwrap();
    em.wait(60);
    em.poll().await;
    let contact = em.contact("ann@example.org").unwrap();
    let holding = contact.record.get(MARKETING).unwrap();
    assert!(holding.last_withdrawal().is_some(), "{holding:?}");
    assert_eq!(holding.shown, Some(record(master::CONSENT)));
}

#[tokio::test]
async fn c94_a_record_without_a_contact_counts_and_nothing_is_written_there() {
    let mut em = Em::new().await;
    let ann = "ann@example.org";
    em.account()
        .set_basis(
            ann,
            master::MARKETING,
            master::WITHDRAWN,
            master::LINK,
            None,
            None,
        )
        .unwrap();
    em.wait(60);
    em.poll().await;
    assert!(is_deleted(em.contact(ann)));
    assert_eq!(em.shown(ann, MARKETING), Some(withdrawn()));
    let request = em.set(ann, MARKETING, record(master::CONSENT));
    let outcomes = em.connector.write(&[request]).await.unwrap();
    assert_eq!(crate::bench::code(&outcomes[0]), "gone");
    assert_eq!(em.account().record_count(), 1);
}

#[tokio::test]
async fn c91_a_listing_in_one_piece_is_handed_out_in_pages() {
    let mut em = Em::with(Plan {
        contacts: 120,
        system: "page_rows = 20",
        ..Plan::default()
    })
    .await;
    let drained = em.poll().await;
    em.assert_all_known("in pages");
    let most = drained.pages.iter().map(|page| page.readings.len()).max();
    assert!(most <= Some(20), "{most:?} readings in a page");
    let listings = calls(&*em.connector, "consents");
    assert!(
        listings <= 4,
        "asked for {listings} times, not once per page"
    );
}
