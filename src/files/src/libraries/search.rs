//! What the loader is going to look for, looked for in the namespace: a file,
//! what it needs, what that needs, in the order of ld.so(8).

use super::instead::Instead;
use super::{expand, spelled};
use crate::process::View;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use privns_abi::{Errno, Result, path};
use privns_host::{Host, Kernel, Name, cpu};
use privns_namespace::index::Index;
use privns_namespace::program::{self, Link, PLACES, directories, own_directories};
use privns_namespace::resolve::{Last, Located};

/// Files looked at for one program or library.
const LOOKED_AT: usize = 512;
/// Names looked up for one program or library: hundreds of libraries in dozens of
/// directories. What a file asks for beyond that the loader does not find.
const LOOK_UPS: u32 = 20_000;

/// What a directory has libraries for single processors in (ld.so(8)).
const LEVELS: &[u8] = b"glibc-hwcaps";

/// The directories of a list that the loader searches, as `split` takes it apart: an
/// empty one is the working directory, and an empty list none at all.
pub(super) fn in_turn<'a, I: Iterator<Item = &'a [u8]>>(
    list: &'a [u8],
    split: impl FnOnce(&'a [u8]) -> I,
) -> impl Iterator<Item = &'a [u8]> {
    let dirs = split(list).filter(|_| !list.is_empty());
    dirs.map(|dir| if dir.is_empty() { b"." } else { dir })
}

/// A file that needs others.
pub(super) struct Object {
    /// A name by which the host has it.
    file: Name,
    /// The directory that it lies in, as the namespace calls it: its `$ORIGIN`.
    /// Empty where it has no name there.
    origin: Name,
    rpath: Vec<u8>,
    runpath: Vec<u8>,
    pub(super) needed: Vec<Name>,
    /// What needs it.
    by: Option<usize>,
    /// What the loader calls it, where it has been given another file than that.
    called: Option<Name>,
}

/// A library that was found.
pub(super) struct Found {
    /// A name by which the host has it.
    pub(super) file: Name,
    /// What the loader would call it, were it the namespace's.
    pub(super) own: Name,
    /// The host alone would not find it there.
    pub(super) moved: bool,
    /// The loader finds it all the same, beside what needs it.
    pub(super) beside: bool,
    /// It is needed by a name with a slash in it, `own`: searched for nowhere.
    pub(super) whole: bool,
    /// It is made for processors like this, and lies in a directory for such.
    level: Option<&'static str>,
}

impl Object {
    /// Reads what a file needs; `None` for what this machine cannot load.
    pub(super) fn read(file: &[u8], origin: &[u8]) -> Result<Option<Object>> {
        let (mut file, origin) = (Name::from(file)?, Name::from(origin)?);
        let Ok(fd) = Kernel.openat(libc::AT_FDCWD, file.as_cstr()?, super::OPEN, 0) else {
            return Ok(None);
        };
        let (rpath, runpath, needed) = (Vec::new(), Vec::new(), Vec::new());
        let mut object = Object { file, origin, rpath, runpath, needed, by: None, called: None };
        let mut done = Ok(());
        let loads = program::links(fd, &mut |link| done = done.and(object.take(link)));
        let _ = Kernel.close(fd);
        let loads = loads?;
        done.map(|()| loads.then_some(object))
    }

    fn take(&mut self, link: Link<'_>) -> Result<()> {
        let (list, path) = match link {
            Link::Needed(name) => {
                self.needed.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                self.needed.push(Name::from(name)?);
                return Ok(());
            }
            Link::Rpath(path) => (&mut self.rpath, path),
            Link::Runpath(path) => (&mut self.runpath, path),
        };
        list.clear();
        list.try_reserve(path.len()).map_err(|_| Errno::ENOMEM)?;
        list.extend_from_slice(path);
        Ok(())
    }

    /// Where it has libraries looked for.
    pub(super) fn paths(&self) -> &[u8] {
        if self.runpath.is_empty() { &self.rpath } else { &self.runpath }
    }

    /// Where it has libraries looked for, those that its libraries need too: a
    /// `DT_RPATH` counts only without a `DT_RUNPATH`.
    fn rpath(&self) -> &[u8] {
        if self.runpath.is_empty() { &self.rpath } else { b"" }
    }

    /// What the loader takes for its `$ORIGIN`, where it knows the file by its
    /// whole name.
    fn loaders_origin(&self) -> Option<&[u8]> {
        let file = self.called.as_ref().unwrap_or(&self.file).as_bytes();
        file.starts_with(b"/").then(|| path::parent(file))
    }
}

/// A search in progress.
pub(super) struct Search<'a> {
    view: View<'a>,
    index: Index<'a>,
    /// LD_LIBRARY_PATH.
    given: &'a [u8],
    pub(super) objects: Vec<Object>,
    seen: Vec<Name>,
    /// Names without a slash that were not found.
    pub(super) lacking: Vec<Name>,
    /// What the loader would open itself, before we are there, and should not.
    pub(super) instead: Option<Instead>,
    /// Libraries that the loader has by now, and does not look for.
    loaded: &'a dyn Fn(&[u8]) -> bool,
    /// Names that may still be looked up.
    left: Cell<u32>,
    /// Directories, and whether they have libraries for single processors.
    levels: RefCell<Vec<(Name, bool)>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        view: View<'a>,
        index: Index<'a>,
        given: &'a [u8],
        loaded: &'a dyn Fn(&[u8]) -> bool,
    ) -> Search<'a> {
        let (objects, seen, lacking) = (Vec::new(), Vec::new(), Vec::new());
        let (left, levels, instead) = (Cell::new(LOOK_UPS), RefCell::default(), None);
        Search { view, index, given, objects, seen, lacking, instead, loaded, left, levels }
    }

    /// The same for a program that is about to be run: what the loader would find
    /// by itself, and should not, is noted.
    pub(super) fn at_start(view: View<'a>, index: Index<'a>, given: &'a [u8]) -> Search<'a> {
        let search = Search::new(view, index, given, &|_| false);
        Search { instead: Some(Instead::default()), ..search }
    }

    /// Adds a file, which `by` needs.
    pub(super) fn add(&mut self, mut object: Object, by: Option<usize>) -> Result<usize> {
        object.by = by;
        self.objects.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.objects.push(object);
        Ok(self.objects.len() - 1)
    }

    /// Looks for all that is needed by what was added `after` another, each once
    /// and breadth first, as the loader does; `each` is told what is found.
    ///
    /// # Errors
    /// ENOSPC and its like for a copy that cannot be made; ENOMEM.
    pub(super) fn run(
        &mut self,
        after: Option<usize>,
        each: &mut dyn FnMut(&Found) -> Result<()>,
    ) -> Result<()> {
        let mut at = after.map_or(0, |after| after + 1);
        while at < self.objects.len().min(LOOKED_AT) {
            let needed = core::mem::take(&mut self.objects[at].needed);
            for name in &needed {
                self.need(name.as_bytes(), at, each)?;
            }
            at += 1;
        }
        Ok(())
    }

    /// Looks for one library.
    ///
    /// # Errors
    /// As [`Search::run`].
    pub(super) fn need(
        &mut self,
        name: &[u8],
        by: usize,
        each: &mut dyn FnMut(&Found) -> Result<()>,
    ) -> Result<()> {
        let known = self.seen.iter().any(|seen| seen.as_bytes() == name);
        if known || name.is_empty() || (self.loaded)(name) {
            return Ok(());
        }
        self.seen.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.seen.push(Name::from(name)?);
        let whole = name.contains(&b'/');
        let mut found = if whole { self.whole(name, by)? } else { self.find(name, by)? };
        if let Some(mut instead) = self.instead.take() {
            let noted = match whole {
                true => self.note_whole(&mut instead, name, by, found.as_ref()),
                false => self.note_misled(&mut instead, name, by, found.as_mut()),
            };
            self.instead = Some(instead);
            noted?;
        }
        match found {
            Some((found, object)) => {
                each(&found)?;
                self.add(object, Some(by)).map(drop)
            }
            None if whole => Ok(()),
            None => {
                self.lacking.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                self.lacking.push(Name::from(name)?);
                Ok(())
            }
        }
    }

    /// What a name with a slash in it stands for, to an object.
    fn whole(&self, name: &[u8], by: usize) -> Result<Option<(Found, Object)>> {
        let Some(left) = self.left.get().checked_sub(1) else { return Ok(None) };
        self.left.set(left);
        let origin = self.objects.get(by).map_or(&b""[..], |object| object.origin.as_bytes());
        let Some(place) = self.view.place(name, origin)? else { return Ok(None) };
        let place = place.as_bytes();
        let there = self.view.library_in(path::parent(place), path::file_name(place))?;
        let Some((mut file, dir)) = there else { return Ok(None) };
        let Some(object) = Object::read(file.as_bytes(), dir.as_bytes())? else { return Ok(None) };
        let hosts = identity(&mut self.loaders(name, by)?);
        let moved = hosts.is_none() || hosts != identity(&mut file);
        let own = spelled(name, origin)?;
        Ok(Some((Found { file, own, moved, beside: false, whole: true, level: None }, object)))
    }

    /// A name with a slash in it, as the loader takes it for an object.
    fn loaders(&self, name: &[u8], by: usize) -> Result<Name> {
        let origin = self.objects.get(by).and_then(Object::loaders_origin);
        spelled(name, origin.unwrap_or_default())
    }

    /// Notes what the loader is to open for a name with a slash in it.
    fn note_whole(
        &self,
        instead: &mut Instead,
        name: &[u8],
        by: usize,
        found: Option<&(Found, Object)>,
    ) -> Result<()> {
        let mut asked = self.loaders(name, by)?;
        if let Some((found, _)) = found {
            let misled = found.moved && !asked.as_bytes().contains(&b'$');
            return if misled { instead.named(&asked, found.file.as_bytes()) } else { Ok(()) };
        }
        let origin = self.objects.get(by).map_or(&b""[..], |object| object.origin.as_bytes());
        let Some(place) = self.view.place(name, origin)? else { return Ok(()) };
        let walked = self.view.walk(libc::AT_FDCWD, place.as_bytes(), Last::FOLLOW);
        let Ok(Located { mut host, .. }) = walked else { return Ok(()) };
        // The host alone has it: a name that leads nowhere.
        let hidden = identity(&mut host).is_none() && identity(&mut asked).is_some();
        if hidden { instead.named(&asked, host.as_bytes()) } else { Ok(()) }
    }

    /// Notes what the loader would find on the host in the directories that
    /// objects name, before or in place of what the namespace has.
    fn note_misled(
        &self,
        instead: &mut Instead,
        name: &[u8],
        by: usize,
        mut found: Option<&mut (Found, Object)>,
    ) -> Result<()> {
        let right = found.as_mut().and_then(|(found, _)| identity(&mut found.file));
        let mut asker = Some(by);
        while let Some(object) = asker.and_then(|at| self.objects.get(at)) {
            // A DT_RUNPATH counts only for the asker itself, and comes after
            // LD_LIBRARY_PATH: what the loader is told of, it finds there.
            let late = asker == Some(by) && !object.runpath.is_empty();
            if late && found.as_ref().is_some_and(|(found, _)| found.moved && !found.beside) {
                break;
            }
            let dirs = if late { &object.runpath[..] } else { object.rpath() };
            for dir in in_turn(dirs, own_directories) {
                let Some(dir) = self.differs(dir, object)? else { continue };
                for mut file in files_in(dir.as_bytes(), name)? {
                    let hosts = identity(&mut file);
                    match &mut found {
                        _ if hosts.is_none() => {}
                        Some(_) if hosts == right => return Ok(()),
                        None => instead.searched(&file, b"")?,
                        Some((found, object)) => {
                            instead.searched(&file, found.file.as_bytes())?;
                            object.called = Some(file);
                            return Ok(());
                        }
                    }
                }
            }
            asker = if late { None } else { object.by };
        }
        Ok(())
    }

    /// A directory that an object names, as the loader has it, where the
    /// namespace has something else there.
    fn differs(&self, dir: &[u8], of: &Object) -> Result<Option<Name>> {
        let Some(place) = self.view.place(dir, of.origin.as_bytes())? else { return Ok(None) };
        let Some(origin) = of.loaders_origin() else { return Ok(None) };
        let theirs = spelled(dir, origin)?;
        let moved = self.index.moves(place.as_bytes()) && !theirs.as_bytes().contains(&b'$');
        Ok(moved.then_some(theirs))
    }

    /// Whether the namespace shows something else than the host at any of the
    /// directories in which the first object has libraries looked for.
    pub(super) fn looks_elsewhere(&self) -> bool {
        let Some(object) = self.objects.first() else { return false };
        let moved = |dir: &[u8]| {
            let dir = self.view.place(dir, object.origin.as_bytes());
            dir.is_ok_and(|dir| dir.is_some_and(|dir| self.index.moves(dir.as_bytes())))
        };
        let own = [object.rpath(), &object.runpath];
        let mut dirs = own.into_iter().flat_map(own_directories).chain(directories(self.given));
        dirs.any(moved) || PLACES.iter().any(|place| moved(place))
    }

    /// Finds a library that an object asks for.
    ///
    /// # Errors
    /// As [`Search::run`].
    pub(super) fn find(&self, name: &[u8], by: usize) -> Result<Option<(Found, Object)>> {
        let mut asker = Some(by);
        while let Some(object) = asker.and_then(|at| self.objects.get(at)) {
            // Those above count only where the asker has no DT_RUNPATH.
            if asker == Some(by) && !object.runpath.is_empty() {
                break;
            }
            let dirs = &mut in_turn(object.rpath(), own_directories);
            if let Some(found) = self.find_in(dirs, object, name)? {
                return Ok(Some(found));
            }
            asker = object.by;
        }
        let (Some(first), Some(object)) = (self.objects.first(), self.objects.get(by)) else {
            return Ok(None);
        };
        let given = &mut in_turn(self.given, directories);
        if let Some(found) = self.find_in(given, first, name)? {
            return Ok(Some(found));
        }
        let dirs = &mut in_turn(&object.runpath, own_directories);
        if let Some(found) = self.find_in(dirs, object, name)? {
            return Ok(Some(found));
        }
        for place in PLACES {
            if let Some(found) = self.found(place, name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Looks in directories, in which `$ORIGIN` is that of an object.
    fn find_in(
        &self,
        dirs: &mut dyn Iterator<Item = &[u8]>,
        of: &Object,
        name: &[u8],
    ) -> Result<Option<(Found, Object)>> {
        for dir in dirs {
            let Some(place) = self.view.place(dir, of.origin.as_bytes())? else { continue };
            let Some(mut found) = self.found(place.as_bytes(), name)? else { continue };
            let loaders = match of.loaders_origin() {
                Some(origin) if found.0.moved => expand(dir, origin)?,
                _ => None,
            };
            let there = path::parent(found.0.file.as_bytes());
            found.0.beside = loaders.is_some_and(|dir| dir.as_bytes() == there);
            let mut own = spelled(dir, of.origin.as_bytes())?;
            if let Some(level) = found.0.level {
                own.join(LEVELS)?;
                own.join(level.as_bytes())?;
            }
            own.join(name)?;
            found.0.own = own;
            return Ok(Some(found));
        }
        Ok(None)
    }

    /// What a directory of the namespace has of this name, if it can be loaded:
    /// what is made for this processor before others.
    fn found(&self, dir: &[u8], name: &[u8]) -> Result<Option<(Found, Object)>> {
        if self.index.moves(dir) && self.has_levels(dir)? {
            for level in cpu::levels() {
                let mut special = Name::from(dir)?;
                special.join(LEVELS)?;
                special.join(level.as_bytes())?;
                if let Some(mut found) = self.plain(special.as_bytes(), name)? {
                    found.0.level = Some(level);
                    return Ok(Some(found));
                }
            }
        }
        self.plain(dir, name)
    }

    /// Whether a directory has libraries for single processors.
    fn has_levels(&self, dir: &[u8]) -> Result<bool> {
        let mut known = self.levels.borrow_mut();
        if let Some((_, has)) = known.iter().find(|(known, _)| known.as_bytes() == dir) {
            return Ok(*has);
        }
        let mut levels = Name::from(dir)?;
        levels.join(LEVELS)?;
        let found = self.view.walk(libc::AT_FDCWD, levels.as_bytes(), Last::FOLLOW);
        let is_dir = |mut found: Located| {
            let st = self.view.host().stat(found.host.as_cstr()?)?;
            Ok::<_, Errno>(st.is_dir())
        };
        let has = found.and_then(is_dir).unwrap_or(false);
        known.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        known.push((Name::from(dir)?, has));
        Ok(has)
    }

    /// What a directory of the namespace has of this name itself.
    fn plain(&self, dir: &[u8], name: &[u8]) -> Result<Option<(Found, Object)>> {
        let Some(left) = self.left.get().checked_sub(1) else { return Ok(None) };
        self.left.set(left);
        let moved = self.index.moves(dir);
        let (file, origin) = if moved {
            let Some((file, origin)) = self.view.library_in(dir, name)? else { return Ok(None) };
            (file, origin)
        } else {
            let mut file = Name::from(dir)?;
            file.join(name)?;
            (file, Name::from(dir)?)
        };
        let Some(object) = Object::read(file.as_bytes(), origin.as_bytes())? else {
            return Ok(None);
        };
        let own = Name::from(file.as_bytes())?;
        Ok(Some((Found { file, own, moved, beside: false, whole: false, level: None }, object)))
    }
}

/// The files in which the loader looks for a name in a directory.
fn files_in(dir: &[u8], name: &[u8]) -> Result<Vec<Name>> {
    let dir = dir.strip_suffix(b"/").unwrap_or(dir);
    let mut files = Vec::new();
    for level in cpu::levels().iter().map(Some).chain([None]) {
        let mut file = Name::from(dir)?;
        if let Some(level) = level {
            file.join(LEVELS)?;
            file.join(level.as_bytes())?;
        }
        file.join(name)?;
        files.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        files.push(file);
    }
    Ok(files)
}

/// Which file the host has by a name.
fn identity(name: &mut Name) -> Option<(u64, u64)> {
    let st = name.as_cstr().and_then(|name| Kernel.stat(name)).ok()?;
    Some((st.dev, st.ino))
}
