// SPDX-License-Identifier: GPL-2.0

//! A list of extents as JSON, written while it is read: a large device may have millions of them.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::io::Write;
use std::iter::Peekable;

use serde::ser::Error as _;
use serde::ser::SerializeSeq;
use serde::Serialize;
use serde::Serializer;

use crate::copy::extents;
use crate::copy::extents::Extents;
use crate::device::Query;
use crate::device::Source;
use crate::error::Context;
use crate::Error;
use crate::Result;

#[derive(Serialize)]
struct Listing<'a, E> {
    chunk_bytes: u32,
    device: &'a str,
    extents: E,
    from: u64,
    snapshot: u64,
}

/// Serialized once, as that takes them from the source.
struct Elements<'a, S: Source> {
    found: RefCell<Peekable<Extents<'a, S>>>,
    /// Why the source ended them too early; serde has only room for a text.
    failed: RefCell<Option<Error>>,
}

#[derive(Serialize)]
struct Element {
    attributes: Vec<&'static str>,
    len: u64,
    start: u64,
}

impl<S: Source> Serialize for Elements<'_, S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> std::result::Result<Z::Ok, Z::Error> {
        let mut sequence = serializer.serialize_seq(None)?;
        for extent in &mut *self.found.borrow_mut() {
            let extent = extent.map_err(|e| {
                let text = Z::Error::custom(&e);
                self.failed.replace(Some(e));
                text
            })?;
            sequence.serialize_element(&Element {
                attributes: extents::names(extent.attributes),
                len: extent.len,
                start: extent.start,
            })?;
        }
        sequence.end()
    }
}

/// Writes one object with all extents that a query finds. What was written before a failure is no
/// whole JSON.
pub fn write<S: Source>(source: &S, query: Query, mut out: impl Write) -> Result<()> {
    let mut found = Extents::new(source, query)?.peekable();
    // What is wrong with the query shows at once: nothing is written then.
    if let Some(Err(error)) = found.next_if(Result::is_err) {
        return Err(error);
    }
    let listing = Listing {
        chunk_bytes: source.identity()?.chunk_bytes,
        device: source.name(),
        extents: Elements {
            found: RefCell::new(found),
            failed: RefCell::default(),
        },
        from: query.from,
        snapshot: query.to,
    };
    let written = serde_json::to_writer(&mut out, &listing).map_err(io::Error::from);
    if let Some(error) = listing.extents.failed.take() {
        return Err(error);
    }
    written
        .and_then(|()| writeln!(out))
        .and_then(|()| out.flush())
        .context(|| "cannot write the map")
}
