//! `teu create`: everything but the program.

use super::{make_root, setup};
use crate::cli::{Create, Global};
use crate::error::Result;
use crate::parent::create::{self, Options};
use crate::parent::prepare::{self, Passed};
use crate::state::Id;

/// Creates a container that waits for `start`.
pub fn create(global: &Global, args: &Create) -> Result<i32> {
    let id = Id::new(&args.id)?;
    let listen_fds = setup::listen_fds();
    let passed = Passed::take(args.preserve_fds.saturating_add(listen_fds))?;
    let root = make_root(global)?;
    root.refuse_taken(&id)?;
    let bundle = setup::bundle(args.bundle.as_deref())?;
    let request = setup::request(args, bundle.clone(), true, &passed, listen_fds);
    let setup = setup::setup(global, &bundle, request)?;
    let (prepared, _) = prepare::prepare(&setup.plan, setup::inputs(&setup, args, passed, &root)?)?;
    let created = create::create(
        &setup.plan,
        prepared,
        Options {
            root: &root,
            id: &id,
            config: &setup.bytes,
            hooks: setup::later_hooks(&setup.config),
            layout: &setup.layout,
            rootless: setup::is_rootless(global, &setup.host)?,
            pid_file: setup::absolute(args.pid_file.as_deref())?,
            pidfd_socket: setup::absolute(args.pidfd_socket.as_deref())?,
            gated: true,
        },
    )?;
    super::setup::report_warnings(&setup.plan);
    drop(created);
    Ok(0)
}
