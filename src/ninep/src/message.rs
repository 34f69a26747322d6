//! The messages, each declared once; encoding, decoding, the sets of each
//! dialect and the tests follow from the table.
//!
//! Sources: intro(5) of Plan 9 for 9P2000; Van Hensbergen's "9P2000.u"
//! draft; diod's `protocol.md` and Linux `net/9p/client.c` for 9P2000.L.

use crate::attr::{Attr, Qid, SetAttr, Stat};
use crate::dialect::Dialect;
use crate::name::Name;
use crate::wire::{Counted, Data, Decoded, Few, Field, Malformed, Reader, Trailing, Unix, Writer};
use crate::{Errno, HEADER, Result};
use alloc::vec::Vec;

/// Which dialects have a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum In {
    /// All three.
    All,
    /// 9P2000 and 9P2000.u.
    Old,
    /// 9P2000.L.
    Linux,
}

impl In {
    /// True when `dialect` has the message.
    #[must_use]
    pub const fn has(self, dialect: Dialect) -> bool {
        match self {
            In::All => true,
            In::Old => !matches!(dialect, Dialect::Linux),
            In::Linux => matches!(dialect, Dialect::Linux),
        }
    }
}

/// The body of one message.
pub trait Body<'a>: Field<'a> {
    /// The type byte.
    const TYPE: u8;

    /// Writes a whole frame into `out`, which is emptied first. `payload` is
    /// what will be sent right behind it: the size counts it in.
    ///
    /// # Errors
    /// ENAMETOOLONG when a string does not fit its two-byte count.
    fn frame(&self, tag: u16, dialect: Dialect, payload: usize, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        self.append(tag, dialect, payload, out)
    }

    /// As [`Body::frame`], behind what is in `out` already.
    ///
    /// # Errors
    /// As there; `out` then ends in half a frame.
    fn append(&self, tag: u16, dialect: Dialect, payload: usize, out: &mut Vec<u8>) -> Result<()> {
        let at = out.len();
        let mut w = Writer::new(out, dialect);
        w.put(&0u32);
        w.put(&Self::TYPE);
        w.put(&tag);
        self.put(&mut w);
        if w.overflowed() {
            return Err(Errno::ENAMETOOLONG);
        }
        let size = u32::try_from(out.len() - at + payload).map_err(|_| Errno::EMSGSIZE)?;
        out[at..at + 4].copy_from_slice(&size.to_le_bytes());
        Ok(())
    }
}

/// Splits a whole frame, size bytes included, into type, tag and body.
///
/// # Errors
/// When the size field is not the frame's length.
pub fn split(frame: &[u8]) -> Decoded<(u8, u16, &[u8])> {
    let (head, body) = frame.split_at_checked(HEADER).ok_or(Malformed)?;
    let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    if size as usize != frame.len() {
        return Err(Malformed);
    }
    Ok((head[4], u16::from_le_bytes([head[5], head[6]]), body))
}

macro_rules! messages {
    ($(#[$all_doc:meta])* $all:ident {$(
        $(#[$doc:meta])*
        $which:ident $code:literal $name:ident $(<$lt:lifetime>)? {
            $($(#[$field_doc:meta])* $field:ident : $t:ty),* $(,)?
        }
    )*}) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
            #[allow(missing_docs, reason = "the fields have the names of the protocol's manual")]
            pub struct $name $(<$lt>)? { $($(#[$field_doc])* pub $field: $t,)* }

            impl<'a> Field<'a> for $name $(<$lt>)? {
                fn put(&self, _w: &mut Writer<'_>) { $(_w.put(&self.$field);)* }
                fn get(_r: &mut Reader<'a>) -> Decoded<Self> {
                    Ok($name { $($field: _r.get()?,)* })
                }
            }

            impl<'a> Body<'a> for $name $(<$lt>)? { const TYPE: u8 = $code; }
        )*

        $(#[$all_doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs, reason = "each variant holds the message of its name")]
        #[allow(clippy::large_enum_variant, reason = "a walk is held in place on purpose")]
        pub enum $all<'a> { $($name($name $(<$lt>)?),)* }

        impl<'a> $all<'a> {
            /// Decodes the body of a message of type `kind`. Bytes that are
            /// left over make it malformed.
            ///
            /// # Errors
            /// For a type that the dialect does not have, and for a body that
            /// is not of its type.
            pub fn decode(kind: u8, body: &'a [u8], dialect: Dialect) -> Decoded<Self> {
                let mut r = Reader::new(body, dialect);
                let message = match kind {
                    $($code if In::$which.has(dialect) => $all::$name(r.get()?),)*
                    _ => return Err(Malformed),
                };
                if r.is_empty() { Ok(message) } else { Err(Malformed) }
            }

            /// Decodes from the beginning of `bytes`; how many it took.
            #[cfg(test)]
            fn prefix(kind: u8, bytes: &'a [u8], dialect: Dialect) -> Decoded<(Self, usize)> {
                let mut r = Reader::new(bytes, dialect);
                let message = match kind {
                    $($code if In::$which.has(dialect) => $all::$name(r.get()?),)*
                    _ => return Err(Malformed),
                };
                Ok((message, bytes.len() - r.left()))
            }

            /// Writes a whole frame; see [`Body::frame`].
            ///
            /// # Errors
            /// As there.
            pub fn frame(&self, tag: u16, dialect: Dialect, out: &mut Vec<u8>) -> Result<()> {
                match self { $($all::$name(m) => m.frame(tag, dialect, 0, out),)* }
            }

            /// The message's name, for a trace.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $($all::$name(_) => stringify!($name),)* }
            }

            /// The types of this side, with the dialects that have them.
            pub const TYPES: &'static [(u8, In)] = &[$(($code, In::$which),)*];
        }

        $(impl<'a> From<$name $(<$lt>)?> for $all<'a> {
            fn from(m: $name $(<$lt>)?) -> Self { $all::$name(m) }
        })*
    };
}

messages! {
    /// What a client sends.
    Request {
        /// Begins a session and drops everything that the last one had.
        All 100 Tversion<'a> { msize: u32, version: &'a [u8] }
        /// Asks for an afid to prove on who the user is.
        All 102 Tauth<'a> { afid: u32, uname: &'a [u8], aname: &'a [u8], n_uname: Unix<u32> }
        /// Gives up waiting for `oldtag`.
        All 108 Tflush { oldtag: u16 }
        /// Binds a fid to the root of the tree `aname`.
        All 104 Tattach<'a> { fid: u32, afid: u32, uname: &'a [u8], aname: &'a [u8], n_uname: Unix<u32> }
        /// Moves to a new fid; no names: clones.
        All 110 Twalk<'a> { fid: u32, newfid: u32, names: Few<Name<'a>> }
        /// Reads from an open fid.
        All 116 Tread { fid: u32, offset: u64, count: u32 }
        /// Writes to an open fid.
        All 118 Twrite<'a> { fid: u32, offset: u64, data: Data<'a> }
        /// Forgets a fid.
        All 120 Tclunk { fid: u32 }
        /// Removes the file and forgets the fid, whatever comes of it.
        All 122 Tremove { fid: u32 }
        /// Opens for I/O; `mode` as open(5).
        Old 112 Topen { fid: u32, mode: u8 }
        /// Creates in the directory `fid` and opens; the fid becomes the file.
        Old 114 Tcreate<'a> { fid: u32, name: Name<'a>, perm: u32, mode: u8, extension: Unix<&'a [u8]> }
        /// Asks for the attributes.
        Old 124 Tstat { fid: u32 }
        /// Changes attributes; "don't touch" values are all ones.
        Old 126 Twstat<'a> { fid: u32, stat: Counted<Counted<Stat<'a>>> }
        /// statfs(2).
        Linux 8 Tstatfs { fid: u32 }
        /// open(2) of the file behind the fid; Linux flags.
        Linux 12 Tlopen { fid: u32, flags: u32 }
        /// open(2) with O_CREAT; the fid becomes the file.
        Linux 14 Tlcreate<'a> { fid: u32, name: Name<'a>, flags: u32, mode: u32, gid: u32 }
        /// symlink(2).
        Linux 16 Tsymlink<'a> { dfid: u32, name: Name<'a>, target: &'a [u8], gid: u32 }
        /// mknod(2).
        Linux 18 Tmknod<'a> { dfid: u32, name: Name<'a>, mode: u32, major: u32, minor: u32, gid: u32 }
        /// Older rename: of the file behind a fid.
        Linux 20 Trename<'a> { fid: u32, dfid: u32, name: Name<'a> }
        /// readlink(2).
        Linux 22 Treadlink { fid: u32 }
        /// stat(2); `mask` says which fields are wanted.
        Linux 24 Tgetattr { fid: u32, mask: u64 }
        /// chmod(2), chown(2), truncate(2) and utimensat(2) in one.
        Linux 26 Tsetattr { fid: u32, attr: SetAttr }
        /// Makes `newfid` read the extended attribute; empty name: the list.
        Linux 30 Txattrwalk<'a> { fid: u32, newfid: u32, name: &'a [u8] }
        /// Makes `fid` take an extended attribute by writes, set on clunk.
        Linux 32 Txattrcreate<'a> { fid: u32, name: &'a [u8], size: u64, flags: u32 }
        /// Entries from the cookie `offset` on.
        Linux 40 Treaddir { fid: u32, offset: u64, count: u32 }
        /// fsync(2), or fdatasync(2).
        Linux 50 Tfsync { fid: u32, datasync: Trailing<u32> }
        /// fcntl(2) F_SETLK.
        Linux 52 Tlock<'a> { fid: u32, kind: u8, flags: u32, start: u64, length: u64, proc_id: u32, client_id: &'a [u8] }
        /// fcntl(2) F_GETLK.
        Linux 54 Tgetlock<'a> { fid: u32, kind: u8, start: u64, length: u64, proc_id: u32, client_id: &'a [u8] }
        /// link(2).
        Linux 70 Tlink<'a> { dfid: u32, fid: u32, name: Name<'a> }
        /// mkdir(2).
        Linux 72 Tmkdir<'a> { dfid: u32, name: Name<'a>, mode: u32, gid: u32 }
        /// renameat(2).
        Linux 74 Trenameat<'a> { olddir: u32, oldname: Name<'a>, newdir: u32, newname: Name<'a> }
        /// unlinkat(2).
        Linux 76 Tunlinkat<'a> { dfid: u32, name: Name<'a>, flags: u32 }
    }
}

messages! {
    /// What a server answers.
    Reply {
        /// The agreement on dialect and message size.
        All 101 Rversion<'a> { msize: u32, version: &'a [u8] }
        /// The qid of the authentication file.
        All 103 Rauth { aqid: Qid }
        /// The root's qid.
        All 105 Rattach { qid: Qid }
        /// The request is over, one way or the other.
        All 109 Rflush {}
        /// One qid a name that was found.
        All 111 Rwalk { qids: Few<Qid> }
        /// What was read; nothing: the end.
        All 117 Rread<'a> { data: Data<'a> }
        /// How much was written.
        All 119 Rwrite { count: u32 }
        All 121 Rclunk {}
        All 123 Rremove {}
        /// An error in words, and in .u its number.
        Old 107 Rerror<'a> { text: &'a [u8], code: Unix<u32> }
        /// The fid is open; `iounit` bytes at most in one message, 0: by msize.
        Old 113 Ropen { qid: Qid, iounit: u32 }
        Old 115 Rcreate { qid: Qid, iounit: u32 }
        Old 125 Rstat<'a> { stat: Counted<Counted<Stat<'a>>> }
        Old 127 Rwstat {}
        /// An error number.
        Linux 7 Rlerror { code: u32 }
        Linux 9 Rstatfs {
            kind: u32, bsize: u32, blocks: u64, bfree: u64, bavail: u64,
            files: u64, ffree: u64, fsid: u64, namelen: u32,
        }
        Linux 13 Rlopen { qid: Qid, iounit: u32 }
        Linux 15 Rlcreate { qid: Qid, iounit: u32 }
        Linux 17 Rsymlink { qid: Qid }
        Linux 19 Rmknod { qid: Qid }
        Linux 21 Rrename {}
        Linux 23 Rreadlink<'a> { target: &'a [u8] }
        Linux 25 Rgetattr { attr: Attr }
        Linux 27 Rsetattr {}
        Linux 31 Rxattrwalk { size: u64 }
        Linux 33 Rxattrcreate {}
        /// Entries, each as [`crate::attr::Entry`].
        Linux 41 Rreaddir<'a> { data: Data<'a> }
        Linux 51 Rfsync {}
        Linux 53 Rlock { status: u8 }
        Linux 55 Rgetlock<'a> { kind: u8, start: u64, length: u64, proc_id: u32, client_id: &'a [u8] }
        Linux 71 Rlink {}
        Linux 73 Rmkdir { qid: Qid }
        Linux 75 Rrenameat {}
        Linux 77 Runlinkat {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr;
    use alloc::vec;

    const DIALECTS: [Dialect; 3] = [Dialect::Base, Dialect::Unix, Dialect::Linux];

    /// Marsaglia's xorshift: the same numbers in every run.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        /// Bytes of which many are small, so that counts often fit.
        fn bytes(&mut self, n: usize) -> Vec<u8> {
            let byte = |x: u64| match x % 8 {
                0..=4 => 0,
                5 => (x >> 8) as u8 % 5,
                _ => (x >> 8) as u8,
            };
            (0..n).map(|_| byte(self.next())).collect()
        }
    }

    macro_rules! round_trip {
        ($all:ident) => {
            for dialect in DIALECTS {
                // Two counts that must agree are never found by chance: stat
                // records have their own test.
                let by_chance = |kind| kind != Twstat::TYPE && kind != Rstat::TYPE;
                let types = $all::TYPES.iter().filter(|(_, which)| which.has(dialect));
                for &(kind, _) in types.filter(|(kind, _)| by_chance(*kind)) {
                    let mut numbers = Numbers(0x9e37_79b9 + u64::from(kind));
                    let mut decoded = 0;
                    for _ in 0..3000 {
                        let bytes = numbers.bytes(400);
                        let Ok((message, n)) = $all::prefix(kind, &bytes, dialect) else {
                            continue;
                        };
                        decoded += 1;
                        let mut frame = Vec::new();
                        message.frame(77, dialect, &mut frame).unwrap();
                        let (k, tag, body) = split(&frame).unwrap();
                        assert_eq!((k, tag), (kind, 77));
                        assert_eq!($all::decode(kind, body, dialect), Ok(message));
                        // Tfsync may come without its last field.
                        if kind != Tfsync::TYPE {
                            assert_eq!(body, &bytes[..n], "{message:?}");
                        }
                        for cut in 0..body.len() {
                            let shorter = $all::decode(kind, &body[..cut], dialect);
                            assert!(
                                shorter.is_err() || kind == Tfsync::TYPE,
                                "{message:?} at {cut}"
                            );
                        }
                    }
                    assert!(decoded > 20, "type {kind} of {dialect:?}: {decoded}");
                }
            }
        };
    }

    #[test]
    fn requests_come_back_as_they_were_and_never_short() {
        round_trip!(Request);
    }

    #[test]
    fn replies_come_back_as_they_were_and_never_short() {
        round_trip!(Reply);
    }

    #[test]
    fn stat_records_come_back_and_their_counts_must_agree() {
        let mut numbers = Numbers(7);
        for i in 0..3000 {
            let dialect = DIALECTS[i % 2];
            let bytes = numbers.bytes(400);
            let Ok(stat) = Reader::new(&bytes, dialect).get::<Stat<'_>>() else { continue };
            let message = Request::from(Twstat { fid: 1, stat: Counted(Counted(stat)) });
            let mut frame = Vec::new();
            message.frame(1, dialect, &mut frame).unwrap();
            let (kind, _, body) = split(&frame).unwrap();
            assert_eq!(Request::decode(kind, body, dialect), Ok(message));
            for count in [4, 6] {
                for lie in [body[count].wrapping_add(1), body[count].wrapping_sub(1), 0] {
                    let mut body = body.to_vec();
                    let truth = core::mem::replace(&mut body[count], lie);
                    assert!(truth == lie || Request::decode(kind, &body, dialect).is_err());
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic() {
        let mut numbers = Numbers(42);
        for i in 0..60_000 {
            let bytes = numbers.bytes(i % 300);
            let kind = numbers.next() as u8;
            for dialect in DIALECTS {
                let _ = split(&bytes);
                let _ = Request::decode(kind, &bytes, dialect);
                let _ = Reply::decode(kind, &bytes, dialect);
            }
            let _ = attr::entries(&bytes).count();
            let _ = attr::records::<Counted<Stat<'_>>>(&bytes, Dialect::Unix).count();
            let _ = crate::error::from_text(&bytes);
            let _ = crate::address::Address::parse(&bytes);
        }
    }

    #[test]
    fn a_dialect_has_its_own_messages_and_no_others() {
        assert!(Request::decode(Topen::TYPE, &[0; 5], Dialect::Base).is_ok());
        assert!(Request::decode(Topen::TYPE, &[0; 5], Dialect::Linux).is_err());
        assert!(Request::decode(Tlopen::TYPE, &[0; 8], Dialect::Linux).is_ok());
        assert!(Request::decode(Tlopen::TYPE, &[0; 8], Dialect::Unix).is_err());
    }

    #[test]
    fn bytes_on_the_wire() {
        let mut names = Few::default();
        names.push(Name::new(b"ab"));
        let walk = Twalk { fid: 1, newfid: 2, names };
        let mut frame = Vec::new();
        walk.frame(3, Dialect::Base, 0, &mut frame).unwrap();
        let expected = [21, 0, 0, 0, 110, 3, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 2, 0, b'a', b'b'];
        assert_eq!(frame, expected);
        let attach = Tattach { uname: b"u", n_uname: Unix(7), ..Tattach::default() };
        attach.frame(0, Dialect::Base, 0, &mut frame).unwrap();
        assert_eq!(frame.len(), 7 + 4 + 4 + 3 + 2);
        attach.frame(0, Dialect::Unix, 0, &mut frame).unwrap();
        assert_eq!(frame.len(), 7 + 4 + 4 + 3 + 2 + 4);
    }

    #[test]
    fn strings_too_long_are_refused_and_not_cut() {
        let long = vec![b'x'; 65_536];
        let mut frame = Vec::new();
        let version = Tversion { msize: 0, version: &long };
        assert_eq!(version.frame(0, Dialect::Base, 0, &mut frame), Err(Errno::ENAMETOOLONG));
        let version = Tversion { msize: 0, version: &long[1..] };
        assert_eq!(version.frame(0, Dialect::Base, 0, &mut frame), Ok(()));
    }

    #[test]
    fn a_walk_of_seventeen_names_is_malformed() {
        for n in [16u16, 17] {
            let mut body = vec![0; 8];
            body.extend_from_slice(&n.to_le_bytes());
            (0..n).for_each(|_| body.extend_from_slice(&[1, 0, b'x']));
            assert_eq!(Request::decode(Twalk::TYPE, &body, Dialect::Base).is_ok(), n == 16);
        }
    }
}
