//! Instances that are no directories of the host's, or none that the user gets
//! to: an attendant serves them to one family, and they end with it.

use super::known::Size;
use crate::runtime::Runtime;
use crate::servers::Reach;
use privns_abi::Result;
use privns_namespace::poly::Rule;
use privns_namespace::{Member, Source, Table, Verb, remote};
use privns_ninep::address::Address;
use std::rc::Rc;

/// Such an instance.
pub(super) struct Served {
    /// Where the family has it.
    pub place: Vec<u8>,
    /// The address of its server, as it was asked for.
    pub address: Vec<u8>,
    /// The rule's method; `private` for one without a rule.
    pub method: &'static str,
    /// When its server began, in seconds since 1970.
    pub made: i64,
    /// The name of its root, as programs of the family have it.
    root: Vec<u8>,
    servers: Rc<Reach>,
}

impl Served {
    /// Those of a living family.
    ///
    /// # Errors
    /// ESRCH when it has ended; EBADMSG for a damaged table.
    pub(super) fn of(runtime: &Runtime, id: u64) -> Result<Vec<Served>> {
        let family = runtime.by_id(id)?;
        let table = family.read_table();
        family.close();
        let table = table?;
        let servers = Reach::of(&table);
        let mut found = Vec::new();
        for mount in table.mounts() {
            let served = mount.members.iter().filter_map(|m| Served::member(m, &table, &servers));
            found.extend(served.map(|served| Served { place: mount.path.clone(), ..served }));
        }
        Ok(found)
    }

    fn member(member: &Member, table: &Table, servers: &Rc<Reach>) -> Option<Served> {
        let method = match &member.rule.verb {
            Verb::Private => "private",
            Verb::Instance(rule) => Rule::parse(rule).ok()?.method.name(),
            _ => return None,
        };
        let Source::Host(root) = &member.source;
        let server = table.server(remote::split(root)?.0)?;
        let made = match Address::parse(&server.dial) {
            Ok(Address::Unix(socket)) => rustix::fs::lstat(&socket[..]).map(|s| s.st_ctime),
            _ => return None,
        };
        Some(Served {
            place: Vec::new(),
            address: server.address.clone(),
            method,
            made: made.unwrap_or_default(),
            root: root.clone(),
            servers: Rc::clone(servers),
        })
    }

    /// What it takes up, if its server says.
    pub(super) fn size(&self) -> Option<Size> {
        let (bytes, files) = self.servers.usage(&self.root).ok()?;
        Some(Size { bytes, files })
    }
}
