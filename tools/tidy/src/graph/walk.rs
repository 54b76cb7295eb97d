// SPDX-License-Identifier: GPL-2.0

//! Walks through a file and notes what it uses of others.
//!
//! A method call is followed by the type of its receiver where that can be told from arguments,
//! fields, `let`, what functions return, or from a closure's argument called like a type. Else its
//! name decides, if only one file defines a method of that name.

#![forbid(unsafe_code)]

use super::calls;
use super::names::imports;
use super::names::Names;
use super::types::meant;
use super::types::returned;
use super::types::words;
use super::types::Id;
use super::types::Types;
use super::Doubt;
use super::Graph;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use std::collections::HashMap;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::visit;
use syn::visit::Visit;

/// Adds a file's arrows.
pub fn walk(names: &Names<'_>, types: &Types, file: usize, syntax: &syn::File, graph: &mut Graph) {
    let mut walk = Walk {
        names,
        types,
        file,
        graph,
        this: None,
        locals: HashMap::new(),
    };
    walk.visit_file(syntax);
}

/// A walk through a file.
struct Walk<'a> {
    names: &'a Names<'a>,
    types: &'a Types,
    file: usize,
    graph: &'a mut Graph,
    /// `Self`.
    this: Option<Id>,
    /// Arguments and variables; `None` if the type is none of the module's or not known.
    locals: HashMap<String, Option<Id>>,
}

impl Walk<'_> {
    /// Notes a path.
    fn path(&mut self, words: &[String], line: usize) {
        if let [this, function, ..] = words {
            if this == "Self" {
                return self.function(self.this.clone(), function, line);
            }
        }
        let Some(found) = self.names.find(self.file, words) else {
            return;
        };
        let Some(name) = found.name else {
            return;
        };
        self.graph.add_name(self.file, found.file, &name, line);
        if let Some(function) = found.rest.first() {
            let ty = self.item_type(found.file, &name);
            self.function(ty, function, line);
        }
    }

    /// Notes the use of a type's function. That of the type itself is noted apart.
    fn function(&mut self, of: Option<Id>, function: &str, line: usize) {
        let Some(of) = of else {
            return;
        };
        if let Some(method) = self.types.method(&of, function) {
            for &to in method.files.iter().filter(|&&to| to != of.0) {
                self.graph.add_call(self.file, to, function, line);
            }
        }
    }

    /// Notes a method call. `receiver` is its receiver's last word.
    fn call(&mut self, of: Option<&Id>, receiver: &str, method: &str, line: usize) {
        if let Some(of) = of {
            if let Some(method_of) = self.types.method(of, method) {
                // One of several impls, such as a trait's for several types, is in this file.
                if !method_of.files.contains(&self.file) {
                    for &to in &method_of.files {
                        self.graph.add_call(self.file, to, method, line);
                    }
                }
                return;
            }
        }
        let files = self.types.by_method(method);
        if calls::is_common(method) || files.is_empty() {
            return;
        }
        match (calls::told(receiver, method), files.as_slice()) {
            (Some(None), _) => {}
            (Some(Some(end)), files) => {
                let is_meant =
                    |to: &usize| self.graph.paths.get(*to).is_some_and(|p| p.ends_with(end));
                if let Some(&to) = files.iter().find(|to| is_meant(to)) {
                    self.graph.add_call(self.file, to, method, line);
                }
            }
            (None, &[to]) => self.graph.add_call(self.file, to, method, line),
            (None, _) => self.graph.doubts.push(Doubt {
                from: self.file,
                line,
                method: method.into(),
                files,
            }),
        }
    }

    /// Returns what an item stands for as a type: an alias's type, a static's or constant's.
    fn item_type(&self, file: usize, name: &str) -> Option<Id> {
        match self.names.item(file, name)? {
            syn::Item::Type(item) => meant(self.names, file, &item.ty, None),
            syn::Item::Static(item) => meant(self.names, file, &item.ty, None),
            syn::Item::Const(item) => meant(self.names, file, &item.ty, None),
            syn::Item::Fn(item) => returned(self.names, file, &item.sig, None),
            _ => Some((file, name.into())),
        }
    }

    /// Returns the type of the module that an expression has, or that is in its type.
    fn type_of(&self, expr: &syn::Expr) -> Option<Id> {
        match expr {
            syn::Expr::Await(expr) => self.type_of(&expr.base),
            syn::Expr::Call(expr) => self.type_of_call(expr),
            syn::Expr::Cast(expr) => self.meant(&expr.ty),
            syn::Expr::Field(expr) => {
                let name = match &expr.member {
                    syn::Member::Named(name) => name.to_string(),
                    syn::Member::Unnamed(place) => place.index.to_string(),
                };
                self.types.field(self.type_of(&expr.base).as_ref(), &name)
            }
            syn::Expr::Group(expr) => self.type_of(&expr.expr),
            syn::Expr::Index(expr) => self.type_of(&expr.expr),
            syn::Expr::MethodCall(expr) => {
                let of = self.type_of(&expr.receiver)?;
                match self.types.method(&of, &expr.method.to_string()) {
                    Some(method) => method.returns.clone(),
                    None => Some(of),
                }
            }
            syn::Expr::Paren(expr) => self.type_of(&expr.expr),
            syn::Expr::Path(expr) => self.type_of_path(&words(&expr.path)),
            syn::Expr::Reference(expr) => self.type_of(&expr.expr),
            syn::Expr::Struct(expr) => self.type_of_path(&words(&expr.path)),
            syn::Expr::Try(expr) => self.type_of(&expr.expr),
            syn::Expr::Unary(expr) => self.type_of(&expr.expr),
            _ => None,
        }
    }

    /// Returns the type of a variable, static, constant, structure or function's result.
    fn type_of_path(&self, words: &[String]) -> Option<Id> {
        match words {
            [word] if word == "self" || word == "Self" => return self.this.clone(),
            [word] if self.locals.contains_key(word) => return self.locals.get(word)?.clone(),
            _ => {}
        }
        let (of, rest) = match words {
            [this, rest @ ..] if this == "Self" => (self.this.clone(), rest.to_vec()),
            words => {
                let found = self.names.find(self.file, words)?;
                (self.item_type(found.file, &found.name?), found.rest)
            }
        };
        match (of, rest.first()) {
            (Some(of), Some(name)) => match self.types.method(&of, name) {
                Some(method) => method.returns.clone(),
                // A variant or a constant.
                None => Some(of),
            },
            (of, _) => of,
        }
    }

    /// Returns the type that a call returns; that of its first argument for functions of others,
    /// such as `Some(x)` and `Arc::new(x)`.
    fn type_of_call(&self, call: &syn::ExprCall) -> Option<Id> {
        let syn::Expr::Path(function) = call.func.as_ref() else {
            return None;
        };
        let words = words(&function.path);
        let is_ours = words.first().is_some_and(|word| word == "Self")
            || self.names.find(self.file, &words).is_some();
        if is_ours {
            self.type_of_path(&words)
        } else {
            call.args.first().and_then(|first| self.type_of(first))
        }
    }

    /// Returns the type that a written one means.
    fn meant(&self, ty: &syn::Type) -> Option<Id> {
        meant(self.names, self.file, ty, self.this.as_ref())
    }

    /// Gives the variables of a pattern their type: the whole's, if it is one variable in wrappers.
    fn bind(&mut self, pattern: &syn::Pat, ty: Option<Id>) {
        match pattern {
            syn::Pat::Ident(one) => {
                self.locals.insert(one.ident.to_string(), ty);
            }
            syn::Pat::Paren(inner) => self.bind(&inner.pat, ty),
            syn::Pat::Reference(inner) => self.bind(&inner.pat, ty),
            syn::Pat::Type(typed) => {
                let ty = self.meant(&typed.ty).or(ty);
                self.bind(&typed.pat, ty);
            }
            syn::Pat::TupleStruct(inner) if inner.elems.len() == 1 => {
                let is_ours = self.names.find(self.file, &words(&inner.path)).is_some();
                self.bind_all(inner.elems.iter(), ty.filter(|_| !is_ours));
            }
            syn::Pat::TupleStruct(inner) => self.bind_all(inner.elems.iter(), None),
            syn::Pat::Tuple(inner) => self.bind_all(inner.elems.iter(), None),
            syn::Pat::Slice(inner) => self.bind_all(inner.elems.iter(), None),
            syn::Pat::Or(inner) => self.bind_all(inner.cases.iter(), ty),
            syn::Pat::Struct(inner) => {
                for field in &inner.fields {
                    let syn::Member::Named(name) = &field.member else {
                        continue;
                    };
                    let ty = self.types.field(ty.as_ref(), &name.to_string());
                    self.bind(&field.pat, ty);
                }
            }
            _ => {}
        }
    }

    /// Gives several patterns the same type.
    fn bind_all<'a>(&mut self, patterns: impl Iterator<Item = &'a syn::Pat>, ty: Option<Id>) {
        for pattern in patterns {
            self.bind(pattern, ty.clone());
        }
    }

    /// Does something with variables of its own.
    fn scoped(&mut self, inside: impl FnOnce(&mut Self)) {
        let locals = self.locals.clone();
        inside(self);
        self.locals = locals;
    }

    /// Returns the type of a closure's argument: that of the variable of the same name around it,
    /// else the one that it is called like.
    fn type_of_argument(&self, name: &str) -> Option<Id> {
        match self.locals.get(name) {
            Some(outer) => outer.clone(),
            None => self.types.called(name),
        }
    }

    /// Gives a function's arguments their types.
    fn arguments(&mut self, signature: &syn::Signature) {
        for argument in &signature.inputs {
            if let syn::FnArg::Typed(argument) = argument {
                let ty = self.meant(&argument.ty);
                self.bind(&argument.pat, ty);
            }
        }
    }

    /// Notes paths and calls in a macro's tokens that are no expressions.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let line = first.span().start().line;
                    let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
                    let is_method = before(2).is_some_and(|token| is_punct(token, '.'));
                    if is_method && matches!(tokens.get(at), Some(TokenTree::Group(_))) {
                        let receiver = before(3).map(ToString::to_string).unwrap_or_default();
                        let of = self.receiver_in_tokens(&receiver);
                        self.call(of.as_ref(), &receiver, &first.to_string(), line);
                    } else if !is_method {
                        let words = words_from(&tokens, at - 1);
                        at += 3 * (words.len() - 1);
                        self.path(&words, line);
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns the type of a call's receiver by its last word.
    fn receiver_in_tokens(&self, word: &str) -> Option<Id> {
        let local = self.type_of_path(&[word.to_string()]);
        local.or_else(|| self.types.field(None, word))
    }
}

/// Returns true if a token is that character.
fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

/// Returns the words of the path that begins at a token.
fn words_from(tokens: &[TokenTree], mut at: usize) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        words.push(word.to_string());
        let is_colon = |at| tokens.get(at).is_some_and(|token| is_punct(token, ':'));
        if !(is_colon(at + 1) && is_colon(at + 2)) {
            break;
        }
        at += 3;
    }
    words
}

/// Returns the last word of a receiver, without the calls behind it.
fn last_word(receiver: &syn::Expr) -> String {
    match receiver {
        syn::Expr::Field(expr) => match &expr.member {
            syn::Member::Named(name) => name.to_string(),
            syn::Member::Unnamed(place) => place.index.to_string(),
        },
        syn::Expr::MethodCall(expr) => last_word(&expr.receiver),
        syn::Expr::Path(expr) => words(&expr.path).pop().unwrap_or_default(),
        syn::Expr::Paren(expr) => last_word(&expr.expr),
        syn::Expr::Reference(expr) => last_word(&expr.expr),
        syn::Expr::Try(expr) => last_word(&expr.expr),
        syn::Expr::Unary(expr) => last_word(&expr.expr),
        _ => String::new(),
    }
}

impl<'a> Visit<'a> for Walk<'_> {
    fn visit_attribute(&mut self, _: &'a syn::Attribute) {}

    fn visit_visibility(&mut self, _: &'a syn::Visibility) {}

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        if !matches!(item.vis, syn::Visibility::Inherited) {
            return;
        }
        for import in imports(&item.tree) {
            self.path(&import.path, item.span().start().line);
        }
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        self.this = self.meant(&item.self_ty);
        visit::visit_item_impl(self, item);
        self.this = None;
    }

    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        self.this = Some((self.file, item.ident.to_string()));
        visit::visit_item_struct(self, item);
        self.this = None;
    }

    fn visit_item_trait(&mut self, item: &'a syn::ItemTrait) {
        self.this = Some((self.file, item.ident.to_string()));
        visit::visit_item_trait(self, item);
        self.this = None;
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.scoped(|walk| {
            walk.arguments(&item.sig);
            visit::visit_item_fn(walk, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.scoped(|walk| {
            walk.arguments(&item.sig);
            visit::visit_impl_item_fn(walk, item);
        });
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        self.scoped(|walk| {
            walk.arguments(&item.sig);
            visit::visit_trait_item_fn(walk, item);
        });
    }

    fn visit_block(&mut self, block: &'a syn::Block) {
        self.scoped(|walk| visit::visit_block(walk, block));
    }

    fn visit_local(&mut self, local: &'a syn::Local) {
        visit::visit_local(self, local);
        let ty = local
            .init
            .as_ref()
            .and_then(|init| self.type_of(&init.expr));
        self.bind(&local.pat, ty);
    }

    fn visit_expr_let(&mut self, expr: &'a syn::ExprLet) {
        visit::visit_expr_let(self, expr);
        let ty = self.type_of(&expr.expr);
        self.bind(&expr.pat, ty);
    }

    fn visit_expr_for_loop(&mut self, expr: &'a syn::ExprForLoop) {
        self.visit_expr(&expr.expr);
        self.scoped(|walk| {
            let ty = walk.type_of(&expr.expr);
            walk.bind(&expr.pat, ty);
            walk.visit_pat(&expr.pat);
            walk.visit_block(&expr.body);
        });
    }

    fn visit_expr_match(&mut self, expr: &'a syn::ExprMatch) {
        self.visit_expr(&expr.expr);
        let ty = self.type_of(&expr.expr);
        for arm in &expr.arms {
            self.scoped(|walk| {
                walk.bind(&arm.pat, ty.clone());
                walk.visit_arm(arm);
            });
        }
    }

    fn visit_expr_closure(&mut self, expr: &'a syn::ExprClosure) {
        self.scoped(|walk| {
            for input in &expr.inputs {
                let ty = match input {
                    syn::Pat::Ident(one) => walk.type_of_argument(&one.ident.to_string()),
                    _ => None,
                };
                walk.bind(input, ty);
            }
            visit::visit_expr_closure(walk, expr);
        });
    }

    fn visit_expr_method_call(&mut self, expr: &'a syn::ExprMethodCall) {
        let of = self.type_of(&expr.receiver);
        let line = expr.method.span().start().line;
        let receiver = last_word(&expr.receiver);
        self.call(of.as_ref(), &receiver, &expr.method.to_string(), line);
        visit::visit_expr_method_call(self, expr);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let words = words(path);
        let is_local = words.len() == 1 && words.iter().all(|word| self.locals.contains_key(word));
        if !is_local {
            self.path(&words, path.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'a syn::Macro) {
        let tokens = item.tokens.clone();
        let list = syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        match list.parse2(tokens.clone()) {
            Ok(list) => list
                .iter()
                .for_each(|expr| Walk::visit_detached(self, expr)),
            Err(_) => self.tokens(tokens),
        }
    }
}

impl Walk<'_> {
    /// Visits an expression that was parsed out of a macro.
    fn visit_detached(&mut self, expr: &syn::Expr) {
        Visit::visit_expr(self, expr);
    }
}
