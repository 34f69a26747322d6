//! One entry of an fts walk: the structure that programs read.

use crate::stat::stat_at;
use core::ffi::{c_char, c_int, c_long, c_ushort, c_void, CStr};
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use libc::stat as Stat;
use privns_abi::{Errno, Result};

// fts.h: what an entry is.
pub(super) const D: c_ushort = 1;
pub(super) const DC: c_ushort = 2;
pub(super) const DEFAULT: c_ushort = 3;
pub(super) const DNR: c_ushort = 4;
pub(super) const DOT: c_ushort = 5;
pub(super) const DP: c_ushort = 6;
pub(super) const ERR: c_ushort = 7;
pub(super) const F: c_ushort = 8;
pub(super) const NS: c_ushort = 10;
pub(super) const NSOK: c_ushort = 11;
pub(super) const SL: c_ushort = 12;
pub(super) const SLNONE: c_ushort = 13;
pub(super) const INIT: c_ushort = 9;
// fts.h: what fts_set asks for.
pub(super) const NOINSTR: c_ushort = 3;
/// Level of the parent of what the program names.
pub(super) const ABOVE: i16 = -1;

/// `FTSENT`. Its name, attributes and path lie behind it in one allocation.
#[repr(C)]
pub(crate) struct Entry {
    pub(super) cycle: *mut Entry,
    pub(super) parent: *mut Entry,
    pub(super) link: *mut Entry,
    pub(super) number: c_long,
    pub(super) pointer: *mut c_void,
    pub(super) accpath: *mut c_char,
    pub(super) path: *mut c_char,
    pub(super) errno: c_int,
    pub(super) symfd: c_int,
    pub(super) pathlen: c_ushort,
    pub(super) namelen: c_ushort,
    pub(super) ino: u64,
    pub(super) dev: u64,
    pub(super) nlink: libc::nlink_t,
    pub(super) level: i16,
    pub(super) info: c_ushort,
    pub(super) flags: c_ushort,
    pub(super) instr: c_ushort,
    pub(super) statp: *mut Stat,
    name: [c_char; 8],
}

/// Where the name begins.
pub(super) const NAME: usize = core::mem::offset_of!(Entry, name);

/// fts_open's comparison.
pub(crate) type Order = Option<unsafe extern "C" fn(*mut *const Entry, *mut *const Entry) -> c_int>;

impl Entry {
    /// A new entry; the memory is the program's own malloc's.
    pub(super) unsafe fn new(
        name: &[u8],
        path: &[u8],
        parent: *mut Entry,
        level: i16,
    ) -> Result<*mut Entry> {
        let stat = (NAME + name.len() + 1).next_multiple_of(align_of::<Stat>());
        let text = stat + size_of::<Stat>();
        // SAFETY: an allocation of the size of all parts, all zeros, which
        // end both strings too.
        unsafe {
            let at = crate::lazy::calloc(1, text + path.len() + 1).cast::<u8>();
            if at.is_null() {
                return Err(Errno::ENOMEM);
            }
            core::ptr::copy_nonoverlapping(name.as_ptr(), at.add(NAME), name.len());
            core::ptr::copy_nonoverlapping(path.as_ptr(), at.add(text), path.len());
            let entry = at.cast::<Entry>();
            (*entry).parent = parent;
            (*entry).level = level;
            (*entry).instr = NOINSTR;
            (*entry).symfd = -1;
            (*entry).path = at.add(text).cast();
            (*entry).accpath = (*entry).path;
            (*entry).statp = at.add(stat).cast();
            (*entry).namelen = name.len() as c_ushort;
            (*entry).pathlen = path.len() as c_ushort;
            Ok(entry)
        }
    }

    pub(super) fn name(&self) -> &[u8] {
        // SAFETY: ended by a zero, see `new`.
        unsafe { CStr::from_ptr((&raw const *self).cast::<c_char>().add(NAME)) }.to_bytes()
    }

    pub(super) fn text(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { CStr::from_ptr(self.path) }.to_bytes()
    }

    /// Looks at the file: what it is. Its access path is relative to `dirfd`.
    pub(super) unsafe fn look(&mut self, dirfd: c_int, follow: bool) -> c_ushort {
        let at = |flags| {
            // SAFETY: the entry's own name and attributes.
            unsafe { stat_at(dirfd, self.accpath, self.statp, flags) }
        };
        let done = at(if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW });
        if done.is_err() && follow && at(libc::AT_SYMLINK_NOFOLLOW).is_ok() {
            return SLNONE;
        }
        if let Err(error) = done {
            self.errno = error.0;
            // SAFETY: as above; zeros are attributes.
            unsafe { self.statp.write(MaybeUninit::zeroed().assume_init()) };
            return NS;
        }
        // SAFETY: filled.
        let st = unsafe { &*self.statp };
        match st.st_mode & libc::S_IFMT {
            libc::S_IFDIR => {
                (self.dev, self.ino, self.nlink) = (st.st_dev, st.st_ino, st.st_nlink);
                // SAFETY: parents live as long as what is below them.
                unsafe { self.directory() }
            }
            libc::S_IFLNK => SL,
            libc::S_IFREG => F,
            _ => DEFAULT,
        }
    }

    unsafe fn directory(&mut self) -> c_ushort {
        if matches!(self.name(), b"." | b"..") {
            return DOT;
        }
        let mut above = self.parent;
        // SAFETY: the chain ends at the level above what the program named.
        unsafe {
            while !above.is_null() && (*above).level != ABOVE {
                if ((*above).dev, (*above).ino) == (self.dev, self.ino) {
                    self.cycle = above;
                    return DC;
                }
                above = (*above).parent;
            }
        }
        D
    }
}

/// Frees a list.
pub(super) unsafe fn free(mut entry: *mut Entry) {
    while !entry.is_null() {
        // SAFETY: made by `Entry::new`, and in no other list.
        unsafe {
            let next = (*entry).link;
            crate::lazy::free(entry.cast());
            entry = next;
        }
    }
}

/// Links entries in the program's order.
pub(super) unsafe fn chain(list: &mut [*mut Entry], order: Order) -> *mut Entry {
    if let Some(order) = order {
        list.sort_by(|&a, &b| {
            let (mut a, mut b) = (a.cast_const(), b.cast_const());
            // SAFETY: the program's own function, called as qsort would.
            unsafe { order(&mut a, &mut b) }.cmp(&0)
        });
    }
    let mut next = null_mut();
    for &mut entry in list.iter_mut().rev() {
        // SAFETY: entries of ours.
        unsafe { (*entry).link = next };
        next = entry;
    }
    next
}
