// SPDX-License-Identifier: GPL-2.0

//! The live device's files in sysfs: `/sys/block/dm-N/preserve/`.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::sysfs::Attributes;
use crate::dm::sysfs::File;
use crate::dm::DevT;
use crate::engine::Engine;
use crate::engine::Epoch;
use crate::engine::Phase;
use crate::interface::registry;
use crate::interface::status::memory;
use crate::interface::status::Figures;
use crate::maps::copy_bits;
use crate::uapi::args;
use crate::uapi::args::ScopeWanted;
use core::fmt;
use core::fmt::Write;
use kernel::prelude::*;
use kernel::sync::Arc;

/// The files.
pub(super) struct Files;

fn refuse(engine: &Engine, why: &CStr) -> Error {
    pr_err!(
        "{}: {}\n",
        engine.device().live(),
        why.to_str().unwrap_or("")
    );
    EINVAL
}

fn snapshot(engine: &Arc<Engine>, text: &str) -> Result {
    let scope = match text {
        "full" => ScopeWanted::Full,
        "incremental" => ScopeWanted::Incremental(None),
        _ => return Err(refuse(engine, c"snapshot takes full or incremental")),
    };
    engine.upkeep().take_snapshot(scope, 1).map(|_| ())
}

fn edit(engine: &Arc<Engine>, text: &str, protect: bool) -> Result {
    let range = args::range(text).map_err(|why| refuse(engine, why))?;
    engine.changes().edit_designation(&[range], protect)
}

/// What one of the text files does. The order is that of [`FILES`].
enum Role {
    /// Shows a figure.
    Figure(fn(&Engine) -> u64),
    /// Shows the state.
    State,
    /// Shows the latest snapshot's id, takes one.
    Snapshot,
    /// Edits the designation: protects, or unprotects.
    Edit(bool),
}

const ROLES: [Role; 13] = [
    Role::Snapshot,
    Role::Edit(true),
    Role::Edit(false),
    Role::State,
    Role::Figure(|engine| engine.events().number()),
    Role::Figure(|engine| engine.device().geometry().chunk_sectors()),
    Role::Figure(|engine| Figures::now(engine).0.changed_chunks),
    Role::Figure(|engine| Figures::now(engine).0.backup_chunks),
    Role::Figure(|engine| Figures::now(engine).0.protected_chunks),
    Role::Figure(|engine| Figures::now(engine).0.preserved_chunks),
    Role::Figure(|engine| Figures::now(engine).0.store_sectors),
    Role::Figure(|engine| Figures::now(engine).0.store_used_sectors),
    Role::Figure(memory),
];

const fn file(name: &'static CStr, mode: u16) -> File {
    File { name, mode }
}

const FILES: [File; ROLES.len()] = [
    file(c"snapshot", 0o644),
    file(c"protect", 0o200),
    file(c"unprotect", 0o200),
    file(c"state", 0o444),
    file(c"event", 0o444),
    file(c"chunk_sectors", 0o444),
    file(c"changed_chunks", 0o444),
    file(c"backup_chunks", 0o444),
    file(c"protected_chunks", 0o444),
    file(c"preserved_chunks", 0o444),
    file(c"store_sectors", 0o444),
    file(c"store_used_sectors", 0o444),
    file(c"memory_bytes", 0o444),
];

/// What the binary files show, in the order of [`MAPS`].
enum Map {
    /// Marks of the present epoch.
    Snapshot,
    /// Marks of the epoch that the latest snapshot closed.
    Backup,
    /// The designation.
    Protection,
}

impl Map {
    /// Refuses a map of changes since an unproven snapshot with `EUCLEAN`.
    fn ensure_proven(&self, engine: &Engine) -> Result {
        let latest = engine.state().next_id() - 1;
        engine.state().ensure_proven(match self {
            Map::Snapshot => latest,
            // What it shows began at the snapshot before.
            Map::Backup => latest.saturating_sub(1),
            Map::Protection => 0,
        })
    }
}

const MAP_ROLES: [Map; 3] = [Map::Snapshot, Map::Backup, Map::Protection];

const MAPS: [File; MAP_ROLES.len()] = [
    file(c"snapshot_map", 0o400),
    file(c"backup_map", 0o400),
    file(c"protection_map", 0o400),
];

/// Returns the engine of a live device. `ENODEV` if it has ended.
fn engine(devt: DevT) -> Result<Arc<Engine>> {
    let engine = registry::find(devt).ok_or(ENODEV)?;
    match engine.phases().now() {
        Phase::Bypassed | Phase::Dead => Err(ENODEV),
        _ => Ok(engine),
    }
}

/// A writer into a page of sysfs.
struct Page<'a> {
    out: &'a mut [u8],
    used: usize,
}

impl Write for Page<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.used + text.len();
        let place = self.out.get_mut(self.used..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

impl Attributes for Files {
    const NAME: &'static CStr = c"preserve";
    const FILES: &'static [File] = &FILES;
    const BINARIES: &'static [File] = &MAPS;

    fn show(devt: DevT, index: usize, out: &mut [u8]) -> Result<usize> {
        let engine = engine(devt)?;
        let mut page = Page { out, used: 0 };
        let written = match ROLES.get(index).ok_or(EINVAL)? {
            Role::Figure(figure) => writeln!(page, "{}", figure(&engine)),
            Role::State => writeln!(page, "{}", Figures::now(&engine).state()),
            Role::Snapshot => writeln!(page, "{}", Figures::now(&engine).0.latest),
            Role::Edit(_) => return Err(EACCES),
        };
        written.map_err(|_| EINVAL)?;
        Ok(page.used)
    }

    fn store(devt: DevT, index: usize, text: &str) -> Result {
        if !dm::is_admin() {
            return Err(EPERM);
        }
        let engine = engine(devt)?;
        match ROLES.get(index).ok_or(EINVAL)? {
            Role::Snapshot => snapshot(&engine, text),
            Role::Edit(protect) => edit(&engine, text, *protect),
            Role::Figure(_) | Role::State => Err(EACCES),
        }
    }

    fn read(devt: DevT, index: usize, offset: u64, out: &mut [u8]) -> Result<usize> {
        let engine = engine(devt)?;
        let chunks = engine.device().geometry().chunks();
        let timeline = engine.state().timeline();
        let map = MAP_ROLES.get(index).ok_or(EINVAL)?;
        map.ensure_proven(&engine)?;
        Ok(match map {
            Map::Snapshot => marks(timeline.since_latest(), chunks, offset, out),
            Map::Backup => marks(timeline.closed_by_latest(), chunks, offset, out),
            Map::Protection => engine.state().designation().read_bytes(chunks, offset, out),
        })
    }
}

/// Copies the union of the marks of some epochs to `out`, from byte `offset` on. Returns the number
/// of bytes copied.
fn marks<'a>(
    epochs: impl Iterator<Item = &'a Epoch> + Clone,
    chunks: u64,
    offset: u64,
    out: &mut [u8],
) -> usize {
    copy_bits(chunks, offset, out, |bit| {
        let words = epochs.clone().map(|epoch| epoch.marks.word(bit));
        words.fold(0, |all, word| all | word)
    })
}
