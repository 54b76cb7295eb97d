// SPDX-License-Identifier: GPL-2.0

//! Lists of bios.

#![forbid(unsafe_code)]

use kernel::machine;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;

/// A first-in first-out list.
pub struct List<N>(VecDeque<N>);

impl<N> List<N> {
    /// An empty list.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Returns true if there is nothing in the list.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a node at the end.
    pub fn push(&mut self, node: N) {
        self.0.push_back(node);
    }

    /// Adds a node at the beginning.
    pub fn push_front(&mut self, node: N) {
        self.0.push_front(node);
    }

    /// Takes the first node.
    pub fn pop(&mut self) -> Option<N> {
        self.0.pop_front()
    }

    /// Moves everything from `other` to the end of this list.
    pub fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// Takes everything.
    pub fn take(&mut self) -> Self {
        Self(std::mem::take(&mut self.0))
    }
}

/// A list that any context may add to.
pub struct IrqStack<N>(Mutex<VecDeque<N>>);

impl<N> IrqStack<N> {
    /// An empty list.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    /// Adds a node.
    pub fn push(&self, node: N) {
        machine::point();
        self.with(|nodes| nodes.push_back(node));
        machine::point();
    }

    /// Takes everything, in the order in which it was added.
    pub fn take(&self) -> List<N> {
        machine::point();
        List(self.with(std::mem::take))
    }

    fn with<R>(&self, f: impl FnOnce(&mut VecDeque<N>) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
