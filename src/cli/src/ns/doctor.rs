//! `ns doctor`: what this host allows, and what will happen to a program
//! before it is run.

use super::table::{name, print_json};
use crate::exec::environment::{self, here};
use crate::exec::program::View;
use crate::exec::{Stop, birth};
use crate::failure::{Failure, shown};
use crate::runtime::Runtime;
use crate::servers::Reach;
use crate::tree;
use crate::world::of_io;
use privns_abi::{Errno, Result};
use privns_host::Kernel;
use privns_host::kernel::{OpenHow, RESOLVE_NO_SYMLINKS};
use privns_namespace::program::Header;
use privns_namespace::{Index, index};
use privns_servers::munge;
use privns_servers::tls::keys;
use rustix::fs::{AtFlags, CWD};
use serde_json::json;
use std::os::unix::ffi::OsStringExt;

/// Something that the host does or does not allow.
struct Finding {
    what: &'static str,
    /// `None`: as it should be.
    trouble: Option<String>,
    /// What that means.
    means: &'static str,
}

/// Reports on the host.
///
/// # Errors
/// Standard output's.
pub(crate) fn host(as_json: bool) -> std::result::Result<(), Failure> {
    let findings = findings();
    if as_json {
        let all = findings.iter().map(|f| {
            json!({ "what": f.what, "ok": f.trouble.is_none(), "why": f.trouble, "means": f.means })
        });
        return print_json(json!({ "host": all.collect::<Vec<_>>() }));
    }
    let mut text = String::new();
    for finding in &findings {
        match &finding.trouble {
            None => text.push_str(&format!("ok    {}\n", finding.what)),
            Some(why) => {
                text.push_str(&format!("no    {}: {why}\n      {}\n", finding.what, finding.means));
            }
        }
    }
    crate::print(text.as_bytes())
}

fn findings() -> Vec<Finding> {
    let tell = |result: Result<()>| result.err().map(|e| e.to_string());
    let library = environment::library();
    let runtime = Runtime::make();
    let landlock = Kernel.landlock_version();
    vec![
        Finding {
            what: "the library is where ns-exec looks for it",
            trouble: library.err().map(|f| f.to_string()),
            means: "nothing can be run",
        },
        Finding {
            what: "a runtime directory",
            trouble: runtime.err().map(|f| f.to_string()),
            means: "nothing can be run",
        },
        Finding {
            what: "/proc",
            trouble: tell(tree::read_file(b"/proc/self/stat", 64).map(drop)),
            means: "no keeper, and families cannot be joined",
        },
        Finding {
            what: "memory shared by descriptor (memfd_create)",
            trouble: tell(memfd()),
            means: "tables stand in a file without a name in /dev/shm instead",
        },
        Finding {
            what: "lookups without symbolic links (openat2)",
            trouble: tell(openat2()),
            means: "names are walked component by component: slower",
        },
        Finding {
            what: "writable code (mprotect)",
            trouble: tell(Kernel.try_writable_code()),
            means: "libc is entered by its exported symbols alone: calls that it makes itself, \
                    as fopen does, are served by other means",
        },
        Finding {
            what: "Landlock 3 or newer",
            trouble: (landlock < 3).then(|| format!("version {landlock}")),
            means: "--enforce is refused",
        },
        Finding {
            what: "room for descriptors up to 1023",
            trouble: few_descriptors(),
            means: "the family's table takes one that the program may want",
        },
        Finding {
            what: "no system call filter on this process",
            trouble: filtered(),
            means: "calls that the filter refuses are answered by others where possible",
        },
        Finding {
            what: "addresses: tcp!, unix!, exec!, mem! and @HOST/NAME",
            trouble: tell(unix_socket()),
            means: "nothing can be mounted",
        },
        Finding {
            what: "addresses: ssh!, and --on (ssh)",
            trouble: not_found("ssh"),
            means: "other machines are reached by other addresses, or not at all",
        },
        Finding {
            what: "addresses: tls! (a key)",
            trouble: no_key(),
            means: "servers that want a key let nobody in from here; ns-serve keygen makes one",
        },
        Finding {
            what: "a proof by MUNGE (munge)",
            trouble: munge::credential().err().map(|e| e.to_string()),
            means: "servers that want one let nobody in from here",
        },
    ]
}

fn unix_socket() -> Result<()> {
    std::os::unix::net::UnixStream::pair().map(drop).map_err(|e| of_io(&e))
}

fn not_found(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    (!there).then(|| format!("there is no {program} on PATH"))
}

fn no_key() -> Option<String> {
    let dir = match keys::directory() {
        Ok(dir) => dir,
        Err(e) => return Some(e.to_string()),
    };
    let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name());
    let kinds = ["client", "psk"].map(|kind| Some(std::ffi::OsStr::new(kind)));
    let any = names.any(|name| kinds.contains(&std::path::Path::new(&name).extension()));
    (!any).then(|| format!("no NAME.client or NAME.psk in {}", dir.display()))
}

fn memfd() -> Result<()> {
    Kernel.close(Kernel.memfd_create(c"privns-doctor")?)
}

fn openat2() -> Result<()> {
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let how = OpenHow::new(flags, 0, RESOLVE_NO_SYMLINKS);
    Kernel.close(Kernel.openat2(libc::AT_FDCWD, c"/", &how)?)
}

fn few_descriptors() -> Option<String> {
    let limit = Kernel.descriptor_limit().unwrap_or(0);
    (limit < 1024).then(|| format!("the limit is {limit} (ulimit -n)"))
}

fn filtered() -> Option<String> {
    let status = tree::read_file(b"/proc/self/status", 16 << 10).ok()?;
    let mode = status.split(|&b| b == b'\n').find_map(|l| l.strip_prefix(b"Seccomp:"))?;
    (mode.trim_ascii() != b"0").then(|| "there is one (seccomp)".into())
}

/// Reports on a program.
///
/// # Errors
/// It is not there.
pub(crate) fn program(program: &[u8], as_json: bool) -> std::result::Result<(), Failure> {
    let table = birth::outer_family().and_then(|f| f.read_table().ok()).unwrap_or_default();
    let bytes = index::encode(&table);
    let index = Index::parse(&bytes).map_err(|e| Failure::new("the table", e))?;
    let cwd = here().unwrap_or_default();
    let reach = Reach::of(&table);
    let view = View { index, cwd: &cwd, files: &*reach };
    let search = std::env::var_os("PATH").map(OsStringExt::into_vec);
    let found = view.command(&[program.to_vec()], None, search.as_deref(), None, false);
    let command = found.map_err(|Stop { failure, .. }| failure)?;
    let path = if command.inside { program } else { command.path.as_bytes() };
    let verdict = match command.inside {
        true => "served, if it is dynamically linked: it comes from a 9P server".into(),
        false => verdict(path, command.unserved),
    };
    if as_json {
        return print_json(json!({
            "program": name(program),
            "file": name(path),
            "served": command.unserved.is_none(),
            "why": command.unserved,
            "verdict": verdict,
        }));
    }
    crate::print(format!("{}: {verdict}\n", shown(path)).as_bytes())
}

fn verdict(path: &[u8], unserved: Option<&str>) -> String {
    if let Some(why) = unserved {
        return format!(
            "not served: {why}. It is run on the host's files and counted as escaped, or refused \
             with EACCES under --strict and after --clear"
        );
    }
    match tree::header(path) {
        Header::Elf(elf) => {
            let loader = elf.loader().map(shown).unwrap_or_default();
            let note = if gains_rights(path) {
                "; setuid or setgid, so not served where somebody else runs it"
            } else {
                ""
            };
            format!("served: dynamically linked, loaded by {loader}{note}")
        }
        Header::Script(script) => {
            format!("served: a script of {}", shown(script.interpreter()))
        }
        Header::Other => format!("unknown: {}; the kernel or /bin/sh may know it", Errno::ENOEXEC),
    }
}

fn gains_rights(path: &[u8]) -> bool {
    let stat = rustix::fs::statat(CWD, path, AtFlags::empty());
    stat.is_ok_and(|s| s.st_mode & (libc::S_ISUID | libc::S_ISGID) != 0)
}
