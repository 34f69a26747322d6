//! Open files in messages between members (SCM_RIGHTS of unix(7)).
//!
//! What the kernel carries is the placeholder, and with it the offset; the receiver does not know what
//! that stands for. So the sender leaves a *note* in the family's directory, in the words in which files
//! are handed to the next program ([`super::handed`]), one for each sending, since a token is good once.
//! The receiver finds it by a *mark* on the description: a byte of the placeholder at a place drawn by
//! lot, which the description has locked and nobody else ever looks at. The kernel tells it to whoever
//! has that description, in `/proc/self/fdinfo`. A file of a tree at hand is no placeholder; it is known
//! by its device and number, and one note does for all.
//!
//! In a family of root's, members of several users leave notes. Nobody can list them or guess a mark, so
//! that only who has received a file has its token; and what neither the reader nor root has written is
//! believed as far as the server bears the token out: by a name in it, the reader's own rights could be
//! turned against him.

use super::file::File;
use super::handed::{Handed, Item, write};
use super::{near, shelf};
use crate::process::View;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use privns_abi::{Errno, Result};
use privns_host::net::credentials;
use privns_host::{Host, Kernel, Name};

/// What the directory of the notes is called in the family's.
const SENT: &[u8] = b"/sent";
/// Messages with one description that may be under way, as the kernel has a limit of its own.
const UNDER_WAY: usize = 1024;

/// What was left for the receiver of a message.
#[derive(Default)]
pub struct Sent {
    notes: Vec<Name>,
    handed: Vec<Handed>,
}

impl View<'_> {
    /// Has whoever receives these descriptors, some of which stand for remote files, find the files
    /// behind them; `through` is the socket.
    ///
    /// # Errors
    /// EOPNOTSUPP where the receiver is no member, or the host cannot tell him; ETOOMANYREFS;
    /// ENAMETOOLONG for a file whose name leaves no room for the rest.
    #[cold]
    pub fn send_files(self, through: i32, fds: &[i32]) -> Result<Sent> {
        if !self.is_member_at(through) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.process.flush_maps();
        let mut sent = Sent::default();
        for &fd in fds {
            if let Err(error) = self.leave_note(fd, &mut sent) {
                self.take_back(sent);
                return Err(error);
            }
        }
        Ok(sent)
    }

    /// The message was not sent after all.
    #[cold]
    pub fn take_back(self, mut sent: Sent) {
        for note in &mut sent.notes {
            let _ = note.as_cstr().and_then(|note| Kernel.unlink(note));
        }
        // A token that lies about keeps the file open, and what it has locked.
        self.claim_all(&sent.handed);
    }

    /// A descriptor has come out of a message, or was only shown (MSG_PEEK) and will come again.
    #[cold]
    pub fn receive_file(self, fd: i32, shown: bool) {
        let found = if Kernel.is_placeholder(fd) {
            Kernel.locked_byte(fd).and_then(|mark| self.marked_note(mark, shown))
        } else {
            self.note_at_hand(fd)
        };
        let Some((text, trusted)) = found else { return };
        let Some((item, _)) = Item::parse(text.as_bytes()) else { return };
        let file = Arc::new(item.file());
        if item.near {
            if trusted && near::is_inherited(fd, item.identity) {
                let _ = self.process.stand_at(fd, file);
            }
            return;
        }
        if !trusted {
            file.remove();
        }
        let token = item.token.map(<[u8]>::to_vec);
        self.claim_all(&[Handed { file: file.clone(), token }]);
        self.stand_for(fd, file, trusted);
    }

    /// A descriptor stands for a file, which this process may have open as the same description already.
    fn stand_for(self, fd: i32, file: Arc<File>, trusted: bool) {
        let files = &self.process.remotes.files;
        let same = |slot| trusted && files.get(slot).is_some_and(|other| other.owner == file.owner);
        let there = self.process.fds.slots().find(|&(other, slot)| other != fd && same(slot));
        match there {
            Some((other, _)) => drop(self.process.copied(other, fd)),
            None => {
                let _ = self.process.stand_at(fd, file);
            }
        }
    }

    fn leave_note(self, fd: i32, sent: &mut Sent) -> Result<()> {
        let Some(file) = self.process.file(fd) else { return Ok(()) };
        let dir = self.notes_to_write().map_err(|_| Errno::EOPNOTSUPP)?;
        self.process.remotes.change();
        if file.is_near() {
            let text = told(&Handed { file, token: None });
            let _ = Kernel.fstat(fd).and_then(|st| put_at_hand(&dir, st.dev, st.ino, &text));
            return Ok(());
        }
        file.share_offset(fd);
        let mark = mark(fd)?;
        let handed = self.tokens(alloc::vec![file]);
        let text: Vec<u8> = handed.iter().flat_map(told).collect();
        sent.handed.extend(handed);
        sent.notes.push(put_marked(&dir, mark, &text)?);
        Ok(())
    }

    /// The note for a mark, and whether all of it can be believed.
    fn marked_note(self, mark: u64, shown: bool) -> Option<(Name, bool)> {
        let dir = self.notes().ok()?;
        (0..UNDER_WAY).find_map(|nth| {
            let mut name = marked(&dir, mark, nth).ok()?;
            let text = read(&mut name)?;
            // Who removes it has it.
            let mine = shown || Kernel.unlink(name.as_cstr().ok()?).is_ok();
            mine.then_some(text)
        })
    }

    fn note_at_hand(self, fd: i32) -> Option<(Name, bool)> {
        let st = Kernel.fstat(fd).ok().filter(|st| st.mode & libc::S_IFMT == libc::S_IFREG)?;
        read(&mut at_hand(&self.notes().ok()?, st.dev, st.ino).ok()?)
    }

    /// The directory of the notes.
    fn notes(self) -> Result<Name> {
        let mut dir = Name::from(self.home()?.as_bytes())?;
        dir.push(SENT)?;
        Ok(dir)
    }

    /// The same, for one to be put there.
    fn notes_to_write(self) -> Result<Name> {
        let mut dir = self.notes()?;
        // Who receives a file of root's removes root's note.
        shelf::shared_as(&mut dir, Kernel.geteuid(), 0o733)?;
        Ok(dir)
    }

    /// Whether the process at the other end of a socket is a member, as far as can be seen: one that has
    /// made a pair of sockets and gone was one, and in a family of root's those whom we may not look at.
    fn is_member_at(self, socket: i32) -> bool {
        let Ok(peer) = credentials(socket) else { return false };
        let at = |name: &str| Kernel.stat(Name::from(name.as_bytes())?.as_cstr()?);
        let Ok(own) = Kernel.fstat(self.family.fd()) else { return false };
        match at(&format!("/proc/{}/fd/{}", peer.pid, self.family.fd())) {
            Ok(theirs) => (theirs.dev, theirs.ino) == (own.dev, own.ino),
            Err(Errno::EACCES | Errno::EPERM) => own.uid == 0,
            Err(_) => peer.pid > 0 && at(&format!("/proc/{}", peer.pid)).is_err(),
        }
    }
}

/// The mark of a description; made where it has none yet, and seen to be there.
fn mark(fd: i32) -> Result<u64> {
    if let Some(mark) = Kernel.locked_byte(fd) {
        return Ok(mark);
    }
    let refused = |_| Errno::EOPNOTSUPP;
    Kernel.lock_byte(fd, Kernel.random()? >> 2 | 1).map_err(refused)?;
    Kernel.locked_byte(fd).ok_or(Errno::EOPNOTSUPP)
}

fn marked(dir: &Name, mark: u64, nth: usize) -> Result<Name> {
    let mut name = Name::from(dir.as_bytes())?;
    name.push(format!("/{mark:016x}.{nth}").as_bytes())?;
    Ok(name)
}

fn at_hand(dir: &Name, dev: u64, ino: u64) -> Result<Name> {
    let mut name = Name::from(dir.as_bytes())?;
    name.push(format!("/n{dev:x}-{ino:x}").as_bytes())?;
    Ok(name)
}

/// A note is what a symbolic link leads to: there at once, and whole.
fn put_marked(dir: &Name, mark: u64, text: &[u8]) -> Result<Name> {
    let mut text = Name::from(text)?;
    for nth in 0..UNDER_WAY {
        let mut name = marked(dir, mark, nth)?;
        match Kernel.symlink(text.as_cstr()?, name.as_cstr()?) {
            Err(Errno::EEXIST) => {}
            made => return made.map(|()| name),
        }
    }
    Err(Errno::ETOOMANYREFS)
}

/// The last to be sent counts: they are all alike. Without one the descriptor is the file still.
fn put_at_hand(dir: &Name, dev: u64, ino: u64, text: &[u8]) -> Result<()> {
    let mut new = put_marked(dir, Kernel.random()?, text)?;
    let mut name = at_hand(dir, dev, ino)?;
    Kernel.rename(new.as_cstr()?, name.as_cstr()?)
}

/// A note in words; the number is the receiver's to know.
fn told(handed: &Handed) -> Vec<u8> {
    let mut text = Vec::new();
    write(&mut text, core::iter::once(0), handed);
    text
}

/// What a note says, and whether we or root have written it: of one and the same, whatever others put
/// in its place meanwhile.
fn read(name: &mut Name) -> Option<(Name, bool)> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let note = Kernel.openat(libc::AT_FDCWD, name.as_cstr().ok()?, flags, 0).ok()?;
    let mut text = Name::new();
    let read = Kernel.readlinkat(note, c"", &mut text).and_then(|()| Kernel.fstat(note));
    let _ = Kernel.close(note);
    let by = read.ok()?.uid;
    Some((text, by == 0 || by == Kernel.geteuid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_goes_with_the_description() {
        let master = Kernel.placeholder(true).unwrap();
        for flags in [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR] {
            let one = Kernel.reopen_as(master, flags).unwrap();
            let other = Kernel.reopen_as(master, flags).unwrap();
            let first = mark(one).unwrap();
            assert_eq!(mark(one), Ok(first));
            let copy = Kernel.dup_from(one, 0, true).unwrap();
            assert_eq!((Kernel.locked_byte(copy), Kernel.locked_byte(other)), (Some(first), None));
            Kernel.close(one).unwrap();
            assert_eq!(Kernel.locked_byte(copy), Some(first));
            assert_ne!(mark(other).unwrap(), first);
            [copy, other].iter().for_each(|&fd| Kernel.close(fd).unwrap());
        }
        let named = Kernel.reopen_as(master, libc::O_PATH).unwrap();
        assert_eq!(mark(named), Err(Errno::EOPNOTSUPP));
        [named, master].iter().for_each(|&fd| Kernel.close(fd).unwrap());
    }
}
