// SPDX-License-Identifier: GPL-2.0

//! A scope in which no allocation of this task waits for memory to be freed.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use crate::bindings;
use core::marker::PhantomData;

/// While it lives, every allocation of the current task is served at once, from the kernel's
/// emergency reserves if need be (`PF_MEMALLOC`), or fails.
///
/// For those whom writes wait for, since writes free memory: what is allocated must be little, or
/// let more be freed very soon. Scopes nest. See `memalloc_noreclaim_save()`.
///
/// # Examples
///
/// ```
/// use crate::dm::NoReclaim;
///
/// let scope = NoReclaim::enter();
/// // Nobody has to write anything for this.
/// let answer = KBox::new(42, GFP_KERNEL)?;
/// drop(scope);
/// assert_eq!(*answer, 42);
/// ```
#[must_use]
pub struct NoReclaim {
    flags: u32,
    // The scope belongs to the current task: neither `Send` nor `Sync`.
    _not_send: PhantomData<*mut ()>,
}

impl NoReclaim {
    /// Enters the scope (`memalloc_noreclaim_save()`), which lasts as long as the result.
    pub fn enter() -> Self {
        Self {
            // SAFETY: Changes a flag of the current task only; always allowed.
            flags: unsafe { bindings::dm_preserve_noreclaim_save() },
            _not_send: PhantomData,
        }
    }
}

impl Drop for NoReclaim {
    fn drop(&mut self) {
        // SAFETY: `flags` came from the matching save, on this task because the type is not `Send`.
        unsafe { bindings::dm_preserve_noreclaim_restore(self.flags) };
    }
}
