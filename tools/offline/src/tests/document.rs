// SPDX-License-Identifier: GPL-2.0

//! `Documentation/on-disk-format.rst` as tables.

#![forbid(unsafe_code)]

pub(super) const TEXT: &str = include_str!("../../../../Documentation/on-disk-format.rst");

/// A table: the heading that it stands under, the names of its columns, its rows.
struct Table {
    heading: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<&'static str>>,
}

/// A line of `=` and spaces: where the columns begin and end.
fn border(line: &str) -> Option<Vec<(usize, usize)>> {
    if !line.starts_with('=') || !line.contains(' ') || !line.trim_matches(['=', ' ']).is_empty() {
        return None;
    }
    let starts = (0..line.len())
        .filter(|i| line[*i..].starts_with('=') && (*i == 0 || line[*i - 1..].starts_with(' ')));
    let starts: Vec<_> = starts.collect();
    let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
    Some(starts.iter().copied().zip(ends).collect())
}

fn cells(line: &'static str, columns: &[(usize, usize)]) -> Vec<&'static str> {
    let cell = |(start, end): &(usize, usize)| line[*start..line.len().min(*end)].trim();
    columns.iter().map(cell).collect()
}

fn tables() -> Vec<Table> {
    let lines: Vec<&'static str> = TEXT.lines().collect();
    let mut tables = Vec::new();
    let mut heading = "";
    let mut at = 0;
    while at < lines.len() {
        let under = lines.get(at + 1).unwrap_or(&"");
        let underlined = !under.is_empty() && under.trim_matches(['=', '-']).is_empty();
        if underlined && !under.contains(' ') && !lines[at].is_empty() {
            heading = lines[at];
        }
        if let Some(columns) = border(lines[at]) {
            let end = (at + 3..).find(|i| border(lines[*i]).is_some()).unwrap();
            tables.push(Table {
                heading,
                columns: cells(lines[at + 1], &columns),
                rows: (at + 3..end).map(|i| cells(lines[i], &columns)).collect(),
            });
            at = end;
        }
        at += 1;
    }
    tables
}

/// Name, offset and size of each field that the document has under a heading.
pub(super) fn documented(heading: &str) -> Vec<(String, usize, usize)> {
    let tables = tables();
    let found = tables.iter().find(|table| table.heading == heading);
    let table = found.unwrap_or_else(|| panic!("no table under {heading:?}"));
    assert_eq!(table.columns, ["offset", "size", "name", "meaning"]);
    let row = |row: &Vec<&str>| {
        assert!(!row[3].is_empty(), "{} has no meaning", row[2]);
        (
            row[2].to_string(),
            row[0].parse().unwrap(),
            row[1].parse().unwrap(),
        )
    };
    table.rows.iter().map(row).collect()
}

/// The bytes of a block that a field of the document names.
pub(super) fn field<'b>(heading: &str, name: &str, bytes: &'b [u8]) -> &'b [u8] {
    let fields = documented(heading);
    let (_, offset, size) = fields.iter().find(|(known, ..)| known == name).unwrap();
    &bytes[*offset..*offset + *size]
}

/// The document's rows under columns that begin with this one.
pub(super) fn rows(first: &str) -> Vec<Vec<&'static str>> {
    let mut tables = tables()
        .into_iter()
        .filter(|table| table.columns[0] == first);
    let table = tables.next().unwrap();
    assert!(tables.next().is_none(), "two tables of {first}");
    table.rows
}
