//! Who may do what (path_resolution(7), inode(7), chmod(2), utime(2)).

use super::inode::Body;
use crate::tree::Who;
use privns_abi::{Errno, Result};
use privns_ninep::attr::{SetAttr, mode, set};

pub(super) const READ: u32 = 4;
pub(super) const WRITE: u32 = 2;
pub(super) const EXEC: u32 = 1;

/// Permission bits; root has all but the right to run what nobody may run.
pub(super) fn check(who: &Who, body: &Body, want: u32) -> Result<()> {
    let bits = match who {
        who if who.uid == 0 => {
            let runs = body.mode & 0o111 != 0 || body.mode & mode::FORMAT == mode::DIRECTORY;
            READ | WRITE | if runs { EXEC } else { 0 }
        }
        who if who.uid == body.uid => body.mode >> 6,
        who if who.groups.has(body.gid) => body.mode >> 3,
        _ => body.mode,
    };
    if bits & want == want { Ok(()) } else { Err(Errno::EACCES) }
}

/// The right to have programs run as this group.
pub(super) fn may_set_group(who: &Who, gid: u32) -> bool {
    who.uid == 0 || who.groups.has(gid)
}

/// The right to remove or move an entry that belongs to `owner`, of a
/// directory with this mode and owner.
pub(super) fn check_sticky(who: &Who, dir: (u32, u32), owner: u32) -> Result<()> {
    let (bits, dir_owner) = dir;
    let own = who.uid == 0 || who.uid == owner || who.uid == dir_owner;
    if bits & mode::STICKY != 0 && !own { Err(Errno::EPERM) } else { Ok(()) }
}

/// The right to change attributes. `opened` says that the file is open for
/// writing, which is all that ftruncate(2) asks for.
pub(super) fn check_change(who: &Who, body: &Body, opened: bool, change: &SetAttr) -> Result<()> {
    let has = |bit| change.valid & bit != 0;
    let owner = who.uid == 0 || who.uid == body.uid;
    if has(set::SIZE) && !opened {
        check(who, body, WRITE)?;
    }
    let given = has(set::ATIME_SET) || has(set::MTIME_SET);
    if (has(set::MODE) || given) && !owner {
        return Err(Errno::EPERM);
    }
    if (has(set::ATIME) || has(set::MTIME)) && !owner {
        check(who, body, WRITE)?;
    }
    if has(set::UID) && who.uid != 0 && (change.uid != body.uid || !owner) {
        return Err(Errno::EPERM);
    }
    let group = change.gid == body.gid || who.groups.has(change.gid);
    if has(set::GID) && who.uid != 0 && !(owner && group) {
        return Err(Errno::EPERM);
    }
    Ok(())
}
