// SPDX-License-Identifier: GPL-2.0

//! What kernel code imports for convenience.

#![forbid(unsafe_code)]

pub use crate::alloc::flags::GFP_KERNEL;
pub use crate::alloc::flags::GFP_NOWAIT;
pub use crate::alloc::KBox;
pub use crate::alloc::KVVec;
pub use crate::alloc::KVec;
pub use crate::error::code::*;
pub use crate::error::Error;
pub use crate::error::Result;
pub use crate::fmt;
pub use crate::init::PinInit;
pub use crate::pin_init;
pub use crate::pr_err;
pub use crate::pr_info;
pub use crate::pr_warn;
pub use crate::try_pin_init;
pub use kernel_macros::pin_data;
pub use std::ffi::CStr;
