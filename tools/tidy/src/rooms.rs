// SPDX-License-Identifier: GPL-2.0

//! The tables of rooms and of the engine's parts: the one place that says what stands above what.

#![forbid(unsafe_code)]

/// The rooms of `rust/`, the highest first. A file may use what stands in its own line or in a
/// lower one; no circle of files may come of it. [`DM`] and [`BINDINGS`] stand beside these.
pub const ROOMS: &[&[&str]] = &[
    &[ROOT],
    &["interface"],
    &[ENGINE],
    &["store"],
    &["format"],
    &["history", "uapi"],
    &["maps"],
    &["base"],
];

/// The parts of the engine, the highest first; `engine` is `rust/engine.rs` itself.
pub const PARTS: &[&[&str]] = &[
    &[ENGINE, "life"],
    &["write"],
    &["upkeep"],
    &["read", "change"],
    &["session"],
    &["log"],
    &["ground"],
    &["state", "device"],
    &["events", "space", "boot"],
    &["queues", "phase", "wake", "reserves"],
];

/// Who may use `dm`: rooms, and files of other rooms.
pub const USERS_OF_DM: &[&str] = &[
    ROOT,
    "interface",
    ENGINE,
    "rust/format/checksum.rs",
    "rust/base.rs",
];

/// The roots: the kernel's, that of the library for user space, and that of the engine as one.
pub const ROOTS: &[&str] = &["rust/dm_preserve.rs", "rust/lib.rs", "rust/engine_lib.rs"];

/// The roots' room.
pub const ROOT: &str = "dm_preserve";
/// The room that has parts.
pub const ENGINE: &str = "engine";
/// Safe abstractions of the kernel's device-mapper.
pub const DM: &str = "dm";
/// What bindgen makes; for [`DM`] only.
pub const BINDINGS: &str = "bindings";

/// Returns a file's room, the first part of its path below `rust/`; `None` if it is in no room.
pub fn room(path: &str) -> Option<&str> {
    if ROOTS.contains(&path) {
        return Some(ROOT);
    }
    let name = step(path, "rust/")?;
    let is_known = [DM, BINDINGS].contains(&name) || level(ROOMS, name).is_some();
    is_known.then_some(name)
}

/// Returns a file's part of the engine; `None` if it is not in the engine, or in no known part of
/// it.
pub fn part(path: &str) -> Option<&str> {
    if path == "rust/engine.rs" {
        return Some(ENGINE);
    }
    let name = step(path, "rust/engine/")?;
    level(PARTS, name).map(|_| name)
}

/// Returns a name's line in a table.
pub fn level(table: &[&[&str]], name: &str) -> Option<usize> {
    table.iter().position(|line| line.contains(&name))
}

/// Returns the part of a path that follows a prefix: a folder, or a file without its `.rs`.
fn step<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    match rest.split_once('/') {
        Some((folder, _)) => Some(folder),
        None => rest.strip_suffix(".rs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_says_the_room_and_the_part() {
        assert_eq!(room("rust/engine/write/copy.rs"), Some("engine"));
        assert_eq!(part("rust/engine/write/copy.rs"), Some("write"));
        assert_eq!(part("rust/engine/write.rs"), Some("write"));
        assert_eq!(part("rust/engine.rs"), Some("engine"));
        assert_eq!(room("rust/lib.rs"), Some(ROOT));
        assert_eq!(room("rust/dm/bio.rs"), Some(DM));
        assert_eq!(room("rust/copier.rs"), None);
        assert_eq!(part("rust/engine/copier.rs"), None);
        assert_eq!(part("rust/store.rs"), None);
    }
}
