// SPDX-License-Identifier: GPL-2.0

//! Memory for the marks and the index, which the copier does not wait for.
//!
//! It takes what can be had at once, then what the [reserve](crate::maps::Reserve) has. What that
//! lacks comes back from work that may wait for memory, and holds nothing meanwhile. If the reserve
//! is empty, a place in the index is refused: the oldest snapshot goes, and the write goes on.

#![forbid(unsafe_code)]

use crate::dm::sleep_ms;
use crate::dm::NoReclaim;
use crate::engine::queues::SharedQueues;
use crate::engine::reserves::NO_MEMORY_MS;
use crate::maps::Allocated;
use crate::maps::Leaf;
use crate::maps::Node;
use crate::maps::Page;
use crate::maps::Reserve;
use crate::maps::Spare;
use crate::maps::Supply;
use kernel::impl_has_work;
use kernel::new_spinlock;
use kernel::new_work;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;
use kernel::sync::SpinLock;
use kernel::workqueue::Work;
use kernel::workqueue::WorkItem;

/// The memory. See the [module's documentation](self).
#[pin_data]
pub(super) struct MapMemory {
    /// A lock that is taken alone.
    #[pin]
    reserve: SpinLock<Reserve>,
    shared: Arc<SharedQueues>,
    /// Nobody needs it any longer.
    has_ended: Atomic<bool>,
    #[pin]
    work: Work<MapMemory>,
}

impl_has_work! {
    impl HasWork<Self> for MapMemory { self.work }
}

impl MapMemory {
    /// Makes a full reserve of so many pages of an index, and what goes with them. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new(pages: usize, shared: Arc<SharedQueues>) -> Result<Arc<Self>> {
        let init = try_pin_init!(Self {
            reserve <- new_spinlock!(Reserve::new(pages)?, "MapMemory::reserve"),
            shared,
            has_ended: Atomic::new(false),
            work <- new_work!("MapMemory::work"),
        }? Error);
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Fills the reserve. Waits for memory as long as somebody may need it.
    fn refill(&self) {
        while !self.has_ended.load(Relaxed) {
            let missing = self.reserve.lock().missing();
            let Some(kind) = missing else {
                return;
            };
            match Spare::new(kind) {
                // Somebody else may have been quicker.
                Ok(spare) => drop(self.reserve.lock().add(spare)),
                Err(_) => {
                    sleep_ms(NO_MEMORY_MS);
                }
            }
        }
    }
}

/// The copier's access to its memory.
pub(super) struct CopierMemory(pub(super) Arc<MapMemory>);

impl CopierMemory {
    fn take<T>(&self, take: impl FnOnce(&mut Reserve) -> T) -> T {
        let mut reserve = self.0.reserve.lock();
        let taken = take(&mut reserve);
        let is_short = reserve.missing().is_some();
        drop(reserve);
        if is_short {
            // Queued already, or it sees that.
            let _ = self.0.shared.waits.enqueue(self.0.clone());
        }
        taken
    }
}

impl Drop for CopierMemory {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Relaxed);
    }
}

impl Supply for CopierMemory {
    fn page(&self) -> Result<KBox<Page>> {
        self.take(Reserve::page)
    }

    fn node(&self) -> Result<Node> {
        self.take(Reserve::node)
    }

    fn leaf(&self) -> Result<Leaf> {
        self.take(Reserve::leaf).or_else(|_| {
            // Without a mark no write passes, whatever is given up. One leaf lets the writes of
            // 32768 chunks pass, which free far more.
            let _scope = NoReclaim::enter();
            Allocated.leaf()
        })
    }
}

impl WorkItem for MapMemory {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.refill();
    }
}
