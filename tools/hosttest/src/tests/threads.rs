// SPDX-License-Identifier: GPL-2.0

//! Writers, readers and snapshots at once, on real threads.
//!
//! Covers I1: what a frozen read by rule 5 returns, with a look before and a look after the read of
//! the origin, is the content at the instant. The gate is a lock here, and so is a claim; the looks
//! take none, as in the module.

#![forbid(unsafe_code)]

use super::device::epoch;
use super::device::Copies;
use super::device::FIRST_EPOCH;
use dm_preserve_core::history::Change;
use dm_preserve_core::history::NewSnapshot;
use dm_preserve_core::history::Scope;
use dm_preserve_core::history::Snapshot;
use dm_preserve_core::history::Timeline;
use dm_preserve_core::history::Whereabouts;
use dm_preserve_core::maps::Designation;
use kernel::prelude::*;
use kernel::sync::Arc;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::Release;
use std::sync::Mutex;
use std::sync::RwLock;

/// Few, so that threads meet.
const CHUNKS: u64 = 70;
const SNAPSHOTS: u64 = 150;
/// Snapshots alive at once.
const KEEP: usize = 3;

type List = Timeline<Copies<u64>>;

struct Shared {
    origin: Vec<AtomicU64>,
    claims: Vec<Mutex<()>>,
    gate: RwLock<()>,
    timeline: Mutex<Arc<List>>,
    /// The content at each snapshot.
    frozen: Mutex<BTreeMap<u64, Vec<u64>>>,
    done: AtomicBool,
}

impl Shared {
    fn timeline(&self) -> Arc<List> {
        self.timeline.lock().unwrap().clone()
    }

    fn write(&self, chunk: u64, content: u64) {
        let at = chunk as usize;
        let _claim = self.claims[at].lock().unwrap();
        // What a copy reads stays valid, as nobody else can write a claimed chunk.
        let old = self.origin[at].load(Acquire);
        let _gate = self.gate.read().unwrap();
        let timeline = self.timeline();
        let present = timeline.present().unwrap();
        if !present.marks.get(chunk) {
            if timeline.needs(chunk) {
                present
                    .copies
                    .as_ref()
                    .unwrap()
                    .lock()
                    .unwrap()
                    .insert(chunk, old);
            }
            assert_eq!(present.marks.set(chunk), Some(false));
        }
        self.origin[at].store(content, Release);
    }

    fn snapshot(&self, id: u64, designation: &Arc<Designation>) {
        let now = self.timeline();
        let begin = now.present().unwrap().id + 1;
        let snapshot = Snapshot::new(NewSnapshot {
            id,
            time_ns: 0,
            epoch: begin,
            designation: designation.clone(),
            scope: Scope::Full,
            keep_unprotected: false,
            sectors: CHUNKS * 8,
            chunks: CHUNKS,
            narrowed: true,
        });
        let next = epoch(begin, CHUNKS);
        let all = dm_preserve_core::maps::Chunks {
            start: 0,
            end: CHUNKS,
        };
        next.marks.prepare(all).unwrap();
        let live = now.snapshots();
        let dropped = (live.len() + 1).saturating_sub(KEEP);
        let change = Change {
            begin: Some(next),
            snapshot: Some(snapshot.unwrap()),
            drop_up_to: live[..dropped].last().map_or(0, |s| s.id),
            ..Change::NONE
        };
        let new = Arc::new(now.changed(change).unwrap(), GFP_KERNEL).unwrap();
        let _gate = self.gate.write().unwrap();
        live[..dropped]
            .iter()
            .for_each(|snapshot| snapshot.set_dropped());
        let content = self
            .origin
            .iter()
            .map(|content| content.load(Relaxed))
            .collect();
        self.frozen.lock().unwrap().insert(id, content);
        *self.timeline.lock().unwrap() = new;
    }

    /// Rule 5: `None` when the snapshot was dropped meanwhile.
    fn read(&self, id: u64, chunk: u64) -> Option<u64> {
        loop {
            let timeline = self.timeline();
            let snapshot = timeline.snapshot(id)?;
            match timeline.look(snapshot, chunk) {
                Whereabouts::Epoch(epoch) => {
                    let copy = epoch.copies.as_ref()?.lock().unwrap().get(&chunk).copied();
                    assert!(
                        copy.is_some() || snapshot.is_dropped(),
                        "chunk {chunk} of {id} is gone"
                    );
                    return copy;
                }
                Whereabouts::Origin => {
                    let content = self.origin[chunk as usize].load(Acquire);
                    std::thread::yield_now();
                    let timeline = self.timeline();
                    if matches!(
                        timeline.look(timeline.snapshot(id)?, chunk),
                        Whereabouts::Origin
                    ) {
                        return Some(content);
                    }
                }
            }
        }
    }

    fn write_all_the_time(&self, thread: u64) {
        for n in 1.. {
            if self.done.load(Relaxed) {
                break;
            }
            self.write((n * 31 + thread * 17) % CHUNKS, n * 10 + thread);
        }
    }

    /// Returns how many reads brought content.
    fn read_all_the_time(&self, thread: u64) -> u64 {
        let mut checked = 0;
        for n in 0.. {
            if self.done.load(Relaxed) {
                break;
            }
            let live: Vec<u64> = self.timeline().snapshots().iter().map(|s| s.id).collect();
            let Some(id) = live.get(n as usize % live.len().max(1)) else {
                continue;
            };
            let chunk = (n * 13 + thread) % CHUNKS;
            if let Some(content) = self.read(*id, chunk) {
                let frozen = self.frozen.lock().unwrap()[id][chunk as usize];
                assert_eq!(content, frozen, "I1: chunk {chunk} of snapshot {id}");
                checked += 1;
            }
        }
        checked
    }
}

#[test]
fn frozen_reads_are_right_while_all_goes_on() {
    let first = epoch(FIRST_EPOCH, CHUNKS);
    first
        .marks
        .prepare(dm_preserve_core::maps::Chunks {
            start: 0,
            end: CHUNKS,
        })
        .unwrap();
    let shared = Shared {
        origin: (0..CHUNKS).map(AtomicU64::new).collect(),
        claims: (0..CHUNKS).map(|_| Mutex::new(())).collect(),
        gate: RwLock::new(()),
        timeline: Mutex::new(Arc::new(Timeline::new(first).unwrap(), GFP_KERNEL).unwrap()),
        frozen: Mutex::new(BTreeMap::new()),
        done: AtomicBool::new(false),
    };
    let designation = Arc::new(Designation::new(true), GFP_KERNEL).unwrap();
    let shared = &shared;
    let checked: u64 = std::thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || shared.write_all_the_time(thread));
        }
        let readers: Vec<_> = (0..2)
            .map(|thread| scope.spawn(move || shared.read_all_the_time(thread)))
            .collect();
        for id in 1..=SNAPSHOTS {
            shared.snapshot(id, &designation);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        shared.done.store(true, Relaxed);
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum()
    });
    assert!(checked > 1000, "only {checked} reads");
}
