// SPDX-License-Identifier: GPL-2.0

//! Says what is done and does it: commands are shown as a user would type them, then run.

#![forbid(unsafe_code)]

use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

/// A new chapter.
pub fn heading(text: &str) {
    println!("\n== {text}\n");
}

/// A remark.
pub fn say(text: &str) {
    println!("{text}");
}

/// A check that held. One that does not is an error, and the end.
pub fn holds(text: &str) {
    println!("  ok: {text}");
}

/// Shows a command, runs it, shows what it prints; the result is that.
pub fn show(line: &str) -> Result<String> {
    Ok(timed(line)?.0)
}

/// The same, with how long it took.
pub fn timed(line: &str) -> Result<(String, Duration)> {
    println!("# {line}");
    let begin = Instant::now();
    let output = run(line)?;
    let time = begin.elapsed();
    for line in output.lines() {
        println!("  {line}");
    }
    Ok((output, time))
}

/// Runs a command line that must succeed, without a word; the result is its output.
pub fn run(line: &str) -> Result<String> {
    let output = Command::new("sh")
        .args(["-c", line])
        .output()
        .with_context(|| format!("cannot run: {line}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`{line}` failed ({}):\n{stdout}{stderr}",
        output.status
    );
    // What a tool has to say besides its result is worth reading too.
    stderr.lines().for_each(|line| println!("  {line}"));
    Ok(stdout.into_owned())
}

/// A number of seconds, as the table shows it.
pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
