//! Bulk ingest jobs.

use crate::org::state::State;
use crate::refusal::Refusal;
use crate::rest::{Call, Reply, Session};

/// Serves everything below `jobs/ingest`.
pub(crate) fn serve(_: &mut State, _: &Call, _: Session<'_>, _: &[&str]) -> Result<Reply, Refusal> {
    Err(Refusal::not_found())
}
