// SPDX-License-Identifier: GPL-2.0

//! Initialisers. The kernel's write to the place where a value is to lie; in user space nothing
//! depends on that, so they make a value.

#![forbid(unsafe_code)]

use crate::error::Error;
use std::convert::Infallible;

/// Something that a value can be made from.
pub trait PinInit<T, E = Infallible> {
    /// Makes it.
    ///
    /// Errors: those of the initialiser.
    fn make(self) -> Result<T, E>;
}

/// An initialiser that calls a function.
pub struct FromFn<F>(pub F);

impl<T, E, F: FnOnce() -> Result<T, E>> PinInit<T, E> for FromFn<F> {
    fn make(self) -> Result<T, E> {
        (self.0)()
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Returns what an initialiser makes.
///
/// Errors: those of the initialiser.
#[doc(hidden)]
pub fn make<T, E>(init: impl PinInit<T, E>) -> Result<T, E> {
    init.make()
}

/// Makes a value of the fields of a type; `field <- initialiser` makes a field.
#[macro_export]
macro_rules! pin_init {
    ($type:ident { $($fields:tt)* }) => {
        $crate::init::FromFn(move || {
            ::core::result::Result::<_, ::core::convert::Infallible>::Ok(
                $crate::pin_init_fields!($type [] $($fields)*)
            )
        })
    };
}

/// As [`pin_init`], and may fail with an error of the given type.
#[macro_export]
macro_rules! try_pin_init {
    ($type:ident { $($fields:tt)* }? $error:ty) => {
        $crate::init::FromFn(move || {
            ::core::result::Result::<_, $error>::Ok(
                $crate::pin_init_fields!($type [] $($fields)*)
            )
        })
    };
}

/// The fields, one after another.
#[doc(hidden)]
#[macro_export]
macro_rules! pin_init_fields {
    ($type:ident [$($done:tt)*]) => { $type { $($done)* } };
    ($type:ident [$($done:tt)*] $field:ident <- $init:expr $(, $($rest:tt)*)?) => {
        $crate::pin_init_fields!(
            $type [$($done)* $field: $crate::init::make($init)?,] $($($rest)*)?
        )
    };
    ($type:ident [$($done:tt)*] $field:ident : $value:expr $(, $($rest:tt)*)?) => {
        $crate::pin_init_fields!($type [$($done)* $field: $value,] $($($rest)*)?)
    };
    ($type:ident [$($done:tt)*] $field:ident $(, $($rest:tt)*)?) => {
        $crate::pin_init_fields!($type [$($done)* $field,] $($($rest)*)?)
    };
}
