//! CU Ascend: flags and service indicators.

use crate::bench::*;
use consentd::config::SystemKind;
use consentd::connector::ascend::config::{Mode, ServiceIndicator, Settings};
use consentd::connector::registry::connect;
use consentd::connector::{Connector, Current, FaultClass, Outcome};
use consentd::consent::{At, Evidence, Polarity, Shown};
use consentd_sandbox::{CallKind, Fault, Options, Org, RECORDS, Rule, Sandbox};
use serde_json::Value;
use std::sync::Arc;

const INDICATOR: &str = "ucinn_ascendv2__Service_Indicator__c";
const VALUE: &str = "ucinn_ascendv2__Service_Indicator_Value__c";

struct Ascend {
    sandbox: Sandbox,
    connector: Arc<dyn Connector>,
}

fn indicator() -> Mode {
    let name = |rest: &str| format!("ucinn_ascendv2__{rest}__c");
    Mode::ServiceIndicator(ServiceIndicator {
        object: INDICATOR.to_owned(),
        contact_field: name("Contact"),
        value_field: name("Service_Indicator_Value"),
        value_object: VALUE.to_owned(),
        code_field: name("Code"),
        code: "NE".to_owned(),
        also_blocking: vec!["NC".to_owned()],
        active_field: name("Is_Active"),
        start_field: name("Start_Date"),
        end_field: name("End_Date"),
        comment_field: Some(name("Comments")),
    })
}

fn flag(field: &str, polarity: Polarity) -> Mode {
    Mode::ContactFlag {
        field: field.to_owned(),
        polarity,
    }
}

impl Ascend {
    async fn new(mode: Mode) -> Self {
        let sandbox = Sandbox::start(Options {
            contacts: 0,
            seed: 7,
            port_base: None,
        })
        .await
        .unwrap();
        let connector = connect(&SystemKind::Ascend(Box::new(Settings {
            platform: platform(&sandbox, sandbox.ascend()),
            object: "Contact".to_owned(),
            id_field: "ucinn_ascendv2__Donor_ID__c".to_owned(),
            address_field: "Email".to_owned(),
            purpose: MARKETING,
            mode,
            time_zone: chrono_tz::America::Denver,
        })))
        .unwrap();
        Self { sandbox, connector }
    }

    fn org(&self) -> &Org {
        self.sandbox.ascend()
    }

    fn create(&self, number: usize) -> String {
        let all = fields(&[
            ("LastName", "Doe".into()),
            ("Email", format!("p{number}@example.org").into()),
            ("ucinn_ascendv2__Donor_ID__c", format!("D-{number}").into()),
        ]);
        self.org().create("Contact", &all, RECORDS, None).unwrap()
    }

    fn catalogue(&self, code: &str) -> String {
        let found = self
            .org()
            .select(&format!(
                "SELECT Id FROM {VALUE} WHERE ucinn_ascendv2__Code__c = '{code}'"
            ))
            .unwrap();
        match found.first() {
            Some(row) => row["Id"].as_str().unwrap().to_owned(),
            None => self
                .org()
                .create(
                    VALUE,
                    &fields(&[
                        ("Name", code.into()),
                        ("ucinn_ascendv2__Code__c", code.into()),
                    ]),
                    RECORDS,
                    None,
                )
                .unwrap(),
        }
    }

    fn indicate(&self, contact: &str, code: &str) -> String {
        let all = fields(&[
            ("ucinn_ascendv2__Contact__c", contact.into()),
            (
                "ucinn_ascendv2__Service_Indicator_Value__c",
                self.catalogue(code).into(),
            ),
            ("ucinn_ascendv2__Is_Active__c", true.into()),
        ]);
        self.org().create(INDICATOR, &all, RECORDS, None).unwrap()
    }

    fn rows(&self, contact: &str) -> Vec<Value> {
        let text = format!(
            "SELECT Id, ucinn_ascendv2__Is_Active__c, ucinn_ascendv2__Start_Date__c, ucinn_ascendv2__End_Date__c, ucinn_ascendv2__Comments__c, CreatedDate FROM {INDICATOR} WHERE ucinn_ascendv2__Contact__c = '{contact}' ORDER BY Id"
        );
        self.org().select(&text).unwrap()
    }
}

#[tokio::test]
async fn c60_a_flag_is_read_and_written_whatever_its_polarity() {
    let ascend = Ascend::new(flag("Email_Permission__c", Polarity::Permission)).await;
    let id = ascend.create(1);
    ascend.sandbox.clock().advance(60);
    let start = drain(&*ascend.connector, None).await.unwrap();
    let reading = start.last(&id).unwrap();
    assert_eq!(value(reading, MARKETING), Some(&Shown::Default));
    assert_eq!(reading.link.as_deref(), Some("D-1"));
    assert_eq!(
        ascend
            .connector
            .write(&[set(&id, MARKETING, Shown::Set)])
            .await
            .unwrap(),
        [Outcome::Applied]
    );
    assert_eq!(ascend.org().contact(&id).unwrap().permission, Some(true));
    ascend.sandbox.clock().advance(60);
    let next = drain(&*ascend.connector, Some(start.cursor)).await.unwrap();
    assert_eq!(value(next.last(&id).unwrap(), MARKETING), Some(&Shown::Set));
    let probe = ascend.connector.probe().await.unwrap();
    assert_eq!(
        next.last(&id).unwrap().told[0].actor,
        probe.own_actor,
        "the echo is known by its user"
    );
}

#[tokio::test]
async fn c61_a_write_that_cannot_be_read_back_is_unknown() {
    let ascend = Ascend::new(flag("HasOptedOutOfEmail", Polarity::OptOut)).await;
    let id = ascend.create(1);
    ascend
        .org()
        .set_fault(Rule::from(Fault::UnavailableJson).calls(&[CallKind::CollectionsRead]))
        .unwrap();
    let outcomes = ascend
        .connector
        .write(&[set(&id, MARKETING, Shown::Set)])
        .await
        .unwrap();
    assert!(matches!(&outcomes[0], Outcome::Unknown(_)), "{outcomes:?}");
}

#[tokio::test]
async fn c62_an_active_row_of_any_blocking_code_means_withdrawn() {
    let ascend = Ascend::new(indicator()).await;
    let ids: Vec<String> = (0..4).map(|number| ascend.create(number)).collect();
    ascend.indicate(&ids[0], "NE");
    ascend.indicate(&ids[1], "NC");
    ascend.indicate(&ids[2], "NS");
    ascend.sandbox.clock().advance(60);
    assert_eq!(ascend.connector.probe().await.unwrap().missing, [""; 0]);
    let start = drain(&*ascend.connector, None).await.unwrap();
    let shown: Vec<_> = ids
        .iter()
        .map(|id| value(start.last(id).unwrap(), MARKETING).cloned().unwrap())
        .collect();
    assert_eq!(
        shown,
        [Shown::Set, Shown::Set, Shown::Default, Shown::Default]
    );
    let told = &start.last(&ids[0]).unwrap().told;
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].evidence, &told[0].shown),
        (Evidence::History, &Shown::Set)
    );
    let now = ascend.connector.current(&targets(&ids)).await.unwrap();
    assert_eq!(now[1], Current::Live(vec![(MARKETING, Shown::Set)]));
    assert_eq!(now[3], Current::Live(vec![(MARKETING, Shown::Default)]));
}

#[tokio::test]
async fn c63_a_change_of_a_row_brings_its_contact() {
    let ascend = Ascend::new(indicator()).await;
    let ids: Vec<String> = (0..2).map(|number| ascend.create(number)).collect();
    ascend.catalogue("NE");
    ascend.sandbox.clock().advance(2_000);
    let start = drain(&*ascend.connector, None).await.unwrap();
    ascend.sandbox.clock().advance(2_000);
    let start = drain(&*ascend.connector, Some(start.cursor)).await.unwrap();
    let row = ascend.indicate(&ids[0], "NE");
    ascend.sandbox.clock().advance(60);
    let next = drain(&*ascend.connector, Some(start.cursor)).await.unwrap();
    assert_eq!(
        value(next.last(&ids[0]).unwrap(), MARKETING),
        Some(&Shown::Set)
    );
    assert!(next.last(&ids[1]).is_none());
    ascend.sandbox.clock().advance(60);
    ascend
        .org()
        .edit(
            &row,
            &fields(&[("ucinn_ascendv2__Is_Active__c", false.into())]),
            RECORDS,
        )
        .unwrap();
    let ended: At = ascend.org().now().into();
    ascend.sandbox.clock().advance(60);
    let next = drain(&*ascend.connector, Some(next.cursor)).await.unwrap();
    let reading = next.last(&ids[0]).unwrap();
    assert_eq!(value(reading, MARKETING), Some(&Shown::Default));
    assert!(
        reading.told.is_empty(),
        "an ended row tells of no withdrawal"
    );
    assert!(
        reading.modified.unwrap() >= ended.minus(2_000_000),
        "the value changed with the row, not with the contact"
    );
}

#[tokio::test]
async fn c64_an_opt_out_adds_one_row_and_only_one() {
    let ascend = Ascend::new(indicator()).await;
    let id = ascend.create(1);
    ascend.catalogue("NE");
    for _ in 0..2 {
        assert_eq!(
            ascend
                .connector
                .write(&[set(&id, MARKETING, Shown::Set)])
                .await
                .unwrap(),
            [Outcome::Applied]
        );
    }
    let rows = ascend.rows(&id);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["ucinn_ascendv2__Is_Active__c"], true);
    assert_eq!(
        rows[0]["ucinn_ascendv2__Start_Date__c"], "2026-05-01",
        "the day in the org's time zone"
    );
    assert_eq!(
        rows[0]["ucinn_ascendv2__Comments__c"],
        "consentd: said in ascend"
    );
}

#[tokio::test]
async fn c65_an_opt_in_ends_its_rows_and_deletes_none() {
    let ascend = Ascend::new(indicator()).await;
    let id = ascend.create(1);
    ascend.indicate(&id, "NE");
    assert_eq!(
        ascend
            .connector
            .write(&[set(&id, MARKETING, Shown::Default)])
            .await
            .unwrap(),
        [Outcome::Applied]
    );
    let rows = ascend.rows(&id);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["ucinn_ascendv2__Is_Active__c"], false);
    assert_eq!(rows[0]["ucinn_ascendv2__End_Date__c"], "2026-05-01");
}

#[tokio::test]
async fn c66_a_row_that_blocks_too_stays_and_is_reported() {
    let ascend = Ascend::new(indicator()).await;
    let id = ascend.create(1);
    ascend.indicate(&id, "NE");
    let other = ascend.indicate(&id, "NC");
    let outcomes = ascend
        .connector
        .write(&[set(&id, MARKETING, Shown::Default)])
        .await
        .unwrap();
    assert_eq!(code(&outcomes[0]), "still-blocked");
    for row in ascend.rows(&id) {
        assert_eq!(
            row["ucinn_ascendv2__Is_Active__c"],
            row["Id"] == other.as_str()
        );
    }
}

#[tokio::test]
async fn c67_a_row_that_silently_vanished_is_a_failure() {
    let ascend = Ascend::new(indicator()).await;
    let id = ascend.create(1);
    let wrong = ascend.catalogue("NE");
    ascend.connector.probe().await.unwrap();
    ascend.org().set_fault(Fault::SilentNoOp).unwrap();
    ascend.org().hard_delete(&wrong).unwrap();
    let outcomes = ascend
        .connector
        .write(&[set(&id, MARKETING, Shown::Set)])
        .await
        .unwrap();
    let Outcome::Failed(fault) = &outcomes[0] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Rejected, "no-effect")
    );
}

#[tokio::test]
async fn c68_a_field_that_cannot_be_written_is_named_by_the_probe() {
    let ascend = Ascend::new(indicator()).await;
    ascend.catalogue("NE");
    ascend.org().set_fault(Fault::ReadOnlyIsActive).unwrap();
    let missing = ascend.connector.probe().await.unwrap().missing;
    assert!(
        missing
            .iter()
            .any(|line| line.contains("Is_Active__c") && line.contains("Edit access")),
        "{missing:?}"
    );
}

#[tokio::test]
async fn c69_a_catalogue_without_the_code_is_named_by_the_probe() {
    let ascend = Ascend::new(match indicator() {
        Mode::ServiceIndicator(names) => Mode::ServiceIndicator(ServiceIndicator {
            code: "ZZ".to_owned(),
            ..names
        }),
        flag @ Mode::ContactFlag { .. } => flag,
    })
    .await;
    let missing = ascend.connector.probe().await.unwrap().missing;
    assert!(
        missing.iter().any(|line| line.contains("\"ZZ\"")),
        "{missing:?}"
    );
}
