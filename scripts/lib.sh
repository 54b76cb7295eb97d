# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Shared by the set-up and VM scripts: where things are cached, and how progress is shown.
# Sourced, never run.

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that is expensive to make lives here, outside the checkout.
CACHE=${DM_PRESERVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dm-preserve}
KERNEL_SERIES=${KERNEL_SERIES:-7.3}
# normal | debug (lockdep, KASAN, atomic-sleep checks, kmemleak)
KERNEL=${KERNEL:-normal}
case $KERNEL in normal|debug) ;; *) echo "error: KERNEL=$KERNEL: normal or debug" >&2; exit 2 ;; esac
BINDGEN_VERSION=0.72.1
JOBS=${JOBS:-$(nproc)}

# One toolchain for the kernel, the module and the tools: Debian's, never the one that a user's PATH has.
# Only a kernel tree given with KDIR= may need its module built with another rustc (RUSTC=) and bindgen (BINDGEN=).
MODULE_RUSTC=${MODULE_RUSTC:-${KDIR:+${RUSTC:-}}}
export MODULE_RUSTC=${MODULE_RUSTC:-/usr/bin/rustc}
export RUSTC=/usr/bin/rustc
export RUSTDOC=/usr/bin/rustdoc
CARGO=/usr/bin/cargo
MODULE_BINDGEN=${MODULE_BINDGEN:-${KDIR:+${BINDGEN:-}}}
BINDGEN=$CACHE/bindgen-$BINDGEN_VERSION/bin/bindgen
export MODULE_BINDGEN=${MODULE_BINDGEN:-$BINDGEN}
# A rustup directory may come first; cargo even prefers its own folder for "cargo clippy".
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH CARGO
unset RUSTUP_TOOLCHAIN CARGO_TARGET_DIR RUSTFLAGS CARGO_BUILD_TARGET
# What the caller's make or shell would otherwise tell the kernel's make.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL ARCH CROSS_COMPILE KBUILD_OUTPUT KCFLAGS LLVM CC O M

say() { printf '[%(%H:%M:%S)T] %s\n' -1 "$*" >&2; }
# A script that ends because of a command that was not looked after says which; it never just stops.
set -E
trap 'echo "$0: line $LINENO: status $?: ${BASH_COMMAND%%$'"'\n'"'*}" >&2' ERR
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# step NAME EXPECTED COMMAND...: runs a long command with its output in a log, a heartbeat on
# stderr, and the end of the log when it fails. The command is a process group of its own, so that
# an interrupt ends all of it (a background command of a script is deaf to Ctrl-C).
step() {
    local name=$1 expected=$2 log start pid
    shift 2
    mkdir -p "$CACHE/log"
    log=$CACHE/log/$(printf '%s' "$name" | tr -cs 'A-Za-z0-9.' -).log
    start=$SECONDS
    say "$name (usually $expected; log: $log)"
    set -m
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    set +m
    # shellcheck disable=SC2064 # this pid, now
    trap "kill -TERM -- -$pid 2>/dev/null; exit 130" INT TERM HUP
    while sleep 1; kill -0 "$pid" 2>/dev/null; do
        (( (SECONDS - start) % 60 )) || say "$name: $(( (SECONDS - start) / 60 )) min; $(tail -n 1 "$log" | cut -c1-100)"
    done
    trap - INT TERM HUP
    if ! wait "$pid"; then
        tail -n 40 "$log" >&2
        die "$name failed; the whole log is $log"
    fi
    say "$name: done in $(( SECONDS - start )) s"
}

# lock NAME: only one process at a time makes a thing; another one waits here and then finds it made.
# The lock is the open file, so it goes with the process (and its children), however that ends.
lock() {
    local fd
    mkdir -p "$CACHE/lock"
    exec {fd}>"$CACHE/lock/$1"
    flock -n "$fd" || { say "another run is making this ($1); waiting for it"; flock "$fd"; }
}

# The mirror this machine already uses for Debian itself.
debian_mirror() {
    local mirror=${DEBIAN_MIRROR:-}
    # shellcheck disable=SC2016 # apt expands it
    [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Component: main' 2>/dev/null |
        grep -v security | head -n 1)
    [ -n "$mirror" ] || die "no Debian mirror is configured in apt; set DEBIAN_MIRROR to one"
    echo "$mirror"
}

# The Rust part of the kernel's make variables, one a line: the kernel and the module are built with the same.
rust_flags() {
    local library
    library=/usr/src/rustc-$("$MODULE_RUSTC" --version | cut -d' ' -f2)/library
    [ -d "$library" ] || library=$("$MODULE_RUSTC" --print sysroot)/lib/rustlib/src/rust/library
    printf '%s\n' "RUSTC=$MODULE_RUSTC" "BINDGEN=$MODULE_BINDGEN" "RUST_LIB_SRC=${RUST_LIB_SRC:-$library}" \
        "CLIPPY_DRIVER=${CLIPPY_DRIVER:-/usr/bin/clippy-driver}" "RUSTFMT=/usr/bin/rustfmt"
}

# Build output of one checkout is kept apart from that of another.
CHECKOUT=$(printf %s "$TOP" | sha256sum | cut -c1-8)
TARGET=$CACHE/target-$CHECKOUT
cargo_tools() { (cd "$TOP/tools" && CARGO_TARGET_DIR="$TARGET" timeout -k 10 "${CARGO_TIMEOUT:-1800}" "$CARGO" "$@"); }
clippy_tools() { (cd "$TOP/tools" && CARGO_TARGET_DIR="$TARGET" /usr/bin/cargo-clippy clippy "$@"); }
