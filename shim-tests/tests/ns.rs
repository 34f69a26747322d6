//! `ns`: what it tells of a living family, and what it changes.

use privns_shim_tests::{Ending, Outcome, Site};

/// Runs a script inside, with `src` at /new/at and `other` after it in a union at /u.
fn inside(site: &Site, script: &str) -> Outcome {
    site.write("src/f", "src\n");
    site.write("other/f", "hidden\n");
    site.write("other/g", "other\n");
    let [src, other] = ["src", "other"].map(|n| site.at(n));
    let options = ["--bind", &src, "/new/at", "--bind", &src, "/u", "--bind-after", &other, "/u"];
    site.inside(&options, script).run()
}

/// Each of these lines must be JSON with a version; python is the judge of JSON.
const JSON: &str = r#"json() { "$@" --json >$T/j && python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); assert isinstance(d, dict) and "version" in d, d' $T/j || echo "not so: $*"; }
"#;

#[test]
fn every_listing_has_json() {
    privns_shim_tests::needs!("every_listing_has_json", "python3");
    let site = Site::new();
    let script =
        "json ns; json ns families; json ns ps; json ns stat; json ns instances; json ns why /u/g
        json ns doctor; json ns doctor /bin/sh; json ns --family $F; json ns --pid $$";
    inside(&site, &format!("{JSON}{script}")).prints("");
}

#[test]
fn its_lines_rebuild_the_namespace() {
    let site = Site::new();
    let script = "ns >$T/1; ns-exec -n $T/1 --family again$F -- sh -c 'ns | cmp - $T/1; ls /u; cat /u/f /new/at/f'";
    // Begun in the family: a copy of its table comes first, so build it outside as well.
    inside(&site, "ns >$T/1; cat $T/1 | wc -l").prints("3");
    let outcome =
        site.inside(&["-n", &site.at("1")], "ns | cmp - $T/1; ls /u; cat /u/f /new/at/f").run();
    outcome.prints("f\ng\nsrc\nsrc");
    inside(&site, script).ok();
}

#[test]
fn why_names_the_member_and_the_line() {
    let site = Site::new();
    let [src, other] = ["src", "other"].map(|n| site.at(n));
    let lines = inside(
        &site,
        "ns why /u/f; echo; ns why /u/g; echo; ns why /etc/passwd; ns why /u/none; echo $?",
    )
    .out();
    let parts: Vec<&str> = lines.split("\n\n").collect();
    assert!(parts[0].contains(&src) && !parts[0].contains(&format!("{other}/f")), "{lines}");
    assert!(parts[1].contains(&other), "{lines}");
    let would = format!("/u/none is not there; it would be {src}/none");
    assert!(parts[2].contains("/etc/passwd") && parts[2].contains(&would), "{lines}");
    assert!(parts[2].ends_with('1'), "{lines}");
}

#[test]
fn families_and_ps() {
    let site = Site::new();
    // The other process has to become another program first.
    let script = "ns families | grep -c $F; sleep 5 &
        for i in $(seq 50); do ns ps | grep -q 'sleep 5' && break; sleep .05; done
        ns ps | grep -c 'sleep 5'; ns ps | awk -v pid=$$ '$2 == pid' | wc -l; kill $!";
    inside(&site, script).prints("1\n1\n1");
    // Killed is not yet gone, and the keeper goes after the last member.
    let listed = || site.ns().arg("families").run().ok().contains(site.family());
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        !listed()
    });
    assert!(gone, "the family is listed 5 s after its end");
}

#[test]
fn outside_of_any_family() {
    let site = Site::new();
    site.ns().args(["--family", "no-such-family"]).run().refuses(1, &["no-such-family"]);
    site.ns().args(["--pid", "1"]).run().refuses(1, &["1"]);
    site.ns().args(["--pid", "notanumber"]).run();
    assert_eq!(site.ns().arg("frobnicate").run().ending, Ending::Exit(2));
    assert_eq!(site.ns().args(["bind", "/a"]).run().ending, Ending::Exit(2));
    site.ns().args(["bind", "/etc", "/x"]).run().refuses(1, &["ns: "]);
    let families = site.ns().arg("families").run();
    assert!(!families.ok().contains(site.family()), "{families}");
}

#[test]
fn a_change_is_done_wholly_or_not_at_all() {
    let site = Site::new();
    site.write("script", format!("bind {0}/src /one\nbind {0}/none /two\n", site.root().display()));
    let script =
        "ns >$T/1; ns stat --json >$T/s1; ns . $T/script; echo $?; ns bind $T/none /x; echo $?
        ns | cmp - $T/1; ls /one 2>/dev/null";
    let outcome = inside(&site, script);
    assert_eq!(outcome.out(), "1\n1", "{outcome}");
    let err = outcome.err();
    assert!(
        err.contains(&format!("{}:2:", site.at("script"))) && err.contains("/none"),
        "{outcome}"
    );
}

#[test]
fn bind_unmount_private() {
    let site = Site::new();
    let script = "ns bind $T/other /late; cat /late/g; ns bind -a $T/src /late; ls /late; ns unmount $T/other /late; ls /late
        ns unmount /late; ls /late 2>/dev/null; ns private /tmp; ls -A /tmp; echo x >/tmp/$F; ls /tmp; ns unmount /tmp; ls /tmp/$F 2>/dev/null
        ns unmount /late 2>/dev/null; echo $?";
    let family = site.family().to_owned();
    inside(&site, script).prints(&format!("other\nf\ng\nf\n{family}\n1"));
}

#[test]
fn stat_counts() {
    let site = Site::new();
    let script = "ns stat --json; cat /new/at/f >/dev/null; ns stat --json; ns stat";
    let outcome = inside(&site, script);
    for word in ["generation", "translated", "forwarded", "served", "escaped"] {
        assert!(outcome.out().matches(word).count() >= 3, "{word}\n{outcome}");
    }
}

#[test]
fn doctor_knows_a_program_before_it_is_run() {
    let site = Site::new();
    let says = |program: &str, word: &str| {
        let outcome = site.ns().args(["doctor", program]).run();
        let text = (outcome.out() + &outcome.err()).to_lowercase();
        assert!(text.contains(word), "{program}: {word}?\n{outcome}");
    };
    if privns_shim_tests::have("busybox") && privns_shim_tests::have("/bin/busybox") {
        says("/bin/busybox", "static");
    } else {
        privns_shim_tests::say_skipped("doctor: static", "/bin/busybox");
    }
    if privns_shim_tests::is_root() {
        // To root, a program that becomes root is like any other.
        privns_shim_tests::say_skipped("doctor: setuid", "user");
    } else {
        says("/usr/bin/su", "setuid");
    }
    says("/no/such/program", "no such file");
    let mut foreign = std::fs::read("/bin/true").expect("a program");
    foreign[4] = 1; // A 32-bit object, by its header.
    let path = site.write("elf32", foreign);
    site.cmd("chmod").arg("755").arg(&path).run().ok();
    says(&path.to_string_lossy(), "32-bit");
    assert_eq!(site.ns().args(["doctor", "/bin/sh"]).run().ending, Ending::Exit(0));
}

#[test]
fn instances_are_listed_and_reaped() {
    let site = Site::new();
    site.mkdir("pub");
    let keep = "echo kept >$T/pub/x; ns reap; cat $T/pub/x; ns instances | grep -c $T/pub";
    site.inside(&["--private", &site.at("pub")], keep).run().prints("kept\n1");
}

#[test]
fn what_a_crash_leaves_is_reaped() {
    let site = Site::new();
    site.mkdir("pub");
    site.mkdir("victim");
    site.write("victim/kept", "");
    // The keeper dies too: all that remains is what reap finds.
    let script = "ln -s $T/victim $T/pub/link; touch $T/ready; sleep 30";
    let member = site.inside(&["--private", &site.at("pub")], script).start();
    site.until("ready");
    let kill = r#"for p in /proc/[0-9]*; do grep -qza "SHIM_TEST_SITE=$T" $p/environ 2>/dev/null || continue
        n=${p#/proc/}; test $n != $$ && kill -9 $n 2>/dev/null; done; true"#;
    site.sh(kill).run();
    drop(member);
    let listed = site.ns().arg("instances").run();
    assert!(listed.ok().contains(&site.at("pub")), "{listed}");
    site.ns().arg("reap").run().ok();
    assert!(!site.ns().arg("instances").run().ok().contains(&site.at("pub")));
    assert!(site.path("victim/kept").exists(), "reap follows no link");
}
