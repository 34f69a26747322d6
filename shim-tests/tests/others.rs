//! Programs in trees that other people's servers have.

use privns_shim_tests::{Diod, Running, Site, needs, python_with, tool};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("an address").port()
}

fn listens(port: u16) {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "the server does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A morning's work in `/r`: nothing of it is left.
const WORK: &str = r#"set -e; mkdir /r/p; cd /r/p
echo hello >f; cat f; mv f g; ln -s g l; cat l; chmod 600 g; stat -c '%a %s' g
printf 'all:\n\techo built >out\n' >Makefile; make -s; cat out
tar -cf t.tar g out; tar -tf t.tar
git init -q .; git add g; git -c user.name=a -c user.email=a@b commit -qm done; git log --format=%s
for i in $(seq 300); do : >many-$i; done; ls | grep -c many
head -c 3000000 /dev/zero >big; cp big copy; cmp big copy; truncate -s 10 big; wc -c <big
cd /; rm -r /r/p; ls -A /r"#;
const WORKED: &str = "hello\nhello\n600 6\nbuilt\ng\nout\ndone\n300\n10";

#[track_caller]
fn works(site: &Site, line: &str) {
    site.inside(&["-e", line], WORK).limit(60).run().prints(WORKED);
}

#[test]
fn ganesha() {
    needs!("ganesha", "root", "ganesha.nfsd", "git", "make");
    let site = Site::new();
    site.mkdir("export");
    let port = free_port();
    let export = site.at("export");
    let config = format!(
        "NFS_CORE_PARAM {{ Protocols = 9P; Bind_addr = 127.0.0.1; }}
         _9P {{ _9P_TCP_Port = {port}; _9P_TCP_Msize = 1048576; }}
         EXPORT {{ Export_Id = 1; Path = {export}; Pseudo = /exp; Tag = exp; Access_Type = RW;
         Squash = No_Root_Squash; SecType = sys; Protocols = 9P; Transports = TCP;
         FSAL {{ Name = VFS; }} }}"
    );
    site.write("ganesha.conf", config);
    let script = "exec ganesha.nfsd -F -L $T/ganesha.log -f $T/ganesha.conf -p $T/ganesha.pid";
    let _ganesha: Running = site.sh(script).start();
    listens(port);
    works(&site, &format!("mount -o aname=exp tcp!127.0.0.1!{port} /r"));
}

#[test]
fn diod() {
    needs!("diod", "diod", "git", "make");
    let site = Site::new();
    site.mkdir("export");
    let port = free_port();
    let export = site.at("export");
    let script = format!("exec diod -f -n -N -L /dev/null -l 127.0.0.1:{port} -e {export}");
    let _diod: Running = site.sh(&script).start();
    listens(port);
    works(&site, &format!("mount -o aname={export} tcp!127.0.0.1!{port} /r"));
}

/// unpfs knows neither symbolic links nor how to append, and sees to paths by text.
const WORK_ON_UNPFS: &str = r#"set -e; cd /r; cat given; mkdir p; cd p
echo hello >f; cat f; mv f g; cp g h; cmp g h; chmod 600 g; stat -c '%a %s' g; ls
echo more >>g; (echo and; /bin/echo more) >>g; cat g
python3 -c 'import os
with open("b", "wb") as f: f.write(bytes(range(256)) * 2000)
with open("b", "r+b") as f: f.seek(5); f.write(b"xx"); f.seek(4); print(f.read(4), os.fstat(f.fileno()).st_size)
os.rename("b", "c"); print(sorted(os.listdir(".")))'
printf 'all:\n\tcat g h >out\n' >Makefile; make -s; wc -l <out; tar cf - g h | tar tf -
truncate -s 3 h; cat h; echo; touch -d 2001-02-03 h; stat -c %y h; find . -type f | sort | head -2; ls -l | wc -l
ln -s g l 2>/dev/null || echo 'no links'; cat none 2>/dev/null || echo none; cd ..; rm -r p; ls"#;

#[test]
fn unpfs() {
    needs!("unpfs", "python3", "make", "tar");
    let Some(unpfs) = tool("unpfs", "unpfs") else { return };
    let site = Site::new();
    site.write("export/given", "given\n");
    let port = free_port();
    let address = format!("tcp!127.0.0.1!{port}");
    let script = format!("exec {} '{address}' $T/export >/dev/null 2>&1", unpfs.display());
    let _unpfs = site.sh(&script).start();
    listens(port);
    site.inside(&["--mount", &address, "/r"], WORK_ON_UNPFS).run().prints(
        "given\nhello\n600 6\ng\nh\nhello\nmore\nand\nmore\nb'\\x04xx\\x07' 512000\n['c', 'g', 'h']
5\ng\nh\nhel\n2001-02-03 00:00:00.000000000 +0000\n./Makefile\n./c\n6\nno links\nnone\ngiven",
    );
}

/// aio9p's example, in 9P2000.u, gives each connection a tree of its own that begins empty: so it is
/// one program that does everything.
const WORK_ON_AIO9P: &str = r#"
import os
print(os.stat("/r").st_uid, os.listdir("/r"))
with open("/r/f", "w") as f: f.write("some text\n" * 2000)
with open("/r/f") as f: text = f.read()
print(len(text), text[:9], os.listdir("/r"))
with open("/r/f", "r+") as f:
    f.seek(5); f.write("TEXT"); f.seek(0); print(f.readline().strip())
with open("/r/f", "rb") as f, open("/r/g", "wb") as g: g.write(f.read())
print(open("/r/f").read() == open("/r/g").read(), sorted(os.listdir("/r")), os.path.getsize("/r/g"))
try: open("/r/none")
except FileNotFoundError as e: print(e.strerror)
"#;

#[test]
fn aio9p() {
    let Some(python) = python_with("aio9p", "aio9p") else { return };
    needs!("aio9p", "python3");
    let site = Site::new();
    let script = format!("exec {} -m aio9p.example.simple_u >/dev/null 2>&1", python.display());
    let _server = site.sh(&script).start();
    let start = Instant::now();
    while std::os::unix::net::UnixStream::connect(site.path("py9p.sock")).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "the server does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    site.write("work.py", WORK_ON_AIO9P);
    let address = format!("unix!{}", site.at("py9p.sock"));
    let mount = ["--mount", &address, "/r"];
    site.inside(&mount, "python3 $T/work.py").run().prints(
        "0 []\n20000 some text ['f']\nsome TEXT\nTrue ['f', 'g'] 20000\nNo such file or directory",
    );
    site.inside(&mount, "cd /r; ls; echo x >f; read x <f; echo $x; for n in *; do echo $n; done; test -d . && echo dir")
        .run()
        .prints("x\nf\ndir");
}

/// Files that lose their name while they are open, as temporary files and large
/// here-documents do, are the processes' that have them, as natively.
#[test]
fn diod_nameless_files() {
    needs!("diod_nameless_files", "diod", "bash", "python3", "tcsh");
    let site = Site::new();
    let native = site.sh(NAMELESS).env("TMPDIR", site.mkdir("plain")).run();
    assert_eq!(native.err(), "", "{native}");
    let diod = Diod::start(&site, "d");
    let inside = site.inside(&["-e", &diod.mount("/r")], NAMELESS).env("TMPDIR", "/r").run();
    assert_eq!((inside.out(), inside.err()), (native.out(), native.err()), "{inside}");
}

/// Files whose name another process takes away or gives to another file are read and
/// written on, with the length that they have; what diod would do to whatever has the
/// name now is refused.
#[test]
fn diod_names_taken_away() {
    needs!("diod_names_taken_away", "diod", "python3");
    let site = Site::new();
    let diod = Diod::start(&site, "d");
    let inside = site.inside(&["-e", &diod.mount("/r")], TAKEN_AWAY).run();
    let lines = |(moved, there)| {
        let open = "b'fi' 5 9 9 b'file+tail' ESTALE ESTALE ESTALE ESTALE";
        format!("{open}\nESTALE {moved} {there}")
    };
    let there = [("b'file+tail'", "None"), ("None", "None"), ("None", "b'other'")];
    let expected = there.map(lines).join("\n");
    assert_eq!((inside.out(), inside.err()), (expected, String::new()), "{inside}");
}

const TAKEN_AWAY: &str = r#"cd /r; python3 - <<'E'
import errno, os, subprocess
def say(act, *args):
    try: return act(*args)
    except OSError as e: return errno.errorcode[e.errno]
def text(name): return open(name, 'rb').read() if os.path.exists(name) else None
for what in (['mv', 'n', 'm'], ['rm', 'n'], ['mv', 'o', 'n']):
    for name, full in (('n', 'file'), ('o', 'other')): open(name, 'w').write(full)
    fd, late = os.open('n', os.O_RDWR), os.open('n', os.O_WRONLY)
    subprocess.run(what)
    print(os.read(fd, 2), os.pwrite(fd, b'+tail', 4), os.fstat(fd).st_size, os.lseek(fd, 0, 2), os.pread(fd, 99, 0),
          say(os.fchmod, fd, 0o600), say(os.ftruncate, fd, 1), say(os.utime, fd), say(os.fstat, late), flush=True)
    if os.fork() == 0: print(say(os.pread, fd, 9, 0), text('m'), text('n'), flush=True); os._exit(0)
    os.wait()
    for name in os.listdir('.'): os.unlink(name)
E"#;

const NAMELESS: &str = r#"cd "$TMPDIR"
printf 'cat <<E\nof tcsh\nE\n' >s; tcsh -f s
bash -c 'big=$(head -c 300000 /dev/zero | tr "\0" x); wc -c <<<$big; cat <<E | wc -c
$big
E'
python3 - <<'E'
import fcntl, os, subprocess, tempfile
file = tempfile.TemporaryFile(); file.write(b'one\ntwo\n'); file.flush(); file.seek(4)
print(subprocess.run(['cat'], stdin=file, capture_output=True).stdout)
file = tempfile.TemporaryFile(); subprocess.run(['echo', 'out'], stdout=file)
if os.fork() == 0: os.write(file.fileno(), b'child'); os._exit(0)
os.wait(); file.seek(0); print(file.read(), os.fstat(file.fileno()).st_nlink)
out = open('f', 'w'); out.write('abc'); out.flush(); back = open('f'); os.unlink('f')
out.write('def'); out.flush(); print(os.readlink('/proc/self/fd/%d' % out.fileno()).replace(os.getcwd(), ''))
print(back.read(), os.fstat(back.fileno()).st_size, oct(os.fstat(out.fileno()).st_mode))
add = open('f', 'a+'); add.write('abc'); add.flush(); os.unlink('f'); add.write('def'); add.flush()
os.set_inheritable(add.fileno(), True); os.system('echo more >&%d' % add.fileno()); add.seek(0)
print(add.read(), fcntl.fcntl(add, fcntl.F_GETFL) & os.O_APPEND, fcntl.fcntl(add, fcntl.F_GETFD))
one = open('f', 'w+'); os.link('f', 'g'); os.unlink('f'); one.write('linked'); one.flush(); print(open('g').read())
fd = os.open('h', os.O_RDWR | os.O_CREAT, 0o400); copy = os.dup(fd); os.write(fd, b'0123'); os.lseek(fd, 1, 0)
os.unlink('h'); print(os.read(copy, 2), os.read(fd, 9)); os.ftruncate(fd, 2); os.fchmod(fd, 0o751)
print(oct(os.fstat(copy).st_mode), os.fstat(copy).st_size)
old = open('old', 'w+'); old.write('old'); old.flush(); open('new', 'w').write('new'); os.rename('new', 'old')
old.seek(0); print(subprocess.run(['cat'], stdin=old, capture_output=True).stdout, open('old').read())
E
ls -A"#;
