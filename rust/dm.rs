// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions for device-mapper targets.
//!
//! A target implements [`Target`] and is registered by a [`Registration`]. What reaches it:
//!
//! - [`Constructor`]: the table line, the devices that it names, and the limits to set;
//! - [`Incoming`]: a bio in `map`, which must be consumed: remapped, ended, or taken away as a
//!   [`Bio`];
//! - [`Completed`]: a bio in `end_io`.
//!
//! Beside these: [`BlockDevice`] (a device opened by number), [`Io`] (own bios with own pages),
//! [`Gather`] (a durable write of several of them together), [`List`] and [`IrqStack`] (bios kept
//! without allocating), [`Gate`] (a value read without a lock and replaced while nobody is inside),
//! [`Latest`] (one that is replaced at any time), [`WorkQueue`], [`NoIo`], [`Events`], [`sysfs`].
//!
//! Nothing here knows what the targets are for. All unsafe code of the module is in these files and
//! in `bindings.rs`. `Documentation/dm.rst` tells how to write a target with them.
//!
//! C header: [`include/linux/device-mapper.h`](srctree/include/linux/device-mapper.h)
//!
//! # Examples
//!
//! A target that passes reads on to a device and refuses all else:
//!
//! ```
//! use core::fmt;
//! use core::fmt::Write;
//! use crate::dm::BlockDevice;
//! use crate::dm::Constructor;
//! use crate::dm::Incoming;
//! use crate::dm::Mapped;
//! use crate::dm::Op;
//! use crate::dm::Status;
//! use crate::dm::StatusKind;
//! use crate::dm::StatusWriter;
//! use crate::dm::Target;
//! use kernel::str::CString;
//!
//! struct ReadOnly {
//!     device: BlockDevice,
//! }
//!
//! #[vtable]
//! impl Target for ReadOnly {
//!     const NAME: &'static CStr = c"read-only";
//!     const VERSION: [u32; 3] = [1, 0, 0];
//!     type PerBio = ();
//!
//!     fn new(table: &mut Constructor<'_>, args: &[&str]) -> Result<Pin<KBox<Self>>> {
//!         let &[path] = args else {
//!             return Err(table.fail(c"One argument is needed: the device"));
//!         };
//!         let path = CString::try_from_fmt(fmt!("{path}"))?;
//!         let claim = table.claim(&path, false, true)?;
//!         let device = BlockDevice::open(claim.devt, false)?;
//!         Ok(KBox::pin(Self { device }, GFP_KERNEL)?)
//!     }
//!
//!     fn map<'a>(&'a self, bio: Incoming<'a, Self>) -> Mapped<'a> {
//!         match bio.op() {
//!             Op::Read => {
//!                 let start = bio.span().start;
//!                 bio.remap(&self.device, start)
//!             }
//!             _ => bio.end(Status::NOT_SUPPORTED),
//!         }
//!     }
//!
//!     fn status(&self, kind: StatusKind, out: &mut StatusWriter<'_>) -> fmt::Result {
//!         match kind {
//!             StatusKind::Table => write!(out, "{}", self.device.devt()),
//!             StatusKind::Info | StatusKind::Ima => Ok(()),
//!         }
//!     }
//! }
//! ```

#![allow(unsafe_code)]
// Inside, items are `pub`; what is imported here is what others see.
#![allow(unreachable_pub)]

mod bio;
mod block_device;
mod boot_id;
mod bug;
mod constructor;
pub(crate) mod errors;
mod events;
mod gate;
mod gather;
mod global;
mod io;
mod kernel_mount;
mod kobject;
mod latest;
mod layers;
mod list;
mod noio;
mod noreclaim;
mod pages;
mod registration;
mod services;
mod status;
mod status_line;
pub(crate) mod sysfs;
mod target;
mod vtable;
mod words;
mod work;

pub(crate) use bio::Bio;
pub(crate) use bio::Op;
pub(crate) use bio::Span;
pub(crate) use block_device::BlockDevice;
pub(crate) use block_device::DevT;
pub(crate) use boot_id::boot_id_text;
pub(crate) use bug::bug;
pub(crate) use constructor::Constructor;
pub(crate) use events::Events;
pub(crate) use gate::Closed;
pub(crate) use gate::Gate;
pub(crate) use gate::Stay;
pub(crate) use gate::Ticket;
pub(crate) use gather::Gather;
pub(crate) use gather::GatherDone;
pub(crate) use global::Global;
pub(crate) use io::Direction;
pub(crate) use io::Io;
pub(crate) use io::IoDone;
pub(crate) use latest::Latest;
pub(crate) use latest::Replaced;
pub(crate) use layers::Layers;
pub(crate) use list::IrqStack;
pub(crate) use list::List;
pub(crate) use noio::NoIo;
pub(crate) use noreclaim::NoReclaim;
pub(crate) use pages::Pages;
pub(crate) use registration::Registration;
pub(crate) use services::crc32c;
pub(crate) use services::is_admin;
pub(crate) use services::is_killed;
pub(crate) use services::let_others_run;
pub(crate) use services::monotonic_ns;
pub(crate) use services::now_ns;
pub(crate) use services::random_uuid;
pub(crate) use services::sleep_ms;
pub(crate) use services::synchronize_rcu;
pub(crate) use services::KeepLoaded;
pub(crate) use status::Status;
pub(crate) use status_line::StatusKind;
pub(crate) use status_line::StatusWriter;
pub(crate) use target::Completed;
pub(crate) use target::Ended;
pub(crate) use target::Incoming;
pub(crate) use target::Mapped;
pub(crate) use target::Suspend;
pub(crate) use target::Target;
pub(crate) use work::flush as flush_work;
pub(crate) use work::WorkQueue;
