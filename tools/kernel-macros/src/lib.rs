// SPDX-License-Identifier: GPL-2.0

//! The attributes of the kernel crate that the module's engine uses.

#![forbid(unsafe_code)]

use proc_macro::Delimiter;
use proc_macro::Group;
use proc_macro::TokenStream;
use proc_macro::TokenTree;

/// Makes a type with pinned fields. In user space nothing depends on where a value lies, so this
/// only takes the `#[pin]` of its fields away.
#[proc_macro_attribute]
pub fn pin_data(_args: TokenStream, item: TokenStream) -> TokenStream {
    item.into_iter()
        .map(|token| match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                TokenTree::Group(Group::new(Delimiter::Brace, without_pins(group.stream())))
            }
            token => token,
        })
        .collect()
}

/// Returns the fields without their `#[pin]`.
fn without_pins(fields: TokenStream) -> TokenStream {
    let tokens: Vec<TokenTree> = fields.into_iter().collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at..] {
            [TokenTree::Punct(hash), TokenTree::Group(pin), ..]
                if hash.as_char() == '#' && pin.to_string() == "[pin]" =>
            {
                at += 2;
            }
            [token, ..] => {
                kept.push(token.clone());
                at += 1;
            }
            [] => break,
        }
    }
    kept.into_iter().collect()
}
