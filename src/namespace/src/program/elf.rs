//! Reading an ELF file (elf(5); gABI), as far as what is damaged there goes.

use super::{Elf, MACHINE, START, Text};
use privns_abi::Result;
use privns_host::Kernel;

const CLASS_64: u8 = 2;
const LITTLE: u8 = 1;
const PT_LOAD: u64 = 1;
pub(super) const PT_DYNAMIC: u64 = 2;
pub(super) const PT_INTERP: u64 = 3;
pub(super) const PT_NOTE: u64 = 4;
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
/// Bytes of notes that are looked at: linkers put the few that all programs have together.
const NOTES_MAX: usize = 512;
/// The owner of the note that Go's linker writes into every program.
const GO: &[u8] = b"Go\0\0";
/// Program headers looked at; linkers write about a dozen.
const HEADERS_MAX: u64 = 64;

/// Libraries that refuse to start unless they come before all others.
const SANITIZERS: &[&[u8]] = &[b"libasan.so", b"libtsan.so", b"libhwasan.so", b"liblsan.so"];

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
    let file = File::new(start, &read).filter(|file| file.wide);
    let Some(file) = file.filter(|file| file.number(18, 2) == Some(MACHINE.into())) else {
        return Ok(false);
    };
    let _ = file.strings(&mut |tag, at| match tag {
        DT_NEEDED => each(Link::Needed(file.text::<PATHS_MAX>(at).as_bytes())),
        DT_RPATH => each(Link::Rpath(file.text::<PATHS_MAX>(at).as_bytes())),
        _ => each(Link::Runpath(file.text::<PATHS_MAX>(at).as_bytes())),
    });
    Ok(true)
}

/// An ELF file being read.
pub(super) struct File<'a> {
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

impl<'a> File<'a> {
    /// The file that begins with `start`, if it is one, and is read on by `read`.
    pub(super) fn new(
        start: &'a [u8],
        read: &'a dyn Fn(u64, &mut [u8]) -> Result<usize>,
    ) -> Option<Self> {
        let ident = start.get(..16)?.strip_prefix(b"\x7fELF")?;
        Some(File { start, read, wide: ident[0] == CLASS_64, little: ident[1] == LITTLE })
    }

    /// What it says as a program.
    pub(super) fn program(&self) -> Option<Elf> {
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
