//! What a REGISTER asks for.

use super::{Bounds, Refusal};
use crate::{
    header::{HeaderName, NameAddr},
    message::Message,
    text::trim,
};

/// Octets of a Contact, of all Path values together, and of a Call-ID.
const LONGEST: usize = 2048;
const LONGEST_CALL_ID: usize = 255;
/// Contacts in one request.
const MOST: usize = 64;
/// RFC 3261 section 10.3, step 7: nobody may refuse an hour.
const HOUR: u32 = 3600;

/// A REGISTER, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Its Call-ID.
    pub call_id: String,
    /// The number of its CSeq.
    pub cseq: u32,
    /// What is to become of the bindings.
    pub wish: Wish,
    /// The Path values, as written, the first to be followed first.
    pub path: Vec<String>,
    /// The client knows Path, and wants to see it (RFC 3327 section 5.3).
    pub echoes_path: bool,
    /// The client does outbound (RFC 5626) and the first hop keeps its flow: the answer has to say
    /// `Require: outbound`.
    pub outbound: bool,
}

/// What a REGISTER is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Nothing but tell the bindings.
    Query,
    /// Remove all bindings.
    RemoveAll,
    /// Add, refresh or remove these.
    Update(Vec<Contact>),
}

/// A contact that is to be bound, or no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The value as written, without its `expires` parameter: what answers repeat.
    pub value: String,
    /// Where in `value` the URI is.
    pub uri: std::ops::Range<usize>,
    /// Preference in thousandths; `None` where it says none, which means 1000.
    pub q: Option<u16>,
    /// Seconds that are granted; 0 to remove it.
    pub expires: u32,
    /// The flow that it is a registration of, where the client does outbound.
    pub flow: Option<FlowId>,
}

/// One of a phone's flows (RFC 5626): a later registration of it replaces the binding, whatever its
/// Contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowId {
    /// The `+sip.instance` parameter, without quotes and angle brackets.
    pub instance: String,
    /// The `reg-id` parameter.
    pub reg_id: u32,
}

impl Contact {
    /// The URI.
    pub fn uri(&self) -> &str {
        self.value.get(self.uri.clone()).unwrap_or_default()
    }
}

impl Register {
    /// Parses and checks a request that passed [`Message::validate`].
    ///
    /// # Errors
    /// It is to be refused; see [`Refusal`].
    pub fn parse(request: &Message, bounds: &Bounds) -> Result<Self, Refusal> {
        let call_id = request
            .call_id()
            .ok()
            .filter(|id| id.len() <= LONGEST_CALL_ID && !id.contains(is_control))
            .ok_or(Refusal::Malformed(HeaderName::CallId))?;
        let cseq = request
            .cseq()
            .map_err(|_| Refusal::Malformed(HeaderName::CSeq))?;
        let path = path(request)?;
        let supports = |tag| request.has_option(HeaderName::Supported, tag);
        let keeps_flows = first_hop_keeps_flows(request, &path);
        let does_outbound = supports("outbound") && keeps_flows;
        let wish = wish(request, bounds, does_outbound)?;
        let has_flow = match &wish {
            Wish::Update(contacts) => contacts.iter().any(|contact| contact.flow.is_some()),
            Wish::Query | Wish::RemoveAll => false,
        };
        Ok(Self {
            call_id: call_id.to_owned(),
            cseq: cseq.number,
            outbound: has_flow,
            echoes_path: supports("path") && !path.is_empty(),
            path,
            wish,
        })
    }
}

fn wish(request: &Message, bounds: &Bounds, outbound: bool) -> Result<Wish, Refusal> {
    let values: Vec<_> = request.values(HeaderName::Contact).take(MOST + 1).collect();
    if values.is_empty() {
        return Ok(Wish::Query);
    }
    if values.len() > MOST {
        return Err(Refusal::Malformed(HeaderName::Contact));
    }
    let general = request.expires();
    if values.iter().any(|value| trim(value) == b"*") {
        let alone = values.len() == 1 && general == Some(0);
        return alone.then_some(Wish::RemoveAll).ok_or(Refusal::Wildcard);
    }
    let contacts = values
        .into_iter()
        .map(|value| contact(value, general, bounds, outbound));
    let contacts = contacts.collect::<Result<Vec<_>, _>>()?;
    // RFC 5626 section 6: it comes by one flow, and can be the registration of no other.
    let is_flow = |contact: &&Contact| contact.flow.is_some() && contact.expires > 0;
    if contacts.iter().filter(is_flow).count() > 1 {
        return Err(Refusal::SeveralFlows);
    }
    Ok(Wish::Update(contacts))
}

fn contact(
    value: &[u8],
    general: Option<u32>,
    bounds: &Bounds,
    outbound: bool,
) -> Result<Contact, Refusal> {
    let malformed = Refusal::Malformed(HeaderName::Contact);
    if value.len() > LONGEST {
        return Err(malformed);
    }
    let address = NameAddr::parse(HeaderName::Contact, value).map_err(|_| malformed)?;
    address.uri().map_err(|_| malformed)?;
    let params = address.params();
    let mut expires = match (params.has("expires"), address.expires()) {
        (_, Some(seconds)) => seconds,
        // Malformed: RFC 3261 section 10.3 substitutes the default.
        (true, None) => bounds.default,
        (false, None) => general.unwrap_or(bounds.default),
    };
    if expires > 0 && expires < bounds.min && expires < HOUR {
        return Err(Refusal::TooBrief(bounds.min));
    }
    expires = expires.min(bounds.max);

    // Always in brackets, so that the parameters behind are the header's whatever the URI holds.
    // Folded lines become one.
    let mut text = String::with_capacity(value.len() + 2);
    if let Ok(display) = std::str::from_utf8(address.display_raw())
        && !display.is_empty()
    {
        text.push_str(display);
        text.push(' ');
    }
    text.push('<');
    let start = text.len();
    text.push_str(address.uri_str());
    let uri = start..text.len();
    text.push('>');
    for (name, value) in params {
        if name.eq_ignore_ascii_case("expires") {
            continue;
        }
        text.push(';');
        text.push_str(name);
        if let Some(value) = value {
            text.push('=');
            text.push_str(value);
        }
    }
    if text.contains(['\r', '\n']) {
        // Within a display name or a quoted value. Its place is kept: the URI holds no line end.
        text = text.replace(['\r', '\n'], " ");
    }
    if text.contains(is_control) {
        return Err(malformed);
    }
    let flow = outbound.then(|| flow(&address)).flatten();
    Ok(Contact {
        value: text,
        uri,
        q: address.q(),
        expires,
        flow,
    })
}

/// `+sip.instance="<urn:uuid:...>"` and `reg-id=1`. One without the other names no flow (RFC 5626
/// section 6).
fn flow(address: &NameAddr<'_>) -> Option<FlowId> {
    let params = address.params();
    let quoted = params.get("+sip.instance")?.trim_matches('"');
    let instance = quoted.strip_prefix('<').and_then(|q| q.strip_suffix('>'));
    let instance = instance.unwrap_or(quoted);
    let reg_id = params.get("reg-id")?.parse().ok()?;
    (!instance.is_empty() && reg_id > 0).then(|| FlowId {
        instance: instance.to_owned(),
        reg_id,
    })
}

fn path(request: &Message) -> Result<Vec<String>, Refusal> {
    let malformed = Refusal::Malformed(HeaderName::Path);
    let mut path = Vec::new();
    let mut octets = 0;
    for value in request.values(HeaderName::Path) {
        octets += value.len();
        let address = NameAddr::parse(HeaderName::Path, value).map_err(|_| malformed)?;
        let is_sip = address.uri().is_ok_and(|uri| uri.is_sip());
        let text = std::str::from_utf8(value).map_err(|_| malformed)?;
        if !is_sip || !address.is_bracketed() || octets > LONGEST {
            return Err(malformed);
        }
        let text = text.replace(['\r', '\n'], " ");
        if text.contains(is_control) {
            return Err(malformed);
        }
        path.push(text);
    }
    Ok(path)
}

/// What a value may be parsed with and no database, nor any list that is shown, should hold.
fn is_control(c: char) -> bool {
    c.is_control() && c != '\t'
}

/// Whether the hop next to the client is this node, or says in Path that it keeps flows (RFC 5626
/// section 6).
fn first_hop_keeps_flows(request: &Message, path: &[String]) -> bool {
    if request.values(HeaderName::Via).nth(1).is_none() {
        return true;
    }
    let first = path.last().map(String::as_bytes).unwrap_or_default();
    let address = NameAddr::parse(HeaderName::Path, first);
    let uri = address.ok().and_then(|address| address.uri().ok());
    uri.is_some_and(|uri| uri.params().has("ob"))
}
