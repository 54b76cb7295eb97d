// SPDX-License-Identifier: GPL-2.0

//! Registration of a target type.
//!
//! C header: [`include/linux/device-mapper.h`](srctree/include/linux/device-mapper.h)

use super::vtable::VTable;
use super::Target;
use crate::bindings;
use core::marker::PhantomData;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::types::Opaque;

/// A registered target type; unregistered when dropped.
///
/// Wraps the C `struct target_type`, with `dm_register_target()` and `dm_unregister_target()`.
///
/// # Examples
///
/// In a module with a target type `T`:
///
/// ```
/// use crate::dm::Registration;
/// use crate::dm::Target;
///
/// #[pin_data]
/// struct Loaded<T: Target> {
///     #[pin]
///     _target: Registration<T>,
/// }
///
/// impl<T: Target> kernel::InPlaceModule for Loaded<T> {
///     fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
///         try_pin_init!(Self {
///             _target <- Registration::new(module),
///         }? Error)
///     }
/// }
/// ```
///
/// # Invariants
///
/// `target_type` is registered with device-mapper.
#[pin_data(PinnedDrop)]
pub struct Registration<T> {
    #[pin]
    target_type: Opaque<bindings::target_type>,
    _target: PhantomData<T>,
}

// SAFETY: A registration has no methods; registering and unregistering lock by themselves.
unsafe impl<T> Send for Registration<T> {}
// SAFETY: As above.
unsafe impl<T> Sync for Registration<T> {}

impl<T: Target> Registration<T> {
    /// Registers `T`, which keeps `module` loaded while a table uses it. Errors: `EBUSY` when there
    /// is a target type of that name.
    pub fn new(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: Registered, or the initialiser fails.
            target_type <- Opaque::try_ffi_init(|slot: *mut bindings::target_type| {
                // SAFETY: `slot` is valid for writes.
                unsafe { slot.write(VTable::<T>::target_type(module)) };
                // SAFETY: Filled in, and pinned until it is unregistered.
                to_result(unsafe { bindings::dm_register_target(slot) })
            }),
            _target: PhantomData,
        }? Error)
    }
}

#[pinned_drop]
impl<T> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered by the type invariant; the module cannot go while a table uses it.
        unsafe { bindings::dm_unregister_target(self.target_type.get()) };
    }
}
