// SPDX-License-Identifier: GPL-2.0

//! The kernel's C interface as `dm/` uses it: the kernel crate's bindings and our own of
//! device-mapper.
//!
//! C headers: [`include/linux/device-mapper.h`](srctree/include/linux/device-mapper.h), `helpers.h`

// First: a rustc that does not know a lint of the list says nothing.
#![allow(unknown_lints)]
#![allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::cast_lossless,
    clippy::as_underscore,
    dead_code,
    improper_ctypes,
    missing_docs,
    unsafe_code,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unnecessary_transmutes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

pub(crate) use generated::*;
pub(crate) use kernel::bindings::*;

mod generated {
    // SAFETY: `__BindgenBitfieldUnit<Storage>` is a newtype around `Storage`
    // (<https://github.com/rust-lang/rust-bindgen/issues/3196>).
    unsafe impl<Storage> pin_init::Zeroable for __BindgenBitfieldUnit<Storage> where
        Storage: pin_init::Zeroable
    {
    }

    include!(concat!(env!("DM_PRESERVE_OBJ"), "/bindings_generated.rs"));
}
