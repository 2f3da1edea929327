//! `hostname` and `domainname`.
//!
//! Source: config.md#hostname, config.md#domainname.

use std::ffi::CString;

use oci_spec::runtime::Spec;

use super::c_string;
use super::namespaces::{Namespaces, flag};
use crate::error::{Error, Result};
use crate::report::Report;

/// Names of the uts namespace; absent ones are left as they are.
#[derive(Clone, Debug, Default)]
pub struct Uts {
    /// Host name, at most 64 bytes.
    pub hostname: Option<CString>,
    /// Domain name, at most 64 bytes.
    pub domainname: Option<CString>,
}

/// Plans both names.
pub fn plan(spec: &Spec, namespaces: &Namespaces, report: &mut Report) -> Result<Uts> {
    Ok(Uts {
        hostname: report.keep(name(spec.hostname().as_deref(), "/hostname", namespaces))?.flatten(),
        domainname: report.keep(name(spec.domainname().as_deref(), "/domainname", namespaces))?.flatten(),
    })
}

fn name(value: Option<&str>, at: &str, namespaces: &Namespaces) -> Result<Option<CString>> {
    const LONGEST: usize = 64;
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    if !namespaces.has(flag::UTS) {
        return Err(Error::config(at, format!("unable to set {} without a private UTS namespace", &at[1..]))
            .hint("add {\"type\": \"uts\"} to linux.namespaces"));
    }
    if value.len() > LONGEST {
        return Err(Error::config(at, format!("longer than {LONGEST} bytes")));
    }
    c_string(value, at).map(Some)
}
