// SPDX-License-Identifier: GPL-2.0

//! Pages that I/Os share, which each borrows when it has something to carry.

#![forbid(unsafe_code)]

use kernel::page::Page;
use kernel::prelude::*;

/// A reserve of pages of 4 KiB (`struct page`): nothing here needs memory once it is made.
///
/// # Examples
///
/// ```
/// use crate::dm::Io;
/// use crate::dm::Pages;
///
/// let mut pages = Pages::new(3)?;
/// let mut long = Io::without_pages(8192, 'a')?;
/// let mut short = Io::without_pages(8192, 'b')?;
/// long.borrow_pages(&mut pages, 8192)?;
/// assert_eq!(pages.left(), 1);
/// assert!(short.borrow_pages(&mut pages, 8192).is_err());
/// short.borrow_pages(&mut pages, 4096)?;
/// long.return_pages(&mut pages);
/// assert_eq!(pages.left(), 2);
/// ```
pub struct Pages(KVec<Page>);

impl Pages {
    /// Allocates `count` pages, all zero (`alloc_pages()`). May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new(count: usize) -> Result<Self> {
        let mut pages = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            // Zeroed: nobody is to read what was there before.
            pages.push(Page::alloc_page(GFP_KERNEL | __GFP_ZERO)?, GFP_KERNEL)?;
        }
        Ok(Self(pages))
    }

    /// Returns the number of pages that nobody has borrowed.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// Gives a page out, if one is left.
    pub(super) fn lend(&mut self) -> Option<Page> {
        self.0.pop()
    }

    /// Takes a page back. One that was not from here may find no room, and is freed.
    pub(super) fn take_back(&mut self, page: Page) {
        if self.0.push_within_capacity(page).is_err() {
            super::bug("a reserve of pages has no room for one that comes back: it is freed");
        }
    }
}
