// SPDX-License-Identifier: GPL-2.0

//! Editing the designation of a live device.

#![forbid(unsafe_code)]

use super::Live;
use crate::device::ioctl::Call;
use crate::device::Source;
use crate::Error;
use crate::Result;
use dm_preserve_core::uapi::EditRanges;
use dm_preserve_core::uapi::Range;
use dm_preserve_core::uapi::EDIT_UNPROTECT;
use dm_preserve_core::uapi::MAX_RANGES;

/// What to do with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Preserve and back up from the next snapshot on.
    Protect,
    /// Neither, from the next snapshot on.
    Unprotect,
}

impl Live {
    /// Protects or unprotects ranges. All are within the device, or nothing is changed; so many
    /// that they take several steps may be edited in part, which the error says.
    pub fn edit(&self, edit: Edit, ranges: &[Range]) -> Result<()> {
        check(self.name(), ranges, self.info()?.origin_sectors)?;
        let flags = if edit == Edit::Unprotect {
            EDIT_UNPROTECT
        } else {
            0
        };
        let mut step = |batch: &[Range]| {
            let mut argument = EditRanges {
                flags,
                device: self.mapped.device,
                ..EditRanges::default()
            };
            self.call("edit the designation", 0, Call::Edit(&mut argument, batch))
        };
        in_steps(ranges, &mut step)
    }
}

fn check(name: &str, ranges: &[Range], sectors: u64) -> Result<()> {
    let fits = |r: &&Range| r.start.checked_add(r.len).is_some_and(|end| end <= sectors);
    match ranges.iter().find(|range| !fits(range)) {
        None => Ok(()),
        Some(Range { start, len }) => Err(Error::Usage(format!(
            "{name}: the range {start}+{len} does not end within the device, which has {sectors} \
             sectors; nothing was changed"
        ))),
    }
}

fn in_steps(ranges: &[Range], step: &mut impl FnMut(&[Range]) -> Result<()>) -> Result<()> {
    let mut done = 0;
    for batch in ranges.chunks(MAX_RANGES as usize) {
        step(batch).map_err(|e| match done {
            0 => e,
            _ => Error::Failed(format!(
                "{e}; the first {done} of {} ranges are edited already: when the reason is gone, \
                 give the same command again",
                ranges.len()
            )),
        })?;
        done += batch.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_range_beyond_the_end_and_nothing_is_changed() {
        let range = |start, len| Range { start, len };
        assert!(check("live", &[range(0, 8), range(92, 8)], 100).is_ok());
        for bad in [range(93, 8), range(u64::MAX, 8)] {
            let e = check("live", &[range(0, 8), bad], 100).unwrap_err();
            assert!(matches!(&e, Error::Usage(text) if text.contains("nothing was changed")));
        }
    }

    #[test]
    fn a_failure_says_what_was_done_before() {
        let ranges = vec![Range { start: 0, len: 8 }; MAX_RANGES as usize + 1];
        for (good, words) in [(0, None), (1, Some("the first 65536 of 65537 ranges"))] {
            let mut steps = 0;
            let e = in_steps(&ranges, &mut |_| {
                steps += 1;
                match steps > good {
                    true => Err(Error::Failed("no".into())),
                    false => Ok(()),
                }
            });
            let text = e.unwrap_err().to_string();
            assert_eq!(text == "no", words.is_none(), "{text}");
            assert!(words.is_none_or(|words| text.contains(words)), "{text}");
        }
    }
}
