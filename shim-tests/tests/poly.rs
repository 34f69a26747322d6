//! Private directories by the rules of namespace.conf: the administrator's pains
//! that need neither Slurm nor sshd, each by its row, and what goes wrong.

use privns_shim_tests::rules::{is_empty, mode, poly, soon, start, sticky, with};
use privns_shim_tests::{Ending, Outcome, Site, needs, tools};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::PathBuf;

/// Ordinary users that need no name of their own in /etc/passwd: they have one.
const USERS: [(u32, &str); 2] = [(1, "daemon"), (65534, "nobody")];

/// Reaps a user's instances and checks that nothing is left of them.
fn reap_own(site: &Site) {
    let uid = rustix::process::geteuid().as_raw().to_string();
    site.ns().args(["reap", "--user", &uid]).run().ok();
}

#[test]
fn p13_the_blogs_configuration_verbatim() {
    let rules = "/tmp      /tmp/usertmp/      user  root,admin1\n\
                 /dev/shm  /dev/shm/usertmp/  user  root,admin1,admin2\n";
    let site = with(rules);
    let dumped = site.cmd("ns-exec").args(["--poly", &site.at("conf"), "--dump"]).run();
    if privns_shim_tests::is_root() {
        // Exempt: the host's.
        assert_eq!(dumped.ok(), "");
        poly(&site, "ls -d /tmp/usertmp 2>&1; stat -c %i /tmp")
            .run()
            .prints(&site.sh("ls -d /tmp/usertmp 2>&1; stat -c %i /tmp").run().out());
    } else {
        let lines = "private -i '/tmp/usertmp/ user' /tmp\n\
                     private -i '/dev/shm/usertmp/ user' /dev/shm";
        assert_eq!(dumped.ok(), lines);
    }
}

#[test]
fn p13_two_users_are_apart() {
    needs!("p13_two_users_are_apart", "root", "setpriv", "python3");
    let site = with("/tmp $T/i/tmp- user root,admin1\n/dev/shm $T/i/shm- user root,admin1\n");
    let python = "import os, sys
from multiprocessing import Lock, shared_memory
s = shared_memory.SharedMemory('privns_p13', create=True, size=1 << 20)
Lock().acquire()
import socket
u = socket.socket(socket.AF_UNIX); u.bind('/tmp/socket')
open('/tmp/x', 'w').write(sys.argv[1])
print(sorted(os.listdir('/tmp')), sorted(n for n in os.listdir('/dev/shm') if 'p13' in n))
u.close(); s.close(); s.unlink()";
    site.write("p.py", python);
    for (uid, name) in USERS {
        let run = site.as_user(uid, "ns-exec");
        mode(site.root(), 0o755);
        chown(site.root(), Some(0), Some(0)).expect("chown");
        let run = run.args(["--poly", &site.at("conf"), "--", "python3", &site.at("p.py"), name]);
        run.run().prints("['socket', 'x'] ['privns_p13']");
        // The next user's runtime directory is to be its own.
        soon("nothing is left but instances", || !site.path("run/privns").exists());
        assert_eq!(fs::read_to_string(site.path(format!("i/tmp-{name}/dir/x"))).unwrap(), name);
        let holder = fs::metadata(site.path(format!("i/tmp-{name}"))).unwrap();
        assert_eq!((holder.uid(), holder.mode() & 0o7777), (uid, 0o700));
    }
    // P16: one user's are cleared away, and the other's stay.
    let site_reap = |user: &str| site.ns().args(["reap", "--user", user]).run().ok();
    site_reap("daemon");
    assert!(!site.path("i/tmp-daemon").exists() && site.path("i/tmp-nobody/dir/x").exists());
    site_reap("nobody");
    assert!(is_empty(&site.path("i")));
}

#[test]
fn p13_a_closed_parent_names_the_remedy() {
    needs!("p13_a_closed_parent", "root", "setpriv");
    let site = with("/tmp $T/i/ user\n");
    for closed in [0, 0o711, 0o755] {
        let run = site.as_user(65534, "ns-exec");
        chown(site.root(), Some(0), Some(0)).expect("chown");
        mode(&site.path("i"), closed);
        let run = run.args(["--poly", &site.at("conf"), "--", "ls", "/tmp"]).run();
        run.refuses(125, &["conf:1: ", "Permission denied", "chmod 1777", "mode 0700"]);
        assert_eq!(run.out(), "");
    }
    // What an administrator has made for the user serves.
    mode(&site.path("i"), 0o711);
    let own = site.mkdir("i/nobody");
    mode(&own, 0o700);
    chown(&own, Some(65534), Some(65534)).expect("chown");
    let run = site.as_user(65534, "ns-exec");
    chown(site.root(), Some(0), Some(0)).expect("chown");
    run.args([
        "--poly",
        &site.at("conf"),
        "--",
        "sh",
        "-c",
        "ls -A /tmp; echo x >/tmp/x; cat /tmp/x",
    ])
    .run()
    .prints("x");
    assert!(own.join("dir/x").exists());
    site.ns().args(["reap", "--user", "nobody"]).run().ok();
    assert!(is_empty(&own));
}

#[test]
fn p14_squatting_in_a_sticky_parent() {
    needs!("p14", "root", "setpriv");
    let site = with("/tmp $T/i/ user\n");
    let name = site.path("i/nobody");
    let refused = |said: &[&str]| {
        let run = site.as_user(65534, "ns-exec");
        chown(site.root(), Some(0), Some(0)).expect("chown");
        let run = run.args(["--poly", &site.at("conf"), "--", "ls", "/tmp"]).run();
        run.refuses(125, said);
        assert_eq!(run.out(), "");
    };
    fs::create_dir(&name).unwrap();
    chown(&name, Some(1), Some(1)).unwrap();
    refused(&["somebody has taken the name nobody", "user 1"]);
    mode(&name, 0o700);
    refused(&["somebody has taken the name nobody", "user 1"]);
    fs::remove_dir(&name).unwrap();
    symlink(site.mkdir("victim"), &name).unwrap();
    refused(&["somebody has taken the name nobody", "no directory"]);
    std::os::unix::fs::lchown(&name, Some(1), Some(1)).unwrap();
    refused(&["somebody has taken the name nobody", "no directory"]);
    fs::remove_file(&name).unwrap();
    for loose in [0o777, 0o775, 0o773] {
        mode(&site.path("i"), loose);
        chown(site.path("i"), Some(0), Some(1)).unwrap();
        refused(&["others may write it and it is not sticky", "chmod 1777"]);
    }
    mode(&site.path("i"), 0o1777);
    chown(site.path("i"), Some(1), Some(1)).unwrap();
    refused(&["it belongs to user 1"]);
    // A link on the way that another user may exchange.
    chown(site.path("i"), Some(0), Some(0)).unwrap();
    symlink(site.path("i"), site.path("link")).unwrap();
    std::os::unix::fs::lchown(site.path("link"), Some(1), Some(1)).unwrap();
    site.write("conf", format!("/tmp {}/ user\n", site.at("link")));
    refused(&["a symbolic link of user 1"]);
    assert!(is_empty(&site.path("i")) && is_empty(&site.path("victim")));
}

#[test]
fn p6_jobs_share_by_their_number_and_no_other() {
    let site = with("/tmp $T/i/$JOB.$NODE. job\n/dev/shm $T/i/shm. job\n");
    let script = "echo $SLURM_JOB_ID >/tmp/x; touch $T/go$SLURM_JOB_ID; until test -e $T/end; do sleep .05; done; cat /tmp/x";
    let job = |id: &str, script: &str| {
        poly(&site, script).env("SLURM_JOB_ID", id).env("SLURMD_NODENAME", "n1")
    };
    let one = start(&site, job("71", script), "go71");
    let two = start(&site, job("72", script), "go72");
    for id in ["71", "72"] {
        job(id, "cat /tmp/x; ls /dev/shm").run().prints(id);
    }
    // One that is queued again is another job.
    job("71", "ls -A /tmp").env("SLURM_RESTART_COUNT", "1").run().prints("");
    let own = poly(&site, "ls -A /tmp").env("PRIVNS_JOB", "mine").env("SLURMD_NODENAME", "n1");
    own.run().prints("");
    // Reaping a job that runs does nothing, and another's is not touched.
    site.ns().args(["reap", "--job", "71"]).run().ok();
    let listed = site.ns().args(["instances", "--json"]).run().ok();
    assert_eq!(listed.matches("\"job\":\"71.0\"").count(), 2, "{listed}");
    site.write("end", "");
    assert_eq!([one.wait(10), two.wait(10)], [Ending::Exit(0), Ending::Exit(0)]);
    soon("the instances go with their jobs", || is_empty(&site.path("i")));
    poly(&site, "true")
        .run()
        .refuses(125, &["conf:1: ", "$JOB: there is no batch job", "PRIVNS_JOB"]);
}

#[test]
fn p7_what_a_crash_leaves_is_reaped_by_its_job() {
    let site = with("/tmp $T/i/ job\n");
    site.write("victim/kept", "");
    let crash = |job: &str| {
        let script = format!("ln -s $T/victim /tmp/link; touch $T/ready{job}; exec sleep 60");
        let member = poly(&site, &script).env("PRIVNS_JOB", job);
        let member = start(&site, member, &format!("ready{job}"));
        // The keeper first: nobody is to clean up.
        let pids = format!(
            "ns --pid {} ps --json | grep -c sleep >/dev/null; k=$(ns families --json | \
             python3 -c 'import json,sys; print(*[f[\"keeper\"] for f in json.load(sys.stdin)[\"families\"]])'); \
             for p in $k; do kill -9 $p || [ ! -e /proc/$p ]; done",
            member.pid()
        );
        site.sh(&pids).run().ok();
        member
    };
    let [one, two] = ["81", "82"].map(crash);
    let jobs = || {
        let names = fs::read_dir(site.path("i")).unwrap().flatten();
        let mut names: Vec<_> = names.map(|e| e.file_name().into_string().unwrap()).collect();
        names.sort();
        names.iter().map(|n| n[..2].to_owned()).collect::<Vec<_>>()
    };
    // Without their keepers, members keep what they use.
    site.ns().arg("reap").run().ok();
    assert_eq!(jobs(), ["81", "82"]);
    drop(one);
    site.ns().args(["reap", "--job", "81"]).run().ok();
    assert_eq!(jobs(), ["82"]);
    drop(two);
    site.ns().arg("reap").run().ok();
    assert!(is_empty(&site.path("i")));
    assert!(site.path("victim/kept").exists(), "reaping follows no link");
}

#[test]
fn p7_an_open_file_outlives_its_instance() {
    let site = with("/tmp $T/i/ family\n");
    let script = "echo text >/tmp/x; exec 3</tmp/x; rm -r /tmp/x; cat <&3; ls /tmp";
    poly(&site, script).run().prints("text");
    soon("it goes with its family", || is_empty(&site.path("i")));
}

#[test]
fn p8_what_shows_mounts_agrees() {
    needs!("p8_what_shows_mounts_agrees", "findmnt", "df");
    let site = with("/tmp $T/i/ tmpdir\n");
    let script = "touch /tmp/x; grep -c ' /tmp ' /proc/self/mounts; findmnt -no TARGET -T /tmp/x; df --output=target /tmp/x | tail -1
        ns why /tmp/x | sed -n 's/^  by //p; s/^  given by .*conf/conf/p'; ns --pid $$ | cmp - $T/lines";
    site.write("lines", format!("private -i '{}/ tmpdir' /tmp\n", site.at("i")));
    let rule = format!("private -i '{}/ tmpdir' /tmp", site.at("i"));
    poly(&site, script).run().prints(&format!("1\n/tmp\n/tmp\n{rule}\nconf:1"));
    soon("it goes with its family", || is_empty(&site.path("i")));
}

#[test]
fn p10_rules_for_jobs_that_run() {
    let site = with("/tmp $T/i/ family\n/dev/shm $T/i/shm. family\n");
    let script =
        "until test -e /tmp/fixed; do sleep .05; done; cat /tmp/fixed; stat -c %a /dev/shm";
    let member =
        site.inside(&["--dir", "/new"], &format!("touch $T/ready; {{ {script}; }} >$T/said"));
    let member = start(&site, member, "ready");
    let before = site.ns().args(["--family", site.family()]).run().ok();
    let generation = || {
        let stat = site.ns().args(["--family", site.family(), "stat", "--json"]).run().ok();
        stat.split("\"generation\":").nth(1).unwrap().split([',', '}']).next().unwrap().to_owned()
    };
    let at = generation();
    let run =
        |file: &str| site.ns().args(["--family", site.family(), "poly", &site.at(file)]).run();
    for (bad, said) in [
        ("/tmp $T/i/ family\n\n/dev/shm $T/i/ famly\n", "badconf:3: field 3, famly"),
        ("/tmp $T/i/ family\n/none $T/i/none. family\n", "badconf:2: "),
        ("/tmp $T/i/ family\n/dev/shm $T/none/such/ family\n", "badconf:2: "),
    ] {
        site.write("badconf", bad.replace("$T", &site.root().to_string_lossy()));
        run("badconf").refuses(1, &[said]);
        assert_eq!(site.ns().args(["--family", site.family()]).run().ok(), before);
        assert_eq!(generation(), at);
        assert!(is_empty(&site.path("i")), "{said}: what was made is taken back");
    }
    run("conf").ok();
    let dirs: Vec<PathBuf> =
        fs::read_dir(site.path("i")).unwrap().flatten().map(|e| e.path()).collect();
    assert_eq!(dirs.len(), 2);
    let tmp = dirs.iter().find(|d| !d.to_string_lossy().contains("shm.")).unwrap();
    fs::write(tmp.join("dir/fixed"), "recovered\n").unwrap();
    assert_eq!(member.wait(10), Ending::Exit(0));
    assert_eq!(fs::read_to_string(site.path("said")).unwrap(), "recovered\n1777\n");
    soon("they go with the family", || is_empty(&site.path("i")));
}

#[test]
fn p16_a_users_stay_until_they_are_reaped() {
    let site = with("/tmp $T/i/ user\n");
    poly(&site, "echo kept >/tmp/x").run().ok();
    let member = poly(&site, "cat /tmp/x >$T/said; touch $T/ready; exec sleep 60");
    let member = start(&site, member, "ready");
    assert_eq!(fs::read_to_string(site.path("said")).unwrap(), "kept\n");
    reap_own(&site);
    assert!(!is_empty(&site.path("i")), "somebody uses it");
    drop(member);
    soon("nobody uses it", || {
        let listed = site.ns().arg("instances").run().ok();
        listed.lines().any(|line| line.contains(&site.at("i")) && line.contains("unused"))
    });
    site.ns().arg("reap").run().ok();
    assert!(!is_empty(&site.path("i")), "it stays by its method");
    reap_own(&site);
    assert!(is_empty(&site.path("i")));
}

/// What another program holds is not cleared away, also when it was made later.
#[test]
fn an_instance_that_is_added_later_is_held_too() {
    needs!("an_instance_that_is_added_later", "flock");
    let site = with("/tmp $T/i/ family\n");
    site.mkdir("pub");
    let script = "ns private $T/pub; ns poly $T/conf; touch $T/ready; exec sleep 60";
    let member = start(&site, site.inside(&["--dir", "/new"], script), "ready");
    let locked = "for d in $T/pub/.privns-*/* $T/i/*; do flock -nx $d true || echo held; done";
    site.sh(locked).run().prints("held\nheld");
    drop(member);
    soon("they go with the family", || is_empty(&site.path("i")) && is_empty(&site.path("pub")));
}

#[test]
fn scripts_set_instances_up() {
    let site = with("/tmp $T/i/ user:iscript=$T/init\n");
    let init = "#!/bin/sh\nenv | grep -vE '^(LD_PRELOAD|PRIVNS|PRIVNS_IMAGE|PWD|SHLVL|_)=' >>$T/said\n\
                echo \"$1 $2 $3 $4 $#\" >>$T/said; echo made >>/tmp/x; exit 3\n";
    let init = site.write("init", init.replace("$T", &site.root().to_string_lossy()));
    poly(&site, "true").run().refuses(125, &["the script ", "init: Permission denied", "noinit"]);
    mode(&init, 0o755);
    let user = site.sh("id -un").run().ok();
    for (new, lines) in [(1, "made"), (0, "made\nmade")] {
        poly(&site, "cat /tmp/x").run().prints(lines);
        let said = fs::read_to_string(site.path("said")).unwrap();
        let dir = site.path(format!("i/{user}/dir"));
        assert_eq!(said, format!("/tmp {} {new} {user} 6\n", dir.display()));
        fs::remove_file(site.path("said")).unwrap();
    }
    reap_own(&site);
    // The file's neighbour is the default, and noinit means none.
    fs::rename(&init, site.path("namespace.init")).unwrap();
    site.write("conf", format!("/tmp {0}/ family\n/dev/shm {0}/ family:noinit\n", site.at("i")));
    poly(&site, "cat /tmp/x").run().prints("made");
    assert_eq!(fs::read_to_string(site.path("said")).unwrap().lines().count(), 1);
}

#[test]
fn modes_are_the_originals_or_as_create_says() {
    let site = with(
        "$T/have $T/i/h. family\n$T/none $T/i/n. family:create=0751\n$T/mem - tmpfs:mntopts=nosuid,mode=0750\n",
    );
    mode(&site.mkdir("have"), 0o2770);
    site.mkdir("mem");
    let script =
        "stat -c '%a %U' $T/have $T/none $T/mem; touch $T/none/x $T/mem/y; ls $T/none $T/mem";
    let user = site.sh("id -un").run().ok();
    let t = site.at("");
    let t = t.trim_end_matches('/');
    poly(&site, script)
        .run()
        .prints(&format!("2770 {user}\n751 {user}\n750 {user}\n{t}/mem:\ny\n\n{t}/none:\nx"));
    assert!(!site.path("none").exists() && is_empty(&site.path("mem")));
    soon("they go with the family", || is_empty(&site.path("i")));
    let left = fs::read_dir("/dev/shm").unwrap().flatten().map(|e| e.file_name());
    let own = format!(".privns-tmpfs-{user}.");
    soon("the one in memory goes too", || {
        let mut left = fs::read_dir("/dev/shm").unwrap().flatten().map(|e| e.file_name());
        !left.any(|n| n.to_string_lossy().starts_with(&own))
    });
    drop(left);
    site.write("conf", format!("{t}/none {t}/i/ family\n"));
    poly(&site, "true").run().refuses(125, &["conf:1: ", "No such file", "create"]);
}

/// A dump travels as rules: what it builds has instances of its own.
#[test]
fn rules_are_dumped_and_restored() {
    let site = with("/tmp $T/i/$JOB- job\n/dev/shm $T/i/ tmpdir\n");
    let script = "echo $PRIVNS_JOB >/tmp/x; ns >$T/1; ns-exec -n $T/1 --dump | cmp - $T/1
        PRIVNS_JOB=b ns-exec --restore $T/1 -- sh -c 'ls -A /tmp; ns | cmp - $T/1'
        ns-exec --restore $(ns-exec --dump=token) -- sh -c 'cat /tmp/x; ls -A /dev/shm'";
    poly(&site, script).env("PRIVNS_JOB", "a").run().prints("a");
    soon("they go with their families", || is_empty(&site.path("i")));
}

#[test]
fn every_malformed_line_builds_nothing() {
    let site = with("");
    for (line, said) in [
        ("/tmp", "field 2"),
        ("/tmp $T/i/", "field 3"),
        ("/tmp $T/i/ nosuch", "unknown method"),
        ("/tmp $T/i/../x user", "it holds .."),
        ("tmp $T/i/ user", "not an absolute path"),
        ("/tmp i/ user", "not an absolute path"),
        ("/ $T/i/ user", "the root cannot be an instance"),
        ("/none $T/i/ user:create=0x", "the mode is no number"),
        ("/none $T/i/ user:create=0700,no.such.user", "no such user"),
        ("/none $T/i/ user:create=0700,,no.such.group", "no such group"),
        ("/etc/passwd $T/i/ user", "Not a directory"),
        ("/tmp $T/conf/x- user", "Not a directory"),
        ("/tmp $T/loop/x- user", "Too many levels"),
        ("/tmp $T/none/x- user", "No such file"),
        ("/tmp /proc/x- family", "No such file"),
    ] {
        if !site.path("loop").exists() {
            let _ = symlink("loop", site.path("loop"));
        }
        let line = line.replace("$T", &site.root().to_string_lossy());
        site.write("conf", format!("# first\n{line}\n"));
        if said == "No such file" && line.contains("/none/x-") {
            // Its parent would be made: in a directory of the user's own.
            mode(site.root(), 0o555);
        }
        let outcome = poly(&site, "ls /tmp").run();
        mode(site.root(), 0o755);
        if privns_shim_tests::is_root() && line.contains("/none/x-") {
            outcome.prints(&outcome.out());
            continue;
        }
        assert_eq!(outcome.ending, Ending::Exit(125), "{line}\n{outcome}");
        assert_eq!(outcome.out(), "", "{line}: never the host's");
        assert!(
            outcome.err().contains("conf:2: ") || line.contains("/none/x-"),
            "{line}\n{outcome}"
        );
        assert!(outcome.err().lines().count() == 1, "{outcome}");
        if !line.contains("/none/x-") {
            assert!(outcome.err().contains(said), "{line}: {said}?\n{outcome}");
        }
    }
    // Users that do not exist are passed over, and a list of none is for nobody.
    site.write("conf", format!("/tmp {}/ family ~no.such.user,none\n", site.at("i")));
    poly(&site, "stat -c %i /tmp").run().prints(&site.sh("stat -c %i /tmp").run().ok());
    site.write("conf", "\0\n");
    poly(&site, "true").run().refuses(125, &["conf:1: byte 0"]);
}

/// File systems that are full or read-only, in a mount namespace of the test's own.
#[test]
fn a_full_or_read_only_file_system_is_an_error() {
    needs!("a_full_or_read_only_file_system", "root", "unshare", "mount");
    let site = with("/tmp $T/m/ user\n");
    site.mkdir("m");
    let inside = |script: &str| -> Outcome {
        let script = format!("mount -t tmpfs -o size=4k,nr_inodes=4,mode=1777 t $T/m; {script}");
        site.cmd("unshare").args(["-m", "sh", "-c", &script]).run()
    };
    let full =
        inside("touch $T/m/1 $T/m/2; ns-exec --poly $T/conf -- ls /tmp; echo $?; ls -A $T/m");
    assert_eq!(full.out(), "125\n1\n2", "{full}");
    assert!(full.err().contains("No space left on device"), "{full}");
    let read_only = inside("mount -o remount,ro $T/m; ns-exec --poly $T/conf -- ls /tmp; echo $?");
    assert_eq!(read_only.out(), "125", "{read_only}");
    assert!(read_only.err().contains("Read-only file system"), "{read_only}");
}

/// Somebody swaps the parent for a link, again and again: the right instance or an
/// error, and nothing outside.
#[test]
fn a_parent_that_is_swapped_for_a_link() {
    needs!("a_parent_that_is_swapped", "root", "setpriv");
    let site = with("/tmp $T/w/p/ user\n");
    sticky(&site, "w");
    site.mkdir("victim");
    mode(&site.path("victim"), 0o777);
    chown(site.path("victim"), Some(65534), Some(65534)).unwrap();
    // Its owner plays foul: a directory of its own, a link to another's.
    let swap = "cd $T/w; while test ! -e $T/end; do mkdir -m 1777 p 2>/dev/null; rmdir p 2>/dev/null; ln -s $T/victim p 2>/dev/null; rm -f p 2>/dev/null; done";
    let script = swap.replace("$T", &site.root().to_string_lossy());
    let swapper = site.as_user(1, "sh").args(["-c", &script]).start();
    for path in ["", "home", "run", "log"] {
        chown(site.path(path), Some(65534), Some(65534)).unwrap();
    }
    for _ in 0..60 {
        let run = site.as_user(65534, "ns-exec");
        chown(site.root(), Some(0), Some(0)).unwrap();
        mode(site.root(), 0o755);
        let outcome = run.args(["--poly", &site.at("conf"), "--", "true"]).run();
        assert_eq!(outcome.ending, Ending::Exit(125), "{outcome}");
        assert!(is_empty(&site.path("victim")));
    }
    fs::write(site.path("end"), "").unwrap();
    swapper.wait(10);
}

/// Families begin and end at once, 1,000 times, by the programs themselves.
#[test]
fn families_that_race_never_lose_their_instance() {
    let site = with("/tmp $T/i/ job\n");
    let script = "n=0; while test $n -lt 500; do n=$((n+1))
        ns-exec --poly $T/conf -- sh -c 'echo $$ >/tmp/$$ && cat /tmp/$$ >/dev/null && rm /tmp/$$' || echo lost; done";
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| site.sh(script).env("PRIVNS_JOB", "r").limit(300).run().prints(""));
        }
    });
    soon("it goes with the last one", || is_empty(&site.path("i")));
}

/// All members are killed at once: their keeper sees to it; and it too: `ns reap` does.
#[test]
fn every_member_is_killed() {
    let site = with("/tmp $T/i/ family\n/dev/shm $T/i/shm. family\n");
    for (keepers, reap) in
        [("", false), ("$(ns families --json | grep -o '\"keeper\":[0-9]*' | cut -d: -f2)", true)]
    {
        let script =
            "touch /tmp/x /dev/shm/x; sleep 60 & sleep 60 & (sleep 60 & touch $T/ready; sleep 60)";
        let member = start(&site, poly(&site, script), "ready");
        let kill = format!(
            "kill -9 {keepers} $(ns --pid {} ps --json | grep -o '\"pid\":[0-9]*' | cut -d: -f2)",
            member.pid()
        );
        site.sh(&kill).run().ok();
        assert_eq!(member.wait(10), Ending::Signal(9));
        if reap {
            assert_eq!(
                fs::read_dir(site.path("i")).unwrap().count(),
                2,
                "nobody is there to do it"
            );
            site.ns().arg("reap").run().ok();
        }
        soon("they go with their members", || is_empty(&site.path("i")));
        fs::remove_file(site.path("ready")).unwrap();
    }
}

/// Keepers that cannot share what their makers have, and such as are not told when those have
/// gone, do their work too.
#[test]
fn keepers_on_other_kernels() {
    let site = with("/tmp $T/i/ family\n");
    let conf = site.at("conf");
    for how in ["copying", "silent"] {
        let words =
            [how, "ns-exec", "--family", site.family(), "--poly", &conf, "--", "/bin/sh", "-c"];
        let script = "echo x >/tmp/x; test $(ns families --json | grep -c '\"keeper\":[1-9]') = 1 && cat /tmp/x";
        site.cmd(tools().join("confine")).args(words).arg(script).run().prints("x");
        soon("they go with their members", || is_empty(&site.path("i")));
        // Nor is one left of a start that fails.
        let words = [how, "ns-exec", "--poly", &conf, "--", "/no/such"];
        assert_eq!(site.cmd(tools().join("confine")).args(words).run().ending, Ending::Exit(127));
        soon("nothing is left", || is_empty(&site.path("i")));
    }
}

/// A job's name that is too long for a file's is shortened, and stays the job's own.
#[test]
fn a_name_over_80_bytes() {
    let site = with("/tmp $T/i/ job\n");
    let job = |last: &str| format!("{}{last}", "j".repeat(79));
    let run = |job: &str, script: &str| {
        let node = "n".repeat(80);
        poly(&site, script).env("PRIVNS_JOB", job).env("SLURMD_NODENAME", node)
    };
    let script = "echo $PRIVNS_JOB >/tmp/x; touch $T/ready; until test -e $T/end; do sleep .05; done; cat /tmp/x";
    let one = start(&site, run(&job("a"), script), "ready");
    run(&job("a"), "cat /tmp/x").run().prints(&job("a"));
    run(&job("b"), "ls -A /tmp").run().prints("");
    let names = fs::read_dir(site.path("i")).unwrap().flatten().map(|e| e.file_name());
    assert!(names.into_iter().all(|name| name.len() == 80), "47, _ and 32");
    run(&"j".repeat(81), "ls /tmp").run().refuses(125, &["conf:1: $JOB", "at most 80 bytes"]);
    site.write("end", "");
    assert_eq!(one.wait(10), Ending::Exit(0));
    soon("it goes with its job", || is_empty(&site.path("i")));
}

/// `tmpfs` with a size is a tree in memory that keeps it; in a living family too, from inside,
/// where the runtime directory is covered.
#[test]
fn a_size_for_tmpfs_holds() {
    let site = with("$T/m - tmpfs:mntopts=nosuid,size=1m,mode=0710\n");
    site.mkdir("m");
    let script = "stat -c %a $T/m; df --output=size $T/m | tail -1 | tr -d \" \"; head -c 1000000 /dev/zero >$T/m/a && echo fits
        head -c 1000000 /dev/zero 2>&1 >$T/m/b | grep -o 'No space left on device' | uniq; rm $T/m/*; head -c 1000000 /dev/zero >$T/m/a && echo fits";
    let t = site.root().display().to_string();
    let said = "710\n1024\nfits\nNo space left on device\nfits";
    poly(&site, script).run().prints(said);
    let rule = "private -i '- tmpfs:mntopts=nosuid,size=1m,mode=0710'";
    poly(&site, "ns").run().prints(&format!("{rule} {t}/m"));
    // Others' instances may be listed too.
    let list = "head -c 262144 /dev/zero >$T/m/a
        ns instances | awk -v m=$T/m '$1 == m {print $2, $4, $6, $8}'";
    poly(&site, list).run().prints("tmpfs 256K used mem!size=1m,mode=0710");
    // Nothing of it outlives the family: the site is checked for that at its end.
    let later = format!(
        "ns poly $T/conf; ns mount mem!size=1m /mnt; {script}; df --output=size /mnt | tail -1 | tr -d ' '"
    );
    let bare = site.cmd("ns-exec").args(["--", "/bin/sh", "-c", &later]);
    bare.env_remove("XDG_RUNTIME_DIR").run().prints(&format!("{said}\n1024"));
    assert!(is_empty(&site.path("m")));
    for (bad, said) in [("size=x", "mntopts=size=x"), ("mode=8", "mntopts=mode=8")] {
        site.write("conf", format!("{t}/m - tmpfs:mntopts={bad}\n"));
        poly(&site, "true").run().refuses(125, &["conf:1: field 3, ", said]);
    }
    let bad = site.cmd("ns-exec").args(["--mount", "mem!sise=1m", "/mnt", "--", "true"]).run();
    bad.refuses(125, &["--mount: sise=1m: no option of a memory tree"]);
}

/// su and sudo to another user see the host; what they leave behind keeps nothing.
#[test]
fn p5_a_daemon_of_another_user_keeps_nothing() {
    needs!("p5", "root", "setpriv", "sudo");
    let site = with("/tmp $T/i/ family\n");
    // As an ordinary user would by sudo: the test has no password to give.
    let sudoers = PathBuf::from("/etc/sudoers.d/privns-test-p5");
    fs::write(&sudoers, "nobody ALL=(ALL) NOPASSWD: ALL\n").unwrap();
    mode(&sudoers, 0o440);
    let script = "sudo -n sh -c 'grep -c libprivns /proc/self/maps; ls -d /tmp/only-here 2>&1; sleep 30 & echo $! >$0' $T/log/pid; touch $T/log/ready";
    let script = script.replace("$T", &site.root().to_string_lossy());
    let run = site.as_user(65534, "ns-exec").args([
        "--poly",
        &site.at("conf"),
        "--",
        "sh",
        "-c",
        &script,
    ]);
    chown(site.root(), Some(0), Some(0)).unwrap();
    let outcome = run.run();
    fs::remove_file(&sudoers).unwrap();
    assert!(outcome.out().starts_with("0\n"), "{outcome}");
    assert!(!outcome.err().contains("ld.so"), "{outcome}");
    let pid = fs::read_to_string(site.path("log/pid")).unwrap();
    site.ns().arg("reap").run().ok();
    soon("the instance goes", || is_empty(&site.path("i")));
    let alive = site.sh(&format!("kill -0 {0} && kill {0}", pid.trim())).run();
    assert_eq!(alive.ending, Ending::Exit(0), "the daemon lives\n{alive}");
}

#[test]
fn instances_say_what_they_are() {
    needs!("instances_say_what_they_are", "python3");
    let site = with("/tmp $T/i/ job\n");
    let python = "import json, sys
for i in json.load(sys.stdin)['instances']:
  if i['path'].startswith(sys.argv[1]):
    print(i['original'], i['method'], i['job'], i['used'], i['files'], i['bytes'] >= 100000, len(i['families']), len(i['holders']) > 0, i['seconds'] < 60)";
    site.write("p.py", python);
    let script = "head -c 100000 /dev/zero >/tmp/x; mkdir /tmp/d; ns instances --json | python3 $T/p.py $T/i; ns instances | grep -c \"job.*used.*$T/i\"";
    poly(&site, script)
        .env("PRIVNS_JOB", "j")
        .run()
        .prints("/tmp job j True 2 True 1 True True\n1");
    soon("it goes with its family", || is_empty(&site.path("i")));
}
