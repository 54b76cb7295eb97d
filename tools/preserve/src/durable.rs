// SPDX-License-Identifier: GPL-2.0

//! Makes the names of files durable.

#![forbid(unsafe_code)]

use std::fs::File;
use std::path::Path;

use crate::error::Context;
use crate::Result;

/// The directory that a path lies in.
pub fn directory(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Makes a file's name as durable as its content.
pub fn sync_directory(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .context(|| format!("cannot sync {}", dir.display()))
}
