// SPDX-License-Identifier: GPL-2.0

//! The checkpoint of a store being checked: each block of its image, and the items in it.

#![forbid(unsafe_code)]

use kernel::error::code::EIO;
use kernel::error::code::EUCLEAN;

use super::report::CheckpointReport;
use super::whole::Check;
use crate::store::checkpoint::load;
use crate::store::checkpoint::reader;
use crate::store::Result;
use dm_preserve_core::format::image_data;
use dm_preserve_core::store::Buffer;
use dm_preserve_core::store::LogPosition;

impl Check<'_, '_> {
    /// Each block of the checkpoint's image for itself.
    pub(super) fn image_blocks(&mut self) -> Result<bool> {
        let superblock = &self.superblock;
        let (area, blocks) = (superblock.image_area.get(), superblock.image_used.get());
        if area > 1 || blocks == 0 || blocks > self.layout.image_blocks {
            let text = "its superblock says that it is where no checkpoint can be";
            self.report.damage("checkpoint", text.into());
            return Ok(false);
        }
        let before = self.report.damages;
        let mut buffer = Buffer::new().map_err(|e| self.store.explain(e))?;
        for n in 0..blocks {
            let at = self.layout.image_block(area) + n;
            let what = match buffer.load(&mut self.store, at) {
                Err(EIO) => format!("cannot be read: {}", self.store.why()),
                Err(error) => return Err(self.store.explain(error)),
                Ok(block) => match image_data(block) {
                    Err(why) => format!("is {}", format!("{why:?}").to_lowercase()),
                    Ok((header, _)) => {
                        let right = header.store == self.superblock.store
                            && header.image == self.superblock.image_number
                            && header.number.get() == n;
                        if right {
                            continue;
                        }
                        "belongs to another checkpoint".into()
                    }
                },
            };
            let text = format!("block {n} of {blocks} (block {at} of the store) {what}");
            self.report.damage("checkpoint", text);
        }
        Ok(self.report.damages == before)
    }

    /// The checkpoint's items, each and together: where the log goes on from it.
    pub(super) fn checkpoint(&mut self) -> Result<Option<LogPosition>> {
        let mut items = 0;
        let counted = self.count_items(&mut items);
        self.report.checkpoint = Some(CheckpointReport {
            number: self.superblock.image_number.get(),
            area: self.superblock.image_area.get(),
            blocks: self.superblock.image_used.get(),
            items,
        });
        let what =
            match counted.and_then(|()| load(&mut self.store, &self.superblock, &self.layout)) {
                Ok(known) => return Ok(Some(known.place)),
                Err(EUCLEAN) if counted.is_err() => format!("it ends or breaks at item {items}"),
                Err(EUCLEAN) => "its items contradict each other".into(),
                Err(error) => return Err(self.store.explain(error)),
            };
        self.report.damage("checkpoint", what);
        Ok(None)
    }

    fn count_items(&mut self, items: &mut u64) -> kernel::error::Result {
        let mut reader = reader(&mut self.store, &self.superblock, &self.layout)?;
        while reader.next()?.is_some() {
            *items += 1;
        }
        Ok(())
    }
}
