// SPDX-License-Identifier: GPL-2.0

//! Table lines, messages and what sysfs takes: words, separated by blanks.

#![forbid(unsafe_code)]

use crate::args::live;
use crate::args::message;
use crate::args::range;
use crate::args::view;
use crate::args::Message;
use crate::args::ScopeWanted;
use crate::chunk::Geometry;

/// `data` is the line.
pub fn args(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if let Ok(line) = live(&words) {
        assert!(Geometry::new(u64::MAX >> 1, line.chunk_sectors).is_some());
        assert!(line.options.transient || line.chunk_sectors <= 1024);
        assert!((1..=100).contains(&line.options.low_space));
    }
    if let Ok(line) = view(&words) {
        assert_ne!(line.snapshot, Some(0));
    }
    if let Ok(message) = message(&words) {
        says_the_same(message);
    }
    let _ = range(text);
}

/// A message is what its own words are parsed as.
fn says_the_same(known: Message) {
    let text = match known {
        Message::Snapshot { scope, keep } => match scope {
            ScopeWanted::Full => format!("snapshot keep={keep}"),
            ScopeWanted::Incremental(Some(base)) => {
                format!("snapshot incremental from={base} keep={keep}")
            }
            ScopeWanted::Incremental(None) => return,
        },
        Message::Drop(id) => format!("drop {id}"),
        Message::Forget(id) => format!("forget {id}"),
        Message::Edit {
            protect,
            start,
            len,
        } => match protect {
            true => format!("protect {start} {len}"),
            false => format!("unprotect {start} {len}"),
        },
        Message::Release { id, start, len } => format!("release {id} {start} {len}"),
        Message::Checkpoint => "checkpoint".into(),
        Message::Grow => "grow".into(),
        Message::Trust => "trust".into(),
    };
    let words: Vec<&str> = text.split(' ').collect();
    assert_eq!(message(&words), Ok(known));
}
