//! Lines built on a tree in memory.

use super::*;
use crate::file::parse;
use crate::file::tests::Fixed;
use crate::index::{self, Index};
use crate::instance;
use core::cell::RefCell;
use core::ffi::CStr;
use privns_abi::Stat;
use privns_host::{Name, fake::Tree};
use std::format;
use std::string::{String, ToString};

/// A tree that grows when a namespace needs it to.
pub(crate) struct World(RefCell<Tree>);

impl World {
    pub(crate) fn new(names: &[&str]) -> World {
        World(RefCell::new(Tree::new(names)))
    }

    /// Remote files are in the same tree, but no walk leads to them.
    fn check(path: &CStr) -> privns_abi::Result<()> {
        let stops = path.to_bytes() == remote::PREFIX.strip_suffix(b"/").unwrap();
        if stops { Err(Errno::ENOTDIR) } else { Ok(()) }
    }
}

impl Host for World {
    fn lstat(&self, path: &CStr) -> privns_abi::Result<Stat> {
        World::check(path)?;
        self.0.borrow().lstat(path)
    }
    fn stat(&self, path: &CStr) -> privns_abi::Result<Stat> {
        World::check(path)?;
        self.0.borrow().stat(path)
    }
    fn readlink(&self, path: &CStr, out: &mut Name) -> privns_abi::Result<()> {
        World::check(path)?;
        self.0.borrow().readlink(path, out)
    }
    fn check_plain_dir(&self, path: &CStr) -> privns_abi::Result<()> {
        self.0.borrow().check_plain_dir(path)
    }
    fn now_ms(&self) -> u64 {
        0
    }
}

/// Makes places in a [`World`].
pub(crate) struct Made<'a> {
    world: &'a World,
    instances: u64,
}

impl<'a> Made<'a> {
    pub(crate) fn new(world: &'a World) -> Made<'a> {
        Made { world, instances: 0 }
    }

    fn make(&self, path: &str, rest: &str) -> Vec<u8> {
        self.world.0.borrow_mut().insert(&format!("{path}{rest}"));
        path.as_bytes().to_vec()
    }
}

impl Places for Made<'_> {
    fn by_rule(
        &mut self,
        _at: &[u8],
        _original: Option<&[u8]>,
        rule: &crate::poly::Rule,
    ) -> Result<Instance> {
        let who = crate::poly::Who { login: b"me".to_vec(), ..Default::default() };
        let path = crate::poly::name::instance(rule, &who)?;
        Ok(Instance::Host(self.make(&String::from_utf8_lossy(&path), "/")))
    }
    fn dir(&mut self, _at: &[u8], number: u32) -> Result<Vec<u8>> {
        Ok(self.make(&format!("/run/skeleton/{number}"), "/"))
    }
    fn symlink(&mut self, _at: &[u8], number: u32, target: &[u8]) -> Result<Vec<u8>> {
        let target = String::from_utf8_lossy(target);
        Ok(self.make(&format!("/run/skeleton/{number}"), &format!(" -> {target}")))
    }
    fn instance(&mut self, _at: &[u8], original: &[u8]) -> Result<Instance> {
        self.instances += 1;
        let parent = String::from_utf8(instance::parent(7)).unwrap();
        let name = String::from_utf8(instance::name(1, self.instances)).unwrap();
        let original = String::from_utf8_lossy(original);
        Ok(Instance::Host(self.make(&format!("{original}/{parent}/{name}"), "/")))
    }
    /// The tree of every server: a file, and a file in a directory.
    fn server(&mut self, _at: &[u8], server: &mut Server) -> Result<()> {
        let root = String::from_utf8(remote::name(server.id)).unwrap();
        self.make(&root, "/f");
        self.make(&root, "/d/g");
        Ok(())
    }
}

pub(crate) const TREE: &[&str] = &[
    "/a/f",
    "/a/sub/deep/g",
    "/b/f",
    "/b/only",
    "/c/sub/x",
    "/tmp/host",
    "/usr/bin/sh",
    "/bin -> usr/bin",
    "/run/pid",
    "/var/run -> /run",
    "/dangling -> /run/none",
    "/nowhere -> /gone/away",
];

/// The table that `text` makes, as `PLACE: SOURCE…` a line; or the failure.
pub(crate) fn built(world: &World, text: &str) -> core::result::Result<Built, String> {
    let lines = parse(b"f", text.as_bytes(), &Fixed).map_err(|f| f.to_string())?;
    let mut places = Made::new(world);
    let builder = Builder::new(world, &mut places, &Table::new(), b"/");
    builder.run(&lines).map_err(|f| f.to_string())
}

fn show(text: &str) -> String {
    match built(&World::new(TREE), text) {
        Ok(built) => listing(&built.table),
        Err(failure) => failure,
    }
}

/// `PLACE=SOURCE,…` of every mount point: `!` read-only, `+` new files, `_`
/// base.
pub(crate) fn listing(table: &Table) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_string();
    let mounts = table.mounts().iter().map(|mount| {
        let members = mount.members.iter().map(|m| {
            let Source::Host(host) = &m.source;
            let host = match &m.rule.verb {
                Verb::Dir => "dir".to_string(),
                Verb::Implied => "implied".to_string(),
                Verb::Symlink(to) => format!("->{}", text(to)),
                _ if host.is_empty() => "/".to_string(),
                _ => text(host),
            };
            let mark = |is, mark| if is { mark } else { "" };
            let base = m.base && mount.members.len() > 1;
            host + mark(m.read_only, "!") + mark(m.create, "+") + mark(base, "_")
        });
        format!("{}={}", text(&mount.path), members.collect::<Vec<_>>().join(","))
    });
    mounts.collect::<Vec<_>>().join(" ")
}

#[test]
fn binds_of_directories_and_files() {
    assert_eq!(show("bind /a /b"), "/b=/a");
    assert_eq!(show("bind /a/f /b/f\nbind -r /a /c"), "/b/f=/a/f /c=/a!");
    assert_eq!(show("bind /a/sub/.. /b/../c"), "/c=/a");
    assert_eq!(show("bind / /c"), "/c=/");
    assert_eq!(show("bind /a /"), "=/a");
    assert_eq!(show("bind a/sub b"), "/b=/a/sub");
    assert_eq!(show("cd /a\nbind sub/deep ../b"), "/b=/a/sub/deep");
}

#[test]
fn the_source_is_looked_up_in_the_namespace_first() {
    assert_eq!(show("bind /a /b\nbind /b/sub /c"), "/b=/a /c=/a/sub");
    assert_eq!(show("bind /a /b\nbind /b/only /c/new"), "/b=/a /c/new=/b/only");
    assert_eq!(show("bind /a /b\nbind host!/b /c"), "/b=/a /c=/b");
    assert_eq!(show("bind -r /a /b\nbind /b /c"), "/b=/a! /c=/a!");
}

#[test]
fn places_are_found_through_links_and_made_where_the_host_has_none() {
    assert_eq!(show("bind /a/f /bin/sh"), "/usr/bin/sh=/a/f");
    assert_eq!(show("bind /a/f /var/run/pid"), "/run/pid=/a/f");
    assert_eq!(show("bind /a /usr/new"), "/usr/new=/a");
    assert_eq!(show("bind /a /n/m/x"), "/n=implied /n/m=implied /n/m/x=/a");
    assert_eq!(show("bind /a /dangling"), "/run/none=/a");
    assert_eq!(show("bind /a /dangling/x"), "/run/none=implied /run/none/x=/a");
    assert_eq!(show("bind /a /nowhere/x"), "f:1: bind on /nowhere/x: No such file or directory");
    assert_eq!(show("bind /a /n/x\nunmount /n/x"), "");
    assert_eq!(show("dir /n\nbind /a /n/x\nunmount /n/x"), "/n=dir");
    assert_eq!(show("bind /a /n/x\ndir /n\nunmount /n/x"), "/n=dir");
    assert_eq!(show("dir /a"), "");
}

#[test]
fn a_bind_brings_what_is_mounted_below_its_source() {
    assert_eq!(
        show("bind /b /a/sub\nbind /c /a/sub/only\nbind /a /usr"),
        "f:2: bind on /a/sub/only: Not a directory (the first is a directory: bind a directory on \
         a directory, a file on a file)"
    );
    assert_eq!(
        show("bind /b /a/sub\nbind -r /c /a/sub/n\nbind -r /a /usr"),
        "/a/sub=/b /a/sub/n=/c! /usr=/a! /usr/sub=/b! /usr/sub/n=/c!"
    );
    assert_eq!(show("bind /b /a/sub\nbind host!/a /usr"), "/a/sub=/b /usr=/a");
    assert_eq!(show("bind -b /b /a\nbind /a /c"), "/a=/b,/a_ /c=/b,/a_");
    assert_eq!(show("bind /b /a/sub\nbind / /c"), "/a/sub=/b /c=/ /c/a/sub=/b");
    assert_eq!(
        show("bind /b /a/n/m\nbind /a /c"),
        "/a/n=implied /a/n/m=/b /c=/a /c/n=implied /c/n/m=/b"
    );
    assert_eq!(show("symlink x /a/l\nbind /a /c"), "/a/l=->x /c=/a /c/l=->x");
}

#[test]
fn unions() {
    assert_eq!(show("bind -b /a /c"), "/c=/a,/c_");
    assert_eq!(show("bind -ac /a /c\nbind -b /b /c"), "/c=/b,/c_,/a+");
    assert_eq!(show("bind /a /c\nbind -a /b /c"), "/c=/a_,/b");
    assert_eq!(show("bind -a /a /new\nbind -a /b /new"), "/new=/a_,/b");
    assert_eq!(show("dir /new\nbind -b /a /new\nbind -b /b /new"), "/new=/b,/a_");
    assert_eq!(show("bind -b /a /b\nbind -b /b /c"), "/b=/a,/b_ /c=/a,/b,/c_");
    assert_eq!(show("bind -b /a /c\nunmount /a /c"), "");
    assert_eq!(show("bind -b /a /c\nbind -b /b /c\nunmount /c /c"), "/c=/b,/a");
    assert_eq!(
        show("bind -b /a/f /b/f"),
        "f:1: bind on /b/f: Not a directory (the first is no directory: bind a directory on a \
         directory, a file on a file)"
    );
}

#[test]
fn after_clear_only_what_was_bound_is_there() {
    assert_eq!(show("clear"), "=implied");
    assert_eq!(show("bind /a /b\nclear"), "=implied");
    assert_eq!(
        show("clear\nbind /usr /usr\nsymlink usr/bin /bin\nbind /bin/sh /usr/x"),
        "=implied /bin=->usr/bin /usr=/usr /usr/x=/usr/bin/sh"
    );
    assert_eq!(show("clear\nbind /a /n/m\nunmount /n/m"), "=implied");
    assert_eq!(show("clear\nbind host!/ /"), "=/");
    assert_eq!(show("clear\nbind host!/ /\nunmount /"), "=implied");
    assert_eq!(show("clear\nbind -r / /"), "=/!");
    assert_eq!(show("clear\nbind // /h"), "=implied /h=/");
    assert_eq!(show("clear\nbind /a /x\nbind / /y"), "=implied /x=/a /y=/run/skeleton/1! /y/x=/a");
    assert_eq!(show("clear\nprivate /tmp").split(' ').count(), 2);
    assert_eq!(show("clear\ncd /a"), "f:2: cd /a: No such file or directory");
    assert_eq!(show("clear\nbind -a /a /"), "=/a");
}

#[test]
fn private_directories_stand_beside_each_other() {
    let one = "/tmp=/tmp/.privns-7/0000000000000001.0000000000000001";
    assert_eq!(show("private /tmp"), one);
    assert_eq!(
        show("private /tmp\nprivate /tmp"),
        one.replace("1.0000000000000001", "1.0000000000000002")
    );
    assert_eq!(
        show("private /tmp\nbind /tmp/host /b/f"),
        "/b/f=/tmp/host /tmp=/tmp/.privns-7/0000000000000001.0000000000000001"
    );
    assert_eq!(show("private /a/f"), "f:1: private /a/f: Not a directory");
}

#[test]
fn links() {
    assert_eq!(show("symlink /a /l\nbind /l/sub /b"), "/b=/a/sub /l=->/a");
    assert_eq!(show("symlink /a /l\nunmount /l"), "");
    assert_eq!(show("symlink /a /l\nsymlink /a /l"), "/l=->/a");
    assert_eq!(show("symlink /a /b\nbind /b/sub /c"), "/b=->/a /c=/a/sub");
    assert_eq!(show("symlink /a /"), "f:1: symlink on /: Device or resource busy");
    assert_eq!(show("symlink x /n/l"), "/n=implied /n/l=->x");
}

#[test]
fn what_fails_says_why_and_leaves_nothing() {
    for (text, said) in [
        ("bind /none /b", "f:1: bind /none: No such file or directory (neither the namespace"),
        ("bind host!a /b", "f:1: bind host!a: not an absolute path (write host!/PATH)"),
        ("bind /a /b/f", "f:1: bind on /b/f: Not a directory"),
        ("bind /a/f /b", "f:1: bind on /b: Not a directory"),
        ("bind /a /b/f/x", "f:1: bind on /b/f/x: Not a directory"),
        ("bind /a /none/../x", "f:1: bind on /none/../x: No such file"),
        ("bind /a/f /b/f\nbind /a /b/f", "f:2: bind on /b/f: Not a directory"),
        ("unmount /b", "f:1: unmount on /b: Invalid argument (nothing is mounted there)"),
        ("bind /a /n/x\nunmount /n", "f:2: unmount on /n: Invalid argument"),
        ("bind -b /a /c\nunmount /b /c", "f:2: unmount on /c: Invalid argument (host!/b is not"),
        ("mount mem! /a/f", "f:1: mount on /a/f: Not a directory (a server's tree is mounted on"),
        ("mount mem! /b\nprivate /b", "f:2: private /b: Operation not supported (a server holds"),
        ("mount mem! /b\nunmount tcp!h /b", "f:2: unmount on /b: Invalid argument (tcp!h is not"),
        ("dir /a/f", "f:1: dir on /a/f: File exists"),
        ("cd /a/f", "f:1: cd /a/f: Not a directory"),
        ("dir /n\nprivate /n", "f:2: private /n: No such file or directory (only a directory"),
        ("private /none", "f:1: private /none: No such file"),
    ] {
        let got = show(text);
        assert!(got.starts_with(said), "{text:?}: {got}");
    }
    assert_eq!(show("bind -q /none /n/b\nbind -q /a /b/f\nbind /a /b"), "/b=/a");
}

#[test]
fn servers() {
    const N: &str = "/dev/null/9p";
    let text = |text: &str| show(text).replace(N, "9p");
    assert_eq!(text("mount tcp!h /b"), "/b=9p/1");
    assert_eq!(text("mount -r tcp!h /n/m t"), "/n=implied /n/m=9p/1!");
    // The same tree with the same options is the same server.
    assert_eq!(text("mount tcp!h /b\nmount tcp!h /c"), "/b=9p/1 /c=9p/1");
    assert_eq!(text("mount tcp!h /b t\nmount tcp!h /c"), "/b=9p/1 /c=9p/2");
    assert_eq!(text("mount -o window=1 tcp!h /b\nmount tcp!h /c"), "/b=9p/1 /c=9p/2");
    assert_eq!(text("mount mem! /b\nmount mem! /c"), "/b=9p/1 /c=9p/2");
    // But not one that is mounted no more: what served it may have ended.
    assert_eq!(text("mount tcp!h /b\nmount tcp!g /b\nmount tcp!h /c"), "/b=9p/2 /c=9p/3");
    // Unions of both kinds.
    assert_eq!(text("mount -b tcp!h /c"), "/c=9p/1,/c_");
    assert_eq!(text("mount -ac tcp!h /c"), "/c=/c_,9p/1+");
    assert_eq!(text("mount tcp!h /c\nmount -a tcp!g /c\nbind -b /a /c"), "/c=/a,9p/1_,9p/2");
    // Names below a server.
    assert_eq!(text("mount tcp!h /b\nbind -r /b/d /c"), "/b=9p/1 /c=9p/1/d!");
    assert_eq!(text("mount tcp!h /b\nbind /a /b/d"), "/b=9p/1 /b/d=/a");
    assert_eq!(text("mount tcp!h /b\nbind -b /a /b/d"), "/b=9p/1 /b/d=/a,9p/1/d_");
    let made = "/b=9p/1 /b/new=implied /b/new/x=9p/2";
    assert_eq!(text("mount tcp!h /b\nmount tcp!g /b/new/x"), made);
    // Taken away by the address.
    assert_eq!(text("mount tcp!h /b\nunmount tcp!h /b"), "");
    assert_eq!(text("mount -b tcp!h /c\nmount -b tcp!g /c\nunmount tcp!h /c"), "/c=9p/2,/c_");
    // The host has no such names, whatever is mounted.
    let said = text("mount tcp!h /b\nbind host!/dev/null/9p/1/d /c");
    assert!(said.contains("Not a directory"), "{said}");
    // A socket is looked up as SRC is.
    let world = World::new(TREE);
    let table = built(&world, "bind /a /n\nmount unix!/n/f /c\ncd /n\nmount unix!sub/deep/g /b");
    let table = table.unwrap().table;
    let dialled: Vec<_> = table.servers().iter().map(|s| (&s.address[..], &s.dial[..])).collect();
    assert_eq!(dialled[0], (&b"unix!/n/f"[..], &b"unix!/a/f"[..]));
    assert_eq!(dialled[1], (&b"unix!/n/sub/deep/g"[..], &b"unix!/a/sub/deep/g"[..]));
}

#[test]
fn a_server_is_known_a_while_longer_than_it_is_mounted() {
    let world = World::new(TREE);
    let lines: String = (0..40).map(|i| format!("mount tcp!h{i} /b\n")).collect();
    let table = built(&world, &lines).unwrap().table;
    assert_eq!(table.servers().len(), remote::KEPT_MAX + 1);
    let bytes = index::encode(&table);
    let index = Index::parse(&bytes).unwrap();
    let server = index.server(40).unwrap();
    assert_eq!((server.address(), server.is_mounted()), (&b"tcp!h39"[..], true));
    assert!(index.server(39).is_some_and(|server| !server.is_mounted()));
    assert!(index.server(1).is_none());
    assert_eq!(table.next_server(), 41);
}

#[test]
fn missing_sources_can_be_skipped_and_are_told() {
    let world = World::new(TREE);
    let lines = parse(b"f", b"bind /none /b\nbind /a /c", &Fixed).unwrap();
    let mut places = Made::new(&world);
    let mut builder = Builder::new(&world, &mut places, &Table::new(), b"/");
    builder.skip_missing = true;
    let built = builder.run(&lines).unwrap();
    assert_eq!(listing(&built.table), "/c=/a");
    assert_eq!(built.skipped.len(), 1);
}

#[test]
fn a_bind_of_the_root_into_itself_ends() {
    let mut text = String::new();
    for i in 0..64 {
        text += &format!("bind / /a/x{i}\n");
    }
    assert!(show(&text).contains("mount points: No space left on device"), "{}", show(&text));
}

#[test]
fn names_that_are_too_long_are_refused() {
    let long = "x".repeat(256);
    assert!(show(&format!("bind /a /n/{long}")).ends_with("File name too long"));
    let deep = "/x".repeat(2048);
    assert!(show(&format!("bind /a {deep}")).ends_with("File name too long"));
}

#[test]
fn names_are_bytes() {
    let lines = parse(b"f", b"bind /a /\xff\xfe/\x01", &Fixed).unwrap();
    let world = World::new(TREE);
    let mut places = Made::new(&world);
    let built = Builder::new(&world, &mut places, &Table::new(), b"/").run(&lines).unwrap();
    assert!(built.table.at(b"/\xff\xfe/\x01").is_some());
}
