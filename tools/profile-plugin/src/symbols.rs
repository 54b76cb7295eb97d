// SPDX-License-Identifier: GPL-2.0

//! The functions of the guest's kernel and modules, by address.

#![forbid(unsafe_code)]

use std::io::Read;
use std::path::Path;

/// A number for a function: its place in [`Symbols`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Function(u32);

#[derive(Clone, Debug)]
struct Symbol {
    address: u64,
    name: String,
}

/// All functions that are known, in the order of their addresses.
///
/// [`Function`]s stay good as long as nothing is added.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    sorted: Vec<Symbol>,
}

impl Symbols {
    /// User space, where functions have no names here.
    pub const USER: Function = Function(u32::MAX);
    /// Kernel code below all known functions.
    pub const UNKNOWN: Function = Function(u32::MAX - 1);

    /// Adds the functions of a text like `System.map` or `/proc/kallsyms`: address, type, name.
    /// A zero byte ends it. Of several names for an address the first one stays.
    pub fn add(&mut self, text: &str) {
        let text = text.split('\0').next().unwrap_or_default();
        self.sorted.extend(text.lines().filter_map(parse));
        self.sorted.sort_by_key(|symbol| symbol.address);
        self.sorted.dedup_by_key(|symbol| symbol.address);
    }

    /// Adds the functions of such a file.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    pub fn add_file(&mut self, path: &Path) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.read_to_end(&mut bytes)?;
        self.add(&String::from_utf8_lossy(&bytes));
        Ok(())
    }

    /// Returns the function that has the code at an address.
    pub fn at(&self, address: u64) -> Function {
        if address >> 63 == 0 {
            return Self::USER;
        }
        let after = self.sorted.partition_point(|s| s.address <= address);
        match after.checked_sub(1).and_then(|at| u32::try_from(at).ok()) {
            Some(at) => Function(at),
            None => Self::UNKNOWN,
        }
    }

    /// Returns the address of the function with that name.
    pub fn address(&self, name: &str) -> Option<u64> {
        let symbol = self.sorted.iter().find(|s| s.name == name)?;
        Some(symbol.address)
    }

    /// Returns a function's name.
    pub fn name(&self, function: Function) -> &str {
        match function {
            Self::USER => "[user]",
            Function(at) => self
                .sorted
                .get(at as usize)
                .map_or("[unknown]", |s| &s.name),
        }
    }

    /// Returns true for code that nothing has called: user space, system calls, interrupts, faults.
    pub fn begins_path(&self, function: Function) -> bool {
        let name = self.name(function);
        function == Self::USER || name.starts_with("asm_") || name == "entry_SYSCALL_64"
    }
}

/// Returns the function of a line, if it is about one.
fn parse(line: &str) -> Option<Symbol> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let kind = words.next()?;
    let name = words.next()?;
    // Padding before functions has symbols of its own, and so have the bounds of sections. What is
    // per CPU has addresses from zero on.
    let bound = name.ends_with("_text_start") || name.ends_with("_text_end");
    if !matches!(kind, "t" | "T" | "w" | "W")
        || bound
        || name.starts_with("__pfx_")
        || address >> 63 == 0
    {
        return None;
    }
    // Without the hash of the crate. A semicolon would divide a folded path.
    let name = format!("{:#}", rustc_demangle::demangle(name)).replace(';', ",");
    Some(Symbol { address, name })
}

#[cfg(test)]
mod tests {
    use super::Symbols;

    const MAP: &str = "\
0000000000001000 T per_cpu
ffffffff81000000 T _text
ffffffff81000010 t __pfx_second
ffffffff81000020 T __sched_text_start
ffffffff81000020 t second
ffffffff81000020 T alias
ffffffff81000040 d data
ffffffff81000060 T asm_exc_page_fault
";

    #[test]
    fn an_address_is_found_in_the_function_before_it() {
        let mut symbols = Symbols::default();
        symbols.add(MAP);
        symbols.add("ffffffffa0000000 t _RNvNtCs1234_7mycrate3foo3bar\t[dm_preserve]\n\0\0garbage");
        let name = |address| symbols.name(symbols.at(address));
        assert_eq!(name(0xffffffff81000000), "_text");
        assert_eq!(name(0xffffffff8100001f), "_text");
        assert_eq!(name(0xffffffff81000020), "second");
        assert_eq!(name(0xffffffff81000050), "second");
        assert_eq!(name(0xffffffffa0000123), "mycrate::foo::bar");
        assert_eq!(name(0x400000), "[user]");
        assert_eq!(name(0xffff800000000000), "[unknown]");
        assert_eq!(symbols.address("second"), Some(0xffffffff81000020));
        assert_eq!(symbols.address("data"), None);
    }

    #[test]
    fn paths_begin_at_entries_and_in_user_space() {
        let mut symbols = Symbols::default();
        symbols.add(MAP);
        assert!(symbols.begins_path(symbols.at(0xffffffff81000061)));
        assert!(symbols.begins_path(symbols.at(0x400000)));
        assert!(!symbols.begins_path(symbols.at(0xffffffff81000021)));
    }
}
