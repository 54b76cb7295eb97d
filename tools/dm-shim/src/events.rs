// SPDX-License-Identifier: GPL-2.0

//! The events of a mapped device, and what device-mapper says of its end and its suspends.

#![forbid(unsafe_code)]

use kernel::prelude::*;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// A mapped device as a target sees it.
#[derive(Default)]
pub struct Events {
    is_suspending_noflush: AtomicBool,
    is_removed: AtomicBool,
}

impl Events {
    /// A device that is there.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether a noflush suspend is under way.
    pub fn set_suspending_noflush(&self, value: bool) {
        self.is_suspending_noflush.store(value, Relaxed);
    }

    /// Says that the device is being removed.
    pub fn set_removed(&self) {
        self.is_removed.store(true, Relaxed);
    }

    /// Returns true if a noflush suspend is under way.
    pub fn is_suspending_noflush(&self) -> bool {
        self.is_suspending_noflush.load(Relaxed)
    }

    /// Returns true if the device is being removed.
    pub fn is_device_removed(&self) -> bool {
        self.is_removed.load(Relaxed)
    }

    /// Sends an event.
    pub fn send(&self, _environment: &CStr, _directory: &CStr, _files: &[&CStr]) {
        kernel::machine::might_sleep();
    }
}
