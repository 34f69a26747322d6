//! The verbs that need no source from elsewhere, and the one that takes away.

use super::{Builder, Result, hosts, missing, place};
use crate::failure::{Failure, shown};
use crate::file::{Line, is_address};
use crate::instance;
use crate::remote::{self, Server};
use crate::resolve::Last;
use crate::table::{Kind, Member, Source, Verb};
use alloc::format;
use alloc::vec::Vec;
use privns_abi::{Errno, path};

impl Builder<'_> {
    pub(super) fn private(&mut self, line: &Line, dir: &[u8]) -> Result<()> {
        let from = self.look().source(dir).map_err(|errno| missing("private", dir, errno))?;
        if !from.dir {
            return Err(missing("private", dir, Errno::ENOTDIR));
        }
        let to = self.spot(line, dir, Last::FOLLOW)?;
        let first = from.mount.and_then(|mount| mount.members.into_iter().next());
        let original = match (from.plain, first) {
            (Some(seen), _) => seen.host,
            (None, Some(Member { source: Source::Host(host), rule, .. })) => match rule.verb {
                // An instance of an instance stands beside it: the first may
                // be removed before the second.
                Verb::Private => instance::original(&host).unwrap_or(&host).to_vec(),
                _ => host,
            },
            (None, None) => return Err(missing("private", dir, Errno::ENOENT)),
        };
        if remote::is_remote(&original) {
            let failure = missing("private", dir, Errno::EOPNOTSUPP);
            return Err(failure.fix("a server holds no instances: --tmpfs, or private elsewhere"));
        }
        if self.in_skeleton(&original) {
            let failure = missing("private", dir, Errno::ENOENT);
            return Err(failure.fix("only a directory that the host has can have instances"));
        }
        self.implied(line, &to)?;
        let instance = self.places.instance(&to.ns, &original)?;
        let source = self.shown_by(instance, &to.ns)?;
        let member = self.member(source, Verb::Private, line);
        self.table.cover(&to.ns, Kind::Dir, alloc::vec![member]);
        Ok(())
    }

    pub(super) fn dir(&mut self, line: &Line, dst: &[u8]) -> Result<()> {
        let to = self.spot(line, dst, Last::FOLLOW)?;
        match self.kind_at(&to) {
            Some(false) => return Err(place(line, dst, Errno::EEXIST)),
            Some(true) => {
                self.table.mean(&to.ns, &line.origin);
                return Ok(());
            }
            None => {}
        }
        self.implied(line, &to)?;
        self.skeleton_dir(line, &to.ns, Verb::Dir)
    }

    pub(super) fn symlink(&mut self, line: &Line, target: &[u8], dst: &[u8]) -> Result<()> {
        let to = self.spot(line, dst, Last::NO_FOLLOW)?;
        if to.ns.is_empty() {
            return Err(place(line, dst, Errno::EBUSY));
        }
        self.implied(line, &to)?;
        let verb = Verb::Symlink(target.to_vec());
        let mut member = self.member(Source::Host(Vec::new()), verb, line);
        let host = self.places.symlink(&to.ns, member.seq, target)?;
        self.table.skeleton = path::parent(&host).to_vec();
        member.source = Source::Host(host);
        self.table.cover(&to.ns, Kind::Symlink, alloc::vec![member]);
        Ok(())
    }

    pub(super) fn unmount(&mut self, line: &Line, src: Option<&[u8]>, dst: &[u8]) -> Result<()> {
        let at = self.mounted_at(dst).map_err(|errno| place(line, dst, errno))?;
        let nothing = || place(line, dst, Errno::EINVAL);
        let implied = |m: &Member| m.rule.verb == Verb::Implied;
        if self.table.at(&at).is_none_or(|mount| mount.members.iter().all(implied)) {
            return Err(nothing().fix("nothing is mounted there"));
        }
        let Some(src) = src else {
            self.table.unmount(&at, None).map_err(|errno| place(line, dst, errno))?;
            return self.root(line);
        };
        let absent = || nothing().fix(format!("{} is not mounted there", shown(src)));
        if self.unmount_server(src, &at) {
            return self.root(line);
        }
        if is_address(src) {
            return Err(absent());
        }
        // SRC may since have been covered, by the union itself for one; then
        // the global name is meant.
        let global = [b"host!", src].concat();
        let own = self.look().name(src, Last::FOLLOW).is_ok_and(|own| own == at);
        let mut last = missing("unmount", src, Errno::ENOENT);
        for src in [src, &global].into_iter().skip(own.into()) {
            let hosts = self.look().source(src).map(hosts);
            let hosts = match hosts {
                Ok(hosts) => hosts,
                Err(errno) => {
                    last = missing("unmount", src, errno);
                    continue;
                }
            };
            let mut gone = false;
            for host in hosts {
                gone |= self.table.unmount(&at, Some(&Source::Host(host))).is_ok();
            }
            if gone {
                return self.root(line);
            }
            last = nothing().fix(format!("{} is not mounted there", shown(src)));
        }
        Err(last.at(&line.origin))
    }

    /// Takes away what an address has been mounted for; false: nothing.
    fn unmount_server(&mut self, address: &[u8], at: &[u8]) -> bool {
        let (printed, _) = self.address(address);
        let is = |server: &&Server| server.address == address || server.address == printed;
        let ids: Vec<u32> = self.table.servers().iter().filter(is).map(|s| s.id).collect();
        let mut gone = false;
        for id in ids {
            gone |= self.table.unmount(at, Some(&Source::Host(remote::name(id)))).is_ok();
        }
        gone
    }

    /// The mount point that `dst` names: as it is spelled, since its source may
    /// be gone, else as it is found.
    fn mounted_at(&self, dst: &[u8]) -> privns_abi::Result<Vec<u8>> {
        let spelled: Vec<u8> =
            path::components(dst).flat_map(|part| [b"/", part].concat()).collect();
        if dst.starts_with(b"/") && self.table.at(&spelled).is_some() {
            return Ok(spelled);
        }
        let own = self.look().name(dst, Last::NO_FOLLOW)?;
        if self.table.at(&own).is_some() { Ok(own) } else { self.look().name(dst, Last::FOLLOW) }
    }

    pub(super) fn cd(&mut self, dir: &[u8]) -> Result<()> {
        let failure = |errno: Errno| Failure::new(format!("cd {}", shown(dir)), errno);
        let seen = self.look().see(dir).map_err(failure)?;
        if !seen.dir {
            return Err(failure(Errno::ENOTDIR));
        }
        self.cwd = seen.ns.clone();
        self.start = Some(seen.ns);
        Ok(())
    }
}
