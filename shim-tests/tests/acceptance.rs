//! The rows of the acceptance list that concern binding of the host's own names:
//! p* the administrator's pains, d* dumps, m* the features of Minnich's article.

use privns_shim_tests::{Ending, Site, bins, is_root, needs, say_skipped, tools};
use std::time::{Duration, Instant};

/// An ordinary user that owns nothing here.
const USER: u32 = 65534;

/// The number after `"key":` in a line of JSON.
fn number(json: &str, key: &str) -> u64 {
    let rest =
        json.split(&format!("\"{key}\":")).nth(1).unwrap_or_else(|| panic!("no {key}: {json}"));
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{key} is not a number: {json}"))
}

fn generation(site: &Site) -> u64 {
    number(&site.ns().args(["stat", "--family", site.family(), "--json"]).run().ok(), "generation")
}

/// Waits until the family can be found from outside.
fn until_alive(site: &Site) {
    let start = Instant::now();
    while site.ns().args(["--family", site.family()]).run().ending != Ending::Exit(0) {
        assert!(start.elapsed() < Duration::from_secs(10), "the family did not appear");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Host paths are resolved at each call: a file system mounted later is seen.
#[test]
fn p1() {
    needs!("p1", "root", "unshare");
    let site = Site::new();
    let script = r#"
        mkdir $T/a $T/i
        ns-exec --family $F --bind $T/i /tmp -- sh -c "until cat $T/a/f; do sleep .1; done" >$T/seen 2>$T/errors &
        sleep .5; mount -t tmpfs x $T/a; echo ok >$T/a/f; wait $!
        cat $T/seen; sort -u $T/errors; umount $T/a"#;
    let start = Instant::now();
    let outcome = site.cmd("unshare").args(["-m", "sh", "-c", script]).run();
    let missing = format!("cat: {}: No such file or directory", site.at("a/f"));
    outcome.prints(&format!("ok\n{missing}"));
    assert!(start.elapsed() < Duration::from_secs(5), "seen too late");
}

/// A bind from outside is seen by a running member, and costs one generation.
#[test]
fn p2() {
    let site = Site::new();
    site.write("src/f", "seen\n");
    let member =
        site.inside(&["--bind", &site.at("src"), "/other"], "until cat /new/f; do sleep .05; done");
    let member = member.start();
    until_alive(&site);
    let before = generation(&site);
    site.inside(&["--join", site.family()], "").run();
    site.ns().args(["--family", site.family(), "bind", &site.at("src"), "/new"]).run().prints("");
    assert_eq!(generation(&site), before + 1, "one bind, one generation");
    assert_eq!(member.wait(5), Ending::Exit(0));
}

/// What is not a mount change raises no generation.
#[test]
fn p2_rename_and_rmdir_raise_no_generation() {
    let site = Site::new();
    site.mkdir("src");
    let script =
        "ns stat --json >$T/1; mkdir /new/d; mv /new/d /new/e; rmdir /new/e; ns stat --json >$T/2";
    site.inside(&["--bind", &site.at("src"), "/new"], script).run().ok();
    let [one, two] = ["1", "2"].map(|f| std::fs::read_to_string(site.path(f)).expect("stat"));
    assert_eq!(number(&one, "generation"), number(&two, "generation"));
}

/// A hundred that bind at once: none is lost.
#[test]
fn p2_a_hundred_at_once() {
    let site = Site::new();
    for i in 0..100 {
        site.write(&format!("src/{i}/name"), format!("{i}\n"));
    }
    let script = r"
        ns stat --json >$T/1
        for i in $(seq 0 99); do ns bind $T/src/$i /new/$i & done; wait
        ns stat --json >$T/2
        for i in $(seq 0 99); do test $(cat /new/$i/name) = $i || echo lost $i; done; ls /new | wc -l";
    site.inside(&["--bind", &site.at("src"), "/other"], script).limit(60).run().prints("100");
    let [one, two] = ["1", "2"].map(|f| std::fs::read_to_string(site.path(f)).expect("stat"));
    assert_eq!(number(&two, "generation") - number(&one, "generation"), 100);
}

/// Membership keeps no file system busy, and an unmount takes the name away from all,
/// but not what is open.
#[test]
fn p3() {
    needs!("p3", "root", "unshare");
    let site = Site::new();
    let script = r#"
        mkdir $T/m; mount -t tmpfs x $T/m; echo text >$T/m/f
        ns-exec --family $F --bind $T/m /old -- sh -c 'cat /old/f; touch $T/up; until test -e $T/stop; do sleep .05; done; cat /old/f' &
        until test -e $T/up; do sleep .05; done
        umount $T/m && echo unmounted; touch $T/stop; wait"#;
    let outcome = site.cmd("unshare").args(["-m", "sh", "-c", script]).run();
    assert_eq!(outcome.out(), "text\nunmounted", "{outcome}");
    assert!(outcome.err().contains("No such file"), "{outcome}");
}

#[test]
fn p3_unmounted_for_every_member() {
    let site = Site::new();
    site.write("src/f", "text\n");
    let script = r#"
        exec 3</old/f
        sh -c 'until test -e $T/gone; do sleep .05; done; ls /old; echo $?' &
        ns unmount /old; touch $T/gone; wait; ls /old; echo $?; cat <&3"#;
    let outcome = site.inside(&["--bind", &site.at("src"), "/old"], script).run();
    assert_eq!(outcome.out(), "2\n2\ntext", "{outcome}");
    site.ns().args(["--family", site.family(), "unmount", "/old"]).run().refuses(1, &[]);
}

/// A setuid program runs on the host's names, without a word from the loader.
#[test]
fn p4() {
    needs!("p4", "root", "setpriv");
    let site = Site::new();
    site.write("i/inner", "");
    let helper = site.path("asroot");
    std::fs::copy(tools().join("asroot"), &helper).expect("copy");
    site.cmd("chmod").args(["4755".as_ref(), helper.as_os_str()]).run().ok();
    let show = "grep -c libprivns /proc/self/maps; test -e /tmp/inner && echo inside";
    let exec = |program: &str| {
        let options = ["--family", site.family(), "--bind", &site.at("i"), "/tmp", "--", program];
        site.as_user(USER, "ns-exec").args(options).args(["sh", "-c", show]).run()
    };
    let outcome = exec(&site.at("asroot"));
    assert_eq!((outcome.out().as_str(), outcome.err().as_str()), ("0", ""), "{outcome}");
    let inside = exec("env");
    assert!(inside.out().ends_with("inside"), "{inside}");
}

/// The same by the real sudo and su, the latter with a PAM session that loads the library again
/// as a site's does: it finds the table of another user, says so in one line, and leaves it alone.
#[test]
fn p4_sudo_and_su() {
    needs!("p4_sudo_and_su", "root", "setpriv", "sudo", "su", "unshare", "mount");
    let site = Site::new();
    site.write("i/inner", "");
    site.write("sudoers", "nobody ALL=(ALL) NOPASSWD: ALL\n");
    let library = bins().library();
    let library = library.file_name().expect("a name").to_string_lossy();
    site.write("pam_env", format!("LD_PRELOAD DEFAULT={}/{library}\n", site.at("bin")));
    let session = format!("session required pam_env.so conffile={}\n", site.at("pam_env"));
    let rest = "auth required pam_permit.so\naccount required pam_permit.so\n";
    site.write("su", format!("{rest}{session}"));
    let show = "grep -c libprivns /proc/self/maps; ls /tmp/inner 2>/dev/null || echo host; id -un";
    let inside = |program: &str| {
        let prepare = "cp $T/sudoers $T/own; chmod 440 $T/own; chown 0:0 $T/own; mount --bind $T/own /etc/sudoers
            mount --bind $T/su /etc/pam.d/su; exec \"$@\"";
        // Makes the copies that a user reaches; the site is given away by that too.
        let _ = site.as_user(USER, "true").run();
        let user = format!(
            "setpriv --reuid {USER} --regid {USER} --clear-groups {0}/bin/ns-exec --bind {0}/i /tmp -- {program}",
            site.root().display()
        );
        site.cmd("unshare").args(["-m", "sh", "-e", "-c", prepare, "sh", "sh", "-c", &user]).run()
    };
    let outcome = inside(&format!("sudo -n sh -c '{show}'"));
    assert_eq!(
        (outcome.out().as_str(), outcome.err().as_str()),
        ("0\nhost\nroot", ""),
        "{outcome}"
    );
    let outcome = inside(&format!("su -c '{show}'"));
    let loaded = outcome.out();
    let loaded = loaded.strip_suffix("\nhost\nroot").and_then(|n| n.parse::<u32>().ok());
    assert!(loaded.is_some_and(|n| n > 0), "{outcome}");
    let said = outcome.err();
    assert!(said.lines().all(|line| line.starts_with("privns: ")), "{outcome}");
    assert!(!said.is_empty() && !said.contains("ld.so"), "{outcome}");
}

/// Another user's table is left alone, with one line; the program sees the host.
#[test]
fn p4_the_table_of_another_user() {
    needs!("p4_the_table_of_another_user", "root", "setpriv", "bash");
    let site = Site::new();
    site.write("i/inner", "");
    let keep = "env | grep -E '^(PRIVNS|LD_PRELOAD)' >$T/part; mv $T/part $T/env
        until test -e $T/stop; do sleep .05; done";
    let member = site
        .as_user(USER, "ns-exec")
        .args(["--family", site.family(), "--bind", &site.at("i"), "/tmp", "--", "sh", "-c", keep])
        .start();
    site.until("env");
    // As su does: the variables and the descriptors stay, the user changes.
    let su = format!(
        "for fd in /proc/{pid}/fd/*; do case $(readlink $fd) in /memfd:*) n=${{fd##*/}};; esac; done
         eval \"exec $n<>/proc/{pid}/fd/$n\"
         exec setpriv --reuid 12345 --regid 12345 --clear-groups env $(cat $T/env) ls /tmp/inner",
        pid = member.pid()
    );
    let outcome = site.cmd("bash").args(["-c", &su]).run();
    site.write("stop", "");
    assert_eq!(outcome.ending, Ending::Exit(2), "{outcome}");
    assert_eq!(outcome.err().lines().count(), 2, "ls's own line and one of ours\n{outcome}");
    assert_eq!(member.wait(10), Ending::Exit(0));
}

/// Root's table serves whoever a member becomes, and is not theirs to change.
#[test]
fn p4_roots_table_serves_all() {
    needs!("p4", "root", "setpriv");
    let site = Site::new();
    site.write("i/inner", "seen\n");
    let _ = site.as_user(USER, "true").run();
    std::os::unix::fs::chown(site.path("run"), Some(0), Some(0)).expect("chown");
    let script = format!(
        "setpriv --reuid {USER} --regid {USER} --clear-groups sh -c \
         'cat /tmp/inner; $T/bin/ns bind /etc /tmp 2>/dev/null || echo refused; cat /tmp/inner'"
    );
    site.inside(&["--bind", &site.at("i"), "/tmp"], &script).run().prints("seen\nrefused\nseen");
}

/// And so does root's memory tree, which tells users apart: those that a member becomes, and those
/// that it was. What is open stays open.
#[test]
fn p4_roots_memory_tree_serves_all() {
    needs!("p4_roots_memory_tree_serves_all", "root", "setpriv", "/usr/bin/python3");
    let site = Site::new();
    site.mkdir("d");
    let _ = site.as_user(USER, "true").run();
    std::os::unix::fs::chown(site.path("run"), Some(0), Some(0)).expect("chown");
    site.write("become.py", BECOME);
    let script = format!(
        r#"chmod 711 $XDG_RUNTIME_DIR; chmod 1777 $D; mkdir -m 700 $D/s; echo secret >$D/s/f; mkdir $D/o; echo open >$D/o/f
        cat >$T/work <<'END'
cat $D/s/f 2>/dev/null || echo refused; cat $D/o/f <&9; cat <&9; echo mine >$D/own
rm -f $D/o/f 2>/dev/null || echo kept; cat f; ls -A; echo x 2>/dev/null >new || echo closed
END
        cd $D/o; export D; setpriv --reuid {USER} --regid {USER} --clear-groups sh $T/work 9<$D/s/f
        stat -c '%u %g %a' $D/own; rm $D/own; ls $D; cd $D; /usr/bin/python3 $T/become.py"#
    );
    let native = site.sh(&script).env("D", site.path("d")).run().ok();
    let inside = site.inside(&["--tmpfs", "/r"], &script).env("D", "/r").run().ok();
    assert_eq!(inside, native);
    assert!(native.starts_with("refused\nopen\nsecret\nkept\nopen\nf\nclosed\n"), "{native}");
}

/// They meet at its pipes and sockets, too.
#[test]
fn p4_users_meet_in_roots_memory_tree() {
    needs!("p4_users_meet_in_roots_memory_tree", "root", "/usr/bin/python3");
    let site = Site::new();
    let _ = site.as_user(USER, "true").run();
    std::os::unix::fs::chown(site.path("run"), Some(0), Some(0)).expect("chown");
    site.mkdir("d");
    let users = privns_shim_tests::package().join("scripts/users");
    let script = format!(
        "chmod 711 $XDG_RUNTIME_DIR; mkdir -m 755 $D/w && cd $D/w && exec /usr/bin/python3 {}",
        users.display()
    );
    let native = site.sh(&script).env("D", site.path("d")).run().ok();
    let inside = site.inside(&["--tmpfs", "/r"], &script).env("D", "/r").run().ok();
    assert_eq!(inside, native);
    assert!(native.contains("send by 4001 1"), "{native}");
}

/// What a process may that is root, then somebody, root again, and somebody for good.
const BECOME: &str = r#"
import os
def told(what, of):
    try: print(what, of(), flush=True)
    except OSError as e: print(what, e.errno, flush=True)
def read(name, **at): return os.read(os.open(name, os.O_RDONLY, **at), 99)
def all():
    told('whole', lambda: read(os.environ['D'] + '/s/f'))
    told('here', lambda: read('s/f'))
    told('below', lambda: read('f', dir_fd=s))
    told('list', lambda: sorted(os.listdir('s')))
    told('new', lambda: os.close(os.open('n', os.O_CREAT | os.O_EXCL)))
    told('owner', lambda: (lambda st: (st.st_uid, st.st_gid))(os.stat('n')))
    told('unlink', lambda: os.unlink('n'))
    told('fchmod', lambda: os.fchmod(f, 0o644))
    told('fchown', lambda: os.fchown(f, os.geteuid(), -1))
    told('now', lambda: os.utime(f))
    told('time', lambda: os.utime(f, (7, 7)))
    told('set', lambda: os.setxattr(f, 'user.x', b'y'))
    told('get', lambda: os.getxattr(f, 'user.x'))
    told('set named', lambda: os.setxattr('/proc/self/fd/%d' % named, 'user.x', b'z'))
    told('get named', lambda: os.getxattr('/proc/self/fd/%d' % named, 'user.x'))
    told('owner', lambda: (lambda st: (st.st_uid, oct(st.st_mode), int(st.st_mtime) == 7))(os.fstat(f)))
    if os.geteuid() == 0: os.fchown(f, 0, -1)
s = os.open('s', os.O_RDONLY | os.O_DIRECTORY)
f = os.open('s/f', os.O_RDONLY)
named = os.open('o/f', os.O_PATH)
all()
os.seteuid(65534); all()
told('held', lambda: os.pread(f, 99, 0))
os.seteuid(0); all()
os.setresgid(7, 7, 7); all()
if os.uname().machine == 'x86_64':
    import ctypes
    become = lambda uid: ctypes.CDLL(None).syscall(117, -1, uid, -1)
    become(65534); all()
    become(0); all()
os.setgroups([]); os.setuid(65534); all()
told('held', lambda: os.pread(f, 99, 0))
if os.fork() == 0:
    told('child', lambda: os.pread(f, 99, 0)); all(); exit()
os.wait()
"#;

/// What shows mounts shows the private ones, inside and outside alike.
#[test]
fn p8() {
    needs!("p8", "findmnt", "df");
    let site = Site::new();
    site.write("src/x", "");
    let script = r#"
        grep -c ' /tmp ' /proc/self/mounts; grep -c ' /tmp ' /proc/$$/mountinfo; grep -c ' /tmp ' /etc/mtab
        findmnt -n -o TARGET /tmp; findmnt -n -o TARGET -T /tmp/x; df --output=target /tmp/x | tail -1
        test $(id -u) != 0 || mount | grep -c ' on /tmp '; ns >$T/inside; ns why /tmp/x >$T/why
        ns --pid $$ >$T/pid; echo $$ >$T/number; until test -e $T/stop; do sleep .05; done"#;
    let member = site
        .inside(&["--bind", &site.at("src"), "/tmp"], &format!("({script}) >$T/log.txt 2>&1"))
        .start();
    until_alive(&site);
    site.until("number");
    let pid = member.pid().to_string();
    let outside = site.ns().args(["--pid", &pid]).run().ok();
    site.write("stop", "");
    assert_eq!(member.wait(5), Ending::Exit(0));
    let read =
        |name: &str| std::fs::read_to_string(site.path(name)).expect("read").trim().to_owned();
    let mut want = "1\n1\n1\n/tmp\n/tmp\n/tmp".to_owned();
    if is_root() {
        want += "\n1";
    } else {
        // Setuid: to anybody else it shows the host.
        say_skipped("p8 with mount(8)", "root");
    }
    assert_eq!(read("log.txt"), want);
    assert_eq!(read("inside"), outside);
    assert_eq!(read("pid"), outside);
    let why = read("why");
    assert!(
        why.contains(&site.at("src")) && why.contains("bind"),
        "why names member and rule: {why}"
    );
}

/// What is not bound is the host's, name for name; `host!/` is all of it.
#[test]
fn p12() {
    let site = Site::new();
    site.write("src/only-here", "");
    let list = "ls -A / /usr /etc; stat -c '%d %i' /etc/passwd / /usr/bin";
    let native = site.sh(list).run().ok();
    site.inside(&["--bind", &site.at("src"), "/tmp"], list).run().prints(&native);
    let global = ["--bind", &site.at("src"), "/etc", "--bind", "host!/", "/"];
    site.inside(&global, &format!("{list}; ls /tmp/only-here 2>/dev/null")).run();
    site.inside(&global, list).run().prints(&native);
}

/// A namespace with something of everything, and names that need quoting.
fn everything(site: &Site) -> String {
    for dir in ["a", "b", "with space", "quote'd", "dollar$HOME", "hash#"] {
        site.write(&format!("{dir}/f"), dir);
    }
    let file = format!(
        "bind {t}/a /new/a\nbind -b {t}/b /new/a\nbind -r {t}/a /new/ro\nbind -ac {t}/b /new/a\n\
         bind '{t}/with space' '/new/with space'\nbind '{t}/quote''d' '/new/quote''d'\n\
         bind '{t}/dollar$HOME' '/new/dollar$HOME'\nbind '{t}/hash#' '/new/hash#'\n\
         dir /new/empty\nsymlink '../a b' /new/link\nbind {t}/a/f /new/file\n",
        t = site.root().display()
    );
    site.write("all", file);
    site.at("all")
}

/// Dumped, read again and dumped: the same text, and the same JSON.
#[test]
fn d1() {
    let site = Site::new();
    let file = everything(&site);
    let script = "ns >$T/1; until test -e $T/stop; do sleep .05; done";
    let member = site.inside(&["-n", &file], script).start();
    until_alive(&site);
    let text = site.ns().args(["--family", site.family()]).run();
    text.ok();
    site.write("2", &text.stdout);
    site.write("stop", "");
    assert_eq!(member.wait(5), Ending::Exit(0));
    let again = site.cmd("ns-exec").args(["-n", &site.at("2"), "--dump"]).run();
    again.ok();
    assert_eq!(again.out(), text.out(), "{again}");
    let listing = "cd /new; find . | sort; cat a/f ro/f 'with space/f' file; readlink link";
    let one = site.inside(&["-n", &file], listing).run();
    one.ok();
    let two = site.inside(&["-n", &site.at("2")], listing).run();
    assert_eq!(one.stdout, two.stdout, "the dump rebuilds the same names\n{one}\n{two}");
}

#[test]
fn d1_json() {
    let site = Site::new();
    let file = everything(&site);
    let json = site.cmd("ns-exec").args(["-n", &file, "--dump=json"]).run();
    assert!(json.ok().contains("\"version\""), "{json}");
    site.write("j", &json.stdout);
    let again = site.cmd("ns-exec").args(["--restore", &site.at("j"), "--dump=json"]).run();
    again.prints(&json.out());
    let text = site.cmd("ns-exec").args(["-n", &file, "--dump"]).run().ok();
    site.cmd("ns-exec").args(["--restore", &site.at("j"), "--dump"]).run().prints(&text);
    let piped =
        site.cmd("ns-exec").args(["--restore", "-", "--dump=json"]).input(json.stdout.clone());
    piped.run().prints(&json.out());
    site.inside(&["--restore", &site.at("j")], "cat /new/file").run().prints("a");
}

/// An ordinary user, with no capability and none to be had.
#[test]
fn m1() {
    let site = Site::new();
    site.write("src/f", "seen\n");
    let options = ["--family", site.family(), "--bind", &site.at("src"), "/new", "--"];
    let script =
        "cat /new/f; echo more >>/new/f; grep -h Cap /proc/self/status | grep -vc '\\b0*$'";
    let command = if is_root() {
        let _ = site.as_user(USER, "true").run();
        std::os::unix::fs::chown(site.path("src"), Some(USER), Some(USER)).expect("chown");
        std::os::unix::fs::chown(site.path("src/f"), Some(USER), Some(USER)).expect("chown");
        site.as_user(USER, "setpriv").args([
            "--no-new-privs",
            "--bounding-set",
            "-all",
            "--",
            "ns-exec",
        ])
    } else {
        say_skipped("m1 with an empty bounding set", "root");
        site.cmd("ns-exec")
    };
    let outcome = command.args(options).args(["sh", "-c", script]).run();
    assert!(outcome.out().starts_with("seen"), "{outcome}");
    assert_eq!(outcome.err(), "", "{outcome}");
    assert_eq!(std::fs::read_to_string(site.path("src/f")).expect("read"), "seen\nmore\n");
}

/// The family sees it, at every depth; nobody else does.
#[test]
fn m3() {
    let site = Site::new();
    site.write("src/f", "");
    let name = format!("/r{}", site.family());
    let options = ["--bind", &site.at("src"), &name];
    site.inside(&options, &format!("ls {name}; sh -c 'ls {name}'; test -e {name}"))
        .run()
        .prints("f\nf");
    let outside = site.sh(&format!("ls {name}")).run();
    assert!(outside.err().contains("No such file"), "{outside}");
}

/// The kernel's table of mounts is as before.
#[test]
fn m4() {
    let site = Site::new();
    site.mkdir("src");
    let script = "cat /proc/self/mountinfo >$T/1
        ns-exec --family $F --bind $T/src /tmp --private /dev/shm -- sh -c 'ls -a /tmp /dev/shm >/dev/null'
        cat /proc/self/mountinfo | cmp - $T/1";
    // Others may mount meanwhile; a mount namespace of our own keeps them out.
    let alone = is_root() && privns_shim_tests::have("unshare");
    let command = if alone { site.cmd("unshare").arg("-m") } else { site.cmd("env") };
    command.args(["sh", "-c", script]).run().prints("");
}

/// A union: no name twice, the first member wins, creation goes where it is marked.
#[test]
fn m9() {
    let site = Site::new();
    for (name, text) in [("a/both", "a\n"), ("a/one", "1\n"), ("b/both", "b\n"), ("b/two", "2\n")] {
        site.write(name, text);
    }
    let [a, b] = ["a", "b"].map(|n| site.at(n));
    let list = "ls /u | sort | uniq -d; ls /u; cat /u/both";
    site.inside(&["--bind", &a, "/u", "--bind-after", &b, "/u"], list)
        .run()
        .prints("both\none\ntwo\na");
    site.inside(&["--bind", &a, "/u", "--bind-before", &b, "/u"], list)
        .run()
        .prints("both\none\ntwo\nb");
    let create = [format!("bind {a} /u"), format!("bind -ac {b} /u")];
    site.inside(&["-e", &create[0], "-e", &create[1]], "echo new >/u/new; mkdir /u/d; cat /u/new")
        .run()
        .prints("new");
    assert!(
        site.path("b/new").exists() && site.path("b/d").exists() && !site.path("a/new").exists()
    );
}

/// One open file shared by fork and exec: the lines are read in turn.
#[test]
fn m18() {
    let site = Site::new();
    site.write("src/lines", "1\n2\n3\n4\n");
    let script = r#"(read a; sh -c "read b; echo \$b"; read c; echo $c) </r/lines"#;
    site.inside(&["--bind", &site.at("src"), "/r"], script).run().prints("2\n3");
    let forks = r"exec 3</r/lines; ls /proc/$$/fd >$T/1; i=0
        while [ $i -lt 1000 ]; do (:); i=$((i+1)); done; ls /proc/$$/fd >$T/2; cmp $T/1 $T/2; read a <&3; echo $a";
    site.inside(&["--bind", &site.at("src"), "/r"], forks).run().prints("1");
}

/// The self-test, and a namespace built from a file.
#[test]
fn m19() {
    let site = Site::new();
    site.ns().args(["doctor", "--self-test"]).limit(60).run().ok();
    site.write("src/f", "built\n");
    let file =
        site.write("file", format!("# a comment\nbind {} /new # and one here\n", site.at("src")));
    site.inside(&["-n", &file.to_string_lossy()], "cat /new/f").run().prints("built");
}
