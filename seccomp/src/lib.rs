//! OCI seccomp profiles to BPF programs.
#![forbid(unsafe_code)]
