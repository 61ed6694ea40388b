//! eMarketeer in the loop: an account beside two orgs, the engine, an embedded store. What is looked
//! at is what the systems show, and how often they were written to.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of the rig")]
mod common;

use common::engine::{Pair, Rig, next_second};
use consentd::store::DEAD;
use consentd_sandbox::AGENT;
use consentd_sandbox::emarketeer::{Account, NewContact, master};

/// A person in all three systems, whose address is `<name>@rig.example`.
fn person(rig: &Rig, name: &str) -> Pair {
    let contact = NewContact {
        address: address(name),
        ..NewContact::default()
    };
    account(rig).create_contact(&contact).unwrap();
    rig.person(name)
}

fn address(name: &str) -> String {
    format!("{name}@rig.example")
}

fn account(rig: &Rig) -> &Account {
    rig.sandbox.emarketeer()
}

fn basis(rig: &Rig, name: &str) -> Option<String> {
    account(rig).basis(&address(name), master::MARKETING)
}

const WITHDRAWN: Option<&str> = Some(master::WITHDRAWN);

#[tokio::test(flavor = "multi_thread")]
async fn g04_three_untidy_systems_converge_and_then_nothing_is_written() {
    let rig = Rig::start_with_emarketeer(400).await;
    rig.settle().await;
    let account = account(&rig);
    let records = account.record_count();
    rig.sandbox.salesforce().reset_calls();
    rig.sandbox.ascend().reset_calls();
    account.reset_calls();
    rig.settle().await;
    assert_eq!(account.record_count(), records);
    assert_eq!(account.calls().records_written, 0);
    assert_eq!(account.calls().contacts_created, 0);
    assert_eq!(rig.sandbox.salesforce().calls().rows_changed, 0);
    assert_eq!(rig.sandbox.ascend().calls().rows_changed, 0);
    // Who has withdrawn in one has withdrawn in the other, as far as the oldest contact speaks.
    let org = rig.sandbox.salesforce();
    let mut both = 0;
    for id in account.contact_ids(usize::MAX) {
        let address = account.contact(id).unwrap().address;
        let mut contacts = org.contacts_by_address(&address);
        contacts.retain(|contact| !contact.deleted);
        contacts.sort_by_key(|contact| (contact.created, contact.id.clone()));
        let Some(oldest) = contacts.first() else {
            continue;
        };
        let out = account.basis(&address, master::MARKETING).as_deref() == WITHDRAWN;
        // A link may give the contact another subject than its own address.
        if oldest.ascend_id.is_none() {
            assert_eq!(oldest.opted_out, out, "{address}");
            both += 1;
        }
    }
    assert!(both > 10, "{both} were compared");
}

#[tokio::test(flavor = "multi_thread")]
async fn r18_a_withdrawal_and_a_later_consent_travel_both_ways() {
    let mut rig = Rig::start_with_emarketeer(0).await;
    let ann = person(&rig, "ann");
    let bob = person(&rig, "bob");
    rig.settle().await;
    assert_eq!(account(&rig).record_count(), 0, "silence is not passed on");
    account(&rig).unsubscribe(&address("ann")).unwrap();
    Rig::opt(rig.sandbox.salesforce(), &bob.salesforce, true, AGENT);
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (true, true));
    assert_eq!(basis(&rig, "bob").as_deref(), WITHDRAWN);
    let record = account(&rig)
        .consent(&address("bob"), master::MARKETING)
        .unwrap();
    assert_eq!(record.source, master::INTEGRATION);
    let text = record.text.unwrap();
    assert!(
        text.starts_with("consentd: said in salesforce at ") && !text.contains('@'),
        "{text}"
    );
    rig.restart().await;
    next_second().await;
    account(&rig)
        .submit_form(&address("ann"), &[master::MARKETING], Some("yes"))
        .unwrap();
    account(&rig)
        .submit_form(&address("bob"), &[master::MARKETING], Some("yes"))
        .unwrap();
    rig.settle().await;
    assert_eq!(
        rig.shown(&ann),
        (false, false),
        "the person's later word holds"
    );
    assert_eq!(rig.shown(&bob), (false, false));
    next_second().await;
    Rig::opt(rig.sandbox.ascend(), &ann.ascend, true, AGENT);
    rig.settle().await;
    assert_eq!(basis(&rig, "ann").as_deref(), WITHDRAWN);
    assert_eq!(
        account(&rig).history(&address("ann")).len(),
        3,
        "each was written once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_the_echo_of_a_write_does_not_outrank_what_came_after_its_origin() {
    let mut rig = Rig::start_with_emarketeer(0).await;
    let ann = person(&rig, "ann");
    rig.settle().await;
    // Withdrawn first; the copy in eMarketeer gets a later time than the opt-in below would need.
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, true, AGENT);
    rig.settle().await;
    let copied = account(&rig)
        .consent(&address("ann"), master::MARKETING)
        .unwrap();
    rig.restart().await;
    rig.settle().await;
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, false, AGENT);
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (false, false));
    let now = account(&rig)
        .consent(&address("ann"), master::MARKETING)
        .unwrap();
    assert!(
        now.at > copied.at && now.basis == master::CONSENT,
        "{now:?}"
    );
    assert_eq!(account(&rig).history(&address("ann")).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_what_a_deleted_contact_withdrew_stays_and_nothing_is_written_there() {
    let rig = Rig::start_with_emarketeer(0).await;
    // Withdrawn long ago, and deleted since: only the record is left.
    account(&rig)
        .set_basis(
            &address("ann"),
            master::MARKETING,
            master::WITHDRAWN,
            master::LINK,
            None,
            None,
        )
        .unwrap();
    let ann = rig.person("ann");
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (true, true));
    assert_eq!(account(&rig).contact_count(), 0);
    next_second().await;
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, false, AGENT);
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (false, false), "a later word counts");
    assert_eq!(
        account(&rig).record_count(),
        1,
        "R7: nobody is there to write to"
    );
    assert_eq!(account(&rig).contact_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r08_a_contact_that_is_gone_is_found_out_and_leaves_no_dead_letter() {
    let rig = Rig::start_with_emarketeer(0).await;
    let ann = person(&rig, "ann");
    rig.settle().await;
    let id = account(&rig).contacts_by_address(&address("ann"))[0].id;
    account(&rig).delete_contact(id).unwrap();
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, true, AGENT);
    rig.settle().await;
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (true, true));
    assert_eq!(account(&rig).record_count(), 0);
    let outbox = rig.store.outbox(0, 100).await.unwrap();
    assert!(outbox.iter().all(|row| row.state != DEAD), "{outbox:?}");
}
