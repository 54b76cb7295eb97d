// SPDX-License-Identifier: GPL-2.0

//! `dump`: every superblock, item and record has its line, as far as they can be read.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod store;

use serde_json::json;
use serde_json::Value;
use store::*;

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

#[test]
fn everything_has_its_line() {
    let mut builder = saved();
    builder.drop_snapshot(1).unwrap();
    builder.segment(2).unwrap();
    let header = builder.copy(&[(9, 1), (10, 2)]).unwrap();
    let lines = dump(&mut builder);
    let supers = of_kind(&lines, "superblock");
    assert_eq!(
        (&supers[0]["sequence"], &supers[1]["sequence"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(of_kind(&lines, "layout").len(), 1);
    assert_eq!(of_kind(&lines, "state")[0]["sequence"], 8);
    assert_eq!(
        *of_kind(&lines, "epoch")[0],
        json!({ "kind": "epoch", "epoch": 2, "marks": 0, "copies": true })
    );
    assert_eq!(of_kind(&lines, "segments")[1]["segments"], json!([1]));
    let runs = of_kind(&lines, "index")[0]["parts"].as_array().unwrap();
    let start = builder.segment_block(0);
    assert_eq!(
        runs[0],
        json!({ "kind": "run", "chunk": 5, "len": 3, "block": start + 1 })
    );
    assert_eq!(of_kind(&lines, "leaf")[0]["set"], 4);
    assert_eq!(of_kind(&lines, "snapshot")[1]["id"], 2);

    let records = of_kind(&lines, "record");
    assert_eq!(records.len(), 3);
    assert_eq!(records[0]["parts"], json!([{ "kind": "drop", "id": 1 }]));
    assert_eq!(records[1]["parts"][0]["segment"], 2);
    assert_eq!(records[2]["block"], header);
    assert_eq!(records[2]["epoch"], 3);
    assert_eq!(records[2]["parts"][1]["chunk"], 10);
    assert_eq!(records[2]["parts"][1]["block"], header + 2);
    assert_eq!(records[2]["previous"], records[1]["checksum"]);
    assert_eq!(of_kind(&lines, "end")[0]["sequence"], 11);
    assert!(of_kind(&lines, "trouble").is_empty());
}

/// The same as text, a line each; parts are indented.
#[test]
fn the_text_has_the_same_lines() {
    let mut builder = saved();
    builder.drop_snapshot(1).unwrap();
    let text = run(&["dump"], builder.bytes()).out;
    let count = text.lines().filter(|line| !line.starts_with(' ')).count();
    assert_eq!(count, dump(&mut builder).len());
    let mut record = text
        .lines()
        .skip_while(|line| !line.starts_with("record sequence=8 "));
    assert_eq!(record.nth(1), Some("  drop id=1"));
}

#[test]
fn each_kind_of_entry_is_shown() {
    let mut builder = full();
    builder.protect(1, 4, false).unwrap();
    builder.release(1, 5, 7).unwrap();
    builder.incremental(2).unwrap();
    builder.narrow(3).unwrap();
    builder.drop_snapshot(1).unwrap();
    builder.forget(1).unwrap();
    builder.region(3).unwrap();
    builder.gone(77).unwrap();
    let lines = dump(&mut builder);
    let parts = of_kind(&lines, "record").into_iter();
    let parts = parts.flat_map(|r| r["parts"].as_array().unwrap()).skip(12);
    assert_eq!(
        parts.cloned().collect::<Vec<_>>(),
        [
            json!({ "kind": "protect", "start": 1, "end": 4, "protected": false }),
            json!({ "kind": "release", "id": 1, "start": 5, "end": 7 }),
            json!({ "kind": "epoch", "epoch": 4, "sectors": 40000 }),
            json!({
                "kind": "snapshot", "id": 3, "time_ns": 3_000_000_000u64, "base": 2,
                "keep_unprotected": false, "reset": "no",
            }),
            json!({ "kind": "narrow", "id": 3 }),
            json!({ "kind": "drop", "id": 1 }),
            json!({ "kind": "forget", "id": 1 }),
            json!({ "kind": "region", "region": 3, "epoch": 4, "period": 1 }),
            json!({ "kind": "gone", "chunk": 77, "epoch": 4 }),
        ]
    );
    // And as the checkpoint has it.
    builder.checkpoint().unwrap();
    let lines = dump(&mut builder);
    let snapshots = of_kind(&lines, "snapshot");
    assert_eq!(snapshots[1]["narrowed"], true);
    assert_eq!(snapshots[1]["base"], 2);
    let stretch = of_kind(&lines, "stretch")[0];
    assert_eq!(stretch["set"], 32768 - 3);
}

#[test]
fn what_can_be_read_of_a_damaged_store_is_shown() {
    // Behind the place where the log breaks.
    let mut builder = saved();
    let middle = builder.drop_snapshot(1).unwrap();
    let behind = builder.region(3).unwrap();
    flip(&mut builder, middle, 90);
    let lines = dump(&mut builder);
    let found = of_kind(&lines, "behind");
    assert_eq!(
        *found[0],
        json!({ "kind": "behind", "sequence": 9, "block": behind, "proves_damage": true })
    );
    // Up to the place where the checkpoint breaks.
    let mut builder = large();
    let at = builder.image_block(1);
    flip(&mut builder, at, 90);
    let lines = dump(&mut builder);
    assert!(!of_kind(&lines, "bitmap").is_empty());
    let trouble = of_kind(&lines, "trouble");
    assert_eq!(trouble.len(), 2, "{trouble:?}");
    assert!(of_kind(&lines, "state").is_empty());
    // Superblocks alone.
    let mut builder = saved();
    flip(&mut builder, 0, 90);
    flip(&mut builder, 1, 90);
    let lines = dump(&mut builder);
    assert_eq!(of_kind(&lines, "superblock")[1]["status"], "damaged");
    assert_eq!(of_kind(&lines, "trouble").len(), 1);
}
