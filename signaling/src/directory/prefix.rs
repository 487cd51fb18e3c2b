//! Which route a called number takes: the longest prefix.

use std::{borrow::Cow, collections::HashMap};

/// Routes by their prefixes.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    /// Without the leading plus; each with whether it had one, and the route.
    table: HashMap<String, Vec<(bool, usize)>>,
    longest: usize,
}

impl Prefixes {
    /// Of each route's prefix, in the routes' order.
    pub(crate) fn new<'a>(prefixes: impl Iterator<Item = &'a str>) -> Self {
        let mut this = Self::default();
        for (route, prefix) in prefixes.enumerate() {
            let prefix = plain(prefix);
            let bare = prefix.strip_prefix('+').unwrap_or(&prefix);
            this.longest = this.longest.max(bare.len());
            let entry = (bare.len() != prefix.len(), route);
            this.table.entry(bare.to_owned()).or_default().push(entry);
        }
        this
    }

    /// The route of a user part. A leading plus counts only where two prefixes differ in nothing else;
    /// visual separators do not count at all.
    pub(crate) fn find(&self, user: &str) -> Option<usize> {
        let user = plain(user);
        let bare = user.strip_prefix('+').unwrap_or(&user);
        let has_plus = bare.len() != user.len();
        (0..=bare.len().min(self.longest)).rev().find_map(|length| {
            let routes = self.table.get(bare.get(..length)?)?;
            let exact = routes.iter().find(|(plus, _)| *plus == has_plus);
            exact.or_else(|| routes.first()).map(|(_, route)| *route)
        })
    }
}

/// A telephone number without its visual separators (RFC 3966 section 5.1.1); anything else as it is.
pub(crate) fn plain(user: &str) -> Cow<'_, str> {
    // The parameters that a tel URI has, and that RFC 3261 section 19.1.6 keeps in a SIP URI's user.
    let user = user.split(';').next().unwrap_or_default();
    let is_separator = |c: char| matches!(c, '-' | '.' | '(' | ')' | ' ');
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '*' | '#');
    let telephone = user.chars().all(|c| is_number(c) || is_separator(c));
    if !telephone || !user.contains(is_separator) {
        return Cow::Borrowed(user);
    }
    Cow::Owned(user.chars().filter(|c| !is_separator(*c)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_whatever_the_spelling() {
        let prefixes = Prefixes::new(["", "+1", "1555", "+1-555-01", "alice"].into_iter());
        for (user, route) in [
            ("44207", 0),
            ("12025550100", 1),
            ("+12025550100", 1),
            ("+1 (555) 99", 2),
            ("15550100", 3),
            ("+1.555.0100;phone-context=x", 3),
            ("alice", 4),
            ("al-ice", 0),
            ("", 0),
        ] {
            assert_eq!(prefixes.find(user), Some(route), "{user}");
        }
    }

    #[test]
    fn a_plus_decides_between_equal_prefixes() {
        let prefixes = Prefixes::new(["+44", "44"].into_iter());
        assert_eq!(prefixes.find("+4420"), Some(0));
        assert_eq!(prefixes.find("4420"), Some(1));
        assert_eq!(prefixes.find("33"), None);
    }

    #[test]
    fn letters_beyond_ascii_do_not_break_the_search() {
        let prefixes = Prefixes::new(["4", "\u{e9}t"].into_iter());
        assert_eq!(prefixes.find("\u{e9}t\u{e9}"), Some(1));
        assert_eq!(prefixes.find("\u{e9}"), None);
    }
}
