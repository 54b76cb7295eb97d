// SPDX-License-Identifier: GPL-2.0

//! The bios that device-mapper hands to a target.

#![forbid(unsafe_code)]

use crate::block_device::BlockDevice;
use crate::drive::Request;
use crate::io::Io;
use crate::io::PAGE_BYTES;
use crate::status::Status;
use dm_preserve_core::maps::SECTOR_BYTES;
use kernel::machine;
use sim::Data;
use std::sync::Arc;

const PAGE_SECTORS: u64 = PAGE_BYTES as u64 / SECTOR_BYTES;

/// What a bio asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Read.
    Read,
    /// Write, of data.
    Write,
    /// The content is not needed any longer.
    Discard,
    /// Write of zeroes, without data.
    WriteZeroes,
    /// Flush of the device's cache.
    Flush,
    /// Anything else.
    Other,
}

/// The sectors that a bio covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First sector.
    pub start: u64,
    /// Number of sectors.
    pub len: u64,
}

/// What a bio is made of.
pub struct Parts {
    /// What it asks for.
    pub op: Op,
    /// The sectors covered, whole blocks of 4 KiB.
    pub span: Span,
    /// What a write writes: an item for each 4 KiB.
    pub data: Vec<Data>,
    /// It is durable when it ends (`REQ_FUA`).
    pub is_forced: bool,
    /// An error is wanted rather than to wait (`REQ_NOWAIT`).
    pub is_nowait: bool,
}

/// Who a bio belongs to: device-mapper's part above the target.
pub trait Owner<S: 'static>: Send + Sync {
    /// A bio has ended. Any context.
    fn ended(&self, bio: Bio<S>);
    /// The target takes the first part of a bio only: this is the rest, to be mapped later.
    fn split(&self, rest: Parts);
}

struct Inner<S: 'static> {
    parts: Parts,
    status: Status,
    state: S,
    owner: Arc<dyn Owner<S>>,
    has_ended: bool,
}

/// A bio that a target owns, with the state `S` that it keeps with each. One that is dropped is
/// ended with an error.
pub struct Bio<S: 'static>(Option<Box<Inner<S>>>);

impl<S: Default + 'static> Bio<S> {
    /// Makes a bio.
    pub fn new(parts: Parts, owner: Arc<dyn Owner<S>>) -> Self {
        Self(Some(Box::new(Inner {
            parts,
            status: Status::OK,
            state: S::default(),
            owner,
            has_ended: false,
        })))
    }
}

impl<S: 'static> Bio<S> {
    fn inner(&self) -> &Inner<S> {
        match &self.0 {
            Some(inner) => inner,
            None => unreachable!("a bio that was given away"),
        }
    }

    fn inner_mut(&mut self) -> &mut Inner<S> {
        match &mut self.0 {
            Some(inner) => inner,
            None => unreachable!("a bio that was given away"),
        }
    }

    /// What it asks for.
    pub fn op(&self) -> Op {
        self.inner().parts.op
    }

    /// How it has ended.
    pub fn status(&self) -> Status {
        self.inner().status
    }

    /// Returns true if the submitter wants an error rather than to wait.
    pub fn is_nowait(&self) -> bool {
        self.inner().parts.is_nowait
    }

    /// The sectors covered.
    pub fn span(&self) -> Span {
        self.inner().parts.span
    }

    /// The target's state of this bio.
    pub fn state(&mut self) -> &mut S {
        &mut self.inner_mut().state
    }

    /// Takes the bio apart, after its end.
    pub fn into_parts(mut self) -> Parts {
        match self.0.take() {
            Some(inner) => inner.parts,
            None => unreachable!("a bio that was given away"),
        }
    }

    /// Keeps the first sectors, and has the rest mapped later. Returns how many it has then.
    pub(crate) fn keep_first(&mut self, sectors: u64) -> u64 {
        let inner = self.inner_mut();
        let span = inner.parts.span;
        if sectors >= span.len {
            return span.len;
        }
        assert!(
            sectors > 0 && sectors.is_multiple_of(PAGE_SECTORS),
            "{sectors} sectors kept"
        );
        let data = match inner.parts.data.is_empty() {
            true => Vec::new(),
            // CAST: A size in memory.
            false => inner
                .parts
                .data
                .split_off((sectors / PAGE_SECTORS) as usize),
        };
        inner.parts.span.len = sectors;
        let rest = Parts {
            span: Span {
                start: span.start + sectors,
                len: span.len - sectors,
            },
            data,
            ..inner.parts
        };
        inner.owner.split(rest);
        sectors
    }

    /// Sends the bio to a sector of a device.
    pub fn submit(mut self, device: &BlockDevice, sector: u64) {
        machine::might_sleep();
        let inner = self.inner_mut();
        let parts = &mut inner.parts;
        let blocks = parts.span.len / PAGE_SECTORS;
        let request = match parts.op {
            Op::Read => Request::Read {
                sector,
                bytes: parts.span.len * SECTOR_BYTES,
            },
            Op::Flush => Request::Flush,
            _ => Request::Write {
                sector,
                data: match parts.data.is_empty() {
                    true => (0..blocks).map(|_| Arc::new([0; PAGE_BYTES])).collect(),
                    false => parts.data.clone(),
                },
                is_forced: parts.is_forced,
            },
        };
        let mut bio = Some(self);
        let end = move |status, data| {
            if let Some(mut bio) = bio.take() {
                if bio.op() == Op::Read {
                    bio.inner_mut().parts.data = data;
                }
                bio.end(status);
            }
        };
        device.drive().submit(request, Box::new(end));
    }

    /// Ends the bio.
    pub fn end(mut self, status: Status) {
        if let Some(mut inner) = self.0.take() {
            inner.status = status;
            inner.has_ended = true;
            let owner = inner.owner.clone();
            owner.ended(Self(Some(inner)));
        }
    }

    /// Copies `bytes` bytes from the bio's present position on to the beginning of `io`, and moves
    /// on by as many.
    pub fn copy_to<D>(&mut self, io: &mut Io<D>, bytes: u32) {
        let pages = bytes as usize / PAGE_BYTES;
        let parts = &mut self.inner_mut().parts;
        for (n, data) in parts.data.drain(..pages.min(parts.data.len())).enumerate() {
            // It fits: the caller says no more than that.
            let _ = io.copy_in(n * PAGE_BYTES, &*data);
        }
        let sectors = u64::from(bytes) / SECTOR_BYTES;
        parts.span.start += sectors;
        parts.span.len = parts.span.len.saturating_sub(sectors);
    }
}

impl<S: 'static> Drop for Bio<S> {
    fn drop(&mut self) {
        let has_ended = self.0.as_ref().is_none_or(|inner| inner.has_ended);
        if !has_ended {
            Self(self.0.take()).end(Status::IO_ERROR);
        }
    }
}
