// SPDX-License-Identifier: GPL-2.0

//! Small services of the kernel that have no Rust wrapper yet.
//!
//! C headers: with each function.

use crate::bindings;
use kernel::prelude::*;

/// Returns true if the current task may administer the system (`capable()` with `CAP_SYS_ADMIN`).
///
/// C header: [`include/linux/capability.h`](srctree/include/linux/capability.h)
pub fn is_admin() -> bool {
    // CAST: A capability number, 21.
    // SAFETY: Asks about the current task; always allowed in process context.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as i32) }
}

/// The time in nanoseconds since 1970-01-01 (`ktime_get_real_ns()`).
///
/// C header: [`include/linux/timekeeping.h`](srctree/include/linux/timekeeping.h)
pub fn now_ns() -> u64 {
    // SAFETY: Reads a clock; always allowed.
    unsafe { bindings::dm_preserve_now_ns() }
}

/// Nanoseconds since the system started (`ktime_get_ns()`).
///
/// C header: [`include/linux/timekeeping.h`](srctree/include/linux/timekeeping.h)
pub fn monotonic_ns() -> u64 {
    // SAFETY: Reads a clock; always allowed.
    unsafe { bindings::dm_preserve_monotonic_ns() }
}

/// Sixteen random bytes with the version and variant bits of a UUID (RFC 4122, version 4). As
/// `generate_random_uuid()` makes them, with `get_random_bytes()`.
///
/// C header: [`include/linux/random.h`](srctree/include/linux/random.h)
pub fn random_uuid() -> [u8; 16] {
    let mut uuid = [0u8; 16];
    // SAFETY: The buffer is valid for writes of its 16 bytes.
    unsafe { bindings::get_random_bytes(uuid.as_mut_ptr().cast(), uuid.len()) };
    uuid[6] = (uuid[6] & 0x0f) | 0x40;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    uuid
}

/// Lets others run, if they have to (`cond_resched()`). Process context only.
///
/// C header: [`include/linux/sched.h`](srctree/include/linux/sched.h)
pub fn let_others_run() {
    // SAFETY: May sleep, which the documentation of this function asks of the caller.
    unsafe { bindings::dm_preserve_cond_resched() };
}

/// Returns true if the current task has been killed, and should not go on for long
/// (`fatal_signal_pending()`). Process context only.
///
/// C header: [`include/linux/sched/signal.h`](srctree/include/linux/sched/signal.h)
pub fn is_killed() -> bool {
    // SAFETY: Asks about the current task; always allowed in process context.
    unsafe { bindings::dm_preserve_is_killed() }
}

/// Sleeps for some milliseconds (`msleep_interruptible()`); returns false when a signal came before
/// the end. Process context only.
///
/// C header: [`include/linux/delay.h`](srctree/include/linux/delay.h)
pub fn sleep_ms(ms: u32) -> bool {
    // SAFETY: May sleep, which the documentation of this function asks of the caller; no memory
    // involved.
    unsafe { bindings::msleep_interruptible(ms) == 0 }
}

/// CRC-32C of `data` behind data with checksum `before` (0 for none): `crc32c()`, with the
/// inversions of the standard.
///
/// C header: [`include/linux/crc32.h`](srctree/include/linux/crc32.h)
///
/// # Examples
///
/// ```
/// use crate::dm::crc32c;
///
/// assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
/// assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xe306_9283);
/// ```
pub fn crc32c(before: u32, data: &[u8]) -> u32 {
    // The kernel's function leaves the inversions of the standard to its caller.
    // SAFETY: The slice is valid for reads of its length.
    !unsafe { bindings::crc32c(!before, data.as_ptr().cast(), data.len()) }
}

/// Waits until every RCU read section that has begun is over (`synchronize_rcu()`). Sleeps. The
/// kernel crate has it from 7.3 on.
///
/// C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)
pub fn synchronize_rcu() {
    // SAFETY: May sleep, which the documentation of this function asks of the caller; no memory
    // involved.
    unsafe { bindings::synchronize_rcu() };
}

/// This module is not unloaded while one of these lives.
///
/// Dropping the last one leaves a few instructions of the module to run, so where the kernel can
/// hold the module (`owner` fields) it does so better.
///
/// C header: [`include/linux/module.h`](srctree/include/linux/module.h)
///
/// # Examples
///
/// ```
/// use crate::dm::KeepLoaded;
///
/// let keep = KeepLoaded::new()?;
/// // `rmmod` says "in use" until this.
/// drop(keep);
/// ```
///
/// # Invariants
///
/// There is a reference to the module, which is this value's.
pub struct KeepLoaded(());

impl KeepLoaded {
    /// Takes a reference (`try_module_get()`). Errors: `ENODEV` when the module is being unloaded.
    pub fn new() -> Result<Self> {
        // SAFETY: The module is there: this is its code.
        match unsafe { bindings::dm_preserve_try_module_get() } {
            // INVARIANT: The reference was just taken.
            true => Ok(Self(())),
            false => Err(ENODEV),
        }
    }
}

impl Drop for KeepLoaded {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to give up.
        unsafe { bindings::dm_preserve_module_put() };
    }
}
