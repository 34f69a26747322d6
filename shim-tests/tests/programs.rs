//! Row M2 of the acceptance list: what people work with does on a server's tree what it does in
//! a directory, on our servers and on another.

use privns_shim_tests::{Diod, Served, Site, needs};

/// Works in the directory `$R`, which is empty.
const WORK: &str = r##"
exec 2>&1; cd "$R" && umask 022 && mkdir proj && cd proj || exit 9
printf 'a.out: main.o sum.o\n\t$(CC) -o $@ main.o sum.o\n%%.o: %%.c sum.h\n\t$(CC) -c -g $<\n' >Makefile
echo 'int sum(int, int);' >sum.h; echo '#include "sum.h"
int sum(int a, int b) { return a + b; }' >sum.c
cat >main.c <<'C'
#include <stdio.h>
#include "sum.h"
int main(int n, char **v) { FILE *f = fopen("out", "w"); fprintf(f, "%s %d\n", v[0], sum(2, n)); return fclose(f); }
C
cd "$R/proj" && make -s && ./a.out && cat out; make -q; echo "made $?"; touch sum.h; make -j2 -s; "$R/proj/a.out" x y; cat out; ls
cd "$R"; echo text >f; emacs -Q --batch "$R/f" --eval '(progn (insert "x") (save-buffer))' >/dev/null 2>&1; cat f; ls -A
for shell in bash dash zsh; do
    cat >script <<'S'
cd "$R"; echo "$0 in $PWD: $#" >said; cat said; for i in b a; do echo $i; done | sort | while read x; do echo "<$x>"; done
cat <<H
here $((1 + 2)) $(cat f)
H
(exec 3<>said; echo over >&3; cat <&3); test -x script || echo plain; echo s*; : >said; wc -c <said; rm said; pwd -P
S
    $shell script one; $shell ./script; (echo "#!/bin/$shell"; cat script) >run; chmod +x run; ./run two
done
tar czf proj.tgz proj && mkdir un && tar xzf proj.tgz -C un && diff -r proj un/proj && tar tf proj.tgz | sort
export GIT_AUTHOR_DATE='@1000 +0000' GIT_COMMITTER_DATE='@1000 +0000' GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q -b main repo && cd repo && cp ../proj/*.[ch] . && git add . && git commit -qm first && echo more >>sum.c && git status -s && git diff --stat && git commit -qam second && git gc -q && git fsck && git log --format='%H %s'
cd .. && git clone -q repo copy && git -C copy log --oneline | wc -l; git -C copy status -s
cat >p.py <<'P'
#!/usr/bin/python3
import os, sys, tempfile, shutil, subprocess, zipfile
print(sys.argv[0], os.getcwd(), sorted(os.listdir()))
with tempfile.TemporaryDirectory(dir='.') as d: shutil.copytree('proj', d + '/p'); print(sorted(os.listdir(d + '/p')))
print(subprocess.run(['cat', 'f'], capture_output=True).stdout)
with zipfile.ZipFile('z', 'w') as z: [z.write('proj/' + n) for n in sorted(os.listdir('proj'))]
print(zipfile.ZipFile('z').testzip(), len(zipfile.ZipFile('z').namelist()))
P
chmod +x p.py; ./p.py; python3 p.py; rm -rf proj un repo copy; ls -A
"##;

/// Runs it in a plain directory and on a server.
#[track_caller]
fn alike(site: &Site, options: &[&str]) {
    let plain = site.mkdir("plain");
    let native = site.sh(WORK).env("R", &plain).limit(60).run();
    let inside = site.inside(options, WORK).env("R", "/r").limit(120).run();
    let native_out = native.out().replace(&*plain.to_string_lossy(), "/r");
    let inside_out = inside.out();
    let both = native_out.lines().zip(inside_out.lines()).filter(|(a, b)| a != b);
    let different: String = both.map(|(a, b)| format!("- {a}\n+ {b}\n")).collect();
    assert_eq!(native.ending, inside.ending, "\n{inside}\n{native}");
    assert!(native_out == inside_out, "{different}\n{inside}\n{native}");
    assert!(native_out.contains("/r/proj/a.out 5") && native_out.contains("xtext"), "{native}");
}

const PROGRAMS: [&str; 6] = ["gcc", "make", "emacs", "zsh", "git", "python3"];

#[test]
fn m2_dir() {
    needs!("m2_dir", [PROGRAMS]);
    let site = Site::new();
    site.mkdir("d");
    let served = Served::start(&site, "a", "dir $T/d");
    alike(&site, &["--mount", &served.address(), "/r"]);
}

/// The way of a server at hand, which is another (`files::remote::near`).
#[test]
fn m2_dir_unix() {
    needs!("m2_dir_unix", [PROGRAMS]);
    let site = Site::new();
    site.mkdir("d");
    let socket = format!("unix!{}", site.at("socket"));
    let served = Served::at(&site, "a", "dir $T/d", &socket);
    alike(&site, &["--mount", &served.address(), "/r"]);
}

#[test]
fn m2_mem() {
    needs!("m2_mem", [PROGRAMS]);
    let site = Site::new();
    alike(&site, &["--tmpfs", "/r"]);
    let served = Served::start(&site, "a", "mem");
    let site = Site::new();
    alike(&site, &["--mount", &served.address(), "/r"]);
}

#[test]
fn m2_diod() {
    needs!("m2_diod", [PROGRAMS], "diod");
    let site = Site::new();
    let diod = Diod::start(&site, "d");
    alike(&site, &["-e", &diod.mount("/r")]);
}

/// The system's own files bound to others, a server's among them: users, hosts, services, which
/// of them are asked, and the time zone.
#[test]
fn files_of_the_system() {
    let site = Site::new();
    site.sh(
        r#"mkdir $T/d; cd $T/d; cp /etc/passwd /etc/hosts /etc/services .
        echo 'someone:x:4242:4242::/home/s:/bin/sh' >>passwd; echo '127.9.9.9 some.host' >>hosts
        echo 'something 4242/tcp' >>services; echo 'nobody:' >none; cp /usr/share/zoneinfo/Asia/Tokyo localtime
        printf 'passwd: files\nhosts: files\nservices: files\n' >nsswitch.conf
        printf 'passwd: files\nhosts:\nservices: files\n' >other.conf"#,
    )
    .run()
    .ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let script = "getent passwd someone | cut -d: -f6; id -u someone; getent ahosts some.host | head -n 1 | cut -d' ' -f1
        getent services something | tr -s ' '; date -d @0 +%H:%M; cat /etc/none
        ns bind $E/other.conf /etc/nsswitch.conf; getent hosts some.host; echo $?";
    let (at, d) = (served.address(), site.at("d"));
    for (mount, dir) in [(["--mount", &at, "/r"], "/r"), (["--bind", &d, "/r"], "/r")] {
        let names = ["passwd", "hosts", "services", "localtime", "nsswitch.conf", "none"];
        let binds = names.map(|name| [format!("{dir}/{name}"), format!("/etc/{name}")]);
        let binds = binds.iter().flat_map(|[from, to]| ["--bind", from, to]);
        let options: Vec<&str> = mount.into_iter().chain(binds).collect();
        let outcome = site.inside(&options, script).env("E", dir).env_remove("TZ").run();
        outcome.prints("/home/s\n4242\n127.9.9.9\nsomething 4242/tcp\n09:00\nnobody:\n2");
    }
}
