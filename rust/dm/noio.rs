// SPDX-License-Identifier: GPL-2.0

//! A scope in which no allocation of this task reclaims memory through the block layer.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use crate::bindings;
use core::marker::PhantomData;

/// While it lives, every allocation of the current task behaves as `GFP_NOIO`.
///
/// Needed wherever freeing memory could depend on progress of the code at hand. Scopes nest. See
/// `Documentation/core-api/gfp_mask-from-fs-io.rst`.
///
/// # Examples
///
/// ```
/// use crate::dm::NoIo;
///
/// let _noio = NoIo::enter();
/// // No write of this device has to end for this.
/// let answer = KBox::new(42, GFP_KERNEL)?;
/// assert_eq!(*answer, 42);
/// ```
#[must_use]
pub struct NoIo {
    flags: u32,
    // The scope belongs to the current task: neither `Send` nor `Sync`.
    _not_send: PhantomData<*mut ()>,
}

impl NoIo {
    /// Enters the scope (`memalloc_noio_save()`), which lasts as long as the result.
    pub fn enter() -> Self {
        Self {
            // SAFETY: Changes a flag of the current task only; always allowed.
            flags: unsafe { bindings::dm_preserve_noio_save() },
            _not_send: PhantomData,
        }
    }
}

impl Drop for NoIo {
    fn drop(&mut self) {
        // SAFETY: `flags` came from the matching save, on this task because the type is not `Send`.
        unsafe { bindings::dm_preserve_noio_restore(self.flags) };
    }
}
