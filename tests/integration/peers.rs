//! What other runtimes are known to do otherwise, where the whole test does not apply to them.

use crate::harness::Peer;

const fn old_crun(test: &'static str, reason: &'static str) -> Peer {
    Peer { runtime: "crun", below: (1, 9), test, reason }
}

/// Every entry skips one test for versions below the named one.
pub const PEERS: &[Peer] = &[
    old_crun("run::pid_file_holds_the_pid_alone", "makes an executable pid file"),
    old_crun("run::relative_pid_file_is_relative_to_the_caller", "puts it into the bundle"),
    old_crun("cli::spec_for_rootless_has_a_user_namespace", "writes no mappings"),
    old_crun(
        "hooks::hooks_run_in_the_order_of_the_life_cycle",
        "runs poststart without waiting for the program",
    ),
    old_crun("hooks::hooks_of_one_kind_run_in_the_listed_order", "fails when a hook does not read"),
    old_crun("hooks::hook_that_outlives_its_leader_does_not_block", "waits for it"),
    old_crun("process::home_is_the_root_for_an_unknown_user", "sets no HOME"),
    old_crun("process::program_that_the_user_may_not_execute_is_refused", "asks as root"),
    old_crun("process::keyring_of_the_caller_is_left_behind", "uses another name"),
    old_crun("mounts::last_of_two_opposite_options_wins", "adds all flags up"),
    old_crun("mounts::recursive_flags_reach_submounts", "makes an invalid call"),
    old_crun("mounts::recursive_access_time_reaches_submounts", "makes an invalid call"),
    old_crun("mounts::bind_keeps_the_flags_of_its_source", "clears them"),
    old_crun("mounts::missing_directory_is_made", "sets the sticky bit"),
    old_crun("mounts::propagation_of_a_mount_is_set", "does not make it shared"),
    old_crun("mounts::host_mount_reaches_a_slave_and_not_a_private_mount", "cuts it off"),
    old_crun("mounts::many_mounts_work", "works under the limits of the container"),
    old_crun("kernel::read_only_path_keeps_its_other_flags", "clears them"),
    old_crun("kernel::device_of_the_config_replaces_a_default", "keeps the owner of the default"),
    old_crun("kernel::default_devices_may_be_used_and_no_others", "allows all without resources"),
    old_crun(
        "hooks::start_container_hook_sees_the_rootfs_of_the_container",
        "returns from start before the hook has run",
    ),
    old_crun("terminal::foreground_run_takes_the_size_of_the_outer_terminal", "sets no size"),
    old_crun("terminal::foreground_run_follows_size_changes", "sets no size"),
    old_crun("fds::socket_activation_passes_descriptors_and_names_init", "does not set LISTEN_FDS"),
    old_crun("cgroups::container_is_in_the_cgroup_of_its_path", "does not use version 2 beside version 1"),
    old_crun("cgroups::unlimited_values_are_accepted", "writes -1"),
    old_crun("ps::json_lists_processes_of_cgroups_below", "does not list them"),
    old_crun("ps::json_of_a_stopped_container_is_an_empty_list", "crashes"),
    old_crun("update::pids_limit_is_set", "writes -1"),
    old_crun("update::lifting_memory_lifts_swap", "keeps the limit of both"),
    old_crun("update::quota_and_period_keep_each_other", "writes a huge number for -1"),
    old_crun("update::weight_of_block_io_is_set", "does not know the file of this kernel"),
    old_crun("update::previous_values_come_back_after_an_error", "leaves what was written"),
    old_crun("engines::config_of_docker_works", "refuses a newer version of the specification"),
    old_crun("engines::config_of_containerd_works", "refuses a newer version of the specification"),
    old_crun(
        "engines::config_of_docker_confines_as_docker_promises",
        "refuses a newer version of the specification",
    ),
    old_crun("engines::life_of_a_docker_container_works", "refuses a newer version of the specification"),
];
