// SPDX-License-Identifier: GPL-2.0

//! Runs tests, each in a process of its own: one that hangs or dies is a failed test, and the next
//! ones still run. After each the machine must be as clean as before.

#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::process::kill_process_group;
use rustix::process::Pid;
use rustix::process::Signal;
use vmtest::cmd;
use vmtest::kmsg::Kmsg;
use vmtest::skipped::Skipped;

use crate::health;
use crate::tests;
use crate::tests::Case;
use crate::Env;

/// The verb that runs one test in this process.
pub const ONE: &str = "one";
/// Where a test's words go.
const OUTPUT: &str = "/tmp/vmtest-output";
/// How much longer everything takes on a kernel that checks itself.
const DEBUG_FACTOR: u32 = 5;

/// Loads the module if it is not loaded.
pub fn load_module() -> Result<()> {
    if Path::new("/sys/module/dm_preserve").exists() {
        return Ok(());
    }
    cmd::run("insmod", &[&module_path()])?;
    Ok(())
}

/// The module's file.
pub fn module_path() -> String {
    std::env::var("DM_PRESERVE_KO").unwrap_or_else(|_| "/lib/dm-preserve.ko".to_string())
}

/// The file of a module of `samples/`, which is beside the module's.
pub fn sample_path(name: &str) -> String {
    let path = Path::new(&module_path()).with_file_name(name);
    path.display().to_string()
}

/// Runs one test here.
pub fn run_one(name: &str, env: &Env) -> Result<ExitCode> {
    let mut all = tests::all();
    let case = all
        .find(|case| case.name() == name)
        .with_context(|| format!("there is no test {name}; vmtest list names them"))?;
    load_module()?;
    match case.run(env) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(e) => match e.downcast_ref::<Skipped>() {
            Some(why) => {
                println!("{why}");
                Ok(ExitCode::from(Skipped::STATUS))
            }
            None => Err(e),
        },
    }
}

/// Runs those of the tests whose name contains `pattern` that are in this part.
pub fn run_all(pattern: &str, env: &Env) -> Result<ExitCode> {
    let all = tests::all().filter(|case| case.name().contains(pattern));
    let numbered = all.enumerate().filter(|(index, _)| env.part.has(*index));
    let chosen: Vec<Case> = numbered.map(|(_, case)| case).collect();
    let start = Instant::now();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let loaded = load_module();
    for case in &chosen {
        print!("test {} ... ", case.name());
        std::io::stdout().flush()?;
        let begun = Instant::now();
        let result = match &loaded {
            Ok(()) => guarded(case, env),
            Err(e) => Err(anyhow::anyhow!("the module cannot be loaded: {e:#}")),
        };
        let seconds = begun.elapsed().as_secs_f32();
        match result {
            Ok(()) => {
                passed += 1;
                println!("ok ({seconds:.1} s)");
            }
            Err(e) if e.is::<Skipped>() => {
                skipped += 1;
                println!("skipped: {e}");
            }
            Err(e) => {
                failed += 1;
                println!("FAILED ({seconds:.1} s)");
                for line in format!("{e:?}").lines() {
                    println!("    {line}");
                }
            }
        }
    }
    if let Err(e) = health::leaks() {
        failed += 1;
        println!("test no_memory_leaks ... FAILED\n    {e:#}");
    }
    if chosen.is_empty() {
        println!("no test of this part has {pattern:?} in its name");
    }
    if skipped > 0 {
        println!("{skipped} skipped");
    }
    println!("the tests took {} s", start.elapsed().as_secs());
    println!("{passed} passed, {failed} failed");
    // With a pattern there may be nothing to run.
    let is_enough = passed > 0 || !pattern.is_empty();
    Ok(match failed == 0 && is_enough {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Runs a test in a child, within its time, and looks at what it leaves behind.
fn guarded(case: &Case, env: &Env) -> Result<()> {
    let mut kernel = Kmsg::now()?;
    let result = in_child(case, env);
    let clean = health::check();
    let lines = kernel.lines()?;
    let reports = health::reports(&lines);
    let mut wrong = Vec::new();
    if let Err(e) = &result {
        wrong.push(format!("{e:#}"));
    }
    wrong.extend(clean.err().map(|e| format!("afterwards: {e:#}")));
    wrong.extend(reports.err().map(|e| format!("the kernel reports: {e:#}")));
    if wrong.is_empty() {
        return Ok(());
    }
    if wrong.len() == 1 && result.as_ref().is_err_and(|e| e.is::<Skipped>()) {
        return result;
    }
    // What the kernel said last often says why.
    let from = lines.len().saturating_sub(15);
    wrong.extend(lines[from..].iter().map(|line| format!("dmesg: {line}")));
    bail!(wrong.join("\n"))
}

fn in_child(case: &Case, env: &Env) -> Result<()> {
    let output = fs::File::create(OUTPUT)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args([ONE, &case.name()]);
    if let Some(seed) = env.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if env.quick {
        command.arg("--quick");
    }
    command.args(["--times", &env.times.to_string()]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()?;
    let limit = Duration::from_secs(case.test.seconds)
        * if health::debug_kernel() {
            DEBUG_FACTOR
        } else {
            1
        }
        * u32::try_from(env.times)?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            let said = fs::read_to_string(OUTPUT)?;
            if status.code() == Some(Skipped::STATUS.into()) {
                return Err(Skipped(said.trim().into()).into());
            }
            ensure!(status.success(), "{}", failure(&said, &status.to_string()));
            return Ok(());
        }
        if start.elapsed() > limit {
            give_up(&mut child);
            let said = fs::read_to_string(OUTPUT)?;
            bail!("it was not done after {limit:?}\n{}", said.trim());
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn failure(said: &str, status: &str) -> String {
    match said.trim() {
        "" => status.to_string(),
        said => said.to_string(),
    }
}

/// Ends a test that takes too long, and has the kernel say where its tasks wait.
fn give_up(child: &mut Child) {
    // Either may fail; that of the test is what matters.
    let _ = fs::write("/proc/sysrq-trigger", "w");
    if let Some(pid) = Pid::from_raw(child.id() as i32) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    for _ in 0..100 {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}
