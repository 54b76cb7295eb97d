// SPDX-License-Identifier: GPL-2.0

//! Takes a backup: a stream of the chunks that changed and are protected, as they were at a
//! snapshot.

#![forbid(unsafe_code)]

mod moved;
mod plan;

use std::io::Write;

use indicatif::ProgressBar;
use serde::Serialize;

pub use moved::Moved;
pub use plan::Plan;

use crate::copy::stream::Header;
use crate::copy::stream::Totals;
use crate::copy::stream::Writer;
use crate::copy::stream::MAX_PAYLOAD;
use crate::device::Piece;
use crate::device::Source;
use crate::Error;
use crate::Result;
use dm_preserve_core::uapi::Extent;

/// What a backup did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The stream's header.
    #[serde(flatten)]
    pub header: Header,
    /// What was moved.
    #[serde(flatten)]
    pub moved: Totals,
    /// Chunks changed since the base; all of them for a full backup.
    pub changed_chunks: u64,
    /// Chunks changed but unprotected, and so not moved.
    pub skipped_chunks: u64,
    /// The stream's digest, in hexadecimal.
    pub digest: String,
}

impl Plan {
    /// Reads and writes the stream.
    pub fn run<S: Source, W: Write>(
        &self,
        source: &S,
        out: W,
        bar: &ProgressBar,
    ) -> Result<Report> {
        self.run_noting(source, out, bar, |_, _| ())
    }

    /// The same; `note` is told the first byte and the length of each piece that is in the stream.
    pub fn run_noting<S: Source, W: Write>(
        &self,
        source: &S,
        out: W,
        bar: &ProgressBar,
        mut note: impl FnMut(u64, u64),
    ) -> Result<Report> {
        let mut writer = Writer::new(out, self.header)?;
        let mut put = |at: u64, content: &[u8]| {
            writer.extent(at / u64::from(self.header.chunk_bytes), content)?;
            note(at, content.len() as u64);
            Ok(())
        };
        let mut buffer = vec![0; MAX_PAYLOAD];
        for extent in self.moved(source)? {
            self.extent(source, &extent?, &mut put, &mut buffer, bar)?;
        }
        // Tracking that broke meanwhile makes the list of changes worthless.
        if source.identity()?.generation != self.header.generation {
            return Err(Error::Failed(format!(
                "{}: tracking broke during the backup; take a full one",
                source.name()
            )));
        }
        let (moved, digest) = writer.finish()?;
        Ok(Report {
            header: self.header,
            moved,
            changed_chunks: self.changed_chunks,
            skipped_chunks: self.changed_chunks.saturating_sub(moved.chunks),
            digest: digest.to_string(),
        })
    }

    fn extent<S: Source>(
        &self,
        source: &S,
        extent: &Extent,
        put: &mut impl FnMut(u64, &[u8]) -> Result<()>,
        buffer: &mut [u8],
        bar: &ProgressBar,
    ) -> Result<()> {
        let (mut at, mut left) = self.place(extent)?;
        while left > 0 {
            let wanted = left.min(buffer.len() as u64) as usize;
            let done = match source.read(self.header.to, at, &mut buffer[..wanted])? {
                Piece::Data(len) => {
                    put(at, &buffer[..len])?;
                    len as u64
                }
                // With `keep_unprotected` a chunk may lose its protection until it is read.
                Piece::Hole(len) => len,
            };
            if done == 0 {
                return Err(Error::Failed(format!(
                    "{}: nothing can be read at byte {at}",
                    source.name()
                )));
            }
            at += done;
            left = left.saturating_sub(done);
            bar.inc(done);
        }
        Ok(())
    }
}
