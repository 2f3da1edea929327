//! The cgroups below one cgroup, which the container may have made: any number, at any depth.
//!
//! Few descriptors are open at a time, so that no depth exhausts them, and enough to make the way from one cgroup to
//! the next a short one: a container must not make others wait by the shape of its tree.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::rc::Rc;

use super::dir::Dir;
use crate::error::Errno;

/// One cgroup of a tree, by its place in the list of all.
struct Node {
    parent: Option<usize>,
    name: OsString,
}

/// A cgroup and everything below it, parents before children, and each with all that is below it before the next.
pub struct Tree<'a> {
    top: &'a Dir,
    nodes: Vec<Node>,
    /// Those that were opened last.
    kept: RefCell<VecDeque<(usize, Rc<Dir>)>>,
}

/// How many cgroups stay open. Whoever leaves a depth opens the way down to it once for so many steps up.
const KEPT: usize = 32;

impl<'a> Tree<'a> {
    /// Lists what is below `top`. What disappears meanwhile is left out.
    pub fn read(top: &'a Dir) -> Result<Tree<'a>, Errno> {
        let mut tree = Tree { top, nodes: Vec::new(), kept: RefCell::default() };
        let of = |parent, names: Vec<OsString>| names.into_iter().map(move |name| Node { parent, name });
        let mut left: Vec<Node> = of(None, present(top.children())?.unwrap_or_default()).collect();
        while let Some(node) = left.pop() {
            let index = tree.nodes.len();
            tree.nodes.push(node);
            if let Some(dir) = present(tree.open(index))? {
                left.extend(of(Some(index), present(dir.children())?.unwrap_or_default()));
            }
        }
        Ok(tree)
    }

    /// The number of cgroups below the top.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Opens one of the cgroups.
    pub fn open(&self, index: usize) -> Result<Rc<Dir>, Errno> {
        let (mut way, mut at, mut dir) = (Vec::new(), Some(index), None);
        while let Some(node) = at {
            dir = self.kept(node);
            if dir.is_some() {
                break;
            }
            way.push(node);
            at = self.nodes[node].parent;
        }
        for step in way.into_iter().rev() {
            let above = dir.as_deref().unwrap_or(self.top);
            let opened = Rc::new(above.child(&self.nodes[step].name)?);
            self.keep(step, Rc::clone(&opened));
            dir = Some(opened);
        }
        // A way has at least one step.
        dir.ok_or(Errno::EINVAL)
    }

    /// Removes one of the cgroups.
    pub fn remove(&self, index: usize) -> Result<(), Errno> {
        let node = &self.nodes[index];
        match node.parent {
            Some(parent) => self.open(parent)?.remove_child(&node.name),
            None => self.top.remove_child(&node.name),
        }
    }

    fn kept(&self, index: usize) -> Option<Rc<Dir>> {
        self.kept.borrow().iter().rev().find(|(of, _)| *of == index).map(|(_, dir)| Rc::clone(dir))
    }

    fn keep(&self, index: usize, dir: Rc<Dir>) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((index, dir));
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
