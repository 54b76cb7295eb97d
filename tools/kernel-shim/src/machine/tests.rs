// SPDX-License-Identifier: GPL-2.0

//! The machine does what it says, and notices what the kernel's checkers would.

#![forbid(unsafe_code)]

use super::*;
use crate::prelude::*;
use crate::sync::Arc;
use crate::sync::CondVar;
use crate::sync::Mutex;
use crate::sync::SpinLock;
use crate::workqueue::Queue;
use crate::workqueue::Work;
use crate::workqueue::WorkItem;
use std::rc::Rc;

fn setup(seed: u64) -> Setup {
    Setup {
        seed,
        odds: 20_000,
        limit: 100_000,
    }
}

/// Three tasks that each write their name twice; returns the order.
fn order(seed: u64) -> String {
    run(setup(seed), || {
        let text = Rc::new(RefCell::new(String::new()));
        for name in ["a", "b", "c"] {
            let text = text.clone();
            spawn(name, move || {
                for _ in 0..2 {
                    text.borrow_mut().push_str(name);
                    point();
                }
            });
        }
        sleep(1_000_000);
        text.take()
    })
}

#[test]
fn a_seed_decides_the_order_and_seeds_differ() {
    let orders: std::collections::BTreeSet<String> = (0..200).map(order).collect();
    assert!(orders.len() > 30, "{}", orders.len());
    assert!((0..20).all(|seed| order(seed) == order(seed)));
}

#[test]
fn a_lock_keeps_others_out_and_a_condition_wakes_who_waits() {
    for seed in 0..100 {
        run(setup(seed), || {
            let shared = Rc::new((Mutex::new(0u64), CondVar::new()));
            for _ in 0..3 {
                let shared = shared.clone();
                spawn("adder", move || {
                    for _ in 0..5 {
                        let mut number = shared.0.lock();
                        let before = *number;
                        point();
                        *number = before + 1;
                        shared.1.notify_all();
                    }
                });
            }
            let mut number = shared.0.lock();
            while *number < 15 {
                shared.1.wait(&mut number);
            }
        });
    }
}

fn panics(what: &str, f: impl FnOnce() + 'static) {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(setup(1), f)));
    let text = caught.unwrap_err();
    let text = text.downcast_ref::<String>().cloned().unwrap_or_else(|| {
        let text = text.downcast_ref::<&str>();
        text.map(|text| text.to_string()).unwrap_or_default()
    });
    assert!(text.contains(what), "{text}");
    // The next run is not disturbed.
    assert_eq!(run(setup(2), || 7), 7);
}

#[test]
fn sleeping_under_a_spin_lock_is_noticed() {
    panics("sleeping in atomic context", || {
        let lock = SpinLock::new(());
        let _held = lock.lock();
        sleep(1);
    });
}

#[test]
fn sleeping_in_an_interrupt_is_noticed() {
    panics("sleeping in atomic context", || {
        interrupt_in(10, || drop(Mutex::new(()).lock()));
        sleep(1_000_000);
    });
}

#[test]
fn waiting_for_ever_is_noticed() {
    panics("these wait for ever: main", || {
        let lock = Mutex::new(());
        let never = CondVar::new();
        never.wait(&mut lock.lock());
    });
}

#[test]
fn going_on_for_ever_is_noticed() {
    panics("does not come to rest", || loop {
        point();
    });
}

struct Counter {
    runs: SpinLock<u64>,
    work: Work<Counter>,
}

crate::impl_has_work! {
    impl HasWork<Self> for Counter { self.work }
}

impl WorkItem for Counter {
    type Pointer = Arc<Counter>;

    fn run(this: Arc<Counter>) {
        sleep(1000);
        *this.runs.lock() += 1;
    }
}

#[test]
fn work_is_done_once_for_each_time_it_is_queued_and_flushing_waits_for_it() {
    for seed in 0..100 {
        run(setup(seed), move || {
            let queue = Queue::new();
            let counter = Counter {
                runs: SpinLock::new(0),
                work: Work::new(),
            };
            let counter = Arc::new(counter, GFP_KERNEL).unwrap();
            let mut queued = 0;
            for _ in 0..10 {
                queued += u64::from(queue.enqueue(counter.clone()).is_ok());
                sleep(500);
            }
            match seed % 2 {
                0 => queue.flush(),
                _ => counter.work.flush(),
            }
            assert_eq!(*counter.runs.lock(), queued);
            assert!(queued > 1);
        });
    }
}
