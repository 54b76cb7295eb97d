// SPDX-License-Identifier: GPL-2.0

//! One round: writers at work, a snapshot, a backup read from it, the copy brought forward, all of
//! it checked.

#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use preserve::copy::state::State;
use serde::Deserialize;
use serde::Serialize;

use crate::bank;
use crate::checks;
use crate::content::Frozen;
use crate::maps;
use crate::moved::Moved;
use crate::setup::Setup;
use crate::tell::heading;
use crate::tell::run;
use crate::tell::say;
use crate::tell::show;
use crate::tell::timed;
use crate::writers::Writers;

/// The snapshot copy.
pub const COPY: &str = "/backup/copy.img";
/// How long the writers have the device for themselves before each snapshot.
const WORK: Duration = Duration::from_secs(6);

/// What a snapshot preserves.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// All that is protected: any backup can be read from it.
    Full,
    /// What the next incremental backup reads.
    Incremental,
}

/// What the table shows of a round.
#[derive(Serialize, Deserialize)]
pub struct Round {
    /// The snapshot.
    pub id: u64,
    /// What it preserves.
    pub scope: Scope,
    /// The snapshot that the copy was at before; 0 for a full backup.
    pub from: u64,
    /// Chunks that count as changed; all of them for a full backup.
    pub changed: usize,
    /// Chunks moved.
    pub moved: usize,
    /// Of these, chunks that the copy had with that content before.
    pub unchanged: usize,
    /// Chunks that went to the store while the round lasted.
    pub preserved: usize,
    /// Writes that had to wait, from this snapshot to the end of the round's checks.
    pub waited: u64,
    /// How long the snapshot, the backup, and bringing the copy forward took.
    pub times: [Duration; 3],
}

impl Round {
    /// Runs a round.
    pub fn run(setup: &Setup, writers: &Writers, scope: Scope) -> Result<Self> {
        let from = confirmed()?;
        match from {
            0 => heading("The first backup: a full one"),
            _ => heading(&format!(
                "An incremental backup, from snapshot {from}, where the copy is"
            )),
        }
        let_them_write(setup, writers, from)?;

        // The freeze lets everything committed reach the device, so the copy must have no less than
        // this.
        let committed = bank::transfers(bank::PATH)?;
        let waited = maps::status("waited_writes")?;
        let (id, snapshot_time) = take_snapshot(scope)?;
        let stream = format!("/backup/{id}.stream");
        let base = if from == 0 {
            String::new()
        } else {
            format!(" --from {from}")
        };
        let (_, backup_time) = timed(&format!("preserve backup live{base} -o {stream}"))?;
        let later = bank::transfers(bank::PATH)?;
        let frozen = Frozen::open(id, scope)?;
        let moved = Moved::check(setup, from, id, &stream)?;
        let early = checks::out_of_scope(&moved, id, scope, setup.chunks)?;
        let unchanged = moved.must_have_all_that_differs(setup, &frozen)?;
        let (_, apply_time) = timed(&format!("preserve apply {stream} {COPY}"))?;
        run(&format!("rm {stream}"))?;

        checks::copy_equals(&frozen, &moved.protected, &moved.stream)?;
        checks::filesystem_and_database(committed, later)?;
        let preserved = checks::store(setup, &moved, id, scope, &early)?;
        frozen.close()?;
        writers.work(Duration::from_millis(500))?;
        Ok(Round {
            id,
            scope,
            from,
            changed: moved.changed.count(),
            moved: moved.stream.count(),
            unchanged,
            preserved,
            waited: maps::status("waited_writes")? - waited,
            times: [snapshot_time, backup_time, apply_time],
        })
    }
}

/// Lets the writers write, to the swap file too.
fn let_them_write(setup: &Setup, writers: &Writers, from: u64) -> Result<()> {
    say(&format!("(the writers go on for {} s)", WORK.as_secs()));
    writers.work(WORK)?;
    // When the kernel swaps is its own affair; without it a round would show less.
    for _ in 0..10 {
        let changed = maps::map("changed", &format!("--from {from}"), setup.chunks)?;
        if changed.and(&setup.swap).count() > 0 {
            break;
        }
        writers.work(WORK)?;
    }
    Ok(())
}

/// Takes a snapshot; its id, and how long that took.
fn take_snapshot(scope: Scope) -> Result<(u64, Duration)> {
    let option = match scope {
        Scope::Full => "",
        Scope::Incremental => " --incremental",
    };
    let (id, time) = timed(&format!("preserve snapshot live --freeze{option}"))?;
    if scope == Scope::Incremental {
        say(
            "(its scope takes effect with the next checkpoint, which the module would make soon \
             by itself)",
        );
        show("dmsetup message live 0 checkpoint")?;
    }
    Ok((id.trim().parse().context("the snapshot's id")?, time))
}

/// The snapshot that the copy is at, by the file beside it; 0 for none.
fn confirmed() -> Result<u64> {
    let state = State::load(&State::beside(Path::new(COPY)))?;
    Ok(state.and_then(|s| s.at).map_or(0, |at| at.snapshot))
}
