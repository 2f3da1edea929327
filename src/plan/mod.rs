//! What will be done, decided before anything is done.
#![forbid(unsafe_code)]

pub mod cgroup;
