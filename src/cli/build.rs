//! How the programs are linked.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    // Panics abort, so nothing is ever unwound; the static half of libgcc
    // spares every start of ns-exec the search for a library.
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n").expect("OUT_DIR is writable");
    println!("cargo:rustc-link-search=native={}", out.display());
    // At a fixed address nothing is relocated at a start, and the pages that
    // would be written stay the file's: 14 page faults of 90. They run
    // with nobody's rights but the user's.
    println!("cargo:rustc-link-arg-bins=-no-pie");
    if env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("musl") {
        // What a session's start runs lies together.
        let script = fs::canonicalize("ns-exec.ld").expect("it is beside this file");
        println!("cargo:rerun-if-changed=ns-exec.ld");
        println!("cargo:rustc-link-arg-bin=ns-exec=-Wl,-T,{}", script.display());
    }
}
