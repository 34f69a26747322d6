//! What a program's header says about it (elf(5)): whether the library can
//! serve it, known before it is run.

/// What the first bytes of a file say it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// `#!`: the interpreter, and the rest of the line as one argument.
    Script {
        /// The interpreter's name.
        interpreter: Vec<u8>,
        /// The argument, where there is one.
        argument: Option<Vec<u8>>,
    },
    /// An ELF program.
    Elf(Elf),
    /// Something else; the kernel may know it (binfmt_misc).
    Other,
}

/// An ELF program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// 64 or 32.
    pub bits: u8,
    /// `EM_*`.
    pub machine: u16,
    /// The dynamic loader that it names; `None` for a static program.
    pub loader: Option<Vec<u8>>,
}

/// As much of a file as is needed to tell: linkers put the program headers and
/// the loader's name right behind the file's header.
pub const ENOUGH: usize = 4096;

const CLASS_64: u8 = 2;
const LITTLE: u8 = 1;
const PT_INTERP: u64 = 3;
/// What the kernel reads of a `#!` line (BINPRM_BUF_SIZE).
const LINE_MAX: usize = 256;

/// This machine's `EM_*`.
pub const MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };

/// The loaders of the C library that the library is built for.
const LOADERS: &[&str] = &["/ld-linux-x86-64.so.2", "/ld-linux-aarch64.so.1", "/ld-2.", "/ld.so.1"];

impl Elf {
    /// Why the library cannot serve the program; `None` when it can.
    #[must_use]
    pub fn unserved(&self) -> Option<&'static str> {
        if self.bits != 64 {
            return Some("it is a 32-bit program");
        }
        if self.machine != MACHINE {
            return Some("it is for another architecture");
        }
        let Some(loader) = &self.loader else { return Some("it is statically linked") };
        let known = LOADERS.iter().any(|l| loader.windows(l.len()).any(|w| w == l.as_bytes()));
        if known { None } else { Some("it uses another C library") }
    }
}

impl Header {
    /// Reads the beginning of a file.
    #[must_use]
    pub fn parse(start: &[u8]) -> Header {
        if let Some(line) = start.strip_prefix(b"#!") {
            return script(&line[..line.len().min(LINE_MAX - 2)]);
        }
        elf(start).map_or(Header::Other, Header::Elf)
    }
}

fn script(line: &[u8]) -> Header {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let end = line.iter().position(|b| matches!(b, b'\n' | 0)).unwrap_or(line.len());
    let line = &line[..end];
    let from = line.iter().position(|b| !blank(b)).unwrap_or(line.len());
    let line = &line[from..];
    let to = line.iter().position(blank).unwrap_or(line.len());
    let (interpreter, rest) = line.split_at(to);
    let rest = rest.trim_ascii();
    if interpreter.is_empty() {
        return Header::Other;
    }
    let argument = (!rest.is_empty()).then(|| rest.to_vec());
    Header::Script { interpreter: interpreter.to_vec(), argument }
}

fn elf(start: &[u8]) -> Option<Elf> {
    let ident = start.get(..16)?.strip_prefix(b"\x7fELF")?;
    let (class, order) = (ident[0], ident[1]);
    let wide = class == CLASS_64;
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = start.get(at..at.checked_add(len)?)?;
        let fold = |n: u64, b: &u8| n << 8 | u64::from(*b);
        Some(if order == LITTLE {
            bytes.iter().rev().fold(0, fold)
        } else {
            bytes.iter().fold(0, fold)
        })
    };
    let machine = number(18, 2)? as u16;
    let loader = loader(start, wide, &number);
    Some(Elf { bits: if wide { 64 } else { 32 }, machine, loader })
}

/// The text of the program header that names a loader.
fn loader(
    start: &[u8],
    wide: bool,
    number: &dyn Fn(usize, usize) -> Option<u64>,
) -> Option<Vec<u8>> {
    let (offset, size, count) = if wide {
        (number(32, 8)?, number(54, 2)?, number(56, 2)?)
    } else {
        (number(28, 4)?, number(42, 2)?, number(44, 2)?)
    };
    for i in 0..count as usize {
        let at = (offset as usize).checked_add(i.checked_mul(size as usize)?)?;
        if number(at, 4) != Some(PT_INTERP) {
            continue;
        }
        let (from, len) = if wide {
            (number(at.checked_add(8)?, 8)?, number(at.checked_add(32)?, 8)?)
        } else {
            (number(at.checked_add(4)?, 4)?, number(at.checked_add(16)?, 4)?)
        };
        let text = start.get(from as usize..(from as usize).checked_add(len as usize)?);
        let text = text.unwrap_or_default();
        return Some(text.strip_suffix(b"\0").unwrap_or(text).to_vec());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_program_can_be_served() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let Header::Elf(elf) = Header::parse(&own[..ENOUGH]) else { panic!("no ELF") };
        assert_eq!(elf.unserved(), None);
        assert_eq!((elf.bits, elf.machine), (64, MACHINE));
    }

    #[test]
    fn what_cannot_be_served_is_said() {
        let mut elf = Elf { bits: 64, machine: MACHINE, loader: None };
        assert_eq!(elf.unserved(), Some("it is statically linked"));
        elf.loader = Some(b"/lib/ld-musl-x86_64.so.1".to_vec());
        assert_eq!(elf.unserved(), Some("it uses another C library"));
        elf.machine = 3;
        assert_eq!(elf.unserved(), Some("it is for another architecture"));
        elf.bits = 32;
        assert_eq!(elf.unserved(), Some("it is a 32-bit program"));
    }

    #[test]
    fn a_script_names_its_interpreter_and_one_argument() {
        let parse = |line: &[u8]| Header::parse(line);
        let script = |i: &str, a: Option<&str>| Header::Script {
            interpreter: i.into(),
            argument: a.map(Into::into),
        };
        assert_eq!(parse(b"#! /bin/sh\nx"), script("/bin/sh", None));
        assert_eq!(parse(b"#!/usr/bin/env -S a b \n"), script("/usr/bin/env", Some("-S a b")));
        assert_eq!(parse(b"#!\n"), Header::Other);
        assert_eq!(parse(b"echo"), Header::Other);
    }

    #[test]
    fn any_damage_is_only_another_answer() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        for at in 0..64 {
            for value in [0, 0x7f, 0xff] {
                let mut bad = own[..4096].to_vec();
                bad[at] = value;
                let _ = Header::parse(&bad);
            }
            let _ = Header::parse(&own[..at]);
        }
    }
}
