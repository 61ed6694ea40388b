//! From checked settings to connectors. The one place that knows every kind of system.

use super::{Connector, Fault, Gate, ascend, emarketeer, marketing_cloud, salesforce, superoffice};
use crate::config::SystemKind;
use std::sync::Arc;

/// Builds the connector of a system. Makes no call.
///
/// # Errors
/// When the HTTP client cannot be built, e.g. because the machine has no usable trust store.
pub fn connect(kind: &SystemKind) -> Result<Arc<dyn Connector>, Fault> {
    Ok(match kind {
        SystemKind::Salesforce(settings) => {
            Arc::new(salesforce::Salesforce::new((**settings).clone())?)
        }
        SystemKind::Ascend(settings) => Arc::new(ascend::Ascend::new((**settings).clone())?),
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
