// SPDX-License-Identifier: GPL-2.0

//! What a store holds, as an activation of it would find.

#![forbid(unsafe_code)]

use kernel::alloc::host;

use super::copies::Copies;
use super::copies::Known;
use super::disk::Error;
use super::disk::Result;
use super::disk::Store;
use super::disk::MEMORY;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::STATE_BROKEN;
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
