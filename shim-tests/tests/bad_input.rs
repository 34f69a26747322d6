//! Bad namespace files, bad tables, bad days: a clear line and status 125 before the
//! program runs, never the wrong namespace.

use privns_shim_tests::{Ending, Site, bins, is_root, needs, say_skipped};
use std::time::{Duration, Instant};

/// Runs a namespace file; the program would leave a file `ran`.
fn run(site: &Site, file: &[u8]) -> privns_shim_tests::Outcome {
    let path = site.write("file", file);
    let _ = std::fs::remove_file(site.path("ran"));
    let outcome =
        site.ns_exec().arg("-n").arg(&path).args(["--", "touch"]).arg(site.path("ran")).run();
    if outcome.ending != Ending::Exit(0) {
        assert!(!site.path("ran").exists(), "it must not have run\n{outcome}");
    }
    outcome
}

/// A file that must be refused at a line, with words.
#[track_caller]
fn refused(site: &Site, file: &str, line: usize, words: &[&str]) {
    let place = format!("{}:{line}:", site.at("file"));
    let all: Vec<&str> = ["ns-exec: ", &place].into_iter().chain(words.iter().copied()).collect();
    run(site, file.as_bytes()).refuses(125, &all);
}

#[test]
fn unknown_words_are_named_with_their_line() {
    let site = Site::new();
    site.mkdir("src");
    refused(&site, "bnid /a /b\n", 1, &["bnid"]);
    refused(&site, "# fine\n\nbind -z /etc /b\n", 3, &["-z"]);
    refused(&site, "bind $NO_SUCH_VARIABLE /b\n", 1, &["NO_SUCH_VARIABLE"]);
    refused(&site, "bind /etc\n", 1, &["bind"]);
    refused(&site, "bind /etc /b /c\n", 1, &[]);
    refused(&site, "bind '/etc /b\n", 1, &["quote"]);
    refused(&site, "mount -o nonsense=1 mem! /x\n", 1, &["nonsense"]);
    refused(&site, ". /no/such/file\n", 1, &["/no/such/file"]);
}

#[test]
fn a_missing_source_is_an_error_unless_quiet() {
    let site = Site::new();
    site.write("src/f", "");
    refused(
        &site,
        &format!("bind {0}/src /a\nbind {0}/none /b\n", site.root().display()),
        2,
        &["/none", "No such file"],
    );
    run(&site, format!("bind -q {0}/none /b\nbind {0}/src /a\n", site.root().display()).as_bytes())
        .ok();
}

#[test]
fn files_that_include_themselves_end() {
    let site = Site::new();
    let own = site.at("file");
    let outcome = run(&site, format!(". {own}\n").as_bytes());
    outcome.refuses(125, &[&own]);
}

#[test]
fn binds_in_a_circle_end() {
    let site = Site::new();
    site.write("a/f", "a\n");
    site.write("b/f", "b\n");
    let [a, b] = ["a", "b"].map(|n| site.at(n));
    let swapped = ["--bind", &a, "/x", "--bind", &b, &a, "--bind", "/x", &b];
    // Each source was found when its line was run, as in namespace(6).
    site.inside(&swapped, &format!("cat {a}/f {b}/f /x/f")).run().prints("b\na\na");
    let below = ["--bind", &a, &format!("{a}/self")];
    site.inside(&below, &format!("cat {a}/self/f; ls {a}/self")).run().ok();
    let deep = format!(
        "cd {a}; i=0; while [ $i -lt 50 ] && cd self 2>/dev/null; do i=$((i+1)); done; echo done"
    );
    site.inside(&below, &deep).run().prints("done");
    let onto_itself = ["--bind", &a, &a];
    site.inside(&onto_itself, &format!("cat {a}/f; ls {a}")).run().prints("a\nf");
}

#[test]
fn a_line_of_a_megabyte() {
    let site = Site::new();
    site.write("src/f", "");
    let long = "x".repeat(1 << 20);
    let outcome = run(&site, format!("bind {} /{long}\n", site.at("src")).as_bytes());
    assert_eq!(outcome.ending, Ending::Exit(125), "{:?}", outcome.ending);
    assert!(outcome.stderr.len() < 10_000, "the error is not a megabyte");
    run(&site, format!("# {long}\nbind {} /a\n", site.at("src")).as_bytes()).ok();
    run(&site, "bind ".repeat(200_000).as_bytes());
}

#[test]
fn bytes_0_to_255() {
    let site = Site::new();
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(run(&site, &all).ending, Ending::Exit(125));
    for byte in 0..=255_u8 {
        let outcome = run(&site, &[b"bind ", &[byte][..], b" /x\n"].concat());
        let fine = matches!(outcome.ending, Ending::Exit(0 | 125));
        assert!(fine, "byte {byte}: {outcome}");
    }
}

#[test]
fn any_name_can_be_bound() {
    use std::os::unix::ffi::OsStrExt;
    let site = Site::new();
    let usable = (1..=255_u8).filter(|b| *b != b'/');
    let name: Vec<u8> = usable.collect();
    let dir = site.root().join(std::ffi::OsStr::from_bytes(&name));
    std::fs::create_dir(&dir).expect("a directory of every byte");
    std::fs::write(dir.join("f"), "every byte\n").expect("write");
    let command = site.ns_exec().arg("--bind").arg(&dir).arg("/new").args(["--", "cat", "/new/f"]);
    command.run().prints("every byte");
    let place = std::ffi::OsString::from_iter([
        std::ffi::OsStr::new("/new/"),
        std::ffi::OsStr::from_bytes(&name),
    ]);
    let file = std::path::Path::new(&place).join("f");
    let command = site.ns_exec().arg("--bind").arg(&dir).arg(&place).args(["--", "cat"]).arg(file);
    command.run().prints("every byte");
}

#[test]
fn a_bad_image_is_refused() {
    let site = Site::new();
    site.write("src/f", "");
    let good = site.cmd("ns-exec").args(["--bind", &site.at("src"), "/new", "--dump=json"]).run();
    let text = good.ok();
    let half = &text[..text.len() / 2];
    let newer = text.replacen("\"version\":", "\"version\": 99", 1);
    for (what, image) in
        [("half", half), ("newer", &newer), ("empty", ""), ("noise", "\u{0}\u{1}garbage")]
    {
        site.write("image", image);
        let outcome = site.inside(&["--restore", &site.at("image")], "echo ran").run();
        assert_eq!(
            (outcome.ending, outcome.out().as_str()),
            (Ending::Exit(125), ""),
            "{what}: {outcome}"
        );
        assert_eq!(outcome.err().lines().count(), 1, "{what}: {outcome}");
    }
}

/// By hand: asked for and not to be had stops the program; not asked for changes nothing.
#[test]
fn by_hand() {
    let site = Site::new();
    site.write("src/f", "by hand\n");
    let file = site.write("ns", format!("bind {} /new/at\n", site.at("src")));
    let preload = |program: &str| site.cmd(program).env("LD_PRELOAD", bins().library());
    preload("cat").arg("/new/at/f").env("PRIVNS_NAMESPACE", &file).run().prints("by hand");
    preload("echo").arg("unchanged").run().prints("unchanged");
    let bad = site.write("bad", "bnid /a /b\n");
    for value in [bad.as_os_str(), "/no/such/file".as_ref()] {
        let outcome = preload("echo").arg("ran").env("PRIVNS_NAMESPACE", value).run();
        assert_eq!((outcome.ending, outcome.out().as_str()), (Ending::Exit(125), ""), "{outcome}");
    }
    let config = site.mkdir("config/privns");
    std::fs::copy(&file, config.join("namespace")).expect("copy");
    preload("cat")
        .arg("/new/at/f")
        .env("XDG_CONFIG_HOME", site.path("config"))
        .run()
        .prints("by hand");
    let image = preload("echo").arg("ran").env("PRIVNS_IMAGE", "not*a*token").run();
    assert_eq!((image.ending, image.out().as_str()), (Ending::Exit(125), ""), "{image}");
}

/// The table handed down is destroyed: the program stops, and is not run on the host.
#[test]
fn a_table_that_is_no_table() {
    let site = Site::new();
    site.write("i/inner", "");
    let script = r#"env | grep '^PRIVNS' >$T/env
        while IFS= read -r line; do
            for bad in 999 -1 x "" 0 99999999999999999999 "$(printf '%05000d' 7)"; do
                env "${line%%=*}=$bad" sh -c 'test -e /tmp/inner || echo "on the host: $0"' "$bad" 2>/dev/null
                s=$?; case $s in 0|125) ;; *) echo "status $s for $bad";; esac
            done
        done <$T/env"#;
    site.inside(&["--bind", &site.at("i"), "/tmp"], script).run().prints("");
}

#[test]
fn a_runtime_directory_full_of_rubbish() {
    let site = Site::new();
    site.write("src/f", "fine\n");
    for dir in ["run", "run/privns", "run/privns/families"] {
        site.mkdir(dir);
        for (name, text) in [
            ("rubbish", &b"\xff\x00rubbish"[..]),
            ("empty", b""),
            (&format!("x{}", site.family()), &[0; 8192]),
        ] {
            site.write(&format!("{dir}/{name}"), text);
        }
    }
    let outcome =
        site.inside(&["--bind", &site.at("src"), "/new"], "cat /new/f; ns families | wc -l").run();
    assert!(outcome.out().starts_with("fine"), "{outcome}");
    for dir in ["run", "run/privns", "run/privns/families"] {
        for name in ["rubbish", "empty", &format!("x{}", site.family())] {
            let _ = std::fs::remove_file(site.path(dir).join(name));
        }
    }
}

#[test]
fn a_home_that_cannot_be_written() {
    let site = Site::new();
    site.write("src/f", "fine\n");
    let command = site.inside(&["--bind", &site.at("src"), "/new"], "cat /new/f");
    let closed = command
        .env("HOME", "/proc")
        .env_remove("XDG_RUNTIME_DIR")
        .env("XDG_RUNTIME_DIR", "/proc/nowhere");
    let outcome = closed.run();
    // Either it finds another place for what it keeps, or it says what it could not do.
    if outcome.ending != Ending::Exit(0) {
        outcome.refuses(125, &["/proc"]);
    }
    site.inside(&["--bind", &site.at("src"), "/new"], "cat /new/f")
        .env("HOME", "/nowhere")
        .run()
        .prints("fine");
    site.inside(&["--private", "/tmp"], "echo x >/tmp/x; cat /tmp/x")
        .env_remove("HOME")
        .run()
        .prints("x");
}

#[test]
fn a_full_descriptor_table() {
    let site = Site::new();
    site.write("src/f", "fine\n");
    let bind = ["--bind", &site.at("src"), "/new"];
    site.inside(&bind, "ulimit -n 8; cat /new/f; sh -c 'cat /new/f'").run().prints("fine\nfine");
    let tight =
        site.sh("ulimit -n 12; exec ns-exec --family $F --bind $T/src /new -- cat /new/f").run();
    if tight.ending != Ending::Exit(0) {
        tight.refuses(125, &[]);
    }
    needs!("full_descriptor_table", "/usr/bin/python3");
    let python = "import os\nfds = []\ntry:\n  while True: fds.append(os.open('/new/f', os.O_RDONLY))\n\
                  except OSError as e: print(e.errno)\nprint(os.stat('/new/f').st_size)\ntry: os.listdir('/new')\n\
                  except OSError as e: print(e.errno)\nos.close(fds.pop()); print(open('/new/f').read())";
    let script = format!("ulimit -n 40; exec /usr/bin/python3 -c \"{python}\"");
    site.inside(&bind, &script).run().prints("24\n5\n24\nfine");
}

#[test]
fn a_closed_standard_descriptor() {
    let site = Site::new();
    site.write("src/f", "fine\n");
    let script =
        "exec ns-exec --family $F --bind $T/src /new -- sh -c 'cat /new/f >$T/out' <&- >&- 2>&-";
    site.sh(script).run().ok();
    assert_eq!(std::fs::read_to_string(site.path("out")).expect("out"), "fine\n");
}

/// A place whose parent others can write must not be trusted with an instance.
#[test]
fn a_planted_instance_parent_is_refused() {
    if !is_root() {
        say_skipped("planted_instance_parent", "root");
        return;
    }
    let site = Site::new();
    site.mkdir("pub");
    site.mkdir("victim");
    site.write("victim/kept", "");
    let list = site.inside(&["--private", &site.at("pub")], "ns instances");
    assert!(list.run().ok().contains(&site.at("pub/.privns-0/")));
    // In the place of the hidden parent that it makes there, a link.
    let path = site.path("pub/.privns-0");
    let start = Instant::now();
    while path.exists() {
        assert!(start.elapsed() < Duration::from_secs(10), "the instance did not go");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::os::unix::fs::symlink(site.path("victim"), &path).expect("plant");
    let outcome = site.inside(&["--private", &site.at("pub")], "echo ran").run();
    assert_eq!((outcome.ending, outcome.out().as_str()), (Ending::Exit(125), ""), "{outcome}");
    std::fs::remove_file(&path).expect("remove");
    assert!(site.path("victim/kept").exists());
    assert_eq!(std::fs::read_dir(site.path("victim")).expect("read").count(), 1);
}
