# What the scripts in ci/ share. Sourced by bash, from the top of the checkout.

# The oldest compiler that the workspace builds with: the one place is Cargo.toml.
rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# Runs a command as root; fails when there is no way to become root unasked.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        echo "needs root: $*" >&2
        return 1
    fi
}

may_be_root() {
    [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

# Of the packages named, those that are not installed.
missing_packages() {
    local name
    for name; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
    done
}

# The version of a package that apt would install; nothing when it has none.
candidate() {
    apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: \([^(].*\)/\1/p'
}

# Whether apt has a package in at least this version: has_version NAME VERSION.
has_version() {
    local found
    found=$(candidate "$1")
    [ -n "$found" ] && dpkg --compare-versions "$found" ge "$2"
}

# Installs what is missing of the packages named. One that this release of Debian does not have
# is said and passed over: what needs it says so for itself.
apt_install() {
    local missing name wanted=()
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || die "install these, or what your system calls them:" $missing
    may_be_root || die "needs root to install:" $missing
    [ -n "${apt_updated:-}" ] || as_root apt-get -qq -o DPkg::Lock::Timeout=600 update
    apt_updated=1
    for name in $missing; do
        if [ -n "$(candidate "$name")" ]; then wanted+=("$name"); else echo "not in this Debian: $name"; fi
    done
    [ ${#wanted[@]} -gt 0 ] || return 0
    echo "installing: ${wanted[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 \
        install -y --no-install-recommends "${wanted[@]}" </dev/null >/dev/null
}

# The version of the cargo on PATH, or nothing.
cargo_version() {
    cargo --version 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p'
}

rust_is_there() {
    local have
    have=$(cargo_version)
    [ -n "$have" ] && [ "$(printf '%s\n' "$rust_wanted" "$have" | sort -V | head -1)" = "$rust_wanted" ]
}

# Makes sure of a C compiler and of cargo. Debian's rustc may be too old; the security archive of
# every release has a newer one, kept for its browsers, in packages whose names end in -web.
# With the argument `tools`, rustfmt and clippy as well.
need_toolchain() {
    local rust=()
    command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
    command -v cc >/dev/null || apt_install build-essential
    if rust_is_there && { [ "${1:-}" != tools ] || cargo fmt --version >/dev/null 2>&1; }; then
        return 0
    fi
    if command -v apt-get >/dev/null && may_be_root; then
        as_root apt-get -qq -o DPkg::Lock::Timeout=600 update
        apt_updated=1
        # Debian numbers cargo 0.N+ while rustc is 1.N-: rustc's version is the one that tells.
        if has_version rustc "$rust_wanted"; then
            rust=(cargo rustc)
            [ "${1:-}" != tools ] || rust+=(rustfmt rust-clippy)
        elif has_version rustc-web "$rust_wanted"; then
            rust=(cargo-web rustc-web)
            [ "${1:-}" != tools ] || rust+=(rustfmt-web rust-web-clippy)
        fi
        [ ${#rust[@]} = 0 ] || apt_install ca-certificates "${rust[@]}"
        hash -r
    fi
    rust_is_there || die "needs Rust $rust_wanted or newer (found: $(cargo_version || true))." \
        "Debian, with its security archive: apt install cargo-web rustfmt-web rust-web-clippy;" \
        "elsewhere: rustup."
}

# Whether rustc has the standard library for a target.
has_target() {
    [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ]
}

# Builds the release: what the arguments name for cargo, and the library. The library by itself:
# with the launcher in one build it would get the launcher's features.
#
# ns-exec is linked statically where rustc can do it, with musl: no loader has to look about before
# it starts, and a session starts in three quarters of the time. Elsewhere (Debian's rustc has the
# one target) it stays as cargo links it, which is right in all else.
build_release() {
    local musl dir
    cargo build --release --locked --quiet "$@"
    cargo build --release --locked --quiet -p privns-preload
    musl=$(rustc -vV | sed -n 's/^host: \([^-]*\)-.*/\1/p')-unknown-linux-musl
    has_target "$musl" || rustup target add "$musl" >/dev/null 2>&1 || return 0
    dir=$(realpath "${CARGO_TARGET_DIR:-target}")
    # The one dependency in C calls no library: any compiler for this machine will do.
    env "CC_${musl//-/_}=cc" "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$musl")_RUSTFLAGS=-C relocation-model=static" \
        cargo build --release --locked --quiet --target "$musl" -p privns-cli --bin ns-exec
    # Under cargo's name is a second link to a file that it keeps: replaced, not written to.
    install -m 755 "$dir/$musl/release/ns-exec" "$dir/release/ns-exec.new"
    mv "$dir/release/ns-exec.new" "$dir/release/ns-exec"
}
