//! Extended attributes (xattr(7)), which only 9P2000.L has.

use super::data::WriteHead;
use super::{Client, Fid, Late, Monitor, State, Transport};
use crate::message::{Rread, Rxattrwalk, Tclunk, Tread, Txattrcreate, Txattrwalk};
use crate::{Errno, Result};
use alloc::vec::Vec;

/// Values of extended attributes and lists of their names (xattr(7)).
const XATTR_MAX: u64 = 65_536;

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// The value of an extended attribute; empty name: the list of names,
    /// each ended by NUL.
    ///
    /// # Errors
    /// ENODATA when there is none; EOPNOTSUPP in 9P2000 and .u.
    pub fn xattr(&self, fid: &Fid, name: &[u8]) -> Result<Vec<u8>> {
        self.only_linux()?;
        let newfid = self.new_fid()?;
        let body = Txattrwalk { fid: fid.0, newfid, name };
        let frame = self.call(&body, Late::Clunk(newfid))?;
        let value = self.reply::<Rxattrwalk>(&frame).and_then(|r| {
            if r.size > XATTR_MAX {
                self.distrust()
            } else {
                self.read_all(newfid, r.size as usize)
            }
        });
        self.drop_fid(newfid);
        value
    }

    fn read_all(&self, fid: u32, size: usize) -> Result<Vec<u8>> {
        let mut value = Vec::new();
        while value.len() < size {
            let count = self.payload(0).min((size - value.len()) as u32);
            let body = Tread { fid, offset: value.len() as u64, count };
            let frame = self.call(&body, Late::Nothing)?;
            let data = self.reply::<Rread<'_>>(&frame)?.data.0;
            match data.len() {
                0 => break,
                n if n > count as usize => return self.distrust(),
                _ => value.extend_from_slice(data),
            }
        }
        Ok(value)
    }

    /// Sets an extended attribute; `flags` as setxattr(2). An empty value
    /// with XATTR_REPLACE removes it, which is how Linux says that in 9P.
    ///
    /// # Errors
    /// The server's; EOPNOTSUPP in 9P2000 and .u.
    pub fn set_xattr(&self, fid: &Fid, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.only_linux()?;
        let (clone, _) = self.walk(fid, &[])?;
        let body = Txattrcreate { fid: clone.0, name, size: value.len() as u64, flags };
        let written = self.done(&body, Late::Nothing).and_then(|()| self.write_all(clone.0, value));
        // The attribute is set by the clunk, whose answer counts.
        let clunked = self.done(&Tclunk { fid: clone.0 }, Late::Release(clone.0));
        written.and(clunked)
    }

    fn write_all(&self, fid: u32, mut value: &[u8]) -> Result<()> {
        let mut offset = 0;
        while !value.is_empty() {
            let n = value.len().min(self.payload(0) as usize);
            let head = WriteHead { fid, offset, count: n as u32 };
            let pending = self.post(&head, &value[..n], Late::Nothing)?;
            match self.end_write(pending, n)? {
                0 => return Err(Errno::EIO),
                n => value = &value[n..],
            }
            offset += n as u64;
        }
        Ok(())
    }
}
