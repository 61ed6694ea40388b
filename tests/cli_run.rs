//! The sandbox and the daemon as two processes, and the commands that look at them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "no process is killed here")]
#[path = "common/process.rs"]
mod process;

use consentd::cli::sandbox::{Rehearsal, write_config};
use consentd_sandbox::{Options, Org, Sandbox};
use process::{Process, consentd, free_address, get, output, text, wait_for, wait_ready};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// A port with free ones behind it, as far as one can tell.
fn free_base() -> u16 {
    wait_for("seven free ports", Duration::from_secs(10), || {
        let address = free_address();
        let base: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
        let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        match base.checked_add(consentd_sandbox::PORTS) {
            Some(end) if (base..end).all(free) => Ok(base),
            _ => Err(format!("not behind {base}")),
        }
    })
}

/// Runs a command that has to end with that status; gives what it printed.
fn printed(status: i32, arguments: &[&str]) -> String {
    let answer = output(arguments);
    assert_eq!(
        answer.status.code(),
        Some(status),
        "{arguments:?}\n{}\n{}",
        text(&answer.stdout),
        text(&answer.stderr)
    );
    text(&answer.stdout)
}

fn json(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The rows of a CSV text by column name; every row has as many columns as the first.
fn csv(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader
        .records()
        .map(|row| row.unwrap().iter().map(str::to_owned).collect())
        .collect()
}

/// The systems of the rehearsal, as every list has them.
const SYSTEMS: [&str; 4] = ["ascend", "emarketeer", "salesforce", "superoffice"];

#[test]
fn a_sandbox_and_a_daemon_as_two_processes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display().to_string();
    let base = free_base().to_string();
    let sandbox_log = folder.path().join("sandbox.log");
    let mut sandbox = Process::start(
        consentd(&[
            "sandbox",
            "--contacts",
            "300",
            "--port-base",
            &base,
            "--dir",
            &dir,
        ]),
        &sandbox_log,
    );
    wait_for("sandbox ready", Duration::from_mins(1), || {
        sandbox.assert_alive();
        let log = sandbox.printed();
        if log.lines().any(|line| line == "sandbox ready") {
            Ok(())
        } else {
            Err(log)
        }
    });
    let config = folder.path().join("consentd-sandbox.toml");
    for secret in [
        "consentd-sandbox.toml",
        "consentd-sandbox/hash.key",
        "consentd-sandbox/sender.token",
        "consentd-sandbox/operator.token",
        "consentd-sandbox/salesforce.pem",
    ] {
        let mode = std::fs::metadata(folder.path().join(secret))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let config = config.display().to_string();
    printed(0, &["check", "--live", "--config", &config]);

    let listen = free_address();
    let daemon_log = folder.path().join("daemon.log");
    let mut command = consentd(&["run", "--config", &config]);
    command.env("CONSENTD__SERVER__LISTEN", &listen);
    let mut daemon = Process::start(command, &daemon_log);
    wait_ready(&mut daemon, &listen, Duration::from_mins(1));
    let writes = planning(&mut daemon, &listen, &config, folder.path());
    wait_for("parity is 1 in all", Duration::from_secs(90), || {
        daemon.assert_alive();
        let metrics = get(&listen, "/metrics").unwrap();
        let shares: Vec<&str> = metrics
            .lines()
            .filter(|line| line.starts_with("consentd_parity_ratio{"))
            .collect();
        let full = |name: &str| {
            shares
                .iter()
                .any(|line| line.contains(&format!("system=\"{name}\"")) && line.ends_with(" 1"))
        };
        if SYSTEMS.into_iter().all(full) {
            Ok(())
        } else {
            Err(format!("{shares:?}"))
        }
    });
    assert!(get(&listen, "/healthz").unwrap().ends_with("ok\n"));

    status(&config);
    plan_and_parity(&config);
    explain(&config, folder.path());
    check_recipients(&listen, folder.path());
    let log = daemon.printed();
    let advice = format!("{writes} writes are planned: look at them");
    assert!(log.contains(&advice), "{log}");
    assert!(log.contains("a list was checked by rehearsal"), "{log}");
    assert!(!log.contains('@'), "an address shows: {log}");

    let ended = daemon.end("-TERM", Duration::from_secs(30));
    assert_eq!(ended.code(), Some(0), "{ended}");
    // Nothing has to run for a look at the store.
    status(&config);
    let ended = sandbox.end("-INT", Duration::from_secs(10));
    assert_eq!(ended.code(), Some(0), "{ended}");
}

/// The daemon has a new store, so it plans and waits until the plan is applied; how many writes that is.
fn planning(daemon: &mut Process, listen: &str, config: &str, folder: &Path) -> i64 {
    let planned = |metrics: &str| -> i64 {
        let lines = metrics.lines();
        let planned = lines.filter(|line| line.starts_with("consentd_planned_writes{"));
        planned
            .map(|line| line.rsplit(' ').next().unwrap().parse::<i64>().unwrap())
            .sum()
    };
    // Long enough for the figures to be read twice after everything was.
    let mut before = 0;
    wait_for("the plan is at rest", Duration::from_secs(90), || {
        daemon.assert_alive();
        before = planned(&get(listen, "/metrics").unwrap());
        let advice = format!("{before} writes are planned: look at them");
        if before > 0 && daemon.printed().contains(&advice) {
            return Ok(());
        }
        Err(get(listen, "/metrics").unwrap())
    });
    let metrics = get(listen, "/metrics").unwrap();
    assert!(metrics.contains("\nconsentd_planning 1\n"), "{metrics}");
    let file = folder.join("plan.json").display().to_string();
    let shown = printed(
        2,
        &[
            "plan", "--config", config, "--output", "json", "--save", &file,
        ],
    );
    let rows = json(&shown);
    assert!(rows.iter().all(|row| row["state"] == "planned"), "{shown}");
    assert_eq!(
        planned(&get(listen, "/metrics").unwrap()),
        before,
        "nothing was written"
    );
    let table = printed(0, &["status", "--config", config]);
    assert!(
        table.contains("let them go with `consentd apply FILE`"),
        "{table}"
    );
    let said = printed(
        0,
        &[
            "apply",
            &file,
            "--config",
            config,
            "--reason",
            "a rehearsal",
        ],
    );
    assert!(
        said.starts_with(&format!("{before} released, 0 dropped. Planning has ended")),
        "{said}"
    );
    before
}

fn status(config: &str) {
    let ask = |format: &str| printed(0, &["status", "--config", config, "--output", format]);
    let rows = json(&ask("json"));
    assert_eq!(rows.len(), SYSTEMS.len());
    for (row, name) in rows.iter().zip(SYSTEMS) {
        assert_eq!(row["system"], name, "{row}");
        assert_eq!(row["feed"], "following", "{row}");
        assert!(row["contacts"].as_i64().unwrap() > 100, "{row}");
        assert_eq!(row["quarantined"], 0, "{row}");
    }
    let table = ask("table");
    assert!(
        table.contains("salesforce") && table.contains("ledger entries"),
        "{table}"
    );
    assert_eq!(csv(&ask("csv")).len(), SYSTEMS.len());
}

fn plan_and_parity(config: &str) {
    // What the first load decided goes out first, so that the lists stand still.
    wait_for("nothing is left to write", Duration::from_secs(30), || {
        let answer = output(&["plan", "--config", config, "--output", "csv"]);
        match answer.status.code() {
            Some(0) => Ok(()),
            _ => Err(text(&answer.stdout)),
        }
    });
    for command in ["plan", "parity"] {
        let ask = |format: &str| {
            let answer = output(&[command, "--config", config, "--output", format]);
            // A protected duplicate is a difference that stays.
            assert!(
                matches!(answer.status.code(), Some(0 | 2)),
                "{command}: {}",
                text(&answer.stderr)
            );
            (answer.status.code(), text(&answer.stdout))
        };
        let (code, listed) = ask("json");
        let rows = json(&listed);
        assert_eq!(
            code,
            Some(if rows.is_empty() { 0 } else { 2 }),
            "{command}: {listed}"
        );
        let (_, listed) = ask("csv");
        assert_eq!(csv(&listed).len(), rows.len(), "{command}: {listed}");
        let (_, table) = ask("table");
        assert!(!table.trim().is_empty(), "{command} prints a table");
    }
}

/// Somebody whom the store knows is explained in every format, and nobody else is.
fn explain(config: &str, folder: &std::path::Path) {
    // The same number of contacts and the same seed make the same people.
    let people = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let twin = Sandbox::start(Options {
            contacts: 300,
            seed: 1,
            port_base: None,
        })
        .await
        .unwrap();
        let org = twin.salesforce();
        let people: Vec<_> = org
            .contact_ids(usize::MAX)
            .iter()
            .filter_map(|id| org.contact(id))
            .filter(|contact| contact.opted_out && !contact.deleted)
            .filter_map(|contact| contact.address)
            .collect();
        twin.stop().await;
        people
    });
    let address = people
        .iter()
        .find(|address| {
            output(&["explain", "--config", config, address.as_str()])
                .status
                .success()
        })
        .unwrap_or_else(|| panic!("nobody of {people:?} is known in {}", folder.display()));
    let ask = |format: &str| {
        printed(
            0,
            &["explain", "--config", config, "--output", format, address],
        )
    };
    let told: Value = serde_json::from_str(&ask("json")).unwrap();
    let events = told["events"].as_array().unwrap();
    assert!(
        events
            .iter()
            .any(|event| event["kind"] == "verdict" && event["purpose"] == "marketing"),
        "{told:#}"
    );
    assert!(told["now"]["verdicts"][0]["policy"].is_string(), "{told:#}");
    let rows = csv(&ask("csv"));
    let of_events = rows.iter().filter(|row| row[0] != "now").count();
    assert_eq!(of_events, events.len());
    assert!(rows.iter().any(|row| row[1] == "shows"), "{rows:?}");
    assert!(ask("table").contains("verdict"));
    let nobody = output(&["explain", "--config", config, "nobody@nowhere.example"]);
    assert_eq!(nobody.status.code(), Some(1));
    let said = text(&nobody.stderr);
    assert!(
        said.contains("nobody is known") && !said.contains("nobody@nowhere.example"),
        "{said}"
    );
}

/// Lists as spreadsheets write them, and the three exit states.
fn check_recipients(listen: &str, folder: &std::path::Path) {
    let url = format!("http://{listen}");
    let token = folder.join("consentd-sandbox/sender.token");
    let ask = |list: &str, more: &[&str]| {
        let file = folder.join("list.csv");
        std::fs::write(&file, list).unwrap();
        let file = file.display().to_string();
        let token = token.display().to_string();
        let mut arguments = vec!["check-recipients", &file, "--purpose", "marketing"];
        arguments.extend(["--url", &url]);
        if !more.contains(&"--token-file") {
            arguments.extend(["--token-file", &token]);
        }
        arguments.extend(more);
        let answer = output(&arguments);
        let said = (text(&answer.stdout), text(&answer.stderr));
        (answer.status.code(), said.0, said.1)
    };
    let list = "\u{feff}Name,E-mail\r\n=Ann,nobody@nowhere.example\r\n\"B, ob\",=cmd\r\n";
    let column = ["--column", "e-mail"];
    let (code, listed, said) = ask(list, &[&column[..], &["--output", "csv"]].concat());
    assert_eq!(code, Some(2), "{said}");
    let rows = csv(&listed);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0][..2], ["nobody@nowhere.example", "unknown-address"]);
    assert_eq!(
        rows[1][..2],
        ["'=cmd", "unknown-address"],
        "no formula comes out"
    );
    let (code, table, _) = ask(list, &column);
    assert_eq!(code, Some(2));
    assert!(
        table.contains("unknown-address") && table.contains("addressed"),
        "{table}"
    );
    let (code, listed, _) = ask("email\n", &["--output", "json"]);
    assert_eq!(
        (code, json(&listed).len()),
        (Some(0), 0),
        "nobody is refused"
    );
    for (sentence, list, more, expected) in [
        (
            "no such column",
            list,
            &["--column", "mail"][..],
            "no column \"mail\"",
        ),
        (
            "an unknown purpose",
            "email\n",
            &["--purpose", "x"][..],
            "cannot be used multiple",
        ),
        (
            "no token",
            "email\n",
            &["--token-file", "/nonexistent"][..],
            "token in /nonexistent cannot be read",
        ),
    ] {
        let (code, _, said) = ask(list, more);
        assert_eq!(code, Some(1), "{sentence}: {said}");
        assert!(said.contains(expected), "{sentence}: {said}");
    }
    let wrong = folder.join("wrong.token");
    std::fs::write(&wrong, "no token of this daemon, however long").unwrap();
    let wrong = wrong.display().to_string();
    let (code, _, said) = ask("email\na@x.example\n", &["--token-file", &wrong]);
    assert_eq!(code, Some(1));
    assert!(said.contains("a token is needed (401)"), "{said}");
    assert!(!said.contains("however long"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_before_the_first_run_lists_writes_and_does_none() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(Options {
        contacts: 300,
        seed: 1,
        port_base: None,
    })
    .await
    .unwrap();
    let config = write_config(&sandbox, folder.path(), &Rehearsal::default()).unwrap();
    let config = config.display().to_string();
    let before = sandbox.parity().different;
    assert!(before > 0, "the orgs differ to begin with");
    let listed = tokio::task::spawn_blocking(move || {
        printed(2, &["plan", "--config", &config, "--output", "json"])
    })
    .await
    .unwrap();
    let rows = json(&listed);
    assert!(!rows.is_empty());
    let lanes: Vec<_> = rows
        .iter()
        .map(|row| row["lane"].as_str().unwrap())
        .collect();
    let withdrawals = lanes.iter().take_while(|lane| **lane == "withdrawal");
    let first = withdrawals.count();
    assert!(first > 0, "withdrawals come first: {:?}", lanes.first());
    assert!(
        lanes.iter().skip(first).all(|lane| *lane == "grant"),
        "and all of them"
    );
    let written = |org: &Org| {
        let calls = org.calls();
        calls.rows_changed + calls.rows_unchanged + calls.rows_created
    };
    assert_eq!(
        (written(sandbox.salesforce()), written(sandbox.ascend())),
        (0, 0)
    );
    assert_eq!(sandbox.parity().different, before);
    assert!(
        !folder.path().join("consentd-sandbox/consentd.db").exists(),
        "a plan leaves no store behind"
    );
}
