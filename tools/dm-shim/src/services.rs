// SPDX-License-Identifier: GPL-2.0

//! Small services of the kernel.

#![forbid(unsafe_code)]

use kernel::machine;
use kernel::prelude::*;
use std::cell::Cell;

const NS_PER_MS: u64 = 1_000_000;

thread_local! {
    static BOOT_ID: Cell<[u8; 36]> = const { Cell::new([0; 36]) };
}

/// Says which boot this is.
pub fn set_boot_id(number: u64) {
    let text = format!("{number:08x}-0000-4000-8000-000000000000");
    if let Ok(text) = <[u8; 36]>::try_from(text.as_bytes()) {
        BOOT_ID.set(text);
    }
}

/// Returns the boot's id as text.
///
/// Errors: none here.
pub fn boot_id_text() -> Result<[u8; 36]> {
    Ok(BOOT_ID.get())
}

/// Reports a mistake of the module's code.
///
/// # Panics
///
/// Always.
pub fn bug(what: &str) {
    panic!("BUG: {what}");
}

/// CRC-32C.
pub fn crc32c(before: u32, data: &[u8]) -> u32 {
    crc32c::crc32c_append(before, data)
}

/// Returns true if the caller is to end. Nobody is here.
pub fn is_killed() -> bool {
    false
}

/// Lets other tasks run.
pub fn let_others_run() {
    machine::might_sleep();
    machine::point();
}

/// Returns the time since the machine began.
pub fn monotonic_ns() -> u64 {
    machine::now()
}

/// Returns the time of the calendar.
pub fn now_ns() -> u64 {
    1_700_000_000_000_000_000 + machine::now()
}

/// Returns a UUID.
pub fn random_uuid() -> [u8; 16] {
    let mut uuid = [0; 16];
    for part in uuid.chunks_mut(8) {
        part.copy_from_slice(&machine::random().to_le_bytes());
    }
    uuid
}

/// Sleeps. Returns true, as no task is killed here.
pub fn sleep_ms(milliseconds: u32) -> bool {
    machine::sleep(u64::from(milliseconds) * NS_PER_MS);
    true
}

/// Waits until the interrupts that are being handled have been.
pub fn synchronize_rcu() {
    machine::wait_for_interrupts();
}
