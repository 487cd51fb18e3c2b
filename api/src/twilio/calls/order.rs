//! A call to be, as a client's form has it.

use control::signal::{Secret, VoiceCall, VoiceEntry, VoiceLink, VoiceRecording, VoiceUpdate};
use store::{DEFAULT_TENANT, Hook, HttpMethod, Uuid};

use super::super::{
    Call, Error,
    parties::{Codes, parties},
};
use crate::rules;

/// How long it rings where nobody says, in seconds.
const RING: u32 = 60;
/// How long it may last, in seconds.
const LIMITS: std::ops::RangeInclusive<u32> = 1..=86_400;
/// Octets of a document at most.
const MOST_DOCUMENT: usize = 64 << 10;

/// What is wrong with whom a call is from and to.
const CODES: Codes = Codes {
    no_to: (21201, "No 'To' number is specified"),
    no_from: (21213, "No 'From' number is specified"),
    not_own: 21210,
};

pub(super) async fn call(call: &Call<'_>) -> Result<VoiceCall, Error> {
    let form = &call.form;
    if form.text("MachineDetection").is_some() || form.text("AsyncAmd") == Some("true") {
        return Err(Error::unsupported(
            "MachineDetection is not built: leave it out",
        ));
    }
    let (from, to) = parties(call, &CODES).await?;
    let (entry, fallback, status) = match form.text("ApplicationSid") {
        Some(sid) => application(call, sid).await?,
        None => (
            entry(call)?,
            link(call, "FallbackUrl", "FallbackMethod")?,
            link(call, "StatusCallback", "StatusCallbackMethod")?,
        ),
    };
    let status_events = form.all("StatusCallbackEvent");
    let known = ["initiated", "ringing", "answered", "completed"];
    if let Some(event) = status_events
        .iter()
        .find(|event| !known.contains(&event.as_str()))
    {
        let message = format!(
            "StatusCallbackEvent '{event}' is none of {}",
            known.join(", ")
        );
        return Err(Error::bad(21626, message));
    }
    let send_digits = form.text("SendDigits").map(str::to_owned);
    let is_key = |b: u8| b.is_ascii_digit() || b"*#wWabcdABCD,".contains(&b);
    if send_digits
        .as_ref()
        .is_some_and(|keys| keys.len() > 128 || !keys.bytes().all(is_key))
    {
        return Err(Error::invalid(
            "SendDigits: 128 of 0 to 9, *, # and w at most",
        ));
    }
    let auth = form.text("SipAuthUsername").map(|name| {
        let password = form.text("SipAuthPassword").unwrap_or_default();
        (name.to_owned(), Secret::new(password))
    });
    Ok(VoiceCall {
        account: call.account.sid.clone(),
        to,
        from,
        entry,
        fallback,
        status,
        status_events,
        ring_timeout_s: form.number("Timeout", 1..=600)?.unwrap_or(RING),
        time_limit_s: form.number("TimeLimit", LIMITS)?,
        send_digits,
        record: match form.flag("Record")? {
            true => Some(Box::new(recording(call, true)?)),
            false => None,
        },
        auth,
    })
}

/// How a call goes on: any of what it began with may be another.
pub(super) fn change(call: &Call<'_>) -> Result<VoiceUpdate, Error> {
    let entry = given_entry(call)?;
    let fallback = link(call, "FallbackUrl", "FallbackMethod")?;
    let status = link(call, "StatusCallback", "StatusCallbackMethod")?;
    let time_limit_s = call.form.number("TimeLimit", LIMITS)?;
    if entry.is_none() && fallback.is_none() && status.is_none() && time_limit_s.is_none() {
        let message =
            "One of Url, Twiml, Status, FallbackUrl, StatusCallback and TimeLimit is required";
        return Err(Error::bad(21205, message));
    }
    Ok(VoiceUpdate::Change {
        entry,
        fallback,
        status,
        time_limit_s,
    })
}

fn entry(call: &Call<'_>) -> Result<VoiceEntry, Error> {
    let missing = || Error::bad(21205, "Url parameter is required, or Twiml");
    given_entry(call)?.ok_or_else(missing)
}

/// What a call does: by `Url`, else by `Twiml`.
fn given_entry(call: &Call<'_>) -> Result<Option<VoiceEntry>, Error> {
    if let Some(link) = link(call, "Url", "Method")? {
        return Ok(Some(VoiceEntry::Url(link)));
    }
    match call.form.text("Twiml") {
        Some(document) if document.len() <= MOST_DOCUMENT => {
            Ok(Some(VoiceEntry::Document(document.to_owned())))
        }
        Some(_) => Err(Error::invalid(format!(
            "Twiml has more than {MOST_DOCUMENT} octets"
        ))),
        None => Ok(None),
    }
}

/// A webhook of the form.
pub(in super::super) fn link(
    call: &Call<'_>,
    url: &str,
    method: &str,
) -> Result<Option<VoiceLink>, Error> {
    let Some(text) = call.form.text(url) else {
        return Ok(None);
    };
    let schemes = ["http:", "https:", "ws:", "wss:"];
    let is_asked = schemes.iter().any(|scheme| text.starts_with(scheme));
    if !is_asked || has_no_host(text) {
        return Err(Error::bad(
            21205,
            format!("{url} is not a valid URL: {text}"),
        ));
    }
    let method = call.form.one_of(method, &["GET", "POST"])?;
    Ok(Some(VoiceLink {
        url: text.to_owned(),
        post: method != Some("GET"),
    }))
}

/// A webhook may have a name and password in it, which an application's URL may not.
fn has_no_host(text: &str) -> bool {
    let without = text.split_once("//").map(|(scheme, rest)| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        format!("{scheme}//{host}{path}")
    });
    without.is_none_or(|url| rules::application_url(&url).is_err())
}

/// How something is recorded, by what is common to a call and to a recording of it, which differ in whether silence
/// is cut off unless told.
pub(in super::super) fn recording(call: &Call<'_>, trims: bool) -> Result<VoiceRecording, Error> {
    let form = &call.form;
    let channels = form.one_of("RecordingChannels", &["mono", "dual"])?;
    let track = form.one_of("RecordingTrack", &["both", "inbound", "outbound"])?;
    let trim = form.one_of("Trim", &["trim-silence", "do-not-trim"])?;
    let status = link(
        call,
        "RecordingStatusCallback",
        "RecordingStatusCallbackMethod",
    )?;
    let status_events = form.all("RecordingStatusCallbackEvent");
    let known = ["in-progress", "completed", "absent"];
    if status_events
        .iter()
        .any(|event| !known.contains(&event.as_str()))
    {
        let message = format!(
            "RecordingStatusCallbackEvent is none of {}",
            known.join(", ")
        );
        return Err(Error::invalid(message));
    }
    Ok(VoiceRecording {
        channels: if channels == Some("dual") { 2 } else { 1 },
        inbound: track != Some("outbound"),
        outbound: track != Some("inbound"),
        trim: trim.map_or(trims, |trim| trim == "trim-silence"),
        status,
        status_events,
    })
}

type Webhooks = (VoiceEntry, Option<VoiceLink>, Option<VoiceLink>);

/// What an application says of calls.
async fn application(call: &Call<'_>, sid: &str) -> Result<Webhooks, Error> {
    let missing = || Error::bad(21219, format!("there is no application {sid}"));
    let id = sid
        .strip_prefix("AP")
        .and_then(|id| Uuid::try_parse(id).ok());
    let application = call
        .state
        .store
        .application(id.ok_or_else(missing)?)
        .await?;
    let own = call.account.tenant.as_deref().unwrap_or(DEFAULT_TENANT);
    let application = application.filter(|application| application.tenant == own);
    let application = application.ok_or_else(missing)?;
    let link = |hook: Hook| {
        let post = hook.method == HttpMethod::Post;
        hook.url.map(|url| VoiceLink { url, post })
    };
    let entry = link(application.voice);
    let entry = entry.ok_or_else(|| Error::bad(21205, format!("{sid} has no voice URL")))?;
    let (fallback, status) = (link(application.fallback), link(application.status));
    Ok((VoiceEntry::Url(entry), fallback, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_has_a_host_and_may_have_a_password() {
        for good in ["https://a.test/x", "http://u:p@127.0.0.1:9000/x?y=1#rc=2"] {
            assert!(!has_no_host(good), "{good}");
        }
        for wrong in ["https:", "https:///x", "http://u:p@/x", "http://a b/"] {
            assert!(has_no_host(wrong), "{wrong}");
        }
    }
}
