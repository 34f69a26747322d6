//! `ns-exec --on`, with a real sshd: what goes through, how it ends, and that nothing stays
//! on either side.

use privns_shim_tests::{Cmd, Ending, Site, Sshd, bins, needs};
use std::time::{Duration, Instant};

/// The other machine, and this one's `ssh`, which finds it.
struct Far<'s> {
    site: &'s Site,
    sshd: Sshd<'s>,
}

fn site() -> Site {
    let site = Site::new();
    let bin = site.mkdir("bin");
    for name in ["ns-exec", "ns", "ns-serve", "libprivns.so"] {
        std::fs::copy(bins().dir.join(name), bin.join(name)).expect("copy");
    }
    site.sh("chmod 755 $T $T/bin; mkdir -m 1777 $T/out").run().ok();
    site
}

impl<'s> Far<'s> {
    fn new(site: &'s Site) -> Far<'s> {
        let path = format!("PATH={}:/usr/bin:/bin", site.at("bin"));
        let sshd = Sshd::start(site, 1, ["--env", &path]);
        let ssh = format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", sshd.config().display());
        site.write("bin/ssh", ssh);
        site.sh("chmod 755 $T/bin/ssh").run().ok();
        Far { site, sshd }
    }

    fn place(&self) -> String {
        format!("ssh!{}@nshost", self.sshd.user(0))
    }

    /// A script here, with `$H` as the place.
    fn here(&self, script: &str) -> Cmd {
        let path = format!("{}:/usr/bin:/bin", self.site.at("bin"));
        self.site.sh(script).env("PATH", path).env("H", self.place()).limit(60)
    }

    /// What is left: processes of the user's and of this site's, sockets, entries.
    fn left(&self) -> String {
        let script = format!(
            "ps -u {} -o stat=,args= | grep -v -e ^Z -e sshd; ls -d /tmp/.privns-from-*; \
             ls -A $T/run; true",
            self.sshd.user(0)
        );
        self.site.sh(&script).run().ok()
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        let start = Instant::now();
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "left behind:\n{left}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn on_what_goes_through() {
    needs!("on_what_goes_through", [Sshd::NEEDS]);
    let site = site();
    let far = Far::new(&site);
    let user = far.sshd.user(0);
    far.here("ns-exec --on $H --tmpfs /m -- sh -c 'id -un; echo x >/m/f; cat /m/f'")
        .run()
        .prints(&format!("{user}\nx"));
    // Bytes of every kind, both ways, and as arguments.
    let script = r#"head -c 1000000 /dev/urandom >$T/blob
        ns-exec --on $H -- cat <$T/blob | cmp - $T/blob && echo same
        ns-exec --on $H -- sh -c 'cat >&2' <$T/blob 2>&1 >/dev/null | cmp - $T/blob && echo same
        w=$(printf 'a\nb \377\001\\ "$x" '"'"'!'); ns-exec --on $H -- printf %s "$w" "" | od -c >$T/1
        printf %s "$w" | od -c | cmp - $T/1 && echo same"#;
    far.here(script).run().prints("same\nsame\nsame");
    let script = "for s in 'exit 7' 'kill -TERM $$' 'kill -KILL $$'; do ns-exec --on $H -- sh -c \"$s\"; echo $?; done
        ns-exec --on $H -- /not/there 2>/dev/null; echo $?; ns-exec --on $H --bind /not/there /x true 2>/dev/null; echo $?";
    far.here(script).run().prints("7\n143\n137\n127\n125");
    far.nothing_is_left();
}

#[test]
fn on_export() {
    needs!("on_export", [Sshd::NEEDS]);
    let site = site();
    site.write("only/here/f", "here\n");
    site.write("only/file", "file\n");
    site.sh("chmod 700 $T/only").run().ok();
    let far = Far::new(&site);
    // Nobody but us gets to them, here or there.
    let script = r#"ns-exec --on $H --export --bind $T/only/here /d --bind $T/only/file /d/file --ro-bind $T/only/here /ro -- sh -c '
        cat /d/f /d/file /ro/f; echo there >/d/new; echo more >>/d/file; echo no >/ro/no; ls /d; ls -d /tmp/.privns-from-* /.privns-server
        stat -c %U /d/f' 2>&1; cat $T/only/here/new $T/only/file"#;
    let user = far.sshd.user(0);
    let outcome = far.here(script).run();
    let want = [
        "here\nfile\nhere",
        "cannot create /ro/no: Read-only file system",
        "f\nfile\nnew",
        "ls: cannot access '/tmp/.privns-from-*': No such file or directory",
        "ls: cannot access '/.privns-server': No such file or directory",
        user,
        "there\nfile\nmore",
    ];
    let said = outcome.out();
    for part in want {
        assert!(said.contains(part), "{part}\n{outcome}");
    }
    let bound = far.here("ns-exec --on $H --bind $T/only/here /d -- true").run();
    // It is the other machine's name that counts without --export.
    assert_eq!(bound.ending, Ending::Exit(125), "{bound}");
    far.nothing_is_left();
}

/// What is started there is a family of its own: it lists its members and those on machines whose
/// /proc it has, its starter lists none of them.
#[test]
fn on_who_is_listed() {
    needs!("on_who_is_listed", [Sshd::NEEDS]);
    let site = site();
    let far = Far::new(&site);
    let there = "sleep 7772 & until test -e $T/out/done; do sleep .05; done
        ns ps | grep -o 'sleep 777[0-9]'; kill $!";
    site.write("there", there.replace("$T", &site.at("")));
    let family = "sleep 7771 & here=$!
        ns-exec --on $H --mount unix!$T/out/proc /proc/third -- sh $T/there & sleep 1
        ns ps | grep -o 'sleep 777[0-9]'; touch $T/out/done; wait $!; kill $here";
    site.write("family", family);
    let script =
        "ns-serve dir /proc --ro --auth none --listen unix!$T/out/proc >$T/said & server=$!
        until test -s $T/said; do sleep .05; done; chmod 777 $T/out/proc
        ns-exec -e '' -- sh $T/family; kill $server";
    far.here(script).run().prints("sleep 7771\nsleep 7772");
    far.nothing_is_left();
}

/// Whatever ends `ns-exec` ends the connection, and the program there is hung up on; whatever
/// ends what is there ends `ns-exec`.
#[test]
fn on_how_it_ends() {
    needs!("on_how_it_ends", [Sshd::NEEDS]);
    let site = site();
    site.write("src/f", "f\n");
    let far = Far::new(&site);
    let program =
        "trap 'echo hup >$T/out/hup; exit' HUP; echo $$ >$T/out/pid; sleep 60 & wait; wait";
    let program = program.replace("$T", &site.at(""));
    for signal in ["TERM", "HUP", "KILL"] {
        let script = format!(
            r#"rm -f $T/out/*; ns-exec --on $H --export --bind $T/src /d -- sh -c "$P" & 
            until test -s $T/out/pid; do sleep .05; done; kill -{signal} $!; wait $! 2>/dev/null
            until test -s $T/out/hup; do sleep .05; done; cat $T/out/hup"#
        );
        far.here(&script).env("P", &program).run().prints("hup");
        far.nothing_is_left();
    }
    // There: the process in front of the program.
    let script = r#"rm -f $T/out/*; ns-exec --on $H --export --bind $T/src /d -- sh -c "echo \$\$ >$T/out/pid; exec sleep 60" &
        until test -s $T/out/pid; do sleep .05; done
        kill -KILL $(ps -o ppid= -p $(cat $T/out/pid)); wait $!; echo $?"#;
    far.here(script).run().prints("255");
    far.nothing_is_left();
}

/// A terminal here is one there: its size, what is typed, and the shell's jobs.
#[test]
fn on_a_terminal() {
    needs!("on_a_terminal", [Sshd::NEEDS], "/usr/bin/python3");
    let site = site();
    let far = Far::new(&site);
    site.write("terminal.py", TERMINAL);
    let outcome = far.here("exec /usr/bin/python3 $T/terminal.py \"$H\"").limit(90).run();
    outcome.prints("33 77\nint\nstatus 5\n40 90\nstatus 6\nstopped\nstatus 9");
    far.nothing_is_left();
}

/// Types once it has seen what it waits for.
const TERMINAL: &str = r#"
import fcntl, os, pty, select, signal, struct, sys, termios, time
def size(fd, lines, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', lines, columns, 0, 0))
def run(words, steps):
    pid, fd = pty.fork()
    if pid == 0:
        size(0, 33, 77)
        os.execvp('ns-exec', ['ns-exec', '--on', sys.argv[1], '--'] + words)
    seen, end, last = b'', time.time() + 20, False
    for wait, say, act in steps + [(None, None, None)]:
        while wait is None or wait not in seen:
            if not select.select([fd], [], [], max(0, end - time.time()))[0]:
                os.kill(pid, 9); sys.exit(f'waited for {wait}: {seen}')
            try: more = os.read(fd, 4096)
            except OSError: more = b''
            if not more and wait is None: break
            if not more: sys.exit(f'ended before {wait}: {seen}')
            seen += more
        if wait is None: break
        seen = seen.split(wait, 1)[1]
        if say: print(say, flush=True)
        if callable(act): act(pid, fd)
        elif act: os.write(fd, act)
    print('status', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
def smaller(pid, fd):
    size(fd, 40, 90); os.kill(pid, signal.SIGWINCH)
def stop(pid, fd):
    time.sleep(.5); os.write(fd, b'\x1a')
# Whenever a signal comes, between two commands or in the middle of one, the shell's trap is next.
run(['sh', '-c', 'stty size; trap "echo in\'\'t; exit 5" INT; echo ready; while :; do sleep .1; done'],
    [(b'33 77', '33 77', None), (b'ready', None, b'\x03'), (b'int', 'int', None)])
run(['bash', '-c', 'trap "stty size; exit 6" WINCH; echo ready; while :; do sleep .1; done'],
    [(b'ready', None, smaller), (b'40 90', '40 90', None)])
run(['bash', '--norc', '-i'], [(b'$ ', None, b'sleep 60\n'), (b'sleep 60', None, stop),
    (b'Stopped', 'stopped', None), (b'$ ', None, b'kill -9 %1; sleep .5; exit 9\n')])
"#;
