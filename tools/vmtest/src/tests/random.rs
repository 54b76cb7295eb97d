// SPDX-License-Identifier: GPL-2.0

//! Thousands of random steps on a small device, each compared with the [model](crate::model).

#![forbid(unsafe_code)]

mod look;
mod steps;

use std::collections::BTreeMap;

use anyhow::Context;
use anyhow::Result;
use vmtest::disk::Disk;
use vmtest::dm::Dm;
use vmtest::rig::Rig;
use vmtest::rig::Spec;
use vmtest::rng::Rng;

use super::both;
use super::slow;
use super::Test;
use crate::model::Model;
use crate::model::Options;
use crate::Env;

pub const TESTS: &[Test] = &[
    both(slow(
        "i1_i3_random_steps_with_chunks_of_8_sectors",
        240,
        |env| several(env, 8),
    )),
    both(slow(
        "i1_i3_random_steps_with_chunks_of_16_sectors",
        240,
        |env| several(env, 16),
    )),
    both(slow(
        "i1_i3_random_steps_with_chunks_of_128_sectors",
        240,
        |env| several(env, 128),
    )),
];

/// Steps between two comparisons of everything.
const LOOK_EVERY: u64 = 50;

/// The options, one set a seed.
fn options(seed: u64) -> (Options, Vec<&'static str>) {
    let all = [
        (Options::default(), vec![]),
        (
            Options {
                reset: true,
                ..Options::default()
            },
            vec!["reset_protection"],
        ),
        (
            Options {
                keep_unprotected: true,
                ..Options::default()
            },
            vec!["keep_unprotected"],
        ),
        (
            Options {
                default_unprotected: true,
                ..Options::default()
            },
            vec!["default=unprotected"],
        ),
    ];
    all[(seed % 4) as usize].clone()
}

fn several(env: &Env, chunk: u64) -> Result<()> {
    let seeds: Vec<u64> = match env.seed {
        Some(seed) => vec![seed],
        None => (0..env.rounds(2, 1)).map(|i| chunk * 100 + i).collect(),
    };
    for seed in seeds {
        let steps = env.rounds(400, 200);
        let mut walk = Walk::new(chunk, seed)?;
        for step in 0..steps {
            walk.step(step)
                .with_context(|| format!("seed {seed}, step {step} (again: --seed {seed})"))?;
        }
        walk.look()
            .with_context(|| format!("seed {seed}, at the end"))?;
    }
    Ok(())
}

/// A walk through the states of a device. The views, by snapshot, go before the device.
struct Walk {
    views: BTreeMap<u64, (Disk, Dm)>,
    /// Open unless the device is gone.
    disk: Option<Disk>,
    model: Model,
    rng: Rng,
    stamp: u64,
    rig: Rig,
}

impl Walk {
    fn new(chunk: u64, seed: u64) -> Result<Self> {
        let (options, args) = options(seed);
        // Some sixty chunks, and a short one at the end.
        let sectors = 61 * chunk + 3;
        let rig = Rig::new(&Spec {
            sectors,
            chunk,
            // Five snapshots, and epochs of dropped ones that are kept for an older one.
            store: 1024 * chunk,
            args: &args,
            sparse: seed % 2 == 1,
            ..Spec::mb(0)
        })?;
        let disk = Some(rig.disk()?);
        let mut walk = Walk {
            views: BTreeMap::new(),
            disk,
            model: Model::new(sectors, chunk, 0, options),
            rng: Rng::new(seed),
            stamp: 1,
            rig,
        };
        walk.write(0, sectors)?;
        Ok(walk)
    }

    /// One random step.
    fn step(&mut self, number: u64) -> Result<()> {
        if number.is_multiple_of(LOOK_EVERY) {
            self.look()?;
        }
        let longest = match self.rng.below(10) {
            0 => self.model.sectors,
            1..4 => self.model.chunk * 6,
            _ => self.model.chunk,
        };
        let (start, len) = self.rng.range(self.model.sectors, longest);
        match self.rng.below(100) {
            0..40 => self.write(start, len),
            40..46 => self.zero(start, len),
            46..54 => self.discard(start, len),
            54..62 => self.edit(start, len),
            62..66 => self.take(),
            66..69 => self.release(start, len),
            69..71 => self.drop_snapshot(),
            71 => self.forget(),
            72..79 => self.read_now(start, len),
            79 if self.rig.is_persistent() => self.reopen(),
            79 => self.read_now(start, len),
            number => {
                let Some(id) = self.any_snapshot() else {
                    return Ok(());
                };
                match number {
                    80..90 => self.read_frozen(id, start, len),
                    _ => self.read_view(id, start, len),
                }
            }
        }
    }

    fn disk(&self) -> Result<&Disk> {
        self.disk.as_ref().context("the device is not open")
    }

    /// One of the live snapshots.
    fn any_snapshot(&mut self) -> Option<u64> {
        let live = &self.model.snapshots;
        match live.len() as u64 {
            0 => None,
            n => Some(live[self.rng.below(n) as usize].id),
        }
    }
}
