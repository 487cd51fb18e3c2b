//! Names of hosts as small numbers, so that a flow can carry the name that a certificate must have
//! and is still copied like one.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

/// Names that are remembered at most: far more than a node has trunks. Only those that are connected
/// to over TLS get here.
const MOST: usize = 65_536;

/// A name in [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NameId(u32);

/// Every name that was ever asked for, without regard to case. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<RwLock<Table>>);

#[derive(Default)]
struct Table {
    ids: HashMap<Arc<str>, NameId>,
    names: Vec<Arc<str>>,
}

impl Names {
    /// The number of a name; `None` where there are too many already.
    pub(crate) fn id(&self, name: &str) -> Option<NameId> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = known.ids.get(name.as_str()) {
            return Some(*id);
        }
        drop(known);
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = table.ids.get(name.as_str()) {
            return Some(*id);
        }
        let id = NameId(u32::try_from(table.names.len()).ok()?);
        if table.names.len() >= MOST {
            return None;
        }
        let name: Arc<str> = name.into();
        table.names.push(name.clone());
        table.ids.insert(name, id);
        Some(id)
    }

    /// The name behind a number.
    pub(crate) fn name(&self, NameId(index): NameId) -> Option<Arc<str>> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(index).ok()?;
        table.names.get(index).cloned()
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("Names").field(&table.names.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_number_in_any_case_and_there_is_an_end() {
        let names = Names::default();
        let id = names.id("GW.example.com.").unwrap();
        assert_eq!(names.id("gw.example.com"), Some(id));
        assert_eq!(names.name(id).as_deref(), Some("gw.example.com"));
        for number in 0..MOST {
            names.id(&number.to_string());
        }
        assert_eq!(names.id("one.too.many"), None);
        assert_eq!(names.id("gw.example.com"), Some(id));
    }
}
