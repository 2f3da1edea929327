//! `teu ps`: the processes of a container, as pids or as the ps of the host shows them.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::open_root;
use super::state::print;
use crate::cli::Global;
use crate::cli::watch::Ps;
use crate::error::{Error, Kind, Result};
use crate::state::{Container, Id};

/// Where programs are looked for when the caller has no PATH, as many engines do.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Prints the processes. Takes no lock: it only looks.
pub fn ps(global: &Global, args: &Ps) -> Result<i32> {
    if !matches!(args.format.as_str(), "table" | "json") {
        return Err(Error::usage("invalid format option"));
    }
    let container = Container::load(&open_root(global)?, &Id::new(&args.id)?)?;
    let cgroup = container.cgroup();
    if container.init.is_some() && !cgroup.exists() {
        return Err(Error::state("the container has no cgroup, so its processes are not known"));
    }
    let pids = cgroup.pids()?;
    if args.format == "json" {
        let text = serde_json::to_string(&pids);
        return print(&text.map_err(|e| Error::new(Kind::Bug, format!("print the pids: {e}")))?);
    }
    print(&table(&host_ps(&args.options)?, &pids)?)
}

/// The header, and the rows that belong to `pids`.
fn table(output: &str, pids: &[i32]) -> Result<String> {
    let mut lines = output.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID").ok_or_else(|| {
        Error::state("couldn't find PID field in ps output").hint("let ps print a column named PID")
    })?;
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse::<i32>().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let rows: Vec<&str> = std::iter::once(header).chain(lines.filter(is_ours)).collect();
    Ok(rows.join("\n"))
}

/// What the ps of the host prints.
fn host_ps(options: &[OsString]) -> Result<String> {
    let program = find("ps").ok_or_else(|| {
        Error::state("this host has no ps").hint("install procps; --format json needs no program")
    })?;
    let mut command = Command::new(&program);
    command.args(options).stdin(Stdio::null());
    if options.is_empty() {
        command.arg("-ef");
    }
    let output =
        command.output().map_err(|e| Error::io(format!("run {}", program.display()), "execve(2)", &e))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let first = told.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        return Err(Error::state(format!("ps: {}", output.status)).detail(first));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program of the host. Relative entries of PATH are left out: the working directory is no place for programs.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| SEARCH_PATH.into());
    std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(|candidate| {
        std::fs::metadata(candidate)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "UID        PID  PPID CMD\nroot        10     1 /bin/a 11\nroot        11     1 b\n";

    #[test]
    fn the_header_stays_and_rows_are_chosen_by_their_column() {
        assert_eq!(table(OUTPUT, &[11, 12]).unwrap(), "UID        PID  PPID CMD\nroot        11     1 b");
        assert_eq!(table(OUTPUT, &[]).unwrap(), "UID        PID  PPID CMD");
    }

    #[test]
    fn output_without_the_column_is_refused() {
        for output in ["", "UID CMD\nroot 11\n", "PPID\n11\n"] {
            let error = table(output, &[11]).unwrap_err().to_string();
            assert!(error.starts_with("couldn't find PID field in ps output"), "{error}");
        }
    }
}
