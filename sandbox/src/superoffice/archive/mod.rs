//! The archives: `GET|POST /v1/Archive/{provider}` with OData parameters, and `GET /v1/Person`.
//!
//! A query that is ordered by the primary key stops as soon as its page is full, and starts where a restriction such as
//! `personId gt 5120` lets it start; restrictions on numbers and addresses are looked up. Everything else is a scan.

pub(crate) mod filter;
mod operators;
mod plan;
mod rows;
pub(crate) mod tables;

use std::cmp::Ordering;
use std::collections::HashMap;

use axum::http::Method;
use serde_json::{Map, Value, json};

use self::filter::{Expr, Term};
use self::operators::{Test, When};
use self::plan::{Plan, Provider};
use self::rows::{Row, cell};
use self::tables::Cell;
use super::carriers::or_raw;
use super::errors::{Trouble, model_error};
use super::http::{Asker, no_method};
use super::settings::NextLink;
use super::state::State;
use crate::faults::{CallKind, Fault};
use crate::rest::{Call, Reply};

/// Most rows that a query may gather before it sorts them.
const MAX_GATHERED: usize = 5_000_000;

/// A filter whose columns are found and whose operators are understood.
enum Check {
    All(Vec<Check>),
    Any(Vec<Check>),
    One(usize, Test),
}

impl Check {
    fn passes(&self, plan: &Plan, state: &State, row: &Row) -> bool {
        match self {
            Check::All(parts) => parts.iter().all(|part| part.passes(plan, state, row)),
            Check::Any(parts) => parts.iter().any(|part| part.passes(plan, state, row)),
            Check::One(place, test) => plan
                .columns
                .get(*place)
                .is_some_and(|column| test.passes(&cell(state, row, column))),
        }
    }
}

/// The parameters of a query, by lower-cased name.
struct Parameters(HashMap<String, String>);

impl Parameters {
    /// From the query string, or from the form of a POST.
    fn of(call: &Call) -> Parameters {
        let query = call.query.as_deref().unwrap_or_default();
        let mut all: HashMap<String, String> = HashMap::new();
        let mut add = |bytes: &[u8]| {
            for (name, value) in url::form_urlencoded::parse(bytes) {
                all.insert(name.to_ascii_lowercase(), value.into_owned());
            }
        };
        add(query.as_bytes());
        if call.method == Method::POST {
            add(&call.body);
        }
        Parameters(all)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    }

    fn number(&self, name: &str) -> Result<Option<usize>, Trouble> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| Trouble::bad(format!("{name} is not a number"))),
        }
    }
}

/// The parts between commas that are not empty.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|one| !one.is_empty())
}

/// Serves one query.
pub(crate) fn serve(
    state: &mut State,
    call: &Call,
    provider: &str,
    asker: &Asker,
) -> Result<Reply, Trouble> {
    if call.method != Method::GET && call.method != Method::POST {
        return Ok(no_method(call));
    }
    let known = Provider::named(provider)
        .filter(|known| *known != Provider::Dynamic || state.settings.dynamic_archive);
    let Some(known) = known else {
        return Err(Trouble::new(
            404,
            "SoArchiveException",
            format!("archive provider {provider:?} does not exist"),
        ));
    };
    let parameters = Parameters::of(call);
    let short = state.faults.strike(CallKind::Archive, |fault| match fault {
        Fault::ShortPages { rows } => Some((*rows).max(1)),
        _ => None,
    });
    match query(state, known, &parameters, short, asker) {
        Ok((value, more)) => Ok(Reply::json(200, envelope(state, call, value, more))),
        Err(Problem::Trouble(trouble)) => Err(trouble),
        Err(Problem::Filter(why)) => Ok(model_error(
            state.settings.refused_operator_status,
            "An error has occurred.",
            &why,
        )),
    }
}

enum Problem {
    Trouble(Trouble),
    /// A filter that is malformed, or an operator that a column does not take.
    Filter(String),
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Problem {
        Problem::Trouble(trouble)
    }
}

/// `more`: where the next page starts, if there are further rows.
fn envelope(state: &State, call: &Call, value: Vec<Value>, more: Option<usize>) -> Value {
    let mut body = json!({
        "odata.metadata": format!("{}/v1/Archive//$metadata", state.base()),
    });
    match state.settings.next_link {
        NextLink::Absent => {}
        NextLink::Null => body["odata.nextLink"] = Value::Null,
        NextLink::Link => {
            let link = more.map(|skip| {
                let query = call.query.as_deref().unwrap_or_default();
                let kept = url::form_urlencoded::parse(query.as_bytes())
                    .filter(|(name, _)| !name.eq_ignore_ascii_case("$skip"));
                let next = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(kept)
                    .append_pair("$skip", &skip.to_string())
                    .finish();
                format!("{}{}?{next}", state.base(), after_base(&call.path))
            });
            body["odata.nextLink"] = json!(link);
        }
    }
    body["value"] = Value::Array(value);
    body
}

/// The part of a path behind `…/api`.
fn after_base(path: &str) -> &str {
    let lower = path.to_ascii_lowercase();
    let at = lower.find("/api/").map_or(0, |at| at + "/api".len());
    path.get(at..).unwrap_or_default()
}

fn query(
    state: &State,
    provider: Provider,
    parameters: &Parameters,
    short: Option<usize>,
    asker: &Asker,
) -> Result<(Vec<Value>, Option<usize>), Problem> {
    let mut plan = Plan::new(provider);
    let selected = select(state, &mut plan, parameters)?;
    let expr = match parameters.get("$filter") {
        Some(text) => Some(filter::parse(text).map_err(Problem::Filter)?),
        None => None,
    };
    let when = When {
        now: state.now(),
        offset_minutes: state.settings.filter_offset_minutes,
        dates_take_times: state.settings.date_columns_take_times,
    };
    let mut terms = Vec::new();
    let check = match &expr {
        Some(expr) => Some(compile(state, &mut plan, expr, &when, &mut terms)?),
        None => None,
    };
    let order = order(state, &mut plan, parameters)?;
    let entities: Option<Vec<String>> = parameters.get("$entities").map(|text| {
        let names = list(text).map(str::to_ascii_lowercase);
        names.collect()
    });
    let entities = entities.filter(|names| names.iter().all(|name| name != "all"));
    let skip = parameters.number("$skip")?.unwrap_or(0);
    let most = state.settings.archive_rows;
    let top = parameters.number("$top")?.unwrap_or(most).min(most);
    let top = short.map_or(top, |rows| rows.min(top));

    let required = expr.as_ref().map(Expr::required).unwrap_or_default();
    let ids = roots(state, &plan, &required, &terms);
    let wanted = |row: &Row, id: i64| {
        let entity = plan.entity(state, id);
        entities
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name.eq_ignore_ascii_case(entity)))
            && check
                .as_ref()
                .is_none_or(|check| check.passes(&plan, state, row))
    };
    let natural = matches!(order.as_slice(), [] | [(_, false, true)]);
    let enough = if natural {
        skip.saturating_add(top).saturating_add(1)
    } else {
        MAX_GATHERED
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut passed = 0;
    for id in ids {
        if !plan.admits(state, id) {
            continue;
        }
        let going = plan.expand(state, id, &mut |row| {
            if wanted(row, id) {
                passed += 1;
                if !natural || passed > skip {
                    rows.push(row.clone());
                }
            }
            passed < enough
        });
        if !going {
            break;
        }
    }
    if !natural {
        sort(state, &plan, &order, &mut rows);
        rows.drain(..skip.min(rows.len()));
    }
    let more = (rows.len() > top).then_some(skip + top);
    rows.truncate(top);
    let full = parameters
        .get("$mode")
        .is_some_and(|mode| !mode.eq_ignore_ascii_case("slim"));
    let value = rows
        .iter()
        .map(|row| render(state, &plan, &selected, row, full, asker))
        .collect();
    Ok((value, more))
}

fn select(state: &State, plan: &mut Plan, parameters: &Parameters) -> Result<Vec<usize>, Trouble> {
    let names: Vec<&str> = match parameters.get("$select") {
        Some(text) => list(text).collect(),
        None => plan.provider.default_columns().to_vec(),
    };
    if names.is_empty() {
        return Err(Trouble::bad("$select is required here"));
    }
    names
        .into_iter()
        .map(|name| plan.column(state, name, false))
        .collect()
}

/// `terms` gets each restriction's column.
fn compile(
    state: &State,
    plan: &mut Plan,
    expr: &Expr,
    when: &When,
    terms: &mut Vec<(Term, usize)>,
) -> Result<Check, Problem> {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => {
            let parts = parts
                .iter()
                .map(|part| compile(state, plan, part, when, terms))
                .collect::<Result<Vec<Check>, Problem>>()?;
            Ok(match expr {
                Expr::And(_) => Check::All(parts),
                _ => Check::Any(parts),
            })
        }
        Expr::Term(term) => {
            let place = plan.column(state, &term.column, true)?;
            let kind = plan.columns.get(place).map(plan::Column::kind);
            let kind = kind.unwrap_or(tables::Kind::Int);
            let test = operators::test(term, kind, when).map_err(Problem::Filter)?;
            terms.push((term.clone(), place));
            Ok(Check::One(place, test))
        }
    }
}

/// Column, descending, and whether it is the primary key.
type Order = Vec<(usize, bool, bool)>;

fn order(state: &State, plan: &mut Plan, parameters: &Parameters) -> Result<Order, Trouble> {
    let text = parameters.get("$orderby").unwrap_or_default();
    list(text)
        .map(|part| {
            let (name, direction) = part
                .split_once(char::is_whitespace)
                .unwrap_or((part, "asc"));
            let descending = match direction.trim().to_ascii_lowercase().as_str() {
                "asc" => false,
                "desc" => true,
                other => return Err(Trouble::bad(format!("unknown direction {other:?}"))),
            };
            let place = plan.column(state, name, false)?;
            let key = plan.root.fields().first().map_or("", |field| field.name);
            let is_key = plan
                .columns
                .get(place)
                .is_some_and(|column| column.is_root(key));
            Ok((place, descending, is_key))
        })
        .collect()
}

/// Numbers of the rows to start from, ascending.
fn roots<'s>(
    state: &'s State,
    plan: &Plan,
    required: &[&Term],
    terms: &[(Term, usize)],
) -> Box<dyn Iterator<Item = i64> + 's> {
    let column = |wanted: &Term| {
        let place = terms.iter().find(|(term, _)| term == wanted)?.1;
        plan.columns.get(place)
    };
    let key = plan.root.fields().first().map_or("", |field| field.name);
    let mut after = i64::MIN;
    for term in required {
        let Some(column) = column(term) else {
            continue;
        };
        if let Some(mut ids) = plan.candidates(state, column, term) {
            ids.sort_unstable();
            ids.dedup();
            return Box::new(ids.into_iter());
        }
        if column.is_root(key)
            && matches!(term.operator.as_str(), "gt" | "greater" | ">")
            && let Some(bound) = term.values.first().and_then(filter::Value::number)
        {
            after = after.max(bound);
        }
    }
    plan.root.rows(state, after)
}

fn sort(state: &State, plan: &Plan, order: &Order, rows: &mut [Row]) {
    rows.sort_by(|one, other| {
        for (place, descending, _) in order {
            let Some(column) = plan.columns.get(*place) else {
                continue;
            };
            let (one, other) = (cell(state, one, column), cell(state, other, column));
            let ordering = compare(&one, &other);
            let ordering = if *descending {
                ordering.reverse()
            } else {
                ordering
            };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        Ordering::Equal
    });
}

fn compare(one: &Cell<'_>, other: &Cell<'_>) -> Ordering {
    match (one, other) {
        (Cell::Text(one), Cell::Text(other)) => one.to_lowercase().cmp(&other.to_lowercase()),
        (Cell::Time(one), Cell::Time(other)) => one.cmp(other),
        (Cell::Bool(one), Cell::Bool(other)) => one.cmp(other),
        _ => one.number().cmp(&other.number()),
    }
}

fn render(
    state: &State,
    plan: &Plan,
    selected: &[usize],
    row: &Row,
    full: bool,
    asker: &Asker,
) -> Value {
    let id = row.first().copied().flatten().unwrap_or(0);
    let entity = plan.entity(state, id);
    let mut shown = Map::new();
    let columns = selected.iter().filter_map(|place| plan.columns.get(*place));
    if full {
        shown.insert("PrimaryKey".to_owned(), json!(id));
        shown.insert("EntityName".to_owned(), json!(entity));
        for hint in ["StyleHint", "LinkHint"] {
            shown.insert(hint.to_owned(), json!(""));
        }
        shown.insert("TableRight".to_owned(), Value::Null);
        let cells: Map<String, Value> = columns
            .map(|column| {
                let cell = cell(state, row, column);
                let display = match slim(&cell, asker) {
                    Value::String(text) => text,
                    Value::Null => String::new(),
                    other => other.to_string(),
                };
                let value = json!({
                    "RawValue": raw(&cell, asker),
                    "DisplayValue": display,
                    "LinkHint": "",
                    "TooltipHint": "",
                });
                (column.name.clone(), value)
            })
            .collect();
        shown.insert("Column".to_owned(), Value::Object(cells));
    } else {
        shown.insert("PrimaryKey".to_owned(), json!(id.to_string()));
        shown.insert("EntityName".to_owned(), json!(entity));
        for column in columns {
            let cell = cell(state, row, column);
            shown.insert(column.name.clone(), slim(&cell, asker));
        }
    }
    or_raw(
        state,
        &format!("{}:{id}", plan.root.name()),
        Value::Object(shown),
    )
}

fn slim(cell: &Cell<'_>, asker: &Asker) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Int(number) => json!(number),
        Cell::Text(text) => json!(text),
        Cell::Bool(truth) => json!(truth),
        Cell::Time(at) => json!(asker.time(*at)),
        Cell::List(_, name) => json!(
            name.map(|name| name.show(asker.language))
                .unwrap_or_default()
        ),
        Cell::Associate(_, name) => json!(name),
    }
}

fn raw(cell: &Cell<'_>, asker: &Asker) -> Value {
    match cell {
        Cell::List(number, _) | Cell::Associate(number, _) => json!(number),
        other => slim(other, asker),
    }
}
