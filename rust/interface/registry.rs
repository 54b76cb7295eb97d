// SPDX-License-Identifier: GPL-2.0

//! The registry of engines: one per store, shared by the tables of one live device.
//!
//! The lock is not held while devices are opened, or files in sysfs are made or removed: their
//! handlers take it.

#![forbid(unsafe_code)]

use crate::dm::sysfs::Directory;
use crate::dm::Constructor;
use crate::dm::DevT;
use crate::dm::Global;
use crate::dm::NoIo;
use crate::engine::Engine;
use crate::engine::Identity;
use crate::engine::Phase;
use crate::engine::Reserves;
use crate::engine::SharedQueues;
use crate::maps::Geometry;
use crate::store::Trouble;
use crate::uapi::args::Options;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::Mutex;

/// The module's registry, while it is loaded.
pub(crate) static REGISTRY: Global<Registry> = Global::new();

struct Registered {
    engine: Arc<Engine>,
    /// Targets `preserve` that use the engine. It ends with the last.
    targets: usize,
    /// Views that use it: as long as there is one, nobody may write to its store.
    views: usize,
    /// The live device's directory in sysfs; shared by all engines of the device.
    files: Option<Arc<Directory>>,
}

/// The registry.
#[pin_data]
pub(crate) struct Registry {
    #[pin]
    entries: Mutex<KVec<Registered>>,
    queues: Arc<SharedQueues>,
}

impl Registry {
    /// Makes an empty registry, with its work queues. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let queues = SharedQueues::new()?;
        let init = pin_init!(Self {
            entries <- new_mutex!(KVec::new(), "Registry::entries"),
            queues,
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Waits for all work, which holds the last references to parts of engines that have ended.
    pub(crate) fn end_work(&self) {
        self.queues.drain_all();
    }
}

/// Why a table was refused.
pub(super) enum Refused {
    /// A mistake, with what to do about it.
    Because(&'static CStr),
    /// An error of the system.
    Error(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Trouble> for Refused {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Because(why) => Self::Because(why),
            Trouble::Error(error) => Self::Error(error),
        }
    }
}

impl From<kernel::alloc::AllocError> for Refused {
    fn from(error: kernel::alloc::AllocError) -> Self {
        Self::Error(error.into())
    }
}

impl Refused {
    /// Tells device-mapper why the table is refused. Returns the error for the constructor.
    pub(super) fn report(self, table: &mut Constructor<'_>) -> Error {
        match self {
            Self::Because(why) => table.fail(why),
            Self::Error(error) => {
                table.fail(
                    c"Cannot set up the engine (out of memory, or a device cannot be opened)",
                );
                error
            }
        }
    }
}

/// Returns true if a table may use the engine of an entry, false if the entry does not hinder a new
/// engine.
///
/// Errors: [`Refused`], if the table may have neither.
fn check(
    entry: &Registered,
    identity: Identity,
    shape: Geometry,
    options: &Options,
) -> Result<bool, Refused> {
    let engine = &entry.engine;
    let there = engine.device().identity();
    let is_left = engine.phases().is_left();
    if engine.phases().now() == Phase::Bypassed && !is_left {
        return Err(Refused::Because(
            c"Another table is just taking the place of this device: try again",
        ));
    }
    if entry.targets == 0 || (is_left && entry.views > 0) {
        // Only views are left of it, which read the store.
        return match there.store == identity.store || there.store == identity.origin {
            true => Err(Refused::Because(
                c"A view of an earlier device still reads that store: remove the view first",
            )),
            false => Ok(false),
        };
    }
    if there == identity && is_left {
        // It never becomes active again.
        return Ok(false);
    }
    if there == identity {
        return fits(engine, shape, options).map(|()| true);
    }
    if there.store == identity.store || there.origin == identity.store {
        return Err(Refused::Because(
            c"The store is in use by another preserve device",
        ));
    }
    if there.store == identity.origin {
        return Err(Refused::Because(
            c"The origin is the store of another preserve device",
        ));
    }
    if there.origin == identity.origin && there.live != identity.live {
        return Err(Refused::Because(
            c"The origin is in use by another preserve device",
        ));
    }
    Ok(false)
}

/// Refuses a table that an engine of the same devices does not fit.
///
/// Errors: [`Refused`].
fn fits(engine: &Engine, shape: Geometry, options: &Options) -> Result<(), Refused> {
    if engine.device().is_persistent() == options.transient {
        return Err(Refused::Because(
            c"transient cannot be added or taken away while the device exists: remove it first",
        ));
    }
    if there_is_another_chunk_size(engine, shape) {
        return Err(Refused::Because(
            c"The chunk size cannot change while the device exists: remove it first",
        ));
    }
    if shape.sectors() < engine.device().geometry().sectors() {
        return Err(Refused::Because(
            c"The device cannot shrink while it exists: remove it first",
        ));
    }
    Ok(())
}

fn there_is_another_chunk_size(engine: &Engine, shape: Geometry) -> bool {
    engine.device().shape().chunk_sectors() != shape.chunk_sectors()
}

/// Returns the engine for a table: an existing one, or a new one. The caller gives it back with
/// [`release`].
///
/// Errors, as [`Refused`]: a text if the table does not fit an existing engine or the devices
/// cannot be used, `ENODEV` while the module is being unloaded, those of the devices, `ENOMEM`.
pub(super) fn acquire(
    identity: Identity,
    shape: Geometry,
    options: Options,
) -> Result<Arc<Engine>, Refused> {
    let registry = REGISTRY.get().ok_or(ENODEV)?;
    // Other devices' preresume waits for the lock.
    let _noio = NoIo::enter();
    let mut made = None;
    loop {
        let mut entries = registry.entries.lock();
        for entry in entries.iter_mut() {
            if check(entry, identity, shape, &options)? {
                entry.targets += 1;
                return Ok(entry.engine.clone());
            }
        }
        if let Some(engine) = made.take() {
            let entry = Registered {
                engine: Arc::clone(&engine),
                targets: 1,
                views: 0,
                files: None,
            };
            entries.push(entry, GFP_KERNEL)?;
            return Ok(engine);
        }
        drop(entries);
        made = Some(Engine::new(
            identity,
            shape,
            options,
            Reserves::DEFAULT,
            registry.queues.clone(),
        )?);
    }
}

/// How somebody uses an engine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// As the live device.
    Target,
    /// As a view of it.
    View,
}

/// Gives an engine back that a target or view has used. The engine ends with its last target, and
/// is forgotten with the last target or view.
pub(super) fn release(engine: &Arc<Engine>, what: Use) {
    let Some(registry) = REGISTRY.get() else {
        return;
    };
    let mut entries = registry.entries.lock();
    let place = entries
        .iter()
        .position(|entry| Arc::ptr_eq(&entry.engine, engine));
    let Some((place, entry)) = place.and_then(|at| Some((at, entries.get_mut(at)?))) else {
        return;
    };
    let count = match what {
        Use::Target => &mut entry.targets,
        Use::View => &mut entry.views,
    };
    *count = count.saturating_sub(1);
    let ended = what == Use::Target && entry.targets == 0;
    if ended {
        engine.remember_end();
    }
    let files = match ended {
        true => entry.files.take(),
        false => None,
    };
    let forgotten = match entry.targets == 0 && entry.views == 0 {
        true => entries.remove(place).ok(),
        false => None,
    };
    drop(entries);
    if ended {
        engine.shut_down();
    }
    // Removing the files waits for their handlers, which find the engine ended.
    drop(files);
    drop(forgotten);
}

/// Lets a view use an engine. The caller gives it back with [`release`].
///
/// Errors: `ENODEV` if the engine has ended meanwhile, or the module is being unloaded.
pub(super) fn hold(engine: &Arc<Engine>) -> Result {
    let registry = REGISTRY.get().ok_or(ENODEV)?;
    let mut entries = registry.entries.lock();
    let mut same = entries
        .iter_mut()
        .filter(|e| Arc::ptr_eq(&e.engine, engine) && e.targets > 0);
    same.next().ok_or(ENODEV)?.views += 1;
    Ok(())
}

/// Makes the live device's directory in sysfs with `make`, unless it is there.
///
/// Errors: those of `make`, `ENOMEM`, and `ENODEV` while the module is being unloaded.
pub(super) fn add_attributes(
    engine: &Arc<Engine>,
    make: impl FnOnce() -> Result<Directory>,
) -> Result {
    let registry = REGISTRY.get().ok_or(ENODEV)?;
    let there = {
        let entries = registry.entries.lock();
        let mut same = entries
            .iter()
            .filter(|e| e.engine.device().live() == engine.device().live());
        same.find_map(|entry| entry.files.clone())
    };
    let files = match there {
        Some(files) => files,
        None => Arc::new(make()?, GFP_KERNEL)?,
    };
    let mut entries = registry.entries.lock();
    let mut same = entries
        .iter_mut()
        .filter(|e| Arc::ptr_eq(&e.engine, engine));
    let unused = match same.next() {
        Some(entry) if entry.files.is_none() => {
            entry.files = Some(files);
            None
        }
        _ => Some(files),
    };
    drop(entries);
    drop(unused);
    Ok(())
}

/// Returns the engine of a live device: the active one, or else the first suspended one. A reload
/// may have made a second one.
pub(super) fn find(live: DevT) -> Option<Arc<Engine>> {
    let registry = REGISTRY.get()?;
    let entries = registry.entries.lock();
    let mut best: Option<&Arc<Engine>> = None;
    for entry in entries
        .iter()
        .filter(|entry| entry.engine.device().live() == live)
    {
        let phase = entry.engine.phases().now();
        if phase == Phase::Active || (phase == Phase::Suspended && best.is_none()) {
            best = Some(&entry.engine);
        }
    }
    best.cloned()
}
