#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Measures what each of several modules costs, in one guest that counts instructions (scripts/vm
# --icount: one instruction is one nanosecond of guest time). The devices complete at once and keep
# nothing, so guest time per I/O is instructions per I/O. Prints one JSON line per case.
#   MODULES  names of /run/vm/NAME.ko: each is loaded, measured and removed in turn; in each second
#            round the last one comes first
#   ROUNDS   how often
#   CASES    which of the cases below (all)
#   SIZE     MiB that are written once in a case; settled ones are written four times
#   MARK     makes the marks of scripts/profile; the module's symbols go to /dev/vda
set -eu
export DM_DISABLE_UDEV=1
# shellcheck source=guest/null.sh
. /run/vm/null.sh
MODULES=${MODULES:-new} ROUNDS=${ROUNDS:-1} CASES=${CASES:-all} SIZE=${SIZE:-32} MARK=${MARK:-}

# Looked at from outside: each write to this file is a mark.
mark() { echo mark >/proc/sys/kernel/hostname; }

# load DEVICE READ-OR-WRITE DEPTH [FIO-OPTION]...: 4 KiB at random places, each once.
load() {
    device=$1 what=$2 depth=$3
    shift 3
    fio --name=b --filename="$device" --rw="rand$what" --bs=4k --direct=1 --ioengine=libaio \
        --iodepth="$depth" --randrepeat=1 --size="${SIZE}m" --eta=never --output=/dev/null "$@"
}

# measure CASE TARGET DEVICE READ-OR-WRITE DEPTH [TIMES]: fio counts in milliseconds, which is too
# coarse. So the clock is read by what fio runs immediately before and after its I/O; what starting
# these costs is in all figures, also in those of the bare device.
measure() {
    [ -b "$3" ] || { echo "no $3" >&2; exit 1; }
    ios=$((SIZE * 256 * ${6:-1}))
    load "$3" "$4" "$5" --io_size="$((SIZE * ${6:-1}))m" \
        --exec_prerun="{ date +%s%N >/tmp/before; echo mark >/proc/sys/kernel/hostname; }" \
        --exec_postrun="{ echo mark >/proc/sys/kernel/hostname; date +%s%N >/tmp/after; }"
    read -r before </tmp/before
    read -r after </tmp/after
    echo "{\"case\": \"$1\", \"target\": \"$2\", \"round\": $round, \"what\": \"$4\"," \
        "\"depth\": $5, \"ios\": $ios, \"ns\": $((after - before))}"
}

wanted() { case " $CASES " in *" $1 "*|" all ") ;; *) return 1 ;; esac; }

# attribute NAME: of the live device.
attribute() { cat "/sys/dev/block/$(dmsetup info -c --noheadings -o major,minor live)/preserve/$1"; }

# copied N: so many chunks of it have been copied, or what was measured is another thing.
copied() {
    copies=$(attribute preserved_chunks)
    [ "$copies" = "$1" ] || { echo "$copies copies, not $1" >&2; exit 1; }
}

# live STORE [no-snapshot]: a device with a fresh store, and a snapshot.
live() {
    args='1 transient'
    [ "$1" = transient ] || args=0
    null store "$((SIZE * 4))" memory_backed="$KEEPS"
    echo "0 $SECTORS preserve /dev/origin /dev/store 8 $args" | dmsetup create live
    [ -z "${2:-}" ] || return 0
    dmsetup message live 0 snapshot >/dev/null
    # What follows a snapshot in the background is not a part of this.
    dmsetup message live 0 checkpoint
}

gone() {
    dmsetup remove live
    null_gone store
}

# settled CASE STORE: all that is written is copied already.
settled() {
    wanted "$1" || return 0
    live "$2"
    load /dev/mapper/live write 8
    copied $((SIZE * 256))
    measure "$1" "$module" /dev/mapper/live write 8 4
    gone
}

# first CASE STORE DEPTH
first() {
    wanted "$1" || return 0
    live "$2"
    measure "$1" "$module" /dev/mapper/live write "$3"
    copied $((SIZE * 256))
    gone
}

# tracking CASE: no snapshot, so that writes are only marked.
tracking() {
    wanted "$1" || return 0
    live persistent no-snapshot
    measure "$1" "$module" /dev/mapper/live write 8
    copied 0
    gone
}

# unneeded CASE: first writes of chunks that are not protected.
unneeded() {
    wanted "$1" || return 0
    live persistent no-snapshot
    dmsetup message live 0 unprotect 0 "$SECTORS"
    dmsetup message live 0 snapshot >/dev/null
    dmsetup message live 0 checkpoint
    measure "$1" "$module" /dev/mapper/live write 8
    copied 0
    gone
}

# view CASE [copied]: reads of a snapshot, from the origin or from the store.
view() {
    wanted "$1" || return 0
    KEEPS=1
    live persistent
    KEEPS=0
    [ -z "${2:-}" ] || { load /dev/mapper/live write 8; copied $((SIZE * 256)); }
    echo "0 $SECTORS preserve-view /dev/mapper/live latest" | dmsetup create --readonly view
    measure "$1" "$module" /dev/mapper/view read 8
    dmsetup remove view
    gone
}

# of_module NAME: all cases with that module.
of_module() {
    module=$1
    insmod "/run/vm/$module.ko"
    if [ -n "$MARK" ]; then
        grep -F '[dm_preserve]' /proc/kallsyms |
            dd of=/dev/vda bs=1M iflag=fullblock conv=fsync 2>/dev/null
        mark
    fi
    settled settled persistent
    tracking tracking
    unneeded unneeded
    for kind in persistent transient; do
        for depth in 1 8 32; do
            first "first-$kind-$depth" "$kind" "$depth"
        done
    done
    view view-origin
    view view-copied copied
    rmmod dm_preserve
}

# anchors TARGET DEVICE
anchors() {
    for depth in 1 8 32; do
        measure anchor "$1" "$2" write "$depth"
    done
    # As many as of settled ones, so that starting has the same share in them.
    measure anchor "$1" "$2" write 8 4
    measure anchor "$1" "$2" read 8
}

KEEPS=0 round=0
null origin "$SIZE" memory_backed=0
SECTORS=$(blockdev --getsz /dev/origin)
if [ -z "$MARK" ]; then
    anchors raw /dev/origin
    echo "0 $SECTORS linear /dev/origin 0" | dmsetup create linear
    anchors linear /dev/mapper/linear
    dmsetup remove linear
fi
while [ "$round" -lt "$ROUNDS" ]; do
    round=$((round + 1))
    order=$MODULES
    if [ $((round % 2)) = 0 ]; then
        order=''
        for name in $MODULES; do order="$name $order"; done
    fi
    for name in $order; do
        of_module "$name"
    done
done
