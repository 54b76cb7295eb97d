// SPDX-License-Identifier: GPL-2.0

//! What a target implements, and the bios that are passed to its methods.
//!
//! A target's type names these bios, and theirs names the target: [`Incoming`] and [`Completed`]
//! are of no use without it, so all three are here.
//!
//! C header: [`include/linux/device-mapper.h`](srctree/include/linux/device-mapper.h)

use super::Bio;
use super::BlockDevice;
use super::Constructor;
use super::Op;
use super::Status;
use super::StatusKind;
use super::StatusWriter;
use crate::bindings;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::error::VTABLE_DEFAULT_ERROR;
use kernel::prelude::*;
use kernel::str::CStr;

/// A device-mapper target type; a value of it is one target in a table.
///
/// The type stands for the C `struct target_type`, whose callbacks are the methods, a value for a
/// `struct dm_target`. [`super`] has an example.
///
/// Every target is alone in its table (`DM_TARGET_SINGLETON`), which therefore begins at sector 0.
///
/// The order of calls is `new`, then any number of (`preresume`, `resume`, ..., `presuspend`,
/// `postsuspend`), then drop. `map` and `end_io` run concurrently, and only between the first
/// `resume` and the last `postsuspend`; `status` and `message` also outside. When a table is
/// reloaded the new target's `new` comes before the old one's `presuspend`, and the old one's drop
/// after the new one's `resume`.
#[vtable]
pub trait Target: Sized + Send + Sync + 'static {
    /// The name in table lines (`name`).
    const NAME: &'static CStr;
    /// Major, minor, patch (`version`).
    const VERSION: [u32; 3];
    /// Bios may be rewound to where they were remapped; costs a few instructions for each.
    const REWINDS: bool = false;
    /// [`Completed::hold`] is used. Destroying a target then waits for an RCU grace period.
    const HOLDS: bool = false;
    /// State kept with each bio (`per_io_data_size`). Dropped when the bio is done, maybe in
    /// interrupt context: dropping it must not sleep.
    type PerBio: Default + Send;

    /// Makes the target of a table line (`dm_ctr_fn`). The words after the target's name are
    /// `args`. With an error, which may be any, the table is not loaded; [`Constructor::fail`]
    /// tells why.
    fn new(table: &mut Constructor<'_>, args: &[&str]) -> Result<Pin<KBox<Self>>>;

    /// Sends a bio on its way (`dm_map_fn`). Must not sleep; may allocate only with `GFP_NOWAIT`. A
    /// bio that says [`Bio::is_nowait`] must not be kept waiting.
    fn map<'a>(&'a self, bio: Incoming<'a, Self>) -> Mapped<'a>;

    /// A bio is complete (`dm_endio_fn`). May be interrupt context.
    fn end_io<'a>(&'a self, bio: Completed<'a, Self>) -> Ended<'a> {
        bio.done()
    }

    /// The device is going to be suspended; bios still arrive (`dm_presuspend_fn`).
    fn presuspend(&self, _kind: Suspend) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The suspend that was announced does not happen (`dm_presuspend_undo_fn`).
    fn presuspend_undo(&self) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The device is suspended; no bio is in flight (`dm_postsuspend_fn`).
    fn postsuspend(&self) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The table is about to become active (`dm_preresume_fn`). Must not allocate memory with I/O.
    /// On an error, which may be any, device-mapper leaves the device suspended, without its old
    /// table.
    fn preresume(&self) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The table is active; bios arrive from now on (`dm_resume_fn`).
    fn resume(&self) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the mapped device's logical block in bytes (`dm_io_hints_fn`): a power of two, from
    /// 512 on. A target that does not implement this has the largest of its devices', whose limits
    /// are the mapped device's; one that does never sends them less than they take.
    fn block_bytes(&self) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes the status or the table line's arguments (`dm_status_fn`). An error is ignored:
    /// device-mapper sees by itself when the text does not fit.
    fn status(&self, kind: StatusKind, out: &mut StatusWriter<'_>) -> fmt::Result;

    /// Handles a message (`dm_message_fn`); what is written to `out` is the reply. An error, which
    /// may be any, is that of the sender's ioctl.
    ///
    /// Runs inside device-mapper's SRCU section: must not freeze a filesystem or wait for a
    /// suspend.
    fn message(&self, _args: &[&str], _out: &mut StatusWriter<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// How the device is being suspended (`dm_noflush_suspending()`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suspend {
    /// Waits for all bios to complete.
    Flush,
    /// Bios that are held may go back with [`Status::REQUEUE`].
    NoFlush,
}

/// Ties a bio to the one call that it was passed to, so that a result cannot be that of another
/// call.
type Call<'a> = PhantomData<fn(&'a ()) -> &'a ()>;

/// Result of `map`: there is no way to make one but by consuming the [`Incoming`]. Represents the C
/// constants `DM_MAPIO_*`.
#[must_use]
pub struct Mapped<'a>(pub(super) i32, Call<'a>);

/// A bio in `map`: the argument of the C type `dm_map_fn`.
///
/// # Examples
///
/// ```
/// use crate::dm::Bio;
/// use crate::dm::BlockDevice;
/// use crate::dm::Incoming;
/// use crate::dm::List;
/// use crate::dm::Mapped;
/// use crate::dm::Op;
/// use crate::dm::Status;
/// use crate::dm::Target;
/// use kernel::sync::SpinLock;
///
/// /// Passes reads on, 64 sectors at a time, and keeps writes for later.
/// fn map<'a, T: Target<PerBio = ()>>(
///     mut bio: Incoming<'a, T>,
///     device: &'a BlockDevice,
///     writes: &SpinLock<List<Bio<()>>>,
/// ) -> Mapped<'a> {
///     let start = bio.span().start;
///     match bio.op() {
///         Op::Read => {
///             bio.keep_first(64);
///             bio.remap(device, start)
///         }
///         Op::Write if bio.is_nowait() => bio.end(Status::AGAIN),
///         Op::Write => bio.take(|bio| writes.lock().push(bio)),
///         _ => bio.end(Status::NOT_SUPPORTED),
///     }
/// }
/// ```
///
/// # Invariants
///
/// Passed to the call of `map` that `'a` stands for, and not consumed yet.
pub struct Incoming<'a, T: Target>(Bio<T::PerBio>, Call<'a>);

impl<'a, T: Target> Incoming<'a, T> {
    /// # Safety
    ///
    /// `bio` is a clone that device-mapper has just passed to `map` of a target of type `T`, the
    /// call of which `'a` stands for.
    pub(super) unsafe fn new(bio: NonNull<bindings::bio>) -> Self {
        // SAFETY: By the safety requirement; device-mapper leaves the bio to `map`.
        // INVARIANT: By the safety requirement.
        Self(unsafe { Bio::begin(bio) }, PhantomData)
    }

    /// The target's state of this bio.
    #[inline]
    pub fn state(&mut self) -> &mut T::PerBio {
        self.0.state()
    }

    /// Fills the bio with zeroes, if it is a read.
    pub fn zero_fill(&mut self) {
        self.0.zero_fill();
    }

    /// Lets device-mapper submit the bio to `sector` of `device`, which must stay open as long as
    /// the target (`bio_set_dev()`, `DM_MAPIO_REMAPPED`).
    #[inline]
    pub fn remap(mut self, device: &'a BlockDevice, sector: u64) -> Mapped<'a> {
        if T::REWINDS {
            self.0.note_start();
        }
        self.0.set_device(device, sector);
        core::mem::forget(self.0);
        Mapped(bindings::DM_MAPIO_REMAPPED as i32, PhantomData)
    }

    /// Ends the bio (`bio_endio()`, `DM_MAPIO_SUBMITTED`).
    pub fn end(self, status: Status) -> Mapped<'a> {
        self.take(|bio| bio.end(status))
    }

    /// Takes the bio away; it is the target's to submit or end (`DM_MAPIO_SUBMITTED`).
    pub fn take(self, f: impl FnOnce(Bio<T::PerBio>)) -> Mapped<'a> {
        f(self.0);
        Mapped(bindings::DM_MAPIO_SUBMITTED as i32, PhantomData)
    }

    /// Keeps only the first `sectors` sectors; device-mapper sends the rest as another bio
    /// (`dm_accept_partial_bio()`). Only reads, discards and write-zeroes are cut; a bio that is
    /// not longer stays as it is. Returns the bio's length now, in sectors.
    pub fn keep_first(&mut self, sectors: u64) -> u64 {
        let len = self.0.span().len;
        let splittable = matches!(self.0.op(), Op::Read | Op::Discard | Op::WriteZeroes)
            && self.0.flags() & bindings::REQ_ATOMIC == 0;
        if !splittable || sectors == 0 || sectors >= len {
            return len;
        }
        // CAST: Less than the bio's length, which is an `u32`.
        // SAFETY: In `map`, not longer than the bio, not atomic, and no duplicate: reads never are,
        // and discards and write-zeroes are not as a target gets one bio for each
        // (`num_discard_bios` and `num_write_zeroes_bios` are 1). What must not be cut on a zoned
        // device does not come: we do not offer zones.
        unsafe { bindings::dm_accept_partial_bio(self.0.as_ptr(), sectors as u32) };
        sectors
    }
}

impl<T: Target> core::ops::Deref for Incoming<'_, T> {
    type Target = Bio<T::PerBio>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Result of `end_io`. Represents the C constants `DM_ENDIO_*`.
#[must_use]
pub struct Ended<'a>(pub(super) i32, Call<'a>);

/// A bio in `end_io`: the argument of the C type `dm_endio_fn`. May be interrupt context.
///
/// # Examples
///
/// Reads that failed are ended by a work item, with zeroes; [`Target::HOLDS`] and
/// [`Target::REWINDS`] are true:
///
/// ```
/// use crate::dm::Bio;
/// use crate::dm::Completed;
/// use crate::dm::Ended;
/// use crate::dm::IrqStack;
/// use crate::dm::Op;
/// use crate::dm::Status;
/// use crate::dm::Target;
///
/// fn end_io<'a, T: Target<PerBio = ()>>(
///     bio: Completed<'a, T>,
///     failed: &IrqStack<Bio<()>>,
/// ) -> Ended<'a> {
///     match bio.status() {
///         Status::IO_ERROR if bio.op() == Op::Read => bio.hold(|bio| failed.push(bio)),
///         _ => bio.done(),
///     }
/// }
///
/// fn end_failed(failed: &IrqStack<Bio<()>>) {
///     let mut failed = failed.take();
///     while let Some(mut bio) = failed.pop() {
///         let status = match bio.rewind() {
///             true => Status::OK,
///             false => Status::IO_ERROR,
///         };
///         bio.zero_fill();
///         // It comes to `end_io` once more, which lets it go.
///         bio.end(status);
///     }
/// }
/// ```
///
/// # Invariants
///
/// Passed to the call of `end_io` that `'a` stands for, and not consumed yet.
pub struct Completed<'a, T: Target>(Bio<T::PerBio>, Call<'a>);

impl<'a, T: Target> Completed<'a, T> {
    /// # Safety
    ///
    /// `bio` is a clone passed to `end_io` of a target of type `T`, after `map` saw it, in the call
    /// that `'a` stands for.
    pub(super) unsafe fn new(bio: NonNull<bindings::bio>) -> Self {
        // SAFETY: By the safety requirement; the state is valid since `map`.
        // INVARIANT: By the safety requirement.
        Self(unsafe { Bio::from_ptr(bio) }, PhantomData)
    }

    /// The target's state of this bio.
    #[inline]
    pub fn state(&mut self) -> &mut T::PerBio {
        self.0.state()
    }

    /// Lets the completion go on to whoever sent the bio (`DM_ENDIO_DONE`).
    #[inline]
    pub fn done(self) -> Ended<'a> {
        self.0.finish();
        Ended(bindings::DM_ENDIO_DONE as i32, PhantomData)
    }

    /// Stops the completion; the bio is the target's again, and `end_io` sees it once more
    /// (`DM_ENDIO_INCOMPLETE`). Only for targets that say so ([`Target::HOLDS`]).
    pub fn hold(self, f: impl FnOnce(Bio<T::PerBio>)) -> Ended<'a> {
        const { assert!(T::HOLDS, "Target::HOLDS is needed for Completed::hold") };
        // A lower device may have split the bio; it starts anew (as `dm-bio-record.h` does it).
        // SAFETY: The bio is valid and ours, and nobody else counts on it now.
        unsafe { (*self.0.as_ptr()).__bi_remaining.counter = 1 };
        f(self.0);
        Ended(bindings::DM_ENDIO_INCOMPLETE as i32, PhantomData)
    }
}

impl<T: Target> core::ops::Deref for Completed<'_, T> {
    type Target = Bio<T::PerBio>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
