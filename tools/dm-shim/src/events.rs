// SPDX-License-Identifier: GPL-2.0

//! The events of a mapped device, and what device-mapper says of its suspends.

#![forbid(unsafe_code)]

use kernel::prelude::*;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// A mapped device as a target sees it.
#[derive(Default)]
pub struct Events {
    is_suspending_noflush: AtomicBool,
    is_suspended: AtomicBool,
}

impl Events {
    /// A device that is not suspended.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether a noflush suspend is under way.
    pub fn set_suspending_noflush(&self, value: bool) {
        self.is_suspending_noflush.store(value, Relaxed);
    }

    /// Says whether the device is suspended.
    pub fn set_suspended(&self, value: bool) {
        self.is_suspended.store(value, Relaxed);
    }

    /// Returns true if a noflush suspend is under way.
    pub fn is_suspending_noflush(&self) -> bool {
        self.is_suspending_noflush.load(Relaxed)
    }

    /// Returns true if the device is suspended.
    pub fn is_suspended(&self) -> bool {
        self.is_suspended.load(Relaxed)
    }

    /// Sends an event.
    pub fn send(&self, _environment: &CStr, _directory: &CStr, _files: &[&CStr]) {
        kernel::machine::might_sleep();
    }
}
