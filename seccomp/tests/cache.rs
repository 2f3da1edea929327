//! The cache: it saves compilations, and nothing on disk can make it answer wrongly, hang or fail.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use teu_seccomp::cache::Cache;
use teu_seccomp::{Policy, compile};

/// A directory of its own for one test, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("teu-seccomp-cache-{}-{name}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).expect("a directory");
        Directory(path)
    }

    fn cache(&self) -> Cache {
        Cache::new(self.0.clone())
    }

    fn entries(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.0).expect("the directory").map(|entry| entry.expect("an entry").path()).collect()
    }

    /// The one entry there is.
    fn entry(&self) -> PathBuf {
        let entries = self.entries();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.into_iter().next().expect("an entry")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn policy(section: &Value) -> Policy {
    Policy::from_value(section).expect("a good section").expect("a policy")
}

fn docker() -> Policy {
    policy(&serde_json::from_str(include_str!("../testdata/docker-28.json")).expect("a JSON file"))
}

fn numbered(number: u64) -> Policy {
    policy(&json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": number, "syscalls": []}))
}

/// The answer is right, and it came, or did not come, from the cache.
fn check(cache: &Cache, policy: &Policy, from_cache: bool) {
    let (program, cached) = cache.program(policy).expect("a program");
    assert_eq!(program, compile(policy).expect("a program"));
    assert_eq!(cached, from_cache, "from the cache");
}

#[test]
fn a_profile_is_compiled_once() {
    let directory = Directory::new("once");
    // A directory that does not exist yet is made, for its owner only.
    let below = directory.0.join("below");
    let cache = Cache::new(below.clone());
    check(&cache, &docker(), false);
    for _ in 0..100 {
        check(&cache, &docker(), true);
    }
    check(&Cache::new(below.clone()), &docker(), true);
    check(&cache, &numbered(7), false);
    assert_eq!(fs::metadata(&below).expect("made").mode() & 0o7777, 0o700);
    for entry in fs::read_dir(&below).expect("the directory") {
        assert_eq!(entry.expect("an entry").metadata().expect("metadata").mode() & 0o7777, 0o600);
    }
}

/// Whatever the program depends on is part of the question.
#[test]
fn different_policies_have_different_entries() {
    let base = || {
        json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [
                {"names": ["read", "kill"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 1, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}]},
                {"names": ["write"], "action": "SCMP_ACT_LOG"},
            ],
        })
    };
    let changes: [fn(&mut Value); 13] = [
        |_| {},
        |s| s["defaultAction"] = json!("SCMP_ACT_TRAP"),
        |s| s["defaultErrnoRet"] = json!(2),
        |s| s["architectures"] = json!([]),
        |s| s["architectures"] = json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        |s| s["flags"] = json!([]),
        |s| s["syscalls"][0]["names"] = json!(["readkill"]),
        |s| s["syscalls"][0]["names"] = json!(["read"]),
        |s| s["syscalls"][0]["action"] = json!("SCMP_ACT_TRAP"),
        |s| s["syscalls"][0]["args"][0]["index"] = json!(1),
        |s| s["syscalls"][0]["args"][0]["value"] = json!(3),
        |s| s["syscalls"][0]["args"][0]["valueTwo"] = json!(0),
        |s| s["syscalls"][0]["args"][0]["op"] = json!("SCMP_CMP_EQ"),
    ];
    let directory = Directory::new("different");
    for expected in [false, true] {
        for change in changes {
            let mut section = base();
            change(&mut section);
            check(&directory.cache(), &policy(&section), expected);
        }
    }
    assert_eq!(directory.entries().len(), changes.len());
}

#[test]
fn a_damaged_entry_is_replaced() {
    let directory = Directory::new("damaged");
    check(&directory.cache(), &docker(), false);
    let whole = fs::read(directory.entry()).expect("the entry");
    for at in (0..whole.len()).step_by(97).chain([0, 8, 16, 24, whole.len() - 1]) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(directory.entry(), damaged).expect("written");
        check(&directory.cache(), &docker(), false);
        check(&directory.cache(), &docker(), true);
    }
    for length in [0, 7, 8, 16, 24, whole.len() - 1] {
        fs::write(directory.entry(), &whole[..length]).expect("written");
        check(&directory.cache(), &docker(), false);
    }
    fs::write(directory.entry(), vec![0; 2 << 20]).expect("written");
    check(&directory.cache(), &docker(), false);
}

/// The name of a file does not count: the question inside must be the one asked.
#[test]
fn an_entry_under_the_name_of_another_is_ignored() {
    let directory = Directory::new("renamed");
    check(&directory.cache(), &numbered(1), false);
    let first = directory.entry();
    let content = fs::read(&first).expect("the entry");
    fs::remove_file(&first).expect("removed");
    check(&directory.cache(), &numbered(2), false);
    fs::write(directory.entry(), content).expect("written");
    check(&directory.cache(), &numbered(2), false);
}

/// Puts something else in the place of an entry; the second path is a free one elsewhere.
type Plant = fn(&Path, &Path);

#[test]
fn entries_that_others_could_have_made_are_ignored() {
    let directory = Directory::new("foreign");
    let elsewhere = Directory::new("foreign-elsewhere");
    let plant: [(&str, Plant); 5] = [
        ("mode", |entry, _| fs::set_permissions(entry, PermissionsExt::from_mode(0o644)).expect("chmod")),
        ("symbolic link", |entry, other| {
            fs::rename(entry, other).expect("moved");
            symlink(other, entry).expect("a link");
        }),
        ("hard link", |entry, other| fs::hard_link(entry, other).expect("a link")),
        ("FIFO", |entry, _| {
            fs::remove_file(entry).expect("removed");
            nix::unistd::mkfifo(entry, nix::sys::stat::Mode::S_IRUSR).expect("a FIFO");
        }),
        ("owner", |entry, _| {
            if nix::unistd::geteuid().is_root() {
                std::os::unix::fs::chown(entry, Some(1000), None).expect("chown");
            } else {
                fs::remove_file(entry).expect("removed");
            }
        }),
    ];
    check(&directory.cache(), &docker(), false);
    let entry = directory.entry();
    for (name, plant) in plant {
        println!("{name}");
        check(&directory.cache(), &docker(), true);
        plant(&entry, &elsewhere.0.join(name));
        check(&directory.cache(), &docker(), false);
    }
    // What stands in the way of the rename stays, and costs the cache, not the container.
    fs::remove_file(&entry).expect("removed");
    fs::DirBuilder::new().create(&entry).expect("a directory");
    check(&directory.cache(), &docker(), false);
    check(&directory.cache(), &docker(), false);
    assert_eq!(directory.entries().len(), 1, "a temporary file is left");
}

#[test]
fn nothing_is_stored_where_others_can_write() {
    let directory = Directory::new("shared");
    fs::set_permissions(&directory.0, PermissionsExt::from_mode(0o770)).expect("chmod");
    check(&directory.cache(), &docker(), false);
    assert!(directory.entries().is_empty());
    let linked = Directory::new("linked");
    symlink(&linked.0, directory.0.join("link")).expect("a link");
    check(&Cache::new(directory.0.join("link")), &docker(), false);
    assert!(linked.entries().is_empty());
}

#[test]
fn a_cache_that_cannot_exist_is_no_error() {
    for path in ["/proc/teu", "/dev/null/teu", "/no/such/place", ""] {
        check(&Cache::new(PathBuf::from(path)), &docker(), false);
    }
}

#[test]
fn the_oldest_entries_make_room() {
    let directory = Directory::new("bounded");
    for number in 0..80 {
        check(&directory.cache(), &numbered(number), false);
    }
    assert_eq!(directory.entries().len(), 64);
    check(&directory.cache(), &numbered(79), true);
}

#[test]
fn concurrent_writers_and_readers_agree() {
    let directory = Directory::new("concurrent");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..200 {
                    let policy = numbered(round % 5);
                    let (program, _) = directory.cache().program(&policy).expect("a program");
                    assert_eq!(program, compile(&policy).expect("a program"));
                    if round % 7 == 0 {
                        for entry in directory.entries() {
                            let _ = fs::remove_file(entry);
                        }
                    }
                }
            });
        }
    });
    let left = directory.entries();
    assert!(left.iter().all(|path| path.extension().is_some_and(|suffix| suffix == "bpf")), "{left:?}");
}
