//! The rows of the acceptance list that mount 9P servers: m* are the features of
//! Minnich's article, with this workspace's own servers.

use privns_shim_tests::{
    Diod, Ending, Served, Site, example, is_root, needs, say_skipped, tools, until,
};
use std::time::{Duration, Instant};

/// A mount is the family's, its children's too, and nobody else's.
#[test]
fn m3() {
    let site = Site::new();
    site.write("d/f", "f\n");
    let served = Served::start(&site, "a", "dir $T/d");
    let script = r#"ls /r; sh -c "ls /r""#;
    site.inside(&["--mount", &served.address(), "/r"], script).run().prints("f\nf");
    assert_eq!(site.sh("ls /r").run().ending, Ending::Exit(2));
}

/// The kernel's own mount table is as it was.
#[test]
fn m4() {
    let site = Site::new();
    site.write("d/f", "f\n");
    let served = Served::start(&site, "a", "dir $T/d");
    let own = || std::fs::read("/proc/self/mountinfo").unwrap();
    let before = own();
    let script = "cat /r/f; grep -c ' /r 9p ' /proc/self/mounts";
    site.inside(&["--mount", &served.address(), "/r"], script).run().prints("f\n1");
    assert_eq!(own(), before);
}

/// Nothing is there but the server's tree, from which the programs come too. Their
/// loader and what that loads before the library is there are the host's.
#[test]
fn m5() {
    let site = Site::new();
    site.mkdir("d/bin");
    site.sh("cp $(readlink -f /bin/sh) $T/d/bin/sh; cp /bin/cat $T/d/bin/cat").run().ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let script = "PATH=/bdisk1/bin; echo /*; cat /etc/passwd; echo $?";
    let address = served.address();
    // The loader's own places: what it opens, the kernel finds by host names.
    let libraries = ["/lib", "/lib64", "/usr/lib"].map(|dir| ["--ro-bind", dir, dir]);
    let only = ["--mount", &address, "/bdisk1", "--", "/bdisk1/bin/sh", "-c", script];
    let outcome = site.ns_exec().arg("--clear").args(libraries.concat()).args(only).run();
    outcome.prints("/bdisk1 /lib /lib64 /usr\n1");
    assert_eq!(outcome.err(), "cat: /etc/passwd: No such file or directory");
}

/// Two trees of each of two servers.
#[test]
fn m8() {
    let site = Site::new();
    for name in ["d/one", "d/two/sub", "e/one", "e/two/sub"] {
        site.write(&format!("{name}/f"), format!("{name}\n"));
    }
    let (a, b) = (Served::start(&site, "a", "dir $T/d"), Served::start(&site, "b", "dir $T/e"));
    let mounts: Vec<String> = [(&a, "/r/a"), (&b, "/r/b")]
        .iter()
        .flat_map(|(served, at)| {
            let address = served.address();
            let one = format!("mount -o aname=/one {address} {at}1");
            [one, format!("mount {address} {at}2 two/sub")]
        })
        .collect();
    let options: Vec<&str> = mounts.iter().flat_map(|line| ["-e", line]).collect();
    let script = "cat /r/a1/f /r/a2/f /r/b1/f /r/b2/f; cd /r/a2/..; pwd; ls /r/a1/..
        echo new >/r/b2/new; (cd /r/b2; exec cat ./new); stat -c %d /r/?? | sort -u | wc -l";
    let want = "d/one\nd/two/sub\ne/one\ne/two/sub\n/r\na1\na2\nb1\nb2\nnew\n4";
    site.inside(&options, script).run().prints(want);
    assert!(site.path("e/two/sub/new").exists());
    for aname in ["/none", "/..", "two/../one"] {
        let line = format!("mount -o aname={aname} {} /r", a.address());
        site.ns_exec().args(["-e", &line, "--", "true"]).run().refuses(125, &["no such tree"]);
    }
}

/// Unmounted, a server has nothing of the family any more, although its members live
/// on: at once where they make any call with a name.
#[test]
fn m10() {
    let site = Site::new();
    site.write("d/sub/f", "f\n");
    let served = Served::start(&site, "a", "dir $T/d");
    let both = |what| (served.counter("connections"), served.counter(what));
    assert_eq!(both("fids"), (0, 0));
    let script = "read x </r/sub/f; ls -l /r >/dev/null; cd /r/sub; cd /
        exec 5</r/sub/f; echo up >$T/up; until test -e $T/down; do sleep .02; done
        read y <&5; exec 5<&-; echo $x$y >$T/new; mv $T/new $T/said; until test -e $T/stop; do sleep .02; done";
    let python = "import os, time
os.listdir('/r'); [os.stat('/r/' + n) for n in os.listdir('/r')]; open('/r/sub/f').read()
open('$T/python', 'w')
while not os.path.exists('$T/stop'): time.sleep(.01)"
        .replace("$T", &site.root().display().to_string());
    let script = format!("python3 -c \"{python}\" & {script}; wait");
    let member = site.inside(&["--mount", &served.address(), "/r"], &script).start();
    site.until("up");
    site.until("python");
    assert!(served.counter("fids") >= 3);
    site.ns().args(["--family", site.family(), "unmount", "/r"]).run().ok();
    // What is open stays so, and is the last that keeps the server.
    until("all but the open file's connection ends", || served.counter("connections") == 1);
    site.write("down", "");
    site.until("said");
    until("the last one ends", || both("fids") == (0, 0));
    assert_eq!(std::fs::read_to_string(site.path("said")).unwrap(), "ff\n");
    site.write("stop", "");
    assert_eq!(member.wait(10), Ending::Exit(0));
}

/// What attends a mount ends with it, but not before its last open file.
#[test]
fn m10_attendants() {
    let site = Site::new();
    site.write("d/f", "f\n");
    let relayed = format!("exec!ns-serve dir {} --stdio", site.at("d"));
    let script = "exec 5</m/f 6</r/f; echo up >$T/up; until test -e $T/down; do sleep .05; done
        read a <&5; read b <&6; exec 5<&- 6<&-; echo $a$b >$T/new; mv $T/new $T/said; until test -e $T/stop; do sleep .05; done";
    let script = format!("echo m >/m/f; {script}");
    let options = ["--tmpfs", "/m", "--mount", &relayed, "/r"];
    let member = site.inside(&options, &script).start();
    site.until("up");
    let sockets = || {
        let find = site.sh("find $XDG_RUNTIME_DIR -name '9p-*' | wc -l").run().ok();
        find.trim().parse::<u32>().unwrap()
    };
    assert_eq!(sockets(), 2);
    for at in ["/m", "/r"] {
        site.ns().args(["--family", site.family(), "unmount", at]).run().ok();
    }
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(sockets(), 2, "files are open there");
    site.write("down", "");
    site.until("said");
    assert_eq!(std::fs::read_to_string(site.path("said")).unwrap(), "mf\n");
    until("the attendants end", || sockets() == 0);
    site.write("stop", "");
    assert_eq!(member.wait(10), Ending::Exit(0));
}

/// A union of two servers: each name once, the first member's; new files go to the
/// member that is marked for it.
#[test]
fn m9() {
    let site = Site::new();
    for (name, text) in [("d/both", "d\n"), ("d/d", ""), ("e/both", "e\n"), ("e/e", "")] {
        site.write(name, text);
    }
    let (a, m) = (Served::start(&site, "a", "dir $T/d"), Served::start(&site, "m", "dir $T/e"));
    let (a, m) = (a.address(), m.address());
    let script = "ls /u | sort | uniq -d; ls /u; cat /u/both";
    let options = ["--mount", &a, "/u", "--mount-after", &m, "/u"];
    site.inside(&options, script).run().prints("both\nd\ne\nd");
    let options = ["--mount", &a, "/u", "--mount-before", &m, "/u"];
    site.inside(&options, script).run().prints("both\nd\ne\ne");
    let created = [format!("mount -ac {m} /u")];
    let options = ["--mount", &a, "/u", "-e", &created[0]];
    site.inside(&options, "echo new >/u/new; cat /u/new").run().prints("new");
    assert!(site.path("e/new").exists() && !site.path("d/new").exists());
}

/// A union of the host's directory and a server's.
#[test]
fn a_union_of_both_kinds() {
    let site = Site::new();
    for (name, text) in [("d/both", "d\n"), ("d/d", ""), ("h/both", "h\n"), ("h/h", "")] {
        site.write(name, text);
    }
    let served = Served::start(&site, "a", "dir $T/d");
    let (at, h) = (served.address(), site.at("h"));
    let options = ["--bind", &h, "/u", "--mount-before", &at, "/u"];
    let script = "ls /u; cat /u/both; echo new >/u/new; ls $T/h";
    site.inside(&options, script).run().prints("both\nd\nh\nd\nboth\nh\nnew");
}

/// Symbolic links, in the dialects that have them.
#[test]
fn m16() {
    let site = Site::new();
    site.write("d/f", "text\n");
    let served = Served::start(&site, "a", "dir $T/d");
    let script = "ln -s f /r/l; readlink /r/l; cat /r/l; rm /r/l";
    for dialect in ["9P2000.L", "9P2000.u"] {
        let line = format!("mount -o dialect={dialect} {} /r", served.address());
        site.inside(&["-e", &line], script).run().prints("f\ntext");
    }
    let line = format!("mount -o dialect=9P2000 {} /r", served.address());
    let outcome = site.inside(&["-e", &line], "ln -s f /r/l").run();
    assert_eq!(outcome.ending, Ending::Exit(1));
    assert!(outcome.err().ends_with("Operation not permitted"), "{outcome}");
}

/// Below a link to a directory everything can be made, moved and removed, as natively.
#[test]
fn m16_below_links() {
    let script = r#"exec 2>&1; cd $R; mkdir q; ln -s q ql; ln -s $R/q qa; echo a >a; for l in ql qa; do
        echo y >$l/y; mkdir $l/d; ln -s x $l/l; cp a $l/c; mv $l/c $l/c2; cp $l/c2 $l/c4; touch $l/t; truncate -s 5 $l/u
        rm $l/y; rmdir $l/d; readlink $l/l; cat $l/c4; chmod 600 $l/c4; echo z >>$l/c4; cat $l/c4; (set -C; echo x >$l/x; echo y >$l/x)
        mv -n $l/x $l/n; mv $l/n a2; mv a2 $l/a3; rmdir $l/none; rm $l/none; mkdir $l/t; mkdir $l/none/x; touch $l/t/x; ls $l; rm -r $l/*
        cd $l; echo y >y; mkdir d; cd ..; ls $l; rm -r q/*; done
        ln -s ql qll; echo deep >qll/x; ls q; mkdir q/s; ln -s q/s qs; echo t >qs/t; echo t >qs/../t2; ls q q/s"#;
    let links = "; ln a ql/h; ln ql/h qa/h2; stat -c %h a; mv ql/h ql/s/; ls q/s; setfattr -n user.a -v b qll/h2 && getfattr -n user.a q/h2";
    for (n, (dialect, more)) in
        [("best", links), ("9P2000.L", links), ("9P2000.u", "")].iter().enumerate()
    {
        let site = Site::new();
        let script = format!("{script}{more}");
        let plain = site.mkdir(&format!("plain{n}"));
        let native = site.sh(&script).env("R", &plain).run();
        site.mkdir("d");
        let served = Served::start(&site, "a", "dir $T/d");
        let line = format!("mount -o dialect={dialect} {} /r", served.address());
        let inside = site.inside(&["-e", &line], &script).env("R", "/r").run();
        assert_eq!(inside.out(), native.out(), "{dialect}\n{inside}\n{native}");
        if *dialect == "best" {
            let memory = site.inside(&["--tmpfs", "/r"], &script).env("R", "/r").run();
            assert_eq!(memory.out(), native.out(), "{memory}\n{native}");
        }
    }
}

/// Nor does a server of others follow them, on its own host.
#[test]
fn m16_on_diod() {
    needs!("m16_on_diod", "diod", "python3");
    let site = Site::new();
    let diod = Diod::start(&site, "d");
    let script = "cd /r; echo text >f; ln -s /r/f abs; ln -s f rel; ln -s /etc/passwd out; ln -s new dangling
        cat abs rel /r/abs; cmp out /etc/passwd; echo over >abs; cat f; echo made >dangling; cat new; readlink abs
        mkdir d; ln -s /r/d ad; echo g >ad/g; ls d; mv ad/g ad/h; rm ad/h; ls d; mkdir ad/s; ln -s x ad/x; ln f ad/f; touch ad/t; ls d; chmod 600 abs; stat -c %a f; truncate -s 1 abs; wc -c <f
        ln -s /r/d/s as; mv ad/x as/y; ls d/s; rm -r d; mkfifo p; (echo through >p &); cat p; test -p p && python3 -c '
import socket
a, b = [socket.socket(socket.AF_UNIX) for _ in \"ab\"]; a.bind(\"s\"); a.listen(); b.connect(\"/r/s\"); print(b.getpeername())'";
    let inside = site.inside(&["-e", &diod.mount("/r")], script).run();
    inside.prints("text\ntext\ntext\nover\nmade\n/r/f\ng\nf\ns\nt\nx\n600\n1\ny\nthrough\ns");
}

/// A file is renamed while it is open, as temporary files are, and a directory above it: on a server
/// that finds it by the name that it was opened by.
#[test]
fn renamed_while_open_on_diod() {
    needs!("renamed_while_open_on_diod", "diod", "python3");
    let site = Site::new();
    let diod = Diod::start(&site, "d");
    site.write(
        "r.py",
        r#"
import os, sys
os.chdir(sys.argv[1]); os.mkdir('a'); os.mkdir('b')
def made(data):
    fd = os.open('a/t', os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600); os.write(fd, data); return fd
f = made(b'hello'); os.rename('a/t', 'b/u'); print(os.fstat(f).st_size, os.pread(f, 9, 0), os.write(f, b'x'), os.lseek(f, 0, os.SEEK_END))
os.ftruncate(f, 3); os.fchmod(f, 0o640); os.utime(f, (5, 6)); s = os.stat('b/u'); print(s.st_size, oct(s.st_mode), s.st_mtime, s.st_ino == os.fstat(f).st_ino)
r, w = os.pipe(); print(os.sendfile(w, f, 0, 9), os.read(r, 9))
g = made(b'new'); os.rename('a/t', 'b/u'); os.ftruncate(g, 1); print(os.fstat(g).st_size, os.stat('b/u').st_size, os.fstat(f).st_size)
l = os.open('a/log', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600); os.write(l, b'one\n'); os.system('mv a/log a/log.1'); os.write(l, b'two\n'); os.write(l, b'three\n'); print(open('a/log.1').read())
h = made(b'below'); os.rename('a', 'c'); os.fchmod(h, 0o600); print(os.fstat(h).st_size, os.stat('c/t').st_size)
"#,
    );
    let native = site.sh("mkdir $T/n; python3 $T/r.py $T/n").run();
    let inside = site.inside(&["-e", &diod.mount("/r")], "python3 $T/r.py /r").run();
    assert!(native.out().contains("5 b'hello' 1 6"), "{native}");
    inside.prints(&native.out());
}

/// A listing of names asks for names only.
#[test]
fn m17() {
    const FILES: u64 = 10_000;
    let site = Site::new();
    site.mkdir("d/big");
    for number in 0..FILES {
        std::fs::write(site.path(format!("d/big/{number}")), "").unwrap();
    }
    let served = Served::start(&site, "a", "dir $T/d");
    let list = |how: &str| {
        let before = served.counter("requests");
        // Once to count, and then often enough for the machine to be quiet once.
        let script = format!(
            r#"ls {how} /r/big | wc -l; cd /; for i in 1 2 3 4 5; do
               from=$(date +%s%N); ls {how} /r/big >/dev/null; to=$(date +%s%N)
               echo $((to - from)); done | sort -n | head -n 1"#
        );
        let told = site.inside(&["--mount", &served.address(), "/r"], &script).run().ok();
        let mut told = told.lines().map(|line| line.trim().parse::<u64>().unwrap());
        let (lines, took) = (told.next().unwrap(), told.next().unwrap());
        assert!(lines >= FILES, "{how}: {lines}");
        ((served.counter("requests") - before) / 6, took)
    };
    let (names, mut fast) = list("-fU");
    let (all, slow) = list("-l");
    for _ in 0..4 {
        if slow <= fast * 3 {
            fast = fast.min(list("-fU").1);
        }
    }
    assert!(names < FILES / 50, "{names} requests for names");
    assert!(all >= FILES, "{all} requests for attributes");
    assert!(slow > fast * 3, "{fast} ns for names, {slow} ns with attributes");
}

/// Another user is not let in, and learns so before anything runs.
#[test]
fn m26() {
    needs!("m26", "setpriv");
    if !is_root() {
        say_skipped("m26", "root");
        return;
    }
    let site = Site::new();
    site.write("d/f", "f\n");
    let served = Served::start(&site, "a", "dir $T/d");
    let words = ["--mount", &served.address(), "/r", "--", "cat", "/r/f"];
    let outcome = site.as_user(65534, "ns-exec").args(words).run();
    outcome.refuses(125, &["attach as", "does not let this user in"]);
}

/// A member that becomes another user is not let in by a server of one user: EACCES, however it is
/// reached, after which a search along PATH goes on.
#[test]
fn m26_becoming_another_user() {
    needs!("m26_becoming_another_user", "root", "setpriv");
    let site = Site::new();
    site.sh("mkdir -p $T/d/bin; cp /bin/false $T/d/bin/id").run().ok();
    let _ = site.as_user(65534, "true").run();
    std::os::unix::fs::chown(site.path("run"), Some(0), Some(0)).expect("chown");
    let servers = [
        Served::at(&site, "a", "dir $T/d", &format!("unix!{}", site.at("s"))),
        Served::at(&site, "b", "dir $T/d", "tcp!127.0.0.1!0"),
    ];
    let script = "chmod 711 $XDG_RUNTIME_DIR; export LC_ALL=C PATH=/r/bin:$PATH; id || echo root
        exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -c '
            id -u; env id -u; cat /r/bin/id'";
    for server in servers {
        let outcome = site.inside(&["--mount", &server.address(), "/r"], script).run();
        assert_eq!(outcome.out(), "root\n65534\n65534", "{outcome}");
        assert!(outcome.err().ends_with("/r/bin/id: Permission denied"), "{outcome}");
    }
}

/// A memory tree lives as long as the family, and is nobody else's.
#[test]
fn memory() {
    let site = Site::new();
    let script =
        "echo a >/m/a; mkdir /m/d; mv /m/a /m/d/b; cat /m/d/b; df /m | tail -n 1 | cut -c 1-4";
    site.inside(&["--tmpfs", "/m"], script).run().prints("a\nmem!");
    site.inside(&["--tmpfs", "/m"], "ls -A /m").run().prints("");
}

/// It knows the groups of its user, with what they may do and make.
#[test]
fn memory_knows_groups() {
    needs!("memory_knows_groups", "root", "setpriv");
    const SCRIPT: &str = "touch f; for g in 100 65533 5; do chgrp $g f 2>/dev/null; stat -c %g f; done; \
        mkdir d; chgrp 100 d; chmod 2775 d; touch d/x; stat -c %g:%a d/x d; chmod 2755 f; stat -c %a f; \
        chgrp 65533 f; stat -c %a f";
    let site = Site::new();
    let user = "setpriv --reuid 65534 --regid 65534 --groups 100,65533";
    let plain = site.mkdir("plain");
    std::os::unix::fs::chown(&plain, Some(65534), Some(65534)).expect("chown");
    let native = site.sh(&format!("cd $T/plain; exec {user} sh -c '{SCRIPT}'")).run();
    site.as_user(65534, "true").run().ok();
    let inside = format!("exec {user} $T/bin/ns-exec --tmpfs /m --chdir /m -- sh -c '{SCRIPT}'");
    site.sh(&inside).run().prints(&native.out());
}

/// Names that a server does not have can be mounted on, and those that it has.
#[test]
fn places_below_a_mount() {
    let site = Site::new();
    site.write("d/sub/f", "sub\n");
    site.write("s/f", "s\n");
    let served = Served::start(&site, "a", "dir $T/d");
    let (at, s) = (served.address(), site.at("s"));
    let options = ["--mount", &at, "/r", "--bind", &s, "/r/new/x", "--bind", &s, "/r/sub"];
    let script = "ls /r /r/new; cat /r/new/x/f /r/sub/f; cd /r/sub; pwd; cd ..; pwd; ls -d new/..";
    let want = "/r:\nnew\nsub\n\n/r/new:\nx\ns\ns\n/r/sub\n/r\nnew/..";
    site.inside(&options, script).run().prints(want);
    let options = ["--mount", &at, "/r", "--bind", "/r/sub", "/other"];
    site.inside(&options, "cat /other/f; cd /other; pwd").run().prints("sub\n/other");
}

/// A program may begin in a directory that the kernel does not have, and be one.
#[test]
fn programs_and_directories_of_a_server() {
    let site = Site::new();
    site.write("d/sub/f", "f\n");
    site.sh(
        "cp /bin/cat $T/d/cat; printf '#!/bin/sh\\necho $0 $1\\n' >$T/d/run; chmod +x $T/d/run",
    )
    .run()
    .ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let at = served.address();
    let run = |words: &[&str]| {
        let all = [&["--mount", &at, "/r"], words].concat();
        site.ns_exec().args(all).run()
    };
    run(&["--chdir", "/r/sub", "--", "cat", "f"]).prints("f");
    run(&["--chdir", "/r/sub", "--", "pwd"]).prints("/r/sub");
    run(&["--", "/r/cat", "/r/sub/f"]).prints("f");
    run(&["--", "/r/run", "x"]).prints("/r/run x");
    run(&["--setenv", "PATH", "/r:/bin", "--", "run", "y"]).prints("/r/run y");
    run(&["--", "/r/none"]).refuses(127, &["/r/none"]);
    run(&["--", "/r/sub/f"]).refuses(126, &["/r/sub/f"]);
}

/// The kernel holds what `--clear` hides from static programs too, which know nothing of the
/// namespace: here one that was started past the library.
#[test]
fn m5_enforce() {
    needs!("m5_enforce", "busybox");
    let site = Site::new();
    site.mkdir("d/bin");
    site.write("d/f", "f\n");
    site.sh("cp $(readlink -f /bin/sh) $T/d/bin/sh; cp /bin/cat $T/d/bin/cat").run().ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let address = served.address();
    let (tools, busybox) = (tools(), privns_shim_tests::which("busybox").unwrap());
    let (tools, busybox) = (tools.to_string_lossy(), busybox.to_string_lossy());
    let script = format!(
        "PATH=/bdisk1/bin; cat /bdisk1/f; b='/tools/beside {busybox}'; $b echo ran
         $b head -c 0 /etc/passwd; echo $?; cat /etc/passwd; echo $?; {busybox} echo outside; echo $?"
    );
    let run = |more: &[&str]| {
        let libraries = ["/lib", "/lib64", "/usr/lib"].map(|dir| ["--ro-bind", dir, dir]);
        let own = [["--ro-bind", &tools, "/tools"], ["--ro-bind", &busybox, &busybox]];
        let only = ["--mount", &address, "/bdisk1", "--", "/bdisk1/bin/sh", "-c", &script];
        let all = site.ns_exec().args(more).arg("--clear").args(libraries.concat());
        all.args(own.concat()).args(only).run()
    };
    let outcome = run(&["--enforce"]);
    if outcome.err().contains("of Landlock") {
        say_skipped("m5_enforce", "Landlock");
        return;
    }
    outcome.prints("f\nran\n1\n1\n126");
    assert!(outcome.err().contains("head: /etc/passwd: Permission denied"), "{outcome}");
    // Without it, whoever wants out gets out.
    run(&[]).prints("f\nran\n0\n1\n126");
    // Without the loader nothing runs, and it says why.
    let only = ["--clear", "--mount", &address, "/bdisk1", "--enforce", "--", "/bdisk1/bin/sh"];
    let refused = site.ns_exec().args(only).run();
    refused.refuses(126, &["ns-exec: /bdisk1/bin/sh: Permission denied", "bind /lib and /lib64"]);
}

/// A server that hangs, dies and comes back is noticed where it is mounted, and nowhere else.
#[test]
fn m7() {
    use rustix::process::Signal;
    let site = Site::new();
    for name in ["d/f", "e/g"] {
        site.write(name, name);
    }
    let (a, b) = (Served::start(&site, "a", "dir $T/d"), Served::start(&site, "b", "dir $T/e"));
    let address = a.address();
    let stays = "touch $T/up; until test -e $T/stop; do sleep .05; done";
    let options = ["--mount", &address, "/r", "--mount", &b.address(), "/other"];
    let member = site.inside(&options, stays).start();
    site.until("up");
    let join = |script: &str| {
        let words = ["--join", site.family(), "--", "/bin/sh", "-c", script];
        site.cmd("ns-exec").args(words).run()
    };
    join("ls /r /other").prints("/other:\ng\n\n/r:\nf");
    a.signal(Signal::STOP);
    let began = Instant::now();
    let script = "timeout -s INT 1 ns-exec --join $F -- ls /r; echo $?
        for i in 1 2 3 4 5 6 7 8; do timeout .1 ns-exec --join $F -- ls / >/dev/null && break; done; echo $?
        ns-exec --join $F -- ls /other";
    site.sh(script).run().prints("124\n0\ng");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    a.signal(Signal::KILL);
    let outcome = join("ls /r");
    assert_eq!(outcome.ending, Ending::Exit(2), "{outcome}");
    assert!(outcome.err().ends_with("Input/output error"), "{outcome}");
    join("ls /other").prints("g");
    drop(a);
    let again = Served::at(&site, "a", "dir $T/d", &address);
    assert_eq!(again.address(), address);
    join("ls /r; cat /r/f").prints("f\nd/f");
    site.write("stop", "");
    assert_eq!(member.wait(10), Ending::Exit(0));
}

/// What changes a file's status does on a server what it does natively; in the old dialects, as
/// far as they can say it.
#[test]
fn m15() {
    let site = Site::new();
    let common = "cd $R && umask 022 && echo text >f && mkdir d
        show() { stat -c '%n %A %h' $1; }; times() { show $1; stat -c '%s %Y %X' $1; }
        touch -d '2001-02-03 04:05:06' f; times f; chmod 640 f; times f; chmod u+x,o= f; show f; chmod 0 f; show f; chmod 700 f
        mv f g; test -e f || echo gone; times g; mv g d/; times d/g; mv d/g f; mv d e; show e; touch -d @86400 e; stat -c %Y e; chmod 750 e; show e
        truncate -s 100 f; stat -c %s f; truncate -s 2 f; cat f; echo; truncate -s 70000 f; cksum <f; : >f; stat -c %s f
        touch -a -d '2002-02-02' f; touch -m -d '2003-03-03' f; times f; touch -r e f; stat -c %Y f
        touch -d 2004-04-04 new; times new; chmod 600 none; mv none x; truncate -s 1 e; touch none/x; mv f e/f; mv e/f e/g; rm -r e new; ls -A";
    let linux = "; touch s; chmod 4755 s; show s; mkdir t; chmod 1777 t; show t; ln s h; show h; touch -d '2001-02-03 04:05:06.5' s; stat -c %.1Y s; ln -s s l; touch -h -d @7 l; stat -c %Y l";
    for (n, (dialect, more)) in
        [("best", linux), ("9P2000.L", linux), ("9P2000.u", ""), ("9P2000", "")].iter().enumerate()
    {
        let script = format!("{{ {common}{more}; }} 2>&1");
        let plain = site.mkdir(&format!("plain{n}"));
        let native = site.sh(&script).env("R", &plain).run();
        let dir = format!("served{n}");
        site.mkdir(&dir);
        let served = Served::start(&site, "a", &format!("dir $T/{dir}"));
        let line = format!("mount -o dialect={dialect} {} /r", served.address());
        let inside = site.inside(&["-e", &line], &script).env("R", "/r").run();
        assert_eq!(inside.out(), native.out(), "{dialect}\n{inside}\n{native}");
        assert_eq!(inside.ending, native.ending, "{dialect}\n{inside}\n{native}");
        let tree = |dir: &str| {
            let find = "find . -printf '%P %M %s %n %l\\n' | sort";
            site.sh(&format!("cd $T/{dir} && {find}")).run().ok()
        };
        assert_eq!(tree(&dir), tree(&format!("plain{n}")), "{dialect}");
    }
}

/// An open file is shared by children and the programs that they become, and forks leave no
/// fid behind.
#[test]
fn m18() {
    let site = Site::new();
    site.write("d/lines", "1\n2\n3\n4\n");
    let served = Served::start(&site, "a", "dir $T/d");
    let options = ["--mount", &served.address(), "/r"];
    let script = r#"(read a; sh -c "read b; echo \$b"; read c; echo $c) </r/lines"#;
    site.inside(&options, script).run().prints("2\n3");
    until("all is given up", || served.counter("fids") == 0);
    let forks =
        "exec 3</r/lines; read a <&3; touch $T/open; until test -e $T/seen; do sleep .02; done
        i=0; while [ $i -lt 1000 ]; do (:); i=$((i+1)); done
        touch $T/forked; until test -e $T/stop; do sleep .02; done; read b <&3; echo $a$b >$T/said";
    let member = site.inside(&options, forks).limit(60).start();
    site.until("open");
    let before = served.counter("fids");
    site.write("seen", "");
    site.until("forked");
    until("no fid is left of a fork", || served.counter("fids") <= before);
    until("nor a token", || served.counter("tokens") == 0);
    site.write("stop", "");
    assert_eq!(member.wait(20), Ending::Exit(0));
    assert_eq!(std::fs::read_to_string(site.path("said")).unwrap(), "12\n");
    until("all is given up", || served.counter("fids") == 0);
}

/// The example of a server is mounted as any other. That it is short, and what else it does, is
/// tested where it stands.
#[test]
fn m20() {
    let Some(example) = example("generated") else {
        say_skipped("m20", "the example `generated` of privns-servers");
        return;
    };
    let site = Site::new();
    let address = format!("exec!{}", example.display());
    let script = "ls /n | wc -l; cat /n/12 /n/100; cat /n/101; stat -c '%A %s' /n /n/7; echo x >/n/7; rm /n/7; mkdir /n/d
        grep -l '^81$' /n/*; find /n -type f -size -4c | wc -l; cd /n; cksum <12; cp 12 $T/copy; cat $T/copy";
    let outcome = site.inside(&["--mount", &address, "/n"], script).run();
    let want = "100\n144\n10000\ndr-xr-xr-x 0\n-r--r--r-- 3\n/n/9\n9\n3076352578 4\n144";
    let sum = site.sh("echo 144 | cksum").run().ok();
    outcome.prints(&want.replace("3076352578 4", &sum));
    let said = outcome.err();
    assert_eq!(said.matches("Read-only file system").count(), 3, "{outcome}");
    assert!(said.contains("/n/101: No such file"), "{outcome}");
}

/// Sixteen threads in one file beyond 4 GiB, most of which is a hole.
#[test]
fn m28() {
    needs!("m28", "python3");
    let site = Site::new();
    site.mkdir("d");
    let served = Served::start(&site, "a", "dir $T/d");
    let script = r#"exec python3 - <<'P'
import os, threading, sys
G = 1 << 30; M = 1 << 20; p = '/r/big'
fd = os.open(p, os.O_RDWR | os.O_CREAT)
bad = []
def work(n):
    try:
        at, data = 5 * G + n * M, bytes([n + 1]) * M
        for i in range(0, M, 65536): assert os.pwrite(fd, data[i:i + 65536], at + i) == 65536
        with open(p, 'r+b') as own:
            own.seek(at); assert own.read(M) == data; own.seek(at + 7); own.write(b'own'); own.flush()
            assert os.pread(fd, 5, at + 6) == data[:1] + b'own' + data[:1]
        for i in range(50): os.stat(p); os.listdir('/r'); open(f'/r/t{n}', 'w').write('x' * n); assert os.path.getsize(f'/r/t{n}') == n
    except BaseException as e: bad.append((n, repr(e)))
threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
[t.start() for t in threads]; [t.join() for t in threads]
print(bad, os.fstat(fd).st_size == 5 * G + 16 * M, os.pread(fd, 4, 3 * G), os.lseek(fd, -5, 2) - 5 * G, os.read(fd, 9))
os.lseek(fd, 4 * G - 2, 0); os.write(fd, b'edge'); print(os.pread(fd, 6, 4 * G - 3))
os.ftruncate(fd, 6 * G); print(os.stat(p).st_size // G, os.pread(fd, 3, 6 * G - 2))
P"#;
    let want = r"[] True b'\x00\x00\x00\x00' 16777211 b'\x10\x10\x10\x10\x10'
b'\x00edge\x00'
6 b'\x00\x00'";
    for dialect in ["best", "9P2000.L", "9P2000.u", "9P2000"] {
        let line = format!("mount -o dialect={dialect} {} /r", served.address());
        site.inside(&["-e", &line], script).limit(60).run().prints(want);
        let big = "stat -c %s $T/d/big; tail -c +5368709121 $T/d/big | head -c 3 | od -An -tx1; du -k $T/d/big | cut -f 1";
        let told = site.sh(big).run().ok();
        let lines: Vec<&str> = told.lines().map(str::trim).collect();
        assert_eq!(lines[..2], ["6442450944", "01 01 01"], "{told}");
        assert!(lines[2].parse::<u64>().unwrap() < 100 << 10, "{told}");
        site.sh("rm $T/d/*").run().ok();
    }
    site.inside(&["--tmpfs", "/r"], script).limit(60).run().prints(want);
}

/// A server's files have no handles and cannot be swapped to: refused as by a file system
/// that is so, after what is wrong with the name.
#[test]
fn files_without_handles() {
    needs!("files_without_handles", "cc");
    let site = Site::new();
    site.write("d/f", "f\n");
    site.write(
        "handles.c",
        r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/swap.h>
int main(int argc, char **argv)
{
    struct file_handle handle = { 0 };
    int mount, first = name_to_handle_at(AT_FDCWD, argv[1], &handle, &mount, 0) ? errno : 0;
    printf("%s %s\n", strerrorname_np(first), swapon(argv[1], 0) ? strerrorname_np(errno) : "0");
    return 0;
}
"#,
    );
    site.sh("cc -o $T/handles $T/handles.c").run().ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let script = "$T/handles /r/f; $T/handles /r/none; $T/handles /r/f/x; cd /r; $T/handles f";
    let outcome = site.inside(&["--mount", &served.address(), "/r"], script).run();
    let swap = |root: &'static str| if is_root() { root } else { "EPERM" };
    let (there, none, below) = (swap("EINVAL"), swap("ENOENT"), swap("ENOTDIR"));
    outcome
        .prints(&format!("EOPNOTSUPP {there}\nENOENT {none}\nENOTDIR {below}\nEOPNOTSUPP {there}"));
}
