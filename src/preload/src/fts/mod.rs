//! fts, where libc's inner calls pass us by: done anew, with the structures of
//! fts.h, which programs read. Without FTS_NOCHDIR the walk stands in the
//! directory of what it gives, as libc's does.

mod entry;

pub(crate) use entry::{Entry, Order};

use crate::call::errno;
use crate::dirs::Dir;
use crate::open::open_at;
use crate::real::libcs;
use crate::streams::pointer;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::{c_char, c_int, c_ushort, CStr};
use core::ptr::null_mut;
use entry::*;
use libc::AT_FDCWD;
use privns_abi::{Errno, Result};
use privns_host::Name;

// fts.h: options.
const COMFOLLOW: c_int = 0x01;
const LOGICAL: c_int = 0x02;
const NOCHDIR: c_int = 0x04;
const NOSTAT: c_int = 0x08;
const PHYSICAL: c_int = 0x10;
const SEEDOT: c_int = 0x20;
const XDEV: c_int = 0x40;
const OPTIONS: c_int = 0xff;
const NAMEONLY: c_int = 0x100;
// fts.h: what fts_set asks for.
const AGAIN: c_ushort = 1;
const FOLLOW: c_ushort = 2;
const SKIP: c_ushort = 4;

/// `FTS`, of which programs use nothing.
pub(crate) struct Stream {
    current: *mut Entry,
    /// What fts_children has given out.
    children: *mut Entry,
    options: c_int,
    dev: u64,
    order: Order,
    /// The directory that the walk began in, to come back to; -1 when it does
    /// not leave it.
    home: c_int,
}

/// What a directory is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Reading,
    Children,
    Names,
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
                        let info = (*entry).look(AT_FDCWD, self.has(COMFOLLOW | LOGICAL));
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
                if self.home >= 0 {
                    (*entry).accpath = entry.cast::<c_char>().add(NAME);
                }
                let from = if self.home >= 0 { dir.fd() } else { AT_FDCWD };
                // Link counts say nothing of a union: only types are believed.
                let known = !matches!((*found).d_type, libc::DT_DIR | libc::DT_UNKNOWN);
                let skip = self.has(NOSTAT) && self.has(PHYSICAL) && known;
                (*entry).info = if why == For::Names || skip {
                    NSOK
                } else {
                    (*entry).look(from, self.has(LOGICAL))
                };
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
                (*at).info = (*at).look(AT_FDCWD, told == FOLLOW || self.has(LOGICAL));
                self.followed(at, told);
                return at;
            }
            if (*at).info == D {
                if told == SKIP || self.has(XDEV) && (*at).dev != self.dev {
                    self.drop_children();
                    (*at).info = DP;
                    let link = core::mem::replace(&mut (*at).symfd, -1);
                    if link >= 0 {
                        let _ = crate::descriptors::shut(link);
                    }
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
                if self.home >= 0 && crate::reveal::chdir((*at).accpath) < 0 {
                    ((*at).info, (*at).errno) = (DNR, errno().0);
                    free(child);
                    return at;
                }
                self.current = child;
                return child;
            }
            self.after(at)
        }
    }

    /// A link that was followed to a directory: `..` there does not lead back.
    unsafe fn followed(&self, entry: *mut Entry, told: c_ushort) {
        // SAFETY: an entry of the stream.
        unsafe {
            if told == FOLLOW && (*entry).info == D && self.home >= 0 && (*entry).symfd < 0 {
                (*entry).symfd = here().unwrap_or(-1);
            }
        }
    }

    /// Goes back to where a directory was entered from.
    unsafe fn leave(&self, entry: *mut Entry) {
        if self.home < 0 {
            return;
        }
        // SAFETY: an entry of the stream. There is nothing to be done about a
        // way back that is gone: the access paths below will say ENOENT.
        unsafe {
            let link = core::mem::replace(&mut (*entry).symfd, -1);
            if (*entry).level == 0 {
                crate::reveal::fchdir(self.home);
            } else if link >= 0 {
                crate::reveal::fchdir(link);
            } else {
                crate::reveal::chdir(c"..".as_ptr());
            }
            if link >= 0 {
                let _ = crate::descriptors::shut(link);
            }
        }
    }

    /// What comes after an entry that is done with.
    unsafe fn after(&mut self, mut done: *mut Entry) -> *mut Entry {
        // SAFETY: entries of the stream; each is freed as it is left.
        unsafe {
            loop {
                let (next, parent) = ((*done).link, (*done).parent);
                crate::lazy::free(done.cast());
                if next.is_null() {
                    self.current = parent;
                    if (*parent).level == ABOVE {
                        crate::lazy::free(parent.cast());
                        self.current = null_mut();
                    } else {
                        self.leave(parent);
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
                        (*next).info = (*next).look(AT_FDCWD, true);
                        self.followed(next, FOLLOW);
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
                crate::lazy::free(at.cast());
                at = next;
            }
            if self.home >= 0 {
                crate::reveal::fchdir(self.home);
                let _ = crate::descriptors::shut(self.home);
            }
        }
    }
}

/// The working directory.
fn here() -> Result<c_int> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: a name of ours.
    unsafe { open_at(AT_FDCWD, c".".as_ptr(), flags, 0) }.map(|fd| fd as c_int)
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
    let mut stream = Box::new(Stream { current, children, options, dev: 0, order, home: -1 });
    // SAFETY: the program's own arguments.
    let begun = unsafe { stream.begin(paths) };
    if begun.is_ok() && options & (NOCHDIR | LOGICAL) == 0 {
        stream.home = here().unwrap_or(-1);
    }
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
