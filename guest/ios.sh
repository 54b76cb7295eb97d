#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# How many I/Os a first overwrite costs, as the drivers of origin and store count them: every block of a device is
# overwritten once, in random order. The devices have a volatile cache that must be flushed, with FUA, and take LATENCY
# nanoseconds for each I/O, so that several are under way: as 100 us would be where an instruction takes a quarter of a
# nanosecond, not a whole one. Prints one JSON line per case.
set -eu
export DM_DISABLE_UDEV=1
# shellcheck source=guest/null.sh
. /run/vm/null.sh
SIZE=${IOS_SIZE:-8} LATENCY=${LATENCY:-400000}   # SIZE in MiB
insmod /lib/dm-preserve.ko

# irqmode 2: completed by a timer.
null origin "$SIZE" irqmode=2 completion_nsec="$LATENCY" cache_size=1 fua=1
null store "$((SIZE * 4))" irqmode=2 completion_nsec="$LATENCY" cache_size=1 fua=1
SECTORS=$(blockdev --getsz /dev/origin)

# since BEFORE NAME: what was counted since then, as JSON.
since() {
    # shellcheck disable=SC2046,SC2086 # numbers
    set -- $1 $(counters "$2")
    printf '{"reads": %d, "read_sectors": %d, "writes": %d, "write_sectors": %d, "flushes": %d}' \
        $(($6 - $1)) $(($7 - $2)) $(($8 - $3)) $(($9 - $4)) $((${10} - $5))
}

# count TARGET DEVICE DEPTH
count() {
    origin=$(counters origin) store=$(counters store)
    fio --name=b --filename="$2" --rw=randwrite --bs=4k --direct=1 --ioengine=libaio --iodepth="$3" --randrepeat=1 \
        --size="${SIZE}m" --eta=never --output-format=terse --output=/dev/null
    echo "{\"counted\": \"first\", \"target\": \"$1\", \"depth\": $3, \"ios\": $((SECTORS / 8))," \
        "\"origin\": $(since "$origin" origin), \"store\": $(since "$store" store)}"
}

for depth in 1 32; do
    count raw /dev/origin "$depth"
done

# preserve TARGET [ARG]
preserve() {
    # A new store begins with zeroes.
    dd if=/dev/zero of=/dev/store bs=4k count=2 oflag=direct 2>/dev/null
    echo "0 $SECTORS preserve /dev/origin /dev/store 8 $(($# - 1)) ${2:-}" | dmsetup create live
    for depth in 1 32; do
        dmsetup message live 0 snapshot >/dev/null
        # What follows a snapshot in the background is not a part of this.
        dmsetup message live 0 checkpoint
        count "$1" /dev/mapper/live "$depth"
    done
    dmsetup remove live
}
preserve preserve
preserve preserve-transient transient

echo "0 $SECTORS snapshot-origin /dev/origin" | dmsetup create so
for kind in P N; do
    for depth in 1 32; do
        # A persistent store begins with a header of zeroes.
        dd if=/dev/zero of=/dev/store bs=4k count=1 oflag=direct 2>/dev/null
        echo "0 $SECTORS snapshot /dev/origin /dev/store $kind 8" | dmsetup create sn
        count "snapshot-$kind" /dev/mapper/so "$depth"
        dmsetup remove sn
    done
done
