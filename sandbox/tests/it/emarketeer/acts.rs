//! What users, people and mail servers do, seen through the API.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use consentd_sandbox::emarketeer::{Account, ImportReport, ImportRow, NewContact, master};
use consentd_sandbox::{ActError, Fault};

use super::{CONSENTS, Em, MARKETING, STORE};

const ANN: &str = "ann@x.example";
const BEN: &str = "ben@x.example";

/// A way of saying that one has had enough.
type Way = fn(&Account) -> Result<(), ActError>;

fn contact(account: &Account, address: &str) -> u64 {
    let contact = NewContact {
        address: address.to_owned(),
        ..NewContact::default()
    };
    account.create_contact(&contact).unwrap()
}

fn granted(account: &Account, address: &str) {
    account
        .submit_form(address, &[MARKETING, STORE], Some("Yes, please."))
        .unwrap();
}

fn basis(account: &Account, address: &str) -> (Option<String>, Option<String>) {
    (
        account.basis(address, STORE),
        account.basis(address, MARKETING),
    )
}

#[tokio::test]
async fn every_way_out_withdraws_marketing_alone_and_says_how() {
    let em = Em::start(0).await;
    let account = em.account();
    let ways: [(Way, &str); 5] = [
        (|account| account.unsubscribe(ANN), master::LINK),
        (|account| account.opt_out_of_all(ANN), master::CENTRE),
        (|account| account.complain(ANN), master::COMPLAINT),
        (
            |account| account.slide_off(account.contacts_by_address(ANN)[0].id),
            master::USER,
        ),
        (
            |account| account.bulk_unsubscribe(&[ANN.to_owned()]).map(|_| ()),
            master::BULK,
        ),
    ];
    for (way, source) in ways {
        granted(account, ANN);
        assert_eq!(em.marketing(ANN).await, Some("Consent".into()));
        way(account).unwrap();
        assert_eq!(
            em.marketing(ANN).await,
            Some("Withdrawn".into()),
            "{source}"
        );
        assert_eq!(account.consent(ANN, MARKETING).unwrap().source, source);
        assert_eq!(
            account.basis(ANN, STORE),
            Some("Consent".into()),
            "{source} leaves storing alone"
        );
    }
    assert_eq!(
        account.calls().records_written,
        0,
        "none of it went through the API"
    );
    assert_eq!(
        account.unsubscribe("ann"),
        Err(ActError::Invalid(
            "the account takes no such address".to_owned()
        ))
    );
    let id = account.contacts_by_address(ANN)[0].id;
    account.slide_on(id, master::LEGITIMATE_INTEREST).unwrap();
    assert_eq!(em.marketing(ANN).await, Some("Legitimate interest".into()));
}

#[tokio::test]
async fn consent_outlives_the_contact_and_an_import_does_not_overturn_it() {
    let em = Em::start(0).await;
    let account = em.account();
    granted(account, ANN);
    account.unsubscribe(ANN).unwrap();
    account
        .delete_contact(account.contacts_by_address(ANN)[0].id)
        .unwrap();
    assert_eq!(
        em.marketing(ANN).await,
        Some("Withdrawn".into()),
        "without a contact"
    );

    let rows = [ANN, BEN, "not an address"].map(|address| ImportRow {
        address: address.to_owned(),
        ..ImportRow::default()
    });
    let report = account
        .import(
            &rows,
            false,
            Some(master::CONTRACT),
            Some(master::LEGITIMATE_INTEREST),
        )
        .unwrap();
    assert_eq!(
        report,
        ImportReport {
            created: 2,
            updated: 0,
            refused: 1,
            kept_withdrawn: 1
        }
    );
    assert_eq!(
        basis(account, ANN),
        (Some("Contract".into()), Some("Withdrawn".into()))
    );
    assert_eq!(
        basis(account, BEN),
        (Some("Contract".into()), Some("Legitimate interest".into()))
    );
    assert_eq!(account.consent(BEN, STORE).unwrap().source, master::IMPORT);

    let report = account
        .import(&rows[1..2], false, None, Some(master::WITHDRAWN))
        .unwrap();
    assert_eq!(
        (report.updated, account.basis(BEN, MARKETING)),
        (1, Some("Withdrawn".into()))
    );
}

#[tokio::test]
async fn a_new_address_leaves_consent_with_the_old_one() {
    let em = Em::start(0).await;
    let account = em.account();
    let row = ImportRow {
        address: ANN.to_owned(),
        external_id: Some("4711".into()),
        ..ImportRow::default()
    };
    account
        .import(
            std::slice::from_ref(&row),
            true,
            Some(master::CONTRACT),
            Some(master::CONSENT),
        )
        .unwrap();
    let id = account.contacts_by_address(ANN)[0].id;
    let moved = ImportRow {
        address: BEN.to_owned(),
        ..row
    };
    let report = account.import(&[moved], true, None, None).unwrap();
    assert_eq!((report.created, report.updated), (0, 1));
    assert_eq!(account.contact(id).unwrap().address, BEN);
    assert!(account.contacts_by_address(ANN).is_empty());
    assert_eq!(
        basis(account, ANN),
        (Some("Contract".into()), Some("Consent".into()))
    );
    assert_eq!(basis(account, BEN), (None, None));

    assert_eq!(account.change_address("4711", ANN), Ok(id));
    assert!(account.change_address("4712", ANN).is_err());
    account
        .edit_contact(id, &BTreeMap::from([("email".to_owned(), BEN.to_owned())]))
        .unwrap();
    assert_eq!(account.contact(id).unwrap().address, BEN);
}

#[tokio::test]
async fn a_bulk_action_takes_its_time_over_both_purposes() {
    let em = Em::start(0).await;
    let account = em.account();
    let addresses: Vec<String> = (0..10)
        .map(|number| format!("p{number}@x.example"))
        .collect();
    let withdrawn = |account: &Account| {
        let out = addresses
            .iter()
            .filter(|address| account.basis(address, MARKETING) == Some("Withdrawn".into()));
        out.count()
    };
    account
        .bulk_update(&addresses, Some(master::CONTRACT), Some(master::CONSENT))
        .unwrap();
    assert_eq!(
        basis(account, &addresses[9]),
        (Some("Contract".into()), Some("Consent".into())),
        "at once"
    );
    assert_eq!(account.bulks(), []);

    account.change_settings(|settings| settings.bulk_rows_per_second = 2);
    // Real seconds pass as well, but a hundred do not.
    let before = account.now();
    let id = account
        .bulk_update(&addresses, None, Some(master::WITHDRAWN))
        .unwrap();
    let early = withdrawn(account);
    assert!(early < 10, "{early} of 10 are done at once");
    assert_eq!(account.bulks()[0].id, id);
    em.sandbox.clock().advance(100);
    assert_eq!((withdrawn(account), account.bulks()), (10, vec![]));
    let times: Vec<DateTime<Utc>> = addresses
        .iter()
        .map(|address| account.consent(address, MARKETING).unwrap().at)
        .collect();
    assert!(times.is_sorted() && times[0] < times[9], "{times:?}");
    assert!(
        (times[9] - before).num_seconds() <= 6,
        "stamped when it was done, not when it was looked at"
    );
    assert!(
        account
            .bulk_update(&addresses, Some("Goodwill"), None)
            .is_err()
    );
}

#[tokio::test]
async fn a_past_can_be_laid_down() {
    let em = Em::start(0).await;
    let account = em.account();
    let at: DateTime<Utc> = "2021-03-04T05:06:07.9Z".parse().unwrap();
    account
        .set_basis(ANN, MARKETING, "consent", "web form", Some("yes"), Some(at))
        .unwrap();
    let shown = em.ok(&format!("{CONSENTS}?key={ANN}")).await;
    assert_eq!(shown[0]["createdAt"], "2021-03-04T05:06:07Z");
    assert_eq!(shown[0]["text"], "yes");
    for (purpose, basis, source) in [
        ("x", "Consent", "Import"),
        (STORE, "x", "Import"),
        (STORE, "Consent", "x"),
    ] {
        assert!(
            account
                .set_basis(ANN, purpose, basis, source, None, None)
                .is_err()
        );
    }
    let old = NewContact {
        address: ANN.to_owned(),
        created: Some(at),
        ..NewContact::default()
    };
    let id = account.create_contact(&old).unwrap();
    assert_eq!(account.contact(id).unwrap().created, at);
    assert!(
        account.create_contact(&old).is_err(),
        "one contact to an address"
    );
    let twin = account.add_duplicate(ANN, None).unwrap();
    let ids: Vec<u64> = account
        .contacts_by_address(" ANN@x.example")
        .iter()
        .map(|one| one.id)
        .collect();
    assert_eq!(ids, [id, twin]);
}

#[tokio::test]
async fn delivery_and_subscriptions_are_not_consent() {
    let em = Em::start(0).await;
    let account = em.account();
    granted(account, ANN);
    account.hard_bounce(ANN).unwrap();
    account.opt_out_of(ANN, "Newsletter").unwrap();
    account.delete_contact(contact(account, BEN)).unwrap();
    let state = account.address(ANN);
    assert!(state.hard_bounced);
    assert_eq!(state.opted_out_of, ["Newsletter"]);
    assert_eq!(state.consents[MARKETING].basis, "Consent");
    account.delete_contact(state.contacts[0].id).unwrap();
    assert!(
        account.address(ANN).hard_bounced,
        "remembered without the contact"
    );
    account.opt_in_to(ANN, "Newsletter").unwrap();
    assert!(account.address(ANN).opted_out_of.is_empty());
    assert!(account.opt_out_of(ANN, "Gossip").is_err());
}

#[tokio::test]
async fn master_data_can_change_under_a_client() {
    let em = Em::start(0).await;
    let account = em.account();
    granted(account, ANN);
    let kind = consentd_sandbox::emarketeer::Kind::Purpose;
    let profiling = account.add_master_data(kind, "Profiling").unwrap();
    account
        .rename_master_data(kind, STORE, "Store data")
        .unwrap();
    account.remove_master_data(kind, MARKETING).unwrap();
    let shown = em.ok("/consent-public/v1/purposes").await;
    let names: Vec<&str> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Store data", "Profiling"]);
    assert_eq!(
        shown[0]["id"],
        em.purpose(STORE),
        "a renamed item keeps its id"
    );
    assert_eq!(shown[1]["id"], profiling);
    let refused = em.create(em.record(ANN, MARKETING, "Withdrawn")).await;
    assert_eq!(
        refused.0, 400,
        "what is no longer offered cannot be written"
    );
    let rows = em.ok(&format!("{CONSENTS}?key={ANN}")).await;
    assert_eq!(rows.as_array().unwrap().len(), 2, "but old records stay");
    assert!(account.rename_master_data(kind, "nothing", "x").is_err());
}

#[tokio::test]
async fn a_late_record_keeps_its_time() {
    let em = Em::start(0).await;
    let account = em.account();
    account
        .set_fault(Fault::LateCommit { seconds: 30 })
        .unwrap();
    let (status, stored) = em.create(em.record(ANN, MARKETING, "Consent")).await;
    assert_eq!(status, 200);
    account.unsubscribe(BEN).unwrap();
    assert_eq!(
        (em.marketing(ANN).await, em.marketing(BEN).await),
        (None, None)
    );
    em.sandbox.clock().advance(31);
    let shown = em.ok(&format!("{CONSENTS}?key={ANN}")).await;
    assert_eq!(shown[0]["createdAt"], stored["createdAt"]);
    assert_eq!(em.marketing(BEN).await, Some("Withdrawn".into()));
}
