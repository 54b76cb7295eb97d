// SPDX-License-Identifier: GPL-2.0

//! Decides whether to believe what an activation finds in a store. A store may have failed so that
//! not even a superblock could say so.
//!
//! A store that was not closed looks the same after a crash, where its log has everything, and
//! after it has vanished while writes went on. What tells them apart is the *boot id* in the
//! superblock, the policy of its session (`on_error=`), and what this module remembers of engines
//! that have ended since it was loaded. The reasons are in `Documentation/design.rst`.

#![forbid(unsafe_code)]

use crate::format::Superblock;
use crate::format::ON_ERROR_BLOCK;
use crate::format::STATE_OPEN;

/// The kernel's boot id; zero when it is not known.
pub type BootId = [u8; 16];

/// What an activation makes of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Everything that passed is in it.
    Proven,
    /// Writes may have passed that it does not know of: nothing is shown of it before somebody
    /// vouches.
    Unproven,
    /// It failed, and writes passed: nothing in it may be relied on.
    Failed,
}

/// An engine that has ended, as its module remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedStore {
    /// The store's UUID.
    pub store: [u8; 16],
    /// The last session that it began, or tried to.
    pub session: u64,
    /// The boot id that the store had when it was found: it still has that if no session could be
    /// begun on disk.
    pub boot_before: BootId,
    /// Every write that passed is in the store's log.
    pub is_intact: bool,
}

impl EndedStore {
    /// Returns true if a superblock is what that engine left behind, in the boot `boot`.
    fn left(&self, superblock: &Superblock, boot: BootId) -> bool {
        let here = superblock.boot == boot;
        let left = match self.is_intact {
            true => here && superblock.session.get() == self.session,
            // Whatever could still be written.
            false => here || superblock.boot == self.boot_before,
        };
        superblock.store == self.store && left
    }
}

/// Decides whether a store with this superblock may be believed in the boot `boot`.
pub fn judge(superblock: &Superblock, boot: BootId, ended: &[EndedStore]) -> Trust {
    if let Some(ended) = ended.iter().find(|ended| ended.left(superblock, boot)) {
        return match ended.is_intact {
            true => Trust::Proven,
            false => Trust::Failed,
        };
    }
    if superblock.state.get() != STATE_OPEN {
        return Trust::Proven;
    }
    let here = boot != BootId::default() && superblock.boot == boot;
    let blocks = superblock.on_error.get() == ON_ERROR_BLOCK;
    match (here, blocks) {
        // It was not closed, and there was no crash.
        (true, false) => Trust::Failed,
        // Only who has told a failing store's writes to go on knows whether any did.
        (true, true) => Trust::Unproven,
        (false, false) => Trust::Unproven,
        (false, true) => Trust::Proven,
    }
}

/// Reads a boot id from its text; zero if it is none.
pub fn parse_boot_id(text: &[u8]) -> BootId {
    let mut id = BootId::default();
    let mut digits = text.iter().filter(|byte| **byte != b'-');
    for byte in &mut id {
        for _ in 0..2 {
            let digit = digits.next().map(|digit| char::from(*digit));
            let Some(value) = digit.and_then(|digit| digit.to_digit(16)) else {
                return BootId::default();
            };
            // CAST: A hexadecimal digit.
            *byte = *byte << 4 | value as u8;
        }
    }
    id
}
