// SPDX-License-Identifier: GPL-2.0

//! Makes and removes device-mapper devices, by `dmsetup`: it takes care of udev and of the nodes in
//! `/dev/mapper`, whether udev runs or not.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use crate::error::Context;
use crate::Error;
use crate::Result;

/// Finds out whether a device can be created: device mapper is there, has the target (it loads the module, if that is
/// installed), and has nothing of this name.
pub fn ready(name: &str, target: &str) -> Result<()> {
    dmsetup(&["target-version", target]).map_err(|e| match e {
        Error::Failed(text) => Error::Failed(format!(
            "device mapper has no target {target}: be root, and load the module (insmod dm-preserve.ko); dmsetup says: {text}"
        )),
        other => other,
    })?;
    // For a name that is free it fails, or says so, depending on its version.
    match dmsetup(&["info", name]) {
        Ok(text) if text.contains("State:") => Err(Error::Failed(format!(
            "there is a device {name} already: take another name, or remove it first (`preserve remove {name}`)"
        ))),
        _ => Ok(()),
    }
}

/// Creates a device with one target over its whole length; returns its node.
pub fn create(name: &str, sectors: u64, target: &str, read_only: bool) -> Result<PathBuf> {
    let table = format!("0 {sectors} {target}");
    let mut args = vec!["create", name, "--table", &table];
    if read_only {
        args.push("--readonly");
    }
    dmsetup(&args).map_err(|e| match e {
        Error::Failed(text) => Error::Failed(format!(
            "cannot create {name}: {text}; `dmesg` has the reason; table: {table}"
        )),
        other => other,
    })?;
    Ok(PathBuf::from("/dev/mapper").join(name))
}

/// Removes a device, if one of our targets makes it up.
pub fn remove(name: &str) -> Result<()> {
    let table = dmsetup(&["table", name])?;
    let target = table.split_whitespace().nth(2).unwrap_or("nothing");
    if !target.starts_with("preserve") {
        return Err(Error::Missing(format!(
            "{name} is not a preserve device but {target}; use `dmsetup remove`"
        )));
    }
    dmsetup(&["remove", name]).map(drop).map_err(|e| match e {
        Error::Failed(text) if text.contains("busy") => Error::Failed(format!(
            "{name} is in use; unmount it, and remove its views first (`preserve remove VIEWNAME`)"
        )),
        Error::Failed(text) => Error::Failed(format!("cannot remove {name}: {text}")),
        other => other,
    })
}

fn dmsetup<S: AsRef<OsStr>>(args: &[S]) -> Result<String> {
    let output = Command::new("dmsetup")
        .args(args)
        .output()
        .context(|| "cannot run dmsetup (install it)")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && *line != "Command failed.");
/// Returns true if a device has the target `preserve`, active or loaded for the next resume.
pub fn is_preserve(name: &str) -> bool {
    let tables = [["table", name].as_slice(), &["table", "--inactive", name]];
    let targets = tables.map(|args| dmsetup(args).unwrap_or_default());
    targets
        .iter()
        .any(|table| table.split_whitespace().nth(2) == Some("preserve"))
}

    Err(Error::Failed(
        line.collect::<Vec<_>>().join("; ").to_lowercase(),
    ))
}
