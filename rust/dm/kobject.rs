// SPDX-License-Identifier: GPL-2.0

//! The kobject of a disk: what its uevents and its sysfs directory hang on.
//!
//! C header: [`include/linux/kobject.h`](srctree/include/linux/kobject.h)

use crate::bindings;
use core::ptr::NonNull;

/// The kobject of a disk's device, with a reference of our own.
///
/// # Invariants
///
/// The pointer is valid, and holds a reference.
pub(super) struct DiskKobject(NonNull<bindings::kobject>);

impl DiskKobject {
    /// # Safety
    ///
    /// `kobj` is the valid kobject of a disk's device.
    pub(super) unsafe fn new(kobj: *mut bindings::kobject) -> Option<Self> {
        // SAFETY: By the safety requirement.
        // INVARIANT: This takes the reference.
        NonNull::new(unsafe { bindings::kobject_get(kobj) }).map(Self)
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::kobject {
        self.0.as_ptr()
    }
}

impl Drop for DiskKobject {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to give up.
        unsafe { bindings::kobject_put(self.as_ptr()) };
    }
}
