//! Tests that need the root of the host, or containers without a user namespace: in the other modes they are skipped,
//! with a reason that is printed, and counted.

use crate::harness::{Need, Of};

const fn mapped(test: &'static str, reason: &'static str) -> Need {
    Need { of: Of::UserNamespaces, test, reason }
}

const fn user(test: &'static str, reason: &'static str) -> Need {
    Need { of: Of::User, test, reason }
}

const fn no_cgroups(test: &'static str, reason: &'static str) -> Need {
    Need { of: Of::UserOnVersion1, test, reason }
}

const fn units(test: &'static str, reason: &'static str) -> Need {
    Need { of: Of::Units, test, reason }
}

const OWN_SYSTEMD: &str = "the test has a systemd of its own";
const REMOVED: &str =
    "systemd may remove the cgroup after the kill was counted and before the figures are read";
const DIRECTORIES: &str = "it is about directories that systemd knows nothing of";
const MKNOD: &str = "a user namespace forbids mknod, nodes are those of the host";
const LOCKED: &str = "what root has set on a mount is locked for the user";
const BY_CGROUP: &str = "without a cgroup nothing tells which processes are the container's";
const CGROUPS: &str = "version 1 has no cgroups for an unprivileged user";

/// A test, or with `::` at the end all of a file.
pub const NEEDS: &[Need] = &[
    mapped("kernel::device_of_the_config_is_made", MKNOD),
    mapped("kernel::device_of_the_config_replaces_a_default", MKNOD),
    mapped("kernel::device_outside_dev_is_made", MKNOD),
    mapped("kernel::default_devices_may_be_used_and_no_others", MKNOD),
    mapped("kernel::allowed_device_may_be_used_as_far_as_allowed", "the kernel log belongs to the host"),
    mapped(
        "resources::writing_for_reading_and_writing_is_refused_by_a_rule_about_writing",
        "the kernel log belongs to the host",
    ),
    mapped("kernel::device_rules_apply_in_order", "the kernel log belongs to the host"),
    mapped("mounts::idmapped_bind_shows_other_owners", "idmaps::* has its tests"),
    mapped("exec_process::user_is_set_and_the_group_of_the_config_stays", "uses an id that is not mapped"),
    mapped("broken::idmapped_mount_without_ids_is_refused", "there are ids to be meant"),
    mapped("debian::", "the tree belongs to root"),
    mapped("no_mounts::", "a user namespace needs a mount namespace"),
    mapped(
        "guards::mount_below_the_cgroup_view_stays_inside",
        "the cgroups above its own are not the container's",
    ),
    mapped("cgroups::device_program_is_attached_on_version_2", MKNOD),
    mapped("promises::matching_node_in_the_image_is_used", MKNOD),
    mapped("promises::device_has_its_mode_whatever_the_umask", MKNOD),
    mapped("hints::hints_about_tracing", "who has made a user namespace may trace what is in it"),
    mapped("hints::hints_about_mounts", "idmaps::* has its tests"),
    mapped("hints::hints_about_kernel_parameters_and_devices", MKNOD),
    mapped(
        "guards::state_root_that_others_may_write_to_is_refused",
        "what a test makes is given to the root of the container",
    ),
    mapped(
        "guards::state_root_that_others_could_exchange_is_refused",
        "what a test makes is given to the root of the container",
    ),
    mapped("seccomp_debian::nginx_serves_under_its_profile", "the tree belongs to root"),
    mapped(
        "ps::options_after_the_id_are_for_the_ps_of_the_host",
        "-x shows processes of the caller's user alone",
    ),
    user("promises::every_option_that_is_listed_is_accepted", LOCKED),
    user("seccomp_profiles::why_ends_with_the_container", "its process is hidden until the start"),
    user(
        "seccomp_profiles::why_tells_the_filter_of_a_program_from_the_profile",
        "the kernel shows filters to root alone",
    ),
    mapped("hints::hints_about_id_maps", "has its own maps"),
    mapped(
        "process::groups_of_the_caller_stay_out_of_a_user_namespace_that_is_joined",
        "joins one of its own",
    ),
    user("hints::hints_about_sysfs_in_a_user_namespace", "maps the root of the host"),
    user("state::zombie_init_counts_as_stopped", "calls the runtime as root"),
    user(
        "exec_place::process_that_joins_a_user_namespace_stays_hidden",
        "a traced program gets no privilege from its file",
    ),
    user("joined::joined_network_is_left_as_it_is", "joins a namespace of another user namespace"),
    user("joined::hook_moves_a_device_into_the_network_of_the_container", "moves devices of the host"),
    mapped("id_mapped::mapping_and_user_namespace_cancel_out", "chooses the owners on disk itself"),
    mapped(
        "id_mapped::mapping_of_the_container_is_used_without_one_of_the_mount",
        "chooses the owners on disk itself",
    ),
    mapped(
        "id_mapped::recursive_mapping_reaches_submounts_and_a_plain_one_does_not",
        "chooses the owners on disk itself",
    ),
    mapped(
        "id_mapped::many_mapped_mounts_work_under_a_low_limit_of_descriptors",
        "chooses the owners on disk itself",
    ),
    user("id_mapped::mapped_mount_may_be_shared", "id-mapped mounts need root"),
    mapped("id_mapped::set_user_id_and_devices_and_programs_are_refused_by_the_flags", MKNOD),
    user("net_devices::", "moves devices of the host"),
    mapped(
        "net_devices::parameter_of_a_device_with_a_dot_in_its_name_is_set",
        "joins a namespace of another user namespace",
    ),
    user(
        "filter_actions::kernel_gets_the_bits_of_the_flags",
        "a traced program gets no privilege from its file",
    ),
    user("systemd::", "the bus of the tests is that of root"),
    user("systemd_trouble::", "the bus of the tests is that of root"),
    user("cli::rootless_takes_the_booleans_of_go", "says that the caller is privileged"),
    user("cli::spec_for_rootless_writes_a_config_that_runs", "rootless::spec_for_rootless_runs does it"),
    user("check::ids_that_the_caller_may_not_map_are_found", "becomes another user"),
    user("seccomp_profiles::explain_needs_no_privilege", "becomes another user"),
    user("check::file_outside_of_a_bundle_is_checked", "its config has no user namespace"),
    user("kernel::missing_resctrl_file_system_is_an_error", "resctrl is for root alone"),
    user("hints::hints_for_an_ordinary_user", "becomes another user"),
    user("cli::options_that_engines_pass_are_accepted", "says that the caller is privileged"),
    user("cli::default_root_is_below_run", "rootless::* has the directory of a user"),
    user("guards::state_of_another_user_is_refused", "rootless::* has the user's view"),
    user("fds::engine_descriptors_are_not_held_by_init", "uses descriptors of the tests"),
    user("mounts::cleared_flags_are_cleared", LOCKED),
    user("mounts::access_time_options_are_set", LOCKED),
    user("mounts::flags_of_a_mount_are_set", LOCKED),
    user("mounts::recursive_flags_reach_submounts", LOCKED),
    user("mounts::recursive_access_time_reaches_submounts", LOCKED),
    user("mounts::bind_leaves_submounts_out", "what root has mounted below a directory is locked to it"),
    user("exec_process::groups_of_the_caller_are_dropped", "the caller of the runtime sets groups"),
    user("process::groups_of_the_caller_are_dropped", "the caller of the runtime sets groups"),
    user(
        "exec_place::user_namespace_with_namespaces_of_the_host_is_joined",
        "joins namespaces of another user namespace",
    ),
    units(
        "rootless::cgroups_that_are_not_permitted_are_told",
        "systemd makes cgroups where the caller may not",
    ),
    units("rootless::host_without_user_namespaces_is_told", "the user namespace of the test has no bus"),
    units("systemd::", OWN_SYSTEMD),
    units("systemd_trouble::", OWN_SYSTEMD),
    units("cgroups::container_is_in_the_cgroup_of_its_path", DIRECTORIES),
    units("cgroups::parent_of_the_cgroup_is_left", DIRECTORIES),
    units("cgroups::empty_cgroup_that_is_there_is_used", DIRECTORIES),
    units("cgroups::frozen_cgroup_is_refused", DIRECTORIES),
    units("cgroups::cgroup_path_cannot_leave_the_hierarchy", DIRECTORIES),
    units("cgroups::container_without_cgroups_shows_those_of_the_caller", "the call names another driver"),
    units("memory::init_that_is_killed_during_create_is_explained", REMOVED),
    units("memory::limit_above_the_container_is_named", DIRECTORIES),
    units("memory::limit_of_the_container_is_named_below_one_that_is_not_hit", DIRECTORIES),
    units("delete::force_copes_with_a_damaged_state_file", "it removes what systemd has made"),
    units(
        "pause::resume_of_a_container_that_died_while_it_was_paused_succeeds",
        "systemd removes the cgroup of a container that died",
    ),
    units("create::populated_cgroup_is_refused", "systemd::unit_that_runs_is_refused does it"),
    units("hints::hints_about_cgroups", DIRECTORIES),
    no_cgroups("cgroups::", CGROUPS),
    no_cgroups("create::id_may_have_letters_digits_and_punctuation", CGROUPS),
    no_cgroups("create::populated_cgroup_is_refused", CGROUPS),
    no_cgroups("exec::detached_exec_returns_while_the_program_runs", BY_CGROUP),
    no_cgroups("exec::detached_process_belongs_to_nobody_of_the_runtime", BY_CGROUP),
    no_cgroups("exec::exec_that_waits_for_a_resume_can_be_interrupted", CGROUPS),
    no_cgroups("exec::paused_container_is_refused", CGROUPS),
    no_cgroups("exec::pid_file_that_cannot_be_written_ends_the_process", BY_CGROUP),
    no_cgroups("exec::process_waits_for_the_end_of_a_pause_when_asked_to", CGROUPS),
    no_cgroups("exec::sixty_four_at_once_all_end_well", BY_CGROUP),
    no_cgroups("exec_place::option_names_a_cgroup_below", BY_CGROUP),
    no_cgroups("exec_place::process_is_in_the_cgroups_of_the_container", BY_CGROUP),
    no_cgroups("kill::all_is_accepted", BY_CGROUP),
    no_cgroups("kill::death_of_init_takes_its_pid_namespace_along", BY_CGROUP),
    no_cgroups("kill::processes_that_outlive_init_are_reached_by_sigkill_and_delete", BY_CGROUP),
    no_cgroups("kill::sigkill_without_a_private_pid_namespace_reaches_every_process", BY_CGROUP),
    no_cgroups("kill::sigkill_works_on_a_frozen_container", CGROUPS),
    no_cgroups("list::ids_are_sorted", CGROUPS),
    no_cgroups("run::keep_leaves_the_cgroup_for_the_engine", CGROUPS),
    no_cgroups("run::orphans_of_the_container_do_not_hold_run_back", BY_CGROUP),
    no_cgroups("state::frozen_container_is_paused", CGROUPS),
    no_cgroups("state::recycled_pid_is_spared_by_delete", BY_CGROUP),
    no_cgroups("state::state_file_has_the_names_that_others_read", CGROUPS),
    no_cgroups("ps::json_lists_every_process", BY_CGROUP),
    no_cgroups("ps::json_lists_processes_of_cgroups_below", BY_CGROUP),
    no_cgroups("ps::json_is_all_that_is_printed", BY_CGROUP),
    no_cgroups("ps::format_may_be_spelled_in_every_way", BY_CGROUP),
    no_cgroups("ps::table_has_the_header_and_the_rows_of_the_container", BY_CGROUP),
    no_cgroups("ps::options_of_the_host_that_look_like_ours_are_passed_on", BY_CGROUP),
    no_cgroups("ps::output_without_a_pid_column_is_refused", BY_CGROUP),
    no_cgroups("ps::failing_ps_of_the_host_is_reported", BY_CGROUP),
    no_cgroups("ps::table_needs_no_environment", BY_CGROUP),
    no_cgroups("ps::created_container_has_one_process", BY_CGROUP),
    no_cgroups("ps::paused_container_is_listed", BY_CGROUP),
    no_cgroups("ps::ps_does_not_wait_for_other_commands", BY_CGROUP),
    no_cgroups("delete::nested_cgroups_are_removed", BY_CGROUP),
    no_cgroups("delete::threaded_cgroups_are_removed", BY_CGROUP),
    no_cgroups("delete::delete_kills_only_its_own", BY_CGROUP),
    no_cgroups("delete::processes_without_a_private_pid_namespace_are_killed", BY_CGROUP),
    no_cgroups("delete::force_deletes_a_frozen_container", CGROUPS),
    no_cgroups("exec_place::cgroup_outside_or_missing_is_refused", CGROUPS),
    no_cgroups("scheduling::deadline_scheduler_with_a_cpuset_is_refused", CGROUPS),
    no_cgroups("pause::", CGROUPS),
    no_cgroups("update::", CGROUPS),
    no_cgroups("memory::", CGROUPS),
    no_cgroups("resources::swap_is_limited_with_memory", CGROUPS),
    no_cgroups("resources::limit_of_no_process_is_one", CGROUPS),
    no_cgroups("resources::huge_pages_are_limited", CGROUPS),
    no_cgroups("resources::throttle_of_block_io_is_set", CGROUPS),
    no_cgroups("resources::cgroup_can_be_used_again_after_delete", CGROUPS),
    no_cgroups("broken::mistakes_of_resources_are_refused", "limits are refused as a whole"),
    no_cgroups("seccomp_profiles::why_sees_processes_that_exec_adds", BY_CGROUP),
    no_cgroups("events::", CGROUPS),
];
