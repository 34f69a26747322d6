//! Directories that a rule of namespace.conf makes instances of.

use super::{Builder, Result, missing};
use crate::file::Line;
use crate::poly;
use crate::resolve::Last;
use crate::table::{Kind, Verb};
use alloc::vec::Vec;
use privns_abi::Errno;

impl Builder<'_> {
    /// Mounts the instance that a rule gives.
    pub(super) fn by_rule(&mut self, line: &Line, text: &[u8], dir: &[u8]) -> Result<()> {
        let rule = poly::Rule::parse(text)?;
        let seen = self.look().see(dir);
        let to = self.spot(line, dir, Last::FOLLOW)?;
        let original: Option<Vec<u8>> = match seen {
            Ok(seen) if !seen.dir => return Err(missing("private", dir, Errno::ENOTDIR)),
            Ok(seen) if self.in_skeleton(&seen.host) => None,
            Ok(seen) => Some(seen.host),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(missing("private", dir, errno)),
        };
        if original.is_none() && rule.create.is_none() && self.kind_at(&to).is_none() {
            let failure = missing("private", dir, Errno::ENOENT);
            return Err(failure.fix("make it, or add create to the method's flags"));
        }
        self.implied(line, &to)?;
        let instance = self.places.by_rule(&to.ns, original.as_deref(), &rule)?;
        let source = self.shown_by(instance, &to.ns)?;
        let member = self.member(source, Verb::Instance(rule.to_text()), line);
        self.table.cover(&to.ns, Kind::Dir, alloc::vec![member]);
        Ok(())
    }
}
