// SPDX-License-Identifier: GPL-2.0

//! One durable write made of a header page and the pages of several [`Io`]s.

#![forbid(unsafe_code)]

use crate::block_device::BlockDevice;
use crate::drive::Request;
use crate::io::Io;
use crate::io::PAGE_BYTES;
use crate::list::List;
use crate::status::Status;
use kernel::machine;
use kernel::prelude::*;
use sim::Data;
use std::cell::RefCell;
use std::sync::Arc;

/// Most pages of one write.
const MAX_PAGES: usize = 256;

/// What happens when a [`Gather`] comes back.
pub trait GatherDone<D>: Sized + 'static {
    /// Called with the finished write, in an interrupt.
    fn done(gather: KBox<Gather<D, Self>>, status: Status);
}

/// A header page and others' pages, with a companion of type `E`.
pub struct Gather<D, E> {
    pages: Vec<Data>,
    parts: List<KBox<Io<D>>>,
    /// Whatever goes along with it.
    pub data: E,
}

impl<D, E> Gather<D, E> {
    /// An empty one.
    ///
    /// Errors: `ENOMEM`.
    pub fn new(data: E) -> Result<KBox<Self>> {
        let gather = Self {
            pages: vec![Arc::new([0; PAGE_BYTES])],
            parts: List::new(),
            data,
        };
        Ok(KBox::new(gather, GFP_KERNEL)?)
    }

    /// Adds the first `bytes` bytes of an I/O, a multiple of the page size.
    ///
    /// Errors: the I/O itself, when it is shorter or there is no room.
    pub fn add(&mut self, io: KBox<Io<D>>, bytes: u32) -> Result<(), KBox<Io<D>>> {
        let pages = io.pages(bytes);
        if bytes > io.capacity() || self.pages.len() + pages.len() > MAX_PAGES {
            return Err(io);
        }
        self.pages.extend(pages);
        self.parts.push(io);
        Ok(())
    }

    /// Takes the I/Os back, in the order in which they were added.
    pub fn take_parts(&mut self) -> List<KBox<Io<D>>> {
        self.pages.truncate(1);
        self.parts.take()
    }

    /// Fills the header page.
    ///
    /// Errors: none.
    pub fn set_header(&mut self, header: &[u8; PAGE_BYTES]) -> Result {
        self.pages[0] = Arc::new(*header);
        Ok(())
    }
}

impl<D: 'static, E: GatherDone<D>> Gather<D, E> {
    /// Writes everything to `sector` on, durably; [`GatherDone::done`] gets the result.
    pub fn submit(self: KBox<Self>, device: &BlockDevice, sector: u64) {
        machine::might_sleep();
        let request = Request::Write {
            sector,
            data: self.pages.clone(),
            is_forced: true,
        };
        let gather = RefCell::new(Some(self));
        let end = move |status: Status, _data| {
            if let Some(gather) = gather.take() {
                E::done(gather, status);
            }
        };
        device.drive().submit(request, Box::new(end));
    }
}
