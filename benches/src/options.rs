//! The command line.

use crate::Result;
use lexopt::prelude::*;
use std::path::PathBuf;

const HELP: &str = "\
privns-benches: the cost of a namespace, as ratios to native

  --bin-dir DIR   where ns-exec and libprivns.so are (default: beside this program)
  --program DIR   sources of a C program that `make` builds (default: a generated one)
  --base DIR      where to put the files that are measured (default: /tmp)
  --tools A,B     only these columns, and native
  --only TEXT     only the rows whose name contains TEXT
  --rounds N      multiply the number of passes by N (default: 1)
  --quick         a smoke run: few rounds, numbers mean little
  --json          print JSON instead of a Markdown table
";

const PASSES: u32 = 10;

/// What to measure, and with what.
pub(crate) struct Options {
    /// Where `ns-exec` is.
    pub bin_dir: PathBuf,
    /// Sources of a real program, with a Makefile.
    pub program: Option<PathBuf>,
    /// Where the measured files go.
    pub base: PathBuf,
    /// The columns wanted; empty for all.
    pub tools: Vec<String>,
    /// The rows wanted: those whose name contains this.
    pub only: String,
    /// Factor on the number of passes.
    pub rounds: u32,
    /// Few rounds, small blocks.
    pub quick: bool,
    /// JSON rather than Markdown.
    pub json: bool,
}

impl Options {
    /// How often each row has its turn.
    pub(crate) fn passes(&self) -> u32 {
        if self.quick { 1 } else { PASSES * self.rounds }
    }
}

/// Reads the command line; `None` when help was all that was asked for.
pub(crate) fn parse() -> Result<Option<Options>> {
    read(lexopt::Parser::from_env()).map_err(|e| e.to_string())
}

fn read(mut parser: lexopt::Parser) -> std::result::Result<Option<Options>, lexopt::Error> {
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from));
    let mut options = Options {
        bin_dir: beside.unwrap_or_default(),
        program: None,
        base: PathBuf::from("/tmp"),
        tools: Vec::new(),
        only: String::new(),
        rounds: 1,
        quick: false,
        json: false,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("bin-dir") => options.bin_dir = absolute(parser.value()?),
            Long("program") => options.program = Some(absolute(parser.value()?)),
            Long("base") => options.base = parser.value()?.into(),
            Long("tools") => {
                options.tools = parser.value()?.string()?.split(',').map(String::from).collect();
            }
            Long("only") => options.only = parser.value()?.string()?,
            Long("rounds") => options.rounds = parser.value()?.parse()?,
            Long("quick") => options.quick = true,
            Long("json") => options.json = true,
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

/// Programs are started elsewhere than here.
fn absolute(path: std::ffi::OsString) -> PathBuf {
    std::path::absolute(&path).unwrap_or_else(|_| path.into())
}
