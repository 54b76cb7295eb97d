// SPDX-License-Identifier: GPL-2.0

//! Writes a stream.

#![forbid(unsafe_code)]

use std::io::Write;

use blake3::Hash;
use blake3::Hasher;
use zerocopy::IntoBytes;

use super::format::Header;
use super::format::RawFrame;
use super::format::RawHeader;
use super::format::Totals;
use super::format::FRAME_DATA;
use super::format::FRAME_END;
use super::format::MAX_PAYLOAD;
use crate::error::Context;
use crate::Error;
use crate::Result;

/// A stream being written; unfinished until [`Writer::finish`].
pub struct Writer<W> {
    out: W,
    hasher: Hasher,
    header: Header,
    totals: Totals,
    /// The first chunk that the next extent may have.
    next: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    pub fn new(out: W, header: Header) -> Result<Self> {
        let header = header
            .check()
            .ok_or_else(|| Error::Failed(format!("cannot begin a stream: {header:?}")))?;
        let mut writer = Writer {
            out,
            hasher: Hasher::new(),
            header,
            totals: Totals::default(),
            next: 0,
        };
        writer.put(RawHeader::from(&header).as_bytes())?;
        writer.put_digest()?;
        Ok(writer)
    }

    /// Writes an extent: whole chunks from `start` on, at most [`MAX_PAYLOAD`] bytes.
    pub fn extent(&mut self, start: u64, content: &[u8]) -> Result<()> {
        let bytes = content.len() as u64;
        let chunks = bytes.div_ceil(u64::from(self.header.chunk_bytes));
        let fits = self
            .header
            .place(start, chunks)
            .is_some_and(|(_, len)| len == bytes);
        if !fits || start < self.next || content.len() > MAX_PAYLOAD {
            return Err(Error::Failed(format!(
                "no extent of a stream: {bytes} bytes at chunk {start}"
            )));
        }
        self.put_frame(FRAME_DATA, start, chunks, bytes)?;
        self.put(content)?;
        self.put_digest()?;
        self.next = start + chunks;
        self.totals.extents += 1;
        self.totals.chunks += chunks;
        self.totals.bytes += bytes;
        Ok(())
    }

    /// Writes the totals and returns them with the stream's digest.
    pub fn finish(mut self) -> Result<(Totals, Hash)> {
        let Totals {
            extents,
            chunks,
            bytes,
        } = self.totals;
        self.put_frame(FRAME_END, extents, chunks, bytes)?;
        let digest = self.put_digest()?;
        self.out.flush().context(|| "cannot write the stream")?;
        Ok((self.totals, digest))
    }

    fn put_frame(&mut self, kind: u32, start: u64, chunks: u64, bytes: u64) -> Result<()> {
        let frame = RawFrame {
            kind: kind.into(),
            flags: 0.into(),
            start: start.into(),
            chunks: chunks.into(),
            bytes: bytes.into(),
        };
        self.put(frame.as_bytes())
    }

    fn put_digest(&mut self) -> Result<Hash> {
        let digest = self.hasher.finalize();
        self.put(digest.as_bytes())?;
        Ok(digest)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.out
            .write_all(bytes)
            .context(|| "cannot write the stream")
    }
}
