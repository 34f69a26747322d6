//! The places in which a case runs.

use crate::case::Case;
use crate::run::{Cmd, Outcome};
use crate::site::Site;
use crate::tree::Tree;
use crate::{cc, site};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// One way to have the seed's tree at `$T/new/place`.
pub struct World {
    /// The name by which cases choose it.
    pub name: &'static str,
    /// Whether a case that chooses nothing runs in it.
    pub usual: bool,
    /// Lays out the site.
    prepare: fn(&Site),
    /// What stands before the program: `ns-exec` with its options, or nothing.
    launch: fn(&Site) -> Vec<OsString>,
    /// Real mounts to compare with, where a plain directory is not the same. Needs root.
    kernel: Option<&'static World>,
    /// The kernel's refusals, for the oracle as well: a word of c/tools/confine.c.
    confine: Option<&'static str>,
    /// The same for the case alone, where the launcher needs what is refused.
    denied: Option<&'static str>,
    /// Variables for the launcher.
    env: &'static [(&'static str, &'static str)],
    /// Where the tree is afterwards, the first member first.
    result: &'static [&'static str],
    /// Whether the case must copy the tree in before it begins and out after.
    copies: bool,
}

/// The oracle: a real directory and no library.
const NATIVE: World = World {
    name: "native",
    usual: true,
    prepare: |site| {
        site.seed("new/place");
    },
    launch: |_| Vec::new(),
    kernel: None,
    confine: None,
    denied: None,
    env: &[],
    result: &["new/place"],
    copies: false,
};

/// A directory bound where the host has nothing.
const BIND: World = World {
    name: "bind",
    prepare: |site| {
        site.seed("src");
    },
    launch: |site| options(site, &[&["--bind", "@src", "@new/place"]]),
    result: &["src"],
    ..NATIVE
};

/// Real bind mounts, in a mount namespace that ends with the case.
const KERNEL_READONLY: World = World {
    name: "kernel-readonly",
    launch: |_| mounts("mount --bind $T/src $P; mount -o remount,bind,ro $P"),
    ..BIND
};
const KERNEL_NESTED: World = World {
    name: "kernel-nested",
    prepare: nest,
    launch: |_| {
        let nested = "mount --bind $T/more $P/sub/deep; mount --bind $T/file $P/hello.txt";
        mounts(&format!("mount --bind $T/src $P; {nested}"))
    },
    ..BIND
};

/// Every world but the oracle, in the order in which they are reported.
pub const WORLDS: &[World] = &[
    BIND,
    World { name: "symbols", env: &[("PRIVNS_INTERCEPT", "symbols")], ..BIND },
    World {
        name: "private",
        prepare: |site| {
            site.seed("seed");
            site.mkdir("new/place");
        },
        launch: |site| options(site, &[&["--private", "@new/place"]]),
        result: &["out"],
        copies: true,
        ..NATIVE
    },
    World {
        name: "union",
        prepare: split,
        launch: |site| {
            let binds = ["-e", "bind -c @one @new/place", "-e", "bind -a @two @new/place"];
            options(site, &[&binds])
        },
        result: &["one", "two"],
        ..NATIVE
    },
    // The kernel refuses what a locked-down host refuses; see c/tools/confine.c.
    World { name: "locked", usual: false, confine: Some("locked"), ..BIND },
    World { name: "old", usual: false, confine: Some("old"), ..BIND },
    World { name: "mdwe", usual: false, confine: Some("mdwe"), ..BIND },
    // Compared with mounts of the kernel: read-only, and places inside of places.
    World {
        name: "readonly",
        usual: false,
        kernel: Some(&KERNEL_READONLY),
        launch: |site| options(site, &[&["--ro-bind", "@src", "@new/place"]]),
        ..BIND
    },
    World {
        name: "nested",
        usual: false,
        kernel: Some(&KERNEL_NESTED),
        prepare: nest,
        launch: |site| {
            let binds: [&[&str]; 3] = [
                &["--bind", "@src", "@new/place"],
                &["--bind", "@more", "@new/place/sub/deep"],
                &["--bind", "@file", "@new/place/hello.txt"],
            ];
            options(site, &binds)
        },
        ..BIND
    },
    World { name: "text", usual: false, confine: Some("text"), ..BIND },
    // Trees of 9P servers: a directory on a unix socket, over TCP, in the old dialects, and in
    // memory.
    World { name: "9p-dir-unix", usual: true, launch: |_| served("unix!$T/socket", ""), ..REMOTE },
    World { name: "9p-dir-tcp", launch: |_| served(LOOPBACK, ""), ..REMOTE },
    World {
        name: "9p-old-unix",
        usual: true,
        launch: |_| served(LOOPBACK, "-o dialect=9P2000.u"),
        ..REMOTE
    },
    World {
        name: "9p-old-base",
        usual: true,
        launch: |_| served(LOOPBACK, "-o dialect=9P2000"),
        denied: Some(LINKLESS),
        ..REMOTE
    },
    World {
        name: "9p-mem-unix",
        usual: true,
        prepare: |site| {
            site.seed("seed");
        },
        launch: |site| options(site, &[&["--tmpfs", "@new/place"]]),
        result: &["out"],
        copies: true,
        ..REMOTE
    },
];

/// There are no symbolic links, and none can be made.
const LINKLESS: &str = "linkless";

/// A port of loopback that is free.
const LOOPBACK: &str = "tcp!127.0.0.1!0";

/// A tree that a 9P server has.
const REMOTE: World = World { usual: false, ..BIND };

/// The worlds that a header's `worlds:` names: all the usual ones when it is empty,
/// `+name` for one more, `-name` for all but those that begin so.
#[must_use]
pub fn worlds(choice: &[String]) -> Vec<&'static World> {
    let extra = |w: &World| choice.iter().any(|c| c.strip_prefix('+') == Some(w.name));
    let not = |w: &World| {
        choice.iter().filter_map(|c| c.strip_prefix('-')).any(|c| w.name.starts_with(c))
    };
    let named = |w: &World| choice.iter().any(|c| c == w.name);
    let only = choice.iter().any(|c| !c.starts_with(['+', '-']));
    WORLDS.iter().filter(|w| named(w) || extra(w) || (w.usual && !only && !not(w))).collect()
}

impl World {
    /// Where the oracle for this world runs: a real directory, or real mounts; no
    /// library; and the same refusals of the kernel.
    #[must_use]
    pub fn oracle(&self) -> Self {
        match self.kernel {
            Some(kernel) => Self { ..*kernel },
            None => Self { confine: self.confine, denied: self.denied, ..NATIVE },
        }
    }

    /// What is missing here for this world, if anything.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        (self.kernel.is_some() && !crate::is_root()).then_some("root")
    }

    /// What tells one oracle from another.
    pub(crate) fn key(&self) -> &'static str {
        self.kernel.map_or(self.confine.or(self.denied).unwrap_or(""), |kernel| kernel.name)
    }

    /// Runs a case in a site of its own. Both outcome and tree come back with the
    /// site's names made equal.
    #[must_use]
    pub fn run(&self, case: &Case) -> (Outcome, Tree) {
        let site = Site::new();
        (self.prepare)(&site);
        if self.denied == Some(LINKLESS) {
            ["src", "new/place"].iter().for_each(|dir| unlink_links(&site.path(dir)));
        }
        let outcome = self.command(&site, case).run();
        let outcome = Outcome {
            stdout: site::normal(&site, &outcome.stdout),
            stderr: site::normal(&site, &outcome.stderr),
            ..outcome
        };
        let normal = |bytes: &[u8]| site::normal(&site, bytes);
        let mut trees = self.result.iter().map(|dir| Tree::read(&site.path(dir), &normal));
        let first = trees.next().unwrap_or_default();
        let tree = trees.fold(first, |tree, lower| tree.over(&lower));
        let appeared = self.name == "bind" && site.path("new").exists();
        assert!(!appeared, "the place of a bind appeared on the host");
        if self.copies {
            drop(site); // It has an instance; whether that goes is part of the test.
        } else {
            site.settle_later();
        }
        (outcome, tree)
    }

    fn command(&self, site: &Site, case: &Case) -> Cmd {
        let confine = |how: Option<&str>| {
            let words = how.map(|how| [cc::tools().join("confine").into(), how.into()]);
            words.into_iter().flatten()
        };
        let mut words: Vec<OsString> = confine(self.confine).collect();
        words.extend((self.launch)(site));
        words.extend(confine(self.denied));
        words.extend(["/bin/sh".into(), "-c".into(), self.wrapper().into(), "case".into()]);
        words.extend(case.words(site));
        let mut words = words.into_iter();
        let program = words.next().expect("a program");
        let command = self.env.iter().fold(site.cmd(program), |c, (k, v)| c.env(k, v));
        command
            .args(words)
            .env("P", site.path("new/place"))
            .env("SHIM_TOOLS", cc::tools())
            .limit(case.limit)
    }

    /// Enters the work directory and becomes the case; in an instance, with a copy
    /// of the tree before and after, since the instance goes with its family.
    fn wrapper(&self) -> &'static str {
        if self.copies {
            r#"cp -a "$T/seed/." "$P" && cd "$P/w" || exit 99
               "$@"; status=$?; cd /; cp -a "$P" "$T/out"; exit $status"#
        } else {
            r#"cd "$P/w" && exec "$@""#
        }
    }
}

/// `ns-exec` with options; `@` stands for the site's directory.
fn options(site: &Site, groups: &[&[&str]]) -> Vec<OsString> {
    let root = site.root().to_string_lossy().into_owned() + "/";
    let head = [crate::bins().ns_exec().into(), "--family".into(), site.family().into()];
    let body = groups.iter().flat_map(|g| g.iter()).map(|w| w.replace('@', &root).into());
    head.into_iter().chain(body).chain(["--".into()]).collect()
}

/// `ns-exec` with the seed as `ns-serve` serves it at an address, mounted with flags. The
/// server is no child of the program, and ends when that does.
fn served(address: &str, flags: &str) -> Vec<OsString> {
    let script = format!(
        r#"( {{
             ns-serve dir "$T/src" --listen {address} >"$T/address" & server=$!
             while kill -0 $$ 2>/dev/null; do sleep .2; done; kill $server
           }} </dev/null >/dev/null 2>&1 & )
           until [ -s "$T/address" ]; do sleep .01; done
           read -r at <"$T/address"
           exec {} --family "$F" -e "mount {flags} $at $T/new/place" -- "$@""#,
        crate::bins().ns_exec().display()
    );
    ["/bin/sh".into(), "-c".into(), script.into(), "served".into()].into()
}

/// A mount namespace of its own, and the mounts made in it.
fn mounts(script: &str) -> Vec<OsString> {
    let script = format!("set -e; mkdir -p $P; {script}; exec \"$@\"");
    ["unshare", "-m", "/bin/sh", "-c", &script, "mounts"].map(OsString::from).into()
}

/// The seed, and a directory and a file to stand inside of it.
fn nest(site: &Site) {
    site.seed("src");
    site.write("more/er/within", "within\n");
    site.write("file", "a file on a file\n");
}

/// Removes all symbolic links in a tree.
fn unlink_links(dir: &std::path::Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type().expect("a type") {
            kind if kind.is_symlink() => std::fs::remove_file(entry.path()).expect("unlink"),
            kind if kind.is_dir() => unlink_links(&entry.path()),
            _ => {}
        }
    }
}

/// Deals the seed's names out to two members, with one name in both.
fn split(site: &Site) {
    let one = site.seed("one");
    let two = site.mkdir("two");
    let away: Vec<PathBuf> = std::fs::read_dir(&one)
        .expect("read the seed")
        .flatten()
        .map(|e| e.path())
        .filter(|p| !["w", "run.sh", "hello.txt"].iter().any(|k| p.ends_with(k)))
        .collect();
    for path in away {
        let name = path.file_name().expect("a name");
        // Half stays: some of the names that sort before, some after.
        if name.as_bytes()[0] % 2 == 0 {
            std::fs::rename(&path, two.join(name)).expect("deal out");
        }
    }
    std::fs::write(two.join("hello.txt"), "behind the first member\n").expect("deal out");
}
