// SPDX-License-Identifier: GPL-2.0

//! A whole store: recovery as the module does it, the checkpoint that would follow and recovery of
//! that; then `check` and `dump`, which must come to the same end.

#![forbid(unsafe_code)]

use std::fs::File;

use kernel::alloc::host;
use kernel::error::code::EUCLEAN;
use offline::Report;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

use super::MEMORY;
use crate::known::can_go_on;
use crate::known::exercise;
use crate::known::summary;
use crate::known::Known;
use crate::sparse::Sparse;
use crate::sparse::BLOCKS;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::MAX_NUMBER;
use dm_preserve_core::format::STATE_OPEN;
use dm_preserve_core::store::recover;
use dm_preserve_core::store::save;
use dm_preserve_core::store::superblocks;
use dm_preserve_core::store::ImageWriter;
use dm_preserve_core::store::Replayed;
use dm_preserve_core::store::StoreKind;
use dm_preserve_core::store::Trouble;
use offline::Copies;

/// Sectors of the device that the store is recovered for.
const TABLE: u64 = 1 << 20;

/// `data` is the store, see [`Sparse`].
pub fn store(data: &[u8]) {
    let store = Sparse::new(data);
    host::within(MEMORY, || {
        let recovered = module(&mut store.clone());
        let report = tools(&store);
        if let (Some(replayed), Some(report)) = (recovered, report) {
            compare(&replayed, &report);
        }
    });
}

/// As when a table is loaded and activated. The result is what was replayed.
fn module(store: &mut Sparse) -> Option<Replayed> {
    let Ok(StoreKind::Store(superblock)) = superblocks::choose(store) else {
        return None;
    };
    let (known, replayed, layout) = recovered(store, &superblock).ok()?;
    let Some(mut known) = known else {
        return Some(replayed);
    };
    assert!(known.sectors <= TABLE);
    if exercise(&known, &layout) && can_go_on(&known) {
        store.forget_records();
        known.place.previous = 0;
        (known.place.content, known.place.content_end) = (0, 0);
        if let Some(next) = activated(store, &superblock, &layout, &known) {
            let (again, replayed, _) =
                recovered(store, &next).expect("what was recovered and saved");
            assert_eq!((replayed.records, replayed.damaged), (0, false));
            let again = again.expect("an open store");
            assert_eq!(summary(&known), summary(&again));
        }
    }
    Some(replayed)
}

type Recovered = (Option<Known>, Replayed, Layout);

fn recovered(store: &mut Sparse, superblock: &Superblock) -> Result<Recovered, Trouble> {
    let layout = Layout::from_superblock(superblock).ok_or(EUCLEAN)?;
    if layout.blocks() > BLOCKS {
        return Err(EUCLEAN.into());
    }
    let maker = Copies::maker(&layout);
    let (known, replayed) = recover::recover(store, superblock, &layout, TABLE, &maker)?;
    Ok((known, replayed, layout))
}

/// Saves what was recovered. `None` when there is no room for that.
fn activated(
    store: &mut Sparse,
    superblock: &Superblock,
    layout: &Layout,
    known: &Known,
) -> Option<Superblock> {
    let area = 1 - superblock.image_area.get();
    let number = superblock.image_number.get() + 1;
    let session = superblock.session.get() + 1;
    if number >= MAX_NUMBER || session >= MAX_NUMBER {
        return None;
    }
    let mut writer = ImageWriter::new(store, superblock.store, layout, area, number).ok()?;
    save::save(known, &mut writer).ok()?;
    Some(Superblock {
        session: U64::new(session),
        state: U32::new(STATE_OPEN),
        origin_sectors: U64::new(known.sectors),
        image_used: U64::new(writer.finish().ok()?),
        image_area: U32::new(area),
        image_number: U64::new(number),
        ..*superblock
    })
}

thread_local! {
    static FILE: File = tempfile::tempfile().expect("a file");
}

/// `preserve check` and `preserve dump`.
fn tools(store: &Sparse) -> Option<Report> {
    FILE.with(|file| {
        store.write_to(file).expect("a small file");
        let again = || file.try_clone().expect("a descriptor");
        let mut bytes = 0;
        let _ = offline::dump::<offline::Error>(again(), &offline::Silent, &mut |line| {
            bytes += line.to_string().len();
            Ok(())
        });
        assert!(bytes < 64 * BLOCKS as usize * BLOCK_BYTES);
        offline::check(again(), &offline::Silent).ok()
    })
}

fn compare(replayed: &Replayed, report: &Report) {
    if let Some(log) = &report.log {
        assert_eq!(log.records, replayed.records);
        assert_eq!(log.contents, replayed.contents);
        assert_eq!(log.guessed, replayed.guessed);
        assert_eq!(log.end == "damaged", replayed.damaged);
    }
    for damage in &report.damage {
        assert!(!damage.what.contains("a bug"), "{}", damage.what);
    }
}
