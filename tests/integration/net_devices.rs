//! Network devices that move into the container. Each test has a network namespace of its own, from which the
//! runtime is called.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Bundle, Out, Test};

cases![
    device_moves_with_its_addresses,
    device_gets_the_name_of_the_config,
    template_gets_the_first_free_number,
    device_moves_into_a_joined_namespace,
    device_moves_into_a_user_namespace,
    devices_come_back_when_create_fails,
    device_that_came_halfway_comes_back,
    taken_name_is_refused,
    device_that_is_missing_is_refused,
    device_that_cannot_move_is_refused,
    own_network_namespace_is_refused,
    device_without_a_network_namespace_is_refused,
    moved_device_is_left_alone_by_delete,
    parameter_of_a_device_with_a_dot_in_its_name_is_set,
];

/// A network namespace in which the tests make devices; it lasts as long as its process.
struct Place {
    holder: Child,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl Place {
    /// A namespace with a pair of devices, `v0` and `peer`.
    fn new(t: &Test) -> Place {
        t.skip_older("runc", (1, 4), "does not know netDevices");
        t.skip_older("crun", (1, 24), "does not know netDevices");
        if Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_err() {
            t.skip("iproute2 is missing");
        }
        let holder =
            Command::new("unshare").args(["--net", "sleep", "1000"]).spawn().expect("unshare is there");
        let place = Place { holder };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        t.until("the network namespace", || std::fs::read_link(place.path()).is_ok_and(|link| link != own));
        place.ip("link set lo up");
        place.ip("link add v0 type veth peer name peer");
        place
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// Runs ip(8) there and returns what it prints.
    fn try_ip(&self, arguments: &str) -> Result<String, String> {
        let out = Command::new("nsenter")
            .arg(format!("--net={}", self.path()))
            .arg("ip")
            .args(arguments.split_whitespace())
            .output()
            .expect("nsenter is there");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if out.status.success() { Ok(text(out.stdout)) } else { Err(text(out.stderr)) }
    }

    #[track_caller]
    fn ip(&self, arguments: &str) -> String {
        self.try_ip(arguments).unwrap_or_else(|error| panic!("ip {arguments}: {error}"))
    }

    /// Calls the runtime from there.
    fn call(&self, bundle: &Bundle, verb: &str, options: &[&str]) -> Out {
        let line = format!("exec nsenter --net={} -- \"$@\"", self.path());
        bundle.call(verb, options).through(&line).run()
    }

    /// Gives v0 everything that is to be kept, and what is not.
    fn furnish(&self) {
        self.ip("link set v0 mtu 1400 address 02:00:00:00:00:17 up");
        self.ip("address add 10.9.8.7/24 broadcast 10.9.8.255 dev v0");
        self.ip("address add 10.9.8.8/24 dev v0 noprefixroute");
        self.ip("address add 10.7.0.1 peer 10.7.0.2/32 dev v0");
        self.ip("address add fd00:9::1/64 dev v0 nodad");
        self.ip("address add 169.254.7.7/16 scope link dev v0");
        self.ip("address add 10.6.0.1/24 dev v0 valid_lft 500 preferred_lft 500");
    }

    /// The device as ip(8) describes it, less its number and its state.
    fn device(&self, name: &str) -> Value {
        let text = self.ip(&format!("-json -details address show dev {name}"));
        let list: Value = serde_json::from_str(&text).expect("ip prints JSON");
        list[0].clone()
    }
}

/// The permanent addresses of a device in ip(8)'s JSON, sorted.
fn addresses(device: &Value) -> Vec<String> {
    let list = device["addr_info"].as_array().cloned().unwrap_or_default();
    let is_kept = |a: &&Value| a["valid_life_time"] == 4_294_967_295_u32 && a["scope"] != "link";
    let mut all: Vec<String> = list.iter().filter(is_kept).map(address).collect();
    all.sort();
    all
}

fn address(info: &Value) -> String {
    let peer = info["address"].as_str().map_or(String::new(), |peer| format!(" peer {peer}"));
    let broadcast = info["broadcast"].as_str().map_or(String::new(), |b| format!(" broadcast {b}"));
    let route = if info["noprefixroute"] == true { " noprefixroute" } else { "" };
    format!("{}{peer}/{}{broadcast}{route}", info["local"].as_str().unwrap_or("?"), info["prefixlen"])
}

/// What [`Place::furnish`] gives a device to keep.
const KEPT: [&str; 4] = [
    "10.7.0.1 peer 10.7.0.2/32",
    "10.9.8.7/24 broadcast 10.9.8.255",
    "10.9.8.8/24 noprefixroute",
    "fd00:9::1/64",
];

fn is_up(device: &Value) -> bool {
    device["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP"))
}

/// A running container seen from its network namespace.
fn inside(container: &crate::harness::Container, command: &str) -> Value {
    let out = Command::new("nsenter")
        .arg(format!("--net=/proc/{}/ns/net", container.pid()))
        .args(["ip", "-json", "-details"])
        .args(command.split_whitespace())
        .output()
        .expect("nsenter is there");
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"))
}

/// config-linux.md#network-devices: properties and permanent addresses of global scope stay, and it is up.
fn device_moves_with_its_addresses(t: &Test) {
    let place = Place::new(t);
    place.furnish();
    let bundle = t.bundle().set("/linux/netDevices", json!({ "v0": {} })).args(["sleep", "100"]);
    let out = place.call(&bundle, "run", &["--detach"]).ok();
    let container = crate::harness::Container::new(t, bundle.id(), &out);
    let device = inside(&container, "address show dev v0")[0].clone();
    assert_eq!(addresses(&device), KEPT);
    let all = device["addr_info"].as_array().unwrap();
    let lost = |a: &Value| a["local"] != "169.254.7.7" && a["local"] != "10.6.0.1";
    assert!(all.iter().all(lost), "{device}");
    assert!(is_up(&device), "{device}");
    assert_eq!((&device["mtu"], &device["address"]), (&json!(1400), &json!("02:00:00:00:00:17")));
    place.try_ip("link show dev v0").expect_err("the device is still there");
}

/// config-linux.md#network-devices: `name`.
fn device_gets_the_name_of_the_config(t: &Test) {
    let place = Place::new(t);
    place.furnish();
    let devices = json!({ "v0": { "name": "eth9" } });
    let bundle = t.bundle().set("/linux/netDevices", devices).args(["sleep", "100"]);
    let out = place.call(&bundle, "run", &["--detach"]).ok();
    let container = crate::harness::Container::new(t, bundle.id(), &out);
    let all = inside(&container, "address show");
    let mut names: Vec<&str> = all.as_array().unwrap().iter().filter_map(|d| d["ifname"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["eth9", "lo"]);
    // All that it keeps under its own name it keeps under the new one.
    let device = all.as_array().unwrap().iter().find(|device| device["ifname"] == "eth9").unwrap();
    assert_eq!(addresses(device), KEPT);
    let addresses = device["addr_info"].as_array().unwrap();
    assert!(addresses.iter().all(|a| a["local"] != "169.254.7.7" && a["local"] != "10.6.0.1"), "{device}");
    assert!(is_up(device), "{device}");
    assert_eq!((&device["mtu"], &device["address"]), (&json!(1400), &json!("02:00:00:00:00:17")));
    for gone in ["v0", "eth9"] {
        place.try_ip(&format!("link show dev {gone}")).expect_err("the device is still there");
    }
}

/// rtnetlink(7): the kernel puts a number into a template.
fn template_gets_the_first_free_number(t: &Test) {
    t.only_teu("other runtimes look for a device of that very name");
    let place = Place::new(t);
    place.ip("link add w0 type veth peer name other");
    place.ip("address add 10.5.0.1/24 dev w0");
    let devices = json!({ "v0": { "name": "eth%d" }, "w0": { "name": "eth%d" } });
    let bundle = t.bundle().set("/linux/netDevices", devices);
    let out = place.call(&bundle.sh("ls /sys/class/net; ip -o -4 addr show dev eth1"), "run", &[]).ok();
    assert!(
        out.stdout.starts_with("eth0\neth1\nlo\n") && out.stdout.contains("10.5.0.1/24"),
        "{}",
        out.report()
    );
}

/// The number of the device may be taken there.
fn device_moves_into_a_joined_namespace(t: &Test) {
    let (place, pod) = (Place::new(t), Place::new(t));
    place.ip("address add 10.5.0.1/24 dev v0");
    pod.ip("address add 10.4.0.1/24 dev v0");
    assert_eq!(place.device("v0")["ifindex"], pod.device("v0")["ifindex"]);
    let bundle = t
        .bundle()
        .namespace("network", Some(&pod.path()))
        .set("/linux/netDevices", json!({ "v0": { "name": "moved" } }));
    let out = place.call(&bundle.sh("ip -o -4 addr show"), "run", &[]).ok();
    assert!(out.stdout.contains("10.4.0.1/24") && out.stdout.contains("10.5.0.1/24"), "{}", out.report());
    assert_eq!(addresses(&pod.device("moved")), ["10.5.0.1/24"]);
    assert_eq!(addresses(&pod.device("v0")), ["10.4.0.1/24"]);
}

/// user_namespaces(7): the network namespace belongs to the new one.
fn device_moves_into_a_user_namespace(t: &Test) {
    let place = Place::new(t);
    place.furnish();
    let bundle = t.bundle().in_user_namespace().set("/linux/netDevices", json!({ "v0": { "name": "net0" } }));
    let out = place.call(&bundle.sh("ip -o addr show dev net0"), "run", &[]).ok();
    assert!(out.stdout.contains("10.9.8.7/24") && out.stdout.contains("fd00:9::1/64"), "{}", out.report());
}

/// runtime.md#errors: the environment is as it was.
fn devices_come_back_when_create_fails(t: &Test) {
    t.only_teu("other runtimes lose the devices with the namespace");
    let place = Place::new(t);
    place.furnish();
    place.ip("link add w0 type veth peer name other");
    let before = place.device("v0");
    let devices = json!({ "v0": { "name": "eth%d" }, "w0": {} });
    let bundle = t.bundle().set("/linux/netDevices", devices);
    let bundle = bundle.hook("createRuntime", "exit 3");
    place.call(&bundle, "create", &[]).fails(&["createRuntime hook #0"]);
    let after = place.device("v0");
    let all = |device: &Value| {
        let mut all: Vec<String> = device["addr_info"].as_array().unwrap().iter().map(address).collect();
        all.retain(|address| !address.starts_with("10.6.0.1") && !address.starts_with("fe80"));
        all.sort();
        all
    };
    assert_eq!(all(&after), all(&before));
    assert!(is_up(&after), "{after}");
    for same in ["ifname", "mtu", "address"] {
        assert_eq!(after[same], before[same]);
    }
    assert!(!is_up(&place.device("w0")), "it was down before");
}

/// A failure between the first and the last device.
fn device_that_came_halfway_comes_back(t: &Test) {
    t.only_teu("other runtimes lose the devices with the namespace");
    let place = Place::new(t);
    place.ip("link set v0 up");
    let bundle = t.bundle().set("/linux/netDevices", json!({ "peer": {}, "v0": { "name": "lo" } }));
    place.call(&bundle, "create", &[]).fails(&["move the network device v0 as lo", "/linux/netDevices/v0"]);
    assert!(is_up(&place.device("v0")), "{}", place.device("v0"));
    assert!(!is_up(&place.device("peer")), "{}", place.device("peer"));
}

/// config-linux.md#network-devices: a conflict is an error, and neither device is touched.
fn taken_name_is_refused(t: &Test) {
    let (place, pod) = (Place::new(t), Place::new(t));
    place.furnish();
    pod.ip("address add 10.4.0.1/24 dev v0");
    let bundle =
        t.bundle().namespace("network", Some(&pod.path())).set("/linux/netDevices", json!({ "v0": {} }));
    let out = place.call(&bundle, "create", &[]).fails(&[]);
    if t.is("teu") {
        out.fails(&["EEXIST", "/linux/netDevices/v0", "the name is taken in"]);
    }
    assert_eq!(addresses(&place.device("v0")), KEPT);
    assert_eq!(addresses(&pod.device("v0")), ["10.4.0.1/24"]);
}

/// config-linux.md#network-devices.
fn device_that_is_missing_is_refused(t: &Test) {
    let place = Place::new(t);
    let bundle = t.bundle().set("/linux/netDevices", json!({ "v7": {} }));
    let out = place.call(&bundle, "create", &[]).fails(&[]);
    if t.is("teu") {
        out.fails(&["ENODEV", "/linux/netDevices/v7", "must be in the network namespace of the caller"]);
    }
}

/// network_namespaces(7): every namespace has a loopback device of its own.
fn device_that_cannot_move_is_refused(t: &Test) {
    t.only_teu("lo is in the container too, so a runtime may stumble over the name first");
    let place = Place::new(t);
    let bundle = t.bundle().set("/linux/netDevices", json!({ "lo": { "name": "other" } }));
    place.call(&bundle, "create", &[]).fails(&[
        "EINVAL",
        "/linux/netDevices/lo",
        "bridges and some others cannot be moved",
    ]);
    assert!(is_up(&place.device("lo")));
}

/// Nothing would move.
fn own_network_namespace_is_refused(t: &Test) {
    t.only_teu("other runtimes rename the device of the caller");
    let place = Place::new(t);
    let bundle = t
        .bundle()
        .namespace("network", Some(&place.path()))
        .set("/linux/netDevices", json!({ "v0": { "name": "x" } }));
    place.call(&bundle, "create", &[]).fails(&["the caller's own namespace"]);
    place.ip("link show dev v0");
}

/// There is nowhere to go.
fn device_without_a_network_namespace_is_refused(t: &Test) {
    t.skip_for("crun", "renames the device of the host");
    let place = Place::new(t);
    let bundle = t.bundle().without_namespace("network").without_mounts("/sys");
    let bundle = bundle.set("/linux/netDevices", json!({ "v0": { "name": "x" } }));
    let out = place.call(&bundle, "create", &[]).fails(&[]);
    if t.is("teu") {
        out.fails(&["/linux/netDevices", "add {\"type\": \"network\"} to linux.namespaces"]);
    }
    place.ip("link show dev v0");
}

/// config-linux.md#network-devices: what becomes of it is the kernel's business.
fn moved_device_is_left_alone_by_delete(t: &Test) {
    let (place, pod) = (Place::new(t), Place::new(t));
    let bundle = t
        .bundle()
        .namespace("network", Some(&pod.path()))
        .set("/linux/netDevices", json!({ "v0": { "name": "x" } }));
    place.call(&bundle, "create", &[]).ok();
    t.cmd(["delete", "--force", bundle.id()]).run().ok();
    pod.ip("link show dev x");
    place.try_ip("link show dev v0").expect_err("the device is back");
}

/// sysctl.d(5): with slashes between the parts a dot is one of the name; after a dot as the first one it is the
/// other way round.
fn parameter_of_a_device_with_a_dot_in_its_name_is_set(t: &Test) {
    let pod = Place::new(t);
    pod.ip("link set v0 name eth0.1");
    for (key, value) in [("net/ipv4/conf/eth0.1/forwarding", "1"), ("net.ipv4.conf.eth0/1.forwarding", "0")] {
        let mut sysctl = json!({});
        sysctl[key] = value.into();
        let bundle = t.bundle().namespace("network", Some(&pod.path())).set("/linux/sysctl", sysctl);
        let out = bundle.args(["cat", "/proc/sys/net/ipv4/conf/eth0.1/forwarding"]).run().ok();
        assert_eq!(out.stdout, format!("{value}\n"), "{key}");
    }
}
