//! The arguments that a program is given when it is not run as it was asked
//! for: by a script's interpreter, or by the namespace's own loader.

use crate::call::{Does, Named};
use crate::exec::Strings;
use crate::strings::{Block, Next};
use core::ffi::{c_char, CStr};
use privns_abi::{Errno, Result};
use privns_host::kernel::decimal;
use privns_host::Name;
use privns_namespace::program::Script;

/// Scripts that are run by scripts, as many as the kernel bears.
const NESTED: usize = 5;

/// The interpreters and arguments that go before a script's name, as the
/// kernel puts them.
#[derive(Default)]
pub(crate) struct Chain {
    /// Of each level: interpreter, NUL, and perhaps argument, NUL.
    text: Vec<u8>,
    /// Where each level begins, and whether it has an argument.
    levels: [(usize, bool); NESTED],
    pub(crate) depth: usize,
    /// The host alone would find something else.
    pub(crate) differs: bool,
}

impl Chain {
    /// Goes one level down.
    ///
    /// # Errors
    /// ELOOP beyond what the kernel bears; ENOMEM.
    pub(crate) fn add(&mut self, script: &Script) -> Result<()> {
        let level = self.levels.get_mut(self.depth).ok_or(Errno::ELOOP)?;
        *level = (self.text.len(), script.argument().is_some());
        for piece in [Some(script.interpreter()), script.argument()].into_iter().flatten() {
            self.text.try_reserve(piece.len() + 1).map_err(|_| Errno::ENOMEM)?;
            self.text.extend_from_slice(piece);
            self.text.push(0);
        }
        self.depth += 1;
        Ok(())
    }

    /// The strings of a level.
    fn pieces(&self, level: usize) -> impl Iterator<Item = &[u8]> {
        let (at, argument) = self.levels.get(level).copied().unwrap_or_default();
        let text = self.text.get(at..).unwrap_or_default();
        text.split(|b| *b == 0).take(1 + usize::from(argument))
    }

    /// The innermost interpreter; only for a chain that has one.
    pub(crate) fn interpreter(&self) -> Named {
        let level = self.levels.get(self.depth.wrapping_sub(1)).map_or(0, |level| level.0);
        let at = self.text.get(level..).unwrap_or(b"\0").as_ptr();
        Named::follow(libc::AT_FDCWD, at.cast(), Does::Read)
    }

    /// The arguments for the innermost interpreter.
    ///
    /// # Safety
    /// The name and the array are what exec was given.
    pub(crate) unsafe fn arguments(&self, named: &Named, argv: Strings) -> Result<Next> {
        // SAFETY: the caller's array.
        let count = unsafe { count(argv) };
        // A name for a descriptor, where there is no other (execveat(2)).
        let mut digits = [0; 10];
        // SAFETY: the caller's name.
        let name = match unsafe { name_of(named) } {
            b"" => [b"/dev/fd/", decimal(named.dirfd.unsigned_abs(), &mut digits)],
            name => [name, b""],
        };
        let len = self.text.len() + name[0].len() + name[1].len() + 1;
        let mut block = Block::new(count + 2 * self.depth + 2, len)?;
        for level in (0..self.depth).rev() {
            self.pieces(level).for_each(|piece| block.text(&[piece]));
        }
        block.text(&name);
        for at in 1..count {
            // SAFETY: as above.
            block.word(unsafe { *argv.add(at) });
        }
        Ok(block.finish())
    }
}

/// The arguments by which the namespace's own loader runs a program: its
/// options are those of ld.so(8). The host's cache names the host's libraries.
///
/// # Safety
/// A C string, and an array as exec takes it.
pub(crate) unsafe fn by_loader(
    loader: &Name,
    program: *const c_char,
    argv: Strings,
) -> Result<Next> {
    // SAFETY: an array that ends with null, or null.
    let count = unsafe { count(argv) };
    // SAFETY: a C string; the array has as many.
    let (program, first) = unsafe {
        let first = if count == 0 { c"".as_ptr() } else { *argv };
        (CStr::from_ptr(program).to_bytes(), first)
    };
    let mut block = Block::new(count + 6, loader.as_bytes().len() + program.len() + 4)?;
    block.text(&[loader.as_bytes()]);
    block.word(c"--argv0".as_ptr());
    block.word(first);
    block.word(c"--inhibit-cache".as_ptr());
    // A name without a slash would be searched for.
    let here: &[u8] = if program.contains(&b'/') { b"" } else { b"./" };
    block.text(&[here, program]);
    for at in 1..count {
        // SAFETY: as above.
        block.word(unsafe { *argv.add(at) });
    }
    Ok(block.finish())
}

/// A loader that is run as a program itself (ld.so(8)), as ldd(1) does. It opens
/// the program that it is told of by its host name.
pub(crate) struct ByHand {
    /// The loader's host name.
    pub(crate) loader: Name,
    /// Where the program stands among the arguments.
    at: usize,
    /// They say what it is to be called.
    named: bool,
    /// Where among them its libraries are searched for, in place of what
    /// LD_LIBRARY_PATH says.
    path: Option<usize>,
}

/// The loader's options that have a value behind them.
const VALUED: &[&[u8]] = &[
    b"--library-path",
    b"--glibc-hwcaps-prepend",
    b"--glibc-hwcaps-mask",
    b"--inhibit-rpath",
    b"--audit",
    b"--preload",
    b"--argv0",
];

impl ByHand {
    /// What the loader of this name is to run; `None` where that is nothing, or
    /// a name that it searches for as for a library's.
    ///
    /// # Safety
    /// An array as exec takes it.
    pub(crate) unsafe fn read(loader: &[u8], argv: Strings) -> Option<(ByHand, *const c_char)> {
        // SAFETY: the caller's array.
        let count = unsafe { count(argv) };
        let (mut at, mut named, mut path) = (1, false, None);
        while at < count {
            // SAFETY: not beyond the null.
            let word = unsafe { *argv.add(at) };
            // SAFETY: a C string, the caller says.
            let text = unsafe { CStr::from_ptr(word) }.to_bytes();
            if !text.starts_with(b"--") {
                let by_hand = ByHand { loader: Name::from(loader).ok()?, at, named, path };
                return text.contains(&b'/').then_some((by_hand, word));
            }
            named |= text == b"--argv0";
            if text == b"--library-path" {
                path = Some(at + 1);
            }
            at += 1 + usize::from(VALUED.contains(&text));
        }
        None
    }

    /// The directories that the arguments name.
    ///
    /// # Safety
    /// The array that this was read from.
    pub(crate) unsafe fn library_path<'a>(&self, argv: Strings) -> Option<&'a [u8]> {
        // SAFETY: one of the array's strings, before the program.
        self.path.map(|at| unsafe { CStr::from_ptr(*argv.add(at)) }.to_bytes())
    }

    /// The arguments with the program's host name in place of its own, and with
    /// other directories in place of those that they name.
    ///
    /// # Errors
    /// ENOMEM.
    ///
    /// # Safety
    /// The array that this was read from, and a C string.
    pub(crate) unsafe fn arguments(
        &self,
        argv: Strings,
        program: *const c_char,
        path: Option<&[u8]>,
    ) -> Result<Next> {
        // SAFETY: the caller's array.
        let (count, program) = unsafe { (count(argv), CStr::from_ptr(program)) };
        let len = program.count_bytes() + path.map_or(0, <[u8]>::len) + 2;
        let mut block = Block::new(count + 3, len)?;
        for at in 0..count {
            // SAFETY: not beyond the null.
            let word = unsafe { *argv.add(at) };
            match path.filter(|_| self.path == Some(at)) {
                Some(path) => block.text(&[path]),
                None if at != self.at => block.word(word),
                None => {}
            }
            if at != self.at {
                continue;
            }
            if !self.named {
                block.word(c"--argv0".as_ptr());
                block.word(word);
            }
            block.text(&[program.to_bytes()]);
        }
        Ok(block.finish())
    }
}

/// The strings of an array.
///
/// # Safety
/// Null, or an array that ends with null.
pub(crate) unsafe fn count(argv: Strings) -> usize {
    let mut count = 0;
    // SAFETY: not beyond the null.
    unsafe {
        while !argv.is_null() && !(*argv.add(count)).is_null() {
            count += 1;
        }
    }
    count
}

/// The name that a call was made with.
///
/// # Safety
/// It is a C string, and outlives what is returned.
pub(crate) unsafe fn name_of<'a>(named: &Named) -> &'a [u8] {
    // SAFETY: the program's own string, for the length of the call.
    unsafe { CStr::from_ptr(named.path) }.to_bytes()
}
