//! Configuration of the gate: what it means, and what is refused (R47).
#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use consentd::config::reload::merge;
use consentd::config::{
    Checked, ConfigFaults, MarketingCloud, Schedule, SecretFile, SecretReader, SheetFormat,
    SubscriberKey, check,
};
use consentd::connector::marketing_cloud::config::Reach;
use consentd::consent::At;
use consentd::sync::schedule::next_round;
use secrecy::ExposeSecret as _;
use std::io;
use std::path::Path;
use std::time::Duration;

/// One Salesforce org, and a gate with what it cannot be without.
const LEAST: &str = r#"
[store]
url = "sqlite:///tmp/none.db"
[[purposes]]
name = "marketing"
[[purposes]]
name = "store"
[systems.salesforce]
kind = "salesforce"
[systems.salesforce.auth]
grant = "client-credentials"
login_url = "http://127.0.0.1:9"
client_id = "one"
client_secret_file = "/secret"
[systems.em]
kind = "emarketeer"
[systems.em.auth]
key_file = "/secret"
[marketing_cloud]
auth_url = "https://sub.auth.marketingcloudapis.com"
client_id = "two"
client_secret_file = "/secret"
account = "100"
time_zone = "America/Denver"
"#;

/// Every secret file holds the same.
struct Same(&'static str);

impl SecretReader for Same {
    fn read(&self, _: &Path) -> io::Result<SecretFile> {
        Ok(SecretFile {
            bytes: self.0.as_bytes().to_vec().into(),
            mode: 0o400,
            credential: false,
        })
    }
}

fn load_with(text: &str, secret: &'static str) -> Result<Checked, ConfigFaults> {
    let key = (
        "CONSENTD__IDENTITY__HASH_KEY".to_owned(),
        "8c1f4a0d97b35e2266f0a1c4d3e8b759".to_owned(),
    );
    check(text, [key], &Same(secret))
}

fn load(text: &str) -> Checked {
    load_with(text, "word").unwrap_or_else(|faults| panic!("{faults}"))
}

fn gate(text: &str) -> MarketingCloud {
    load(text).marketing_cloud.expect("a gate")
}

fn with(old: &str, new: &str) -> String {
    assert!(LEAST.contains(old), "{old:?} is not there");
    LEAST.replacen(old, new, 1)
}

/// The least with these lines in its table of the gate.
fn and(lines: &str) -> String {
    format!("{LEAST}{lines}\n")
}

fn faults(text: &str) -> String {
    let faults = load_with(text, "word").expect_err("must be refused");
    let lines: Vec<String> = faults
        .0
        .iter()
        .map(|fault| format!("{}: {}", fault.key, fault.what))
        .collect();
    lines.join("\n")
}

#[test]
fn r47_without_the_table_there_is_no_gate() {
    let text = LEAST.split("[marketing_cloud]").next().expect("text");
    assert!(load(text).marketing_cloud.is_none());
}

#[test]
fn r47_the_least_has_safe_defaults() {
    let gate = gate(LEAST);
    assert!(gate.enabled);
    assert!(
        !gate.auto_resubscribe,
        "nobody is set active unless that is asked for"
    );
    assert!(gate.auto_resubscribe_dry_run, "and then it is only told");
    assert!(!gate.connector.activates);
    assert_eq!(gate.system, "salesforce");
    assert_eq!(gate.subscriber_key, SubscriberKey::ContactId);
    assert!(gate.sheet.is_none());
    let settings = &gate.connector;
    let units: Vec<_> = settings
        .units
        .iter()
        .map(|unit| (unit.id.as_str(), unit.name.as_str()))
        .collect();
    assert_eq!(units, [("100", "parent")]);
    assert_eq!(settings.reach, Reach::AllAccounts);
    assert_eq!(settings.keys_per_call, 50);
    assert_eq!(settings.utc_offset.local_minus_utc(), -6 * 3_600);
    assert_eq!(settings.allowed_hosts, [".marketingcloudapis.com"]);
    assert!(settings.soap_url.is_none());
    assert_eq!(settings.client_secret.expose_secret(), "word");
    assert_eq!(settings.limits.request_timeout, Duration::from_secs(30));
    let at = |text: &str| {
        let time = chrono::DateTime::parse_from_rfc3339(text).expect("a time");
        At::from(time.to_utc())
    };
    let noon = at("2026-07-10T18:00:00Z");
    assert_eq!(
        next_round(&gate.schedule, noon, noon),
        Some(at("2026-07-11T09:00:00Z")),
        "three at night in Denver"
    );
}

#[test]
fn r47_everything_can_be_set() {
    let gate = gate(&and(r#"
        enabled = false
        name = "University"
        soap_url = "https://webservice.s7.exacttarget.com/"
        allowed_hosts = ["soap.example.edu"]
        read = "per-unit"
        keys_per_call = 200
        utc_offset = "+00:00"
        max_concurrent = 2
        system = "em"
        subscriber_key = "address"
        purpose = "store"
        schedule = "30 4 * * *"
        auto_resubscribe = true
        auto_resubscribe_dry_run = false
        [[marketing_cloud.units]]
        id = "200"
        name = "Alumni"
        [[marketing_cloud.units]]
        id = "300"
        name = "Events"
        [marketing_cloud.sheet]
        directory = "/sheets"
        schedule = "0 7 * * 5"
        formats = ["xlsx", "csv", "xlsx"]
        "#));
    assert!(!gate.enabled && gate.auto_resubscribe && !gate.auto_resubscribe_dry_run);
    assert!(
        gate.connector.activates,
        "so the probe looks for the permission"
    );
    let ids: Vec<_> = gate
        .connector
        .units
        .iter()
        .map(|unit| unit.id.as_str())
        .collect();
    assert_eq!(ids, ["100", "200", "300"], "the parent first");
    assert_eq!(gate.connector.units[0].name, "University");
    assert_eq!(gate.connector.reach, Reach::PerUnit);
    assert_eq!(
        (gate.system.as_str(), gate.subscriber_key),
        ("em", SubscriberKey::Address)
    );
    let sheet = gate.sheet.expect("a sheet");
    assert_eq!(sheet.directory, Path::new("/sheets"));
    assert_eq!(
        sheet.formats,
        [SheetFormat::Csv, SheetFormat::Xlsx],
        "each once"
    );
    assert!(matches!(sheet.schedule, Schedule::Cron { .. }));
}

#[test]
fn r47_what_is_wrong_is_named_with_what_to_do() {
    let secret_gone = LEAST.replacen(
        "client_id = \"two\"\nclient_secret_file = \"/secret\"",
        "client_id = \"two\"",
        1,
    );
    let sheet = "[marketing_cloud.sheet]\n";
    let unit = "[[marketing_cloud.units]]\n";
    for (sentence, text, expected) in [
        (
            "no address",
            with("auth_url = ", "name = "),
            "marketing_cloud.auth_url: is missing",
        ),
        (
            "an address with a path",
            with(
                "marketingcloudapis.com\"",
                "marketingcloudapis.com/v2/token\"",
            ),
            "marketing_cloud.auth_url: must be scheme and host only",
        ),
        (
            "no TLS",
            with("https://sub", "http://sub"),
            "marketing_cloud.auth_url: must begin with https",
        ),
        (
            "no secret",
            secret_gone,
            "marketing_cloud.client_secret_file: is missing",
        ),
        (
            "a secret in the file",
            and("client_secret = \"hush\""),
            "CONSENTD__MARKETING_CLOUD__CLIENT_SECRET",
        ),
        (
            "no parent",
            with("account = \"100\"\n", ""),
            "marketing_cloud.account: is missing",
        ),
        (
            "a parent by name",
            with("\"100\"", "\"parent\""),
            "must be the digits of a MID",
        ),
        (
            "no zone",
            with("time_zone = \"America/Denver\"", ""),
            "marketing_cloud.time_zone: is missing",
        ),
        (
            "a wrong zone",
            with("America/Denver", "Denver"),
            "\"Denver\" is no time zone",
        ),
        (
            "a wrong schedule",
            and("schedule = \"nightly\""),
            "marketing_cloud.schedule: must be a cron",
        ),
        (
            "immediately",
            and("schedule = \"immediate\""),
            "marketing_cloud.schedule: must be a cron",
        ),
        (
            "a plain SOAP address",
            and("soap_url = \"http://example.org\""),
            "soap_url: must begin with https",
        ),
        (
            "the whole SOAP address",
            and("soap_url = \"https://a.example.org/Service.asmx\""),
            "soap_url: must be an address without user, query and Service.asmx",
        ),
        (
            "a wrong host",
            and("allowed_hosts = [\"*.example.org\"]"),
            "marketing_cloud.allowed_hosts",
        ),
        (
            "too many keys",
            and("keys_per_call = 201"),
            "must be 1 to 200 keys",
        ),
        (
            "a way of reading",
            and("read = \"all\""),
            "must be \"all-accounts\" or \"per-unit\"",
        ),
        (
            "an offset",
            and("utc_offset = \"CST\""),
            "utc_offset: must be hours and minutes",
        ),
        (
            "a system",
            and("system = \"crm\""),
            "configured are: em, salesforce",
        ),
        (
            "a link that is none",
            and("subscriber_key = \"link\""),
            "systems.salesforce.fields.link names no field",
        ),
        (
            "ids that are none",
            and("system = \"em\""),
            "subscriber_key: must be \"address\"",
        ),
        (
            "a purpose",
            and("purpose = \"sales\""),
            "marketing_cloud.purpose: purpose \"sales\"",
        ),
        (
            "an unknown key",
            and("auto_resubscribed = true"),
            "did you mean \"auto_resubscribe\"?",
        ),
        (
            "a unit without a name",
            and(&format!("{unit}id = \"2\"")),
            "marketing_cloud.units[0].name: is missing",
        ),
        (
            "the parent again",
            and(&format!("{unit}id = \"100\"\nname = \"x\"")),
            "marketing_cloud.units[0].id: 100 is \"parent\" already",
        ),
        (
            "a name twice",
            and(&format!("{unit}id = \"2\"\nname = \"parent\"")),
            "marketing_cloud.units[0].name: \"parent\" is the name of another unit",
        ),
        (
            "a sheet nowhere",
            and(sheet),
            "marketing_cloud.sheet.directory: is missing",
        ),
        (
            "a sheet somewhere",
            and(&format!("{sheet}directory = \"sheets\"")),
            "marketing_cloud.sheet.directory: must be an absolute path",
        ),
        (
            "a sheet of no form",
            and(&format!("{sheet}directory = \"/s\"\nformats = []")),
            "marketing_cloud.sheet.formats: must not be empty",
        ),
        (
            "a sheet of another form",
            and(&format!("{sheet}directory = \"/s\"\nformats = [\"ods\"]")),
            "formats: must hold \"csv\", \"xlsx\" or both, but holds \"ods\"",
        ),
    ] {
        let found = faults(&text);
        assert!(found.contains(expected), "{sentence}: {found}");
        assert!(
            !found.contains("hush"),
            "{sentence}: a secret is never repeated"
        );
    }
}

#[test]
fn the_secret_may_come_from_the_environment_and_never_shows() {
    let text = LEAST.replacen(
        "client_id = \"two\"\nclient_secret_file = \"/secret\"",
        "client_id = \"two\"",
        1,
    );
    let variables = [
        (
            "CONSENTD__IDENTITY__HASH_KEY",
            "8c1f4a0d97b35e2266f0a1c4d3e8b759",
        ),
        ("CONSENTD__MARKETING_CLOUD__CLIENT_SECRET", "hush-hush"),
        ("CONSENTD__MARKETING_CLOUD__KEYS_PER_CALL", "20"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let checked = check(&text, variables, &Same("word")).expect("accepted");
    let gate = checked.marketing_cloud.as_ref().expect("a gate");
    assert_eq!(gate.connector.client_secret.expose_secret(), "hush-hush");
    assert_eq!(gate.connector.keys_per_call, 20);
    assert!(!format!("{checked:?}").contains("hush"));
}

#[test]
fn a_link_can_be_the_key_where_there_is_one() {
    let text = and("subscriber_key = \"link\"").replace(
        "[systems.em]",
        "[systems.salesforce.fields]\nlink = \"Person_Id__c\"\n[systems.em]",
    );
    assert_eq!(gate(&text).subscriber_key, SubscriberKey::Link);
}

#[test]
fn r47_the_key_of_a_contact_is_its_long_id_its_link_or_its_address() {
    let of = |key: SubscriberKey, id: &str, link, address| key.of(id, link, address);
    let (link, address) = (Some("P-1"), Some("ann@example.org"));
    for (sentence, key, id, expected) in [
        (
            "fifteen characters become eighteen",
            SubscriberKey::ContactId,
            "0035e00000AbCdE",
            Some("0035e00000AbCdEAAV"),
        ),
        (
            "eighteen stay",
            SubscriberKey::ContactId,
            "0035e00000AbCdEAAV",
            Some("0035e00000AbCdEAAV"),
        ),
        (
            "another form stays",
            SubscriberKey::ContactId,
            "4711",
            Some("4711"),
        ),
        ("nothing is no key", SubscriberKey::ContactId, "", None),
        ("the link", SubscriberKey::Link, "4711", Some("P-1")),
        (
            "the address",
            SubscriberKey::Address,
            "4711",
            Some("ann@example.org"),
        ),
    ] {
        let found = of(key, id, link, address);
        assert_eq!(found.as_deref(), expected, "{sentence}");
    }
    assert_eq!(of(SubscriberKey::Link, "4711", None, address), None);
    assert_eq!(of(SubscriberKey::Address, "4711", link, None), None);
}

#[test]
fn r49_a_reload_notices_what_changes_of_the_gate() {
    let running = load(LEAST);
    let taken = |text: &str, secret| {
        let found = load_with(text, secret).expect("accepted");
        merge(&running, found).1.taken
    };
    let without = LEAST.split("[marketing_cloud]").next().expect("text");
    assert!(taken(LEAST, "word").is_empty());
    assert_eq!(
        taken(without, "word"),
        ["marketing_cloud is no longer configured"]
    );
    assert_eq!(
        taken(&and("enabled = false"), "word"),
        ["marketing_cloud is switched off"]
    );
    assert_eq!(
        taken(&and("keys_per_call = 7"), "word"),
        ["settings of marketing_cloud"]
    );
    assert_eq!(
        taken(&and("[marketing_cloud.sheet]\ndirectory = \"/s\""), "word"),
        ["settings of marketing_cloud"]
    );
    assert!(
        taken(LEAST, "other").contains(&"settings of marketing_cloud".to_owned()),
        "another secret is another setting"
    );
    let before = load(without);
    let found = merge(&before, load(LEAST)).1.taken;
    assert_eq!(found, ["marketing_cloud is new"]);
}

#[test]
fn r49_the_secret_of_the_gate_is_not_one_of_the_systems() {
    let text = with(
        "client_id = \"two\"\nclient_secret_file = \"/secret\"",
        "client_id = \"two\"",
    );
    let load = |secret: &str| {
        let variables = [
            (
                "CONSENTD__IDENTITY__HASH_KEY",
                "8c1f4a0d97b35e2266f0a1c4d3e8b759",
            ),
            ("CONSENTD__MARKETING_CLOUD__CLIENT_SECRET", secret),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        check(&text, variables, &Same("word")).expect("accepted")
    };
    let (_, changed) = merge(&load("one"), load("two"));
    assert_eq!(changed.taken, ["settings of marketing_cloud"]);
}
