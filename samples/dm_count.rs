// SPDX-License-Identifier: GPL-2.0

//! A sample target: passes everything on to one device, and counts the reads and writes that
//! succeed.
//!
//! It shows what a target needs at least, and knows nothing of dm-preserve. The table line is
//! `0 SECTORS count DEVICE`, the status `READS WRITES`.

#![deny(unsafe_code)]

// A target outside this tree has copies of these beside it, and says just `mod bindings; mod dm;`.
#[path = "../rust"]
#[allow(
    dead_code,
    unused_imports,
    reason = "a target does not use all that there is"
)]
mod rust {
    pub(crate) mod bindings;
    pub(crate) mod dm;
}

use core::fmt;
use core::fmt::Write;
use dm::BlockDevice;
use dm::Completed;
use dm::Constructor;
use dm::Ended;
use dm::Incoming;
use dm::Mapped;
use dm::Op;
use dm::Registration;
use dm::Status;
use dm::StatusKind;
use dm::StatusWriter;
use dm::Target;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;
use rust::bindings;
use rust::dm;

module! {
    type: DmCount,
    name: "dm_count",
    authors: ["The dm-preserve developers"],
    description: "device-mapper target that counts reads and writes",
    license: "GPL",
}

/// The loaded module.
#[pin_data]
struct DmCount {
    #[pin]
    _target: Registration<Count>,
}

impl kernel::InPlaceModule for DmCount {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _target <- Registration::new(module),
        }? Error)
    }
}

/// A target `count` in a table.
struct Count {
    device: BlockDevice,
    reads: Atomic<u64>,
    writes: Atomic<u64>,
}

#[vtable]
impl Target for Count {
    const NAME: &'static CStr = c"count";
    const VERSION: [u32; 3] = [1, 0, 0];
    /// What the bio asked for: one that comes back is at its end, where a write looks like a flush.
    type PerBio = Option<Op>;

    fn new(table: &mut Constructor<'_>, args: &[&str]) -> Result<Pin<KBox<Self>>> {
        let &[path] = args else {
            return Err(table.fail(c"One argument is needed: the device"));
        };
        let path = CString::try_from_fmt(fmt!("{path}"))?;
        let write = table.is_writable();
        let claim = table.claim(&path, write, true).inspect_err(|_| {
            table.fail(c"Cannot open the device");
        })?;
        if table.len() > claim.sectors {
            return Err(table.fail(c"The device is too small"));
        }
        table.accept_flushes();
        table.accept_discards_and_zeroes();
        let count = Self {
            device: BlockDevice::open(claim.devt, write)?,
            reads: Atomic::new(0),
            writes: Atomic::new(0),
        };
        Ok(KBox::pin(count, GFP_KERNEL)?)
    }

    fn map<'a>(&'a self, mut bio: Incoming<'a, Self>) -> Mapped<'a> {
        *bio.state() = Some(bio.op());
        let start = bio.span().start;
        bio.remap(&self.device, start)
    }

    fn end_io<'a>(&'a self, mut bio: Completed<'a, Self>) -> Ended<'a> {
        match bio.state().take() {
            _ if bio.status() != Status::OK => (),
            Some(Op::Read) => self.reads.add(1, Relaxed),
            Some(Op::Write) => self.writes.add(1, Relaxed),
            _ => (),
        }
        bio.done()
    }

    fn status(&self, kind: StatusKind, out: &mut StatusWriter<'_>) -> fmt::Result {
        match kind {
            StatusKind::Info => {
                let (reads, writes) = (self.reads.load(Relaxed), self.writes.load(Relaxed));
                write!(out, "{reads} {writes}")
            }
            StatusKind::Table => write!(out, "{}", self.device.devt()),
            StatusKind::Ima => write!(out, "target_name=count,target_version=1.0.0;"),
        }
    }
}
