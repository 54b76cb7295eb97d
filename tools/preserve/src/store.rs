// SPDX-License-Identifier: GPL-2.0

//! A persistent store that is looked at while no live device uses it; see the crate `storefmt`.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use indicatif::ProgressBar;
use rustix::fs::OFlags;
use storefmt::Line;
use storefmt::Report;

use crate::error::Context;
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

/// Checks a store. What is wrong with it is in the report; see [`verdict`].
pub fn check(path: &Path, options: Options) -> Result<Report> {
    let file = open(path, options)?;
    let bars = Bars {
        bar: RefCell::new(ProgressBar::hidden()),
        quiet: options.quiet,
    };
    let report = storefmt::check(file, &bars).map_err(|e| explain(path, e));
    bars.bar.borrow().finish_and_clear();
    report
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
    let file = open(path, options)?;
    let ended = storefmt::dump(file, &storefmt::Silent, &mut |line| {
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
    There(storefmt::Error),
}

impl From<storefmt::Error> for Ended {
    fn from(error: storefmt::Error) -> Self {
        Ended::There(error)
    }
}

fn explain(path: &Path, error: storefmt::Error) -> Error {
    let path = path.display();
    match error {
        storefmt::Error::Io { what, source } => Error::Io {
            what: format!("{path}: {what}"),
            source,
        },
        storefmt::Error::Blank | storefmt::Error::Foreign => {
            Error::Usage(format!("{path} is {error}"))
        }
        storefmt::Error::Later => Error::Failed(format!("{path} is {error}")),
    }
}

/// Opens a device or image for reading, and a device only if nothing uses it.
fn open(path: &Path, options: Options) -> Result<File> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::Missing(format!("there is no {shown}")),
        _ => Error::Io {
            what: format!("cannot look at {shown}"),
            source: e,
        },
    })?;
    let device = metadata.file_type().is_block_device();
    if !device && !metadata.is_file() {
        return Err(Error::Usage(format!(
            "{shown} is neither a file nor a block device"
        )));
    }
    // O_EXCL without O_CREAT: a device that is mounted, or used by a live device, is busy.
    let exclusive = match device && !options.force_in_use {
        true => OFlags::EXCL.bits() as i32,
        false => 0,
    };
    let opened = File::options()
        .read(true)
        .custom_flags(exclusive)
        .open(path);
    match opened {
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => Err(Error::Failed(format!(
            "{shown} is in use; remove the live device first, or give --force-in-use and expect damage \
             where something is being written"
        ))),
        opened => opened.context(|| format!("cannot open {shown}")),
    }
}

/// A bar for each part of the work.
struct Bars {
    bar: RefCell<ProgressBar>,
    quiet: bool,
}

impl storefmt::Progress for Bars {
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
