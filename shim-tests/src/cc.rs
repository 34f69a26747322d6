//! Compiling the small C programs, once.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// C sources that make one program.
pub struct Source {
    /// The program's name.
    pub name: String,
    /// Its sources.
    pub files: Vec<PathBuf>,
    /// Further words for the compiler, libraries among them.
    pub flags: Vec<String>,
}

/// The directory of this package, where cases and sources stand.
#[must_use]
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compiles a program, unless the same sources were compiled before, and returns
/// its path.
///
/// # Errors
/// What the compiler said.
///
/// # Panics
/// When sources or cache cannot be read or written.
pub fn compile(source: &Source) -> Result<PathBuf, String> {
    // One at a time in this process; others write to names of their own and rename.
    static ONE: Mutex<()> = Mutex::new(());
    let _guard = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut hash = DefaultHasher::new();
    source.flags.hash(&mut hash);
    for file in source.files.iter().chain(&headers(&source.files)) {
        std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).hash(&mut hash);
    }
    let dir = cache().join(format!("{:016x}", hash.finish()));
    let program = dir.join(&source.name);
    if program.exists() {
        return Ok(program);
    }
    std::fs::create_dir_all(&dir).expect("the cache");
    let fresh = dir.join(format!(".{}", std::process::id()));
    let output = Command::new("cc")
        .args(["-std=gnu11", "-O0", "-g", "-Wall", "-Wno-unused-result", "-fno-builtin"])
        .args(["-Wno-deprecated-declarations", "-o"])
        .arg(&fresh)
        .args(&source.files)
        .args(&source.flags)
        .output()
        .map_err(|e| format!("cc: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    std::fs::rename(&fresh, &program).expect("the cache");
    Ok(program)
}

/// The helpers of c/tools, all in one directory.
///
/// # Panics
/// When one of them does not compile.
#[must_use]
pub fn tools() -> PathBuf {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS
        .get_or_init(|| {
            let dir = cache().join("tools");
            std::fs::create_dir_all(&dir).expect("the cache");
            for file in sources(&package().join("c/tools")) {
                let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
                let source = Source { name: name.clone(), files: vec![file], flags: Vec::new() };
                let program = compile(&source).unwrap_or_else(|e| panic!("{e}"));
                let fresh = dir.join(format!(".{name}.{}", std::process::id()));
                std::fs::copy(&program, &fresh).expect("the cache");
                std::fs::rename(&fresh, dir.join(&name)).expect("the cache");
            }
            dir
        })
        .clone()
}

/// The C files of a directory, in order.
pub(crate) fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|x| x == "c"))
        .collect();
    files.sort();
    files
}

fn headers(files: &[PathBuf]) -> Vec<PathBuf> {
    let dirs = files.iter().filter_map(|f| f.parent());
    let names = dirs.flat_map(|d| std::fs::read_dir(d).into_iter().flatten().flatten());
    let mut found: Vec<PathBuf> =
        names.map(|e| e.path()).filter(|p| p.extension().is_some_and(|x| x == "h")).collect();
    found.sort();
    found.dedup();
    found
}

/// Beside the test programs where that can be written (`target/debug/shim-c`), else
/// under /var/tmp, by user.
fn cache() -> PathBuf {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    CACHE
        .get_or_init(|| {
            let exe = std::env::current_exe().expect("our own name");
            let beside = exe.ancestors().nth(2).expect("a target directory").join("shim-c");
            let user = rustix::process::geteuid().as_raw();
            let probe = beside.join(format!(".{}", std::process::id()));
            let writable =
                std::fs::create_dir_all(&beside).is_ok() && std::fs::write(&probe, "").is_ok();
            let _ = std::fs::remove_file(&probe);
            if writable { beside } else { PathBuf::from(format!("/var/tmp/privns-shim-c-{user}")) }
        })
        .clone()
}
