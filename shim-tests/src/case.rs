//! One program to run natively and inside, as a file with a header.
//!
//! A case is a script of `scripts/` (run by the interpreter of its first line) or a
//! C program of `c/programs/`. Its leading comment lines may hold
//!
//! ```text
//! needs: git make        programs, paths, `root` or `user`; else it is skipped, said so
//! worlds: bind private   only these; `+locked` adds one to the usual, `-9p-` takes those away
//! limit: 40              seconds (20)
//! status: 3              how it ends on the host (0)
//! flags: -pthread        for the C compiler
//! ignore: stderr tree    what is not compared
//! ```
//!
//! It starts in `$P/w`, an empty directory of the seed's tree at `$P`; `$T` is the
//! site outside of it. `$SHIM_TOOLS` holds the helpers of `c/tools`.

use crate::cc::{self, Source, package};
use crate::run::{Ending, Outcome};
use crate::site::Site;
use crate::tree::Tree;
use crate::world::World;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A program, what it needs, and what of it is compared.
pub struct Case {
    /// The file's name without its ending.
    pub name: String,
    /// What must be installed.
    pub needs: Vec<String>,
    /// The choice of worlds, for [`crate::worlds`].
    pub worlds: Vec<String>,
    /// Seconds that one run may take.
    pub limit: u64,
    status: i32,
    flags: Vec<String>,
    ignore: Vec<String>,
    files: Vec<PathBuf>,
    oracles: Mutex<BTreeMap<&'static str, Arc<(Outcome, Tree)>>>,
}

/// All cases of the package, in the order of their names.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(package().join("scripts"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_file())
        .collect();
    files.sort();
    files.extend(cc::sources(&package().join("c/programs")));
    files.into_iter().map(Case::of).collect()
}

impl Case {
    /// Reads the header of a file.
    ///
    /// # Panics
    /// When the file cannot be read, or its header says what is not known.
    #[must_use]
    pub fn of(file: PathBuf) -> Self {
        let text = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut case = Self {
            name,
            needs: Vec::new(),
            worlds: Vec::new(),
            limit: 20,
            status: 0,
            flags: Vec::new(),
            ignore: Vec::new(),
            files: vec![file],
            oracles: Mutex::default(),
        };
        for line in String::from_utf8_lossy(&text).lines() {
            let Some(comment) = line.strip_prefix('#').or_else(|| line.strip_prefix("//")) else {
                break;
            };
            let Some((key, value)) = comment.trim().split_once(": ") else { continue };
            let words = value.split_whitespace().map(str::to_owned).collect();
            match key {
                "needs" => case.needs = words,
                "worlds" => case.worlds = words,
                "limit" => case.limit = value.trim().parse().expect("limit: seconds"),
                "status" => case.status = value.trim().parse().expect("status: a number"),
                "flags" => case.flags = words,
                "ignore" => case.ignore = words,
                _ => {}
            }
        }
        case
    }

    /// A program of all the sources in a directory of this package.
    #[must_use]
    pub fn program(dir: &str) -> Self {
        let files = cc::sources(&package().join(dir));
        let name = dir.rsplit('/').next().unwrap_or(dir).to_owned();
        let first = files.first().unwrap_or_else(|| panic!("{dir}: no sources")).clone();
        Self { name, files, ..Self::of(first) }
    }

    fn source(&self) -> Option<Source> {
        let c = self.files[0].extension().is_some_and(|x| x == "c");
        let source = || Source {
            name: self.name.clone(),
            files: self.files.clone(),
            flags: self.flags.clone(),
        };
        c.then(source)
    }

    /// The compiled program, of a case that is one.
    ///
    /// # Panics
    /// When it does not compile.
    #[must_use]
    pub fn binary(&self) -> Option<PathBuf> {
        Some(cc::compile(&self.source()?).unwrap_or_else(|e| panic!("{e}")))
    }

    /// The command to run: a compiled program, or an interpreter with the script.
    pub(crate) fn words(&self, site: &Site) -> Vec<OsString> {
        if let Some(binary) = self.binary() {
            return vec![binary.into()];
        }
        let text = std::fs::read_to_string(&self.files[0]).expect("read the script");
        let first = text.lines().next().and_then(|l| l.strip_prefix("#!")).unwrap_or("/bin/sh");
        let copy = site.path("case");
        std::fs::write(&copy, &text).expect("write the script");
        let mut words: Vec<OsString> = first.split_whitespace().map(OsString::from).collect();
        words.push(copy.into());
        words
    }

    /// What is missing here, if anything.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        self.needs.iter().map(String::as_str).find(|need| !crate::have(need))
    }

    /// Runs it natively (once) and in `world`, and compares.
    ///
    /// # Errors
    /// The first difference, with command, expected and got.
    pub fn check(&self, world: &World) -> Result<(), String> {
        let oracle = self.oracle(world);
        let (native, native_tree) = &*oracle;
        if native.ending != Ending::Exit(self.status) {
            return Err(format!("the case itself fails on the host\n{native}"));
        }
        let (got, tree) = world.run(self);
        let ignored = |what: &str| self.ignore.iter().any(|i| i == what);
        if got.ending != native.ending
            || got.stdout != native.stdout
            || (got.stderr != native.stderr && !ignored("stderr"))
        {
            return Err(report(native, &got));
        }
        let difference = native_tree.difference(&tree);
        if !ignored("tree") && !difference.is_empty() {
            return Err(format!(
                "command: {}\ntree (- native, + inside):\n{difference}",
                got.command
            ));
        }
        Ok(())
    }

    /// What the host says, for this world's oracle: run once.
    pub fn oracle(&self, world: &World) -> Arc<(Outcome, Tree)> {
        let mut oracles = self.oracles.lock().unwrap_or_else(PoisonError::into_inner);
        let run = || Arc::new(world.oracle().run(self));
        Arc::clone(oracles.entry(world.key()).or_insert_with(run))
    }
}

/// What a person needs to see and repeat a difference.
fn report(native: &Outcome, got: &Outcome) -> String {
    format!(
        "natively: {}\ninside: {}\nended: {:?} natively, {:?} inside\n\
         stdout (- native, + inside):\n{}stderr:\n{}",
        native.command,
        got.command,
        native.ending,
        got.ending,
        difference(&native.out(), &got.out()),
        difference(&native.err(), &got.err())
    )
}

/// The lines that two texts do not share, without their common beginning and end.
fn difference(native: &str, got: &str) -> String {
    let (left, right): (Vec<&str>, Vec<&str>) = (native.lines().collect(), got.lines().collect());
    let common =
        |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|(a, b)| a == b).count();
    let head = common(&mut left.iter().zip(&right));
    let (left, right) = (&left[head..], &right[head..]);
    let tail = common(&mut left.iter().rev().zip(right.iter().rev()));
    let (left, right) = (&left[..left.len() - tail], &right[..right.len() - tail]);
    let mut text = String::new();
    if left.len() == right.len() {
        for (a, b) in left.iter().zip(right).filter(|(a, b)| a != b).take(60) {
            text += &format!("- {a}\n+ {b}\n");
        }
        return text;
    }
    for (sign, lines) in [('-', left), ('+', right)] {
        for line in lines.iter().take(40) {
            text += &format!("{sign} {line}\n");
        }
    }
    text
}
