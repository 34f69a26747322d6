//! `ns`: looks at a living family's namespace and changes it.

mod doctor;
mod edit;
mod families;
mod instances;
mod manual;
mod options;
mod ps;
mod selftest;
mod show;
mod stat;
pub(crate) mod table;

pub use options::PROGRAM;

use crate::exec::birth;
use crate::failure::{Failure, shown};
use crate::runtime;
use crate::spec::Parsed;
use privns_abi::Errno;
use privns_namespace::Family;
use privns_namespace::file::Line;
use std::ffi::OsString;

/// What was asked of `ns`.
#[derive(Default)]
pub struct Request {
    pid: Option<i32>,
    family: Option<Vec<u8>>,
    json: bool,
    names: bool,
    self_test: bool,
    job: Option<Vec<u8>>,
    user: Option<Vec<u8>>,
    task: Task,
}

/// What to do.
#[derive(Default)]
enum Task {
    /// Print the namespace.
    #[default]
    Print,
    /// Act on lines.
    Edit(Vec<Line>),
    /// Run a namespace file.
    File(Vec<u8>),
    /// Act on a file of rules.
    Poly(Vec<Vec<u8>>),
    /// Say what serves a name.
    Why(Vec<u8>),
    /// List families.
    Families,
    /// List members.
    Ps,
    /// Counters.
    Stat,
    /// List instances.
    Instances,
    /// Remove instances that nobody uses.
    Reap,
    /// The host, or a program.
    Doctor(Option<Vec<u8>>),
}

/// The version of everything that is printed as JSON.
pub(crate) const JSON_VERSION: u32 = 1;

/// The program: gives its exit status.
#[must_use]
pub fn main(args: Vec<OsString>) -> i32 {
    let mut request = Request::default();
    let done = match PROGRAM.parse(args, &mut request, |_, _| {}) {
        Ok(Parsed::Print(text)) => crate::print(text.as_bytes()),
        Ok(Parsed::Run) => run(&request),
        Err(failure) => {
            crate::complain(PROGRAM.name, &failure);
            return 2;
        }
    };
    match done {
        Ok(()) => 0,
        Err(failure) => {
            crate::complain(PROGRAM.name, &failure);
            1
        }
    }
}

fn run(request: &Request) -> Result<(), Failure> {
    match &request.task {
        Task::Print => show::print(&request.family()?, request.json),
        Task::Edit(lines) => edit::run(&request.family()?, lines),
        Task::Poly(words) => edit::poly(&request.family()?, words),
        Task::File(name) => edit::file(&request.family()?, name),
        Task::Why(name) => show::why(&request.family()?, name, request.json),
        Task::Families => families::list(request.json, request.names),
        Task::Ps => ps::list(&request.family()?, request.json),
        Task::Doctor(_) if request.self_test => selftest::run(request.json),
        Task::Doctor(None) => doctor::host(request.json),
        Task::Doctor(Some(program)) => doctor::program(program, request.json),
        Task::Instances => instances::list(request.json),
        Task::Reap => instances::reap(&request.which(), request.json),
        Task::Stat => stat::print(&request.family()?, request.json),
    }
}

impl Request {
    fn which(&self) -> instances::Which {
        instances::Which {
            job: self.job.clone(),
            user: self.user.clone(),
            family: self.family.clone(),
        }
    }

    /// The family that was named, else the one that we are in.
    fn family(&self) -> Result<Family, Failure> {
        let missing = |what: String| {
            move |e| match e {
                Errno::ESRCH => {
                    Failure::new(what, "no such family").fix("ns families lists those that live")
                }
                e => Failure::new(what, e),
            }
        };
        if let Some(pid) = self.pid {
            return runtime::by_pid(pid).map_err(missing(format!("--pid {pid}")));
        }
        if let Some(name) = &self.family {
            return runtime::by_name_or_id(name)
                .map_err(missing(format!("--family {}", shown(name))));
        }
        birth::outer_family().ok_or_else(|| {
            Failure::new("this process", "it is in no family").fix("name one by --family or --pid")
        })
    }
}
