// SPDX-License-Identifier: GPL-2.0

//! Checkpoints: the whole state, written to a persistent store, so that the log before it is no
//! longer needed.
//!
//! # A checkpoint
//!
//! Under the control lock, so that snapshots, drops and so on wait:
//! 1. The gate closes, and opens with the next *period* (the time up to the next checkpoint) and no
//!    dirty region. All marks of the old period are set then. Replay will begin at the *cut*: the
//!    end of the log at this time, or the oldest record whose copy is not settled.
//! 2. The state is written to the image area that is not in use, while writes go on, and flushed.
//! 3. Both superblocks are written, one after the other. They refer to the new image.
//! 4. Ring blocks before the cut, and segments that waited at the cut, are freed.
//!
//! # Lock order
//!
//! `control`, then `superblocks`, then the gate, then the log.

#![forbid(unsafe_code)]

use crate::engine::session::open::origin_fingerprint;
use crate::engine::session::superblocks::Superblocks;
use crate::engine::session::Session;
use crate::engine::space::Copies;
use crate::engine::state::no_regions;
use crate::engine::state::Control;
use crate::format::STATE_CLOSED;
use crate::store::save;
use crate::store::Checkpoint;
use crate::store::ImageWriter;
use crate::store::LogPosition;
use kernel::prelude::*;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

impl Session {
    /// Makes a checkpoint, and writes `state` to the superblocks. Does nothing for a transient
    /// store. The caller holds the control lock; see the [module's documentation](self).
    ///
    /// Errors: `EIO` if the store has failed or there is no session, `ENOSPC` or `EFBIG` if the
    /// image does not fit, `ENOMEM`, those of the devices.
    pub(in crate::engine) fn checkpoint(&self, control: &mut Control, state: u32) -> Result {
        let mut guard = self.superblocks.lock();
        let Some(superblocks) = (*guard).as_mut() else {
            return Ok(());
        };
        if self.log.has_failed() {
            return Err(EIO);
        }
        // The image has what the timeline has.
        self.state.tidy_timeline()?;
        let regions = no_regions(self.device.geometry().chunks())?;
        let period = control.period + 1;
        let (place, next, waiting) = {
            let mut closed = self.state.close_gate();
            closed.regions = Some(regions);
            closed.period = period;
            // Counted first: a copy that ends in between gives its epoch's segments back, but its
            // record is still one that replay begins with.
            let waiting = self.space.with_segments(|segments| segments.waiting());
            let (place, next) = self.log.cut().ok_or(EIO)?;
            (place, next, waiting.unwrap_or(0))
        };
        // Writes may have come to the closed gate.
        self.waker.look_again();
        control.period = period;
        let known = Checkpoint {
            place,
            next,
            period,
            next_id: self.state.next_id(),
            sectors: self.device.geometry().sectors(),
            timeline: self.state.timeline(),
            designation: self.state.designation(),
        };
        self.save(superblocks, &known, state)?;
        let image_blocks = superblocks.superblock.image_used.get();
        let some_wait = match state {
            STATE_CLOSED => {
                // What still waits for room would come behind the log's end.
                self.log.end();
                false
            }
            _ => self.log.trim(&place, &superblocks.layout, image_blocks),
        };
        self.space
            .with_segments(|segments| segments.free_waiting(waiting));
        // Writes may wait for them.
        self.waker.look_again();
        if some_wait {
            self.log.retire_soon();
        }
        Ok(())
    }

    /// Flushes the origin before its store is closed.
    ///
    /// Errors: those of the device, as `EIO`: the store stays open then, as after a power cut.
    fn flush_origin(&self) -> Result {
        self.device.origin().flush().map_err(|error| {
            pr_err!(
                "{}: the origin cannot be flushed: {error:?}\n",
                self.device.live()
            );
            EIO
        })
    }

    fn save(
        &self,
        superblocks: &mut Superblocks,
        known: &Checkpoint<Copies>,
        state: u32,
    ) -> Result {
        if state == STATE_CLOSED {
            // A power cut after it is closed must not make the fingerprint another one.
            self.flush_origin()?;
        }
        if superblocks.is_unsure {
            // It may be the one that counts: its image must not be overwritten before that is
            // known.
            superblocks.write_superblocks(self.device.store())?;
        }
        superblocks.clear_ring(self.device.store())?;
        let area = 1 - superblocks.superblock.image_area.get().min(1);
        let number = superblocks.superblock.image_number.get() + 1;
        let (store, layout) = (superblocks.superblock.store, superblocks.layout);
        let mut disk = superblocks.disk(self.device.store());
        let mut out = ImageWriter::new(&mut disk, store, &layout, area, number)?;
        save::save(known, &mut out)?;
        let used = out.finish()?;
        let superblock = &mut superblocks.superblock;
        superblock.image_area = U32::new(area);
        superblock.image_number = U64::new(number);
        superblock.image_used = U64::new(used);
        superblock.state = U32::new(state);
        superblock.origin_sectors = U64::new(known.sectors);
        if state == STATE_CLOSED {
            let print =
                origin_fingerprint(self.device.origin(), known.sectors, &mut superblocks.io);
            superblocks.superblock.fingerprint = U32::new(print);
        }
        superblocks.write_superblocks(self.device.store())?;
        superblocks.place = LogPosition {
            content: 0,
            content_end: 0,
            ..known.place
        };
        superblocks.has_begun = true;
        superblocks.image_is_exact = state == STATE_CLOSED;
        Ok(())
    }
}
