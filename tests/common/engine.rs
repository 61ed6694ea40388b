//! Two simulated orgs, an engine and a store, driven by hand: polls and rounds happen when a test
//! asks for them.

use consentd::config::{self, Checked, Disk};
use consentd::connector::Fault;
use consentd::consent::{At, SystemRules};
use consentd::runtime::clock;
use consentd::store::{self, Access, Store};
use consentd::sync::engine::{Event, Listener, Member, Parts, assemble};
use consentd::sync::{emit, poll};
use consentd_sandbox::{Options, Org, RECORDS, SPECIALIST, Sandbox};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Keeps the faults it hears of.
#[derive(Default)]
pub struct Ear(pub Mutex<Vec<Fault>>);

impl Listener for Ear {
    fn hear(&self, _system: &str, event: Event) {
        if let Event::Fault(fault) = event {
            self.0.lock().unwrap().push(fault);
        }
    }
}

/// See the module's documentation.
pub struct Rig {
    pub sandbox: Sandbox,
    pub folder: tempfile::TempDir,
    pub checked: Checked,
    pub store: Arc<dyn Store>,
    pub members: Vec<Arc<Member>>,
    pub rules: Vec<SystemRules>,
    pub ear: Arc<Ear>,
}

/// The configuration of the rig.
pub fn config_text(sandbox: &Sandbox, folder: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let secret = |name: &str, content: &str| {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let credentials = sandbox.credentials();
    let hash_key = secret(
        "hash.key",
        "5b1d6c0f9a7e43c2b8d4f1a06e97c3525f0b1e8d7a6c4932d1e0f9b8a7c6d5e4",
    );
    let key = secret("key.pem", &credentials.private_key_pem);
    let system = |name: &str, url: String| {
        format!(
            "poll_interval_secs = 1\noverlap_secs = 5\nlag_secs = 1\n[systems.{name}.auth]\ngrant = \"jwt-bearer\"\nlogin_url = \"{url}\"\nclient_id = \"{}\"\nusername = \"{}\"\nprivate_key_file = \"{key}\"\n",
            credentials.consumer_key, credentials.username
        )
    };
    format!(
        r#"[store]
url = "sqlite://{db}"
[identity]
hash_key_file = "{hash_key}"
[policy]
grant_settle_secs = 1
[[purposes]]
name = "marketing"
[[purposes]]
name = "marketing.alumni-news"
[[purposes]]
name = "marketing.events"
[systems.salesforce]
kind = "salesforce"
precedence = 1
{salesforce}
[systems.salesforce.fields]
opt_out = "HasOptedOutOfEmail"
opt_out_purpose = "marketing"
link = "Ascend_ID__c"
[systems.salesforce.fields.preferences]
"marketing.alumni-news" = "Email_Alumni_News__c"
"marketing.events" = "Email_Events__c"
[systems.ascend]
kind = "ascend"
transport = "platform"
time_zone = "America/Denver"
precedence = 2
{ascend}
[systems.ascend.opt_out]
purpose = "marketing"
mode = "contact-flag"
field = "HasOptedOutOfEmail"
polarity = "opt-out"
[systems.ascend.link]
field = "ucinn_ascendv2__Donor_ID__c"
system = "salesforce"
system_field = "Ascend_ID__c"
"#,
        db = folder.join("state.db").display(),
        salesforce = system("salesforce", sandbox.salesforce().url()),
        ascend = system("ascend", sandbox.ascend().url()),
    )
}

impl Rig {
    /// Starts two orgs with so many contacts each, and an engine that has read nothing yet.
    pub async fn start(contacts: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::start(Options {
            contacts,
            seed: 7,
            port_base: None,
        })
        .await
        .unwrap();
        let text = config_text(&sandbox, folder.path());
        let checked = config::check(&text, Vec::new(), &Disk::default()).unwrap();
        let store = store::open(&checked.store, Access::Daemon).await.unwrap();
        let ear = Arc::new(Ear::default());
        let (members, rules) = build(&checked, &store, &ear).await;
        Self {
            sandbox,
            folder,
            checked,
            store,
            members,
            rules,
            ear,
        }
    }

    /// Reads every feed until it is drained.
    pub async fn poll(&self) {
        for (member, rules) in self.members.iter().zip(&self.rules) {
            poll::poll(member, rules, &CancellationToken::new())
                .await
                .unwrap();
        }
    }

    /// Reads the feed of one system until it is drained.
    pub async fn poll_one(&self, name: &str) -> Result<(), String> {
        let index = self
            .members
            .iter()
            .position(|member| member.name == name)
            .unwrap();
        let (member, rules) = (&self.members[index], &self.rules[index]);
        poll::poll(member, rules, &CancellationToken::new())
            .await
            .map_err(|error| error.to_string())
    }

    /// Our clock.
    pub fn now(&self) -> At {
        clock::Clock::now(&clock::System)
    }

    /// Sends every due write once.
    pub async fn emit(&self) -> usize {
        let mut claimed = 0;
        for member in &self.members {
            // A fault of the whole call is what some tests want; the next round tries again.
            while let Ok(now @ 1..) = emit::emit_batch(member).await {
                claimed += now;
            }
        }
        claimed
    }

    /// Polls and emits until four rounds in a row have nothing to do.
    pub async fn settle(&self) {
        let mut quiet = 0;
        for _ in 0..60 {
            self.poll().await;
            quiet = if self.emit().await == 0 { quiet + 1 } else { 0 };
            if quiet >= 5 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        panic!(
            "the systems do not come to rest; faults: {:?}",
            self.ear.0.lock().unwrap()
        );
    }

    /// Builds the engine anew on the same store, as a restart does.
    pub async fn restart(&mut self) {
        let (members, rules) = build(&self.checked, &self.store, &self.ear).await;
        self.members = members;
        self.rules = rules;
    }

    /// A person in both orgs: one new contact in each, linked by the Ascend id. Not read yet.
    pub fn person(&self, name: &str) -> Pair {
        let address = format!("{name}@rig.example");
        let donor = format!("77{:08}", name.bytes().map(u64::from).sum::<u64>());
        let create = |org: &Org, fields: Value| {
            org.create("Contact", &object(fields), SPECIALIST, None)
                .unwrap()
        };
        let salesforce = create(
            self.sandbox.salesforce(),
            json!({ "LastName": name, "Email": address, "Ascend_ID__c": donor, "Email_Events__c": true }),
        );
        let ascend = self.sandbox.ascend();
        let fields = object(
            json!({ "LastName": name, "Email": address, "ucinn_ascendv2__Donor_ID__c": donor }),
        );
        let ascend = ascend.create("Contact", &fields, RECORDS, None).unwrap();
        Pair { salesforce, ascend }
    }

    /// Sets or clears Email Opt Out as that user.
    pub fn opt(&self, org: &Org, id: &str, out: bool, by: &str) {
        org.edit(id, &object(json!({ "HasOptedOutOfEmail": out })), by)
            .unwrap();
    }

    /// Whether the person is opted out in Salesforce and in Ascend.
    pub fn shown(&self, pair: &Pair) -> (bool, bool) {
        let out = |org: &Org, id: &str| org.contact(id).is_some_and(|contact| contact.opted_out);
        (
            out(self.sandbox.salesforce(), &pair.salesforce),
            out(self.sandbox.ascend(), &pair.ascend),
        )
    }

    /// Both orgs agree on everybody who is linked.
    pub fn assert_parity(&self) {
        let parity = self.sandbox.parity();
        let shown: Vec<_> = parity
            .differences
            .iter()
            .take(20)
            .map(|row| {
                (
                    self.sandbox.salesforce().contact(&row.salesforce),
                    self.sandbox.ascend().contact(&row.ascend),
                )
            })
            .collect();
        assert_eq!(parity.different, 0, "of {} pairs; {shown:#?}", parity.equal);
    }
}

async fn build(
    checked: &Checked,
    store: &Arc<dyn Store>,
    ear: &Arc<Ear>,
) -> (Vec<Arc<Member>>, Vec<SystemRules>) {
    let parts = Parts {
        store: Arc::clone(store),
        clock: Arc::new(clock::System),
        listener: Arc::clone(ear) as Arc<dyn Listener>,
        read_only: false,
    };
    let members = assemble(checked, parts).await.unwrap();
    let mut rules = Vec::new();
    for member in &members {
        rules.push(member.log_in().await.unwrap());
    }
    (members, rules)
}
