// SPDX-License-Identifier: GPL-2.0

//! One durable write made of a header page and the pages of several [`Io`]s.
//!
//! A [`Gather`] is made once and used again and again, like an [`Io`]. It owns the I/Os whose pages
//! it writes until they are taken back, so nobody can change or free the pages while they are in
//! flight.
//!
//! C header: [`include/linux/bio.h`](srctree/include/linux/bio.h)

use super::io::pages_of;
use super::list::List;
use super::list::Node;
use super::BlockDevice;
use super::Io;
use super::Status;
use crate::bindings;
use core::ptr::NonNull;
use kernel::page::Page;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::types::Opaque;

/// What happens when a [`Gather`] comes back: the callback of the C type `bio_end_io_t`.
pub trait GatherDone<D>: Sized + Send + 'static {
    /// Called with the finished write. May be interrupt context. Runs in an RCU read-side section,
    /// as [`IoDone::done`](super::IoDone::done).
    fn done(gather: KBox<Gather<D, Self>>, status: Status);
}

/// A bio made of a header page and others' pages, with a companion of type `E`.
///
/// Wraps a C `struct bio` of our own (`bio_init()`), a write with `REQ_FUA`.
///
/// # Examples
///
/// ```
/// use crate::dm::BlockDevice;
/// use crate::dm::Gather;
/// use crate::dm::GatherDone;
/// use crate::dm::Io;
/// use crate::dm::Status;
/// use kernel::page::PAGE_SIZE;
/// use kernel::sync::Arc;
///
/// /// Keeps the device open until the write is done.
/// struct Record(Option<Arc<BlockDevice>>);
///
/// impl GatherDone<u32> for Record {
///     fn done(gather: KBox<Gather<u32, Self>>, status: Status) {
///         if status != Status::OK {
///             pr_err!("a record is lost\n");
///         }
///         drop(gather);
///     }
/// }
///
/// fn write(mut record: KBox<Gather<u32, Record>>, device: Arc<BlockDevice>, sector: u64) {
///     record.data.0 = Some(device.clone());
///     record.submit(&device, sector);
/// }
///
/// let mut record = Gather::new(Record(None))?;
/// record.set_header(&[1; PAGE_SIZE])?;
/// assert!(record.add(Io::new(4 * PAGE_SIZE, 7u32)?, PAGE_SIZE as u32).is_ok());
/// assert!(record.add(Io::new(PAGE_SIZE, 8)?, PAGE_SIZE as u32).is_ok());
/// let mut parts = record.take_parts();
/// assert_eq!(parts.pop().map(|io| io.data), Some(7));
/// assert_eq!(parts.pop().map(|io| io.data), Some(8));
/// ```
///
/// # Invariants
///
/// - `bio` is initialised, and its table is `vecs`, with room for all its entries.
/// - What the bio covers are `header` and pages of `parts`.
/// - It is not in flight, or this object is owned by the block layer through `bi_private`.
pub struct Gather<D, E> {
    bio: Opaque<bindings::bio>,
    vecs: KVec<bindings::bio_vec>,
    /// Entries of `vecs` used.
    used: usize,
    header: Page,
    parts: List<KBox<Io<D>>>,
    /// Whatever goes along with it.
    pub data: E,
}

// SAFETY: Bios and pages may be handled by any thread.
unsafe impl<D: Send, E: Send> Send for Gather<D, E> {}

impl<D, E> Gather<D, E> {
    /// An empty one. May sleep. Errors: `ENOMEM`.
    pub fn new(data: E) -> Result<KBox<Self>> {
        // CAST: A small constant.
        let max = bindings::BIO_MAX_VECS as usize;
        let gather = Self {
            bio: Opaque::uninit(),
            vecs: KVec::from_elem(bindings::bio_vec::default(), max, GFP_KERNEL)?,
            used: 0,
            header: Page::alloc_page(GFP_KERNEL | __GFP_ZERO)?,
            parts: List::new(),
            data,
        };
        let mut gather = KBox::new(gather, GFP_KERNEL)?;
        // INVARIANT: This initialises the bio.
        gather.clear();
        Ok(gather)
    }

    /// Makes it cover the header page alone (`bio_init()`). The parts must have been taken back.
    fn clear(&mut self) {
        // CAST: A small constant.
        let max = self.vecs.len() as u16;
        let op = bindings::req_op_REQ_OP_WRITE | bindings::REQ_SYNC | bindings::REQ_FUA;
        let bdev = core::ptr::null_mut();
        // SAFETY: The bio is not in flight and may be overwritten; the table has room for `max`
        // entries and lives as long as the bio. A null device is allowed until the bio is
        // submitted.
        unsafe { bindings::bio_init(self.bio.get(), bdev, self.vecs.as_mut_ptr(), max, op) };
        self.used = 1;
        // SAFETY: The table has room, and the page is owned by `self`.
        // CAST: 4096.
        unsafe {
            bindings::__bio_add_page(self.bio.get(), self.header.as_ptr(), PAGE_SIZE as u32, 0)
        };
    }

    /// Adds the first `bytes` bytes of an I/O, a multiple of the page size (`__bio_add_page()`).
    /// The error is the I/O itself, when it is shorter or there is no room.
    pub fn add(&mut self, io: KBox<Io<D>>, bytes: u32) -> Result<(), KBox<Io<D>>> {
        let pages = pages_of(&io, bytes).count();
        if bytes > io.capacity() || self.used + pages > self.vecs.len() {
            return Err(io);
        }
        for page in pages_of(&io, bytes) {
            // CAST: 4096.
            // SAFETY: There is room in the table; the page is owned by `io`, and that by `self`
            // from below on.
            unsafe { bindings::__bio_add_page(self.bio.get(), page.as_ptr(), PAGE_SIZE as u32, 0) };
        }
        self.used += pages;
        // INVARIANT: The pages belong to `parts`.
        self.parts.push(io);
        Ok(())
    }

    /// Takes the I/Os back, in the order in which they were added.
    pub fn take_parts(&mut self) -> List<KBox<Io<D>>> {
        let parts = self.parts.take();
        self.clear();
        parts
    }

    /// Fills the header page. Errors: none, as a header is as long as its page.
    pub fn set_header(&mut self, header: &[u8; PAGE_SIZE]) -> Result {
        // SAFETY: The array is valid for reads of its length; the page is owned by `self`, which is
        // borrowed exclusively and not in flight.
        unsafe { self.header.write_raw(header.as_ptr(), 0, header.len()) }
    }
}

impl<D: Send + 'static, E: GatherDone<D>> Gather<D, E> {
    /// Writes everything to `sector` on, durably (`submit_bio_noacct()`); [`GatherDone::done`] gets
    /// the result. Process context. The device must stay open until then, which what travels along
    /// in `data` should see to.
    pub fn submit(self: KBox<Self>, device: &BlockDevice, sector: u64) {
        let gather = KBox::into_raw(self);
        // SAFETY: Just made from a box: valid.
        let bio = unsafe { (*gather).bio.get() };
        // SAFETY: The bio is initialised and not in flight, and the device is open.
        unsafe { bindings::dm_preserve_bio_set_dev(bio, device.as_ptr()) };
        // SAFETY: The bio is initialised and not in flight.
        unsafe { (*bio).bi_iter.bi_sector = sector };
        // SAFETY: As above.
        unsafe { (*bio).bi_private = gather.cast() };
        // SAFETY: As above.
        unsafe { (*bio).bi_end_io = Some(Self::end_io) };
        // SAFETY: A valid bio; the ownership passes to the block layer, and comes back in `end_io`.
        unsafe { bindings::submit_bio_noacct(bio) };
    }

    /// # Safety
    ///
    /// `bio` is the bio of a [`Gather`] submitted by [`Gather::submit`].
    unsafe extern "C" fn end_io(bio: *mut bindings::bio) {
        // SAFETY: The bio is valid until its owner, taken back below, is dropped.
        let status = Status(unsafe { (*bio).bi_status });
        // SAFETY: As above; `submit` has set it.
        let gather = unsafe { (*bio).bi_private }.cast::<Self>();
        // SAFETY: `submit` made this pointer from a box and gave it up.
        let gather = unsafe { KBox::from_raw(gather) };
        let _rcu = kernel::sync::rcu::read_lock();
        E::done(gather, status);
    }
}

// SAFETY: The bio is part of the box, which is given up with it.
unsafe impl<D, E> Node for KBox<Gather<D, E>> {
    fn into_bio(self) -> NonNull<bindings::bio> {
        let gather = KBox::into_raw(self);
        // SAFETY: Just made from a box: valid.
        let bio = unsafe { (*gather).bio.get() };
        // SAFETY: The bio is ours; nobody else reads this field while it is not in flight.
        unsafe { (*bio).bi_private = gather.cast() };
        // SAFETY: A pointer into a box is not null.
        unsafe { NonNull::new_unchecked(bio) }
    }

    unsafe fn from_bio(bio: NonNull<bindings::bio>) -> Self {
        // SAFETY: The bio is valid; `into_bio` has set this field.
        let gather = unsafe { (*bio.as_ptr()).bi_private }.cast();
        // SAFETY: `into_bio` made this pointer from a box and gave it up; it is passed here once.
        unsafe { KBox::from_raw(gather) }
    }
}

impl<D, E> Drop for Gather<D, E> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the bio is initialised, and not in flight since we own it.
        unsafe { bindings::bio_uninit(self.bio.get()) };
    }
}
