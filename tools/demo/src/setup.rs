// SPDX-License-Identifier: GPL-2.0

//! Before the first snapshot: the live device, its filesystem, what is on it, and what of it is
//! unprotected.

#![forbid(unsafe_code)]

use std::env;
use std::path::Path;

use anyhow::ensure;
use anyhow::Result;

use crate::bank;
use crate::chunks::Chunks;
use crate::maps;
use crate::tell::heading;
use crate::tell::run;
use crate::tell::say;
use crate::tell::show;

/// The live device's name.
pub const NAME: &str = "live";
/// The swap file.
pub const SWAP: &str = "/live/swapfile";
/// Scratch files that are rewritten in place.
pub const SCRATCH: [&str; 3] = [
    "/live/scratch/render.tmp",
    "/live/scratch/sort.tmp",
    "/live/scratch/upload.tmp",
];
/// MiB of the swap file, and of each scratch file.
const SWAP_MIB: u32 = 40;
const SCRATCH_MIB: u32 = 2;

/// What stays the same in all rounds.
pub struct Setup {
    /// Chunks of the live device.
    pub chunks: usize,
    /// Where swap and scratch files lie, as the filesystem says.
    pub unwanted: Chunks,
    /// Where the swap file alone lies.
    pub swap: Chunks,
}

impl Setup {
    /// Makes all of it.
    pub fn new() -> Result<Self> {
        heading("The live device");
        load_module()?;
        show("preserve create live --origin /dev/vdb --store /dev/vdc")?;
        show("mkfs.ext4 -q -b 4096 /dev/mapper/live")?;
        show("mkdir -p /live /backup && mount /dev/mapper/live /live")?;

        heading("What is on it");
        let tree = env::var("DEMO_TREE").unwrap_or_else(|_| "/dev/vda".into());
        say("A real file tree:");
        show(&format!("tar -C /live -xf {tree}"))?;
        show("find /live/Documentation -type f | wc -l; df -h /live")?;
        say("A database:");
        bank::create()?;
        say("A swap file, in use, and scratch files; nobody needs their content after a restore:");
        show(&format!(
            "dd if=/dev/zero of={SWAP} bs=1M count={SWAP_MIB} status=none && chmod 600 {SWAP}"
        ))?;
        show(&format!(
            "mkswap {SWAP} >/dev/null && sync && swapon {SWAP}"
        ))?;
        run("mkdir /live/scratch")?;
        for file in SCRATCH {
            run(&format!(
                "dd if=/dev/zero of={file} bs=1M count={SCRATCH_MIB} status=none"
            ))?;
        }
        show("sync; ls -lh /live/swapfile /live/scratch")?;

        heading("What need not be preserved");
        say(
            "Everything is protected unless we say otherwise. The filesystem knows where the \
             files lie:",
        );
        show("preserve unprotect live --file /live/swapfile --file /live/scratch --glob '*.tmp'")?;
        show("preserve status live")?;

        heading("Where backups go");
        show("mkfs.ext4 -q /dev/vdd && mount /dev/vdd /backup")?;
        Self::look()
    }

    /// Finds out where things are.
    pub fn look() -> Result<Self> {
        let chunks = maps::total_chunks()?;
        let swap = maps::file_extents(&[SWAP], chunks)?;
        let scratch = maps::file_extents(&SCRATCH, chunks)?;
        let expected = SWAP_MIB as usize * 256;
        ensure!(
            swap.count() == expected,
            "the swap file has {} chunks and not {expected}",
            swap.count()
        );
        let mut unwanted = swap.clone();
        unwanted.join(&scratch);
        Ok(Setup {
            chunks,
            unwanted,
            swap,
        })
    }
}

/// Loads it, if need be.
pub fn load_module() -> Result<()> {
    // In `make shell` it is there already.
    if Path::new("/sys/module/dm_preserve").exists() {
        return Ok(());
    }
    show("insmod /lib/dm-preserve.ko").map(drop)
}

/// Ends the use of the live device, so that a leak or a hang would be seen.
pub fn take_down() -> Result<()> {
    heading("Taking it down");
    show(&format!("swapoff {SWAP}"))?;
    show("umount /live /backup")?;
    show("preserve remove live")?;
    show("rmmod dm_preserve").map(drop)
}
