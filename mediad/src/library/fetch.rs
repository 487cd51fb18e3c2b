//! Files and URLs, within limits: 10 MB, 15 s, five redirections, and nowhere a tenant may not reach.
//!
//! Answers are kept as RFC 9111 has it for a cache of one user, for the whole URL with all that is secret in it tells one
//! from another: `max-age` with `Age`, `no-cache`, `no-store`, and validators.

use std::{
    fs::{self, File},
    io::Read as _,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    LARGEST,
    cache::{Origin, Until},
    decode,
    public::{self, Resolver},
};
use control::{config::Cidr, media::AudioTrouble};
use reqwest::{
    Client, ClientBuilder, Response, StatusCode, Url,
    header::{
        AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE,
        IF_NONE_MATCH, LAST_MODIFIED,
    },
    redirect::Policy,
};
use tokio::sync::OwnedSemaphorePermit;

/// For the whole of an answer.
const PATIENCE: Duration = Duration::from_secs(15);
const MOST_REDIRECTIONS: usize = 5;
/// No answer is taken for fresh for longer: a year (RFC 9111 section 1.2.2 has no need of more).
const MOST_AGE: u64 = 31_536_000;
/// Of a file, what is looked at to know audio, in octets: as much as a decoder looks at.
const HEAD: u64 = 16 << 10;

/// What was fetched or said.
#[derive(Debug)]
pub(super) struct Answer {
    /// Content type, in lower case and without parameters.
    pub kind: Option<String>,
    pub body: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Fetcher {
    anywhere: Client,
    /// For tenants.
    abroad: Client,
    allow: Arc<[Cidr]>,
}

impl Fetcher {
    pub(super) fn new(allow: &[Cidr]) -> Result<Self, reqwest::Error> {
        let allow: Arc<[Cidr]> = allow.into();
        let resolver = Resolver {
            allow: allow.to_vec(),
        };
        let policy = |allow: Option<Arc<[Cidr]>>| {
            Policy::custom(move |attempt| {
                if attempt.previous().len() > MOST_REDIRECTIONS {
                    return attempt.error("more than 5 redirections");
                }
                match &allow {
                    Some(allow) if public::leads_home(attempt.url(), allow) => {
                        attempt.error("a redirection to an address that is not public")
                    }
                    _ => attempt.follow(),
                }
            })
        };
        Ok(Self {
            anywhere: client(|client| client.redirect(policy(None)).timeout(PATIENCE))?,
            // A proxy of the environment would look names up by itself.
            abroad: client(|client| {
                let client = client.redirect(policy(Some(Arc::clone(&allow))));
                let resolver = Arc::new(resolver.clone());
                client.dns_resolver(resolver).no_proxy().timeout(PATIENCE)
            })?,
            allow,
        })
    }

    /// What is at a URL; no answer where it is what `known` is of.
    pub(super) async fn url(
        &self,
        url: &str,
        public: bool,
        known: Option<&Origin>,
    ) -> Result<(Origin, Option<Answer>), AudioTrouble> {
        let shown = shown(url);
        let trouble = |why: String| AudioTrouble::Fetch(format!("{shown}: {why}"));
        let parsed = Url::parse(url).map_err(|error| trouble(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(trouble("write an http: or https: URL".to_owned()));
        }
        if public && public::leads_home(&parsed, &self.allow) {
            return Err(trouble(
                "the address is not public: see [voice] allow".to_owned(),
            ));
        }
        let client = if public { &self.abroad } else { &self.anywhere };
        let mut request = client.get(parsed);
        if let Some(etag) = known.and_then(|known| known.etag.as_ref()) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(date) = known.and_then(|known| known.last_modified.as_ref()) {
            request = request.header(IF_MODIFIED_SINCE, date);
        }
        let sent = request.send().await;
        let response = sent.map_err(|error| trouble(told(&error.without_url())))?;
        let mut origin = origin(response.headers(), Instant::now());
        match response.status() {
            StatusCode::NOT_MODIFIED => {
                // What a 304 does not repeat stays.
                let old = known.cloned().unwrap_or_default();
                origin.etag = origin.etag.or(old.etag);
                origin.last_modified = origin.last_modified.or(old.last_modified);
                Ok((origin, None))
            }
            status if status.is_success() => {
                let answer = body(response).await.map_err(trouble)?;
                if let Some(kind) = answer
                    .kind
                    .as_deref()
                    .filter(|kind| kind.starts_with("text/"))
                {
                    let why = format!("{shown}: {kind} is no audio");
                    return Err(AudioTrouble::Format(why));
                }
                Ok((origin, Some(answer)))
            }
            status => Err(trouble(format!("the server answered {status}"))),
        }
    }
}

/// A client with something more. Without certificates of the system, `http:` works all the same.
pub(crate) fn client(
    more: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, reqwest::Error> {
    let agent = concat!("Tandem/", env!("CARGO_PKG_VERSION"));
    let builder = || more(Client::builder().user_agent(agent));
    builder().build().or_else(|error| {
        let reason = told(&error);
        tracing::warn!(
            reason,
            "nothing is asked by https: install the system's certificates (ca-certificates)"
        );
        builder().tls_certs_only([]).build()
    })
}

/// The body of an answer, if it is not too large.
pub(super) async fn body(mut response: Response) -> Result<Answer, String> {
    let too_large = || format!("more than {} MB: make it smaller", LARGEST >> 20);
    if response
        .content_length()
        .is_some_and(|length| length > LARGEST as u64)
    {
        return Err(too_large());
    }
    let kind = text(response.headers(), CONTENT_TYPE).map(|kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().to_ascii_lowercase()
    });
    let mut body = Vec::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| told(&error.without_url()))?
    {
        if body.len() + piece.len() > LARGEST {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(Answer { kind, body })
}

/// A file of this machine; no octets where it is what `known` is of. On a thread of its own, for disks can be slow.
pub(super) async fn file(
    path: &str,
    known: Option<Origin>,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<(Origin, Option<Vec<u8>>), AudioTrouble> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        // A thread is not ended with who waits for it.
        let _permit = permit;
        read(&owned, known.as_ref())
    });
    let read = read.await.unwrap_or_else(|error| Err(error.to_string()));
    read.map_err(|why| AudioTrouble::Fetch(format!("{path}: {why}")))
}

/// Whether a file of this machine begins as audio that can be played. It blocks.
///
/// # Errors
/// It cannot be read.
pub(crate) fn is_audio(path: &str) -> std::io::Result<bool> {
    // A pipe would be waited for without end.
    if !fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(decode::is_known(&head))
}

fn read(path: &str, known: Option<&Origin>) -> Result<(Origin, Option<Vec<u8>>), String> {
    let failed = |error: std::io::Error| error.to_string();
    let about = fs::metadata(path).map_err(failed)?;
    // A pipe would be waited for without end.
    if !about.is_file() {
        return Err("no regular file".to_owned());
    }
    let origin = Origin {
        stamp: Some((about.modified().map_err(failed)?, about.len())),
        ..Origin::default()
    };
    if known == Some(&origin) {
        return Ok((origin, None));
    }
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(failed)?.take(LARGEST as u64 + 1);
    file.read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() > LARGEST {
        true => Err(format!("more than {} MB: make it smaller", LARGEST >> 20)),
        false => Ok((origin, Some(bytes))),
    }
}

fn origin(headers: &HeaderMap, now: Instant) -> Origin {
    let mut until = Until::Asked;
    let mut is_forbidden = false;
    let mut is_asked = false;
    let control = headers.get_all(CACHE_CONTROL).into_iter();
    for directive in control
        .filter_map(|value| value.to_str().ok())
        .flat_map(|v| v.split(','))
    {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" => is_forbidden = true,
            "no-cache" => is_asked = true,
            "max-age" => {
                let age = text(headers, AGE).and_then(|age| age.trim().parse().ok());
                let seconds = value.trim().trim_matches('"').parse::<u64>().unwrap_or(0);
                let rest = seconds.min(MOST_AGE).saturating_sub(age.unwrap_or(0));
                until = Until::At(now + Duration::from_secs(rest));
            }
            _ => {}
        }
    }
    Origin {
        until: match (is_forbidden, is_asked) {
            (true, _) => Until::Never,
            (_, true) => Until::Asked,
            _ => until,
        },
        etag: text(headers, ETAG),
        last_modified: text(headers, LAST_MODIFIED),
        stamp: None,
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// An error and what is behind it, in one line.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What tells the server of a URL from others.
pub(super) fn server(url: &str) -> String {
    let url = Url::parse(url).ok();
    let place = url.and_then(|url| {
        let port = url.port_or_known_default()?;
        Some(format!("{}:{port}", url.host_str()?))
    });
    place.unwrap_or_default()
}

/// A URL for people: without a user, a password and a query, which may be secrets.
pub(super) fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}/{path}")
        }
        None => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_one_whatever_is_asked_of_it() {
        assert_eq!(server("https://Host/a?b"), "host:443");
        assert_eq!(server("https://u:p@host:443/c"), "host:443");
        assert_eq!(server("http://host/a"), "host:80");
        assert_eq!(server("nothing"), "");
    }

    #[test]
    fn what_may_be_a_secret_of_a_url_is_not_shown() {
        for (url, wanted) in [
            (
                "https://u:p@host:81/a/b.mp3?sig=1#x",
                "https://host:81/a/b.mp3",
            ),
            ("http://host", "http://host/"),
            ("nothing?at=all", "nothing"),
        ] {
            assert_eq!(shown(url), wanted);
        }
    }
}
