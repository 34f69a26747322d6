//! Reading and writing, by one message: [`super::window`] and [`super::behind`] keep several on
//! their way.

use super::io::Taken;
use super::ops::Opened;
use super::{Client, Late, Monitor, Pending, State, Transport};
use crate::frame::READ_HEADER;
use crate::message::{Body, Rread, Rwrite, Tread, Twrite};
use crate::wire::{Decoded, Field, Reader, Writer};
use crate::{Errno, Result};
use alloc::vec::Vec;

/// What was taken of the answer to a read.
pub(super) struct Part {
    /// Bytes that are where they were wanted.
    pub(super) taken: usize,
    pub(super) rest: Rest,
}

/// Where the rest of such an answer is.
pub(super) enum Rest {
    None,
    /// In this memory, from there on.
    Here(Vec<u8>, usize),
    /// On its way: whose it is, and how long.
    Coming(Pending, usize),
}

/// Twrite without its payload, which is sent from where it lies.
pub(super) struct WriteHead {
    pub(super) fid: u32,
    pub(super) offset: u64,
    pub(super) count: u32,
}

impl<'a> Field<'a> for WriteHead {
    fn put(&self, w: &mut Writer<'_>) {
        w.put(&self.fid);
        w.put(&self.offset);
        w.put(&self.count);
    }
    fn get(r: &mut Reader<'a>) -> Decoded<Self> {
        Ok(WriteHead { fid: r.get()?, offset: r.get()?, count: r.get()? })
    }
}

impl<'a> Body<'a> for WriteHead {
    const TYPE: u8 = Twrite::TYPE;
}

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// Sends a read of up to `count` bytes; [`Client::end_read`] takes what
    /// came. Several may be under way.
    ///
    /// # Errors
    /// When it could not be sent.
    pub fn begin_read(&self, file: &Opened, offset: u64, count: usize) -> Result<Pending> {
        let count = file.iounit.min(u32::try_from(count).unwrap_or(u32::MAX));
        self.post(&Tread { fid: file.fid.0, offset, count }, &[], Late::Nothing)
    }

    /// Bytes read; 0: the end. `buf` is at least as long as what was asked; a
    /// large payload that comes in while it is us who wait goes straight into
    /// it.
    ///
    /// # Errors
    /// The server's; EIO when it sent more than was asked.
    pub fn end_read(&self, pending: Pending, buf: &mut [u8]) -> Result<usize> {
        let (mut next, mut done) = (Some((pending, buf.len())), 0);
        while let Some((pending, most)) = next {
            let part = self.take_read(pending, most, &mut buf[done..])?;
            done += part.taken;
            // Something is left to interrupted callers alone. One who then gets
            // no further learns what became of the request.
            next = match part.rest {
                Rest::Coming(pending, left) => Some((pending, left)),
                Rest::Here(..) => return self.distrust(),
                Rest::None => None,
            };
        }
        Ok(done)
    }

    /// Takes as much of the answer to a read of at most `most` bytes as `buf`
    /// holds, and leaves the rest where it is: less only to an interrupted
    /// caller.
    ///
    /// # Errors
    /// As [`Client::end_read`]; the request is over then.
    pub(super) fn take_read(&self, pending: Pending, most: usize, buf: &mut [u8]) -> Result<Part> {
        let taken = self.finish_into(pending, most, buf)?;
        self.part_of(taken, most, buf)
    }

    /// A read of which nothing is left to be done unless it is interrupted: as
    /// [`Client::begin_read`] and [`Client::take_read`].
    ///
    /// # Errors
    /// As these.
    pub(super) fn read_once(&self, file: &Opened, offset: u64, buf: &mut [u8]) -> Result<Part> {
        let count = u32::try_from(buf.len()).map_err(|_| Errno::EINVAL)?;
        let taken = self.ask_into(&Tread { fid: file.fid.0, offset, count }, buf)?;
        self.part_of(taken, buf.len(), buf)
    }

    fn part_of(&self, taken: Taken, most: usize, buf: &mut [u8]) -> Result<Part> {
        let mut frame = match taken {
            Taken::Filled(taken, None) => return Ok(Part { taken, rest: Rest::None }),
            Taken::Filled(taken, Some((pending, left))) => {
                return Ok(Part { taken, rest: Rest::Coming(pending, left) });
            }
            Taken::Frame(frame) => frame,
        };
        let (taken, left) = self.fill(&frame, most, buf)?;
        if left > 0 {
            return Ok(Part { taken, rest: Rest::Here(frame, READ_HEADER + taken) });
        }
        self.with(|s| s.spare = core::mem::take(&mut frame));
        Ok(Part { taken, rest: Rest::None })
    }

    /// Copies the payload of an answer, `most` bytes at most, as far as `buf`
    /// reaches: bytes copied, and bytes that are left.
    pub(super) fn fill(&self, frame: &[u8], most: usize, buf: &mut [u8]) -> Result<(usize, usize)> {
        let data = self.reply::<Rread<'_>>(frame)?.data.0;
        if data.len() > most {
            return self.distrust();
        }
        let n = data.len().min(buf.len());
        let n = self.transport.reaches(&buf[..n]);
        buf[..n].copy_from_slice(&data[..n]);
        Ok((n, data.len() - n))
    }

    /// Reads up to one message. Bytes read; 0: the end.
    ///
    /// # Errors
    /// As [`Client::end_read`].
    pub fn read(&self, file: &Opened, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let want = buf.len().min(file.iounit as usize);
        let pending = self.begin_read(file, offset, want)?;
        self.end_read(pending, &mut buf[..want])
    }

    /// Sends a write of as much of `data` as one message takes: how much, and
    /// the request. It has left this process when this returns.
    ///
    /// # Errors
    /// When it could not be sent.
    pub fn begin_write(&self, file: &Opened, offset: u64, data: &[u8]) -> Result<(usize, Pending)> {
        let n = data.len().min(file.iounit as usize);
        let head = WriteHead { fid: file.fid.0, offset, count: n as u32 };
        self.post(&head, &data[..n], Late::Nothing).map(|pending| (n, pending))
    }

    /// Bytes written, of `sent` that were sent.
    ///
    /// # Errors
    /// The server's; EIO when it claims more than was sent.
    pub fn end_write(&self, pending: Pending, sent: usize) -> Result<usize> {
        let frame = self.finish(pending)?;
        let count = self.reply::<Rwrite>(&frame)?.count as usize;
        if count > sent { self.distrust() } else { Ok(count) }
    }

    /// Writes up to one message. Bytes written.
    ///
    /// # Errors
    /// As [`Client::end_write`].
    pub fn write(&self, file: &Opened, offset: u64, data: &[u8]) -> Result<usize> {
        let (sent, pending) = self.begin_write(file, offset, data)?;
        self.end_write(pending, sent)
    }
}
