//! bpf(2): loading device programs and attaching them to a cgroup.
//!
//! Only what a device filter needs: load, attach, detach, query, the name of a loaded program.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, Result};

/// One instruction of the extended Berkeley packet filter, as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation and its class.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Jump distance in instructions, or offset of a memory access in bytes.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;

const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
const BPF_F_REPLACE: u32 = 4;

/// The longest name of a program, without the final zero byte.
pub const NAME_MAX: usize = 15;

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME_MAX + 1],
}

#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

// The kernel refuses an attribute whose unused bytes are not zero, so the padding is spelled out.
#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The head of `struct bpf_prog_info`, up to the name.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    prog_type: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; NAME_MAX + 1],
}

fn bpf<T>(command: libc::c_int, attr: &mut T) -> Result<libc::c_int> {
    // SAFETY: bpf(2) reads and writes at most `size` bytes of the attribute, which is a plain struct of integers
    // laid out as `union bpf_attr` is for this command. Pointers inside it are kept valid by the callers below,
    // whose borrows outlive this call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    Errno::result(result).map(|value| value as libc::c_int)
}

fn new_descriptor(number: libc::c_int) -> OwnedFd {
    // SAFETY: the number was just returned by bpf(2) as a new descriptor, which nobody else owns.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Loads a program that decides about device accesses of a cgroup; `name` is cut to [`NAME_MAX`] bytes.
///
/// Errors: EPERM without CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN) in the initial user namespace, EINVAL when
/// the verifier refuses the program.
pub fn prog_load_cgroup_device(name: &str, program: &[Instruction]) -> Result<OwnedFd> {
    let mut attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttr::default()
    };
    for (to, from) in attr.prog_name.iter_mut().take(NAME_MAX).zip(name.bytes()) {
        *to = from;
    }
    bpf(BPF_PROG_LOAD, &mut attr).map(new_descriptor)
}

/// Attaches a device program beside those that are there already: every one of them must allow an access.
pub fn prog_attach_cgroup_device(cgroup: BorrowedFd, program: BorrowedFd) -> Result<()> {
    attach(cgroup, program, BPF_F_ALLOW_MULTI, None)
}

/// Puts `program` in the place of `old` in one step.
///
/// Errors: ENOENT when `old` is not attached.
pub fn prog_replace_cgroup_device(cgroup: BorrowedFd, program: BorrowedFd, old: BorrowedFd) -> Result<()> {
    attach(cgroup, program, BPF_F_ALLOW_MULTI | BPF_F_REPLACE, Some(old))
}

fn attach(cgroup: BorrowedFd, program: BorrowedFd, flags: u32, old: Option<BorrowedFd>) -> Result<()> {
    let mut attr = AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: flags,
        replace_bpf_fd: old.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    bpf(BPF_PROG_ATTACH, &mut attr).map(drop)
}

/// Detaches one device program from a cgroup.
pub fn prog_detach_cgroup_device(cgroup: BorrowedFd, program: BorrowedFd) -> Result<()> {
    let mut attr = AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        ..AttachAttr::default()
    };
    bpf(BPF_PROG_DETACH, &mut attr).map(drop)
}

/// The ids of the device programs attached to this very cgroup, not to its ancestors.
pub fn prog_query_cgroup_device(cgroup: BorrowedFd) -> Result<Vec<u32>> {
    let mut ids = vec![0_u32; 64];
    loop {
        let mut attr = QueryAttr {
            target_fd: cgroup.as_raw_fd() as u32,
            attach_type: BPF_CGROUP_DEVICE,
            prog_ids: ids.as_mut_ptr() as u64,
            prog_cnt: ids.len() as u32,
            ..QueryAttr::default()
        };
        match bpf(BPF_PROG_QUERY, &mut attr) {
            Ok(_) => {
                ids.truncate(attr.prog_cnt as usize);
                return Ok(ids);
            }
            // The kernel has written the number that there are.
            Err(Errno::ENOSPC) => {
                let needed = (attr.prog_cnt as usize).max(ids.len() + 1);
                ids.resize(needed, 0);
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// A descriptor of the loaded program with this id.
///
/// Errors: ENOENT when it was unloaded meanwhile.
pub fn prog_get_fd_by_id(id: u32) -> Result<OwnedFd> {
    let mut attr = IdAttr { prog_id: id, ..IdAttr::default() };
    bpf(BPF_PROG_GET_FD_BY_ID, &mut attr).map(new_descriptor)
}

/// The name that was given to a program when it was loaded.
pub fn prog_name(program: impl AsFd) -> Result<String> {
    let mut info = ProgInfo::default();
    let mut attr = InfoAttr {
        bpf_fd: program.as_fd().as_raw_fd() as u32,
        info_len: size_of::<ProgInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    let name = info.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}
