//! `consentd check`: everything that is wrong with the configuration, and with `--live` everything
//! that is missing in the systems.

use super::output::{self, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::config::{Checked, MarketingCloud, SystemSettings};
use crate::connector::{Fault, Probe, registry};
use crate::store::StoreSettings;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: FormatArg,
    /// Also log in to every enabled system and look for missing permissions and fields. Writes
    /// nothing.
    #[arg(long)]
    live: bool,
}

/// Checks. Without `--live` nothing but files is touched.
///
/// # Errors
/// The configuration's faults.
pub async fn check(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    if !args.live {
        output::print(&summary(&checked))?;
        return Ok(Exit::Done);
    }
    let mut list = List::new(&["system", "finding", "detail"]);
    let mut complete = true;
    for system in checked.systems.iter().filter(|system| system.enabled) {
        complete &= probe(system, &mut list).await;
    }
    if let Some(gate) = checked.gate() {
        complete &= probe_gate(gate, &mut list).await;
    }
    output::print(&list.render(args.output.format)?)?;
    Ok(if complete { Exit::Done } else { Exit::Differs })
}

fn summary(checked: &Checked) -> String {
    let store = match &checked.store {
        StoreSettings::Sqlite { path } => format!("SQLite, {}", path.display()),
        StoreSettings::Postgres { url, .. } => {
            format!("Postgres, {}", url.host_str().unwrap_or("a local socket"))
        }
    };
    let systems: Vec<_> = checked
        .systems
        .iter()
        .map(|system| {
            let state = if system.enabled { "" } else { ", disabled" };
            format!("{} ({}{state})", system.name, system.kind.word())
        })
        .collect();
    let gate = checked
        .marketing_cloud
        .as_ref()
        .map(|gate| {
            let state = if gate.enabled { "" } else { ", disabled" };
            let units = gate.connector.units.len();
            format!("  gate      marketing_cloud ({units} business units{state})\n")
        })
        .unwrap_or_default();
    let purposes: Vec<_> = checked
        .purposes
        .iter()
        .map(|(_, purpose)| purpose.name.as_str())
        .collect();
    format!(
        "The configuration is sound.\n  store     {store}\n  purposes  {}\n  systems   {}\n{gate}",
        purposes.join(", "),
        systems.join(", "),
    )
}

/// Logs in to one system and lists what was found. Whether nothing is missing.
async fn probe(system: &SystemSettings, list: &mut List) -> bool {
    let found = match registry::connect(&system.kind) {
        Ok(connector) => connector.probe().await,
        Err(fault) => Err(fault),
    };
    tell(&system.name, found, list, |probe| {
        let actor = probe.own_actor.as_deref().unwrap_or("an unnamed user");
        format!("logged in as {actor}")
    })
}

/// The same of the gate.
async fn probe_gate(gate: &MarketingCloud, list: &mut List) -> bool {
    let found = match registry::gate(&gate.connector) {
        Ok(gate) => gate.probe().await,
        Err(fault) => Err(fault),
    };
    let account = gate
        .connector
        .units
        .first()
        .map_or("", |unit| unit.id.as_str());
    tell("marketing_cloud", found, list, |_| {
        format!("logged in to business unit {account}, and subscribers can be read")
    })
}

/// Lists what a probe found. Whether nothing is missing.
fn tell(
    name: &str,
    found: Result<Probe, Fault>,
    list: &mut List,
    well: impl Fn(&Probe) -> String,
) -> bool {
    let mut find = |finding: &str, detail: &str| {
        list.push(vec![name.into(), finding.into(), detail.into()]);
    };
    match found {
        Err(fault) => {
            find(fault.class.word(), &fault.message);
            false
        }
        Ok(probe) => {
            for missing in &probe.missing {
                find("missing", missing);
            }
            for note in &probe.notes {
                find("note", note);
            }
            if probe.missing.is_empty() {
                find("ok", &well(&probe));
            }
            probe.missing.is_empty()
        }
    }
}
