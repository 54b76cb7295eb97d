// SPDX-License-Identifier: GPL-2.0

//! Sizes and ranges: what is accepted, what it means, and to which side it is rounded.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use preserve::device::Edit;
use preserve::protect::parse_lines;
use preserve::protect::Bytes;
use preserve::uapi::Range;
use preserve::units;
use proptest::prelude::*;

fn sectors(text: &str, edit: Edit) -> Option<(u64, u64)> {
    text.parse::<Bytes>()
        .unwrap()
        .sectors(edit)
        .map(|Range { start, len }| (start, len))
}

#[test]
fn plain_numbers_are_sectors_and_units_are_bytes() {
    for (text, bytes) in [
        ("8", 4096),
        ("8s", 4096),
        ("1B", 1),
        ("4K", 4096),
        ("4KiB", 4096),
        ("1M", 1 << 20),
        ("3G", 3 << 30),
        ("1T", 1 << 40),
    ] {
        assert_eq!(units::bytes(text), Ok(bytes), "{text}");
    }
    for text in [
        "",
        "K",
        "-1",
        "+1",
        "1.5M",
        "4KB",
        "1 K",
        "99999999999999999999",
        "18446744073709551615",
        "16777216T",
    ] {
        assert!(units::bytes(text).is_err(), "{text}");
    }
}

#[test]
fn chunk_sizes_are_powers_of_two_in_bounds() {
    assert_eq!(units::chunk_sectors("4K"), Ok(8));
    assert_eq!(units::chunk_sectors("8"), Ok(8));
    assert_eq!(units::chunk_sectors("1M"), Ok(2048));
    for text in ["2K", "6K", "2M", "0", "1T"] {
        assert!(units::chunk_sectors(text).is_err(), "{text}");
    }
}

#[test]
fn protect_rounds_outwards_and_unprotect_inwards() {
    assert_eq!(sectors("100B+1000B", Edit::Protect), Some((0, 3)));
    assert_eq!(sectors("100B+1000B", Edit::Unprotect), Some((1, 1)));
    assert_eq!(sectors("1B+1B", Edit::Protect), Some((0, 1)));
    assert_eq!(sectors("1B+1B", Edit::Unprotect), None);
    assert_eq!(sectors("1000B+100B", Edit::Unprotect), None);
    assert_eq!(sectors("2048+8", Edit::Unprotect), Some((2048, 8)));
}

#[test]
fn lines_have_comments_and_numbers() {
    assert_eq!(
        parse_lines("# all\n\n 0+8 # first\n4K + 4K\n")
            .unwrap()
            .len(),
        2
    );
    assert!(parse_lines("0+8\n8+0\n")
        .unwrap_err()
        .starts_with("line 2: "));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..Default::default()
    })]

    /// Protecting covers every byte asked for and less than a sector more at each end; unprotecting
    /// covers no byte that was not asked for.
    #[test]
    fn rounding_never_loses_protection(start in any::<u64>(), len in any::<u64>()) {
        let Some(bytes) = Bytes::new(start, len) else { return Ok(()) };
        let end = u128::from(start) + u128::from(len);
        let ends = |r: Range| (u128::from(r.start) * 512, u128::from(r.start + r.len) * 512);
        let (first, last) = ends(bytes.sectors(Edit::Protect).unwrap());
        prop_assert!(first <= start.into() && u128::from(start) - first < 512);
        prop_assert!(last >= end && last - end < 512);
        if let Some((first, last)) = bytes.sectors(Edit::Unprotect).map(ends) {
            prop_assert!(first >= start.into() && last <= end && first < last);
        }
    }
}
