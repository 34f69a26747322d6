//! Tokens by which an open file goes from one connection to another of the
//! same user.
//!
//! A token is a reference of its own: it outlives the fid and the connection
//! that made it. It is good once, and lapses after [`LIFE`].

use parking_lot::Mutex;
use privns_abi::{Errno, Result};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a token can be claimed.
pub const LIFE: Duration = Duration::from_secs(30);
/// Tokens that one user may have out at a time: a fork with this many files.
const TOKENS_MAX: usize = 4096;

/// 128 random bits, in hexadecimal on the wire.
pub type Token = [u8; 32];

struct Kept<F> {
    file: F,
    uid: u32,
    since: Instant,
}

/// The tokens that are out; `F` is the open file.
pub struct Handoff<F> {
    kept: Mutex<HashMap<Token, Kept<F>>>,
}

impl<F> Default for Handoff<F> {
    fn default() -> Self {
        Handoff { kept: Mutex::new(HashMap::new()) }
    }
}

impl<F> Handoff<F> {
    /// A token for `file`.
    ///
    /// # Errors
    /// EMFILE when the user has too many out; that of getrandom(2).
    pub fn offer(&self, file: F, uid: u32) -> Result<Token> {
        let mut random = [0; 16];
        let mut filled = 0;
        while filled < random.len() {
            let n = rustix::rand::getrandom(
                &mut random[filled..],
                rustix::rand::GetRandomFlags::empty(),
            );
            filled += n.map_err(|e| Errno(e.raw_os_error()))?;
        }
        let mut token = [0; 32];
        for (pair, byte) in token.chunks_exact_mut(2).zip(random) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        let lapsed = self.lapse();
        let mut kept = self.kept.lock();
        if kept.values().filter(|k| k.uid == uid).count() >= TOKENS_MAX {
            return Err(Errno::EMFILE);
        }
        kept.insert(token, Kept { file, uid, since: Instant::now() });
        drop(kept);
        drop(lapsed);
        Ok(token)
    }

    /// The file behind a token, which is then used up.
    ///
    /// # Errors
    /// ESTALE for a token that is unknown, lapsed or another user's. Root may
    /// have become somebody else, and be again what it was before.
    pub fn claim(&self, token: &[u8], uid: u32) -> Result<F> {
        let token: &Token = token.try_into().map_err(|_| Errno::ESTALE)?;
        let mut kept = self.kept.lock();
        let may = |by: u32| by == uid || by == 0 || uid == 0;
        let good = kept.get(token).is_some_and(|k| may(k.uid) && k.since.elapsed() < LIFE);
        if !good {
            return Err(Errno::ESTALE);
        }
        kept.remove(token).map(|k| k.file).ok_or(Errno::ESTALE)
    }

    /// Takes out the files of tokens that have lapsed; the caller drops them,
    /// outside of the lock, since closing a file may take others.
    pub fn lapse(&self) -> Vec<F> {
        let mut kept = self.kept.lock();
        let old: Vec<Token> =
            kept.iter().filter(|(_, k)| k.since.elapsed() >= LIFE).map(|(t, _)| *t).collect();
        old.iter().filter_map(|t| kept.remove(t)).map(|k| k.file).collect()
    }

    /// Tokens that are out.
    pub fn len(&self) -> usize {
        self.kept.lock().len()
    }

    /// True when none is out.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once_and_for_its_user() {
        let handoff = Handoff::default();
        let token = handoff.offer("file", 7).unwrap();
        assert_eq!(handoff.claim(&token, 8), Err(Errno::ESTALE));
        assert_eq!(handoff.claim(&token[1..], 7), Err(Errno::ESTALE));
        assert_eq!(handoff.claim(&token, 7), Ok("file"));
        assert_eq!(handoff.claim(&token, 7), Err(Errno::ESTALE));
        assert_ne!(handoff.offer("a", 7).unwrap(), handoff.offer("b", 7).unwrap());
    }

    #[test]
    fn root_becomes_others_and_is_root_again() {
        let handoff = Handoff::default();
        let (root, user) = (handoff.offer("root's", 0).unwrap(), handoff.offer("his", 7).unwrap());
        assert_eq!(handoff.claim(&root, 7), Ok("root's"));
        assert_eq!(handoff.claim(&user, 0), Ok("his"));
    }

    #[test]
    fn an_old_token_lapses() {
        let handoff = Handoff::default();
        let token = handoff.offer("file", 7).unwrap();
        let Some(since) = Instant::now().checked_sub(LIFE) else { return };
        handoff.kept.lock().get_mut(&token).unwrap().since = since;
        assert_eq!(handoff.claim(&token, 7), Err(Errno::ESTALE));
        assert_eq!(handoff.lapse(), ["file"]);
        assert!(handoff.is_empty());
    }
}
