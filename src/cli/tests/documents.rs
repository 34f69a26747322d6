//! Manual pages and completions are made from the table of options: those in
//! the repository must be of this table, and be what their readers expect.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PROGRAMS: [(&str, &str); 4] = [
    ("ns-exec", env!("CARGO_BIN_EXE_ns-exec")),
    ("ns", env!("CARGO_BIN_EXE_ns")),
    ("ns-serve", env!("CARGO_BIN_EXE_ns-serve")),
    ("ns-slurm-prolog", env!("CARGO_BIN_EXE_ns-slurm-prolog")),
];

fn generated(program: &str, what: &str) -> String {
    let output = Command::new(program).args(["--generate", what]).output().unwrap();
    assert!(output.status.success(), "{program} --generate {what}");
    String::from_utf8(output.stdout).unwrap()
}

fn documents() -> Vec<(PathBuf, String)> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let one = |(name, program): (&str, &str)| {
        [
            (docs.join("man").join(format!("{name}.1")), generated(program, "man")),
            (docs.join("completions").join(format!("{name}.bash")), generated(program, "bash")),
            (docs.join("completions").join(format!("_{name}")), generated(program, "zsh")),
            (docs.join("completions").join(format!("{name}.fish")), generated(program, "fish")),
        ]
    };
    PROGRAMS.into_iter().flat_map(one).collect()
}

/// `UPDATE=1 cargo test -p privns-cli --test documents` writes them.
#[test]
fn those_in_the_repository_are_current() {
    let update = std::env::var_os("UPDATE").is_some();
    for (path, text) in documents() {
        if update {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{} is old: run this test with UPDATE=1", path.display());
    }
}

/// Gives a text to a program that must have nothing to say about it.
fn checked(program: &str, args: &[&str], text: &str) {
    let started = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        println!("skipped: needs {program}");
        return;
    };
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.is_empty(), "{program}: {told}\n{text}");
}

#[test]
fn shells_and_roff_understand_them() {
    let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man/privns-site.7");
    let site = std::fs::read_to_string(site).unwrap();
    checked("groff", &["-man", "-Tutf8", "-ww", "-z"], &site);
    for (_, program) in PROGRAMS {
        checked("bash", &["-n"], &generated(program, "bash"));
        checked("zsh", &["-n"], &generated(program, "zsh"));
        checked("fish", &["--no-execute"], &generated(program, "fish"));
        checked("groff", &["-man", "-Tutf8", "-ww", "-z"], &generated(program, "man"));
    }
}

#[test]
fn bash_completes_options_words_and_verbs() {
    let complete = |program: usize, words: &[&str]| -> Vec<String> {
        let (name, path) = PROGRAMS[program];
        let list: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
        let script = format!(
            "{}\nCOMP_WORDS=({name} {}); COMP_CWORD={}; _{} ; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            generated(path, "bash"),
            list.join(" "),
            words.len(),
            name.replace('-', "_"),
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    };
    assert_eq!(complete(0, &["--ro"]), ["--ro-bind"]);
    assert!(!complete(0, &["--bind", "/etc/passwd", ""]).is_empty());
    assert!(complete(0, &["--bind", "/etc/passw"]).contains(&"/etc/passwd".to_string()));
    assert_eq!(complete(0, &["--names", ""]), ["exact"]);
    assert_eq!(complete(1, &["fam"]), ["families"]);
}

#[test]
fn help_has_every_visible_option_and_examples() {
    for (name, program) in PROGRAMS {
        let output = Command::new(program).arg("--help").output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        let man = generated(program, "man");
        assert!(help.starts_with(&format!("{name}: ")) && help.contains("Examples:"));
        assert!(help.lines().all(|l| l.chars().count() <= 100), "{name}");
        for word in help.split_whitespace().filter(|w| w.starts_with("--") && w.len() > 2) {
            let word = word.trim_end_matches([',', '.', ')']).split(['[', '=']).next().unwrap();
            assert!(man.contains(&word.replace('-', "\\-")), "{name}: {word}");
        }
    }
}
