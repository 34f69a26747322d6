//! A file: attributes, contents, and where its name is.

use super::data::{Budget, Pages};
use super::permit::may_set_group;
use crate::tree::Who;
use parking_lot::Mutex;
use privns_abi::{Errno, Result};
use privns_ninep::attr::{Attr, Qid, SetAttr, Time, mode, set, valid};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a name is counted as, bytes: a place in a directory, and for the
/// first one the file's structure too.
pub(super) const OVERHEAD: usize = 512;

/// A file, named or still open.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) number: u64,
    pub(super) body: Mutex<Body>,
    budget: Arc<Budget>,
}

impl Drop for Inode {
    fn drop(&mut self) {
        let body = self.body.get_mut();
        let xattrs: usize = body.xattrs.iter().map(|(k, v)| k.len() + v.len()).sum();
        // The root was never counted.
        let own = if self.number == 1 { 0 } else { OVERHEAD };
        self.budget.give(own + xattrs + body.content.taken());
    }
}

/// All of a file that changes.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) nlink: u64,
    pub(super) content: Content,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The directory that the file is in, and its name there: the last one
    /// given, when it has several. None once it has no name.
    pub(super) place: Option<(Weak<Inode>, Vec<u8>)>,
    version: u32,
    atime: Time,
    mtime: Time,
    ctime: Time,
    btime: Time,
}

/// What is in a file.
#[derive(Debug)]
pub(super) enum Content {
    File(Pages),
    Directory(Entries),
    Symlink(Vec<u8>),
    /// A pipe or a socket, where its users meet by themselves.
    Meeting,
}

/// A directory's entries, by name and by the cookie that a listing goes on
/// from. Cookies rise and are never used again.
#[derive(Debug, Default)]
pub(super) struct Entries {
    by_name: BTreeMap<Vec<u8>, (u64, Arc<Inode>)>,
    by_cookie: BTreeMap<u64, Vec<u8>>,
    last: u64,
    /// Removed: nothing can be made here any more.
    pub(super) gone: bool,
}

impl Content {
    pub(super) fn file() -> Content {
        Content::File(Pages::default())
    }

    pub(super) fn directory() -> Content {
        Content::Directory(Entries::default())
    }

    /// Bytes counted for it.
    pub(super) fn taken(&self) -> usize {
        match self {
            Content::File(pages) => pages.taken(),
            Content::Symlink(target) => target.len(),
            Content::Directory(_) | Content::Meeting => 0,
        }
    }
}

impl Entries {
    pub(super) fn find(&self, name: &[u8]) -> Result<Arc<Inode>> {
        self.by_name.get(name).map(|(_, inode)| inode.clone()).ok_or(Errno::ENOENT)
    }

    pub(super) fn insert(&mut self, name: &[u8], inode: Arc<Inode>) {
        self.remove(name);
        self.last += 1;
        self.by_cookie.insert(self.last, name.to_vec());
        self.by_name.insert(name.to_vec(), (self.last, inode));
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some((cookie, _)) = self.by_name.remove(name) {
            self.by_cookie.remove(&cookie);
        }
    }

    /// All entries, which are then gone.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Arc<Inode>> + use<> {
        self.by_cookie.clear();
        std::mem::take(&mut self.by_name).into_values().map(|(_, inode)| inode)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Up to `n` entries behind a cookie, in the order of their making.
    pub(super) fn behind(&self, cookie: u64, n: usize) -> Vec<(u64, Vec<u8>, Arc<Inode>)> {
        let later =
            self.by_cookie.range((std::ops::Bound::Excluded(cookie), std::ops::Bound::Unbounded));
        let each = later.take(n).filter_map(|(cookie, name)| {
            let (_, inode) = self.by_name.get(name)?;
            Some((*cookie, name.clone(), inode.clone()))
        });
        each.collect()
    }
}

impl Inode {
    /// A file that is counted already; see [`Inode::charge`].
    pub(super) fn new(number: u64, body: Body, budget: Arc<Budget>) -> Arc<Inode> {
        Arc::new(Inode { number, body: Mutex::new(body), budget })
    }

    /// Counts a new file.
    ///
    /// # Errors
    /// ENOSPC.
    pub(super) fn charge(content: &Content, budget: &Budget) -> Result<()> {
        budget.take(OVERHEAD + content.taken())
    }

    pub(super) fn attr(&self) -> Attr {
        let body = self.body.lock();
        let size = body.size();
        Attr {
            valid: valid::BASIC | valid::BTIME,
            qid: self.qid(&body),
            mode: body.mode,
            uid: body.uid,
            gid: body.gid,
            nlink: body.nlink,
            rdev: 0,
            size,
            blksize: super::data::PAGE as u64,
            blocks: body.content.taken().div_ceil(512) as u64,
            atime: body.atime,
            mtime: body.mtime,
            ctime: body.ctime,
            btime: body.btime,
            generation: 0,
            data_version: body.version.into(),
        }
    }

    pub(super) fn qid(&self, body: &Body) -> Qid {
        Qid::of(body.mode, body.version, self.number)
    }
}

/// The present time.
fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { sec: since.as_secs(), nsec: since.subsec_nanos().into() }
}

impl Body {
    pub(super) fn new(mode: u32, uid: u32, gid: u32, content: Content) -> Body {
        let now = now();
        let nlink = if matches!(content, Content::Directory(_)) { 2 } else { 1 };
        Body {
            mode,
            uid,
            gid,
            nlink,
            content,
            xattrs: BTreeMap::new(),
            place: None,
            version: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
        }
    }

    pub(super) fn size(&self) -> u64 {
        match &self.content {
            Content::File(pages) => pages.size(),
            Content::Symlink(target) => target.len() as u64,
            Content::Directory(entries) => entries.by_name.len() as u64,
            Content::Meeting => 0,
        }
    }

    pub(super) fn entries(&self) -> Result<&Entries> {
        match &self.content {
            Content::Directory(entries) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn entries_mut(&mut self) -> Result<&mut Entries> {
        match &mut self.content {
            Content::Directory(entries) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The contents have changed.
    pub(super) fn touched(&mut self) {
        self.version = self.version.wrapping_add(1);
        self.mtime = now();
        self.ctime = self.mtime;
    }

    /// The attributes have changed.
    pub(super) fn altered(&mut self) {
        self.ctime = now();
    }

    /// Reads; the access time moves when it is not later than the last
    /// change, as under relatime (mount(8)).
    pub(super) fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let Content::File(pages) = &self.content else { return Err(Errno::EISDIR) };
        let n = pages.read(offset, buf);
        let stamp = |t: Time| (t.sec, t.nsec);
        if stamp(self.atime) <= stamp(self.mtime) {
            self.atime = now();
        }
        Ok(n)
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8], budget: &Budget) -> Result<usize> {
        let Content::File(pages) = &mut self.content else { return Err(Errno::EISDIR) };
        let n = pages.write(offset, data, budget)?;
        if n > 0 {
            self.drop_privileges();
            self.touched();
        }
        Ok(n)
    }

    pub(super) fn resize(&mut self, size: u64, budget: &Budget) -> Result<()> {
        match &mut self.content {
            Content::File(pages) => pages.resize(size, budget)?,
            Content::Directory(_) => return Err(Errno::EISDIR),
            Content::Symlink(_) | Content::Meeting => return Err(Errno::EINVAL),
        }
        self.drop_privileges();
        self.touched();
        Ok(())
    }

    /// Who changes a program does not inherit its rights (inode(7)).
    const fn drop_privileges(&mut self) {
        self.mode &= !mode::SETUID;
        if self.mode & 0o010 != 0 {
            self.mode &= !mode::SETGID;
        }
    }

    /// Applies a change that has been permitted.
    pub(super) fn change(&mut self, who: &Who, change: &SetAttr, budget: &Budget) -> Result<()> {
        let has = |bit| change.valid & bit != 0;
        if has(set::SIZE) {
            self.resize(change.size, budget)?;
        }
        if has(set::UID) || has(set::GID) {
            self.uid = if has(set::UID) { change.uid } else { self.uid };
            self.gid = if has(set::GID) { change.gid } else { self.gid };
            if !matches!(self.content, Content::Directory(_)) {
                self.drop_privileges();
            }
        }
        if has(set::MODE) {
            if matches!(self.content, Content::Symlink(_)) {
                return Err(Errno::EOPNOTSUPP);
            }
            let withheld = if may_set_group(who, self.gid) { 0 } else { mode::SETGID };
            self.mode = self.mode & mode::FORMAT | change.mode & mode::PERMISSIONS & !withheld;
        }
        let nanoseconds = |t: Time| if t.nsec < 1_000_000_000 { Ok(t) } else { Err(Errno::EINVAL) };
        if has(set::ATIME) {
            self.atime = if has(set::ATIME_SET) { nanoseconds(change.atime)? } else { now() };
        }
        if has(set::MTIME) {
            self.mtime = if has(set::MTIME_SET) { nanoseconds(change.mtime)? } else { now() };
        }
        self.altered();
        Ok(())
    }

    /// setxattr(2) and removexattr(2).
    pub(super) fn set_xattr(
        &mut self,
        name: &[u8],
        value: Option<&[u8]>,
        how: u32,
        budget: &Budget,
    ) -> Result<()> {
        const CREATE: u32 = 1;
        const REPLACE: u32 = 2;
        if name.len() > 255 {
            return Err(Errno::ERANGE);
        }
        let there = self.xattrs.contains_key(name);
        match value {
            None if !there => return Err(Errno::ENODATA),
            Some(_) if how & REPLACE != 0 && !there => return Err(Errno::ENODATA),
            Some(_) if how & CREATE != 0 && there => return Err(Errno::EEXIST),
            _ => {}
        }
        if let Some(value) = value {
            budget.take(name.len() + value.len())?;
        }
        let old = match value {
            Some(value) => self.xattrs.insert(name.to_vec(), value.to_vec()),
            None => self.xattrs.remove(name),
        };
        if let Some(old) = old {
            budget.give(name.len() + old.len());
        }
        self.altered();
        Ok(())
    }
}
