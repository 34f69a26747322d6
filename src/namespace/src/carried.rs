//! What the programs of a family carry to other machines: `PRIVNS_IMAGE`.
//!
//! On this machine a program finds the family's table by `PRIVNS`. A launcher
//! that takes the environment to another one (srun, sbatch, mpirun) takes the
//! image of the table along, a snapshot of one generation. It is a token, or
//! the name of a file with a token in it where an environment should not hold
//! that much: Linux takes 128 KiB a string.
//!
//! The file lies in the user's cache directory, which other machines see where
//! they share the home directory. It outlives the family, since a batch job
//! may begin long after that; `ns reap` removes those that are old.

use crate::dump::{Origin, table_token};
use crate::family::Family;
use alloc::vec::Vec;
use privns_abi::{Errno, Result};
use privns_host::{Kernel, Name};

/// Longest token in the environment, in bytes.
pub const INLINE: usize = 96 << 10;

/// The image of a family.
pub struct Carried {
    /// What it is of.
    pub generation: u64,
    /// The variable's value.
    pub value: Vec<u8>,
}

/// The directory that images are kept in, without a slash at its end, from
/// what XDG_CACHE_HOME and HOME say (XDG Base Directory Specification).
///
/// # Errors
/// ENOENT where neither says anything; ENOMEM.
pub fn directory(cache: Option<&[u8]>, home: Option<&[u8]>) -> Result<Name> {
    let absolute = |dir: &&[u8]| dir.first() == Some(&b'/');
    let mut dir = Name::new();
    match (cache.filter(absolute), home.filter(absolute)) {
        (Some(cache), _) => dir.push(cache)?,
        (None, Some(home)) => {
            dir.push(home)?;
            dir.push(b"/.cache")?;
        }
        (None, None) => return Err(Errno::ENOENT),
    }
    dir.push(b"/privns")?;
    Ok(dir)
}

/// The number of the family that an image in a file of this name is of.
#[must_use]
pub fn family_of(name: &[u8]) -> Option<u64> {
    let (id, generation) = name.split_at_checked(16)?;
    let generation = generation.strip_prefix(b".")?;
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let id = core::str::from_utf8(id).ok().filter(|_| digits(generation))?;
    u64::from_str_radix(id, 16).ok()
}

/// The image of the family as it is now. `directory` is where a long one goes;
/// one that cannot be put there is not made, and the name of the file then says
/// so to whoever wants it.
///
/// # Errors
/// ENOMEM; EBADMSG for a damaged table.
pub fn carried(family: &Family, directory: &Result<Name>) -> Result<Carried> {
    let mut image = Vec::new();
    let generation = family.read_image(&mut image)?;
    let token = table_token(&Origin::here()?, &image)?;
    if token.len() <= INLINE {
        return Ok(Carried { generation, value: token });
    }
    let mut value = Name::from(b"@")?;
    if let Ok(directory) = directory {
        value.push(directory.as_bytes())?;
        value.push(b"/")?;
        let mut digits = [0; 20];
        value.push(&hex(family.id()))?;
        value.push(b".")?;
        value.push(decimal(generation, &mut digits))?;
        let mut file = Name::from(value.as_bytes().get(1..).unwrap_or_default())?;
        let _ = put(directory, &mut file, &token);
    }
    let mut copied = crate::dump::sized(value.as_bytes().len())?;
    copied.copy_from_slice(value.as_bytes());
    Ok(Carried { generation, value: copied })
}

/// Puts a token into a file, unless it is there: of one generation there is
/// one image.
fn put(directory: &Name, file: &mut Name, token: &[u8]) -> Result<()> {
    let file = file.as_cstr()?;
    let at = libc::AT_FDCWD;
    let there = Kernel.statat(at, file, libc::AT_SYMLINK_NOFOLLOW);
    if there.is_ok_and(|there| there.uid == Kernel.geteuid()) {
        return Ok(());
    }
    let mut dir = Name::from(directory.as_bytes())?;
    let mut above = Name::from(privns_abi::path::parent(directory.as_bytes()))?;
    let _ = Kernel.mkdir(above.as_cstr()?, 0o700);
    let _ = Kernel.mkdir(dir.as_cstr()?, 0o700);
    // Under a name of its own first: two programs may be at it at once.
    let mut part = Name::from(directory.as_bytes())?;
    part.push(b"/.")?;
    part.push(&hex(Kernel.random()?))?;
    let part = part.as_cstr()?;
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    let fd = Kernel.openat(at, part, flags, 0o600)?;
    let written = Kernel.write_all(fd, token);
    let _ = Kernel.close(fd);
    written.and_then(|()| Kernel.rename(part, file)).inspect_err(|_| {
        let _ = Kernel.unlink(part);
    })
}

fn hex(number: u64) -> [u8; 16] {
    let digit = |at: usize| b"0123456789abcdef"[(number >> (60 - 4 * at) & 15) as usize];
    core::array::from_fn(digit)
}

fn decimal(mut n: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::Dump;
    use crate::table::{Kind, Order, Rule, Source, Table, Verb};
    use std::{fs, string::String};

    fn family(mounts: usize) -> Family {
        let mut table = Table::new();
        for i in 0..mounts {
            let place = std::format!("/else/where/number{i:05}");
            let source = Source::Host(std::format!("/some/where/number{i:05}").into_bytes());
            let member = table.member(source, Rule { verb: Verb::Bind, origin: b"f:1".to_vec() });
            table.place(place.as_bytes(), Kind::Dir, Order::Replace, member, None).unwrap();
        }
        Family::create(b"", &table).unwrap()
    }

    #[test]
    fn a_short_one_is_a_token() {
        let made = carried(&family(100), &Err(Errno::ENOENT)).unwrap();
        assert_eq!(made.generation, 1);
        let dump = Dump::from_token(&made.value).unwrap();
        assert_eq!(dump.origin, Origin::here().unwrap());
        assert!(crate::image::is_image(&dump.body));
    }

    #[test]
    fn a_long_one_is_in_a_file_that_only_we_can_read() {
        let home = std::env::temp_dir().join(std::format!("privns-cache-{}", std::process::id()));
        fs::create_dir(&home).unwrap();
        let home = home.to_str().unwrap();
        let dir = directory(Some(b"relative"), Some(home.as_bytes()));
        let family = family(5000);
        let value = carried(&family, &dir).unwrap().value;
        let file = String::from_utf8(value).unwrap();
        let file = file.strip_prefix('@').unwrap();
        assert_eq!(file, std::format!("{home}/.cache/privns/{:016x}.1", family.id()));
        let token = fs::read(file).unwrap();
        assert_eq!(family_of(privns_abi::path::file_name(file.as_bytes())), Some(family.id()));
        assert!(token.len() > INLINE && Dump::from_token(&token).is_ok());
        let stat =
            Kernel.statat(libc::AT_FDCWD, &std::ffi::CString::new(file).unwrap(), 0).unwrap();
        assert_eq!(stat.mode & 0o777, 0o600);
        // Once more: nothing else is left beside it.
        carried(&family, &dir).unwrap();
        assert_eq!(fs::read_dir(std::format!("{home}/.cache/privns")).unwrap().count(), 1);
        fs::remove_dir_all(home).unwrap();
        // Nowhere to put it: the name says where it would be.
        let value = carried(&family, &dir).unwrap().value;
        assert_eq!(value.strip_prefix(b"@"), Some(file.as_bytes()));
        assert_eq!(carried(&family, &directory(None, None)).unwrap().value, b"@");
    }
}
