// SPDX-License-Identifier: GPL-2.0

//! Runs of chunks whose contents follow one another in the store: a sorted list, a node of the
//! [index](crate::maps::index).
//!
//! The list is in pages that the kernel's allocator has a size for, one filled up after the other,
//! so that at most the last one has room to spare, in whatever order the runs come. Inserting
//! shifts what lies behind, at most 7 KiB; it never allocates.

#![forbid(unsafe_code)]

use kernel::alloc::Flags;
use kernel::prelude::*;

const OFFSET_BITS: u32 = 28;
const LEN_BITS: u32 = 12;
const PACKED_POSITION_BITS: u32 = 40;
/// Offsets of a list's chunks are below this: those of a TiB, if a chunk is 4 KiB.
pub const LIST_CHUNKS: u64 = 1 << OFFSET_BITS;
/// Most chunks of a run.
pub const MAX_RUN: u64 = 1 << LEN_BITS;
/// Positions in the store are below this.
pub const MAX_POSITION: u64 = 1 << PACKED_POSITION_BITS;

/// Bytes that a page occupies.
pub const PAGE_BYTES: usize = 256;
/// Runs of a page.
const PAGE_RUNS: usize = PAGE_BYTES / core::mem::size_of::<Packed>();
/// Most pages of a list: with them a node of the index occupies 256 bytes.
const MAX_PAGES: usize = 27;
/// Most runs of a list.
pub const MAX_RUNS: usize = PAGE_RUNS * MAX_PAGES;

/// A run. Its contents begin at `position` in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Offset of the first chunk, below [`LIST_CHUNKS`].
    pub offset: u64,
    /// Number of chunks, up to [`MAX_RUN`].
    pub len: u64,
    /// Below [`MAX_POSITION`].
    pub position: u64,
}

impl Run {
    /// Returns the offset of the chunk behind the last one.
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// A run in 10 bytes: offset and length - 1, position; both little endian.
#[derive(Clone, Copy)]
struct Packed([u8; 5], [u8; 5]);

fn pack(value: u64) -> [u8; 5] {
    let [a, b, c, d, e, ..] = value.to_le_bytes();
    [a, b, c, d, e]
}

fn unpack([a, b, c, d, e]: [u8; 5]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
}

impl From<Run> for Packed {
    fn from(run: Run) -> Self {
        Self(
            pack(run.offset << LEN_BITS | (run.len - 1)),
            pack(run.position),
        )
    }
}

impl From<Packed> for Run {
    fn from(Packed(place, position): Packed) -> Self {
        let place = unpack(place);
        Self {
            offset: place >> LEN_BITS,
            len: (place & (MAX_RUN - 1)) + 1,
            position: unpack(position),
        }
    }
}

/// Room for runs.
pub struct Page([Packed; PAGE_RUNS]);

impl Page {
    /// Allocates a page.
    ///
    /// Errors: `ENOMEM`.
    pub fn new(flags: Flags) -> Result<KBox<Self>> {
        let empty = Packed([0; 5], [0; 5]);
        Ok(KBox::new(Self([empty; PAGE_RUNS]), flags)?)
    }
}

/// The list.
///
/// # Invariants
///
/// The pages that there are come first, and hold at least `len` runs; those are sorted and do not
/// overlap.
pub struct Runs {
    pages: [Option<KBox<Page>>; MAX_PAGES],
    len: usize,
}

impl Runs {
    /// Returns an empty list, without a page.
    pub fn new() -> Self {
        Self {
            pages: [const { None }; MAX_PAGES],
            len: 0,
        }
    }

    /// Returns the number of runs that can be added to the pages that are there.
    pub fn room(&self) -> usize {
        self.pages.iter().flatten().count() * PAGE_RUNS - self.len
    }

    /// Returns the number of runs that can be added if pages are added too.
    pub fn spare(&self) -> usize {
        MAX_RUNS - self.len
    }

    /// Returns run number `at`, if there are so many.
    pub fn get(&self, at: usize) -> Option<Run> {
        let page = self.pages.get(at / PAGE_RUNS)?.as_ref()?;
        let run = page.0.get(at % PAGE_RUNS).filter(|_| at < self.len)?;
        Some(Run::from(*run))
    }

    /// Returns the runs in order.
    pub fn iter(&self) -> impl Iterator<Item = Run> + '_ {
        let pages = self.pages.iter().flatten();
        let runs = pages.flat_map(|page| page.0.iter());
        runs.take(self.len).map(|run| Run::from(*run))
    }

    /// Returns the number of the last run that begins at or before `offset`, if there is one.
    pub fn at_or_before(&self, offset: u64) -> Option<usize> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = (low + high) / 2;
            match self.get(middle) {
                Some(run) if run.offset <= offset => low = middle + 1,
                _ => high = middle,
            }
        }
        low.checked_sub(1)
    }

    /// Replaces run number `at`.
    pub fn set(&mut self, at: usize, run: Run) {
        let page = self.pages.get_mut(at / PAGE_RUNS).and_then(Option::as_mut);
        if let Some(place) = page.and_then(|page| page.0.get_mut(at % PAGE_RUNS)) {
            *place = Packed::from(run);
        }
    }

    /// Inserts a run before run number `at`. Returns false if there is no room for it.
    pub fn insert(&mut self, at: usize, run: Run) -> bool {
        if self.room() == 0 {
            return false;
        }
        let mut moving = Packed::from(run);
        let mut first = at % PAGE_RUNS;
        let used = self
            .pages
            .iter_mut()
            .flatten()
            .take(self.len / PAGE_RUNS + 1);
        for page in used.skip(at / PAGE_RUNS) {
            let Page(places) = &mut **page;
            // `first` is below `PAGE_RUNS`, so nothing here can panic.
            let next = places[PAGE_RUNS - 1];
            places.copy_within(first..PAGE_RUNS - 1, first + 1);
            places[first] = moving;
            moving = next;
            first = 0;
        }
        self.len += 1;
        true
    }

    /// Adds a page. Returns it if there are too many.
    pub fn add_page(&mut self, page: KBox<Page>) -> Option<KBox<Page>> {
        match self.pages.iter_mut().find(|place| place.is_none()) {
            Some(place) => place.replace(page),
            None => Some(page),
        }
    }

    /// Moves the lower half of the list, in whole pages, to a new list. Returns that list and the
    /// last offset that belongs to it. The runs must take two pages at least.
    ///
    /// If `offset` lies behind the last run, everything moves, so that runs that are added in order
    /// leave full lists.
    pub fn split(&mut self, offset: u64) -> (Self, u64) {
        let last = self.len.checked_sub(1).and_then(|last| self.get(last));
        if let Some(last) = last.filter(|last| last.end() <= offset) {
            return (core::mem::replace(self, Self::new()), last.end() - 1);
        }
        let half = self.len.div_ceil(PAGE_RUNS) / 2;
        let mut lower = Self::new();
        for (to, from) in lower.pages.iter_mut().zip(self.pages.iter_mut()).take(half) {
            core::mem::swap(to, from);
        }
        lower.len = half * PAGE_RUNS;
        self.pages.rotate_left(half);
        self.len -= lower.len;
        let first = self.get(0).map_or(offset, |run| run.offset);
        (lower, first.saturating_sub(1))
    }
}
