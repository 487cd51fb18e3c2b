//! Listeners stay with their parties, wherever offers and answers lead those.

use control::media::{SessionId, Side};
use ng::{Options, made::Sketch};
use tracing::warn;

use super::{Front, subscribe::can_be_overheard};
use crate::ng::{
    call::{Call, index},
    subscription::Source,
};

impl Front {
    /// Lets those who listen follow their parties, which an offer or an answer may have led to other sessions, or to other
    /// numbers. The call goes on where one of them cannot.
    pub(super) async fn follow(&self, call: &mut Call, options: &mut Options) {
        for at in 0..call.subscriptions.len() {
            let number = call.subscriptions[at].number;
            for index in 0..call.subscriptions[at].sources.len() {
                let subscription = &call.subscriptions[at];
                let before = &subscription.sources[index];
                let mut source = before.clone();
                if let Some((session, side)) = now_at(call, before) {
                    (source.session, source.side, source.gone) = (session, side, false);
                }
                source.types = source.types(call);
                if source.is_misnumbered(call) {
                    let tag = String::from_utf8_lossy(&subscription.tag);
                    let why = "it hears SRTP by other numbers than its answer has";
                    options.warn(format!("{tag} should be offered the party anew: {why}"));
                }
                let has_moved = source.session != before.session;
                if source.gone || (!has_moved && source.types == before.types) {
                    continue;
                }
                let tag = String::from_utf8_lossy(&subscription.tag).into_owned();
                match self.tell(subscription, &source).await {
                    Ok(local) => source.local = local,
                    Err(error) => {
                        options.warn(format!("{tag} hears a party no longer: {error}"));
                        continue;
                    }
                }
                let left = (has_moved && !before.gone).then(|| before.left_by(number));
                let subscription = &mut call.subscriptions[at];
                subscription.sources[index] = source;
                subscription.left.extend(left);
            }
            if let Err(error) = self.let_go(&mut call.subscriptions[at]).await {
                warn!(%error, "a listener hears a party twice until the call's next offer or answer");
            }
        }
    }
}

/// Where the party of a source is to be heard now, where that is elsewhere than before: on the branch that was answered, or
/// in the session that has taken the place of one that is gone.
fn now_at(call: &Call, source: &Source) -> Option<(SessionId, Side)> {
    let mut here = None;
    let mut best: Option<(bool, u32, SessionId, Side)> = None;
    for (number, side) in call.parties(|_, _, party| party.is(&source.tag)) {
        let mut branches = call.branches.iter();
        let Some(branch) = branches.find(|branch| branch.number == number) else {
            continue;
        };
        let stream = branch.streams.get(source.index).and_then(Option::as_ref);
        let Some(stream) = stream.filter(|stream| {
            // What was answered is of one profile, and stays.
            let answered = source.answered.as_ref().map(Sketch::profile);
            let is_same = stream.sketches[index(side)].as_ref().is_some_and(|sketch| {
                let own = sketch.profile();
                can_be_overheard(own).is_ok()
                    && answered.is_none_or(|answered| answered.eq_ignore_ascii_case(own))
            });
            stream.refused.is_none() && stream.kind == source.kind && is_same
        }) else {
            continue;
        };
        let is_answered = branch.b.tag.is_some();
        if stream.session.id == source.session {
            here = Some(is_answered);
        }
        if best.is_none_or(|(answered, latest, ..)| (answered, latest) < (is_answered, number)) {
            best = Some((is_answered, number, stream.session.id, side));
        }
    }
    let (is_answered, _, session, side) = best?;
    let stays = here.is_some_and(|here| here || !is_answered);
    (!stays).then_some((session, side))
}
