//! libc's own entries: a jump to our function is written over the beginning of
//! libc's `open`, `close`, `execve` … so that libc's inner callers (`fopen`,
//! `opendir`, `posix_spawn` …), which never use its exported symbols, arrive
//! too. Whole functions are replaced, so nothing is disassembled; the old body
//! can never be called again, and every row makes its system call itself.
//!
//! Only while the process has one thread: from the constructor.

use crate::row::{Row, Way};
use core::ffi::{c_int, c_void, CStr};
use privns_abi::{Errno, Result};
use privns_host::sys;

const PAGE: usize = 4096;

/// Patches the entries of every `Entry` row.
///
/// # Errors
/// ENOENT when libc cannot be found or has no symbol table; what mprotect(2)
/// says where text may not be made writable: nothing has been patched then.
///
/// # Safety
/// The process has one thread, and it is not inside one of the functions.
pub(crate) unsafe fn patch(rows: &[Row]) -> Result<usize> {
    let libc = Object::of_libc().ok_or(Errno::ENOENT)?;
    let mut sites = [Site { at: 0, to: 0 }; 160];
    let mut n = 0;
    for row in rows.iter().filter(|row| row.way == Way::Entry) {
        let to = (row.address)();
        for name in row.names.iter().take(1).chain(row.private) {
            let Some((at, size)) = libc.function(name.as_bytes()) else { continue };
            let known = sites[..n].iter().any(|site| site.at == at);
            if !known && size >= jump_len(at, to) && n < sites.len() {
                sites[n] = Site { at, to };
                n += 1;
            }
        }
    }
    let sites = &sites[..n];
    let first = sites.iter().map(|s| s.at).min().ok_or(Errno::ENOENT)? & !(PAGE - 1);
    let last = sites.iter().map(|s| s.at + LONGEST).max().unwrap_or(first);
    let len = (last - first).next_multiple_of(PAGE);
    // All three at once: where a span that was made writable can never again
    // be made executable (PR_SET_MDWE), this is refused and nothing is lost.
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: libc's text, mapped by the loader.
    unsafe { sys!(libc::SYS_mprotect, first, len, all) }?;
    for site in sites {
        // SAFETY: writable now, and as many bytes as the function has at least.
        unsafe { write_jump(site.at, site.to) };
    }
    // SAFETY: as it was before.
    unsafe { sys!(libc::SYS_mprotect, first, len, libc::PROT_READ | libc::PROT_EXEC) }?;
    Ok(n)
}

#[derive(Clone, Copy)]
struct Site {
    at: usize,
    to: usize,
}

/// Bytes of the longest jump.
const LONGEST: usize = 16;

#[cfg(target_arch = "x86_64")]
fn jump_len(at: usize, to: usize) -> usize {
    if near(at, to).is_some() {
        5
    } else {
        14
    }
}

#[cfg(target_arch = "x86_64")]
fn near(at: usize, to: usize) -> Option<i32> {
    i32::try_from(to.wrapping_sub(at + 5) as isize).ok()
}

/// `jmp rel32` where our library lies within 2 GiB, which it nearly always
/// does; else `jmp *0(%rip)` and the address.
#[cfg(target_arch = "x86_64")]
unsafe fn write_jump(at: usize, to: usize) {
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
    unsafe { core::ptr::copy_nonoverlapping(code.as_ptr(), at as *mut u8, len) };
}

#[cfg(target_arch = "aarch64")]
fn jump_len(_at: usize, _to: usize) -> usize {
    16
}

/// `ldr x16, #8; br x16` and the address.
#[cfg(target_arch = "aarch64")]
unsafe fn write_jump(at: usize, to: usize) {
    let mut code = [0u8; 16];
    code[..4].copy_from_slice(&0x5800_0050u32.to_le_bytes());
    code[4..8].copy_from_slice(&0xd61f_0200u32.to_le_bytes());
    code[8..].copy_from_slice(&(to as u64).to_le_bytes());
    // SAFETY: the caller has made sure of the room and the right to write;
    // the instruction cache is told by the mprotect that follows.
    unsafe { core::ptr::copy_nonoverlapping(code.as_ptr(), at as *mut u8, 16) };
}

/// A loaded object's dynamic symbols (gABI; the hash is GNU's).
struct Object {
    base: usize,
    symbols: *const Symbol,
    strings: *const u8,
    hash: *const u32,
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

#[repr(C)]
struct Dynamic {
    tag: i64,
    value: u64,
}

impl Object {
    /// The object that serves libc's functions.
    fn of_libc() -> Option<Object> {
        let mut found = None;
        // SAFETY: the callback gets the address of `found` and uses it so.
        unsafe { libc::dl_iterate_phdr(Some(Object::look), (&raw mut found).cast()) };
        found
    }

    unsafe extern "C" fn look(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        found: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader's own data, for the length of this call.
        unsafe {
            let info = &*info;
            let name = CStr::from_ptr(info.dlpi_name).to_bytes();
            let file = name.rsplit(|&b| b == b'/').next().unwrap_or_default();
            if !file.starts_with(b"libc.so.") && !file.starts_with(b"libc-2.") {
                return 0;
            }
            let headers = core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into());
            let Some(dynamic) = headers.iter().find(|h| h.p_type == libc::PT_DYNAMIC) else {
                return 0;
            };
            let base = info.dlpi_addr as usize;
            let dynamic = (base + dynamic.p_vaddr as usize) as *const Dynamic;
            *found.cast::<Option<Object>>() = Object::parse(base, dynamic);
        }
        1
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
        })
    }

    /// The address and size of a defined function, whatever its version.
    fn function(&self, name: &[u8]) -> Option<(usize, usize)> {
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
                    && matches!(symbol.info & 15, 2)
                {
                    return Some((self.base + symbol.value as usize, symbol.size as usize));
                }
                if chain & 1 != 0 {
                    return None;
                }
                at += 1;
            }
        }
    }

    fn name(&self, symbol: &Symbol) -> &[u8] {
        // SAFETY: an offset into the object's string table.
        unsafe { CStr::from_ptr(self.strings.add(symbol.name as usize).cast()) }.to_bytes()
    }
}
