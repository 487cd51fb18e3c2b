//! Calls that are not taken.

use control::config::{Block, BlockAction, Direction, Party, Pattern};

use super::{
    Caller,
    prefix::{PrefixMap, PrefixMapBuilder},
};

/// Every block, by how it is looked up.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    rules: Vec<Rule>,
    /// Numbers and prefixes; the rule tells which it is.
    digits: PrefixMap<u32>,
    patterns: Vec<(Pattern, u32)>,
    anonymous: Vec<u32>,
}

#[derive(Debug)]
struct Rule {
    /// As it was written, for people.
    text: String,
    of: Party,
    direction: Direction,
    /// Only calls to this number, without its plus.
    to: Option<String>,
    action: BlockAction,
    /// The whole number has to be this long.
    exact: Option<usize>,
}

/// A call as blocks see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect<'q> {
    pub(super) caller: &'q Caller,
    pub(super) number: &'q str,
    pub(super) private: bool,
    pub(super) called: &'q str,
}

impl Blocks {
    /// Of blocks that were checked.
    pub(super) fn new(blocks: &[Block]) -> Self {
        let mut this = Self::default();
        let mut digits = PrefixMapBuilder::default();
        for (at, block) in (0_u32..).zip(blocks) {
            let number = block.number.as_deref().map(super::plain);
            if let Some(number) = number.as_deref() {
                digits.push(number, at);
            }
            if let Some(prefix) = &block.prefix {
                digits.push(&super::plain(prefix), at);
            }
            if let Some(pattern) = &block.pattern {
                this.patterns.push((pattern.clone(), at));
            }
            if block.anonymous {
                this.anonymous.push(at);
            }
            this.rules.push(Rule {
                text: block.to_string(),
                of: block.of,
                direction: block.direction,
                to: block
                    .to
                    .as_deref()
                    .map(|to| bare(&super::plain(to)).to_owned()),
                action: block.action,
                exact: number.map(|number| bare(&number).len()),
            });
        }
        this.digits = digits.build();
        this
    }

    /// What is done to a call, and which block says so; nothing for most.
    pub(super) fn find(&self, suspect: &Suspect<'_>) -> Option<(BlockAction, &str)> {
        if self.rules.is_empty() {
            return None;
        }
        let parties = [
            (Party::Caller, suspect.number),
            (Party::Called, suspect.called),
        ];
        for (party, number) in parties {
            let length = bare(number).len();
            let by_digits = self.digits.matches(number).flat_map(|(_, rules)| rules);
            let by_pattern = self.patterns.iter();
            let by_pattern = by_pattern
                .filter(|(pattern, _)| pattern.regex().is_match(number))
                .map(|(_, rule)| rule);
            let rules = by_digits.chain(by_pattern);
            let mut rules = rules.filter_map(|rule| self.rules.get(*rule as usize));
            let hit = rules.find(|rule| {
                let whole = rule.exact.is_none_or(|exact| exact == length);
                whole && rule.of.includes(party) && rule.applies(suspect)
            });
            if let Some(rule) = hit {
                return Some((rule.action, &rule.text));
            }
        }
        let mut anonymous = self.anonymous.iter().filter(|_| suspect.private);
        anonymous.find_map(|rule| {
            let rule = self.rules.get(*rule as usize)?;
            rule.applies(suspect)
                .then_some((rule.action, rule.text.as_str()))
        })
    }
}

impl Rule {
    fn applies(&self, suspect: &Suspect<'_>) -> bool {
        let direction = match (self.direction, suspect.caller) {
            (Direction::Both, _) => true,
            (Direction::In, caller) => matches!(caller, Caller::Trunk(_)),
            (Direction::Out, caller) => matches!(caller, Caller::User(_) | Caller::Node),
        };
        let to = self.to.as_deref();
        direction && to.is_none_or(|to| to == bare(suspect.called))
    }
}

fn bare(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Aor;

    fn blocks(json: serde_json::Value) -> Blocks {
        let blocks: Vec<Block> = serde_json::from_value(json).unwrap();
        Blocks::new(&blocks)
    }

    #[test]
    fn the_caller_and_the_called_are_looked_at_as_the_rule_says() {
        let blocks = blocks(serde_json::json!([
            {"number": "+49301", "action": "silence"},
            {"prefix": "+881", "of": "called", "direction": "out", "action": "busy"},
            {"pattern": "^\\+49900", "of": "both"},
            {"anonymous": true, "to": "100"},
        ]));
        let alice = Caller::User(Aor::new("alice", "example.test"));
        let find = |number: &str, private: bool, called: &str| {
            let suspect = Suspect {
                caller: &alice,
                number,
                private,
                called,
            };
            blocks.find(&suspect).map(|(action, _)| action)
        };
        assert_eq!(find("+49301", false, "1"), Some(BlockAction::Silence));
        assert_eq!(find("+493012", false, "1"), None, "a number is no prefix");
        assert_eq!(find("alice", false, "+49301"), None, "it is about callers");
        assert_eq!(find("alice", false, "+88123"), Some(BlockAction::Busy));
        assert_eq!(find("alice", false, "+49900123"), Some(BlockAction::Reject));
        assert_eq!(find("+49900123", false, "1"), Some(BlockAction::Reject));
        assert_eq!(find("alice", true, "100"), Some(BlockAction::Reject));
        assert_eq!(find("alice", true, "101"), None);
        assert_eq!(find("alice", false, "100"), None);
    }
}
