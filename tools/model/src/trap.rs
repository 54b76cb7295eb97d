// SPDX-License-Identifier: GPL-2.0

//! Known mistakes: variants of the protocol that look harmless, each switched on alone.

#![forbid(unsafe_code)]

/// A known mistake.
pub trait Mistake: Copy + PartialEq + 'static {
    /// The kind of world in which it is made.
    type World: 'static;

    /// Every variant.
    const ALL: &'static [Self];
    /// Variants that were thought to be mistakes and are none: the rest of the protocol covers for
    /// them.
    const HARMLESS: &'static [Self];

    /// Its name on the command line.
    fn name(self) -> &'static str;

    /// What is done wrongly.
    fn about(self) -> &'static str;

    /// The world in which it is looked for.
    fn world(self) -> &'static Self::World;

    /// The mistake of that name.
    fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|trap| trap.name() == name)
    }
}

/// Makes `Trap`, the mistakes of one kind of world, of their list.
macro_rules! traps {
    (
        harmless: $($harmless:ident),*;
        $($trap:ident $name:literal in $world:ident: $about:literal;)*
    ) => {
        /// A mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Trap {
            $(#[doc = $about] $trap,)*
        }

        impl Mistake for Trap {
            type World = Config;

            const ALL: &'static [Trap] = &[$(Trap::$trap,)*];
            const HARMLESS: &'static [Trap] = &[$(Trap::$harmless,)*];

            fn name(self) -> &'static str {
                match self {
                    $(Trap::$trap => $name,)*
                }
            }

            fn about(self) -> &'static str {
                match self {
                    $(Trap::$trap => $about,)*
                }
            }

            fn world(self) -> &'static Config {
                match self {
                    $(Trap::$trap => &$world,)*
                }
            }
        }
    };
}
pub(crate) use traps;
