// SPDX-License-Identifier: GPL-2.0

//! Which of a store's two superblocks counts: the later valid one. A store of zeroes is blank;
//! anything else is somebody else's.

#![forbid(unsafe_code)]

use crate::base::EUCLEAN;
use crate::format::Invalid;
use crate::format::Superblock;
use crate::format::STATE_BROKEN;
use crate::format::SUPERBLOCKS;
use crate::store::disk::Buffer;
use crate::store::disk::Disk;
use core::ffi::CStr;
use kernel::prelude::*;

/// Why a store cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// What is wrong with it, and what to do.
    Because(&'static CStr),
    /// An error of the device or the system.
    Error(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            EUCLEAN => Self::Because(c"The store's checkpoint is damaged: see preserve check"),
            error => Self::Error(error),
        }
    }
}

impl From<kernel::alloc::AllocError> for Trouble {
    fn from(error: kernel::alloc::AllocError) -> Self {
        Self::Error(error.into())
    }
}

impl Trouble {
    /// Turns an error of a store that was being read into a text for the user.
    pub fn while_reading(self) -> Self {
        match self {
            Self::Error(error) if error != ENOMEM => Self::Because(
                c"The store cannot be read: see the kernel log for its device, and preserve check",
            ),
            trouble => trouble,
        }
    }
}

/// The device has shrunk, or is another one.
pub const LARGER: Trouble = Trouble::Because(
    c"The store belongs to a larger device: if its snapshots may go, wipe its first 8 KiB",
);

/// What a store is.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and not for long"
)]
pub enum StoreKind {
    /// Nothing yet.
    Blank,
    /// Ours.
    Store(Superblock),
}

/// Returns what decides which superblock counts: the number, and of two with the same the one that
/// says that the store is broken. That has the number again of one whose first write failed, which
/// may be there all the same.
fn rank(superblock: &Superblock) -> (u64, bool) {
    let is_broken = superblock.state.get() == STATE_BROKEN;
    (superblock.sequence.get(), is_broken)
}

/// Reads both superblocks and returns the one that counts, or that the store is blank.
///
/// Errors, as [`Trouble`]: a text if no superblock is valid and the store is not blank, those of
/// reading `disk`, `ENOMEM`.
pub fn choose(disk: &mut impl Disk) -> Result<StoreKind, Trouble> {
    let mut buffer = Buffer::new()?;
    let mut best: Option<Superblock> = None;
    let mut worst = Invalid::Blank;
    let mut unreadable = None;
    let mut damaged = None;
    for at in SUPERBLOCKS {
        let block = match buffer.load(disk, at) {
            Ok(block) => block,
            Err(error) => {
                unreadable = Some(error);
                damaged = Some(at);
                continue;
            }
        };
        match Superblock::from_block(block) {
            Ok(found) => {
                if best.is_none_or(|best| rank(&best) < rank(&found)) {
                    best = Some(found);
                }
            }
            Err(why) => {
                worst = worst.max(why);
                damaged = Some(at);
            }
        }
    }
    if let Some(mut best) = best {
        // A superblock being written when the power goes leaves the other one.
        if let Some(at) = damaged {
            best.replace_first(at);
        }
        return Ok(StoreKind::Store(best));
    }
    // Not blank, as far as is known: formatting it must not be suggested.
    unreadable.map_or(Ok(()), Err)?;
    match worst {
        Invalid::Blank => Ok(StoreKind::Blank),
        Invalid::Foreign => Err(Trouble::Because(
            c"The store holds something else: if it may go, wipe its first 8 KiB",
        )),
        Invalid::Damaged => Err(Trouble::Because(
            c"Both superblocks of the store are damaged: see preserve check",
        )),
        Invalid::Unsupported => Err(Trouble::Because(
            c"The store was made by a later version of dm-preserve: use that",
        )),
    }
}
