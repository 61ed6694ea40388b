//! `consentd sandbox`: the vendor simulators on loopback, and a configuration that uses them.

use super::Exit;
use crate::config::FirstRun;
use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use consentd_sandbox::{Options, Sandbox, marketing_cloud};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Name of the configuration that is written.
pub const CONFIG_FILE: &str = "consentd-sandbox.toml";

/// Arguments of `sandbox`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Contacts in each system
    #[arg(long, default_value_t = 1_000)]
    pub contacts: usize,
    /// The same seed gives the same people
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Port of the control API; Salesforce, Ascend, Marketing Cloud, eMarketeer, SuperOffice and SFTP of
    /// Ascend take it plus 1 to 6
    #[arg(long, default_value_t = 9400)]
    pub port_base: u16,
    /// Where consentd-sandbox.toml, its keys and its store are put
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
}

/// Runs the simulators until interrupted.
///
/// # Errors
/// When a port is taken or the configuration cannot be written.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let options = Options {
        contacts: args.contacts,
        seed: args.seed,
        port_base: Some(args.port_base),
    };
    let sandbox = Sandbox::start(options)
        .await
        .context("the simulators did not start")?;
    let rehearsal = Rehearsal {
        marketing_cloud: Part::On,
        emarketeer: Part::On,
        superoffice: Part::On,
        first_run: FirstRun::Plan,
        ..Rehearsal::default()
    };
    let config = write_config(&sandbox, &args.dir, &rehearsal)?;
    let files = sandbox.ascend_files();
    println!("control          {}", sandbox.control_url());
    println!("salesforce       {}", sandbox.salesforce().url());
    println!("ascend           {}", sandbox.ascend().url());
    println!("ascend by files  {}", files.folder().display());
    println!("ascend by SFTP   {}", files.sftp_address());
    println!("marketing cloud  {}", sandbox.marketing_cloud().url());
    println!("emarketeer       {}", sandbox.emarketeer().url());
    println!("superoffice      {}", sandbox.superoffice().url());
    println!("config           {}", config.display());
    println!("sandbox ready");
    tokio::signal::ctrl_c()
        .await
        .context("cannot wait for an interrupt")?;
    sandbox.stop().await;
    Ok(Exit::Done)
}

/// How the daemon is set up against the simulators: as in production, with shorter times.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// Address of the daemon's own port.
    pub listen: String,
    /// Seconds between polls.
    pub poll_interval_secs: u64,
    /// Seconds that are read again at every poll.
    pub overlap_secs: u64,
    /// Changes younger than so many seconds wait for the next poll.
    pub lag_secs: u64,
    /// Seconds before a grant is sent.
    pub grant_settle_secs: u64,
    /// More opt-ins than this within an hour wait for a person, if they are also many for so many people;
    /// as the product has it unless said otherwise.
    pub grants_at_least: Option<u32>,
    /// How CU Ascend is connected.
    pub ascend: AscendBy,
    /// Whether Marketing Cloud is asked.
    pub marketing_cloud: Part,
    /// Whether eMarketeer takes part.
    pub emarketeer: Part,
    /// Whether SuperOffice takes part.
    pub superoffice: Part,
    /// What the daemon does with a new store.
    pub first_run: FirstRun,
    /// Where the state is kept; in a SQLite file beside the keys unless said otherwise.
    pub store_url: Option<String>,
}

/// How CU Ascend is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AscendBy {
    /// By its interface.
    #[default]
    Platform,
    /// By files, with a batch at every full minute where a university has a night.
    Files,
}

/// Whether a system takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    /// Not in the file.
    #[default]
    Absent,
    /// In the file, switched off.
    Off,
    /// In the file, switched on.
    On,
}

impl Default for Rehearsal {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8480".to_owned(),
            poll_interval_secs: 1,
            overlap_secs: 30,
            lag_secs: 1,
            grant_settle_secs: 3,
            grants_at_least: None,
            ascend: AscendBy::Platform,
            marketing_cloud: Part::Absent,
            emarketeer: Part::Absent,
            superoffice: Part::Absent,
            first_run: FirstRun::Write,
            store_url: None,
        }
    }
}

/// Writes `consentd-sandbox.toml` and the secrets it names into `dir`; gives its path.
///
/// # Errors
/// When a file cannot be written.
pub fn write_config(
    sandbox: &Sandbox,
    dir: &Path,
    rehearsal: &Rehearsal,
) -> anyhow::Result<PathBuf> {
    let dir = std::path::absolute(dir).context("the folder has no absolute path")?;
    let state = dir.join("consentd-sandbox");
    if !state.is_dir() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&state)
            .with_context(|| format!("cannot create {}", state.display()))?;
    }
    let hash_key = state.join("hash.key");
    if !hash_key.exists() {
        // A new key would make strangers of all subjects in a store that is already there.
        private_file(&hash_key, random_digits().as_bytes())?;
    }
    let (token, operator) = (state.join("sender.token"), state.join("operator.token"));
    for token in [&token, &operator] {
        if !token.exists() {
            private_file(token, random_digits().as_bytes())?;
        }
    }
    let callback = state.join("callback.secret");
    if !callback.exists() {
        // The form that Standard Webhooks gives secrets.
        let secret = format!("whsec_{}", BASE64.encode(rand::random::<[u8; 32]>()));
        private_file(&callback, secret.as_bytes())?;
    }
    let private_key = state.join("salesforce.pem");
    private_file(
        &private_key,
        sandbox.credentials().private_key_pem.as_bytes(),
    )?;
    let credentials = sandbox.credentials();
    let system = |url: &str| {
        format!(
            r#"poll_interval_secs = {poll}
overlap_secs = {overlap}
lag_secs = {lag}

[systems.NAME.auth]
grant = "jwt-bearer"
login_url = "{url}"
client_id = "{client}"
username = "{user}"
private_key_file = "{key}"
"#,
            poll = rehearsal.poll_interval_secs,
            overlap = rehearsal.overlap_secs,
            lag = rehearsal.lag_secs,
            client = credentials.consumer_key,
            user = credentials.username,
            key = private_key.display(),
        )
    };
    let text = format!(
        r#"# Written by `consentd sandbox`: the simulators on this machine, with times for a rehearsal.
# Use it with `consentd run --config {file}`.

# "plan": a new store writes nothing until a plan was applied (`consentd plan`, `consentd apply`).
first_run = "{first_run}"

[server]
listen = "{listen}"

# For `consentd check-recipients` and the API.
[[server.tokens]]
name = "rehearsal"
role = "sender"
token_file = "{token}"

# For what operators do over the API.
[[server.tokens]]
name = "operator"
role = "operator"
token_file = "{operator}"

# The answers of send-outs may be posted to this machine.
[server.callback]
secret_file = "{callback}"
hosts = ["127.0.0.1"]

[store]
url = "{store}"

[identity]
hash_key_file = "{hash}"

[policy]
grant_settle_secs = {settle}
{mass_change}
[[purposes]]
name = "marketing"
[[purposes]]
name = "marketing.alumni-news"
[[purposes]]
name = "marketing.events"
[[purposes]]
name = "marketing.giving"
[[purposes]]
name = "marketing.research"
[[purposes]]
name = "store"

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
"marketing.giving" = "Email_Giving__c"
"marketing.research" = "Email_Research__c"
{ascend}"#,
        file = CONFIG_FILE,
        first_run = match rehearsal.first_run {
            FirstRun::Plan => "plan",
            FirstRun::Write => "write",
        },
        listen = rehearsal.listen,
        store = rehearsal
            .store_url
            .clone()
            .unwrap_or_else(|| format!("sqlite://{}", state.join("consentd.db").display())),
        hash = hash_key.display(),
        token = token.display(),
        operator = operator.display(),
        callback = callback.display(),
        settle = rehearsal.grant_settle_secs,
        mass_change = rehearsal
            .grants_at_least
            .map_or_else(String::new, |grants| format!(
                "\n[policy.mass_change]\ngrants_at_least = {grants}\n"
            )),
        salesforce = system(&sandbox.salesforce().url()).replace("NAME", "salesforce"),
        ascend = match rehearsal.ascend {
            AscendBy::Platform => {
                ascend(&system(&sandbox.ascend().url()).replace("NAME", "ascend"))
            }
            AscendBy::Files => ascend_by_files(sandbox, rehearsal),
        },
    );
    let text = text
        + &emarketeer(sandbox, rehearsal, &state)?
        + &superoffice(sandbox, rehearsal, &state)?
        + &gate(sandbox, rehearsal, &state)?
        + &exchange(sandbox, &state)?;
    let path = dir.join(CONFIG_FILE);
    private_file(&path, text.as_bytes())?;
    Ok(path)
}

/// CU Ascend by its interface; `login` is what all orgs of the platform have in common.
fn ascend(login: &str) -> String {
    format!(
        r#"
[systems.ascend]
kind = "ascend"
transport = "platform"
time_zone = "America/Denver"
precedence = 2
{login}
[systems.ascend.opt_out]
purpose = "marketing"
mode = "contact-flag"
field = "HasOptedOutOfEmail"
polarity = "opt-out"

[systems.ascend.link]
field = "ucinn_ascendv2__Donor_ID__c"
system = "salesforce"
system_field = "Ascend_ID__c"
"#
    )
}

/// CU Ascend by files.
fn ascend_by_files(sandbox: &Sandbox, rehearsal: &Rehearsal) -> String {
    format!(
        r#"
[systems.ascend]
kind = "ascend"
transport = "file"
time_zone = "America/Denver"
precedence = 2
schedule = "* * * * *"
poll_interval_secs = {poll}

[systems.ascend.file]
directory = "{folder}"

[systems.ascend.opt_out]
purpose = "marketing"
polarity = "opt-out"

[systems.ascend.link]
system = "salesforce"
system_field = "Ascend_ID__c"
"#,
        poll = rehearsal.poll_interval_secs,
        folder = sandbox.ascend_files().folder().display(),
    )
}

/// Marketing Cloud, which is asked about everybody at every full minute.
fn gate(sandbox: &Sandbox, rehearsal: &Rehearsal, state: &Path) -> anyhow::Result<String> {
    if rehearsal.marketing_cloud == Part::Absent {
        return Ok(String::new());
    }
    let credentials = &sandbox.credentials().marketing_cloud;
    let mut text = format!(
        r#"
[marketing_cloud]
enabled = {enabled}
auth_url = "{url}"
client_id = "{client}"
client_secret_file = "{secret}"
account = "{account}"
max_calls_per_sec = 100
time_zone = "America/Denver"
schedule = "* * * * *"
"#,
        enabled = rehearsal.marketing_cloud == Part::On,
        url = sandbox.marketing_cloud().url(),
        client = credentials.client_id,
        secret = secret(state, "marketing-cloud.secret", &credentials.client_secret)?,
        account = marketing_cloud::ENTERPRISE,
    );
    let all = sandbox.marketing_cloud().units();
    for unit in all
        .iter()
        .filter(|unit| unit.mid != marketing_cloud::ENTERPRISE)
    {
        // Writing to a String cannot fail.
        let _written = write!(
            text,
            "\n[[marketing_cloud.units]]\nid = \"{}\"\nname = \"{}\"\n",
            unit.mid, unit.name
        );
    }
    Ok(text)
}

/// How a system is run that is asked for each contact by itself.
fn pace(part: Part, rehearsal: &Rehearsal) -> String {
    format!(
        "enabled = {enabled}\npoll_interval_secs = {poll}\noverlap_secs = {overlap}\nlag_secs = {lag}\n\
         max_concurrent = 8\nmax_calls_per_sec = 500\n",
        enabled = part == Part::On,
        poll = rehearsal.poll_interval_secs,
        overlap = rehearsal.overlap_secs,
        lag = rehearsal.lag_secs,
    )
}

/// Writes a secret beside the others; its path.
fn secret(state: &Path, name: &str, content: &str) -> anyhow::Result<String> {
    let path = state.join(name);
    private_file(&path, content.as_bytes())?;
    Ok(path.display().to_string())
}

/// eMarketeer, which shares `marketing` with all others and `store` with SuperOffice.
fn emarketeer(sandbox: &Sandbox, rehearsal: &Rehearsal, state: &Path) -> anyhow::Result<String> {
    if rehearsal.emarketeer == Part::Absent {
        return Ok(String::new());
    }
    let key = &sandbox.credentials().emarketeer.default;
    Ok(format!(
        r#"
[systems.emarketeer]
kind = "emarketeer"
precedence = 3
{pace}
[systems.emarketeer.auth]
key_file = "{key_file}"

[systems.emarketeer.consent]
base_url = "{url}"

[systems.emarketeer.contact]
base_url = "{url}/contacts-api"
"#,
        pace = pace(rehearsal.emarketeer, rehearsal),
        key_file = secret(state, "emarketeer.key", key)?,
        url = sandbox.emarketeer().url(),
    ))
}

/// SuperOffice, likewise.
fn superoffice(sandbox: &Sandbox, rehearsal: &Rehearsal, state: &Path) -> anyhow::Result<String> {
    if rehearsal.superoffice == Part::Absent {
        return Ok(String::new());
    }
    let credentials = &sandbox.credentials().superoffice;
    Ok(format!(
        r#"
[systems.superoffice]
kind = "superoffice"
deployment = "online"
precedence = 4
{pace}
[systems.superoffice.auth]
grant = "system-user"
login_url = "{url}"
customer = "{tenant}"
app_token_file = "{app_token}"
system_user_token_file = "{system_token}"
private_key_file = "{private_key}"
"#,
        pace = pace(rehearsal.superoffice, rehearsal),
        url = sandbox.superoffice().url(),
        tenant = credentials.tenant,
        app_token = secret(state, "superoffice-app.token", &credentials.client_secret)?,
        system_token = secret(state, "superoffice-user.token", &credentials.system_token)?,
        private_key = state.join("salesforce.pem").display(),
    ))
}

/// Where the exchange by files is, for whoever wants to rehearse that.
fn exchange(sandbox: &Sandbox, state: &Path) -> anyhow::Result<String> {
    let credentials = sandbox.credentials();
    let files = sandbox.ascend_files();
    Ok(format!(
        r"
# Ascend by files is in {folder}
# and, over SFTP, at {address} for the user {user}, whose private key is
# {key}
# The server shows the key {fingerprint}.
# Ascend loads batches when told to: POST {control}/v1/ascend/files/load
",
        folder = files.folder().display(),
        address = files.sftp_address(),
        user = credentials.sftp.username,
        key = secret(state, "ascend-sftp.key", &credentials.sftp.private_key)?,
        fingerprint = credentials.sftp.host_fingerprint,
        control = sandbox.control_url(),
    ))
}

/// 128 hexadecimal digits.
fn random_digits() -> String {
    (0..8).fold(String::new(), |mut text, _| {
        // Writing to a String cannot fail.
        let _written = write!(text, "{:016x}", rand::random::<u64>());
        text
    })
}

/// Writes a file that only its owner can read.
fn private_file(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(content)
        .with_context(|| format!("cannot write {}", path.display()))
}
