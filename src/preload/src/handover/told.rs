//! What `PRIVNS` says: which table the family has, and what the host cannot tell of the process.

use super::{Wanted, OURS};
use core::ffi::c_int;
use core::fmt::Write;
use core::sync::atomic::{AtomicPtr, Ordering};
use privns_abi::{Errno, Result};
use privns_files::process::View;
use privns_host::{sys, Kernel, Name};
use privns_namespace::family::Inherited;

/// Descriptors told of; more than these are looked up by their host names.
const TOLD: usize = 24;

/// Most values of `PRIVNS` are shorter: exec runs in fresh children, where every
/// page of stack is a fault.
const SHORT: usize = 480;

/// A text on the stack, as long as it is short.
pub(super) struct Short {
    bytes: [u8; SHORT],
    len: usize,
    /// The whole text, once it is longer.
    long: Vec<u8>,
    /// There was no memory for it.
    cut: bool,
    /// How much of it says which table it is of, and which image.
    table: usize,
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl Short {
    pub(super) const fn new() -> Short {
        Short { bytes: [0; SHORT], len: 0, long: Vec::new(), cut: false, table: 0 }
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + text.len()) {
            Some(to) if self.long.is_empty() => {
                to.copy_from_slice(text);
                self.len += text.len();
            }
            _ => self.push_long(text),
        }
    }

    #[cold]
    fn push_long(&mut self, text: &[u8]) {
        let short = if self.long.is_empty() { self.len } else { 0 };
        if self.long.try_reserve(short + text.len()).is_err() {
            self.cut = true;
            return;
        }
        self.long.extend_from_slice(self.bytes.get(..short).unwrap_or_default());
        self.long.extend_from_slice(text);
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        if self.long.is_empty() {
            return self.bytes.get(..self.len).unwrap_or_default();
        }
        &self.long
    }

    /// Whether another text is of the same table and image.
    pub(super) fn is_alike(&self, text: &[u8]) -> bool {
        self.bytes.get(..self.table).is_some_and(|table| text.starts_with(table))
    }
}

/// What the next program is to find in `PRIVNS`, with the variable's name.
pub(super) fn ours(view: View<'_>, wanted: &Wanted<'_>, generation: u64) -> Result<Short> {
    let mut text = Short::new();
    text.push(OURS);
    let (fd, id, uid) = (view.family.fd(), view.family.id(), Kernel.geteuid());
    let _ = write!(text, "1:{fd}:{id:016x}:g{generation};u{uid};");
    text.table = text.len;
    let mut separator = "";
    let cwd = view.process.cwd_seq();
    if cwd != 0 {
        let _ = write!(text, "{separator}d{cwd}");
        separator = ";";
    }
    if let Some(dir) = view.process.remote_cwd() {
        view.name_cwd();
        let name = dir.host_name(&dir.last_path())?;
        let _ = write!(text, "{separator}q{}", view.process.cwd_told(&dir));
        let _ = write!(text, ";w{}=", name.as_bytes().len());
        text.push(name.as_bytes());
        separator = ";";
    }
    if wanted.exe != 0 {
        let _ = write!(text, "{separator}x{}", wanted.exe);
        separator = ";";
    }
    if wanted.modules {
        let _ = write!(text, "{separator}l");
        separator = ";";
    }
    for (fd, seq) in view.process.fds.served().filter(|(fd, _)| stays(*fd)).take(TOLD) {
        let _ = write!(text, "{separator}f{fd}={seq}");
        separator = ";";
    }
    if let Some(program) = wanted.program {
        let _ = write!(text, "{separator}e{}=", program.len());
        text.push(program);
        separator = ";";
    }
    if view.process.is_rooted() {
        let root = view.root()?;
        let _ = write!(text, "{separator}r{}=", root.as_bytes().len());
        text.push(root.as_bytes());
        separator = ";";
    }
    if let Some(command) = wanted.command {
        text.push(separator.as_bytes());
        text.push(b"n");
        text.push(command.get(..15).unwrap_or(command));
    }
    if text.cut {
        return Err(Errno::ENOMEM);
    }
    Ok(text)
}

/// Whether a descriptor is inherited.
pub(crate) fn stays(fd: c_int) -> bool {
    // SAFETY: no memory is involved.
    unsafe { sys!(libc::SYS_fcntl, fd, libc::F_GETFD) }.is_ok_and(|flags| flags & 1 == 0)
}

/// Takes over what the last program has handed on behind the table's number:
/// whether what libc loads by itself may lie elsewhere than on the host is the
/// caller's to act upon.
///
/// # Errors
/// ENOMEM: without its root the program is not to run.
pub(crate) fn take(view: View<'_>, inherited: &Inherited<'_>) -> Result<bool> {
    let (mut told, mut modules) = (&b""[..], false);
    for (kind, item) in items(inherited.rest) {
        match kind {
            b'x' => view.process.set_exe(number(item).unwrap_or(0)),
            b'd' => view.process.set_cwd(number(item).unwrap_or(0), false),
            b'f' => {
                if let Some((fd, seq)) = item_fd(item) {
                    view.process.fds.set_seq(fd, seq);
                }
            }
            b'q' => told = item,
            b'w' => {
                view.process.meet();
                view.process.stand_in(counted(item), told);
            }
            b'l' => modules = true,
            b'r' => view.process.set_root(counted(item))?,
            b'e' => {
                let name = Box::into_raw(Box::new(Name::from(counted(item))?));
                PROGRAM.store(name, Ordering::Release);
            }
            b'n' => name_command(item),
            _ => {}
        }
    }
    Ok(modules)
}

/// What is told, item by item: of what kind each is, and its text.
pub(crate) fn items(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    core::iter::from_fn(move || {
        let (kind, text) = rest.split_first()?;
        let end = match kind {
            b'n' => None,
            b'r' | b'e' | b'w' => counted_end(text),
            _ => text.iter().position(|b| *b == b';'),
        };
        let (item, left) = text.split_at(end.unwrap_or(text.len()));
        rest = left.strip_prefix(b";").unwrap_or_default();
        Some((*kind, item))
    })
}

/// A descriptor, and the member that serves it.
pub(crate) fn item_fd(item: &[u8]) -> Option<(c_int, u32)> {
    let (fd, seq) = item.split_at(item.iter().position(|b| *b == b'=')?);
    Some((number(fd)? as c_int, number(&seq[1..])?))
}

fn number(text: &[u8]) -> Option<u32> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// Where an item with a name ends: names are counted, for they may hold
/// anything.
fn counted_end(text: &[u8]) -> Option<usize> {
    let digits = text.iter().position(|b| *b == b'=')?;
    let len: usize = core::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()?;
    digits.checked_add(1)?.checked_add(len).filter(|end| *end <= text.len())
}

fn counted(item: &[u8]) -> &[u8] {
    item.splitn(2, |b| *b == b'=').nth(1).unwrap_or_default()
}

/// The program's file, where the kernel takes the loader for it.
static PROGRAM: AtomicPtr<Name> = AtomicPtr::new(core::ptr::null_mut());

/// The host name of the program's file, where `/proc/self/exe` leads to the
/// loader that runs it.
pub(crate) fn program() -> Option<&'static [u8]> {
    // SAFETY: null, or a box that was leaked into it.
    unsafe { PROGRAM.load(Ordering::Acquire).as_ref() }.map(Name::as_bytes)
}

/// A script is known by its own name, not by its interpreter's (pkill, ps).
fn name_command(name: &[u8]) {
    let mut text = [0u8; 16];
    let len = name.len().min(15);
    text[..len].copy_from_slice(&name[..len]);
    // SAFETY: a C string of at most 16 bytes (prctl(2)).
    let _ = unsafe { sys!(libc::SYS_prctl, libc::PR_SET_NAME, text.as_ptr()) };
}
