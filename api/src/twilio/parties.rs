//! Whom a call or a message is from and to, as a client's form has it.

use super::{Call, Error, numbers};

/// What is told where that is wrong, by Twilio's codes.
pub(super) struct Codes {
    pub(super) no_to: (u32, &'static str),
    pub(super) no_from: (u32, &'static str),
    /// `From` is a number of somebody else's.
    pub(super) not_own: u32,
}

/// `From` and `To`.
pub(super) async fn parties(call: &Call<'_>, codes: &Codes) -> Result<(String, String), Error> {
    let given = |name, (code, missing): (u32, &str), invalid| {
        let text = call.form.text(name);
        let text = text.ok_or_else(|| Error::bad(code, missing))?;
        let wrong = || Error::bad(invalid, format!("Invalid '{name}' Phone Number: {text}"));
        party(text).ok_or_else(wrong)
    };
    let to = given("To", codes.no_to, 21211)?;
    let from = given("From", codes.no_from, 21212)?;
    // Whoever shares the node shows its own numbers.
    let is_shared = call.account.tenant.is_some();
    if is_shared && from.starts_with('+') && !numbers::has(call, &from).await? {
        let message = format!("'From' phone number {from} is not this account's");
        return Err(Error::bad(codes.not_own, message));
    }
    Ok((from, to))
}

/// Whom a call or a message is from or to: a number, `client:name` or `sip:user@host`.
fn party(text: &str) -> Option<String> {
    if let Some(name) = text.strip_prefix("client:") {
        let is_name = !name.is_empty() && name.len() <= 121;
        return (is_name && name.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned());
    }
    if let Some(rest) = text
        .strip_prefix("sip:")
        .or_else(|| text.strip_prefix("sips:"))
    {
        let (user, host) = rest.split_once('@')?;
        let is_good = !user.is_empty()
            && !host.is_empty()
            && text.len() <= 2_048
            && text
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"<>\"".contains(&b));
        return is_good.then(|| text.to_owned());
    }
    let digits: String = text.chars().filter(|c| !" -().".contains(*c)).collect();
    let bare = digits.strip_prefix('+').unwrap_or(&digits);
    let is_number = (2..=15).contains(&bare.len()) && bare.bytes().all(|b| b.is_ascii_digit());
    is_number.then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_is_a_number_a_client_or_a_sip_uri() {
        for (text, wanted) in [
            ("+1 (555) 010-0", "+15550100"),
            ("100", "100"),
            ("client:alice", "client:alice"),
            ("sip:a@b.test?X-A=1", "sip:a@b.test?X-A=1"),
        ] {
            assert_eq!(party(text).as_deref(), Some(wanted));
        }
        for wrong in [
            "",
            "+",
            "abc",
            "client:",
            "sip:host",
            "sip:@host",
            "sip:a@b>",
            "+1234567890123456",
        ] {
            assert_eq!(party(wrong), None, "{wrong}");
        }
    }
}
