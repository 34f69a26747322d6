//! What a file contains: pages, with holes between them, and what all of them
//! may take together.

use privns_abi::{Errno, Result};
use privns_ninep::client::Next;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes in a page.
pub(super) const PAGE: usize = 4096;
/// Largest file: what off_t can say.
const SIZE_MAX: u64 = i64::MAX as u64;

/// Memory in use and its limit, bytes.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    pub(super) const fn new(limit: u64) -> Self {
        Budget { limit, used: AtomicU64::new(0) }
    }

    /// Takes `bytes`, or nothing.
    ///
    /// # Errors
    /// ENOSPC at the limit.
    pub(super) fn take(&self, bytes: usize) -> Result<()> {
        let add = |used: u64| used.checked_add(bytes as u64).filter(|n| *n <= self.limit);
        self.used.fetch_update(Relaxed, Relaxed, add).map(|_| ()).map_err(|_| Errno::ENOSPC)
    }

    pub(super) fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes as u64, Relaxed);
    }

    /// Limit and use.
    pub(super) fn figures(&self) -> (u64, u64) {
        (self.limit, self.used.load(Relaxed))
    }
}

/// A file's contents.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    size: u64,
}

impl Pages {
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory in use.
    pub(super) fn taken(&self) -> usize {
        self.pages.len() * PAGE
    }

    /// Bytes read, fewer than asked only at the end.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let left = self.size.saturating_sub(offset);
        let n = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        for (number, within, part) in pieces(offset, n) {
            let to = &mut buf[part];
            match self.pages.get(&number) {
                Some(page) => to.copy_from_slice(&page[within..within + to.len()]),
                None => to.fill(0),
            }
        }
        n
    }

    /// Where the next data or the next hole begins: `from`, if that is in it. The
    /// end of the file is a hole; behind it is nothing.
    pub(super) fn next(&self, next: Next, from: u64) -> Option<u64> {
        if from >= self.size {
            return None;
        }
        let first = from / PAGE as u64;
        let mut data = self.pages.range(first..).map(|(number, _)| *number);
        let page = match next {
            Next::Data => data.next()?,
            Next::Hole => (first..).zip(data).find(|(at, data)| at != data).map_or_else(
                || self.pages.range(first..).next_back().map_or(first, |(last, _)| last + 1),
                |(hole, _)| hole,
            ),
        };
        let at = from.max(page.saturating_mul(PAGE as u64));
        match next {
            Next::Data => Some(at).filter(|at| *at < self.size),
            Next::Hole => Some(at.min(self.size)),
        }
    }

    /// Bytes written: all, or as many as there was room for.
    ///
    /// # Errors
    /// ENOSPC when there is room for none, EFBIG beyond the largest offset.
    pub(super) fn write(&mut self, offset: u64, data: &[u8], budget: &Budget) -> Result<usize> {
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= SIZE_MAX);
        end.ok_or(Errno::EFBIG)?;
        let mut done = 0;
        for (number, within, part) in pieces(offset, data.len()) {
            let page = match self.pages.entry(number) {
                std::collections::btree_map::Entry::Occupied(page) => page.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => match budget.take(PAGE) {
                    Ok(()) => place.insert(Box::new([0; PAGE])),
                    Err(e) if done == 0 => return Err(e),
                    Err(_) => break,
                },
            };
            page[within..within + part.len()].copy_from_slice(&data[part.clone()]);
            done = part.end;
        }
        if done > 0 {
            self.size = self.size.max(offset + done as u64);
        }
        Ok(done)
    }

    /// Cuts or extends; what is extended reads as zeros.
    ///
    /// # Errors
    /// EFBIG beyond the largest offset.
    pub(super) fn resize(&mut self, size: u64, budget: &Budget) -> Result<()> {
        if size > SIZE_MAX {
            return Err(Errno::EFBIG);
        }
        if size < self.size {
            let first = size.div_ceil(PAGE as u64);
            let cut = self.pages.split_off(&first);
            budget.give(cut.len() * PAGE);
            let within = (size % PAGE as u64) as usize;
            let last = self.pages.get_mut(&(size / PAGE as u64)).filter(|_| within > 0);
            if let Some(page) = last {
                page[within..].fill(0);
            }
        }
        self.size = size;
        Ok(())
    }
}

/// The pages that a range touches: page, first byte in it, part of the buffer.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let n = (PAGE - within).min(len - done);
        let part = done..done + n;
        done += n;
        Some((at / PAGE as u64, within, part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_as_a_vector_of_bytes() {
        let budget = Budget::new(1 << 20);
        let (mut pages, mut model) = (Pages::default(), Vec::new());
        let mut x = 88_172_645_463_325_252u64;
        for step in 0..2000 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let (at, len) = ((x >> 8) as usize % 40_000, (x >> 32) as usize % 9000);
            match x % 4 {
                0 => {
                    pages.resize(at as u64, &budget).unwrap();
                    model.resize(at, 0);
                }
                1 | 2 => {
                    let data = vec![step as u8; len];
                    assert_eq!(pages.write(at as u64, &data, &budget), Ok(len));
                    if len > 0 {
                        model.resize(model.len().max(at + len), 0);
                        model[at..at + len].copy_from_slice(&data);
                    }
                }
                _ => {
                    let mut buf = vec![0xaa; len];
                    let n = pages.read(at as u64, &mut buf);
                    let expected =
                        model.get(at..).map_or(&[][..], |rest| &rest[..len.min(rest.len())]);
                    assert_eq!(&buf[..n], expected);
                }
            }
            assert_eq!(pages.size(), model.len() as u64);
            assert_eq!(budget.figures().1, pages.taken() as u64);
        }
    }

    #[test]
    fn holes_are_what_was_never_written() {
        let (budget, page) = (Budget::new(1 << 20), PAGE as u64);
        let mut pages = Pages::default();
        assert_eq!([Next::Data, Next::Hole].map(|next| pages.next(next, 0)), [None; 2]);
        for (at, len) in [(2 * page, 2 * PAGE), (5 * page + 7, 1), (9 * page, 10)] {
            pages.write(at, &vec![1; len], &budget).unwrap();
        }
        let end = 9 * page + 10;
        let all = [
            (0, Some(2 * page), Some(0)),
            (page + 1, Some(2 * page), Some(page + 1)),
            (2 * page + 1, Some(2 * page + 1), Some(4 * page)),
            (3 * page, Some(3 * page), Some(4 * page)),
            (4 * page, Some(5 * page), Some(4 * page)),
            (5 * page, Some(5 * page), Some(6 * page)),
            (end - 1, Some(end - 1), Some(end)),
            (end, None, None),
            (u64::MAX, None, None),
        ];
        for (from, data, hole) in all {
            assert_eq!((pages.next(Next::Data, from), pages.next(Next::Hole, from)), (data, hole));
        }
        pages.resize(20 * page, &budget).unwrap();
        assert_eq!(pages.next(Next::Data, 10 * page), None);
        assert_eq!(pages.next(Next::Hole, 9 * page), Some(10 * page));
        assert_eq!(pages.next(Next::Hole, 20 * page - 1), Some(20 * page - 1));
    }

    #[test]
    fn the_limit_cuts_a_write_short_and_then_refuses() {
        let budget = Budget::new(2 * PAGE as u64);
        let mut pages = Pages::default();
        assert_eq!(pages.write(0, &vec![1; 3 * PAGE], &budget), Ok(2 * PAGE));
        assert_eq!(pages.write(2 * PAGE as u64, b"x", &budget), Err(Errno::ENOSPC));
        assert_eq!(pages.write(0, b"over what is there", &budget), Ok(18));
        pages.resize(0, &budget).unwrap();
        assert_eq!(budget.figures().1, 0);
    }

    #[test]
    fn offsets_beyond_the_largest() {
        let budget = Budget::new(1 << 20);
        let mut pages = Pages::default();
        assert_eq!(pages.write(u64::MAX, b"x", &budget), Err(Errno::EFBIG));
        assert_eq!(pages.write(SIZE_MAX, b"x", &budget), Err(Errno::EFBIG));
        assert_eq!(pages.resize(u64::MAX, &budget), Err(Errno::EFBIG));
        assert_eq!(pages.write(SIZE_MAX - 1, b"x", &budget), Ok(1));
        assert_eq!(pages.read(u64::MAX, &mut [0; 4]), 0);
    }
}
