//! Open files on their way into a child or into the next program.
//!
//! A process never uses its parent's connection. What it is to have open is
//! *handed*: a token for each file, read before fork and exec, is claimed at
//! once at the other end ([`privns_ninep::client`], `handoff`), and is the very
//! same open file, removed or not. Where the server has no tokens the file is
//! walked to and opened again when it is first used.

use super::conn::Settings;
use super::file::{File, Kind, Open};
use super::locks::HandedLock;
use crate::process::{Process, View};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use privns_abi::{Errno, Result};
use privns_host::Kernel;
use privns_host::signals::calm;

/// A file and its token, if there is one.
pub(super) struct Handed {
    pub(super) file: Arc<File>,
    pub(super) token: Option<Vec<u8>>,
}

impl View<'_> {
    /// Waits for what was written, and asks for tokens: one round trip a
    /// server.
    pub(super) fn tokens(self, files: Vec<Arc<File>>) -> Vec<Handed> {
        let _calm = calm();
        let mut handed: Vec<Handed> =
            files.into_iter().map(|file| Handed { file, token: None }).collect();
        let opens: Vec<Option<Arc<Open>>> =
            handed.iter().map(|h| h.file.known().filter(|open| !open.conn.is_dead())).collect();
        let mut asked = alloc::vec![false; handed.len()];
        for at in 0..handed.len() {
            let Some(first) = opens[at].as_ref().filter(|_| !asked[at]) else { continue };
            let same = |open: &Arc<Open>| Arc::ptr_eq(&open.conn, &first.conn);
            let mine: Vec<usize> =
                (at..opens.len()).filter(|&i| opens[i].as_ref().is_some_and(same)).collect();
            mine.iter().for_each(|&i| asked[i] = true);
            // What becomes of the writes stays with their fids.
            let _ = first.conn.client.settle_all();
            let open = |i: &&usize| handed[**i].file.kind() != Kind::Path;
            let mine: Vec<usize> = mine.iter().filter(open).copied().collect();
            let fids: Vec<_> =
                mine.iter().filter_map(|&i| Some(&opens[i].as_ref()?.opened.fid)).collect();
            let tokens = first.conn.client.handoffs(&fids);
            for (&i, token) in mine.iter().zip(tokens) {
                handed[i].token = token.ok();
            }
        }
        handed
    }

    /// Claims what was handed.
    fn claim(self, server: u32, handed: &[&Handed]) -> Result<()> {
        let _calm = calm();
        let tokens: Vec<&[u8]> =
            handed.iter().map(|handed| handed.token.as_deref().unwrap_or_default()).collect();
        for (handed, open) in handed.iter().zip(self.claims(server, &tokens)?) {
            if let Ok(open) = open {
                handed.file.reopened(open);
            }
        }
        Ok(())
    }

    /// What a server has open by these tokens, on our connection to it.
    fn claims(self, server: u32, tokens: &[&[u8]]) -> Result<Vec<Result<Open>>> {
        let conn = self.conn(server)?;
        let table = self.table()?;
        let settings = Settings::of(table.index(), server).ok_or(Errno::ENODEV)?;
        let claimed = conn.client.claims(settings.uname, Kernel.geteuid(), tokens).into_iter();
        Ok(claimed.map(|opened| opened.map(|opened| Open::new(conn.clone(), opened))).collect())
    }

    /// The same for one.
    pub(super) fn claim_one(self, server: u32, token: &[u8]) -> Result<Open> {
        self.claims(server, &[token])?.pop().unwrap_or(Err(Errno::ESTALE))
    }

    /// Claims all that was handed, from whichever servers; what cannot be
    /// claimed is opened again when it is used.
    pub(super) fn claim_all(self, handed: &[Handed]) {
        let mut servers: Vec<u32> = handed.iter().map(|handed| handed.file.server()).collect();
        servers.sort_unstable();
        servers.dedup();
        for server in servers {
            let theirs = |h: &&Handed| h.file.server() == server && h.token.is_some();
            let theirs: Vec<&Handed> = handed.iter().filter(theirs).collect();
            if !theirs.is_empty() {
                let _ = self.claim(server, &theirs);
            }
        }
    }

    /// What the next program is to be told of the open files that it will
    /// inherit; `None` when there are none.
    #[must_use]
    pub fn hand_on(self) -> Option<Vec<u8>> {
        if !self.process.met() {
            return None;
        }
        self.process.flush_maps();
        let slots = self.process.fds.slots();
        let slots: Vec<(i32, u32)> =
            slots.filter(|(fd, _)| Kernel.is_inherited(*fd).unwrap_or(false)).collect();
        if slots.is_empty() {
            return None;
        }
        self.process.share_files();
        let mut kept: Vec<u32> = slots.iter().map(|(_, slot)| *slot).collect();
        kept.sort_unstable();
        kept.dedup();
        let files = &self.process.remotes.files;
        let there: Vec<(u32, Arc<File>)> =
            kept.iter().filter_map(|&slot| Some((slot, files.get(slot)?))).collect();
        let handed = self.tokens(there.iter().map(|(_, file)| file.clone()).collect());
        let mut text = Vec::new();
        for ((slot, _), handed) in there.iter().zip(&handed) {
            let fds = slots.iter().filter(|(_, s)| s == slot).map(|(fd, _)| *fd);
            write(&mut text, fds, handed);
        }
        self.locks_to_hand_on().iter().for_each(|lock| write_lock(&mut text, lock));
        Some(text)
    }

    /// Takes over what the last program has handed on. A number that is not
    /// open any more, or is not a placeholder, is left alone.
    pub fn take_over(self, text: &[u8]) {
        self.process.meet();
        let mut taken = Vec::new();
        let mut rest = text;
        while let Some((item, behind)) = Item::parse(rest) {
            rest = behind;
            if let Some(lock) = item.lock() {
                let there = Kernel.is_placeholder(lock.fd);
                if there || super::near::is_inherited(lock.fd, lock.identity) {
                    self.take_locks_over(&lock);
                }
                continue;
            }
            let fds = item.fds.iter().filter(|&&fd| match item.near {
                true => super::near::is_inherited(fd, item.identity),
                false => Kernel.is_placeholder(fd),
            });
            let fds: Vec<i32> = fds.copied().collect();
            let Some((&first, others)) = fds.split_first() else { continue };
            let file = Arc::new(item.file());
            if self.process.stand_at(first, file.clone()).is_err() {
                continue;
            }
            for &fd in others {
                drop(self.process.copied(first, fd));
            }
            taken.push(Handed { file, token: item.token.map(<[u8]>::to_vec) });
        }
        self.claim_all(&taken);
    }
}

impl Process {
    /// A child is about to be made that has a memory of its own.
    pub fn forking(&self) {
        let Some(view) = self.view() else { return };
        view.family.will_change();
        view.name_cwd();
        if self.met() {
            self.hand_to_child(view);
        }
    }

    #[cold]
    fn hand_to_child(&self, view: View<'_>) {
        self.flush_maps();
        self.share_maps();
        self.share_files();
        let mut slots: Vec<u32> = self.fds.slots().map(|(_, slot)| slot).collect();
        if slots.is_empty() {
            return;
        }
        slots.sort_unstable();
        slots.dedup();
        let files = slots.iter().filter_map(|&slot| self.remotes.files.get(slot)).collect();
        drop(self.remotes.handed.put(alloc::boxed::Box::new(view.tokens(files))));
    }

    /// It was made, or not: in its parent.
    pub fn fork_ended(&self) {
        if self.met() {
            drop(self.remotes.handed.take());
        }
    }

    /// In the child.
    pub(crate) fn claim_handed(&self) {
        let Some(handed) = self.remotes.handed.take() else { return };
        if let Some(view) = self.view() {
            view.claim_all(&handed);
        }
    }
}

/// `FD+FD:SERVER:KIND:FLAGS:IDENTITY:OWNER:TOKEN:LENGTH=PATH;` Behind the kind, `!` says that the name is
/// gone, and `^` that the description has locked something.
pub(super) fn write(text: &mut Vec<u8>, fds: impl Iterator<Item = i32>, handed: &Handed) {
    let Handed { file, token } = handed;
    let kind = match file.kind() {
        _ if file.is_near() => 'n',
        Kind::Regular => 'r',
        Kind::Directory => 'd',
        Kind::Path => 'p',
    };
    for (n, fd) in fds.enumerate() {
        text.extend_from_slice(format!("{}{fd}", if n > 0 { "+" } else { "" }).as_bytes());
    }
    let path = file.last_path();
    let gone = if file.is_removed() { "!" } else { "" };
    let locked = if file.locked.load(Ordering::Relaxed) { "^" } else { "" };
    let (identity, owner) = (file.identity(), file.owner);
    let head =
        format!(":{}:{kind}{gone}{locked}:{}:{identity:x}:{owner:x}:", file.server(), file.flags());
    text.extend_from_slice(head.as_bytes());
    text.extend_from_slice(token.as_deref().unwrap_or_default());
    text.extend_from_slice(format!(":{}=", path.len()).as_bytes());
    text.extend_from_slice(&path);
    text.push(b';');
}

/// The same for the locks of a file; whether they may be exclusive is in place
/// of the flags.
fn write_lock(text: &mut Vec<u8>, lock: &HandedLock) {
    let HandedLock { fd, server, identity, writes, token } = lock;
    let head = format!("{fd}:{server}:l:{}:{identity:x}:0:", i32::from(*writes));
    text.extend_from_slice(head.as_bytes());
    text.extend_from_slice(token);
    text.extend_from_slice(b":0=;");
}

/// One file as it is handed on.
pub(super) struct Item<'a> {
    fds: Vec<i32>,
    server: u32,
    kind: Kind,
    /// It is not the file but what it is locked by.
    locks: bool,
    /// The descriptors are the file itself.
    pub(super) near: bool,
    removed: bool,
    locked: bool,
    flags: i32,
    pub(super) identity: u64,
    owner: u64,
    pub(super) token: Option<&'a [u8]>,
    path: &'a [u8],
}

impl<'a> Item<'a> {
    /// The first item, and what comes behind it.
    pub(super) fn parse(text: &'a [u8]) -> Option<(Item<'a>, &'a [u8])> {
        let mut parts = text.splitn(8, |&b| b == b':');
        let mut part = || parts.next();
        let fds = part()?.split(|&b| b == b'+').map(number::<i32>).collect::<Option<_>>()?;
        let server = number(part()?)?;
        let (&kind, rest) = part()?.split_first()?;
        let (removed, locked) = match rest {
            b"" => (false, false),
            b"!" => (true, false),
            b"^" => (false, true),
            b"!^" => (true, true),
            _ => return None,
        };
        let (near, locks) = (kind == b'n', kind == b'l');
        let kind = match kind {
            b'r' | b'n' | b'l' => Kind::Regular,
            b'd' => Kind::Directory,
            b'p' => Kind::Path,
            _ => return None,
        };
        let flags = number(part()?)?;
        let (identity, owner) = (hexadecimal(part()?)?, hexadecimal(part()?)?);
        let token = Some(part()?).filter(|token| !token.is_empty());
        let rest = part()?;
        let digits = rest.iter().position(|&b| b == b'=')?;
        let length: usize = number(&rest[..digits])?;
        let end = digits.checked_add(1)?.checked_add(length)?;
        let path = rest.get(digits + 1..end)?;
        let behind = rest.get(end..)?.strip_prefix(b";")?;
        let item = Item {
            fds,
            server,
            kind,
            locks,
            near,
            removed,
            locked,
            flags,
            identity,
            owner,
            token,
            path,
        };
        Some((item, behind))
    }

    fn lock(&self) -> Option<HandedLock> {
        let &Item { server, identity, flags, ref fds, .. } = self;
        let (&fd, token) = (fds.first()?, self.token.filter(|_| self.locks)?.to_vec());
        Some(HandedLock { fd, server, identity, writes: flags != 0, token })
    }

    pub(super) fn file(&self) -> File {
        let Item { server, kind, identity, flags, path, removed, owner, .. } = *self;
        let mut file =
            File::inherited(server, kind, identity, flags, path.to_vec(), removed, owner);
        *file.locked.get_mut() = self.locked;
        file.near = self.near.then(super::near::NearFile::inherited);
        file
    }
}

fn number<N: core::str::FromStr>(text: &[u8]) -> Option<N> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(core::str::from_utf8(text).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_on_is_taken_over() {
        let file = File::inherited(7, Kind::Regular, 0xabc, 2, b"a:;=b".to_vec(), true, 5);
        let mut text = Vec::new();
        file.locked.store(true, Ordering::Relaxed);
        let handed = Handed { file: Arc::new(file), token: Some(b"00ff".to_vec()) };
        write(&mut text, [3, 11].into_iter(), &handed);
        write(&mut text, [0].into_iter(), &Handed { token: None, ..handed });
        let (item, rest) = Item::parse(&text).unwrap();
        assert_eq!((&item.fds[..], item.server, item.kind), (&[3, 11][..], 7, Kind::Regular));
        assert_eq!((item.flags, item.identity, item.removed, item.locked), (2, 0xabc, true, true));
        assert_eq!(item.owner, 5);
        assert_eq!((item.token, item.path), (Some(&b"00ff"[..]), &b"a:;=b"[..]));
        let (item, rest) = Item::parse(rest).unwrap();
        assert_eq!((item.token, rest), (None, &b""[..]));
        assert!(item.lock().is_none());
        let token = b"ff00".to_vec();
        write_lock(&mut text, &HandedLock { fd: 5, server: 2, identity: 9, writes: true, token });
        let last = text.len() - b"5:2:l:1:9:0:ff00:0=;".len();
        let lock = Item::parse(&text[last..]).unwrap().0.lock().unwrap();
        assert_eq!((lock.fd, lock.server, lock.identity, lock.writes), (5, 2, 9, true));
        assert_eq!(lock.token, b"ff00");
        for end in 0..text.len() {
            let mut rest = &text[..end];
            while let Some((_, behind)) = Item::parse(rest) {
                rest = behind;
            }
        }
    }
}
