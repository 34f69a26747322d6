//! Directories and files that are bound here, for a program on another machine:
//! each is served on a socket that ssh forwards.
//!
//! The sockets here lie in an entry of the runtime directory, where only the
//! user gets; a process beside ours serves them until ours, which has become
//! ssh, has ended. Those there are made by sshd for the user alone, under names
//! that nobody could have taken: see `arrival`.

use super::arrival::{PLACE, PREFIX};
use crate::failure::{Failure, shown};
use crate::keeper;
use crate::runtime::{Entry, Runtime};
use crate::serve;
use crate::tree;
use crate::world::of_io;
use privns_abi::{Errno, path};
use privns_host::Kernel;
use privns_host::process::Fork;
use privns_namespace::family;
use privns_namespace::file::{Action, Line, MountOptions};
use privns_servers::Server;
use privns_servers::auth::Auth;
use privns_servers::dir::Dir;
use privns_servers::serve::Listener;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Where the tree of a file stands while the file is bound.
const VIA: &[u8] = b"/.privns-server";

/// What is served while a program runs elsewhere.
#[derive(Default)]
pub(super) struct Exports {
    all: Vec<Export>,
    /// Where the sockets are here.
    entry: Option<Entry>,
}

struct Export {
    source: Vec<u8>,
    is_dir: bool,
    read_only: bool,
    here: Vec<u8>,
    there: String,
    listener: Listener,
}

impl Export {
    fn tree(&self) -> privns_abi::Result<Dir> {
        let source = Path::new(OsStr::from_bytes(&self.source));
        if self.is_dir { Dir::new(source) } else { Dir::only(source) }
    }
}

impl Exports {
    /// Takes what the lines bind, and gives lines that mount it.
    pub(super) fn of(lines: Vec<Line>) -> Result<(Vec<Line>, Exports), Failure> {
        let mut exports = Exports::default();
        let mut out = Vec::new();
        for line in lines {
            let source = exports.source(&line, &out);
            match source {
                None => out.push(line),
                Some((source, is_dir)) => {
                    let at = exports.add(source, is_dir, line.read_only)?;
                    out.extend(exports.all[at].lines(line));
                }
            }
        }
        Ok((out, exports))
    }

    /// The host path that a line binds, and whether it is a directory; `None`
    /// for what comes from elsewhere, or is neither that nor a file.
    fn source(&self, line: &Line, before: &[Line]) -> Option<(Vec<u8>, bool)> {
        let Action::Bind { src, .. } = &line.action else { return None };
        let path = match src.strip_prefix(b"host!") {
            Some(path) => path,
            // A name that a line before has made.
            None if before.iter().any(|line| makes(line, src)) => return None,
            None => src,
        };
        if !path.starts_with(b"/") {
            return None;
        }
        let kind = std::fs::metadata(OsStr::from_bytes(path)).ok()?.file_type();
        (kind.is_dir() || kind.is_file()).then(|| (path.to_vec(), kind.is_dir()))
    }

    fn add(&mut self, source: Vec<u8>, is_dir: bool, read_only: bool) -> Result<usize, Failure> {
        let same = |e: &Export| e.source == source && e.read_only == read_only;
        if let Some(at) = self.all.iter().position(same) {
            return Ok(at);
        }
        let failure = |e: Errno| Failure::new(format!("--export {}", shown(&source)), e);
        if self.entry.is_none() {
            let id = family::new_id().map_err(failure)?;
            self.entry = Some(Runtime::make()?.enter(id, b"").map_err(failure)?);
        }
        let dir = self.entry.as_ref().map(Entry::skeleton).unwrap_or_default();
        let number = self.all.len();
        let here = [path::parent(&dir), format!("/{number}").as_bytes()].concat();
        let [place, prefix] = [PLACE, PREFIX].map(String::from_utf8_lossy);
        let there =
            format!("{place}/{prefix}{}-{number}", crate::world::secret().map_err(failure)?);
        let before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
        let bound = UnixListener::bind(OsStr::from_bytes(&here));
        rustix::process::umask(before);
        let listener = bound.and_then(|l| l.set_nonblocking(true).map(|()| l));
        let listener = Listener::Unix(listener.map_err(|e| failure(of_io(&e)))?);
        let export = Export { source: source.clone(), is_dir, read_only, here, there, listener };
        export.tree().map_err(failure)?;
        self.all.push(export);
        Ok(number)
    }

    /// Names of the sockets there.
    pub(super) fn there(&self) -> Vec<String> {
        self.all.iter().map(|e| e.there.clone()).collect()
    }

    /// The sockets here, and their names there.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (&[u8], &str)> {
        self.all.iter().map(|e| (&e.here[..], &e.there[..]))
    }

    /// Serves, in a process of its own, for as long as this one lives, whatever
    /// it becomes.
    pub(super) fn leave(mut self) -> Result<(), Failure> {
        let Some(entry) = self.entry.take() else { return Ok(()) };
        let failure = |e| Failure::new("--export", e);
        let us = pidfd_open(getpid(), PidfdFlags::empty()).map_err(tree::errno);
        let us = us.inspect_err(|_| entry.remove()).map_err(failure)?;
        match keeper::fork_away().inspect_err(|_| entry.remove()).map_err(failure)? {
            Fork::Parent(_) => Ok(()),
            Fork::Child => {
                self.serve(&entry, &us);
                entry.remove();
                Runtime::all().iter().for_each(Runtime::tidy);
                Kernel.exit(0)
            }
        }
    }

    fn serve(&self, entry: &Entry, us: &OwnedFd) {
        Kernel.block_signals();
        Kernel.set_name(c"ns-export");
        let _ = rustix::process::chdir("/");
        let sockets = self.all.iter().map(|e| e.listener.as_fd().as_raw_fd());
        keeper::close_all_but(sockets.chain([entry.fd(), us.as_raw_fd()]).collect());
        keeper::stand_in();
        // Clients say what permissions a new file has, and have applied their
        // own umask.
        rustix::process::umask(Mode::empty());
        std::thread::scope(|scope| {
            for export in &self.all {
                scope.spawn(|| export.serve(us));
            }
        });
    }
}

impl Export {
    /// Who reaches the socket is known: nobody but the user gets to it here,
    /// and there sshd lets in whom it knows to be the user.
    fn serve(&self, us: &OwnedFd) {
        let Ok(tree) = self.tree() else { return };
        let server = Server::new(tree, self.read_only, serve::limits());
        let _ = server.listen(&[&self.listener], Auth::None, us.as_fd(), || is_over(us));
        server.shut();
    }

    /// The lines that stand for one that binds it.
    fn lines(&self, line: Line) -> Vec<Line> {
        let address = format!("unix!{}", self.there).into_bytes();
        let options = MountOptions::default();
        let Action::Bind { dst, .. } = &line.action else { return vec![line] };
        if self.is_dir {
            let action = Action::Mount { address, dst: dst.clone(), options };
            return vec![Line { action, ..line }];
        }
        let src = [VIA, b"/", path::file_name(&self.source)].concat();
        let bind = Action::Bind { src, dst: dst.clone() };
        let plain = |action| Line::new(action, &line.origin);
        let mount = plain(Action::Mount { address, dst: VIA.to_vec(), options });
        let unmount = plain(Action::Unmount { src: None, dst: VIA.to_vec() });
        vec![mount, Line { action: bind, ..line.clone() }, unmount]
    }
}

/// Whether a name is one that a line makes, or lies below it.
fn makes(line: &Line, name: &[u8]) -> bool {
    let dst = match &line.action {
        Action::Bind { dst, .. }
        | Action::Mount { dst, .. }
        | Action::Dir(dst)
        | Action::Symlink { dst, .. }
        | Action::Private(dst)
        | Action::Instance { dir: dst, .. } => dst,
        Action::Unmount { .. } | Action::Clear | Action::Cd(_) => return false,
    };
    path::below(name, dst).is_some()
}

fn is_over(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|n| n > 0)
}
