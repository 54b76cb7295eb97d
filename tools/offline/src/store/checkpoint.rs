// SPDX-License-Identifier: GPL-2.0

//! The checkpoint of a store: its items, and what they say.

#![forbid(unsafe_code)]

use kernel::error::code::EUCLEAN;

use super::copies::Copies;
use super::copies::Known;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::maps::Geometry;
use dm_preserve_core::store::load;
use dm_preserve_core::store::Disk;
use dm_preserve_core::store::ImageReader;

/// The items of the checkpoint that a superblock refers to.
pub(crate) fn reader<'d, D: Disk>(
    disk: &'d mut D,
    superblock: &Superblock,
    layout: &Layout,
) -> kernel::error::Result<ImageReader<'d, D>> {
    ImageReader::new(
        disk,
        superblock.store,
        layout,
        superblock.image_area.get(),
        superblock.image_number.get(),
        superblock.image_used.get(),
    )
}

/// What they say together.
pub(crate) fn load(
    disk: &mut impl Disk,
    superblock: &Superblock,
    layout: &Layout,
) -> kernel::error::Result<Known> {
    let sectors = superblock.origin_sectors.get();
    let shape = Geometry::new(sectors, u64::from(superblock.chunk_sectors.get()));
    let shape = shape.ok_or(EUCLEAN)?;
    let mut reader = reader(disk, superblock, layout)?;
    load::load(&mut reader, shape, layout, &Copies::maker(layout))
}
