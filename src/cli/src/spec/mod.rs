//! What a program accepts, said once: the parser, `--help`, the manual page
//! and the completions of three shells all come from the same table.

mod complete;
mod help;
mod man;
mod parse;

pub use complete::Shell;
pub use parse::Parsed;

use crate::failure::Failure;

/// A program's outer face. `R` is what its options fill in.
pub struct Program<R: 'static> {
    /// Its name.
    pub name: &'static str,
    /// What it does, as the manual's NAME line has it.
    pub about: &'static str,
    /// How it is called, one form a line, without the name.
    pub synopsis: &'static [&'static str],
    /// Paragraphs, separated by empty lines.
    pub description: &'static str,
    /// Options, in the order that help shows them.
    pub options: &'static [Opt<R>],
    /// Verbs, for a program that has them.
    pub verbs: &'static [Verb<R>],
    /// What follows the options: arguments of the program or of a program that
    /// it runs.
    pub operands: &'static [Arg],
    /// Further sections of the manual: title and paragraphs.
    pub sections: &'static [(&'static str, &'static str)],
    /// Commands, each with what it does.
    pub examples: &'static [(&'static str, &'static str)],
    /// Pages to read next.
    pub see_also: &'static [&'static str],
}

/// An option.
pub struct Opt<R: 'static> {
    /// The long name, without dashes.
    pub long: &'static str,
    /// The short name.
    pub short: Option<char>,
    /// What it takes.
    pub args: &'static [Arg],
    /// The last argument may be left out and is given with `=`.
    pub optional: bool,
    /// The heading that it stands under; empty for one that is not shown.
    pub group: &'static str,
    /// One sentence or two.
    pub help: &'static str,
    /// Takes it into account.
    pub apply: Apply<R>,
}

/// What an option or a verb does with its arguments.
pub type Apply<R> = fn(&mut R, Vec<Vec<u8>>) -> Result<(), Failure>;

/// A verb: the first argument of a program that has several tasks.
pub struct Verb<R: 'static> {
    /// Its name.
    pub name: &'static str,
    /// What it takes, as the usage line has it.
    pub usage: &'static str,
    /// What completions offer for its arguments.
    pub args: &'static [Arg],
    /// What follows is not looked at for options: it has flags of its own.
    pub raw: bool,
    /// One sentence or two.
    pub help: &'static str,
    /// Takes it into account.
    pub apply: Apply<R>,
}

/// An argument: its name in usage lines, and what completions offer.
#[derive(Clone, Copy)]
pub struct Arg(pub &'static str, pub Offer);

/// What can stand for an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// A file.
    File,
    /// A directory.
    Dir,
    /// A program.
    Command,
    /// A living family.
    Family,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Anything.
    Text,
}

impl<R> Opt<R> {
    /// `--bind SRC DST`, `--dump[=text|json]`
    fn usage(&self) -> String {
        let mut text = format!("--{}", self.long);
        for (i, arg) in self.args.iter().enumerate() {
            if self.optional && i + 1 == self.args.len() {
                text.push_str(&format!("[={}]", arg.0));
            } else {
                text.push_str(&format!(" {}", arg.0));
            }
        }
        text
    }

    fn is_shown(&self) -> bool {
        !self.group.is_empty()
    }
}

impl<R> Program<R> {
    /// The headings of the options, each once, in order.
    fn groups(&self) -> Vec<&'static str> {
        let mut groups: Vec<&'static str> = Vec::new();
        for option in self.options.iter().filter(|o| o.is_shown()) {
            if !groups.contains(&option.group) {
                groups.push(option.group);
            }
        }
        groups
    }

    fn shown(&self, group: &str) -> impl Iterator<Item = &Opt<R>> {
        self.options.iter().filter(move |o| o.group == group)
    }
}
