// SPDX-License-Identifier: GPL-2.0

//! What has to be so before an origin is brought back to a snapshot.

#![forbid(unsafe_code)]

use kernel::sync::Arc;

use super::origin::Origin;
use crate::store::Error;
use crate::store::Known;
use crate::store::Result;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::STATE_CLOSED;
use dm_preserve_core::history::Snapshot;

/// The snapshot that is meant: the latest without `id`.
pub(super) fn snapshot(
    known: &Known,
    superblock: &Superblock,
    id: Option<u64>,
) -> Result<Arc<Snapshot>> {
    let timeline = &known.timeline;
    let none = || Error::Missing("it has no snapshot; `preserve check` lists what it has".into());
    let id = match id {
        Some(id) => id,
        None => timeline.snapshots().last().ok_or_else(none)?.id,
    };
    let begun = superblock.rollback.get();
    if begun != 0 && begun != id {
        return Err(Error::Refused(format!(
            "a rollback to snapshot {begun} is under way; finish that first"
        )));
    }
    let found = timeline.snapshot(id).cloned();
    found.ok_or_else(|| {
        Error::Missing(match timeline.entry(id) {
            Some(_) => format!("snapshot {id} was dropped: only its bookmark is there, no content"),
            None => format!("there is no snapshot {id}; `preserve check` lists those there are"),
        })
    })
}

/// Whether this is the origin, and nobody has written to it behind the store's back, as far as that
/// can be told.
pub(super) fn fits(origin: &mut Origin<'_>, superblock: &Superblock, known: &Known) -> Result<()> {
    if origin.sectors < known.sectors {
        return Err(Error::Refused(format!(
            "the origin has {} sectors, but the live device had {}: is it the right one?",
            origin.sectors, known.sectors
        )));
    }
    let closed = superblock.state.get() == STATE_CLOSED;
    if closed && origin.fingerprint(superblock.origin_sectors.get()) != superblock.fingerprint.get()
    {
        return Err(Error::Refused(
            "the origin is another one, or was written while its live device was not active: \
             what the store has no copy of need not be there any longer"
                .into(),
        ));
    }
    Ok(())
}
