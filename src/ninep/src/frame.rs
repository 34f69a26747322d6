//! Cutting a stream of bytes into messages, without doing any I/O.

use crate::HEADER;
use crate::message::{Body, Rread};
use crate::wire::Malformed;
use alloc::vec::Vec;

/// How much is asked of the transport before the size of the next message is
/// known. Small answers then arrive several at a time.
const CHUNK: usize = 8192;

/// Rread before its payload: the header and the payload's count.
pub(crate) const READ_HEADER: usize = HEADER + 4;

/// Collects bytes and gives whole messages. It holds at most one message of
/// the largest size and one chunk.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    /// The bytes of `buffer` that came in and were not given out.
    start: usize,
    end: usize,
    largest: usize,
    /// Stands in for the buffer when that is handed out.
    spare: Vec<u8>,
}

impl Framer {
    /// A framer for messages of up to `largest` bytes.
    #[must_use]
    pub const fn new(largest: u32) -> Self {
        Framer {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            largest: largest as usize,
            spare: Vec::new(),
        }
    }

    /// Changes the largest size, after Tversion.
    pub const fn set_largest(&mut self, largest: u32) {
        self.largest = largest as usize;
    }

    /// Room for bytes that come in; [`Framer::filled`] says how many did.
    ///
    /// # Errors
    /// When the next message claims a size that it cannot have.
    pub fn space(&mut self) -> Result<&mut [u8], Malformed> {
        let want = self.size()?.unwrap_or(0).max(CHUNK);
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() < want || self.buffer.len() == self.end {
            self.buffer.resize(want.max(self.end + CHUNK), 0);
        }
        // Beyond the message that is awaited nothing is read when it is a
        // large one: it is then handed out without a copy.
        let limit = if want > CHUNK { want } else { self.buffer.len() };
        Ok(&mut self.buffer[self.end..limit])
    }

    /// Says that the first `n` bytes of [`Framer::space`] are filled.
    pub fn filled(&mut self, n: usize) {
        self.end = (self.end + n).min(self.buffer.len());
    }

    /// The size of the next message, once its first four bytes are here.
    fn size(&self) -> Result<Option<usize>, Malformed> {
        let Some(head) = self.buffer[self.start..self.end].first_chunk::<4>() else {
            return Ok(None);
        };
        let size = u32::from_le_bytes(*head) as usize;
        if (HEADER..=self.largest).contains(&size) { Ok(Some(size)) } else { Err(Malformed) }
    }

    /// The next whole message, `None` when more bytes are needed.
    ///
    /// # Errors
    /// When it claims a size that it cannot have.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        let Some(size) = self.size()?.filter(|n| *n <= self.end - self.start) else {
            return Ok(None);
        };
        if self.start == 0 && self.end == size && size > CHUNK {
            self.end = 0;
            let spare = core::mem::take(&mut self.spare);
            let mut message = core::mem::replace(&mut self.buffer, spare);
            message.truncate(size);
            return Ok(Some(message));
        }
        let message = self.buffer[self.start..self.start + size].to_vec();
        self.start += size;
        Ok(Some(message))
    }

    /// The next whole message without taking it out of the buffer, for a
    /// caller that is done with it before the next one.
    ///
    /// # Errors
    /// As [`Framer::next_message`].
    pub fn peek(&mut self) -> Result<Option<&[u8]>, Malformed> {
        let Some(size) = self.size()?.filter(|n| *n <= self.end - self.start) else {
            return Ok(None);
        };
        let at = self.start;
        self.start += size;
        Ok(Some(&self.buffer[at..at + size]))
    }

    /// The payload's size of the message at hand, if that is an Rread with
    /// this tag, whole or not, with a payload of `most` bytes or fewer. Anything
    /// else is left to [`Framer::next_message`].
    pub(crate) fn payload_of(&self, tag: u16, most: usize) -> Option<usize> {
        let here = &self.buffer[self.start..self.end];
        let head = here.first_chunk::<READ_HEADER>()?;
        let [s0, s1, s2, s3, kind, t0, t1, c0, c1, c2, c3] = *head;
        let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
        let count = u32::from_le_bytes([c0, c1, c2, c3]) as usize;
        let fits = size <= self.largest && count <= most;
        let whole = count.checked_add(READ_HEADER) == Some(size);
        let ours = kind == Rread::TYPE && u16::from_le_bytes([t0, t1]) == tag;
        (ours && whole && fits).then_some(count)
    }

    /// How much is here of the payload that [`Framer::payload_of`] has told of, and
    /// maybe of messages behind it.
    pub(crate) fn payload_here(&self) -> usize {
        (self.end - self.start).saturating_sub(READ_HEADER)
    }

    /// Takes what is here of the payload that [`Framer::payload_of`] has told
    /// of, as much as `buf` holds. How many bytes that is; the message is as
    /// much shorter from then on.
    pub(crate) fn take_payload(&mut self, buf: &mut [u8]) -> usize {
        let here = self.buffer.get(self.start + READ_HEADER..self.end).unwrap_or_default();
        let n = here.len().min(buf.len());
        buf[..n].copy_from_slice(&here[..n]);
        self.took_payload(n);
        n
    }

    /// Notes that so many bytes of that payload went elsewhere, all of them at
    /// most: what is left is a message of its own, or none.
    pub(crate) fn took_payload(&mut self, n: usize) {
        let Some(head) = self.buffer[self.start..self.end].first_chunk::<READ_HEADER>() else {
            return;
        };
        let [s0, s1, s2, s3, kind, t0, t1, ..] = *head;
        let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize - n;
        let here = (self.end - self.start - READ_HEADER).min(n);
        self.start += here;
        if size == READ_HEADER {
            self.start += READ_HEADER;
            return;
        }
        let head = &mut self.buffer[self.start..self.start + READ_HEADER];
        head[..4].copy_from_slice(&(size as u32).to_le_bytes());
        head[4..HEADER].copy_from_slice(&[kind, t0, t1]);
        head[HEADER..].copy_from_slice(&((size - READ_HEADER) as u32).to_le_bytes());
    }

    /// Takes memory that a message was in, for a later one: memory that was
    /// filled before need not be cleared again.
    pub fn reuse(&mut self, memory: Vec<u8>) {
        if memory.len() > self.spare.len() {
            self.spare = memory;
        }
    }

    /// Gives memory back, when nothing of a further message is here.
    pub fn relax(&mut self) {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            self.buffer = Vec::new();
        }
    }

    /// True while no byte of a further message is here.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of these sizes, fed `step` bytes at a time.
    fn through(sizes: &[usize], step: usize) -> Vec<Vec<u8>> {
        let mut stream = Vec::new();
        for (i, &size) in sizes.iter().enumerate() {
            stream.extend_from_slice(&(size as u32).to_le_bytes());
            stream.extend(core::iter::repeat_n(i as u8, size - 4));
        }
        let (mut framer, mut out, mut at) = (Framer::new(1 << 20), Vec::new(), 0);
        while at < stream.len() {
            let space = framer.space().unwrap();
            assert!(!space.is_empty());
            let n = space.len().min(step).min(stream.len() - at);
            space[..n].copy_from_slice(&stream[at..at + n]);
            framer.filled(n);
            at += n;
            while let Some(message) = framer.next_message().unwrap() {
                out.push(message);
            }
        }
        assert!(framer.is_empty());
        out
    }

    #[test]
    fn messages_come_out_whole_however_they_come_in() {
        let sizes = [7, 8, 9000, 7, 8192, 100_000, 8193, 7, 1 << 20, 11];
        for step in [1, 3, 4096, 8192, 1 << 21] {
            let got = through(&sizes, step);
            assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "step {step}");
            assert!(got.iter().enumerate().all(|(i, m)| m[4..].iter().all(|&b| b == i as u8)));
        }
    }

    #[test]
    fn sizes_that_lie_are_refused_before_memory_is_taken() {
        for size in [0u32, 6, (1 << 20) + 1, u32::MAX] {
            let mut framer = Framer::new(1 << 20);
            framer.space().unwrap()[..4].copy_from_slice(&size.to_le_bytes());
            framer.filled(4);
            assert_eq!(framer.next_message(), Err(Malformed));
            assert!(framer.space().is_err());
            assert!(framer.buffer.len() <= CHUNK);
        }
    }
}
