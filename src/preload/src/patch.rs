//! libc's own entries: a jump to our function is written over the beginning of
//! libc's `open`, `close`, `execve` … so that libc's inner callers (`fopen`,
//! `opendir`, `posix_spawn` …), which never use its exported symbols, arrive
//! too. Whole functions are replaced, so nothing is disassembled; the old body
//! can never be called again, and every row makes its system call itself.
//!
//! Only while the process has one thread: from the constructor.

use crate::loaded::{self, Dynamic, Loaded};
use crate::table::{entries, ENTRIES};
use core::ffi::CStr;
use privns_abi::{Errno, Result};
use privns_host::{sys, Kernel};
use privns_namespace::family::{known, Family};
#[cfg(target_arch = "x86_64")]
use privns_namespace::program::is_loader;

const PAGE: usize = 4096;

/// Patches every entry that the table names; those of `Remote` rows too, if the
/// family has a server.
///
/// # Errors
/// ENOENT when libc cannot be found or has no symbol table; what the kernel
/// says where text may not be written: nothing has been patched then.
///
/// # Safety
/// The process has one thread, and it is not inside one of the functions.
pub(crate) unsafe fn patch(family: &Family, remote: bool) -> Result<()> {
    let libc = Object::of_libc().ok_or(Errno::ENOENT)?;
    let mut offsets = [0u32; ENTRIES];
    // Looking fifty names up in a cold symbol table costs more than patching:
    // one member does it for the family.
    let key = libc.identity();
    if !family.recall(known::LIBC, key, &mut offsets) {
        libc.look_up(&mut offsets);
        family.keep(known::LIBC, key, &offsets);
    }
    if !remote {
        let mut all = offsets.iter_mut();
        entries(&mut |_, _, only_remote| {
            if let (Some(offset), true) = (all.next(), only_remote) {
                *offset = 0;
            }
        });
    }
    // SAFETY: passed on.
    unsafe {
        write_in_place(libc.base, &offsets).or_else(|_| write_through_proc(libc.base, &offsets))
    }
}

/// Calls `each` with every entry that libc has, and with what stands there
/// next.
fn sites(base: usize, offsets: &[u32; ENTRIES], each: &mut dyn FnMut(Site)) {
    let mut left = offsets.iter();
    entries(&mut |_, to, _| {
        if let Some(&offset) = left.next().filter(|offset| **offset != 0) {
            each(Site { at: base + offset as usize, to });
        }
    });
}

/// Writes by way of `/proc/self/mem`, which copies the pages that it touches:
/// not refused where text must never be writable (PR_SET_MDWE).
unsafe fn write_through_proc(base: usize, offsets: &[u32; ENTRIES]) -> Result<()> {
    let mut all = [Site { at: 0, to: 0 }; ENTRIES];
    let mut n = 0;
    sites(base, offsets, &mut |site| {
        if let Some(place) = all.get_mut(n) {
            *place = site;
            n += 1;
        }
    });
    let all = all.get_mut(..n).unwrap_or_default();
    all.sort_unstable_by_key(|site| site.at);
    let fd = Kernel.openat(libc::AT_FDCWD, c"/proc/self/mem", libc::O_RDWR | libc::O_CLOEXEC, 0)?;
    let mut done = if all.is_empty() { Err(Errno::ENOENT) } else { Ok(()) };
    for run in all.chunk_by(|a, b| a.at / PAGE == b.at / PAGE) {
        let first = run[0].at;
        // A run may end in the next page: the last jump of this one.
        let len = run[run.len() - 1].at + LONGEST - first;
        let mut bytes = [0u8; PAGE + LONGEST];
        let Some(bytes) = bytes.get_mut(..len) else { continue };
        // SAFETY: libc's text, mapped for reading; the copy has that length,
        // and each jump lies inside it.
        let wrote = unsafe {
            core::ptr::copy_nonoverlapping(first as *const u8, bytes.as_mut_ptr(), len);
            for site in run {
                write_jump(bytes.as_mut_ptr().add(site.at - first) as usize, *site);
            }
            sys!(libc::SYS_pwrite64, fd, bytes.as_ptr(), len, first)
        };
        if wrote != Ok(len) {
            done = Err(wrote.err().unwrap_or(Errno::EIO));
            break;
        }
    }
    let _ = Kernel.close(fd);
    done
}

/// Writes where the code is, made writable for that.
unsafe fn write_in_place(base: usize, offsets: &[u32; ENTRIES]) -> Result<()> {
    let there = || offsets.iter().filter(|offset| **offset != 0);
    let (Some(&first), Some(&last)) = (there().min(), there().max()) else {
        return Err(Errno::ENOENT);
    };
    let first = (base + first as usize) & !(PAGE - 1);
    let len = (base + last as usize + LONGEST - first).next_multiple_of(PAGE);
    // All three at once: where a span that was made writable can never again
    // be made executable, this is refused and nothing is lost.
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: libc's text, mapped by the loader; each site has room for a jump.
    unsafe {
        sys!(libc::SYS_mprotect, first, len, all)?;
        sites(base, offsets, &mut |site| write_jump(site.at, site));
        sys!(libc::SYS_mprotect, first, len, libc::PROT_READ | libc::PROT_EXEC).map(drop)
    }
}

/// An entry, and where it is to lead.
#[derive(Clone, Copy)]
struct Site {
    at: usize,
    to: usize,
}

/// Bytes of the longest jump.
const LONGEST: usize = 16;

/// Bytes that a function must have for the longest jump of this machine.
const ROOM: u64 = if cfg!(target_arch = "x86_64") { 14 } else { 16 };

#[cfg(target_arch = "x86_64")]
fn near(at: usize, to: usize) -> Option<i32> {
    i32::try_from(to.wrapping_sub(at + 5) as isize).ok()
}

/// Writes to `place` the jump that will stand at a site: `jmp rel32` where our
/// library lies within 2 GiB, which it nearly always does; else `jmp *0(%rip)`
/// and the address.
#[cfg(target_arch = "x86_64")]
unsafe fn write_jump(place: usize, Site { at, to }: Site) {
    let mut code = [0u8; 14];
    let len = match near(at, to) {
        Some(offset) => {
            code[0] = 0xe9;
            code[1..5].copy_from_slice(&offset.to_le_bytes());
            5
        }
        None => {
            code[..6].copy_from_slice(&[0xff, 0x25, 0, 0, 0, 0]);
            code[6..].copy_from_slice(&(to as u64).to_le_bytes());
            14
        }
    };
    // SAFETY: the caller has made sure of the room and the right to write.
    unsafe { core::ptr::copy_nonoverlapping(code.as_ptr(), place as *mut u8, len) };
}

/// `ldr x16, #8; br x16` and the address.
#[cfg(target_arch = "aarch64")]
unsafe fn write_jump(place: usize, Site { to, .. }: Site) {
    let mut code = [0u8; 16];
    code[..4].copy_from_slice(&0x5800_0050u32.to_le_bytes());
    code[4..8].copy_from_slice(&0xd61f_0200u32.to_le_bytes());
    code[8..].copy_from_slice(&(to as u64).to_le_bytes());
    // SAFETY: the caller has made sure of the room and the right to write;
    // the instruction cache is told by the mprotect that follows.
    unsafe { core::ptr::copy_nonoverlapping(code.as_ptr(), place as *mut u8, 16) };
}

/// A loaded object's dynamic symbols (gABI; the hash is GNU's).
pub(crate) struct Object {
    base: usize,
    symbols: *const Symbol,
    strings: *const u8,
    hash: *const u32,
    /// What tells this file from any other: its build id, mixed.
    build: u64,
    /// What the loader has made read-only once it had relocated it.
    read_only: (usize, usize),
    /// Where its code begins and ends, as offsets.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    code: (usize, usize),
}

#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

/// Kinds of symbols.
#[cfg(target_arch = "x86_64")]
const OBJECT: u8 = 1;
const FUNCTION: u8 = 2;

impl Object {
    /// The object that serves libc's functions.
    pub(crate) fn of_libc() -> Option<Object> {
        let libc = loaded::find(|loaded| {
            let file = loaded.file().rsplit(|&b| b == b'/').next().unwrap_or_default();
            file.starts_with(b"libc.so.") || file.starts_with(b"libc-2.")
        })?;
        // SAFETY: it stays loaded.
        unsafe { Object::read(libc) }
    }

    /// The loader itself.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn of_loader() -> Option<Object> {
        let loader = loaded::find(|loaded| is_loader(loaded.file()))?;
        // SAFETY: as above.
        unsafe { Object::read(loader) }
    }

    unsafe fn read(loaded: &Loaded) -> Option<Object> {
        let base = loaded.base;
        // SAFETY: a library's first segment begins with its header, and has the
        // headers of the segments in it.
        unsafe {
            let header = &*(base as *const libc::Elf64_Ehdr);
            if header.e_ident.get(..4) != Some(b"\x7fELF") {
                return None;
            }
            let headers = (base + header.e_phoff as usize) as *const libc::Elf64_Phdr;
            let headers = core::slice::from_raw_parts(headers, header.e_phnum.into());
            let build = headers
                .iter()
                .filter(|h| h.p_type == libc::PT_NOTE)
                .find_map(|h| build_id(base + h.p_vaddr as usize, h.p_memsz as usize));
            let relro = headers.iter().find(|h| h.p_type == libc::PT_GNU_RELRO);
            let read_only =
                relro.map_or((0, 0), |h| (base + h.p_vaddr as usize, h.p_memsz as usize));
            let code = headers.iter().find(|h| h.p_type == libc::PT_LOAD && h.p_flags & 1 != 0);
            let code =
                code.map_or((0, 0), |h| (h.p_vaddr as usize, (h.p_vaddr + h.p_memsz) as usize));
            let object = Object::parse(base, loaded.dynamic)?;
            Some(Object { build: build.unwrap_or(0), read_only, code, ..object })
        }
    }

    unsafe fn parse(base: usize, mut dynamic: *const Dynamic) -> Option<Object> {
        const DT_STRTAB: i64 = 5;
        const DT_SYMTAB: i64 = 6;
        const DT_GNU_HASH: i64 = 0x6fff_fef5;
        let (mut symbols, mut strings, mut hash) = (0, 0, 0);
        // SAFETY: the array ends with a tag of 0.
        unsafe {
            while (*dynamic).tag != 0 {
                let at = (*dynamic).value as usize;
                // The loader has relocated these in place where the segment is
                // writable, and not where it is read-only (as in the vDSO).
                let at = if at < base { at + base } else { at };
                match (*dynamic).tag {
                    DT_SYMTAB => symbols = at,
                    DT_STRTAB => strings = at,
                    DT_GNU_HASH => hash = at,
                    _ => {}
                }
                dynamic = dynamic.add(1);
            }
        }
        if symbols == 0 || strings == 0 || hash == 0 {
            return None;
        }
        Some(Object {
            base,
            symbols: symbols as *const Symbol,
            strings: strings as *const u8,
            hash: hash as *const u32,
            build: 0,
            read_only: (0, 0),
            code: (0, 0),
        })
    }

    /// The offsets of the table's entries, 0 for a name that libc does not have,
    /// that another row has already, or that is too short for the longest jump.
    fn look_up(&self, offsets: &mut [u32; ENTRIES]) {
        let mut n = 0;
        entries(&mut |name, _, _| {
            let found = self.function(name.as_bytes());
            let found = found.filter(|(at, size)| *size >= ROOM && !offsets.contains(at));
            if let (Some((at, _)), Some(place)) = (found, offsets.get_mut(n)) {
                *place = at;
            }
            n += 1;
        });
    }

    /// The address of a defined function.
    pub(crate) fn address(&self, name: &[u8]) -> Option<usize> {
        self.function(name).map(|(offset, _)| self.base + offset as usize)
    }

    /// Where defined data is, and how much.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn data(&self, name: &[u8]) -> Option<(usize, usize)> {
        let (offset, size) = self.symbol(name, OBJECT)?;
        Some((self.base + offset as usize, size as usize))
    }

    /// Where its code begins and ends.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn code(&self) -> (usize, usize) {
        (self.base + self.code.0, self.base + self.code.1)
    }

    /// Where it keeps data that is read-only by now, and how much.
    pub(crate) fn read_only_data(&self) -> (usize, usize) {
        self.read_only
    }

    /// The offset and size of a defined function.
    pub(crate) fn function(&self, name: &[u8]) -> Option<(u32, u64)> {
        self.symbol(name, FUNCTION)
    }

    /// The offset and size of what is defined by a name, whatever its version.
    fn symbol(&self, name: &[u8], kind: u8) -> Option<(u32, u64)> {
        let hash = name.iter().fold(5381u32, |h, &b| h.wrapping_mul(33).wrapping_add(u32::from(b)));
        // SAFETY: the layout of DT_GNU_HASH: four words, the Bloom filter, the
        // buckets, the chains.
        unsafe {
            let [buckets, offset, bloom] =
                [*self.hash, *self.hash.add(1), *self.hash.add(2)].map(|w| w as usize);
            let table = self.hash.add(4 + bloom * 2);
            let mut at = *table.add(hash as usize % buckets) as usize;
            if at < offset {
                return None;
            }
            loop {
                let chain = *table.add(buckets + at - offset);
                let symbol = &*self.symbols.add(at);
                if chain | 1 == hash | 1
                    && self.name(symbol) == name
                    && symbol.section != 0
                    && symbol.info & 15 == kind
                {
                    return Some((u32::try_from(symbol.value).ok()?, symbol.size));
                }
                if chain & 1 != 0 {
                    return None;
                }
                at += 1;
            }
        }
    }

    /// A key for what was looked up in this very file by this very table; 0 for
    /// a file without a build id.
    fn identity(&self) -> u64 {
        if self.build == 0 {
            0
        } else {
            self.build ^ ENTRIES as u64
        }
    }

    fn name(&self, symbol: &Symbol) -> &[u8] {
        // SAFETY: an offset into the object's string table.
        unsafe { CStr::from_ptr(self.strings.add(symbol.name as usize).cast()) }.to_bytes()
    }
}

/// The GNU build id among the notes at `at`, folded into a word (elf(5)).
pub(crate) unsafe fn build_id(at: usize, len: usize) -> Option<u64> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let mut from = 0;
    while from + 12 <= len {
        // SAFETY: inside a note segment of a loaded object.
        let [name, size, kind] = unsafe { ((at + from) as *const [u32; 3]).read_unaligned() };
        let data = from + 12 + (name as usize).next_multiple_of(4);
        let next = data + (size as usize).next_multiple_of(4);
        if kind == NT_GNU_BUILD_ID && name == 4 && next <= len {
            // SAFETY: as above.
            let id =
                unsafe { core::slice::from_raw_parts((at + data) as *const u8, size as usize) };
            let mix = |h: u64, &b: &u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
            return Some(id.iter().fold(0xcbf2_9ce4_8422_2325, mix) | 1 << 63);
        }
        from = next;
    }
    None
}
