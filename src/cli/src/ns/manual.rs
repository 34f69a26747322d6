//! The words of ns(1).

pub(super) const DESCRIPTION: &str = "\
Without a verb ns prints the namespace of a family as lines that build it \
again: ns > f; ns-exec -n f gives the same.

The verbs of the namespace file change it, for all members, at their next \
lookup. A change is done wholly or not at all. SRC is looked up in the family's \
namespace and, where that has no such name, in the global one.

A family is named by --family, or by the number of any member with --pid, or is \
the one that ns runs in. Only the user's own can be seen and changed.";

pub(super) const SECTIONS: &[(&str, &str)] = &[
    (
        "OUTPUT",
        "With --json, what is listed is one JSON object with a \"version\" field. A name that \
is not UTF-8 stands there as an object with its bytes in hexadecimal, {\"hex\": \"ff\"}; in \
text, as \\xff.

ns instances lists the private directories on this host: what each stands for, the method that \
told it apart (private: none), its user, size and age, whether anybody uses it, and which \
families. ns reap removes those that no living process uses: with --job those of a batch job, \
with --user also those that stay by their method (user, level, context). Root sees and reaps \
everybody's. A process of another user keeps nothing, whatever it was started from.

ns ps escapes blanks within an argument with a backslash. It lists the members here, and those on \
each machine whose /proc is mounted at /proc/HOST that a launcher (srun, mpirun) took the family to. \
What ns-exec --on starts is a family of its own, there: ns ps lists it there, with those whom it \
sends further, and not here.

ns stat counts calls by what became of them (translated: a name that the table changed; \
forwarded: passed on as it was; served: answered by the library; escaped: programs run that \
it cannot serve), and for each 9P server the messages and bytes that the family's members \
have exchanged with it, the times that they waited for an answer, and the connections that \
they made in place of lost ones.",
    ),
    ("EXIT STATUS", "0 done, 1 failed, 2 bad usage. Errors are one line on standard error."),
    (
        "ENVIRONMENT",
        "PRIVNS, written by ns-exec, says which family this process is in. XDG_RUNTIME_DIR, \
else /run/user/UID, /dev/shm or /tmp hold the runtime directory, in which families are \
found.",
    ),
];

pub(super) const EXAMPLES: &[(&str, &str)] = &[
    ("ns", "Prints the namespace that this shell is in."),
    ("ns --family work bind -a ~/more /data", "Adds a directory to a union, while programs run."),
    ("ns --family work mount tcp!fs!564 /n/fs", "Shows a server's tree to programs that run."),
    ("ns why /data/x", "Which directory of the union has x, and who put it there."),
    ("ns --pid 1234 > f; ns-exec -n f", "Another shell in the same namespace."),
    ("ns families", "The families that live."),
];
