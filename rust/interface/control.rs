// SPDX-License-Identifier: GPL-2.0

//! The ioctls of `/dev/preserve-control`; see [`crate::uapi`] for what they mean.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::errors::ENODATA;
use crate::dm::errors::EOPNOTSUPP;
use crate::dm::errors::EUCLEAN;
use crate::dm::DevT;
use crate::engine::read_deadline;
use crate::engine::Engine;
use crate::engine::Kind;
use crate::engine::ReadBuffer;
use crate::history::Scope;
use crate::interface::extents;
use crate::interface::quiesce;
use crate::interface::registry;
use crate::interface::status::Figures;
use crate::uapi;
use crate::uapi::args;
use crate::uapi::args::ScopeWanted;
use crate::uapi::argument;
use kernel::fs::File;
use kernel::ioctl;
use kernel::miscdevice::MiscDevice;
use kernel::miscdevice::MiscDeviceRegistration;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::uaccess::UserPtr;
use kernel::uaccess::UserSlice;

/// An open `/dev/preserve-control`.
pub(crate) struct ControlFile {
    /// The kernel crate's misc devices have an owner from 7.3 on only; before that an open file
    /// does not keep the module by itself.
    _module: dm::KeepLoaded,
}

#[vtable]
impl MiscDevice for ControlFile {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        if !dm::is_admin() {
            return Err(EPERM);
        }
        let module = dm::KeepLoaded::new()?;
        Ok(KBox::new(Self { _module: module }, GFP_KERNEL)?)
    }

    fn ioctl(_me: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        if !dm::is_admin() {
            return Err(EPERM);
        }
        if ioctl::_IOC_TYPE(cmd) != uapi::IOC_MAGIC {
            return Err(ENOTTY);
        }
        match ioctl::_IOC_NR(cmd) {
            uapi::NR_VERSION => call(arg, version),
            uapi::NR_SNAPSHOT => call(arg, snapshot),
            uapi::NR_DROP => call(arg, drop_snapshot),
            uapi::NR_FORGET => call(arg, forget),
            uapi::NR_EDIT => call(arg, edit),
            uapi::NR_EXTENTS => call(arg, list_extents),
            uapi::NR_READ => call(arg, read),
            uapi::NR_RELEASE => call(arg, release),
            uapi::NR_INFO => call(arg, info),
            uapi::NR_SNAPSHOT_INFO => call(arg, snapshot_info),
            uapi::NR_WAIT => call(arg, wait),
            uapi::NR_TRUST => call(arg, trust),
            _ => return Err(ENOTTY),
        }
        .map(|()| 0)
    }
}

/// Implemented by every argument: plain data that can be read from and written to user space.
trait Argument: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable {}
impl<T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable> Argument for T {}

fn user(address: u64, len: usize) -> Result<UserSlice> {
    let address = usize::try_from(address).map_err(|_| EFAULT)?;
    Ok(UserSlice::new(UserPtr::from_addr(address), len))
}

/// Reads the [`argument`] at `address`, calls `f` with it, and writes it back if that succeeds.
fn call<T: Argument>(address: usize, f: fn(&mut T) -> Result) -> Result {
    let mut size = [0u8; 4];
    user(address as u64, size.len())?
        .reader()
        .read_slice(&mut size)?;
    let mut bytes = KVec::new();
    user(address as u64, argument::len::<T>(size)?)?.read_all(&mut bytes, GFP_KERNEL)?;
    let mut argument: T = argument::parse(&bytes)?;
    let result = f(&mut argument);
    if result.is_ok() {
        let known = argument.as_bytes();
        user(address as u64, known.len())?
            .writer()
            .write_slice(known)?;
    }
    result
}

/// Returns the engine of the device that an argument names.
fn engine(device: uapi::DeviceNumber) -> Result<Arc<Engine>> {
    let devt = DevT::new(device.major, device.minor).ok_or(ENODEV)?;
    registry::find(devt).ok_or(ENODEV)
}

/// Refuses flags and reserved fields that are not zero with `EINVAL`.
fn zero(fields: &[u32]) -> Result {
    match fields.iter().all(|field| *field == 0) {
        true => Ok(()),
        false => Err(EINVAL),
    }
}

fn version(a: &mut uapi::Version) -> Result {
    zero(&[a.flags, a.reserved])?;
    [a.major, a.minor, a.patch] = crate::interface::VERSION;
    a.features = 0;
    Ok(())
}

fn snapshot(a: &mut uapi::TakeSnapshot) -> Result {
    zero(&[a.flags & !uapi::SNAPSHOT_FREEZE, a.reserved])?;
    match a.count {
        0 => return Err(EINVAL),
        1 => (),
        _ => return Err(EOPNOTSUPP),
    }
    let keep = args::keep(u64::from(a.keep.max(1))).map_err(|why| {
        pr_err!("{}\n", why.to_str().unwrap_or(""));
        EINVAL
    })?;
    let len = core::mem::size_of::<uapi::SnapshotDevice>();
    let mut bytes = KVec::new();
    user(a.devices, len)?.read_all(&mut bytes, GFP_KERNEL)?;
    let mut device = <uapi::SnapshotDevice as zerocopy::FromBytes>::read_from_bytes(&bytes)
        .map_err(|_| EINVAL)?;
    let scope = match (a.scope, device.base) {
        (uapi::SCOPE_FULL, 0) => ScopeWanted::Full,
        (uapi::SCOPE_INCREMENTAL, 0) => ScopeWanted::Incremental(None),
        (uapi::SCOPE_INCREMENTAL, base) => ScopeWanted::Incremental(Some(base)),
        _ => return Err(EINVAL),
    };
    let engine = engine(device.device)?;
    let wish = quiesce::Wish {
        freeze: a.flags & uapi::SNAPSHOT_FREEZE != 0,
        idle_ms: a.idle_ms,
        timeout_ms: a.timeout_ms,
    };
    device.id = quiesce::with(&engine, wish, || engine.upkeep().take_snapshot(scope, keep))?;
    user(a.devices, len)?
        .writer()
        .write_slice(zerocopy::IntoBytes::as_bytes(&device))
}

fn drop_snapshot(a: &mut uapi::SnapshotRef) -> Result {
    zero(&[a.flags])?;
    engine(a.device)?.upkeep().drop_snapshot(a.id)
}

fn forget(a: &mut uapi::SnapshotRef) -> Result {
    zero(&[a.flags])?;
    engine(a.device)?.changes().forget_bookmark(a.id)
}

fn edit(a: &mut uapi::EditRanges) -> Result {
    zero(&[a.flags & !uapi::EDIT_UNPROTECT, a.reserved])?;
    if a.count == 0 || a.count > uapi::MAX_RANGES {
        return Err(EINVAL);
    }
    let engine = engine(a.device)?;
    // CAST: Bounded above.
    let count = a.count as usize;
    let mut reader = user(a.ranges, count * core::mem::size_of::<uapi::Range>())?.reader();
    let mut ranges = KVVec::with_capacity(count, GFP_KERNEL)?;
    for _ in 0..count {
        let mut bytes = [0u8; core::mem::size_of::<uapi::Range>()];
        reader.read_slice(&mut bytes)?;
        let range: uapi::Range = zerocopy::transmute!(bytes);
        ranges.push((range.start, range.len), GFP_KERNEL)?;
    }
    engine
        .changes()
        .edit_designation(&ranges, a.flags & uapi::EDIT_UNPROTECT == 0)
}

fn list_extents(a: &mut uapi::ListExtents) -> Result {
    zero(&[a.flags])?;
    let engine = engine(a.device)?;
    // CAST: At most a constant.
    let most = u64::from(a.capacity).min(extents::CHUNKS_PER_CALL) as usize;
    // Outside of the query, which holds space in the store: writes may wait for that, and
    // allocating or a page fault for them.
    let mut extents = KVVec::with_capacity(most, GFP_KERNEL)?;
    let query = extents::Query::new(&engine, a)?;
    a.next = query.list(a.start, a.capacity, |extent| {
        extents.push_within_capacity(extent).map_err(|_| EINVAL)
    })?;
    drop(query);
    let bytes = zerocopy::IntoBytes::as_bytes(&extents[..]);
    user(a.extents, bytes.len())?.writer().write_slice(bytes)?;
    // CAST: At most the capacity.
    a.count = extents.len() as u32;
    Ok(())
}

/// Most sectors that one call reads, a multiple of every chunk size: 64 MiB.
const SECTORS_PER_READ: u64 = 1 << 17;
fn read(a: &mut uapi::ReadFrozen) -> Result {
    zero(&[a.flags, a.reserved])?;
    let engine = engine(a.device)?;
    // A snapshot that is not there is not unproven.
    engine.state().timeline().snapshot(a.id).ok_or(ENOENT)?;
    engine.state().ensure_proven(a.id)?;
    let mut frozen = ReadBuffer::new(engine.frozen())?;
    let mut buffer = KVVec::new();
    // CAST: At most 1 MiB.
    buffer.resize(frozen.io.capacity() as usize, 0u8, GFP_KERNEL)?;
    let sector_bytes = crate::maps::SECTOR_BYTES;
    let mut done = 0;
    let wanted = a.sectors.min(SECTORS_PER_READ);
    a.kind = uapi::KIND_DATA;
    let deadline = read_deadline();
    while done < wanted {
        let start = a.start.checked_add(done).ok_or(EINVAL)?;
        let piece = match engine
            .frozen()
            .read_frozen(a.id, start, wanted - done, &mut frozen)
        {
            // What came before it is good.
            Err(ENODATA | EUCLEAN | EIO | EAGAIN) if done > 0 => break,
            Err(EAGAIN) => {
                engine.phases().wait_until_active(deadline)?;
                continue;
            }
            result => result?,
        };
        let len = piece.sectors;
        let hole = piece.kind == Kind::Hole;
        if len == 0 || (done > 0 && hole != (a.kind == uapi::KIND_HOLE)) {
            break;
        }
        if hole {
            a.kind = uapi::KIND_HOLE;
        } else {
            // CAST: At most the buffer's size.
            let bytes = (len * sector_bytes) as usize;
            let part = buffer.get_mut(..bytes).ok_or(EINVAL)?;
            frozen.io.copy_out(piece.offset as usize, part)?;
            let offset = done.checked_mul(sector_bytes).ok_or(EINVAL)?;
            let address = a.buffer.checked_add(offset).ok_or(EFAULT)?;
            user(address, bytes)?.writer().write_slice(part)?;
        }
        done += len;
    }
    a.sectors = done;
    Ok(())
}

fn release(a: &mut uapi::ReleaseRange) -> Result {
    zero(&[a.flags])?;
    engine(a.device)?
        .changes()
        .release(a.id, a.range.start, a.range.len)
}

fn info(a: &mut uapi::Info) -> Result {
    zero(&[a.flags])?;
    let (size, device) = (a.size, a.device);
    *a = Figures::now(&*engine(a.device)?).0;
    (a.size, a.device) = (size, device);
    Ok(())
}

fn snapshot_info(a: &mut uapi::SnapshotInfo) -> Result {
    zero(&[a.flags])?;
    let timeline = engine(a.device)?.state().timeline();
    let snapshots = timeline
        .snapshots()
        .iter()
        .map(|s| (s, uapi::KIND_SNAPSHOT));
    let bookmarks = timeline
        .bookmarks()
        .iter()
        .map(|s| (s, uapi::KIND_BOOKMARK));
    let all = Iterator::chain(snapshots, bookmarks).filter(|(s, _)| s.id >= a.id);
    let (found, kind) = all.min_by_key(|(s, _)| s.id).ok_or(ENOENT)?;
    (a.id, a.time_ns, a.epoch, a.kind) = (found.id, found.time_ns, found.epoch, kind);
    a.sectors = found.sectors;
    (a.scope, a.base) = match found.scope {
        Scope::Full => (uapi::SCOPE_FULL, 0),
        Scope::Incremental { base, .. } => (uapi::SCOPE_INCREMENTAL, base),
    };
    Ok(())
}

fn wait(a: &mut uapi::WaitEvent) -> Result {
    zero(&[a.flags])?;
    (a.event, a.kinds) = engine(a.device)?.events().wait(a.event, a.timeout_ms)?;
    Ok(())
}

fn trust(a: &mut uapi::TrustStore) -> Result {
    zero(&[a.flags])?;
    engine(a.device)?.upkeep().trust()
}
