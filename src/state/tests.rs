use std::fs::{self, Permissions, create_dir, create_dir_all, rename};
use std::os::unix::fs::PermissionsExt;

use super::*;

/// Somebody puts another directory in the place of the open one.
#[test]
fn what_was_opened_is_used_wherever_it_is_by_now() {
    let dir = fs::canonicalize(std::env::temp_dir()).unwrap();
    let dir = dir.join(format!("teu-state-{}", std::process::id()));
    create_dir(&dir).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    let (place, moved) = (dir.join("state"), dir.join("moved"));
    let root = Root::open(&place, true).unwrap();
    let directory = root.reserve(&Id::new("c1").unwrap()).unwrap();
    rename(&place, &moved).unwrap();
    create_dir_all(place.join("c1")).unwrap();
    create_dir(place.join("c2")).unwrap();

    let ids = root.ids().unwrap();
    let gate = directory.open_gate().unwrap();
    let recorder = directory.open_recorder().unwrap();
    let connected = [directory.connect_gate(), directory.connect_recorder()];
    let has_gate = directory.has_gate();
    let found = |dir: &Path| fs::read_dir(dir.join("c1")).unwrap().count();
    let counts = (found(&moved), found(&place));
    fs::remove_dir_all(&dir).unwrap();
    drop((gate, recorder));

    assert_eq!(ids, [Id::new("c1").unwrap()]);
    assert!(connected.iter().all(|end| end.is_ok()) && has_gate, "{connected:?}");
    assert_eq!(counts, (2, 0));
}
