// SPDX-License-Identifier: GPL-2.0

//! The picture of the module's files, for humans: rooms, arrows, circles, sizes.

#![forbid(unsafe_code)]

use crate::graph::Arrow;
use crate::graph::Graph;
use crate::rooms::part;
use crate::rooms::room;
use crate::rooms::ENGINE;
use crate::rules;
use crate::source::Source;
use crate::source::Tree;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// Returns the picture as text.
pub fn picture(tree: &Tree) -> String {
    let graph = Graph::of(tree);
    [
        structure(&graph),
        places(&graph),
        files(&graph),
        circles(&graph),
        sizes(tree),
        counts(tree),
    ]
    .join("\n")
}

/// Returns a file's room and part: `engine/write`, `store`; the file's own name if it is in no
/// room.
fn place(path: &str) -> String {
    match (room(path), part(path)) {
        (Some(ENGINE), Some(part)) if part != ENGINE => format!("{ENGINE}/{part}"),
        (Some(room), _) => room.into(),
        (None, _) => path.trim_start_matches("rust/").into(),
    }
}

/// Counts files, arrows and floors.
fn structure(graph: &Graph) -> String {
    let is_up = |(from, to): &&(usize, usize)| {
        let path = |file: &usize| graph.paths.get(*file).map_or("", String::as_str);
        rules::why_not(path(from), path(to)).is_some()
    };
    let reached: Vec<_> = (0..graph.paths.len())
        .map(|file| graph.reached_by(file))
        .collect();
    let is_implied = |(from, to): &&(usize, usize)| {
        let reaches = |over: usize| {
            reached
                .get(over)
                .is_some_and(|reached| reached.contains(to))
        };
        graph
            .used_by(*from)
            .any(|over| over != *to && reaches(over))
    };
    let shown = |arrow: &&Arrow| !arrow.names.is_empty();
    let arrows = graph.arrows.len();
    format!(
        "files {}, arrows {arrows}, {} of them implied by others, {} by calls only, {} up, \
         floors {}\n",
        graph.paths.len(),
        graph.arrows.keys().filter(is_implied).count(),
        arrows - graph.arrows.values().filter(shown).count(),
        graph.arrows.keys().filter(is_up).count(),
        floors(graph),
    )
}

/// Returns how many files stand on each other; a circle is one floor.
fn floors(graph: &Graph) -> usize {
    let circles = graph.circles();
    let group = |file: usize| {
        let circle = circles.iter().find(|circle| circle.contains(&file));
        circle.cloned().unwrap_or_else(|| BTreeSet::from([file]))
    };
    let mut heights: BTreeMap<BTreeSet<usize>, usize> = BTreeMap::new();
    // What stands on another group reaches more than that does.
    let mut order: Vec<_> = (0..graph.paths.len()).map(group).collect();
    let reach = |group: &BTreeSet<usize>| {
        group
            .first()
            .map_or(0, |&file| graph.reached_by(file).len())
    };
    order.sort_by_key(|group| (reach(group), group.clone()));
    order.dedup();
    for files in order {
        let below = files
            .iter()
            .flat_map(|&file| graph.used_by(file))
            .map(group);
        let height = below
            .filter_map(|group| heights.get(&group))
            .max()
            .copied()
            .unwrap_or(0);
        heights.insert(files, height + 1);
    }
    heights.values().max().copied().unwrap_or(0)
}

/// Returns the arrows between rooms and parts.
fn places(graph: &Graph) -> String {
    let mut arrows: BTreeMap<(String, String), (usize, usize)> = BTreeMap::new();
    for (&(from, to), arrow) in &graph.arrows {
        let (Some(from), Some(to)) = (graph.paths.get(from), graph.paths.get(to)) else {
            continue;
        };
        let (from, to) = (place(from), place(to));
        if from != to {
            let counts = arrows.entry((from, to)).or_default();
            counts.0 += arrow.names.len();
            counts.1 += arrow.calls.len();
        }
    }
    let mut text = "Between rooms and parts (names / calls):\n".to_string();
    for ((from, to), (names, calls)) in arrows {
        text += &format!("  {from} > {to}  {names} / {calls}\n");
    }
    text
}

/// Returns the arrows between files.
fn files(graph: &Graph) -> String {
    let mut text = "Between files (names / calls):\n".to_string();
    for (&(from, to), arrow) in &graph.arrows {
        let (Some(from), Some(to)) = (graph.paths.get(from), graph.paths.get(to)) else {
            continue;
        };
        let (names, calls) = (arrow.names.len(), arrow.calls.len());
        let up = if rules::why_not(from, to).is_some() {
            "UP  "
        } else {
            ""
        };
        text += &format!("  {from} > {to}  {names} / {calls}  {up}{}\n", arrow.what());
    }
    text
}

/// Returns the circles.
fn circles(graph: &Graph) -> String {
    let circles = graph.circles();
    let mut text = format!("Circles: {}\n", circles.len());
    for circle in circles {
        text += &format!(
            "  {} files; the shortest way round from each:\n",
            circle.len()
        );
        for file in circle {
            let way = graph.way_round(file).unwrap_or_default();
            text += &format!("    {}\n", rules::steps(graph, file, &way));
        }
    }
    text
}

/// Returns sizes of files and functions, by folder.
fn sizes(tree: &Tree) -> String {
    let mut folders: BTreeMap<String, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for source in tree.sources.iter().filter(|source| !source.is_test()) {
        let (files, functions) = folders.entry(folder(source)).or_default();
        files.push(source.lines().count());
        functions.extend(rules::sizes(source).iter().map(|size| size.lines));
    }
    let mut text = "Lines, median / p90 / max:\n".to_string();
    for (folder, (files, functions)) in folders {
        let (files, functions) = (spread(files), spread(functions));
        text += &format!("  {folder}: files {files}; functions {functions}\n");
    }
    text
}

/// Returns the folder that a file is counted in: a tool, `rust/dm`, or `rust`.
fn folder(source: &Source) -> String {
    let words: Vec<_> = source.path.split('/').collect();
    match words.as_slice() {
        ["tools", tool, ..] => format!("tools/{tool}"),
        ["rust", "dm" | "dm.rs", ..] => "rust/dm".into(),
        _ => "rust".into(),
    }
}

/// Returns how many numbers there are, and their spread.
fn spread(mut numbers: Vec<usize>) -> String {
    numbers.sort_unstable();
    let at = |percent: usize| {
        let place = (numbers.len() * percent / 100).min(numbers.len().saturating_sub(1));
        numbers.get(place).copied().unwrap_or(0)
    };
    format!("{} ({} / {} / {})", numbers.len(), at(50), at(90), at(100))
}

/// Returns other counts of the module.
fn counts(tree: &Tree) -> String {
    let sum = |count: &dyn Fn(&Source) -> usize| tree.module().map(count).sum::<usize>();
    let long = |source: &Source| {
        let is_long = |(_, line): &(usize, &str)| rules::is_too_long(line);
        source.lines().filter(is_long).count()
    };
    format!(
        "rust/: pub(crate) {}, pub(super) {}, functions that do not say their errors {}, \
         lines beyond {} columns {}, functions beyond {} lines {}\n",
        sum(&|source| rules::restricted(source, "crate")),
        sum(&|source| rules::restricted(source, "super")),
        sum(&|source| rules::silent(source).len()),
        rules::COLUMNS,
        sum(&long),
        rules::LINES,
        sum(&|source| rules::sizes(source)
            .iter()
            .filter(|size| size.lines > rules::LINES)
            .count()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_shows_arrows_circles_and_floors() {
        let chunk = ("rust/maps/chunk.rs", "pub struct Chunk;\n");
        let log = (
            "rust/engine/log.rs",
            "use crate::maps::chunk::Chunk;\npub struct Log;\n",
        );
        let write = ("rust/engine/write.rs", "use crate::engine::log::Log;\n");
        let text = picture(&Tree::of(&[log, write, chunk]));
        assert!(text
            .starts_with("files 3, arrows 2, 0 of them implied by others, 0 by calls only, 0 up"));
        assert!(text.contains("floors 3\n"), "{text}");
        assert!(
            text.contains("  engine/write > engine/log  1 / 0\n"),
            "{text}"
        );
        assert!(text.contains("Circles: 0\n"), "{text}");
    }
}
