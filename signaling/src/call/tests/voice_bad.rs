//! Webhooks that answer what they should not, or late.

use voice::call::Response;

use super::{
    bed::*,
    voice::{WAIT, ack_of, begin, pick_up},
};

/// The webhook that is asked answers with this.
fn answer(bed: &mut Bed, response: Response) {
    let Some((token, _)) = bed.webhooks.pop_front() else {
        unreachable!("no webhook is asked")
    };
    bed.core.handle_webhook(bed.now, token, Ok(response));
    bed.settle();
}

fn page(content_type: &str, body: impl Into<Vec<u8>>) -> Response {
    Response {
        status: 200,
        content_type: Some(content_type.to_owned()),
        location: None,
        body: body.into(),
    }
}

/// The call was refused, its application is told, and nothing is left.
fn assert_refused(bed: &mut Bed) {
    bed.sent.retain(|sent| sent.message.status() != Some(100));
    let refusal = bed.response(CALLER, 500);
    bed.receive_message(CALLER, &ack_of(&refusal));
    assert_eq!(bed.cdr().status, 500);
    bed.assert_told("failed");
}

#[test]
fn what_is_no_document_ends_the_call() {
    let ten_megabytes = vec![b' '; 10 << 20];
    for (at, response) in [
        page("text/html", "<!DOCTYPE html><html><body>Oops</body></html>"),
        page("text/xml", "<Response><Say>"),
        page("text/xml", ten_megabytes.clone()),
        page("application/json", ten_megabytes),
        page("application/json", "{\"verbs\": 7}"),
        page("application/octet-stream", vec![0; 100]),
        Response {
            status: 502,
            ..Response::default()
        },
    ]
    .into_iter()
    .enumerate()
    {
        let mut bed = Bed::new();
        begin(&mut bed, &format!("bad-{at}"));
        answer(&mut bed, response);
        assert_refused(&mut bed);
    }
}

#[test]
fn what_is_nested_wrongly_is_left_out_and_the_rest_is_run() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "nested");
    let verbs = "<Gather><Dial>+15550100</Dial><Response/></Gather><Say>a<Play>/b</Play></Say>\
                 <Number>1</Number><Dial><Say>x</Say></Dial>";
    bed.reply("http://app.test/voice", &format!("{verbs}{WAIT}"));
    pick_up(&mut bed, &request);
    // Nobody presses anything.
    bed.pass_ms(5_100);
    let play = bed.plays();
    assert!(
        matches!(&play.audio, control::media::Audio::Speech { text, .. } if text == "a/b"),
        "{play:?}"
    );
    bed.played(play.job);
    let play = bed.plays();
    assert_eq!(play.loops, 0);
}

#[test]
fn what_leads_round_and_round_ends_the_call() {
    // Documents that redirect to themselves.
    let mut bed = Bed::new();
    begin(&mut bed, "loop");
    let mut asked = 0;
    while bed
        .webhooks
        .front()
        .is_some_and(|(_, request)| request.url.ends_with("/voice"))
    {
        let redirect = "<Response><Redirect>/voice</Redirect></Response>";
        answer(&mut bed, page("text/xml", redirect));
        asked += 1;
        assert!(asked <= 60, "it goes on for ever");
    }
    assert_refused(&mut bed);

    // Redirections of HTTP.
    let mut bed = Bed::new();
    begin(&mut bed, "moved");
    let mut asked = 0;
    while bed
        .webhooks
        .front()
        .is_some_and(|(_, request)| !request.url.ends_with("/status"))
    {
        answer(
            &mut bed,
            Response {
                status: 307,
                location: Some(format!("/{asked}")),
                ..Response::default()
            },
        );
        asked += 1;
        assert!(asked <= 20, "it goes on for ever");
    }
    assert_refused(&mut bed);
}

#[test]
fn an_answer_that_is_just_in_time_is_run_and_one_that_is_late_is_not() {
    let mut bed = Bed::new();
    let request = begin(&mut bed, "slow");
    bed.pass_ms(14_900);
    bed.reply("http://app.test/voice", WAIT);
    bed.sent.retain(|sent| sent.message.status() != Some(100));
    pick_up(&mut bed, &request);
    assert_eq!(bed.plays().loops, 0);

    let mut bed = Bed::new();
    begin(&mut bed, "late");
    let (late, request) = bed.webhooks.front().unwrap();
    assert_eq!(request.url, "http://app.test/voice");
    let late = *late;
    bed.pass_ms(15_100);
    assert!(bed.cancelled.contains(&late), "it is still waited for");
    let document = page("text/xml", format!("<Response>{WAIT}</Response>"));
    bed.core.handle_webhook(bed.now, late, Ok(document));
    bed.settle();
    assert_refused(&mut bed);
}
