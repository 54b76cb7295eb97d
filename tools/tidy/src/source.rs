// SPDX-License-Identifier: GPL-2.0

//! The files that are looked at: Rust in `rust/` and `tools/`, and the documents.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

/// A Rust file.
pub struct Source {
    /// From the top of the checkout, with slashes.
    pub path: String,
    /// As read.
    pub text: String,
    /// As parsed.
    pub syntax: syn::File,
}

impl Source {
    /// Returns true if the file is the module's, not a tool's.
    pub fn is_module(&self) -> bool {
        self.path.starts_with("rust/")
    }

    /// Returns true if the file has tests only.
    pub fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// Returns the lines, numbered from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .zip(1..)
            .map(|(text, number)| (number, text))
    }
}

/// A document.
pub struct Document {
    /// From the top of the checkout, with slashes.
    pub path: String,
    /// As read.
    pub text: String,
}

/// All files that are looked at, in order of their paths.
pub struct Tree {
    /// Rust files.
    pub sources: Vec<Source>,
    /// `Documentation/*.rst` and `README.md`.
    pub documents: Vec<Document>,
}

impl Tree {
    /// Reads a checkout. Errors: those of the file system, and `InvalidData` with path and line for
    /// a file that is not Rust.
    pub fn read(top: &Path) -> io::Result<Self> {
        let mut paths = vec![PathBuf::from("README.md")];
        for directory in ["rust", "tools", "Documentation"] {
            collect(top, Path::new(directory), &mut paths)?;
        }
        paths.sort();
        let mut files = Vec::new();
        for path in paths {
            let text = fs::read_to_string(top.join(&path))?;
            files.push((path.to_string_lossy().into_owned(), text));
        }
        Self::parse(files).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))
    }

    /// Makes a tree of paths and texts. Errors: says which file is not Rust, and where.
    pub fn parse(files: Vec<(String, String)>) -> Result<Self, String> {
        let mut tree = Self {
            sources: Vec::new(),
            documents: Vec::new(),
        };
        for (path, text) in files {
            if path.ends_with(".rs") {
                let syntax = syn::parse_file(&text)
                    .map_err(|error| format!("{path}:{}: {error}", error.span().start().line))?;
                tree.sources.push(Source { path, text, syntax });
            } else {
                tree.documents.push(Document { path, text });
            }
        }
        Ok(tree)
    }

    /// Makes a tree for a test.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let owned = files
            .iter()
            .map(|(path, text)| (path.to_string(), text.to_string()));
        Self::parse(owned.collect()).unwrap()
    }

    /// Returns the module's files.
    pub fn module(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| source.is_module())
    }
}

/// Adds the files below a directory that are looked at.
fn collect(top: &Path, directory: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(top.join(directory))? {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                collect(top, &path, paths)?;
            }
        } else if path
            .extension()
            .is_some_and(|suffix| suffix == "rs" || suffix == "rst")
        {
            paths.push(path);
        }
    }
    Ok(())
}
