//! Documents as data: each of `fuzz/seeds/document` is run by a host whose webhooks answer with `<Response/>`
//! and on which nobody presses a key and everybody who is called answers and hangs up after a while. What
//! was done is what stands in `transcripts`; with `TANDEM_BLESS=1` it is written there. Those that begin with `sdk_`
//! were written by twilio-python 9.13.0.

use std::{fmt::Write as _, fs, path::Path};

use super::super::*;
use super::host::{Host, Page, SECOND, VOICE, setup};

#[test]
fn each_document_does_what_its_transcript_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = fs::read_dir(root.join("fuzz/seeds/document")).unwrap();
    let mut count = 0;
    for document in documents {
        let document = document.unwrap().path();
        let name = document.file_stem().unwrap().to_string_lossy().into_owned();
        let transcript = run(fs::read(&document).unwrap());
        let path = root.join(format!("src/call/tests/transcripts/{name}.txt"));
        if std::env::var_os("TANDEM_BLESS").is_some() {
            fs::write(&path, &transcript).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(transcript, expected, "{name}");
        // What Twilio's own SDK writes has nothing in it that is not known.
        let is_known = !transcript.contains("Warning");
        assert!(is_known || !name.starts_with("sdk_"), "{name}");
        count += 1;
    }
    assert!(count >= 20);
}

fn run(document: Vec<u8>) -> String {
    let mut host = Host::serving(setup(), vec![(VOICE, Page::Body("text/xml", document))]);
    let mut transcript = String::new();
    let mut second = 0;
    let mut known = 0;
    let mut recorded = None;
    while second < 100 {
        for line in host.did() {
            writeln!(transcript, "{second:>3} s: {line}").unwrap();
        }
        for request in host.requests.clone().into_iter().skip(known) {
            known += 1;
            let response = Response {
                status: 200,
                body: b"<Response/>".to_vec(),
                ..Response::default()
            };
            host.tell(Event::Response {
                id: request.id,
                result: Ok(response),
            });
        }
        host.sleep(SECOND);
        second += 1;
        for leg in host.last.legs.clone() {
            match second % 20 {
                3 => host.tell(Event::Ringing { leg }),
                6 => host.tell(Event::Answered { leg }),
                15 => host.ends(leg, Cause::HungUp),
                _ => {}
            }
        }
        if second % 20 == 19 && host.last.record != recorded {
            recorded = host.last.record;
            if let Some(job) = recorded {
                let result = Ok(10 * SECOND);
                host.tell(Event::Recorded { job, result });
            }
        }
    }
    if !host.call.is_finished() {
        transcript.push_str("100 s: still up\n");
    }
    transcript
}
