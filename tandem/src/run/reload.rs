//! SIGHUP: what a changed file would mean.

use control::Config;
use tracing::{error, info, warn};

use crate::node::{Source, read};

/// Reads the configuration again and says in the log what has changed. Gives it where it can be used:
/// for the certificates that it names, which are taken over; all else needs a restart.
pub(super) fn check(source: &Source, running: &Config) -> Option<Config> {
    let loaded = match read(source) {
        Ok(loaded) => loaded,
        Err(failure) => {
            error!(
                "SIGHUP: the node runs on as it is, for the configuration cannot be used: {failure}"
            );
            return None;
        }
    };
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    match changed(running, &loaded.config).as_slice() {
        [] => info!("SIGHUP: the configuration has not changed"),
        sections => warn!(
            changed = sections.join(", "),
            "SIGHUP: the configuration is good, and has changed; restart the node to take it over"
        ),
    }
    Some(loaded.config)
}

/// The sections that differ.
fn changed(running: &Config, read: &Config) -> Vec<&'static str> {
    let sections = [
        ("[node]", running.node == read.node),
        ("[sip]", running.sip == read.sip),
        ("[media]", running.media == read.media),
        ("[api]", running.api == read.api),
        ("[store]", running.store == read.store),
        ("[[trunks]]", running.trunks == read.trunks),
        ("[[routes]]", running.routes == read.routes),
    ];
    let differ = sections.into_iter().filter(|(_, same)| !same);
    let mut names: Vec<_> = differ.map(|(name, _)| name).collect();
    if names.is_empty() && running != read {
        // A section that this list does not know.
        names.push("another section");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let parse = |text: &str| Config::parse(text, []).unwrap().config;
        let running = parse("");
        assert_eq!(changed(&running, &running), Vec::<&str>::new());
        let read = parse("[sip]\nt1 = 100\n[[trunks]]\nname = \"a\"\nhosts = [\"192.0.2.1\"]\n");
        assert_eq!(changed(&running, &read), ["[sip]", "[[trunks]]"]);
    }
}
