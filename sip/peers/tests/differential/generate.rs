//! Messages made up of what may stand in each place: most are plain, and some have one odd thing.

use proptest::{prelude::*, sample::select};

/// A message.
pub fn message() -> impl Strategy<Value = String> {
    (
        prop_oneof![3 => request(), 1 => response()],
        headers(),
        body(),
    )
        .prop_map(|((start, method), headers, body)| {
            let headers = headers.replace("METHOD", &method);
            let length = body.len();
            format!("{start}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
        })
}

fn method() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 14] = [
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "REGISTER",
        "UPDATE",
        "INFO",
        "MESSAGE",
        "REFER",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "PRACK",
    ];
    prop_oneof![20 => select(KNOWN.to_vec()).prop_map(str::to_owned), 1 => "[A-Z]{3,8}"]
}

fn request() -> impl Strategy<Value = (String, String)> {
    (method(), uri()).prop_map(|(method, uri)| (format!("{method} {uri} SIP/2.0"), method))
}

fn response() -> impl Strategy<Value = (String, String)> {
    (method(), 100..700u16, "[A-Za-z][A-Za-z ]{0,12}")
        .prop_map(|(method, status, reason)| (format!("SIP/2.0 {status} {reason}"), method))
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z]{1,8}\\.(test|example)",
        4 => any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
        1 => any::<std::net::Ipv6Addr>().prop_map(|ip| format!("[{ip}]")),
    ]
}

fn host_port() -> impl Strategy<Value = String> {
    (host(), prop::option::of(1..=65_535u16)).prop_map(|(host, port)| match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

fn uri() -> impl Strategy<Value = String> {
    let user = prop_oneof![
        6 => "[a-z0-9]{1,10}",
        1 => "\\+[0-9]{4,12}",
        1 => "[a-z]{1,4}\\.[a-z]{1,4}",
    ];
    let param = select(vec![
        "",
        "",
        "",
        ";transport=tcp",
        ";lr",
        ";user=phone",
        ";x-odd=1",
        ";x-odd=1:2",
    ]);
    let scheme = select(vec!["sip", "sip", "sip", "sips"]);
    let sip = (scheme, prop::option::of(user), host_port(), param);
    let sip = sip.prop_map(|(scheme, user, host, param)| match user {
        Some(user) => format!("{scheme}:{user}@{host}{param}"),
        None => format!("{scheme}:{host}{param}"),
    });
    prop_oneof![20 => sip, 1 => "tel:\\+[0-9]{4,12}", 1 => Just("urn:service:sos".to_owned())]
}

fn address() -> impl Strategy<Value = String> {
    let display = prop_oneof![
        3 => Just(String::new()),
        2 => "[A-Z][a-z]{1,8} ",
        2 => "\"[A-Za-z .,]{1,12}\" ",
    ];
    (display, uri()).prop_map(|(display, uri)| format!("{display}<{uri}>"))
}

fn via() -> impl Strategy<Value = String> {
    let known = select(vec!["UDP", "TCP", "TLS", "WS", "WSS", "SCTP"]);
    let transport = prop_oneof![12 => known, 1 => Just("QUIC")];
    let more = select(vec![
        "",
        "",
        ";rport",
        ";rport=5062;received=192.0.2.7",
        ";x=1",
    ]);
    let parts = (transport, host_port(), "[a-z0-9]{4,12}", more);
    parts.prop_map(|(transport, host, branch, more)| {
        format!("SIP/2.0/{transport} {host};branch=z9hG4bK{branch}{more}")
    })
}

/// A name in one of its forms, and a colon in one of its own.
fn name(long: &'static str, short: &'static str) -> impl Strategy<Value = String> {
    let name = prop_oneof![
        30 => Just(long.to_owned()),
        1 => Just(short.to_owned()),
        1 => Just(long.to_ascii_uppercase()),
    ];
    let colon =
        prop_oneof![60 => Just(": "), 2 => Just(":"), 1 => Just(" : "), 1 => Just(":\r\n ")];
    (name, colon).prop_map(|(name, colon)| format!("{name}{colon}"))
}

fn headers() -> impl Strategy<Value = String> {
    let tag = prop::option::of("[a-z0-9]{1,8}");
    let contacts = prop_oneof![
        8 => prop::collection::vec(address(), 0..2),
        1 => prop::collection::vec(address(), 2..4),
    ];
    let others = prop::collection::vec(("X-[A-Z][a-z]{1,8}", "[a-zA-Z0-9 ,;=.]{0,20}"), 0..4);
    let vias = prop::collection::vec((name("Via", "v"), via()), 1..3);
    let parts = (
        vias,
        (name("From", "f"), address(), "[a-z0-9]{1,8}"),
        (name("To", "t"), address(), tag),
        (name("Call-ID", "i"), "[a-z0-9]{4,12}(@[a-z]{1,6})?"),
        (0..1u32 << 31, 0..=255u8),
        (name("Contact", "m"), contacts),
        others,
    );
    parts.prop_map(
        |(vias, from, to, call_id, (cseq, hops), contacts, others)| {
            let mut text = String::new();
            let mut line = |line: String| {
                text.push_str(&line);
                text.push_str("\r\n");
            };
            for (name, via) in vias {
                line(format!("{name}{via}"));
            }
            line(format!("Max-Forwards: {hops}"));
            line(format!("{}{};tag={}", from.0, from.1, from.2));
            let tag = to.2.map(|tag| format!(";tag={tag}")).unwrap_or_default();
            line(format!("{}{}{tag}", to.0, to.1));
            line(format!("{}{}", call_id.0, call_id.1));
            line(format!("CSeq: {cseq} METHOD"));
            if !contacts.1.is_empty() {
                line(format!("{}{}", contacts.0, contacts.1.join(", ")));
            }
            for (name, value) in others {
                line(format!("{name}: {value}"));
            }
            text
        },
    )
}

fn body() -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 1 => "[a-z =\r\n]{1,40}"]
}
