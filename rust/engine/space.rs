// SPDX-License-Identifier: GPL-2.0

//! The space of a store, and the copies of an epoch: their index and their part of that space.
//!
//! Lock order: `space`, then the pool or the segments; `index` is taken alone. Only the copier adds
//! copies, readers only look. The space goes back to the pool when the last reference is dropped,
//! so that whoever reads a copy keeps it from being overwritten by holding one.

#![forbid(unsafe_code)]

use crate::dm::NoReclaim;
use crate::engine::wake::Waker;
use crate::format::BLOCK_SECTORS;
use crate::maps::Allocated;
use crate::maps::Chunks;
use crate::maps::Geometry;
use crate::maps::Index;
use crate::maps::Room;
use crate::maps::Supply;
use crate::store::Area;
use crate::store::EpochCopies;
use crate::store::Pool;
use crate::store::Segments;
use kernel::new_mutex;
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Full;
use kernel::sync::Arc;
use kernel::sync::Mutex;
use kernel::sync::SpinLock;

/// The space of a store: a transient store's pool, or a persistent one's segments.
#[pin_data]
pub(super) struct Space {
    /// The pool, of nothing if the store is persistent.
    #[pin]
    pool: Mutex<Pool>,
    /// A persistent store's segments, once it is known which are in use.
    #[pin]
    segments: Mutex<Option<Segments>>,
    /// The store is persistent: its space is segments.
    is_persistent: bool,
    /// Positions that a content takes: in chunks in a transient store, in blocks in a persistent
    /// one.
    step: u64,
    /// Epochs' spaces that there are, also those that only a reader still holds.
    spaces: Atomic<u64>,
    /// Told when space comes back.
    waker: Arc<Waker>,
}

impl Space {
    /// Makes the space of a transient store of `capacity` chunks, all free. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn transient(capacity: u64, waker: Arc<Waker>) -> Result<Arc<Self>> {
        Self::new(false, capacity, 1, waker)
    }

    /// Makes the space of a persistent store, whose segments are not known yet. A content takes
    /// `step` blocks. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn persistent(step: u64, waker: Arc<Waker>) -> Result<Arc<Self>> {
        Self::new(true, 0, step, waker)
    }

    fn new(is_persistent: bool, capacity: u64, step: u64, waker: Arc<Waker>) -> Result<Arc<Self>> {
        let init = try_pin_init!(Self {
            pool <- new_mutex!(Pool::new(capacity)?, "Space::pool"),
            segments <- new_mutex!(None, "Space::segments"),
            is_persistent,
            step,
            spaces: Atomic::new(0),
            waker,
        }? Error);
        Arc::pin_init(init, GFP_KERNEL)
    }
}

impl Space {
    /// Sets the segments of a persistent store, once they are known.
    pub(super) fn set_segments(&self, segments: Segments) {
        *self.segments.lock() = Some(segments);
    }

    /// Calls `f` with the segments of a persistent store, if they are known.
    pub(super) fn with_segments<R>(&self, f: impl FnOnce(&mut Segments) -> R) -> Option<R> {
        let mut segments = self.segments.lock();
        (*segments).as_mut().map(f)
    }

    /// Returns the number of positions that a content takes.
    pub(super) fn step(&self) -> u64 {
        self.step
    }

    /// Lets a transient store grow to `capacity` chunks. May sleep.
    ///
    /// Errors: `EFBIG` for a store that is too large, `ENOMEM`; it has its old size then.
    pub(super) fn grow_pool(&self, capacity: u64) -> Result {
        let segments = self.pool.lock().segments(capacity)?;
        // Without the lock, for which the copier may wait.
        let list = KVVec::with_capacity(segments, GFP_KERNEL)?;
        let old = self.pool.lock().grow(capacity, list)?;
        drop(old);
        Ok(())
    }

    /// Returns the number of sectors that can hold contents, of chunks of `shape`, and how many of
    /// them are in use.
    pub(super) fn sectors(&self, shape: &Geometry) -> (u64, u64) {
        let segments = self.with_segments(|segments| (segments.capacity(), segments.used()));
        match segments {
            Some((capacity, used)) => (capacity * BLOCK_SECTORS, used * BLOCK_SECTORS),
            None => {
                let pool = self.pool.lock();
                (shape.sector(pool.capacity()), shape.sector(pool.used()))
            }
        }
    }

    /// Returns the number of epochs that have space in the store.
    pub(super) fn spaces(&self) -> u64 {
        self.spaces.load(Acquire)
    }
}

/// An epoch's part of the space; goes back to the pool when dropped.
struct EpochSpace {
    area: Area,
    whole: Arc<Space>,
}

impl Drop for EpochSpace {
    fn drop(&mut self) {
        if self.whole.is_persistent {
            // Before it is known which segments are in use there is nothing to give back to.
            self.whole
                .with_segments(|segments| segments.give_back(self.area.segments()));
        } else {
            self.whole.pool.lock().give_back(&mut self.area);
        }
        self.whole.spaces.fetch_sub(1, Full);
        self.whole.waker.look_again();
    }
}

/// The copies. See the [module's documentation](self).
#[pin_data]
pub struct Copies {
    #[pin]
    index: SpinLock<Index>,
    #[pin]
    space: Mutex<EpochSpace>,
}

impl Copies {
    /// Makes the copies of an epoch: none yet. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new(whole: Arc<Space>) -> Result<Arc<Self>> {
        whole.spaces.fetch_add(1, Full);
        let step = whole.step;
        let space = EpochSpace {
            area: Area::new(),
            whole,
        };
        let init = pin_init!(Self {
            index <- new_spinlock!(Index::new(step), "Copies::index"),
            space <- new_mutex!(space, "Copies::space"),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Returns the number of chunks copied.
    pub fn len(&self) -> u64 {
        self.index.lock().len()
    }

    /// Returns the position of a chunk's content, and the number of chunks from it on whose
    /// contents follow one another there.
    pub fn find(&self, chunk: u64) -> Option<(u64, u64)> {
        self.index.lock().find(chunk)
    }

    /// Takes space for up to `wanted` contents. Returns their position and number, or `None` if the
    /// store is full. Does not wait for memory.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn take_space(&self, wanted: u64) -> Result<Option<(u64, u64)>> {
        // For the list of segments, now and then.
        let _scope = NoReclaim::enter();
        let mut guard = self.space.lock();
        let space = &mut *guard;
        let mut pool = space.whole.pool.lock();
        pool.take(&mut space.area, wanted)
    }

    /// Gives space back, if nothing was taken after it.
    pub(super) fn give_back_space(&self, position: u64, len: u64) {
        let mut guard = self.space.lock();
        let space = &mut *guard;
        let mut pool = space.whole.pool.lock();
        pool.untake(&mut space.area, position, len);
    }

    /// Takes a free segment of a persistent store for the epoch, and returns it. Does not wait for
    /// memory.
    pub(super) fn open_segment(&self) -> Option<u64> {
        let _scope = NoReclaim::enter();
        let mut guard = self.space.lock();
        let space = &mut *guard;
        // First the room to remember it, or it would be lost.
        space.area.prepare().ok()?;
        let segment = space.whole.with_segments(Segments::take)??;
        space.area.add(segment).ok()?;
        Some(segment)
    }

    /// Makes room in the index for `entries` entries for chunks of `run`.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn make_room(&self, run: Chunks, entries: u64, supply: &impl Supply) -> Result {
        loop {
            let missing = self.index.lock().missing(run, entries);
            let Some(missing) = missing else {
                return Ok(());
            };
            let room = Room::from_supply(missing, supply)?;
            let spare = self.index.lock().grow(room);
            drop(spare);
        }
    }

    /// Adds a run of contents that are in the store from `position` on. Room must have been made.
    ///
    /// Errors: `ENOMEM` if there is no room, `EFBIG` for a position that is too large.
    pub(super) fn insert(&self, run: Chunks, position: u64) -> Result {
        self.index.lock().insert(run, position)
    }

    /// Appends the next entries of the index to `out`; see [`Index::export`].
    fn export(&self, from: u64, out: &mut KVec<(Chunks, u64)>) -> Option<u64> {
        self.index.lock().export(from, out)
    }

    /// Returns the number of bytes that the index occupies.
    pub fn memory(&self) -> u64 {
        self.index.lock().memory()
    }
}

impl EpochCopies for Copies {
    fn position(&self, chunk: u64) -> Option<u64> {
        self.find(chunk).map(|(position, _)| position)
    }

    fn add(&self, run: Chunks, position: u64) -> Result {
        self.make_room(run, 1, &Allocated)?;
        self.insert(run, position)
    }

    fn add_segment(&self, segment: u64) -> Result {
        let mut space = self.space.lock();
        space.area.prepare()?;
        space.area.add(segment)
    }

    fn has_segment(&self, segment: u64) -> bool {
        self.space.lock().area.segments().contains(&segment)
    }

    fn entries(&self, from: u64, out: &mut KVec<(Chunks, u64)>) -> Option<u64> {
        self.export(from, out)
    }

    fn segments(&self, out: &mut KVVec<u64>) -> Result {
        let space = self.space.lock();
        Ok(out.extend_from_slice(space.area.segments(), GFP_KERNEL)?)
    }
}
