// SPDX-License-Identifier: GPL-2.0

//! Notes of which stores are in use, and whether one has failed, kept where a store's failure does
//! not reach.
//!
//! A store that was not closed may have failed before the machine stopped, with writes that it does
//! not know of; it cannot tell. The note can: it is written when the device is created, and marked
//! when the kernel says that the store failed.
//!
//! # States of a note
//!
//! 1. *None*, or one of another boot: nothing is known of the store's last use.
//! 2. *Healthy*: in use since a boot, and not failed as far as has been told.
//! 3. *Failed*: writes passed that the store does not know of. It stays so; a store that begins
//!    anew has another UUID.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use offline::LastUse;
use rustix::fs::flock;
use rustix::fs::FlockOperation;
use serde::Deserialize;
use serde::Serialize;
use tempfile::NamedTempFile;
use uuid::Uuid;

use crate::durable::sync_directory;
use crate::error::Context;
use crate::Error;
use crate::Result;

/// Where notes are, unless the environment says otherwise.
const DIRECTORY: &str = "/var/lib/dm-preserve/stores";
const VARIABLE: &str = "PRESERVE_NOTES";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A note of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// The store's UUID; also the file's name.
    pub store: Uuid,
    /// The boot that it is in use since.
    pub boot: Uuid,
    /// It has failed, and writes passed.
    pub failed: bool,
}

/// What a note says of a store that is about to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It failed: it has to begin anew.
    Failed,
    /// It was in use when the machine stopped, and had not failed.
    Healthy,
    /// Nothing.
    Unknown,
}

/// Judges a store by its note.
pub fn judge(last: &LastUse, note: Option<&Note>) -> Verdict {
    match note.filter(|note| note.store == last.store) {
        Some(Note { failed: true, .. }) => Verdict::Failed,
        // What was unproven before is of another use, of which this note says nothing.
        Some(note) if note.boot == last.boot && !last.is_unproven => Verdict::Healthy,
        _ => Verdict::Unknown,
    }
}

/// The boot id of the running kernel.
pub fn this_boot() -> Result<Uuid> {
    let text = fs::read_to_string(BOOT_ID).context(|| format!("cannot read {BOOT_ID}"))?;
    let id = text.trim().parse();
    id.map_err(|_| Error::Failed(format!("{BOOT_ID}: {text:?} is no boot id")))
}

/// The directory of notes.
pub struct Notes(PathBuf);

impl Default for Notes {
    fn default() -> Self {
        Self::at(std::env::var_os(VARIABLE).map_or(DIRECTORY.into(), PathBuf::from))
    }
}

impl Notes {
    /// Notes in a directory.
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    fn path(&self, store: Uuid) -> PathBuf {
        self.0.join(store.to_string())
    }

    /// Reads a store's note; `None` when there is none. Errors: those of reading, and a note that
    /// says nothing.
    pub fn load(&self, store: Uuid) -> Result<Option<Note>> {
        let path = self.path(store);
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.context(|| format!("cannot read {}", path.display()))?,
        };
        let note = serde_json::from_str(&text);
        note.map(Some)
            .map_err(|e| Error::Failed(format!("{} is no note: {e}", path.display())))
    }

    /// Notes durably that a store is in use in this boot, or that it has failed, which nothing
    /// takes back. The result is what is noted now. Errors: those of writing.
    pub fn write(&self, new: Note) -> Result<Note> {
        self.make_directory()?;
        let what = || format!("cannot write a note in {}", self.0.display());
        // One at a time, so that a failure that comes at the same time is not lost.
        let lock = File::open(&self.0).context(what)?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(io::Error::from)
            .context(what)?;
        // One that cannot be read says nothing.
        let old = self.load(new.store).unwrap_or(None);
        let note = Note {
            failed: new.failed || old.is_some_and(|old| old.failed),
            ..new
        };
        let mut file = NamedTempFile::with_prefix_in(".note-", &self.0).context(what)?;
        serde_json::to_writer(&mut file, &note)
            .map_err(io::Error::from)
            .context(what)?;
        file.write_all(b"\n").context(what)?;
        file.as_file().sync_all().context(what)?;
        file.persist(self.path(new.store))
            .map_err(|e| e.error)
            .context(what)?;
        sync_directory(&self.0)?;
        Ok(note)
    }

    /// Makes the directory durably, with what it is in.
    fn make_directory(&self) -> Result<()> {
        let what = || format!("cannot make {}", self.0.display());
        let missing: Vec<&Path> = self.0.ancestors().take_while(|dir| !dir.exists()).collect();
        for dir in missing.into_iter().rev() {
            match fs::create_dir(dir) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => (),
                made => made.context(what)?,
            }
            sync_directory(crate::durable::directory(dir))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STORE: Uuid = Uuid::from_bytes([1; 16]);
    const BOOT: Uuid = Uuid::from_bytes([2; 16]);
    const OTHER: Uuid = Uuid::from_bytes([3; 16]);

    fn note(boot: Uuid, failed: bool) -> Note {
        Note {
            store: STORE,
            boot,
            failed,
        }
    }

    /// I1, I3: vouched for is only what a healthy note of that very use covers.
    #[test]
    fn i1_i3_a_note_vouches_for_the_use_that_it_is_of() {
        let last = LastUse {
            store: STORE,
            boot: BOOT,
            was_left_open: true,
            is_unproven: false,
        };
        assert_eq!(judge(&last, None), Verdict::Unknown);
        assert_eq!(judge(&last, Some(&note(BOOT, false))), Verdict::Healthy);
        assert_eq!(judge(&last, Some(&note(OTHER, false))), Verdict::Unknown);
        for boot in [BOOT, OTHER] {
            assert_eq!(judge(&last, Some(&note(boot, true))), Verdict::Failed);
        }
        let unproven = LastUse {
            is_unproven: true,
            ..last
        };
        assert_eq!(judge(&unproven, Some(&note(BOOT, false))), Verdict::Unknown);
        let another = LastUse {
            store: OTHER,
            ..last
        };
        assert_eq!(judge(&another, Some(&note(BOOT, true))), Verdict::Unknown);
    }

    #[test]
    fn i1_i3_nothing_takes_a_failure_back() {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notes::at(dir.path().join("a/b"));
        assert_eq!(notes.load(STORE).unwrap(), None);
        assert_eq!(notes.write(note(BOOT, false)).unwrap(), note(BOOT, false));
        assert_eq!(notes.load(STORE).unwrap(), Some(note(BOOT, false)));
        assert_eq!(notes.write(note(OTHER, false)).unwrap(), note(OTHER, false));
        notes.write(note(OTHER, true)).unwrap();
        assert_eq!(notes.write(note(OTHER, false)).unwrap(), note(OTHER, true));
        assert_eq!(notes.load(STORE).unwrap(), Some(note(OTHER, true)));
        assert_eq!(notes.load(OTHER).unwrap(), None);
    }

    #[test]
    fn a_note_that_cannot_be_read_is_an_error_and_can_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notes::at(dir.path().to_path_buf());
        fs::write(notes.path(STORE), "{").unwrap();
        assert!(notes.load(STORE).is_err());
        notes.write(note(BOOT, false)).unwrap();
        assert_eq!(notes.load(STORE).unwrap(), Some(note(BOOT, false)));
    }
}
