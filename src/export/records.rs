//! ISO/IEC TS 27560:2023 consent records in the words of the Data Privacy Vocabulary, as JSON-LD.
//!
//! After "Consent Records and Receipts as per ISO/IEC TS 27560:2023 using DPV", Final Community Group Report
//! of 15 February 2026, <https://w3id.org/dpv/guides/consent-27560>: the fields of its tables 8.1 to 8.5 that
//! must be present, with the evidence beside them in terms of our own. The context stands in the file; none
//! is fetched to read it.

use super::{Consent, ExportError, Sink, Spell, is_of_consent, subject_name};
use crate::config::Organisation;
use crate::consent::{Basis, Status};
use crate::sync::timeline::Timeline;
use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// The profile that the records conform to.
pub const PROFILE: &str = "https://w3id.org/dpv/schema/dpv-27560#record";

/// Writes a document of records, one a line.
pub struct Records<W> {
    out: W,
    organisation: Demanded,
    any: bool,
}

/// What the records demand of the organisation, and what it adds.
struct Demanded {
    controller: Value,
    notice: Value,
    recipients: Vec<Value>,
    personal_data: Vec<Value>,
    storage: Vec<Value>,
    control: Value,
    right: Value,
    jurisdiction: Value,
    validity: Value,
}

impl Demanded {
    fn of(organisation: &Organisation) -> Result<Self, ExportError> {
        let demand = |value: &Option<String>, key, what| match value {
            Some(text) => Ok(text.clone()),
            None => Err(ExportError::Missing { key, what }),
        };
        let it = organisation;
        let name = demand(
            &it.controller,
            "controller",
            "the name of the data controller",
        )?;
        let id = demand(
            &it.controller_id,
            "controller_id",
            "an IRI that names the data controller",
        )?;
        let contact = demand(
            &it.contact,
            "contact",
            "the e-mail address of the controller's contact",
        )?;
        let postal = demand(
            &it.postal_address,
            "postal_address",
            "the postal address of the controller",
        )?;
        let notice = demand(
            &it.notice_url,
            "notice_url",
            "the address of the consent notice",
        )?;
        let language = demand(
            &it.notice_language,
            "notice_language",
            "the language of the notice, e.g. \"en\"",
        )?;
        let jurisdiction = demand(
            &it.jurisdiction,
            "jurisdiction",
            "the jurisdiction as DPV names it, e.g. \"US-CO\" or \"EU\"",
        )?;
        let retention = demand(
            &it.retention,
            "retention",
            "how long the data is kept, e.g. \"P5Y\"",
        )?;
        let withdraw = demand(
            &it.withdraw_url,
            "withdraw_url",
            "where consent can be changed and withdrawn",
        )?;
        let rights = it.rights_url.as_ref().unwrap_or(&notice);
        let us = json!({ "@id": id });
        let recipients = it
            .recipients
            .iter()
            .map(|name| json!({ "@type": "dpv:Recipient", "dpv:hasName": name }));
        let data = it.data_categories.iter().map(
            |category| json!({ "@type": "dpv:PersonalData", "skos:broader": { "@id": category } }),
        );
        let locations = it.storage_locations.iter().map(|place| {
            json!({ "@type": "dpv:StorageLocation", "dpv:hasLocation": { "@id": format!("loc:{place}") } })
        });
        let kept =
            json!({ "@type": "dpv:StorageDuration", "dpv:hasDuration": duration(&retention) });
        Ok(Self {
            controller: json!({
                "@id": id,
                "@type": ["dpv:DataController", "dpv:Recipient"],
                "dpv:hasIdentifier": id,
                "dpv:hasName": name,
                "schema:contactPoint": { "@type": "schema:ContactPoint", "schema:email": contact },
                "schema:address": { "@type": "schema:PostalAddress", "schema:streetAddress": postal },
            }),
            recipients: std::iter::once(us).chain(recipients).collect(),
            personal_data: data.collect(),
            storage: std::iter::once(kept).chain(locations).collect(),
            control: json!({
                "@type": ["dpv:ConsentControl", "dpv:WithdrawConsent"],
                "dpv:isExercisedAt": { "@id": withdraw },
            }),
            right: json!({
                "@type": "dpv:DataSubjectRight",
                "dct:title": "Rights of the data subject",
                "dpv:isExercisedAt": { "@id": rights },
            }),
            notice: json!({
                "@id": notice,
                "@type": "dpv:ConsentNotice",
                "dct:language": language,
            }),
            jurisdiction: json!({ "@id": format!("loc:{jurisdiction}") }),
            validity: match &it.validity {
                Some(validity) => duration(validity),
                None => json!({
                    "@type": ["dpv:Duration", "dpv:UntilEventDuration"],
                    "rdf:value": "until it is withdrawn",
                }),
            },
        })
    }
}

/// An ISO 8601 duration, or an event in words.
fn duration(text: &str) -> Value {
    let kind = if text.starts_with('P') && !text.contains(' ') {
        "dpv:TemporalDuration"
    } else {
        "dpv:UntilEventDuration"
    };
    json!({ "@type": ["dpv:Duration", kind], "rdf:value": text })
}

/// Our word for a legal basis in the words of DPV.
fn legal_basis(word: Option<&str>) -> Value {
    let basis = word.map_or(Basis::Consent, Basis::from_word);
    let term = match &basis {
        Basis::Consent => "dpv:Consent",
        Basis::Contract => "dpv:Contract",
        Basis::LegalObligation => "dpv:LegalObligation",
        Basis::VitalInterests => "dpv:VitalInterest",
        Basis::PublicTask => "dpv:PublicInterest",
        Basis::LegitimateInterests => "dpv:LegitimateInterest",
        Basis::Other(code) => {
            return json!({ "@type": "dpv:LegalBasis", "dct:title": code });
        }
    };
    json!({ "@id": term, "@type": "dpv:LegalBasis" })
}

/// The prefixes and types of every member, so that no context has to be fetched.
pub fn context() -> Value {
    let time = json!({ "@type": "xsd:dateTime" });
    json!({
        "dpv": "https://w3id.org/dpv#",
        "pd": "https://w3id.org/dpv/pd#",
        "loc": "https://w3id.org/dpv/loc#",
        "dct": "http://purl.org/dc/terms/",
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "schema": "https://schema.org/",
        "skos": "http://www.w3.org/2004/02/skos/core#",
        "xsd": "http://www.w3.org/2001/XMLSchema#",
        "consentd": "urn:consentd:terms:",
        "dct:conformsTo": { "@type": "@id" },
        "dpv:isIndicatedAtTime": time,
        "consentd:earliest": time,
        "consentd:latest": time,
        "consentd:decidedAt": time,
        "consentd:knows": { "@type": "@json" },
    })
}

impl<W: Write> Records<W> {
    /// Writes there.
    ///
    /// # Errors
    /// [`ExportError::Missing`], naming the first key that is demanded and not set.
    pub fn new(out: W, organisation: &Organisation) -> Result<Self, ExportError> {
        Ok(Self {
            out,
            organisation: Demanded::of(organisation)?,
            any: false,
        })
    }

    fn put(&mut self, node: &Value) -> io::Result<()> {
        self.out.write_all(if self.any { b",\n" } else { b"\n" })?;
        self.any = true;
        Ok(serde_json::to_writer(&mut self.out, node)?)
    }

    fn record(&self, consent: &Consent) -> Value {
        let us = &self.organisation;
        let id = format!(
            "urn:consentd:record:{}:{}",
            consent.subject, consent.purpose
        );
        let controller = &us.controller["@id"];
        let basis = consent.spells.last().and_then(|now| now.basis.as_deref());
        let events: Vec<Value> = consent
            .spells
            .iter()
            .map(|spell| event(spell, &us.validity))
            .collect();
        json!({
            "@id": id,
            "@type": "dpv:ConsentRecord",
            "dct:conformsTo": PROFILE,
            "dct:identifier": id,
            "dpv:hasIdentifier": id,
            "dpv:hasDataSubject": {
                "@id": subject_name(&consent.subject),
                "@type": "dpv:DataSubject",
                "dct:identifier": consent.address.as_ref().unwrap_or(&consent.subject),
            },
            "dpv:hasDataController": { "@id": controller },
            "dpv:hasEntity": us.controller,
            "dpv:hasNotice": us.notice,
            "dpv:hasProcess": {
                "@type": "dpv:Process",
                "dpv:hasPurpose": {
                    "@type": "dpv:Purpose",
                    "skos:broader": { "@id": "dpv:Marketing" },
                    "dct:title": consent.purpose,
                },
                "dpv:hasPersonalData": us.personal_data,
                "dpv:hasStorageCondition": us.storage,
                "dpv:hasDataController": { "@id": controller },
                "dpv:hasLegalBasis": legal_basis(basis),
                "dpv:hasRecipient": us.recipients,
                "dpv:hasConsentControl": us.control,
                "dpv:hasJurisdiction": us.jurisdiction,
                "dpv:hasRight": us.right,
            },
            "dpv:hasConsentStatus": events,
        })
    }
}

/// A consent event. On another basis than consent there is none to know of: the processing rests on that
/// basis.
fn event(spell: &Spell, validity: &Value) -> Value {
    let withdrawn = spell.status == Status::Withdrawn.word();
    let state = match (withdrawn, is_of_consent(spell)) {
        (true, _) => "dpv:ConsentWithdrawn",
        (false, true) => "dpv:ConsentGiven",
        (false, false) => "dpv:ConsentUnknown",
    };
    let system = spell.system.as_deref().unwrap_or("operator");
    let mut event = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            event.insert(name.to_owned(), value);
        }
    };
    put("@type", json!(["dpv:ConsentStatus", state]));
    // R11: uncertainty is read in the person's favour.
    let at = if withdrawn {
        &spell.stamp.latest
    } else {
        &spell.stamp.earliest
    };
    put("dpv:isIndicatedAtTime", json!(at));
    put("dpv:isIndicatedBy", json!({ "@id": "dpv:DataSubject" }));
    put("dpv:hasLegalBasis", legal_basis(spell.basis.as_deref()));
    put("dpv:hasDuration", validity.clone());
    let method = format!("{} of {system}, contact {}", spell.evidence, spell.contact);
    put("dpv:hasIndicationMethod", json!(method));
    put("consentd:earliest", json!(spell.stamp.earliest));
    put("consentd:latest", json!(spell.stamp.latest));
    put("consentd:evidence", json!(spell.evidence));
    put("consentd:system", json!(system));
    put("consentd:contact", json!(spell.contact));
    put("consentd:actor", json!(spell.actor));
    put("consentd:rule", json!(spell.rule));
    put("consentd:policy", json!(spell.policy));
    put("consentd:saidOf", json!(spell.said_of));
    put("consentd:decidedAt", json!(spell.decided_at));
    Value::Object(event)
}

impl<W: Write> Sink for Records<W> {
    fn begin(&mut self) -> io::Result<()> {
        self.out.write_all(b"{\"@context\":")?;
        serde_json::to_writer(&mut self.out, &context())?;
        self.out.write_all(b",\n\"@graph\":[")
    }

    fn consent(&mut self, consent: &Consent) -> io::Result<()> {
        let record = self.record(consent);
        self.put(&record)
    }

    fn person(&mut self, timeline: &Timeline, address: &str) -> io::Result<()> {
        self.put(&json!({
            "@id": subject_name(&timeline.subject),
            "@type": "dpv:DataSubject",
            "dct:identifier": address,
            "consentd:knows": { "events": timeline.events, "now": timeline.now },
        }))
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n]}\n")?;
        self.out.flush()
    }
}
