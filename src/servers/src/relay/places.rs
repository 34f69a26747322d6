//! Where the fids stand in a request, and what it does to them.

use privns_ninep::HEADER;
use privns_ninep::message::Request;

/// Offsets in the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Places {
    /// Fids that have to be there.
    pub(super) uses: [Option<usize>; 2],
    /// A fid that it makes.
    pub(super) makes: Option<usize>,
    /// The first fid is forgotten, whatever comes of it.
    pub(super) ends: bool,
    /// How much data is asked for.
    pub(super) count: Option<usize>,
}

const FIRST: usize = HEADER;
const SECOND: usize = HEADER + 4;

impl Places {
    /// Those of `request`, which is none of Tversion, Tauth and Tflush.
    pub(super) fn of(request: &Request<'_>) -> Places {
        let one = Places { uses: [Some(FIRST), None], ..Places::default() };
        let two = |second| Places { uses: [Some(FIRST), Some(second)], ..Places::default() };
        match request {
            Request::Tattach(_) => Places { makes: Some(FIRST), ..Places::default() },
            Request::Twalk(m) if m.fid == m.newfid => two(SECOND),
            Request::Twalk(_) | Request::Txattrwalk(_) => Places { makes: Some(SECOND), ..one },
            Request::Tclunk(_) | Request::Tremove(_) => Places { ends: true, ..one },
            Request::Tlink(_) | Request::Trename(_) => two(SECOND),
            Request::Trenameat(m) => two(HEADER + 4 + 2 + m.oldname.unchecked().len()),
            // fid[4] offset[8] count[4]
            Request::Tread(_) | Request::Treaddir(_) => Places { count: Some(HEADER + 12), ..one },
            _ => one,
        }
    }
}

/// The number at `at`, which a decoded request has.
pub(super) fn number(frame: &[u8], at: usize) -> u32 {
    frame.get(at..at + 4).and_then(|b| b.first_chunk()).map_or(u32::MAX, |b| u32::from_le_bytes(*b))
}

/// Another number in its place.
pub(super) fn put(frame: &mut [u8], at: usize, number: u32) {
    if let Some(place) = frame.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}

/// Another tag.
pub(super) fn put_tag(frame: &mut [u8], tag: u16) {
    if let Some(place) = frame.get_mut(5..HEADER) {
        place.copy_from_slice(&tag.to_le_bytes());
    }
}
