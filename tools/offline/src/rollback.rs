// SPDX-License-Identifier: GPL-2.0

//! Bringing an origin back to a snapshot, while no live device is over it.
//!
//! # States of a store
//!
//! 1. *Open* or *closed*: the origin is what was written last.
//! 2. *Rollback*: some chunks of the origin may have been written back. Nobody but this room goes
//!    on from here.
//! 3. *Closed*: the origin is at the snapshot.
//!
//! 1 leads to 2 when every content that will be needed has been read and compared with its
//! checksum, and the image for 3 has been written to the area that is not in use, so that nothing
//! but a device's failure can keep 3 from being reached. 2 leads to 3 when the origin has been
//! flushed. In 2 nothing else in the store changes, so after a crash, all of it is done again, with
//! the same result: what to write is decided by marks and copies alone, never by what is on the
//! origin.
//!
//! # What the store is good for afterwards
//!
//! Only chunks are written that are marked since the snapshot. So for it, and for every older
//! snapshot or bookmark, they are changed chunks already, whose frozen content is never looked for
//! on the origin: all that is known of these stays right. Of what is newer nothing is known any
//! longer: its content may have been on the origin alone, and what was changed since it is changed
//! back without a mark. It goes.

#![forbid(unsafe_code)]

mod origin;
mod plan;
mod preconditions;
mod report;
mod states;

pub use report::Lost;
pub use report::RollbackReport;
pub use states::rollback_under_way;
pub use states::Rollback;
