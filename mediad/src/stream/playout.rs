//! What a server wants to be heard and was not yet: samples, and marks between them, in the order in which they came.

use std::collections::VecDeque;

/// 300 s at 8,000 Hz.
pub(super) const MOST_SAMPLES: usize = 300 * 8_000;
/// Marks that wait at most.
pub(super) const MOST_MARKS: usize = 4_096;
/// An emptied buffer of more samples gives its memory back.
const KEPT: usize = 8_000;

/// Samples of 8,000 Hz and marks that wait.
#[derive(Debug, Default)]
pub(super) struct Playout {
    samples: VecDeque<i16>,
    /// With the position that must have been played for each.
    marks: VecDeque<(u64, String)>,
    /// Position of the first sample that waits: how many were taken out before.
    begin: u64,
}

impl Playout {
    /// Appends samples; returns how many there was no room for.
    pub(super) fn append(&mut self, samples: &[i16]) -> usize {
        let room = MOST_SAMPLES - self.samples.len();
        let fits = &samples[..samples.len().min(room)];
        self.samples.extend(fits);
        samples.len() - fits.len()
    }

    /// Puts a mark after everything that waits; false where there are too many.
    pub(super) fn mark(&mut self, name: String) -> bool {
        if self.marks.len() == MOST_MARKS {
            return false;
        }
        let end = self.begin + self.samples.len() as u64;
        self.marks.push_back((end, name));
        true
    }

    /// Takes samples out from the front, at most so many.
    pub(super) fn take(&mut self, most: usize) -> impl ExactSizeIterator<Item = i16> + '_ {
        let count = most.min(self.samples.len());
        self.begin += count as u64;
        self.samples.drain(..count)
    }

    /// The next mark that everything before is played of, where what was taken out is played up to `played`.
    pub(super) fn reached(&mut self, played: u64) -> Option<String> {
        let (position, _) = self.marks.front()?;
        if *position > played {
            return None;
        }
        self.marks.pop_front().map(|(_, name)| name)
    }

    /// Forgets the samples; every mark is returned, in order.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = String> + use<> {
        self.samples.clear();
        self.trim();
        std::mem::take(&mut self.marks)
            .into_iter()
            .map(|(_, name)| name)
    }

    /// Gives the memory of a long speech back once it is over.
    pub(super) fn trim(&mut self) {
        if self.samples.is_empty() && self.samples.capacity() > KEPT {
            self.samples = VecDeque::new();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// There are samples to be taken out, or marks to be reached.
    pub(super) fn waits(&self) -> bool {
        !(self.samples.is_empty() && self.marks.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_buffer_holds_300_seconds_and_drops_what_comes_after() {
        let mut playout = Playout::default();
        assert_eq!(playout.append(&vec![1; MOST_SAMPLES - 10]), 0);
        assert_eq!(playout.append(&[2; 100]), 90);
        assert_eq!(playout.append(&[3; 1]), 1);
        assert_eq!(playout.take(usize::MAX).len(), MOST_SAMPLES);
        playout.trim();
        assert!(playout.samples.capacity() <= KEPT);
    }

    #[test]
    fn a_mark_with_nothing_before_it_is_reached_at_once() {
        let mut playout = Playout::default();
        assert!(playout.mark("a".to_owned()));
        assert_eq!(playout.reached(0).as_deref(), Some("a"));
        assert_eq!(playout.reached(0), None);
    }

    #[test]
    fn marks_are_limited() {
        let mut playout = Playout::default();
        assert!((0..MOST_MARKS).all(|_| playout.mark(String::new())));
        assert!(!playout.mark(String::new()));
        assert_eq!(playout.clear().count(), MOST_MARKS);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(usize),
        Mark,
        Take(usize),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_usize..1_000).prop_map(Step::Append),
            2 => Just(Step::Mark),
            4 => (0_usize..500).prop_map(Step::Take),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        /// Every sample comes out once and in order unless it is cleared, and every mark once, in order, after what
        /// was before it and not before.
        #[test]
        fn samples_and_marks_keep_their_order(steps in prop::collection::vec(step(), 0..60)) {
            let mut playout = Playout::default();
            let (mut next_in, mut next_out, mut taken) = (0_i16, 0_i16, 0_u64);
            let (mut marked, mut reached) = (0, 0);
            // The sample that each mark comes after.
            let mut after = Vec::new();
            for step in steps {
                match step {
                    Step::Append(count) => {
                        let samples: Vec<i16> = (0..count).map(|_| {
                            next_in = next_in.wrapping_add(1);
                            next_in
                        }).collect();
                        prop_assert_eq!(playout.append(&samples), 0);
                    }
                    Step::Mark => {
                        prop_assert!(playout.mark(marked.to_string()));
                        after.push(next_in);
                        marked += 1;
                    }
                    Step::Take(most) => {
                        for sample in playout.take(most) {
                            next_out = next_out.wrapping_add(1);
                            prop_assert_eq!(sample, next_out);
                            taken += 1;
                        }
                        while let Some(name) = playout.reached(taken) {
                            prop_assert_eq!(name, reached.to_string());
                            let before: i16 = after[reached];
                            prop_assert!(before.wrapping_sub(next_out) <= 0);
                            reached += 1;
                        }
                        if let Some(before) = after.get(reached) {
                            prop_assert!(before.wrapping_sub(next_out) > 0);
                        }
                    }
                    Step::Clear => {
                        for name in playout.clear() {
                            prop_assert_eq!(name, reached.to_string());
                            reached += 1;
                        }
                        prop_assert_eq!(reached, marked);
                        prop_assert!(playout.is_empty());
                        next_out = next_in;
                    }
                }
            }
        }
    }
}
