//! Ring groups: who of them is rung when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use control::config::{self, Strategy};

use super::Aor;

/// A group, and when each of its members was last rung.
#[derive(Debug)]
pub(super) struct Group {
    name: Arc<str>,
    strategy: Strategy,
    members: Vec<Member>,
    step_timeout: Duration,
    /// Counts the calls of the group; what a member was last rung for is its time.
    turn: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Member {
    who: Who,
    /// The turn in which the member was last the first to be rung; 0 for never.
    last: Arc<AtomicU64>,
}

/// Whom a member stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A user.
    User(Aor),
    /// A number or a `sip:` URI, as a forward would have it.
    Place(String),
}

/// The members of a group, as they are rung now.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) name: Arc<str>,
    /// One step after the other; those of a step at once.
    pub(super) steps: Vec<Vec<Who>>,
    /// How long a step rings.
    pub(super) step_timeout: Duration,
}

impl Group {
    /// Of a group that was checked; `before` is the one of that name in the directory before.
    pub(super) fn new(
        group: &config::Group,
        members: impl Iterator<Item = Who>,
        before: Option<&Self>,
    ) -> Self {
        let last_of = |who: &Who| {
            let known = before.iter().flat_map(|before| &before.members);
            let mut known = known.filter(|member| member.who == *who);
            known
                .next()
                .map(|member| member.last.clone())
                .unwrap_or_default()
        };
        let members = members.map(|who| Member {
            last: last_of(&who),
            who,
        });
        Self {
            name: group.name.as_str().into(),
            strategy: group.strategy,
            members: members.collect(),
            step_timeout: Duration::from_secs(group.ring_timeout.into()),
            turn: before.map(|before| before.turn.clone()).unwrap_or_default(),
        }
    }

    /// Who is rung now. With `dry`, nobody's turn is used up.
    pub(super) fn ring(&self, dry: bool) -> Turn {
        let each = |members: Vec<&Member>| -> Vec<Vec<Who>> {
            members
                .into_iter()
                .map(|member| vec![member.who.clone()])
                .collect()
        };
        let all: Vec<_> = self.members.iter().collect();
        let steps = match self.strategy {
            Strategy::All => vec![all.into_iter().map(|member| member.who.clone()).collect()],
            Strategy::InTurn => each(all),
            Strategy::LeastRecent => {
                let mut waiting = all;
                // Stable: who never had a call comes in the order in which they were written.
                waiting.sort_by_key(|member| member.last.load(Relaxed));
                if let Some(first) = waiting.first().filter(|_| !dry) {
                    first
                        .last
                        .store(self.turn.fetch_add(1, Relaxed) + 1, Relaxed);
                }
                each(waiting)
            }
        };
        Turn {
            name: self.name.clone(),
            steps,
            step_timeout: self.step_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(strategy: Strategy, members: &[&str], before: Option<&Group>) -> Group {
        let config = config::Group {
            name: "sales".into(),
            members: Vec::new(),
            strategy,
            ring_timeout: 20,
        };
        Group::new(
            &config,
            members.iter().map(|user| Who::User(Aor::new(user, "x"))),
            before,
        )
    }

    fn first(turn: &Turn) -> &str {
        match &turn.steps[0][0] {
            Who::User(aor) => aor.user(),
            Who::Place(place) => place,
        }
    }

    #[test]
    fn each_strategy_has_its_order() {
        let members = ["a", "b", "c"];
        assert_eq!(
            group(Strategy::All, &members, None).ring(false).steps[0].len(),
            3
        );
        let in_turn = group(Strategy::InTurn, &members, None);
        for _ in 0..2 {
            let turn = in_turn.ring(false);
            assert_eq!((turn.steps.len(), first(&turn)), (3, "a"));
        }
    }

    #[test]
    fn who_waited_longest_is_first_and_a_reload_does_not_forget_it() {
        let members = ["a", "b", "c"];
        let sales = group(Strategy::LeastRecent, &members, None);
        assert_eq!(first(&sales.ring(true)), "a");
        let rung: Vec<_> = (0..4)
            .map(|_| first(&sales.ring(false)).to_owned())
            .collect();
        assert_eq!(rung, ["a", "b", "c", "a"]);
        let sales = group(Strategy::LeastRecent, &["c", "d", "b"], Some(&sales));
        let rung: Vec<_> = (0..4)
            .map(|_| first(&sales.ring(false)).to_owned())
            .collect();
        assert_eq!(rung, ["d", "b", "c", "d"]);
    }
}
