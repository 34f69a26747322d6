//! Names on the host and on the servers alike.

use super::Reach;
use super::dial::Connection;
use crate::failure::{Failure, shown};
use privns_abi::{Errno, Result, Stat, path};
use privns_host::{Host, Kernel, Name};
use privns_namespace::remote;
use privns_ninep::attr::Attr;
use privns_ninep::client::{Fid, Opened, flags};
use privns_ninep::hosted::HostedClient;
use std::ffi::CStr;

impl Host for Reach {
    fn lstat(&self, path: &CStr) -> Result<Stat> {
        match remote::split(path.to_bytes()) {
            None => Kernel.lstat(path),
            Some((id, rest)) => self.on(id, rest, |c, fid| Ok(stat(id, &c.client.getattr(fid)?))),
        }
    }

    fn stat(&self, path: &CStr) -> Result<Stat> {
        if !remote::is_remote(path.to_bytes()) {
            return Kernel.stat(path);
        }
        // Only what `/proc` leads to is asked for like this: a link of a
        // server's leads anywhere in the namespace, which the walk finds.
        let seen = self.lstat(path)?;
        if seen.is_symlink() { Err(Errno::ELOOP) } else { Ok(seen) }
    }

    fn readlink(&self, path: &CStr, out: &mut Name) -> Result<()> {
        let Some((id, rest)) = remote::split(path.to_bytes()) else {
            return Kernel.readlink(path, out);
        };
        self.on(id, rest, |c, fid| {
            if !stat(id, &c.client.getattr(fid)?).is_symlink() {
                return Err(Errno::EINVAL);
            }
            out.set(&c.client.readlink(fid)?)
        })
    }

    fn check_plain_dir(&self, path: &CStr) -> Result<()> {
        if !remote::is_remote(path.to_bytes()) {
            return Kernel.check_plain_dir(path);
        }
        // The walk of a server does not follow links, but neither does it say
        // that it met one: walk here.
        Err(Errno::ENOSYS)
    }

    fn now_ms(&self) -> u64 {
        Kernel.now_ms()
    }
}

impl Reach {
    /// What a file on a server holds, of `limit` bytes at most. `name` is its
    /// host name.
    ///
    /// # Errors
    /// Why the server is not reached; its own.
    pub fn read(&self, name: &[u8], limit: usize) -> std::result::Result<Vec<u8>, Failure> {
        self.open(name, 0, |client, file| {
            let (mut text, mut part) = (Vec::new(), [0; 4096]);
            while text.len() < limit {
                match client.read(file, text.len() as u64, &mut part)? {
                    0 => break,
                    n => text.extend_from_slice(&part[..n]),
                }
            }
            text.truncate(limit);
            Ok(text)
        })
    }

    /// The names in a directory on a server.
    ///
    /// # Errors
    /// Why the server is not reached; its own.
    pub fn names(&self, name: &[u8]) -> std::result::Result<Vec<Vec<u8>>, Failure> {
        self.open(name, flags::DIRECTORY, |client, dir| {
            let (mut names, mut from) = (Vec::new(), Some(0));
            while let Some(cookie) = from {
                from = client.readdir(dir, cookie, |entry| names.push(entry.name.to_vec()))?;
            }
            Ok(names)
        })
    }

    /// Bytes in use and the number of files below a directory on a server.
    ///
    /// # Errors
    /// Why the server is not reached; its own.
    pub fn usage(&self, dir: &[u8]) -> std::result::Result<(u64, u64), Failure> {
        let (mut bytes, mut files, mut below) = (0, 0, vec![dir.to_vec()]);
        while let Some(dir) = below.pop() {
            let names = match self.names(&dir) {
                // Removed meanwhile, or not for us to see.
                Err(e) if files > 0 && matches!(e.errno(), Some(Errno::ENOENT | Errno::EACCES)) => {
                    continue;
                }
                names => names?,
            };
            for name in names.iter().filter(|name| !matches!(&name[..], b"." | b"..")) {
                let path = [&dir[..], b"/", name].concat();
                let (id, rest) = remote::split(&path).unwrap_or_default();
                let Ok(attr) = self.on(id, rest, |c, fid| c.client.getattr(fid)) else { continue };
                files += 1;
                bytes += attr.blocks * 512;
                if attr.qid.is_dir() {
                    below.push(path);
                }
            }
        }
        Ok((bytes, files))
    }

    fn open<R>(
        &self,
        name: &[u8],
        how: u32,
        act: impl FnOnce(&HostedClient, &Opened) -> Result<R>,
    ) -> std::result::Result<R, Failure> {
        let failure = |e| Failure::new(shown(name), e);
        let (id, rest) = remote::split(name).ok_or_else(|| failure(Errno::EINVAL))?;
        let connection = self.connection(id)?;
        let parts: Vec<&[u8]> = path::components(rest).collect();
        let client = &connection.client;
        let opened = client.open_at(&connection.root, &parts, how, &mut []).map_err(failure)?;
        let done = act(client, &opened).map_err(failure);
        client.clunk(opened.fid);
        done
    }

    /// Does something with the file at `rest` on a server.
    fn on<R>(
        &self,
        id: u32,
        rest: &[u8],
        act: impl FnOnce(&Connection, &Fid) -> Result<R>,
    ) -> Result<R> {
        let connection = self.connection(id).map_err(|f| f.errno().unwrap_or(Errno::EIO))?;
        let parts: Vec<&[u8]> = path::components(rest).collect();
        let (fid, qid) = connection.client.walk(&connection.root, &parts)?;
        let insists = rest.ends_with(b"/") || rest.ends_with(b"/.");
        let done = match qid {
            Some(qid) if insists && !qid.is_dir() => Err(Errno::ENOTDIR),
            _ => act(&connection, &fid),
        };
        connection.client.clunk(fid);
        done
    }
}

/// What a server says of a file, as far as names need it.
fn stat(id: u32, attr: &Attr) -> Stat {
    Stat {
        dev: u64::from(id),
        ino: attr.qid.path,
        mode: attr.mode,
        uid: attr.uid,
        gid: attr.gid,
        links: attr.nlink,
    }
}
