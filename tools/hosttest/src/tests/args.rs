// SPDX-License-Identifier: GPL-2.0

//! Table lines and messages: what is accepted, and what each mistake is answered with.
//!
//! Covers I8 for these: no words, however odd, make the parser panic.

#![forbid(unsafe_code)]

use dm_preserve_core::uapi::args::live;
use dm_preserve_core::uapi::args::message;
use dm_preserve_core::uapi::args::number;
use dm_preserve_core::uapi::args::range;
use dm_preserve_core::uapi::args::view;
use dm_preserve_core::uapi::args::LiveLine;
use dm_preserve_core::uapi::args::Message;
use dm_preserve_core::uapi::args::OnError;
use dm_preserve_core::uapi::args::OnFull;
use dm_preserve_core::uapi::args::Options;
use dm_preserve_core::uapi::args::ScopeWanted;
use dm_preserve_core::uapi::args::Unprotected;
use dm_preserve_core::uapi::args::ViewLine;
use dm_preserve_core::uapi::MAX_SNAPSHOTS;
use proptest::prelude::*;
use std::ffi::CStr;

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn numbers() {
    let cases = [
        ("0", Some(0)),
        ("1", Some(1)),
        ("007", Some(7)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("99999999999999999999999", None),
        ("", None),
        ("-1", None),
        ("+1", None),
        (" 1", None),
        ("1 ", None),
        ("1\n", None),
        ("0x10", None),
        ("1k", None),
        ("1_000", None),
        ("1.0", None),
        ("\u{661}", None),
    ];
    for (word, value) in cases {
        assert_eq!(number(word), value, "{word:?}");
    }
}

fn options(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::DEFAULT;
    change(&mut options);
    options
}

#[test]
fn live_lines() {
    let cases = [
        ("", options(|_| ())),
        ("0", options(|_| ())),
        ("1 persistent", options(|_| ())),
        ("1 transient", options(|o| o.transient = true)),
        ("1 keep_unprotected", options(|o| o.keep_unprotected = true)),
        (
            "1 default=protected",
            options(|o| o.default_protected = true),
        ),
        (
            "1 default=unprotected",
            options(|o| o.default_protected = false),
        ),
        ("1 reset_protection", options(|o| o.reset_protection = true)),
        (
            "1 on_full=invalidate",
            options(|o| o.on_full = OnFull::Invalidate),
        ),
        ("1 on_full=block", options(|o| o.on_full = OnFull::Block)),
        (
            "1 on_error=continue",
            options(|o| o.on_error = OnError::Continue),
        ),
        ("1 on_error=block", options(|o| o.on_error = OnError::Block)),
        ("1 low_space=1", options(|o| o.low_space = 1)),
        ("1 low_space=100", options(|o| o.low_space = 100)),
        (
            "7 low_space=55 on_error=block on_full=block reset_protection default=unprotected \
             keep_unprotected transient",
            Options {
                transient: true,
                keep_unprotected: true,
                default_protected: false,
                reset_protection: true,
                on_full: OnFull::Block,
                on_error: OnError::Block,
                low_space: 55,
            },
        ),
    ];
    for (args, options) in cases {
        let line = format!("/dev/a 7:1 8 {args}");
        let line = line.trim_end();
        let expected = LiveLine {
            origin: "/dev/a",
            store: "7:1",
            chunk_sectors: 8,
            options,
        };
        assert_eq!(live(&words(line)), Ok(expected), "{line}");
    }
    for chunk_sectors in (3..=11).map(|shift| 1u64 << shift) {
        let line = format!("a b {chunk_sectors} 1 transient");
        assert_eq!(
            live(&words(&line)).map(|line| line.chunk_sectors),
            Ok(chunk_sectors)
        );
    }
}

#[test]
fn live_lines_with_mistakes() {
    let usage = c"Expected: <origin> <store> <chunk sectors> [<#args> <arg>...]";
    let not_a_number = c"The chunk size is not a number of sectors";
    let size = c"The chunk size must be a power of two from 8 to 2048 sectors";
    let count = c"The number of optional arguments is not a number";
    let mismatch = c"The number of optional arguments does not match the arguments";
    let unknown = c"Unknown optional argument";
    let default = c"default= must be protected or unprotected";
    let on_full = c"on_full= must be invalidate or block";
    let on_error = c"on_error= must be continue or block";
    let low_space = c"low_space= must be a percentage from 1 to 100";
    let both = c"transient and persistent exclude each other";
    let too_large = c"With a persistent store the chunk size is at most 1024 sectors";
    let cases: &[(&str, &CStr)] = &[
        ("", usage),
        ("a", usage),
        ("a b", usage),
        ("a b x", not_a_number),
        ("a b -8", not_a_number),
        ("a b 99999999999999999999", not_a_number),
        ("a b 0", size),
        ("a b 4", size),
        ("a b 12", size),
        ("a b 4096", size),
        ("a b 9223372036854775808", size),
        ("a b 8 transient", count),
        ("a b 8 -1 transient", count),
        ("a b 8 0 transient", mismatch),
        ("a b 8 1", mismatch),
        ("a b 8 1 transient keep_unprotected", mismatch),
        ("a b 8 3 transient keep_unprotected", mismatch),
        ("a b 8 18446744073709551615 transient", mismatch),
        ("a b 8 2 transient persistent", both),
        ("a b 8 2 persistent transient", both),
        ("a b 8 1 persistent=", unknown),
        ("a b 8 2 transient Transient", unknown),
        ("a b 8 2 transient transient=1", unknown),
        ("a b 8 2 transient keep_unprotected=1", unknown),
        ("a b 8 2 transient reset_protection=no", unknown),
        ("a b 8 2 transient =", unknown),
        ("a b 8 2 transient default", default),
        ("a b 8 2 transient default=", default),
        ("a b 8 2 transient default=all", default),
        ("a b 8 2 transient default=protected=", default),
        ("a b 8 2 transient on_full", on_full),
        ("a b 8 2 transient on_full=drop", on_full),
        ("a b 8 2 transient on_error", on_error),
        ("a b 8 2 transient on_error=invalidate", on_error),
        ("a b 8 2 transient low_space", low_space),
        ("a b 8 2 transient low_space=", low_space),
        ("a b 8 2 transient low_space=0", low_space),
        ("a b 8 2 transient low_space=101", low_space),
        ("a b 8 2 transient low_space=50%", low_space),
        ("a b 2048", too_large),
        ("a b 2048 1 keep_unprotected", too_large),
    ];
    for (line, text) in cases {
        assert_eq!(live(&words(line)), Err(*text), "{line}");
    }
}

#[test]
fn arguments_that_take_no_value_have_no_equals_sign() {
    for arg in ["keep_unprotected=", "reset_protection=", "transient="] {
        let line = format!("a b 8 2 transient {arg}");
        assert_eq!(
            live(&words(&line)),
            Err(c"Unknown optional argument"),
            "{line}"
        );
    }
}

#[test]
fn view_lines() {
    let cases = [
        ("/dev/mapper/a latest", None, Unprotected::Zero),
        ("/dev/mapper/a latest 0", None, Unprotected::Zero),
        ("/dev/mapper/a 1", Some(1), Unprotected::Zero),
        (
            "/dev/mapper/a 18446744073709551615",
            Some(u64::MAX),
            Unprotected::Zero,
        ),
        (
            "/dev/mapper/a 3 1 unprotected=zero",
            Some(3),
            Unprotected::Zero,
        ),
        (
            "/dev/mapper/a 3 1 unprotected=error",
            Some(3),
            Unprotected::Error,
        ),
    ];
    for (line, snapshot, unprotected) in cases {
        let expected = ViewLine {
            live: "/dev/mapper/a",
            snapshot,
            unprotected,
        };
        assert_eq!(view(&words(line)), Ok(expected), "{line}");
    }
    let usage = c"Expected: <live device> <snapshot id>|latest [<#args> <arg>...]";
    let id = c"A snapshot id is a number from 1 on";
    let unknown = c"Unknown optional argument; expected unprotected=zero or unprotected=error";
    let cases: &[(&str, &CStr)] = &[
        ("", usage),
        ("a", usage),
        ("a 0", id),
        ("a -1", id),
        ("a newest", id),
        ("a Latest", id),
        (
            "a latest x",
            c"The number of optional arguments is not a number",
        ),
        (
            "a latest 1",
            c"The number of optional arguments does not match the arguments",
        ),
        (
            "a latest 0 unprotected=zero",
            c"The number of optional arguments does not match the arguments",
        ),
        ("a latest 1 unprotected", unknown),
        ("a latest 1 unprotected=", unknown),
        ("a latest 1 unprotected=hole", unknown),
        ("a latest 1 transient", unknown),
    ];
    for (line, text) in cases {
        assert_eq!(view(&words(line)), Err(*text), "{line}");
    }
}

#[test]
fn messages() {
    let full = ScopeWanted::Full;
    let from = |id| ScopeWanted::Incremental(Some(id));
    let cases = [
        (
            "snapshot",
            Message::Snapshot {
                scope: full,
                keep: 1,
            },
        ),
        (
            "snapshot full",
            Message::Snapshot {
                scope: full,
                keep: 1,
            },
        ),
        (
            "snapshot keep=3",
            Message::Snapshot {
                scope: full,
                keep: 3,
            },
        ),
        (
            "snapshot full keep=256",
            Message::Snapshot {
                scope: full,
                keep: 256,
            },
        ),
        (
            "snapshot incremental from=7",
            Message::Snapshot {
                scope: from(7),
                keep: 1,
            },
        ),
        (
            "snapshot incremental from=7 keep=2",
            Message::Snapshot {
                scope: from(7),
                keep: 2,
            },
        ),
        ("drop 1", Message::Drop(1)),
        ("forget 18446744073709551615", Message::Forget(u64::MAX)),
        (
            "protect 0 8",
            Message::Edit {
                protect: true,
                start: 0,
                len: 8,
            },
        ),
        (
            "unprotect 16 0",
            Message::Edit {
                protect: false,
                start: 16,
                len: 0,
            },
        ),
        (
            "release 4 8 16",
            Message::Release {
                id: 4,
                start: 8,
                len: 16,
            },
        ),
        ("checkpoint", Message::Checkpoint),
        ("grow", Message::Grow),
        ("trust", Message::Trust),
    ];
    for (line, expected) in cases {
        assert_eq!(message(&words(line)), Ok(expected), "{line}");
    }
}

#[test]
fn messages_with_mistakes() {
    let unknown =
        c"Unknown message; expected snapshot, drop, forget, protect, unprotect, release, \
          checkpoint, grow or trust";
    let many = c"At most 256 snapshots can be kept";
    let snapshot = c"Expected: snapshot [full | incremental from=<id>] [keep=<n>]";
    let from = c"incremental needs from=<id>";
    let id = c"A snapshot id is a number from 1 on";
    let sectors = c"Starts and lengths are numbers of sectors";
    let edit = c"Expected: protect|unprotect <start> <len>, in sectors";
    let release = c"Expected: release <id> <start> <len>, in sectors";
    let cases: &[(&str, &CStr)] = &[
        ("", c"Empty message"),
        ("snapshots", unknown),
        ("Snapshot", unknown),
        ("full", unknown),
        ("snapshot partial", snapshot),
        ("snapshot full full", snapshot),
        ("snapshot full incremental from=1", snapshot),
        ("snapshot keep=2 full", snapshot),
        ("snapshot keep=2 keep=3", snapshot),
        ("snapshot keep", snapshot),
        ("snapshot keep=", snapshot),
        ("snapshot keep=0", snapshot),
        ("snapshot keep=257", many),
        ("snapshot full keep=4294967297", many),
        ("snapshot full keep=18446744073709551615", many),
        ("snapshot keep=-1", snapshot),
        ("snapshot keep=18446744073709551616", snapshot),
        ("snapshot from=1", snapshot),
        ("snapshot incremental from=1 full", snapshot),
        ("snapshot incremental", from),
        ("snapshot incremental keep=2", from),
        ("snapshot incremental 3", from),
        ("snapshot incremental from=", id),
        ("snapshot incremental from=0", id),
        ("snapshot incremental from=latest", id),
        ("drop", c"Expected: drop <id>"),
        ("drop 1 2", c"Expected: drop <id>"),
        ("drop 0", id),
        ("drop x", id),
        ("forget", c"Expected: forget <id>"),
        ("forget 1 2", c"Expected: forget <id>"),
        ("forget 0", id),
        ("protect", edit),
        ("protect 1", edit),
        ("unprotect 1 2 3", edit),
        ("protect x 1", sectors),
        ("protect 1 -1", sectors),
        ("unprotect 0 18446744073709551616", sectors),
        ("release", release),
        ("release 1 2", release),
        ("release 1 2 3 4", release),
        ("release 0 1 2", id),
        ("release 1 x 2", sectors),
        ("release 1 2 x", sectors),
        ("checkpoint now", c"checkpoint takes no arguments"),
        (
            "grow 8192",
            c"grow takes no arguments: it looks at the store's size",
        ),
    ];
    for (line, text) in cases {
        assert_eq!(message(&words(line)), Err(*text), "{line}");
    }
}

#[test]
fn ranges() {
    assert_eq!(range("0+8"), Ok((0, 8)));
    assert_eq!(
        range("18446744073709551615+18446744073709551615"),
        Ok((u64::MAX, u64::MAX))
    );
    for text in ["", "8", "8 8", "8-16"] {
        assert_eq!(
            range(text),
            Err(c"Expected START+LEN, in sectors"),
            "{text:?}"
        );
    }
    for text in ["+", "8+", "+8", "8+8+8", "8 + 8", "8+8\n", "x+8", "8+-8"] {
        assert_eq!(
            range(text),
            Err(c"Starts and lengths are numbers of sectors"),
            "{text:?}"
        );
    }
}

/// Words that are nearly right, and words that are not.
fn word() -> impl Strategy<Value = String> {
    let known = "snapshot full incremental from=1 from= keep=2 keep= drop forget protect \
        unprotect release checkpoint latest transient keep_unprotected default= \
        default=protected on_full=block on_error= low_space=50 low_space= unprotected=zero = == \
        + 1+2 0 1 2 3 8 2048 18446744073709551615 -1";
    let known: Vec<String> = known.split_whitespace().map(String::from).collect();
    prop_oneof![3 => proptest::sample::select(known), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn any_words_are_answered(words in proptest::collection::vec(word(), 0..9)) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Err(text) = live(&words) {
            prop_assert!(!text.is_empty());
        }
        if let Err(text) = view(&words) {
            prop_assert!(!text.is_empty());
        }
        match message(&words) {
            Ok(Message::Snapshot { keep, .. }) => prop_assert!((1..=MAX_SNAPSHOTS).contains(&keep)),
            Ok(Message::Drop(id) | Message::Forget(id) | Message::Release { id, .. }) => {
                prop_assert!(id > 0)
            }
            Ok(_) => (),
            Err(text) => prop_assert!(!text.is_empty()),
        }
        for word in words {
            let expected = (!word.is_empty() && word.chars().all(|c| c.is_ascii_digit()))
                .then(|| word.parse::<u64>().ok())
                .flatten();
            prop_assert_eq!(number(word), expected);
            let _ = range(word);
        }
    }
}
