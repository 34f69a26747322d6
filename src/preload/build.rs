//! How the library is linked.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    // std asks for -lgcc_s, a library that every program would then load for
    // unwinding that we never do (panics abort). A linker script of that name,
    // found first, gives the static half instead: a third less start-up.
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n").expect("OUT_DIR is writable");
    println!("cargo:rustc-link-search=native={}", out.display());
    // Our constructor runs before any other library's: theirs open files too.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,initfirst");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libprivns.so");
    // Start-up is paid by every exec. The C compiler's own code for the start and
    // end of a library does nothing for us, and has four weak names looked up;
    // library.ld has the one thing of it that is needed. The table's references to our own
    // exported names need no look-up, and what is called seldom none before
    // it is; no mprotect of the relocated data; and what lies where is said by
    // a script.
    for flag in ["-Bsymbolic", "-z,norelro", "-z,lazy", "--hash-style=gnu"] {
        println!("cargo:rustc-cdylib-link-arg=-Wl,{flag}");
    }
    println!("cargo:rustc-cdylib-link-arg=-nostartfiles");
    let script = fs::canonicalize("library.ld").expect("it is beside this file");
    println!("cargo:rerun-if-changed=library.ld");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-T,{}", script.display());
}
