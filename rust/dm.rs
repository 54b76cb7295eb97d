// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions for device-mapper targets.
//!
//! A target implements [`Target`] and is registered by a [`Registration`]. What reaches it:
//!
//! - [`Constructor`]: the table line, the devices that it names, and the limits to set;
//! - [`Incoming`]: a bio in `map`, which must be consumed: remapped, ended, or taken away as a [`Bio`];
//! - [`Completed`]: a bio in `end_io`.
//!
//! Beside these: [`BlockDevice`] (a device opened by number), [`Io`] (own bios with own pages), [`Gather`] (a
//! durable write of several of them together),
//! [`List`] and [`IrqStack`] (bios kept without allocating), [`Gate`] (a value read without a lock and
//! replaced while nobody is inside), [`WorkQueue`], [`NoIo`], [`Events`], [`sysfs`].
//!
//! Nothing here knows what the targets are for. All unsafe code of the module is in these files and in
//! `bindings.rs`.
//!
//! C header: [`include/linux/device-mapper.h`](srctree/include/linux/device-mapper.h)

#![allow(unsafe_code)]

mod bio;
mod block_device;
mod boot_id;
pub(crate) mod errors;
mod events;
mod gate;
mod gather;
mod global;
mod io;
mod list;
mod noio;
mod services;
pub(crate) mod sysfs;
mod target;
mod vtable;
mod work;

pub(crate) use bio::Bio;
pub(crate) use bio::Completed;
pub(crate) use bio::Ended;
pub(crate) use bio::Incoming;
pub(crate) use bio::Mapped;
pub(crate) use bio::Op;
pub(crate) use bio::Span;
pub(crate) use bio::Status;
pub(crate) use block_device::BlockDevice;
pub(crate) use block_device::DevT;
pub(crate) use boot_id::boot_id_text;
pub(crate) use events::Events;
pub(crate) use gate::Entry;
pub(crate) use gate::Gate;
pub(crate) use gate::Ticket;
pub(crate) use gather::Gather;
pub(crate) use gather::GatherDone;
pub(crate) use global::Global;
pub(crate) use io::Direction;
pub(crate) use io::Io;
pub(crate) use io::IoDone;
pub(crate) use list::IrqStack;
pub(crate) use list::List;
pub(crate) use noio::NoIo;
pub(crate) use services::crc32c;
pub(crate) use services::is_admin;
pub(crate) use services::let_others_run;
pub(crate) use services::monotonic_ns;
pub(crate) use services::now_ns;
pub(crate) use services::random_uuid;
pub(crate) use services::sleep_ms;
pub(crate) use services::synchronize_rcu;
pub(crate) use services::KeepLoaded;
pub(crate) use target::Constructor;
pub(crate) use target::StatusKind;
pub(crate) use target::StatusWriter;
pub(crate) use target::Suspend;
pub(crate) use target::Target;
pub(crate) use vtable::Registration;
pub(crate) use work::flush as flush_work;
pub(crate) use work::WorkQueue;
