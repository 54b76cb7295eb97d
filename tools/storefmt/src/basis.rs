// SPDX-License-Identifier: GPL-2.0

//! What has to be so before an origin is brought back to a snapshot.

#![forbid(unsafe_code)]

use kernel::alloc::host;
use kernel::sync::Arc;

use crate::copies::Copies;
use crate::copies::Known;
use crate::origin::Origin;
use crate::store::Error;
use crate::store::Result;
use crate::store::Store;
use crate::store::MEMORY;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::STATE_BROKEN;
use dm_preserve_core::format::STATE_CLOSED;
use dm_preserve_core::history::Snapshot;
use dm_preserve_core::store::recover;
use dm_preserve_core::store::Trouble;

/// What the store holds, as an activation would recover it.
pub(crate) fn recovered(store: &mut Store<'_>, superblock: &Superblock) -> Result<(Layout, Known)> {
    let layout = Layout::from_superblock(superblock);
    let layout = layout.filter(|layout| layout.blocks() <= store.blocks());
    let layout = layout.ok_or_else(|| {
        Error::Damaged("its layout cannot be, or its end is missing: see preserve check".into())
    })?;
    if superblock.state.get() == STATE_BROKEN || superblock.image_number.get() == 0 {
        let text = "it has no snapshots: tracking was lost, or never began";
        return Err(Error::Missing(text.into()));
    }
    // How large the device is nobody says here: that it fits into memory is all that is asked.
    let new_copies = Copies::maker(&layout);
    let found = host::within(MEMORY, || {
        recover::recover(store, superblock, &layout, u64::MAX, &new_copies)
    });
    match found {
        Ok((Some(known), _)) => Ok((layout, known)),
        Ok((None, _)) => Err(Error::Damaged(
            "its log is damaged in the middle, and all snapshots are lost: see preserve check"
                .into(),
        )),
        Err(Trouble::Because(why)) => Err(Error::Damaged(why.to_string_lossy().into_owned())),
        Err(Trouble::Error(error)) => Err(store.explain(error)),
    }
}

/// The snapshot that is meant: the latest without `id`.
pub(crate) fn snapshot(
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
pub(crate) fn fits(origin: &mut Origin<'_>, superblock: &Superblock, known: &Known) -> Result<()> {
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
            "the origin is another one, or was written while its live device was not active: what the store has no \
             copy of need not be there any longer"
                .into(),
        ));
    }
    Ok(())
}
