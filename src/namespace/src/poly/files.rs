//! The files of namespace.conf, as lines of a namespace file.
//!
//! Beside `DIR/NAME.conf` stand its drop-ins `DIR/NAME.d/*.conf`, read after it
//! by name. A file of `/etc/security` hides the vendor's of the same name.

use super::line::{self, Entry};
use super::{Method, Result, Who, name, users};
use crate::failure::{Failure, shown};
use crate::file::{Action, Environment, Line};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use privns_abi::{Errno, path};

/// Where a distribution's own files may be, in place of `/etc/security`.
const VENDOR: [&[u8]; 2] = [b"/usr/etc/security", b"/usr/share/security"];
const SITE: &[u8] = b"/etc/security";

/// The module's arguments that mean something here; others are passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `ignore_config_error`: a line that cannot be read is passed over.
    pub ignore_errors: bool,
    /// `require_selinux`
    pub require_selinux: bool,
    /// `gen_hash`: instances have hashes for names.
    pub hash: bool,
}

impl Arguments {
    /// Reads them as a comma list.
    #[must_use]
    pub fn parse(list: &[u8]) -> Arguments {
        let mut arguments = Arguments::default();
        for one in list.split(|&b| b == b',') {
            match one {
                b"ignore_config_error" => arguments.ignore_errors = true,
                b"require_selinux" => arguments.require_selinux = true,
                b"gen_hash" => arguments.hash = true,
                _ => {}
            }
        }
        arguments
    }
}

/// What the files say for one user.
#[derive(Debug, Default)]
pub struct Applied {
    /// A line for each rule that applies, in order.
    pub lines: Vec<Line>,
    /// What was passed over: names of nobody, lines that could not be read.
    pub notes: Vec<Failure>,
}

/// Reads a file and its drop-ins, for the user that the environment knows.
///
/// # Errors
/// The first line that cannot be read, as `FILE:LINE`; the file itself; a user
/// without a name.
pub fn read(file: &[u8], arguments: Arguments, environment: &dyn Environment) -> Result<Applied> {
    let failure = |why: &str| Failure::new(format!("poly {}", shown(file)), why);
    let Some(user) = environment.user() else {
        return Err(failure("this user has no name").fix("see getent passwd"));
    };
    if arguments.require_selinux && !environment.has_selinux() {
        return Err(failure("require_selinux, and SELinux is not there"));
    }
    let who = Who { login: user.name, home: user.home, ..Who::default() };
    let mut reader =
        Reader { environment, arguments, who, uid: user.uid, applied: Applied::default() };
    for (name, text) in texts(file, environment)? {
        reader.text(&name, &text)?;
    }
    Ok(reader.applied)
}

type Text = (Vec<u8>, Vec<u8>);

/// The files that count, in the order in which they count.
fn texts(file: &[u8], environment: &dyn Environment) -> Result<Vec<Text>> {
    let failure = |name: &[u8], errno| Failure::new(format!("reading {}", shown(name)), errno);
    let mut texts = Vec::new();
    let dirs = dirs(file);
    let base = path::file_name(file);
    let mut first = Err(Errno::ENOENT);
    let elsewhere = dirs.iter().map(|dir| [&dir[..], b"/", base].concat());
    for name in [file.to_vec()].into_iter().chain(elsewhere) {
        first = environment.read(&name).map(|text| (name, text));
        if !matches!(first, Err(Errno::ENOENT)) {
            break;
        }
    }
    texts.push(first.map_err(|errno| failure(file, errno))?);
    let Some(stem) = base.strip_suffix(b".conf").filter(|stem| !stem.is_empty()) else {
        return Ok(texts);
    };
    let mut dropped: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let own = file.strip_suffix(b".conf").unwrap_or(file);
    let vendors = dirs.iter().map(|dir| [&dir[..], b"/", stem].concat());
    for dir in [own.to_vec()].into_iter().chain(vendors).map(|stem| [&stem[..], b".d"].concat()) {
        let names = match environment.list(&dir) {
            Err(Errno::ENOENT) => Vec::new(),
            names => names.map_err(|errno| failure(&dir, errno))?,
        };
        for name in names.into_iter().filter(|name| name.ends_with(b".conf")) {
            let path = [&dir[..], b"/", &name].concat();
            dropped.entry(name).or_insert(path);
        }
    }
    for name in dropped.into_values() {
        let text = environment.read(&name).map_err(|errno| failure(&name, errno))?;
        texts.push((name, text));
    }
    Ok(texts)
}

/// The vendor's directories for a file of `…/etc/security`.
fn dirs(file: &[u8]) -> Vec<Vec<u8>> {
    let dir = path::parent(file);
    let root = dir.strip_suffix(SITE).filter(|_| file.starts_with(b"/"));
    root.into_iter().flat_map(|root| VENDOR.map(|vendor| [root, vendor].concat())).collect()
}

struct Reader<'a> {
    environment: &'a dyn Environment,
    arguments: Arguments,
    who: Who,
    uid: u32,
    applied: Applied,
}

impl Reader<'_> {
    fn text(&mut self, file: &[u8], text: &[u8]) -> Result<()> {
        for (number, line) in text.split(|&b| b == b'\n').enumerate() {
            let origin = [file, b":", format!("{}", number + 1).as_bytes()].concat();
            match self.line(file, &origin, line).map_err(|failure| failure.at(&origin)) {
                Err(failure) if self.arguments.ignore_errors => self.applied.notes.push(failure),
                done => done?,
            }
        }
        Ok(())
    }

    fn line(&mut self, file: &[u8], origin: &[u8], line: &[u8]) -> Result<()> {
        let Some(Entry { polydir, mut rule, users }) = line::entry(line)? else { return Ok(()) };
        let polydir = name::polydir(&polydir, &self.who)?;
        let mut unknown = Vec::new();
        let uid_of = |name: &[u8]| self.environment.uid_of(name);
        let applies = users::is_for(&users, self.uid, uid_of, &mut unknown)?;
        self.applied.notes.extend(unknown.into_iter().map(|note| note.at(origin)));
        let selinux = matches!(rule.method, Method::Level | Method::Context);
        if !applies || (selinux && rule.shared && !self.environment.has_selinux()) {
            return Ok(());
        }
        rule.hash |= self.arguments.hash;
        rule.script = self.script(file, rule.script.take(), rule.no_init)?;
        rule.no_init = false;
        let action = Action::Instance { rule: rule.to_text(), dir: polydir };
        self.applied.lines.push(Line::new(action, origin));
        Ok(())
    }

    /// The program that sets an instance up, by its whole name.
    fn script(&self, file: &[u8], named: Option<Vec<u8>>, none: bool) -> Result<Option<Vec<u8>>> {
        if none {
            return Ok(None);
        }
        let dir = match path::parent(file).strip_suffix(b".d") {
            // A drop-in.
            Some(stem) => path::parent(stem),
            None => path::parent(file),
        };
        let dir = dir.strip_suffix(b"/").unwrap_or(dir);
        let script = match named {
            Some(script) if script.starts_with(b"/") => script,
            Some(script) => [dir, b"/namespace.d/", &script].concat(),
            None => [dir, b"/namespace.init"].concat(),
        };
        let is_default = script.ends_with(b"/namespace.init");
        if is_default && !self.environment.is_there(&script) {
            return Ok(None);
        }
        if script.contains(&b':') || !script.starts_with(b"/") {
            let failure = Failure::new(shown(&script), "a script's name with : in it, or relative");
            return Err(failure.fix("name the file of rules by its whole name"));
        }
        Ok(Some(script))
    }
}
