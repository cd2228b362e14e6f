//! The faults of a profile that is being compiled. All faults that are independent of each other are reported together.
//!
//! # Decisions
//! - Keys that could not be read are left out. A table with such a key is not judged further, because a key that seems
//!   to be missing may be the misspelt one. The same holds for everything that depends on the table.

use super::super::document::{Document, Key, PartialProfile};
use super::super::error::{ProfileError, ProfileFault};
use super::super::schema::Profile;

/// The top-level keys on which nothing else depends. `schema` is not one of them: a profile of another schema is not
/// judged further.
const SCALARS: [&str; 4] = ["name", "seed", "threads", "folder"];

/// The faults so far.
pub(super) struct Faults {
    found: Vec<ProfileFault>,
    left_out: Vec<Vec<Key>>,
}

impl Faults {
    /// Reads a document. Returns the part that is a profile, and the faults of the rest.
    pub fn read(document: &Document) -> (Profile, Faults) {
        let PartialProfile { profile, faults, left_out } = document.read_what_can_be();
        (profile, Faults { found: faults, left_out })
    }

    /// Returns the value of a result. Its fault is noted only if all these top-level tables could be read whole.
    pub fn keep<T>(&mut self, tables: &[&'static str], result: Result<T, ProfileFault>) -> Option<T> {
        let is_whole = tables.iter().all(|table| self.is_whole(&[Key::from(*table)]));
        self.note(is_whole, result)
    }

    /// Returns the value of a result that belongs to one element of a list of tables; see [`Faults::keep`].
    pub fn keep_element<T>(
        &mut self,
        list: &'static str,
        index: usize,
        result: Result<T, ProfileFault>,
    ) -> Option<T> {
        // If a name could not be read, another element may seem to refer to an unknown name.
        let has_names = self.left_out.iter().all(|way| way.last() != Some(&Key::from("name")));
        let is_whole = self.is_whole(&[Key::from(list), Key::from(index)]);
        self.note(is_whole && has_names, result)
    }

    /// Compiles each element of a list; `None` if one of them is invalid.
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

    /// Ends the compilation if there are faults.
    ///
    /// # Errors
    /// All faults, in order of place.
    pub fn end(self) -> Result<(), ProfileError> {
        ProfileError::of(self.found).map_or(Ok(()), Err)
    }

    fn note<T>(&mut self, is_judged: bool, result: Result<T, ProfileFault>) -> Option<T> {
        result.map_err(|fault| self.found.extend(is_judged.then_some(fault))).ok()
    }

    /// Whether nothing of a table is left out. If a top-level key is left out, no table is whole: it may be this table
    /// with its name misspelt.
    fn is_whole(&self, table: &[Key]) -> bool {
        let is_scalar = |way: &[Key]| SCALARS.iter().any(|key| way == [Key::from(*key)]);
        self.left_out.iter().all(|way| is_scalar(way) || way.len() > 1 && !way.starts_with(table))
    }
}
