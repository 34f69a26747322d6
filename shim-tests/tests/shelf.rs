//! Programs and libraries that a server has: real ones, and that they are copied once, for
//! one user and family, and nothing of that is left.

use privns_shim_tests::{Diod, Served, Site, have, needs, say_skipped};

/// An ordinary user that owns nothing here.
const USER: u32 = 65534;

/// A program with a library beside it and one that it opens, below `d`.
const TREE: &str = r#"
    set -e; mkdir -p $T/d/bin $T/d/lib; cd $T/d
    echo 'int one(void) { return 1; }' >$T/one.c
    echo 'int two(void) { return 2; }' >$T/two.c
    cat >$T/main.c <<'C'
#include <dlfcn.h>
#include <stdio.h>
int one(void);
int main(int argc, char **argv)
{
    void *two = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
    int (*f)(void) = two ? (int (*)(void))dlsym(two, "two") : NULL;
    printf("%d %d\n", one(), f ? f() : 0);
    return 0;
}
C
    cc -shared -fPIC -o lib/libone.so $T/one.c
    cc -shared -fPIC -o lib/libtwo.so $T/two.c
    cc -o bin/main $T/main.c -Llib -lone '-Wl,-rpath,$ORIGIN/../lib'
    head -c 3000000 /dev/zero >>bin/main
    touch -d '1 minute ago' bin/main lib/*"#;

fn tree() -> Site {
    let site = Site::new();
    site.sh(TREE).run().ok();
    site
}

/// What a server has is started with the signals of whoever started ns-exec.
#[test]
fn ignored_signals_stay_ignored() {
    let site = Site::new();
    let status = "#!/bin/sh\nexec grep SigIgn /proc/self/status\n";
    site.write("d/status", status);
    site.sh("chmod +x $T/d/status").run().ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let script = |before: &str, program: &str| format!("trap '' {before} HUP; exec {program}");
    for before in ["PIPE", "INT"] {
        let native = site.sh(&script(before, "$T/d/status")).run();
        let inside = format!("ns-exec --mount '{}' /r -- /r/status", served.address());
        site.sh(&script(before, &inside)).run().prints(native.out().trim());
    }
}

/// Run again, a program and its libraries cost their attributes; changed, they cost all once
/// more.
#[test]
fn a_copy_is_made_once_until_the_file_changes() {
    needs!("a_copy_is_made_once", "cc");
    let site = tree();
    let served = Served::start(&site, "a", "dir $T/d");
    let script = r#"
        run() { /r/bin/main /r/lib/libtwo.so; }
        received() { ns stat | awk '$NF == "/r" { print $4 }' >$T/received$1; }
        received 0; run; received 1; for i in 1 2 3 4 5; do run; done; received 2
        sed -i 's/return 1;/return 5;/' $T/one.c
        cc -shared -fPIC -o $T/d/lib/libone.so $T/one.c; touch -d '30 seconds ago' $T/d/lib/libone.so
        run; run; received 3"#;
    let outcome = site.inside(&["--mount", &served.address(), "/r"], script).limit(60).run();
    outcome.prints("1 2\n1 2\n1 2\n1 2\n1 2\n1 2\n5 2\n5 2");
    let told = |n: u32| -> u64 {
        let text = std::fs::read_to_string(site.path(format!("received{n}"))).expect("a number");
        text.trim().parse().expect("a number")
    };
    let cost = [0, 1, 2].map(|n| told(n + 1) - told(n));
    assert!(cost[0] > 3_000_000, "the first time: {cost:?}");
    assert!(cost[1] < 30_000, "five times more: {cost:?}");
    assert!(cost[2] > 10_000 && cost[2] < 1_000_000, "once a library has changed: {cost:?}");
}

/// Members that run the same at once all run it whole, and nothing is left of that.
#[test]
fn many_at_once() {
    needs!("many_at_once", "cc");
    let site = tree();
    let served = Served::start(&site, "a", "dir $T/d");
    let script = r#"
        for i in $(seq 40); do /r/bin/main /r/lib/libtwo.so & done >$T/out; wait
        sort $T/out | uniq -c | awk '{ print $1, $2, $3 }'
        find $XDG_RUNTIME_DIR -name 'new-*' -o -name 'old-*'"#;
    site.inside(&["--mount", &served.address(), "/r"], script).limit(60).run().prints("40 1 2");
}

/// A file that becomes a directory, and the other way round.
#[test]
fn what_stands_in_the_way_of_a_copy() {
    needs!("what_stands_in_the_way", "cc");
    let site = tree();
    let served = Served::start(&site, "a", "dir $T/d");
    let script = r#"
        cp /r/bin/main /r/x; LD_LIBRARY_PATH=/r/lib /r/x
        rm /r/x; mkdir -p /r/x/bin; cp /r/bin/main /r/x/bin/y; LD_LIBRARY_PATH=/r/lib /r/x/bin/y
        rm -r /r/x; cp /r/bin/main /r/x; LD_LIBRARY_PATH=/r/lib /r/x"#;
    let outcome = site.inside(&["--mount", &served.address(), "/r"], script).run();
    outcome.prints("1 0\n1 0\n1 0");
}

/// A running program is called in /proc what the namespace calls it.
#[test]
fn names_of_a_running_program() {
    let site = Site::new();
    site.sh("mkdir $T/d; cp /bin/sleep $T/d/sleep; ln -s sleep $T/d/nap").run().ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let script = "/r/nap 9 & sleep .3; readlink /proc/$!/exe; cat /proc/$!/comm; kill $!";
    let outcome = site.inside(&["--mount", &served.address(), "/r"], script).run();
    outcome.prints("/r/sleep\nnap");
}

/// What is mounted while members live is as good, and once it is gone whoever stands
/// in it goes on there.
#[test]
fn mounted_and_unmounted_while_members_live() {
    needs!("mounted_and_unmounted", "cc");
    let site = tree();
    site.write("s/f", "");
    let served = Served::start(&site, "a", "dir $T/d");
    let script = format!(
        "ns mount {} /r; /r/bin/main /r/lib/libtwo.so; ns-exec -- /r/bin/main
         cd /r/bin; ns unmount /r; /bin/echo on; LD_LIBRARY_PATH=lib: /bin/echo on; ./main",
        served.address()
    );
    let outcome = site.inside(&["--bind", &site.at("s"), "/s"], &script).run();
    assert_eq!(outcome.ok(), "1 2\n1 0\non\non\n1 0");
}

/// Who may not run or read a program is told so, as by the kernel.
#[test]
fn what_may_not_be_run() {
    needs!("what_may_not_be_run", "cc");
    let site = tree();
    site.sh("cd $T/d; cp bin/main plain; chmod -x plain; mkdir dir").run().ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let script = "for f in plain dir none; do /r/$f 2>/dev/null; echo $?; done";
    site.inside(&["--mount", &served.address(), "/r"], script).run().prints("126\n126\n127");
}

/// Where nothing can be run from the family's directory copies lie elsewhere, and go too;
/// a full one is said to be.
#[test]
fn where_copies_cannot_lie() {
    needs!("where_copies_cannot_lie", "cc", "root", "unshare");
    let site = tree();
    let served = Served::start(&site, "a", "dir $T/d");
    let at = served.address();
    let inside = |mount: &str, script: &str| {
        let script = format!(
            "mount -t tmpfs {mount} x $XDG_RUNTIME_DIR; chmod 700 $XDG_RUNTIME_DIR
             ns-exec --family $F --mount {at} /r -- sh -c '{script}'; echo $?
             for i in $(seq 50); do
                 test -e $XDG_RUNTIME_DIR/privns || test -e /dev/shm/privns-0/$(cat $T/id) || break
                 sleep .1
             done
             find $XDG_RUNTIME_DIR /dev/shm/privns-0 /tmp/privns-0 -path '*shelf*' 2>/dev/null |
                 grep -c $(cat $T/id); true"
        );
        site.cmd("unshare").args(["-m", "sh", "-c", &script]).run()
    };
    let run = "basename $(dirname $(find $XDG_RUNTIME_DIR -name table)) >$T/id
        /r/bin/main /r/lib/libtwo.so 2>$T/errors; find $XDG_RUNTIME_DIR -name main | wc -l";
    inside("", run).prints("1 2\n1\n0\n0");
    inside("-o noexec", run).prints("1 2\n0\n0\n0");
    let full = "basename $(dirname $(find $XDG_RUNTIME_DIR -name table)) >$T/id
        /r/bin/main; echo $?; cat /r/lib/libone.so | wc -c >/dev/null";
    let outcome = inside("-o size=1m", full);
    assert!(outcome.err().contains("No space left on device"), "{outcome}");
    outcome.prints("126\n0\n0");
}

/// A family of root's serves members that have become another user: each has copies of its
/// own, and cannot come at the others'.
#[test]
fn members_of_two_users() {
    needs!("members_of_two_users", "cc", "root", "setpriv");
    let site = tree();
    let served = Served::start(&site, "a", "dir $T/d --auth none");
    let script = format!(
        r#"chmod 755 $T $T/d; /r/bin/main /r/lib/libtwo.so
        find $XDG_RUNTIME_DIR -path '*shelf/0/*' -type f | wc -l
        chmod 711 $XDG_RUNTIME_DIR
        setpriv --reuid {USER} --regid {USER} --clear-groups sh -c '
            /r/bin/main /r/lib/libtwo.so; ls $XDG_RUNTIME_DIR/privns/[0-9a-f]*/shelf/0 2>/dev/null | wc -c'
        find $XDG_RUNTIME_DIR -path '*shelf/{USER}/*' -type f -user {USER} | wc -l
        stat -c '%a %u' $XDG_RUNTIME_DIR/privns/[0-9a-f]*/shelf/*"#
    );
    let outcome = site.inside(&["--mount", &served.address(), "/r"], &script).run();
    let lines = outcome.ok();
    let want = format!("1 2\n3\n1 2\n0\n3\n700 0\n700 {USER}");
    assert_eq!(lines.trim(), want);
}

/// The program that ns-exec itself becomes finds its libraries as any other.
#[test]
fn the_first_program() {
    needs!("the_first_program", "cc");
    let site = tree();
    let more = r#"cd $T/d; cc -o bin/plain $T/main.c -Llib -lone; cat >$T/said.c <<'C'
#include <unistd.h>
__attribute__((constructor)) static void said(void) { write(1, "said\n", 5); }
unsigned la_version(unsigned version) { return version; }
C
        cc -shared -fPIC -o lib/libsaid.so $T/said.c"#;
    site.sh(more).run().ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let (at, d) = (served.address(), site.at("d"));
    for mount in [["--mount", &at, "/r"], ["--bind", &d, "/r"]] {
        let run = |words: &[&str]| site.ns_exec().args(mount).args(words).run();
        run(&["--", "/r/bin/main", "/r/lib/libtwo.so"]).prints("1 2");
        let path = ["--setenv", "LD_LIBRARY_PATH", "/r/lib", "--"];
        run(&[&path[..], &["/r/bin/plain", "libtwo.so"]].concat()).prints("1 2");
        run(&[&path[..], &[&site.at("d/bin/plain"), "libtwo.so"]].concat()).prints("1 2");
        for name in ["LD_PRELOAD", "LD_AUDIT"] {
            let first = ["--setenv", name, "/r/lib/libsaid.so", "--"];
            for program in ["/r/bin/main", &site.at("d/bin/main")] {
                let outcome = run(&[&first[..], &[program]].concat());
                assert_eq!((outcome.ok(), outcome.err()), ("said\n1 0".into(), String::new()));
            }
            let show = ["/bin/sh", "-c", &format!("echo ${name} ${{PRIVNS_AUDIT-}}")];
            let outcome = run(&[&first[..], &show].concat()).ok();
            assert!(outcome.contains("/r/lib/libsaid.so") && !outcome.contains("LD_AUDIT"));
        }
    }
}

/// A program whose parts are bound at places apart from each other finds them.
#[test]
fn parts_bound_apart() {
    needs!("parts_bound_apart", "cc");
    let site = tree();
    site.sh("cd $T; mv d/lib apart").run().ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let (at, bin, lib) = (served.address(), site.at("d/bin"), site.at("apart"));
    let script = "/r/bin/main /r/lib/libtwo.so; cd /r/bin; ./main ../lib/libtwo.so
        ./main '$ORIGIN/../lib/libtwo.so'; ./main libtwo.so";
    let want = "1 2\n1 2\n1 2\n1 2";
    let parts = ["--bind", &lib, "/r/lib"];
    site.inside(&[&["--bind", &bin, "/r/bin"], &parts[..]].concat(), script).run().prints(want);
    site.inside(&[&["--mount", &at, "/r"], &parts[..]].concat(), script).run().prints(want);
    site.sh("mkdir $T/e; mv $T/apart $T/e/lib").run().ok();
    let libs = Served::start(&site, "b", "dir $T/e");
    let union = ["--mount", &at, "/r", "--mount-after", &libs.address(), "/r"];
    site.inside(&union, script).run().prints(want);
}

/// A whole system that a server has, its loader and C library too, in place of the host's.
#[test]
fn a_whole_tree() {
    let site = Site::new();
    let copy = r#"
        mkdir -p $T/d/bin $T/d/tmp; cd $T/d; cp /bin/bash bin/sh; cp /bin/cat /bin/ls bin/
        for one in $(ldd bin/* | grep -o '/\(usr/\)*lib[^ ]*' | sort -u); do
            mkdir -p .${one%/*}; cp -L $one .$one
        done"#;
    site.sh(copy).run().ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let at = served.address();
    let options = ["--clear", "--mount", &at, "/", "--chdir", "/", "--setenv", "LC_ALL", "C"];
    let script = "pwd; ls /bin; cd tmp; echo text >f; cat f /etc/passwd; echo $?; cd ..; pwd";
    let outcome = site.inside(&options, script).run();
    outcome.prints("/\ncat\nls\nsh\ntext\n1\n/");
    assert_eq!(outcome.err(), "cat: /etc/passwd: No such file or directory");
}

/// On diod's tree as on ours.
#[test]
fn with_diod() {
    needs!("with_diod", "cc", "diod");
    let site = tree();
    let diod = Diod::start(&site, "d");
    let script = "/r/bin/main /r/lib/libtwo.so; /r/bin/main /r/lib/libtwo.so; cd /r/bin; ./main";
    site.inside(&["-e", &diod.mount("/r")], script).run().prints("1 2\n1 2\n1 0");
}

/// A compiler, an interpreter's modules and a program with libraries of its own.
#[test]
fn real_programs() {
    needs!("real_programs", "gcc", "python3", "perl", "make");
    let site = Site::new();
    let copy = r#"
        set -e; mkdir -p $T/d/gcc/bin $T/d/gcc/lib $T/d/py $T/d/perl $T/d/tool/bin $T/d/tool/lib
        cp $(readlink -f /usr/bin/gcc) $T/d/gcc/bin/gcc; cp -r /usr/lib/gcc $T/d/gcc/lib/
        cp -r $(/usr/bin/python3 -c 'import _ctypes, os; print(os.path.dirname(_ctypes.__file__))') $T/d/py/so
        util=$(perl -MList::Util -e 'print $INC{"List/Util.pm"}'); base=${util%/List/Util.pm}
        mkdir -p $T/d/perl/List $T/d/perl/auto/List; cp $util $T/d/perl/List/
        cp -r $base/auto/List/Util $T/d/perl/auto/List/
        cp /usr/bin/make $T/d/tool/bin/; for lib in $(ldd /usr/bin/make | awk '$3 ~ "^/" { print $3 }'); do
            case $lib in */libc.so.6) ;; *) cp $lib $T/d/tool/lib/ ;; esac
        done"#;
    site.sh(copy).limit(60).run().ok();
    let served = Served::start(&site, "a", "dir $T/d");
    let script = r#"
        cd /r/gcc; echo 'int main(void) { return 7; }' >t.c; bin/gcc -O2 -flto -o t t.c; ./t; echo $?
        /usr/bin/python3 -c '
import sys
sys.path = ["/r/py/so"] + [p for p in sys.path if not p.endswith("lib-dynload")]
import _ctypes, _json
print(_ctypes.__file__.split("/")[:4], _json.__name__)'
        perl -I/r/perl -e 'require List::Util; print List::Util::sum(1, 2, 3), " $INC{q(List/Util.pm)}\n"'
        cd /r/tool; printf 'all:\n\t@echo made by $(MAKE)\n' >Makefile
        LD_LIBRARY_PATH=/r/tool/lib bin/make"#;
    let want = "7\n['', 'r', 'py', 'so'] _json\n6 /r/perl/List/Util.pm\nmade by /r/tool/bin/make";
    site.inside(&["--mount", &served.address(), "/r"], script).limit(120).run().prints(want);
}

/// cargo builds a crate with a build script and a macro in its own library, all of it there.
#[test]
fn m2_cargo() {
    if !have("cargo") {
        say_skipped("m2_cargo", "cargo");
        return;
    }
    let site = Site::new();
    site.write(
        "d/Cargo.toml",
        "[package]\nname = \"main\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
         [dependencies]\nmac = { path = \"mac\" }\n[workspace]\n",
    );
    site.write(
        "d/mac/Cargo.toml",
        "[package]\nname = \"mac\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
         [lib]\nproc-macro = true\n",
    );
    site.write(
        "d/mac/src/lib.rs",
        "use proc_macro::TokenStream;\n#[proc_macro]\npub fn answer(_: TokenStream) -> TokenStream \
         { \"42\".parse().unwrap() }\n",
    );
    site.write(
        "d/build.rs",
        "fn main() { println!(\"cargo:rustc-env=BUILT={}\", \
         std::env::current_exe().unwrap().starts_with(\"/r/target\")); }\n",
    );
    site.write(
        "d/src/main.rs",
        "fn main() { println!(\"{} {} {}\", mac::answer!(), env!(\"BUILT\"), \
         std::env::current_exe().unwrap().display()); }\n#[test]\nfn t() {}\n",
    );
    let served = Served::start(&site, "a", "dir $T/d");
    let script = "cd /r; cargo build --offline --quiet && target/debug/main
        cargo run --offline --quiet; cargo test --offline --quiet 2>&1 | grep -c '1 passed'";
    let line = "42 true /r/target/debug/main";
    let outcome = site.inside(&["--mount", &served.address(), "/r"], script).limit(240).run();
    outcome.prints(&format!("{line}\n{line}\n1"));
}
