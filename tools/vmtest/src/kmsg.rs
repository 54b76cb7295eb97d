// SPDX-License-Identifier: GPL-2.0

//! The kernel's log, from a moment on.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::ErrorKind;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use rustix::fs::OFlags;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// What the kernel says when something is wrong with it; `scripts/vm` looks for the same.
const ALARMS: &str = include_str!("../../../kernel/alarms");

/// A place in the log.
pub struct Kmsg {
    file: File,
}

impl Kmsg {
    /// From now on.
    pub fn now() -> Result<Self> {
        let file = File::options()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open("/dev/kmsg")
            .context("cannot open /dev/kmsg")?;
        rustix::fs::seek(&file, SeekFrom::End(0))?;
        Ok(Kmsg { file })
    }

    /// What has been said since the last call.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut record = vec![0; 16384];
        loop {
            match self.file.read(&mut record) {
                Ok(0) => return Ok(lines),
                Ok(n) => {
                    let text = String::from_utf8_lossy(&record[..n]).into_owned();
                    let said = text.split_once(';').map_or(text.as_str(), |(_, said)| said);
                    lines.extend(said.lines().take(1).map(str::to_string));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(lines),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // Overwritten before we came; the rest goes on.
                Err(e) if e.raw_os_error() == Some(Errno::PIPE.raw_os_error()) => {
                    lines.push("(some messages were lost)".to_string());
                }
                Err(e) => bail!("reading /dev/kmsg: {e}"),
            }
        }
    }
}

/// The lines that mean that something is wrong with the kernel.
pub fn alarms(lines: &[String]) -> Vec<&String> {
    let is_alarm = |line: &&String| ALARMS.lines().any(|alarm| line.contains(alarm));
    lines.iter().filter(is_alarm).collect()
}

#[cfg(test)]
mod unit {
    use super::alarms;

    /// An empty line of the list would be in everything.
    #[test]
    fn an_alarm_is_told_from_a_message() {
        let say = |text: &str| vec![text.to_string()];
        assert!(!alarms(&say("WARNING: CPU: 0 PID: 1 at kernel/x.c")).is_empty());
        assert!(!alarms(&say("BUG: KASAN: use-after-free in x")).is_empty());
        assert!(alarms(&say("device-mapper: preserve: activated in 3 ms")).is_empty());
    }
}
