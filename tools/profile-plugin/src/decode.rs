// SPDX-License-Identifier: GPL-2.0

//! Tells calls and returns from other x86-64 instructions.

#![forbid(unsafe_code)]

/// What an instruction does to the call path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// It writes a return address.
    Call,
    /// It reads one.
    Return,
    /// Neither.
    Other,
}

/// Returns what an instruction of the 64-bit kernel does; `code` begins with its first byte.
pub fn kind(code: &[u8]) -> Kind {
    match code.iter().position(|byte| !is_prefix(*byte)) {
        Some(at) => without_prefixes(&code[at..]),
        None => Kind::Other,
    }
}

/// Returns true for segments, sizes, lock, repetition, and REX.
fn is_prefix(byte: u8) -> bool {
    matches!(
        byte,
        0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3
    )
}

fn without_prefixes(code: &[u8]) -> Kind {
    match code {
        [0xe8, ..] => Kind::Call,
        // Group 5: the middle three bits of the next byte are the operation, and 2 is a near call.
        [0xff, modrm, ..] if modrm >> 3 & 7 == 2 => Kind::Call,
        [0xc2 | 0xc3, ..] => Kind::Return,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::kind;
    use super::Kind;

    #[test]
    fn calls_and_returns_are_known_with_any_prefix() {
        for code in [
            &[0xe8, 1, 2, 3, 4][..],
            &[0x2e, 0xe8, 1, 2, 3, 4],
            &[0xff, 0xd0],
            &[0x41, 0xff, 0xd3],
            &[0xff, 0x50, 0x10],
            &[0x3e, 0xff, 0x14, 0x25, 0, 0, 0, 0],
        ] {
            assert_eq!(kind(code), Kind::Call, "{code:x?}");
        }
        for code in [&[0xc3][..], &[0xf3, 0xc3], &[0xc2, 8, 0]] {
            assert_eq!(kind(code), Kind::Return, "{code:x?}");
        }
        for code in [
            &[][..],
            &[0x2e],
            &[0xff],
            // jmp *%rax, push, iretq, sysretq, inc.
            &[0xff, 0xe0],
            &[0xff, 0x30],
            &[0x48, 0xcf],
            &[0x48, 0x0f, 0x07],
            &[0xff, 0xc0],
            &[0xe9, 0, 0, 0, 0],
        ] {
            assert_eq!(kind(code), Kind::Other, "{code:x?}");
        }
    }
}
