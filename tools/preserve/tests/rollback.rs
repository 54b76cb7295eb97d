// SPDX-License-Identifier: GPL-2.0

//! `rollback` and `check --repair` as scripts see them: exit codes, what is said, and what is
//! written.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod store;

use std::fs;
use std::process::Command;

use offline::builder::Builder;
use serde_json::Value;
use store::*;

const ORIGIN: usize = 5000 * BLOCK;

/// Store and origin in files.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(builder: &mut Builder, origin: &[u8]) -> Self {
        let files = Files {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::write(files.path("store"), builder.bytes()).unwrap();
        fs::write(files.path("origin"), origin).unwrap();
        files
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_string()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn run(&self, args: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_preserve"))
            .args(args)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn roll(&self, args: &[&str]) -> Said {
        let (origin, store) = (self.path("origin"), self.path("store"));
        let first = ["rollback", "--origin", &origin, "--store", &store];
        self.run(&[&first, args].concat())
    }

    /// It ends with this code and words, and writes nothing.
    #[track_caller]
    fn refuses(&self, args: &[&str], code: i32, words: &str) {
        let before = (self.read("store"), self.read("origin"));
        let said = self.roll(args);
        assert_eq!(said.code, code, "{}", said.err);
        assert!(said.err.contains(words), "{:?} has no {words:?}", said.err);
        assert!(before == (self.read("store"), self.read("origin")));
    }
}

/// See `store::full`: what the origin has by now, a 99 where it was overwritten.
fn origin() -> Vec<u8> {
    let mut origin = vec![0; ORIGIN];
    for chunk in [5, 6, 7, 2000, 100] {
        origin[chunk * BLOCK..(chunk + 1) * BLOCK].fill(99);
    }
    origin
}

fn filled(origin: &[u8], chunk: usize, fill: u8) -> bool {
    let mut chunk = origin[chunk * BLOCK..(chunk + 1) * BLOCK].iter();
    chunk.all(|byte| *byte == fill)
}

#[test]
fn a_rollback() {
    let mut builder = full();
    builder.close_over(&origin()).unwrap();
    let files = Files::new(&mut builder, &origin());
    files.refuses(&["1"], 2, "give --yes");
    files.refuses(&["1"], 2, "these newer snapshots end: 2\n");
    let said = files.roll(&["1", "--dry-run"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("5 chunks (20.00 KiB)"), "{}", said.out);
    assert!(files.read("origin") == origin());
    let said = files.roll(&["1", "--yes", "--json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    for (name, value) in [
        ("snapshot", 1),
        ("chunks", 5),
        ("unchanged", 4995),
        ("gone", 0),
    ] {
        assert_eq!(report[name], value, "{name}");
    }
    assert_eq!(report["done"], true);
    assert_eq!(report["ending_snapshots"], serde_json::json!([2]));
    let now = files.read("origin");
    for (chunk, fill) in [(5, 1), (6, 2), (7, 3), (2000, 4), (100, 12), (8, 0)] {
        assert!(filled(&now, chunk, fill), "{chunk}");
    }
    let said = files.run(&["check", "--json", &files.path("store")]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["clean"], true, "{report:#}");
    assert_eq!(report["snapshots"].as_array().unwrap().len(), 1);
}

/// I1: what is unproven is brought back only by somebody's word, and that is then for all there is.
#[test]
fn i1_an_unproven_snapshot_needs_a_word() {
    let mut left_open = full();
    left_open.continue_on_error().unwrap();
    let mut doubted = full();
    doubted.doubt(1).unwrap();
    doubted.close_over(&origin()).unwrap();
    for (builder, note) in [
        (&mut left_open, "it was not closed"),
        (&mut doubted, "up to 1 are unproven"),
    ] {
        let files = Files::new(builder, &origin());
        let store = files.path("store");
        let said = files.run(&["check", &store]);
        assert!(said.out.contains(note), "{}", said.out);
        files.refuses(&["1", "--yes"], 1, "snapshot 1 is unproven");
        files.refuses(&["1", "--dry-run"], 1, "snapshot 1 is unproven");
        let said = files.roll(&["1", "--yes", "--trust"]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(filled(&files.read("origin"), 5, 1));
        let said = files.run(&["check", "--json", &store]);
        let report: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(report["store"]["unproven_up_to"], Value::Null);
    }
    // Later ones are good.
    let files = Files::new(&mut doubted, &origin());
    assert_eq!(files.roll(&["2", "--yes"]).code, 0);
}

#[test]
fn exit_codes() {
    let mut builder = full();
    let files = Files::new(&mut builder, &origin());
    files.refuses(&["9", "--yes"], 3, "there is no snapshot 9");
    files.refuses(&["x"], 2, "neither a snapshot's id nor latest");
    let store = files.path("store");
    let both = ["rollback", "1", "--origin", &store, "--store", &store];
    assert_eq!(files.run(&both).code, 2);
    // A gone chunk, and then also a damaged one.
    builder.gone(8).unwrap();
    builder.checkpoint().unwrap();
    let files = Files::new(&mut builder, &origin());
    files.refuses(
        &["latest", "--yes"],
        4,
        "1 chunks of snapshot 2 are gone, and 0 damaged",
    );
    let at = builder.segment_block(1) + 1;
    flip(&mut builder, at, 7);
    let files = Files::new(&mut builder, &origin());
    files.refuses(&["latest", "--yes"], 4, "LOST: chunks 5+1 are damaged");
    assert_eq!(files.roll(&["latest", "--dry-run"]).code, 4);
    let said = files.roll(&["latest", "--yes", "--leave-lost"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let now = files.read("origin");
    assert!(filled(&now, 5, 99) && filled(&now, 100, 12));
    let mut builder = saved();
    flip(&mut builder, at, 7);
    let files = Files::new(&mut builder, &origin());
    files.refuses(
        &["latest", "--yes"],
        5,
        "1 contents of snapshot 2 are damaged",
    );
}

#[test]
fn a_repair() {
    let mut builder = saved();
    flip(&mut builder, 1, 100);
    let at = builder.segment_block(1) + 1;
    flip(&mut builder, at, 7);
    let files = Files::new(&mut builder, &origin());
    let store = files.path("store");
    assert_eq!(files.run(&["check", &store]).code, 5);
    assert!(
        files.read("store") == *builder.bytes(),
        "it was not asked to"
    );
    let said = files.run(&["check", "--repair", &store]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for line in [
        "repaired: superblock 1 was damaged: it is the same as superblock 0 again; nothing is \
         lost\n",
        "repaired: chunk 5 of epoch 3 is gone now, for snapshot 2\n",
        "clean\n",
    ] {
        assert!(said.out.contains(line), "{}", said.out);
    }
    assert_eq!(files.run(&["check", &store]).code, 0);
    // What cannot be repaired.
    let mut builder = saved();
    let image = builder.image_block(0);
    flip(&mut builder, image, 7);
    let files = Files::new(&mut builder, &origin());
    let store = files.path("store");
    let said = files.run(&["check", "--repair", "--json", &store]);
    assert_eq!(said.code, 5, "{}", said.out);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["repaired"], serde_json::json!([]));
    assert_eq!(report["damages"], 1);
    assert!(report["advice"][0]
        .as_str()
        .unwrap()
        .contains("begins anew"));
    assert!(files.read("store") == *builder.bytes());
    assert_eq!(
        files
            .run(&["check", "--repair", "--force-in-use", &store])
            .code,
        2
    );
}

/// A file system may be where a superblock was.
#[test]
fn a_foreign_superblock_is_not_repaired() {
    let mut builder = saved();
    builder.block(1).fill(0x55);
    let files = Files::new(&mut builder, &origin());
    let store = files.path("store");
    let said = files.run(&["check", "--repair", &store]);
    assert_eq!(said.code, 5, "{}", said.out);
    let advice = "\nnot repaired: block 1 has something that dm-preserve did not write";
    assert!(said.out.contains(advice), "{}", said.out);
    assert!(files.read("store") == *builder.bytes());
}

#[test]
fn a_repair_of_a_sound_store_changes_nothing() {
    let mut builder = saved();
    let files = Files::new(&mut builder, &origin());
    let said = files.run(&["check", "--repair", &files.path("store")]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.ends_with("\nclean\n"), "{}", said.out);
    assert!(files.read("store") == *builder.bytes());
}

/// Of two steps the second fails: the store may not be written behind its superblocks.
#[test]
fn a_failed_repair_says_what_it_did() {
    let mut builder = saved();
    flip(&mut builder, 1, 100);
    let at = builder.segment_block(1) + 1;
    flip(&mut builder, at, 7);
    for json in ["", "--json"] {
        let files = Files::new(&mut builder, &origin());
        let script = "trap '' XFSZ; ulimit -f 16; exec \"$@\"";
        let command = env!("CARGO_BIN_EXE_preserve");
        let mut args = vec!["-c", script, "sh", command, "check", "--repair"];
        args.extend(Some(json).filter(|json| !json.is_empty()));
        let store = files.path("store");
        let output = Command::new("sh").args(args).arg(&store).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let out = String::from_utf8(output.stdout).unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        let words = "contents could not be taken out of the index: cannot write block";
        assert!(err.contains(words), "{err}");
        let done = "superblock 1 was damaged: it is the same as superblock 0 again";
        if json.is_empty() {
            assert!(out.contains(&format!("repaired: {done}")), "{out}");
            continue;
        }
        let report: Value = serde_json::from_str(&out).unwrap();
        assert!(report["repaired"][0].as_str().unwrap().contains(done));
        assert!(report["failed"][0].as_str().unwrap().contains(words));
        assert_eq!(report["damages"], 1);
    }
}

/// Two that write to the same image would not know of each other.
#[test]
fn an_image_in_use_is_left_alone() {
    let mut builder = full();
    builder.close_over(&origin()).unwrap();
    let files = Files::new(&mut builder, &origin());
    let store = files.path("store");
    let words = "is in use by another preserve";
    let check = ["check", &store];
    for name in ["store", "origin"] {
        let image = fs::File::open(files.path(name)).unwrap();
        // As by a check.
        image.try_lock_shared().unwrap();
        files.refuses(&["1", "--yes"], 1, words);
        assert_eq!(files.roll(&["1", "--dry-run"]).code, 0);
        assert_eq!(files.run(&check).code, 0);
        image.unlock().unwrap();
        // As by a rollback.
        image.try_lock().unwrap();
        files.refuses(&["1", "--yes"], 1, words);
        files.refuses(&["1", "--dry-run"], 1, words);
        if name == "store" {
            let said = files.run(&check);
            assert_eq!(said.code, 1);
            assert!(said.err.contains(words) && said.err.contains("--force-in-use"));
            let repair = ["check", "--repair", &store];
            let said = files.run(&repair);
            assert_eq!(said.code, 1);
            assert!(said.err.contains(words), "{}", said.err);
            let force = ["check", "--force-in-use", &store];
            assert_eq!(files.run(&force).code, 0);
        }
    }
    assert!(files.read("store") == *builder.bytes());
    assert_eq!(files.roll(&["1", "--yes"]).code, 0);
}

/// Nothing is wrong with the store, but that must not be all that is said.
#[test]
fn a_rollback_under_way_is_said() {
    let mut builder = saved();
    for at in [0, 1] {
        forge(&mut builder, at, |block| {
            // The state, and the snapshot.
            block[88] = 4;
            block[184] = 2;
        });
    }
    let report = check(&mut builder);
    assert_eq!(report["store"]["state"], "rollback", "{report:#}");
    assert_eq!(report["store"]["rollback"], 2);
    let finish = "`preserve rollback 2 --origin ORIGIN --store STORE`";
    assert!(report["notes"][0].as_str().unwrap().contains(finish));
    let said = run(&["check"], builder.bytes());
    assert!(said.out.contains(finish), "{}", said.out);
    let last = "clean, but finish the rollback to snapshot 2\n";
    assert!(said.out.ends_with(last), "{}", said.out);
    // A repair leaves it as it is, too.
    let at = builder.segment_block(1) + 1;
    flip(&mut builder, at, 7);
    let files = Files::new(&mut builder, &origin());
    let said = files.run(&["check", "--repair", &files.path("store")]);
    assert_eq!(said.code, 5, "{}", said.out);
    assert!(said.out.contains("finish the rollback first"));
    assert!(files.read("store") == *builder.bytes());
}
