//! Global options, the log, and the verbs that need no container.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Out, Test};

cases![
    long_text_of_a_config_leaves_the_pointer_in_the_message,
    version_tells_name_version_and_specification,
    version_has_the_word_version_in_its_first_line_alone,
    help_is_printed_on_stdout_with_success,
    every_verb_has_help,
    help_of_a_verb_begins_with_its_name,
    wrong_number_of_arguments_is_told_in_the_words_of_runc,
    last_value_of_a_switch_wins,
    empty_path_is_no_path,
    root_directory_of_the_host_holds_no_state,
    json_record_is_on_stderr_when_no_file_is_named,
    log_option_of_the_program_is_not_ours,
    rootless_takes_the_booleans_of_go,
    unknown_verb_is_refused,
    unknown_option_is_refused,
    missing_id_is_refused,
    option_value_may_follow_an_equals_sign,
    repeated_option_counts_once_the_last_wins,
    long_option_may_have_one_dash,
    options_that_engines_pass_are_accepted,
    json_log_has_one_object_per_error,
    text_log_names_level_and_message,
    log_goes_to_stderr_when_no_file_is_named,
    log_is_appended_to,
    log_of_a_success_stays_empty,
    usage_error_is_in_the_log_too,
    unknown_log_format_is_refused,
    message_with_control_characters_stays_one_line,
    error_names_the_command_and_the_container,
    empty_environment_is_enough,
    default_root_is_below_run,
    empty_runtime_directory_is_no_runtime_directory,
    spec_writes_a_config_that_runs,
    spec_does_not_overwrite,
    spec_writes_into_the_bundle,
    spec_for_rootless_has_a_user_namespace,
    spec_for_rootless_writes_a_config_that_runs,
    spec_is_indented_with_tabs_and_has_the_mode_of_a_new_file,
    features_is_a_complete_document,
    features_names_the_options_that_engines_look_for,
    features_needs_neither_root_directory_nor_options,
];

fn bare(t: &Test, arguments: &[&str]) -> Out {
    t.cmd(arguments).bare().run()
}

/// dockerd and go-runc parse these lines.
fn version_tells_name_version_and_specification(t: &Test) {
    for flag in ["--version", "-v"] {
        if t.is_older("crun", 1, 9) && flag == "-v" {
            continue;
        }
        let out = bare(t, &[flag]).ok();
        let lines = out.lines();
        assert!(lines[0].starts_with(&format!("{} version ", t.runtime().name)), "{}", out.report());
        assert!(lines.iter().any(|line| line.starts_with("spec: 1.")), "{}", out.report());
        if t.is("teu") {
            assert!(lines.contains(&"spec: 1.3.0"), "{}", out.report());
            assert!(lines.iter().any(|line| line.starts_with("libseccomp: 2.")), "{}", out.report());
            assert!(out.stderr.is_empty(), "{}", out.report());
        }
    }
}

/// dockerd takes the last line with that word.
fn version_has_the_word_version_in_its_first_line_alone(t: &Test) {
    let out = bare(t, &["--version"]).ok();
    assert_eq!(out.lines().iter().filter(|line| line.contains("version")).count(), 1, "{}", out.report());
}

/// runc: exit code 0.
fn help_is_printed_on_stdout_with_success(t: &Test) {
    for flag in ["--help", "-h"] {
        if t.is("crun") && flag == "-h" {
            continue;
        }
        let out = bare(t, &[flag]).ok();
        for verb in ["create", "start", "run", "kill", "delete", "state", "list", "exec", "spec"] {
            assert!(out.stdout.contains(verb), "{verb} is not in the help\n{}", out.report());
        }
    }
}

/// podman asks `checkpoint --help` whether there is such a verb.
fn every_verb_has_help(t: &Test) {
    for verb in [
        "create", "start", "run", "exec", "kill", "delete", "state", "list", "ps", "pause", "resume",
        "update", "spec",
    ] {
        let out = bare(t, &[verb, "--help"]).ok();
        assert!(out.stdout.contains(verb), "{}", out.report());
    }
}

/// Scripts look for the name in the first line.
fn help_of_a_verb_begins_with_its_name(t: &Test) {
    t.skip_for("crun", "has a form of its own");
    for arguments in
        [&["-h"][..], &["create", "--help"], &["exec", "-h"], &["ps", "--help"], &["update", "-h"]]
    {
        let out = bare(t, arguments).ok();
        let name = if arguments.len() == 1 { String::new() } else { format!(" {}", arguments[0]) };
        assert!(out.lines()[0].starts_with("NAME:"), "{}", out.report());
        assert!(out.lines()[1].contains(&format!("{}{name} - ", t.runtime().name)), "{}", out.report());
    }
}

/// runc.
fn wrong_number_of_arguments_is_told_in_the_words_of_runc(t: &Test) {
    t.skip_for("crun", "has words of its own");
    for (arguments, words) in [
        (&["create"][..], "\"create\" requires exactly 1 argument(s)"),
        (&["start", "a", "b"], "\"start\" requires exactly 1 argument(s)"),
        (&["state"], "\"state\" requires exactly 1 argument(s)"),
        (&["kill", "a", "9", "b"], "\"kill\" requires a maximum of 2 argument(s)"),
        (&["exec"], "\"exec\" requires a minimum of 1 argument(s)"),
        (&["list", "a"], "\"list\" requires exactly 0 argument(s)"),
    ] {
        if t.is("runc") && arguments[0] == "list" {
            continue; // takes anything
        }
        let out = bare(t, arguments).exits(1);
        assert!(out.message().replace('\\', "").contains(words), "{}", out.report());
    }
}

/// Go programs take `--flag=false` after `--flag` for no flag.
fn last_value_of_a_switch_wins(t: &Test) {
    t.skip_for("crun", "knows GNU options alone");
    let bundle = t.bundle().sh("exit 7");
    bundle.call("run", &["--detach", "--detach=false"]).run().exits(7);
    let c = t.bundle().idle();
    c.exec_sh(&["-d=true", "-d=false"], "exit 7").exits(7);
}

/// Scripts pass `--pid-file "$FILE"` whether they want one or not.
fn empty_path_is_no_path(t: &Test) {
    t.skip_for("crun", "takes an empty path for a file");
    let empty = ["--log=", "run", "--pid-file", "", "--console-socket="];
    let bundle = t.bundle().sh("echo fine");
    bundle.write();
    let out = t.cmd(empty).without_log().arg(bundle.id()).in_dir(bundle.dir()).run().ok();
    assert_eq!(out.stdout, "fine\n");
    let c = t.bundle().idle();
    let out = c.exec(&["--process", "", "--pid-file=", "--console-socket", ""], &["echo", "fine"]).ok();
    assert_eq!(out.stdout, "fine\n");
}

/// runc: every container of the host would be looked for there.
fn root_directory_of_the_host_holds_no_state(t: &Test) {
    t.skip_older("runc", (1, 2), "takes every directory for a container");
    t.skip_for("crun", "would use it");
    let words = "Option --root argument should not be set to /";
    let link = t.dir().join("link");
    std::os::unix::fs::symlink("/", &link).unwrap();
    let link = format!("--root={}", link.display());
    for root in ["--root=/", "--root=/../", "--root=", &link] {
        if root.ends_with('=') && !t.is("teu") || root == link && !t.is("teu") {
            continue;
        }
        let out = bare(t, &[root, "list"]).exits(1);
        assert!(out.stderr.contains(words), "{root}: {}", out.report());
    }
}

/// Whoever asks for records on stderr parses them.
fn json_record_is_on_stderr_when_no_file_is_named(t: &Test) {
    t.skip_for("crun", "prints text");
    let out = t.cmd(["--log-format", "json", "state", "unknown"]).without_log().run().exits(1);
    let record: Value = serde_json::from_str(out.stderr.lines().next().unwrap_or_default()).unwrap();
    assert_eq!(record["level"], "error", "{}", out.report());
    assert!(record["msg"].as_str().is_some_and(|text| text.contains("does not exist")), "{}", out.report());
    if t.is("teu") {
        assert_eq!(out.stderr.lines().count(), 1, "{}", out.report());
    }
}

/// What follows the verb may be for a program; a file of the host must not be written to because of it.
fn log_option_of_the_program_is_not_ours(t: &Test) {
    t.only_teu("other runtimes parse in another order");
    let file = t.dir().join("victim");
    let option = format!("--log={}", file.display());
    for arguments in
        [&["exec", "--nonsense", "c1", "program", &option][..], &["create", "--nonsense", &option, "c1"]]
    {
        let out = t.cmd(arguments).run();
        assert!(out.code.is_some_and(|code| code != 0), "{}", out.report());
        assert!(!file.exists(), "{}", out.report());
        assert_eq!(out.errors().len(), 1, "{}", out.report());
    }
}

/// go-runc writes `--rootless=false`, people write `--rootless true`.
fn rootless_takes_the_booleans_of_go(t: &Test) {
    t.skip_for("crun", "takes anything");
    for value in ["true", "FALSE", "1", "f", "auto", "AUTO"] {
        let bundle = t.bundle();
        let option = format!("--rootless={value}");
        t.cmd([&option, "run", "--bundle"])
            .arg(bundle.dir())
            .arg({
                bundle.write();
                bundle.id()
            })
            .run()
            .ok();
    }
    let bundle = t.bundle();
    bundle.write();
    t.cmd(["--rootless", "false", "run", "--bundle"]).arg(bundle.dir()).arg(bundle.id()).run().ok();
    let out = t.cmd(["--rootless=perhaps", "run", "--bundle"]).arg(bundle.dir()).arg(bundle.id()).run();
    assert_eq!(out.code, Some(1), "{}", out.report());
}

/// A typing error must not pass for success.
fn unknown_verb_is_refused(t: &Test) {
    t.skip_for("runc", "prints its help and exits with 0 or 3, depending on the version");
    let out = t.cmd(["no-such-verb"]).run();
    assert!(out.code.is_some_and(|code| code != 0), "{}", out.report());
    assert!(out.message().contains("no-such-verb") || t.is("crun"), "{}", out.report());
}

/// A typing error must not pass for success.
fn unknown_option_is_refused(t: &Test) {
    for arguments in [
        &["--no-such-option", "list"][..],
        &["list", "--no-such-option"],
        &["create", "--no-such-option", "x"],
    ] {
        let out = bare(t, arguments);
        assert!(out.code.is_some_and(|code| code != 0), "{}", out.report());
        assert!(!out.message().is_empty(), "{}", out.report());
    }
}

/// runc: exit code 1.
fn missing_id_is_refused(t: &Test) {
    for verb in ["create", "start", "state", "kill", "delete", "run"] {
        let out = t.cmd([verb]).run();
        assert!(out.code.is_some_and(|code| code != 0), "{}", out.report());
    }
}

/// containerd writes `--root X`, CRI-O `--root=X`.
fn option_value_may_follow_an_equals_sign(t: &Test) {
    let bundle = t.bundle().sh("echo equal");
    bundle.write();
    let root = format!("--root={}", t.root().display());
    let dir = format!("--bundle={}", bundle.dir().display());
    assert_eq!(bare(t, &[&root, "run", &dir, bundle.id()]).ok().stdout, "equal\n");
}

/// conmon-rs gives `--root` and `--systemd-cgroup` twice.
fn repeated_option_counts_once_the_last_wins(t: &Test) {
    let bundle = t.bundle().sh("echo twice");
    bundle.write();
    let root = t.root().to_string_lossy().into_owned();
    let dir = bundle.dir().to_string_lossy().into_owned();
    let out = bare(
        t,
        &[
            "--root",
            "/tmp/never",
            "--root",
            &root,
            "run",
            "--bundle",
            "/never",
            "--bundle",
            &dir,
            bundle.id(),
        ],
    );
    assert_eq!(out.ok().stdout, "twice\n");
    assert!(!fs::exists("/tmp/never").unwrap(), "the first root was used");
}

/// go-runc writes `-no-subreaper`, scripts `-bundle`.
fn long_option_may_have_one_dash(t: &Test) {
    t.skip_for("crun", "knows GNU options alone");
    let bundle = t.bundle().sh("echo one dash");
    bundle.write();
    let root = t.root().to_string_lossy().into_owned();
    let dir = bundle.dir().to_string_lossy().into_owned();
    let out = bare(t, &["-root", &root, "run", "-no-subreaper", "-bundle", &dir, bundle.id()]).ok();
    assert_eq!(out.stdout, "one dash\n");
}

/// containerd, podman, CRI-O and buildah pass these.
fn options_that_engines_pass_are_accepted(t: &Test) {
    t.skip_for("crun", "has --rootless without effect and lacks the others");
    let bundle = t.bundle().sh("echo fine");
    bundle.write();
    let root = t.root().to_string_lossy().into_owned();
    let dir = bundle.dir().to_string_lossy().into_owned();
    for rootless in ["--rootless=false", "--rootless=auto"] {
        let arguments = [
            "--root",
            &root,
            rootless,
            "run",
            "--no-new-keyring",
            "--no-subreaper",
            "--bundle",
            &dir,
            bundle.id(),
        ];
        assert_eq!(bare(t, &arguments).ok().stdout, "fine\n");
    }
}

/// containerd decodes the log as a sequence of objects; podman as exactly one.
fn json_log_has_one_object_per_error(t: &Test) {
    let out = t.bundle().args(["/nowhere"]).try_create().fails(&["no such file or directory"]);
    assert_eq!(out.log_text.lines().count(), out.log.len(), "{}", out.report());
    let errors: Vec<&Value> = out.log.iter().filter(|record| record["level"] == "error").collect();
    assert_eq!(errors.len(), 1, "{}", out.report());
    assert!(errors[0]["msg"].as_str().is_some_and(|text| !text.is_empty()), "{}", out.report());
    let time = errors[0]["time"].as_str().unwrap_or_default();
    assert!(time.len() >= 20 && time.contains('T'), "{}", out.report());
    assert!(out.log_text.ends_with('\n'), "{}", out.report());
    if t.is("teu") {
        assert_eq!(out.log.len(), 1, "a failure has one line in the log\n{}", out.report());
    }
}

/// People read this form.
fn text_log_names_level_and_message(t: &Test) {
    t.skip_for("crun", "has a form of its own");
    let out = t.bundle().args(["/nowhere"]).call("create", &[]).text_log().run().fails(&[]);
    assert!(out.log_text.contains("level=error"), "{}", out.report());
    assert!(out.log_text.contains("msg="), "{}", out.report());
    assert!(out.log_text.contains("no such file or directory"), "{}", out.report());
}

/// runc: without `--log` the error is on stderr, once.
fn log_goes_to_stderr_when_no_file_is_named(t: &Test) {
    let out = t.bundle().args(["/nowhere"]).call("create", &[]).without_log().run().fails(&[]);
    let times = out.stderr.matches("/nowhere").count();
    assert!((1..=2).contains(&times), "{}", out.report());
    if t.is("teu") {
        assert_eq!(out.stderr.lines().count(), 1, "{}", out.report());
    }
}

/// All calls for one container share a log.
fn log_is_appended_to(t: &Test) {
    let path = t.make_file(
        "shared.log",
        "{\"level\":\"info\",\"msg\":\"of somebody else\",\"time\":\"2025-01-01T00:00:00Z\"}\n",
    );
    let file = path.to_string_lossy().into_owned();
    for id in ["a", "b"] {
        let out = t.cmd(["--log", &file, "--log-format", "json", "state", id]).without_log().run();
        assert!(out.code.is_some_and(|code| code != 0), "{}", out.report());
    }
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.starts_with("{\"level\":\"info\""), "{text}");
}

/// podman takes any record for a failure's.
fn log_of_a_success_stays_empty(t: &Test) {
    let bundle = t.bundle();
    let c = bundle.create();
    c.start();
    c.wait_stopped();
    let out = c.call("delete", &[]).ok();
    assert_eq!(out.log_text, "");
    assert_eq!(t.bundle().run().ok().log_text, "");
}

/// Without a record in the log users of containerd see "unable to retrieve OCI runtime error".
fn usage_error_is_in_the_log_too(t: &Test) {
    t.only_teu("other runtimes say usage errors on stderr alone");
    for arguments in [&["create", "--no-such-option", "x"][..], &["start"], &["kill", "x", "TERM", "y"]] {
        let out = t.cmd(arguments).run();
        assert!(out.code.is_some_and(|code| code != 0), "{}", out.report());
        assert_eq!(out.errors().len(), 1, "{}", out.report());
    }
}

/// runc.
fn unknown_log_format_is_refused(t: &Test) {
    t.skip_older("crun", (1, 9), "takes it for text");
    let log = t.dir().join("log").to_string_lossy().into_owned();
    let out = bare(t, &["--log", &log, "--log-format", "xml", "list"]);
    assert!(out.code.is_some_and(|code| code != 0), "{}", out.report());
}

/// A log is read line by line, and by people with terminals.
fn message_with_control_characters_stays_one_line(t: &Test) {
    t.only_teu("other runtimes print names as they are");
    let bundle = t.bundle().mount("/x", "bind", "/no\u{1b}[31mwhere\n{\"level\":\"error\"}", &["bind"]);
    let out = bundle.try_create().fails(&["nothing at that path"]);
    assert!(!out.stderr.contains('\u{1b}') && !out.log_text.contains('\u{1b}'), "{}", out.report());
    assert_eq!((out.stderr.lines().count(), out.log_text.lines().count()), (1, 1), "{}", out.report());
}

/// The one line must do without its context.
fn error_names_the_command_and_the_container(t: &Test) {
    t.only_teu("the wording of other runtimes is their own");
    let bundle = t.bundle().args(["/nowhere"]);
    let out = bundle.try_create().fails(&[]);
    assert!(out.stderr.starts_with(&format!("teu: create {}: ", bundle.id())), "{}", out.report());
}

/// podman starts the runtime with hardly any environment.
fn empty_environment_is_enough(t: &Test) {
    let out = t.bundle().sh("echo $PATH").run_cmd().empty_env().run().ok();
    assert_eq!(out.stdout, "/usr/bin:/bin\n");
}

/// The default state root of real root does not depend on the environment.
fn default_root_is_below_run(t: &Test) {
    let bundle = t.bundle().args(["sleep", "100"]);
    bundle.write();
    let dir = bundle.dir().to_string_lossy().into_owned();
    let elsewhere = t.make_dir("xdg");
    bare(t, &["create", "--bundle", &dir, bundle.id()]).ok();
    let root = format!("/run/{}", t.runtime().name);
    assert!(fs::exists(format!("{root}/{}", bundle.id())).unwrap(), "nothing in {root}");
    if !t.is("crun") {
        t.cmd(["state", bundle.id()]).bare().env("XDG_RUNTIME_DIR", &elsewhere).run().ok();
    }
    bare(t, &["delete", "--force", bundle.id()]).ok();
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

/// podman passes the variable with an empty value.
fn empty_runtime_directory_is_no_runtime_directory(t: &Test) {
    let bundle = t.bundle();
    bundle.write();
    let dir = bundle.dir().to_string_lossy().into_owned();
    t.cmd(["run", "--bundle", &dir, bundle.id()]).bare().env("XDG_RUNTIME_DIR", "").run().ok();
}

/// runc: the usual first step of a person.
fn spec_writes_a_config_that_runs(t: &Test) {
    let bundle = t.bundle();
    t.cmd(["spec"]).in_dir(bundle.dir()).run().ok().silent();
    let text = fs::read_to_string(bundle.dir().join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    assert!(config["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), "{config}");
    assert_eq!(config["root"]["path"], "rootfs");
    let id = bundle.id().to_owned();
    let bundle = bundle
        .with_config(config)
        .set("/process/terminal", false)
        .set("/linux/cgroupsPath", format!("/{id}"))
        .with_cgroups_if_permitted()
        .sh("echo from spec; id -u; touch /x 2>/dev/null || echo read-only");
    assert_eq!(bundle.run().ok().stdout, "from spec\n0\nread-only\n");
}

/// runc.
fn spec_does_not_overwrite(t: &Test) {
    t.skip_older("crun", (1, 9), "says so in another way");
    let dir = t.make_dir("bundle");
    t.make_file("bundle/config.json", "mine");
    let out = t.cmd(["spec"]).in_dir(&dir).run();
    assert!(out.code.is_some_and(|code| code != 0), "{}", out.report());
    assert!(out.message().contains("exists"), "{}", out.report());
    assert_eq!(fs::read_to_string(dir.join("config.json")).unwrap(), "mine");
}

/// runc: `--bundle`.
fn spec_writes_into_the_bundle(t: &Test) {
    let dir = t.make_dir("bundle");
    t.cmd(["spec", "--bundle"]).arg(&dir).run().ok();
    assert!(dir.join("config.json").exists());
}

/// runc: `--rootless`.
fn spec_for_rootless_has_a_user_namespace(t: &Test) {
    let dir = t.make_dir("bundle");
    t.cmd(["spec", "--rootless", "--bundle"]).arg(&dir).run().ok();
    let config: Value = serde_json::from_str(&fs::read_to_string(dir.join("config.json")).unwrap()).unwrap();
    let namespaces = config["linux"]["namespaces"].as_array().unwrap();
    assert!(namespaces.iter().any(|namespace| namespace["type"] == "user"), "{namespaces:?}");
    assert_eq!(config["linux"]["uidMappings"][0]["size"], 1);
}

/// The first step of a person without privilege; with it the namespace maps root.
fn spec_for_rootless_writes_a_config_that_runs(t: &Test) {
    t.skip_older("crun", (1, 9), "writes no mappings");
    let bundle = t.bundle();
    t.cmd(["spec", "--rootless"]).in_dir(bundle.dir()).run().ok().silent();
    let text = fs::read_to_string(bundle.dir().join("config.json")).unwrap();
    let id = bundle.id().to_owned();
    let bundle = bundle
        .with_config(serde_json::from_str(&text).unwrap())
        .set("/process/terminal", false)
        .set("/linux/cgroupsPath", format!("/{id}"))
        .with_cgroups_if_permitted()
        .sh("id -u; cat /proc/self/uid_map");
    let out = bundle.run().ok();
    assert_eq!(out.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "0", "0", "1"], "{}", out.report());
}

/// runc.
fn spec_is_indented_with_tabs_and_has_the_mode_of_a_new_file(t: &Test) {
    use std::os::unix::fs::PermissionsExt;
    t.skip_for("crun", "indents with blanks");
    for options in [&[][..], &["--rootless"]] {
        let dir = t.make_dir(if options.is_empty() { "one" } else { "two" });
        let line = "umask 027; exec \"$@\"";
        t.cmd(["spec"].iter().chain(options)).in_dir(&dir).through(line).run().ok().silent();
        let path = dir.join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\n\t\""), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }
}

/// features.md.
fn features_is_a_complete_document(t: &Test) {
    t.skip_older("crun", (1, 9), "has no features");
    let features = bare(t, &["features"]).ok().json();
    for version in ["ociVersionMin", "ociVersionMax"] {
        assert!(features[version].as_str().is_some_and(|text| text.starts_with("1.")), "{version}");
    }
    let hooks = features["hooks"].as_array().unwrap();
    for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        assert!(hooks.iter().any(|h| h == hook), "{hook} is missing");
    }
    let namespaces = features["linux"]["namespaces"].as_array().unwrap();
    for namespace in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        assert!(namespaces.iter().any(|n| n == namespace), "{namespace} is missing");
    }
    assert!(features["linux"]["capabilities"].as_array().is_some_and(|all| all.len() >= 41));
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    assert_eq!(features["linux"]["cgroup"]["v1"], true);
    assert_eq!(features["linux"]["cgroup"]["v2"], true);
    if t.is("teu") {
        has_every_feature(&features);
    }
}

/// features.md, features-linux.md: every member, with all that teu can do.
fn has_every_feature(features: &Value) {
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let top = ["annotations", "hooks", "linux", "mountOptions", "ociVersionMax", "ociVersionMin"];
    let mut expected: Vec<&str> = top.into_iter().chain(["potentiallyUnsafeConfigAnnotations"]).collect();
    expected.sort_unstable();
    let mut found = members(features);
    found.sort_unstable();
    assert_eq!(found, expected);
    let linux = &features["linux"];
    let switches = json!({
        "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
        "apparmor": {"enabled": true},
        "selinux": {"enabled": true},
        "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
        "mountExtensions": {"idmap": {"enabled": true}},
        "netDevices": {"enabled": true},
        "memoryPolicy": {
            "modes": [
                "MPOL_DEFAULT", "MPOL_PREFERRED", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED_MANY",
                "MPOL_WEIGHTED_INTERLEAVE",
            ],
            "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
        },
    });
    for (section, value) in switches.as_object().unwrap() {
        assert_eq!(&linux[section], value, "{section}");
    }
    let all = |value: &Value| -> Vec<String> {
        let mut all: Vec<String> =
            value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect();
        all.sort_unstable();
        all
    };
    let namespaces = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];
    assert_eq!(all(&linux["namespaces"]), namespaces);
    let capabilities = all(&linux["capabilities"]);
    assert_eq!(capabilities.len(), 41, "{capabilities:?}");
    assert!(capabilities.iter().all(|name| name.starts_with("CAP_")), "{capabilities:?}");
    let seccomp = &linux["seccomp"];
    let actions = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "NOTIFY", "TRACE", "TRAP"];
    assert_eq!(all(&seccomp["actions"]), actions.map(|name| format!("SCMP_ACT_{name}")));
    let operators = ["EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE"];
    assert_eq!(all(&seccomp["operators"]), operators.map(|name| format!("SCMP_CMP_{name}")));
    let flags = ["LOG", "SPEC_ALLOW", "TSYNC", "WAIT_KILLABLE_RECV"];
    let flags = flags.map(|name| format!("SECCOMP_FILTER_FLAG_{name}"));
    assert_eq!(all(&seccomp["knownFlags"]), flags);
    assert!(all(&seccomp["supportedFlags"]).iter().all(|flag| flags.contains(flag)), "{seccomp}");
    let archs = all(&seccomp["archs"]);
    for arch in ["X86", "X86_64", "X32", "ARM", "AARCH64", "RISCV64", "S390X", "PPC64LE"] {
        assert!(archs.contains(&format!("SCMP_ARCH_{arch}")), "{arch} in {archs:?}");
    }
    let annotations = [
        "org.systemd.property.",
        "run.oci.hooks.stderr",
        "run.oci.hooks.stdout",
        "run.oci.keep_original_groups",
        "run.oci.mount_context_type",
    ];
    assert_eq!(all(&features["potentiallyUnsafeConfigAnnotations"]), annotations);
    for (name, value) in features["annotations"].as_object().unwrap() {
        let value = value.as_str().unwrap_or_else(|| panic!("{name} is no string"));
        assert!(!value.is_empty() && value.trim() == value, "{name}: {value:?}");
    }
    assert!(features["annotations"]["io.github.seccomp.libseccomp.version"].is_string());
    let mut options = all(&features["mountOptions"]);
    options.dedup();
    assert_eq!(Some(options.len()), features["mountOptions"].as_array().map(Vec::len), "one is there twice");
}

/// containerd, dockerd and CRI-O switch features on by these.
fn features_names_the_options_that_engines_look_for(t: &Test) {
    t.skip_older("crun", (1, 9), "has no features");
    t.skip_older("runc", (1, 4), "knows fewer options, and an older specification");
    let features = bare(t, &["features"]).ok().json();
    let options = features["mountOptions"].as_array().unwrap();
    for option in [
        "rro",
        "rbind",
        "bind",
        "ro",
        "nosuid",
        "noexec",
        "nodev",
        "rslave",
        "rnosuid",
        "idmap",
        "ridmap",
        "tmpcopyup",
    ] {
        assert!(options.iter().any(|o| o == option), "{option} is missing");
    }
    assert!(
        options.iter().all(Value::is_string) && options.is_sorted_by_key(|o| o.as_str().unwrap_or_default())
    );
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    assert!(features["linux"]["namespaces"].as_array().is_some_and(|all| all.iter().any(|n| n == "time")));
    assert_eq!(features["ociVersionMax"], "1.3.0");
}

/// dockerd calls it so.
fn features_needs_neither_root_directory_nor_options(t: &Test) {
    t.skip_older("crun", (1, 9), "has no features");
    let out = t.cmd(["features"]).bare().empty_env().run().ok();
    assert!(out.stderr.is_empty() && out.json().is_object(), "{}", out.report());
}

/// Whoever reads the line wants to know which field is meant, and what to do.
fn long_text_of_a_config_leaves_the_pointer_in_the_message(t: &Test) {
    t.only_teu("the words are teu's");
    let bundle = t.bundle().set("/linux/rootfsPropagation", "x\n".repeat(50_000));
    let out = bundle.try_create().fails(&["is no propagation: shared, slave", "(/linux/rootfsPropagation)"]);
    assert!(out.stderr.len() < 6000, "{} bytes", out.stderr.len());
}
