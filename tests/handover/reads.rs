//! What comes in.

use crate::bench::{Exchange, address};
use consentd::connector::{FaultClass, Wanted};
use consentd::consent::Status;
use consentd::store::FeedSwitch;
use std::fmt::Write as _;

pub(crate) async fn r46_an_extract_made_before_the_acknowledgement_says_nothing_of_it(
    mut exchange: Exchange,
) {
    exchange.people(&["ann", "bob"]).await;
    exchange.opt("ann", true);
    exchange.round().await;
    exchange.pass(2);
    let made = exchange.now();
    exchange.pass(1);
    exchange.apply_newest();
    exchange.emit().await;
    // It was made before, and is read after; a restart in between changes nothing.
    exchange.restart().await;
    exchange.extract_as_of(made, &[("ann", false), ("bob", true)]);
    exchange.round().await;
    let (status, actor) = exchange.verdict("ann").await.unwrap();
    assert_eq!((status, actor.as_str()), (Status::Withdrawn, "ann"));
    assert_eq!(exchange.reason("ann").await, "equal");
    assert_eq!(exchange.batches().len(), 1);
    assert!(exchange.is_out("bob"), "of others it tells");
    // Of a later change the next one tells.
    exchange.pass(20);
    exchange.extract(&[("ann", false), ("bob", true)]);
    exchange.round().await;
    let (status, actor) = exchange.verdict("ann").await.unwrap();
    assert_eq!((status, actor.as_str()), (Status::Granted, "extract"));
}

pub(crate) async fn r27_a_short_extract_halts_the_feed_before_anything_is_stored(
    exchange: Exchange,
) {
    let names = ["a", "b", "c", "d", "e"];
    exchange.people(&names).await;
    let id = exchange.member().id.0;
    for short in [vec![("a", true), ("b", true)], Vec::new()] {
        exchange.pass(24);
        let name = exchange.extract(&short);
        let before = exchange.store.feed(id).await.unwrap();
        exchange.poll().await;
        let after = exchange.store.feed(id).await.unwrap();
        let halted = after.halted.clone().unwrap();
        assert!(
            halted.contains(&format!("{} of 5", short.len())),
            "{halted}"
        );
        assert_eq!(after.cursor, before.cursor);
        assert_eq!(exchange.verdict("a").await, None);
        assert!(
            exchange.files("inbound").contains(&name),
            "it stays where it is"
        );
        let now = exchange.now();
        let release = FeedSwitch::Halted(None);
        exchange
            .store
            .set_feed_switch(id, release, now)
            .await
            .unwrap();
    }
    exchange.pass(1);
    let whole: Vec<_> = names.iter().map(|name| (*name, *name == "a")).collect();
    exchange.extract(&whole);
    exchange.poll().await;
    assert_eq!(exchange.store.feed(id).await.unwrap().halted, None);
    assert_eq!(exchange.verdict("a").await.unwrap().0, Status::Withdrawn);
    assert_eq!(
        exchange.files("inbound"),
        [""; 0],
        "the older ones are filed away with it"
    );
}

pub(crate) async fn r25_a_manual_load_in_ascend_is_healed(exchange: Exchange) {
    let names: Vec<String> = (0..30).map(|place| format!("p{place:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    exchange.people(&names).await;
    for name in &names {
        exchange.opt(name, true);
    }
    exchange.round().await;
    exchange.apply_newest();
    exchange.round().await;
    assert!(exchange.outbox().await.is_empty());
    exchange.fetch();
    // Somebody loads an old copy over everybody.
    exchange.pass(20);
    let old: Vec<_> = names.iter().map(|name| (*name, false)).collect();
    exchange.extract(&old);
    let made = exchange.now();
    exchange.round().await;
    exchange.round().await;
    assert!(
        names.iter().all(|name| exchange.is_out(name)),
        "nobody is opted in by a load"
    );
    let batches = exchange.batches();
    let rows: Vec<_> = batches.values().flatten().collect();
    assert_eq!(rows.len(), 30);
    for row in rows {
        assert_eq!(row.change, "OPT_OUT");
        assert!(
            row.changed_at >= made,
            "later than the load, or it would be stale"
        );
    }
    for batch in batches.keys() {
        let said: Vec<_> = (1..=30).map(|number| (number, "APPLIED", "")).collect();
        exchange.acknowledge(batch, &said);
    }
    exchange.round().await;
    exchange.pass(24);
    let healed: Vec<_> = names.iter().map(|name| (*name, true)).collect();
    exchange.extract(&healed);
    exchange.fetch();
    exchange.round().await;
    assert_eq!(exchange.files("outbound"), [""; 0]);
    assert!(exchange.outbox().await.is_empty());
}

pub(crate) async fn r46_the_newest_extract_counts_and_bad_rows_are_quarantined(exchange: Exchange) {
    exchange.people(&["a", "b", "c", "d", "e", "f"]).await;
    exchange.pass(20);
    exchange.extract(&[
        ("a", true),
        ("b", true),
        ("c", true),
        ("d", false),
        ("e", false),
        ("f", false),
    ]);
    exchange.pass(1);
    let now = exchange.now();
    let mut text = "\u{feff}AS_OF,Email_Value,ascend_id,email,created_at\n".to_owned();
    let rows = [
        ("a", "Yes", now.to_string(), ""),
        ("b", "maybe", now.to_string(), ""),
        ("c", "0", now.to_string(), "2020-01-01T00:00:00+01:00"),
        ("d", "1", now.to_string(), ""),
        ("d", "0", now.to_string(), ""),
        ("e", "1", "yesterday".to_owned(), ""),
        ("f", "1", now.to_string(), "soon"),
        ("", "1", now.to_string(), ""),
    ];
    for (id, value, as_of, created) in rows {
        writeln!(text, "{as_of},{value},{id},x@exchange.example,{created}").unwrap();
    }
    exchange.put_extract(now, &(text + "cut,row\n"));
    exchange.poll().await;
    let id = exchange.member().id.0;
    let quarantined = exchange.store.quarantined(Some(id), 100).await.unwrap();
    let mut told: Vec<_> = quarantined
        .iter()
        .map(|row| {
            let id = if row.external.starts_with("row-") {
                "row"
            } else {
                row.external.as_str()
            };
            (id, row.reason.split(' ').next().unwrap())
        })
        .collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            ("b", "email_value"),
            ("d", "ascend_id"),
            ("e", "as_of"),
            ("f", "created_at"),
            ("row", "ascend_id"),
            ("row", "the"),
        ]
    );
    assert_eq!(exchange.files("inbound"), [""; 0]);
    assert_eq!(
        exchange.files("inbound/done").len(),
        3,
        "the older one was not read"
    );
    assert_eq!(
        exchange.verdict("c").await,
        None,
        "it was opted out only in the older one"
    );
    // A row that can be read again heals its record.
    exchange.pass(24);
    exchange.extract(&[
        ("a", true),
        ("b", false),
        ("c", false),
        ("d", false),
        ("e", false),
        ("f", false),
    ]);
    exchange.poll().await;
    let left = exchange.store.quarantined(Some(id), 100).await.unwrap();
    assert!(
        left.iter().all(|row| row.external.starts_with("row-")),
        "{left:?}"
    );
}

/// Rows, digest and time in a manifest.
type Told = Option<(u32, String, String)>;

pub(crate) async fn r46_an_extract_that_contradicts_itself_is_not_read(exchange: Exchange) {
    exchange.people(&["ann", "bob"]).await;
    let as_of = exchange.now();
    let (ann, bob) = (address("ann"), address("bob"));
    let good = format!(
        "ascend_id,email_value,as_of,email\nann,TRUE,{as_of},{ann}\nbob,FALSE,{as_of},{bob}\n"
    );
    let sum = {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(good.as_bytes());
        digest.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    };
    let manifest = |file: &str, rows: u32, sum: &str, as_of: &str| {
        format!(r#"{{"file":"{file}","rows":{rows},"sha256":"{sum}","as_of":"{as_of}"}}"#)
    };
    let early = as_of.minus(48 * 3_600_000_000).to_string();
    let time = as_of.to_string();
    let rows: Vec<(&str, String, Told)> = vec![
        (
            "a wrong number of rows",
            good.clone(),
            Some((3, sum.clone(), time.clone())),
        ),
        (
            "a wrong digest",
            good.clone(),
            Some((2, "00".repeat(32), time.clone())),
        ),
        (
            "a time that is none",
            good.clone(),
            Some((2, sum.clone(), "now".to_owned())),
        ),
        (
            "older than the one before",
            good.clone(),
            Some((2, sum.clone(), early)),
        ),
        (
            "a missing column",
            good.replace("email_value", "value"),
            None,
        ),
        ("nothing at all", String::new(), None),
        (
            "a quote that is never closed",
            format!("{good}\"{}", "x".repeat(300_000)),
            None,
        ),
    ];
    let mut expected = 0;
    for (sentence, text, told) in rows {
        exchange.pass(1);
        let name = exchange.put_extract(exchange.now(), &text);
        if let Some((rows, sum, as_of)) = &told {
            let path = format!("inbound/{}.manifest.json", name.trim_end_matches(".csv"));
            exchange.put(&path, &manifest(&name, *rows, sum, as_of));
        }
        exchange.poll().await;
        assert_eq!(exchange.verdict("ann").await, None, "{sentence}");
        assert_eq!(exchange.files("inbound"), [""; 0], "{sentence}");
        exchange.emit().await;
        expected += 1;
        let told = exchange.member().connector.unreadable();
        assert_eq!(told.len(), expected, "{sentence}: {told:?}");
    }
    exchange.pass(1);
    let name = exchange.put_extract(exchange.now(), &good);
    let path = format!("inbound/{}.manifest.json", name.trim_end_matches(".csv"));
    exchange.put(&path, &manifest(&name, 2, &sum.to_uppercase(), &time));
    exchange.poll().await;
    assert_eq!(exchange.verdict("ann").await.unwrap().0, Status::Withdrawn);
    let done = exchange.files("inbound/done");
    assert!(
        done.iter().any(|name| name.ends_with(".manifest.json")),
        "{done:?}"
    );
}

pub(crate) async fn r46_everything_is_read_anew_from_what_was_filed_away(mut exchange: Exchange) {
    exchange.people(&["ann", "bob"]).await;
    exchange.pass(24);
    exchange.extract(&[("ann", true), ("bob", false)]);
    exchange.poll().await;
    let id = exchange.member().id.0;
    let now = exchange.now();
    exchange
        .store
        .set_feed_switch(id, FeedSwitch::Unload, now)
        .await
        .unwrap();
    exchange.restart().await;
    assert!(!exchange.store.feed(id).await.unwrap().loaded);
    exchange.poll().await;
    let feed = exchange.store.feed(id).await.unwrap();
    assert!(feed.loaded, "the last extract is there");
    assert_eq!(exchange.verdict("ann").await.unwrap().0, Status::Withdrawn);
    assert_eq!(exchange.files("inbound/done").len(), 2);
}

pub(crate) async fn r51_a_dry_run_moves_nothing(mut exchange: Exchange) {
    exchange.crm.add("ann", &address("ann"));
    exchange.opt("ann", true);
    let name = exchange.extract(&[("ann", false)]);
    exchange.put("inbound/broken.ack.csv", "?");
    exchange.restart_dry().await;
    for _ in 0..3 {
        exchange.poll().await;
    }
    let outbox = exchange.outbox().await;
    assert_eq!(outbox.len(), 1, "what it would write is known");
    assert_eq!(
        exchange.files("inbound"),
        [name, "broken.ack.csv".to_owned()]
    );
    assert_eq!(exchange.files("outbound"), [""; 0]);
}

pub(crate) async fn parity_asked_afresh_reads_the_newest_extract_and_touches_nothing(
    exchange: Exchange,
) {
    exchange.people(&["ann", "bob"]).await;
    exchange.opt("ann", true);
    exchange.round().await;
    let read = exchange.now();
    // The daemon has filed the newest extract away, a batch is on its way, and somebody loads.
    exchange.put("exchange.lock", &format!("ascend {}\n", exchange.now()));
    exchange.put("inbound/broken.ack.csv", "?");
    let before = exchange.everything();
    let parity = exchange.parity_asked_afresh().await;
    assert_eq!((parity.drifted, parity.different()), (0, 1), "{parity:?}");
    assert!(parity.as_of["ascend"] < read, "it tells of that extract");
    assert_eq!(exchange.everything(), before);

    // It took effect after the extract that still is the newest.
    exchange.apply_newest();
    exchange.emit().await;
    let before = exchange.everything();
    let parity = exchange.parity_asked_afresh().await;
    assert_eq!((parity.drifted, parity.moved), (0, 1), "{parity:?}");
    assert_eq!(exchange.everything(), before);

    // A newer one that the daemon has not read yet.
    exchange.pass(1);
    let made = exchange.now();
    exchange.extract(&[("ann", true), ("bob", true)]);
    let before = exchange.everything();
    let parity = exchange.parity_asked_afresh().await;
    assert_eq!(parity.as_of["ascend"], made);
    let drift: Vec<&str> = parity
        .drift
        .iter()
        .map(|one| one.contact.as_str())
        .collect();
    assert_eq!(drift, ["bob"], "the daemon does not know yet");
    assert_eq!(exchange.everything(), before);
    exchange.poll().await;
    assert_eq!(exchange.parity_asked_afresh().await.drifted, 0);
}

pub(crate) async fn r42_a_system_by_files_is_unverified_unless_its_last_extract_will_do(
    exchange: Exchange,
) {
    exchange.people(&["ann"]).await;
    let fault = exchange
        .member()
        .connector
        .look_up(&Wanted::default())
        .await
        .unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Rejected, "not-askable")
    );
    exchange.pass(3);
    exchange.check("ann", 0, "unverified").await;
    exchange.check("ann", 4 * 3_600, "no-legal-basis").await;
    exchange.check("ann", 2 * 3_600, "unverified").await;
}

pub(crate) async fn r10_a_time_that_says_when_a_value_was_set_is_history(exchange: Exchange) {
    exchange.people(&["ann", "bob", "eve"]).await;
    exchange.opt("bob", true);
    exchange.round().await;
    let (batch, _) = exchange.newest();
    exchange.pass(2);
    let applied = exchange.now();
    exchange.pass(10);
    let set = exchange.now();
    exchange.pass(10);
    // Each row tells when its value was set; the name tells when the extract was made.
    let before = set.minus(30 * 3_600_000_000);
    let text = |rows: &[(&str, &str, consentd::consent::At)]| {
        let mut text = "ascend_id,email_value,as_of,email\n".to_owned();
        for (id, value, as_of) in rows {
            writeln!(text, "{id},{value},{as_of},{}", address(id)).unwrap();
        }
        text
    };
    let rows = [
        ("ann", "TRUE", set),
        ("bob", "TRUE", applied),
        ("eve", "FALSE", before),
    ];
    exchange.put_extract(exchange.now(), &text(&rows));
    exchange.round().await;
    let (status, actor) = exchange.verdict("ann").await.unwrap();
    assert_eq!((status, actor.as_str()), (Status::Withdrawn, "extract"));
    assert!(
        exchange
            .said("ann")
            .await
            .contains(&set.micros().to_string()),
        "to the second"
    );
    let (_, actor) = exchange.verdict("bob").await.unwrap();
    assert_eq!(
        actor, "ann",
        "our own write, which Ascend dates itself, is no statement"
    );
    assert_eq!(
        exchange.verdict("eve").await,
        None,
        "a default that nobody set is silence"
    );
    // Also once it is acknowledged, and told again.
    exchange.acknowledge(&batch, &[(1, "APPLIED", "")]);
    exchange.emit().await;
    exchange.pass(24);
    exchange.put_extract(exchange.now(), &text(&rows));
    exchange.round().await;
    let (_, actor) = exchange.verdict("bob").await.unwrap();
    assert_eq!(actor, "ann");
    // Somebody opts bob in at a known time.
    exchange.pass(12);
    let later = exchange.now();
    exchange.pass(12);
    let rows = [
        ("ann", "TRUE", set),
        ("bob", "FALSE", later),
        ("eve", "FALSE", before),
    ];
    exchange.put_extract(exchange.now(), &text(&rows));
    exchange.round().await;
    let (status, actor) = exchange.verdict("bob").await.unwrap();
    assert_eq!((status, actor.as_str()), (Status::Granted, "extract"));
    assert!(
        exchange
            .said("bob")
            .await
            .contains(&later.micros().to_string())
    );
    assert!(!exchange.is_out("bob"));
}
