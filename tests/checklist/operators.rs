//! `/v1/systems` and `/v1/reload`: operators turn switches while the daemon runs (R27, R49, R50) and
//! have dead letters tried again (R35); and `/v1/alarms`.

use crate::api::{Answer, Surface, token};
use crate::common::engine::Rig;
use crate::openapi::assert_fits;
use consentd::config::reload::Changed;
use consentd::config::{ConfigFault, ConfigFaults, Role};
use consentd::consent::At;
use consentd::runtime::supervisor::ReloadError;
use consentd::store::{
    AlarmChanges, AlarmPost, AlarmRow, AlarmStep, Changes, DEAD, FeedSwitch, Known,
    LANE_WITHDRAWAL, OutboxChange, OutboxRow, Scope, WriteKey,
};
use consentd_sandbox::RECORDS;
use reqwest::Method;
use serde_json::{Value, json};

async fn post(surface: &Surface, path: &str, body: &Value) -> Answer {
    let request = surface.request(Method::POST, path).json(body);
    surface
        .ask(request.bearer_auth(token(Role::Operator)))
        .await
}

fn why(reason: &str) -> Value {
    json!({ "reason": reason })
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_a_paused_system_is_left_alone_until_it_is_resumed() {
    let surface = Surface::start().await;
    let ann = surface.rig.person("ann");
    surface.rig.settle().await;
    let paused = post(&surface, "/v1/systems/ascend/pause", &why("nightly load")).await;
    assert_eq!(paused.status, 200, "{}", paused.body);
    assert_eq!(paused.body["system"], "ascend");
    assert_eq!(paused.body["paused"], true);
    assert_eq!(paused.body["paused_note"], "operator: nightly load");
    let again = post(&surface, "/v1/systems/ascend/pause", &why("once more")).await;
    assert_eq!(
        again.body["paused_note"], "operator: nightly load",
        "what is paused stays as it is"
    );
    let request = surface.request(Method::GET, "/v1/systems");
    let listed = surface.ask(request.bearer_auth(token(Role::Viewer))).await;
    let states: Vec<_> = listed.body["systems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|system| (system["system"].as_str().unwrap(), &system["paused"]))
        .collect();
    assert_eq!(
        states,
        [
            ("ascend", &Value::Bool(true)),
            ("salesforce", &Value::Bool(false))
        ]
    );

    Rig::opt(surface.rig.sandbox.ascend(), &ann.ascend, true, RECORDS);
    surface.rig.settle().await;
    let out = || {
        let contact = surface.rig.sandbox.salesforce().contact(&ann.salesforce);
        contact.unwrap().opted_out
    };
    assert!(!out(), "a paused system is not asked");
    let resumed = post(&surface, "/v1/systems/ascend/resume", &why("load is over")).await;
    assert_eq!(resumed.body["paused"], false, "{}", resumed.body);
    Rig::until_visible().await;
    surface.rig.settle().await;
    assert!(out(), "what was said meanwhile is read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resync_reads_everything_anew() {
    let surface = Surface::start().await;
    surface.rig.settle().await;
    let feed = async || {
        let systems = surface.rig.store.systems().await.unwrap();
        let (id, _) = systems
            .into_iter()
            .find(|(_, name)| name == "ascend")
            .unwrap();
        surface.rig.store.feed(id).await.unwrap()
    };
    assert!(feed().await.cursor.is_some());
    let answer = post(
        &surface,
        "/v1/systems/ascend/resync",
        &why("restored a backup"),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(feed().await.cursor, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_a_halted_feed_is_released_and_may_find_fewer_once() {
    let surface = Surface::start().await;
    surface.rig.settle().await;
    let id = number(&surface, "ascend").await;
    let halted = FeedSwitch::Halted(Some("1 of 9 contacts were left".to_owned()));
    let store = &surface.rig.store;
    store
        .set_feed_switch(id, halted, At::from_micros(5))
        .await
        .unwrap();
    let path = "/v1/systems/ascend/resume";
    let listed = surface.ask(looks(&surface, "/v1/systems")).await;
    assert_eq!(
        listed.body["systems"][0]["halted"],
        "1 of 9 contacts were left"
    );
    let answer = post(&surface, path, &why("load mended")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body.get("halted"), None);
    assert_eq!(answer.body["accept_fewer"], false);
    assert_fits("/v1/systems/{name}/{act}", "post", 200, &answer.body);
    let fewer = json!({ "reason": "a purge", "accept_fewer": true });
    let answer = post(&surface, path, &fewer).await;
    assert_eq!(answer.body["accept_fewer"], true, "{}", answer.body);
    assert!(store.feed(id).await.unwrap().accept_fewer);
}

#[tokio::test(flavor = "multi_thread")]
async fn r35_dead_letters_are_tried_again() {
    let surface = Surface::start().await;
    let (ann, bob) = (surface.rig.person("ann"), surface.rig.person("bob"));
    surface.rig.settle().await;
    let id = number(&surface, "ascend").await;
    let store = &surface.rig.store;
    let letter = |contact: &str, subject| {
        OutboxChange::Put(OutboxRow {
            key: WriteKey {
                system: id,
                external: contact.to_owned(),
                lane: LANE_WITHDRAWAL,
            },
            subject,
            version: 1,
            changes: "[]".to_owned(),
            state: DEAD,
            in_flight: String::new(),
            decided_at: 1,
            not_before: 0,
            attempts: 12,
            claimed_until: 0,
            last_error: Some("POLICY".to_owned()),
        })
    };
    let letters = vec![letter(&ann.ascend, 1), letter(&bob.ascend, 2)];
    let decide = &mut |_: Known| Changes {
        outbox: letters.clone(),
        ..Changes::default()
    };
    store.transact(&Scope::default(), decide).await.unwrap();
    let path = "/v1/systems/ascend/redrive";
    let one = json!({ "reason": "the policy was changed", "contacts": [bob.ascend] });
    for (body, revived) in [(&one, 1), (&one, 0), (&why("all of them"), 1)] {
        let answer = post(&surface, path, body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["redriven"], revived, "{body}");
        assert_fits("/v1/systems/{name}/{act}", "post", 200, &answer.body);
    }
    let figures = store.figures(At::from_micros(5)).await.unwrap();
    assert!(figures.systems.iter().all(|system| system.dead == 0));
}

async fn number(surface: &Surface, name: &str) -> i16 {
    let systems = surface.rig.store.systems().await.unwrap();
    let mut systems = systems.into_iter();
    systems.find(|(_, known)| known == name).unwrap().0
}

fn looks(surface: &Surface, path: &str) -> reqwest::RequestBuilder {
    let request = surface.request(Method::GET, path);
    request.bearer_auth(token(Role::Viewer))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_look_sees_the_alarms_that_stand() {
    let surface = Surface::start().await;
    let alarm = |kind: &str, cleared_at| AlarmRow {
        kind: kind.to_owned(),
        about: "ascend".to_owned(),
        since: 1_767_225_600_000_000,
        raised_at: 1_767_225_601_000_000,
        cleared_at,
        text: "4 writes to ascend are held".to_owned(),
        posts: Vec::new(),
    };
    let changes = AlarmChanges {
        put: vec![alarm("hold", None), alarm("deadline", Some(5))],
        forget: Vec::new(),
    };
    surface.rig.store.put_alarms(&changes).await.unwrap();
    let step = AlarmStep {
        kind: "hold".to_owned(),
        about: "ascend".to_owned(),
        from_told: false,
        from_attempts: 0,
        post: AlarmPost {
            channel: "webhook".to_owned(),
            told: true,
            attempts: 0,
            next_try: 5,
            error: None,
        },
    };
    assert!(surface.rig.store.step_alarm_post(&step).await.unwrap());
    let request = || surface.request(Method::GET, "/v1/alarms");
    let nobody = surface.ask(request()).await;
    assert_eq!(nobody.status, 401);
    let viewer = request().bearer_auth(token(Role::Viewer));
    let listed = surface.ask(viewer).await;
    let expected = json!({ "alarms": [{
        "kind": "hold",
        "about": "ascend",
        "severity": "warning",
        "since": "2026-01-01T00:00:00Z",
        "raised_at": "2026-01-01T00:00:01Z",
        "text": "4 writes to ascend are held",
        "deliveries": [{ "channel": "webhook", "delivered": true, "attempts": 0 }],
    }] });
    assert_eq!(listed.body, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said() {
    let surface = Surface::start().await;
    let rows = [
        ("/v1/systems/siebel/pause", why("x"), 404, "system"),
        ("/v1/systems/ascend/explode", why("x"), 404, "act"),
        ("/v1/systems/ascend/pause", why(" "), 422, "reason"),
        ("/v1/systems/ascend/pause", why("a\nb"), 422, "reason"),
        ("/v1/systems/ascend/pause", json!({}), 422, "body"),
        (
            "/v1/systems/ascend/pause",
            json!({ "reason": "x", "force": true }),
            422,
            "body",
        ),
        (
            "/v1/systems/ascend/pause",
            json!({ "reason": "x", "accept_fewer": true }),
            422,
            "body",
        ),
        (
            "/v1/systems/ascend/redrive",
            json!({ "reason": "x", "contacts": [""] }),
            422,
            "contacts",
        ),
        (
            "/v1/systems/ascend/redrive",
            json!({ "reason": "x", "contacts": vec!["a"; 1_001] }),
            422,
            "contacts",
        ),
        ("/v1/systems/ascend/redrive", why(""), 422, "reason"),
    ];
    for (path, body, status, kind) in rows {
        let answer = post(&surface, path, &body).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["type"]),
            (status, &json!(format!("urn:consentd:problem:{kind}"))),
            "{path} {body}: {}",
            answer.body
        );
    }
    let systems = surface.rig.store.systems().await.unwrap();
    for (id, _) in systems {
        assert!(!surface.rig.store.feed(id).await.unwrap().paused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r49_a_reload_tells_what_changed_or_every_fault() {
    let surface = Surface::start().await;
    let reload = async |found| {
        *surface.found.lock().unwrap() = Some(found);
        post(&surface, "/v1/reload", &why("a new list")).await
    };
    let changed = Changed {
        taken: vec!["ascend is switched off".to_owned()],
        ignored: vec!["server.listen"],
    };
    let answer = reload(Ok(changed)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        json!({ "taken": ["ascend is switched off"], "waiting": ["server.listen"] })
    );
    let fault = |key: &str, what: &str| ConfigFault {
        key: key.to_owned(),
        what: what.to_owned(),
    };
    let faults = ConfigFaults(vec![
        fault("systems.ascend.kind", "is missing"),
        fault("systems.ascend.lag_secs", "must be a number"),
    ]);
    let answer = reload(Err(ReloadError::Faulty(faults))).await;
    assert_eq!(answer.status, 422);
    let detail = answer.body["detail"].as_str().unwrap();
    for part in [
        "2 faults; everything goes on as before",
        "systems.ascend.kind: is missing",
        "systems.ascend.lag_secs: must be a number",
    ] {
        assert!(detail.contains(part), "{detail}");
    }
    let answer = reload(Err(ReloadError::Interrupted)).await;
    assert_eq!(answer.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn r55_a_person_is_erased_and_a_stranger_is_suppressed() {
    let surface = Surface::start().await;
    let body = |address: &str, reason: &str, even_so: bool| json!({ "address": address, "reason": reason, "even_so": even_so });
    let path = "/v1/erasures";
    surface.rig.person("ann");
    surface.rig.settle().await;
    let known = surface.rig.store.subjects_after(0, 1_000).await.unwrap();
    let mut known = known.subjects.iter().map(|row| row.address.clone());
    let ann = known.find(|address| address.contains("ann")).unwrap();
    for role in [Role::Viewer, Role::Sender] {
        let request = surface
            .request(Method::POST, path)
            .json(&body(&ann, "asked", true));
        let refused = surface.ask(request.bearer_auth(token(role))).await;
        assert_eq!(refused.status, 403);
    }
    let refused = post(&surface, path, &body(&ann, "asked", false)).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert_eq!(refused.body["type"], "urn:consentd:problem:contacts-remain");
    for (wrong, kind) in [
        (body("no address", "asked", true), "address"),
        (body(&ann, "", true), "reason"),
        (body(&ann, &format!("{ann} asked"), true), "reason"),
    ] {
        let refused = post(&surface, path, &wrong).await;
        assert_eq!(refused.status, 422, "{}", refused.body);
        assert_eq!(refused.body["type"], format!("urn:consentd:problem:{kind}"));
    }
    let erased = post(&surface, path, &body(&ann, "asked", true)).await;
    assert_eq!(erased.status, 200, "{}", erased.body);
    assert_fits(path, "post", 200, &erased.body);
    assert_eq!(erased.body["known"], true);
    assert_eq!(erased.body["contacts"], 2);
    let stranger = post(&surface, path, &body("nobody@example.org", "asked", false)).await;
    assert_fits(path, "post", 200, &stranger.body);
    assert_eq!(
        (&stranger.body["known"], &stranger.body["contacts"]),
        (&json!(false), &json!(0))
    );
    let keys = surface.rig.store.suppression_keys().await.unwrap();
    assert!(keys.len() == 1 && keys[0].rows >= 2, "{keys:?}");
}
