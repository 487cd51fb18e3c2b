//! Request methods.

use std::fmt;

use crate::text::is_token;

macro_rules! methods {
    ($($variant:ident $text:literal $doc:literal,)+) => {
        /// A request method. Methods are case-sensitive.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Method {
            $(#[doc = $doc] $variant,)+
            /// Any other token; forwarded like the known ones.
            Other(Box<str>),
        }

        impl Method {
            /// Parses a method; `None` where it is no token.
            pub fn parse(bytes: &[u8]) -> Option<Self> {
                $(if bytes == $text.as_bytes() { return Some(Self::$variant); })+
                if !is_token(bytes) {
                    return None;
                }
                std::str::from_utf8(bytes).ok().map(|text| Self::Other(text.into()))
            }

            /// The method as it is written.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }
    };
}

methods! {
    Invite "INVITE" "RFC 3261",
    Ack "ACK" "RFC 3261",
    Bye "BYE" "RFC 3261",
    Cancel "CANCEL" "RFC 3261",
    Options "OPTIONS" "RFC 3261",
    Register "REGISTER" "RFC 3261",
    Update "UPDATE" "RFC 3311",
    Prack "PRACK" "RFC 3262",
    Info "INFO" "RFC 6086",
    Message "MESSAGE" "RFC 3428",
    Refer "REFER" "RFC 3515",
    Subscribe "SUBSCRIBE" "RFC 6665",
    Notify "NOTIFY" "RFC 6665",
    Publish "PUBLISH" "RFC 3903",
}

impl Method {
    /// Whether a 2xx to this method sets up a dialog or a dialog usage.
    pub fn forms_dialog(&self) -> bool {
        matches!(
            self,
            Self::Invite | Self::Subscribe | Self::Refer | Self::Notify
        )
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
