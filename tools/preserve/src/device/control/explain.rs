// SPDX-License-Identifier: GPL-2.0

//! The control device's error numbers in words, with a remedy.

#![forbid(unsafe_code)]

use std::io;

use rustix::io::Errno;

use crate::Error;

/// That something cannot be done while the live device is suspended.
pub fn suspended(name: &str, what: &str) -> Error {
    Error::Failed(format!(
        "{name}: cannot {what}: the device is suspended; resume it (`dmsetup resume {name}`)"
    ))
}

/// What an ioctl's failure means: `what` was tried on the device `name` and its snapshot `id` (0:
/// none in particular).
pub fn explain(name: &str, what: &str, id: u64, e: io::Error) -> Error {
    let cannot = format!("{name}: cannot {what}");
    match e.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NODEV) => Error::Missing(format!(
            "{name} is not an active preserve device; `preserve status` lists them"
        )),
        Some(Errno::NOENT) if id == 0 => Error::Missing(format!(
            "{cannot}: there is no snapshot yet; take a full one first"
        )),
        Some(Errno::NOENT) => Error::Missing(format!(
            "{cannot}: there is no snapshot or bookmark {id}; `preserve status {name}` lists them"
        )),
        Some(Errno::NODATA) => Error::Gone(format!(
            "{cannot}: content of snapshot {id} is gone (overwritten without a copy); \
             take a new snapshot, and use that"
        )),
        Some(Errno::UCLEAN) => Error::Store(format!(
            "{cannot}: content of snapshot {id} in the store is damaged; take a new snapshot and \
             use that, and run `preserve check` on the store when it is not in use"
        )),
        Some(Errno::PERM) => Error::Failed(format!("{cannot}: be root (CAP_SYS_ADMIN)")),
        Some(Errno::TIMEDOUT) => Error::Failed(format!(
            "{cannot}: writes did not pause in time; allow more with --timeout, or use --freeze"
        )),
        Some(Errno::OVERFLOW) => Error::Failed(format!(
            "{cannot}: too many snapshots were taken since the base (500), or since the oldest \
             one kept (2048); take one incremental since a later base or a full one, or drop or \
             forget the oldest"
        )),
        Some(Errno::RANGE) => Error::Usage(format!(
            "{cannot}: a range does not end within the device; `preserve status {name}` shows \
             its size"
        )),
        _ => Error::Failed(format!("{cannot}: {e}; the kernel log may say more")),
    }
}

/// The store of a device was not closed, and so what was wanted of its snapshot or bookmark `id`
/// (0: the latest) is refused.
pub fn unproven(name: &str, what: &str, id: u64) -> Error {
    let id = match id {
        0 => "the latest snapshot".to_string(),
        id => format!("snapshot {id}"),
    };
    Error::Store(format!(
        "{name}: cannot {what}: {id} is unproven: the store was not closed, and may have failed \
         before the machine stopped. If you know that it had not, say so with \
         `preserve trust {name}`; else drop and forget what is unproven, and make a full backup"
    ))
}
