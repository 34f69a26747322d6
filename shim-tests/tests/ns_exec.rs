//! `ns-exec`: its options one by one, its exit status, and what it refuses.

use privns_shim_tests::{Ending, Site, bins, have, needs, which};

fn site() -> Site {
    let site = Site::new();
    site.write("src/f", "bound\n");
    site.write("other/g", "other\n");
    site
}

/// Runs a script with one bind of `src` at /new/at, and options after it.
fn bound(site: &Site, options: &[&str], script: &str) -> privns_shim_tests::Outcome {
    let src = site.at("src");
    let all: Vec<&str> =
        ["--bind", &src, "/new/at"].into_iter().chain(options.iter().copied()).collect();
    site.inside(&all, script).run()
}

#[test]
fn the_status_is_the_programs_own() {
    let site = site();
    for status in [0, 1, 77, 255] {
        let outcome = bound(&site, &[], &format!("exit {status}"));
        assert_eq!(outcome.ending, Ending::Exit(status), "{outcome}");
    }
    assert_eq!(bound(&site, &[], "kill -TERM $$").ending, Ending::Signal(15));
    assert_eq!(bound(&site, &[], "kill -KILL $$").ending, Ending::Signal(9));
}

#[test]
fn it_becomes_the_program() {
    let site = site();
    let script = format!(
        "{} --family $F --bind $T/src /x -- sh -c 'echo $$' & echo $!; wait",
        bins().ns_exec().display()
    );
    let lines = site.sh(&script).run().ok();
    let pids: Vec<&str> = lines.lines().collect();
    assert_eq!(pids[0], pids[1], "the same pid");
}

#[test]
fn status_126_and_127() {
    let site = site();
    let exec = |program: &str| {
        site.ns_exec().args(["--bind", &site.at("src"), "/new/at", "--", program]).run()
    };
    exec("no-such-program").refuses(127, &["ns-exec: ", "no-such-program"]);
    exec("/new/at/missing").refuses(127, &["ns-exec: ", "/new/at/missing"]);
    exec("/new/at/f").refuses(126, &["ns-exec: ", "/new/at/f"]);
    exec("/new/at").refuses(126, &["ns-exec: ", "/new/at"]);
}

/// A library that only the host has is none, whatever needs it: the loader would find it.
#[test]
fn libraries_that_the_namespace_hides() {
    needs!("libraries_that_the_namespace_hides", "ldd", "id");
    let site = site();
    let told = site.sh("ldd $(command -v id) | awk '/=> [/]/ { print $1, $3 }'").run().ok();
    let libraries: Vec<(&str, &str)> =
        told.lines().filter_map(|line| line.split_once(' ')).collect();
    let libc = libraries.iter().find(|(name, _)| *name == "libc.so.6").expect("a libc").1;
    let dir = std::path::Path::new(libc).parent().expect("a directory").display().to_string();
    let copy = format!(
        "mkdir $T/bin $T/l; cp -L $(command -v id) /bin/sh $T/bin; cp -L {libc} {dir}/ld-linux* $T/l"
    );
    site.sh(&copy).run().ok();
    let run = || {
        let shown = ["--ro-bind", &site.at("bin"), "/bin", "--ro-bind", "/lib64", "/lib64"];
        let libraries = ["--ro-bind", &site.at("l"), &dir];
        let words = ["--", "/bin/sh", "-c", "/bin/id -u"];
        site.ns_exec().arg("--clear").args(shown).args(libraries).args(words).run()
    };
    for (name, file) in libraries.iter().filter(|(name, _)| *name != "libc.so.6") {
        run().refuses(127, &["/bin/id: error while loading shared libraries: ", name, &dir]);
        site.sh(&format!("cp -L {file} $T/l")).run().ok();
    }
    run().prints(site.sh("id -u").run().ok().trim());
}

/// As with bwrap, whose users begin with it: an empty namespace has no `/` that could be meant.
#[test]
fn the_whole_host_comes_back_after_clear() {
    let site = site();
    let script =
        "ls / | cmp - $T/ls && echo same; echo hi >$T/new; echo hi >/tmp/new && cat /tmp/new";
    site.sh("ls / >$T/ls").run().ok();
    let whole = ["--clear", "--ro-bind", "/", "/", "--private", "/tmp"];
    let outcome = site.ns_exec().args(whole).args(["--", "sh", "-c", script]).run();
    outcome.prints("same\nhi");
    assert!(outcome.err().contains("new: Read-only file system"), "{outcome}");
    let dump = site.ns_exec().args(whole).arg("--dump").run();
    dump.prints("clear\nbind -r host!/ /\nprivate /tmp");
}

#[test]
fn a_bad_option_runs_nothing() {
    let site = site();
    for options in
        [&["--no-such-option"][..], &["--bind", "/x"], &["--bind"], &["--dump=yaml"], &["-n"]]
    {
        let outcome = site
            .cmd(bins().ns_exec())
            .args(options)
            .args(["--", "touch"])
            .arg(site.path("ran"))
            .run();
        assert_eq!(outcome.ending, Ending::Exit(125), "{outcome}");
        assert!(outcome.err().starts_with("ns-exec: ") && outcome.out().is_empty(), "{outcome}");
    }
    assert!(!site.path("ran").exists());
}

#[test]
fn help_and_version() {
    let site = Site::new();
    for program in [bins().ns_exec(), bins().ns()] {
        assert!(site.cmd(&program).arg("--help").run().ok().contains("Usage"));
        let version = site.cmd(&program).arg("--version").run().ok();
        assert_eq!(version.lines().count(), 1);
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    }
}

#[test]
fn with_no_option_tmp_and_shm_are_private() {
    let site = site();
    let script = "echo mine >/tmp/$F.x; echo mine >/dev/shm/$F.x; ls /tmp /dev/shm; stat -c '%a %u' /tmp; findmnt -n -o TARGET /tmp";
    let outcome = site.ns_exec().args(["--", "sh", "-c", script]).run();
    let uid = rustix::process::getuid().as_raw();
    let name = format!("{}.x", site.family());
    outcome.prints(&format!("/dev/shm:\n{name}\n\n/tmp:\n{name}\n1777 {uid}\n/tmp"));
    assert!(!std::path::Path::new("/tmp").join(&name).exists());
    assert!(!std::path::Path::new("/dev/shm").join(&name).exists());
}

#[test]
fn with_no_option_the_sessions_sockets_stay_in_view() {
    needs!("sessions_sockets", "ssh-agent", "ssh-add");
    let site = site();
    let script = r#"
        dir=$(mktemp -d /tmp/pnXXXXXX); eval "$(ssh-agent -a $dir/agent)" >/dev/null
        ns-exec --family $F -- sh -c 'ssh-add -l; echo $?; ls /tmp | wc -l'
        kill $SSH_AGENT_PID; rm -r $dir"#;
    let outcome = site.sh(script).run().ok();
    assert!(outcome.starts_with("The agent has no identities.\n1\n"), "{outcome}");
}

#[test]
fn without_program_the_shell_runs() {
    let site = site();
    let shell = site
        .ns_exec()
        .args(["--bind", &site.at("src"), "/new/at"])
        .input("cat /new/at/f; exit 9\n");
    let outcome = shell.run();
    assert_eq!((outcome.ending, outcome.out().as_str()), (Ending::Exit(9), "bound"), "{outcome}");
}

#[test]
fn a_file_on_a_file() {
    let site = site();
    site.write("passwd", "own:x:0:0:Own:/own:/bin/sh\n");
    let script = "cat /etc/passwd; ls -l /etc/passwd | cut -c1; getent passwd own; ls /etc | grep -c '^passwd$'";
    let outcome = site.inside(&["--bind", &site.at("passwd"), "/etc/passwd"], script).run();
    let line = "own:x:0:0:Own:/own:/bin/sh";
    outcome.prints(&format!("{line}\n-\n{line}\n1"));
}

#[test]
fn a_read_only_bind_refuses_every_change() {
    let site = site();
    let script = r#"cd /new/at; cat f
        for c in 'echo x >>f' 'echo x >new' 'mkdir d' 'rm f' 'mv f g' 'ln f g' 'ln -s f g' 'chmod 600 f' 'touch f' 'truncate -s 0 f' 'mkfifo p' 'rmdir .'; do
            sh -c "$c" 2>&1 | grep -o 'Read-only file system' || echo "allowed: $c"; done
        test -w f || echo not writable; test -r f && echo readable"#;
    let outcome = site.inside(&["--ro-bind", &site.at("src"), "/new/at"], script).run();
    let refused = "Read-only file system\n".repeat(11);
    let out = outcome.out();
    assert!(
        out.starts_with(&format!("bound\n{refused}")) && out.ends_with("not writable\nreadable"),
        "{outcome}"
    );
}

#[test]
fn dir_symlink_and_chdir() {
    let site = site();
    let options = ["--dir", "/new/d", "--symlink", "../at/f", "/new/d/l", "--chdir", "/new/d"];
    bound(&site, &options, "pwd; ls -A; readlink l; cat l; ls /new")
        .prints("/new/d\nl\n../at/f\nbound\nat\nd");
}

#[test]
fn unmount_gives_the_host_back() {
    let site = site();
    let native = site.sh("ls -A /etc").run().ok();
    let options = ["--bind", &site.at("src"), "/etc", "--unmount", "/etc"];
    site.inside(&options, "ls -A /etc").run().prints(&native);
    let union = ["--bind", &site.at("src"), "/u", "--bind-after", &site.at("other"), "/u"];
    let line = format!("unmount {} /u", site.at("src"));
    site.inside(&[&union[..], &["-e", &line]].concat(), "ls /u").run().prints("g");
}

#[test]
fn a_source_is_looked_up_in_the_namespace_built_so_far() {
    let site = site();
    bound(&site, &["--bind", "/new/at", "/again"], "cat /again/f").prints("bound");
    let covered = ["--bind", &site.at("other"), "/new/at", "--bind", "host!/etc/passwd", "/pw"];
    bound(&site, &covered, "ls /new/at; cmp /pw /etc/passwd && echo same").prints("g\nsame");
}

#[test]
fn the_environment_options() {
    let site = site();
    let options = ["--setenv", "KEY", "a b", "--unsetenv", "HOME"];
    bound(&site, &options, "echo $KEY ${HOME-unset}").prints("a b unset");
    bound(&site, &["--clearenv"], "cat /new/at/f; env | grep -c '^T='")
        .out()
        .starts_with("bound\n0");
}

#[test]
fn the_program_sees_the_environment_it_was_given() {
    let site = site();
    let shown =
        bound(&site, &[], "env | cut -d= -f1 | grep -v -e '^PRIVNS' -e '^LD_PRELOAD$' | sort").ok();
    let native = site.sh("env | cut -d= -f1 | sort").run().ok();
    assert_eq!(shown, native);
}

#[test]
fn a_family_name_is_taken_while_it_lives() {
    let site = site();
    let script = "ns-exec --family $F --bind $T/src /x -- true; echo $?";
    let outcome = bound(&site, &[], script);
    assert_eq!(outcome.out(), "125", "{outcome}");
    assert!(outcome.err().contains(site.family()), "{outcome}");
    bound(&site, &[], "exit 0").ok(); // Free again.
}

/// A family that ends between being found and being joined is made anew.
#[test]
fn families_that_come_and_go_are_joined() {
    let site = Site::new();
    let one = "for i in $(seq 200); do ns-exec --join-or-create $F -- true || echo failed; done";
    let all = format!("({one}) & ({one}) & ({one}) & wait; echo done");
    site.sh(&all).limit(60).run().prints("done");
}

#[test]
fn join_and_join_or_create() {
    let site = site();
    let script = r#"
        ns-exec --join $F -- sh -c 'cat /new/at/f; ns bind $T/other /later'; cat /later/g
        ns-exec --join $$ -- cat /later/g; ns-exec --join-or-create $F -- ls /new/at; ns-exec --join no$F -- true; echo $?
        ns-exec --join-or-create new$F --bind $T/other /y -- ls /y; ls /y"#;
    let outcome = bound(&site, &[], script);
    assert_eq!(outcome.out(), "bound\nother\nother\nf\n125\ng", "{outcome}");
}

#[test]
fn a_family_in_a_family_begins_from_a_copy() {
    let site = site();
    let script = r#"
        ns-exec --family in$F --bind $T/other /deep -- sh -c 'ls /new/at /deep; ns unmount /new/at; ls /new/at 2>/dev/null || echo gone'
        ls /new/at; ls /deep 2>/dev/null || echo not here"#;
    bound(&site, &[], script).prints("/deep:\ng\n\n/new/at:\nf\ngone\nf\nnot here");
}

#[test]
fn clear_leaves_what_is_bound() {
    let site = site();
    let mut options = vec!["--clear"];
    let places = ["/usr", "/lib", "/lib64", "/bin"];
    for place in places.iter().filter(|p| have(p)) {
        options.extend(["--ro-bind", place, place]);
    }
    let src = site.at("src");
    options.extend(["--bind", &src, "/new/at"]);
    let script = "cat /new/at/f; echo /*; cat /etc/passwd; cd /; ls ..; mkdir /no";
    let outcome = site.inside(&options, script).run();
    let out = outcome.out();
    assert!(
        out.starts_with("bound\n") && out.contains("/new") && !out.contains("/etc "),
        "{outcome}"
    );
    assert!(outcome.err().contains("/etc/passwd: No such file"), "{outcome}");
    assert!(!std::path::Path::new("/no").exists());
}

#[test]
fn after_clear_a_missing_loader_is_named() {
    let site = site();
    let outcome = site.inside(&["--clear", "--bind", "/usr/bin", "/bin"], "true").run();
    assert!(matches!(outcome.ending, Ending::Exit(125..=127)), "{outcome}");
    let err = outcome.err();
    assert!(
        err.contains("--bind") || err.contains("--ro-bind") || err.contains("bind "),
        "{outcome}"
    );
    assert_eq!(err.lines().count(), 1, "{outcome}");
}

fn static_program() -> Option<String> {
    let names = ["/bin/busybox", "/usr/bin/busybox"];
    names.iter().find(|n| have(n)).map(|n| (*n).to_owned())
}

#[test]
fn strict_refuses_what_cannot_be_served() {
    needs!("strict", "busybox");
    let site = site();
    let busybox =
        static_program().unwrap_or_else(|| which("busybox").expect("it").display().to_string());
    let script = format!(
        "{busybox} cat /new/at/f; echo $?; ns stat --json | grep -o '\"escaped\": *[0-9]*'"
    );
    let lax = bound(&site, &[], &script);
    assert!(
        lax.out().starts_with("1\n") && !lax.out().ends_with(": 0"),
        "run outside, and counted\n{lax}"
    );
    let strict = bound(&site, &["--strict"], &format!("{busybox} true; echo $?"));
    assert_eq!(strict.out(), "126", "{strict}");
    assert!(strict.err().contains("ermission denied"), "{strict}");
}

/// ns-exec sees what the family sees, however it is linked, and is no program that escapes.
#[test]
fn a_namespace_inside_a_strict_one() {
    let site = site();
    site.write("more/lines", "bind /new/at /new/too\n");
    let more = site.at("more");
    let nested = "ns-exec -n /more/lines -- cat /new/too/f; echo $?; \
                  ns stat --json | grep -o '\"escaped\": *[0-9]*'";
    let outcome = bound(&site, &["--strict", "--bind", &more, "/more"], nested);
    let out = outcome.out();
    let lines: Vec<&str> = out.lines().collect();
    assert!(matches!(lines[..], ["bound", "0", escaped] if escaped.ends_with('0')), "{outcome}");
    bound(&site, &["--strict"], "exec ns-exec --private /tmp -- cat /new/at/f").prints("bound");
}

#[test]
fn enforce_holds_for_static_programs() {
    needs!("enforce", "busybox");
    let site = site();
    let mut options = vec!["--enforce", "--clear"];
    for place in ["/usr", "/lib", "/lib64", "/bin"].iter().filter(|p| have(p)) {
        options.extend(["--bind", place, place]);
    }
    let script = "(exec 3</etc/passwd) 2>&1; busybox cat /etc/passwd 2>&1; grep NoNewPrivs /proc/self/status";
    let outcome = site.inside(&options, script).run();
    if outcome.err().contains("of Landlock") {
        privns_shim_tests::say_skipped("enforce", "Landlock");
        return;
    }
    assert!(!outcome.out().contains("root:"), "{outcome}");
    assert!(
        outcome.out().to_lowercase().contains("denied") || outcome.out().contains("No such"),
        "{outcome}"
    );
}

#[test]
fn enforce_needs_clear() {
    let site = site();
    let outcome = bound(&site, &["--enforce"], "echo ran");
    assert_eq!((outcome.ending, outcome.out().as_str()), (Ending::Exit(125), ""), "{outcome}");
}

#[test]
fn trace_has_a_line_for_each_name() {
    let site = site();
    let trace = format!("--trace={}", site.at("trace"));
    bound(&site, &[&trace], "cat /new/at/f; cat /new/at/missing 2>/dev/null; true").ok();
    let text = std::fs::read_to_string(site.path("trace")).expect("the trace");
    let line = |name: &str| {
        text.lines().find(|l| l.contains(name)).unwrap_or_else(|| panic!("{name}:\n{text}"))
    };
    assert!(
        line("/new/at/f").contains(&site.at("src/f")) && line("/new/at/f").contains("open"),
        "{text}"
    );
    assert!(line("/new/at/missing").contains("ENOENT"), "{text}");
}

#[test]
fn the_log_goes_where_it_is_told() {
    let site = site();
    let log = format!("debug:{}", site.at("log.txt"));
    let command = site
        .inside(&["--bind", &site.at("src"), "/new/at"], "cat /new/at/f")
        .env("PRIVNS_LOG", log);
    let outcome = command.run();
    assert_eq!((outcome.out().as_str(), outcome.err().as_str()), ("bound", ""), "{outcome}");
    assert!(std::fs::metadata(site.path("log.txt")).is_ok_and(|m| m.len() > 0));
}

/// `ns-exec` with no family's name: a dump makes none.
fn dump(site: &Site, options: &[&str]) -> privns_shim_tests::Outcome {
    let bind = ["--bind", &site.at("src"), "/new/at"];
    let script = "touch $T/ran";
    site.cmd("ns-exec").args(bind).args(options).args(["--", "sh", "-c", script]).run()
}

#[test]
fn dump_runs_nothing() {
    let site = site();
    dump(&site, &["--dump"]).prints(&format!("bind {} /new/at", site.at("src")));
    assert!(!site.path("ran").exists());
}

#[test]
fn restore_misses_a_source() {
    let site = site();
    let json = dump(&site, &["--bind", &site.at("other"), "/o", "--dump=json"]);
    json.ok();
    site.write("j", &json.stdout);
    std::fs::remove_dir_all(site.path("other")).expect("remove");
    let missing = site.inside(&["--restore", &site.at("j")], "echo ran").run();
    missing.refuses(125, &[&site.at("other")]);
    let options = ["--restore", &site.at("j"), "--skip-missing"];
    let skipped = site.inside(&options, "cat /new/at/f").run();
    assert_eq!((skipped.ending, skipped.out().as_str()), (Ending::Exit(0), "bound"), "{skipped}");
}

#[test]
fn a_private_directory_is_fresh_and_goes() {
    let site = site();
    std::fs::create_dir(site.path("pub")).expect("mkdir");
    site.write("pub/theirs", "");
    site.cmd("chmod").args(["1777", &site.at("pub")]).run().ok();
    let script = "ls -A $T/pub; stat -c %a $T/pub; echo x >$T/pub/mine; ls $T/pub; ns instances | grep -c $T";
    site.inside(&["--private", &site.at("pub")], script).run().prints("1777\nmine\n1");
    assert!(!site.path("pub/mine").exists());
    // That the instance itself is gone is checked when the site is dropped.
}
