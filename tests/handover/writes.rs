//! What goes out, and what is said of it.

use crate::bench::{Exchange, MARKETING, address};
use consentd::connector::{Background, Outcome, Target, WriteRequest};
use consentd::consent::{Shown, Status};
use consentd::store::{Claim, DEAD, ONCE_READ, PENDING, SENT};
use consentd::sync::emit;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

pub(crate) async fn r53_explain_tells_of_batches_in_words(exchange: Exchange) {
    exchange.people(&["ann", "bob"]).await;
    exchange.opt("ann", true);
    exchange.opt("bob", true);
    exchange.round().await;
    let (batch, rows) = exchange.newest();
    let told = |name: &str, event: &str| -> Vec<String> {
        let told = exchange.explained(name).into_iter();
        told.filter(|(kind, _)| kind == event)
            .map(|(_, what)| what)
            .collect()
    };
    let handed = told("ann", "handed-over");
    assert_eq!(handed.len(), 1);
    let in_batch = format!("marketing to set (in batch {batch}, not acknowledged yet, ");
    assert!(handed[0].starts_with(&in_batch), "{handed:?}");
    assert_eq!(
        told("ann", "pending"),
        [format!(
            "marketing to set: handed over in batch {batch}, waiting for the acknowledgement"
        )]
    );
    assert_eq!(
        exchange.noted().unwrap(),
        "batches without an acknowledgement: 1, with 2 writes"
    );
    let said: Vec<_> = rows
        .iter()
        .map(|row| match row.id.as_str() {
            "ann" => (row.number, "APPLIED", ""),
            _ => (row.number, "REJECTED", "POLICY"),
        })
        .collect();
    exchange.acknowledge(&batch, &said);
    exchange.emit().await;
    assert_eq!(exchange.noted(), None);
    let written = told("ann", "written");
    let acknowledged = format!("marketing to set (acknowledged in batch {batch}, ");
    assert!(written[0].starts_with(&acknowledged), "{written:?}");
    assert_eq!(told("ann", "pending"), [""; 0]);
    let refused = told("bob", "refused");
    assert!(refused[0].contains("(refused: POLICY, "), "{refused:?}");
    let pending = told("bob", "pending");
    assert!(
        pending[0].starts_with("marketing to set: given up: "),
        "{pending:?}"
    );
}

pub(crate) async fn r46_a_change_goes_out_in_a_batch_and_is_done_once_acknowledged(
    mut exchange: Exchange,
) {
    exchange.people(&["ann", "bob"]).await;
    exchange.opt("ann", true);
    exchange.round().await;
    let (batch, rows) = exchange.newest();
    assert!(batch.starts_with("20260110-05"), "in the zone: {batch}");
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (
            rows[0].id.as_str(),
            rows[0].change.as_str(),
            rows[0].by.as_str()
        ),
        ("ann", "OPT_OUT", "SPECIALIST")
    );
    // It is handed over, not done: it counts as pending, and stays so over a restart.
    let row = exchange.row("ann").await;
    assert_eq!((row.state, row.in_flight.is_empty()), (SENT, false));
    assert_eq!(
        exchange.reason("ann").await,
        format!("handed over in batch {batch}, waiting for the acknowledgement")
    );
    exchange.restart().await;
    exchange.round().await;
    assert_eq!(exchange.batches().len(), 1, "nothing goes out twice");
    let figures = exchange.store.figures(exchange.now()).await.unwrap();
    let id = exchange.member().id.0;
    let mine = figures.systems.iter().find(|one| one.system == id).unwrap();
    assert_eq!((mine.pending_withdrawals, mine.differing), (1, 1));
    assert_eq!(mine.oldest_withdrawal, Some(row.decided_at));
    exchange.fetch();
    exchange.acknowledge(&batch, &[(1, "applied", "")]);
    exchange.emit().await;
    assert!(exchange.outbox().await.is_empty());
    assert_eq!(exchange.reason("ann").await, "equal");
    assert_eq!(exchange.files("inbound"), [""; 0]);
    assert_eq!(
        exchange.files("inbound/done").len(),
        2,
        "an extract and the word"
    );
    assert_eq!(exchange.files("sent"), [""; 0]);
    assert_eq!(exchange.files("sent/done").len(), 3);
    // R37: our own write comes back and says nothing.
    exchange.pass(24);
    exchange.extract(&[("ann", true), ("bob", false)]);
    exchange.round().await;
    exchange.round().await;
    assert_eq!(exchange.files("outbound"), [""; 0]);
    let (status, actor) = exchange.verdict("ann").await.unwrap();
    assert_eq!((status, actor.as_str()), (Status::Withdrawn, "ann"));
    assert_eq!(exchange.verdict("bob").await, None);
}

pub(crate) async fn r46_what_is_refused_goes_where_its_code_says(exchange: Exchange) {
    let names = ["gone", "twice", "bad", "rules", "odd", "locked", "stale"];
    exchange.people(&names).await;
    for name in names {
        exchange.opt(name, true);
    }
    exchange.round().await;
    let (batch, rows) = exchange.newest();
    let codes = [
        ("gone", "NOT_FOUND", DEAD),
        ("twice", "DUPLICATE_ID", DEAD),
        ("bad", "INVALID", DEAD),
        ("rules", "POLICY", DEAD),
        ("odd", "SOMETHING", DEAD),
        ("locked", "LOCKED", PENDING),
        ("stale", "STALE", PENDING),
    ];
    let said: Vec<_> = rows
        .iter()
        .map(|row| {
            let (_, code, _) = codes.iter().find(|(name, ..)| *name == row.id).unwrap();
            (row.number, "REJECTED", *code)
        })
        .collect();
    exchange.fetch();
    exchange.acknowledge(&batch, &said);
    emit::take_receipts(exchange.member()).await.unwrap();
    for (name, code, state) in codes {
        let row = exchange.row(name).await;
        assert_eq!(row.state, state, "{name}");
        assert_eq!(row.attempts, 1, "{name}");
        assert_eq!(row.in_flight, "", "{name}: it will not take effect");
        let error = row.last_error.unwrap();
        assert!(error.starts_with(code), "{name}: {error}");
        assert_eq!(row.not_before == ONCE_READ, name == "stale");
    }
    assert!(exchange.reason("stale").await.contains("read again"));
    // The locked one goes with the next batch; the stale one not before an extract could have told.
    exchange.emit().await;
    let (second, rows) = exchange.newest();
    assert_ne!(second, batch);
    assert_eq!(
        rows.iter().map(|row| &row.id).collect::<Vec<_>>(),
        ["locked"]
    );
    exchange.pass(10);
    let rows: Vec<_> = names.iter().map(|name| (*name, false)).collect();
    exchange.extract(&rows);
    let heard = exchange.now();
    exchange.round().await;
    let (_, rows) = exchange.newest();
    assert_eq!(
        rows.iter().map(|row| &row.id).collect::<Vec<_>>(),
        ["stale"]
    );
    assert!(
        rows[0].changed_at >= heard,
        "it is decided in the knowledge of what Ascend said: {rows:?}"
    );
}

pub(crate) async fn r46_without_a_word_the_rows_go_with_the_next_batch(mut exchange: Exchange) {
    exchange.people(&["ann", "bob"]).await;
    exchange.opt("ann", true);
    exchange.round().await;
    let (first, _) = exchange.newest();
    exchange.pass(11);
    exchange.round().await;
    assert_eq!(exchange.batches().len(), 1);
    assert_eq!(exchange.member().connector.overdue(), []);
    exchange.pass(2);
    exchange.restart().await;
    exchange.opt("bob", true);
    exchange.round().await;
    let (second, rows) = exchange.newest();
    assert_ne!(first, second);
    assert_eq!(rows.len(), 2, "the late one and the new one");
    let late = exchange.member().connector.overdue();
    assert_eq!(
        (late.len(), late[0].batch.as_str(), late[0].missing),
        (1, first.as_str(), 1)
    );
    // The word on the second one is a word on the contact: the first is not waited for any more.
    exchange.apply_newest();
    exchange.emit().await;
    assert!(exchange.outbox().await.is_empty());
    assert_eq!(exchange.member().connector.overdue(), []);
    assert_eq!(exchange.files("sent"), [""; 0]);
    // And when it comes at last, it changes nothing.
    exchange.acknowledge(&first, &[(1, "REJECTED", "NOT_FOUND")]);
    exchange.round().await;
    assert!(exchange.outbox().await.is_empty());
    assert_eq!(exchange.files("inbound"), [""; 0]);
    assert_eq!(exchange.files("inbound/rejected"), [""; 0]);
}

pub(crate) async fn r46_words_that_come_twice_late_or_in_parts_settle_each_row_once(
    mut exchange: Exchange,
) {
    exchange.people(&["a", "b", "c"]).await;
    for name in ["a", "b", "c"] {
        exchange.opt(name, true);
    }
    exchange.round().await;
    let (batch, _) = exchange.newest();
    exchange.fetch();
    exchange.acknowledge(&batch, &[(2, "NOCHANGE", "")]);
    exchange.emit().await;
    assert_eq!(exchange.outbox().await.len(), 2);
    assert_eq!(exchange.files("sent").len(), 3, "two rows are still open");
    // The same again, with a further row, after a restart.
    exchange.restart().await;
    exchange.acknowledge(&batch, &[(2, "NOCHANGE", ""), (3, "APPLIED", "")]);
    exchange.emit().await;
    assert_eq!(exchange.outbox().await.len(), 1);
    exchange.acknowledge(&batch, &[(1, "APPLIED", "")]);
    exchange.emit().await;
    assert!(exchange.outbox().await.is_empty());
    assert_eq!(exchange.files("sent"), [""; 0]);
    let sequence = exchange.store.sequence();
    for _ in 0..2 {
        exchange.acknowledge(&batch, &[(1, "APPLIED", ""), (2, "NOCHANGE", "")]);
        exchange.emit().await;
    }
    assert_eq!(exchange.store.sequence(), sequence, "it is known already");
    assert_eq!(exchange.files("inbound"), [""; 0]);
    assert_eq!(exchange.files("inbound/rejected"), [""; 0]);
    let done = exchange.files("inbound/done");
    let words = done.iter().filter(|name| name.contains(".ack")).count();
    assert_eq!(words, 5, "nothing is lost: {done:?}");
}

pub(crate) async fn r46_what_cannot_be_understood_is_kept_apart_and_told(mut exchange: Exchange) {
    exchange.people(&["a", "b"]).await;
    for name in ["a", "b"] {
        exchange.opt(name, true);
    }
    exchange.round().await;
    let (batch, _) = exchange.newest();
    exchange.put(
        "inbound/20200101-000000-1.ack.csv",
        "row_no,status,code,message\n1,APPLIED,,\n",
    );
    exchange.put(
        "inbound/nothing.ack.csv",
        "row_no,status,code,message\n1,APPLIED,,\n",
    );
    exchange.put("inbound/half.ack.csv.part", "row_no,st");
    exchange.put("inbound/.hidden.ack.csv", "row_no,st");
    exchange.emit().await;
    let told = exchange.member().connector.unreadable();
    let names: Vec<_> = told.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["20200101-000000-1.ack.csv", "nothing.ack.csv"]);
    assert!(told[0].reason.contains("no batch of that id"), "{told:?}");
    // A wrong header, and then good rows among bad ones.
    exchange.put(
        &format!("inbound/{batch}.ack.csv"),
        "number,state\n1,APPLIED\n",
    );
    exchange.emit().await;
    assert_eq!(exchange.outbox().await.len(), 2);
    exchange.acknowledge(
        &batch,
        &[(1, "APPLIED", ""), (2, "DONE", ""), (9, "APPLIED", "")],
    );
    exchange.emit().await;
    let left = exchange.outbox().await;
    assert_eq!(
        (left.len(), left[0].state),
        (1, SENT),
        "the good row is settled"
    );
    // What was said once is not unsaid.
    exchange.acknowledge(&batch, &[(1, "REJECTED", "NOT_FOUND"), (2, "APPLIED", "")]);
    exchange.emit().await;
    assert!(exchange.outbox().await.is_empty());
    assert_eq!(exchange.member().connector.unreadable().len(), 5);
    let rejected = exchange.files("inbound/rejected");
    assert_eq!(rejected.len(), 10, "each with its reason: {rejected:?}");
    assert_eq!(
        exchange.files("inbound").len(),
        2,
        "what is not finished or hidden stays"
    );
    // The reasons outlive a restart, and the condition ends when somebody clears the files away.
    exchange.restart().await;
    exchange.emit().await;
    let told = exchange.member().connector.unreadable();
    assert!(
        told.iter()
            .any(|file| file.reason.contains("answered APPLIED before")),
        "{told:?}"
    );
    for name in rejected {
        std::fs::remove_file(exchange.at("inbound/rejected").join(name)).unwrap();
    }
    exchange.emit().await;
    assert_eq!(exchange.member().connector.unreadable(), []);
    // A file that nobody would ever read is told of as well, without what may be an address.
    exchange.put("inbound/for ann@exchange.example.csv", "ascend_id\n");
    exchange.emit().await;
    let told = exchange.member().connector.unreadable();
    assert_eq!(told[0].name, "for_ann_exchange.example.csv");
}

pub(crate) async fn r15_an_older_value_that_takes_effect_late_is_an_echo(exchange: Exchange) {
    exchange.people(&["ann", "bob"]).await;
    exchange.opt("ann", true);
    exchange.round().await;
    let (first, _) = exchange.newest();
    // The decision turns while the batch is under way; the newer one goes with the next.
    exchange.opt("ann", false);
    exchange.round().await;
    let (second, rows) = exchange.newest();
    assert_ne!(first, second);
    assert_eq!(rows[0].change, "OPT_IN");
    assert!(rows[0].changed_at > exchange.batch(&first)[0].changed_at);
    // Ascend has loaded only the first one when it makes its extract.
    exchange.pass(3);
    exchange.extract(&[("ann", true), ("bob", false)]);
    exchange.round().await;
    let (status, actor) = exchange.verdict("ann").await.unwrap();
    assert_eq!(
        (status, actor.as_str()),
        (Status::Granted, "ann"),
        "nobody withdrew"
    );
    assert!(!exchange.is_out("ann"));
    assert_eq!(exchange.row("ann").await.state, SENT);
    assert_eq!(
        exchange.batches().len(),
        2,
        "the newer value is on its way already"
    );
    // Its words come in the wrong order.
    exchange.acknowledge(&second, &[(1, "APPLIED", "")]);
    exchange.emit().await;
    assert!(exchange.outbox().await.is_empty());
    exchange.acknowledge(&first, &[(1, "APPLIED", "")]);
    exchange.emit().await;
    assert!(exchange.outbox().await.is_empty());
    assert_eq!(exchange.reason("ann").await, "equal");
    exchange.pass(24);
    exchange.extract(&[("ann", false), ("bob", false)]);
    exchange.round().await;
    assert_eq!(exchange.batches().len(), 2, "nothing more goes out");
    assert_eq!(exchange.verdict("ann").await.unwrap().0, Status::Granted);
}

pub(crate) async fn r15_an_extract_may_tell_before_the_acknowledgement_does(exchange: Exchange) {
    exchange.people(&["ann", "bob"]).await;
    exchange.opt("ann", true);
    exchange.round().await;
    let (batch, _) = exchange.newest();
    exchange.pass(3);
    exchange.extract(&[("ann", true), ("bob", false)]);
    exchange.round().await;
    assert!(exchange.outbox().await.is_empty(), "the contact shows it");
    let (_, actor) = exchange.verdict("ann").await.unwrap();
    assert_eq!(actor, "ann", "an echo is no statement");
    exchange.acknowledge(&batch, &[(1, "APPLIED", "")]);
    exchange.round().await;
    assert_eq!(exchange.files("sent"), [""; 0]);
    // And then somebody in Ascend opts the person in again: that is a word.
    exchange.pass(24);
    exchange.extract(&[("ann", false), ("bob", false)]);
    exchange.round().await;
    let (status, actor) = exchange.verdict("ann").await.unwrap();
    assert_eq!((status, actor.as_str()), (Status::Granted, "extract"));
    assert!(!exchange.is_out("ann"));
}

pub(crate) async fn g10_a_crash_between_the_file_and_the_store_loses_and_doubles_nothing(
    mut exchange: Exchange,
) {
    exchange.people(&["ann", "bob"]).await;
    exchange.opt("ann", true);
    exchange.poll().await;
    // What a round does until it crashes: the claim is stored, the file is written, and no more.
    let member = exchange.member();
    let now = exchange.now();
    let claim = Claim {
        system: member.id.0,
        lane: None,
        limit: 10,
        now: now.micros(),
        until: now.plus(1_000_000).micros(),
    };
    let claimed = exchange.store.claim_writes(&claim).await.unwrap();
    assert_eq!(claimed.len(), 1);
    let request = WriteRequest {
        target: Target {
            contact: "ann".to_owned(),
            address: Some(address("ann")),
        },
        changes: vec![(MARKETING, Shown::Set)],
        said_at: now,
        said_in: "crm".to_owned(),
        background: Background {
            linked: Some("ann".to_owned()),
            reason: "R18: said in crm".to_owned(),
            ..Background::default()
        },
    };
    let outcomes = member.connector.write(&[request]).await.unwrap();
    let Outcome::HandedOver { batch: first, .. } = &outcomes[0] else {
        panic!("{outcomes:?}");
    };
    exchange.restart().await;
    let row = exchange.row("ann").await;
    assert_eq!((row.state, row.in_flight.is_empty()), (PENDING, false));
    // Its outcome is unknown, so it goes again; the word on the first settles both.
    exchange.round().await;
    assert_eq!(exchange.batches().len(), 2);
    exchange.acknowledge(first, &[(1, "APPLIED", "")]);
    exchange.emit().await;
    assert!(exchange.outbox().await.is_empty());
    let sequence = exchange.store.sequence();
    let (second, _) = exchange.newest();
    exchange.acknowledge(&second, &[(1, "NOCHANGE", "")]);
    exchange.emit().await;
    assert_eq!(exchange.store.sequence(), sequence);
    assert_eq!(exchange.files("sent"), [""; 0]);
    // A crash between the settled transaction and the filing away: the word is read again.
    exchange.opt("bob", true);
    exchange.round().await;
    let third = exchange.apply_newest();
    let receipts = exchange.member().connector.receipts().await.unwrap();
    assert_eq!(receipts.len(), 1);
    exchange.restart().await;
    assert_eq!(
        exchange.files("inbound"),
        [format!("{third}.ack.csv.taken")],
        "it waits under a name of its own"
    );
    exchange.emit().await;
    assert!(exchange.outbox().await.is_empty());
    assert_eq!(exchange.files("inbound"), [""; 0]);
    assert_eq!(exchange.files("sent"), [""; 0]);
}

pub(crate) async fn r46_a_newer_word_in_ascend_wins_and_an_older_one_does_not(exchange: Exchange) {
    exchange.people(&["ann", "bob"]).await;
    exchange.opt("ann", true);
    exchange.opt("bob", true);
    exchange.round().await;
    let (batch, rows) = exchange.newest();
    // Somebody in Ascend was later, it says; the next extract tells of it.
    let said: Vec<_> = rows
        .iter()
        .map(|row| (row.number, "REJECTED", "STALE"))
        .collect();
    exchange.acknowledge(&batch, &said);
    exchange.round().await;
    assert_eq!(exchange.batches().len(), 1, "the newer word is heard first");
    exchange.pass(12);
    // Of bob it was a word that is overruled: he shows what he showed all the time.
    exchange.extract(&[("ann", false), ("bob", false)]);
    exchange.round().await;
    let (_, rows) = exchange.newest();
    assert_eq!(
        rows.len(),
        2,
        "both were heard, and neither said anything newer"
    );
    exchange.apply_newest();
    exchange.round().await;
    exchange.pass(24);
    exchange.extract(&[("ann", false), ("bob", true)]);
    exchange.round().await;
    let (status, actor) = exchange.verdict("ann").await.unwrap();
    assert_eq!((status, actor.as_str()), (Status::Granted, "extract"));
    assert!(!exchange.is_out("ann") && exchange.is_out("bob"));
    assert!(exchange.outbox().await.is_empty());
}

/// Of an opt-out that is said once more nothing tells but that our opt-in is refused as the older.
pub(crate) async fn r11_an_opt_out_for_which_an_opt_in_is_refused_as_older_counts(
    exchange: Exchange,
) {
    exchange.people(&["ann", "bob"]).await;
    exchange.opt("ann", true);
    exchange.opt("bob", true);
    exchange.round().await;
    exchange.apply_newest();
    exchange.round().await;
    exchange.pass(12);
    exchange.extract(&[("ann", true), ("bob", true)]);
    exchange.round().await;
    exchange.opt("ann", false);
    exchange.opt("bob", false);
    exchange.round().await;
    let (batch, rows) = exchange.newest();
    let said: Vec<_> = rows
        .iter()
        .map(|row| (row.number, "REJECTED", "STALE"))
        .collect();
    exchange.acknowledge(&batch, &said);
    exchange.round().await;
    exchange.pass(12);
    exchange.extract(&[("ann", true), ("bob", false)]);
    exchange.round().await;
    exchange.round().await;
    assert!(exchange.is_out("ann"), "she said so again after the opt-in");
    assert!(!exchange.is_out("bob"), "he did not, as it turns out");
    assert_eq!(exchange.newest().0, batch, "nobody is opted in over that");
    assert!(exchange.outbox().await.is_empty());
}

pub(crate) async fn r46_a_lock_of_somebody_else_holds_up_and_our_own_does_not(exchange: Exchange) {
    exchange.people(&["ann"]).await;
    exchange.opt("ann", true);
    exchange.poll().await;
    let now = exchange.now();
    exchange.put("exchange.lock", &format!("ascend {now}\n"));
    let held = emit::emit_batch(exchange.member()).await.unwrap_err();
    assert!(held.to_string().contains("held by ascend"), "{held}");
    assert_eq!(exchange.row("ann").await.state, PENDING);
    exchange.pass(7);
    let held = emit::emit_batch(exchange.member()).await.unwrap_err();
    assert!(held.to_string().contains("lock_stale_hours"), "{held}");
    assert!(exchange.at("exchange.lock").exists(), "it is never broken");
    exchange.put("exchange.lock", &format!("consentd {now}\n"));
    exchange.emit().await;
    assert_eq!(exchange.batches().len(), 1);
    assert!(!exchange.at("exchange.lock").exists());
}

/// Nobody knows of it there, so the same value in Ascend is somebody's word.
pub(crate) async fn r15_what_could_not_be_handed_over_is_not_taken_for_an_echo(exchange: Exchange) {
    exchange.people(&["ann", "bob"]).await;
    exchange.opt("ann", true);
    exchange.poll().await;
    let lock = format!("ascend {}\n", exchange.now());
    exchange.put("exchange.lock", &lock);
    emit::emit_batch(exchange.member()).await.unwrap_err();
    assert_eq!(exchange.row("ann").await.in_flight, "");
    std::fs::remove_file(exchange.at("exchange.lock")).unwrap();
    exchange.opt("ann", false);
    exchange.round().await;
    assert_eq!(exchange.batches().len(), 0, "Ascend allows mail as it is");

    exchange.pass(20);
    exchange.extract(&[("ann", true), ("bob", false)]);
    exchange.round().await;
    exchange.round().await;
    assert!(exchange.is_out("ann"), "she opted out in Ascend");
    assert_eq!(exchange.batches().len(), 0, "and stays so there");
}

/// What was handed over before is still under way when a later attempt fails.
pub(crate) async fn r15_an_attempt_that_failed_forgets_nothing_that_was_handed_over(
    exchange: Exchange,
) {
    exchange.people(&["ann"]).await;
    exchange.opt("ann", true);
    exchange.round().await;
    let handed = exchange.row("ann").await.in_flight;
    assert_ne!(handed, "");
    // Nobody answers, and the second batch cannot be written.
    exchange.pass(13);
    exchange.put("exchange.lock", &format!("ascend {}\n", exchange.now()));
    for _ in 0..2 {
        emit::emit_batch(exchange.member()).await.unwrap_err();
        assert_eq!(exchange.row("ann").await.in_flight, handed);
    }
}

pub(crate) async fn r39_words_are_taken_whatever_the_schedule_and_batches_are_not(
    exchange: Exchange,
) {
    exchange.people(&["ann", "bob"]).await;
    exchange.opt("ann", true);
    exchange.round().await;
    exchange.apply_newest();
    exchange.opt("bob", true);
    exchange.poll().await;
    let stop = CancellationToken::new();
    let watch = async {
        // It is five in the morning there, and the next round is at one in the night.
        until(async || exchange.outbox().await.len() == 1).await;
        assert_eq!(exchange.row("bob").await.state, PENDING);
        assert_eq!(exchange.batches().len(), 1);
        exchange.pass(20);
        exchange.member().wake();
        until(async || exchange.batches().len() == 2).await;
        until(async || exchange.row("bob").await.state == SENT).await;
        stop.cancel();
    };
    tokio::join!(emit::run(exchange.member(), &stop), watch);
    let (batch, _) = exchange.newest();
    assert!(batch.starts_with("20260111-01"), "{batch}");
}

pub(crate) async fn r39_a_night_that_was_missed_is_made_up_at_the_start_and_only_that(
    mut exchange: Exchange,
) {
    exchange.people(&["ann", "bob"]).await;
    exchange.opt("ann", true);
    exchange.poll().await;
    // It is five in the morning there; nobody is at work from then until after the next one.
    exchange.pass(26);
    exchange.restart().await;
    let stop = CancellationToken::new();
    let watch = async {
        until(async || exchange.row("ann").await.state == SENT).await;
        assert_eq!(exchange.batches().len(), 1);
        stop.cancel();
    };
    tokio::join!(emit::run(exchange.member(), &stop), watch);
    let (batch, _) = exchange.newest();
    assert!(batch.starts_with("20260111-07"), "at seven: {batch}");
    exchange.apply_newest();
    exchange.emit().await;

    // What is decided after the night waits for the next one, also over a restart.
    exchange.opt("bob", true);
    exchange.poll().await;
    exchange.restart().await;
    let member = exchange.member();
    let mut last_round = emit::resumed_at(member).await;
    let wait = emit::round(member, &stop, &mut last_round).await.unwrap();
    assert!(wait > Duration::ZERO);
    assert_eq!(exchange.row("bob").await.state, PENDING);
    assert_eq!(exchange.batches().len(), 1);
}

/// Waits until it is so.
async fn until(holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "it does not come about"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
