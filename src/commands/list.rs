//! `teu list`.

use std::io::Write;

use super::state::{Shown, print};
use super::{directory_of_all, root_path};
use crate::cli::{Global, List};
use crate::error::{Errno, Error, Kind, Result};
use crate::state::{Container, Root};

/// Prints all containers.
pub fn list(global: &Global, args: &List) -> Result<i32> {
    if !args.quiet && !matches!(args.format.as_str(), "table" | "json") {
        return Err(Error::usage("invalid format option"));
    }
    let containers = match directory_of_all(&root_path(global)?, false) {
        Ok(root) => all(&root)?,
        // Nobody has made a container yet.
        Err(error) if error.errno() == Some(Errno::ENOENT) && global.root.is_none() => Vec::new(),
        Err(error) => return Err(error),
    };
    let shown: Vec<Shown> = containers.iter().map(|c| Shown::of(c, owner(c.directory.owner()))).collect();
    if args.quiet {
        let ids: Vec<&str> = containers.iter().map(|c| c.record.id.as_str()).collect();
        return if ids.is_empty() { Ok(0) } else { print(&ids.join("\n")) };
    }
    if args.format == "json" {
        let text = serde_json::to_string(&shown);
        return print(&text.map_err(|e| Error::new(Kind::Bug, format!("print the list: {e}")))?);
    }
    print(&table(&shown))
}

/// Containers whose state cannot be read are named on standard error and left out.
fn all(root: &Root) -> Result<Vec<Container>> {
    let mut containers = Vec::new();
    for id in root.ids()? {
        match Container::load(root, &id) {
            Ok(container) => containers.push(container),
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "load container {}: {error}", id.as_str());
            }
        }
    }
    Ok(containers)
}

fn table(shown: &[Shown]) -> String {
    const HEADER: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    const GAP: usize = 3;
    const NARROWEST: usize = 12;
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(shown.iter().map(Shown::columns));
    let widths: Vec<usize> = (0..HEADER.len())
        .map(|column| {
            let longest = rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
            (longest + GAP).max(NARROWEST)
        })
        .collect();
    let line = |row: &[String; 6]| {
        let last = row.len() - 1;
        row.iter()
            .enumerate()
            .map(
                |(i, cell)| {
                    if i == last { cell.clone() } else { format!("{cell:<width$}", width = widths[i]) }
                },
            )
            .collect::<String>()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The name of a user of the host, or its number.
fn owner(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&uid.to_string().as_str()))
        .map_or_else(|| format!("#{uid}"), |fields| fields[0].to_owned())
}
