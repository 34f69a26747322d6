//! The bare exchange: a process of its own that sends, swallows or answers, as many bytes in
//! messages of one size as it is told.

use crate::Result;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

/// What the two ends talk through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Socket {
    Unix,
    Tcp,
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Socket::Unix => "unix",
            Socket::Tcp => "tcp",
        })
    }
}

/// A request of 9P is about this long.
const REQUEST: usize = 23;
/// An answer to a write is.
const ANSWER: usize = 11;
const TO_CLIENT: u8 = 0;
const TO_PEER: u8 = 1;
const ASK: u8 = 2;
/// kind\[1\] messages\[8\] size\[8\]
const ORDER: usize = 17;

pub(crate) struct Peer {
    child: Child,
    kind: Socket,
    address: String,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

pub(crate) struct Bare(Box<dyn Stream>);

impl Peer {
    pub(crate) fn start(kind: Socket, dir: &Path) -> Result<Peer> {
        let exe = std::env::current_exe().map_err(|e| e.to_string())?;
        let path = dir.join("bare");
        let _ = std::fs::remove_file(&path);
        let mut child = Command::new(exe)
            .arg("--peer")
            .arg(kind.to_string())
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let output = child.stdout.take().ok_or("no output of the peer")?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address).map_err(|e| e.to_string())?;
        Ok(Peer { child, kind, address: address.trim().into() })
    }

    pub(crate) fn dial(&self) -> Result<Bare> {
        let stream: std::io::Result<Box<dyn Stream>> = match self.kind {
            Socket::Unix => UnixStream::connect(&self.address).map(|s| Box::new(s) as _),
            Socket::Tcp => TcpStream::connect(&self.address).and_then(|s| {
                s.set_nodelay(true)?;
                Ok(Box::new(s) as _)
            }),
        };
        stream.map(Bare).map_err(|e| e.to_string())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bare {
    fn order(&mut self, kind: u8, messages: u64, size: usize) -> std::io::Result<()> {
        let mut order = vec![kind];
        order.extend(messages.to_le_bytes());
        order.extend((size as u64).to_le_bytes());
        self.0.write_all(&order)
    }

    /// As many messages as `total` takes come.
    pub(crate) fn receive(&mut self, total: u64, size: usize) -> Result<()> {
        let messages = total.div_ceil(size as u64);
        let mut buf = vec![0; size];
        self.order(TO_CLIENT, messages, size)
            .and_then(|()| (0..messages).try_for_each(|_| self.0.read_exact(&mut buf)))
            .map_err(|e| e.to_string())
    }

    /// As many go, and all are taken at the end.
    pub(crate) fn send(&mut self, total: u64, size: usize) -> Result<()> {
        let messages = total.div_ceil(size as u64);
        let buf = vec![7; size];
        self.order(TO_PEER, messages, size)
            .and_then(|()| (0..messages).try_for_each(|_| self.0.write_all(&buf)))
            .and_then(|()| self.0.read_exact(&mut [0; ANSWER]))
            .map_err(|e| e.to_string())
    }

    /// A request, its answer of `size` bytes, the next request.
    pub(crate) fn ask(&mut self, requests: u32, size: usize) -> Result<()> {
        let mut buf = vec![0; size + ANSWER];
        self.order(ASK, requests.into(), size + ANSWER)
            .and_then(|()| {
                (0..requests).try_for_each(|_| {
                    self.0.write_all(&[1; REQUEST])?;
                    self.0.read_exact(&mut buf)
                })
            })
            .map_err(|e| e.to_string())
    }
}

/// The other end, when that is what this process was started as.
pub(crate) fn asked_for() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some("--peer") {
        return None;
    }
    let (kind, path) = (args.next()?, args.next()?);
    let size = args.next().and_then(|size| size.parse().ok()).unwrap_or(0);
    let served = match kind.as_str() {
        "ready" => super::plain::serve(Path::new(&path), size),
        "unix" => UnixListener::bind(&path).and_then(|listener| {
            println!("{path}");
            serve(listener.accept()?.0)
        }),
        _ => TcpListener::bind("127.0.0.1:0").and_then(|listener| {
            println!("{}", listener.local_addr()?);
            let stream = listener.accept()?.0;
            stream.set_nodelay(true)?;
            serve(stream)
        }),
    };
    Some(if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn serve(mut stream: impl Stream) -> std::io::Result<()> {
    loop {
        let mut order = [0; ORDER];
        if stream.read_exact(&mut order).is_err() {
            return Ok(());
        }
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&order[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let (messages, size) = (number(1), number(9) as usize);
        let mut buf = vec![7; size];
        match order[0] {
            TO_CLIENT => (0..messages).try_for_each(|_| stream.write_all(&buf))?,
            TO_PEER => {
                (0..messages).try_for_each(|_| stream.read_exact(&mut buf))?;
                stream.write_all(&[0; ANSWER])?;
            }
            _ => (0..messages).try_for_each(|_| {
                stream.read_exact(&mut [0; REQUEST])?;
                stream.write_all(&buf)
            })?,
        }
    }
}
