//! A name is what it is now: changes by members at once, by outsiders soon; and what
//! lies outside of files: sockets, shared memory, watches.

use privns_shim_tests::{Ending, Site, needs};

fn site() -> Site {
    let site = Site::new();
    site.write("src/one/f", "one\n");
    site.write("src/two/f", "two\n");
    site.write("host/one/f", "host one\n");
    site.write("host/two/f", "host two\n");
    site
}

/// Another member renames the directory in which a program looks again and again.
#[test]
fn a_members_rename_is_seen_at_once() {
    needs!("a_members_rename", "/usr/bin/python3");
    let site = site();
    let python = "import os
d = os.environ['D']
for i in range(200):
  a = os.stat(d + '/one/f').st_ino, os.stat(d + '/two/f').st_ino
  if i % 2: os.system('') if i % 50 else None
  pid = os.fork()
  if pid == 0:
    os.rename(d + '/one', d + '/x'); os.rename(d + '/two', d + '/one'); os.rename(d + '/x', d + '/two'); os._exit(0)
  os.waitpid(pid, 0)
  b = os.stat(d + '/one/f').st_ino, os.stat(d + '/two/f').st_ino
  if a != b[::-1]: print('stale', i); break
print('done')";
    site.write("swap.py", python);
    for dir in ["/new", &site.at("host")] {
        let command =
            site.inside(&["--bind", &site.at("src"), "/new"], "exec /usr/bin/python3 $T/swap.py");
        command.env("D", dir).run().prints("done");
    }
}

/// A directory that becomes a link into a covered place: by a member at once, by an
/// outsider within a second, and at once for an open or with exact names.
#[test]
fn a_directory_that_becomes_a_link() {
    let site = site();
    let script = "stat -c %s $T/host/two/f >/dev/null; cat $T/host/two/f; mv $T/host/two $T/aside; ln -s /new/one $T/host/two
        cat $T/host/two/f; stat -c %s $T/host/two/f; test -h $T/host/two && rm $T/host/two; mv $T/aside $T/host/two; cat $T/host/two/f; stat -c %s $T/host/two/f";
    site.inside(&["--bind", &site.at("src"), "/new"], script)
        .run()
        .prints("host two\none\n4\nhost two\n9");
}

#[test]
fn what_an_outsider_does_is_seen() {
    needs!("what_an_outsider_does", "/usr/bin/python3");
    for exact in [false, true] {
        let site = site();
        let python = "import os, time
def size(p):
  try: return os.stat(p).st_size
  except FileNotFoundError: return -1
p = os.environ['T'] + '/host/two/f'
os.stat(p)
open(os.environ['T'] + '/go', 'w').close()
while not os.path.exists(os.environ['T'] + '/went'): time.sleep(.002)
print(open(p).read().strip())
if EXACT: print(os.stat(p).st_size)
else:
  end = time.time() + 1.3
  while size(p) != 4 and time.time() < end: time.sleep(.01)
  print(size(p))";
        site.write("look.py", python.replace("EXACT", if exact { "True" } else { "False" }));
        let src = site.at("src");
        let mut options = vec!["--bind", &src, "/new"];
        if exact {
            options.extend(["--names", "exact"]);
        }
        // The outsider shares nothing with the family: it waits here for the sign.
        std::thread::scope(|scope| {
            let outsider = scope.spawn(|| {
                for _ in 0..1000 {
                    if site.path("go").exists() {
                        std::fs::rename(site.path("host/two"), site.path("aside")).expect("rename");
                        std::os::unix::fs::symlink("/new/one", site.path("host/two"))
                            .expect("link");
                        site.write("went", "");
                        return;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            });
            let outcome = site.inside(&options, "exec /usr/bin/python3 $T/look.py").run();
            outcome.prints("one\n4");
            outsider.join().expect("the outsider");
        });
    }
}

#[test]
fn a_bind_by_one_member_is_seen_by_all() {
    let site = site();
    // Not cat: several at once lose each other's output in one file (copy_file_range(2) takes no
    // lock on the offset), natively too.
    let script = r"for i in 1 2 3 4 5; do sh -c 'until test -e /late/f; do :; done; read x </late/f; echo $x' & done
        sleep .2; ns bind $T/src/one /late; wait; ns bind $T/src/two /late; cat /late/f; ns unmount /late; cat /late/f 2>/dev/null || echo gone";
    let out = site.inside(&["--bind", &site.at("src"), "/new"], script).run();
    out.prints("one\none\none\none\none\ntwo\ngone");
}

#[test]
fn sockets_with_long_names() {
    needs!("sockets_with_long_names", "/usr/bin/python3");
    let site = site();
    let long = format!("{}/{}", site.at("x"), "y".repeat(90));
    std::fs::create_dir_all(&long).expect("a long name");
    let python = "import os, socket
s = socket.socket(socket.AF_UNIX); s.bind('/s/sock'); s.listen(); print(s.getsockname())
c = socket.socket(socket.AF_UNIX); c.connect('/s/sock'); print(c.getpeername()); a, _ = s.accept(); a.send(b'hi'); print(c.recv(9))
os.chdir('/s'); r = socket.socket(socket.AF_UNIX); r.connect('sock'); print(sorted(os.listdir('.')))
d = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); d.bind('/s/d'); e = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); e.bind('/s/e'); e.sendto(b'x', '/s/d'); print(d.recvfrom(9))
try: socket.socket(socket.AF_UNIX).connect('/s/none')
except OSError as x: print(x.errno)
n = socket.socket(socket.AF_UNIX); n.bind('\\0abstract' + os.environ['F']); print(n.getsockname()[:9])";
    site.write("s.py", python);
    let outcome = site.inside(&["--bind", &long, "/s"], "exec /usr/bin/python3 $T/s.py").run();
    outcome.prints("/s/sock\n/s/sock\nb'hi'\n['sock']\n(b'x', '/s/e')\n2\nb'\\x00abstract'");
    assert!(std::path::Path::new(&long).join("sock").exists());
}

#[test]
fn shared_memory_is_private_to_the_family() {
    needs!("shared_memory", "/usr/bin/python3");
    let site = site();
    let python = "import os
from multiprocessing import shared_memory as m
s = m.SharedMemory('n' + os.environ['F'], create=True, size=64); print(os.listdir('/dev/shm')); s.close(); s.unlink()";
    site.write("m.py", python);
    let outcome = site.inside(&["--private", "/dev/shm"], "exec /usr/bin/python3 $T/m.py").run();
    outcome.prints(&format!("['n{}']", site.family()));
}

#[test]
fn two_families_do_not_meet() {
    let site = site();
    let script = "echo $1 >/tmp/x$F; sleep .5; cat /tmp/x$F";
    let start = |n: &str| {
        let family = format!("{}-{n}", site.family());
        let command = site.cmd("ns-exec").args(["--family", &family, "--private", "/tmp", "--"]);
        command.args(["sh", "-c", &format!("({script}) >$T/out{n}"), "sh", n]).start()
    };
    let [one, two] = [start("1"), start("2")];
    assert_eq!((one.wait(9), two.wait(9)), (Ending::Exit(0), Ending::Exit(0)));
    let read = |n: &str| std::fs::read_to_string(site.path(format!("out{n}"))).expect("out");
    assert_eq!((read("1").trim(), read("2").trim()), ("1", "2"));
}

#[test]
fn devices_and_inodes_tell_files_apart() {
    let site = site();
    let script = "cd /; stat -c '%d' /new /new/one/f /u /u/one | sort -u | wc -l; stat -c '%d:%i' /new/one/f /new/../new/one/f | uniq | wc -l
        find /new -xdev -type f | sort; cp -a /new /tmp/copy$F && diff -r /new /tmp/copy$F && echo same; find / -xdev -maxdepth 1 -name new; du -x /new >/dev/null && echo counted";
    let options =
        ["--bind", &site.at("src"), "/new", "--bind", &site.at("src"), "/u", "--private", "/tmp"];
    let outcome = site.inside(&options, script).run().ok();
    assert!(outcome.contains("\n1\n/new/one/f\n/new/two/f\nsame\n/new\ncounted"), "{outcome}");
}
