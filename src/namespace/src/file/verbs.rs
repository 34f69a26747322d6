//! From words to a [`Line`] and back: the verbs, which flags each takes, and
//! the keys of `-o`.

use super::{Action, Cache, Dialect, Line, MountOptions, Owner, quote};
use crate::failure::{Failure, shown};
use crate::poly::{Arguments, Rule};
use crate::table::Order;
use alloc::format;
use alloc::vec::Vec;

type Result<T> = core::result::Result<T, Failure>;

/// A verb: its flags, and how it is written.
struct Verb {
    name: &'static str,
    flags: &'static [u8],
    usage: &'static str,
}

const VERBS: &[Verb] = &[
    Verb { name: "bind", flags: b"bacrq", usage: "bind [-bacrq] SRC DST" },
    Verb {
        name: "mount",
        flags: b"bacrqo",
        usage: "mount [-bacrq] [-o KEY=VALUE,…] ADDR DST [ANAME]",
    },
    Verb { name: "private", flags: b"qi", usage: "private [-q] [-i RULE] DIR" },
    POLY,
    Verb { name: "dir", flags: b"q", usage: "dir [-q] DST" },
    Verb { name: "symlink", flags: b"q", usage: "symlink [-q] TARGET DST" },
    Verb { name: "unmount", flags: b"q", usage: "unmount [-q] [SRC] DST" },
    Verb { name: "clear", flags: b"q", usage: "clear" },
    Verb { name: "cd", flags: b"q", usage: "cd [-q] DIR" },
];

const POLY: Verb = Verb { name: "poly", flags: b"qo", usage: "poly [-q] [-o ARG,…] FILE" };

/// What a `poly` line asks for.
pub(super) struct Poly<'a> {
    pub(super) file: &'a [u8],
    pub(super) arguments: Arguments,
    pub(super) quiet: bool,
}

/// Reads a `poly` line.
pub(super) fn poly(words: &[Vec<u8>]) -> Result<Poly<'_>> {
    let mut line = Line::new(Action::Clear, b"");
    let mut options = Vec::new();
    let args = flags(&POLY, words.get(1..).unwrap_or_default(), &mut line, &mut options)?;
    match args {
        [file] if !file.is_empty() => {
            let arguments = Arguments::parse(&options.join(&b','));
            Ok(Poly { file, arguments, quiet: line.quiet })
        }
        _ => {
            let why = format!("it has {} arguments", args.len());
            Err(Failure::new("poly", why).fix(POLY.usage))
        }
    }
}

/// Reads the words of one line; `.` and `poly`, which name files, are not
/// among the verbs here.
///
/// # Errors
/// An unknown verb, flag or key, or the wrong number of arguments; said to
/// come from `origin`.
pub(super) fn parse_words(words: &[Vec<u8>], origin: &[u8]) -> Result<Line> {
    line(words, origin).map_err(|failure| failure.at(origin))
}

fn line(words: &[Vec<u8>], origin: &[u8]) -> Result<Line> {
    let (verb, rest) =
        words.split_first().ok_or_else(|| Failure::new("an empty line", "no verb"))?;
    let Some(verb) = VERBS.iter().find(|v| v.name.as_bytes() == verb) else {
        let names = "bind, mount, private, poly, dir, symlink, unmount, clear, cd and .";
        return Err(Failure::new(shown(verb), "unknown verb").fix(format!("there are {names}")));
    };
    let mut line = Line::new(Action::Clear, origin);
    let mut options = Vec::new();
    let args = flags(verb, rest, &mut line, &mut options)?;
    line.action = action(verb, args, &options)?;
    Ok(line)
}

/// Takes the flags off the front and gives the arguments; the values of `-o`
/// are added to `options`.
fn flags<'a>(
    verb: &Verb,
    mut words: &'a [Vec<u8>],
    line: &mut Line,
    options: &mut Vec<&'a [u8]>,
) -> Result<&'a [Vec<u8>]> {
    while let Some((word, rest)) = words.split_first() {
        if word.len() < 2 || word[0] != b'-' {
            break;
        }
        words = rest;
        if word == b"--" {
            break;
        }
        for (i, flag) in word.iter().enumerate().skip(1) {
            if !verb.flags.contains(flag) {
                let what = format!("{} -{}", verb.name, shown(&[*flag]));
                return Err(Failure::new(what, "unknown flag").fix(verb.usage));
            }
            match flag {
                b'b' | b'a' if line.order != Order::Replace => {
                    let what = format!("{} {}", verb.name, shown(word));
                    return Err(Failure::new(what, "only one of -b and -a, once"));
                }
                b'b' => line.order = Order::Before,
                b'a' => line.order = Order::After,
                b'c' => line.create = true,
                b'r' => line.read_only = true,
                b'q' => line.quiet = true,
                _ => {
                    let value = match (&word[i + 1..], words.split_first()) {
                        (b"", Some((value, rest))) => {
                            words = rest;
                            value
                        }
                        (b"", None) => {
                            let what = format!("{} -{}", verb.name, shown(&[*flag]));
                            return Err(Failure::new(what, "no value follows").fix(verb.usage));
                        }
                        (value, _) => value,
                    };
                    options.push(value);
                    break;
                }
            }
        }
    }
    let keys = options.iter().flat_map(|o| o.split(|&b| b == b','));
    if verb.name == "mount" && keys.into_iter().any(|key| key == b"ro") {
        line.read_only = true;
    }
    Ok(words)
}

fn action(verb: &Verb, args: &[Vec<u8>], options: &[&[u8]]) -> Result<Action> {
    if let Some(at) = args.iter().position(Vec::is_empty) {
        let what = format!("{}: argument {}", verb.name, at + 1);
        return Err(Failure::new(what, "a name cannot be empty").fix(verb.usage));
    }
    Ok(match (verb.name, args) {
        ("bind", [src, dst]) => Action::Bind { src: src.clone(), dst: dst.clone() },
        ("mount", [address, dst, aname @ ..]) if aname.len() < 2 => {
            check_address(address)?;
            let options = mount_options(options, aname.first())?;
            Action::Mount { address: address.clone(), dst: dst.clone(), options }
        }
        ("private", [dir]) => match options {
            [] => Action::Private(dir.clone()),
            [rule] => {
                let rule = Rule::parse(rule)?.to_text();
                Action::Instance { rule, dir: dir.clone() }
            }
            _ => return Err(Failure::new("private", "two rules").fix(verb.usage)),
        },
        ("dir", [dst]) => Action::Dir(dst.clone()),
        ("symlink", [target, dst]) => Action::Symlink { target: target.clone(), dst: dst.clone() },
        ("unmount", [dst]) => Action::Unmount { src: None, dst: dst.clone() },
        ("unmount", [src, dst]) => Action::Unmount { src: Some(src.clone()), dst: dst.clone() },
        ("clear", []) => Action::Clear,
        ("cd", [dir]) => Action::Cd(dir.clone()),
        _ => {
            let why = format!("it has {} arguments", args.len());
            return Err(Failure::new(verb.name, why).fix(verb.usage));
        }
    })
}

/// Whether a word has the form of a server's address; whether the server is
/// there is seen when it is dialled.
pub(crate) fn is_address(address: &[u8]) -> bool {
    let schemes = [&b"tcp!"[..], b"tls!", b"unix!", b"ssh!", b"exec!"];
    let full = |rest: &[u8]| !rest.is_empty();
    address.starts_with(b"mem!")
        || schemes.iter().any(|s| address.strip_prefix(*s).is_some_and(full))
        || address.strip_prefix(b"@").is_some_and(|rest| {
            let slash = rest.iter().position(|&b| b == b'/');
            slash.is_some_and(|at| at > 0 && at + 1 < rest.len())
        })
}

fn check_address(address: &[u8]) -> Result<()> {
    if is_address(address) {
        return Ok(());
    }
    let forms = "tcp!HOST[!PORT], tls!HOST[!PORT], unix!PATH, ssh![USER@]HOST!PATH, exec!COMMAND, \
                 @HOST[!PORT]/NAME or mem![OPTIONS]";
    Err(Failure::new(format!("mount {}", shown(address)), "not an address").fix(forms))
}

fn mount_options(options: &[&[u8]], aname: Option<&Vec<u8>>) -> Result<MountOptions> {
    let mut to = MountOptions { aname: aname.cloned().unwrap_or_default(), ..Default::default() };
    for option in options.iter().flat_map(|o| o.split(|&b| b == b',')).filter(|o| !o.is_empty()) {
        let at = option.iter().position(|&b| b == b'=').unwrap_or(option.len());
        let (key, value) = (&option[..at], option.get(at + 1..));
        set(&mut to, key, value, aname.is_some())
            .map_err(|(why, fix)| Failure::new(format!("-o {}", shown(option)), why).fix(fix))?;
    }
    Ok(to)
}

type Why = (&'static str, &'static str);

fn set(
    to: &mut MountOptions,
    key: &[u8],
    value: Option<&[u8]>,
    named: bool,
) -> core::result::Result<(), Why> {
    let keys = "the keys are aname, uname, msize, dialect, cache, timeout, window, owner and ro";
    if key == b"ro" {
        return if value.is_none() { Ok(()) } else { Err(("it takes no value", "")) };
    }
    let known = [&b"aname"[..], b"uname", b"msize", b"dialect", b"cache", b"timeout", b"window"];
    if !known.contains(&key) && key != b"owner" {
        return Err(("unknown key", keys));
    }
    let value = value.ok_or(("it needs a value", "write KEY=VALUE"))?;
    match key {
        b"aname" if named => return Err(("the tree is named twice", "")),
        b"aname" => to.aname = value.to_vec(),
        b"uname" if value.is_empty() => return Err(("no name", "")),
        b"uname" => to.uname = Some(value.to_vec()),
        b"msize" => to.msize = Some(number(value, 4096, 1 << 20)?),
        b"timeout" => to.timeout = Some(number(value, 1, 86_400)?),
        b"window" => to.window = Some(number(value, 1, 1 << 16)?),
        b"dialect" => {
            to.dialect = match value {
                b"best" => None,
                b"9P2000" => Some(Dialect::Base),
                b"9P2000.u" => Some(Dialect::Unix),
                b"9P2000.L" => Some(Dialect::Linux),
                _ => return Err(("no such dialect", "9P2000, 9P2000.u, 9P2000.L or best")),
            }
        }
        b"cache" => {
            to.cache = match value {
                b"none" => Cache::None,
                b"close" => Cache::Close,
                b"loose" => Cache::Loose,
                _ => return Err(("no such way", "none, close or loose")),
            }
        }
        _ => {
            to.owner = match value {
                b"served" => Owner::Served,
                b"me" => Owner::Me,
                _ => return Err(("no such owner", "served or me")),
            }
        }
    }
    Ok(())
}

fn number(value: &[u8], least: u32, most: u32) -> core::result::Result<u32, Why> {
    let number = core::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
    match number {
        Some(n) if (least..=most).contains(&n) => Ok(n),
        Some(_) => {
            Err(("out of range", "msize 4096 to 1048576, timeout 1 to 86400, window 1 to 65536"))
        }
        None => Err(("not a number", "")),
    }
}

/// The line as text, such that reading it gives the same line.
pub(super) fn print(line: &Line) -> Vec<u8> {
    let (verb, args): (&str, Vec<&[u8]>) = match &line.action {
        Action::Bind { src, dst } => ("bind", [&src[..], dst].into()),
        Action::Mount { address, dst, .. } => ("mount", [&address[..], dst].into()),
        Action::Private(dir) => ("private", [&dir[..]].into()),
        Action::Instance { dir, .. } => ("private", [&dir[..]].into()),
        Action::Dir(dst) => ("dir", [&dst[..]].into()),
        Action::Symlink { target, dst } => ("symlink", [&target[..], dst].into()),
        Action::Unmount { src, dst } => {
            ("unmount", src.iter().chain([dst]).map(|a| &a[..]).collect())
        }
        Action::Clear => ("clear", Vec::new()),
        Action::Cd(dir) => ("cd", [&dir[..]].into()),
    };
    let mut flags = Vec::new();
    match line.order {
        Order::Replace => {}
        Order::Before => flags.push(b'b'),
        Order::After => flags.push(b'a'),
    }
    let set = [(line.create, b'c'), (line.read_only, b'r'), (line.quiet, b'q')];
    flags.extend(set.iter().filter(|(is, _)| *is).map(|(_, flag)| *flag));
    let mut text = verb.as_bytes().to_vec();
    if !flags.is_empty() {
        text.extend_from_slice(b" -");
        text.extend_from_slice(&flags);
    }
    if let Action::Mount { options, .. } = &line.action {
        let options = print_options(options);
        if !options.is_empty() {
            text.extend_from_slice(b" -o ");
            quote(&options, &mut text);
        }
    }
    if let Action::Instance { rule, .. } = &line.action {
        text.extend_from_slice(b" -i ");
        quote(rule, &mut text);
    }
    if args.first().is_some_and(|a| a.starts_with(b"-")) {
        text.extend_from_slice(b" --");
    }
    for arg in args {
        text.push(b' ');
        quote(arg, &mut text);
    }
    if let Action::Mount { options, .. } = &line.action
        && !options.aname.is_empty()
    {
        text.push(b' ');
        quote(&options.aname, &mut text);
    }
    text
}

/// All but the tree's name, which may hold commas and stands as an argument.
fn print_options(options: &MountOptions) -> Vec<u8> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    if let Some(uname) = &options.uname {
        out.push([b"uname=", &uname[..]].concat());
    }
    for (key, value) in
        [("msize", options.msize), ("timeout", options.timeout), ("window", options.window)]
    {
        out.extend(value.map(|v| format!("{key}={v}").into_bytes()));
    }
    out.extend(options.dialect.map(|d| match d {
        Dialect::Base => b"dialect=9P2000".to_vec(),
        Dialect::Unix => b"dialect=9P2000.u".to_vec(),
        Dialect::Linux => b"dialect=9P2000.L".to_vec(),
    }));
    match options.cache {
        Cache::None => out.push(b"cache=none".to_vec()),
        Cache::Close => {}
        Cache::Loose => out.push(b"cache=loose".to_vec()),
    }
    if options.owner == Owner::Me {
        out.push(b"owner=me".to_vec());
    }
    out.join(&b","[..])
}
