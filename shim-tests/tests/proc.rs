//! Another machine's /proc in a family's, by `ns-serve dir /proc`: what stock programs make of it,
//! and of this machine's own beside it. The other machine is this one here, so that each file can
//! be held against the host's.

use privns_shim_tests::{Outcome, Running, Site, needs};

/// `ns-serve dir /proc` on a socket of the site's.
fn serve(site: &Site) -> (Running, String) {
    let script = "exec ns-serve dir /proc --ro --listen unix!$T/proc >$T/proc.said";
    let server = site.sh(script).start();
    // The address is said once it listens.
    site.sh("until test -s $T/proc.said; do sleep .02; done").limit(10).run().ok();
    (server, format!("unix!{}", site.at("proc")))
}

/// Runs a script with it at /proc/far, and a process to look at as `$P`.
fn inside(site: &Site, address: &str, script: &str) -> Outcome {
    let script = format!(
        "sleep 7779 & P=$!; export P; until test \"$(cat /proc/$P/comm)\" = sleep; do :; done
         sleep .5; cd /; {script}\nkill $P 2>/dev/null; true"
    );
    site.inside(&["--mount", address, "/proc/far"], &script).limit(60).run()
}

#[test]
fn m23_files_of_processes() {
    let site = Site::new();
    let (_server, address) = serve(&site);
    let script = "for f in status cmdline maps environ stat comm limits; do
            grep -a -v ctxt_switches /proc/far/$P/$f >$T/far; grep -a -v ctxt_switches /proc/$P/$f >$T/own
            test -s $T/far && cmp $T/far $T/own && echo $f; done
        ls /proc/far/$P/fd | tr '\\n' ' '; echo; test -L /proc/far/$P/fd/0 && ls -l /proc/far/$P/fd | grep -c -e '->' | sed 's/.*/links/'
        readlink /proc/far/$P/exe; grep -q MemTotal /proc/far/meminfo && cat /proc/far/sys/kernel/ostype; ls -d /proc/far/self /proc/far/net 2>/dev/null
        readlink /proc/self/exe | sed 's/.*readlink/own/'; ls /proc/far | grep -x $P | wc -l";
    let outcome = inside(&site, &address, script);
    let sleep = site.sh("readlink -f $(command -v sleep)").run().ok();
    // Which descriptors a process has is what it was started with: the library's own is there too.
    let said = outcome.out();
    let (files, rest) = said.split_once("limits\n").unwrap_or_else(|| panic!("{outcome}"));
    assert_eq!(files, "status\ncmdline\nmaps\nenviron\nstat\ncomm\n", "{outcome}");
    assert!(rest.starts_with("0 1 "), "{outcome}");
    assert!(rest.ends_with(&format!("links\n{sleep}\nLinux\nown\n1")), "{outcome}");
}

#[test]
fn m24_stock_programs() {
    needs!("m24_stock_programs", "ps", "top", "watch");
    let site = Site::new();
    let (_server, address) = serve(&site);
    let script = "ps -o comm= -p $P; ps ax -o pid= | grep -c -w $P; test $(ps ax | wc -l) -gt 3 && echo many
        top -b -n1 -p $P | tail -1 | grep -c sleep; top -b -n1 | grep -c '^Tasks:'
        TERM=xterm COLUMNS=80 LINES=24 timeout 3 watch -n1 -t cat /proc/far/$P/comm /proc/far/loadavg >$T/watched
        echo $?; grep -a -c sleep $T/watched; pgrep -f 'sleep 7779' | grep -c -w $P";
    inside(&site, &address, script).prints("sleep\n1\nmany\n1\n1\n124\n1\n1");
}

/// Processes that go while they are listed and read, and one that has gone.
#[test]
fn m23_processes_that_go() {
    needs!("m23_processes_that_go", "python3");
    let site = Site::new();
    let (_server, address) = serve(&site);
    site.write("read.py", READ);
    let script = "(i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done) & churn=$!
        python3 $T/read.py; wait $churn
        exec 3</proc/far/$P/status; kill $P; wait $P
        cat <&3 2>&1 | sed 's/.*: //'; cat /proc/far/$P/status 2>&1 | sed 's/.*: //'; ls /proc/far | grep -c -x $P";
    let outcome = inside(&site, &address, script);
    outcome.prints("read\nNo such process\nNo such file or directory\n0");
}

const READ: &str = "
import os
n = 0
for _ in range(30):
    for p in os.listdir('/proc/far'):
        if not p.isdigit(): continue
        try:
            with open(f'/proc/far/{p}/stat') as f: text = f.read()
            assert text.startswith(p + ' ('), (p, text)
            n += 1
        except (FileNotFoundError, ProcessLookupError): pass
print('read' if n > 60 else n)
";
