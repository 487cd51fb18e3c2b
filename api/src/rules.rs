//! What the names of things have to be, wherever they come from.

/// Whether a text can be the id of a tenant.
///
/// # Errors
/// What it has to be.
pub fn tenant_id(id: &str) -> Result<(), &'static str> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_good = (1..=40).contains(&id.len()) && id.bytes().all(fits);
    is_good
        .then_some(())
        .ok_or("id: 1 to 40 of a to z, 0 to 9 and '-'")
}

/// Whether a text can be a name that people give to something.
///
/// # Errors
/// What it has to be.
pub fn name(name: &str) -> Result<(), &'static str> {
    let is_good = (1..=200).contains(&name.chars().count()) && !name.contains(char::is_control);
    is_good
        .then_some(())
        .ok_or("name: 1 to 200 characters, none of control")
}

/// Whether a text in lower case can be the name of an operator.
///
/// # Errors
/// What it has to be.
pub fn operator(name: &str) -> Result<(), &'static str> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-+@".contains(&b);
    let is_good = (1..=64).contains(&name.len()) && name.bytes().all(fits);
    is_good
        .then_some(())
        .ok_or("name: 1 to 64 letters, digits, '.', '_', '-', '+' and '@'")
}

/// Whether a text in lower case can be a SIP domain that is given to a tenant.
///
/// # Errors
/// What it has to be.
pub fn domain(name: &str) -> Result<(), &'static str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b);
    let is_good = (1..=253).contains(&name.len()) && name.bytes().all(fits);
    is_good
        .then_some(())
        .ok_or("this is no SIP domain: write a host name or an address")
}

/// Octets of a URL at most.
const MOST_URL: usize = 2_048;

/// Whether a text can be a URL that an application names.
///
/// # Errors
/// What it has to be.
pub fn application_url(url: &str) -> Result<(), &'static str> {
    let parsed = reqwest::Url::parse(url).ok();
    let is_good = parsed.is_some_and(|parsed| {
        matches!(parsed.scheme(), "http" | "https" | "ws" | "wss") && parsed.has_host()
    });
    // What the parser would take away, or put up with, is somebody's mistake.
    let (_, rest) = url.split_once(':').unwrap_or_default();
    let rest = rest.strip_prefix("//").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_plain = !authority.is_empty()
        && !authority.contains('@')
        && url.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    (is_good && is_plain && url.len() <= MOST_URL)
        .then_some(())
        .ok_or("an absolute http, https, ws or wss URL of 2048 bytes at most, without a name or password in it")
}

/// Whether a text can be a URL that is asked what becomes of a message: no socket is given any.
///
/// # Errors
/// What it has to be.
pub fn message_url(url: &str) -> Result<(), &'static str> {
    application_url(url)?;
    let scheme = url.get(..4).unwrap_or_default();
    scheme
        .eq_ignore_ascii_case("http")
        .then_some(())
        .ok_or("an http or https URL: no socket is given messages")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_applications_url_is_absolute_and_holds_no_secret() {
        for good in [
            "https://example.com/voice?a=b#c",
            "http://127.0.0.1:9000/",
            "ws://[2001:db8::1]/stream",
            "wss://b\u{fc}cher.example/"
                .replace('\u{fc}', "%C3%BC")
                .as_str(),
            &format!("https://example.com/{}", "a".repeat(2_028)),
        ] {
            assert_eq!(application_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/voice",
            "example.com",
            "ftp://example.com/",
            "javascript:alert(1)",
            "https://",
            "https:///voice",
            "https:example.com/v",
            "https:/example.com/v",
            "https:example.com/v?to=https://example.com/",
            "https://@example.com/",
            "https://:@example.com/",
            "https://ann@example.com/",
            "https://ann:secret@example.com/",
            "https://:secret@example.com/",
            "https://exa mple.com/",
            "https://example.com/\n",
            " https://example.com/",
            "https:\\\\example.com",
            "https://example.com/\0",
            "https://b\u{fc}cher.example/",
            &format!("https://example.com/{}", "a".repeat(2_029)),
        ] {
            assert!(application_url(bad).is_err(), "{bad}");
        }
        for (url, is_good) in [
            ("https://example.com/", true),
            ("HTTP://example.com/", true),
            ("ws://example.com/", false),
            ("wss://example.com/", false),
            ("/relative", false),
        ] {
            assert_eq!(message_url(url).is_ok(), is_good, "{url}");
        }
    }
}
