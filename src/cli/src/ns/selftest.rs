//! `ns doctor --self-test`: a round of checks with real programs, here.

use crate::failure::{Failure, shown};
use crate::tree;
use rustix::fs::CWD;
use serde_json::json;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A check: the options, the script, and what it must print. `SRC` stands for
/// a directory with a file `f` of one line, `hello`.
struct Check {
    what: &'static str,
    options: &'static [&'static str],
    script: &'static str,
    prints: &'static str,
}

const CHECKS: &[Check] = &[
    Check {
        what: "a directory is bound where the host has nothing",
        options: &["--bind", "SRC", "/privns-test/new"],
        script: "cat /privns-test/new/f; ls /privns-test; cd /privns-test/new && pwd",
        prints: "hello\nnew\n/privns-test/new\n",
    },
    Check {
        what: "children, and children without an environment, see it too",
        options: &["--bind", "SRC", "/privns-test"],
        script: "sh -c 'sh -c \"cat /privns-test/f\"'; env -i /bin/cat /privns-test/f",
        prints: "hello\nhello\n",
    },
    Check {
        what: "a union shows both directories",
        options: &["--bind", "SRC", "/privns-test", "--bind-after", "/etc", "/privns-test"],
        script: "cat /privns-test/f; test -r /privns-test/passwd && echo both",
        prints: "hello\nboth\n",
    },
    Check {
        what: "a read-only bind cannot be changed",
        options: &["--ro-bind", "SRC", "/privns-test"],
        script: "echo x 2>/dev/null >/privns-test/f || echo refused; cat /privns-test/f",
        prints: "refused\nhello\n",
    },
    Check {
        what: "a private directory is empty, and the public one stays as it was",
        options: &["--private", "SRC"],
        script: "ls SRC; echo mine >SRC/mine; cat SRC/mine",
        prints: "mine\n",
    },
    Check {
        what: "a change from inside is seen at the next lookup",
        options: &["--dir", "/privns-test"],
        script: "NS bind SRC /privns-test && cat /privns-test/f && NS unmount /privns-test && \
                 ls /privns-test",
        prints: "hello\n",
    },
];

/// Runs them.
///
/// # Errors
/// One of them fails.
pub(crate) fn run(as_json: bool) -> Result<(), Failure> {
    let dir = tree::read_link(CWD, b"/proc/self/exe")
        .map_err(|e| Failure::new("finding where ns is", e))?;
    let dir = PathBuf::from(OsStr::from_bytes(privns_abi::path::parent(&dir)));
    let source = Source::make()?;
    let results: Vec<(&Check, Option<String>)> =
        CHECKS.iter().map(|check| (check, trouble(check, &dir, &source.0))).collect();
    let left = left_behind(&source.0);
    let failed = results.iter().filter(|(_, t)| t.is_some()).count() + usize::from(left.is_some());
    if as_json {
        let all = results.iter().map(|(check, trouble)| {
            json!({ "what": check.what, "ok": trouble.is_none(), "why": trouble })
        });
        super::table::print_json(json!({ "checks": all.collect::<Vec<_>>() }))?;
    } else {
        let mut text = String::new();
        for (check, trouble) in &results {
            match trouble {
                None => text.push_str(&format!("ok    {}\n", check.what)),
                Some(why) => text.push_str(&format!("FAIL  {}\n      {why}\n", check.what)),
            }
        }
        crate::print(text.as_bytes())?;
    }
    if let Some(left) = left {
        return Err(Failure::new("self-test", format!("left behind: {left}")));
    }
    match failed {
        0 => Ok(()),
        n => Err(Failure::new("self-test", format!("{n} of {} checks failed", CHECKS.len()))),
    }
}

fn trouble(check: &Check, dir: &Path, source: &Path) -> Option<String> {
    let source = source.to_string_lossy();
    let ns = dir.join("ns");
    let fill = |text: &str| text.replace("SRC", &source).replace("NS", &ns.to_string_lossy());
    let options = check.options.iter().map(|o| fill(o));
    let ran = Command::new(dir.join("ns-exec"))
        .args(options)
        .args(["--chdir", "/", "--", "sh", "-c", &fill(check.script)])
        .output();
    match ran {
        Err(e) => Some(e.to_string()),
        Ok(out) if out.stdout == check.prints.as_bytes() => None,
        Ok(out) => {
            let told = [&out.stdout[..], b" ", &out.stderr].concat();
            Some(format!("it printed: {}", shown(told.trim_ascii())))
        }
    }
}

/// What the checks' families have not taken away, 2 seconds after their end.
fn left_behind(source: &Path) -> Option<String> {
    for _ in 0..20 {
        let inside = std::fs::read_dir(source).ok()?.count();
        // The file `f`; an empty parent of instances may stay for the next.
        if inside <= 2 && !has_instances(source) {
            return None;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Some(source.to_string_lossy().into_owned())
}

fn has_instances(source: &Path) -> bool {
    let dirs = std::fs::read_dir(source).into_iter().flatten().flatten();
    dirs.filter(|d| d.path().is_dir())
        .any(|d| std::fs::read_dir(d.path()).is_ok_and(|mut inner| inner.next().is_some()))
}

/// A directory of our own to bind, removed at the end.
struct Source(PathBuf);

impl Source {
    fn make() -> Result<Source, Failure> {
        let name = format!("privns-self-test-{}", std::process::id());
        let failure = |e: std::io::Error| {
            Failure::new("a directory for the self-test", crate::world::of_io(&e))
        };
        let path = ["/var/tmp", "/tmp"]
            .iter()
            .map(|dir| Path::new(dir).join(&name))
            .find(|path| std::fs::create_dir(path).is_ok());
        let path = path.ok_or_else(|| Failure::new("a directory for the self-test", "no place"))?;
        std::fs::write(path.join("f"), "hello\n").map_err(failure)?;
        Ok(Source(path))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
