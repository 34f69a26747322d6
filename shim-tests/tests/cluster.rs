//! One namespace over the nodes of a cluster: servers that its members share.

use privns_shim_tests::{Running, Site, Slurm, bins, needs};

/// A server of 9P that is left running, and the address that it says.
fn serve(site: &Site, name: &str, what: &[&str]) -> (Running, String) {
    let words = what.iter().map(|word| format!("'{word}' ")).collect::<String>();
    let script = format!(
        "exec {} {words} --listen 'tcp!127.0.0.1!0' >$T/{name}",
        bins().dir.join("ns-serve").display()
    );
    let running = site.sh(&script).start();
    site.until(name);
    let address = || std::fs::read_to_string(site.path(name)).unwrap_or_default().trim().to_owned();
    let start = std::time::Instant::now();
    while address().is_empty() {
        assert!(start.elapsed().as_secs() < 10, "the server said no address");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    (running, address())
}

/// Sixty-four writers on two nodes append to a file of a memory server: no line is lost, and
/// both nodes read the same.
#[test]
fn m21() {
    needs!("m21", [Slurm::NEEDS]);
    let site = Site::new();
    let slurm = Slurm::start(&site, [""; 0]);
    let (_server, address) = serve(&site, "mem", &["mem"]);
    let script = "srun -Q -N2 -n64 -O sh -c 'echo $SLURM_PROCID >>/m/log'
        srun -Q -N2 -n2 sh -c 'echo $(sort -n /m/log)'";
    let all = (0..64).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let outcome = slurm.inside(&["--mount", &address, "/m"], script).run();
    outcome.prints(&format!("{all}\n{all}"));
}

/// A /proc of the family's own on a memory server, where its workers say how they are.
#[test]
fn m22() {
    needs!("m22", [Slurm::NEEDS]);
    let site = Site::new();
    let slurm = Slurm::start(&site, [""; 0]);
    let (_server, address) = serve(&site, "mem", &["mem"]);
    let script = "srun -Q -N2 -n4 -O sh -c 'mkdir /proc/r$SLURM_PROCID; echo run >/proc/r$SLURM_PROCID/status'
        cat /proc/r*/status; ls -d /proc/r[0-9]; test -e /proc/self/stat && echo own";
    let line = format!("mount -bc {address} /proc");
    let outcome = slurm.inside(&["-e", &line], script).run();
    outcome.prints("run\nrun\nrun\nrun\n/proc/r0\n/proc/r1\n/proc/r2\n/proc/r3\nown");
    assert!(!std::path::Path::new("/proc/r0").exists());
}

/// The nodes' /proc side by side, each by a server that Slurm has started there.
#[test]
fn m23_m24() {
    needs!("m23", [Slurm::NEEDS], "ps");
    let site = Site::new();
    let slurm = Slurm::start(&site, [""; 0]);
    let serve = format!(
        "exec {} dir /proc --ro --listen tcp!127.0.0.1!0 >$T/$SLURMD_NODENAME",
        bins().dir.join("ns-serve").display()
    );
    let servers = slurm.cmd("srun").args(["-Q", "-N2", "-n2", "sh", "-c", &serve]).start();
    let script = "until test -s $T/n1 && test -s $T/n2; do sleep .05; done
        sleep 7777 & cd /
        for n in n1 n2; do ns mount $(cat $T/$n) /proc/$n || exit; done
        cat /proc/n1/$!/comm /proc/n2/$!/comm; ls -d /proc/n*[0-9]; readlink /proc/self/exe | grep -c readlink
        ps -o comm= -p $!; ns ps | grep -q ' sleep 7777$' && echo listed; kill $!";
    slurm
        .inside(&["--private", "/dev/shm"], script)
        .run()
        .prints("sleep\nsleep\n/proc/n1\n/proc/n2\n1\nsleep\nlisted");
    slurm.sh("scancel -u $(id -un)").run().ok();
    let _ = servers.wait(20);
}
