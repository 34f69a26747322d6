//! Where the C library's loader looks, and what it is called (ld.so(8)).

/// The file names of the loaders of the C library that we are built for.
const LOADERS: &[&[u8]] = &[b"ld-linux-x86-64.so.2", b"ld-linux-aarch64.so.1", b"ld.so.1"];

/// The names in a value of LD_PRELOAD (ld.so(8)).
pub fn preloaded(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| matches!(b, b':' | b' ')).filter(|name| !name.is_empty())
}

/// The directories in a value of LD_LIBRARY_PATH, which both characters separate
/// (ld.so(8)); an empty one is the working directory.
pub fn directories(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| matches!(b, b':' | b';'))
}

/// The directories in a `DT_RPATH` or a `DT_RUNPATH`, as [`super::Elf::paths`] gives them.
pub fn own_directories(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b':')
}

/// Where loaders look without being told (ld.so(8), and what distributions
/// write into ld.so.conf).
pub const PLACES: &[&[u8]] = &[
    #[cfg(target_arch = "x86_64")]
    b"/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "x86_64")]
    b"/usr/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    b"/lib/aarch64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    b"/usr/lib/aarch64-linux-gnu",
    b"/lib64",
    b"/usr/lib64",
    b"/lib",
    b"/usr/lib",
    b"/usr/local/lib",
];

/// Where libc has its conversions of text (iconv(1)), which it loads as libraries.
pub const MODULES: &[&[u8]] = &[
    #[cfg(target_arch = "x86_64")]
    b"/usr/lib/x86_64-linux-gnu/gconv",
    #[cfg(target_arch = "aarch64")]
    b"/usr/lib/aarch64-linux-gnu/gconv",
    b"/usr/lib64/gconv",
    b"/usr/lib/gconv",
];

/// Whether a path ends in the name of a loader of our C library: `ld-2.31.so`
/// is what older systems call the file itself.
#[must_use]
pub fn is_loader(path: &[u8]) -> bool {
    let name = privns_abi::path::file_name(path);
    LOADERS.contains(&name) || name.starts_with(b"ld-2.") && name.ends_with(b".so")
}
