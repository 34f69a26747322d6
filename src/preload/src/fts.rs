//! fts, where libc's inner calls pass us by: done anew, with the structures of
//! fts.h, which programs read. Names are looked up whole, so that nothing
//! changes directory (FTS_NOCHDIR is always so; `fts_accpath` is `fts_path`).

use crate::dirs::Dir;
use crate::real::libcs;
use crate::stat::stat_at;
use crate::streams::pointer;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::{c_char, c_int, c_long, c_ushort, c_void, CStr};
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use libc::stat as Stat;
use privns_abi::{Errno, Result};
use privns_host::Name;

// fts.h: options.
const COMFOLLOW: c_int = 0x01;
const LOGICAL: c_int = 0x02;
const NOSTAT: c_int = 0x08;
const PHYSICAL: c_int = 0x10;
const SEEDOT: c_int = 0x20;
const XDEV: c_int = 0x40;
const OPTIONS: c_int = 0xff;
const NAMEONLY: c_int = 0x100;
// fts.h: what an entry is.
const D: c_ushort = 1;
const DC: c_ushort = 2;
const DEFAULT: c_ushort = 3;
const DNR: c_ushort = 4;
const DOT: c_ushort = 5;
const DP: c_ushort = 6;
const ERR: c_ushort = 7;
const F: c_ushort = 8;
const NS: c_ushort = 10;
const NSOK: c_ushort = 11;
const SL: c_ushort = 12;
const SLNONE: c_ushort = 13;
// fts.h: what fts_set asks for.
const AGAIN: c_ushort = 1;
const FOLLOW: c_ushort = 2;
const NOINSTR: c_ushort = 3;
const SKIP: c_ushort = 4;

const INIT: c_ushort = 9;
/// Level of the parent of what the program names.
const ABOVE: i16 = -1;

/// `FTSENT`. Its name, attributes and path lie behind it in one allocation.
#[repr(C)]
pub(crate) struct Entry {
    cycle: *mut Entry,
    parent: *mut Entry,
    link: *mut Entry,
    number: c_long,
    pointer: *mut c_void,
    accpath: *mut c_char,
    path: *mut c_char,
    errno: c_int,
    symfd: c_int,
    pathlen: c_ushort,
    namelen: c_ushort,
    ino: u64,
    dev: u64,
    nlink: u64,
    level: i16,
    info: c_ushort,
    flags: c_ushort,
    instr: c_ushort,
    statp: *mut Stat,
    name: [c_char; 8],
}

/// Where the name begins.
const NAME: usize = core::mem::offset_of!(Entry, name);

/// fts_open's comparison.
pub(crate) type Order = Option<unsafe extern "C" fn(*mut *const Entry, *mut *const Entry) -> c_int>;

/// `FTS`, of which programs use nothing.
pub(crate) struct Stream {
    current: *mut Entry,
    /// What fts_children has given out.
    children: *mut Entry,
    options: c_int,
    dev: u64,
    order: Order,
}

/// What a directory is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Reading,
    Children,
    Names,
}

impl Entry {
    /// A new entry; the memory is the program's own malloc's.
    unsafe fn new(name: &[u8], path: &[u8], parent: *mut Entry, level: i16) -> Result<*mut Entry> {
        let stat = (NAME + name.len() + 1).next_multiple_of(align_of::<Stat>());
        let text = stat + size_of::<Stat>();
        // SAFETY: an allocation of the size of all parts, all zeros, which
        // end both strings too.
        unsafe {
            let at = libc::calloc(1, text + path.len() + 1).cast::<u8>();
            if at.is_null() {
                return Err(Errno::ENOMEM);
            }
            core::ptr::copy_nonoverlapping(name.as_ptr(), at.add(NAME), name.len());
            core::ptr::copy_nonoverlapping(path.as_ptr(), at.add(text), path.len());
            let entry = at.cast::<Entry>();
            (*entry).parent = parent;
            (*entry).level = level;
            (*entry).instr = NOINSTR;
            (*entry).path = at.add(text).cast();
            (*entry).accpath = (*entry).path;
            (*entry).statp = at.add(stat).cast();
            (*entry).namelen = name.len() as c_ushort;
            (*entry).pathlen = path.len() as c_ushort;
            Ok(entry)
        }
    }

    fn name(&self) -> &[u8] {
        // SAFETY: ended by a zero, see `new`.
        unsafe { CStr::from_ptr((&raw const *self).cast::<c_char>().add(NAME)) }.to_bytes()
    }

    fn text(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { CStr::from_ptr(self.path) }.to_bytes()
    }

    /// Looks at the file: what it is.
    unsafe fn look(&mut self, follow: bool) -> c_ushort {
        let at = |flags| {
            // SAFETY: the entry's own name and attributes.
            unsafe { stat_at(libc::AT_FDCWD, self.accpath, self.statp, flags) }
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
unsafe fn free(mut entry: *mut Entry) {
    while !entry.is_null() {
        // SAFETY: made by `Entry::new`, and in no other list.
        unsafe {
            let next = (*entry).link;
            libc::free(entry.cast());
            entry = next;
        }
    }
}

/// Links entries in the program's order.
unsafe fn chain(list: &mut [*mut Entry], order: Order) -> *mut Entry {
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

impl Stream {
    fn has(&self, option: c_int) -> bool {
        self.options & option != 0
    }

    /// Makes the list of what the program named.
    unsafe fn begin(&mut self, paths: *const *const c_char) -> Result<()> {
        let mut list = Vec::new();
        // SAFETY: an array of strings that ends with null; all entries are
        // freed with the stream.
        unsafe {
            self.current = Entry::new(b"", b"", null_mut(), ABOVE)?;
            let above = self.current;
            let mut at = paths;
            let mut done = Ok(());
            while !(*at).is_null() && done.is_ok() {
                let name = CStr::from_ptr(*at).to_bytes();
                at = at.add(1);
                done = if name.is_empty() { Err(Errno::ENOENT) } else { Ok(()) }
                    .and_then(|()| list.try_reserve(1).map_err(|_| Errno::ENOMEM))
                    .and_then(|()| Entry::new(name, name, above, 0))
                    .map(|entry| {
                        let info = (*entry).look(self.has(COMFOLLOW | LOGICAL));
                        (*entry).info = if info == DOT { D } else { info };
                        list.push(entry);
                    });
            }
            let roots = chain(&mut list, self.order);
            let first = done.and_then(|()| Entry::new(b"", b"", above, 0));
            match first {
                Ok(first) => {
                    (*first).info = INIT;
                    (*first).link = roots;
                    self.current = first;
                    Ok(())
                }
                Err(error) => {
                    free(roots);
                    Err(error)
                }
            }
        }
    }

    /// A root becomes current: its name is the last component from now on.
    unsafe fn load(&mut self, root: *mut Entry) {
        // SAFETY: the entry's own name, which only becomes shorter.
        unsafe {
            let name = (*root).name();
            let cut = name.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
            if cut > 0 && name.len() > 1 {
                let len = name.len() - cut;
                let at = root.cast::<u8>().add(NAME);
                core::ptr::copy(at.add(cut), at, len + 1);
                (*root).namelen = len as c_ushort;
            }
            self.dev = (*root).dev;
        }
    }

    /// Reads the current directory: the list of what is in it, null for none.
    unsafe fn build(&mut self, why: For) -> Result<*mut Entry> {
        let parent = self.current;
        let mut list = Vec::new();
        // SAFETY: the current entry, and those made here.
        unsafe {
            let read = Dir::open(libc::AT_FDCWD, (*parent).accpath)
                .and_then(|mut dir| self.fill(&mut dir, parent, why, &mut list));
            if let Err(error) = read {
                if why == For::Reading {
                    (*parent).info = DNR;
                    (*parent).errno = error.0;
                }
                free(chain(&mut list, None));
                return Err(error);
            }
            if list.is_empty() && why == For::Reading {
                (*parent).info = DP;
            }
            Ok(chain(&mut list, self.order))
        }
    }

    unsafe fn fill(
        &self,
        dir: &mut Dir,
        parent: *mut Entry,
        why: For,
        list: &mut Vec<*mut Entry>,
    ) -> Result<()> {
        // SAFETY: entries of the stream and of ours.
        unsafe {
            let mut path = Name::from((*parent).text())?;
            if !path.as_bytes().ends_with(b"/") {
                path.push(b"/")?;
            }
            let cut = path.as_bytes().len();
            while let Some(found) = dir.next()? {
                let name = CStr::from_ptr((*found).d_name.as_ptr()).to_bytes();
                if matches!(name, b"." | b"..") && !self.has(SEEDOT) {
                    continue;
                }
                path.truncate(cut);
                path.push(name)?;
                list.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                let level = (*parent).level.saturating_add(1);
                let entry = Entry::new(name, path.as_bytes(), parent, level)?;
                list.push(entry);
                // Link counts say nothing of a union: only types are believed.
                let known = !matches!((*found).d_type, libc::DT_DIR | libc::DT_UNKNOWN);
                let skip = self.has(NOSTAT) && self.has(PHYSICAL) && known;
                (*entry).info =
                    if why == For::Names || skip { NSOK } else { (*entry).look(self.has(LOGICAL)) };
            }
        }
        Ok(())
    }

    unsafe fn drop_children(&mut self) {
        // SAFETY: a list of ours.
        unsafe { free(core::mem::replace(&mut self.children, null_mut())) };
    }

    /// The next entry; null at the end.
    unsafe fn read(&mut self) -> *mut Entry {
        let at = self.current;
        if at.is_null() {
            return at;
        }
        // SAFETY: entries of the stream.
        unsafe {
            let told = core::mem::replace(&mut (*at).instr, NOINSTR);
            if told == AGAIN || told == FOLLOW && matches!((*at).info, SL | SLNONE) {
                (*at).info = (*at).look(told == FOLLOW || self.has(LOGICAL));
                return at;
            }
            if (*at).info == D {
                if told == SKIP || self.has(XDEV) && (*at).dev != self.dev {
                    self.drop_children();
                    (*at).info = DP;
                    return at;
                }
                if self.has(NAMEONLY) {
                    self.options &= !NAMEONLY;
                    self.drop_children();
                }
                let mut child = core::mem::replace(&mut self.children, null_mut());
                if child.is_null() {
                    child = self.build(For::Reading).unwrap_or(null_mut());
                }
                if child.is_null() {
                    return at;
                }
                self.current = child;
                return child;
            }
            self.after(at)
        }
    }

    /// What comes after an entry that is done with.
    unsafe fn after(&mut self, mut done: *mut Entry) -> *mut Entry {
        // SAFETY: entries of the stream; each is freed as it is left.
        unsafe {
            loop {
                let (next, parent) = ((*done).link, (*done).parent);
                libc::free(done.cast());
                if next.is_null() {
                    self.current = parent;
                    if (*parent).level == ABOVE {
                        libc::free(parent.cast());
                        self.current = null_mut();
                    } else {
                        (*parent).info = if (*parent).errno != 0 { ERR } else { DP };
                    }
                    return self.current;
                }
                self.current = next;
                if (*next).level == 0 {
                    self.load(next);
                    return next;
                }
                match (*next).instr {
                    SKIP => done = next,
                    FOLLOW => {
                        (*next).instr = NOINSTR;
                        (*next).info = (*next).look(true);
                        return next;
                    }
                    _ => return next,
                }
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: everything that is still linked, upwards.
        unsafe {
            self.drop_children();
            let mut at = self.current;
            while !at.is_null() {
                let next = if (*at).link.is_null() { (*at).parent } else { (*at).link };
                libc::free(at.cast());
                at = next;
            }
        }
    }
}

pub(crate) unsafe fn fts_open(
    paths: *const *const c_char,
    options: c_int,
    order: Order,
) -> *mut Stream {
    libcs!(fts_open(paths: *const *const c_char, options: c_int, order: Order) -> *mut Stream);
    if options & !OPTIONS != 0 {
        return pointer(Err(Errno::EINVAL));
    }
    let (current, children) = (null_mut(), null_mut());
    let mut stream = Box::new(Stream { current, children, options, dev: 0, order });
    // SAFETY: the program's own arguments.
    let begun = unsafe { stream.begin(paths) };
    pointer(begun.map(|()| Box::into_raw(stream)))
}

pub(crate) unsafe fn fts_read(stream: *mut Stream) -> *mut Entry {
    libcs!(fts_read(stream: *mut Stream) -> *mut Entry);
    // SAFETY: a stream of ours; at the end errno is 0 (fts(3)).
    unsafe {
        let entry = (*stream).read();
        if entry.is_null() {
            *libc::__errno_location() = 0;
        }
        entry
    }
}

pub(crate) unsafe fn fts_children(stream: *mut Stream, how: c_int) -> *mut Entry {
    libcs!(fts_children(stream: *mut Stream, how: c_int) -> *mut Entry);
    if how != 0 && how != NAMEONLY {
        return pointer(Err(Errno::EINVAL));
    }
    // SAFETY: a stream of ours; errno is 0 where there are none (fts(3)).
    unsafe {
        let stream = &mut *stream;
        *libc::__errno_location() = 0;
        match stream.current {
            at if at.is_null() => at,
            at if (*at).info == INIT => (*at).link,
            at if (*at).info != D => null_mut(),
            _ => {
                stream.drop_children();
                stream.options |= how;
                let why = if how == 0 { For::Children } else { For::Names };
                stream.children = pointer(stream.build(why));
                stream.children
            }
        }
    }
}

pub(crate) unsafe fn fts_set(stream: *mut Stream, entry: *mut Entry, how: c_int) -> c_int {
    libcs!(fts_set(stream: *mut Stream, entry: *mut Entry, how: c_int) -> c_int);
    if !(0..=c_int::from(SKIP)).contains(&how) {
        crate::call::set_errno(Errno::EINVAL);
        return 1;
    }
    // SAFETY: an entry of the stream.
    unsafe { (*entry).instr = how as c_ushort };
    0
}

pub(crate) unsafe fn fts_close(stream: *mut Stream) -> c_int {
    libcs!(fts_close(stream: *mut Stream) -> c_int);
    // SAFETY: a stream of ours, given up by the program.
    drop(unsafe { Box::from_raw(stream) });
    0
}
