// SPDX-License-Identifier: GPL-2.0

//! The image or block device that a stream is applied to.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::io;
use std::io::Seek;
use std::io::SeekFrom;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use crate::copy::stream::Header;
use crate::device;
use crate::durable::directory;
use crate::durable::sync_directory;
use crate::error::Context;
use crate::store;
use crate::Error;
use crate::Result;

/// An open, locked target.
pub struct Target {
    path: PathBuf,
    file: File,
    /// An image can change its size and be emptied, a device cannot.
    image: bool,
    /// Bytes it has now.
    size: u64,
    /// Bytes it shall have.
    origin_bytes: u64,
}

/// True for a path that is a block device.
pub fn is_block_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.file_type().is_block_device())
}

impl Target {
    /// Opens the target; an image that does not exist is created, empty, for a full stream.
    pub fn open(path: &Path, header: &Header) -> Result<Self> {
        let what = || format!("cannot open {}", path.display());
        let device = is_block_device(path);
        let mut options = File::options();
        if device {
            device::exclusive(&mut options);
        }
        let mut file = options
            .read(true)
            .write(true)
            .create(!device && header.from == 0)
            .truncate(false)
            // It will hold a disk's content.
            .mode(0o600)
            .open(path)
            .map_err(|e| explain(path, e))?;
        if !device && !file.metadata().context(what)?.is_file() {
            return Err(Error::Usage(format!(
                "{} is neither a file nor a block device",
                path.display()
            )));
        }
        store::lock(&file, path, true, "")?;
        let size = file.seek(SeekFrom::End(0)).context(what)?;
        if device && size < header.origin_bytes {
            return Err(Error::Misfit(format!(
                "{} has {size} bytes, the stream needs {}; use a larger device",
                path.display(),
                header.origin_bytes
            )));
        }
        Ok(Target {
            path: path.to_path_buf(),
            file,
            image: !device,
            size,
            origin_bytes: header.origin_bytes,
        })
    }

    /// The path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An image without content. A device never counts as one: it may hold anything.
    pub fn is_empty(&self) -> bool {
        self.image && self.size == 0
    }

    /// Gives an image its size, as one hole when it begins anew.
    pub fn prepare(&self, begin_anew: bool) -> Result<()> {
        if !self.image {
            return Ok(());
        }
        let what = || format!("cannot set the size of {}", self.path.display());
        if begin_anew {
            self.file.set_len(0).context(what)?;
        }
        self.file.set_len(self.origin_bytes).context(what)
    }

    /// Writes content at its place.
    pub fn write(&self, at: u64, content: &[u8]) -> Result<()> {
        self.file.write_all_at(content, at).context(|| {
            format!(
                "cannot write {} bytes at {at} of {}",
                content.len(),
                self.path.display()
            )
        })
    }

    /// An image that is not as long as it was left has been touched by somebody else.
    pub fn check_size(&self, expected: u64) -> Result<()> {
        if self.image && self.size != expected {
            return Err(Error::Misfit(format!(
                "{} has {} bytes and was left with {expected}: something else changed it; \
                 apply a full stream with --overwrite",
                self.path.display(),
                self.size
            )));
        }
        Ok(())
    }

    /// Makes all of it durable, the name of a new image too.
    pub fn sync(&self) -> Result<()> {
        self.file
            .sync_all()
            .context(|| format!("cannot sync {}", self.path.display()))?;
        if self.image {
            sync_directory(directory(&self.path))?;
        }
        Ok(())
    }
}

fn explain(path: &Path, e: io::Error) -> Error {
    let shown = path.display();
    match e.kind() {
        io::ErrorKind::NotFound => Error::Misfit(format!(
            "there is no {shown} to bring forward, or no directory for it; apply a full stream \
             first"
        )),
        io::ErrorKind::ResourceBusy => device::busy(path, ""),
        _ => Error::Io {
            what: format!("cannot open {shown}"),
            source: e,
        },
    }
}
