//! The manual page, in man(7) macros.

use super::Program;

impl<R> Program<R> {
    /// The manual page.
    #[must_use]
    pub fn man(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let mut page = format!(".TH {} 1 \"\" \"privns {version}\"\n", self.name.to_uppercase());
        page.push_str(&format!(".SH NAME\n{} \\- {}\n", roff(self.name), roff(self.about)));
        page.push_str(".SH SYNOPSIS\n");
        for form in self.synopsis {
            page.push_str(&format!(".B {}\n{}\n.br\n", roff(self.name), roff(form)));
        }
        page.push_str(".SH DESCRIPTION\n");
        paragraphs(&mut page, self.description);
        if !self.verbs.is_empty() {
            page.push_str(".SH VERBS\n");
            for verb in self.verbs {
                let head = format!("{} {}", verb.name, verb.usage);
                item(&mut page, head.trim_end(), verb.help);
            }
        }
        for group in self.groups() {
            page.push_str(&format!(".SH {}\n", roff(&group.to_uppercase())));
            for option in self.shown(group) {
                let short = option.short.map(|c| format!("-{c}, ")).unwrap_or_default();
                item(&mut page, &format!("{short}{}", option.usage()), option.help);
            }
        }
        page.push_str(".SH OTHER OPTIONS\n");
        item(&mut page, "-h, --help", "Print a short description and examples.");
        item(&mut page, "-V, --version", "Print the version.");
        for (title, text) in self.sections {
            page.push_str(&format!(".SH {}\n", roff(title)));
            paragraphs(&mut page, text);
        }
        page.push_str(".SH EXAMPLES\n");
        for (command, what) in self.examples {
            page.push_str(&format!(".TP\n.B {}\n{}\n", roff(command), roff(what)));
        }
        page.push_str(".SH SEE ALSO\n");
        let pages: Vec<String> = self.see_also.iter().map(|p| reference(p)).collect();
        page.push_str(&pages.join(",\n"));
        page.push('\n');
        page
    }
}

fn item(page: &mut String, head: &str, body: &str) {
    page.push_str(&format!(".TP\n.B {}\n", roff(head)));
    paragraphs(page, body);
}

/// Paragraphs stay apart; a line that begins with two blanks stays as it is.
fn paragraphs(page: &mut String, text: &str) {
    for (i, paragraph) in text.split("\n\n").enumerate() {
        if i > 0 {
            page.push_str(".PP\n");
        }
        let verbatim = paragraph.starts_with("  ");
        if verbatim {
            page.push_str(".nf\n");
        }
        for line in paragraph.lines() {
            page.push_str(&roff(line));
            page.push('\n');
        }
        if verbatim {
            page.push_str(".fi\n");
        }
    }
}

/// `ns(1)`: the name in bold.
fn reference(page: &str) -> String {
    match page.split_once('(') {
        Some((name, section)) => format!(".BR {} ({section}", roff(name)),
        None => roff(page),
    }
}

/// Text that roff prints as it stands.
fn roff(text: &str) -> String {
    let mut out = String::new();
    // A line that begins with one of these would be a request.
    if text.starts_with(['.', '\'']) {
        out.push_str("\\&");
    }
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '"' => out.push_str("\\(dq"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '~' => out.push_str("\\(ti"),
            '^' => out.push_str("\\(ha"),
            '…' => out.push_str("\\&..."),
            c => out.push(c),
        }
    }
    out
}
