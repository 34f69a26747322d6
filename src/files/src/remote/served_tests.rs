//! What tests of remote files begin with: a process of a family that has met
//! one server, as number 1, on a socket in a directory of its own.

use super::conn::Settings;
use crate::process::{Process, View};
use privns_namespace::Table;
use privns_namespace::family::Family;
use privns_namespace::file::Cache;
use privns_ninep::Dialect;
use privns_ninep::client::window::Window;
use privns_servers::auth::Auth;
use privns_servers::serve::Listener;
use privns_servers::{Limits, Server, Tree};
use std::boxed::Box;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The process and the server.
pub(super) struct Served<T: Tree + 'static> {
    pub(super) root: PathBuf,
    pub(super) process: &'static Process,
    pub(super) server: Arc<Server<T>>,
    /// The server listens as long as this is there.
    _stop: UnixStream,
}

/// A new directory with these directories in it.
pub(super) fn directory(name: &str, within: &[&str]) -> PathBuf {
    let root = std::env::temp_dir().join(std::format!("privns-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    within.iter().for_each(|dir| fs::create_dir_all(root.join(dir)).unwrap());
    root
}

impl<T: Tree + 'static> Served<T> {
    /// Serves a tree in `root`, which goes with it, and makes a family with this
    /// table.
    pub(super) fn begin(
        root: PathBuf,
        tree: T,
        table: &Table,
        dialect: Option<Dialect>,
        cache: Cache,
    ) -> Self {
        let socket = root.join("socket");
        let server = Arc::new(Server::new(tree, false, Limits::default()));
        let listener = UnixListener::bind(&socket).unwrap();
        let shared = server.clone();
        let (stop, wake) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut gone = [0];
            wake.set_nonblocking(true).unwrap();
            let stopped = || (&wake).read(&mut gone).is_ok();
            shared.listen(&[&Listener::Unix(listener)], Auth::Uid, wake.as_fd(), stopped)
        });
        let process: &'static Process = Box::leak(Box::new(Process::new()));
        process.join(Family::create(b"", table).unwrap());
        process.meet();
        let settings = Settings {
            id: 1,
            dial: &[b"unix!", socket.as_os_str().as_bytes()].concat(),
            aname: b"",
            uname: b"",
            msize: 1 << 16,
            dialect,
            timeout: Duration::from_secs(20),
            owner_me: false,
            window: Window::new(0),
            cache,
        };
        process.remotes.servers.dial(&settings, None, &[], || None).unwrap();
        Served { root, process, server, _stop: stop }
    }

    pub(super) fn view(&self) -> View<'static> {
        self.process.view().unwrap()
    }
}

impl<T: Tree + 'static> Drop for Served<T> {
    fn drop(&mut self) {
        self.server.shut();
        let _ = fs::remove_dir_all(&self.root);
    }
}
