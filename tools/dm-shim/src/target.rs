// SPDX-License-Identifier: GPL-2.0

//! What a target is passed.

#![forbid(unsafe_code)]

use crate::bio::Bio;
use crate::block_device::BlockDevice;
use crate::status::Status;
use std::marker::PhantomData;
use std::ops::Deref;

/// A target: here only what its bios carry.
pub trait Target {
    /// State kept with each bio.
    type PerBio: Default + 'static;
}

/// Result of `map`.
pub struct Mapped<'a>(PhantomData<&'a ()>);

/// A bio in `map`.
pub struct Incoming<'a, T: Target>(Bio<T::PerBio>, PhantomData<&'a ()>);

impl<'a, T: Target> Incoming<'a, T> {
    /// Makes one.
    pub fn new(bio: Bio<T::PerBio>) -> Self {
        Self(bio, PhantomData)
    }

    /// The target's state of this bio.
    pub fn state(&mut self) -> &mut T::PerBio {
        self.0.state()
    }

    /// Sends the bio to a sector of a device.
    pub fn remap(self, device: &'a BlockDevice, sector: u64) -> Mapped<'a> {
        self.0.submit(device, sector);
        Mapped(PhantomData)
    }

    /// Ends the bio.
    pub fn end(self, status: Status) -> Mapped<'a> {
        self.0.end(status);
        Mapped(PhantomData)
    }

    /// Takes the bio away.
    pub fn take(self, f: impl FnOnce(Bio<T::PerBio>)) -> Mapped<'a> {
        f(self.0);
        Mapped(PhantomData)
    }

    /// Keeps the first sectors, and has the rest mapped later. Returns how many it has then.
    pub fn keep_first(&mut self, sectors: u64) -> u64 {
        self.0.keep_first(sectors)
    }
}

impl<T: Target> Deref for Incoming<'_, T> {
    type Target = Bio<T::PerBio>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
