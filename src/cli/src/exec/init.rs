//! The programs that set instances up: namespace.init and `iscript=`.

use super::program::View;
use crate::failure::{Failure, shown};
use crate::instance::is_roots;
use crate::tree::errno;
use privns_abi::Errno;
use privns_host::Kernel;
use privns_host::process::Fork;
use privns_namespace::family::Inherited;
use privns_namespace::poly::{Method, Rule};
use privns_namespace::{Family, Index, index};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use std::ffi::CString;

/// A program to be run once the namespace is there.
#[derive(Debug)]
pub struct Init {
    script: Vec<u8>,
    arguments: Vec<Vec<u8>>,
}

impl Init {
    /// The program that a rule asks for, if it does, with its arguments:
    /// polydir, instance, whether that is new, the user, and whether nobody but
    /// root can exchange anything on the way to either.
    ///
    /// # Errors
    /// One that cannot be run: then the instance is not to be used.
    pub fn of(
        rule: &Rule,
        polydir: &[u8],
        instance: &[u8],
        new: bool,
        login: &[u8],
    ) -> Result<Option<Init>, Failure> {
        let Some(script) = &rule.script else { return Ok(None) };
        rustix::fs::accessat(CWD, &script[..], Access::EXEC_OK, AtFlags::empty()).map_err(|e| {
            let failure = Failure::new(format!("the script {}", shown(script)), errno(e));
            failure.fix("make it executable, or say noinit")
        })?;
        let memory = rule.method == Method::Tmpfs;
        let flag = |is: bool| if is { b"1".to_vec() } else { b"0".to_vec() };
        let arguments = vec![
            polydir.to_vec(),
            if memory { b"tmpfs".to_vec() } else { instance.to_vec() },
            flag(memory || new),
            login.to_vec(),
            flag(is_roots(polydir)),
            flag(is_roots(instance)),
        ];
        Ok(Some(Init { script: script.clone(), arguments }))
    }

    /// Runs it as a member of the family, with nothing else in its environment,
    /// and waits for its end; what it says of itself by that does not matter.
    ///
    /// # Errors
    /// It cannot be run after all.
    fn run(&self, family: &Family, view: &View<'_>, library: &[u8]) -> Result<(), Failure> {
        let failure = |e: Errno| Failure::new(format!("the script {}", shown(&self.script)), e);
        let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| failure(Errno::EINVAL));
        let path = text(view.locate(&self.script).map_err(failure)?.host.as_bytes().to_vec())?;
        let words = [&self.script].into_iter().chain(&self.arguments).cloned();
        let argv: Vec<CString> = words.map(text).collect::<Result<_, _>>()?;
        let inherited = Inherited { fd: family.fd(), id: family.id(), rest: b"" };
        let environment = [
            text([b"LD_PRELOAD=", library].concat())?,
            text([&b"PRIVNS="[..], &inherited.format()].concat())?,
        ];
        match Kernel.fork(libc::SIGCHLD).map_err(failure)? {
            Fork::Child => {
                let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty());
                if let Ok(null) = null {
                    let _ = rustix::stdio::dup2_stdin(&null);
                    let _ = rustix::stdio::dup2_stdout(&null);
                }
                let _ = Kernel.execve(&path, &argv, &environment);
                Kernel.exit(NOT_RUN)
            }
            Fork::Parent(pid) => {
                let status = Kernel.wait(pid).map_err(failure)?;
                if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == NOT_RUN {
                    return Err(failure(Errno::ENOEXEC).fix("is its interpreter there?"));
                }
                Ok(())
            }
        }
    }
}

/// The status of a child that could not become the script.
const NOT_RUN: i32 = 125;

/// Runs what new mounts asked for, in their order.
///
/// # Errors
/// The first that cannot be run.
pub(super) fn run_all(family: &Family, inits: &[Init], library: &[u8]) -> Result<(), Failure> {
    if inits.is_empty() {
        return Ok(());
    }
    let failure = |e| Failure::new("the family's table", e);
    let bytes = index::encode(&family.read_table().map_err(failure)?);
    let index = Index::parse(&bytes).map_err(failure)?;
    let view = View { index, cwd: b"", files: &Kernel };
    inits.iter().try_for_each(|init| init.run(family, &view, library))
}
