//! The three lists of consent and the types of mailing, with their keys and names.
//!
//! Keys of built-in items are from the vendor's `GdprPurposes`, `GdprLegalBases` and `GdprSources`, ids and names from
//! its demonstration database. Names are stored in several languages: one text such as `US:"Consent";NO:"Samtykke"`,
//! from which a client that sends a language header gets its part.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

/// Id of the purpose "Sales and service".
pub(crate) const STORE: i64 = 1;
/// Id of the purpose "E-marketing".
pub(crate) const EMARKETING: i64 = 2;
/// Id of the legal base "Consent" (61A).
pub(crate) const CONSENT: i64 = 1;
/// Id of the legal base "Legitimate interest" (61F).
pub(crate) const LEGITIMATE: i64 = 6;
/// Id of the legal base "Withdrawn".
pub(crate) const WITHDRAWN: i64 = 7;
/// Id of the source "Created by user".
pub(crate) const USER: i64 = 1;
/// Id of the source "E-mail".
pub(crate) const EMAIL: i64 = 2;
/// Id of the source "Web form".
pub(crate) const WEBFORM: i64 = 5;
/// Id of the source "Import".
pub(crate) const IMPORT: i64 = 7;
/// Id of the source "Unknown".
pub(crate) const UNKNOWN: i64 = 9;
/// Most items of one list.
pub(crate) const MAX_ITEMS: usize = 1_000;

/// The lists that have keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Purpose,
    Base,
    Source,
}

impl Kind {
    /// Name of the list in paths.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Kind::Purpose => "ConsentPurpose",
            Kind::Base => "LegalBase",
            Kind::Source => "ConsentSource",
        }
    }

    /// The list with this name in a path, in any case.
    pub(crate) fn of_path(name: &str) -> Option<Kind> {
        [Kind::Purpose, Kind::Base, Kind::Source]
            .into_iter()
            .find(|kind| kind.path().eq_ignore_ascii_case(name))
    }

    /// Number of the table in the transaction log.
    pub(crate) fn table_number(self) -> i64 {
        match self {
            Kind::Purpose => 468,
            Kind::Base => 469,
            Kind::Source => 470,
        }
    }
}

/// A text in several languages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names(Vec<(String, String)>);

impl Names {
    fn built_in(names: &[(&str, &str)]) -> Names {
        let owned = |(code, text): &(&str, &str)| ((*code).to_owned(), (*text).to_owned());
        Names(names.iter().map(owned).collect())
    }

    /// Reads `US:"…";NO:"…"`; any other text is one name for all languages.
    pub(crate) fn parse(text: &str) -> Names {
        let mut names = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let part = rest
                .split_once(":\"")
                .and_then(|(code, tail)| Some((code, tail.split_once('"')?)));
            let Some((code, (name, tail))) = part else {
                return Names(vec![(String::new(), text.to_owned())]);
            };
            names.push((code.trim().to_owned(), name.to_owned()));
            rest = tail.trim_start_matches(';');
        }
        Names(names)
    }

    /// The text in a language (a code such as `US`), or all of it.
    pub(crate) fn show(&self, language: Option<&str>) -> Cow<'_, str> {
        if let [(code, only)] = self.0.as_slice()
            && code.is_empty()
        {
            return Cow::Borrowed(only);
        }
        let Some(code) = language else {
            let all = self.0.iter();
            let parts: Vec<String> = all
                .map(|(code, text)| format!("{code}:\"{text}\""))
                .collect();
            return Cow::Owned(parts.join(";"));
        };
        let named = |wanted: &str| {
            let mut all = self.0.iter();
            all.find(|(code, _)| code == wanted)
                .map(|(_, text)| text.as_str())
        };
        Cow::Borrowed(named(code).or_else(|| named("US")).unwrap_or_default())
    }
}

/// The product's code of the language that a header asks for (HTTP headers: `Accept-Language`, `SO-Language`).
pub(crate) fn language(header: &str) -> Option<&'static str> {
    let first = header.split([',', ';']).next().unwrap_or_default().trim();
    let tag = first.split(['-', '_']).next().unwrap_or_default();
    match tag.to_ascii_lowercase().as_str() {
        "" | "x" | "*" => None,
        "no" | "nb" | "nn" => Some("NO"),
        "de" | "ge" => Some("GE"),
        "sv" | "sw" => Some("SW"),
        "da" => Some("DA"),
        _ => Some("US"),
    }
}

/// An item of a list.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) id: i64,
    /// As stored by a present-day server, without `#`.
    pub(crate) key: String,
    pub(crate) name: Names,
    pub(crate) tooltip: String,
    pub(crate) rank: i64,
    pub(crate) deleted: bool,
    /// Purposes only.
    pub(crate) active: bool,
    /// Purposes only.
    pub(crate) consent_text: String,
    /// Purposes only.
    pub(crate) form_text: String,
    /// Purposes only.
    pub(crate) privacy_desc: String,
    /// Purposes only.
    pub(crate) privacy_url: String,
    /// Sources only: template of the mail that new persons get.
    pub(crate) mail_template: i64,
    pub(crate) updated: Option<DateTime<Utc>>,
    pub(crate) updated_by: i64,
    /// Its key can be neither changed nor deleted.
    pub(crate) built_in: bool,
}

impl Item {
    /// An item with a key and a name and nothing else.
    pub(crate) fn new(id: i64, key: &str, name: Names) -> Item {
        Item {
            id,
            key: key.to_owned(),
            name,
            tooltip: String::new(),
            rank: id,
            deleted: false,
            active: true,
            consent_text: String::new(),
            form_text: String::new(),
            privacy_desc: String::new(),
            privacy_url: String::new(),
            mail_template: 0,
            updated: None,
            updated_by: 0,
            built_in: false,
        }
    }

    /// The key as a server shows it: those of the first years put `#` before it, and wrote sources as words.
    pub(crate) fn shown_key(&self, kind: Kind, legacy: bool) -> Cow<'_, str> {
        if !legacy {
            return Cow::Borrowed(&self.key);
        }
        let mut letters = self.key.chars();
        Cow::Owned(match (kind, letters.next()) {
            (Kind::Source, Some(first)) => format!("#{first}{}", letters.as_str().to_lowercase()),
            _ => format!("#{}", self.key),
        })
    }
}

/// Whether a text may be a key.
pub(crate) fn is_key(text: &str) -> bool {
    !text.is_empty() && text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

type BuiltIn = (&'static str, &'static [(&'static str, &'static str)]);

#[rustfmt::skip]
const PURPOSES: &[BuiltIn] = &[
    ("STORE", &[("US", "Sales and service"), ("NO", "Salg og service"), ("GE", "Vertrieb und Service")]),
    ("EMARKETING", &[("US", "E-marketing"), ("NO", "E-markedsføring"), ("GE", "E-Marketing")]),
];

#[rustfmt::skip]
const BASES: &[BuiltIn] = &[
    ("61A", &[("US", "Consent"), ("NO", "Samtykke"), ("GE", "Einwilligung")]),
    ("61B", &[("US", "Contract"), ("NO", "Avtale"), ("GE", "Vertrag")]),
    ("61C", &[("US", "Required by law"), ("NO", "Lovpålagt"), ("GE", "Gesetzliche Pflicht")]),
    ("61D", &[("US", "Protect vital interests"), ("NO", "Vitale interesser"), ("GE", "Lebenswichtige Interessen")]),
    ("61E", &[("US", "Public interest"), ("NO", "Allmenn interesse"), ("GE", "Öffentliches Interesse")]),
    ("61F", &[("US", "Legitimate interest"), ("NO", "Berettiget interesse"), ("GE", "Berechtigtes Interesse")]),
    ("WITHDRAWN", &[("US", "Withdrawn"), ("NO", "Tilbaketrukket"), ("GE", "Widerrufen")]),
];

#[rustfmt::skip]
const SOURCES: &[BuiltIn] = &[
    ("USER", &[("US", "Created by user"), ("NO", "Opprettet av bruker"), ("GE", "Von Benutzer erstellt")]),
    ("EMAIL", &[("US", "E-mail"), ("NO", "E-post"), ("GE", "E-Mail")]),
    ("REQUEST", &[("US", "Incoming request"), ("NO", "Innkommende sak"), ("GE", "Eingehende Anfrage")]),
    ("CHAT", &[("US", "Chat"), ("NO", "Chat"), ("GE", "Chat")]),
    ("WEBFORM", &[("US", "Web form"), ("NO", "Webskjema"), ("GE", "Webformular")]),
    ("CUSTOMERPORTAL", &[("US", "Customer portal"), ("NO", "Kundesenter"), ("GE", "Kundenportal")]),
    ("IMPORT", &[("US", "Import"), ("NO", "Import"), ("GE", "Import")]),
    ("API", &[("US", "Other integration"), ("NO", "Annen integrasjon"), ("GE", "Andere Integration")]),
    ("UNKNOWN", &[("US", "Unknown"), ("NO", "Ukjent"), ("GE", "Unbekannt")]),
];

#[rustfmt::skip]
const SHIPMENT_TYPES: &[&[(&str, &str)]] = &[
    &[("US", "Invitations"), ("NO", "Invitasjoner"), ("GE", "Einladungen")],
    &[("US", "News"), ("NO", "Nyheter"), ("GE", "Neuigkeiten")],
    &[("US", "Promotions"), ("NO", "Tilbud"), ("GE", "Angebote")],
    &[("US", "Urgent messages"), ("NO", "Viktige meldinger"), ("GE", "Dringende Mitteilungen")],
];

/// The items that every tenant has.
pub(crate) fn built_in(kind: Kind) -> Vec<Item> {
    let items = match kind {
        Kind::Purpose => PURPOSES,
        Kind::Base => BASES,
        Kind::Source => SOURCES,
    };
    let item = |((key, names), id): (&BuiltIn, i64)| Item {
        built_in: true,
        ..Item::new(id, key, Names::built_in(names))
    };
    items.iter().zip(1..).map(item).collect()
}

/// The types of mailing of the demonstration database.
pub(crate) fn shipment_types() -> Vec<Item> {
    let types = SHIPMENT_TYPES.iter().zip(1..);
    types
        .map(|(names, id)| Item::new(id, "", Names::built_in(names)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_several_languages_survive_both_ways() {
        let names = Names::parse("US:\"Consent\";NO:\"Samtykke\"");
        assert_eq!(names.show(None), "US:\"Consent\";NO:\"Samtykke\"");
        assert_eq!(names.show(Some("NO")), "Samtykke");
        assert_eq!(
            names.show(Some("FR")),
            "Consent",
            "English where there is none"
        );
        let plain = Names::parse("Profiling: yes");
        assert_eq!(
            (plain.show(None), plain.show(Some("NO"))),
            ("Profiling: yes".into(), "Profiling: yes".into())
        );
    }

    #[test]
    fn a_language_header_picks_a_code() {
        let cases = [
            ("en", Some("US")),
            ("nb-NO, en;q=0.5", Some("NO")),
            ("x", None),
            ("*", None),
            ("", None),
            ("de", Some("GE")),
        ];
        for (header, code) in cases {
            assert_eq!(language(header), code, "{header}");
        }
    }

    #[test]
    fn old_servers_show_keys_with_a_hash() {
        let bases = built_in(Kind::Base);
        let sources = built_in(Kind::Source);
        assert_eq!(bases[0].shown_key(Kind::Base, true), "#61A");
        assert_eq!(sources[7].shown_key(Kind::Source, true), "#Api");
        assert_eq!(sources[7].shown_key(Kind::Source, false), "API");
    }
}
