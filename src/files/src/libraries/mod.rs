//! Where a program's libraries are. The dynamic loader opens them itself, by
//! system calls of its own, and knows only the host.
//!
//! - Before a program is run ([`View::libraries`]), where the namespace shows
//!   something else than the host at one of the places that the loader is going
//!   to search, it is searched as the loader will (`search`): what a server has
//!   is copied (`remote::shelf`), and the loader is given the host directories,
//!   those of copies among them, in LD_LIBRARY_PATH. What it finds by itself,
//!   beside the copy of what needs it, it is not told of.
//! - When a program asks for a library ([`View::library`]), the loader is given
//!   the file's host name, and what it would not find of its needs is loaded
//!   before.
//!
//! - What it would not search for, or find too soon, it is given in place of what
//!   it opens (`instead`): what is needed by a name with a slash in it, and what an
//!   `RPATH` names where the host has such a file too. The preloaded library has a
//!   module for that which watches the loader; few programs need it.
//!
//! `$ORIGIN` is the directory in the namespace, of a copy as of any other file.

mod instead;
mod search;

use crate::Target;
use crate::process::View;
use alloc::vec::Vec;
use instead::Instead;
use privns_abi::{Errno, Result, path};
use privns_host::{Host, Kernel, Name};
use privns_namespace::index::Index;
use privns_namespace::program::{Elf, MODULES, PLACES, directories, own_directories, preloaded};
use privns_namespace::remote;
use privns_namespace::resolve::{self, Last};
use search::{Object, Search, in_turn};

/// A program that is about to be run.
pub struct Asked<'a> {
    /// What its header says.
    pub elf: &'a Elf,
    /// A name by which the host has it.
    pub file: &'a [u8],
    /// The directory that it lies in, as the namespace calls it; empty where
    /// that is not known.
    pub origin: &'a [u8],
    /// Its LD_LIBRARY_PATH.
    pub given: &'a [u8],
    /// Its LD_AUDIT.
    pub audit: &'a [u8],
    /// Its LD_PRELOAD.
    pub preload: &'a [u8],
    /// It is told where iconv(3) finds modules (GCONV_PATH).
    pub modules: bool,
}

/// What the loader is to be told about one program.
#[derive(Debug, Default)]
pub struct Libraries {
    /// Host directories for LD_LIBRARY_PATH in place of what the program was
    /// given, separated by colons; `None` when the loader finds all by itself.
    pub path: Option<Vec<u8>>,
    /// The same for LD_AUDIT.
    pub audit: Option<Vec<u8>>,
    /// The same for LD_PRELOAD.
    pub preload: Option<Vec<u8>>,
    /// What it is to open in place of files that it would open by itself: entries
    /// as `instead` has them.
    pub instead: Option<Vec<u8>>,
    /// What libc loads by itself while the program runs may lie elsewhere than on
    /// the host.
    pub modules: bool,
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

impl View<'_> {
    /// What to tell the loader of a program.
    ///
    /// # Errors
    /// ENOENT for a loader that the namespace does not have, as the kernel;
    /// ENOSPC and its like for a copy that cannot be made; ENOMEM.
    pub fn libraries(self, asked: &Asked<'_>) -> Result<Libraries> {
        let table = self.table()?;
        let index = table.index();
        let mut told = Libraries::default();
        let Some(loader) = asked.elf.loader() else { return Ok(told) };
        let moved = PLACES.iter().any(|place| index.moves(place));
        if moved || index.is_cleared() || index.moves(path::parent(loader)) {
            told.loader = self.other_loader(loader)?;
        }
        if index.is_cleared() && !self.shows_places() {
            told.missing = self.missing(index, asked)?;
        }
        told.audit = self.named(index, asked.audit, asked.origin)?;
        told.preload = self.named(index, asked.preload, asked.origin)?;
        let other = told.loader.is_some();
        let named = told.audit.is_some() || told.preload.is_some();
        let shown = |dirs: &mut dyn Iterator<Item = &[u8]>| -> Result<bool> {
            for dir in dirs {
                if self.place(dir, asked.origin)?.is_some_and(|dir| index.moves(dir.as_bytes())) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let own = &mut own_directories(asked.elf.paths());
        let own = asked.elf.has_more_paths() || shown(own)?;
        let searched = moved || other || named || own || shown(&mut directories(asked.given))?;
        if searched || asked.elf.needs_places() && !index.is_global() {
            self.tell_places(index, asked, other, &mut told)?;
        }
        let conversions = || MODULES.iter().any(|dir| index.moves(dir));
        told.modules = searched || asked.modules || conversions();
        Ok(told)
    }

    /// Looks for all that the program needs, and tells the loader what it would
    /// not find.
    fn tell_places(
        self,
        index: Index<'_>,
        asked: &Asked<'_>,
        other: bool,
        told: &mut Libraries,
    ) -> Result<()> {
        let Asked { file, origin, given, audit, preload, .. } = *asked;
        let object = Object::read(file, origin)?;
        let paths = object.as_ref().map_or(&b""[..], Object::paths);
        let mut dirs = Dirs { view: self, index, found: Vec::new() };
        for dir in in_turn(given, directories) {
            dirs.add(dir, origin, true)?;
        }
        for dir in own_directories(paths).chain(PLACES.iter().copied()) {
            // What the loader finds beside the program it is told of below, if
            // it has to be.
            if !dir.starts_with(b"$") {
                dirs.add(dir, origin, other && PLACES.contains(&dir))?;
            }
        }
        let mut search = Search::at_start(self, index, given);
        if let Some(object) = object {
            search.add(object, None)?;
            let mut each =
                |found: &search::Found| match found.moved && !found.beside && !found.whole {
                    true => dirs.push(path::parent(found.file.as_bytes())),
                    false => Ok(()),
                };
            // These have host names by then.
            let instead = search.instead.take();
            for name in preloaded(audit).chain(preloaded(preload)) {
                search.need(name, 0, &mut each)?;
            }
            search.instead = instead;
            search.run(None, &mut each)?;
        }
        let other = !dirs.found.is_empty() && dirs.found != given;
        told.path = other.then_some(dirs.found);
        told.instead = search.instead.and_then(Instead::entries);
        Ok(())
    }

    /// Libraries that LD_PRELOAD or LD_AUDIT names, with host names for what the
    /// namespace has elsewhere.
    fn named(self, index: Index<'_>, list: &[u8], origin: &[u8]) -> Result<Option<Vec<u8>>> {
        let (mut all, mut any) = (Vec::new(), false);
        for name in preloaded(list) {
            let whole = if name.contains(&b'/') { self.place(name, origin)? } else { None };
            let moved = whole.filter(|whole| index.moves(path::parent(whole.as_bytes())));
            let found = match &moved {
                Some(whole) => {
                    let whole = whole.as_bytes();
                    self.library_in(path::parent(whole), path::file_name(whole))?
                }
                None => None,
            };
            any |= found.is_some();
            let name = found.as_ref().map_or(name, |(file, _)| file.as_bytes());
            all.try_reserve(name.len() + 1).map_err(|_| Errno::ENOMEM)?;
            if !all.is_empty() {
                all.push(b':');
            }
            all.extend_from_slice(name);
        }
        Ok(any.then_some(all))
    }

    /// The namespace's loader, unless the host's is the same file.
    fn other_loader(self, name: &[u8]) -> Result<Option<Name>> {
        let found = self.walk(libc::AT_FDCWD, name, Last::FOLLOW)?.host;
        let mut found = self.at_hand(found.as_bytes())?;
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
            let ours = ours.and_then(|mut found| self.host().stat(found.host.as_cstr()?));
            match (host, ours) {
                (Err(_), _) => true,
                (Ok(host), Ok(ours)) => (host.dev, host.ino) == (ours.dev, ours.ino),
                (Ok(_), Err(_)) => false,
            }
        })
    }

    /// The first library that is needed, by the program or by a library that
    /// it needs, and that only the host has.
    fn missing(self, index: Index<'_>, asked: &Asked<'_>) -> Result<Option<Missing>> {
        // What lies beside the program the loader may find by itself.
        if asked.elf.paths().contains(&b'$') {
            return Ok(None);
        }
        let Some(object) = Object::read(asked.file, asked.origin)? else { return Ok(None) };
        let mut search = Search::new(self, index, asked.given, &|_| false);
        search.add(object, None)?;
        search.run(None, &mut |_| Ok(()))?;
        for name in search.lacking {
            let host = PLACES.iter().find(|dir| {
                let whole = Name::from(dir).and_then(|mut whole| {
                    whole.join(name.as_bytes())?;
                    Kernel.stat(whole.as_cstr()?)
                });
                whole.is_ok()
            });
            // What neither has, the loader will say.
            if let Some(dir) = host {
                return Ok(Some(Missing { name, dir }));
            }
        }
        Ok(None)
    }

    /// A library in a directory of the namespace: a name by which the host has
    /// it, and the directory, as the namespace calls it.
    fn library_in(self, dir: &[u8], name: &[u8]) -> Result<Option<(Name, Name)>> {
        let mut whole = Name::from(if dir.is_empty() { b"." } else { dir })?;
        whole.join(name)?;
        if let Some(copy) = self.plain_library(&mut whole)? {
            let origin = Name::from(dir)?;
            return Ok(copy.map(|copy| (copy, origin)));
        }
        let Ok(entry) = self.walk(libc::AT_FDCWD, whole.as_bytes(), Last::NO_FOLLOW) else {
            return Ok(None);
        };
        let Ok(mut file) = self.walk(libc::AT_FDCWD, whole.as_bytes(), Last::FOLLOW) else {
            return Ok(None);
        };
        if !self.host().stat(file.host.as_cstr()?).is_ok_and(|st| !st.is_dir()) {
            // Nor is the loader to find what was there before.
            if remote::is_remote(entry.host.as_bytes()) {
                self.unshelve(entry.host.as_bytes());
            }
            return Ok(None);
        }
        let origin = Name::from(path::parent(entry.ns.as_bytes()))?;
        let is_remote = |host: &Name| remote::is_remote(host.as_bytes());
        if !is_remote(&file.host) && !is_remote(&entry.host) {
            return Ok(Some((file.host, origin)));
        }
        let Some(mut real) = copied(self.at_hand(file.host.as_bytes()))? else { return Ok(None) };
        // The loader finds it by the name that it has there.
        let mut seen = self.mirrored(entry.host.as_bytes())?;
        if seen.as_bytes() != real.as_bytes() {
            self.lead(&mut seen, &mut real)?;
        }
        Ok(Some((seen, origin)))
    }

    /// The copy of a library of a server's, or that there is none, by its
    /// canonical name in one round trip; `None` where there is a link on the
    /// way, or anything else to be looked at.
    fn plain_library(self, name: &mut Name) -> Result<Option<Option<Name>>> {
        if !self.process.met() || !path::is_canonical(name.as_bytes()) {
            return Ok(None);
        }
        let mut to = Target::new();
        let known = self.guess(libc::AT_FDCWD, name.as_cstr()?, &mut to)? && !to.as_given;
        if !known || !remote::is_remote(to.name.as_bytes()) {
            return Ok(None);
        }
        match self.at_hand(to.name.as_bytes()) {
            Err(Errno::ENOENT) => {
                self.unshelve(to.name.as_bytes());
                Ok(Some(None))
            }
            copy => Ok(copied(copy)?.map(Some)),
        }
    }

    /// A directory, or a file, that the loader is told of, in the namespace; a
    /// relative one on a server's is made whole.
    fn place(self, name: &[u8], origin: &[u8]) -> Result<Option<Name>> {
        let place = expand(name, origin)?.filter(|place| !place.as_bytes().is_empty());
        let Some(place) = place else { return Ok(None) };
        if place.as_bytes().starts_with(b"/") || self.process.remote_cwd().is_none() {
            return Ok(Some(place));
        }
        // A directory that has no name any more has nothing to be looked up in.
        let Ok(mut whole) = self.cwd_name() else { return Ok(None) };
        whole.join(place.as_bytes())?;
        Ok(Some(whole))
    }

    /// The directory of a program or library, as the namespace calls it, by the
    /// host name that the loader has for it; empty where it has none.
    #[must_use]
    pub fn origin_of(self, file: &[u8], seq: u32) -> Name {
        let name = self.shown_library(file, seq);
        name.and_then(|name| Name::from(path::parent(name.as_bytes())).ok()).unwrap_or_default()
    }

    /// What the namespace calls a program or library that the loader has by
    /// this host name.
    #[must_use]
    pub fn shown_library(self, file: &[u8], seq: u32) -> Option<Name> {
        let host = self.unshelved(file);
        let host = host.as_ref().map_or(file, Name::as_bytes);
        resolve::name_of(self.table().ok()?.index(), host, seq).ok()
    }

    /// What to give the loader for a library that a program asks for; `None`
    /// when the loader finds the same by the name as it is.
    ///
    /// # Errors
    /// Those of the walk; ENOSPC and its like for a copy that cannot be made.
    pub fn library(self, name: &[u8], asks: &Asks<'_>) -> Result<Option<Library>> {
        let table = self.table()?;
        let index = table.index();
        let mut search = Search::new(self, index, asks.given, asks.loaded);
        if let Some(object) = Object::read(asks.file, asks.origin)? {
            search.add(object, None)?;
        }
        let found = if name.contains(&b'/') {
            self.by_name(name, asks.origin)?
        } else if search.looks_elsewhere() && !(asks.loaded)(name) {
            let found = search.find(name, 0)?.filter(|(found, _)| found.moved);
            found.map(|(found, object)| (found.file, found.own, Some(object)))
        } else {
            None
        };
        let Some((file, own, object)) = found else { return Ok(None) };
        let mut library = Library { file, own, before: Vec::new() };
        if let Some(object) = object {
            let by = search.objects.len().checked_sub(1);
            search.add(object, by)?;
            search.run(by, &mut |found| {
                if found.moved && !found.beside {
                    let file = Name::from(found.file.as_bytes())?;
                    let needed =
                        if found.whole { Some(Name::from(found.own.as_bytes())?) } else { None };
                    library.before.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                    library.before.push(Before { file, needed });
                }
                Ok(())
            })?;
        }
        Ok(Some(library))
    }

    /// A library by a name with a slash, what the loader calls it, and what it
    /// needs.
    fn by_name(self, name: &[u8], origin: &[u8]) -> Result<Option<(Name, Name, Option<Object>)>> {
        let own = spelled(name, origin)?;
        // `$LIB` and its like are the loader's to replace.
        let Some(name) = self.place(name, origin)? else { return Ok(None) };
        let bytes = name.as_bytes();
        let mut given = Name::from(bytes)?;
        let hosts = Kernel.stat(given.as_cstr()?);
        let Some((mut file, origin)) =
            self.library_in(path::parent(bytes), path::file_name(bytes))?
        else {
            // Neither has it: the loader's complaint has the program's name.
            if hosts == Err(Errno::ENOENT) {
                return Ok(None);
            }
            // The host alone has it: a name that leads nowhere.
            let host = self.walk(libc::AT_FDCWD, bytes, Last::FOLLOW)?.host;
            let nowhere = remote::is_remote(host.as_bytes());
            let host = if nowhere { self.mirrored(host.as_bytes())? } else { host };
            return Ok(Some((host, own, None)));
        };
        match (Kernel.stat(file.as_cstr()?), hosts) {
            (Ok(ours), Ok(hosts)) if (ours.dev, ours.ino) == (hosts.dev, hosts.ino) => Ok(None),
            _ => {
                let object = Object::read(file.as_bytes(), origin.as_bytes())?;
                Ok(Some((file, own, object)))
            }
        }
    }
}

/// Who asks for a library while it runs.
pub struct Asks<'a> {
    /// The program or library that does: the host name that the loader has for
    /// it.
    pub file: &'a [u8],
    /// The directory that it lies in, as the namespace calls it; empty where
    /// that is not known.
    pub origin: &'a [u8],
    /// The LD_LIBRARY_PATH that the program was started with.
    pub given: &'a [u8],
    /// Whether the loader has a library by this name.
    pub loaded: &'a dyn Fn(&[u8]) -> bool,
}

/// A library that a program asks for.
pub struct Library {
    /// Its host name.
    pub file: Name,
    /// What the loader would call it, were it the namespace's.
    pub own: Name,
    /// What has to be loaded before, the last one first.
    pub before: Vec<Before>,
}

/// A library that another needs.
pub struct Before {
    /// Its host name.
    pub file: Name,
    /// The name with a slash in it by which it is needed, and which the loader is
    /// to know it by.
    pub needed: Option<Name>,
}

/// A copy that cannot be made is an error, a library that cannot be read none
/// that the loader finds.
fn copied(copy: Result<Name>) -> Result<Option<Name>> {
    match copy {
        Err(error @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG | Errno::ENOMEM)) => Err(error),
        copy => Ok(copy.ok()),
    }
}

const OPEN: i32 = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;

/// Whether a library's name says all of where it is.
#[must_use]
pub fn is_whole(name: &[u8]) -> bool {
    name.contains(&b'/') && !name.contains(&b'$')
}

/// What follows `$ORIGIN`.
fn after_origin(name: &[u8]) -> Option<&[u8]> {
    let rest = [&b"$ORIGIN"[..], b"${ORIGIN}"].iter().find_map(|token| name.strip_prefix(*token));
    rest.filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The same as the loader spells it: it goes nowhere up.
fn spelled(name: &[u8], origin: &[u8]) -> Result<Name> {
    let Some(rest) = after_origin(name) else { return Name::from(name) };
    let mut own = Name::from(origin)?;
    own.push(rest)?;
    Ok(own)
}

/// A directory, or a file, as the loader is told of it, with `$ORIGIN` replaced;
/// `None` where the loader alone can say what is meant. `origin` is canonical, so
/// that what goes up from there is its parent.
fn expand(name: &[u8], origin: &[u8]) -> Result<Option<Name>> {
    let (mut rest, mut origin) = match after_origin(name) {
        None if name.contains(&b'$') => return Ok(None),
        None => return Name::from(name).map(Some),
        Some(_) if origin.is_empty() => return Ok(None),
        Some(rest) => (rest, origin),
    };
    while let Some(after) = rest.strip_prefix(b"/") {
        let component = after.split(|b| *b == b'/').next().unwrap_or_default();
        match component {
            b"" | b"." => {}
            b".." => origin = path::parent(origin),
            _ => break,
        }
        rest = after.get(component.len()..).unwrap_or_default();
    }
    let mut name = Name::from(if origin == b"/" { b"" } else { origin })?;
    name.push(if name.as_bytes().is_empty() && rest.is_empty() { b"/" } else { rest })?;
    Ok((!name.as_bytes().contains(&b'$')).then_some(name))
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
    fn add(&mut self, dir: &[u8], origin: &[u8], always: bool) -> Result<()> {
        let place =
            self.view.place(dir, origin)?.filter(|place| place.as_bytes().starts_with(b"/"));
        let Some(place) = place else {
            return if always { self.push(dir) } else { Ok(()) };
        };
        let walked = self.view.walk(libc::AT_FDCWD, place.as_bytes(), Last::FOLLOW);
        let Ok(found) = walked else { return Ok(()) };
        if !always && !self.index.moves(found.ns.as_bytes()) {
            return Ok(());
        }
        if !found.is_union {
            return self.push_host(found.host.as_bytes());
        }
        let mount = self.index.find(found.ns.as_bytes()).mount;
        let mut members = mount.iter().flat_map(|mount| mount.members());
        members.try_for_each(|member| self.push_host(member.host()))
    }

    /// Of a server's directory the copies that are there.
    fn push_host(&mut self, dir: &[u8]) -> Result<()> {
        if !remote::is_remote(dir) {
            return self.push(dir);
        }
        match self.view.mirrored(dir) {
            Ok(dir) => self.push(dir.as_bytes()),
            Err(_) => Ok(()),
        }
    }

    fn push(&mut self, dir: &[u8]) -> Result<()> {
        let known = directories(&self.found).any(|known| known == dir);
        // A name with a separator in it cannot be told.
        if known || dir.is_empty() || directories(dir).nth(1).is_some() {
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
    use std::string::String;

    #[test]
    fn the_origin_is_put_in_and_gone_up_from() {
        let of = |name: &str, origin: &str| {
            let found = expand(name.as_bytes(), origin.as_bytes()).unwrap();
            found.map(|name| String::from_utf8(name.as_bytes().to_vec()).unwrap())
        };
        let is = |name, origin, want: &str| assert_eq!(of(name, origin).as_deref(), Some(want));
        is("$ORIGIN", "/a/b", "/a/b");
        is("${ORIGIN}/../lib/x", "/a/b", "/a/lib/x");
        is("$ORIGIN/.//../../lib", "/a/b", "/lib");
        is("$ORIGIN/../../..", "/a/b", "/");
        is("$ORIGIN/x/../y", "/a", "/a/x/../y");
        is("/a/b", "", "/a/b");
        for name in ["$ORIGIN/x", "$ORIGINAL/x", "/a/$LIB", "$ORIGIN/$LIB"] {
            assert_eq!(of(name, ""), None);
        }
        assert_eq!(of("$ORIGIN/$LIB", "/a"), None);
    }
}
