//! `--help`: everything on one page, for a terminal of 80 columns.

use super::Program;

const WIDTH: usize = 80;
const INDENT: usize = 26;

impl<R> Program<R> {
    /// The text that `--help` prints.
    #[must_use]
    pub fn help(&self) -> String {
        let mut text = format!("{}: {}\n\n", self.name, self.about);
        for (i, form) in self.synopsis.iter().enumerate() {
            let lead = if i == 0 { "Usage: " } else { "       " };
            text.push_str(&format!("{lead}{} {form}\n", self.name));
        }
        if !self.verbs.is_empty() {
            text.push_str("\nVerbs:\n");
            for verb in self.verbs {
                entry(&mut text, format!("{} {}", verb.name, verb.usage).trim_end(), verb.help);
            }
        }
        for group in self.groups() {
            text.push_str(&format!("\n{group}:\n"));
            for option in self.shown(group) {
                let short = option.short.map(|c| format!("-{c}, ")).unwrap_or_default();
                entry(&mut text, &format!("{short}{}", option.usage()), option.help);
            }
        }
        text.push('\n');
        entry(&mut text, "-h, --help", "This text.");
        entry(&mut text, "-V, --version", "The version.");
        text.push_str("\nExamples:\n");
        for (command, what) in self.examples {
            text.push_str(&format!("  {command}\n      {what}\n"));
        }
        text.push_str(&format!("\nThe manual has more: man {}\n", self.name));
        text
    }
}

/// One entry: a long head stands on a line of its own.
fn entry(text: &mut String, head: &str, body: &str) {
    text.push_str("  ");
    text.push_str(head);
    let mut column = 2 + head.chars().count();
    if column + 2 > INDENT {
        text.push('\n');
        column = 0;
    }
    for (i, word) in body.split_whitespace().enumerate() {
        let width = word.chars().count();
        if i == 0 || column + 1 + width > WIDTH {
            if i > 0 {
                text.push('\n');
                column = 0;
            }
            text.push_str(&" ".repeat(INDENT - column));
            column = INDENT;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}
