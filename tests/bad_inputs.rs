//! What vendors should not send, end to end: nothing is lost, the feed does not move past what was
//! not understood, and nobody else is concerned. The numbers are those of the list of bad inputs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of the rig")]
mod common;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use common::engine::{Pair, Rig, next_second, object};
use consentd::config::SystemKind;
use consentd::store::{self, Access};
use consentd_sandbox::{AGENT, CallKind, Fault, Org, RECORDS, Rule, SPECIALIST};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const OUT: bool = true;
const IN: bool = false;

/// An answer on its way to the daemon.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn page(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn typed(&mut self, content_type: &'static str) {
        self.headers
            .insert("content-type", content_type.parse().unwrap());
    }
}

type Change = Arc<dyn Fn(&mut Answer) + Send + Sync>;

/// Stands between the daemon and an org, and changes the answers to queries.
#[derive(Clone)]
struct Between {
    org: String,
    client: reqwest::Client,
    change: Arc<Mutex<Option<Change>>>,
    struck: Arc<AtomicUsize>,
}

impl Between {
    async fn pass(State(between): State<Self>, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().unwrap().as_str().to_owned();
        let mut headers = head.headers;
        headers.remove("host");
        headers.remove("accept-encoding");
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let answer = between
            .client
            .request(head.method, format!("{}{path}", between.org))
            .headers(headers)
            .body(body)
            .send()
            .await
            .unwrap();
        let mut headers = answer.headers().clone();
        headers.remove("content-length");
        headers.remove("transfer-encoding");
        let mut changed = Answer {
            status: answer.status().as_u16(),
            headers,
            body: answer.bytes().await.unwrap().to_vec(),
        };
        let change = between.change.lock().unwrap().clone();
        if let Some(change) = change
            && path.contains("/query")
        {
            between.struck.fetch_add(1, Ordering::SeqCst);
            change(&mut changed);
        }
        let mut response = Response::new(Body::from(Bytes::from(changed.body)));
        *response.status_mut() = changed.status.try_into().unwrap();
        *response.headers_mut() = changed.headers;
        response
    }
}

/// Two people in both orgs, read and at rest, with a changer of answers before Salesforce.
struct Scene {
    rig: Rig,
    between: Between,
    ann: Pair,
    bob: Pair,
}

impl Scene {
    async fn new() -> Self {
        let mut rig = Rig::start(0).await;
        let between = Between {
            org: rig.sandbox.salesforce().url(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            change: Arc::default(),
            struck: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(Between::pass)
            .with_state(between.clone());
        // It ends with the runtime of the test.
        tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, router).await });
        rig.sandbox
            .salesforce()
            .set_fault(Fault::OtherInstance { url })
            .unwrap();
        let salesforce = rig.checked.systems.iter_mut();
        for system in salesforce.filter(|system| system.name == "salesforce") {
            if let SystemKind::Salesforce(settings) = &mut system.kind {
                settings.platform.allowed_hosts = vec!["127.0.0.1".to_owned()];
            }
        }
        rig.restart().await;
        let (ann, bob) = (rig.person("ann"), rig.person("bob"));
        rig.settle().await;
        Self {
            rig,
            between,
            ann,
            bob,
        }
    }

    fn change(&self, change: impl Fn(&mut Answer) + Send + Sync + 'static) {
        *self.between.change.lock().unwrap() = Some(Arc::new(change));
        self.between.struck.store(0, Ordering::SeqCst);
    }

    fn salesforce(&self) -> &Org {
        self.rig.sandbox.salesforce()
    }

    async fn opt_out(&self, pair: &Pair) {
        next_second().await;
        Rig::opt(self.salesforce(), &pair.salesforce, OUT, AGENT);
        Rig::until_visible().await;
    }

    async fn cursor(&self) -> Option<String> {
        let names = ["ascend".to_owned(), "salesforce".to_owned()];
        let ids = self.rig.store.register_systems(&names).await.unwrap();
        self.rig.store.feed(ids[1]).await.unwrap().cursor
    }

    /// A poll fails, moves nothing, and says why; the other system goes on.
    async fn refused(&self, sentence: &str) -> String {
        let before = self.cursor().await;
        let Err(said) = self.rig.poll_one("salesforce").await else {
            panic!("{sentence}: was taken");
        };
        assert_eq!(self.cursor().await, before, "{sentence}: the feed stands");
        assert!(
            !said.contains("127.0.0.1") && !said.contains('@'),
            "{sentence}: {said}"
        );
        self.rig.poll_one("ascend").await.unwrap();
        said
    }

    /// Answers are passed on unchanged again; what was missed arrives.
    async fn heals(&self) {
        *self.between.change.lock().unwrap() = None;
        self.rig.settle().await;
    }

    /// Every answer is refused, one change after the other; then nothing turns out to be lost.
    async fn refuses_each(changes: Vec<(&'static str, Change)>) -> Vec<String> {
        let scene = Self::new().await;
        scene.opt_out(&scene.ann).await;
        let mut all = Vec::new();
        for (sentence, change) in changes {
            scene.change(move |answer| change(answer));
            all.push(scene.refused(sentence).await);
            assert!(
                scene.between.struck.load(Ordering::SeqCst) > 0,
                "{sentence}: the answer was changed"
            );
        }
        assert_eq!(scene.rig.shown(&scene.ann), (OUT, IN));
        scene.heals().await;
        assert_eq!(scene.rig.shown(&scene.ann), (OUT, OUT), "nothing is lost");
        assert_eq!(scene.rig.shown(&scene.bob), (IN, IN), "and nobody touched");
        assert!(scene.quarantined().await.is_empty());
        all
    }

    /// Every answer is taken as if it were unchanged.
    async fn takes_each(changes: Vec<(&'static str, Change)>) {
        let scene = Self::new().await;
        let mut out = OUT;
        for (sentence, change) in changes {
            next_second().await;
            let by = if out { AGENT } else { SPECIALIST };
            Rig::opt(scene.salesforce(), &scene.ann.salesforce, out, by);
            scene.change(move |answer| change(answer));
            scene.rig.settle().await;
            assert_eq!(scene.rig.shown(&scene.ann), (out, out), "{sentence}");
            assert!(scene.quarantined().await.is_empty(), "{sentence}");
            out = !out;
        }
        assert_eq!(scene.rig.shown(&scene.bob), (IN, IN));
    }

    async fn quarantined(&self) -> Vec<(String, String)> {
        let rows = self.rig.store.quarantined(None, 100).await.unwrap();
        rows.into_iter()
            .map(|row| (row.external, row.reason))
            .collect()
    }

    /// While the records of some people are spoiled, Bob's opt-out arrives; once they are not,
    /// theirs do too. Gives what had been set aside, by sentence.
    async fn others_go_on(spoils: Vec<(&'static str, Spoil)>) -> Vec<(&'static str, String)> {
        let scene = Self::new().await;
        let people: Vec<Pair> = (0..spoils.len())
            .map(|n| scene.rig.person(&format!("p{n}")))
            .collect();
        scene.rig.settle().await;
        let struck = Arc::new(AtomicUsize::new(0));
        let sentences: Vec<&str> = spoils.iter().map(|(sentence, _)| *sentence).collect();
        let (counted, spoiled) = (Arc::clone(&struck), people.clone());
        scene.change(move |answer| {
            let mut text = answer.text();
            for (person, (_, spoil)) in spoiled.iter().zip(&spoils) {
                if text.contains(&person.salesforce) {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                text = spoil(&text, &person.salesforce);
            }
            answer.body = text.into_bytes();
        });
        for person in &people {
            Rig::opt(scene.salesforce(), &person.salesforce, OUT, AGENT);
        }
        scene.opt_out(&scene.bob).await;
        scene.rig.settle().await;
        assert_eq!(scene.rig.shown(&scene.bob), (OUT, OUT), "the others go on");
        assert!(struck.load(Ordering::SeqCst) >= people.len());
        let set_aside = scene.quarantined().await;
        scene.heals().await;
        for person in &people {
            scene.salesforce().bump(&person.salesforce).unwrap();
        }
        scene.rig.settle().await;
        for (person, sentence) in people.iter().zip(&sentences) {
            assert_eq!(scene.rig.shown(person), (OUT, OUT), "{sentence}");
        }
        assert!(scene.quarantined().await.is_empty(), "all are understood");
        let sentence = |id: &str| {
            let place = people.iter().position(|person| person.salesforce == id);
            place.map(|place| sentences[place])
        };
        set_aside
            .into_iter()
            .filter_map(|(id, reason)| Some((sentence(&id)?, reason)))
            .collect()
    }
}

/// Changes the text of a page at the record with that id.
type Spoil = Box<dyn Fn(&str, &str) -> String + Send + Sync>;

fn change(change: impl Fn(&mut Answer) + Send + Sync + 'static) -> Change {
    Arc::new(change)
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn compressed(answer: &mut Answer, spoil: impl Fn(&mut Vec<u8>)) {
    let mut body = gzip(&answer.body);
    spoil(&mut body);
    answer.body = body;
    answer
        .headers
        .insert("content-encoding", "gzip".parse().unwrap());
}

/// Changes the record of a contact in the answer's text; history rows name it otherwise.
fn in_record(text: &str, id: &str, spoil: impl Fn(&mut Value)) -> String {
    let mut page: Value = serde_json::from_str(text).unwrap();
    if let Some(records) = page["records"].as_array_mut() {
        for record in records {
            if record["Id"] == *id {
                spoil(record);
            }
        }
    }
    page.to_string()
}

/// Puts a time into those fields of the record.
fn at(fields: &'static [&'static str], time: &'static str) -> Spoil {
    Box::new(move |text, id| {
        in_record(text, id, |record| {
            for field in fields {
                if record[*field].is_string() {
                    record[*field] = json!(time);
                }
            }
        })
    })
}

/// The text of a record gets a further member.
fn with_member(text: &str, id: &str, member: &str) -> String {
    let name = format!("\"Id\":\"{id}\"");
    text.replace(&name, &format!("{name},{member}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_01_a_page_of_html_with_status_200_moves_nothing() {
    let page = "<!DOCTYPE html><html><body>Down for maintenance</body></html>";
    let said = Scene::refuses_each(vec![
        (
            "a login page",
            change(move |answer| {
                answer.typed("text/html");
                answer.body = page.into();
            }),
        ),
        (
            "a page that claims to be JSON",
            change(move |answer| answer.body = page.into()),
        ),
    ])
    .await;
    assert!(
        said.iter()
            .all(|said| said == "query: a maintenance page instead of an answer"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_02_json_is_judged_by_what_it_is_and_not_by_its_name() {
    Scene::takes_each(vec![(
        "JSON named a text",
        change(|answer| answer.typed("text/plain")),
    )])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_04_a_damaged_gzip_moves_nothing() {
    Scene::refuses_each(vec![
        (
            "half of it",
            change(|answer| compressed(answer, |body| body.truncate(body.len() / 2))),
        ),
        (
            "without its sum",
            change(|answer| compressed(answer, |body| body.truncate(body.len() - 8))),
        ),
        (
            "with a wrong sum",
            change(|answer| {
                compressed(answer, |body| {
                    let end = body.len();
                    body[end - 8] ^= 0xff;
                });
            }),
        ),
        (
            "plain text named gzip",
            change(|answer| {
                answer
                    .headers
                    .insert("content-encoding", "gzip".parse().unwrap());
            }),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_12_a_redirect_is_not_followed_and_no_token_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let elsewhere = format!("http://{}/", listener.local_addr().unwrap());
    let to = |status: u16| {
        let elsewhere = elsewhere.clone();
        change(move |answer| {
            answer.status = status;
            answer
                .headers
                .insert("location", elsewhere.parse().unwrap());
            answer.body.clear();
        })
    };
    Scene::refuses_each(vec![
        ("301", to(301)),
        ("302", to(302)),
        ("307", to(307)),
        ("308", to(308)),
    ])
    .await;
    assert!(listener.accept().is_err(), "nobody called there");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_15_an_answer_of_an_unlikely_status_moves_nothing() {
    Scene::refuses_each(vec![
        ("200 with nothing", change(|answer| answer.body.clear())),
        (
            "204",
            change(|answer| {
                answer.status = 204;
                answer.body.clear();
            }),
        ),
        (
            "206 with half of it",
            change(|answer| {
                answer.status = 206;
                answer.body.truncate(answer.body.len() / 2);
            }),
        ),
        ("307 to nowhere", change(|answer| answer.status = 307)),
        ("418", change(|answer| answer.status = 418)),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_19_a_page_that_is_not_the_last_but_leads_nowhere_moves_nothing() {
    Scene::refuses_each(vec![
        (
            "no rows, not done, no link",
            change(|answer| {
                answer.body = br#"{"totalSize":0,"done":false,"records":[]}"#.to_vec();
            }),
        ),
        (
            "rows, not done, no link",
            change(|answer| {
                answer.body = answer
                    .text()
                    .replace("\"done\":true", "\"done\":false")
                    .into_bytes();
            }),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_20_a_contact_that_stands_twice_in_a_page_is_one_contact() {
    let scene = Scene::new().await;
    let ann = scene.ann.salesforce.clone();
    scene.change(move |answer| {
        let mut page = answer.page();
        if let Some(records) = page["records"].as_array_mut()
            && let Some(place) = records.iter().position(|record| {
                record["Id"] == *ann && record["HasOptedOutOfEmail"].is_boolean()
            })
        {
            let mut stale = records[place].clone();
            stale["HasOptedOutOfEmail"] = json!(false);
            records.insert(place, stale);
            page["totalSize"] = json!(page["totalSize"].as_u64().unwrap() + 1);
        }
        answer.body = page.to_string().into_bytes();
    });
    scene.opt_out(&scene.ann).await;
    scene.rig.settle().await;
    assert_eq!(scene.rig.shown(&scene.ann), (OUT, OUT));
    scene.heals().await;
    assert_eq!(scene.rig.shown(&scene.ann), (OUT, OUT));
    assert_eq!(scene.rig.shown(&scene.bob), (IN, IN));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_25_a_page_that_contradicts_itself_moves_nothing() {
    Scene::refuses_each(vec![(
        "done twice",
        change(|answer| {
            answer.body = answer
                .text()
                .replace("\"done\":true", "\"done\":true,\"done\":false")
                .into_bytes();
        }),
    )])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_26_what_is_no_json_moves_nothing() {
    Scene::refuses_each(vec![
        (
            "bytes after the end",
            change(|answer| answer.body.extend_from_slice(b"{}")),
        ),
        (
            "no number",
            change(|answer| {
                answer.body = answer
                    .text()
                    .replacen("\"totalSize\":", "\"extra\":NaN,\"totalSize\":", 1)
                    .into_bytes();
            }),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_26_odd_json_in_a_record_concerns_that_record_only() {
    let member =
        |member: String| -> Spoil { Box::new(move |text, id| with_member(text, id, &member)) };
    let deep = format!("\"x\":{}{}", "[".repeat(200), "]".repeat(200));
    Scene::others_go_on(vec![
        ("half a character", member(r#""x":"\ud800""#.to_owned())),
        (
            "a number beyond 64 bits",
            member(r#""x":9223372036854775808000"#.to_owned()),
        ),
        ("200 levels deep", member(deep)),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_27_unknown_members_are_ignored() {
    Scene::takes_each(vec![(
        "members that nobody asked for",
        change(|answer| {
            let mut page = answer.page();
            page["hint"] = json!({ "a": [1, null] });
            for record in page["records"].as_array_mut().into_iter().flatten() {
                record["Surprise__c"] = json!({ "b": 1.5 });
            }
            answer.body = page.to_string().into_bytes();
        }),
    )])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_29_errors_where_a_page_is_expected_move_nothing() {
    Scene::refuses_each(vec![
        (
            "a list of errors",
            change(|answer| {
                answer.body = br#"[{"errorCode":"UNKNOWN_EXCEPTION","message":"x"}]"#.to_vec();
            }),
        ),
        (
            "rows that are no objects",
            change(|answer| {
                answer.body = br#"{"totalSize":1,"done":true,"records":{"Id":"x"}}"#.to_vec();
            }),
        ),
        (
            "no rows at all",
            change(|answer| answer.body = br#"{"totalSize":1,"done":true}"#.to_vec()),
        ),
        ("null", change(|answer| answer.body = b"null".to_vec())),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_30_every_way_to_write_utc_is_the_same() {
    let zone = |zone: &'static str| {
        change(move |answer| {
            answer.body = answer
                .text()
                .replace("+0000\"", &format!("{zone}\""))
                .into();
        })
    };
    Scene::takes_each(vec![
        ("a colon", zone("+00:00")),
        ("a letter", zone("Z")),
        ("seven decimals", zone("0000Z")),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_35_a_time_that_is_none_concerns_its_record_only() {
    let modified = |time: &'static str| at(&["LastModifiedDate"], time);
    let set_aside = Scene::others_go_on(vec![
        ("30 February", modified("2026-02-30T10:00:00.000+0000")),
        ("the 24th hour", modified("2026-03-01T24:00:00.000+0000")),
        (
            "a zone of 25 hours",
            modified("2026-03-01T10:00:00.000+2500"),
        ),
    ])
    .await;
    assert_eq!(set_aside.len(), 3, "{set_aside:?}");
    assert!(
        set_aside
            .iter()
            .all(|(_, reason)| reason.contains("LastModifiedDate")),
        "{set_aside:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_32_33_34_an_impossible_time_does_not_carry_the_feed_away() {
    let stamped = |time: &'static str| at(&["LastModifiedDate", "SystemModstamp"], time);
    Scene::others_go_on(vec![
        ("before all time", stamped("0001-01-01T00:00:00.000+0000")),
        ("the epoch", stamped("1970-01-01T00:00:00.000+0000")),
        ("after all time", stamped("9999-12-31T23:59:59.000+0000")),
        ("a year ahead", stamped("2030-01-01T00:00:00.000+0000")),
        ("a leap second", stamped("2016-12-31T23:59:60.000+0000")),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_37_a_vendors_clock_that_was_ahead_for_a_while_hides_no_later_change() {
    let scene = Scene::new().await;
    scene
        .salesforce()
        .set_fault(Fault::ClockSkew { seconds: 3_600 })
        .unwrap();
    scene.opt_out(&scene.ann).await;
    scene.rig.settle().await;
    assert_eq!(scene.rig.shown(&scene.ann), (OUT, OUT));
    scene.salesforce().clear_faults(Some("clock-skew"));
    scene.opt_out(&scene.bob).await;
    scene.rig.settle().await;
    assert_eq!(scene.rig.shown(&scene.bob), (OUT, OUT));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_39_41_odd_ways_to_write_an_address_are_one_person_and_a_tag_is_another() {
    let rig = Rig::start(0).await;
    let contact = |org: &Org, address: &str, by: &str| {
        let fields = object(json!({ "LastName": "Doe", "Email": address }));
        org.create("Contact", &fields, by, None).unwrap()
    };
    let (salesforce, ascend) = (rig.sandbox.salesforce(), rig.sandbox.ascend());
    let ann = contact(salesforce, "ann@rig.example", SPECIALIST);
    let same =
        ["ANN@RIG.EXAMPLE", "Ann@Rig.Example"].map(|address| contact(ascend, address, RECORDS));
    let others = ["ann+news@rig.example", "a.nn@rig.example"]
        .map(|address| contact(ascend, address, RECORDS));
    rig.settle().await;
    Rig::opt(salesforce, &ann, OUT, AGENT);
    rig.settle().await;
    let out = |id: &String| ascend.contact(id).unwrap().opted_out;
    assert_eq!(same.each_ref().map(out), [OUT, OUT]);
    assert_eq!(others.each_ref().map(out), [IN, IN]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_44_five_hundred_contacts_of_one_address_follow_their_oldest() {
    let rig = Rig::start(0).await;
    let ann = rig.person("ann");
    let twin = object(json!({ "LastName": "Twin", "Email": "ann@rig.example" }));
    let twins: Vec<String> = (0..499)
        .map(|_| {
            rig.sandbox
                .salesforce()
                .create("Contact", &twin, SPECIALIST, None)
                .unwrap()
        })
        .collect();
    rig.settle().await;
    Rig::opt(rig.sandbox.ascend(), &ann.ascend, OUT, RECORDS);
    rig.settle().await;
    let out = |id: &String| rig.sandbox.salesforce().contact(id).unwrap().opted_out;
    assert_eq!(rig.shown(&ann), (OUT, OUT));
    assert_eq!(twins.iter().filter(|id| out(id)).count(), 499);
    let calls = rig.sandbox.salesforce().calls();
    assert_eq!(calls.rows_unchanged, 0, "none is written twice");
    // Without their oldest they stay as they are.
    rig.sandbox
        .salesforce()
        .delete(&ann.salesforce, SPECIALIST)
        .unwrap();
    rig.settle().await;
    assert_eq!(twins.iter().filter(|id| out(id)).count(), 499);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_50_an_address_that_looks_like_a_query_is_an_address() {
    let rig = Rig::start(0).await;
    let (bob, ann) = (rig.person("bob"), rig.person("o'neil'or'1'='1"));
    rig.settle().await;
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, OUT, AGENT);
    rig.settle().await;
    assert_eq!(rig.shown(&ann), (OUT, OUT));
    assert_eq!(rig.shown(&bob), (IN, IN));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_11_a_burst_of_503_costs_time_and_nothing_else() {
    let scene = Scene::new().await;
    scene
        .salesforce()
        .set_fault(
            Rule::from(Fault::UnavailableJson)
                .times(3)
                .calls(&[CallKind::QueryAll, CallKind::CollectionsWrite]),
        )
        .unwrap();
    scene.opt_out(&scene.ann).await;
    for _ in 0..3 {
        scene.refused("503").await;
    }
    scene.rig.settle().await;
    assert_eq!(scene.rig.shown(&scene.ann), (OUT, OUT));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_51_a_damaged_store_is_refused_and_left_alone() {
    let rig = Rig::start(0).await;
    rig.person("ann");
    rig.settle().await;
    rig.store.close().await;
    let Rig {
        folder,
        checked,
        store,
        members,
        ..
    } = rig;
    drop((store, members));
    let path = folder.path().join("consentd-sandbox/consentd.db");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..100].fill(0x5a);
    std::fs::write(&path, &bytes).unwrap();
    for access in [Access::Daemon, Access::Tool] {
        let Err(error) = store::open(&checked.store, access).await else {
            panic!("a damaged file was opened");
        };
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "not a byte changed");
}
