//! Making, moving and removing names. All of it runs under `Mem::names`, so
//! what was looked up still holds; bodies are locked one at a time.

use super::inode::{Body, Inode, OVERHEAD};
use super::permit::{self, EXEC, WRITE};
use super::{Mem, New, Node};
use privns_abi::{Errno, Result};
use privns_ninep::NONUM;
use privns_ninep::attr::{Entry, Qid, mode};
use privns_ninep::name::Name;
use std::sync::Arc;

/// Entries looked at under one lock when listing.
const LISTED: usize = 512;
/// Links that a file may have.
const LINKS_MAX: u64 = 65_000;

/// Gives the entries behind a cookie. `.` and `..` are the first two cookies.
pub(super) fn list(
    dir: &Arc<Inode>,
    cookie: u64,
    add: &mut dyn FnMut(Entry<'_>) -> bool,
) -> Result<()> {
    let up = {
        let body = dir.body.lock();
        body.entries()?;
        // Of a directory that has been removed nothing is listed.
        if body.nlink == 0 {
            return Err(Errno::ENOENT);
        }
        body.place.as_ref().and_then(|(up, _)| up.upgrade()).unwrap_or_else(|| dir.clone())
    };
    let dots = [(1, &b"."[..], dir), (2, b"..", &up)];
    for (at, name, inode) in dots.into_iter().filter(|(at, ..)| *at > cookie) {
        let qid = Qid::of(mode::DIRECTORY, 0, inode.number);
        if !add(Entry { qid, cookie: at, kind: 4, name: Name::new(name) }) {
            return Ok(());
        }
    }
    let mut cookie = cookie.max(2);
    loop {
        let some = dir.body.lock().entries()?.behind(cookie - 2, LISTED);
        let Some((last, ..)) = some.last() else { return Ok(()) };
        let next = last + 2;
        for (at, name, inode) in some {
            let attr = inode.attr();
            if !add(attr.entry(&name, at + 2)) {
                return Ok(());
            }
        }
        cookie = next;
    }
}

impl Body {
    /// The right to change the entries of this directory, which is still there.
    fn check_entries(&self, who: &crate::tree::Who) -> Result<()> {
        if self.entries()?.gone {
            return Err(Errno::ENOENT);
        }
        permit::check(who, self, WRITE | EXEC)
    }
}

impl Mem {
    pub(super) fn make(&self, dir: &Node, name: &[u8], new: New<'_>) -> Result<Arc<Inode>> {
        let New { who, mode: bits, gid, content } = new;
        let mut body = dir.inode.body.lock();
        body.check_entries(who)?;
        if body.entries()?.find(name).is_ok() {
            return Err(Errno::EEXIST);
        }
        Inode::charge(&content, &self.budget)?;
        // A directory with setgid hands its group down (inode(7)).
        let is_dir = bits & mode::FORMAT == mode::DIRECTORY;
        let inherits = body.mode & mode::SETGID != 0;
        let own = who.groups.own.unwrap_or(body.gid);
        let gid = if inherits {
            body.gid
        } else if gid == NONUM {
            own
        } else {
            gid
        };
        let bits = match (inherits, is_dir) {
            (true, true) => bits | mode::SETGID,
            // Nobody makes a program that runs as a group that is not theirs.
            (true, false) if !permit::may_set_group(who, gid) => bits & !mode::SETGID,
            _ => bits,
        };
        let mut made = Body::new(bits, who.uid, gid, content);
        made.place = Some((Arc::downgrade(&dir.inode), name.to_vec()));
        let inode = Inode::new(self.number(), made, self.budget.clone());
        body.entries_mut()?.insert(name, inode.clone());
        body.nlink += u64::from(is_dir);
        body.touched();
        Ok(inode)
    }

    pub(super) fn link_to(&self, file: &Node, dir: &Node, name: &[u8]) -> Result<()> {
        {
            let body = dir.inode.body.lock();
            if body.entries()?.find(name).is_ok() {
                return Err(Errno::EEXIST);
            }
            body.check_entries(&dir.who)?;
        }
        {
            let body = file.inode.body.lock();
            match body.nlink {
                _ if body.mode & mode::FORMAT == mode::DIRECTORY => return Err(Errno::EPERM),
                0 => return Err(Errno::ENOENT),
                LINKS_MAX.. => return Err(Errno::EMLINK),
                _ => {}
            }
        }
        {
            let mut body = dir.inode.body.lock();
            self.budget.take(OVERHEAD)?;
            body.entries_mut()?.insert(name, file.inode.clone());
            body.touched();
        }
        let mut body = file.inode.body.lock();
        body.nlink += 1;
        body.place = Some((Arc::downgrade(&dir.inode), name.to_vec()));
        body.altered();
        Ok(())
    }

    /// The entry of a directory that is about to be removed or moved.
    fn victim(&self, dir: &Node, name: &[u8]) -> Result<Arc<Inode>> {
        let (inode, of_dir) = {
            let body = dir.inode.body.lock();
            body.check_entries(&dir.who)?;
            (body.entries()?.find(name)?, (body.mode, body.uid))
        };
        permit::check_sticky(&dir.who, of_dir, inode.body.lock().uid)?;
        Ok(inode)
    }

    pub(super) fn remove(&self, dir: &Node, name: &[u8], is_dir: bool) -> Result<()> {
        let inode = self.victim(dir, name)?;
        self.retire(&inode, is_dir, (&dir.inode, name))?;
        let mut body = dir.inode.body.lock();
        body.entries_mut()?.remove(name);
        body.nlink -= u64::from(is_dir);
        body.touched();
        Ok(())
    }

    pub(super) fn move_to(
        &self,
        olddir: &Node,
        oldname: &[u8],
        newdir: &Node,
        newname: &[u8],
    ) -> Result<()> {
        let inode = self.victim(olddir, oldname)?;
        let is_dir = inode.body.lock().mode & mode::FORMAT == mode::DIRECTORY;
        newdir.inode.body.lock().check_entries(&newdir.who)?;
        if is_dir && self.is_above(&inode, &newdir.inode) {
            return Err(Errno::EINVAL);
        }
        let replaced = match self.victim(newdir, newname) {
            Ok(there) if Arc::ptr_eq(&there, &inode) => return Ok(()),
            Ok(there) if self.is_above(&there, &olddir.inode) => return Err(Errno::ENOTEMPTY),
            Ok(there) => self.retire(&there, is_dir, (&newdir.inode, newname)).map(|()| true)?,
            Err(Errno::ENOENT) => false,
            Err(e) => return Err(e),
        };
        let counted = u64::from(is_dir);
        // The new name leads to the old file or to the new one at any moment:
        // it is put in place in one go, and the old name goes afterwards.
        {
            let mut body = newdir.inode.body.lock();
            body.entries_mut()?.insert(newname, inode.clone());
            body.nlink += if replaced { 0 } else { counted };
            body.touched();
        }
        {
            let mut body = olddir.inode.body.lock();
            body.entries_mut()?.remove(oldname);
            body.nlink -= counted;
            body.touched();
        }
        let mut body = inode.body.lock();
        body.place = Some((Arc::downgrade(&newdir.inode), newname.to_vec()));
        body.altered();
        Ok(())
    }

    /// True when `dir` is `top` or lies below it. The chain of directories
    /// does not change while `names` is held.
    fn is_above(&self, top: &Arc<Inode>, dir: &Arc<Inode>) -> bool {
        let mut at = dir.clone();
        loop {
            if Arc::ptr_eq(top, &at) {
                return true;
            }
            let up = at.body.lock().place.as_ref().and_then(|(up, _)| up.upgrade());
            match up {
                Some(up) => at = up,
                None => return false,
            }
        }
    }

    /// Takes a name off a file: of a directory when `is_dir`, which must be empty.
    fn retire(
        &self,
        inode: &Arc<Inode>,
        is_dir: bool,
        (dir, name): (&Arc<Inode>, &[u8]),
    ) -> Result<()> {
        let mut body = inode.body.lock();
        match (body.mode & mode::FORMAT == mode::DIRECTORY, is_dir) {
            (true, false) => return Err(Errno::EISDIR),
            (false, true) => return Err(Errno::ENOTDIR),
            _ => {}
        }
        if is_dir {
            let entries = body.entries_mut()?;
            if !entries.is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
            entries.gone = true;
            body.nlink = 0;
        } else {
            body.nlink -= 1;
            // The last name is given back with the file itself.
            if body.nlink > 0 {
                self.budget.give(OVERHEAD);
            }
        }
        let here =
            body.place.as_ref().is_some_and(|(d, n)| d.as_ptr() == Arc::as_ptr(dir) && n == name);
        if here || body.nlink == 0 {
            body.place = None;
        }
        body.altered();
        Ok(())
    }
}
