//! The beginning of a connection: which dialect, who, which tree.

use super::{Client, Fid, Late, Monitor, Options, Ready, State, Transport};
use crate::attr::Qid;
use crate::dialect::{Agreed, accept};
use crate::frame::Framer;
use crate::message::{Body, Rattach, Rauth, Rversion, Tattach, Tauth, Tversion, split};
use crate::wire::{Reader, Unix};
use crate::{Dialect, Errno, IO_HEADER, MSIZE_MAX, MSIZE_MIN, NOFID, NOTAG, Result};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

/// Tversion and its answer, before there is anybody else on the connection.
struct Negotiation<'t, T> {
    transport: &'t T,
    framer: Framer,
    deadline: Duration,
    msize: u32,
    /// The server said no in the way that ganesha does.
    old_error: bool,
    /// How long the quickest answer took.
    delay: Duration,
}

impl<T: Transport> Negotiation<'_, T> {
    /// Tries one offer. `None`: the server does not know it.
    fn offer(&mut self, version: &[u8]) -> Result<Option<Agreed>> {
        let mut frame = Vec::new();
        Tversion { msize: self.msize, version }.frame(NOTAG, Dialect::Base, 0, &mut frame)?;
        let asked = self.transport.now();
        self.send(&frame)?;
        let reply = self.receive()?;
        self.delay = self.delay.min(self.transport.now().saturating_sub(asked));
        let (kind, tag, body) = split(&reply)?;
        if tag != NOTAG {
            return Err(Errno::EPROTO);
        }
        match kind {
            // Rlerror, or Rerror in whatever form: diod and ganesha say so.
            7 => Ok(None),
            107 => {
                self.old_error = true;
                Ok(None)
            }
            Rversion::TYPE => {
                let r: Rversion<'_> = Reader::new(body, Dialect::Base).get()?;
                accept(version, self.msize, r.version, r.msize)
            }
            _ => Err(Errno::EPROTO),
        }
    }

    fn wait(&self, read: bool) -> Result<()> {
        let left = self.deadline.saturating_sub(self.transport.now());
        self.transport.wait(Ready { read, write: !read }, left).map(|_| ())
    }

    fn send(&self, frame: &[u8]) -> Result<()> {
        let mut sent = 0;
        while sent < frame.len() {
            match self.transport.send(&[&frame[sent..]]) {
                Ok(n) => sent += n,
                Err(Errno::EAGAIN) => self.wait(false)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(message) = self.framer.next_message()? {
                return Ok(message);
            }
            match self.transport.recv(self.framer.space()?) {
                Ok(0) => return Err(Errno::ECONNRESET),
                Ok(n) => self.framer.filled(n),
                Err(Errno::EAGAIN) => self.wait(true)?,
                Err(e) => return Err(e),
            }
        }
    }

    /// The best dialect that both have.
    fn settle(&mut self, offers: &[&[u8]]) -> Result<Agreed> {
        // The offer to which the server said 9P2000, and what the last offer,
        // which is the one that counts, has come to.
        let (mut base, mut last) = (None, None);
        for &offer in offers {
            // A server that strips extensions says 9P2000 to an offer of .L;
            // it may still have .u, for which it is asked by name.
            if base.is_some() && offer != Dialect::Unix.version() {
                continue;
            }
            last = self.offer(offer)?;
            match last {
                Some(agreed) if agreed.dialect == Dialect::Base => base = Some(offer),
                Some(agreed) => return Ok(agreed),
                None => {}
            }
        }
        match (last, base) {
            (Some(agreed), _) => Ok(agreed),
            (None, Some(base)) => self.offer(base)?.ok_or(Errno::EPROTO),
            (None, None) => Err(Errno::EPROTONOSUPPORT),
        }
    }
}

/// Numbers connections, so that what belongs to one is not taken to another.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// Payload that ganesha is asked for at most. Version 4.3 agrees to messages
/// of 1 MiB and ends with SIGSEGV when it is to read 96 KiB at once; it is the
/// one server known to refuse an offer of 9P2000.L with Rerror.
const FRAGILE: u32 = 64 << 10;

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// Agrees with the server on a dialect and a message size. `monitor`
    /// makes the monitor from the first state.
    ///
    /// # Errors
    /// EPROTONOSUPPORT when there is no dialect in common, EPROTO for a server
    /// that does not speak 9P, ETIMEDOUT, ECONNRESET.
    pub fn start(
        transport: T,
        options: &Options<'_>,
        monitor: impl FnOnce(State) -> M,
    ) -> Result<Self> {
        let msize = options.msize.clamp(MSIZE_MIN, MSIZE_MAX);
        let deadline = transport.now().saturating_add(options.timeout);
        let framer = Framer::new(MSIZE_MIN);
        let mut negotiation = Negotiation {
            transport: &transport,
            framer,
            deadline,
            msize,
            old_error: false,
            delay: Duration::MAX,
        };
        let agreed = negotiation.settle(options.offers)?;
        let delay = negotiation.delay;
        let fragile = negotiation.old_error && agreed.dialect == Dialect::Linux;
        let largest = if fragile { FRAGILE } else { agreed.msize - IO_HEADER };
        let largest = largest.min(agreed.msize - IO_HEADER);
        if !negotiation.framer.is_empty() {
            return Err(Errno::EPROTO);
        }
        let monitor = monitor(State::new(agreed.msize, agreed.dialect));
        let Options { timeout, grace, window, .. } = *options;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let (dead, blurs) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Client {
            transport,
            monitor,
            agreed,
            largest,
            timeout,
            grace,
            window,
            delay,
            serial,
            dead,
            blurs,
        })
    }

    /// Binds a fid to the root of the tree `aname` as user `uname`, whose
    /// number is `uid` ([`crate::NONUM`]: by name alone).
    ///
    /// # Errors
    /// The server's; EPERM where it wants a proof first.
    pub fn attach(&self, uname: &[u8], uid: u32, aname: &[u8]) -> Result<(Fid, Qid)> {
        self.attach_with(NOFID, uname, uid, aname)
    }

    /// As [`Client::attach`], with the fid of [`Client::auth`] on which the
    /// server has accepted a proof.
    ///
    /// # Errors
    /// The server's.
    pub fn attach_proven(
        &self,
        proof: &Fid,
        uname: &[u8],
        uid: u32,
        aname: &[u8],
    ) -> Result<(Fid, Qid)> {
        self.attach_with(proof.0, uname, uid, aname)
    }

    fn attach_with(&self, afid: u32, uname: &[u8], uid: u32, aname: &[u8]) -> Result<(Fid, Qid)> {
        let fid = self.new_fid()?;
        let body = Tattach { fid, afid, uname, aname, n_uname: Unix(uid) };
        let frame = self.call(&body, Late::Clunk(fid))?;
        let reply: Rattach = self.reply(&frame)?;
        Ok((Fid(fid), reply.qid))
    }

    /// A fid to read and write an authentication on.
    ///
    /// # Errors
    /// The server's; ENOENT, EOPNOTSUPP and others where it wants none.
    pub fn auth(&self, uname: &[u8], uid: u32, aname: &[u8]) -> Result<Fid> {
        let afid = self.new_fid()?;
        let body = Tauth { afid, uname, aname, n_uname: Unix(uid) };
        let frame = self.call(&body, Late::Clunk(afid))?;
        let _: Rauth = self.reply(&frame)?;
        Ok(Fid(afid))
    }

    pub(super) fn new_fid(&self) -> Result<u32> {
        self.with(|s| s.fids.take()).ok_or(Errno::EMFILE)
    }

    /// Reads a reply that has to be of one type.
    pub(super) fn reply<'f, R: Body<'f>>(&self, frame: &'f [u8]) -> Result<R> {
        let decoded = split(frame).and_then(|(kind, _, body)| {
            let mut r = Reader::new(body, self.agreed.dialect);
            let reply = r.get::<R>()?;
            if kind == R::TYPE && r.is_empty() { Ok(reply) } else { Err(crate::wire::Malformed) }
        });
        decoded.or_else(|_| self.distrust())
    }
}
