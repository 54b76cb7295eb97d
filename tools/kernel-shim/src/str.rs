// SPDX-License-Identifier: GPL-2.0

//! Texts that end with a zero.

#![forbid(unsafe_code)]

use crate::error::code::EINVAL;
use crate::error::Result;
use std::ffi::CStr;
use std::fmt;
use std::ops::Deref;

/// A text of its own.
pub struct CString(std::ffi::CString);

impl CString {
    /// Makes it of what is formatted.
    ///
    /// Errors: `EINVAL` for a zero in it.
    pub fn try_from_fmt(args: fmt::Arguments<'_>) -> Result<Self> {
        let text = std::ffi::CString::new(args.to_string());
        text.map(Self).map_err(|_| EINVAL)
    }
}

impl Deref for CString {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        &self.0
    }
}

/// What is to be formatted.
#[macro_export]
macro_rules! fmt {
    ($($args:tt)*) => { ::core::format_args!($($args)*) };
}
