//! Any requests to a server: no panic, a reply to each, and at the end nothing
//! is left. The input is a row of requests: length of the body, type, body.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use privns_ninep::message::{Body, Tattach, Tversion, split};
use privns_ninep::wire::Unix;
use privns_ninep::{Dialect, NOFID, NOTAG};
use privns_servers::mem::Mem;
use privns_servers::session::{Common, Peer, Session};
use std::sync::atomic::Ordering::Relaxed;

fuzz_target!(|data: &[u8]| {
    let Some((&first, mut rest)) = data.split_first() else { return };
    let dialect = [Dialect::Base, Dialect::Unix, Dialect::Linux][usize::from(first) % 3];
    let common = Common::new(Mem::new(1 << 20), false, 64);
    let mut session = Session::new(common.clone(), Peer::Trusted);
    let (mut frame, mut out) = (Vec::new(), Vec::new());
    let hello = Tversion { msize: 8192, version: dialect.version() };
    hello.frame(NOTAG, dialect, 0, &mut frame).expect("short");
    session.answer(&frame, &mut out).expect("a version");
    let attach = Tattach { fid: 0, afid: NOFID, n_uname: Unix(1000), ..Tattach::default() };
    attach.frame(1, dialect, 0, &mut frame).expect("short");
    session.answer(&frame, &mut out).expect("an attach");
    while let [n, kind, more @ ..] = rest {
        let (body, left) = more.split_at(more.len().min(usize::from(*n)));
        rest = left;
        frame.clear();
        frame.extend_from_slice(&(body.len() as u32 + 7).to_le_bytes());
        frame.extend_from_slice(&[*kind, 2, 0]);
        frame.extend_from_slice(body);
        out.clear();
        if session.answer(&frame, &mut out).is_err() {
            break;
        }
        let (_, tag, _) = split(&out).expect("one whole reply");
        assert_eq!(tag, 2);
        assert!(out.len() <= 8192);
    }
    drop(session);
    drop(common.handoff.lapse());
    let tokens = common.handoff.len() as u64;
    assert_eq!(common.counters.fids.load(Relaxed), 0);
    assert!(common.counters.open.load(Relaxed) <= tokens);
});
