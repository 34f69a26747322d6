//! `ns-exec`: see its manual page.
#![forbid(unsafe_code)]
#![no_main]

fn run() -> i32 {
    privns_cli::exec::main(std::env::args_os().skip(1).collect())
}

privns_host::main!(run);
