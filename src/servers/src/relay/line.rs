//! A client's connection.

use super::switch::{Local, Switch};
use privns_ninep::frame::Framer;
use rustix::event::{PollFd, PollFlags};
use std::collections::VecDeque;
use std::io::{IoSlice, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

/// How often one client is read from before the others get a turn.
const ROUNDS: usize = 4;
/// Frames that leave in one call.
const PARTS: usize = 16;

pub(super) struct Line {
    socket: UnixStream,
    framer: Framer,
    pub(super) local: Local,
    /// Frames to be sent, each with what it was owed for.
    queue: VecDeque<(Vec<u8>, usize)>,
    /// Bytes of the first that have gone.
    sent: usize,
    /// What the last wait said.
    pub(super) ready: PollFlags,
    /// A request is at hand that cannot be taken yet.
    stuck: bool,
    /// The client has gone. What it asked before is done, since a killed
    /// writer has written, and nobody is to be told.
    deaf: bool,
    pub(super) ended: bool,
}

impl Line {
    pub(super) fn new(socket: UnixStream, id: u64) -> std::io::Result<Line> {
        socket.set_nonblocking(true)?;
        let local = Local::new(id);
        Ok(Line {
            socket,
            framer: Framer::new(local.msize()),
            local,
            queue: VecDeque::new(),
            sent: 0,
            ready: PollFlags::empty(),
            stuck: false,
            deaf: false,
            ended: false,
        })
    }

    /// What to wait for. A client that has gone reports it for ever, so that
    /// nothing is waited for, on `nobody`, while it cannot be read from.
    pub(super) fn poll<'f>(&'f self, nobody: BorrowedFd<'f>) -> PollFd<'f> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, !self.stuck);
        flags.set(PollFlags::OUT, !self.queue.is_empty());
        match self.deaf && flags.is_empty() {
            true => PollFd::from_borrowed_fd(nobody, flags),
            false => PollFd::new(&self.socket, flags),
        }
    }

    /// Takes requests in, as long as there is room for them.
    pub(super) fn take(&mut self, switch: &mut Switch) {
        self.deaf |= self.ready.intersects(PollFlags::HUP | PollFlags::ERR);
        self.requests(switch);
        for _ in 0..ROUNDS {
            if self.stuck || self.ended || self.ready.is_empty() {
                return;
            }
            let Ok(space) = self.framer.space() else {
                self.ended = true;
                return;
            };
            match self.socket.read(space) {
                Ok(0) => self.ended = true,
                Ok(n) => {
                    self.framer.filled(n);
                    self.requests(switch);
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    self.ready = PollFlags::empty();
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => self.ended = true,
            }
        }
    }

    /// A request is at hand that could not be taken.
    pub(super) const fn is_held(&self) -> bool {
        self.stuck && !self.ended
    }

    /// Passes on those that are at hand, as far as there is room.
    fn requests(&mut self, switch: &mut Switch) {
        loop {
            self.stuck = !switch.has_room(&self.local);
            if self.stuck {
                return;
            }
            let passed = match self.framer.peek() {
                Ok(None) => return,
                Ok(Some(frame)) => switch.request(&mut self.local, frame),
                Err(e) => Err(e),
            };
            if passed.is_err() {
                self.ended = true;
                return;
            }
            self.framer.set_largest(self.local.msize());
        }
    }

    /// Sends replies, as far as they go.
    pub(super) fn give(&mut self) {
        self.queue.extend(self.local.replies.drain(..));
        while !self.queue.is_empty() && !self.deaf {
            let mut parts = [IoSlice::new(&[]); PARTS];
            let mut n = 0;
            for (part, (frame, _)) in parts.iter_mut().zip(&self.queue) {
                let from = if n == 0 { self.sent } else { 0 };
                *part = IoSlice::new(&frame[from..]);
                n += 1;
            }
            match self.socket.write_vectored(&parts[..n]) {
                Ok(n) => self.gone(n),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => self.deaf = true,
            }
        }
        if self.deaf {
            let owed = self.queue.drain(..).map(|(_, owed)| owed).sum();
            self.local.sent(owed);
            self.sent = 0;
        }
    }

    fn gone(&mut self, mut n: usize) {
        n += std::mem::take(&mut self.sent);
        while let Some((frame, owed)) = self.queue.front() {
            if n < frame.len() {
                break;
            }
            n -= frame.len();
            self.local.sent(*owed);
            self.queue.pop_front();
        }
        self.sent = n;
    }

    /// Gives memory back.
    pub(super) fn relax(&mut self) {
        if self.local.is_idle() {
            self.framer.relax();
            self.queue.shrink_to_fit();
        }
    }
}
