// SPDX-License-Identifier: GPL-2.0

//! Parsing of table lines and messages. Every mistake has its own message that says what to do.

#![forbid(unsafe_code)]

use crate::maps::MAX_CHUNK_SECTORS;
use crate::maps::MAX_PERSISTENT_CHUNK_SECTORS;
use crate::maps::MIN_CHUNK_SECTORS;
use crate::uapi::MAX_SNAPSHOTS;
use core::ffi::CStr;

/// The result of parsing: an error is a text for the user.
pub type Parsed<T> = core::result::Result<T, &'static CStr>;

/// What to do when the store is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// Drop the oldest snapshot.
    Invalidate,
    /// Let writes wait.
    Block,
}

/// What to do when the store fails and that cannot be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Let writes go on.
    Continue,
    /// Let writes wait.
    Block,
}

/// The options of a `preserve` table line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `transient`: nothing is meant to last
    pub transient: bool,
    /// `keep_unprotected`
    pub keep_unprotected: bool,
    /// `default=`: protected
    pub default_protected: bool,
    /// `reset_protection`
    pub reset_protection: bool,
    /// `on_full=`
    pub on_full: OnFull,
    /// `on_error=`
    pub on_error: OnError,
    /// `low_space=`, in percent
    pub low_space: u64,
}

impl Options {
    /// What holds when nothing is said.
    pub const DEFAULT: Self = Self {
        transient: false,
        keep_unprotected: false,
        default_protected: true,
        reset_protection: false,
        on_full: OnFull::Invalidate,
        on_error: OnError::Continue,
        low_space: 80,
    };
}

/// A `preserve` table line, after the target's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveLine<'a> {
    /// The origin's path or number.
    pub origin: &'a str,
    /// The store's path or number.
    pub store: &'a str,
    /// Sectors per chunk.
    pub chunk_sectors: u64,
    /// The options.
    pub options: Options,
}

/// Parses a decimal number without sign or spaces. `None` if it is none, or overflows.
pub fn number(word: &str) -> Option<u64> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| word.parse().ok()).flatten()
}

/// Returns the optional arguments. The first of `words` is their number.
fn optional<'a, 'b>(words: &'a [&'b str]) -> Parsed<&'a [&'b str]> {
    let Some((count, args)) = words.split_first() else {
        return Ok(&[]);
    };
    let count = number(count).ok_or(c"The number of optional arguments is not a number")?;
    // CAST: Never more than a message can hold.
    match args.len() as u64 == count {
        true => Ok(args),
        false => Err(c"The number of optional arguments does not match the arguments"),
    }
}

/// Parses a `preserve` table line.
///
/// Errors: a text for the user that says what to write instead.
pub fn live<'a>(words: &[&'a str]) -> Parsed<LiveLine<'a>> {
    let [origin, store, chunk, rest @ ..] = words else {
        return Err(c"Expected: <origin> <store> <chunk sectors> [<#args> <arg>...]");
    };
    let chunk_sectors = number(chunk).ok_or(c"The chunk size is not a number of sectors")?;
    if !chunk_sectors.is_power_of_two()
        || !(MIN_CHUNK_SECTORS..=MAX_CHUNK_SECTORS).contains(&chunk_sectors)
    {
        return Err(c"The chunk size must be a power of two from 8 to 2048 sectors");
    }
    let mut options = Options::DEFAULT;
    let args = optional(rest)?;
    for arg in args {
        option(&mut options, arg)?;
    }
    if args.contains(&"transient") && args.contains(&"persistent") {
        return Err(c"transient and persistent exclude each other");
    }
    if !options.transient && chunk_sectors > MAX_PERSISTENT_CHUNK_SECTORS {
        return Err(c"With a persistent store the chunk size is at most 1024 sectors");
    }
    Ok(LiveLine {
        origin,
        store,
        chunk_sectors,
        options,
    })
}

fn option(options: &mut Options, arg: &str) -> Parsed<()> {
    match arg.split_once('=').unwrap_or((arg, "")) {
        ("transient" | "persistent" | "keep_unprotected" | "reset_protection", "")
            if arg.ends_with('=') =>
        {
            return Err(c"Unknown optional argument");
        }
        ("transient", "") => options.transient = true,
        ("persistent", "") => options.transient = false,
        ("keep_unprotected", "") => options.keep_unprotected = true,
        ("reset_protection", "") => options.reset_protection = true,
        ("default", "protected") => options.default_protected = true,
        ("default", "unprotected") => options.default_protected = false,
        ("default", _) => return Err(c"default= must be protected or unprotected"),
        ("on_full", "invalidate") => options.on_full = OnFull::Invalidate,
        ("on_full", "block") => options.on_full = OnFull::Block,
        ("on_full", _) => return Err(c"on_full= must be invalidate or block"),
        ("on_error", "continue") => options.on_error = OnError::Continue,
        ("on_error", "block") => options.on_error = OnError::Block,
        ("on_error", _) => return Err(c"on_error= must be continue or block"),
        ("low_space", percent) => {
            let percent = number(percent).filter(|percent| (1..=100).contains(percent));
            options.low_space = percent.ok_or(c"low_space= must be a percentage from 1 to 100")?;
        }
        _ => return Err(c"Unknown optional argument"),
    }
    Ok(())
}

/// What a view does with unprotected chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unprotected {
    /// They read as zeroes.
    Zero,
    /// Reading them fails.
    Error,
}

/// A `preserve-view` table line, after the target's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewLine<'a> {
    /// The live device's path or number.
    pub live: &'a str,
    /// The snapshot's id; `None` for the latest.
    pub snapshot: Option<u64>,
    /// The option.
    pub unprotected: Unprotected,
}

/// Parses a `preserve-view` table line.
///
/// Errors: a text for the user that says what to write instead.
pub fn view<'a>(words: &[&'a str]) -> Parsed<ViewLine<'a>> {
    let [live, snapshot, rest @ ..] = words else {
        return Err(c"Expected: <live device> <snapshot id>|latest [<#args> <arg>...]");
    };
    let snapshot = match *snapshot {
        "latest" => None,
        id => Some(id_number(id)?),
    };
    let mut unprotected = Unprotected::Zero;
    for arg in optional(rest)? {
        unprotected =
            match *arg {
                "unprotected=zero" => Unprotected::Zero,
                "unprotected=error" => Unprotected::Error,
                _ => return Err(
                    c"Unknown optional argument; expected unprotected=zero or unprotected=error",
                ),
            };
    }
    Ok(ViewLine {
        live,
        snapshot,
        unprotected,
    })
}

fn id_number(word: &str) -> Parsed<u64> {
    let id = number(word).filter(|id| *id > 0);
    id.ok_or(c"A snapshot id is a number from 1 on")
}

/// The scope asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeWanted {
    /// Every protected chunk.
    Full,
    /// Changed since this snapshot; `None` for the latest.
    Incremental(Option<u64>),
}

/// Checks the number of snapshots to keep.
///
/// Errors: a text for the user.
pub fn keep(count: u64) -> Parsed<u32> {
    let count = u32::try_from(count).ok().filter(|n| *n <= MAX_SNAPSHOTS);
    count.ok_or(c"At most 256 snapshots can be kept")
}

/// A message to a live device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// `snapshot`
    Snapshot {
        /// The scope.
        scope: ScopeWanted,
        /// How many live snapshots to keep, with the new one: 1 to [`MAX_SNAPSHOTS`].
        keep: u32,
    },
    /// `drop`
    Drop(u64),
    /// `forget`
    Forget(u64),
    /// `protect` and `unprotect`
    Edit {
        /// Protect, rather than unprotect.
        protect: bool,
        /// First sector.
        start: u64,
        /// Number of sectors.
        len: u64,
    },
    /// `release`
    Release {
        /// The snapshot.
        id: u64,
        /// First sector.
        start: u64,
        /// Number of sectors.
        len: u64,
    },
    /// `checkpoint`
    Checkpoint,
    /// `grow`
    Grow,
    /// `trust`
    Trust,
}

fn sectors(word: &str) -> Parsed<u64> {
    number(word).ok_or(c"Starts and lengths are numbers of sectors")
}

/// Parses a message.
///
/// Errors: a text for the user that says what to write instead.
pub fn message(words: &[&str]) -> Parsed<Message> {
    match words {
        ["snapshot", args @ ..] => snapshot(args),
        ["drop", id] => Ok(Message::Drop(id_number(id)?)),
        ["drop", ..] => Err(c"Expected: drop <id>"),
        ["forget", id] => Ok(Message::Forget(id_number(id)?)),
        ["forget", ..] => Err(c"Expected: forget <id>"),
        [edit @ ("protect" | "unprotect"), start, len] => Ok(Message::Edit {
            protect: *edit == "protect",
            start: sectors(start)?,
            len: sectors(len)?,
        }),
        ["protect" | "unprotect", ..] => {
            Err(c"Expected: protect|unprotect <start> <len>, in sectors")
        }
        ["release", id, start, len] => Ok(Message::Release {
            id: id_number(id)?,
            start: sectors(start)?,
            len: sectors(len)?,
        }),
        ["release", ..] => Err(c"Expected: release <id> <start> <len>, in sectors"),
        ["checkpoint"] => Ok(Message::Checkpoint),
        ["checkpoint", ..] => Err(c"checkpoint takes no arguments"),
        ["grow"] => Ok(Message::Grow),
        ["grow", ..] => Err(c"grow takes no arguments: it looks at the store's size"),
        ["trust"] => Ok(Message::Trust),
        ["trust", ..] => Err(c"trust takes no arguments: it is for all that is unproven"),
        [] => Err(c"Empty message"),
        [..] => Err(
            c"Unknown message; expected snapshot, drop, forget, protect, unprotect, \
              release, checkpoint, grow or trust",
        ),
    }
}

fn snapshot(args: &[&str]) -> Parsed<Message> {
    let mut args = args;
    let mut scope = ScopeWanted::Full;
    if let ["full", rest @ ..] = args {
        args = rest;
    } else if let ["incremental", rest @ ..] = args {
        let [from, rest @ ..] = rest else {
            return Err(c"incremental needs from=<id>");
        };
        let base = from
            .strip_prefix("from=")
            .ok_or(c"incremental needs from=<id>")?;
        scope = ScopeWanted::Incremental(Some(id_number(base)?));
        args = rest;
    }
    let mut count = 1;
    if let [arg, rest @ ..] = args {
        let given = arg
            .strip_prefix("keep=")
            .and_then(number)
            .filter(|keep| *keep > 0);
        count = given.ok_or(c"Expected: snapshot [full | incremental from=<id>] [keep=<n>]")?;
        args = rest;
    }
    match args {
        [] => Ok(Message::Snapshot {
            scope,
            keep: keep(count)?,
        }),
        _ => Err(c"Expected: snapshot [full | incremental from=<id>] [keep=<n>]"),
    }
}

/// Parses a range as sysfs takes it: `START+LEN`, in sectors.
///
/// Errors: a text for the user.
pub fn range(text: &str) -> Parsed<(u64, u64)> {
    let (start, len) = text
        .split_once('+')
        .ok_or(c"Expected START+LEN, in sectors")?;
    Ok((sectors(start)?, sectors(len)?))
}
