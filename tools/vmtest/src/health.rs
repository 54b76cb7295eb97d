// SPDX-License-Identifier: GPL-2.0

//! Whether the machine is as it was before a test: no device, no reference, no kernel report, no
//! leak.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Result;
use vmtest::cmd;
use vmtest::kmsg;
use vmtest::node::read_number;
use vmtest::nullblk;

const LEAKS: &str = "/sys/kernel/debug/kmemleak";

/// Whether this kernel checks itself, and is slow.
pub fn debug_kernel() -> bool {
    Path::new(LEAKS).exists() || Path::new("/proc/lockdep").exists()
}

/// Returns how long something may take that takes so many seconds at most on the normal kernel.
pub fn within(seconds: u64) -> Duration {
    let factor = if debug_kernel() { 30 } else { 1 };
    Duration::from_secs(seconds * factor)
}

/// Fails when something was left behind, and removes it, so that the next test has a chance.
pub fn check() -> Result<()> {
    let mut left = Vec::new();
    // Mounts first, they hold devices.
    for mount in mounts() {
        left.push(format!("a mount at {mount}"));
        let _ = cmd::output("umount", &["-l", &mount], "");
    }
    let devices = mapped()?;
    for name in &devices {
        left.push(format!("the device {name}"));
    }
    remove_mapped(devices)?;
    for entry in fs::read_dir(nullblk::CONFIG)?.flatten() {
        if entry.file_type()?.is_dir() {
            left.push(format!("null_blk {}", entry.path().display()));
            let _ = fs::remove_dir(entry.path());
        }
    }
    let loops = cmd::run("losetup", &["-n", "-O", "NAME"])?;
    for name in loops.lines().map(str::trim).filter(|l| !l.is_empty()) {
        left.push(format!("the loop device {name}"));
        let _ = cmd::output("losetup", &["-d", name], "");
    }
    if !left.is_empty() {
        bail!("left behind: {}", left.join(", "));
    }
    references()
}

/// Nobody may use the module. The last user may be just about to let go.
fn references() -> Result<()> {
    let path = "/sys/module/dm_preserve/refcnt";
    if !Path::new(path).exists() {
        return Ok(());
    }
    for _ in 0..100 {
        if read_number(path)? == 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("the module is still in use (refcnt {})", read_number(path)?)
}

fn mounts() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let on_mapped = mounts.lines().filter(|line| line.starts_with("/dev/dm-"));
    on_mapped
        .filter_map(|line| line.split(' ').nth(1).map(str::to_string))
        .collect()
}

/// The names of all device-mapper devices.
fn mapped() -> Result<Vec<String>> {
    let list = cmd::run("dmsetup", &["ls"])?;
    let names = list.lines().filter_map(|line| line.split_once('\t'));
    Ok(names.map(|(name, _)| name.to_string()).collect())
}

/// Views before live devices before origins: who goes last is found out by trying.
fn remove_mapped(mut names: Vec<String>) -> Result<()> {
    for round in 0..names.len() * 2 {
        let force: &[&str] = if round > names.len() {
            &["--force"]
        } else {
            &[]
        };
        let mut rest = Vec::new();
        for name in names {
            let args = [&["10", "dmsetup", "remove"], force, &[&name]].concat();
            if !cmd::output("timeout", &args, "")?.ok {
                rest.push(name);
            }
        }
        names = rest;
        if names.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Fails when the kernel has said that something is wrong with it.
pub fn reports(lines: &[String]) -> Result<()> {
    let alarms = kmsg::alarms(lines);
    let Some(first) = alarms.first() else {
        return Ok(());
    };
    let at = lines.iter().position(|line| line == *first).unwrap_or(0);
    let shown = lines.iter().skip(at).take(40).cloned();
    bail!(shown.collect::<Vec<_>>().join("\n"))
}

/// Fails when kmemleak, if this kernel has it, knows of something that the module has lost.
pub fn leaks() -> Result<()> {
    if !Path::new(LEAKS).exists() {
        return Ok(());
    }
    // Only what has been lost for five seconds is reported, and only by a second scan.
    for _ in 0..2 {
        thread::sleep(Duration::from_secs(6));
        fs::write(LEAKS, "scan")?;
    }
    let report = fs::read_to_string(LEAKS)?;
    let ours = report
        .split("unreferenced object")
        .filter(|object| object.contains("dm_preserve"));
    let objects: Vec<&str> = ours.take(3).collect();
    ensure!(
        objects.is_empty(),
        "kmemleak reports {}",
        objects.join("\n")
    );
    Ok(())
}
