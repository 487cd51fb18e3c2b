//! How the legs of a call are treated beyond where their packets go, as its offers and answers say.

use control::media::{Handling, Side, SourcePolicy};
use ng::{Options, options::Learning};

use super::call::index;

/// Takes in what `side` has said; what is new for each leg.
pub(super) fn apply(
    both: &mut [Handling; 2],
    side: Side,
    options: &Options,
) -> [Option<Handling>; 2] {
    let before = both.clone();
    if let Some(tos) = options.tos {
        both.iter_mut().for_each(|leg| leg.tos = Some(tos));
    }
    if let Some(makes) = options.generate_rtcp {
        both.iter_mut().for_each(|leg| leg.makes_rtcp = makes);
    }
    let sides = [index(side), index(side.other())];
    for (at, name) in sides.into_iter().zip(&options.interfaces) {
        if name.is_some() {
            both[at].interface.clone_from(name);
        }
    }
    let leg = &mut both[index(side)];
    let said = options.sources;
    if options.received_from.is_some() {
        leg.seen_at = options.received_from;
    }
    match said.learning {
        // Who may send from nowhere else, and who is sent nowhere else.
        Some(Learning::Off) if said.strict => leg.sources = SourcePolicy::Strict,
        Some(Learning::Off) => leg.sources = SourcePolicy::Off,
        Some(Learning::Immediate) => leg.sources = SourcePolicy::Once,
        Some(Learning::Delayed | Learning::Heuristic) => leg.sources = SourcePolicy::Heuristic,
        None => {}
    }
    // Strangers are dropped anyway once a source is known: what is left is who may come after it.
    if said.handover || said.strict {
        leg.handover = said.handover;
    }
    leg.waits |= said.waits;
    leg.pierces |= said.pierces;
    let [a, b] = both;
    let [was_a, was_b] = before;
    let new = |now: &Handling, was| (*now != was).then(|| now.clone());
    [new(a, was_a), new(b, was_b)]
}

#[cfg(test)]
mod tests {
    use ng::options::Sources;

    use super::*;

    #[test]
    fn a_direction_is_from_who_sent_it_to_the_other() {
        let mut both = [Handling::default(), Handling::default()];
        let options = Options {
            interfaces: [Some("inside".to_owned()), Some("outside".to_owned())],
            ..Options::default()
        };
        let [a, b] = apply(&mut both, Side::B, &options);
        assert_eq!(a.unwrap().interface.as_deref(), Some("outside"));
        assert_eq!(b.unwrap().interface.as_deref(), Some("inside"));
    }

    #[test]
    fn sources_are_of_who_sent_it_and_tos_is_of_both() {
        let mut both = [Handling::default(), Handling::default()];
        let mut options = Options {
            tos: Some(184),
            received_from: Some([192, 0, 2, 7].into()),
            sources: Sources {
                learning: Some(Learning::Off),
                strict: false,
                handover: false,
                ..Sources::default()
            },
            ..Options::default()
        };
        let [a, b] = apply(&mut both, Side::B, &options);
        assert_eq!(
            a.unwrap(),
            Handling {
                tos: Some(184),
                ..Handling::default()
            }
        );
        let b = b.unwrap();
        assert_eq!((b.sources, b.handover), (SourcePolicy::Off, true));
        assert_eq!(b.seen_at, options.received_from);
        // What is said again is nothing new.
        assert_eq!(apply(&mut both, Side::B, &options), [None, None]);
        options.sources.strict = true;
        let [_, b] = apply(&mut both, Side::B, &options);
        let b = b.unwrap();
        assert_eq!((b.sources, b.handover), (SourcePolicy::Strict, false));
    }
}
