//! Families of processes: many, short-lived, killed, and other people's libraries.

use privns_shim_tests::{Ending, Served, Site, have, is_root, needs, say_skipped};

fn site() -> Site {
    let site = Site::new();
    site.write("src/f", "seen\n");
    site
}

fn bound(site: &Site, script: &str) -> privns_shim_tests::Cmd {
    site.inside(&["--bind", &site.at("src"), "/new"], script)
}

#[test]
fn a_thousand_short_lived_children() {
    let site = site();
    let script = "i=0; while [ $i -lt 1000 ]; do (read x </new/f; echo $x); i=$((i+1)); done | sort | uniq -c";
    assert_eq!(bound(&site, script).run().ok().trim(), "1000 seen");
    let exec = "i=0; while [ $i -lt 200 ]; do cat /new/f; i=$((i+1)); done | uniq -c";
    assert_eq!(bound(&site, exec).run().ok().trim(), "200 seen");
}

/// A member killed at any instant harms no other: binders are killed while they write
/// the table, and after each round the table still works, for reading and for writing.
#[test]
fn killed_at_any_instant() {
    let site = site();
    let script = r#"
        for round in $(seq 40); do
            for k in 1 2 3 4; do
                sh -c 'while :; do ns bind $T/src /k'$k'; ns unmount /k'$k'; cat /new/f; done' >/dev/null 2>&1 &
                pids="$pids $!"
            done
            sleep 0.0$((round % 10))
            for p in $pids; do pkill -KILL -P $p; kill -KILL $p; done 2>/dev/null
            wait 2>/dev/null; pids=
            cat /new/f || echo "round $round: lost"
            timeout 5 ns bind $T/src /r$round || echo "round $round: no bind"
            test -e /r$round/f || echo "round $round: not seen"
        done 2>/dev/null | sort | uniq -c"#;
    assert_eq!(bound(&site, script).limit(40).run().ok().trim(), "40 seen");
}

#[test]
fn the_last_member_takes_all_with_it() {
    let site = site();
    // A daemon outlives the program: the family lives on with it, then goes.
    let script = "setsid sh -c 'sleep 1; cat /new/f >$T/late' >/dev/null 2>&1 & exit 3";
    assert_eq!(bound(&site, script).run().ending, Ending::Exit(3));
    std::thread::sleep(std::time::Duration::from_millis(1600));
    assert_eq!(std::fs::read_to_string(site.path("late")).unwrap_or_default(), "seen\n");
}

/// Nobody waits for our output: the keeper holds no descriptor of the program.
#[test]
fn the_keeper_holds_no_pipe_open() {
    let site = site();
    site.mkdir("pub");
    let script = "start=$(date +%s%N); ns-exec --family $F --private $T/pub -- true | cat
        echo $(( ($(date +%s%N) - start) / 1000000000 ))";
    site.sh(script).run().prints("0");
    // And the program has no child that it did not make.
    let wait = "wait; ps -o pid= --ppid $$ | wc -l";
    let count = site.inside(&["--private", &site.at("pub")], wait).run().ok();
    assert!(count == "2" || count == "1", "ps itself, and the subshell: {count}");
}

#[test]
fn as_the_first_process() {
    needs!("as_the_first_process", "root", "unshare");
    let site = site();
    site.mkdir("pub");
    let script = "unshare -p -f --mount-proc ns-exec --family $F --private $T/pub --bind $T/src /new -- \
                  sh -c 'echo $$; cat /new/f; (true) & wait; echo waited'";
    site.sh(script).run().prints("1\nseen\nwaited");
    // The kernel ended the keeper with its process 1; what is left is for reap.
    site.ns().arg("reap").run().ok();
}

#[test]
fn the_environment_cleaned() {
    let site = site();
    let script = "env -i /bin/cat /new/f; env -i /bin/sh -c 'cat /new/f; env -i /bin/cat /new/f'
        env -u LD_PRELOAD cat /new/f; (unset LD_PRELOAD; LD_PRELOAD= cat /new/f); exec cat /new/f";
    bound(&site, script).run().prints("seen\nseen\nseen\nseen\nseen\nseen");
}

#[test]
fn libraries_in_front() {
    let site = site();
    let dirs = [
        "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
        "/usr/lib/aarch64-linux-gnu/libjemalloc.so.2",
    ];
    match dirs.iter().find(|d| have(d)) {
        Some(jemalloc) => {
            let script =
                "cat /new/f; sh -c 'cat /new/f; grep -c jemalloc /proc/self/maps | grep -vc ^0'";
            bound(&site, script).env("LD_PRELOAD", jemalloc).run().prints("seen\nseen\n1");
        }
        None => say_skipped("libraries_in_front", "libjemalloc2"),
    }
    needs!("libraries_in_front", "fakeroot");
    let script = "fakeroot sh -c 'id -u; cat /new/f; touch /new/o; chown 12:34 /new/o; stat -c %u:%g /new/o; rm /new/o'";
    bound(&site, script).run().prints("0\nseen\n12:34");
    let around = "fakeroot ns-exec --family $F --bind $T/src /new -- sh -c 'id -u; cat /new/f'";
    site.sh(around).run().prints("0\nseen");
}

/// The kernel answers EFAULT, and so do we: no program dies of it.
#[test]
fn pointers_that_lead_nowhere() {
    needs!("pointers_that_lead_nowhere", "python3");
    let site = site();
    site.write("nowhere.py", include_str!("nowhere.py"));
    let script = "cd $R && python3 $T/nowhere.py";
    let native = site.sh(script).env("R", site.mkdir("plain")).run();
    assert!(native.ok().matches("EFAULT").count() > 80, "{native}");
    bound(&site, script).env("R", "/new").run().prints(&native.out());
    site.inside(&["--tmpfs", "/m"], script).env("R", "/m").run().prints(&native.out());
}

/// Valgrind says on standard error which calls it does not know.
#[test]
fn under_valgrind() {
    needs!("under_valgrind", "valgrind", "/bin/cat");
    let script = "cp /bin/cat /new; cd /new; valgrind -q ./cat f /new/f 2>&1";
    bound(&site(), script).limit(60).run().prints("seen\nseen");
}

#[test]
fn scripts_and_programs_that_lie_in_a_bind() {
    let site = site();
    site.write("src/inner", "#!/new/sh -e\necho from $0\n");
    site.write("src/env", "#!/usr/bin/env -S cat\nline\n");
    site.write("src/deep", "#!/new/inner\n");
    site.write("src/none", "#!/new/missing\n");
    let script = r"cp /bin/sh /bin/cat /new; chmod 755 /new/*; /new/inner; /new/env; /new/cat /new/f; PATH=/new; inner; cat /new/f
        /new/deep; echo $?; /new/none 2>/dev/null; echo $?; /new/sh -c 'readlink /proc/self/exe 2>/dev/null; echo $0'; exec /new/cat /new/f";
    let outcome = bound(&site, script).run();
    let native = "from /new/inner\n#!/usr/bin/env -S cat\nline\nseen\nfrom /new/inner\nseen\nfrom /new/inner\n0\n127\n/new/sh\nseen";
    outcome.prints(native);
}

#[test]
fn a_program_of_a_bind_knows_its_own_name() {
    needs!("knows_its_own_name", "/usr/bin/readlink");
    let site = site();
    let script = "cp /usr/bin/readlink /new/rl; /new/rl /proc/self/exe; cd /new; ./rl /proc/self/exe; /new/rl -f /proc/self/exe";
    bound(&site, script).run().prints("/new/rl\n/new/rl\n/new/rl");
}

/// What a program was started with is called by others as it calls it itself.
#[test]
fn what_links_in_proc_say_of_other_members() {
    let site = site();
    let script = r#"cd /new; mkdir d; cp /bin/sleep d/sl; cd d; ./sl 60 <../f 3<. & p=$!; cd /
        until [ "$(cat /proc/$p/comm)" = sl ]; do sleep 0.01; done
        (cd /new; sh -c 'exec 4<d/sl; readlink /proc/$$/fd/4'); for l in cwd exe fd/0 fd/3 root; do readlink /proc/$p/$l; done; cat /proc/$p/fd/0
        cd /proc/$p; readlink cwd fd/0; realpath cwd exe; kill $p"#;
    let names =
        "/new/d/sl\n/new/d\n/new/d/sl\n/new/f\n/new/d\n/\nseen\n/new/d\n/new/f\n/new/d\n/new/d/sl";
    bound(&site, script).run().prints(names);
    // Of a server's file they have nothing to read but what stands for it.
    let script = r"cd /m; echo text >f; sleep 60 <f & p=$!; until grep -q sleep /proc/$p/comm; do sleep 0.01; done
        cat /proc/self/fd/0 <f; cat /proc/$p/fd/0 2>&1 | grep -o 'No such device.*'
        stat -Lc %s /proc/$p/fd/0 2>&1 | grep -o 'No such device.*'; kill $p";
    let outcome = site.inside(&["--tmpfs", "/m"], script).run();
    outcome.prints("text\nNo such device or address\nNo such device or address");
}

#[test]
fn libraries_of_a_bind() {
    needs!("libraries_of_a_bind", "cc");
    let site = site();
    site.write("src/own.c", "int own(void) { return 7; }\n");
    site.write("src/main.c", "int own(void);\nint main(void) { return own(); }\n");
    let script = r"cd /new && mkdir lib && cc -shared -fPIC -o lib/libown.so own.c
        cc -o origin main.c -Llib -lown -Wl,-rpath,'$ORIGIN/lib'; cc -o absolute main.c -Llib -lown -Wl,-rpath,/new/lib
        cc -o plain main.c -Llib -lown; cd /
        /new/origin; echo $?; /new/absolute; echo $?; LD_LIBRARY_PATH=/new/lib /new/plain; echo $?; /new/plain 2>/dev/null; echo $?; (cd /new; ./origin; echo $?)";
    bound(&site, script).limit(40).run().prints("7\n7\n7\n127\n7");
}

/// A loader that is run as a program (ld.so(8)) finds what it is to run, and its
/// libraries.
#[test]
fn loaders_that_are_run_by_name() {
    needs!("loaders_that_are_run_by_name", "cc", "ldd");
    let site = site();
    site.write("src/own.c", "int own(void) { return 7; }\n");
    site.write(
        "src/main.c",
        "#include <stdio.h>\nint own(void);\nint main(int n, char **v) { puts(v[0]); return own() + n; }\n",
    );
    let script = r#"cd $R; mkdir lib; cc -shared -fPIC -o lib/libown.so own.c
        cc -o main main.c -Llib -lown -Wl,-rpath,'$ORIGIN/lib'; cc -o plain main.c -Llib -lown; echo text >text
        L=$(ldd /bin/sh | grep -o '/[^ ]*/ld-[^ ]*' | head -n 1); cd /
        ldd $R/main | grep -c 'libown.so => .*/lib/libown.so'; ldd $R/text; ldd $R/plain | grep -c 'not found'
        $L $R/main a b; echo $?; $L --library-path $R/lib $R/plain; echo $?; $L --argv0 other $R/main; echo $?
        cd $R; $L ./main; echo $?; $L --verify ./main; echo $?; $L --verify ./none; echo $?; $L --list $R/none 2>&1"#;
    let native = site.sh(script).env("R", site.at("src")).run();
    let fresh = self::site();
    for file in ["own.c", "main.c"] {
        std::fs::copy(site.at(&format!("src/{file}")), fresh.at(&format!("src/{file}"))).unwrap();
    }
    let inside = bound(&fresh, script).env("R", "/new").run();
    let own = |text: String| text.replace(&site.at("src"), "/new");
    assert_eq!((inside.out(), inside.err()), (own(native.out()), own(native.err())), "{native}");
    assert!(native.out().starts_with("1\n1\n"), "{native}");
}

#[test]
fn job_control_on_a_terminal() {
    needs!("job_control", "/usr/bin/python3");
    let site = site();
    site.write("talk.py", TALK);
    let script =
        "exec /usr/bin/python3 $T/talk.py ns-exec --family $F --bind $T/src /new -- bash --norc -i";
    site.sh(script).run().prints("seen\ninterrupted 130\nstopped\n/new\nbye");
}

/// Talks to an interactive shell over a terminal: a command, Ctrl-C, Ctrl-Z, leaving.
const TALK: &str = r#"
import os, pty, re, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.environ['PS1'] = '> '
    os.execvp(sys.argv[1], sys.argv[1:])
seen = b''
def until(pattern):
    global seen
    end = time.time() + 30
    while not re.search(pattern, seen):
        if time.time() > end: print('no', pattern, seen); sys.exit(1)
        try: seen += os.read(fd, 4096)
        except OSError: break
    m = re.search(pattern, seen); seen = seen[m.end():] if m else b''
    return m
def say(line): os.write(fd, line)
until(rb'> ')
say(b'stty -echo; cat /new/f\n'); until(rb'seen\r\n'); print('seen')
say(b'echo go; sleep 30\n'); until(rb'go\r\n'); time.sleep(.3); say(b'\x03'); say(b'echo status=$?\n'); print('interrupted', until(rb'status=(\d+)').group(1).decode())
say(b'echo go; sleep 30\n'); until(rb'go\r\n'); time.sleep(.3); say(b'\x1a'); until(rb'Stopped'); say(b'kill %1; jobs -p | wc -l\n'); until(rb'\d'); print('stopped')
say(b'cd /new; echo at=$PWD=\n'); print(until(rb'at=(.*?)=').group(1).decode())
say(b'exit 0\n'); os.waitpid(pid, 0); print('bye')
"#;

#[test]
fn a_core_is_dumped() {
    let site = site();
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let script = "ulimit -c unlimited; cd /new; sh -c 'kill -SEGV $$'; echo $?; ls /new/core* 2>/dev/null | wc -l";
    let native = site.sh("ulimit -c unlimited; cd $T/src; sh -c 'kill -SEGV $$'; echo $?; ls core* 2>/dev/null | wc -l; rm -f core*").run();
    let inside = bound(&site, script).run();
    assert_eq!(inside.out(), native.out(), "core_pattern {pattern}: {inside}");
}

#[test]
fn setgid_directories_and_umask() {
    let site = site();
    let script = |at: &str| {
        format!(
            "cd {at}; umask 027; mkdir s; chmod 2775 s; touch s/f; mkdir s/d; stat -c '%a %n' s s/f s/d; rm -r s"
        )
    };
    let native = site.sh(&script("$T/src")).run().ok();
    bound(&site, &script("/new")).run().prints(&native);
}

#[test]
fn tail_follows_a_file_of_a_bind() {
    let site = site();
    let script = "timeout 5 tail -n +1 -f /new/f >$T/tail & sleep .4; echo more >>/new/f; i=0
        until grep -q more $T/tail || [ $i -gt 40 ]; do sleep .1; i=$((i+1)); done; kill $!; cat $T/tail";
    bound(&site, script).run().prints("seen\nmore");
}

#[test]
fn pythons_own_file_tests() {
    needs!("pythons_own_file_tests", "/usr/bin/python3.11", "/usr/lib/python3.11/test/test_os.py");
    for name in [
        "test_posixpath",
        "test_glob",
        "test_tempfile",
        "test_shutil",
        "test_genericpath",
        "test_fileio",
    ] {
        cpython(name);
    }
}

#[test]
fn pythons_own_os_tests() {
    needs!("pythons_own_os_tests", "/usr/bin/python3.11", "/usr/lib/python3.11/test/test_os.py");
    for name in ["test_os", "test_posix"] {
        cpython(name);
    }
}

#[test]
fn pythons_own_subprocess_tests() {
    needs!(
        "pythons_own_subprocess_tests",
        "/usr/bin/python3.11",
        "/usr/lib/python3.11/test/test_os.py"
    );
    cpython("test_subprocess.POSIXProcessTestCase");
}

/// One of CPython's own test modules, in a private /tmp and a bound work directory: it
/// must have the very failures, if any, that it has on this host.
fn cpython(name: &str) {
    let site = Site::new();
    let script = format!(
        "cd $W && timeout 60 /usr/bin/python3.11 -m unittest -q test.{name} 2>&1 | \
         grep -E '^(FAIL|ERROR|Ran)' | sed 's/ in [0-9.]*s//' | sort"
    );
    site.mkdir("src");
    site.mkdir("real");
    let native = site.sh(&script).env("W", site.path("real")).limit(70).run();
    let options = ["--private", "/tmp", "--bind", &site.at("src"), "/new"];
    let inside = site.inside(&options, &script).env("W", "/new").limit(70).run();
    assert!(native.out().contains("Ran "), "{native}");
    assert_eq!(inside.out(), native.out(), "{name}{}", if is_root() { " as root" } else { "" });
}

/// Where a member is that has gone to a mount, in its own eyes and in others'.
#[test]
fn directories_of_members_on_mounts() {
    let site = Site::new();
    site.sh("mkdir -p \"$T/d/a/b %c\"; echo text >$T/d/a/f").run().ok();
    let long = format!("/{}", "d".repeat(200)).repeat(2);
    let script = format!(
        r#"cd "$D/a"; ls /proc/self/cwd/; ls /proc/$$/cwd; cat /proc/$$/cwd/f; realpath /proc/$$/cwd
        sh -c 'cd "b %c"; echo >"$T/there"; exec sleep 9' & p=$!
        until [ -e $T/there ] && [ "$(cat /proc/$p/comm)" = sleep ]; do sleep .02; done; rm $T/there
        readlink /proc/$p/cwd; stat -c %F /proc/$p/cwd /proc/$p/cwd/; cat /proc/$p/cwd/../f; (cd /proc/$p/cwd; pwd -P)
        kill $p; mkdir -p "$D{long}"; cd "$D{long}"; readlink /proc/self/cwd"#
    );
    let run = |options: &[&str], dir: &str| {
        let outcome = site.inside(options, &script).env("D", dir).run();
        outcome.ok().replace(dir, "$D")
    };
    let native = site.sh(&script).env("D", site.path("d")).run().ok().replace(&site.at("d"), "$D");
    site.sh("rm -r $T/d/ddd*").run().ok();
    let served = Served::start(&site, "a", "dir $T/d");
    assert_eq!(run(&["--mount", &served.address(), "/r"], "/r"), native);
}

/// What is mapped and shared goes with the family, whatever became of those who had it; while the
/// family lives, `ns reap` removes what nobody has any more.
#[test]
fn mappings_of_killed_members_are_no_more() {
    needs!("mappings_of_killed_members_are_no_more", "/usr/bin/python3");
    let site = Site::new();
    // It is there as long as it is used: the keepers of other families remove it too.
    site.write(
        "map.py",
        "import glob, mmap, os, signal, sys\nf = open('/r/f', 'w+b'); f.truncate(100000)\nm = mmap.mmap(f.fileno(), 0); m[0] = 7\nprint(len(glob.glob(sys.argv[1])), flush=True)\nos.kill(os.getpid(), signal.SIGKILL)",
    );
    let map = "basename $(dirname $(find $XDG_RUNTIME_DIR -name table)) >$T/id
        /usr/bin/python3 $T/map.py \"/dev/shm/privns-$(id -u)/map-$(cat $T/id)-*\"; echo $?";
    let left = "ls -d /dev/shm/privns-$(id -u)/map-$(cat $T/id)-* 2>/dev/null | wc -l";
    let reaped = format!("{map}; ns reap; {left}");
    site.inside(&["--tmpfs", "/r"], &reaped).run().prints("1\n137\n0");
    site.inside(&["--tmpfs", "/r"], map).run().prints("1\n137");
    privns_shim_tests::until("the keeper has cleared up", || site.sh(left).run().ok() == "0");
}
