// SPDX-License-Identifier: GPL-2.0

//! From a live device (in memory) to a snapshot copy and onwards: every history ends in equal
//! content, and what does not fit changes nothing.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use common::Fake;
use common::CHUNK;
use preserve::copy::apply::apply;
use preserve::copy::apply::Options;
use preserve::copy::backup::Plan;
use preserve::copy::state::State;
use preserve::Error;
use preserve::Result;
use proptest::prelude::*;
use tempfile::TempDir;

/// A snapshot copy in a directory of its own.
struct Copy {
    dir: TempDir,
    image: PathBuf,
}

impl Copy {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        Copy { dir, image }
    }

    fn apply(&self, stream: &[u8]) -> Result<()> {
        self.apply_with(stream, false)
    }

    fn apply_with(&self, stream: &[u8], overwrite: bool) -> Result<()> {
        let path = self.dir.path().join("stream");
        fs::write(&path, stream).unwrap();
        apply(
            &path,
            &self.image,
            &Options {
                overwrite,
                state: None,
                quiet: true,
            },
        )
        .map(drop)
    }

    fn content(&self) -> Vec<u8> {
        fs::read(&self.image).unwrap_or_default()
    }

    fn state(&self) -> Option<State> {
        State::load(&State::beside(&self.image)).unwrap()
    }

    /// Refused, and nothing is changed.
    fn assert_refuses(&self, stream: &[u8], why: &str) {
        let before = (self.content(), self.state());
        match self.apply(stream) {
            Err(e @ (Error::Misfit(_) | Error::Damaged { .. })) => assert_eq!(e.exit_code(), 5),
            other => panic!("{why}: {other:?}"),
        }
        assert_eq!(before, (self.content(), self.state()), "{why}");
    }
}

/// A device with three chunks and two snapshots; between them the middle one changed.
fn two_snapshots() -> Fake {
    let mut fake = Fake::new(3 * CHUNK);
    (0..3).for_each(|chunk| fake.write(chunk, 10));
    fake.snapshot();
    fake.write(1, 20);
    fake.snapshot();
    fake
}

#[test]
fn a_full_backup_and_an_increment() {
    let (fake, copy) = (two_snapshots(), Copy::new());
    copy.apply(&fake.backup(0, 1).unwrap().0).unwrap();
    assert_eq!(copy.content(), fake.snapshots[0].content);
    let (stream, report) = fake.backup(1, 2).unwrap();
    assert_eq!(
        (
            report.moved.chunks,
            report.changed_chunks,
            report.skipped_chunks
        ),
        (1, 1, 0)
    );
    copy.apply(&stream).unwrap();
    assert_eq!(copy.content(), fake.snapshots[1].content);
    let at = copy.state().unwrap().at.unwrap();
    assert_eq!(
        (at.snapshot, at.generation, at.digest),
        (2, fake.generation, report.digest)
    );
    assert_eq!(
        fs::read_dir(copy.dir.path()).unwrap().count(),
        3,
        "image, state, stream, and no leftovers"
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let (mut fake, copy) = (two_snapshots(), Copy::new());
    fake.write(0, 30);
    fake.snapshot();
    let stream = |from, to| fake.backup(from, to).unwrap().0;
    copy.assert_refuses(&stream(1, 2), "no copy yet");
    assert!(!copy.image.exists());
    copy.apply(&stream(0, 1)).unwrap();
    copy.assert_refuses(&stream(2, 3), "from a later snapshot");
    copy.assert_refuses(&stream(0, 2), "a full one over a copy in use");
    copy.apply(&stream(1, 2)).unwrap();
    copy.assert_refuses(&stream(1, 2), "the same again");
    copy.assert_refuses(&stream(1, 3), "from an earlier snapshot");
    let mut other = two_snapshots();
    other.generation = uuid::Uuid::from_u128(8);
    other.snapshot();
    copy.assert_refuses(&other.backup(2, 3).unwrap().0, "of another generation");
    copy.apply(&stream(2, 3)).unwrap();
    copy.apply_with(&stream(0, 2), true).unwrap();
    assert_eq!(copy.content(), fake.snapshots[1].content);
}

#[test]
fn a_damaged_stream_changes_nothing() {
    let (fake, copy) = (two_snapshots(), Copy::new());
    let full = fake.backup(0, 1).unwrap().0;
    copy.assert_refuses(&full[..full.len() - 1], "a truncated full one");
    assert!(!copy.image.exists() && copy.state().is_none());
    copy.apply(&full).unwrap();
    let mut stream = fake.backup(1, 2).unwrap().0;
    let last = stream.len() - 1;
    stream[last] ^= 1;
    copy.assert_refuses(&stream, "a flipped bit in the last byte");
}

#[test]
fn a_file_of_somebody_else_is_not_overwritten() {
    let (fake, copy) = (two_snapshots(), Copy::new());
    fs::write(&copy.image, "precious").unwrap();
    copy.assert_refuses(&fake.backup(0, 1).unwrap().0, "no state, but content");
    assert_eq!(copy.content(), b"precious");
}

/// As after a crash: half of the content written, the state file says "applying".
#[test]
fn an_interrupted_apply_is_finished_by_the_same_stream_only() {
    let (mut fake, copy) = (two_snapshots(), Copy::new());
    copy.apply(&fake.backup(0, 1).unwrap().0).unwrap();
    let (stream, report) = fake.backup(1, 2).unwrap();
    let mut state = copy.state().unwrap();
    state.applying = Some(preserve::copy::state::Position::after(
        &report.header,
        &report.digest,
    ));
    state.save(&State::beside(&copy.image)).unwrap();
    let mut torn = copy.content();
    torn[CHUNK..CHUNK + 100].fill(20);
    fs::write(&copy.image, &torn).unwrap();

    fake.snapshots[1].content[CHUNK] = 99;
    copy.assert_refuses(
        &fake.backup(1, 2).unwrap().0,
        "other content under the same number",
    );
    copy.assert_refuses(&fake.backup(0, 2).unwrap().0, "a full one, unasked");
    copy.apply(&stream).unwrap();
    fake.snapshots[1].content[CHUNK] = 20;
    assert_eq!(copy.content(), fake.snapshots[1].content);
    assert_eq!(copy.state().unwrap().applying, None);
}

#[test]
fn an_unreadable_state_is_no_position() {
    let (fake, copy) = (two_snapshots(), Copy::new());
    copy.apply(&fake.backup(0, 1).unwrap().0).unwrap();
    for text in ["", "{}", "{\"version\":9,\"at\":null,\"applying\":null}"] {
        fs::write(State::beside(&copy.image), text).unwrap();
        assert!(
            matches!(
                copy.apply(&fake.backup(1, 2).unwrap().0),
                Err(Error::Misfit(_))
            ),
            "{text}"
        );
        assert_eq!(copy.content(), fake.snapshots[0].content);
    }
}

#[test]
fn gone_content_fails_the_backup() {
    let mut fake = two_snapshots();
    fake.snapshots[1].gone[1] = true;
    for from in [0, 1] {
        // Before anything is read or written.
        assert_eq!(Plan::new(&fake, from, 2).unwrap_err().exit_code(), 4);
    }
    // Not the backup's business: unprotected, or not changed.
    fake.snapshots[1].protected[1] = false;
    fake.backup(1, 2).unwrap();
    fake.snapshots[1].protected[1] = true;
    fake.snapshots[1].gone = vec![true, false, true];
    fake.backup(1, 2).unwrap();
}

#[test]
fn ends_that_make_no_sense_are_refused() {
    let mut fake = two_snapshots();
    assert_eq!(fake.backup(0, 3).unwrap_err().exit_code(), 3);
    assert_eq!(fake.backup(2, 2).unwrap_err().exit_code(), 2);
    assert_eq!(fake.backup(2, 1).unwrap_err().exit_code(), 2);
    fake.snapshots[0].dropped = true;
    assert_eq!(fake.backup(0, 1).unwrap_err().exit_code(), 3);
    fake.backup(1, 2).unwrap();
}

/// `keep_unprotected`: a chunk loses its protection between the listing and the read.
#[test]
fn a_hole_where_data_was_expected_is_left_out() {
    let mut fake = two_snapshots();
    fake.holes.push(1);
    let (_, report) = fake.backup(0, 1).unwrap();
    assert_eq!((report.moved.chunks, report.skipped_chunks), (2, 1));
}

/// The chunk is overwritten after the plan was made.
#[test]
fn content_that_goes_meanwhile_fails_the_backup() {
    let mut fake = two_snapshots();
    let plan = Plan::new(&fake, 1, 2).unwrap();
    fake.snapshots[1].gone[1] = true;
    let result = plan.run(&fake, Vec::new(), &indicatif::ProgressBar::hidden());
    assert_eq!(result.unwrap_err().exit_code(), 4);
}

#[test]
fn a_generation_that_changes_meanwhile_fails_the_backup() {
    let mut fake = two_snapshots();
    let plan = Plan::new(&fake, 1, 2).unwrap();
    fake.generation = uuid::Uuid::from_u128(8);
    assert!(plan
        .run(&fake, Vec::new(), &indicatif::ProgressBar::hidden())
        .is_err());
}

#[test]
fn a_copy_of_another_length_is_refused() {
    let (fake, copy) = (two_snapshots(), Copy::new());
    copy.apply(&fake.backup(0, 1).unwrap().0).unwrap();
    fs::write(&copy.image, [0; 100]).unwrap();
    copy.assert_refuses(&fake.backup(1, 2).unwrap().0, "somebody shortened it");
}

#[test]
fn never_protected_chunks_are_holes() {
    let (mut fake, copy) = (Fake::new(64 * CHUNK), Copy::new());
    fake.designation.fill(false);
    fake.designation[63] = true;
    (0..64).for_each(|chunk| fake.write(chunk, 1));
    fake.snapshot();
    copy.apply(&fake.backup(0, 1).unwrap().0).unwrap();
    let metadata = fs::metadata(&copy.image).unwrap();
    assert_eq!(metadata.len(), 64 * CHUNK as u64);
    assert!(
        metadata.blocks() <= 2 * CHUNK as u64 / 512,
        "{} sectors used",
        metadata.blocks()
    );
}

/// A step in a device's life.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize, u8),
    Protect(usize, bool),
    Snapshot,
    /// A snapshot with a backup that is applied.
    Backup,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0usize..10, 1u8..).prop_map(|(chunk, value)| Step::Write(chunk, value)),
        3 => (0usize..10, any::<bool>()).prop_map(|(chunk, on)| Step::Protect(chunk, on)),
        1 => Just(Step::Snapshot),
        2 => Just(Step::Backup),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..Default::default()
    })]

    /// After each backup the copy equals the snapshot in every protected chunk, exactly what is
    /// changed and protected was moved, and no byte of a chunk that was never protected.
    #[test]
    fn copies_follow_any_history(
        steps in proptest::collection::vec(step(), 1..40),
        look in 1u64..12,
    ) {
        let (mut fake, copy) = (Fake::new(9 * CHUNK + 1024), Copy::new());
        fake.look = look;
        let (mut from, mut ever) = (0, [false; 10]);
        for step in steps {
            match step {
                Step::Write(chunk, value) => fake.write(chunk, value),
                Step::Protect(chunk, on) => fake.designation[chunk] = on,
                Step::Snapshot => drop(fake.snapshot()),
                Step::Backup => {
                    let to = fake.snapshot();
                    let (stream, report) = fake.backup(from, to).unwrap();
                    copy.apply(&stream).unwrap();
                    let snap = fake.snap(to).unwrap();
                    let content = copy.content();
                    prop_assert_eq!(content.len(), fake.live.len());
                    for (chunk, ever) in ever.iter_mut().enumerate() {
                        *ever |= snap.protected[chunk];
                        let place = fake.place(chunk);
                        if snap.protected[chunk] {
                            let (copied, frozen) = (&content[place.clone()], &snap.content[place]);
                            prop_assert_eq!(copied, frozen, "chunk {}", chunk);
                        } else if !*ever {
                            prop_assert!(content[place].iter().all(|b| *b == 0), "chunk {}", chunk);
                        }
                    }
                    let told = report.moved.chunks + report.skipped_chunks;
                    prop_assert_eq!(told, report.changed_chunks);
                    from = to;
                }
            }
        }
    }
}
