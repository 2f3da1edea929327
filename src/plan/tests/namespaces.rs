//! Every combination of namespaces that are absent, new or joined, and who makes or joins each.
//!
//! Source: config-linux.md#namespaces; user_namespaces(7), setns(2), unshare(2).

use serde_json::{Value, json};

use super::facts::host;
use crate::plan::namespaces::{KINDS, Namespaces, User, flag, plan};
use crate::report::Report;

/// How a configuration lists one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    Absent,
    New,
    Joined,
}

use Listed::{Absent, Joined, New};

const LISTED: [Listed; 3] = [Absent, New, Joined];

/// The kinds beside `user`, in the order in which they are listed here.
const OTHERS: [(u64, &str); 7] = [
    (flag::PID, "pid"),
    (flag::NETWORK, "network"),
    (flag::MOUNT, "mount"),
    (flag::IPC, "ipc"),
    (flag::UTS, "uts"),
    (flag::CGROUP, "cgroup"),
    (flag::TIME, "time"),
];

/// What needs a process in between, when the user namespace and one other are listed like this.
///
/// A joined user namespace owns what is made after it, so something must join it before the init process is cloned.
/// A new one takes the privileges over the host's namespaces away, so what is joined must be joined before; the pid
/// namespace has been, by the parent.
const STAGE: [(Listed, &str, Listed, bool); 21] = [
    (Joined, "pid", Joined, true),
    (Joined, "network", Joined, true),
    (Joined, "network", New, true),
    (Joined, "network", Absent, true),
    (New, "pid", Joined, false),
    (New, "network", Joined, true),
    (New, "mount", Joined, true),
    (New, "ipc", Joined, true),
    (New, "uts", Joined, true),
    (New, "cgroup", Joined, true),
    (New, "time", Joined, true),
    (New, "network", New, false),
    (New, "network", Absent, false),
    (New, "time", New, false),
    (Absent, "pid", Joined, false),
    (Absent, "network", Joined, false),
    (Absent, "mount", Joined, false),
    (Absent, "ipc", Joined, false),
    (Absent, "uts", Joined, false),
    (Absent, "cgroup", Joined, false),
    (Absent, "time", Joined, false),
];

fn planned(listed: &[(&str, Listed)]) -> Namespaces {
    let mut namespaces = Vec::new();
    for (name, how) in listed {
        match how {
            Absent => {}
            New => namespaces.push(json!({ "type": name })),
            Joined => namespaces.push(json!({ "type": name, "path": format!("/proc/7/ns/{name}") })),
        }
    }
    let mut linux = json!({ "namespaces": namespaces });
    if listed.contains(&("user", New)) {
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        linux["uidMappings"] = map.clone();
        linux["gidMappings"] = map;
    }
    let linux = serde_json::from_value(linux).unwrap();
    plan(Some(&linux), &host("root-v2"), &mut Report::of_first_error()).unwrap()
}

/// All 6561 of them.
#[test]
fn each_kind_is_made_or_joined_in_its_place() {
    let mut combinations = 0;
    for user in LISTED {
        for number in 0..3usize.pow(OTHERS.len() as u32) {
            let how = |place: usize| LISTED[number / 3usize.pow(place as u32) % 3];
            let mut listed = vec![("user", user)];
            listed.extend(OTHERS.iter().enumerate().map(|(place, (_, name))| (*name, how(place))));
            let planned = planned(&listed);
            combinations += 1;

            let of = |wanted: Listed| {
                let others = OTHERS.iter().enumerate();
                let flags = others.filter(|(place, _)| how(*place) == wanted).map(|(_, (flag, _))| *flag);
                flags.chain((user == wanted).then_some(flag::USER)).fold(0, |all, flag| all | flag)
            };
            let (new, joined) = (of(New), of(Joined));
            // The child makes these two: one inside its cgroup, the other before anybody is in it.
            let late = flag::CGROUP | flag::TIME;
            assert_eq!(planned.cloned, new & !late, "{listed:?}");
            assert_eq!(planned.unshared, new & late, "{listed:?}");
            let flags: Vec<u64> = planned.joined.iter().map(|join| join.flag).collect();
            assert_eq!(flags.iter().fold(0, |all, flag| all | flag), joined, "{listed:?}");
            assert_eq!(flags.len(), joined.count_ones() as usize, "{listed:?}");
            for (flag, name) in OTHERS {
                assert_eq!(planned.has(flag), (new | joined) & flag != 0, "{listed:?}: {name}");
                assert_eq!(planned.is_new(flag), new & flag != 0, "{listed:?}: {name}");
                let path = planned.join_of(flag).map(|join| join.path.to_str().unwrap().to_owned());
                assert_eq!(path, (joined & flag != 0).then(|| format!("/proc/7/ns/{name}")), "{listed:?}");
            }
            let expected = match user {
                Absent => planned.user == User::Inherited && !planned.has_user(),
                New => matches!(&planned.user, User::New { .. }) && planned.root_ids() == (100_000, 100_000),
                Joined => planned.user == User::Joined && planned.has_user(),
            };
            assert!(expected, "{listed:?}: {:?}", planned.user);
            let before = flag::NETWORK | flag::MOUNT | flag::IPC | flag::UTS | flag::TIME | flag::CGROUP;
            let stage = match user {
                Absent => false,
                New => joined & before != 0,
                Joined => true,
            };
            assert_eq!(planned.stage, stage, "{listed:?}");
        }
    }
    assert_eq!(combinations, 6561);
}

#[test]
fn a_process_in_between_is_used_where_the_table_says() {
    for (user, name, other, stage) in STAGE {
        assert_eq!(planned(&[("user", user), (name, other)]).stage, stage, "user {user:?}, {name} {other:?}");
        // The order of the list means nothing.
        assert_eq!(planned(&[(name, other), ("user", user)]).stage, stage, "{name} {other:?}, user {user:?}");
    }
}

#[test]
fn joined_namespaces_keep_the_order_of_the_list() {
    let listed = [("uts", Joined), ("pid", New), ("user", Joined), ("ipc", Joined), ("network", Joined)];
    let flags: Vec<u64> = planned(&listed).joined.iter().map(|join| join.flag).collect();
    assert_eq!(flags, [flag::UTS, flag::USER, flag::IPC, flag::NETWORK]);
    let pointers: Vec<String> = planned(&listed).joined.iter().map(|join| join.at.clone()).collect();
    assert_eq!(pointers, [0, 2, 3, 4].map(|index| format!("/linux/namespaces/{index}")));
}

/// clone(2): the numbers are those of the kernel, and each kind is in the list of names once.
#[test]
fn flags_are_those_of_the_kernel() {
    let kernel = [
        ("cgroup", libc::CLONE_NEWCGROUP),
        ("ipc", libc::CLONE_NEWIPC),
        ("mount", libc::CLONE_NEWNS),
        ("network", libc::CLONE_NEWNET),
        ("pid", libc::CLONE_NEWPID),
        ("time", libc::CLONE_NEWTIME),
        ("user", libc::CLONE_NEWUSER),
        ("uts", libc::CLONE_NEWUTS),
    ];
    let own = KINDS.map(|(flag, name, ..)| (name, flag as i32));
    assert_eq!(own, kernel);
}

/// user_namespaces(7): ids outside the ranges have none outside, the last id of a range has one.
#[test]
fn ids_are_mapped_by_their_range() {
    let linux: Value = json!({
        "namespaces": [{ "type": "user" }],
        "uidMappings": [
            { "containerID": 0, "hostID": 1000, "size": 1 },
            { "containerID": 1, "hostID": 100_000, "size": 10 },
            { "containerID": 4_294_967_290_u32, "hostID": 5, "size": 5 },
        ],
        "gidMappings": [{ "containerID": 0, "hostID": 0, "size": u32::MAX }],
    });
    let planned =
        plan(Some(&serde_json::from_value(linux).unwrap()), &host("root-v2"), &mut Report::of_first_error())
            .unwrap();
    let User::New { uids, gids } = planned.user else { panic!("no new user namespace") };
    for (inside, outside) in [
        (0, Some(1000)),
        (1, Some(100_000)),
        (10, Some(100_009)),
        (11, None),
        (4_294_967_289, None),
        (4_294_967_294, Some(9)),
        (u32::MAX, None),
    ] {
        assert_eq!(uids.outside(inside), outside, "{inside}");
    }
    assert_eq!(gids.outside(u32::MAX - 1), Some(u32::MAX - 1));
    assert_eq!(gids.outside(u32::MAX), None);
    assert_eq!(uids.text(), "0 1000 1\n1 100000 10\n4294967290 5 5\n");
}

/// user_namespaces(7): at most 340 lines.
#[test]
fn id_maps_have_as_many_lines_as_the_kernel_takes() {
    let planned = |lines: u32| {
        let map: Vec<Value> =
            (0..lines).map(|n| json!({ "containerID": n, "hostID": 1000 + n, "size": 1 })).collect();
        let linux = json!({ "namespaces": [{ "type": "user" }], "uidMappings": map, "gidMappings": map });
        plan(Some(&serde_json::from_value(linux).unwrap()), &host("root-v2"), &mut Report::of_first_error())
    };
    assert!(planned(340).is_ok());
    assert_eq!(planned(341).unwrap_err().to_string(), "more than 340 id mappings (/linux/uidMappings)");
}
