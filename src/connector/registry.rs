//! From checked settings to connectors. The one place that knows every kind of system.

use super::{Connector, Fault, Gate, ascend, emarketeer, marketing_cloud, salesforce, superoffice};
use crate::config::SystemKind;
use crate::runtime::clock::{Clock, System};
use std::sync::Arc;

/// Builds the connector of a system, on the machine's clock. Makes no call.
///
/// # Errors
/// When the HTTP client cannot be built, e.g. because the machine has no usable trust store.
pub fn connect(kind: &SystemKind) -> Result<Arc<dyn Connector>, Fault> {
    let clock: Arc<dyn Clock> = Arc::new(System);
    connect_by(kind, &clock)
}

/// The same on a given clock, by which files are named and awaited where a system tells no time.
///
/// # Errors
/// When the HTTP client cannot be built, e.g. because the machine has no usable trust store.
pub fn connect_by(kind: &SystemKind, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Connector>, Fault> {
    Ok(match kind {
        SystemKind::Salesforce(settings) => {
            Arc::new(salesforce::Salesforce::new((**settings).clone())?)
        }
        SystemKind::Ascend(settings) => Arc::new(ascend::Ascend::new((**settings).clone())?),
        SystemKind::AscendFile(settings) => Arc::new(ascend::file::AscendFile::new(
            (**settings).clone(),
            Arc::clone(clock),
        )),
        SystemKind::Emarketeer(settings) => {
            Arc::new(emarketeer::Emarketeer::new((**settings).clone())?)
        }
        SystemKind::SuperOffice(settings) => {
            Arc::new(superoffice::SuperOffice::new((**settings).clone())?)
        }
    })
}

/// Builds the gate. Makes no call.
///
/// # Errors
/// As [`connect`].
pub fn gate(settings: &marketing_cloud::config::Settings) -> Result<Arc<dyn Gate>, Fault> {
    Ok(Arc::new(marketing_cloud::MarketingCloud::new(
        settings.clone(),
    )?))
}
