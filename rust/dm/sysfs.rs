// SPDX-License-Identifier: GPL-2.0

//! A directory of attributes under a disk's sysfs directory.
//!
//! The attributes are files of the disk's own kobject, in a named group: there is no object of ours
//! whose release could outlive the module. Handlers get the disk's number and find the rest
//! themselves; removing the group waits for handlers that are running.
//!
//! C headers: [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h),
//! [`include/linux/device.h`](srctree/include/linux/device.h). See
//! [`Documentation/filesystems/sysfs.rst`](srctree/Documentation/filesystems/sysfs.rst).

use super::kobject::DiskKobject;
use super::DevT;
use super::Events;
use crate::bindings;
use core::marker::PhantomData;
use kernel::error::from_result;
use kernel::error::to_result;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;

/// A text or binary attribute: the C `struct attribute`.
pub struct File {
    /// The file's name.
    pub name: &'static CStr,
    /// Permission bits (`umode_t`).
    pub mode: u16,
}

/// The attributes of a directory: the C `struct device_attribute` and `struct bin_attribute`.
pub trait Attributes: Send + Sync + 'static {
    /// The directory's name (`name` of `struct attribute_group`).
    const NAME: &'static CStr;
    /// The text files.
    const FILES: &'static [File];
    /// The binary files; read-only.
    const BINARIES: &'static [File];

    /// Writes the content of `FILES[index]` to `out`, a page (`show`); the result is its length. An
    /// error, which may be any, is that of the read.
    fn show(devt: DevT, index: usize, out: &mut [u8]) -> Result<usize>;
    /// Handles text written to `FILES[index]` (`store`). An error, which may be any, is that of the
    /// write.
    fn store(devt: DevT, index: usize, text: &str) -> Result;
    /// Fills `out` with the content of `BINARIES[index]` from `offset` on (`read` of
    /// `struct bin_attribute`); the result is how much there is. An error, which may be any, is
    /// that of the read.
    fn read(devt: DevT, index: usize, offset: u64, out: &mut [u8]) -> Result<usize>;
}

/// Layout of `struct device_attribute`, whose two handlers are unions in 7.3 and plain fields
/// before.
#[repr(C)]
struct TextAttribute {
    attr: bindings::attribute,
    show: unsafe extern "C" fn(
        *mut bindings::device,
        *mut bindings::device_attribute,
        *mut kernel::ffi::c_char,
    ) -> isize,
    store: unsafe extern "C" fn(
        *mut bindings::device,
        *mut bindings::device_attribute,
        *const kernel::ffi::c_char,
        usize,
    ) -> isize,
    // Ours.
    index: usize,
}

/// Layout of `struct attribute_group`, two fields of which are unions in 7.3.
#[repr(C)]
struct RawGroup {
    name: *const kernel::ffi::c_char,
    is_visible: usize,
    is_bin_visible: usize,
    bin_size: usize,
    attrs: *const *mut TextAttribute,
    bin_attrs: *const *mut bindings::bin_attribute,
}

const _: () = assert!(
    core::mem::offset_of!(TextAttribute, index)
        == core::mem::size_of::<bindings::device_attribute>()
);
const _: () =
    assert!(core::mem::size_of::<RawGroup>() == core::mem::size_of::<bindings::attribute_group>());

/// The part that text and binary attributes have in common.
#[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
fn attribute(file: &File) -> bindings::attribute {
    bindings::attribute {
        name: file.name.as_char_ptr(),
        mode: file.mode,
    }
}

/// The same, with the static lock class that attributes on the heap need.
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
fn attribute(file: &File) -> bindings::attribute {
    bindings::attribute {
        name: file.name.as_char_ptr(),
        mode: file.mode,
        key: kernel::static_lock_class!().as_ptr(),
        ..pin_init::zeroed()
    }
}

/// A directory of attributes; removed when dropped.
///
/// Wraps the C `struct attribute_group`, with `sysfs_create_group()` and `sysfs_remove_group()`.
/// Which [`Attributes`] these are is known to the handlers alone, so whoever keeps the directory
/// need not know.
///
/// # Examples
///
/// ```
/// use crate::dm::sysfs::Attributes;
/// use crate::dm::sysfs::Directory;
/// use crate::dm::sysfs::File;
/// use crate::dm::DevT;
/// use crate::dm::Events;
///
/// struct Numbers;
///
/// impl Attributes for Numbers {
///     const NAME: &'static CStr = c"my-target";
///     const FILES: &'static [File] = &[File {
///         name: c"answer",
///         mode: 0o444,
///     }];
///     const BINARIES: &'static [File] = &[];
///
///     fn show(_devt: DevT, _index: usize, out: &mut [u8]) -> Result<usize> {
///         let text = b"42\n";
///         let place = out.get_mut(..text.len()).ok_or(EINVAL)?;
///         place.copy_from_slice(text);
///         Ok(text.len())
///     }
///
///     fn store(_devt: DevT, _index: usize, _text: &str) -> Result {
///         Err(EACCES)
///     }
///
///     fn read(_devt: DevT, _index: usize, _offset: u64, _out: &mut [u8]) -> Result<usize> {
///         Err(EINVAL)
///     }
/// }
///
/// /// Makes `/sys/block/dm-N/my-target/answer`; in `Target::preresume`.
/// fn make(events: &Events) -> Result<Directory> {
///     Directory::new::<Numbers>(events)
/// }
/// ```
///
/// # Invariants
///
/// The group is registered with `kobj`, and everything it points to lives in the other fields. All
/// handlers in it are those of one [`Handlers`].
pub struct Directory {
    kobj: DiskKobject,
    group: KBox<RawGroup>,
    _files: KVec<TextAttribute>,
    _maps: KVec<bindings::bin_attribute>,
    _file_table: KVec<*mut TextAttribute>,
    _map_table: KVec<*mut bindings::bin_attribute>,
}

// SAFETY: Nothing is done with the fields but removing the group, which any thread may do.
unsafe impl Send for Directory {}
// SAFETY: As above.
unsafe impl Sync for Directory {}

impl Directory {
    /// Creates the directory of `A` for the disk of the target that `events` belongs to
    /// (`sysfs_create_group()`). May sleep. The disk is there from the first `preresume` on.
    ///
    /// Errors: `ENODEV` when the target is gone, `ENOMEM`, `EEXIST` when there is such a directory.
    pub fn new<A: Attributes>(events: &Events) -> Result<Self> {
        let kobj = events.disk().ok_or(ENODEV)?;
        let mut files = KVec::with_capacity(A::FILES.len(), GFP_KERNEL)?;
        for (index, file) in A::FILES.iter().enumerate() {
            files.push(Handlers::<A>::text(index, file), GFP_KERNEL)?;
        }
        let mut maps = KVec::with_capacity(A::BINARIES.len(), GFP_KERNEL)?;
        for (index, file) in A::BINARIES.iter().enumerate() {
            maps.push(Handlers::<A>::binary(index, file), GFP_KERNEL)?;
        }
        let mut file_table = KVec::with_capacity(files.len() + 1, GFP_KERNEL)?;
        for file in files.iter_mut() {
            file_table.push(core::ptr::from_mut(file), GFP_KERNEL)?;
        }
        file_table.push(core::ptr::null_mut(), GFP_KERNEL)?;
        let mut map_table = KVec::with_capacity(maps.len() + 1, GFP_KERNEL)?;
        for map in maps.iter_mut() {
            map_table.push(core::ptr::from_mut(map), GFP_KERNEL)?;
        }
        map_table.push(core::ptr::null_mut(), GFP_KERNEL)?;
        let raw = RawGroup {
            name: A::NAME.as_char_ptr(),
            is_visible: 0,
            is_bin_visible: 0,
            bin_size: 0,
            attrs: file_table.as_ptr(),
            bin_attrs: map_table.as_ptr(),
        };
        let group = KBox::new(raw, GFP_KERNEL)?;
        // SAFETY: The kobject is valid; the group has the layout of `struct attribute_group`
        // (asserted above) and points to tables that end with null and live as long as this object.
        to_result(unsafe {
            bindings::sysfs_create_group(kobj.as_ptr(), core::ptr::from_ref(&*group).cast())
        })?;
        // INVARIANT: Registered; the vectors are moved, their contents are not.
        Ok(Self {
            kobj,
            group,
            _files: files,
            _maps: maps,
            _file_table: file_table,
            _map_table: map_table,
        })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let group = core::ptr::from_ref(&*self.group).cast();
        // SAFETY: By the type invariant the group is registered. This waits for running handlers.
        unsafe { bindings::sysfs_remove_group(self.kobj.as_ptr(), group) };
    }
}

/// The callbacks for attributes of type `A`.
struct Handlers<A>(PhantomData<A>);

impl<A: Attributes> Handlers<A> {
    fn text(index: usize, file: &File) -> TextAttribute {
        TextAttribute {
            attr: attribute(file),
            show: Self::show,
            store: Self::store,
            index,
        }
    }

    /// A size of 0 means that the handler decides where the end is; the disk may grow.
    fn binary(index: usize, file: &File) -> bindings::bin_attribute {
        bindings::bin_attribute {
            attr: attribute(file),
            // The index, passed through; never followed.
            private: core::ptr::without_provenance_mut(index),
            read: Some(Self::read),
            ..pin_init::zeroed()
        }
    }

    /// # Safety
    ///
    /// Called by sysfs for a [`TextAttribute`] of these attributes, with a page to write to.
    unsafe extern "C" fn show(
        device: *mut bindings::device,
        attr: *mut bindings::device_attribute,
        buffer: *mut kernel::ffi::c_char,
    ) -> isize {
        // SAFETY: A device that has attributes is valid.
        let devt = DevT(unsafe { (*device).devt });
        // SAFETY: By the safety requirement.
        let index = unsafe { (*attr.cast::<TextAttribute>()).index };
        // SAFETY: sysfs passes a page.
        let out = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), PAGE_SIZE) };
        from_result(|| {
            let len = A::show(devt, index, out)?;
            Ok(len.min(PAGE_SIZE - 1) as isize)
        })
    }

    /// # Safety
    ///
    /// Called by sysfs for a [`TextAttribute`] of these attributes, with `len` bytes of text.
    unsafe extern "C" fn store(
        device: *mut bindings::device,
        attr: *mut bindings::device_attribute,
        text: *const kernel::ffi::c_char,
        len: usize,
    ) -> isize {
        // SAFETY: A device that has attributes is valid.
        let devt = DevT(unsafe { (*device).devt });
        // SAFETY: By the safety requirement.
        let index = unsafe { (*attr.cast::<TextAttribute>()).index };
        // SAFETY: By the safety requirement.
        let text = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), len) };
        from_result(|| {
            let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
            A::store(devt, index, text.trim())?;
            Ok(len as isize)
        })
    }

    /// # Safety
    ///
    /// Called by sysfs for a binary attribute of these attributes, with `len` bytes to write to.
    unsafe extern "C" fn read(
        _file: *mut bindings::file,
        kobj: *mut bindings::kobject,
        attr: *const bindings::bin_attribute,
        buffer: *mut kernel::ffi::c_char,
        offset: bindings::loff_t,
        len: usize,
    ) -> isize {
        // SAFETY: The kobject is that of a disk's device.
        let devt = DevT(unsafe { bindings::dm_preserve_kobj_devt(kobj) });
        // SAFETY: By the safety requirement.
        let index = unsafe { (*attr).private }.addr();
        // Initialised first: it is fresh memory.
        // SAFETY: By the safety requirement.
        unsafe { buffer.write_bytes(0, len) };
        // SAFETY: By the safety requirement.
        let out = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), len) };
        from_result(|| {
            let offset = u64::try_from(offset).map_err(|_| EINVAL)?;
            Ok(A::read(devt, index, offset, out)?.min(len) as isize)
        })
    }
}
