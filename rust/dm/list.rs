// SPDX-License-Identifier: GPL-2.0

//! Lists of things that contain a bio, linked through it, so that keeping one never allocates.
//!
//! C headers: [`include/linux/bio.h`](srctree/include/linux/bio.h),
//! [`include/linux/llist.h`](srctree/include/linux/llist.h)

use crate::bindings;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;
use kernel::sync::atomic::Release;

/// Something that owns a bio exclusively and can be turned into it and back: the C `struct bio`,
/// with its `bi_next`.
///
/// # Safety
///
/// What [`Node::into_bio`] returns is a valid bio that nobody else uses until [`Node::from_bio`].
pub unsafe trait Node: Sized {
    /// Gives up the ownership. The bio's `bi_next` is free for use.
    fn into_bio(self) -> NonNull<bindings::bio>;

    /// Takes it back.
    ///
    /// # Safety
    ///
    /// `bio` came from [`Node::into_bio`] of the same type, and is passed here once only.
    unsafe fn from_bio(bio: NonNull<bindings::bio>) -> Self;
}

/// A first-in first-out list. What is left in it when it is dropped is dropped.
///
/// What `struct bio_list` is in C; the methods are `bio_list_add()`, `bio_list_add_head()`,
/// `bio_list_pop()`, `bio_list_merge()` and `bio_list_get()`.
///
/// # Examples
///
/// ```
/// use crate::dm::Io;
/// use crate::dm::List;
///
/// let mut list = List::new();
/// list.push(Io::new(4096, 'b')?);
/// list.push_front(Io::new(4096, 'a')?);
/// let mut others = List::new();
/// others.push(Io::new(4096, 'c')?);
/// list.append(&mut others);
/// assert!(others.is_empty());
/// assert_eq!(list.pop().map(|io| io.data), Some('a'));
/// let mut all = list.take();
/// assert!(list.is_empty());
/// assert_eq!(all.pop().map(|io| io.data), Some('b'));
/// // The third one goes with the list.
/// ```
///
/// # Invariants
///
/// `head` starts a chain, linked by `bi_next` and ended by null, of bios that [`Node::into_bio`]
/// gave up; `tail` is its last one. Both are `None` when the list is empty.
pub struct List<N: Node> {
    head: Option<NonNull<bindings::bio>>,
    tail: Option<NonNull<bindings::bio>>,
    _owns: PhantomData<N>,
}

// SAFETY: The list owns its nodes, which are `Send`.
unsafe impl<N: Node + Send> Send for List<N> {}

impl<N: Node> List<N> {
    /// An empty list.
    pub const fn new() -> Self {
        // INVARIANT: Empty.
        Self {
            head: None,
            tail: None,
            _owns: PhantomData,
        }
    }

    /// Returns true if there is nothing in the list.
    pub fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Adds a node at the end.
    pub fn push(&mut self, node: N) {
        let bio = node.into_bio();
        // SAFETY: The bio is ours now.
        unsafe { (*bio.as_ptr()).bi_next = core::ptr::null_mut() };
        match self.tail {
            // SAFETY: By the type invariant the tail is a bio of ours.
            Some(tail) => unsafe { (*tail.as_ptr()).bi_next = bio.as_ptr() },
            None => self.head = Some(bio),
        }
        // INVARIANT: `bio` is the last of the chain.
        self.tail = Some(bio);
    }

    /// Adds a node at the beginning.
    pub fn push_front(&mut self, node: N) {
        let bio = node.into_bio();
        let next = self.head.map_or(core::ptr::null_mut(), NonNull::as_ptr);
        // SAFETY: The bio is ours now.
        unsafe { (*bio.as_ptr()).bi_next = next };
        // INVARIANT: `bio` is linked to the rest of the chain, and is its end if there is no rest.
        self.head = Some(bio);
        self.tail = self.tail.or(Some(bio));
    }

    /// Takes the first node.
    pub fn pop(&mut self) -> Option<N> {
        let bio = self.head?;
        // SAFETY: By the type invariant the head is a bio of ours.
        self.head = NonNull::new(unsafe { (*bio.as_ptr()).bi_next });
        if self.head.is_none() {
            self.tail = None;
        }
        // SAFETY: The bio is ours.
        unsafe { (*bio.as_ptr()).bi_next = core::ptr::null_mut() };
        // SAFETY: By the type invariant it came from `into_bio`, and it has just left the chain.
        Some(unsafe { N::from_bio(bio) })
    }

    /// Moves everything from `other` to the end of this list.
    pub fn append(&mut self, other: &mut Self) {
        let Some(head) = other.head.take() else {
            return;
        };
        match self.tail {
            // SAFETY: By the type invariant the tail is a bio of ours.
            Some(tail) => unsafe { (*tail.as_ptr()).bi_next = head.as_ptr() },
            None => self.head = Some(head),
        }
        // INVARIANT: The last of the other chain is now ours, and the other list is empty.
        self.tail = other.tail.take();
    }

    /// Takes everything.
    pub fn take(&mut self) -> Self {
        core::mem::replace(self, Self::new())
    }
}

impl<N: Node> Drop for List<N> {
    fn drop(&mut self) {
        while let Some(node) = self.pop() {
            drop(node);
        }
    }
}

/// A list that any context may add to, without a lock; everything is taken at once.
///
/// What `struct llist_head` is in C; the methods are `llist_add()`, and `llist_del_all()` with
/// `llist_reverse_order()`.
///
/// # Examples
///
/// ```
/// use crate::dm::Io;
/// use crate::dm::IrqStack;
///
/// let stack = IrqStack::new();
/// stack.push(Io::new(4096, 1)?);
/// stack.push(Io::new(4096, 2)?);
/// let mut list = stack.take();
/// assert!(stack.take().is_empty());
/// assert_eq!(list.pop().map(|io| io.data), Some(1));
/// assert_eq!(list.pop().map(|io| io.data), Some(2));
/// ```
///
/// # Invariants
///
/// `head` starts a chain, linked by `bi_next` and ended by null, of bios that [`Node::into_bio`]
/// gave up.
pub struct IrqStack<N: Node> {
    head: Atomic<*mut bindings::bio>,
    _owns: PhantomData<N>,
}

// SAFETY: The stack owns its nodes, which are `Send`.
unsafe impl<N: Node + Send> Send for IrqStack<N> {}
// SAFETY: Shared use moves nodes between threads, which are `Send`; the head is atomic.
unsafe impl<N: Node + Send> Sync for IrqStack<N> {}

impl<N: Node> IrqStack<N> {
    /// An empty stack.
    pub const fn new() -> Self {
        // INVARIANT: Empty.
        Self {
            head: Atomic::new(core::ptr::null_mut()),
            _owns: PhantomData,
        }
    }

    /// Adds a node.
    pub fn push(&self, node: N) {
        let bio = node.into_bio();
        let mut head = self.head.load(Relaxed);
        loop {
            // SAFETY: The bio is ours until it is in the chain.
            unsafe { (*bio.as_ptr()).bi_next = head };
            // INVARIANT: `bio` is linked to the rest of the chain before it becomes its head.
            match self.head.cmpxchg(head, bio.as_ptr(), Release) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes everything, in the order in which it was added.
    pub fn take(&self) -> List<N> {
        let mut next = NonNull::new(self.head.xchg(core::ptr::null_mut(), Acquire));
        let mut chain = List::new();
        while let Some(bio) = next {
            // SAFETY: By the type invariant a bio of the chain, which is ours alone since the
            // exchange.
            next = NonNull::new(unsafe { (*bio.as_ptr()).bi_next });
            // INVARIANT: `bio` becomes the head of the other list's chain: the order is reversed.
            let after = chain.head.map_or(core::ptr::null_mut(), NonNull::as_ptr);
            // SAFETY: As above.
            unsafe { (*bio.as_ptr()).bi_next = after };
            chain.head = Some(bio);
            chain.tail = chain.tail.or(Some(bio));
        }
        chain
    }
}

impl<N: Node> Drop for IrqStack<N> {
    fn drop(&mut self) {
        drop(self.take());
    }
}
