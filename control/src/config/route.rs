//! `[[routes]]`: which trunks take a number.

use std::{str::FromStr, time::Duration};

use jiff::{civil::Time, civil::Weekday, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Codes, ParseError,
    checks::{self, Checks as _},
};

/// A prefix, and what happens to the numbers that begin with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// What the called number begins with, in E.164 where the number can be read to it; the longest
    /// prefix that has a route for the call wins.
    #[serde(default)]
    pub prefix: String,
    /// Who takes it: the cheapest first, and in order where nothing is said of cost and share.
    pub trunks: Vec<Choice>,
    /// Only calls from these. Default: from all.
    #[serde(default, skip_serializing_if = "Callers::is_all")]
    pub from: Callers,
    /// Only at these times, such as `mon-fri 08:00-18:00`. Default: always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<Window>,
    /// The time zone of `times`, such as `Europe/Berlin`. Default `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// Final responses after which the next trunk is tried. Default: each trunk's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<Codes>,
    /// Whether RTP goes through this node. Default `relay`.
    #[serde(default)]
    pub media: MediaTreatment,
    /// Seconds from INVITE to an answer; then CANCEL and the next host, or 408. Default 60.
    #[serde(default = "default_ring_timeout")]
    pub ring_timeout: u32,
}

/// A trunk of a route: its name, or a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// Its name.
    pub trunk: String,
    /// What a minute costs, in any one unit. Default 0.
    pub cost: Cost,
    /// Its part of the calls among the trunks of one cost; where none of them says it, they are tried
    /// in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<u16>,
}

impl From<String> for Choice {
    fn from(trunk: String) -> Self {
        Self {
            trunk,
            cost: Cost::default(),
            share: None,
        }
    }
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            trunk: String,
            #[serde(default)]
            cost: Cost,
            share: Option<u16>,
        }
        checks::text_or_table(
            deserializer,
            |text| Ok(Self::from(text.to_owned())),
            |long: Long| Self {
                trunk: long.trunk,
                cost: long.cost,
                share: long.share,
            },
        )
    }
}

/// A price, in millionths of its unit: compared, never added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Cost(u32);

impl Cost {
    /// Millionths.
    pub const fn micros(self) -> u32 {
        self.0
    }

    /// Of so many millionths.
    pub const fn from_micros(micros: u32) -> Self {
        Self(micros)
    }
}

impl TryFrom<f64> for Cost {
    type Error = ParseError;

    fn try_from(cost: f64) -> Result<Self, ParseError> {
        let micros = (cost * 1e6).round();
        if !(0.0..=f64::from(u32::MAX)).contains(&micros) {
            return Err(ParseError::new(&cost.to_string(), "a cost from 0 to 4294"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was compared with the bounds"
        )]
        let micros = micros as u32;
        Ok(Self(micros))
    }
}

impl From<Cost> for f64 {
    fn from(cost: Cost) -> Self {
        Self::from(cost.0) / 1e6
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f64::from(*self).fmt(f)
    }
}

/// Whose calls: the caller's number has to fit, and the call has to come from one of the trunks or
/// users; what is empty does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Callers {
    /// What the caller's number begins with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// Names of trunks that the call comes from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trunks: Vec<String>,
    /// Users, `alice@example.test`; `@example.test` for all of a domain, `*` for every user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
}

impl Callers {
    /// Whether nobody is left out.
    pub fn is_all(&self) -> bool {
        self.prefixes.is_empty() && self.trunks.is_empty() && self.users.is_empty()
    }
}

/// A part of each week: `mon-fri 08:00-18:00`, `sat,sun`, `22:00-06:00`. One that ends before it begins
/// goes on into the next day.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    text: String,
    /// Bit 0 is Monday.
    days: u8,
    /// Minutes since midnight.
    from: u16,
    /// The first minute that is out; 1440 for the end of the day.
    until: u16,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u16 = 24 * 60;

impl Window {
    /// Whether a weekday's minute is in the window.
    pub fn contains(&self, weekday: Weekday, time: Time) -> bool {
        let today = weekday.to_monday_zero_offset();
        let yesterday = (today + 6) % 7;
        let minute =
            u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
        let on = |day: i8| self.days & (1 << day) != 0;
        if self.from < self.until {
            return on(today) && (self.from..self.until).contains(&minute);
        }
        (on(today) && minute >= self.from) || (on(yesterday) && minute < self.until)
    }
}

impl FromStr for Window {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "a time of the week, such as mon-fri 08:00-18:00");
        let (mut days, mut hours) = (None, None);
        for word in text.split_ascii_whitespace() {
            let place = if word.contains(':') {
                &mut hours
            } else {
                &mut days
            };
            if place.replace(word).is_some() {
                return Err(wrong());
            }
        }
        if days.is_none() && hours.is_none() {
            return Err(wrong());
        }
        let days = days.map_or(Some(0x7f), read_days).ok_or_else(wrong)?;
        let (from, until) = match hours {
            None => (0, DAY),
            Some(hours) => {
                let (from, until) = hours.split_once('-').ok_or_else(wrong)?;
                let minutes = [from, until].map(read_minutes);
                let [Some(from), Some(until)] = minutes else {
                    return Err(wrong());
                };
                (from, until)
            }
        };
        if from == until || from == DAY {
            return Err(wrong());
        }
        Ok(Self {
            text: text.to_owned(),
            days,
            from,
            until,
        })
    }
}

impl TryFrom<String> for Window {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.text
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn read_days(text: &str) -> Option<u8> {
    let day = |name: &str| DAYS.iter().position(|day| name.eq_ignore_ascii_case(day));
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        days |= 1 << at;
        while at != last {
            at = (at + 1) % DAYS.len();
            days |= 1 << at;
        }
    }
    Some(days)
}

fn read_minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let (hour, minute): (u16, u16) = (digits(hour) && digits(minute))
        .then(|| Some((hour.parse().ok()?, minute.parse().ok()?)))??;
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= DAY).then_some(minutes)
}

/// A time zone of the IANA database.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self {
            name: "UTC".to_owned(),
            zone: TimeZone::UTC,
        }
    }

    /// The zone's rules.
    pub const fn rules(&self) -> &TimeZone {
        &self.zone
    }

    /// As it is written.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl TryFrom<String> for Zone {
    type Error = ZoneError;

    fn try_from(name: String) -> Result<Self, ZoneError> {
        if name.eq_ignore_ascii_case("UTC") {
            return Ok(Self::utc());
        }
        match TimeZone::get(&name) {
            Ok(zone) => Ok(Self { name, zone }),
            Err(_) => Err(ZoneError(name)),
        }
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name
    }
}

impl std::fmt::Debug for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// A name that this machine's time zone database does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no time zone '{0}' on this machine: write one such as Europe/Berlin, and see that the \
     package tzdata is installed"
)]
pub struct ZoneError(String);

/// What a route does with media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum MediaTreatment {
    /// RTP goes through mediad.
    #[default]
    Relay,
    /// Signaling only: the parties' SDP is passed on as it is.
    Bypass,
}

impl Route {
    /// A route of a prefix to one trunk, with everything else as it is by default.
    pub fn to(prefix: &str, trunk: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            trunks: vec![trunk.to_owned().into()],
            from: Callers::default(),
            times: Vec::new(),
            zone: None,
            failover: None,
            media: MediaTreatment::default(),
            ring_timeout: default_ring_timeout(),
        }
    }

    /// `ring_timeout` as a duration.
    pub fn ring_timeout(&self) -> Duration {
        Duration::from_secs(self.ring_timeout.into())
    }

    /// Whether it takes some calls only.
    pub fn is_conditional(&self) -> bool {
        !self.from.is_all() || !self.times.is_empty()
    }

    /// What is wrong with it. `hosts` tells whether a trunk of a name exists, and whether it has hosts.
    pub fn check(&self, hosts: impl Fn(&str) -> Option<bool>, errors: &mut Vec<String>) {
        let prefix = &self.prefix;
        let of = |part: &str| format!("route '{prefix}': {part}");
        if self.prefix.len() > 63 || self.prefix.bytes().any(|b| b.is_ascii_control()) {
            errors.push(of(
                "the prefix is longer than any number, or holds control characters",
            ));
        }
        if self.trunks.is_empty() {
            errors.push(of("trunks is empty"));
        }
        for choice in &self.trunks {
            let name = &choice.trunk;
            match hosts(name) {
                None => errors.push(of(&format!("there is no trunk '{name}'"))),
                Some(false) => errors.push(of(&format!("trunk '{name}' has no hosts to call"))),
                Some(true) => {}
            }
        }
        for choice in &self.trunks {
            let alike = self.trunks.iter().filter(|other| other.cost == choice.cost);
            if alike
                .clone()
                .any(|other| other.share.is_some() != choice.share.is_some())
            {
                errors.push(of(&format!(
                    "of its trunks of cost {} some have a share and some do not; give it to all of \
                     them or to none",
                    choice.cost
                )));
                break;
            }
        }
        for name in &self.from.trunks {
            if hosts(name).is_none() {
                errors.push(of(&format!("from: there is no trunk '{name}'")));
            }
        }
        for user in &self.from.users {
            if user != "*" && !user.contains('@') {
                errors.push(of(&format!(
                    "from: '{user}' is no user: write alice@example.test, @example.test or *"
                )));
            }
        }
        if self.zone.is_some() && self.times.is_empty() {
            errors.push(of("zone without times"));
        }
        errors.bound(&of("ring_timeout"), self.ring_timeout, 1..=3_600);
    }
}

const fn default_ring_timeout() -> u32 {
    60
}
