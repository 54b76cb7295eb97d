// SPDX-License-Identifier: GPL-2.0

//! The document's kinds of entries, with their words and flags, are those of the code.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromZeros;

use crate::tests::document::rows;
use dm_preserve_core::format::Entry;
use dm_preserve_core::format::RawEntry;
use dm_preserve_core::maps::Chunks;

/// A number for each name of a word, so that they can be told apart.
fn word(name: &str) -> u64 {
    let names = [
        "segment", "epoch", "sectors", "id", "time_ns", "base", "start", "end", "region", "period",
        "chunk",
    ];
    100 + names.iter().position(|known| *known == name).unwrap() as u64
}

/// An entry of each kind, made of those numbers. A new kind does not compile until it is here.
fn entry(name: &str, flags: bool) -> Entry {
    let run = Chunks {
        start: word("start"),
        end: word("end"),
    };
    let (segment, epoch, id) = (word("segment"), word("epoch"), word("id"));
    let all = [
        Entry::Segment { segment, epoch },
        Entry::Epoch {
            epoch,
            sectors: word("sectors"),
        },
        Entry::Snapshot {
            id,
            time_ns: word("time_ns"),
            base: word("base"),
            keep_unprotected: flags,
            reset: flags.then_some(true),
        },
        Entry::DropUpTo(id),
        Entry::Drop(id),
        Entry::Forget(id),
        Entry::Release(id, run),
        Entry::Protect(run, flags),
        Entry::Narrow(id),
        Entry::Region {
            region: word("region"),
            epoch,
            period: word("period"),
        },
        Entry::Gone {
            chunk: word("chunk"),
            epoch,
        },
    ];
    let named = |entry: &Entry| {
        name == match entry {
            Entry::Segment { .. } => "segment",
            Entry::Epoch { .. } => "epoch",
            Entry::Snapshot { .. } => "snapshot",
            Entry::DropUpTo(_) => "drop_up_to",
            Entry::Drop(_) => "drop",
            Entry::Forget(_) => "forget",
            Entry::Release(..) => "release",
            Entry::Protect(..) => "protect",
            Entry::Narrow(_) => "narrow",
            Entry::Region { .. } => "region",
            Entry::Gone { .. } => "gone",
        }
    };
    *all.iter().find(|entry| named(entry)).unwrap()
}

#[test]
fn entries() {
    let rows = rows("kind");
    for row in &rows {
        let raw = entry(row[1], false).to_raw();
        assert_eq!(raw.kind.get(), row[0].parse::<u32>().unwrap(), "{}", row[1]);
        let mut words: Vec<_> = row[2].split(' ').map(word).collect();
        words.resize(3, 0);
        assert_eq!(raw.words.map(U64::get), words[..], "{}", row[1]);
        assert_eq!(raw.flags.get(), 0, "{}", row[1]);
    }
    // The code knows no kind that the document has not.
    let mut raw = RawEntry::new_zeroed();
    for kind in 0..200 {
        raw.kind = U32::new(kind);
        let listed = rows.iter().any(|row| row[0] == kind.to_string());
        assert_eq!(Entry::from_raw(raw).is_some(), listed, "{kind}");
    }
}

#[test]
fn flags() {
    let mut sums: BTreeMap<&str, u32> = BTreeMap::new();
    for row in rows("flag") {
        let flag: u32 = row[0].parse().unwrap();
        *sums.entry(row[1]).or_default() += flag;
        let mut raw = entry(row[1], false).to_raw();
        // The default of a reset is only looked at together with it.
        raw.flags = U32::new(flag | if row[2] == "reset_protected" { 2 } else { 0 });
        let shows = match (row[2], Entry::from_raw(raw).unwrap()) {
            (
                "keep_unprotected",
                Entry::Snapshot {
                    keep_unprotected, ..
                },
            ) => keep_unprotected,
            ("reset", Entry::Snapshot { reset, .. }) => reset == Some(false),
            ("reset_protected", Entry::Snapshot { reset, .. }) => reset == Some(true),
            ("protected", Entry::Protect(_, protected)) => protected,
            other => panic!("{other:?}"),
        };
        assert!(shows, "{}", row[2]);
    }
    for row in rows("kind") {
        let all = entry(row[1], true).to_raw().flags.get();
        assert_eq!(all, sums.get(row[1]).copied().unwrap_or(0), "{}", row[1]);
    }
}
