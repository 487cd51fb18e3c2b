//! Whose calls are whose: the tenants of domains and numbers.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Caller, Directory, Named, Query, bare,
    numbers::{is_number, plain},
};

/// Who has which domain and which number. The one of [`Default`] knows of nobody, as a node does that could not
/// read its store: calls are the node's then, so that no tenant sees another's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owners {
    /// In lower case.
    domains: HashMap<String, Arc<str>>,
    /// Without their plus; those that are the node's are not there.
    numbers: HashMap<String, Arc<str>>,
    /// Whose the other domains are.
    others: Option<Arc<str>>,
    /// Each once: there are few of them, and many numbers.
    tenants: HashSet<Arc<str>>,
}

impl Owners {
    /// Domains that are not given to anybody are this tenant's.
    pub(crate) fn new(others: &str) -> Self {
        let mut owners = Self::default();
        owners.others = Some(owners.tenant(others));
        owners
    }

    pub(crate) fn give_domain(&mut self, domain: &str, tenant: &str) {
        let tenant = self.tenant(tenant);
        self.domains.insert(domain.to_ascii_lowercase(), tenant);
    }

    pub(crate) fn give_number(&mut self, number: &str, tenant: &str) {
        let tenant = self.tenant(tenant);
        let number = bare(&plain(number)).to_owned();
        self.numbers.insert(number, tenant);
    }

    /// Whose a number is; `None`: the node's.
    pub(super) fn of_number(&self, number: &str) -> Option<&Arc<str>> {
        self.numbers.get(bare(&plain(number)))
    }

    /// The first of a tenant's domains.
    pub(super) fn domain_of(&self, tenant: &str) -> Option<&str> {
        let of = self.domains.iter().filter(|(_, owner)| &***owner == tenant);
        of.map(|(domain, _)| domain.as_str()).min()
    }

    fn tenant(&mut self, id: &str) -> Arc<str> {
        if let Some(known) = self.tenants.get(id) {
            return known.clone();
        }
        let new: Arc<str> = id.into();
        self.tenants.insert(new.clone());
        new
    }

    /// Of a domain in lower case.
    pub(super) fn of_domain(&self, domain: &str) -> Option<Arc<str>> {
        let given = self.domains.get(domain);
        given.or(self.others.as_ref()).cloned()
    }
}

impl Directory {
    /// Whose a call is: of the tenant who pays for it. `called` is the called number as this node understands it.
    pub(super) fn owner(&self, query: &Query<'_>, called: &str) -> Option<Arc<str>> {
        let of_caller = self.owner_of_caller(query.caller);
        of_caller.or_else(|| self.owner_of_called(&query.named, bare(called)))
    }

    /// The same where others own what there is.
    #[cfg(test)]
    pub(crate) fn owned(self, owners: Owners) -> Self {
        Self { owners, ..self }
    }

    /// Whose the calls of a user are. Those of a trunk and of this node depend on who is called.
    pub(crate) fn owner_of_caller(&self, caller: &Caller) -> Option<Arc<str>> {
        match caller {
            Caller::User(aor) => self.owners.of_domain(aor.domain()),
            Caller::Trunk(_) | Caller::Node => None,
        }
    }

    fn owner_of_called(&self, named: &Named, number: &str) -> Option<Arc<str>> {
        // Who is called elsewhere has nothing to do with whose number is written the same here.
        if matches!(named, Named::Elsewhere(_)) {
            return None;
        }
        let given = self.owners.numbers.get(number).cloned();
        given.or_else(|| {
            let domain = match named {
                Named::User(aor) | Named::Disabled(aor) => aor.domain(),
                Named::Unknown(aor) if !is_number(number) => aor.domain(),
                _ => {
                    let user = self.numbers.get(number)?.user.as_deref()?;
                    user.rsplit_once('@')?.1
                }
            };
            self.owners.of_domain(domain)
        })
    }
}
