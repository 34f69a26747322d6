//! `--instance-fd`: instances in a directory that a launcher of root's has opened.

use privns_shim_tests::rules::{is_empty, mode, soon, with};
use privns_shim_tests::{Outcome, Site, needs};
use std::fs;
use std::os::unix::fs::chown;

/// `ns-exec OPTIONS` as an ordinary user that a launcher of root's has given a directory as
/// descriptor 9.
fn given(site: &Site, dir: &str, options: &str, script: &str) -> Outcome {
    let _ = site.as_user(65534, "true").run();
    chown(site.root(), Some(0), Some(0)).unwrap();
    mode(site.root(), 0o755);
    let launch = format!(
        "exec 9<{dir}; exec setpriv --reuid 65534 --regid 65534 --clear-groups \
         $T/bin/ns-exec --instance-fd 9 {options} -- sh -c '{script}'"
    );
    let search = format!("{}:/usr/bin:/bin", site.at("bin"));
    site.sh(&launch).env("PATH", search).run()
}

/// What lies below a parent of mode 000, by a descriptor from a launcher of root's.
#[test]
fn a_closed_parent_by_a_descriptor() {
    needs!("a_closed_parent_by_a_descriptor", "root", "setpriv");
    let site = with("/tmp $T/none/tmp- user\n/dev/shm $T/none/shm- family\n");
    for dir in ["closed", "closed/nobody", "closed/root", "closed/loose"] {
        site.mkdir(dir);
    }
    mode(&site.path("closed/nobody"), 0o700);
    mode(&site.path("closed/loose"), 0o777);
    for dir in ["closed/nobody", "closed/loose"] {
        chown(site.path(dir), Some(65534), Some(65534)).unwrap();
    }
    mode(&site.path("closed"), 0);
    // Its own, gone with the family; the program does not have the descriptor.
    let script = "cd /tmp; pwd; echo x >x; cat x; stat -c \"%a %U\" /tmp; ls -A $T/closed 2>/dev/null; test -e /proc/self/fd/9 && readlink /proc/self/fd/9; ns";
    given(&site, "$T/closed/nobody", "--private /tmp", script)
        .prints("/tmp\nx\n1777 nobody\nprivate /tmp");
    soon("it goes with its family", || is_empty(&site.path("closed/nobody")));
    let script = "printf %5000s >/tmp/x; ns instances | grep -q \"^/tmp  *private  *nobody  *[1-9]\" && echo listed";
    given(&site, "$T/closed/nobody", "--private /tmp", script).prints("listed");
    // By rules: the user's stays and is shared, the family's goes; the two do not meet.
    let poly = "--poly $T/conf";
    for said in ["a", "a\na"] {
        let script = "echo a >>/tmp/a; cat /tmp/a; ls -A /dev/shm; touch /dev/shm/s";
        given(&site, "$T/closed/nobody", poly, script).prints(said);
        let count = || fs::read_dir(site.path("closed/nobody")).unwrap().count();
        soon("the family's goes", || count() == 1);
    }
    // What a crash leaves goes the next time.
    fs::create_dir(site.path("closed/nobody/.privns-65534")).unwrap();
    let left = site.path("closed/nobody/.privns-65534/0000000000000001.0000000000000001/dir");
    fs::create_dir_all(&left).unwrap();
    for path in [left.parent().unwrap().parent().unwrap(), left.parent().unwrap(), &left] {
        chown(path, Some(65534), Some(65534)).unwrap();
        mode(path, 0o700);
    }
    given(&site, "$T/closed/nobody", "--private /tmp", "true").prints("");
    assert!(!left.exists());
    for (dir, said) in [
        ("$T/closed", "Permission denied"),
        ("$T/closed/root", "Permission denied"),
        ("$T/closed/loose", "others may write it and it is not sticky (mode 777)"),
        ("/etc/passwd", "Not a directory"),
        ("&-", "Bad file descriptor"),
    ] {
        let outcome = given(&site, dir, "--private /tmp", "ls /tmp");
        outcome.refuses(125, &["--instance-fd 9: ", said]);
        assert_eq!(outcome.out(), "", "{dir}: never the host's");
    }
    chown(site.path("closed/loose"), Some(1), Some(1)).unwrap();
    mode(&site.path("closed/loose"), 0o1777);
    given(&site, "$T/closed/loose", poly, "ls /tmp").refuses(125, &["it belongs to user 1"]);
    // Where the path is open, what is there is the host's own, sockets and all.
    mode(&site.path("closed"), 0o711);
    let script = "df --output=source /tmp | tail -1 | grep -c given; ns why /tmp/x | grep -c \"$T/closed/nobody\"";
    given(&site, "$T/closed/nobody", "--private /tmp", &format!("touch /tmp/x; {script}"))
        .prints("0\n2");
}
