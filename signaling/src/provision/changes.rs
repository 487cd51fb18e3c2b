//! What differs between two configurations, key by key: what a reload takes over, and what only a start
//! reads.

use control::{
    Config,
    config::{Api, Auth, Media, Node, Sip, Store},
};

/// Keys as operators write them, `section.key`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Those that a reload takes over.
    pub(super) live: Vec<String>,
    /// Those that take effect at the next start.
    pub(super) restart: Vec<String>,
    /// Keys of `[media]` differ that mediad reads again: it tells of them itself.
    pub(super) media: bool,
    /// Another certificate is named for the API.
    pub(super) certificate: bool,
}

/// Takes the keys of a section over that can be, and names those that differ. A key that is in none of
/// the lists does not compile.
macro_rules! take_over {
    (
        $changes:ident, $prefix:literal, $section:ident, $running:expr, $read:expr,
        live: [$($live:ident),* $(,)?],
        restart: [$($fixed:ident),* $(,)?],
        apart: [$($apart:ident),* $(,)?] $(,)?
    ) => {{
        let $section { $($live,)* $($fixed,)* $($apart: _,)* } = &$read;
        $(if $running.$live != *$live {
            $changes.live.push(concat!($prefix, stringify!($live)).to_owned());
            $running.$live.clone_from($live);
        })*
        $(if $running.$fixed != *$fixed {
            $changes.restart.push(concat!($prefix, stringify!($fixed)).to_owned());
        })*
    }};
}

impl Changes {
    /// Makes `running` say what `read` says, but for what waits for a start.
    pub(super) fn take_over(running: &mut Config, read: &Config) -> Self {
        let mut changes = Self::default();
        take_over!(
            changes, "", Config, running, *read,
            live: [trunks, routes, numbering, numbers, groups, blocks, limits, users, accounts],
            restart: [voice],
            apart: [node, sip, media, api, store],
        );
        take_over!(
            changes, "sip.", Sip, running.sip, read.sip,
            live: [
                domains, timer_c, emergency, session_expires, min_se, udp_limit, nat, tls, registrar,
                defence,
            ],
            restart: [
                listen, advertise, workers, t1, resolver, trace, control, websocket, connections,
                keepalive, interface,
            ],
            apart: [auth],
        );
        take_over!(
            changes, "sip.auth.", Auth, running.sip.auth, read.sip.auth,
            live: [algorithms, by_domain],
            restart: [nonce_lifetime, nonce_secret],
            apart: [],
        );
        take_over!(
            changes, "node.", Node, running.node, read.node,
            live: [], restart: [name, data_dir, user], apart: [],
        );
        take_over!(
            changes, "media.", Media, running.media, read.media,
            live: [sources, handover, one_stream],
            restart: [control, recordings, quality],
            apart: [
                address, interfaces, timeout, rate_cap, tos, ng_allow, ports, interface, datapath, shards, ng,
                rotate_seconds, rotate_mib, metrics,
            ],
        );
        // The rest is mediad's, which tells what it makes of it. This daemon goes by its address and timeout.
        let media = Media {
            control: running.media.control.clone(),
            recordings: running.media.recordings.clone(),
            quality: running.media.quality,
            ..read.media.clone()
        };
        changes.media = running.media != media;
        running.media = media;
        take_over!(
            changes, "api.", Api, running.api, read.api,
            live: [],
            restart: [listen, admin_key, requests, cors, trusted_proxies, forwarded_by, jwt],
            apart: [tls],
        );
        // Another certificate is taken over; whether there is one is the start's to say.
        let (was, is) = (&mut running.api.tls, &read.api.tls);
        if was.is_some() == is.is_some() && was != is {
            changes.certificate = true;
            was.clone_from(is);
        } else if was != is {
            changes.restart.push("api.tls".to_owned());
        }
        take_over!(
            changes, "store.", Store, running.store, read.store,
            live: [keep_cdrs, keep_audit, keep_recordings, keep_recordings_mib, keep_free_mib, keep_messages],
            restart: [url, cache, keep_quality], apart: [],
        );
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Config {
        Config::parse(text, []).unwrap().config
    }

    #[test]
    fn each_key_is_told_by_its_name_and_by_when_it_takes_effect() {
        let mut running = parsed("");
        let read = parsed(
            "[node]\nname = \"other\"\n\
             [sip]\nlisten = [\"udp:127.0.0.1:5070\"]\ndomains = [\"a.test\"]\nt1 = 100\n\
             [sip.auth]\nalgorithms = [\"SHA-256\"]\nnonce_lifetime = 60\n\
             [sip.defence]\nban = 60\n[media]\nports = \"20000-20099\"\naddress = \"127.0.0.2\"\n\
             one_stream = \"always\"\ncontrol = \"unix:/tmp/other.sock\"\n\
             [[trunks]]\nname = \"a\"\nhosts = [\"192.0.2.1\"]\n",
        );
        let changes = Changes::take_over(&mut running, &read);
        let live = [
            "trunks",
            "sip.domains",
            "sip.defence",
            "sip.auth.algorithms",
            "media.one_stream",
        ];
        assert_eq!(changes.live, live);
        let restart = [
            "sip.listen",
            "sip.t1",
            "sip.auth.nonce_lifetime",
            "node.name",
            "media.control",
        ];
        assert_eq!(changes.restart, restart);
        assert_eq!(running.trunks, read.trunks);
        // mediad's keys are its own to tell; this daemon goes by them all the same.
        assert!(changes.media);
        assert_eq!(running.media.address, read.media.address);
        assert_ne!(running.media.control, read.media.control);
        assert_eq!(running.sip.defence, read.sip.defence);
        // What waits for a start is told until then.
        let again = Changes::take_over(&mut running, &read);
        assert_eq!((again.live, again.restart), (Vec::new(), changes.restart));
        assert!(!again.media);
    }

    #[test]
    fn another_certificate_of_the_api_is_taken_over_and_a_first_one_waits_for_a_start() {
        let with = |name: &str| {
            parsed(&format!(
                "[api]\ntls = {{ certificate = \"{name}.pem\", key = \"{name}.key\" }}\n"
            ))
        };
        let mut running = with("a");
        let changes = Changes::take_over(&mut running, &with("b"));
        assert_eq!(
            (
                changes.certificate,
                changes.live.len(),
                changes.restart.len()
            ),
            (true, 0, 0)
        );
        assert_eq!(running.api.tls, with("b").api.tls);
        let mut running = parsed("");
        let changes = Changes::take_over(&mut running, &with("a"));
        assert_eq!(
            (changes.certificate, changes.restart),
            (false, vec!["api.tls".to_owned()])
        );
    }
}
