//! Remote files behind descriptors: redirections, streams, what is shared over fork and exec,
//! locks, mappings, programs, and a server that goes and comes back. What programs print on a 9P
//! server's files is what they print in a plain directory.

use privns_shim_tests::{Ending, Outcome, Running, Site, bins, tools};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A server, ended with the value.
struct Server {
    running: Option<Running>,
    socket: PathBuf,
    report: PathBuf,
}

impl Server {
    /// `ns-serve dir` on a directory of the site.
    fn of(site: &Site, dir: &str) -> Server {
        let (socket, report) = (site.path("socket"), site.path("report"));
        let _ = std::fs::remove_file(&socket);
        let script = "exec \"$0\" dir \"$1\" --listen \"unix!$2\" >>\"$3\"";
        let serve = bins().ns_exec().with_file_name("ns-serve");
        let words = [serve.as_path(), &site.mkdir(dir), &socket, &report];
        let running = site.cmd("/bin/sh").args(["-c", script]).args(words).start();
        let server = Server { running: Some(running), socket, report };
        server.until(|| UnixStream::connect(&server.socket).is_ok());
        server
    }

    fn until(&self, ready: impl Fn() -> bool) {
        let began = Instant::now();
        while !ready() {
            assert!(began.elapsed() < Duration::from_secs(10), "waited too long for the server");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.running.as_ref().expect("it runs").pid();
        let pid = rustix::process::Pid::from_raw(pid as i32).expect("a number");
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    /// The last line that it says of itself, asked until it has no connection left.
    fn left(&self) -> String {
        let said = || std::fs::read_to_string(&self.report).unwrap_or_default();
        let mut last = String::new();
        for _ in 0..100 {
            self.signal(rustix::process::Signal::USR1);
            std::thread::sleep(Duration::from_millis(20));
            last = said().lines().last().unwrap_or_default().to_owned();
            if last.starts_with("connections 0,") {
                break;
            }
        }
        last
    }

    /// Runs a script with `$R` on the server.
    fn run(&self, site: &Site, script: &str) -> Outcome {
        self.with(site, "auto", script)
    }

    fn with(&self, site: &Site, intercept: &str, script: &str) -> Outcome {
        let line = format!("mount 'unix!{}' /remote", self.socket.display());
        let inside = site.inside(&["-e", &line], script).env("R", "/remote");
        inside.env("TOOLS", tools()).env("PRIVNS_INTERCEPT", intercept).limit(60).run()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        self.running.take().map(|running| running.wait(5));
    }
}

/// Runs a script on a server and in a plain directory: the same is printed, and nothing is left
/// open on the server.
#[track_caller]
fn alike(script: &str) {
    let site = Site::new();
    let plain = site.mkdir("plain");
    let native = site.sh(script).env("R", &plain).env("TOOLS", tools()).limit(60).run();
    let server = Server::of(&site, "served");
    let inside = server.run(&site, script);
    assert_eq!(inside.ending, native.ending, "\n{inside}\n{native}");
    let normal = |text: String, place: &str| text.replace(place, "$R");
    let native_out = normal(native.out(), &plain.to_string_lossy());
    assert_eq!(normal(inside.out(), "/remote"), native_out, "\n{inside}\n{native}");
    let left = server.left();
    assert!(left.starts_with("connections 0, fids 0, open 0, tokens 0"), "{left}");
}

#[test]
fn redirections_of_a_shell() {
    alike(
        r#"cd "$R" || exit 9
        printf '1\n2\n3\n' >lines
        echo new >w; cat w; echo more >>w; cat w
        (echo a; /bin/echo b; (echo c)) >seq; cat seq
        (read a; sh -c 'read b; echo $b'; read c; echo $c) <lines
        cat <<E >here
here
E
        exec 3<>here; echo X >&3; read l <&3; echo "l=$l"; exec 3>&-; cat here
        (head -n 1; echo rest; cat) <lines
        seq 1 20000 >big; tail -n 1 big; wc -c <big; sort -rn <big | head -n 2
        dd if=big of=dd bs=7k 2>/dev/null; cmp big dd && echo same
        printf zz | dd of=w conv=notrunc 2>/dev/null; cat w
        /bin/echo one | tee tee >tee2; cat tee tee2
        for i in 1 2 3 4; do (for j in 1 2 3 4 5; do echo $i$j; /bin/echo $i$j; done)& done >par
        wait; wc -l <par; sort par | uniq -c | awk '{print $1}' | sort | uniq -c
        sed -i s/new/old/ w; cat w; sort -o lines -r lines; cat lines"#,
    );
}

#[test]
fn streams_by_entries_and_by_tables() {
    alike(r#"TMPDIR="$R" "$TOOLS/stdio" "$R" 2>&1"#);
    let site = Site::new();
    let server = Server::of(&site, "served");
    let symbols = server.with(&site, "symbols", r#""$TOOLS/stdio" "$R" 2>&1"#);
    symbols.prints("to the file\nfrom a child\nagain\nthrough a pipe\ndone");
    // The first server comes to a process that lives.
    let line = format!("mount 'unix!{}' /late", server.socket.display());
    let script =
        format!("ns {}; \"$TOOLS/stdio\" /late 2>&1; echo x >/late/x; cat /late/x", quoted(&line));
    let late = site.inside(&["--bind", "/etc", "/mnt"], &script).env("TOOLS", tools()).run();
    late.prints("to the file\nfrom a child\nagain\nthrough a pipe\ndone\nx");
}

/// The words of a line for a shell.
fn quoted(line: &str) -> String {
    line.replace('\'', "\"")
}

#[test]
fn calls_on_a_descriptor() {
    alike(
        r#"exec python3 - <<'E'
import os, fcntl, errno, array, termios
def tell(call):
    try: print(call())
    except OSError as e: print(errno.errorcode[e.errno])
p = os.environ['R'] + '/f'
fd = os.open(p, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
print(os.write(fd, b'0123456789'), os.lseek(fd, 0, 1), os.lseek(fd, -3, 2), os.read(fd, 9), os.read(fd, 9))
print(os.pread(fd, 4, 2), os.pwrite(fd, b'XY', 20), os.fstat(fd).st_size, os.pread(fd, 30, 0))
print(os.writev(fd, [b'ab', b'', b'cde']), os.preadv(fd, [bytearray(3)], 10), os.lseek(fd, 0, 1))
for off, how in ((0, os.SEEK_DATA), (0, os.SEEK_HOLE), (99, os.SEEK_DATA), (-1, os.SEEK_SET)):
    tell(lambda: os.lseek(fd, off, how))
os.ftruncate(fd, 5); print(os.fstat(fd).st_size); tell(lambda: os.ftruncate(fd, -1))
os.posix_fallocate(fd, 0, 50); print(os.fstat(fd).st_size)
print(oct(fcntl.fcntl(fd, fcntl.F_GETFL) & ~0o100000), fcntl.fcntl(fd, fcntl.F_GETFD))
d = os.dup(fd); os.lseek(fd, 3, 0); print(os.lseek(d, 0, 1)); os.close(fd); print(os.read(d, 2))
tell(lambda: os.read(fd, 1))
r = os.open(p, os.O_RDONLY); tell(lambda: os.write(r, b'x')); tell(lambda: os.ftruncate(r, 0)); os.close(r)
w = os.open(p, os.O_WRONLY | os.O_APPEND); tell(lambda: os.read(w, 1)); os.write(w, b'end')
print(os.lseek(w, 0, 1)); print(os.pwrite(w, b'!', 0), os.fstat(w).st_size); os.fsync(w); os.fdatasync(w)
fcntl.fcntl(w, fcntl.F_SETFL, 0); os.pwrite(w, b'#', 0); os.close(w)
n = array.array('i', [0]); fcntl.ioctl(d, termios.FIONREAD, n); print(n[0])
tell(lambda: os.isatty(d)); tell(lambda: termios.tcgetattr(d) if False else os.tcgetpgrp(d))
os.fchmod(d, 0o600); print(oct(os.fstat(d).st_mode)); os.utime(d, (1, 2)); print(os.fstat(d).st_mtime)
x = os.open(os.environ['R'], os.O_RDONLY); tell(lambda: os.read(x, 1)); tell(lambda: os.pread(x, 1, 0))
o = os.open(p, os.O_PATH); tell(lambda: os.read(o, 1)); print(os.fstat(o).st_size)
os.unlink(p); print(os.fstat(d).st_nlink, os.pread(d, 3, 1)); print(os.sendfile(1, d, 0, 4))
many = [os.open(os.environ['R'], 0) for _ in range(500)]; [os.close(m) for m in many]
import select; print(select.select([d], [d], [], 0)[:2] == ([d], [d]))
tell(lambda: select.epoll().register(d))
E"#,
    );
}

#[test]
fn what_children_and_next_programs_have() {
    alike(
        r#"exec python3 - <<'E'
import os, subprocess
p = os.environ['R'] + '/f'
fd = os.open(p, os.O_RDWR | os.O_CREAT); os.write(fd, b'0123456789' * 10); os.unlink(p)
os.lseek(fd, 5, 0); cat = ['head', '-c', '7']
print(subprocess.run(cat, stdin=fd, stdout=subprocess.PIPE).stdout, os.lseek(fd, 0, 1) >= 12)
os.lseek(fd, 90, 0)
if os.fork() == 0: os.write(1, os.read(fd, 4) + b'\n'); os._exit(0)
os.wait(); print(os.read(fd, 20), flush=True)
os.lseek(fd, 97, 0); os.set_inheritable(fd, True)
os.posix_spawn('/bin/cat', ['cat'], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, fd, 0)]); os.wait()
out = os.environ['R'] + '/out'
os.posix_spawn('/bin/echo', ['echo', 'spawned'], os.environ,
    file_actions=[(os.POSIX_SPAWN_OPEN, 1, out, os.O_WRONLY | os.O_CREAT, 0o644)]); os.wait()
print('', open(out).read())
for n in range(200):
    pid = os.fork()
    if pid == 0: os._exit(os.pread(fd, 1, 3) != b'3')
    assert os.waitpid(pid, 0)[1] == 0
os.dup2(fd, 0); os.lseek(0, 3, 0); os.execv('/usr/bin/head', ['head', '-c', '4'])
E"#,
    );
}

/// What another member has open cannot be had here, and is not taken for an empty file.
#[test]
fn what_another_has_open() {
    let site = Site::new();
    let server = Server::of(&site, "d");
    let python = "import ctypes, os, time
call = ctypes.CDLL(None, use_errno=True).syscall
def told(what, act):
    try: print(what, act())
    except OSError as e: print(what, e.errno)
def taken(pid, fd):
    got = call(438, os.pidfd_open(pid), fd, 0)
    if got < 0: raise OSError(ctypes.get_errno(), '')
    return os.pread(got, 9, 0)
os.chdir(os.environ['R'])
f = os.open('f', os.O_RDWR | os.O_CREAT, 0o644); os.write(f, b'hello')
told('own', lambda: taken(os.getpid(), f))
r, w = os.pipe(); child = os.fork()
if not child:
    os.dup2(os.open('f', os.O_RDWR), 77); os.write(w, b'x'); time.sleep(30); os._exit(0)
os.read(r, 1); at = '/proc/%d/fd/77' % child
told('taken', lambda: taken(child, 77))
told('opened', lambda: os.read(os.open(at, os.O_RDONLY), 9))
told('mode', lambda: os.chmod(at, 0o600)); told('time', lambda: os.utime(at)); told('length', lambda: os.truncate(at, 2))
told('attribute', lambda: os.setxattr(at, 'user.x', b'y'))
told('pipe', lambda: call(438, os.pidfd_open(child), w, 0) > 2)
print(open('f').read(), oct(os.stat('f').st_mode)); os.kill(child, 9); os.wait()";
    site.write("taken.py", python);
    server.run(&site, "exec python3 $T/taken.py").prints(
        "own b'hello'\ntaken 1\nopened 6\nmode 1\ntime 1\nlength 1\nattribute 1\npipe True\nhello 0o100644",
    );
}

#[test]
fn locks_and_mappings() {
    alike(
        r#"exec python3 - <<'E'
import os, fcntl, mmap, sqlite3, subprocess, sys
R = os.environ['R']; p = R + '/m'
open(p, 'wb').write(b'0123456789' * 1000)
with open(p, 'r+b') as f:
    m = mmap.mmap(f.fileno(), 0); print(m[:10]); m[0:5] = b'HELLO'; m.flush()
    f.seek(0); print(f.read(10)); f.seek(20); f.write(b'written'); f.flush(); print(m[18:29]); m.close()
print(open(p, 'rb').read(12))
with open(p, 'rb') as f:
    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE); print(m[-4:]); m.close()
with open(p, 'rb') as f:
    try: mmap.mmap(f.fileno(), 0)
    except PermissionError as e: print(e.errno)
f = open(p, 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)
def child(body): return subprocess.run([sys.executable, '-c', 'import fcntl, sys\ng = open(sys.argv[1], "r+b")\n' + body, p]).returncode
tries = 'try: fcntl.%s; print("free", flush=True)\nexcept OSError as e: print(e.errno, flush=True)'
child(tries % 'lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB)')
child(tries % 'lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 20)')
open(p).close()
child(tries % 'lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB)')
fcntl.flock(f, fcntl.LOCK_EX); child(tries % 'flock(g, fcntl.LOCK_SH | fcntl.LOCK_NB)')
f.close(); child(tries % 'flock(g, fcntl.LOCK_SH | fcntl.LOCK_NB)')
db = sqlite3.connect(R + '/db'); print(db.execute('pragma journal_mode=wal').fetchone())
db.execute('create table t(a)'); db.commit()
body = 'import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=50)\nfor i in range(30): db.execute("insert into t values(?)", (i,)); db.commit()'
both = [subprocess.Popen([sys.executable, '-c', body, R + '/db']) for _ in range(2)]
print([one.wait() for one in both])
print(db.execute('select count(*) from t').fetchone(), db.execute('pragma integrity_check').fetchone())
db.close(); print(sorted(os.listdir(R)))
E"#,
    );
}

/// Numbers that privns has taken for itself are the program's all the same when it names them.
#[test]
fn numbers_of_the_programs_choice() {
    alike(
        r#"exec python3 - <<'E'
import os, subprocess
R = os.environ['R']; p = R + '/f'
open(p, 'w').write('text\n')
fd = os.open(p, os.O_RDONLY); numbers = [*range(230, 256), *range(990, 1024)]
for n in numbers:
    os.dup2(fd, n); os.stat(R); assert os.pread(n, 4, 0) == b'text'
print(os.listdir(R), subprocess.run(['cat', p], stdout=subprocess.PIPE, close_fds=False).stdout)
for n in numbers: os.close(n)
print(open(p).read())
script = 'exec 248<$R/f; cat <&248; exec 247>$R/g; echo x >&247; cat $R/g'
print(subprocess.run(['bash', '-c', script], stdout=subprocess.PIPE).stdout)
opens = [(os.POSIX_SPAWN_OPEN, 248, p, os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1000, R + '/h', os.O_CREAT | os.O_WRONLY, 0o644)]
os.posix_spawn('/bin/bash', ['bash', '-c', 'cat <&248; exec 1>&1000; echo y'], os.environ, file_actions=opens)
os.wait(); print(open(R + '/h').read())
E"#,
    );
}

/// What a process has written is there when it has ended, or has become another, whether it has
/// closed the file or not.
#[test]
fn what_was_written_is_there_at_the_end() {
    alike(
        r#"exec python3 - <<'E'
import os
R = os.environ['R']; p = R + '/f'
ends = [lambda: os._exit(0), lambda: os.execv('/bin/true', ['true']), lambda: os.execv('/bin/sh', ['sh', '-c', 'echo more >&9'])]
for n in range(90):
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(p, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 9)
        for i in range(4): os.write(9, b'%d' % (n % 10) * 50000)
        ends[n % 3]()
    assert os.waitpid(pid, 0)[1] == 0
    text = open(p).read()
    assert text == str(n % 10) * 200000 + ('more\n' if n % 3 == 2 else ''), (n, len(text))
print('all')
E"#,
    );
}

/// Record locks stay over exec, unless a descriptor of the file is closed by it; they are not a
/// child's; and two that wait for each other do not wait for ever.
#[test]
fn locks_of_processes() {
    alike(
        r#"exec python3 - <<'E'
import os, errno, fcntl, subprocess, sys, time
R = os.environ['R']; p = R + '/f'; open(p, 'w').write('text\n')
tries = '''import fcntl, sys
g = open(sys.argv[1], "r+b")
try: fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB); print("free")
except OSError as e: print(e.errno)'''
def other(): return subprocess.run([sys.executable, '-c', tries, p], stdout=subprocess.PIPE, text=True).stdout
def until(name):
    while not os.path.exists(R + name): time.sleep(.01)
for how in 'inherit', 'cloexec', 'fork':
    pid = os.fork()
    if pid == 0:
        f = open(p, 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX)
        os.set_inheritable(f.fileno(), how != 'cloexec')
        if how == 'fork':
            if os.fork() == 0: time.sleep(1)
            os._exit(0)
        os.execvp('sh', ['sh', '-c', 'touch $R/up; while test -e $R/up; do sleep .02; done; cat $R/f >$R/read'])
    if how == 'fork':
        os.wait(); print(how, other()); continue
    until('/up'); print(how, other()); os.unlink(R + '/up'); os.wait(); print('after', other())
def child(n):
    f = open(p, 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX, 1, n)
    open(R + f'/got{n}', 'w').close(); until(f'/got{1 - n}'); time.sleep(.2 * n)
    try: fcntl.lockf(f, fcntl.LOCK_EX, 1, 1 - n); return 'got'
    except OSError as e: return errno.errorcode[e.errno]
r, w = os.pipe()
for n in 0, 1:
    if os.fork() == 0: os.write(w, (child(n) + '\n').encode()); os._exit(0)
os.wait(); os.wait(); print(sorted(os.read(r, 100).split()))
E"#,
    );
}

/// Who is no member could not make anything of a remote file: it is not sent to him.
#[test]
fn strangers_are_sent_nothing() {
    let site = Site::new();
    let stranger = std::os::unix::net::UnixListener::bind(site.path("stranger")).expect("a socket");
    site.mkdir("served");
    std::fs::write(site.path("served/f"), "text").expect("a file");
    let server = Server::of(&site, "served");
    let script = r#"exec python3 - <<'E'
import os, socket
f, s = os.open('/remote/f', os.O_RDWR), socket.socket(socket.AF_UNIX); s.connect(os.environ['T'] + '/stranger')
try: socket.send_fds(s, [b'x'], [f])
except OSError as e: print(e.errno, os.read(f, 9))
E"#;
    let refused = rustix::io::Errno::OPNOTSUPP.raw_os_error();
    assert_eq!(server.run(&site, script).ok(), format!("{refused} b'text'"));
    drop(stranger);
    let left = server.left();
    assert!(left.starts_with("connections 0, fids 0, open 0, tokens 0"), "{left}");
}

#[test]
fn programs_and_scripts_run() {
    alike(
        r#"cd "$R" && cp /bin/echo e && cp /usr/bin/readlink rl || exit 9
        printf '#!/bin/sh\necho script "$0" "$1"\n' >s; printf '#!%s/e hi\n' "$R" >own; chmod +x s own
        ./e one; "$R/s" two; ./s three; "$R/own" x; PATH="$R:$PATH" e five; "$R/rl" /proc/self/exe
        cp /bin/bash b; "$R/b" -c 'echo "$0" $BASH_VERSINFO; exec ./e last'; chmod -x s; ./s; echo $?"#,
    );
}

#[test]
fn a_server_that_goes_and_comes_back() {
    let site = Site::new();
    let server = Server::of(&site, "served");
    let line = format!("mount 'unix!{}' /remote", server.socket.display());
    let script = r#"exec python3 - <<'E'
import os, time
fd = os.open('/remote/f', os.O_RDWR | os.O_CREAT); os.write(fd, b'kept'); os.fsync(fd)
t = os.environ['T']; open(t + '/ready', 'w').close()
while not os.path.exists(t + '/gone'): time.sleep(.01)
try: os.pread(fd, 4, 0); print('served')
except OSError as e: print(e.errno)
open(t + '/seen', 'w').close()
while not os.path.exists(t + '/back'): time.sleep(.01)
time.sleep(.3)
print(os.pread(fd, 4, 0), os.lseek(fd, 0, 1)); os.write(fd, b' and more'); os.fsync(fd)
E"#;
    let program = site.inside(&["-e", &line], script).limit(30);
    let running = std::thread::scope(|scope| {
        let ran = scope.spawn(|| program.run());
        site.until("ready");
        drop(server);
        site.write("gone", "");
        site.until("seen");
        let server = Server::of(&site, "served");
        site.write("back", "");
        let outcome = ran.join().expect("it ran");
        drop(server);
        outcome
    });
    assert_eq!(running.ending, Ending::Exit(0), "{running}");
    running.prints("5\nb'kept' 4");
    assert_eq!(std::fs::read(site.path("served/f")).expect("the file"), b"kept and more");
}

/// A ring reads descriptors without asking anybody: there is none where one may stand for a
/// remote file. Elsewhere it serves as it does on the host.
#[test]
fn rings() {
    let site = Site::new();
    site.write("src/f", "hello\n");
    let host = site.cmd(tools().join("ring")).arg(site.path("src/f")).run().ok();
    let ring = tools().join("ring");
    let ring = ring.display();
    let bind = ["--bind", &site.at("src"), "/b"];
    assert_eq!(site.inside(&bind, &format!("{ring} /b/f")).run().ok(), host);
    if host.trim() == "6 hello" {
        let refused = |options: &[&str]| site.inside(options, &format!("{ring} /b/f")).run();
        refused(&[&bind[..], &["--tmpfs", "/m"]].concat()).prints("ENOSYS");
        refused(&[&bind[..], &["--strict"]].concat()).prints("ENOSYS");
    }
}

/// Where libc's own calls do not reach us, what it would read from a placeholder is refused.
#[test]
fn asynchronous_calls_by_symbols_alone() {
    let site = Site::new();
    let server = Server::of(&site, "served");
    let script =
        r#"cd "$R"; echo text >f; echo more >"$T/g"; "$TOOLS/asked" f; "$TOOLS/asked" "$T/g""#;
    server.with(&site, "auto", script).prints("0 5 text\n0 5 more");
    server.with(&site, "symbols", script).prints("ENOSYS\n0 5 more");
}
