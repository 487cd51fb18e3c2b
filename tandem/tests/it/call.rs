//! `tandem call` against SIPp and against `tandem answer`, over loopback, with audio compared.

use std::{fs, path::Path, process::Command};

use crate::common::{Background, free_port, json, output, tandem};

/// Samples a second.
const RATE: usize = 8_000;

/// Noise under a slow swell: unlike a tone it fits itself at one delay only.
pub(crate) fn noise(seconds: usize) -> Vec<i16> {
    let mut state = 1_u32;
    let mut previous = 0_i32;
    (0..seconds * RATE)
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let white = i32::from((state >> 16) as u16) - 32_768;
            previous += (white - previous) / 3;
            let swell = 40 + i32::try_from(at * 60 / RATE % 60).unwrap();
            i16::try_from(previous * swell / 200).unwrap()
        })
        .collect()
}

pub(crate) fn write_wav(path: &Path, samples: &[i16]) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    samples
        .iter()
        .for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
}

pub(crate) fn read_wav(path: &Path) -> Vec<i16> {
    let mut reader = hound::WavReader::open(path).unwrap();
    reader.samples().map(Result::unwrap).collect()
}

/// The best correlation of `heard` with `sent` over delays of up to half a second either way, where
/// both have audio.
pub(crate) fn likeness(sent: &[i16], heard: &[i16]) -> f64 {
    let at = |delay: isize| {
        let (mut product, mut left, mut right) = (0.0, 0.0, 0.0);
        for (index, a) in sent.iter().enumerate() {
            let Some(b) = index
                .checked_add_signed(delay)
                .and_then(|index| heard.get(index))
            else {
                continue;
            };
            let (a, b) = (f64::from(*a), f64::from(*b));
            product += a * b;
            left += a * a;
            right += b * b;
        }
        if left * right > 0.0 {
            product / (left * right).sqrt()
        } else {
            0.0
        }
    };
    (-4_000..4_000).map(at).fold(0.0, f64::max)
}

#[test]
fn sipp_answers_and_echoes_what_was_played() {
    let dir = tempfile::tempdir().unwrap();
    let (played, heard) = (dir.path().join("played.wav"), dir.path().join("heard.wav"));
    let samples = noise(2);
    write_wav(&played, &samples);
    let (sip, media) = (free_port(), free_port());
    let mut sipp = Command::new("sipp");
    sipp.args([
        "-sn",
        "uas",
        "-rtp_echo",
        "-nostdin",
        "-m",
        "1",
        "-i",
        "127.0.0.1",
    ])
    .args([
        "-mi",
        "127.0.0.1",
        "-p",
        &sip.to_string(),
        "-mp",
        &media.to_string(),
    ])
    .current_dir(dir.path());
    let _sipp = Background::start(&mut sipp);

    let call = tandem([
        "call",
        &format!("sip:100@127.0.0.1:{sip}"),
        "--json",
        "--duration",
        "3",
    ])
    .arg("--play")
    .arg(&played)
    .arg("--record")
    .arg(&heard)
    .output()
    .unwrap();
    assert!(call.status.success(), "{}", output(&call));
    let report = json(&call);
    assert_eq!(report["answered"], true);
    assert_eq!(report["status"], 200);
    assert_eq!(report["ended_by"], "local");
    assert_eq!(report["codec"], "PCMU");
    let packets = report["received"]["packets"].as_u64().unwrap();
    assert!(
        (120..=155).contains(&packets),
        "3 s are 150 packets: {report}"
    );
    assert_eq!(report["received"]["lost"], 0, "{report}");
    let likeness = likeness(&samples, &read_wav(&heard));
    assert!(
        likeness > 0.98,
        "what was heard is what was played: {likeness}"
    );
}

#[test]
fn two_of_us_talk_over_tcp_and_both_record() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let (a, b) = (noise(2), noise(3).split_off(RATE));
    write_wav(&file("a.wav"), &a);
    write_wav(&file("b.wav"), &b);
    let port = free_port();
    let answer = Background::start(
        tandem(["answer", "--calls", "1", "--json", "--codec", "pcma"])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .arg("--play")
            .arg(file("b.wav"))
            .arg("--record")
            .arg(file("heard-by-b.wav")),
    );
    let call = tandem([
        "call",
        &format!("sip:100@127.0.0.1:{port};transport=tcp"),
        "--json",
    ])
    .args([
        "--from",
        "alice",
        "--local",
        "127.0.0.1:0",
        "--duration",
        "3",
    ])
    .arg("--play")
    .arg(file("a.wav"))
    .arg("--record")
    .arg(file("heard-by-a.wav"))
    .output()
    .unwrap();
    assert!(call.status.success(), "{}", output(&call));
    let answered = answer.finish();
    assert!(answered.status.success(), "{}", output(&answered));

    let (ours, theirs) = (json(&call), json(&answered));
    assert_eq!(ours["codec"], "PCMA", "the callee's choice");
    assert_eq!(ours["call_id"], theirs["call_id"]);
    assert_eq!(theirs["from"], "sip:alice@127.0.0.1");
    assert_eq!(theirs["ended_by"], "remote");
    assert!(
        ours["remote"]["lost"].as_i64() == Some(0),
        "its RTCP reports no loss: {ours}"
    );
    for (sent, file) in [(a, file("heard-by-b.wav")), (b, file("heard-by-a.wav"))] {
        let likeness = likeness(&sent, &read_wav(&file));
        assert!(likeness > 0.98, "{}: {likeness}", file.display());
    }
}

#[test]
fn an_echo_comes_back() {
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let answer = Background::start(&mut tandem([
        "answer", "--echo", "--calls", "1", "--listen", &listen,
    ]));
    let call = tandem(["call", &format!("100@{listen}"), "--duration", "2"])
        .output()
        .unwrap();
    assert!(call.status.success(), "{}", output(&call));
    let said = String::from_utf8_lossy(&call.stdout).into_owned();
    assert!(
        said.contains("180 Ringing") && said.contains("answered;"),
        "{said}"
    );
    assert!(said.contains("heard") && said.contains("MOS"), "{said}");
    assert!(answer.finish().status.success());
}

#[test]
fn a_callee_without_audio_is_told_by_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let (sip, media) = (free_port(), free_port());
    let mut sipp = Command::new("sipp");
    sipp.args([
        "-sn",
        "uas",
        "-nostdin",
        "-m",
        "1",
        "-i",
        "127.0.0.1",
        "-mi",
        "127.0.0.1",
    ])
    .args(["-p", &sip.to_string(), "-mp", &media.to_string()])
    .current_dir(dir.path());
    let _sipp = Background::start(&mut sipp);
    let call = tandem([
        "call",
        &format!("sip:100@127.0.0.1:{sip}"),
        "--duration",
        "1",
    ])
    .output()
    .unwrap();
    assert_eq!(call.status.code(), Some(4), "{}", output(&call));
    assert!(String::from_utf8_lossy(&call.stdout).contains("no RTP came"));
}

#[test]
fn ctrl_c_while_it_rings_cancels() {
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let answer = Background::start(&mut tandem([
        "answer", "--ring", "30", "--calls", "1", "--json", "--listen", &listen,
    ]));
    let call = Background::start(&mut tandem([
        "call",
        &format!("sip:100@{listen}"),
        "--json",
    ]));
    call.wait_for_udp_traffic();
    call.interrupt();
    let call = call.finish();
    assert_eq!(call.status.code(), Some(130), "{}", output(&call));
    assert_eq!(json(&call)["answered"], false);
    let answer = answer.finish();
    assert_eq!(json(&answer)["status"], 487, "{}", output(&answer));
}

#[test]
fn nobody_there_is_told_after_the_time_given() {
    let call = tandem([
        "call",
        &format!("sip:100@127.0.0.1:{}", free_port()),
        "--give-up",
        "1",
    ])
    .output()
    .unwrap();
    assert_eq!(call.status.code(), Some(3), "{}", output(&call));
    let said = String::from_utf8_lossy(&call.stdout).into_owned();
    assert!(
        said.contains("not answered: 408") && said.contains("firewall"),
        "{said}"
    );
}

#[test]
fn wrong_files_and_addresses_are_told_before_anyone_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text.wav");
    fs::write(&text, "no audio").unwrap();
    let target = format!("sip:100@127.0.0.1:{}", free_port());
    for (arguments, part) in [
        (
            vec!["call", &target, "--play", "/nowhere.wav"],
            "/nowhere.wav",
        ),
        (
            vec!["call", &target, "--play", text.to_str().unwrap()],
            "cannot play",
        ),
        (
            vec!["call", &target, "--record", "/nowhere/x.wav"],
            "cannot record",
        ),
        (vec!["call", &target, "--local", "192.0.2.1:0"], "192.0.2.1"),
        (vec!["call", "sips:100@127.0.0.1"], "TLS"),
        (vec!["answer", "--listen", "0.0.0.0:5060"], "--listen"),
    ] {
        let failed = tandem(&arguments).output().unwrap();
        assert_eq!(
            failed.status.code(),
            Some(1),
            "{arguments:?}: {}",
            output(&failed)
        );
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}
