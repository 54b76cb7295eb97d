// SPDX-License-Identifier: GPL-2.0

//! Compares a copy with what a snapshot shows, byte by byte.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::Context;
use anyhow::Result;
use preserve::device::Live;
use preserve::device::Piece;
use preserve::device::Source;
use preserve::Error;

use crate::chunks::Chunks;
use crate::maps::CHUNK;
use crate::round::Scope;
use crate::setup::NAME;
use crate::tell::show;

/// Chunks read at a time.
const RUN: usize = 256;

/// A view's name.
const VIEW: &str = "frozen";

/// A way to read a snapshot.
pub enum Frozen {
    /// The block device that `preserve view` makes.
    View(File),
    /// The control device, which tells content that is gone from a failure.
    Control(Live, u64),
}

/// What a comparison found.
pub struct Difference {
    /// Chunks whose content is another.
    pub differ: Chunks,
    /// Chunks whose frozen content is gone, so that nothing can be said.
    pub gone: Chunks,
}

impl Frozen {
    /// Opens a snapshot: by a view, if it preserves all that a view shows.
    pub fn open(id: u64, scope: Scope) -> Result<Self> {
        match scope {
            Scope::Full => {
                show(&format!("preserve view {NAME} {id} {VIEW}"))?;
                Self::device(&format!("/dev/mapper/{VIEW}"))
            }
            Scope::Incremental => Ok(Frozen::Control(Live::open(NAME)?, id)),
        }
    }

    /// Opens a block device; anything can be compared like a view.
    pub fn device(path: &str) -> Result<Self> {
        Ok(Frozen::View(File::open(path).context(path.to_string())?))
    }

    /// Ends a snapshot's use.
    pub fn close(self) -> Result<()> {
        match self {
            Frozen::View(file) => {
                drop(file);
                show(&format!("preserve remove {VIEW}")).map(drop)
            }
            Frozen::Control(..) => Ok(()),
        }
    }

    /// Compares the chunks of `which` with those of the image at `path`.
    pub fn compare(&self, path: &str, which: &Chunks, total: usize) -> Result<Difference> {
        let image = File::open(path).context(path.to_string())?;
        let mut found = Difference {
            differ: Chunks::none(total),
            gone: Chunks::none(total),
        };
        let (mut here, mut there) = (vec![0; RUN * CHUNK], vec![0; RUN * CHUNK]);
        for first in (0..total).step_by(RUN) {
            let len = RUN.min(total - first);
            let bytes = len * CHUNK;
            let at = (first * CHUNK) as u64;
            self.read(at, &mut here[..bytes], &mut found.gone)?;
            image
                .read_exact_at(&mut there[..bytes], at)
                .with_context(|| format!("{path} at {at}"))?;
            for i in 0..len {
                let range = i * CHUNK..(i + 1) * CHUNK;
                let chunk = first + i;
                if which.has(chunk) && !found.gone.has(chunk) && here[range.clone()] != there[range]
                {
                    found.differ.add(chunk, 1)?;
                }
            }
        }
        Ok(found)
    }

    fn read(&self, at: u64, buffer: &mut [u8], gone: &mut Chunks) -> Result<()> {
        let (live, id) = match self {
            Frozen::View(view) => {
                return view
                    .read_exact_at(buffer, at)
                    .with_context(|| format!("reading the view at {at}"));
            }
            Frozen::Control(live, id) => (live, *id),
        };
        let mut done = 0;
        while done < buffer.len() {
            let from = at + done as u64;
            done += match live.read(id, from, &mut buffer[done..]) {
                Ok(Piece::Data(len)) => len,
                // Unprotected; nobody asks for it.
                Ok(Piece::Hole(len)) => usize::try_from(len)?,
                Err(Error::Gone(_)) => {
                    gone.add(usize::try_from(from)? / CHUNK, 1)?;
                    CHUNK
                }
                Err(e) => return Err(e.into()),
            };
        }
        Ok(())
    }
}
