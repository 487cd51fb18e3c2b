//! Reading and writing telephone numbers: to E.164 and as a trunk wants them.

use std::borrow::Cow;

use control::config::{NumberRule, Numbering, Otherwise, Party};

/// A telephone number without its visual separators (RFC 3966 section 5.1.1) and the parameters of a
/// `tel:` URI; anything else as it is.
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

/// Whether a text is a telephone number, or what a telephone may dial in its place; else it is a name.
pub(crate) fn is_number(called: &str) -> bool {
    let called = called.strip_prefix('+').unwrap_or(called);
    let is_dialled = |b: u8| b.is_ascii_digit() || matches!(b, b'*' | b'#');
    !called.is_empty() && called.bytes().all(is_dialled)
}

/// Reads a number to E.164 with its plus, where the numbering tells how; leaves it else.
pub(super) fn normalised(number: &str, numbering: &Numbering) -> Option<String> {
    let is_telephone = number.bytes().all(|b| b.is_ascii_digit());
    if !is_telephone || number.len() < usize::from(numbering.shortest) {
        return None;
    }
    if let Some(rest) = number.strip_prefix(&numbering.international) {
        return Some(format!("+{rest}"));
    }
    let national = Some(numbering.national.as_str()).filter(|national| !national.is_empty());
    if let Some(rest) = national.and_then(|national| number.strip_prefix(national)) {
        return Some(format!("+{}{rest}", numbering.country));
    }
    match numbering.otherwise {
        Otherwise::Keep => None,
        Otherwise::International => Some(format!("+{number}")),
        Otherwise::National => Some(format!("+{}{number}", numbering.country)),
    }
}

/// Applies rules in order, each to what the one before left. `tell` hears of each change.
pub(super) fn rewritten(
    number: &str,
    party: Party,
    rules: &[NumberRule],
    mut tell: impl FnMut(&NumberRule, &str, &str),
) -> String {
    let mut number = number.to_owned();
    for rule in rules.iter().filter(|rule| rule.of.includes(party)) {
        if let Some(changed) = applied(&number, rule)
            && changed != number
        {
            tell(rule, &number, &changed);
            number = changed;
        }
    }
    number
}

/// What a rule makes of a number; `None` where it does not apply.
fn applied(number: &str, rule: &NumberRule) -> Option<String> {
    let pattern = rule.matches.as_ref();
    if pattern.is_some_and(|pattern| !pattern.regex().is_match(number)) {
        return None;
    }
    let read = rule
        .normalise
        .as_ref()
        .and_then(|numbering| normalised(number, numbering));
    let mut number = read.unwrap_or_else(|| number.to_owned());
    if let (Some(pattern), Some(replace)) = (pattern, &rule.replace) {
        number = pattern
            .regex()
            .replace(&number, replace.as_str())
            .into_owned();
    }
    let rest: String = number.chars().skip(rule.strip.into()).collect();
    Some(format!("{}{rest}", rule.add))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbering(
        country: &str,
        international: &str,
        national: &str,
        otherwise: Otherwise,
    ) -> Numbering {
        Numbering {
            country: country.into(),
            international: international.into(),
            national: national.into(),
            otherwise,
            shortest: 7,
        }
    }

    #[test]
    fn numbers_are_read_as_each_country_writes_them() {
        let german = numbering("49", "00", "0", Otherwise::Keep);
        let american = numbering("1", "011", "1", Otherwise::National);
        let carrier = numbering("49", "00", "", Otherwise::International);
        for (numbering, number, read) in [
            (&german, "00442071234567", Some("+442071234567")),
            (&german, "0301234567", Some("+49301234567")),
            (&german, "301234567", None),
            (&german, "110", None),
            (&german, "alice77", None),
            (&german, "+4930123456", None),
            (&american, "011442071234567", Some("+442071234567")),
            (&american, "12025550100", Some("+12025550100")),
            (&american, "2025550100", Some("+12025550100")),
            (&american, "911", None),
            (&carrier, "4930123456", Some("+4930123456")),
        ] {
            assert_eq!(normalised(number, numbering).as_deref(), read, "{number}");
        }
    }

    fn rule(json: &str) -> NumberRule {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn rules_follow_each_other() {
        let rules = [
            rule(r#"{"normalise": {"country": "49"}}"#),
            rule(r#"{"match": "^\\+49(.*)$", "replace": "0$1"}"#),
            rule(r#"{"match": "^0", "strip": 1, "add": "99"}"#),
            rule(r#"{"of": "caller", "add": "x"}"#),
        ];
        let mut told = Vec::new();
        let number = rewritten("0049301234567", Party::Called, &rules, |_, from, to| {
            told.push(format!("{from}>{to}"));
        });
        assert_eq!(number, "99301234567");
        assert_eq!(
            told,
            [
                "0049301234567>+49301234567",
                "+49301234567>0301234567",
                "0301234567>99301234567"
            ]
        );
        let untouched = rewritten("alice", Party::Called, &rules, |_, _, _| {});
        assert_eq!(untouched, "alice");
    }

    #[test]
    fn more_than_there_is_can_be_stripped() {
        let rules = [rule(r#"{"strip": 9, "add": "1"}"#)];
        assert_eq!(
            rewritten("\u{e9}5", Party::Called, &rules, |_, _, _| {}),
            "1"
        );
    }
}
