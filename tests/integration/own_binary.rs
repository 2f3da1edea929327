//! The binary of the runtime: no container may change, execute or read it. CVE-2019-5736 and its family.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use serde_json::json;

use crate::harness::{Bundle, Cmd, Test, copy_program};

cases![
    own_executable_cannot_be_the_program,
    own_executable_cannot_be_an_interpreter,
    hook_in_the_container_can_neither_write_nor_execute_it,
    ordinary_container_cannot_read_it,
    binary_that_is_deleted_while_it_runs_still_works,
    binary_at_an_odd_path_works,
];

/// A copy of the runtime that may be lost, and how it looked.
struct Copy {
    path: PathBuf,
    content: Vec<u8>,
    inode: u64,
    changed: (i64, i64),
}

impl Copy {
    fn new(t: &Test, name: &str) -> Copy {
        t.only_teu(crate::harness::HOSTILE);
        let path = t.make_dir("copy").join(name);
        copy_program(&t.runtime().path, &path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        let content = fs::read(&path).unwrap();
        Copy { content, inode: metadata.ino(), changed: (metadata.mtime(), metadata.mtime_nsec()), path }
    }

    fn run<'t>(&self, bundle: &Bundle<'t>) -> Cmd<'t> {
        bundle.run_cmd().program(&self.path)
    }

    #[track_caller]
    fn is_unchanged(&self) {
        let metadata = fs::metadata(&self.path).unwrap();
        assert_eq!((metadata.ino(), (metadata.mtime(), metadata.mtime_nsec())), (self.inode, self.changed));
        assert!(fs::read(&self.path).unwrap() == self.content, "the binary was changed");
    }
}

fn powerful(bundle: Bundle) -> Bundle {
    let all = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH"]);
    bundle.set("/process/capabilities", json!({ "bounding": all, "effective": all, "permitted": all }))
}

/// `/proc/self/exe` of the runtime is not to be had.
fn own_executable_cannot_be_the_program(t: &Test) {
    let copy = Copy::new(t, "teu");
    for program in ["/proc/self/exe", "/proc/1/exe", "/link"] {
        let bundle = powerful(t.bundle()).link("/proc/self/exe", "/link").args([program, "--version"]);
        let out = copy.run(&bundle).run();
        assert!(out.code != Some(0) && !out.stdout.contains("teu version"), "{}", out.report());
        copy.is_unchanged();
    }
}

/// The kernel starts the interpreter with the rights of the program.
fn own_executable_cannot_be_an_interpreter(t: &Test) {
    let copy = Copy::new(t, "teu");
    let bundle = powerful(t.bundle()).script("/evil", "#!/proc/self/exe\n").args(["/evil"]);
    let out = copy.run(&bundle).run();
    assert!(out.code != Some(0) && !out.stdout.contains("teu"), "{}", out.report());
    copy.is_unchanged();
}

/// A startContainer hook is a program of the container, and process 1 is still the runtime.
fn hook_in_the_container_can_neither_write_nor_execute_it(t: &Test) {
    let copy = Copy::new(t, "teu");
    let shared = t.make_dir("shared");
    let script = "(echo x >>/proc/1/exe) 2>>/shared/log && echo written >/shared/written; \
                  (/proc/1/exe --version >/shared/version) 2>>/shared/log && echo executed >/shared/executed; \
                  (exec 3<>/proc/1/exe) 2>>/shared/log && echo opened >/shared/opened; true";
    let bundle = powerful(t.bundle()).bind(&shared, "/shared", &["bind"]).hook("startContainer", script);
    copy.run(&bundle).run().ok();
    copy.is_unchanged();
    for name in ["written", "executed", "opened"] {
        assert!(!shared.join(name).exists(), "the binary was {name}");
    }
    // Each of the three was tried and refused, which is something else than not found.
    let log = fs::read_to_string(shared.join("log")).unwrap();
    let refusals = ["Permission denied", "Text file busy", "Read-only file system"];
    let refused = log.lines().filter(|line| refusals.iter().any(|words| line.contains(words))).count();
    assert_eq!((refused, log.lines().count()), (3, 3), "{log}");
}

/// Page-cache bugs of kernels need no more than a readable file.
fn ordinary_container_cannot_read_it(t: &Test) {
    let copy = Copy::new(t, "teu");
    let shared = t.make_dir("shared");
    let script = "head -c 4 /proc/1/exe >/shared/head 2>/shared/log; ls -l /proc/1/fd /proc/1/cwd /proc/1/root >/shared/links 2>&1; true";
    let bundle = t.bundle().bind(&shared, "/shared", &["bind"]).hook("startContainer", script);
    copy.run(&bundle).run().ok();
    assert_eq!(fs::read(shared.join("head")).unwrap(), b"", "an ordinary container can read the binary");
    copy.is_unchanged();
}

/// An update replaces the file.
fn binary_that_is_deleted_while_it_runs_still_works(t: &Test) {
    let copy = Copy::new(t, "teu");
    let bundle = t.bundle().sh("echo up; read line; echo $line");
    let (read, write) = std::io::pipe().unwrap();
    let running = copy.run(&bundle).stdin_fd(read.into()).spawn();
    running.wait_for_stdout("up");
    fs::remove_file(&copy.path).unwrap();
    use std::io::Write;
    (&write).write_all(b"still\n").unwrap();
    drop(write);
    assert_eq!(running.wait().ok().stdout, "up\nstill\n");
}

/// Some ways to protect it parse the path.
fn binary_at_an_odd_path_works(t: &Test) {
    let copy = Copy::new(t, "teu: with, odd\\name");
    assert_eq!(copy.run(&t.bundle().sh("echo fine")).run().ok().stdout, "fine\n");
    copy.is_unchanged();
}
