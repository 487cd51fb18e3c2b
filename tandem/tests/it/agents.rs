//! The programs of `examples/` answer and make calls of a whole node; a phone hears how they do.

use std::{
    io::Write as _,
    net::{TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rtp::{g711, resample::Resampler, wav::Wav};
use serde_json::{Value, json};

use crate::{
    call::noise,
    common::{Background, free_port, free_ports, output},
    keys::lines,
    phone::{ALIKE, Phone, likeness},
    voice::{ACCOUNT, TOKEN, node, node_by},
    websocket::{Reply, Server},
};

/// An interpreter with Twilio's library and aiohttp, which that one needs.
pub(crate) fn python() -> Option<PathBuf> {
    python_of("twilio-python")
}

/// The interpreter of a folder that scripts/setup.sh makes; in CI it has to be there.
pub(crate) fn python_of(folder: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = target.with_file_name(folder);
    let is_there = folder.join("wanted").exists();
    let at = folder.display();
    assert!(
        is_there || std::env::var_os("CI").is_none(),
        "{at} is missing: scripts/setup.sh test"
    );
    if !is_there {
        eprintln!("skipped: scripts/setup.sh test makes {at}");
    }
    is_there.then(|| folder.join("bin/python"))
}

/// A program of an example's folder.
pub(crate) fn example(python: &Path, folder: &str, arguments: &[&str]) -> Command {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut command = Command::new(python);
    command
        .args(arguments)
        .current_dir(examples.join(folder))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1");
    command
}

/// A server, which answers at the port.
pub(crate) fn serve(command: &mut Command, port: u16) -> (Background, String) {
    let mut server = Background::spawn(command.arg(port.to_string()));
    server.wait(|_| TcpStream::connect(("127.0.0.1", port)).is_ok());
    (server, format!("http://127.0.0.1:{port}/voice"))
}

/// A text as the node says it.
fn spoken(text: &str) -> Vec<i16> {
    let arguments = ["--stdin", "--stdout", "-b", "1", "-s", "160", "-v", "en-us"];
    let mut program = Command::new("espeak-ng")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("espeak-ng: {error}: scripts/setup.sh test installs it"));
    let mut stdin = program.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let file = program.wait_with_output().unwrap().stdout;
    let wav = Wav::parse(&file).unwrap();
    let mut samples = Vec::new();
    let mut resampler = Resampler::new(wav.rate, 8_000).unwrap();
    resampler.push(&wav.mono().collect::<Vec<_>>(), &mut samples);
    resampler.finish(&mut samples);
    samples
}

/// Waits until the phone has heard this said.
fn hears_said(phone: &Phone, text: &str) {
    let said = spoken(text);
    phone.hears(text, |heard| likeness(&said, heard) > ALIKE);
}

#[test]
fn echo_says_back_until_it_is_stopped() {
    let Some(python) = python() else { return };
    let port = free_port();
    let (_bot, url) = serve(&mut example(&python, "echo", &["app.py"]), port);
    let node = node(&url);
    let phone = Phone::call(&node, "200");
    let said = noise(4);
    let (first, second) = said.split_at(16_000);
    phone.say(first);
    phone.hears("its echo", |heard| likeness(first, heard) > ALIKE);
    phone.say(second);
    let beginning = &second[..4_000];
    phone.hears("another echo", |heard| likeness(beginning, heard) > ALIKE);
    phone.press('*');
    phone.hears_silence();
    assert!(likeness(second, &phone.heard()) < ALIKE);
    phone.press('#');
    phone.is_hung_up_on();
}

#[test]
fn receptionist_puts_a_caller_through_who_is_announced() {
    let Some(python) = python() else { return };
    let port = free_port();
    let mut app = example(&python, "receptionist", &["app.py"]);
    let (_app, url) = serve(app.env("ENGINEER", "100"), port);
    let node = node(&url);
    let engineer = Phone::answer(node.callee);
    let caller = Phone::call(&node, "200");
    hears_said(&caller, "Welcome.");
    caller.press('2');
    hears_said(&caller, "Does it keep you from working?");
    caller.press('1');
    let engineer = engineer.pick_up();
    hears_said(&engineer, "an urgent fault. From 1 5 5 5 0 1 9 9. Press 1");
    engineer.press('1');
    // The caller, who says nothing yet.
    engineer.hears_silence();
    let said = noise(2);
    let (ours, theirs) = said.split_at(8_000);
    engineer.say(theirs);
    caller.hears("the engineer", |heard| likeness(theirs, heard) > ALIKE);
    caller.say(ours);
    engineer.hears("the caller", |heard| likeness(ours, heard) > ALIKE);
    engineer.hang_up();
    caller.is_hung_up_on();
}

/// Refuses every call at this port as busy.
fn busy(port: u16) {
    let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, source)) = socket.recv_from(&mut buffer) {
            let invite = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if invite.starts_with("INVITE ") {
                let kept = lines(&invite, &["Via", "From", "To", "Call-ID", "CSeq"]);
                let to = lines(&invite, &["To"]);
                let kept = kept.replace(&to, &format!("{};tag=busy\r\n", to.trim_end()));
                let answer = format!("SIP/2.0 486 Busy Here\r\n{kept}Content-Length: 0\r\n\r\n");
                socket.send_to(answer.as_bytes(), source).unwrap();
            }
        }
    });
}

#[test]
fn campaign_calls_twenty_and_tells_what_came_of_it() {
    let Some(python) = python() else { return };
    let (one, none) = (free_port(), free_port());
    let more = format!(
        "\n[[trunks]]\nname = \"one\"\nhosts = [\"127.0.0.1:{one}\"]\n\
         [[trunks]]\nname = \"none\"\nhosts = [\"127.0.0.1:{none}\"]\n\
         [[routes]]\nprefix = \"7\"\ntrunks = [\"one\"]\n\
         [[routes]]\nprefix = \"9\"\ntrunks = [\"none\"]\n"
    );
    let node = node_by("http://127.0.0.1:9/voice", |text| {
        // For all of them at once.
        let first = free_ports(100);
        let line = text.lines().find(|line| line.starts_with("ports = "));
        let ports = format!("ports = \"{first}-{}\"", first + 99);
        text.replace(line.unwrap(), &ports) + &more
    });
    busy(none);
    let phone = Phone::answer(one);
    let folder = tempfile::tempdir().unwrap();
    let sip = node.callee.to_string();
    let mut sipp = Command::new("sipp");
    sipp.args(["-sn", "uas", "-nostdin", "-i", "127.0.0.1", "-p", &sip])
        .current_dir(folder.path());
    let _sipp = Background::start(&mut sipp);
    let numbers: String = (100..117)
        .chain([700, 900, 901])
        .map(|number| format!("{number}\n"))
        .collect();
    let file = folder.path().join("numbers");
    std::fs::write(&file, numbers).unwrap();

    let api = format!("http://127.0.0.1:{}", node.api);
    let mut campaign = example(&python, "campaign", &["campaign.py"]);
    campaign
        .arg(&file)
        .args(["--from", "200", "--rate", "10", "--port", "0"])
        .args(["--node", &api, "--text", "Press one now."])
        .env("ACCOUNT_SID", ACCOUNT)
        .env("AUTH_TOKEN", TOKEN);
    let campaign = Background::spawn(&mut campaign);
    let phone = phone.pick_up();
    hears_said(&phone, "Press one now.");
    phone.press('1');
    hears_said(&phone, "Thank you. Goodbye.");
    phone.is_hung_up_on();
    let told = campaign.finish();
    assert!(told.status.success(), "{}", output(&told));
    let table = String::from_utf8_lossy(&told.stdout).into_owned();
    let last = table.lines().last().unwrap_or_default();
    let wanted = "20 calls: 17 no answer by key, 2 busy, 1 confirmed";
    assert_eq!(last, wanted, "{}", output(&told));
    let of = |number: &str| table.lines().find(|line| line.starts_with(number));
    assert!(of("700").unwrap().ends_with("confirmed"), "{table}");
}

/// Stands for a model of OpenAI's Realtime API: speaks at once, and hears that somebody breaks in.
fn model(speech: Vec<u8>, names: [&'static str; 2]) -> impl FnMut(&Value) -> Vec<Reply> + Send {
    let (mut is_speaking, mut loud) = (false, 0);
    let [delta, done] = names;
    move |message| {
        let kind = message["type"].as_str().unwrap_or("connected");
        let told = match kind {
            "connected" => {
                vec![json!({ "type": "session.created", "session": { "id": "sess_1" } })]
            }
            "session.update" => {
                vec![json!({ "type": "session.updated", "session": message["session"] })]
            }
            "response.create" => {
                is_speaking = true;
                let item = json!({ "id": "item_1", "type": "message", "role": "assistant" });
                let mut told = vec![
                    json!({ "type": "response.created", "response": { "id": "resp_1" } }),
                    json!({ "type": "response.output_item.added", "response_id": "resp_1", "item": item }),
                ];
                // As fast as it can, as the real one does.
                told.extend(speech.chunks(4_321).map(|piece| {
                    json!({
                        "type": delta, "response_id": "resp_1", "item_id": "item_1", "output_index": 0,
                        "content_index": 0, "delta": STANDARD.encode(piece)
                    })
                }));
                told.push(json!({ "type": done, "response_id": "resp_1", "item_id": "item_1" }));
                told.push(json!({ "type": "response.done", "response": { "id": "resp_1" } }));
                told
            }
            "input_audio_buffer.append" if is_speaking => {
                let audio = STANDARD.decode(message["audio"].as_str().unwrap()).unwrap();
                let peak = audio
                    .into_iter()
                    .map(|octet| g711::decode_ulaw(octet).unsigned_abs());
                loud += u32::from(peak.max().unwrap_or(0) > 1_000);
                is_speaking = loud < 5;
                let started = json!({
                    "type": "input_audio_buffer.speech_started", "audio_start_ms": 900, "item_id": "item_2"
                });
                if is_speaking {
                    Vec::new()
                } else {
                    vec![started]
                }
            }
            "conversation.item.truncate" => {
                let end = &message["audio_end_ms"];
                vec![json!({
                    "type": "conversation.item.truncated", "item_id": "item_1", "content_index": 0, "audio_end_ms": end
                })]
            }
            _ => Vec::new(),
        };
        told.into_iter().map(Reply::Say).collect()
    }
}

/// A call with a model that speaks this dialect.
fn talks_with_a_model(dialect: &str, names: [&'static str; 2], formats: [&str; 2]) {
    let Some(python) = python() else { return };
    let said = noise(6);
    let (speech, question) = said.split_at(40_000);
    let octets: Vec<u8> = speech
        .iter()
        .map(|sample| g711::encode_ulaw(*sample))
        .collect();
    let model = Server::start(move || model(octets.clone(), names));
    let port = free_port();
    let mut app = example(&python, "realtime", &["app.py"]);
    app.env(
        "REALTIME_URL",
        format!("ws://127.0.0.1:{}/v1/realtime?model=m", model.port),
    )
    .env("REALTIME_DIALECT", dialect)
    .env("OPENAI_API_KEY", "key of the test")
    .env("AUTH_TOKEN", TOKEN);
    let (app, url) = serve(&mut app, port);
    let node = node(&url);
    let phone = Phone::call(&node, "200");
    phone.hears("the model", |heard| {
        likeness(&speech[..8_000], heard) > ALIKE
    });
    let upgrade = model.upgrade();
    assert_eq!(upgrade.uri, "/v1/realtime?model=m");
    assert_eq!(upgrade.headers["authorization"], "Bearer key of the test");
    let session = &model.of("type", "session.update")[0]["session"];
    for format in formats {
        assert_ne!(session.pointer(format), None, "{format} of {session}");
    }

    // The caller breaks in.
    phone.say(question);
    let truncated = |model: &Server| model.of("type", "conversation.item.truncate");
    model.wait("truncation", |model| !truncated(model).is_empty());
    phone.hears_silence();
    let heard = likeness(speech, &phone.heard());
    let told = truncated(&model).remove(0);
    assert_eq!(told["item_id"], "item_1");
    let ms = told["audio_end_ms"].as_f64().unwrap();
    // Of 5 s. The stream's clock and the judge's pieces of an eighth of a second are that exact, where a piece is
    // lost now and then.
    assert!(
        (heard * 5_000.0 - ms).abs() < 1_000.0,
        "{heard} of it, {ms} ms"
    );
    assert!((500.0..4_500.0).contains(&ms), "{ms} ms");
    model.wait("question", |model| {
        let heard = model.of("type", "input_audio_buffer.append");
        let octets = heard
            .iter()
            .map(|message| message["audio"].as_str().unwrap());
        let octets = octets.flat_map(|audio| STANDARD.decode(audio).unwrap());
        let samples: Vec<_> = octets.map(g711::decode_ulaw).collect();
        likeness(question, &samples) > ALIKE
    });
    phone.hang_up();
    model.wait("close", |model| !model.of("event", "closed").is_empty());
    drop(app);
}

#[test]
fn realtime_joins_a_call_with_a_model_that_can_be_broken_into() {
    let formats = ["/audio/input/turn_detection", "/audio/output/format/type"];
    let names = ["response.output_audio.delta", "response.output_audio.done"];
    talks_with_a_model("ga", names, formats);
}

#[test]
fn realtime_speaks_the_older_dialect_too() {
    let names = ["response.audio.delta", "response.audio.done"];
    talks_with_a_model(
        "beta",
        names,
        ["/input_audio_format", "/output_audio_format"],
    );
}

#[test]
fn their_own_tests_pass() {
    let Some(python) = python() else { return };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let has_tests = |folder: &PathBuf| {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        names.any(|name| name.starts_with("test_") && name.ends_with(".py"))
    };
    let folders = std::fs::read_dir(examples).unwrap().flatten();
    let folders: Vec<_> = folders
        .map(|entry| entry.path())
        .filter(has_tests)
        .collect();
    assert!(folders.len() >= 5, "{folders:?}");
    for folder in folders {
        let mut tests = example(&python, "", &["-m", "unittest"]);
        let told = tests.current_dir(&folder).output().unwrap();
        let said = output(&told);
        assert!(told.status.success(), "{}: {said}", folder.display());
        assert!(
            !said.contains("Ran 0 tests"),
            "{}: {said}",
            folder.display()
        );
    }
}
