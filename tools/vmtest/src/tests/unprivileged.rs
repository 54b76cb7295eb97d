// SPDX-License-Identifier: GPL-2.0

//! Callers without CAP_SYS_ADMIN are refused everywhere: other users, and a root that has lost its
//! capabilities. The calls are made by this program, started again through setpriv.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::process::ExitCode;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::DeviceNumber;
use preserve::uapi::Range;
use preserve::uapi::CONTROL_PATH;
use rustix::fs::chmod;
use rustix::fs::Mode;
use vmtest::cmd;
use vmtest::control::Control;
use vmtest::disk::Buffer;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("unprivileged_callers_are_refused", refused),
    test("privileged_callers_are_not", control_group),
];

/// The verb that makes the calls: `probe MAJOR MINOR SYSFS-DIRECTORY NAME ID`.
pub const PROBE: &str = "probe";

/// Makes every call there is, and prints what was not refused.
pub fn probe(args: &[String]) -> Result<ExitCode> {
    let [major, minor, sysfs, name, id] = args else {
        anyhow::bail!("probe: five words");
    };
    let device = DeviceNumber {
        major: major.parse()?,
        minor: minor.parse()?,
    };
    let id: u64 = id.parse()?;
    let mut done = Vec::new();
    let mut tried = |what: &str, result: io::Result<()>| match result {
        Ok(()) => done.push(what.to_string()),
        Err(e) => {
            let refused = [Some(libc::EPERM), Some(libc::EACCES)].contains(&e.raw_os_error());
            if !refused {
                done.push(format!("{what} ({e})"));
            }
        }
    };
    match Control::open(device) {
        Err(e) => tried("open", Err(e)),
        Ok(control) => {
            let range = Range { start: 0, len: 8 };
            tried("version", control.version().map(drop));
            tried("info", control.info().map(drop));
            tried("list", control.at_least(1).map(drop));
            tried("read", control.read(id, 0, &mut Buffer::new(8)).map(drop));
            tried("wait", control.wait(99, 0).map(drop));
            tried("edit", control.edit(true, &[range]));
            tried("release", control.release(id, 0, 8));
            tried("snapshot", control.snapshot().map(drop));
            tried("forget", control.forget(id));
            tried("drop", control.drop_snapshot(id));
        }
    }
    // As another user even opening fails; as root without capabilities, only what needs one.
    let root = rustix::process::getuid().is_root();
    for file in ["snapshot_map", "backup_map", "protection_map"] {
        let read = fs::read(format!("{sysfs}/{file}")).map(drop);
        if !(root && read.is_ok()) {
            tried(file, read);
        }
    }
    for (file, text) in [
        ("snapshot", "full"),
        ("protect", "0+8"),
        ("unprotect", "0+8"),
    ] {
        tried(file, fs::write(format!("{sysfs}/{file}"), text));
    }
    for message in ["snapshot", "drop 1", "protect 0 8", "checkpoint"] {
        let mut words = vec!["message", name.as_str(), "0"];
        words.extend(message.split(' '));
        let output = cmd::output("dmsetup", &words, "")?;
        if output.ok {
            done.push(format!("message {message}"));
        }
    }
    println!("{}", done.join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// Runs the probe through setpriv; the result is what was not refused.
fn run_probe(rig: &Rig, id: u64, privileges: &[&str]) -> Result<Vec<String>> {
    let program = std::env::current_exe()?;
    let device = rig.dm.device();
    let words = [
        program
            .to_str()
            .context("the path of this program")?
            .to_string(),
        PROBE.to_string(),
        device.major.to_string(),
        device.minor.to_string(),
        rig.sysfs_path("").trim_end_matches('/').to_string(),
        rig.dm.name().to_string(),
        id.to_string(),
    ];
    let mut args = privileges.to_vec();
    args.extend(words.iter().map(String::as_str));
    let output = cmd::run("setpriv", &args)?;
    Ok(output
        .lines()
        .filter(|l| !l.is_empty())
        .map(str::to_string)
        .collect())
}

fn refused(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let id = rig.snapshot()?;
    let state = || -> Result<_> { Ok((rig.status()?, rig.map("protection_map")?)) };
    let before = state()?;
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let nothing = ["--bounding-set=-all", "--inh-caps=-all"];
    let as_root = nothing.to_vec();
    let as_nobody = [&nobody[..], &nothing].concat();
    for (who, privileges) in [
        ("nobody", &as_nobody),
        ("root without capabilities", &as_root),
    ] {
        let done = run_probe(&rig, id, privileges)?;
        ensure!(done.is_empty(), "{who} was not refused: {done:?}");
        ensure!(state()? == before, "{who} has changed something");
    }
    // Nor when the node's mode is wrong.
    let mode = fs::metadata(CONTROL_PATH)?;
    chmod(CONTROL_PATH, Mode::from_raw_mode(0o666))?;
    let done = run_probe(&rig, id, &as_nobody);
    chmod(
        CONTROL_PATH,
        Mode::from_raw_mode(std::os::unix::fs::MetadataExt::mode(&mode) & 0o777),
    )?;
    let done = done?;
    ensure!(
        done.is_empty(),
        "nobody was not refused with an open node: {done:?}"
    );
    ensure!(state()? == before, "nobody has changed something");
    Ok(())
}

/// The probe does find what is not refused.
fn control_group(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let id = rig.snapshot()?;
    let done = run_probe(&rig, id, &["--reuid", "0"])?;
    for what in [
        "version",
        "info",
        "read",
        "snapshot",
        "edit",
        "protect",
        "message snapshot",
    ] {
        ensure!(
            done.iter().any(|line| line == what),
            "{what} is not among {done:?}"
        );
    }
    Ok(())
}
