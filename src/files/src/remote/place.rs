//! Where a remote file is: a server, and a way from its root.

use super::conn::Conn;
use super::file::{File, Open};
use crate::locate::only_up;
use crate::process::View;
use crate::wire::Wire;
use alloc::sync::Arc;
use alloc::vec::Vec;
use privns_abi::{Errno, Result, path};
use privns_namespace::remote;
use privns_ninep::attr::mode;
use privns_ninep::client::{By, Route};

/// A name on a remote file system, as a system call is about it.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The server's number.
    pub id: u32,
    /// The open directory that the name is relative to; `None`: the root.
    pub dir: Option<&'a File>,
    /// From the root to where the name begins, when no directory is open there.
    pub base: &'a [u8],
    /// The name. It has no `..`.
    pub path: &'a [u8],
    /// What the directory at `base` has to be: its `qid.path`.
    pub identity: Option<u64>,
}

/// How a name ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// In a component.
    Plain,
    /// In a slash: a directory is meant.
    Slash,
    /// In `.`, or in nothing: where it begins.
    Dot,
}

impl<'a> Place<'a> {
    /// The place that a host name stands for; `None` for one of the host's.
    #[must_use]
    #[inline]
    pub fn of(host: &'a [u8]) -> Option<Place<'a>> {
        let (id, path) = remote::split(host)?;
        Some(Place::from_top(id, path))
    }

    /// A name from the root of a server.
    #[must_use]
    pub fn from_top(id: u32, path: &'a [u8]) -> Place<'a> {
        Place { id, dir: None, base: b"", path, identity: None }
    }

    /// A name relative to an open directory.
    #[must_use]
    pub fn below(dir: &'a File, path: &'a [u8]) -> Place<'a> {
        Place { id: dir.server(), dir: Some(dir), base: b"", path, identity: None }
    }

    /// Runs `act` with the place that a name stands for from an open directory. One that
    /// leads up, and does nothing else, is a directory by its way from the root: it comes
    /// here as it was given where that is too long for a [`Target`](crate::Target).
    pub fn from_dir<R>(dir: &File, name: &[u8], act: impl FnOnce(Place<'_>) -> R) -> R {
        let up = only_up(name).and_then(|up| Some((up, dir.path().ok()?)));
        let Some((up, path)) = up else { return act(Place::below(dir, name)) };
        let above = (0..up).fold(&path[..], |path, _| match path::parent(path) {
            b"/" => b"",
            parent => parent,
        });
        act(Place { id: dir.server(), dir: None, base: above, path: b"", identity: None })
    }

    /// The same place, by the name of the directory that it is relative to.
    #[must_use]
    pub fn on_path<'p>(&self, path: &'p [u8]) -> Place<'p>
    where
        'a: 'p,
    {
        let identity = self.dir.map(File::identity);
        Place { id: self.id, dir: None, base: path, path: self.path, identity }
    }

    /// All components from where a walk begins.
    ///
    /// # Errors
    /// ENAMETOOLONG for a component that no entry can have; ENOENT for `..`,
    /// which only a directory that has lost its name is asked for.
    pub fn names(&self) -> Result<Vec<&'a [u8]>> {
        let mut names = Vec::new();
        for name in path::components(self.base).chain(path::components(self.path)) {
            match name {
                b".." => return Err(Errno::ENOENT),
                _ if name.len() > path::NAME_MAX => return Err(Errno::ENAMETOOLONG),
                _ => names.push(name),
            }
        }
        Ok(names)
    }

    /// Whether it is an open file itself, of whatever kind.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.opened().is_some()
    }

    /// The open file that it is, if it is one.
    #[must_use]
    pub fn opened(&self) -> Option<&'a File> {
        self.dir.filter(|_| self.path.is_empty())
    }

    /// The open directory that the name begins in, when that is all it means.
    #[must_use]
    pub fn itself(&self) -> Option<&'a File> {
        self.dir.filter(|_| path::components(self.path).next().is_none())
    }

    /// How the name ends.
    #[must_use]
    pub fn end(&self) -> End {
        if self.is_open() {
            return End::Plain;
        }
        match self.path.rsplit(|&b| b == b'/').find(|part| !part.is_empty()) {
            None | Some(b".") => End::Dot,
            Some(_) if self.path.ends_with(b"/") => End::Slash,
            Some(_) => End::Plain,
        }
    }

    /// From the root, without a slash at either end.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn from_root(&self) -> Result<Vec<u8>> {
        let mut whole = match self.dir {
            Some(dir) => dir.path()?,
            None => Vec::new(),
        };
        for name in path::components(self.base).chain(path::components(self.path)) {
            whole.try_reserve(name.len() + 1).map_err(|_| Errno::ENOMEM)?;
            if !whole.is_empty() {
                whole.push(b'/');
            }
            whole.extend_from_slice(name);
        }
        Ok(whole)
    }
}

/// A connection that serves a place, and the way to the place on it.
pub struct Way<'a> {
    from: From,
    /// The components from there.
    pub names: Vec<&'a [u8]>,
    by: Option<By>,
}

enum From {
    /// The root.
    Root(Conn),
    /// An open directory.
    Dir(Arc<Open>),
}

impl<'a> Way<'a> {
    /// The way to a place, on a connection that is dialled if need be.
    ///
    /// # Errors
    /// As [`Place::names`] and [`View::conn`].
    pub fn new(view: View<'_>, place: &Place<'a>) -> Result<Way<'a>> {
        let from = match place.dir {
            // The root has no other name.
            Some(dir) if !place.is_open() && dir.is_top() => From::Root(view.conn(place.id)?),
            // Of a directory that is lost nothing below it can be found.
            Some(dir) => From::Dir(dir.open(view).map_err(|error| match error {
                Errno::ESTALE if !place.is_open() => Errno::ENOENT,
                error => error,
            })?),
            None => From::Root(view.conn(place.id)?),
        };
        let by = place
            .identity
            .map(|identity| By { names: path::components(place.base).count(), identity });
        let by = by.filter(|by| by.names > 0);
        Ok(Way { from, names: place.names()?, by })
    }

    /// To what is open.
    pub(super) fn to(open: Arc<Open>) -> Way<'static> {
        Way { from: From::Dir(open), names: Vec::new(), by: None }
    }

    /// The connection.
    #[must_use]
    pub fn conn(&self) -> &Conn {
        match &self.from {
            From::Root(conn) => conn,
            From::Dir(dir) => &dir.conn,
        }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Wire {
        &self.conn().client
    }

    /// As the client takes it.
    #[must_use]
    pub fn route(&self) -> Route<'_> {
        self.route_of(self.names.len())
    }

    /// The way to the directory that the last component is in, and that
    /// component; `None` for the beginning itself.
    #[must_use]
    pub fn parent(&self) -> Option<(Route<'_>, &'a [u8])> {
        let (last, _) = self.names.split_last()?;
        Some((self.route_of(self.names.len() - 1), last))
    }

    /// What became of something that was done in the directory that the last
    /// component is in. Of a symbolic link in its place a server says that it is
    /// no directory; those above follow it: ELOOP.
    ///
    /// # Errors
    /// Those of `done`.
    pub fn in_parent<R>(&self, done: Result<R>) -> Result<R> {
        if !matches!(done, Err(Errno::ENOTDIR)) {
            return done;
        }
        let dir = self.parent().filter(|(dir, _)| !dir.names.is_empty());
        let attr = dir.and_then(|(dir, _)| self.client().getattr_at(dir).ok());
        match attr.is_some_and(|attr| attr.mode & mode::FORMAT == mode::SYMLINK) {
            true => Err(Errno::ELOOP),
            false => done,
        }
    }

    fn route_of(&self, names: usize) -> Route<'_> {
        let from = match &self.from {
            From::Root(conn) => conn.root(),
            From::Dir(dir) => &dir.opened.fid,
        };
        Route { from, names: &self.names[..names], by: self.by.filter(|by| by.names <= names) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &[u8]) -> Place<'_> {
        Place { base: b"a/b", ..Place::from_top(1, path) }
    }

    #[test]
    fn a_place_is_the_way_there_and_how_its_name_ends() {
        assert_eq!(place(b"c//./d/").names().unwrap(), [b"a", b"b", b"c", b"d"]);
        assert_eq!(place(b"c//./d/").from_root().unwrap(), b"a/b/c/d");
        assert_eq!(place(b"c/d/").end(), End::Slash);
        assert_eq!(place(b"c/d/.").end(), End::Dot);
        assert_eq!(place(b"").end(), End::Dot);
        assert_eq!(place(b"c").end(), End::Plain);
        assert_eq!(place(b"../c").names(), Err(Errno::ENOENT));
        assert_eq!(place(&[b'x'; 256]).names(), Err(Errno::ENAMETOOLONG));
    }
}
