//! Rules of namespace.conf acted upon: which instance, of whom, and like what.

use super::holder::{self, About, Made, Opened};
use super::{Given, Model, index, open_original, record_as, stat};
use crate::failure::{Failure, Why, shown};
use crate::servers::memory;
use crate::world::{self, Process, User};
use privns_abi::path;
use privns_host::Kernel;
use privns_namespace::family;
use privns_namespace::file::Environment;
use privns_namespace::poly::{Create, Method, Rule, Who, name};

/// Where instances of `tmpfs` are made: it is one, and no mount is needed.
const MEMORY: &[u8] = b"/dev/shm/.privns-tmpfs-";
/// How often a name that is chosen at random may be somebody's already.
const TRIES: usize = 100;

/// For whom instances are made, by this process, for a family.
///
/// # Errors
/// A user without a name; no random number.
pub fn who(family: u64) -> Result<Who, Failure> {
    let unnamed = || Failure::new(format!("user {}", Kernel.geteuid()), "it has no name");
    let User { name: login, home, .. } = User::own().ok_or_else(unnamed)?;
    Ok(Who {
        login,
        home,
        job: world::job(),
        node: Process.variable(b"NODE").unwrap_or_default(),
        context: world::context(),
        family,
        random: family::new_id().map_err(|e| Failure::new("a random number", e))?,
    })
}

/// The address of what a rule has served: a tree in memory, where a size is
/// asked for. A directory in `/dev/shm` is as fast as a tmpfs, and sockets and
/// mappings work in it, but a limit needs somebody who keeps it.
///
/// # Errors
/// Mount options that are none.
pub fn served(rule: &Rule) -> Result<Option<Vec<u8>>, Failure> {
    if rule.method != Method::Tmpfs {
        return Ok(None);
    }
    let known = memory::Options::known(&rule.mount_options);
    let options = memory::Options::parse(&known).map_err(|failure| {
        Failure::new(format!("field 3, mntopts={}", failure.what), failure.why)
    })?;
    Ok(options.size.map(|_| [b"mem!", &known[..]].concat()))
}

/// Makes the instance of a rule, or finds it, in a directory that was handed
/// down; gives its name there, and whether it is new.
///
/// # Errors
/// As [`by_rule`].
pub fn given_by_rule(
    given: &mut Given,
    family: u64,
    at: &[u8],
    original: Option<&[u8]>,
    rule: &Rule,
) -> Result<(Vec<u8>, bool), Failure> {
    let who = who(family)?;
    let model = model(original, rule)?;
    given.by_rule(&holder_of(rule, &who)?, family, &about(rule, &who, at), &model)
}

fn about(rule: &Rule, who: &Who, at: &[u8]) -> About {
    About { method: rule.method, keep: rule.keep, job: who.job.clone(), polydir: at.to_vec() }
}

/// Makes the instance that a rule gives, or finds it, for the family of this
/// number. It has the mode of the host directory `original` and, made by root,
/// its owner and group; without an original it is as the rule's `create` says.
///
/// # Errors
/// A rule that names no place here; a place that is not safe.
pub fn by_rule(
    family: u64,
    at: &[u8],
    original: Option<&[u8]>,
    rule: &Rule,
) -> Result<Made, Failure> {
    let mut who = who(family)?;
    let about = about(rule, &who, at);
    let model = model(original, rule)?;
    let random = matches!(rule.method, Method::TmpDir | Method::Tmpfs);
    let mut tries = if random { TRIES } else { 1 };
    loop {
        let holder = holder_of(rule, &who)?;
        let own_parent = rule.prefix.contains(&b'$');
        let made = holder::make(&holder, family, &about, &model, own_parent)?;
        tries -= 1;
        if random && !made.new && tries > 0 {
            leave(&holder, family, made)?;
            who.random = family::new_id().map_err(|e| Failure::new("a random number", e))?;
            continue;
        }
        record_as(family, &name::md5_hex(&made.path), &made.path);
        index::remember(path::parent(&made.path));
        return Ok(made);
    }
}

/// Gives back an instance that another family was first to have.
fn leave(holder: &[u8], family: u64, made: Made) -> Result<(), Failure> {
    drop(made.held);
    let opened = Opened::at(holder).map_err(|why| Failure::new(shown(holder), why))?;
    let left = opened.map_or(Ok(()), |opened| opened.leave(family));
    left.map_err(|why| Failure::new(shown(holder), why))
}

fn holder_of(rule: &Rule, who: &Who) -> Result<Vec<u8>, Failure> {
    if rule.method != Method::Tmpfs {
        return name::instance(rule, who);
    }
    let login = [&who.login[..], b"."].concat();
    let prefix = [MEMORY, &login].concat();
    name::instance(&Rule { prefix, method: Method::TmpDir, ..rule.clone() }, who)
}

fn model(original: Option<&[u8]>, rule: &Rule) -> Result<Model, Failure> {
    let own = || Model {
        mode: 0o777 & !world::umask(),
        uid: Kernel.geteuid(),
        gid: rustix::process::getegid().as_raw(),
    };
    if rule.method == Method::Tmpfs {
        let known = memory::Options::known(&rule.mount_options);
        let memory::Options { mode, uid, gid, .. } = memory::Options::parse(&known)?;
        let own = own();
        return Ok(Model { mode, uid: uid.unwrap_or(own.uid), gid: gid.unwrap_or(own.gid) });
    }
    let Some(original) = original else {
        return created(rule.create.as_ref().unwrap_or(&Create::default()), own());
    };
    let found = open_original(original).and_then(stat);
    found.map(|stat| Model::of(&stat)).map_err(|e| Failure::new(shown(original), e))
}

fn created(create: &Create, own: Model) -> Result<Model, Failure> {
    let mut model = own;
    let unknown = |name: &[u8], what: &str| {
        Failure::new(format!("field 3, create=...{}", shown(name)), format!("no such {what}"))
    };
    if let Some(owner) = &create.owner {
        let user = User::by_name(owner).ok_or_else(|| unknown(owner, "user"))?;
        (model.uid, model.gid) = (user.uid, user.gid);
    }
    if let Some(group) = &create.group {
        model.gid = world::gid_of(group).ok_or_else(|| unknown(group, "group"))?;
    }
    model.mode = create.mode.unwrap_or(model.mode);
    if Kernel.geteuid() != 0 && model.uid != own.uid {
        let why = Why::Text("only root can make a directory somebody else's".into());
        return Err(Failure::new("field 3, create", why).fix("leave the owner out"));
    }
    Ok(model)
}
