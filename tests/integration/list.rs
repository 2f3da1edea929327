//! `list`: all containers of a state root.

use std::fs;

use serde_json::Value;

use crate::harness::Test;

cases![
    table_has_a_header_and_one_row_per_container,
    json_has_the_members_of_state_and_an_owner,
    quiet_prints_ids_alone,
    empty_list_is_empty_in_every_form,
    unknown_format_is_refused,
    root_that_does_not_exist_is_refused,
    entries_that_are_no_containers_do_not_break_the_list,
    ids_are_sorted,
];

/// runc: the columns and their order.
fn table_has_a_header_and_one_row_per_container(t: &Test) {
    let bundle = t.bundle();
    let c = bundle.create();
    let stopped = t.bundle().run_detached();
    stopped.wait_stopped();
    let out = t.cmd(["list"]).run().ok();
    let lines = out.lines();
    let header: Vec<&str> = lines[0].split_whitespace().collect();
    if t.is("crun") {
        assert_eq!(header[0], "NAME");
    } else {
        assert_eq!(header, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    }
    assert_eq!(lines.len(), 3, "{}", out.report());
    let row: Vec<&str> = lines[1].split_whitespace().collect();
    let pid = c.pid().to_string();
    assert_eq!(row[..4], [bundle.id(), &pid, "created", &bundle.dir().to_string_lossy()]);
    assert_eq!(row.last(), Some(&t.caller().name()));
    assert!(lines[2].contains("stopped"), "{}", lines[2]);
    assert_eq!(t.cmd(["list", "--format", "table"]).run().ok().stdout, out.stdout);
}

/// runc: one array on one line; go-runc decodes it.
fn json_has_the_members_of_state_and_an_owner(t: &Test) {
    let bundle = t.bundle().set("/annotations/key", "value");
    let c = bundle.create();
    let out = t.cmd(["list", "--format", "json"]).run().ok();
    let list = out.json();
    let entry = &list[0];
    if t.is("crun") {
        assert_eq!(entry["id"], bundle.id());
        return;
    }
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let state = c.state();
    for member in ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations"] {
        assert_eq!(entry[member], state[member], "{member}");
    }
    assert_eq!(entry["owner"], t.caller().name());
    assert_eq!(out.stdout.trim_end().lines().count(), 1, "{}", out.report());
    let position = |name: &str| out.stdout.find(&format!("\"{name}\":")).unwrap_or(usize::MAX);
    let order = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"];
    assert!(order.map(position).is_sorted(), "the members are in another order: {}", out.stdout);
}

/// runc: one id per line, whatever the format.
fn quiet_prints_ids_alone(t: &Test) {
    let (one, two) = (t.bundle(), t.bundle());
    one.create();
    two.create();
    let expected = format!("{}\n{}\n", one.id(), two.id());
    assert_eq!(t.cmd(["list", "-q"]).run().ok().stdout, expected);
    assert_eq!(t.cmd(["list", "--quiet", "--format", "table"]).run().ok().stdout, expected);
}

/// runc: no container is not an error.
fn empty_list_is_empty_in_every_form(t: &Test) {
    fs::create_dir_all(t.root()).unwrap();
    assert_eq!(t.cmd(["list", "-q"]).run().ok().stdout, "");
    assert_eq!(t.cmd(["list"]).run().ok().lines().len(), 1);
    let list = t.cmd(["list", "-f", "json"]).run().ok().json();
    assert!(list == Value::Null || list == Value::Array(Vec::new()), "{list}");
}

/// runc.
fn unknown_format_is_refused(t: &Test) {
    t.bundle().create();
    let out = t.cmd(["list", "--format", "xml"]).run().fails(&["invalid format option"]);
    assert!(!out.stdout.contains(t.token()), "{}", out.report());
}

/// runc: a mistyped `--root` must not look like an empty list.
fn root_that_does_not_exist_is_refused(t: &Test) {
    t.skip_for("crun", "makes the state root");
    t.skip_older("runc", (1, 2), "lists nothing");
    let nowhere = t.dir().join("nowhere");
    t.cmd(["--root"]).bare().arg(&nowhere).arg("list").run().fails(&[if t.is("teu") {
        "nothing at that path"
    } else {
        "no such file or directory"
    }]);
    assert!(!nowhere.exists(), "list made the state root");
}

/// Stray files, and containers whose state cannot be read, are skipped.
fn entries_that_are_no_containers_do_not_break_the_list(t: &Test) {
    t.skip_for("crun", "fails on a directory without a state");
    let bundle = t.bundle();
    bundle.create();
    fs::write(t.root().join("stray"), "").unwrap();
    fs::create_dir(t.root().join("empty")).unwrap();
    fs::create_dir(t.root().join("broken")).unwrap();
    fs::write(t.root().join("broken/state.json"), "{").unwrap();
    let out = t.cmd(["list", "-q"]).run().ok();
    assert_eq!(out.stdout, format!("{}\n", bundle.id()), "{}", out.report());
    fs::remove_file(t.root().join("stray")).unwrap();
    fs::remove_dir(t.root().join("empty")).unwrap();
    fs::remove_file(t.root().join("broken/state.json")).unwrap();
    fs::remove_dir(t.root().join("broken")).unwrap();
}

/// runc: directory order, sorted by name.
fn ids_are_sorted(t: &Test) {
    let mut ids: Vec<String> =
        ["b", "a", "c", "B"].iter().map(|name| format!("{}_{name}", t.token())).collect();
    for id in &ids {
        t.bundle().with_id(id).create();
    }
    ids.sort();
    if t.is("crun") {
        ids.reverse();
        let mut lines: Vec<String> =
            t.cmd(["list", "-q"]).run().ok().lines().iter().map(ToString::to_string).collect();
        lines.sort();
        lines.reverse();
        assert_eq!(lines, ids);
        return;
    }
    assert_eq!(t.cmd(["list", "-q"]).run().ok().lines(), ids);
}
