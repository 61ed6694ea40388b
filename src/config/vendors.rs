//! The checks of what differs between the kinds: where each of them holds consent.

use super::checked::{Link, SystemKind};
use super::raw::Table;
use super::secret::SecretReader;
use super::system::{Vendor, api_name, purpose};
use super::{keys, platform};
use crate::connector::ascend::config::{self as ascend_config, Mode, ServiceIndicator};
use crate::connector::salesforce::config::{Field, PlatformSettings, Settings};
use crate::consent::{Polarity, Purposes};
use chrono_tz::Tz;

/// The standard flag of the Contact object (R45).
const SALESFORCE_OPT_OUT: &str = "HasOptedOutOfEmail";
/// The constituent id of the package (public sources).
const ASCEND_ID: &str = "ucinn_ascendv2__Donor_ID__c";

/// The checks of `kind = "salesforce"`.
pub(super) fn salesforce(
    table: &Table<'_>,
    name: &str,
    purposes: &Purposes,
    secrets: &dyn SecretReader,
) -> Vendor {
    let platform = platform::settings(table, name, secrets);
    let (fields, link_field) = salesforce_fields(&table.table("fields", keys::FIELDS), purposes);
    Vendor {
        lag: platform.lag,
        carries: fields
            .iter()
            .map(|field| (field.purpose, field.polarity))
            .collect(),
        kind: SystemKind::Salesforce(Box::new(Settings {
            platform,
            fields,
            link_field,
        })),
        link: None,
    }
}

/// The checks of `kind = "ascend"`.
pub(super) fn ascend(
    table: &Table<'_>,
    name: &str,
    purposes: &Purposes,
    time_zone: Option<Tz>,
    secrets: &dyn SecretReader,
) -> Vendor {
    let platform = platform::settings(table, name, secrets);
    let lag = platform.lag;
    let (settings, link) = ascend_settings(table, platform, purposes, time_zone);
    let polarity = match &settings.mode {
        Mode::ContactFlag { polarity, .. } => *polarity,
        Mode::ServiceIndicator(_) => Polarity::OptOut,
    };
    Vendor {
        lag,
        carries: vec![(settings.purpose, polarity)],
        kind: SystemKind::Ascend(Box::new(settings)),
        link,
    }
}

fn salesforce_fields(table: &Table<'_>, purposes: &Purposes) -> (Vec<Field>, Option<String>) {
    let master = purpose(
        table,
        "opt_out_purpose",
        &table.text_or("opt_out_purpose", "marketing"),
        purposes,
    );
    let opt_out = api_name(
        table,
        "opt_out",
        table.text_or("opt_out", SALESFORCE_OPT_OUT),
    );
    let mut fields = vec![Field {
        purpose: master,
        name: opt_out,
        polarity: Polarity::OptOut,
    }];
    for (category, item) in table.named("preferences") {
        let key = format!("preferences.{category:?}");
        let note = |what: String| table.notes.add(&item.path, what);
        let Some(text) = item.text() else {
            continue;
        };
        let name = api_name(table, &key, text.to_owned());
        let Some(id) = purposes.find(&category) else {
            if !purposes.is_empty() {
                note(format!(
                    "purpose {category:?} is not listed under [[purposes]]; add it there"
                ));
            }
            continue;
        };
        if !purposes.ancestors(id).any(|ancestor| ancestor == master) {
            note(format!(
                "{category:?} is no category below {:?}, the purpose of the opt-out flag",
                purposes.name(master)
            ));
        }
        if let Some(taken) = fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(&name))
        {
            note(format!(
                "field {name} holds {:?} already",
                purposes.name(taken.purpose)
            ));
        }
        fields.push(Field {
            purpose: id,
            name,
            polarity: Polarity::Permission,
        });
    }
    let link = table.text("link").map(|name| api_name(table, "link", name));
    if let Some(taken) = link
        .as_ref()
        .and_then(|link| fields.iter().find(|field| field.name == *link))
    {
        table.fault(
            "link",
            format!(
                "field {} holds {:?} already",
                taken.name,
                purposes.name(taken.purpose)
            ),
        );
    }
    (fields, link)
}

fn ascend_settings(
    table: &Table<'_>,
    platform: PlatformSettings,
    purposes: &Purposes,
    time_zone: Option<Tz>,
) -> (ascend_config::Settings, Option<Link>) {
    // The other transport is checked elsewhere.
    table.word_required("transport", &[("platform", ()), ("file", ())]);
    if table.item("file").is_some() {
        table.fault(
            "file",
            "has no meaning with transport \"platform\"; remove the table, or set transport = \"file\"",
        );
    }
    if table.item("time_zone").is_none() {
        table.fault(
            "time_zone",
            "is missing; set it to the org's time zone, e.g. \"America/Denver\"",
        );
    }
    let opt_out = table.table("opt_out", keys::OPT_OUT);
    if table.item("opt_out").is_none() {
        table.fault(
            "opt_out",
            "is missing; add the table with mode and polarity",
        );
    }
    let link = table.table("link", keys::LINK);
    let id_field = api_name(&link, "field", link.text_or("field", ASCEND_ID));
    let far = link.is_given().then(|| Link {
        field: id_field.clone(),
        system: link.text_required("system", "the name of the system that holds the Ascend id"),
        system_field: api_name(
            &link,
            "system_field",
            link.text_required("system_field", "the API name of the field there"),
        ),
    });
    let settings = ascend_config::Settings {
        platform,
        object: api_name(table, "object", table.text_or("object", "Contact")),
        id_field,
        address_field: api_name(
            table,
            "address_field",
            table.text_or("address_field", "Email"),
        ),
        purpose: purpose(
            &opt_out,
            "purpose",
            &opt_out.text_or("purpose", "marketing"),
            purposes,
        ),
        mode: if opt_out.is_given() {
            ascend_mode(&opt_out)
        } else {
            stand_in_mode()
        },
        time_zone: time_zone.unwrap_or(Tz::UTC),
    };
    (settings, far)
}

fn stand_in_mode() -> Mode {
    Mode::ContactFlag {
        field: String::new(),
        polarity: Polarity::OptOut,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ModeKind {
    ContactFlag,
    ServiceIndicator,
}

fn ascend_mode(table: &Table<'_>) -> Mode {
    let polarity = table.word(
        "polarity",
        &[
            ("opt-out", Polarity::OptOut),
            ("permission", Polarity::Permission),
        ],
    );
    if table.item("polarity").is_none() {
        table.fault(
            "polarity",
            "is missing, and there is no default, because a guess would reverse everybody's consent: set \
             \"opt-out\" if a set value means \"do not mail\", or \"permission\" if a set value means \
             \"may be mailed\"",
        );
    }
    let indicator = table.table("service_indicator", keys::SERVICE_INDICATOR);
    match table.word_required(
        "mode",
        &[
            ("contact-flag", ModeKind::ContactFlag),
            ("service-indicator", ModeKind::ServiceIndicator),
        ],
    ) {
        None => stand_in_mode(),
        Some(ModeKind::ContactFlag) => {
            if indicator.is_given() {
                table.fault(
                    "service_indicator",
                    "has no meaning with mode \"contact-flag\"; remove it",
                );
            }
            let field = table.text_required("field", "the API name of the flag");
            Mode::ContactFlag {
                field: api_name(table, "field", field),
                polarity: polarity.unwrap_or(Polarity::OptOut),
            }
        }
        Some(ModeKind::ServiceIndicator) => {
            if table.item("field").is_some() {
                table.fault(
                    "field",
                    "has no meaning with mode \"service-indicator\"; remove it",
                );
            }
            if polarity == Some(Polarity::Permission) {
                table.fault(
                    "polarity",
                    "must be \"opt-out\": an active indicator means \"do not mail\"",
                );
            }
            Mode::ServiceIndicator(service_indicator(&indicator))
        }
    }
}

/// The defaults are the names seen in public sources; `check --live` asks the org for each of them.
fn service_indicator(table: &Table<'_>) -> ServiceIndicator {
    let name = |key: &str, default: &str| api_name(table, key, table.text_or(key, default));
    let code = table.text_or("code", "NE");
    let also_blocking = if table.item("also_blocking").is_some() {
        table.texts("also_blocking")
    } else {
        vec!["NC".to_owned()]
    };
    for (key, code) in also_blocking
        .iter()
        .map(|code| ("also_blocking", code))
        .chain([("code", &code)])
    {
        if code.len() > 40
            || !code
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_ ".contains(c))
        {
            table.fault(
                key,
                format!("{code:?} is no code: letters, digits, '-', '_' and spaces, at most 40"),
            );
        }
    }
    if also_blocking.contains(&code) {
        table.fault(
            "also_blocking",
            format!("must not hold {code:?}, the code that consentd writes itself"),
        );
    }
    ServiceIndicator {
        object: name("object", "ucinn_ascendv2__Service_Indicator__c"),
        contact_field: name("contact_field", "ucinn_ascendv2__Contact__c"),
        value_field: name("value_field", "ucinn_ascendv2__Service_Indicator_Value__c"),
        value_object: name("value_object", "ucinn_ascendv2__Service_Indicator_Value__c"),
        code_field: name("code_field", "ucinn_ascendv2__Code__c"),
        code,
        also_blocking,
        active_field: name("active_field", "ucinn_ascendv2__Is_Active__c"),
        start_field: name("start_field", "ucinn_ascendv2__Start_Date__c"),
        end_field: name("end_field", "ucinn_ascendv2__End_Date__c"),
        comment_field: table
            .text("comment_field")
            .map(|field| api_name(table, "comment_field", field)),
    }
}
