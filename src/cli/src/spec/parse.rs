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
        loop {
            // A word ends the options, so what follows it is looked at raw.
            let next = parser.next().map_err(|e| Failure::new("arguments", e.to_string()))?;
            let option = match next {
                None => return Ok(Parsed::Run),
                Some(Lexed::Value(word)) => {
                    let mut words = vec![word.into_vec()];
                    words.extend(rest(&mut parser));
                    return self.words(words, request, operands).map(|()| Parsed::Run);
                }
                Some(Lexed::Long("help")) | Some(Lexed::Short('h')) => {
                    return Ok(Parsed::Print(self.help()));
                }
                Some(Lexed::Long("version")) | Some(Lexed::Short('V')) => {
                    return Ok(Parsed::Print(self.version()));
                }
                Some(Lexed::Long("generate")) => {
                    return self.generate(&values(&mut parser, "--generate", 1)?[0]);
                }
                Some(Lexed::Long(name)) => self.find(|o| o.long == name, &format!("--{name}"))?,
                Some(Lexed::Short(c)) => self.find(|o| o.short == Some(c), &format!("-{c}"))?,
            };
            let given = self.arguments(option, &mut parser)?;
            (option.apply)(request, given).map_err(|f| f.at(option.long_dashed().as_bytes()))?;
        }
    }

    fn words(
        &self,
        words: Vec<Vec<u8>>,
        request: &mut R,
        operands: fn(&mut R, Vec<Vec<u8>>),
    ) -> Result<(), Failure> {
        if self.verbs.is_empty() {
            operands(request, words);
            return Ok(());
        }
        let mut words = words.into_iter();
        let name = words.next().unwrap_or_default();
        let verb = self.verbs.iter().find(|v| v.name.as_bytes() == name);
        let verb: &Verb<R> = verb.ok_or_else(|| {
            let names: Vec<&str> = self.verbs.iter().map(|v| v.name).collect();
            Failure::new(shown(&name), "no such verb")
                .fix(format!("there are {}", names.join(", ")))
        })?;
        let at = |f: Failure| f.at(verb.name.as_bytes());
        (verb.apply)(request, words.collect()).map_err(at)
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

    fn generate(&self, what: &[u8]) -> Result<Parsed, Failure> {
        let text = match what {
            b"man" => self.man(),
            b"bash" => self.completions(super::Shell::Bash),
            b"zsh" => self.completions(super::Shell::Zsh),
            b"fish" => self.completions(super::Shell::Fish),
            _ => return Err(Failure::new("--generate", "man, bash, zsh or fish")),
        };
        Ok(Parsed::Print(text))
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
