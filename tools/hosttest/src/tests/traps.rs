// SPDX-License-Identifier: GPL-2.0

//! Rules that are broken on purpose: each time some history must fail its checks, or the checks are
//! worth nothing.

#![forbid(unsafe_code)]

use super::world::config;
use super::world::run;
use super::world::Config;
use super::world::Trap;

/// Histories to try; all traps are caught in far fewer, counted from the one named below.
const SEEDS: u64 = 200;
const STEPS: u64 = 3000;

/// That of a seed; in every other history records are slow and snapshots few, so that what is not
/// durable yet has time to do harm.
fn trapped(seed: u64, trap: Trap) -> Config {
    let mut config = config(seed, Some(trap));
    if trap == Trap::EarlySegments {
        config.layout.segments = 1 + seed % 4;
        config.growth = 4;
    }
    if seed % 2 == 1 {
        config.weights = match trap {
            Trap::StaleContent => [6, 1, 8, 4, 8, 4],
            _ => [1, 4, 8, 4, 8, 4],
        };
        config.keep = 1;
    }
    config
}

/// Panics unless a history fails in a way that contains one of `signs`.
fn is_caught(trap: Trap, first: u64, signs: &[&str]) {
    for seed in (first..SEEDS).chain(0..first) {
        if let Err(what) = run(&trapped(seed, trap), STEPS) {
            println!("{trap:?}: seed {seed}: {what}");
            let expected = signs.iter().any(|sign| what.contains(sign));
            assert!(
                expected,
                "{trap:?} is caught, but not as it should be: {what}"
            );
            return;
        }
    }
    panic!("{trap:?} is not caught");
}

macro_rules! traps {
    ($($name:ident: $trap:ident from $first:literal $signs:expr;)*) => {
        $(
            #[test]
            fn $name() {
                is_caught(Trap::$trap, $first, &$signs);
            }
        )*
    };
}

traps! {
    trap_no_fua: NoFua from 0 ["I1", "I3", "neither", "snapshots", "nothing recovered"];
    trap_writes_out_of_log_order: OutOfOrder from 0 ["I1", "I3"];
    trap_cut_at_next: CutAtNext from 0 ["I1", "I3"];
    trap_no_origin_flush: NoOriginFlush from 0 ["I1", "I3"];
    trap_replay_asks_present_marks: AskPresentMarks from 0 ["I1"];
    trap_early_drop: EarlyDrop from 19 ["I1", "I3"];
    trap_early_release: EarlyRelease from 7 ["I1", "I3"];
    trap_regions_survive_checkpoint: RegionsSurviveCheckpoint from 0 ["I3"];
    trap_regions_survive_snapshot: RegionsSurviveSnapshot from 0 ["I3"];
    trap_early_reuse: EarlyReuse from 0 ["I1", "two owners", "nothing recovered"];
    trap_one_superblock: OneSuperblock from 0
        ["recovery", "superblock", "nothing recovered", "I1", "I3"];
    trap_superblocks_together: SuperblocksTogether from 43 ["recovery", "superblock"];
    trap_superblocks_in_fixed_order: SuperblocksInFixedOrder from 19 ["recovery", "superblock"];
    trap_image_not_flushed: ImageNotFlushed from 0 ["recovery"];
    trap_no_drain: NoDrain from 0 ["I3", "rule 1"];
    trap_early_narrow: EarlyNarrow from 79 ["I1", "I3"];
    trap_stale_copy: StaleCopy from 0 ["I1", "I3"];
    trap_stale_content: StaleContent from 119 ["I1"];
    trap_segment_named_before_the_layout_is_durable: EarlySegments from 0 ["recovery"];
    trap_settle_in_any_order: SettleInAnyOrder from 18 ["nothing recovered", "I1"];
}
