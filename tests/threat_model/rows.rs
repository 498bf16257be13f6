//! The table of trust.md 9: attackers, what holds each off, and the tests that say so.

/// A row of trust.md's table.
pub(super) struct Row {
    pub(super) attacker: &'static str,
    /// What holds it off, and where.
    pub(super) defence: &'static str,
    /// File and name.
    pub(super) tests: &'static [(&'static str, &'static str)],
}

const OUTSIDER: &str = "tests/threat_model/outsider.rs";
const COMPROMISED_ADMIN: &str = "tests/threat_model/compromised_admin.rs";
const STOLEN_KEY: &str = "tests/threat_model/stolen_key.rs";
const CURIOUS_MEMBER: &str = "tests/threat_model/curious_member.rs";

/// In the order of trust.md.
pub(super) const ROWS: &[Row] = &[
    Row {
        attacker: "outsider reads",
        defence: "roots of each organisation, no hints: `Verifier` in transport/tls.rs; one answer to every failure: `judged` in \
                  transport/session.rs",
        tests: &[
            ("tests/session_auth.rs", "a_stranger_gets_no_connection_in_either_direction"),
            ("tests/session_auth.rs", "relayed_or_foreign_bodies_are_refused"),
            ("tests/stranger_refused.rs", "a_joiner_outside_the_channel_gets_nothing"),
            ("tests/stranger_refused.rs", "a_source_outside_the_channel_is_refused_by_the_joiner"),
            (OUTSIDER, "strangers_are_not_told_who_the_members_are"),
        ],
    },
    Row {
        attacker: "outsider floods",
        defence: "retry: `admit` in transport/serving/listener.rs; caps and quotas: `Seats` in transport/serving/seats.rs; 5 s and 64 KiB: \
                  `judged` and `read_frame` in transport/session.rs, `accept` in transport/serving/session.rs",
        tests: &[
            ("tests/session_auth.rs", "an_oversize_frame_and_garbage_are_refused_unread"),
            ("tests/session_auth.rs", "a_byte_now_and_then_buys_no_time"),
            ("tests/wire_limits.rs", "whoever_does_not_say_in_time_who_it_is_is_let_go_like_a_stranger"),
            ("tests/wire_session.rs", "a_frame_over_its_cap_closes_the_connection"),
            ("tests/serving_limits.rs", "under_many_handshakes_an_address_has_to_prove_itself_and_then_gets_in"),
            ("tests/serving_limits.rs", "more_handshakes_than_the_cap_are_refused_at_once"),
            ("tests/wire_session.rs", "an_organisation_gets_its_share_of_sessions_and_no_more"),
            (
                "tests/faults/floods.rs",
                "a_flood_of_handshakes_leaves_accepted_sessions_their_rate_and_newcomers_their_way_in",
            ),
            ("tests/faults/floods.rs", "members_that_open_all_they_can_and_read_nothing_slow_nobody_else"),
        ],
    },
    Row {
        attacker: "relay, replay",
        defence: "exporter, TLS hashes, transcript, role, signature: `TlsSession::check` in transport/session.rs; no 0-RTT, no \
                  resumption: `client_config` and `server_config` in transport/tls.rs",
        tests: &[
            ("tests/session_auth.rs", "a_replayed_authentication_is_worthless"),
            ("tests/session_auth.rs", "a_bit_of_the_signature_and_a_high_s_are_noticed"),
            ("tests/session_auth.rs", "the_clients_own_words_are_no_answer"),
            ("tests/session_auth.rs", "a_member_that_relays_between_two_others_is_found_out_by_both"),
            (OUTSIDER, "no_handshake_is_resumed_and_nothing_is_sent_early"),
        ],
    },
    Row {
        attacker: "revoked member or admin, removed org",
        defence: "sessions judged again: `revalidate` in transport/serving/session.rs, `judge_again` in bootstrap/sources.rs; CRLs: `check` in \
                  msp/crl.rs; validated before any role: `ChannelConfig::satisfies` in msp/principal.rs",
        tests: &[
            ("tests/org_removed_mid_transfer.rs", "a_removed_organisation_is_cut_off_and_the_others_are_not"),
            ("tests/org_removed_mid_transfer.rs", "nobody_slips_in_while_the_configuration_changes"),
            ("tests/revoked_mid_transfer.rs", "a_revoked_certificate_is_cut_off_and_its_organisation_is_not"),
            ("tests/revoked_mid_transfer.rs", "a_revoked_admin_takes_its_grants_along"),
            (
                "tests/joiner_follows_configuration.rs",
                "a_snapshot_that_a_removed_organisation_vouched_for_is_not_taken",
            ),
            (
                "tests/joiner_follows_configuration.rs",
                "a_source_whose_certificate_is_revoked_is_left_and_the_others_finish",
            ),
            ("src/msp/tests/principals.rs", "listed_admins_are_admins_until_they_are_revoked"),
            ("src/catalog/agreement/tests.rs", "what_was_agreed_is_judged_again_before_it_is_used"),
        ],
    },
    Row {
        attacker: "expired certificate",
        defence: "our own rule on dates: `check_dates` in msp/validate.rs; chains and roots: `OrgRoots::accepts` in transport/tls.rs",
        tests: &[
            ("tests/live_sessions.rs", "a_session_ends_with_its_tls_certificate"),
            ("tests/live_sessions.rs", "a_session_ends_with_its_identity"),
            ("tests/live_sessions.rs", "a_tls_root_past_its_dates_counts_for_nothing"),
            ("src/catalog/agreement/tests.rs", "an_expired_certificate_counts_for_stored_statements_alone"),
            ("src/service/control/admission/tests.rs", "an_expired_admin_is_none"),
        ],
    },
    Row {
        attacker: "org X claims to be Y",
        defence: "the claimed MSP ID is among those that accept the TLS chain: `check_tls_organisation` in transport/session.rs; exactly \
                  one chain of that MSP: `chains` in msp/chain.rs",
        tests: &[
            ("tests/session_auth.rs", "nobody_is_of_an_organisation_that_only_his_word_names"),
            (
                "tests/session_auth.rs",
                "organisations_that_share_a_tls_ca_are_told_apart_by_who_signs_and_a_third_is_neither",
            ),
            ("src/msp/tests/members.rs", "a_root_twice_is_one_chain_and_a_renewed_one_is_two"),
        ],
    },
    Row {
        attacker: "lying peer: data",
        defence: "the tree first, then each chunk, SHA-256 last: `FileTree` and `FileProof` in chunking/proof.rs; framing: \
                  `ChunkStream::check` in transport/asking/run.rs; ban: bootstrap/sources.rs",
        tests: &[
            ("tests/lying_source.rs", "a_flipped_bit_is_fetched_elsewhere_and_the_liar_is_dropped_by_name"),
            (
                "tests/lying_source.rs",
                "chunks_of_another_place_file_or_length_and_bombs_are_refused_and_their_source_is_dropped",
            ),
            ("tests/lying_source.rs", "a_liar_in_the_chunk_tree_is_dropped_before_any_chunk"),
            ("tests/lying_source.rs", "nothing_is_published_if_all_lie"),
            ("src/chunking/proof.rs", "only_the_right_bytes_in_the_right_place_become_a_chunk"),
            ("src/chunking/proof.rs", "a_wrong_sha256_under_a_right_blake3_blames_those_who_vouch"),
            (
                "tests/k_of_n.rs",
                "two_of_three_pass_with_a_liar_fail_when_one_is_alone_and_pass_again_once_one_more_signs",
            ),
        ],
    },
    Row {
        attacker: "lying peer: metadata",
        defence: "strict JSON: `SignableMetadata::parse` in snapshot/metadata.rs; the agreed commit hash: catalog/votes.rs; the exact set: \
                  `publish` in chunking/store/publish.rs",
        tests: &[
            ("tests/metadata_disagreement.rs", "another_commit_hash_does_not_count_together"),
            ("src/catalog/agreement/tests.rs", "a_minority_with_another_commit_hash_cannot_stop_a_join"),
            ("tests/damaged_folders.rs", "names_outside_the_closed_set_and_doubled_keys_are_refused"),
            ("tests/damaged_folders.rs", "missing_extra_and_renamed_files_are_refused"),
            ("tests/damaged_landing.rs", "a_file_that_appears_during_the_transfer_is_not_published"),
            ("tests/lying_source.rs", "a_liar_in_the_manifest_is_dropped_and_its_offer_does_not_count"),
            ("tests/lying_source.rs", "who_attests_what_no_honest_service_would_is_dropped_and_does_not_count"),
        ],
    },
    Row {
        attacker: "rollback",
        defence: "floor and nonce: `Judging::is_new_enough` and `standing` in catalog/judging.rs; configurations: service/bundles.rs",
        tests: &[
            ("tests/k_of_n.rs", "an_older_snapshot_than_this_peer_had_is_refused_unless_it_is_asked_for"),
            ("src/catalog/agreement/tests.rs", "the_newest_block_that_two_organisations_attest_alike_wins"),
            ("src/catalog/agreement/tests.rs", "below_the_floor_nothing_is_taken_unless_allowed"),
            ("src/catalog/agreement/tests.rs", "stored_statements_count_only_where_live_ones_are_not_required"),
            ("tests/lying_source.rs", "who_attests_nothing_or_only_for_others_is_used_but_does_not_count"),
            ("tests/config_at_start.rs", "no_command_starts_with_what_the_record_refuses"),
            ("tests/config_at_start.rs", "a_block_that_nobody_signed_changes_nothing_at_the_next_start_either"),
        ],
    },
    Row {
        attacker: "k-1 colluding orgs",
        defence: "distinct organisations and the rule: `TrustPolicy::is_met` in catalog/policy.rs; one identity id, one spelling: \
                  msp/identity.rs, msp/low_s.rs",
        tests: &[
            ("src/catalog/agreement/tests.rs", "k_minus_one_colluding_organisations_do_not_pass"),
            ("src/catalog/agreement/tests.rs", "one_organisation_too_few_cannot_agree_with_itself"),
            ("src/catalog/agreement/tests.rs", "the_twin_of_a_certificate_is_the_same_voucher"),
            ("src/catalog/agreement/tests.rs", "the_high_twin_of_a_signature_is_refused"),
            ("src/msp/policy/tests/channel_policies.rs", "an_identity_counts_once_however_it_is_spelled"),
            ("tests/k_of_n.rs", "one_organisation_cannot_stand_for_two"),
        ],
    },
    Row {
        attacker: "k colluding orgs",
        defence: "out of scope, but never without a trace: `JoinReceipt` in catalog/receipt.rs",
        tests: &[
            ("tests/k_of_n.rs", "colluders_below_k_are_refused_and_k_of_them_stand_in_the_receipt_by_name"),
            ("tests/k_of_n.rs", "a_receipt_is_verified_offline_and_every_edited_byte_is_found"),
        ],
    },
    Row {
        attacker: "equivocator",
        defence: "own guard: `StatementStore::allow` in catalog/statements.rs; proof: `Conflicts` in catalog/conflicts.rs, `Equivocation` in \
                  catalog/evidence.rs",
        tests: &[
            ("tests/k_of_n.rs", "who_signs_two_versions_does_not_count_and_the_proof_convinces_anybody"),
            ("src/catalog/attestor/tests.rs", "a_second_version_of_a_block_is_never_signed"),
            ("src/catalog/statements/tests.rs", "the_first_statement_stays_for_ever"),
            ("src/catalog/evidence/tests.rs", "what_anybody_can_make_up_is_no_proof"),
        ],
    },
    Row {
        attacker: "hostile content",
        defence: "lengths first: `shape::check` in transport/wire/shape.rs, snapshot/items.rs; decode caps: `CodecContext::decompress` in \
                  chunking/codec.rs; atomic publish: chunking/store/publish.rs",
        tests: &[
            ("tests/fuzz_bodies.rs", "records_bodies_hold"),
            ("tests/fuzz_bodies_wire.rs", "mutated_frames_never_panic"),
            ("src/transport/wire/shape.rs", "a_frame_of_tiny_entries_is_refused_before_it_is_decoded"),
            ("tests/damaged_folders.rs", "huge_lengths_and_counts_are_refused_before_memory_is_taken"),
            ("src/chunking/codec.rs", "a_bomb_ends_at_the_buffer"),
            ("src/chunking/codec.rs", "a_window_bomb_is_refused_before_it_is_decoded"),
            ("src/chunking/store/tests.rs", "nothing_is_published_unless_all_is_proved"),
        ],
    },
    Row {
        attacker: "compromised admin",
        defence: "no message sets a policy or commands over the network: `Body` in transport/wire/mod.rs, `Method` in \
                  service/control/command.rs; own admins, each command once: service/control/admission.rs",
        tests: &[
            (COMPROMISED_ADMIN, "an_admin_commands_nothing_over_the_network"),
            ("tests/access_rules.rs", "a_grant_reaches_no_further_than_it_says"),
            ("tests/local_control.rs", "without_leave_to_delete_even_an_admin_is_refused_and_told_why"),
            ("tests/local_control.rs", "a_recorded_command_is_never_obeyed_again_not_even_after_a_restart"),
            ("tests/rfc_integration_test_7.rs", "only_an_admin_of_the_organisation_that_owns_the_peer_deletes"),
        ],
    },
    Row {
        attacker: "stolen service key",
        defence: "an identity of its own, so that a CRL ends it alone: `check` in msp/crl.rs; equivocation: catalog/conflicts.rs",
        tests: &[
            (STOLEN_KEY, "a_stolen_key_opens_nothing_once_it_is_revoked_and_its_successor_does"),
            (STOLEN_KEY, "what_a_stolen_key_signed_does_not_count_once_it_is_revoked"),
            ("tests/k_of_n.rs", "who_signs_two_versions_does_not_count_and_the_proof_convinces_anybody"),
        ],
    },
    Row {
        attacker: "curious member",
        defence: "each session is one channel's, each request is judged: `known` in transport/serving/session.rs, `Access` in \
                  transport/serving/access.rs; a snapshot has private data as hashes only: `NoHash` in snapshot/content_check.rs; the data \
                  themselves are left to Fabric's reconciler (trust.md 7)",
        tests: &[
            ("tests/access_rules.rs", "a_session_of_one_channel_gets_nothing_of_another"),
            ("tests/access_rules.rs", "without_a_grant_that_holds_a_peer_is_told_the_same_whatever_is_wrong"),
            ("tests/access_rules.rs", "a_client_of_an_application_fetches_nothing"),
            (CURIOUS_MEMBER, "who_is_in_one_channel_learns_of_no_other"),
            (CURIOUS_MEMBER, "of_private_data_a_member_gets_hashes_only"),
            ("tests/damaged_folders.rs", "private_data_in_place_of_their_hashes_are_refused"),
            ("tests/join_serve.rs", "a_joiner_gives_what_it_has_proved_to_its_own_organisation_and_to_nobody_else"),
            (
                "tests/rfc_integration_test_2.rs",
                "a_new_organisations_peer_joins_by_a_snapshot_and_has_what_it_may_have",
            ),
            ("tests/rfc_integration_test_7.rs", "only_an_admin_of_the_organisation_that_owns_the_peer_deletes"),
        ],
    },
];
