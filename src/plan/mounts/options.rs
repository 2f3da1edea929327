//! The option words of mounts: what each does, and what a list of them comes to.

use super::{Attributes, attr, propagation};

/// What an option word does.
#[derive(Clone, Copy)]
enum Effect {
    Nothing,
    Bind(bool),
    Remount,
    Set(u64),
    Clear(u64),
    Atime(u64),
    NotAtime(u64),
    SetBelow(u64),
    ClearBelow(u64),
    AtimeBelow(u64),
    NotAtimeBelow(u64),
    Propagation(u64, bool),
    /// A flag of the superblock: set by this parameter.
    Superblock(&'static str),
    /// The opposite, which is the default.
    NotSuperblock(&'static str),
    CopyUp,
    CopySymlink,
    SourceNoFollow,
    DestNoFollow,
    IdMap(bool),
}

/// Every word that is not left to the file system. `features` prints the first column.
const OPTIONS: [(&str, Effect); 65] = {
    use Effect::*;
    use attr::*;
    use propagation::*;
    [
        ("async", NotSuperblock("sync")),
        ("atime", NotAtime(NOATIME)),
        ("bind", Bind(false)),
        ("copy-symlink", CopySymlink),
        ("defaults", Nothing),
        ("dest-nofollow", DestNoFollow),
        ("dev", Clear(NODEV)),
        ("diratime", Clear(NODIRATIME)),
        ("dirsync", Superblock("dirsync")),
        ("exec", Clear(NOEXEC)),
        ("idmap", IdMap(false)),
        ("iversion", Nothing), // file systems decide by themselves since Linux 4.16
        ("lazytime", Superblock("lazytime")),
        ("loud", Nothing),
        ("mand", Nothing), // has no effect since Linux 5.15
        ("noatime", Atime(NOATIME)),
        ("nodev", Set(NODEV)),
        ("nodiratime", Set(NODIRATIME)),
        ("noexec", Set(NOEXEC)),
        ("noiversion", Nothing),
        ("nolazytime", NotSuperblock("lazytime")),
        ("nomand", Nothing),
        ("norelatime", NotAtime(0)),
        ("nostrictatime", NotAtime(STRICTATIME)),
        ("nosuid", Set(NOSUID)),
        ("nosymfollow", Set(NOSYMFOLLOW)),
        ("private", Propagation(PRIVATE, false)),
        ("ratime", NotAtimeBelow(NOATIME)),
        ("rbind", Bind(true)),
        ("rdev", ClearBelow(NODEV)),
        ("rdiratime", ClearBelow(NODIRATIME)),
        ("relatime", Atime(0)),
        ("remount", Remount),
        ("rexec", ClearBelow(NOEXEC)),
        ("ridmap", IdMap(true)),
        ("rnoatime", AtimeBelow(NOATIME)),
        ("rnodev", SetBelow(NODEV)),
        ("rnodiratime", SetBelow(NODIRATIME)),
        ("rnoexec", SetBelow(NOEXEC)),
        ("rnorelatime", NotAtimeBelow(0)),
        ("rnostrictatime", NotAtimeBelow(STRICTATIME)),
        ("rnosuid", SetBelow(NOSUID)),
        ("rnosymfollow", SetBelow(NOSYMFOLLOW)),
        ("ro", Set(RDONLY)),
        ("rprivate", Propagation(PRIVATE, true)),
        ("rrelatime", AtimeBelow(0)),
        ("rro", SetBelow(RDONLY)),
        ("rrw", ClearBelow(RDONLY)),
        ("rshared", Propagation(SHARED, true)),
        ("rslave", Propagation(SLAVE, true)),
        ("rstrictatime", AtimeBelow(STRICTATIME)),
        ("rsuid", ClearBelow(NOSUID)),
        ("rsymfollow", ClearBelow(NOSYMFOLLOW)),
        ("runbindable", Propagation(UNBINDABLE, true)),
        ("rw", Clear(RDONLY)),
        ("shared", Propagation(SHARED, false)),
        ("silent", Nothing),
        ("slave", Propagation(SLAVE, false)),
        ("src-nofollow", SourceNoFollow),
        ("strictatime", Atime(STRICTATIME)),
        ("suid", Clear(NOSUID)),
        ("symfollow", Clear(NOSYMFOLLOW)),
        ("sync", Superblock("sync")),
        ("tmpcopyup", CopyUp),
        ("unbindable", Propagation(UNBINDABLE, false)),
    ]
};

/// The option words that `features` lists, sorted.
pub fn option_names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(name, _)| *name)
}

/// Everything that the options of one mount say. A number beside a word, or in its place, is its index.
#[derive(Default)]
pub struct Options {
    pub bind: Option<bool>,
    pub remount: bool,
    pub attributes: Attributes,
    pub recursive: Attributes,
    pub propagation: Vec<(u64, bool)>,
    pub superblock: Vec<(usize, &'static str)>,
    pub data: Vec<(usize, String)>,
    pub copy_up: Option<usize>,
    pub copy_symlink: Option<usize>,
    pub source_no_follow: Option<usize>,
    pub dest_no_follow: Option<usize>,
    pub id_map: Option<bool>,
}

/// Reads the words in order: later ones win. An empty one says nothing.
pub fn read_options(words: &[String]) -> Options {
    let mut all = Options::default();
    // buildah writes an empty word among those of its volumes.
    for (index, word) in words.iter().enumerate().filter(|(_, word)| !word.is_empty()) {
        let Some((_, effect)) = OPTIONS.iter().find(|(name, _)| name == word) else {
            all.data.push((index, word.clone()));
            continue;
        };
        match *effect {
            Effect::Nothing => {}
            Effect::Bind(recursive) => all.bind = Some(recursive || all.bind == Some(true)),
            Effect::Remount => all.remount = true,
            Effect::Set(bits) => all.attributes.set(bits),
            Effect::Clear(bits) => all.attributes.clear(bits),
            Effect::Atime(value) => all.attributes.atime(value),
            Effect::NotAtime(value) => all.attributes.not_atime(value),
            Effect::SetBelow(bits) => all.recursive.set(bits),
            Effect::ClearBelow(bits) => all.recursive.clear(bits),
            Effect::AtimeBelow(value) => all.recursive.atime(value),
            Effect::NotAtimeBelow(value) => all.recursive.not_atime(value),
            Effect::Propagation(bits, recursive) => all.propagation.push((bits, recursive)),
            Effect::Superblock(name) => {
                all.superblock.retain(|(_, set)| *set != name);
                all.superblock.push((index, name));
            }
            Effect::NotSuperblock(name) => all.superblock.retain(|(_, set)| *set != name),
            Effect::CopyUp => all.copy_up = Some(index),
            Effect::CopySymlink => all.copy_symlink = Some(index),
            Effect::SourceNoFollow => all.source_no_follow = Some(index),
            Effect::DestNoFollow => all.dest_no_follow = Some(index),
            Effect::IdMap(recursive) => all.id_map = Some(recursive),
        }
    }
    all
}
