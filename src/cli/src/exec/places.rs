//! What a namespace needs on the host: the skeleton and instances.

use super::init::Init;
use crate::failure::{Failure, shown};
use crate::instance::{self, Given, Made};
use crate::runtime;
use crate::servers::Reach;
use crate::tree::{self, errno};
use privns_namespace::build::{Instance, Places};
use privns_namespace::poly::Rule;
use privns_namespace::{Server, Table};
use rustix::fs::{AtFlags, Mode};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Makes things on the host, for one family.
pub struct Host {
    skeleton: Vec<u8>,
    family: u64,
    /// Only to be printed: an instance is an empty directory of the skeleton.
    dry: bool,
    instances: u32,
    made: Vec<Vec<u8>>,
    /// Those by rules, with the locks on them.
    ruled: Vec<Made>,
    /// What is to be run when the namespace is there.
    pub inits: Vec<Init>,
    reach: Rc<Reach>,
    /// Where instances are to be, if a launcher says so.
    given: Option<Given>,
}

impl Host {
    /// Places for the family of this number, with its skeleton in a directory
    /// that is there.
    #[must_use]
    pub fn new(family: u64, skeleton: Vec<u8>, reach: Rc<Reach>) -> Host {
        let (made, ruled, inits) = (Vec::new(), Vec::new(), Vec::new());
        Host { skeleton, family, dry: false, instances: 0, made, ruled, inits, reach, given: None }
    }

    /// Has instances in the directory that a launcher has handed down.
    ///
    /// # Errors
    /// EMFILE.
    pub fn give(&mut self, given: Given) -> Result<(), Failure> {
        self.reach.give(given.dir()?);
        self.given = Some(given);
        Ok(())
    }

    /// That directory, with what has been made in it.
    pub fn take_given(&mut self) -> Option<Given> {
        self.given.take()
    }

    /// The same for a namespace that is printed and not used: nothing is made
    /// beside the skeleton.
    #[must_use]
    pub fn dry(family: u64, skeleton: Vec<u8>) -> Host {
        let reach = Reach::to_print(&skeleton);
        Host { dry: true, ..Host::new(family, skeleton, reach) }
    }

    /// The servers that are mounted, and names on them.
    #[must_use]
    pub fn reach(&self) -> Rc<Reach> {
        self.reach.clone()
    }

    /// Gives a copied table a skeleton of its own.
    ///
    /// # Errors
    /// What making its directories and links says.
    pub fn adopt(&self, table: &mut Table) -> privns_abi::Result<()> {
        let dir = tree::open_path(&self.skeleton)?;
        for (name, target) in table.move_skeleton(&self.skeleton) {
            match target {
                Some(target) => rustix::fs::symlinkat(&target[..], &dir, &name[..]),
                None => make_dir(&dir, &name),
            }
            .map_err(errno)?;
        }
        if !table.servers().is_empty() {
            runtime::make_shelf(&self.skeleton);
        }
        Ok(())
    }

    /// Takes back the instances that a change made which then failed. What it
    /// put into the skeleton does no harm and is used again.
    pub fn undo(self) {
        instance::remove_all(self.family, &self.made);
        for made in self.ruled {
            instance::undo(self.family, made);
        }
    }

    /// The instances that were made, and their locks.
    pub fn take(&mut self) -> Vec<Made> {
        std::mem::take(&mut self.ruled)
    }

    /// Whether the table shows instances that it did not show before.
    #[must_use]
    pub fn has_made(&self) -> bool {
        !self.made.is_empty() || !self.ruled.is_empty()
    }

    fn skeleton(&self) -> Result<OwnedFd, Failure> {
        tree::open_path(&self.skeleton)
            .map_err(|e| Failure::new(format!("the skeleton {}", shown(&self.skeleton)), e))
    }

    fn dry_instance(&mut self, at: &[u8]) -> Result<Instance, Failure> {
        // Numbers from the other end, that no place of the table has.
        self.instances += 1;
        self.dir(at, u32::MAX - self.instances).map(Instance::Host)
    }

    /// Gives what shows the instance, what a script is told that it is, and
    /// whether it is new.
    fn make_by_rule(
        &mut self,
        at: &[u8],
        original: Option<&[u8]>,
        rule: &Rule,
    ) -> Result<(Instance, Vec<u8>, bool), Failure> {
        if let Some(address) = instance::served(rule)? {
            return Ok((Instance::Served(address), at.to_vec(), true));
        }
        if let Some(given) = &mut self.given {
            let (name, new) = instance::given_by_rule(given, self.family, at, original, rule)?;
            return Ok((given.shown(&name), at.to_vec(), new));
        }
        let made = instance::by_rule(self.family, at, original, rule)?;
        let (path, new) = (made.path.clone(), made.new);
        self.ruled.push(made);
        Ok((Instance::Host(path.clone()), path, new))
    }

    fn path(&self, number: u32) -> Vec<u8> {
        [&self.skeleton[..], format!("/{number}").as_bytes()].concat()
    }
}

impl Places for Host {
    fn dir(&mut self, at: &[u8], number: u32) -> Result<Vec<u8>, Failure> {
        let dir = self.skeleton()?;
        let made = replace(&dir, number, |name| make_dir(&dir, name.as_bytes()));
        made.map_err(|e| Failure::new(format!("making {}", shown(at)), e))?;
        Ok(self.path(number))
    }

    fn skeleton(&self) -> Vec<u8> {
        self.skeleton.clone()
    }

    fn symlink(&mut self, at: &[u8], number: u32, target: &[u8]) -> Result<Vec<u8>, Failure> {
        let dir = self.skeleton()?;
        let made = replace(&dir, number, |name| rustix::fs::symlinkat(target, &dir, name));
        made.map_err(|e| Failure::new(format!("making {}", shown(at)), e))?;
        Ok(self.path(number))
    }

    fn instance(&mut self, at: &[u8], original: &[u8]) -> Result<Instance, Failure> {
        if self.dry {
            return self.dry_instance(at);
        }
        if let Some(given) = &mut self.given {
            let name = given.make(self.family, original)?;
            return Ok(given.shown(&name));
        }
        let made = instance::make(self.family, original)?;
        self.made.push(made.clone());
        Ok(Instance::Host(made))
    }

    fn by_rule(
        &mut self,
        at: &[u8],
        original: Option<&[u8]>,
        rule: &Rule,
    ) -> Result<Instance, Failure> {
        if self.dry {
            return self.dry_instance(at);
        }
        let (made, path, new) = self.make_by_rule(at, original, rule)?;
        let login = crate::world::User::own().map(|user| user.name).unwrap_or_default();
        let init = Init::of(rule, at, &path, new, &login);
        self.inits.extend(init?);
        Ok(made)
    }

    fn server(&mut self, _at: &[u8], server: &mut Server) -> Result<(), Failure> {
        self.reach.server(server)?;
        if !self.dry {
            runtime::make_shelf(&self.skeleton);
        }
        Ok(())
    }
}

fn make_dir(dir: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    // Whatever the umask: it stands for a directory like /mnt.
    let mode = Mode::from_raw_mode(0o755);
    rustix::fs::mkdirat(dir, name, mode)?;
    rustix::fs::chmodat(dir, name, mode, AtFlags::empty())
}

/// Makes a file whose name a change that failed may have used.
fn replace(
    dir: &OwnedFd,
    number: u32,
    make: impl Fn(&str) -> rustix::io::Result<()>,
) -> privns_abi::Result<()> {
    let name = number.to_string();
    match make(&name) {
        Err(rustix::io::Errno::EXIST) => {
            tree::remove(dir, name.as_bytes())?;
            make(&name).map_err(errno)
        }
        made => made.map_err(errno),
    }
}
