//! Instances in a directory that a privileged launcher has handed down.
//!
//! An administrator may keep the directories of his users where no user gets to
//! (pam_namespace wants mode 000 above them). A launcher of root's opens the
//! user's own there and hands the descriptor down: below a descriptor names are
//! looked up whatever lies above it. But programs have no such descriptor, and
//! where the path is closed to them what is in there is served to the family by
//! an attendant (`servers::attendant`) that has it. Nobody else can look in
//! either: what a crash leaves is cleared away when the directory is given the
//! next time.

use super::holder::{self, About, Made, Opened};
use super::{Model, ground, make_in, open_parent};
use crate::failure::{Failure, Why, shown};
use crate::runtime::{self, Living};
use crate::servers::GIVEN;
use crate::tree::{self, errno};
use ground::Ground;
use privns_abi::{Errno, path};
use privns_host::Kernel;
use privns_namespace::build::Instance;
use privns_namespace::instance;
use privns_namespace::poly::name::md5_hex;
use rustix::fs::{Access, AtFlags, Mode, OFlags};
use std::os::fd::{AsRawFd, OwnedFd};

/// The directory, and what a family has in it.
pub struct Given {
    dir: OwnedFd,
    /// Its path, where that leads the user there, and nobody can make it lead
    /// elsewhere.
    path: Option<Vec<u8>>,
    made: Vec<Kept>,
}

/// An instance that the family uses.
enum Kept {
    /// Its own, by its name in the user's directory.
    Own(Vec<u8>),
    /// One by a rule, by its holder's name.
    Ruled { name: Vec<u8>, made: Made },
}

impl Given {
    /// Takes the directory that has this descriptor, which the program will not
    /// have.
    ///
    /// # Errors
    /// No directory; one that others could tamper with, or that this user can
    /// make nothing in.
    pub fn adopt(number: i32) -> Result<Given, Failure> {
        let what = |why: Why| {
            let failure = Failure::new(format!("--instance-fd {number}"), why);
            failure.fix("hand down a directory of the user's own: install -d -m 700 -o USER DIR")
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(format!("/proc/self/fd/{number}"), flags, Mode::empty());
        let dir = dir.map_err(|e| match errno(e) {
            Errno::ENOENT => what(Errno::EBADF.into()),
            e => what(e.into()),
        })?;
        ground::check(&super::stat(&dir).map_err(|e| what(e.into()))?, Kernel.geteuid())
            .map_err(what)?;
        let may = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(&dir, ".", may, AtFlags::EACCESS)
            .map_err(|e| what(errno(e).into()))?;
        let _ = Kernel.close(number);
        let given = Given { path: reached(&dir), dir, made: Vec::new() };
        given.clear_up();
        Ok(given)
    }

    /// What shows the directory of this name in it.
    #[must_use]
    pub fn shown(&self, name: &[u8]) -> Instance {
        match &self.path {
            Some(path) => Instance::Host([path, &b"/"[..], name].concat()),
            None => Instance::Served([GIVEN, name].concat()),
        }
    }

    /// Another descriptor of it.
    ///
    /// # Errors
    /// EMFILE.
    pub fn dir(&self) -> Result<OwnedFd, Failure> {
        self.dir.try_clone().map_err(|e| Failure::new("--instance-fd", crate::world::of_io(&e)))
    }

    /// Makes a fresh instance for a family; gives its name in the directory.
    ///
    /// # Errors
    /// As [`super::make`].
    pub fn make(&mut self, family: u64, original: &[u8]) -> Result<Vec<u8>, Failure> {
        let what = || format!("private {}", shown(original));
        let model = super::open_original(original).and_then(super::stat).map(|s| Model::of(&s));
        let made = model.map_err(Why::from).and_then(|model| {
            make_in(&self.dir, family, &model, |name| self.made.push(Kept::Own(name.to_vec())))
        });
        let [parent, name] = made.map_err(|why| Failure::new(what(), why))?;
        Ok([&parent[..], b"/", &name].concat())
    }

    /// Makes the instance of a rule, or finds it; `holder` is where the rule
    /// would have it. Gives its name, and whether it is new.
    ///
    /// # Errors
    /// As [`super::by_rule`].
    pub(super) fn by_rule(
        &mut self,
        holder: &[u8],
        family: u64,
        about: &About,
        model: &Model,
    ) -> Result<(Vec<u8>, bool), Failure> {
        // Rules that differ in the directory alone are not to meet here.
        let hash = md5_hex(path::parent(holder));
        let name = [&hash[..8], b".", path::file_name(holder)].concat();
        let failure = |why: Why| Failure::new(format!("the instance {}", shown(&name)), why);
        let ground = self.ground().map_err(failure)?;
        let made = holder::make_in(&ground, &name, family, about, model).map_err(failure)?;
        let found = ([&name[..], b"/", holder::DIR].concat(), made.new);
        self.made.push(Kept::Ruled { name, made });
        Ok(found)
    }

    /// The descriptors by which its keeper holds what the family uses.
    pub fn fds(&self) -> impl Iterator<Item = i32> {
        let held = self.made.iter().filter_map(|kept| match kept {
            Kept::Own(_) => None,
            Kept::Ruled { made, .. } => Some(made.held.as_raw_fd()),
        });
        held.chain([self.dir.as_raw_fd()])
    }

    /// The family takes its leave of all that it has used.
    pub fn leave(mut self, family: u64) {
        for kept in std::mem::take(&mut self.made) {
            match kept {
                Kept::Own(name) => {
                    if let Ok(parent) = self.parent() {
                        let _ = tree::remove(&parent, &name);
                    }
                }
                Kept::Ruled { name, made } => {
                    drop(made);
                    if let Ok(Some(opened)) = self.opened(&name) {
                        let _ = opened.leave(family);
                    }
                }
            }
        }
        let own = instance::parent(Kernel.geteuid());
        let _ = rustix::fs::unlinkat(&self.dir, &own[..], AtFlags::REMOVEDIR);
    }

    /// Removes what families have left that ended without their keepers.
    fn clear_up(&self) {
        let parent = self.parent().ok();
        let own = parent.iter().flat_map(|dir| tree::names(dir).unwrap_or_default());
        let own: Vec<(u64, Vec<u8>)> =
            own.filter_map(|name| Some((instance::family(&name)?, name))).collect();
        let living = if own.is_empty() { Living::default() } else { Living::look() };
        for (family, name) in own {
            if let Some(parent) = &parent
                && !living.has(family)
                && !runtime::is_being_born(family)
            {
                let _ = tree::remove(parent, &name);
            }
        }
        for name in tree::open_dir(&self.dir, b".").and_then(tree::names).unwrap_or_default() {
            if let Ok(Some(opened)) = self.opened(&name)
                && !opened.about.stays()
            {
                let _ = opened.remove();
            }
        }
    }

    fn parent(&self) -> Result<OwnedFd, Why> {
        let uid = Kernel.geteuid();
        open_parent(&self.dir, &instance::parent(uid), uid)
    }

    fn ground(&self) -> Result<Ground, Why> {
        let dir = self.dir.try_clone().map_err(|e| crate::world::of_io(&e))?;
        Ok(Ground { dir, path: Vec::new() })
    }

    fn opened(&self, name: &[u8]) -> Result<Option<Opened>, Why> {
        Opened::on(self.ground()?, name, Kernel.geteuid())
    }
}

/// The path that leads to a directory, for this user too.
fn reached(dir: &OwnedFd) -> Option<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let told = rustix::fs::readlink(link, Vec::new()).ok()?.into_bytes();
    let Ground { dir: found, path } = ground::safe(&told, Kernel.geteuid()).ok()?;
    let (found, wanted) = (super::stat(&found).ok()?, super::stat(dir).ok()?);
    ((found.dev, found.ino) == (wanted.dev, wanted.ino)).then_some(path)
}
