//! System calls that the runtime itself makes once the filter is loaded, and that every profile must let run.
//!
//! Loading is the last step before the program, so the list is short:
//!
//! | call | made | for |
//! |---|---|---|
//! | `execve` | always | the program |
//! | `capset` | without no_new_privs | giving up CAP_SYS_ADMIN, which loading took |
//! | `sendmsg`, `recvmsg` | with a listener | telling the parent where the listener is; waiting for `start` |
//! | `close_range` | with a listener | the own copy of the listener |
//! | `prctl`, `accept4`, `dup3`, `close`, `fcntl` | with a listener, not in `exec` | living on when `create` ends; waiting for `start` |
//! | `prlimit64` | the same, with RLIMIT_NOFILE | the limit of open files, which is lowered last |
//! | those of [`HOOK`] | the same, with startContainer hooks | running them |
//!
//! A filter with a listener is loaded earlier than others, because the listener must be handed over while the
//! parent lives. From then on the process behind the listener may decide the rest, so NOTIFY is as good as ALLOW for
//! all but `sendmsg` and `recvmsg`.
//!
//! Filters look at arguments. A rule is asked with those that the runtime passes; what differs from run to run, a
//! pointer or the number of a descriptor, has a typical value.

/// A call with its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// Name of the call.
    pub name: &'static str,
    /// Arguments, typical ones where they vary.
    pub args: [u64; 6],
    /// Somebody listens already when it is made.
    pub may_notify: bool,
}

/// What kind of process the filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Situation {
    /// New privileges are forbidden, so loading takes no privilege.
    pub no_new_privileges: bool,
    /// Some rule hands calls to a listener.
    pub listener: bool,
    /// The process is added to a running container.
    pub is_exec: bool,
    /// The configuration limits open files.
    pub limits_descriptors: bool,
    /// The configuration has startContainer hooks.
    pub hooks: bool,
}

/// A pointer into the stack or heap of a process, as those of 64-bit programs look.
const POINTER: u64 = 0x7ffc_5a5a_5a00;
/// A descriptor above the standard streams.
const FD: u64 = 3;
const CLOEXEC: u64 = 0x8_0000;

/// Calls that take a hook to its program and wait for it, besides those that every filter with a listener must let run.
pub const HOOK: &[&str] = if cfg!(target_arch = "x86_64") {
    &[
        "getpid",
        "memfd_create",
        "pwrite64",
        "pipe2",
        "clone3",
        "poll",
        "waitid",
        "read",
        "rt_sigaction",
        "rt_sigprocmask",
        "setpgid",
        "dup2",
    ]
} else {
    &[
        "getpid",
        "memfd_create",
        "pwrite64",
        "pipe2",
        "clone3",
        "ppoll",
        "waitid",
        "read",
        "rt_sigaction",
        "rt_sigprocmask",
        "setpgid",
    ]
};

/// The calls of a situation, in the order in which they come first.
pub fn calls(situation: Situation) -> Vec<Needed> {
    let call = |name, args, may_notify| Needed { name, args, may_notify: may_notify && situation.listener };
    let mut calls = Vec::new();
    if situation.listener {
        calls.push(call("sendmsg", [FD, POINTER, 0x4000, 0, 0, 0], false));
        calls.push(call("recvmsg", [FD, POINTER, 0x4000_0000, 0, 0, 0], false));
        calls.push(call("close_range", [FD + 1, FD + 1, 0, 0, 0, 0], true));
    }
    if !situation.no_new_privileges {
        calls.push(call("capset", [POINTER, POINTER, 0, 0, 0, 0], true));
    }
    if situation.listener && !situation.is_exec {
        // PR_SET_PDEATHSIG
        calls.push(call("prctl", [1, 0, 0, 0, 0, 0], true));
        calls.push(call("accept4", [FD + 1, 0, 0, CLOEXEC, 0, 0], true));
        calls.push(call("dup3", [FD + 2, FD, CLOEXEC, 0, 0, 0], true));
        calls.push(call("close", [FD + 2, 0, 0, 0, 0, 0], true));
        // F_GETFD
        calls.push(call("fcntl", [FD, 1, 0, 0, 0, 0], true));
        if situation.hooks {
            calls.extend(HOOK.iter().map(|name| call(name, [0; 6], true)));
        }
        if situation.limits_descriptors {
            // RLIMIT_NOFILE
            calls.push(call("prlimit64", [0, 7, POINTER, 0, 0, 0], true));
        }
    }
    calls.push(call("execve", [POINTER, POINTER, POINTER, 0, 0, 0], true));
    calls
}
