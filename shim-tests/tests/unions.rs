//! Unions: which member answers, where creation goes, and what crosses no boundary.

use privns_shim_tests::{Ending, Outcome, Site, needs};

/// A site with three members: each has a file of its own, `both`, and a directory `d`.
fn site() -> Site {
    let site = Site::new();
    for member in ["a", "b", "c"] {
        site.write(&format!("{member}/{member}"), format!("only {member}\n"));
        site.write(&format!("{member}/both"), format!("both {member}\n"));
        site.write(&format!("{member}/d/in-{member}"), "");
    }
    site
}

/// Runs a script with lines of a namespace; `@` stands for the site's directory.
fn run(site: &Site, lines: &[&str], script: &str) -> Outcome {
    let root = site.root().to_string_lossy().into_owned() + "/";
    let lines: Vec<String> = lines.iter().map(|l| l.replace('@', &root)).collect();
    let options: Vec<&str> = lines.iter().flat_map(|l| ["-e", l.as_str()]).collect();
    site.inside(&options, script).run()
}

/// Prints the errno's name of each failing call; python is precise about it.
fn errno(calls: &[&str]) -> String {
    let body: String = calls
        .iter()
        .map(|c| format!("try:\n  {c}\n  print('fine')\nexcept OSError as e: print(errno.errorcode[e.errno])\n"))
        .collect();
    format!("exec /usr/bin/python3 -c \"import os, errno\n{body}\"")
}

#[test]
fn before_and_after() {
    let site = site();
    let look = "cat /u/both; ls /u | tr '\\n' ' '; ls /u/d";
    run(&site, &["bind @a /u", "bind -a @b /u"], look).prints("both a\na b both d in-a");
    run(&site, &["bind @a /u", "bind -b @b /u"], look).prints("both b\na b both d in-b");
    run(&site, &["bind @a /u", "bind -b @b /u", "bind -a @c /u"], look)
        .prints("both b\na b both c d in-b");
    run(&site, &["bind @a /u", "bind -a @b /u", "bind @c /u"], look)
        .prints("both c\nboth c d in-c");
}

#[test]
fn a_union_with_the_directory_that_is_there() {
    let site = site();
    let look = "cat $T/b/both; ls $T/b | tr '\\n' ' '";
    run(&site, &["bind -b @a @b"], look).prints("both a\na b both d");
    run(&site, &["bind -a @a @b"], look).prints("both b\na b both d");
    let etc = site.sh("ls /etc | wc -l").run().ok().parse::<usize>().expect("a number");
    run(&site, &["bind -a @a /etc"], "ls /etc | wc -l; cat /etc/a")
        .prints(&format!("{}\nonly a", etc + 3));
}

#[test]
fn creation_goes_where_it_is_marked() {
    let site = site();
    let make =
        "echo x >/u/new && mkdir /u/newdir && ln -s x /u/link && mkfifo /u/fifo; ls /u | wc -l";
    run(&site, &["bind -c @a /u", "bind -a @b /u"], make).prints("8");
    run(&site, &["bind @b /u2", "bind @a /u", "bind -bc @c /u"], "echo x >/u/third").ok();
    run(&site, &["bind @a /u", "bind -ac @b /u", "bind -ac @c /u"], "echo x >/u/second").ok();
    let made = |name: &str| {
        ["a", "b", "c"].map(|m| std::fs::symlink_metadata(site.path(format!("{m}/{name}"))).is_ok())
    };
    assert_eq!(made("new"), [true, false, false]);
    assert_eq!(made("third"), [false, false, true]);
    assert_eq!(made("newdir"), [true, false, false]);
    assert_eq!(made("fifo"), [true, false, false]);
    assert_eq!(made("second"), [false, true, false]);
}

#[test]
fn without_a_mark_only_what_stood_there_takes_new_files() {
    needs!("without_a_mark", "/usr/bin/python3");
    let site = site();
    // b stood there first and is a member still.
    run(&site, &["bind -b @a @b"], "echo x >$T/b/new").ok();
    let made = |name: &str| ["a", "b"].map(|m| site.path(format!("{m}/{name}")).exists());
    assert_eq!(made("new"), [false, true]);
    // What stood there first is a member no more.
    let calls = [
        "open('/u/x', 'w')",
        "os.mkdir('/u/z')",
        "os.symlink('x', '/u/y')",
        "os.rename('/u/a', '/u/z')",
        "open('/u/both', 'a')",
        "os.mkdir('/u/d/fine')",
    ];
    let lines = ["bind @c /u", "bind -b @a /u", "bind -a @b /u", "unmount @c /u"];
    let outcome = run(&site, &lines, &errno(&calls));
    outcome.prints("EPERM\nEPERM\nEPERM\nEPERM\nfine\nfine");
}

#[test]
fn changes_reach_the_member_that_has_the_name() {
    let site = site();
    let script =
        "echo more >>/u/b; rm /u/both; cat /u/both; chmod 600 /u/both; rm /u/both; cat /u/both";
    let outcome = run(&site, &["bind -c @a /u", "bind -a @b /u"], script);
    assert_eq!(outcome.out(), "both b", "{outcome}");
    assert_eq!(std::fs::read_to_string(site.path("b/b")).expect("b"), "only b\nmore\n");
    assert!(!site.path("a/both").exists() && !site.path("b/both").exists());
}

#[test]
fn nothing_crosses_members_or_mounts() {
    needs!("nothing_crosses", "/usr/bin/python3");
    let site = site();
    let calls = [
        "os.rename('/u/b', '/u/a')", // b's file over a's
        "os.rename('/u/b', '/u/b2')",
        "os.rename('/u/b2', '/u/b')",
        "os.rename('/u/a', '/u/a2')",
        "os.link('/u/a2', '/u/a3')",
        "os.rename('/u/a2', '/c/x')",
        "os.link('/u/a2', '/c/x')",
        "os.rename('/u/d/in-a', '/u/in-a')",
        "os.rename('/u/both', os.environ['T'] + '/x')",
    ];
    let lines = ["bind -c @a /u", "bind -a @b /u", "bind @c /c"];
    run(&site, &lines, &errno(&calls))
        .prints("EXDEV\nfine\nfine\nfine\nfine\nEXDEV\nEXDEV\nfine\nEXDEV");
    run(&site, &lines, "mv /u/b /c/b2 && mv /u/both /c/ && cat /c/b2 /c/both")
        .prints("only b\nboth a");
}

#[test]
fn mount_points_are_busy() {
    needs!("mount_points_are_busy", "/usr/bin/python3");
    let site = site();
    let calls = [
        "os.rmdir('/u')",
        "os.rename('/u', '/v')",
        "os.rename('/c/d', '/v')",
        "os.rmdir('/new/deep')",
        "os.unlink('/file')",
        "os.rename('/file', '/g')",
        "os.rename('/c/c', '/file')",
        "os.rmdir('/new')",
        "os.mkdir('/u')",
    ];
    let lines =
        ["bind -c @a /u", "bind -a @b /u", "bind @c /c", "bind @c /new/deep", "bind @a/a /file"];
    let out = run(&site, &lines, &errno(&calls)).out();
    let got: Vec<&str> = out.lines().collect();
    for (index, call) in calls.iter().enumerate() {
        let want: &[&str] = match index {
            2 => &["EXDEV", "EROFS", "EACCES", "EPERM"], // The parent is not ours to write in.
            6 => &["EBUSY", "EXDEV"],
            7 => &["EBUSY", "ENOTEMPTY"],
            8 => &["EEXIST"],
            _ => &["EBUSY"],
        };
        assert!(want.contains(&got[index]), "{call}: {} instead of {want:?}", got[index]);
    }
}

#[test]
fn parents_that_the_host_has_not_appear() {
    let site = site();
    let script = "ls /one; ls /one/two; cd /one/two/three; pwd; cd ../..; pwd; ls -d /one/../etc; stat -c '%F %a' /one; test -w /one/two; ls / | grep -c '^one$'; cat /one/two/three/both";
    let outcome = run(&site, &["bind @a /one/two/three"], script);
    assert!(
        outcome.out().starts_with("two\nthree\n/one/two/three\n/one\n/one/../etc\ndirectory "),
        "{outcome}"
    );
    assert!(outcome.out().ends_with("1\nboth a"), "{outcome}");
    // A place in a place, where the first has no such directory.
    run(&site, &["bind @a /p", "bind @b /p/x/y"], "ls /p | tr '\\n' ' '; cat /p/x/y/both; ls /p/x")
        .prints("a both d x both b\ny");
    assert!(!site.path("a/x").exists());
}

#[test]
fn aliases_of_a_place_lead_to_it() {
    let site = site();
    site.mkdir("real");
    std::os::unix::fs::symlink("real", site.path("alias")).expect("a link");
    std::os::unix::fs::symlink(site.path("real/a"), site.path("into")).expect("a link");
    let look = "cat $T/real/a $T/alias/a $T/into; cd $T/alias; pwd -P; cat ../real/a; cd ..; ls alias/../real/a | wc -l";
    for place in ["@real", "@alias", "@alias/"] {
        let outcome = run(&site, &[&format!("bind @a {place}")], look);
        outcome.prints(&format!("only a\nonly a\nonly a\n{}\nonly a\n1", site.at("real")));
    }
    // The host's own aliases.
    if std::fs::read_link("/bin").is_ok() {
        run(&site, &["bind @a /usr/bin/../share"], "cat /usr/share/a /bin/../share/a")
            .prints("only a\nonly a");
    }
    if std::fs::read_link("/var/run").is_ok() {
        run(&site, &["bind @a /var/run"], "cat /run/a /var/run/a").prints("only a\nonly a");
    }
}

#[test]
fn a_link_of_the_host_leads_into_a_place_and_out() {
    let site = site();
    std::os::unix::fs::symlink("/place/d", site.path("a/out")).expect("a link");
    std::os::unix::fs::symlink("../b/both", site.path("a/up")).expect("a link");
    std::os::unix::fs::symlink("/etc/hostname", site.path("a/host")).expect("a link");
    let lines = ["bind @a /place", "bind @b /b"];
    let script = "ls /place/out/; cat /place/up; cmp /place/host /etc/hostname; realpath /place/out /place/up; readlink -f $T/a/out";
    run(&site, &lines, script).prints("in-a\nboth b\n/place/d\n/b/both\n/place/d");
}

#[test]
fn a_working_directory_outlives_its_place() {
    let site = site();
    let script = "cd /u/d; ns unmount /u; ls; cat in-a; /bin/pwd 2>/dev/null || echo unknown; cd /; ls /u 2>/dev/null || echo gone";
    let outcome = run(&site, &["bind @a /u"], script);
    assert!(
        outcome.out().starts_with("in-a\n") && outcome.out().ends_with("unknown\ngone"),
        "{outcome}"
    );
    assert_eq!(outcome.ending, Ending::Exit(0), "{outcome}");
}

/// What openat2(2) is to stay below shows what the namespace has there and no more: the kernel,
/// which sees the member alone, is asked only where names cannot lead out of it.
#[test]
fn openat2_stays_in_the_namespace() {
    needs!("openat2_stays_in_the_namespace", "python3");
    let site = Site::new();
    site.write("src/d/f", "inside\n");
    site.write("src/d/g", "beside\n");
    site.write("secret", "outside\n");
    std::os::unix::fs::symlink("../../secret", site.path("src/d/up")).expect("a link");
    let script = r#"exec python3 - "$T/at" <<'E'
import ctypes, errno, os, sys
libc, at = ctypes.CDLL(None, use_errno=True), sys.argv[1]
dir = os.open(at + '/d', os.O_PATH)
def opens(name, flags, resolve):
    how = (ctypes.c_uint64 * 3)(flags, 0, resolve)
    fd = libc.syscall(437, dir, name.encode(), ctypes.byref(how), 24)
    return os.readlink(f'/proc/self/fd/{fd}')[len(at):] if fd >= 0 else errno.errorcode[ctypes.get_errno()]
print([opens('f', flags, 8) for flags in (0, 1)], [opens(name, 0, 8) for name in ('../g', 'up', '/f', 'no')])
print([opens(name, 0, how) for name in ('../../secret', 'up', 'f') for how in (2, 4)], opens('/g', 0, 16))
print([opens('f', 0, how) for how in (8 | 16, 64)])
E"#;
    let beneath = "['EXDEV', 'EXDEV', 'EXDEV', 'ENOENT']";
    let others =
        "['ENOSYS', 'ENOSYS', 'ENOSYS', 'ELOOP', 'ENOSYS', '/d/f'] /d/g\n['EINVAL', 'EINVAL']";
    for (bind, write) in [("--bind", "/d/f"), ("--ro-bind", "ENOSYS")] {
        let told = site.inside(&[bind, &site.at("src"), &site.at("at")], script).run();
        let expected = format!("['/d/f', '{write}'] {beneath}\n{others}");
        assert_eq!((told.out(), told.err()), (expected, String::new()), "{told}");
    }
}
