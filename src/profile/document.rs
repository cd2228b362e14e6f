//! A profile's text as a tree. Each node knows its source: a file, `--set` or a flag.
//!
//! This module finds the place of a key for an error, and applies overrides. It does not know what the keys mean.
//!
//! # Decisions
//! - Overrides change the tree, not the text. Each override adds its own text as a further source. The spans of all
//!   sources share one range of numbers, as the files of a compiler do. So an error about an overridden key shows the
//!   override.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{MOST_SHOWN, ProfileError, ProfileFault, TextPlace, explain};
use super::nearest::choose;
use super::overrides::Override;
use super::schema::Profile;

/// The top-level keys that are lists of tables. An override may create such a list.
const ELEMENTS: [&str; 5] = ["phase", "expect", "assert", "classify", "event"];

/// A step down the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Into a table.
    Name(Cow<'static, str>),
    /// Into an element of a list.
    Index(usize),
}

impl From<&'static str> for Key {
    fn from(name: &'static str) -> Key {
        Key::Name(Cow::Borrowed(name))
    }
}

impl From<String> for Key {
    fn from(name: String) -> Key {
        Key::Name(Cow::Owned(name))
    }
}

impl From<usize> for Key {
    fn from(index: usize) -> Key {
        Key::Index(index)
    }
}

/// A path through the tree, as an array of [`Key`]s.
macro_rules! keys {
    ($($key:expr),* $(,)?) => { [$($crate::profile::document::Key::from($key)),*] };
}
pub(super) use keys;

/// A text from which a part of the tree comes.
#[derive(Clone, Debug)]
struct SourceText {
    origin: String,
    text: String,
    /// The number of its first byte in the range that all sources share.
    base: usize,
}

/// A profile's text with its overrides.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file first, then one for each override.
    sources: Vec<SourceText>,
    overrides: Vec<Override>,
    /// A top-level table that contains every place: see [`Document::within`].
    table: Option<Key>,
}

impl Document {
    /// Parses the text of a file called `name`.
    ///
    /// # Errors
    /// The place where the text is not TOML.
    pub fn parse(name: &str, text: &str) -> Result<Document, ProfileError> {
        let source = SourceText { origin: name.to_owned(), text: text.to_owned(), base: 0 };
        let document = Document { sources: vec![source], overrides: Vec::new(), table: None };
        document.tree()?;
        Ok(document)
    }

    /// Applies an override. Missing tables on its path are created. In a list, an element must exist or be the next
    /// one.
    ///
    /// # Errors
    /// A path that leads nowhere, or a value that is not TOML. The document is then unchanged.
    pub fn apply(&mut self, change: Override) -> Result<(), ProfileError> {
        let base = self.sources.last().map_or(0, |source| source.base + source.text.len() + 1);
        self.sources.push(SourceText {
            origin: change.origin.as_str().to_owned(),
            text: change.text.clone(),
            base,
        });
        self.overrides.push(change);
        match self.tree() {
            Ok(_) => Ok(()),
            Err(error) => {
                self.sources.pop();
                self.overrides.pop();
                Err(error.into())
            }
        }
    }

    /// Returns the tree with all overrides. It borrows the texts, so it is built whenever it is needed; profiles are
    /// small.
    fn tree(&self) -> Result<Spanned<DeTable<'_>>, ProfileFault> {
        let mut root = DeTable::parse(&self.sources[0].text).map_err(|error| self.toml_error(&error))?;
        for (change, source) in self.overrides.iter().zip(&self.sources[1..]) {
            self.graft(root.get_mut(), change, source)?;
        }
        Ok(root)
    }

    /// Applies one override to the tree.
    fn graft<'s>(
        &'s self,
        root: &mut DeTable<'s>,
        change: &'s Override,
        source: &'s SourceText,
    ) -> Result<(), ProfileFault> {
        let at = |span: &Range<usize>| source.base + span.start..source.base + span.end;
        let wrong = |span: &Range<usize>, message: String, remedy: String| {
            Err(ProfileFault::new(message, remedy, self.locate(&at(span))))
        };
        let name_of = |span: &Range<usize>| -> &'s str { &source.text[span.clone()] };
        let key = |span: &Range<usize>| Spanned::new(at(span), Cow::Borrowed(name_of(span)));
        let (last, way) = change.path.split_last().expect("an override has a path");

        let mut table = root;
        let mut way = way.iter();
        while let Some(segment) = way.next() {
            let name = name_of(segment);
            if !table.contains_key(name) {
                let new = if ELEMENTS.contains(&name) {
                    DeValue::Array(DeArray::new())
                } else {
                    DeValue::Table(DeTable::new())
                };
                table.insert(key(segment), Spanned::new(at(segment), new));
            }
            let node = table.get_mut(name).expect("it was inserted if it was not there");
            table = match node.get_mut() {
                DeValue::Table(inner) => inner,
                DeValue::Array(list) => {
                    let Some(which) = way.next() else {
                        return wrong(
                            last,
                            format!("`{name}.{}` is a whole table", name_of(last)),
                            format!("name one of its keys, as in {name}.{}.KEY=VALUE", name_of(last)),
                        );
                    };
                    let index = match element(list, name, name_of(which)) {
                        Ok(index) => index,
                        Err((message, remedy)) => return wrong(which, message, remedy),
                    };
                    if index == list.len() {
                        list.push(Spanned::new(at(which), DeValue::Table(DeTable::new())));
                    }
                    match list.as_mut()[index].get_mut() {
                        DeValue::Table(inner) => inner,
                        _ => return wrong(which, format!("`{name}` is no list of tables"), String::new()),
                    }
                }
                _ => return wrong(segment, format!("`{name}` is a value, it has no keys"), String::new()),
            };
        }
        let value = match change.parse_value(&source.text) {
            Ok(value) => value,
            Err(error) => {
                let (message, remedy) = explain(error.message());
                let span = error.span().unwrap_or_default();
                let start = change.value.start;
                return wrong(&(start + span.start..start + span.end), message, remedy);
            }
        };
        table.remove(name_of(last));
        table.insert(key(last), moved(value, source.base + change.value.start));
        Ok(())
    }

    /// Reads the tree as a profile. Every key must be known, and every value must have its type and be within its
    /// bounds.
    ///
    /// # Errors
    /// Every key and value that does not fit.
    pub fn read(&self) -> Result<Profile, ProfileError> {
        let reading = self.read_what_can_be();
        ProfileError::of(reading.faults).map_or(Ok(reading.profile), Err)
    }

    /// Reads the tree as a profile as far as possible. A key that cannot be read is left out, and the rest is read
    /// again, so that one fault does not hide another.
    pub(super) fn read_what_can_be(&self) -> PartialProfile {
        let mut reading = PartialProfile::default();
        let mut spans: Vec<Range<usize>> = Vec::new();
        while reading.faults.len() <= MOST_SHOWN {
            let mut root = match self.tree() {
                Ok(root) => root,
                Err(fault) => return PartialProfile { faults: vec![fault], ..reading },
            };
            for way in &reading.left_out {
                remove(root.get_mut(), way);
            }
            // The deserializer consumes a tree. The place of an error is looked up in another copy.
            match Profile::deserialize(toml::de::Deserializer::from(root.clone())) {
                Ok(profile) => return PartialProfile { profile, ..reading },
                Err(error) => {
                    let span = error.span().unwrap_or_default();
                    // A value that contains a reported fault gets no second one.
                    if !spans.iter().any(|inner| covers(&span, inner)) {
                        reading.faults.push(self.toml_error(&error));
                    }
                    match innermost(root.get_ref(), &span) {
                        Some(way) => reading.left_out.push(way),
                        None => break,
                    }
                    spans.push(span);
                }
            }
        }
        reading.left_out.push(Vec::new());
        reading
    }

    /// Returns the place of a key's value. If the key is absent, the place is that of the nearest existing table around
    /// it.
    pub fn place(&self, path: &[Key]) -> Option<TextPlace> {
        self.find(path, false)
    }

    /// Returns the place of a key itself. If the key is absent, the place is that of the nearest existing table around
    /// it.
    pub fn place_of_key(&self, path: &[Key]) -> Option<TextPlace> {
        self.find(path, true)
    }

    /// Returns an error about a value.
    pub(super) fn error_at(
        &self,
        path: &[Key],
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ProfileFault {
        ProfileFault::new(message, remedy, self.find(path, false))
    }

    /// Returns an error about a key.
    pub(super) fn error_at_key(
        &self,
        path: &[Key],
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ProfileFault {
        ProfileFault::new(message, remedy, self.find(path, true))
    }

    /// Returns an error about a part of a text. If the text was written with escapes, all of it is underlined.
    pub(super) fn error_within(
        &self,
        path: &[Key],
        text: &str,
        part: Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ProfileFault {
        let place = self.find(path, false).map(|mut place| {
            let start = place.span.start + place.text[place.span.clone()].find(text).unwrap_or(0);
            if place.text[start..].starts_with(text) {
                // An empty part is at the end: the character after the text, its closing quote, is shown.
                let end = (start + part.end).max(start + part.start + 1).min(place.text.len());
                place.span = start + part.start..end;
            }
            place
        });
        ProfileFault::new(message, remedy, place)
    }

    /// Returns the end of the file, for an error about something that is missing there.
    pub(super) fn end(&self) -> Option<TextPlace> {
        let source = self.sources.first()?;
        let end = source.text.trim_end().len();
        Some(TextPlace {
            origin: source.origin.clone(),
            text: source.text.clone(),
            span: end..end,
            base: source.base,
        })
    }

    /// Returns the file's name without directory and extension.
    pub(super) fn stem(&self) -> &str {
        let origin = &self.sources[0].origin;
        let file = origin.rsplit(['/', '\\']).next().unwrap_or(origin);
        file.strip_suffix(".toml").unwrap_or(file)
    }

    /// Returns the folder of the file; without a file, the current one.
    pub(super) fn folder(&self) -> &Path {
        Path::new(&self.sources[0].origin).parent().unwrap_or(Path::new(""))
    }

    /// Returns the same document for a reader whose keys are in this top-level table.
    pub(super) fn within(&self, table: &'static str) -> Document {
        Document { table: Some(table.into()), ..self.clone() }
    }

    fn find(&self, path: &[Key], want_key: bool) -> Option<TextPlace> {
        let path: Vec<&Key> = self.table.iter().chain(path).collect();
        let root = self.tree().ok()?;
        let mut span = None;
        let mut table = Some(root.get_ref());
        let mut list = None;
        for (depth, key) in path.iter().enumerate() {
            let last = depth + 1 == path.len();
            let (key_span, node): (_, &Spanned<DeValue<'_>>) = match key {
                Key::Name(name) => match table.and_then(|table| table.get_key_value(name.as_ref())) {
                    Some((key, node)) => (key.span(), node),
                    None => break,
                },
                Key::Index(index) => match list.and_then(|list: &DeArray<'_>| list.get(*index)) {
                    Some(node) => (node.span(), node),
                    None => break,
                },
            };
            span = Some(if want_key && last { key_span } else { node.span() });
            table = node.get_ref().as_table();
            list = node.get_ref().as_array();
        }
        span.and_then(|span| self.locate(&span))
    }

    /// Returns the place of a span, in the source that contains it.
    fn locate(&self, span: &Range<usize>) -> Option<TextPlace> {
        let source = self.sources.iter().rev().find(|source| source.base <= span.start)?;
        Some(TextPlace {
            origin: source.origin.clone(),
            text: source.text.clone(),
            span: span.start - source.base..span.end - source.base,
            base: source.base,
        })
    }

    fn toml_error(&self, error: &toml::de::Error) -> ProfileFault {
        let (message, remedy) = explain(error.message());
        ProfileFault::new(message, remedy, error.span().and_then(|span| self.locate(&span)))
    }
}

/// The part of a profile that could be read.
#[derive(Debug, Default)]
pub(super) struct PartialProfile {
    /// The profile without the keys that could not be read.
    pub profile: Profile,
    /// The reason for each key that could not be read.
    pub faults: Vec<ProfileFault>,
    /// The keys that are left out. An empty path means that there is no profile at all.
    pub left_out: Vec<Vec<Key>>,
}

fn covers(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Returns the path to the innermost key whose name or value contains a span.
fn innermost(root: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<Key>> {
    let mut best: Option<(usize, Vec<Key>)> = None;
    let mut tables = vec![(Vec::new(), root)];
    while let Some((way, table)) = tables.pop() {
        for (key, node) in table {
            let way: Vec<Key> = way.iter().cloned().chain([Key::from(key.get_ref().to_string())]).collect();
            let length = match key.span() == *span {
                true => Some(0),
                false => covers(&node.span(), span).then(|| node.span().len()),
            };
            if let Some(length) = length.filter(|length| best.as_ref().is_none_or(|(best, _)| length < best))
            {
                best = Some((length, way.clone()));
            }
            let items = node.get_ref().as_array().into_iter().flat_map(|list| list.iter()).enumerate();
            let inner = items.filter_map(|(index, item)| {
                let way = way.iter().cloned().chain([Key::Index(index)]).collect();
                Some((way, item.get_ref().as_table()?))
            });
            tables.extend(inner.chain(node.get_ref().as_table().map(|table| (way.clone(), table))));
        }
    }
    best.map(|(_, way)| way)
}

/// Removes the key at the end of a path.
fn remove(table: &mut DeTable<'_>, way: &[Key]) {
    match way {
        [Key::Name(name)] => {
            table.remove(name.as_ref());
        }
        [Key::Name(name), Key::Index(index), rest @ ..] => {
            let list = table.get_mut(name.as_ref()).map(Spanned::get_mut);
            if let Some(DeValue::Array(list)) = list
                && let DeValue::Table(inner) = list.as_mut()[*index].get_mut()
            {
                remove(inner, rest);
            }
        }
        [Key::Name(name), rest @ ..] => {
            if let Some(DeValue::Table(inner)) = table.get_mut(name.as_ref()).map(Spanned::get_mut) {
                remove(inner, rest);
            }
        }
        _ => {}
    }
}

/// Returns the index of an element of a list, chosen by number or by the element's `name`.
fn element(list: &[Spanned<DeValue<'_>>], list_name: &str, chosen: &str) -> Result<usize, (String, String)> {
    let names: Vec<Cow<'_, str>> = list
        .iter()
        .enumerate()
        .map(|(index, node)| match node.get_ref().get("name").and_then(|name| name.get_ref().as_str()) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("{list_name}-{}", index + 1)),
        })
        .collect();
    if let Some(index) = names.iter().position(|name| name == chosen) {
        return Ok(index);
    }
    match chosen.parse::<usize>() {
        Ok(index) if index <= list.len() => Ok(index),
        Ok(index) => Err((
            format!("there is no {list_name} {index}"),
            format!("the numbers begin at 0, the next new one is {}", list.len()),
        )),
        Err(_) => Err((
            format!("no {list_name} is called `{chosen}`"),
            choose(chosen, &names, "write its number, from 0, or one of"),
        )),
    }
}

/// Returns the same value with all its spans moved by this many bytes.
fn moved(node: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let move_on = |span: Range<usize>| span.start + by..span.end + by;
    let span = move_on(node.span());
    let value = match node.into_inner() {
        DeValue::Array(list) => DeValue::Array(list.into_iter().map(|node| moved(node, by)).collect()),
        DeValue::Table(table) => {
            let entries = table.into_iter();
            DeValue::Table(
                entries
                    .map(|(key, node)| (Spanned::new(move_on(key.span()), key.into_inner()), moved(node, by)))
                    .collect(),
            )
        }
        scalar => scalar,
    };
    Spanned::new(span, value)
}
