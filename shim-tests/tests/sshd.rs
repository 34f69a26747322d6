//! Namespaces over ssh, with a real sshd and its PAM sessions.

use privns_shim_tests::{
    Cmd, Ending, Site, Sshd, alone, bins, free_ports, is_root, needs, site_page,
};
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

/// A host's own /tmp and /dev/shm for one sshd, with the directories that hold the users' ones.
fn host(mode: &str) -> String {
    format!(
        "for d in /tmp /dev/shm; do mount -t tmpfs -o mode=1777 t $d; mkdir -m {mode} $d/usertmp; touch $d/host; done"
    )
}

/// The rules of the page for administrators, with an exempt user more.
fn rules(site: &Site, exempt: &str) -> String {
    let page = site_page();
    let rules = page.lines().filter(|line| line.ends_with("  user  root"));
    let rules: String = rules.map(|line| format!("{line},{exempt}\n")).collect();
    assert_eq!(rules.lines().count(), 2, "the page has rules");
    site.write("login.conf", rules);
    let poly = line_of_page(site, "poly ");
    site.write("login", poly + "\n").to_string_lossy().into_owned()
}

/// What pam_env gives every session, and the name of the third user.
fn variables(site: &Site) -> (Vec<String>, String) {
    let exempt = format!("pn{}u3", std::process::id());
    let file = rules(site, &exempt);
    let library = line_of_page(site, "LD_PRELOAD ").replace("LD_PRELOAD DEFAULT=", "");
    let family = line_of_page(site, "PRIVNS_FAMILY ").replace(" DEFAULT=", "=");
    // A site's own /etc/privns/namespace is not for a test to write.
    let file = format!("PRIVNS_NAMESPACE={file}");
    let words = ["--preload", &library, "--env", &family, "--env", &file];
    (words.iter().map(|word| (*word).to_owned()).collect(), exempt)
}

/// POSIX shared memory and a semaphore, made or looked for.
const IPC: &str = "/usr/bin/python3 -c 'import ctypes, os, sys
libc = ctypes.CDLL(None); libc.sem_open.restype = ctypes.c_void_p
flags = os.O_CREAT if sys.argv[1] == \"make\" else 0
print(libc.shm_open(b\"/x\", flags | os.O_RDWR, 0o666) >= 0, bool(libc.sem_open(b\"/x\", flags, 0o666, 1)))' ";

/// The configuration that administrators have for pam_namespace, as it is: two users do not
/// meet, an exempt one sees the host.
#[test]
fn p13() {
    needs!("p13", [Sshd::NEEDS], "/usr/bin/python3");
    let site = site();
    let (options, exempt) = variables(&site);
    let sshd = Sshd::start_after(&site, &host("1777"), 3, &options);
    assert_eq!(sshd.user(2), exempt);
    let make = format!("touch /tmp/a; {IPC} make; ls -A /tmp /dev/shm; stat -c '%a %U' /tmp");
    let made = "True True\n/dev/shm:\nsem.x\nx\n\n/tmp:\na\n1777 ".to_owned() + sshd.user(0);
    sshd.session(0, &make).run().prints(&made);
    let look = format!("{IPC} look; ls -A /tmp /dev/shm");
    sshd.session(1, &look).run().prints("False False\n/dev/shm:\n\n/tmp:");
    let seen = sshd.session(2, "ls -d /tmp/host /dev/shm/host /tmp/usertmp").run();
    seen.prints("/dev/shm/host\n/tmp/host\n/tmp/usertmp");
    // What a user leaves there is there at the next login.
    sshd.session(0, "ls -A /tmp").run().prints("a");
}

/// As pam_namespace has it the directories are closed to all: that is said, with what to do,
/// and the host's /tmp is not taken instead.
#[test]
fn p13_parents_that_are_closed() {
    needs!("p13_parents_that_are_closed", [Sshd::NEEDS]);
    let site = site();
    let (options, _) = variables(&site);
    let sshd = Sshd::start_after(&site, &host("000"), 1, &options);
    let refused = sshd.session(0, "ls /tmp").run();
    refused.refuses(125, &["/tmp/usertmp", "1777"]);
    assert_eq!(refused.out(), "", "{refused}");
}

/// A place that is bound for a user is seen in the sessions that he has, and in new ones.
#[test]
fn p11() {
    needs!("p11", [Sshd::NEEDS]);
    let site = site();
    site.write("src/f", "toy\n");
    let (options, _) = variables(&site);
    let sshd = Sshd::start_after(&site, &host("1777"), 2, &options);
    let wait = "touch /tmp/here; until cat /newtoy/f 2>/dev/null; do sleep .1; done; until test -e /tmp/end; do sleep .1; done; ls /tmp";
    std::thread::scope(|scope| {
        let first = scope.spawn(|| sshd.session(0, wait).run());
        let bind = format!("{0}/ns --family login bind {0}/../src /newtoy", site.at("bin"));
        // A family that this session began alone would end with it.
        let bind = format!("until test -e /tmp/here; do sleep .1; done; {bind}");
        sshd.session(0, &bind).run().prints("");
        sshd.session(0, "cat /newtoy/f").run().prints("toy");
        assert_eq!(sshd.session(1, "cat /newtoy/f").run().ending, Ending::Exit(1));
        sshd.session(0, "touch /tmp/end").run().ok();
        first.join().expect("the first session").prints("toy\nend\nhere");
    });
}

/// A user's two sessions: what the first leaves in /tmp, and what the second finds.
fn two_sessions(session: impl Fn(&str) -> Cmd) {
    session("touch /tmp/mine; findmnt -n -o TARGET /tmp").run().prints("/tmp");
    let seen = session("ls -A /tmp").run().ok();
    assert!(seen.lines().any(|name| name == "mine"), "{seen}");
}

/// A line of the page for administrators, with the site's own places in it.
fn line_of_page(site: &Site, begins: &str) -> String {
    let page = site_page();
    let line = page.lines().find(|line| line.starts_with(begins)).expect("the line").to_owned();
    let line = line.replace("/usr/local/lib/privns/", &format!("{}/", site.at("bin")));
    let line = line.replace("/usr/local/bin/", &format!("{}/", site.at("bin")));
    let line = line.replace("/etc/privns/login.conf", &site.at("login.conf"));
    line.replace("/etc/privns/namespace", &site.at("login"))
}

/// Without PAM: sshd runs every command in the namespace.
#[test]
fn force_command() {
    needs!("force_command", [Sshd::NEEDS]);
    let site = site();
    rules(&site, "nobody");
    let options = ["--sshd", &line_of_page(&site, "ForceCommand ")];
    let sshd = Sshd::start_after(&site, &host("1777"), 1, options);
    two_sessions(|command| sshd.session(0, command));
    sshd.login(0, "ls -A /tmp").run().prints("mine");
}

/// Without an administrator: a line of the user's own profile.
#[test]
fn a_users_own_profile() {
    needs!("a_users_own_profile", [Sshd::NEEDS]);
    let site = site();
    let sshd = Sshd::start_after(&site, &host("1777"), 1, [""; 0]);
    let line = line_of_page(&site, "[ -n \"$PRIVNS\" ] ");
    sshd.session(0, &format!("cat >.profile <<'END'\n{line}\nEND\n")).run().ok();
    // The directories live as long as one session does.
    std::thread::scope(|scope| {
        let stay = "touch /tmp/here; until test -e /tmp/end; do sleep .1; done";
        let first = scope.spawn(|| sshd.login(0, stay).run());
        let wait = "i=0; until test -e /tmp/here || test $i = 100; do sleep .1; i=$((i+1)); done\n";
        two_sessions(|command| sshd.login(0, &format!("{wait}{command}")).env("LC_ALL", "C"));
        sshd.login(0, "touch /tmp/end").run().ok();
        first.join().expect("the first session").ok();
    });
    sshd.login(0, "ls -A /tmp").run().prints("");
}

/// The sshd of an ordinary user, who can log in there alone and has no PAM: root's test runs it as
/// daemon, with a shell for the purpose.
#[test]
fn a_users_own_sshd() {
    needs!("a_users_own_sshd", "/usr/sbin/sshd", "ssh", "ssh-keygen");
    let _alone = alone();
    let site = site();
    let force = line_of_page(&site, "ForceCommand ");
    rules(&site, "root");
    let rules = site.mkdir("i");
    std::fs::set_permissions(&rules, std::fs::Permissions::from_mode(0o1777)).expect("chmod");
    site.write("login.conf", format!("/tmp {0}/tmp- user\n/dev/shm {0}/shm- user\n", site.at("i")));
    let port = free_ports(1);
    let config = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {0}/host\nPidFile {0}/pid\nUsePAM no\n\
         AuthorizedKeysFile {0}/id.pub\nStrictModes no\n{force}\n",
        site.at("log")
    );
    site.write("sshd_config", config);
    let script = "cd $T/log && ssh-keygen -q -t ed25519 -N '' -f host && ssh-keygen -q -t ed25519 -N '' -f id
        /usr/sbin/sshd -f $T/sshd_config -E $T/log/said || { cat said; exit 1; }
        session() { ssh -F none -i id -p PORT -o BatchMode=yes -o LogLevel=ERROR -o StrictHostKeyChecking=no \
            -o UserKnownHostsFile=$T/log/known $(id -un)@127.0.0.1 \"$@\"; }
        i=0; until test -s pid || test $i = 100; do sleep .1; i=$((i+1)); done
        session 'touch /tmp/mine; findmnt -n -o TARGET /tmp'; session ls -A /tmp; echo 'ls -A /tmp /dev/shm' | session -T
        kill $(cat pid); while kill -0 $(cat pid) 2>/dev/null; do sleep .1; done";
    let script = script.replace("PORT", &port.to_string());
    let run = if is_root() {
        let _ = site.as_user(1, "true").run();
        let prepare =
            "sed 's,^daemon:.*,daemon:x:1:1::'$T/home':/bin/sh,' /etc/passwd >$T/passwd
            chmod 644 $T/passwd; mount --bind $T/passwd /etc/passwd; : >$T/shadow; mount --bind $T/shadow /etc/shadow
            exec setpriv --reuid 1 --regid 1 --clear-groups sh -c \"$1\"";
        site.cmd("unshare").args(["-m", "sh", "-e", "-c", prepare, "sh", &script])
    } else {
        site.sh(&script)
    };
    run.limit(60).run().prints("/tmp\nmine\n/dev/shm:\n\n/tmp:\nmine");
    let uid = if is_root() { 1 } else { rustix::process::geteuid().as_raw() };
    site.ns().args(["reap", "--user", &uid.to_string()]).run().ok();
}
