//! Tags and fids of many connections on one, without any I/O.
//!
//! A client's fid is bound to one of ours when the request that makes it is
//! passed on, since clients send what depends on it right behind, and is let
//! go when the reply says that it was never made. A number of ours is used
//! again only when no request that names it is under way: a server that
//! answers out of order never meets an old use of a number in a new one.

use super::places::{Places, number, put, put_tag};
use super::proof::{Credential, Proof};
use crate::session::Answer;
use privns_abi::Errno;
use privns_ninep::dialect::{self, Agreed};
use privns_ninep::message::{
    Body, Request, Rerror, Rflush, Rlerror, Rversion, Rwalk, Tclunk, Tflush, Tversion, split,
};
use privns_ninep::mux::{Mux, Outcome};
use privns_ninep::pool::Pool;
use privns_ninep::wire::{Decoded, Malformed};
use privns_ninep::{Dialect, HEADER, MSIZE_MIN, NOFID, NOTAG};
use std::collections::HashMap;

/// Requests of all clients on their way at a time; the multiplexer has some
/// more tags, for flushes and clunks of ours.
const ON_THEIR_WAY: u32 = 960;
/// Bytes on their way upstream at which clients are not read from.
const UPSTREAM: usize = 2 << 20;
/// Bytes that replies to one client may take before it is read from again.
const OWED: usize = 8 << 20;
/// What a reply without a payload takes at most: a link's target, a stat
/// record.
const SMALL: usize = 8 << 10;

/// A client's connection.
pub(super) struct Local {
    /// Never used for another one.
    pub(super) id: u64,
    /// How often it has begun, by Tversion.
    begun: u32,
    agreed: Option<Agreed>,
    fids: HashMap<u32, u32>,
    /// Ours for theirs, and whether the request may be given up.
    tags: HashMap<u16, (u16, bool)>,
    /// Its user is being proven: what it asks next has to wait.
    pub(super) held: bool,
    /// Bytes that replies to come, and replies not sent yet, may take.
    owed: usize,
    /// Frames to be sent to it, each with what it was owed for.
    pub(super) replies: Vec<(Vec<u8>, usize)>,
}

/// What a reply means for a fid.
pub(super) enum Effect {
    Nothing,
    /// The client's number, ours, and how many names a walk to it has.
    Makes(u32, u32, Option<usize>),
    Ends(u32),
    /// A step on the way to an attach that waits.
    Proves(Box<Proof>),
}

/// A request on its way.
pub(super) struct Asked {
    /// Whose it is, and since which Tversion; `None` for one of ours.
    pub(super) client: Option<(u64, u32)>,
    pub(super) tag: u16,
    pub(super) uses: [Option<u32>; 2],
    pub(super) effect: Effect,
    pub(super) owed: usize,
}

/// A fid of ours.
#[derive(Clone, Copy, Default)]
struct Use {
    /// Requests that name it and were not answered.
    waiting: u32,
    /// It is not on the server any more.
    over: bool,
    /// Nobody wants it any more; to be clunked.
    left: bool,
}

/// The connection upstream.
pub(super) struct Switch {
    agreed: Agreed,
    mux: Mux<Asked>,
    pool: Pool,
    uses: Vec<Use>,
    /// Frames on their way upstream, of which the first bytes have gone.
    out: Vec<u8>,
    gone: usize,
    /// What makes a credential for whoever attaches, where the server wants one.
    pub(super) credential: Option<Credential>,
}

/// Those whose connections have not ended.
pub(super) trait Clients {
    /// The client of this number.
    fn find(&mut self, id: u64) -> Option<&mut Local>;
}

impl Local {
    pub(super) fn new(id: u64) -> Local {
        Local {
            id,
            begun: 0,
            agreed: None,
            fids: HashMap::new(),
            tags: HashMap::new(),
            held: false,
            owed: 0,
            replies: Vec::new(),
        }
    }

    /// Largest message that the client may send.
    pub(super) fn msize(&self) -> u32 {
        self.agreed.map_or(MSIZE_MIN, |a| a.msize)
    }

    pub(super) fn name(&self) -> (u64, u32) {
        (self.id, self.begun)
    }

    /// A reply that was owed for has been sent.
    pub(super) fn sent(&mut self, owed: usize) {
        self.owed = self.owed.saturating_sub(owed);
    }

    /// Nothing is asked and nothing waits to be sent.
    pub(super) fn is_idle(&self) -> bool {
        self.owed == 0
    }

    /// A reply of our own.
    pub(super) fn answer(
        &mut self,
        tag: u16,
        f: impl FnOnce(&mut Answer<'_>) -> Result<(), Errno>,
    ) {
        let mut out = Vec::new();
        let dialect = self.agreed.map_or(Dialect::Base, |a| a.dialect);
        let mut answer = Answer::new(&mut out, tag, dialect, self.msize());
        if let Err(e) = f(&mut answer) {
            answer.fail(e);
        }
        // Our own count too: a client that sends nonsense and does not read
        // is to be stopped as well.
        self.owed += SMALL;
        self.replies.push((out, SMALL));
    }
}

impl Switch {
    pub(super) fn new(agreed: Agreed, credential: Option<Credential>) -> Switch {
        let (pool, uses) = (Pool::new(NOFID), Vec::new());
        Switch { agreed, mux: Mux::default(), pool, uses, out: Vec::new(), gone: 0, credential }
    }

    /// What has to go upstream.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.out[self.gone..]
    }

    /// So much of it has gone.
    pub(super) fn sent(&mut self, n: usize) {
        self.gone += n;
        if self.gone == self.out.len() || self.gone >= UPSTREAM {
            self.out.drain(..self.gone);
            self.gone = 0;
        }
    }

    /// Gives memory back.
    pub(super) fn relax(&mut self) {
        if self.unsent().is_empty() {
            (self.out, self.gone) = (Vec::new(), 0);
        }
    }

    /// True when a further request of this client can be taken.
    pub(super) fn has_room(&self, local: &Local) -> bool {
        let upstream = self.unsent().len() < UPSTREAM && self.mux.in_flight() < ON_THEIR_WAY;
        upstream && local.owed < OWED && !local.held
    }

    /// Passes a request on, or answers it.
    ///
    /// # Errors
    /// When the frame is not to be understood: the connection has to end.
    pub(super) fn request(&mut self, local: &mut Local, frame: &[u8]) -> Decoded<()> {
        let (kind, tag, body) = split(frame)?;
        let dialect = local.agreed.map_or(Dialect::Base, |a| a.dialect);
        let known = Request::TYPES.iter().any(|(k, which)| *k == kind && which.has(dialect));
        let request = if known { Some(Request::decode(kind, body, dialect)?) } else { None };
        let version = matches!(request, Some(Request::Tversion(_)));
        let reused = local.tags.contains_key(&tag);
        if (local.agreed.is_none() && !version) || (version != (tag == NOTAG)) || reused {
            return Err(Malformed);
        }
        match request {
            Some(Request::Tversion(m)) => self.version(local, &m),
            Some(Request::Tflush(m)) => self.flush(local, tag, m.oldtag),
            // Whoever may connect to us has been told by the kernel.
            Some(Request::Tauth(_)) => local.answer(tag, |_| Err(Errno::ENOENT)),
            Some(Request::Tattach(m)) if m.afid != NOFID => {
                local.answer(tag, |_| Err(Errno::EBADF));
            }
            Some(Request::Tattach(m)) if self.credential.is_some() => {
                self.prove(local, tag, frame, &m);
            }
            Some(request) => {
                if let Err(e) = self.pass(local, tag, frame, &request, None) {
                    local.answer(tag, |_| Err(e));
                }
            }
            None => local.answer(tag, |_| Err(Errno::EOPNOTSUPP)),
        }
        Ok(())
    }

    /// The client gets what upstream has, and no better: it cannot be
    /// promised an order that the server does not keep.
    fn version(&mut self, local: &mut Local, m: &Tversion<'_>) {
        self.forget(local);
        local.begun = local.begun.wrapping_add(1);
        local.held = false;
        let up = self.agreed;
        let asked = dialect::answer(m.version, m.msize).filter(|(a, _)| a.dialect >= up.dialect);
        let settled = asked.map(|(asked, version)| {
            let ours = asked.ours && up.ours;
            let version = if ours { version } else { up.dialect.version() };
            (Agreed { msize: asked.msize.min(up.msize), dialect: up.dialect, ours }, version)
        });
        local.agreed = settled.map(|(agreed, _)| agreed);
        let (msize, version) = match settled {
            Some((agreed, version)) => (agreed.msize, version),
            None => (m.msize.min(MSIZE_MIN), dialect::UNKNOWN),
        };
        local.answer(NOTAG, |a| a.send(&Rversion { msize, version }));
    }

    fn flush(&mut self, local: &mut Local, tag: u16, old: u16) {
        let asked = Asked {
            client: Some(local.name()),
            tag,
            uses: [None; 2],
            effect: Effect::Nothing,
            owed: SMALL,
        };
        let up = local.tags.get(&old).map(|(up, _)| *up);
        match up.and_then(|up| Some((up, self.mux.begin_flush(up, asked)?))) {
            Some((up, flush)) => {
                local.owed += SMALL;
                local.tags.insert(tag, (flush, false));
                self.send(flush, &Tflush { oldtag: up });
            }
            // Answered before, or never asked.
            None => local.answer(tag, |a| a.send(&Rflush {})),
        }
    }

    /// Passes a request on; an attach with an afid of ours, which stands in it
    /// already.
    pub(super) fn pass(
        &mut self,
        local: &mut Local,
        tag: u16,
        frame: &[u8],
        request: &Request<'_>,
        afid: Option<u32>,
    ) -> Result<(), Errno> {
        let places = Places::of(request);
        let mut uses = [afid, None];
        for (used, at) in uses.iter_mut().zip(places.uses) {
            if let Some(at) = at {
                *used = Some(*local.fids.get(&number(frame, at)).ok_or(Errno::EBADF)?);
            }
        }
        let made = places.makes.map(|at| number(frame, at));
        if made.is_some_and(|fid| fid == NOFID || local.fids.contains_key(&fid)) {
            return Err(Errno::EBADF);
        }
        let names = match request {
            Request::Twalk(m) => Some(m.names.as_slice().len()),
            _ => None,
        };
        let mut effect = Effect::Nothing;
        if let Some(fid) = made {
            let ours = self.new_fid()?;
            local.fids.insert(fid, ours);
            effect = Effect::Makes(fid, ours, names);
        }
        if let (true, Some(ours)) = (places.ends, uses[0]) {
            local.fids.remove(&number(frame, HEADER));
            effect = Effect::Ends(ours);
        }
        let room = local.msize().saturating_sub(HEADER as u32 + 4);
        let count = places.count.map(|at| (at, number(frame, at).min(room)));
        let owed = count.map_or(SMALL, |(_, count)| SMALL + count as usize);
        let at = self.out.len();
        self.out.extend_from_slice(frame);
        let asked = Asked { client: Some(local.name()), tag, uses, effect, owed };
        let made = match asked.effect {
            Effect::Makes(_, ours, _) => places.makes.map(|at| (at, ours)),
            _ => None,
        };
        let Some(up) = self.begin(asked) else {
            self.out.truncate(at);
            return Err(Errno::EIO);
        };
        local.tags.insert(tag, (up, matches!(request, Request::Tread(_))));
        local.owed += owed;
        let sent = &mut self.out[at..];
        put_tag(sent, up);
        let named = places.uses.iter().zip(uses).filter_map(|(at, ours)| at.zip(ours));
        for (at, value) in named.chain(made).chain(count) {
            put(sent, at, value);
        }
        Ok(())
    }

    pub(super) fn new_fid(&mut self) -> Result<u32, Errno> {
        let fid = self.pool.take().ok_or(Errno::EMFILE)?;
        let at = fid as usize;
        if self.uses.len() <= at {
            self.uses.resize(at + 1, Use::default());
        }
        self.uses[at] = Use::default();
        Ok(fid)
    }

    /// A tag for a request; `None` only when the connection has failed.
    pub(super) fn begin(&mut self, asked: Asked) -> Option<u16> {
        let named = asked.uses.into_iter().flatten().chain(asked.effect.fid());
        for fid in named {
            self.uses[fid as usize].waiting += 1;
        }
        let tag = self.mux.begin(asked).ok().flatten()?;
        // Whoever asked is found by what is kept with the tag.
        self.mux.desert(tag);
        Some(tag)
    }

    pub(super) fn send<'b>(&mut self, tag: u16, body: &impl Body<'b>) {
        let sent = body.append(tag, self.agreed.dialect, 0, &mut self.out);
        debug_assert!(sent.is_ok(), "it has no strings");
    }

    pub(super) const fn dialect(&self) -> Dialect {
        self.agreed.dialect
    }

    /// Nobody wants this fid of ours any more.
    pub(super) fn leave(&mut self, fid: u32) {
        self.uses[fid as usize].left = true;
        self.settle(fid);
    }

    /// Clunks a fid that was left, or gives its number back, once nothing is
    /// under way that names it.
    fn settle(&mut self, fid: u32) {
        let used = &mut self.uses[fid as usize];
        if used.waiting > 0 {
            return;
        }
        if used.over {
            *used = Use::default();
            self.pool.give(fid);
        } else if used.left {
            let effect = Effect::Ends(fid);
            let asked = Asked { client: None, tag: NOTAG, uses: [None; 2], effect, owed: 0 };
            if let Some(tag) = self.begin(asked) {
                self.send(tag, &Tclunk { fid });
            }
        }
    }

    /// Gives up all that a client has, as at the end of its connection. What
    /// it wrote is written; a read may wait for ever.
    pub(super) fn forget(&mut self, local: &mut Local) {
        for (_, (up, _)) in local.tags.drain().filter(|(_, (_, idle))| *idle) {
            let none = [None; 2];
            let effect = Effect::Nothing;
            let asked = Asked { client: None, tag: NOTAG, uses: none, effect, owed: 0 };
            if let Some(flush) = self.mux.begin_flush(up, asked) {
                self.send(flush, &Tflush { oldtag: up });
            }
        }
        for (_, fid) in local.fids.drain() {
            self.leave(fid);
        }
    }

    /// Takes a reply in.
    ///
    /// # Errors
    /// When it is no answer to anything: the server cannot be trusted.
    pub(super) fn reply(&mut self, frame: Vec<u8>, clients: &mut impl Clients) -> Decoded<()> {
        let (_, tag, _) = split(&frame)?;
        self.mux.arrived(tag, frame)?;
        while let Some((asked, outcome)) = self.mux.next_late() {
            let local = asked.client.and_then(|(id, _)| clients.find(id));
            self.finish(asked, outcome, local)?;
        }
        Ok(())
    }

    fn finish(
        &mut self,
        asked: Asked,
        outcome: Outcome,
        mut local: Option<&mut Local>,
    ) -> Decoded<()> {
        let frame = match outcome {
            Outcome::Reply(frame) => Some(frame),
            Outcome::Flushed => None,
        };
        let came = Came::of(frame.as_deref())?;
        for fid in asked.uses.into_iter().flatten().chain(asked.effect.fid()) {
            self.uses[fid as usize].waiting -= 1;
        }
        if let Effect::Proves(proof) = asked.effect {
            self.proved(*proof, frame, local.filter(|l| asked.client == Some(l.name())));
            return Ok(());
        }
        match asked.effect {
            Effect::Makes(theirs, ours, names) if !came.made(names) => {
                if let Some(local) = &mut local
                    && local.fids.get(&theirs) == Some(&ours)
                {
                    local.fids.remove(&theirs);
                }
                // After a short walk some servers have bound the fid.
                let used = &mut self.uses[ours as usize];
                used.over = !matches!(came, Came::Walked(_));
                used.left = true;
            }
            Effect::Ends(fid) => {
                let used = &mut self.uses[fid as usize];
                used.over = !matches!(came, Came::Flushed);
                used.left = true;
            }
            _ => {}
        }
        for fid in asked.uses.into_iter().flatten().chain(asked.effect.fid()) {
            self.settle(fid);
        }
        let Some(local) = local else { return Ok(()) };
        let current = asked.client == Some(local.name());
        match frame {
            Some(mut frame) if current && frame.len() <= local.msize() as usize => {
                put_tag(&mut frame, asked.tag);
                local.replies.push((frame, asked.owed));
            }
            frame => {
                local.sent(asked.owed);
                if current && frame.is_some() {
                    local.answer(asked.tag, |_| Err(Errno::EMSGSIZE));
                }
            }
        }
        if current {
            local.tags.remove(&asked.tag);
        }
        Ok(())
    }
}

impl Effect {
    /// The fid that it is about.
    fn fid(&self) -> Option<u32> {
        match *self {
            Effect::Nothing | Effect::Proves(_) => None,
            Effect::Makes(_, ours, _) | Effect::Ends(ours) => Some(ours),
        }
    }
}

/// What became of a request.
enum Came {
    Flushed,
    Failed,
    Walked(usize),
    Done,
}

impl Came {
    fn of(frame: Option<&[u8]>) -> Decoded<Came> {
        let Some(frame) = frame else { return Ok(Came::Flushed) };
        let (kind, _, body) = split(frame)?;
        Ok(match kind {
            // Rerror stands for an error in 9P2000.L too: ganesha sends it.
            Rlerror::TYPE | Rerror::TYPE => Came::Failed,
            Rwalk::TYPE => {
                let count = body.first_chunk::<2>().ok_or(Malformed)?;
                Came::Walked(u16::from_le_bytes(*count).into())
            }
            _ => Came::Done,
        })
    }

    /// Whether a fid was made, by a walk of so many names or otherwise.
    fn made(&self, names: Option<usize>) -> bool {
        match self {
            Came::Flushed | Came::Failed => false,
            Came::Walked(found) => names == Some(*found),
            Came::Done => names.is_none(),
        }
    }
}
