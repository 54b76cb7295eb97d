// SPDX-License-Identifier: GPL-2.0

//! A persistent store while no live device uses it; see the crate `offline`.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fs::File;
use std::path::Path;

use indicatif::ProgressBar;
use offline::Line;
use offline::Repaired;
use offline::Report;
use uuid::Uuid;

use super::open::open;
use super::open::Access;
use crate::progress;
use crate::Error;
use crate::Result;

/// How to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Also at a device that something uses.
    pub force_in_use: bool,
    /// No progress bar.
    pub quiet: bool,
}

impl Options {
    fn open(&self, path: &Path) -> Result<File> {
        let hint = "; or give --force-in-use, and expect damage where something is being written";
        match self.force_in_use {
            true => open(path, Access::Shared, ""),
            false => open(path, Access::Read, hint),
        }
    }
}

/// Checks a store. What is wrong with it is in the report; see [`verdict`].
pub fn check(path: &Path, options: Options) -> Result<Report> {
    let file = options.open(path)?;
    let bars = Bars::new(options.quiet);
    offline::check(file, &bars).map_err(|e| explain(path, e))
}

/// Checks a store that nothing uses, and repairs what can be.
pub fn repair(path: &Path, quiet: bool) -> Result<Repaired> {
    let file = open(path, Access::Write, "")?;
    let bars = Bars::new(quiet);
    offline::repair(file, &bars).map_err(|e| explain(path, e))
}

/// The snapshot that a rollback is under way to; `None` also for what cannot be read, or is no
/// store.
pub fn rollback_under_way(store: &mut File) -> Option<u64> {
    offline::rollback_under_way(store, &offline::Silent).unwrap_or(None)
}

/// The UUID of a store, also of one in use; `None` if it is none, or not any longer.
///
/// Errors: what keeps it from being opened and read.
pub fn uuid(path: &Path) -> Result<Option<Uuid>> {
    let file = open(path, Access::Shared, "")?;
    let found = offline::store_uuid(file).map_err(|e| explain(path, e))?;
    Ok(found.map(Uuid::from_bytes))
}

/// What came of a repair as a result.
pub fn repair_verdict(path: &Path, repaired: &Repaired) -> Result<()> {
    match repaired.failed.is_empty() {
        true => verdict(path, &repaired.report),
        false => Err(Error::Failed(format!(
            "{}: the repair failed: {}",
            path.display(),
            repaired.failed.join("; ")
        ))),
    }
}

/// The report as a result.
pub fn verdict(path: &Path, report: &Report) -> Result<()> {
    let path = path.display();
    match report.damages {
        0 => Ok(()),
        1 => Err(Error::Store(format!("{path}: 1 damage found"))),
        damages => Err(Error::Store(format!("{path}: {damages} damages found"))),
    }
}

/// Hands everything in a store's metadata to `out`, line by line.
pub fn dump(path: &Path, options: Options, out: &mut dyn FnMut(Line) -> Result<()>) -> Result<()> {
    let file = options.open(path)?;
    let ended = offline::dump(file, &offline::Silent, &mut |line| {
        out(line).map_err(Ended::Here)
    });
    ended.map_err(|ended| match ended {
        Ended::Here(error) => error,
        Ended::There(error) => explain(path, error),
    })
}

/// Whose failure ended a dump.
enum Ended {
    Here(Error),
    There(offline::Error),
}

impl From<offline::Error> for Ended {
    fn from(error: offline::Error) -> Self {
        Ended::There(error)
    }
}

/// A failure with this store.
pub(crate) fn explain(path: &Path, error: offline::Error) -> Error {
    let path = path.display();
    match error {
        offline::Error::Io { what, source } => Error::Io {
            what: format!("{path}: {what}"),
            source,
        },
        offline::Error::Blank | offline::Error::Foreign => {
            Error::Usage(format!("{path} is {error}"))
        }
        offline::Error::Later => Error::Failed(format!("{path} is {error}")),
        offline::Error::Missing(text) => Error::Missing(format!("{path}: {text}")),
        offline::Error::Refused(text) => Error::Failed(format!("{path}: {text}")),
        offline::Error::Damaged(text) => Error::Store(format!("{path}: {text}")),
        offline::Error::Gone(text) => Error::Gone(format!("{path}: {text}")),
    }
}

/// A bar for each part of the work.
pub(crate) struct Bars {
    bar: RefCell<ProgressBar>,
    quiet: bool,
}

impl Bars {
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            bar: RefCell::new(ProgressBar::hidden()),
            quiet,
        }
    }

    /// Makes room for something else.
    pub(crate) fn clear(&self) {
        self.bar.borrow().finish_and_clear();
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.clear();
    }
}

impl offline::Progress for Bars {
    fn part(&self, what: &'static str, bytes: Option<u64>) {
        let new = match bytes {
            Some(bytes) => progress::bytes(what, bytes, self.quiet),
            None => progress::unknown(what, self.quiet),
        };
        self.bar.replace(new).finish_and_clear();
    }

    fn read(&self, bytes: u64) {
        self.bar.borrow().inc(bytes);
    }
}
