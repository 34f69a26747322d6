//! What a program's file says about it (elf(5), execve(2)): whether the
//! library can serve it, known before it is run.
//!
//! Nothing here allocates: exec is called in vfork's children and in signal
//! handlers.

mod elf;
mod loader;

pub use elf::{Link, links};
pub use loader::{MODULES, PLACES, directories, is_loader, own_directories, preloaded};

use elf::File;
use privns_abi::Result;
use privns_host::Kernel;

/// What the beginning of a file says it is.
#[derive(Debug, Clone)]
// By value, since exec may run where nothing can be allocated.
#[allow(clippy::large_enum_variant)]
pub enum Header {
    /// `#!` and a line.
    Script(Script),
    /// An ELF program.
    Elf(Elf),
    /// Something else; the kernel may know it (binfmt_misc).
    Other,
}

/// The line of a script.
#[derive(Debug, Clone)]
pub struct Script {
    line: Text,
    /// Where the interpreter's name ends.
    name_end: usize,
    /// Where the argument begins; the line's end when there is none.
    argument: usize,
}

/// An ELF program.
#[derive(Debug, Clone)]
pub struct Elf {
    /// 64 or 32.
    pub bits: u8,
    /// `EM_*`.
    pub machine: u16,
    loader: Option<Text>,
    paths: Option<Text>,
    sanitizer: Option<Text<SONAME_MAX>>,
    needs_places: bool,
    is_go: bool,
}

/// A short text inside a value.
#[derive(Debug, Clone)]
struct Text<const MAX: usize = LINE_MAX> {
    bytes: [u8; MAX],
    len: usize,
}

/// What the kernel reads of a `#!` line (BINPRM_BUF_SIZE).
const LINE_MAX: usize = 256;
/// Longest name of a sanitizer's library that we look for.
const SONAME_MAX: usize = 40;
/// Most programs' headers and loader's name lie in these first bytes.
const START: usize = 1024;

/// This machine's `EM_*`.
pub const MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };

impl Header {
    /// Reads what `fd` is open on.
    ///
    /// # Errors
    /// pread(2)'s.
    pub fn of(fd: i32) -> Result<Header> {
        Header::read(&|at, out: &mut [u8]| Kernel.pread(fd, out, at))
    }

    /// Reads a file through `read`, which fills a buffer from an offset as far
    /// as the file goes.
    ///
    /// # Errors
    /// What `read` returns.
    pub fn read(read: &dyn Fn(u64, &mut [u8]) -> Result<usize>) -> Result<Header> {
        let mut start = [0; START];
        let len = read(0, &mut start)?;
        let start = start.get(..len).unwrap_or_default();
        if let Some(line) = start.strip_prefix(b"#!") {
            return Ok(script(line).map_or(Header::Other, Header::Script));
        }
        let program = File::new(start, read).and_then(|file| file.program());
        Ok(program.map_or(Header::Other, Header::Elf))
    }
}

impl Script {
    /// The interpreter's name.
    #[must_use]
    pub fn interpreter(&self) -> &[u8] {
        self.line.as_bytes().get(..self.name_end).unwrap_or_default()
    }

    /// All that follows it on the line, as one argument.
    #[must_use]
    pub fn argument(&self) -> Option<&[u8]> {
        self.line.as_bytes().get(self.argument..).filter(|a| !a.is_empty())
    }
}

impl Elf {
    /// The dynamic loader that it names; `None` for a static program.
    #[must_use]
    pub fn loader(&self) -> Option<&[u8]> {
        self.loader.as_ref().map(Text::as_bytes)
    }

    /// Where it has the loader look for libraries (`DT_RPATH`, `DT_RUNPATH`),
    /// separated by colons.
    #[must_use]
    pub fn paths(&self) -> &[u8] {
        self.paths.as_ref().map_or(&[], Text::as_bytes)
    }

    /// Whether there may be more of them than are told here.
    #[must_use]
    pub fn has_more_paths(&self) -> bool {
        self.paths().len() >= LINE_MAX
    }

    /// The library among those it needs that must be loaded before all others.
    #[must_use]
    pub fn sanitizer(&self) -> Option<&[u8]> {
        self.sanitizer.as_ref().map(Text::as_bytes)
    }

    /// Whether it needs a library by a name with a slash in it, which is not
    /// searched for.
    #[must_use]
    pub fn needs_places(&self) -> bool {
        self.needs_places
    }

    /// Why the library cannot serve the program, whose file is called `name`;
    /// `None` when it can.
    #[must_use]
    pub fn unserved(&self, name: &[u8]) -> Option<&'static str> {
        if self.bits != 64 {
            return Some("it is a 32-bit program");
        }
        if self.machine != MACHINE {
            return Some("it is for another architecture");
        }
        match self.loader() {
            // With cgo, Go links libc, and its own packages call the kernel past it all the same.
            Some(_) if self.is_go => Some("it is a Go program, which passes libc by"),
            Some(loader) if is_loader(loader) => None,
            Some(_) => Some("it uses another C library"),
            // The loader itself is run as a program too, and names none. Our
            // launcher becomes one that can be served.
            None if is_loader(name) || privns_abi::path::file_name(name) == LAUNCHER => None,
            None => Some("it is statically linked"),
        }
    }
}

/// A statically linked one hands over to a twin that is not, in a family.
const LAUNCHER: &[u8] = b"ns-exec";

impl<const MAX: usize> Text<MAX> {
    fn new(bytes: &[u8]) -> Self {
        let len = bytes.len().min(MAX);
        let mut text = Text { bytes: [0; MAX], len };
        text.bytes[..len].copy_from_slice(&bytes[..len]);
        text
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The line behind `#!` as the kernel takes it apart: only spaces and tabs
/// separate, and a name that the kernel may have cut short is none.
fn script(line: &[u8]) -> Option<Script> {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let line = line.get(..LINE_MAX - 3).unwrap_or(line);
    let newline = line.iter().position(|b| *b == b'\n');
    let ended = newline.is_some() || line.len() < LINE_MAX - 3;
    let line = line.get(..newline.unwrap_or(line.len()))?;
    let from = line.iter().position(|b| !blank(b))?;
    let line = line.get(from..)?;
    let name_end = line.iter().position(|b| blank(b) || *b == 0);
    if name_end.is_none() && !ended {
        return None;
    }
    let name_end = name_end.unwrap_or(line.len());
    let rest = line.get(name_end..)?;
    let rest = rest.get(..rest.iter().position(|b| *b == 0).unwrap_or(rest.len()))?;
    let end = name_end + rest.iter().rposition(|b| !blank(b)).map_or(0, |at| at + 1);
    let argument = rest.iter().position(|b| !blank(b)).map_or(end, |at| name_end + at);
    (name_end > 0).then(|| Script { line: Text::new(&line[..end]), name_end, argument })
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
