//! Configuration: whatever is wrong is named, all of it at once, before anything is started.
#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use consentd::config::reload::{Changed, merge};
use consentd::config::{
    Checked, ConfigFaults, LogFormat, Role, Schedule, SecretFile, SecretReader, SystemKind, check,
    keys,
};
use consentd::connector::ascend::config::Mode;
use consentd::connector::salesforce::config::Grant;
use consentd::connector::superoffice::config::Deployment;
use consentd::consent::{Basis, DuplicateWithdrawal, Polarity, Revival};
use consentd::store::StoreSettings;
use secrecy::ExposeSecret;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

const EXAMPLE: &str = include_str!("../config/consentd.example.toml");
const HASH_KEY: &str = "8c1f4a0d97b35e2266f0a1c4d3e8b7590a1b2c3d4e5f60718293a4b5c6d7e8f9";

/// A key made for this run alone.
fn rsa_key() -> &'static str {
    static PEM: LazyLock<String> = LazyLock::new(|| {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key pair");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("PKCS #8");
        let body = BASE64.encode(der.as_ref());
        let lines: Vec<_> = body
            .as_bytes()
            .chunks(64)
            .map(String::from_utf8_lossy)
            .collect();
        let text = lines.join("\n");
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    });
    &PEM
}

/// Secret files that exist only here.
#[derive(Clone)]
struct Files(BTreeMap<PathBuf, (Vec<u8>, u32, bool)>);

impl Files {
    fn all() -> Self {
        let mut files = Self(BTreeMap::new());
        files.put("hash-key", &format!("{HASH_KEY}\n"));
        files.put("salesforce-key.pem", rsa_key());
        files.put("salesforce-secret", "salesforce-secret-value");
        files.put("ascend-secret", "ascend-secret-value\r\n");
        files.put("database-password", "database-password-value\n");
        files.put("emarketeer-key", "emarketeer-key-value\n");
        files.put("superoffice-app-token", "application-token\n");
        files.put("superoffice-system-user", "Consent Sync-ab12cd34ef\n");
        files.put("superoffice-key.pem", rsa_key());
        files.put("superoffice-webhook", "0123456789abcdef0123456789abcdef\n");
        files.put("marketing-cloud-secret", "marketing-cloud-secret-value\n");
        files
    }

    fn put(&mut self, name: &str, content: &str) {
        self.put_mode(name, content, 0o400, false);
    }

    fn put_mode(&mut self, name: &str, content: &str, mode: u32, credential: bool) {
        let path = Path::new("/etc/consentd/secrets").join(name);
        self.0
            .insert(path, (content.as_bytes().to_vec(), mode, credential));
    }
}

impl SecretReader for Files {
    fn read(&self, path: &Path) -> io::Result<SecretFile> {
        let (bytes, mode, credential) = self
            .0
            .get(path)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(SecretFile {
            bytes: bytes.clone().into(),
            mode: *mode,
            credential: *credential,
        })
    }
}

fn load_with(
    text: &str,
    environment: &[(&str, &str)],
    files: &Files,
) -> Result<Checked, ConfigFaults> {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    check(text, environment, files)
}

fn load(text: &str) -> Result<Checked, ConfigFaults> {
    load_with(text, &[], &Files::all())
}

/// The example with one text replaced, which must be there.
fn example_with(old: &str, new: &str) -> String {
    assert!(EXAMPLE.contains(old), "the example does not hold {old:?}");
    EXAMPLE.replacen(old, new, 1)
}

/// The faults as `key: what`, one a line.
fn faults(result: Result<Checked, ConfigFaults>) -> String {
    let faults = result.expect_err("the configuration must be refused");
    let lines: Vec<_> = faults
        .0
        .iter()
        .map(|fault| format!("{}: {}", fault.key, fault.what))
        .collect();
    lines.join("\n")
}

#[track_caller]
fn refuses(old: &str, new: &str, expected: &str) {
    assert_eq!(faults(load(&example_with(old, new))), expected);
}

#[test]
fn the_example_is_accepted_and_means_what_it_says() {
    let checked = load(EXAMPLE).expect("the example is without faults");
    assert_eq!(checked.server.listen.to_string(), "127.0.0.1:8480");
    assert_eq!(checked.log.format, LogFormat::Text);
    assert!(matches!(
        &checked.store,
        StoreSettings::Sqlite { path } if path == Path::new("/var/lib/consentd/consentd.db")
    ));
    assert_eq!(checked.hash_key.expose_secret(), HASH_KEY.as_bytes());
    assert_eq!(checked.policy.withdrawal_deadline, Duration::from_hours(48));
    assert_eq!(checked.policy.grant_settle, Duration::from_mins(1));
    assert_eq!(checked.policy.rules.load_contacts, 25);
    assert_eq!(checked.purposes.len(), 4);

    let salesforce = checked.system("salesforce").expect("configured");
    assert!(salesforce.enabled);
    assert!(matches!(salesforce.schedule, Schedule::Immediate));
    assert_eq!(salesforce.max_lag, Duration::from_mins(15));
    assert_eq!(salesforce.carries.len(), 3);
    let SystemKind::Salesforce(settings) = &salesforce.kind else {
        panic!("a salesforce system");
    };
    assert_eq!(settings.link_field.as_deref(), Some("Ascend_ID__c"));
    assert!(matches!(
        &settings.platform.grant,
        Grant::JwtBearer { audience, .. } if audience == "https://login.salesforce.com"
    ));

    let ascend = checked.system("ascend").expect("configured");
    assert!(matches!(
        &ascend.schedule,
        Schedule::Cron {
            time_zone: chrono_tz::America::Denver,
            ..
        }
    ));
    let marketing = checked.purposes.find("marketing").expect("listed");
    assert_eq!(ascend.carries, [(marketing, Polarity::OptOut)]);
    assert_eq!(ascend.precedence, 2);
    let SystemKind::Ascend(settings) = &ascend.kind else {
        panic!("an ascend system");
    };
    assert!(matches!(
        &settings.platform.grant,
        Grant::ClientCredentials { client_secret, .. }
            if client_secret.expose_secret() == "ascend-secret-value"
    ));
}

#[test]
fn emarketeer_is_set_up_by_names_keys_and_places() {
    let checked = load(EXAMPLE).expect("accepted");
    let system = checked.system("emarketeer").expect("configured");
    let marketing = checked.purposes.find("marketing").expect("listed");
    assert_eq!(system.carries, [(marketing, Polarity::Recorded)]);
    let SystemKind::Emarketeer(settings) = &system.kind else {
        panic!("an emarketeer system");
    };
    assert_eq!(
        settings.auth.consent.expose_secret(),
        "emarketeer-key-value"
    );
    assert_eq!(
        settings.consent.filter.as_str(),
        "https://prod-apigw.emarketeer.com/consent-public/v1/consents/filter"
    );
    assert_eq!(
        settings.contact.list.as_str(),
        "https://connect.emarketeer.com/contacts-api/v1/contacts"
    );
    assert_eq!(settings.id_key.expose_secret(), HASH_KEY.as_bytes());
    assert_eq!(settings.page_rows, 1_000);
}

#[test]
fn emarketeer_takes_a_key_for_each_module() {
    let own = example_with(
        "key_file = \"/etc/consentd/secrets/emarketeer-key\"",
        "scheme = \"bearer\"",
    );
    let message = faults(load(&own));
    assert!(
        message.starts_with("systems.emarketeer.auth.key_file: is missing"),
        "{message}"
    );
    let environment = [
        ("CONSENTD__SYSTEMS__EMARKETEER__AUTH__CONSENT_KEY", "one"),
        ("CONSENTD__SYSTEMS__EMARKETEER__AUTH__CONTACT_KEY", "two"),
    ];
    let checked = load_with(&own, &environment, &Files::all()).expect("accepted");
    let SystemKind::Emarketeer(settings) = &checked.system("emarketeer").expect("it is").kind
    else {
        panic!("an emarketeer system");
    };
    assert_eq!(settings.auth.consent.expose_secret(), "one");
    assert_eq!(settings.auth.contact.expose_secret(), "two");
}

#[test]
fn what_emarketeer_cannot_be_told_is_refused() {
    for (old, new, expected) in [
        (
            "# base_url = \"https://prod-apigw.emarketeer.com\"",
            "base_url = \"http://prod-apigw.emarketeer.com\"",
            "systems.emarketeer.consent.base_url: must begin with https; plain http is for this \
             machine only, e.g. https://prod-apigw.emarketeer.com",
        ),
        (
            "# filter = \"/consent-public/v1/consents/filter\"",
            "filter = \"consents?x=1\"",
            "systems.emarketeer.consent.filter: must be a path behind base_url, e.g. \
             /consent-public/v1/consents/filter, but is \"consents?x=1\"",
        ),
        (
            "# changed_at = [\"/createdAt\", \"/created\", \"/timestamp\"]",
            "changed_at = [\"createdAt\"]",
            "systems.emarketeer.consent.fields.changed_at: \"createdAt\" is no place in a JSON \
             text; write it as in \"/purpose/id\"",
        ),
        (
            "# store = [\"Store and process\", \"Store data\", \"Store\"]",
            "stroe = [\"Store\"]",
            "systems.emarketeer.purposes.stroe: purpose \"stroe\" is not listed under [[purposes]]; \
             add it there",
        ),
        (
            "# feed = \"auto\"",
            "feed = \"guess\"",
            "systems.emarketeer.feed: must be \"auto\", \"filter\", \"contacts\" or \"full\", but \
             is \"guess\"",
        ),
    ] {
        refuses(old, new, expected);
    }
}

/// Uncommenting a default must not change anything, so the defaults the example shows are true.
#[test]
fn the_defaults_shown_in_the_example_are_the_defaults() {
    let numbers_and_words: Vec<String> = EXAMPLE
        .lines()
        .scan("", |before, line| {
            Some((std::mem::replace(before, line), line))
        })
        .map(|(before, line)| {
            let is_default = !before.ends_with("An example:");
            let shown = line.strip_prefix("# ").filter(|rest| {
                is_default
                    && rest.split_once(" = ").is_some_and(|(key, _)| {
                        key.ends_with("_secs")
                            || key.ends_with("_hours")
                            || key.ends_with("_days")
                            || key.ends_with("_per_hour")
                            || key.ends_with("_per_minute")
                            || key.ends_with("_per_sec")
                            || key.ends_with("_mib")
                            || key.ends_with("_above")
                            || [
                                "first_run",
                                "listen",
                                "format",
                                "filter",
                                "write",
                                "withdrawal",
                                "revival",
                                "unknown",
                                "enabled",
                                "legal_basis_sync",
                                "granted_basis",
                                "page_rows",
                                "max_concurrent",
                                "quota_reserve_percent",
                                "opt_out",
                                "opt_out_purpose",
                                "purpose",
                                "audience",
                                "allowed_hosts",
                                "address_field",
                                "feed",
                                "refused_characters",
                                "scheme",
                                "lists",
                                "totals",
                                "history",
                                "legal_basis",
                                "changed_at",
                                "references",
                                "email",
                                "modified",
                                "legitimate-interests",
                                "source",
                                "comment",
                                "language",
                                "retired",
                                "consent_feed",
                                "merge_log",
                                "filter_time_zone",
                                "consent",
                                "contract",
                                "legal-obligation",
                                "vital-interests",
                                "public-task",
                                "legitimate-interests",
                                "withdrawn",
                                "read",
                                "keys_per_call",
                                "utc_offset",
                                "system",
                                "subscriber_key",
                                "auto_resubscribe",
                                "auto_resubscribe_dry_run",
                                "formats",
                            ]
                            .contains(&key)
                    })
            });
            shown.unwrap_or(line).to_owned()
        })
        .collect();
    let spelled_out = numbers_and_words.join("\n");
    assert!(
        spelled_out.contains("\nmax_body_mib = 32"),
        "defaults are uncommented"
    );
    let (implied, stated) = (load(EXAMPLE), load(&spelled_out));
    let (implied, stated) = (implied.expect("accepted"), stated.expect("accepted"));
    assert_eq!(format!("{implied:?}"), format!("{stated:?}"));
}

#[test]
fn the_example_shows_every_known_key() {
    for table in keys::TABLES {
        for key in table.known.iter().chain(table.environment_only) {
            let shown = EXAMPLE.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{key} = "))
                    || line.contains(&format!("`{key}`"))
                    || line
                        .trim_matches(['[', ']'])
                        .split('.')
                        .any(|part| part == *key)
            });
            assert!(
                shown,
                "the example does not show {key:?} of [{}]",
                table.table
            );
        }
    }
}

/// The example with its tables about the API uncommented, and files for them.
fn with_api(change: impl Fn(&str) -> String) -> Result<Checked, ConfigFaults> {
    const BEGIN: &str = "# [[server.tokens]]";
    const END: &str = "[store]";
    let (before, rest) = EXAMPLE.split_once(BEGIN).expect("the tokens are shown");
    let (api, after) = rest.split_once(END).expect("the store follows");
    let api: Vec<&str> = format!("{BEGIN}{api}")
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.starts_with('[') || line.contains(" = "))
        .filter(|line| !line.starts_with("token_hash_file"))
        .map(|line| &*line.to_owned().leak())
        .collect();
    let text = format!("{before}\n{}\n{END}{after}", change(&api.join("\n")));
    let mut files = Files::all();
    files.put("campaigns-token", &format!("{TOKEN}\n"));
    files.put("campaigns-token-hash", &format!("{TOKEN_HASH}  -\n"));
    files.put("short", "too-short");
    files.put("blank", "0123456789 0123456789 0123456789 0123456789");
    files.put(
        "callback-secret",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
    );
    load_with(&text, &[], &files)
}

const TOKEN: &str = "2b7e151628aed2a6abf7158809cf4f3c";
const TOKEN_HASH: &str = "8e4b9ed26e4f1f4b8e1bdf0c8a1b0f0f9e5d9a5d6f1c6a4f0f6b8d1f2a3c4e5d";

#[test]
fn tokens_and_callbacks_are_read_from_files_and_kept_as_digests() {
    let by_token = with_api(str::to_owned).expect("accepted");
    let server = &by_token.server;
    assert_eq!(server.tokens.len(), 1);
    let token = &server.tokens[0];
    assert_eq!(
        (token.name.as_str(), token.role),
        ("campaigns", Role::Sender)
    );
    assert_eq!(token.hash[..], Sha256::digest(TOKEN.as_bytes())[..]);
    let callback = server.callback.as_ref().expect("given");
    assert_eq!(callback.key.expose_secret().len(), 24);
    assert_eq!(callback.hosts, ["mail.example.edu"]);
    assert_eq!(server.sendout_retention, Duration::from_hours(30 * 24));
    let by_hash = with_api(|text| {
        text.replace("token_file", "token_hash_file")
            .replace("campaigns-token", "campaigns-token-hash")
    });
    let hash = by_hash.expect("accepted").server.tokens[0].hash;
    let digits = |at: usize| u8::from_str_radix(&TOKEN_HASH[2 * at..2 * at + 2], 16);
    assert!(
        (0..32).all(|at| digits(at).as_ref() == Ok(&hash[at])),
        "{hash:?}"
    );
    let none = load(EXAMPLE).expect("accepted").server;
    assert!(none.tokens.is_empty() && none.callback.is_none());
}

#[test]
fn what_is_wrong_with_tokens_and_callbacks_is_said_without_showing_them() {
    let rows = [
        (
            "role = \"sender\"",
            "role = \"admin\"",
            "server.tokens[0].role: must be \"viewer\", \"sender\" or \"operator\", but is \"admin\"",
        ),
        (
            "name = \"campaigns\"",
            "name = \"Campaign tool\"",
            "server.tokens[0].name: a name is at most 32 lower-case letters",
        ),
        (
            "campaigns-token\"",
            "short\"",
            "server.tokens[0].token_file: needs at least 32 characters without blanks",
        ),
        (
            "campaigns-token\"",
            "blank\"",
            "server.tokens[0].token_file: needs at least 32 characters without blanks",
        ),
        (
            "token_file",
            "token_hash_file",
            "server.tokens[0].token_hash_file: must begin with the 64 hexadecimal digits",
        ),
        (
            "token_file",
            "token",
            "server.tokens[0].token: unknown key; known here: name, role, token_file",
        ),
        (
            "token_file = \"/etc/consentd/secrets/campaigns-token\"",
            "",
            "server.tokens[0].token_file: is missing",
        ),
        (
            "token_file = ",
            "token_hash_file = \"/etc/consentd/secrets/campaigns-token-hash\"\ntoken_file = ",
            "server.tokens[0].token_hash_file: token_file is given too",
        ),
        (
            "callback-secret",
            "campaigns-token",
            "server.callback.secret_file: must hold whsec_",
        ),
        (
            "hosts = [\"mail.example.edu\"]",
            "",
            "server.callback.hosts: is missing",
        ),
        (
            "mail.example.edu",
            "https://mail.example.edu/",
            "server.callback.hosts: \"https://mail.example.edu/\" is no host name",
        ),
    ];
    for (old, new, expected) in rows {
        let refused = with_api(|text| {
            assert!(text.contains(old), "{old:?} is not in {text}");
            text.replacen(old, new, 1)
        });
        let told = faults(refused);
        assert!(told.contains(expected), "{told}");
        for secret in [TOKEN, "too-short", "MfKQ9r8G"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
    let twice = with_api(|text| {
        let (token, _) = text.split_once("[server.callback]").expect("shown");
        format!("{token}\n{text}")
    });
    let told = faults(twice);
    assert!(
        told.contains("server.tokens[1].name: \"campaigns\" stands twice"),
        "{told}"
    );
    assert!(
        told.contains("server.tokens[1].token_file: is the token of another"),
        "{told}"
    );
}

#[test]
fn service_indicators_default_to_the_names_seen_in_public() {
    let text = example_with("mode = \"contact-flag\"", "mode = \"service-indicator\"")
        .replace("\nfield = \"HasOptedOutOfEmail\"", "");
    let checked = load(&text).expect("accepted");
    let SystemKind::Ascend(settings) = &checked.system("ascend").expect("configured").kind else {
        panic!("an ascend system");
    };
    let Mode::ServiceIndicator(indicator) = &settings.mode else {
        panic!("service indicators");
    };
    assert_eq!(indicator.object, "ucinn_ascendv2__Service_Indicator__c");
    assert_eq!(
        (indicator.code.as_str(), indicator.also_blocking.as_slice()),
        ("NE", &["NC".to_owned()][..])
    );
    assert_eq!(indicator.comment_field, None);
}

fn superoffice(text: &str) -> consentd::connector::superoffice::config::Settings {
    let checked = load(text).unwrap_or_else(|faults| panic!("accepted: {faults}"));
    let SystemKind::SuperOffice(settings) =
        &checked.system("superoffice").expect("configured").kind
    else {
        panic!("a superoffice system");
    };
    (**settings).clone()
}

#[test]
fn superoffice_holds_records_of_two_purposes_with_the_built_in_bases() {
    let checked = load(EXAMPLE).expect("accepted");
    let system = checked.system("superoffice").expect("configured");
    assert_eq!(system.carries.len(), 2);
    assert!(
        system
            .carries
            .iter()
            .all(|(_, polarity)| *polarity == Polarity::Recorded)
    );
    let settings = superoffice(EXAMPLE);
    let table = "[systems.superoffice.purposes]\nmarketing = \"EMARKETING\"\nstore = \"STORE\"\n";
    let implied = superoffice(&example_with(table, ""));
    assert_eq!(
        settings.purposes, implied.purposes,
        "the default is what is shown"
    );
    let written: Vec<_> = settings
        .bases
        .iter()
        .map(|base| base.written.as_str())
        .collect();
    assert_eq!(
        written,
        ["61A", "61B", "61C", "61D", "61E", "61F", "WITHDRAWN"]
    );
    assert_eq!(settings.granted_bases, BTreeSet::from([Basis::Consent]));
    assert_eq!(settings.customer(), Some("Cust12345"));
    let shown = format!("{settings:?}");
    for secret in [
        "application-token",
        "ab12cd34ef",
        "0123456789abcdef",
        "PRIVATE KEY",
    ] {
        assert!(!shown.contains(secret), "{secret} is not shown");
    }
}

#[test]
fn superoffice_bases_can_be_the_tenants_own() {
    let text = example_with(
        "# legitimate-interests = [\"61F\"]",
        "legitimate-interests = [\"SOFT\", \"61F\"]\npublic-task = []",
    );
    let settings = superoffice(&text);
    let base = settings
        .bases
        .iter()
        .find(|base| base.means.1 == Some(Basis::LegitimateInterests))
        .expect("mapped");
    assert_eq!((base.written.as_str(), base.also_read.len()), ("SOFT", 1));
    assert!(
        settings
            .bases
            .iter()
            .all(|base| base.means.1 != Some(Basis::PublicTask))
    );
    refuses(
        "# contract = [\"61B\"]",
        "contract = [\"#61a\"]",
        "systems.superoffice.legal_bases.contract: key #61a stands for another basis already; each key has one meaning",
    );
    refuses(
        "# withdrawn = [\"WITHDRAWN\"]",
        "withdrawn = []",
        "systems.superoffice.legal_bases.withdrawn: must name the key by which a withdrawal is written",
    );
    refuses(
        "# consent = [\"61A\"]",
        "consent = []",
        "systems.superoffice.legal_bases: names no key for \"consent\", the granted_basis of \"marketing\"\n\
         systems.superoffice.legal_bases: names no key for \"consent\", the granted_basis of \"store\"",
    );
    refuses(
        "# consent = [\"61A\"]",
        "consent = [\"Explicit consent\"]",
        "systems.superoffice.legal_bases.consent: must hold keys of SuperOffice's legal bases, e.g. \"61A\", but holds \"Explicit consent\"",
    );
}

#[test]
fn superoffice_purposes_must_exist_once_and_by_key() {
    for (sentence, new, expected) in [
        (
            "a name instead of a key",
            "store = \"Sales and service\"",
            "systems.superoffice.purposes.store: must be the key of a purpose in SuperOffice, e.g. \"EMARKETING\", but is \"Sales and service\"",
        ),
        (
            "one key for two purposes",
            "store = \"#emarketing\"",
            "systems.superoffice.purposes.store: key #emarketing stands for \"marketing\" already",
        ),
        (
            "a purpose that is not listed",
            "shop = \"STORE\"",
            "systems.superoffice.purposes: purpose \"shop\" is not listed under [[purposes]]; listed are: marketing, marketing.alumni-news, marketing.events, store",
        ),
    ] {
        let text = example_with("store = \"STORE\"", new);
        assert_eq!(faults(load(&text)), expected, "{sentence}");
    }
}

#[test]
fn superoffice_onsite_needs_another_login_and_tls() {
    let auth = EXAMPLE
        .split_once("[systems.superoffice.auth]\n")
        .and_then(|(_, rest)| rest.split_once("\n# Lets SuperOffice"))
        .map(|(auth, _)| auth)
        .expect("the example shows the login");
    let onsite = |base: &str, login: &str| {
        EXAMPLE
            .replace(
                "deployment = \"online\"",
                &format!("deployment = \"onsite\"\nbase_url = \"{base}\""),
            )
            .replace(auth, login)
    };
    let basic = "grant = \"basic\"\nusername = \"consentd\"\npassword_file = \"/etc/consentd/secrets/ascend-secret\"\n";
    let settings = superoffice(&onsite("https://crm.example.com/SuperOffice/api/", basic));
    assert!(matches!(
        &settings.deployment,
        Deployment::Onsite(onsite) if onsite.base_url.as_str() == "https://crm.example.com/SuperOffice/api"
    ));
    assert_eq!(settings.customer(), None);
    superoffice(&onsite("http://127.0.0.1:9403/SuperOffice/api", basic));
    for base in ["http://crm.example.com/api", "http://192.168.1.10/api"] {
        assert_eq!(
            faults(load(&onsite(base, basic))),
            "systems.superoffice.base_url: must begin with https; plain http is for this machine only. A certificate of one's own is trusted by ca_file"
        );
    }
    for base in [
        "crm.example.com",
        "https://user:secret@crm.example.com/api",
        "https://crm.example.com/api?x=1",
    ] {
        let said = faults(load(&onsite(base, basic)));
        assert!(
            said.starts_with("systems.superoffice.base_url: must be an address"),
            "{said}"
        );
        assert!(!said.contains("secret"), "{said}");
    }
    assert_eq!(
        faults(load(&onsite(
            "https://crm.example.com/api",
            &format!("{basic}customer = \"Cust1\"\n")
        ))),
        "systems.superoffice.auth.customer: has no meaning with this grant; remove it"
    );
    assert_eq!(
        faults(load(&onsite(
            "https://crm.example.com/api",
            "grant = \"system-user\"\n"
        ))),
        "systems.superoffice.auth.grant: must be \"basic\" or \"ticket\", but is \"system-user\""
    );
}

#[test]
fn superoffice_certificates_of_ones_own_are_checked_at_start() {
    let mut files = Files::all();
    files.put_mode("ca.pem", "no certificate", 0o644, false);
    let text = example_with(
        "deployment = \"online\"",
        "deployment = \"onsite\"\nbase_url = \"https://crm.example.com/api\"\nca_file = \"/etc/consentd/secrets/ca.pem\"",
    );
    let said = faults(load_with(&text, &[], &files));
    assert!(
        said.contains("systems.superoffice.ca_file: must hold certificates in PEM"),
        "{said}"
    );
}

#[test]
fn superoffice_faults_name_the_key_and_what_to_do() {
    for (old, new, expected) in [
        (
            "customer = \"Cust12345\"",
            "customer = \"Cust 1/../x\"",
            "systems.superoffice.auth.customer: must be the tenant's id, e.g. \"Cust12345\", but is \"Cust 1/../x\"",
        ),
        (
            "login_url = \"https://online.superoffice.com\"",
            "login_url = \"http://online.superoffice.com\"",
            "systems.superoffice.auth.login_url: must begin with https; plain http is for this machine only",
        ),
        (
            "# comment = \"consentd: said in {system} at {time}\"",
            "comment = \"{address} said so\"",
            "systems.superoffice.comment: may hold {system} and {time} only",
        ),
        (
            "# source = \"API\"",
            "source = \"Other integration\"",
            "systems.superoffice.source: must be a key of SuperOffice (letters and digits), not a name, but is \"Other integration\"",
        ),
        (
            "# filter_time_zone = \"UTC\"",
            "filter_time_zone = \"Norway/Oslo\"",
            "systems.superoffice.filter_time_zone: \"Norway/Oslo\" is no time zone; write it as in \"Europe/Oslo\"",
        ),
        (
            "deployment = \"online\"",
            "deployment = \"online\"\nca_file = \"/etc/consentd/secrets/hash-key\"",
            "systems.superoffice.ca_file: has no meaning with deployment \"online\"; remove it",
        ),
        (
            "url = \"https://consent.example.com/hooks/superoffice\"",
            "url = \"http://consent.example.com/hooks/superoffice\"",
            "systems.superoffice.webhook.url: must be the https address by which SuperOffice reaches this daemon, e.g. https://consent.example.com/hooks/superoffice",
        ),
        (
            "50 to 10000.\n# page_rows = 1000",
            "50 to 10000.\npage_rows = 7",
            "systems.superoffice.page_rows: must be 50 to 10000 rows, but is 7",
        ),
    ] {
        refuses(old, new, expected);
    }
    let mut files = Files::all();
    files.put("superoffice-webhook", "short\n");
    assert_eq!(
        faults(load_with(EXAMPLE, &[], &files)),
        "systems.superoffice.webhook.secret_file: needs at least 16 characters, but has 5"
    );
}

#[test]
fn the_environment_overrides_the_file_and_its_texts_are_read_as_numbers_and_lists() {
    let environment = [
        ("CONSENTD__SERVER__LISTEN", "[::1]:9000"),
        ("CONSENTD__LOG__FORMAT", "json"),
        ("CONSENTD__POLICY__FLAPS_PER_HOUR", "9"),
        ("CONSENTD__POLICY__DUPLICATES__WITHDRAWAL", "any"),
        ("CONSENTD__SYSTEMS__ASCEND__ENABLED", "false"),
        (
            "CONSENTD__SYSTEMS__SALESFORCE__BULK_ACTORS",
            "005A, Data Load",
        ),
        (
            "CONSENTD__SYSTEMS__ASCEND__AUTH__CLIENT_SECRET",
            "from-environment",
        ),
        ("CONSENTD__SYSTEMS__ASCEND__AUTH__CLIENT_SECRET_FILE", ""),
        ("CONSENTD_CONFIG", "not for this"),
        ("UNRELATED__KEY", "ignored"),
    ];
    let checked = load_with(EXAMPLE, &environment, &Files::all()).expect("accepted");
    assert_eq!(checked.server.listen.to_string(), "[::1]:9000");
    assert_eq!(checked.log.format, LogFormat::Json);
    assert_eq!(checked.policy.rules.flaps_per_hour, 9);
    assert_eq!(
        checked.policy.rules.duplicate_withdrawal,
        DuplicateWithdrawal::Any
    );
    let ascend = checked.system("ascend").expect("configured");
    assert!(!ascend.enabled);
    let SystemKind::Ascend(settings) = &ascend.kind else {
        panic!("an ascend system");
    };
    assert!(matches!(
        &settings.platform.grant,
        Grant::ClientCredentials { client_secret, .. } if client_secret.expose_secret() == "from-environment"
    ));
    let actors: Vec<_> = checked
        .system("salesforce")
        .expect("configured")
        .bulk_actors
        .iter()
        .collect();
    assert_eq!(actors, ["005A", "Data Load"]);
}

#[test]
fn an_unknown_variable_is_refused_like_an_unknown_key() {
    let result = load_with(
        EXAMPLE,
        &[("CONSENTD__SERVER__LISTENS", "x")],
        &Files::all(),
    );
    assert_eq!(
        faults(result),
        "server.listens: unknown key (set in the environment); did you mean \"listen\"?"
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    refuses(
        "# poll_interval_secs = 60",
        "poll_intervall_sec = 60",
        "systems.salesforce.poll_intervall_sec: unknown key; did you mean \"poll_interval_secs\"?",
    );
    refuses(
        "[log]",
        "[log]\ncolour-of-the-sky = \"blue\"",
        "log.colour-of-the-sky: unknown key; known here: format, filter",
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    refuses(
        "# flaps_per_hour = 6",
        "flaps_per_hour = \"6\"",
        "policy.flaps_per_hour: must be a whole number, without quotes, but is text",
    );
    refuses(
        "[[purposes]]\nname = \"marketing.events\"",
        "[[purposes]]\nname = 3",
        "purposes[2].name: must be text in quotes, but is a whole number\n\
         systems.salesforce.fields.preferences.\"marketing.events\": purpose \"marketing.events\" is \
         not listed under [[purposes]]; add it there",
    );
}

#[test]
fn a_number_out_of_bounds_is_refused_with_its_bounds() {
    refuses(
        "# page_rows = 2000",
        "page_rows = 100",
        "systems.salesforce.page_rows: must be 200 to 2000 rows, but is 100",
    );
    refuses(
        "# grant_settle_secs = 60",
        "grant_settle_secs = -1",
        "policy.grant_settle_secs: must be 0 to 86400 seconds, but is -1",
    );
    refuses(
        "# max_lag_secs = 900",
        "max_lag_secs = 60",
        "systems.salesforce.max_lag_secs: must be more than lag_secs + \
         poll_interval_secs (65), or the daemon is never ready",
    );
}

#[test]
fn what_is_required_is_asked_for() {
    refuses(
        "url = \"sqlite:///var/lib/consentd/consentd.db\"",
        "",
        "store.url: is missing; set it to sqlite:///var/lib/consentd/consentd.db or \
         postgres://user@host/database",
    );
    refuses(
        "client_id = \"3MVG9.example\"\n# jwt",
        "# jwt",
        "systems.salesforce.auth.client_id: is missing; set it to the consumer key of the connected app",
    );
    refuses(
        "hash_key_file = \"/etc/consentd/secrets/hash-key\"",
        "",
        "identity.hash_key_file: is missing; set it to the path of a file (mode 0400) with the key of \
         the subjects' keyed hashes (make one with: openssl rand -hex 32), or set the environment \
         variable CONSENTD__IDENTITY__HASH_KEY",
    );
}

#[test]
fn a_missing_polarity_is_refused_with_both_readings() {
    refuses(
        "polarity = \"opt-out\"",
        "",
        "systems.ascend.opt_out.polarity: is missing, and there is no default, because a guess would \
         reverse everybody's consent: set \"opt-out\" if a set value means \"do not mail\", or \
         \"permission\" if a set value means \"may be mailed\"",
    );
}

#[test]
fn a_missing_secret_file_is_named() {
    let mut files = Files::all();
    files
        .0
        .remove(Path::new("/etc/consentd/secrets/ascend-secret"));
    assert_eq!(
        faults(load_with(EXAMPLE, &[], &files)),
        "systems.ascend.auth.client_secret_file: there is no file \
         /etc/consentd/secrets/ascend-secret; create it with mode 0400"
    );
}

#[test]
fn a_secret_file_that_others_can_read_is_refused() {
    for mode in [0o440, 0o404, 0o420, 0o644] {
        let mut files = Files::all();
        files.put_mode("hash-key", HASH_KEY, mode, false);
        assert_eq!(
            faults(load_with(EXAMPLE, &[], &files)),
            format!(
                "identity.hash_key_file: others than its owner can read or change \
                 /etc/consentd/secrets/hash-key (mode {mode:04o}); chmod 0400 it"
            )
        );
    }
}

/// systemd grants the service user access by an access control list, which shows as group bits.
#[test]
fn a_credential_of_systemd_may_show_group_bits_but_not_others() {
    let mut files = Files::all();
    files.put_mode("hash-key", HASH_KEY, 0o440, true);
    load_with(EXAMPLE, &[], &files).expect("accepted");
    files.put_mode("hash-key", HASH_KEY, 0o444, true);
    load_with(EXAMPLE, &[], &files).expect_err("others can read it");
}

#[test]
fn a_weak_hash_key_is_refused() {
    let mut files = Files::all();
    files.put("hash-key", "short");
    assert_eq!(
        faults(load_with(EXAMPLE, &[], &files)),
        "identity.hash_key_file: needs at least 32 bytes, but has 5; make one with: openssl rand -hex 32"
    );
    files.put("hash-key", &"a".repeat(64));
    assert_eq!(
        faults(load_with(EXAMPLE, &[], &files)),
        "identity.hash_key_file: is not random; make one with: openssl rand -hex 32"
    );
    files.put("hash-key", "\n\n");
    assert_eq!(
        faults(load_with(EXAMPLE, &[], &files)),
        "identity.hash_key_file: /etc/consentd/secrets/hash-key is empty"
    );
}

#[test]
fn a_secret_in_the_file_is_refused_and_never_repeated() {
    let text = example_with(
        "[systems.ascend.auth]",
        "[systems.ascend.auth]\nclient_secret = \"hunter2\"",
    );
    let message = faults(load(&text));
    assert_eq!(
        message,
        "systems.ascend.auth.client_secret: a secret must not stand in this file; use \
         client_secret_file, or the environment variable CONSENTD__SYSTEMS__ASCEND__AUTH__CLIENT_SECRET"
    );
    // Not even where the file cannot be read as TOML at all.
    let broken = example_with(
        "[systems.ascend.auth]",
        "[systems.ascend.auth]\nclient_secret = hunter2\"",
    );
    let message = faults(load(&broken));
    assert!(message.starts_with("(file): line "), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let shown = format!("{:?}", load(EXAMPLE).expect("accepted"));
    for secret in [HASH_KEY, "ascend-secret-value", "emarketeer-key", "BEGIN"] {
        assert!(!shown.contains(secret), "{secret} shows");
    }
}

#[test]
fn a_private_key_that_is_none_is_refused() {
    let mut files = Files::all();
    files.put(
        "salesforce-key.pem",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    assert_eq!(
        faults(load_with(EXAMPLE, &[], &files)),
        "systems.salesforce.auth.private_key_file: must hold an RSA private key in PEM without a passphrase"
    );
}

#[test]
fn plain_http_is_for_this_machine_only() {
    let login = "login_url = \"https://login.salesforce.com\"";
    refuses(
        login,
        "login_url = \"http://login.salesforce.com\"",
        "systems.salesforce.auth.login_url: must begin with https; plain http is for this machine only",
    );
    for near in [
        "http://127.0.0.1:9401",
        "http://[::1]:9401",
        "http://localhost:9401",
    ] {
        load(&example_with(login, &format!("login_url = \"{near}\""))).expect(near);
    }
    for bad in [
        "https://user:word@login.salesforce.com",
        "https://login.salesforce.com/path",
        "ftp://x",
    ] {
        let message = faults(load(&example_with(
            login,
            &format!("login_url = \"{bad}\""),
        )));
        assert_eq!(
            message,
            "systems.salesforce.auth.login_url: must be scheme and host only, e.g. \
             https://login.salesforce.com"
        );
    }
}

#[test]
fn a_database_address_that_cannot_be_used_is_refused() {
    let url = "url = \"sqlite:///var/lib/consentd/consentd.db\"";
    let cases = [
        ("mysql://host/db", "must begin with sqlite: or postgres:"),
        ("consentd.db", "must begin with sqlite: or postgres:"),
        ("sqlite://", "must name a file and nothing else"),
        ("sqlite::memory:", "must name a file and nothing else"),
        ("postgres://user@host:port/db", "is no valid address"),
        ("postgres:///db", "names no host"),
        ("postgres://user@localhost", "names no database"),
        (
            "postgres://user:word@localhost/db",
            "must not hold a password; use password_file",
        ),
        (
            "postgres://user@db.example.edu/db",
            "leaves open whether the way",
        ),
        (
            "postgres://user@localhost/db?sslmode=maybe",
            "sslmode must be one of",
        ),
    ];
    for (given, expected) in cases {
        let message = faults(load(&example_with(url, &format!("url = \"{given}\""))));
        assert!(
            message.starts_with(&format!("store.url: {expected}")),
            "{given}: {message}"
        );
        assert_eq!(message.lines().count(), 1, "{given}: {message}");
        assert!(!message.contains("word@"), "{given}: {message}");
    }
}

#[test]
fn a_postgres_password_comes_from_a_file_or_the_environment() {
    let url = "url = \"sqlite:///var/lib/consentd/consentd.db\"";
    let text = example_with(url, "url = \"postgres://consentd@localhost/consentd\"").replacen(
        "# password_file = ",
        "password_file = ",
        1,
    );
    let checked = load(&text).expect("accepted");
    let StoreSettings::Postgres {
        url: address,
        password,
    } = checked.store
    else {
        panic!("postgres");
    };
    assert_eq!(address.as_str(), "postgres://consentd@localhost/consentd");
    assert_eq!(
        password.expect("given").expose_secret(),
        "database-password-value"
    );

    let variable = [(
        "CONSENTD__STORE__URL",
        "postgres://consentd:sesame@localhost/consentd",
    )];
    let checked = load_with(EXAMPLE, &variable, &Files::all()).expect("accepted");
    let StoreSettings::Postgres {
        url: address,
        password,
    } = checked.store
    else {
        panic!("postgres");
    };
    assert_eq!(address.as_str(), "postgres://consentd@localhost/consentd");
    assert_eq!(password.expect("given").expose_secret(), "sesame");
}

#[test]
fn purposes_must_form_a_tree_and_be_listed() {
    refuses(
        "name = \"marketing.events\"",
        "name = \"news.events\"",
        "purposes: purpose \"news.events\" has no parent \"news\"; list the parent too",
    );
    refuses(
        "# purpose = \"marketing\"",
        "purpose = \"fundraising\"",
        "systems.ascend.opt_out.purpose: purpose \"fundraising\" is not listed under [[purposes]]; \
         listed are: marketing, marketing.alumni-news, marketing.events, store",
    );
    refuses(
        "\"marketing.events\" = ",
        "\"marketing.sport\" = ",
        "systems.salesforce.fields.preferences.\"marketing.sport\": purpose \"marketing.sport\" is \
         not listed under [[purposes]]; add it there",
    );
    refuses(
        "\"Email_Events__c\"",
        "\"Email_Alumni_News__c\"",
        "systems.salesforce.fields.preferences.\"marketing.events\": field Email_Alumni_News__c holds \
         \"marketing.alumni-news\" already",
    );
    refuses(
        "# opt_out_purpose = \"marketing\"",
        "opt_out_purpose = \"marketing.events\"",
        "systems.salesforce.fields.preferences.\"marketing.alumni-news\": \"marketing.alumni-news\" is \
         no category below \"marketing.events\", the purpose of the opt-out flag\n\
         systems.salesforce.fields.preferences.\"marketing.events\": \"marketing.events\" is no \
         category below \"marketing.events\", the purpose of the opt-out flag",
    );
}

#[test]
fn a_link_must_point_at_a_system_and_a_field_that_are_configured() {
    refuses(
        "system = \"salesforce\"",
        "system = \"salesfarce\"",
        "systems.ascend.link: system \"salesfarce\" is not configured; configured are: ascend, emarketeer, salesforce, superoffice",
    );
    refuses(
        "system_field = \"Ascend_ID__c\"",
        "system_field = \"Advance_ID__c\"",
        "systems.ascend.link: system_field is \"Advance_ID__c\", but systems.salesforce.fields.link is \
         \"Ascend_ID__c\"; they must be the same",
    );
    let implied = load(&example_with("\nlink = \"Ascend_ID__c\"", "")).expect("accepted");
    let SystemKind::Salesforce(settings) = &implied.system("salesforce").expect("configured").kind
    else {
        panic!("a salesforce system");
    };
    assert_eq!(settings.link_field.as_deref(), Some("Ascend_ID__c"));
}

#[test]
fn a_schedule_must_be_one_and_have_a_zone() {
    let message = faults(load(&example_with(
        "schedule = \"0 1 * * *\"",
        "schedule = \"25 61 * *\"",
    )));
    assert!(
        message.starts_with(
            "systems.ascend.schedule: must be \"immediate\" or a cron expression of five fields"
        ),
        "{message}"
    );
    refuses(
        "# schedule = \"immediate\"",
        "schedule = \"0 1 * * *\"",
        "systems.salesforce.time_zone: is missing; a schedule needs the zone it is meant in",
    );
    refuses(
        "\ntime_zone = \"America/Denver\"",
        "\ntime_zone = \"Mountain\"",
        "systems.ascend.time_zone: \"Mountain\" is no time zone; write it as in \"America/Denver\"",
    );
}

/// Names go into queries, so nothing but a name is let through.
#[test]
fn api_names_and_codes_cannot_smuggle_in_a_query() {
    refuses(
        "# opt_out = \"HasOptedOutOfEmail\"",
        "opt_out = \"Email FROM Lead --\"",
        "systems.salesforce.fields.opt_out: must be an API name (letters, digits, '_'), but is \
         \"Email FROM Lead --\"",
    );
    let text = example_with("mode = \"contact-flag\"", "mode = \"service-indicator\"")
        .replace("\nfield = \"HasOptedOutOfEmail\"", "")
        .replace(
            "# [systems.ascend.opt_out.service_indicator]",
            "[systems.ascend.opt_out.service_indicator]\ncode = \"NE' OR Id != '\"",
        );
    let message = faults(load(&text));
    assert!(
        message.starts_with("systems.ascend.opt_out.service_indicator.code:"),
        "{message}"
    );
}

#[test]
fn keys_of_another_grant_are_refused() {
    refuses(
        "username = \"consentd@example.edu\"",
        "username = \"consentd@example.edu\"\ntoken_file = \"/var/lib/consentd/token\"",
        "systems.salesforce.auth.token_file: has no meaning with this grant; remove it",
    );
    refuses(
        "login_url = \"https://example.my.salesforce.com\"",
        "login_url = \"https://login.salesforce.com\"",
        "systems.ascend.auth.login_url: grant \"client-credentials\" needs the org's own domain, e.g. \
         https://name.my.salesforce.com",
    );
}

#[test]
fn all_faults_are_reported_in_one_message() {
    let text = r#"
        [server]
        listen = "localhost:8480"
        [store]
        url = "oracle://host/db"
        [identity]
        hash_key_file = "secrets/hash-key"
        [policy]
        flaps_per_hour = 0
        [policy.duplicate]
        write = "all"
        [[purposes]]
        name = "Marketing"
        [systems.salesforce]
        kind = "salesforce"
        enabled = "yes"
        [systems.salesforce.auth]
        grant = "password"
        login_url = "https://login.salesforce.com"
        [systems.Ascend]
        kind = "ascend"
        time_zone = "America/Denver"
        transport = "files"
        [systems.Ascend.opt_out]
        mode = "contact-flag"
        [systems.other]
        kind = "hubspot"
    "#;
    let message = load(text).expect_err("refused").to_string();
    insta::assert_snapshot!(message, @r#"
    the configuration has 14 faults; nothing was started
      identity.hash_key_file: must be an absolute path, but is secrets/hash-key
      policy.duplicate: unknown key; did you mean "duplicates"?
      policy.flaps_per_hour: must be 1 to 1000 flips, but is 0
      purposes: purpose name "Marketing" must be lower-case words joined by '-' or '.'
      server.listen: must be an IP address and a port, e.g. 127.0.0.1:8480, but is "localhost:8480"
      store.url: must begin with sqlite: or postgres:, e.g. sqlite:///var/lib/consentd/consentd.db or postgres://user@host/database
      systems.Ascend: a system's name is at most 32 lower-case letters, digits, '-' and '_', a letter first
      systems.Ascend.auth: is missing; add the table with grant, login_url and client_id
      systems.Ascend.opt_out.field: is missing; set it to the API name of the flag
      systems.Ascend.opt_out.polarity: is missing, and there is no default, because a guess would reverse everybody's consent: set "opt-out" if a set value means "do not mail", or "permission" if a set value means "may be mailed"
      systems.Ascend.transport: must be "platform" or "file", but is "files"
      systems.other.kind: must be "salesforce", "ascend", "emarketeer" or "superoffice", but is "hubspot"
      systems.salesforce.auth.grant: must be "jwt-bearer", "client-credentials" or "refresh-token", but is "password"
      systems.salesforce.enabled: must be true or false, without quotes, but is text
    "#);
}

#[test]
fn an_empty_file_is_told_what_a_configuration_needs() {
    let message = load("").expect_err("refused").to_string();
    insta::assert_snapshot!(message, @r#"
    the configuration has 4 faults; nothing was started
      identity.hash_key_file: is missing; set it to the path of a file (mode 0400) with the key of the subjects' keyed hashes (make one with: openssl rand -hex 32), or set the environment variable CONSENTD__IDENTITY__HASH_KEY
      purposes: is missing; list at least [[purposes]] with name = "marketing"
      store.url: is missing; set it to sqlite:///var/lib/consentd/consentd.db or postgres://user@host/database
      systems: names no system; add a table such as [systems.salesforce]
    "#);
}

/// R23: the mark on a verdict changes with whatever the verdict depends on, and with nothing else.
#[test]
fn r23_the_policy_version_marks_what_verdicts_depend_on() {
    let mark = |text: &str| load(text).expect("accepted").policy.rules.version;
    let before = mark(EXAMPLE);
    assert_eq!(
        before,
        mark(&example_with("# filter = \"info\"", "filter = \"debug\""))
    );
    for (old, new) in [
        ("# revival = \"last-writer\"", "revival = \"consent-only\""),
        ("# withdrawal = \"oldest\"", "withdrawal = \"any\""),
        ("precedence = 2", "precedence = 3"),
        ("polarity = \"opt-out\"", "polarity = \"permission\""),
        ("# legal_basis_sync = true", "legal_basis_sync = false"),
        (
            "# granted_basis = \"consent\"",
            "granted_basis = \"contract\"",
        ),
    ] {
        assert_ne!(before, mark(&example_with(old, new)), "{new}");
    }
}

#[test]
fn revival_is_read_per_purpose() {
    let checked = load(&example_with(
        "# revival = \"last-writer\"",
        "revival = \"consent-only\"",
    ))
    .expect("accepted");
    let revivals: Vec<_> = checked
        .purposes
        .iter()
        .map(|(_, purpose)| purpose.revival)
        .collect();
    assert_eq!(
        revivals,
        [
            Revival::ConsentOnly,
            Revival::LastWriter,
            Revival::LastWriter,
            Revival::LastWriter
        ]
    );
}

#[test]
fn r22_what_is_revived_by_consent_alone_is_granted_on_consent() {
    refuses(
        "# revival = \"last-writer\"",
        "revival = \"consent-only\"\ngranted_basis = \"contract\"",
        "purposes: \"marketing\" is revived by consent alone, so its granted_basis must be \"consent\"",
    );
    refuses(
        "# granted_basis = \"consent\"",
        "granted_basis = \"consnet\"",
        "purposes[0].granted_basis: must be \"consent\", \"contract\", \"legal-obligation\", \
         \"vital-interests\", \"public-task\" or \"legitimate-interests\", but is \"consnet\"",
    );
}

/// What a reload of this text makes of the running example: what is taken over, and what is not.
fn reloaded(text: &str, files: &Files) -> (Checked, Changed) {
    let running = load(EXAMPLE).expect("accepted");
    merge(&running, load_with(text, &[], files).expect("accepted"))
}

#[test]
fn r49_a_reload_names_what_changes() {
    let salesforce = "[systems.salesforce]\n";
    let rows = [
        (
            "# withdrawal = \"oldest\"",
            "withdrawal = \"any\"",
            "policy",
        ),
        ("# unknown = \"block\"", "unknown = \"allow\"", "purposes"),
        (
            "# enabled = true",
            "enabled = false",
            "salesforce is switched off",
        ),
        (
            "# legal_basis_sync = true",
            "legal_basis_sync = false",
            "the legal-basis sync of salesforce is switched off",
        ),
        (
            salesforce,
            "[systems.salesforce]\npoll_interval_secs = 5\n",
            "settings of salesforce",
        ),
    ];
    for (old, new, expected) in rows {
        let (_, changed) = reloaded(&example_with(old, new), &Files::all());
        assert_eq!(changed.taken, [expected], "{new}");
        assert_eq!(changed.ignored, [""; 0], "{new}");
    }
    let (_, same) = reloaded(EXAMPLE, &Files::all());
    assert_eq!(same, Changed::default(), "nothing has changed");
    let renamed = EXAMPLE
        .replace("[systems.ascend", "[systems.advance")
        .replace("systems.ascend.", "systems.advance.");
    let (_, changed) = reloaded(&renamed, &Files::all());
    assert_eq!(
        changed.taken,
        ["ascend is no longer configured", "advance is new"],
        "another name is another system"
    );
}

#[test]
fn r49_another_secret_in_the_same_file_is_a_change_of_its_system_alone() {
    let mut files = Files::all();
    files.put("ascend-secret", "another-value");
    let (next, changed) = reloaded(EXAMPLE, &files);
    assert_eq!(changed.taken, ["settings of ascend"]);
    let running = load(EXAMPLE).expect("accepted");
    let same = |name: &str| {
        let (before, after) = (running.system(name), next.system(name));
        before
            .expect("configured")
            .connects_like(after.expect("configured"))
    };
    assert_eq!((same("salesforce"), same("ascend")), (true, false));
}

#[test]
fn r49_what_is_only_read_at_start_is_named_and_kept() {
    let mut files = Files::all();
    files.put("hash-key", "0123456789abcdef0123456789abcdef");
    files.put(
        "callback-secret",
        &format!("whsec_{}", BASE64.encode([7; 32])),
    );
    let callback = "[server.callback]\n\
                    secret_file = \"/etc/consentd/secrets/callback-secret\"\n\
                    hosts = [\"mail.example.edu\"]\n\n[store]\n";
    let text = example_with(
        "# listen = \"127.0.0.1:8480\"",
        "listen = \"127.0.0.1:9999\"",
    )
    .replace(
        "# sendout_retention_days = 30",
        "sendout_retention_days = 7",
    )
    .replacen("[store]\n", callback, 1)
    .replace("consentd.db", "other.db")
    .replace("# filter = \"info\"", "filter = \"debug\"")
    .replace("precedence = 2", "precedence = 3");
    let (next, changed) = reloaded(&text, &files);
    assert_eq!(changed.taken, ["settings of ascend"]);
    assert_eq!(
        changed.ignored,
        [
            "server.listen",
            "server.callback",
            "server.sendout_retention_days",
            "store.url",
            "identity.hash_key",
            "log"
        ]
    );
    assert!(next.server.callback.is_none());
    assert_eq!(next.server.sendout_retention, Duration::from_hours(24 * 30));
    assert_eq!(next.server.listen.port(), 8480);
    assert_eq!(next.hash_key.expose_secret(), HASH_KEY.as_bytes());
    assert_eq!(next.log.filter, "info");
    assert!(matches!(
        &next.store,
        StoreSettings::Sqlite { path } if path.ends_with("consentd.db")
    ));
}

/// What is read of contacts is marked by names, so that it does not depend on their order.
#[test]
fn a_systems_shape_changes_with_what_is_read_of_its_contacts() {
    let shape = |text: &str| {
        let checked = load(text).expect("accepted");
        let system = checked.system("salesforce").expect("configured");
        system.shape(&checked.purposes)
    };
    let before = shape(EXAMPLE);
    let more = "[[purposes]]\nname = \"marketing\"";
    let added = example_with(more, &format!("[[purposes]]\nname = \"aaa\"\n\n{more}"));
    assert_eq!(before, shape(&added), "a purpose that it does not hold");
    assert_eq!(
        before,
        shape(&example_with("# page_rows = 2000", "page_rows = 500"))
    );
    for (old, new) in [
        (
            "# opt_out = \"HasOptedOutOfEmail\"",
            "opt_out = \"Other__c\"",
        ),
        ("\"marketing.events\" = \"Email_Events__c\"", ""),
    ] {
        assert_ne!(before, shape(&example_with(old, new)), "{new}");
    }
}
