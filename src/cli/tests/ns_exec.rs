//! `ns-exec` as a launcher: what it refuses, what it hands on, and what it
//! leaves behind.
#![forbid(unsafe_code)]

mod common;

use common::{Member, Place, err, out, sleeper, until};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

/// Refused with status 125 and one line that has these words.
#[track_caller]
fn refused(place: &Place, args: &[&str], words: &[&str]) {
    let ran = place.text("ran");
    let all: Vec<&str> = args.iter().copied().chain(["--", "touch", &ran]).collect();
    let output = place.exec(&all);
    let told = err(&output);
    assert_eq!(output.status.code(), Some(125), "{args:?}: {told}");
    assert!(told.starts_with("ns-exec: ") && told.lines().count() == 1, "{told}");
    assert!(words.iter().all(|w| told.contains(w)), "{told}");
    assert!(!place.path("ran").exists());
    assert!(output.stdout.is_empty());
}

#[test]
fn what_cannot_be_done_is_one_line_and_125() {
    let place = Place::new();
    refused(&place, &["--no-such"], &["--no-such", "unknown option"]);
    refused(&place, &["--bind", "/none", "/x"], &["--bind", "/none", "No such file"]);
    refused(&place, &["--clear=1"], &["--clear", "argument"]);
    refused(&place, &["--dump=xml"], &["--dump", "xml"]);
    refused(&place, &["-e", "bnid /a /b"], &["bnid"]);
    refused(&place, &["--bind", "", "/x"], &["empty"]);
    refused(&place, &["--family", "a/b"], &["a/b"]);
    refused(&place, &["--family", "a", "--join", "b"], &["only one"]);
    refused(&place, &["--join", "nobody"], &["nobody", "no such family"]);
    refused(&place, &["--join", "1", "--bind", "/etc", "/x"], &["--join"]);
    refused(&place, &["--enforce", "--bind", "/etc", "/x"], &["--enforce", "--clear"]);
    refused(&place, &["--restore", "/none"], &["/none"]);
    refused(&place, &["--restore", "eNxnonsense"], &["token"]);
    refused(&place, &["-n", "/none"], &["/none"]);
    refused(&place, &["--chdir", "/none"], &["/none"]);
    refused(&place, &["--setenv", "A=B", "c"], &["A=B"]);
    place.assert_all_gone();
}

#[test]
fn the_library_must_be_there() {
    let place = Place::new();
    std::fs::remove_file(place.path("bin/libprivns.so")).unwrap();
    refused(&place, &["--bind", "/etc", "/x"], &["libprivns.so", "not found", "sought at"]);
    std::fs::create_dir_all(place.path("lib/privns")).unwrap();
    std::fs::write(place.path("lib/privns/libprivns.so"), "").unwrap();
    let output = place.exec(&["--bind", "/etc", "/x", "--", "sh", "-c", "echo $LD_PRELOAD"]);
    assert_eq!(out(&output).trim(), place.text("lib/privns/libprivns.so"));
}

#[test]
fn a_program_that_cannot_be_run_is_126_or_127() {
    let place = Place::new();
    let status = |program: &str| place.exec(&["--bind", "/etc", "/x", "--", program]).status.code();
    assert_eq!(status("no-such-program"), Some(127));
    assert_eq!(status("/no/such/program"), Some(127));
    assert_eq!(status("/etc/passwd"), Some(126));
    assert_eq!(status("/etc"), Some(126));
    assert_eq!(status("/x/passwd"), Some(126));
    assert_eq!(status(""), Some(127));
    std::fs::write(place.path("script"), "#!/no/interpreter\n").unwrap();
    std::process::Command::new("chmod").arg("755").arg(place.path("script")).status().unwrap();
    let output = place.exec(&["--bind", "/etc", "/x", "--", &place.text("script")]);
    assert_eq!(output.status.code(), Some(126));
    assert!(err(&output).contains("/no/interpreter"), "{}", err(&output));
    place.assert_all_gone();
}

#[test]
fn it_becomes_the_program() {
    let place = Place::new();
    let run = |script: &str| place.exec(&["--bind", "/etc", "/x", "--", "sh", "-c", script]);
    assert_eq!(run("exit 7").status.code(), Some(7));
    assert_eq!(run("kill -9 $$").status.signal(), Some(9));
    let mut started = place.command("ns-exec");
    let child = started.args(["--bind", "/etc", "/x", "--", "sh", "-c", "echo $$"]);
    let child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    assert_eq!(out(&child.wait_with_output().unwrap()).trim(), pid.to_string());
}

#[test]
fn signals_and_closed_descriptors_are_handed_on_as_they_were() {
    let place = Place::new();
    let exec = place.text("bin/ns-exec");
    let told = |before: &str| {
        let script = format!(
            "{before}; {exec} --bind /etc /x -- sh -c \
             'grep SigIgn /proc/$$/status; ls /proc/$$/fd | tr \"\\n\" \" \"'"
        );
        let mut sh = place.command("ns-exec");
        let _ = &mut sh;
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("XDG_RUNTIME_DIR", place.path("run"))
            .output()
            .unwrap();
        out(&output)
    };
    let ignored = |text: &str| {
        let mask = text.lines().next().unwrap().split_whitespace().last().unwrap().to_owned();
        u64::from_str_radix(&mask, 16).unwrap() & 1 << 12 != 0
    };
    // The shell that is started here ignores nothing that we do not.
    assert!(!ignored(&told("trap - PIPE")), "SIGPIPE kills");
    assert!(ignored(&told("trap '' PIPE")), "SIGPIPE stays ignored");
    let open = |text: &str| -> Vec<String> {
        text.lines().nth(1).unwrap_or("").split_whitespace().map(str::to_owned).collect()
    };
    assert!(open(&told("true")).contains(&"0".to_string()));
    assert!(!open(&told("exec <&-")).contains(&"0".to_string()), "stdin stays closed");
}

#[test]
fn the_environment_is_what_was_asked_for() {
    let place = Place::new();
    let run = |options: &[&str]| {
        let script = "echo \"$A|$B|$LD_PRELOAD|${PRIVNS%%:*}|$PRIVNS_NAMES|$PRIVNS_STRICT\"";
        let all: Vec<&str> =
            [&["--bind", "/etc", "/x"], options, &["--", "/bin/sh", "-c", script]].concat();
        let mut command = place.command("ns-exec");
        let output = command.args(all).env("A", "a").env("LD_PRELOAD", "/none/other.so").output();
        out(&output.unwrap()).trim().to_owned()
    };
    let library = place.text("bin/libprivns.so");
    assert_eq!(run(&[]), format!("a||/none/other.so:{library}|1||"));
    let options = ["--clearenv", "--setenv", "B", "b=c", "--names", "exact", "--strict"];
    assert_eq!(run(&options), format!("|b=c|{library}|1|exact|1"));
    assert_eq!(run(&["--unsetenv", "A"]), format!("||/none/other.so:{library}|1||"));
}

#[test]
fn arguments_are_bytes() {
    let place = Place::new();
    let odd = std::ffi::OsStr::from_bytes(b"\xff\n '\"$x");
    let mut command = place.command("ns-exec");
    let args = command.args(["--bind", "/etc", "/x", "--", "printf", "%s"]).arg(odd);
    assert_eq!(args.output().unwrap().stdout, odd.as_bytes());
    let dst = std::ffi::OsStr::from_bytes(b"/\xff x");
    let dumped = place.command("ns-exec").args(["--bind", "/etc"]).arg(dst).arg("--dump").output();
    assert_eq!(dumped.unwrap().stdout, b"bind /etc '/\xff x'\n");
}

#[test]
fn dumps_come_back() {
    let place = Place::new();
    let src = place.text("src");
    let options = [
        "--bind",
        &src,
        "/new/at",
        "--bind-after",
        "/etc",
        "/new/at",
        "--ro-bind",
        "/usr",
        "/u",
        "--dir",
        "/d",
        "--symlink",
        "d",
        "/l",
        "--chdir",
        "/d",
    ];
    let dump = |options: &[&str], how: &str| {
        let all: Vec<&str> = [options, &[how]].concat();
        let output = place.exec(&all);
        assert!(output.status.success(), "{}", err(&output));
        out(&output)
    };
    let text = dump(&options, "--dump");
    assert_eq!(text.lines().count(), 6, "{text}");
    let file = place.text("dump");
    for how in ["--dump", "--dump=text", "--dump=token", "--dump=json"] {
        std::fs::write(&file, dump(&options, how)).unwrap();
        assert_eq!(dump(&["--restore", &file], "--dump"), text, "{how}");
    }
    let token = dump(&options, "--dump=token");
    assert_eq!(dump(&["--restore", token.trim()], "--dump"), text);
    std::fs::write(&file, &text).unwrap();
    assert_eq!(dump(&["-n", &file], "--dump"), text);
    place.assert_all_gone();
}

#[test]
fn a_dump_that_misses_a_source_is_refused_unless_told() {
    let place = Place::new();
    let gone = place.text("gone");
    std::fs::create_dir(&gone).unwrap();
    let dump = place.exec(&["--bind", &gone, "/g", "--bind", "/etc", "/e", "--dump=json"]);
    std::fs::write(place.path("dump"), dump.stdout).unwrap();
    std::fs::remove_dir(&gone).unwrap();
    refused(&place, &["--restore", &place.text("dump")], &[&gone]);
    let passed = place.exec(&["--restore", &place.text("dump"), "--skip-missing", "--dump"]);
    assert_eq!(out(&passed), "bind /etc /e\n");
}

#[test]
fn the_keeper_goes_with_the_last_member_and_holds_nothing() {
    let place = Place::new();
    let family = place.family();
    let Some(sleeper) = sleeper(&place.path("")) else {
        println!("skipped: needs cc -static");
        return;
    };
    let mut command = place.command("ns-exec");
    let command = command.args(["--family", &family, "--private"]).arg(place.path("src"));
    let mut member = Member::start(command.arg("--").arg(&sleeper));
    until("the family lives", || place.ns(&["--family", &family]).status.success());
    let keeper = keeper(&place);
    let status = std::fs::read_to_string(format!("/proc/{keeper}/status")).unwrap();
    assert!(!status.contains(&format!("PPid:\t{}\n", member.0.id())), "it is no child of ours");
    assert_eq!(std::fs::read_link(format!("/proc/{keeper}/cwd")).unwrap().as_os_str(), "/");
    // It closes what it was forked with while the program begins.
    let holds_pipe = || {
        let fds = std::fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().flatten();
        let mut to = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        to.any(|to| to.to_string_lossy().starts_with("pipe:"))
    };
    until("it holds no pipe", || !holds_pipe());
    let instances =
        place.path("src").join(format!(".privns-{}", rustix::process::geteuid().as_raw()));
    assert_eq!(std::fs::read_dir(&instances).unwrap().count(), 1);
    member.kill();
    place.assert_all_gone();
    until("the instance is gone", || !instances.exists());
}

fn keeper(place: &Place) -> u32 {
    let families: serde_json::Value =
        serde_json::from_slice(&place.ns(&["families", "--json"]).stdout).unwrap();
    // Those of others on this machine are listed too.
    let all = families["families"].as_array().unwrap();
    let own = all.iter().find(|f| f["name"] == place.family()).unwrap();
    own["keeper"].as_u64().unwrap() as u32
}

#[test]
fn a_family_outlives_its_keeper_and_is_still_found() {
    let place = Place::new();
    let family = place.family();
    let Some(sleeper) = sleeper(&place.path("")) else {
        println!("skipped: needs cc -static");
        return;
    };
    let mut command = place.command("ns-exec");
    let command = command.args(["--family", &family, "--bind", "/etc", "/e", "--"]).arg(&sleeper);
    let mut member = Member::start(command);
    let found = || out(&place.ns(&["--family", &family])) == "bind /etc /e\n";
    until("the family lives", found);
    Command::new("kill").args(["-9", &keeper(&place).to_string()]).status().unwrap();
    until("it is found by way of the member", found);
    let taken = place.exec(&["--family", &family, "--bind", "/etc", "/e", "--", "true"]);
    assert_eq!(taken.status.code(), Some(125), "the name is still taken");
    member.kill();
    // Nobody is left to clean up: the next who takes the name does.
    let next = place.exec(&["--family", &family, "--bind", "/etc", "/e", "--", "true"]);
    assert!(next.status.success(), "{}", err(&next));
    place.assert_all_gone();
}

#[test]
fn a_name_is_free_again_once_its_family_is_gone() {
    let place = Place::new();
    let family = place.family();
    for _ in 0..20 {
        let output = place.exec(&["--family", &family, "--bind", "/etc", "/e", "--", "true"]);
        assert!(output.status.success(), "{}", err(&output));
    }
    place.assert_all_gone();
}

#[test]
fn joining_by_name_and_by_process() {
    let place = Place::new();
    let family = place.family();
    let Some(sleeper) = sleeper(&place.path("")) else {
        println!("skipped: needs cc -static");
        return;
    };
    let mut command = place.command("ns-exec");
    let command = command.args(["--family", &family, "--bind", "/etc", "/e", "--"]).arg(&sleeper);
    let mut member = Member::start(command);
    until("the family lives", || place.ns(&["--family", &family]).status.success());
    let env = |join: &str| {
        let output = place.exec(&["--join", join, "--", "sh", "-c", "echo $PRIVNS | cut -d: -f3"]);
        assert!(output.status.success(), "{}", err(&output));
        out(&output)
    };
    let id = env(&family);
    assert_eq!(env(&member.0.id().to_string()), id);
    // A program of the namespace is found there, and only there.
    assert_eq!(place.exec(&["--join", &family, "--", "/e/passwd"]).status.code(), Some(126));
    let gone = place.ns(&["--family", &family, "unmount", "/e"]);
    assert!(gone.status.success(), "{}", err(&gone));
    assert_eq!(place.exec(&["--join", &family, "--", "/e/passwd"]).status.code(), Some(127));
    member.kill();
    place.assert_all_gone();
}

#[test]
fn of_many_that_join_or_create_one_creates() {
    let place = Place::new();
    let family = place.family();
    let start = |_| {
        let mut command = place.command("ns-exec");
        command.args(["--join-or-create", &family, "--bind", "/etc", "/e", "--", "sh", "-c"]);
        command.arg("echo $PRIVNS | cut -d: -f3; exec 1>&-; sleep 2");
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let members: Vec<_> = (0..20).map(start).collect();
    let ids = members.into_iter().map(|m| out(&m.wait_with_output().unwrap()));
    let ids: std::collections::BTreeSet<String> = ids.collect();
    assert!(ids.len() == 1 && ids.first().unwrap().len() > 16, "{ids:?}");
    place.assert_all_gone();
}

#[test]
fn a_runtime_directory_that_others_can_write_is_not_used() {
    let place = Place::new();
    Command::new("chmod").arg("777").arg(place.path("run")).status().unwrap();
    let output = place.exec(&["--bind", "/etc", "/e", "--", "true"]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(!place.path("run/privns").exists());
    Command::new("chmod").arg("700").arg(place.path("run")).status().unwrap();
    std::os::unix::fs::symlink("/etc", place.path("run/privns")).unwrap();
    let output = place.exec(&["--bind", "/etc", "/e", "--", "true"]);
    assert!(output.status.success(), "{}", err(&output));
}

#[test]
fn argument_0_can_be_another() {
    let place = Place::new();
    let mut command = place.command("ns-exec");
    let args =
        ["--bind", "/etc", "/e", "--by-hand", "--argv0", "other", "--", "/bin/sh", "-c", "echo $0"];
    command.args(args).arg0("ns-exec");
    assert_eq!(out(&command.output().unwrap()), "other\n");
}
