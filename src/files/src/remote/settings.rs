//! The system calls that set what a remote file has: its attributes, its size,
//! its times and its extended attributes.

use super::file::{File, Kind, Open};
use super::place::{End, Place, Way};
use super::undisturbed;
use crate::process::View;
use alloc::sync::Arc;
use alloc::vec::Vec;
use privns_abi::{Errno, Result};
use privns_host::Kernel;
use privns_ninep::attr::{SetAttr, Time, set};

/// A time that utimensat(2) sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// As it is.
    Keep,
    /// The moment of the call.
    Now,
    /// Seconds and nanoseconds since 1970.
    At(i64, u32),
}

/// Values of extended attributes at most (XATTR_SIZE_MAX, limits.h).
const XATTR_MAX: usize = 65_536;

impl View<'_> {
    /// chmod(2), chown(2) and truncate(2), as the record says.
    ///
    /// # Errors
    /// As there.
    pub fn remote_setattr(self, place: &Place<'_>, change: &SetAttr) -> Result<()> {
        self.is_dir_at_end(place)?;
        if change.valid & set::SIZE != 0 && !place.is_open() {
            self.leave_ends();
        }
        let set = |way: &Way<'_>| way.client().setattr_at(way.route(), &self.mine(way, change));
        let done = match change.valid & set::SIZE {
            0 => self.as_now(place, |p, act| self.once(p, act), set),
            // Who may do that is settled when the file is opened.
            _ => self.on_file(place, |p, act| self.once(p, act), set),
        };
        if change.valid & set::SIZE != 0 {
            let remotes = &self.process.remotes;
            match place.opened() {
                Some(file) => remotes.changed(file),
                // Which file it is, nobody has said.
                None => remotes.change(),
            }
        }
        done
    }

    /// Does what the kernel lets be done by whom the process is now, whoever has opened the file: one
    /// that was opened as another user is had by the connection of this one.
    fn as_now<R>(
        self,
        place: &Place<'_>,
        go: impl Fn(&Place<'_>, &dyn Fn(&Way<'_>) -> Result<R>) -> Result<R>,
        act: impl Fn(&Way<'_>) -> Result<R>,
    ) -> Result<R> {
        let Some((file, open)) = place.opened().and_then(|file| Some((file, file.known()?))) else {
            return self.on_file(place, go, act);
        };
        if !open.conn.is_former() || open.conn.is_dead() {
            return self.on_file(place, go, act);
        }
        // What was written goes another way.
        self.settle(file)?;
        let done = undisturbed(|| act(&Way::to(self.had_now(file, &open)?)));
        self.process.remotes.note();
        done
    }

    /// What another user has opened, on the connection of whom the process is now: handed over by a
    /// server that can, and else found by its name. What is open for its name only, no server has
    /// open.
    fn had_now(self, file: &File, open: &Arc<Open>) -> Result<Arc<Open>> {
        let handed = match file.kind() {
            Kind::Path => Err(Errno::EOPNOTSUPP),
            _ => open.conn.client.handoff(&open.opened.fid),
        };
        match handed {
            Ok(token) => self.claim_one(file.server(), &token).map(Arc::new),
            Err(Errno::EOPNOTSUPP) => {
                let conn = self.conn(file.server())?;
                let opened = file.found_anew(&conn)?;
                Ok(Arc::new(Open::new(conn, opened)))
            }
            Err(error) => Err(error),
        }
    }

    /// A name that ends in a slash or a dot is that of a directory.
    fn is_dir_at_end(self, place: &Place<'_>) -> Result<()> {
        if place.end() == End::Plain { Ok(()) } else { self.remote_stat(place).map(drop) }
    }

    /// With owner=me what is shown as ours is the server's owner there. 9P2000
    /// knows no numbers of owners, and all is shown as ours: it stays so.
    fn mine(self, way: &Way<'_>, change: &SetAttr) -> SetAttr {
        let mut change = *change;
        if way.client().agreed().dialect == privns_ninep::Dialect::Base {
            let ours = [
                (set::UID, change.uid, Kernel.geteuid()),
                (set::GID, change.gid, Kernel.getegid()),
            ];
            for (bit, _, _) in ours.iter().filter(|(_, wanted, own)| wanted == own) {
                change.valid &= !bit;
            }
        }
        if let Some((uid, gid)) = way.conn().me {
            if change.valid & set::UID != 0 && change.uid == Kernel.geteuid() {
                change.uid = uid;
            }
            if change.valid & set::GID != 0 && change.gid == Kernel.getegid() {
                change.gid = gid;
            }
        }
        change
    }

    /// utimensat(2).
    ///
    /// # Errors
    /// As there.
    pub fn remote_utimens(self, place: &Place<'_>, [atime, mtime]: [When; 2]) -> Result<()> {
        self.is_dir_at_end(place)?;
        let done = self.as_now(
            place,
            |p, act| self.on(p, act),
            |way| {
                let says_now = way.client().agreed().dialect == privns_ninep::Dialect::Linux;
                let mut change = SetAttr::default();
                change.atime =
                    change_time(&mut change, atime, (set::ATIME, set::ATIME_SET), says_now);
                change.mtime =
                    change_time(&mut change, mtime, (set::MTIME, set::MTIME_SET), says_now);
                way.client().setattr_at(way.route(), &change)
            },
        );
        self.process.remotes.note();
        done
    }

    /// The value of an extended attribute; the list of names when `name` is
    /// empty.
    ///
    /// # Errors
    /// ENODATA, EOPNOTSUPP.
    pub fn remote_xattr(self, place: &Place<'_>, name: &[u8]) -> Result<Vec<u8>> {
        if is_kernels(name) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.is_dir_at_end(place)?;
        self.as_now(place, |p, act| self.on(p, act), |way| way.client().xattr_at(way.route(), name))
    }

    /// Sets an extended attribute, `flags` as setxattr(2).
    ///
    /// # Errors
    /// EEXIST, ENODATA, EOPNOTSUPP; E2BIG.
    pub fn remote_set_xattr(
        self,
        place: &Place<'_>,
        name: &[u8],
        value: &[u8],
        flags: u32,
    ) -> Result<()> {
        if is_kernels(name) {
            return Err(Errno::EOPNOTSUPP);
        }
        if value.len() > XATTR_MAX {
            return Err(Errno::E2BIG);
        }
        self.is_dir_at_end(place)?;
        self.as_now(
            place,
            |p, act| self.once(p, act),
            |way| way.client().set_xattr_at(way.route(), name, value, flags),
        )
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// ENODATA, EOPNOTSUPP.
    pub fn remote_remove_xattr(self, place: &Place<'_>, name: &[u8]) -> Result<()> {
        // How Linux says it in 9P.
        self.remote_set_xattr(place, name, b"", libc::XATTR_REPLACE as u32)
    }
}

/// Access control lists of POSIX and labels have no meaning here; asking the
/// server would cost each `ls -l` a round trip for each file.
fn is_kernels(name: &[u8]) -> bool {
    name.starts_with(b"system.") || name == b"security.selinux"
}

/// Notes a time in `change.valid`, and gives it.
fn change_time(
    change: &mut SetAttr,
    when: When,
    (bit, set_bit): (u32, u32),
    says_now: bool,
) -> Time {
    let (sec, nsec) = match when {
        When::Keep => return Time::default(),
        When::Now if says_now => {
            change.valid |= bit;
            return Time::default();
        }
        When::Now => Kernel.time(),
        When::At(sec, nsec) => (sec, nsec),
    };
    change.valid |= bit | set_bit;
    Time { sec: sec as u64, nsec: nsec.into() }
}
