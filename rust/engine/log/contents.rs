// SPDX-License-Identifier: GPL-2.0

//! A copy under way: the contents of a run of chunks between the origin and the store.
//!
//! What is done with one is in [`write/copy`](crate::engine::write); the log must know of it, since
//! contents are parts of its records.

#![forbid(unsafe_code)]

use crate::dm::Io;
use crate::dm::IrqStack;
use crate::dm::Status;
use crate::engine::space::Copies;
use crate::engine::wake::Wake;
use crate::maps::Chunks;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Copies that came back: from the origin, from the store, or from the log. The copier takes them.
pub(in crate::engine) type Returned = IrqStack<KBox<Io<Copy>>>;

/// What goes along with a copy.
pub(in crate::engine) struct Copy {
    /// Which of the slots it is in.
    pub(in crate::engine) slot: usize,
    /// What is done with it now.
    pub(in crate::engine) stage: Stage,
    /// The epoch in which need was decided.
    pub(in crate::engine) epoch: u64,
    /// The chunks.
    pub(in crate::engine) run: Chunks,
    /// Where in the store the content goes; 0 as long as the log has not said.
    pub(in crate::engine) position: u64,
    /// Contents for which space is reserved in a persistent store.
    pub(in crate::engine) reserved: u64,
    /// How the last step ended.
    pub(in crate::engine) status: Status,
    /// The epoch's copies: keeps the space from going to somebody else while it is written. Set
    /// from the time when space is taken until the claim is given up.
    pub(in crate::engine) copies: Option<Arc<Copies>>,
    /// Where it comes back to.
    pub(in crate::engine) returned: Arc<Returned>,
    /// Who is woken then. Set while in flight only, or the copier would own itself.
    pub(in crate::engine) owner: Option<Arc<dyn Wake>>,
}

/// What is done with a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Stage {
    /// It is read from the origin.
    Reading,
    /// It is written to the store.
    Writing,
    /// Its chunk cannot be read. That is being logged, with this ticket.
    Losing(u64),
}

impl Copy {
    /// Returns the copy of an idle slot: nothing is being copied yet.
    pub(in crate::engine) fn new(slot: usize, returned: Arc<Returned>) -> Self {
        Self {
            slot,
            stage: Stage::Reading,
            epoch: 0,
            run: Chunks { start: 0, end: 0 },
            position: 0,
            reserved: 0,
            status: Status::OK,
            copies: None,
            returned,
            owner: None,
        }
    }
}
