//! The wait for `start`, and what is answered meanwhile.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use crate::error::Errno;
use crate::parent::prepare::Prepared;
use crate::plan::Plan;
use crate::plan::namespaces::KINDS;
use crate::sync::{Call, Failure, In, Wanted, send_go, send_handle, wait_for_go, wanted_at_gate};
use crate::sys::fd;

use super::descriptors;
use super::procfs::Procfs;

/// Where the process waits until the program may run.
pub enum Gate {
    /// A listening socket in the state directory: `teu start` connects and hears how the execution went.
    Socket(OwnedFd),
    /// The parent, which stays: `teu run`.
    Parent,
}

/// The namespaces of this process, each with the place of its kind in the list of kinds.
pub type Handles = Vec<(u8, OwnedFd)>;

/// What remains open while the process waits.
pub enum Waiting {
    /// The listening socket, and what is handed out there.
    Socket(OwnedFd, Handles),
    /// The parent.
    Parent,
}

impl Gate {
    /// Opens the namespaces that `teu exec` joins while the process waits.
    ///
    /// It stays hidden from everybody without privilege on the host until it executes the program, because before that
    /// not everything confines it. Its owner may enter the namespaces all the same, and only this process can open
    /// them for it. Where it can not, there is no exec before the start.
    pub fn handles(&self, plan: &Plan, procfs: Option<&Procfs>) -> Handles {
        if !plan.rootless || matches!(self, Gate::Parent) {
            return Handles::new();
        }
        let host = if procfs.is_none() { Procfs::of_host().ok() } else { None };
        let Some(procfs) = procfs.or(host.as_ref()) else { return Handles::new() };
        let open = |name: &str| procfs.open_link(&CString::new(format!("thread-self/ns/{name}")).ok()?).ok();
        let kinds = (0..).zip(KINDS).filter(|(_, (flag, ..))| plan.namespaces.has(*flag));
        kinds.filter_map(|(index, (_, _, file, _))| Some((index, open(file)?))).collect()
    }
}

/// Puts the channel right above what the container gets and the gate above it, and closes everything else.
pub fn keep_descriptors(
    prepared: &Prepared,
    gate: Gate,
    handles: Handles,
    channel: &mut RawFd,
) -> Result<(BorrowedFd<'static>, Waiting), Failure> {
    let missing = || Failure::of(Call::Dup, Errno::EBADF);
    let gate = match gate {
        Gate::Socket(listener) => Some(listener.into_raw_fd()),
        Gate::Parent => None,
    };
    let (indices, handles): (Vec<u8>, Vec<RawFd>) =
        handles.into_iter().map(|(index, handle)| (index, handle.into_raw_fd())).unzip();
    let kept: Vec<RawFd> = std::iter::once(*channel).chain(gate).chain(handles).collect();
    let first = descriptors::keep(&prepared.passed, &kept)?;
    *channel = first;
    let waiting = match gate {
        Some(_) => {
            let listener = fd::adopt(first + 1).ok_or_else(missing)?;
            let handle = |(number, index)| Some((index, fd::adopt(number)?));
            let handles: Option<Handles> = (first + 2..).zip(indices).map(handle).collect();
            Waiting::Socket(listener, handles.ok_or_else(missing)?)
        }
        None => Waiting::Parent,
    };
    Ok((fd::borrow(first).ok_or_else(missing)?, waiting))
}

/// Waits for `start`. Returns the descriptor over which the rest is told, under the number of the channel.
pub fn pass(
    prepared: &Prepared,
    parent: BorrowedFd<'static>,
    waiting: Waiting,
    channel: &mut RawFd,
) -> Result<BorrowedFd<'static>, Failure> {
    let Waiting::Socket(listener, handles) = waiting else {
        wait_for_go(parent).call(Call::Receive)?;
        return Ok(parent);
    };
    // The parent of `create` is not waited for any more.
    let number = 3 + prepared.passed.count as RawFd;
    fd::close_range(number as u32, number as u32).call(Call::CloseRange)?;
    *channel = -1;
    loop {
        let caller = fd::accept(listener.as_fd()).call(Call::Accept)?;
        match wanted_at_gate(caller.as_fd()) {
            // Whoever connected and went away without a word did not start anything.
            Err(_) => continue,
            Ok(Wanted::Namespaces) => {
                hand_out(&handles, caller.as_fd());
                continue;
            }
            Ok(Wanted::Start) => {}
        }
        if caller.as_raw_fd() != number {
            fd::dup_onto_cloexec(caller.as_fd(), number).call(Call::Dup)?;
        } else {
            let _ = caller.into_raw_fd();
        }
        *channel = number;
        return fd::borrow(number).ok_or_else(|| Failure::of(Call::Dup, Errno::EBADF));
    }
}

/// Sends the handles. Whoever has asked may be gone meanwhile, which does not matter here.
fn hand_out(handles: &Handles, caller: BorrowedFd) {
    let sent = handles.iter().try_for_each(|(index, handle)| send_handle(caller, *index, handle.as_fd()));
    let _ = sent.and_then(|()| send_go(caller));
}
