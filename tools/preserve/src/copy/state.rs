// SPDX-License-Identifier: GPL-2.0

//! Where a snapshot copy stands: a small JSON file beside it, which is also the journal of
//! applying.
//!
//! The file is replaced whole, durably, three states in a row: at X; at X and applying the stream
//! with digest D; at Y. While a stream is being applied, only that very stream (or a full one)
//! fits.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use tempfile::NamedTempFile;
use uuid::Uuid;

use crate::copy::stream::Header;
use crate::durable::directory;
use crate::durable::sync_directory;
use crate::error::Context;
use crate::Error;
use crate::Result;

const VERSION: u32 = 1;

/// A snapshot that a copy is at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The live device's generation.
    pub generation: Uuid,
    /// The snapshot's id.
    pub snapshot: u64,
    /// When it was taken.
    pub time_ns: u64,
    /// Bytes of the copy.
    pub origin_bytes: u64,
    /// The digest of the stream that brought the copy here.
    pub digest: String,
}

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    version: u32,
    /// Where the copy stands; `None` before the first stream.
    pub at: Option<Position>,
    /// The position that a stream under way leads to.
    pub applying: Option<Position>,
}

impl Position {
    /// Where a stream leads to.
    pub fn after(header: &Header, digest: &str) -> Self {
        Position {
            generation: header.generation,
            snapshot: header.to,
            time_ns: header.time_ns,
            origin_bytes: header.origin_bytes,
            digest: digest.to_string(),
        }
    }
}

impl State {
    /// A copy that no stream has reached.
    pub fn new() -> Self {
        State {
            version: VERSION,
            at: None,
            applying: None,
        }
    }

    /// The file beside a copy: `TARGET.preserve.json`.
    pub fn beside(target: &Path) -> PathBuf {
        let mut name = OsString::from(target);
        name.push(".preserve.json");
        name.into()
    }

    /// Reads the file; `None` when there is none.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(Error::Io {
                    what: format!("cannot read {}", path.display()),
                    source,
                })
            }
        };
        let bad = |why: String| {
            Error::Misfit(format!(
                "{} does not say where the copy stands ({why}); apply a full stream with \
                 --overwrite after removing it",
                path.display()
            ))
        };
        let state: State = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        match state.version {
            VERSION => Ok(Some(state)),
            version => Err(bad(format!("version {version}"))),
        }
    }

    /// Replaces the file, durably.
    pub fn save(&self, path: &Path) -> Result<()> {
        let what = || format!("cannot write {}", path.display());
        let dir = directory(path);
        let mut file = NamedTempFile::with_prefix_in(".preserve-state-", dir).context(what)?;
        serde_json::to_writer_pretty(&mut file, self)
            .map_err(io::Error::from)
            .context(what)?;
        file.write_all(b"\n").context(what)?;
        file.as_file().sync_all().context(what)?;
        file.persist(path).map_err(|e| e.error).context(what)?;
        sync_directory(dir)
    }

    /// Where the copy stands, if an increment begins there. It must not be half way to somewhere.
    pub fn accept(&self, increment: &Header) -> Result<&Position> {
        let Header {
            generation,
            from,
            to,
            ..
        } = increment;
        let misfit = |text: String| Err(Error::Misfit(text));
        match &self.at {
            None => misfit(format!(
                "the copy is empty, the stream begins at snapshot {from}; apply a full one first"
            )),
            Some(at) if at.generation != *generation => misfit(format!(
                "the stream is of generation {generation}, the copy of {}: another device, or \
                 tracking broke; apply a full stream with --overwrite",
                at.generation
            )),
            Some(Position { snapshot, .. }) if snapshot != from => misfit(format!(
                "the copy is at snapshot {snapshot}, the stream leads from {from} to {to}; \
                 back up with --from {snapshot}"
            )),
            Some(at) => Ok(at),
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}
