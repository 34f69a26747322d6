//! The same on nfs-ganesha's 9P server, which speaks it over TCP alone and needs root: how long ours
//! takes beside it. It gets rows of its own, since it has no place in the others.

use crate::column::{Least, Runner, Way};
use crate::site::{Server, Site, found, free_port, waited};
use crate::{COLUMNS, Line, Result, Settings};
use std::fs;
use std::process::{Command, Stdio};

/// Rounds; what counts is the least.
const ROUNDS: u32 = 5;
const PIECE: u64 = 1 << 20;
const READS: u64 = 2_000;
/// The name by which the tree is exported.
const EXPORT: &str = "aname=exp";
/// Times that of ganesha which ours may take.
const GOAL: f64 = 2.0;

pub(crate) fn measure(settings: &Settings, site: &Site) -> Result<Vec<Line>> {
    let rows = [
        ("random read of 4 KiB, tcp, beside nfs-ganesha", ("random", "large", [READS, 0])),
        ("sequential read, tcp, beside nfs-ganesha", ("read", "large", [PIECE, 0])),
        (
            "sequential write, tcp, beside nfs-ganesha",
            ("write", "written", [PIECE, settings.size / 4]),
        ),
    ];
    let wanted: Vec<_> =
        rows.into_iter().filter(|(name, _)| name.contains(&settings.only)).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    eprintln!("nfs-ganesha");
    let started = start(site);
    let theirs = started.as_ref().map_err(Clone::clone).and_then(|(_, address)| {
        let way = Way::Mounted { address: address.clone(), options: EXPORT, aname: false };
        Runner::start(site, &way)
    });
    let (mut theirs, mut ours) = (theirs, Runner::start(site, &Way::mount(&site.tcp, ""))?);
    let lines = wanted.into_iter().map(|(name, (verb, file, numbers))| {
        let (mut own, mut other) = (Least::new(), Least::new());
        for _ in 0..ROUNDS {
            own.take(|| ours.ask(verb, file, numbers));
            other.take(|| theirs.as_mut().map_err(|why| why.clone())?.ask(verb, file, numbers));
        }
        line(name, own, other)
    });
    Ok(lines.collect())
}

fn line(name: &str, own: Least, other: Least) -> Line {
    let beside = other.0.as_ref().map_or_else(Clone::clone, |s| format!("{:.1} ms", s * 1e3));
    let ratio = own.0.and_then(|own| other.0.map(|other| own / other));
    let reached = ratio.as_ref().ok().map(|ratio| *ratio <= GOAL);
    let mut cells = vec![ratio];
    cells.resize(COLUMNS.len(), Err(String::new()));
    Line { name: name.into(), beside, cells, goal: format!("≤ {GOAL} ×"), reached }
}

fn start(site: &Site) -> Result<(Server, String)> {
    let program = found("ganesha.nfsd").ok_or("nfs-ganesha is not installed")?;
    if !rustix::process::geteuid().is_root() {
        return Err("nfs-ganesha needs root".into());
    }
    let port = free_port()?;
    let settings = format!(
        "NFS_CORE_PARAM {{ Protocols = 9P; }}
_9P {{ _9P_TCP_Port = {port}; _9P_TCP_Msize = 1048576; }}
EXPORT {{ Export_Id = 1; Path = {}; Pseudo = /exp; Tag = exp; Access_Type = RW;
    Squash = No_Root_Squash; SecType = sys; Protocols = 9P; Transports = TCP; FSAL {{ Name = VFS; }} }}
",
        site.tree.display()
    );
    let at = |name: &str| site.dir.join(format!("ganesha.{name}"));
    fs::write(at("conf"), settings).map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.arg("-F").arg("-L").arg(at("log")).arg("-f").arg(at("conf")).arg("-p").arg(at("pid"));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = Server(child.map_err(|e| format!("ganesha.nfsd: {e}"))?);
    if !waited(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()) {
        return Err("nfs-ganesha does not listen".into());
    }
    Ok((server, format!("tcp!127.0.0.1!{port}")))
}
