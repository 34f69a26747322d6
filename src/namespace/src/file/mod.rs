//! The namespace file: Plan 9's namespace(6) with quoting, read into
//! [`Line`]s; an option of `ns-exec` is such a line too.
//!
//! Nothing here looks at files or mount tables; that is [`crate::build`].

mod lex;
mod verbs;

pub(crate) use lex::quote;
pub(crate) use verbs::is_address;

use crate::failure::{Failure, shown};
use crate::poly::files;
use crate::table::Order;
use alloc::format;
use alloc::vec::Vec;
use lex::Lexer;
use privns_abi::{Errno, Result};
use serde::{Deserialize, Serialize};

/// Files that name each other with `.` at most, one inside the other.
pub const DEPTH_MAX: usize = 16;
/// Files read in all: depth alone does not bound files that name several.
pub const FILES_MAX: usize = 1024;

/// What a namespace file needs to know of the world.
pub trait Environment {
    /// The value of a variable; `None` where there is no such variable.
    fn variable(&self, name: &[u8]) -> Option<Vec<u8>>;
    /// The contents of the file that a `.` line names, as given there.
    ///
    /// # Errors
    /// As open(2) and read(2).
    fn read(&self, file: &[u8]) -> Result<Vec<u8>>;
    /// The names in a directory, for `poly`.
    ///
    /// # Errors
    /// ENOENT where there is none.
    fn list(&self, _dir: &[u8]) -> Result<Vec<Vec<u8>>> {
        Err(Errno::ENOENT)
    }
    /// Whether there is such a file.
    fn is_there(&self, _file: &[u8]) -> bool {
        false
    }
    /// The same file by its whole name.
    fn absolute(&self, file: &[u8]) -> Vec<u8> {
        file.to_vec()
    }
    /// Who asks; `None` for a number without a name.
    fn user(&self) -> Option<User> {
        None
    }
    /// The number of a user.
    fn uid_of(&self, _name: &[u8]) -> Option<u32> {
        None
    }
    /// Whether SELinux is there.
    fn has_selinux(&self) -> bool {
        false
    }
    /// What was passed over, for whoever wants to know.
    fn note(&self, _passed: &Failure) {}
}

/// A line of the password database, as far as rules for instances need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: Vec<u8>,
    /// Home directory.
    pub home: Vec<u8>,
    /// Number.
    pub uid: u32,
}

/// One line: what is asked for, how, and where that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What is asked for.
    pub action: Action,
    /// Where a new member goes (`-b`, `-a`).
    pub order: Order,
    /// `-c`: new files go here (MCREATE).
    pub create: bool,
    /// `-r`: read-only.
    pub read_only: bool,
    /// `-q`: no error if it fails.
    pub quiet: bool,
    /// `FILE:LINE`, or the option itself.
    pub origin: Vec<u8>,
}

/// The verbs, with their arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `bind SRC DST`
    Bind {
        /// What to show.
        src: Vec<u8>,
        /// Where.
        dst: Vec<u8>,
    },
    /// `mount ADDR DST [ANAME]`
    Mount {
        /// The server.
        address: Vec<u8>,
        /// Where.
        dst: Vec<u8>,
        /// `-o` and ANAME.
        options: MountOptions,
    },
    /// `private DIR`
    Private(Vec<u8>),
    /// `private -i RULE DIR`
    Instance {
        /// `PREFIX METHOD[:FLAG…]`, see [`crate::poly`].
        rule: Vec<u8>,
        /// Where.
        dir: Vec<u8>,
    },
    /// `dir DST`
    Dir(Vec<u8>),
    /// `symlink TARGET DST`
    Symlink {
        /// The link's text.
        target: Vec<u8>,
        /// Where.
        dst: Vec<u8>,
    },
    /// `unmount [SRC] DST`
    Unmount {
        /// Only the members from here.
        src: Option<Vec<u8>>,
        /// Where.
        dst: Vec<u8>,
    },
    /// `clear`
    Clear,
    /// `cd DIR`
    Cd(Vec<u8>),
}

/// `-o KEY=VALUE,…` of a `mount` line; `None` is the default of the client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountOptions {
    /// The tree of the server to attach to; empty: its default.
    pub aname: Vec<u8>,
    /// The name of the user on the server; `None`: the process's own.
    pub uname: Option<Vec<u8>>,
    /// Largest whole message, in bytes.
    pub msize: Option<u32>,
    /// The only dialect to offer.
    pub dialect: Option<Dialect>,
    /// What may be answered from memory.
    pub cache: Cache,
    /// Seconds that a request may take.
    pub timeout: Option<u32>,
    /// Requests in flight at most.
    pub window: Option<u32>,
    /// Whose the files are shown to be.
    pub owner: Owner,
}

/// `dialect=`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialect {
    /// 9P2000
    Base,
    /// 9P2000.u
    Unix,
    /// 9P2000.L
    Linux,
}

/// `cache=`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cache {
    /// Nothing is.
    None,
    /// What one open file has read; checked at the next open.
    #[default]
    Close,
    /// Whatever has been seen.
    Loose,
}

/// `owner=`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// As the server says.
    #[default]
    Served,
    /// The user's own.
    Me,
}

/// Reads a namespace file and those that it names.
///
/// # Errors
/// The first line that cannot be read, as `NAME:LINE`.
pub fn parse(
    name: &[u8],
    text: &[u8],
    environment: &dyn Environment,
) -> core::result::Result<Vec<Line>, Failure> {
    let mut reader = Reader { environment, lines: Vec::new(), files: 0 };
    reader.text(text, &|line| [name, b":", format!("{line}").as_bytes()].concat(), 0)?;
    Ok(reader.lines)
}

/// Reads the words of one line that stands alone: an option's values, or what
/// `ns` was given. It may name files.
///
/// # Errors
/// As [`parse`], said to come from `origin`.
pub fn parse_words(
    words: &[Vec<u8>],
    origin: &[u8],
    environment: &dyn Environment,
) -> core::result::Result<Vec<Line>, Failure> {
    let mut reader = Reader { environment, lines: Vec::new(), files: 0 };
    reader.words(words, origin, 0)?;
    Ok(reader.lines)
}

/// Reads one line that stands alone, as text.
///
/// # Errors
/// As [`parse`], said to come from `origin`.
pub fn parse_line(
    origin: &[u8],
    text: &[u8],
    environment: &dyn Environment,
) -> core::result::Result<Vec<Line>, Failure> {
    let mut reader = Reader { environment, lines: Vec::new(), files: 0 };
    reader.text(text, &|_| origin.to_vec(), 0)?;
    Ok(reader.lines)
}

struct Reader<'a> {
    environment: &'a dyn Environment,
    lines: Vec<Line>,
    files: usize,
}

impl Reader<'_> {
    fn text(
        &mut self,
        text: &[u8],
        origin: &dyn Fn(u32) -> Vec<u8>,
        depth: usize,
    ) -> core::result::Result<(), Failure> {
        let mut lexer = Lexer::new(text, self.environment);
        while let Some(line) = lexer.next().map_err(|(line, f)| f.at(&origin(line)))? {
            self.words(&line.words, &origin(line.line), depth)?;
        }
        Ok(())
    }

    fn words(
        &mut self,
        words: &[Vec<u8>],
        origin: &[u8],
        depth: usize,
    ) -> core::result::Result<(), Failure> {
        match words.first().map(|verb| &verb[..]) {
            Some(b".") => self.file(words, depth).map_err(|f| f.at(origin)),
            Some(b"poly") => self.poly(words, origin).map_err(|f| f.at(origin)),
            _ => {
                self.lines.push(verbs::parse_words(words, origin)?);
                Ok(())
            }
        }
    }

    /// `poly [-q] [-o ARG,…] FILE`: a line for each rule that applies.
    fn poly(&mut self, words: &[Vec<u8>], origin: &[u8]) -> core::result::Result<(), Failure> {
        let asked = verbs::poly(words)?;
        let file = self.environment.absolute(asked.file);
        let applied = match files::read(&file, asked.arguments, self.environment) {
            Err(failure) if asked.quiet => {
                self.environment.note(&failure.at(origin));
                return Ok(());
            }
            applied => applied?,
        };
        applied.notes.iter().for_each(|note| self.environment.note(note));
        let lines = applied.lines.into_iter();
        self.lines.extend(lines.map(|line| Line { quiet: asked.quiet, ..line }));
        Ok(())
    }

    /// `. FILE`
    fn file(&mut self, words: &[Vec<u8>], depth: usize) -> core::result::Result<(), Failure> {
        let [_, name] = words else {
            return Err(Failure::new(".", "it takes one file"));
        };
        let failure = |why: &str| Failure::new(format!(". {}", shown(name)), why);
        self.files += 1;
        if depth == DEPTH_MAX {
            return Err(failure("files name each other too deeply").fix("at most 16 levels"));
        }
        if self.files > FILES_MAX {
            return Err(failure("too many files are named").fix("at most 1024"));
        }
        let text = self
            .environment
            .read(name)
            .map_err(|errno| Failure::new(format!("reading {}", shown(name)), errno))?;
        self.text(
            &text,
            &|line| [name, &b":"[..], format!("{line}").as_bytes()].concat(),
            depth + 1,
        )
    }
}

impl Line {
    /// A line without flags.
    #[must_use]
    pub fn new(action: Action, origin: &[u8]) -> Line {
        Line {
            action,
            order: Order::Replace,
            create: false,
            read_only: false,
            quiet: false,
            origin: origin.to_vec(),
        }
    }

    /// The line as a namespace file has it, without its end.
    #[must_use]
    pub fn to_text(&self) -> Vec<u8> {
        verbs::print(self)
    }
}

#[cfg(test)]
#[path = "../file_tests.rs"]
pub(crate) mod tests;
