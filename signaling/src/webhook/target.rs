//! What a webhook's URL says of how it is asked.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{Uri, header::HeaderValue, http::uri::PathAndQuery};

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) is_tls: bool,
    /// A WebSocket.
    pub(super) is_socket: bool,
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    path: PathAndQuery,
    /// `user:password`, unescaped.
    credentials: Option<Vec<u8>>,
}

impl Target {
    /// `None` for what is no `http:`, `https:`, `ws:` or `wss:` URL with a host.
    pub(super) fn of(url: &str) -> Option<Self> {
        let uri: Uri = escaped(url).parse().ok()?;
        let (is_tls, is_socket) = match uri.scheme_str()? {
            "http" => (false, false),
            "https" => (true, false),
            "ws" => (false, true),
            "wss" => (true, true),
            _ => return None,
        };
        let authority = uri.authority()?;
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .map_or(Some(host), |host| host.strip_suffix(']'))?;
        let (user, _) = authority.as_str().rsplit_once('@').unzip();
        let path = match uri.path_and_query() {
            // A query without a path is one of the root's.
            Some(path) if path.as_str().starts_with('?') => {
                format!("/{}", path.as_str()).parse().ok()?
            }
            Some(path) => path.clone(),
            None => PathAndQuery::from_static("/"),
        };
        Some(Self {
            is_tls,
            is_socket,
            host: Some(host)
                .filter(|host| !host.is_empty())?
                .to_ascii_lowercase(),
            port: authority
                .port_u16()
                .unwrap_or(if is_tls { 443 } else { 80 }),
            path,
            credentials: user.map(credentials),
        })
    }

    /// What is asked for: the URL's path and query.
    pub(super) fn path(&self) -> Uri {
        Uri::from(self.path.clone())
    }

    /// The host, with the port where it is not the scheme's.
    pub(super) fn authority(&self) -> String {
        let (host, port) = (&self.host, self.port);
        let mut text = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.clone(),
        };
        if port != if self.is_tls { 443 } else { 80 } {
            // Writing to a text does not fail.
            let _ = write!(text, ":{port}");
        }
        text
    }

    /// RFC 7617.
    pub(super) fn credentials(&self) -> Option<HeaderValue> {
        let text = format!("Basic {}", STANDARD.encode(self.credentials.as_ref()?));
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// A user without a password has an empty one.
fn credentials(written: &str) -> Vec<u8> {
    let (user, password) = written.split_once(':').unwrap_or((written, ""));
    let [user, password] = [user, password].map(sip::uri::unescape);
    [&*user, b":", &*password].concat()
}

/// What may not stand in a URL and often does, as browsers send it. What stands in it escaped is left.
fn escaped(url: &str) -> String {
    let mut text = String::with_capacity(url.len());
    for byte in url.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'^' | 0..=b' ' | 0x7f.. => {
                let _ = write!(text, "%{byte:02X}");
            }
            _ => text.push(char::from(byte)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_with_which_password() {
        let target = Target::of("https://me:p%40ss@App.Test:8443/a?b={c}é").unwrap();
        assert!(target.is_tls);
        assert_eq!((target.host.as_str(), target.port), ("app.test", 8443));
        assert_eq!(target.path().to_string(), "/a?b=%7Bc%7D%C3%A9");
        assert_eq!(target.authority(), "app.test:8443");
        // `me:p@ss`
        assert_eq!(target.credentials().unwrap(), "Basic bWU6cEBzcw==");
        for (url, authority, path) in [
            ("http://app.test", "app.test", "/"),
            ("http://app.test:80?a=b", "app.test", "/?a=b"),
            ("ws://app.test:80/x", "app.test", "/x"),
            ("wss://app.test:444/x", "app.test:444", "/x"),
            ("https://[2001:db8::1]/x", "[2001:db8::1]", "/x"),
            ("https://[2001:db8::1]:80/x", "[2001:db8::1]:80", "/x"),
        ] {
            let target = Target::of(url).unwrap();
            assert_eq!(
                (
                    target.authority().as_str(),
                    target.path().to_string().as_str()
                ),
                (authority, path)
            );
            assert_eq!(target.credentials(), None);
        }
        for url in [
            "",
            "/a",
            "ftp://app.test/",
            "http://",
            "http://[::1/",
            "http://a b/",
        ] {
            assert_eq!(Target::of(url), None, "{url}");
        }
    }
}
