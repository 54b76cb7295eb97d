// SPDX-License-Identifier: GPL-2.0

//! What `create` makes of a store that was not closed, and `note-failed`; see
//! [`preserve::store::notes`].

#![forbid(unsafe_code)]

use offline::LastUse;
use preserve::device::Live;
use preserve::store;
use preserve::store::notes;
use preserve::store::notes::Note;
use preserve::store::notes::Notes;
use preserve::store::notes::Verdict;
use preserve::store::Access;
use preserve::uapi::STATE_FAILED;
use preserve::Result;
use uuid::Uuid;

use crate::create::args::Create;
use crate::output::Output;

/// Looks at a store that is about to be used. What cannot be read, or is no store, is the module's
/// to refuse.
pub fn look(args: &Create) -> Option<LastUse> {
    let file = store::open(&args.store, Access::Read, "").ok()?;
    offline::last_use(file, &offline::Silent).ok().flatten()
}

/// What is noted of a store. A note that cannot be read says nothing, which is told.
pub fn judge(last: &LastUse, output: Output) -> Verdict {
    let note = Notes::default().load(last.store);
    let note = note.unwrap_or_else(|e| {
        output.notice(&e.to_string());
        None
    });
    notes::judge(last, note.as_ref())
}

/// Sees to a device that has just been created: vouches for its store, or says why not, and notes
/// that it is in use.
pub fn created(name: &str, verdict: Verdict, output: Output) -> Result<()> {
    let live = Live::open(name)?;
    let info = live.info()?;
    if info.unproven > 0 {
        match verdict {
            Verdict::Healthy => {
                live.trust()?;
                output.notice(
                    "the store was not closed, but it is noted that it had not failed: \
                     its snapshots are good",
                );
            }
            Verdict::Failed | Verdict::Unknown => output.notice(&format!(
                "the store was not closed, and it is not noted whether it had failed before: its \
                 snapshots and bookmarks up to {} are unproven, and cannot be read. If you know \
                 that it had not failed, say so with `preserve trust {name}`; else drop and \
                 forget them, and make a full backup",
                info.unproven
            )),
        }
    }
    if info.store == [0; 16] {
        return Ok(());
    }
    if let Err(e) = note(&live, false) {
        output.notice(&format!(
            "{e}; after a power cut the snapshots will be unproven until you vouch for them"
        ));
    }
    Ok(())
}

/// Notes how a device's store is. Its state is asked behind that too: it may be failing just now.
fn note(live: &Live, failed: bool) -> Result<()> {
    let boot = notes::this_boot()?;
    let write = |failed| {
        let store = Uuid::from_bytes(live.info()?.store);
        Notes::default().write(Note {
            store,
            boot,
            failed,
        })
    };
    write(failed)?;
    if live.info()?.state == STATE_FAILED {
        write(true)?;
    }
    Ok(())
}

/// `note-failed`: the store of a device has failed.
pub fn note_failed(name: &str) -> Result<()> {
    note(&Live::open(name)?, true)
}

/// Notes a failure before the device is removed, in case nobody has been told of it.
pub fn before_removal(name: &str) {
    let failed = |live: &Live| live.info().is_ok_and(|info| info.state == STATE_FAILED);
    if let Ok(live) = Live::open(name) {
        if failed(&live) {
            // The store may say it itself, or the running kernel remembers it.
            let _ = note(&live, true);
        }
    }
}
