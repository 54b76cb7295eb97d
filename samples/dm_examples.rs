// SPDX-License-Identifier: GPL-2.0

//! The examples of `dm/`'s documentation: built, so that they keep compiling, and run when the
//! module is loaded.
//!
//! Loading succeeds when all of them do. The module does nothing else.

#![deny(unsafe_code)]

#[path = "../rust"]
#[allow(dead_code, unused_imports, reason = "only what has an example is used")]
mod rust {
    pub(crate) mod bindings;
    pub(crate) mod dm;
}

use kernel::prelude::*;
use rust::bindings;
use rust::dm;

// In an example, a failed assertion is an error with its place; it must not end the kernel.
#[allow(unused_macros, reason = "not each is used")]
macro_rules! assert {
    ($condition:expr) => {
        if !$condition {
            pr_err!("line {}: not so: {}\n", line!(), stringify!($condition));
            return Err(EINVAL);
        }
    };
}

macro_rules! assert_eq {
    ($left:expr, $right:expr) => {
        assert!($left == $right)
    };
}

/// What `examples.awk` makes of the documentation.
#[allow(dead_code, reason = "an example may just define something")]
mod examples {
    use super::run;
    use kernel::prelude::*;

    include!(concat!(env!("DM_PRESERVE_OBJ"), "/examples_generated.rs"));
}

module! {
    type: DmExamples,
    name: "dm_examples",
    authors: ["The dm-preserve developers"],
    description: "Examples of the documentation of dm/",
    license: "GPL",
}

/// Runs an example, and says which one if it fails.
fn run(name: &str, example: fn() -> Result) -> Result {
    example().inspect_err(|error| pr_err!("{name}: {error:?}\n"))
}

/// The loaded module.
struct DmExamples;

impl kernel::Module for DmExamples {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        examples::run_all()?;
        Ok(Self)
    }
}
