// SPDX-License-Identifier: GPL-2.0

//! What a target tells in text: its status, its table line, and replies to messages.
//!
//! C header: [`include/linux/device-mapper.h`](srctree/include/linux/device-mapper.h)

use core::fmt;

/// What a status call asks for. Represents the C type `status_type_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusKind {
    /// `dmsetup status` (`STATUSTYPE_INFO`).
    Info,
    /// `dmsetup table` (`STATUSTYPE_TABLE`).
    Table,
    /// Measurement for the integrity subsystem (`STATUSTYPE_IMA`). See
    /// `Documentation/admin-guide/device-mapper/dm-ima.rst`.
    Ima,
}

/// Writes text to the buffer that device-mapper gives for status and replies (`dm_status_fn`,
/// `dm_message_fn`); what does not fit is cut, and device-mapper then asks again with a larger
/// buffer. As `DMEMIT()` does.
pub struct StatusWriter<'a> {
    buffer: &'a mut [u8],
    used: usize,
}

impl<'a> StatusWriter<'a> {
    /// Starts with an empty string.
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        if let Some(first) = buffer.first_mut() {
            *first = 0;
        }
        Self { buffer, used: 0 }
    }

    /// Whether nothing has been written.
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }
}

impl fmt::Write for StatusWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.buffer.len().saturating_sub(self.used + 1);
        let part = text
            .as_bytes()
            .get(..text.len().min(room))
            .ok_or(fmt::Error)?;
        let end = self.used + part.len();
        self.buffer
            .get_mut(self.used..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(part);
        if let Some(nul) = self.buffer.get_mut(end) {
            *nul = 0;
        }
        self.used = end;
        Ok(())
    }
}
