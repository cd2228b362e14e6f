//! The selection of the limits of a search: by name or family, by expected values, and by the target.

use std::collections::BTreeMap;

use super::kind::{Applies, LimitKind};

/// The limits to search, and their expected values, each in the unit of the limit.
#[derive(Clone, Debug, Default)]
pub struct LimitRequest {
    /// The limits, in the order of the search.
    pub kinds: Vec<LimitKind>,
    /// The values that the administrator configured.
    pub expected: BTreeMap<LimitKind, u64>,
}

/// The user's selection, and the properties of the target.
#[derive(Clone, Debug, Default)]
pub struct Selection<'a> {
    /// Names and families, or `all`. Empty: the limits with an expected value; without expected values, all limits that
    /// apply.
    pub find: &'a [String],
    /// Names and families to leave out.
    pub skip: &'a [String],
    /// The values that the administrator configured.
    pub expected: BTreeMap<LimitKind, u64>,
    /// Whether the target is this machine.
    pub loopback: bool,
    /// Whether sessions are encrypted.
    pub encrypted: bool,
    /// Whether sessions log in.
    pub logged_in: bool,
}

/// Why nothing can be searched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// No limit has this name to find.
    #[error("--find: no limit is called {0}")]
    UnknownToFind(String),
    /// No limit has this name to skip.
    #[error("--skip: no limit is called {0}")]
    UnknownToSkip(String),
    /// Everything is skipped.
    #[error("no limit is left to search: --skip leaves out all that --find and [limits] name")]
    Nothing,
}

impl Selection<'_> {
    /// Returns the selected limits.
    ///
    /// # Errors
    /// A name is unknown, or no limit is left.
    pub fn request(self) -> Result<LimitRequest, SelectionError> {
        let is_unknown = |name: &&String| *name != "all" && !LimitKind::all().any(|kind| kind.is_named(name));
        if let Some(name) = self.find.iter().find(is_unknown) {
            return Err(SelectionError::UnknownToFind(name.clone()));
        }
        if let Some(name) = self.skip.iter().find(|name| *name == "all" || is_unknown(name)) {
            return Err(SelectionError::UnknownToSkip(name.clone()));
        }
        let kinds: Vec<LimitKind> = LimitKind::all().filter(|kind| self.is_wanted(*kind)).collect();
        if kinds.is_empty() {
            return Err(SelectionError::Nothing);
        }
        Ok(LimitRequest { kinds, expected: self.expected })
    }

    fn is_wanted(&self, kind: LimitKind) -> bool {
        let is_expected = self.expected.contains_key(&kind);
        let everything = match self.find {
            [] => self.expected.is_empty(),
            names => names.iter().any(|name| name == "all"),
        };
        let is_named = |names: &[String]| names.iter().any(|name| kind.is_named(name));
        let is_found = is_named(self.find)
            || is_expected && (everything || self.find.is_empty())
            || everything && self.applies(kind);
        is_found && !is_named(self.skip)
    }

    fn applies(&self, kind: LimitKind) -> bool {
        match kind.applies() {
            Applies::Always => true,
            Applies::Encrypted => self.encrypted,
            Applies::LoggedIn => self.logged_in,
            Applies::Loopback => self.loopback,
            Applies::ByName => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::limit::kind::{Mistake, ProtocolRule, SessionScope};

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn found(find: &[&str], skip: &[&str], expected: &[LimitKind]) -> Result<Vec<LimitKind>, SelectionError> {
        let (find, skip) = (names(find), names(skip));
        let expected = expected.iter().map(|kind| (*kind, 1)).collect();
        let selection = Selection { find: &find, skip: &skip, expected, ..Selection::default() };
        selection.request().map(|request| request.kinds)
    }

    const LISTENER: LimitKind = LimitKind::Concurrency(SessionScope::Listener);
    const TARGET_HOST: LimitKind = LimitKind::Concurrency(SessionScope::TargetHost);
    const LOGIN: LimitKind = LimitKind::Mistakes(Mistake::Login);

    #[test]
    fn without_names_what_is_expected_is_searched_or_all_that_applies() {
        assert_eq!(found(&[], &[], &[TARGET_HOST, LOGIN]), Ok(vec![TARGET_HOST, LOGIN]));
        let all = found(&[], &[], &[]).unwrap();
        assert_eq!(found(&["all"], &[], &[]), Ok(all.clone()));
        assert!(all.contains(&LISTENER) && !all.contains(&TARGET_HOST) && !all.contains(&LOGIN));
        let expected = found(&["all"], &[], &[LOGIN]).unwrap();
        assert!(expected.len() == all.len() + 1 && expected.contains(&LOGIN));
        assert!(
            LimitKind::all().filter(|kind| all.contains(kind)).eq(all.iter().copied()),
            "in the order of the table"
        );
    }

    #[test]
    fn what_applies_depends_on_the_target_and_its_sessions() {
        let count = |selection: Selection<'_>| selection.request().unwrap().kinds.len();
        let least = count(Selection::default());
        let loopback = Selection { loopback: true, ..Selection::default() };
        let encrypted = Selection { encrypted: true, ..Selection::default() };
        let logged_in = Selection { logged_in: true, ..Selection::default() };
        assert_eq!((count(loopback), count(encrypted), count(logged_in)), (least + 4, least + 2, least + 1));
        let whole = Selection { loopback: true, encrypted: true, logged_in: true, ..Selection::default() };
        assert_eq!(count(whole), LimitKind::all().count() - 1, "all but the second name of one search");
    }

    #[test]
    fn names_and_families_are_found_and_left_out_wherever_the_target_is() {
        assert_eq!(found(&["too-many-auth-failures"], &[], &[LISTENER]), Ok(vec![LOGIN]));
        let rules = found(&["rule"], &["rule.auth-twice"], &[]).unwrap();
        assert!(rules.len() == 9 && !rules.contains(&LimitKind::Rule(ProtocolRule::AuthTwice)));
        assert_eq!(found(&["rule"], &["rule"], &[]), Err(SelectionError::Nothing));
        assert_eq!(found(&["rules"], &[], &[]), Err(SelectionError::UnknownToFind("rules".to_owned())));
        assert_eq!(found(&[], &["all"], &[]), Err(SelectionError::UnknownToSkip("all".to_owned())));
    }
}
