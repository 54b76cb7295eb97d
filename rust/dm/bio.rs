// SPDX-License-Identifier: GPL-2.0

//! The bios that device-mapper hands to a target.
//!
//! # Life of a bio
//!
//! 1. [`Incoming`]: in `map`. Remapped (device-mapper submits it), ended, or taken as a [`Bio`].
//! 2. [`Bio`]: owned by the target, in a [`List`](super::List) or on its way. Submitted or ended.
//!    One that is dropped instead is ended with an error, so that no bio is ever lost.
//! 3. [`Completed`]: in `end_io`, after 1 or 2. Done with, or held once more as a [`Bio`].
//!
//! Each bio carries the target's own state, [`Target::PerBio`], from 1 until it is done with.
//!
//! C header: [`include/linux/bio.h`](srctree/include/linux/bio.h)

use super::list::Node;
use super::BlockDevice;
use super::Io;
use super::Target;
use crate::bindings;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// How an I/O ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Status(pub(super) u8);

impl Status {
    /// Success.
    pub(crate) const OK: Self = Self(0);
    /// An I/O error.
    pub(crate) const IO_ERROR: Self = Self(bindings::BLK_STS_IOERR);
    /// Would have to wait, and the submitter does not want to (`REQ_NOWAIT`).
    pub(crate) const AGAIN: Self = Self(bindings::BLK_STS_AGAIN);
    /// Waited for too long.
    pub(crate) const TIMEOUT: Self = Self(bindings::BLK_STS_TIMEOUT);
    /// Not supported.
    pub(crate) const NOT_SUPPORTED: Self = Self(bindings::BLK_STS_NOTSUPP);
    /// Back to device-mapper, which submits it again after a noflush suspend.
    pub(crate) const REQUEUE: Self = Self(bindings::BLK_STS_DM_REQUEUE);
}

/// What a bio asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// Read.
    Read,
    /// Write, of data.
    Write,
    /// The content is not needed any longer.
    Discard,
    /// Write of zeroes, without data.
    WriteZeroes,
    /// Flush of the device's cache.
    Flush,
    /// Anything else.
    Other,
}

/// The sectors that a bio covers. Targets here are alone in their table, so this is relative to the
/// target's start as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    /// First sector.
    pub(crate) start: u64,
    /// Number of sectors.
    pub(crate) len: u64,
}

/// What each clone carries for us: the target's state, and where the bio began.
pub(super) struct PerBio<T: Target> {
    state: T::PerBio,
    /// Taken when the bio is remapped, if [`Target::REWINDS`].
    start: Option<bindings::bvec_iter>,
}

/// A bio that the target owns.
///
/// # Invariants
///
/// A valid clone made by device-mapper for a target of type `T`, whose completion device-mapper has not
/// seen yet, owned by this object alone; its per-bio data is valid.
pub(crate) struct Bio<T: Target> {
    bio: NonNull<bindings::bio>,
    _target: PhantomData<T>,
}

// SAFETY: A bio may be handled by any thread, and the per-bio data is `Send`.
unsafe impl<T: Target> Send for Bio<T> {}

impl<T: Target> Bio<T> {
    /// # Safety
    ///
    /// `bio` fulfils the type invariants, and the caller gives up its ownership.
    unsafe fn from_ptr(bio: NonNull<bindings::bio>) -> Self {
        // INVARIANT: By the safety requirement.
        Self {
            bio,
            _target: PhantomData,
        }
    }

    fn iter(&self) -> bindings::bvec_iter {
        // SAFETY: By the type invariant the bio is valid and ours.
        unsafe { (*self.bio.as_ptr()).bi_iter }
    }

    fn flags(&self) -> u32 {
        // SAFETY: By the type invariant the bio is valid and ours.
        unsafe { (*self.bio.as_ptr()).bi_opf }
    }

    /// What the bio asks for.
    pub(crate) fn op(&self) -> Op {
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

    /// How the I/O ended, for a bio that came back.
    pub(crate) fn status(&self) -> Status {
        // SAFETY: By the type invariant the bio is valid and ours.
        Status(unsafe { (*self.bio.as_ptr()).bi_status })
    }

    /// The submitter wants an error rather than to wait (`REQ_NOWAIT`).
    pub(crate) fn is_nowait(&self) -> bool {
        self.flags() & bindings::REQ_NOWAIT != 0
    }

    /// Returns true if nobody waits for the bio yet (`REQ_RAHEAD`). What cannot be had soon may fail.
    pub(crate) fn is_readahead(&self) -> bool {
        self.flags() & bindings::REQ_RAHEAD != 0
    }

    /// The sectors covered.
    #[inline]
    pub(crate) fn span(&self) -> Span {
        let iter = self.iter();
        Span {
            start: iter.bi_sector,
            len: u64::from(iter.bi_size >> bindings::SECTOR_SHIFT),
        }
    }

    /// The target's state of this bio.
    #[inline]
    pub(crate) fn state(&mut self) -> &mut T::PerBio {
        &mut self.per_bio().state
    }

    #[inline]
    fn per_bio(&mut self) -> &mut PerBio<T> {
        // SAFETY: By the type invariant a clone for a target of type `T`.
        let per_bio = unsafe { per_bio::<T>(self.bio.as_ptr()) };
        // SAFETY: By the type invariant the per-bio data is valid, and ours alone.
        unsafe { &mut *per_bio }
    }

    fn set_device(&mut self, device: &BlockDevice, sector: u64) {
        // SAFETY: Both are valid, the bio is ours.
        unsafe { bindings::dm_preserve_bio_set_dev(self.bio.as_ptr(), device.as_ptr()) };
        // SAFETY: The bio is valid and ours.
        unsafe { (*self.bio.as_ptr()).bi_iter.bi_sector = sector };
    }

    /// Sends the bio to `sector` of `device`. Process context. The device must stay open until the bio
    /// completes; the target that the bio belongs to should own it.
    pub(crate) fn submit(mut self, device: &BlockDevice, sector: u64) {
        self.set_device(device, sector);
        let bio = ManuallyDrop::new(self).bio;
        // SAFETY: The bio is valid and ours.
        unsafe { (*bio.as_ptr()).bi_status = 0 };
        // Not `dm_submit_bio_remap`, which would account the bio a second time, at the same time as device-mapper does
        // after `map`: that is for targets that set `accounts_remapped_io`.
        // SAFETY: A clone of device-mapper's, whose ownership passes to the block layer.
        unsafe { bindings::submit_bio_noacct(bio.as_ptr()) };
    }

    /// Ends the bio.
    pub(crate) fn end(self, status: Status) {
        let bio = ManuallyDrop::new(self).bio;
        // SAFETY: The bio is valid and ours.
        unsafe { (*bio.as_ptr()).bi_status = status.0 };
        // SAFETY: By the type invariant it has not been ended; the ownership goes back.
        unsafe { bindings::bio_endio(bio.as_ptr()) };
    }

    /// Fills the rest of the bio with zeroes. Does nothing to one that is not a read: its pages are not
    /// ours to change.
    pub(crate) fn zero_fill(&mut self) {
        if self.op() != Op::Read {
            return;
        }
        // SAFETY: The bio is valid and ours, and a read has pages for what its iterator says.
        unsafe { bindings::dm_preserve_zero_fill_bio(self.bio.as_ptr()) };
    }

    /// Goes back to where the bio was when it was remapped, its sector relative to the target again.
    /// `false` if it never was, or the target does not ask for it ([`Target::REWINDS`]).
    pub(crate) fn rewind(&mut self) -> bool {
        let Some(start) = self.per_bio().start else {
            return false;
        };
        // SAFETY: The bio is valid and ours, and began with this iterator.
        unsafe { (*self.bio.as_ptr()).bi_iter = start };
        true
    }

    /// Copies `bytes` bytes of `io`, from `offset` on, to the bio's present position and moves on by as many, or by
    /// what is left of the bio, or of `io`. Does nothing to a bio that is not a read.
    pub(crate) fn fill_from<D>(&mut self, io: &mut Io<D>, offset: u32, bytes: u32) {
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

    /// Copies `bytes` bytes from the bio's present position on to the beginning of `io` and moves on by as many, or by what is left
    /// of the bio, or of `io`. Does nothing for a bio that is not a read: others may have no pages.
    pub(crate) fn copy_to<D>(&mut self, io: &mut Io<D>, bytes: u32) {
        if self.op() != Op::Read {
            return;
        }
        io.prepare_copy(0, bytes);
        self.with_first(bytes.min(io.capacity()), |bio| {
            // SAFETY: As in `fill_from`; `io` is borrowed exclusively and not in flight.
            unsafe { bindings::bio_copy_data(io.as_ptr(), bio.bio.as_ptr()) };
        });
    }

    /// Fills with zeroes up to `bytes` bytes from the present position and moves on by as many.
    pub(crate) fn skip_zeroed(&mut self, bytes: u32) {
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
}

impl<T: Target> Drop for Bio<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the bio is ours and not ended; nobody uses `self` after this.
        unsafe { Self::from_ptr(self.bio) }.end(Status::IO_ERROR);
    }
}

// SAFETY: A `Bio` owns its bio exclusively, and device-mapper's clones use `bi_next` for nothing.
unsafe impl<T: Target> Node for Bio<T> {
    fn into_bio(self) -> NonNull<bindings::bio> {
        ManuallyDrop::new(self).bio
    }

    unsafe fn from_bio(bio: NonNull<bindings::bio>) -> Self {
        // SAFETY: The caller passes on what `into_bio` gave up.
        unsafe { Self::from_ptr(bio) }
    }
}

/// The per-bio data of a clone: valid from [`Incoming::new`] to [`Completed::done`].
///
/// # Safety
///
/// `bio` is a clone for a target of type `T`, whose `per_io_data_size` is the size of `PerBio<T>`.
unsafe fn per_bio<T: Target>(bio: *mut bindings::bio) -> *mut PerBio<T> {
    // SAFETY: By the safety requirement; arithmetic within the clone's allocation.
    unsafe { bindings::dm_per_bio_data(bio, core::mem::size_of::<PerBio<T>>()) }.cast()
}

/// Ties a bio to the one call that it was passed to, so that a result cannot be that of another call.
type Call<'a> = PhantomData<fn(&'a ()) -> &'a ()>;

/// Result of `map`: there is no way to make one but by consuming the [`Incoming`].
#[must_use]
pub(crate) struct Mapped<'a>(pub(super) i32, Call<'a>);

/// A bio in `map`.
///
/// # Invariants
///
/// Passed to the call of `map` that `'a` stands for, and not consumed yet.
pub(crate) struct Incoming<'a, T: Target>(Bio<T>, Call<'a>);

impl<'a, T: Target> Incoming<'a, T> {
    /// # Safety
    ///
    /// `bio` is a clone that device-mapper has just passed to `map` of a target of type `T`, the call of
    /// which `'a` stands for.
    pub(super) unsafe fn new(bio: NonNull<bindings::bio>) -> Self {
        let fresh = PerBio {
            state: T::PerBio::default(),
            start: None,
        };
        // SAFETY: By the safety requirement.
        let place = unsafe { per_bio::<T>(bio.as_ptr()) };
        // SAFETY: The per-bio data is reserved for this, aligned (asserted in `vtable.rs`), and holds
        // nothing yet.
        unsafe { place.write(fresh) };
        // SAFETY: By the safety requirement, and the state has just been initialised.
        // INVARIANT: By the safety requirement.
        Self(unsafe { Bio::from_ptr(bio) }, PhantomData)
    }

    /// The target's state of this bio.
    #[inline]
    pub(crate) fn state(&mut self) -> &mut T::PerBio {
        self.0.state()
    }

    /// Fills the bio with zeroes, if it is a read.
    pub(crate) fn zero_fill(&mut self) {
        self.0.zero_fill();
    }

    /// Device-mapper submits the bio to `sector` of `device`, which must stay open as long as the target.
    #[inline]
    pub(crate) fn remap(mut self, device: &'a BlockDevice, sector: u64) -> Mapped<'a> {
        if T::REWINDS {
            self.0.per_bio().start = Some(self.0.iter());
        }
        self.0.set_device(device, sector);
        core::mem::forget(self.0);
        Mapped(bindings::DM_MAPIO_REMAPPED as i32, PhantomData)
    }

    /// Ends the bio.
    pub(crate) fn end(self, status: Status) -> Mapped<'a> {
        self.take(|bio| bio.end(status))
    }

    /// Takes the bio away; it is the target's to submit or end.
    pub(crate) fn take(self, f: impl FnOnce(Bio<T>)) -> Mapped<'a> {
        f(self.0);
        Mapped(bindings::DM_MAPIO_SUBMITTED as i32, PhantomData)
    }

    /// Keeps only the first `sectors` sectors; device-mapper sends the rest as another bio. Only reads, discards and
    /// write-zeroes are cut; a bio that is not longer stays as it is. The result is the bio's length now.
    pub(crate) fn keep_first(&mut self, sectors: u64) -> u64 {
        let len = self.0.span().len;
        let splittable = matches!(self.0.op(), Op::Read | Op::Discard | Op::WriteZeroes)
            && self.0.flags() & bindings::REQ_ATOMIC == 0;
        if !splittable || sectors == 0 || sectors >= len {
            return len;
        }
        // CAST: Less than the bio's length, which is an `u32`.
        // SAFETY: In `map`, not longer than the bio, not atomic, and no duplicate: reads never are, and
        // discards and write-zeroes are not as a target gets one bio for each (`num_discard_bios` and `num_write_zeroes_bios` are 1).
        // What must not be cut on a zoned device does not come: we do not offer zones.
        unsafe { bindings::dm_accept_partial_bio(self.0.bio.as_ptr(), sectors as u32) };
        sectors
    }
}

impl<T: Target> core::ops::Deref for Incoming<'_, T> {
    type Target = Bio<T>;

    fn deref(&self) -> &Bio<T> {
        &self.0
    }
}

/// Result of `end_io`.
#[must_use]
pub(crate) struct Ended<'a>(pub(super) i32, Call<'a>);

/// A bio in `end_io`. May be interrupt context.
///
/// # Invariants
///
/// Passed to the call of `end_io` that `'a` stands for, and not consumed yet.
pub(crate) struct Completed<'a, T: Target>(Bio<T>, Call<'a>);

impl<'a, T: Target> Completed<'a, T> {
    /// # Safety
    ///
    /// `bio` is a clone passed to `end_io` of a target of type `T`, after `map` saw it, in the call that
    /// `'a` stands for.
    pub(super) unsafe fn new(bio: NonNull<bindings::bio>) -> Self {
        // SAFETY: By the safety requirement; the state is valid since `map`.
        // INVARIANT: By the safety requirement.
        Self(unsafe { Bio::from_ptr(bio) }, PhantomData)
    }

    /// The target's state of this bio.
    #[inline]
    pub(crate) fn state(&mut self) -> &mut T::PerBio {
        self.0.state()
    }

    /// Lets the completion go on to whoever sent the bio.
    #[inline]
    pub(crate) fn done(mut self) -> Ended<'a> {
        let state: *mut PerBio<T> = self.0.per_bio();
        core::mem::forget(self.0);
        // SAFETY: The state is valid, and nothing sees it after this: the clone is freed.
        unsafe { core::ptr::drop_in_place(state) };
        Ended(bindings::DM_ENDIO_DONE as i32, PhantomData)
    }

    /// Stops the completion; the bio is the target's again, and `end_io` sees it once more. Only for
    /// targets that say so ([`Target::HOLDS`]).
    pub(crate) fn hold(self, f: impl FnOnce(Bio<T>)) -> Ended<'a> {
        const { assert!(T::HOLDS, "Target::HOLDS is needed for Completed::hold") };
        // A lower device may have split the bio; it starts anew (as `dm-bio-record.h` does it).
        // SAFETY: The bio is valid and ours, and nobody else counts on it now.
        unsafe { (*self.0.bio.as_ptr()).__bi_remaining.counter = 1 };
        f(self.0);
        Ended(bindings::DM_ENDIO_INCOMPLETE as i32, PhantomData)
    }
}
