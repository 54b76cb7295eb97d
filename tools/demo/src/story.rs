// SPDX-License-Identifier: GPL-2.0

//! What a guest leaves for the next one, on the disk with the copy: what has happened, and what
//! must be there again.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use preserve::durable;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::bank;
use crate::maps;
use crate::round::Round;

const PATH: &str = "/backup/demo.json";

/// A line of the table.
#[derive(Serialize, Deserialize)]
pub enum Entry {
    /// A backup.
    Round(Round),
    /// A shutdown or a power cut, and what the activation after it had to do.
    Restart(String),
}

/// All that has happened.
#[derive(Default, Serialize, Deserialize)]
pub struct Story {
    /// In its order.
    pub entries: Vec<Entry>,
    /// How long all guests took, without booting.
    pub time: Duration,
    /// The snapshots and bookmarks that there are, as `preserve status` shows them.
    pub snapshots: Vec<Value>,
    /// Transfers committed in the database.
    pub committed: u64,
}

impl Story {
    /// What the guest before has left.
    pub fn load() -> Result<Self> {
        let text = fs::read_to_string(PATH).context(PATH)?;
        serde_json::from_str(&text).context(PATH)
    }

    /// Leaves it for the next guest, durably; with what this one took.
    pub fn save(&mut self, time: Duration) -> Result<()> {
        self.time += time;
        self.snapshots = maps::snapshots()?;
        self.committed = bank::transfers(bank::PATH)?;
        // Whole, or the one before.
        let new = format!("{PATH}.new");
        let file = File::create(&new).context(PATH)?;
        serde_json::to_writer_pretty(&file, self).context(PATH)?;
        file.sync_all().context(PATH)?;
        fs::rename(&new, PATH).context(PATH)?;
        Ok(durable::sync_directory(durable::directory(Path::new(
            PATH,
        )))?)
    }

    /// The last backup.
    pub fn last(&self) -> Result<&Round> {
        let mut rounds = self.entries.iter().rev().filter_map(|entry| match entry {
            Entry::Round(round) => Some(round),
            Entry::Restart(_) => None,
        });
        rounds.next().context("there was no backup before")
    }
}
