//! The four systems as one hub: through an outage, around the whole circle, and then quiet.

use super::checks::is_primary;
use super::client::{Checklist, Client};
use super::second::{EMARKETING, Fellow, PURPOSES, basis_of};
use super::{STEP_LIMIT, Story, next_second};
use anyhow::Context;
use consentd_sandbox::emarketeer::master;
use consentd_sandbox::superoffice::PersonState;
use consentd_sandbox::{AGENT, CallKind, Fault, Org, RECORDS, SPECIALIST};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// Long enough for every system to be read more than twice.
const QUIET: Duration = Duration::from_secs(8);

/// Somebody who is in all four systems.
pub(super) struct Everywhere {
    fellow: Fellow,
    salesforce: String,
    ascend: String,
}

/// How far all four agree.
#[derive(Default)]
struct Agreement {
    equal: usize,
    different: usize,
    /// One of those that differ, in words.
    example: String,
}

impl Agreement {
    fn compare(&mut self, equal: bool, words: impl FnOnce() -> String) {
        if equal {
            self.equal += 1;
        } else {
            self.different += 1;
            self.example = words();
        }
    }
}

impl Story<'_> {
    /// Makes somebody who has consented, in all four systems, and waits until all have been read.
    async fn everywhere(&mut self, name: &str, what: &'static str) -> anyhow::Result<Everywhere> {
        let fellow = self.fellow(name)?;
        let link = format!("ACT-TWO-{name}");
        let create = |org: &Org, link_field: &str, by: &str| -> anyhow::Result<String> {
            let fields = json!({ "LastName": name, "Email": fellow.address, link_field: link });
            let fields: Map<String, Value> = serde_json::from_value(fields).context("fields")?;
            org.create("Contact", &fields, by, None)
                .context("no contact")
        };
        let salesforce = create(self.salesforce(), "Ascend_ID__c", SPECIALIST)?;
        let ascend = create(self.ascend(), "ucinn_ascendv2__Donor_ID__c", RECORDS)?;
        let everywhere = Everywhere {
            fellow,
            salesforce,
            ascend,
        };
        self.step(what, STEP_LIMIT, |story| {
            story.same(&everywhere, false, master::CONSENT)
        })
        .await?;
        // Long enough for all four to have been read.
        tokio::time::sleep(Duration::from_secs(4)).await;
        Ok(everywhere)
    }

    /// What both flags show of somebody.
    fn flags(&self, one: &Everywhere) -> (bool, bool) {
        let flag = |org: &Org, id: &str| org.contact(id).is_some_and(|one| one.opted_out);
        (
            flag(self.salesforce(), &one.salesforce),
            flag(self.ascend(), &one.ascend),
        )
    }

    /// Whether all four show the same of somebody.
    fn same(&self, one: &Everywhere, out: bool, basis: &str) -> Result<String, String> {
        let flags = self.flags(one);
        let bases = self.agree(&one.fellow, (basis, master::LEGITIMATE_INTEREST));
        match bases {
            Ok(_) if flags == (out, out) => Ok("the same in all four".to_owned()),
            Ok(bases) | Err(bases) => Err(format!("opted out: {flags:?}; {bases}")),
        }
    }

    fn opts_out(&self, one: &Everywhere) -> anyhow::Result<()> {
        let out: Map<String, Value> =
            serde_json::from_value(json!({ "HasOptedOutOfEmail": true })).context("fields")?;
        self.salesforce()
            .edit(&one.salesforce, &out, AGENT)
            .context("no edit")
    }

    /// SuperOffice is down: checks say so, the others go on, and it catches up (R36, R42).
    pub(super) async fn outage(
        &mut self,
        client: &Client,
        withdrawn: &Fellow,
    ) -> anyhow::Result<()> {
        let fay = self
            .everywhere("fay", "somebody is in all four systems")
            .await?;
        self.superoffice()
            .set_fault(Fault::Unavailable { retry_after: None })
            .context("no fault")?;
        let begun = Instant::now();
        let ask = json!({
            "purpose": "marketing",
            "recipients": [fay.fellow.address, withdrawn.address],
        });
        let checklist: Checklist = client.post("/v1/checklists", &ask).await?;
        let held = match checklist.answers()[..] {
            ["unverified", "withdrawn"] => {
                Ok("consented: unverified; withdrawn: withdrawn".to_owned())
            }
            _ => Err(format!("{:?}", checklist.answers())),
        };
        self.note(
            "SuperOffice is down: nobody is `send`, and who withdrew stays withdrawn",
            held,
            begun.elapsed(),
        );
        self.opts_out(&fay)?;
        let base = |story: &Self| {
            let person = story.superoffice().person(fay.fellow.person);
            person.and_then(|person| Some(person.consent(EMARKETING)?.legal_base.clone()))
        };
        self.step(
            "meanwhile an opt-out travels between the other three",
            STEP_LIMIT,
            |story| {
                let basis = story
                    .emarketeer()
                    .basis(&fay.fellow.address, master::MARKETING);
                let here = basis.as_deref() == Some(master::WITHDRAWN);
                let (flags, there) = (story.flags(&fay), base(story));
                if flags == (true, true) && here && there.as_deref() == Some("61A") {
                    Ok("withdrawn in three, SuperOffice as before".to_owned())
                } else {
                    Err(format!("opted out: {flags:?}; {basis:?}, {there:?}"))
                }
            },
        )
        .await?;
        self.superoffice().clear_faults(None);
        self.step("SuperOffice is back and catches up", STEP_LIMIT, |story| {
            story.same(&fay, true, master::WITHDRAWN)
        })
        .await
    }

    /// An opt-out goes around all four systems, and an opt-in comes back.
    pub(super) async fn circle(&mut self) -> anyhow::Result<()> {
        let eve = self
            .everywhere("eve", "somebody else is in all four systems")
            .await?;
        self.opts_out(&eve)?;
        self.step(
            "an opt-out in Salesforce reaches all four",
            STEP_LIMIT,
            |story| story.same(&eve, true, master::WITHDRAWN),
        )
        .await?;
        next_second().await;
        self.emarketeer()
            .submit_form(
                &eve.fellow.address,
                &[master::MARKETING],
                Some("newsletter"),
            )
            .context("no form")?;
        self.step(
            "and an opt-in by a form in eMarketeer comes back to all four",
            STEP_LIMIT,
            |story| story.same(&eve, false, master::CONSENT),
        )
        .await
    }

    /// The end: all four agree, and nothing more is written (R37).
    pub(super) async fn all_quiet(&mut self) -> anyhow::Result<()> {
        self.step("parity is 100 % in all four", STEP_LIMIT, |story| {
            let pairs = story.pairs().seen()?;
            let all = story.agreement();
            if all.different == 0 {
                Ok(format!("{pairs}; {} values equal across", all.equal))
            } else {
                let Agreement {
                    different, example, ..
                } = all;
                Err(format!("{different} values differ, such as {example}"))
            }
        })
        .await?;
        self.salesforce().reset_calls();
        self.ascend().reset_calls();
        self.emarketeer().reset_calls();
        self.superoffice().reset_calls();
        let begun = Instant::now();
        tokio::time::sleep(QUIET).await;
        let rows = |org: &Org| {
            let calls = org.calls();
            calls.rows_changed + calls.rows_unchanged + calls.rows_created
        };
        let (emarketeer, superoffice) = (self.emarketeer().calls(), self.superoffice().calls());
        let written = [
            rows(self.salesforce()),
            rows(self.ascend()),
            emarketeer.of(CallKind::ConsentCreate) + emarketeer.of(CallKind::ContactSave),
            superoffice.of(CallKind::ConsentWrite) + superoffice.of(CallKind::PersonWrite),
        ];
        // That nothing is written only says something while everything is read.
        let read = [
            self.salesforce().calls().of(CallKind::QueryAll),
            self.ascend().calls().of(CallKind::QueryAll),
            emarketeer.total() - written[2],
            superoffice.of(CallKind::Archive),
        ];
        let held = if written == [0; 4] && read.iter().all(|calls| *calls > 2) {
            Ok(format!("0 writes, {} reads", read.iter().sum::<u64>()))
        } else {
            Err(format!("written: {written:?}, read: {read:?}"))
        };
        self.note(
            "and nothing more is written anywhere",
            held,
            begun.elapsed(),
        );
        Ok(())
    }

    /// Compares what all four show of every address that eMarketeer has a contact of.
    fn agreement(&self) -> Agreement {
        let mut all = Agreement::default();
        for address in self.emarketeer().addresses() {
            let known = self.emarketeer().address(&address);
            if known.contacts.is_empty() {
                continue;
            }
            let basis = |purpose: &str| known.consents.get(purpose).map(|one| one.basis.as_str());
            if let Some(person) = self.oldest(&address) {
                for (purpose, key) in PURPOSES {
                    let (here, there) = (basis(purpose), basis_of(&person, key));
                    all.compare(here == there, || {
                        format!("{purpose} of {address}: {here:?}, {there:?}")
                    });
                }
            }
            let withdrawn = basis(master::MARKETING) == Some(master::WITHDRAWN);
            for org in [self.salesforce(), self.ascend()] {
                let contacts = org.contacts_by_address(&address);
                let oldest = contacts
                    .into_iter()
                    .filter(|contact| !contact.deleted)
                    .min_by_key(|contact| (contact.created, contact.id.clone()));
                if let Some(contact) = oldest {
                    all.compare(contact.opted_out == withdrawn, || {
                        format!(
                            "{:?} of {address}: opted out {}, eMarketeer {withdrawn}",
                            org.system(),
                            contact.opted_out
                        )
                    });
                }
            }
        }
        all
    }

    /// The person who speaks for an address: the oldest whose primary address it is.
    pub(super) fn oldest(&self, address: &str) -> Option<PersonState> {
        self.superoffice()
            .persons_by_address(address)
            .into_iter()
            .filter(|person| person.deleted.is_none() && is_primary(person, address))
            .min_by_key(|person| (person.created, person.id))
    }
}
