#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What it costs to activate a device whose store holds many scattered copies, made in random order: after a power cut, when all
# records since the last checkpoint are replayed, and after a clean shutdown, when the checkpoint is loaded. In a guest that
# counts instructions the time that the task has run is a count of them. An I/O of the store takes LATENCY nanoseconds, as in
# ios.sh, so the time that goes by tells how many follow one another. Prints one JSON line per case.
set -euo pipefail
export DM_DISABLE_UDEV=1
# shellcheck source=guest/null.sh
. /run/vm/null.sh
CHUNKS=${CHUNKS:-1000000} LATENCY=${LATENCY:-400000}
MIB=$((CHUNKS * 2 / 256 + 1))
insmod /lib/dm-preserve.ko

null empty "$MIB"
# Records are shared if several copies are under way; even if they were not, the store would do.
null disk "$((MIB * 3 / 2))" irqmode=2 "completion_nsec=$LATENCY"
SECTORS=$(blockdev --getsz /dev/empty)
STORE=$(blockdev --getsz /dev/disk)
# Reads as zeroes, and forgets what is written, so that it takes no memory.
echo "0 $SECTORS flakey /dev/empty 0 0 3600 1 drop_writes" | dmsetup create origin
echo "0 $STORE linear /dev/disk 0" | dmsetup create store
TABLE="0 $SECTORS preserve /dev/mapper/origin /dev/mapper/store 8 0"

# becomes TABLE: what the store is from now on.
becomes() {
    echo "$1" | dmsetup load store
    dmsetup suspend store
    dmsetup resume store
}

# activate CASE: until the first write is through, which waits for a checkpoint after a power cut.
activate() {
    local before after run write memory preserved
    before=$(counters disk)
    TIMEFORMAT='%R %U %S'
    run=$({ time { echo "$TABLE" | dmsetup create live; }; } 2>&1)
    after=$(counters disk)
    write=$({ time dd if=/dev/zero of=/dev/mapper/live bs=4k count=1 oflag=direct 2>/dev/null; } 2>&1)
    # shellcheck disable=SC2086 # numbers
    set -- "$1" $before $after $run $write
    memory=$(cat /sys/block/dm-*/preserve/memory_bytes)
    preserved=$(cat /sys/block/dm-*/preserve/preserved_chunks)
    [ "$preserved" -ge "$CHUNKS" ] || { echo "$1: only $preserved of $CHUNKS copies are there" >&2; exit 1; }
    echo "{\"activation\": \"$1\", \"preserved\": $preserved, \"instructions_s\": ${14}, \"seconds\": ${12}," \
        "\"reads\": $(($7 - $2)), \"read_sectors\": $(($8 - $3)), \"first_write_s\": ${15}, \"memory_bytes\": $memory}"
}

echo "$TABLE" | dmsetup create live
dmsetup message live 0 snapshot >/dev/null
dmsetup message live 0 checkpoint
# One chunk of two, so that hardly any are neighbours, in the store neither.
fio --name=fill --filename=/dev/mapper/live --rw=randwrite --bs=4k --direct=1 --ioengine=libaio --iodepth=32 \
    --randrepeat=1 --io_size="$((CHUNKS * 4))k" --eta=never --output-format=terse --output=/dev/null
dmsetup status live >&2
cat /sys/block/dm-*/preserve/memory_bytes >&2
# As after a power cut: of what is written from now on nothing arrives.
becomes "0 $STORE flakey /dev/disk 0 0 3600 1 drop_writes"
dmsetup remove live
becomes "0 $STORE linear /dev/disk 0"
activate power-cut
dmsetup remove live
activate clean
dmsetup status live >&2
