// SPDX-License-Identifier: GPL-2.0

//! A whole repair: a check, the superblock, the contents, and a check of what came of it.

#![forbid(unsafe_code)]

use serde::Serialize;

use crate::check::advice;
use crate::check::check;
use crate::check::superblock_reports;
use crate::check::Report;
use crate::store::commit;
use crate::store::supers;
use crate::store::supers::Pair;
use crate::store::Medium;
use crate::store::Progress;
use crate::store::Result;
use crate::store::Store;
use dm_preserve_core::format::SUPERBLOCKS;

/// Why something does not read the same twice.
pub(super) const DOUBT: &str = "the device, its cable or the memory is not to be trusted";

/// What was repaired, and what a check says of the store then.
#[derive(Clone, Debug, Serialize)]
pub struct Repaired {
    /// What was done, and what is lost by it.
    pub repaired: Vec<String>,
    /// What was left as it is, and what is to be done about it.
    pub advice: Vec<String>,
    /// Why the repair, or the check of what it left, did not come to its end. What was done before
    /// that is done.
    pub failed: Vec<String>,
    /// The store as it was seen last.
    #[serde(flatten)]
    pub report: Report,
}

/// Checks a store, repairs what can be repaired, and checks it again. An error means that nothing
/// was written.
pub fn repair(mut medium: impl Medium, progress: &dyn Progress) -> Result<Repaired> {
    let report = check(&mut medium, progress)?;
    let mut done = Repaired {
        repaired: Vec::new(),
        advice: Vec::new(),
        failed: Vec::new(),
        report,
    };
    if done.report.clean {
        return Ok(done);
    }
    let store = Store::new(&mut medium, progress)?;
    let ended = Repair {
        store,
        done: &mut done,
    }
    .run();
    done.failed.extend(ended.err().map(|e| e.to_string()));
    let happened = [&done.repaired, &done.advice, &done.failed];
    if happened.iter().any(|list| !list.is_empty()) {
        match again(&mut medium, progress) {
            Ok(report) => done.report = report,
            Err(e) => done
                .failed
                .push(format!("it could not be checked again: {e}")),
        }
    }
    done.advice.extend(advice(&done.report));
    Ok(done)
}

/// A check of what is on the device, and not of what was meant to go there.
fn again(medium: &mut impl Medium, progress: &dyn Progress) -> Result<Report> {
    Store::new(&mut *medium, progress)?.forget()?;
    check(medium, progress)
}

/// A repair under way.
pub(super) struct Repair<'a> {
    pub(super) store: Store<'a>,
    /// With the report of before.
    pub(super) done: &'a mut Repaired,
}

/// What keeps a repair from going on, with what was being done.
pub(super) type Step<T> = std::result::Result<T, Box<dyn std::error::Error>>;

impl Repair<'_> {
    fn run(&mut self) -> Step<()> {
        self.store.forget()?;
        self.store.progress.part("metadata", None);
        let pair = supers::read(&mut self.store)?;
        let best = supers::choose(&pair)?;
        if superblock_reports(&pair, best) != self.done.report.superblocks {
            let text = "the superblocks read differently the second time, and nothing was changed";
            self.done.advice.push(format!("{text}: {DOUBT}"));
            return Ok(());
        }
        if let Some(best) = best {
            self.superblock(&pair, best)?;
            self.contents()?;
        }
        Ok(())
    }

    /// Writes the superblock that counts to the other place, if that is lost.
    fn superblock(&mut self, pair: &Pair, best: usize) -> Step<()> {
        let counts = pair[best].valid();
        let formatting = counts.is_none_or(|superblock| superblock.image_number.get() == 0);
        let mut places = pair.iter().zip(SUPERBLOCKS);
        let lost = places.find(|(seen, _)| seen.is_lost());
        let Some((seen, at)) = lost.filter(|_| !formatting) else {
            return Ok(());
        };
        let status = seen.status();
        if let Err(e) = commit::mirror(&mut self.store, pair, best) {
            let why = self.store.explain(e);
            return Err(
                format!("superblock {at} is {status}, and could not be made again: {why}").into(),
            );
        }
        self.done.repaired.push(format!(
            "superblock {at} was {status}: it is the same as superblock {} again; nothing is lost",
            SUPERBLOCKS[best]
        ));
        Ok(())
    }
}
