// SPDX-License-Identifier: GPL-2.0

//! What is done between the guest's marks, and what comes of it.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::paths::Paths;
use crate::symbols::Function;
use crate::symbols::Symbols;

/// The kernel function whose execution is a mark: the one behind `/proc/sys/kernel/hostname`.
pub const MARK: &str = "proc_do_uts_string";

/// Files that the plugin reads and writes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Files {
    /// Symbols of the kernel: `System.map`.
    pub map: PathBuf,
    /// Symbols of modules, as in `/proc/kallsyms`; there at the first mark.
    pub modules: PathBuf,
    /// Where the folded paths go.
    pub out: PathBuf,
}

impl Files {
    /// Takes QEMU's `map=FILE`, `modules=FILE` and `out=FILE`, all of which there must be.
    ///
    /// # Errors
    ///
    /// Says what is missing or unknown.
    pub fn parse<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut files = Self::default();
        for argument in arguments {
            match argument.split_once('=') {
                Some(("map", file)) => files.map = file.into(),
                Some(("modules", file)) => files.modules = file.into(),
                Some(("out", file)) => files.out = file.into(),
                _ => return Err(format!("{argument} is unknown")),
            }
        }
        for file in [&files.map, &files.modules, &files.out] {
            if file.as_os_str().is_empty() {
                return Err("map=, modules= and out= are needed".into());
            }
        }
        Ok(files)
    }
}

/// A block of code, as it was translated.
#[derive(Clone, Copy, Debug)]
struct Block {
    address: u64,
    /// Its function, and whether that begins a path; not known before the first mark.
    function: Option<(Function, bool)>,
}

/// A run of the guest.
#[derive(Debug)]
pub struct Session {
    files: Files,
    symbols: Symbols,
    mark: u64,
    blocks: Vec<Block>,
    paths: Paths,
    follows: bool,
    counts: bool,
    /// What the counter of executed instructions was when the present block began.
    seen: u64,
}

impl Session {
    /// Begins with the kernel's symbols.
    ///
    /// # Errors
    ///
    /// Says what is wrong with `System.map`.
    pub fn new(files: Files) -> Result<Self, String> {
        let mut symbols = Symbols::default();
        let map = &files.map;
        symbols
            .add_file(map)
            .map_err(|e| format!("{}: {e}", map.display()))?;
        let mark = symbols
            .address(MARK)
            .ok_or_else(|| format!("{}: no {MARK}", map.display()))?;
        Ok(Self {
            files,
            symbols,
            mark,
            blocks: Vec::new(),
            paths: Paths::default(),
            follows: false,
            counts: false,
            seen: 0,
        })
    }

    /// Remembers a block of code; returns its number.
    pub fn translated(&mut self, address: u64) -> usize {
        self.blocks.push(Block {
            address,
            function: None,
        });
        self.blocks.len() - 1
    }

    /// A block begins. `executed` are all instructions before it, since the guest has begun.
    ///
    /// # Errors
    ///
    /// At the first mark, those of reading the modules' symbols.
    pub fn begin(&mut self, block: usize, executed: u64) -> Result<(), String> {
        let Some(Block { address, .. }) = self.blocks.get(block).copied() else {
            return Ok(());
        };
        if self.counts {
            self.paths.count(executed.saturating_sub(self.seen));
        }
        self.seen = executed;
        if address == self.mark {
            self.mark()?;
        }
        if self.follows {
            let (function, begins) = self.function(block, address);
            self.paths.enter(function, begins);
        }
        Ok(())
    }

    /// A call in the present block has written its return address there.
    pub fn call(&mut self, slot: u64) {
        if self.follows {
            self.paths.call(slot);
        }
    }

    /// A return in the present block has read its address there.
    pub fn ret(&mut self, slot: u64) {
        if self.follows {
            self.paths.ret(slot);
        }
    }

    /// Writes the folded paths.
    ///
    /// # Errors
    ///
    /// Those of writing the file.
    pub fn end(&self) -> Result<(), String> {
        let out = &self.files.out;
        std::fs::write(out, self.paths.folded(&self.symbols))
            .map_err(|e| format!("{}: {e}", out.display()))
    }

    fn mark(&mut self) -> Result<(), String> {
        if self.follows {
            self.counts = !self.counts;
            return Ok(());
        }
        let modules = &self.files.modules;
        self.symbols
            .add_file(modules)
            .map_err(|e| format!("{}: {e}", modules.display()))?;
        self.follows = true;
        Ok(())
    }

    fn function(&mut self, block: usize, address: u64) -> (Function, bool) {
        let symbols = &self.symbols;
        let known = self.blocks.get_mut(block).map(|block| {
            *block.function.get_or_insert_with(|| {
                let function = symbols.at(address);
                (function, symbols.begins_path(function))
            })
        });
        known.unwrap_or((Symbols::UNKNOWN, false))
    }
}

#[cfg(test)]
mod tests {
    use super::Files;
    use super::Session;

    #[test]
    fn all_files_must_be_named() {
        let all = ["map=a", "modules=b", "out=c"];
        let files = Files::parse(all).unwrap();
        assert_eq!((files.map, files.out), ("a".into(), "c".into()));
        for left_out in 0..3 {
            let some = all.iter().enumerate().filter(|(at, _)| *at != left_out);
            assert!(Files::parse(some.map(|(_, word)| *word)).is_err());
        }
        assert!(Files::parse(["map=a", "modules=b", "out=c", "d"]).is_err());
    }

    /// Only what lies between two marks is counted, and with the module's symbols.
    #[test]
    fn counting_is_between_marks() {
        let dir = std::env::temp_dir().join(format!("profile-plugin-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(dir.join(name), text).unwrap();
            format!("{name}={}", dir.join(name).display())
        };
        let map = file(
            "map",
            "ffffffff81000000 t a\nffffffff81000100 T proc_do_uts_string\n",
        );
        let modules = file("modules", "ffffffffa0000000 t inside [m]\n");
        let out = file("out", "");
        let files = Files::parse([&*map, &*modules, &*out]).unwrap();
        let mut session = Session::new(files).unwrap();
        let [a, mark, inside] = [0xffffffff81000000, 0xffffffff81000100, 0xffffffffa0000010]
            .map(|address| session.translated(address));
        let mut executed = 0;
        let mut run = |session: &mut Session, block, instructions| {
            session.begin(block, executed).unwrap();
            executed += instructions;
        };
        // Before the first mark, and between it and the second one, nothing is counted.
        for block in [a, mark, inside, a] {
            run(&mut session, block, 1000);
        }
        run(&mut session, mark, 1);
        run(&mut session, a, 10);
        session.call(0xffff888000003000);
        run(&mut session, inside, 100);
        session.ret(0xffff888000003000);
        run(&mut session, a, 10);
        run(&mut session, mark, 1000);
        run(&mut session, a, 1000);
        session.end().unwrap();
        let folded = std::fs::read_to_string(dir.join("out")).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(folded, "a 20\na;inside 100\nproc_do_uts_string 1\n");
    }
}
