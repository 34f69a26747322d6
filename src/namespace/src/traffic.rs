//! What a family's members have exchanged with each of its 9P servers, counted
//! in the family's memory for `ns stat`.
//!
//! A block a server, found by the server's number: one that is older by
//! `BLOCKS` servers has lost its block to the newer one. Whoever finds
//! another's number in it puts its own there and begins at nothing; of two that
//! do so at once one may take a count from the other, which no more than counts
//! suffer from.

use core::sync::atomic::{AtomicU64, Ordering};
use privns_host::Shared;

/// Servers counted at a time.
const BLOCKS: usize = 64;
/// Bytes of a block: the server's number, then a word a counter.
const BLOCK: usize = 64;
/// Bytes that all blocks take.
pub(crate) const SIZE: usize = BLOCKS * BLOCK;

/// Counts go here where the table may only be read.
static UNCOUNTED: AtomicU64 = AtomicU64::new(0);

/// What is counted of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Messages sent.
    Requests,
    /// Bytes sent.
    Sent,
    /// Bytes received.
    Received,
    /// Waits for an answer: messages sent together are one.
    RoundTrips,
    /// Connections dialled in place of one that was lost.
    Reconnects,
}

impl Traffic {
    /// All of them, with the names that `ns stat` gives them.
    pub const ALL: [(Traffic, &'static str); 5] = [
        (Traffic::Requests, "requests"),
        (Traffic::Sent, "sent"),
        (Traffic::Received, "received"),
        (Traffic::RoundTrips, "round_trips"),
        (Traffic::Reconnects, "reconnects"),
    ];
}

/// The counters of one server.
#[derive(Clone, Copy)]
pub struct Counters<'a> {
    /// The family's memory, and where the block begins.
    block: Option<(&'a Shared, usize)>,
}

impl<'a> Counters<'a> {
    /// Those that count for nobody.
    pub(crate) const NONE: Counters<'static> = Counters { block: None };

    /// Those of server `id`, in blocks that begin at `at` of memory that can be
    /// written.
    pub(crate) fn claim(shared: &'a Shared, at: usize, id: u32) -> Counters<'a> {
        let at = at + id as usize % BLOCKS * BLOCK;
        if let Ok(owner) = shared.u64(at)
            && owner.load(Ordering::Relaxed) != u64::from(id)
        {
            for (what, _) in Traffic::ALL {
                if let Ok(count) = shared.u64(word(at, what)) {
                    count.store(0, Ordering::Relaxed);
                }
            }
            owner.store(id.into(), Ordering::Relaxed);
        }
        Counters { block: Some((shared, at)) }
    }

    /// A counter.
    #[inline]
    #[must_use]
    pub fn of(self, what: Traffic) -> &'a AtomicU64 {
        let count = self.block.and_then(|(shared, at)| shared.u64(word(at, what)).ok());
        count.unwrap_or(&UNCOUNTED)
    }

    /// Counts `n` more.
    #[inline]
    pub fn add(self, what: Traffic, n: u64) {
        if n > 0 {
            self.of(what).fetch_add(n, Ordering::Relaxed);
        }
    }
}

/// The counters of one server for as long as a connection to it lives, in a
/// mapping of its own.
#[derive(Debug)]
pub struct Tally {
    memory: Shared,
    at: usize,
    id: u32,
}

impl Tally {
    pub(crate) const fn new(memory: Shared, at: usize, id: u32) -> Tally {
        Tally { memory, at, id }
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> Counters<'_> {
        Counters::claim(&self.memory, self.at, self.id)
    }
}

/// What a counter of server `id` says, where the memory may only be read too.
pub(crate) fn count(shared: &Shared, at: usize, id: u32, what: Traffic) -> u64 {
    let at = at + id as usize % BLOCKS * BLOCK;
    let value = |at| shared.u64(at).map_or(0, |word| word.load(Ordering::Relaxed));
    if value(at) == u64::from(id) { value(word(at, what)) } else { 0 }
}

fn word(block: usize, what: Traffic) -> usize {
    block + 8 + what as usize * 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Family, Table};

    #[test]
    fn each_server_has_its_own_until_its_block_is_anothers() {
        let family = Family::create(b"", &Table::new()).unwrap();
        family.server_counters(1).add(Traffic::Sent, 5);
        family.server_counters(2).add(Traffic::Sent, 7);
        family.server_counters(1).add(Traffic::Sent, 1);
        assert_eq!(family.server_count(1, Traffic::Sent), 6);
        assert_eq!(family.server_count(2, Traffic::Sent), 7);
        assert_eq!(family.server_count(2, Traffic::Requests), 0);
        let later = 1 + BLOCKS as u32;
        assert_eq!(family.server_count(later, Traffic::Sent), 0);
        family.server_counters(later).add(Traffic::Reconnects, 1);
        assert_eq!(family.server_count(later, Traffic::Sent), 0);
        assert_eq!(family.server_count(later, Traffic::Reconnects), 1);
        assert_eq!(family.server_count(1, Traffic::Sent), 0);
    }
}
