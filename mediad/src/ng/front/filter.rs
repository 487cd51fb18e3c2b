//! What of the parties' media is handed on: blocked, silenced, keys held back.

use control::media::{KeyFilter, Side};
use ng::{Dictionary, Options, Request, options::Echo};

use super::{Answer, Front, Refusal, treat};
use crate::ng::{
    call::{Branch, Call, Party, Stream, index},
    engine,
    wanted::Wanted,
};

/// Codecs that have a silence which can be put in the place of speech.
const SILENT: [&str; 3] = ["PCMU", "PCMA", "G722"];

/// What a command changes.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Block(bool),
    Silence(bool),
    /// `true` for `block DTMF`, whose way to block the request names.
    Keys(bool),
}

impl Front {
    /// Carries a command out that blocks, silences or holds keys back, of the whole call or of the named parties.
    pub(super) async fn filter(&self, request: &Request, change: Change) -> Answer {
        let id = request.need("call-id")?;
        let keys = match change {
            Change::Keys(true) => key_filter(request)?,
            _ => KeyFilter::Pass,
        };
        let set = |wanted: &mut Wanted| match change {
            Change::Block(on) => wanted.blocked = on,
            Change::Silence(on) => wanted.silenced = on,
            Change::Keys(_) => wanted.keys = keys,
        };
        let is_on = matches!(
            change,
            Change::Block(true) | Change::Silence(true) | Change::Keys(true)
        );
        let mut call = self.calls.get(id).await.ok_or(Refusal::UnknownCall)?;
        let call = &mut *call;
        let is_named = ["from-tag", "label", "from-label", "address"]
            .into_iter()
            .any(|key| request.text(key).is_some());
        let is_all = all(request).is_some();
        let parties = named(call, request, is_all || !is_named)?;
        if matches!(change, Change::Silence(true)) {
            can_be_silenced(call, &parties)?;
        }
        if keys != KeyFilter::Pass {
            have_keys(call, &parties)?;
        }
        if !is_named || is_all {
            set(&mut call.wanted);
        }
        // What is wanted of parties outlives what is wanted of the call, unless all is to end.
        if is_named || (is_all && !is_on) {
            let has_other = request.text("to-tag").is_some() || request.text("to-label").is_some();
            for (number, side) in parties {
                let branch = call.branch(number);
                let Some((caller, own)) =
                    branch.map(|branch| (branch.caller, &mut branch.wanted[index(side)]))
                else {
                    continue;
                };
                // A caller is one party on all of its branches, unless it is said whom it is not to reach.
                if side == Side::B || has_other || !is_on {
                    set(own);
                }
                if side == Side::A && !has_other {
                    set(&mut call.callers[caller].wanted);
                }
            }
        }
        self.refilter(call).await?;
        Ok(Dictionary::new())
    }

    /// Does what an offer or an answer of `side` wants of the media of the call, or of the branch at `at`: it goes nowhere, or
    /// back.
    pub(super) async fn drop_or_echo(
        &self,
        call: &mut Call,
        at: usize,
        side: Side,
        options: &Options,
    ) -> Result<(), Refusal> {
        if options.drop_traffic.is_none() && options.echo.is_none() {
            return Ok(());
        }
        if let Some(drop) = options.drop_traffic {
            call.wanted.dropped = drop;
            let branches = call.branches.iter_mut().filter(|_| !drop);
            for wanted in branches.flat_map(|branch| &mut branch.wanted) {
                (wanted.dropped, wanted.echoed) = (false, false);
            }
        }
        if let Some(echo) = options.echo {
            // The last word counts.
            if options.drop_traffic.is_none() {
                call.wanted.dropped = false;
            }
            let hears = [
                (side, echo != Echo::Forward),
                (side.other(), echo != Echo::Backward),
            ];
            for (who, hears) in hears {
                let wanted = &mut call.branches[at].wanted[index(who)];
                (wanted.dropped, wanted.echoed) = (!hears, hears);
            }
        }
        self.refilter(call).await
    }

    /// Tells the engine what is wanted of a call's media, where that is new, or was not heard the last time. All are told
    /// that can be.
    pub(super) async fn refilter(&self, call: &mut Call) -> Result<(), Refusal> {
        let mut failed = None;
        for at in 0..call.branches.len() {
            let filters = call.wanted(&call.branches[at]).map(Wanted::filter);
            let branch = &mut call.branches[at];
            let handling = branch.filter(filters);
            if handling == [None, None] {
                continue;
            }
            let mut all = true;
            for stream in branch.streams.iter_mut().flatten() {
                let (id, new) = (stream.session.id, handling.clone());
                match engine::modify(&self.media, id, [None, None], new).await {
                    Ok(session) => stream.session = session,
                    Err(error) if error.is_gone() => {}
                    Err(error) => {
                        all = false;
                        failed = failed.or(Some(error));
                    }
                }
            }
            branch.untold = !all;
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// What `all` of a request says, where it says something; `all` for the flag.
pub(super) fn all(request: &Request) -> Option<String> {
    let said = request.text("all").map(String::from_utf8_lossy);
    let said = said.map(|word| word.to_ascii_lowercase());
    let said = said.filter(|word| word != "none" && word != "no" && word != "off");
    said.or_else(|| request.has_flag("all").then(|| "all".to_owned()))
}

/// The parties that a request is about, by `from-tag`, `label` or `address`, and by `to-tag` or `to-label` of whom they
/// reach; all where `may_be_all` allows that and it says so.
pub(super) fn named(
    call: &Call,
    request: &Request,
    may_be_all: bool,
) -> Result<Vec<(u32, Side)>, Refusal> {
    let tag = request.text("from-tag");
    let label = request.text("from-label").or_else(|| request.text("label"));
    let address = request.text("address");
    let (to_tag, to_label) = (request.text("to-tag"), request.text("to-label"));
    let is_all = may_be_all && all(request).is_some();
    let is_his = |branch: &Branch, side: Side, party: &Party| {
        let by_address = || {
            let streams = branch.streams.iter().flatten();
            let mut remotes = streams.filter_map(|stream| stream.remotes[index(side)].as_ref());
            remotes.any(|remote| Some(remote.rtp.ip().to_string().as_bytes()) == address)
        };
        match (tag, label, address) {
            _ if is_all => true,
            (Some(tag), ..) => party.is(tag),
            (None, Some(label), _) => party.label.as_deref() == Some(label),
            (None, None, Some(_)) => by_address(),
            (None, None, None) => may_be_all,
        }
    };
    let parties = call.parties(is_his);
    if parties.is_empty() {
        return Err(match (tag, label, address) {
            (None, Some(label), _) => Refusal::UnknownParty("label", shown(label)),
            (None, None, Some(address)) => Refusal::UnknownParty("address", shown(address)),
            _ => Refusal::UnknownTag,
        });
    }
    if is_all || (to_tag.is_none() && to_label.is_none()) {
        return Ok(parties);
    }
    let reached = call.parties(|branch, side, _| {
        let other = call.party(branch, side.other());
        let is_label = to_label.is_some() && other.label.as_deref() == to_label;
        to_tag.map_or(is_label, |tag| other.is(tag))
    });
    let both: Vec<_> = parties
        .into_iter()
        .filter(|party| reached.contains(party))
        .collect();
    match both.is_empty() {
        true => Err(Refusal::UnknownToTag),
        false => Ok(both),
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Where speech cannot be made silence, the client is told instead of a party that wonders.
fn can_be_silenced(call: &Call, parties: &[(u32, Side)]) -> Result<(), Refusal> {
    for (number, side) in parties {
        let branches = call.branches.iter();
        let Some(branch) = branches.clone().find(|branch| branch.number == *number) else {
            continue;
        };
        let audio = branch.streams.iter().flatten();
        for stream in audio.filter(|stream| stream.kind == "audio") {
            // What is sent is what the other one has said that it hears.
            let heard = stream.remotes[index(side.other())].as_ref();
            let Some(remote) = heard.or_else(|| stream.remotes[index(*side)].as_ref()) else {
                continue;
            };
            let encoding = remote.format.encoding.as_str();
            let is_known = SILENT
                .iter()
                .any(|name| name.eq_ignore_ascii_case(encoding));
            let why = match (remote.secure, is_known) {
                (true, _) => "the media is SRTP, which mediad has no keys of".to_owned(),
                (false, false) => {
                    format!("mediad puts silence into G.711 and G.722 alone, not into {encoding}")
                }
                (false, true) => continue,
            };
            return Err(Refusal::Other(format!("{why}; use 'block media'")));
        }
    }
    Ok(())
}

/// Where keys are no events they are tones in the audio: nothing could be held back.
fn have_keys(call: &Call, parties: &[(u32, Side)]) -> Result<(), Refusal> {
    let named = |branch: &&Branch| parties.iter().any(|(number, _)| *number == branch.number);
    let streams = call.branches.iter().filter(named);
    let mut audio = streams
        .flat_map(|branch| branch.streams.iter().flatten())
        .filter(|stream| stream.kind == "audio" && stream.refused.is_none());
    let without = |stream: &Stream| {
        let mut known = stream.remotes.iter().flatten().peekable();
        known.peek().is_some() && known.all(|remote| remote.events.is_none())
    };
    match audio.any(without) {
        true => Err(Refusal::Other(
            "the parties have not agreed to telephone-event: what keys they press are tones in the audio, which mediad \
             does not look for; use 'block media'"
                .to_owned(),
        )),
        false => Ok(()),
    }
}

/// How a request wants keys to be held back.
fn key_filter(request: &Request) -> Result<KeyFilter, Refusal> {
    let mode = request.text("dtmf-security").unwrap_or(b"drop");
    match mode.to_ascii_lowercase().as_slice() {
        b"drop" => Ok(KeyFilter::Drop),
        b"zero" => Ok(KeyFilter::As(0)),
        b"random" => Ok(KeyFilter::Random),
        b"off" | b"no" => Ok(KeyFilter::Pass),
        b"dtmf" => {
            let keys = treat::keys(request)?;
            let event = keys
                .chars()
                .next()
                .and_then(|key| "0123456789*#ABCD".find(key));
            let event = event.and_then(|event| u8::try_from(event).ok());
            let wrong = || Refusal::Other("Out of range 'code' specified".to_owned());
            event.map(KeyFilter::As).ok_or_else(wrong)
        }
        _ => {
            let mode = String::from_utf8_lossy(mode);
            let why = "mediad has drop, zero, random, DTMF and off: it puts no tones or silence into audio";
            Err(Refusal::Other(format!("DTMF-security={mode}: {why}")))
        }
    }
}
