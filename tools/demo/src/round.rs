// SPDX-License-Identifier: GPL-2.0

//! One round: writers at work, a snapshot, a backup read from it, the copy brought forward, all of it checked.

#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

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
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All that is protected: any backup can be read from it.
    Full,
    /// What the next incremental backup reads.
    Incremental,
}

/// What the table shows of a round.
pub struct Round {
    /// The snapshot.
    pub id: u64,
    /// The snapshot that the copy was at before; 0 for a full backup.
    pub from: u64,
    /// Chunks changed; all of them for a full backup.
    pub changed: usize,
    /// Chunks moved.
    pub moved: usize,
    /// Chunks that went to the store while the round lasted.
    pub preserved: usize,
    /// Writes that had to wait, from this snapshot to the end of the round's checks.
    pub waited: u64,
    /// How long the snapshot, the backup, and bringing the copy forward took.
    pub times: [Duration; 3],
}

impl Round {
    /// Runs a round after `last`, the one before.
    pub fn run(
        setup: &Setup,
        writers: &Writers,
        scope: Scope,
        last: Option<&Round>,
    ) -> Result<Self> {
        let from = last.map_or(0, |round| round.id);
        match from {
            0 => heading("The first backup: a full one"),
            _ => heading(&format!("An incremental backup, from snapshot {from}")),
        }
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

        // The freeze lets everything committed reach the device, so the copy must have no less than this.
        let committed = bank::transfers(bank::PATH)?;
        let waited = maps::status("waited_writes")?;
        let option = if scope == Scope::Full {
            ""
        } else {
            " --incremental"
        };
        let (id, snapshot_time) = timed(&format!("preserve snapshot live --freeze{option}"))?;
        let id: u64 = id.trim().parse().context("the snapshot's id")?;

        let stream = format!("/backup/{id}.stream");
        let base = if from == 0 {
            String::new()
        } else {
            format!(" --from {from}")
        };
        let (_, backup_time) = timed(&format!("preserve backup live{base} -o {stream}"))?;
        let later = bank::transfers(bank::PATH)?;
        let frozen = match scope {
            Scope::Full => {
                show(&format!("preserve view live {id} frozen"))?;
                Frozen::view("/dev/mapper/frozen")?
            }
            Scope::Incremental => Frozen::control(id)?,
        };
        let moved = Moved::check(setup, from, id, &stream)?;
        moved.must_have_all_that_differs(setup, &frozen)?;
        let (_, apply_time) = timed(&format!("preserve apply {stream} {COPY}"))?;
        run(&format!("rm {stream}"))?;

        checks::copy_equals(setup, &moved, &frozen)?;
        drop(frozen);
        checks::filesystem_and_database(committed, later)?;
        let preserved = checks::store(setup, &moved, id, scope)?;
        if scope == Scope::Full {
            show("preserve remove frozen")?;
        }
        writers.work(Duration::from_millis(500))?;
        Ok(Round {
            id,
            from,
            changed: moved.changed.count(),
            moved: moved.stream.count(),
            preserved,
            waited: maps::status("waited_writes")? - waited,
            times: [snapshot_time, backup_time, apply_time],
        })
    }
}
