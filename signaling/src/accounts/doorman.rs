//! What a stranger's credentials are worth before they are checked.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use sip::{
    digest::{Credentials, Freshness},
    proxy::Identity,
    uri::Uri,
};
use store::Timestamp;

use super::Access;
use crate::{
    defence::{Kind, Peek},
    directory::Directory,
};

/// Tells who answers a challenge of this node. Clones share what they ask.
#[derive(Clone, Debug)]
pub(crate) struct Doorman {
    pub(crate) access: Arc<Access>,
    pub(crate) identity: Identity,
    pub(crate) directory: Arc<ArcSwap<Directory>>,
}

impl Doorman {
    /// Whether `credentials`, which a request has, answer a challenge that was sent to `source`: so that it
    /// receives there. Who it is they need not show.
    ///
    /// Each challenge lets in once, and only what is checked to the end thereafter: a wrong password then
    /// counts against its source. So who asks for more than strangers may has to be one of ours, or to take a
    /// stranger's turn for each time.
    pub(crate) fn admits(&self, source: IpAddr, peek: &Peek<'_>, credentials: &[u8]) -> bool {
        let Ok(credentials) = Credentials::parse(credentials) else {
            return false;
        };
        let now = Timestamp::now().millis() / 1_000;
        let now = u64::try_from(now).unwrap_or_default();
        let fresh = self
            .access
            .judge(now, credentials.nonce, &credentials.realm);
        let Freshness::Fresh(nonce) = fresh else {
            return false;
        };
        let is_register = peek.kind == Kind::Register;
        let is_own =
            |uri: &Uri<'_>| self.identity.is_own_uri(uri) || self.directory.load().has_domain(uri);
        self.access.is_given_to(&nonce, source)
            && self.access.is_offered(&credentials)
            && is_for(credentials.uri, peek.uri, is_register, is_own)
            && self.access.lifts(now, nonce)
    }
}

/// Whether credentials for `uri` are for a request with this Request-URI (RFC 7616 section 3.4.6). Who takes
/// them off the wire cannot use them twice, for their nonce is counted; but who is in between could hold the
/// request back and send them with another target, to call somebody else at the user's expense.
///
/// Phones differ in what they leave out and what proxies before us rewrite: port and parameters count
/// for nothing, each name and address of ours is as good as another, and a URI of ours without a user
/// is what some give for the node as a whole (SIPp does). Another user or another host is another
/// target.
pub(crate) fn is_for(
    uri: &str,
    target: &[u8],
    is_register: bool,
    is_own: impl Fn(&Uri<'_>) -> bool,
) -> bool {
    if uri.as_bytes() == target {
        return true;
    }
    let (Ok(given), Ok(target)) = (Uri::parse(uri), Uri::from_bytes(target)) else {
        return false;
    };
    let is_same_host = given.host() == target.host();
    let both_ours = is_own(&given) && is_own(&target);
    let user = |uri: &Uri<'_>| {
        // `1;phone-context=...` is 1 as well.
        let user = uri.user_unescaped()?;
        Some(user.split(|byte| *byte == b';').next()?.to_vec())
    };
    // A REGISTER is for the node whatever it says; some phones name the user there too.
    let is_whole_node = both_ours && (is_register || given.user().is_none());
    is_whole_node || (is_same_host || both_ours) && user(&given) == user(&target)
}

#[cfg(test)]
mod tests {
    use control::{Config, channel::Events};
    use sip::digest::{Answer, Challenge, Hash, NonceSecret, Secret, answer};

    use super::*;

    const PHONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 5));

    fn doorman() -> Doorman {
        let text = "[sip]\ndomains = [\"node.test\"]\n[sip.auth]\nalgorithms = [\"SHA-256\"]\n";
        let config = Config::parse(text, None).unwrap().config;
        Doorman {
            access: Arc::new(Access::new(
                &config,
                NonceSecret([5; 32]),
                now(),
                Events::new(),
            )),
            identity: Identity::new(7).with_hop("192.0.2.1", 5060),
            directory: Arc::new(ArcSwap::from_pointee(Directory::new(&config, None))),
        }
    }

    fn now() -> u64 {
        u64::try_from(Timestamp::now().millis() / 1_000).unwrap()
    }

    /// Credentials with a wrong password, for `uri`, by a nonce that was given to `source`.
    fn answered(doorman: &Doorman, source: IpAddr, unique: u64, hash: Hash, uri: &str) -> String {
        let nonce = doorman.access.nonce(now(), unique, "node.test", source);
        let challenge = Challenge::new("node.test", &nonce, hash.into());
        let proof = Answer {
            username: "alice",
            secret: Secret::Password("wrong"),
            realm: Some("node.test"),
            method: "REGISTER",
            uri,
            body: b"",
            cnonce: "cn",
            nc: 1,
        };
        answer(&[challenge], &proof).unwrap().0
    }

    fn admits(doorman: &Doorman, message: &str) -> bool {
        let peek = Peek::at(message.as_bytes());
        let credentials = peek.credentials;
        credentials.is_some_and(|credentials| doorman.admits(PHONE, &peek, credentials))
    }

    fn request(start: &str, header: &str, credentials: &str) -> String {
        format!("{start} SIP/2.0\r\nTo: <sip:alice@node.test>\r\n{header}: {credentials}\r\n\r\n")
    }

    const REGISTER: &str = "REGISTER sip:node.test";

    #[test]
    fn a_challenge_lets_in_once() {
        let doorman = doorman();
        for unique in [1, 2] {
            let credentials = answered(&doorman, PHONE, unique, Hash::Sha256, "sip:node.test");
            let register = request(REGISTER, "Authorization", &credentials);
            assert!(admits(&doorman, &register));
            for _ in 0..3 {
                assert!(!admits(&doorman, &register));
            }
            // Nor with another count.
            let again = register.replace("nc=00000001", "nc=00000002");
            assert_ne!(again, register);
            assert!(!admits(&doorman, &again));
        }
    }

    #[test]
    fn only_what_would_be_checked_lets_in() {
        let doorman = doorman();
        let other: IpAddr = "203.0.113.6".parse().unwrap();
        let (sha, node) = (Hash::Sha256, "sip:node.test");
        for (source, hash, uri, start, header) in [
            (other, sha, node, REGISTER, "Authorization"),
            (PHONE, Hash::Md5, node, REGISTER, "Authorization"),
            (PHONE, sha, "sip:other.test", REGISTER, "Authorization"),
            (PHONE, sha, node, REGISTER, "Proxy-Authorization"),
            (
                PHONE,
                sha,
                "sip:1@node.test",
                "INVITE sip:2@node.test",
                "Proxy-Authorization",
            ),
            (PHONE, sha, node, "INVITE sip:2@node.test", "Authorization"),
        ] {
            let credentials = answered(&doorman, source, 1, hash, uri);
            let message = request(start, header, &credentials);
            assert!(!admits(&doorman, &message), "{message}");
        }
        // None of them has used it up.
        let credentials = answered(&doorman, PHONE, 1, sha, "sip:192.0.2.1");
        let invite = request(
            "INVITE sip:2@node.test",
            "Proxy-Authorization",
            &credentials,
        );
        assert!(admits(&doorman, &invite));
    }
}
