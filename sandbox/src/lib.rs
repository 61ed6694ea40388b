//! Loopback simulators of the vendors that consentd talks to.
//!
//! [`Sandbox::start`] opens a control API and the vendors on 127.0.0.1: a Salesforce org, a CU Ascend org, which is a
//! package on the same platform, an eMarketeer account, a SuperOffice tenant, and a Marketing Cloud account. Each speaks
//! its vendor's real HTTP; all hold their records in memory and forget them at the end. Ascend can also be talked to by
//! files, in a folder or over SFTP. Everything that the control API can do is also a method of [`Org`],
//! [`ascend_files::Exchange`], [`emarketeer::Account`], [`superoffice::Tenant`], [`marketing_cloud::Enterprise`] or
//! [`Sandbox`].
//!
//! ```no_run
//! use consentd_sandbox::{CallKind, Fault, Options, Rule, Sandbox};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let options = Options { contacts: 1_000, seed: 1, port_base: None };
//! let sandbox = Sandbox::start(options).await?;
//! // The first write happens, but its answer is lost.
//! let lost = Rule::from(Fault::CutAfter).times(1).calls(&[CallKind::CollectionsWrite]);
//! sandbox.salesforce().set_fault(lost)?;
//! // ... run a client against sandbox.salesforce().url() with sandbox.credentials() ...
//! assert_eq!(sandbox.parity().different, 0);
//! # Ok(())
//! # }
//! ```
//!
//! The simulators know nothing of the product. They follow the vendors' public documentation, as each module says, and
//! leave out what the sync has no use for (Apex, metadata, events, most SOAP of the platform).

pub mod ascend_files;
mod bulk;
mod clock;
mod control;
mod credentials;
pub mod emarketeer;
mod faults;
mod ids;
pub mod marketing_cloud;
mod org;
mod parity;
pub mod people;
mod refusal;
mod rest;
mod server;
mod soap;
pub mod soql;
pub mod superoffice;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use clock::Clock;
pub use credentials::{Credentials, MarketingCloudCredentials, SuperOfficeCredentials};
pub use faults::{CallKind, Fault, MAX_RULES, Rule};
pub use org::state::{AGENT, DATA_LOAD, INTEGRATION, RECORDS, SPECIALIST};
pub use org::{
    ActError, Calls, ContactState, HistoryRow, LoadReport, LoadScope, OldRefreshToken, Org,
    Settings,
};
pub use parity::{Parity, ParityRow};

use org::schema::PREFERENCES;
use org::state::State;
use rest::auth::Auth;
use server::{CutListener, Line, Site};

/// Ports from the base: control, Salesforce, Ascend, Marketing Cloud, eMarketeer, SuperOffice, and SFTP of Ascend.
pub const PORTS: u16 = 7;

/// A simulated org of the platform that Salesforce and Ascend share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// The eComm Salesforce org.
    Salesforce,
    /// The CU Ascend org.
    Ascend,
}

impl System {
    /// The three characters of a record id that tell the instance.
    pub(crate) fn instance(self) -> &'static str {
        match self {
            System::Salesforce => "5e0",
            System::Ascend => "8f0",
        }
    }
}

/// What to start.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Contacts in each system; 0 leaves them empty.
    pub contacts: usize,
    /// The same seed gives the same population.
    pub seed: u64,
    /// Port of the control API, with the systems behind it; `None` takes free ports.
    pub port_base: Option<u16>,
}

/// Who there is in all systems: a description of the people, from which they can be made again at any time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Population {
    contacts: usize,
    pub(crate) seed: u64,
    /// What the past is counted back from.
    pub(crate) now: DateTime<Utc>,
}

impl Population {
    pub(crate) fn people(&self) -> Vec<people::Person> {
        if self.contacts == 0 {
            return Vec::new();
        }
        people::generate(self.contacts, self.seed, self.now, PREFERENCES.len())
    }
}

/// Why the sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken or may not be used.
    #[error("cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// The port asked for, 0 for any.
        port: u16,
        /// The cause.
        source: io::Error,
    },
    /// The port base leaves no room for the further ports.
    #[error("port base {0} is too high")]
    PortBase(u16),
    /// No key pair could be made.
    #[error("cannot make a key pair")]
    Key,
    /// The temporary folder of the exchange by files could not be made.
    #[error("cannot make a temporary folder")]
    Folder(#[source] io::Error),
}

/// The running simulators. Dropping it stops them.
#[derive(Debug)]
pub struct Sandbox {
    core: Arc<Core>,
    control_url: String,
    down: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the control API and the library share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) clock: Arc<Clock>,
    pub(crate) salesforce: Org,
    pub(crate) ascend: Org,
    pub(crate) emarketeer: emarketeer::Account,
    pub(crate) superoffice: superoffice::Tenant,
    pub(crate) marketing_cloud: marketing_cloud::Enterprise,
    pub(crate) ascend_files: ascend_files::Exchange,
    credentials: Credentials,
}

impl Core {
    pub(crate) fn org(&self, system: System) -> &Org {
        match system {
            System::Salesforce => &self.salesforce,
            System::Ascend => &self.ascend,
        }
    }
}

impl Sandbox {
    /// Opens the ports and lays down the population.
    pub async fn start(options: Options) -> Result<Sandbox, StartError> {
        if let Some(base) = options.port_base
            && base.checked_add(PORTS).is_none()
        {
            return Err(StartError::PortBase(base));
        }
        let control = listen(options.port_base, 0).await?;
        let salesforce = listen(options.port_base, 1).await?;
        let ascend = listen(options.port_base, 2).await?;
        let marketing_cloud = listen(options.port_base, 3).await?;
        let emarketeer = listen(options.port_base, 4).await?;
        let superoffice = listen(options.port_base, 5).await?;
        let sftp = listen(options.port_base, 6).await?;
        let clock = Arc::new(Clock::default());
        let credentials = Credentials::generate()?;
        let population = Population {
            contacts: options.contacts,
            seed: options.seed,
            now: clock.now(),
        };
        let people = population.people();
        let org = |system: System, listener: &TcpListener| {
            let auth = Auth::new(&credentials, options.seed);
            let mut state = State::new(
                system,
                url(listener),
                &credentials.username,
                Arc::clone(&clock),
                auth,
            );
            state.seed(&people);
            Org::new(state)
        };
        let salesforce_org = org(System::Salesforce, &salesforce);
        let ascend_org = org(System::Ascend, &ascend);
        let ascend_files =
            ascend_files::Exchange::new(ascend_org.clone(), &credentials.sftp, port(&sftp))
                .map_err(StartError::Folder)?;
        let core = Arc::new(Core {
            marketing_cloud: marketing_cloud::Enterprise::new(
                url(&marketing_cloud),
                &credentials.marketing_cloud,
                population,
                salesforce_org.clone(),
                Arc::clone(&clock),
            ),
            salesforce: salesforce_org,
            ascend: ascend_org,
            ascend_files,
            emarketeer: emarketeer::Account::new(
                url(&emarketeer),
                &credentials.emarketeer,
                population,
                Arc::clone(&clock),
            ),
            superoffice: superoffice::Tenant::new(
                port(&superoffice),
                &credentials,
                &people,
                &options,
                Arc::clone(&clock),
            ),
            clock: Arc::clone(&clock),
            credentials: credentials.clone(),
        });
        let down = Arc::new(AtomicBool::new(false));
        let control_url = url(&control);
        let tasks = vec![
            spawn_site(salesforce, core.salesforce.shared(), &down),
            spawn_site(ascend, core.ascend.shared(), &down),
            spawn_site(marketing_cloud, core.marketing_cloud.shared(), &down),
            spawn_site(emarketeer, core.emarketeer.shared(), &down),
            spawn_site(superoffice, core.superoffice.shared(), &down),
            tokio::spawn(core.superoffice.clone().deliver()),
            tokio::spawn(core.ascend_files.clone().tick()),
            tokio::spawn(ascend_files::sftp::serve(
                core.ascend_files.clone(),
                sftp,
                Arc::clone(&down),
            )),
            spawn(control, control::router(Arc::clone(&core)), &down),
        ];
        Ok(Sandbox {
            core,
            control_url,
            down,
            tasks,
        })
    }

    /// Address of the control API.
    pub fn control_url(&self) -> String {
        self.control_url.clone()
    }

    /// The Salesforce org.
    pub fn salesforce(&self) -> &Org {
        &self.core.salesforce
    }

    /// The Ascend org.
    pub fn ascend(&self) -> &Org {
        &self.core.ascend
    }

    /// Ascend's side of the exchange by files.
    pub fn ascend_files(&self) -> &ascend_files::Exchange {
        &self.core.ascend_files
    }

    /// The eMarketeer account.
    pub fn emarketeer(&self) -> &emarketeer::Account {
        &self.core.emarketeer
    }

    /// The SuperOffice tenant.
    pub fn superoffice(&self) -> &superoffice::Tenant {
        &self.core.superoffice
    }

    /// The Marketing Cloud account.
    pub fn marketing_cloud(&self) -> &marketing_cloud::Enterprise {
        &self.core.marketing_cloud
    }

    /// One of the two orgs.
    pub fn org(&self, system: System) -> &Org {
        self.core.org(system)
    }

    /// How to log in to the systems.
    pub fn credentials(&self) -> &Credentials {
        &self.core.credentials
    }

    /// The clock of all systems.
    pub fn clock(&self) -> &Clock {
        &self.core.clock
    }

    /// How far the opt-outs of the two orgs agree.
    pub fn parity(&self) -> Parity {
        parity::compare(&self.core, parity::AscendField::OptOut)
    }

    /// Stops listening and ends all connections.
    pub async fn stop(mut self) {
        self.down.store(true, Ordering::SeqCst);
        for task in self.tasks.drain(..) {
            task.abort();
            // An aborted task ends with a cancellation, which is what was asked for.
            drop(task.await);
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.down.store(true, Ordering::SeqCst);
        self.core.ascend_files.close();
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn listen(base: Option<u16>, offset: u16) -> Result<TcpListener, StartError> {
    let port = base.map_or(0, |base| base + offset);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { port, source })
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().map_or(0, |address| address.port())
}

fn url(listener: &TcpListener) -> String {
    format!("http://127.0.0.1:{}", port(listener))
}

fn spawn_site<S: Site>(
    listener: TcpListener,
    site: Arc<S>,
    down: &Arc<AtomicBool>,
) -> JoinHandle<()> {
    let router = Router::new().fallback(server::serve::<S>).with_state(site);
    spawn(listener, router, down)
}

fn spawn(listener: TcpListener, router: Router, down: &Arc<AtomicBool>) -> JoinHandle<()> {
    let listener = CutListener::new(listener, Arc::clone(down));
    let service = router.into_make_service_with_connect_info::<Line>();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, service).await {
            tracing::error!(%error, "a simulator stopped listening");
        }
    })
}
