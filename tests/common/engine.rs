//! Two simulated orgs, an engine and a store, driven by hand: polls and rounds happen when a test
//! asks for them.

use super::postgres::Database;
use consentd::cli::sandbox::{Part, Rehearsal, write_config};
use consentd::config::{self, Checked};
use consentd::connector::Fault;
use consentd::consent::{At, SubjectKey, SystemRules};
use consentd::runtime::clock;
use consentd::store::{self, Access, CLAIMED, OutboxRow, PENDING, Store};
use consentd::sync::checklist::Crew;
use consentd::sync::engine::{Event, Listener, Member, Parts, assemble};
use consentd::sync::{emit, poll};
use consentd_sandbox::{Options, Org, RECORDS, SPECIALIST, Sandbox};
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Keeps the faults it hears of.
#[derive(Default)]
pub(crate) struct Ear(pub(crate) Mutex<Vec<Fault>>);

impl Listener for Ear {
    fn hear(&self, _system: &str, event: Event) {
        if let Event::Fault(fault) = event {
            self.0.lock().unwrap().push(fault);
        }
    }
}

/// See the module's documentation.
pub(crate) struct Rig {
    pub(crate) sandbox: Sandbox,
    /// Holds the secrets and the store while the rig lives.
    pub(crate) folder: tempfile::TempDir,
    /// The database on Postgres, if the store is there.
    _database: Option<Database>,
    pub(crate) checked: Checked,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) members: Vec<Arc<Member>>,
    pub(crate) rules: Vec<SystemRules>,
    pub(crate) ear: Arc<Ear>,
}

impl Rig {
    /// Starts two orgs with so many contacts each, and an engine on an embedded store that has read
    /// nothing yet.
    pub(crate) async fn start(contacts: usize) -> Self {
        Self::on(contacts, None, |_| {}).await
    }

    /// The same with eMarketeer and SuperOffice: four systems in one hub.
    pub(crate) async fn start_hub(contacts: usize) -> Self {
        Self::on(contacts, None, all_four).await
    }

    /// The hub on Postgres.
    pub(crate) async fn start_hub_on_postgres(contacts: usize) -> Self {
        Self::on(contacts, Some(Database::create().await), all_four).await
    }

    /// The same on Postgres.
    pub(crate) async fn start_on_postgres(contacts: usize) -> Self {
        Self::on(contacts, Some(Database::create().await), |_| {}).await
    }

    /// Two orgs with an eMarketeer account beside them.
    pub(crate) async fn start_with_emarketeer(contacts: usize) -> Self {
        let emarketeer = |rehearsal: &mut Rehearsal| rehearsal.emarketeer = Part::On;
        Self::on(contacts, None, emarketeer).await
    }

    async fn on(
        contacts: usize,
        database: Option<Database>,
        set_up: impl Fn(&mut Rehearsal),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::start(Options {
            contacts,
            seed: 7,
            port_base: None,
        })
        .await
        .unwrap();
        let mut rehearsal = Rehearsal {
            overlap_secs: 5,
            grant_settle_secs: 1,
            store_url: database.as_ref().map(|database| database.url.to_string()),
            ..Rehearsal::default()
        };
        set_up(&mut rehearsal);
        let path = write_config(&sandbox, folder.path(), &rehearsal).unwrap();
        let checked = config::load(&path).unwrap();
        let store = store::open(&checked.store, Access::Daemon).await.unwrap();
        let ear = Arc::new(Ear::default());
        let (members, rules) = build(&checked, &store, &ear).await;
        Self {
            sandbox,
            folder,
            _database: database,
            checked,
            store,
            members,
            rules,
            ear,
        }
    }

    /// Reads every feed until it is drained.
    pub(crate) async fn poll(&self) {
        for (member, rules) in self.members.iter().zip(&self.rules) {
            poll::poll(member, rules, &CancellationToken::new())
                .await
                .unwrap();
        }
    }

    /// Reads the feed of one system until it is drained.
    pub(crate) async fn poll_one(&self, name: &str) -> Result<(), String> {
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
    pub(crate) fn now() -> At {
        clock::Clock::now(&clock::System)
    }

    /// Sends every due write once.
    pub(crate) async fn emit(&self) -> usize {
        let mut claimed = 0;
        for member in &self.members {
            // A fault of the whole call is what some tests want; the next round tries again.
            while let Ok(now @ 1..) = emit::emit_batch(member).await {
                claimed += now;
            }
        }
        claimed
    }

    /// Polls and emits until nothing has been left to do for longer than any change needs to show
    /// in the feeds. Dead letters and held writes do not count.
    pub(crate) async fn settle(&self) {
        let mut quiet = 0;
        for _ in 0..100 {
            self.poll().await;
            let idle = self.emit().await == 0 && self.waiting().await == 0;
            quiet = if idle { quiet + 1 } else { 0 };
            if quiet >= 8 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!(
            "the systems do not come to rest; faults: {:?}",
            self.ear.0.lock().unwrap()
        );
    }

    /// Writes that are still to be sent.
    async fn waiting(&self) -> usize {
        let outbox = self.store.outbox(0, 10_000).await.unwrap();
        let waits = |row: &&OutboxRow| row.state == PENDING || row.state == CLAIMED;
        outbox.iter().filter(waits).count()
    }

    /// Long enough for a change of now to show in the next poll.
    pub(crate) async fn until_visible() {
        tokio::time::sleep(Duration::from_millis(3_500)).await;
    }

    /// Builds the engine anew on the same store, as a restart does.
    pub(crate) async fn restart(&mut self) {
        let (members, rules) = build(&self.checked, &self.store, &self.ear).await;
        self.members = members;
        self.rules = rules;
    }

    /// The systems at work, for checks before mail.
    pub(crate) fn crew(&self) -> Crew {
        Crew {
            shared: Arc::clone(&self.members[0].shared),
            members: self.members.clone(),
        }
    }

    /// A person in both orgs: one new contact in each, linked by the Ascend id. Not read yet.
    pub(crate) fn person(&self, name: &str) -> Pair {
        let address = format!("{name}@rig.example");
        let donor = format!("D-{name}");
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
    pub(crate) fn opt(org: &Org, id: &str, out: bool, by: &str) {
        org.edit(id, &object(json!({ "HasOptedOutOfEmail": out })), by)
            .unwrap();
    }

    /// Whether the person is opted out in Salesforce and in Ascend.
    pub(crate) fn shown(&self, pair: &Pair) -> (bool, bool) {
        let out = |org: &Org, id: &str| org.contact(id).is_some_and(|contact| contact.opted_out);
        (
            out(self.sandbox.salesforce(), &pair.salesforce),
            out(self.sandbox.ascend(), &pair.ascend),
        )
    }

    /// Both orgs agree on everybody who is linked, but for younger duplicates that withdrew: those
    /// are protected and reported, and the oldest speaks (R6). Pairs without any address are nobody's
    /// (R2).
    pub(crate) fn assert_parity(&self) {
        let is_somebody = |org: &Org, id: &str| {
            let address = org.contact(id).unwrap().address.unwrap_or_default();
            SubjectKey::from_address(&address).is_ok()
        };
        let younger = |org: &Org, id: &str| {
            let contact = org.contact(id).unwrap();
            let address = contact.address.clone().unwrap_or_default();
            org.contacts_by_address(&address).iter().any(|other| {
                !other.deleted && (other.created, &other.id) < (contact.created, &contact.id)
            })
        };
        let parity = self.sandbox.parity();
        let unexplained: Vec<_> = parity
            .differences
            .iter()
            .filter(|row| {
                is_somebody(self.sandbox.salesforce(), &row.salesforce)
                    || is_somebody(self.sandbox.ascend(), &row.ascend)
            })
            .filter(
                |row| match (row.salesforce_opted_out, row.ascend_opted_out) {
                    (true, _) => !younger(self.sandbox.salesforce(), &row.salesforce),
                    _ => !younger(self.sandbox.ascend(), &row.ascend),
                },
            )
            .collect();
        assert!(
            unexplained.is_empty(),
            "of {} pairs: {unexplained:#?}",
            parity.equal
        );
        assert!(
            parity.different < 10.max(parity.equal / 50),
            "{} of {} pairs differ",
            parity.different,
            parity.equal
        );
    }
}

/// eMarketeer and SuperOffice take part as well.
fn all_four(rehearsal: &mut Rehearsal) {
    rehearsal.emarketeer = Part::On;
    rehearsal.superoffice = Part::On;
}

/// A person's contact in each org.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) salesforce: String,
    pub(crate) ascend: String,
}

/// The fields of a record.
pub(crate) fn object(fields: Value) -> Map<String, Value> {
    serde_json::from_value(fields).unwrap()
}

/// The orgs keep whole seconds: two acts within one would tie.
pub(crate) async fn next_second() {
    tokio::time::sleep(Duration::from_millis(1_050)).await;
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
