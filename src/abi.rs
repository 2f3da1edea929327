//! Numbers and plain types that kernel calls take: for those who decide and for those who act alike.
//!
//! There is no call in here, and nothing of the specification.
#![forbid(unsafe_code)]

use std::ffi::{CString, c_char};

/// Namespaces, as clone3(2), setns(2) and unshare(2) take them.
pub mod namespace {
    /// Time.
    pub const TIME: u64 = 0x80;
    /// Mounts.
    pub const MOUNT: u64 = 0x2_0000;
    /// Cgroup view.
    pub const CGROUP: u64 = 0x200_0000;
    /// Host and domain name.
    pub const UTS: u64 = 0x400_0000;
    /// System V IPC and message queues.
    pub const IPC: u64 = 0x800_0000;
    /// Users and capabilities.
    pub const USER: u64 = 0x1000_0000;
    /// Process ids.
    pub const PID: u64 = 0x2000_0000;
    /// Network.
    pub const NETWORK: u64 = 0x4000_0000;
}

/// Attributes of a mount, as mount_setattr(2) and fsmount(2) take them.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x01;
    /// Ignore set-user-id bits and file capabilities.
    pub const NOSUID: u64 = 0x02;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x04;
    /// Nothing can be executed.
    pub const NOEXEC: u64 = 0x08;
    /// The mask of the three access time values; relatime is 0.
    pub const ATIME: u64 = 0x70;
    /// Access times are never updated.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always updated.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are never updated.
    pub const NODIRATIME: u64 = 0x80;
    /// The mount maps ids through a user namespace.
    pub const IDMAP: u64 = 0x10_0000;
    /// Symbolic links are not followed. Linux 5.14.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// Propagation types, as mount_setattr(2) takes them.
pub mod propagation {
    /// Unbindable.
    pub const UNBINDABLE: u64 = 1 << 17;
    /// Private.
    pub const PRIVATE: u64 = 1 << 18;
    /// Slave.
    pub const SLAVE: u64 = 1 << 19;
    /// Shared.
    pub const SHARED: u64 = 1 << 20;
}

/// How a procfs is told from what somebody has put in its place.
pub mod procfs {
    /// PROC_SUPER_MAGIC of statfs(2).
    pub const MAGIC: i64 = 0x9fa0;
    /// Inode number of its root directory.
    pub const ROOT_INODE: u64 = 1;
}

/// The attributes of sched_setattr(2); times in nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerAttributes {
    /// Size of this struct.
    pub size: u32,
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// Nice value, for SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// Static priority, for SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// For SCHED_DEADLINE.
    pub runtime: u64,
    /// For SCHED_DEADLINE.
    pub deadline: u64,
    /// For SCHED_DEADLINE.
    pub period: u64,
}

/// A list of strings in the form that execve(2) takes: pointers, then a null.
///
/// Built before the clone, so that nothing is allocated afterwards.
#[derive(Clone)]
pub struct StringList {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl StringList {
    /// Takes the strings over.
    pub fn new(strings: Vec<CString>) -> StringList {
        let mut list = StringList { pointers: Vec::with_capacity(strings.len() + 2), strings };
        list.point();
        list
    }

    fn point(&mut self) {
        self.pointers.clear();
        // The heap buffers of the strings do not move when the vector that holds them does.
        self.pointers.extend(self.strings.iter().map(|s| s.as_ptr()));
        self.pointers.push(std::ptr::null());
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }

    /// The pointers to the strings, and a null. They are valid as long as the list is.
    pub fn pointers(&self) -> &[*const c_char] {
        &self.pointers
    }

    /// Adds one string at the end.
    pub fn push(&mut self, string: CString) {
        self.strings.push(string);
        self.point();
    }
}

impl std::fmt::Debug for StringList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.strings.fmt(f)
    }
}
