//! The program that runs inside test containers: this very test binary under the name `probe`.
//!
//! It must not be trusted with what the Rust start-up code changes (it ignores SIGPIPE and opens missing
//! standard descriptors); tests of those use busybox.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use serde_json::{Value, json};

use crate::harness::{mountinfo, pattern, sys};

/// Acts as the probe when called by that name.
pub fn main() -> Option<ExitCode> {
    let mut arguments = std::env::args();
    if !arguments.next()?.ends_with("probe") {
        return None;
    }
    let words: Vec<String> = arguments.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(match words.as_slice() {
        ["report"] => {
            println!("{}", report());
            ExitCode::SUCCESS
        }
        ["syscall", number] => {
            println!("{}", number.parse().map_or(-1, sys::raw_syscall));
            ExitCode::SUCCESS
        }
        ["refuse-sync-itself"] => {
            let loaded = sys::refuse_call(libc::SYS_sync as u32, 42);
            println!("{loaded} {}", sys::raw_syscall(libc::SYS_sync));
            ExitCode::SUCCESS
        }
        ["busy"] => busy(),
        ["adopt", program, arguments @ ..] => adopt(program, arguments),
        ["notify", messages @ ..] => notify(messages),
        ["pour", megabytes] => match megabytes.parse().map(pattern::pour) {
            Ok(Ok(())) => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        },
        other => {
            eprintln!("probe: unknown request {other:?}");
            ExitCode::FAILURE
        }
    })
}

/// Makes threads, processes and sync(2), which the profile of its container refuses, again and again.
fn busy() -> ExitCode {
    for round in 0.. {
        let threads: Vec<_> =
            (0..4).map(|_| std::thread::spawn(|| sys::raw_syscall(libc::SYS_sync))).collect();
        let status = Command::new("/bin/true").status();
        let refused = threads.into_iter().all(|thread| thread.join().is_ok_and(|errno| errno == libc::EPERM));
        if !refused || !status.is_ok_and(|status| status.success()) {
            println!("wrong in round {round}");
        }
        println!("round {round}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    ExitCode::SUCCESS
}

/// Runs a program, then stays as the careless parent of whatever it left: it adopts and never reaps.
fn adopt(program: &str, arguments: &[&str]) -> ExitCode {
    let adopted = nix::sys::prctl::set_child_subreaper(true);
    let status = Command::new(program).args(arguments).process_group(0).status();
    println!("{adopted:?} {status:?}");
    loop {
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}

/// Tells each message to NOTIFY_SOCKET as one datagram. `BARRIER=1` waits until everything has been read.
fn notify(messages: &[&str]) -> ExitCode {
    for message in messages {
        if let Err(error) = notify_one(message) {
            println!("{message}: {error}");
            return ExitCode::FAILURE;
        }
    }
    println!("told");
    ExitCode::SUCCESS
}

fn notify_one(message: &str) -> Result<(), Box<dyn std::error::Error>> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
    use std::os::fd::{AsFd, AsRawFd};
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    let address = UnixAddr::new(std::env::var("NOTIFY_SOCKET")?.as_str())?;
    let (kept, handed) = nix::unistd::pipe()?;
    let fds = [handed.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let waits = message == "BARRIER=1";
    let slices = [std::io::IoSlice::new(message.as_bytes())];
    let control = if waits { &rights[..] } else { &[] };
    sendmsg(socket.as_raw_fd(), &slices, control, MsgFlags::empty(), Some(&address))?;
    drop(handed);
    if waits && poll(&mut [PollFd::new(kept.as_fd(), PollFlags::empty())], PollTimeout::from(5000u16))? == 0 {
        return Err("nobody has read it".into());
    }
    Ok(())
}

fn report() -> Value {
    let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let link = |name: &str| {
        fs::read_link(format!("/proc/self/{name}"))
            .map(|to| to.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let status: BTreeMap<String, String> = text("status")
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let namespaces: BTreeMap<String, String> =
        names("/proc/self/ns").into_iter().map(|name| (name.clone(), link(&format!("ns/{name}")))).collect();
    let mounts: Vec<Value> = mountinfo::parse(&text("mountinfo"))
        .into_iter()
        .map(|m| {
            json!({
                "root": m.root, "point": m.point, "options": m.options, "propagation": m.propagation,
                "fs": m.fs, "source": m.source, "super": m.super_options,
            })
        })
        .collect();
    json!({
        "argv": std::env::args().collect::<Vec<_>>(),
        "env": std::env::vars().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
        "cwd": nix::unistd::getcwd().map(|cwd| cwd.to_string_lossy().into_owned()).unwrap_or_default(),
        "root": link("root"),
        "exe": link("exe"),
        "status": status,
        "namespaces": namespaces,
        "mounts": mounts,
        "fds": descriptors(),
        "limits": text("limits"),
        "oom_score_adj": text("oom_score_adj").trim(),
        "cgroup": text("cgroup"),
        "personality": text("personality").trim(),
        "session": nix::unistd::getsid(None).map(|pid| pid.as_raw()).unwrap_or(-1),
        "pid": std::process::id(),
    })
}

fn descriptors() -> Vec<Value> {
    let listing = names("/proc/self/fd");
    listing
        .into_iter()
        .filter_map(|name| {
            let path = format!("/proc/self/fd/{name}");
            // The descriptor of the listing itself is closed by now, so it has no link.
            let target = fs::read_link(&path).ok()?;
            let metadata = fs::metadata(&path).ok();
            Some(json!({
                "fd": name.parse::<i32>().ok()?,
                "target": target.to_string_lossy(),
                "dev": metadata.as_ref().map(MetadataExt::dev),
                "ino": metadata.as_ref().map(MetadataExt::ino),
            }))
        })
        .collect()
}

fn names(dir: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
}
