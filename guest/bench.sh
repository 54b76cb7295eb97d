#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What a layer costs in instructions, in a guest that counts them (scripts/vm --icount: one instruction is one
# nanosecond of guest time). The devices complete at once, so guest time per I/O is instructions per I/O; a
# layer's cost is the difference to the bare device in the same run. Prints one JSON line per case.
set -eu
export DM_DISABLE_UDEV=1
# shellcheck source=guest/null.sh
. /run/vm/null.sh
SIZE=${SIZE:-256}   # MiB
insmod /lib/dm-preserve.ko

# measure CASE TARGET DEVICE: writes every block of the device once, in random order.
measure() {
    [ -b "$3" ] || { echo "no $3" >&2; exit 1; }
    fio --name=b --filename="$3" --rw=randwrite --bs=4k --direct=1 --ioengine=libaio --iodepth=8 --randrepeat=1 \
        --size="${SIZE}m" --eta=never --output-format=json --output=/tmp/fio.json
    # Sum of submission and completion latencies would count waiting; the job's run time is all there is.
    result=$(sed -n '/"write" :/,$p' /tmp/fio.json)
    ios=$(echo "$result" | sed -n 's/.*"total_ios" : \([0-9]*\),.*/\1/p' | head -n 1)
    ms=$(echo "$result" | sed -n 's/.*"runtime" : \([0-9]*\),.*/\1/p' | head -n 1)
    echo "{\"case\": \"$1\", \"target\": \"$2\", \"ios\": $ios, \"ns_per_io\": $((ms * 1000000 / ios))}"
}

null origin "$SIZE"
# A scattered content takes a header block more.
null store "$((SIZE * 3))"
SECTORS=$(blockdev --getsz /dev/origin)
measure fill raw /dev/origin
measure settled raw /dev/origin

echo "0 $SECTORS linear /dev/origin 0" | dmsetup create linear
measure settled linear /dev/mapper/linear
dmsetup remove linear

# preserve TARGET [ARG]: all cases of a live device with such a store.
preserve() {
    # A new store begins with zeroes.
    dd if=/dev/zero of=/dev/store bs=4k count=2 oflag=direct 2>/dev/null
    echo "0 $SECTORS preserve /dev/origin /dev/store 8 $(($# - 1)) ${2:-}" | dmsetup create live
    measure tracking "$1" /dev/mapper/live
    measure settled-no-snapshot "$1" /dev/mapper/live
    dmsetup message live 0 snapshot >/dev/null
    measure first "$1" /dev/mapper/live
    measure settled "$1" /dev/mapper/live
    # Many live snapshots; the first overwrite is for the newest of them. The first one's copies have gone by then.
    for _ in $(seq 65); do
        dmsetup message live 0 snapshot keep=64 >/dev/null
    done
    dmsetup message live 0 checkpoint
    measure first-64 "$1" /dev/mapper/live
    dmsetup message live 0 unprotect 0 "$SECTORS"
    dmsetup message live 0 snapshot >/dev/null
    measure unprotected "$1" /dev/mapper/live
    dmsetup status live >&2
    dmsetup remove live
}
preserve preserve
preserve preserve-transient transient

echo "0 $SECTORS snapshot-origin /dev/origin" | dmsetup create so
echo "0 $SECTORS snapshot /dev/origin /dev/store N 8" | dmsetup create sn
measure first snapshot-N /dev/mapper/so
measure settled snapshot-N /dev/mapper/so
dmsetup remove sn
# A persistent store begins with a header of zeroes.
dd if=/dev/zero of=/dev/store bs=4k count=1 oflag=direct 2>/dev/null
echo "0 $SECTORS snapshot /dev/origin /dev/store P 8" | dmsetup create sn
measure first snapshot-P /dev/mapper/so
measure settled snapshot-P /dev/mapper/so
