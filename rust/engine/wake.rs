// SPDX-License-Identifier: GPL-2.0

//! The only way up: a part tells whoever is above that those who wait should look again.

#![forbid(unsafe_code)]

use kernel::sync::Arc;

/// Somebody whose waiting writes look again. Any context.
pub(super) trait Wake: Send + Sync {
    /// Lets those who wait look again: something that they may wait for has happened.
    fn wake(self: Arc<Self>);
}
