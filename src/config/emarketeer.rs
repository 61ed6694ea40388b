//! The checks of `kind = "emarketeer"`.
//!
//! The vendor's schema is not public, so every name that had to be guessed can be set. The defaults
//! are the ones that public sources make likely.

use super::build::is_loopback;
use super::checked::SystemKind;
use super::keys;
use super::platform::stand_in_url;
use super::raw::Table;
use super::secret::{self, SecretReader};
use super::system::{Vendor, granted_bases, limits, seconds};
use crate::connector::emarketeer::config::{
    Auth, BasisNames, ConsentApi, ConsentQuery, ContactApi, ContactFields, ContactQuery,
    CreateBody, FeedMode, Legacy, ListShape, PurposeNames, RecordFields, References, Scheme,
    Settings, SourceNames,
};
use crate::connector::emarketeer::wire::node::Pointer;
use crate::consent::{Basis, Polarity, Purposes};
use secrecy::SecretSlice;
use url::Url;

/// Host of the consent module (API endpoints overview).
const CONSENT_BASE: &str = "https://prod-apigw.emarketeer.com";
/// Host and path of the contact module (API endpoints overview).
const CONTACT_BASE: &str = "https://connect.emarketeer.com/contacts-api";
/// Where API 1.0 is (Legacy API 1.0 docs).
const LEGACY_BASE: &str = "https://app.emarketeer.com/api";
/// What the account may call the purposes of these names.
const PURPOSES: &[(&str, &[&str])] = &[
    (
        "marketing",
        &["Marketing sendouts", "Emarketing", "E-marketing"],
    ),
    ("store", &["Store and process", "Store data", "Store"]),
];
/// What it may call the legal bases (how does consent work).
const BASES: &[(&str, &[&str])] = &[
    ("consent", &["Consent"]),
    ("contract", &["Contract"]),
    ("legal-obligation", &["Required by law", "Legal obligation"]),
    (
        "vital-interests",
        &["Protect vital interests", "Vital interests"],
    ),
    (
        "public-task",
        &["Public interests", "Public interest", "Public task"],
    ),
    (
        "legitimate-interests",
        &["Legitimate interest", "Legitimate interests"],
    ),
];
const WITHDRAWN: &[&str] = &["Withdrawn"];
const NONE: &[&str] = &["None", "Missing"];
/// Sources that our own records may get, if the account has one of them.
const OWN_SOURCES: &[&str] = &["consentd", "Integration", "Other integration", "API"];
/// Sources that stand for acts of the persons themselves.
const PERSON_SOURCES: &[&str] = &[
    "Web form",
    "Form",
    "Landing page",
    "Unsubscribe link",
    "Subscription centre",
    "Subscription center",
    "Spam complaint",
    "Double opt-in",
];
/// Characters that addresses may not have (API 1.0, "Email").
const REFUSED_CHARACTERS: &str = "!#$%*/?^`{|}~";

pub(super) fn settings(
    table: &Table<'_>,
    name: &str,
    purposes: &Purposes,
    secrets: &dyn SecretReader,
    id_key: &SecretSlice<u8>,
) -> Vendor {
    let lag = seconds(table, "lag_secs", 5, 0..=3_600);
    let feed = table
        .word(
            "feed",
            &[
                ("auto", FeedMode::Auto),
                ("filter", FeedMode::Filter),
                ("contacts", FeedMode::Contacts),
                ("full", FeedMode::Full),
            ],
        )
        .unwrap_or_default();
    let full_interval = seconds(table, "full_interval_secs", 300, 10..=86_400);
    let names = purpose_names(table, purposes);
    let carries = names
        .iter()
        .map(|names| (names.purpose, Polarity::Recorded))
        .collect();
    let granted_bases = granted_bases(purposes, names.iter().map(|names| names.purpose));
    let settings = Settings {
        limits: limits(table, name),
        auth: auth(table, secrets),
        id_key: id_key.clone(),
        consent: consent(&table.table("consent", keys::EMARKETEER_CONSENT)),
        contact: contact(&table.table("contact", keys::EMARKETEER_CONTACT)),
        legacy: legacy(&table.table("legacy", keys::EMARKETEER_LEGACY), secrets),
        purposes: names,
        bases: bases(&table.table("legal_bases", keys::EMARKETEER_BASES)),
        granted_bases,
        sources: SourceNames {
            own: match table.text("source") {
                Some(source) => vec![source],
                None => owned(OWN_SOURCES),
            },
            person: texts_or(table, "person_sources", PERSON_SOURCES),
            bulk: table.texts("bulk_actors").into_iter().collect(),
        },
        refused_characters: table.text_or("refused_characters", REFUSED_CHARACTERS),
        feed,
        page_rows: table.number_or("page_rows", "rows", 1_000, 2..=10_000) as usize,
        overlap: seconds(table, "overlap_secs", 300, 0..=86_400),
        lag,
        sweep_interval: seconds(table, "sweep_interval_secs", 3_600, 60..=604_800),
        full_interval,
    };
    Vendor {
        lag: if feed == FeedMode::Full {
            full_interval
        } else {
            lag
        },
        carries,
        kind: SystemKind::Emarketeer(Box::new(settings)),
        link: None,
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn texts_or(table: &Table<'_>, key: &str, default: &[&str]) -> Vec<String> {
    if table.item(key).is_some() {
        table.texts(key)
    } else {
        owned(default)
    }
}

fn purpose_names(table: &Table<'_>, purposes: &Purposes) -> Vec<PurposeNames> {
    let given = table.named("purposes");
    if table.item("purposes").is_none() {
        let known = PURPOSES.iter().filter_map(|(name, candidates)| {
            Some(PurposeNames {
                purpose: purposes.find(name)?,
                name: (*name).to_owned(),
                candidates: owned(candidates),
            })
        });
        let known: Vec<_> = known.collect();
        if known.is_empty() && !purposes.is_empty() {
            table.fault(
                "purposes",
                "is missing; add the table with each purpose and what the account calls it, e.g. \
                 marketing = [\"Marketing sendouts\"]",
            );
        }
        return known;
    }
    if given.is_empty() {
        table.fault("purposes", "must list at least one purpose");
    }
    let mut names = Vec::new();
    for (name, item) in given {
        let candidates = item.texts().unwrap_or_default();
        if candidates.is_empty() {
            table.notes.add(
                &item.path,
                "must list what the account calls it, e.g. [\"Marketing sendouts\"]",
            );
        }
        match purposes.find(&name) {
            Some(purpose) => names.push(PurposeNames {
                purpose,
                name,
                candidates,
            }),
            // Without any purpose the list itself is at fault, which is noted there.
            None if purposes.is_empty() => {}
            None => table.notes.add(
                &item.path,
                format!("purpose {name:?} is not listed under [[purposes]]; add it there"),
            ),
        }
    }
    names
}

fn bases(table: &Table<'_>) -> BasisNames {
    let positive = BASES
        .iter()
        .map(|(word, names)| (Basis::from_word(word), texts_or(table, word, names)))
        .collect();
    BasisNames {
        positive,
        withdrawn: texts_or(table, "withdrawn", WITHDRAWN),
        none: texts_or(table, "none", NONE),
    }
}

fn auth(table: &Table<'_>, secrets: &dyn SecretReader) -> Auth {
    let auth = table.table("auth", keys::EMARKETEER_AUTH);
    if !auth.is_given() && table.item("auth").is_none() {
        table.fault("auth", "is missing; add the table with key_file");
        return Auth {
            scheme: Scheme::default(),
            consent: String::new().into(),
            contact: String::new().into(),
        };
    }
    let own = |key: &str| secret::text(&auth, key, secrets);
    let (consent, contact) = (own("consent_key"), own("contact_key"));
    let default = if consent.is_some() && contact.is_some() {
        own("key").unwrap_or_default()
    } else {
        secret::text_required(&auth, "key", "the account's API key", secrets)
    };
    Auth {
        scheme: auth
            .word(
                "scheme",
                &[("x-api-key", Scheme::ApiKey), ("bearer", Scheme::Bearer)],
            )
            .unwrap_or_default(),
        consent: consent.unwrap_or_else(|| default.clone()),
        contact: contact.unwrap_or(default),
    }
}

fn consent(table: &Table<'_>) -> ConsentApi {
    let base = base_url(table, CONSENT_BASE);
    let url = |key: &str, path: &str| endpoint(table, &base, key, path);
    let query = table.table("query", keys::EMARKETEER_CONSENT_QUERY);
    let fields = table.table("fields", keys::EMARKETEER_CONSENT_FIELDS);
    let items = table.table("items", keys::EMARKETEER_ITEMS);
    let body = table.table("body", keys::EMARKETEER_BODY);
    ConsentApi {
        list: url("list", "/consent-public/v1/consents"),
        filter: url("filter", "/consent-public/v1/consents/filter"),
        history: (table.text("history").as_deref() != Some("none"))
            .then(|| url("history", "/consent-public/v1/consents/history")),
        create: url("create", "/consent-public/v1/consents"),
        purposes: url("purposes", "/consent-public/v1/purposes"),
        legal_bases: url("legal_bases", "/consent-public/v1/legalBases"),
        sources: url("sources", "/consent-public/v1/sources"),
        query: ConsentQuery {
            key: query.text_or("key", "key"),
            purpose: query.text_or("purpose", "purposeId"),
            since: query.text_or("since", "createdFrom"),
            limit: query.text_or("limit", "limit"),
            offset: query.text_or("offset", "offset"),
        },
        lists: list_shape(table),
        record: RecordFields {
            id: places(&fields, "id", &["/id"]),
            key: places(&fields, "key", &["/key", "/email"]),
            purpose: places(
                &fields,
                "purpose",
                &["/purposeId", "/purpose/id", "/purpose"],
            ),
            legal_basis: places(
                &fields,
                "legal_basis",
                &["/legalBasisId", "/legalBasis/id", "/legalBasis"],
            ),
            source: places(&fields, "source", &["/sourceId", "/source/id", "/source"]),
            comment: places(&fields, "comment", &["/text", "/comment", "/description"]),
            changed_at: places(
                &fields,
                "changed_at",
                &["/createdAt", "/created", "/timestamp"],
            ),
        },
        item_id: places(&items, "id", &["/id"]),
        item_name: places(&items, "name", &["/name", "/title"]),
        body: CreateBody {
            key: place(&body, "key", "/key"),
            purpose: place(&body, "purpose", "/purposeId"),
            legal_basis: place(&body, "legal_basis", "/legalBasisId"),
            source: place(&body, "source", "/sourceId"),
            comment: place(&body, "comment", "/text"),
            references: body
                .word(
                    "references",
                    &[("id", References::Id), ("name", References::Name)],
                )
                .unwrap_or_default(),
        },
    }
}

fn contact(table: &Table<'_>) -> ContactApi {
    let base = base_url(table, CONTACT_BASE);
    let query = table.table("query", keys::EMARKETEER_CONTACT_QUERY);
    let fields = table.table("fields", keys::EMARKETEER_CONTACT_FIELDS);
    ContactApi {
        list: endpoint(table, &base, "list", "/v1/contacts"),
        query: ContactQuery {
            email: query.text_or("email", "email"),
            created_since: query.text_or("created_since", "createdFrom"),
            modified_since: query.text_or("modified_since", "modifiedFrom"),
            limit: query.text_or("limit", "limit"),
            offset: query.text_or("offset", "offset"),
        },
        lists: list_shape(table),
        fields: ContactFields {
            email: places(&fields, "email", &["/email", "/emailAddress"]),
            created: places(
                &fields,
                "created",
                &["/createdAt", "/created", "/creationDate"],
            ),
            modified: places(
                &fields,
                "modified",
                &[
                    "/modifiedAt",
                    "/modified",
                    "/modificationDate",
                    "/updatedAt",
                ],
            ),
        },
    }
}

fn legacy(table: &Table<'_>, secrets: &dyn SecretReader) -> Option<Legacy> {
    table.is_given().then(|| Legacy {
        base_url: base_url(table, LEGACY_BASE),
        api_id: secret::text_required(table, "api_id", "the account's id for API 1.0", secrets),
    })
}

fn list_shape(table: &Table<'_>) -> ListShape {
    ListShape {
        rows: places(table, "lists", &["", "/items", "/data", "/results"]),
        total: places(table, "totals", &["/paging/total", "/total"]),
    }
}

fn places(table: &Table<'_>, key: &str, default: &[&str]) -> Vec<Pointer> {
    let given = texts_or(table, key, default);
    let read = |text: &String| {
        // An empty text is refused as such, so the whole answer is written as a lone slash.
        let pointer = Pointer::parse(if text == "/" { "" } else { text });
        if pointer.is_none() {
            table.fault(
                key,
                format!("{text:?} is no place in a JSON text; write it as in \"/purpose/id\""),
            );
        }
        pointer
    };
    let places: Vec<Pointer> = given.iter().filter_map(read).collect();
    if given.is_empty() {
        table.fault(key, "must list at least one place, e.g. [\"/id\"]");
    }
    places
}

fn place(table: &Table<'_>, key: &str, default: &str) -> Pointer {
    let text = table.text_or(key, default);
    let place = Pointer::parse(&text).filter(|place| !place.tokens().is_empty());
    if place.is_none() {
        table.fault(
            key,
            format!("{text:?} is no place in a JSON text; write it as in \"/purpose/id\""),
        );
    }
    place.unwrap_or_else(|| Pointer::to(&["unset"]))
}

fn base_url(table: &Table<'_>, default: &str) -> Url {
    let given = table.text_or("base_url", default);
    let fault = |what: &str| {
        table.fault("base_url", format!("{what}, e.g. {default}"));
    };
    let parsed = Url::parse(&given).ok();
    match &parsed {
        None => fault("is no valid address"),
        Some(url) => {
            let bare = url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none();
            if !matches!(url.scheme(), "https" | "http") || url.host().is_none() || !bare {
                fault("must be scheme, host and path only");
            } else if url.scheme() == "http" && !is_loopback(url.host().as_ref()) {
                fault("must begin with https; plain http is for this machine only");
            }
        }
    }
    parsed.unwrap_or_else(stand_in_url)
}

fn endpoint(table: &Table<'_>, base: &Url, key: &str, default: &str) -> Url {
    let path = table.text_or(key, default);
    let good = path.starts_with('/')
        && !path.contains("//")
        && path.bytes().all(|byte| byte.is_ascii_graphic())
        && !path.contains(['?', '#']);
    if !good {
        table.fault(
            key,
            format!("must be a path behind base_url, e.g. {default}, but is {path:?}"),
        );
    }
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}
