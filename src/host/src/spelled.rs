//! Names as programs spell them, read once.

use core::ffi::{CStr, c_char};

/// A program's name, and where its last component begins.
#[derive(Clone, Copy, Debug)]
pub struct Spelled<'a> {
    name: &'a CStr,
    base: usize,
}

impl<'a> Spelled<'a> {
    /// Reads the string, its length and its last slash in one pass: every call
    /// that takes a name begins with this.
    ///
    /// # Safety
    /// `at` is a C string that lives as long as the result.
    #[must_use]
    #[inline(always)]
    pub unsafe fn read(at: *const c_char) -> Spelled<'a> {
        // SAFETY: the caller's: a string with its NUL.
        unsafe {
            let (len, base) = scan(at.cast());
            let bytes = core::slice::from_raw_parts(at.cast::<u8>(), len + 1);
            Spelled { name: CStr::from_bytes_with_nul_unchecked(bytes), base }
        }
    }

    /// The name.
    #[must_use]
    #[inline(always)]
    pub fn name(self) -> &'a CStr {
        self.name
    }

    /// The name up to its last slash, that included, and what follows; nothing
    /// comes first where there is no slash.
    #[must_use]
    #[inline(always)]
    pub fn split(self) -> (&'a [u8], &'a [u8]) {
        let bytes = self.name.to_bytes();
        bytes.split_at_checked(self.base).unwrap_or((&[], bytes))
    }
}

/// The length of a C string, and where what follows its last slash begins: 0
/// without one.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn scan(at: *const u8) -> (usize, usize) {
    use core::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_load_si128, _mm_movemask_epi8, _mm_set1_epi8,
        _mm_setzero_si128,
    };
    // SAFETY: sixteen bytes at a time, aligned: a block with a byte of the
    // string in it lies on that byte's page. What stands before and behind the
    // string is read and not looked at.
    unsafe {
        let before = at as usize % 16;
        let mut block = at.sub(before);
        let (zero, slash) = (_mm_setzero_si128(), _mm_set1_epi8(b'/' as i8));
        let found = |block: *const u8| {
            let bytes = _mm_load_si128(block.cast::<__m128i>());
            let ends = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, zero)) as u32;
            (ends, _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, slash)) as u32)
        };
        let (mut ends, mut slashes) = found(block);
        ends = ends >> before << before;
        slashes = slashes >> before << before;
        let mut base = at;
        while ends == 0 {
            if slashes != 0 {
                base = block.add(32 - slashes.leading_zeros() as usize);
            }
            block = block.add(16);
            (ends, slashes) = found(block);
        }
        // The slashes below the first end.
        slashes &= (ends & ends.wrapping_neg()).wrapping_sub(1);
        if slashes != 0 {
            base = block.add(32 - slashes.leading_zeros() as usize);
        }
        let end = block.add(ends.trailing_zeros() as usize);
        (end as usize - at as usize, base as usize - at as usize)
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
unsafe fn scan(at: *const u8) -> (usize, usize) {
    // SAFETY: the caller's: a string with its NUL.
    let bytes = unsafe { CStr::from_ptr(at.cast()) }.to_bytes();
    (bytes.len(), privns_abi::path::last_slash(bytes).map_or(0, |slash| slash + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_wherever_it_lies() {
        let texts: [&[u8]; 9] = [
            b"",
            b"/",
            b"a",
            b"a/",
            b"/usr/lib/x",
            b"//a//b//",
            b"fifteen-bytes-a",
            b"/sixteen-bytes-a/",
            b"/a/name/of/more/than/thirty-two/bytes/in/all",
        ];
        for text in texts {
            for shift in 0..17 {
                // Slashes on both sides, which are not the name's.
                let mut room = std::vec![b'/'; shift];
                room.extend_from_slice(text);
                room.push(0);
                room.extend_from_slice(b"//////////////////////////////////");
                // SAFETY: the string has just been written.
                let read = unsafe { Spelled::read(room.as_ptr().add(shift).cast()) };
                assert_eq!(read.name().to_bytes(), text);
                let base = text.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
                assert_eq!(read.split(), text.split_at(base), "{:?} {shift}", read.name());
            }
        }
    }
}
