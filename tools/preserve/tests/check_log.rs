// SPDX-License-Identifier: GPL-2.0

//! `check`: the log and the preserved contents. A torn tail is no damage, everything else is.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod store;

use serde_json::json;
use serde_json::Value;
use store::*;

#[track_caller]
fn assert_log(report: &Value, records: u64, end: &str, behind: u64) {
    let log = &report["log"];
    assert_eq!(
        (&log["records"], &log["end"], &log["behind"]),
        (&json!(records), &json!(end), &json!(behind)),
        "{report:#}"
    );
}

/// Seven records: snapshot, segment, copy of 5 to 7, copy of 2000, snapshot, segment, copy of 5
/// and 100.
#[test]
fn the_log_is_replayed() {
    let report = check(&mut full());
    assert_log(&report, 7, "clean", 0);
    assert_eq!(report["log"]["contents"], 6);
    assert_eq!(
        report["contents"],
        json!({ "good": 6, "bad": 0, "lost": 0, "unused": 0 })
    );
}

#[test]
fn guessed_marks_are_told() {
    let mut builder = full();
    builder.protect(0, 1000, false).unwrap();
    builder.snapshot().unwrap();
    // Of chunks 0 to 1023 the older snapshots need all but 5 and 100, which have been written since
    // both.
    builder.region(0).unwrap();
    assert_eq!(check(&mut builder)["log"]["guessed"], 2);
    for id in [1, 2] {
        builder.drop_snapshot(id).unwrap();
    }
    let report = check(&mut builder);
    assert_eq!(report["log"]["guessed"], 1000);
    let notes = report["notes"].as_array().unwrap();
    let told = |note: &Value| note.as_str().unwrap().contains("1000 chunks");
    assert!(notes.iter().any(told), "{notes:?}");
}

/// The last record's content did not reach the disk.
#[test]
fn a_torn_tail_is_no_damage() {
    let mut builder = full();
    let last = builder.copy(&[(300, 1), (301, 2)]).unwrap();
    builder.block(last + 2).fill(0);
    let report = check(&mut builder);
    assert_log(&report, 7, "torn", 1);
    assert_eq!(report["contents"]["unused"], 2);
    let note = report["notes"][0].as_str().unwrap();
    assert!(note.contains("torn off at record 8"), "{note}");

    // The header itself.
    let mut builder = full();
    let last = builder.copy(&[(300, 1)]).unwrap();
    flip(&mut builder, last, 1000);
    assert_log(&check(&mut builder), 7, "clean", 0);
}

/// One of several records in flight is missing; those behind it prove nothing.
#[test]
fn a_hole_among_records_in_flight_is_no_damage() {
    let mut builder = full();
    builder.in_flight = 3;
    let hole = builder.copy(&[(300, 1)]).unwrap();
    builder.copy(&[(301, 1)]).unwrap();
    builder.region(3).unwrap();
    builder.block(hole).fill(0);
    assert_log(&check(&mut builder), 7, "torn", 2);
}

#[test]
fn damage_in_the_middle_of_the_log_is_found() {
    // A record with entries.
    let mut builder = full();
    let middle = builder.drop_snapshot(2).unwrap();
    let proof = builder.region(3).unwrap();
    builder.block(middle).fill(0);
    assert_damage(
        &mut builder,
        "log",
        &format!("record 8, in block {middle} or"),
    );
    assert_damage(
        &mut builder,
        "log",
        &format!("record 9 in block {proof} proves"),
    );
    assert_log(&check(&mut builder), 7, "damaged", 1);
    // A record's contents.
    let mut builder = full();
    let middle = builder.copy(&[(300, 1), (301, 2)]).unwrap();
    builder.region(3).unwrap();
    flip(&mut builder, middle + 1, 17);
    assert_damage(
        &mut builder,
        "log",
        &format!("or {middle}, is missing or damaged"),
    );
    let said = run(&["check"], builder.bytes());
    assert!(said.out.contains("DAMAGE (log): record 8"), "{}", said.out);
    assert!(said.err.ends_with(": 1 damage found\n"), "{}", said.err);
}

/// The proof may be in a segment of which only a later record tells.
#[test]
fn proof_is_looked_for_in_later_segments() {
    let mut builder = full();
    let middle = builder.drop_snapshot(2).unwrap();
    // This one proves nothing.
    builder.in_flight = 1;
    builder.segment(2).unwrap();
    builder.in_flight = 0;
    let proof = builder.copy(&[(300, 1)]).unwrap();
    builder.block(middle).fill(0);
    let words = format!("record 10 in block {proof} proves");
    assert_damage(&mut builder, "log", &words);
    assert_log(&check(&mut builder), 7, "damaged", 2);
}

#[test]
fn records_that_contradict_are_found() {
    // A segment that does not exist.
    let mut builder = full();
    let segments = builder.segments();
    builder.segment(segments).unwrap();
    assert_damage(&mut builder, "log", "one of 8 from number 1");
    // An entry of a kind that nobody knows.
    let mut builder = full();
    let record = builder.drop_snapshot(1).unwrap();
    forge(&mut builder, record, |block| block[80] = 77);
    assert_damage(&mut builder, "log", &format!("the last in block {record}"));
}

#[test]
fn a_closed_store_has_no_log() {
    let mut builder = full();
    builder.close().unwrap();
    builder.region(3).unwrap();
    assert_damage(&mut builder, "log", "although the store was closed");
}

/// An earlier session's torn tail, written over in part, is not taken for the continuation.
#[test]
fn an_earlier_sessions_rest_does_not_matter() {
    let mut builder = full();
    builder.in_flight = 3;
    let torn = builder.copy(&[(300, 1), (301, 2)]).unwrap();
    builder.copy(&[(302, 1)]).unwrap();
    builder.copy(&[(303, 1)]).unwrap();
    builder.block(torn + 1).fill(0);
    assert_log(&check(&mut builder), 7, "torn", 3);
    builder.reopen().unwrap();
    let report = check(&mut builder);
    assert_log(&report, 0, "clean", 0);
    assert_eq!(report["contents"]["good"], 6);
    // As long as what was torn, so that the rest of the earlier session follows right behind it.
    builder.copy(&[(400, 1), (401, 2)]).unwrap();
    let report = check(&mut builder);
    assert_log(&report, 1, "clean", 0);
    assert_eq!(
        report["contents"],
        json!({ "good": 8, "bad": 0, "lost": 0, "unused": 0 })
    );
}

/// What a crash has torn, and was copied again to another place, does not count where it was.
#[test]
fn only_the_place_in_the_index_counts() {
    let mut builder = full();
    let torn = builder.copy(&[(300, 1)]).unwrap();
    builder.block(torn + 1).fill(0);
    builder.reopen().unwrap();
    builder.segment(2).unwrap();
    builder.copy(&[(300, 1)]).unwrap();
    let report = check(&mut builder);
    assert_eq!(
        report["contents"],
        json!({ "good": 7, "bad": 0, "lost": 0, "unused": 1 })
    );
}

#[test]
fn every_content_is_compared() {
    for n in [1, 2, 3, 5] {
        let mut builder = saved();
        let at = builder.segment_block(0) + n;
        flip(&mut builder, at, 4095);
        let text = format!("in epoch 2 (block {at}) is not what its checksum says");
        assert_damage(&mut builder, "contents", &text);
        let report = check(&mut builder);
        assert_eq!(
            report["contents"],
            json!({ "good": 5, "bad": 1, "lost": 0, "unused": 0 })
        );
    }
}

/// The whole chunk, not only its first block.
#[test]
fn large_chunks_are_compared_whole() {
    let mut builder = offline::builder::Builder::new(4096, 100 * 128 + 5, 128).unwrap();
    builder.snapshot().unwrap();
    builder.segment(2).unwrap();
    let header = builder.copy(&[(3, 1), (100, 2)]).unwrap();
    builder.checkpoint().unwrap();
    assert_eq!(check(&mut builder)["contents"]["good"], 2);
    flip(&mut builder, header + 32, 0);
    assert_damage(&mut builder, "contents", "chunk 100 in epoch 2");
}

#[test]
fn contents_without_a_record_are_lost() {
    // The first of two headers in a segment, and with it everything behind.
    let mut builder = saved();
    let start = builder.segment_block(0);
    flip(&mut builder, start, 50);
    let report = check(&mut builder);
    let contents = json!({ "good": 2, "bad": 0, "lost": 4, "unused": 0 });
    assert_eq!(report["contents"], contents);
    let what = report["damage"][0]["what"].as_str().unwrap();
    let expected = format!(
        "chunks 5+3 in epoch 2 (block {}) are behind block {start}, which should have a record",
        start + 1
    );
    assert_eq!(what, expected);
    // The second one.
    let mut builder = saved();
    builder.block(start + 4).fill(0);
    assert_damage(&mut builder, "contents", "chunks 2000+1 in epoch 2");
    // A header that is whole, of another epoch.
    let mut builder = saved();
    forge(&mut builder, start, |block| block[48] += 1);
    assert_eq!(check(&mut builder)["contents"], contents);
    // Or of another store.
    let mut builder = saved();
    forge(&mut builder, start, |block| block[16] += 1);
    assert_eq!(check(&mut builder)["contents"], contents);
    // A header that is whole, and has another chunk.
    let mut builder = saved();
    forge(&mut builder, start, |block| block[80] = 99);
    assert_damage(&mut builder, "contents", "chunks 5+1 in epoch 2");
    assert_eq!(check(&mut builder)["contents"]["unused"], 1);
}

/// Where an item of the checkpoint is: its block and the place of its data.
fn find_item(builder: &mut offline::builder::Builder, kind: u8, a: u64) -> (u64, usize) {
    let blocks = check(builder)["checkpoint"]["blocks"].as_u64().unwrap();
    let mut place = None;
    let mut skip = 0;
    for n in 0..blocks {
        let at = builder.image_block(n);
        let block = builder.block(at).to_vec();
        let mut offset = 56 + skip;
        while offset + 32 <= BLOCK {
            let head = &block[offset..offset + 32];
            if head[0] == kind && head[8..16] == a.to_le_bytes() {
                place = Some((at, offset + 32));
            }
            let len = u32::from_le_bytes(head[4..8].try_into().unwrap());
            offset += 32 + len as usize;
        }
        // Heads that are cut by a block's end are skipped: the test would not find its item.
        skip = offset.saturating_sub(BLOCK);
    }
    place.unwrap()
}

#[test]
fn a_segment_belongs_to_one_epoch() {
    let mut builder = saved();
    let (block, data) = find_item(&mut builder, 7, 3);
    forge(&mut builder, block, |block| {
        assert_eq!(block[data], 1);
        block[data] = 0;
    });
    let report = check(&mut builder);
    let damage = &report["damage"];
    assert_eq!(damage[0]["part"], "segments");
    assert_eq!(damage[0]["what"], "segment 0 belongs to epochs 2 and 3");
    let what = damage[1]["what"].as_str().unwrap();
    assert!(what.ends_with("in no segment of that epoch"), "{what}");
}

#[test]
fn one_damage_does_not_hide_another() {
    let mut builder = saved();
    let start = builder.segment_block(0);
    flip(&mut builder, start + 1, 0);
    flip(&mut builder, start + 3, 0);
    let other = builder.segment_block(1) + 2;
    flip(&mut builder, other, 0);
    flip(&mut builder, 0, 30);
    let report = check(&mut builder);
    assert_eq!(report["damages"], 4);
    assert_eq!(report["contents"]["bad"], 3);
}
