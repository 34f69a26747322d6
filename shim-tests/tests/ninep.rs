//! The rows of the acceptance list that mount 9P servers: m* are the features of
//! Minnich's article, with this workspace's own servers.

use privns_shim_tests::{Ending, Running, Site, is_root, needs, say_skipped};
use std::time::{Duration, Instant};

/// A running `ns-serve` on a port of loopback, ended with the test.
struct Served<'s> {
    site: &'s Site,
    name: &'static str,
    running: Running,
}

impl<'s> Served<'s> {
    /// `ns-serve` with these words; what it prints goes to a file of the site's.
    fn start(site: &'s Site, name: &'static str, what: &str) -> Served<'s> {
        let script = format!("exec ns-serve {what} --listen tcp!127.0.0.1!0 >$T/{name}.said");
        let running = site.sh(&script).start();
        let served = Served { site, name, running };
        until("the server listens", || !served.said().is_empty());
        served
    }

    /// The lines that it has printed.
    fn said(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.site.path(format!("{}.said", self.name)));
        let text = text.unwrap_or_default();
        // A line that is just being written is not said yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    fn address(&self) -> String {
        self.said()[0].clone()
    }

    /// A counter of the line that SIGUSR1 prints.
    fn counter(&self, name: &str) -> u64 {
        let before = self.said().len();
        let pid = i32::try_from(self.running.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::USR1).unwrap();
        until("the counters are printed", || self.said().len() > before);
        let line = self.said().pop().unwrap();
        let found = line.split(", ").find_map(|c| c.strip_prefix(&format!("{name} ")));
        found.unwrap_or_else(|| panic!("{name} in {line}")).parse().unwrap()
    }
}

#[track_caller]
fn until(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

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
        read y <&5; exec 5<&-; echo $x$y >$T/said; until test -e $T/stop; do sleep .02; done";
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
        read a <&5; read b <&6; exec 5<&- 6<&-; echo $a$b >$T/said; until test -e $T/stop; do sleep .05; done";
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
    let (names, fast) = list("-fU");
    let (all, slow) = list("-l");
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

/// A memory tree lives as long as the family, and is nobody else's.
#[test]
fn memory() {
    let site = Site::new();
    let script =
        "echo a >/m/a; mkdir /m/d; mv /m/a /m/d/b; cat /m/d/b; df /m | tail -n 1 | cut -c 1-4";
    site.inside(&["--tmpfs", "/m"], script).run().prints("a\nmem!");
    site.inside(&["--tmpfs", "/m"], "ls -A /m").run().prints("");
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
