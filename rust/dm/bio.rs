// SPDX-License-Identifier: GPL-2.0

//! The bios that device-mapper hands to a target.
//!
//! # Life of a bio
//!
//! 1. [`Incoming`](super::Incoming): in `map`. Remapped (device-mapper submits it), ended, or taken
//!    as a [`Bio`].
//! 2. [`Bio`]: owned by the target, in a [`List`](super::List) or on its way. Submitted or ended.
//!    One that is dropped instead is ended with an error, so that no bio is ever lost.
//! 3. [`Completed`](super::Completed): in `end_io`, after 1 or 2. Done with, or held once more as a
//!    [`Bio`].
//!
//! Each bio carries the target's own state, [`Target::PerBio`](super::Target::PerBio), from 1 until
//! it is done with.
//!
//! A bio of 1 and 3 is a [`Bio`] too, lent for a call: what stands in this file is what all have in
//! common. The two are in `target.rs`, beside the trait whose methods they are passed to.
//!
//! C headers: [`include/linux/bio.h`](srctree/include/linux/bio.h),
//! [`include/linux/blk_types.h`](srctree/include/linux/blk_types.h),
//! [`include/linux/device-mapper.h`](srctree/include/linux/device-mapper.h)

use super::list::Node;
use super::BlockDevice;
use super::Io;
use super::Status;
use crate::bindings;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// What a bio asks for. Represents the C type `enum req_op`, as far as targets tell it apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Read (`REQ_OP_READ`).
    Read,
    /// Write, of data (`REQ_OP_WRITE`).
    Write,
    /// The content is not needed any longer (`REQ_OP_DISCARD`).
    Discard,
    /// Write of zeroes, without data (`REQ_OP_WRITE_ZEROES`).
    WriteZeroes,
    /// Flush of the device's cache (`REQ_OP_FLUSH`, or `REQ_PREFLUSH` without data).
    Flush,
    /// Anything else.
    Other,
}

/// The sectors that a bio covers: `bi_sector` and `bi_size` of the C `struct bvec_iter`. Targets
/// here are alone in their table, so this is relative to the target's start as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First sector.
    pub start: u64,
    /// Number of sectors.
    pub len: u64,
}

/// What each clone carries for us: the target's state, and where the bio began.
///
/// The type depends on nothing else of the target, so all targets with the same state lay it out
/// alike.
pub(super) struct PerBio<S> {
    state: S,
    /// Taken when the bio is remapped, if [`Target::REWINDS`](super::Target::REWINDS).
    start: Option<bindings::bvec_iter>,
}

/// A bio that a target owns, with the state `S` that the target keeps with each
/// ([`Target::PerBio`](super::Target::PerBio)).
///
/// Wraps a clone that device-mapper has made: the C `struct bio` inside a `struct dm_target_io`.
///
/// Which target it belongs to is not in the type: code between targets, or below them, need not
/// know. A bio that is handed to another target with the same state still completes in the `end_io`
/// of its own, which is there until then, and finds a state of its own type.
///
/// # Examples
///
/// What comes between a target and its device need not know the target:
///
/// ```
/// use crate::dm::Bio;
/// use crate::dm::BlockDevice;
/// use crate::dm::Op;
/// use crate::dm::Status;
///
/// /// Submits a bio that counts how often it was sent, three times at most.
/// fn send(mut bio: Bio<u32>, device: &BlockDevice) {
///     if bio.op() == Op::Other || *bio.state() == 3 {
///         return bio.end(Status::IO_ERROR);
///     }
///     *bio.state() += 1;
///     let start = bio.span().start;
///     bio.submit(device, start);
/// }
/// ```
///
/// # Invariants
///
/// - A valid clone made by device-mapper for a target whose `PerBio` is `S`, whose completion
///   device-mapper has not seen yet, owned by this object alone; its per-bio data is a valid
///   `PerBio<S>`.
/// - `S` is that very type, not one that it could be coerced to: what is written to the state is
///   read by the target's `end_io`. Hence the marker, which makes `S` invariant.
pub struct Bio<S> {
    bio: NonNull<bindings::bio>,
    _state: PhantomData<fn(S) -> S>,
}

// SAFETY: A bio may be handled by any thread, and the per-bio data is `Send`.
unsafe impl<S: Send> Send for Bio<S> {}

impl<S: Default> Bio<S> {
    /// Takes a bio that is new to the target, and gives it a state.
    ///
    /// # Safety
    ///
    /// `bio` is a clone that device-mapper has just passed to `map` of a target whose `PerBio` is
    /// `S`, and the caller gives up its ownership.
    pub(super) unsafe fn begin(bio: NonNull<bindings::bio>) -> Self {
        let fresh = PerBio {
            state: S::default(),
            start: None,
        };
        // SAFETY: By the safety requirement.
        let place = unsafe { per_bio::<S>(bio.as_ptr()) };
        // SAFETY: The per-bio data is reserved for this, aligned (asserted in `vtable.rs`), and
        // holds nothing yet.
        unsafe { place.write(fresh) };
        // SAFETY: By the safety requirement, and the state has just been initialised.
        unsafe { Self::from_ptr(bio) }
    }
}

impl<S> Bio<S> {
    /// # Safety
    ///
    /// `bio` fulfils the type invariants, and the caller gives up its ownership.
    pub(super) unsafe fn from_ptr(bio: NonNull<bindings::bio>) -> Self {
        // INVARIANT: By the safety requirement.
        Self {
            bio,
            _state: PhantomData,
        }
    }

    fn iter(&self) -> bindings::bvec_iter {
        // SAFETY: By the type invariant the bio is valid and ours.
        unsafe { (*self.bio.as_ptr()).bi_iter }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::bio {
        self.bio.as_ptr()
    }

    /// What the bio asks for, with all that is said about it (`bi_opf`).
    pub(super) fn flags(&self) -> u32 {
        // SAFETY: By the type invariant the bio is valid and ours.
        unsafe { (*self.bio.as_ptr()).bi_opf }
    }

    /// What the bio asks for (`bio_op()`).
    pub fn op(&self) -> Op {
        match self.flags() & bindings::REQ_OP_MASK {
            bindings::req_op_REQ_OP_READ => Op::Read,
            bindings::req_op_REQ_OP_WRITE if self.is_empty_flush() => Op::Flush,
            bindings::req_op_REQ_OP_WRITE => Op::Write,
            bindings::req_op_REQ_OP_DISCARD => Op::Discard,
            bindings::req_op_REQ_OP_WRITE_ZEROES => Op::WriteZeroes,
            bindings::req_op_REQ_OP_FLUSH => Op::Flush,
            _ => Op::Other,
        }
    }

    /// device-mapper sends a flush as an empty write, apart from the data that it came with.
    fn is_empty_flush(&self) -> bool {
        self.flags() & bindings::REQ_PREFLUSH != 0 && self.iter().bi_size == 0
    }

    /// How the I/O ended, for a bio that came back (`bi_status`).
    pub fn status(&self) -> Status {
        // SAFETY: By the type invariant the bio is valid and ours.
        Status(unsafe { (*self.bio.as_ptr()).bi_status })
    }

    /// Returns true if the submitter wants an error rather than to wait (`REQ_NOWAIT`).
    pub fn is_nowait(&self) -> bool {
        self.flags() & bindings::REQ_NOWAIT != 0
    }

    /// Returns true if nobody waits for the bio yet (`REQ_RAHEAD`). What cannot be had soon may
    /// fail.
    pub fn is_readahead(&self) -> bool {
        self.flags() & bindings::REQ_RAHEAD != 0
    }

    /// The sectors covered (`bi_iter`).
    #[inline]
    pub fn span(&self) -> Span {
        let iter = self.iter();
        Span {
            start: iter.bi_sector,
            len: u64::from(iter.bi_size >> bindings::SECTOR_SHIFT),
        }
    }

    /// The target's state of this bio (`dm_per_bio_data()`).
    #[inline]
    pub fn state(&mut self) -> &mut S {
        &mut self.per_bio().state
    }

    #[inline]
    fn per_bio(&mut self) -> &mut PerBio<S> {
        // SAFETY: By the type invariant a clone for a target whose `PerBio` is `S`.
        let per_bio = unsafe { per_bio::<S>(self.bio.as_ptr()) };
        // SAFETY: By the type invariant the per-bio data is valid, and ours alone.
        unsafe { &mut *per_bio }
    }

    /// Directs the bio to `sector` of `device` (`bio_set_dev()`).
    pub(super) fn set_device(&mut self, device: &BlockDevice, sector: u64) {
        // SAFETY: Both are valid, the bio is ours.
        unsafe { bindings::dm_preserve_bio_set_dev(self.bio.as_ptr(), device.as_ptr()) };
        // SAFETY: The bio is valid and ours.
        unsafe { (*self.bio.as_ptr()).bi_iter.bi_sector = sector };
    }

    /// Sends the bio to `sector` of `device` (`dm_submit_bio_remap()`). Process context. The device
    /// must stay open until the bio completes; the target that the bio belongs to should own it.
    ///
    /// For who submitted it in the first place: it counts for that cgroup, whatever task this is.
    /// As an I/O of the mapped device it is in flight from now on; its time counts from its
    /// arrival.
    pub fn submit(mut self, device: &BlockDevice, sector: u64) {
        self.set_device(device, sector);
        let bio = ManuallyDrop::new(self).bio;
        // SAFETY: The bio is valid and ours.
        unsafe { (*bio.as_ptr()).bi_status = 0 };
        // SAFETY: A clone of device-mapper's, whose ownership passes to the block layer. No bio of
        // ours is sent in its place. `vtable.rs` sets `accounts_remapped_io`, as this asks for.
        unsafe { bindings::dm_submit_bio_remap(bio.as_ptr(), core::ptr::null_mut()) };
    }

    /// Ends the bio (`bio_endio()`).
    pub fn end(self, status: Status) {
        let bio = ManuallyDrop::new(self).bio;
        // SAFETY: The bio is valid and ours.
        unsafe { (*bio.as_ptr()).bi_status = status.0 };
        // SAFETY: By the type invariant it has not been ended; the ownership goes back.
        unsafe { bindings::bio_endio(bio.as_ptr()) };
    }

    /// Fills the rest of the bio with zeroes (`zero_fill_bio()`). Does nothing to one that is not a
    /// read: its pages are not ours to change.
    pub fn zero_fill(&mut self) {
        if self.op() != Op::Read {
            return;
        }
        // SAFETY: The bio is valid and ours, and a read has pages for what its iterator says.
        unsafe { bindings::dm_preserve_zero_fill_bio(self.bio.as_ptr()) };
    }

    /// Notes where the bio is now, for [`Self::rewind`].
    #[inline]
    pub(super) fn note_start(&mut self) {
        self.per_bio().start = Some(self.iter());
    }

    /// Goes back to where the bio was when it was remapped, its sector relative to the target
    /// again. Like `dm_bio_restore()` of
    /// [`drivers/md/dm-bio-record.h`](srctree/drivers/md/dm-bio-record.h). Returns false if it
    /// never was remapped, or the target does not ask for it
    /// ([`Target::REWINDS`](super::Target::REWINDS)).
    pub fn rewind(&mut self) -> bool {
        let Some(start) = self.per_bio().start else {
            return false;
        };
        // SAFETY: The bio is valid and ours, and began with this iterator.
        unsafe { (*self.bio.as_ptr()).bi_iter = start };
        true
    }

    /// Copies `bytes` bytes of `io`, from `offset` on, to the bio's present position and moves on
    /// by as many (`bio_copy_data()`, `bio_advance()`), or by what is left of the bio, or of `io`.
    /// Does nothing to a bio that is not a read.
    pub fn fill_from<D>(&mut self, io: &mut Io<D>, offset: u32, bytes: u32) {
        if self.op() != Op::Read {
            return;
        }
        io.prepare_copy(offset, bytes);
        let bytes = bytes.min(io.capacity().saturating_sub(offset));
        self.with_first(bytes, |bio| {
            // SAFETY: Both bios have pages for what their iterators say; the shorter one decides.
            unsafe { bindings::bio_copy_data(bio.bio.as_ptr(), io.as_ptr()) };
        });
    }

    /// Copies `bytes` bytes from the bio's present position on to the beginning of `io` and moves
    /// on by as many (`bio_copy_data()`, `bio_advance()`), or by what is left of the bio, or of
    /// `io`. Does nothing for a bio that is not a read: others may have no pages.
    pub fn copy_to<D>(&mut self, io: &mut Io<D>, bytes: u32) {
        if self.op() != Op::Read {
            return;
        }
        io.prepare_copy(0, bytes);
        self.with_first(bytes.min(io.capacity()), |bio| {
            // SAFETY: As in `fill_from`; `io` is borrowed exclusively and not in flight.
            unsafe { bindings::bio_copy_data(io.as_ptr(), bio.bio.as_ptr()) };
        });
    }

    /// Fills with zeroes up to `bytes` bytes from the present position and moves on by as many
    /// (`zero_fill_bio()`, `bio_advance()`).
    pub fn skip_zeroed(&mut self, bytes: u32) {
        self.with_first(bytes, Self::zero_fill);
    }

    /// Lets `f` work on the first `bytes` bytes at most, then moves on behind them.
    fn with_first(&mut self, bytes: u32, f: impl FnOnce(&mut Self)) {
        let whole = self.iter();
        let part = whole.bi_size.min(bytes);
        // SAFETY: The bio is valid and ours; it becomes shorter.
        unsafe { (*self.bio.as_ptr()).bi_iter.bi_size = part };
        f(self);
        // SAFETY: The bio is valid and ours; this is what it was.
        unsafe { (*self.bio.as_ptr()).bi_iter = whole };
        // SAFETY: The bio is valid, and is not moved beyond its end.
        unsafe { bindings::dm_preserve_bio_advance(self.bio.as_ptr(), part) };
    }

    /// Drops the state, and leaves the bio to device-mapper, which frees it. The end of its life.
    #[inline]
    pub(super) fn finish(mut self) {
        let state: *mut PerBio<S> = self.per_bio();
        core::mem::forget(self);
        // SAFETY: By the type invariant the state is valid. Nothing sees it after this, as the
        // owner of the bio is gone.
        unsafe { core::ptr::drop_in_place(state) };
    }
}

impl<S> Drop for Bio<S> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the bio is ours and not ended; nobody uses `self` after
        // this.
        unsafe { Self::from_ptr(self.bio) }.end(Status::IO_ERROR);
    }
}

// SAFETY: A `Bio` owns its bio exclusively, and device-mapper's clones use `bi_next` for nothing.
unsafe impl<S> Node for Bio<S> {
    fn into_bio(self) -> NonNull<bindings::bio> {
        ManuallyDrop::new(self).bio
    }

    unsafe fn from_bio(bio: NonNull<bindings::bio>) -> Self {
        // SAFETY: The caller passes on what `into_bio` gave up.
        unsafe { Self::from_ptr(bio) }
    }
}

/// The per-bio data of a clone: valid from [`Bio::begin`] to [`Bio::finish`].
///
/// # Safety
///
/// `bio` is a clone for a target whose `per_io_data_size` is the size of `PerBio<S>`, as that of
/// every target with `S` as its `PerBio` is (`vtable.rs`).
unsafe fn per_bio<S>(bio: *mut bindings::bio) -> *mut PerBio<S> {
    // SAFETY: By the safety requirement; arithmetic within the clone's allocation.
    unsafe { bindings::dm_per_bio_data(bio, core::mem::size_of::<PerBio<S>>()) }.cast()
}
