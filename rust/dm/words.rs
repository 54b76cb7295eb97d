// SPDX-License-Identifier: GPL-2.0

//! The words of a table line or message.
//!
//! C header: [`include/linux/device-mapper.h`](srctree/include/linux/device-mapper.h)

use kernel::prelude::*;
use kernel::str::CStr;
use kernel::str::CString;

/// Most words a table line or message may have; more is an error, said before anything is done.
const MAX_WORDS: usize = 32;

/// Copies the words that device-mapper passes: a message's reply goes to the memory that they are
/// in. Errors: `E2BIG` for too many, `ENOMEM`.
///
/// # Safety
///
/// `argv` points to `argc` nul-terminated strings.
pub(super) unsafe fn copy_words(
    argc: u32,
    argv: *mut *mut kernel::ffi::c_char,
) -> Result<KVec<CString>> {
    // CAST: Always fits.
    let count = argc as usize;
    if count > MAX_WORDS {
        return Err(E2BIG);
    }
    let mut words = KVec::with_capacity(count, GFP_KERNEL)?;
    for i in 0..count {
        // SAFETY: By the safety requirement, as `i < argc`.
        let place = unsafe { argv.add(i) };
        // SAFETY: As above.
        let word = unsafe { *place };
        // SAFETY: As above: a nul-terminated string.
        let word = unsafe { CStr::from_char_ptr(word) };
        words.push(CString::try_from(word)?, GFP_KERNEL)?;
    }
    Ok(words)
}

/// Returns the words as text. Errors: `EINVAL` when one is not UTF-8, `ENOMEM`.
pub(super) fn as_text(words: &[CString]) -> Result<KVec<&str>> {
    let mut text = KVec::with_capacity(words.len(), GFP_KERNEL)?;
    for word in words {
        text.push(word.to_str().map_err(|_| EINVAL)?, GFP_KERNEL)?;
    }
    Ok(text)
}
