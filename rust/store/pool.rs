// SPDX-License-Identifier: GPL-2.0

//! Space in the store: segments that belong to one epoch each.
//!
//! Contents are appended to the epoch's latest segment; a segment goes back to the pool as a whole
//! when the epoch's copies are not needed by anybody any longer. Positions count in chunks.

#![forbid(unsafe_code)]

use crate::base::bug;
use crate::uapi::MAX_SNAPSHOTS;
use kernel::prelude::*;

/// Segments of the store that no epoch owns.
pub struct Pool {
    /// Chunks per segment.
    segment: u64,
    /// Chunks of the store.
    capacity: u64,
    /// Segments below this have been given out at least once.
    fresh: u64,
    /// Segments given back. There is room for all.
    returned: KVVec<u64>,
    /// Chunks given out to epochs' areas and written or reserved there.
    used: u64,
}

/// Chunks of a segment. Small stores have smaller ones, so that there are enough of them: each of
/// the most snapshots that there can be begins an epoch, and the last segment of an epoch is filled
/// in part only. Large stores have larger ones, so that there are not too many to remember.
const POOL_SEGMENT: u64 = 256;
const MIN_POOL_SEGMENTS: u64 = 2 * MAX_SNAPSHOTS as u64;
const MAX_POOL_SEGMENTS: u64 = 1 << 16;

impl Pool {
    /// Makes the pool of a store of `capacity` chunks. May sleep.
    ///
    /// Errors: `EFBIG` for a store that is too large, `ENOMEM`.
    pub fn new(capacity: u64) -> Result<Self> {
        let most = POOL_SEGMENT.max(capacity / MAX_POOL_SEGMENTS);
        let segment = (capacity / MIN_POOL_SEGMENTS).clamp(1, most);
        Ok(Self {
            segment,
            capacity,
            fresh: 0,
            returned: KVVec::with_capacity(count(capacity, segment)?, GFP_KERNEL)?,
            used: 0,
        })
    }

    /// Returns the number of chunks of the store.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Returns the number of chunks in use.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Returns the number of segments that a store of `capacity` chunks has.
    ///
    /// Errors: `EFBIG` for more than can be counted.
    pub fn segments(&self, capacity: u64) -> Result<usize> {
        count(capacity, self.segment)
    }

    /// Takes over a new size of the store, and a list that has room for all its
    /// [segments](Pool::segments). A pool never shrinks: what lies beyond a new end is still in
    /// use. Returns the list that is not needed.
    ///
    /// Errors: `ENOMEM` if the list is too short; nothing is changed then.
    pub fn grow(&mut self, capacity: u64, list: KVVec<u64>) -> Result<KVVec<u64>> {
        let mut list = list;
        if capacity <= self.capacity {
            return Ok(list);
        }
        for segment in self.returned.iter() {
            list.push_within_capacity(*segment).map_err(|_| ENOMEM)?;
        }
        self.capacity = capacity;
        Ok(core::mem::replace(&mut self.returned, list))
    }

    /// Adds a segment to `area`, which must have no room left. Returns false if the store is full.
    /// May sleep.
    fn refill(&mut self, area: &mut Area) -> Result<bool> {
        area.segments.reserve(1, GFP_KERNEL)?;
        let segment = match self.returned.pop() {
            Some(segment) => segment,
            None if (self.fresh + 1) * self.segment <= self.capacity => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return Ok(false),
        };
        area.next = segment * self.segment;
        area.end = area.next + self.segment;
        area.segments.push(segment, GFP_KERNEL)?;
        Ok(true)
    }

    /// Takes up to `wanted` chunks for `area`, one after the other. Returns their position and
    /// number, or `None` if the store is full. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn take(&mut self, area: &mut Area, wanted: u64) -> Result<Option<(u64, u64)>> {
        if area.next == area.end && !self.refill(area)? {
            return Ok(None);
        }
        let position = area.next;
        let len = wanted.min(area.end - position);
        area.next += len;
        area.used += len;
        self.used += len;
        Ok(Some((position, len)))
    }

    /// Takes back `len` chunks from `position` on, if they are the latest that the area was given.
    pub fn untake(&mut self, area: &mut Area, position: u64, len: u64) {
        if area.next == position + len && len <= area.used {
            area.next = position;
            area.used -= len;
            self.used = self.used.saturating_sub(len);
        }
    }

    /// Takes back all segments of an area.
    pub fn give_back(&mut self, area: &mut Area) {
        for segment in area.segments.iter() {
            // There is room for all.
            if self.returned.push_within_capacity(*segment).is_err() {
                bug("a pool has no room for a segment that comes back: its space is lost");
            }
        }
        self.used = self.used.saturating_sub(area.used);
        *area = Area::new();
    }
}

/// Returns the number of segments of a store.
///
/// Errors: `EFBIG` for more than can be counted.
fn count(capacity: u64, segment: u64) -> Result<usize> {
    let count = capacity.checked_div(segment).ok_or(EINVAL)?;
    usize::try_from(count).map_err(|_| EFBIG)
}

/// The segments of an epoch.
pub struct Area {
    segments: KVVec<u64>,
    /// Position of the next content, and the end of the segment that it lies in.
    next: u64,
    end: u64,
    /// Chunks taken.
    used: u64,
}

impl Area {
    /// Returns an area without a segment.
    pub fn new() -> Self {
        Self {
            segments: KVVec::new(),
            next: 0,
            end: 0,
            used: 0,
        }
    }

    /// Returns the segments.
    pub fn segments(&self) -> &[u64] {
        &self.segments
    }

    /// Reserves memory for one more segment. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn prepare(&mut self) -> Result {
        Ok(self.segments.reserve(1, GFP_KERNEL)?)
    }

    /// Adds a segment of a persistent store. [`Area::prepare`] must have been called for it.
    ///
    /// Errors: `ENOMEM` if it was not.
    pub fn add(&mut self, segment: u64) -> Result {
        self.segments
            .push_within_capacity(segment)
            .map_err(|_| ENOMEM)
    }
}
