//! What trunks, routes, numbers, groups, blocks and limits have to be to each other.

use std::collections::{HashMap, HashSet};

use super::{Block, Group, LimitRule, Number, Route, Trunk};

/// Everything that calls are decided by, wherever it was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Routing<'a> {
    /// `[[trunks]]`
    pub trunks: &'a [Trunk],
    /// `[[routes]]`
    pub routes: &'a [Route],
    /// `[[numbers]]`
    pub numbers: &'a [Number],
    /// `[[groups]]`
    pub groups: &'a [Group],
    /// `[[blocks]]`
    pub blocks: &'a [Block],
    /// `[[limits]]`
    pub limits: &'a [LimitRule],
    /// Whether a user may be written without a domain, since there is one of ours.
    pub has_domain: bool,
    /// Names of trunks that are there and could not be read: to lead to one is not wrong.
    pub unread_trunks: &'a [String],
    /// The same of groups.
    pub unread_groups: &'a [String],
}

impl Routing<'_> {
    /// Everything that is wrong, one line each.
    pub fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        let unread = self.unread_trunks.iter();
        let mut hosts: HashMap<_, _> = unread.map(|name| (name.as_str(), true)).collect();
        for trunk in self.trunks {
            trunk.check(&mut errors);
            if hosts
                .insert(trunk.name.as_str(), !trunk.hosts.is_empty())
                .is_some()
            {
                errors.push(format!("[[trunks]]: '{}' is there twice", trunk.name));
            }
        }
        let mut plain = HashSet::new();
        for route in self.routes {
            route.check(|name| hosts.get(name).copied(), &mut errors);
            if !route.is_conditional() && !plain.insert(route.prefix.as_str()) {
                errors.push(format!(
                    "[[routes]]: prefix '{}' is there twice; list its trunks in one route",
                    route.prefix
                ));
            }
        }
        let unread = self.unread_groups.iter();
        let mut groups: HashSet<_> = unread.map(String::as_str).collect();
        for group in self.groups {
            group.check(&mut errors);
            if !groups.insert(group.name.as_str()) {
                errors.push(format!("[[groups]]: '{}' is there twice", group.name));
            }
            let is_number = |member: &str| {
                let mut numbers = self.numbers.iter();
                member.starts_with('+') || numbers.any(|number| number.number == member)
            };
            for member in group.members.iter().filter(|member| !is_number(member)) {
                if !member.starts_with("sip:") && !member.starts_with("sips:") {
                    self.check_user(member, &format!("group '{}'", group.name), &mut errors);
                }
            }
        }
        let mut numbers = HashSet::new();
        for number in self.numbers {
            number.check(&mut errors);
            let of = format!("number '{}'", number.number);
            if !numbers.insert(number.number.as_str()) {
                errors.push(format!("[[numbers]]: '{}' is there twice", number.number));
            }
            if let Some(user) = &number.user {
                self.check_user(user, &of, &mut errors);
            }
            if let Some(name) = number
                .group
                .as_deref()
                .filter(|name| !groups.contains(name))
            {
                errors.push(format!("{of}: there is no group '{name}'"));
            }
            if let Some(name) = number.trunk.as_deref() {
                match hosts.get(name) {
                    None => errors.push(format!("{of}: there is no trunk '{name}'")),
                    Some(false) => {
                        errors.push(format!("{of}: trunk '{name}' has no hosts to call"));
                    }
                    Some(true) => {}
                }
            }
        }
        for block in self.blocks {
            block.check(&mut errors);
        }
        for limit in self.limits {
            limit.check(&mut errors);
            if let Some(user) = limit.user.as_deref().filter(|user| *user != "*") {
                self.check_user(user, "[[limits]]", &mut errors);
            }
            let named = limit.trunk.as_deref().filter(|name| *name != "*");
            if let Some(name) = named.filter(|name| !hosts.contains_key(name)) {
                errors.push(format!("[[limits]]: there is no trunk '{name}'"));
            }
        }
        errors
    }

    fn check_user(&self, user: &str, of: &str, errors: &mut Vec<String>) {
        if !user.contains('@') && !self.has_domain {
            errors.push(format!(
                "{of}: user '{user}' has no domain: write {user}@DOMAIN, or set [sip] domains"
            ));
        }
    }
}
