// SPDX-License-Identifier: GPL-2.0

//! Call paths, and the instructions counted on each.
//!
//! Each kernel stack has a shadow of its own, so that a path outlives a context switch. A frame is
//! known by its slot, where its return address lies. Whatever lies below a slot that is written or
//! read is gone, so frames that were never returned from do no harm.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt::Write;

use crate::symbols::Function;
use crate::symbols::Symbols;

/// Kernel stacks, and those of interrupts, are of this size and aligned to it.
const STACK_SIZE: u64 = 16 << 10;

/// A path: its place in [`Paths::nodes`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Node(usize);

/// The empty path.
const ROOT: Node = Node(0);

#[derive(Clone, Copy, Debug)]
struct Step {
    parent: Node,
    function: Function,
    instructions: u64,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    slot: u64,
    /// The path to the caller, which it ends with.
    caller: Node,
    /// The caller's stack, which is another one where an interrupt goes to a stack of its own.
    from: u64,
}

/// Follows the calls of one processor.
#[derive(Debug)]
pub struct Paths {
    nodes: Vec<Step>,
    children: HashMap<(Node, Function), Node>,
    stacks: HashMap<u64, Vec<Frame>>,
    /// The stack that is in use: its lowest address.
    stack: u64,
    /// The path to what is being executed.
    here: Node,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            nodes: vec![Step {
                parent: ROOT,
                function: Symbols::UNKNOWN,
                instructions: 0,
            }],
            children: HashMap::new(),
            stacks: HashMap::new(),
            stack: 0,
            here: ROOT,
        }
    }
}

impl Paths {
    /// Code of `function` is executed from now on; nothing has called it if `begins`.
    pub fn enter(&mut self, function: Function, begins: bool) {
        let caller = match self.stacks.get(&self.stack).and_then(|s| s.last()) {
            Some(frame) if !begins => frame.caller,
            _ => ROOT,
        };
        self.here = self.child(caller, function);
    }

    /// What is being executed has put a return address into `slot`.
    pub fn call(&mut self, slot: u64) {
        let frame = Frame {
            slot,
            caller: self.here,
            from: self.stack,
        };
        self.stack = stack_of(slot);
        let frames = self.stacks.entry(self.stack).or_default();
        drop_down_to(frames, slot);
        frames.push(frame);
    }

    /// The return address in `slot` is gone to.
    pub fn ret(&mut self, slot: u64) {
        self.stack = stack_of(slot);
        let frames = self.stacks.entry(self.stack).or_default();
        if let Some(frame) = drop_down_to(frames, slot) {
            self.stack = frame.from;
        }
    }

    /// Adds instructions to those of the present path.
    pub fn count(&mut self, instructions: u64) {
        self.nodes[self.here.0].instructions += instructions;
    }

    /// Returns all paths with their own instructions, one a line, as flame graphs are made from:
    /// functions, outermost first, with semicolons between; a space; the number.
    pub fn folded(&self, symbols: &Symbols) -> String {
        let mut lines: Vec<String> = self
            .nodes
            .iter()
            .filter(|step| step.instructions > 0)
            .map(|step| format!("{} {}", self.path(step, symbols), step.instructions))
            .collect();
        lines.sort();
        lines.iter().fold(String::new(), |mut text, line| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
            text
        })
    }

    fn path(&self, step: &Step, symbols: &Symbols) -> String {
        let mut names = vec![symbols.name(step.function)];
        let mut node = step.parent;
        while node != ROOT {
            let step = &self.nodes[node.0];
            names.push(symbols.name(step.function));
            node = step.parent;
        }
        names.reverse();
        names.join(";")
    }

    fn child(&mut self, parent: Node, function: Function) -> Node {
        let nodes = &mut self.nodes;
        *self.children.entry((parent, function)).or_insert_with(|| {
            nodes.push(Step {
                parent,
                function,
                instructions: 0,
            });
            Node(nodes.len() - 1)
        })
    }
}

/// Returns the lowest address of the stack that has the slot.
fn stack_of(slot: u64) -> u64 {
    slot & !(STACK_SIZE - 1)
}

/// Drops the frames of a stack whose slots are not above `slot`. Returns that of the slot itself.
fn drop_down_to(frames: &mut Vec<Frame>, slot: u64) -> Option<Frame> {
    let mut last = None;
    while frames.last().is_some_and(|frame| frame.slot <= slot) {
        last = frames.pop();
    }
    last.filter(|frame| frame.slot == slot)
}

#[cfg(test)]
mod tests {
    use super::Paths;
    use crate::symbols::Symbols;

    const MAP: &str = "\
ffffffff81000000 t a
ffffffff81000100 t b
ffffffff81000200 t c
ffffffff81000300 t asm_irq
ffffffff81000400 t switch
";

    /// Two stacks, and that of interrupts.
    const ONE: u64 = 0xffff888000004000;
    const TWO: u64 = 0xffff888000008000;
    const IRQ: u64 = 0xffff88800000c000;

    struct Guest {
        symbols: Symbols,
        paths: Paths,
    }

    impl Guest {
        fn new() -> Self {
            let mut symbols = Symbols::default();
            symbols.add(MAP);
            let mut paths = Paths::default();
            paths.ret(ONE + 0x3ff8);
            Self { symbols, paths }
        }

        /// So many instructions of a function.
        fn run(&mut self, name: &str, instructions: u64) {
            let function = self.symbols.at(self.symbols.address(name).unwrap());
            self.paths
                .enter(function, self.symbols.begins_path(function));
            self.paths.count(instructions);
        }

        fn folded(&self) -> Vec<String> {
            let text = self.paths.folded(&self.symbols);
            text.lines().map(str::to_owned).collect()
        }
    }

    #[test]
    fn instructions_go_to_the_path_that_they_are_on() {
        let mut guest = Guest::new();
        guest.run("a", 1);
        guest.paths.call(ONE + 0x3000);
        guest.run("b", 10);
        guest.paths.call(ONE + 0x2f00);
        guest.run("c", 100);
        guest.paths.ret(ONE + 0x2f00);
        guest.run("b", 10);
        // A jump, not a call.
        guest.run("c", 1000);
        guest.paths.ret(ONE + 0x3000);
        guest.run("a", 1);
        assert_eq!(guest.folded(), ["a 2", "a;b 20", "a;b;c 100", "a;c 1000"]);
    }

    #[test]
    fn each_stack_keeps_its_path() {
        let mut guest = Guest::new();
        guest.run("a", 1);
        guest.paths.call(ONE + 0x3000);
        guest.run("switch", 1);
        // The return is from the other stack, where nothing is known of a call.
        guest.paths.ret(TWO + 0x3000);
        guest.run("b", 10);
        guest.paths.call(TWO + 0x3008);
        guest.run("switch", 1);
        guest.paths.ret(ONE + 0x3000);
        guest.run("a", 1);
        guest.paths.call(ONE + 0x3000);
        guest.run("switch", 1);
        guest.paths.ret(TWO + 0x3008);
        guest.run("b", 10);
        guest.paths.call(TWO + 0x3008);
        guest.run("c", 100);
        assert_eq!(
            guest.folded(),
            ["a 2", "a;switch 2", "b 20", "b;c 100", "b;switch 1"]
        );
    }

    #[test]
    fn an_interrupt_begins_a_path_and_leaves_the_interrupted_one() {
        let mut guest = Guest::new();
        guest.run("a", 1);
        guest.paths.call(ONE + 0x3000);
        guest.run("b", 1);
        guest.run("asm_irq", 10);
        guest.paths.call(IRQ + 0x3ff0);
        guest.run("c", 100);
        guest.paths.ret(IRQ + 0x3ff0);
        guest.run("asm_irq", 10);
        guest.run("b", 1);
        guest.paths.ret(ONE + 0x3000);
        guest.run("a", 1);
        assert_eq!(
            guest.folded(),
            ["a 2", "a;b 2", "asm_irq 20", "asm_irq;c 100"]
        );
    }

    #[test]
    fn a_path_that_was_left_without_a_return_is_forgotten() {
        let mut guest = Guest::new();
        guest.run("a", 1);
        guest.paths.call(ONE + 0x2000);
        guest.run("b", 1);
        guest.paths.call(ONE + 0x1000);
        // A new task on this stack.
        guest.run("asm_irq", 1);
        guest.paths.call(ONE + 0x3000);
        guest.run("c", 1);
        guest.paths.ret(ONE + 0x3000);
        guest.run("b", 1);
        assert_eq!(
            guest.folded(),
            ["a 1", "a;b 1", "asm_irq 1", "asm_irq;c 1", "b 1"]
        );
    }
}
