//! The order of RFC 2782: lower priorities first, and among equals a draw by weight.

/// Something to be put in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weighted<T> {
    /// Lower ones are tried first.
    pub(crate) priority: u16,
    /// The share of its priority that it gets; 0 hardly any while others have more.
    pub(crate) weight: u16,
    /// What it is.
    pub(crate) item: T,
}

/// All `entries` in the order in which they are to be tried. `random(n)` draws from `0..=n`.
pub(crate) fn draw<T>(mut entries: Vec<Weighted<T>>, mut random: impl FnMut(u32) -> u32) -> Vec<T> {
    // Entries of weight 0 stand first in their priority, so that a draw of 0 can select them.
    entries.sort_by_key(|entry| (entry.priority, entry.weight != 0));
    let mut drawn = Vec::with_capacity(entries.len());
    let mut rest = entries.into_iter().peekable();
    while let Some(first) = rest.next() {
        let priority = first.priority;
        let mut group = vec![first];
        while let Some(next) = rest.next_if(|next| next.priority == priority) {
            group.push(next);
        }
        while !group.is_empty() {
            drawn.push(group.remove(one_of(&group, &mut random)).item);
        }
    }
    drawn
}

fn one_of<T>(group: &[Weighted<T>], random: &mut impl FnMut(u32) -> u32) -> usize {
    if group.len() == 1 {
        return 0;
    }
    let sum = group.iter().map(|entry| u32::from(entry.weight)).sum();
    let drawn = random(sum);
    let mut running = 0;
    let selected = group.iter().position(|entry| {
        running += u32::from(entry.weight);
        running >= drawn
    });
    selected.unwrap_or(0)
}

/// What [`draw`] takes where nobody asks for a certain order.
pub(crate) fn random(most: u32) -> u32 {
    rand::random_range(0..=most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(list: &[(u16, u16, char)]) -> Vec<Weighted<char>> {
        let entry = |&(priority, weight, item): &(u16, u16, char)| Weighted {
            priority,
            weight,
            item,
        };
        list.iter().map(entry).collect()
    }

    #[test]
    fn priorities_come_before_weights() {
        let list = [(20, 0, 'c'), (10, 1, 'a'), (10, 9, 'b'), (30, 99, 'd')];
        let low: String = draw(entries(&list), |_| 0).into_iter().collect();
        let high: String = draw(entries(&list), |most| most).into_iter().collect();
        assert_eq!((low.as_str(), high.as_str()), ("abcd", "bacd"));
    }

    #[test]
    fn shares_follow_the_weights() {
        let list = [(1, 60, 'a'), (1, 30, 'b'), (1, 10, 'c')];
        let mut first = [0_u32; 3];
        // Every outcome of the first draw once, as often as it is likely.
        for outcome in 0..=100 {
            let mut outcomes = Some(outcome).into_iter();
            let drawn = draw(entries(&list), |most| outcomes.next().unwrap_or(most));
            first["abc".find(drawn[0]).unwrap()] += 1;
        }
        assert_eq!(first, [61, 30, 10]);
    }

    #[test]
    fn a_weight_of_nothing_is_last_but_not_lost() {
        let list = [(1, 0, 'z'), (1, 5, 'a')];
        assert_eq!(draw(entries(&list), |_| 1), ['a', 'z']);
        assert_eq!(draw(entries(&list), |_| 0), ['z', 'a']);
        let none = [(1, 0, 'x'), (1, 0, 'y')];
        assert_eq!(draw(entries(&none), |_| 0), ['x', 'y']);
        assert!(draw(Vec::<Weighted<char>>::new(), |_| 0).is_empty());
    }

    #[test]
    fn whatever_is_drawn_all_are_there_once() {
        let list = [(1, 3, 'a'), (1, 0, 'b'), (2, 7, 'c'), (1, 1, 'd')];
        for outcome in 0..=20 {
            let mut drawn = draw(entries(&list), |most| outcome.min(most));
            drawn.sort_unstable();
            assert_eq!(drawn, ['a', 'b', 'c', 'd']);
        }
    }
}
