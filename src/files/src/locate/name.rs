//! A name taken apart, as far as looking it up needs.

use privns_abi::path;

/// A name cut before its last component.
pub(super) struct Cut<'a> {
    pub(super) dir: &'a [u8],
    pub(super) last: &'a [u8],
    /// The slashes after it.
    pub(super) tail: &'a [u8],
}

impl<'a> Cut<'a> {
    /// `None` when the last component is `.` or `..`, or there is none.
    #[inline]
    pub(super) fn new(name: &'a [u8]) -> Option<Cut<'a>> {
        let mut end = name.len();
        while end > 0 && name[end - 1] == b'/' {
            end -= 1;
        }
        let from = path::last_slash(&name[..end]).map_or(0, |at| at + 1);
        let last = &name[from..end];
        if matches!(last, b"" | b"." | b"..") {
            return None;
        }
        Some(Cut { dir: &name[..from], last, tail: &name[end..] })
    }
}

/// Whether a component is a file's own name, of a length that may be.
#[inline(always)]
pub(super) fn is_plain(last: &[u8]) -> bool {
    match last.first() {
        // `.` and `..`, or not far from them: looked at more closely elsewhere.
        Some(b'.') if last.len() <= 2 => false,
        Some(_) => last.len() <= path::NAME_MAX,
        None => false,
    }
}

/// Whether a name has `..` for a component.
#[inline]
pub(super) fn goes_up(name: &[u8]) -> bool {
    // Most names have no two dots in a row at all.
    name.windows(2).any(|w| w == b"..") && name.split(|&b| b == b'/').any(|c| c == b"..")
}

/// How many directories up a name leads that does nothing else.
#[must_use]
pub fn only_up(name: &[u8]) -> Option<usize> {
    let parts = || path::components(name);
    (parts().next().is_some() && parts().all(|c| c == b"..")).then(|| parts().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_before_its_last_component() {
        let cut = |name: &'static str| {
            Cut::new(name.as_bytes()).map(|c| {
                let text = |b: &[u8]| std::string::String::from_utf8(b.to_vec()).unwrap();
                (text(c.dir), text(c.last), text(c.tail))
            })
        };
        let three = |a: &str, b: &str, c: &str| Some((a.into(), b.into(), c.into()));
        assert_eq!(cut("/a/b"), three("/a/", "b", ""));
        assert_eq!(cut("/a"), three("/", "a", ""));
        assert_eq!(cut("a//"), three("", "a", "//"));
        assert_eq!(cut("x/.."), None);
        assert_eq!(cut("/"), None);
        assert_eq!(cut("."), None);
    }

    #[test]
    fn only_names_of_two_dots_do_nothing_but_go_up() {
        assert_eq!((only_up(b".."), only_up(b"..//./../")), (Some(1), Some(2)));
        for other in [&b""[..], b".", b"...", b"../a", b"a/.."] {
            assert_eq!(only_up(other), None);
        }
    }

    #[test]
    fn only_a_component_of_two_dots_goes_up() {
        assert!(goes_up(b"../a") && goes_up(b"a/..") && goes_up(b".."));
        assert!(!goes_up(b"a..b/c..") && !goes_up(b".../x"));
    }
}
