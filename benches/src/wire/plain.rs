//! A server that has nothing to do: every file is large, and its bytes lie ready. What is left
//! of the time is the client's and the wire's.

use privns_ninep::Dialect;
use privns_ninep::attr::{Attr, Qid};
use privns_ninep::message::{
    Rattach, Rclunk, Reply, Request, Rflush, Rgetattr, Rlopen, Rversion, Rwalk, Rwrite, split,
};
use privns_ninep::wire::Few;
use std::io::{BufReader, IoSlice, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

const MSIZE: usize = 1 << 20;
const HEADER: usize = 7;

/// Serves one connection to its end.
pub(crate) fn serve(path: &Path, size: u64) -> std::io::Result<()> {
    let listener = UnixListener::bind(path)?;
    println!("unix!{}", path.display());
    let socket = listener.accept()?.0;
    let mut input = BufReader::with_capacity(8192, socket.try_clone()?);
    let (mut frame, ready) = (vec![0; MSIZE], vec![7; MSIZE]);
    let mut out = Vec::new();
    loop {
        if input.read_exact(&mut frame[..4]).is_err() {
            return Ok(());
        }
        let len = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        let Some(rest) = frame.get_mut(4..len).filter(|rest| rest.len() >= HEADER - 4) else {
            return Err(std::io::ErrorKind::InvalidData.into());
        };
        input.read_exact(rest)?;
        answer(&frame[..len], size, &ready, &mut out, &socket)?;
    }
}

fn answer(
    frame: &[u8],
    size: u64,
    ready: &[u8],
    out: &mut Vec<u8>,
    mut socket: &UnixStream,
) -> std::io::Result<()> {
    let bad = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let (kind, tag, body) = split(frame).map_err(|_| bad())?;
    let dialect = Dialect::Linux;
    let reply: Reply<'_> = match Request::decode(kind, body, dialect).map_err(|_| bad())? {
        Request::Tread(m) => {
            let left = size.saturating_sub(m.offset).min(ready.len() as u64) as usize;
            let count = left.min(m.count as usize);
            let mut head = ((count + HEADER + 4) as u32).to_le_bytes().to_vec();
            head.push(117);
            head.extend(tag.to_le_bytes());
            head.extend((count as u32).to_le_bytes());
            let sent =
                socket.write_vectored(&[IoSlice::new(&head), IoSlice::new(&ready[..count])])?;
            socket.write_all(head.get(sent..).unwrap_or_default())?;
            return socket.write_all(&ready[sent.saturating_sub(head.len())..count]);
        }
        Request::Twrite(m) => Rwrite { count: m.data.0.len() as u32 }.into(),
        Request::Tversion(m) => Rversion { msize: m.msize, version: b"9P2000.L.ordered" }.into(),
        Request::Tattach(_) => Rattach::default().into(),
        Request::Twalk(m) => {
            let mut qids = Few::default();
            m.names.as_slice().iter().for_each(|_| {
                qids.push(Qid::default());
            });
            Rwalk { qids }.into()
        }
        Request::Tlopen(_) => Rlopen::default().into(),
        Request::Tgetattr(_) => Rgetattr { attr: Attr::of(1, 0o100_644, size) }.into(),
        Request::Tclunk(_) => Rclunk {}.into(),
        Request::Tflush(_) => Rflush {}.into(),
        _ => return Err(bad()),
    };
    reply.frame(tag, dialect, out).map_err(|_| bad())?;
    socket.write_all(out)
}
