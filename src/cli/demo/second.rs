//! The second act: eMarketeer and SuperOffice join, and bases of consent go between them.

use super::client::Client;
use super::sandbox::{Part, write_config};
use super::{STEP_LIMIT, Story, next_second};
use anyhow::{Context, ensure};
use consentd_sandbox::emarketeer::{Account, NewContact, master};
use consentd_sandbox::superoffice::{self, NewConsent, NewPerson, PersonState, Tenant};
use std::path::Path;

/// Key of the purpose of mailings in SuperOffice.
pub(super) const EMARKETING: &str = "EMARKETING";
/// Key of the purpose of keeping data there.
const STORE: &str = "STORE";
/// Key of the legal base of those who withdrew there.
pub(super) const WITHDRAWN: &str = "WITHDRAWN";
/// The two purposes: how eMarketeer and SuperOffice call them.
pub(super) const PURPOSES: [(&str, &str); 2] =
    [(master::MARKETING, EMARKETING), (master::STORE, STORE)];
/// What eMarketeer calls SuperOffice's legal bases.
const BASES: [(&str, &str); 7] = [
    ("61A", master::CONSENT),
    ("61B", master::CONTRACT),
    ("61C", master::REQUIRED_BY_LAW),
    ("61D", master::VITAL_INTERESTS),
    ("61E", master::PUBLIC_INTERESTS),
    ("61F", master::LEGITIMATE_INTEREST),
    (WITHDRAWN, master::WITHDRAWN),
];

/// Somebody who is in eMarketeer and SuperOffice.
pub(super) struct Fellow {
    pub(super) address: String,
    pub(super) person: i64,
}

/// How far eMarketeer and SuperOffice agree.
#[derive(Default)]
struct Bases {
    equal: usize,
    different: usize,
    /// One of those that differ, in words.
    example: String,
}

impl Story<'_> {
    pub(super) fn emarketeer(&self) -> &Account {
        self.sandbox.emarketeer()
    }

    pub(super) fn superoffice(&self) -> &Tenant {
        self.sandbox.superoffice()
    }

    /// Plays the act.
    ///
    /// # Errors
    /// When it cannot go on.
    pub(super) async fn second_act(&mut self, folder: &Path) -> anyhow::Result<()> {
        self.join(folder).await?;
        let client = Client::new(&self.rehearsal.listen, folder)?;
        let names = ["ann", "ben", "cleo", "dan", "gus", "hal", "ida"];
        let fellows: Vec<Fellow> = names
            .iter()
            .map(|name| self.fellow(name))
            .collect::<anyhow::Result<_>>()?;
        let [ann, ben, cleo, dan, later @ ..] = fellows.as_slice() else {
            anyhow::bail!("no cast")
        };
        let doubtful = self.doubtful()?;
        self.step(
            "consent given in SuperOffice is in eMarketeer, for both purposes",
            STEP_LIMIT,
            |story| {
                fellows.iter().try_fold(String::new(), |_, fellow| {
                    story.agree(fellow, (master::CONSENT, master::LEGITIMATE_INTEREST))
                })
            },
        )
        .await?;
        self.withdrawal(ann).await?;
        self.newer_basis(ben).await?;
        self.independent(cleo).await?;
        self.store_only(dan).await?;
        self.duplicate_persons().await?;
        self.checklist(&client, &doubtful).await?;
        self.send_out(&client, folder, later).await?;
        self.outage(&client, ann).await?;
        self.circle().await?;
        self.all_quiet().await
    }

    /// Switches the second pair on, without a restart (R49).
    async fn join(&mut self, folder: &Path) -> anyhow::Result<()> {
        self.rehearsal.emarketeer = Part::On;
        self.rehearsal.superoffice = Part::On;
        write_config(self.sandbox, folder, &self.rehearsal)?;
        self.daemon.reload().await?;
        self.step(
            "two more systems are switched on by SIGHUP and brought to parity",
            STEP_LIMIT * 3,
            |story| {
                let bases = story.bases();
                if bases.different == 0 {
                    Ok(format!("{} consents equal in both", bases.equal))
                } else {
                    Err(format!(
                        "{} consents still differ, such as {}",
                        bases.different, bases.example
                    ))
                }
            },
        )
        .await
    }

    /// Compares every address that both know: eMarketeer against the oldest person of SuperOffice.
    fn bases(&self) -> Bases {
        let mut bases = Bases::default();
        for address in self.emarketeer().addresses() {
            let known = self.emarketeer().address(&address);
            let Some(oldest) = self.oldest(&address).filter(|_| !known.contacts.is_empty()) else {
                continue;
            };
            for (purpose, key) in PURPOSES {
                let here = known.consents.get(purpose).map(|one| one.basis.as_str());
                if here == basis_of(&oldest, key) {
                    bases.equal += 1;
                } else {
                    bases.different += 1;
                    let there = basis_of(&oldest, key);
                    bases.example = format!("{purpose} of {address}: {here:?}, {there:?}");
                }
            }
        }
        bases
    }

    /// Makes somebody with consent to mailings in SuperOffice, whom eMarketeer knows.
    pub(super) fn fellow(&self, name: &str) -> anyhow::Result<Fellow> {
        let address = format!("{name}@act-two.example");
        self.emarketeer()
            .create_contact(&NewContact {
                address: address.clone(),
                ..NewContact::default()
            })
            .context("no contact")?;
        let person = self.person(&address, 0)?;
        self.consent(person, STORE, "61F")?;
        self.consent(person, EMARKETING, "61A")?;
        Ok(Fellow { address, person })
    }

    /// Makes a person in SuperOffice, so many days old.
    pub(super) fn person(&self, address: &str, days: i64) -> anyhow::Result<i64> {
        let superoffice = self.superoffice();
        let age = chrono::TimeDelta::days(days);
        superoffice
            .create_person(
                &NewPerson {
                    last_name: "Act Two".to_owned(),
                    addresses: vec![address.to_owned()],
                    created: (days > 0).then(|| superoffice.now() - age),
                    ..NewPerson::default()
                },
                superoffice::SALES,
            )
            .context("no person")
    }

    pub(super) fn consent(&self, person: i64, purpose: &str, base: &str) -> anyhow::Result<()> {
        self.superoffice()
            .set_consent(
                person,
                &NewConsent::new(purpose, base),
                superoffice::MARKETING,
            )
            .context("no consent")
    }

    /// Whether both systems show these bases, for mailings and for keeping data.
    pub(super) fn agree(&self, fellow: &Fellow, wanted: (&str, &str)) -> Result<String, String> {
        let person = self.superoffice().person(fellow.person);
        let shown = PURPOSES.map(|(purpose, key)| {
            let here = self.emarketeer().basis(&fellow.address, purpose);
            let there = person.as_ref().and_then(|person| basis_of(person, key));
            (here, there.map(str::to_owned))
        });
        let is = |shown: &(Option<String>, Option<String>), wanted: &str| {
            shown.0.as_deref() == Some(wanted) && shown.1.as_deref() == Some(wanted)
        };
        if is(&shown[0], wanted.0) && is(&shown[1], wanted.1) {
            Ok(format!(
                "mailings: {}, storing: {}, in both",
                wanted.0, wanted.1
            ))
        } else {
            Err(format!("eMarketeer and SuperOffice show {shown:?}"))
        }
    }

    async fn withdrawal(&mut self, ann: &Fellow) -> anyhow::Result<()> {
        next_second().await;
        self.emarketeer()
            .unsubscribe(&ann.address)
            .context("no unsubscribe link")?;
        let said = self
            .emarketeer()
            .consent(&ann.address, master::MARKETING)
            .context("no record")?;
        let time = said.at.format("%Y-%m-%dT%H:%M:%S").to_string();
        self.step(
            "an unsubscribe link in eMarketeer reaches SuperOffice, with the time kept",
            STEP_LIMIT,
            |story| {
                story.agree(ann, (master::WITHDRAWN, master::LEGITIMATE_INTEREST))?;
                let person = story.superoffice().person(ann.person);
                let comment = person
                    .and_then(|person| Some(person.consent(EMARKETING)?.comment.clone()))
                    .unwrap_or_default();
                if comment.contains(&time) {
                    Ok(format!("withdrawn; \"{comment}\""))
                } else {
                    Err(format!("the comment is {comment:?}, said at {time}"))
                }
            },
        )
        .await
    }

    async fn newer_basis(&mut self, ben: &Fellow) -> anyhow::Result<()> {
        next_second().await;
        self.consent(ben.person, EMARKETING, "61F")?;
        self.step(
            "a newer legal basis in SuperOffice wins",
            STEP_LIMIT,
            |story| {
                story.agree(
                    ben,
                    (master::LEGITIMATE_INTEREST, master::LEGITIMATE_INTEREST),
                )
            },
        )
        .await?;
        next_second().await;
        self.emarketeer()
            .set_basis(
                &ben.address,
                master::MARKETING,
                master::CONTRACT,
                master::USER,
                None,
                None,
            )
            .context("no record")?;
        self.step("and then a newer one in eMarketeer", STEP_LIMIT, |story| {
            story.agree(ben, (master::CONTRACT, master::LEGITIMATE_INTEREST))
        })
        .await
    }

    async fn independent(&mut self, cleo: &Fellow) -> anyhow::Result<()> {
        next_second().await;
        self.emarketeer()
            .set_basis(
                &cleo.address,
                master::STORE,
                master::WITHDRAWN,
                master::USER,
                None,
                None,
            )
            .context("no record")?;
        self.step(
            "storing is withdrawn, and mailings keep their consent",
            STEP_LIMIT,
            |story| story.agree(cleo, (master::CONSENT, master::WITHDRAWN)),
        )
        .await
    }

    async fn store_only(&mut self, dan: &Fellow) -> anyhow::Result<()> {
        next_second().await;
        let touched = |story: &Self| {
            let person = story.superoffice().person(dan.person);
            person.and_then(|person| person.updated)
        };
        let before = touched(self);
        self.consent(dan.person, STORE, "61B")?;
        ensure!(
            touched(self) == before,
            "the change of a consent to store data marked the person as changed"
        );
        self.step(
            "a change that SuperOffice does not show on the person is seen all the same",
            STEP_LIMIT,
            |story| story.agree(dan, (master::CONSENT, master::CONTRACT)),
        )
        .await
    }

    async fn duplicate_persons(&mut self) -> anyhow::Result<()> {
        let address = "twins@act-two.example";
        self.emarketeer()
            .create_contact(&NewContact {
                address: address.to_owned(),
                ..NewContact::default()
            })
            .context("no contact")?;
        let older = self.person(address, 400)?;
        let younger = self.person(address, 30)?;
        self.consent(older, EMARKETING, "61B")?;
        next_second().await;
        self.consent(younger, EMARKETING, "61A")?;
        self.step(
            "of two persons with one address the oldest speaks, and both end equal",
            STEP_LIMIT,
            |story| {
                let basis = |id: i64| {
                    let person = story.superoffice().person(id)?;
                    basis_of(&person, EMARKETING).map(str::to_owned)
                };
                let all = [
                    basis(older),
                    basis(younger),
                    story.emarketeer().basis(address, master::MARKETING),
                ];
                if all
                    .iter()
                    .all(|one| one.as_deref() == Some(master::CONTRACT))
                {
                    Ok("contract, in all three".to_owned())
                } else {
                    Err(format!("older, younger and eMarketeer show {all:?}"))
                }
            },
        )
        .await
    }
}

/// What eMarketeer calls the basis that a person shows.
pub(super) fn basis_of(person: &PersonState, purpose: &str) -> Option<&'static str> {
    let base = &person.consent(purpose)?.legal_base;
    BASES
        .iter()
        .find(|(key, _)| key == base)
        .map(|(_, name)| *name)
}
