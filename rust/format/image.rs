// SPDX-License-Identifier: GPL-2.0

//! The blocks of a checkpoint's image, and how much data each holds.

#![forbid(unsafe_code)]

use crate::format::block::body;
use crate::format::block::seal;
use crate::format::block::set_body;
use crate::format::block::unseal;
use crate::format::block::Block;
use crate::format::block::BlockKind;
use crate::format::block::Invalid;
use crate::format::block::BLOCK_BYTES;
use crate::format::block::SEAL_BYTES;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy_derive::FromBytes;
use zerocopy_derive::Immutable;
use zerocopy_derive::IntoBytes;
use zerocopy_derive::KnownLayout;

const IMAGE: BlockKind = BlockKind {
    magic: *b"dmprsv1I",
    covered: BLOCK_BYTES,
};

/// The header of a block of a checkpoint's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ImageHeader {
    /// The store that it belongs to.
    pub store: [u8; 16],
    /// Number of the checkpoint.
    pub image: U64,
    /// Number of the block in it, from 0.
    pub number: U64,
    /// Bytes of data in this block.
    pub used: U32,
    /// Zero.
    pub reserved: U32,
}

const IMAGE_BODY_AT: usize = SEAL_BYTES + core::mem::size_of::<ImageHeader>();
/// Bytes of data that a block of an image holds.
pub const IMAGE_DATA: usize = BLOCK_BYTES - IMAGE_BODY_AT;

/// Makes a block of an image. `data` is at most [`IMAGE_DATA`] bytes.
pub fn image_block(block: &mut Block, mut header: ImageHeader, data: &[u8]) {
    let data = data.get(..IMAGE_DATA).unwrap_or(data);
    // CAST: At most a block.
    header.used = U32::new(data.len() as u32);
    set_body(block, &header);
    if let Some(place) = block.get_mut(IMAGE_BODY_AT..IMAGE_BODY_AT + data.len()) {
        place.copy_from_slice(data);
    }
    seal(block, &IMAGE);
}

/// Checks a block of an image. Returns its header and its data.
///
/// Errors: [`Invalid`], which says why the block was refused.
pub fn image_data(block: &Block) -> Result<(ImageHeader, &[u8]), Invalid> {
    unseal(block, &IMAGE)?;
    let header: ImageHeader = body(block)?;
    // CAST: Checked by `get`.
    let used = header.used.get() as usize;
    let data = block.get(IMAGE_BODY_AT..).and_then(|data| data.get(..used));
    Ok((header, data.ok_or(Invalid::Damaged)?))
}
