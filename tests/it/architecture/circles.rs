//! Circles of imports: files that can only be understood together.
//!
//! An edge leads from a file to the file that declares an item which it names, through all re-exports. A `pub use`
//! alone is no edge. A module and its direct children may name each other, and so may two files. A larger circle is a
//! fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use super::module_of;
use super::source::{Reference, Source};

/// The files of one circle, and the places at which one names another: (file, line, named file, name).
#[derive(Debug)]
pub struct Circle {
    pub files: Vec<PathBuf>,
    pub edges: Vec<(PathBuf, usize, PathBuf, String)>,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a circle of {} files:", self.files.len())?;
        for (file, line, named, name) in &self.edges {
            writeln!(f, "  src/{}:{line} names `{name}` of src/{}", file.display(), named.display())?;
        }
        Ok(())
    }
}

/// The circles of more than two files among `sources`, which contain no tests.
pub fn circles(sources: &[(PathBuf, String)]) -> Vec<Circle> {
    let crate_ = Crate::read(sources);
    let edges = crate_.edges();
    let is_child = |child: usize, parent: usize| {
        let (child, parent) = (&crate_.modules[child], &crate_.modules[parent]);
        child.len() == parent.len() + 1 && child.starts_with(parent)
    };
    // A module and its direct children may name each other. So the graph is checked twice, without the edges to
    // children and without those to parents, and may have no circle in either case.
    let upward = edges.keys().copied().filter(|&(from, to)| !is_child(to, from)).collect();
    let downward = edges.keys().copied().filter(|&(from, to)| !is_child(from, to)).collect();
    let mut found: Vec<Vec<usize>> = Vec::new();
    for kept in [downward, upward] {
        for group in groups(sources.len(), &kept) {
            let is_new = !found.iter().any(|known| group.iter().all(|file| known.contains(file)));
            if group.len() > 2 && is_new {
                found.push(group);
            }
        }
    }
    let circle = |group: Vec<usize>| {
        let inside = edges.iter().filter(|((from, to), _)| group.contains(from) && group.contains(to));
        let file = |of: usize| sources[of].0.clone();
        Circle {
            files: group.iter().map(|&of| file(of)).collect(),
            edges: inside
                .map(|(&(from, to), (line, name))| (file(from), *line, file(to), name.clone()))
                .collect(),
        }
    };
    found.into_iter().map(circle).collect()
}

struct Crate {
    modules: Vec<Vec<String>>,
    files: BTreeMap<Vec<String>, usize>,
    sources: Vec<Source>,
}

/// The edges: (from file, to file), with the first line and name that make the edge.
type Edges = BTreeMap<(usize, usize), (usize, String)>;

impl Crate {
    fn read(sources: &[(PathBuf, String)]) -> Crate {
        let modules: Vec<Vec<String>> = sources.iter().map(|(path, _)| module_of(path)).collect();
        let files = modules.iter().cloned().enumerate().filter(|(_, module)| !module.is_empty());
        Crate {
            files: files.map(|(file, module)| (module, file)).collect(),
            sources: modules
                .iter()
                .zip(sources)
                .map(|(module, (_, text))| Source::read(module, text))
                .collect(),
            modules,
        }
    }

    fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for (from, source) in
            self.sources.iter().enumerate().filter(|(file, _)| !self.modules[*file].is_empty())
        {
            let named = source.references.iter().chain(&source.short_references);
            for Reference { path, line, .. } in named.filter(|reference| !reference.is_export) {
                if let Some((to, name)) = self.resolve(path, 8)
                    && to != from
                {
                    edges.entry((from, to)).or_insert((*line, name));
                }
            }
        }
        edges
    }

    /// The file that declares the item at `path`. `None` for a module as a whole: only paths to its items are edges.
    fn resolve(&self, path: &[String], depth: usize) -> Option<(usize, String)> {
        let length = (1..=path.len()).rev().find(|&length| self.files.contains_key(&path[..length]))?;
        let (file, rest) = (self.files[&path[..length]], &path[length..]);
        let name = rest.first()?;
        let source = &self.sources[file];
        let imports = source.references.iter().chain(&source.short_references);
        let mut exported = imports.filter(|import| import.alias == *name && import.path != path);
        match exported.next() {
            Some(import) if depth > 0 => {
                self.resolve(&[&import.path, &rest[1..]].concat(), depth - 1).or(Some((file, name.clone())))
            }
            _ => Some((file, name.clone())),
        }
    }
}

/// The strongly connected components of the graph: each file of a group can be reached from every other one.
fn groups(count: usize, edges: &BTreeSet<(usize, usize)>) -> Vec<Vec<usize>> {
    let reach = |start: usize, forward: bool| {
        let (mut seen, mut open) = (BTreeSet::from([start]), vec![start]);
        while let Some(at) = open.pop() {
            let next = edges.iter().filter_map(|&(from, to)| match forward {
                true => (from == at).then_some(to),
                false => (to == at).then_some(from),
            });
            open.extend(next.filter(|file| seen.insert(*file)));
        }
        seen
    };
    let (mut grouped, mut found) = (BTreeSet::new(), Vec::new());
    for file in 0..count {
        if grouped.contains(&file) {
            continue;
        }
        let group: Vec<usize> = reach(file, true).intersection(&reach(file, false)).copied().collect();
        grouped.extend(group.iter().copied());
        found.push(group);
    }
    found
}

/// Tests of the check itself: it finds faults, and accepts what is allowed.
mod checked {
    use super::*;

    #[track_caller]
    fn assert_circles(files: &[(&str, &str)], expected: &[&[&str]]) {
        let sources: Vec<(PathBuf, String)> =
            files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
        let found: Vec<Vec<String>> = circles(&sources)
            .iter()
            .map(|circle| circle.files.iter().map(|file| file.display().to_string()).collect())
            .collect();
        assert_eq!(found, expected, "{files:?}");
    }

    #[test]
    fn three_files_that_name_each_other_are_a_circle() {
        let ring = [("a.rs", "use crate::b::B;"), ("b.rs", "use crate::c::C;"), ("c.rs", "use crate::a::A;")];
        assert_circles(&ring, &[&["a.rs", "b.rs", "c.rs"]]);
        assert_circles(&ring[..2], &[]);
        let in_code = [("a.rs", "fn f() { crate::b::g() }"), ring[1], ring[2]];
        assert_circles(&in_code, &[&["a.rs", "b.rs", "c.rs"]]);
        let by_a_module = [("a.rs", "use crate::b; fn f() { b::g() }"), ring[1], ring[2]];
        assert_circles(&by_a_module, &[&["a.rs", "b.rs", "c.rs"]]);
        let in_a_test = [("a.rs", "#[cfg(test)] mod tests { use crate::b::B; }"), ring[1], ring[2]];
        assert_circles(&in_a_test, &[]);
    }

    #[test]
    fn two_files_may_name_each_other_and_chains_of_such_may_not() {
        let two = [("a.rs", "use crate::b::B;"), ("b.rs", "use crate::a::A;"), ("c.rs", "use crate::b::B;")];
        assert_circles(&two, &[]);
        let chain = [two[0], ("b.rs", "use crate::a::A; use crate::c::C;"), two[2]];
        assert_circles(&chain, &[&["a.rs", "b.rs", "c.rs"]]);
    }

    #[test]
    fn a_module_and_its_direct_children_are_none_and_grandchildren_are() {
        let root = ("m.rs", "mod a; mod b; mod c; use a::A; fn f() { b::g(); c::g() }");
        let star =
            [root, ("m/a.rs", "use super::M;"), ("m/b.rs", "use super::M;"), ("m/c.rs", "use super::M;")];
        assert_circles(&star, &[]);
        let siblings =
            [root, ("m/a.rs", "use super::b::B;"), ("m/b.rs", "use super::c::C; use super::M;"), star[3]];
        assert_circles(&siblings, &[]);
        let ring = [siblings[0], siblings[1], siblings[2], ("m/c.rs", "use super::a::A;")];
        assert_circles(&ring, &[&["m/a.rs", "m/b.rs", "m/c.rs"]]);
        let grandchild = [root, ("m/a.rs", "mod x; use x::X;"), ("m/a/x.rs", "use super::super::M;")];
        assert_circles(&grandchild, &[&["m.rs", "m/a.rs", "m/a/x.rs"]]);
        let around = [root, ("m/a.rs", "use super::M;"), ("q.rs", "use crate::m::a::A;")];
        assert_circles(&around, &[]);
        let outside = [("m.rs", "mod a; use crate::q::Q;"), around[1], around[2]];
        assert_circles(&outside, &[&["m.rs", "m/a.rs", "q.rs"]]);
    }

    #[test]
    fn a_name_is_followed_to_the_file_that_declares_it() {
        let facade =
            ("m.rs", "mod a; mod b; mod c; pub use a::A; pub use b::{self, B as Other}; pub use c::C;");
        let behind = [
            facade,
            ("m/a.rs", "use super::Other;"),
            ("m/b.rs", "use crate::m::C;"),
            ("m/c.rs", "use crate::m; fn f(_: m::A) {}"),
        ];
        assert_circles(&behind, &[&["m/a.rs", "m/b.rs", "m/c.rs"]]);
        // The facade is no part of a circle, although it names all three files.
        let exports = [facade, behind[1], behind[2], ("m/c.rs", "pub struct C;")];
        assert_circles(&exports, &[]);
    }
}
