//! A university's week with CU Ascend by files (R46): people act in Salesforce and in Ascend, each night
//! has its batch, its load and its extract, and each goes wrong in another way. In the end every system
//! shows everybody's last word, and nothing is left over but what the other side refused.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "week/bench.rs"]
mod bench;
#[path = "week/people.rs"]
mod people;
#[path = "common/postgres.rs"]
mod postgres_server;

use bench::Bench;
use chrono::{DateTime, DurationRound as _, TimeDelta, Timelike as _, Utc};
use chrono_tz::America::Denver;
use consentd::alarm::Kind;
use consentd::consent::At;
use consentd::store::{DEAD, FeedSwitch, RequestQuery};
use consentd::sync::parity::Class;
use consentd_sandbox::ascend_files::{Behaviour, Code, Exchange, Load, Wrong};
use consentd_sandbox::{DATA_LOAD, Fault, LoadScope};
use people::{Crowd, PEOPLE, REFUSED, Shown, UNSUBSCRIBED};
use postgres_server::Database;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};

/// Says by which seed a week can be had again.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was the week of CONSENTD_TEST_SEED={}", self.0);
        }
    }
}

fn seed(otherwise: u64) -> Seed {
    let given = std::env::var("CONSENTD_TEST_SEED").ok();
    Seed(given.map_or(otherwise, |text| text.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn r46_a_week_with_faults_ends_at_parity_on_sqlite() {
    let seed = seed(1);
    week(Bench::start(None, monday()).await, &seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r46_a_week_with_faults_ends_at_parity_on_postgres() {
    let seed = seed(2);
    let database = Some(Database::create().await);
    week(Bench::start(database, monday()).await, &seed).await;
}

/// Five in the morning, Denver, of a Monday at the end of whose week summer time begins.
fn monday() -> DateTime<Utc> {
    "2027-03-08T12:00:00Z".parse().unwrap()
}

/// The week, and whom it is about.
struct Week {
    bench: Bench,
    crowd: Crowd,
    /// The batches of each load, by night.
    loads: BTreeMap<i64, Vec<String>>,
    /// The batches that were seen on their way, with who is in them.
    batches: BTreeMap<String, BTreeSet<String>>,
}

async fn week(bench: Bench, seed: &Seed) {
    let crowd = Crowd::gather(&bench.sandbox, StdRng::seed_from_u64(seed.0));
    let mut week = Week {
        bench,
        crowd,
        loads: BTreeMap::new(),
        batches: BTreeMap::new(),
    };
    week.begin().await;
    // Seven days, and two quiet nights.
    week.go_on_to_noon_of(9).await;
    week.is_at_rest().await;
    let seen = week.batches.len();
    week.go_on_to_noon_of(10).await;
    assert_eq!(
        week.batches.len(),
        seen,
        "one more night has nothing to say"
    );
    week.is_at_rest().await;
}

impl Week {
    /// Hour by hour, as clocks in Denver show it; Monday is day 0.
    async fn go_on_to_noon_of(&mut self, last_day: i64) {
        let date = |at: DateTime<Utc>| at.with_timezone(&Denver).date_naive();
        loop {
            let full = self
                .bench
                .now()
                .duration_trunc(TimeDelta::hours(1))
                .unwrap();
            let next = full + TimeDelta::hours(1);
            let day = (date(next) - date(monday())).num_days();
            let hour = next.with_timezone(&Denver).hour();
            if (day, hour) == (last_day, 12) {
                return;
            }
            self.bench.move_to(next);
            self.hour(day, hour).await;
        }
    }

    fn side(&self) -> &Exchange {
        self.bench.sandbox.ascend_files()
    }

    /// The daemon reads everybody for the first time.
    async fn begin(&mut self) {
        let refused = self.crowd.people.iter().take(REFUSED);
        let ids = refused.map(|person| person.donor.clone()).collect();
        self.behaves(Behaviour::Reject {
            ids: Some(ids),
            code: Code::Policy,
        });
        self.bench.pass(60);
        self.extract();
        self.bench.restart().await;
        self.turns(2).await;
        assert_eq!(self.bench.alarms().await, []);
        assert_eq!(self.bench.outbox().await, [], "both systems say the same");
    }

    fn behaves(&self, rule: impl Into<consentd_sandbox::ascend_files::Rule>) {
        self.side().set_behaviour(rule).unwrap();
    }

    /// An extract that will be read.
    fn extract(&mut self) {
        let rows = self.side().extract().unwrap().rows;
        assert_eq!(rows, PEOPLE);
        self.crowd.extracts.push(self.bench.now());
    }

    /// The daemon looks so often within an hour.
    async fn turns(&mut self, times: usize) {
        for _ in 0..times {
            self.bench.pass(600);
            let before = self.crowd.shown(&self.bench.sandbox);
            self.bench.turn().await;
            self.watch(&before, "the daemon");
            self.look_at_batches();
        }
    }

    /// Nobody whose last word was an opt-out was opted in by anybody else.
    fn watch(&self, before: &[Shown], by: &str) {
        for ((person, before), after) in (self.crowd.people.iter())
            .zip(before)
            .zip(self.crowd.shown(&self.bench.sandbox))
        {
            let turned = (before.0 && !after.0) || (before.1 && !after.1);
            let last = person.last();
            assert!(
                !turned || last.is_some_and(|(_, out)| !out),
                "{by} opted {person:?} in at {}: {before:?} {after:?}",
                self.bench.now()
            );
        }
    }

    /// A row that opts somebody in who has opted out since is older than that, so that it is refused.
    fn look_at_batches(&mut self) {
        let outbound = self.side().folder().join("outbound");
        for entry in std::fs::read_dir(outbound).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let id = name.strip_prefix("cu_ecomm_email_optout_");
            let Some(id) = id.and_then(|id| id.strip_suffix(".csv")) else {
                continue;
            };
            if self.batches.contains_key(id) {
                continue;
            }
            let path = self.side().folder().join("outbound").join(&name);
            let mut ids = BTreeSet::new();
            for row in csv::Reader::from_path(path).unwrap().records() {
                let row = row.unwrap();
                let mut people = self.crowd.people.iter();
                let person = people.find(|person| person.donor == row[2]).unwrap();
                assert_eq!(&row[3], &person.salesforce);
                ids.insert(person.donor.clone());
                let changed_at: DateTime<Utc> = row[7].parse().unwrap();
                if let (Some((at, true)), "OPT_IN") = (person.last(), &row[5]) {
                    assert!(changed_at < at, "{person:?} would be opted in: {row:?}");
                }
            }
            self.batches.insert(id.to_owned(), ids);
        }
    }

    fn load(&mut self, day: i64) -> Load {
        let before = self.crowd.shown(&self.bench.sandbox);
        let load = self.side().load().unwrap();
        assert_eq!(load.refused, [], "every batch can be read");
        let ids = load.batches.iter().map(|batch| batch.batch_id.clone());
        self.loads.insert(day, ids.collect());
        self.watch(&before, "a load");
        load
    }

    /// The right answers to the batches of that night's load.
    fn answer(&self, day: i64) {
        for batch in &self.loads[&day] {
            self.side().answer(batch).unwrap();
        }
    }

    async fn stands(&self, kind: Kind) -> bool {
        let alarms = self.bench.alarms().await;
        alarms.iter().any(|alarm| alarm.kind == kind)
    }

    /// Somebody looks at what cannot be understood, and clears it away.
    async fn clear_away(&self, files: usize) {
        assert!(self.stands(Kind::UnreadableFile).await);
        let folder = self.side().folder().join("inbound/rejected");
        let mut cleared = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            cleared += usize::from(!path.to_str().unwrap().ends_with(".reason.txt"));
            std::fs::remove_file(path).unwrap();
        }
        assert_eq!(cleared, files, "files that cannot be understood");
    }

    /// One hour: what the other side does, what people do, what the daemon does.
    async fn hour(&mut self, day: i64, hour: u32) {
        match hour {
            3 => self.night(day),
            5 => self.morning(day),
            _ => {}
        }
        self.trouble(day, hour).await;
        if day < 7 && (6..22).contains(&hour) {
            // On the day of the load nobody is opted in there by hand: in the extract it would be one
            // more row of the load. What was done by hand before the load would not be seen at all.
            let in_ascend = match day {
                2 => (hour > 11, false),
                _ => (true, true),
            };
            self.crowd.act(&self.bench.sandbox, in_ascend);
            self.of_the_refused(day, hour);
        }
        let quiet = day > 7 && ![1, 3, 5].contains(&hour);
        self.turns(if quiet { 1 } else { 2 }).await;
        self.after(day, hour).await;
    }

    /// Two of those who are refused opt out, and one of them comes back.
    fn of_the_refused(&mut self, day: i64, hour: u32) {
        let (number, out) = match (day, hour) {
            (0, 10) => (0, true),
            (0, 11) => (1, true),
            (3, 10) => (1, false),
            (4, 10) => (2, true),
            _ => return,
        };
        let sandbox = &self.bench.sandbox;
        assert!(self.crowd.say_in_salesforce(sandbox, number, out));
    }

    /// Three at night: Ascend loads what is there, and answers.
    fn night(&mut self, day: i64) {
        let wrongly = |how| Behaviour::AckWrongly { how }.times(1);
        match day {
            1 => self.behaves(Behaviour::AckLate { seconds: None }.times(1)),
            2 => self.behaves(wrongly(Wrong::Broken)),
            3 => self.behaves(
                Behaviour::AckPartly {
                    rows: 2,
                    seconds: None,
                }
                .times(1),
            ),
            4 => {
                let (ids, code) = (None, Code::Locked);
                self.behaves(Behaviour::Reject { ids, code }.times(1));
                self.behaves(Behaviour::AckTwice.times(1));
            }
            6 => {
                self.behaves(wrongly(Wrong::UnknownBatch));
                self.behaves(wrongly(Wrong::RowNumbers));
            }
            7 => self.behaves(wrongly(Wrong::Status)),
            _ => {}
        }
        let load = self.load(day);
        let batches = load.batches.len();
        match day {
            5 => assert!(load.locked && batches == 0),
            6 => assert_eq!(batches, 2, "the one that waited for the lock as well"),
            ..=7 => assert_eq!(batches, 1, "night {day}"),
            _ => assert!(batches <= 1),
        }
        if day == 4 {
            let locked = load.batches[0].rejected.get(&Code::Locked);
            assert!(locked.is_some_and(|rows| *rows > 20), "{load:?}");
        }
    }

    /// Five in the morning: Ascend writes an extract.
    fn morning(&mut self, day: i64) {
        match day {
            4 => {
                self.behaves(Behaviour::ShortExtract { percent: 30 }.times(1));
                let rows = self.side().extract().unwrap().rows;
                assert_eq!(rows, PEOPLE * 3 / 10);
            }
            6 => {}
            _ => self.extract(),
        }
    }

    /// What else happens.
    async fn trouble(&mut self, day: i64, hour: u32) {
        let sandbox = std::sync::Arc::clone(&self.bench.sandbox);
        match (day, hour) {
            (0, 12) => {
                sandbox.ascend().snapshot("monday").unwrap();
            }
            (1, 12) => sandbox
                .salesforce()
                .set_fault(Fault::UnavailableJson)
                .unwrap(),
            (1, 17) => {
                assert_eq!(sandbox.salesforce().clear_faults(None), 1);
            }
            // The first acknowledgement comes, a day late; a part of another one; one again.
            (2, 2) | (3, 10) => assert_eq!(self.side().deliver().unwrap(), 1),
            (4, 4) => {
                self.side().deliver().unwrap();
            }
            (2, 10) => self.answer(2),
            (6 | 7, 10) => self.answer(day),
            (2, 11) => {
                let before = self.crowd.shown(&sandbox);
                let (all, ascend) = (LoadScope::default(), sandbox.ascend());
                ascend.load("monday", &all, DATA_LOAD).unwrap();
                let allowed = self.crowd.loaded(&sandbox, &before);
                assert!(allowed >= 25, "only {allowed} were opted in by the load");
            }
            // Between the file and its acknowledgement.
            (3, 2) => self.bench.restart().await,
            (4, 10) => {
                // The operator gets a whole one, and releases the feed.
                assert!(self.stands(Kind::FeedHalted).await);
                self.extract();
                let ascend = self.bench.member("ascend").unwrap().id.0;
                let now = At::from(self.bench.now());
                let store = &self.bench.store;
                store
                    .set_feed_switch(ascend, FeedSwitch::Halted(None), now)
                    .await
                    .unwrap();
            }
            (4, 23) => assert!(self.side().leave_lock("somebody").unwrap()),
            (5, 10) => assert!(self.side().remove_lock().unwrap()),
            _ => {}
        }
    }

    /// What can be seen of it.
    async fn after(&mut self, day: i64, hour: u32) {
        match (day, hour) {
            (1, 12) | (2, 2) => assert!(!self.stands(Kind::MissingAcknowledgement).await),
            (1, 14) => assert!(self.stands(Kind::MissingAcknowledgement).await),
            (6, 1) => {
                let mut newest = self.batches.values().rev();
                let (this, last) = (newest.next().unwrap(), newest.next().unwrap());
                assert!(last.is_subset(this), "rows without a word go again");
            }
            (2 | 7, 6) => self.clear_away(1).await,
            (6, 6) => self.clear_away(2).await,
            (4, 5) => {
                let stored = self.bench.parity().await;
                let of_ascend = stored.tallies.iter();
                let of_ascend = of_ascend.filter(|((system, _), _)| system == "ascend");
                let known: u64 = of_ascend
                    .map(|(_, tally)| tally.equal + tally.different + tally.silent)
                    .sum();
                assert_eq!(
                    known, PEOPLE as u64,
                    "nothing of a short extract was stored"
                );
            }
            (5, 1) => assert_eq!(self.outbound(), 0, "somebody else has the lock"),
            (5, 11) => assert_eq!(self.outbound(), 1, "the night is made up"),
            _ => {}
        }
    }

    fn outbound(&self) -> usize {
        let folder = self.side().folder().join("outbound");
        let names = std::fs::read_dir(folder).unwrap();
        let paths = names.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.extension().is_some_and(|ending| ending == "csv"))
            .count()
    }

    /// Everybody is as they should be, and nothing is left over but what was refused.
    async fn is_at_rest(&self) {
        let sandbox = &self.bench.sandbox;
        let mut refused = BTreeSet::new();
        for (number, person) in self.crowd.people.iter().enumerate() {
            let shown = person.shown(sandbox);
            let in_salesforce = (shown.0, Crowd::ticked(sandbox, person));
            let expected = self.crowd.expected(person);
            assert!(
                expected.contains(&in_salesforce),
                "{person:?} shows {in_salesforce:?} and not one of {expected:?}"
            );
            if let Some((_, true)) = person.last() {
                assert!(shown.0, "the last word was an opt-out: {person:?}");
            }
            if number < REFUSED && shown.1 != shown.0 {
                refused.insert(person.donor.clone());
            } else {
                assert_eq!(shown.1, shown.0, "Ascend shows {person:?}");
            }
        }
        assert_eq!(
            refused.len(),
            2,
            "two are opted out, and Ascend does not let them be"
        );
        assert_eq!(sandbox.parity().different, refused.len());

        let parity = self.bench.parity().await;
        let listed = parity.differences.iter();
        let listed: BTreeSet<String> = listed
            .map(|found| {
                assert!(found.reason.starts_with("given up: POLICY"), "{found:?}");
                assert_eq!(found.system, "ascend");
                found.contact.clone()
            })
            .collect();
        assert_eq!(listed, refused, "what the report says");
        // Who came back has no boxes ticked until they are ticked anew.
        let at_odds = parity.inconsistent.keys();
        assert!(at_odds.copied().all(|class| class == Class::Blank));

        let outbox = self.bench.outbox().await;
        let dead = outbox.iter().filter(|row| row.state == DEAD).count();
        assert_eq!((outbox.len(), dead), (2, 2), "{outbox:?}");
        let alarms = self.bench.alarms().await;
        // The manual load waits for somebody's word. The opt-outs that were given up are late as well, and
        // nothing else is.
        let kinds: Vec<Kind> = alarms.iter().map(|alarm| alarm.kind).collect();
        let expected = [Kind::Hold, Kind::Deadline, Kind::DeadLetter];
        assert_eq!(kinds, expected, "{alarms:?}");
        let holds = self.bench.store.holds(false, 10).await.unwrap();
        let kinds: Vec<&str> = holds.iter().map(|view| &*view.hold.kind).collect();
        assert_eq!(kinds, ["load"]);
        let oldest = outbox.iter().map(|row| At::from_micros(row.decided_at));
        assert_eq!(alarms[1].since, oldest.min());
        let store = &self.bench.store;
        assert_eq!(store.quarantined(None, 10).await.unwrap(), []);
        let left = self.side().behaviours().len();
        assert_eq!((left, self.side().pending()), (1, 0), "all faults were met");
        self.are_requested().await;
    }

    /// Those who came back and get no mail from Marketing Cloud are on the sheet, and nobody else.
    async fn are_requested(&self) {
        let store = &self.bench.store;
        let open = store.requests(&RequestQuery::default(), 1_000).await;
        let open: BTreeSet<String> = (open.unwrap().into_iter())
            .map(|view| view.request.subscriber)
            .collect();
        let gray = self.crowd.people.iter().rev().take(UNSUBSCRIBED);
        let sandbox = &self.bench.sandbox;
        let came_back = gray.filter(|one| one.last().is_some() && !one.shown(sandbox).0);
        let expected: BTreeSet<String> = came_back.map(|one| one.salesforce.clone()).collect();
        assert!(!expected.is_empty());
        assert_eq!(open, expected);
    }
}
