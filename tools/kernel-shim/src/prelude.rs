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
