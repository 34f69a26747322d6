//! Finds the calls in the program's text, and leads them to us.

use super::decode::{self, MOVE};
use super::stub::{self, READS_PAST, STUB};
use crate::loaded::{self, Dynamic, Loaded};
use crate::patch::build_id;
use core::arch::x86_64::{
    __cpuid, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8,
};
use core::ffi::CStr;
use core::sync::atomic::Ordering;
use privns_abi::{Errno, Result};
use privns_host::raw::OWNER;
use privns_host::sys;
use privns_namespace::family::{known, Family};

const PAGE: usize = 4096;
/// `syscall`.
const CALL: [u8; 2] = [0x0f, 0x05];
/// How many calls are known, in the first of a program's words; rustix's in a large one are fifty.
const SITES: usize = 0xffff;
/// Beside it: some read past us.
const PAST: u32 = 1 << 31;
/// Longest text that is looked through.
const TEXT_MAX: usize = 256 << 20;
/// How far below the program room for the stubs is looked for, and in which steps.
const STEPS: usize = 64;
const STEP: usize = 1 << 20;

/// A call: where its number is loaded, and how far from there the call itself is.
#[derive(Clone, Copy)]
struct Site {
    at: usize,
    len: usize,
}

/// See the module above.
///
/// # Safety
/// The process has one thread, which is in our constructor.
pub(super) unsafe fn take(family: &Family) {
    let Some(program) = loaded::find(|loaded| loaded.file().is_empty()) else { return };
    // SAFETY: the program is loaded, with all of its headers; the caller's promise.
    unsafe {
        if is_rusts(program) {
            take_from(program, family);
        }
    }
}

/// The same for a program that may have such calls.
#[cold]
unsafe fn take_from(program: &Loaded, family: &Family) {
    // SAFETY: the caller's promise.
    let Some(Program { text, build }) = (unsafe { read(program) }) else { return };
    let shelf = 1 + build as usize % known::PROGRAMS;
    let mut words = [0; known::WORDS];
    if !family.recall(shelf, build, &mut words) {
        let all = find(text, &mut words);
        if build != 0 && all {
            family.keep(shelf, build, &words);
        }
    }
    let mut sites = [Site { at: 0, len: 0 }; known::WORDS];
    let mut found = 0;
    let calls = words.get(1..=words[0] as usize & SITES).unwrap_or_default();
    for &call in calls {
        // Looked at again: it is another program's memory that says so.
        let call = call as usize;
        let known = text.get(call..call + 2) == Some(&CALL);
        let number = known.then(|| decode::number_before(text, call)).flatten();
        if let (Some((at, _)), Some(site)) = (number, sites.get_mut(found)) {
            *site = Site { at, len: call - at };
            found += 1;
        }
    }
    let sites = sites.get_mut(..found).unwrap_or_default();
    READS_PAST.store(words[0] & PAST != 0, Ordering::Relaxed);
    if !sites.is_empty() && keeps_registers() {
        // SAFETY: the caller's promise; text that is mapped.
        let _ = unsafe { lead(text, sites) };
    }
}

/// Whether the program is Rust's by what it needs: its unwinder comes with the compiler's library,
/// without that of C++. To look all others through would cost their starts.
///
/// # Safety
/// A loaded program.
unsafe fn is_rusts(program: &Loaded) -> bool {
    const DT_NEEDED: i64 = 1;
    const DT_STRTAB: i64 = 5;
    // SAFETY: its dynamic section ends with a tag of 0, and the strings are where it says.
    unsafe {
        let entries = || {
            let at = |n| &*program.dynamic.add(n);
            (0..).map(at).take_while(|entry: &&Dynamic| entry.tag != 0)
        };
        let Some(strings) = entries().find(|entry| entry.tag == DT_STRTAB) else { return false };
        let strings = strings.value as usize;
        let strings = if strings < program.base { strings + program.base } else { strings };
        let needs = |name: &CStr| {
            let mut needed = entries().filter(|entry| entry.tag == DT_NEEDED);
            needed.any(|entry| CStr::from_ptr((strings + entry.value as usize) as _) == name)
        };
        needs(c"libgcc_s.so.1") && !needs(c"libstdc++.so.6")
    }
}

/// A program in memory.
struct Program {
    text: &'static [u8],
    /// What tells its file from any other; 0 where nothing does.
    build: u64,
}

/// Where it is. None for programs of ours, whose own calls mean the host's files.
///
/// # Safety
/// A loaded program.
unsafe fn read(program: &Loaded) -> Option<Program> {
    // SAFETY: asks for a number, which the kernel gives every program.
    let told = |kind| unsafe { crate::lazy::getauxval(kind) } as usize;
    let headers = told(libc::AT_PHDR) as *const libc::Elf64_Phdr;
    let count = told(libc::AT_PHNUM);
    if headers.is_null() {
        return None;
    }
    // SAFETY: the program's own headers, and what they say is mapped.
    unsafe {
        let headers = core::slice::from_raw_parts(headers, count);
        let part = |h: &libc::Elf64_Phdr| {
            let at = (program.base + h.p_vaddr as usize) as *const u8;
            core::slice::from_raw_parts(at, h.p_memsz as usize)
        };
        let notes = || headers.iter().filter(|h| h.p_type == libc::PT_NOTE).map(part);
        let ours = |notes: &[u8]| notes.windows(OWNER.len()).any(|piece| piece == OWNER);
        if notes().any(ours) {
            return None;
        }
        let build = notes().find_map(|notes| build_id(notes.as_ptr() as usize, notes.len()));
        let runs = |h: &&libc::Elf64_Phdr| h.p_type == libc::PT_LOAD && h.p_flags & 1 != 0;
        let text = headers.iter().find(runs).map(part).filter(|text| text.len() <= TEXT_MAX)?;
        Some(Program { text, build: build.unwrap_or(0) })
    }
}

/// Finds the calls: how many and [`PAST`], then where. False: there are more.
fn find(text: &[u8], words: &mut [u32; known::WORDS]) -> bool {
    let (mut found, mut past) = (0, 0);
    each_call(text, &mut |call| {
        if let Some((_, number)) = decode::number_before(text, call) {
            if is_led(number) {
                found += 1;
                if let Some(word) = words.get_mut(found) {
                    *word = call as u32;
                }
            }
        } else if decode::is_nought_before(text, call) {
            past = PAST;
        }
    });
    words[0] = found.min(known::WORDS - 1) as u32 | past;
    found < known::WORDS
}

/// Calls `each` with the place of every `syscall`, and of what looks like it.
fn each_call(text: &[u8], each: &mut dyn FnMut(usize)) {
    const WIDTH: usize = 16;
    let whole = text.len().saturating_sub(1) / WIDTH * WIDTH;
    for at in (0..whole).step_by(WIDTH) {
        // SAFETY: one byte more than these sixteen is there; every processor has SSE2.
        let mut hits = unsafe {
            let is = |at: usize, byte: u8| {
                let bytes = _mm_loadu_si128(text.as_ptr().add(at).cast());
                _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8))
            };
            _mm_movemask_epi8(_mm_and_si128(is(at, CALL[0]), is(at + 1, CALL[1])))
        };
        while hits != 0 {
            each(at + hits.trailing_zeros() as usize);
            hits &= hits - 1;
        }
    }
    let rest = text.get(whole..).unwrap_or_default();
    let mut rest = rest.windows(2).enumerate().filter(|(_, piece)| *piece == CALL);
    rest.by_ref().for_each(|(at, _)| each(whole + at));
}

/// Whether a call comes to us: not those that end a thread or begin one, and return elsewhere or
/// twice, and not those by which threads wait for each other, which have nothing to do with us.
fn is_led(number: u32) -> bool {
    !matches!(
        i64::from(number),
        libc::SYS_clone
            | libc::SYS_clone3
            | libc::SYS_fork
            | libc::SYS_vfork
            | libc::SYS_exit
            | libc::SYS_exit_group
            | libc::SYS_munmap
            | libc::SYS_rt_sigreturn
            | libc::SYS_rt_sigprocmask
            | libc::SYS_rt_sigaction
            | libc::SYS_futex
            | libc::SYS_sched_yield
            | libc::SYS_gettid
            | libc::SYS_getpid
    )
}

/// Whether XSAVE, by which the stubs keep registers, is there for programs.
fn keeps_registers() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    __cpuid(1).ecx & OSXSAVE != 0
}

/// Makes the stubs, and has the calls jump to them.
///
/// # Safety
/// As [`take`]; the sites are in the text.
unsafe fn lead(text: &[u8], sites: &[Site]) -> Result<()> {
    let start = text.as_ptr() as usize;
    let (Some(first), Some(last)) = (sites.first(), sites.last()) else { return Ok(()) };
    let size = (size_of::<usize>() + sites.len() * STUB).next_multiple_of(PAGE);
    let from = (start + first.at) & !(PAGE - 1);
    let len = (start + last.at + MOVE).next_multiple_of(PAGE) - from;
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let runs = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: memory of our own, and the program's text, mapped by the loader.
    unsafe {
        let stubs = room_below(start, size)?;
        let memory = core::slice::from_raw_parts_mut(stubs as *mut u8, size);
        let made = write_stubs(memory, stubs, start, text, sites);
        // All three at once, as for libc's.
        let done = made
            .and_then(|()| sys!(libc::SYS_mprotect, stubs, size, runs))
            .and_then(|_| sys!(libc::SYS_mprotect, from, len, all));
        if let Err(error) = done {
            let _ = sys!(libc::SYS_munmap, stubs, size);
            return Err(error);
        }
        for (n, site) in sites.iter().enumerate() {
            let at = start + site.at;
            if let Some(jump) = stub::jump(at, stub_at(stubs, n)) {
                core::ptr::copy_nonoverlapping(jump.as_ptr(), at as *mut u8, jump.len());
            }
        }
        sys!(libc::SYS_mprotect, from, len, runs).map(drop)
    }
}

/// Where a stub is: behind the address that all of them call.
fn stub_at(stubs: usize, n: usize) -> usize {
    stubs + size_of::<usize>() + n * STUB
}

fn write_stubs(
    memory: &mut [u8],
    stubs: usize,
    start: usize,
    text: &[u8],
    sites: &[Site],
) -> Result<()> {
    let (entry, mut rest) = memory.split_at_mut_checked(size_of::<usize>()).ok_or(Errno::EINVAL)?;
    entry.copy_from_slice(&(stub::enter as *const () as usize).to_ne_bytes());
    for (n, site) in sites.iter().enumerate() {
        let (out, after) = rest.split_at_mut_checked(STUB).ok_or(Errno::EINVAL)?;
        let code = text.get(site.at..site.at + site.len).ok_or(Errno::EINVAL)?;
        let back = start + site.at + site.len + CALL.len();
        stub::write(out, stub_at(stubs, n), code, stubs, back).ok_or(Errno::EFAULT)?;
        rest = after;
    }
    Ok(())
}

/// Memory that a jump of the text reaches: below it, where nothing grows.
///
/// # Safety
/// Nothing that is mapped is touched.
unsafe fn room_below(start: usize, size: usize) -> Result<usize> {
    let both = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    for step in 1..=STEPS {
        let Some(at) = (start & !(PAGE - 1)).checked_sub(step * STEP + size) else { break };
        // SAFETY: the kernel refuses where something is; older ones take it as a wish.
        let mapped = unsafe { sys!(libc::SYS_mmap, at, size, both, flags, -1isize, 0usize) };
        match mapped {
            Ok(got) if got == at => return Ok(got),
            // SAFETY: what has just been mapped elsewhere.
            Ok(got) => drop(unsafe { sys!(libc::SYS_munmap, got, size) }),
            Err(_) => {}
        }
    }
    Err(Errno::ENOMEM)
}
