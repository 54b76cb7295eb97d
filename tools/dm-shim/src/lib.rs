// SPDX-License-Identifier: GPL-2.0

//! Stands for the module's `rust/dm` in the simulator.
//!
//! Same names, signatures and behaviour, over the tasks and interrupts of the
//! [machine](kernel::machine) and the simulated [drives](drive). What the module does with
//! device-mapper's calls (targets, tables, sysfs) is not here: the simulator takes its place.

#![forbid(unsafe_code)]
// As in the kernel's own build; see `.cargo/config.toml`.
#![feature(arbitrary_self_types)]

mod bio;
mod block_device;
pub mod drive;
pub mod errors;
mod events;
mod gate;
mod gather;
mod global;
mod io;
mod latest;
mod list;
mod noio;
mod noreclaim;
mod pages;
mod services;
mod status;
mod target;
mod work;

pub use bio::Bio;
pub use bio::Op;
pub use bio::Owner;
pub use bio::Parts;
pub use bio::Span;
pub use block_device::BlockDevice;
pub use block_device::DevT;
pub use events::Events;
pub use gate::on_close;
pub use gate::Closed;
pub use gate::Gate;
pub use gate::Stay;
pub use gate::Ticket;
pub use gather::Gather;
pub use gather::GatherDone;
pub use global::Global;
pub use io::Direction;
pub use io::Io;
pub use io::IoDone;
pub use latest::Latest;
pub use latest::Replaced;
pub use list::IrqStack;
pub use list::List;
pub use noio::NoIo;
pub use noreclaim::NoReclaim;
pub use pages::Pages;
pub use services::boot_id_text;
pub use services::bug;
pub use services::crc32c;
pub use services::is_killed;
pub use services::let_others_run;
pub use services::monotonic_ns;
pub use services::now_ns;
pub use services::random_uuid;
pub use services::set_boot_id;
pub use services::sleep_ms;
pub use services::synchronize_rcu;
pub use status::Status;
pub use target::Incoming;
pub use target::Mapped;
pub use target::Target;
pub use work::flush as flush_work;
pub use work::WorkQueue;
