// SPDX-License-Identifier: GPL-2.0

//! Events of a mapped device: `dmsetup wait`, uevents, and polls of sysfs attributes.

use super::sysfs::DiskKobject;
use crate::bindings;
use core::ptr::NonNull;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::Mutex;

/// Sends a target's events, for as long as the target exists; after that it does nothing.
///
/// # Invariants
///
/// `table` is null, or the live table of a target that exists: `vtable.rs` takes it away before the
/// target is destroyed.
#[pin_data]
pub(crate) struct Events {
    #[pin]
    table: Mutex<Option<Table>>,
}

struct Table(NonNull<bindings::dm_table>);

// SAFETY: Tables may be used from any thread.
unsafe impl Send for Table {}

impl Table {
    /// The kobject of the mapped device's disk.
    fn disk(&self) -> Option<DiskKobject> {
        // SAFETY: Whoever holds a `Table` has made sure that it is valid ([`Events`]' invariant).
        let md = unsafe { bindings::dm_table_get_md(self.0.as_ptr()) };
        // SAFETY: A table's mapped device is valid, and has a disk.
        let kobj = unsafe { bindings::dm_preserve_disk_kobj(bindings::dm_disk(md)) };
        // SAFETY: A disk's device is valid as long as the disk.
        unsafe { DiskKobject::new(kobj) }
    }
}

impl Events {
    /// # Safety
    ///
    /// [`Events::detach`] is called before the table goes away.
    pub(super) unsafe fn new(table: *mut bindings::dm_table) -> Result<Arc<Self>> {
        // INVARIANT: By the safety requirement.
        let init = pin_init!(Self {
            table <- new_mutex!(NonNull::new(table).map(Table), "Events::table"),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Nothing is sent after this.
    pub(super) fn detach(&self) {
        // INVARIANT: Null from now on.
        *self.table.lock() = None;
    }

    /// The disk's kobject, if the target still exists.
    pub(super) fn disk(&self) -> Option<DiskKobject> {
        let guard = self.table.lock();
        guard.as_ref().and_then(Table::disk)
    }

    /// Raises the device's event number, sends a `change` uevent with the string `environment`
    /// (`NAME=value`), and wakes polls of the attributes `files` in the sysfs directory `directory`.
    pub(crate) fn send(&self, environment: &CStr, directory: &CStr, files: &[&CStr]) {
        let guard = self.table.lock();
        let Some(table) = guard.as_ref() else {
            return;
        };
        // SAFETY: By the type invariant the table is valid while the lock is held.
        unsafe { bindings::dm_table_event(table.0.as_ptr()) };
        let Some(kobj) = table.disk() else {
            return;
        };
        let mut strings = [environment.as_char_ptr().cast_mut(), core::ptr::null_mut()];
        let action = bindings::kobject_action_KOBJ_CHANGE;
        // An event that nobody hears is no error: there may be no listener, or no memory.
        // SAFETY: The kobject is valid; the strings are copied and the array ends with null.
        let _ =
            unsafe { bindings::kobject_uevent_env(kobj.as_ptr(), action, strings.as_mut_ptr()) };
        for file in files {
            // SAFETY: The kobject is valid and the names are nul-terminated; a missing file is allowed.
            unsafe {
                bindings::sysfs_notify(kobj.as_ptr(), directory.as_char_ptr(), file.as_char_ptr())
            };
        }
    }
}
