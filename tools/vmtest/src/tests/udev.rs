// SPDX-License-Identifier: GPL-2.0

//! Names that stay: DM UUIDs, and which device a filesystem's UUID leads to. The rules of udev and
//! device-mapper are Debian's, ours are those that are installed. `udevadm test` does for a device
//! what udevd does for an event of it; the daemon itself needs more than the test kernel has.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::cmd;
use vmtest::dm::Dm;
use vmtest::loopdev::Loop;

use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("devices_get_uuids_that_stay", uuids),
    test("a_view_does_not_take_the_live_devices_name", links),
];

const FS_UUID: &str = "11111111-2222-3333-4444-555555555555";
const LABEL: &str = "vt-data";
const MOUNT: &str = "/tmp/vt-mount";

fn preserve(words: &str) -> Result<String> {
    cmd::run("preserve", &words.split(' ').collect::<Vec<_>>())
}

/// Makes a device with the command, and takes it over.
fn make(name: &str, words: &str) -> Result<Dm> {
    preserve(words)?;
    Dm::adopt(name)
}

fn create(origin: &Loop, store: &Loop, option: &str) -> Result<Dm> {
    let (origin, store) = (origin.path(), store.path());
    let words = format!("create vt-live --origin {origin} --store {store}{option}");
    make("vt-live", &words)
}

fn disks() -> Result<(Loop, Loop)> {
    Ok((Loop::new("vt-origin", 64)?, Loop::new("vt-store", 64)?))
}

/// The name of a device in sysfs.
fn kernel_name(path: &str) -> &str {
    path.trim_start_matches("/dev/")
}

fn dm_uuid(dm: &Dm) -> Result<String> {
    let path = format!("/sys/block/{}/dm/uuid", kernel_name(dm.path()));
    let text = fs::read_to_string(&path).context(path)?;
    Ok(text.trim_end().to_string())
}

fn uuids(_: &Env) -> Result<()> {
    let (origin, store) = disks()?;
    let live = create(&origin, &store, "")?;
    let first = dm_uuid(&live)?;
    ensure!(first.len() == 9 + 36, "the live device is {first:?}");
    preserve("snapshot vt-live")?;
    let key = first.trim_start_matches("PRESERVE-");
    let mut views = Vec::new();
    for (name, end) in [("vt-view", ""), ("vt-second", "-2")] {
        let view = make(name, &format!("view vt-live latest {name}"))?;
        let (found, wanted) = (dm_uuid(&view)?, format!("PRESERVE-VIEW-{key}-1{end}"));
        ensure!(found == wanted, "{name} is {found}, not {wanted}");
        views.push(view);
    }
    drop(views);
    drop(live);
    // It stays, also when the store begins anew, where it is another one's.
    let live = create(&origin, &store, "")?;
    ensure!(
        dm_uuid(&live)? == first,
        "another one at the next activation"
    );
    drop(live);
    let live = create(&origin, &store, " --format")?;
    ensure!(dm_uuid(&live)? != first, "the same one on a new store");
    drop(live);
    let zero = [
        "if=/dev/zero",
        &format!("of={}", store.path()),
        "bs=8k",
        "count=1",
    ];
    cmd::run("dd", &zero)?;
    let live = create(&origin, &store, " --transient")?;
    let status = preserve("status vt-live")?;
    let uuid = dm_uuid(&live)?;
    let key = uuid.trim_start_matches("PRESERVE-");
    ensure!(key.len() == 36 && status.contains(key), "{uuid}: {status}");
    Ok(())
}

/// What rules have made; gone when dropped.
struct Udev;

impl Udev {
    /// An event of a device.
    fn event(&self, path: &str) -> Result<String> {
        let device = format!("/sys/class/block/{}", kernel_name(path));
        cmd::run("udevadm", &["test", "--action=change", &device])
    }

    /// The properties of a device.
    fn properties(&self, path: &str) -> Result<String> {
        let name = format!("--name={path}");
        cmd::run("udevadm", &["info", "--query=property", &name])
    }

    /// Checks where the links by what is in a filesystem lead to.
    fn check(&self, when: &str, wanted: &str) -> Result<()> {
        for link in [format!("by-uuid/{FS_UUID}"), format!("by-label/{LABEL}")] {
            let link = format!("/dev/disk/{link}");
            let found = fs::canonicalize(&link).context(format!("{when}: {link}"))?;
            let found = found.display();
            ensure!(
                found.to_string() == wanted,
                "{when}: {link} leads to {found}, not to {wanted}"
            );
        }
        Ok(())
    }
}

impl Drop for Udev {
    fn drop(&mut self) {
        // What cannot be unmounted is told by whatever comes next.
        let _ = cmd::output("umount", &[MOUNT], "");
        for path in ["/run/udev", "/dev/disk"] {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn links(_: &Env) -> Result<()> {
    let (origin, store) = disks()?;
    let arguments = ["-q", "-F", "-U", FS_UUID, "-L", LABEL, origin.path()];
    cmd::run("mkfs.ext4", &arguments)?;
    let udev = Udev;
    udev.event(origin.path())?;
    udev.check("the origin alone", origin.path())?;
    let live = create(&origin, &store, "")?;
    for path in [live.path(), origin.path()] {
        udev.event(path)?;
        udev.check("the live device", live.path())?;
    }
    preserve("snapshot vt-live")?;
    let view = make("vt-view", "view vt-live latest vt-view")?;
    for path in [view.path(), live.path(), view.path(), origin.path()] {
        udev.event(path)?;
        udev.check("a view", live.path())?;
    }
    // As `umount /srv; mount /srv` does.
    fs::create_dir_all(MOUNT)?;
    cmd::run("mount", &[&format!("UUID={FS_UUID}"), MOUNT])?;
    let mounts = fs::read_to_string("/proc/mounts")?;
    let line = mounts.lines().find(|line| line.contains(MOUNT));
    let line = line.context("nothing is mounted")?;
    ensure!(line.contains(" rw"), "mounted read-only: {line}");
    cmd::run("umount", &[MOUNT])?;
    let properties = udev.properties(view.path())?;
    ensure!(!properties.contains("ID_FS_"), "{properties}");
    ensure!(properties.contains("UDISKS_IGNORE=1"), "{properties}");
    let by_id = format!("/dev/disk/by-id/dm-uuid-{}", dm_uuid(&live)?);
    ensure!(Path::new(&by_id).exists(), "there is no {by_id}");
    Ok(())
}
