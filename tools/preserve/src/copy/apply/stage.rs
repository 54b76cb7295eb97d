// SPDX-License-Identifier: GPL-2.0

//! A stream that is at hand whole and has been verified; one from a pipe is spooled beside the
//! state file.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io;
use std::io::BufReader;
use std::io::Seek;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;
use tempfile::NamedTempFile;

use crate::copy::stream::Header;
use crate::copy::stream::Reader;
use crate::copy::stream::Totals;
use crate::durable::directory;
use crate::error::Context;
use crate::progress;
use crate::Error;
use crate::Result;

const BUFFER: usize = 1 << 20;

/// A verified stream in a file.
pub struct Staged {
    path: PathBuf,
    /// Open all the time: another file may come to the same path.
    file: File,
    contents: Contents,
    spool: Option<Spool>,
}

/// What is in a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// Its header.
    #[serde(flatten)]
    pub header: Header,
    /// What it moves.
    #[serde(flatten)]
    pub moved: Totals,
    /// Its digest, in hexadecimal.
    pub digest: String,
}

/// A spooled stream: vanishes when dropped, until it is kept under a name that a person can find.
struct Spool {
    file: Option<NamedTempFile>,
    name: PathBuf,
}

impl Staged {
    /// Verifies a stream; `-` and anything that is no regular file is spooled first.
    pub fn new(stream: &Path, state: &Path, quiet: bool) -> Result<Self> {
        let spool = spool(stream, state)?;
        let path = match spool.as_ref().and_then(|s| s.file.as_ref()) {
            Some(file) => file.path().to_path_buf(),
            None => stream.to_path_buf(),
        };
        let file = open(&path)?;
        let contents = verify_file(&file, quiet)?;
        Ok(Staged {
            path,
            file,
            contents,
            spool,
        })
    }

    /// What is in it.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The file it is in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it again, and hands each extent's first byte and content to `take`. An error when it
    /// is not what was verified.
    pub fn read(&self, take: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        match read(&self.file, take)? == self.contents {
            true => Ok(()),
            false => Err(Error::Failed(format!(
                "{} was written while it was being applied",
                self.path.display()
            ))),
        }
    }

    /// From here on a crash must leave the stream: it is needed to finish.
    pub fn keep(&mut self) -> Result<()> {
        let Some(spool) = &mut self.spool else {
            return Ok(());
        };
        let what = || format!("cannot write {}", spool.name.display());
        if let Some(file) = spool.file.take() {
            file.as_file().sync_all().context(what)?;
            file.persist(&spool.name)
                .map_err(|e| e.error)
                .context(what)?;
        }
        self.path.clone_from(&spool.name);
        Ok(())
    }

    /// Removes the spooled stream.
    pub fn discard(&self) {
        if let Some(spool) = &self.spool {
            // It has done its work; a rest that cannot be removed is no failure.
            let _ = fs::remove_file(&spool.name);
        }
    }
}

/// Where a stream from a pipe stays until it has been applied: `STATE.stream`.
pub(super) fn kept(state: &Path) -> PathBuf {
    let mut name = OsString::from(state);
    name.push(".stream");
    name.into()
}

fn spool(stream: &Path, state: &Path) -> Result<Option<Spool>> {
    if stream == Path::new("-") {
        return Spool::new(&mut io::stdin().lock(), state).map(Some);
    }
    let mut file = open(stream)?;
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return Spool::new(&mut file, state).map(Some);
    }
    // That of an interrupted apply goes when it has been applied at last.
    let name = kept(state);
    Ok((stream == name).then_some(Spool { file: None, name }))
}

impl Spool {
    fn new(input: &mut impl io::Read, state: &Path) -> Result<Self> {
        let dir = directory(state);
        let what = || format!("cannot spool the stream in {}", dir.display());
        let mut file = NamedTempFile::with_prefix_in(".preserve-spool-", dir).context(what)?;
        io::copy(input, &mut file).context(what)?;
        Ok(Spool {
            file: Some(file),
            name: kept(state),
        })
    }
}

/// Reads a whole stream and says what is in it.
pub fn verify(path: &Path, quiet: bool) -> Result<Contents> {
    verify_file(&open(path)?, quiet)
}

fn verify_file(file: &File, quiet: bool) -> Result<Contents> {
    let bar = progress::bytes(
        "verifying",
        file.metadata().map(|m| m.len()).unwrap_or(0),
        quiet,
    );
    read(file, |_, content| {
        bar.inc(content.len() as u64);
        Ok(())
    })
}

fn read(mut file: &File, mut take: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<Contents> {
    file.rewind().context(|| "cannot read the stream")?;
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER, file))?;
    let header = *reader.header();
    let mut content = Vec::new();
    while let Some(at) = reader.extent(&mut content)? {
        take(at, &content)?;
    }
    let (moved, digest) = reader
        .finish()
        .ok_or_else(|| Error::Failed("the stream has no end".into()))?;
    Ok(Contents {
        header,
        moved,
        digest: digest.to_string(),
    })
}

fn open(path: &Path) -> Result<File> {
    File::open(path).context(|| format!("cannot open the stream {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::copy::stream::Writer;
    use uuid::Uuid;

    fn stream(stamp: u8) -> Vec<u8> {
        let header = Header {
            generation: Uuid::from_u128(1),
            from: 1,
            to: u64::from(stamp),
            time_ns: 0,
            origin_bytes: 8192,
            chunk_bytes: 4096,
        };
        let mut stream = Vec::new();
        let mut writer = Writer::new(&mut stream, header).unwrap();
        writer.extent(0, &[stamp; 4096]).unwrap();
        writer.finish().unwrap();
        stream
    }

    /// What is applied is what was verified, whatever comes to the same path; a file written over
    /// is noticed.
    #[test]
    fn i7_a_stream_that_changes_after_its_verification() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream");
        fs::write(&path, stream(2)).unwrap();
        let staged = Staged::new(&path, &folder.path().join("state"), true).unwrap();
        let stamps = || {
            let mut stamps = Vec::new();
            let read = staged.read(|_, content| {
                stamps.extend(content.first());
                Ok(())
            });
            (stamps, read.is_ok())
        };
        let other = folder.path().join("other");
        fs::write(&other, stream(3)).unwrap();
        let same = File::options().write(true).open(&path).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(stamps(), (vec![2], true));
        io::Write::write_all(&mut &same, &stream(3)).unwrap();
        assert_eq!(stamps(), (vec![3], false));
    }
}
