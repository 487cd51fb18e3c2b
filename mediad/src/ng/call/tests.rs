//! Whose an offer, an answer or a deletion is.

use control::media::{Filter, KeyFilter};

use super::*;

fn answered(call: &mut Call, to: &[u8], via: Option<&[u8]>) -> usize {
    let (side, at) = call.answered(b"a", to, via).unwrap();
    assert_eq!(side, Side::A);
    call.branches[at].answer(to);
    at
}

#[test]
fn either_party_offers_anew_on_its_branch() {
    let mut call = Call::new(b"a");
    assert_eq!(call.offerer(b"a", None, None), (Side::A, 0));
    assert_eq!(answered(&mut call, b"b", None), 0);
    assert_eq!(call.offerer(b"b", Some(b"a"), None), (Side::B, 0));
    assert_eq!(call.answered(b"b", b"a", None), Ok((Side::B, 0)));
    assert_eq!(call.offerer(b"a", Some(b"b"), Some(b"new")), (Side::A, 0));
    assert_eq!(call.answered(b"c", b"d", None), Err(UnknownTags));
    assert_eq!(call.branches.len(), 1);
}

#[test]
fn forks_have_branches() {
    let mut call = Call::new(b"a");
    assert_eq!(call.offerer(b"a", None, Some(b"1")), (Side::A, 0));
    assert_eq!(call.offerer(b"a", None, Some(b"2")), (Side::A, 1));
    assert_eq!(call.offerer(b"a", None, Some(b"1")), (Side::A, 0));
    assert_eq!(answered(&mut call, b"y", Some(b"2")), 1);
    // Who does not say which branch answers the one that is open.
    assert_eq!(answered(&mut call, b"x", None), 0);
    assert_eq!(answered(&mut call, b"y", None), 1);
    assert_eq!(call.part(Some(b"a"), Some(b"x"), None), Ok(Part::Branch(1)));
    assert_eq!(call.part(Some(b"y"), Some(b"a"), None), Ok(Part::Branch(2)));
    assert_eq!(call.part(Some(b"a"), None, Some(b"2")), Ok(Part::Branch(2)));
    assert_eq!(call.part(Some(b"a"), None, Some(b"9")), Ok(Part::Whole));
    assert_eq!(call.part(Some(b"y"), None, None), Ok(Part::Whole));
    assert_eq!(call.part(None, None, None), Ok(Part::Whole));
    assert_eq!(call.part(Some(b"n"), None, None), Err(UnknownTags));
    assert_eq!(call.part(Some(b"n"), Some(b"x"), None), Err(UnknownTags));
    assert_eq!(call.take(Part::Branch(1)).len(), 1);
    assert_eq!(call.branches.len(), 1);
    // The last who has answered ends it for those who have not.
    assert_eq!(call.offerer(b"a", None, Some(b"3")), (Side::A, 1));
    assert_eq!(call.part(Some(b"a"), Some(b"y"), None), Ok(Part::Branch(2)));
    assert_eq!(call.part(Some(b"y"), Some(b"a"), None), Ok(Part::Whole));
}

#[test]
fn the_last_to_answer_has_the_media_of_a_fork_that_is_not_told_of() {
    let mut call = Call::new(b"a");
    call.offerer(b"a", None, None);
    answered(&mut call, b"x", None);
    answered(&mut call, b"y", None);
    assert_eq!(call.part(Some(b"a"), Some(b"x"), None), Ok(Part::Former));
    assert!(call.take(Part::Former).is_empty());
    assert_eq!(call.part(Some(b"a"), Some(b"y"), None), Ok(Part::Branch(1)));
}

#[test]
fn parties_are_named_by_tag_or_label() {
    let mut call = Call::new(b"a");
    call.callers[0].label = Some(b"caller".to_vec());
    call.offerer(b"a", None, None);
    answered(&mut call, b"b", None);
    let tag = |wanted: &'static [u8]| move |_: &Branch, _, party: &Party| party.is(wanted);
    assert_eq!(call.parties(tag(b"b")), [(1, Side::B)]);
    let label = |_: &Branch, _, party: &Party| party.label.as_deref() == Some(b"caller".as_slice());
    assert_eq!(call.parties(label), [(1, Side::A)]);
    assert_eq!(call.parties(|_, _, _| true).len(), 2);
    assert!(call.parties(tag(b"z")).is_empty());
}

/// As with rtpengine: the pairs of tags are dialogues of one call.
#[test]
fn a_third_tag_has_a_dialogue_of_its_own() {
    let mut call = Call::new(b"a");
    call.offerer(b"a", None, None);
    answered(&mut call, b"b", None);
    assert_eq!(call.offerer(b"c", None, None), (Side::A, 1));
    assert_eq!(call.answered(b"c", b"d", None), Ok((Side::A, 1)));
    call.branches[1].answer(b"d");
    // The answerer of the one may call as well: with the other's tag it is a dialogue of those two.
    assert_eq!(call.offerer(b"d", Some(b"c"), None), (Side::B, 1));
    assert_eq!(call.offerer(b"a", Some(b"b"), None), (Side::A, 0));
    assert_eq!(call.offerer(b"c", Some(b"d"), None), (Side::A, 1));
    assert_eq!(call.answered(b"d", b"c", None), Ok((Side::B, 1)));
    assert_eq!(call.part(Some(b"c"), Some(b"d"), None), Ok(Part::Branch(2)));
    assert_eq!(call.part(Some(b"d"), Some(b"c"), None), Ok(Part::Caller(1)));
    assert_eq!(call.part(Some(b"a"), None, None), Ok(Part::Caller(0)));
    let wanted = Wanted {
        blocked: true,
        ..Wanted::default()
    };
    call.callers[1].wanted = wanted;
    assert_eq!(call.wanted(&call.branches[1]), [wanted, Wanted::default()]);
    assert_eq!(call.wanted(&call.branches[0]), [Wanted::default(); 2]);
    call.wanted = wanted;
    assert_eq!(call.wanted(&call.branches[0]), [wanted; 2]);
}

#[test]
fn what_streams_may_not_have_heard_is_told_again() {
    let mut call = Call::new(b"a");
    call.offerer(b"a", None, None);
    let branch = &mut call.branches[0];
    let keys = Filter {
        keys: KeyFilter::Drop,
        ..Filter::default()
    };
    let first = branch.filter([keys, Filter::default()]);
    assert!(first[0].is_some() && first[1].is_none());
    // The engine did not answer: a word that changes nothing is said all the same, and an offer says it too.
    let again = branch.filter([keys, Filter::default()]);
    assert_eq!(again[0], first[0]);
    let options = ng::Options::default();
    assert_eq!(branch.treat(Side::A, &options)[0], first[0]);
    branch.untold = false;
    assert_eq!(branch.filter([keys, Filter::default()]), [None, None]);
    assert_eq!(branch.treat(Side::A, &options), [None, None]);
}
