//! What an operator asks over the control channel.

use std::time::{Duration, Instant};

use control::{
    Fault, FaultCode,
    config::Cidr,
    signal::{BanInfo, Response},
};

use super::{
    Defence,
    ban::{Ban, Reason},
};

/// The longest ban: a year.
pub(super) const LONGEST: u32 = 31_536_000;
/// The longest reason, in characters.
const WORDS: usize = 200;

impl Defence {
    /// The list of bans.
    pub(crate) fn bans(&self, now: Instant) -> Response {
        let infos = self.list(now).into_iter();
        let infos = infos.map(|(block, ban)| info(now, block, &ban));
        Response::Bans(infos.collect())
    }

    /// An operator's ban.
    pub(crate) fn order(
        &self,
        now: Instant,
        source: &str,
        seconds: u32,
        words: &str,
    ) -> Result<Response, Fault> {
        let block = parse(source)?;
        if !(1..=LONGEST).contains(&seconds) {
            let message = format!("{seconds} s: a ban lasts 1 s to {LONGEST} s");
            return Err(Fault::new(FaultCode::Invalid, message));
        }
        if words.chars().count() > WORDS || words.chars().any(char::is_control) {
            let message = format!("the reason must be one line of {WORDS} characters at most");
            return Err(Fault::new(FaultCode::Invalid, message));
        }
        let length = Duration::from_secs(seconds.into());
        self.ban(now, block, length, words).map_err(|error| {
            Fault::new(FaultCode::Invalid, format!("cannot ban {source}: {error}"))
        })?;
        Ok(Response::Done)
    }

    /// The end of a ban.
    pub(crate) fn pardon(&self, source: &str) -> Result<Response, Fault> {
        if self.lift(parse(source)?) {
            return Ok(Response::Done);
        }
        let message = format!("'{source}' is not banned; list the bans first");
        Err(Fault::new(FaultCode::NotFound, message))
    }
}

fn parse(source: &str) -> Result<Cidr, Fault> {
    let error = |error| Fault::new(FaultCode::Invalid, format!("{error}"));
    source.parse().map_err(error)
}

/// A ban as it is shown.
pub(super) fn info(now: Instant, block: Cidr, ban: &Ban) -> BanInfo {
    let words = match &ban.reason {
        Reason::Operator(words) => words.clone(),
        Reason::Evidence(_) | Reason::Flood => String::new(),
    };
    BanInfo {
        source: shown(block),
        reason: ban.reason.name().to_owned(),
        words,
        age_s: now.saturating_duration_since(ban.since).as_secs(),
        left_s: ban.until.saturating_duration_since(now).as_secs(),
        hits: ban.hits,
    }
}

/// A single address without its length.
pub(super) fn shown(block: Cidr) -> String {
    if block.address().is_ipv4() && block.prefix() == 32 {
        return block.address().to_string();
    }
    block.to_string()
}
