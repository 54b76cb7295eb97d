// SPDX-License-Identifier: GPL-2.0

//! Transactions, through an `sqlite3` that runs all the time.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::Command;
use std::process::Stdio;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use super::Random;
use super::Shared;
use crate::bank;

/// Writes until told to stop.
pub fn write(shared: &Shared) -> Result<()> {
    let mut child = Command::new("sqlite3")
        .args(["-bail", bank::PATH])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot run sqlite3")?;
    let mut sql = child.stdin.take().context("no pipe to sqlite3")?;
    let mut random = Random(0x0dd0_ba11);
    // FULL: a transaction is on the disk when it is over. Checkpoints come often, so that the main
    // file changes.
    sql.write_all(b".timeout 20000\nPRAGMA synchronous=FULL;\nPRAGMA wal_autocheckpoint=200;\n")?;
    // A full pipe makes us wait, so that we are never far ahead.
    while shared.next(3) {
        let payer = 1 + random.below(bank::ACCOUNTS);
        let payee = 1 + random.below(bank::ACCOUNTS);
        let transfer = bank::transfer(payer, payee, random.below(100));
        sql.write_all(transfer.as_bytes())
            .context("sqlite3 takes no more transactions")?;
    }
    drop(sql);
    let status = child.wait()?;
    ensure!(status.success(), "sqlite3 failed: {status}");
    Ok(())
}
