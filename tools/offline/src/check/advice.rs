// SPDX-License-Identifier: GPL-2.0

//! What the user may do about damages that a repair leaves.

#![forbid(unsafe_code)]

use super::report::Damage;
use super::report::Report;

const ANEW: &str =
    "what the snapshots were cannot be known any more: `preserve create --format` begins anew";

/// Each advice once.
pub(crate) fn advice(report: &Report) -> Vec<String> {
    let mut advice = Vec::new();
    for damage in &report.damage {
        let text = match damage.part {
            "superblock" => superblock(damage, report),
            part => other(part, damage, report).into(),
        };
        if !advice.contains(&text) {
            advice.push(text);
        }
    }
    advice
}

fn superblock(damage: &Damage, report: &Report) -> String {
    let says = |words| damage.what.contains(words);
    if says("tracking is broken") {
        return "all snapshots are lost; the next activation begins anew by itself".into();
    }
    if says("both superblocks are damaged") {
        return ANEW.into();
    }
    if says("both are valid") {
        return "which of the two is right is not known; nothing was changed".into();
    }
    if says("is unsupported") {
        return "a later version of dm-preserve wrote it; use the preserve of that version".into();
    }
    let mut places = report.superblocks.iter();
    match places.find(|place| place.status == "foreign") {
        Some(place) => format!(
            "block {at} has something that dm-preserve did not write; has another program taken \
             the device? If nothing of that is wanted, make the block zero \
             (`dd if=/dev/zero of=STORE bs=4096 seek={at} count=1 conv=notrunc`), and repair again",
            at = place.block
        ),
        // There is no checkpoint yet, or it could not be written.
        None => {
            "the other superblock counts; the next activation writes both, if the device lets it"
                .into()
        }
    }
}

fn other(part: &str, damage: &Damage, report: &Report) -> &'static str {
    match part {
        "layout" if damage.what.contains("there are only") => "give the store its old size back",
        "layout" | "checkpoint" | "segments" => ANEW,
        "log" => "the next activation gives all snapshots up by itself, and begins anew",
        _ if report
            .store
            .as_ref()
            .is_some_and(|store| store.rollback.is_some()) =>
        {
            "finish the rollback first, with `preserve rollback --leave-lost`"
        }
        _ if damage.what.ends_with(super::contents::ROTTEN) => {
            "a content that is not what its checksum says is lost, but stays in the index until \
             nothing else has to be repaired first"
        }
        _ => {
            "contents that cannot be read, or that no record accounts for, may be good: see to \
             the device, or drop the snapshots that need them"
        }
    }
}
