// SPDX-License-Identifier: GPL-2.0

//! The kernel's boot id: random, and another one each time that a kernel starts.
//!
//! The kernel offers it in `/proc` only. It is read from a mount of this module's own, since
//! another file may be mounted over it in the caller's view of the system, as containers do, or
//! nothing at all.

use crate::bindings;
use core::ffi::CStr;
use kernel::error::from_err_ptr;
use kernel::prelude::*;

/// Characters of the id as text.
const BOOT_ID_TEXT: usize = 36;

/// A mount of `/proc` that nobody else sees.
///
/// # Invariants
///
/// The pointer is what `kern_mount` returned, and no error.
struct Proc(*mut bindings::vfsmount);

impl Proc {
    /// Mounts it. Errors: `ENODEV` without `/proc` in the kernel, those of the mount.
    fn mount() -> Result<Self> {
        // SAFETY: The name is nul-terminated.
        let kind = unsafe { bindings::get_fs_type(c"proc".as_char_ptr()) };
        if kind.is_null() {
            return Err(ENODEV);
        }
        // SAFETY: A filesystem's type, which stays: procfs is never a module.
        let mount = from_err_ptr(unsafe { bindings::kern_mount(kind) })?;
        // INVARIANT: Just checked.
        Ok(Self(mount))
    }

    /// Reads the beginning of a file. Errors: those of opening and reading it, `EIO` when it is
    /// shorter.
    fn read(&self, name: &CStr, bytes: &mut [u8]) -> Result {
        // SAFETY: By the type invariant it is a mount.
        let dentry = unsafe { (*self.0).mnt_root };
        let root = bindings::path {
            mnt: self.0,
            dentry,
        };
        // SAFETY: The path is that of a mount's root, the name nul-terminated; for reading, no flag
        // is given.
        let file = unsafe { bindings::file_open_root(&root, name.as_char_ptr(), 0, 0) };
        let file = from_err_ptr(file)?;
        let mut at = 0;
        // SAFETY: The file is open, and the buffer valid for writes of its length.
        let read =
            unsafe { bindings::kernel_read(file, bytes.as_mut_ptr().cast(), bytes.len(), &mut at) };
        // SAFETY: The reference that opening has given.
        unsafe { bindings::fput(file) };
        match usize::try_from(read) == Ok(bytes.len()) {
            true => Ok(()),
            false => Err(EIO),
        }
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is a mount, and nobody uses it any longer but by
        // references of their own.
        unsafe { bindings::kern_unmount(self.0) };
    }
}

/// The boot id as text, as in `/proc/sys/kernel/random/boot_id`. May sleep; may not be called where
/// the kernel reclaims memory.
///
/// Errors: `ENODEV` without `/proc` in the kernel, and what reading it may end in.
pub fn boot_id_text() -> Result<[u8; BOOT_ID_TEXT]> {
    let mut text = [0; BOOT_ID_TEXT];
    Proc::mount()?.read(c"sys/kernel/random/boot_id", &mut text)?;
    Ok(text)
}
