// SPDX-License-Identifier: GPL-2.0

//! Who used a store last, and how it was left.

#![forbid(unsafe_code)]

use uuid::Uuid;

use super::disk::Progress;
use super::disk::Result;
use super::disk::Store;
use super::medium::Medium;
use super::supers;
use dm_preserve_core::format::STATE_OPEN;

/// See the [module's documentation](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// The store's UUID.
    pub store: Uuid,
    /// The boot id of the kernel that used it.
    pub boot: Uuid,
    /// It was not closed.
    pub was_left_open: bool,
    /// It had unproven snapshots already.
    pub is_unproven: bool,
}

/// Finds out who used a store last; `None` when neither superblock says it. Errors: those of
/// reading, and what is no store.
pub fn last_use(medium: impl Medium, progress: &dyn Progress) -> Result<Option<LastUse>> {
    let mut store = Store::new(medium, progress)?;
    let pair = supers::read(&mut store)?;
    let best = supers::choose(&pair)?;
    let superblock = best.and_then(|i| pair[i].valid());
    Ok(superblock.map(|superblock| LastUse {
        store: Uuid::from_bytes(superblock.store),
        boot: Uuid::from_bytes(superblock.boot),
        was_left_open: superblock.state.get() == STATE_OPEN,
        is_unproven: superblock.unproven.get() != 0,
    }))
}
