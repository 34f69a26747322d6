//! What an instance is called: the prefix, its variables expanded, and a name
//! that says whose it is.

use super::line::check_dots;
use super::{Method, Result, Rule};
use crate::failure::{Failure, shown};
use alloc::format;
use alloc::vec::Vec;
use md5::{Digest, Md5};

/// Longest name that is used as it is, in bytes.
const LONGEST: usize = 80;
/// How much of a longer one is kept in front of its hash.
const KEPT: usize = 47;

/// For whom, and where, an instance is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// Login name.
    pub login: Vec<u8>,
    /// Home directory.
    pub home: Vec<u8>,
    /// The batch job with its restarts, in one.
    pub job: Option<Vec<u8>>,
    /// The node.
    pub node: Vec<u8>,
    /// The process's context, where SELinux is.
    pub context: Option<Vec<u8>>,
    /// The family's number.
    pub family: u64,
    /// Random, for `tmpdir`.
    pub random: u64,
}

/// What a path of a rule may begin with or hold. A variable is known by what
/// follows the `$`, however that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    Home,
    User,
    Job,
    Node,
}

impl Variable {
    const POLYDIR: [(&'static [u8], Variable); 2] =
        [(b"HOME", Variable::Home), (b"USER", Variable::User)];
    const PREFIX: [(&'static [u8], Variable); 4] = [
        (b"HOME", Variable::Home),
        (b"USER", Variable::User),
        (b"JOB", Variable::Job),
        (b"NODE", Variable::Node),
    ];
}

pub(super) fn begins_with_variable(path: &[u8], variable: Variable) -> bool {
    let begins = |(name, known): &(&[u8], Variable)| {
        *known == variable && path.get(1..).is_some_and(|rest| rest.starts_with(name))
    };
    path.first() == Some(&b'$') && Variable::PREFIX.iter().any(begins)
}

impl Who {
    fn value(&self, variable: Variable) -> Result<&[u8]> {
        match variable {
            Variable::Home => Ok(&self.home),
            Variable::User => Ok(&self.login),
            Variable::Node => word("$NODE", &self.node),
            Variable::Job => self.job(),
        }
    }

    fn job(&self) -> Result<&[u8]> {
        let job = self.job.as_ref().ok_or_else(|| {
            let failure = Failure::new("$JOB", "there is no batch job here");
            failure.fix("Slurm sets SLURM_JOB_ID; elsewhere set PRIVNS_JOB")
        })?;
        word("$JOB", job)
    }
}

/// What comes from the environment stays one component of a name.
fn word<'a>(what: &str, value: &'a [u8]) -> Result<&'a [u8]> {
    let odd = |b: &u8| *b == b'/' || b.is_ascii_control();
    if value.is_empty() || value.len() > LONGEST || value.iter().any(odd) {
        let failure = Failure::new(format!("{what}, {}", shown(value)), "no part of a file's name");
        return Err(failure.fix("at most 80 bytes, and no slash among them"));
    }
    Ok(value)
}

/// The directory that instances stand for: variables expanded, without a slash
/// at its end.
///
/// # Errors
/// One that is then not absolute, or has `..` in it.
pub fn polydir(path: &[u8], who: &Who) -> Result<Vec<u8>> {
    let mut path = expand(path, &Variable::POLYDIR, who)?;
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    check(1, &path)?;
    if path == b"/" {
        return Err(Failure::new("field 1, /", "the root cannot be an instance"));
    }
    Ok(path)
}

/// The path of the instance that a rule gives somebody.
///
/// # Errors
/// A variable that stands for nothing; a path that is not absolute, or has
/// `..` in it.
pub fn instance(rule: &Rule, who: &Who) -> Result<Vec<u8>> {
    let prefix = expand(&rule.prefix, &Variable::PREFIX, who)?;
    check(2, &prefix)?;
    let path = [prefix, name(rule, who)?].concat();
    if path.ends_with(b"/") {
        return Err(Failure::new(shown(&path), "an instance of this rule has no name"));
    }
    Ok(path)
}

fn check(field: usize, path: &[u8]) -> Result<()> {
    if !path.starts_with(b"/") {
        let failure = Failure::new(format!("field {field}, {}", shown(path)), "no absolute path");
        return Err(failure.fix("begin it with / or $HOME"));
    }
    check_dots(field, path)
}

fn expand(path: &[u8], known: &[(&[u8], Variable)], who: &Who) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        let found = known.iter().find(|(name, _)| byte == b'$' && after.starts_with(name));
        match found {
            Some((name, variable)) => {
                out.extend_from_slice(who.value(*variable)?);
                rest = &after[name.len()..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    Ok(out)
}

fn name(rule: &Rule, who: &Who) -> Result<Vec<u8>> {
    let login = || who.login.clone();
    let name = match (rule.method, &who.context) {
        (Method::TmpDir | Method::Tmpfs, _) => return Ok(six(who.random)),
        (Method::Family, _) => return Ok(format!("{:016x}", who.family).into_bytes()),
        (Method::Job, _) if !names_job(&rule.prefix) => {
            [who.job()?, &who.node, &who.login].join(&b'.')
        }
        (Method::User | Method::Job, _) | (Method::Level | Method::Context, None) => login(),
        (Method::Level | Method::Context, Some(context)) if rule.shared => context.clone(),
        (Method::Level | Method::Context, Some(context)) => [&context[..], &who.login].join(&b'_'),
    };
    if name.contains(&b'/') {
        return Err(Failure::new(shown(&name), "a user's name with a slash in it"));
    }
    Ok(shortened(name, rule.hash))
}

fn names_job(prefix: &[u8]) -> bool {
    prefix.windows(4).any(|four| four == b"$JOB")
}

/// Six characters that mkdtemp(3) could have chosen.
fn six(mut random: u64) -> Vec<u8> {
    const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut name = Vec::new();
    for _ in 0..6 {
        name.push(LETTERS[(random % 62) as usize]);
        random /= 62;
    }
    name
}

fn shortened(name: Vec<u8>, always: bool) -> Vec<u8> {
    if name.len() <= LONGEST && !always {
        return name;
    }
    let hash = md5_hex(&name);
    if always { hash } else { [&name[..KEPT], b"_", &hash].concat() }
}

/// The MD5 of some bytes, in hexadecimal: not for secrets.
#[must_use]
pub fn md5_hex(bytes: &[u8]) -> Vec<u8> {
    Md5::digest(bytes).iter().flat_map(|b| format!("{b:02x}").into_bytes()).collect()
}
