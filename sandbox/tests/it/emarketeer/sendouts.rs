//! Send-outs and their checklist.

use chrono::TimeDelta;
use consentd_sandbox::emarketeer::{Outcome, Sendout, master};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Em, MARKETING};
use crate::client::read;

fn address(who: &str) -> String {
    format!("{who}@x.example")
}

/// An account in which the name of everybody says why they are not written to.
async fn rig() -> Em {
    let em = Em::start(0).await;
    let account = em.account();
    let everybody = ["yes", "off", "out", "bounced", "silent", "blocked", "both"];
    for who in everybody {
        account
            .submit_form(&address(who), &[MARKETING], None)
            .unwrap();
    }
    account
        .submit_form("new@strict.example", &[MARKETING], None)
        .unwrap();
    account
        .submit_form("old@strict.example", &[MARKETING], None)
        .unwrap();
    account
        .submit_form("ann@rival.example", &[MARKETING], None)
        .unwrap();
    account.confirm("old@strict.example").unwrap();
    account.opt_out_of(&address("off"), "Newsletter").unwrap();
    account.opt_out_of(&address("both"), "Newsletter").unwrap();
    account.unsubscribe(&address("both")).unwrap();
    account.unsubscribe(&address("out")).unwrap();
    account.hard_bounce(&address("bounced")).unwrap();
    account.fall_silent(&address("silent")).unwrap();
    account.change_settings(|settings| {
        settings.blocked_domains = vec!["rival.example".to_owned()];
        settings.double_opt_in_domains = vec!["strict.example".to_owned()];
    });
    em
}

#[tokio::test]
async fn each_recipient_is_counted_under_the_first_reason() {
    let em = rig().await;
    let sendout = json!({
        "recipients": [
            address("yes"), address("off"), address("both"), address("out"), address("none"), address("bounced"),
            address("silent"), "ann@rival.example", address("blocked"), "new@strict.example", "old@strict.example",
            " YES@x.example",
        ],
        "category": "Newsletter",
        "excludeUnengaged": true,
        "blocked": [address("blocked")],
    });
    let response = em
        .bare(Method::POST, "/_sim/sendouts")
        .json(&sendout)
        .send()
        .await
        .unwrap();
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    let counts = &body["checklist"]["counts"];
    let expected = [
        ("addressedByYou", 12),
        ("duplicates", 1),
        ("unsubscribed", 2),
        ("consentWithdrawn", 2),
        ("undeliverable", 1),
        ("unengaged", 1),
        ("blockedDomains", 1),
        ("blockedContacts", 1),
        ("invalidSender", 0),
        ("missingDoubleOptIn", 1),
        ("willBeAddressed", 2),
        ("willNotBeAddressed", 10),
    ];
    let mut place = 0;
    for (name, count) in expected {
        assert_eq!(counts[name], count, "{name} in {counts}");
        let found = text.find(&format!("\"{name}\"")).unwrap();
        assert!(found > place, "{name} is out of the vendor's order");
        place = found;
    }
    assert_eq!(
        body["checklist"]["recipients"][4],
        json!([address("none"), "consentWithdrawn"]),
        "missing is not given"
    );
    assert_eq!(body["sent"]["counts"], *counts, "it went out at once");

    let read_again = em
        .bare(Method::GET, &format!("/_sim/sendouts/{}", body["id"]))
        .send()
        .await
        .unwrap();
    assert_eq!(read(read_again).await.1, body);
    em.account().reset_calls();
    assert_eq!(em.get("/_sim/sendouts/999").await.0, 403);
    let bad = json!({"recipients": [], "category": "Gossip"});
    assert_eq!(em.post("/_sim/sendouts", bad).await.0, 400);
}

#[tokio::test]
async fn other_send_outs_judge_otherwise() {
    let em = rig().await;
    let account = em.account();
    let outcome = |change: &dyn Fn(&mut Sendout), who: &str| {
        let mut sendout = Sendout {
            recipients: vec![who.to_owned()],
            ..Sendout::default()
        };
        change(&mut sendout);
        account.plan_sendout(sendout).unwrap().checklist.recipients[0].1
    };
    assert_eq!(
        outcome(&|_| {}, &address("off")),
        Outcome::Addressed,
        "tagged with no category"
    );
    assert_eq!(outcome(&|_| {}, &address("out")), Outcome::ConsentWithdrawn);
    assert_eq!(
        outcome(&|sendout| sendout.transactional = true, &address("out")),
        Outcome::Addressed
    );
    assert_eq!(
        outcome(&|sendout| sendout.transactional = true, &address("bounced")),
        Outcome::Undeliverable
    );
    assert_eq!(outcome(&|_| {}, &address("silent")), Outcome::Addressed);
    assert_eq!(
        outcome(
            &|sendout| sendout.sender = Some("us".to_owned()),
            &address("yes")
        ),
        Outcome::InvalidSender
    );
    assert_eq!(
        outcome(&|_| {}, &address("none")),
        Outcome::ConsentWithdrawn
    );
    account.change_settings(|settings| settings.positive_basis_required = false);
    assert_eq!(
        outcome(&|_| {}, &address("none")),
        Outcome::Addressed,
        "an account from before April 2024"
    );
}

#[tokio::test]
async fn a_scheduled_send_out_is_judged_again_when_it_goes_out() {
    let em = rig().await;
    let account = em.account();
    let at = account.now() + TimeDelta::hours(1);
    let sendout = Sendout {
        recipients: vec![address("yes"), address("silent")],
        scheduled_at: Some(at),
        ..Sendout::default()
    };
    let planned = account.plan_sendout(sendout).unwrap();
    assert_eq!(
        (
            planned.checklist.counts.will_be_addressed,
            planned.sent.is_none()
        ),
        (2, true)
    );
    em.sandbox.clock().advance(3_500);
    account.unsubscribe(&address("yes")).unwrap();
    assert!(account.sendout(planned.id).unwrap().sent.is_none());
    em.sandbox.clock().advance(3_600);
    // After the moment of sending, so too late.
    account.unsubscribe(&address("silent")).unwrap();
    let sent = account.sendout(planned.id).unwrap().sent.unwrap();
    assert_eq!((sent.at, sent.counts.will_be_addressed), (at, 1));
    assert_eq!(
        sent.recipients[0],
        (address("yes"), Outcome::ConsentWithdrawn)
    );
}

#[tokio::test]
async fn a_bulk_action_on_its_way_is_not_waited_for() {
    let em = rig().await;
    let account = em.account();
    account.change_settings(|settings| settings.bulk_rows_per_second = 1);
    let recipients: Vec<String> = (0..200)
        .map(|number| format!("p{number}@x.example"))
        .collect();
    account
        .bulk_update(&recipients, None, Some(master::CONSENT))
        .unwrap();
    let at = account.now() + TimeDelta::seconds(100);
    let sendout = Sendout {
        recipients,
        scheduled_at: Some(at),
        ..Sendout::default()
    };
    let id = account.plan_sendout(sendout).unwrap().id;
    em.sandbox.clock().advance(1_000);
    let sent = account.sendout(id).unwrap().sent.unwrap();
    let addressed = sent.counts.will_be_addressed;
    assert!(
        (99..=103).contains(&addressed),
        "{addressed} of 200 had their basis by then"
    );
}
