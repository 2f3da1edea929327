//! `teu`: a low-level OCI container runtime for Linux.
