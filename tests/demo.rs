//! `consentd demo --exit` with few contacts: the whole story, and every step of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/process.rs"]
mod process;

use process::{consentd, text};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The story takes eight minutes; on a busy machine it may take longer.
const LIMIT: Duration = Duration::from_mins(15);

/// What the README says is shown, by a few words of each step.
const STEPS: &[&str] = &[
    "both orgs are brought to parity",
    "clears every preference and reaches Ascend",
    "leaves the preferences off",
    "an opt-out in Ascend reaches Salesforce",
    "the later one wins",
    "its opt-out reaches the younger",
    "is healed",
    "nothing of the load ever reaches Salesforce",
    "kill -9",
    "switched on by SIGHUP",
    "with the time kept",
    "a newer legal basis in SuperOffice wins",
    "mailings keep their consent",
    "is seen all the same",
    "of two persons with one address the oldest speaks",
    "a list of 200 is checked",
    "withdraws a second before a send-out",
    "SuperOffice is down",
    "travels between the other three",
    "SuperOffice is back and catches up",
    "an opt-out in Salesforce reaches all four",
    "comes back to all four",
    "parity is 100 % in all four",
    "nothing more is written anywhere",
    "read from its nightly extract",
    "in one nightly file, with a manifest",
    "both are told apart",
    "the late acknowledgement settles its row",
    "yellow and gray are on the sheet",
    "knows whose mail would not be delivered",
    "in the next nightly file",
    "and are in Ascend",
    "a later green reading closes both requests",
    "answered in the next file",
    "nobody was opted in anywhere",
    "reads both orgs and only plans",
    "the plan lists each opt-out",
    "that write is planned no more",
    "apply writes what is still so",
    "one alarm, and one hold for all of them",
    "the check before mail says held",
    "one word rejects it",
    "waits under a hold of its own",
    "approved by mistake, and goes out",
    "by their own act",
    "undo brings back what was before",
    "the hold, the operator, the reason",
    "the ledger is proved",
    "the proof names the entry",
    "the ledger alone gives what the store holds",
    "and erased: no byte of them is left",
    "the check says suppressed",
    "and the ledger is still proved",
];

#[test]
fn every_step_of_the_demo_holds() {
    let folder = tempfile::tempdir().unwrap();
    let printed = folder.path().join("printed");
    let file = std::fs::File::create(&printed).unwrap();
    let mut demo = consentd(&["demo", "--exit", "--contacts", "300"])
        .stdout(file.try_clone().unwrap())
        .stderr(Stdio::from(file))
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = demo.try_wait().unwrap() {
            break Some(status);
        }
        if begun.elapsed() > LIMIT {
            demo.kill().unwrap();
            demo.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let said = text(&std::fs::read(&printed).unwrap());
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}\n{said}"
    );
    for step in STEPS {
        let holds = said
            .lines()
            .any(|line| line.starts_with("✓ ") && line.contains(step));
        assert!(holds, "{step:?} is not among\n{said}");
    }
    assert!(!said.contains('✗'), "{said}");
}
