//! Lists for people, in columns, and for programs, as JSON.

use crate::failure::{Failure, shown};
use serde_json::{Map, Value, json};

/// Rows under headings; nothing at all when there is no row. The last column
/// is as long as it likes.
#[must_use]
pub(crate) fn columns(heads: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heads: Vec<String> = heads.iter().map(|h| (*h).to_string()).collect();
    let all = || [&heads].into_iter().chain(rows);
    let widths: Vec<usize> = (0..heads.len())
        .map(|i| all().map(|row| row[i].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in all() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Prints an object, with the version that every one has.
///
/// # Errors
/// Standard output's.
pub(crate) fn print_json(value: Value) -> Result<(), Failure> {
    crate::print(&json_object(value))
}

/// An object on a line, with its version.
#[must_use]
pub(crate) fn json_object(value: Value) -> Vec<u8> {
    let mut object = Map::new();
    object.insert("version".into(), json!(super::JSON_VERSION));
    if let Value::Object(fields) = value {
        object.extend(fields);
    }
    let mut text = Value::Object(object).to_string();
    text.push('\n');
    text.into_bytes()
}

/// A name: a string, or its bytes where it is no text.
#[must_use]
pub(crate) fn name(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            json!({ "hex": hex })
        }
    }
}

/// A canonical name as people write it: the root is `/`.
#[must_use]
pub(crate) fn rooted(ns: &[u8]) -> &[u8] {
    if ns.is_empty() { b"/" } else { ns }
}

/// The same, for a terminal.
#[must_use]
pub(crate) fn plain(ns: &[u8]) -> String {
    shown(rooted(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let rows = [vec!["a".to_string(), "long one".to_string()]];
        assert_eq!(columns(&["NAME", "CMD"], &rows), "NAME  CMD\na     long one\n");
        assert_eq!(columns(&["NAME"], &[]), "");
    }

    #[test]
    fn names_are_kept_whatever_they_are() {
        assert_eq!(name("é".as_bytes()), json!("é"));
        assert_eq!(name(b"a\xff"), json!({ "hex": "61ff" }));
    }
}
