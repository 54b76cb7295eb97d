// SPDX-License-Identifier: GPL-2.0

//! An interrupted apply says how it is finished, and that command finishes it.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use common::Fake;
use common::CHUNK;
use tempfile::TempDir;

/// Runs `preserve` by a shell that does something before; returns the exit code and what is said.
fn run(before: &str, args: &str, input: Option<&Path>) -> (Option<i32>, String) {
    let preserve = env!("CARGO_BIN_EXE_preserve");
    let output = Command::new("sh")
        .args(["-c", &format!("{before} exec {preserve} {args}")])
        .stdin(input.map_or(Stdio::null(), |path| fs::File::open(path).unwrap().into()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

/// The command in backquotes, without its first word.
fn advice(text: &str) -> &str {
    let quoted = text.split('`').nth(1).unwrap();
    quoted.strip_prefix("preserve ").unwrap()
}

struct Rig {
    dir: TempDir,
    full: PathBuf,
    increment: PathBuf,
    image: PathBuf,
    content: Vec<u8>,
}

/// A large device of which little is protected, so that only the image is large.
fn rig() -> Rig {
    let mut fake = Fake::new(512 * CHUNK);
    fake.designation[3..].fill(false);
    (0..3).for_each(|chunk| fake.write(chunk, 10));
    fake.snapshot();
    fake.write(1, 20);
    fake.snapshot();
    let dir = tempfile::tempdir().unwrap();
    let save = |name: &str, from, to| {
        let path = dir.path().join(name);
        fs::write(&path, fake.backup(from, to).unwrap().0).unwrap();
        path
    };
    Rig {
        full: save("full", 0, 1),
        increment: save("increment", 1, 2),
        image: dir.path().join("image"),
        content: fake.snapshots[0].content.clone(),
        dir,
    }
}

fn finished_by_advice(option: &str, state: &str) {
    let rig = rig();
    let (image, folder) = (rig.image.display(), rig.dir.path().display());
    let option = option.replace("FOLDER", &folder.to_string());
    let limit = "trap '' XFSZ; ulimit -f 256;";
    let (code, text) = run(limit, &format!("apply {option} - {image}"), Some(&rig.full));
    assert_eq!(code, Some(1), "{text}");
    let kept = rig.dir.path().join(format!("{state}.stream"));
    assert_eq!(fs::read(&kept).unwrap(), fs::read(&rig.full).unwrap());
    let command = advice(&text);
    assert!(command.contains(kept.to_str().unwrap()), "{text}");

    let increment = rig.increment.display();
    let (code, text) = run("", &format!("apply {option} {increment} {image}"), None);
    assert_eq!((code, advice(&text)), (Some(5), command), "{text}");
    let (code, text) = run("", command, None);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(fs::read(&rig.image).unwrap(), rig.content);
    let left = fs::read_dir(rig.dir.path()).unwrap().count();
    assert_eq!(
        left, 4,
        "two streams, image, state, and no copy of a stream"
    );
}

#[test]
fn a_stream_from_a_pipe_is_kept_and_named() {
    finished_by_advice("", "image.preserve.json");
}

#[test]
fn the_state_file_is_named_too() {
    finished_by_advice("--state FOLDER/position", "position");
}

#[test]
fn a_stream_of_the_users_own_is_left() {
    let rig = rig();
    let args = format!("apply {} {}", rig.full.display(), rig.image.display());
    let (code, text) = run("trap '' XFSZ; ulimit -f 256;", &args, None);
    assert_eq!((code, advice(&text)), (Some(1), args.as_str()), "{text}");
    assert_eq!(run("", &args, None).0, Some(0));
    assert!(rig.full.exists());
}
