// SPDX-License-Identifier: GPL-2.0

//! What writes all the time, from before the first snapshot until after the last: one thread each.

#![forbid(unsafe_code)]

mod bank;
mod scratch;
mod swap;
mod tree;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use crate::tell::heading;
use crate::tell::say;

/// What a writer and the demo share.
#[derive(Clone, Default)]
struct Shared {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Shared {
    /// Counts one write, rests, and says whether to go on.
    fn next(&self, rest: u64) -> bool {
        self.done.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(rest));
        !self.stop.load(Ordering::Relaxed)
    }
}

/// How long a writer may do nothing; an emulated machine may be slow.
const STANDSTILL: Duration = Duration::from_secs(30);

struct Writer {
    name: &'static str,
    shared: Shared,
    thread: JoinHandle<Result<()>>,
}

/// All writers.
pub struct Writers(Vec<Writer>);

impl Writers {
    /// Starts them.
    pub fn start() -> Result<Self> {
        heading("Writers, at work until the end");
        say("  database   transfers money between accounts, one transaction each");
        say("  documents  changes, adds and removes files of the tree");
        say("  scratch    rewrites the *.tmp files in place");
        say("  memory     uses more than there is, so that the kernel writes to the swap file");
        let mut writers = Writers(Vec::new());
        writers.add("database", bank::write);
        writers.add("documents", tree::write);
        writers.add("scratch", scratch::write);
        writers.add("memory", swap::write);
        Ok(writers)
    }

    fn add(&mut self, name: &'static str, work: fn(&Shared) -> Result<()>) {
        let shared = Shared::default();
        let its = shared.clone();
        self.0.push(Writer {
            name,
            shared,
            thread: thread::spawn(move || work(&its)),
        });
    }

    /// Lets them write for a while, and until each has done something.
    pub fn work(&self, time: Duration) -> Result<()> {
        let done = |w: &Writer| w.shared.done.load(Ordering::Relaxed);
        let before: Vec<_> = self.0.iter().map(done).collect();
        let begin = Instant::now();
        thread::sleep(time);
        for (writer, before) in self.0.iter().zip(before) {
            while done(writer) == before && !writer.thread.is_finished() {
                ensure!(
                    begin.elapsed() < time + STANDSTILL,
                    "the writer \"{}\" stands still",
                    writer.name
                );
                thread::sleep(Duration::from_millis(50));
            }
            ensure!(
                !writer.thread.is_finished(),
                "the writer \"{}\" has given up (its own words are above)",
                writer.name
            );
        }
        Ok(())
    }

    /// Ends them; none may have failed.
    pub fn stop(self) -> Result<()> {
        for writer in &self.0 {
            writer.shared.stop.store(true, Ordering::Relaxed);
        }
        for writer in self.0 {
            let result = writer.thread.join();
            result
                .map_err(|_| anyhow!("it panicked"))
                .and_then(|r| r)
                .with_context(|| format!("the writer \"{}\"", writer.name))?;
        }
        Ok(())
    }
}

/// Numbers that look random and are the same in every run (xorshift).
struct Random(u64);

impl Random {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}
