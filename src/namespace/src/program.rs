//! What a program's file says about it (elf(5), execve(2)): whether the
//! library can serve it, known before it is run.
//!
//! Nothing here allocates: exec is called in vfork's children and in signal
//! handlers.

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

const CLASS_64: u8 = 2;
const LITTLE: u8 = 1;
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const PT_NOTE: u64 = 4;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
/// Bytes of the dynamic section that are read at a time: 64 entries, of which
/// programs have about thirty.
const DYNAMIC: usize = 1024;
/// How often: large programs need hundreds of libraries.
const DYNAMICS: u64 = 16;
/// Longest list of directories, or name, that is read whole.
const PATHS_MAX: usize = 2048;
/// What the kernel reads of a `#!` line (BINPRM_BUF_SIZE).
const LINE_MAX: usize = 256;
/// Longest name of a sanitizer's library that we look for.
const SONAME_MAX: usize = 40;
/// Most programs' headers and loader's name lie in these first bytes.
const START: usize = 1024;
/// Bytes of notes that are looked at: linkers put the few that all programs have together.
const NOTES_MAX: usize = 512;
/// The owner of the note that Go's linker writes into every program.
const GO: &[u8] = b"Go\0\0";
/// Program headers looked at; linkers write about a dozen.
const HEADERS_MAX: u64 = 64;

/// This machine's `EM_*`.
pub const MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };

/// The file names of the loaders of the C library that we are built for.
const LOADERS: &[&[u8]] = &[b"ld-linux-x86-64.so.2", b"ld-linux-aarch64.so.1", b"ld.so.1"];

/// Libraries that refuse to start unless they come before all others.
const SANITIZERS: &[&[u8]] = &[b"libasan.so", b"libtsan.so", b"libhwasan.so", b"liblsan.so"];

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
        let file = File { start, read, wide: false, little: true };
        Ok(file.elf().map_or(Header::Other, Header::Elf))
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

/// What a file has the loader look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link<'a> {
    /// A library that it needs itself (`DT_NEEDED`).
    Needed(&'a [u8]),
    /// Directories, separated by colons, for it and what it needs (`DT_RPATH`).
    Rpath(&'a [u8]),
    /// Directories for itself alone (`DT_RUNPATH`).
    Runpath(&'a [u8]),
}

/// Calls `each` with what the 64-bit ELF file behind `fd` has the loader look
/// for. False: it is none of this machine's.
///
/// # Errors
/// pread(2)'s.
pub fn links(fd: i32, each: &mut dyn FnMut(Link<'_>)) -> Result<bool> {
    let read = |at, out: &mut [u8]| Kernel.pread(fd, out, at);
    let mut start = [0; START];
    let len = read(0, &mut start)?;
    let start = start.get(..len).unwrap_or_default();
    if !start.starts_with(b"\x7fELF") || start.get(4) != Some(&CLASS_64) {
        return Ok(false);
    }
    let file = File { start, read: &read, wide: true, little: start.get(5) == Some(&LITTLE) };
    if file.number(18, 2) != Some(MACHINE.into()) {
        return Ok(false);
    }
    let _ = file.strings(&mut |tag, at| match tag {
        DT_NEEDED => each(Link::Needed(file.text::<PATHS_MAX>(at).as_bytes())),
        DT_RPATH => each(Link::Rpath(file.text::<PATHS_MAX>(at).as_bytes())),
        _ => each(Link::Runpath(file.text::<PATHS_MAX>(at).as_bytes())),
    });
    Ok(true)
}

/// The names in a value of LD_PRELOAD (ld.so(8)).
pub fn preloaded(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| matches!(b, b':' | b' ')).filter(|name| !name.is_empty())
}

/// The directories in a value of LD_LIBRARY_PATH, which both characters separate
/// (ld.so(8)); an empty one is the working directory.
pub fn directories(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| matches!(b, b':' | b';'))
}

/// The directories in a `DT_RPATH` or a `DT_RUNPATH`, as [`Elf::paths`] gives them.
pub fn own_directories(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b':')
}

/// Where loaders look without being told (ld.so(8), and what distributions
/// write into ld.so.conf).
pub const PLACES: &[&[u8]] = &[
    #[cfg(target_arch = "x86_64")]
    b"/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "x86_64")]
    b"/usr/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    b"/lib/aarch64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    b"/usr/lib/aarch64-linux-gnu",
    b"/lib64",
    b"/usr/lib64",
    b"/lib",
    b"/usr/lib",
    b"/usr/local/lib",
];

/// Where libc has its conversions of text (iconv(1)), which it loads as libraries.
pub const MODULES: &[&[u8]] = &[
    #[cfg(target_arch = "x86_64")]
    b"/usr/lib/x86_64-linux-gnu/gconv",
    #[cfg(target_arch = "aarch64")]
    b"/usr/lib/aarch64-linux-gnu/gconv",
    b"/usr/lib64/gconv",
    b"/usr/lib/gconv",
];

/// A statically linked one hands over to a twin that is not, in a family.
const LAUNCHER: &[u8] = b"ns-exec";

/// Whether a path ends in the name of a loader of our C library: `ld-2.31.so`
/// is what older systems call the file itself.
#[must_use]
pub fn is_loader(path: &[u8]) -> bool {
    let name = privns_abi::path::file_name(path);
    LOADERS.contains(&name) || name.starts_with(b"ld-2.") && name.ends_with(b".so")
}

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

/// An ELF file being read.
struct File<'a> {
    start: &'a [u8],
    read: &'a dyn Fn(u64, &mut [u8]) -> Result<usize>,
    wide: bool,
    little: bool,
}

/// A program header.
#[derive(Clone, Copy)]
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

impl File<'_> {
    fn elf(mut self) -> Option<Elf> {
        let ident = self.start.get(..16)?.strip_prefix(b"\x7fELF")?;
        self.wide = ident[0] == CLASS_64;
        self.little = ident[1] == LITTLE;
        let machine = self.number(18, 2)? as u16;
        let mut elf = Elf {
            bits: if self.wide { 64 } else { 32 },
            machine,
            loader: None,
            paths: None,
            sanitizer: None,
            needs_places: false,
            is_go: false,
        };
        if let Some(loader) = self.segments()?.find(|s| s.kind == PT_INTERP) {
            elf.loader = Some(self.text(loader.offset));
        }
        if self.wide && machine == MACHINE {
            let _ = self.dynamic(&mut elf);
            elf.is_go = self.segments()?.any(|s| s.kind == PT_NOTE && self.has_note_of(&s, GO));
        }
        Some(elf)
    }

    /// Whether one of a segment's notes (gABI, "Note Section") is of `owner`, who is spelled with
    /// what fills the last word.
    fn has_note_of(&self, notes: &Segment, owner: &[u8]) -> bool {
        let mut bytes = [0; NOTES_MAX];
        let size = usize::try_from(notes.size).unwrap_or(NOTES_MAX).min(NOTES_MAX);
        let len = bytes.get_mut(..size).and_then(|bytes| self.fill(notes.offset, bytes));
        let mut rest = bytes.get(..len.unwrap_or(0)).unwrap_or_default();
        while let Some((head, after)) = rest.split_at_checked(12) {
            let size = |at: usize| head.get(at..at + 4).map_or(0, |size| self.fold(size) as usize);
            let (name, contents) = (size(0).next_multiple_of(4), size(4).next_multiple_of(4));
            if after.get(..name) == Some(owner) {
                return true;
            }
            rest = after.get(name.saturating_add(contents)..).unwrap_or_default();
        }
        false
    }

    fn segments(&self) -> Option<impl Iterator<Item = Segment> + '_> {
        let (offset, size, count) = if self.wide {
            (self.number(32, 8)?, self.number(54, 2)?, self.number(56, 2)?)
        } else {
            (self.number(28, 4)?, self.number(42, 2)?, self.number(44, 2)?)
        };
        Some((0..count.min(HEADERS_MAX)).map_while(move |i| {
            let at = offset.checked_add(i.checked_mul(size)?)?;
            let field = |wide: u64, narrow: u64| {
                let (at, len) = if self.wide { (at + wide, 8) } else { (at + narrow, 4) };
                self.number(at, len)
            };
            at.checked_add(64)?;
            Some(Segment {
                kind: self.number(at, 4)?,
                offset: field(8, 4)?,
                address: field(16, 8)?,
                size: field(32, 16)?,
            })
        }))
    }

    /// What the dynamic section says (gABI, "Dynamic Section"): a program's
    /// paths, and what sort of libraries it needs.
    fn dynamic(&self, elf: &mut Elf) -> Option<()> {
        let mut needed = 0;
        self.strings(&mut |tag, at| match tag {
            DT_RPATH | DT_RUNPATH => elf.paths = Some(self.text(at)),
            _ => {
                needed += 1;
                let name: Text = self.text(at);
                let name = name.as_bytes();
                elf.needs_places |= name.contains(&b'/');
                // Linkers put a sanitizer before all others.
                if needed <= 2 && SANITIZERS.iter().any(|s| name.starts_with(s)) {
                    elf.sanitizer = Some(Text::new(name));
                }
            }
        })
    }

    /// Calls `each` with the tag of every entry that names a string, and
    /// where in the file the string is.
    fn strings(&self, each: &mut dyn FnMut(u64, u64)) -> Option<()> {
        let dynamic = self.segments()?.find(|s| s.kind == PT_DYNAMIC)?;
        let mut first = [0; DYNAMIC];
        let len = (self.read)(dynamic.offset, &mut first).ok()?;
        let first = first.get(..len)?;
        let mut strings = None;
        self.entries(&dynamic, first, &mut |tag, value| {
            if tag == DT_STRTAB {
                strings = Some(value);
            }
        })?;
        let strings = strings?;
        let load = self.segments()?.find(|s| {
            s.kind == PT_LOAD && (s.address..s.address.saturating_add(s.size)).contains(&strings)
        })?;
        let strings = (strings - load.address).checked_add(load.offset)?;
        self.entries(&dynamic, first, &mut |tag, value| {
            let at = strings.checked_add(value);
            if let (DT_NEEDED | DT_RPATH | DT_RUNPATH, Some(at)) = (tag, at) {
                each(tag, at);
            }
        })
    }

    /// Calls `each` with tag and value of every entry of the dynamic section,
    /// which begins with `first`.
    fn entries(
        &self,
        dynamic: &Segment,
        first: &[u8],
        each: &mut dyn FnMut(u64, u64),
    ) -> Option<()> {
        if self.entries_in(first, each) {
            return Some(());
        }
        let mut bytes = [0; DYNAMIC];
        for n in 1..DYNAMICS {
            let at = dynamic.offset.checked_add(n * DYNAMIC as u64)?;
            let len = (self.read)(at, &mut bytes).ok()?;
            if self.entries_in(bytes.get(..len)?, each) {
                break;
            }
        }
        Some(())
    }

    /// The same for a part of it; whether it ends there.
    fn entries_in(&self, bytes: &[u8], each: &mut dyn FnMut(u64, u64)) -> bool {
        for entry in bytes.chunks_exact(16) {
            let (tag, value) = entry.split_at(8);
            match self.fold(tag) {
                0 => return true,
                tag => each(tag, self.fold(value)),
            }
        }
        bytes.len() < DYNAMIC
    }

    /// The text at an offset, up to its NUL.
    fn text<const MAX: usize>(&self, at: u64) -> Text<MAX> {
        // Most of the time the bytes at hand hold all of it.
        let near = usize::try_from(at).ok().and_then(|at| self.start.get(at..));
        if let Some(end) = near.and_then(|near| near.iter().position(|b| *b == 0)) {
            return Text::new(near.and_then(|near| near.get(..end)).unwrap_or_default());
        }
        let mut bytes = [0; MAX];
        let len = self.fill(at, &mut bytes).unwrap_or(0);
        let text = bytes.get(..len).unwrap_or_default();
        Text::new(text.split(|b| *b == 0).next().unwrap_or_default())
    }

    fn number(&self, at: u64, len: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..len)?;
        (self.fill(at, bytes)? == len).then(|| self.fold(bytes))
    }

    fn fold(&self, bytes: &[u8]) -> u64 {
        let fold = |n: u64, b: &u8| n << 8 | u64::from(*b);
        if self.little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) }
    }

    /// What the file has at an offset: from the bytes at hand where they go
    /// that far.
    fn fill(&self, at: u64, out: &mut [u8]) -> Option<usize> {
        let near = usize::try_from(at).ok().and_then(|at| {
            let end = at.checked_add(out.len())?;
            self.start.get(at..end)
        });
        match near {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                Some(bytes.len())
            }
            None => (self.read)(at, out).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn parse(bytes: &[u8]) -> Header {
        let read = |at: u64, out: &mut [u8]| {
            let from = bytes.get(at as usize..).unwrap_or_default();
            let n = from.len().min(out.len());
            out[..n].copy_from_slice(&from[..n]);
            Ok(n)
        };
        Header::read(&read).unwrap()
    }

    #[test]
    fn our_own_program_can_be_served() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let Header::Elf(elf) = parse(&own) else { panic!("no ELF") };
        assert_eq!(elf.unserved(b"/x"), None);
        assert_eq!((elf.bits, elf.machine), (64, MACHINE));
        assert!(elf.sanitizer().is_none());
    }

    #[test]
    fn the_libraries_that_are_needed_are_listed() {
        let own = Kernel.openat(libc::AT_FDCWD, c"/proc/self/exe", libc::O_RDONLY, 0).unwrap();
        let mut names = Vec::new();
        let elf = links(own, &mut |link| {
            if let Link::Needed(name) = link {
                names.push(name.to_vec());
            }
        });
        assert_eq!(elf, Ok(true));
        Kernel.close(own).unwrap();
        assert!(names.iter().any(|name| name.starts_with(b"libc.so")), "{names:?}");
    }

    #[test]
    fn what_cannot_be_served_is_said() {
        let mut elf = Elf {
            bits: 64,
            machine: MACHINE,
            loader: None,
            paths: None,
            sanitizer: None,
            needs_places: false,
            is_go: false,
        };
        assert_eq!(elf.unserved(b"/bin/x"), Some("it is statically linked"));
        assert_eq!(elf.unserved(b"/lib64/ld-linux-x86-64.so.2"), None);
        assert_eq!(elf.unserved(b"/opt/privns/bin/ns-exec"), None);
        elf.loader = Some(Text::new(b"/lib/ld-musl-x86_64.so.1"));
        assert_eq!(elf.unserved(b"/bin/x"), Some("it uses another C library"));
        elf.is_go = true;
        assert_eq!(elf.unserved(b"/bin/x"), Some("it is a Go program, which passes libc by"));
        elf.machine = 3;
        assert_eq!(elf.unserved(b"/bin/x"), Some("it is for another architecture"));
        elf.bits = 32;
        assert_eq!(elf.unserved(b"/bin/x"), Some("it is a 32-bit program"));
    }

    /// A program with a loader and one note, whose owner is given.
    fn noted(owner: &[u8]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        let put = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| {
            file.resize(file.len().max(at + bytes.len()), 0);
            file[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(&mut file, 18, &MACHINE.to_le_bytes());
        put(&mut file, 32, &64u64.to_le_bytes());
        put(&mut file, 54, &[56, 0, 2, 0]);
        let loader = b"/lib64/ld-linux-x86-64.so.2\0";
        put(&mut file, 200, loader);
        put(&mut file, 300, &4u32.to_le_bytes());
        put(&mut file, 304, &20u32.to_le_bytes());
        put(&mut file, 312, b"GNU\0");
        put(&mut file, 336, &(owner.len() as u32).to_le_bytes());
        put(&mut file, 340, &8u32.to_le_bytes());
        put(&mut file, 348, owner);
        let segments = [(PT_INTERP, 200u64, loader.len() as u64), (PT_NOTE, 300, 60)];
        for (n, (kind, at, len)) in segments.into_iter().enumerate() {
            put(&mut file, 64 + n * 56, &kind.to_le_bytes());
            put(&mut file, 64 + n * 56 + 8, &at.to_le_bytes());
            put(&mut file, 64 + n * 56 + 32, &len.to_le_bytes());
        }
        file
    }

    #[test]
    fn a_go_program_is_known_by_its_note() {
        let why = |owner: &[u8]| match parse(&noted(owner)) {
            Header::Elf(elf) => elf.unserved(b"/bin/x"),
            _ => Some("no ELF"),
        };
        assert_eq!(why(b"Go\0\0"), Some("it is a Go program, which passes libc by"));
        assert_eq!(why(b"GNU\0"), None);
    }

    #[test]
    fn a_script_names_its_interpreter_and_one_argument() {
        let line = |bytes: &[u8]| match parse(bytes) {
            Header::Script(s) => Some((s.interpreter().to_vec(), s.argument().map(<[u8]>::to_vec))),
            _ => None,
        };
        let script = |i: &str, a: Option<&str>| Some((i.into(), a.map(Into::into)));
        assert_eq!(line(b"#! /bin/sh\nx"), script("/bin/sh", None));
        assert_eq!(line(b"#!/bin/sh"), script("/bin/sh", None));
        assert_eq!(line(b"#!/usr/bin/env -S a b \n"), script("/usr/bin/env", Some("-S a b")));
        // Only blanks are trimmed: a carriage return belongs to the name.
        assert_eq!(line(b"#!/bin/sh\r\n"), script("/bin/sh\r", None));
        assert_eq!(line(b"#!\n"), None);
        assert_eq!(line(b"#!  \t\n/bin/sh"), None);
        assert_eq!(line(b"echo"), None);
        let mut long: Vec<u8> = b"#!/".to_vec();
        long.resize(300, b'x');
        assert_eq!(line(&long), None);
        long[200] = b' ';
        assert_eq!(line(&long).unwrap().0.len(), 198);
    }

    #[test]
    fn any_damage_is_only_another_answer() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        for at in 0..900 {
            for value in [0, 0x7f, 0xff] {
                let mut bad = own[..4096].to_vec();
                bad[at] = value;
                let _ = parse(&bad);
            }
            let _ = parse(&own[..at]);
        }
    }

    #[test]
    fn damage_to_what_is_linked_is_only_another_answer() {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::FileExt;
        let own = std::fs::read("/proc/self/exe").unwrap();
        let name = std::format!("/tmp/privns-links-{}", std::process::id());
        let mut new = std::fs::OpenOptions::new();
        let file = new.read(true).write(true).create_new(true).open(&name).unwrap();
        std::fs::remove_file(&name).unwrap();
        let fd = file.as_raw_fd();
        file.write_all_at(&own, 0).unwrap();
        let mut found = 0;
        assert_eq!(links(fd, &mut |_| found += 1), Ok(true));
        assert!(found > 0);
        // The headers, and the dynamic section that they tell of.
        let headers = u64::from_le_bytes(own[32..40].try_into().unwrap()) as usize;
        let number = |at: usize| u64::from_le_bytes(own[at..at + 8].try_into().unwrap()) as usize;
        let dynamic = (0..usize::from(own[56])).map(|n| headers + n * 56);
        let dynamic = dynamic.into_iter().find(|&at| own[at] == PT_DYNAMIC as u8).unwrap();
        let section = number(dynamic + 8);
        for at in (0..64).chain(headers..headers + 900).chain(section..section + 480) {
            for value in [0, 1, 0x7f, 0xff] {
                file.write_all_at(&[value], at as u64).unwrap();
                let _ = links(fd, &mut |_| {});
            }
            file.write_all_at(&own[at..=at], at as u64).unwrap();
        }
        for len in [0, 3, 63, 64, headers + 40, section + 8, section + 100] {
            file.set_len(len as u64).unwrap();
            let _ = links(fd, &mut |_| {});
        }
    }
}
