//! Calls on names, on a server and on the kernel: two directories alike, the
//! same call in each, the same answer. The kernel is the oracle.

use super::super::served::{self, Served};
use super::*;
use privns_namespace::Table;
use privns_namespace::file::Cache;
use privns_ninep::Dialect;
use privns_ninep::attr::{SetAttr, set};
use privns_servers::dir::Dir;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::string::String;
use std::vec;

type World = Served<Dir>;

impl World {
    /// With a name that ends so the server is asked for everything.
    const ASKED: &'static str = "-asked";

    fn new(name: &str, dialect: Option<Dialect>) -> World {
        let cache = if name.ends_with(World::ASKED) { Cache::None } else { Cache::Close };
        let root = served::directory(&std::format!("names-{name}"), &["served", "native"]);
        let dir = Dir::new(&root.join("served")).unwrap();
        Served::begin(root, dir, &Table::new(), dialect, cache)
    }

    fn fill(&self) {
        for side in ["served", "native"] {
            let root = self.root.join(side);
            for entry in fs::read_dir(&root).unwrap() {
                let path = entry.unwrap().path();
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
            fs::create_dir_all(root.join("d/e")).unwrap();
            fs::create_dir(root.join("empty")).unwrap();
            for file in ["f", "d/g"] {
                fs::write(root.join(file), file).unwrap();
            }
            symlink("f", root.join("l")).unwrap();
            symlink("nowhere", root.join("dangling")).unwrap();
        }
    }
}

fn place(path: &str) -> Place<'_> {
    Place::from_top(1, path.as_bytes())
}

fn answer<T>(done: std::io::Result<T>) -> Result<()> {
    done.map(drop).map_err(|error| Errno(error.raw_os_error().unwrap()))
}

/// Without what std does to names: `.` and slashes at the end count.
fn raw(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

const NAMES: [&str; 15] = [
    "d", "d/", "d/.", "d/e", "empty", "empty/", "f", "f/", "f/x", "d/g", "l", "dangling", "none",
    "none/", "none/x",
];

type Remote = fn(View<'_>, &Place<'_>) -> Result<()>;
type Native = fn(&Path) -> Result<()>;

fn open(flags: i32) -> impl Fn(&Path) -> Result<()> {
    move |path| {
        let mut options = fs::OpenOptions::new();
        options.read(flags & libc::O_ACCMODE != libc::O_WRONLY);
        options.write(flags & libc::O_ACCMODE != libc::O_RDONLY);
        let extra = flags & !libc::O_ACCMODE;
        let create = extra & libc::O_CREAT != 0;
        options.create(create && extra & libc::O_EXCL == 0);
        options.create_new(create && extra & libc::O_EXCL != 0);
        options.truncate(extra & libc::O_TRUNC != 0);
        answer(options.custom_flags(extra | libc::O_NOFOLLOW).mode(0o600).open(path))
    }
}

fn compare(world: &World, call: &str, name: &str, native: Result<()>, remote: Result<()>) {
    assert_eq!(remote, native, "{call} {name:?}");
    // What the call has made or removed is the same too.
    let list = |side: &str| {
        let mut names = vec![];
        walk(&world.root.join(side), &mut names, "");
        names
    };
    assert_eq!(list("served"), list("native"), "after {call} {name:?}");
}

fn walk(dir: &Path, names: &mut Vec<(String, u32, u64)>, prefix: &str) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap()).collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let name = std::format!("{prefix}/{}", entry.file_name().into_string().unwrap());
        let meta = entry.metadata().unwrap();
        let size = if meta.is_dir() { 0 } else { meta.size() };
        names.push((name.clone(), meta.mode(), size));
        if meta.is_dir() {
            walk(&entry.path(), names, &name);
        }
    }
}

fn calls_on_one_name(name: &str, dialect: Option<Dialect>) {
    let world = World::new(name, dialect);
    let calls: [(&str, Remote, Native); 8] = [
        ("stat", |v, p| v.remote_stat(p).map(drop), |p| answer(fs::symlink_metadata(p))),
        ("readlink", |v, p| v.remote_readlink(p).map(drop), |p| answer(fs::read_link(p))),
        (
            "mkdir",
            |v, p| v.remote_mkdir(p, 0o751),
            |p| {
                use std::os::unix::fs::DirBuilderExt;
                answer(fs::DirBuilder::new().mode(0o751).create(p))
            },
        ),
        ("rmdir", |v, p| v.remote_unlink(p, true), |p| answer(fs::remove_dir(p))),
        ("unlink", |v, p| v.remote_unlink(p, false), |p| answer(fs::remove_file(p))),
        ("symlink", |v, p| v.remote_symlink(p, b"text"), |p| answer(symlink("text", p))),
        (
            "mknod",
            |v, p| v.remote_mknod(p, libc::S_IFREG | 0o640, 0),
            |p| answer(fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(p)),
        ),
        (
            "chmod",
            |v, p| v.remote_setattr(p, &mode_of(0o711)),
            |p| answer(fs::set_permissions(p, fs::Permissions::from_mode(0o711))),
        ),
    ];
    for (call, remote, native) in calls {
        for name in NAMES {
            let follows = call == "chmod" && matches!(name, "l" | "dangling");
            // The kernel says EISDIR to an open where mknod says ENOENT.
            let open_alone = call == "mknod" && name.ends_with(['/', '.']);
            if follows || open_alone {
                continue;
            }
            world.fill();
            let said = native(&world.root.join("native").join(name));
            compare(&world, call, name, said, remote(world.view(), &place(name)));
        }
    }
}

fn mode_of(mode: u32) -> SetAttr {
    SetAttr { valid: set::MODE, mode, ..SetAttr::default() }
}

fn opens(name: &str, dialect: Option<Dialect>) {
    let world = World::new(name, dialect);
    let (create, excl, trunc) = (libc::O_CREAT, libc::O_EXCL, libc::O_TRUNC);
    let all = [
        libc::O_RDONLY,
        libc::O_RDONLY | libc::O_DIRECTORY,
        libc::O_WRONLY,
        libc::O_RDWR | trunc,
        libc::O_WRONLY | create,
        libc::O_WRONLY | create | excl,
        libc::O_RDWR | create | trunc,
        libc::O_RDONLY | libc::O_PATH,
    ];
    for flags in all {
        for name in NAMES {
            world.fill();
            let path = world.root.join("native").join(name);
            let native = open(flags)(&path);
            let flags = flags | libc::O_NOFOLLOW;
            let remote = world.view().remote_open(&place(name), flags, 0o600, &mut []).map(drop);
            compare(&world, &std::format!("open {flags:o}"), name, native, remote);
        }
    }
}

fn renames_and_links(name: &str, dialect: Option<Dialect>) {
    let world = World::new(name, dialect);
    for old in NAMES {
        for new in NAMES {
            world.fill();
            let native = world.root.join("native");
            let (from, to) = (raw(&native.join(old)), raw(&native.join(new)));
            let said = answer(fs::rename(path_of(&from), path_of(&to)));
            let names = std::format!("{old} {new}");
            let remote = world.view().remote_rename(&place(old), &place(new), 0);
            compare(&world, "rename", &names, said, remote);
            world.fill();
            let said = answer(fs::hard_link(path_of(&from), path_of(&to)));
            let remote = world.view().remote_link(&place(old), &place(new));
            compare(&world, "link", &names, said, remote);
        }
    }
}

fn path_of(name: &CString) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()))
}

macro_rules! in_both {
    ($($test:ident $run:ident;)*) => {
        $(mod $test {
            #[test]
            fn ours() {
                super::$run(concat!(stringify!($test), "-ours"), None);
            }
            #[test]
            fn asked() {
                super::$run(concat!(stringify!($test), "-asked"), None);
            }
            #[test]
            fn linux() {
                let dialect = Some(privns_ninep::Dialect::Linux);
                super::$run(concat!(stringify!($test), "-linux"), dialect);
            }
        })*
    };
}

in_both! {
    one_name calls_on_one_name;
    opening opens;
    two_names renames_and_links;
}

#[test]
fn the_dialects_of_plan_9_do_what_they_can() {
    for dialect in [Dialect::Unix, Dialect::Base] {
        let world = World::new(&std::format!("plan9-{dialect:?}"), Some(dialect));
        world.fill();
        let view = world.view();
        assert_eq!(view.remote_stat(&place("f")).unwrap().size(), 1);
        assert!(view.remote_stat(&place("d/")).unwrap().is_dir());
        assert_eq!(view.remote_stat(&place("none")).err(), Some(Errno::ENOENT));
        assert_eq!(view.remote_stat(&place("f/x")).err(), Some(Errno::ENOTDIR));
        assert_eq!(view.remote_mkdir(&place("new"), 0o755), Ok(()));
        assert_eq!(view.remote_mkdir(&place("new"), 0o755), Err(Errno::EEXIST));
        let create = libc::O_WRONLY | libc::O_CREAT;
        assert!(view.remote_open(&place("new/file"), create, 0o644, &mut []).is_ok());
        assert!(view.remote_open(&place("new/file"), create, 0o644, &mut []).is_ok());
        let exclusive = view.remote_open(&place("new/file"), create | libc::O_EXCL, 0, &mut []);
        assert_eq!(exclusive.err(), Some(Errno::EEXIST));
        assert_eq!(view.remote_unlink(&place("new"), true), Err(Errno::ENOTEMPTY));
        assert_eq!(view.remote_rename(&place("new/file"), &place("new/other"), 0), Ok(()));
        let apart = view.remote_rename(&place("new/other"), &place("other"), 0);
        assert_eq!(apart, Err(Errno::EXDEV));
        assert_eq!(view.remote_unlink(&place("new/other"), false), Ok(()));
        assert_eq!(view.remote_unlink(&place("new"), true), Ok(()));
        let links = view.remote_symlink(&place("sym"), b"f");
        assert_eq!(links, if dialect == Dialect::Unix { Ok(()) } else { Err(Errno::EPERM) });
        assert_eq!(view.remote_link(&place("f"), &place("hard")), Err(Errno::EPERM));
    }
}

#[test]
fn what_is_listed_is_asked_for_together() {
    let world = World::new("listed", None);
    world.fill();
    for n in 0..1000 {
        fs::write(world.root.join(std::format!("served/empty/{n}")), "").unwrap();
    }
    let view = world.view();
    let fd = view.remote_openat(&place("empty"), libc::O_RDONLY | libc::O_DIRECTORY, 0).unwrap();
    let conn = view.conn(1).unwrap();
    let before = conn.client.counters().round_trips;
    let dir = world.process.file(fd).unwrap();
    let (mut names, mut room) = (vec![], [0; 4096]);
    loop {
        let n = view.remote_list(fd, &dir, &mut room).unwrap();
        names.extend(privns_host::dirent::entries(&room[..n]).map(|e| e.name.to_vec()));
        if n == 0 {
            break;
        }
    }
    assert_eq!(names.len(), 1002);
    let listing = conn.client.counters().round_trips - before;
    assert!(listing <= 4, "{listing}");
    for name in names.iter().filter(|name| !name.starts_with(b".")) {
        assert!(view.remote_stat(&Place::below(&dir, name)).is_ok());
    }
    // A wait that ends before all replies are in counts again.
    let all = conn.client.counters().round_trips - before;
    assert!(all <= 100, "{all}");
    // A change of ours is seen.
    let last = names.last().unwrap();
    view.remote_unlink(&Place::below(&dir, last), false).unwrap();
    assert_eq!(view.remote_stat(&Place::below(&dir, last)).err(), Some(Errno::ENOENT));
}

#[test]
fn what_is_at_hand_is_read_there() {
    let world = World::new("near", None);
    world.fill();
    let (view, served) = (world.view(), world.root.join("served"));
    let open = |name, flags| view.remote_openat(&place(name), flags, 0o600);
    let text = b"what the server's user sees";
    fs::write(served.join("d/g"), text).unwrap();
    let fd = open("d/g", libc::O_RDONLY | libc::O_CLOEXEC).unwrap();
    let file = world.process.file(fd).unwrap();
    assert!(file.is_near() && file.known().is_none());
    let mut buf = [0; 64];
    assert_eq!(view.read(fd, &file, &mut buf).map(|n| buf[..n].to_vec()), Ok(text.to_vec()));
    assert_eq!(view.read(fd, &file, &mut buf), Ok(0));
    assert_eq!(view.pread(&file, &mut buf[..6], 9), Ok(6));
    assert_eq!(&buf[..6], b"server");
    // What we write through the server is there for the next who reads.
    let other = open("d/g", libc::O_WRONLY).unwrap();
    let writer = world.process.file(other).unwrap();
    assert!(!writer.is_near());
    assert_eq!(view.pwrite(other, &writer, b"SERVER", 9), Ok(6));
    assert_eq!(view.pread(&file, &mut buf[..6], 9), Ok(6));
    assert_eq!(&buf[..6], b"SERVER");
    // What others do shows at once, and what is open stays when its name goes.
    fs::write(served.join("d/g"), b"short").unwrap();
    assert_eq!(view.size(&file), Ok(5));
    view.remote_unlink(&place("d/g"), false).unwrap();
    assert_eq!(view.remote_stat(&place("d/g")).err(), Some(Errno::ENOENT));
    assert_eq!(view.pread(&file, &mut buf, 0), Ok(5));
    assert!(view.remote_stat(&Place::below(&file, b"")).is_ok());
    let change = SetAttr { valid: set::MODE, mode: 0o640, ..SetAttr::default() };
    assert_eq!(view.remote_setattr(&Place::below(&file, b""), &change), Ok(()));
    // A pipe is nobody's to open, and does not make us wait.
    let made = std::process::Command::new("mkfifo").arg(served.join("pipe")).status();
    assert!(made.unwrap().success());
    assert_eq!(open("pipe", libc::O_RDONLY), Err(Errno::ENXIO));
    assert_eq!(open("l", libc::O_RDONLY | libc::O_NOFOLLOW), Err(Errno::ELOOP));
    // Without its server nothing is left of a tree: it would be dialled, if the
    // table knew where.
    world.server.shut();
    assert_eq!(view.remote_stat(&place("d")).err(), Some(Errno::ENODEV));
}
