//! Completions for bash, zsh and fish, made from the table.

use super::{Arg, Offer, Opt, Program, Verb};
use std::fmt::Write;

/// The shells that completions are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash-completion's kind.
    Bash,
    /// A `#compdef` function.
    Zsh,
    /// `complete` commands.
    Fish,
}

/// Prints the names of living families, one a line.
const FAMILIES: &str = "ns families --names 2>/dev/null";

impl<R> Program<R> {
    /// The completion script for a shell.
    #[must_use]
    pub fn completions(&self, shell: Shell) -> String {
        match shell {
            Shell::Bash => self.bash(),
            Shell::Zsh => self.zsh(),
            Shell::Fish => self.fish(),
        }
    }

    fn visible(&self) -> impl Iterator<Item = &Opt<R>> {
        self.options.iter().filter(|o| o.is_shown())
    }

    fn bash(&self) -> String {
        let function = format!("_{}", self.name.replace('-', "_"));
        let mut cases = String::new();
        for option in self.visible() {
            // The word after an option is completed by its first argument, the
            // one after that by its second.
            for (i, arg) in option.args.iter().enumerate() {
                if option.optional {
                    continue;
                }
                let mut names = vec![format!("--{}", option.long)];
                names.extend(option.short.map(|c| format!("-{c}")));
                let heads: Vec<String> = names.iter().map(|n| format!("{}:{n}", i + 1)).collect();
                let _ = writeln!(cases, "        {}) {}; return ;;", heads.join("|"), bash(*arg));
            }
        }
        let options: Vec<String> = self
            .visible()
            .map(|o| format!("--{}", o.long))
            .chain(["--help".into(), "--version".into()])
            .collect();
        let (scan, operands) = self.bash_operands();
        format!(
            "# bash completion for {name}\n\
             {function}() {{\n    \
                 local cur=${{COMP_WORDS[COMP_CWORD]}} back i operand=-1 words\n\
             {scan}    \
                 for back in 1 2; do\n        \
                     [ $((COMP_CWORD - back)) -gt 0 ] || break\n        \
                     case $back:${{COMP_WORDS[COMP_CWORD - back]}} in\n\
             {cases}        \
                     esac\n    \
                 done\n    \
                 if [[ $cur == -* ]]; then\n        \
                     COMPREPLY=($(compgen -W '{options}' -- \"$cur\")); return\n    \
                 fi\n\
             {operands}\
             }}\n\
             complete -o filenames -F {function} {name}\n",
            name = self.name,
            options = options.join(" "),
        )
    }

    /// How bash finds out where the options end, and what comes then.
    fn bash_operands(&self) -> (String, String) {
        let mut scan = String::from(
            "    for ((i = 1; i < COMP_CWORD; i++)); do\n        \
                 case ${COMP_WORDS[i]} in\n",
        );
        for count in [1, 2] {
            let taking: Vec<String> = self
                .visible()
                .filter(|o| !o.optional && o.args.len() == count)
                .flat_map(|o| {
                    let short = o.short.map(|c| format!("-{c}"));
                    [Some(format!("--{}", o.long)), short].into_iter().flatten()
                })
                .collect();
            if !taking.is_empty() {
                let _ = writeln!(scan, "        {}) ((i += {count})) ;;", taking.join("|"));
            }
        }
        scan.push_str("        --) operand=$((i + 1)); break ;;\n        -*) ;;\n");
        scan.push_str("        *) operand=$i; break ;;\n        esac\n    done\n");
        let mut then = String::new();
        if self.verbs.is_empty() {
            scan.push_str(
                "    if [ $operand -ge 0 ] && [ $operand -lt $COMP_CWORD ]; then\n        \
                     if declare -F _command_offset >/dev/null; then _command_offset $operand; \
                 return; fi\n        \
                     COMPREPLY=($(compgen -f -- \"$cur\")); return\n    fi\n",
            );
            then.push_str("    COMPREPLY=($(compgen -c -- \"$cur\"))\n");
        } else {
            let verbs: Vec<&str> = self.verbs.iter().map(|v| v.name).collect();
            let _ = writeln!(
                then,
                "    if [ $operand -lt 0 ] || [ $operand -ge $COMP_CWORD ]; then\n        \
                     COMPREPLY=($(compgen -W '{}' -- \"$cur\")); return\n    fi\n    \
                 case ${{COMP_WORDS[operand]}} in",
                verbs.join(" ")
            );
            for verb in self.verbs.iter().filter(|v| !v.args.is_empty()) {
                let _ = writeln!(then, "    {}) {} ;;", verb.name, bash(verb.args[0]));
            }
            then.push_str("    esac\n");
        }
        (scan, then)
    }

    fn zsh(&self) -> String {
        let mut specs = String::new();
        for option in self.visible() {
            let help = plain(option.help).replace('\'', "'\\''").replace(['[', ']'], "");
            let mut args = String::new();
            for arg in option.args {
                let _ = write!(args, ":{}:{}", zsh_label(arg), zsh(*arg));
            }
            let names = [Some(format!("--{}", option.long)), option.short.map(|c| format!("-{c}"))];
            for name in names.into_iter().flatten() {
                // An argument that may be left out is given with `=`.
                let (join, args) = if option.optional {
                    ("=-", args.replacen(':', "::", 1))
                } else {
                    ("", args.clone())
                };
                let _ = writeln!(specs, "    '*{name}{join}[{help}]{args}' \\");
            }
        }
        let operands = if self.verbs.is_empty() {
            "    '*::command:_normal'\n".to_string()
        } else {
            let verbs: Vec<String> = self.verbs.iter().map(zsh_verb).collect();
            format!("    '1:verb:(({}))' \\\n    '*:file:_files'\n", verbs.join(" "))
        };
        format!("#compdef {}\n_arguments -s -S \\\n{specs}{operands}", self.name)
    }

    fn fish(&self) -> String {
        let mut text = format!("# fish completion for {}\n", self.name);
        for option in self.visible() {
            let short = option.short.map(|c| format!(" -s {c}")).unwrap_or_default();
            let value = match option.args.first() {
                Some(arg) if !option.optional => fish(*arg),
                _ => String::new(),
            };
            let help = plain(option.help).replace('\'', "\\'");
            let _ = writeln!(
                text,
                "complete -c {} -n __fish_use_subcommand -l {}{short}{value} -d '{help}'",
                self.name, option.long
            );
        }
        for verb in self.verbs {
            let help = plain(verb.help).replace('\'', "\\'");
            let _ = writeln!(
                text,
                "complete -c {} -n __fish_use_subcommand -f -a {} -d '{help}'",
                self.name, verb.name
            );
        }
        if self.verbs.is_empty() {
            let _ =
                writeln!(text, "complete -c {} -x -a '(__fish_complete_subcommand)'", self.name);
        }
        text
    }
}

/// The first sentence.
fn plain(help: &str) -> String {
    let text: Vec<&str> = help.split_whitespace().collect();
    let text = text.join(" ");
    let end = text.find(". ").unwrap_or(text.len());
    text[..end].trim_end_matches('.').replace(':', ",")
}

fn bash(arg: Arg) -> String {
    match arg.1 {
        Offer::File => "COMPREPLY=($(compgen -f -- \"$cur\"))".into(),
        Offer::Dir => "COMPREPLY=($(compgen -d -- \"$cur\"))".into(),
        Offer::Command => "COMPREPLY=($(compgen -c -- \"$cur\"))".into(),
        Offer::Family => format!("COMPREPLY=($(compgen -W \"$({FAMILIES})\" -- \"$cur\"))"),
        Offer::Words(words) => {
            format!("COMPREPLY=($(compgen -W '{}' -- \"$cur\"))", words.join(" "))
        }
        Offer::Text => "COMPREPLY=()".into(),
    }
}

fn zsh_label(arg: &Arg) -> String {
    arg.0.to_lowercase().replace(':', " ")
}

fn zsh(arg: Arg) -> String {
    match arg.1 {
        Offer::File => "_files".into(),
        Offer::Dir => "_files -/".into(),
        Offer::Command => "_command_names -e".into(),
        Offer::Family => format!("($({FAMILIES}))"),
        Offer::Words(words) => format!("({})", words.join(" ")),
        Offer::Text => " ".into(),
    }
}

fn zsh_verb<R>(verb: &Verb<R>) -> String {
    format!("{}\\:\"{}\"", verb.name, plain(verb.help).replace(['\'', '"'], ""))
}

fn fish(arg: Arg) -> String {
    match arg.1 {
        Offer::File => " -r -F".into(),
        Offer::Dir => " -x -a '(__fish_complete_directories)'".into(),
        Offer::Command => " -x -a '(__fish_complete_command)'".into(),
        Offer::Family => format!(" -x -a '({FAMILIES})'"),
        Offer::Words(words) => format!(" -x -a '{}'", words.join(" ")),
        Offer::Text => " -x".into(),
    }
}
