// SPDX-License-Identifier: GPL-2.0

//! A line of a dump: a kind and named values, with lines below it. As text `kind name=value ...`,
//! as JSON an object.

#![forbid(unsafe_code)]

use std::fmt;

use serde::ser::SerializeMap;
use serde::Serialize;
use serde::Serializer;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// A word or more.
    Text(String),
    /// Some numbers.
    Numbers(Vec<u64>),
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is about.
    pub kind: &'static str,
    /// Its values.
    pub values: Vec<(&'static str, Value)>,
    /// What belongs to it.
    pub parts: Vec<Line>,
}

impl Line {
    pub(super) fn new(kind: &'static str) -> Self {
        Line {
            kind,
            values: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// The same with one more value.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.values.push((name, value.into()));
        self
    }

    /// A value by its name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let found = self.values.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Number(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::Number(value.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Flag(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

impl From<Vec<u64>> for Value {
    fn from(value: Vec<u64>) -> Self {
        Value::Numbers(value)
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.kind)?;
        for (name, value) in &self.values {
            map.serialize_entry(name, value)?;
        }
        if !self.parts.is_empty() {
            map.serialize_entry("parts", &self.parts)?;
        }
        map.end()
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(value) => value.fmt(f),
            Value::Flag(true) => f.write_str("yes"),
            Value::Flag(false) => f.write_str("no"),
            Value::Text(text) if text.contains(' ') => write!(f, "{text:?}"),
            Value::Text(text) => f.write_str(text),
            Value::Numbers(numbers) => {
                let texts: Vec<_> = numbers.iter().map(u64::to_string).collect();
                f.write_str(&texts.join(","))
            }
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        for (name, value) in &self.values {
            write!(f, " {name}={value}")?;
        }
        self.parts
            .iter()
            .try_for_each(|part| write!(f, "\n  {part}"))
    }
}
