//! Bytes: little-endian numbers, counted strings, and the few compound fields
//! of the protocol (intro(5), stat(5), diod's `protocol.md`).
//!
//! A [`Reader`] is bounded by its frame: a count that points beyond it is
//! [`Malformed`], and nothing is allocated on a peer's word.

use crate::dialect::Dialect;
use crate::name::Name;
use crate::{Errno, WALK_MAX};
use alloc::vec::Vec;

/// The frame does not hold what its type says. The connection that it came
/// from cannot be trusted any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl From<Malformed> for Errno {
    fn from(_: Malformed) -> Errno {
        Errno::EIO
    }
}

/// Result of decoding.
pub type Decoded<T> = core::result::Result<T, Malformed>;

/// Takes fields from the body of one frame.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    dialect: Dialect,
}

impl<'a> Reader<'a> {
    /// A reader over `body`.
    #[must_use]
    pub const fn new(body: &'a [u8], dialect: Dialect) -> Self {
        Reader { rest: body, dialect }
    }

    /// The dialect that decides which fields are there.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// True when everything has been taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that have not been taken.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// When the frame has fewer.
    pub fn bytes(&mut self, n: usize) -> Decoded<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// One field.
    ///
    /// # Errors
    /// When the frame ends before it, or it is nonsense.
    pub fn get<T: Field<'a>>(&mut self) -> Decoded<T> {
        T::get(self)
    }
}

/// Appends fields to a frame.
#[derive(Debug)]
pub struct Writer<'v> {
    out: &'v mut Vec<u8>,
    dialect: Dialect,
    overflow: bool,
}

impl<'v> Writer<'v> {
    /// A writer at the end of `out`.
    pub const fn new(out: &'v mut Vec<u8>, dialect: Dialect) -> Self {
        Writer { out, dialect, overflow: false }
    }

    /// One field.
    pub fn put<'a, T: Field<'a>>(&mut self, field: &T) {
        field.put(self);
    }

    /// Bytes without a count.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Bytes before which their number stands in two bytes.
    fn counted16(&mut self, bytes: &[u8]) {
        match u16::try_from(bytes.len()) {
            Ok(n) => {
                self.put(&n);
                self.raw(bytes);
            }
            Err(_) => self.overflow = true,
        }
    }

    /// True when a string was too long for its two-byte count.
    #[must_use]
    pub const fn overflowed(&self) -> bool {
        self.overflow
    }
}

/// A field of a message: how it is written and read.
pub trait Field<'a>: Sized {
    /// Appends the field.
    fn put(&self, w: &mut Writer<'_>);
    /// Takes the field.
    ///
    /// # Errors
    /// When the frame does not hold one.
    fn get(r: &mut Reader<'a>) -> Decoded<Self>;
}

macro_rules! numbers {
    ($($t:ty)*) => {$(
        impl<'a> Field<'a> for $t {
            fn put(&self, w: &mut Writer<'_>) {
                w.raw(&self.to_le_bytes());
            }
            fn get(r: &mut Reader<'a>) -> Decoded<Self> {
                const N: usize = size_of::<$t>();
                let bytes = r.bytes(N)?.first_chunk::<N>().ok_or(Malformed)?;
                Ok(<$t>::from_le_bytes(*bytes))
            }
        }
    )*};
}
numbers! { u8 u16 u32 u64 }

/// A string, length in two bytes: text that is no file name (a user, an error).
impl<'a> Field<'a> for &'a [u8] {
    fn put(&self, w: &mut Writer<'_>) {
        w.counted16(self);
    }
    fn get(r: &mut Reader<'a>) -> Decoded<Self> {
        let n: u16 = r.get()?;
        r.bytes(n.into())
    }
}

impl<'a> Field<'a> for Name<'a> {
    fn put(&self, w: &mut Writer<'_>) {
        w.counted16(self.unchecked());
    }
    fn get(r: &mut Reader<'a>) -> Decoded<Self> {
        Ok(Name::new(r.get()?))
    }
}

/// A payload, length in four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Data<'a>(pub &'a [u8]);

impl<'a> Field<'a> for Data<'a> {
    fn put(&self, w: &mut Writer<'_>) {
        match u32::try_from(self.0.len()) {
            Ok(n) => {
                w.put(&n);
                w.raw(self.0);
            }
            Err(_) => w.overflow = true,
        }
    }
    fn get(r: &mut Reader<'a>) -> Decoded<Self> {
        let n: u32 = r.get()?;
        Ok(Data(r.bytes(n as usize)?))
    }
}

/// A field that 9P2000.u and 9P2000.L have and 9P2000 has not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unix<T>(pub T);

impl<'a, T: Field<'a> + Default> Field<'a> for Unix<T> {
    fn put(&self, w: &mut Writer<'_>) {
        if w.dialect != Dialect::Base {
            w.put(&self.0);
        }
    }
    fn get(r: &mut Reader<'a>) -> Decoded<Self> {
        match r.dialect {
            Dialect::Base => Ok(Unix(T::default())),
            _ => Ok(Unix(r.get()?)),
        }
    }
}

/// A last field that older writers leave out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Trailing<T>(pub T);

impl<'a, T: Field<'a> + Default> Field<'a> for Trailing<T> {
    fn put(&self, w: &mut Writer<'_>) {
        w.put(&self.0);
    }
    fn get(r: &mut Reader<'a>) -> Decoded<Self> {
        if r.is_empty() { Ok(Trailing(T::default())) } else { Ok(Trailing(r.get()?)) }
    }
}

/// A record before which its size stands in two bytes: a stat record has one
/// such count of its own, and inside a message a second one (stat(5)).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counted<T>(pub T);

impl<'a, T: Field<'a>> Field<'a> for Counted<T> {
    fn put(&self, w: &mut Writer<'_>) {
        let at = w.out.len();
        w.put(&0u16);
        w.put(&self.0);
        match u16::try_from(w.out.len() - at - 2) {
            Ok(n) => w.out[at..at + 2].copy_from_slice(&n.to_le_bytes()),
            Err(_) => w.overflow = true,
        }
    }
    fn get(r: &mut Reader<'a>) -> Decoded<Self> {
        let n: u16 = r.get()?;
        let mut inner = Reader::new(r.bytes(n.into())?, r.dialect);
        let value = inner.get()?;
        if inner.is_empty() { Ok(Counted(value)) } else { Err(Malformed) }
    }
}

/// Up to [`WALK_MAX`] items, their number in two bytes. Held in place, so that
/// a walk allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Few<T> {
    items: [T; WALK_MAX],
    len: usize,
}

impl<T: Copy + Default> Default for Few<T> {
    fn default() -> Self {
        Few { items: [T::default(); WALK_MAX], len: 0 }
    }
}

impl<T: Copy + Default> Few<T> {
    /// Adds an item; false when there are [`WALK_MAX`] already.
    pub fn push(&mut self, item: T) -> bool {
        let Some(slot) = self.items.get_mut(self.len) else { return false };
        *slot = item;
        self.len += 1;
        true
    }

    /// The items.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.items[..self.len]
    }
}

impl<'a, T: Field<'a> + Copy + Default> Field<'a> for Few<T> {
    fn put(&self, w: &mut Writer<'_>) {
        w.put(&(self.len as u16));
        for item in self.as_slice() {
            w.put(item);
        }
    }
    fn get(r: &mut Reader<'a>) -> Decoded<Self> {
        let n: u16 = r.get()?;
        let mut few = Few::default();
        for _ in 0..n {
            if !few.push(r.get()?) {
                return Err(Malformed);
            }
        }
        Ok(few)
    }
}
