//! Re-subscribe requests with the real daemon: somebody comes back, Marketing Cloud holds her, people say
//! that it is urgent, and a later look closes the request (R47).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "no process is killed here")]
#[path = "common/process.rs"]
mod process;

use consentd::cli::sandbox::{Part, Rehearsal, write_config};
use consentd_sandbox::marketing_cloud::{BOULDER, Status};
use consentd_sandbox::{AGENT, Options, Org, SPECIALIST, Sandbox};
use process::{Process, consentd, free_address, output, text, wait_for, wait_ready};
use reqwest::{Client, Method};
use serde_json::{Map, Value, json};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;

const TOKEN: &str = "an-operator-whose-token-is-long-enough-to-be-one";
/// Longer than a step takes, also on a busy machine.
const STEP: Duration = Duration::from_secs(45);
/// The gate is asked about everybody at every full minute.
const ROUND: Duration = Duration::from_secs(75);

/// Asks the daemon's API.
struct Api {
    runtime: Runtime,
    http: Client,
    url: String,
}

impl Api {
    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = async {
            let answer = request.bearer_auth(TOKEN).send().await?;
            let status = answer.status();
            Ok((status, answer.text().await?))
        };
        let answer: reqwest::Result<_> = self.runtime.block_on(answer);
        let (status, text) = answer.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("{status} {text}"));
        }
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    fn requests(&self, query: &str) -> Result<Vec<Value>, String> {
        let list = self.ask(Method::GET, &format!("/v1/resubscribe{query}"), None)?;
        Ok(list["requests"].as_array().cloned().unwrap_or_default())
    }

    /// The alarms about urgent requests: what they are about, and their texts.
    fn urgent(&self) -> Result<Vec<(Value, Value)>, String> {
        let list = self.ask(Method::GET, "/v1/alarms", None)?;
        let alarms = list["alarms"].as_array().cloned().unwrap_or_default();
        let urgent = alarms
            .into_iter()
            .filter(|alarm| alarm["kind"] == "urgent-resubscribe");
        Ok(urgent
            .map(|alarm| (alarm["about"].clone(), alarm["text"].clone()))
            .collect())
    }
}

fn object(fields: Value) -> Map<String, Value> {
    serde_json::from_value(fields).unwrap()
}

fn opt(org: &Org, id: &str, out: bool) {
    let fields = object(json!({ "HasOptedOutOfEmail": out }));
    org.edit(id, &fields, AGENT).unwrap();
}

fn is_out(org: &Org, id: &str) -> bool {
    org.contact(id).unwrap().opted_out
}

/// Adds an operator's token to the configuration.
fn let_in(config: &Path, folder: &Path) {
    let token = folder.join("operator.token");
    fs::write(&token, TOKEN).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o400)).unwrap();
    let mut file = OpenOptions::new().append(true).open(config).unwrap();
    write!(
        file,
        "\n[[server.tokens]]\nname = \"ann\"\nrole = \"operator\"\ntoken_file = \"{}\"\n",
        token.display()
    )
    .unwrap();
}

#[test]
fn r47_an_urgent_request_is_raised_worked_and_over() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let sandbox = Sandbox::start(Options {
        contacts: 0,
        seed: 1,
        port_base: None,
    });
    let sandbox = runtime.block_on(sandbox).unwrap();
    let (salesforce, ascend) = (sandbox.salesforce(), sandbox.ascend());
    let fields = json!({ "LastName": "Ann", "Email": "ann@back.example", "Ascend_ID__c": "D1" });
    let ann = salesforce.create("Contact", &object(fields), SPECIALIST, None);
    let ann = ann.unwrap();
    let fields = json!({
        "LastName": "Ann", "Email": "ann@back.example", "ucinn_ascendv2__Donor_ID__c": "D1",
    });
    let donor = ascend.create("Contact", &object(fields), SPECIALIST, None);
    let donor = donor.unwrap();
    let gate = sandbox.marketing_cloud();
    gate.add_subscriber(&ann, "ann@back.example", &[BOULDER])
        .unwrap();
    gate.set_status(&ann, Some(BOULDER), Status::Held).unwrap();

    let listen = free_address();
    let rehearsal = Rehearsal {
        listen: listen.clone(),
        overlap_secs: 5,
        grant_settle_secs: 1,
        marketing_cloud: Part::On,
        ..Rehearsal::default()
    };
    let config = write_config(&sandbox, folder.path(), &rehearsal).unwrap();
    let_in(&config, folder.path());
    let config = config.display().to_string();
    let log = folder.path().join("daemon.log");
    let mut daemon = Process::start(consentd(&["run", "--config", &config]), &log);
    wait_ready(&mut daemon, &listen, STEP);
    let api = Api {
        runtime,
        http: Client::builder().no_proxy().build().unwrap(),
        url: format!("http://{listen}"),
    };

    for out in [true, false] {
        opt(salesforce, &ann, out);
        wait_for("Ascend shows it", STEP, || {
            daemon.assert_alive();
            if is_out(ascend, &donor) == out {
                Ok(())
            } else {
                Err(format!("out is {}", !out))
            }
        });
    }
    let request = wait_for("a request is open", STEP, || {
        daemon.assert_alive();
        let mut open = api.requests("")?;
        if open.len() == 1 {
            Ok(open.remove(0))
        } else {
            Err(format!("{open:?}"))
        }
    });
    assert_eq!(request["status"], "held", "{request}");
    assert_eq!(request["cause"], "opt-in", "{request}");
    assert_eq!(request["urgency"], "weekly", "{request}");
    assert_eq!(request["unit"], BOULDER.to_string(), "{request}");
    assert_eq!(request["subscriber_key"], ann, "{request}");
    assert_eq!(api.urgent(), Ok(Vec::new()));

    let id = request["request"].as_i64().unwrap();
    let named = json!(id.to_string());
    let urgent = format!("/v1/resubscribe/{id}/urgent");
    let why = json!({ "reason": "her event is tomorrow" });
    let answer = api.ask(Method::POST, &urgent, Some(&why));
    assert_eq!(answer, Ok(json!({ "request": id, "changed": true })));
    let said = wait_for("an alarm is raised", STEP, || {
        let mut urgent = api.urgent()?;
        match urgent.pop() {
            Some((about, said)) if about == named => Ok(said),
            other => Err(format!("{other:?}")),
        }
    });
    assert!(said.as_str().unwrap().contains("CU Boulder"), "{said}");

    // Somebody works it in Marketing Cloud, and closes nothing here.
    gate.set_status(&ann, Some(BOULDER), Status::Active)
        .unwrap();
    wait_for("a later look closes it", ROUND, || {
        daemon.assert_alive();
        match api.requests("")?.len() {
            0 => Ok(()),
            open => Err(format!("{open} are open")),
        }
    });
    let closed = api.requests("?closed=true").unwrap();
    assert_eq!(
        (closed.len(), &closed[0]["closing"]),
        (1, &json!("green")),
        "{closed:?}"
    );
    wait_for("the all-clear", STEP, || match api.urgent()?.as_slice() {
        [] => Ok(()),
        standing => Err(format!("{standing:?}")),
    });

    let listed = output(&["resubscribe", "list", "--all", "--config", &config]);
    assert!(text(&listed.stdout).contains("green"), "{listed:?}");
    let ended = daemon.end("-TERM", Duration::from_secs(30));
    assert_eq!(ended.code(), Some(0), "{ended}");
    let log = fs::read_to_string(&log).unwrap();
    assert!(!log.contains('@'), "an address shows: {log}");
    api.runtime.block_on(sandbox.stop());
}
