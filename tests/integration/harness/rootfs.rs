//! The root file system of the test containers: a static busybox, the probe, and the few files a system has.
//!
//! The two programs are copied once per run; every test gets its own tree of hard links, which costs less
//! than a mount and may be written to.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::session;

/// Busybox applets that the tests call by name.
const APPLETS: &[&str] = &[
    "[",
    "awk",
    "basename",
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "echo",
    "env",
    "expr",
    "false",
    "find",
    "grep",
    "head",
    "hostname",
    "id",
    "ifconfig",
    "ip",
    "kill",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "mknod",
    "mount",
    "mountpoint",
    "mv",
    "nproc",
    "nsenter",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "setpriv",
    "sh",
    "sleep",
    "sort",
    "stat",
    "stty",
    "sync",
    "tail",
    "test",
    "touch",
    "tr",
    "true",
    "truncate",
    "tty",
    "umount",
    "uname",
    "uniq",
    "unshare",
    "usleep",
    "wc",
    "which",
    "xargs",
    "yes",
];

const DIRS: &[&str] = &[
    "bin",
    "dev",
    "etc",
    "home/user",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr/bin",
    "var",
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nuser:x:1000:\n";

/// Copies busybox and the probe (this very program) to where the trees link them from.
pub fn build_base(dir: &Path) -> Result<(), String> {
    let base = dir.join("base");
    fs::create_dir(&base).map_err(|error| format!("{}: {error}", base.display()))?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox", "/usr/lib/busybox/busybox-static"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or("busybox is missing (package busybox-static)")?;
    let probe = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    for (from, name) in [(busybox, "busybox"), (probe, "probe")] {
        let copy = || -> io::Result<()> {
            fs::copy(&from, base.join(name))?;
            fs::set_permissions(base.join(name), fs::Permissions::from_mode(0o755))
        };
        copy().map_err(|error| format!("copy {}: {error}", from.display()))?;
    }
    Ok(())
}

/// Makes a root file system at `root`.
pub fn populate(root: &Path) -> io::Result<()> {
    for dir in DIRS {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::set_permissions(root.join("root"), fs::Permissions::from_mode(0o700))?;
    fs::write(root.join("etc/passwd"), PASSWD)?;
    fs::write(root.join("etc/group"), GROUP)?;
    let base = session().dir.join("base");
    for name in ["busybox", "probe"] {
        fs::hard_link(base.join(name), root.join("bin").join(name))?;
    }
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    Ok(())
}
