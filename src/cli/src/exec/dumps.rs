//! Dumps: a namespace as text, as one word, as JSON, and back.

use super::request::{Dump as Form, Request};
use crate::failure::{Failure, shown};
use crate::ns::table::{json_object, name};
use crate::world::{Process, of_io};
use privns_host::Kernel;
use privns_namespace::dump::{Dump, LIMIT};
use privns_namespace::file::{self, Environment, Line};
use privns_namespace::print;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// The version of a dump in JSON.
const VERSION: u64 = crate::ns::JSON_VERSION as u64;

/// Lines in the form that was asked for.
#[must_use]
pub fn write(lines: &[Line], form: Form) -> Vec<u8> {
    let text = print::to_text(lines);
    match form {
        Form::Text => text,
        Form::Token => (dump(text).to_token() + "\n").into_bytes(),
        Form::Json => {
            let Dump { node, uid, .. } = dump(Vec::new());
            let lines: Vec<Value> = lines.iter().map(|line| name(&line.to_text())).collect();
            json_object(json!({ "node": name(&node), "user": uid, "lines": lines }))
        }
    }
}

fn dump(text: Vec<u8>) -> Dump {
    let node = Process.variable(b"NODE").unwrap_or_default();
    Dump { node, uid: Kernel.geteuid(), text }
}

/// The lines of the dump that `--restore` names, none without one.
///
/// # Errors
/// One that cannot be read, is damaged, of a newer version or another user's.
pub fn restored(request: &Request) -> Result<Vec<Line>, Failure> {
    let Some(given) = &request.restore else { return Ok(Vec::new()) };
    let (origin, text) = match &given[..] {
        b"-" => (&b"standard input"[..], read(std::io::stdin(), "standard input")?),
        word if Dump::is_token(word) => (&b"the token"[..], word.to_vec()),
        // As the variable PRIVNS_IMAGE names a file.
        name => {
            let name = name.strip_prefix(b"@").unwrap_or(name);
            (name, read(own_file(name)?, &shown(name))?)
        }
    };
    if text.is_empty() {
        return Err(Failure::new(shown(origin), "it is empty").fix("was it cut short?"));
    }
    let text = if Dump::is_token(&text) {
        let dump = Dump::from_token(&text)?;
        check_user(u64::from(dump.uid))?;
        dump.text
    } else if text.trim_ascii_start().starts_with(b"{") {
        from_json(&text)?
    } else {
        text
    };
    file::parse(origin, &text, &Process)
}

fn read(from: impl Read, what: &str) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let read = from.take(LIMIT as u64 + 1).read_to_end(&mut text);
    read.map_err(|e| Failure::new(format!("reading {what}"), of_io(&e)))?;
    if text.len() > LIMIT {
        return Err(Failure::new(what, "it is longer than a namespace can be"));
    }
    Ok(text)
}

/// A file that nobody but us and root can have written.
fn own_file(name: &[u8]) -> Result<std::fs::File, Failure> {
    let failure = |e| Failure::new(format!("reading {}", shown(name)), e);
    let file = std::fs::File::open(OsStr::from_bytes(name)).map_err(|e| failure(of_io(&e)))?;
    let owner = file.metadata().map_err(|e| failure(of_io(&e)))?.uid();
    if owner != 0 && owner != Kernel.geteuid() {
        let why = format!("it belongs to user {owner}");
        return Err(Failure::new(shown(name), why).fix("look at it, and copy it"));
    }
    Ok(file)
}

fn check_user(uid: u64) -> Result<(), Failure> {
    let own = Kernel.geteuid();
    if uid == u64::from(own) {
        return Ok(());
    }
    let why = format!("it was made by user {uid}, and this is user {own}");
    Err(Failure::new("the dump", why).fix("dump as text, look at it, and run that"))
}

fn from_json(text: &[u8]) -> Result<Vec<u8>, Failure> {
    let damaged = |why: &str| Failure::new("the dump", why);
    let value: Value = serde_json::from_slice(text).map_err(|e| damaged(&e.to_string()))?;
    match value["version"].as_u64() {
        Some(VERSION) => {}
        Some(newer) => {
            let why = format!("it is of version {newer}, and this privns knows {VERSION}");
            return Err(damaged(&why));
        }
        None => return Err(damaged("it has no version")),
    }
    check_user(value["user"].as_u64().ok_or_else(|| damaged("it does not say whose it is"))?)?;
    let lines = value["lines"].as_array().ok_or_else(|| damaged("it has no lines"))?;
    let mut text = Vec::new();
    for line in lines {
        text.extend(bytes(line).ok_or_else(|| damaged("a line is neither text nor hex"))?);
        text.push(b'\n');
    }
    Ok(text)
}

/// What [`name`] wrote.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    if let Some(text) = value.as_str() {
        return Some(text.as_bytes().to_vec());
    }
    let hex = value["hex"].as_str()?;
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(|pair| byte(pair).filter(|_| pair.len() == 2)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use privns_namespace::file::Action;

    fn lines() -> Vec<Line> {
        let bind = |dst: &[u8]| Action::Bind { src: b"/etc".to_vec(), dst: dst.to_vec() };
        [&b"/a b\n"[..], b"/\xff"].map(|dst| Line::new(bind(dst), b"")).into()
    }

    fn back(text: Vec<u8>) -> Vec<u8> {
        let path = std::env::temp_dir().join(format!("privns-dump-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let restore = Some(path.as_os_str().as_bytes().to_vec());
        let read = restored(&Request { restore, ..Default::default() });
        std::fs::remove_file(path).unwrap();
        print::to_text(&read.unwrap())
    }

    #[test]
    fn every_form_comes_back() {
        let text = print::to_text(&lines());
        for form in [Form::Text, Form::Token, Form::Json] {
            assert_eq!(back(write(&lines(), form)), text, "{form:?}");
        }
    }

    #[test]
    fn json_that_is_no_dump_is_refused() {
        let own = Kernel.geteuid();
        let said = |text: &str| from_json(text.as_bytes()).unwrap_err().to_string();
        assert!(said("{").starts_with("the dump: "));
        assert_eq!(
            said(r#"{"version":2}"#),
            "the dump: it is of version 2, and this privns knows 1"
        );
        assert_eq!(said("{}"), "the dump: it has no version");
        let other = format!(r#"{{"version":1,"user":{},"lines":[]}}"#, own + 1);
        assert!(said(&other).contains("it was made by user"));
        let odd = format!(r#"{{"version":1,"user":{own},"lines":[{{"hex":"6"}}]}}"#);
        assert_eq!(said(&odd), "the dump: a line is neither text nor hex");
    }
}
