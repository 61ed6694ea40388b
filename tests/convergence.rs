//! The loop end to end: two simulated orgs, the engine, an embedded store. What is looked at is what
//! the orgs show, and how often they were written to.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of the rig")]
mod common;

use common::engine::{Rig, next_second, object};
use consentd::connector::FaultClass;
use consentd::sync::switches::{Operator, redrive};
use consentd_sandbox::{AGENT, CallKind, DATA_LOAD, Fault, LoadScope, RECORDS, Rule, SPECIALIST};
use serde_json::json;

const OUT: bool = true;
const IN: bool = false;

#[tokio::test(flavor = "multi_thread")]
async fn g04_two_untidy_orgs_converge_and_then_nothing_is_written() {
    converges(Rig::start(600).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_two_untidy_orgs_converge_on_postgres_too() {
    converges(Rig::start_on_postgres(600).await).await;
}

async fn converges(rig: Rig) {
    rig.settle().await;
    rig.assert_parity();
    rig.sandbox.salesforce().reset_calls();
    rig.sandbox.ascend().reset_calls();
    rig.settle().await;
    for org in [rig.sandbox.salesforce(), rig.sandbox.ascend()] {
        let calls = org.calls();
        assert_eq!(
            (calls.rows_changed, calls.rows_unchanged),
            (0, 0),
            "after quiescence nothing is written"
        );
        assert!(calls.of(CallKind::QueryAll) > 0, "but the feed was read");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_our_own_write_never_speaks_not_even_after_a_restart() {
    let mut rig = Rig::start(0).await;
    let ann = rig.person("ann");
    rig.settle().await;
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, OUT, AGENT);
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (OUT, OUT));
    rig.restart().await;
    // Later than the opt-out itself, earlier than nothing: were our write in Ascend taken for a
    // statement, this opt-in would still win; were its time taken over, a tie could keep it out.
    next_second().await;
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, IN, SPECIALIST);
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (IN, IN), "the person's later word holds");
    let by = rig
        .sandbox
        .ascend()
        .contact(&ann.ascend)
        .unwrap()
        .modified_by;
    assert_eq!(by, consentd_sandbox::INTEGRATION);
}

#[tokio::test(flavor = "multi_thread")]
async fn r18_the_later_change_wins_whichever_system_it_was_made_in() {
    let rig = Rig::start(0).await;
    let (bob, eve) = (rig.person("bob"), rig.person("eve"));
    rig.settle().await;
    Rig::opt(rig.sandbox.salesforce(), &bob.salesforce, OUT, AGENT);
    Rig::opt(rig.sandbox.ascend(), &eve.ascend, OUT, RECORDS);
    Rig::opt(rig.sandbox.salesforce(), &eve.salesforce, OUT, AGENT);
    Rig::opt(rig.sandbox.ascend(), &bob.ascend, OUT, RECORDS);
    next_second().await;
    Rig::opt(rig.sandbox.ascend(), &bob.ascend, IN, RECORDS);
    Rig::opt(rig.sandbox.salesforce(), &eve.salesforce, IN, SPECIALIST);
    next_second().await;
    Rig::opt(rig.sandbox.ascend(), &eve.ascend, IN, RECORDS);
    next_second().await;
    Rig::opt(rig.sandbox.ascend(), &eve.ascend, OUT, RECORDS);
    rig.settle().await;
    assert_eq!(rig.shown(&bob), (IN, IN), "the opt-in in Ascend was last");
    assert_eq!(
        rig.shown(&eve),
        (OUT, OUT),
        "the opt-out in Ascend was last"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_an_opt_out_clears_the_boxes_even_where_the_org_does_not_and_an_opt_in_leaves_them_off()
{
    let rig = Rig::start(0).await;
    rig.sandbox
        .salesforce()
        .change_settings(|settings| settings.opt_out_clears_boxes = false);
    let kim = rig.person("kim");
    rig.settle().await;
    let boxes = || {
        let contact = rig.sandbox.salesforce().contact(&kim.salesforce).unwrap();
        contact
            .preferences
            .values()
            .filter(|ticked| **ticked)
            .count()
    };
    assert_eq!(boxes(), 1, "a box is ticked to begin with");
    Rig::opt(rig.sandbox.ascend(), &kim.ascend, OUT, RECORDS);
    rig.settle().await;
    assert_eq!((rig.shown(&kim), boxes()), ((OUT, OUT), 0));
    next_second().await;
    Rig::opt(rig.sandbox.ascend(), &kim.ascend, IN, RECORDS);
    rig.settle().await;
    assert_eq!(
        (rig.shown(&kim), boxes()),
        ((IN, IN), 0),
        "granting again grants no category"
    );
    let ticked = object(json!({ "Email_Events__c": true }));
    rig.sandbox
        .salesforce()
        .edit(&kim.salesforce, &ticked, SPECIALIST)
        .unwrap();
    rig.settle().await;
    assert_eq!(boxes(), 1, "a box that is ticked again stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_manual_load_is_healed_and_grants_nothing() {
    let rig = Rig::start(0).await;
    let people: Vec<_> = (0..40).map(|n| rig.person(&format!("p{n}"))).collect();
    rig.settle().await;
    rig.sandbox.ascend().snapshot("old").unwrap();
    for person in &people {
        Rig::opt(rig.sandbox.salesforce(), &person.salesforce, OUT, AGENT);
    }
    rig.settle().await;
    assert!(people.iter().all(|person| rig.shown(person) == (OUT, OUT)));
    next_second().await;
    rig.sandbox.salesforce().reset_calls();
    let report = rig
        .sandbox
        .ascend()
        .load("old", &LoadScope::default(), DATA_LOAD)
        .unwrap();
    assert_eq!(
        report.changed,
        people.len(),
        "the load overwrote all of them"
    );
    rig.settle().await;
    assert!(
        people.iter().all(|person| rig.shown(person) == (OUT, OUT)),
        "all are healed"
    );
    assert_eq!(
        rig.sandbox.salesforce().calls().rows_changed,
        0,
        "nothing of the load reached Salesforce"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r33_a_lost_answer_is_settled_by_a_look_and_not_by_a_second_write() {
    let rig = Rig::start(0).await;
    let ann = rig.person("ann");
    rig.settle().await;
    let lost = Rule::from(Fault::CutAfter)
        .times(1)
        .calls(&[CallKind::CollectionsWrite]);
    rig.sandbox.ascend().set_fault(lost).unwrap();
    rig.sandbox.ascend().reset_calls();
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, OUT, AGENT);
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (OUT, OUT));
    let calls = rig.sandbox.ascend().calls();
    assert_eq!(
        (calls.rows_changed, calls.rows_unchanged),
        (1, 0),
        "written once"
    );
    assert!(
        rig.ear
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|fault| fault.maybe_sent),
        "the doubt was heard of"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn g17_a_queued_opt_in_that_an_opt_out_overtakes_is_never_sent() {
    let rig = Rig::start(0).await;
    let ann = rig.person("ann");
    rig.settle().await;
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, OUT, AGENT);
    rig.settle().await;
    rig.sandbox.ascend().reset_calls();
    next_second().await;
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, IN, SPECIALIST);
    Rig::until_visible().await;
    rig.poll().await;
    // The opt-in is in the outbox and waits for `grant_settle`; before it goes out:
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, OUT, AGENT);
    Rig::until_visible().await;
    rig.poll().await;
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (OUT, OUT));
    assert_eq!(
        rig.sandbox.ascend().calls().rows_changed,
        0,
        "Ascend was never told of the opt-in"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_r14_a_new_address_takes_its_word_along_and_leaves_the_withdrawal_behind() {
    let rig = Rig::start(0).await;
    let (ann, bob) = (rig.person("ann"), rig.person("bob"));
    rig.settle().await;
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, OUT, AGENT);
    rig.settle().await;
    // Ann's Salesforce contact turns out to be another mailbox; a contact of the old one appears.
    let moved = object(json!({ "Email": "moved@rig.example", "Ascend_ID__c": null }));
    rig.sandbox
        .salesforce()
        .edit(&ann.salesforce, &moved, SPECIALIST)
        .unwrap();
    let fields = object(json!({ "LastName": "New", "Email": "ann@rig.example" }));
    let new = rig
        .sandbox
        .salesforce()
        .create("Contact", &fields, SPECIALIST, None)
        .unwrap();
    rig.settle().await;
    let out = |id: &str| rig.sandbox.salesforce().contact(id).unwrap().opted_out;
    assert!(
        out(&new),
        "what was withdrawn under the old address still holds there"
    );
    assert!(out(&ann.salesforce), "and the contact took its word along");
    assert_eq!(rig.shown(&bob), (IN, IN), "nobody else is concerned");
}

#[tokio::test(flavor = "multi_thread")]
async fn g08_deleting_a_contact_is_not_consent() {
    let rig = Rig::start(0).await;
    let ann = rig.person("ann");
    rig.settle().await;
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, OUT, AGENT);
    rig.settle().await;
    rig.sandbox
        .salesforce()
        .delete(&ann.salesforce, SPECIALIST)
        .unwrap();
    let fields = object(json!({ "LastName": "Again", "Email": "ann@rig.example" }));
    let again = rig
        .sandbox
        .salesforce()
        .create("Contact", &fields, SPECIALIST, None)
        .unwrap();
    rig.settle().await;
    assert!(
        rig.sandbox.salesforce().contact(&again).unwrap().opted_out,
        "a new contact of the person starts opted out"
    );
    assert!(
        rig.sandbox.ascend().contact(&ann.ascend).unwrap().opted_out,
        "and Ascend keeps it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r58_a_link_outranks_the_address() {
    let rig = Rig::start(0).await;
    let ann = rig.person("ann");
    let other = object(json!({ "Email": "ann.private@rig.example" }));
    rig.sandbox
        .ascend()
        .edit(&ann.ascend, &other, RECORDS)
        .unwrap();
    rig.settle().await;
    Rig::opt(rig.sandbox.ascend(), &ann.ascend, OUT, RECORDS);
    rig.settle().await;
    assert_eq!(
        rig.shown(&ann),
        (OUT, OUT),
        "one person, although the addresses differ"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_g19_rows_fail_alone_and_are_tried_again() {
    let rig = Rig::start(0).await;
    let people: Vec<_> = (0..9).map(|n| rig.person(&format!("p{n}"))).collect();
    rig.settle().await;
    rig.sandbox
        .ascend()
        .set_fault(Rule::from(Fault::RowLock { every: 3 }).times(3))
        .unwrap();
    for person in &people {
        Rig::opt(rig.sandbox.salesforce(), &person.salesforce, OUT, AGENT);
    }
    rig.settle().await;
    assert!(people.iter().all(|person| rig.shown(person) == (OUT, OUT)));
    let faults = rig.ear.0.lock().unwrap();
    let locks = faults
        .iter()
        .filter(|fault| fault.code == "UNABLE_TO_LOCK_ROW")
        .count();
    assert_eq!(locks, 3, "three rows failed, one by one");
}

#[tokio::test(flavor = "multi_thread")]
async fn r35_a_refused_row_becomes_a_dead_letter_with_the_vendors_words_and_can_be_driven_again() {
    let rig = Rig::start(0).await;
    let ann = rig.person("ann");
    rig.settle().await;
    let refusal = Fault::ValidationFailure {
        ids: None,
        message: Some("Ask the records office".to_owned()),
    };
    rig.sandbox.ascend().set_fault(refusal).unwrap();
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, OUT, AGENT);
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (OUT, IN));
    let dead = rig.store.outbox(0, 10).await.unwrap();
    assert!(
        dead[0]
            .last_error
            .as_ref()
            .unwrap()
            .contains("Ask the records office"),
        "{dead:?}"
    );
    rig.sandbox.ascend().clear_faults(None);
    let by = Operator::new("ann", "the records office has answered").unwrap();
    for (contacts, revived) in [(vec![ann.salesforce.clone()], 0), (Vec::new(), 1)] {
        let system = dead[0].key.system;
        let done = redrive(&*rig.store, system, &contacts, &by, Rig::now()).await;
        assert_eq!(done.unwrap(), revived, "{contacts:?}");
    }
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (OUT, OUT));
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_a_poison_record_is_set_aside_and_the_page_goes_on() {
    let rig = Rig::start(0).await;
    let (ann, bob) = (rig.person("ann"), rig.person("bob"));
    rig.settle().await;
    let json = r#"{"Id":"ID","HasOptedOutOfEmail":"yes"}"#.replace("ID", &ann.salesforce);
    rig.sandbox
        .salesforce()
        .set_fault(Fault::RawRecord {
            id: ann.salesforce.clone(),
            json,
        })
        .unwrap();
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, OUT, AGENT);
    Rig::opt(rig.sandbox.salesforce(), &bob.salesforce, OUT, AGENT);
    Rig::until_visible().await;
    rig.poll().await;
    let set_aside = rig.store.quarantined(None, 10).await.unwrap();
    assert_eq!(
        set_aside
            .iter()
            .map(|row| row.external.as_str())
            .collect::<Vec<_>>(),
        [ann.salesforce.as_str()]
    );
    rig.sandbox.salesforce().clear_faults(None);
    rig.sandbox.salesforce().bump(&ann.salesforce).unwrap();
    rig.settle().await;
    assert_eq!((rig.shown(&bob), rig.shown(&ann)), ((OUT, OUT), (OUT, OUT)));
    assert!(
        rig.store.quarantined(None, 10).await.unwrap().is_empty(),
        "it is understood now"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn g11_a_row_that_becomes_visible_late_is_not_missed() {
    let rig = Rig::start(0).await;
    let ann = rig.person("ann");
    rig.settle().await;
    rig.sandbox
        .salesforce()
        .set_fault(Fault::LateCommit { seconds: 4 })
        .unwrap();
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, OUT, AGENT);
    rig.sandbox.salesforce().clear_faults(None);
    // The feed passes the row's time before the row can be seen.
    for _ in 0..10 {
        rig.poll().await;
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    }
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (OUT, OUT));
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_one_systems_outage_delays_no_other() {
    let rig = Rig::start(0).await;
    let ann = rig.person("ann");
    rig.settle().await;
    rig.sandbox
        .ascend()
        .set_fault(Fault::UnavailableHtml)
        .unwrap();
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, OUT, AGENT);
    Rig::until_visible().await;
    rig.poll_one("salesforce").await.unwrap();
    let refused = rig.poll_one("ascend").await.unwrap_err();
    assert!(refused.contains("503"), "{refused}");
    assert_eq!(
        rig.store.outbox(0, 10).await.unwrap().len(),
        1,
        "the decision waits in the outbox"
    );
    rig.sandbox.ascend().clear_faults(None);
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (OUT, OUT));
    assert!(
        rig.ear
            .0
            .lock()
            .unwrap()
            .iter()
            .all(|fault| fault.class != FaultClass::ContractBroken)
    );
}
