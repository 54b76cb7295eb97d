// SPDX-License-Identifier: GPL-2.0

//! After a shutdown or a power cut: everything is brought up again, and nothing of it may be lost.
//!
//! Snapshot and changes are looked at before the filesystem is mounted, which writes already.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use crate::bank;
use crate::checks;
use crate::chunks::Chunks;
use crate::content::Frozen;
use crate::maps;
use crate::round::Round;
use crate::round::Scope;
use crate::round::COPY;
use crate::setup;
use crate::setup::Setup;
use crate::story::Entry;
use crate::story::Story;
use crate::tell::heading;
use crate::tell::holds;
use crate::tell::say;
use crate::tell::show;

/// How the guest before has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The live device was removed.
    Shutdown,
    /// It was killed, with everything in use.
    PowerCut,
}

/// Brings it up; adds to the story what there was to do.
pub fn run_after(end: End) -> Result<(Setup, Story)> {
    heading(match end {
        End::Shutdown => "The machine has started again, after a clean shutdown",
        End::PowerCut => "The machine has started again, after a power cut",
    });
    setup::load_module()?;
    show("mkdir -p /live /backup && mount /dev/vdd /backup")?;
    let mut story = Story::load()?;
    say("The same origin and store as before; nothing is formatted:");
    show("preserve create live --origin /dev/vdb --store /dev/vdc")?;
    let replay = replay(end)?;
    if end == End::PowerCut {
        say(
            "The store had not failed before; on a machine with a disk for /var/lib the command \
             knows that from a note of its own:",
        );
        show("preserve trust live")?;
    }
    show("preserve status live")?;
    ensure!(
        maps::snapshots()? == story.snapshots,
        "snapshots and bookmarks are not what they were: {:?}",
        story.snapshots
    );
    holds("all snapshots and bookmarks are there");
    let last = story.last()?;
    snapshot_is_right(last)?;
    no_change_is_forgotten(last)?;

    show("mount /dev/mapper/live /live")?;
    journal(end)?;
    database(end, story.committed)?;
    show(&format!("swapon {}", setup::SWAP))?;
    let setup = Setup::look()?;
    designation_is_there(&setup)?;
    story.entries.push(Entry::Restart(match end {
        End::Shutdown => "clean shutdown, reboot; nothing to replay".into(),
        End::PowerCut => format!("power cut, reboot; {replay}"),
    }));
    Ok((setup, story))
}

/// What the module said about its log: the replay after a power cut, nothing otherwise.
fn replay(end: End) -> Result<String> {
    let mut said = kernel_said("dm_preserve:")?;
    said.retain(|line| !line.contains("taints kernel"));
    let replayed = said.iter().find(|line| line.contains("records replayed"));
    match end {
        End::Shutdown => {
            ensure!(
                said.is_empty(),
                "the module complains, after a clean shutdown"
            );
            holds("the module had nothing to replay");
            Ok(String::new())
        }
        End::PowerCut => {
            let line = replayed.context("the module replayed no log: was there no power cut?")?;
            let unproven = said.iter().find(|line| line.contains("are unproven"));
            unproven.context("the module takes the store for proven: was there no power cut?")?;
            ensure!(said.len() == 2, "the module has more to say than that");
            holds("the module has replayed its log");
            let (_, what) = line.rsplit_once(": ").context("the module's words")?;
            Ok(what.to_string())
        }
    }
}

/// Whether the filesystem had to recover its journal.
fn journal(end: End) -> Result<()> {
    let said = kernel_said("EXT4-fs (dm-")?;
    let recovered = said.iter().any(|line| line.contains("recovery complete"));
    match end {
        End::Shutdown => ensure!(!recovered, "the filesystem was not unmounted"),
        End::PowerCut => {
            ensure!(recovered, "the filesystem had no journal to recover");
            holds("the filesystem has recovered its journal, by the mount");
        }
    }
    Ok(())
}

/// Lines of the kernel's log, which are shown.
fn kernel_said(word: &str) -> Result<Vec<String>> {
    let said = show(&format!("dmesg | grep '{word}' || true"))?;
    Ok(said.lines().map(str::to_string).collect())
}

/// The last snapshot is what it was before: what the copy has.
fn snapshot_is_right(last: &Round) -> Result<()> {
    let Round {
        id, from, scope, ..
    } = *last;
    let total = maps::total_chunks()?;
    let of = format!("--snapshot {id}");
    let protected = maps::map("protection", &of, total)?;
    let in_scope = match scope {
        Scope::Full => protected.clone(),
        Scope::Incremental => {
            maps::map("changed", &format!("--from {from} {of}"), total)?.and(&protected)
        }
    };
    let stored = maps::map("preserved", &of, total)?;
    ensure!(stored.count() > 0, "nothing of it comes from the store");
    stored.must_be_within(&protected, "unprotected chunks are in the store")?;
    let frozen = Frozen::open(id, scope)?;
    checks::copy_equals(&frozen, &protected, &in_scope)?;
    frozen.close()?;
    holds(&format!("{} of these come from the store", stored.count()));
    Ok(())
}

/// Whatever differs from the copy now counts as changed.
fn no_change_is_forgotten(last: &Round) -> Result<()> {
    let id = last.id;
    let total = maps::total_chunks()?;
    let protected = maps::map("protection", &format!("--snapshot {id}"), total)?;
    let changed = maps::map("changed", &format!("--from {id}"), total)?.and(&protected);
    let differ = Frozen::device("/dev/mapper/live")?
        .compare(COPY, &protected, total)?
        .differ;
    differ.must_be_within(&changed, "changes were forgotten")?;
    ensure!(differ.count() > 0, "nothing was written since");
    holds(&format!(
        "no change was forgotten: {} protected chunks differ from the copy, and count as \
         changed; so do {} that do not",
        differ.count(),
        changed.minus(&differ).count()
    ));
    Ok(())
}

/// What was committed is there.
fn database(end: End, committed: u64) -> Result<()> {
    bank::check(bank::PATH)?;
    let found = bank::transfers(bank::PATH)?;
    let (is_right, more) = match end {
        End::Shutdown => (found == committed, String::new()),
        End::PowerCut => (
            found >= committed,
            format!(
                ", and {} more until the cut",
                found.saturating_sub(committed)
            ),
        ),
    };
    ensure!(
        is_right,
        "the database has {found} transfers, {committed} were committed"
    );
    holds(&format!(
        "SQLite's integrity check and every balance are right; all {committed} transfers that \
         were committed are there{more}"
    ));
    Ok(())
}

/// What was unprotected at first still is, and nothing else.
fn designation_is_there(setup: &Setup) -> Result<()> {
    let now = maps::sysfs("protection_map", setup.chunks)?;
    let expected = Chunks::all(setup.chunks).minus(&setup.unwanted);
    now.must_be(&expected, "the designation is not what it was")?;
    holds("the designation is there: protected are all but swap and scratch files");
    Ok(())
}
