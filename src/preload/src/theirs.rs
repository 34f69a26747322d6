//! Memory of the program's that we touch where the kernel would. What is not there
//! is EFAULT, as the kernel has it ([`privns_host::reach`]).

use core::slice;
use privns_abi::{Errno, Result};
use privns_host::reach;

/// What one call transfers at most (read(2), NOTES).
pub(crate) const LONGEST: usize = 0x7fff_f000;

/// A buffer of the program's. Whether it is there is asked when it is touched: a
/// file that ends before does not need it.
///
/// # Safety
/// That many bytes that may be written, or no memory at all.
pub(crate) unsafe fn room<'a>(at: usize, len: usize) -> Result<&'a mut [u8]> {
    match len {
        0 => Ok(&mut []),
        _ if len > isize::MAX as usize => Err(Errno::EINVAL),
        _ if at > isize::MAX as usize - len => Err(Errno::EFAULT),
        _ => {
            crate::mapping::heap_moved();
            // Null is no slice; the byte behind it is as little there.
            // SAFETY: the caller's promise.
            Ok(unsafe { slice::from_raw_parts_mut(at.max(1) as *mut u8, len.min(LONGEST)) })
        }
    }
}

/// So many values of the program's, all of which can be read.
///
/// # Safety
/// Bytes that may be read as that, or no memory at all.
pub(crate) unsafe fn given<'a, T>(at: usize, n: usize) -> Result<&'a [T]> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { room(at, n.saturating_mul(size_of::<T>())) }?;
    if reach::readable(bytes) < bytes.len() {
        return Err(Errno::EFAULT);
    }
    Ok(match n {
        0 => &[],
        // SAFETY: as above.
        n => unsafe { slice::from_raw_parts(bytes.as_ptr().cast(), n) },
    })
}

/// A variable of the program's for a result, all of which can be written.
///
/// # Safety
/// As [`given`], for writing; any bytes are a `T`.
pub(crate) unsafe fn result<'a, T>(at: usize) -> Result<&'a mut T> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { room(at, size_of::<T>()) }?;
    if reach::writable(bytes) < bytes.len() {
        return Err(Errno::EFAULT);
    }
    // SAFETY: as above.
    Ok(unsafe { &mut *bytes.as_mut_ptr().cast() })
}

/// Copies bytes to where the program wants them.
///
/// # Safety
/// Room for them, or no memory at all.
pub(crate) unsafe fn put(bytes: &[u8], to: usize) -> Result<()> {
    // SAFETY: the caller's promise.
    let room = unsafe { room(to, bytes.len()) }?;
    if reach::writable(room) < bytes.len() {
        return Err(Errno::EFAULT);
    }
    room.copy_from_slice(bytes);
    Ok(())
}
