// SPDX-License-Identifier: GPL-2.0

//! The kernel's boot id: random, and another one each time that a kernel starts. The kernel offers
//! it in `/proc` only.

use super::kernel_mount::KernelMount;
use kernel::prelude::*;

/// Characters of the id as text.
const BOOT_ID_TEXT: usize = 36;

/// The boot id as text, as in `/proc/sys/kernel/random/boot_id`. May sleep; may not be called where
/// the kernel reclaims memory.
///
/// Errors: `ENODEV` without `/proc` in the kernel, and what reading it may end in.
pub fn boot_id_text() -> Result<[u8; BOOT_ID_TEXT]> {
    let mut text = [0; BOOT_ID_TEXT];
    let read = KernelMount::new(c"proc")?.read(c"sys/kernel/random/boot_id", &mut text)?;
    match read == text.len() {
        true => Ok(text),
        false => Err(EIO),
    }
}
