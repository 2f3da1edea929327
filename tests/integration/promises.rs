//! Small promises of the specification that no other file has.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::Test;
use crate::harness::copy_program;
use crate::harness::report::status;

cases![
    version_with_a_suffix_is_accepted_and_that_of_the_runtime_told,
    empty_home_is_that_of_the_user,
    ambient_capability_that_is_not_inheritable_is_told_and_left_out,
    set_user_id_program_gains_nothing_with_no_new_privileges,
    missing_directory_is_made_for_a_bind,
    relative_destination_is_told,
    links_are_copied_bound_and_covered,
    matching_node_in_the_image_is_used,
    ptmx_of_the_config_is_left_to_devpts,
    device_has_its_mode_whatever_the_umask,
    empty_annotation_is_an_annotation,
    every_option_that_is_listed_is_accepted,
    latest_version_that_is_listed_is_accepted,
    invalid_ids_leave_nothing,
    sections_of_other_systems_are_ignored,
];

/// config.md#specification-version; runtime.md#state.
fn version_with_a_suffix_is_accepted_and_that_of_the_runtime_told(t: &Test) {
    let c = t.bundle().set("/ociVersion", "1.0.2-dev").args(["sleep", "100"]).run_detached();
    let version = c.state()["ociVersion"].as_str().unwrap_or_default().to_owned();
    if t.is("teu") {
        assert_eq!(version, "1.3.0");
    }
    assert!(version.starts_with("1."), "{version}");
}

/// runc: as if it were not there.
fn empty_home_is_that_of_the_user(t: &Test) {
    t.skip_older("runc", (1, 2), "keeps it empty");
    t.skip_for("crun", "keeps it empty");
    let out = t.bundle().env(&["HOME="]).set("/process/user/uid", 1000).sh("echo $HOME").run().ok();
    assert_eq!(out.stdout, "/home/user\n");
}

/// capabilities(7), config.md#linux-process.
fn ambient_capability_that_is_not_inheritable_is_told_and_left_out(t: &Test) {
    t.skip_for("crun", "fails");
    let one = json!(["CAP_KILL"]);
    let sets = json!({ "bounding": one, "effective": one, "permitted": one, "ambient": one });
    let out = t.bundle().set("/process/capabilities", sets).probe().run().ok();
    assert_eq!(status(&out.json(), "CapAmb"), "0000000000000000");
    if t.is("teu") {
        let logged = out.log_text.clone() + &out.stderr;
        assert!(logged.contains("/process/capabilities/ambient"), "{}", out.report());
    }
}

/// prctl(2): PR_SET_NO_NEW_PRIVS.
fn set_user_id_program_gains_nothing_with_no_new_privileges(t: &Test) {
    let user = |no_new_privileges: bool| {
        let bundle = t.bundle();
        let program = bundle.inside("/opt/probe");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        copy_program(&std::env::current_exe().unwrap(), &program);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
        let report = bundle
            .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
            .set("/process/noNewPrivileges", no_new_privileges)
            .args(["/opt/probe", "report"])
            .run()
            .ok()
            .json();
        status(&report, "Uid").split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!((user(true).as_str(), user(false).as_str()), ("1000", "0"));
}

/// config.md#mounts.
fn missing_directory_is_made_for_a_bind(t: &Test) {
    let source = t.make_dir("source");
    t.make_file("source/file", "data");
    let bundle = t.bundle().bind(&source, "/new/place", &["bind"]).args(["cat", "/new/place/file"]);
    assert_eq!(bundle.run().ok().stdout, "data");
    assert!(bundle.inside("/new/place").is_dir());
}

/// config.md#mounts: deprecated.
fn relative_destination_is_told(t: &Test) {
    t.only_teu("the words are teu's");
    let out = t.bundle().tmpfs("mnt", &[]).run().ok();
    let logged = out.log_text.clone() + &out.stderr;
    assert!(logged.contains("/mounts/6/destination"), "{}", out.report());
}

/// crun's options, which podman passes.
fn links_are_copied_bound_and_covered(t: &Test) {
    t.skip_for("runc", "does not know the options");
    t.skip_older("crun", (1, 9), "does not know the options");
    let dir = t.make_dir("source");
    t.make_file("source/file", "data");
    let link = dir.join("link");
    std::os::unix::fs::symlink("file", &link).unwrap();
    let copied = t.bundle().bind(&link, "/copy", &["bind", "copy-symlink"]);
    assert_eq!(copied.args(["readlink", "/copy"]).run().ok().stdout, "file\n");
    let bound = t.bundle().file("/place", "").bind(&link, "/place", &["bind", "src-nofollow"]);
    assert_eq!(bound.args(["stat", "-c", "%F", "/place"]).run().ok().stdout, "symbolic link\n");
    let covered = t.bundle().file("/target", "image").link("/target", "/place");
    let covered = covered.bind(&dir.join("file"), "/place", &["bind", "dest-nofollow"]);
    let out = covered.sh("cat /target; stat -c %F /place").run().ok();
    assert_eq!(out.stdout, "imageregular file\n");
}

/// config-linux.md#devices.
fn matching_node_in_the_image_is_used(t: &Test) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let bundle = t.bundle();
    mknod(&bundle.inside("/opt/zero"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), makedev(1, 5))
        .unwrap();
    let device = json!([{ "path": "/opt/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600 }]);
    bundle.set("/linux/devices", device).sh("head -c 3 /opt/zero | wc -c").run().ok();
}

/// runtime-linux.md: always a link.
fn ptmx_of_the_config_is_left_to_devpts(t: &Test) {
    let device = json!([{ "path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2 }]);
    let out = t.bundle().set("/linux/devices", device).args(["readlink", "/dev/ptmx"]).run();
    if t.is("teu") {
        assert_eq!(out.ok().stdout, "pts/ptmx\n");
    }
}

/// config-linux.md#devices.
fn device_has_its_mode_whatever_the_umask(t: &Test) {
    let device = json!([{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 5, "gid": 6 }]);
    let bundle = t.bundle().set("/linux/devices", device).args(["stat", "-c", "%a %u:%g", "/dev/fuse"]);
    assert_eq!(bundle.run_cmd().through("umask 077; exec \"$@\"").run().ok().stdout, "666 5:6\n");
}

/// config.md#annotations.
fn empty_annotation_is_an_annotation(t: &Test) {
    let file = t.dir().join("told");
    let bundle = t.bundle().set("/annotations", json!({ "org.example.empty": "", "other": "x" }));
    let c = bundle.hook("createRuntime", &format!("cat >{}", file.display())).create();
    let expected = json!({ "org.example.empty": "", "other": "x" });
    assert_eq!(c.state()["annotations"], expected);
    // Hooks are told the same.
    let told: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(told["annotations"], expected);
}

/// features.md: what is listed is recognised.
fn every_option_that_is_listed_is_accepted(t: &Test) {
    t.only_teu("pointers are teu's");
    let features = t.cmd(["features"]).run().ok().json();
    let options = features["mountOptions"].as_array().expect("a list");
    let source = t.make_dir("source");
    assert!(options.len() > 50, "only {}", options.len());
    for option in options.iter().filter_map(|option| option.as_str()) {
        let mount = match option {
            "tmpcopyup" => json!({ "destination": "/etc", "type": "tmpfs", "options": [option] }),
            "remount" => json!({ "destination": "/dev", "options": [option, "nosuid"] }),
            // These belong to a file system, which a bind mount must not change.
            "sync" | "dirsync" | "lazytime" => {
                json!({ "destination": "/mnt", "type": "tmpfs", "options": [option] })
            }
            "idmap" | "ridmap" => continue, // id_mapped has them
            _ => json!({ "destination": "/mnt", "source": source.to_str(), "options": ["rbind", option] }),
        };
        let out = t.bundle().push("/mounts", mount).run();
        assert_eq!(out.code, Some(0), "{option}: {}", out.report());
    }
}

/// features.md, `ociVersionMax`.
fn latest_version_that_is_listed_is_accepted(t: &Test) {
    t.skip_for("crun", "has no such command in old versions");
    let features = t.cmd(["features"]).run().ok().json();
    for version in ["ociVersionMax", "ociVersionMin"] {
        let version = features[version].as_str().expect("a version").to_owned();
        t.bundle().set("/ociVersion", version).run().ok();
    }
}

/// config.md#platform-specific-configuration: whatever is in them.
fn sections_of_other_systems_are_ignored(t: &Test) {
    t.skip_for("runc", "gives some of them types");
    t.skip_for("crun", "gives some of them types");
    let foreign = ["windows", "solaris", "vm", "zos", "freebsd"];
    let bundle =
        foreign.iter().fold(t.bundle(), |bundle, name| bundle.set(&format!("/{name}"), json!([1, "x"])));
    let bundle = bundle.set("/process/commandLine", "x").set("/process/user/username", json!({}));
    bundle.args(["echo", "fine"]).run().ok();
}

/// runtime.md#create; an id is a name and no path.
fn invalid_ids_leave_nothing(t: &Test) {
    t.only_teu(crate::harness::HOSTILE);
    for id in ["..", ".", "a/b", ""] {
        let bundle = t.bundle();
        bundle.write();
        let out = t.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(id).run();
        assert_ne!(out.code, Some(0), "{id:?}: {}", out.report());
    }
    let left = fs::read_dir(t.root()).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!(left, 0, "{}", t.root().display());
}
