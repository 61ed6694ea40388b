//! `first_run`: what it may say, that planning is the default, and that a reload leaves it alone (R49).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;

use consentd::config::reload::merge;
use consentd::config::{Checked, ConfigFaults, Disk, FirstRun, check};
use std::path::Path;

const LINE: &str = "first_run = \"write\"";

/// The configuration of a hub whose first line is another one.
fn with(folder: &Path, line: &str) -> Result<Checked, ConfigFaults> {
    hub::configured(folder, &["crm", "ascend"], "");
    let text = std::fs::read_to_string(folder.join("consentd.toml")).unwrap();
    assert!(text.contains(LINE));
    check(&text.replace(LINE, line), [], &Disk::default())
}

#[test]
fn a_new_store_plans_unless_it_is_told_to_write() {
    let folder = tempfile::tempdir().unwrap();
    for (line, expected) in [
        ("", FirstRun::Plan),
        ("first_run = \"plan\"", FirstRun::Plan),
        (LINE, FirstRun::Write),
    ] {
        assert_eq!(with(folder.path(), line).unwrap().first_run, expected);
    }
    let faults = with(folder.path(), "first_run = \"go\"").unwrap_err().0;
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].key, "first_run");
    assert_eq!(
        faults[0].what,
        "must be \"plan\" or \"write\", but is \"go\""
    );
}

#[test]
fn a_reload_leaves_it_as_it_was_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let running = with(folder.path(), LINE).unwrap();
    let found = with(folder.path(), "first_run = \"plan\"").unwrap();
    let (next, changed) = merge(&running, found);
    assert_eq!(next.first_run, FirstRun::Write);
    assert_eq!(
        (changed.taken.len(), changed.ignored.as_slice()),
        (0, &["first_run"][..])
    );
}
