// SPDX-License-Identifier: GPL-2.0

//! The end: what the rounds came to.

#![forbid(unsafe_code)]

use crate::maps::CHUNK;
use crate::round::Round;
use crate::round::Scope;
use crate::story::Entry;
use crate::story::Story;
use crate::tell::heading;
use crate::tell::seconds;

/// Prints the table and how to go on.
pub fn print(story: &Story) {
    heading("What it came to");
    println!(
        "           ---- chunks of 4 KiB (and MiB) ----                         \
         --------- time ---------"
    );
    println!(
        "backup     changed       moved         unchanged skipped       stored  \
         snapshot backup   apply  waited"
    );
    for entry in &story.entries {
        match entry {
            Entry::Round(round) => print_round(round),
            Entry::Restart(what) => println!("---------- {what}"),
        }
    }
    println!(
        "\n\
         changed   what counts as written since the snapshot before (all there is, for a full \
         backup)\n\
         moved     of these the protected ones: what the backup carried\n\
         unchanged of the moved, what the copy had already: written as it was, or taken for \
         changed after the power cut\n\
         skipped   changed, but not protected: swap and scratch files\n\
         stored    chunks whose old content was kept for the snapshot, as they were overwritten \
         before the round's end\n\
         waited    writes that had to wait for a copy of old content, or for the snapshot's \
         instant\n\
         *         the snapshot preserved only what its backup needed (--incremental)\n\
         \n\
         All claims held, in {} without booting.\n\
         To poke around by hand, in a virtual machine like these: make shell",
        seconds(story.time)
    );
}

fn print_round(round: &Round) {
    let star = if round.scope == Scope::Full { "" } else { "*" };
    let kind = match round.from {
        0 => format!("{} full{star}", round.id),
        from => format!("{} from {from}{star}", round.id),
    };
    let [snapshot, backup, apply] = round.times.map(seconds);
    println!(
        "{kind:10} {:13} {:13} {:9} {:13} {:6}  {snapshot:>8} {backup:>6} {apply:>7}  {:>6}",
        size(round.changed),
        size(round.moved),
        round.unchanged,
        size(round.changed - round.moved),
        round.preserved,
        round.waited,
    );
}

fn size(chunks: usize) -> String {
    format!(
        "{chunks} ({:.1})",
        (chunks * CHUNK) as f64 / (1 << 20) as f64
    )
}
