// SPDX-License-Identifier: GPL-2.0

//! The command line.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Parser;
use clap::Subcommand;

use crate::apply::Apply;
use crate::backup::Backup;
use crate::check::Check;
use crate::check::Store;
use crate::create::args::Create;
use crate::designation::Designation;
use crate::map::Map;
use crate::rollback::Rollback;
use crate::snapshots::Snapshot;
use crate::view::View;

const AFTER_HELP: &str = "\
NAME is a live device: its device-mapper name, /dev/mapper/NAME or /dev/dm-N.

Sizes and ranges: a plain number counts sectors (512 bytes); B, K, M, G, T count bytes in \
powers of 1024.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 no such device, snapshot or bookmark; 4 frozen \
content
is gone; 5 the stream or store is damaged, or the stream does not fit the copy.";

/// Snapshots of selected blocks of a live device, changed-block tracking, and backups.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
pub struct Cli {
    /// Print results as JSON (to stderr when stdout carries a stream)
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress bars and no notices
    #[arg(long, short, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Create a live device over an origin; prints its path
    Create(Create),
    /// Remove a live device or a view
    Remove {
        /// The live device or view
        name: String,
    },
    /// Show one live device with its snapshots, or all
    Status {
        /// The live device; all without it
        name: Option<String>,
    },
    /// Vouch for the unproven snapshots of a store that was not closed: you know that it had not
    /// failed before
    Trust {
        /// The live device
        name: String,
    },
    /// Take a snapshot; prints its id
    Snapshot(Snapshot),
    /// Drop a snapshot; its bookmark stays as a base for backups
    Drop {
        /// The live device
        name: String,
        /// The snapshot, or with --forget also a bookmark
        id: u64,
        /// Forget the bookmark too: no backup can start from it any more
        #[arg(long)]
        forget: bool,
    },
    /// Preserve and back up ranges or files, from the next snapshot on
    Protect(Designation),
    /// Neither preserve nor back up ranges or files, from the next snapshot on
    Unprotect(Designation),
    /// List runs of chunks and their attributes
    Map(Map),
    /// Create a read-only device that shows a snapshot; prints its path
    View(View),
    /// Write a stream of what changed and is protected, as it was at a snapshot
    Backup(Backup),
    /// Bring an image or device to the snapshot that a stream leads to
    Apply(Apply),
    /// Check a stream and show what is in it
    Verify {
        /// The stream's file
        stream: PathBuf,
    },
    /// Bring the origin of a persistent store back to a snapshot, while there is no live device
    Rollback(Rollback),
    /// Check a persistent store that is not in use; changes nothing without --repair
    Check(Check),
    /// Print the metadata of a persistent store that is not in use: a line for each thing
    Dump(Store),
    /// Note that the store of a live device has failed; for the rule of udev that is installed with
    /// this command
    #[command(hide = true)]
    NoteFailed {
        /// The live device
        name: String,
    },
    /// Wait for events and print them
    Events {
        /// The live device
        name: String,
        /// End after so many events
        #[arg(long, short = 'n')]
        count: Option<u64>,
    },
}
