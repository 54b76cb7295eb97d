// SPDX-License-Identifier: GPL-2.0

//! Events of a mapped device: `dmsetup wait`, uevents, and polls of sysfs attributes; and whether
//! it is being suspended.
//!
//! C headers: [`include/linux/device-mapper.h`](srctree/include/linux/device-mapper.h),
//! [`include/linux/kobject.h`](srctree/include/linux/kobject.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use super::kobject::DiskKobject;
use crate::bindings;
use core::ptr::NonNull;
use kernel::new_mutex;
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::Mutex;
use kernel::sync::SpinLock;

/// Sends a target's events, for as long as the target exists; after that it does nothing.
///
/// Stands for what the C `struct dm_target` leads to: its table and the disk's `struct kobject`.
/// From [`Constructor::events`](super::Constructor::events).
///
/// # Examples
///
/// ```
/// use crate::dm::Events;
/// use kernel::sync::Arc;
///
/// /// Tells user space that a device has failed. May sleep.
/// fn tell_failed(events: &Arc<Events>) {
///     events.send(c"STATE=failed", c"my-target", &[c"state"]);
/// }
/// ```
///
/// # Invariants
///
/// Each of the two is `None`, or a target that exists: `vtable.rs` takes both away before it is
/// destroyed.
#[pin_data]
pub struct Events {
    /// Held while an event is sent, which may take long.
    #[pin]
    sender: Mutex<Option<RawTarget>>,
    /// For what must not wait for that.
    #[pin]
    target: SpinLock<Option<RawTarget>>,
}

#[derive(Clone, Copy)]
struct RawTarget(NonNull<bindings::dm_target>);

// SAFETY: Targets may be used from any thread.
unsafe impl Send for RawTarget {}

impl RawTarget {
    fn table(&self) -> *mut bindings::dm_table {
        // SAFETY: Whoever holds a `RawTarget` has made sure that it is valid ([`Events`]'
        // invariant).
        unsafe { (*self.0.as_ptr()).table }
    }

    /// Returns true if device-mapper still lets the mapped device be used.
    fn is_device_known(&self) -> bool {
        // SAFETY: The table of a valid target is valid.
        let md = unsafe { bindings::dm_table_get_md(self.table()) };
        // SAFETY: A table's mapped device is valid, and has a disk.
        let devt = unsafe { bindings::dm_preserve_disk_devt(bindings::dm_disk(md)) };
        // SAFETY: Any number may be asked for.
        let found = unsafe { bindings::dm_get_md(devt) };
        if !found.is_null() {
            // SAFETY: `dm_get_md` has taken the reference.
            unsafe { bindings::dm_put(found) };
        }
        found == md
    }

    /// The kobject of the mapped device's disk.
    fn disk(&self) -> Option<DiskKobject> {
        // SAFETY: The table of a valid target is valid.
        let md = unsafe { bindings::dm_table_get_md(self.table()) };
        // SAFETY: A table's mapped device is valid, and has a disk.
        let kobj = unsafe { bindings::dm_preserve_disk_kobj(bindings::dm_disk(md)) };
        // SAFETY: A disk's device is valid as long as the disk.
        unsafe { DiskKobject::new(kobj) }
    }
}

impl Events {
    /// Makes the events of a target. May sleep.
    ///
    /// Errors: `ENOMEM`.
    ///
    /// # Safety
    ///
    /// The target is valid, and [`Events::detach`] is called before it goes away.
    pub(super) unsafe fn new(target: NonNull<bindings::dm_target>) -> Result<Arc<Self>> {
        let target = RawTarget(target);
        // INVARIANT: By the safety requirement.
        let init = pin_init!(Self {
            sender <- new_mutex!(Some(target), "Events::sender"),
            target <- new_spinlock!(Some(target), "Events::target"),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Detaches the target: nothing is sent to it any longer.
    pub(super) fn detach(&self) {
        // INVARIANT: `None` from now on.
        *self.sender.lock() = None;
        *self.target.lock() = None;
    }

    /// Returns true if a noflush suspend is under way (`dm_noflush_suspending()`): only then does
    /// device-mapper take a bio back that ends with [`Status::REQUEUE`](super::Status::REQUEUE). An
    /// interrupted suspend says so here before it tells the target. Atomic context.
    pub fn is_suspending_noflush(&self) -> bool {
        let target = self.target.lock();
        target.as_ref().is_some_and(|target| {
            // SAFETY: By the type invariant the target is valid while the lock is held.
            unsafe { bindings::dm_noflush_suspending(target.0.as_ptr()) != 0 }
        })
    }

    /// Returns true if the target's device is being removed (`dm_get_md()` does not find it any
    /// longer), or the target has gone. A target that is destroyed although it is not has been
    /// replaced: another table has its place. (Removal and a reload at the same instant look like
    /// removal.) Atomic context.
    pub fn is_device_removed(&self) -> bool {
        let target = self.target.lock();
        target
            .as_ref()
            .is_none_or(|target| !target.is_device_known())
    }

    /// The disk's kobject, if the target still exists.
    pub(super) fn disk(&self) -> Option<DiskKobject> {
        let target = self.target.lock();
        target.as_ref().and_then(RawTarget::disk)
    }

    /// Raises the device's event number (`dm_table_event()`), sends a `change` uevent with the
    /// string `environment` (`NAME=value`; `kobject_uevent_env()`), and wakes polls of the
    /// attributes `files` in the sysfs directory `directory` (`sysfs_notify()`). May sleep.
    pub fn send(&self, environment: &CStr, directory: &CStr, files: &[&CStr]) {
        let guard = self.sender.lock();
        let Some(target) = guard.as_ref() else {
            return;
        };
        // SAFETY: By the type invariant the target, and so its table, is valid while the lock is
        // held.
        unsafe { bindings::dm_table_event(target.table()) };
        let Some(kobj) = target.disk() else {
            return;
        };
        let mut strings = [environment.as_char_ptr().cast_mut(), core::ptr::null_mut()];
        let action = bindings::kobject_action_KOBJ_CHANGE;
        // An event that nobody hears is no error: there may be no listener, or no memory.
        // SAFETY: The kobject is valid; the strings are copied and the array ends with null.
        let _ =
            unsafe { bindings::kobject_uevent_env(kobj.as_ptr(), action, strings.as_mut_ptr()) };
        for file in files {
            // SAFETY: The kobject is valid and the names are nul-terminated; a missing file is
            // allowed.
            unsafe {
                bindings::sysfs_notify(kobj.as_ptr(), directory.as_char_ptr(), file.as_char_ptr())
            };
        }
    }
}
