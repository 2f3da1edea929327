//! The cgroups below one cgroup, which the container may have made: any number, at any depth.
//!
//! Only one descriptor is open at a time, so that no depth exhausts them.

use std::ffi::OsString;

use super::dir::Dir;
use crate::error::Errno;

/// One cgroup of a tree, by its place in the list of all.
struct Node {
    parent: Option<usize>,
    name: OsString,
}

/// A cgroup and everything below it, parents before children.
pub struct Tree<'a> {
    top: &'a Dir,
    nodes: Vec<Node>,
}

impl<'a> Tree<'a> {
    /// Lists what is below `top`. What disappears meanwhile is left out.
    pub fn read(top: &'a Dir) -> Result<Tree<'a>, Errno> {
        let mut tree = Tree { top, nodes: Vec::new() };
        for name in present(top.children())?.unwrap_or_default() {
            tree.nodes.push(Node { parent: None, name });
        }
        let mut next = 0;
        while next < tree.nodes.len() {
            if let Some(dir) = present(tree.open(next))? {
                for name in present(dir.children())?.unwrap_or_default() {
                    tree.nodes.push(Node { parent: Some(next), name });
                }
            }
            next += 1;
        }
        Ok(tree)
    }

    /// The number of cgroups below the top.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Opens one of the cgroups.
    pub fn open(&self, index: usize) -> Result<Dir, Errno> {
        let node = &self.nodes[index];
        match node.parent {
            Some(parent) => self.open_from_top(parent)?.child(&node.name),
            None => self.top.child(&node.name),
        }
    }

    /// Removes one of the cgroups.
    pub fn remove(&self, index: usize) -> Result<(), Errno> {
        let node = &self.nodes[index];
        match node.parent {
            Some(parent) => self.open_from_top(parent)?.remove_child(&node.name),
            None => self.top.remove_child(&node.name),
        }
    }

    fn open_from_top(&self, index: usize) -> Result<Dir, Errno> {
        let mut way = vec![index];
        let mut at = index;
        while let Some(parent) = self.nodes[at].parent {
            way.push(parent);
            at = parent;
        }
        let mut dir = None;
        for step in way.into_iter().rev() {
            let name = &self.nodes[step].name;
            dir = Some(dir.as_ref().unwrap_or(self.top).child(name)?);
        }
        dir.map_or_else(|| self.top.reopen(), Ok)
    }
}

/// Turns "it is gone" into nothing.
pub fn present<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The processes of a cgroup and of everything below it.
pub fn pids(top: &Dir) -> Result<Vec<i32>, Errno> {
    let mut pids = own_pids(top)?;
    let tree = Tree::read(top)?;
    for index in 0..tree.len() {
        if let Some(dir) = present(tree.open(index))? {
            pids.extend(own_pids(&dir)?);
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// The processes directly in a cgroup.
///
/// A threaded cgroup does not list processes; those of a threaded child are listed by its domain, and those of
/// a threaded top are found through their threads.
fn own_pids(dir: &Dir) -> Result<Vec<i32>, Errno> {
    match present(dir.read("cgroup.procs")) {
        Ok(content) => Ok(numbers(&content.unwrap_or_default())),
        Err(Errno::EOPNOTSUPP) => {
            let threads = numbers(&present(dir.read("cgroup.threads"))?.unwrap_or_default());
            Ok(threads.into_iter().filter_map(process_of_thread).collect())
        }
        Err(errno) => Err(errno),
    }
}

/// Zero stands for a process that the caller's pid namespace does not have.
fn numbers(content: &str) -> Vec<i32> {
    content.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}

fn process_of_thread(thread: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
}
