//! Dumps: a namespace as text, as one word, as JSON, and back.

use super::request::{Dump as Form, Request};
use crate::failure::{Failure, shown};
use crate::ns::table::{json_object, name};
use crate::world::{Process, of_io};
use privns_host::Kernel;
use privns_namespace::dump::{Dump, LIMIT, Origin};
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
///
/// # Errors
/// ENOMEM.
pub fn write(lines: &[Line], form: Form) -> Result<Vec<u8>, Failure> {
    let body = print::to_text(lines);
    let failure = |e| Failure::new("the dump", e);
    match form {
        Form::Text => Ok(body),
        Form::Token => {
            let token = Dump { origin: here().map_err(failure)?, body }.to_token();
            Ok((token.map_err(failure)? + "\n").into_bytes())
        }
        Form::Json => {
            let Origin { uid, node, boot } = here().map_err(failure)?;
            let lines: Vec<Value> = lines.iter().map(|line| name(&line.to_text())).collect();
            let (node, boot) = (name(&node), name(&boot));
            Ok(json_object(json!({ "node": node, "boot": boot, "user": uid, "lines": lines })))
        }
    }
}

/// Here, by the name that a batch system has for it.
fn here() -> privns_abi::Result<Origin> {
    let here = Origin::here()?;
    Ok(Origin { node: Process.variable(b"NODE").unwrap_or(here.node), ..here })
}

/// What `--restore` names.
#[derive(Default)]
pub struct Restored {
    /// Its lines.
    pub lines: Vec<Line>,
    /// The machine that it was made on, where it says so and is not this one.
    pub origin: Option<Origin>,
}

/// A bind of another machine's file, which this one does not have.
#[must_use]
pub fn said_where(failure: Failure, origin: &Origin) -> Failure {
    let here = Process.variable(b"NODE").unwrap_or_default();
    let fix = format!(
        "it is bound on {}, and this is {}: put it there, or pass it over with --skip-missing",
        shown(&origin.node),
        shown(&here)
    );
    failure.fix(fix)
}

/// The lines of the dump that `--restore` names, none without one.
///
/// # Errors
/// One that cannot be read, is damaged, of a newer version or another user's.
pub fn restored(request: &Request) -> Result<Restored, Failure> {
    let Some(given) = &request.restore else { return Ok(Restored::default()) };
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
    let (text, made) = if Dump::is_token(&text) {
        let dump = Dump::from_token(&text)?;
        check_user(u64::from(dump.origin.uid))?;
        let made = dump.origin.clone();
        (dump.text(&Kernel)?, Some(made))
    } else if text.trim_ascii_start().starts_with(b"{") {
        let (text, made) = from_json(&text)?;
        (text, Some(made))
    } else {
        (text, None)
    };
    let lines = file::parse(origin, &text, &Process)?;
    Ok(Restored { lines, origin: made.filter(|made| !made.is_here()) })
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

fn from_json(text: &[u8]) -> Result<(Vec<u8>, Origin), Failure> {
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
    let word = |key: &str| bytes(&value[key]).unwrap_or_default();
    let origin = Origin { uid: Kernel.geteuid(), node: word("node"), boot: word("boot") };
    let lines = value["lines"].as_array().ok_or_else(|| damaged("it has no lines"))?;
    let mut text = Vec::new();
    for line in lines {
        text.extend(bytes(line).ok_or_else(|| damaged("a line is neither text nor hex"))?);
        text.push(b'\n');
    }
    Ok((text, origin))
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
        print::to_text(&read.unwrap().lines)
    }

    #[test]
    fn every_form_comes_back() {
        let text = print::to_text(&lines());
        for form in [Form::Text, Form::Token, Form::Json] {
            assert_eq!(back(write(&lines(), form).unwrap()), text, "{form:?}");
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
