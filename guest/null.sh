# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Sourced by the measurements: devices that cost nothing themselves.

# null NAME MIB [ATTRIBUTE=VALUE]...: a null_blk device that keeps its data and completes inline.
null() {
    d=/sys/kernel/config/nullb/$1
    mkdir "$d"
    echo "$2" >"$d/size"
    echo 1 >"$d/memory_backed"
    echo 0 >"$d/irqmode"
    echo 2 >"$d/queue_mode"
    echo 512 >"$d/blocksize"
    echo 256 >"$d/hw_queue_depth"
    name=$1
    shift 2
    for attribute; do
        echo "${attribute#*=}" >"$d/${attribute%%=*}"
    done
    echo 1 >"$d/power"
    [ -b "/dev/$name" ] || { echo "no /dev/$name" >&2; exit 1; }
}

# null_gone NAME: removes it, with all that it keeps.
null_gone() {
    echo 0 >"/sys/kernel/config/nullb/$1/power"
    rmdir "/sys/kernel/config/nullb/$1"
}

# counters NAME: what the driver of a device counted: reads, their sectors, writes, their sectors, flushes.
counters() {
    # shellcheck disable=SC2034 # the columns between
    read -r reads _ read_sectors _ writes _ write_sectors _ _ _ _ _ _ _ _ flushes _ <"/sys/block/$1/stat"
    echo "$reads $read_sectors $writes $write_sectors $flushes"
}
