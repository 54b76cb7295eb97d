// SPDX-License-Identifier: GPL-2.0

//! The log of a store being checked: recovery, as the module does it, and what is said of its end.

#![forbid(unsafe_code)]

use super::report::LogReport;
use super::whole::Check;
use crate::store::Copies;
use crate::store::Known;
use crate::store::Result;
use dm_preserve_core::format::STATE_CLOSED;
use dm_preserve_core::store::recover;
use dm_preserve_core::store::LogPosition;
use dm_preserve_core::store::LogReader;
use dm_preserve_core::store::Replayed;
use dm_preserve_core::store::Trouble;

impl Check<'_, '_> {
    /// Replays the log, as the module does.
    pub(super) fn log(&mut self, place: LogPosition) -> Result<Option<Known>> {
        self.store.progress.part("log", None);
        let new_copies = Copies::maker(&self.layout);
        let recovered = recover::recover::<Copies, _>(
            &mut self.store,
            &self.superblock,
            &self.layout,
            // Nobody says here how large the device is; that it fits into memory is all that is
            // asked.
            u64::MAX,
            &new_copies,
        );
        let (known, replayed) = match recovered {
            Ok(found) => found,
            Err(Trouble::Error(error)) => return Err(self.store.explain(error)),
            Err(Trouble::Because(_)) => {
                let followed = self.follow(place);
                let (records, last) = followed.map_err(|e| self.store.explain(e))?;
                let first = place.sequence;
                let last = last.map_or(String::new(), |at| format!(", the last in block {at}"));
                let text = format!(
                    "a record contradicts those before it, or says what this program does not \
                     know: one of {records} from number {first} on{last}"
                );
                self.report.damage("log", text);
                return Ok(None);
            }
        };
        let ended = self.log_end(place, &replayed);
        ended.map_err(|e| self.store.explain(e))?;
        Ok(known)
    }

    /// Follows the log to its end: how many records, and the block of the last.
    fn follow(&mut self, place: LogPosition) -> kernel::error::Result<(u64, Option<u64>)> {
        let mut log = LogReader::new(&self.superblock, &self.layout, place, 0)?;
        let mut last = None;
        while let Some((block, _)) = log.next(&mut self.store)? {
            last = Some(block);
        }
        Ok((log.records(), last))
    }

    /// What the end of the log is like.
    fn log_end(&mut self, place: LogPosition, replayed: &Replayed) -> kernel::error::Result {
        let mut log = LogReader::new(&self.superblock, &self.layout, place, replayed.records)?;
        while log.next(&mut self.store)?.is_some() {}
        let mut count = 0;
        let mut proof = None;
        let tail = log.tail();
        tail.visit(&mut self.store, &mut |block, record| {
            count += 1;
            if proof.is_none() && tail.is_proof(record) {
                proof = Some((record.header.sequence.get(), block));
            }
            false
        })?;
        let end = log.place().sequence;
        let (ring, content) = log.blocks();
        let report = &mut *self.report;
        report.log = Some(LogReport {
            first: place.sequence,
            records: replayed.records,
            contents: replayed.contents,
            guessed: replayed.guessed,
            end: match (replayed.damaged, count) {
                (true, _) => "damaged",
                (false, 0) => "clean",
                (false, _) => "torn",
            },
            behind: count,
        });
        if replayed.damaged {
            let or = content.map_or(String::new(), |at| format!(" or {at}"));
            let proof = proof.map_or("an earlier record".into(), |(sequence, block)| {
                format!("record {sequence} in block {block}")
            });
            let text = format!(
                "record {end}, in block {ring}{or}, is missing or damaged, although {proof} \
                 proves that it was durable: all snapshots and tracking are lost"
            );
            report.damage("log", text);
        } else if count > 0 {
            report.note(format!(
                "the log was torn off at record {end}, by a power cut or crash; nobody relied on \
                 it or what followed"
            ));
        }
        if replayed.guessed > 0 {
            report.note(format!(
                "{} chunks count as changed only because a write near them had been announced",
                replayed.guessed
            ));
        }
        if self.superblock.state.get() == STATE_CLOSED && replayed.records > 0 {
            let text = "it has records, although the store was closed";
            report.damage("log", text.into());
        }
        Ok(())
    }
}
