//! Header field names: the known ones as an enum, any other as its text.

use std::fmt;

macro_rules! header_names {
    ($($variant:ident $text:literal $($compact:literal)?,)+) => {
        /// A header field name that this crate knows, in its long form.
        ///
        /// `as_str` gives the spelling of its RFC; parsing takes any case and the compact form.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum HeaderName {
            $(#[doc = concat!("`", $text, "`")] $variant,)+
        }

        const ALL: &[HeaderName] = &[$(HeaderName::$variant),+];

        impl HeaderName {
            /// The spelling to write.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The name of these bytes where they are its RFC's spelling, as nearly all are: a match
            /// compares a few words at once.
            #[expect(non_upper_case_globals, reason = "a pattern for each variant")]
            fn of_spelling(bytes: &[u8]) -> Option<Self> {
                $(const $variant: &[u8] = $text.as_bytes();)+
                match bytes {
                    $($variant => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        /// Each spelling with its name: the long forms, then the compact ones.
        const SPELLINGS: &[(&str, HeaderName)] = &[
            $(($text, HeaderName::$variant),)+
            $($(($compact, HeaderName::$variant),)?)+
        ];
    };
}

header_names! {
    Accept "Accept",
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    AlertInfo "Alert-Info",
    Allow "Allow",
    AllowEvents "Allow-Events" "u",
    AuthenticationInfo "Authentication-Info",
    Authorization "Authorization",
    CallId "Call-ID" "i",
    CallInfo "Call-Info",
    Contact "Contact" "m",
    ContentDisposition "Content-Disposition",
    ContentEncoding "Content-Encoding" "e",
    ContentLanguage "Content-Language",
    ContentLength "Content-Length" "l",
    ContentType "Content-Type" "c",
    CSeq "CSeq",
    Date "Date",
    Diversion "Diversion",
    ErrorInfo "Error-Info",
    Event "Event" "o",
    Expires "Expires",
    From "From" "f",
    HistoryInfo "History-Info",
    Identity "Identity" "y",
    InReplyTo "In-Reply-To",
    Join "Join",
    MaxForwards "Max-Forwards",
    MimeVersion "MIME-Version",
    MinExpires "Min-Expires",
    MinSe "Min-SE",
    Organization "Organization",
    PAssertedIdentity "P-Asserted-Identity",
    PPreferredIdentity "P-Preferred-Identity",
    Path "Path",
    Priority "Priority",
    Privacy "Privacy",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    ProxyRequire "Proxy-Require",
    RAck "RAck",
    RSeq "RSeq",
    Reason "Reason",
    RecordRoute "Record-Route",
    ReferTo "Refer-To" "r",
    ReferredBy "Referred-By" "b",
    RemotePartyId "Remote-Party-ID",
    Replaces "Replaces",
    ReplyTo "Reply-To",
    Require "Require",
    RetryAfter "Retry-After",
    Route "Route",
    Server "Server",
    ServiceRoute "Service-Route",
    SessionExpires "Session-Expires" "x",
    SipEtag "SIP-ETag",
    SipIfMatch "SIP-If-Match",
    Subject "Subject" "s",
    SubscriptionState "Subscription-State",
    Supported "Supported" "k",
    Timestamp "Timestamp",
    To "To" "t",
    Unsupported "Unsupported",
    UserAgent "User-Agent",
    Via "Via" "v",
    Warning "Warning",
    WwwAuthenticate "WWW-Authenticate",
}

impl HeaderName {
    /// The known name of these bytes, in any case, long or compact.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Self::of_spelling(bytes).or_else(|| Self::of_any_case(bytes))
    }

    fn of_any_case(bytes: &[u8]) -> Option<Self> {
        let mut at = slot(bytes);
        loop {
            let (text, name) = SPELLINGS[usize::from(TABLE[at].checked_sub(1)?)];
            if text.as_bytes().eq_ignore_ascii_case(bytes) {
                return Some(name);
            }
            at = (at + 1) % TABLE.len();
        }
    }

    /// A number of its own, from 1 on.
    pub(crate) const fn code(self) -> u8 {
        self as u8 + 1
    }

    /// The name of a code.
    pub(crate) fn of_code(code: u8) -> Option<Self> {
        ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// Every known name.
    pub fn all() -> &'static [Self] {
        ALL
    }

    /// Whether several values may stand on one line, separated by commas (RFC 3261 section 7.3.1).
    ///
    /// False for the four authentication headers, whose values hold commas of their own.
    pub const fn is_list(self) -> bool {
        matches!(
            self,
            Self::Accept
                | Self::AcceptEncoding
                | Self::AcceptLanguage
                | Self::AlertInfo
                | Self::Allow
                | Self::AllowEvents
                | Self::CallInfo
                | Self::Contact
                | Self::ContentEncoding
                | Self::ContentLanguage
                | Self::Diversion
                | Self::ErrorInfo
                | Self::HistoryInfo
                | Self::InReplyTo
                | Self::PAssertedIdentity
                | Self::PPreferredIdentity
                | Self::Path
                | Self::ProxyRequire
                | Self::Reason
                | Self::RecordRoute
                | Self::RemotePartyId
                | Self::Require
                | Self::Route
                | Self::ServiceRoute
                | Self::Supported
                | Self::Unsupported
                | Self::Via
                | Self::Warning
        )
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name to look for or to write: a known one, or any text.
///
/// From text it becomes the known name where there is one, so `"v"` and `"VIA"` find `Via`.
#[derive(Debug, Clone, Copy)]
pub enum Name<'a> {
    /// One that this crate knows.
    Known(HeaderName),
    /// Any other; compared without regard to case.
    Other(&'a str),
}

impl<'a> Name<'a> {
    /// The spelling to write.
    pub fn as_str(&self) -> &'a str {
        match self {
            Self::Known(name) => name.as_str(),
            Self::Other(text) => text,
        }
    }
}

impl From<HeaderName> for Name<'_> {
    fn from(name: HeaderName) -> Self {
        Self::Known(name)
    }
}

impl<'a> From<&'a str> for Name<'a> {
    fn from(text: &'a str) -> Self {
        HeaderName::parse(text.as_bytes()).map_or(Self::Other(text), Self::Known)
    }
}

/// Open addressing over the spellings, filled at compile time: 0 is free, else the index plus one.
const TABLE: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut i = 0u8;
    while (i as usize) < SPELLINGS.len() {
        let mut at = slot(SPELLINGS[i as usize].0.as_bytes());
        while table[at] != 0 {
            at = (at + 1) % table.len();
        }
        i += 1;
        table[at] = i;
    }
    table
};

const _: () = assert!(SPELLINGS.len() < 128, "the table must stay half empty");

/// Where a spelling's search begins: made of its length and its first, last and middle letters.
const fn slot(bytes: &[u8]) -> usize {
    let len = bytes.len();
    if len == 0 {
        return 0;
    }
    let first = (bytes[0] | 0x20) as usize;
    let middle = (bytes[len / 2] | 0x20) as usize;
    let last = (bytes[len - 1] | 0x20) as usize;
    (len * 17 + first * 7 + middle * 31 + last * 3) % 256
}
