//! `checkpoint` and `restore`, which are understood and refused, and how missing values are told.

use crate::harness::Test;

cases![
    checkpoint_help_does_not_succeed,
    checkpoint_is_refused_and_changes_nothing,
    restore_is_refused_with_what_engines_pass,
    missing_value_is_told_in_the_words_that_podman_searches,
    unknown_option_of_an_unsupported_verb_is_refused,
    features_do_not_promise_checkpoints,
];

const REASON: &str = "other runtimes have CRIU, or the words of another parser";

/// podman takes success for "can checkpoint".
fn checkpoint_help_does_not_succeed(t: &Test) {
    t.only_teu(REASON);
    for verb in ["checkpoint", "restore"] {
        for arguments in [&[verb, "--help"][..], &[verb, "-h"], &[verb, "--help", "c1"], &[verb]] {
            let out = t.cmd(arguments).run().fails(&[&format!("{verb} is not supported")]);
            assert_eq!((out.code, out.stdout.as_str()), (Some(1), ""), "{}", out.report());
        }
    }
    let help = t.cmd(["--help"]).run().ok();
    assert!(!help.stdout.contains("checkpoint"), "{}", help.report());
}

/// containerd, podman and CRI-O show the reason to the user.
fn checkpoint_is_refused_and_changes_nothing(t: &Test) {
    t.only_teu(REASON);
    let c = t.bundle().args(["sleep", "100"]).run_detached();
    let image = t.dir().join("image");
    let image = image.to_string_lossy();
    for options in [
        &["--image-path", &image, "--work-path", &image, "--leave-running", "--tcp-established"][..],
        &["--file-locks", "--image-path", &image, "--work-path", &image, "--pre-dump", "--tcp-close"],
        &["--image-path", &image, "--parent-path", "../p", "--empty-ns", "network", "--status-fd", "3"],
        &["--ext-unix-sk", "--shell-job", "--link-remap", "--lazy-pages", "--page-server", "host:1"],
        &["--manage-cgroups-mode", "soft", "--auto-dedup", "--tcp-skip-in-flight", "--leave-running"],
    ] {
        let out = c.call("checkpoint", options).fails(&["checkpoint is not supported"]);
        assert_eq!(out.code, Some(1));
    }
    assert_eq!(c.status(), "running");
    assert!(!t.dir().join("image").exists());
}

/// containerd and conmon; a parse error would be told instead.
fn restore_is_refused_with_what_engines_pass(t: &Test) {
    t.only_teu(REASON);
    let bundle = t.bundle();
    bundle.write();
    let dir = bundle.dir().to_string_lossy().into_owned();
    for options in [
        &["--image-path", &dir, "--work-path", &dir, "--detach", "--pid-file", "p", "-no-subreaper"][..],
        &[
            "--detach",
            "--image-path",
            &dir,
            "--lsm-mount-context=c",
            "--lsm-profile=selinux:l",
            "--tcp-close",
        ],
        &["--bundle", &dir, "--console-socket", "s", "--no-pivot", "--file-locks", "--empty-ns", "network"],
    ] {
        let mut cmd = t.cmd(["restore"]);
        for option in options {
            cmd = cmd.arg(option);
        }
        let out = cmd.arg(bundle.id()).run().fails(&["restore is not supported"]);
        assert_eq!(out.code, Some(1));
    }
    t.cmd(["state", bundle.id()]).run().fails(&["does not exist"]);
}

/// podman: `restore --lsm-mount-context` asks whether there is such an option.
fn missing_value_is_told_in_the_words_that_podman_searches(t: &Test) {
    t.only_teu(REASON);
    for arguments in [
        &["restore", "--lsm-mount-context"][..],
        &["checkpoint", "--image-path"],
        &["update", "--memory"],
        &["update", "--resources"],
        &["update", "-r"],
        &["ps", "--format"],
        &["events", "--interval"],
        &["create", "--bundle"],
    ] {
        t.cmd(arguments).run().fails(&["flag needs an argument"]);
    }
}

/// A typing error is one here too.
fn unknown_option_of_an_unsupported_verb_is_refused(t: &Test) {
    t.only_teu(REASON);
    for verb in ["checkpoint", "restore"] {
        t.cmd([verb, "--no-such-option", "c1"]).run().fails(&["--no-such-option"]);
    }
}

/// Engines show it.
fn features_do_not_promise_checkpoints(t: &Test) {
    t.only_teu(REASON);
    let features = t.cmd(["features"]).run().ok().json();
    assert_eq!(features["annotations"]["io.github.teu.checkpoint.enabled"], "false");
}
