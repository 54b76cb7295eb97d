// SPDX-License-Identifier: GPL-2.0

//! Makes stores in memory, with the module's code, for tests of what looks at them.
//!
//! Every step is a record, or a checkpoint of what recovery makes of the records so far.

#![forbid(unsafe_code)]

use kernel::error::code::EIO;
use kernel::error::Result;
use kernel::prelude::GFP_KERNEL;
use kernel::sync::Arc;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromZeros;

use crate::store::Copies;
use crate::store::Known;
use dm_preserve_core::format::crc32c;
use dm_preserve_core::format::Block;
use dm_preserve_core::format::Entry;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::ON_ERROR_BLOCK;
use dm_preserve_core::format::ON_ERROR_CONTINUE;
use dm_preserve_core::format::STATE_BROKEN;
use dm_preserve_core::format::STATE_CLOSED;
use dm_preserve_core::format::STATE_OPEN;
use dm_preserve_core::format::SUPERBLOCKS;
use dm_preserve_core::format::SUPERBLOCK_MAGIC;
use dm_preserve_core::history::Epoch;
use dm_preserve_core::history::Timeline;
use dm_preserve_core::maps::Bitmap;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Designation;
use dm_preserve_core::store::fingerprint::fingerprint;
use dm_preserve_core::store::recover;
use dm_preserve_core::store::save;
use dm_preserve_core::store::Disk;
use dm_preserve_core::store::ImageWriter;
use dm_preserve_core::store::LogEnd;
use dm_preserve_core::store::LogPosition;

/// A disk in memory.
struct Memory(Vec<u8>);

impl Memory {
    fn place(&mut self, block: u64, len: usize) -> Result<&mut [u8]> {
        let at = usize::try_from(block).map_err(|_| EIO)? * BLOCK_BYTES;
        self.0.get_mut(at..at + len).ok_or(EIO)
    }
}

impl Disk for Memory {
    fn read(&mut self, block: u64, out: &mut [u8]) -> Result {
        out.copy_from_slice(self.place(block, out.len())?);
        Ok(())
    }

    fn write(&mut self, block: u64, data: &[u8]) -> Result {
        self.place(block, data.len())?.copy_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> Result {
        Ok(())
    }
}

/// A store in the making, open unless it was closed.
pub struct Builder {
    disk: Memory,
    superblock: Superblock,
    layout: Layout,
    book: LogEnd,
    epoch: u64,
    next_id: u64,
    /// Of the device from the next snapshot on.
    sectors: u64,
    /// So many records before each one are still in flight when it is made.
    pub in_flight: u64,
}

/// A failure of the module's code, by its error number; never what the tests are about.
pub type Built<T> = std::result::Result<T, i32>;

fn built<T>(result: Result<T>) -> Built<T> {
    result.map_err(|e| e.to_errno())
}

impl Builder {
    /// A store of `blocks` blocks for a device of `sectors`, without a snapshot.
    pub fn new(blocks: u64, sectors: u64, chunk_sectors: u64) -> Built<Self> {
        let chunks = sectors.div_ceil(chunk_sectors);
        let layout = Layout::new(blocks, chunks, chunk_sectors).ok_or(-28)?;
        let mut superblock = Superblock::new_zeroed();
        superblock.store = [7; 16];
        superblock.generation = [8; 16];
        superblock.session = U64::new(1);
        superblock.state = U32::new(STATE_OPEN);
        // While it is open, what it has is proven.
        superblock.on_error = U32::new(ON_ERROR_BLOCK);
        // CAST: At most 2048.
        superblock.chunk_sectors = U32::new(chunk_sectors as u32);
        superblock.origin_sectors = U64::new(sectors);
        layout.store(&mut superblock);
        let place = LogPosition {
            sequence: 1,
            ..LogPosition::default()
        };
        // CAST: It is in memory.
        let bytes = vec![0; blocks as usize * BLOCK_BYTES];
        let mut builder = Self {
            disk: Memory(bytes),
            superblock,
            layout,
            book: LogEnd::new(superblock.store, 1, layout, place),
            epoch: 1,
            next_id: 1,
            sectors,
            in_flight: 0,
        };
        built(builder.format(chunks))?;
        Ok(builder)
    }

    fn format(&mut self, chunks: u64) -> Result {
        let first = Epoch {
            id: 1,
            marks: Arc::new(Bitmap::new(chunks)?, GFP_KERNEL)?,
            copies: None,
        };
        self.save(&Known {
            place: self.book.place(),
            next: 1,
            period: 1,
            next_id: 1,
            sectors: self.superblock.origin_sectors.get(),
            timeline: Arc::new(Timeline::new(first)?, GFP_KERNEL)?,
            designation: Arc::new(Designation::new(true), GFP_KERNEL)?,
        })
    }

    fn save(&mut self, known: &Known) -> Result {
        let number = self.superblock.image_number.get() + 1;
        // CAST: 0 or 1.
        let area = (number % 2) as u32;
        let store = self.superblock.store;
        let mut writer = ImageWriter::new(&mut self.disk, store, &self.layout, area, number)?;
        save::save(known, &mut writer)?;
        let used = writer.finish()?;
        self.superblock.image_number = U64::new(number);
        self.superblock.image_area = U32::new(area);
        self.superblock.image_used = U64::new(used);
        self.superblock.origin_sectors = U64::new(known.sectors);
        self.superblocks()
    }

    /// Writes both, with the same number.
    fn superblocks(&mut self) -> Result {
        let mut block = [0; BLOCK_BYTES];
        self.superblock.sequence += U64::new(1);
        self.superblock.to_block(&mut block);
        for at in SUPERBLOCKS {
            self.disk.write(at, &block)?;
        }
        Ok(())
    }

    /// What recovery makes of the store as it is.
    fn recovered(&mut self) -> Result<Known> {
        let maker = Copies::maker(&self.layout);
        let sectors = self.superblock.origin_sectors.get();
        let (disk, superblock) = (&mut self.disk, &self.superblock);
        let found = recover::recover(disk, superblock, &self.layout, sectors, &maker);
        found.ok().and_then(|(known, _)| known).ok_or(EIO)
    }

    fn record(&mut self, entries: &[Entry]) -> Built<u64> {
        let durable = self.durable();
        let mut block: Block = [0; BLOCK_BYTES];
        let formed = self.book.entries(entries, durable, 0, &mut block);
        let formed = formed.ok_or(-28)?;
        built(self.disk.write(formed.block, &block))?;
        Ok(formed.block)
    }

    fn durable(&self) -> u64 {
        self.book.place().sequence.saturating_sub(self.in_flight)
    }

    /// A snapshot; the others stay. Its id.
    pub fn snapshot(&mut self) -> Built<u64> {
        self.take(0)
    }

    /// A snapshot of what changed since `base`. Its id.
    pub fn incremental(&mut self, base: u64) -> Built<u64> {
        self.take(base)
    }

    fn take(&mut self, base: u64) -> Built<u64> {
        let id = self.next_id;
        self.record(&[
            Entry::Epoch {
                epoch: self.epoch + 1,
                sectors: self.sectors,
            },
            Entry::Snapshot {
                id,
                time_ns: id * 1_000_000_000,
                base,
                keep_unprotected: false,
                reset: None,
            },
        ])?;
        self.epoch += 1;
        self.next_id += 1;
        Ok(id)
    }

    /// Drops a snapshot. The record's block.
    pub fn drop_snapshot(&mut self, id: u64) -> Built<u64> {
        self.record(&[Entry::Drop(id)])
    }

    /// Forgets a bookmark. The record's block.
    pub fn forget(&mut self, id: u64) -> Built<u64> {
        self.record(&[Entry::Forget(id)])
    }

    /// Releases chunks of a snapshot. The record's block.
    pub fn release(&mut self, id: u64, start: u64, end: u64) -> Built<u64> {
        self.record(&[Entry::Release(id, Chunks { start, end })])
    }

    /// Protects or unprotects chunks. The record's block.
    pub fn protect(&mut self, start: u64, end: u64, on: bool) -> Built<u64> {
        self.record(&[Entry::Protect(Chunks { start, end }, on)])
    }

    /// Lets an incremental scope take effect. The record's block.
    pub fn narrow(&mut self, id: u64) -> Built<u64> {
        self.record(&[Entry::Narrow(id)])
    }

    /// Announces writes to a region. The record's block.
    pub fn region(&mut self, region: u64) -> Built<u64> {
        let period = 1;
        self.record(&[Entry::Region {
            region,
            epoch: self.epoch,
            period,
        }])
    }

    /// A chunk that cannot be read. The record's block.
    pub fn gone(&mut self, chunk: u64) -> Built<u64> {
        let epoch = self.epoch;
        self.record(&[Entry::Gone { chunk, epoch }])
    }

    /// The next contents go to a segment, whether it exists or not. The record's block.
    pub fn segment(&mut self, segment: u64) -> Built<u64> {
        let epoch = self.epoch;
        self.record(&[Entry::Segment { segment, epoch }])
    }

    /// Contents of chunks, each filled with a byte. The block of the record's header; the contents
    /// follow.
    pub fn copy(&mut self, contents: &[(u64, u8)]) -> Built<u64> {
        let bytes = self.layout.chunk_blocks as usize * BLOCK_BYTES;
        let filled = |fill: u8| vec![fill; bytes];
        let sums: Vec<_> = contents
            .iter()
            .map(|(chunk, fill)| (*chunk, crc32c(0, &filled(*fill))))
            .collect();
        let durable = self.durable();
        let mut block: Block = [0; BLOCK_BYTES];
        let formed = self.book.contents(self.epoch, &sums, durable, &mut block);
        let header = formed.ok_or(-28)?.block;
        built(self.disk.write(header, &block))?;
        let mut at = header + 1;
        for (_, fill) in contents {
            built(self.disk.write(at, &filled(*fill)))?;
            at += self.layout.chunk_blocks;
        }
        Ok(header)
    }

    /// A checkpoint of everything so far.
    pub fn checkpoint(&mut self) -> Built<()> {
        built(self.try_checkpoint())
    }

    fn try_checkpoint(&mut self) -> Result {
        let known = self.recovered()?;
        self.save(&known)?;
        self.book.trim(&known.place);
        Ok(())
    }

    /// What an activation does after a crash: the next session begins, with what recovery found.
    pub fn reopen(&mut self) -> Built<()> {
        built(self.try_reopen())
    }

    fn try_reopen(&mut self) -> Result {
        let mut known = self.recovered()?;
        let session = self.superblock.session.get() + 1;
        self.superblock.session = U64::new(session);
        self.superblock.state = U32::new(STATE_OPEN);
        known.place.previous = 0;
        self.save(&known)?;
        self.book = LogEnd::new(self.superblock.store, session, self.layout, known.place);
        Ok(())
    }

    /// A clean shutdown.
    pub fn close(&mut self) -> Built<()> {
        self.superblock.state = U32::new(STATE_CLOSED);
        self.checkpoint()
    }

    /// A clean shutdown over an origin with these bytes.
    pub fn close_over(&mut self, origin: &[u8]) -> Built<()> {
        let sectors = (origin.len() / 512) as u64;
        let sample = |start: u64, len: u64| {
            let start = start as usize * 512;
            let sample = origin.get(start..start + len as usize * 512);
            sample.map(|sample| crc32c(0, sample))
        };
        self.superblock.fingerprint = U32::new(fingerprint(sectors, sample));
        self.close()
    }

    /// The device has grown; the next snapshot says so.
    pub fn grow(&mut self, sectors: u64) {
        self.sectors = sectors;
    }

    /// The session lets writes go on if it fails so that not even a superblock says so.
    pub fn continue_on_error(&mut self) -> Built<()> {
        self.superblock.on_error = U32::new(ON_ERROR_CONTINUE);
        built(self.superblocks())
    }

    /// The module found snapshots and bookmarks up to `id` unproven.
    pub fn doubt(&mut self, id: u64) -> Built<()> {
        self.superblock.unproven = U64::new(id);
        built(self.superblocks())
    }

    /// The module gives up: writes passed that could not be logged.
    pub fn give_up(&mut self) -> Built<()> {
        self.superblock.state = U32::new(STATE_BROKEN);
        built(self.superblocks())
    }

    /// The store's bytes, for looking and for damage.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.disk.0
    }

    /// The bytes of a block.
    pub fn block(&mut self, block: u64) -> &mut [u8] {
        let at = block as usize * BLOCK_BYTES;
        self.disk.0.get_mut(at..at + BLOCK_BYTES).unwrap_or(&mut [])
    }

    /// Corrects the checksum of a block that was changed.
    pub fn reseal(&mut self, block: u64) {
        let block = self.block(block);
        if let Some(field) = block.get_mut(8..12) {
            field.fill(0);
        }
        // That of a superblock covers its first sector.
        let covered = match block.starts_with(&SUPERBLOCK_MAGIC) {
            true => block.get(..512).unwrap_or(block),
            false => block,
        };
        let checksum = crc32c(0, covered).to_le_bytes();
        if let Some(field) = block.get_mut(8..12) {
            field.copy_from_slice(&checksum);
        }
    }

    /// A block of the latest checkpoint.
    pub fn image_block(&self, n: u64) -> u64 {
        self.layout.image_block(self.superblock.image_area.get()) + n
    }

    /// The first block of a segment; blocks that the store needs if there is none.
    pub fn segment_block(&self, segment: u64) -> u64 {
        let start = self.layout.segment_start(segment);
        start.unwrap_or(self.layout.blocks())
    }

    /// Segments that there are.
    pub fn segments(&self) -> u64 {
        self.layout.segments
    }

    /// Blocks that the store needs.
    pub fn blocks(&self) -> u64 {
        self.layout.blocks()
    }
}
