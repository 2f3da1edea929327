//! execve(2) and execveat(2).

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Errno;

/// A list of strings in the form that execve(2) takes: pointers, then a null.
///
/// Built before the clone, so that nothing is allocated afterwards.
#[derive(Clone)]
pub struct StringList {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl StringList {
    /// Takes the strings over.
    pub fn new(strings: Vec<CString>) -> StringList {
        let mut list = StringList { pointers: Vec::with_capacity(strings.len() + 2), strings };
        list.point();
        list
    }

    fn point(&mut self) {
        self.pointers.clear();
        // The heap buffers of the strings do not move when the vector that holds them does.
        self.pointers.extend(self.strings.iter().map(|s| s.as_ptr()));
        self.pointers.push(std::ptr::null());
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }

    /// Adds one string at the end.
    pub fn push(&mut self, string: CString) {
        self.strings.push(string);
        self.point();
    }
}

impl std::fmt::Debug for StringList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.strings.fmt(f)
    }
}

/// execve(2). Returns only when it failed.
pub fn execve(path: &CStr, arguments: &StringList, environment: &StringList) -> Errno {
    // SAFETY: the path and every string end in NUL, both lists end in a null pointer, and all of them are owned
    // by arguments that outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    Errno::last()
}

/// execveat(2) of an open file. Returns only when it failed.
pub fn execve_fd(file: BorrowedFd, arguments: &StringList, environment: &StringList) -> Errno {
    // SAFETY: as for execve; the empty path is a constant.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}
