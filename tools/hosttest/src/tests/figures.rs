// SPDX-License-Identifier: GPL-2.0

//! The seed's worked examples, figures 7A/7B and 8A/8B (paragraphs 0081 to 0116), step by step.
//!
//! Six storage locations, of which number 3 is not protected. Covers I1 and I6, and I7 as far as
//! that the snapshot copy goes from one consistent state to the next.

#![forbid(unsafe_code)]

use super::device::Device;
use super::device::Frozen;
use dm_preserve_core::maps::Chunks;
use kernel::prelude::*;

/// The device and its snapshot copy.
struct Example {
    device: Device<&'static str>,
    /// 124, 154, 168 in figures 7B and 8B; nothing is known of location 3.
    copy: [Option<&'static str>; 6],
    /// What the last backup sent.
    sent: Vec<(u64, &'static str)>,
}

/// Locations count from one.
fn chunk(location: u64) -> u64 {
    location - 1
}

impl Example {
    /// Time T0: the copy is identical to the original data, except for location 3.
    fn new(keep_unprotected: bool) -> Self {
        let original = ["1", "2", "3", "4", "5", "6"];
        let mut device = Device::new(original.to_vec(), true, keep_unprotected);
        let third = Chunks {
            start: chunk(3),
            end: chunk(4),
        };
        device.edit(third, false);
        let mut copy = original.map(Some);
        copy[2] = None;
        Self {
            device,
            copy,
            sent: Vec::new(),
        }
    }

    fn write(&mut self, blocks: &[(u64, &'static str)]) {
        for (location, block) in blocks {
            self.device.write(chunk(*location), block, true);
        }
    }

    /// The snapshot map: locations written since the latest snapshot.
    fn snapshot_map(&self) -> Vec<u64> {
        let marks = &self.device.timeline.present().unwrap().marks;
        (1..=6)
            .filter(|location| marks.get(chunk(*location)))
            .collect()
    }

    /// The backup map: locations written between two snapshots.
    fn backup_map(&self, from: u64, to: u64) -> Vec<u64> {
        self.device
            .written(from, Some(to))
            .iter()
            .map(|chunk| chunk + 1)
            .collect()
    }

    /// What is in snapshot storage and can still be asked for.
    fn store(&self) -> Vec<(u64, &'static str)> {
        self.device
            .copies()
            .iter()
            .map(|(_, chunk, block)| (chunk + 1, *block))
            .collect()
    }

    /// Sends what changed between two snapshots and is protected, and applies it.
    fn backup(&mut self, from: u64, to: u64) {
        self.sent.clear();
        for location in self.backup_map(from, to) {
            match self.device.read(to, chunk(location)) {
                Frozen::Data(block) => self.sent.push((location, block)),
                Frozen::Hole => assert_eq!(location, 3),
                Frozen::Gone => panic!("location {location} is lost"),
            }
        }
        for (location, block) in &self.sent {
            self.copy[chunk(*location) as usize] = Some(*block);
        }
    }

    fn copy(&self) -> [&'static str; 6] {
        self.copy.map(|block| block.unwrap_or("-"))
    }
}

/// Both examples; they differ in what snapshot storage holds.
fn example(keep_unprotected: bool) -> Example {
    let mut example = Example::new(keep_unprotected);
    let t0 = example.device.snapshot(None, 1).unwrap();
    assert_eq!(example.copy(), ["1", "2", "-", "4", "5", "6"]);
    // At T0 the maps are cleared (126, 128), and location 3 is not protected (129).
    assert_eq!(example.snapshot_map(), [0; 0]);
    assert!(
        (1..=6).all(|location| example.device.designation.get(chunk(location)) == (location != 3))
    );

    // 0083: data blocks 130. In the seed no snapshot has been taken, and nothing is preserved; here
    // T0 is a snapshot, the place that the copy stands at, and a backup of it is done.
    example.device.drop_snapshot(t0).unwrap();
    example.write(&[(3, "3a"), (4, "4a")]);
    assert_eq!(example.device.origin, ["1", "2", "3a", "4a", "5", "6"]);
    assert_eq!(example.snapshot_map(), [3, 4]);
    assert_eq!(example.store(), []);

    // 0086: data blocks 136.
    example.write(&[(3, "3b"), (4, "4b"), (6, "6a")]);
    assert_eq!(example.device.origin, ["1", "2", "3b", "4b", "5", "6a"]);
    assert_eq!(example.snapshot_map(), [3, 4, 6]);
    assert_eq!(example.store(), []);

    // 0087, 0105: the snapshot at T1. The snapshot map becomes the backup map (142), and is
    // cleared.
    let t1 = example.device.snapshot(None, 1).unwrap();
    assert_eq!(example.backup_map(t0, t1), [3, 4, 6]);
    assert_eq!(example.snapshot_map(), [0; 0]);

    // 0089, 0106: data blocks 144. Block 1 is copied to snapshot storage (146); 3b only in figure 7
    // (148).
    example.write(&[(1, "1a"), (3, "3c")]);
    let preserved: &[(u64, &str)] = match keep_unprotected {
        true => &[(1, "1"), (3, "3b")],
        false => &[(1, "1")],
    };
    assert_eq!(example.store(), preserved);
    assert_eq!(example.device.origin, ["1a", "2", "3c", "4b", "5", "6a"]);
    assert_eq!(example.snapshot_map(), [1, 3]);

    // 0093, 0110: the backup of T1 sends blocks 153, and the copy becomes 154.
    example.backup(t0, t1);
    assert_eq!(example.sent, [(4, "4b"), (6, "6a")]);
    assert_eq!(example.copy(), ["1", "2", "-", "4b", "5", "6a"]);

    // 0095, 0112: data blocks 156. 4b and 6a are copied; 1 was already, and 1a is lost (0096,
    // 0113).
    example.write(&[(1, "1b"), (4, "4c"), (6, "6b")]);
    let preserved: &[(u64, &str)] = match keep_unprotected {
        true => &[(1, "1"), (3, "3b"), (4, "4b"), (6, "6a")],
        false => &[(1, "1"), (4, "4b"), (6, "6a")],
    };
    assert_eq!(example.store(), preserved);
    assert_eq!(example.device.origin, ["1b", "2", "3c", "4c", "5", "6b"]);
    assert_eq!(example.snapshot_map(), [1, 3, 4, 6]);
    // Asked again, the snapshot of T1 still shows the state of T1.
    example.backup(t0, t1);
    assert_eq!(example.sent, [(4, "4b"), (6, "6a")]);
    assert_eq!(example.device.read(t1, chunk(1)), Frozen::Data("1"));
    assert_eq!(example.device.read(t1, chunk(3)), Frozen::Hole);

    // 0101, 0114: the snapshot at T2: the backup map is 162, snapshot map (164) and storage are
    // cleared.
    let t2 = example.device.snapshot(None, 1).unwrap();
    assert_eq!(example.backup_map(t1, t2), [1, 3, 4, 6]);
    assert_eq!(example.snapshot_map(), [0; 0]);
    assert_eq!(example.store(), []);

    // 0103, 0116: the backup of T2 sends blocks 166, and the copy becomes 168.
    example.backup(t1, t2);
    assert_eq!(example.sent, [(1, "1b"), (4, "4c"), (6, "6b")]);
    assert_eq!(example.copy(), ["1b", "2", "-", "4c", "5", "6b"]);
    example
}

#[test]
fn figures_7a_and_7b() {
    let mut example = example(true);
    // In figure 7 designation may come after the snapshot: what was stored unprotected can be read
    // then.
    let latest = example.device.timeline.latest().unwrap().id;
    example.write(&[(3, "3d")]);
    assert_eq!(example.store(), [(3, "3c")]);
    example.device.edit(Chunks { start: 0, end: 6 }, true);
    assert_eq!(example.device.read(latest, chunk(3)), Frozen::Data("3c"));
}

#[test]
fn figures_8a_and_8b() {
    let mut example = example(false);
    let latest = example.device.timeline.latest().unwrap().id;
    example.write(&[(3, "3d")]);
    assert_eq!(example.store(), []);
    example.device.edit(Chunks { start: 0, end: 6 }, true);
    assert_eq!(
        example.device.read(latest, chunk(3)),
        Frozen::Hole,
        "the designation of its instant holds"
    );
    // Protected from now on: it counts for the next incremental snapshot although nobody writes it.
    let next = example.device.snapshot(Some(latest), 1).unwrap();
    assert!(example.device.timeline.needs(chunk(3)));
    assert_eq!(example.device.read(next, chunk(3)), Frozen::Data("3d"));
}

/// The seed's own order: no snapshot before T1. The backup map is what was written up to then
/// (0088).
#[test]
fn the_first_snapshot_has_a_backup_map() {
    let mut example = Example::new(false);
    example.write(&[(3, "3a"), (4, "4a")]);
    example.write(&[(3, "3b"), (4, "4b"), (6, "6a")]);
    assert_eq!(example.snapshot_map(), [3, 4, 6]);
    let t1 = example.device.snapshot(None, 1).unwrap();
    let begun = example.device.timeline.snapshot(t1).unwrap().epoch;
    let closed = example.device.timeline.epochs(0, begun).last();
    let closed = closed.expect("the epoch that the latest snapshot closed");
    let map = (1..=6).filter(|location| closed.marks.get(chunk(*location)));
    assert!(map.eq([3, 4, 6]));
    assert!(closed.copies.is_none());
    // It goes with the next snapshot, as nobody asks for it then.
    example.device.snapshot(None, 1).unwrap();
    assert!(example.device.timeline.epochs(0, begun).next().is_none());
}

#[test]
fn an_unknown_base_is_an_error() {
    let mut example = Example::new(false);
    assert_eq!(example.device.snapshot(Some(1), 1), Err(EINVAL));
}
