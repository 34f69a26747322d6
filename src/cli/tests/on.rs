//! `--on`: the program runs on the other machine in this namespace. An `ssh`
//! of the test's own hands the command to a shell, as sshd does, and does what
//! `-R` says by a link; the real one is met by the tests of launchers.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

const SSH: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do
    case $1 in -R) ln -s "${2#*:}" "${2%%:*}"; shift ;; esac
    shift
done
echo "$2" >"$SEEN"
exec sh -c "$3"
"#;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir_in("/var/tmp").unwrap());
        for (name, text) in [("ssh", SSH), ("ns-exec", SHOW)] {
            let file = place.path(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_string()
    }

    fn run(&self, args: &[&str]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.0.path().display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_ns-exec"));
        command.args(args).env("PATH", path).env("SEEN", self.path("seen"));
        command.env("REAL", env!("CARGO_BIN_EXE_ns-exec")).env("XDG_RUNTIME_DIR", self.0.path());
        command.stdin(Stdio::null()).output().unwrap()
    }
}

/// What is called on the other machine: it says what it was asked for, shows
/// the namespace that it would build, and ends as the program would.
const SHOW: &str = r#"#!/bin/sh
"$REAL" --dump "$@" || exit
while [ "$1" = -e ]; do shift 2; done
printf '<%s>\n' "$@"
exit 7
"#;

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_namespace_and_the_words_arrive() {
    let place = Place::new();
    let words = ["--", "echo", "it's", "$HOME \"x\"", ""];
    let args = ["--on", "ssh!me@there", "--ro-bind", "/usr/share", "/data", "--strict"];
    let done = place.run(&[&args[..], &words].concat());
    assert_eq!(done.status.code(), Some(7), "{done:?}");
    assert_eq!(
        out(&done),
        "bind -r /usr/share /data\n<--strict>\n<-->\n<echo>\n<it's>\n<$HOME \"x\">\n<>\n"
    );
    assert_eq!(std::fs::read_to_string(place.path("seen")).unwrap(), "me@there\n");
}

#[test]
fn what_cannot_be() {
    let place = Place::new();
    for (args, why) in [
        (&["--on", "tcp!h", "true"][..], "no place to run at"),
        (&["--on", "ssh!-oProxyCommand=x", "true"], "no place to run at"),
        (&["--export", "true"], "--on"),
        (&["--on", "ssh!h", "--join", "x", "true"], "--join"),
        (&["--on", "ssh!h", "--bind", "/not/there", "/x", "true"], "/not/there"),
    ] {
        let done = place.run(args);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(125), "{args:?}: {said}");
        assert!(said.contains(why) && said.lines().count() == 1, "{args:?}: {said}");
    }
    std::fs::remove_file(place.path("ssh")).unwrap();
    std::fs::create_dir(place.path("empty")).unwrap();
}

/// Directories are served back while the program runs, and nothing is left of
/// it afterwards.
#[test]
fn binds_are_served_back() {
    let place = Place::new();
    let data = place.path("data");
    std::fs::create_dir(&data).unwrap();
    let done = place.run(&["--on", "ssh!there", "--export", "--bind", &data, "/data", "--", "ls"]);
    assert_eq!(done.status.code(), Some(7), "{done:?}");
    let line = out(&done).lines().next().unwrap().to_string();
    let socket = line.strip_prefix("mount unix!").and_then(|l| l.strip_suffix(" /data"));
    let socket = socket.unwrap_or_else(|| panic!("{line}"));
    assert!(socket.len() > 32 && !std::path::Path::new(socket).exists(), "{socket}");
}
