//! What programs carry to other machines: the image of a namespace, in the environment or
//! in a file.

use privns_shim_tests::{Cmd, Ending, Site, bins, is_root, needs, say_skipped};

/// An ordinary user that owns nothing here.
const USER: u32 = 65534;

/// A program that is started with the library and an image, as a launcher brings them.
fn arrives(site: &Site, image: &str, script: &str) -> Cmd {
    let command = site.cmd("/bin/sh").args(["-c", script]);
    command.env("LD_PRELOAD", bins().library()).env("PRIVNS_IMAGE", image)
}

fn site() -> Site {
    let site = Site::new();
    site.write("src/f", "bound\n");
    site
}

/// Of what a bind of `src` at `/new` is, with further options.
fn image(site: &Site, options: &[&str]) -> String {
    let bind = ["--bind", &site.at("src"), "/new"];
    site.inside(&[&bind, options].concat(), "echo $PRIVNS_IMAGE").run().ok()
}

/// A change of the table is in what the next program gets, `env -i` or not; what a program
/// says itself stays.
#[test]
fn it_is_of_the_table_as_it_is() {
    let site = site();
    let script = r#"
        echo $PRIVNS_IMAGE >$T/1; ns bind $T/src /more
        /bin/sh -c 'echo $PRIVNS_IMAGE' >$T/2; env -i /bin/sh -c 'echo $PRIVNS_IMAGE' >$T/3
        env -u PRIVNS_IMAGE /bin/sh -c 'echo $PRIVNS_IMAGE' >$T/4; cmp $T/2 $T/3; cmp $T/2 $T/4
        /bin/sh -c 'PRIVNS_IMAGE=mine exec /bin/sh -c "echo \$PRIVNS_IMAGE"'
        ns unmount /more; /bin/sh -c 'echo $PRIVNS_IMAGE' >$T/5"#;
    site.inside(&["--bind", &site.at("src"), "/new"], script).run().prints("mine");
    let bind = format!("bind {} /new", site.at("src"));
    let more = format!("{bind}\nbind {} /more", site.at("src"));
    for (file, lines) in [("1", &bind), ("2", &more), ("5", &bind)] {
        site.cmd("ns-exec").args(["--restore", &site.at(file), "--dump"]).run().prints(lines);
    }
}

#[test]
fn a_program_that_arrives_with_it() {
    let site = site();
    let image = image(&site, &["--private", "/dev/shm"]);
    arrives(&site, &image, "cat /new/f; ls -A /dev/shm; ns")
        .run()
        .prints(&format!("bound\nbind {} /new\nprivate /dev/shm", site.at("src")));
    std::fs::remove_dir_all(site.path("src")).expect("remove");
    arrives(&site, &image, "echo ran").run().refuses(125, &[&site.at("src")]);
}

/// Too long for the environment: it lies in a file, which exec writes again when the table
/// changes, and which is kept for programs that arrive later.
#[test]
fn d3_five_thousand_mounts() {
    let site = Site::new();
    let line = |i: u32| {
        site.write(&format!("src/{i}/f"), format!("{i}\n"));
        format!("bind {} /new/place/{i}\n", site.at(&format!("src/{i}")))
    };
    let lines: String = (0..5000).map(line).collect();
    let file = site.write("ns", lines);
    let script = r#"
        echo $PRIVNS_IMAGE; stat -c %a ${PRIVNS_IMAGE#@}; env -i /bin/cat /new/place/4999/f
        ns unmount /new/place/0; /bin/sh -c 'echo $PRIVNS_IMAGE'"#;
    let outcome = site.inside(&["-n", &file.to_string_lossy()], script).limit(120).run().ok();
    let lines: Vec<&str> = outcome.lines().collect();
    let cache = site.at("home/.cache/privns/");
    let [first, mode, "4999", second] = lines[..] else { panic!("{outcome}") };
    assert_eq!(mode, "600");
    for image in [first, second] {
        assert!(image.strip_prefix('@').is_some_and(|f| f.starts_with(&cache)), "{image}");
    }
    let script = "cat /new/place/4999/f; cat /new/place/0/f 2>/dev/null || echo none";
    arrives(&site, second, script).limit(120).run().prints("4999\nnone");
    // Cut, and then another's.
    let copy = site.write("copy", std::fs::read(&first[1..]).expect("read"));
    let text = std::fs::read(&copy).expect("read");
    let copied = format!("@{}", copy.display());
    std::fs::write(&copy, &text[..text.len() / 2]).expect("write");
    arrives(&site, &copied, "echo ran").run().refuses(125, &["cut short"]);
    if is_root() {
        std::fs::write(&copy, &text).expect("write");
        std::os::unix::fs::chown(&copy, Some(USER), Some(USER)).expect("chown");
        arrives(&site, &copied, "echo ran").run().refuses(125, &["belongs to user"]);
    } else {
        say_skipped("d3 with another's file", "root");
    }
    // Old, and of no living family.
    site.cmd("touch").args(["-d", "40 days ago", &first[1..]]).run().ok();
    site.ns().arg("reap").run().ok();
    assert!(!std::path::Path::new(&first[1..]).exists());
    assert!(std::path::Path::new(&second[1..]).exists());
}

/// Changed, cut short, newer, another user's, or missing: the program does not run.
#[test]
fn d3_what_is_refused() {
    let site = site();
    let good = image(&site, &[]);
    let (half, rest) = good.split_at(good.len() / 2);
    let changed = format!("{half}{}{}", if rest.starts_with('A') { 'B' } else { 'A' }, &rest[1..]);
    // "# privns 2 0 n b" and a line, deflated.
    let newer = "eNpTVigoyizLK1YwUjBQyFNI4krKzEtR0E8tSVbQz0st5wIAm10JbQ";
    for (image, word) in [
        (half, "cut short"),
        (&changed, "damaged"),
        (newer, "of version 2"),
        ("@/no/such/file", "No such file"),
        ("@", "reading"),
    ] {
        arrives(&site, image, "echo ran").run().refuses(125, &[word]);
    }
    needs!("d3_another_user's", "root", "setpriv");
    let site = Site::new();
    let dump = site.as_user(USER, "ns-exec").args(["--bind", "/etc", "/new", "--dump=token"]);
    let token = dump.run().ok();
    std::os::unix::fs::chown(site.path("run"), Some(0), Some(0)).expect("chown");
    arrives(&site, &token, "echo ran").run().refuses(125, &["made by user"]);
}

/// After a change of user the family is another's, and is left alone, even where its table
/// has not come along (sudo closes descriptors).
#[test]
fn another_users_family_is_left_alone() {
    needs!("another_users_family", "root", "setpriv");
    let site = Site::new();
    let show = ["--bind", "/etc", "/new", "--", "sh", "-c", "env | grep -e ^PRIVNS -e ^LD_PRE"];
    let env = site.as_user(USER, "ns-exec").args(show).run().ok();
    // Its keeper clears up in what is now the user's.
    site.sh("until test -z \"$(find $T/run -type l)\"; do sleep .1; done").run().ok();
    std::os::unix::fs::chown(site.path("run"), Some(0), Some(0)).expect("chown");
    let outcome = site.cmd("env").args(env.lines()).args(["/bin/ls", "/new"]).run();
    assert_eq!(outcome.ending, Ending::Exit(2), "{outcome}");
    assert!(outcome.err().contains("belongs to another user"), "{outcome}");
    assert_eq!(outcome.err().lines().count(), 2, "ls's own line and one of ours\n{outcome}");
}

/// No secret of the environment is in a dump, in what programs carry, or in the command
/// line of what a family leaves running.
#[test]
fn d4() {
    needs!("d4", "/usr/bin/python3");
    let site = site();
    let open = r#"
import base64, os, sys, zlib
for word in sys.stdin.read().split() + [os.environ['PRIVNS_IMAGE']]:
    if word.startswith('eN') or word.startswith('eA'):
        word = zlib.decompress(base64.urlsafe_b64decode(word + '=' * (-len(word) % 4))).decode('latin1')
    print(word)"#;
    site.write("open.py", open);
    let script = r#"
        (ns; ns --json; ns-exec --dump; ns-exec --dump=json; ns-exec --dump=token) | /usr/bin/python3 $T/open.py >$T/carried
        cat /proc/[0-9]*/cmdline >>$T/carried 2>/dev/null; cat $T/ns >>$T/carried
        env | grep ^PRIVNS >>$T/carried
        grep -ac "$PASSWORD" $T/carried; grep -ac '/new' $T/carried >$T/some"#;
    site.write("ns", "bind $T/src /new\n");
    let command = site.inside(&["-n", &site.at("ns"), "--private", "/dev/shm"], script);
    let outcome = command.env("PASSWORD", "s3cr3t").run();
    assert_eq!(outcome.out(), "0", "{outcome}");
    assert_ne!(std::fs::read_to_string(site.path("some")).expect("read").trim(), "0");
}
