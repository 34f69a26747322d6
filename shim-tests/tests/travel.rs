//! Servers that are found by name, those that want a proof, and those that stop: as programs
//! meet them.

use privns_shim_tests::{Cmd, Ending, Running, Site, is_root, needs, say_skipped, which};
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// A port of loopback that nobody had a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("an address").port()
}

/// `ns-serve` with these words; what it prints goes to a file of the site's.
fn serve(site: &Site, name: &str, words: &str) -> (Running, String) {
    serve_as(site.sh(&format!("exec ns-serve {words} >$T/{name}.said")), site, name)
}

fn serve_as(command: Cmd, site: &Site, name: &str) -> (Running, String) {
    let running = command.start();
    let said = || std::fs::read_to_string(site.path(format!("{name}.said"))).unwrap_or_default();
    let start = Instant::now();
    while !said().ends_with('\n') {
        assert!(start.elapsed() < Duration::from_secs(10), "{name} says no address");
        std::thread::sleep(Duration::from_millis(10));
    }
    (running, said().trim().to_owned())
}

/// A munged with a key of the site's own, and a directory with a `munge` and an `unmunge`
/// that speak to it; `None`, said aloud, where there is none.
fn munge(site: &Site, test: &str) -> Option<Running> {
    if !is_root() || which("munged").is_none() || which("unmunge").is_none() {
        say_skipped(test, "root and munge");
        return None;
    }
    let script = r#"mkdir -m 755 $T/munge; cd $T/munge; head -c 64 /dev/urandom >key; chmod 400 key; chmod 755 $T
        for p in munge unmunge; do printf '#!/bin/sh\nexec /usr/bin/%s --socket=%s "$@"\n' $p $PWD/socket >$p; chmod 755 $p; done
        exec munged --foreground --force --key-file=$PWD/key --socket=$PWD/socket --pid-file=$PWD/pid --log-file=$PWD/log --seed-file=$PWD/seed >/dev/null 2>&1"#;
    let daemon = site.sh(script).start();
    site.sh("until $T/munge/munge -n >/dev/null 2>&1; do sleep .05; done").limit(20).run().ok();
    Some(daemon)
}

/// The search path that has them first.
fn with_munge(site: &Site, command: Cmd) -> Cmd {
    let path = format!(
        "{}:{}:/usr/sbin:/usr/bin:/bin",
        site.at("munge"),
        privns_shim_tests::bins().dir.display()
    );
    command.env("PATH", path)
}

/// The directory of servers on its own port, with a server that wants MUNGE: looked at, used,
/// several as one, with names that lead nowhere.
#[test]
fn m25() {
    if TcpListener::bind("127.0.0.1:4349").is_err() {
        say_skipped("m25", "port 4349 free");
        return;
    }
    let site = Site::new();
    site.write("d/f", "home\n");
    let (_directory, directory) = serve(&site, "directory", "registry --listen tcp!127.0.0.1!4349");
    assert_eq!(directory, "tcp!127.0.0.1!4349");
    let Some(_munged) = munge(&site, "m25") else { return };
    let words = "dir $T/d --listen tcp!127.0.0.1!0 --auth munge --announce @127.0.0.1/home";
    let home = with_munge(&site, site.sh(&format!("exec ns-serve {words} >$T/home.said")));
    let (_home, home) = serve_as(home, &site, "home");
    let inside = |options: &[&str], script: &str| with_munge(&site, site.inside(options, script));
    inside(&["--mount", &directory, "/dir"], "cat /dir/home; ls /dir")
        .run()
        .prints(&format!("{home} munge\nhome"));
    inside(&["--mount", "@127.0.0.1/home", "/r"], "cat /r/f").run().prints("home");
    // Without a credential, or with another key's, nobody gets in.
    let plain = site.inside(&["--mount", &home, "/r"], "cat /r/f").env("PATH", "/usr/bin:/bin");
    assert_eq!(plain.run().ending, Ending::Exit(125));
    // Entries by hand; one whose server is gone.
    let dead = free_port();
    let write = format!(
        "echo 'tcp!127.0.0.1!{dead} uid' >/dir/gone; echo rubbish >/dir/rubbish; echo @127.0.0.1/loop >/dir/loop"
    );
    inside(&["--mount", &directory, "/dir"], &write).run().ok();
    for (name, why) in [
        ("gone", "Connection refused"),
        ("rubbish", "no entry"),
        ("loop", "for ever"),
        ("none", "No such file"),
    ] {
        let address = format!("@127.0.0.1/{name}");
        inside(&["--mount", &address, "/r"], "echo ran").run().refuses(125, &[why]);
    }
    // Another port, and two as one.
    let (_second, second) = serve(&site, "second", "registry --listen tcp!127.0.0.1!0");
    let port = second.rsplit('!').next().expect("a port");
    let announce = format!("mem --listen tcp!127.0.0.1!0 --announce @127.0.0.1!{port}/scratch");
    let (_mem, _) = serve(&site, "mem", &announce);
    let named = format!("@127.0.0.1!{port}/scratch");
    inside(&["--mount", &named, "/m"], "echo x >/m/f; cat /m/f").run().prints("x");
    let both = ["--mount", &directory, "/dir", "--mount-after", &second, "/dir"];
    inside(&both, "ls /dir").run().prints("gone\nhome\nloop\nrubbish\nscratch");
    let either = format!("@127.0.0.3,127.0.0.1!{port}/scratch");
    inside(&["--mount", &either, "/m"], "cat /m/f").run().prints("x");
}

/// A registry that is reached by TLS, and not without; its servers too. Nothing of the keys,
/// and no credential of MUNGE, is where others look.
#[test]
fn d4_tls_and_secrets() {
    behind_a_key("");
}

/// The same by a key that both ends have.
#[test]
fn d4_tls_and_secrets_by_a_shared_key() {
    behind_a_key("--psk");
}

fn behind_a_key(how: &str) {
    let site = Site::new();
    site.write("d/f", "behind\n");
    site.sh(&format!("ns-serve keygen lab {how} >/dev/null")).run().ok();
    let keys = site.sh("echo ${XDG_CONFIG_HOME:-$HOME/.config}/privns/tls").run().ok();
    let (_directory, directory) =
        serve(&site, "directory", "registry --listen tls!127.0.0.1!0 --auth tls");
    let port = directory.rsplit('!').next().expect("a port").to_owned();
    let at = format!("@tls!127.0.0.1!{port}/lab");
    let (_dir, address) = serve(
        &site,
        "dir",
        &format!("dir $T/d --listen tcp!127.0.0.1!0 --auth tls --announce {at}"),
    );
    let munged = munge(&site, "secrets of munge");
    let proven = munged.as_ref().map(|_| {
        let words = "exec ns-serve mem --listen tcp!127.0.0.1!0 --auth munge >$T/proven.said";
        serve_as(with_munge(&site, site.sh(words)), &site, "proven")
    });
    let mut options = vec!["--mount", &directory, "/dir", "--mount", &at, "/r"];
    if let Some((_, proven)) = &proven {
        options.extend(["--mount", proven, "/m"]);
    }
    let script = r#"cat /dir/lab /r/f; echo x >/m/x 2>/dev/null; cd /
        (ns; ns --json; ns stat --json; ns-exec --dump; ns-exec --dump=json; ns-exec --dump=token) >$T/carried
        cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ >>$T/carried 2>/dev/null; true"#;
    let log = format!("debug:{}", site.at("said.log"));
    let command = with_munge(&site, site.inside(&options, script)).env("PRIVNS_LOG", log);
    command.run().prints(&format!("{address} tls\nbehind"));
    // Each line of the keys, and what a credential begins with.
    let script = format!(
        "cat $T/carried $T/said.log $T/*.said >$T/all; test $(wc -c <$T/all) -gt 1000
         grep -h '^[A-Za-z0-9+/=]*$' {keys}/*.client {keys}/*.server >$T/secrets 2>/dev/null
         sed -n 's/^privns-psk-1 //p' {keys}/*.psk >>$T/secrets 2>/dev/null; test $(wc -c <$T/secrets) -gt 60 || echo none
         grep -a -c -F -f $T/secrets $T/all; grep -a -c 'MUNGE:A' $T/all; grep -a -c lab $T/all >/dev/null && echo some"
    );
    assert_eq!(site.sh(&script).run().out(), "0\n0\nsome");
    // Plainly, and with another's key: nothing weaker is tried.
    let plain = format!("@127.0.0.1!{port}/lab");
    assert_eq!(site.inside(&["--mount", &plain, "/r"], "echo ran").run().ending, Ending::Exit(125));
    for other in ["", "--psk"] {
        let other = format!(
            "XDG_CONFIG_HOME=$T/other{other}; export XDG_CONFIG_HOME; ns-serve keygen lab {other} >/dev/null; exec ns-exec --mount {at} /r -- echo ran"
        );
        site.sh(&other).limit(20).run().refuses(125, &["key lab"]);
    }
    let none = format!("XDG_CONFIG_HOME=$T/none exec ns-exec --mount {at} /r -- echo ran");
    site.sh(&none).run().refuses(125, &["no key"]);
}

/// Two families, each of its own, with a tree between them that only a shared key opens. The server's
/// user keeps the key under another name than the client does.
#[test]
fn two_namespaces_by_a_shared_key() {
    needs!("two_namespaces_by_a_shared_key", "python3", "tar", "make");
    let site = Site::new();
    site.write("d/Makefile", "all:\n\tcat one two >part\n\tmv part both\n");
    let made = "export XDG_CONFIG_HOME=$T/there; ns-serve keygen office --psk >/dev/null
        ns-serve keygen unused --psk >/dev/null
        mkdir -p -m 700 $HOME/.config/privns/tls; cp -p $T/there/privns/tls/office.psk $HOME/.config/privns/tls/127.0.0.1.psk";
    site.sh(made).run().ok();
    let words = "export XDG_CONFIG_HOME=$T/there; exec ns-serve dir $T/d --listen tls!127.0.0.1!0 --auth tls >$T/dir.said";
    let (_dir, address) = serve_as(site.sh(words), &site, "dir");
    let mount = ["--mount", &address, "/r"];
    let writes = "cd /r; python3 -c 'open(\"one\",\"w\").write(\"1\\n\" * 100000)'; seq 5 >two; touch done
        until test -e both; do sleep .05; done; wc -l <both; mkdir t; tar cf - one two | tar xf - -C t; cmp one t/one && echo same";
    let other = Site::new();
    let home = site.path("home");
    let reads = "cd /r; until test -e done; do sleep .05; done; make -s && tail -1 both; cp both /m/copy; cmp both /m/copy && echo alike";
    let reader = other.inside(&["--tmpfs", "/m", "--mount", &address, "/r"], reads);
    let reader = reader.env("HOME", home).limit(30);
    let writer = std::thread::scope(|scope| {
        let writer = scope.spawn(|| site.inside(&mount, writes).limit(30).run());
        reader.run().prints("5\nalike");
        writer.join().expect("the writer")
    });
    writer.prints("100005\nsame");
    // Others can read it: not used. Too short: no key.
    let bad = format!(
        "cd $HOME/.config/privns/tls; chmod 644 *.psk; ns-exec --mount {address} /r -- echo ran
         chmod 600 *.psk; sed -i s/..$// *.psk; ns-exec --mount {address} /r -- echo ran; true"
    );
    let said = site.sh(&bad).run();
    assert!(said.out().is_empty() && said.err().contains("others can read it"), "{said}");
    assert!(said.err().contains("no key of this version"), "{said}");
}

/// A server that answers and then stops: who uses it hears so in the time that was given it,
/// and nobody else is kept waiting.
#[test]
fn a_server_that_stops() {
    let site = Site::new();
    site.write("d/f", "f\n");
    let (stops, address) = serve(&site, "stops", "dir $T/d --listen tcp!127.0.0.1!0");
    let (_other, other) = serve(&site, "other", "dir $T/d --listen tcp!127.0.0.1!0");
    let line = format!("mount -o timeout=2,cache=none {address} /r");
    let pid = stops.pid();
    let script = format!(
        "cat /r/f; kill -STOP {pid}; s=$(date +%s%N); cat /r/f 2>$T/why; echo $?
         t=$((($(date +%s%N) - s) / 1000000)); cat /o/f; test $t -lt 8000 && echo bounded || echo $t
         s=$(date +%s%N); ls /r/x 2>/dev/null; test $((($(date +%s%N) - s) / 1000000)) -lt 8000 && echo bounded
         kill -CONT {pid}; sleep .1; cat /r/f"
    );
    let outcome = site.inside(&["-e", &line, "--mount", &other, "/o"], &script).limit(60).run();
    let said = outcome.out();
    assert!(said.starts_with("f\n1\nf\nbounded\nbounded"), "{outcome}");
    assert!(said.ends_with("bounded\nf"), "it serves again: {outcome}");
    // Before anything is run.
    let stop = |signal: &str| site.sh(&format!("kill -{signal} {pid}")).run().ok();
    stop("STOP");
    let start = Instant::now();
    let refused = site.inside(&["-e", &line], "echo ran").run();
    stop("CONT");
    assert_eq!((refused.ending, refused.out().as_str()), (Ending::Exit(125), ""), "{refused}");
    assert!(start.elapsed() < Duration::from_secs(8), "{refused}");
}

/// A host that takes a connection and says nothing: whoever asks hears so in bounded time, and
/// nothing is run, whatever the way there.
#[test]
fn silence_is_not_waited_for() {
    let site = Site::new();
    site.sh("ns-serve keygen lab --psk >/dev/null; mkdir $T/fake").run().ok();
    site.write("fake/ssh", "#!/bin/sh\nexec sleep 60\n");
    site.sh("chmod 755 $T/fake/ssh").run().ok();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = tcp.local_addr().expect("an address").port();
    let _unix = std::os::unix::net::UnixListener::bind(site.path("silent")).expect("bind");
    let mount =
        |address: &str| format!("ns-exec -e \"mount -o timeout=2 '{address}' /r\" -- echo ran");
    let ssh = format!("ssh -p {port} -oStrictHostKeyChecking=no -oBatchMode=yes");
    let on = format!(
        "printf '#!/bin/sh\nexec /usr/bin/{ssh} \"$@\"\n' >$T/ssh; chmod 755 $T/ssh; PATH=$T:$PATH ns-exec --on ssh!nobody@127.0.0.1 -- echo ran"
    );
    let mut ways = vec![
        (mount(&format!("tcp!127.0.0.1!{port}")), 8, 125),
        (mount(&format!("unix!{}", site.at("silent"))), 8, 125),
        (mount(&format!("tls!127.0.0.1!{port}")), 8, 125),
        (mount("exec!exec sleep 60"), 8, 125),
        (format!("PATH=$T/fake:$PATH {}", mount("ssh!there!/srv")), 8, 125),
        (mount(&format!("@127.0.0.1!{port}/x")), 15, 125),
        (mount(&format!("@tls!127.0.0.1!{port}/x")), 15, 125),
        (format!("ns-serve mem --listen tcp!127.0.0.1!0 --announce @127.0.0.1!{port}/x"), 18, 1),
    ];
    match which("ssh") {
        Some(_) => ways.push((on, 40, 255)),
        None => say_skipped("silence of ssh", "ssh"),
    }
    std::thread::scope(|scope| {
        for (script, limit, status) in &ways {
            let site = &site;
            scope.spawn(move || {
                let start = Instant::now();
                let said = site.sh(script).limit(60).run();
                assert_eq!(
                    (said.ending, said.out().as_str()),
                    (Ending::Exit(*status), ""),
                    "{script}: {said}"
                );
                assert!(said.err().to_lowercase().contains("timed out"), "{script}: {said}");
                assert!(
                    start.elapsed() < Duration::from_secs(*limit),
                    "{script}: {:?}",
                    start.elapsed()
                );
            });
        }
    });
}

/// A user's programs in a container have no number of a process here, and are the user's all the
/// same; another's are not.
#[test]
fn m26_from_another_pid_namespace() {
    needs!("m26_from_another_pid_namespace", "root", "unshare");
    let site = Site::new();
    let (_mem, unix) = serve(&site, "mem", "mem --listen unix!$T/socket");
    let (_tcp, tcp) = serve(&site, "tcp", "mem --listen tcp!127.0.0.1!0");
    for address in [&unix, &tcp] {
        let inside = "unshare -p -f --mount-proc ns-exec --mount";
        let script = format!("{inside} {address} /m -- sh -c 'echo x >/m/x; cat /m/x'; ns reap");
        site.sh(&script).run().prints("x");
        let other = site.as_user(65534, "unshare").args(["-U", "-p", "-f", "ns-exec", "--mount"]);
        let other = other.args([address, "/m", "--", "echo", "ran"]).run();
        assert_ne!(other.ending, Ending::Exit(0), "{other}");
        assert_eq!(other.out(), "", "{other}");
    }
    // A server in a container, and its user's programs outside.
    let words = "exec unshare -p -f --kill-child --mount-proc ns-serve mem --listen unix!$T/within >$T/within.said";
    let (_within, within) = serve_as(site.sh(words), &site, "within");
    site.inside(&["--mount", &within, "/m"], "echo y >/m/y; cat /m/y").run().prints("y");
}

/// Who may reach a server: the same machine and user, unless more is said.
#[test]
fn m26_who_listens_where() {
    let site = Site::new();
    for (words, why) in [
        ("mem --listen tcp!0.0.0.0!0", "loopback"),
        ("mem --listen 'tcp!*!0'", "loopback"),
        ("mem --listen tcp!0.0.0.0!0 --auth uid", "loopback"),
        ("mem --listen tcp!!0 --auth none", "tcp!!0"),
        ("mem", "--listen"),
    ] {
        let refused = site.sh(&format!("exec timeout 10 ns-serve {words}")).run();
        assert!(matches!(refused.ending, Ending::Exit(1 | 2)), "{words}: {refused}");
        assert!(refused.err().contains(why), "{words}: {refused}");
    }
    let (_open, open) = serve(&site, "open", "mem --listen tcp!0.0.0.0!0 --auth none");
    let open = open.replace("0.0.0.0", "127.0.0.1");
    site.inside(&["--mount", &open, "/m"], "echo x >/m/x; cat /m/x").run().prints("x");
    needs!("m26_another_user", "setpriv", "root");
    let other = site.as_user(65534, "ns-exec").args(["--mount", &open, "/m", "--", "cat", "/m/x"]);
    other.run().prints("x");
    for words in ["mem --listen tcp!127.0.0.1!0", "mem --listen unix!$T/socket"] {
        let (_closed, closed) = serve(&site, "closed", words);
        site.sh("chmod 755 $T; chmod 777 $T/socket 2>/dev/null; rm -f $T/closed.said").run();
        let other = site.as_user(65534, "ns-exec");
        let other = other.args(["--mount", &closed, "/m", "--", "echo", "ran"]).run();
        assert_eq!((other.ending, other.out().as_str()), (Ending::Exit(125), ""), "{other}");
    }
}
