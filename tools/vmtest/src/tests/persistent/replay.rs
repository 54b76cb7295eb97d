// SPDX-License-Identifier: GPL-2.0

//! Crashes at chosen writes: what a live device writes to its disks is logged (dm-log-writes), and
//! any prefix of the log is a crash, after which what was promised must hold.
//!
//! Origin, store and a ledger of what is promised are slices of one logged device: so their writes
//! have a common order, and each prefix has in it what had been promised at that point. A flush of
//! one slice flushes all, though.
//!
//! A *place* is the length of a prefix: one for each content that origin and store have had, with
//! all of the ledger that was written before the next change. At half of the places what comes next
//! is there in part: any of the writes that wait for the next flush, or some sectors of the next
//! write with FUA.
//!
//! The next round begins with a crash of the one before; so recoveries are logged as well, and
//! crashes in them replayed. The store grows in each round.

#![forbid(unsafe_code)]

mod subjects;

use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::cmd;
use vmtest::dm::Dm;
use vmtest::logwrites::Entry;
use vmtest::logwrites::Image;
use vmtest::logwrites::Log;
use vmtest::logwrites::Logged;
use vmtest::loopdev::Loop;
use vmtest::node;
use vmtest::nullblk::NullBlk;
use vmtest::rig::Rig;
use vmtest::rig::Spec;
use vmtest::rng::Rng;

use crate::tests::slow;
use crate::tests::test;
use crate::tests::Test;
use crate::Env;
use subjects::Chunks;
use subjects::Ext4;
use subjects::Liar;

pub const TESTS: &[Test] = &[
    slow("i1_i2_i3_replayed_writes", 300, |env| {
        rounds(env, 11, Looks::Some(8), &|seed| {
            Box::new(Chunks::new(seed, 8))
        })
    }),
    slow("i1_i2_i3_replayed_writes_at_every_boundary", 600, |env| {
        rounds(env, 17, Looks::Boundaries, &|seed| {
            Box::new(Chunks::short(seed))
        })
    }),
    slow(
        "i1_i2_i3_replayed_writes_of_chunks_of_32_sectors",
        300,
        |env| {
            rounds(env, 12, Looks::Some(8), &|seed| {
                Box::new(Chunks::new(seed, 32))
            })
        },
    ),
    slow("i1_i2_i3_replayed_writes_with_a_full_store", 300, |env| {
        rounds(env, 13, Looks::Some(8), &|seed| {
            Box::new(Chunks::with_small_store(seed))
        })
    }),
    slow("i1_i2_i3_replayed_writes_of_ext4", 300, |env| {
        rounds(env, 14, Looks::Some(3), &|_| Box::new(Ext4))
    }),
    test("persistent_clean_shutdown_flushes_the_origin", shutdown),
    slow("replayed_writes_tell_of_a_store_that_lies", 120, |_| {
        liar(15, |parts| &parts.store)
    }),
    slow("replayed_writes_tell_of_an_origin_that_lies", 120, |_| {
        liar(16, |parts| &parts.origin)
    }),
];

/// Memory that a log may take, in MiB.
const LOG_MB: u64 = 400;
/// Sectors of the store that are metadata for the most part: places there get as many looks as all
/// others.
const METADATA: u64 = 1400;

/// Where a log is looked at.
#[derive(Clone, Copy)]
enum Looks {
    /// At so many places.
    Some(u64),
    /// Before and behind each flush and each write with FUA to origin or store.
    Boundaries,
}

/// What goes on, and is looked at after a crash.
trait Subject {
    /// Sectors of origin, store and ledger.
    fn sizes(&self) -> [u64; 3];
    /// Goes on from what is on the disks, for some time.
    fn play(&mut self, parts: &Parts) -> Result<()>;
    /// Checks what must hold. Nothing may be in use afterwards but `parts`.
    fn look(&mut self, parts: &Parts) -> Result<()>;
    /// Whether what it is about did not come about.
    fn was_in_vain(&self) -> bool {
        false
    }
}

/// Slices of a disk.
struct Parts {
    origin: Dm,
    store: Dm,
    ledger: Dm,
    /// The store's table when it has grown.
    grown: String,
}

impl Parts {
    /// The store has only a part of its place, which grows with `age`. A flush of the ledger goes
    /// to `flushed` instead: each of its writes comes with one, and would flush origin and store.
    fn of(disk: &str, sizes: [u64; 3], age: u64, flushed: &str) -> Result<Self> {
        let [origin, store, ledger] = sizes;
        let eighths = |age: u64| store / 8 * (5 + age.min(3));
        let at = origin + store;
        let table = format!("0 {ledger} delay {disk} {at} 0 {disk} {at} 0 {flushed} 0 0");
        Ok(Parts {
            origin: Dm::linear("vt-part-o", disk, 0, origin)?,
            store: Dm::linear("vt-part-s", disk, origin, eighths(age))?,
            ledger: Dm::create("vt-part-l", &table)?,
            grown: format!("0 {} linear {disk} {origin}", eighths(age + 1)),
        })
    }

    /// The store becomes larger. The result is its size.
    fn grow(&self) -> Result<u64> {
        self.store.swap(&self.grown)?;
        node::sectors(self.store.path())
    }
}

/// A disk in memory.
fn disk(name: &str, image: &Image) -> Result<Loop> {
    let file = format!("/tmp/{name}.img");
    image.write(&file)?;
    Loop::over(file)
}

fn rounds(
    env: &Env,
    seed: u64,
    looks: Looks,
    subject: &dyn Fn(u64) -> Box<dyn Subject>,
) -> Result<()> {
    let seed = env.seed.unwrap_or(seed);
    let mut rng = Rng::new(seed);
    let sizes = subject(seed).sizes();
    let mut image = Image::zeroes(sizes.iter().sum());
    let mut in_vain = true;
    for round in 0..env.rounds(3, 2) {
        let context = || format!("seed {seed}, round {round}");
        let mut subject = subject(rng.number());
        let log = record(&image, round, subject.as_mut()).with_context(context)?;
        let age = round + 1;
        image =
            replay(image, age, &log, subject.as_mut(), &mut rng, looks).with_context(context)?;
        in_vain &= subject.was_in_vain();
    }
    ensure!(!in_vain, "no snapshot was given up");
    Ok(())
}

/// A disk that takes what is in its cache for durable is noticed: so would be a flush or FUA that
/// is missing.
fn liar(seed: u64, which: fn(&Parts) -> &Dm) -> Result<()> {
    let mut subject = Liar::new(Chunks::new(seed, 8), which);
    let image = Image::zeroes(subject.sizes().iter().sum());
    let log = record(&image, 0, &mut subject)?;
    match replay(
        image,
        1,
        &log,
        &mut subject,
        &mut Rng::new(seed),
        Looks::Some(20),
    ) {
        Ok(_) => bail!("nothing was noticed"),
        // See `explain`.
        Err(e) if e.to_string().starts_with("after ") => Ok(()),
        Err(e) => Err(e),
    }
}

/// A store that says that it is closed has a fingerprint of the origin in it: what it was taken of
/// must not vanish with a cache.
fn shutdown(_: &Env) -> Result<()> {
    let spec = Spec::mb(1).persistent();
    let disk = disk("vt-disk", &Image::zeroes(spec.sectors))?;
    let origin = Logged::over(&disk, spec.sectors, 64)?;
    let store = NullBlk::new("vt-store", 24)?;
    let rig = Rig::over(&spec, origin.path(), store.path())?;
    rig.disk()?.stamp(0, 8, 1)?;
    drop(rig);
    let log = origin.finish()?;
    let mut since = log.entries.iter().skip_while(|entry| !entry.is_change());
    ensure!(since.any(Entry::is_flush), "{:?}", log.entries);
    Ok(())
}

/// Goes on from an image. The result is what was written.
fn record(image: &Image, age: u64, subject: &mut dyn Subject) -> Result<Log> {
    let disk = disk("vt-disk", image)?;
    let logged = Logged::over(&disk, image.sectors(), LOG_MB)?;
    let parts = Parts::of(logged.path(), subject.sizes(), age, disk.path())?;
    subject.play(&parts)?;
    drop(parts);
    logged.finish()
}

/// Looks at some places. The result is the image at one of them.
fn replay(
    mut image: Image,
    age: u64,
    log: &Log,
    subject: &mut dyn Subject,
    rng: &mut Rng,
    looks: Looks,
) -> Result<Image> {
    let sizes = subject.sizes();
    let places = match looks {
        Looks::Some(looks) => choose(log, sizes, rng, looks),
        Looks::Boundaries => boundaries(log, sizes),
    };
    let begun = Instant::now();
    println!("{} writes, {} looks", log.entries.len(), places.len());
    ensure!(!places.is_empty(), "nothing was written");
    let disk = disk("vt-disk", &image)?;
    let parts = Parts::of(disk.path(), sizes, age, disk.path())?;
    let next = rng.below(places.len() as u64) as usize;
    let (mut at, mut result) = (0, None);
    for (n, place) in places.into_iter().enumerate() {
        for entry in &log.entries[at..place] {
            image.apply(log, entry)?;
        }
        at = place;
        let mut crashed = image.clone();
        let torn = rng.chance(50);
        if torn {
            tear(&mut crashed, log, place, rng)?;
        }
        crashed.write(disk.file())?;
        if let Err(e) = subject.look(&parts) {
            crashed.write(disk.file())?;
            return Err(e).with_context(|| explain(log, place, torn, &parts));
        }
        if n == next {
            result = Some(crashed);
        }
    }
    println!("looked in {:?}", begun.elapsed());
    result.context("no place")
}

/// All places, in order.
fn places(log: &Log, ledger: u64) -> Vec<usize> {
    let mut found = Vec::new();
    let mut has_changed = true;
    for (place, entry) in log.entries.iter().enumerate() {
        if entry.is_change() && entry.sector < ledger {
            if has_changed {
                found.push(place);
            }
            has_changed = true;
        }
    }
    found.push(log.entries.len());
    found
}

/// The places before and behind what makes something durable.
fn boundaries(log: &Log, [origin, store, _]: [u64; 3]) -> Vec<usize> {
    let ledger = origin + store;
    let all = places(log, ledger);
    let is_boundary = |entry: &Entry| entry.is_flush() || (entry.is_fua() && entry.sector < ledger);
    let mut before = 0;
    let mut found = Vec::new();
    for place in all {
        let behind = log.entries[before..place].iter().any(is_boundary);
        if behind || log.entries.get(place).is_some_and(is_boundary) {
            found.push(place);
        }
        before = place;
    }
    found
}

/// Some places, in order: of all, of those beside a write of metadata, and of the first ones, which
/// are in recovery.
fn choose(log: &Log, [origin, store, _]: [u64; 3], rng: &mut Rng, looks: u64) -> Vec<usize> {
    let all = places(log, origin + store);
    let metadata = origin..origin + METADATA;
    let is_metadata = |place: &usize| {
        let entry = log.entries.get(*place);
        entry.is_some_and(|entry| metadata.contains(&entry.sector))
    };
    let special: Vec<usize> = all.iter().copied().filter(is_metadata).collect();
    let first = &all[..all.len().min(40)];
    let mut chosen = Vec::new();
    for n in 0..looks {
        let from = match n % 4 {
            0 => first,
            1 if !special.is_empty() => &special,
            _ => &all,
        };
        chosen.push(from[rng.below(from.len() as u64) as usize]);
    }
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

/// Adds a part of what comes next.
fn tear(image: &mut Image, log: &Log, place: usize, rng: &mut Rng) -> Result<()> {
    let next = &log.entries[place..];
    let waiting = next.iter().take_while(|entry| entry.was_cached()).count();
    for entry in &next[..waiting] {
        match rng.below(3) {
            0 => (),
            1 => image.apply(log, entry)?,
            _ => image.apply_torn(log, entry, || rng.chance(50))?,
        }
    }
    match next.first() {
        Some(entry) if entry.is_fua() => image.apply_torn(log, entry, || rng.chance(50)),
        _ => Ok(()),
    }
}

/// Where it was, and what is in the store there.
fn explain(log: &Log, place: usize, torn: bool, parts: &Parts) -> String {
    let mut words = format!("after {place} of {} writes", log.entries.len());
    if torn {
        words += ", and a part of what came next";
    }
    let from = place.saturating_sub(8);
    let around = log.entries.iter().enumerate().skip(from).take(16);
    for (n, entry) in around {
        words += &format!("\n{n}: {entry:?}");
    }
    for verb in ["check", "dump"] {
        let said = match cmd::output("/bin/preserve", &[verb, parts.store.path()], "") {
            Ok(output) => output.stdout + &output.stderr,
            Err(e) => e.to_string(),
        };
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(60)..].join("\n");
        words += &format!("\npreserve {verb}:\n{last}");
    }
    words + "\n"
}
