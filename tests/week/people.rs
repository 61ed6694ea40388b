//! Who said what, kept apart from the daemon: what everybody's last word is, and what has to hold.
//!
//! The daemon hears of Salesforce what was said to the second. Of Ascend it sees one extract a day, so
//! what was said lies between two of them: an opt-out counts as late as it may have been said, an opt-in
//! as early (R11). A load is nobody's word where it allows mail, and an opt-out where it does not (R25).

use chrono::{DateTime, TimeDelta, Utc};
use consentd_sandbox::{AGENT, Org, RECORDS, SPECIALIST, Sandbox};
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// People in both systems.
pub(crate) const PEOPLE: usize = 200;
/// The other side refuses every row about the first of them.
pub(crate) const REFUSED: usize = 3;
/// The last of them do not get mail from Marketing Cloud.
pub(crate) const UNSUBSCRIBED: usize = 30;
const BOXES: [&str; 4] = [
    "Email_Alumni_News__c",
    "Email_Events__c",
    "Email_Giving__c",
    "Email_Research__c",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Salesforce,
    Ascend,
}

#[derive(Debug, Clone, Copy)]
struct Word {
    at: DateTime<Utc>,
    place: Place,
    out: bool,
    /// An opt-out in Ascend that we were about to write as well: whose it is nobody can tell there (R15).
    may_be_ours: bool,
}

#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) donor: String,
    pub(crate) salesforce: String,
    pub(crate) ascend: String,
    words: Vec<Word>,
    boxes: BTreeMap<&'static str, (DateTime<Utc>, bool)>,
    /// How many extracts had been read when Ascend was last changed by hand: one shows one change.
    window: usize,
}

/// What the two systems show of a person: opted out or not.
pub(crate) type Shown = (bool, bool);

/// See the module's documentation.
pub(crate) struct Crowd {
    pub(crate) people: Vec<Person>,
    /// The instants of which the extracts tell that were read.
    pub(crate) extracts: Vec<DateTime<Utc>>,
    dice: StdRng,
}

fn fields(fields: Value) -> Map<String, Value> {
    serde_json::from_value(fields).unwrap()
}

impl Person {
    /// What they said last, if anything: whether it was an opt-out, and when.
    pub(crate) fn last(&self) -> Option<(DateTime<Utc>, bool)> {
        let last = self.words.iter().max_by_key(|word| word.at)?;
        Some((last.at, last.out))
    }

    pub(crate) fn shown(&self, sandbox: &Sandbox) -> Shown {
        let out = |org: &Org, id: &str| org.contact(id).unwrap().opted_out;
        (
            out(sandbox.salesforce(), &self.salesforce),
            out(sandbox.ascend(), &self.ascend),
        )
    }
}

impl Crowd {
    /// Everybody, some of them opted out in both systems.
    pub(crate) fn gather(sandbox: &Sandbox, mut dice: StdRng) -> Self {
        let mut people = Vec::new();
        for number in 0..PEOPLE {
            let donor = format!("D-{number:04}");
            let address = format!("person{number}@week.example");
            let contact = json!({ "LastName": donor, "Email": address, "Ascend_ID__c": donor });
            let salesforce = sandbox.salesforce();
            let salesforce = salesforce.create("Contact", &fields(contact), SPECIALIST, None);
            let contact = json!({
                "LastName": donor, "Email": address, "ucinn_ascendv2__Donor_ID__c": donor,
            });
            let ascend = sandbox.ascend();
            let ascend = ascend.create("Contact", &fields(contact), RECORDS, None);
            people.push(Person {
                donor,
                salesforce: salesforce.unwrap(),
                ascend: ascend.unwrap(),
                words: Vec::new(),
                boxes: BTreeMap::new(),
                window: usize::MAX,
            });
        }
        sandbox.clock().advance(60);
        let at = sandbox.clock().now();
        for person in people.iter_mut().skip(REFUSED) {
            if dice.random_ratio(35, 100) {
                set(sandbox.salesforce(), &person.salesforce, true, AGENT);
                set(sandbox.ascend(), &person.ascend, true, RECORDS);
                person.words.push(Word {
                    at,
                    place: Place::Salesforce,
                    out: true,
                    may_be_ours: false,
                });
            }
        }
        for person in people.iter().rev().take(UNSUBSCRIBED) {
            let gate = sandbox.marketing_cloud();
            let address = format!("{}@gray.example", person.donor);
            gate.add_subscriber(&person.salesforce, &address, &[])
                .unwrap();
            let status = consentd_sandbox::marketing_cloud::Status::Unsubscribed;
            gate.set_status(&person.salesforce, None, status).unwrap();
        }
        Self {
            people,
            extracts: Vec::new(),
            dice,
        }
    }

    pub(crate) fn shown(&self, sandbox: &Sandbox) -> Vec<Shown> {
        let people = self.people.iter();
        people.map(|person| person.shown(sandbox)).collect()
    }

    /// From when a word counts; none while it was not heard.
    fn rank(&self, word: &Word) -> Option<DateTime<Utc>> {
        match (word.place, word.out) {
            (Place::Salesforce, _) => Some(word.at),
            (Place::Ascend, true) => self.extracts.iter().find(|at| **at > word.at).copied(),
            (Place::Ascend, false) => {
                // That one still showed the opt-out, so it was said after that.
                let mut before = self.extracts.iter().rev();
                let before = before.find(|at| **at < word.at)?;
                Some(*before + TimeDelta::microseconds(1))
            }
        }
    }

    /// Whether the extract that would show it may show an opt-out that we wrote.
    fn is_doubtful(&self, person: &Person, word: &Word) -> bool {
        let in_ascend = word.place == Place::Ascend && word.out;
        let seen = self.rank(word);
        let ours = |other: &Word| {
            let between = other.at > word.at && seen.is_none_or(|seen| other.at < seen);
            other.place == Place::Salesforce && other.out && between
        };
        in_ascend && (word.may_be_ours || person.words.iter().any(ours))
    }

    /// What Salesforce may show once everything was heard: whether mail is off, and which boxes are
    /// ticked. There are two of them where an opt-out may be taken for ours.
    pub(crate) fn expected(&self, person: &Person) -> [(bool, Vec<&'static str>); 2] {
        [true, false].map(|with_doubtful| {
            let words = person.words.iter();
            let words = words.filter(|word| with_doubtful || !self.is_doubtful(person, word));
            let ranked: Vec<_> = words
                .filter_map(|word| Some((self.rank(word)?, word.out)))
                .collect();
            let last = ranked.iter().max();
            let last_out = ranked.iter().filter(|(_, out)| *out).max();
            let is_out = last.is_some_and(|(_, out)| *out);
            // R20: a box is ticked where it was after every opt-out, and while nobody is opted out.
            let is_on = |(at, on): (DateTime<Utc>, bool)| {
                on && !is_out && last_out.is_none_or(|out| out.0 < at)
            };
            let on = person.boxes.iter().filter(|(_, ticked)| is_on(**ticked));
            (is_out, on.map(|(name, _)| *name).collect())
        })
    }

    /// Which boxes are ticked.
    pub(crate) fn ticked(sandbox: &Sandbox, person: &Person) -> Vec<&'static str> {
        let contact = sandbox.salesforce().contact(&person.salesforce).unwrap();
        let ticked = BOXES.iter().filter(|name| contact.preferences[**name]);
        ticked.copied().collect()
    }

    /// Somebody opts out by the agent, or is opted in by a specialist. False where it is so already.
    pub(crate) fn say_in_salesforce(
        &mut self,
        sandbox: &Sandbox,
        number: usize,
        out: bool,
    ) -> bool {
        let person = &mut self.people[number];
        if person.shown(sandbox).0 == out {
            return false;
        }
        sandbox.clock().advance(2);
        let by = if out { AGENT } else { SPECIALIST };
        set(sandbox.salesforce(), &person.salesforce, out, by);
        person.words.push(Word {
            at: sandbox.clock().now(),
            place: Place::Salesforce,
            out,
            may_be_ours: false,
        });
        true
    }

    /// The records staff do so in Ascend. False where it is so already, or the next extract will show
    /// another change.
    pub(crate) fn say_in_ascend(&mut self, sandbox: &Sandbox, number: usize, out: bool) -> bool {
        let person = &mut self.people[number];
        let shown = person.shown(sandbox);
        if shown.1 == out || person.window == self.extracts.len() {
            return false;
        }
        sandbox.clock().advance(2);
        set(sandbox.ascend(), &person.ascend, out, RECORDS);
        person.window = self.extracts.len();
        person.words.push(Word {
            at: sandbox.clock().now(),
            place: Place::Ascend,
            out,
            may_be_ours: out && shown.0,
        });
        true
    }

    /// A load in Ascend has changed these.
    pub(crate) fn loaded(&mut self, sandbox: &Sandbox, before: &[Shown]) -> usize {
        let (at, mut allowed) = (sandbox.clock().now(), 0);
        for (person, before) in self.people.iter_mut().zip(before) {
            let (in_salesforce, out) = person.shown(sandbox);
            if out == before.1 {
                continue;
            }
            person.window = self.extracts.len();
            if out {
                person.words.push(Word {
                    at,
                    place: Place::Ascend,
                    out,
                    may_be_ours: in_salesforce,
                });
            } else {
                allowed += 1;
            }
        }
        allowed
    }

    fn anybody(&mut self) -> usize {
        self.dice.random_range(REFUSED..PEOPLE)
    }

    /// So many people among those to whom it can happen do something.
    fn some(&mut self, most: usize, mut act: impl FnMut(&mut Self, usize) -> bool) {
        let wanted = self.dice.random_range(0..=most);
        let mut done = 0;
        for _ in 0..100 * wanted {
            let number = self.anybody();
            if done == wanted {
                return;
            }
            done += usize::from(act(self, number));
        }
    }

    /// An hour of a day. `in_ascend`: what the records staff change there, opt-outs and opt-ins.
    pub(crate) fn act(&mut self, sandbox: &Sandbox, in_ascend: (bool, bool)) {
        self.some(4, |all, number| {
            all.say_in_salesforce(sandbox, number, true)
        });
        self.some(3, |all, number| {
            all.say_in_salesforce(sandbox, number, false)
        });
        if in_ascend.0 {
            self.some(2, |all, number| all.say_in_ascend(sandbox, number, true));
        }
        if in_ascend.1 {
            self.some(1, |all, number| all.say_in_ascend(sandbox, number, false));
        }
        self.some(3, |all, number| all.tick(sandbox, number));
        let number = self.anybody();
        let name = self.dice.random_range(0..1_000_000);
        let edit = fields(json!({ "Email": format!("moved{name}@week.example") }));
        let ascend = sandbox.ascend();
        ascend
            .edit(&self.people[number].ascend, &edit, RECORDS)
            .unwrap();
    }

    /// A specialist turns a box over, for somebody who gets mail.
    fn tick(&mut self, sandbox: &Sandbox, number: usize) -> bool {
        let name = BOXES[self.dice.random_range(0..BOXES.len())];
        let person = &mut self.people[number];
        let contact = sandbox.salesforce().contact(&person.salesforce).unwrap();
        if contact.opted_out {
            return false;
        }
        sandbox.clock().advance(2);
        let on = !contact.preferences[name];
        let edit = fields(json!({ name: on }));
        let salesforce = sandbox.salesforce();
        salesforce
            .edit(&person.salesforce, &edit, SPECIALIST)
            .unwrap();
        person.boxes.insert(name, (sandbox.clock().now(), on));
        true
    }
}

fn set(org: &Org, id: &str, out: bool, by: &str) {
    org.edit(id, &fields(json!({ "HasOptedOutOfEmail": out })), by)
        .unwrap();
}
