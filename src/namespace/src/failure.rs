//! Why a line could not be read or acted upon, for the person who wrote it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use privns_abi::Errno;

/// One thing that went wrong. Displayed as one line:
/// `ORIGIN: what failed: why (what to do)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `FILE:LINE`, or the option that asked; empty when nothing did.
    pub origin: Vec<u8>,
    /// What failed.
    pub what: String,
    /// Why.
    pub why: Why,
    /// What to do about it; empty when that is plain.
    pub fix: String,
    /// What was to be bound is not there: what `--skip-missing` skips.
    pub missing_source: bool,
}

/// The reason within a [`Failure`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A system call, or what stands for one in a namespace, said so.
    Errno(Errno),
    /// In words.
    Text(String),
}

impl Failure {
    /// A failure that no line is known for yet.
    #[must_use]
    pub fn new(what: impl Into<String>, why: impl Into<Why>) -> Failure {
        Failure {
            origin: Vec::new(),
            what: what.into(),
            why: why.into(),
            fix: String::new(),
            missing_source: false,
        }
    }

    /// The same, said to come from `origin` unless it already has one.
    #[must_use]
    pub fn at(mut self, origin: &[u8]) -> Failure {
        if self.origin.is_empty() {
            self.origin = origin.to_vec();
        }
        self
    }

    /// The same with advice.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Failure {
        self.fix = fix.into();
        self
    }

    /// The error number, if the reason is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self.why {
            Why::Errno(errno) => Some(errno),
            Why::Text(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.origin.is_empty() {
            write!(f, "{}: ", shown(&self.origin))?;
        }
        write!(f, "{}: {}", self.what, self.why)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, " ({})", self.fix) }
    }
}

impl core::error::Error for Failure {}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Errno(errno) => errno.fmt(f),
            Why::Text(text) => f.write_str(text),
        }
    }
}

impl From<Errno> for Why {
    fn from(errno: Errno) -> Why {
        Why::Errno(errno)
    }
}

impl From<&str> for Why {
    fn from(text: &str) -> Why {
        Why::Text(text.into())
    }
}

impl From<String> for Why {
    fn from(text: String) -> Why {
        Why::Text(text)
    }
}

/// A name as a message shows it: on one line and harmless to a terminal. What
/// is no text appears as `\xNN`; a very long name is cut.
#[must_use]
pub fn shown(name: &[u8]) -> String {
    const MOST: usize = 200;
    let (name, cut) = if name.len() > MOST { (&name[..MOST], "…") } else { (name, "") };
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push_str(cut);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_failure_is_one_line_that_says_what_why_and_what_to_do() {
        let failure = Failure::new("bind: /a\\n", Errno::ENOENT).at(b"f:3").at(b"other");
        assert_eq!(failure.to_string(), "f:3: bind: /a\\n: No such file or directory");
        let failure = Failure::new("x", "no").fix("yes");
        assert_eq!(failure.to_string(), "x: no (yes)");
        assert_eq!(shown(b"a\n\x1b\xff\xc3\xa9"), "a\\n\\u{1b}\\xffé");
        assert_eq!(shown(&[b'x'; 300]).chars().count(), 201);
    }
}
