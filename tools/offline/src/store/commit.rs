// SPDX-License-Identifier: GPL-2.0

//! Changing what a store says of itself, as the module's checkpoints do: at any moment one
//! superblock is whole, and names a whole image.
//!
//! 1. [`mirror`]: both superblocks say what counts. Where one is damaged, or the power went between
//!    the two, the other one is the only one there is: it must not be the first to be overwritten.
//! 2. [`image`]: a new image, in the area that neither of them names.
//! 3. [`superblocks`]: both, one after the other, with a flush between.

#![forbid(unsafe_code)]

use kernel::error::code::EIO;
use kernel::error::Result;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

use super::copies::Known;
use super::disk::Store;
use super::supers::Pair;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::SUPERBLOCKS;
use dm_preserve_core::store::save;
use dm_preserve_core::store::Buffer;
use dm_preserve_core::store::Disk;
use dm_preserve_core::store::ImageWriter;

/// Copies the superblock in place `best` of `pair` to the other place, if that has anything else.
/// Whether it did.
pub(crate) fn mirror(store: &mut Store<'_>, pair: &Pair, best: usize) -> Result<bool> {
    let [a, b] = pair;
    if a.valid().is_some() && a.valid() == b.valid() {
        return Ok(false);
    }
    let mut buffer = Buffer::new()?;
    for (n, at) in SUPERBLOCKS.iter().enumerate() {
        if n == best {
            // Every byte of it: a later version may have something behind what this one knows.
            let block = buffer.load(store, *at)?;
            if Superblock::from_block(block).ok().as_ref() != pair[best].valid() {
                // Read wrong this time; it must not take the other one's place like that.
                return Err(EIO);
            }
        }
    }
    for (n, at) in SUPERBLOCKS.iter().enumerate() {
        if n != best {
            store.write(*at, buffer.block()?)?;
        }
    }
    store.flush()?;
    Ok(true)
}

/// Writes what is known to the image area that is not in use. The result is a superblock that names
/// it, for [`superblocks`].
pub(crate) fn image(
    store: &mut Store<'_>,
    superblock: &Superblock,
    layout: &Layout,
    known: &Known,
) -> Result<Superblock> {
    let area = 1 - superblock.image_area.get().min(1);
    let number = superblock.image_number.get() + 1;
    let mut out = ImageWriter::new(store, superblock.store, layout, area, number)?;
    save::save(known, &mut out)?;
    let used = out.finish()?;
    Ok(Superblock {
        image_area: U32::new(area),
        image_number: U64::new(number),
        image_used: U64::new(used),
        origin_sectors: U64::new(known.sectors),
        ..*superblock
    })
}

/// Writes both superblocks, with the next number.
pub(crate) fn superblocks(store: &mut Store<'_>, superblock: &mut Superblock) -> Result {
    superblock.sequence += U64::new(1);
    let mut buffer = Buffer::new()?;
    superblock.to_block(buffer.block()?);
    for at in superblock.places() {
        store.write(at, buffer.block()?)?;
        store.flush()?;
    }
    Ok(())
}
