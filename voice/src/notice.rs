//! What went wrong in a call, in Twilio's numbers, for the account's debugger and the node's log.

use std::fmt;

/// What is wrong. The numbers are those of Twilio's error dictionary, which tools look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// 11100: a URL cannot be asked.
    InvalidUrl,
    /// 11200: a webhook answered with a status that is no success, or what it named could not be had.
    Retrieval,
    /// 11205: no connection to a webhook, or no response in time.
    Connection,
    /// 11206: a webhook's response is no HTTP.
    Protocol,
    /// 11210: a webhook's host name leads nowhere.
    BadHost,
    /// 11215: redirections without end, of HTTP or of documents.
    TooManyRedirects,
    /// 11220: TLS with a webhook failed.
    Tls,
    /// 11750: a document is larger than 64 KiB.
    TooLarge,
    /// 12100: a document is no TwiML.
    Parse,
    /// 12200: something in a document is not known, or has a value that it may not have; it was left out.
    Schema,
    /// 12300: a document's content type is none that can be run.
    ContentType,
    /// 12400: the node could not do what the document asked for.
    Internal,
    /// 13223: what is to be dialled is no number, address or name.
    DialTarget,
    /// 13520: a text cannot be said.
    Say,
    /// 31901: a stream's server did not answer in time.
    StreamTimeout,
    /// 31910: TLS with a stream's server failed.
    StreamTls,
    /// 31920: a stream's server refused the handshake.
    StreamHandshake,
    /// 31922: a stream's URL cannot be used.
    StreamUrl,
    /// 31924: a stream's server broke the protocol.
    StreamProtocol,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The document goes on without.
    Warning,
    /// The document ended.
    Error,
}

/// One thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is.
    pub code: Code,
    /// How bad it is.
    pub level: Level,
    /// The URL that it is about, without user, password and fragment.
    pub url: Option<String>,
    /// Why, and what to do.
    pub message: String,
}

impl Code {
    /// The number in Twilio's dictionary.
    pub const fn number(self) -> u16 {
        match self {
            Self::InvalidUrl => 11100,
            Self::Retrieval => 11200,
            Self::Connection => 11205,
            Self::Protocol => 11206,
            Self::BadHost => 11210,
            Self::TooManyRedirects => 11215,
            Self::Tls => 11220,
            Self::TooLarge => 11750,
            Self::Parse => 12100,
            Self::Schema => 12200,
            Self::ContentType => 12300,
            Self::Internal => 12400,
            Self::DialTarget => 13223,
            Self::Say => 13520,
            Self::StreamTimeout => 31901,
            Self::StreamTls => 31910,
            Self::StreamHandshake => 31920,
            Self::StreamUrl => 31922,
            Self::StreamProtocol => 31924,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        match &self.url {
            Some(url) => write!(f, " ({url})"),
            None => Ok(()),
        }
    }
}

/// A URL as a log may show it: without user, password and fragment.
pub(crate) fn shown(url: &str) -> String {
    let url = crate::url::without_fragment(url);
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_no_password() {
        assert_eq!(
            shown("https://u:p@a.test/x?y=@#rc=1"),
            "https://a.test/x?y=@"
        );
        assert_eq!(shown("https://a.test"), "https://a.test");
        assert_eq!(shown("x"), "x");
    }

    #[test]
    fn a_notice_reads_like_an_error() {
        let notice = Notice {
            code: Code::Retrieval,
            level: Level::Error,
            url: Some("http://a.test/".into()),
            message: "the webhook answered 404".into(),
        };
        let text = "11200: the webhook answered 404 (http://a.test/)";
        assert_eq!(notice.to_string(), text);
    }
}
