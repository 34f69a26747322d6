//! The columns: ways of running a program.

use crate::fixture::Site;
use crate::options::Options;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// One way of running a program.
pub(crate) struct Tool {
    /// The column's heading.
    pub name: &'static str,
    /// Ours: judged against the targets.
    pub ours: bool,
    /// The command put in front of the program, or why there is none.
    pub launcher: Result<Vec<OsString>, &'static str>,
    /// Variables that it needs.
    pub env: Vec<(&'static str, PathBuf)>,
}

/// Every column that was asked for; native is the first.
pub(crate) fn all(options: &Options, site: &Site) -> Vec<Tool> {
    let mut tools = vec![
        plain("native", Vec::new()),
        privns("privns, 1 mount", options, site, 0),
        privns("privns, 100 mounts", options, site, site.many.len()),
        plain("empty preload", vec![("LD_PRELOAD", site.work.join("empty.so"))]),
        fakechroot(site),
        proot(site),
        bwrap(site),
    ];
    let wanted = |tool: &Tool| {
        options.tools.is_empty() || options.tools.iter().any(|name| tool.name.starts_with(name))
    };
    tools.retain(|tool| tool.name == "native" || wanted(tool));
    tools
}

fn plain(name: &'static str, env: Vec<(&'static str, PathBuf)>) -> Tool {
    Tool { name, ours: false, launcher: Ok(Vec::new()), env }
}

fn privns(name: &'static str, options: &Options, site: &Site, more: usize) -> Tool {
    let program = options.bin_dir.join("ns-exec");
    let mut words = vec![OsString::from(&program)];
    let first = [(site.seen.clone(), site.at.clone())];
    for (source, place) in first.iter().chain(&site.many[..more]) {
        words.extend(["--bind".into(), source.into(), place.into()]);
    }
    words.push("--".into());
    let launcher = if program.is_file() { Ok(words) } else { Err(ABSENT) };
    Tool { name, ours: true, launcher, env: Vec::new() }
}

/// Its library alone, as its own shell script would set it up. It knows no binds: it looks names
/// up below another root, in which they lead to the same files.
fn fakechroot(site: &Site) -> Tool {
    let library = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let library =
        library.map(|dir| dir.path().join("fakechroot/libfakechroot.so")).find(|so| so.is_file());
    let launcher = if library.is_some() { Ok(Vec::new()) } else { Err(ABSENT) };
    let mut env = vec![("FAKECHROOT_BASE", site.root.clone())];
    env.extend(library.map(|so| ("LD_PRELOAD", so)));
    Tool { name: "fakechroot", ours: false, launcher, env }
}

fn proot(site: &Site) -> Tool {
    let bind = format!("{}:{}", site.seen.display(), site.at.display());
    let launcher = found("proot", vec!["-b".into(), bind.into()]);
    Tool { name: "proot", ours: false, launcher, env: Vec::new() }
}

fn bwrap(site: &Site) -> Tool {
    let mut words: Vec<OsString> = ["--dev-bind", "/", "/", "--bind"].map(Into::into).into();
    words.extend([OsString::from(&site.seen), OsString::from(&site.at)]);
    Tool { name: "bwrap", ours: false, launcher: found("bwrap", words), env: Vec::new() }
}

const ABSENT: &str = "absent";

fn found(program: &str, args: Vec<OsString>) -> Result<Vec<OsString>, &'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let file = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|f| f.is_file());
    let words = |file: PathBuf| std::iter::once(OsString::from(file)).chain(args).collect();
    file.as_deref().map(Path::to_owned).map(words).ok_or(ABSENT)
}
