// SPDX-License-Identifier: GPL-2.0

//! Recovery: finding out from a store what is known of its live device. Rule 6 of the design.
//!
//! 1. The later valid [superblock](crate::store::superblocks) counts.
//! 2. The checkpoint's image is loaded.
//! 3. The log is *[replayed](crate::store::replay)* from the image's place, record by record, as
//!    long as the next one is whole: it is of this store and session, has the next number and the
//!    checksum of the header before it, and its own checksum and those of its contents are right.
//! 4. At each record that begins an epoch, and at the end, the epoch so far is *settled*: each
//!    chunk with a copy is marked, and so is each chunk of a dirty region that no snapshot alive at
//!    that place needs.
//! 5. If a later record proves that more was durable once, the log is damaged in the middle, and
//!    its tail is not just torn (see [`tail`](crate::store::tail)).
//!
//! Nothing is written. The caller saves the result before it lets any write pass.

#![forbid(unsafe_code)]

use crate::base::EUCLEAN;
use crate::format::Layout;
use crate::format::Superblock;
use crate::format::STATE_BROKEN;
use crate::format::STATE_CLOSED;
use crate::maps::Geometry;
use crate::store::disk::Disk;
use crate::store::image::ImageReader;
use crate::store::load;
use crate::store::reader::LogReader;
use crate::store::replay::Replay;
use crate::store::replay::Replayed;
use crate::store::save::Checkpoint;
use crate::store::save::EpochCopies;
use crate::store::superblocks::Trouble;
use crate::store::superblocks::LARGER;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Recovers what is known of a device of `sectors` sectors. This length bounds all maps, whatever
/// the store says. Returns no checkpoint if tracking was broken, or if the log is damaged in the
/// middle: then nothing in the store may be relied on.
///
/// Errors: [`LARGER`] if the store belongs to a larger device; otherwise `EUCLEAN` for an image or
/// a record that is not valid, those of reading `disk` and of `new_copies`, `ENOMEM`, each as
/// [`Trouble`].
pub fn recover<C: EpochCopies, D: Disk>(
    disk: &mut D,
    superblock: &Superblock,
    layout: &Layout,
    sectors: u64,
    new_copies: &dyn Fn() -> Result<Arc<C>>,
) -> Result<(Option<Checkpoint<C>>, Replayed), Trouble> {
    if superblock.origin_sectors.get() > sectors {
        return Err(LARGER);
    }
    if superblock.state.get() == STATE_BROKEN || superblock.image_number.get() == 0 {
        return Ok((None, Replayed::default()));
    }
    let shape = Geometry::new(
        superblock.origin_sectors.get(),
        u64::from(superblock.chunk_sectors.get()),
    );
    let shape = shape.ok_or(EUCLEAN)?;
    let mut reader = ImageReader::new(
        disk,
        superblock.store,
        layout,
        superblock.image_area.get(),
        superblock.image_number.get(),
        superblock.image_used.get(),
    )?;
    let state = load::load(&mut reader, shape, layout, new_copies)?;
    let mut log = LogReader::new(superblock, layout, state.place, 0)?;
    let mut replay = Replay::new(state, layout, shape, sectors, new_copies)?;
    while let Some((block, record)) = unless_closed(superblock, log.next(disk), None)? {
        replay.record(block, &record).map_err(|error| match error {
            EFBIG => LARGER,
            error => error.into(),
        })?;
    }
    let (state, mut replayed) = replay.finish(log.place())?;
    replayed.damaged = unless_closed(superblock, log.tail().is_damaged(disk), false)?;
    Ok(match replayed.damaged {
        true => (None, replayed),
        false => (Some(state), replayed),
    })
}

/// Returns what came of reading the log, or `empty` if that failed and the store was closed. The
/// log of a closed store is empty, since nothing was written behind its last checkpoint. So it need
/// not be readable.
///
/// Errors: those of reading, but for `EIO` if the store was closed.
fn unless_closed<T>(superblock: &Superblock, read: Result<T>, empty: T) -> Result<T> {
    match read {
        Err(EIO) if superblock.state.get() == STATE_CLOSED => Ok(empty),
        read => read,
    }
}
