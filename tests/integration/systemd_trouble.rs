//! The systemd cgroup driver when the bus or systemd is not there, hangs, refuses, lies or goes away.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Bundle, Fault, Systemd, Test, cgroup, leaks, patience};
use crate::systemd::{bundle, call, clear, delete, unit};

cases![
    missing_bus_is_an_error,
    address_without_a_path_is_an_error,
    peer_that_is_silent_is_an_error_in_time,
    answer_that_does_not_come_is_an_error_in_time,
    job_that_does_not_end_is_an_error_in_time,
    word_of_a_stranger_does_not_count,
    peer_that_misbehaves_is_an_error,
    refusal_names_the_property,
    bus_that_goes_away_during_delete_is_asked_again,
    create_killed_while_it_waits_can_be_deleted,
];

/// The usual case of a container of containers.
fn missing_bus_is_an_error(t: &Test) {
    let bundle = bundle(t);
    bundle.write();
    let create = || t.cmd(["--systemd-cgroup", "create", "--bundle"]).arg(bundle.dir()).arg(bundle.id());
    create().run().fails(&["systemd", "/run/dbus/system_bus_socket", "is systemd running?"]);
    create()
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus")
        .run()
        .fails(&["systemd", "/nowhere/bus"]);
    assert_nothing_is_left(t, &bundle);
}

/// An abstract name belongs to whoever comes first.
fn address_without_a_path_is_an_error(t: &Test) {
    let bundle = bundle(t);
    bundle.write();
    for address in ["unix:abstract=/x", "tcp:host=localhost,port=1", "nonsense"] {
        let cmd = t.cmd(["--systemd-cgroup", "create", "--bundle"]).arg(bundle.dir()).arg(bundle.id());
        cmd.env("DBUS_SYSTEM_BUS_ADDRESS", address).run().fails(&[
            "DBUS_SYSTEM_BUS_ADDRESS",
            address,
            "; hint: such as unix:path=/run/user/1000/bus",
        ]);
    }
}

fn assert_nothing_is_left(t: &Test, bundle: &Bundle) {
    assert!(!t.root().join(bundle.id()).exists(), "the state is left");
    assert!(cgroup::find(&unit(bundle)).is_empty(), "left: {:?}", cgroup::find(&unit(bundle)));
    let processes = leaks::find_processes(bundle.id());
    assert!(processes.is_empty(), "left: {processes:?}");
    clear(t);
}

/// Creates with a peer that misbehaves: an error with these words, in time, and nothing is left.
fn fails_with(t: &Test, fault: Fault, words: &[&str], seconds: std::ops::Range<u64>) {
    let systemd = Systemd::start(t);
    systemd.fault(fault);
    let bundle = bundle(t);
    let started = Instant::now();
    let out = call(t, &systemd, &["create"], &bundle).spawn().wait_within(patience(Duration::from_secs(60)));
    let elapsed = started.elapsed();
    out.fails(words);
    let in_time = elapsed.as_secs() >= seconds.start && elapsed < patience(Duration::from_secs(seconds.end));
    assert!(in_time, "{fault:?}: {elapsed:?}");
    assert!(systemd.units().is_empty(), "{fault:?} leaves {:?}", systemd.units());
    assert_nothing_is_left(t, &bundle);
}

/// As a bus that was stopped with SIGSTOP.
fn peer_that_is_silent_is_an_error_in_time(t: &Test) {
    fails_with(
        t,
        Fault::Silent,
        &["ETIMEDOUT", "the bus or systemd hangs; `busctl status` shows whether it answers others"],
        9..20,
    );
}

/// As a systemd that was stopped, on a bus that works.
fn answer_that_does_not_come_is_an_error_in_time(t: &Test) {
    fails_with(t, Fault::NoAnswer("StartTransientUnit"), &["ETIMEDOUT", "the bus or systemd hangs"], 9..20);
}

/// As behind a job that hangs.
fn job_that_does_not_end_is_an_error_in_time(t: &Test) {
    fails_with(
        t,
        Fault::NoEnd,
        &["did not finish the job", "30 seconds; hint: systemctl list-jobs shows what it waits for"],
        29..45,
    );
}

/// Anybody can send signals.
fn word_of_a_stranger_does_not_count(t: &Test) {
    fails_with(t, Fault::Forged, &["did not finish the job"], 29..45);
}

/// Each at the place where it does the most harm.
fn peer_that_misbehaves_is_an_error(t: &Test) {
    let at_once = 0..8;
    let refuse =
        |method| Fault::Refuses(method, "org.freedesktop.DBus.Error.AccessDenied", "no, you may not");
    for (fault, words) in [
        (Fault::Rejects, ["refuses the caller", "REJECTED"]),
        (Fault::Garbage, ["sent what is no message", "bus-"]),
        (Fault::Huge, ["sent what is no message", "bus-"]),
        (Fault::HangsUp("Hello"), ["closed the connection", "bus-"]),
        (Fault::HangsUp("Subscribe"), ["closed the connection", "bus-"]),
        (Fault::HangsUp("StartTransientUnit"), ["closed the connection", "bus-"]),
        (refuse("Hello"), ["AccessDenied", "no, you may not"]),
        (refuse("AddMatch"), ["AccessDenied", "no, you may not"]),
        (refuse("GetNameOwner"), ["systemd is not on the bus", "no, you may not"]),
        (refuse("Subscribe"), ["AccessDenied", "no, you may not"]),
        (refuse("StartTransientUnit"), ["refuses to start the unit", "no, you may not"]),
        (Fault::Job("failed"), ["could not start the unit", "tells why it failed"]),
        (Fault::Job("canceled"), ["could not start the unit", "canceled"]),
        (Fault::Foreign, ["belongs to user 1000", "not trusted"]),
        (
            Fault::OtherPid,
            [
                "another pid namespace",
                "; hint: it cannot be told which process to put into a unit; run teu where systemd runs",
            ],
        ),
        (Fault::DoesNotMove, ["did not put the process into the unit", "/linux/cgroupsPath"]),
    ] {
        fails_with(t, fault, &words, at_once.clone());
    }
}

/// So that one finds the line of config.json.
fn refusal_names_the_property(t: &Test) {
    let systemd = Systemd::start(t);
    let error = "org.freedesktop.DBus.Error.PropertyReadOnly";
    let text = "Cannot set property Nonsense, or unknown property.";
    systemd.fault(Fault::Refuses("StartTransientUnit", error, text));
    let bundle = bundle(t).set("/annotations", json!({ "org.systemd.property.Nonsense": "true" }));
    call(t, &systemd, &["create"], &bundle)
        .run()
        .fails(&[text.trim_end_matches('.'), "/annotations/org.systemd.property.Nonsense"]);
    // Engines take these words for a missing program.
    systemd.fault(Fault::Refuses("StartTransientUnit", error, "Odd: No such file or directory"));
    let out = call(t, &systemd, &["create"], &bundle).run().fails(&["Odd: "]);
    assert!(!out.message().to_lowercase().contains("no such file"), "{}", out.report());
    clear(t);
}

/// A unit whose cgroup goes before systemd has heard of its end stays for ever, and keeps its name.
fn bus_that_goes_away_during_delete_is_asked_again(t: &Test) {
    let systemd = Systemd::start(t);
    for method in ["StopUnit", "Subscribe", "Hello"] {
        let bundle = bundle(t);
        call(t, &systemd, &["create"], &bundle).run().ok();
        systemd.fault(Fault::HangsUpOnce(method));
        delete(t, &systemd, bundle.id()).ok().silent();
        assert!(systemd.units().is_empty(), "{method}: {:?} is left", systemd.units());
        assert_nothing_is_left(t, &bundle);
    }
    // One that does so again and again is left the cgroup, to see that the scope has ended.
    let bundle = bundle(t);
    call(t, &systemd, &["create"], &bundle).run().ok();
    systemd.fault(Fault::HangsUp("StopUnit"));
    let out = delete(t, &systemd, bundle.id()).ok();
    assert!(out.log_text.contains("closed the connection"), "{}", out.report());
    assert!(!cgroup::find(&unit(&bundle)).is_empty(), "the cgroup is gone");
    clear(t);
}

/// SECURITY.md: a crash leaves something that can be cleaned up.
fn create_killed_while_it_waits_can_be_deleted(t: &Test) {
    let systemd = Systemd::start(t);
    for fault in [Fault::NoAnswer("StartTransientUnit"), Fault::NoAnswer("Hello")] {
        systemd.fault(fault);
        let bundle = bundle(t);
        let method = if fault == Fault::NoAnswer("Hello") { "Hello" } else { "StartTransientUnit" };
        let before = systemd.count(method);
        let running = call(t, &systemd, &["create"], &bundle).spawn();
        t.until("the call to arrive", || systemd.count(method) > before);
        running.signal(Signal::SIGKILL);
        assert_eq!(running.wait().signal, Some(Signal::SIGKILL as i32));
        systemd.fault(Fault::None);
        delete(t, &systemd, bundle.id()).ok().silent();
        assert_nothing_is_left(t, &bundle);
    }
}
