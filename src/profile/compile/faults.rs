//! The faults of a profile that is being compiled: all that are independent of each other are reported in one go.
//!
//! # Decisions
//! - What could not be read is left out, and a table from which something is left out is not judged further: what it seems
//!   to lack is what was misspelt. The same holds for what depends on such a table.

use super::super::document::{Document, Key, PartialProfile};
use super::super::error::{ProfileError, ProfileFault};
use super::super::schema::Profile;

/// The keys at the top on which nothing else depends. A profile of another schema is not judged further.
const SCALARS: [&str; 4] = ["name", "seed", "threads", "folder"];

/// What is wrong so far.
pub(super) struct Faults {
    found: Vec<ProfileFault>,
    left_out: Vec<Vec<Key>>,
}

impl Faults {
    /// Reads a document: what of it is a profile, and the faults of the rest.
    pub fn read(document: &Document) -> (Profile, Faults) {
        let PartialProfile { profile, faults, left_out } = document.read_what_can_be();
        (profile, Faults { found: faults, left_out })
    }

    /// The value of a result. Its fault is noted if all these tables at the top could be read whole.
    pub fn keep<T>(&mut self, tables: &[&'static str], result: Result<T, ProfileFault>) -> Option<T> {
        let is_whole = tables.iter().all(|table| self.is_whole(&[Key::from(*table)]));
        self.note(is_whole, result)
    }

    /// The same for one element of a list of tables.
    pub fn keep_element<T>(
        &mut self,
        list: &'static str,
        index: usize,
        result: Result<T, ProfileFault>,
    ) -> Option<T> {
        // Without a name that could not be read another element may seem to name nothing.
        let has_names = self.left_out.iter().all(|way| way.last() != Some(&Key::from("name")));
        let is_whole = self.is_whole(&[Key::from(list), Key::from(index)]);
        self.note(is_whole && has_names, result)
    }

    /// Makes something of each element of a list; `None` if one cannot be.
    pub fn keep_each<T, U>(
        &mut self,
        list: &'static str,
        elements: &[T],
        make: impl Fn(usize, &T) -> Result<U, ProfileFault>,
    ) -> Option<Vec<U>> {
        let made: Vec<Option<U>> = elements
            .iter()
            .enumerate()
            .map(|(index, element)| self.keep_element(list, index, make(index, element)))
            .collect();
        made.into_iter().collect()
    }

    /// Ends the compiling if anything is wrong.
    ///
    /// # Errors
    /// All faults, in order of place.
    pub fn end(self) -> Result<(), ProfileError> {
        ProfileError::of(self.found).map_or(Ok(()), Err)
    }

    fn note<T>(&mut self, is_judged: bool, result: Result<T, ProfileFault>) -> Option<T> {
        result.map_err(|fault| self.found.extend(is_judged.then_some(fault))).ok()
    }

    /// Whether nothing is left out of a table. Where a key at the top is left out, no table is whole: it may be another one
    /// with its name misspelt.
    fn is_whole(&self, table: &[Key]) -> bool {
        let is_scalar = |way: &[Key]| SCALARS.iter().any(|key| way == [Key::from(*key)]);
        self.left_out.iter().all(|way| is_scalar(way) || way.len() > 1 && !way.starts_with(table))
    }
}
