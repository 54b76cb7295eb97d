// SPDX-License-Identifier: GPL-2.0

//! Makes and removes device-mapper devices, by `dmsetup`: it takes care of udev and of the nodes in
//! `/dev/mapper`, whether udev runs or not.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use uuid::Uuid;

use crate::error::Context;
use crate::Error;
use crate::Result;

/// Finds out whether a device can be created: device mapper is there, has the target (it loads the
/// module, if that is installed), and has nothing of this name.
pub fn ready(name: &str, target: &str) -> Result<()> {
    dmsetup(&["target-version", target]).map_err(|e| match e {
        Error::Failed(text) => Error::Failed(format!(
            "device mapper has no target {target}: be root, and load the module (insmod \
             dm-preserve.ko); dmsetup says: {text}"
        )),
        other => other,
    })?;
    // For a name that is free it fails, or says so, depending on its version.
    match dmsetup(&["info", name]) {
        Ok(text) if text.contains("State:") => Err(Error::Failed(format!(
            "there is a device {name} already: take another name, or remove it first \
             (`preserve remove {name}`)"
        ))),
        _ => Ok(()),
    }
}

/// What the DM UUID of a live device begins with.
const LIVE: &str = "PRESERVE-";
/// And that of a view, by which the udev rules know it.
const VIEW: &str = "PRESERVE-VIEW-";

/// The DM UUID of a live device, of which `key` is the store's UUID, or its generation if that
/// keeps nothing.
pub fn live_uuid(key: Uuid) -> String {
    format!("{LIVE}{key}")
}

/// The DM UUID of a view. `live`: that of the live device, if it has one; `taken`: those that there
/// are, as a snapshot may have several views.
pub fn view_uuid(live: Option<&str>, generation: Uuid, snapshot: u64, taken: &[String]) -> String {
    let generation = generation.to_string();
    let key = live.and_then(|live| live.strip_prefix(LIVE));
    let first = format!("{VIEW}{}-{snapshot}", key.unwrap_or(&generation));
    let others = (2..).map(|n: u64| format!("{first}-{n}"));
    let mut all = std::iter::once(first.clone()).chain(others);
    let free = all.find(|uuid| !taken.contains(uuid));
    free.unwrap_or(first)
}

/// Gives a device that has none its DM UUID.
///
/// Errors: [`Error::Failed`] with what `dmsetup` says.
pub fn set_uuid(name: &str, uuid: &str) -> Result<()> {
    dmsetup(&["rename", name, "--setuuid", uuid]).map(drop)
}

/// Creates a device with one target over its whole length; returns its node. A view is read-only,
/// and has a DM UUID.
pub fn create(name: &str, sectors: u64, target: &str, view_uuid: Option<&str>) -> Result<PathBuf> {
    let table = format!("0 {sectors} {target}");
    let mut args = vec!["create", name, "--table", &table];
    if let Some(uuid) = view_uuid {
        args.extend(["--readonly", "--uuid", uuid]);
    }
    dmsetup(&args).map_err(|e| match e {
        Error::Failed(text) => Error::Failed(format!(
            "cannot create {name}: {text}; `dmesg` has the reason; table: {table}"
        )),
        other => other,
    })?;
    Ok(PathBuf::from("/dev/mapper").join(name))
}

/// Returns true if a device has the target `preserve`, active or loaded for the next resume.
pub fn is_preserve(name: &str) -> bool {
    let is_ours = |args: &[&str]| {
        let table = dmsetup(args).unwrap_or_default();
        table.split_whitespace().nth(2) == Some("preserve")
    };
    is_ours(&["table", name]) || is_ours(&["table", "--inactive", name])
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
    Err(Error::Failed(
        line.collect::<Vec<_>>().join("; ").to_lowercase(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_has_a_uuid_of_its_own() {
        let generation = Uuid::from_u128(7);
        let live = live_uuid(Uuid::from_u128(1));
        let of = |live, taken: &[String]| view_uuid(live, generation, 3, taken);
        let first = of(Some(&live), &[]);
        assert_eq!(
            first,
            "PRESERVE-VIEW-00000000-0000-0000-0000-000000000001-3"
        );
        let second = of(Some(&live), std::slice::from_ref(&first));
        assert_eq!(second, format!("{first}-2"));
        assert_eq!(
            of(Some(&live), &[second, first.clone()]),
            format!("{first}-3")
        );
        // Without one, or with somebody else's, the generation has to do.
        for live in [None, Some("LVM-abc")] {
            let uuid = of(live, &[]);
            assert_eq!(uuid, format!("PRESERVE-VIEW-{generation}-3"));
        }
        assert!(!live.starts_with(VIEW), "{live} passes for a view");
    }
}
