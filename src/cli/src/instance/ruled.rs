//! Rules of namespace.conf acted upon: which instance, of whom, and like what.

use super::holder::{self, About, Made, Opened};
use super::{Model, index, open_original, record_as, stat};
use crate::failure::{Failure, Why, shown};
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
    let about =
        About { method: rule.method, keep: rule.keep, job: who.job.clone(), polydir: at.to_vec() };
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
        return Ok(of_mount_options(&rule.mount_options, own()));
    }
    let Some(original) = original else {
        return created(rule.create.as_ref().unwrap_or(&Create::default()), own());
    };
    let found = open_original(original).and_then(stat);
    found.map(|stat| Model::of(&stat)).map_err(|e| Failure::new(shown(original), e))
}

/// As mount(2) makes the root of a tmpfs: of the options only those that a
/// directory can have. `size=` and the like bind nobody.
fn of_mount_options(options: &[u8], own: Model) -> Model {
    let mut model = Model { mode: 0o1777, ..own };
    for option in options.split(|&b| b == b',') {
        let number = |text: &[u8], radix| {
            let text = std::str::from_utf8(text).ok()?;
            u32::from_str_radix(text, radix).ok()
        };
        if let Some(mode) = option.strip_prefix(b"mode=").and_then(|text| number(text, 8)) {
            model.mode = mode & 0o7777;
        } else if let Some(uid) = option.strip_prefix(b"uid=").and_then(|text| number(text, 10)) {
            model.uid = uid;
        } else if let Some(gid) = option.strip_prefix(b"gid=").and_then(|text| number(text, 10)) {
            model.gid = gid;
        }
    }
    model
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
