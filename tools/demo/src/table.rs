// SPDX-License-Identifier: GPL-2.0

//! The end: what the rounds came to.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::maps::CHUNK;
use crate::round::Round;
use crate::tell::heading;
use crate::tell::seconds;

/// Prints the table and how to go on.
pub fn print(rounds: &[Round], time: Duration) {
    heading("What it came to");
    println!("          ---- chunks of 4 KiB (and MiB) ----              --------- time ---------");
    println!("backup    changed       moved         skipped       stored  snapshot backup   apply  waited");
    for round in rounds {
        let kind = match round.from {
            0 => format!("{} full", round.id),
            from => format!("{} from {from}", round.id),
        };
        let [snapshot, backup, apply] = round.times.map(seconds);
        println!(
            "{kind:9} {:13} {:13} {:13} {:6}  {snapshot:>8} {backup:>6} {apply:>7}  {:>6}",
            size(round.changed),
            size(round.moved),
            size(round.changed - round.moved),
            round.preserved,
            round.waited,
        );
    }
    println!(
        "\n\
         changed   written since the snapshot before (all there is, for a full backup)\n\
         moved     of these the protected ones: what the backup carried\n\
         skipped   the others: swap and scratch files\n\
         stored    chunks whose old content was kept for the snapshot, as they were overwritten before the round's end\n\
         waited    writes that had to wait for a copy of old content, or for the snapshot's instant\n\
         \n\
         All claims held, in {}. The last snapshot preserved only what its backup needed (--incremental).\n\
         To poke around by hand, in a virtual machine like this one: make shell",
        seconds(time)
    );
}

fn size(chunks: usize) -> String {
    format!(
        "{chunks} ({:.1})",
        (chunks * CHUNK) as f64 / (1 << 20) as f64
    )
}
