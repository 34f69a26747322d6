//! Names are bytes: no encoding is assumed, and a name is refused only where
//! the kernel would refuse it.

/// Longest path that a system call takes, including its final NUL
/// (`PATH_MAX`, limits.h).
pub const PATH_MAX: usize = 4096;
/// Longest single component (`NAME_MAX`, limits.h).
pub const NAME_MAX: usize = 255;
/// Symbolic links followed in one lookup before ELOOP (path_resolution(7)).
pub const LINKS_MAX: usize = 40;

/// The components of a path, in order: empty ones (from `//`) and `.` are
/// passed over, `..` is kept.
pub fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
    path.split(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".")
}

/// Whether an absolute path is spelled as a canonical one is: one slash before
/// each component, and no `.` or `..` among them.
#[must_use]
pub fn is_canonical(path: &[u8]) -> bool {
    path.strip_prefix(b"/").is_some_and(|rest| {
        rest.split(|&b| b == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
    })
}

/// True when `path` is `dir` itself or lies below it. Both are canonical
/// absolute paths, `/` for the root.
#[must_use]
pub fn is_within(path: &[u8], dir: &[u8]) -> bool {
    below(path, dir).is_some()
}

/// The part of `path` below `dir`, without a leading slash and empty for `dir`
/// itself; `None` when `path` does not lie there.
#[must_use]
pub fn below<'a>(path: &'a [u8], dir: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(dir)?;
    match rest.first() {
        None => Some(rest),
        Some(b'/') => Some(&rest[1..]),
        Some(_) if dir.ends_with(b"/") => Some(rest),
        Some(_) => None,
    }
}

/// Where the last slash of a name is.
#[must_use]
#[inline]
pub fn last_slash(name: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    const LOW: u64 = ONES * 0x7f;
    // Eight bytes at a time: the high bit of each that is no slash, exactly.
    let mut rest = name;
    while let Some((before, word)) = rest.split_last_chunk::<8>() {
        let odd = u64::from_le_bytes(*word) ^ (ONES * b'/' as u64);
        let slashes = !(((odd & LOW) + LOW) | odd | LOW);
        if slashes != 0 {
            return Some(before.len() + 7 - slashes.leading_zeros() as usize / 8);
        }
        rest = before;
    }
    rest.iter().rposition(|&b| b == b'/')
}

/// How many bytes two names have in common from their beginnings.
#[must_use]
#[inline]
pub fn shared(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let mut at = 0;
    // Eight bytes at a time, as long as they are the same.
    while let (Some(x), Some(y)) = (word(a, at), word(b, at)) {
        if x != y {
            return at + (x ^ y).trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < len && a[at] == b[at] {
        at += 1;
    }
    at
}

#[inline]
fn word(name: &[u8], at: usize) -> Option<u64> {
    name.get(at..)?.first_chunk::<8>().map(|word| u64::from_le_bytes(*word))
}

/// The innermost directory that two canonical names both lie at or below, as a
/// canonical name: empty for the root.
#[must_use]
pub fn common<'a>(a: &'a [u8], b: &[u8]) -> &'a [u8] {
    let len = shared(a, b);
    let ends = |name: &[u8]| name.get(len).is_none_or(|&b| b == b'/');
    match ends(a) && ends(b) {
        true => &a[..len],
        false => &a[..last_slash(&a[..len]).unwrap_or(0)],
    }
}

/// The directory part of a canonical absolute path: `/` for the root itself.
#[must_use]
pub fn parent(path: &[u8]) -> &[u8] {
    match last_slash(path) {
        None | Some(0) => b"/",
        Some(at) => &path[..at],
    }
}

/// The last component of a canonical absolute path: empty for the root.
#[must_use]
pub fn file_name(path: &[u8]) -> &[u8] {
    match last_slash(path) {
        None => path,
        Some(at) => &path[at + 1..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn components_pass_over_empty_and_dot_only() {
        let got: Vec<&[u8]> = components(b"//a/./b/../\xff/").collect();
        assert_eq!(got, [&b"a"[..], b"b", b"..", b"\xff"]);
    }

    #[test]
    fn a_canonical_path_has_nothing_to_be_left_out() {
        let is: [&[u8]; 4] = [b"/a", b"/a/b", b"/.../..a", b"/\xff"];
        let not: [&[u8]; 8] = [b"", b"/", b"a", b"//a", b"/a/", b"/a//b", b"/./a", b"/a/.."];
        assert!(is.iter().all(|path| is_canonical(path)));
        assert!(not.iter().all(|path| !is_canonical(path)));
    }

    #[test]
    fn below_compares_whole_components() {
        assert_eq!(below(b"/a/b", b"/a"), Some(&b"b"[..]));
        assert_eq!(below(b"/ab", b"/a"), None);
        assert_eq!(below(b"/a", b"/"), Some(&b"a"[..]));
        assert_eq!(below(b"/a", b"/a"), Some(&b""[..]));
        assert_eq!(below(b"/", b"/a"), None);
    }

    #[test]
    fn the_last_slash_is_found_wherever_it_is() {
        for len in 0..24 {
            for at in 0..len {
                let mut name = alloc::vec![b'.'; len];
                name[at] = b'/';
                assert_eq!(last_slash(&name), Some(at));
                name[0] = b'/';
                assert_eq!(last_slash(&name), Some(at));
                name[..at].fill(b'/' ^ 0x80);
                assert_eq!(last_slash(&name), Some(at));
            }
            assert_eq!(last_slash(&alloc::vec![b'/' ^ 0x80; len]), None);
            assert_eq!(last_slash(&alloc::vec![b'/' + 1; len]), None);
        }
    }

    #[test]
    fn parent_and_file_name_of_the_root() {
        assert_eq!((parent(b"/"), file_name(b"/")), (&b"/"[..], &b""[..]));
        assert_eq!((parent(b"/a"), file_name(b"/a")), (&b"/"[..], &b"a"[..]));
        assert_eq!((parent(b"/a/b"), file_name(b"/a/b")), (&b"/a"[..], &b"b"[..]));
    }

    #[test]
    fn names_share_bytes_and_whole_directories() {
        let plain = |a: &[u8], b: &[u8]| {
            a.iter().zip(b).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len()))
        };
        let long: &[u8] = b"/usr/share/doc/some-package/copyright";
        for len in 0..=long.len() {
            for at in 0..len {
                let mut other = long[..len].to_vec();
                other[at] ^= 1;
                for (a, b) in [(long, &other[..]), (&other[..], long), (long, &long[..len])] {
                    assert_eq!(shared(a, b), plain(a, b), "{len} {at}");
                }
            }
        }
        let all: [(&[u8], &[u8], &[u8]); 7] = [
            (b"/a/b/c", b"/a/b/d", b"/a/b"),
            (b"/a/b", b"/a/b/d", b"/a/b"),
            (b"/a/b", b"/a/bc", b"/a"),
            (b"/a/b", b"/a/b", b"/a/b"),
            (b"/ab", b"/ac", b""),
            (b"", b"/a", b""),
            (b"/a/b", b"/a", b"/a"),
        ];
        for (a, b, dir) in all {
            assert_eq!((common(a, b), common(b, a)), (dir, dir));
        }
    }
}
