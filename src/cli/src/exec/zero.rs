//! The namespace of a start without options: a /tmp and a /dev/shm of one's
//! own, with the sockets in view that the session lives by.

use privns_namespace::file::{Action, Line};
use rustix::fs::{AtFlags, CWD};
use std::os::unix::ffi::OsStringExt;

const ORIGIN: &[u8] = b"the start without options";
const PRIVATE: [&[u8]; 2] = [b"/tmp", b"/dev/shm"];

/// Its lines. `host` gives the host path of a name in the namespace that we
/// come from: the instances are empty.
#[must_use]
pub fn lines(host: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<Line> {
    let found = |name: &[u8], kind: u32| {
        let path = host(name)?;
        let stat = rustix::fs::statat(CWD, &path[..], AtFlags::empty()).ok()?;
        (stat.st_mode & libc::S_IFMT == kind).then_some(path)
    };
    let dirs = PRIVATE.iter().filter(|dir| found(dir, libc::S_IFDIR).is_some());
    let private = dirs.map(|dir| Line::new(Action::Private(dir.to_vec()), ORIGIN));
    let sockets = sockets(|name| std::env::var_os(name).map(OsStringExt::into_vec));
    let binds = sockets.into_iter().filter_map(|dst| {
        let src = [b"host!", &found(&dst, libc::S_IFSOCK)?[..]].concat();
        Some(Line { quiet: true, ..Line::new(Action::Bind { src, dst }, ORIGIN) })
    });
    private.chain(binds).collect()
}

/// The sockets in /tmp that the session's variables name.
fn sockets(variable: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut sockets = Vec::new();
    let display = variable("DISPLAY").unwrap_or_default();
    if let Some(number) = display_number(&display) {
        sockets.push([b"/tmp/.X11-unix/X", number].concat());
    }
    sockets.extend(variable("SSH_AUTH_SOCK"));
    // TMUX=SOCKET,PID,SESSION
    let tmux = variable("TMUX").unwrap_or_default();
    sockets.extend(tmux.split(|&b| b == b',').next().map(<[u8]>::to_vec));
    let wayland = variable("WAYLAND_DISPLAY").unwrap_or_default();
    if !wayland.starts_with(b"/") {
        let runtime = variable("XDG_RUNTIME_DIR").unwrap_or_default();
        sockets.push([&runtime[..], b"/", &wayland].concat());
    } else {
        sockets.push(wayland);
    }
    let bus = variable("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    for address in bus.split(|&b| b == b';') {
        let keys = address.strip_prefix(b"unix:").unwrap_or_default().split(|&b| b == b',');
        sockets.extend(keys.filter_map(|key| key.strip_prefix(b"path=")).map(<[u8]>::to_vec));
    }
    sockets.retain(|path| path.starts_with(b"/tmp/"));
    sockets
}

/// The number of a display on this machine: `:0.0`, `unix:1`.
fn display_number(display: &[u8]) -> Option<&[u8]> {
    let at = display.iter().position(|&b| b == b':')?;
    if !matches!(&display[..at], b"" | b"unix") {
        return None;
    }
    let rest = &display[at + 1..];
    let digits = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
    (digits > 0).then(|| &rest[..digits])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Vec<String> {
        let get =
            |name: &str| pairs.iter().find(|(k, _)| *k == name).map(|(_, v)| v.as_bytes().to_vec());
        sockets(get).into_iter().map(|s| String::from_utf8(s).unwrap()).collect()
    }

    #[test]
    fn the_sessions_sockets_in_tmp_stay_in_view() {
        assert_eq!(of(&[("DISPLAY", ":12.0")]), ["/tmp/.X11-unix/X12"]);
        assert_eq!(of(&[("SSH_AUTH_SOCK", "/tmp/ssh-x/agent.1")]), ["/tmp/ssh-x/agent.1"]);
        assert_eq!(of(&[("TMUX", "/tmp/tmux-0/default,12,0")]), ["/tmp/tmux-0/default"]);
        let wayland = [("XDG_RUNTIME_DIR", "/tmp/r"), ("WAYLAND_DISPLAY", "wayland-0")];
        assert_eq!(of(&wayland), ["/tmp/r/wayland-0"]);
        let bus = "tcp:host=x;unix:path=/tmp/dbus-1,guid=ab";
        assert_eq!(of(&[("DBUS_SESSION_BUS_ADDRESS", bus)]), ["/tmp/dbus-1"]);
    }

    #[test]
    fn others_are_left_alone() {
        assert!(of(&[]).is_empty());
        assert!(of(&[("DISPLAY", "far:0"), ("SSH_AUTH_SOCK", "/run/agent")]).is_empty());
        assert!(of(&[("DISPLAY", ":"), ("TMUX", ""), ("WAYLAND_DISPLAY", "w")]).is_empty());
    }
}
