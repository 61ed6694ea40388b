//! R15, R32: a write whose decision changes between its claim and its sending was never sent, so nobody's
//! act is taken for its echo. On both databases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;
#[path = "common/postgres.rs"]
mod postgres;

use consentd::consent::{Basis, Shown, Status};
use consentd::store::{OutboxRow, PENDING};
use consentd::sync::emit::emit_batch;
use hub::{Hub, MARKETING};
use postgres::Database;

const SYSTEMS: &[&str] = &["crm", "superoffice", "emarketeer"];

const WITHDRAWN: Shown = Shown::Record {
    status: Status::Withdrawn,
    basis: None,
};

fn granted(basis: Basis) -> Shown {
    Shown::Record {
        status: Status::Granted,
        basis: Some(basis),
    }
}

async fn writes_to(hub: &Hub, system: &str) -> Vec<OutboxRow> {
    let id = hub.engine.member(system).unwrap().id.0;
    let mut rows = hub.store.outbox(0, 99).await.unwrap();
    rows.retain(|row| row.key.system == id);
    rows
}

async fn a_claim_that_was_not_sent_leaves_no_echo(database: Option<Database>) {
    let url = database.as_ref().map(|database| database.url.clone());
    let hub = Hub::start_in(SYSTEMS, "", url).await;
    hub.fakes.person(SYSTEMS, "ann");
    hub.pass(60);
    let superoffice = hub.fakes.get("superoffice");
    superoffice.save("ann", MARKETING, &granted(Basis::Consent));
    hub.settle().await;
    superoffice.reset_calls();
    hub.pass(60);
    hub.fakes.get("crm").save("ann", MARKETING, &Shown::Set);
    hub.poll().await;

    // The withdrawal is claimed, and before it is sent somebody says something else.
    let held = superoffice.hold_look();
    let member = hub.engine.member("superoffice").unwrap();
    let meanwhile = async {
        held.begun.notified().await;
        hub.pass(60);
        let contract = granted(Basis::Contract);
        hub.fakes
            .get("emarketeer")
            .save("ann", MARKETING, &contract);
        hub.poll().await;
        held.end.notify_one();
    };
    let (claimed, ()) = tokio::join!(emit_batch(member), meanwhile);
    assert_eq!(claimed.unwrap(), 1);
    assert_eq!(superoffice.calls().writes, 0, "nothing was sent");
    let rows = writes_to(&hub, "superoffice").await;
    let [row] = &rows[..] else {
        panic!("{rows:?}");
    };
    assert_eq!((row.state, row.in_flight.as_str()), (PENDING, ""));

    // The person withdraws there by itself: what was never sent is not taken for the cause.
    hub.pass(60);
    superoffice.save("ann", MARKETING, &WITHDRAWN);
    hub.settle().await;
    assert_eq!(superoffice.shown("ann", MARKETING), WITHDRAWN);
    let emarketeer = hub.fakes.get("emarketeer");
    assert_eq!(emarketeer.shown("ann", MARKETING), WITHDRAWN);
    assert_eq!(hub.fakes.get("crm").shown("ann", MARKETING), Shown::Set);
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_a_claim_that_was_not_sent_leaves_no_echo() {
    a_claim_that_was_not_sent_leaves_no_echo(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_nor_does_it_on_postgres() {
    a_claim_that_was_not_sent_leaves_no_echo(Some(Database::create().await)).await;
}
