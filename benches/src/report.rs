//! The table.

use crate::machine::Machine;
use crate::measure::{Cell, Row};
use serde::Serialize;
use std::fmt::Write as _;

/// All that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    /// Of this form.
    pub version: u32,
    /// Where and when.
    pub machine: Machine,
    /// What.
    pub rows: Vec<Row>,
}

impl Report {
    /// For programs.
    pub(crate) fn json(&self) -> String {
        // Plain structs of strings and finite numbers: there is nothing that could fail.
        serde_json::to_string_pretty(self).map(|text| text + "\n").unwrap_or_default()
    }

    /// For people: a Markdown table.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        let machine = &self.machine;
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "{}; {}, {} cores; Linux {}, {}; {}.\n",
            machine.date,
            machine.cpu,
            machine.cores,
            machine.kernel,
            machine.system,
            machine.versions.join(", ")
        );
        let Some(first) = self.rows.first() else { return text };
        let columns = first.cells.iter().skip(1).map(|cell| cell.tool);
        let heads: Vec<_> =
            ["", "native"].into_iter().chain(columns).chain(["to reach", "reached"]).collect();
        let _ = writeln!(text, "| {} |", heads.join(" | "));
        let _ = writeln!(text, "|---|{}", "---:|".repeat(heads.len() - 1));
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", line(row).join(" | "));
        }
        self.notes(&mut text);
        text
    }

    /// Why cells are empty, once each.
    fn notes(&self, text: &mut String) {
        let mut said = Vec::new();
        for (row, cell) in self.rows.iter().flat_map(|row| row.cells.iter().map(move |c| (row, c)))
        {
            let Some((_, why)) = cell.note.as_deref().and_then(|note| note.split_once(": ")) else {
                continue;
            };
            let note = format!("{} {}", cell.tool, cell.note.as_deref().unwrap_or_default());
            if !said.contains(&note) {
                let _ = writeln!(text, "\n{}: {} ({})", cell.tool, why, row.name);
                said.push(note);
            }
        }
    }
}

fn line(row: &Row) -> Vec<String> {
    let mut cells = row.cells.iter();
    let native = cells.next().and_then(|cell| cell.min);
    let mut words =
        vec![row.name.clone(), native.map_or_else(String::new, |n| amount(n, row.unit))];
    words.extend(cells.map(|cell| compared(cell, row.unit)));
    words.push(row.target.map_or_else(String::new, |target| match row.unit {
        "KiB" => format!("≤ +{target} KiB"),
        _ => format!("≤ {target:.2}"),
    }));
    words.push(match row.reached {
        Some(true) => "yes".to_owned(),
        Some(false) => "**no**".to_owned(),
        None => String::new(),
    });
    words
}

fn compared(cell: &Cell, unit: &str) -> String {
    match (cell.ratio, &cell.note) {
        (Some(added), _) if unit == "KiB" => format!("{added:+} KiB"),
        (Some(ratio), _) if ratio >= 9.995 => format!("{ratio:.1}"),
        // What repeats from run to run, and what is judged.
        (Some(ratio), _) => format!("{ratio:.2}"),
        // The first word: absent, refused, fails; the rest is said below the table.
        (None, Some(note)) => note.split(':').next().unwrap_or_default().to_owned(),
        (None, None) => String::new(),
    }
}

/// A time in the unit that suits it, or KiB.
fn amount(value: f64, unit: &str) -> String {
    match value {
        _ if unit != "ns" => format!("{value} {unit}"),
        ns if ns < 1e4 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.0} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.1} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}
