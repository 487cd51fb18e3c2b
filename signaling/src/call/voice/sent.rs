//! Orders that mediad has not answered yet, so that those whose answer never came are repeated.
//!
//! To repeat them does no harm where they were done: jobs are begun once. But what has been ordered since is not to be
//! undone by what is repeated, which comes after it.

use std::collections::VecDeque;

use ::control::media::VoiceOrder;

/// Requests in a row without an answer, after which mediad is taken to be gone.
const MOST: u8 = 3;

/// What was ordered and not answered.
#[derive(Debug, Default)]
pub(super) struct Sent {
    requests: VecDeque<Request>,
    next: u32,
    unanswered: u8,
}

#[derive(Debug)]
struct Request {
    number: u32,
    orders: Vec<VoiceOrder>,
    /// It is kept while one before it is not.
    is_answered: bool,
}

impl Sent {
    /// Orders are sent; the request's number.
    pub(super) fn send(&mut self, orders: &[VoiceOrder]) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.requests.push_back(Request {
            number,
            orders: orders.to_vec(),
            is_answered: false,
        });
        number
    }

    /// A request was answered.
    pub(super) fn answered(&mut self, number: u32) {
        let mut requests = self.requests.iter_mut();
        if let Some(request) = requests.find(|request| request.number == number) {
            request.is_answered = true;
        }
        self.unanswered = 0;
        self.drop_answered();
    }

    /// Nobody waits for what was sent any more: the session is another. Answers that are under way are to nothing that
    /// is sent from now on.
    pub(super) fn forget(&mut self) {
        self.requests.clear();
        self.unanswered = 0;
    }

    /// No answer came. What is to be ordered again, where `waiting` will be ordered after it: nothing where the request
    /// was forgotten; `None` where that has been of no use often enough.
    pub(super) fn unanswered(
        &mut self,
        number: u32,
        waiting: &[VoiceOrder],
    ) -> Option<Vec<VoiceOrder>> {
        let mut requests = self.requests.iter();
        let at = requests.position(|request| request.number == number);
        let request = at.and_then(|at| self.requests.remove(at));
        let Some((at, request)) = at.zip(request) else {
            return Some(Vec::new());
        };
        let orders = request.orders;
        self.unanswered += 1;
        if self.unanswered > MOST {
            self.drop_answered();
            return None;
        }
        let since = self.requests.iter().skip(at);
        let since: Vec<_> = since
            .flat_map(|request| &request.orders)
            .chain(waiting)
            .collect();
        let mut again = Vec::new();
        for (at, order) in orders.iter().enumerate() {
            let rest = orders.get(at + 1..).unwrap_or_default();
            let mut later = since.iter().copied().chain(rest);
            let stop = stop_of(order);
            if stop.as_ref().is_some_and(|stop| since.contains(&stop)) {
                // Somebody waits for what became of it.
                if let (VoiceOrder::Record(_), Some(stop)) = (order, stop) {
                    again.extend([order.clone(), stop]);
                }
            } else if !later.any(|later| is_undone(order, later)) {
                again.push(order.clone());
            }
        }
        self.drop_answered();
        Some(again)
    }

    /// Drops those that nobody has to know of any more.
    fn drop_answered(&mut self) {
        let is_answered = |request: &mut Request| request.is_answered;
        while self.requests.pop_front_if(is_answered).is_some() {}
    }
}

/// What ends the job of an order.
fn stop_of(order: &VoiceOrder) -> Option<VoiceOrder> {
    let job = match order {
        VoiceOrder::Play(play) => play.job,
        VoiceOrder::Record(record) => record.job,
        VoiceOrder::Stream(stream) => stream.job,
        VoiceOrder::Listen(listen) => listen.job,
        _ => return None,
    };
    Some(VoiceOrder::Stop { job })
}

/// Whether an order says something else in the place of one before it.
fn is_undone(order: &VoiceOrder, later: &VoiceOrder) -> bool {
    match (order, later) {
        (VoiceOrder::Join(_), VoiceOrder::Join(_))
        | (VoiceOrder::Attend(_), VoiceOrder::Attend(_)) => true,
        (VoiceOrder::Play(one), VoiceOrder::Play(other)) => one.hears == other.hears,
        (VoiceOrder::Pause { job: one, .. }, VoiceOrder::Pause { job: other, .. }) => one == other,
        (VoiceOrder::Vacate(one), VoiceOrder::Vacate(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use ::control::media::{Audio, Listen, Pause, Play, Side, VoiceRecord};

    use super::*;

    fn play(job: u32, hears: Side) -> VoiceOrder {
        VoiceOrder::Play(Play {
            job,
            hears,
            audio: Audio::Ringback(String::new()),
            loops: 0,
            start: 0,
            limit_ms: 0,
        })
    }

    fn record(job: u32) -> VoiceOrder {
        VoiceOrder::Record(VoiceRecord {
            job,
            name: "RE".to_owned(),
            side: Side::A,
            says: true,
            hears: false,
            channels: 1,
            silence_ms: None,
            beep: false,
            trim: false,
        })
    }

    fn listen(job: u32) -> VoiceOrder {
        VoiceOrder::Listen(Box::new(Listen {
            job,
            side: Side::A,
            account_sid: "AC".to_owned(),
            call_sid: "CA".to_owned(),
            language: "en-US".to_owned(),
            hints: Vec::new(),
            model: None,
            profanity_filter: true,
            speech_timeout_ms: None,
            max_speech_ms: 60_000,
            partials: false,
        }))
    }

    #[test]
    fn what_was_ordered_since_is_not_undone() {
        let stop = |job| VoiceOrder::Stop { job };
        let pause = |how| VoiceOrder::Pause { job: 3, how };
        let first = [
            VoiceOrder::Attach,
            VoiceOrder::Join(false),
            VoiceOrder::Attend(true),
            play(1, Side::A),
            play(2, Side::B),
            record(3),
            record(4),
            listen(6),
            listen(7),
            pause(Pause::Skip),
            stop(9),
        ];
        let since = [VoiceOrder::Join(true), play(5, Side::A), stop(3), stop(6)];
        let waiting = [pause(Pause::Resume)];
        let mut sent = Sent::default();
        let number = sent.send(&first);
        let other = sent.send(&since);
        let again = sent.unanswered(number, &waiting).unwrap();
        let expected = [
            VoiceOrder::Attach,
            VoiceOrder::Attend(true),
            play(2, Side::B),
            record(3),
            stop(3),
            record(4),
            listen(7),
            stop(9),
        ];
        assert_eq!(again, expected);
        // What was ordered before says nothing.
        sent.answered(other);
        let number = sent.send(&since);
        sent.send(&first[..1]);
        assert_eq!(sent.unanswered(number, &[]).unwrap(), since);
    }

    #[test]
    fn a_mediad_that_never_answers_is_given_up() {
        let mut sent = Sent::default();
        for _ in 0..MOST {
            let number = sent.send(&[VoiceOrder::Attach]);
            assert_eq!(sent.unanswered(number, &[]), Some(vec![VoiceOrder::Attach]));
        }
        let number = sent.send(&[VoiceOrder::Attach]);
        assert_eq!(sent.unanswered(number, &[]), None);
        sent.answered(number);
        let number = sent.send(&[VoiceOrder::Attach]);
        assert!(sent.unanswered(number, &[]).is_some());
        let again = sent.unanswered(number, &[]);
        assert_eq!(again, Some(Vec::new()), "it is known no more");
    }

    #[test]
    fn what_was_answered_since_is_not_undone() {
        let mut sent = Sent::default();
        let first = sent.send(&[play(1, Side::A)]);
        let later = sent.send(&[VoiceOrder::Stop { job: 1 }]);
        sent.answered(later);
        assert_eq!(sent.unanswered(first, &[]), Some(Vec::new()));
        assert!(sent.requests.is_empty());
    }

    #[test]
    fn an_answer_to_what_was_forgotten_says_nothing_of_what_came_then() {
        let mut sent = Sent::default();
        let old = sent.send(&[play(1, Side::A)]);
        sent.forget();
        let orders = vec![VoiceOrder::Attach];
        let new = sent.send(&orders);
        sent.answered(old);
        assert_eq!(sent.unanswered(old, &[]), Some(Vec::new()));
        assert_eq!(sent.unanswered(new, &[]), Some(orders));
    }
}
