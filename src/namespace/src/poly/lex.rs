//! A line of namespace.conf as words.
//!
//! `#` ends the line wherever it stands, in quotes too. Outside of quotes a
//! backslash makes the next byte a plain one, or `\n`, `\t`, `\b`; inside it
//! is a backslash. A quote that is not closed ends with the line.

use alloc::vec::Vec;

/// The words of one line, which has no end of line in it.
pub(super) fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let end = line.iter().position(|&b| b == b'#').unwrap_or(line.len());
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quoted = false;
    let mut bytes = line[..end].iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if !quoted && is_blank(byte) {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if !quoted => word.push(bytes.next().map_or(b'\\', escaped)),
            _ => word.push(byte),
        }
    }
    words.extend(word);
    words
}

/// What isspace(3) says in the C locale.
fn is_blank(byte: u8) -> bool {
    byte == b' ' || (b'\t'..=b'\r').contains(&byte)
}

fn escaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b't' => b'\t',
        b'b' => 8,
        byte => byte,
    }
}

/// Appends a word such that [`words`] reads it back. One with `#` in it cannot
/// have come from there.
pub(super) fn quote(word: &[u8], out: &mut Vec<u8>) {
    if word.is_empty() {
        out.extend_from_slice(b"\"\"");
    }
    for &byte in word {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            byte if is_blank(byte) => out.extend_from_slice(&[b'\\', byte]),
            byte => out.push(byte),
        }
    }
}
