// SPDX-License-Identifier: GPL-2.0

//! What a backup would move, and whether it can.

#![forbid(unsafe_code)]

use crate::copy::extents::Extents;
use crate::copy::stream::Header;
use crate::device::Identity;
use crate::device::Query;
use crate::device::Source;
use crate::units::SECTOR;
use crate::Error;
use crate::Result;
use dm_preserve_core::uapi;
use dm_preserve_core::uapi::Extent;
use dm_preserve_core::uapi::SnapshotInfo;
use dm_preserve_core::uapi::ATTR_CHANGED;
use dm_preserve_core::uapi::ATTR_GONE;
use dm_preserve_core::uapi::ATTR_PROTECTED;

/// What a backup would move, known before anything is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The stream's header.
    pub header: Header,
    /// Chunks changed since the base; all of them for a full backup.
    pub changed_chunks: u64,
    /// Those of them that are protected, and so will be moved.
    pub protected_chunks: u64,
}

impl Plan {
    /// Looks at what changed between `from` (0: a full backup) and the snapshot `to`.
    pub fn new<S: Source>(source: &S, from: u64, to: u64) -> Result<Self> {
        check_ends(source, from, to)?;
        let Identity {
            generation,
            chunk_bytes,
            ..
        } = source.identity()?;
        let SnapshotInfo {
            time_ns, sectors, ..
        } = source.find(to)?;
        // The size then: the device may have grown since.
        let origin_bytes = sectors.checked_mul(SECTOR).ok_or_else(|| {
            Error::Failed(format!(
                "the module reports an impossible size of snapshot {to}"
            ))
        })?;
        let header = Header {
            generation,
            from,
            to,
            time_ns,
            origin_bytes,
            chunk_bytes,
        };
        let mut plan = Plan {
            header,
            changed_chunks: 0,
            protected_chunks: 0,
        };
        for extent in Extents::new(
            source,
            Query {
                from,
                to,
                mask: ATTR_CHANGED,
                value: ATTR_CHANGED,
            },
        )? {
            let extent = extent?;
            plan.changed_chunks += extent.len;
            if extent.attributes & ATTR_PROTECTED != 0 {
                plan.protected_chunks += extent.len;
                check_not_gone(source, to, &extent)?;
            }
        }
        Ok(plan)
    }

    /// Bytes to move; the last chunk counts whole.
    pub fn bytes(&self) -> u64 {
        self.protected_chunks
            .saturating_mul(u64::from(self.header.chunk_bytes))
    }

    /// The extents to move.
    pub(super) fn moved<'a, S: Source>(&self, source: &'a S) -> Result<Extents<'a, S>> {
        let wanted = ATTR_CHANGED | ATTR_PROTECTED;
        Extents::new(
            source,
            Query {
                from: self.header.from,
                to: self.header.to,
                mask: wanted,
                value: wanted,
            },
        )
    }

    /// First byte and length.
    pub(super) fn place(&self, extent: &Extent) -> Result<(u64, u64)> {
        self.header.place(extent.start, extent.len).ok_or_else(|| {
            Error::Failed("the device changed its size during the backup; begin again".into())
        })
    }
}

fn check_ends<S: Source>(source: &S, from: u64, to: u64) -> Result<()> {
    let name = source.name();
    if source.find(to)?.kind != uapi::KIND_SNAPSHOT {
        return Err(Error::Missing(format!(
            "{name}: snapshot {to} was dropped, only its bookmark is left; take a new one with \
             `preserve snapshot {name}`"
        )));
    }
    if from >= to {
        return Err(Error::Usage(format!(
            "the base {from} must be older than the snapshot {to}"
        )));
    }
    if from != 0 {
        source.find(from)?;
    }
    Ok(())
}

fn check_not_gone<S: Source>(source: &S, to: u64, extent: &Extent) -> Result<()> {
    if extent.attributes & ATTR_GONE == 0 {
        return Ok(());
    }
    let base = source.find(to)?.base;
    let hint = match base {
        0 => "take a new snapshot, and back that up".to_string(),
        _ => format!(
            "the snapshot preserves only what changed since {base}: use --from {base}, \
             or take a full one"
        ),
    };
    Err(Error::Gone(format!(
        "{}: content of snapshot {to} is gone (overwritten without a copy), {} chunks from chunk \
         {} on; {hint}",
        source.name(),
        extent.len,
        extent.start
    )))
}
