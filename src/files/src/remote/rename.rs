//! Renaming what a server has.

use super::names::{bare, dir_of, same_connection};
use super::place::{End, Place, Way};
use crate::process::View;
use privns_abi::{Errno, Result};
use privns_ninep::attr::Attr;

impl View<'_> {
    /// renameat2(2).
    ///
    /// # Errors
    /// As there; EXDEV between servers, EINVAL for flags but `RENAME_NOREPLACE`,
    /// and for that where the server has no hard links.
    pub fn remote_rename(self, old: &Place<'_>, new: &Place<'_>, flags: u32) -> Result<()> {
        if flags & !libc::RENAME_NOREPLACE != 0 {
            return Err(Errno::EINVAL);
        }
        if old.id != new.id {
            return Err(Errno::EXDEV);
        }
        if old.end() != End::Plain || new.end() != End::Plain {
            self.may_rename(old, new, flags)?;
        }
        let from = old.from_root()?;
        // A directory that is gone is said after what is wrong with the old name's.
        let said_first = |error| self.remote_stat(&dir_of(old)).err().unwrap_or(error);
        let to = new.from_root().map_err(said_first)?;
        self.anchor(new.id, &to);
        let losers = if flags == 0 && from != to { self.losers(new.id, &to) } else { None };
        let last = if flags == 0 && from != to { self.last_of(new) } else { None };
        let rename = |from: &Way<'_>, new: &Place<'_>| {
            let to = Way::new(self, new)?;
            let (olddir, oldname) = from.parent().ok_or(Errno::EBUSY)?;
            let (newdir, newname) = to.parent().ok_or(Errno::EBUSY)?;
            same_connection(from, &to)?;
            let moves = if flags == 0 { Ok(true) } else { leaves_free(from, &to) };
            let renamed = moves.and_then(|moves| match moves {
                true => from.client().rename_at(olddir, oldname, newdir, newname),
                false => Ok(()),
            });
            let renamed = match renamed {
                // What is wrong with the way to the old name is said first, with that
                // to the new one then, and at last that there is no such file.
                Err(Errno::ENOENT) => {
                    let dirs = [olddir, newdir].into_iter();
                    Err(dirs
                        .map(|dir| from.client().getattr_at(dir))
                        .find_map(not_a_dir)
                        .unwrap_or(Errno::ENOENT))
                }
                done => done,
            };
            to.in_parent(from.in_parent(renamed))
        };
        self.going(new, |new| self.once(old, |from| rename(from, new)))?;
        self.process.name_changed(old.id, &from, &to);
        self.keep_in_memory(losers);
        if let Some(number) = last {
            self.stand_down(new.id, number);
        }
        Ok(())
    }

    /// What the kernel says of names that do not end in a component, in its
    /// order: only a directory's may have a slash behind it.
    fn may_rename(self, old: &Place<'_>, new: &Place<'_>, flags: u32) -> Result<()> {
        for place in [old, new] {
            let dir = if place.end() == End::Dot { *place } else { dir_of(place) };
            if !self.remote_stat(&dir)?.is_dir() {
                return Err(Errno::ENOTDIR);
            }
        }
        if old.end() == End::Dot || new.end() == End::Dot {
            let replaces = old.end() == End::Dot || flags & libc::RENAME_NOREPLACE == 0;
            return Err(if replaces { Errno::EBUSY } else { Errno::EEXIST });
        }
        let old = self.remote_stat(&bare(old))?;
        if flags & libc::RENAME_NOREPLACE != 0 && self.remote_stat(&bare(new)).is_ok() {
            return Err(Errno::EEXIST);
        }
        if old.is_dir() { Ok(()) } else { Err(Errno::ENOTDIR) }
    }
}

/// What is said of a name in what should be a directory.
fn not_a_dir(told: Result<Attr>) -> Option<Errno> {
    match told {
        Ok(attr) if attr.qid.is_dir() => None,
        Ok(_) => Some(Errno::ENOTDIR),
        Err(error) => Some(error),
    }
}

/// What keeps a rename from replacing anything, which no dialect can ask for.
/// A directory replaces nothing but an empty one, so that looking before is
/// enough for it: true, it is to be renamed. Any other file gets a second name,
/// which fails where one is, and loses the first: false, it is done.
fn leaves_free(from: &Way<'_>, to: &Way<'_>) -> Result<bool> {
    let client = from.client();
    let (olddir, oldname) = from.parent().ok_or(Errno::EBUSY)?;
    let (newdir, newname) = to.parent().ok_or(Errno::EBUSY)?;
    if client.getattr_at(from.route())?.qid.is_dir() {
        return match client.getattr_at(to.route()) {
            Ok(_) => Err(Errno::EEXIST),
            Err(Errno::ENOENT) => Ok(true),
            Err(error) => Err(error),
        };
    }
    match to.in_parent(client.link_at(from.route(), newdir, newname)) {
        Err(Errno::EPERM | Errno::EOPNOTSUPP) => Err(Errno::EINVAL),
        linked => linked,
    }?;
    if let Err(error) = client.unlink_at(olddir, oldname, false) {
        let _ = client.unlink_at(newdir, newname, false);
        return Err(error);
    }
    Ok(false)
}
