// SPDX-License-Identifier: GPL-2.0

//! What the kernel offers in `/proc` or `/sys` only, read from a mount of this module's own.
//!
//! In the caller's view of the system another file may be mounted over it, as containers do, or
//! nothing may be there at all.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/mount.h`](srctree/include/linux/mount.h)

use crate::bindings;
use core::ffi::CStr;
use core::ptr::NonNull;
use kernel::error::from_err_ptr;
use kernel::error::to_result;
use kernel::ffi;
use kernel::prelude::*;
use kernel::str::CString;

/// A mount that nobody else sees.
///
/// # Invariants
///
/// The pointer is what `kern_mount` returned, and no error.
pub(super) struct KernelMount(*mut bindings::vfsmount);

/// An open file; closed when dropped.
///
/// # Invariants
///
/// The pointer is a file whose reference is this object's.
struct OpenFile(NonNull<bindings::file>);

impl Drop for OpenFile {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::fput(self.0.as_ptr()) };
    }
}

impl KernelMount {
    /// Mounts a filesystem that is part of the kernel, and never a module, as `proc` and `sysfs`
    /// (`kern_mount()`). May sleep; may not be called where the kernel reclaims memory.
    ///
    /// Errors: `ENODEV` when the kernel does not have it, those of the mount.
    pub(super) fn new(kind: &CStr) -> Result<Self> {
        // SAFETY: The name is nul-terminated.
        let kind = unsafe { bindings::get_fs_type(kind.as_char_ptr()) };
        if kind.is_null() {
            return Err(ENODEV);
        }
        // SAFETY: A filesystem's type, which stays, as it is no module's.
        let mount = from_err_ptr(unsafe { bindings::kern_mount(kind) })?;
        // INVARIANT: Just checked.
        Ok(Self(mount))
    }

    /// Opens a file or directory for reading (`file_open_root()`).
    fn open(&self, name: &CStr) -> Result<OpenFile> {
        // SAFETY: By the type invariant it is a mount.
        let dentry = unsafe { (*self.0).mnt_root };
        let root = bindings::path {
            mnt: self.0,
            dentry,
        };
        // SAFETY: The path is that of a mount's root, the name nul-terminated; for reading, no flag
        // is given.
        let file = unsafe { bindings::file_open_root(&root, name.as_char_ptr(), 0, 0) };
        // INVARIANT: Just opened.
        Ok(OpenFile(NonNull::new(from_err_ptr(file)?).ok_or(ENOENT)?))
    }

    /// Reads the beginning of a file, and returns how many bytes were read (`kernel_read()`).
    ///
    /// Errors: those of opening and reading it.
    pub(super) fn read(&self, name: &CStr, bytes: &mut [u8]) -> Result<usize> {
        let file = self.open(name)?;
        let (to, len) = (bytes.as_mut_ptr(), bytes.len());
        let mut at = 0;
        // SAFETY: The file is open, and the buffer valid for writes of its length.
        let read = unsafe { bindings::kernel_read(file.0.as_ptr(), to.cast(), len, &mut at) };
        usize::try_from(read).map_err(|_| EIO)
    }

    /// Returns the names of all that is in a directory, `.` and `..` apart (`iterate_dir()`).
    ///
    /// Errors: those of opening and reading it, `ENOMEM`.
    pub(super) fn list(&self, name: &CStr) -> Result<KVec<CString>> {
        let file = self.open(name)?;
        let mut listing = Listing {
            context: bindings::dir_context {
                actor: Some(Listing::add),
                ..Default::default()
            },
            names: Ok(KVec::new()),
        };
        // SAFETY: The file is open; the context is a listing's, as its actor asks for.
        to_result(unsafe { bindings::iterate_dir(file.0.as_ptr(), &mut listing.context) })?;
        listing.names
    }
}

/// A directory being listed.
#[repr(C)]
struct Listing {
    /// First, so that its address is the listing's.
    context: bindings::dir_context,
    names: Result<KVec<CString>>,
}

impl Listing {
    /// # Safety
    ///
    /// Called with the context of a listing, and a name of `len` bytes.
    unsafe extern "C" fn add(
        context: *mut bindings::dir_context,
        name: *const ffi::c_char,
        len: ffi::c_int,
        _offset: bindings::loff_t,
        _inode: u64,
        _kind: ffi::c_uint,
    ) -> bool {
        // SAFETY: By the safety requirement; nobody else uses the listing now.
        let listing = unsafe { &mut *context.cast::<Self>() };
        let len = usize::try_from(len).unwrap_or(0);
        // SAFETY: By the safety requirement.
        let name = unsafe { core::slice::from_raw_parts(name.cast::<u8>(), len) };
        let Ok(names) = listing.names.as_mut() else {
            return false;
        };
        if let Err(error) = keep(names, name) {
            listing.names = Err(error);
        }
        listing.names.is_ok()
    }
}

/// Adds a name to a list. Leaves `.`, `..` and what is no text out. Errors: `ENOMEM`.
fn keep(names: &mut KVec<CString>, name: &[u8]) -> Result {
    match core::str::from_utf8(name) {
        Ok("." | "..") | Err(_) => Ok(()),
        Ok(name) => Ok(names.push(CString::try_from_fmt(fmt!("{name}"))?, GFP_KERNEL)?),
    }
}

impl Drop for KernelMount {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is a mount, and nobody uses it any longer but by
        // references of their own.
        unsafe { bindings::kern_unmount(self.0) };
    }
}
