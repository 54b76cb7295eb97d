// SPDX-License-Identifier: GPL-2.0

//! What is written.

#![forbid(unsafe_code)]

use crate::config::Faults;
use crate::mapped::UserIo;
use crate::users::Users;
use dm_shim::Op;
use dm_shim::Parts;
use dm_shim::Span;
use kernel::machine;
use kernel::prelude::*;
use sim::Data;
use std::sync::Arc as StdArc;

impl Users {
    /// Returns a block that nobody has written before.
    pub(super) fn some_data(&self) -> Data {
        let number = self.writes.get() + 1;
        self.writes.set(number);
        let mut block = [0; 4096];
        for sector in block.chunks_mut(512) {
            sector[..8].copy_from_slice(&number.to_le_bytes());
        }
        StdArc::new(block)
    }

    /// Writes, discards and flushes.
    pub(super) fn write(&self) {
        let chunk_sectors = self.config.chunk_sectors();
        for _ in 0..machine::below(self.config.get("writes")) {
            if (machine::random() & 0xffff) < self.config.get("releases") {
                self.release();
            }
            let run = self.some_run();
            let (mut start, mut len) = self.sectors(&run);
            if start + len > self.mapped.sectors() {
                continue;
            }
            if Self::is_once_in(3) {
                // Less than whole chunks.
                start += 8 * machine::below(self.config.chunk_blocks());
                len = 8;
            }
            let op = match machine::below(20) {
                0 => Op::Discard,
                1 | 2 => Op::WriteZeroes,
                3 => Op::Flush,
                4 => Op::Read,
                _ => Op::Write,
            };
            let data = match op {
                Op::Write => (0..len / 8).map(|_| self.some_data()).collect(),
                _ => Vec::new(),
            };
            let is_nowait = Self::is_once_in(20);
            let parts = Parts {
                op,
                span: Span {
                    start,
                    len: match op {
                        Op::Flush => 0,
                        _ => len,
                    },
                },
                data,
                is_forced: Self::is_once_in(8),
                is_nowait,
            };
            let number = self.writes.get();
            pr_info!(
                "user: {op:?} at chunk {} begins ({number})",
                start / chunk_sectors
            );
            let is_done = UserIo::run(&self.mapped, parts);
            pr_info!(
                "user: {op:?} at chunk {} ends: {is_done}",
                start / chunk_sectors
            );
            let may_fail = is_nowait || self.config.faults == Faults::Origin;
            assert!(is_done || may_fail, "a {op:?} has failed");
            if Self::is_once_in(4) {
                Self::pause(100_000);
            }
        }
    }
}
