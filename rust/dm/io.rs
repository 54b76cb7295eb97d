// SPDX-License-Identifier: GPL-2.0

//! Own bios, each with pages of its own, for copying.
//!
//! An [`Io`] is made once and used again and again: it is a reserve that needs no memory when there
//! is none. While it is in flight the block layer owns it; completion hands it back.
//!
//! C header: [`include/linux/bio.h`](srctree/include/linux/bio.h)

use super::list::Node;
use super::pages::Pages;
use super::BlockDevice;
use super::Status;
use crate::bindings;
use core::ptr::NonNull;
use kernel::error::to_result;
use kernel::page::Page;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::types::Opaque;

/// Reading or writing (`REQ_OP_READ`, `REQ_OP_WRITE`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the device.
    Read,
    /// To the device.
    Write,
}

/// What happens when an [`Io`] comes back: the callback of the C type `bio_end_io_t`.
pub trait IoDone: Sized + Send + 'static {
    /// Called with the finished I/O. May be interrupt context.
    ///
    /// Runs in an RCU read-side section: whoever frees what `done` uses after it has handed the I/O
    /// on waits for a grace period first.
    fn done(io: KBox<Io<Self>>, status: Status);
}

/// The pages that hold the first `bytes` bytes of an I/O's content.
pub(super) fn pages_of<D>(io: &Io<D>, bytes: u32) -> impl Iterator<Item = &Page> {
    // CAST: A size in memory.
    io.pages.iter().take((bytes as usize).div_ceil(PAGE_SIZE))
}

/// A bio with pages and a companion of type `D`.
///
/// Wraps a C `struct bio` of our own (`bio_init()`) and a `struct page` for each 4 KiB,
/// of its own or [borrowed](Pages).
///
/// # Examples
///
/// ```
/// use crate::dm::crc32c;
/// use crate::dm::BlockDevice;
/// use crate::dm::Direction;
/// use crate::dm::Io;
/// use crate::dm::IoDone;
/// use crate::dm::Status;
/// use kernel::page::PAGE_SIZE;
/// use kernel::sync::Arc;
///
/// /// Copies 4 KiB. Waits for the read, but not for the write.
/// fn copy(mut io: KBox<Io<Target>>, from: &BlockDevice, sector: u64) -> Result {
///     io.run(from, Direction::Read, sector, 4096)?;
///     let to = io.data.0.clone();
///     io.submit(&to, Direction::Write, sector, 4096);
///     Ok(())
/// }
///
/// /// Where a copy goes: open as long as the I/O is there.
/// struct Target(Arc<BlockDevice>);
///
/// impl IoDone for Target {
///     fn done(io: KBox<Io<Self>>, status: Status) {
///         if status != Status::OK {
///             pr_err!("{}: a copy is lost\n", io.data.0.devt());
///         }
///     }
/// }
///
/// let mut io = Io::new(2 * PAGE_SIZE, ())?;
/// assert_eq!(io.checksum(0, PAGE_SIZE), crc32c(0, &[0; PAGE_SIZE]));
/// io.copy_in(PAGE_SIZE - 2, b"text")?;
/// io.zero(PAGE_SIZE, PAGE_SIZE + 1)?;
/// let mut text = [0; 4];
/// io.copy_out(PAGE_SIZE - 2, &mut text)?;
/// assert_eq!(&text, b"te\0t");
/// assert!(io.copy_in(2 * PAGE_SIZE - 2, b"text").is_err());
/// ```
///
/// # Invariants
///
/// - `bio` is initialised, and its table is `vecs`, with room for an entry for each page.
/// - It is not in flight, or this object is owned by the block layer through `bi_private`.
pub struct Io<D> {
    bio: Opaque<bindings::bio>,
    vecs: KVec<bindings::bio_vec>,
    pages: KVec<Page>,
    /// Whatever goes along with the I/O.
    pub data: D,
}

// SAFETY: Bios and pages may be handled by any thread.
unsafe impl<D: Send> Send for Io<D> {}

impl<D> Io<D> {
    /// Allocates an I/O with pages for `bytes` bytes, at most 1 MiB (`alloc_pages()`). May sleep.
    /// Errors: `ENOMEM`, and `EINVAL` for no bytes or too many.
    pub fn new(bytes: usize, data: D) -> Result<KBox<Self>> {
        let mut io = Self::without_pages(bytes, data)?;
        io.borrow_pages(&mut Pages::new(bytes.div_ceil(PAGE_SIZE))?, bytes)?;
        Ok(io)
    }

    /// Allocates an I/O that can borrow pages for `bytes` bytes, at most 1 MiB. May sleep. Errors:
    /// `ENOMEM`, and `EINVAL` for no bytes or too many.
    pub fn without_pages(bytes: usize, data: D) -> Result<KBox<Self>> {
        let count = bytes.div_ceil(PAGE_SIZE);
        // CAST: A small constant.
        if count == 0 || count > bindings::BIO_MAX_VECS as usize {
            return Err(EINVAL);
        }
        let mut io = KBox::new(
            Self {
                bio: Opaque::uninit(),
                vecs: KVec::from_elem(bindings::bio_vec::default(), count, GFP_KERNEL)?,
                pages: KVec::with_capacity(count, GFP_KERNEL)?,
                data,
            },
            GFP_KERNEL,
        )?;
        // INVARIANT: This initialises the bio.
        io.reset(core::ptr::null_mut(), bindings::req_op_REQ_OP_READ);
        Ok(io)
    }

    /// Takes pages for `bytes` bytes from a reserve; their content is what was there before. Does
    /// not allocate. Errors: `ENOMEM` when so many are not left or do not fit in; then it has those
    /// that it had.
    pub fn borrow_pages(&mut self, from: &mut Pages, bytes: usize) -> Result {
        let count = bytes.div_ceil(PAGE_SIZE);
        if count > from.left() || count > self.vecs.len() - self.pages.len() {
            return Err(ENOMEM);
        }
        for _ in 0..count {
            let page = from.lend().ok_or(ENOMEM)?;
            // There is room for as many as the table has.
            self.pages.push_within_capacity(page).map_err(|_| ENOMEM)?;
        }
        Ok(())
    }

    /// Gives all pages to a reserve.
    pub fn return_pages(&mut self, to: &mut Pages) {
        while let Some(page) = self.pages.pop() {
            to.take_back(page);
        }
    }

    /// How many bytes fit in.
    pub fn capacity(&self) -> u32 {
        // CAST: At most 256 pages.
        (self.pages.len() * PAGE_SIZE) as u32
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::bio {
        self.bio.get()
    }

    fn reset(&mut self, bdev: *mut bindings::block_device, flags: u32) {
        // CAST: At most 256 entries.
        let max = self.vecs.len() as u16;
        // SAFETY: The bio is not in flight and may be overwritten; the table has room for `max`
        // entries and lives as long as the bio. A null device is allowed until the bio is
        // submitted.
        unsafe { bindings::bio_init(self.bio.get(), bdev, self.vecs.as_mut_ptr(), max, flags) };
    }

    /// Makes the bio cover the first `bytes` bytes of the pages (rounded down to what fits).
    fn add_pages(&mut self, bytes: u32) {
        let mut left = bytes.min(self.capacity());
        for page in self.pages.iter() {
            // CAST: 4096.
            let part = left.min(PAGE_SIZE as u32);
            if part == 0 {
                break;
            }
            // SAFETY: The table has an entry for each page, and the page is valid for `part` bytes.
            unsafe { bindings::__bio_add_page(self.bio.get(), page.as_ptr(), part, 0) };
            left -= part;
        }
    }

    fn prepare(&mut self, device: &BlockDevice, direction: Direction, sector: u64, bytes: u32) {
        let op = match direction {
            Direction::Read => bindings::req_op_REQ_OP_READ,
            Direction::Write => bindings::req_op_REQ_OP_WRITE | bindings::REQ_SYNC,
        };
        self.reset(device.as_ptr(), op);
        self.add_pages(bytes);
        // SAFETY: The bio is initialised and not in flight.
        unsafe { (*self.bio.get()).bi_iter.bi_sector = sector };
    }

    /// Makes the bio one end of a copy: of its bytes from `offset` on, `bytes` of them or as many
    /// as there are.
    pub(super) fn prepare_copy(&mut self, offset: u32, bytes: u32) {
        self.reset(core::ptr::null_mut(), bindings::req_op_REQ_OP_READ);
        self.add_pages(offset.saturating_add(bytes));
        // SAFETY: The bio is initialised and not in flight.
        let len = unsafe { (*self.bio.get()).bi_iter.bi_size };
        // SAFETY: As above, and it is not moved beyond its end.
        unsafe { bindings::dm_preserve_bio_advance(self.bio.get(), offset.min(len)) };
    }

    /// Reads or writes the first `bytes` bytes of the pages and waits for it (`submit_bio_wait()`).
    /// Process context.
    ///
    /// Errors: `EINVAL` for no bytes or more than fit in, and those of the device, `EIO` as a rule.
    pub fn run(
        &mut self,
        device: &BlockDevice,
        direction: Direction,
        sector: u64,
        bytes: u32,
    ) -> Result {
        if bytes == 0 || bytes > self.capacity() {
            return Err(EINVAL);
        }
        self.prepare(device, direction, sector, bytes);
        // SAFETY: The bio is initialised, covers valid pages, and stays here until this returns.
        to_result(unsafe { bindings::submit_bio_wait(self.bio.get()) })
    }

    /// Replaces `data.len()` bytes of the content, from `offset` on. Errors: `EINVAL` when they do
    /// not fit in; those that do are replaced.
    pub fn copy_in(&mut self, offset: usize, data: &[u8]) -> Result {
        let mut at = offset;
        let mut data = data;
        while !data.is_empty() {
            let page = self.pages.get(at / PAGE_SIZE).ok_or(EINVAL)?;
            let within = at % PAGE_SIZE;
            let (now, rest) = data.split_at(data.len().min(PAGE_SIZE - within));
            // SAFETY: `now` is valid for reads of its length; the page is owned by `self`, which is
            // borrowed exclusively and not in flight, so nobody else uses it.
            unsafe { page.write_raw(now.as_ptr(), within, now.len()) }?;
            at += now.len();
            data = rest;
        }
        Ok(())
    }

    /// Makes the bytes from `from` to `to` zero. Errors: `EINVAL` when they are not all there;
    /// those that are become zero.
    pub fn zero(&mut self, from: usize, to: usize) -> Result {
        let mut at = from;
        while at < to {
            let page = self.pages.get(at / PAGE_SIZE).ok_or(EINVAL)?;
            let within = at % PAGE_SIZE;
            let len = (to - at).min(PAGE_SIZE - within);
            // SAFETY: The page is owned by `self`, which is borrowed exclusively and not in flight.
            unsafe { page.fill_zero_raw(within, len) }?;
            at += len;
        }
        Ok(())
    }

    /// CRC-32C of `len` bytes of the content from `offset` on (`crc32c()`); both are multiples of
    /// the page size.
    pub fn checksum(&self, offset: usize, len: usize) -> u32 {
        let pages = self.pages.iter().skip(offset / PAGE_SIZE);
        pages.take(len / PAGE_SIZE).fold(0, |before, page| {
            // SAFETY: The page is valid, and unmapped below in the reverse order.
            let start = unsafe { bindings::kmap_local_page(page.as_ptr()) };
            // SAFETY: A mapped page is valid for reads of its size; it is owned by `self`, which is
            // not in flight, so nobody writes to it.
            let data = unsafe { core::slice::from_raw_parts(start.cast::<u8>(), PAGE_SIZE) };
            let checksum = super::crc32c(before, data);
            // SAFETY: Mapped above, and `data` is not used any longer.
            unsafe { bindings::kunmap_local(start) };
            checksum
        })
    }

    /// Copies `out.len()` bytes of the content, from `offset` on, to `out`. Errors: `EINVAL` when
    /// there are not so many.
    pub fn copy_out(&self, offset: usize, out: &mut [u8]) -> Result {
        let mut at = offset;
        let mut out = out;
        while !out.is_empty() {
            let page = self.pages.get(at / PAGE_SIZE).ok_or(EINVAL)?;
            let within = at % PAGE_SIZE;
            let (now, rest) = out.split_at_mut(out.len().min(PAGE_SIZE - within));
            // SAFETY: `now` is valid for writes of its length; the page is owned by `self`, which
            // is not in flight, so nobody writes to it.
            unsafe { page.read_raw(now.as_mut_ptr(), within, now.len()) }?;
            at += now.len();
            out = rest;
        }
        Ok(())
    }
}

impl<D: IoDone> Io<D> {
    /// Reads or writes the first `bytes` bytes of the pages (`submit_bio_noacct()`);
    /// [`IoDone::done`] gets the result. Process context. The device must stay open until then,
    /// which what travels along in `data` should see to.
    pub fn submit(
        mut self: KBox<Self>,
        device: &BlockDevice,
        direction: Direction,
        sector: u64,
        bytes: u32,
    ) {
        self.prepare(device, direction, sector, bytes);
        let io = KBox::into_raw(self);
        // SAFETY: Just made from a box: valid.
        let bio = unsafe { (*io).bio.get() };
        // SAFETY: The bio is initialised and not in flight.
        unsafe { (*bio).bi_private = io.cast() };
        // SAFETY: As above.
        unsafe { (*bio).bi_end_io = Some(Self::end_io) };
        // SAFETY: A valid bio; the ownership passes to the block layer, and comes back in `end_io`.
        unsafe { bindings::submit_bio_noacct(bio) };
    }

    /// # Safety
    ///
    /// `bio` is the bio of an [`Io`] submitted by [`Io::submit`].
    unsafe extern "C" fn end_io(bio: *mut bindings::bio) {
        // SAFETY: The bio is valid until its owner, taken back below, is dropped.
        let status = Status(unsafe { (*bio).bi_status });
        // SAFETY: As above; `submit` has set it.
        let io = unsafe { (*bio).bi_private }.cast::<Self>();
        // SAFETY: `submit` made this pointer from a box and gave it up.
        let io = unsafe { KBox::from_raw(io) };
        let _rcu = kernel::sync::rcu::read_lock();
        D::done(io, status);
    }
}

// SAFETY: The bio is part of the box, which is given up with it.
unsafe impl<D> Node for KBox<Io<D>> {
    fn into_bio(self) -> NonNull<bindings::bio> {
        let io = KBox::into_raw(self);
        // SAFETY: Just made from a box: valid.
        let bio = unsafe { (*io).bio.get() };
        // SAFETY: The bio is ours; nobody else reads this field while it is not in flight.
        unsafe { (*bio).bi_private = io.cast() };
        // SAFETY: A pointer into a box is not null.
        unsafe { NonNull::new_unchecked(bio) }
    }

    unsafe fn from_bio(bio: NonNull<bindings::bio>) -> Self {
        // SAFETY: The bio is valid; `into_bio` has set this field.
        let io = unsafe { (*bio.as_ptr()).bi_private }.cast();
        // SAFETY: `into_bio` made this pointer from a box and gave it up; it is passed here once.
        unsafe { KBox::from_raw(io) }
    }
}

impl<D> Drop for Io<D> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the bio is initialised, and not in flight since we own it.
        unsafe { bindings::bio_uninit(self.bio.get()) };
    }
}
