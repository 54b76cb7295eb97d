// SPDX-License-Identifier: GPL-2.0

//! From files to the ranges of the live device that they occupy.
//!
//! Doubt goes towards protection: what cannot be located exactly is an error when it is to be
//! protected, and stays protected, with a notice, when it is not.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use glob::Pattern;
use rustix::fs::OFlags;
use walkdir::DirEntry;
use walkdir::WalkDir;

use super::fiemap;
use super::ranges::Bytes;
use crate::device::ioctl::FiemapExtent;
use crate::device::Edit;
use crate::device::Mapped;
use crate::error::Context;
use crate::Error;
use crate::Result;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Where the files' content lies.
    pub ranges: Vec<Bytes>,
    /// Files looked at.
    pub files: u64,
    /// What was skipped: what could not be unprotected, or vanished meanwhile.
    pub notices: Vec<String>,
}

/// Locates files, and directories with all that is in them, on a live device. Of directories only
/// files whose name matches one of `globs` count; without any, all do.
pub fn locate(device: &Mapped, paths: &[PathBuf], globs: &[Pattern], edit: Edit) -> Result<Found> {
    let mut found = Found::default();
    if let Some(glob) = globs.iter().find(|glob| glob.as_str().contains('/')) {
        return Err(Error::Usage(format!(
            "--glob {glob}: a pattern is compared with names of files, without directories; name \
             the directory with --file"
        )));
    }
    for path in paths {
        for entry in WalkDir::new(path).same_file_system(true) {
            visit(device, entry, globs, edit, &mut found)?;
        }
    }
    Ok(found)
}

/// Something that the walk has come to. What vanished since, below what the user named, is none of
/// our business any more.
fn visit(
    device: &Mapped,
    entry: walkdir::Result<DirEntry>,
    globs: &[Pattern],
    edit: Edit,
    found: &mut Found,
) -> Result<()> {
    let entry = match entry {
        Ok(entry) => entry,
        Err(e) => {
            let (depth, path) = (
                e.depth(),
                e.path().map(Path::to_path_buf).unwrap_or_default(),
            );
            let what = || format!("cannot look at {}", path.display());
            return found.unless_vanished(depth, &path, Err(e.into()).context(what));
        }
    };
    let (depth, path) = (entry.depth(), entry.path());
    let named = depth == 0 || globs.is_empty() || {
        let name = entry.file_name().to_string_lossy();
        globs.iter().any(|glob| glob.matches(&name))
    };
    if entry.file_type().is_file() && named {
        let located = locate_file(device, path, edit, found);
        found.unless_vanished(depth, path, located)
    } else if depth == 0 && !entry.file_type().is_dir() {
        let path = path.display();
        Err(Error::Usage(format!(
            "{path} is neither a file nor a directory"
        )))
    } else {
        Ok(())
    }
}

impl Found {
    fn unless_vanished(&mut self, depth: usize, path: &Path, result: Result<()>) -> Result<()> {
        match result {
            Err(Error::Io { source, .. })
                if depth > 0 && source.kind() == io::ErrorKind::NotFound =>
            {
                let path = path.display();
                self.notices.push(format!(
                    "{path} vanished while it was looked for, and is left out"
                ));
                Ok(())
            }
            other => other,
        }
    }
}

fn locate_file(device: &Mapped, path: &Path, edit: Edit, found: &mut Found) -> Result<()> {
    // The file may have been replaced since the walk by a link or a pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
        .context(|| format!("cannot open {}", path.display()))?;
    let metadata = file
        .metadata()
        .context(|| format!("cannot look at {}", path.display()))?;
    check_device(device, path, &metadata)?;
    let extents = fiemap::extents(&file).context(|| {
        format!(
            "the filesystem of {} does not say where files lie (FIEMAP)",
            path.display()
        )
    })?;
    found.files += 1;
    for extent in extents {
        add(path, &extent, edit, found)?;
    }
    Ok(())
}

fn check_device(device: &Mapped, path: &Path, metadata: &Metadata) -> Result<()> {
    let number = rustix::fs::makedev(device.device.major, device.device.minor);
    if metadata.dev() == number {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{} does not lie on a filesystem made directly on {}; give a file that does, or ranges",
        path.display(),
        device.name
    )))
}

fn add(path: &Path, extent: &FiemapExtent, edit: Edit, found: &mut Found) -> Result<()> {
    let bytes = Bytes::new(extent.physical, extent.length);
    let why = match (bytes, edit) {
        (None, _) => "an extent makes no sense",
        _ if !extent.is_placed() => {
            "a part has no place of its own (stored inline, compressed, encrypted or delayed)"
        }
        (_, Edit::Unprotect) if extent.is_shared() => "a part is shared with other files",
        (Some(bytes), _) => {
            found.ranges.push(bytes);
            return Ok(());
        }
    };
    let text = format!(
        "{}: {why}, at byte {} of the file",
        path.display(),
        extent.logical
    );
    match edit {
        Edit::Protect => Err(Error::Failed(format!(
            "{text}; protect the filesystem's ranges instead"
        ))),
        Edit::Unprotect => {
            found
                .notices
                .push(format!("{text}; it keeps its protection"));
            Ok(())
        }
    }
}
