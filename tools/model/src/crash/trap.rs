// SPDX-License-Identifier: GPL-2.0

//! Known mistakes that only a crash shows.

#![forbid(unsafe_code)]

use crate::crash::config::Config;
use crate::crash::config::BOOKMARK;
use crate::crash::config::COPIES;
use crate::crash::config::DESIGNATION;
use crate::crash::config::DROPPED;
use crate::crash::config::FAILING;
use crate::crash::config::GIVEN_UP;
use crate::crash::config::GONE;
use crate::crash::config::NARROWED;
use crate::crash::config::NARROWED_DIRTY;
use crate::crash::config::REGION;
use crate::crash::config::RELEASED;
use crate::crash::config::RELEASED_TWICE;
use crate::trap::traps;

traps! {
    LateRecord "replay-late-record" in COPIES:
        "a record that comes after its epoch's end is replayed into the epoch that it names";
    NarrowUnsaved "narrow-unsaved" in NARROWED:
        "a scope narrows before a checkpoint has saved the closed epochs' exact marks";
    NarrowEarly "narrow-early-effect" in NARROWED_DIRTY:
        "a scope narrows before that is durable";
    DropEarly "drop-early-effect" in DROPPED:
        "a drop takes effect before it is durable";
    ReleaseEarly "release-early-effect" in RELEASED:
        "a release takes effect before it is durable";
    GoneEarly "gone-early-effect" in GONE:
        "a chunk that cannot be read is marked, and written, before it is durable that its \
         content is gone";
    GiveUpEarly "give-up-early-effect" in GIVEN_UP:
        "a snapshot that is given up is dropped before that is durable, although the store is good";
    FailingDrops "failing-drops" in FAILING:
        "when the store fails, all snapshots are dropped in memory, although that is neither \
         logged nor said in a superblock";
    FailingObeys "failing-obeys" in FAILING:
        "a drop takes effect in memory while the store is failing";
    FailingSameEpoch "failing-same-epoch" in FAILING:
        "the record of a new epoch fails, and the old one goes on, although the record may be on \
         the disk";
    RegionKeptEpoch "region-kept-epoch" in REGION:
        "a new epoch keeps the region map";
    RegionLateEpoch "region-late-epoch" in REGION:
        "a region record sets its bit although a new epoch has begun";
    RegionKeptGeneration "region-kept-generation" in REGION:
        "a new generation keeps the region map";
    RegionLateGeneration "region-late-generation" in REGION:
        "a region record sets its bit although a new generation has begun";
    NoWait "checkpoint-no-wait" in REGION:
        "a checkpoint does not wait for the marks under way";
    NoFlush "no-flush" in COPIES:
        "the origin is not flushed at the snapshot";
    OutOfOrder "out-of-order" in COPIES:
        "a write goes on when its own record is durable, whatever comes before it in the log";
    AskMarks "replay-asks-marks" in COPIES:
        "replay passes over a copy of a chunk that the root has as marked in the present epoch";
    CutNext "cut-next" in COPIES:
        "the cut is the next number although copy records are not yet settled";
    Unwanted "replay-unwanted" in RELEASED_TWICE:
        "replay indexes copies that no live snapshot wants at that place";
    ControlsAgain "replay-controls-again" in COPIES:
        "control records below the checkpoint's next number are replayed";
    LetIn "recovery-lets-in" in COPIES:
        "recovery lets writes in before its checkpoint is durable";
    UnwantedUnmarked "unwanted-unmarked" in BOOKMARK:
        "replay ignores a copy that no live snapshot wants at that place, and does not mark the \
         chunk either";
    AskedAgain "unwanted-asked-again" in BOOKMARK:
        "the same, but the writer asks need again before it indexes";
    CloseAtEnd "replay-closes-at-end" in COPIES:
        "replay marks for the present epoch at the end of the log only, not at each snapshot \
         record";
    AmidOrder "checkpoint-amid-order" in DROPPED:
        "a checkpoint begins while an order is logged and has not yet taken effect";
    ProtectEarly "protect-early-effect" in DESIGNATION:
        "designation takes effect before it is durable (the next snapshot's record comes after it)";
    RegionCarried "replay-carries-region" in REGION:
        "replay remembers a dirty region in the next epoch too (breaks nothing, marks too much)";
    OldGeneration "replay-old-generation" in REGION:
        "replay remembers region records of generations before the root's";
}

impl Trap {
    /// Variants that were thought to be mistakes and are none.
    pub const HARMLESS: &'static [Trap] =
        &[Trap::ProtectEarly, Trap::RegionCarried, Trap::OldGeneration];

    /// The trap of that name.
    pub fn find(name: &str) -> Option<Trap> {
        Trap::ALL.iter().copied().find(|trap| trap.name() == name)
    }
}
