//! `[[numbers]]`, `[[groups]]`, `[[blocks]]` and `[[limits]]`: what happens to a number.

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Party, Pattern, VoiceMethod,
    checks::{self, Checks as _},
    voice::{is_http, is_webhook},
};

/// `[[numbers]]`: a number of ours, and where it leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// As it is called, in E.164 (`+15550100`) or short (`100`).
    pub number: String,
    /// To a user: `alice`, of the first domain of `[sip] domains`, or `alice@example.test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// To a ring group of `[[groups]]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// To a trunk, as the number that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// To an application of this account, with `voice_url` or `application`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// To an application of the store: its name or its id. Default `account`: the first one of the application's tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Who is asked, by an `http:` or `https:` URL, what becomes of a call, in place of `application`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice_url: Option<String>,
    /// How it is asked. Default `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice_method: Option<VoiceMethod>,
    /// Who is asked where `voice_url` fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice_fallback_url: Option<String>,
    /// How it is asked. Default `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice_fallback_method: Option<VoiceMethod>,
    /// Who is told when a call is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_callback: Option<String>,
    /// How it is told. Default `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_callback_method: Option<VoiceMethod>,
    /// Who is asked what becomes of a message, by an `http:` or `https:` URL. Default: messages are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_url: Option<String>,
    /// How it is asked. Default `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_method: Option<VoiceMethod>,
    /// Who is asked where `message_url` fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_fallback_url: Option<String>,
    /// How it is asked. Default `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_fallback_method: Option<VoiceMethod>,
    /// Where calls go on to: a number, a user with its domain, or a `sip:` URI; a table for the cases.
    #[serde(default, skip_serializing_if = "Forward::is_empty")]
    pub forward: Forward,
    /// Seconds that it rings. Default 60, or 20 where it is forwarded on no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_timeout: Option<u32>,
}

/// Where calls go on to, by what became of them. Each is a number, a user with its domain, or a `sip:`
/// URI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forward {
    /// Every call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always: Option<String>,
    /// Those that found a busy callee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy: Option<String>,
    /// Those that nobody answered in `ring_timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_answer: Option<String>,
    /// Those whose callee is not registered or not reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
}

impl Forward {
    /// Whether nothing is forwarded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every place that is named.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        let all = [&self.always, &self.busy, &self.no_answer, &self.unreachable];
        all.into_iter().flatten().map(String::as_str)
    }

    pub(super) fn check(&self, of: &str, errors: &mut Vec<String>) {
        for target in self.targets() {
            let is_uri = target.starts_with("sip:") || target.starts_with("sips:");
            let is_user = target.split_once('@').is_some_and(|(user, domain)| {
                !user.is_empty() && !domain.is_empty() && !domain.contains('@')
            });
            let fits = target
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"<>\"".contains(&b));
            if !fits || !(is_uri || is_user || checks::bad_number(target).is_none()) {
                errors.push(format!(
                    "{of}: cannot forward to '{target}': write a number, alice@example.test or a \
                     sip: URI"
                ));
            }
        }
        if self.always.is_some() && self.targets().count() > 1 {
            errors.push(format!(
                "{of}: forward has always and other cases, which would never come about; leave one \
                 of them out"
            ));
        }
    }
}

impl<'de> Deserialize<'de> for Forward {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            always: Option<String>,
            busy: Option<String>,
            no_answer: Option<String>,
            unreachable: Option<String>,
        }
        checks::text_or_table(
            deserializer,
            |text| {
                Ok(Self {
                    always: Some(text.to_owned()),
                    ..Self::default()
                })
            },
            |long: Long| Self {
                always: long.always,
                busy: long.busy,
                no_answer: long.no_answer,
                unreachable: long.unreachable,
            },
        )
    }
}

impl Number {
    fn is_application(&self) -> bool {
        self.account.is_some()
            || self.application.is_some()
            || self.voice_url.is_some()
            || self.message_url.is_some()
    }

    fn check_application(&self, of: &str, errors: &mut Vec<String>) {
        let urls = [
            ("voice_url", &self.voice_url, self.voice_method),
            (
                "voice_fallback_url",
                &self.voice_fallback_url,
                self.voice_fallback_method,
            ),
            (
                "status_callback",
                &self.status_callback,
                self.status_callback_method,
            ),
            ("message_url", &self.message_url, self.message_method),
            (
                "message_fallback_url",
                &self.message_fallback_url,
                self.message_fallback_method,
            ),
        ];
        let own_url = self.voice_url.as_ref().or(self.message_url.as_ref());
        for (key, url, method) in urls {
            match url.as_deref() {
                // Messages are given to no socket.
                Some(url) if key.starts_with("message") && !is_http(url) => errors.push(format!(
                    "{of}: {key} = \"{url}\": write an http: or https: URL"
                )),
                Some(url) if !is_webhook(url) => errors.push(format!(
                    "{of}: {key} = \"{url}\": write an http: or https: URL, or ws: or wss: for a socket"
                )),
                None if method.is_some() => {
                    errors.push(format!("{of}: a method without {key} is of no use"));
                }
                Some(_) if key == "message_fallback_url" && self.message_url.is_none() => errors
                    .push(format!(
                        "{of}: {key} goes with message_url: an application has its own"
                    )),
                Some(_) if key.starts_with("message") => {}
                Some(_) if self.voice_url.is_none() && key != "voice_url" => errors.push(format!(
                    "{of}: {key} goes with voice_url: an application has its own"
                )),
                _ => {}
            }
        }
        match (&self.account, &self.application, own_url) {
            (_, Some(_), Some(_)) => {
                let key = match &self.voice_url {
                    Some(_) => "voice_url",
                    None => "message_url",
                };
                errors.push(format!("{of}: write application or {key}, not both"));
            }
            (Some(_), None, None) | (None, None, Some(_)) => errors.push(format!(
                "{of}: an application needs both account and voice_url (or message_url), or application"
            )),
            _ => {}
        }
    }

    /// What is wrong with it by itself.
    pub fn check(&self, errors: &mut Vec<String>) {
        let number = &self.number;
        if let Some(wrong) = checks::bad_number(number) {
            return errors.push(format!("[[numbers]]: number = \"{number}\": {wrong}"));
        }
        let of = format!("number '{number}'");
        let places = [
            self.user.is_some(),
            self.group.is_some(),
            self.trunk.is_some(),
            self.is_application(),
            self.forward.always.is_some(),
        ];
        if places.iter().filter(|is| **is).count() != 1 {
            errors.push(format!(
                "{of}: it leads to one place: write one of user, group, trunk, forward, application, or \
                 account with voice_url"
            ));
        }
        self.check_application(&of, errors);
        if self
            .user
            .as_deref()
            .is_some_and(|user| user.is_empty() || user.starts_with('@'))
        {
            errors.push(format!("{of}: user is empty"));
        }
        self.forward.check(&of, errors);
        if let Some(seconds) = self.ring_timeout {
            errors.bound(&format!("{of}: ring_timeout"), seconds, 1..=3_600);
        }
    }
}

/// `[[groups]]`: users and other places that are rung for one number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What numbers call it.
    pub name: String,
    /// Users: `alice`, of the first domain of `[sip] domains`, or `alice@example.test`; numbers:
    /// `+4915112345`, or one of `[[numbers]]`; or `sip:` URIs. Of what members have set for their own
    /// calls only a forward of every call holds here: the group says what follows where one is busy or
    /// does not answer.
    pub members: Vec<String>,
    /// Who is rung when. Default `all`.
    #[serde(default)]
    pub strategy: Strategy,
    /// Seconds that a member rings before the next one does; with `all`, that the group rings.
    /// Default 20.
    #[serde(default = "default_step")]
    pub ring_timeout: u32,
}

/// Who of a group is rung when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// All at once.
    #[default]
    All,
    /// One after the other, in order.
    InTurn,
    /// One after the other, first who has been without a call for longest.
    LeastRecent,
}

/// Members of a group at most: each is a branch of a call.
const MEMBERS: usize = 64;

impl Group {
    /// What is wrong with it by itself.
    pub fn check(&self, errors: &mut Vec<String>) {
        let name = &self.name;
        if let Some(wrong) = checks::bad_name(name) {
            return errors.push(format!("[[groups]]: name = \"{name}\": {wrong}"));
        }
        if self.members.is_empty() || self.members.len() > MEMBERS {
            errors.push(format!("group '{name}': it takes 1 to {MEMBERS} members"));
        }
        if self
            .members
            .iter()
            .any(|user| user.is_empty() || user.starts_with('@'))
        {
            errors.push(format!("group '{name}': a member is empty"));
        }
        errors.bound(
            &format!("group '{name}': ring_timeout"),
            self.ring_timeout,
            1..=3_600,
        );
    }
}

const fn default_step() -> u32 {
    20
}

/// `[[blocks]]`: calls that are not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// This number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Every number that begins so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Every number that this expression finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
    /// Callers that do not show their number.
    #[serde(default, skip_serializing_if = "is_false")]
    pub anonymous: bool,
    /// Whose number is meant. Default `caller`.
    #[serde(default = "caller")]
    pub of: Party,
    /// Calls from trunks (`in`), from users (`out`), or both. Default `both`.
    #[serde(default)]
    pub direction: Direction,
    /// Only calls to this number. Default: to any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What the caller hears. Default `reject`.
    #[serde(default)]
    pub action: BlockAction,
}

/// Which way a call goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From a trunk.
    In,
    /// From a user.
    Out,
    /// Either.
    #[default]
    Both,
}

/// What a blocked caller hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BlockAction {
    /// 603.
    #[default]
    Reject,
    /// 486.
    Busy,
    /// Nothing at all.
    Silence,
}

impl Block {
    /// What is wrong with it.
    pub fn check(&self, errors: &mut Vec<String>) {
        let ways = [
            self.number.is_some(),
            self.prefix.is_some(),
            self.pattern.is_some(),
            self.anonymous,
        ];
        if ways.iter().filter(|is| **is).count() != 1 {
            errors.push(format!(
                "[[blocks]]: {self}: write one of number, prefix, pattern and anonymous = true"
            ));
        }
        if self.prefix.as_deref() == Some("") {
            errors.push("[[blocks]]: prefix is empty: it would block every call".to_owned());
        }
        if self.anonymous && self.of != Party::Caller {
            errors.push("[[blocks]]: anonymous = true is about callers: leave of out".to_owned());
        }
        for number in [&self.number, &self.to].into_iter().flatten() {
            if let Some(wrong) = checks::bad_number(number) {
                errors.push(format!("[[blocks]]: number '{number}': {wrong}"));
            }
        }
    }
}

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.number, &self.prefix, &self.pattern, self.anonymous) {
            (Some(number), ..) => write!(f, "number {number}"),
            (_, Some(prefix), ..) => write!(f, "prefix {prefix}"),
            (_, _, Some(pattern), _) => write!(f, "pattern {pattern}"),
            (.., true) => f.write_str("anonymous callers"),
            _ => f.write_str("a block of nobody"),
        }
    }
}

const fn caller() -> Party {
    Party::Caller
}

const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// `[[limits]]`: how much of something may be used. Emergency calls are never limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct LimitRule {
    /// Calls to this number; `*` for each number of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Calls from this user; `*` for each user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Calls from and to this trunk; `*` for each trunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// Calls to every number that begins so, together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How many at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u32>,
    /// How many may begin within a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cps: Option<u32>,
    /// Seconds that each may last after its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<u32>,
}

impl LimitRule {
    /// What is wrong with it.
    pub fn check(&self, errors: &mut Vec<String>) {
        let whose = [&self.number, &self.user, &self.trunk, &self.prefix];
        if whose.iter().filter(|is| is.is_some()).count() != 1 {
            errors.push(format!(
                "[[limits]]: {self}: write one of number, user, trunk and prefix"
            ));
        }
        if self.calls.is_none() && self.cps.is_none() && self.longest.is_none() {
            errors.push(format!(
                "[[limits]]: {self}: it limits nothing; give it calls, cps or longest"
            ));
        }
        if self.longest == Some(0) {
            errors.push(format!("[[limits]]: {self}: longest must be 1 s or more"));
        }
    }
}

impl std::fmt::Display for LimitRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.number, &self.user, &self.trunk, &self.prefix) {
            (Some(number), ..) => write!(f, "number {number}"),
            (_, Some(user), ..) => write!(f, "user {user}"),
            (_, _, Some(trunk), _) => write!(f, "trunk {trunk}"),
            (_, _, _, Some(prefix)) => write!(f, "prefix {prefix}"),
            _ => f.write_str("a limit of nothing"),
        }
    }
}
