// SPDX-License-Identifier: GPL-2.0

//! Own I/O, with pages of its own or borrowed ones.

#![forbid(unsafe_code)]

use crate::block_device::BlockDevice;
use crate::drive::Request;
use crate::pages::Pages;
use crate::services::crc32c;
use crate::status::Status;
use kernel::machine;
use kernel::prelude::*;
use sim::Data;
use std::cell::RefCell;
use std::sync::Arc;

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Most pages of an I/O.
const MAX_PAGES: usize = 256;

/// Reading or writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the device.
    Read,
    /// To the device.
    Write,
}

/// What happens when an [`Io`] comes back.
pub trait IoDone: Sized + 'static {
    /// Called with the finished I/O, in an interrupt.
    fn done(io: KBox<Io<Self>>, status: Status);
}

/// Pages, and a companion of type `D`.
pub struct Io<D> {
    pages: Vec<Data>,
    /// Most pages.
    most: usize,
    /// Whatever goes along with the I/O.
    pub data: D,
}

impl<D> Io<D> {
    /// Allocates an I/O with pages for `bytes` bytes.
    ///
    /// Errors: `ENOMEM`, and `EINVAL` for no bytes or too many.
    pub fn new(bytes: usize, data: D) -> Result<KBox<Self>> {
        let mut io = Self::without_pages(bytes, data)?;
        io.borrow_pages(&mut Pages::new(bytes.div_ceil(PAGE_BYTES))?, bytes)?;
        Ok(io)
    }

    /// Allocates an I/O that can borrow pages for `bytes` bytes.
    ///
    /// Errors: `ENOMEM`, and `EINVAL` for no bytes or too many.
    pub fn without_pages(bytes: usize, data: D) -> Result<KBox<Self>> {
        machine::might_sleep();
        let most = bytes.div_ceil(PAGE_BYTES);
        if most == 0 || most > MAX_PAGES {
            return Err(EINVAL);
        }
        let pages = Vec::new();
        Ok(KBox::new(Self { pages, most, data }, GFP_KERNEL)?)
    }

    /// Takes pages for `bytes` bytes from a reserve.
    ///
    /// Errors: `ENOMEM` when so many are not left or do not fit in.
    pub fn borrow_pages(&mut self, from: &mut Pages, bytes: usize) -> Result {
        let count = bytes.div_ceil(PAGE_BYTES);
        if count > from.left() || count > self.most - self.pages.len() {
            return Err(ENOMEM);
        }
        self.pages.extend((0..count).filter_map(|_| from.lend()));
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
        (self.pages.len() * PAGE_BYTES) as u32
    }

    /// Returns the pages that hold the first `bytes` bytes.
    pub(crate) fn pages(&self, bytes: u32) -> Vec<Data> {
        let count = (bytes as usize).div_ceil(PAGE_BYTES);
        self.pages.iter().take(count).cloned().collect()
    }

    fn request(&self, direction: Direction, sector: u64, bytes: u32) -> Request {
        match direction {
            Direction::Read => Request::Read {
                sector,
                bytes: u64::from(bytes),
            },
            Direction::Write => Request::Write {
                sector,
                data: self.pages(bytes),
                is_forced: false,
            },
        }
    }

    fn take_in(&mut self, data: Vec<Data>) {
        for (page, data) in self.pages.iter_mut().zip(data) {
            *page = data;
        }
    }

    /// Reads or writes the first `bytes` bytes and waits for it.
    ///
    /// Errors: `EINVAL` for no bytes or more than fit in, `EIO`.
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
        let data = device.drive().run(self.request(direction, sector, bytes))?;
        self.take_in(data);
        Ok(())
    }

    /// Replaces `data.len()` bytes of the content, from `offset` on.
    ///
    /// Errors: `EINVAL` when they do not fit in; those that do are replaced.
    pub fn copy_in(&mut self, offset: usize, data: &[u8]) -> Result {
        let mut at = offset;
        let mut data = data;
        while !data.is_empty() {
            let page = self.pages.get_mut(at / PAGE_BYTES).ok_or(EINVAL)?;
            let within = at % PAGE_BYTES;
            let (now, rest) = data.split_at(data.len().min(PAGE_BYTES - within));
            Arc::make_mut(page)[within..within + now.len()].copy_from_slice(now);
            at += now.len();
            data = rest;
        }
        Ok(())
    }

    /// Makes the bytes from `from` to `to` zero.
    ///
    /// Errors: `EINVAL` when they are not all there; those that are become zero.
    pub fn zero(&mut self, from: usize, to: usize) -> Result {
        let mut at = from;
        while at < to {
            let len = (to - at).min(PAGE_BYTES - at % PAGE_BYTES);
            self.copy_in(at, &[0; PAGE_BYTES][..len])?;
            at += len;
        }
        Ok(())
    }

    /// CRC-32C of `len` bytes of the content from `offset` on, both multiples of a page.
    pub fn checksum(&self, offset: usize, len: usize) -> u32 {
        let pages = self.pages.iter().skip(offset / PAGE_BYTES);
        pages
            .take(len / PAGE_BYTES)
            .fold(0, |before, page| crc32c(before, &**page))
    }

    /// Copies `out.len()` bytes of the content, from `offset` on, to `out`.
    ///
    /// Errors: `EINVAL` when there are not so many.
    pub fn copy_out(&self, offset: usize, out: &mut [u8]) -> Result {
        let mut at = offset;
        let mut out = out;
        while !out.is_empty() {
            let page = self.pages.get(at / PAGE_BYTES).ok_or(EINVAL)?;
            let within = at % PAGE_BYTES;
            let (now, rest) = out.split_at_mut(out.len().min(PAGE_BYTES - within));
            now.copy_from_slice(&page[within..within + now.len()]);
            at += now.len();
            out = rest;
        }
        Ok(())
    }

    /// Returns the page of 4 KiB at an offset; `None` beyond the end.
    pub fn page(&self, offset: u64) -> Option<&Data> {
        self.pages.get(usize::try_from(offset).ok()? / PAGE_BYTES)
    }
}

impl<D: IoDone> Io<D> {
    /// Reads or writes the first `bytes` bytes; [`IoDone::done`] gets the result.
    pub fn submit(
        self: KBox<Self>,
        device: &BlockDevice,
        direction: Direction,
        sector: u64,
        bytes: u32,
    ) {
        machine::might_sleep();
        let request = self.request(direction, sector, bytes);
        // The end is a closure that owns the I/O until then.
        let io = RefCell::new(Some(self));
        let end = move |status: Status, data| {
            if let Some(mut io) = io.take() {
                if status == Status::OK {
                    io.take_in(data);
                }
                D::done(io, status);
            }
        };
        device.drive().submit(request, Box::new(end));
    }
}
