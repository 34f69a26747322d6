//! A proxy behind which everything takes longer: what comes in goes out again so much later, in
//! both directions. The stream as such is not slowed down.

use crate::Result;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// Pieces under way in one direction at most, of [`PIECE`] bytes.
const PIECES: usize = 1024;
const PIECE: usize = 64 << 10;

/// Stands before a server on a unix socket, until the program ends.
pub(crate) struct Proxy {
    /// Where to dial instead.
    pub(crate) address: String,
    path: PathBuf,
}

impl Proxy {
    /// At `name` in `dir`.
    pub(crate) fn start(dir: &Path, name: &str, server: &str, delay: Duration) -> Result<Proxy> {
        let path = dir.join(name);
        let to = PathBuf::from(server.strip_prefix("unix!").ok_or("a proxy of unix sockets only")?);
        let listener = UnixListener::bind(&path).map_err(|e| e.to_string())?;
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(std::result::Result::ok) {
                let Ok(server) = UnixStream::connect(&to) else { return };
                let (Ok(c), Ok(s)) = (client.try_clone(), server.try_clone()) else { return };
                std::thread::spawn(move || carry(client, server, delay));
                std::thread::spawn(move || carry(s, c, delay));
            }
        });
        Ok(Proxy { address: format!("unix!{}", path.display()), path })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Carries one direction to its end.
fn carry(mut from: UnixStream, mut to: UnixStream, delay: Duration) {
    let (sender, receiver) = sync_channel::<(Instant, Vec<u8>)>(PIECES);
    let writer = std::thread::spawn(move || {
        for (due, piece) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut buf = vec![0; PIECE];
    while let Ok(n @ 1..) = from.read(&mut buf) {
        if sender.send((Instant::now() + delay, buf[..n].to_vec())).is_err() {
            break;
        }
    }
    drop(sender);
    let _ = writer.join();
}
