//! The header `X-Twilio-Signature`, by which a receiver knows who asks.
//!
//! What is signed is the URL as it was configured, without its fragment and with its query, and for a POST
//! every parameter behind it, sorted by name. Validators try the URL with and without the port of its
//! scheme, so the port is signed as it is written: neither added nor taken away.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::{form::Params, sid::hex};

/// The name of the header.
pub const HEADER: &str = "X-Twilio-Signature";
/// The same in lower case, as HTTP/2 and HTTP libraries have it.
pub const HEADER_IN_LOWER_CASE: &str = "x-twilio-signature";

/// The value of the header: the base64 of an HMAC-SHA1 under the account's token.
///
/// `params` are those of a form's body: none for a GET, whose are in the URL already, for a WebSocket, and
/// for a JSON body, which has [`body_sha256`] in its query instead. Of a name that comes several times, each
/// different value counts once, in order.
pub fn sign(token: &str, url: &str, params: &Params) -> String {
    let mut sorted: Vec<_> = params.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    // A key of any length will do for an HMAC.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(token.as_bytes()) else {
        return String::new();
    };
    mac.update(without_fragment(url).as_bytes());
    for (name, value) in sorted {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

/// What the query parameter `bodySHA256` of a request with a JSON body says: 64 hexadecimal digits.
pub fn body_sha256(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

fn without_fragment(url: &str) -> &str {
    url.split_once('#').map_or(url, |(url, _)| url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";

    fn golden() -> Params {
        [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
        ]
        .into_iter()
        .collect()
    }

    /// The vector of Twilio's documentation, which the validators of its SDKs accept.
    #[test]
    fn the_published_vector() {
        assert_eq!(
            sign("12345", URL, &golden()),
            "RSOYDt4T1cUTdK1PDd93/VVr8B8="
        );
    }

    #[test]
    fn the_order_of_parameters_and_the_fragment_do_not_matter() {
        let mut reversed: Vec<_> = golden()
            .iter()
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        reversed.reverse();
        let reversed: Params = reversed.into_iter().collect();
        let signature = sign("12345", &format!("{URL}#rc=2&ct=300"), &reversed);
        assert_eq!(signature, "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    }

    #[test]
    fn a_value_that_is_repeated_counts_once() {
        let of = |values: &[&str]| {
            let params: Params = values.iter().map(|value| ("Name", *value)).collect();
            sign("t", "http://a.test/", &params)
        };
        assert_eq!(of(&["b", "a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["a"]));
    }

    #[test]
    fn names_are_sorted_by_their_bytes_upper_case_first() {
        let params: Params = [("a", "1"), ("B", "2")].into_iter().collect();
        let by_hand: Params = [("B2a1", "")].into_iter().collect();
        let signature = sign("t", "http://a.test/", &params);
        assert_eq!(signature, sign("t", "http://a.test/", &by_hand));
    }

    /// A validator behind a proxy may see either; both spellings of a URL have a signature of their own.
    #[test]
    fn the_port_is_signed_as_it_is_written() {
        let none = Params::new();
        let plain = sign("t", "https://a.test/x", &none);
        assert_ne!(plain, sign("t", "https://a.test:443/x", &none));
        assert_ne!(plain, sign("t", "https://a.test:8443/x", &none));
        assert_ne!(plain, sign("t", "wss://a.test/x", &none));
    }

    #[test]
    fn a_json_body_is_named_by_its_hash() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(body_sha256(b""), empty);
    }
}
