//! Compiled programs kept on disk, so that a profile is compiled once per host and not once per container.
//!
//! An entry holds the whole question, which is everything the program depends on, beside the answer. Looking up
//! means comparing the question byte for byte, so two policies cannot be taken for each other whatever their
//! author does; a hash only names the file. The question starts with a fingerprint of this crate's sources and the
//! version of libseccomp: another compiler asks another question.
//!
//! What is read is not trusted before it is checked: a regular file with one name, owned by the effective user,
//! mode 0600, of bounded size, whole, and a program the kernel would load. Anything else counts as absent, and so
//! does every error: a cache is no reason not to start. Entries appear by rename, so concurrent writers are safe
//! and the last one wins, with the same content.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use crate::compile::{Program, compile};
use crate::library_version;
use crate::policy::{Error, Policy};

/// Most entries kept; storing one more removes the oldest.
const MAX_ENTRIES: usize = 64;
/// Largest question kept, in bytes: forty times that of Docker's profile.
const MAX_QUESTION: usize = 256 << 10;
/// Largest file looked at: the question, 4096 instructions, and the header.
const MAX_FILE: u64 = (MAX_QUESTION + 8 * 4096 + 64) as u64;
/// Age at which a file that a writer left behind is removed.
const ABANDONED: Duration = Duration::from_secs(3600);

const MAGIC: &[u8; 8] = b"teubpf\x00\x01";
const SUFFIX: &str = ".bpf";
const TEMPORARY: &str = ".new";

/// A directory of compiled programs.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// A cache in `directory`, which is made (mode 0700) when the first program is stored. Does no I/O.
    pub fn new(directory: PathBuf) -> Cache {
        Cache { directory }
    }

    /// The program of a policy, and whether it came from the cache; else it was compiled, and stored if possible.
    ///
    /// Errors: those of [`compile`]; a cache that cannot be read or written is not an error.
    pub fn program(&self, policy: &Policy) -> Result<(Program, bool), Error> {
        let question = question(policy);
        let name = format!("{:016x}{SUFFIX}", hash(&question));
        if let Some(program) = self.find(&name, &question) {
            return Ok((program, true));
        }
        let program = compile(policy)?;
        if question.len() <= MAX_QUESTION {
            // Without the entry the next container compiles again, which is all that is lost.
            let _ = self.store(&name, &question, &program);
        }
        Ok((program, false))
    }

    fn find(&self, name: &str, question: &[u8]) -> Option<Program> {
        // Not blocking: a FIFO in the place of an entry must not stop a container.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let path = self.directory.join(name);
        let file = File::options().read(true).custom_flags(flags.bits()).open(path).ok()?;
        let metadata = file.metadata().ok()?;
        let is_ours = metadata.is_file()
            && metadata.uid() == geteuid().as_raw()
            && metadata.mode() & 0o7777 == 0o600
            && metadata.nlink() == 1
            && metadata.len() <= MAX_FILE;
        if !is_ours {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).ok()? + 1);
        file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        decode(&bytes, question)
    }

    fn store(&self, name: &str, question: &[u8], program: &Program) -> io::Result<()> {
        let directory = self.open_directory()?;
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{}-{count}{TEMPORARY}", std::process::id());
        let written = write_new(&directory, &temporary, &encode(question, program))
            .and_then(|()| Ok(renameat(&directory, temporary.as_str(), &directory, name)?));
        if written.is_err() {
            let _ = remove(&directory, &temporary);
        }
        self.remove_surplus(&directory)?;
        written
    }

    /// Opens the directory, making it if it is absent; only one that others cannot write to will do.
    fn open_directory(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = || File::options().read(true).custom_flags(flags.bits()).open(&self.directory);
        let directory = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(&self.directory)?;
                open()?
            }
            other => other?,
        };
        let metadata = directory.metadata()?;
        if metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        Ok(directory.into())
    }

    /// Removes the oldest entries beyond the limit, and what dead writers left.
    fn remove_surplus(&self, directory: &OwnedFd) -> io::Result<()> {
        let now = SystemTime::now();
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Another process may have removed it since.
            let Ok(changed) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
            if name.ends_with(SUFFIX) {
                entries.push((changed, name));
            } else if name.ends_with(TEMPORARY)
                && now.duration_since(changed).is_ok_and(|age| age > ABANDONED)
            {
                let _ = remove(directory, &name);
            }
        }
        entries.sort();
        let surplus = entries.len().saturating_sub(MAX_ENTRIES);
        for (_, name) in entries.into_iter().take(surplus) {
            let _ = remove(directory, &name);
        }
        Ok(())
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        // Another writer was faster; its directory is checked like any other.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn write_new(directory: &OwnedFd, name: &str, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    // The umask may have taken bits away, and then nobody would read the entry.
    fchmod(file.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR)?;
    file.write_all(bytes)
}

fn remove(directory: &OwnedFd, name: &str) -> nix::Result<()> {
    unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)
}

/// Everything a program depends on.
fn question(policy: &Policy) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 << 10);
    let (major, minor, micro) = library_version();
    bytes.extend(SOURCES.to_le_bytes());
    for number in [major, minor, micro, policy.flags, u32::from(policy.uses_notify())] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(policy.default_action.value().to_le_bytes());
    // Lengths come before contents, so no two policies have one encoding.
    put_length(&mut bytes, policy.architectures.len());
    for arch in std::iter::once(&policy.native).chain(&policy.architectures) {
        put_text(&mut bytes, arch.name());
    }
    put_length(&mut bytes, policy.rules.len());
    for rule in &policy.rules {
        bytes.extend(rule.action.value().to_le_bytes());
        put_length(&mut bytes, rule.names.len());
        rule.names.iter().for_each(|name| put_text(&mut bytes, name));
        put_length(&mut bytes, rule.conditions.len());
        for condition in &rule.conditions {
            bytes.extend([condition.index, condition.operator as u8]);
            bytes.extend(condition.value.to_le_bytes());
            bytes.extend(condition.value_two.to_le_bytes());
        }
    }
    bytes
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_length(bytes, text.len());
    bytes.extend(text.as_bytes());
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend((length as u64).to_le_bytes());
}

/// Magic, checksum of the rest, length of the question, question, program.
fn encode(question: &[u8], program: &Program) -> Vec<u8> {
    let mut rest = Vec::new();
    put_length(&mut rest, question.len());
    rest.extend(question);
    rest.extend(program.to_bytes());
    let mut bytes = MAGIC.to_vec();
    bytes.extend(hash(&rest).to_le_bytes());
    bytes.extend(rest);
    bytes
}

fn decode(bytes: &[u8], question: &[u8]) -> Option<Program> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (checksum, rest) = rest.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*checksum) != hash(rest) {
        return None;
    }
    let (length, rest) = rest.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*length) != question.len() as u64 {
        return None;
    }
    Program::from_bytes(rest.strip_prefix(question)?)
}

/// Names files and finds accidental damage. It need not resist anybody: see the head of this file.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Fingerprint of what decides how a policy becomes a program, computed while compiling this crate.
///
/// A changed compiler must not meet the programs of its predecessor, and nobody remembers to raise a number.
const SOURCES: u64 = {
    let sources: [&[u8]; 7] = [
        include_bytes!("arch.rs"),
        include_bytes!("assemble.rs"),
        include_bytes!("cache.rs"),
        include_bytes!("compile.rs"),
        include_bytes!("policy.rs"),
        include_bytes!("simulate.rs"),
        include_bytes!("tables.rs"),
    ];
    // FNV-1a, 64 bits.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut source = 0;
    while source < sources.len() {
        let bytes = sources[source];
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        source += 1;
    }
    hash
};
