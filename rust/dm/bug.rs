// SPDX-License-Identifier: GPL-2.0

//! Mistakes of the module itself: reported, and survived.
//!
//! The kernel crate's `warn_on!` is not for us: it includes a file that the kernel's build
//! generates, and that distributions do not ship.
//!
//! C header: [`include/linux/printk.h`](srctree/include/linux/printk.h)

use crate::bindings;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;

/// Mistakes since the module was loaded.
static BUGS: Atomic<u64> = Atomic::new(0);

/// Reports a mistake of the module in the kernel log, with the calls that led to it. Any context.
///
/// All are counted; the first, the second, the fourth and so on are told, so that the log is not
/// flooded.
#[cold]
pub fn bug(what: &str) {
    let count = BUGS.fetch_add(1, Relaxed) + 1;
    if count.is_power_of_two() {
        pr_err!("BUG: {what} ({count} mistakes so far); please report it\n");
        // SAFETY: Prints; always allowed.
        unsafe { bindings::dump_stack() };
    }
}
