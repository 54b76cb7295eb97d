// SPDX-License-Identifier: GPL-2.0

//! A backup stream: what is read lies within the device and in order, and is the same when it is
//! written again.
//!
//! ```text
//! flags (1 byte), header (96), { frame (32), payload }
//! ```
//!
//! The digests are put in between, unless the flags say [`RAW`].

#![forbid(unsafe_code)]

use preserve::copy::stream::Reader;
use preserve::copy::stream::Writer;
use preserve::Result;

use crate::input::Input;

/// The input is the stream as it is.
const RAW: u8 = 1;
const HEADER: usize = 96;
const FRAME: usize = 32;
/// A payload that is not there in full becomes this long, so that short inputs have long extents
/// too.
const PADDED: usize = 64 << 10;

/// `data` is the stream without digests.
pub fn stream(data: &[u8]) {
    let stream = sealed(Input(data));
    if let Ok(again) = copied(&stream) {
        assert_eq!(again, stream);
    }
}

/// Reads a stream and writes what it says.
fn copied(stream: &[u8]) -> Result<Vec<u8>> {
    let mut reader = Reader::new(stream)?;
    let header = *reader.header();
    let mut again = Vec::new();
    let mut writer = Writer::new(&mut again, header).expect("a header that was read");
    let (mut content, mut next) = (Vec::new(), 0);
    while let Some(at) = reader.extent(&mut content)? {
        let end = at + content.len() as u64;
        assert!(at >= next && end <= header.origin_bytes && !content.is_empty());
        next = end;
        let chunk = at / u64::from(header.chunk_bytes);
        writer
            .extent(chunk, &content)
            .expect("an extent that was read");
    }
    let (totals, digest) = writer.finish()?;
    assert_eq!(reader.finish(), Some((totals, digest)));
    Ok(again)
}

/// The stream with its digests.
pub(crate) fn sealed(mut input: Input<'_>) -> Vec<u8> {
    if input.byte() & RAW != 0 {
        return input.0.to_vec();
    }
    let (mut stream, mut hasher) = (Vec::new(), blake3::Hasher::new());
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        let digest = hasher.finalize();
        hasher.update(digest.as_bytes());
        stream.extend_from_slice(bytes);
        stream.extend_from_slice(digest.as_bytes());
    };
    put(input.bytes(HEADER));
    while !input.is_empty() {
        let mut part = input.bytes(FRAME).to_vec();
        let is_data = part.first_chunk().map(|kind| u32::from_le_bytes(*kind)) == Some(1);
        let len = part.last_chunk().map_or(0, |len| u64::from_le_bytes(*len));
        if is_data && part.len() == FRAME {
            // CAST: At most this long.
            let len = len.min(PADDED as u64) as usize;
            part.extend_from_slice(input.bytes(len));
            part.resize(FRAME + len, 0);
        }
        put(&part);
    }
    stream
}
