// SPDX-License-Identifier: GPL-2.0

//! From device-mapper's callbacks to [`Target`]'s methods.
//!
//! C header: [`include/linux/device-mapper.h`](srctree/include/linux/device-mapper.h)

use super::bio::PerBio;
use super::constructor::Devices;
use super::words::as_text;
use super::words::copy_words;
use super::Completed;
use super::Constructor;
use super::Events;
use super::Incoming;
use super::NoIo;
use super::StatusKind;
use super::StatusWriter;
use super::Suspend;
use super::Target;
use crate::bindings;
use core::marker::PhantomData;
use core::mem::needs_drop;
use core::ptr::NonNull;
use kernel::error::from_result;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::Arc;

/// What `dm_target::private` points to.
///
/// The target is dropped first, then the devices are put.
struct Instance<T> {
    target: Pin<KBox<T>>,
    devices: Devices,
    events: Arc<Events>,
}

/// The callbacks for targets of type `T`.
pub(super) struct VTable<T>(PhantomData<T>);

impl<T: Target> VTable<T> {
    /// # Safety
    ///
    /// `target` was constructed by [`Self::ctr`] and not destroyed, for `'a`.
    unsafe fn instance<'a>(target: *mut bindings::dm_target) -> &'a Instance<T> {
        // SAFETY: By the safety requirement the target is valid.
        let instance = unsafe { (*target).private }.cast::<Instance<T>>();
        // SAFETY: `ctr` has set `private` to an instance, which lives until `dtr`.
        unsafe { &*instance }
    }

    /// # Safety
    ///
    /// Called by device-mapper to construct `target` from `argc` words.
    unsafe extern "C" fn ctr(
        target: *mut bindings::dm_target,
        argc: u32,
        argv: *mut *mut kernel::ffi::c_char,
    ) -> kernel::ffi::c_int {
        from_result(|| {
            let target = NonNull::new(target).ok_or(EINVAL)?;
            // SAFETY: By the safety requirement.
            let words = unsafe { copy_words(argc, argv) };
            // SAFETY: By the safety requirement.
            unsafe { Self::construct(target, words) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// `target` is being constructed.
    unsafe fn construct(
        target: NonNull<bindings::dm_target>,
        words: Result<KVec<CString>>,
    ) -> Result {
        // dm-core aligns what it puts before a clone to its own structures, no further.
        const { assert!(align_of::<PerBio<T::PerBio>>() <= align_of::<u64>()) };
        let raw = target.as_ptr();
        let place = KBox::<Instance<T>>::new_uninit(GFP_KERNEL)?;
        let mut devices = Devices::new();
        // SAFETY: A target being constructed is valid; `detach` is called below on failure, and in
        // `dtr`.
        let events = unsafe { Events::new(target) }?;
        // SAFETY: Its constructor is running, and no device is taken yet.
        let mut table = unsafe { Constructor::new(target, &mut devices, &events) };
        match Self::make(&mut table, words) {
            Ok(inner) => {
                let instance = KBox::write(
                    place,
                    Instance {
                        target: inner,
                        devices,
                        events,
                    },
                );
                // SAFETY: The target is valid, and ours in its constructor.
                unsafe { (*raw).private = KBox::into_raw(instance).cast() };
                // CAST: A small struct.
                // SAFETY: As above.
                unsafe { (*raw).per_io_data_size = size_of::<PerBio<T::PerBio>>() as u32 };
                // A bio that `map` takes is accounted when it is submitted (`Bio::submit`).
                // SAFETY: As above.
                unsafe { (*raw).set_accounts_remapped_io(true) };
                Ok(())
            }
            Err(error) => {
                events.detach();
                // SAFETY: All were taken for this target, and making it has failed, so nobody uses
                // them.
                unsafe { devices.put(raw) };
                Err(error)
            }
        }
    }

    /// Lets `T` make the target from the table line's words.
    fn make(table: &mut Constructor<'_>, words: Result<KVec<CString>>) -> Result<Pin<KBox<T>>> {
        let words = words.map_err(|_| table.fail(c"Too many arguments"))?;
        let text = as_text(&words).map_err(|_| table.fail(c"The arguments are not UTF-8"))?;
        T::new(table, &text)
    }

    /// # Safety
    ///
    /// Called by device-mapper to destroy `target`, which [`Self::ctr`] has constructed.
    unsafe extern "C" fn dtr(target: *mut bindings::dm_target) {
        if T::HOLDS {
            // An `end_io` that has given its bio away may still run: the bio does not keep us any
            // longer.
            super::synchronize_rcu();
        }
        // SAFETY: The target is valid; `ctr` has set this field.
        let instance = unsafe { (*target).private }.cast::<Instance<T>>();
        // SAFETY: `ctr` made this pointer from a box; nobody uses it after this.
        let instance = unsafe { KBox::from_raw(instance) };
        let Instance {
            target: inner,
            mut devices,
            events,
        } = KBox::into_inner(instance);
        drop(inner);
        events.detach();
        // SAFETY: All were taken for this target; the inner target, which used them, is gone.
        unsafe { devices.put(target) };
    }

    /// # Safety
    ///
    /// Called by device-mapper with a live target and a clone of it.
    unsafe extern "C" fn map(
        target: *mut bindings::dm_target,
        bio: *mut bindings::bio,
    ) -> kernel::ffi::c_int {
        // SAFETY: The target is live.
        let instance = unsafe { Self::instance(target) };
        // SAFETY: A bio passed to `map` is valid, hence not null.
        let bio = unsafe { NonNull::new_unchecked(bio) };
        // SAFETY: A fresh clone, passed to this call.
        let bio = unsafe { Incoming::new(bio) };
        instance.target.map(bio).0
    }

    /// # Safety
    ///
    /// Called by device-mapper with a live target and a clone that [`Self::map`] has seen.
    unsafe extern "C" fn end_io(
        target: *mut bindings::dm_target,
        bio: *mut bindings::bio,
        _status: *mut bindings::blk_status_t,
    ) -> kernel::ffi::c_int {
        // From where a target holds the bio, this section is what keeps the target alive; see
        // `dtr`.
        let _rcu = T::HOLDS.then(kernel::sync::rcu::read_lock);
        // SAFETY: The target is live while a bio of it is in flight.
        let instance = unsafe { Self::instance(target) };
        // SAFETY: A valid bio, hence not null.
        let bio = unsafe { NonNull::new_unchecked(bio) };
        // SAFETY: A clone that `map` has seen, passed to this call.
        let bio = unsafe { Completed::new(bio) };
        instance.target.end_io(bio).0
    }

    /// # Safety
    ///
    /// Called by device-mapper with a live target.
    unsafe extern "C" fn presuspend(target: *mut bindings::dm_target) {
        // SAFETY: The target is live.
        let kind = match unsafe { bindings::dm_noflush_suspending(target) } {
            0 => Suspend::Flush,
            _ => Suspend::NoFlush,
        };
        // SAFETY: The target is live.
        unsafe { Self::instance(target) }.target.presuspend(kind);
    }

    /// # Safety
    ///
    /// Called by device-mapper with a live target.
    unsafe extern "C" fn presuspend_undo(target: *mut bindings::dm_target) {
        // SAFETY: The target is live.
        unsafe { Self::instance(target) }.target.presuspend_undo();
    }

    /// # Safety
    ///
    /// Called by device-mapper with a live target.
    unsafe extern "C" fn postsuspend(target: *mut bindings::dm_target) {
        // SAFETY: The target is live.
        unsafe { Self::instance(target) }.target.postsuspend();
    }

    /// # Safety
    ///
    /// Called by device-mapper with a constructed target.
    unsafe extern "C" fn preresume(target: *mut bindings::dm_target) -> kernel::ffi::c_int {
        // SAFETY: The target is constructed.
        let instance = unsafe { Self::instance(target) };
        from_result(|| instance.target.preresume().map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by device-mapper with a constructed target.
    unsafe extern "C" fn resume(target: *mut bindings::dm_target) {
        // SAFETY: The target is constructed.
        unsafe { Self::instance(target) }.target.resume();
    }

    /// # Safety
    ///
    /// Called by device-mapper with a constructed target and a buffer of `len` bytes.
    unsafe extern "C" fn status(
        target: *mut bindings::dm_target,
        kind: bindings::status_type_t,
        _flags: u32,
        buffer: *mut kernel::ffi::c_char,
        len: u32,
    ) {
        let kind = match kind {
            bindings::status_type_t_STATUSTYPE_INFO => StatusKind::Info,
            bindings::status_type_t_STATUSTYPE_TABLE => StatusKind::Table,
            _ => StatusKind::Ima,
        };
        // CAST: Always fits.
        // SAFETY: By the safety requirement.
        let buffer = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), len as usize) };
        // SAFETY: The target is constructed.
        let instance = unsafe { Self::instance(target) };
        // The writer cuts what does not fit, which is how device-mapper learns that it does not.
        let _ = instance.target.status(kind, &mut StatusWriter::new(buffer));
    }

    /// # Safety
    ///
    /// Called by device-mapper with a live target, `argc` words and a buffer of `len` bytes.
    unsafe extern "C" fn message(
        target: *mut bindings::dm_target,
        argc: u32,
        argv: *mut *mut kernel::ffi::c_char,
        buffer: *mut kernel::ffi::c_char,
        len: u32,
    ) -> kernel::ffi::c_int {
        // A message may come to a suspended device.
        let _noio = NoIo::enter();
        // SAFETY: The target is live.
        let instance = unsafe { Self::instance(target) };
        from_result(|| {
            // SAFETY: By the safety requirement.
            let words = unsafe { copy_words(argc, argv) }?;
            let text = as_text(&words)?;
            // CAST: Always fits.
            let len = len as usize;
            // SAFETY: By the safety requirement; the words, which may be in the same memory, are
            // copied.
            let buffer = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), len) };
            let mut out = StatusWriter::new(buffer);
            instance.target.message(&text, &mut out)?;
            // 1 tells device-mapper that there is a reply.
            Ok(if out.is_empty() { 0 } else { 1 })
        })
    }

    /// Reports the devices whose limits the mapped device has, each over the target's length or its
    /// own.
    ///
    /// # Safety
    ///
    /// Called by device-mapper with a constructed target.
    unsafe extern "C" fn iterate_devices(
        target: *mut bindings::dm_target,
        callout: bindings::iterate_devices_callout_fn,
        data: *mut kernel::ffi::c_void,
    ) -> kernel::ffi::c_int {
        // SAFETY: The target is constructed.
        let instance = unsafe { Self::instance(target) };
        let Some(callout) = callout else {
            return 0;
        };
        // SAFETY: The target is valid.
        let target_len = unsafe { (*target).len };
        for device in instance.devices.with_limits() {
            // SAFETY: Taken for this target: valid.
            let bdev = unsafe { (*device.as_ptr()).bdev };
            // SAFETY: The device is open.
            let len = unsafe { bindings::dm_preserve_bdev_nr_sectors(bdev) }.min(target_len);
            // SAFETY: As device-mapper asks for: a device of this target, and a range of it.
            let stop = unsafe { callout(target, device.as_ptr(), 0, len, data) };
            if stop != 0 {
                return stop;
            }
        }
        0
    }

    /// # Safety
    ///
    /// Called by device-mapper with a constructed target and the limits of its devices.
    unsafe extern "C" fn io_hints(
        target: *mut bindings::dm_target,
        limits: *mut bindings::queue_limits,
    ) {
        // SAFETY: The target is constructed.
        let instance = unsafe { Self::instance(target) };
        // SAFETY: By the safety requirement, and nobody else uses the limits now.
        unsafe { (*limits).logical_block_size = instance.target.block_bytes() };
    }

    /// The C structure for `T`, implemented by `module`.
    pub(super) fn target_type(module: &'static ThisModule) -> bindings::target_type {
        bindings::target_type {
            features: u64::from(bindings::DM_TARGET_SINGLETON | bindings::DM_TARGET_NOWAIT),
            name: T::NAME.as_char_ptr(),
            module: module.as_ptr(),
            version: T::VERSION,
            ctr: Some(Self::ctr),
            dtr: Some(Self::dtr),
            map: Some(Self::map),
            end_io: if T::HAS_END_IO || needs_drop::<PerBio<T::PerBio>>() {
                Some(Self::end_io)
            } else {
                None
            },
            presuspend: if T::HAS_PRESUSPEND {
                Some(Self::presuspend)
            } else {
                None
            },
            presuspend_undo: if T::HAS_PRESUSPEND_UNDO {
                Some(Self::presuspend_undo)
            } else {
                None
            },
            postsuspend: if T::HAS_POSTSUSPEND {
                Some(Self::postsuspend)
            } else {
                None
            },
            preresume: if T::HAS_PRERESUME {
                Some(Self::preresume)
            } else {
                None
            },
            resume: if T::HAS_RESUME {
                Some(Self::resume)
            } else {
                None
            },
            status: Some(Self::status),
            message: if T::HAS_MESSAGE {
                Some(Self::message)
            } else {
                None
            },
            iterate_devices: Some(Self::iterate_devices),
            io_hints: if T::HAS_BLOCK_BYTES {
                Some(Self::io_hints)
            } else {
                None
            },
            ..pin_init::zeroed()
        }
    }
}
