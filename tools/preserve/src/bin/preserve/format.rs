// SPDX-License-Identifier: GPL-2.0

//! `create --format`: the store begins anew. What it held cannot be brought back, so everything
//! that can be known is checked before.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::io::Seek;
use std::io::SeekFrom;
use std::os::unix::fs::FileExt;
use std::path::Path;

use preserve::error::Context;
use preserve::store;
use preserve::store::Access;
use preserve::units::SECTOR;
use preserve::Error;
use preserve::Result;
use rustix::fs::ioctl_blksszget;

use crate::create::args::Create;

/// Where a persistent store has its superblocks, and most others something of theirs. The module
/// takes it for new when that is zero.
const WIPED_BYTES: usize = 8192;

/// Checks what must be so for the device to be created, beyond what is checked for any, and wipes
/// the store then.
pub fn begin_anew(args: &Create) -> Result<()> {
    // Nobody else gets hold of them between the checks and the wiping.
    let mut origin = store::open(&args.origin, Access::Write, "")?;
    let mut store = store::open(&args.store, Access::Write, "")?;
    let origin_size = size(&mut origin, &args.origin)?;
    let store_size = size(&mut store, &args.store)?;
    check_sizes(&origin_size, &store_size, args.chunk_size)?;
    match store::rollback_under_way(&mut store) {
        Some(id) => Err(Error::Failed(under_way(args, id))),
        None => wipe(&store).context(|| format!("cannot wipe {}", args.store.display())),
    }
}

/// A failure after that.
pub fn wiped(args: &Create, error: &Error) -> Error {
    let store = args.store.display();
    Error::Failed(format!(
        "{error}; {store} is blank by now: when the reason is gone, give the same command again"
    ))
}

/// The largest logical block that the module writes a persistent store in.
const BLOCK_BYTES: u64 = dm_preserve_core::format::BLOCK_BYTES as u64;

/// A device's size.
struct Size {
    sectors: u64,
    /// Its logical block.
    block_bytes: u64,
}

fn size(device: &mut File, path: &Path) -> Result<Size> {
    let what = || format!("cannot tell the size of {}", path.display());
    let bytes = device.seek(SeekFrom::End(0)).context(what)?;
    let block = ioctl_blksszget(&*device).map_err(io::Error::from);
    Ok(Size {
        sectors: bytes / SECTOR,
        block_bytes: block.context(what)?.into(),
    })
}

/// What the module would refuse.
fn check_sizes(origin: &Size, store: &Size, chunk_sectors: u64) -> Result<()> {
    let why = if origin.block_bytes.max(store.block_bytes) > chunk_sectors.saturating_mul(SECTOR) {
        "the chunks are smaller than a logical block of the origin or the store: give a larger \
         --chunk-size"
    } else if store.block_bytes > BLOCK_BYTES {
        "a persistent store must have logical blocks of 4 KiB or less: give another store, or use \
         --transient instead of --format"
    } else if !offline::has_room(store.sectors, origin.sectors, chunk_sectors) {
        "the store is too small for a persistent one: give a larger one, a smaller --chunk-size, \
         or use --transient instead of --format"
    } else {
        return Ok(());
    };
    Err(Error::Usage(why.into()))
}

fn under_way(args: &Create, id: u64) -> String {
    let (origin, store) = (args.origin.display(), args.store.display());
    format!(
        "a rollback to snapshot {id} is under way in {store}, so the origin is at no point in \
         time; finish it (`preserve rollback {id} --origin {origin} --store {store}`), or if the \
         origin may stay as it is, wipe the store yourself (`dd if=/dev/zero of={store} bs=8192 \
         count=1 conv=notrunc`)"
    )
}

fn wipe(store: &File) -> io::Result<()> {
    store.write_all_at(&[0; WIPED_BYTES], 0)?;
    store.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_the_module_would_refuse() {
        let size = |mib: u64, block_bytes| Size {
            sectors: mib * 2048,
            block_bytes,
        };
        let check = |origin, store, chunk| check_sizes(&origin, &store, chunk);
        assert!(check(size(64, 512), size(16, 512), 8).is_ok());
        assert!(check(size(64, 4096), size(16, 512), 8).is_ok());
        assert!(check(size(64, 512), size(16, 4096), 8).is_ok());
        for (origin, store, chunk, word) in [
            (size(64, 512), size(16, 8192), 8, "larger --chunk-size"),
            (size(64, 512), size(16, 8192), 16, "another store"),
            (size(64, 8192), size(16, 512), 8, "larger --chunk-size"),
            (size(64, 512), size(0, 512), 8, "too small"),
            (size(64, 512), size(4, 512), 1024, "too small"),
        ] {
            let e = check(origin, store, chunk).unwrap_err();
            assert!(
                matches!(&e, Error::Usage(text) if text.contains(word)),
                "{e}"
            );
        }
    }
}
