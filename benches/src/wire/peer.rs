//! The bare exchange: a process of its own that sends, takes or answers, as many bytes in messages
//! of one size as it is told, and nothing else. What is copied is a file's: it is read from the page
//! cache there and received here into one buffer of a message's size, which is used again; the other
//! way, it is sent out of such a buffer, received into one and written to a file there. Each message
//! has the header that ours have. For reading there are two [`Manner`]s, the better of which counts.
//! An exchange answers out of memory, where no file is read, or with a page of the file that is read
//! where the request says.

use crate::Result;
use privns_host::net::UNPACED;
use rustix::net::{AddressFamily, SendFlags, SocketType, sockopt};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
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
const SENT: u8 = 0;
const TO_PEER: u8 = 1;
const ASK: u8 = 2;
const COPIED: u8 = 3;
const ASK_FILE: u8 = 4;
/// Where in such a request it stands from which on the file is to be read.
const PLACE: std::ops::Range<usize> = 11..19;
/// As much is copied at a time: what stays in the processor's cache.
const PIECE: usize = 64 << 10;

/// How a file gets into a socket.
#[derive(Clone, Copy)]
pub(crate) enum Manner {
    /// By sendfile(2).
    Sent = SENT as isize,
    /// Read into memory, and written from there.
    Copied = COPIED as isize,
}

impl Manner {
    pub(crate) const ALL: [Manner; 2] = [Manner::Sent, Manner::Copied];
}

/// kind\[1\] messages\[8\] size\[8\]
const ORDER: usize = 17;

pub(crate) struct Peer {
    child: Child,
    kind: Socket,
    address: String,
}

trait Stream: Read + Write + AsFd {}
impl<T: Read + Write + AsFd> Stream for T {}

pub(crate) struct Bare(Box<dyn Stream>);

impl Peer {
    /// `files`: the directory in which `large` is read and `written` is written. Without one what is
    /// copied comes from memory, and goes nowhere.
    pub(crate) fn start(kind: Socket, dir: &Path, files: Option<&Path>) -> Result<Peer> {
        let exe = std::env::current_exe().map_err(|e| e.to_string())?;
        let path = dir.join("bare");
        let _ = std::fs::remove_file(&path);
        let mut child = Command::new(exe)
            .arg("--peer")
            .arg(kind.to_string())
            .arg(&path)
            .args(files)
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
            Socket::Tcp => connect(&self.address).map(|s| Box::new(s) as _),
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

    /// As many messages as `total` takes come, in this manner.
    pub(crate) fn receive(&mut self, total: u64, size: usize, manner: Manner) -> Result<()> {
        let messages = total / size as u64;
        let mut buf = vec![0; size];
        self.order(manner as u8, messages, size)
            .and_then(|()| {
                (0..messages).try_for_each(|_| {
                    self.0.read_exact(&mut [0; ANSWER])?;
                    self.0.read_exact(&mut buf)
                })
            })
            .map_err(|e| e.to_string())
    }

    /// As many go, and all are taken at the end.
    pub(crate) fn send(&mut self, total: u64, size: usize) -> Result<()> {
        let messages = total / size as u64;
        let buf = vec![7; size + REQUEST];
        self.order(TO_PEER, messages, size)
            .and_then(|()| (0..messages).try_for_each(|_| self.0.write_all(&buf)))
            .and_then(|()| self.0.read_exact(&mut [0; ANSWER]))
            .map_err(|e| e.to_string())
    }

    /// A request, its answer of `size` bytes, the next request. With `pieces` an answer is one of so
    /// many pieces of the file, in the order of `random` in `c/mounts.c`.
    pub(crate) fn ask(&mut self, requests: u32, size: usize, pieces: Option<u64>) -> Result<()> {
        let (mut buf, mut request, mut at) = (vec![0; size + ANSWER], [1; REQUEST], 1u64);
        let kind = if pieces.is_some() { ASK_FILE } else { ASK };
        self.order(kind, requests.into(), size + ANSWER)
            .and_then(|()| {
                (0..requests).try_for_each(|_| {
                    if let Some(pieces) = pieces {
                        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let place = (at >> 33) % pieces * size as u64;
                        request[PLACE].copy_from_slice(&place.to_le_bytes());
                    }
                    self.0.write_all(&request)?;
                    self.0.read_exact(&mut buf)
                })
            })
            .map_err(|e| e.to_string())
    }
}

/// As ours do it on one machine: nothing is paced.
fn listen() -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let _ = sockopt::set_tcp_congestion(&listener, UNPACED);
    Ok(listener)
}

/// The same at the other end; small messages leave at once.
fn connect(address: &str) -> std::io::Result<TcpStream> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let _ = sockopt::set_tcp_congestion(&socket, UNPACED);
    rustix::net::connect(&socket, &address)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The other end, when that is what this process was started as.
pub(crate) fn asked_for() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some("--peer") {
        return None;
    }
    let (kind, path) = (args.next()?, args.next()?);
    let more = args.next();
    let size = more.as_ref().and_then(|size| size.parse().ok()).unwrap_or(0);
    let files = more.map(PathBuf::from);
    let served = match kind.as_str() {
        "ready" => super::plain::serve(Path::new(&path), size),
        "unix" => UnixListener::bind(&path).and_then(|listener| {
            println!("{path}");
            serve(listener.accept()?.0, files)
        }),
        _ => listen().and_then(|listener| {
            println!("{}", listener.local_addr()?);
            let stream = listener.accept()?.0;
            stream.set_nodelay(true)?;
            serve(stream, files)
        }),
    };
    Some(if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is copied, and where to.
struct Files {
    large: File,
    written: File,
}

impl Files {
    fn open(dir: &Path) -> std::io::Result<Files> {
        let mut options = File::options();
        let written = options.write(true).create(true).truncate(false).open(dir.join("written"))?;
        Ok(Files { large: File::open(dir.join("large"))?, written })
    }
}

fn serve(mut stream: impl Stream, files: Option<PathBuf>) -> std::io::Result<()> {
    let files = files.map(|dir| Files::open(&dir)).transpose()?;
    loop {
        let mut order = [0; ORDER];
        if stream.read_exact(&mut order).is_err() {
            return Ok(());
        }
        let (messages, size) = (number(&order[1..9]), number(&order[9..]) as usize);
        let mut buf = vec![7; size];
        let each = |act: &mut dyn FnMut(u64) -> std::io::Result<()>| {
            (0..messages).try_for_each(|n| act(n * size as u64))
        };
        match (order[0], &files) {
            (TO_PEER, files) => {
                each(&mut |at| {
                    stream.read_exact(&mut [0; REQUEST])?;
                    stream.read_exact(&mut buf)?;
                    files.as_ref().map_or(Ok(()), |f| f.written.write_all_at(&buf, at))
                })?;
                stream.write_all(&[0; ANSWER])?;
            }
            (ASK, _) => each(&mut |_| {
                stream.read_exact(&mut [0; REQUEST])?;
                stream.write_all(&buf)
            })?,
            (ASK_FILE, Some(files)) => each(&mut |_| {
                let mut request = [0; REQUEST];
                stream.read_exact(&mut request)?;
                files.large.read_exact_at(&mut buf[ANSWER..], number(&request[PLACE]))?;
                stream.write_all(&buf)
            })?,
            (SENT, Some(files)) => each(&mut |at| send(&stream, &files.large, at, size))?,
            (_, files) => each(&mut |at| {
                rustix::net::send(&stream, &[0; ANSWER], SendFlags::MORE)?;
                let mut at = at;
                for piece in buf.chunks_mut(PIECE) {
                    if let Some(files) = files {
                        files.large.read_exact_at(piece, at)?;
                    }
                    stream.write_all(piece)?;
                    at += piece.len() as u64;
                }
                Ok(())
            })?,
        }
    }
}

/// Eight bytes of a message.
fn number(bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    all.copy_from_slice(bytes);
    u64::from_le_bytes(all)
}

/// One message of a file's bytes, by sendfile(2).
fn send(stream: impl AsFd, file: &File, mut at: u64, size: usize) -> std::io::Result<()> {
    rustix::net::send(&stream, &[0; ANSWER], SendFlags::MORE)?;
    let end = at + size as u64;
    while at < end {
        let left = (end - at) as usize;
        if rustix::fs::sendfile(&stream, file, Some(&mut at), left)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
