// SPDX-License-Identifier: GPL-2.0

//! Adds entries to the [log](crate::engine::log).

#![forbid(unsafe_code)]

use crate::engine::log::pending::Lane;
use crate::engine::log::Log;
use crate::format::Entry;
use kernel::sync::Arc;

impl Log {
    /// Appends entries that belong together to the log. Returns a ticket to wait for, or `None` if
    /// too many entries wait already, or the log has failed.
    pub(in crate::engine) fn append(
        self: &Arc<Self>,
        lane: Lane,
        entries: &[Entry],
    ) -> Option<u64> {
        if self.has_failed() {
            return None;
        }
        let mut inner = self.inner.lock();
        let ticket = inner.queues[lane as usize].add(entries);
        self.form_records(&mut inner);
        ticket
    }

    /// Appends an entry like [`Log::append`], for the copy in a slot. Until that is settled,
    /// replay begins no later than here.
    pub(in crate::engine) fn append_for_slot(
        self: &Arc<Self>,
        slot: usize,
        entry: Entry,
    ) -> Option<u64> {
        let mut inner = self.inner.lock();
        if self.has_failed() {
            return None;
        }
        if inner.queues[Lane::Copier as usize].is_crowded() {
            return None;
        }
        let place = inner.end.as_ref()?.place();
        let ticket = inner.queues[Lane::Copier as usize].add(&[entry])?;
        if let Some(unsettled) = inner.unsettled.get_mut(slot) {
            *unsettled = Some(place);
        }
        self.form_records(&mut inner);
        Some(ticket)
    }
}
