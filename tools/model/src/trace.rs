// SPDX-License-Identifier: GPL-2.0

//! A counterexample for people.

#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::chunks::each;
use crate::chunks::Chunks;
use crate::chunks::Content;
use crate::explore::Counterexample;
use crate::timeline::Kept;
use crate::timeline::Timeline;
use crate::world::Model;
use crate::world::World;

/// The run, step by step, with what changed.
pub fn tell<W: World>(model: &Model<W>, found: &Counterexample<W>) -> String {
    let world = &model.config;
    let mut text = world.parties();
    let mut before = world.parts(&world.first());
    let _ = writeln!(text, "\n      at first:\n{}", before.concat());
    for (number, (action, state)) in found.run.iter().enumerate() {
        let _ = writeln!(text, "{:4}. {}", number + 1, world.line(action));
        let now = world.parts(state);
        for (part, old) in now.iter().zip(&before) {
            if part != old || W::shakes_all(action.who) {
                text.push_str(part);
            }
        }
        before = now;
    }
    let _ = writeln!(text, "\nbroken: {}", found.broken);
    text
}

/// The writers, each with the chunks of its bio: a line each.
pub(crate) fn writers(bios: &[Chunks]) -> String {
    let mut text = String::new();
    for (index, chunks) in bios.iter().enumerate() {
        let _ = writeln!(text, "writer {index}: one bio over chunks {}", set(*chunks));
    }
    text
}

impl<const CHUNKS: usize, const EPOCHS: usize> Timeline<CHUNKS, EPOCHS> {
    /// What began an epoch.
    pub(crate) fn beginner(&self, number: usize) -> String {
        let kind = match self.snapshots[number].live {
            true => "snapshot",
            false => "bookmark",
        };
        format!("{kind} {number}")
    }

    /// What a snapshot keeps, and its epoch holds.
    pub(crate) fn held(&self, number: usize) -> String {
        let (epoch, snapshot) = (&self.epochs[number], &self.snapshots[number]);
        let keeps = set(snapshot.keeps & !snapshot.released);
        let marks = set(epoch.marks);
        let copies: String = epoch.copies.iter().map(|kept| copy(*kept)).collect();
        format!("keeps {keeps}; epoch {number} marks {marks}, copies {copies}")
    }
}

pub(crate) fn set(chunks: Chunks) -> String {
    let list: Vec<String> = each(chunks).map(|chunk| chunk.to_string()).collect();
    format!("{{{}}}", list.join(","))
}

pub(crate) fn names(contents: &[Content]) -> String {
    contents.iter().map(|content| name(*content)).collect()
}

fn name(content: Content) -> char {
    char::from(b'a' + content)
}

fn copy(kept: Kept) -> char {
    match kept {
        Kept::Nothing => '-',
        Kept::Copy(content) => name(content),
        Kept::Reused => '#',
    }
}
