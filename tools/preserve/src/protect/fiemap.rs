// SPDX-License-Identifier: GPL-2.0

//! Where a file's content lies on its filesystem's device, by the kernel's FIEMAP.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use crate::device::ioctl;
use crate::device::ioctl::Call;
use crate::device::ioctl::Fiemap;
use crate::device::ioctl::FiemapExtent;

/// All extents of a file, in its order.
pub fn extents(file: &File) -> io::Result<Vec<FiemapExtent>> {
    let mut found: Vec<FiemapExtent> = Vec::new();
    let mut start = 0;
    loop {
        let mut map = Fiemap::new(start);
        ioctl::call(file.as_fd(), Call::Fiemap(&mut map))?;
        let batch = map.found();
        found.extend_from_slice(batch);
        let Some(last) = batch.last() else {
            return Ok(found);
        };
        let next = last.logical.saturating_add(last.length);
        // A filesystem that does not advance must not hang us.
        if last.is_last() || next <= start {
            return Ok(found);
        }
        start = next;
    }
}
