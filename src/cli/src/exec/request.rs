//! What was asked of `ns-exec`.

use super::on::Place;
use super::on::arrival::Arrival;
use privns_namespace::file::Line;

/// The options, taken together.
#[derive(Default)]
pub struct Request {
    /// The namespace's lines, in order.
    pub lines: Vec<Line>,
    /// Namespace options were given, even if they hold no line.
    pub given: bool,
    /// `--family`, `--join`, `--join-or-create`.
    pub naming: Option<Naming>,
    /// `--strict`
    pub strict: bool,
    /// `--enforce`
    pub enforce: bool,
    /// `--dump`
    pub dump: Option<Dump>,
    /// `--restore`
    pub restore: Option<Vec<u8>>,
    /// `--on`
    pub on: Option<Place>,
    /// `--export`
    pub export: bool,
    /// What an `ns-exec --on` elsewhere has sent, as it came.
    pub arrives: Option<Vec<u8>>,
    /// All of this has been sent from there.
    pub arrival: Option<Arrival>,
    /// `--skip-missing`
    pub skip_missing: bool,
    /// `--trace`, with its file.
    pub trace: Option<Option<Vec<u8>>>,
    /// `--instance-fd`
    pub instance_fd: Option<i32>,
    /// `--names exact`
    pub exact: bool,
    /// Changes of the environment, in order.
    pub edits: Vec<Edit>,
    /// The library re-executes a program that was started by hand.
    pub by_hand: bool,
    /// Its argument 0.
    pub argv0: Option<Vec<u8>>,
    /// We run inside, for what the kernel does not have: the working directory,
    /// empty for the one that is, and the program's file.
    pub inside: Option<(Vec<u8>, Vec<u8>)>,
    /// PROGRAM and its arguments; empty for the shell.
    pub program: Vec<Vec<u8>>,
}

/// Which family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// A new one of this name.
    New(Vec<u8>),
    /// A living one.
    Join(Vec<u8>),
    /// A living one, or a new one.
    Either(Vec<u8>),
}

/// How a namespace is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dump {
    /// Lines of a namespace file.
    Text,
    /// One word.
    Token,
    /// JSON.
    Json,
}

/// A change of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// `--setenv`
    Set(Vec<u8>, Vec<u8>),
    /// `--unsetenv`
    Unset(Vec<u8>),
    /// `--clearenv`
    Clear,
}

impl Request {
    /// Adds lines.
    pub fn add(&mut self, lines: Vec<Line>) {
        self.given = true;
        self.lines.extend(lines);
    }
}
