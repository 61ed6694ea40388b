//! From checked settings to connectors. The one place that knows every kind of system.

use super::{Connector, Fault, ascend, salesforce};
use std::sync::Arc;

/// The kinds of system, each with its settings.
#[derive(Debug, Clone)]
pub enum SystemKind {
    /// A Salesforce org.
    Salesforce(salesforce::config::Settings),
    /// A CU Ascend org on its platform transport.
    Ascend(ascend::config::Settings),
}

/// Builds the connector of a system. Makes no call.
///
/// # Errors
/// When the HTTP client cannot be built, e.g. because the machine has no usable trust store.
pub fn connect(kind: SystemKind) -> Result<Arc<dyn Connector>, Fault> {
    Ok(match kind {
        SystemKind::Salesforce(settings) => Arc::new(salesforce::Salesforce::new(settings)?),
        SystemKind::Ascend(settings) => Arc::new(ascend::Ascend::new(settings)?),
    })
}
