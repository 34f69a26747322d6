//! From arguments to a request. Arguments are bytes.

use super::{Opt, Program, Verb};
use crate::failure::{Failure, shown};
use lexopt::{Arg as Lexed, Parser};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// What the arguments ask for.
pub enum Parsed {
    /// To go on.
    Run,
    /// To print this and be done: `--help`, `--version`, `--generate`.
    Print(String),
}

/// What comes after options.
enum Next {
    Word(Vec<u8>),
    Print(String),
    End,
}

impl<R> Program<R> {
    /// Reads the arguments (without the program's name) into `request`.
    /// Operands end the options; they are given to `operands`.
    ///
    /// # Errors
    /// An unknown option, a missing argument, and what the options say.
    pub fn parse(
        &self,
        args: Vec<OsString>,
        request: &mut R,
        operands: fn(&mut R, Vec<Vec<u8>>),
    ) -> Result<Parsed, Failure> {
        let mut parser = Parser::from_args(args);
        let word = match self.options(&mut parser, request)? {
            Next::Print(text) => return Ok(Parsed::Print(text)),
            Next::End => return Ok(Parsed::Run),
            Next::Word(word) => word,
        };
        if self.verbs.is_empty() {
            // A word ends the options, so what follows it is taken as it is.
            let mut words = vec![word];
            words.extend(rest(&mut parser));
            operands(request, words);
            return Ok(Parsed::Run);
        }
        let verb = self.verb(&word)?;
        let mut words = Vec::new();
        if verb.raw {
            words = rest(&mut parser);
        }
        loop {
            match self.options(&mut parser, request)? {
                Next::Print(text) => return Ok(Parsed::Print(text)),
                Next::Word(word) => words.push(word),
                Next::End => break,
            }
        }
        let at = |f: Failure| f.at(verb.name.as_bytes());
        (verb.apply)(request, words).map_err(at).map(|()| Parsed::Run)
    }

    /// Takes options until something else comes.
    fn options(&self, parser: &mut Parser, request: &mut R) -> Result<Next, Failure> {
        loop {
            let next = parser.next().map_err(|e| Failure::new("arguments", e.to_string()))?;
            let option = match next {
                None => return Ok(Next::End),
                Some(Lexed::Value(word)) => return Ok(Next::Word(word.into_vec())),
                Some(Lexed::Long("help") | Lexed::Short('h')) => {
                    return Ok(Next::Print(self.help()));
                }
                Some(Lexed::Long("version") | Lexed::Short('V')) => {
                    return Ok(Next::Print(self.version()));
                }
                Some(Lexed::Long("generate")) => {
                    let what = values(parser, "--generate", 1)?;
                    return self.generate(&what[0]).map(Next::Print);
                }
                Some(Lexed::Long(name)) => self.find(|o| o.long == name, &format!("--{name}"))?,
                Some(Lexed::Short(c)) => self.find(|o| o.short == Some(c), &format!("-{c}"))?,
            };
            let given = self.arguments(option, parser)?;
            (option.apply)(request, given).map_err(|f| f.at(option.long_dashed().as_bytes()))?;
        }
    }

    fn verb(&self, name: &[u8]) -> Result<&Verb<R>, Failure> {
        self.verbs.iter().find(|v| v.name.as_bytes() == name).ok_or_else(|| {
            let names: Vec<&str> = self.verbs.iter().map(|v| v.name).collect();
            let fix = format!("there are {}", names.join(", "));
            Failure::new(shown(name), "no such verb").fix(fix)
        })
    }

    fn find(&self, is: impl Fn(&Opt<R>) -> bool, as_given: &str) -> Result<&Opt<R>, Failure> {
        self.options.iter().find(|o| is(o)).ok_or_else(|| {
            Failure::new(as_given, "unknown option").fix(format!("see {} --help", self.name))
        })
    }

    fn arguments(&self, option: &Opt<R>, parser: &mut Parser) -> Result<Vec<Vec<u8>>, Failure> {
        if option.optional {
            return Ok(parser.optional_value().map(OsString::into_vec).into_iter().collect());
        }
        values(parser, &option.long_dashed(), option.args.len())
            .map_err(|f| f.fix(format!("{} takes {}", option.long_dashed(), option.usage())))
    }

    fn generate(&self, what: &[u8]) -> Result<String, Failure> {
        let text = match what {
            b"man" => self.man(),
            b"bash" => self.completions(super::Shell::Bash),
            b"zsh" => self.completions(super::Shell::Zsh),
            b"fish" => self.completions(super::Shell::Fish),
            _ => return Err(Failure::new("--generate", "man, bash, zsh or fish")),
        };
        Ok(text)
    }

    fn version(&self) -> String {
        format!("{} {}\n", self.name, env!("CARGO_PKG_VERSION"))
    }
}

impl<R> Opt<R> {
    fn long_dashed(&self) -> String {
        format!("--{}", self.long)
    }
}

fn values(parser: &mut Parser, option: &str, count: usize) -> Result<Vec<Vec<u8>>, Failure> {
    let missing = |_| Failure::new(option, "an argument is missing");
    if count == 0 && parser.optional_value().is_some() {
        return Err(Failure::new(option, "it takes no argument"));
    }
    (0..count).map(|_| parser.value().map(OsString::into_vec).map_err(missing)).collect()
}

/// What has not been looked at yet, as it was given.
fn rest(parser: &mut Parser) -> Vec<Vec<u8>> {
    match parser.raw_args() {
        Ok(args) => args.map(OsString::into_vec).collect(),
        Err(_) => Vec::new(),
    }
}
