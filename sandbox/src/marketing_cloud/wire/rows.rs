//! The objects that can be retrieved: which properties each has, which rows there are, and how a row reads.

use chrono::{DateTime, FixedOffset, Utc};

use super::envelope::tag;
use crate::marketing_cloud::state::{Place, Standing, State, Status};
use crate::marketing_cloud::units::{ALL_SUBSCRIBERS, ENTERPRISE, Mid, Unit};

/// An object type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Subscriber,
    ListSubscriber,
    List,
    BusinessUnit,
    SubscriberStatusEvent,
}

impl Object {
    pub(super) fn named(name: &str) -> Option<Object> {
        let all = [
            Object::Subscriber,
            Object::ListSubscriber,
            Object::List,
            Object::BusinessUnit,
            Object::SubscriberStatusEvent,
        ];
        all.into_iter().find(|object| object.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Object::Subscriber => "Subscriber",
            Object::ListSubscriber => "ListSubscriber",
            Object::List => "List",
            Object::BusinessUnit => "BusinessUnit",
            Object::SubscriberStatusEvent => "SubscriberStatusEvent",
        }
    }

    /// The scope that reads it.
    pub(super) fn scope(self) -> &'static str {
        if self == Object::BusinessUnit {
            super::ACCOUNTS
        } else {
            super::READ
        }
    }

    /// Properties in the order in which answers have them.
    fn properties(self) -> &'static [&'static str] {
        match self {
            Object::Subscriber => &[
                "Client.ID",
                "CreatedDate",
                "ID",
                "EmailAddress",
                "SubscriberKey",
                "UnsubscribedDate",
                "Status",
                "EmailTypePreference",
            ],
            Object::ListSubscriber => &[
                "Client.ID",
                "CreatedDate",
                "ModifiedDate",
                "ID",
                "ObjectID",
                "Status",
                "ListID",
                "SubscriberKey",
                "UnsubscribedDate",
            ],
            Object::List => &[
                "Client.ID",
                "ID",
                "ObjectID",
                "CustomerKey",
                "ListName",
                "Type",
            ],
            Object::BusinessUnit => &[
                "Client.ID",
                "ID",
                "ObjectID",
                "CustomerKey",
                "Name",
                "ParentID",
                "AccountType",
                "MasterUnsubscribeBehavior",
            ],
            Object::SubscriberStatusEvent => &[
                "Client.ID",
                "CreatedDate",
                "SubscriberID",
                "SubscriberKey",
                "CurrentStatus",
                "PreviousStatus",
                "ReasonUnsub",
            ],
        }
    }

    /// The property of this name in any case, unless a setting hides it.
    pub(super) fn property(self, state: &State, name: &str) -> Option<&'static str> {
        let mut known = self.properties().iter().copied();
        let known = known.find(|known| known.eq_ignore_ascii_case(name))?;
        let full = format!("{}.{known}", self.name());
        let mut hidden = state.settings.hidden_properties.iter();
        (!hidden.any(|hidden| hidden.eq_ignore_ascii_case(&full))).then_some(known)
    }
}

/// Where a row is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row {
    Subscriber(Place, Mid),
    /// Subscriber and id of the list.
    ListSubscriber(Place, u64),
    /// Id of the list.
    List(u64),
    Unit(Mid),
    /// Number in the feed, counted from its first event that is still known.
    Event(usize),
}

/// A value of a property.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    Time(DateTime<Utc>),
    Null,
}

/// Rows of these units, or of these subscribers only.
pub(super) fn rows(
    state: &State,
    object: Object,
    mids: &[Mid],
    only: Option<&[Place]>,
) -> Vec<Row> {
    let units = || mids.iter().filter_map(|mid| state.units.get(*mid));
    let places: Vec<Place> = match (object, only) {
        (Object::Subscriber | Object::ListSubscriber, Some(only)) => only.to_vec(),
        (Object::Subscriber | Object::ListSubscriber, None) => state.places().collect(),
        _ => Vec::new(),
    };
    let mut rows = Vec::new();
    match object {
        Object::Subscriber => {
            for place in places {
                let known = mids.iter().filter(|mid| state.knows(place, **mid));
                rows.extend(known.map(|mid| Row::Subscriber(place, *mid)));
            }
        }
        Object::ListSubscriber => {
            for place in places {
                for unit in units() {
                    let lists = [unit.all_subscribers, unit.letter];
                    let on = lists
                        .into_iter()
                        .filter(|list| on_list(state, place, unit, *list).is_some());
                    rows.extend(on.map(|list| Row::ListSubscriber(place, list)));
                }
            }
        }
        Object::List => {
            for unit in units() {
                rows.extend([unit.all_subscribers, unit.letter].map(Row::List));
            }
        }
        Object::BusinessUnit => rows.extend(units().map(|unit| Row::Unit(unit.mid))),
        Object::SubscriberStatusEvent => {
            let events = state.events.iter().enumerate();
            let within = events.filter(|(_, event)| mids.contains(&event.mid));
            rows.extend(within.map(|(number, _)| Row::Event(number)));
        }
    }
    rows
}

/// The status of a subscriber on a list of a unit; `None`: not on it.
fn on_list(state: &State, place: Place, unit: &Unit, list: u64) -> Option<Standing> {
    if list == unit.all_subscribers {
        return state.shown(place, unit.mid);
    }
    state.subscriber(place)?.lists.get(&list).copied()
}

/// A property of a row; `None` when the row is gone.
pub(super) fn value(state: &State, row: Row, property: &str) -> Option<Value> {
    let text = |text: &str| Value::Text(text.to_owned());
    let red = |standing: Standing| match standing.status {
        Status::Unsubscribed => Value::Time(standing.since),
        _ => Value::Null,
    };
    Some(match row {
        Row::Subscriber(place, mid) => {
            let one = state.subscriber(place)?;
            let standing = state.shown(place, mid)?;
            match property {
                "Client.ID" => Value::Number(mid),
                "CreatedDate" => Value::Time(standing.created),
                "ID" => Value::Number(one.id),
                "EmailAddress" => text(&one.address),
                "SubscriberKey" => text(&one.key),
                "UnsubscribedDate" => red(standing),
                "Status" => text(standing.status.name()),
                "EmailTypePreference" => text("HTML"),
                _ => Value::Null,
            }
        }
        Row::ListSubscriber(place, list) => {
            let one = state.subscriber(place)?;
            let unit = state.units.of_list(list)?;
            let standing = on_list(state, place, unit, list)?;
            match property {
                "Client.ID" => Value::Number(unit.mid),
                "CreatedDate" => Value::Time(standing.created),
                "ModifiedDate" => Value::Time(standing.since),
                "ID" => Value::Number(one.id),
                "ObjectID" => text(&object_id(list << 32 | one.id)),
                "Status" => text(standing.status.name()),
                "ListID" => Value::Number(list),
                "SubscriberKey" => text(&one.key),
                "UnsubscribedDate" => red(standing),
                _ => Value::Null,
            }
        }
        Row::List(list) => {
            let unit = state.units.of_list(list)?;
            let all = list == unit.all_subscribers;
            match property {
                "Client.ID" => Value::Number(unit.mid),
                "ID" => Value::Number(list),
                "ObjectID" => text(&object_id(list)),
                "CustomerKey" => text(&format!("{}_{list}", unit.mid)),
                "ListName" if all => text(ALL_SUBSCRIBERS),
                "ListName" => text(&format!("{} Letter", unit.name)),
                "Type" => text(if all { "Private" } else { "Public" }),
                _ => Value::Null,
            }
        }
        Row::Unit(mid) => {
            let unit = state.units.get(mid)?;
            let parent = mid == ENTERPRISE;
            match property {
                "Client.ID" | "ID" => Value::Number(mid),
                "ObjectID" => text(&object_id(mid)),
                "CustomerKey" => text(&mid.to_string()),
                "Name" => text(&unit.name),
                "ParentID" if parent => Value::Number(0),
                "ParentID" => Value::Number(ENTERPRISE),
                "AccountType" if parent => text("ENTERPRISE_2"),
                "AccountType" => text("BUSINESS_UNIT"),
                "MasterUnsubscribeBehavior" => text(unit.behavior.name()),
                _ => Value::Null,
            }
        }
        Row::Event(number) => {
            let event = state.events.get(number)?;
            match property {
                "Client.ID" => Value::Number(event.mid),
                "CreatedDate" => Value::Time(event.at),
                "SubscriberID" => Value::Number(event.subscriber),
                "SubscriberKey" => text(&event.key),
                "CurrentStatus" => text(event.to.event_name()),
                "PreviousStatus" => text(event.from.event_name()),
                "ReasonUnsub" if event.to == Status::Unsubscribed => text(&event.reason),
                _ => Value::Null,
            }
        }
    })
}

/// The row as `Results` with these properties; `None` when it is gone.
pub(super) fn render(
    state: &State,
    object: Object,
    row: Row,
    wanted: &[&'static str],
) -> Option<String> {
    let mut xml = format!("<Results xsi:type=\"{}\">", object.name());
    let all = object.properties().iter().copied();
    for property in all.filter(|property| wanted.contains(property)) {
        let text = match value(state, row, property)? {
            Value::Text(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Time(at) => Some(time(state, at)),
            Value::Null => None,
        };
        if property == "Client.ID" {
            xml.push_str("<Client>");
            xml.push_str(&tag("ID", text.as_deref()));
            xml.push_str("</Client>");
            continue;
        }
        xml.push_str(&tag(property, text.as_deref()));
    }
    // These two are in every object, asked for or not.
    for property in ["PartnerKey", "ObjectID"] {
        if !wanted.contains(&property) {
            xml.push_str(&tag(property, None));
        }
    }
    xml.push_str("</Results>");
    Some(xml)
}

/// A time as answers tell it.
pub(super) fn time(state: &State, at: DateTime<Utc>) -> String {
    let zone = zone(state);
    let at = zone.map_or(at.fixed_offset(), |zone| at.with_timezone(&zone));
    let form = if state.settings.times_with_zone {
        "%Y-%m-%dT%H:%M:%S%:z"
    } else {
        "%Y-%m-%dT%H:%M:%S"
    };
    at.format(form).to_string()
}

/// The zone of times that do not say theirs.
pub(super) fn zone(state: &State) -> Option<FixedOffset> {
    FixedOffset::east_opt(state.settings.utc_offset_secs)
}

fn object_id(number: u64) -> String {
    format!("{:08x}-0000-4000-8000-{:012x}", number >> 32, number)
}
