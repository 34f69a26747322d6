//! The environment that the program gets.

use super::Stop;
use super::request::{Edit, Request};
use crate::failure::{Failure, shown};
use crate::tree;
use privns_abi::{Errno, path};
use privns_namespace::program::preloaded;
use rustix::fs::{Access, AtFlags, CWD};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The library's file.
pub const LIBRARY: &str = "libprivns.so";

/// Whether a name in LD_PRELOAD is the library's.
pub fn is_library(name: &[u8]) -> bool {
    path::file_name(name) == LIBRARY.as_bytes()
}

/// Variables by name, in the order in which they were found.
pub struct Variables(Vec<(Vec<u8>, Vec<u8>)>);

impl Variables {
    /// Our own, with the changes that were asked for.
    #[must_use]
    pub fn edited(edits: &[Edit]) -> Variables {
        let own = std::env::vars_os().map(|(k, v)| (k.into_vec(), v.into_vec()));
        let mut variables = Variables(own.collect());
        for edit in edits {
            match edit {
                Edit::Set(name, value) => variables.set(name, value.clone()),
                Edit::Unset(name) => variables.unset(name),
                Edit::Clear => variables.0.clear(),
            }
        }
        variables
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| &v[..])
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &[u8], value: Vec<u8>) {
        match self.0.iter_mut().find(|(k, _)| k == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_vec(), value)),
        }
    }

    /// Removes a variable.
    pub fn unset(&mut self, name: &[u8]) {
        self.0.retain(|(k, _)| k != name);
    }

    /// As execve(2) takes them.
    ///
    /// # Errors
    /// A NUL in a value that was given as an option.
    pub fn to_exec(&self) -> Result<Vec<CString>, Stop> {
        let join = |(k, v): &(Vec<u8>, Vec<u8>)| CString::new([&k[..], b"=", v].concat());
        let all: Result<_, _> = self.0.iter().map(join).collect();
        all.map_err(|_| Stop::at_125(Failure::new("the environment", Errno::EINVAL)))
    }

    /// Puts the library last among those that are preloaded, so that others
    /// keep working in front of it.
    pub fn preload(&mut self, library: &[u8]) {
        let before = self.get(b"LD_PRELOAD").unwrap_or_default().to_vec();
        let others = preloaded(&before).filter(|one| !is_library(one));
        let all: Vec<&[u8]> = others.chain([library]).collect();
        self.set(b"LD_PRELOAD", all.join(&b':'));
    }

    /// For a program of ours that runs another from inside: what the person has
    /// preloaded, or has watching the loader, is for that one, and may be nothing
    /// that the host has. The library puts it back.
    pub fn preload_later(&mut self, library: &[u8]) {
        let all = self.get(b"LD_PRELOAD").unwrap_or_default();
        if all != library {
            self.set(b"PRIVNS_PRELOAD", [b"LD_PRELOAD=", all].concat());
            self.set(b"LD_PRELOAD", library.to_vec());
        }
        let watching = self.get(b"LD_AUDIT").unwrap_or_default();
        if !watching.is_empty() {
            self.set(b"PRIVNS_AUDIT", [b"LD_AUDIT=", watching].concat());
            self.set(b"LD_AUDIT", Vec::new());
        }
    }
}

/// The host path of the library: beside this program, in `../lib/privns` or in
/// `../lib`.
///
/// # Errors
/// It is in none of them; says where it was sought.
pub fn library() -> Result<Vec<u8>, Failure> {
    let own = tree::own_file().map_err(unknown_place)?;
    let dir = path::parent(&own);
    let places = [
        [dir, b"/", LIBRARY.as_bytes()].concat(),
        [path::parent(dir), b"/lib/privns/", LIBRARY.as_bytes()].concat(),
        [path::parent(dir), b"/lib/", LIBRARY.as_bytes()].concat(),
    ];
    let there =
        |p: &&Vec<u8>| rustix::fs::accessat(CWD, &p[..], Access::READ_OK, AtFlags::empty()).is_ok();
    let Some(found) = places.iter().find(there) else {
        let sought: Vec<String> = places.iter().map(|p| shown(p)).collect();
        return Err(
            Failure::new(LIBRARY, "not found").fix(format!("sought at {}", sought.join(", ")))
        );
    };
    if found.iter().any(|b| matches!(b, b':' | b' ')) {
        return Err(Failure::new(shown(found), "LD_PRELOAD cannot name a path with : or blanks")
            .fix("install privns elsewhere"));
    }
    Ok(found.clone())
}

/// Why we do not know where we are.
pub fn unknown_place(e: Errno) -> Failure {
    Failure::new("finding where ns-exec is", e).fix("/proc must be mounted")
}

/// Adds what the options ask the library to do.
///
/// # Errors
/// The trace's file cannot be made.
pub fn add_options(variables: &mut Variables, request: &Request) -> Result<(), Failure> {
    if request.exact {
        variables.set(b"PRIVNS_NAMES", b"exact".to_vec());
    }
    match &request.trace {
        None => {}
        Some(None) => variables.set(b"PRIVNS_TRACE", b"2".to_vec()),
        Some(Some(file)) => variables.set(b"PRIVNS_TRACE", trace_file(file)?),
    }
    Ok(())
}

/// Makes the file and gives its host path: members write it from wherever they
/// are.
fn trace_file(name: &[u8]) -> Result<Vec<u8>, Failure> {
    let failure = |e| Failure::new(format!("--trace={}", shown(name)), e);
    let file = std::fs::File::create(OsStr::from_bytes(name))
        .map_err(|e| failure(crate::world::of_io(&e)))?;
    tree::read_link(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()).as_bytes()).map_err(failure)
}

/// The shell to run where no program is named.
#[must_use]
pub fn shell(variables: &Variables) -> Vec<u8> {
    let named = variables.get(b"SHELL").filter(|s| !s.is_empty()).map(<[u8]>::to_vec);
    let user = || crate::world::User::own().map(|u| u.shell).filter(|s| !s.is_empty());
    named.or_else(user).unwrap_or_else(|| b"/bin/sh".to_vec())
}

/// The working directory's name, in the namespace that we are in.
#[must_use]
pub fn here() -> Option<Vec<u8>> {
    std::env::current_dir().ok().map(|d| OsString::from(d).into_vec())
}
