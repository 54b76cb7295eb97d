// SPDX-License-Identifier: GPL-2.0

//! The C header says the same as `uapi/ioctl.rs`: a small C program, compiled from a list of names,
//! prints what C makes of the header, and the same list says what Rust makes of `uapi/ioctl.rs`.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::mem::offset_of;
use std::process::Command;

use preserve::device::ioctl::read_write;
use preserve::uapi;

const UAPI: &str = include_str!("../../../rust/uapi/ioctl.rs");
const INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../include/uapi");

/// C expressions and the values that Rust has for them.
type Facts = BTreeMap<String, u64>;

/// Size and offsets of a struct. The pattern does not compile when a field is missing here.
macro_rules! structure {
    ($facts:ident, $rust:ident = $c:literal { $($field:ident),* }) => {
        let uapi::$rust { $($field: _),* } = uapi::$rust::default();
        $facts.insert(
            format!("sizeof(struct dm_preserve_{})", $c),
            size_of::<uapi::$rust>() as u64,
        );
        $($facts.insert(
            format!("offsetof(struct dm_preserve_{}, {})", $c, stringify!($field)),
            offset_of!(uapi::$rust, $field) as u64,
        );)*
    };
}

macro_rules! constants {
    ($facts:ident, $($name:ident)*) => {
        $($facts.insert(
            concat!("DM_PRESERVE_", stringify!($name)).into(),
            u64::from(uapi::$name),
        );)*
    };
}

macro_rules! commands {
    ($facts:ident, $($name:ident = $nr:ident $rust:ident),* $(,)?) => {
        $($facts.insert(
            concat!("DM_PRESERVE_", stringify!($name)).into(),
            read_write(uapi::IOC_MAGIC, uapi::$nr, size_of::<uapi::$rust>() as u32) as u64,
        );)*
    };
}

fn facts() -> Facts {
    let mut facts = Facts::new();
    structures(&mut facts);
    constants!(facts, IOC_MAGIC NR_VERSION NR_SNAPSHOT NR_DROP NR_FORGET NR_EDIT NR_EXTENTS
        NR_READ NR_RELEASE NR_INFO NR_SNAPSHOT_INFO NR_WAIT NR_TRUST
        SCOPE_FULL SCOPE_INCREMENTAL SNAPSHOT_FREEZE EDIT_UNPROTECT
        ATTR_CHANGED ATTR_PROTECTED ATTR_PRESERVED ATTR_GONE KIND_DATA KIND_HOLE
        STATE_ACTIVE STATE_SUSPENDED STATE_BLOCKED STATE_FAILED KIND_SNAPSHOT KIND_BOOKMARK
        EVENT_SNAPSHOT EVENT_DROPPED EVENT_INVALID EVENT_LOW_SPACE EVENT_BLOCKED
        EVENT_GONE EVENT_DAMAGED EVENT_FAILED MAX_RANGES MAX_SNAPSHOTS);
    commands!(facts, VERSION = NR_VERSION Version, SNAPSHOT = NR_SNAPSHOT TakeSnapshot,
        DROP = NR_DROP SnapshotRef, FORGET = NR_FORGET SnapshotRef,
        EDIT = NR_EDIT EditRanges, EXTENTS = NR_EXTENTS ListExtents,
        READ = NR_READ ReadFrozen, RELEASE = NR_RELEASE ReleaseRange, INFO = NR_INFO Info,
        SNAPSHOT_INFO = NR_SNAPSHOT_INFO SnapshotInfo, WAIT = NR_WAIT WaitEvent,
        TRUST = NR_TRUST TrustStore);
    facts
}

fn structures(facts: &mut Facts) {
    structure!(facts, DeviceNumber = "device" { major, minor });
    structure!(facts, Version = "version" { size, flags, major, minor, patch, reserved, features });
    structure!(facts, SnapshotDevice = "snapshot_device" { device, base, id });
    structure!(facts, TakeSnapshot = "take_snapshot" {
        size, flags, devices, count, scope, keep, idle_ms, timeout_ms, reserved });
    structure!(facts, SnapshotRef = "snapshot_ref" { size, flags, device, id });
    structure!(facts, Range = "range" { start, len });
    structure!(facts, EditRanges = "edit_ranges" { size, flags, device, ranges, count, reserved });
    structure!(facts, Extent = "extent" { start, len, attributes, reserved });
    structure!(facts, ListExtents = "list_extents" {
        size, flags, device, from, to, start, mask, value, extents, capacity, count, next });
    structure!(facts, ReadFrozen = "read_frozen" {
        size, flags, device, id, start, sectors, buffer, kind, reserved });
    structure!(facts, ReleaseRange = "release_range" { size, flags, device, id, range });
    structure!(facts, Info = "info" {
        size, flags, device, generation, state, chunk_sectors, origin_sectors, store_sectors,
        store_used_sectors, latest, epoch, snapshots, bookmarks, changed_chunks, backup_chunks,
        protected_chunks, preserved_chunks, waited_writes, gone_chunks, invalidated, event,
        damaged_reads, unproven, store });
    structure!(facts, SnapshotInfo = "snapshot_info" {
        size, flags, device, id, time_ns, base, kind, scope, epoch, sectors });
    structure!(facts, TrustStore = "trust" { size, flags, device });
    structure!(facts, WaitEvent = "wait_event" { size, flags, device, event, timeout_ms, kinds });
}

/// What C says of the same expressions.
fn ask_c(facts: &Facts) -> Facts {
    let prints: String = facts
        .keys()
        .map(|e| format!("printf(\"%llu {e}\\n\", (unsigned long long)({e}));\n"))
        .collect();
    let program = format!(
        "#include <stddef.h>\n#include <stdio.h>\n#include \"dm-preserve.h\"\n\
         int main(void) {{\n{prints}return 0; }}\n"
    );
    let dir = tempfile::tempdir().unwrap();
    let (source, binary) = (dir.path().join("facts.c"), dir.path().join("facts"));
    std::fs::write(&source, program).unwrap();
    let compiler = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-I", INCLUDE, "-o"])
        .args([&binary, &source])
        .output()
        .unwrap();
    assert!(
        compiler.status.success(),
        "{}",
        String::from_utf8_lossy(&compiler.stderr)
    );
    let output = Command::new(&binary).output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(value, name)| (name.to_string(), value.parse().unwrap()))
        .collect()
}

#[test]
fn c_and_rust_agree() {
    let rust = facts();
    assert_eq!(ask_c(&rust), rust);
}

/// The lists above name everything there is.
#[test]
fn nothing_is_left_out() {
    let facts = facts();
    let named = |prefix: &str, end: char| -> BTreeSet<String> {
        UAPI.lines()
            .filter_map(|l| l.strip_prefix(prefix)?.split(end).next())
            .map(str::to_string)
            .collect()
    };
    for constant in named("pub const ", ':') {
        assert!(
            constant == "CONTROL_PATH" || facts.contains_key(&format!("DM_PRESERVE_{constant}")),
            "{constant}"
        );
    }
    let structs = facts
        .keys()
        .filter(|name| name.starts_with("sizeof"))
        .count();
    assert_eq!(named("pub struct ", ' ').len(), structs);
    let path = format!("DM_PRESERVE_CONTROL_PATH\t\"{}\"", uapi::CONTROL_PATH);
    assert!(std::fs::read_to_string(format!("{INCLUDE}/dm-preserve.h"))
        .unwrap()
        .contains(&path));
}

/// C has no field that Rust has not.
#[test]
fn c_has_nothing_more() {
    let header = std::fs::read_to_string(format!("{INCLUDE}/dm-preserve.h")).unwrap();
    let fields = header
        .lines()
        .filter(|l| l.starts_with("\t__u") || l.starts_with("\tstruct "))
        .count();
    assert_eq!(
        fields,
        facts()
            .keys()
            .filter(|name| name.starts_with("offsetof"))
            .count()
    );
}
