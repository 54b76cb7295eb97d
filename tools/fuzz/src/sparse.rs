// SPDX-License-Identifier: GPL-2.0

//! A small store as an input, and back.
//!
//! ```text
//! flags (1 byte), { block's number (2 bytes), length (2), its first bytes }
//! ```
//!
//! What is not there is zero. The flags leave out what is put right otherwise: superblock 1 is a
//! copy of superblock 0 ([`ONE`]), records have the checksum of the one before ([`UNLINKED`]) and
//! those of their contents ([`TORN`]); a block has its checksum in any case.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use kernel::prelude::*;

use crate::input::Input;
use dm_preserve_core::format::crc32c;
use dm_preserve_core::format::Block;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::KIND_CONTENTS;
use dm_preserve_core::store::Disk;

/// Blocks of every such store.
pub(crate) const BLOCKS: u64 = 512;

const ONE: u8 = 1;
const UNLINKED: u8 = 2;
const TORN: u8 = 4;

const SUPERBLOCK: [u8; 8] = *b"dmprsv1S";
const RECORD: [u8; 8] = *b"dmprsv1R";
const IMAGE: [u8; 8] = *b"dmprsv1I";

/// Makes a block's checksum right, if it is one that has one.
pub(crate) fn reseal(block: &mut Block) {
    let covered = match block.first_chunk() {
        Some(&SUPERBLOCK) => 512,
        Some(&RECORD | &IMAGE) => BLOCK_BYTES,
        _ => return,
    };
    block[8..12].fill(0);
    let checksum = crc32c(0, &block[..covered]);
    block[8..12].copy_from_slice(&checksum.to_le_bytes());
}

fn u32_at(block: &Block, at: usize) -> u32 {
    block[at..]
        .first_chunk()
        .map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(block: &Block, at: usize) -> u64 {
    block[at..]
        .first_chunk()
        .map_or(0, |b| u64::from_le_bytes(*b))
}

/// The store. Writes are kept, so that recovery can be tried again after them.
#[derive(Clone, Default)]
pub(crate) struct Sparse(BTreeMap<u64, Box<Block>>);

impl Sparse {
    /// From an input.
    pub(crate) fn new(data: &[u8]) -> Self {
        let mut input = Input(data);
        let flags = input.byte();
        let mut store = Self::default();
        while !input.is_empty() {
            let at = u64::from(input.short()) % BLOCKS;
            let len = usize::from(input.short()).min(BLOCK_BYTES);
            let bytes = input.bytes(len);
            store.block(at)[..bytes.len()].copy_from_slice(bytes);
        }
        if flags & ONE == 0 {
            let superblock = *store.block(0);
            *store.block(1) = superblock;
        }
        store.0.values_mut().for_each(|block| reseal(block));
        store.relink(flags);
        store
    }

    fn block(&mut self, at: u64) -> &mut Block {
        self.0
            .entry(at)
            .or_insert_with(|| Box::new([0; BLOCK_BYTES]))
    }

    /// Makes the log one chain, in the order of its records' numbers.
    fn relink(&mut self, flags: u8) {
        let chunk_blocks = u64::from(u32_at(self.block(0), 92) / 8).clamp(1, 256);
        let records = self
            .0
            .iter()
            .filter(|(_, block)| block.starts_with(&RECORD));
        let mut order: Vec<_> = records.map(|(at, b)| (u64_at(b, 32), *at)).collect();
        order.sort_unstable();
        let mut previous = None;
        for (_, at) in order {
            let mut block = *self.block(at);
            if flags & TORN == 0 && u32_at(&block, 68) == KIND_CONTENTS {
                self.sum_contents(&mut block, at, chunk_blocks);
            }
            // 0 begins a session.
            let linked = flags & UNLINKED == 0 && u32_at(&block, 64) != 0;
            if let Some(previous) = previous.filter(|_| linked) {
                block[64..68].copy_from_slice(&u32::to_le_bytes(previous));
            }
            reseal(&mut block);
            previous = Some(u32_at(&block, 8));
            *self.block(at) = block;
        }
    }

    fn sum_contents(&self, record: &mut Block, at: u64, chunk_blocks: u64) {
        let count = u32_at(record, 72).min(240);
        let mut position = at + 1;
        for entry in record[80..].chunks_exact_mut(16).take(count as usize) {
            let mut checksum = 0;
            for content in position..position + chunk_blocks {
                let block = self
                    .0
                    .get(&content)
                    .map_or(&[0; BLOCK_BYTES], |block| &**block);
                checksum = crc32c(checksum, block);
            }
            entry[8..12].copy_from_slice(&checksum.to_le_bytes());
            position += chunk_blocks;
        }
    }

    /// Wipes the log, as if nobody had ever guessed what the next session's records will be.
    pub(crate) fn forget_records(&mut self) {
        self.0.retain(|_, block| !block.starts_with(&RECORD));
    }

    /// Writes it to a file, which becomes a sparse one.
    pub(crate) fn write_to(&self, file: &File) -> io::Result<()> {
        file.set_len(0)?;
        file.set_len(BLOCKS * BLOCK_BYTES as u64)?;
        for (at, block) in &self.0 {
            file.write_all_at(&block[..], at * BLOCK_BYTES as u64)?;
        }
        Ok(())
    }
}

impl Disk for Sparse {
    fn read(&mut self, block: u64, out: &mut [u8]) -> Result {
        for (at, part) in (block..).zip(out.chunks_mut(BLOCK_BYTES)) {
            match self.0.get(&at) {
                _ if at >= BLOCKS => return Err(EIO),
                Some(block) => part.copy_from_slice(&block[..]),
                None => part.fill(0),
            }
        }
        Ok(())
    }

    fn write(&mut self, block: u64, data: &[u8]) -> Result {
        for (at, part) in (block..).zip(data.chunks(BLOCK_BYTES)) {
            if at >= BLOCKS {
                return Err(EIO);
            }
            self.block(at).copy_from_slice(part);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result {
        Ok(())
    }
}

/// The input for a store of [`BLOCKS`] blocks, with the blocks that `wanted` asks for. Contents are
/// left out: they become zeroes, with checksums to match.
pub(crate) fn encode(bytes: &[u8], wanted: impl Fn(u64, &Block) -> bool) -> Vec<u8> {
    let mut input = vec![0];
    for (at, block) in (0u16..).zip(bytes.as_chunks::<BLOCK_BYTES>().0) {
        let sealed = [SUPERBLOCK, RECORD, IMAGE]
            .iter()
            .any(|m| block.starts_with(m));
        if !sealed || at == 1 || !wanted(u64::from(at), block) {
            continue;
        }
        let len = block
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        input.extend_from_slice(&at.to_le_bytes());
        // CAST: At most a block.
        input.extend_from_slice(&(len as u16).to_le_bytes());
        input.extend_from_slice(&block[..len]);
    }
    input
}
