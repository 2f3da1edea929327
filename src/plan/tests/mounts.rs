//! Options of mounts as tables: what each word does, and what two of them do one after the other.
//!
//! Source: config.md#linux-mount-options; mount_setattr(2), mount(8).

use serde_json::json;

use super::facts::{host, request};
use super::patched;
use crate::config;
use crate::plan::mounts::{Attributes, IdMapping, Kind, Mount, attr, option_names, propagation};
use crate::plan::plan;

/// What a word does to a bind mount.
#[derive(Debug, PartialEq, Eq)]
enum Does {
    /// Nothing at all.
    Nothing,
    /// Sets and clears attributes of the mount.
    Mount(u64, u64),
    /// Sets and clears attributes of the mount and of what is below.
    Below(u64, u64),
    /// Changes the propagation: bits, and whether below too.
    Propagation(u64, bool),
    /// It is refused, because it belongs to a file system.
    Refused,
    /// It changes what is mounted and how: shown by a test of its own.
    Special,
}

use Does::*;

/// Every word of the specification, and three of crun's.
const WORDS: [(&str, Does); 67] = [
    ("async", Nothing), // the default, and the opposite of a flag that is refused
    ("atime", Mount(0, attr::ATIME)),
    ("bind", Special),
    ("copy-symlink", Special),
    ("defaults", Nothing),
    ("dest-nofollow", Special),
    ("dev", Mount(0, attr::NODEV)),
    ("diratime", Mount(0, attr::NODIRATIME)),
    ("dirsync", Refused),
    ("exec", Mount(0, attr::NOEXEC)),
    ("idmap", Special),
    ("iversion", Nothing),
    ("lazytime", Refused),
    ("loud", Nothing),
    ("mand", Nothing),
    ("noatime", Mount(attr::NOATIME, attr::ATIME)),
    ("nodev", Mount(attr::NODEV, 0)),
    ("nodiratime", Mount(attr::NODIRATIME, 0)),
    ("noexec", Mount(attr::NOEXEC, 0)),
    ("noiversion", Nothing),
    ("nolazytime", Nothing),
    ("nomand", Nothing),
    ("norelatime", Mount(0, attr::ATIME)),
    ("nostrictatime", Mount(0, attr::ATIME)),
    ("nosuid", Mount(attr::NOSUID, 0)),
    ("nosymfollow", Mount(attr::NOSYMFOLLOW, 0)),
    ("private", Propagation(propagation::PRIVATE, false)),
    ("ratime", Below(0, attr::ATIME)),
    ("rbind", Special),
    ("rdev", Below(0, attr::NODEV)),
    ("rdiratime", Below(0, attr::NODIRATIME)),
    ("relatime", Mount(0, attr::ATIME)),
    ("remount", Special),
    ("rexec", Below(0, attr::NOEXEC)),
    ("ridmap", Special),
    ("rnoatime", Below(attr::NOATIME, attr::ATIME)),
    ("rnodev", Below(attr::NODEV, 0)),
    ("rnodiratime", Below(attr::NODIRATIME, 0)),
    ("rnoexec", Below(attr::NOEXEC, 0)),
    ("rnorelatime", Below(0, attr::ATIME)),
    ("rnostrictatime", Below(0, attr::ATIME)),
    ("rnosuid", Below(attr::NOSUID, 0)),
    ("rnosymfollow", Below(attr::NOSYMFOLLOW, 0)),
    ("ro", Mount(attr::RDONLY, 0)),
    ("rprivate", Propagation(propagation::PRIVATE, true)),
    ("rrelatime", Below(0, attr::ATIME)),
    ("rro", Below(attr::RDONLY, 0)),
    ("rrw", Below(0, attr::RDONLY)),
    ("rshared", Propagation(propagation::SHARED, true)),
    ("rslave", Propagation(propagation::SLAVE, true)),
    ("rstrictatime", Below(attr::STRICTATIME, attr::ATIME)),
    ("rsuid", Below(0, attr::NOSUID)),
    ("rsymfollow", Below(0, attr::NOSYMFOLLOW)),
    ("runbindable", Propagation(propagation::UNBINDABLE, true)),
    ("rw", Mount(0, attr::RDONLY)),
    ("shared", Propagation(propagation::SHARED, false)),
    ("silent", Nothing),
    ("slave", Propagation(propagation::SLAVE, false)),
    ("src-nofollow", Special),
    ("strictatime", Mount(attr::STRICTATIME, attr::ATIME)),
    ("suid", Mount(0, attr::NOSUID)),
    ("symfollow", Mount(0, attr::NOSYMFOLLOW)),
    ("sync", Refused),
    ("tmpcopyup", Refused),
    ("unbindable", Propagation(propagation::UNBINDABLE, false)),
    // No words: what nobody knows is for a file system, which a bind mount does not make.
    ("acl", Refused),
    ("size=1m", Refused),
];

/// The mount of a configuration with one mount.
fn one(mount: serde_json::Value) -> Result<Mount, String> {
    let document = patched(&json!({ "mounts": [mount] }));
    let config = config::load(document.to_string().as_bytes()).unwrap();
    plan(&config, &request(), &host("root-v2"))
        .map(|plan| plan.mounts.into_iter().next().unwrap())
        .map_err(|error| error.to_string())
}

/// A bind mount with these options.
fn bind(words: &[&str]) -> Result<Mount, String> {
    let mut options = vec!["bind"];
    options.extend(words);
    one(json!({ "destination": "/a", "source": "/s", "options": options }))
}

/// mount_setattr(2): clears, then sets.
fn applied(attributes: Attributes, before: u64) -> u64 {
    before & !attributes.clear | attributes.set
}

#[test]
fn every_word_does_what_the_table_says() {
    let known: Vec<&str> = option_names().collect();
    assert!(known.is_sorted(), "`features` prints them in this order");
    let table: Vec<&str> = WORDS.iter().map(|(word, _)| *word).take(known.len()).collect();
    assert_eq!(known, table);
    for (word, does) in &WORDS {
        let bound = bind(&[word]);
        let (attributes, recursive, propagation) = match (does, &bound) {
            (Special, _) => continue,
            (Refused, _) => {
                let error = bound.expect_err(word);
                assert!(error.contains(word) && error.contains("(/mounts/0/options/1)"), "{error}");
                continue;
            }
            (_, Err(error)) => panic!("{word}: {error}"),
            (_, Ok(mount)) => (mount.attributes, mount.recursive, mount.propagation.clone()),
        };
        let none = Attributes::default();
        let changed = |set: u64, clear: u64| Attributes { set, clear };
        let expected = match does {
            Mount(set, clear) => (changed(*set, *clear), none, vec![]),
            Below(set, clear) => (none, changed(*set, *clear), vec![]),
            Propagation(bits, below) => (none, none, vec![(*bits, *below)]),
            _ => (none, none, vec![]),
        };
        assert_eq!((attributes, recursive, propagation), expected, "{word}");
    }
}

/// Words that change attributes, and what each does to a mount that has some already.
fn words(below: bool) -> Vec<(&'static str, u64, u64)> {
    let of = |does: &Does| match does {
        Mount(set, clear) if !below => Some((*set, *clear)),
        Below(set, clear) if below => Some((*set, *clear)),
        _ => None,
    };
    WORDS.iter().filter_map(|(word, does)| of(does).map(|(set, clear)| (*word, set, clear))).collect()
}

/// Later options win: two words have the effect of the first and then of the second, on whatever was there.
///
/// Access times are one value of three, so that a word which takes another value back does not touch it.
#[test]
fn two_words_do_one_after_the_other() {
    const ALL: u64 = attr::RDONLY
        | attr::NOSUID
        | attr::NODEV
        | attr::NOEXEC
        | attr::ATIME
        | attr::NODIRATIME
        | attr::NOSYMFOLLOW;
    let takes_back = |word: &str| match word.trim_start_matches('r') {
        "atime" => Some(attr::NOATIME),
        "norelatime" => Some(0),
        "nostrictatime" => Some(attr::STRICTATIME),
        _ => None,
    };
    let mut pairs = 0;
    for below in [false, true] {
        for (first, set, clear) in words(below) {
            for (second, then_set, then_clear) in words(below) {
                let mount = bind(&[first, second]).unwrap();
                let made = if below { mount.recursive } else { mount.attributes };
                for before in [0, ALL & !attr::ATIME, attr::NOATIME, attr::STRICTATIME | attr::RDONLY] {
                    let between = before & !clear | set;
                    let asked_before = clear & attr::ATIME != 0;
                    let expected = match takes_back(second) {
                        Some(value) if asked_before && between & attr::ATIME != value => between,
                        _ => between & !then_clear | then_set,
                    };
                    assert_eq!(applied(made, before), expected, "{first},{second} on {before:#x}");
                }
                // mount_setattr(2): one value, and with it the whole mask is cleared.
                let value = made.set & attr::ATIME;
                assert!([0, attr::NOATIME, attr::STRICTATIME].contains(&value), "{first},{second}");
                assert!([0, attr::ATIME].contains(&(made.clear & attr::ATIME)), "{first},{second}");
                assert!(value == 0 || made.clear & attr::ATIME != 0, "{first},{second}");
                pairs += 1;
            }
        }
    }
    assert_eq!(pairs, 2 * 18 * 18);
}

/// The three values exclude each other, the last one asked for stays.
#[test]
fn access_times_have_one_value() {
    for (options, expected) in [
        (&["noatime"][..], attr::NOATIME),
        (&["strictatime"], attr::STRICTATIME),
        (&["relatime"], 0),
        (&["noatime", "strictatime"], attr::STRICTATIME),
        (&["strictatime", "noatime"], attr::NOATIME),
        (&["noatime", "relatime"], 0),
        (&["noatime", "atime"], 0),
        (&["strictatime", "nostrictatime"], 0),
        (&["strictatime", "atime"], attr::STRICTATIME),
        (&["noatime", "nostrictatime"], attr::NOATIME),
        (&["noatime", "norelatime"], attr::NOATIME),
        (&["relatime", "norelatime"], 0),
        (&["noatime", "nodiratime"], attr::NOATIME | attr::NODIRATIME),
        (&["nodiratime", "noatime", "diratime"], attr::NOATIME),
        (&["noatime", "nostrictatime", "strictatime", "norelatime"], attr::STRICTATIME),
    ] {
        let made = bind(options).unwrap().attributes;
        assert_eq!(made.set, expected, "{options:?}");
        assert_eq!(made.clear & attr::ATIME, attr::ATIME, "{options:?}");
        let below: Vec<String> = options.iter().map(|word| format!("r{word}")).collect();
        let below: Vec<&str> = below.iter().map(String::as_str).collect();
        assert_eq!(bind(&below).unwrap().recursive, made, "{below:?}");
    }
}

/// A mount without options keeps what its source has: in a user namespace nothing of that can be cleared.
#[test]
fn a_bind_without_options_changes_nothing() {
    let mount = bind(&[]).unwrap();
    assert!(mount.attributes.is_empty() && mount.recursive.is_empty() && mount.propagation.is_empty());
    let defaults = bind(&["defaults", "async", "loud", "nolazytime"]).unwrap();
    assert!(defaults.attributes.is_empty() && defaults.recursive.is_empty());
}

/// What is asked of the mount alone and what is asked of everything below are two changes.
#[test]
fn recursive_words_leave_the_others_alone() {
    let mount = bind(&["ro", "rrw", "rnosuid", "exec", "rnoexec", "noatime", "rstrictatime"]).unwrap();
    assert_eq!(
        mount.attributes,
        Attributes { set: attr::RDONLY | attr::NOATIME, clear: attr::NOEXEC | attr::ATIME }
    );
    let below = Attributes {
        set: attr::NOSUID | attr::NOEXEC | attr::STRICTATIME,
        clear: attr::RDONLY | attr::ATIME,
    };
    assert_eq!(mount.recursive, below);
}

/// Below a new file system is nothing yet: both sorts of words are about the same mount, the recursive ones last.
#[test]
fn recursive_words_of_a_new_file_system_are_its_own() {
    let tmpfs =
        |options: &[&str]| one(json!({ "destination": "/a", "type": "tmpfs", "options": options })).unwrap();
    for (options, set, late) in [
        (&["rro"][..], attr::RDONLY, true),
        (&["ro", "rrw"], 0, false),
        (&["rrw", "ro"], 0, false),
        (&["noatime", "rstrictatime"], attr::STRICTATIME, false),
        (&["rnosuid", "suid", "rnodev"], attr::NOSUID | attr::NODEV, false),
    ] {
        let mount = tmpfs(options);
        assert_eq!(mount.attributes.set, set, "{options:?}");
        assert!(mount.recursive.is_empty(), "{options:?}");
        assert_eq!(mount.late_read_only, late, "{options:?}");
        assert_eq!(mount.attributes.clear & set & !attr::ATIME, 0, "{options:?}");
    }
}

/// One change after the other: a slave that is then shared is both.
#[test]
fn propagation_words_are_kept_in_order() {
    let mount = bind(&["rslave", "shared", "ro", "runbindable", "private"]).unwrap();
    let expected = [
        (propagation::SLAVE, true),
        (propagation::SHARED, false),
        (propagation::UNBINDABLE, true),
        (propagation::PRIVATE, false),
    ];
    assert_eq!(mount.propagation, expected);
}

#[test]
fn the_words_for_binding_decide_what_is_bound() {
    let kind = |words: &[&str]| {
        let mount = one(json!({ "destination": "/a", "source": "/s", "options": words })).unwrap();
        let Kind::Bind { source, recursive, no_follow, copy_symlink } = mount.kind else {
            panic!("{words:?}")
        };
        assert_eq!(source.as_c_str(), c"/s");
        (recursive, no_follow, copy_symlink, mount.dest_no_follow)
    };
    assert_eq!(kind(&["bind"]), (false, false, false, false));
    assert_eq!(kind(&["rbind"]), (true, false, false, false));
    assert_eq!(kind(&["bind", "rbind"]), (true, false, false, false));
    assert_eq!(kind(&["rbind", "bind"]), (true, false, false, false));
    assert_eq!(kind(&["bind", "src-nofollow"]), (false, true, false, false));
    assert_eq!(kind(&["bind", "copy-symlink"]), (false, false, true, false));
    assert_eq!(kind(&["bind", "dest-nofollow"]), (false, false, false, true));
    assert_eq!(bind(&["remount", "ro"]).unwrap().kind, Kind::Remount);
}

/// config.md#linux-mount-options: `idmap` and `ridmap`, with mappings of their own.
#[test]
fn id_mappings_are_recursive_when_the_word_says_so() {
    let mapped = |words: &[&str]| {
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 10 }]);
        let mount = json!({ "destination": "/a", "source": "/s", "options": words, "uidMappings": map, "gidMappings": map });
        one(mount).unwrap().id_mapping.expect("mapped")
    };
    for (words, below) in [
        (&["bind"][..], false),
        (&["bind", "idmap"], false),
        (&["rbind", "idmap"], false),
        (&["rbind", "ridmap"], true),
    ] {
        let (mapping, recursive) = mapped(words);
        assert_eq!(recursive, below, "{words:?}");
        let IdMapping::Own { uids, gids } = mapping else { panic!("{words:?}") };
        assert_eq!((uids.text().as_str(), &gids), ("0 100000 10\n", &uids), "{words:?}");
    }
}

/// Links in the way are for the child to resolve; text that leads above the root stays in the root.
#[test]
fn destinations_are_cleaned_as_text() {
    for (written, clean) in [
        ("/a", "a"),
        ("//a//b/", "a/b"),
        ("/a/./b/.", "a/b"),
        ("/a/../b", "b"),
        ("/../../a", "a"),
        ("a", "a"),
        ("./a", "a"),
        ("/a b\n", "a b\n"),
        ("/...", "..."),
    ] {
        let mount = one(json!({ "destination": written, "type": "tmpfs" })).unwrap();
        assert_eq!(mount.destination.to_str().unwrap(), clean, "{written:?}");
        assert_eq!(mount.shown, written);
        assert!(mount.is_at(clean));
    }
}

/// The init process may mount before the parent is ready only what the parent has no part in.
#[test]
fn mounts_that_wait_for_the_parent() {
    let independent = |patch: serde_json::Value, facts: &str| {
        let config = patched(&patch).to_string();
        plan(&config::load(config.as_bytes()).unwrap(), &request(), &host(facts))
            .unwrap()
            .has_independent_mounts()
    };
    let with =
        |mount: serde_json::Value| json!({ "mounts": [{ "destination": "/proc", "type": "proc" }, mount] });
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 10 }]);
    let mapped = json!({ "destination": "/a", "source": "/s", "options": ["bind"], "uidMappings": map, "gidMappings": map });
    let user = json!({ "linux": { "namespaces": [{ "type": "mount" }, { "type": "user" }], "uidMappings": map,
        "gidMappings": map } });
    let time = json!({ "linux": { "namespaces": [{ "type": "mount" }, { "type": "time" }],
        "timeOffsets": { "boottime": { "secs": 5 } } } });
    for (patch, expected) in [
        (json!({}), true),
        (with(json!({ "destination": "/a", "type": "tmpfs" })), true),
        (with(json!({ "destination": "/a", "source": "/s", "options": ["bind"] })), true),
        // Its device is opened, which the filter of devices decides about.
        (with(json!({ "destination": "/a", "type": "ext4", "source": "/dev/sda" })), false),
        // What is copied may be device nodes.
        (with(json!({ "destination": "/a", "type": "tmpfs", "options": ["tmpcopyup"] })), false),
        (with(mapped), false),
        (user, false),
        (time, false),
        (json!({ "linux": { "netDevices": { "eth0": {} } } }), false),
    ] {
        assert_eq!(independent(patch.clone(), "root-v2"), expected, "{patch}");
    }
}
