//! A line of namespace.conf: `polydir prefix method[:flag…] [users]`.

use super::name::Variable;
use super::{Create, Method, Result, Rule, lex, name};
use crate::failure::{Failure, shown};
use alloc::format;
use alloc::vec::Vec;

/// A line that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Variables and all.
    pub(super) polydir: Vec<u8>,
    /// `PREFIX METHOD[:FLAG…]`
    pub(super) rule: Rule,
    /// The comma list.
    pub(super) users: Vec<u8>,
}

/// Reads one line of the file; `None` for one without words.
///
/// # Errors
/// A field that is missing or wrong.
pub(super) fn entry(line: &[u8]) -> Result<Option<Entry>> {
    if line.contains(&0) {
        return Err(Failure::new("byte 0", "no name can hold it"));
    }
    let words = lex::words(line);
    if words.is_empty() {
        return Ok(None);
    }
    let field = |at: usize, what: &str| {
        words.get(at).ok_or_else(|| {
            let failure = Failure::new(format!("field {}, the {what}", at + 1), "it is missing");
            failure.fix("a line is: polydir prefix method[:flag...] [users]")
        })
    };
    let polydir = field(0, "polydir")?;
    let prefix = field(1, "instance prefix")?;
    let method = field(2, "method")?;
    check_absolute(1, polydir)?;
    let rule = fields(prefix, method)?;
    check_prefix(&rule)?;
    let users = words.get(3).cloned().unwrap_or_default();
    Ok(Some(Entry { polydir: polydir.clone(), rule, users }))
}

/// Reads `PREFIX METHOD[:FLAG…]`.
pub(super) fn rule(text: &[u8]) -> Result<Rule> {
    let words = lex::words(text);
    let [prefix, method] = &words[..] else {
        let failure = Failure::new(shown(text), format!("{} fields", words.len()));
        return Err(failure.fix("a rule is: PREFIX METHOD[:FLAG...]"));
    };
    if text.contains(&0) {
        return Err(Failure::new("byte 0", "no name can hold it"));
    }
    let rule = fields(prefix, method)?;
    check_prefix(&rule)?;
    Ok(rule)
}

/// A tmpfs lies nowhere: its prefix need not be a path.
fn check_prefix(rule: &Rule) -> Result<()> {
    match rule.method {
        Method::Tmpfs => check_dots(2, &rule.prefix),
        _ => check_absolute(2, &rule.prefix),
    }
}

/// Only what can be said before variables stand for something.
fn check_absolute(field: usize, path: &[u8]) -> Result<()> {
    let failure = |why: &str| Failure::new(format!("field {field}, {}", shown(path)), why);
    let begins = path.starts_with(b"/") || name::begins_with_variable(path, Variable::Home);
    if !begins {
        return Err(failure("not an absolute path").fix("begin it with / or $HOME"));
    }
    check_dots(field, path)
}

/// Refuses `..` anywhere, as the module does.
pub(super) fn check_dots(field: usize, path: &[u8]) -> Result<()> {
    if path.windows(2).any(|two| two == b"..") {
        let failure = Failure::new(format!("field {field}, {}", shown(path)), "it holds ..");
        return Err(failure.fix("name the directory itself"));
    }
    Ok(())
}

fn fields(prefix: &[u8], method: &[u8]) -> Result<Rule> {
    let mut parts = method.split(|&b| b == b':').filter(|part| !part.is_empty());
    let named = parts.next().unwrap_or_default();
    let method = Method::of(named).ok_or_else(|| {
        let failure = Failure::new(format!("field 3, {}", shown(named)), "unknown method");
        failure.fix("there are user, tmpdir, tmpfs, level, context, job and family")
    })?;
    let mut rule = Rule {
        prefix: prefix.to_vec(),
        method,
        create: None,
        script: None,
        no_init: false,
        shared: false,
        mount_options: Vec::new(),
        hash: false,
        keep: false,
    };
    for part in parts {
        flag(&mut rule, part)
            .map_err(|why| Failure::new(format!("field 3, {}", shown(part)), why))?;
    }
    Ok(rule)
}

/// Flags are known by what they begin with, and unknown ones are passed over.
fn flag(rule: &mut Rule, part: &[u8]) -> core::result::Result<(), &'static str> {
    let rest = |flag: &[u8]| part.strip_prefix(flag);
    let value = |rest: &[u8]| rest.strip_prefix(b"=").map(<[u8]>::to_vec);
    if let Some(rest) = rest(b"create") {
        rule.create = Some(create(rest.strip_prefix(b"=").unwrap_or_default())?);
    } else if rest(b"noinit").is_some() {
        rule.no_init = true;
    } else if let Some(rest) = rest(b"iscript") {
        rule.script = value(rest).filter(|script| !script.is_empty());
    } else if rest(b"shared").is_some() {
        rule.shared = true;
    } else if let Some(rest) = rest(b"mntopts") {
        rule.mount_options = value(rest).unwrap_or_default();
    } else if part == b"hash" {
        rule.hash = true;
    } else if part == b"keep" {
        rule.keep = true;
    }
    Ok(())
}

fn create(params: &[u8]) -> core::result::Result<Create, &'static str> {
    let mut params = params.splitn(3, |&b| b == b',');
    let mut next = || params.next().filter(|p| !p.is_empty());
    let mode = next().map(mode).transpose()?;
    let [owner, group] = [next(), next()].map(|name| name.map(<[u8]>::to_vec));
    Ok(Create { mode, owner, group })
}

/// A number as C writes it: 0700 octal, 448 decimal, 0x1c0.
fn mode(text: &[u8]) -> core::result::Result<u32, &'static str> {
    let text = core::str::from_utf8(text).unwrap_or_default();
    let number = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => u32::from_str_radix(&text[2..], 16),
        [b'0', ..] => u32::from_str_radix(text, 8),
        _ => text.parse(),
    };
    match number {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        Ok(_) => Err("the mode is beyond 07777"),
        Err(_) => Err("the mode is no number; write it as 0700"),
    }
}

/// See [`Rule::to_text`].
pub(super) fn print(rule: &Rule) -> Vec<u8> {
    let mut method = rule.method.name().as_bytes().to_vec();
    let mut flag = |words: &[&[u8]]| {
        method.push(b':');
        method.extend(words.concat());
    };
    if let Some(Create { mode, owner, group }) = &rule.create {
        let mode = mode.map(|mode| format!("0{mode:o}")).unwrap_or_default();
        let mut params = [
            mode.as_bytes(),
            owner.as_deref().unwrap_or_default(),
            group.as_deref().unwrap_or_default(),
        ]
        .join(&b',');
        while params.last() == Some(&b',') {
            params.pop();
        }
        if params.is_empty() { flag(&[b"create"]) } else { flag(&[b"create=", &params]) }
    }
    if let Some(script) = &rule.script {
        flag(&[b"iscript=", script]);
    }
    let Rule { no_init, shared, hash, keep, .. } = *rule;
    for (is, name) in [(no_init, "noinit"), (shared, "shared"), (hash, "hash"), (keep, "keep")] {
        if is {
            flag(&[name.as_bytes()]);
        }
    }
    if !rule.mount_options.is_empty() {
        flag(&[b"mntopts=", &rule.mount_options]);
    }
    let mut text = Vec::new();
    lex::quote(&rule.prefix, &mut text);
    text.push(b' ');
    lex::quote(&method, &mut text);
    text
}
