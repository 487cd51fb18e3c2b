use super::*;

const RULES: Rules = Rules {
    interval: 1800,
    min: 120,
};

fn invite(headers: &str) -> Message {
    let text = format!(
        "INVITE sip:bob@example.test SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@example.test>;tag=a\r\nTo: <sip:bob@example.test>\r\n\
         Call-ID: c\r\nCSeq: 1 INVITE\r\n{headers}Content-Length: 0\r\n\r\n"
    );
    Message::parse(text.into()).unwrap()
}

/// What of a message's session timer headers is written.
fn headers(message: &Message) -> (String, String) {
    let text = |name| {
        let header = message.header(name);
        header.map_or_else(String::new, |header| header.text().into_owned())
    };
    (text(HeaderName::SessionExpires), text(HeaderName::MinSe))
}

fn sent(headers_in: &str) -> (String, String) {
    let request = invite(headers_in);
    let proposal = RULES.propose(&request).unwrap().unwrap();
    let written = proposal.write(&request).unwrap();
    headers(&written.unwrap_or(request))
}

#[test]
fn an_interval_is_asked_for_lowered_and_raised() {
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    // Nobody asked: we do, without a word on who refreshes.
    assert_eq!(sent(""), pair("1800", ""));
    assert_eq!(sent("Supported: timer\r\n"), pair("1800", ""));
    // Longer than we want, and no longer than the sender wants it to be.
    assert_eq!(
        sent("Supported: timer\r\nx: 7200;refresher=uac\r\n"),
        pair("1800;refresher=uac", "")
    );
    assert_eq!(
        sent("Session-Expires: 7200\r\nMin-SE: 3600\r\n"),
        pair("3600", "3600")
    );
    assert_eq!(sent("Min-SE: 2000\r\n"), pair("2000", "2000"));
    // As we like it.
    assert_eq!(
        sent("Supported: 100rel, timer\r\nSession-Expires: 600 ; refresher=uas\r\n"),
        pair("600 ; refresher=uas", "")
    );
    assert_eq!(sent("Session-Expires: 120\r\n"), pair("120", ""));
    // Too short, and the sender would not understand 422.
    assert_eq!(sent("Session-Expires: 90\r\n"), pair("120", "120"));
    assert_eq!(
        sent("Session-Expires: 90\r\nMin-SE: 100\r\n"),
        pair("120", "120")
    );
}

#[test]
fn too_short_is_refused_where_that_is_understood() {
    for headers in [
        "Supported: timer\r\nSession-Expires: 119\r\n",
        "Require: timer\r\nx: 90;refresher=uac\r\n",
    ] {
        assert_eq!(RULES.propose(&invite(headers)), Err(TooSmall { min: 120 }));
    }
}

#[test]
fn what_cannot_be_read_is_left_alone() {
    for headers in [
        "Session-Expires: soon\r\n",
        "Session-Expires: 99999999999\r\n",
        "Session-Expires: 600;refresher=me\r\n",
        "Min-SE: -1\r\n",
        "Session-Expires: \r\n",
    ] {
        assert_eq!(RULES.propose(&invite(headers)), Ok(None), "{headers}");
    }
    let options = String::from_utf8(invite("").as_bytes().to_vec()).unwrap();
    let options = Message::parse(options.replace("INVITE", "OPTIONS").into()).unwrap();
    assert_eq!(RULES.propose(&options), Ok(None));
}

#[test]
fn the_answer_says_who_refreshes() {
    let request = invite("Supported: timer\r\n");
    let proposal = RULES.propose(&request).unwrap().unwrap();
    let answer = |status: u16, header: Option<&str>| {
        let response = request.respond(status).to_tag("b");
        match header {
            Some(value) => response.header(HeaderName::SessionExpires, value),
            None => response,
        }
        .build()
        .unwrap()
    };
    let agreed = proposal
        .settle(&answer(200, Some("900;refresher=uas")))
        .unwrap();
    assert_eq!(
        (agreed.interval.as_secs(), agreed.refresher, agreed.response),
        (900, Refresher::Uas, None)
    );

    // A callee without session timers: the caller refreshes, and is told so.
    let agreed = proposal.settle(&answer(200, None)).unwrap();
    assert_eq!(
        (agreed.interval.as_secs(), agreed.refresher),
        (1800, Refresher::Uac)
    );
    let told = agreed.response.unwrap();
    assert_eq!(headers(&told).0, "1800;refresher=uac");
    assert!(told.has_option(HeaderName::Require, "timer"));
    assert_eq!(proposal.settle(&answer(180, None)), None);
    assert_eq!(proposal.settle(&answer(422, None)), None);

    // Neither has them.
    let proposal = RULES.propose(&invite("")).unwrap().unwrap();
    assert_eq!(proposal.settle(&answer(200, None)), None);
    // The callee alone has them, and refreshes.
    let agreed = proposal.settle(&answer(200, Some("1800;refresher=uas")));
    assert_eq!(agreed.unwrap().refresher, Refresher::Uas);
}
