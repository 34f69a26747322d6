//! Attributes of many files at once: what `ls -l` asks for.

use super::at::checked;
use super::walk::{Route, walk_of};
use super::{Client, Fid, Late, Monitor, Pending, State, Transport};
use crate::attr::{Attr, valid};
use crate::message::{Rgetattr, Rstat, Tgetattr, Tstat};
use crate::{Errno, Result};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Files under way at once with a server of ours, three requests each.
const MANY: usize = 256;
/// With others, which may do each request in a thread of its own.
const SOME: usize = 32;

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// The attributes of the named files in one directory: `each` is told the
    /// number of the name and what came of it, in order. With a server of ours
    /// walk, attributes and clunk of many files leave together; elsewhere each
    /// file's requests go in sequence, those of several at once.
    ///
    /// # Errors
    /// What has nothing to do with one name: EINTR, ETIMEDOUT, and that of a
    /// connection which failed. What `each` was told counts.
    pub fn getattrs(
        &self,
        dir: &Fid,
        names: &[&[u8]],
        mut each: impl FnMut(usize, Result<Attr>),
    ) -> Result<()> {
        if self.agreed.ours {
            return self.getattrs_together(dir, names, each);
        }
        let mut done = 0;
        for some in names.chunks(SOME) {
            self.getattrs_in_stages(dir, some, |i, attr| each(done + i, attr))?;
            done += some.len();
        }
        Ok(())
    }

    fn getattrs_together(
        &self,
        dir: &Fid,
        names: &[&[u8]],
        mut each: impl FnMut(usize, Result<Attr>),
    ) -> Result<()> {
        let mut under_way = VecDeque::new();
        let (mut asked, mut told, mut stop) = (0, 0, Ok(()));
        while told < names.len() {
            if under_way.len() <= MANY / 2 && asked < names.len() && stop.is_ok() {
                let more = names[asked..].iter().take(MANY - under_way.len());
                asked += more.len();
                under_way.extend(more.map(|name| {
                    let route = Route::new(dir, core::slice::from_ref(name));
                    let mut walking = self.set_out(route)?;
                    let attr = self.ask_attr(walking.fid);
                    self.part(&mut walking);
                    attr.map(|attr| (walking, attr))
                }));
                self.go();
            }
            let Some(next) = under_way.pop_front() else { break };
            let attr: Result<Attr> = next.and_then(|(mut walking, attr)| {
                let walked = stop.and_then(|()| self.arrive(&mut walking));
                walking.pending.take().into_iter().for_each(|walk| self.abandon(walk));
                self.finish_after(&walked, attr)
                    .and_then(|frame| self.attr_in(&frame))
                    .map_err(|e| walked.err().unwrap_or(e))
            });
            if let Err(e) = attr {
                stop = stop.and(self.only_one(e));
            }
            if stop.is_ok() {
                each(told, attr);
            }
            told += 1;
        }
        stop
    }

    fn getattrs_in_stages(
        &self,
        dir: &Fid,
        names: &[&[u8]],
        mut each: impl FnMut(usize, Result<Attr>),
    ) -> Result<()> {
        let mut stop = Ok(());
        let walks: Vec<Result<(u32, Pending)>> = names
            .iter()
            .map(|name| {
                checked(name)?;
                let fid = self.new_fid()?;
                let walk = walk_of(dir.0, fid, core::slice::from_ref(name));
                self.queue(&walk, Late::Clunk(fid)).map(|walk| (fid, walk))
            })
            .collect();
        self.push();
        let asked: Vec<Result<(u32, Pending)>> = walks
            .into_iter()
            .map(|walk| {
                let (fid, walk) = walk?;
                let frame = self.finish_after(&stop, walk).inspect_err(|e| {
                    stop = stop.and(self.only_one(*e));
                })?;
                self.walked(&frame, fid, 1, Late::Clunk(fid))?;
                let asked = self.ask_attr(fid).inspect_err(|_| self.drop_fid(fid))?;
                Ok((fid, asked))
            })
            .collect();
        self.push();
        for (i, asked) in asked.into_iter().enumerate() {
            let attr = asked.and_then(|(fid, asked)| {
                let frame = self.finish_after(&stop, asked);
                self.with(|s| s.unclunked.push(fid));
                self.attr_in(&frame?)
            });
            if let Err(e) = attr {
                stop = stop.and(self.only_one(e));
            }
            if stop.is_ok() {
                each(i, attr);
            }
        }
        self.go();
        stop
    }

    fn ask_attr(&self, fid: u32) -> Result<Pending> {
        match self.linux() {
            true => self.queue(&Tgetattr { fid, mask: valid::BASIC }, Late::Nothing),
            false => self.queue(&Tstat { fid }, Late::Nothing),
        }
    }

    fn attr_in(&self, frame: &[u8]) -> Result<Attr> {
        match self.linux() {
            true => self.reply::<Rgetattr>(frame).map(|r| r.attr),
            false => self.reply::<Rstat<'_>>(frame).map(|r| r.stat.0.0.attr(self.agreed.dialect)),
        }
    }

    /// Whether an error is about one file alone; if not, it comes back.
    fn only_one(&self, e: Errno) -> Result<()> {
        match e {
            Errno::EINTR | Errno::ETIMEDOUT => Err(e),
            _ => self.failure().map_or(Ok(()), Err),
        }
    }
}
