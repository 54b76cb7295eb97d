// SPDX-License-Identifier: GPL-2.0

//! Waits for an instant at which the data is logically consistent: when writes have been idle for a
//! while, or a filesystem is frozen.
//!
//! Only for the ioctl, which holds no lock of device-mapper's: a message runs inside its SRCU
//! section, and freezing there could wait for a suspend that waits for the message.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::BlockDevice;
use crate::engine::Engine;
use crate::engine::Phase;
use kernel::prelude::*;

/// What the caller wants before the instant.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    /// Freeze the filesystem.
    pub(super) freeze: bool,
    /// Wait until no write has been in flight for so many milliseconds.
    pub(super) idle_ms: u32,
    /// Give up waiting after so many milliseconds.
    pub(super) timeout_ms: u32,
}

const DEFAULT_TIMEOUT_MS: u64 = 10_000;
/// How often to look for writes, in milliseconds.
const LOOK_MS: u32 = 2;

/// Waits for idleness and freezes the filesystem as wished, runs `f`, and thaws the filesystem.
///
/// Errors: `ENODEV` for a freeze while the live device is suspended, which would wait for its
/// resume and could not be killed; those of [`wait_idle`], of the freeze and of `f`.
pub(super) fn with<R>(engine: &Engine, wish: Wish, f: impl FnOnce() -> Result<R>) -> Result<R> {
    if !wish.freeze && wish.idle_ms == 0 {
        return f();
    }
    if wish.freeze && engine.phases().now() != Phase::Active {
        return Err(ENODEV);
    }
    let live = BlockDevice::open(engine.device().live(), false)?;
    wait_idle(engine, &live, wish)?;
    let frozen = match wish.freeze {
        true => Some(live.freeze()?),
        false => None,
    };
    let result = f();
    drop(frozen);
    result
}

/// Waits until no write has completed, none has waited for a copy, and no request has been in
/// flight, for long enough.
///
/// Errors: `ETIMEDOUT`, `EINTR`.
fn wait_idle(engine: &Engine, live: &BlockDevice, wish: Wish) -> Result {
    if wish.idle_ms == 0 {
        return Ok(());
    }
    const MS: u64 = 1_000_000;
    let timeout = match wish.timeout_ms {
        0 => DEFAULT_TIMEOUT_MS,
        timeout => u64::from(timeout),
    };
    let begin = dm::monotonic_ns();
    let mut writes = live.writes_completed();
    let mut idle_since = begin;
    loop {
        if !dm::sleep_ms(LOOK_MS) {
            return Err(EINTR);
        }
        let now = dm::monotonic_ns();
        let completed = live.writes_completed();
        if completed != writes || engine.writes().holds_bios() || live.is_busy() {
            writes = completed;
            idle_since = now;
        }
        if now - idle_since >= u64::from(wish.idle_ms) * MS {
            return Ok(());
        }
        if now - begin >= timeout * MS {
            return Err(ETIMEDOUT);
        }
    }
}
