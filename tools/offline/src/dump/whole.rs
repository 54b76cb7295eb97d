// SPDX-License-Identifier: GPL-2.0

//! Everything in a store's metadata, one line each, as far as it can be read.

#![forbid(unsafe_code)]

use kernel::alloc::host;
use kernel::error::code::EUCLEAN;
use kernel::error::Error as Errno;
use uuid::Uuid;

use super::items;
use super::line::Line;
use crate::store::checkpoint;
use crate::store::supers;
use crate::store::supers::Seen;
use crate::store::Error;
use crate::store::Medium;
use crate::store::Progress;
use crate::store::Store;
use crate::store::MEMORY;
use dm_preserve_core::format::Entry;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::RawContent;
use dm_preserve_core::format::Record;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::KIND_CONTENTS;
use dm_preserve_core::format::SUPERBLOCKS;
use dm_preserve_core::store::LogReader;
use dm_preserve_core::store::Tail;

/// Hands every line to `out`, which may end the dump with an error. Lines of the kind `trouble` say
/// what could not be shown.
pub fn dump<E: From<Error>>(
    medium: impl Medium,
    progress: &dyn Progress,
    out: &mut dyn FnMut(Line) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    host::within(MEMORY, || dump_all(medium, progress, out))
}

fn dump_all<E: From<Error>>(
    medium: impl Medium,
    progress: &dyn Progress,
    out: &mut dyn FnMut(Line) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut store = Store::new(medium, progress)?;
    let pair = supers::read(&mut store)?;
    for (seen, at) in pair.iter().zip(SUPERBLOCKS) {
        out(superblock_line(seen, at))?;
    }
    let Some(superblock) = supers::choose(&pair)?.and_then(|i| pair[i].valid()) else {
        return out(trouble("both superblocks are damaged"));
    };
    let Some(layout) = Layout::from_superblock(superblock) else {
        return out(trouble("the layout cannot be"));
    };
    out(layout_line(&layout))?;
    if superblock.image_number.get() == 0 {
        return out(trouble("there is no checkpoint"));
    }
    let mut dump = Dump {
        store,
        superblock,
        layout,
        out,
    };
    dump.items()?;
    dump.log()
}

fn trouble(what: impl Into<String>) -> Line {
    Line::new("trouble").with("what", what.into())
}

fn superblock_line(seen: &Seen, at: u64) -> Line {
    let line = Line::new("superblock")
        .with("block", at)
        .with("status", seen.status());
    let superblock = match seen {
        Seen::Valid(superblock) => superblock,
        Seen::Unreadable(why) => return line.with("why", why.as_str()),
        Seen::Invalid(_) => return line,
    };
    line.with("sequence", superblock.sequence.get())
        .with("state", supers::state(superblock))
        .with("session", superblock.session.get())
        .with("store", Uuid::from_bytes(superblock.store).to_string())
        .with(
            "generation",
            Uuid::from_bytes(superblock.generation).to_string(),
        )
        .with("compatible", superblock.compatible.get())
        .with("read_only", superblock.read_only.get())
        .with("incompatible", superblock.incompatible.get())
        .with("chunk_sectors", superblock.chunk_sectors.get())
        .with("origin_sectors", superblock.origin_sectors.get())
        .with("image_number", superblock.image_number.get())
        .with("image_area", superblock.image_area.get())
        .with("image_used", superblock.image_used.get())
        .with("fingerprint", superblock.fingerprint.get())
        .with("rollback", superblock.rollback.get())
        .with("boot", Uuid::from_bytes(superblock.boot).to_string())
        .with("unproven", superblock.unproven.get())
        .with("on_error", supers::on_error(superblock))
}

fn layout_line(layout: &Layout) -> Line {
    Line::new("layout")
        .with("ring_start", layout.ring_start)
        .with("ring_blocks", layout.ring_blocks)
        .with("image_start", layout.image_start)
        .with("image_blocks", layout.image_blocks)
        .with("data_start", layout.data_start)
        .with("segment_blocks", layout.segment_blocks)
        .with("segments", layout.segments)
        .with("chunk_blocks", layout.chunk_blocks)
}

struct Dump<'a, 'o, E> {
    store: Store<'a>,
    superblock: &'o Superblock,
    layout: Layout,
    out: &'o mut dyn FnMut(Line) -> std::result::Result<(), E>,
}

impl<E: From<Error>> Dump<'_, '_, E> {
    /// What the module's code could not do, as a line if it is the store's fault.
    fn failed(&mut self, what: &str, error: Errno) -> std::result::Result<(), E> {
        match error {
            EUCLEAN => (self.out)(trouble(what)),
            error => {
                let why = self.store.explain(error);
                (self.out)(trouble(format!("{what}: {why}")))
            }
        }
    }

    /// The items of the checkpoint's image.
    fn items(&mut self) -> std::result::Result<(), E> {
        let damaged = "the checkpoint ends or breaks here";
        let (superblock, layout) = (self.superblock, self.layout);
        let reader = checkpoint::reader(&mut self.store, superblock, &layout);
        let failure = match reader {
            Err(error) => error,
            Ok(mut reader) => loop {
                match reader.next() {
                    Ok(None) => return Ok(()),
                    Ok(Some(item)) => (self.out)(items::line(&item))?,
                    Err(error) => break error,
                }
            },
        };
        self.failed(damaged, failure)
    }

    /// The records of the log from the checkpoint on, and what follows.
    fn log(&mut self) -> std::result::Result<(), E> {
        let known = checkpoint::load(&mut self.store, self.superblock, &self.layout);
        let place = match known {
            Ok(known) => known.place,
            Err(error) => {
                return self.failed("no sound checkpoint says where the log begins", error)
            }
        };
        let unreadable = "the log cannot be followed";
        let layout = self.layout;
        let mut log = match LogReader::new(self.superblock, &layout, place, 0) {
            Ok(log) => log,
            Err(error) => return self.failed(unreadable, error),
        };
        loop {
            match log.next(&mut self.store) {
                Ok(Some((block, record))) => (self.out)(record_line(&record, block, &layout))?,
                Ok(None) => break,
                Err(error) => return self.failed(unreadable, error),
            }
        }
        let (ring, content) = log.blocks();
        let end = Line::new("end")
            .with("sequence", log.place().sequence)
            .with("records", log.records())
            .with("ring_block", ring);
        let end = match content {
            Some(block) => end.with("content_block", block),
            None => end,
        };
        (self.out)(end)?;
        self.tail(&log.tail())
    }

    /// The records behind the end of the log.
    fn tail(&mut self, tail: &Tail<'_>) -> std::result::Result<(), E> {
        let mut lines = Vec::new();
        let visited = tail.visit(&mut self.store, &mut |block, record| {
            let line = Line::new("behind")
                .with("sequence", record.header.sequence.get())
                .with("block", block)
                .with("proves_damage", tail.is_proof(record));
            lines.push(line);
            false
        });
        match visited {
            Ok(_) => lines.into_iter().try_for_each(&mut *self.out),
            Err(error) => self.failed("the log cannot be followed", error),
        }
    }
}

fn record_line(record: &Record<'_>, block: u64, layout: &Layout) -> Line {
    let header = &record.header;
    let line = Line::new("record")
        .with("sequence", header.sequence.get())
        .with("block", block)
        .with("session", header.session.get())
        .with("durable", header.durable.get())
        .with("checksum", hex(record.checksum))
        .with("previous", hex(header.previous.get()));
    if header.kind.get() != KIND_CONTENTS {
        return Line {
            parts: record
                .raw_entries()
                .map(|raw| match Entry::from_raw(raw) {
                    Some(entry) => entry_line(entry),
                    None => Line::new("unknown").with("entry", raw.kind.get()),
                })
                .collect(),
            ..line
        };
    }
    // CAST: At most 256, as the layout is sound.
    let positions = (block + 1..).step_by(layout.chunk_blocks as usize);
    let content = |(content, at): (RawContent, u64)| {
        Line::new("content")
            .with("chunk", content.chunk.get())
            .with("block", at)
            .with("checksum", hex(content.checksum.get()))
    };
    Line {
        parts: record.contents().zip(positions).map(content).collect(),
        ..line.with("epoch", header.epoch.get())
    }
}

fn hex(checksum: u32) -> String {
    format!("{checksum:08x}")
}

fn entry_line(entry: Entry) -> Line {
    match entry {
        Entry::Segment { segment, epoch } => Line::new("segment")
            .with("segment", segment)
            .with("epoch", epoch),
        Entry::Epoch { epoch, sectors } => Line::new("epoch")
            .with("epoch", epoch)
            .with("sectors", sectors),
        Entry::Snapshot {
            id,
            time_ns,
            base,
            keep_unprotected,
            reset,
        } => Line::new("snapshot")
            .with("id", id)
            .with("time_ns", time_ns)
            .with("base", base)
            .with("keep_unprotected", keep_unprotected)
            .with(
                "reset",
                match reset {
                    None => "no",
                    Some(true) => "protected",
                    Some(false) => "unprotected",
                },
            ),
        Entry::DropUpTo(id) => Line::new("drop_up_to").with("id", id),
        Entry::Drop(id) => Line::new("drop").with("id", id),
        Entry::Forget(id) => Line::new("forget").with("id", id),
        Entry::Release(id, run) => Line::new("release")
            .with("id", id)
            .with("start", run.start)
            .with("end", run.end),
        Entry::Protect(run, protected) => Line::new("protect")
            .with("start", run.start)
            .with("end", run.end)
            .with("protected", protected),
        Entry::Narrow(id) => Line::new("narrow").with("id", id),
        Entry::Region {
            region,
            epoch,
            period,
        } => Line::new("region")
            .with("region", region)
            .with("epoch", epoch)
            .with("period", period),
        Entry::Gone { chunk, epoch } => Line::new("gone").with("chunk", chunk).with("epoch", epoch),
    }
}
