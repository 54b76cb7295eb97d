// SPDX-License-Identifier: GPL-2.0

//! Both superblocks of a store, and which of them counts.

#![forbid(unsafe_code)]

use std::cmp::Reverse;

use super::disk::Error;
use super::disk::Result;
use super::disk::Silent;
use super::disk::Store;
use super::medium::Medium;
use dm_preserve_core::format::Invalid;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::ON_ERROR_BLOCK;
use dm_preserve_core::format::ON_ERROR_CONTINUE;
use dm_preserve_core::format::STATE_BROKEN;
use dm_preserve_core::format::STATE_CLOSED;
use dm_preserve_core::format::STATE_OPEN;
use dm_preserve_core::format::STATE_ROLLBACK;
use dm_preserve_core::format::SUPERBLOCKS;
use dm_preserve_core::store::Buffer;

/// What is in the place of a superblock.
pub(crate) enum Seen {
    Valid(Superblock),
    Invalid(Invalid),
    Unreadable(String),
}

pub(crate) type Pair = [Seen; SUPERBLOCKS.len()];

impl Seen {
    pub(crate) fn valid(&self) -> Option<&Superblock> {
        match self {
            Self::Valid(superblock) => Some(superblock),
            _ => None,
        }
    }

    /// In a word.
    pub(crate) fn status(&self) -> &'static str {
        match self {
            Self::Valid(_) => "valid",
            Self::Invalid(Invalid::Blank) => "blank",
            Self::Invalid(Invalid::Foreign) => "foreign",
            Self::Invalid(Invalid::Damaged) => "damaged",
            Self::Invalid(Invalid::Unsupported) => "unsupported",
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// Nobody has anything of what is there, whoever wrote it. What is foreign or unsupported is
    /// somebody's.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.status(), "blank" | "damaged" | "unreadable")
    }

    fn is(&self, why: Invalid) -> bool {
        matches!(self, Self::Invalid(found) if *found == why)
    }
}

/// Reads both.
pub(crate) fn read(store: &mut Store<'_>) -> Result<Pair> {
    let mut buffer = Buffer::new().map_err(|e| store.explain(e))?;
    Ok(SUPERBLOCKS.map(|at| match buffer.load(store, at) {
        Ok(block) => match Superblock::from_block(block) {
            Ok(superblock) => Seen::Valid(superblock),
            Err(why) => Seen::Invalid(why),
        },
        Err(_) => Seen::Unreadable(store.why()),
    }))
}

/// The UUID of a store; `None` if there is no superblock to tell it.
///
/// Errors: [`Error::Io`] when its size cannot be told.
pub fn store_uuid(medium: impl Medium) -> Result<Option<[u8; 16]>> {
    let mut store = Store::new(medium, &Silent)?;
    let pair = read(&mut store)?;
    let best = choose(&pair).unwrap_or(None);
    let superblock = best.and_then(|i| pair[i].valid());
    Ok(superblock.map(|superblock| superblock.store))
}

/// Which counts: the later valid one, as in
/// [`recover`](dm_preserve_core::store::superblocks::choose). `None` when both are damaged;
/// what is no store at all is an error.
pub(crate) fn choose(pair: &Pair) -> Result<Option<usize>> {
    let valid = (0..)
        .zip(pair)
        .filter_map(|(i, seen)| Some((i, seen.valid()?)));
    // Of equal ones the first.
    let best = valid.max_by_key(|(i, superblock)| (superblock.sequence.get(), Reverse(*i)));
    if let Some((best, _)) = best {
        return Ok(Some(best));
    }
    let any = |why| pair.iter().any(|seen| seen.is(why));
    if any(Invalid::Unsupported) {
        return Err(Error::Later);
    }
    if any(Invalid::Damaged) {
        return Ok(None);
    }
    if pair.iter().all(|seen| seen.is(Invalid::Blank)) {
        return Err(Error::Blank);
    }
    Err(Error::Foreign)
}

/// The state in a word.
pub(crate) fn state(superblock: &Superblock) -> &'static str {
    match superblock.state.get() {
        STATE_OPEN => "open",
        STATE_CLOSED => "closed",
        STATE_BROKEN => "broken",
        STATE_ROLLBACK => "rollback",
        _ => "unknown",
    }
}

/// What its session does when not even a superblock can be written, in a word.
pub(crate) fn on_error(superblock: &Superblock) -> &'static str {
    match superblock.on_error.get() {
        ON_ERROR_CONTINUE => "continue",
        ON_ERROR_BLOCK => "block",
        _ => "unknown",
    }
}

/// Returns true if nothing of a store is proven: it was not closed, and if it had failed before, it
/// would not know of the writes that passed.
pub(crate) fn is_doubtful(superblock: &Superblock) -> bool {
    superblock.state.get() == STATE_OPEN && superblock.on_error.get() != ON_ERROR_BLOCK
}

/// What both must agree about, in words.
pub(crate) fn disagreement(a: &Superblock, b: &Superblock) -> Option<&'static str> {
    let segments = |superblock: &Superblock| superblock.segments;
    let layouts = [a, b].map(|superblock| {
        // Growing adds segments, and may have reached only one of them.
        let mut superblock = *superblock;
        superblock.segments = segments(a);
        Layout::from_superblock(&superblock)
    });
    if a.store != b.store {
        return Some("they belong to different stores");
    }
    if a.chunk_sectors != b.chunk_sectors || layouts[0] != layouts[1] {
        return Some("they disagree about where things are");
    }
    if a.sequence == b.sequence && a != b {
        return Some("they have the same number and are different");
    }
    None
}

/// Whether both are valid, but contradict each other.
pub(crate) fn disagree(pair: &Pair) -> bool {
    match [pair[0].valid(), pair[1].valid()] {
        [Some(a), Some(b)] => disagreement(a, b).is_some(),
        _ => false,
    }
}
