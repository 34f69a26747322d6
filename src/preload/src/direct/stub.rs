//! What a call that the program makes itself leads to.

use super::decode::{BETWEEN, MOVE};
use crate::call::{errno, set_errno};
use crate::{descriptors, syscall, PROCESS};
use core::arch::naked_asm;
use core::ffi::{c_int, c_long};
use core::sync::atomic::{AtomicBool, Ordering};
use privns_abi::Errno;

/// The program reads in ways of its own, which do not come to us.
pub(super) static READS_PAST: AtomicBool = AtomicBool::new(false);

/// Most bytes of a stub.
pub(super) const STUB: usize = MOVE + BETWEEN + LEAVE.len() + CALL + COME.len() + JUMP;
/// Bytes of a near call by an address in memory, and of a near jump.
const CALL: usize = 6;
const JUMP: usize = 5;
/// `lea -128(%rsp), %rsp`: below the stack a function that calls none may keep things.
const LEAVE: [u8; 5] = [0x48, 0x8d, 0x64, 0x24, 0x80];
/// `lea 128(%rsp), %rsp`.
const COME: [u8; 8] = [0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0];

/// A jump from a place to another; none where it is too far.
pub(super) fn jump(from: usize, to: usize) -> Option<[u8; JUMP]> {
    let offset = i32::try_from(to.wrapping_sub(from + JUMP) as isize).ok()?;
    let [a, b, c, d] = offset.to_le_bytes();
    Some([0xe9, a, b, c, d])
}

/// Writes the stub that is to stand at `at`: the instructions, `enter` by its address that is at
/// `entry`, and on to `back`. Says how long it is.
pub(super) fn write(
    out: &mut [u8],
    at: usize,
    code: &[u8],
    entry: usize,
    back: usize,
) -> Option<usize> {
    let mut len = 0;
    let mut put = |bytes: &[u8]| {
        out.get_mut(len..len + bytes.len())?.copy_from_slice(bytes);
        len += bytes.len();
        Some(len)
    };
    put(code)?;
    let called = put(&LEAVE)? + CALL;
    put(&[0xff, 0x15])?;
    put(&i32::try_from(entry.wrapping_sub(at + called) as isize).ok()?.to_le_bytes())?;
    let jumps = put(&COME)?;
    put(&jump(at + jumps, back)?)
}

/// Bytes of memory for the registers that XSAVE keeps (Intel's manual, volume 1, 13.4), with
/// those of AVX-512: more than any processor wants for these.
const SAVED: usize = 2816;
/// What is saved: those that functions may use. None of ours uses tiles.
const WHICH: u32 = 0xe7;

/// Keeps what a system call keeps: all but rax, rcx and r11.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn enter() {
    naked_asm!(
        "endbr64",
        "pushfq",
        "cld",
        "push rbp",
        "mov rbp, rsp",
        "push r9",
        "push r8",
        "push r10",
        "push rdx",
        "push rsi",
        "push rdi",
        "mov rdi, rax",
        "mov rsi, rsp",
        "sub rsp, {saved}",
        "and rsp, -64",
        // The header, which XSAVE wants to be nought where it does not write.
        "xor eax, eax",
        "mov [rsp + 512], rax",
        "mov [rsp + 520], rax",
        "mov [rsp + 528], rax",
        "mov [rsp + 536], rax",
        "mov [rsp + 544], rax",
        "mov [rsp + 552], rax",
        "mov [rsp + 560], rax",
        "mov [rsp + 568], rax",
        "xor edx, edx",
        "mov eax, {which}",
        "xsave64 [rsp]",
        "call {serve}",
        "mov rcx, rax",
        "xor edx, edx",
        "mov eax, {which}",
        "xrstor64 [rsp]",
        "mov rax, rcx",
        "lea rsp, [rbp - 48]",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop r10",
        "pop r8",
        "pop r9",
        "pop rbp",
        "popfq",
        "ret",
        saved = const SAVED,
        which = const WHICH,
        serve = sym serve,
    );
}

/// Serves a call as the kernel does: the error is in what it returns, and errno is not touched.
unsafe extern "C" fn serve(number: c_long, args: &[usize; 6]) -> isize {
    let [a, b, c, d, e, f] = *args;
    let before = errno();
    // SAFETY: the program's own call.
    let done = unsafe { syscall::route(number, a, b, c, d, e, f) } as isize;
    let done = match done {
        -1 => -(errno().0 as isize),
        fd if is_open(number) && READS_PAST.load(Ordering::Relaxed) => readable(fd as c_int),
        done => done,
    };
    set_errno(before);
    done
}

fn is_open(number: c_long) -> bool {
    matches!(number, libc::SYS_open | libc::SYS_openat | libc::SYS_openat2)
}

/// What is open on a server, and would be read past us, is refused: it would seem to be empty.
fn readable(fd: c_int) -> isize {
    if !PROCESS.is_virtual(fd) {
        return fd as isize;
    }
    let _ = descriptors::shut(fd);
    -(Errno::EOPNOTSUPP.0 as isize)
}
