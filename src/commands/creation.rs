//! What `create` and `run` begin with: from the command line to everything that the steps of the creation need.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::{filter, make_root, setup};
use crate::cli::{Create, Global, given};
use crate::error::Result;
use crate::parent::create::Options;
use crate::parent::prepare::{self, Filter, Passed, Prepared};
use crate::parent::readiness;
use crate::plan::{Plan, Request};
use crate::state::{Id, Root};

/// A container that does not exist yet: its bundle is read and planned, and nothing has changed.
pub struct Creation<'a> {
    /// The state directory.
    pub root: Root,
    /// The id, which is free.
    pub id: Id,
    args: &'a Create,
    passed: Passed,
    setup: setup::Setup,
    rootless: bool,
    is_recorded: bool,
    is_traced: bool,
    pid_file: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
}

impl<'a> Creation<'a> {
    /// Reads and plans. `detached`: the command returns while the container lives.
    pub fn read(global: &Global, args: &'a Create, detached: bool) -> Result<Creation<'a>> {
        let id = Id::new(&args.id)?;
        let listen_fds = setup::listen_fds();
        let passed = Passed::take(args.preserve_fds.saturating_add(listen_fds))?;
        let root = make_root(global)?;
        root.refuse_taken(&id)?;
        let bundle = setup::bundle(given(&args.bundle))?;
        let request = Request {
            id: args.id.clone(),
            bundle: bundle.clone(),
            no_pivot: args.no_pivot,
            no_new_keyring: args.no_new_keyring,
            console_socket: given(&args.console_socket).is_some(),
            detached,
            preserve_fds: args.preserve_fds,
            listen_fds,
            notify_directory: readiness::supervisor().map(|_| root.notify_path(&id)),
            ..Request::default()
        };
        let setup = setup::setup(global, &bundle, request)?;
        let rootless = setup.host.is_rootless();
        Ok(Creation {
            root,
            id,
            args,
            passed,
            setup,
            rootless,
            is_recorded: false,
            is_traced: false,
            pid_file: setup::absolute(given(&args.pid_file))?,
            pidfd_socket: setup::absolute(given(&args.pidfd_socket))?,
        })
    }

    /// Every system call will be looked at by this process, in place of the seccomp profile: a call that the profile
    /// refuses would not be seen.
    pub fn record_calls(&mut self) {
        self.setup.plan.security.seccomp = None;
        self.is_recorded = true;
    }

    /// The process will be traced from before it executes its program.
    pub fn trace(&mut self) {
        self.is_traced = true;
    }

    /// What will be done.
    pub fn plan(&self) -> &Plan {
        &self.setup.plan
    }

    /// Opens what the plan names. The second value gets the terminal when it is relayed.
    pub fn prepare(&self) -> Result<(Prepared, Option<OwnedFd>)> {
        let plan = &self.setup.plan;
        let inputs = prepare::Inputs {
            console_socket: setup::absolute(given(&self.args.console_socket))?,
            passed: self.passed.clone(),
            traced: self.is_traced,
            filter: match self.is_recorded {
                true => Some(Filter::recording()?),
                false => filter::of_container(plan, &self.root)?,
            },
        };
        prepare::prepare(plan, inputs)
    }

    /// What the steps of the creation are told. `gated`: the container waits for `start`.
    pub fn options(&self, gated: bool) -> Options<'_> {
        Options {
            root: &self.root,
            id: &self.id,
            config: &self.setup.bytes,
            hooks: setup::later_hooks(&self.setup.config),
            layout: &self.setup.layout,
            rootless: self.rootless,
            pid_file: self.pid_file.clone(),
            pidfd_socket: self.pidfd_socket.clone(),
            gated,
        }
    }
}
