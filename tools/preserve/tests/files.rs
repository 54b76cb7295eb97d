// SPDX-License-Identifier: GPL-2.0

//! Files are found on the device of their filesystem; here that of the build directory, whatever it
//! is.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use glob::Pattern;
use preserve::device::Edit;
use preserve::device::Mapped;
use preserve::protect::locate;
use preserve::uapi::DeviceNumber;
use preserve::Error;
use tempfile::TempDir;

fn device_of(path: &Path) -> Mapped {
    let number = fs::metadata(path).unwrap().dev();
    let device = DeviceNumber {
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
    };
    Mapped {
        name: "build".into(),
        device,
    }
}

/// `None` where the filesystem cannot tell where files lie.
fn directory() -> Option<TempDir> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::create_dir(dir.path().join("deep")).unwrap();
    for name in ["a.tmp", "b.keep", "deep/c.tmp"] {
        fs::write(dir.path().join(name), [1; 100_000]).unwrap();
    }
    let paths = [dir.path().join("a.tmp")];
    match locate(&device_of(dir.path()), &paths, &[], Edit::Unprotect) {
        Ok(found) if found.notices.is_empty() => Some(dir),
        other => {
            eprintln!("not tested here: {other:?}");
            None
        }
    }
}

#[test]
fn directories_and_patterns_find_their_files() {
    let Some(dir) = directory() else { return };
    let device = device_of(dir.path());
    let count = |globs: &[&str]| {
        let globs: Vec<_> = globs.iter().map(|g| Pattern::new(g).unwrap()).collect();
        let found = locate(
            &device,
            &[dir.path().to_path_buf()],
            &globs,
            Edit::Unprotect,
        )
        .unwrap();
        let sectors: u64 = found
            .ranges
            .iter()
            .filter_map(|r| r.sectors(Edit::Unprotect))
            .map(|r| r.len)
            .sum();
        assert!(sectors >= found.files * 100_000 / 512, "{found:?}");
        found.files
    };
    assert_eq!(count(&[]), 3);
    assert_eq!(count(&["*.tmp"]), 2);
    assert_eq!(count(&["a.*", "b.*"]), 2);
    assert_eq!(count(&["*.no"]), 0);
}

/// More extents than one call returns.
#[test]
fn scattered_files_are_found_whole() {
    let Some(dir) = directory() else { return };
    let path = dir.path().join("scattered");
    let file = fs::File::create(&path).unwrap();
    for block in 0..300 {
        file.write_all_at(&[1; 4096], block * 8192).unwrap();
    }
    let found = locate(&device_of(dir.path()), &[path], &[], Edit::Unprotect).unwrap();
    let sectors: u64 = found
        .ranges
        .iter()
        .filter_map(|r| r.sectors(Edit::Unprotect))
        .map(|r| r.len)
        .sum();
    assert!(
        sectors >= 300 * 8,
        "{sectors} sectors in {} ranges",
        found.ranges.len()
    );
}

#[test]
fn a_file_elsewhere_is_refused() {
    let Some(dir) = directory() else { return };
    let mut device = device_of(dir.path());
    device.device.minor += 1;
    let e = locate(&device, &[dir.path().join("a.tmp")], &[], Edit::Protect).unwrap_err();
    assert_eq!(e.exit_code(), 2);
    assert!(locate(&device, &[dir.path().join("none")], &[], Edit::Protect).is_err());
    assert!(locate(&device, &["/dev/null".into()], &[], Edit::Protect).is_err());
}

#[test]
fn a_glob_with_directories_matches_nothing_and_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [dir.path().to_path_buf()];
    let globs = [Pattern::new("/srv/*.tmp").unwrap()];
    let e = locate(&device_of(dir.path()), &paths, &globs, Edit::Unprotect).unwrap_err();
    assert!(matches!(e, Error::Usage(_)), "{e}");
}
