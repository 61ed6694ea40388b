//! Writes that are acknowledged later: the engine with CU Ascend by files (R46), on both databases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "handover/bench.rs"]
mod bench;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[path = "common/postgres.rs"]
mod postgres_server;
#[path = "handover/reads.rs"]
mod reads;
#[path = "handover/writes.rs"]
mod writes;

/// Runs each case as `sqlite::…` and as `postgres::…`; what stands behind a case is added to the file
/// transport's table.
macro_rules! on_both_databases {
    ($($file:ident: $($case:ident $(with $more:literal)?),+ $(,)?;)+) => {
        mod sqlite {
            $($(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let more = concat!($($more)?);
                crate::$file::$case(crate::bench::Exchange::start(None, more).await).await;
            })+)+
        }

        mod postgres {
            $($(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let more = concat!($($more)?);
                let database = crate::postgres_server::Database::create().await;
                crate::$file::$case(crate::bench::Exchange::start(Some(database), more).await).await;
            })+)+
        }
    };
}

on_both_databases! {
    writes:
        r46_a_change_goes_out_in_a_batch_and_is_done_once_acknowledged,
        r53_explain_tells_of_batches_in_words,
        r46_what_is_refused_goes_where_its_code_says,
        r46_without_a_word_the_rows_go_with_the_next_batch,
        r46_words_that_come_twice_late_or_in_parts_settle_each_row_once,
        r46_what_cannot_be_understood_is_kept_apart_and_told,
        r15_an_older_value_that_takes_effect_late_is_an_echo,
        r15_an_extract_may_tell_before_the_acknowledgement_does,
        g10_a_crash_between_the_file_and_the_store_loses_and_doubles_nothing,
        r46_a_newer_word_in_ascend_wins_and_an_older_one_does_not,
        r46_a_lock_of_somebody_else_holds_up_and_our_own_does_not,
        r11_an_opt_out_for_which_an_opt_in_is_refused_as_older_counts,
        r15_what_could_not_be_handed_over_is_not_taken_for_an_echo,
        r15_an_attempt_that_failed_forgets_nothing_that_was_handed_over,
        r39_a_night_that_was_missed_is_made_up_at_the_start_and_only_that,
        r39_words_are_taken_whatever_the_schedule_and_batches_are_not;
    reads:
        r46_an_extract_made_before_the_acknowledgement_says_nothing_of_it,
        r27_a_short_extract_halts_the_feed_before_anything_is_stored,
        r27_a_short_extract_passes_once_an_operator_accepts_it,
        r25_a_manual_load_in_ascend_is_healed,
        r46_the_newest_extract_counts_and_bad_rows_are_quarantined,
        r46_an_extract_that_contradicts_itself_is_not_read,
        r46_everything_is_read_anew_from_what_was_filed_away,
        r51_a_dry_run_moves_nothing,
        parity_asked_afresh_reads_the_newest_extract_and_touches_nothing,
        r42_a_system_by_files_is_unverified_unless_its_last_extract_will_do,
        r10_a_time_that_says_when_a_value_was_set_is_history with "as_of = \"changed\"";
}
