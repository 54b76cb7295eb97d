// SPDX-License-Identifier: GPL-2.0

//! What a path names: the file that defines it, through re-exports.

#![forbid(unsafe_code)]

use crate::rooms::ROOTS;
use crate::source::Source;
use std::collections::HashMap;
use std::collections::HashSet;

/// More re-exports of re-exports than anybody writes: the end of a search that goes round.
const DEPTH: usize = 16;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The file that defines it.
    pub file: usize,
    /// The item; `None` for the file's module itself.
    pub name: Option<String>,
    /// What follows the item's name in the path: a variant, a function of a type.
    pub rest: Vec<String>,
}

/// A file as a module.
pub struct Module<'a> {
    /// Its path from the crate's root.
    pub path: Vec<String>,
    /// The file.
    pub syntax: &'a syn::File,
    /// Imported names, and what they stand for.
    uses: HashMap<String, Vec<String>>,
    /// Modules of which all names are imported.
    globs: Vec<Vec<String>>,
    /// The items defined.
    items: HashMap<String, &'a syn::Item>,
}

/// An import: the path, and the name that it is given here; `None` for all names.
pub struct Import {
    /// Its words.
    pub path: Vec<String>,
    /// The name here.
    pub name: Option<String>,
}

/// All modules.
pub struct Names<'a> {
    /// As in the list of files.
    pub modules: Vec<Module<'a>>,
    by_path: HashMap<Vec<String>, usize>,
    /// The paths of modules, and of the folders that they are in.
    places: HashSet<Vec<String>>,
}

impl<'a> Names<'a> {
    /// Reads the modules' names.
    pub fn of(sources: &[&'a Source]) -> Self {
        let modules: Vec<_> = sources.iter().map(|source| Module::of(source)).collect();
        let mut by_path = HashMap::new();
        let mut places = HashSet::new();
        for (file, module) in modules.iter().enumerate() {
            // Of the two roots the kernel's counts, which is the first.
            by_path.entry(module.path.clone()).or_insert(file);
            places.extend((1..=module.path.len()).map(|words| module.path[..words].to_vec()));
        }
        Self {
            modules,
            by_path,
            places,
        }
    }

    /// Returns what a path in a file names; `None` if it is none of the module's.
    pub fn find(&self, file: usize, path: &[String]) -> Option<Target> {
        self.look(self.modules.get(file)?.path.clone(), path, 0)
    }

    /// Returns an item.
    pub fn item(&self, file: usize, name: &str) -> Option<&'a syn::Item> {
        self.modules.get(file)?.items.get(name).copied()
    }

    /// Follows a path from a module.
    fn look(&self, mut at: Vec<String>, path: &[String], depth: usize) -> Option<Target> {
        if depth > DEPTH {
            return None;
        }
        for (place, word) in path.iter().enumerate() {
            match word.as_str() {
                "self" => continue,
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                _ => {
                    at.push(word.clone());
                    if self.places.contains(&at) {
                        continue;
                    }
                    at.pop();
                    return self.inside(&at, word, path.get(place + 1..)?, depth);
                }
            }
        }
        let file = *self.by_path.get(&at)?;
        let rest = Vec::new();
        Some(Target {
            file,
            name: None,
            rest,
        })
    }

    /// Finds a name in a module: imported, defined there, or among all the names of another one.
    fn inside(&self, at: &[String], word: &str, rest: &[String], depth: usize) -> Option<Target> {
        let file = *self.by_path.get(at)?;
        let module = self.modules.get(file)?;
        if let Some(meant) = module.uses.get(word) {
            return self.look(at.to_vec(), &[meant, rest].concat(), depth + 1);
        }
        if module.items.contains_key(word) {
            let (name, rest) = (Some(word.to_string()), rest.to_vec());
            return Some(Target { file, name, rest });
        }
        module.globs.iter().find_map(|glob| {
            let full = [glob.as_slice(), &[word.to_string()], rest].concat();
            self.look(at.to_vec(), &full, depth + 1)
        })
    }
}

impl<'a> Module<'a> {
    /// Reads a file's names.
    fn of(source: &'a Source) -> Self {
        let mut module = Self {
            path: path(&source.path),
            syntax: &source.syntax,
            uses: HashMap::new(),
            globs: Vec::new(),
            items: HashMap::new(),
        };
        for item in &source.syntax.items {
            if let syn::Item::Use(item) = item {
                for Import { path, name } in imports(&item.tree) {
                    match name {
                        Some(name) => drop(module.uses.insert(name, path)),
                        None => module.globs.push(path),
                    }
                }
            } else if let Some(name) = name(item) {
                module.items.insert(name.to_string(), item);
            }
        }
        module
    }
}

/// Returns a file's path as a module.
fn path(file: &str) -> Vec<String> {
    if ROOTS.contains(&file) {
        return Vec::new();
    }
    let inside = file.trim_start_matches("rust/").trim_end_matches(".rs");
    inside.split('/').map(str::to_string).collect()
}

/// Returns an item's name. A module is none here unless its text is: it is a file.
fn name(item: &syn::Item) -> Option<&syn::Ident> {
    match item {
        syn::Item::Const(item) => Some(&item.ident),
        syn::Item::Enum(item) => Some(&item.ident),
        syn::Item::Fn(item) => Some(&item.sig.ident),
        syn::Item::Macro(item) => item.ident.as_ref(),
        syn::Item::Mod(item) => item.content.as_ref().map(|_| &item.ident),
        syn::Item::Static(item) => Some(&item.ident),
        syn::Item::Struct(item) => Some(&item.ident),
        syn::Item::Trait(item) => Some(&item.ident),
        syn::Item::Type(item) => Some(&item.ident),
        syn::Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}

/// Returns the imports of a `use`.
pub fn imports(tree: &syn::UseTree) -> Vec<Import> {
    let mut found = Vec::new();
    let mut next = vec![(Vec::new(), tree)];
    while let Some((mut path, tree)) = next.pop() {
        let name = match tree {
            syn::UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                next.push((path, &tree.tree));
                continue;
            }
            syn::UseTree::Group(tree) => {
                next.extend(tree.items.iter().map(|item| (path.clone(), item)));
                continue;
            }
            syn::UseTree::Name(tree) if tree.ident == "self" => path.last().cloned(),
            syn::UseTree::Name(tree) => {
                path.push(tree.ident.to_string());
                path.last().cloned()
            }
            syn::UseTree::Rename(tree) => {
                path.push(tree.ident.to_string());
                Some(tree.rename.to_string())
            }
            syn::UseTree::Glob(_) => None,
        };
        found.push(Import { path, name });
    }
    found
}
