// SPDX-License-Identifier: GPL-2.0

//! The checksum of a persistent store. User space compiles the files that use it with one of its own.

#![forbid(unsafe_code)]

pub(crate) use crate::dm::crc32c;
