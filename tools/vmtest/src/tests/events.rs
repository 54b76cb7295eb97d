// SPDX-License-Identifier: GPL-2.0

//! Events reach everybody who waits: the ioctl, `dmsetup wait`, polls of `state` and `event`, and
//! uevents.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use anyhow::Result;
use preserve::uapi::EVENT_DROPPED;
use preserve::uapi::EVENT_LOW_SPACE;
use preserve::uapi::EVENT_SNAPSHOT;
use rustix::event::poll;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::io::Errno;
use vmtest::cmd::wait_until;
use vmtest::cmd::Background;
use vmtest::control::Control;
use vmtest::disk::expect_errno;
use vmtest::netlink::Uevents;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("wait_ioctl_returns_events", wait_ioctl),
    test("dmsetup_wait_returns_on_events", dmsetup_wait),
    test("state_and_event_can_be_polled", polls),
    test("events_send_uevents", uevents),
    test("low_space_is_an_event_once", low_space),
];

const LIMIT: Duration = Duration::from_secs(20);

fn wait_ioctl(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let seen = rig.control.info()?.event;
    expect_errno("no event", rig.control.wait(seen, 0), Errno::TIMEDOUT)?;
    let start = Instant::now();
    expect_errno("no event", rig.control.wait(seen, 300), Errno::TIMEDOUT)?;
    ensure!(
        start.elapsed() >= Duration::from_millis(250),
        "waited {:?}",
        start.elapsed()
    );
    let id = rig.snapshot()?;
    let (number, kinds) = rig.control.wait(seen, 0)?;
    ensure!(
        number > seen && kinds == EVENT_SNAPSHOT,
        "event {number}, kinds {kinds}"
    );
    ensure!(rig.number("event")? == number);
    // One that comes while somebody waits.
    let other = Control::open(rig.dm.device())?;
    let waiter = thread::spawn(move || other.wait(number, 15_000));
    thread::sleep(Duration::from_millis(300));
    rig.control.drop_snapshot(id)?;
    let waited = waiter
        .join()
        .map_err(|_| anyhow::anyhow!("the waiter died"))??;
    ensure!(waited == (number + 1, EVENT_DROPPED), "{waited:?}");
    Ok(())
}

fn dmsetup_wait(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let mut waiter = Background::start("dmsetup", &["wait", "--noflush", rig.dm.name(), "0"])?;
    thread::sleep(Duration::from_millis(500));
    ensure!(
        !waiter.ended()?,
        "dmsetup wait did not wait: {}",
        waiter.output()
    );
    rig.snapshot()?;
    waiter.finish(LIMIT)?;
    Ok(())
}

fn polls(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let timeout = |ms: i64| Timespec {
        tv_sec: ms / 1000,
        tv_nsec: ms % 1000 * 1_000_000,
    };
    for name in ["state", "event"] {
        let mut file = File::open(rig.sysfs_path(name))?;
        let mut text = String::new();
        let polled = |file: &File, ms: i64| {
            let mut fds = [PollFd::new(file, PollFlags::PRI)];
            let ready = poll(&mut fds, Some(&timeout(ms)))?;
            anyhow::Ok(ready == 1 && fds[0].revents().contains(PollFlags::PRI))
        };
        // Reading it is what makes the next change news; the last one may still be on its way.
        wait_until("there is no news", LIMIT, || {
            file.seek(SeekFrom::Start(0))?;
            file.read_to_string(&mut text)?;
            Ok(!polled(&file, 300)?)
        })?;
        rig.snapshot()?;
        ensure!(
            polled(&file, 10_000)?,
            "{name}: an event, but the poll did not end"
        );
    }
    Ok(())
}

fn uevents(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let listener = Uevents::listen()?;
    let device = rig.dm.path().trim_start_matches("/dev/").to_string();
    let wanted = |event: &str| {
        [
            "ACTION=change".to_string(),
            "SUBSYSTEM=block".to_string(),
            format!("DEVNAME={device}"),
            format!("PRESERVE_EVENT={event}"),
        ]
    };
    let id = rig.snapshot()?;
    listener.wait_for(&wanted("snapshot"), LIMIT)?;
    rig.control.drop_snapshot(id)?;
    listener.wait_for(&wanted("dropped"), LIMIT)
}

fn low_space(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec {
        store: 100 * 8,
        args: &["low_space=50"],
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    for round in 0..2 {
        rig.snapshot()?;
        rig.wait_store_empty()?;
        let seen = rig.control.info()?.event;
        disk.stamp(0, 49 * 8, 1)?;
        expect_errno(
            "below the mark",
            rig.control.wait(seen, 300),
            Errno::TIMEDOUT,
        )?;
        disk.stamp(49 * 8, 8, 1)?;
        let (number, kinds) = rig.control.wait(seen, 10_000)?;
        ensure!(kinds == EVENT_LOW_SPACE, "round {round}: kinds {kinds}");
        disk.stamp(50 * 8, 40 * 8, 1)?;
        expect_errno("above it", rig.control.wait(number, 300), Errno::TIMEDOUT)?;
    }
    Ok(())
}
