//! `ns-exec`: see its manual page.
#![forbid(unsafe_code)]
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

#[cfg(target_env = "musl")]
#[global_allocator]
static HEAP: privns_host::heap::Heap = privns_host::heap::Heap::new();

fn run(words: Vec<Vec<u8>>) -> i32 {
    privns_cli::exec::main(words.into_iter().map(OsString::from_vec).collect())
}

privns_host::main!(run);
