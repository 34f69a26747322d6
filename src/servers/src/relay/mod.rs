//! A relay: many connections on a unix socket served by one connection to
//! another server.
//!
//! Some transports cannot be dialled by every process that wants one: a
//! command or an ssh has its 9P on one pair of pipes, and TLS is dear and
//! needs a library that has no place inside other people's programs. So a
//! relay dials once, and gives tags and fids of its own to whatever its
//! clients ask. It speaks the dialect that the server speaks, keeps nothing of
//! any file, and passes handoff on as it passes everything on.
//!
//! One thread does it all, so there is no lock: `switch` decides, without I/O;
//! `places` knows where fids stand in requests; this file waits and copies.
//! Memory is bounded: requests on their way, bytes owed to a client, and bytes
//! on their way upstream each have a limit, at which a client is not read from
//! until it has taken what it asked for.

mod line;
mod places;
mod proof;
mod route;
mod switch;

pub use route::{Route, Upstream};

use crate::auth::Auth;
use crate::session::Peer;
use crate::wire::Wire;
use line::Line;
use privns_abi::Errno;
use privns_ninep::frame::Framer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use switch::{Clients, Local, Switch};

/// Clients at a time.
const CLIENTS: usize = 1024;
/// Memory that has not been used for so long, in seconds, is given back.
const IDLE: i64 = 5;

/// The server's end of a relay.
struct Far {
    wire: Box<dyn Wire>,
    framer: Framer,
    switch: Switch,
}

/// Relays until `stop` is readable, or `over` is true, which is asked every now
/// and then with the number of clients that there are. Clients are those of this process's user,
/// and root. `first` is a connection that has been made already; one that
/// fails takes all clients with it, and the next client has the server dialled
/// again.
///
/// # Errors
/// That of poll(2).
pub fn serve(
    listener: &UnixListener,
    route: &Route,
    first: Option<Upstream>,
    stop: BorrowedFd<'_>,
    mut over: impl FnMut(usize) -> bool,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut relay = Relay { far: first.map(Far::new), lines: Lines::default(), next: 0 };
    loop {
        let ready = relay.wait(listener.as_fd(), stop)?;
        if ready.stop || over(relay.lines.0.len()) {
            return Ok(());
        }
        if ready.nothing {
            relay.relax();
        }
        if ready.upstream
            && relay.far.as_mut().is_some_and(|f| f.receive(&mut relay.lines).is_err())
        {
            relay.lost();
        }
        if ready.accept {
            relay.accept(listener, route);
        }
        relay.turn();
    }
}

struct Relay {
    far: Option<Far>,
    lines: Lines,
    next: u64,
}

/// What a wait has come to; lines know for themselves.
struct Ready {
    stop: bool,
    accept: bool,
    upstream: bool,
    nothing: bool,
}

impl Relay {
    fn wait(&mut self, listener: BorrowedFd<'_>, stop: BorrowedFd<'_>) -> io::Result<Ready> {
        let room = self.lines.0.len() < CLIENTS;
        let mut fds = vec![PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        let accepts = if room { PollFlags::IN } else { PollFlags::empty() };
        fds.push(PollFd::from_borrowed_fd(listener, accepts));
        let before = fds.len();
        if let Some(far) = &self.far {
            let (input, output) = far.wire.ends();
            fds.push(PollFd::from_borrowed_fd(input, PollFlags::IN));
            if far.is_unsent() {
                fds.push(PollFd::from_borrowed_fd(output, PollFlags::OUT));
            }
        }
        let own = fds.len();
        fds.extend(self.lines.0.iter().map(|line| line.poll(listener)));
        // Without clients it may soon be over.
        let seconds = if self.lines.0.is_empty() { 1 } else { IDLE };
        let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let n = match poll(&mut fds, Some(&limit)) {
            Ok(n) => n,
            Err(rustix::io::Errno::INTR) => 0,
            Err(e) => return Err(e.into()),
        };
        let said: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        for (line, said) in self.lines.0.iter_mut().zip(&said[own..]) {
            line.ready = *said;
        }
        let any = |said: &PollFlags| !said.is_empty();
        Ok(Ready {
            stop: any(&said[0]),
            accept: any(&said[1]),
            upstream: said[before..own].iter().any(any),
            nothing: n == 0,
        })
    }

    fn accept(&mut self, listener: &UnixListener, route: &Route) {
        let Ok((socket, _)) = listener.accept() else { return };
        if !matches!(Auth::Uid.unix(&socket), Peer::User { .. }) {
            return;
        }
        if self.far.is_none() {
            match route.dial() {
                Ok(upstream) => self.far = Some(Far::new(upstream)),
                // The client finds its connection closed.
                Err(_) => return,
            }
        }
        if let Ok(line) = Line::new(socket, self.next) {
            self.lines.0.push(line);
            self.next += 1;
        }
    }

    /// Moves what can be moved between the clients and upstream.
    fn turn(&mut self) {
        let Relay { far, lines: Lines(lines), .. } = self;
        let Some(far) = far else { return lines.clear() };
        loop {
            lines.iter_mut().for_each(|line| line.take(&mut far.switch));
            if far.send().is_err() {
                return self.lost();
            }
            lines.iter_mut().for_each(Line::give);
            // What has just gone made room for those who waited for it: no
            // event would tell them.
            if !lines.iter().any(|line| line.is_held() && far.switch.has_room(&line.local)) {
                break;
            }
        }
        for line in lines.iter_mut().filter(|line| line.ended) {
            far.switch.forget(&mut line.local);
        }
        lines.retain(|line| !line.ended);
        if far.send().is_err() {
            self.lost();
        }
    }

    /// The server is gone: what was open there is, and all clients end.
    fn lost(&mut self) {
        self.far = None;
        self.lines.0.clear();
    }

    fn relax(&mut self) {
        self.lines.0.iter_mut().for_each(Line::relax);
        if let Some(far) = &mut self.far {
            far.framer.relax();
            far.switch.relax();
        }
    }
}

impl Far {
    fn new(upstream: Upstream) -> Far {
        let Upstream { wire, agreed, credential } = upstream;
        let framer = Framer::new(agreed.msize);
        Far { wire, framer, switch: Switch::new(agreed, credential) }
    }

    fn is_unsent(&self) -> bool {
        !self.switch.unsent().is_empty() || self.wire.is_unsent()
    }

    /// What has come. There is no more of it than was asked for.
    fn receive(&mut self, lines: &mut Lines) -> Result<(), Errno> {
        loop {
            match self.wire.recv(self.framer.space()?) {
                Ok(0) => return Err(Errno::ECONNRESET),
                Ok(n) => self.framer.filled(n),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e),
            }
            while let Some(frame) = self.framer.next_message()? {
                self.switch.reply(frame, lines)?;
            }
        }
    }

    fn send(&mut self) -> Result<(), Errno> {
        while !self.switch.unsent().is_empty() {
            match self.wire.send(&[self.switch.unsent()]) {
                Ok(n) => self.switch.sent(n),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e),
            }
        }
        if self.wire.is_unsent() { self.wire.flush() } else { Ok(()) }
    }
}

/// By their numbers, which rise.
#[derive(Default)]
struct Lines(Vec<Line>);

impl Clients for Lines {
    fn find(&mut self, id: u64) -> Option<&mut Local> {
        let at = self.0.binary_search_by_key(&id, |line| line.local.id).ok()?;
        Some(&mut self.0[at].local)
    }
}
