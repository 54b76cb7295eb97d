// SPDX-License-Identifier: GPL-2.0

//! The items of a checkpoint's image as lines.

#![forbid(unsafe_code)]

use zerocopy::little_endian::U64;

use super::line::Line;
use dm_preserve_core::format::IndexEntry;
use dm_preserve_core::format::ItemKind;
use dm_preserve_core::format::SnapshotItem;
use dm_preserve_core::format::StateItem;
use dm_preserve_core::format::FLAG_BOOKMARK;
use dm_preserve_core::format::FLAG_INCREMENTAL;
use dm_preserve_core::format::FLAG_KEEP_UNPROTECTED;
use dm_preserve_core::format::FLAG_NARROWED;
use dm_preserve_core::format::POSITION_BITS;
use dm_preserve_core::store::Item;

/// An item as a line; what is in it that does not parse is left out.
pub(super) fn line(item: &Item<'_>) -> Line {
    let [a, b, c] = item.words;
    match item.kind {
        ItemKind::Bitmap => Line::new("bitmap").with("number", a).with("bits", b),
        ItemKind::Leaf => Line::new("leaf")
            .with("number", a)
            .with("leaf", b)
            .with("set", leaf_bits(item)),
        ItemKind::Designation => Line::new("designation")
            .with("number", a)
            .with("default_protected", b == 1)
            .with("stretches", c),
        ItemKind::Stretch if item.data.is_empty() => Line::new("stretch")
            .with("number", a)
            .with("stretch", b)
            .with("protected", c == 1),
        ItemKind::Stretch => Line::new("stretch")
            .with("number", a)
            .with("stretch", b)
            .with("set", set_bits(item)),
        ItemKind::Epoch => Line::new("epoch")
            .with("epoch", a)
            .with("marks", b)
            .with("copies", c == 1),
        ItemKind::Index => Line {
            parts: runs(item),
            ..Line::new("index").with("epoch", a)
        },
        ItemKind::Segments => Line::new("segments")
            .with("epoch", a)
            .with("segments", words(item)),
        ItemKind::Snapshot => snapshot(item),
        ItemKind::State => state(item),
        ItemKind::End => Line::new("end"),
    }
}

/// Bits set in a leaf, whose words may be pairs of place and word.
fn leaf_bits(item: &Item<'_>) -> u64 {
    match item.words[2] {
        0 => set_bits(item),
        _ => {
            let pairs = item.array::<[U64; 2]>().into_iter().flatten();
            pairs
                .map(|[_, word]| u64::from(word.get().count_ones()))
                .sum()
        }
    }
}

fn words(item: &Item<'_>) -> Vec<u64> {
    let words = item.array::<U64>().into_iter().flatten();
    words.map(U64::get).collect()
}

fn set_bits(item: &Item<'_>) -> u64 {
    let words = words(item);
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

fn runs(item: &Item<'_>) -> Vec<Line> {
    let entries = item.array::<IndexEntry>().into_iter().flatten();
    let line = |entry: IndexEntry| {
        let len_position = entry.len_position.get();
        Line::new("run")
            .with("chunk", entry.chunk.get())
            .with("len", len_position >> POSITION_BITS)
            .with("block", len_position & ((1 << POSITION_BITS) - 1))
    };
    entries.map(line).collect()
}

fn snapshot(item: &Item<'_>) -> Line {
    let [id, time_ns, epoch] = item.words;
    let line = Line::new("snapshot").with("id", id);
    let Ok((saved, scope)) = item.prefix::<SnapshotItem>() else {
        return line;
    };
    let has = |flag: u64| saved.flags.get() & flag != 0;
    let line = line
        .with("time_ns", time_ns)
        .with("epoch", epoch)
        .with("bookmark", has(FLAG_BOOKMARK))
        .with("keep_unprotected", has(FLAG_KEEP_UNPROTECTED))
        .with("sectors", saved.sectors.get())
        .with("designation", saved.designation.get())
        .with("released", saved.released.get());
    if !has(FLAG_INCREMENTAL) {
        return line;
    }
    let scope = Item {
        data: scope,
        ..*item
    };
    line.with("narrowed", has(FLAG_NARROWED))
        .with("base", saved.base.get())
        .with("base_designation", saved.base_designation.get())
        .with("base_chunks", saved.base_chunks.get())
        .with("scope", words(&scope))
}

fn state(item: &Item<'_>) -> Line {
    let line = Line::new("state");
    let Ok((state, _)) = item.prefix::<StateItem>() else {
        return line;
    };
    line.with("sequence", state.sequence.get())
        .with("ring", state.ring.get())
        .with("content", state.content.get())
        .with("content_end", state.content_end.get())
        .with("previous", format!("{:08x}", state.previous.get()))
        .with("next", state.next.get())
        .with("period", state.period.get())
        .with("next_id", state.next_id.get())
        .with("sectors", state.sectors.get())
        .with("began", state.began.get())
        .with("before", state.before.get())
        .with("designation", state.designation.get())
}
