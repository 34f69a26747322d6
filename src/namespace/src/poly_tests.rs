//! Rules read, one row each, and whatever bytes there may be.

use super::*;
use crate::failure::Failure;
use crate::file::{self, Action, Environment, Line, User};
use alloc::string::{String, ToString};
use alloc::{format, vec};
use privns_abi::Errno;
use proptest::prelude::*;

/// Files by name; user `me`, number 1000, and `root` beside.
#[derive(Default)]
struct Site {
    files: Vec<(&'static str, Vec<u8>)>,
    selinux: bool,
    notes: core::cell::RefCell<Vec<String>>,
}

impl Site {
    fn new(files: &[(&'static str, &str)]) -> Site {
        let files = files.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect();
        Site { files, ..Site::default() }
    }
}

impl Environment for Site {
    fn variable(&self, _name: &[u8]) -> Option<Vec<u8>> {
        None
    }
    fn read(&self, file: &[u8]) -> privns_abi::Result<Vec<u8>> {
        let found = self.files.iter().find(|(name, _)| name.as_bytes() == file);
        found.map(|(_, text)| text.clone()).ok_or(Errno::ENOENT)
    }
    fn list(&self, dir: &[u8]) -> privns_abi::Result<Vec<Vec<u8>>> {
        let dir = [dir, b"/"].concat();
        let names =
            self.files.iter().filter_map(|(name, _)| name.as_bytes().strip_prefix(&dir[..]));
        Ok(names.filter(|rest| !rest.contains(&b'/')).map(<[u8]>::to_vec).collect())
    }
    fn is_there(&self, file: &[u8]) -> bool {
        self.read(file).is_ok()
    }
    fn user(&self) -> Option<User> {
        Some(User { name: b"me".to_vec(), home: b"/home/me".to_vec(), uid: 1000 })
    }
    fn uid_of(&self, name: &[u8]) -> Option<u32> {
        match name {
            b"root" => Some(0),
            b"me" => Some(1000),
            b"other" => Some(1001),
            _ => None,
        }
    }
    fn has_selinux(&self) -> bool {
        self.selinux
    }
    fn note(&self, passed: &Failure) {
        self.notes.borrow_mut().push(passed.to_string());
    }
}

fn who() -> Who {
    Who {
        login: b"me".to_vec(),
        home: b"/home/me".to_vec(),
        job: Some(b"12.0".to_vec()),
        node: b"n1".to_vec(),
        context: None,
        family: 0xab,
        random: 0,
    }
}

fn read(site: &Site, line: &str) -> core::result::Result<Vec<String>, String> {
    let text = |line: &Line| String::from_utf8_lossy(&line.to_text()).into_owned();
    let lines = file::parse(b"f", line.as_bytes(), site).map_err(|f| f.to_string())?;
    Ok(lines.iter().map(text).collect())
}

/// What one line of a file gives.
fn one(line: &str) -> core::result::Result<Vec<String>, String> {
    read(&Site { files: vec![("/c", line.as_bytes().to_vec())], ..Site::default() }, "poly /c")
}

/// The instance that a rule gives.
fn named(rule: &str, who: &Who) -> String {
    let made = Rule::parse(rule.as_bytes()).and_then(|rule| name::instance(&rule, who));
    made.map_or_else(|f| f.to_string(), |path| String::from_utf8(path).unwrap())
}

#[test]
fn every_line_that_can_be_read() {
    let private = |rule: &str, dir: &str| vec![format!("private -i '{rule}' {dir}")];
    for (line, rule, dir) in [
        ("/tmp /i/ user", "/i/ user", "/tmp"),
        ("  /tmp\t/i/ \x0b user  \r", "/i/ user", "/tmp"),
        ("/tmp/ /i- user root,other extra words", "/i- user", "/tmp"),
        ("/tmp/// /i/ tmpdir", "/i/ tmpdir", "/tmp"),
        ("/tmp /i/ user # me", "/i/ user", "/tmp"),
        (r#""/tmp" "/i/"x user"#, "/i/x user", "/tmp"),
        (r#"/t\x /i\q/ user"#, "/iq/ user", "/tx"),
        (r#""/t\mp" /i/ user"#, "/i/ user", r"/t\mp"),
        ("$HOME/t $HOME/.i/ user", "$HOME/.i/ user", "/home/me/t"),
        ("/t/$USER /i/$USER- user", "/i/$USER- user", "/t/me"),
        ("$HOMEX /i/ user", "/i/ user", "/home/meX"),
        ("/$HOST /i/ user", "/i/ user", "'/$HOST'"),
        ("/tmp tmpfs tmpfs", "tmpfs tmpfs", "/tmp"),
        ("/tmp x tmpfs:mntopts=size=1M,nosuid", "x tmpfs:mntopts=size=1M,nosuid", "/tmp"),
        ("/tmp /i/ level", "/i/ level", "/tmp"),
        ("/tmp /i/ context", "/i/ context", "/tmp"),
        ("/tmp /i/$JOB.$NODE. job", "/i/$JOB.$NODE. job", "/tmp"),
        ("/tmp /i/ family", "/i/ family", "/tmp"),
        ("/d /i/ user:create", "/i/ user:create", "/d"),
        ("/d /i/ user:create=", "/i/ user:create", "/d"),
        ("/d /i/ user:create=0750,root,adm", "/i/ user:create=0750,root,adm", "/d"),
        ("/d /i/ user:create=488,,adm", "/i/ user:create=0750,,adm", "/d"),
        ("/d /i/ user:create=0x1e8", "/i/ user:create=0750", "/d"),
        ("/d /i/ user:create,me", "/i/ user:create", "/d"),
        ("/d /i/ user:createmore=0700", "/i/ user:create", "/d"),
        ("/d /i/ :user::what:noinit", "/i/ user", "/d"),
        ("/d /i/ user:iscript=/x", "/i/ user:iscript=/x", "/d"),
        ("/d /i/ user:iscript=x", "/i/ user:iscript=/namespace.d/x", "/d"),
        ("/d /i/ user:iscript=x:noinit", "/i/ user", "/d"),
        ("/d /i/ user ~me", "/i/ user", "/d"),
        ("/d /i/ user ~root,me", "/i/ user", "/d"),
        ("/d /i/ user ~nobody1,me", "/i/ user", "/d"),
        ("/d /i/ user ,root,,other,", "/i/ user", "/d"),
    ] {
        assert_eq!(one(line), Ok(private(rule, dir)), "{line}");
    }
}

#[test]
fn lines_that_are_not_for_this_user() {
    for line in [
        "",
        " \t ",
        "# /tmp /i/ user",
        "/tmp /i/ user me",
        "/tmp /i/ user root,me",
        "/tmp /i/ user ~",
        "/tmp /i/ user ~root",
        "/tmp /i/ user ~nobody1",
        // Without SELinux a line for all users of a context is passed over.
        "/tmp /i/ level:shared",
        "/tmp /i/ context:shared",
    ] {
        assert_eq!(one(line), Ok(vec![]), "{line}");
    }
}

#[test]
fn what_cannot_be_read_is_said_with_file_line_and_field() {
    for (line, said) in [
        ("/tmp", "field 2, the instance prefix: it is missing"),
        ("/tmp /i/", "field 3, the method: it is missing"),
        ("/tmp /i/ # user", "field 3, the method: it is missing"),
        (r#""/tmp /i/ user"#, "field 2, the instance prefix: it is missing"),
        (r#"/tmp "/i/#" user"#, "field 3, the method: it is missing"),
        ("/tmp /i/ usr", "field 3, usr: unknown method"),
        ("/tmp /i/ User", "field 3, User: unknown method"),
        (r#"/tmp /i/ """#, "field 3, : unknown method"),
        ("/tmp /i/ :", "field 3, : unknown method"),
        ("tmp /i/ user", "field 1, tmp: not an absolute path"),
        (r#""" /i/ user"#, "field 1, : not an absolute path"),
        ("/tmp i/ user", "field 2, i/: not an absolute path"),
        ("/tmp $USER/ user", "field 2, $USER/: not an absolute path"),
        ("/tmp/.. /i/ user", "field 1, /tmp/..: it holds .."),
        ("/tmp /i../ user", "field 2, /i../: it holds .."),
        ("/tmp a..b tmpfs", "field 2, a..b: it holds .."),
        ("/ /i/ user", "field 1, /: the root cannot be an instance"),
        ("// /i/ user", "field 1, /: the root cannot be an instance"),
        ("/d /i/ user:create=abc", "field 3, create=abc: the mode is no number"),
        ("/d /i/ user:create=08", "field 3, create=08: the mode is no number"),
        ("/d /i/ user:create=010000", "field 3, create=010000: the mode is beyond 07777"),
        ("/t\0p /i/ user", "byte 0: no name can hold it"),
    ] {
        let got = one(&format!("\n{line}")).unwrap_err();
        assert!(got.starts_with(&format!("/c:2: {said}")), "{line}: {got}");
    }
    let got = read(&Site::default(), "\npoly /none").unwrap_err();
    assert_eq!(got, "f:2: reading /none: No such file or directory");
}

#[test]
fn names_of_instances() {
    let me = who();
    let job_less = Who { job: None, ..who() };
    for (rule, name) in [
        ("/i/ user", "/i/me"),
        ("/i- user", "/i-me"),
        ("/$USER$USER/ user", "/meme/me"),
        ("$HOME/.i/ user", "/home/me/.i/me"),
        ("/i/ level", "/i/me"),
        ("/i/ tmpdir", "/i/aaaaaa"),
        ("/i/ family", "/i/00000000000000ab"),
        ("/i/ job", "/i/12.0.n1.me"),
        ("/i/$JOB.$NODE. job", "/i/12.0.n1.me"),
        ("/i/$JOBX$NODE/ job", "/i/12.0Xn1/me"),
        ("/i/$JOB. user", "/i/12.0.me"),
        ("/i/ user:hash", "/i/ab86a1e1ef70dff97959067b723c5c24"),
    ] {
        assert_eq!(named(rule, &me), name, "{rule}");
    }
    let selinux = Who { context: Some(b"u:r:t:s0".to_vec()), ..who() };
    assert_eq!(named("/i/ context", &selinux), "/i/u:r:t:s0_me");
    assert_eq!(named("/i/ level:shared", &selinux), "/i/u:r:t:s0");
    for rule in ["/i/ job", "/i/$JOB/ user"] {
        assert!(named(rule, &job_less).starts_with("$JOB: there is no batch job here"), "{rule}");
    }
    for job in ["", "../x", "a/b", "a\nb", &"x".repeat(81)] {
        let odd = Who { job: Some(job.as_bytes().to_vec()), ..who() };
        assert!(named("/i/ job", &odd).contains("no part of a file's name"), "{job:?}");
    }
    let dots = Who { job: Some(b"..".to_vec()), ..who() };
    assert!(named("/i/$JOB/ job", &dots).contains("it holds .."));
    let slash = Who { login: b"a/b".to_vec(), ..who() };
    assert!(named("/i/ user", &slash).contains("with a slash in it"));
}

#[test]
fn long_names_end_in_their_hash() {
    let named = |len: usize| {
        named("/i/ user", &Who { login: vec![b'x'; len], ..who() }).trim_start_matches("/i/").len()
    };
    assert_eq!([named(79), named(80), named(81), named(300)], [79, 80, 80, 80]);
    let long = super::tests::named("/i/ user", &Who { login: vec![b'x'; 81], ..who() });
    // md5sum(1) of 81 times x.
    assert_eq!(long, format!("/i/{}_{}", "x".repeat(47), "21360fb332fac3e20710495d135a23d4"));
}

#[test]
fn drop_ins_follow_by_name_and_the_sites_hide_the_vendors() {
    let site = Site::new(&[
        ("/etc/security/namespace.conf", "/a /i/ user"),
        ("/usr/etc/security/namespace.conf", "/hidden /i/ user"),
        ("/etc/security/namespace.d/20.conf", "/c /i/ user"),
        ("/etc/security/namespace.d/30.conf", "/d /i/ user:iscript=s"),
        ("/etc/security/namespace.d/readme", "no rule"),
        ("/usr/etc/security/namespace.d/10.conf", "/b /i/ user"),
        ("/usr/etc/security/namespace.d/20.conf", "/hidden /i/ user"),
        ("/etc/security/namespace.init", ""),
    ]);
    let lines = file::parse(b"f", b"poly /etc/security/namespace.conf", &site).unwrap();
    let said = |line: &Line| {
        let Action::Instance { rule, dir } = &line.action else { panic!("{line:?}") };
        [&line.origin[..], b" ", dir, b" ", rule].concat()
    };
    let said: Vec<String> = lines.iter().map(|l| String::from_utf8(said(l)).unwrap()).collect();
    assert_eq!(
        said,
        [
            "/etc/security/namespace.conf:1 /a /i/ user:iscript=/etc/security/namespace.init",
            "/usr/etc/security/namespace.d/10.conf:1 /b /i/ user",
            "/etc/security/namespace.d/20.conf:1 /c /i/ user:iscript=/etc/security/namespace.init",
            "/etc/security/namespace.d/30.conf:1 /d /i/ user:iscript=/etc/security/namespace.d/s",
        ]
    );
    let vendor = Site::new(&[("/usr/share/security/namespace.conf", "/v /i/ user")]);
    let lines = read(&vendor, "poly /etc/security/namespace.conf").unwrap();
    assert_eq!(lines, ["private -i '/i/ user' /v"]);
}

#[test]
fn arguments_of_the_module() {
    let text = "/a /i/ user\n/b\n/c /i/ usr\n/d /i/ user nobody1";
    let site = Site::new(&[("/c", text)]);
    assert!(read(&site, "poly /c").is_err());
    let lines = read(&site, "poly -o ignore_config_error,debug,unmnt_remnt /c").unwrap();
    assert_eq!(lines.len(), 2);
    let notes = site.notes.take();
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[2].starts_with("/c:4: field 4, nobody1: no such user"), "{notes:?}");
    assert_eq!(read(&site, "poly -q /c").unwrap(), Vec::<String>::new());
    let site = Site::new(&[("/c", "/a /i/ user")]);
    assert_eq!(read(&site, "poly -o gen_hash /c").unwrap(), ["private -i '/i/ user:hash' /a"]);
    assert!(read(&site, "poly -o require_selinux /c").unwrap_err().contains("SELinux"));
    let site = Site { selinux: true, ..Site::new(&[("/c", "/a /i/ level:shared")]) };
    assert_eq!(read(&site, "poly -o require_selinux /c").unwrap().len(), 1);
    for (line, said) in [
        ("poly", "it has 0 arguments"),
        ("poly /a /b", "it has 2 arguments"),
        ("poly -x /a", "poly -x: unknown flag"),
        ("poly -o", "poly -o: no value follows"),
        ("private -i '/i/ usr' /a", "field 3, usr: unknown method"),
        ("private -i '/i/' /a", "/i/: 1 fields"),
        ("private -i '/i/ user' -i '/i/ user' /a", "private: two rules"),
    ] {
        let got = read(&site, line).unwrap_err();
        assert!(got.contains(said), "{line}: {got}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let site = Site { files: vec![("/c", text)], ..Site::default() };
        let _ = file::parse(b"f", b"poly /c", &site);
    }

    #[test]
    fn lines_like_lines_are_read_or_refused(
        text in r##"(/|\$HOME|\$USER|[a-z"#\\ ]){0,9} /[a-z$JOB"\\]{0,9} (user|tmpfs|job|context)(:(create|iscript|mntopts|shared)(=[0-7,a-z:]{0,9})?){0,3} [~,a-z]{0,5}"##
    ) {
        for line in one(&text).unwrap_or_default() {
            // What is printed is read back as itself.
            prop_assert_eq!(read(&Site::default(), &line), Ok(vec![line]));
        }
    }

    #[test]
    fn every_rule_is_read_back(
        prefix in r"/[ -\x7f&&[^#\x00.]]{0,20}", mode in proptest::option::of(0u32..0o10000),
        owner in proptest::option::of("[a-z]{1,8}"), group in proptest::option::of("[a-z]{1,8}"),
        method in 0usize..7, create: bool, shared: bool, hash: bool,
        script in proptest::option::of("/[a-z/ ]{1,8}"), options in "[a-z=,0-9]{0,12}",
    ) {
        let rule = Rule {
            prefix: prefix.into_bytes(),
            method: Method::ALL[method].1,
            create: create.then(|| Create {
                mode, owner: owner.map(Into::into), group: group.map(Into::into),
            }),
            script: script.map(Into::into),
            no_init: false,
            shared,
            mount_options: options.into_bytes(),
            hash,
            keep: shared,
        };
        prop_assert_eq!(Rule::parse(&rule.to_text()), Ok(rule));
    }
}
