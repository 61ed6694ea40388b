//! Alarms, and what each channel was told of them.

use crate::bench::Bench;
use consentd::store::{AlarmChanges, AlarmPost, AlarmRow, AlarmStep};

fn alarm(kind: &str, about: &str, raised_at: i64) -> AlarmRow {
    AlarmRow {
        kind: kind.to_owned(),
        about: about.to_owned(),
        since: raised_at - 5,
        raised_at,
        cleared_at: None,
        text: format!("{kind} of {about}: \u{1F4A5}\t\\\"'"),
        posts: Vec::new(),
    }
}

fn put(rows: &[AlarmRow]) -> AlarmChanges {
    AlarmChanges {
        put: rows.to_vec(),
        forget: Vec::new(),
    }
}

fn step(row: &AlarmRow, from: (bool, i32), channel: &str, to: (bool, i32)) -> AlarmStep {
    AlarmStep {
        kind: row.kind.clone(),
        about: row.about.clone(),
        from_told: from.0,
        from_attempts: from.1,
        post: AlarmPost {
            channel: channel.to_owned(),
            told: to.0,
            attempts: to.1,
            next_try: 77,
            error: (to.1 > 0).then(|| "mail: no\0 connection".to_owned()),
        },
    }
}

pub(crate) async fn alarms_come_back_in_the_order_in_which_they_were_raised(bench: Bench) {
    assert_eq!(bench.alarms().await.unwrap(), []);
    let mut rows = [
        alarm("hold", "salesforce", 30),
        alarm("hold", "ascend", 10),
        alarm("deadline", "ascend", 20),
    ];
    bench.put_alarms(&put(&rows)).await.unwrap();
    rows[0].cleared_at = Some(99);
    "4 writes".clone_into(&mut rows[0].text);
    bench.put_alarms(&put(&rows[..1])).await.unwrap();
    bench.put_alarms(&AlarmChanges::default()).await.unwrap();
    rows.sort_by_key(|row| row.raised_at);
    let bench = bench.reopened().await;
    assert_eq!(bench.alarms().await.unwrap(), rows);
}

pub(crate) async fn a_channel_steps_on_from_where_it_stands_and_only_once(bench: Bench) {
    let row = alarm("hold", "ascend", 10);
    let first = step(&row, (false, 0), "mail", (false, 1));
    let early = bench.step_alarm_post(&first).await.unwrap();
    assert!(!early, "there is no such alarm yet");
    bench
        .put_alarms(&put(&[row.clone(), alarm("hold", "crm", 11)]))
        .await
        .unwrap();
    let other = bench.beside().await;
    assert!(bench.step_alarm_post(&first).await.unwrap());
    let again = other.step_alarm_post(&first).await.unwrap();
    assert!(!again, "another daemon took this step");
    let posted = step(&row, (false, 0), "webhook", (true, 0));
    assert!(other.step_alarm_post(&posted).await.unwrap());
    let told = step(&row, (false, 1), "mail", (true, 0));
    assert!(bench.step_alarm_post(&told).await.unwrap());
    let found = bench.alarms().await.unwrap();
    let expected = [told.post, posted.post];
    assert_eq!(found[0].posts, expected);
    assert_eq!(found[1].posts, [], "posts stay with their alarm");

    let mut rewritten = row.clone();
    rewritten.cleared_at = Some(50);
    bench.put_alarms(&put(&[rewritten])).await.unwrap();
    assert_eq!(bench.alarms().await.unwrap()[0].posts, expected);
    other.close().await;
}

pub(crate) async fn a_forgotten_alarm_takes_its_posts_along(bench: Bench) {
    let rows = [alarm("hold", "ascend", 10), alarm("hold", "crm", 11)];
    bench.put_alarms(&put(&rows)).await.unwrap();
    for row in &rows {
        let posted = step(row, (false, 0), "mail", (true, 0));
        assert!(bench.step_alarm_post(&posted).await.unwrap());
    }
    let forget = |raised_at| AlarmChanges {
        put: Vec::new(),
        forget: vec![("hold".to_owned(), "ascend".to_owned(), raised_at)],
    };
    bench.put_alarms(&forget(9)).await.unwrap();
    assert_eq!(bench.alarms().await.unwrap().len(), 2, "raised anew");
    bench.put_alarms(&forget(10)).await.unwrap();
    let left = bench.alarms().await.unwrap();
    assert_eq!((left.len(), left[0].about.as_str()), (1, "crm"));
    assert_eq!(left[0].posts.len(), 1);
    bench.put_alarms(&put(&rows[..1])).await.unwrap();
    assert_eq!(bench.alarms().await.unwrap()[0].posts, []);
}
