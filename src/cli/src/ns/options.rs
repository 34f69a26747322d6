//! What `ns` accepts.

use super::{Request, Task, manual};
use crate::failure::{Failure, shown};
use crate::spec::{Apply, Arg, Offer, Opt, Program, Verb};
use crate::world::Process;
use privns_namespace::file;

const WHICH: &str = "Which family (default: the one that ns runs in)";
const REAP: &str = "For reap";
const OUTPUT: &str = "Output";

/// `ns`.
pub static PROGRAM: Program<Request> = Program {
    name: "ns",
    about: "look at the namespace of a living family and change it",
    synopsis: &["[--pid P|--family F] [--json]", "[--pid P|--family F] VERB [ARG...]"],
    description: manual::DESCRIPTION,
    options: OPTIONS,
    verbs: VERBS,
    operands: &[],
    sections: manual::SECTIONS,
    examples: manual::EXAMPLES,
    see_also: &["ns-exec(1)", "ns-serve(1)"],
};

/// An option that is a word of the request.
macro_rules! word {
    ($name:literal, $arg:expr, $group:expr, $help:literal, $field:ident) => {
        option($name, &[$arg], $group, $help, |r, v| {
            r.$field = v.into_iter().next();
            Ok(())
        })
    };
}

/// An option that sets a flag of the request.
macro_rules! flag {
    ($name:literal, $group:expr, $help:literal, $field:ident) => {
        option($name, &[], $group, $help, |r, _| {
            r.$field = true;
            Ok(())
        })
    };
}

static OPTIONS: &[Opt<Request>] = &[
    option("pid", &[Arg("P", Offer::Text)], WHICH, "The family of process P.", |r, v| {
        let pid = std::str::from_utf8(&v[0]).ok().and_then(|p| p.parse().ok()).filter(|&p| p > 0);
        r.pid = Some(pid.ok_or_else(|| Failure::new(shown(&v[0]), "not a process number"))?);
        Ok(())
    }),
    word!("family", Arg("F", Offer::Family), WHICH, "The family of this name or number.", family),
    word!("job", Arg("ID", Offer::Text), REAP, "Of families begun in this batch job.", job),
    word!("user", Arg("U", Offer::Text), REAP, "Of this user, by name or number.", user),
    flag!("json", OUTPUT, "Prints JSON.", json),
    flag!("self-test", OUTPUT, "With doctor: runs a round of checks here.", self_test),
    flag!("names", "", "", names),
];

/// A verb of the namespace file, whose line is what it says.
macro_rules! edits {
    ($name:literal, $usage:literal, $args:expr, $help:literal) => {
        line($name, $usage, $args, $help, |r, v| edit(r, $name, v))
    };
}

/// A verb that takes no argument and sets a task.
macro_rules! task {
    ($name:literal, $usage:literal, $task:expr, $help:literal) => {
        verb($name, $usage, &[], $help, |r, v| {
            r.task = $task;
            none(&v)
        })
    };
}

static VERBS: &[Verb<Request>] = &[
    edits!(
        "bind",
        "[-bacrq] SRC DST",
        &[Arg("SRC", Offer::File)],
        "DST shows SRC instead; -b and -a make a union of DST."
    ),
    edits!(
        "mount",
        "[-bacrq] [-o KEY=VALUE,...] ADDR DST [ANAME]",
        &[Arg("ADDR", Offer::Text)],
        "DST shows the tree of a 9P server."
    ),
    edits!(
        "unmount",
        "[-q] [SRC] DST",
        &[Arg("DST", Offer::File)],
        "Takes away what is mounted on DST."
    ),
    edits!(
        "private",
        "[-q] [-i RULE] DIR",
        &[Arg("DIR", Offer::Dir)],
        "DIR becomes a fresh directory of the family's own."
    ),
    line(
        "poly",
        "[-q] [-o ARG,...] FILE",
        &[Arg("FILE", Offer::File)],
        "Private directories by the rules of namespace.conf(5).",
        |r, v| {
            if v.is_empty() {
                return Err(Failure::new("poly", "it takes a file"));
            }
            r.task = Task::Poly(v);
            Ok(())
        },
    ),
    edits!("dir", "[-q] DST", &[Arg("DST", Offer::File)], "An empty directory to mount on."),
    edits!("symlink", "[-q] TARGET DST", &[Arg("TARGET", Offer::File)], "A symbolic link."),
    edits!("clear", "", &[], "Empties the namespace."),
    line(
        ".",
        "FILE",
        &[Arg("FILE", Offer::File)],
        "Runs a namespace file, wholly or not at all.",
        |r, v| {
            r.task = Task::File(one(v, "it takes a file")?);
            Ok(())
        },
    ),
    verb(
        "why",
        "PATH",
        &[Arg("PATH", Offer::File)],
        "Says which member serves PATH, and by which line.",
        |r, v| {
            r.task = Task::Why(one(v, "it takes a path")?);
            Ok(())
        },
    ),
    task!("families", "", Task::Families, "Lists the user's living families."),
    task!(
        "ps",
        "",
        Task::Ps,
        "Lists the members of the family, here and on every machine whose /proc is mounted at /proc/HOST."
    ),
    task!(
        "stat",
        "",
        Task::Stat,
        "The generation and how many calls were translated, forwarded, served and escaped."
    ),
    task!("instances", "", Task::Instances, "Lists the private directories on this host."),
    task!(
        "reap",
        "[--job ID|--user U|--family F]",
        Task::Reap,
        "Removes private directories that no living process uses."
    ),
    verb(
        "doctor",
        "[PROGRAM]",
        &[Arg("PROGRAM", Offer::Command)],
        "Says what this host allows, or what will happen to PROGRAM before it is run.",
        |r, mut v| {
            let program = v.pop();
            r.task = Task::Doctor(program);
            none(&v)
        },
    ),
];

const fn option(
    long: &'static str,
    args: &'static [Arg],
    group: &'static str,
    help: &'static str,
    apply: Apply<Request>,
) -> Opt<Request> {
    Opt { long, short: None, args, optional: false, group, help, apply }
}

const fn verb(
    name: &'static str,
    usage: &'static str,
    args: &'static [Arg],
    help: &'static str,
    apply: Apply<Request>,
) -> Verb<Request> {
    Verb { name, usage, args, raw: false, help, apply }
}

/// A verb of the namespace file, with its flags.
const fn line(
    name: &'static str,
    usage: &'static str,
    args: &'static [Arg],
    help: &'static str,
    apply: Apply<Request>,
) -> Verb<Request> {
    Verb { raw: true, ..verb(name, usage, args, help, apply) }
}

fn edit(request: &mut Request, verb: &str, words: Vec<Vec<u8>>) -> Result<(), Failure> {
    let words: Vec<Vec<u8>> = [verb.as_bytes().to_vec()].into_iter().chain(words).collect();
    let origin = format!("ns {verb}");
    request.task = Task::Edit(file::parse_words(&words, origin.as_bytes(), &Process)?);
    Ok(())
}

fn one(words: Vec<Vec<u8>>, usage: &str) -> Result<Vec<u8>, Failure> {
    let [word] = <[Vec<u8>; 1]>::try_from(words)
        .map_err(|words| Failure::new(format!("{} arguments", words.len()), usage))?;
    Ok(word)
}

fn none(words: &[Vec<u8>]) -> Result<(), Failure> {
    match words.first() {
        None => Ok(()),
        Some(word) => Err(Failure::new(shown(word), "it takes no argument")),
    }
}
