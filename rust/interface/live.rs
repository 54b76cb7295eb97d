// SPDX-License-Identifier: GPL-2.0

//! The target `preserve`: the live device.

#![forbid(unsafe_code)]

use crate::dm::errors::EUCLEAN;
use crate::dm::sysfs::Directory;
use crate::dm::Completed;
use crate::dm::Constructor;
use crate::dm::DevT;
use crate::dm::Ended;
use crate::dm::Events;
use crate::dm::Incoming;
use crate::dm::Layers;
use crate::dm::Mapped;
use crate::dm::StatusKind;
use crate::dm::StatusWriter;
use crate::dm::Suspend;
use crate::dm::Target;
use crate::dm::Ticket;
use crate::engine::Engine;
use crate::engine::Identity;
use crate::engine::TargetNumber;
use crate::format::BLOCK_BYTES;
use crate::interface::registry;
use crate::interface::status::Figures;
use crate::interface::sysfs::Files;
use crate::maps::Geometry;
use crate::uapi::args;
use crate::uapi::args::Message;
use crate::uapi::args::OnError;
use crate::uapi::args::OnFull;
use crate::uapi::args::Options;
use core::fmt;
use core::fmt::Write;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::Arc;

/// A target `preserve` in a table.
pub(crate) struct Live {
    engine: Arc<Engine>,
    options: Options,
    sectors: u64,
    events: Arc<Events>,
    number: TargetNumber,
}

#[vtable]
impl Target for Live {
    const NAME: &'static CStr = c"preserve";
    const VERSION: [u32; 3] = crate::interface::VERSION;
    type PerBio = Option<Ticket>;

    fn new(table: &mut Constructor<'_>, args: &[&str]) -> Result<Pin<KBox<Self>>> {
        let line = args::live(args).map_err(|why| table.fail(why))?;
        let origin = CString::try_from_fmt(fmt!("{}", line.origin))?;
        let store = CString::try_from_fmt(fmt!("{}", line.store))?;
        let origin = table.claim(&origin, true, true).inspect_err(|_| {
            table.fail(c"Cannot open the origin: it must exist and not be in use");
        })?;
        let store = table.claim(&store, true, false).inspect_err(|_| {
            table.fail(c"Cannot open the store: it must exist and not be in use");
        })?;
        if origin.is_read_only {
            return Err(table.fail(c"The origin is read-only: use blockdev --setrw"));
        }
        if store.is_read_only {
            return Err(table.fail(c"The store is read-only: use blockdev --setrw"));
        }
        if origin.devt == store.devt {
            return Err(table.fail(c"The origin and the store must not be the same device"));
        }
        refuse_layers_on_itself(table, origin.devt, store.devt)?;
        if table.len() > origin.sectors {
            return Err(table.fail(c"The origin is smaller than the target"));
        }
        let chunk_bytes = line.chunk_sectors * crate::maps::SECTOR_BYTES;
        if u64::from(origin.block_bytes.max(store.block_bytes)) > chunk_bytes {
            return Err(table.fail(c"The chunk size is smaller than a device's logical block"));
        }
        // CAST: A size in memory.
        if !line.options.transient && store.block_bytes as usize > BLOCK_BYTES {
            return Err(table.fail(
                c"A persistent store must have logical blocks of 4 KiB or less: use another device \
                  as the store, or transient",
            ));
        }
        if store.sectors < line.chunk_sectors {
            return Err(table.fail(c"The store is smaller than one chunk"));
        }
        let shape = Geometry::new(table.len(), line.chunk_sectors).ok_or(EINVAL)?;
        let identity = Identity {
            live: table.devt(),
            origin: origin.devt,
            store: store.devt,
        };
        let engine = registry::acquire(identity, shape, line.options)
            .map_err(|refused| refused.report(table))?;
        table.accept_flushes();
        table.accept_discards_and_zeroes();
        let live = Self {
            number: engine.phases().new_target(),
            engine,
            options: line.options,
            sectors: table.len(),
            events: table.events(),
        };
        Ok(KBox::pin(live, GFP_KERNEL)?)
    }

    fn map<'a>(&'a self, bio: Incoming<'a, Self>) -> Mapped<'a> {
        self.engine.writes().map(bio)
    }

    fn end_io<'a>(&'a self, mut bio: Completed<'a, Self>) -> Ended<'a> {
        if let Some(ticket) = bio.state().take() {
            self.engine.state().leave(ticket);
        }
        bio.done()
    }

    fn presuspend(&self, kind: Suspend) {
        if kind == Suspend::NoFlush {
            self.engine.requeue_held(&self.events);
        }
    }

    fn presuspend_undo(&self) {
        self.engine.keep_held();
    }

    fn postsuspend(&self) {
        self.engine.deactivate();
    }

    fn preresume(&self) -> Result {
        let _noio = crate::dm::NoIo::enter();
        self.engine.bind(self.number, self.sectors, self.options)?;
        // The store may have failed already.
        self.engine.events().set_sink(self.events.clone());
        // Without its files in sysfs the device still does its work.
        if let Err(error) = self.add_attributes() {
            pr_warn!(
                "{}: no files in sysfs: {error:?}\n",
                self.engine.device().live()
            );
        }
        Ok(())
    }

    fn resume(&self) {
        self.engine.activate();
    }

    fn status(&self, kind: StatusKind, out: &mut StatusWriter<'_>) -> fmt::Result {
        match kind {
            StatusKind::Info => write!(out, "{}", Figures::now(&self.engine)),
            StatusKind::Table => self.write_table(out),
            StatusKind::Ima => {
                let [major, minor, patch] = Self::VERSION;
                write!(
                    out,
                    "target_name=preserve,target_version={major}.{minor}.{patch};"
                )
            }
        }
    }

    fn message(&self, args: &[&str], out: &mut StatusWriter<'_>) -> Result {
        let message = args::message(args).map_err(|why| {
            pr_err!(
                "{}: {}\n",
                self.engine.device().live(),
                why.to_str().unwrap_or("")
            );
            EINVAL
        })?;
        self.obey(message, out).inspect_err(|error| {
            pr_err!(
                "{}: message failed ({error:?}): {}\n",
                self.engine.device().live(),
                hint(*error)
            );
        })
    }
}

/// Refuses an origin or a store that lies on the live device itself, in any number of layers: what
/// is written there would come here again, and a suspended device would wait for itself.
///
/// Errors: those of [`Constructor::fail`], `ENOMEM`.
fn refuse_layers_on_itself(table: &mut Constructor<'_>, origin: DevT, store: DevT) -> Result {
    let layers = match Layers::new() {
        Ok(layers) => layers,
        Err(error) => {
            let live = table.devt();
            pr_warn!("{live}: cannot tell what the origin and the store lie on: {error:?}\n");
            return Ok(());
        }
    };
    if layers.lies_on(origin, table.devt())? {
        return Err(table.fail(c"The origin lies on the live device itself"));
    }
    if layers.lies_on(store, table.devt())? {
        return Err(table.fail(
            c"The store lies on the live device itself, or in a file of it: use another device",
        ));
    }
    Ok(())
}

/// Returns a hint for the user about an error of a message.
fn hint(error: Error) -> &'static str {
    match error {
        ENOENT => "there is no such snapshot; see NR_SNAPSHOT_INFO or `preserve status`",
        ERANGE => "the range does not end within the device",
        EINVAL => "the range is empty",
        EOVERFLOW => {
            "too many snapshots were taken since then: drop or forget the oldest, or \
            take a later base"
        }
        EIO => "the store has failed; remove the device, and mend the store or give it another one",
        EUCLEAN => {
            "the base is unproven: vouch for it with the message trust if the store had \
            not failed, else take a full snapshot"
        }
        ENODEV => "the device is not active; resume it",
        _ => "nothing was changed",
    }
}

impl Live {
    fn add_attributes(&self) -> Result {
        let make = || Directory::new::<Files>(&self.events);
        registry::add_attributes(&self.engine, make)
    }

    fn obey(&self, message: Message, out: &mut StatusWriter<'_>) -> Result {
        match message {
            Message::Snapshot { scope, keep } => {
                let id = self.engine.upkeep().take_snapshot(scope, keep)?;
                write!(out, "{id}").map_err(|_| EINVAL)
            }
            Message::Drop(id) => self.engine.upkeep().drop_snapshot(id),
            Message::Forget(id) => self.engine.changes().forget_bookmark(id),
            Message::Edit {
                protect,
                start,
                len,
            } => self
                .engine
                .changes()
                .edit_designation(&[(start, len)], protect),
            Message::Release { id, start, len } => self.engine.changes().release(id, start, len),
            Message::Checkpoint => self.engine.upkeep().checkpoint_now(),
            Message::Grow => self.engine.upkeep().grow_store(),
            Message::Trust => self.engine.upkeep().trust(),
        }
    }

    fn write_table(&self, out: &mut StatusWriter<'_>) -> fmt::Result {
        let identity = &self.engine.device().identity();
        let chunk_sectors = self.engine.device().shape().chunk_sectors();
        write!(
            out,
            "{} {} {chunk_sectors}",
            identity.origin, identity.store
        )?;
        let (now, default) = (&self.options, Options::DEFAULT);
        let args = [
            (now.transient, "transient"),
            (now.keep_unprotected, "keep_unprotected"),
            (!now.default_protected, "default=unprotected"),
            (now.reset_protection, "reset_protection"),
            (now.on_full == OnFull::Block, "on_full=block"),
            (now.on_error == OnError::Block, "on_error=block"),
        ];
        let low_space = now.low_space != default.low_space;
        let count = args.iter().filter(|(given, _)| *given).count() + usize::from(low_space);
        write!(out, " {count}")?;
        for (_, arg) in args.iter().filter(|(given, _)| *given) {
            write!(out, " {arg}")?;
        }
        match low_space {
            true => write!(out, " low_space={}", now.low_space),
            false => Ok(()),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let is_removed = self.events.is_device_removed();
        self.engine.note_destroyed(self.number, is_removed);
        registry::release(&self.engine, registry::Use::Target);
    }
}
