//! What a request is changed in before it goes to someone: as data, and put into a message in one
//! pass.

use control::config::{HeaderRules, IdentityHeader};
use sip::{
    header::{HeaderName, Name, NameAddr},
    message::{Edit, EditError, Message},
    uri::{Scheme, Uri},
};

use super::{Caller, Presented};

/// Changes of a request's header. None of them touches what a dialog is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edits {
    /// Names of fields that are taken out; one that ends in `*` means all that begin so.
    remove: Vec<String>,
    /// Who asserted the caller is nobody's business here, or is said anew.
    strip_identity: bool,
    from: Option<From>,
    add: Vec<(String, String)>,
}

/// Another URI for the From; its tag stays.
#[derive(Clone, Debug, PartialEq, Eq)]
enum From {
    /// Another user, at the same host.
    User(String),
    /// Nobody (RFC 3323 section 4.1.1.3).
    Anonymous,
}

/// The fields that say who the caller is, beside From.
const IDENTITY: [HeaderName; 3] = [
    HeaderName::PAssertedIdentity,
    HeaderName::PPreferredIdentity,
    HeaderName::RemotePartyId,
];

impl Presented {
    /// What a request says of its caller. An asserted identity counts only where its sender is
    /// trusted (RFC 3325 section 5).
    pub(crate) fn of(request: &Message, caller: &Caller) -> Self {
        let is_trusted = matches!(caller, Caller::Trunk(trunk) if trunk.config.trusted);
        let from = request.from().ok();
        let anonymous = from
            .as_ref()
            .is_some_and(|from| from.uri().is_ok_and(|uri| is_anonymous(&uri)));
        let wants_privacy = request
            .headers_named(HeaderName::Privacy)
            .any(|privacy| is_private(&privacy.text()));
        let asserted = || {
            let mut values = request.values(HeaderName::PAssertedIdentity);
            values.find_map(|value| NameAddr::parse(HeaderName::PAssertedIdentity, value).ok())
        };
        let named = asserted().filter(|_| is_trusted).or(from);
        let user = named.as_ref().and_then(user_of).unwrap_or_default();
        let display = named.map(|named| named.display().into_owned());
        Self {
            user,
            display: display.filter(|display| !display.is_empty()),
            private: anonymous || wants_privacy,
        }
    }
}

impl Edits {
    /// What has to be done to every request of a caller, wherever it goes.
    pub(super) fn inbound(caller: &Caller) -> Self {
        let mut edits = Self::default();
        match caller {
            Caller::Trunk(trunk) => {
                edits.rules(&trunk.config.headers_in);
                edits.strip_identity = !trunk.config.trusted;
            }
            // A user may ask for an identity; only this node asserts one.
            Caller::User(_) | Caller::Node => edits.strip_identity = true,
        }
        edits
    }

    /// Adds what is done to fields by their names.
    pub(super) fn rules(&mut self, rules: &HeaderRules) {
        self.remove.extend(rules.remove.iter().cloned());
        let add = rules.add.iter();
        self.add
            .extend(add.map(|(name, value)| (name.clone(), value.clone())));
    }

    /// Shows another number than the one that came.
    pub(super) fn show(&mut self, number: String) {
        self.from = Some(From::User(number));
    }

    /// Shows nobody.
    pub(super) fn anonymise(&mut self) {
        self.from = Some(From::Anonymous);
    }

    /// Says who calls in the one field that the receiver wants, or in none.
    pub(super) fn assert(
        &mut self,
        header: IdentityHeader,
        number: &str,
        domain: &str,
        private: bool,
    ) {
        self.strip_identity = true;
        let uri = format!("<sip:{}@{domain}>", escaped(number));
        match header {
            IdentityHeader::None => {}
            IdentityHeader::Pai => {
                self.add
                    .push((HeaderName::PAssertedIdentity.as_str().to_owned(), uri));
                if private {
                    self.replace(HeaderName::Privacy, "id");
                }
            }
            IdentityHeader::Rpid => {
                let privacy = if private { "full" } else { "off" };
                let value = format!("{uri};party=calling;screen=yes;privacy={privacy}");
                self.add
                    .push((HeaderName::RemotePartyId.as_str().to_owned(), value));
            }
        }
    }

    /// Takes the caller's wish for privacy out.
    pub(super) fn reveal(&mut self) {
        self.remove.push(HeaderName::Privacy.as_str().to_owned());
    }

    /// Whether the receiver sees what came.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// For people: one line for each change.
    pub(super) fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.from {
            Some(From::User(user)) => lines.push(format!("From shows {user}")),
            Some(From::Anonymous) => lines.push("From shows nobody".to_owned()),
            None => {}
        }
        lines.extend(
            self.remove
                .iter()
                .map(|name| format!("{name} is taken out")),
        );
        let add = self.add.iter();
        lines.extend(add.map(|(name, value)| format!("{name}: {value} is put in")));
        lines
    }

    /// The changed request; `None` where nothing in it changes.
    ///
    /// # Errors
    /// The changed request is none.
    pub(crate) fn apply(&self, request: &Message) -> Result<Option<Message>, EditError> {
        let mut edit = request.edit();
        let mut changed = !self.add.is_empty();
        if self.strip_identity {
            for name in IDENTITY
                .into_iter()
                .filter(|name| request.header(*name).is_some())
            {
                edit = edit.remove(name);
                changed = true;
            }
        }
        for name in &self.remove {
            (edit, changed) = remove(request, edit, name, changed);
        }
        if let Some(from) = &self.from
            && let Some(value) = from.value(request)
        {
            edit = edit.replace(HeaderName::From, value);
            changed = true;
        }
        for (name, value) in &self.add {
            edit = edit.push(Name::from(name.as_str()), value);
        }
        if changed {
            edit.finish().map(Some)
        } else {
            Ok(None)
        }
    }

    fn replace(&mut self, name: HeaderName, value: &str) {
        self.remove.push(name.as_str().to_owned());
        self.add.push((name.as_str().to_owned(), value.to_owned()));
    }
}

/// A request without what it says of its sender's identity, which only who is trusted may assert
/// (RFC 3325 section 5); `None` where it says nothing.
///
/// # Errors
/// The changed request is none.
pub(crate) fn without_identity(request: &Message) -> Result<Option<Message>, EditError> {
    let edits = Edits {
        strip_identity: true,
        ..Edits::default()
    };
    edits.apply(request)
}

/// Takes out the fields of a name as the parser understood it, so that an odd spelling hides nothing.
fn remove<'m>(
    request: &'m Message,
    mut edit: Edit<'m>,
    name: &str,
    mut changed: bool,
) -> (Edit<'m>, bool) {
    let Some(front) = name.strip_suffix('*') else {
        let name = Name::from(name);
        changed |= request.header(name).is_some();
        return (edit.remove(name), changed);
    };
    for header in request.headers() {
        let written = match header.known() {
            Some(known) => known.as_str(),
            None => header.name(),
        };
        let begins = written.get(..front.len());
        if begins.is_some_and(|begins| begins.eq_ignore_ascii_case(front)) {
            edit = edit.remove(Name::from(header.name()));
            changed = true;
        }
    }
    (edit, changed)
}

impl From {
    /// The new value of From, with the tag and the other parameters of the one that is there.
    fn value(&self, request: &Message) -> Option<String> {
        let old = request.from().ok()?;
        let params = old.params().as_str();
        Some(match self {
            Self::Anonymous => {
                format!("\"Anonymous\" <sip:anonymous@anonymous.invalid>{params}")
            }
            Self::User(user) => {
                let uri = old.uri().ok()?;
                let host = match (uri.host(), uri.port()) {
                    (Some(host), Some(port)) => format!("{host}:{port}"),
                    (Some(host), None) => host.to_string(),
                    (None, _) => "anonymous.invalid".to_owned(),
                };
                let scheme = if uri.scheme() == Scheme::Sips {
                    "sips"
                } else {
                    "sip"
                };
                format!("<{scheme}:{}@{host}>{params}", escaped(user))
            }
        })
    }
}

fn user_of(named: &NameAddr<'_>) -> Option<String> {
    let uri = named.uri().ok()?;
    let user = uri.user_unescaped()?;
    Some(String::from_utf8_lossy(&user).into_owned())
}

/// RFC 3323 section 4.1.1.3, and what switches write in its place.
fn is_anonymous(uri: &Uri<'_>) -> bool {
    let host = uri.host().map(|host| host.to_string());
    let nobody = host.is_some_and(|host| host.eq_ignore_ascii_case("anonymous.invalid"));
    let names: [&[u8]; 4] = [b"anonymous", b"restricted", b"unavailable", b"unknown"];
    let user = uri.user_unescaped();
    nobody || user.is_some_and(|user| names.iter().any(|name| user.eq_ignore_ascii_case(name)))
}

fn is_private(values: &str) -> bool {
    let mut values = values.split(';').map(str::trim);
    values.any(|value| {
        ["id", "user", "header", "full"]
            .iter()
            .any(|is| value.eq_ignore_ascii_case(is))
    })
}

/// A text as the user part of a SIP URI (RFC 3261 section 25.1).
pub(super) fn escaped(user: &str) -> String {
    let mut text = String::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use control::config;

    use super::*;
    use crate::directory::{Aor, Trunk};

    const INVITE: &str = "INVITE sip:100@node.test SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1\r\n\
        f: \"Ann\" <sip:100@pbx.test:5070;x=1>;tag=abc;y=2\r\n\
        To: <sip:200@node.test>\r\n\
        Call-ID: 1\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
        P-Asserted-Identity : <sip:+4930100@pbx.test>\r\n\
        x-Secret\t: 1\r\nX-Other: 2\r\nk: timer\r\nContent-Length: 0\r\n\r\n";

    fn invite() -> Message {
        Message::parse(INVITE.into()).unwrap()
    }

    fn trunk(trusted: bool) -> Caller {
        let config = config::Trunk {
            trusted,
            ..config::Trunk::named("pbx")
        };
        Caller::Trunk(Arc::new(Trunk::new(&config, None)))
    }

    fn changed(edits: &Edits, request: &Message) -> String {
        let message = edits.apply(request).unwrap().unwrap();
        String::from_utf8(message.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn an_asserted_identity_counts_from_whom_we_trust() {
        let request = invite();
        assert_eq!(Presented::of(&request, &trunk(true)).user, "+4930100");
        let stranger = Presented::of(&request, &trunk(false));
        assert_eq!(
            (stranger.user.as_str(), stranger.display.as_deref()),
            ("100", Some("Ann"))
        );
        let user = Caller::User(Aor::new("100", "node.test"));
        assert_eq!(Presented::of(&request, &user).user, "100");
    }

    #[test]
    fn privacy_is_seen_however_it_is_written() {
        for (from, to, private) in [
            ("k: timer", "Privacy: critical; id", true),
            ("k: timer", "Privacy: none", false),
            (
                "sip:100@pbx.test:5070",
                "sip:Anonymous@anonymous.invalid",
                true,
            ),
            ("sip:100@pbx.test:5070", "sip:anonymous@pbx.test", true),
        ] {
            let request = Message::parse(INVITE.replace(from, to).into()).unwrap();
            assert_eq!(
                Presented::of(&request, &trunk(true)).private,
                private,
                "{to}"
            );
        }
    }

    #[test]
    fn odd_spelling_hides_no_field() {
        let mut edits = Edits::inbound(&trunk(false));
        edits.rules(&HeaderRules {
            remove: vec!["X-*".into(), "Supported".into()],
            add: [("X-Account".to_owned(), "42".to_owned())].into(),
        });
        let text = changed(&edits, &invite());
        for gone in ["Asserted", "Secret", "X-Other", "timer"] {
            assert!(!text.contains(gone), "{gone}: {text}");
        }
        assert!(text.contains("X-Account: 42\r\n"), "{text}");
    }

    #[test]
    fn another_number_keeps_the_tag_and_the_host() {
        let mut edits = Edits::default();
        edits.show("+49 30".into());
        let text = changed(&edits, &invite());
        assert!(
            text.contains("f: <sip:+49%2030@pbx.test:5070>;tag=abc;y=2\r\n"),
            "{text}"
        );
        edits.anonymise();
        let text = changed(&edits, &invite());
        assert!(
            text.contains("<sip:anonymous@anonymous.invalid>;tag=abc"),
            "{text}"
        );
        assert!(!text.contains("Ann\""), "{text}");
    }

    #[test]
    fn what_is_asserted_replaces_what_came() {
        let mut edits = Edits::default();
        edits.assert(IdentityHeader::Pai, "+4930", "node.test", true);
        let text = changed(&edits, &invite());
        assert!(
            text.contains("P-Asserted-Identity: <sip:+4930@node.test>\r\nPrivacy: id"),
            "{text}"
        );
        assert!(!text.contains("+4930100"), "{text}");
        let mut edits = Edits::default();
        edits.assert(IdentityHeader::Rpid, "+4930", "node.test", false);
        let text = changed(&edits, &invite());
        assert!(
            text.contains(";party=calling;screen=yes;privacy=off"),
            "{text}"
        );
    }

    #[test]
    fn a_request_that_nothing_is_done_to_is_not_copied() {
        let request =
            Message::parse(INVITE.replace("P-Asserted-Identity", "X-Any").into()).unwrap();
        assert_eq!(Edits::inbound(&trunk(false)).apply(&request).unwrap(), None);
        assert!(Edits::inbound(&trunk(true)).is_empty());
    }
}
