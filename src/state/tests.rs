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

/// What could not be read again is not written in place of what can.
#[test]
fn file_that_is_too_large_leaves_the_one_that_is_there() {
    let dir = fs::canonicalize(std::env::temp_dir()).unwrap();
    let dir = dir.join(format!("teu-large-{}", std::process::id()));
    let root = Root::open(&dir, true).unwrap();
    let directory = root.reserve(&Id::new("c1").unwrap()).unwrap();
    directory.save_config(b"small").unwrap();
    let refused = directory.save_config(&vec![b' '; LARGEST as usize + 1]);
    let kept = directory.load_config();
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(refused.unwrap_err().errno(), Some(Errno::EFBIG));
    assert_eq!(kept.unwrap().as_deref(), Some(&b"small"[..]));
}
