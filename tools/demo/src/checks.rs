// SPDX-License-Identifier: GPL-2.0

//! Claims about the copy and the store. Each function fails with what is wrong, or says what held.

#![forbid(unsafe_code)]

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use crate::bank;
use crate::chunks::Chunks;
use crate::content::Frozen;
use crate::maps;
use crate::moved::Moved;
use crate::round::Scope;
use crate::round::COPY;
use crate::setup::Setup;
use crate::tell::holds;
use crate::tell::run;

/// The copy is the snapshot, which has all chunks of `in_scope` at least.
pub fn copy_equals(frozen: &Frozen, protected: &Chunks, in_scope: &Chunks) -> Result<()> {
    let total = maps::total_chunks()?;
    let found = frozen.compare(COPY, protected, total)?;
    found
        .gone
        .must_not_meet(in_scope, "content in the snapshot's scope is gone")?;
    let none = Chunks::none(total);
    found
        .differ
        .must_be(&none, "the copy is not what the snapshot shows")?;
    let compared = protected.minus(&found.gone).count();
    match frozen {
        Frozen::View(_) => {
            found.gone.must_be(&none, "frozen content is gone")?;
            holds(&format!(
                "the copy equals the frozen view in all {compared} protected chunks, byte by byte"
            ));
        }
        Frozen::Control(..) => holds(&format!(
            "the copy equals the snapshot in all {compared} protected chunks that it still has"
        )),
    }
    Ok(())
}

/// The copy is a sound filesystem with a sound database, as of the snapshot's instant.
pub fn filesystem_and_database(least: u64, most: u64) -> Result<()> {
    run(&format!("e2fsck -fn {COPY} 2>&1"))?;
    holds("e2fsck finds nothing wrong with the copy, and no journal to replay");
    run(&format!(
        "mkdir -p /copy && mount -o ro,noload,loop {COPY} /copy"
    ))?;
    // A database with a write-ahead log must be written even to be read.
    let read = run(
        "rm -rf /tmp/restored && mkdir /tmp/restored && cp /copy/bank.db* \
         /tmp/restored/ && ls /copy/Documentation",
    );
    run("umount /copy")?;
    ensure!(
        read?.lines().count() > 10,
        "the file tree is not in the copy"
    );
    let database = "/tmp/restored/bank.db";
    bank::check(database)?;
    let found = bank::transfers(database)?;
    if !(least..=most).contains(&found) {
        bail!(
            "the restored database has {found} transfers; {least} were committed before the \
             snapshot and {most} after"
        );
    }
    holds(&format!(
        "SQLite's integrity check, the sum of money and every balance are right in the copy \
         ({found} transfers)"
    ));
    Ok(())
}

/// Chunks in the store that are out of the snapshot's scope. On a persistent store a scope takes
/// effect with the next checkpoint; until then all that is protected is preserved.
pub fn out_of_scope(moved: &Moved, id: u64, scope: Scope, total: usize) -> Result<Chunks> {
    match scope {
        Scope::Full => Ok(Chunks::none(total)),
        Scope::Incremental => {
            let preserved = maps::map("preserved", &format!("--snapshot {id}"), total)?;
            Ok(preserved.minus(&moved.changed))
        }
    }
}

/// The store has only what had to be preserved; returns how many chunks. `early` was out of scope,
/// but in the store when the scope took effect.
pub fn store(setup: &Setup, moved: &Moved, id: u64, scope: Scope, early: &Chunks) -> Result<usize> {
    let total = setup.chunks;
    let preserved = maps::map("preserved", &format!("--snapshot {id}"), total)?;
    preserved.must_not_meet(
        &setup.unwanted,
        "chunks of swap or scratch files were stored",
    )?;
    preserved.must_be_within(&moved.protected, "unprotected chunks were stored")?;
    out_of_scope(moved, id, scope, total)?
        .must_be_within(early, "chunks out of the snapshot's scope were stored")?;
    ensure!(
        preserved.count() > 0,
        "nothing was stored, though the writers went on"
    );
    // Written since, and not at the expense of the store.
    let written = maps::map("changed", &format!("--from {id}"), total)
        .context("changes since the snapshot")?;
    ensure!(
        written.and(&setup.unwanted).count() > 0,
        "nothing unprotected was written since the snapshot"
    );
    let status = maps::status("preserved_chunks")?;
    ensure!(
        status >= preserved.count() as u64,
        "the store counts {status} chunks only"
    );
    ensure!(maps::status("invalidated")? == 0, "a snapshot was given up");
    let share = preserved.count();
    holds(&format!(
        "the store has the old content of {share} chunks, none of them of swap or scratch files"
    ));
    Ok(share)
}
