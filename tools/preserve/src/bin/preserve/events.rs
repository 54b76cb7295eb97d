// SPDX-License-Identifier: GPL-2.0

//! `events`: waits for them and prints each.

#![forbid(unsafe_code)]

use preserve::device::Live;
use preserve::device::Source;
use preserve::uapi;
use preserve::Result;
use serde_json::json;

use crate::output::Output;

const NAMES: [(u32, &str); 8] = [
    (uapi::EVENT_SNAPSHOT, "snapshot"),
    (uapi::EVENT_DROPPED, "dropped"),
    (uapi::EVENT_INVALID, "invalid"),
    (uapi::EVENT_LOW_SPACE, "low-space"),
    (uapi::EVENT_BLOCKED, "blocked"),
    (uapi::EVENT_GONE, "gone"),
    (uapi::EVENT_DAMAGED, "damaged"),
    (uapi::EVENT_FAILED, "failed"),
];

pub fn events(name: &str, count: Option<u64>, output: Output) -> Result<()> {
    let live = Live::open(name)?;
    let mut seen = live.info()?.event;
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some((event, kinds)) = live.wait(seen, 60_000)? else {
            continue;
        };
        seen = event;
        left -= 1;
        let kinds: Vec<_> = NAMES
            .iter()
            .filter(|(bit, _)| kinds & bit != 0)
            .map(|(_, name)| *name)
            .collect();
        let result = json!({ "device": live.name(), "event": event, "kinds": kinds });
        output.result(&result, || format!("{event} {}", kinds.join(",")))?;
    }
    Ok(())
}
