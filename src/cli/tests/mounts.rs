//! Mounts of 9P servers as the launcher sees them: which are refused, what is
//! left beside a family, and how they are printed. What programs see of them is
//! tested elsewhere.
#![forbid(unsafe_code)]

mod common;

use common::{Member, Place, err, out, sleeper, until};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// A running `ns-serve`, ended with the test.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    /// `ns-serve` with these arguments; the address that it prints.
    fn start(args: &[&str]) -> Served {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ns-serve"));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Served { child, address: address.trim_end().to_string() }
    }

    /// A directory, on a port of loopback.
    fn dir(path: &str) -> Served {
        Served::start(&["dir", path, "--listen", "tcp!127.0.0.1!0"])
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Refused with status 125 and one line that has these words.
#[track_caller]
fn refused(place: &Place, args: &[&str], words: &[&str]) {
    let all: Vec<&str> = args.iter().copied().chain(["--", "true"]).collect();
    let output = place.exec(&all);
    let told = err(&output);
    assert_eq!(output.status.code(), Some(125), "{args:?}: {told}");
    assert!(told.starts_with("ns-exec: ") && told.lines().count() == 1, "{told}");
    assert!(words.iter().all(|w| told.contains(w)), "{told}");
}

#[track_caller]
fn dumped(place: &Place, args: &[&str]) -> String {
    let output = place.exec(args);
    assert!(output.status.success(), "{args:?}: {}", err(&output));
    out(&output)
}

#[test]
fn what_cannot_be_mounted_is_one_line_and_125() {
    let place = Place::new();
    let served = Served::dir(&place.text("src"));
    let at = &served.address;
    let socket = format!("unix!{}", place.text("none"));
    refused(&place, &["--mount", &socket, "/x"], &[&socket, "No such file", "server run"]);
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed = format!("tcp!127.0.0.1!{port}");
    refused(&place, &["--mount", &closed, "/x"], &[&closed, "refused"]);
    refused(&place, &["--mount", "nonsense", "/x"], &["not an address"]);
    refused(&place, &["--mount", "tcp!127.0.0.1!x", "/x"], &["tcp!127.0.0.1!x", "Invalid"]);
    refused(&place, &["--mount", at, "/etc/passwd"], &["/etc/passwd", "Not a directory"]);
    refused(&place, &["-e", &format!("mount {at} /x nonesuch")], &["nonesuch", "no such tree"]);
    refused(&place, &["-e", &format!("mount -o dialect=9P {at} /x")], &["dialect=9P"]);
    refused(&place, &["-e", &format!("mount -o msize=1 {at} /x")], &["msize=1", "out of range"]);
    refused(&place, &["-e", &format!("mount -o a=b {at} /x")], &["unknown key"]);
    refused(&place, &["--mount", "exec!exit 1", "/x"], &["exec!exit 1", "no 9P server"]);
    refused(&place, &["--mount", "exec!echo", "/x"], &["exec!echo"]);
    refused(&place, &["--mount", at, "/x", "--bind", "/x/none", "/y"], &["/x/none", "No such"]);
    refused(&place, &["--tmpfs", "/x", "--bind", "/none", "/y"], &["/none"]);
    let quiet = place.exec(&["-e", &format!("mount -q {closed} /x"), "--", "true"]);
    assert!(quiet.status.success(), "{}", err(&quiet));
    place.assert_all_gone();
}

#[test]
fn another_users_server_lets_nobody_else_in() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let place = Place::new();
    let served = Served::dir(&place.text("src"));
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(""), open).unwrap();
    let mut command = place.command("ns-exec");
    command.args(["--mount", &served.address, "/x", "--", "true"]).uid(65534).gid(65534);
    let output = command.env_remove("XDG_RUNTIME_DIR").output().unwrap();
    let told = err(&output);
    assert_eq!(output.status.code(), Some(125), "{told}");
    assert!(told.contains("attach as") && told.contains("does not let this user in"), "{told}");
}

#[test]
fn mounts_come_back_from_every_dump() {
    let place = Place::new();
    std::fs::create_dir(place.path("src/sub")).unwrap();
    let served = Served::dir(&place.text("src"));
    let at = &served.address;
    for lines in [
        format!("mount {at} /n/x\n"),
        format!("mount -r -o window=3,owner=me {at} /x\nbind -r /x/sub /y\n"),
        format!("mount -b {at} /usr/share\nmount -ac mem! /usr/share\n"),
        format!("mount mem! /m\nmount {at} /m/new/x\nbind /etc /m/y\n"),
        format!("mount 'exec!{} dir --stdio /etc' /e\n", env!("CARGO_BIN_EXE_ns-serve")),
    ] {
        let file = place.text("lines");
        std::fs::write(&file, &lines).unwrap();
        assert_eq!(dumped(&place, &["-n", &file, "--dump"]), lines);
        let token = dumped(&place, &["-n", &file, "--dump=token"]);
        assert_eq!(dumped(&place, &["--restore", token.trim(), "--dump"]), lines);
        let json = dumped(&place, &["-n", &file, "--dump=json"]);
        std::fs::write(&file, json).unwrap();
        assert_eq!(dumped(&place, &["--restore", &file, "--dump"]), lines);
    }
    place.assert_all_gone();
}

/// The processes beside a family, by where their sockets are.
fn attendants(place: &Place) -> usize {
    let runtime = place.path("run/privns");
    let dirs = std::fs::read_dir(&runtime).into_iter().flatten().flatten();
    // Beside the families' directories there are links to them, by name.
    let dirs = dirs.filter(|dir| !dir.file_name().to_string_lossy().starts_with('@'));
    let names = dirs.flat_map(|dir| std::fs::read_dir(dir.path()).into_iter().flatten().flatten());
    names.filter(|name| name.file_name().to_string_lossy().starts_with("9p-")).count()
}

/// Processes that have any of this place's names open, or on their command
/// lines: whatever was started here.
fn left(place: &Place) -> Vec<String> {
    let here = place.text("");
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let line = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).ok();
    let lines = all.filter_map(line).map(|line| String::from_utf8_lossy(&line).into_owned());
    lines.filter(|line| line.contains(&here)).collect()
}

#[test]
fn attendants_end_with_their_family_whatever_became_of_the_keeper() {
    let place = Place::new();
    let Some(sleeper) = sleeper(&place.path("")) else {
        println!("skipped: needs cc -static");
        return;
    };
    let command =
        format!("exec!{} dir --stdio {}", env!("CARGO_BIN_EXE_ns-serve"), place.text("src"));
    for kill_keeper in [false, true] {
        let family = place.family();
        let mut launch = place.command("ns-exec");
        launch.args(["--family", &family, "--tmpfs", "/m", "--mount", &command, "/e", "--"]);
        let mut member = Member::start(launch.arg(&sleeper));
        until("the family lives", || place.ns(&["--family", &family]).status.success());
        assert_eq!(attendants(&place), 2);
        let listed = out(&place.ns(&["--family", &family, "ps"]));
        assert_eq!(listed.lines().count(), 2, "a heading and the program: {listed}");
        if kill_keeper {
            Command::new("kill").args(["-9", &keeper(&place).to_string()]).status().unwrap();
        }
        member.kill();
        until("nothing runs any more", || left(&place).is_empty());
        if kill_keeper {
            // Nobody is left to clear the entry away: the next who takes the
            // name does.
            let next = place.exec(&["--family", &family, "--bind", "/etc", "/e", "--", "true"]);
            assert!(next.status.success(), "{}", err(&next));
        }
        place.assert_all_gone();
    }
}

fn keeper(place: &Place) -> u64 {
    let families: serde_json::Value =
        serde_json::from_slice(&place.ns(&["families", "--json"]).stdout).unwrap();
    let all = families["families"].as_array().unwrap();
    all.iter().find(|f| f["name"] == place.family()).unwrap()["keeper"].as_u64().unwrap()
}

#[test]
fn a_program_that_is_not_there_leaves_no_attendant() {
    let place = Place::new();
    let output = place.exec(&["--tmpfs", "/m", "--", "/none"]);
    assert_eq!(output.status.code(), Some(127), "{}", err(&output));
    until("nothing runs any more", || left(&place).is_empty());
    place.assert_all_gone();
}

#[test]
fn a_living_family_is_given_servers_wholly_or_not_at_all() {
    let place = Place::new();
    let Some(sleeper) = sleeper(&place.path("")) else {
        println!("skipped: needs cc -static");
        return;
    };
    let served = Served::dir(&place.text("src"));
    let at = &served.address;
    let family = place.family();
    let mut launch = place.command("ns-exec");
    launch.args(["--family", &family, "--bind", "/etc", "/e", "--"]).arg(&sleeper);
    let mut member = Member::start(&mut launch);
    let ns = |args: &[&str]| place.ns(&[&["--family", family.as_str()], args].concat());
    until("the family lives", || ns(&[]).status.success());
    let done = |args: &[&str]| {
        let output = ns(args);
        assert!(output.status.success(), "{args:?}: {}", err(&output));
        out(&output)
    };
    done(&["mount", "mem!", "/m"]);
    done(&["mount", "-b", at, "/usr/share"]);
    let lines = format!("bind /etc /e\nmount mem! /m\nmount -b {at} /usr/share\n");
    assert_eq!(done(&[]), lines);
    assert_eq!(attendants(&place), 1);
    let why = done(&["why", "/usr/share/f"]);
    assert!(why.contains(&format!("/f of {at}")), "{why}");
    assert!(why.contains(&format!("by mount {at} /usr/share")), "{why}");
    // The second line fails: the first has not happened either, and nothing is
    // left of it.
    let file = place.text("lines");
    std::fs::write(&file, "mount mem! /second\nmount unix!/none /x\n").unwrap();
    let failed = ns(&[".", &file]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(err(&failed).starts_with(&format!("ns: {file}:2: mount unix!/none: ")), "{failed:?}");
    assert_eq!(done(&[]), lines);
    until("the second attendant is gone", || attendants(&place) == 1);
    let stat = done(&["stat"]);
    assert!(stat.contains("SERVER") && stat.contains(at), "{stat}");
    let stat: serde_json::Value = serde_json::from_str(&done(&["stat", "--json"])).unwrap();
    assert_eq!(stat["servers"][1]["address"], at.as_str());
    assert_eq!(stat["servers"][1]["mounts"][0], "/usr/share");
    assert_eq!(stat["servers"][1]["reconnects"], 0);
    done(&["unmount", at, "/usr/share"]);
    done(&["unmount", "/m"]);
    assert_eq!(done(&[]), "bind /etc /e\n");
    member.kill();
    place.assert_all_gone();
}
