//! Namespaces over ssh, with a real sshd and its PAM sessions.

use privns_shim_tests::{Site, Sshd, bins, needs};
use std::os::unix::fs::PermissionsExt;

/// What a program of the family prints in one line, wherever it runs.
const LISTING: &str = "echo $(ls /new; cat /new/f)";
const LISTED: &str = "f bound";

/// A site that other users may look at, with the programs under test at a place
/// that they reach.
fn site() -> Site {
    let site = Site::new();
    site.write("src/f", "bound\n");
    let bin = site.mkdir("bin");
    for file in [bins().ns_exec(), bins().ns(), bins().library()] {
        std::fs::copy(&file, bin.join(file.file_name().expect("a name"))).expect("copy");
    }
    std::fs::set_permissions(site.root(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    site
}

/// A dump of the namespace, made by a user: over ssh, he is the same there.
fn token(site: &Site, user: &str) -> String {
    let uid = site.cmd("id").args(["-u", user]).run().ok();
    let dump = "env -u XDG_RUNTIME_DIR $T/bin/ns-exec --bind $T/src /new --dump=token";
    let user = format!("setpriv --reuid {uid} --regid {uid} --clear-groups {dump}");
    site.sh(&user).run().ok()
}

/// As one word of the command, for every host that pdsh asks; by SendEnv, in a session that
/// has the library from pam_env; and by `mpirun -x`.
#[test]
fn d2_ssh_pdsh_and_mpirun() {
    needs!("d2_ssh", [Sshd::NEEDS]);
    let site = site();
    let library = site.at("bin/libprivns.so");
    let sshd = Sshd::start(&site, 1, ["--preload", &library]);
    let token = token(&site, sshd.user(0));
    let command = format!("{}/ns-exec --restore {token} -- sh -c '{LISTING}'", site.at("bin"));
    sshd.session(0, &command).run().prints(LISTED);
    sshd.session(0, LISTING).env("PRIVNS_IMAGE", &token).run().prints(LISTED);
    let native = sshd.session(0, "ls /new").run();
    assert!(native.err().contains("No such file"), "{native}");
    needs!("d2_pdsh", "pdsh");
    let arguments = format!("-F {}", sshd.config().display());
    let pdsh = site.cmd("pdsh").env("PDSH_SSH_ARGS_APPEND", &arguments).args(["-R", "ssh", "-l"]);
    let pdsh = pdsh.args([sshd.user(0), "-w", "nshost1,nshost2", &command]).run().ok();
    let mut lines: Vec<&str> = pdsh.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, [format!("nshost1: {LISTED}"), format!("nshost2: {LISTED}")]);
    needs!("d2_mpirun_over_ssh", "mpirun");
    let agent = format!("ssh -F {} -l {}", sshd.config().display(), sshd.user(0));
    let mpirun = site.cmd("mpirun").args(["--oversubscribe", "--mca", "plm_rsh_agent", &agent]);
    let mpirun = mpirun.args(["--host", "nshost1,nshost2", "-n", "2", "-x", "PRIVNS_IMAGE"]);
    let mpirun = mpirun.env("PRIVNS_IMAGE", &token).env("OMPI_ALLOW_RUN_AS_ROOT", "1");
    let mpirun = mpirun.env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1").args(["sh", "-c", LISTING]);
    mpirun.limit(60).run().prints(&format!("{LISTED}\n{LISTED}"));
}
