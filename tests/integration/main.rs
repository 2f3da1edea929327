//! End-to-end tests: they start containers with any runtime and look at them from inside and outside.
//!
//! `cargo test --test integration` runs the `teu` that cargo has just built. Three variables change that:
//! `RUNTIME` (path or name of another runtime, so that a test is proved before it judges us), `TEU_VIEW`
//! (`hybrid`, `v1` or `v2`: how /sys/fs/cgroup looks) and `TEU_AS` (`root`, `userns` or `user`: as whom the runtime is
//! called, see `harness/caller.rs`).
//! With `TEU_CHECKLIST` set the rows of docs/cli.md are printed with what the tests say about them; with the value
//! `docs/acceptance.md` the tests that this page names are run, and its cases counted.
//! Root is needed. After every test the harness looks for anything left behind; see `harness/leaks.rs`.
//!
//! A test is a function `fn name(t: &Test)` named in the `cases!` list at the end of its file. One that is not
//! listed is dead code, and dead code is an error here, so no test can be forgotten.
#![deny(dead_code)]

#[macro_use]
#[allow(dead_code)]
mod harness;
mod privilege;
mod probe;

mod apparmor;
mod broken;
mod cgroups;
mod check;
mod checklist;
mod cli;
mod crash;
mod create;
mod debian;
mod delete;
mod diagnosis;
mod endurance;
mod engines;
mod events;
mod exec;
mod exec_place;
mod exec_process;
mod exec_terminal;
mod fds;
mod filter_actions;
mod guards;
mod hints;
mod hook_output;
mod hooks;
mod hostile;
mod id_mapped;
mod idmaps;
mod joined;
mod kernel;
mod kill;
mod list;
mod memory;
mod migrate;
mod mounts;
mod namespaces;
mod nested;
mod net_devices;
mod no_mounts;
mod other_users;
mod own_binary;
mod pause;
mod peers;
mod process;
mod promises;
mod ps;
mod readiness;
mod resource_table;
mod resource_units;
mod resources;
mod rootfs;
mod rootless;
mod rootless_hooks;
mod run;
mod scheduling;
mod seccomp;
mod seccomp_debian;
mod seccomp_needed;
mod seccomp_profiles;
mod start;
mod state;
mod systemd;
mod systemd_trouble;
mod terminal;
mod update;

use std::process::ExitCode;

use harness::Case;

/// Every file of tests. A file that is missing here has an unused `CASES`, which does not compile.
const SUITES: &[&[Case]] = &[
    checklist::CASES,
    create::CASES,
    start::CASES,
    readiness::CASES,
    state::CASES,
    kill::CASES,
    delete::CASES,
    list::CASES,
    ps::CASES,
    pause::CASES,
    update::CASES,
    events::CASES,
    migrate::CASES,
    run::CASES,
    exec::CASES,
    exec_process::CASES,
    exec_place::CASES,
    exec_terminal::CASES,
    cli::CASES,
    check::CASES,
    guards::CASES,
    hints::CASES,
    diagnosis::CASES,
    hooks::CASES,
    hook_output::CASES,
    process::CASES,
    apparmor::CASES,
    namespaces::CASES,
    nested::CASES,
    net_devices::CASES,
    no_mounts::CASES,
    rootfs::CASES,
    rootless::CASES,
    rootless_hooks::CASES,
    mounts::CASES,
    idmaps::CASES,
    kernel::CASES,
    seccomp::CASES,
    seccomp_debian::CASES,
    seccomp_needed::CASES,
    seccomp_profiles::CASES,
    terminal::CASES,
    fds::CASES,
    cgroups::CASES,
    systemd::CASES,
    systemd_trouble::CASES,
    memory::CASES,
    resource_table::CASES,
    resource_units::CASES,
    engines::CASES,
    hostile::CASES,
    crash::CASES,
    endurance::CASES,
    other_users::CASES,
    own_binary::CASES,
    debian::CASES,
    filter_actions::CASES,
    id_mapped::CASES,
    joined::CASES,
    promises::CASES,
    resources::CASES,
    scheduling::CASES,
    broken::CASES,
];

fn main() -> ExitCode {
    if let Some(code) = probe::main() {
        return code;
    }
    harness::main(SUITES, peers::PEERS, privilege::NEEDS, checklist::PAGES)
}
