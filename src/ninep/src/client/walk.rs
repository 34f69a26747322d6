//! Walking: the way to a file, name by name.

use super::{Client, Fid, Late, Monitor, Pending, State, Transport};
use crate::attr::Qid;
use crate::message::{Rwalk, Twalk};
use crate::name::Name;
use crate::wire::Few;
use crate::{Errno, Result, WALK_MAX};
use core::sync::atomic::Ordering;

/// The way to a file.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// Where it begins.
    pub from: &'a Fid,
    /// The names on it, none of them `..`.
    pub names: &'a [&'a [u8]],
    /// A directory that it is to pass by. Only the ways of servers of others are
    /// looked at: those of ours begin there.
    pub by: Option<By>,
}

/// The directory that so many names of a route lead to.
#[derive(Clone, Copy, Debug)]
pub struct By {
    /// How many of them.
    pub names: usize,
    /// Its `qid.path`.
    pub identity: u64,
}

impl<'a> Route<'a> {
    /// Names from a fid.
    #[must_use]
    pub const fn new(from: &'a Fid, names: &'a [&'a [u8]]) -> Route<'a> {
        Route { from, names, by: None }
    }
}

impl By {
    /// Whether a walk passes by: which `names` were to be walked, behind so many
    /// others, and what was found there.
    ///
    /// # Errors
    /// ESTALE.
    pub(super) fn check(self, behind: usize, names: usize, found: &[Qid]) -> Result<()> {
        let there = match self.names.checked_sub(behind + 1) {
            // It was passed before.
            None => return Ok(()),
            Some(at) if at < names => found.get(at).map(|qid| qid.path),
            // It is still to come.
            Some(_) if found.len() == names => return Ok(()),
            Some(_) => None,
        };
        if there == Some(self.identity) { Ok(()) } else { Err(Errno::ESTALE) }
    }
}

/// A walk that leaves with the next request.
pub struct Ahead {
    pub(super) fid: u32,
    names: usize,
    pending: Pending,
}

impl<T: Transport, M: Monitor<State>> Client<T, M> {
    /// Whether the server tells of a walk only where it ends, as far as has been
    /// seen.
    pub fn blurs(&self) -> bool {
        self.blurs.load(Ordering::Relaxed)
    }

    /// Begins a walk that need not be waited for: to a server of ours, by at most
    /// [`WALK_MAX`] names. It is to be [ended](Client::arrived).
    ///
    /// # Errors
    /// EINVAL for a name that is no component.
    pub fn walk_ahead(&self, from: &Fid, names: &[&[u8]]) -> Result<Ahead> {
        names.iter().try_for_each(|name| Name::new(name).component().map(|_| ()))?;
        let fid = self.new_fid()?;
        let pending = self.queue(&walk_of(from.0, fid, names), Late::Clunk(fid))?;
        Ok(Ahead { fid, names: names.len(), pending })
    }

    /// Where such a walk has led.
    ///
    /// # Errors
    /// As [`Client::walk`].
    pub fn arrived(&self, walk: Ahead) -> Result<(Fid, Option<Qid>)> {
        let Ahead { fid, names, pending } = walk;
        self.push();
        let frame = self.finish(pending)?;
        let qid = self.walked(&frame, fid, names, Late::Clunk(fid))?;
        Ok((Fid(fid), qid))
    }

    /// Walks from a fid to a new one. No names: the same file again. `..` is
    /// refused: the caller knows the way up, and half the servers leave their
    /// export on it.
    ///
    /// # Errors
    /// ENOENT when a name is not there; EINVAL for a name that is no component.
    pub fn walk(&self, from: &Fid, names: &[&[u8]]) -> Result<(Fid, Option<Qid>)> {
        self.go_to(Route::new(from, names))
    }

    /// The same by a route.
    ///
    /// # Errors
    /// As [`Client::walk`]; ESTALE when it does not pass by where it is to.
    pub(super) fn go_to(&self, route: Route<'_>) -> Result<(Fid, Option<Qid>)> {
        let Route { from, names, by } = route;
        names.iter().try_for_each(|name| Name::new(name).component().map(|_| ()))?;
        let fid = self.new_fid()?;
        let (first, rest) = names.split_at(names.len().min(WALK_MAX));
        let mut qid = self.walk_some(from.0, fid, first, Late::Clunk(fid), by, 0)?;
        for (n, some) in rest.chunks(WALK_MAX).enumerate() {
            // The new fid moves on in place; if that fails it stays bound.
            let behind = (n + 1) * WALK_MAX;
            qid = self
                .walk_some(fid, fid, some, Late::Nothing, by, behind)
                .inspect_err(|_| self.drop_fid(fid))?;
        }
        Ok((Fid(fid), qid))
    }

    fn walk_some(
        &self,
        fid: u32,
        newfid: u32,
        names: &[&[u8]],
        late: Late,
        by: Option<By>,
        behind: usize,
    ) -> Result<Option<Qid>> {
        let frame = self.call(&walk_of(fid, newfid, names), late)?;
        let walked = self.walked(&frame, newfid, names.len(), late);
        if let Some(by) = by {
            let reply = self.reply::<Rwalk>(&frame)?;
            let found = reply.qids.as_slice();
            // No directory is in itself.
            if matches!(found, [.., one, other] if one.path == other.path) {
                self.blurs.store(true, Ordering::Relaxed);
            }
            let passed = by.check(behind, names.len(), found);
            if let Err(error) = passed {
                if walked.is_ok() && late != Late::Nothing {
                    self.drop_fid(newfid);
                }
                return Err(error);
            }
        }
        if walked != Err(Errno::ENOENT) || self.agreed.ours || names.len() == 1 {
            return walked;
        }
        let passed = self.reply::<Rwalk>(&frame)?.qids.as_slice().len();
        Err(self.why_not(fid, names, passed))
    }

    /// A short Rwalk says that a name was not found. By the book the new fid
    /// is then unbound, but diod binds it all the same; clunking it is right
    /// in both cases, for an error is as good an answer.
    pub(super) fn walked(
        &self,
        frame: &[u8],
        newfid: u32,
        asked: usize,
        late: Late,
    ) -> Result<Option<Qid>> {
        let reply: Rwalk = self.reply(frame)?;
        let qids = reply.qids.as_slice();
        if qids.len() > asked {
            return self.distrust();
        }
        if qids.len() < asked {
            if late != Late::Nothing {
                self.drop_fid(newfid);
            }
            return Err(short(qids));
        }
        Ok(qids.last().copied())
    }

    /// Why a walk ended behind so many names: by walk(5) nothing tells of it
    /// but a walk that begins there. To a server of ours it is an answer.
    pub(super) fn why_not(&self, from: u32, names: &[&[u8]], passed: usize) -> Errno {
        let (Some(before), Some(next)) = (names.get(..passed), names.get(passed..=passed)) else {
            return Errno::ENOENT;
        };
        let step = |from: u32, names: &[&[u8]]| {
            let fid = self.new_fid()?;
            let late = Late::Clunk(fid);
            let frame = self.call(&walk_of(from, fid, names), late)?;
            self.walked(&frame, fid, names.len(), late).map(|_| fid)
        };
        let there = match step(from, before) {
            Ok(there) => there,
            Err(error) => return error,
        };
        let why = step(there, next).map(|found| self.drop_fid(found));
        self.drop_fid(there);
        // It has come in between: to us it was not there.
        why.err().unwrap_or(Errno::ENOENT)
    }
}

/// Error of a walk that ended early behind these.
fn short(passed: &[Qid]) -> Errno {
    match passed.last() {
        Some(qid) if qid.is_symlink() => Errno::ELOOP,
        Some(qid) if !qid.is_dir() => Errno::ENOTDIR,
        _ => Errno::ENOENT,
    }
}

pub(super) fn walk_of<'a>(fid: u32, newfid: u32, names: &[&'a [u8]]) -> Twalk<'a> {
    let mut few = Few::default();
    for name in names.iter().take(WALK_MAX) {
        few.push(Name::new(name));
    }
    Twalk { fid, newfid, names: few }
}
