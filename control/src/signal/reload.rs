//! `tandem reload`: what was taken over.

use serde::{Deserialize, Serialize};

/// What came of a reload that was good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// What calls are routed by now, in a few words.
    pub routing: String,
    /// The keys of the file, as `sip.defence`, whose change is in effect.
    pub changed: Vec<String>,
    /// Those whose change takes effect at the next start only, as `sip.listen`.
    pub restart: Vec<String>,
    /// What the operator should know, one line each: what the store has otherwise, and what is odd.
    pub warnings: Vec<String>,
    /// The node is one process, `tandem run`: a restart is that of all its daemons.
    pub whole: bool,
}

impl ReloadReport {
    /// What needs a restart, as `mediad: media.ports, media.shards`: the daemons, and their keys.
    pub fn restarts(&self) -> Vec<String> {
        if self.whole {
            return match self.restart.is_empty() {
                true => Vec::new(),
                false => vec![format!("the node: {}", self.restart.join(", "))],
            };
        }
        let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
        for key in &self.restart {
            let daemons = daemons(key);
            match all.iter_mut().find(|(known, _)| *known == daemons) {
                Some((_, keys)) => keys.push(key),
                None => all.push((daemons, vec![key])),
            }
        }
        let all = all.into_iter();
        all.map(|(daemons, keys)| format!("{daemons}: {}", keys.join(", ")))
            .collect()
    }
}

/// Who reads a key when it starts. The socket of a daemon is also its clients' to know.
fn daemons(key: &str) -> &'static str {
    match key.split_once('.').map_or(key, |(section, _)| section) {
        "sip" => match key {
            "sip.control" => "signaling and api",
            _ => "signaling",
        },
        "api" => "api",
        "voice" | "store" => "signaling and api",
        "media" => match key {
            "media.quality" => "mediad and signaling",
            "media.control" | "media.recordings" => "mediad, signaling and api",
            _ => "mediad",
        },
        _ => "mediad, signaling and api",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_told_with_all_who_read_it() {
        let keys = [
            "sip.listen",
            "sip.control",
            "media.ports",
            "media.control",
            "media.quality",
            "media.recordings",
            "api.listen",
        ];
        let report = ReloadReport {
            restart: keys.map(str::to_owned).to_vec(),
            ..ReloadReport::default()
        };
        assert_eq!(
            report.restarts(),
            [
                "signaling: sip.listen",
                "signaling and api: sip.control",
                "mediad: media.ports",
                "mediad, signaling and api: media.control, media.recordings",
                "mediad and signaling: media.quality",
                "api: api.listen",
            ]
        );
    }
}
