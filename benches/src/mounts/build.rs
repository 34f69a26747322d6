//! `make -j4` of a C program whose sources and objects are on the mount.

use crate::column::{Least, Way, timed};
use crate::site::Site;
use crate::{COLUMNS, Line, Result, Settings};
use std::ffi::OsStr;

const NAME: &str = "make -j4, unix";

pub(crate) fn measure(settings: &Settings, site: &Site) -> Result<Vec<Line>> {
    if settings.program.is_none() || !NAME.contains(&settings.only) {
        return Ok(Vec::new());
    }
    let ways = [
        Ok(Way::There(site.tree.clone())),
        Ok(Way::mount(&site.unix, "")),
        Ok(Way::mount(&site.unix, "cache=none")),
        site.diod[0].clone().map(|address| Way::diod(&address)),
        site.sshfs.clone().map(Way::There),
    ];
    let mut taken = vec![Least::new(); ways.len()];
    // Peers are built in once: they take the longest, and have no goal.
    for round in 0..if settings.quick { 1 } else { 3 } {
        for (at, (way, least)) in ways.iter().zip(&mut taken).enumerate() {
            if round > 0 && at > 1 {
                continue;
            }
            eprintln!("make, {}", if at == 0 { "native" } else { COLUMNS[at - 1] });
            least.take(|| way.as_ref().map_err(Clone::clone).and_then(|way| make(site, way)));
        }
    }
    let native = taken[0].0.clone();
    let ratio = |own: &Least| own.0.clone().and_then(|own| native.clone().map(|n| own / n));
    let cells: Vec<_> = taken[1..].iter().map(ratio).collect();
    let reached = Some(cells[0].as_ref().is_ok_and(|ratio| *ratio <= 1.5));
    let beside = native.map_or_else(|why| why, |s| format!("native {s:.2} s"));
    let goal = String::from("≤ 1.5 ×");
    Ok(vec![Line { name: NAME.into(), beside, cells, goal, reached }])
}

fn make(site: &Site, way: &Way) -> Result<f64> {
    let dir = way.base(site).join("program");
    let make = |more: &[&str]| {
        let words = ["make".as_ref(), "-s".as_ref(), "-C".as_ref(), dir.as_os_str()];
        let more = more.iter().map(OsStr::new);
        let words: Vec<&OsStr> = words.into_iter().chain(more).collect();
        timed(&mut way.command(site, &words))
    };
    make(&["clean"])?;
    make(&["-j4"])
}
