//! A population of fictional people, with the dirt that real contact databases have.
//!
//! [`generate`] is a pure function of its arguments: the same seed gives the same people. Names are drawn from lists and
//! combined at random; every address lies under a domain that RFC 2606 reserves, so that nothing can reach anybody.
//!
//! What the population has, in shares of the contacts of one system unless said otherwise:
//!
//! - about 85 % of the people stand in both systems, and of those about 90 % are linked by the constituent id; the others
//!   can be matched by address only, and some linked ones show another address in each system;
//! - about 6 % have no address, 1 % something that is none, some are in capitals, padded with spaces, tagged with a plus
//!   or internationalised in either spelling; a few households share one address;
//! - about 5 % are duplicates of another contact of the same system, some created in the very same second;
//! - about 12 % have opted out; in about 2 % of the people the systems disagree. Seven in ten opt-outs have a known time,
//!   the others are older than the field history reaches;
//! - about 1 % have opted out and still have preference boxes ticked; many have no box ticked at all;
//! - bulk loads put many contacts into the same second.
//!
//! It deliberately knows nothing of objects, fields or ids of records; the org gives contacts those.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, Duration, SubsecRound, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How far back contacts were created.
const PAST_DAYS: i64 = 12 * 365;
/// How far back the platform keeps field history (vendor: "Field History Tracking", 18 months).
const HISTORY_DAYS: i64 = 540;
/// Number of bulk loads over the years, and the seconds one takes.
const BULK_LOADS: usize = 40;
const BULK_LOAD_SECS: i64 = 20;

const IN_BOTH: f64 = 0.85;
const LINKED: f64 = 0.90;
const NO_ADDRESS_AT_ALL: f64 = 0.04;
const BLANK_IN_ONE: f64 = 0.02;
const INVALID: f64 = 0.01;
const OTHER_ADDRESS: f64 = 0.04;
const HOUSEHOLD: f64 = 0.005;
const DUPLICATE: f64 = 0.047;
const OPTED_OUT: f64 = 0.12;
const WITHDRAWN_IN_SALESFORCE_ONLY: f64 = 0.12;
const WITHDRAWN_IN_ASCEND_ONLY: f64 = 0.006;
const KNOWN_TIME: f64 = 0.70;
const TICKED_DESPITE_OPT_OUT: f64 = 0.08;

/// A fictional person and the person's contacts in the two systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Given name, with its accents.
    pub first: String,
    /// Family name, with its accents.
    pub last: String,
    /// The address the person uses, in its clean form; unique but for households. `None`: has none.
    pub address: Option<String>,
    /// The constituent id, ten digits; `None` for people whom Ascend does not know.
    pub constituent: Option<String>,
    /// Contacts in Salesforce: none, one, or one and its duplicates.
    pub salesforce: Vec<SalesforceContact>,
    /// Contacts in Ascend: none, one, or one and its duplicates.
    pub ascend: Vec<AscendContact>,
}

/// One contact in Salesforce. Times are whole seconds, with created ≤ opted out at ≤ modified ≤ now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalesforceContact {
    /// As typed: perhaps in capitals, padded or no address at all.
    pub address: Option<String>,
    /// When the contact was created.
    pub created: DateTime<Utc>,
    /// When the contact was last changed.
    pub modified: DateTime<Utc>,
    /// The opt-out flag: true means no e-mail.
    pub opted_out: bool,
    /// When the flag was set, if field history still tells.
    pub opted_out_at: Option<DateTime<Utc>>,
    /// Whether a member of staff set the flag, not the person or an integration.
    pub opted_out_by_agent: bool,
    /// Subscription boxes, as many as asked for; true is ticked.
    pub preferences: Vec<bool>,
    /// The constituent id, where the contact is linked.
    pub ascend_id: Option<String>,
}

/// One contact in Ascend. Times are as in [`SalesforceContact`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AscendContact {
    /// As typed: perhaps in capitals, padded or no address at all.
    pub address: Option<String>,
    /// When the contact was created.
    pub created: DateTime<Utc>,
    /// When the contact was last changed.
    pub modified: DateTime<Utc>,
    /// The opt-out flag: true means no e-mail.
    pub opted_out: bool,
    /// When the flag was set, if field history still tells.
    pub opted_out_at: Option<DateTime<Utc>>,
    /// The constituent id, ten digits, unique in the system; blank on some duplicates.
    pub donor_id: Option<String>,
}

/// People with exactly `contacts_per_system` contacts in each system, each Salesforce contact with `preferences` boxes.
///
/// Takes about two seconds for a million. The people of a smaller number are not a prefix of those of a larger one.
pub fn generate(
    contacts_per_system: usize,
    seed: u64,
    now: DateTime<Utc>,
    preferences: usize,
) -> Vec<Person> {
    let mut maker = Maker::new(seed, now, preferences, contacts_per_system);
    let (mut salesforce, mut ascend) = (contacts_per_system, contacts_per_system);
    let mut people: Vec<Person> =
        Vec::with_capacity(contacts_per_system.saturating_add(contacts_per_system / 8));
    while salesforce > 0 || ascend > 0 {
        let person = maker.person(salesforce, ascend, people.last());
        salesforce -= person.salesforce.len();
        ascend -= person.ascend.len();
        people.push(person);
    }
    people
}

/// When a contact was made, when it was changed, and since when it is opted out.
#[derive(Clone, Copy)]
struct Times {
    created: DateTime<Utc>,
    modified: DateTime<Utc>,
    opted_out_at: Option<DateTime<Utc>>,
}

struct Maker {
    random: StdRng,
    now: DateTime<Utc>,
    preferences: usize,
    /// Starts of the bulk loads.
    loads: Vec<DateTime<Utc>>,
    /// How often a base address was given out, by its hash.
    taken: HashMap<u64, u32>,
    constituent: u64,
}

impl Maker {
    fn new(seed: u64, now: DateTime<Utc>, preferences: usize, contacts: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let now = now.trunc_subsecs(0);
        let loads = (0..BULK_LOADS)
            .map(|_| {
                now - Duration::seconds(random.random_range(BULK_LOAD_SECS..PAST_DAYS * 86_400))
            })
            .collect();
        Self {
            random,
            now,
            preferences,
            loads,
            taken: HashMap::with_capacity(contacts),
            constituent: 100_000,
        }
    }

    /// One person with at most as many contacts as each system still has room for, and at least one.
    fn person(
        &mut self,
        salesforce_room: usize,
        ascend_room: usize,
        before: Option<&Person>,
    ) -> Person {
        let (in_salesforce, in_ascend) = match (salesforce_room > 0, ascend_room > 0) {
            (true, true) if self.chance(IN_BOTH) => (true, true),
            (true, true) => {
                let only_salesforce = self.chance(0.5);
                (only_salesforce, !only_salesforce)
            }
            rooms => rooms,
        };
        let first = self.given();
        let (last, address) = match before {
            Some(before) if before.address.is_some() && self.chance(HOUSEHOLD) => {
                (before.last.clone(), before.address.clone())
            }
            _ => {
                let last = self.family();
                let address =
                    (!self.chance(NO_ADDRESS_AT_ALL)).then(|| self.address(&first, &last));
                (last, address)
            }
        };
        let constituent = in_ascend.then(|| self.constituent());
        let linked = in_salesforce && in_ascend && self.chance(LINKED);

        let withdrawn = self.chance(OPTED_OUT);
        let withdrawn_in_ascend = match (in_salesforce, withdrawn) {
            (false, withdrawn) => withdrawn,
            (true, true) => !self.chance(WITHDRAWN_IN_SALESFORCE_ONLY),
            (true, false) => self.chance(WITHDRAWN_IN_ASCEND_ONLY),
        };

        let mut ascend = Vec::new();
        if in_ascend {
            let address = if linked && address.is_some() && self.chance(OTHER_ADDRESS) {
                Some(self.address(&first, &last))
            } else {
                address.clone()
            };
            let times = self.times(withdrawn_in_ascend, None);
            let count = self.contacts(address.is_some(), ascend_room);
            ascend = self.ascend(
                address.as_deref(),
                constituent.as_deref(),
                times,
                withdrawn_in_ascend,
                count,
            );
        }
        let mut salesforce = Vec::new();
        if in_salesforce {
            let times = self.times(withdrawn, ascend.first());
            let count = self.contacts(address.is_some(), salesforce_room);
            let link = if linked {
                constituent.clone()
            } else {
                self.dangling_link(in_ascend)
            };
            salesforce =
                self.salesforce(address.as_deref(), link.as_deref(), times, withdrawn, count);
        }
        Person {
            first,
            last,
            address,
            constituent,
            salesforce,
            ascend,
        }
    }

    fn salesforce(
        &mut self,
        address: Option<&str>,
        link: Option<&str>,
        times: Times,
        opted_out: bool,
        count: usize,
    ) -> Vec<SalesforceContact> {
        let mut contacts = Vec::with_capacity(count);
        for number in 0..count {
            let duplicate = number > 0;
            let (opted_out, times) = if duplicate {
                self.duplicate(opted_out, times)
            } else {
                (opted_out, times)
            };
            let ascend_id = if duplicate && self.chance(0.6) {
                None
            } else {
                link.map(str::to_owned)
            };
            contacts.push(SalesforceContact {
                address: self.typed(address, duplicate),
                created: times.created,
                modified: times.modified,
                opted_out,
                opted_out_at: times.opted_out_at,
                opted_out_by_agent: opted_out && self.chance(0.25),
                preferences: self.boxes(opted_out),
                ascend_id,
            });
        }
        contacts
    }

    fn ascend(
        &mut self,
        address: Option<&str>,
        constituent: Option<&str>,
        times: Times,
        opted_out: bool,
        count: usize,
    ) -> Vec<AscendContact> {
        let mut contacts = Vec::with_capacity(count);
        for number in 0..count {
            let duplicate = number > 0;
            let (opted_out, times) = if duplicate {
                self.duplicate(opted_out, times)
            } else {
                (opted_out, times)
            };
            // A duplicate is somebody the staff took for new: a number of its own, or none yet.
            let donor_id = if duplicate {
                self.chance(0.7).then(|| self.constituent())
            } else {
                constituent.map(str::to_owned)
            };
            contacts.push(AscendContact {
                address: self.typed(address, duplicate),
                created: times.created,
                modified: times.modified,
                opted_out,
                opted_out_at: times.opted_out_at,
                donor_id,
            });
        }
        contacts
    }

    fn chance(&mut self, share: f64) -> bool {
        self.random.random_bool(share)
    }

    fn pick<'l>(&mut self, list: &[&'l str]) -> &'l str {
        list.get(self.random.random_range(0..list.len()))
            .copied()
            .unwrap_or_default()
    }

    fn given(&mut self) -> String {
        let name = self.pick(GIVEN);
        if self.chance(0.03) {
            format!("{name} {}", self.pick(GIVEN))
        } else {
            name.to_owned()
        }
    }

    fn family(&mut self) -> String {
        let name = self.pick(FAMILY);
        if self.chance(0.04) {
            format!("{name}-{}", self.pick(FAMILY))
        } else {
            name.to_owned()
        }
    }

    fn constituent(&mut self) -> String {
        self.constituent += self.random.random_range(1..=9);
        format!("{:010}", self.constituent)
    }

    /// A link to a constituent that Ascend has purged; a few contacts that Ascend does not know still carry one.
    fn dangling_link(&mut self, in_ascend: bool) -> Option<String> {
        (!in_ascend && self.chance(0.02)).then(|| self.constituent())
    }

    /// How many contacts a person has in a system: mostly one, seldom more than two.
    fn contacts(&mut self, addressed: bool, room: usize) -> usize {
        let mut count = 1;
        while addressed && count < 5 && self.chance(DUPLICATE) {
            count += 1;
        }
        count.min(room)
    }

    /// A new address, never given out before.
    fn address(&mut self, first: &str, last: &str) -> String {
        let style = self.random.random_range(0..100);
        // Room for the domain and a tag as well: the text is built in one piece, for speed.
        let mut address = String::with_capacity(first.len() + last.len() + 40);
        let (front, separator, back) = match style {
            0..45 => (first, ".", last),
            45..60 => (initial(first), ".", last),
            60..70 => (first, "", last),
            70..80 => (last, ".", first),
            80..88 => (first, "_", last),
            88..94 => (initial(first), "", last),
            _ => (first, "-", last),
        };
        push_plain(&mut address, front);
        address.push_str(separator);
        push_plain(&mut address, back);
        if separator == "_" {
            let year = self.random.random_range(50..99_u32);
            address.push('_');
            address.push_str(&year.to_string());
        }
        let domain = if self.chance(0.03) {
            self.pick(DOMAINS_INTERNATIONAL)
        } else {
            self.pick(DOMAINS)
        };
        // Nothing else ends in digits without an underscore before them, so the number makes every address unique.
        let mut hasher = DefaultHasher::new();
        (&address, domain).hash(&mut hasher);
        let uses = self.taken.entry(hasher.finish()).or_insert(0);
        *uses += 1;
        if *uses > 1 {
            address.push_str(&uses.to_string());
        }
        if self.chance(0.02) {
            address.push_str(self.pick(TAGS));
        }
        address.push('@');
        address.push_str(domain);
        address
    }

    /// An address as somebody typed it into one contact. A duplicate keeps a usable address, or it would be none.
    fn typed(&mut self, address: Option<&str>, duplicate: bool) -> Option<String> {
        let address = address?;
        if !duplicate {
            if self.chance(BLANK_IN_ONE) {
                return None;
            }
            if self.chance(INVALID) {
                return Some(self.invalid(address));
            }
        }
        let mut typed = address.to_owned();
        match self.random.random_range(0..200) {
            0..4 => typed = typed.to_uppercase(),
            4..10 => {
                let rest = typed.split_off(1);
                typed = typed.to_uppercase() + &rest;
            }
            10..12 => typed.insert(0, ' '),
            12..15 => typed.push(' '),
            15 => typed.push('\u{a0}'),
            // The other spelling of an internationalised domain.
            _ if !typed.is_ascii() && self.chance(0.3) => {
                for (unicode, ascii) in PUNYCODE {
                    typed = typed.replace(unicode, ascii);
                }
            }
            _ => {}
        }
        Some(typed)
    }

    fn invalid(&mut self, address: &str) -> String {
        match self.random.random_range(0..8) {
            0 => address.replace('@', ""),
            1 => address.replace('@', "@@"),
            2 => address.replace('@', " at "),
            3 => address
                .split('@')
                .next()
                .map(|local| format!("{local}@"))
                .unwrap_or_default(),
            4 => address
                .split('@')
                .next_back()
                .map(|domain| format!("@{domain}"))
                .unwrap_or_default(),
            5 => format!("{address}."),
            6 => format!("{address}; {address}"),
            _ => self.pick(PLACEHOLDERS).to_owned(),
        }
    }

    fn boxes(&mut self, opted_out: bool) -> Vec<bool> {
        let share = if opted_out {
            if self.chance(TICKED_DESPITE_OPT_OUT) {
                0.6
            } else {
                0.0
            }
        } else if self.chance(0.2) {
            0.0
        } else {
            0.4
        };
        let mut boxes: Vec<bool> = (0..self.preferences)
            .map(|_| share > 0.0 && self.random.random_bool(share))
            .collect();
        // Otherwise people with few boxes would hardly ever contradict themselves.
        if opted_out && share > 0.0 {
            let kept = self.random.random_range(0..self.preferences.max(1));
            if let Some(ticked) = boxes.get_mut(kept) {
                *ticked = true;
            }
        }
        boxes
    }

    /// A moment of the past, more often a recent one.
    fn moment(&mut self) -> DateTime<Utc> {
        if self.chance(0.25) {
            let load = self.random.random_range(0..self.loads.len().max(1));
            let load = self.loads.get(load).copied().unwrap_or(self.now);
            return load + Duration::seconds(self.random.random_range(0..BULK_LOAD_SECS));
        }
        let age: f64 = self.random.random();
        self.now - Duration::seconds((age.powf(1.3) * (PAST_DAYS * 86_400) as f64) as i64)
    }

    /// A moment in between, both ends included.
    fn between(&mut self, from: DateTime<Utc>, until: DateTime<Utc>) -> DateTime<Utc> {
        let secs = (until - from).num_seconds().max(0);
        from + Duration::seconds(self.random.random_range(0..=secs))
    }

    /// Times of a contact; where the person has a contact in the other system already, often close to its times.
    fn times(&mut self, opted_out: bool, twin: Option<&AscendContact>) -> Times {
        let created = match twin {
            Some(twin) if self.chance(0.5) => {
                let until = (twin.created + Duration::days(90)).min(self.now);
                self.between(twin.created, until)
            }
            _ => self.moment(),
        };
        // Field history keeps what happened lately; flags that were set at creation or long ago have no row.
        let opted_out_at = (opted_out && self.chance(KNOWN_TIME)).then(|| {
            let earliest = created.max(self.now - Duration::days(HISTORY_DAYS));
            match twin.and_then(|twin| twin.opted_out_at) {
                Some(other) if other >= earliest && self.chance(0.8) => {
                    // The nightly run carried it over, in one direction or the other.
                    let (from, until) = if self.chance(0.7) {
                        (other - Duration::days(1), other)
                    } else {
                        (other, other + Duration::days(1))
                    };
                    self.between(from.max(earliest), until.min(self.now))
                }
                _ => self.between(earliest, self.now),
            }
        });
        let changed = match self.random.random_range(0..10) {
            0..2 => created,
            2..5 => self.moment(),
            _ => self.between(created, self.now),
        };
        let modified = changed.max(created).max(opted_out_at.unwrap_or(created));
        Times {
            created,
            modified,
            opted_out_at,
        }
    }

    /// The state of a duplicate of a contact: mostly the same flag, and at times created in the same second.
    fn duplicate(&mut self, opted_out: bool, original: Times) -> (bool, Times) {
        let opted_out = if self.chance(0.85) {
            opted_out
        } else {
            self.chance(OPTED_OUT)
        };
        let mut times = self.times(opted_out, None);
        if self.chance(0.15) {
            times.created = original.created;
            times.modified = times.modified.max(times.created);
            times.opted_out_at = times.opted_out_at.map(|at| at.max(times.created));
        }
        (opted_out, times)
    }
}

/// The first character of a name.
fn initial(name: &str) -> &str {
    let end = name.chars().next().map_or(0, char::len_utf8);
    name.get(..end).unwrap_or(name)
}

/// Adds a name in lower-case ASCII letters, as it stands in an address.
fn push_plain(text: &mut String, name: &str) {
    for c in name.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' => text.push(c),
            'ä' | 'æ' => text.push_str("ae"),
            'ö' | 'ø' | 'œ' => text.push_str("oe"),
            'ü' => text.push_str("ue"),
            'å' => text.push_str("aa"),
            'ß' => text.push_str("ss"),
            'þ' => text.push_str("th"),
            'á' | 'à' | 'â' | 'ã' | 'ă' | 'ą' => text.push('a'),
            'ç' | 'ć' | 'č' => text.push('c'),
            'ď' | 'đ' | 'ð' => text.push('d'),
            'é' | 'è' | 'ê' | 'ë' | 'ę' | 'ě' => text.push('e'),
            'ğ' => text.push('g'),
            'í' | 'ì' | 'î' | 'ï' | 'ı' => text.push('i'),
            'ł' => text.push('l'),
            'ñ' | 'ń' | 'ň' => text.push('n'),
            'ó' | 'ò' | 'ô' | 'õ' | 'ő' => text.push('o'),
            'ř' => text.push('r'),
            'š' | 'ś' | 'ş' | 'ș' => text.push('s'),
            'ť' | 'ț' => text.push('t'),
            'ú' | 'ù' | 'û' | 'ű' | 'ů' => text.push('u'),
            'ý' => text.push('y'),
            'ž' | 'ź' | 'ż' => text.push('z'),
            _ => {}
        }
    }
}

#[rustfmt::skip]
const DOMAINS: &[&str] = &[
    "example.com", "example.com", "example.com", "example.org", "example.org", "example.net", "example.net",
    "mail.example.com", "students.example.org", "alumni.example.org", "staff.example.net", "post.example",
    "brevpost.example", "kontor.example", "fjordmail.example", "northlight.example", "old-mill.example",
    "greenhill-school.example", "harbour-trust.example", "studio-nord.example", "atelier-blau.example",
    "correo.example", "courriel.example", "posta.example", "webmail.example", "familie-treff.example",
];

/// Internationalised domains in Unicode; the other spelling comes in when somebody types it.
const DOMAINS_INTERNATIONAL: &[&str] = &[
    "bücher.example",
    "blåbær.example",
    "café-du-port.example",
    "пример.example",
    "例え.example",
];

/// Internationalised domains in both spellings.
pub(crate) const PUNYCODE: &[(&str, &str)] = &[("bücher.example", "xn--bcher-kva.example")];

const TAGS: &[&str] = &[
    "+news",
    "+newsletter",
    "+events",
    "+crm",
    "+alumni",
    "+shop",
];

const PLACEHOLDERS: &[&str] = &[
    "unknown",
    "n/a",
    "none",
    "-",
    "no email",
    "tbd",
    "?",
    "x@x",
    "test",
    "see notes",
];

#[rustfmt::skip]
const GIVEN: &[&str] = &[
    "Aaliyah", "Aarav", "Abena", "Adaeze", "Ádám", "Adriana", "Agnes", "Agnieszka", "Ahmed", "Aiko", "Aino",
    "Aisha", "Akua", "Alba", "Aleksander", "Alejandro", "Alessia", "Alice", "Amara", "Amélie", "Amina", "Amir",
    "Ana", "Anders", "Andrea", "Andrew", "Anika", "Anita", "Anna", "Anne", "Antonio", "Anton", "Arash", "Arne",
    "Arthur", "Asha", "Astrid", "Aurora", "Ayşe", "Barbara", "Beatriz", "Benjamin", "Bente", "Birgit", "Bjørn",
    "Bogdan", "Bruno", "Camille", "Carlos", "Carmen", "Catarina", "Cecilia", "Chiara", "Chidi", "Chinedu", "Chloe",
    "Christian", "Claire", "Clara", "Daniel", "David", "Deepa", "Denise", "Diego", "Dimitri", "Divya", "Dorota",
    "Edith", "Eero", "Ekaterina", "Elena", "Elif", "Elisabeth", "Ella", "Emil", "Emma", "Emre", "Enrique", "Erik",
    "Esther", "Eszter", "Eva", "Fatima", "Felix", "Fernando", "Filip", "Fiona", "Florian", "Francesca", "Frank",
    "Frida", "Gabriel", "Georg", "Giulia", "Goran", "Grace", "Greta", "Guadalupe", "Guillermo", "Gunnar", "Hana",
    "Hanna", "Hannah", "Hans", "Haruto", "Hassan", "Hedda", "Heidi", "Helena", "Henrik", "Hiroshi", "Hugo",
    "Ibrahim", "Ida", "Ifeoma", "Igor", "Ilse", "Inés", "Inga", "Ingrid", "Irene", "Isabel", "Ivan", "Ivana",
    "Jacob", "Jadwiga", "James", "Jan", "Jana", "Javier", "Jean", "Jelena", "Jens", "Jiří", "João", "Johan",
    "Johanna", "John", "Jonas", "Jorge", "José", "Josefine", "Joshua", "Juan", "Julia", "Jürgen", "Kaja", "Kamala",
    "Karin", "Karl", "Katarzyna", "Kateřina", "Kavita", "Kenji", "Kerstin", "Khadija", "Klara", "Klaus", "Kofi",
    "Kristina", "Krzysztof", "Kwame", "Lars", "Laura", "Layla", "Leila", "Lena", "Leon", "Liam", "Lina", "Linnea",
    "Liv", "Łukasz", "Lucas", "Lucía", "Luigi", "Luis", "Maja", "Mahmoud", "Małgorzata", "Manuel", "Marco", "Marek",
    "Margit", "María", "Marie", "Marta", "Martin", "Mary", "Matěj", "Mathilde", "Matteo", "Maud", "Maya", "Mehmet",
    "Mei", "Michael", "Miguel", "Milan", "Mina", "Ming", "Mohammed", "Mónica", "Morten", "Nadia", "Naomi",
    "Natalia", "Neha", "Nia", "Nicolas", "Nikola", "Nils", "Nina", "Noah", "Nora", "Odile", "Olav", "Oliver",
    "Olga", "Olivia", "Omar", "Oscar", "Otto", "Pablo", "Paola", "Patricia", "Paul", "Paula", "Pavel", "Pedro",
    "Per", "Peter", "Philip", "Pia", "Piotr", "Priya", "Rachel", "Radek", "Rafael", "Ragnhild", "Rania", "Ravi",
    "Rebecca", "Renée", "René", "Ricardo", "Rita", "Robert", "Rosa", "Ruben", "Ruth", "Saga", "Salma", "Samira",
    "Samuel", "Sandra", "Sara", "Sébastien", "Selin", "Sergio", "Signe", "Silje", "Simon", "Sina", "Sofia", "Søren",
    "Stefan", "Stella", "Stephen", "Sunita", "Susanne", "Svetlana", "Szymon", "Tamar", "Tariq", "Teresa", "Theo",
    "Thomas", "Tobias", "Tomáš", "Trine", "Tunde", "Ulrike", "Uma", "Valentina", "Vera", "Viktor", "Vincent",
    "Vivek", "Wanjiru", "Wei", "Wendy", "William", "Xiaomei", "Yara", "Yasmin", "Yusuf", "Yuki", "Zanele", "Zofia",
    "Zoë", "Zsófia",
];

#[rustfmt::skip]
const FAMILY: &[&str] = &[
    "Aalto", "Abbott", "Abdi", "Abe", "Achebe", "Adamczyk", "Adams", "Adeyemi", "Aguilar", "Ahlgren", "Ahmadi",
    "Akhtar", "Albrecht", "Ali", "Almeida", "Álvarez", "Amundsen", "Andersen", "Andersson", "Antonescu", "Arslan",
    "Asante", "Aydın", "Bäcker", "Bakker", "Balogun", "Banerjee", "Baptiste", "Barbosa", "Barnes", "Bauer",
    "Becker", "Beneš", "Berg", "Berglund", "Bernard", "Bhatt", "Bianchi", "Björk", "Blanc", "Blom", "Boateng",
    "Bondarenko", "Borges", "Brandt", "Braun", "Bruun", "Bukowski", "Burke", "Byrne", "Çelik", "Cabrera",
    "Campbell", "Cardoso", "Carlsen", "Castillo", "Černý", "Chandra", "Chen", "Chowdhury", "Christensen", "Clarke",
    "Cohen", "Colombo", "Conti", "Costa", "Coşkun", "Cruz", "Czarnecki", "Dahl", "Dahlberg", "da Silva", "Danso",
    "Das", "Davies", "de Jong", "de Vries", "Delgado", "Demir", "Desai", "Diallo", "Díaz", "Diop", "Dlamini",
    "Dubois", "Dupont", "Dvořák", "Eide", "Eriksen", "Eriksson", "Escobar", "Esposito", "Evans", "Eze", "Faber",
    "Fàbregas", "Farah", "Farkas", "Fernández", "Ferrari", "Ferreira", "Fischer", "Fodor", "Fontaine", "Forsberg",
    "Foster", "Fournier", "Frank", "Fujita", "Fuchs", "Gallagher", "Garcia", "Gashi", "Gauthier", "Georgiou",
    "Gill", "Giordano", "Gomes", "González", "Graham", "Greco", "Grünwald", "Guerrero", "Gupta", "Gustafsson",
    "Haas", "Hagen", "Hakimi", "Halvorsen", "Hansen", "Haraldsen", "Hartmann", "Hassan", "Haugen", "Hayashi",
    "Heikkinen", "Henriksen", "Herrera", "Hernández", "Hoffmann", "Holm", "Horák", "Horvat", "Horváth", "Hossain",
    "Hughes", "Huang", "Ibrahim", "Iglesias", "Ionescu", "Ito", "Ivanov", "Iyer", "Jackson", "Jain", "Jankowski",
    "Jansen", "Jensen", "Jiménez", "Johansson", "Johnsen", "Jovanović", "Jørgensen", "Kaplan", "Kaczmarek", "Kamau",
    "Kaya", "Keller", "Kelly", "Khan", "Kılıç", "Kim", "Kimura", "Király", "Klein", "Kovač", "Kovács", "Kowalski",
    "Köhler", "Krause", "Kristiansen", "Kruger", "Krüger", "Kučera", "Kumar", "Kuznetsov", "Laine", "Lam", "Lang",
    "Larsen", "Laurent", "Le Goff", "Lee", "Lefèvre", "Lehtonen", "Leroy", "Lewis", "Li", "Lie", "Lima", "Lind",
    "Lindqvist", "Liu", "Lombardi", "López", "Lorenz", "Løkken", "Lund", "Lundgren", "Mäkinen", "Macdonald",
    "Madsen", "Maier", "Malik", "Manzoni", "Mårtensson", "Marinov", "Marković", "Martin", "Martínez", "Mbeki",
    "Mehta", "Meijer", "Melnyk", "Mendes", "Mensah", "Meyer", "Michalski", "Mishra", "Mohamed", "Molina", "Møller",
    "Morales", "Moreau", "Moreira", "Moretti", "Morris", "Mukherjee", "Müller", "Murphy", "Mutua", "Nagy", "Nair",
    "Nakamura", "Navarro", "Németh", "Ndiaye", "Neumann", "Nguyen", "Nieminen", "Nilsson", "Nkosi", "Nordin",
    "Novák", "Nowak", "Nuñez", "Nygård", "Ochieng", "O'Brien", "O'Connor", "O'Hara", "Okafor", "Okonkwo", "Olsen",
    "Omondi", "Ortega", "Osei", "Østby", "Owusu", "Öztürk", "Papadopoulos", "Park", "Patel", "Paulsen", "Pavlov",
    "Pedersen", "Peeters", "Pereira", "Petersen", "Petrov", "Petrović", "Pham", "Pinto", "Popescu", "Popović",
    "Price", "Procházka", "Quiroga", "Rahman", "Ramírez", "Rao", "Rasmussen", "Reddy", "Reyes", "Ribeiro", "Ricci",
    "Richter", "Rivera", "Roberts", "Rodríguez", "Romano", "Romero", "Rossi", "Roy", "Ruiz", "Rybak", "Šimić",
    "Šťastný", "Sahin", "Saito", "Salazar", "Sánchez", "Sandberg", "Santos", "Sato", "Schmidt", "Schneider",
    "Schröder", "Schulz", "Sharma", "Shevchenko", "Silva", "Singh", "Skov", "Smirnov", "Smit", "Solberg",
    "Sørensen", "Sousa", "Stępień", "Strand", "Suárez", "Suzuki", "Svensson", "Szabó", "Takahashi", "Tanaka",
    "Teixeira", "Thomsen", "Torres", "Tóth", "Tran", "Turner", "Ullmann", "Uzun", "van Dijk", "Vargas", "Varga",
    "Vasquez", "Vega", "Veselý", "Vidal", "Virtanen", "Visser", "Vogel", "Wagner", "Walker", "Wang", "Watanabe",
    "Weber", "Wiśniewski", "Wójcik", "Wolf", "Wong", "Wright", "Yamamoto", "Yang", "Yıldız", "Yılmaz", "Young",
    "Zając", "Zeman", "Zhang", "Zieliński", "Zimmermann",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_780_000_000, 0).unwrap_or_default()
    }

    /// What an address is after the cleaning any reader would do; `None` if it is unusable.
    fn clean(address: Option<&str>) -> Option<String> {
        let address = address?.trim().to_lowercase();
        let (local, domain) = address.split_once('@')?;
        let usable = !local.is_empty()
            && domain.contains('.')
            && !domain.contains(['@', ' '])
            && !domain.ends_with('.');
        usable.then(|| address.replace("xn--bcher-kva", "bücher"))
    }

    #[test]
    fn counts_are_exact() {
        for count in [0, 1, 2, 3, 7, 100, 1_001] {
            let people = generate(count, 5, noon(), 3);
            assert_eq!(
                people
                    .iter()
                    .map(|person| person.salesforce.len())
                    .sum::<usize>(),
                count,
                "Salesforce, {count}"
            );
            assert_eq!(
                people
                    .iter()
                    .map(|person| person.ascend.len())
                    .sum::<usize>(),
                count,
                "Ascend, {count}"
            );
            assert!(
                people
                    .iter()
                    .all(|person| person.salesforce.len() + person.ascend.len() > 0),
                "nobody is nowhere"
            );
        }
    }

    #[test]
    fn a_seed_settles_everything() {
        assert_eq!(
            generate(500, 1, noon(), 4),
            generate(500, 1, noon(), 4),
            "same seed, same people"
        );
        assert_ne!(
            generate(500, 1, noon(), 4),
            generate(500, 2, noon(), 4),
            "another seed, other people"
        );
    }

    #[test]
    fn times_are_whole_seconds_in_order() {
        let now = noon() + Duration::milliseconds(300);
        let people = generate(20_000, 3, now, 2);
        let contacts = people.iter().flat_map(|person| {
            let salesforce = person
                .salesforce
                .iter()
                .map(|c| (c.created, c.modified, c.opted_out, c.opted_out_at));
            salesforce.chain(
                person
                    .ascend
                    .iter()
                    .map(|c| (c.created, c.modified, c.opted_out, c.opted_out_at)),
            )
        });
        for (created, modified, opted_out, opted_out_at) in contacts {
            assert!(
                created <= modified && modified <= now,
                "{created} {modified}"
            );
            assert!(
                now - created <= Duration::days(PAST_DAYS + 1),
                "{created} is too long ago"
            );
            assert_eq!(
                created.timestamp_subsec_nanos() + modified.timestamp_subsec_nanos(),
                0,
                "whole seconds"
            );
            if let Some(at) = opted_out_at {
                assert!(opted_out, "a time belongs to an opt-out");
                assert!(created <= at && at <= modified, "{created} {at} {modified}");
            }
        }
    }

    #[test]
    fn numbers_of_constituents_are_unique_and_links_lead_to_the_same_person() {
        let mut seen = HashSet::new();
        for person in generate(20_000, 4, noon(), 0) {
            for donor_id in person
                .ascend
                .iter()
                .filter_map(|contact| contact.donor_id.clone())
            {
                assert_eq!(donor_id.len(), 10, "{donor_id}");
                assert!(seen.insert(donor_id.clone()), "{donor_id} twice");
            }
            assert_eq!(
                person
                    .ascend
                    .first()
                    .and_then(|contact| contact.donor_id.clone()),
                person.constituent
            );
            if person.constituent.is_some() {
                assert!(
                    person
                        .salesforce
                        .iter()
                        .all(|c| c.ascend_id.is_none() || c.ascend_id == person.constituent)
                );
            }
        }
    }

    #[test]
    fn only_households_share_an_address() {
        let people = generate(50_000, 8, noon(), 0);
        let mut seen = HashSet::new();
        let mut before: Option<&Person> = None;
        for person in people.iter().filter(|person| person.address.is_some()) {
            if !seen.insert(&person.address) {
                let household =
                    before.is_some_and(|b| b.address == person.address && b.last == person.last);
                assert!(household, "two strangers share {:?}", person.address);
            }
            before = Some(person);
        }
        assert!(
            seen.len() > people.len() / 10 * 9,
            "few addresses: {}",
            seen.len()
        );
    }

    #[test]
    fn every_domain_is_reserved() {
        for person in generate(20_000, 6, noon(), 0) {
            let typed = person
                .salesforce
                .iter()
                .map(|c| &c.address)
                .chain(person.ascend.iter().map(|c| &c.address));
            for address in typed
                .chain([&person.address])
                .filter_map(|address| clean(address.as_deref()))
            {
                let domain = address.rsplit('@').next().unwrap_or_default();
                let top = domain.rsplit('.').next().unwrap_or_default();
                let reserved = ["example.com", "example.org", "example.net"];
                assert!(
                    top == "example" || reserved.iter().any(|d| domain.ends_with(d)),
                    "{address}"
                );
            }
        }
    }

    #[test]
    fn the_shares_are_as_described() {
        const COUNT: usize = 50_000;
        let people = generate(COUNT, 9, noon(), 5);
        let salesforce: Vec<&SalesforceContact> = people
            .iter()
            .flat_map(|person| &person.salesforce)
            .collect();
        let contacts = |wanted: &dyn Fn(&SalesforceContact) -> bool| {
            salesforce.iter().filter(|contact| wanted(contact)).count() as f64 / COUNT as f64
        };
        let both: Vec<&Person> = people
            .iter()
            .filter(|p| !p.salesforce.is_empty() && !p.ascend.is_empty())
            .collect();
        let of = |part: &[&Person], wanted: &dyn Fn(&Person) -> bool| {
            part.iter().filter(|person| wanted(person)).count() as f64 / part.len() as f64
        };
        let everyone: Vec<&Person> = people.iter().collect();
        let linked = |p: &Person| p.salesforce.iter().any(|c| c.ascend_id.is_some());
        let out = |p: &Person| p.salesforce.first().is_some_and(|c| c.opted_out);
        let out_in_ascend = |p: &Person| p.ascend.first().is_some_and(|c| c.opted_out);

        let opted_out: Vec<_> = salesforce.iter().filter(|c| c.opted_out).collect();
        let dated = opted_out
            .iter()
            .filter(|c| c.opted_out_at.is_some())
            .count() as f64
            / opted_out.len() as f64;
        let addresses: Vec<String> = salesforce
            .iter()
            .filter_map(|c| clean(c.address.as_deref()))
            .collect();
        let distinct = addresses.iter().collect::<HashSet<_>>().len();
        let seconds = salesforce
            .iter()
            .map(|c| c.created)
            .collect::<HashSet<_>>()
            .len();
        let tied = both.iter().filter(|p| {
            let mut created: Vec<_> = p.salesforce.iter().map(|c| c.created).collect();
            created.sort_unstable();
            created.windows(2).any(|pair| pair.first() == pair.last())
        });
        let elsewhere = |p: &Person| {
            let address = |typed: Option<&Option<String>>| clean(typed.and_then(Option::as_deref));
            let here = address(p.salesforce.first().map(|c| &c.address));
            let there = address(p.ascend.first().map(|c| &c.address));
            linked(p) && here.is_some() && there.is_some() && here != there
        };

        #[rustfmt::skip]
        let cases: &[(&str, f64, f64, f64)] = &[
            ("people in both systems", of(&everyone, &|p| { !p.salesforce.is_empty() && !p.ascend.is_empty() }), 0.83, 0.87),
            ("people in both systems with a link", of(&both, &linked), 0.88, 0.92),
            ("linked people with two addresses", of(&both, &elsewhere), 0.02, 0.06),
            ("people on whom the systems disagree", of(&both, &|p| out(p) != out_in_ascend(p)), 0.015, 0.025),
            ("contacts without an address", contacts(&|c| c.address.is_none()), 0.05, 0.07),
            ("contacts with an unusable address", contacts(&|c| c.address.is_some() && clean(c.address.as_deref()).is_none()), 0.005, 0.012),
            ("contacts whose address is untidy", contacts(&|c| { c.address .as_ref() .is_some_and(|a| *a != a.trim().to_lowercase()) }), 0.04, 0.10),
            ("contacts with an address that another has", (addresses.len() - distinct) as f64 / COUNT as f64, 0.04, 0.06),
            ("contacts created in the second of another", 1.0 - seconds as f64 / COUNT as f64, 0.1, 0.5),
            ("duplicates that tie", tied.count() as f64 / COUNT as f64, 0.002, 0.02),
            ("contacts that have opted out", contacts(&|c| c.opted_out), 0.11, 0.13),
            ("opt-outs with a known time", dated, 0.67, 0.73),
            ("opt-outs with boxes ticked", contacts(&|c| c.opted_out && c.preferences.contains(&true)), 0.006, 0.014),
            ("opt-ins with no box ticked", contacts(&|c| !c.opted_out && !c.preferences.contains(&true)), 0.15, 0.30),
            ("opt-outs set by staff", contacts(&|c| c.opted_out_by_agent), 0.02, 0.04),
            ("contacts with the right number of boxes", contacts(&|c| c.preferences.len() == 5), 1.0, 1.0),
        ];
        for (name, share, least, most) in cases {
            assert!(
                (*least..=*most).contains(share),
                "{name}: {share} is not in {least}..={most}"
            );
        }
    }

    fn plain(name: &str) -> String {
        let mut text = String::new();
        push_plain(&mut text, name);
        text
    }

    #[test]
    fn names_are_plain_in_addresses() {
        for (name, plainly) in [
            ("Jürgen", "juergen"),
            ("O'Hara", "ohara"),
            ("Łukasz", "lukasz"),
            ("Nygård", "nygaard"),
        ] {
            assert_eq!(plain(name), plainly);
        }
        for name in GIVEN.iter().chain(FAMILY) {
            let letters = name.chars().filter(|c| c.is_alphabetic()).count();
            assert!(
                plain(name).len() >= letters,
                "{name} loses a letter: {}",
                plain(name)
            );
        }
    }
}
