//! The URLs of webhooks: relative references, and the overrides that a fragment carries.
//!
//! A URL is kept as it was written, since its text is what is signed: nothing is normalised.

use std::time::Duration;

/// The longest URL that is followed, in bytes.
pub const MAX_URL: usize = 4000;

/// How a request is made: what the fragment of a URL may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrides {
    /// `ct`: for a TCP connection and its TLS; 0.1 to 10 s, 5 s unless told.
    pub connect_timeout: Duration,
    /// `rt`: from the request to the response; 0.1 to 15 s, 15 s unless told.
    pub read_timeout: Duration,
    /// `tt`: for all attempts together; 0.1 to 15 s, 15 s unless told.
    pub total_timeout: Duration,
    /// `rc`: attempts after the first; 0 to 5, 1 unless told.
    pub retries: u8,
    /// `rp`: what is tried again; failed connections unless told.
    pub policy: RetryPolicy,
}

/// After which failures a request is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// `4xx`: a status of 400 to 499.
    pub client_errors: bool,
    /// `5xx`: a status of 500 to 599.
    pub server_errors: bool,
    /// `ct`: no connection.
    pub connect: bool,
    /// `rt`: no response in time.
    pub read: bool,
}

/// A URL that cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither the reference nor what it is relative to has a scheme and a host.
    #[error("the URL is not absolute, and no document's URL stands before it: begin with https://")]
    Relative,
    /// Another scheme.
    #[error("the scheme is not one that can be asked here: use {0}")]
    Scheme(&'static str),
    /// A space, a control character, or a backslash.
    #[error("a character of the URL has to be percent-encoded")]
    Character,
    /// More than [`MAX_URL`] bytes.
    #[error("the URL is longer than 4000 bytes")]
    TooLong,
}

/// Which URLs are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `http` and `https`. What is relative to a socket is asked of its server.
    Http,
    /// The same, and `ws` and `wss`.
    Webhook,
    /// `wss`, and `ws` where the setup allows it.
    WebSocket {
        /// `ws` too.
        plain: bool,
    },
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(15),
            total_timeout: Duration::from_secs(15),
            retries: 1,
            policy: RetryPolicy {
                client_errors: false,
                server_errors: false,
                connect: true,
                read: false,
            },
        }
    }
}

impl Overrides {
    /// Those of a URL's fragment, such as `#ct=1000&rc=3&rp=5xx,rt`. Keys that are not known, and values that
    /// are no numbers, leave the default; numbers out of range are taken to its border.
    pub fn of(url: &str) -> Self {
        let mut overrides = Self::default();
        let Some((_, fragment)) = url.split_once('#') else {
            return overrides;
        };
        for (key, value) in fragment.split('&').filter_map(|pair| pair.split_once('=')) {
            let millis = |max: u64| {
                let number = value.parse::<u64>().ok()?;
                Some(Duration::from_millis(number.clamp(100, max)))
            };
            match key {
                "ct" => set(&mut overrides.connect_timeout, millis(10_000)),
                "rt" => set(&mut overrides.read_timeout, millis(15_000)),
                "tt" => set(&mut overrides.total_timeout, millis(15_000)),
                "rc" => set(
                    &mut overrides.retries,
                    value.parse().ok().map(|n: u8| n.min(5)),
                ),
                "rp" => overrides.policy = RetryPolicy::of(value),
                _ => {}
            }
        }
        overrides
    }
}

impl RetryPolicy {
    fn of(list: &str) -> Self {
        let has = |name| list.split(',').any(|item| item == name || item == "all");
        Self {
            client_errors: has("4xx"),
            server_errors: has("5xx"),
            connect: has("ct"),
            read: has("rt"),
        }
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// Where a reference leads that stands in the document of `base` (RFC 3986 section 5.2); `base` is `None` for
/// a document that came with the call. The fragment is kept, and never the base's.
pub(crate) fn resolve(
    base: Option<&str>,
    reference: &str,
    scheme: Scheme,
) -> Result<String, UrlError> {
    let reference = reference.trim();
    if reference.len() > MAX_URL {
        return Err(UrlError::TooLong);
    }
    let is_wrong = |c: char| c.is_control() || c == ' ' || c == '\\';
    if reference.contains(is_wrong) {
        return Err(UrlError::Character);
    }
    let url = match (scheme_of(reference), base) {
        (Some(_), _) => reference.to_owned(),
        (None, Some(base)) => {
            let url = join(base, reference).ok_or(UrlError::Relative)?;
            match scheme {
                Scheme::Http if is_socket(&url) => url.replacen("ws", "http", 1),
                _ => url,
            }
        }
        (None, None) => return Err(UrlError::Relative),
    };
    if url.len() > MAX_URL {
        return Err(UrlError::TooLong);
    }
    let (name, rest) = url.split_once(':').ok_or(UrlError::Relative)?;
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
    match scheme {
        Scheme::Http if !is("http") && !is("https") => {
            return Err(UrlError::Scheme("http:// or https://"));
        }
        Scheme::Webhook if !is("http") && !is("https") && !is_socket(&url) => {
            return Err(UrlError::Scheme(
                "https:// or http://, or wss:// or ws:// for a socket",
            ));
        }
        Scheme::WebSocket { plain } if !(is("wss") || plain && is("ws")) => {
            return Err(UrlError::Scheme("wss://"));
        }
        _ => {}
    }
    let authority = rest.strip_prefix("//").map(|rest| before(rest, "/?#"));
    let host = authority.map(|a| a.rsplit_once('@').map_or(a, |(_, host)| host));
    match host {
        Some(host) if !host.is_empty() && !host.starts_with(':') => Ok(url),
        _ => Err(UrlError::Relative),
    }
}

/// Whether a URL is a WebSocket's, as it is written: in small letters.
pub(crate) fn is_socket(url: &str) -> bool {
    url.starts_with("wss://") || url.starts_with("ws://")
}

/// The text of a URL as it is asked for and signed: without its fragment.
pub(crate) fn without_fragment(url: &str) -> &str {
    before(url, "#")
}

/// What stands in front of the first of these characters.
fn before<'a>(text: &'a str, marks: &str) -> &'a str {
    text.split(|c| marks.contains(c)).next().unwrap_or(text)
}

/// The scheme, where the text begins with one (RFC 3986 section 3.1).
fn scheme_of(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let is_first = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    (is_first && scheme.chars().all(is_rest)).then_some(scheme)
}

fn join(base: &str, reference: &str) -> Option<String> {
    let base = without_fragment(base);
    let scheme = scheme_of(base)?;
    if reference.starts_with("//") {
        return Some(format!("{scheme}:{reference}"));
    }
    let behind = base.get(scheme.len() + 1..)?.strip_prefix("//")?;
    let authority = before(behind, "/?");
    let root = base.get(..scheme.len() + 3 + authority.len())?;
    let path_and_query = behind.get(authority.len()..)?;
    let path = before(path_and_query, "?");
    match reference.chars().next() {
        None => Some(base.to_owned()),
        Some('#') => Some(format!("{base}{reference}")),
        Some('?') => Some(format!("{root}{path}{reference}")),
        first => {
            let own = before(reference, "?#");
            let rest = reference.get(own.len()..)?;
            let merged = match first {
                Some('/') => own.to_owned(),
                _ => format!("{}/{own}", path.rsplit_once('/').map_or("", |(dir, _)| dir)),
            };
            Some(format!("{root}{}{rest}", without_dots(&merged)))
        }
    }
}

/// RFC 3986 section 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3986 section 5.4 that can come up with an `http` base.
    #[test]
    fn references_are_resolved_as_the_rfc_has_it() {
        for (reference, url) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q#s"),
            ("g#s", "http://a/b/c/g#s"),
            ("g?y#s", "http://a/b/c/g?y#s"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("./g/.", "http://a/b/c/g/"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("https://b.test:8443/x?y", "https://b.test:8443/x?y"),
        ] {
            let resolved = resolve(Some("http://a/b/c/d;p?q#rc=3"), reference, Scheme::Http);
            assert_eq!(resolved.as_deref(), Ok(url), "{reference}");
        }
        let resolved = resolve(Some("https://a.test"), "next", Scheme::Http);
        assert_eq!(resolved.as_deref(), Ok("https://a.test/next"));
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let of = |text: &str| resolve(None, text, Scheme::Http);
        assert_eq!(of("voice.xml"), Err(UrlError::Relative));
        assert_eq!(of("http://"), Err(UrlError::Relative));
        assert_eq!(of("http://:80/"), Err(UrlError::Relative));
        assert_eq!(of("http:/a"), Err(UrlError::Relative));
        assert_eq!(
            of("ftp://a.test/"),
            Err(UrlError::Scheme("http:// or https://"))
        );
        assert_eq!(of("http://a.test/a b"), Err(UrlError::Character));
        assert_eq!(of("http://a.test/\r\nX: y"), Err(UrlError::Character));
        assert_eq!(
            of(&format!("http://a/{}", "x".repeat(MAX_URL))),
            Err(UrlError::TooLong)
        );
        assert_eq!(of("  HTTPS://a.test/\n").as_deref(), Ok("HTTPS://a.test/"));
        let stream = |text: &str, plain| resolve(None, text, Scheme::WebSocket { plain });
        assert!(stream("wss://a.test/s?x=1", false).is_ok());
        assert!(stream("ws://a.test/s", true).is_ok());
        assert_eq!(
            stream("ws://a.test/s", false),
            Err(UrlError::Scheme("wss://"))
        );
    }

    #[test]
    fn a_fragment_overrides_how_a_request_is_made() {
        assert_eq!(Overrides::of("http://a.test/"), Overrides::default());
        let of = Overrides::of("http://a.test/#ct=300&rt=99&tt=99999&rc=9&rp=4xx,rt&e=dublin&x");
        assert_eq!(of.connect_timeout, Duration::from_millis(300));
        assert_eq!(of.read_timeout, Duration::from_millis(100));
        assert_eq!(of.total_timeout, Duration::from_secs(15));
        assert_eq!(of.retries, 5);
        assert!(of.policy.client_errors && of.policy.read);
        assert!(!of.policy.server_errors && !of.policy.connect);
        let all = Overrides::of("http://a.test/#rp=all&rc=x").policy;
        assert!(all.client_errors && all.server_errors && all.connect && all.read);
    }
}
