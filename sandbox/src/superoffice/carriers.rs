//! The JSON of entities, as the OpenAPI files define them (`SuperOffice.CRM.Services.*`).
//!
//! Every carrier has `TableRight` and `FieldProperties`, which say nothing here.

use serde_json::{Map, Value, json};

use super::http::Asker;
use super::lists::{Item, Kind};
use super::state::{Consent, Person, State};

/// Text that stands for a record until a raw text replaces it.
pub(crate) fn raw_mark(name: &str) -> String {
    format!("raw:{}", name.to_ascii_lowercase())
}

/// A value, or the mark of the raw text that is to replace it.
pub(crate) fn or_raw(state: &State, name: &str, value: Value) -> Value {
    if state.faults.raw_named(name).is_some() {
        Value::String(raw_mark(name))
    } else {
        value
    }
}

fn rights(mut carrier: Value) -> Value {
    carrier["TableRight"] = Value::Null;
    carrier["FieldProperties"] = json!({});
    carrier
}

/// `Associate`.
pub(crate) fn associate(state: &State, id: i64) -> Value {
    match state.associate(id) {
        Some(associate) => rights(json!({
            "AssociateId": id,
            "Name": associate.name,
            "PersonId": 0,
            "Rank": 0,
            "Tooltip": "",
            "Type": "InternalAssociate",
            "GroupIdx": 1,
            "FullName": associate.full_name,
            "FormalName": associate.full_name,
            "Deleted": false,
            "EjUserId": 0,
            "UserName": null,
        })),
        None => Value::Null,
    }
}

struct Named<'s> {
    id: i64,
    key: std::borrow::Cow<'s, str>,
    name: std::borrow::Cow<'s, str>,
}

fn named<'s>(state: &'s State, kind: Kind, id: i64, asker: &Asker) -> Named<'s> {
    match state.item(kind, id) {
        Some(item) => Named {
            id,
            key: item.shown_key(kind, state.settings.legacy_keys),
            name: item.name.show(asker.language),
        },
        None => Named {
            id,
            key: "".into(),
            name: "".into(),
        },
    }
}

/// `ConsentInfo`.
pub(crate) fn consent_info(state: &State, consent: &Consent, asker: &Asker) -> Value {
    let base = named(state, Kind::Base, consent.base, asker);
    let purpose = named(state, Kind::Purpose, consent.purpose, asker);
    let source = named(state, Kind::Source, consent.source, asker);
    let info = rights(json!({
        "ConsentPersonId": consent.id,
        "Comment": consent.comment,
        "Registered": asker.time(Some(consent.registered)),
        "RegisteredAssociateId": consent.registered_by,
        "Updated": asker.time(consent.updated),
        "UpdatedAssociateId": consent.updated_by,
        "LegalBaseId": base.id,
        "LegalBaseKey": base.key,
        "LegalBaseName": base.name,
        "ConsentPurposeId": purpose.id,
        "ConsentPurposeKey": purpose.key,
        "ConsentPurposeName": purpose.name,
        "ConsentSourceId": source.id,
        "ConsentSourceKey": source.key,
        "ConsentSourceName": source.name,
    }));
    or_raw(state, &format!("consentperson:{}", consent.id), info)
}

/// `ConsentInfo` of all consents of a person.
pub(crate) fn consent_infos(state: &State, person: i64, asker: &Asker) -> Value {
    state
        .consents_of(person)
        .map(|consent| consent_info(state, consent, asker))
        .collect()
}

/// `ConsentPurpose`, `LegalBase` or `ConsentSource`.
pub(crate) fn list_item(state: &State, kind: Kind, item: &Item, asker: &Asker) -> Value {
    let key = item.shown_key(kind, state.settings.legacy_keys);
    let name = item.name.show(asker.language);
    rights(match kind {
        Kind::Purpose => json!({
            "ConsentPurposeId": item.id,
            "Name": name,
            "ConsentText": item.consent_text,
            "FormText": item.form_text,
            "Key": key,
            "Tooltip": item.tooltip,
            "Active": i32::from(item.active),
            "UpdatedDate": asker.time(item.updated),
            "UpdatedBy": associate(state, item.updated_by),
            "Deleted": item.deleted,
            "Rank": item.rank,
            "PrivacyStatementDesc": item.privacy_desc,
            "PrivacyStatementUrl": item.privacy_url,
        }),
        Kind::Base => json!({
            "LegalBaseId": item.id,
            "Name": name,
            "Tooltip": item.tooltip,
            "Rank": item.rank,
            "Key": key,
            "Deleted": item.deleted,
        }),
        Kind::Source => json!({
            "ConsentSourceId": item.id,
            "Name": name,
            "Tooltip": item.tooltip,
            "Rank": item.rank,
            "Key": key,
            "MailTemplateId": item.mail_template,
            "Deleted": item.deleted,
        }),
    })
}

/// An item of a plain list, which has no key.
pub(crate) fn plain_item(item: &Item, asker: &Asker) -> Value {
    rights(json!({
        "Id": item.id,
        "Name": item.name.show(asker.language),
        "Tooltip": item.tooltip,
        "Deleted": item.deleted,
        "Rank": item.rank,
    }))
}

/// `MDOListItem` or `SelectableMDOListItem`.
pub(crate) fn mdo_item(item: &Item, asker: &Asker, selected: Option<bool>) -> Value {
    let mut carrier = json!({
        "Id": item.id,
        "Name": item.name.show(asker.language),
        "ToolTip": item.tooltip,
        "Deleted": item.deleted,
        "Rank": item.rank,
        "Type": null,
        "ColorBlock": 0,
        "IconHint": null,
    });
    if let Some(selected) = selected {
        carrier["Selected"] = json!(selected);
        carrier["LastChanged"] = json!(asker.time(None));
    }
    carrier["ChildItems"] = json!([]);
    carrier["ExtraInfo"] = Value::Null;
    carrier["StyleHint"] = Value::Null;
    carrier["FullName"] = Value::Null;
    rights(carrier)
}

/// `FullName` as most tenants show it.
pub(crate) fn full_name(first: &str, last: &str) -> String {
    format!("{first} {last}").trim().to_owned()
}

fn shipment_types(state: &State, unwanted: &[i64], asker: &Asker) -> Value {
    let types = state.shipment_types.iter();
    types
        .map(|item| mdo_item(item, asker, Some(!unwanted.contains(&item.id))))
        .collect()
}

/// `PersonEntity` with `_Links`.
pub(crate) fn person(state: &State, person: &Person, asker: &Asker) -> Value {
    let emails: Vec<Value> = person
        .emails
        .iter()
        .filter_map(|id| state.emails.get(id))
        .map(|email| {
            json!({
                "Value": email.address,
                "StrippedValue": email.address.trim().to_lowercase(),
                "Description": email.description,
            })
        })
        .collect();
    let contact = state
        .contacts
        .get(&person.contact)
        .map(|company| json!({"ContactId": person.contact, "Name": company.name}));
    let unwanted: Vec<i64> = state
        .reservations_of(person.id)
        .map(|(_, row)| row.shipment_type)
        .collect();
    let mut entity = json!({
        "PersonId": person.id,
        "Firstname": person.first,
        "MiddleName": "",
        "Lastname": person.last,
        "Mrmrs": "",
        "Title": "",
        "UpdatedDate": asker.time(person.updated),
        "CreatedDate": asker.time(Some(person.registered)),
        "BirthDate": asker.time(None),
        "CreatedBy": associate(state, person.registered_by),
        "Emails": emails,
        "Description": "",
        "IsAssociate": false,
        "PrivatePhones": [],
        "Faxes": [],
        "MobilePhones": [],
        "OfficePhones": [],
        "OtherPhones": [],
        "UpdatedBy": associate(state, person.updated_by),
        "Contact": contact,
        "PersonNumber": person.id.to_string(),
        "FullName": full_name(&person.first, &person.last),
        "NoMailing": person.no_mailing,
        "UsePersonAddress": false,
        "Retired": person.retired,
        "Urls": [],
        "FormalName": full_name(&person.first, &person.last),
        "ShipmentTypes": shipment_types(state, &unwanted, asker),
        "Consents": consent_infos(state, person.id, asker),
        "BounceEmails": [],
    });
    entity["TableRight"] = Value::Null;
    entity["FieldProperties"] = json!({});
    let base = state.base();
    entity["_Links"] = json!({
        "Self": format!("{base}/v1/Person/{}/", person.id),
        "Self.Simple": format!("{base}/v1/Person/{}/Simple/", person.id),
        "Contact": format!("{base}/v1/Contact/{}/", person.contact),
    });
    or_raw(state, &format!("person:{}", person.id), entity)
}

/// `PersonEntity` of a person that is yet to be saved, with the consent that it would get.
pub(crate) fn default_person(state: &State, asker: &Asker) -> Value {
    let mut consents = Vec::new();
    if state.settings.consent_for_new {
        let none = Consent {
            id: 0,
            person: 0,
            purpose: super::lists::STORE,
            base: super::lists::LEGITIMATE,
            source: super::lists::USER,
            comment: String::new(),
            registered: chrono::DateTime::UNIX_EPOCH,
            registered_by: 0,
            updated: None,
            updated_by: 0,
            updated_count: 0,
        };
        let mut info = consent_info(state, &none, asker);
        info["Registered"] = json!(asker.time(None));
        consents.push(info);
    }
    rights(json!({
        "PersonId": 0,
        "Firstname": "",
        "MiddleName": "",
        "Lastname": "",
        "UpdatedDate": asker.time(None),
        "CreatedDate": asker.time(None),
        "Emails": [],
        "Contact": null,
        "FullName": "",
        "NoMailing": false,
        "Retired": false,
        "ShipmentTypes": shipment_types(state, &[], asker),
        "Consents": consents,
    }))
}

/// `ConsentPerson`, the carrier of agents, which has no times. `bare`: without names and keys, as after a save.
pub(crate) fn consent_person(
    state: &State,
    consent: Option<&Consent>,
    bare: bool,
    asker: &Asker,
) -> Value {
    let part = |kind: Kind, id: i64| {
        let known = state.item(kind, id);
        match known {
            Some(item) if !bare => list_item(state, kind, item, asker),
            _ => {
                let mut carrier = Map::new();
                carrier.insert(format!("{}Id", kind.path()), json!(id));
                carrier.insert("Name".to_owned(), Value::Null);
                carrier.insert("Key".to_owned(), Value::Null);
                rights(Value::Object(carrier))
            }
        }
    };
    rights(json!({
        "ConsentPersonId": consent.map_or(0, |consent| consent.id),
        "PersonId": consent.map_or(0, |consent| consent.person),
        "Comment": consent.map_or("", |consent| consent.comment.as_str()),
        "ConsentSource": part(Kind::Source, consent.map_or(0, |consent| consent.source)),
        "LegalBase": part(Kind::Base, consent.map_or(0, |consent| consent.base)),
        "ConsentPurpose": part(Kind::Purpose, consent.map_or(0, |consent| consent.purpose)),
    }))
}
