// SPDX-License-Identifier: GPL-2.0

//! Running programs: to their end, or in the background while a test goes on.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

/// What a program left behind.
#[derive(Debug)]
pub struct Output {
    /// It ended with status 0.
    pub ok: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    // Without udev, libdevmapper has to make the nodes itself, and must not wait for anybody.
    command.args(args).env("DM_DISABLE_UDEV", "1");
    command
}

/// Runs a program with `input`, whatever its status.
pub fn output(program: &str, args: &[&str], input: &str) -> Result<Output> {
    let mut child = command(program, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input is no error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    Ok(Output {
        ok: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a program that must succeed, with `input`; the result is its output.
pub fn run_with(program: &str, args: &[&str], input: &str) -> Result<String> {
    let output = output(program, args, input)?;
    ensure!(
        output.ok,
        "{program} {} failed: {}{}",
        args.join(" "),
        output.stderr.trim(),
        output.stdout.trim()
    );
    Ok(output.stdout)
}

/// Runs a program that must succeed; the result is its output.
pub fn run(program: &str, args: &[&str]) -> Result<String> {
    run_with(program, args, "")
}

/// A program in the background; killed when dropped.
pub struct Background {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Background {
    /// Starts a program.
    pub fn start(program: &str, args: &[&str]) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = PathBuf::from(format!("/tmp/vmtest-{}-{number}", std::process::id()));
        let file = File::create(&log)?;
        let child = command(program, args)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        Ok(Background {
            name: program.to_string(),
            child,
            log,
        })
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end, at most so long; it must have succeeded.
    pub fn finish(mut self, limit: Duration) -> Result<String> {
        let Some(status) = self.wait(limit)? else {
            bail!(
                "{} still runs after {limit:?}: {}",
                self.name,
                self.output()
            );
        };
        let output = self.output();
        ensure!(status.success(), "{}: {status}: {output}", self.name);
        Ok(output)
    }

    /// Waits for its end, at most so long.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if start.elapsed() > limit {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it; it may take a while to end, or never do.
    pub fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill()?)
    }

    /// What it has said so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}

/// Waits until something holds.
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !holds()? {
        ensure!(
            start.elapsed() < limit,
            "waited {limit:?} in vain until {what}"
        );
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
