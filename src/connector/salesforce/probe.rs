//! What an org lets the daemon see and change.

use super::config::Grant;
use super::feed::Feed;
use super::wire::rows;
use super::wire::soql::{self, Query};
use super::wire::{Describe, Org, QueryPage};
use crate::connector::{Fault, Probe};

/// Logs in and compares the object's description with what the configuration needs.
pub async fn probe(org: &Org, feed: &Feed) -> Result<Probe, Fault> {
    let mut probe = Probe {
        own_actor: own_user(org).await?,
        ..Probe::default()
    };
    if probe.own_actor.is_none() {
        probe.notes.push("the user that consentd acts as is not known, so its own changes cannot be told from others'".to_owned());
    }
    let shape = feed.shape();
    let Some(described) = org.describe(&shape.object).await? else {
        probe.missing.push(format!(
            "object {}: give the integration user Read and Edit on it",
            shape.object
        ));
        return Ok(probe);
    };
    need(
        &described,
        &shape.object,
        shape.columns.iter().map(String::as_str),
        &mut probe,
    );
    for field in &shape.fields {
        if let Some(info) = described.field(&field.name) {
            if info.kind != "boolean" {
                probe.missing.push(format!(
                    "field {}.{}: it has to be a checkbox, but is of type {}",
                    shape.object, field.name, info.kind
                ));
            } else if !info.updateable {
                probe.missing.push(format!(
                    "field {}.{}: give the integration user Edit access (field-level security)",
                    shape.object, field.name
                ));
            }
        }
    }
    history(org, feed, &mut probe).await?;
    Ok(probe)
}

/// Names each field that the description lacks.
pub fn need<'a>(
    described: &Describe,
    object: &str,
    fields: impl Iterator<Item = &'a str>,
    probe: &mut Probe,
) {
    for field in fields {
        if described.field(field).is_none() {
            probe.missing.push(format!("field {object}.{field}: it does not exist or is hidden; give the integration user Read access (field-level security)"));
        }
    }
}

/// The user's id: from the identity URL of the login, or by its name.
async fn own_user(org: &Org) -> Result<Option<String>, Fault> {
    let session = org.session().await?;
    if session.user.is_some() {
        return Ok(session.user.clone());
    }
    let Grant::JwtBearer { username, .. } = &org.settings().grant else {
        return Ok(None);
    };
    let columns = ["Id".to_owned()];
    let query = Query {
        columns: &columns,
        object: "User",
        conditions: vec![format!("Username = {}", soql::text(username))],
        limit: Some(1),
        ..Query::default()
    };
    let answer = org.query(&query.text(), false).await?;
    let page: QueryPage<'_> = answer.parse("query")?;
    Ok(page
        .records
        .first()
        .and_then(|raw| rows::row(raw, &columns).ok())
        .and_then(|cells| cells[0].text().ok().flatten().and_then(soql::full_id)))
}

/// Notes when consent changes have no history.
async fn history(org: &Org, feed: &Feed, probe: &mut Probe) -> Result<(), Fault> {
    let (shape, history) = (feed.shape(), feed.history());
    if shape.fields.is_empty() {
        return Ok(());
    }
    if org.describe(&history.object).await?.is_none() {
        probe.notes.push(format!("{} cannot be read: without field history the time of a change is only known to lie between two polls", history.object));
        return Ok(());
    }
    let columns = ["Id".to_owned()];
    for field in &shape.fields {
        let query = Query {
            columns: &columns,
            object: &history.object,
            conditions: vec![format!("Field = {}", soql::text(&field.name))],
            limit: Some(1),
            ..Query::default()
        };
        let answer = org.query(&query.text(), false).await?;
        let page: QueryPage<'_> = answer.parse("query")?;
        if page.records.is_empty() {
            probe.notes.push(format!("field {}.{} has no history yet: switch on field history tracking, so that the exact time of each change is known", shape.object, field.name));
        }
    }
    Ok(())
}
