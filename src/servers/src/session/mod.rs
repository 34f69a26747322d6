//! One connection: the fids of a client and the answers to its requests, in
//! all three dialects, without any I/O.
//!
//! - this file: what all dialects have in common, and the limits
//! - `linux`: the messages of 9P2000.L
//! - `payload`: large reads, which go past the buffer of replies
//! - `proof`: who a client is, where the transport does not tell
//! - `old`: those of 9P2000 and 9P2000.u, which end in the same functions

mod answer;
mod linux;
mod old;
mod payload;
mod proof;

use crate::auth;
use crate::handoff::Handoff;
use crate::locks::Locks;
use crate::tree::{Groups, How, Tree, Who, read_bytes};
pub(crate) use answer::Answer;
pub(crate) use payload::Payload;
use privns_abi::{Errno, Result};
use privns_ninep::attr::Qid;
use privns_ninep::client::HANDOFF_ANAME;
use privns_ninep::dialect::{self, Agreed};
use privns_ninep::message::{
    Rattach, Rclunk, Request, Rflush, Rremove, Rversion, Rwalk, Rwrite, Tattach, Tread, Tversion,
    Twalk, Twrite, split,
};
use privns_ninep::name::Step;
use privns_ninep::wire::{Decoded, Few, Malformed};
use privns_ninep::{Dialect, MSIZE_MIN, NOFID, NONUM, NOTAG};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Who is at the other end of a connection, as far as the transport tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// This user: told by the kernel.
    User {
        /// User number.
        uid: u32,
        /// The groups, where the kernel tells them too.
        groups: Groups,
    },
    /// Somebody who holds a key: attaches as the server's own user, whatever
    /// number they have where they come from.
    Owner,
    /// Nobody can tell; whoever it is may attach as whom it likes.
    Trusted,
    /// Somebody who has to prove who they are, by MUNGE.
    Unproven,
    /// This user, who may attach by a name alone that is a secret.
    Stranger {
        /// User number.
        uid: u32,
        /// The groups.
        groups: Groups,
        /// The name.
        word: &'static [u8],
    },
    /// Somebody who may not attach.
    Refused,
}

impl Peer {
    const fn has_to_prove(&self) -> bool {
        matches!(self, Peer::Unproven)
    }

    /// The very user whom the server runs as, by the kernel's word.
    fn is_ourselves(&self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        matches!(self, Peer::User { uid, .. } if *uid == own)
    }
}

/// Counted over all connections, since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Fids in use now.
    pub fids: AtomicU64,
    /// Open files now, tokens' included.
    pub open: AtomicU64,
    /// Requests answered.
    pub requests: AtomicU64,
    /// Of these with an error.
    pub errors: AtomicU64,
}

/// What all connections of a server share.
pub struct Common<T: Tree> {
    /// The functions.
    pub tree: T,
    /// Nothing may be changed.
    pub read_only: bool,
    /// Fids of one connection at most.
    pub fids_max: usize,
    /// The locks; open files hold them too, and give theirs up when dropped.
    pub locks: Arc<Locks>,
    /// The tokens.
    pub handoff: Handoff<(Arc<OpenFile<T>>, Arc<Attached>)>,
    /// The counters; open files hold them too.
    pub counters: Arc<Counters>,
    next_open: AtomicU64,
}

impl<T: Tree> Common<T> {
    /// A server's shared part.
    pub fn new(tree: T, read_only: bool, fids_max: usize) -> Arc<Self> {
        Arc::new(Common {
            tree,
            read_only,
            fids_max,
            locks: Arc::default(),
            handoff: Handoff::default(),
            counters: Arc::default(),
            next_open: AtomicU64::new(1),
        })
    }
}

/// An open file: of a fid, of several that a token made, or of a token alone.
pub struct OpenFile<T: Tree> {
    file: T::File,
    node: T::Node,
    how: How,
    qid: Qid,
    number: u64,
    locks: Arc<Locks>,
    counters: Arc<Counters>,
}

impl<T: Tree> Drop for OpenFile<T> {
    fn drop(&mut self) {
        self.locks.closed(self.qid.path, self.number);
        self.counters.open.fetch_sub(1, Relaxed);
    }
}

/// What a fid is used for.
enum Use<T: Tree> {
    Nothing,
    Open(Arc<OpenFile<T>>),
    /// Reads an extended attribute.
    XattrRead(Vec<u8>),
    /// Takes an extended attribute, which is set on clunk.
    XattrWrite {
        name: Vec<u8>,
        value: Vec<u8>,
        size: usize,
        flags: u32,
    },
}

/// What one attach made: every fid that was walked to from there has it.
pub struct Attached {
    who: Who,
    /// `qid.path` of the root that it was given: above that no `..` leads.
    top: u64,
}

struct Fid<T: Tree> {
    node: T::Node,
    from: Arc<Attached>,
    use_: Use<T>,
    /// Where a directory read of the old dialects goes on: its offset, and
    /// the tree's cookie for it.
    cursor: (u64, u64),
    remove_on_close: bool,
}

/// One connection's state.
pub struct Session<T: Tree> {
    common: Arc<Common<T>>,
    peer: Peer,
    agreed: Option<Agreed>,
    attached: bool,
    fids: HashMap<u32, Fid<T>>,
    afids: HashMap<u32, proof::Afid>,
    /// What follows the reply that was made last.
    payload: Option<Payload<T>>,
    /// Memory for such: filled once, and used again.
    scratch: Vec<u8>,
    /// Bytes of extended attributes that fids hold or are to take.
    xattrs: usize,
}

/// Longest extended attribute (xattr(7)).
const XATTR_MAX: usize = 65_536;
/// What all fids of a connection may hold of them together, bytes.
const XATTRS_MAX: usize = 4 << 20;

impl<T: Tree> Session<T> {
    /// A connection on which nothing was said yet.
    #[must_use]
    pub fn new(common: Arc<Common<T>>, peer: Peer) -> Self {
        let (fids, afids) = (HashMap::new(), HashMap::new());
        Session {
            common,
            peer,
            agreed: None,
            attached: false,
            fids,
            afids,
            payload: None,
            scratch: Vec::new(),
            xattrs: 0,
        }
    }

    /// Largest message that the client may send.
    #[must_use]
    pub fn msize(&self) -> u32 {
        self.agreed.map_or(MSIZE_MIN, |a| a.msize)
    }

    /// True once somebody has attached.
    #[must_use]
    pub const fn is_attached(&self) -> bool {
        self.attached
    }

    /// Answers the request in `frame` behind what is in `out`.
    ///
    /// # Errors
    /// When the frame is not to be understood: the connection has to end.
    pub fn answer(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Decoded<()> {
        let (kind, tag, body) = split(frame)?;
        let dialect = self.agreed.map_or(Dialect::Base, |a| a.dialect);
        let known = Request::TYPES.iter().any(|(k, which)| *k == kind && which.has(dialect));
        let request = if known { Some(Request::decode(kind, body, dialect)?) } else { None };
        let version = matches!(request, Some(Request::Tversion(_)));
        if (self.agreed.is_none() && !version) || (version != (tag == NOTAG)) {
            return Err(Malformed);
        }
        self.common.counters.requests.fetch_add(1, Relaxed);
        let mut answer = Answer::new(out, tag, dialect, self.msize());
        let handled = request.ok_or(Errno::EOPNOTSUPP).and_then(|r| self.handle(&r, &mut answer));
        if let Err(e) = handled {
            self.common.counters.errors.fetch_add(1, Relaxed);
            answer.fail(e);
        }
        Ok(())
    }

    fn handle(&mut self, request: &Request<'_>, a: &mut Answer<'_>) -> Result<()> {
        match request {
            Request::Tversion(m) => self.version(m, a),
            Request::Tauth(m) => self.auth(m, a),
            Request::Tattach(m) => self.attach(m, a),
            // Requests are answered in order, so the old one has been.
            Request::Tflush(_) => a.send(&Rflush {}),
            Request::Twalk(m) => self.walk(m, a),
            Request::Tread(m) => self.read(m, a),
            Request::Twrite(m) if self.afids.contains_key(&m.fid) => self.write_proof(m, a),
            Request::Twrite(m) => self.write(m, a),
            Request::Tclunk(m) if self.afids.remove(&m.fid).is_some() => a.send(&Rclunk {}),
            Request::Tclunk(m) => self.clunk(m.fid).and_then(|()| a.send(&Rclunk {})),
            Request::Tremove(m) => self.remove(m.fid).and_then(|()| a.send(&Rremove {})),
            other => match self.agreed.map(|a| a.dialect) {
                Some(Dialect::Linux) => self.handle_linux(other, a),
                _ => self.handle_old(other, a),
            },
        }
    }

    /// A version drops all fids, also in mid-session (version(5)).
    fn version(&mut self, m: &Tversion<'_>, a: &mut Answer<'_>) -> Result<()> {
        self.clear();
        let answer = dialect::answer(m.version, m.msize);
        self.agreed = answer.map(|(agreed, _)| agreed);
        let (msize, version) = match answer {
            Some((agreed, version)) => (agreed.msize, version),
            None => (m.msize.min(MSIZE_MIN), dialect::UNKNOWN),
        };
        a.send(&Rversion { msize, version })
    }

    /// As whom the client may attach. Root is asked; others are themselves.
    fn who(&mut self, m: &Tattach<'_>) -> Result<Who> {
        let asked = m.n_uname.0;
        let named = self.agreed.is_some_and(|a| a.dialect != Dialect::Base) && asked != NONUM;
        let own = rustix::process::geteuid().as_raw();
        let peer = match &self.peer {
            Peer::Unproven => {
                let (uid, gid) = self.proven(m.afid)?;
                auth::judge(uid, Groups::only(gid))
            }
            Peer::Stranger { uid, groups, word } if m.uname == *word => {
                Peer::User { uid: *uid, groups: groups.clone() }
            }
            told => told.clone(),
        };
        let unknown = Groups::default();
        let (uid, groups) = match peer {
            Peer::Unproven | Peer::Stranger { .. } | Peer::Refused => return Err(Errno::EPERM),
            Peer::Owner => (own, unknown),
            Peer::Trusted => (if named { asked } else { own }, unknown),
            Peer::User { uid: 0, .. } if named && asked != 0 => (asked, unknown),
            Peer::User { uid, .. } if named && asked != uid => return Err(Errno::EPERM),
            Peer::User { uid, groups } => (uid, groups),
        };
        let groups = if uid == own && groups.own.is_none() { Groups::ours() } else { groups };
        Ok(Who { uid, groups, name: m.uname.to_vec() })
    }

    fn attach(&mut self, m: &Tattach<'_>, a: &mut Answer<'_>) -> Result<()> {
        if m.afid != NOFID && !self.peer.has_to_prove() {
            return Err(Errno::EBADF);
        }
        self.check_free(m.fid, None)?;
        let who = self.who(m)?;
        if let Some(token) = m.aname.strip_prefix(HANDOFF_ANAME) {
            let (open, from) = self.common.handoff.claim(token, who.uid)?;
            let qid = open.qid;
            let node = self.common.tree.seen_by(&open.node, &who);
            let mut fid = Fid::new(node, Arc::new(Attached { who, top: from.top }));
            fid.use_ = Use::Open(open);
            self.insert(m.fid, fid);
            self.attached = true;
            return a.send(&Rattach { qid });
        }
        let node = self.common.tree.attach(&who, m.aname)?;
        let qid = self.common.tree.attr(&node)?.qid;
        self.insert(m.fid, Fid::new(node, Arc::new(Attached { who, top: qid.path })));
        self.attached = true;
        a.send(&Rattach { qid })
    }

    /// An error at the first name, a short answer further on (walk(5)); a
    /// client of ours is told the error there too, which no qid says.
    fn walk(&mut self, m: &Twalk<'_>, a: &mut Answer<'_>) -> Result<()> {
        let tree = &self.common.tree;
        let fid = self.fid(m.fid)?;
        let names = m.names.as_slice();
        if matches!(fid.use_, Use::XattrRead(_) | Use::XattrWrite { .. }) {
            return Err(Errno::EBADF);
        }
        // By walk(5) an open fid walks nowhere. diod's tools do it all the
        // same, and it harms nobody as long as the fid itself stays.
        if matches!(fid.use_, Use::Open(_)) && m.newfid == m.fid {
            return Err(Errno::EBADF);
        }
        self.check_free(m.newfid, Some(m.fid))?;
        let ours = self.agreed.is_some_and(|agreed| agreed.ours);
        let mut node = fid.node.clone();
        let mut qids = Few::default();
        for name in names {
            let next = name.step().and_then(|step| match step {
                Step::Down(name) => tree.walk(&node, name),
                Step::Up if tree.attr(&node)?.qid.path == fid.from.top => Ok(node.clone()),
                Step::Up => Ok(tree.parent(&node)?.map_or_else(|| node.clone(), |(up, _)| up)),
            });
            match next.and_then(|next| tree.attr(&next).map(|attr| (next, attr.qid))) {
                Ok((next, qid)) => {
                    node = next;
                    qids.push(qid);
                }
                Err(e) => match qids.as_slice().last() {
                    None => return Err(e),
                    Some(last) if ours && last.is_symlink() => return Err(Errno::ELOOP),
                    Some(last) if ours && !last.is_dir() => return Err(Errno::ENOTDIR),
                    Some(_) if ours => return Err(e),
                    Some(_) => return a.send(&Rwalk { qids }),
                },
            }
        }
        let from = fid.from.clone();
        if m.newfid == m.fid {
            self.fids.remove(&m.fid);
            self.common.counters.fids.fetch_sub(1, Relaxed);
        }
        self.insert(m.newfid, Fid::new(node, from));
        a.send(&Rwalk { qids })
    }

    fn read(&mut self, m: &Tread, a: &mut Answer<'_>) -> Result<()> {
        let dialect = self.agreed.map_or(Dialect::Base, |a| a.dialect);
        let common = &self.common;
        let fid = self.fids.get_mut(&m.fid).ok_or(Errno::EBADF)?;
        match &fid.use_ {
            Use::Open(open) if !open.how.reads() => Err(Errno::EBADF),
            Use::Open(open) if open.qid.is_dir() && dialect != Dialect::Linux => {
                let open = open.clone();
                let (data, cursor) =
                    old::list(common, &open, fid.cursor, m, a.room(m.count), dialect)?;
                fid.cursor = cursor;
                a.fill(m.count, |buf| Ok(read_bytes(&data, 0, buf)))
            }
            Use::Open(open) if open.qid.is_dir() => Err(Errno::EISDIR),
            Use::Open(open) if a.room(m.count) >= payload::LARGE => {
                let open = open.clone();
                self.read_much(&open, m.offset, a.room(m.count), a)
            }
            Use::Open(open) => a.fill(m.count, |buf| common.tree.read(&open.file, m.offset, buf)),
            Use::XattrRead(value) => a.fill(m.count, |buf| Ok(read_bytes(value, m.offset, buf))),
            _ => Err(Errno::EBADF),
        }
    }

    fn write(&mut self, m: &Twrite<'_>, a: &mut Answer<'_>) -> Result<()> {
        let common = self.common.clone();
        let data = m.data.0;
        let ours = self.agreed.is_some_and(|agreed| agreed.ours);
        let count = match &mut self.fid_mut(m.fid)?.use_ {
            Use::Open(open) if open.how.writes() => {
                m.offset.checked_add(data.len() as u64).ok_or(Errno::EFBIG)?;
                let mut count = common.tree.write(&open.file, m.offset, data)?;
                // A client of ours has gone on by now, and cannot write the rest:
                // it is told why there is room for no more.
                while ours && count > 0 && count < data.len() {
                    let rest = (m.offset + count as u64, &data[count..]);
                    match common.tree.write(&open.file, rest.0, rest.1)? {
                        0 => break,
                        more => count += more,
                    }
                }
                count
            }
            // In order and no more than was announced, so that nothing can be
            // set that was not written.
            Use::XattrWrite { value, size, .. } => {
                if m.offset != value.len() as u64 || value.len() + data.len() > *size {
                    return Err(Errno::EINVAL);
                }
                value.extend_from_slice(data);
                data.len()
            }
            _ => return Err(Errno::EBADF),
        };
        a.send(&Rwrite { count: count as u32 })
    }

    /// The fid is forgotten even where something fails on the way.
    fn clunk(&mut self, number: u32) -> Result<()> {
        let fid = self.take(number)?;
        let tree = &self.common.tree;
        match &fid.use_ {
            Use::XattrWrite { name, value, size, flags } => {
                if value.len() != *size {
                    return Err(Errno::EINVAL);
                }
                // Linux says "remove" by replacing with nothing.
                let removes = value.is_empty() && flags & XATTR_REPLACE != 0;
                let value = if removes { None } else { Some(&value[..]) };
                tree.set_xattr(&fid.node, name, value, if removes { 0 } else { *flags })
            }
            _ if fid.remove_on_close => self.unlink_node(&fid.node),
            _ => Ok(()),
        }
    }

    fn remove(&mut self, number: u32) -> Result<()> {
        let fid = self.take(number)?;
        self.writable()?;
        self.unlink_node(&fid.node)
    }

    fn unlink_node(&self, node: &T::Node) -> Result<()> {
        let tree = &self.common.tree;
        let is_dir = tree.attr(node)?.qid.is_dir();
        let (dir, name) = tree.parent(node)?.ok_or(Errno::EBUSY)?;
        tree.unlink(&dir, &name, is_dir)
    }

    /// Opens the file of a fid, which then holds it.
    fn open(&mut self, number: u32, how: How) -> Result<Qid> {
        if how.writes() || how.has(privns_ninep::client::flags::TRUNC) {
            self.writable()?;
        }
        let fid = self.fid(number)?;
        if !matches!(fid.use_, Use::Nothing) {
            return Err(Errno::EBADF);
        }
        let node = fid.node.clone();
        let qid = self.common.tree.attr(&node)?.qid;
        // Of a symbolic link the tree says that it is one.
        let other = !qid.is_dir() && !qid.is_symlink();
        if other && how.has(privns_ninep::client::flags::DIRECTORY) {
            return Err(Errno::ENOTDIR);
        }
        if qid.is_dir() && how.writes() {
            return Err(Errno::EISDIR);
        }
        let file = self.common.tree.open(&node, how)?;
        self.opened(number, node, file, how, qid)
    }

    /// Creates in the directory of a fid, which becomes the new file.
    fn create(&mut self, number: u32, name: &[u8], how: How, mode: u32, gid: u32) -> Result<Qid> {
        self.writable()?;
        let fid = self.fid(number)?;
        if !matches!(fid.use_, Use::Nothing) {
            return Err(Errno::EBADF);
        }
        let (node, file) = self.common.tree.create(&fid.node, name, how, mode & 0o7777, gid)?;
        let qid = self.common.tree.attr(&node)?.qid;
        self.opened(number, node, file, how, qid)
    }

    fn opened(
        &mut self,
        number: u32,
        node: T::Node,
        file: T::File,
        how: How,
        qid: Qid,
    ) -> Result<Qid> {
        let counters = self.common.counters.clone();
        counters.open.fetch_add(1, Relaxed);
        let number_open = self.common.next_open.fetch_add(1, Relaxed);
        let locks = self.common.locks.clone();
        let open =
            OpenFile { file, node: node.clone(), how, qid, number: number_open, locks, counters };
        let fid = self.fid_mut(number)?;
        fid.node = node;
        fid.cursor = (0, 0);
        fid.use_ = Use::Open(Arc::new(open));
        Ok(qid)
    }

    /// EROFS on a server that lets nothing be changed.
    fn writable(&self) -> Result<()> {
        if self.common.read_only { Err(Errno::EROFS) } else { Ok(()) }
    }

    fn fid(&self, number: u32) -> Result<&Fid<T>> {
        self.fids.get(&number).ok_or(Errno::EBADF)
    }

    fn fid_mut(&mut self, number: u32) -> Result<&mut Fid<T>> {
        self.fids.get_mut(&number).ok_or(Errno::EBADF)
    }

    fn node(&self, number: u32) -> Result<&T::Node> {
        self.fid(number).map(|fid| &fid.node)
    }

    /// The open file of a fid.
    fn open_file(&self, number: u32) -> Result<&Arc<OpenFile<T>>> {
        match &self.fid(number)?.use_ {
            Use::Open(open) => Ok(open),
            _ => Err(Errno::EBADF),
        }
    }

    /// A new fid's number must not be in use, unless it replaces `old`.
    fn check_free(&self, number: u32, old: Option<u32>) -> Result<()> {
        if Some(number) == old {
            return Ok(());
        }
        if number == NOFID || self.fids.contains_key(&number) || self.afids.contains_key(&number) {
            return Err(Errno::EBADF);
        }
        if self.fids.len() >= self.common.fids_max { Err(Errno::EMFILE) } else { Ok(()) }
    }

    fn insert(&mut self, number: u32, fid: Fid<T>) {
        self.common.counters.fids.fetch_add(1, Relaxed);
        self.fids.insert(number, fid);
    }

    /// Counts an extended attribute in.
    fn hold_xattr(&mut self, size: usize) -> Result<()> {
        if self.xattrs + size > XATTRS_MAX {
            return Err(Errno::ENOMEM);
        }
        self.xattrs += size;
        Ok(())
    }

    fn take(&mut self, number: u32) -> Result<Fid<T>> {
        let fid = self.fids.remove(&number).ok_or(Errno::EBADF)?;
        self.common.counters.fids.fetch_sub(1, Relaxed);
        self.xattrs -= match &fid.use_ {
            Use::XattrRead(value) => value.len(),
            Use::XattrWrite { size, .. } => *size,
            Use::Nothing | Use::Open(_) => 0,
        };
        Ok(fid)
    }

    /// Forgets everything, as at the end of the connection.
    fn clear(&mut self) {
        self.afids.clear();
        let numbers: Vec<u32> = self.fids.keys().copied().collect();
        for number in numbers {
            let removed = self.take(number).ok().filter(|fid| fid.remove_on_close);
            if let Some(fid) = removed {
                let _ = self.unlink_node(&fid.node);
            }
        }
    }
}

impl<T: Tree> Drop for Session<T> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<T: Tree> Fid<T> {
    fn new(node: T::Node, from: Arc<Attached>) -> Self {
        Fid { node, from, use_: Use::Nothing, cursor: (0, 0), remove_on_close: false }
    }
}

/// setxattr(2).
const XATTR_REPLACE: u32 = 2;
