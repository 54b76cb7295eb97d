// SPDX-License-Identifier: GPL-2.0

//! The module's types: their fields and methods, and which of them a written type means.
//!
//! A type of the standard library or of the kernel around one of the module's (`Arc<T>`,
//! `Mutex<T>`, `Result<T>`) is looked through, so `lock()` or `?` change nothing; and so is the
//! module's own [`WRAPPERS`].

#![forbid(unsafe_code)]

use super::names::Names;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;

/// The module's types that have no methods, but those of what is in them.
const WRAPPERS: &[&str] = &["Apart"];

/// A type or trait of the module: the file that defines it, and its name.
pub type Id = (usize, String);

/// A method or function of a type.
#[derive(Default)]
pub struct Method {
    /// The files with an `impl` that defines it.
    pub files: BTreeSet<usize>,
    /// What it returns, if that is a type of the module.
    pub returns: Option<Id>,
}

/// All types.
#[derive(Default)]
pub struct Types {
    methods: HashMap<Id, HashMap<String, Method>>,
    fields: HashMap<Id, HashMap<String, Option<Id>>>,
    /// Of methods with a receiver, by name: the files that define one.
    by_method: HashMap<String, BTreeSet<usize>>,
    /// Of fields, by name.
    by_field: HashMap<String, HashSet<Option<Id>>>,
    /// Structures and traits, by the name of a variable that is called like one: `copies` for
    /// `Copies`.
    by_variable: HashMap<String, Vec<Id>>,
}

impl Types {
    /// Reads the files' types.
    pub fn of(names: &Names<'_>) -> Self {
        let mut types = Self::default();
        for (file, module) in names.modules.iter().enumerate() {
            for item in &module.syntax.items {
                types.add(names, file, item);
            }
        }
        types
    }

    /// Returns a type's method or function.
    pub fn method(&self, of: &Id, name: &str) -> Option<&Method> {
        self.methods.get(of)?.get(name)
    }

    /// Returns the files that define a method of that name.
    pub fn by_method(&self, name: &str) -> Vec<usize> {
        self.by_method
            .get(name)
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    /// Returns the type of a field: that of the type's own, else the one that all fields of the
    /// name have.
    pub fn field(&self, of: Option<&Id>, name: &str) -> Option<Id> {
        let own = of
            .and_then(|of| self.fields.get(of))
            .and_then(|fields| fields.get(name));
        match (own, self.by_field.get(name)) {
            (Some(own), _) => own.clone(),
            (None, Some(all)) if all.len() == 1 => all.iter().next().cloned().flatten(),
            (None, _) => None,
        }
    }

    /// Returns the type that a variable is called like, if there is one only.
    pub fn called(&self, variable: &str) -> Option<Id> {
        match self.by_variable.get(variable)?.as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        }
    }

    /// Adds a type under the name of a variable that is called like it.
    fn add_variable(&mut self, of: &Id) {
        let mut variable = String::new();
        for c in of.1.chars() {
            if c.is_uppercase() && !variable.is_empty() {
                variable.push('_');
            }
            variable.extend(c.to_lowercase());
        }
        self.by_variable
            .entry(variable)
            .or_default()
            .push(of.clone());
    }

    /// Adds an item.
    fn add(&mut self, names: &Names<'_>, file: usize, item: &syn::Item) {
        match item {
            syn::Item::Struct(item) => {
                let of = (file, item.ident.to_string());
                self.add_variable(&of);
                for (place, field) in item.fields.iter().enumerate() {
                    let name = field
                        .ident
                        .as_ref()
                        .map_or(place.to_string(), ToString::to_string);
                    let ty = meant(names, file, &field.ty, Some(&of));
                    self.by_field
                        .entry(name.clone())
                        .or_default()
                        .insert(ty.clone());
                    self.fields.entry(of.clone()).or_default().insert(name, ty);
                }
            }
            syn::Item::Impl(item) => {
                let of = meant(names, file, &item.self_ty, None);
                for part in &item.items {
                    if let syn::ImplItem::Fn(function) = part {
                        let is_inherent = item.trait_.is_none();
                        self.add_method(names, file, of.as_ref(), &function.sig, is_inherent);
                    }
                }
            }
            syn::Item::Trait(item) => {
                let of = (file, item.ident.to_string());
                self.add_variable(&of);
                for part in &item.items {
                    if let syn::TraitItem::Fn(function) = part {
                        self.add_method(names, file, Some(&of), &function.sig, true);
                    }
                }
            }
            _ => {}
        }
    }

    /// Adds a method, by its name too unless it is a trait's of which the trait itself is found.
    fn add_method(
        &mut self,
        names: &Names<'_>,
        file: usize,
        of: Option<&Id>,
        signature: &syn::Signature,
        is_by_name: bool,
    ) {
        let name = signature.ident.to_string();
        if is_by_name && signature.receiver().is_some() {
            self.by_method.entry(name.clone()).or_default().insert(file);
        }
        if let Some(of) = of {
            let methods = self.methods.entry(of.clone()).or_default();
            let method = methods.entry(name).or_default();
            method.files.insert(file);
            method.returns = returned(names, file, signature, Some(of));
        }
    }
}

/// Returns the type of the module that a function returns.
pub fn returned(
    names: &Names<'_>,
    file: usize,
    signature: &syn::Signature,
    this: Option<&Id>,
) -> Option<Id> {
    match &signature.output {
        syn::ReturnType::Default => None,
        syn::ReturnType::Type(_, ty) => meant(names, file, ty, this),
    }
}

/// Returns the type of the module that a type written in a file means, or has in it. `this` is
/// `Self`.
pub fn meant(names: &Names<'_>, file: usize, ty: &syn::Type, this: Option<&Id>) -> Option<Id> {
    match ty {
        syn::Type::Array(ty) => meant(names, file, &ty.elem, this),
        syn::Type::Group(ty) => meant(names, file, &ty.elem, this),
        syn::Type::ImplTrait(ty) => bound(names, file, &ty.bounds),
        syn::Type::Paren(ty) => meant(names, file, &ty.elem, this),
        syn::Type::Path(ty) => of_path(names, file, &ty.path, this),
        syn::Type::Ptr(ty) => meant(names, file, &ty.elem, this),
        syn::Type::Reference(ty) => meant(names, file, &ty.elem, this),
        syn::Type::Slice(ty) => meant(names, file, &ty.elem, this),
        syn::Type::TraitObject(ty) => bound(names, file, &ty.bounds),
        _ => None,
    }
}

/// Returns the first trait of the module among bounds.
fn bound<'a>(
    names: &Names<'_>,
    file: usize,
    bounds: impl IntoIterator<Item = &'a syn::TypeParamBound>,
) -> Option<Id> {
    bounds.into_iter().find_map(|bound| match bound {
        syn::TypeParamBound::Trait(bound) => of_path(names, file, &bound.path, None),
        _ => None,
    })
}

/// Returns the type that a path means: an item, what an alias stands for, or else the first of its
/// arguments that means one.
fn of_path(names: &Names<'_>, file: usize, path: &syn::Path, this: Option<&Id>) -> Option<Id> {
    if path.is_ident("Self") {
        return this.cloned();
    }
    if let Some(found) = names.find(file, &words(path)) {
        let name = found.name.filter(|_| found.rest.is_empty())?;
        return match names.item(found.file, &name)? {
            syn::Item::Type(alias) => meant(names, found.file, &alias.ty, None),
            _ if WRAPPERS.contains(&name.as_str()) => argument(names, file, path, this),
            _ => Some((found.file, name)),
        };
    }
    argument(names, file, path, this)
}

/// Returns the type that the first of a path's arguments means that means one.
fn argument(names: &Names<'_>, file: usize, path: &syn::Path, this: Option<&Id>) -> Option<Id> {
    let syn::PathArguments::AngleBracketed(list) = &path.segments.last()?.arguments else {
        return None;
    };
    list.args.iter().find_map(|argument| match argument {
        syn::GenericArgument::Type(ty) => meant(names, file, ty, this),
        _ => None,
    })
}

/// Returns a path's words.
pub fn words(path: &syn::Path) -> Vec<String> {
    path.segments
        .iter()
        .map(|segment| segment.ident.to_string())
        .collect()
}
