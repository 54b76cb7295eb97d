// SPDX-License-Identifier: GPL-2.0

//! Pages that I/Os share, which each borrows when it has something to carry.

#![forbid(unsafe_code)]

use crate::io::PAGE_BYTES;
use kernel::machine;
use kernel::prelude::*;
use sim::Data;
use std::sync::Arc;

thread_local! {
    static ZEROES: Data = Arc::new([0; PAGE_BYTES]);
}

/// A reserve of pages of 4 KiB.
pub struct Pages {
    pages: Vec<Data>,
    /// Pages that it was made with.
    made: usize,
}

impl Pages {
    /// Allocates `count` pages, all zero.
    ///
    /// Errors: `ENOMEM`.
    pub fn new(count: usize) -> Result<Self> {
        machine::might_sleep();
        // A page is shared with whoever it was read from or written to; who changes it has a copy.
        let pages = ZEROES.with(|zeroes| vec![zeroes.clone(); count]);
        Ok(Self { pages, made: count })
    }

    /// Returns the number of pages that nobody has borrowed.
    pub fn left(&self) -> usize {
        self.pages.len()
    }

    pub(crate) fn lend(&mut self) -> Option<Data> {
        self.pages.pop()
    }

    /// Takes a page back.
    pub(crate) fn take_back(&mut self, page: Data) {
        self.pages.push(page);
        assert!(
            self.pages.len() <= self.made,
            "a page comes back that is not from here"
        );
    }
}
