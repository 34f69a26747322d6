//! `ns-exec`: see its manual page.
#![forbid(unsafe_code)]
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// musl's own takes a fifth of what a session's start may take.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn run(words: Vec<Vec<u8>>) -> i32 {
    privns_cli::exec::main(words.into_iter().map(OsString::from_vec).collect())
}

privns_host::main!(run);
