//! Attaching to a server that wants a credential: Tauth, Twrite, Tattach.
//!
//! The client's attach waits, and what it asks after it too, while a
//! credential is written on an afid of ours.

use super::places::put;
use super::switch::{Asked, Effect, Local, Switch};
use privns_abi::Errno;
use privns_ninep::message::{Body, Rauth, Request, Rlerror, Rwrite, Tattach, Tauth, Twrite, split};
use privns_ninep::wire::{Data, Reader};
use privns_ninep::{Dialect, HEADER, error};
use std::io;

/// Makes a credential for this process's user.
pub(super) type Credential = fn() -> io::Result<Vec<u8>>;

/// An attach that waits.
pub(super) struct Proof {
    /// The client's frame.
    attach: Vec<u8>,
    tag: u16,
    afid: u32,
    /// Bytes of the credential, once it was sent.
    sent: Option<usize>,
}

/// Where an afid stands in Tattach.
const AFID: usize = HEADER + 4;

impl Switch {
    pub(super) fn prove(&mut self, local: &mut Local, tag: u16, frame: &[u8], m: &Tattach<'_>) {
        let afid = match self.new_fid() {
            Ok(afid) => afid,
            Err(e) => return local.answer(tag, |_| Err(e)),
        };
        let body = Tauth { afid, uname: m.uname, aname: m.aname, n_uname: m.n_uname };
        local.held = true;
        self.step(local, Proof { attach: frame.to_vec(), tag, afid, sent: None }, &body);
    }

    fn step<'b>(&mut self, local: &mut Local, proof: Proof, body: &impl Body<'b>) {
        let (tag, afid) = (proof.tag, proof.afid);
        let asked = Asked {
            client: Some(local.name()),
            tag,
            uses: [Some(afid), None],
            effect: Effect::Proves(Box::new(proof)),
            owed: 0,
        };
        match self.begin(asked) {
            Some(tag) => self.send(tag, body),
            None => self.refuse(local, tag, afid, Errno::EIO),
        }
    }

    fn refuse(&mut self, local: &mut Local, tag: u16, afid: u32, e: Errno) {
        local.held = false;
        local.answer(tag, |_| Err(e));
        self.leave(afid);
    }

    /// Goes on after a step, unless the client has gone.
    pub(super) fn proved(
        &mut self,
        proof: Proof,
        reply: Option<Vec<u8>>,
        local: Option<&mut Local>,
    ) {
        let Some(local) = local else { return self.leave(proof.afid) };
        let (tag, afid) = (proof.tag, proof.afid);
        let reply = reply.unwrap_or_default();
        match (answer(&reply, self.dialect()), proof.sent) {
            (Answered::Yes, None) => match self.credential.map(|make| make()) {
                Some(Ok(text)) => {
                    let sent = Some(text.len());
                    let body = Twrite { fid: afid, offset: 0, data: Data(&text) };
                    self.step(local, Proof { sent, ..proof }, &body);
                }
                _ => self.refuse(local, tag, afid, Errno::EPERM),
            },
            (Answered::Took(n), Some(sent)) if n == sent => self.attach(local, &proof),
            (Answered::No(e), _) => self.refuse(local, tag, afid, e),
            _ => self.refuse(local, tag, afid, Errno::EPERM),
        }
    }

    fn attach(&mut self, local: &mut Local, proof: &Proof) {
        local.held = false;
        let mut frame = proof.attach.clone();
        put(&mut frame, AFID, proof.afid);
        // It was decoded when it came.
        let decoded = split(&proof.attach)
            .and_then(|(kind, _, body)| Request::decode(kind, body, self.dialect()));
        let passed = match &decoded {
            Ok(request) => self.pass(local, proof.tag, &frame, request, Some(proof.afid)),
            Err(_) => Err(Errno::EIO),
        };
        match passed {
            // The afid goes when the attach has been answered.
            Ok(()) => self.leave(proof.afid),
            Err(e) => self.refuse(local, proof.tag, proof.afid, e),
        }
    }
}

/// What a server said to a step.
enum Answered {
    Yes,
    Took(usize),
    No(Errno),
}

fn answer(reply: &[u8], dialect: Dialect) -> Answered {
    let no = Answered::No(Errno::EPERM);
    let Ok((kind, _, body)) = split(reply) else { return no };
    let mut reader = Reader::new(body, dialect);
    match kind {
        Rauth::TYPE => Answered::Yes,
        Rwrite::TYPE => reader.get::<Rwrite>().map_or(no, |r| Answered::Took(r.count as usize)),
        Rlerror::TYPE => {
            reader.get::<Rlerror>().map_or(no, |r| Answered::No(error::from_code(r.code)))
        }
        _ => no,
    }
}
