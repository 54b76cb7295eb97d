// SPDX-License-Identifier: GPL-2.0

//! What histories have done, and what crashes came upon: so that it can be seen that they were not
//! idle.

#![forbid(unsafe_code)]

macro_rules! totals {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// What has been done.
        #[derive(Clone, Copy, Default, Debug)]
        pub(crate) struct Totals {
            $($(#[$about])* pub(crate) $name: u64,)*
        }

        impl Totals {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// What never happened.
            pub(crate) fn missing(&self) -> Vec<&'static str> {
                let all = [$((stringify!($name), self.$name),)*];
                let zero = all.iter().filter(|(_, count)| *count == 0);
                zero.map(|(name, _)| *name).collect()
            }
        }
    };
}

totals! {
    steps,
    operations,
    writes,
    copies,
    records,
    controls,
    checkpoints,
    replayed,
    full,
    /// Segments used that the store has grown by.
    beyond,
    /// Crash images that were recovered and checked.
    crashes,
    /// Crashes after which the history went on.
    restarts,
    /// Crashes that tore a write.
    torn,
    /// Crashes that kept a write but not one that was begun before.
    reordered,
    /// Crashes amid a snapshot, drop and so on that took effect, and amid one that did not.
    controls_done,
    controls_undone,
    drops_done,
    drops_undone,
    growths_done,
    growths_undone,
    /// Crashes that left the larger layout, and such that left the old one.
    store_growths_done,
    store_growths_undone,
    /// Crashes in the recovery from another one.
    recoveries,
}
