//! Accounts and applications: what a number that leads to programmable voice is given to.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::Arc,
};

use ::voice::{form::Params, signature};
use control::{
    config::{Number, Trunk, VoiceMethod},
    signal::VoiceLink,
};
use sip::uri::Uri;
use store::{DEFAULT_TENANT, Hook, HttpMethod};

use super::{
    Aor, Caller, Directory,
    numbers::{is_number, plain},
};
use crate::webhook::socket::Place;

/// Whose programmable calls are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// `AC` and 32 hex digits.
    pub(crate) sid: String,
    /// What signs webhooks.
    pub(crate) token: String,
    /// `None`: the node's own.
    pub(crate) tenant: Option<Arc<str>>,
    /// Calls that it may begin a second by the REST API.
    pub(crate) calls_per_second: u32,
}

/// What answers a call: whom it asks for documents, and in whose name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Application {
    pub(crate) account: Arc<Account>,
    /// Who is asked first.
    pub(crate) voice: VoiceLink,
    /// Who is asked where a document cannot be had.
    pub(crate) fallback: Option<VoiceLink>,
    /// Who is told when the call is over.
    pub(crate) status: Option<VoiceLink>,
    /// Who is asked what becomes of a message, and who where that one fails.
    pub(crate) message: Option<(VoiceLink, Option<VoiceLink>)>,
}

/// The accounts and applications that there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    accounts: BTreeMap<String, Arc<Account>>,
    /// In order of their ids.
    applications: Vec<store::Application>,
}

/// What is written of an application where something leads to one.
struct Wanted<'a> {
    account: Option<&'a String>,
    application: Option<&'a String>,
    voice: Option<VoiceLink>,
    fallback: Option<VoiceLink>,
    status: Option<VoiceLink>,
    message: Option<(VoiceLink, Option<VoiceLink>)>,
}

impl Account {
    /// Whether what is asked for it has to be at public addresses: where it is of a tenant, who shares the node with
    /// others.
    pub(crate) fn is_abroad(&self) -> bool {
        foreign(self.tenant.as_deref()).is_some()
    }
}

impl Application {
    /// The same of what it asks.
    pub(crate) fn is_abroad(&self) -> bool {
        self.account.is_abroad()
    }

    /// The socket that it has in the place of a webhook.
    fn socket(&self) -> Option<Place> {
        let url = self.voice.url.split('#').next().unwrap_or_default();
        let is_socket = url.starts_with("ws://") || url.starts_with("wss://");
        is_socket.then(|| Place {
            url: url.to_owned(),
            account: self.account.sid.clone(),
            signature: signature::sign(&self.account.token, url, &Params::new()),
            public: self.is_abroad(),
        })
    }

    /// Its URL for people, without a password.
    pub(crate) fn shown(&self) -> String {
        let url = &self.voice.url;
        let Some((scheme, rest)) = url.split_once("://") else {
            return url.clone();
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        format!("{scheme}://{host}{path}")
    }
}

impl Programs {
    /// Those of a configuration.
    pub(crate) fn new(accounts: &[control::config::Account]) -> Self {
        let mut programs = Self::default();
        for account in accounts {
            programs.add_account(account.clone().into());
        }
        programs
    }

    /// Adds an account, in place of another of its SID.
    pub(crate) fn add_account(&mut self, account: Account) {
        self.accounts.insert(account.sid.clone(), Arc::new(account));
    }

    pub(crate) fn add_application(&mut self, application: store::Application) {
        self.applications.push(application);
    }

    /// What a number of this tenant leads to, or what keeps it from there. For a message, one without a `voice_url` is
    /// as good, and has that of its messages in its place.
    fn of_number(
        &self,
        number: &Number,
        tenant: Option<&str>,
        is_call: bool,
    ) -> Result<Application, String> {
        let message = link(number.message_url.as_ref(), number.message_method);
        let message = message.map(|message| {
            let fallback = number.message_fallback_url.as_ref();
            (message, link(fallback, number.message_fallback_method))
        });
        let wanted = Wanted {
            account: number.account.as_ref(),
            application: number.application.as_ref(),
            voice: link(number.voice_url.as_ref(), number.voice_method),
            fallback: link(
                number.voice_fallback_url.as_ref(),
                number.voice_fallback_method,
            ),
            status: link(
                number.status_callback.as_ref(),
                number.status_callback_method,
            ),
            message,
        };
        self.find(wanted, tenant, is_call)
    }

    /// The same of calls from a trunk, which are of who runs the node.
    fn of_trunk(&self, trunk: &Trunk) -> Result<Application, String> {
        let wanted = Wanted {
            account: trunk.account.as_ref(),
            application: trunk.application.as_ref(),
            voice: link(trunk.voice_url.as_ref(), trunk.voice_method),
            fallback: None,
            status: None,
            message: None,
        };
        self.find(wanted, None, true)
    }

    fn find(
        &self,
        wanted: Wanted<'_>,
        tenant: Option<&str>,
        is_call: bool,
    ) -> Result<Application, String> {
        let stored = match wanted.application {
            Some(name) => Some(self.stored(name, tenant)?),
            None => None,
        };
        let account = match (wanted.account, stored) {
            (Some(sid), _) => self
                .accounts
                .get(sid)
                .ok_or_else(|| format!("there is no account '{sid}'"))?,
            (None, Some(stored)) => self.account_of(&stored.tenant)?,
            (None, None) => return Err("no account is named".to_owned()),
        };
        // Nobody calls at another's expense.
        let whose = stored.map(|stored| stored.tenant.as_str()).or(tenant);
        if let Some(tenant) = foreign(whose).filter(|of| account.tenant.as_deref() != Some(*of)) {
            return Err(format!(
                "account '{}' is not of tenant '{tenant}'",
                account.sid
            ));
        }
        let spare = |message: &Option<(VoiceLink, Option<VoiceLink>)>| {
            let message = message.as_ref().filter(|_| !is_call);
            message.map(|(link, _)| link.clone())
        };
        let application = |voice, fallback, status, message| Application {
            account: account.clone(),
            voice,
            fallback,
            status,
            message,
        };
        if let Some(stored) = stored {
            let fallback = hook(&stored.fallback);
            let message = hook(&stored.message).map(|link| (link, fallback.clone()));
            let voice = hook(&stored.voice).or_else(|| spare(&message));
            let voice = voice.ok_or_else(|| {
                let name = &stored.name;
                format!("application '{name}' has no voice_url")
            })?;
            return Ok(application(voice, fallback, hook(&stored.status), message));
        }
        let voice = wanted.voice.or_else(|| spare(&wanted.message));
        Ok(application(
            voice.ok_or("it has no voice_url")?,
            wanted.fallback,
            wanted.status,
            wanted.message,
        ))
    }

    /// The application of this name or id. A name is that of the tenant's own, and of who runs the node where no other
    /// tenant is meant: anybody may give his own a name that a number of the node has. Such a number may lead to
    /// another's by its id.
    fn stored(&self, name: &str, tenant: Option<&str>) -> Result<&store::Application, String> {
        let whose = foreign(tenant).unwrap_or(DEFAULT_TENANT);
        let is_meant = |stored: &&store::Application| {
            let by_name = stored.name == name && stored.tenant == whose;
            let by_id = || stored.id.to_string() == name;
            by_name || by_id() && foreign(tenant).is_none_or(|tenant| stored.tenant == tenant)
        };
        let mut found = self.applications.iter().filter(is_meant);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => {
                let of_another = self.applications.iter().any(|other| other.name == name);
                let hint = match of_another && foreign(tenant).is_none() {
                    true => ": another tenant's is reached by its id",
                    false => "",
                };
                Err(format!("there is no application '{name}'{hint}"))
            }
            (Some(_), Some(_)) => Err(format!(
                "'{name}' is the name of an application and the id of another: write the id of the one that is meant"
            )),
        }
    }

    /// The first account of a tenant; the node's are the default tenant's too.
    fn account_of(&self, tenant: &str) -> Result<&Arc<Account>, String> {
        let of =
            |account: &&Arc<Account>| foreign(account.tenant.as_deref()) == foreign(Some(tenant));
        let first = self.accounts.values().find(of);
        first.ok_or_else(|| format!("tenant '{tenant}' has no account: make one, or name one"))
    }
}

impl Directory {
    /// The account of this SID.
    pub(crate) fn account(&self, sid: &str) -> Option<&Arc<Account>> {
        self.programs.accounts.get(sid)
    }

    /// In whose name an account's calls are made: the node's, or, of a tenant who shares it with others, that of
    /// somebody at the tenant's first domain, by whose rights and limits they go. `None` where there is none.
    pub(crate) fn caller_for(&self, account: &str, tenant: Option<&str>) -> Option<Caller> {
        let Some(tenant) = foreign(tenant) else {
            return Some(Caller::Node);
        };
        let domain = self.owners.domain_of(tenant)?;
        Some(Caller::User(Aor::new(account, domain)))
    }

    /// Whether an account of a tenant may be shown as the caller of this URI: of numbers as those of the tenant alone,
    /// however they are written, else as who is at a domain of the tenant's. It is to be the URI that goes out: what a
    /// caller is written as is unescaped on its way there.
    pub(crate) fn may_show(&self, tenant: Option<&str>, from: &str) -> bool {
        let Some(tenant) = foreign(tenant) else {
            return true;
        };
        let Ok(uri) = Uri::parse(from) else {
            return false;
        };
        let user = uri.user_unescaped().unwrap_or_default();
        let user = String::from_utf8_lossy(&user);
        let number = plain(&user);
        let owner = match is_number(&number) {
            true => self.owners.of_number(&number).cloned(),
            false => {
                let host = uri.host().map(|host| host.to_string().to_ascii_lowercase());
                host.and_then(|host| self.owners.of_domain(&host))
            }
        };
        owner.is_some_and(|owner| &*owner == tenant)
    }

    /// What calls from a trunk lead to, or what keeps them from there.
    pub(super) fn application_of_trunk(&self, trunk: &Trunk) -> Result<Application, String> {
        self.programs.of_trunk(trunk)
    }

    /// The sockets of the applications that numbers and trunks lead to: they are kept open.
    pub(crate) fn sockets(&self) -> HashSet<Place> {
        let numbers = self.numbers.values();
        let numbers =
            numbers.filter(|number| number.application.is_some() || number.voice_url.is_some());
        let applications = numbers.filter_map(|number| self.application_of(number, true).ok());
        let trunks = self.trunks.iter().map(|trunk| &trunk.config);
        let trunks = trunks
            .filter(|trunk| trunk.application.is_some() || trunk.voice_url.is_some())
            .filter_map(|trunk| self.application_of_trunk(trunk).ok());
        applications
            .chain(trunks)
            .filter_map(|application| application.socket())
            .collect()
    }

    /// What a number leads to, or what keeps it from there.
    pub(super) fn application_of(
        &self,
        number: &Number,
        is_call: bool,
    ) -> Result<Application, String> {
        let tenant = self.owners.of_number(&number.number);
        let tenant = tenant.map(|id| &**id);
        self.programs.of_number(number, tenant, is_call)
    }
}

/// The tenant who shares the node with others; the default one is who runs it.
fn foreign(tenant: Option<&str>) -> Option<&str> {
    tenant.filter(|tenant| *tenant != DEFAULT_TENANT)
}

fn link(url: Option<&String>, method: Option<VoiceMethod>) -> Option<VoiceLink> {
    let post = method.unwrap_or_default() == VoiceMethod::Post;
    url.map(|url| VoiceLink {
        url: url.clone(),
        post,
    })
}

fn hook(hook: &Hook) -> Option<VoiceLink> {
    let url = hook.url.clone()?;
    let post = hook.method == HttpMethod::Post;
    Some(VoiceLink { url, post })
}

impl From<control::config::Account> for Account {
    fn from(account: control::config::Account) -> Self {
        Self {
            sid: account.sid,
            token: account.token,
            tenant: account.tenant.map(Into::into),
            calls_per_second: account.calls_per_second,
        }
    }
}

impl From<store::Account> for Account {
    fn from(account: store::Account) -> Self {
        Self {
            sid: account.sid,
            token: account.token,
            tenant: account.tenant.map(Into::into),
            calls_per_second: account.calls_per_second,
        }
    }
}

/// Without the token.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("sid", &self.sid)
            .field("tenant", &self.tenant)
            .field("calls_per_second", &self.calls_per_second)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
