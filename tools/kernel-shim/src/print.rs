// SPDX-License-Identifier: GPL-2.0

//! The kernel's log, which [`machine::take_log`](crate::machine::take_log) returns.

#![forbid(unsafe_code)]

/// Prints an error.
#[macro_export]
macro_rules! pr_err {
    ($($args:tt)*) => { $crate::machine::print(::core::format_args!($($args)*)) };
}

/// Prints a warning.
#[macro_export]
macro_rules! pr_warn {
    ($($args:tt)*) => { $crate::machine::print(::core::format_args!($($args)*)) };
}

/// Prints something to know.
#[macro_export]
macro_rules! pr_info {
    ($($args:tt)*) => { $crate::machine::print(::core::format_args!($($args)*)) };
}
