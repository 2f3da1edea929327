//! Documents as such: what is JSON, what is refused before anything has a type, and where an error points.

mod traps;

use serde_json::{Value, json};

use super::properties::FIELDS;
use super::*;

/// The least that can be planned.
pub(super) fn base() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": { "path": "rootfs" },
        "process": { "cwd": "/", "args": ["sh"] },
        "linux": { "namespaces": [{ "type": "mount" }] },
    })
}

/// The least with one more value at `pointer`; objects on the way are made.
pub(super) fn with(pointer: &str, value: Value) -> Value {
    let mut document = base();
    let mut place = &mut document;
    for key in pointer.split('/').skip(1) {
        place = match key.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[key],
        };
    }
    *place = value;
    document
}

/// What the loader makes of a document.
pub(super) fn loaded(document: &Value) -> Result<Config> {
    load(document.to_string().as_bytes())
}

/// The error of a document that is refused, as `pointer: text`.
pub(super) fn refusal(document: &Value) -> String {
    refusal_of(document.to_string().as_bytes())
}

fn refusal_of(bytes: &[u8]) -> String {
    let error = load(bytes).expect_err("the document is accepted");
    format!("{}: {}", error.pointer().expect("a pointer"), error.doing())
}

/// The least with some text in front of its first member.
fn spliced(text: &str) -> String {
    base().to_string().replacen('{', &format!("{{{text},"), 1)
}

#[test]
fn the_least_is_accepted_without_a_word() {
    let config = loaded(&base()).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.spec.version(), "1.3.0");
    assert!(config.seccomp.is_none());
    assert_eq!(config.process, process::Extras::default());
}

/// config.md#extensibility: unknown properties are ignored.
#[test]
fn unknown_properties_are_ignored() {
    for pointer in ["/x", "/linux/fooBar", "/process/user/shell", "/root/x", "/hooks/onTuesday"] {
        for value in [json!(1), json!([[1]]), json!({ "a": {} })] {
            let config = loaded(&with(pointer, value)).unwrap();
            assert_eq!(config.warnings, [], "{pointer}");
        }
    }
}

/// Go's decoder leaves a member alone that is null, so engines write it where they have nothing to say.
#[test]
fn null_is_absent() {
    let properties = [
        "/root/readonly",
        "/hostname",
        "/domainname",
        "/mounts",
        "/hooks",
        "/hooks/prestart",
        "/annotations",
        "/linux",
        "/process/terminal",
        "/process/user",
        "/process/user/uid",
        "/process/user/umask",
        "/process/user/additionalGids",
        "/process/env",
        "/process/capabilities",
        "/process/capabilities/bounding",
        "/process/rlimits",
        "/process/scheduler",
        "/process/ioPriority",
        "/process/execCPUAffinity",
        "/process/oomScoreAdj",
        "/process/noNewPrivileges",
        "/process/consoleSize",
        "/process/apparmorProfile",
        "/linux/resources",
        "/linux/resources/memory",
        "/linux/resources/memory/limit",
        "/linux/resources/devices",
        "/linux/resources/pids",
        "/linux/resources/pids/limit",
        "/linux/resources/cpu/shares",
        "/linux/devices",
        "/linux/uidMappings",
        "/linux/seccomp",
        "/linux/sysctl",
        "/linux/maskedPaths",
        "/linux/timeOffsets",
        "/linux/personality",
        "/linux/memoryPolicy",
        "/linux/intelRdt",
        "/linux/cgroupsPath",
    ];
    for pointer in properties {
        let config = loaded(&with(pointer, Value::Null)).unwrap_or_else(|error| panic!("{pointer}: {error}"));
        assert_eq!(config.warnings, [], "{pointer}");
    }
    for (pointer, missing) in [
        ("/ociVersion", "/ociVersion: the version of the specification is missing"),
        ("/root/path", "/root/path: the path of the root file system is missing"),
        ("/process/cwd", "/process/cwd: Cwd property must not be empty"),
    ] {
        assert_eq!(refusal(&with(pointer, Value::Null)), missing);
    }
}

/// An element of a list has no name that could be left out.
#[test]
fn null_in_a_list_is_refused() {
    assert_eq!(
        refusal(&with("/process/args", json!(["sh", null]))),
        "/process/args/1: invalid type: null, expected a string"
    );
    let mounts = refusal(&with("/mounts", json!([null])));
    assert_eq!(mounts, "/mounts/0: invalid type: null, expected an object");
}

/// One reader takes the first of two equal keys, another the last: what a document says must not depend on that.
#[test]
fn duplicate_keys_are_refused_wherever_they_are() {
    // The crate alone takes the last one in every map, and through a `Value` in every object.
    let twice = spliced(r#""annotations":{"a":"1","a":"2"}"#);
    let alone: oci_spec::runtime::Spec = serde_json::from_str(&twice).unwrap_or_default();
    assert!(alone.annotations().as_ref().is_none_or(|all| all.get("a").is_none_or(|last| last == "2")));
    let last: Value = serde_json::from_str(r#"{"cwd":"/a","cwd":"/b"}"#).unwrap();
    assert_eq!(last, json!({ "cwd": "/b" }));

    for (text, pointer, key) in [
        (r#""ociVersion":"1.2.0""#, "/", "ociVersion"),
        (r#""hostname":"a","hostname":"a""#, "/", "hostname"),
        (r#""annotations":{"a":"1","a":"2"}"#, "/annotations", "a"),
        (r#""unknown":[{"a":1,"a":2}]"#, "/unknown/0", "a"),
        (r#""hooks":null,"hooks":{}"#, "/", "hooks"),
        (r#""hooks":{},"hooks":null"#, "/", "hooks"),
        (r#""hooks":null,"hooks":null"#, "/", "hooks"),
    ] {
        let refusal = refusal_of(spliced(text).as_bytes());
        assert!(refusal.contains(&format!("duplicate key \"{key}\"")), "{text}: {refusal}");
        let at = refusal.split(": ").next().unwrap();
        let at = if at.is_empty() { "/" } else { at };
        assert!(at.starts_with(pointer), "{text}: {refusal}");
    }
    // Escapes are another spelling of the same key.
    assert!(refusal_of(spliced(r#""x":1,"\u0078":2"#).as_bytes()).contains("duplicate key \"x\""));
}

#[test]
fn the_top_must_be_one_object_and_nothing_follows() {
    for text in
        ["", " ", "{", "[]", "[{}]", "null", "7", "\"text\"", "true", "{'a':1}", "\u{feff}{}", "// {}"]
    {
        let refusal = refusal_of(text.as_bytes());
        assert!(refusal.contains(": config.json is not valid: "), "{text:?}: {refusal}");
    }
    let whole = base().to_string();
    for rest in ["{}", "x", ",", "]", "\0", "null"] {
        let refusal = refusal_of(format!("{whole}{rest}").as_bytes());
        assert!(
            refusal.starts_with(": config.json is not valid: trailing characters"),
            "{rest:?}: {refusal}"
        );
    }
    load(format!("\n\t {whole} \r\n").as_bytes()).unwrap();
}

/// Wherever a document ends too early, the error is about that and nothing panics.
#[test]
fn a_truncated_document_is_refused_at_every_length() {
    let whole = with("/mounts", json!([{ "destination": "/a", "options": ["é", "\n"] }])).to_string();
    for length in 0..whole.len() {
        let refusal = refusal_of(&whole.as_bytes()[..length]);
        assert!(refusal.contains("config.json is not valid: "), "{length}: {refusal}");
    }
}

#[test]
fn what_is_no_utf_8_is_refused() {
    for bytes in
        [&b"\xff"[..], b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\\ud800", b"\\x41", b"\n"]
    {
        let mut text = b"{\"hostname\":\"".to_vec();
        text.extend_from_slice(bytes);
        text.extend_from_slice(b"\"}");
        let refusal = refusal_of(&text);
        assert!(refusal.starts_with("/hostname: config.json is not valid: "), "{bytes:?}: {refusal}");
    }
}

/// A NUL byte is legal JSON; which strings may hold one is for the plan to say.
#[test]
fn a_nul_byte_survives_reading() {
    let config = loaded(&with("/hostname", json!("a\0b"))).unwrap();
    assert_eq!(config.spec.hostname().as_deref(), Some("a\0b"));
}

#[test]
fn deep_documents_are_refused_and_not_run_out_of_stack() {
    let nested = |depth: usize| spliced(&format!("\"x\":{}{}", "[".repeat(depth), "]".repeat(depth)));
    load(nested(100).as_bytes()).unwrap();
    for depth in [128, 5_000, 200_000] {
        let refusal = refusal_of(nested(depth).as_bytes());
        assert!(refusal.starts_with("/x"), "{depth}: {:.60}", refusal);
        assert!(refusal.contains("recursion limit exceeded"), "{depth}");
    }
    let objects = spliced(&format!("\"x\":{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000)));
    assert!(refusal_of(objects.as_bytes()).contains("recursion limit exceeded"));
}

#[test]
fn lists_and_objects_have_a_largest_size() {
    let list = |count: usize| spliced(&format!("\"x\":[{}]", vec!["1"; count].join(",")));
    load(list(65_536).as_bytes()).unwrap();
    assert!(refusal_of(list(65_537).as_bytes()).contains("a list has more than 65536 elements"));
    let object = |count: usize, value: &str| {
        let members: Vec<String> = (0..count).map(|n| format!("\"{n}\":{value}")).collect();
        spliced(&format!("\"x\":{{{}}}", members.join(",")))
    };
    load(object(65_536, "1").as_bytes()).unwrap();
    for value in ["1", "null"] {
        let refusal = refusal_of(object(65_537, value).as_bytes());
        assert!(refusal.contains("an object has more than 65536 members"), "{value}");
    }
}

/// The schema's integers: a number that does not fit is refused and never cut.
#[test]
fn numbers_must_fit() {
    for (value, problem) in [
        (json!(-1), "invalid value: integer `-1`, expected u32"),
        (json!(4_294_967_296_u64), "invalid value: integer `4294967296`, expected u32"),
        (json!(1.0), "invalid type: floating point `1.0`, expected u32"),
        (json!("1"), "invalid type: string \"1\", expected u32"),
        (json!(true), "invalid type: boolean `true`, expected u32"),
        (json!([1]), "invalid type: sequence, expected u32"),
    ] {
        assert_eq!(refusal(&with("/process/user/uid", value)), format!("/process/user/uid: {problem}"));
    }
    let limit =
        |text: &str| spliced(&format!("\"linux\":{{\"resources\":{{\"memory\":{{\"limit\":{text}}}}}}}"));
    let limit = |text: &str| limit(text).replace(",\"linux\":{\"namespaces\":[{\"type\":\"mount\"}]}", "");
    for text in ["9223372036854775808", "-9223372036854775809", "1e3", "0.5", "-0.0", "18446744073709551616"]
    {
        let refusal = refusal_of(limit(text).as_bytes());
        assert!(refusal.starts_with("/linux/resources/memory/limit: invalid "), "{text}: {refusal}");
    }
    for text in ["01", "+1", "1.", ".5", "0x10", "NaN", "Infinity", "1e999", "--1"] {
        let refusal = refusal_of(limit(text).as_bytes());
        assert!(refusal.contains("config.json is not valid: "), "{text}: {refusal}");
    }
    let config = load(limit("9223372036854775807").as_bytes()).unwrap();
    let memory = config.spec.linux().as_ref().unwrap().resources().as_ref().unwrap().memory().unwrap();
    assert_eq!(memory.limit(), Some(i64::MAX));
}

/// RFC 6901.
#[test]
fn errors_point_at_the_value() {
    for (pointer, value, at) in [
        ("/annotations", json!({ "a/b~c": 1 }), "/annotations/a~1b~0c"),
        ("/annotations", json!({ "": 1 }), "/annotations/"),
        ("/linux/namespaces", json!([{ "type": "pid" }, { "type": "foo" }]), "/linux/namespaces/1/type"),
        ("/mounts", json!([{ "destination": "/a", "options": ["ro", 1] }]), "/mounts/0/options/1"),
        ("/mounts", json!([{ "type": "tmpfs" }]), "/mounts/0"),
        ("/hooks", json!({ "poststop": [{ "path": "/a", "timeout": "1" }] }), "/hooks/poststop/0/timeout"),
        ("/process/capabilities", json!({ "bounding": [1] }), "/process/capabilities/bounding/0"),
        ("/process/scheduler", json!({ "policy": 1 }), "/process/scheduler/policy"),
        ("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_FOO" }), "/linux/seccomp/defaultAction"),
        ("/linux", json!([]), "/linux"),
    ] {
        let refusal = refusal(&with(pointer, value));
        assert_eq!(refusal.split(": ").next(), Some(at), "{refusal}");
    }
}

#[test]
fn a_key_that_differs_in_case_only_is_told() {
    let warned = |document: &Value| -> Vec<(String, String)> {
        loaded(document).unwrap().warnings.into_iter().map(|warning| (warning.at, warning.text)).collect()
    };
    let told = |at: &str, key: &str, meant: &str| {
        (at.to_owned(), format!("\"{key}\" is ignored; the property is spelled \"{meant}\""))
    };
    for (pointer, value, expected) in [
        ("/linux/readonlypaths", json!([]), told("/linux/readonlypaths", "readonlypaths", "readonlyPaths")),
        ("/Process", json!({}), told("/Process", "Process", "process")),
        (
            "/process/nonewprivileges",
            json!(true),
            told("/process/nonewprivileges", "nonewprivileges", "noNewPrivileges"),
        ),
        ("/root/ReadOnly", json!(true), told("/root/ReadOnly", "ReadOnly", "readonly")),
        (
            "/mounts",
            json!([{ "destination": "/a", "Options": [] }]),
            told("/mounts/0/Options", "Options", "options"),
        ),
        ("/linux/resources/PIDs", json!({}), told("/linux/resources/PIDs", "PIDs", "pids")),
        (
            "/linux/resources/rdma",
            json!({ "Path": { "HCAHandles": 1 } }),
            told("/linux/resources/rdma/Path/HCAHandles", "HCAHandles", "hcaHandles"),
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "Syscalls": [] }),
            told("/linux/seccomp/Syscalls", "Syscalls", "syscalls"),
        ),
    ] {
        assert_eq!(warned(&with(pointer, value)), [expected]);
    }
    // Where keys are data they may be anything.
    for pointer in ["/annotations", "/linux/sysctl", "/linux/resources/unified"] {
        assert_eq!(warned(&with(pointer, json!({ "Process": "x", "LINUX": "y" }))), []);
    }
}

#[test]
fn every_property_is_known_to_the_search_for_misspelled_ones() {
    let mut tried = 0;
    for (object, property) in FIELDS.iter().filter_map(|field| field.rsplit_once('/')) {
        if property == "*" {
            continue;
        }
        let mut report = Report::of_first_error();
        let shouted = property.to_ascii_uppercase();
        properties::tell_unknown(&json!({ shouted: 1, property: 1 }), object, &mut report);
        let warnings = report.into_warnings();
        assert_eq!(warnings.len(), 1, "{object}/{property}");
        assert!(warnings[0].text.ends_with(&format!("spelled \"{property}\"")), "{}", warnings[0].text);
        tried += 1;
    }
    assert!(tried > 200, "only {tried}");
}

/// The file of `exec --process` is a process object alone, with pointers into that file.
#[test]
fn a_process_alone_has_the_same_rules() {
    let load = |value: Value| load_process(value.to_string().as_bytes());
    let (process, extras, warnings) =
        load(json!({ "cwd": "/", "args": ["a"], "capabilities": { "bounding": ["CAP_FOO"] }, "CWD": "/b" }))
            .unwrap();
    assert_eq!((process.user().uid(), process.user().gid()), (0, 0));
    assert_eq!(extras.capabilities.unwrap().bounding, ["CAP_FOO"]);
    assert_eq!(warnings, [Warning::new("/CWD", "\"CWD\" is ignored; the property is spelled \"cwd\"")]);
    for (value, at) in [
        (json!({}), "/cwd"),
        (json!({ "cwd": 1 }), "/cwd"),
        (json!({ "cwd": "/", "ioPriority": { "priority": 1 } }), "/ioPriority/class"),
        (json!({ "cwd": "/", "rlimits": [{ "type": "RLIMIT_CPU", "hard": 1 }] }), "/rlimits/0/soft"),
        (json!({ "cwd": "/", "capabilities": { "ambient": [1] } }), "/capabilities/ambient/0"),
    ] {
        assert_eq!(load(value).unwrap_err().pointer(), Some(at));
    }
    for text in ["[]", "{} {}", "{\"cwd\":\"/\",\"cwd\":\"/\"}"] {
        assert!(load_process(text.as_bytes()).is_err(), "{text}");
    }
}
