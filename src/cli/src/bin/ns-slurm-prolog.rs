//! `ns-slurm-prolog`: see its manual page.
#![forbid(unsafe_code)]

fn main() {
    let args = std::env::args_os().skip(1).collect();
    std::process::exit(privns_cli::slurm::main(args));
}
