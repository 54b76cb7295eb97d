// SPDX-License-Identifier: GPL-2.0

//! Which stores an activation believes: every state, boot, policy, and end of an earlier engine.

#![forbid(unsafe_code)]

use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::ON_ERROR_BLOCK;
use dm_preserve_core::format::ON_ERROR_CONTINUE;
use dm_preserve_core::format::STATE_BROKEN;
use dm_preserve_core::format::STATE_CLOSED;
use dm_preserve_core::format::STATE_OPEN;
use dm_preserve_core::store::trust::judge;
use dm_preserve_core::store::trust::parse_boot_id;
use dm_preserve_core::store::trust::BootId;
use dm_preserve_core::store::trust::EndedStore;
use dm_preserve_core::store::trust::Trust;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromZeros;

const HERE: BootId = [1; 16];
const BEFORE: BootId = [2; 16];
const LONG_AGO: BootId = [3; 16];
const UNKNOWN: BootId = [0; 16];
const SESSION: u64 = 7;

fn superblock(state: u32, boot: BootId, on_error: u32) -> Superblock {
    Superblock {
        store: [9; 16],
        session: U64::new(SESSION),
        state: U32::new(state),
        on_error: U32::new(on_error),
        boot,
        ..Superblock::new_zeroed()
    }
}

fn ended(is_intact: bool) -> EndedStore {
    EndedStore {
        store: [9; 16],
        session: SESSION,
        boot_before: BEFORE,
        is_intact,
    }
}

/// Nothing is remembered: the module has been loaded since, or the machine started.
#[test]
fn i1_i3_an_open_store_is_judged_by_boot_and_policy() {
    let judged = |boot, policy| judge(&superblock(STATE_OPEN, boot, policy), HERE, &[]);
    assert_eq!(judged(HERE, ON_ERROR_CONTINUE), Trust::Failed);
    assert_eq!(judged(HERE, ON_ERROR_BLOCK), Trust::Unproven);
    for boot in [BEFORE, UNKNOWN] {
        assert_eq!(judged(boot, ON_ERROR_CONTINUE), Trust::Unproven);
        assert_eq!(judged(boot, ON_ERROR_BLOCK), Trust::Proven);
    }
    // Two boots that are not known need not be the same.
    let open = superblock(STATE_OPEN, UNKNOWN, ON_ERROR_CONTINUE);
    assert_eq!(judge(&open, UNKNOWN, &[]), Trust::Unproven);
}

#[test]
fn a_store_that_says_so_itself_is_believed() {
    for state in [STATE_CLOSED, STATE_BROKEN] {
        for boot in [HERE, BEFORE, UNKNOWN] {
            for policy in [ON_ERROR_CONTINUE, ON_ERROR_BLOCK] {
                let superblock = superblock(state, boot, policy);
                assert_eq!(judge(&superblock, HERE, &[]), Trust::Proven);
            }
        }
    }
}

/// Its last checkpoint could not be written, or it held writes back that it could not log.
#[test]
fn a_store_that_ended_intact_in_this_boot_is_believed() {
    for policy in [ON_ERROR_CONTINUE, ON_ERROR_BLOCK] {
        let open = |boot| superblock(STATE_OPEN, boot, policy);
        let known = [ended(true)];
        assert_eq!(judge(&open(HERE), HERE, &known), Trust::Proven);
        // What was remembered is not of that session.
        let mut later = open(HERE);
        later.session = U64::new(SESSION + 1);
        assert_eq!(judge(&later, HERE, &known), judge(&later, HERE, &[]));
        let mut other = open(HERE);
        other.store = [8; 16];
        assert_eq!(judge(&other, HERE, &known), judge(&other, HERE, &[]));
        let elsewhere = open(LONG_AGO);
        assert_eq!(
            judge(&elsewhere, HERE, &known),
            judge(&elsewhere, HERE, &[])
        );
    }
}

/// Whatever it says: also if not even the session's beginning could be written, and it still says
/// what it said before.
#[test]
fn i1_i3_a_store_that_failed_in_this_boot_is_not_believed() {
    for policy in [ON_ERROR_CONTINUE, ON_ERROR_BLOCK] {
        for state in [STATE_OPEN, STATE_CLOSED] {
            let known = [ended(false)];
            let left = superblock(state, HERE, policy);
            assert_eq!(judge(&left, HERE, &known), Trust::Failed);
            for boot in [HERE, BEFORE] {
                let mut before = superblock(state, boot, policy);
                before.session = U64::new(SESSION - 1);
                assert_eq!(judge(&before, HERE, &known), Trust::Failed);
            }
        }
    }
}

#[test]
fn boot_ids_are_read_from_text() {
    let text = b"00112233-4455-6677-8899-aabbccddeeff";
    let id = parse_boot_id(text);
    assert_eq!(id[..4], [0x00, 0x11, 0x22, 0x33]);
    assert_eq!(id[12..], [0xcc, 0xdd, 0xee, 0xff]);
    for len in 0..text.len() {
        assert_eq!(parse_boot_id(&text[..len]), UNKNOWN, "{len}");
    }
    assert_eq!(
        parse_boot_id(b"zz112233-4455-6677-8899-aabbccddeeff"),
        UNKNOWN
    );
}
