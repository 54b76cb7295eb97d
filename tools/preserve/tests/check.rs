// SPDX-License-Identifier: GPL-2.0

//! `check`: a sound store is clean, and every damage is found and named.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod store;

use serde_json::json;
use serde_json::Value;
use store::*;

fn preserved(report: &Value) -> Vec<(u64, &str, u64)> {
    let snapshots = report["snapshots"].as_array().unwrap();
    let each = snapshots.iter().map(|s| {
        let number = |name: &str| s[name].as_u64().unwrap();
        let kind = s["kind"].as_str().unwrap();
        (number("id"), kind, number("preserved_chunks"))
    });
    each.collect()
}

#[test]
fn sound_stores_are_clean() {
    for (mut builder, state, records) in [
        (empty(), "open", 0),
        (full(), "open", 7),
        (saved(), "open", 0),
        (
            {
                let mut builder = full();
                builder.close().unwrap();
                builder
            },
            "closed",
            0,
        ),
    ] {
        let report = check(&mut builder);
        assert_eq!(report["clean"], true, "{report:#}");
        assert_eq!(report["store"]["state"], state);
        assert_eq!(report["log"]["records"], records);
        assert_eq!(report["log"]["end"], "clean");
    }
}

/// The keys are what scripts rely on.
#[test]
fn the_report_as_json() {
    let mut report = check(&mut saved());
    let bytes = report["bytes"].take();
    assert_eq!(bytes, 2048 * 4096);
    assert_eq!(report["layout"]["used_segments"], 2);
    assert_eq!(
        report["superblocks"],
        json!([
            { "block": 0, "status": "valid", "sequence": 2, "counts": true },
            { "block": 1, "status": "valid", "sequence": 2, "counts": false },
        ])
    );
    assert_eq!(report["checkpoint"]["number"], 2);
    assert_eq!(
        report["log"],
        json!({
            "first": 8, "records": 0, "contents": 0, "guessed": 0, "end": "clean", "behind": 0,
        })
    );
    assert_eq!(
        report["epochs"],
        json!([
            { "id": 2, "marks": 4, "copies": 4, "segments": 1 },
            { "id": 3, "marks": 2, "copies": 2, "segments": 1 },
        ])
    );
    assert_eq!(
        report["snapshots"][0],
        json!({
            "id": 1, "kind": "snapshot",
            "time_ns": 1_000_000_000, "time": "1970-01-01T00:00:01.000Z",
            "scope": "full", "base": 0, "epoch": 2, "preserved_chunks": 5,
        })
    );
    assert_eq!(
        report["contents"],
        json!({ "good": 6, "bad": 0, "lost": 0, "unused": 0 })
    );
    assert_eq!(
        report["store"],
        json!({
            "uuid": "07070707-0707-0707-0707-070707070707",
            "generation": "08080808-0808-0808-0808-080808080808",
            "state": "open", "rollback": null, "session": 1,
            "chunk_bytes": 4096, "origin_sectors": 40000,
            "boot": "00000000-0000-0000-0000-000000000000",
            "on_error": "block", "unproven_up_to": null,
        })
    );
}

/// A snapshot has what later epochs copied too; a bookmark has nothing, an incremental one its
/// base.
#[test]
fn snapshots_are_listed() {
    let mut builder = full();
    builder.incremental(2).unwrap();
    builder.drop_snapshot(1).unwrap();
    let report = check(&mut builder);
    assert_eq!(
        preserved(&report),
        [(1, "bookmark", 0), (2, "snapshot", 2), (3, "snapshot", 0)]
    );
    assert_eq!(report["snapshots"][2]["scope"], "incremental");
    assert_eq!(report["snapshots"][2]["base"], 2);
    let text = run(&["check"], builder.bytes()).out;
    for line in [
        "bookmark 1: 1970-01-01T00:00:01.000Z, full, epoch 2\n",
        "snapshot 2: 1970-01-01T00:00:02.000Z, full, epoch 3, 2 chunks preserved\n",
        "snapshot 3: 1970-01-01T00:00:03.000Z, incremental from 2, epoch 4, 0 chunks preserved\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.ends_with("clean\n"), "{text}");
}

#[test]
fn what_is_no_store_is_said_so() {
    for (bytes, words) in [
        (vec![0; 1 << 20], "is blank: no store has been made"),
        (vec![0x55; 1 << 20], "is not a store of dm-preserve"),
        (Vec::new(), "is not a store of dm-preserve"),
        (vec![0x55; 100], "is not a store of dm-preserve"),
    ] {
        for command in ["check", "dump"] {
            let said = run(&[command], &bytes);
            assert_eq!(said.code, 2, "{}", said.err);
            assert!(said.err.contains(words), "{}", said.err);
        }
    }
}

#[test]
fn a_later_version_is_refused() {
    for (byte, what) in [(12, "version"), (32, "incompatible feature")] {
        let mut builder = saved();
        for at in [0, 1] {
            forge(&mut builder, at, |block| block[byte] = 2);
        }
        let said = run(&["check"], builder.bytes());
        assert_eq!(said.code, 1, "{what}");
        assert!(said.err.contains("later version"), "{what}: {}", said.err);
    }
}

#[test]
fn each_superblock_is_looked_at() {
    for at in [0, 1] {
        // A reader that only takes the later one would see nothing of this.
        let mut builder = saved();
        flip(&mut builder, at, 100);
        assert_damage(
            &mut builder,
            "superblock",
            &format!("superblock {at} is damaged"),
        );
        builder.block(at).fill(0);
        assert_damage(&mut builder, "superblock", "is blank");
        builder.block(at).fill(0x55);
        assert_damage(&mut builder, "superblock", "is foreign");
    }
    let mut builder = saved();
    flip(&mut builder, 0, 100);
    flip(&mut builder, 1, 100);
    assert_damage(&mut builder, "superblock", "both superblocks are damaged");
}

#[test]
fn superblocks_that_disagree_are_found() {
    let mut builder = saved();
    forge(&mut builder, 1, |block| block[48] = 9);
    assert_damage(&mut builder, "superblock", "different stores");
    let mut builder = saved();
    forge(&mut builder, 1, |block| block[112] ^= 1);
    assert_damage(&mut builder, "superblock", "where things are");
    let mut builder = saved();
    // With another fingerprint.
    forge(&mut builder, 1, |block| block[172] = 1);
    assert_damage(&mut builder, "superblock", "same number");
}

/// The power went between the two superblocks of a checkpoint.
#[test]
fn an_older_superblock_is_no_damage() {
    for at in [0, 1] {
        let mut builder = full();
        let old = builder.block(at).to_vec();
        builder.checkpoint().unwrap();
        builder.block(at).copy_from_slice(&old);
        let report = check(&mut builder);
        assert_eq!(report["clean"], true, "{report:#}");
        assert_eq!(report["checkpoint"]["number"], 2);
        assert_eq!(report["superblocks"][at as usize]["counts"], false);
        let note = report["notes"][0].as_str().unwrap();
        assert!(note.contains("between the two"), "{note}");
    }
}

#[test]
fn a_broken_store_is_not_clean() {
    let mut builder = saved();
    builder.give_up().unwrap();
    assert_damage(&mut builder, "superblock", "tracking is broken");
    assert_eq!(check(&mut builder)["store"]["state"], "broken");
}

#[test]
fn a_layout_that_cannot_be_is_found() {
    let mut builder = saved();
    for at in [0, 1] {
        // The segments begin within the ring.
        forge(&mut builder, at, |block| {
            block[136..144].copy_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0])
        });
    }
    assert_damage(&mut builder, "layout", "cannot be");
}

#[test]
fn a_store_that_lost_its_end_is_found() {
    let mut builder = saved();
    let whole = builder.blocks() as usize * BLOCK;
    builder.bytes().truncate(whole - 1);
    assert_damage(&mut builder, "layout", "there are only");
    // So much that contents are missing too.
    let mut builder = empty();
    builder.snapshot().unwrap();
    builder.segment(1).unwrap();
    builder.copy(&[(5, 1), (6, 2)]).unwrap();
    builder.segment(0).unwrap();
    builder.copy(&[(7, 3)]).unwrap();
    builder.checkpoint().unwrap();
    let some = builder.segment_block(1) as usize * BLOCK;
    builder.bytes().truncate(some);
    let report = check(&mut builder);
    assert_eq!(
        report["contents"],
        json!({ "good": 1, "bad": 0, "lost": 2, "unused": 0 })
    );
    // So much that the log's end cannot be looked at.
    builder.bytes().truncate(some - BLOCK);
    let report = check(&mut builder);
    let note = report["notes"][0].as_str().unwrap();
    assert!(note.contains("ended early"), "{note}");
    // So much that nothing is left.
    builder.bytes().truncate(10 * BLOCK);
    assert_damage(&mut builder, "layout", "there are only 10");
}

#[test]
fn every_block_of_the_checkpoint_counts() {
    let blocks = check(&mut large())["checkpoint"]["blocks"]
        .as_u64()
        .unwrap();
    assert!(blocks > 2);
    for n in 0..blocks {
        let mut builder = large();
        let at = builder.image_block(n);
        flip(&mut builder, at, 2000);
        assert_damage(
            &mut builder,
            "checkpoint",
            &format!("block {n} of {blocks}"),
        );
    }
    // Of an earlier checkpoint.
    let mut builder = large();
    let at = builder.image_block(1);
    forge(&mut builder, at, |block| block[32] -= 1);
    assert_damage(&mut builder, "checkpoint", "belongs to another checkpoint");
}

/// The blocks are whole, what is in them is not.
#[test]
fn items_that_cannot_be_are_found() {
    let mut builder = saved();
    let at = builder.image_block(0);
    // The first item, a bitmap, says that it is number 1.
    forge(&mut builder, at, |block| block[64] = 1);
    assert_damage(&mut builder, "checkpoint", "contradict");
    let mut builder = saved();
    let at = builder.image_block(0);
    forge(&mut builder, at, |block| block[56] = 99);
    assert_damage(&mut builder, "checkpoint", "breaks at item 0");
}
