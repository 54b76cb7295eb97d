// SPDX-License-Identifier: GPL-2.0

//! Whether there is room for a new store, by the module's own rules.

#![forbid(unsafe_code)]

use dm_preserve_core::format::Layout;
use dm_preserve_core::format::BLOCK_SECTORS;
use dm_preserve_core::maps::Geometry;
use dm_preserve_core::maps::MAX_PERSISTENT_CHUNK_SECTORS;

/// Largest chunk of a device with a persistent store, in sectors.
pub const MAX_CHUNK_SECTORS: u64 = MAX_PERSISTENT_CHUNK_SECTORS;

/// Whether a device of `store` sectors can be a persistent store for one of `origin` sectors.
pub fn has_room(store: u64, origin: u64, chunk_sectors: u64) -> bool {
    Geometry::new(origin, chunk_sectors)
        .and_then(|shape| Layout::new(store / BLOCK_SECTORS, shape.chunks(), chunk_sectors))
        .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_needs_some_room() {
        const MIB: u64 = 2048;
        assert!(!has_room(0, 64 * MIB, 8));
        assert!(!has_room(MIB / 2, 64 * MIB, 8));
        assert!(has_room(8 * MIB, 64 * MIB, 8));
        assert!(!has_room(4 * MIB, 64 * MIB, MAX_CHUNK_SECTORS));
        assert!(has_room(64 * MIB, 64 * MIB, MAX_CHUNK_SECTORS));
        assert!(!has_room(64 * MIB, u64::MAX, 8));
    }
}
