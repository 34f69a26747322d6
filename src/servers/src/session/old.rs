//! The messages of 9P2000 and 9P2000.u. They end in the same functions as
//! those of 9P2000.L.

use super::linux::{ANY_GROUP, target};
use super::{Answer, Common, OpenFile, Session, Use};
use crate::tree::{How, Tree};
use privns_abi::{Errno, Result};
use privns_ninep::Dialect;
use privns_ninep::attr::{Attr, Qid, SetAttr, Stat, dm, from_dm, mode, set, to_dm};
use privns_ninep::client::flags;
use privns_ninep::message::{Rcreate, Request, Ropen, Rstat, Rwstat, Tcreate, Tread, Twstat};
use privns_ninep::name::Name;
use privns_ninep::wire::{Counted, Unix, Writer};

/// Bits of an open mode (open(5)).
const ACCESS: u8 = 3;
const EXEC: u8 = 3;
const TRUNC: u8 = 0x10;
const CLOSE_REMOVES: u8 = 0x40;

fn how(mode: u8) -> Result<How> {
    if mode & !(ACCESS | TRUNC | CLOSE_REMOVES) != 0 {
        return Err(Errno::EINVAL);
    }
    let access = if mode & ACCESS == EXEC { 0 } else { u32::from(mode & ACCESS) };
    Ok(How(access | if mode & TRUNC != 0 { flags::TRUNC } else { 0 }))
}

impl<T: Tree> Session<T> {
    fn dialect(&self) -> Dialect {
        self.agreed.map_or(Dialect::Base, |a| a.dialect)
    }

    pub(super) fn handle_old(&mut self, request: &Request<'_>, a: &mut Answer<'_>) -> Result<()> {
        match request {
            Request::Topen(m) => {
                let removes = m.mode & CLOSE_REMOVES != 0;
                if removes {
                    self.writable()?;
                }
                let qid = self.open(m.fid, how(m.mode)?)?;
                self.fid_mut(m.fid)?.remove_on_close = removes;
                a.send(&Ropen { qid, iounit: 0 })
            }
            Request::Tcreate(m) => {
                let qid = self.make(m)?;
                self.fid_mut(m.fid)?.remove_on_close = m.mode & CLOSE_REMOVES != 0;
                a.send(&Rcreate { qid, iounit: 0 })
            }
            Request::Tstat(m) => {
                let fid = self.fid(m.fid)?;
                let attr = self.common.tree.attr(&fid.node)?;
                let parent = self.common.tree.parent(&fid.node);
                // A file that has lost its name still has attributes.
                let name = match &parent {
                    Ok(Some((_, name))) => &name[..],
                    _ => b"/",
                };
                let link = link_of(&self.common, &fid.node, &attr);
                let texts = Texts::of(&attr);
                let stat = texts.stat(&attr, name, &link, self.dialect());
                a.send(&Rstat { stat: Counted(Counted(stat)) })
            }
            Request::Twstat(m) => self.wstat(m, a),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// Tcreate makes files, directories and, in .u, symbolic links.
    fn make(&mut self, m: &Tcreate<'_>) -> Result<Qid> {
        self.writable()?;
        let how = how(m.mode)?;
        let name = m.name.component()?;
        let dir = self.node(m.fid)?.clone();
        let parent = self.common.tree.attr(&dir)?.mode;
        let kind = m.perm & !(0o777 | dm::SETUID | dm::SETGID | dm::APPEND | dm::EXCL);
        // In Plan 9 the directory limits the permissions (open(5)); Unix
        // clients have applied a umask instead.
        let limit = |bits: u32| match self.dialect() {
            Dialect::Base => m.perm & (!bits | parent & bits),
            _ => m.perm,
        };
        let tree = &self.common.tree;
        let node = match kind {
            0 => {
                let mode = from_dm(limit(0o666), b"") & mode::PERMISSIONS;
                let how = How(how.0 | flags::CREATE | flags::EXCL);
                return self.create(m.fid, name, how, mode, ANY_GROUP);
            }
            dm::DIR => {
                if how.writes() {
                    return Err(Errno::EISDIR);
                }
                let mode = from_dm(limit(0o777), b"") & mode::PERMISSIONS;
                tree.mkdir(&dir, name, mode, ANY_GROUP)?
            }
            dm::SYMLINK => {
                let node = tree.symlink(&dir, name, target(m.extension.0)?, ANY_GROUP)?;
                let qid = tree.attr(&node)?.qid;
                self.fid_mut(m.fid)?.node = node;
                return Ok(qid);
            }
            _ => return Err(Errno::EPERM),
        };
        let qid = tree.attr(&node)?.qid;
        let file = tree.open(&node, how)?;
        self.opened(m.fid, node, file, how, qid)
    }

    /// All of it or nothing, as far as it can be checked beforehand (stat(5)).
    fn wstat(&mut self, m: &Twstat<'_>, a: &mut Answer<'_>) -> Result<()> {
        self.writable()?;
        let stat = &m.stat.0.0;
        let fid = self.fid(m.fid)?;
        let tree = &self.common.tree;
        let attr = tree.attr(&fid.node)?;
        let mut changes = stat.changes()?;
        if self.dialect() == Dialect::Base {
            changes.valid &= !(set::UID | set::GID);
        }
        let kind = |dm: u32| dm & dm::DIR != 0;
        if changes.valid & set::MODE != 0 && kind(stat.mode) != attr.qid.is_dir() {
            return Err(Errno::EPERM);
        }
        let texts = Texts::of(&attr);
        let other = |said: &[u8], is: &str| !said.is_empty() && said != is.as_bytes();
        if other(stat.uid, &texts.uid) || other(stat.gid, &texts.gid) {
            return Err(Errno::EPERM);
        }
        let name = stat.name.unchecked();
        if !name.is_empty() {
            let (dir, old) = tree.parent(&fid.node)?.ok_or(Errno::EPERM)?;
            let new = stat.name.component()?;
            if new != old {
                match tree.walk(&dir, new) {
                    Ok(_) => return Err(Errno::EEXIST),
                    Err(_) => tree.rename(&dir, &old, &dir, new)?,
                }
            }
        }
        if changes != SetAttr::default() {
            self.set_attr(fid, &changes)?;
        } else if let (true, Use::Open(open)) = (name.is_empty(), &fid.use_) {
            // A record that changes nothing: have it on the disk.
            tree.fsync(&open.file, false)?;
        }
        a.send(&Rwstat {})
    }
}

/// Owner and group as text: numbers, since a server's user table says nothing
/// about a client's.
struct Texts {
    uid: String,
    gid: String,
}

impl Texts {
    fn of(attr: &Attr) -> Texts {
        Texts { uid: attr.uid.to_string(), gid: attr.gid.to_string() }
    }

    fn stat<'a>(
        &'a self,
        attr: &Attr,
        name: &'a [u8],
        link: &'a [u8],
        dialect: Dialect,
    ) -> Stat<'a> {
        Stat {
            kind: 0,
            dev: 0,
            qid: attr.qid,
            mode: to_dm(attr.mode, dialect),
            atime: attr.atime.sec as u32,
            mtime: attr.mtime.sec as u32,
            length: if attr.qid.is_dir() { 0 } else { attr.size },
            name: Name::new(name),
            uid: self.uid.as_bytes(),
            gid: self.gid.as_bytes(),
            muid: self.uid.as_bytes(),
            extension: Unix(link),
            n_uid: Unix(attr.uid),
            n_gid: Unix(attr.gid),
            n_muid: Unix(attr.uid),
        }
    }
}

fn link_of<T: Tree>(common: &Common<T>, node: &T::Node, attr: &Attr) -> Vec<u8> {
    match attr.mode & mode::FORMAT {
        mode::SYMLINK => common.tree.readlink(node).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Whole stat records from where the last read ended; anywhere else but there
/// and at the beginning a directory cannot be read (read(5)).
pub(super) fn list<T: Tree>(
    common: &Common<T>,
    open: &OpenFile<T>,
    cursor: (u64, u64),
    m: &Tread,
    room: usize,
    dialect: Dialect,
) -> Result<(Vec<u8>, (u64, u64))> {
    let from = match m.offset {
        0 => 0,
        offset if offset == cursor.0 => cursor.1,
        _ => return Err(Errno::EINVAL),
    };
    let mut data = Vec::new();
    let mut cookie = from;
    let mut full = false;
    common.tree.list(&open.file, from, &mut |entry| {
        let name = entry.name.unchecked();
        let before = data.len();
        // An entry that went in the meantime is not listed.
        let found =
            if matches!(name, b"." | b"..") { None } else { record(common, open, name, dialect) };
        data.extend(found.into_iter().flatten());
        full = data.len() > room;
        if full {
            data.truncate(before);
        } else {
            cookie = entry.cookie;
        }
        !full
    })?;
    if full && data.is_empty() {
        return Err(Errno::EINVAL);
    }
    let offset = m.offset + data.len() as u64;
    Ok((data, (offset, cookie)))
}

fn record<T: Tree>(
    common: &Common<T>,
    open: &OpenFile<T>,
    name: &[u8],
    dialect: Dialect,
) -> Option<Vec<u8>> {
    let node = common.tree.walk(&open.node, name).ok()?;
    let attr = common.tree.attr(&node).ok()?;
    let link = link_of(common, &node, &attr);
    let texts = Texts::of(&attr);
    let mut data = Vec::new();
    let mut w = Writer::new(&mut data, dialect);
    w.put(&Counted(texts.stat(&attr, name, &link, dialect)));
    (!w.overflowed()).then_some(data)
}
