//! Taking the numbers: block by block, column by column, round by round.

use crate::fixture::{FILE_BYTES, Site};
use crate::options::Options;
use crate::runner::Runner;
use crate::task::{BLOCK, Cores, QUICK_BLOCK, Task, What};
use crate::tool::Tool;
use serde::Serialize;
use std::ffi::{OsStr, OsString};

/// One row of the table.
#[derive(Serialize)]
pub(crate) struct Row {
    /// Its heading.
    pub name: String,
    /// What the absolute numbers are in.
    pub unit: &'static str,
    /// What ours must not exceed.
    pub target: Option<f64>,
    /// Whether ours stay within it; none without a target or without numbers.
    pub reached: Option<bool>,
    /// One for each column.
    pub cells: Vec<Cell>,
}

/// One number of the table.
#[derive(Serialize)]
pub(crate) struct Cell {
    /// The column.
    pub tool: &'static str,
    /// The least that was seen, in the row's unit.
    pub min: Option<f64>,
    /// The median of what was seen.
    pub median: Option<f64>,
    /// The least over native's least; for memory, the difference in KiB.
    pub ratio: Option<f64>,
    /// Median over native's median.
    pub ratio_of_medians: Option<f64>,
    /// Why there is no number.
    pub note: Option<String>,
}

/// The tools with their runners, or why they have none.
pub(crate) struct Columns<'a> {
    tools: &'a [Tool],
    site: &'a Site,
    runners: Vec<Result<Runner, String>>,
}

/// The samples of one column in one row: CPU nanoseconds a call, a command, or KiB.
pub(crate) type Samples = Result<Vec<f64>, String>;

/// Puts the samples of one more pass to those that are there.
pub(crate) fn add(all: &mut Vec<Samples>, more: Vec<Samples>) {
    if all.is_empty() {
        *all = more;
        return;
    }
    for (all, more) in all.iter_mut().zip(more) {
        match (&mut *all, more) {
            (Ok(all), Ok(more)) => all.extend(more),
            (Ok(_), Err(why)) => *all = Err(why),
            (Err(_), _) => {}
        }
    }
}

/// The row that all samples of a task make.
pub(crate) fn row(tools: &[Tool], task: &Task, samples: Vec<Samples>) -> Row {
    let added = matches!(task.what, What::Memory);
    let cells = cells(tools, samples, added);
    Row {
        name: task.name.clone(),
        unit: if added { "KiB" } else { "ns" },
        target: task.target,
        reached: task.target.and_then(|target| reached(tools, &cells, target)),
        cells,
    }
}

impl<'a> Columns<'a> {
    /// Starts a runner in every tool.
    pub(crate) fn start(tools: &'a [Tool], site: &'a Site) -> Self {
        let runners = tools.iter().map(|tool| Runner::start(tool, site)).collect();
        Columns { tools, site, runners }
    }

    /// Takes some more samples for a row; the first ones find cold caches.
    pub(crate) fn sample(&mut self, task: &Task, options: &Options, first: bool) -> Vec<Samples> {
        match &task.what {
            What::Calls(request) => self.calls(request, task.rounds, options),
            What::Command { before, command } => self.commands(before, command, task, first),
            What::Start => self.starts(task.rounds),
            What::Memory => self.memory(),
        }
    }

    fn calls(&mut self, request: &[OsString], rounds: u32, options: &Options) -> Vec<Samples> {
        let block = if options.quick { QUICK_BLOCK } else { BLOCK };
        let request = words(request);
        let counts: Vec<_> =
            (0..self.tools.len()).map(|i| self.count(i, &request, block)).collect();
        self.interleave(rounds, Cores::One, |this, i| {
            let count = counts[i].clone()?;
            let cpu = this.runner(i)?.cpu(&request, Some(count))?;
            Ok(cpu as f64 / count as f64)
        })
    }

    /// How many calls fill a block in column `i`: found by trying, since a peer may be fifty times
    /// slower than another.
    fn count(&mut self, i: usize, request: &[&OsStr], block: u64) -> Result<usize, String> {
        let runner = self.runner(i)?;
        let mut count = 1;
        loop {
            let cpu = runner.cpu(request, Some(count))?.max(1);
            if cpu * 4 >= block || count == FILE_BYTES {
                let fits = (count as u64).saturating_mul(block) / cpu;
                return Ok((fits as usize).clamp(1, FILE_BYTES));
            }
            count = (count * 4).min(FILE_BYTES);
        }
    }

    fn commands(
        &mut self,
        before: &[OsString],
        command: &[OsString],
        task: &Task,
        first: bool,
    ) -> Vec<Samples> {
        let (before, command) = (words(before), words(command));
        let once = |this: &mut Self, i: usize| {
            let runner = this.runner(i)?;
            if !before.is_empty() {
                runner.cpu(&before, None)?;
            }
            Ok(runner.cpu(&command, None)? as f64)
        };
        if first {
            // Warms the caches of the kernel, and git's index.
            self.interleave(1, task.cores, once);
        }
        self.interleave(task.rounds, task.cores, once)
    }

    /// The tool as a command of its own, started by the native runner. A library has no start.
    fn starts(&mut self, rounds: u32) -> Vec<Samples> {
        let tools = self.tools;
        self.interleave(rounds, Cores::One, |this, i| {
            let launcher = tools[i].launcher.as_ref().map_err(|why| (*why).to_owned())?;
            if launcher.is_empty() && i != 0 {
                return Err("–".to_owned());
            }
            let head = ["exec", "/"].map(OsStr::new);
            let program = launcher.iter().map(OsString::as_os_str).chain([OsStr::new("/bin/true")]);
            let request: Vec<_> = head.into_iter().chain(program).collect();
            Ok(this.runner(0)?.cpu(&request, None)? as f64)
        })
    }

    /// In the middle of a process's life: after calls of all kinds, and with a second process
    /// beside it, since what two share is not added by either.
    fn memory(&mut self) -> Vec<Samples> {
        let name = self.site.name(&self.site.at, 10);
        (0..self.tools.len())
            .map(|i| {
                let mut runner = Runner::start(&self.tools[i], self.site)?;
                let _twin = Runner::start(&self.tools[i], self.site)?;
                for call in ["stat", "access", "open", "read", "write"] {
                    runner.cpu(&[OsStr::new(call), name.as_os_str()], Some(1000))?;
                }
                runner.cpu(&["forkexec", "/bin/true"].map(OsStr::new), Some(10))?;
                Ok(vec![runner.memory()? as f64])
            })
            .collect()
    }

    /// Takes one sample of each column in turn, `rounds` times over, beginning with another column
    /// each time so that none always follows the same, and on another processor: one that shares
    /// its caches with somebody busy slows all columns alike, and some rounds are spared it. A
    /// column that fails once is left out from then.
    fn interleave(
        &mut self,
        rounds: u32,
        cores: Cores,
        mut sample: impl FnMut(&mut Self, usize) -> Result<f64, String>,
    ) -> Vec<Samples> {
        let columns = self.tools.len();
        let mut samples: Vec<Samples> = vec![Ok(Vec::new()); columns];
        for round in 0..rounds as usize {
            self.pin(cores, round);
            for i in (0..columns).map(|i| (i + round) % columns) {
                let Ok(taken) = &mut samples[i] else { continue };
                match sample(self, i) {
                    Ok(value) => taken.push(value),
                    Err(why) => samples[i] = Err(why),
                }
            }
        }
        samples
    }

    /// Moves all runners to one processor, or to all; one that is not there stays away.
    fn pin(&mut self, cores: Cores, round: usize) {
        let cpu = match cores {
            Cores::One => Some(round),
            Cores::All => None,
        };
        for runner in &mut self.runners {
            if let Err(why) = runner.as_mut().map_or(Ok(()), |runner| runner.pin(cpu)) {
                *runner = Err(why);
            }
        }
    }

    fn runner(&mut self, i: usize) -> Result<&mut Runner, String> {
        self.runners[i].as_mut().map_err(|why| why.clone())
    }
}

fn words(request: &[OsString]) -> Vec<&OsStr> {
    request.iter().map(OsString::as_os_str).collect()
}

fn cells(tools: &[Tool], samples: Vec<Samples>, added: bool) -> Vec<Cell> {
    let summaries: Vec<_> = samples.into_iter().map(|s| s.map(summary)).collect();
    let native = summaries.first().and_then(|s| s.as_ref().ok()).copied();
    let against = |own: f64, base: f64| if added { own - base } else { own / base };
    let cell = |(tool, own): (&Tool, Result<(f64, f64), String>)| {
        let (note, own) = match own {
            Ok(own) => (None, Some(own)),
            Err(why) => (Some(why), None),
        };
        let both = own.zip(native);
        Cell {
            tool: tool.name,
            min: own.map(|(min, _)| min),
            median: own.map(|(_, median)| median),
            ratio: both.map(|(own, native)| against(own.0, native.0)),
            ratio_of_medians: both.map(|(own, native)| against(own.1, native.1)),
            note,
        }
    };
    tools.iter().zip(summaries).map(cell).collect()
}

/// Minimum and median.
fn summary(mut samples: Vec<f64>) -> (f64, f64) {
    samples.sort_by(f64::total_cmp);
    (samples[0], samples[samples.len() / 2])
}

fn reached(tools: &[Tool], cells: &[Cell], target: f64) -> Option<bool> {
    let ours: Vec<_> =
        tools.iter().zip(cells).filter(|(tool, _)| tool.ours).map(|(_, cell)| cell).collect();
    // What fails has not reached anything; what is not there was not tried.
    let tried: Vec<_> = ours.iter().filter(|cell| cell.note.as_deref() != Some("absent")).collect();
    // Runs differ by one or two hundredths: no more than that is judged.
    let within = |cell: &&Cell| cell.ratio.is_some_and(|ratio| (ratio - target) * 100.0 < 0.5);
    (!tried.is_empty()).then(|| tried.iter().all(|cell| within(cell)))
}
