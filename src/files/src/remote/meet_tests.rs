//! Pipes and sockets of a server as a member of a family meets at them.

use super::super::served::{self, Served};
use super::*;
use privns_namespace::Table;
use privns_namespace::file::Cache;
use privns_ninep::attr::Attr;
use privns_servers::mem::Mem;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::vec::Vec;

fn memory(name: &str) -> Served<Mem> {
    let root = served::directory(&std::format!("meet-{name}"), &["skel"]);
    let mut table = Table::new();
    table.skeleton = root.join("skel").as_os_str().as_bytes().to_vec();
    Served::begin(root, Mem::new(1 << 20), &table, None, Cache::Close)
}

fn place(path: &str) -> Place<'_> {
    Place::from_top(1, path.as_bytes())
}

fn host(name: Name) -> PathBuf {
    Path::new(OsStr::from_bytes(name.as_bytes())).to_path_buf()
}

#[test]
fn a_pipe_is_met_at_by_all_its_names() {
    let world = memory("pipe");
    let view = world.view();
    world.process.remotes.set_mask(0o027);
    view.remote_mknod(&place("p"), libc::S_IFIFO | 0o666, 0).unwrap();
    assert_eq!(view.remote_stat(&place("p")).unwrap().mode(), libc::S_IFIFO | 0o640);
    // It is there before anybody opens it, whatever the mask, and nothing else is.
    let left: Vec<_> = fs::read_dir(world.root.join("meet")).unwrap().map(|e| e.unwrap()).collect();
    assert_eq!(left.len(), 1);
    let meta = left[0].metadata().unwrap();
    assert_eq!((meta.file_type().is_fifo(), meta.permissions().mode() & 0o7777), (true, 0o666));
    let pipe = |name: &str| view.remote_pipe(&place(name), libc::O_RDWR).map(host);
    let at = pipe("p").unwrap();
    assert_eq!(at, left[0].path());
    view.remote_link(&place("p"), &place("q")).unwrap();
    view.remote_rename(&place("p"), &place("r"), 0).unwrap();
    assert_eq!((pipe("q").as_ref(), pipe("r").as_ref()), (Ok(&at), Ok(&at)));
    assert_eq!((pipe("p"), pipe("r/")), (Err(Errno::ENOENT), Err(Errno::ENOTDIR)));
    // One that is missing is made.
    fs::remove_file(&at).unwrap();
    assert_eq!(pipe("r").as_ref(), Ok(&at));
    assert!(fs::symlink_metadata(&at).unwrap().file_type().is_fifo());
    // A new one by an old name is another.
    view.remote_unlink(&place("r"), false).unwrap();
    view.remote_mknod(&place("r"), libc::S_IFIFO | 0o666, 0).unwrap();
    assert_ne!(pipe("r").unwrap(), at);
}

#[test]
fn what_is_asked_of_an_open_comes_in_the_kernels_order() {
    let world = memory("open");
    let view = world.view();
    for (kind, opened) in [(libc::S_IFIFO, Ok(())), (libc::S_IFSOCK, Err(Errno::ENXIO))] {
        view.remote_mknod(&place("x"), kind | 0o600, 0).unwrap();
        let open = |flags: i32| view.remote_pipe(&place("x"), flags).map(drop);
        assert_eq!(open(libc::O_RDONLY | libc::O_TRUNC), opened);
        assert_eq!(open(libc::O_RDONLY | libc::O_DIRECTORY), Err(Errno::ENOTDIR));
        let by_name = |flags: i32| view.remote_openat(&place("x"), flags, 0o600).map(drop);
        assert_eq!(by_name(libc::O_RDWR | libc::O_CREAT), Err(Errno::ENXIO));
        assert_eq!(by_name(libc::O_CREAT | libc::O_EXCL), Err(Errno::EEXIST));
        view.remote_unlink(&place("x"), false).unwrap();
    }
}

#[test]
fn a_socket_is_bound_and_found_and_tells_what_it_was_bound_by() {
    let world = memory("socket");
    let view = world.view();
    view.remote_mknod(&place("s"), libc::S_IFSOCK | 0o600, 0).unwrap();
    let at = host(view.remote_binding(&place("s")).unwrap());
    let found = || view.remote_socket(&place("s")).map(host);
    assert_eq!(found(), Err(Errno::ECONNREFUSED));
    let _listener = UnixListener::bind(&at).unwrap();
    let mut name = Name::from(at.as_os_str().as_bytes()).unwrap();
    view.has_bound(&mut name, Name::from(b"./s").unwrap()).unwrap();
    assert_eq!(found().as_ref(), Ok(&at));
    // The name goes to another, and the socket goes on telling.
    view.remote_unlink(&place("s"), false).unwrap();
    assert_eq!(found(), Err(Errno::ENOENT));
    view.remote_mknod(&place("s"), libc::S_IFSOCK | 0o600, 0).unwrap();
    assert_eq!(found(), Err(Errno::ECONNREFUSED));
    assert_eq!(view.bound_as(name.as_bytes()).unwrap().as_bytes(), b"./s");
}

#[test]
fn a_stand_in_goes_with_the_last_name() {
    let world = memory("last");
    let view = world.view();
    let left = || fs::read_dir(world.root.join("meet")).unwrap().count();
    let unlink = |name: &str| view.remote_unlink(&place(name), false).unwrap();
    for name in ["p", "q"] {
        view.remote_mknod(&place(name), libc::S_IFIFO | 0o600, 0).unwrap();
    }
    view.remote_link(&place("p"), &place("also")).unwrap();
    view.remote_rename(&place("also"), &place("p"), 0).unwrap();
    unlink("p");
    assert_eq!(left(), 2, "it has another name");
    unlink("also");
    assert_eq!(left(), 1);
    view.remote_mknod(&place("f"), libc::S_IFREG | 0o600, 0).unwrap();
    view.remote_rename(&place("f"), &place("q"), 0).unwrap();
    assert_eq!(left(), 0);
    unlink("q");
    // A socket's when nobody has it bound any more: until then it tells what it was bound as.
    let bound = |listens: bool| {
        view.remote_mknod(&place("s"), libc::S_IFSOCK | 0o600, 0).unwrap();
        let mut at = view.remote_binding(&place("s")).unwrap();
        let path = Path::new(OsStr::from_bytes(at.as_bytes())).to_path_buf();
        let stream = listens.then(|| UnixListener::bind(&path).unwrap());
        let datagrams = (!listens).then(|| UnixDatagram::bind(&path).unwrap());
        view.has_bound(&mut at, Name::from(b"./s").unwrap()).unwrap();
        (stream, datagrams)
    };
    for (listens, others) in [(true, 0), (false, 2)] {
        let socket = bound(listens);
        unlink("s");
        assert_eq!(left(), others + 2);
        drop(socket);
        drop(bound(listens));
        unlink("s");
        assert_eq!(left(), others + 2);
    }
}

#[test]
fn a_stand_in_is_of_its_files_kind() {
    let root = served::directory("meet-trust", &["d"]);
    let name = || Name::from(root.join("s").as_os_str().as_bytes()).unwrap();
    let _listener = UnixListener::bind(root.join("s")).unwrap();
    let meta = |uid, mode| Meta::plain(1, Attr { uid, mode, ..Attr::default() });
    let us = Kernel.geteuid();
    assert_eq!(trusted(&mut name(), &meta(us + 1, libc::S_IFSOCK), Errno::ENXIO), Ok(()));
    let pipe = trusted(&mut name(), &meta(us, libc::S_IFIFO), Errno::ENXIO);
    assert_eq!(pipe, Err(Errno::ENXIO), "of another kind");
    fs::remove_dir_all(&root).unwrap();
}
