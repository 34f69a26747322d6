//! `--on`: the program runs on the other machine in this namespace. An `ssh`
//! of the test's own hands the command to a shell, as sshd does, and makes
//! links for the sockets that `-R` asks for; the real one is met by the tests
//! of launchers.

mod common;

use common::{Place, err, out, until};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

/// A socket there is a link here: whoever takes its name away leaves ours.
const SSH: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do
    case $1 in -R) ln "${2#*:}" "${2%%:*}"; echo "${2%%:*}" >>"$SEEN.sockets"; shift ;; esac
    shift
done
echo "$2" >"$SEEN"
exec "${SHELL_THERE:-sh}" -c "$3"
"#;

/// Shows the namespace and the words that came, and ends with 7.
const SHOW: &[&str] = &["--", "sh", "-c", "ns; printf '<%s>\\n' \"$@\"; exit 7", "sh"];

fn place() -> Place {
    let place = Place::new();
    let file = place.path("bin/ssh");
    std::fs::write(&file, SSH).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    place
}

fn command(place: &Place, args: &[&str]) -> Command {
    let mut command = place.command("ns-exec");
    command.env("PATH", format!("{}:/usr/bin:/bin", place.text("bin")));
    command.args(args).env("SEEN", place.path("seen")).stdin(Stdio::null());
    command
}

fn run(place: &Place, args: &[&str]) -> Output {
    command(place, args).output().unwrap()
}

#[test]
fn the_namespace_and_the_words_arrive() {
    let place = place();
    let args = ["--on", "ssh!me@there", "--ro-bind", "/usr/share", "/data", "--strict"];
    let words = ["it's", "$HOME \"x\" \\ !", "a\nb", ""];
    let done = run(&place, &[&args[..], SHOW, &words].concat());
    assert_eq!(done.status.code(), Some(7), "{done:?}");
    assert_eq!(
        out(&done),
        "bind -r /usr/share /data\n<it's>\n<$HOME \"x\" \\ !>\n<a\nb>\n<>\n",
        "{}",
        err(&done)
    );
    assert_eq!(std::fs::read_to_string(place.path("seen")).unwrap(), "me@there\n");
}

/// Whatever shell the user has there: what it is given means the same to all.
#[test]
fn shells_that_are_not_sh() {
    let place = place();
    for shell in ["/usr/bin/fish", "/bin/tcsh", "/usr/bin/zsh", "/usr/bin/ksh"] {
        if !std::path::Path::new(shell).exists() {
            println!("skipped: needs {shell}");
            continue;
        }
        let source = place.text("src");
        let args = ["--on", "ssh!there", "--export", "--bind", &source, "/data"];
        let words = ["a\\b", "it's $x !y\nz"];
        let mut command = command(&place, &[&args[..], SHOW, &words].concat());
        let done = command.env("SHELL_THERE", shell).output().unwrap();
        assert_eq!(done.status.code(), Some(7), "{shell}: {done:?}");
        assert!(out(&done).ends_with("<a\\b>\n<it's $x !y\nz>\n"), "{shell}: {}", out(&done));
    }
}

#[test]
fn how_it_ends() {
    let place = place();
    for (script, status) in [("exit 3", 3), ("kill -TERM $$", 128 + 15), ("kill -KILL $$", 128 + 9)]
    {
        let done = run(&place, &["--on", "ssh!there", "--", "sh", "-c", script]);
        assert_eq!(done.status.code(), Some(status), "{script}: {done:?}");
    }
    let done = run(&place, &["--on", "ssh!there", "--", "/not/there"]);
    assert_eq!(done.status.code(), Some(127), "{done:?}");
    place.assert_all_gone();
}

#[test]
fn what_cannot_be() {
    let place = place();
    for (args, why) in [
        (&["--on", "tcp!h", "true"][..], "no place to run at"),
        (&["--on", "ssh!-oProxyCommand=x", "true"], "no place to run at"),
        (&["--export", "true"], "--on"),
        (&["--on", "ssh!h", "--join", "x", "true"], "--join"),
        (&["--on", "ssh!h", "--bind", "/not/there", "/x", "true"], "/not/there"),
        (&["--arrival", "eNo"], "cut short"),
        (&["--arrival", "!"], "no token"),
    ] {
        let done = run(&place, args);
        let said = err(&done);
        assert_eq!(done.status.code(), Some(125), "{args:?}: {said}");
        assert!(said.contains(why) && said.lines().count() == 1, "{args:?}: {said}");
    }
    std::fs::remove_file(place.path("bin/ssh")).unwrap();
    let mut command = command(&place, &["--on", "ssh!h", "--export", "--bind", "/etc", "/x"]);
    let done = command.env("PATH", place.path("src")).output().unwrap();
    assert_eq!(done.status.code(), Some(127), "{}", err(&done));
    place.assert_all_gone();
}

/// Directories and files are served back while the program runs, and nothing
/// is left of it afterwards: not even a name while it runs.
#[test]
fn binds_are_served_back() {
    let place = place();
    let (dir, file) = (place.text("src"), place.text("src/f"));
    let args = ["--on", "ssh!there", "--export", "--bind", &dir, "/data", "--ro-bind", &file, "/f"];
    let done = run(&place, &[&args[..], SHOW].concat());
    assert_eq!(done.status.code(), Some(7), "{done:?}");
    let text = out(&done);
    let lines: Vec<&str> = text.lines().collect();
    let [whole, via, bind, unmount, "<>"] = lines[..] else { panic!("{text}") };
    for (line, at) in [(whole, " /data"), (via, " /.privns-server")] {
        let socket = line.strip_prefix("mount unix!/proc/").and_then(|l| l.strip_suffix(at));
        assert!(socket.is_some(), "{text}");
    }
    assert_eq!((bind, unmount), ("bind -r /.privns-server/f /f", "unmount /.privns-server"));
    let sockets = std::fs::read_to_string(place.path("seen.sockets")).unwrap();
    assert_eq!(sockets.lines().count(), 2);
    for socket in sockets.lines() {
        assert!(socket.len() > 40 && !std::path::Path::new(socket).exists(), "{socket}");
    }
    place.assert_all_gone();
}

/// A socket whose program never came, because the machine there was killed
/// before, goes with the next that comes; one that is somebody's stays.
#[test]
fn dead_sockets_are_cleared_away() {
    use std::os::unix::net::UnixListener;
    let place = place();
    let name = |what: &str| format!("/tmp/.privns-from-test{}-{what}", std::process::id());
    let (dead, live) = (name("dead"), name("live"));
    drop(UnixListener::bind(&dead).unwrap());
    let _alive = UnixListener::bind(&live).unwrap();
    let source = place.text("src");
    let done = run(&place, &["--on", "ssh!there", "--export", "--bind", &source, "/x", "true"]);
    assert!(done.status.success(), "{done:?}");
    let left = [&dead, &live].map(|socket| std::path::Path::new(socket).exists());
    std::fs::remove_file(&live).unwrap();
    assert_eq!(left, [false, true]);
}

/// When the connection ends the program is hung up on, and what served it goes.
#[test]
fn the_connection_is_lost() {
    let place = place();
    let source = place.text("src");
    let script = format!(
        "trap 'echo told >{0}/told; exit' HUP; sleep 60 & echo $$ >{0}/pid; wait",
        place.text("run")
    );
    // The shell is the connection's end there: it waits, and is killed.
    let ssh = std::fs::read_to_string(place.path("bin/ssh")).unwrap();
    let ssh = ssh.replace("exec \"${SHELL_THERE:-sh}\" -c \"$3\"", "setsid sh -c \"$3\" & wait");
    std::fs::write(place.path("bin/ssh"), ssh).unwrap();
    let args = ["--on", "ssh!there", "--export", "--bind", &source, "/x", "sh", "-c", &script];
    let mut child = command(&place, &args).spawn().unwrap();
    until("it runs", || place.path("run/pid").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    until("it is told", || place.path("run/told").exists());
    place.assert_all_gone();
}
