//! What `ns-exec` accepts.

use super::on::Place;
use super::request::{Dump, Edit, Naming, Request};
use crate::failure::{Failure, shown};
use crate::spec::{Arg, Offer, Opt, Program};
use crate::world::Process;
use privns_namespace::file::{self, Action, Environment, Line};
use privns_namespace::table::Order;

const SRC: Arg = Arg("SRC", Offer::File);
const DST: Arg = Arg("DST", Offer::File);
const ADDR: Arg = Arg("ADDR", Offer::Text);
const DIR: Arg = Arg("DIR", Offer::Dir);
const FILE: Arg = Arg("FILE", Offer::File);
const NAME: Arg = Arg("NAME", Offer::Family);

const NAMESPACE: &str = "Namespace, in the order given";
const FAMILIES: &str = "Families";
const CARE: &str = "Confinement";
const DUMPS: &str = "Dump and restore";
const PROGRAM_RUN: &str = "The program";

type Values = Vec<Vec<u8>>;

/// `ns-exec`.
pub static PROGRAM: Program<Request> = Program {
    name: "ns-exec",
    about: "run a program in a private namespace",
    synopsis: &["[OPTION...] [--] [PROGRAM [ARG...]]"],
    description: super::manual::DESCRIPTION,
    options: OPTIONS,
    verbs: &[],
    operands: &[Arg("PROGRAM", Offer::Command)],
    sections: super::manual::SECTIONS,
    examples: super::manual::EXAMPLES,
    see_also: &["ns(1)", "ns-serve(1)", "bwrap(1)", "mount_namespaces(7)", "path_resolution(7)"],
};

static OPTIONS: &[Opt<Request>] = &[
    line(
        "bind",
        &[SRC, DST],
        "DST shows SRC instead, a directory or a file. DST need not exist.",
        |r, v| bind(r, "--bind", v, Order::Replace, false),
    ),
    line(
        "bind-before",
        &[SRC, DST],
        "DST becomes a union: SRC first, then what stood there.",
        |r, v| bind(r, "--bind-before", v, Order::Before, false),
    ),
    line("bind-after", &[SRC, DST], "DST becomes a union: what stood there, then SRC.", |r, v| {
        bind(r, "--bind-after", v, Order::After, false)
    }),
    line("ro-bind", &[SRC, DST], "As --bind, read-only: changes fail with EROFS.", |r, v| {
        bind(r, "--ro-bind", v, Order::Replace, true)
    }),
    line(
        "mount",
        &[ADDR, DST],
        "DST shows the tree of a 9P server. With keys: --line 'mount -o cache=none ADDR DST'.",
        |r, v| words(r, "--mount", "mount", v),
    ),
    line(
        "mount-before",
        &[ADDR, DST],
        "DST becomes a union: the server's tree first, then what stood there.",
        |r, v| words(r, "--mount-before", "mount -b", v),
    ),
    line(
        "mount-after",
        &[ADDR, DST],
        "DST becomes a union: what stood there, then the server's tree.",
        |r, v| words(r, "--mount-after", "mount -a", v),
    ),
    line(
        "tmpfs",
        &[DST],
        "DST shows a new tree in memory, which is gone with the family. Of another size than half the memory: --mount mem!size=64m DST.",
        |r, v| words(r, "--tmpfs", "mount mem!", v),
    ),
    line(
        "private",
        &[DIR],
        "DIR is a fresh directory on its own file system, removed when the family ends.",
        |r, v| one(r, "--private", v, Action::Private),
    ),
    line(
        "poly",
        &[FILE],
        "Private directories by the rules of pam_namespace's namespace.conf(5), with the methods job and family beside.",
        |r, v| words(r, "--poly", "poly", v),
    ),
    line("dir", &[DST], "An empty directory to mount on, where the host has none.", |r, v| {
        one(r, "--dir", v, Action::Dir)
    }),
    line(
        "symlink",
        &[Arg("TARGET", Offer::File), DST],
        "A symbolic link with the text TARGET.",
        |r, v| {
            let [target, dst] = two(v);
            push(r, "--symlink", Action::Symlink { target, dst })
        },
    ),
    line("unmount", &[DST], "Takes away what is mounted on DST.", |r, v| {
        one(r, "--unmount", v, |dst| Action::Unmount { src: None, dst })
    }),
    line(
        "clear",
        &[],
        "Empties the namespace: the host's files are gone from here on. Implies --strict.",
        |r, _| push(r, "--clear", Action::Clear),
    ),
    line("chdir", &[DIR], "Starts in DIR.", |r, v| one(r, "--chdir", v, Action::Cd)),
    short(
        'n',
        line("namespace", &[FILE], "Runs a namespace file.", |r, v| {
            let text = read(&v[0])?;
            r.add(file::parse(&v[0], &text, &Process)?);
            Ok(())
        }),
    ),
    short(
        'e',
        line(
            "line",
            &[Arg("LINE", Offer::Text)],
            "Runs one line as it would stand in a namespace file, flags and all.",
            |r, v| {
                let origin = format!("-e '{}'", shown(&v[0]));
                r.add(file::parse_line(origin.as_bytes(), &v[0], &Process)?);
                Ok(())
            },
        ),
    ),
    option(
        "family",
        &[NAME],
        FAMILIES,
        "Names the family. The name of a living one is refused.",
        |r, v| name(r, v, Naming::New),
    ),
    option(
        "join",
        &[Arg("NAME|PID", Offer::Family)],
        FAMILIES,
        "Runs the program in a living family, given by name or by the number of a member.",
        |r, v| name(r, v, Naming::Join),
    ),
    option(
        "join-or-create",
        &[NAME],
        FAMILIES,
        "Joins the family of that name, or makes it.",
        |r, v| name(r, v, Naming::Either),
    ),
    option(
        "strict",
        &[],
        CARE,
        "A program that the library cannot serve (static, setuid, of another architecture or C library) is refused with EACCES instead of being run outside.",
        |r, _| {
            r.strict = true;
            Ok(())
        },
    ),
    option(
        "enforce",
        &[],
        CARE,
        "With --clear: the kernel too refuses what lies outside, also to static programs and raw system calls (Landlock).",
        |r, _| {
            r.enforce = true;
            Ok(())
        },
    ),
    Opt {
        optional: true,
        ..option(
            "dump",
            &[Arg("text|token|json", Offer::Words(&["text", "token", "json"]))],
            DUMPS,
            "Prints the namespace and runs nothing.",
            |r, v| {
                r.dump = Some(match v.first().map_or(&b"text"[..], |v| v) {
                    b"text" => Dump::Text,
                    b"token" => Dump::Token,
                    b"json" => Dump::Json,
                    _ => {
                        return Err(
                            Failure::new(shown(&v[0]), "no such format").fix("text, token or json")
                        );
                    }
                });
                Ok(())
            },
        )
    },
    option(
        "restore",
        &[Arg("FILE|-|TOKEN", Offer::File)],
        DUMPS,
        "Begins from a dump. A source that is missing is an error.",
        |r, v| {
            r.restore = v.into_iter().next();
            Ok(())
        },
    ),
    option("skip-missing", &[], DUMPS, "Passes over binds whose source is missing.", |r, _| {
        r.skip_missing = true;
        Ok(())
    }),
    Opt {
        optional: true,
        ..option(
            "trace",
            &[FILE],
            PROGRAM_RUN,
            "Writes one line a name: the call, the name as given, what it became, the result. Without FILE: on standard error.",
            |r, v| {
                r.trace = Some(v.into_iter().next());
                Ok(())
            },
        )
    },
    option(
        "names",
        &[Arg("exact", Offer::Words(&["exact"]))],
        PROGRAM_RUN,
        "Resolves every name exactly, at twice the cost of a stat. Without it, what outsiders do to symbolic links may be seen up to 1 s late.",
        |r, v| {
            if v[0] != b"exact" {
                return Err(Failure::new(shown(&v[0]), "no such way").fix("there is: exact"));
            }
            r.exact = true;
            Ok(())
        },
    ),
    option(
        "setenv",
        &[Arg("NAME", Offer::Text), Arg("VALUE", Offer::Text)],
        PROGRAM_RUN,
        "Sets an environment variable.",
        |r, v| {
            let [name, value] = two(v);
            if name.is_empty() || name.contains(&b'=') {
                return Err(Failure::new(shown(&name), "not the name of a variable"));
            }
            r.edits.push(Edit::Set(name, value));
            Ok(())
        },
    ),
    option(
        "unsetenv",
        &[Arg("NAME", Offer::Text)],
        PROGRAM_RUN,
        "Removes an environment variable.",
        |r, v| {
            r.edits.extend(v.into_iter().map(Edit::Unset));
            Ok(())
        },
    ),
    option("clearenv", &[], PROGRAM_RUN, "Removes all environment variables.", |r, _| {
        r.edits.push(Edit::Clear);
        Ok(())
    }),
    option(
        "instance-fd",
        &[Arg("N", Offer::Text)],
        PROGRAM_RUN,
        "Instances are made in the directory that is open as descriptor N, which a privileged launcher has opened where the user cannot.",
        |r, v| {
            let number = std::str::from_utf8(&v[0]).ok().and_then(|n| n.parse().ok());
            let number = number.filter(|n: &i32| *n > 2 && !v[0].starts_with(b"+"));
            let failure = || Failure::new(shown(&v[0]), "not the number of a descriptor above 2");
            r.instance_fd = Some(number.ok_or_else(failure)?);
            Ok(())
        },
    ),
    option(
        "on",
        &[Arg("ssh!HOST", Offer::Text)],
        PROGRAM_RUN,
        "Runs PROGRAM on another machine, by ssh, in this namespace. ns-exec has to be there too.",
        |r, v| {
            let place = Place::parse(&v[0]);
            let place = place.ok_or_else(|| Failure::new(shown(&v[0]), "no place to run at"));
            r.on = Some(place.map_err(|e| e.fix("ssh!HOST"))?);
            Ok(())
        },
    ),
    option(
        "export",
        &[],
        PROGRAM_RUN,
        "With --on: serves the directories and files that are bound here to that machine.",
        |r, _| {
            r.export = true;
            Ok(())
        },
    ),
    option("arrival", &[Arg("TOKEN", Offer::Text)], "", "", |r, v| {
        r.arrives = v.into_iter().next();
        Ok(())
    }),
    option("argv0", &[Arg("NAME", Offer::Text)], "", "", |r, v| {
        r.argv0 = v.into_iter().next();
        Ok(())
    }),
    option("inside", &[DIR, FILE], "", "", |r, v| {
        let [dir, file] = two(v);
        r.inside = Some((dir, file));
        Ok(())
    }),
    option("by-hand", &[], "", "", |r, _| {
        r.by_hand = true;
        Ok(())
    }),
];

const fn option(
    long: &'static str,
    args: &'static [Arg],
    group: &'static str,
    help: &'static str,
    apply: crate::spec::Apply<Request>,
) -> Opt<Request> {
    Opt { long, short: None, args, optional: false, group, help, apply }
}

const fn line(
    long: &'static str,
    args: &'static [Arg],
    help: &'static str,
    apply: crate::spec::Apply<Request>,
) -> Opt<Request> {
    option(long, args, NAMESPACE, help, apply)
}

const fn short(short: char, option: Opt<Request>) -> Opt<Request> {
    Opt { short: Some(short), ..option }
}

fn push(request: &mut Request, origin: &str, action: Action) -> Result<(), Failure> {
    request.add(vec![Line::new(action, origin.as_bytes())]);
    Ok(())
}

fn one(
    request: &mut Request,
    origin: &str,
    values: Values,
    action: fn(Vec<u8>) -> Action,
) -> Result<(), Failure> {
    let value = values.into_iter().next().unwrap_or_default();
    if value.is_empty() {
        return Err(Failure::new(origin, "a name cannot be empty"));
    }
    push(request, origin, action(value))
}

fn two(values: Values) -> [Vec<u8>; 2] {
    values.try_into().unwrap_or_default()
}

fn bind(
    request: &mut Request,
    origin: &str,
    values: Values,
    order: Order,
    read_only: bool,
) -> Result<(), Failure> {
    let [src, dst] = two(values);
    if src.is_empty() || dst.is_empty() {
        return Err(Failure::new(origin, "a name cannot be empty"));
    }
    let line = Line::new(Action::Bind { src, dst }, origin.as_bytes());
    request.add(vec![Line { order, read_only, ..line }]);
    Ok(())
}

/// A line that begins with these words.
fn words(request: &mut Request, origin: &str, verb: &str, values: Values) -> Result<(), Failure> {
    let words: Values = verb.split(' ').map(|w| w.as_bytes().to_vec()).chain(values).collect();
    request.add(file::parse_words(&words, origin.as_bytes(), &Process)?);
    Ok(())
}

fn name(
    request: &mut Request,
    values: Values,
    naming: fn(Vec<u8>) -> Naming,
) -> Result<(), Failure> {
    let name = values.into_iter().next().unwrap_or_default();
    if name.is_empty() {
        return Err(Failure::new("a family", "its name cannot be empty"));
    }
    privns_namespace::family::check_name(&name).map_err(|e| Failure::new(shown(&name), e))?;
    if request.naming.is_some() {
        return Err(Failure::new(shown(&name), "only one family can be named"));
    }
    request.naming = Some(naming(name));
    Ok(())
}

fn read(name: &[u8]) -> Result<Vec<u8>, Failure> {
    Process.read(name).map_err(|e| Failure::new(format!("reading {}", shown(name)), e))
}
