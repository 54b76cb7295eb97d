// SPDX-License-Identifier: GPL-2.0

//! Epochs and snapshots: rules 1, 2 and 5 of the design.
//!
//! This room answers two questions about a chunk: does a snapshot need its content, and where is
//! that content? It uses only the [maps](crate::maps).

#![forbid(unsafe_code)]

mod change;
mod epoch;
mod snapshot;
mod timeline;

pub use change::Change;
pub use change::MAX_BOOKMARKS;
pub use epoch::Epoch;
pub use snapshot::NewSnapshot;
pub use snapshot::Scope;
pub use snapshot::Snapshot;
pub use timeline::Timeline;
pub use timeline::Whereabouts;
pub use timeline::MAX_EPOCHS;
pub use timeline::MAX_SCOPE;
