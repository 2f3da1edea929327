//! A real distribution: the Debian tree that `tests/env/debian-rootfs.sh` makes and `TEU_DEBIAN` names.
//!
//! The tree is never written to: a container gets an overlay of it. Without the tree these tests are skipped.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::harness::console::{ConsoleSocket, Terminal};
use crate::harness::{Bundle, Test};

cases![
    package_manager_of_debian_runs,
    process_list_of_debian_shows_the_container,
    shell_of_debian_has_a_terminal,
    ordinary_user_of_debian_can_work,
];

/// The overlay, as long as it is needed.
pub struct Overlay(PathBuf);

impl Overlay {
    /// The tree of the container.
    pub fn root(&self) -> &Path {
        &self.0
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// A bundle of the tree, as engines would run it.
pub fn debian(t: &Test) -> (Bundle<'_>, Overlay) {
    let Some(tree) = std::env::var_os("TEU_DEBIAN").filter(|tree| !tree.is_empty()).map(PathBuf::from) else {
        t.skip("TEU_DEBIAN names no Debian tree; tests/env/debian-rootfs.sh makes one");
    };
    assert!(tree.join("usr/bin/apt-get").exists(), "there is no Debian tree at {}", tree.display());
    let (upper, work, root) = (t.make_dir("upper"), t.make_dir("work"), t.make_dir("debian"));
    let options =
        format!("lowerdir={},upperdir={},workdir={}", tree.display(), upper.display(), work.display());
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
    let capabilities = serde_json::json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_MKNOD",
        "CAP_AUDIT_WRITE",
        "CAP_SETFCAP",
    ]);
    let bundle = t
        .bundle()
        .set("/root/path", root.to_string_lossy().into_owned())
        .set("/process/capabilities", serde_json::json!({ "bounding": capabilities, "effective": capabilities, "permitted": capabilities }))
        .set("/process/env", serde_json::json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]));
    (bundle, Overlay(root))
}

/// A dynamically linked program with locale and configuration.
fn package_manager_of_debian_runs(t: &Test) {
    let (bundle, _overlay) = debian(t);
    let out = bundle.args(["apt-get", "--version"]).run().ok();
    assert!(out.stdout.starts_with("apt "), "{}", out.report());
}

/// procps reads all of /proc.
fn process_list_of_debian_shows_the_container(t: &Test) {
    let (bundle, _overlay) = debian(t);
    if !bundle.config()["root"]["path"]
        .as_str()
        .is_some_and(|root| PathBuf::from(root).join("usr/bin/ps").exists())
    {
        t.skip("the Debian tree has no procps");
    }
    let out = bundle.args(["ps", "-e", "-o", "pid=,args="]).run().ok();
    assert_eq!(out.stdout.trim(), "1 ps -e -o pid=,args=");
}

/// As a person uses it.
fn shell_of_debian_has_a_terminal(t: &Test) {
    let (bundle, _overlay) = debian(t);
    let bundle = bundle.set("/process/terminal", true).args(["bash", "--norc", "-i"]);
    let socket = ConsoleSocket::at(&t.dir().join("console"));
    bundle.call("create", &["--console-socket", &socket.path.to_string_lossy()]).run().ok();
    let terminal = Terminal::from_master(socket.receive().fds.remove(0));
    t.cmd(["start", bundle.id()]).run().ok();
    terminal.type_text("tty; echo $((40+2)); exit 0\n");
    terminal.wait_for(t, "42");
    assert!(terminal.text().contains("/dev/pts/0"), "{}", terminal.text());
    assert!(!terminal.text().contains("no job control"), "{}", terminal.text());
    t.until("the end", || t.cmd(["state", bundle.id()]).run().ok().json()["status"] == "stopped");
    t.cmd(["delete", bundle.id()]).run().ok();
}

/// `nobody` of the distribution.
fn ordinary_user_of_debian_can_work(t: &Test) {
    let (bundle, _overlay) = debian(t);
    let bundle = bundle.set("/process/user", serde_json::json!({ "uid": 65534, "gid": 65534 }));
    let out = bundle
        .args([
            "sh",
            "-c",
            "id -un; echo $HOME; touch /tmp/mine && echo ok; touch /etc/x 2>/dev/null || echo refused",
        ])
        .run()
        .ok();
    assert_eq!(out.stdout, "nobody\n/nonexistent\nok\nrefused\n");
}
