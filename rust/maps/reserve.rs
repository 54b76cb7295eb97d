// SPDX-License-Identifier: GPL-2.0

//! Where memory for maps comes from: the allocator, or a reserve that was filled beforehand.
//!
//! What a copy keeps, its marks and its place in the index, is memory that stays in use. A copier
//! that waits for memory may wait for itself, as writes free memory. So it takes what there is at
//! once; then what the reserve has; then it has to do without.

#![forbid(unsafe_code)]

use crate::maps::leaf::Leaf;
use crate::maps::runs::Page;
use crate::maps::runs::Runs;
use kernel::prelude::*;
use kernel::rbtree::RBTreeNodeReservation;

/// Memory for a list of an index, and its place in the tree.
pub type Node = RBTreeNodeReservation<u64, Runs>;

/// Where the pieces come from that bitmaps and indices grow by.
pub trait Supply {
    /// Returns a page of an index.
    ///
    /// Errors: `ENOMEM`.
    fn page(&self) -> Result<KBox<Page>>;

    /// Returns a node of an index.
    ///
    /// Errors: `ENOMEM`.
    fn node(&self) -> Result<Node>;

    /// Returns a leaf of a bitmap.
    ///
    /// Errors: `ENOMEM`.
    fn leaf(&self) -> Result<Leaf>;
}

/// The allocator. May sleep.
pub struct Allocated;

impl Supply for Allocated {
    fn page(&self) -> Result<KBox<Page>> {
        Page::new(GFP_KERNEL)
    }

    fn node(&self) -> Result<Node> {
        Ok(Node::new(GFP_KERNEL)?)
    }

    fn leaf(&self) -> Result<Leaf> {
        Leaf::empty(GFP_KERNEL)
    }
}

/// A piece of memory for a reserve.
pub enum Spare {
    /// Of an index.
    Page(KBox<Page>),
    /// Of an index.
    Node(Node),
    /// Of a bitmap.
    Leaf(Leaf),
}

/// A kind of [`Spare`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpareKind {
    /// A page of an index.
    Page,
    /// A node of an index.
    Node,
    /// A leaf of a bitmap.
    Leaf,
}

impl Spare {
    /// Allocates a piece. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new(kind: SpareKind) -> Result<Self> {
        Ok(match kind {
            SpareKind::Page => Self::Page(Allocated.page()?),
            SpareKind::Node => Self::Node(Allocated.node()?),
            SpareKind::Leaf => Self::Leaf(Allocated.leaf()?),
        })
    }
}

/// Pieces of one kind, and how many there are to be.
struct Shelf<T> {
    pieces: KVec<T>,
    goal: usize,
}

impl<T> Shelf<T> {
    /// Makes an empty shelf. May sleep.
    fn new(goal: usize) -> Result<Self> {
        Ok(Self {
            pieces: KVec::with_capacity(goal, GFP_KERNEL)?,
            goal,
        })
    }

    fn is_full(&self) -> bool {
        self.pieces.len() >= self.goal
    }

    /// Adds a piece. Returns it if there is no room.
    fn add_piece(&mut self, piece: T) -> Option<T> {
        self.pieces
            .push_within_capacity(piece)
            .err()
            .map(|full| full.0)
    }

    fn take(&mut self) -> Result<T> {
        self.pieces.pop().ok_or(ENOMEM)
    }
}

/// The reserve. See the [module's documentation](self).
pub struct Reserve {
    pages: Shelf<KBox<Page>>,
    nodes: Shelf<Node>,
    leaves: Shelf<Leaf>,
}

impl Reserve {
    /// Makes a full reserve of so many pages, and fewer nodes and leaves. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new(pages: usize) -> Result<Self> {
        let others = (pages / 4).max(2);
        let mut reserve = Self {
            pages: Shelf::new(pages)?,
            nodes: Shelf::new(others)?,
            leaves: Shelf::new(others)?,
        };
        while let Some(kind) = reserve.missing() {
            // There is room: it lacks that.
            let _ = reserve.add(Spare::new(kind)?);
        }
        Ok(reserve)
    }

    /// Returns what the reserve lacks.
    pub fn missing(&self) -> Option<SpareKind> {
        if !self.pages.is_full() {
            Some(SpareKind::Page)
        } else if !self.nodes.is_full() {
            Some(SpareKind::Node)
        } else if !self.leaves.is_full() {
            Some(SpareKind::Leaf)
        } else {
            None
        }
    }

    /// Adds a piece. Returns it if there is no room.
    pub fn add(&mut self, spare: Spare) -> Option<Spare> {
        match spare {
            Spare::Page(page) => self.pages.add_piece(page).map(Spare::Page),
            Spare::Node(node) => self.nodes.add_piece(node).map(Spare::Node),
            Spare::Leaf(leaf) => self.leaves.add_piece(leaf).map(Spare::Leaf),
        }
    }

    /// Takes a page from the reserve, unless one can be allocated without sleeping.
    ///
    /// Errors: `ENOMEM` if there is none either.
    pub fn page(&mut self) -> Result<KBox<Page>> {
        Page::new(GFP_NOWAIT).or_else(|_| self.pages.take())
    }

    /// Takes a node, as [`Reserve::page`].
    ///
    /// Errors: `ENOMEM` if there is none either.
    pub fn node(&mut self) -> Result<Node> {
        Node::new(GFP_NOWAIT).or_else(|_| self.nodes.take())
    }

    /// Takes a leaf, as [`Reserve::page`].
    ///
    /// Errors: `ENOMEM` if there is none either.
    pub fn leaf(&mut self) -> Result<Leaf> {
        Leaf::empty(GFP_NOWAIT).or_else(|_| self.leaves.take())
    }
}
