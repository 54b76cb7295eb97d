// SPDX-License-Identifier: GPL-2.0

//! A sorted map whose nodes are allocated beforehand.

#![forbid(unsafe_code)]

use crate::alloc::host;
use crate::alloc::Flags;
use crate::error::Result;
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// A node's memory, as far as it is counted: three links, key and value.
#[derive(Debug)]
struct Memory(usize);

impl Memory {
    fn new<K, V>(flags: Flags) -> Result<Self> {
        let bytes = 3 * size_of::<usize>() + size_of::<(K, V)>();
        host::allocate(bytes, flags)?;
        host::charge(bytes, 1);
        Ok(Self(bytes))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        host::charge(self.0, -1);
    }
}

/// Memory for a node. As in the kernel, this itself is a pointer.
pub struct RBTreeNodeReservation<K, V> {
    memory: Box<Memory>,
    kind: PhantomData<fn() -> (K, V)>,
}

impl<K, V> RBTreeNodeReservation<K, V> {
    /// Allocates.
    pub fn new(flags: Flags) -> Result<Self> {
        Ok(Self {
            memory: Box::new(Memory::new::<K, V>(flags)?),
            kind: PhantomData,
        })
    }

    /// Makes a node of it.
    pub fn into_node(self, key: K, value: V) -> RBTreeNode<K, V> {
        RBTreeNode {
            key,
            value,
            memory: self.memory,
        }
    }
}

/// A node that is in no tree.
pub struct RBTreeNode<K, V> {
    key: K,
    value: V,
    memory: Box<Memory>,
}

impl<K, V> RBTreeNode<K, V> {
    /// What is in it.
    pub fn to_key_value(self) -> (K, V) {
        (self.key, self.value)
    }
}

/// The map.
pub struct RBTree<K, V> {
    map: BTreeMap<K, (V, Box<Memory>)>,
}

impl<K: Ord, V> RBTree<K, V> {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            map: BTreeMap::new(),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key).map(|(value, _)| value)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key).map(|(value, _)| value)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &'_ V> {
        self.map.values().map(|(value, _)| value)
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&'_ K, &'_ V)> {
        self.map.iter().map(|(key, (value, _))| (key, value))
    }
}

/// A place in a map.
pub struct Cursor<'a, K, V> {
    key: &'a K,
    value: &'a V,
}

impl<K: Ord, V> RBTree<K, V> {
    /// The entry with the least key that is at least `key`.
    pub fn cursor_lower_bound(&self, key: &K) -> Option<Cursor<'_, K, V>> {
        let (key, (value, _)) = self.map.range(key..).next()?;
        Some(Cursor { key, value })
    }
}

impl<K: Ord, V> Cursor<'_, K, V> {
    /// The entry.
    pub fn current(&self) -> (&K, &V) {
        (self.key, self.value)
    }
}

impl<K: Ord + Clone, V> RBTree<K, V> {
    /// Adds a node; the one that it replaces is returned.
    pub fn insert(&mut self, node: RBTreeNode<K, V>) -> Option<RBTreeNode<K, V>> {
        let key = node.key.clone();
        let old = self.map.insert(node.key, (node.value, node.memory));
        old.map(|(value, memory)| RBTreeNode { key, value, memory })
    }

    /// Takes a node out.
    pub fn remove_node(&mut self, key: &K) -> Option<RBTreeNode<K, V>> {
        let (key, (value, memory)) = self.map.remove_entry(key)?;
        Some(RBTreeNode { key, value, memory })
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        Some(self.map.remove(key)?.0)
    }
}

impl<K: Ord, V> Default for RBTree<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::flags::GFP_KERNEL;

    #[test]
    fn nodes_go_in_and_out() {
        let before = host::usage();
        let mut tree = RBTree::<u64, u8>::new();
        for (key, value) in [(2, 20), (1, 10), (3, 30)] {
            let node = RBTreeNodeReservation::new(GFP_KERNEL).unwrap();
            assert!(tree.insert(node.into_node(key, value)).is_none());
        }
        assert_eq!(host::usage().exact - before.exact, 3 * 40);
        let node = RBTreeNodeReservation::new(GFP_KERNEL)
            .unwrap()
            .into_node(2, 21);
        assert_eq!(tree.insert(node).unwrap().to_key_value(), (2, 20));
        assert!(tree.values().copied().eq([10, 21, 30]));
        assert_eq!(tree.get(&2), Some(&21));
        assert_eq!(tree.remove(&2), Some(21));
        assert_eq!(tree.get_mut(&2), None);
        drop(tree);
        assert_eq!(host::usage().exact, before.exact);
        assert_eq!(
            size_of::<RBTreeNodeReservation<u64, u64>>(),
            size_of::<usize>()
        );
    }
}
