// SPDX-License-Identifier: GPL-2.0

//! The log of a store being checked: recovery, as the module does it, and what is said of its end.

#![forbid(unsafe_code)]

use crate::check::Check;
use crate::copies::Copies;
use crate::copies::Known;
use crate::follow::Follower;
use crate::logbook::Place;
use crate::ondisk::STATE_CLOSED;
use crate::recover;
use crate::recover::Replayed;
use crate::report::LogReport;
use crate::store::Result;
use crate::superblock::Trouble;

impl Check<'_, '_> {
    /// Replays the log, as the module does.
    pub(crate) fn log(&mut self, place: Place) -> Result<Option<Known>> {
        self.store.progress.part("log", None);
        let new_copies = Copies::maker(&self.layout);
        let recovered = recover::recover::<Copies, _>(
            &mut self.store,
            &self.superblock,
            &self.layout,
            // Nobody says here how large the device is; that it fits into memory is all that is asked.
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
                    "a record contradicts those before it, or says what this program does not know: \
                     one of {records} from number {first} on{last}"
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
    fn follow(&mut self, place: Place) -> kernel::error::Result<(u64, Option<u64>)> {
        let mut follower = Follower::new(&self.superblock, &self.layout, place, 0)?;
        let mut last = None;
        while let Some((block, _)) = follower.next(&mut self.store)? {
            last = Some(block);
        }
        Ok((follower.records, last))
    }

    /// What the end of the log is like.
    fn log_end(&mut self, place: Place, replayed: &Replayed) -> kernel::error::Result {
        let mut follower = Follower::new(&self.superblock, &self.layout, place, replayed.records)?;
        while follower.next(&mut self.store)?.is_some() {}
        let behind = follower.behind(&mut self.store)?;
        let end = follower.place.sequence;
        let (ring, content) = follower.places();
        let records = follower.records;
        // CAST: A length in memory.
        let count = behind.len() as u64;
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
        if records != replayed.records {
            let text = format!(
                "recovery takes {} records and a second look {records}: a bug in one of them",
                replayed.records
            );
            report.damage("log", text);
        }
        if replayed.damaged {
            let or = content.map_or(String::new(), |at| format!(" or {at}"));
            let proof = behind.iter().find(|record| record.proves);
            let proof = proof.map_or("an earlier record".into(), |record| {
                format!("record {} in block {}", record.sequence, record.block)
            });
            let text = format!(
                "record {end}, in block {ring}{or}, is missing or damaged, although {proof} proves that it \
                 was durable: all snapshots and tracking are lost"
            );
            report.damage("log", text);
        } else if count > 0 {
            report.note(format!(
                "the log was torn off at record {end}, by a power cut or crash; nobody relied on it or what followed"
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
