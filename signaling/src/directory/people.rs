//! Users of whom there is more to know than that they are there: where their calls go on to, and who may
//! not be called.

use std::collections::HashMap;

use control::config::{Config, Profile};
use store::User;

use super::Aor;

/// Those users; of any other the default holds.
#[derive(Debug, Default)]
pub(crate) struct People(HashMap<Aor, Person>);

/// What calls to a user heed.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) enabled: bool,
    pub(super) profile: Profile,
}

impl People {
    /// Those of a configuration: what a store that has none yet would be given.
    pub(crate) fn of_config(config: &Config) -> Self {
        let first = config.sip.domains.first().map(String::as_str);
        let people = config.users.iter().filter_map(|user| {
            let aor = Aor::new(&user.name, user.domain(first)?);
            let person = Person {
                enabled: user.enabled,
                profile: user.profile(),
            };
            Some((aor, person))
        });
        let mut this = Self::default();
        people.for_each(|(aor, person)| this.insert(aor, person));
        this
    }

    /// Adds a user of the store. A profile that is not understood is none.
    pub(crate) fn add(&mut self, user: &User) {
        let aor = Aor::new(&user.name, &user.domain);
        let profile = serde_json::from_str(&user.profile).unwrap_or_else(|error| {
            tracing::warn!(%aor, %error, "the store's profile of a user is not understood");
            Profile::default()
        });
        let person = Person {
            enabled: user.enabled,
            profile,
        };
        self.insert(aor, person);
    }

    pub(super) fn find(&self, aor: &Aor) -> Option<&Person> {
        self.0.get(aor)
    }

    fn insert(&mut self, aor: Aor, person: Person) {
        let profile = &person.profile;
        let is_plain = profile.forward.is_empty() && profile.ring_timeout.is_none();
        if !is_plain || !person.enabled {
            self.0.insert(aor, person);
        }
    }
}
