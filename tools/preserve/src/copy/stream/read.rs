// SPDX-License-Identifier: GPL-2.0

//! Reads a stream and believes nothing: everything is checked before it is handed out.

#![forbid(unsafe_code)]

use std::io;
use std::io::Read;

use blake3::Hash;
use blake3::Hasher;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use super::format::Header;
use super::format::RawFrame;
use super::format::RawHeader;
use super::format::Totals;
use super::format::FRAME_DATA;
use super::format::FRAME_END;
use super::format::MAGIC;
use super::format::MAX_PAYLOAD;
use super::format::VERSION;
use crate::Error;
use crate::Result;

/// A stream being read.
pub struct Reader<R> {
    input: R,
    hasher: Hasher,
    header: Header,
    totals: Totals,
    /// Bytes read so far.
    at: u64,
    /// The first chunk that the next extent may have.
    next: u64,
    digest: Option<Hash>,
}

impl<R: Read> Reader<R> {
    /// Reads and checks the header.
    pub fn new(input: R) -> Result<Self> {
        let header = Header {
            generation: uuid::Uuid::nil(),
            from: 0,
            to: 0,
            time_ns: 0,
            origin_bytes: 0,
            chunk_bytes: 0,
        };
        let mut reader = Reader {
            input,
            hasher: Hasher::new(),
            header,
            totals: Totals::default(),
            at: 0,
            next: 0,
            digest: None,
        };
        let raw: RawHeader = reader.get()?;
        if raw.magic != MAGIC {
            return Err(Error::Damaged {
                at: 0,
                why: "it does not begin like a preserve stream".into(),
            });
        }
        reader.check_digest()?;
        let (version, flags) = (raw.version.get(), raw.flags.get());
        if version != VERSION || flags != 0 || raw.reserved != [0; 28] {
            return Err(Error::Misfit(format!(
                "the stream has version {version} with features {flags:#x}, this command reads \
                 version {VERSION} only; use a newer one"
            )));
        }
        reader.header = Header::from(&raw)
            .check()
            .ok_or_else(|| reader.damaged("the header makes no sense"))?;
        Ok(reader)
    }

    /// What the stream says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads the next extent's content into `buffer` and returns its first byte's position; `None`
    /// after the last one, when the totals are right and nothing follows.
    pub fn extent(&mut self, buffer: &mut Vec<u8>) -> Result<Option<u64>> {
        if self.digest.is_some() {
            return Ok(None);
        }
        let frame: RawFrame = self.get()?;
        let (start, chunks, bytes) = (frame.start.get(), frame.chunks.get(), frame.bytes.get());
        match (frame.kind.get(), frame.flags.get()) {
            (FRAME_DATA, 0) => self.data(start, chunks, bytes, buffer).map(Some),
            (FRAME_END, 0) => self
                .end(Totals {
                    extents: start,
                    chunks,
                    bytes,
                })
                .map(|()| None),
            _ => Err(self.damaged("a frame of unknown kind")),
        }
    }

    /// The totals and the stream's digest, once [`Reader::extent`] has returned `None`.
    pub fn finish(self) -> Option<(Totals, Hash)> {
        Some((self.totals, self.digest?))
    }

    fn data(&mut self, start: u64, chunks: u64, bytes: u64, buffer: &mut Vec<u8>) -> Result<u64> {
        let place = self
            .header
            .place(start, chunks)
            .filter(|(_, len)| *len == bytes && start >= self.next);
        let (first, len) = match (place, usize::try_from(bytes)) {
            (Some((first, _)), Ok(len)) if len <= MAX_PAYLOAD => (first, len),
            _ => return Err(self.damaged("an extent makes no sense")),
        };
        buffer.resize(len, 0);
        self.fill(buffer)?;
        self.check_digest()?;
        self.next = start.saturating_add(chunks);
        // No overflow: extents do not overlap and lie within the device.
        self.totals.extents += 1;
        self.totals.chunks += chunks;
        self.totals.bytes += bytes;
        Ok(first)
    }

    fn end(&mut self, totals: Totals) -> Result<()> {
        let digest = self.check_digest()?;
        if totals != self.totals {
            return Err(self.damaged("the totals are wrong"));
        }
        match self.input.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(self.damaged("something follows the end")),
            Err(source) => {
                return Err(Error::Io {
                    what: "cannot read the stream".into(),
                    source,
                })
            }
        }
        self.digest = Some(digest);
        Ok(())
    }

    fn check_digest(&mut self) -> Result<Hash> {
        let expected = self.hasher.finalize();
        let mut found = [0; blake3::OUT_LEN];
        self.fill(&mut found)?;
        if expected != found {
            return Err(self.damaged("wrong checksum"));
        }
        Ok(expected)
    }

    fn get<T: FromBytes + IntoBytes>(&mut self) -> Result<T> {
        let mut value = T::new_zeroed();
        self.fill(value.as_mut_bytes())?;
        Ok(value)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        match self.input.read_exact(buffer) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged("it ends too early"))
            }
            Err(source) => {
                return Err(Error::Io {
                    what: "cannot read the stream".into(),
                    source,
                })
            }
        }
        self.hasher.update(buffer);
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn damaged(&self, why: &str) -> Error {
        Error::Damaged {
            at: self.at,
            why: why.into(),
        }
    }
}
