//! Rules for instances: namespace.conf(5) of pam_namespace, read as it reads
//! them (Linux-PAM 1.7), with two methods and two variables more.
//!
//! - `lex`: a line as words.
//! - `line`: words as a [`Rule`].
//! - `users`: whom a line is for.
//! - [`name`]: what a rule's instance is called.
//! - [`files`]: the file, its drop-ins and the vendor's, as lines of a
//!   namespace file.
//!
//! A rule that applies becomes `private -i 'PREFIX METHOD[:FLAG…]' POLYDIR`:
//! so it is printed, and so it travels. Its variables stay as they are until
//! the instance is made, since another node is another `$NODE`. What the
//! module does to mounts (`unmnt_only` and the like) has no counterpart here:
//! a process of another user never begins in this one's namespace.

pub mod files;
mod lex;
mod line;
pub mod name;
mod users;

use crate::failure::Failure;
use alloc::vec::Vec;

pub use files::{Applied, Arguments};
pub use name::Who;

type Result<T> = core::result::Result<T, Failure>;

/// How instances of a directory are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// One for each user.
    User,
    /// One for each user and level of SELinux; without SELinux as [`Method::User`].
    Level,
    /// The same for the whole context.
    Context,
    /// A new one for each family.
    TmpDir,
    /// A new one for each family, in memory.
    Tmpfs,
    /// One for each user and batch job. Not pam_namespace's.
    Job,
    /// One for each family, under the family's number. Not pam_namespace's.
    Family,
}

impl Method {
    /// All, by the names that the file has.
    pub const ALL: [(&'static str, Method); 7] = [
        ("user", Method::User),
        ("context", Method::Context),
        ("level", Method::Level),
        ("tmpdir", Method::TmpDir),
        ("tmpfs", Method::Tmpfs),
        ("job", Method::Job),
        ("family", Method::Family),
    ];

    /// The method's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Method::ALL.iter().find(|(_, method)| *method == self).map_or("", |(name, _)| name)
    }

    /// The method of this name.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Method> {
        Method::ALL.iter().find(|(n, _)| n.as_bytes() == name).map(|(_, method)| *method)
    }

    /// Whether the instance stays when its last user has gone.
    #[must_use]
    pub fn stays(self) -> bool {
        matches!(self, Method::User | Method::Level | Method::Context)
    }
}

/// `create[=MODE[,OWNER[,GROUP]]]`: what an instance looks like where its
/// polydir is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Create {
    /// Default: 0777 less the umask.
    pub mode: Option<u32>,
    /// By name; default: the user.
    pub owner: Option<Vec<u8>>,
    /// By name; default: the owner's.
    pub group: Option<Vec<u8>>,
}

/// What a line of the file says of its instances, beside the directory that
/// they stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What an instance's path begins with, variables and all.
    pub prefix: Vec<u8>,
    /// How they are told apart.
    pub method: Method,
    /// `create`
    pub create: Option<Create>,
    /// The program that is run when an instance is set up: an absolute path.
    /// In a file `iscript` may be relative, and there is a default; what
    /// [`files`] gives says which it is.
    pub script: Option<Vec<u8>>,
    /// `noinit`: none is run.
    pub no_init: bool,
    /// `shared`: level and context without the user's name.
    pub shared: bool,
    /// `mntopts=`, of a tmpfs.
    pub mount_options: Vec<u8>,
    /// Names are hashed always (the module's argument `gen_hash`).
    pub hash: bool,
    /// `keep`: it stays when its last user has gone, whatever the method: a
    /// job's between two of its steps. Not pam_namespace's.
    pub keep: bool,
}

impl Rule {
    /// Reads what [`Rule::to_text`] wrote.
    ///
    /// # Errors
    /// What is wrong with which field.
    pub fn parse(text: &[u8]) -> Result<Rule> {
        line::rule(text)
    }

    /// `PREFIX METHOD[:FLAG…]`, as [`Rule::parse`] reads it back.
    #[must_use]
    pub fn to_text(&self) -> Vec<u8> {
        line::print(self)
    }
}

#[cfg(test)]
#[path = "../poly_tests.rs"]
mod tests;
