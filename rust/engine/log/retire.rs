// SPDX-License-Identifier: GPL-2.0

//! The work of the [log](crate::engine::log): takes in the records that have been written.

#![forbid(unsafe_code)]

use crate::dm::GatherDone;
use crate::dm::NoIo;
use crate::dm::Status;
use crate::engine::log::contents::Copy;
use crate::engine::log::pending::Lane;
use crate::engine::log::Inner;
use crate::engine::log::Log;
use crate::engine::log::RecordTag;
use crate::engine::log::Write;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;
use kernel::workqueue::WorkItem;

impl GatherDone<Copy> for RecordTag {
    fn done(mut gather: Write, status: Status) {
        gather.data.status = status;
        // Not the last reference: a session ends when no record is in flight, and an engine after
        // all `done`s (which are RCU read-side sections).
        if let Some(log) = gather.data.log.take() {
            log.written.push(gather);
            log.retire_soon();
        }
    }
}

impl Log {
    /// Takes in the records that have been written, and makes more. This is the log's work.
    fn run_work(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        let mut written = self.written.take();
        while let Some(write) = written.pop() {
            let sequence = write.data.sequence;
            let mut flights = inner.flights.iter_mut();
            if let Some(flight) = flights.find(|flight| flight.sequence == sequence) {
                flight.written = Some(write);
            }
        }
        self.retire_records(&mut inner);
        self.form_records(&mut inner);
        drop(inner);
        self.progress.notify_all();
        if self.has_failed() {
            // The checkpoint's work gives the store up: here nothing is waited for.
            self.waker.start_checkpoint();
        }
        self.waker.take_in();
    }

    /// Takes the durable records off the front of the list of flights.
    fn retire_records(self: &Arc<Self>, inner: &mut Inner) {
        while inner
            .flights
            .first()
            .is_some_and(|first| first.written.is_some())
        {
            let Ok(flight) = inner.flights.remove(0) else {
                return;
            };
            let Some(mut write) = flight.written else {
                return;
            };
            if write.data.status != Status::OK && !self.has_failed() {
                self.set_failed();
            }
            // After a failure nothing later counts, whether it was written or not.
            let failed = self.has_failed();
            if !failed {
                inner.durable = flight.sequence + 1;
                for lane in Lane::ALL {
                    let durable = &self.durable[lane as usize];
                    durable.store(flight.tickets[lane as usize], Release);
                }
            }
            let mut parts = write.take_parts();
            while let Some(io) = parts.pop() {
                self.give_back_contents(io, failed);
            }
            inner.idle.push(write);
        }
    }
}

impl WorkItem for Log {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let _noio = NoIo::enter();
        this.run_work();
    }
}
