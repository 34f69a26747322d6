//! What it costs to live in a namespace.
//!
//! Every column of the table is one *tool* (nothing at all, an empty preloaded library, privns,
//! its peers) with a small C program living in it, the *runner*; every row is one *task*. A round
//! takes a short block of one task in each column, so that the noise of the machine falls on all
//! alike. What is compared is CPU time: of the runner, its children and whatever watches it.

#![forbid(unsafe_code)]

mod fixture;
mod machine;
mod measure;
mod options;
mod program;
mod report;
mod runner;
mod task;
mod tool;

use std::process::ExitCode;

/// The error of a benchmark that cannot be run: a sentence for a person.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match options::parse().and_then(|wanted| wanted.map_or(Ok(()), |options| run(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("privns-benches: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &options::Options) -> Result<()> {
    let site = fixture::Site::build(options)?;
    let tools = tool::all(options, &site);
    let tasks = task::all(options, &site);
    let mut samples = vec![Vec::new(); tasks.len()];
    // The machine may be slow for seconds on end, all of a row's time: each row has its turn
    // several times, and what was least of all is least in a quiet one. How a process lies in
    // memory is luck as well, worth some hundredths of a short call: each pass has new processes.
    for pass in 1..=options.passes() {
        let mut columns = measure::Columns::start(&tools, &site);
        for (task, samples) in tasks.iter().zip(&mut samples) {
            eprintln!("{pass}: {}", task.name);
            measure::add(samples, columns.sample(task, options, pass == 1));
        }
    }
    let rows: Vec<_> = tasks
        .iter()
        .zip(samples)
        .map(|(task, samples)| measure::row(&tools, task, samples))
        .collect();
    let machine = machine::describe(&["fakechroot", "proot", "bubblewrap"]);
    let report = report::Report { version: 1, machine, rows };
    print!("{}", if options.json { report.json() } else { report.markdown() });
    Ok(())
}
