//! From text to words: blanks, comments, quotes and variables.
//!
//! Words are bytes. What a variable stands for is never split or expanded
//! again, so a `$HOME` with a blank in it stays one word.

use super::Environment;
use crate::failure::{Failure, shown};
use alloc::format;
use alloc::vec::Vec;

/// The words of one line, which quotes may spread over several lines of text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// The line of text that it begins on, counted from 1.
    pub(super) line: u32,
    /// Never empty.
    pub(super) words: Vec<Vec<u8>>,
}

/// Reads a text line by line.
pub(super) struct Lexer<'a> {
    rest: &'a [u8],
    line: u32,
    environment: &'a dyn Environment,
}

/// A failure, and the line of text that it is about.
pub(super) type Result<T> = core::result::Result<T, (u32, Failure)>;

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8], environment: &'a dyn Environment) -> Lexer<'a> {
        Lexer { rest: text, line: 1, environment }
    }

    /// The next line that has words; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Words>> {
        while !self.rest.is_empty() {
            let line = self.line;
            let words = self.words()?;
            if !words.is_empty() {
                return Ok(Some(Words { line, words }));
            }
        }
        Ok(None)
    }

    /// The words up to the end of the line, which is consumed.
    fn words(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut words = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => self.skip(1),
                // A text that has been through Windows ends its lines in \r\n.
                b'\r' if matches!(self.rest.get(1), None | Some(b'\n')) => self.skip(1),
                b'\n' => {
                    self.skip(1);
                    self.line += 1;
                    break;
                }
                b'#' => {
                    let end = self.rest.iter().position(|&b| b == b'\n');
                    self.skip(end.unwrap_or(self.rest.len()));
                }
                _ => words.push(self.word()?),
            }
        }
        Ok(words)
    }

    fn word(&mut self) -> Result<Vec<u8>> {
        let mut word = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\n' | b'#' => break,
                b'\r' if matches!(self.rest.get(1), None | Some(b'\n')) => break,
                b'\'' => self.quoted(&mut word)?,
                b'$' => self.variable(&mut word)?,
                0 => return Err((self.line, nul())),
                _ => {
                    word.push(byte);
                    self.skip(1);
                }
            }
        }
        Ok(word)
    }

    /// `'…'`, in which two quotes stand for one.
    fn quoted(&mut self, word: &mut Vec<u8>) -> Result<()> {
        let opened = self.line;
        self.skip(1);
        while let Some(byte) = self.peek() {
            self.skip(1);
            match byte {
                b'\'' if self.peek() == Some(b'\'') => self.skip(1),
                b'\'' => return Ok(()),
                b'\n' => self.line += 1,
                0 => return Err((self.line, nul())),
                _ => {}
            }
            word.push(byte);
        }
        let failure = Failure::new("a quote is opened and not closed", "the text ends before it");
        Err((opened, failure.fix("close it; '' inside quotes stands for one quote")))
    }

    /// `$NAME` or `${NAME}`.
    fn variable(&mut self, word: &mut Vec<u8>) -> Result<()> {
        self.skip(1);
        let is_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        let name = if self.peek() == Some(b'{') {
            let end = self.rest.iter().position(|b| *b == b'}' || *b == b'\n');
            match end.filter(|&e| self.rest[e] == b'}') {
                Some(end) => {
                    let name = &self.rest[1..end];
                    self.skip(end + 1);
                    name
                }
                None => return Err((self.line, Failure::new("${", "no } follows on the line"))),
            }
        } else {
            let end = self.rest.iter().position(|b| !is_name(b)).unwrap_or(self.rest.len());
            let name = &self.rest[..end];
            self.skip(end);
            name
        };
        if name.is_empty() || !name.iter().all(is_name) {
            let failure = Failure::new(format!("${}", shown(name)), "not the name of a variable");
            return Err((self.line, failure.fix("write '$' for the character itself")));
        }
        match self.environment.variable(name) {
            Some(value) if value.contains(&0) => Err((self.line, nul())),
            Some(value) => {
                word.extend_from_slice(&value);
                Ok(())
            }
            None => {
                let failure = Failure::new(format!("${}", shown(name)), "no such variable");
                Err((self.line, failure.fix("set it, or write '$' for the character itself")))
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }
}

fn nul() -> Failure {
    Failure::new("byte 0", "no name can hold it")
}

/// Appends `word` as the lexer reads it back: quoted where that is needed.
pub(crate) fn quote(word: &[u8], out: &mut Vec<u8>) {
    let plain = |b: &u8| !b.is_ascii_control() && !b" '#$".contains(b);
    if word.iter().all(plain) && !word.is_empty() {
        out.extend_from_slice(word);
        return;
    }
    out.push(b'\'');
    for &byte in word {
        out.push(byte);
        if byte == b'\'' {
            out.push(byte);
        }
    }
    out.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::Fixed;
    use alloc::vec;
    use std::string::ToString;

    type Numbered = (u32, Vec<Vec<u8>>);

    fn lines(text: &[u8]) -> core::result::Result<Vec<Numbered>, (u32, std::string::String)> {
        let mut lexer = Lexer::new(text, &Fixed);
        let mut lines = Vec::new();
        while let Some(words) = lexer.next().map_err(|(line, f)| (line, f.to_string()))? {
            lines.push((words.line, words.words));
        }
        Ok(lines)
    }

    fn words(text: &str) -> Vec<Vec<u8>> {
        let mut lines = lines(text.as_bytes()).unwrap();
        assert_eq!(lines.len(), 1, "{text}");
        lines.remove(0).1
    }

    #[test]
    fn blanks_comments_and_quotes() {
        assert_eq!(words("bind\t/a  /b # why\r\n"), [&b"bind"[..], b"/a", b"/b"]);
        assert_eq!(words("'a b' c'd#'e ''"), [&b"a b"[..], b"cd#e", b""]);
        assert_eq!(words("'it''s'"), [b"it's"]);
        assert_eq!(words("a\\b \u{ff}"), [&b"a\\b"[..], "\u{ff}".as_bytes()]);
        assert_eq!(lines(b"# only\n\n  \n").unwrap(), vec![]);
    }

    #[test]
    fn quotes_hold_newlines_and_lines_are_counted_through_them() {
        let got = lines(b"\na 'x\n\ny'\nb").unwrap();
        assert_eq!(got, [(2, vec![b"a".to_vec(), b"x\n\ny".to_vec()]), (5, vec![b"b".to_vec()])]);
    }

    #[test]
    fn variables_are_one_word_whatever_they_hold() {
        assert_eq!(words("$USER/x ${HOME}y"), [&b"me/x"[..], b"/home/a $b'#y"]);
        assert_eq!(words("'$USER'"), [b"$USER"]);
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_line() {
        for (text, line, message) in [
            (&b"a\n$NONE"[..], 2, "$NONE: no such variable"),
            (b"$", 1, "$: not the name of a variable"),
            (b"\n${A B}", 2, "$A B: not the name"),
            (b"${HOME\n}", 1, "${: no }"),
            (b"a\n'b\n", 2, "a quote is opened and not closed"),
            (b"a\0b", 1, "byte 0"),
            (b"'a\0b'", 1, "byte 0"),
        ] {
            let (at, said) = lines(text).unwrap_err();
            assert!(at == line && said.starts_with(message), "{at} {said}");
        }
    }

    #[test]
    fn every_byte_survives_quoting() {
        let word: Vec<u8> = (1..=255).collect();
        let mut text = Vec::new();
        quote(&word, &mut text);
        assert_eq!(lines(&text).unwrap(), [(1, vec![word])]);
    }
}
