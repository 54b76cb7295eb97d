// SPDX-License-Identifier: GPL-2.0

//! A map as JSON: what it says, and that it is written while it is read.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod common;

use std::io;
use std::io::Write;

use common::Fake;
use common::CHUNK;
use preserve::copy::listing;
use preserve::device::Query;
use preserve::uapi::ATTR_PROTECTED;
use serde_json::json;

const QUERY: Query = Query {
    from: 0,
    to: 1,
    mask: ATTR_PROTECTED,
    value: ATTR_PROTECTED,
};

/// Every other chunk is protected.
fn striped(chunks: usize) -> Fake {
    let mut fake = Fake::new(chunks * CHUNK);
    (0..chunks).for_each(|chunk| fake.designation[chunk] = chunk % 2 == 0);
    fake.snapshot();
    fake
}

#[test]
fn the_list_as_json() {
    let mut fake = striped(5);
    fake.snapshots[0].gone[4] = true;
    let mut text = Vec::new();
    listing::write(&fake, QUERY, &mut text).unwrap();
    assert_eq!(text.pop(), Some(b'\n'));
    let expected = json!({
        "device": "fake", "from": 0, "snapshot": 1, "chunk_bytes": 4096,
        "extents": [
            { "start": 0, "len": 1, "attributes": ["changed", "protected"] },
            { "start": 2, "len": 1, "attributes": ["changed", "protected"] },
            { "start": 4, "len": 1, "attributes": ["changed", "protected", "gone"] },
        ],
    });
    assert_eq!(String::from_utf8(text).unwrap(), expected.to_string());
}

#[test]
fn an_empty_list() {
    let mut text = Vec::new();
    let nothing = Query { value: 0, ..QUERY };
    let mut fake = Fake::new(CHUNK);
    fake.snapshot();
    listing::write(&fake, nothing, &mut text).unwrap();
    let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(read["extents"], json!([]));
}

/// A reader that has seen enough after some bytes.
struct Impatient(usize);

impl Write for Impatient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn it_is_written_while_it_is_read() {
    let fake = striped(3000);
    let e = listing::write(&fake, QUERY, Impatient(1000)).unwrap_err();
    assert!(e.is_broken_pipe(), "{e}");
    assert!(fake.lists.get() < 20, "{} lists", fake.lists.get());
}

#[test]
fn a_wrong_query_writes_nothing() {
    let mut text = Vec::new();
    let missing = Query { to: 2, ..QUERY };
    let e = listing::write(&striped(5), missing, &mut text).unwrap_err();
    assert_eq!((e.exit_code(), text.len()), (3, 0), "{e}");
}

#[test]
fn a_failure_on_the_way_is_told() {
    let mut fake = striped(5);
    fake.fails_at = Some(3);
    let e = listing::write(&fake, QUERY, Vec::new()).unwrap_err();
    assert_eq!(e.exit_code(), 4, "{e}");
}
