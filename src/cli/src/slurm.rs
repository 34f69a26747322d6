//! `ns-slurm-prolog`: what Slurm is to change in the environment of a task
//! (TaskProlog of slurm.conf(5)), so that it begins in its job's namespace.
//!
//! A task begins as any program that is started by hand: with the library and
//! an image. The image is what the task was given already, when its job was
//! submitted from inside a family, and the job's own lines on top of that.
//! `PRIVNS_FAMILY` is the one family that tasks of the job are in on a node; it
//! says too for which job and where that was done, so that what runs in a job
//! keeps what it has there.

use crate::exec::environment::{self, Variables};
use crate::exec::{birth, dumps, request};
use crate::failure::{Failure, shown};
use crate::spec::{Arg, Offer, Opt, Parsed, Program};
use crate::world::{self, Process};
use privns_abi::Errno;
use privns_namespace::family::Inherited;
use privns_namespace::file::{self, Environment};
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The site's namespace file.
const SITE: &[u8] = b"/etc/privns/job";
/// What a job gets where there is none.
const LINES: &[u8] = b"private -i '/tmp/.job-$JOB.$NODE. job' /tmp
private -i '/dev/shm/.job-$JOB.$NODE. job' /dev/shm
";

/// What was asked for.
#[derive(Default)]
pub struct Request {
    namespace: Option<Vec<u8>>,
}

/// `ns-slurm-prolog`.
pub static PROGRAM: Program<Request> = Program {
    name: "ns-slurm-prolog",
    about: "begin Slurm's tasks in their job's namespace",
    synopsis: &["[OPTION...]"],
    description: "\
ns-slurm-prolog is a TaskProlog of slurm.conf(5), and a program for srun --task-prolog. Slurm \
runs it before each task, and it prints what is to change in the task's environment, one line \
each: LD_PRELOAD, with libprivns.so last; PRIVNS_IMAGE, the namespace; PRIVNS_FAMILY. The task, and all that it starts, then is in the job's namespace, in batch scripts, \
srun, job arrays and mpirun, with --export=NONE too.

The namespace is that of FILE, else of /etc/privns/job, else

  private -i '/tmp/.job-$JOB.$NODE. job' /tmp
  private -i '/dev/shm/.job-$JOB.$NODE. job' /dev/shm

which gives the job a /tmp and a /dev/shm of its own on each node, shared by its steps and \
ranks, for as long as one of its processes is there. With job:keep, as in privns-site(7), they \
last from one step to the next, until the Epilog. A job that was submitted from inside a family has that family's namespace, and these \
lines act on top of it. The tasks of a job on a node are one family, job-JOB.RESTARTS@NODE, which \
ns --family looks at and changes.

An Epilog of one line removes what a job leaves: ns reap --job \"$SLURM_JOB_ID\".",
    options: &[Opt {
        long: "namespace",
        short: Some('n'),
        args: &[Arg("FILE", Offer::File)],
        optional: false,
        group: "Namespace",
        help: "The job's namespace file. TaskProlog passes no arguments: say this in a script.",
        apply: |r, v| {
            r.namespace = v.into_iter().next();
            Ok(())
        },
    }],
    verbs: &[],
    operands: &[],
    sections: &[(
        "EXIT STATUS",
        "0; 1 when there is no namespace to be had: Slurm then does not run the task. Why is said \
on standard error and, by a print line, on the task's standard output.",
    )],
    examples: &[
        ("srun --task-prolog=$(command -v ns-slurm-prolog) df /tmp", "As an ordinary user."),
        ("SLURM_JOB_ID=1 ns-slurm-prolog", "Shows what it would print."),
    ],
    see_also: &["privns-site(7)", "ns-exec(1)", "ns(1)", "slurm.conf(5)", "srun(1)"],
};

/// The program, with its arguments: its exit status.
#[must_use]
pub fn main(args: Vec<OsString>) -> i32 {
    let mut request = Request::default();
    let text = PROGRAM.parse(args, &mut request, |_, _| ()).and_then(|parsed| match parsed {
        Parsed::Print(text) => Ok(text.into_bytes()),
        Parsed::Run => lines(&request),
    });
    match text.and_then(|text| crate::print(&text)) {
        Ok(()) => 0,
        Err(failure) => {
            crate::complain(PROGRAM.name, &failure);
            // Slurm throws away what a prolog writes there, and shows this.
            let _ = crate::print(format!("print {}: {failure}\n", PROGRAM.name).as_bytes());
            1
        }
    }
}

/// What Slurm is to read.
fn lines(asked: &Request) -> Result<Vec<u8>, Failure> {
    let job = world::job().ok_or_else(|| {
        Failure::new("ns-slurm-prolog", "this is no job").fix("Slurm sets SLURM_JOB_ID for it")
    })?;
    let mut variables = Variables::edited(&[]);
    variables.preload(&environment::library()?);
    let image = variables.get(b"PRIVNS_IMAGE").map(<[u8]>::to_vec);
    let node = Process.variable(b"NODE").unwrap_or_default();
    let family = family(&job, &node, image.as_deref(), variables.get(b"PRIVNS"));
    let from = variables.get(b"PRIVNS_FAMILY").and_then(|family| node_of(&job, family));
    if let Some(from) = from.filter(|_| image.is_some()) {
        // A task of this job starts it: on its own node it hands its family
        // down, to another one the job's lines with the rest of its image.
        let elsewhere = [&b"unset PRIVNS\nexport PRIVNS_FAMILY="[..], &family, b"\n"].concat();
        return Ok(if from == node { Vec::new() } else { elsewhere });
    }
    let (origin, text) = match &asked.namespace {
        Some(file) => (&file[..], read(file)?),
        None => match Process.read(SITE) {
            Err(Errno::ENOENT) => (PROGRAM.name.as_bytes(), LINES.to_vec()),
            _ => (SITE, read(SITE)?),
        },
    };
    let mut request = request::Request { restore: image, ..Default::default() };
    request.add(file::parse(origin, &text, &Process)?);
    let token = dumps::write(&birth::lines(&request)?, request::Dump::Token)?;
    let preload = variables.get(b"LD_PRELOAD").unwrap_or_default();
    let set = [
        (&b"LD_PRELOAD"[..], preload),
        (b"PRIVNS_IMAGE", token.trim_ascii_end()),
        (b"PRIVNS_FAMILY", &family),
    ];
    let mut out = b"unset PRIVNS\n".to_vec();
    for (name, value) in set {
        if value.contains(&b'\n') {
            return Err(Failure::new(shown(name), "Slurm takes no line break in a variable"));
        }
        out.extend([b"export ", name, b"=", value, b"\n"].concat());
    }
    Ok(out)
}

/// The job's family on this node: `job-JOB@NODE`; another one for what was
/// begun inside a family, which brings a namespace of its own.
fn family(job: &[u8], node: &[u8], image: Option<&[u8]>, handed: Option<&[u8]>) -> Vec<u8> {
    let mut name = [b"job-", job, b"@", node].concat();
    if let Some(image) = image {
        let of = handed.and_then(Inherited::parse).and_then(|i| i.name_elsewhere());
        let mut hasher = DefaultHasher::new();
        (of, image).hash(&mut hasher);
        name.extend(format!("+{:016x}", hasher.finish()).into_bytes());
    }
    name
}

/// The node that a family is on, if it is this job's.
fn node_of<'a>(job: &[u8], family: &'a [u8]) -> Option<&'a [u8]> {
    let rest = family.strip_prefix(b"job-")?.strip_prefix(job)?.strip_prefix(b"@")?;
    rest.split(|&b| b == b'+').next()
}

fn read(file: &[u8]) -> Result<Vec<u8>, Failure> {
    Process.read(file).map_err(|e| Failure::new(format!("reading {}", shown(file)), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_one_family_on_a_node_for_each_namespace_that_came_with_it() {
        assert_eq!(family(b"7.0", b"n1", None, None), b"job-7.0@n1");
        let of = |image: &[u8], handed| family(b"7.0", b"n1", Some(image), handed);
        let handed = |id: char| format!("1:9:000000000000000{id}:g2;u0;").into_bytes();
        assert_ne!(of(b"a", None), of(b"b", None));
        let [one, two] = ['1', '2'].map(handed);
        assert_eq!(of(b"a", Some(&one)), of(b"a", Some(&one)));
        assert_ne!(of(b"a", Some(&one)), of(b"a", Some(&two)));
        assert!(privns_namespace::family::check_name(&of(b"a", None)).is_ok());
    }

    #[test]
    fn a_family_tells_its_job_and_its_node() {
        let family = |image| family(b"7.0", b"n-1", image, None);
        for name in [family(None), family(Some(b"a"))] {
            assert_eq!(node_of(b"7.0", &name), Some(&b"n-1"[..]));
            assert_eq!(node_of(b"7.1", &name), None);
            assert_eq!(node_of(b"7", &name), None);
        }
        assert_eq!(node_of(b"7.0", b"login"), None);
    }
}
