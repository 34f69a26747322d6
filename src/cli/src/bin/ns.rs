//! `ns`: see its manual page. Called by the name of ns-exec it is that.
#![forbid(unsafe_code)]

use privns_cli::exec::{self, twin};
use std::path::Path;

fn main() {
    let mut args = std::env::args_os();
    let called = args.next().unwrap_or_default();
    let args = args.collect();
    std::process::exit(match Path::new(&called).file_name() {
        Some(name) if name == twin::NAME => exec::main(args),
        _ => privns_cli::ns::main(args),
    });
}
