//! The messages of 9P2000.L.

use super::{Answer, Fid, Session, Use, XATTR_MAX};
use crate::locks::{Held, Owner};
use crate::tree::{How, Tree};
use privns_abi::{Errno, Result};
use privns_ninep::NONUM;
use privns_ninep::attr::mode;
use privns_ninep::client::{CREATED_XATTR, HANDOFF_XATTR, Next, PATH_XATTR};
use privns_ninep::message::{
    Request, Rfsync, Rgetattr, Rgetlock, Rlcreate, Rlink, Rlock, Rlopen, Rmkdir, Rmknod, Rreaddir,
    Rreadlink, Rrename, Rrenameat, Rsetattr, Rsymlink, Runlinkat, Rxattrcreate, Rxattrwalk,
    Tgetlock, Tlock, Treaddir, Trename, Trenameat, Txattrcreate, Txattrwalk,
};
use privns_ninep::near;
use privns_ninep::wire::{Data, Writer};

/// unlinkat(2).
const AT_REMOVEDIR: u32 = 0x200;
/// Lock types and answers (`P9_LOCK_*`).
const SHARED: u8 = 0;
const EXCLUSIVE: u8 = 1;
const UNLOCK: u8 = 2;
const GRANTED: u8 = 0;
const BLOCKED: u8 = 1;
const WAITS: u32 = 1;

impl<T: Tree> Session<T> {
    pub(super) fn handle_linux(&mut self, request: &Request<'_>, a: &mut Answer<'_>) -> Result<()> {
        match request {
            Request::Tlopen(m) => {
                let qid = self.open(m.fid, How(m.flags))?;
                a.send(&Rlopen { qid, iounit: 0 })
            }
            Request::Tlcreate(m) => {
                let qid = self.create(m.fid, m.name.component()?, How(m.flags), m.mode, m.gid)?;
                a.send(&Rlcreate { qid, iounit: 0 })
            }
            Request::Tgetattr(m) => {
                let attr = self.common.tree.attr(self.node(m.fid)?)?;
                a.send(&Rgetattr { attr })
            }
            Request::Tsetattr(m) => {
                self.writable()?;
                let fid = self.fid(m.fid)?;
                self.set_attr(fid, &m.attr)?;
                a.send(&Rsetattr {})
            }
            Request::Treaddir(m) => self.readdir(m, a),
            Request::Treadlink(m) => {
                let target = self.common.tree.readlink(self.node(m.fid)?)?;
                a.send(&Rreadlink { target: &target })
            }
            Request::Tstatfs(m) => a.send(&self.common.tree.statfs(self.node(m.fid)?)?),
            Request::Tfsync(m) => {
                let open = self.open_file(m.fid)?;
                self.common.tree.fsync(&open.file, m.datasync.0 != 0)?;
                a.send(&Rfsync {})
            }
            Request::Tlock(m) => self.lock(m, a),
            Request::Tgetlock(m) => self.getlock(m, a),
            Request::Txattrwalk(m) => self.xattr_walk(m, a),
            Request::Txattrcreate(m) => self.xattr_create(m, a),
            other => self.handle_names(other, a),
        }
    }

    /// The messages that change directories.
    fn handle_names(&mut self, request: &Request<'_>, a: &mut Answer<'_>) -> Result<()> {
        self.writable()?;
        let tree = &self.common.tree;
        match request {
            Request::Tmkdir(m) => {
                let dir = self.node(m.dfid)?;
                let node = tree.mkdir(dir, m.name.component()?, m.mode & 0o7777, m.gid)?;
                a.send(&Rmkdir { qid: tree.attr(&node)?.qid })
            }
            Request::Tsymlink(m) => {
                let dir = self.node(m.dfid)?;
                let node = tree.symlink(dir, m.name.component()?, target(m.target)?, m.gid)?;
                a.send(&Rsymlink { qid: tree.attr(&node)?.qid })
            }
            Request::Tlink(m) => {
                tree.link(self.node(m.fid)?, self.node(m.dfid)?, m.name.component()?)?;
                a.send(&Rlink {})
            }
            Request::Tunlinkat(m) => {
                let is_dir = m.flags & AT_REMOVEDIR != 0;
                tree.unlink(self.node(m.dfid)?, m.name.component()?, is_dir)?;
                a.send(&Runlinkat {})
            }
            Request::Trenameat(m) => self.renameat(m, a),
            Request::Trename(m) => self.rename(m, a),
            Request::Tmknod(m) => {
                // A device that a client makes would be one on the server's host.
                if !matches!(m.mode & mode::FORMAT, mode::FIFO | mode::SOCKET) {
                    return Err(Errno::EPERM);
                }
                let bits = m.mode & (mode::FORMAT | mode::PERMISSIONS);
                let dir = self.node(m.dfid)?;
                let node = tree.mknod(dir, m.name.component()?, bits, m.gid)?;
                a.send(&Rmknod { qid: tree.attr(&node)?.qid })
            }
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn renameat(&self, m: &Trenameat<'_>, a: &mut Answer<'_>) -> Result<()> {
        let (olddir, newdir) = (self.node(m.olddir)?, self.node(m.newdir)?);
        let (oldname, newname) = (m.oldname.component()?, m.newname.component()?);
        self.common.tree.rename(olddir, oldname, newdir, newname)?;
        a.send(&Rrenameat {})
    }

    fn rename(&self, m: &Trename<'_>, a: &mut Answer<'_>) -> Result<()> {
        let tree = &self.common.tree;
        let newname = m.name.component()?;
        let (olddir, oldname) = tree.parent(self.node(m.fid)?)?.ok_or(Errno::EBUSY)?;
        tree.rename(&olddir, &oldname, self.node(m.dfid)?, newname)?;
        a.send(&Rrename {})
    }

    pub(super) fn set_attr(&self, fid: &Fid<T>, set: &privns_ninep::attr::SetAttr) -> Result<()> {
        let file = match &fid.use_ {
            Use::Open(open) if open.how.writes() => Some(&open.file),
            _ => None,
        };
        self.common.tree.set_attr(&fid.node, file, set)
    }

    fn readdir(&self, m: &Treaddir, a: &mut Answer<'_>) -> Result<()> {
        let open = self.open_file(m.fid)?;
        if !open.qid.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let room = a.room(m.count);
        let mut data = Vec::new();
        let mut full = false;
        self.common.tree.list(&open.file, m.offset, &mut |entry| {
            let before = data.len();
            Writer::new(&mut data, privns_ninep::Dialect::Linux).put(&entry);
            full = data.len() > room;
            if full {
                data.truncate(before);
            }
            !full
        })?;
        // Nothing at all would look like the end of the directory.
        if full && data.is_empty() {
            return Err(Errno::EINVAL);
        }
        a.send(&Rreaddir { data: Data(&data) })
    }

    fn lock(&self, m: &Tlock<'_>, a: &mut Answer<'_>) -> Result<()> {
        let open = self.open_file(m.fid)?;
        let locks = &self.common.locks;
        let want = held(m.kind, m.start, m.length, m.proc_id, m.client_id, open.number)?;
        let granted = match m.kind {
            UNLOCK => {
                locks.release(open.qid.path, &want.owner, want.start, want.end)?;
                true
            }
            // A description's may be flock(2)'s, which asks for no access.
            EXCLUSIVE if m.proc_id != 0 && !open.how.writes() => return Err(Errno::EBADF),
            SHARED if m.proc_id != 0 && !open.how.reads() => return Err(Errno::EBADF),
            _ => {
                let granted = locks.take(open.qid.path, want.clone())?;
                if !granted && m.flags & WAITS != 0 {
                    locks.wait(open.qid.path, want)?;
                }
                granted
            }
        };
        a.send(&Rlock { status: if granted { GRANTED } else { BLOCKED } })
    }

    fn getlock(&self, m: &Tgetlock<'_>, a: &mut Answer<'_>) -> Result<()> {
        let open = self.open_file(m.fid)?;
        let want = held(m.kind, m.start, m.length, m.proc_id, m.client_id, open.number)?;
        // Whoever asks this waits no more.
        self.common.locks.forgo(&want.owner);
        match self.common.locks.in_the_way(open.qid.path, &want) {
            None => {
                let Tgetlock { start, length, proc_id, client_id, .. } = *m;
                a.send(&Rgetlock { kind: UNLOCK, start, length, proc_id, client_id })
            }
            Some(h) => a.send(&Rgetlock {
                kind: if h.exclusive { EXCLUSIVE } else { SHARED },
                start: h.start,
                length: if h.end == u64::MAX { 0 } else { h.end - h.start },
                proc_id: h.owner.process,
                client_id: &h.owner.host,
            }),
        }
    }

    fn xattr_walk(&mut self, m: &Txattrwalk<'_>, a: &mut Answer<'_>) -> Result<()> {
        self.check_free(m.newfid, None)?;
        let fid = self.fid(m.fid)?;
        let value = self.attribute(fid, m.name)?;
        let size = value.len() as u64;
        let mut new = Fid::new(fid.node.clone(), fid.from.clone());
        self.hold_xattr(value.len())?;
        new.use_ = Use::XattrRead(value);
        self.insert(m.newfid, new);
        a.send(&Rxattrwalk { size })
    }

    /// Some are of our own, and none of the file's.
    fn attribute(&self, fid: &Fid<T>, name: &[u8]) -> Result<Vec<u8>> {
        let tree = &self.common.tree;
        match (name, Next::asked(name), &fid.use_) {
            (HANDOFF_XATTR, _, Use::Open(open)) => {
                let kept = (open.clone(), fid.from.clone());
                Ok(self.common.handoff.offer(kept, fid.from.who.uid)?.to_vec())
            }
            (CREATED_XATTR, _, Use::Open(open)) => Ok(vec![u8::from(tree.is_new(&open.file)?)]),
            (_, Some((next, from)), Use::Open(open)) => {
                Ok(tree.next(&open.file, next, from)?.to_le_bytes().to_vec())
            }
            (HANDOFF_XATTR | CREATED_XATTR, ..) | (_, Some(_), _) => Err(Errno::EBADF),
            (near::XATTR, ..) if self.peer.is_ourselves() => {
                tree.near(&fid.node).ok_or(Errno::EOPNOTSUPP)
            }
            (near::XATTR, ..) => Err(Errno::EOPNOTSUPP),
            (PATH_XATTR, ..) => path_of(tree, fid),
            _ => tree.xattr(&fid.node, name),
        }
    }

    fn xattr_create(&mut self, m: &Txattrcreate<'_>, a: &mut Answer<'_>) -> Result<()> {
        self.writable()?;
        let size = usize::try_from(m.size).ok().filter(|n| *n <= XATTR_MAX).ok_or(Errno::E2BIG)?;
        if !matches!(self.fid(m.fid)?.use_, Use::Nothing) || m.name.is_empty() {
            return Err(Errno::EINVAL);
        }
        self.hold_xattr(size)?;
        let fid = self.fid_mut(m.fid)?;
        let name = m.name.to_vec();
        fid.use_ = Use::XattrWrite { name, value: Vec::new(), size, flags: m.flags };
        a.send(&Rxattrcreate {})
    }
}

/// The names that lead to a file from where its client has attached.
///
/// # Errors
/// ENOENT when it has no name any more, or has been moved out of there.
fn path_of<T: Tree>(tree: &T, fid: &Fid<T>) -> Result<Vec<u8>> {
    let (mut node, mut names, mut length) = (fid.node.clone(), Vec::new(), 0);
    while tree.attr(&node)?.qid.path != fid.from.top {
        let (up, name) = tree.parent(&node)?.ok_or(Errno::ENOENT)?;
        length += name.len() + 1;
        if length > privns_abi::path::PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        names.push(name);
        node = up;
    }
    names.reverse();
    Ok(names.join(&b'/'))
}

fn held(
    kind: u8,
    start: u64,
    length: u64,
    process: u32,
    host: &[u8],
    through: u64,
) -> Result<Held> {
    if kind > UNLOCK || host.len() > 255 {
        return Err(Errno::EINVAL);
    }
    let end = match length {
        0 => u64::MAX,
        n => start.checked_add(n).ok_or(Errno::EOVERFLOW)?,
    };
    let owner = Owner { process, host: host.to_vec() };
    Ok(Held { exclusive: kind == EXCLUSIVE, start, end, owner, through })
}

/// A symbolic link's target as symlink(2) takes it.
pub(super) fn target(bytes: &[u8]) -> Result<&[u8]> {
    match bytes.len() {
        0 => Err(Errno::ENOENT),
        _ if bytes.contains(&0) => Err(Errno::EINVAL),
        n if n >= privns_abi::path::PATH_MAX => Err(Errno::ENAMETOOLONG),
        _ => Ok(bytes),
    }
}

/// The group that a client left to the server.
pub(super) const ANY_GROUP: u32 = NONUM;
