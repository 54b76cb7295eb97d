// SPDX-License-Identifier: GPL-2.0

//! Known mistakes of a running device.

#![forbid(unsafe_code)]

use crate::run::config::Config;
use crate::run::config::DESIGNATION;
use crate::run::config::INCREMENTAL;
use crate::run::config::ONE_CHUNK_THREE_WRITERS;
use crate::run::config::ONE_CHUNK_TWO_READERS;
use crate::run::config::WIDE_BIOS;
use crate::trap::traps;
use crate::trap::Mistake;

traps! {
    harmless: NoClaimsButRecheck;
    SecondLookOldList "second-look-old-list" in ONE_CHUNK_THREE_WRITERS:
        "the second look walks the list of epochs from before the read";
    NoSecondLook "no-second-look" in ONE_CHUNK_THREE_WRITERS:
        "a frozen read trusts what it read from the origin";
    NewestMark "newest-mark" in ONE_CHUNK_THREE_WRITERS:
        "a frozen read takes the newest epoch that marks the chunk, not the oldest";
    FreeUnderReader "free-under-reader" in ONE_CHUNK_THREE_WRITERS:
        "a drop gives space back that a read under way still refers to";
    DropFreesEpoch "drop-frees-epoch" in ONE_CHUNK_TWO_READERS:
        "a drop gives its epoch's copies back although an older snapshot lives";
    NeedOfLatestOnly "need-of-latest-only" in DESIGNATION:
        "need asks the latest snapshot only";
    LiveDesignation "live-designation" in DESIGNATION:
        "protecting takes effect at once, for snapshots already taken: need grows within an epoch";
    NarrowEarly "narrow-early" in INCREMENTAL:
        "an incremental scope is worked out before the gate has drained";
    NoDrain "no-drain" in ONE_CHUNK_THREE_WRITERS:
        "the new epoch is swapped in while writers are inside the gate";
    MarkClosed "mark-closed" in ONE_CHUNK_THREE_WRITERS:
        "index and mark go to the epoch in which need was decided although it is closed";
    IndexMarkSplit "index-mark-split" in ONE_CHUNK_THREE_WRITERS:
        "the copy is indexed in the epoch of its record, the mark set in the present one";
    NoLook "no-look" in ONE_CHUNK_THREE_WRITERS:
        "after the copy, the writer indexes, marks and submits without entering the gate";
    StaleRecord "stale-record" in ONE_CHUNK_THREE_WRITERS:
        "a record of an earlier epoch is taken as valid in the present one";
    StaleNoNeed "stale-no-need" in ONE_CHUNK_THREE_WRITERS:
        "not needed is decided outside the gate, and marked after entering it";
    StaleContent "stale-content" in ONE_CHUNK_THREE_WRITERS:
        "deciding again keeps the content read without asking whether the chunk was marked since";
    NoRecheck "no-recheck" in ONE_CHUNK_THREE_WRITERS:
        "the copier does not check that its chunks are still unmarked before it indexes";
    NoClaims "no-claims" in ONE_CHUNK_THREE_WRITERS:
        "no claims, and no recheck of the marks in their place";
    MarkBeforeIndex "mark-before-index" in ONE_CHUNK_THREE_WRITERS:
        "the mark is set before the copy is in the index";
    SubmitBeforeMark "submit-before-mark" in ONE_CHUNK_THREE_WRITERS:
        "the write is submitted before the mark is set";
    TwoStays "two-stays" in WIDE_BIOS:
        "a bio is submitted after its chunks were seen marked in different stays in the gate";
    MarkLeftBehind "mark-left-behind" in WIDE_BIOS:
        "a writer marks its part although it sees in the same stay that it cannot submit";
    ClaimWhileHolding "claim-while-holding" in WIDE_BIOS:
        "in a new epoch a writer claims lower chunks while it holds higher ones";
    WaitInside "wait-inside" in ONE_CHUNK_THREE_WRITERS:
        "a writer waits for a claim or a copy inside the gate";
    NoClaimsButRecheck "no-claims-but-recheck" in ONE_CHUNK_THREE_WRITERS:
        "no claims; two copiers of a chunk meet in the recheck (breaks nothing, costs a copy)";
}
