//! The cases, one function each: a factory is all they need. [`suite!`](super::suite) makes tests of them.

use std::future::Future;

use super::fixture::Fixture;
use super::run::{LocalFuture, run};

/// The only list of the cases. A case that is not in it is reported as dead code.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ([$($callback:tt)+] $($arguments:tt)*) => {
        $($callback)+! {
            [$($arguments)*]
            delivery {
                a_published_event_reaches_every_live_subscriber_whose_filter_matches
                a_published_event_reaches_no_subscriber_whose_filter_does_not_match
                an_event_reaches_a_subscriber_once_for_each_of_its_subscriptions
                publishing_with_nobody_listening_succeeds
                when_subscribe_has_returned_an_event_published_after_is_delivered
                when_subscribe_has_returned_amid_other_publishing_an_event_published_after_is_delivered
            }
            order {
                events_of_one_publisher_arrive_in_the_order_published
                all_subscribers_see_one_total_order
                sequences_rise_from_one
            }
            slow {
                a_subscriber_that_does_not_read_never_blocks_or_slows_a_publisher_or_another_subscriber
                a_subscriber_that_does_not_read_large_events_never_blocks_a_publisher
                where_the_backend_is_lossless_a_subscriber_that_falls_behind_catches_up_from_the_log
                overflow_of_a_bounded_buffer_is_an_error_item_never_silent
            }
            unsubscribe {
                unsubscribing_stops_delivery_and_ends_the_stream
                where_the_backend_is_lossless_unsubscribing_first_hands_over_what_was_already_published
                dropping_the_subscription_stops_delivery_and_disturbs_nobody
            }
            cancel {
                dropping_the_future_of_a_publish_leaves_it_wholly_done_or_wholly_not
                dropping_the_future_of_a_batch_leaves_it_wholly_done_or_wholly_not
                dropping_the_future_of_a_subscribe_leaves_nothing_behind
                dropping_the_future_of_the_next_item_loses_nothing
                dropping_the_future_of_a_close_leaves_a_bus_that_can_be_closed
            }
            payload {
                payload_bytes_arrive_as_sent
                headers_arrive_as_sent_in_their_order_and_as_often
                subject_sequence_and_message_id_arrive_as_acknowledged
                one_mib_with_headers_arrives
                more_than_one_mib_is_payload_too_large_before_anything_is_written
                large_and_small_events_arrive_in_one_order
                payload_and_headers_of_requests_and_replies_arrive_as_sent
                a_request_of_one_mib_arrives_and_a_larger_one_is_payload_too_large
            }
            subject {
                an_invalid_subject_is_invalid_subject_naming_the_offending_token
                an_invalid_filter_is_invalid_subject_naming_the_offending_token
                a_mistake_in_an_option_is_reported_before_anything_is_written
                an_invalid_subject_of_a_request_or_service_is_invalid_subject
                a_mistake_in_an_option_of_a_request_or_service_is_reported
            }
            close {
                close_ends_every_subscription
                close_can_be_called_twice
                close_can_be_called_by_several_at_once
                close_returns_while_callers_still_hold_subscriptions
                close_waits_until_what_was_being_written_is_written
                after_close_every_verb_is_closed
                after_close_every_verb_of_jobs_is_closed
            }
            batch {
                a_batch_is_published_next_to_each_other_and_in_its_order
                a_lone_event_never_comes_between_those_of_a_batch
                a_batch_of_which_one_is_refused_publishes_none
                a_member_of_a_batch_sees_those_before_it
                an_empty_batch_publishes_nothing
                where_batches_are_not_whole_they_are_unsupported
            }
            dedup {
                a_second_message_with_the_same_id_is_acknowledged_as_duplicate_and_not_published
                of_concurrent_messages_with_the_same_id_one_is_published
                a_duplicate_inside_a_batch_is_not_published
                the_id_of_a_message_that_was_refused_is_free
                a_duplicate_is_one_whatever_sequence_it_expects
            }
            expect_last {
                expect_last_publishes_only_if_the_subjects_newest_event_has_that_sequence
                of_concurrent_publishers_that_expect_the_same_sequence_one_succeeds
                where_expect_last_is_not_checked_it_is_unsupported
            }
            replay {
                last_is_the_newest_event_of_its_subject
                a_start_at_new_delivers_nothing_that_was_before
                a_start_at_oldest_delivers_the_log_and_then_what_is_new
                a_start_at_a_sequence_delivers_from_it_or_the_next_one_there_is
                a_start_one_beyond_the_newest_delivers_what_is_new
                a_start_more_than_one_beyond_the_newest_is_cursor_ahead
                a_start_at_a_time_delivers_from_the_first_event_of_that_time_or_later
                a_start_at_the_last_of_each_subject_delivers_those_in_order_and_then_what_is_new
                a_replay_delivers_what_its_filter_matches_and_nothing_else
                a_replay_larger_than_the_buffer_is_whole
                a_replay_amid_publishing_misses_nothing_and_doubles_nothing
                where_there_is_no_replay_a_start_in_the_past_is_unsupported
            }
            gap {
                a_start_before_the_oldest_event_is_one_gap_and_then_goes_on
                a_start_at_what_the_log_holds_is_no_gap
                a_sequence_is_not_given_again_after_its_event_is_gone
            }
            serving {
                when_serve_has_returned_a_request_made_after_is_answered
                a_request_is_answered_by_exactly_one_server
                the_reply_is_parts_in_order_and_then_one_final_reply
                a_part_arrives_while_its_handler_still_works
                servers_of_a_subject_share_its_load
                a_server_with_a_wildcard_serves_what_its_filter_matches_and_nothing_else
                a_service_runs_as_many_handlers_as_its_concurrency_and_never_more
                a_call_has_what_was_asked_and_an_id_of_its_own
                an_early_reply_is_the_answer_and_what_the_handler_returns_is_not
                a_handler_that_has_answered_has_its_place_until_its_end
            }
            failing {
                a_handlers_error_is_handler_with_its_message_code_and_body
                parts_come_before_a_handlers_error
                a_handlers_panic_is_handler_and_its_service_goes_on
                a_reply_that_is_too_large_is_handler_and_its_service_goes_on
                a_handler_that_blocks_its_thread_does_not_stop_other_calls
                a_reply_reaches_its_caller_though_the_next_handler_blocks_its_thread
            }
            waiting {
                no_answer_in_time_is_request_timeout_and_the_handler_is_cancelled
                where_requests_wait_no_server_in_time_is_request_timeout
                where_requests_wait_a_server_that_starts_late_still_answers
                with_no_server_a_request_that_was_to_fail_at_once_is_no_responders
                where_requests_do_not_wait_no_server_is_no_responders
                where_requests_wait_a_deadline_passed_is_a_request_not_run
                a_caller_does_not_get_the_reply_of_another_request
                where_requests_wait_each_is_answered_though_servers_come_and_go
            }
            withdrawing {
                dropping_the_future_of_a_request_that_is_unclaimed_withdraws_it
                dropping_the_future_of_a_request_that_is_claimed_cancels_its_handler
                dropping_the_future_of_a_request_at_any_point_leaves_no_handler_that_is_not_told
                a_late_reply_is_discarded
                dropping_the_future_of_the_next_reply_loses_nothing
                dropping_the_future_of_a_serve_leaves_nothing_behind
            }
            closing_services {
                close_ends_every_service
                close_waits_for_running_handlers
                close_waits_for_handlers_no_longer_than_their_grace
                where_requests_wait_a_caller_who_waits_when_its_bus_is_closed_gets_closed
                a_service_that_is_stopped_finishes_what_it_holds_and_takes_nothing_new
                what_a_stopped_service_does_not_finish_within_its_grace_is_given_to_another
                dropping_a_service_gives_what_it_held_to_another
                a_request_that_was_not_to_be_given_to_another_is_server_lost
            }
            lapsing {
                after_max_run_a_job_is_given_to_another_and_a_late_answer_changes_nothing
                a_lease_that_was_extended_is_held_beyond_max_run
            }
            jobs {
                where_jobs_are_not_kept_they_are_unsupported
                a_job_is_run_once_and_its_reply_is_kept
                a_job_is_not_run_before_its_time
                of_a_subject_the_higher_priority_is_first_and_then_the_older
                a_wildcard_server_goes_round_the_subjects_that_wait
                a_job_whose_unique_key_is_pending_is_the_one_that_has_it
                a_unique_key_may_be_for_a_time_or_for_ever
                jobs_of_a_key_run_one_at_a_time_and_in_order
                jobs_of_other_keys_do_not_wait
                what_waits_on_a_paused_subject_is_begun_when_it_is_resumed
                an_expired_job_is_a_dead_letter_and_never_run
                enqueueing_a_batch_is_all_or_none_and_in_order
                a_released_job_is_run_again_and_the_attempt_does_not_count
                what_jobs_cannot_have_is_unsupported_before_anything_is_enqueued
            }
            job_replies {
                the_replies_of_a_job_are_for_whoever_asks_from_the_first_part_on
                a_reply_is_waited_for_by_the_id_alone
                a_job_that_never_was_is_not_found
                a_reply_is_kept_for_its_time
                a_job_that_waits_is_cancelled_at_once
                the_handler_of_a_job_that_runs_is_told_and_decides
            }
            dead {
                a_job_that_fails_is_tried_again_after_its_backoff
                a_job_whose_attempts_are_exhausted_is_a_dead_letter
                a_fatal_error_is_a_dead_letter_at_once
                a_panic_of_a_jobs_handler_is_a_failure_like_any_other
                a_handler_may_say_when_its_job_is_tried_again
                dead_letters_are_listed_in_the_order_of_their_deaths_and_in_pages
                a_requeued_letter_is_the_same_job_with_all_attempts_before_it
                purged_letters_are_gone_for_good
            }
            consumers {
                where_consumers_are_not_kept_they_are_unsupported
                where_consumers_are_not_cumulative_they_are_unsupported
                a_new_consumer_begins_where_it_was_told
                a_start_beyond_the_end_makes_no_consumer
                a_consumer_gets_what_any_of_its_filters_matches_and_nothing_else
                a_consumer_without_a_filter_gets_everything
                a_delivery_is_the_event_as_it_was_published
                a_reopened_consumer_goes_on_behind_what_it_acknowledged
                options_that_are_not_given_stay_and_changed_ones_are_for_all
                other_filters_count_from_the_position_on
                what_cannot_be_changed_is_consumer_mismatch_naming_the_setting
                a_mistake_in_an_option_of_a_consumer_makes_none
                two_consumers_are_independent
                consumers_are_made_once_though_many_open_them_at_the_same_time
            }
            consumers_acks {
                acks_may_come_in_any_order_and_the_ack_floor_follows
                members_share_the_events_and_each_goes_to_one
                a_second_ack_is_lease_lost
                all_deliveries_of_a_batch_are_acknowledged_together
                an_empty_batch_is_the_end
                dropping_an_inbox_gives_back_at_once_what_was_not_handed_over
                a_member_that_waits_is_given_what_another_leaves_behind
                max_ack_pending_bounds_what_all_members_hold_together
                a_larger_bound_lets_members_who_wait_go_on
                events_published_while_members_wait_reach_them
            }
            consumers_again {
                what_is_not_acknowledged_in_time_comes_again_and_the_old_ack_is_lease_lost
                what_a_member_that_is_gone_held_comes_again_to_another
                a_delivery_that_was_extended_is_held_beyond_ack_wait
                a_nack_with_a_delay_comes_again_after_it
                a_nack_comes_again_after_the_consumers_backoff
                a_nack_without_a_delay_comes_again_and_does_not_spin
                a_failure_may_say_when_its_event_comes_again
                what_is_released_comes_again_at_once_and_the_delivery_does_not_count
                what_is_released_is_pending_and_waits_out_no_pause
                an_inbox_with_a_limit_takes_no_more_than_that
                what_a_cumulative_member_releases_comes_again_when_it_has_left
                what_waits_out_a_backoff_holds_up_nobody
                info_tells_held_redelivered_and_backing_off_apart
                info_counts_what_is_pending_and_how_far_it_is_behind
            }
            consumers_giving_up {
                a_terminated_event_is_a_dead_letter_with_its_reason
                a_fatal_failure_is_a_dead_letter_at_once
                an_event_that_was_delivered_max_deliver_times_is_a_dead_letter
                an_event_that_nobody_ever_acknowledges_is_a_dead_letter
                a_poison_message_holds_up_nobody
                a_requeued_event_is_delivered_anew_to_the_consumer_that_gave_it_up
                a_letter_whose_consumer_is_no_more_stays
                a_letter_whose_event_is_no_more_stays
                a_letter_of_a_cumulative_consumer_cannot_be_requeued
                letters_of_events_and_of_jobs_share_one_list
            }
            consumers_in_order {
                a_cumulative_ack_counts_for_everything_before
                another_member_takes_over_behind_the_ack_floor_when_the_active_one_leaves
                those_who_stand_by_get_nothing_while_the_active_member_has_its_place
                a_standby_that_leaves_disturbs_nobody
                a_cumulative_nack_goes_back_to_its_event_and_keeps_the_order
                a_cumulative_nack_comes_again_after_the_consumers_backoff
                giving_up_on_an_event_does_not_count_for_those_before_it
                a_cumulative_consumer_told_to_goes_on_behind_a_dead_letter
                dropping_the_future_that_opens_a_cumulative_consumer_takes_no_place
            }
            consumers_stopping {
                a_consumer_that_gives_up_stops_in_front_of_its_event
                a_terminated_event_stops_its_consumer_with_the_reason
                a_cumulative_consumer_stops_when_max_deliver_is_reached
                those_who_stand_by_go_on_when_a_stopped_consumer_is_resumed
                a_stopped_consumer_that_is_moved_goes_on
            }
            consumers_moving {
                a_consumer_is_moved_back_and_forward_while_it_is_open
                what_members_hold_is_lost_when_their_consumer_is_moved
                what_waits_to_come_again_is_forgotten_when_its_consumer_is_moved
                a_move_beyond_the_end_is_cursor_ahead_and_changes_nothing
                nothing_is_delivered_while_a_consumer_is_paused
                deleting_a_consumer_ends_its_inboxes_with_not_found
                every_verb_of_a_consumer_that_is_not_there_is_not_found
                consumers_are_listed_by_name
                events_that_are_gone_before_a_consumer_got_them_are_one_gap
                a_new_consumer_that_begins_at_what_is_gone_has_a_gap_only_if_it_named_it
            }
            consumers_ending {
                close_ends_every_inbox
                after_close_every_verb_of_consumers_is_closed
                dropping_the_future_of_the_next_delivery_loses_nothing
                dropping_the_future_of_an_ack_leaves_it_wholly_done_or_wholly_not
                dropping_the_future_that_opens_a_consumer_holds_nothing_back
                dropping_the_future_of_a_leave_leaves_the_consumer
            }
        }
    };
}

macro_rules! functions {
    ([] $($module:ident { $($case:ident)* })*) => { $($(
        #[doc = concat!("Runs the case `", stringify!($case), "` on what the factory makes.")]
        ///
        /// # Panics
        /// If the backend does not keep it, or not within 60 seconds.
        pub fn $case<F, Fut>(factory: F)
        where
            F: FnOnce() -> Fut + Send + 'static,
            Fut: Future<Output: Into<Fixture>> + 'static,
        {
            let make = Box::new(|| Box::pin(async { factory().await.into() }) as LocalFuture<'static, _>);
            run(stringify!($case), make, |fixture| Box::pin(super::$module::$case(fixture)));
        }
    )*)* };
}

__conformance_cases!([functions]);

/// Makes a `#[test]` of each case of the [contract](crate::Messenger#contract), in the module where it is
/// called.
///
/// Its argument makes the backend: a function or closure that returns a future, whose output is a
/// [`Messenger`](crate::Messenger), an `Arc<dyn Messenger>` or a [`Fixture`](crate::conformance::Fixture). It
/// is called once for each case.
///
/// ```
/// mod contract {
///     rowbus::conformance::suite!(|| async { rowbus::InMemBus::new() });
/// }
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_suite {
    ($factory:expr $(,)?) => {
        $crate::__conformance_cases! { [$crate::__conformance_tests] $factory }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ([$factory:expr] $($module:ident { $($case:ident)* })*) => { $($(
        #[test]
        fn $case() {
            $crate::conformance::cases::$case($factory)
        }
    )*)* };
}
