//! How systems are asked: in batches, beside each other, again after passing trouble, and never
//! beyond what one bad record or address spoils.

use crate::fakes::{Card, Fake, MAIL, Stage, card, stage};
use crate::{NOW, STORED, answers, check, sources};
use consentd::connector::{Fault, FaultClass};
use consentd::consent::{Answer, Status};
use std::sync::Arc;
use tokio::sync::Barrier;

const IN: Option<Status> = Some(Status::Granted);
const OUT: Option<Status> = Some(Status::Withdrawn);

/// `p0@x.example`, `p1@x.example`, …
fn people(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("p{n}@x.example")).collect()
}

/// One system that knows these people, who all granted.
async fn one(look_up: usize, known: &[String]) -> (Stage, Arc<Fake>) {
    let crm = Fake::new(look_up, None);
    for address in known {
        crm.put(address, card(address, IN));
    }
    let stage = stage(&[("crm", Arc::clone(&crm))], 1).await;
    (stage, crm)
}

async fn checked(stage: &Stage, list: &[String]) -> consentd::sync::checklist::Checklist {
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    check(stage.crew.clone(), MAIL, NOW, &list).await
}

#[tokio::test]
async fn r41_everybody_is_looked_up_once_in_batches_that_the_system_takes() {
    let list = people(250);
    let (stage, crm) = one(100, &list[..120]).await;
    let checklist = checked(&stage, &list).await;
    let counts = checklist.counts();
    assert_eq!(counts.of(Answer::Send), 120);
    assert_eq!(counts.of(Answer::UnknownAddress), 130);
    let mut sizes = crm.sizes();
    sizes.sort_unstable();
    assert_eq!(sizes, [(50, 0), (100, 20), (100, 100)]);
    let report = &checklist.reports[0];
    assert_eq!((report.look_ups, report.batch), (3, 100));
    let mut asked: Vec<String> = crm
        .asked
        .lock()
        .unwrap()
        .iter()
        .flat_map(|wanted| wanted.addresses.clone())
        .collect();
    asked.sort_unstable();
    let mut expected = list.clone();
    expected.sort_unstable();
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn r41_each_place_of_a_list_of_several_pages_gets_its_own_answer() {
    let list = people(6_000);
    let crm = Fake::new(6_000, None);
    let mut expected = Vec::new();
    for (place, address) in list.iter().enumerate() {
        let (known, answer) = match place % 4 {
            0 => (Some(card(address, IN)), "send by crm"),
            1 => (Some(card(address, OUT)), "withdrawn by crm"),
            2 => (Some(card(address, None)), "no-legal-basis"),
            _ => (None, "unknown-address"),
        };
        if let Some(known) = known {
            crm.put(address, known);
        }
        expected.push(answer);
    }
    let stage = stage(&[("crm", crm)], 1).await;
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let checklist = check(stage.crew.clone(), MAIL, STORED, &list).await;
    assert_eq!(sources(&checklist), ["crm stored"]);
    let wrong: Vec<_> = answers(&checklist)
        .into_iter()
        .zip(expected)
        .enumerate()
        .filter(|(_, (found, expected))| found != expected)
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {}: {wrong:?}",
        wrong.len(),
        list.len()
    );
}

#[tokio::test]
async fn r04_an_address_with_more_contacts_than_a_look_up_takes_is_looked_up_in_several() {
    let crm = Fake::new(10, None);
    for n in 0..35 {
        crm.put(&format!("{n:02}"), card("many@x.example", IN));
    }
    let stage = stage(&[("crm", Arc::clone(&crm))], 1).await;
    let list = ["many@x.example".to_owned(), "none@x.example".to_owned()];
    crm.put(
        "34",
        Card {
            deleted: true,
            said: 1,
            ..card("many@x.example", OUT)
        },
    );
    let checklist = checked(&stage, &list).await;
    let found: usize = crm.sizes().iter().map(|(_, contacts)| contacts).sum();
    assert_eq!(found, 35);
    assert_eq!(
        answers(&checklist),
        ["withdrawn by crm", "unknown-address"],
        "what the last of them withdrew is seen"
    );
}

#[tokio::test]
async fn r41_the_systems_are_asked_beside_each_other() {
    // Each look-up waits until the other system's has begun: one after the other would never end.
    let barrier = Arc::new(Barrier::new(2));
    let fakes = ["one", "two"].map(|name| (name, Fake::new(10, Some(Arc::clone(&barrier)))));
    for (_, fake) in &fakes {
        fake.put("1", card("ann@x.example", IN));
    }
    let stage = stage(&fakes, 2).await;
    let list = ["ann@x.example".to_owned()];
    let asked = checked(&stage, &list);
    let checklist = tokio::time::timeout(std::time::Duration::from_secs(20), asked)
        .await
        .unwrap();
    assert_eq!(answers(&checklist), ["send by one"]);
}

#[tokio::test]
async fn r41_a_further_address_of_a_contact_gets_the_stricter_of_two_answers() {
    let (crm, records) = (Fake::new(10, None), Fake::new(10, None));
    crm.put("a", card("second@x.example", IN));
    crm.put("b", card("third@x.example", IN));
    let further = |address: &str, further: &str, status| Card {
        further: vec![further.to_owned()],
        said: if status == OUT { 1 } else { 90 },
        ..card(address, status)
    };
    records.put("1", further("main@x.example", "Second@X.example", IN));
    records.put("2", further("other@x.example", "third@x.example", IN));
    records.put("3", further("last@x.example", "fourth@x.example", IN));
    let stage = stage(
        &[("crm", Arc::clone(&crm)), ("records", Arc::clone(&records))],
        2,
    )
    .await;
    let list = ["second", "third", "fourth"].map(|name| format!("{name}@x.example"));
    assert_eq!(
        answers(&checked(&stage, &list).await),
        ["send by crm", "send by crm", "unknown-address"],
        "a further address alone makes nobody mailable"
    );
    // Withdrawn at this moment by the person who has the second address too.
    records.put("1", further("main@x.example", "Second@X.example", OUT));
    assert_eq!(
        answers(&checked(&stage, &list).await),
        ["withdrawn by records", "send by crm", "unknown-address"]
    );
}

#[tokio::test]
async fn r58_a_contact_that_a_new_link_leads_to_is_looked_up_too() {
    let (crm, other) = (Fake::new(10, None), Fake::new(10, None));
    let linked = |address: &str, status| Card {
        link: Some("P-1".to_owned()),
        said: if status == OUT { 1 } else { 60 },
        ..card(address, status)
    };
    other.put("1", linked("private@x.example", IN));
    let stage = stage(
        &[("crm", Arc::clone(&crm)), ("other", Arc::clone(&other))],
        2,
    )
    .await;
    // Since the feeds were read, a contact of the same person has come, and they withdrew elsewhere.
    crm.put("a", linked("ann@x.example", IN));
    other.put("1", linked("private@x.example", OUT));
    let checklist = checked(&stage, &["ann@x.example".to_owned()]).await;
    assert_eq!(answers(&checklist), ["withdrawn by other"]);
    assert_eq!(other.sizes(), [(1, 0), (0, 1)], "in a second round");
    assert_eq!(crm.sizes(), [(1, 0)]);
}

#[tokio::test]
async fn r40_a_record_that_nobody_knows_spoils_the_answer_of_its_address_alone() {
    let list = people(100);
    let (stage, crm) = one(100, &list[..60]).await;
    crm.put("stranger", card(&list[80], OUT));
    crm.trouble.lock().unwrap().poison = vec!["stranger".to_owned()];
    let checklist = checked(&stage, &list).await;
    let counts = checklist.counts();
    assert_eq!(counts.of(Answer::Send), 60);
    assert_eq!(counts.of(Answer::UnknownAddress), 39);
    assert_eq!(answers(&checklist)[80], "unverified");
    let look_ups = crm.sizes().len();
    assert!(
        (8..=17).contains(&look_ups),
        "halved until it is alone: {look_ups}"
    );
    assert_eq!(
        sources(&checklist),
        ["crm unavailable (a contact of crm cannot be understood)"]
    );
}

#[tokio::test]
async fn r40_a_refused_address_spoils_its_own_answer_alone() {
    let list = people(50);
    let (stage, crm) = one(50, &list).await;
    crm.trouble.lock().unwrap().refused = Some(list[7].clone());
    let checklist = checked(&stage, &list).await;
    assert_eq!(checklist.counts().of(Answer::Send), 49);
    assert_eq!(answers(&checklist)[7], "unverified by crm");
    assert_eq!(sources(&checklist), ["crm unavailable (rejected refused)"]);
}

#[tokio::test]
async fn r35_passing_trouble_is_tried_again_and_a_limit_is_not() {
    let list = people(30);
    let (stage, crm) = one(10, &list).await;
    let fault = |class| Fault::new(class, "trouble", "for a test");
    crm.trouble.lock().unwrap().faults = vec![fault(FaultClass::Retryable)];
    let checklist = checked(&stage, &list).await;
    assert_eq!(checklist.counts().of(Answer::Send), 30);

    crm.trouble.lock().unwrap().faults = vec![fault(FaultClass::RateLimited); 9];
    crm.asked.lock().unwrap().clear();
    let checklist = checked(&stage, &list).await;
    assert_eq!(checklist.counts().of(Answer::Unverified), 30);
    assert_eq!(
        sources(&checklist),
        ["crm unavailable (rate-limited trouble)"]
    );
    assert!(crm.sizes().len() <= 3, "nothing is tried again");
    crm.asked.lock().unwrap().clear();
    let checklist = checked(&stage, &list).await;
    assert_eq!(checklist.counts().of(Answer::Unverified), 30);
    assert_eq!(crm.sizes().len(), 0, "nor called while its calls pause");
    let stored = check(stage.crew.clone(), MAIL, STORED, &[&list[0]]).await;
    assert_eq!(
        answers(&stored),
        ["send by crm"],
        "what is fresh enough needs no call"
    );
}

#[tokio::test]
async fn r42_a_purpose_that_no_system_carries_verifies_nobody() {
    let crm = Fake::new(10, None);
    crm.put("1", card("ann@x.example", IN));
    let stage = stage(&[("crm", Arc::clone(&crm))], 0).await;
    for freshness in [NOW, STORED] {
        let checklist = check(stage.crew.clone(), MAIL, freshness, &["ann@x.example"]).await;
        assert_eq!(answers(&checklist), ["unverified"]);
        assert_eq!(sources(&checklist), [""; 0]);
    }
}

#[tokio::test]
async fn r41_an_empty_list_asks_nobody() {
    let (stage, crm) = one(10, &people(1)).await;
    let checklist = checked(&stage, &[]).await;
    assert_eq!(checklist.lines, []);
    assert_eq!(crm.sizes(), []);
}
