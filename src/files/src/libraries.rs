//! Where a program's libraries are. The dynamic loader opens them itself,
//! before any of ours runs, and knows only the host: where the namespace shows
//! another directory at one of the places that it searches, it is given that
//! directory's host name.

use crate::process::View;
use alloc::vec::Vec;
use privns_abi::{Errno, Result, path};
use privns_host::{Host, Kernel, Name};
use privns_namespace::index::Index;
use privns_namespace::program::{self, Elf};
use privns_namespace::resolve::Last;

/// Where loaders look without being told (ld.so(8), and what distributions
/// write into ld.so.conf).
const PLACES: &[&[u8]] = &[
    #[cfg(target_arch = "x86_64")]
    b"/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "x86_64")]
    b"/usr/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    b"/lib/aarch64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    b"/usr/lib/aarch64-linux-gnu",
    b"/lib64",
    b"/usr/lib64",
    b"/lib",
    b"/usr/lib",
    b"/usr/local/lib",
];

/// What the loader is to be told about one program.
#[derive(Debug, Default)]
pub struct Libraries {
    /// Host directories for LD_LIBRARY_PATH in place of what the program was
    /// given, separated by colons; `None` when the loader finds all by itself.
    pub path: Option<Vec<u8>>,
    /// The host name of the loader, when the host has another file at its
    /// name: the kernel would run that.
    pub loader: Option<Name>,
    /// A library that it cannot do without and that the namespace hides.
    pub missing: Option<Missing>,
}

/// A library that only the host has, where the namespace was cleared: the
/// loader would take the host's.
#[derive(Debug)]
pub struct Missing {
    /// What it is called.
    pub name: Name,
    /// The directory in which the host has it.
    pub dir: &'static [u8],
}

/// Libraries looked at for one program.
const LOOKED_AT: usize = 128;

impl View<'_> {
    /// What to tell the loader of `elf`, the file at host name `program`, whose
    /// environment has `given` for LD_LIBRARY_PATH.
    ///
    /// # Errors
    /// ENOENT for a loader that the namespace does not have, as the kernel;
    /// ENOMEM.
    pub fn libraries(self, elf: &Elf, given: &[u8], program: &mut Name) -> Result<Libraries> {
        let table = self.table()?;
        let index = table.index();
        let mut told = Libraries::default();
        let Some(loader) = elf.loader() else { return Ok(told) };
        let moved = PLACES.iter().any(|place| is_moved(index, place));
        if moved || index.is_cleared() || is_moved(index, path::parent(loader)) {
            told.loader = self.other_loader(loader)?;
        }
        if index.is_cleared() && !self.shows_places() {
            told.missing = self.missing(elf, given, program)?;
        }
        let other = told.loader.is_some();
        let names =
            |list: &'_ [u8]| -> bool { list.split(|b| *b == b':').any(|dir| is_moved(index, dir)) };
        if !moved && !other && !names(given) && !names(elf.paths()) {
            return Ok(told);
        }
        let mut dirs = Dirs { view: self, index, found: Vec::new() };
        for dir in given.split(|b| *b == b':' || *b == b';').filter(|dir| !dir.is_empty()) {
            dirs.add(dir, true)?;
        }
        for dir in elf.paths().split(|b| *b == b':').chain(PLACES.iter().copied()) {
            dirs.add(dir, other && PLACES.contains(&dir))?;
        }
        if !dirs.found.is_empty() && dirs.found != given {
            told.path = Some(dirs.found);
        }
        Ok(told)
    }

    /// The namespace's loader, unless the host's is the same file.
    fn other_loader(self, name: &[u8]) -> Result<Option<Name>> {
        let mut found = self.walk(libc::AT_FDCWD, name, Last::FOLLOW)?.host;
        let ours = Kernel.stat(found.as_cstr()?)?;
        let hosts = Name::from(name)?.as_cstr().and_then(|name| Kernel.stat(name));
        let same = hosts.is_ok_and(|st| (st.dev, st.ino) == (ours.dev, ours.ino));
        Ok((!same).then_some(found))
    }

    /// Whether the namespace has all that the host has at the loader's places.
    fn shows_places(self) -> bool {
        PLACES.iter().all(|place| {
            let host = Name::from(place).and_then(|mut name| Kernel.stat(name.as_cstr()?));
            let ours = self.walk(libc::AT_FDCWD, place, Last::FOLLOW);
            let ours = ours.and_then(|mut found| Kernel.stat(found.host.as_cstr()?));
            match (host, ours) {
                (Err(_), _) => true,
                (Ok(host), Ok(ours)) => (host.dev, host.ino) == (ours.dev, ours.ino),
                (Ok(_), Err(_)) => false,
            }
        })
    }

    /// The first library that is needed, by the program or by a library that
    /// it needs, and that only the host has.
    fn missing(self, elf: &Elf, given: &[u8], program: &mut Name) -> Result<Option<Missing>> {
        let mut todo = Vec::new();
        add_needed(program, &mut todo)?;
        let mut at = 0;
        while at < todo.len().min(LOOKED_AT) {
            let name = Name::from(todo[at].as_bytes())?;
            at += 1;
            if name.as_bytes().contains(&b'/') {
                continue;
            }
            let dirs = given.split(|b| *b == b':' || *b == b';');
            let dirs = dirs.chain(elf.paths().split(|b| *b == b':'));
            let mut dirs = dirs.chain(PLACES.iter().copied());
            if let Some(mut found) = dirs.find_map(|dir| self.library_in(dir, name.as_bytes())) {
                add_needed(&mut found, &mut todo)?;
                continue;
            }
            let host = PLACES.iter().find(|dir| {
                let whole = Name::from(dir).and_then(|mut whole| {
                    whole.join(name.as_bytes())?;
                    Kernel.stat(whole.as_cstr()?)
                });
                whole.is_ok()
            });
            // What neither has, the loader will say, or find by `$ORIGIN`.
            if let Some(dir) = host.filter(|_| !elf.paths().contains(&b'$')) {
                return Ok(Some(Missing { name, dir }));
            }
        }
        Ok(None)
    }

    /// The host name of a library that `elf` needs and that only the namespace
    /// has where `elf` says to look for it.
    #[must_use]
    pub fn moved_library(self, elf: &Elf, name: &[u8]) -> Option<Name> {
        let table = self.table().ok()?;
        let mut moved = elf.paths().split(|b| *b == b':').filter(|d| is_moved(table.index(), d));
        moved.find_map(|dir| self.library_in(dir, name))
    }

    /// The host name of a library in a directory of the namespace.
    fn library_in(self, dir: &[u8], name: &[u8]) -> Option<Name> {
        let mut whole = Name::from(if dir.is_empty() { b"." } else { dir }).ok()?;
        whole.join(name).ok()?;
        let mut found = self.walk(libc::AT_FDCWD, whole.as_bytes(), Last::FOLLOW).ok()?.host;
        Kernel.stat(found.as_cstr().ok()?).ok()?;
        Some(found)
    }

    /// The host name of a library that the program names with a slash; `None`
    /// when the loader finds the same by the name as it is.
    ///
    /// # Errors
    /// Those of the walk.
    pub fn library(self, name: &[u8]) -> Result<Option<Name>> {
        // `$ORIGIN` and its like are the loader's to replace.
        if !name.contains(&b'/') || name.contains(&b'$') {
            return Ok(None);
        }
        let host = self.walk(libc::AT_FDCWD, name, Last::FOLLOW)?.host;
        let mut given = Name::from(name)?;
        let same = |a: privns_abi::Stat, b: privns_abi::Stat| (a.dev, a.ino) == (b.dev, b.ino);
        let mut found = Name::from(host.as_bytes())?;
        match (Kernel.stat(found.as_cstr()?), Kernel.stat(given.as_cstr()?)) {
            (Ok(ours), Ok(hosts)) if same(ours, hosts) => Ok(None),
            // Neither is there: the loader's complaint has the program's name.
            (Err(Errno::ENOENT), Err(Errno::ENOENT)) => Ok(None),
            _ => Ok(Some(host)),
        }
    }
}

/// Adds what a file needs, each once.
fn add_needed(file: &mut Name, todo: &mut Vec<Name>) -> Result<()> {
    let Ok(fd) = Kernel.openat(libc::AT_FDCWD, file.as_cstr()?, OPEN, 0) else { return Ok(()) };
    let mut done = Ok(());
    let read = program::needed(fd, &mut |name| {
        if !todo.iter().any(|known| known.as_bytes() == name) {
            let room = todo.try_reserve(1).map_err(|_| Errno::ENOMEM);
            done = done.and(room).and_then(|()| {
                todo.push(Name::from(name)?);
                Ok(())
            });
        }
    });
    let _ = Kernel.close(fd);
    read.and(done)
}

const OPEN: i32 = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;

/// Whether the namespace shows something else than the host at a directory. By
/// its name alone: a link that leads into a moved place is found at the place.
fn is_moved(index: Index<'_>, dir: &[u8]) -> bool {
    if dir.first() != Some(&b'/') {
        return false;
    }
    let dir = dir.strip_suffix(b"/").unwrap_or(dir);
    let Some(mount) = index.find(dir).mount else { return false };
    let rest = dir.get(mount.path().len()..).unwrap_or_default();
    mount.members().any(|member| {
        let host = member.host();
        !(host.len() + rest.len() == dir.len() && dir.starts_with(host) && dir.ends_with(rest))
    })
}

/// Host directories, each once, in order.
struct Dirs<'a> {
    view: View<'a>,
    index: Index<'a>,
    found: Vec<u8>,
}

impl Dirs<'_> {
    /// Adds what the namespace has at `dir`; one that the host has too only if
    /// `always`.
    fn add(&mut self, dir: &[u8], always: bool) -> Result<()> {
        let absolute = dir.first() == Some(&b'/') && !dir.contains(&b'$');
        if !absolute {
            return if always { self.push(dir) } else { Ok(()) };
        }
        let Ok(found) = self.view.walk(libc::AT_FDCWD, dir, Last::FOLLOW) else { return Ok(()) };
        if !always && !is_moved(self.index, found.ns.as_bytes()) {
            return Ok(());
        }
        if !found.is_union {
            return self.push(found.host.as_bytes());
        }
        let mount = self.index.find(found.ns.as_bytes()).mount;
        let mut members = mount.iter().flat_map(|mount| mount.members());
        members.try_for_each(|member| self.push(member.host()))
    }

    fn push(&mut self, dir: &[u8]) -> Result<()> {
        let known = self.found.split(|b| *b == b':').any(|known| known == dir);
        // A name with a separator in it cannot be told.
        if known || dir.is_empty() || dir.iter().any(|b| matches!(b, b':' | b';')) {
            return Ok(());
        }
        self.found.try_reserve(dir.len() + 1).map_err(|_| Errno::ENOMEM)?;
        if !self.found.is_empty() {
            self.found.push(b':');
        }
        self.found.extend_from_slice(dir);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use privns_namespace::index;
    use privns_namespace::table::{Kind, Order, Rule, Source, Table, Verb};

    fn bound(binds: &[(&str, &str)]) -> Vec<u8> {
        let mut table = Table::new();
        for (from, to) in binds {
            let rule = Rule { verb: Verb::Bind, origin: Vec::new() };
            let member = table.member(Source::Host(from.as_bytes().to_vec()), rule);
            table.place(to.as_bytes(), Kind::Dir, Order::Replace, member, None).unwrap();
        }
        index::encode(&table)
    }

    #[test]
    fn a_directory_is_moved_when_another_is_shown_there() {
        let bytes = bound(&[("/opt/tree/usr", "/usr"), ("/srv", "/srv"), ("/a", "/new/a")]);
        let index = Index::parse(&bytes).unwrap();
        for dir in [&b"/usr/lib"[..], b"/usr/", b"/new/a/lib"] {
            assert!(is_moved(index, dir), "{}", dir.escape_ascii());
        }
        // Shown at its own place, not covered, or not a whole name.
        for dir in [&b"/srv/lib"[..], b"/lib", b"/usrlib", b"lib", b"", b"$ORIGIN/lib"] {
            assert!(!is_moved(index, dir), "{}", dir.escape_ascii());
        }
    }

    #[test]
    fn needed_libraries_are_listed_once() {
        let mut todo = Vec::new();
        let mut own = Name::from(b"/proc/self/exe").unwrap();
        add_needed(&mut own, &mut todo).unwrap();
        let len = todo.len();
        assert!(todo.iter().any(|name| name.as_bytes().starts_with(b"libc.so")));
        add_needed(&mut own, &mut todo).unwrap();
        assert_eq!(todo.len(), len);
    }
}
