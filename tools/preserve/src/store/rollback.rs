// SPDX-License-Identifier: GPL-2.0

//! Bringing an origin back to a snapshot, while there is no live device; see the crate `offline`.

#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use offline::Rollback;
use offline::RollbackReport;

use super::open::open;
use super::open::Access;
use super::verbs::explain;
use super::verbs::Bars;
use crate::Error;
use crate::Result;

/// What to do.
pub struct Options {
    /// The origin: a block device, or an image of one.
    pub origin: PathBuf,
    /// Its store.
    pub store: PathBuf,
    /// The snapshot; the latest without it.
    pub id: Option<u64>,
    /// Chunks whose content is lost are left as they are.
    pub leave_lost: bool,
    /// The store had not failed before it was left open.
    pub trust: bool,
    /// Only says what would be done.
    pub dry_run: bool,
    /// No progress bars.
    pub quiet: bool,
}

/// Which file or device a path means.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some(match metadata.file_type().is_block_device() {
        true => (u64::MAX, metadata.rdev()),
        false => (metadata.dev(), metadata.ino()),
    })
}

/// Finds out what a rollback does, has `confirm` look at that, and does it.
pub fn rollback(
    options: &Options,
    confirm: impl FnOnce(&RollbackReport) -> Result<()>,
) -> Result<RollbackReport> {
    let access = match options.dry_run {
        true => Access::Read,
        false => Access::Write,
    };
    let same = identity(&options.origin);
    if same.is_some() && same == identity(&options.store) {
        let text = "origin and store are the same; which one is which?";
        return Err(Error::Usage(text.into()));
    }
    let store = open(&options.store, access, "")?;
    let origin = open(&options.origin, access, "")?;
    let failed = |e| explain(&options.store, e);
    let bars = Bars::new(options.quiet);
    let mut rollback = Rollback::prepare(store, origin, options.id, &bars).map_err(failed)?;
    if options.trust {
        rollback = rollback.trust();
    }
    bars.clear();
    if options.dry_run {
        return Ok(rollback.report().clone());
    }
    confirm(rollback.report())?;
    rollback.run(options.leave_lost).map_err(failed)
}

/// An error when the snapshot is unproven, or the report has lost chunks and these must not be left
/// as they are.
pub fn verdict(options: &Options, report: &RollbackReport) -> Result<()> {
    let whole = match options.leave_lost {
        true => Ok(()),
        false => report.whole(),
    };
    report
        .proven()
        .and(whole)
        .map_err(|e| explain(&options.store, e))
}
