// SPDX-License-Identifier: GPL-2.0

//! What the module knows of the boot that it runs in: its id, and which stores have ended without
//! being closed. It decides [whether a store may be believed](crate::store::trust).

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::Global;
use crate::format::Superblock;
use crate::store::trust;
use crate::store::trust::BootId;
use crate::store::trust::EndedStore;
use crate::store::trust::Trust;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::Mutex;

static BOOT: Global<Boot> = Global::new();

/// See the [module's documentation](self).
#[pin_data]
struct Boot {
    id: BootId,
    /// At most one for each store; few stores fail.
    #[pin]
    ended: Mutex<KVec<EndedStore>>,
}

/// Finds out which boot this is. Called when the module is loaded.
///
/// Errors: `ENOMEM`.
pub fn begin() -> Result {
    let text = dm::boot_id_text().inspect_err(|error| {
        pr_warn!(
            "the kernel's boot id cannot be read ({error:?}): stores that were not closed count \
             as unproven\n"
        );
    });
    let id = text.map_or(BootId::default(), |text| trust::parse_boot_id(&text));
    let boot = pin_init!(Boot {
        id,
        ended <- new_mutex!(KVec::new(), "Boot::ended"),
    });
    BOOT.set(Some(Arc::pin_init(boot, GFP_KERNEL)?));
    Ok(())
}

/// Forgets everything. Called when the module is unloaded.
pub fn end() {
    BOOT.set(None);
}

/// Returns the id of this boot; zero if it is not known.
pub fn id() -> BootId {
    BOOT.get().map_or(BootId::default(), |boot| boot.id)
}

/// Decides whether a store with this superblock may be believed.
pub(super) fn judge(superblock: &Superblock) -> Trust {
    match BOOT.get() {
        Some(boot) => trust::judge(superblock, boot.id, &boot.ended.lock()),
        None => trust::judge(superblock, BootId::default(), &[]),
    }
}

/// Remembers how an engine has ended.
pub(super) fn remember(new: EndedStore) {
    let Some(boot) = BOOT.get() else {
        return;
    };
    let mut ended = boot.ended.lock();
    if let Some(old) = ended.iter_mut().find(|old| old.store == new.store) {
        *old = new;
    } else if ended.push(new, GFP_KERNEL).is_err() {
        // Without it the store is believed less, not more, but for one that could not even begin
        // its session.
        pr_err!("no memory to remember how a store has ended\n");
    }
}
