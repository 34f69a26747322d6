//! The files that are measured.
//!
//! `at` is covered by a bind of `seen`, which holds the same, so that the very same names are
//! looked up natively and inside. `out` is covered by nothing. `many` holds ninety-nine more
//! places to bind and what to bind there.

use crate::options::Options;
use crate::{Result, program};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILES: usize = 5_000;
const FILES_PER_DIRECTORY: usize = 50;
/// Length of the file that is read and written a byte at a time; no block makes more calls.
pub(crate) const FILE_BYTES: usize = 1 << 20;

/// The directories of one run, removed when it goes.
pub(crate) struct Site {
    /// Covered by a bind of `seen`.
    pub at: PathBuf,
    /// The source of that bind.
    pub seen: PathBuf,
    /// Not covered.
    pub out: PathBuf,
    /// Pairs of source and place for more binds.
    pub many: Vec<(PathBuf, PathBuf)>,
    /// Our own programs, and the HOME of those that we start.
    pub work: PathBuf,
    /// A root directory for fakechroot in which the same names lead to the same files.
    pub root: PathBuf,
    base: PathBuf,
}

impl Site {
    /// Makes all of it below `options.base`.
    ///
    /// # Errors
    /// When the base cannot be written to, or `cc`, `git` or `cp` is not there.
    pub(crate) fn build(options: &Options) -> Result<Self> {
        let base = options
            .base
            .canonicalize()
            .map_err(|e| format!("--base {}: {e}", options.base.display()))?;
        let at = |what: &str| base.join(format!("pb{}-{what}", std::process::id()));
        let many = at("many");
        let site = Site {
            at: at("at"),
            seen: at("seen"),
            out: at("out"),
            many: (1..100)
                .map(|i| (many.join(format!("s{i}")), many.join(format!("d{i}"))))
                .collect(),
            work: at("work"),
            root: at("root"),
            base: base.clone(),
        };
        site.fill(options).map_err(|e| format!("setting up in {}: {e}", base.display()))?;
        Ok(site)
    }

    /// The name of a file `depth` components below the root directory, in `dir` of this site.
    pub(crate) fn name(&self, dir: &Path, depth: usize) -> PathBuf {
        let above = dir.components().count(); // with the root directory: names the file's own depth
        let steps = (above + 1..=depth).map(|i| format!("{i}"));
        dir.join(steps.collect::<PathBuf>()).join("f")
    }

    fn fill(&self, options: &Options) -> Result<()> {
        fs::create_dir(&self.work).map_err(text)?;
        compile(&self.work, "runner", include_str!("../c/runner.c"), &["-O2", "-fno-builtin"])?;
        compile(
            &self.work,
            "empty.so",
            include_str!("../c/empty.c"),
            &["-O2", "-shared", "-fPIC"],
        )?;
        for (source, place) in &self.many {
            fs::create_dir_all(source).and_then(|()| fs::create_dir_all(place)).map_err(text)?;
        }
        self.tree()?;
        let build = self.seen.join("program");
        match &options.program {
            Some(from) => sh(&self.base, "cp -r \"$1\" \"$2\"", &[from, &build])?,
            None => program::generate(&build).map_err(text)?,
        }
        self.fake_root().map_err(text)?;
        // In fakechroot's root a link would not do: getcwd(2) would name what it leads to.
        for copy in [&self.at, &self.beside(&self.at)] {
            sh(&self.base, "cp -a \"$1\" \"$2\"", &[&self.seen, copy])?;
        }
        for dir in [&self.at, &self.beside(&self.at), &self.seen, &self.out] {
            for depth in [3, 10] {
                let own = self.name(&self.at, depth);
                let below = own.strip_prefix(&self.at).unwrap_or(&own);
                measured_file(&dir.join(below)).map_err(text)?;
            }
        }
        Ok(())
    }

    /// Five thousand files under git, all in one pack, old enough for git to trust their times.
    fn tree(&self) -> Result<()> {
        let tree = self.seen.join("tree");
        for i in 0..FILES {
            let name = format!("d{:02}/file{i}.txt", i / FILES_PER_DIRECTORY);
            write(&tree.join(name), format!("{i}\n").repeat(100).as_bytes())?;
        }
        sh(
            &tree,
            "find . -exec touch -d 2020-01-01 {} + && git init -q . && git add . && \
             git -c user.name=bench -c user.email=bench@localhost commit -q -m tree && \
             git repack -adq",
            &[],
        )
    }

    fn fake_root(&self) -> std::io::Result<()> {
        fs::create_dir_all(self.beside(&self.base))?;
        for entry in fs::read_dir("/")?.flatten() {
            let link = self.root.join(entry.file_name());
            if !link.exists() {
                symlink(entry.path(), link)?;
            }
        }
        symlink(&self.out, self.beside(&self.out))?;
        symlink(&self.work, self.beside(&self.work))
    }

    /// Where a directory of this site lies below fakechroot's root.
    fn beside(&self, dir: &Path) -> PathBuf {
        self.root.join(dir.strip_prefix("/").unwrap_or(dir))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let many = self.many.first().and_then(|(source, _)| source.parent());
        let own = [&self.at, &self.seen, &self.out, &self.work, &self.root];
        for dir in own.into_iter().map(PathBuf::as_path).chain(many) {
            match fs::remove_dir_all(dir) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    eprintln!("privns-benches: {}: {e}", dir.display())
                }
                _ => {}
            }
        }
    }
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let parent = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).and_then(|()| fs::write(file, bytes)).map_err(text)
}

/// A file written page by page. The page cache keeps a file in pieces of the size of the writes
/// that made it, and a later write of one byte takes six times as long in a piece of a megabyte.
fn measured_file(file: &Path) -> std::io::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(file))?;
    let mut file = fs::File::create(file)?;
    (0..FILE_BYTES / 4096).try_for_each(|_| file.write_all(&[b'x'; 4096]))
}

fn compile(dir: &Path, name: &str, source: &str, flags: &[&str]) -> Result<()> {
    let file = dir.join(name).with_extension("c");
    write(&file, source.as_bytes())?;
    let done = Command::new("cc").args(flags).arg("-o").arg(dir.join(name)).arg(&file).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cc {}: {status}", file.display())),
        Err(e) => Err(format!("cc: {e} (install a C compiler)")),
    }
}

fn sh(dir: &Path, script: &str, args: &[&Path]) -> Result<()> {
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .args(args)
        .current_dir(dir)
        .envs(GIT_ALONE)
        .status()
        .map_err(text)?;
    if status.success() { Ok(()) } else { Err(format!("`{script}`: {status}")) }
}

/// Keeps the settings of the person who runs this out of git.
pub(crate) const GIT_ALONE: [(&str, &str); 2] =
    [("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")];
