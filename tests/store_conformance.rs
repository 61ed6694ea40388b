//! Both databases pass this suite: every case runs on SQLite and on Postgres.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect is to end there"
)]

#[path = "store_conformance/alarms.rs"]
mod alarms;
#[path = "store_conformance/bench.rs"]
mod bench;
#[path = "store_conformance/copy.rs"]
mod copy;
#[path = "store_conformance/gate.rs"]
mod gate;
#[path = "store_conformance/opening.rs"]
mod opening;
#[path = "common/postgres.rs"]
mod postgres_server;
#[path = "store_conformance/privacy.rs"]
mod privacy;
#[path = "store_conformance/queue.rs"]
mod queue;
#[path = "store_conformance/reports.rs"]
mod reports;
#[path = "store_conformance/send.rs"]
mod send;
#[path = "store_conformance/transactions.rs"]
mod transactions;

/// Runs each case as `sqlite::…` and as `postgres::…`.
macro_rules! on_both_databases {
    ($($file:ident: $($case:ident),+ $(,)?;)+) => {
        mod sqlite {
            $($(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                crate::$file::$case(crate::bench::Bench::sqlite().await).await;
            })+)+
        }

        mod postgres {
            $($(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                crate::$file::$case(crate::bench::Bench::postgres().await).await;
            })+)+
        }
    };
}

on_both_databases! {
    transactions:
        every_row_comes_back_as_it_was_put,
        rows_are_replaced_whole,
        of_two_changes_of_one_row_the_last_counts,
        a_contact_brings_everyone_of_its_subject,
        links_bring_their_contacts_once_and_no_further,
        replayed_changes_write_nothing,
        a_feed_moves_only_from_where_it_stands,
        switches_stay_as_they_are_turned,
        a_word_on_the_next_scan_is_used_up_once,
        a_switch_is_turned_with_its_entry_or_not_at_all,
        it_is_kept_how_far_subjects_are_decided,
        a_refused_row_takes_its_whole_transaction_with_it,
        a_load_counts_each_contact_once,
        flips_are_counted_in_their_window,
        the_number_of_statements_does_not_grow_with_the_page;
    queue:
        claims_take_withdrawals_first_and_then_the_oldest,
        a_claim_may_name_its_lane_and_its_system,
        a_claim_is_current_until_the_decision_changes,
        a_postponed_write_waits_for_its_time,
        a_newer_decision_is_only_unclaimed,
        an_attempt_is_entered_where_the_write_goes_back,
        dead_letters_wait_for_an_operator,
        two_emitters_never_claim_the_same_write,
        what_was_handed_over_waits_for_its_word,
        what_may_still_happen_is_kept_when_more_is_claimed,
        a_claim_that_was_not_sent_is_given_up_by_the_newer_write,
        planned_writes_wait_until_planning_ends,
        planning_is_decided_once_and_is_known_to_every_transaction;
    copy:
        a_copy_holds_every_row_of_every_table,
        a_copy_changes_nothing_and_waits_for_nobody;
    reports:
        systems_keep_their_numbers,
        the_ledger_is_numbered_without_gaps,
        blocks_come_page_by_page,
        the_blocks_about_subjects_are_found_also_where_entries_are_forgotten,
        r52_what_is_redacted_still_proves_and_replaces_only_what_was_read,
        figures_count_what_is_there,
        the_figures_of_an_empty_store_are_zero,
        quarantined_records_stay_until_they_heal,
        subjects_are_paged_by_number,
        the_store_proves_that_it_can_be_written;
    send:
        recipients_come_in_the_order_asked_for,
        recipients_come_with_what_is_held_and_what_is_not_understood,
        the_number_of_statements_does_not_grow_with_the_recipients,
        the_live_contacts_of_subjects_come_with_their_own_addresses,
        a_sendout_comes_back_as_it_was_put_also_after_a_restart,
        a_sendout_is_answered_once_and_forgotten_in_its_time;
    gate:
        requests_come_back_as_they_were_put,
        requests_are_asked_for_in_several_ways,
        open_requests_come_with_their_subjects,
        a_recipient_with_an_open_request_is_undeliverable,
        who_is_due_stays_so_until_asked_about,
        a_round_goes_on_where_it_was,
        a_refused_request_takes_its_whole_transaction_with_it;
    privacy:
        suppressions_are_found_by_their_digests_and_move_to_another_key,
        a_stale_redaction_takes_its_whole_transaction_with_it,
        what_is_erased_takes_everything_that_names_it_along,
        it_is_kept_how_far_a_class_has_expired;
    alarms:
        alarms_come_back_in_the_order_in_which_they_were_raised,
        a_channel_steps_on_from_where_it_stands_and_only_once,
        a_forgotten_alarm_takes_its_posts_along;
    opening:
        a_newer_or_broken_schema_is_refused,
        a_tool_works_beside_the_daemon,
        two_that_store_the_same_page_store_it_once;
}
