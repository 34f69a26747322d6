//! Any bytes as messages, listings, addresses and error texts: no panic, and
//! what was understood is written back as it was.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use privns_ninep::message::{Reply, Request, split};
use privns_ninep::{Dialect, address, attr, error, frame};

fuzz_target!(|data: &[u8]| {
    let Some((&kind, body)) = data.split_first() else { return };
    let mut out = Vec::new();
    for dialect in [Dialect::Base, Dialect::Unix, Dialect::Linux] {
        if let Ok(request) = Request::decode(kind, body, dialect) {
            request.frame(1, dialect, &mut out).expect("what was read can be written");
            let (kind, _, again) = split(&out).expect("whole");
            assert_eq!(Request::decode(kind, again, dialect), Ok(request));
        }
        if let Ok(reply) = Reply::decode(kind, body, dialect) {
            reply.frame(1, dialect, &mut out).expect("what was read can be written");
            let (kind, _, again) = split(&out).expect("whole");
            assert_eq!(Reply::decode(kind, again, dialect), Ok(reply));
        }
    }
    for entry in attr::entries(body).flatten() {
        assert!(!entry.name.unchecked().contains(&b'/'));
    }
    if let Ok(address) = address::Address::parse(body) {
        assert_eq!(address::Address::parse(&address.to_bytes()), Ok(address));
    }
    assert!(error::from_text(body).0 > 0);
    let mut framer = frame::Framer::new(4096);
    for chunk in body.chunks(usize::from(kind).max(1)) {
        let Ok(space) = framer.space() else { return };
        let n = chunk.len().min(space.len());
        space[..n].copy_from_slice(&chunk[..n]);
        framer.filled(n);
        while let Ok(Some(message)) = framer.next_message() {
            assert!(split(&message).is_ok());
        }
    }
});
