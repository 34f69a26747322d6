//! Other members: what their links in `/proc` are called. The kernel tells host
//! names alone; through which members a program's working directory, file and
//! open files were reached stands in the environment that it was started with.

use crate::handover::{item_fd, items, OURS};
use privns_files::process::View;
use privns_host::Name;
use privns_namespace::inherited::Inherited;

/// The member through which another process has what its link leads to, as far
/// as it was told when it was started; 0 where nothing is known, and for
/// processes of other families. What a process has gone to since may lie
/// elsewhere: the name of a member holds only for what that shows.
#[cold]
pub(crate) fn seq(view: View<'_>, link: &[u8]) -> u32 {
    look(view, link).unwrap_or(0)
}

fn look(view: View<'_>, link: &[u8]) -> Option<u32> {
    let rest = link.strip_prefix(b"/proc/")?;
    let pid = rest.split(|&b| b == b'/').next()?;
    let what = rest.rsplit(|&b| b == b'/').next()?;
    let mut name = Name::from(b"/proc/").ok()?;
    name.push(pid).and_then(|()| name.join(b"environ")).ok()?;
    let environment = crate::mounts::read(name).ok()?;
    let mut words = environment.split(|&b| b == 0);
    let told = Inherited::parse(words.find_map(|word| word.strip_prefix(OURS))?)?;
    if told.id != view.family.id() {
        return None;
    }
    let number = |text: &[u8]| core::str::from_utf8(text).ok()?.parse().ok();
    let of = |wanted: u8| {
        let item = items(told.rest).find(|(kind, _)| *kind == wanted).map(|(_, item)| item);
        item.and_then(number)
    };
    match what {
        b"cwd" => of(b'd'),
        b"exe" => of(b'x'),
        _ => {
            let fd = number(what)? as i32;
            let files = items(told.rest).filter(|(kind, _)| *kind == b'f');
            let mut files = files.filter_map(|(_, item)| item_fd(item));
            // What it has opened since lies where it is at home, perhaps.
            files.find(|(of, _)| *of == fd).map(|(_, seq)| seq).or_else(|| of(b'd'))
        }
    }
}
