// SPDX-License-Identifier: GPL-2.0

//! Random histories of a device against a naive one that keeps a full copy for each snapshot.
//!
//! Covers I1 (a frozen read returns the content at the instant or says that there is none; and it
//! does return what rule 2 says is needed), I3 while running (a changed chunk is marked since every
//! snapshot and bookmark), I6 (what nobody needs is not copied), and the rules 1, 2, 3 and 5.

#![forbid(unsafe_code)]

use super::device::epoch;
use super::device::one;
use super::device::Copies;
use super::device::Device;
use super::device::Frozen;
use super::device::FIRST_EPOCH;
use dm_preserve_core::history::Change;
use dm_preserve_core::history::Snapshot;
use dm_preserve_core::history::Timeline;
use dm_preserve_core::history::Whereabouts;
use dm_preserve_core::history::MAX_BOOKMARKS;
use dm_preserve_core::maps::Chunks;
use kernel::alloc::host;
use kernel::prelude::*;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;

const CHUNKS: u64 = 7;

#[derive(Clone, Debug)]
enum Op {
    Write(u64),
    /// The old content cannot be read.
    WriteUnreadable(u64),
    Snapshot {
        base: Option<Index>,
        keep: usize,
    },
    Drop(Index),
    Forget(Index),
    Release(Index, u64, u64),
    Edit(u64, u64, bool),
    Grow,
}

/// Operations; snapshots keep up to `most`.
fn op(most: usize) -> impl Strategy<Value = Op> {
    let snapshot = (proptest::option::of(any::<Index>()), 1..=most);
    prop_oneof![
        24 => (0..CHUNKS).prop_map(Op::Write),
        1 => (0..CHUNKS).prop_map(Op::WriteUnreadable),
        6 => snapshot.prop_map(|(base, keep)| Op::Snapshot { base, keep }),
        2 => any::<Index>().prop_map(Op::Drop),
        2 => any::<Index>().prop_map(Op::Forget),
        2 => (any::<Index>(), 0..CHUNKS, 0..CHUNKS)
            .prop_map(|(id, a, b)| Op::Release(id, a.min(b), a.max(b) + 1)),
        3 => (0..CHUNKS, 0..CHUNKS, any::<bool>())
            .prop_map(|(a, b, on)| Op::Edit(a.min(b), a.max(b) + 1, on)),
        1 => Just(Op::Grow),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Live,
    Bookmark,
    Forgotten,
}

/// What the naive device knows of a snapshot.
struct Record {
    id: u64,
    /// Writes from this one on came after it.
    at: usize,
    /// How many epochs had begun before its own.
    epoch: u64,
    content: Vec<u32>,
    protected: Vec<bool>,
    in_scope: Vec<bool>,
    released: Vec<bool>,
    state: State,
}

/// The naive device.
struct Naive {
    content: Vec<u32>,
    protected: Vec<bool>,
    /// All writes, and the epoch of each.
    writes: Vec<(u64, u64)>,
    /// The present epoch.
    epoch: u64,
    records: Vec<Record>,
    /// First writes of an epoch whose old content could be kept.
    kept: BTreeMap<(u64, u64), u32>,
    keep_unprotected: bool,
}

impl Naive {
    fn written(&self, chunk: u64, from: usize, to: usize) -> bool {
        self.writes[from..to]
            .iter()
            .any(|(_, written)| *written == chunk)
    }

    fn live(&self) -> impl Iterator<Item = &Record> {
        self.records
            .iter()
            .filter(|record| record.state == State::Live)
    }

    /// Rule 2, word for word.
    fn needs(&self, chunk: u64) -> bool {
        let at = chunk as usize;
        self.live().any(|s| {
            !self.written(chunk, s.at, self.writes.len())
                && (self.keep_unprotected || s.protected[at])
                && s.in_scope[at]
                && !s.released[at]
        })
    }

    fn write(&mut self, chunk: u64, content: u32, readable: bool) -> bool {
        let first = !self.writes.contains(&(self.epoch, chunk));
        let keep = first && readable && self.needs(chunk);
        if keep {
            self.kept
                .insert((self.epoch, chunk), self.content[chunk as usize]);
        }
        self.writes.push((self.epoch, chunk));
        self.content[chunk as usize] = content;
        keep
    }

    fn snapshot(&mut self, id: u64, base: Option<u64>, keep: usize) {
        let in_scope = (0..CHUNKS).map(|chunk| match base.map(|base| self.record(base)) {
            None => true,
            Some(base) => {
                !base.protected[chunk as usize] || self.written(chunk, base.at, self.writes.len())
            }
        });
        let in_scope = in_scope.collect();
        self.epoch += 1;
        self.records.push(Record {
            id,
            at: self.writes.len(),
            epoch: self.epoch,
            content: self.content.clone(),
            protected: self.protected.clone(),
            in_scope,
            released: vec![false; CHUNKS as usize],
            state: State::Live,
        });
        let live = self
            .records
            .iter_mut()
            .filter(|record| record.state == State::Live);
        live.rev()
            .skip(keep)
            .for_each(|record| record.state = State::Bookmark);
    }

    fn record(&self, id: u64) -> &Record {
        self.records.iter().find(|record| record.id == id).unwrap()
    }

    fn record_mut(&mut self, id: u64) -> &mut Record {
        self.records
            .iter_mut()
            .find(|record| record.id == id)
            .unwrap()
    }

    fn ids(&self, states: &[State]) -> Vec<u64> {
        let wanted = self
            .records
            .iter()
            .filter(|record| states.contains(&record.state));
        wanted.map(|record| record.id).collect()
    }

    /// Where rule 5 finds a chunk's content, and what it finds there.
    fn look(&self, snapshot: &Record, chunk: u64) -> (Option<u64>, Option<u32>) {
        let since = &self.writes[snapshot.at..];
        match since.iter().find(|(_, written)| *written == chunk) {
            None => (None, Some(self.content[chunk as usize])),
            Some((epoch, _)) => (Some(*epoch), self.kept.get(&(*epoch, chunk)).copied()),
        }
    }
}

fn ids<'a>(
    list: impl IntoIterator<Item = &'a kernel::sync::Arc<dm_preserve_core::history::Snapshot>>,
) -> Vec<u64> {
    list.into_iter().map(|snapshot| snapshot.id).collect()
}

/// All that can be asked is answered the same.
fn check(device: &Device<u32>, naive: &Naive) -> Result<(), TestCaseError> {
    let timeline = &device.timeline;
    prop_assert_eq!(&device.origin, &naive.content);
    let (live, bookmarks) = (naive.ids(&[State::Live]), naive.ids(&[State::Bookmark]));
    prop_assert_eq!(ids(timeline.snapshots()), live.clone());
    prop_assert_eq!(ids(timeline.bookmarks()), bookmarks);
    let all = naive.ids(&[State::Live, State::Bookmark]);
    prop_assert_eq!(timeline.latest().map(|s| s.id), all.last().copied());

    // Rule 1: exactly the epochs that somebody needs, and their copies.
    let oldest = |states: &[State]| {
        naive
            .records
            .iter()
            .filter(|r| states.contains(&r.state))
            .map(|r| r.epoch)
            .min()
    };
    let marks_from = oldest(&[State::Live, State::Bookmark]).unwrap_or(naive.epoch);
    let copies_from = oldest(&[State::Live]).unwrap_or(u64::MAX);
    let epochs: Vec<(u64, bool)> = timeline
        .epochs(0, u64::MAX)
        .map(|epoch| (epoch.id, epoch.copies.is_some()))
        .collect();
    let from = |first: u64| -> Vec<(u64, bool)> {
        let epochs = first..=naive.epoch;
        epochs
            .map(|epoch| (FIRST_EPOCH + epoch, epoch >= copies_from))
            .collect()
    };
    // What the latest snapshot closed stays for the backup map: from the snapshot before it,
    // whatever has become of that one.
    let before = naive.records.iter().rev().nth(1).map_or(0, |r| r.epoch);
    prop_assert_eq!(epochs, from(marks_from.min(before)), "rule 1");
    prop_assert_eq!(
        timeline.present().map(|epoch| epoch.id),
        Some(FIRST_EPOCH + naive.epoch)
    );

    // I6: the store holds what was needed, and nothing else.
    let kept = naive
        .kept
        .iter()
        .filter(|((epoch, _), _)| *epoch >= copies_from);
    let kept: Vec<_> = kept
        .map(|((epoch, chunk), content)| (FIRST_EPOCH + epoch, *chunk, *content))
        .collect();
    prop_assert_eq!(device.copies(), kept);

    for chunk in 0..CHUNKS {
        prop_assert_eq!(
            timeline.needs(chunk),
            naive.needs(chunk),
            "rule 2, chunk {}",
            chunk
        );
        prop_assert_eq!(
            device.designation.get(chunk),
            naive.protected[chunk as usize]
        );
        for id in &live {
            let (snapshot, record) = (timeline.snapshot(*id).unwrap(), naive.record(*id));
            let (place, content) = naive.look(record, chunk);
            // Rule 5.
            let found = match timeline.look(snapshot, chunk) {
                Whereabouts::Origin => None,
                Whereabouts::Epoch(epoch) => Some(epoch.id - FIRST_EPOCH),
            };
            prop_assert_eq!(found, place, "rule 5, snapshot {} chunk {}", id, chunk);
            check_run(timeline, snapshot, chunk)?;
            // I1.
            let visible = if naive.keep_unprotected {
                &naive.protected
            } else {
                &record.protected
            };
            let frozen = match (visible[chunk as usize], content) {
                (false, _) => Frozen::Hole,
                (true, None) => Frozen::Gone,
                (true, Some(content)) => Frozen::Data(content),
            };
            prop_assert_eq!(device.read(*id, chunk), frozen.clone());
            if let Frozen::Data(content) = frozen {
                prop_assert_eq!(
                    content,
                    record.content[chunk as usize],
                    "the naive device is wrong"
                );
            }
        }
    }

    // I3: what was written is marked, since whatever is still known.
    for from in &all {
        let record = naive.record(*from);
        let written = |to: usize| {
            (0..CHUNKS)
                .filter(move |c| naive.written(*c, record.at, to))
                .collect::<Vec<_>>()
        };
        let since = written(naive.writes.len());
        prop_assert_eq!(&device.written(*from, None), &since);
        let run = Chunks {
            start: 1,
            end: CHUNKS - 1,
        };
        let first = since.iter().copied().find(|chunk| run.contains(*chunk));
        prop_assert_eq!(
            timeline.first_marked(timeline.entry(*from).unwrap(), run),
            first
        );
        for to in all.iter().filter(|to| *to >= from) {
            prop_assert_eq!(
                device.written(*from, Some(*to)),
                written(naive.record(*to).at)
            );
        }
    }
    Ok(())
}

/// A look at a run says the same as a look at each of its chunks.
fn check_run(
    timeline: &Timeline<Copies<u32>>,
    snapshot: &Snapshot,
    start: u64,
) -> Result<(), TestCaseError> {
    let at = |chunk: u64| match timeline.look(snapshot, chunk) {
        Whereabouts::Origin => None,
        Whereabouts::Epoch(epoch) => Some(epoch.id),
    };
    for end in start + 1..=CHUNKS {
        let (place, alike) = timeline.look_at_run(snapshot, Chunks { start, end });
        let place = match place {
            Whereabouts::Origin => None,
            Whereabouts::Epoch(epoch) => Some(epoch.id),
        };
        let same = (start..end).take_while(|chunk| at(*chunk) == place).count() as u64;
        prop_assert_eq!(alike, start + same, "run {}..{}", start, end);
    }
    Ok(())
}

fn run(ops: &[Op], default: bool, keep_unprotected: bool) -> Result<(), TestCaseError> {
    let content: Vec<u32> = (0..CHUNKS as u32).collect();
    let mut device = Device::new(content.clone(), default, keep_unprotected);
    let mut naive = Naive {
        content,
        protected: vec![default; CHUNKS as usize],
        writes: Vec::new(),
        epoch: 0,
        records: Vec::new(),
        kept: BTreeMap::new(),
        keep_unprotected,
    };
    let pick =
        |ids: Vec<u64>, index: &Index| (!ids.is_empty()).then(|| ids[index.index(ids.len())]);
    for (content, op) in (1000..).zip(ops) {
        match op {
            Op::Write(chunk) => {
                let copied = device.write(*chunk, content, true);
                prop_assert_eq!(copied, naive.write(*chunk, content, true));
            }
            Op::WriteUnreadable(chunk) => {
                device.write(*chunk, content, false);
                naive.write(*chunk, content, false);
            }
            Op::Snapshot { base, keep } => {
                let bases = naive.ids(&[State::Live, State::Bookmark]);
                let base = base.as_ref().and_then(|index| pick(bases, index));
                let id = device.snapshot(base, *keep).unwrap();
                naive.snapshot(id, base, *keep);
            }
            Op::Drop(index) => {
                if let Some(id) = pick(naive.ids(&[State::Live]), index) {
                    device.drop_snapshot(id).unwrap();
                    naive.record_mut(id).state = State::Bookmark;
                }
            }
            Op::Forget(index) => {
                if let Some(id) = pick(naive.ids(&[State::Bookmark]), index) {
                    device.forget(id).unwrap();
                    naive.record_mut(id).state = State::Forgotten;
                }
            }
            Op::Release(index, start, end) => {
                if let Some(id) = pick(naive.ids(&[State::Live]), index) {
                    device
                        .release(
                            id,
                            Chunks {
                                start: *start,
                                end: *end,
                            },
                        )
                        .unwrap();
                    naive.record_mut(id).released[*start as usize..*end as usize].fill(true);
                }
            }
            Op::Edit(start, end, protect) => {
                device.edit(
                    Chunks {
                        start: *start,
                        end: *end,
                    },
                    *protect,
                );
                naive.protected[*start as usize..*end as usize].fill(*protect);
            }
            // An epoch without a snapshot, as when the device grows (by nothing, here).
            Op::Grow => {
                let begin = Some(epoch(FIRST_EPOCH + naive.epoch + 1, CHUNKS));
                device.timeline = device
                    .timeline
                    .changed(Change {
                        begin,
                        ..Change::NONE
                    })
                    .unwrap();
                naive.epoch += 1;
            }
        }
        check(&device, &naive)?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn same_as_full_copies(ops in proptest::collection::vec(op(4), 0..60), default: bool) {
        run(&ops, default, false)?;
    }

    #[test]
    fn same_as_full_copies_with_unprotected_chunks_kept(
        ops in proptest::collection::vec(op(4), 0..60),
        default: bool,
    ) {
        run(&ops, default, true)?;
    }

    /// With many snapshots at once, so that most operations meet some in the middle.
    #[test]
    fn same_as_full_copies_with_many_snapshots(
        ops in proptest::collection::vec(op(40), 60..160),
        default: bool,
    ) {
        run(&ops, default, false)?;
    }

    /// Whichever allocation fails, the change is an error, and the timeline is as before.
    #[test]
    fn without_memory_nothing_changes(snapshots in 1usize..6, failing in 0u64..12) {
        let mut device = Device::new(vec![0; CHUNKS as usize], true, false);
        for _ in 0..snapshots {
            device.write(1, 1, true);
            device.snapshot(None, 3).unwrap();
        }
        let timeline = &device.timeline;
        let latest = timeline.latest().map(|s| s.id);
        let contents = || {
            let epochs = timeline.epochs(0, u64::MAX).count();
            (ids(timeline.snapshots()), ids(timeline.bookmarks()), epochs)
        };
        let before = contents();
        let begin = Some(epoch(1000, CHUNKS));
        let change = Change { begin, drop: latest, forget: Some(101), ..Change::NONE };
        match host::failing_after(failing, || timeline.changed(change)) {
            Ok(changed) => prop_assert!(changed.snapshots().len() < before.0.len()),
            Err(error) => prop_assert_eq!(error, ENOMEM),
        }
        prop_assert_eq!(before, contents());
    }
}

#[test]
fn bookmarks_are_bounded_and_the_oldest_go() {
    let mut device = Device::new(vec![0; 3], true, false);
    for _ in 0..3 * MAX_BOOKMARKS {
        device.write(1, 1, true);
        device.snapshot(None, 1).unwrap();
    }
    let bookmarks = ids(device.timeline.bookmarks());
    let latest = 100 + 3 * MAX_BOOKMARKS as u64;
    assert!(bookmarks
        .iter()
        .copied()
        .eq(latest - MAX_BOOKMARKS as u64..latest));
    // Rule 1: and with them their epochs.
    assert_eq!(
        device.timeline.epochs(0, u64::MAX).count(),
        MAX_BOOKMARKS + 1
    );
    assert_eq!(device.copies().len(), 0);
}

#[test]
fn many_snapshots_at_once() {
    let mut device = Device::new(vec![0; 3], true, false);
    let first = device.snapshot(None, 1000).unwrap();
    device.write(1, 1, true);
    for n in 2..200 {
        device.snapshot(None, 1000).unwrap();
        device.write(1, n, true);
    }
    assert_eq!(device.timeline.snapshots().len(), 199);
    for id in first..first + 199 {
        assert_eq!(device.read(id, 1), Frozen::Data((id - first) as u32));
        assert_eq!(device.read(id, 2), Frozen::Data(0));
    }
}

/// A drop from the middle frees nothing that an older snapshot needs; with the oldest go its
/// epochs' copies.
#[test]
fn what_a_drop_frees() {
    let mut device = Device::new(vec![0; 3], true, false);
    let ids: Vec<u64> = (1..=4)
        .map(|n| {
            let id = device.snapshot(None, 4).unwrap();
            device.write(1, n, true);
            id
        })
        .collect();
    device.write(2, 9, true);
    let copied = |device: &Device<u32>| -> Vec<u32> {
        device
            .copies()
            .iter()
            .map(|(_, _, content)| *content)
            .collect()
    };
    assert_eq!(copied(&device), [0, 1, 2, 3, 0]);
    device.drop_snapshot(ids[1]).unwrap();
    device.drop_snapshot(ids[2]).unwrap();
    // Chunk 2 of the first one is in the last one's epoch.
    assert_eq!(device.read(ids[0], 1), Frozen::Data(0));
    assert_eq!(device.read(ids[0], 2), Frozen::Data(0));
    assert_eq!(device.read(ids[3], 1), Frozen::Data(3));
    device.drop_snapshot(ids[0]).unwrap();
    assert_eq!(copied(&device), [3, 0], "three epochs served nobody else");
    assert_eq!(device.read(ids[3], 2), Frozen::Data(0));
    device.drop_snapshot(ids[3]).unwrap();
    assert!(copied(&device).is_empty());
}

/// A drop that got no further than the flag, for want of memory, is completed by the next change,
/// and such a snapshot does not count as kept.
#[test]
fn a_half_done_drop_is_completed_by_the_next_change() {
    let mut device = Device::new(vec![0; 3], true, false);
    let first = device.snapshot(None, 3).unwrap();
    let second = device.snapshot(None, 3).unwrap();
    device.timeline.snapshot(second).unwrap().set_dropped();
    assert_eq!(device.timeline.drop_up_to(2), 0);
    assert_eq!(device.timeline.drop_up_to(1), first);
    let third = device.snapshot(None, 2).unwrap();
    assert_eq!(ids(device.timeline.snapshots()), [first, third]);
    assert_eq!(ids(device.timeline.bookmarks()), [second]);
}

/// The trap that the design names: a second look with the list from before the read.
#[test]
fn the_second_look_must_use_the_epochs_of_then() {
    let mut device = Device::new(vec![0; 3], true, false);
    let id = device.snapshot(None, 2).unwrap();
    let old = device.timeline.changed(Change::NONE).unwrap();
    let snapshot = old.snapshot(id).unwrap().clone();
    device.snapshot(None, 2).unwrap();
    device.write(1, 5, true);
    assert!(
        matches!(old.look(&snapshot, 1), Whereabouts::Origin),
        "the old list cannot know"
    );
    assert_eq!(old.first_marked(&snapshot, one(1)), None);
    let place = device.timeline.look(&snapshot, 1);
    assert!(matches!(place, Whereabouts::Epoch(epoch) if epoch.id == FIRST_EPOCH + 2));
    assert_eq!(device.read(id, 1), Frozen::Data(0));
}

/// Whoever began with an old timeline sees a drop at once; the flag is shared.
#[test]
fn a_drop_takes_effect_in_timelines_that_are_in_use() {
    let mut device = Device::new(vec![0; 3], true, false);
    let id = device.snapshot(None, 1).unwrap();
    let old = device.timeline.changed(Change::NONE).unwrap();
    assert!(old.needs(1) && !old.snapshot(id).unwrap().is_dropped());
    device.drop_snapshot(id).unwrap();
    assert!(!old.needs(1) && old.snapshot(id).unwrap().is_dropped());
    assert!(device.timeline.snapshot(id).is_none() && device.timeline.entry(id).is_some());
}

/// Rule 3: within an epoch need only shrinks, whatever is dropped, released or edited.
#[test]
fn need_only_shrinks_within_an_epoch() {
    let mut device = Device::new(vec![0; 4], true, false);
    device.edit(one(3), false);
    let first = device.snapshot(None, 2).unwrap();
    device.edit(one(3), true);
    device.edit(one(0), false);
    assert!(
        device.timeline.needs(0),
        "edits take effect at the next snapshot"
    );
    assert!(!device.timeline.needs(3));
    let second = device.snapshot(Some(first), 2).unwrap();
    assert!(device.timeline.needs(0), "the first one needs it still");
    assert!(
        device.timeline.needs(3),
        "not protected at the base, so it counts as changed"
    );
    device.release(first, one(0)).unwrap();
    assert!(!device.timeline.needs(0));
    assert!(device.timeline.needs(1));
    device.drop_snapshot(first).unwrap();
    assert!(!device.timeline.needs(1), "not changed since the base");
    device.drop_snapshot(second).unwrap();
    assert!((0..4).all(|chunk| !device.timeline.needs(chunk)));
}

/// Chunks that the device did not have at the instant are not the snapshot's.
#[test]
fn chunks_beyond_a_snapshots_device_are_not_needed() {
    let mut device = Device::new(vec![0; 4], true, false);
    device.snapshot(None, 2).unwrap();
    assert!(device.timeline.needs(3));
    for chunk in [4, 5, 63, 64, 1 << 20, u64::MAX - 1, u64::MAX] {
        assert!(!device.timeline.needs(chunk));
    }
}

#[test]
fn stretches_that_are_alike() {
    let mut device = Device::new(vec![0; 200], true, false);
    device.edit(Chunks { start: 10, end: 70 }, false);
    let cases = [
        (0, 200, true, 10),
        (0, 5, true, 5),
        (9, 11, true, 10),
        (10, 200, false, 70),
        (69, 70, false, 70),
        (70, 200, true, 200),
    ];
    for (start, end, protected, to) in cases {
        let alike =
            Timeline::<Copies<u32>>::chunks_alike(&device.designation, Chunks { start, end });
        assert_eq!(alike, (protected, to), "{start}..{end}");
    }
}
