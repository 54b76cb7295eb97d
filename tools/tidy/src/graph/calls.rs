// SPDX-License-Identifier: GPL-2.0

//! The table of ambiguous method names, for calls whose receiver's type is not known.

#![forbid(unsafe_code)]

/// Names that types of the standard library or of the kernel have too: a call of one counts only if
/// the receiver's type is known.
const COMMON: &[&str] = &[
    "add", "all", "as_ptr", "clear", "clone", "contains", "count", "end", "fill", "find", "flush",
    "get", "insert", "is_empty", "is_none", "iter", "len", "load", "lock", "map", "max", "min",
    "next", "nth", "pop", "position", "push", "read", "remove", "reserve", "set", "start", "store",
    "submit", "swap", "take", "wait", "write",
];

/// Receivers that tell what a call of an ambiguous name means: the receiver's last word, the
/// method, and the end of the path of the file that is meant (none: a type of the standard library
/// or of the kernel).
const RECEIVERS: &[(&str, &str, Option<&str>)] = &[
    ("bio", "state", Some("rust/dm/bio.rs")),
    ("copies", "entries", Some("rust/store/save.rs")),
    ("copies", "open_segment", Some("rust/engine/space.rs")),
    ("copies", "segments", Some("rust/store/save.rs")),
    ("end", "contents", Some("rust/store/log_end.rs")),
    ("end", "entries", Some("rust/store/log_end.rs")),
    ("engine", "look", Some("rust/engine/read.rs")),
    ("engine", "state", Some("rust/engine.rs")),
    ("runs", "room", Some("rust/maps/runs.rs")),
    ("sink", "send", Some("rust/dm/events.rs")),
    ("target", "status", Some("rust/dm/target.rs")),
    ("text", "trim", None),
    ("timeline", "snapshot", Some("rust/history/timeline.rs")),
    ("word", "bytes", None),
];

/// Returns true if types of others have a method of that name.
pub fn is_common(method: &str) -> bool {
    COMMON.contains(&method)
}

/// Returns the file that the table gives for a call: `Some(None)` for none of the module's.
pub fn told(receiver: &str, method: &str) -> Option<Option<&'static str>> {
    let mut lines = RECEIVERS.iter();
    lines
        .find(|line| (line.0, line.1) == (receiver, method))
        .map(|line| line.2)
}
