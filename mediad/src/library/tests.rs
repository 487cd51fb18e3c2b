use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Query, Request},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use control::{
    config::Voice,
    media::{Audio, AudioTrouble},
};

use super::*;

/// A silent frame of MPEG-1 Layer III: 128 kbit/s, 44.1 kHz, stereo.
fn mp3() -> Vec<u8> {
    let mut frame = vec![0xff, 0xfb, 0x90, 0x00];
    frame.resize(417, 0);
    frame.repeat(20)
}

fn wav(samples: &[i16]) -> Vec<u8> {
    let mut file =
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data"
            .to_vec();
    file.extend((u32::try_from(samples.len()).unwrap() * 2).to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

fn library(speech: &str) -> Library {
    let config = Voice {
        speech: speech.to_owned(),
        ..Voice::default()
    };
    Library::new(&config).unwrap()
}

fn url(url: String, public: bool) -> Audio {
    Audio::Url { url, public }
}

fn speech(text: &str) -> Audio {
    Audio::Speech {
        text: text.to_owned(),
        ssml: false,
        language: "en-US".to_owned(),
        voice: String::new(),
    }
}

async fn serve(routes: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

#[tokio::test]
async fn a_file_is_read_again_when_it_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let library = library("off");
    let audio = Audio::File(path.to_str().unwrap().to_owned());
    let missing = library.clip(&audio).await;
    assert!(matches!(missing, Err(AudioTrouble::Fetch(why)) if why.contains("a.wav")));
    fs::write(&path, wav(&[1, 2])).unwrap();
    let first = library.clip(&audio).await.unwrap();
    assert_eq!(*first.samples, [1, 2]);
    assert!(Arc::ptr_eq(&first, &library.clip(&audio).await.unwrap()));
    fs::write(&path, wav(&[3, 4, 5])).unwrap();
    assert_eq!(*library.clip(&audio).await.unwrap().samples, [3, 4, 5]);
    let folder = Audio::File(folder.path().to_str().unwrap().to_owned());
    assert!(library.clip(&folder).await.is_err());
}

#[tokio::test]
async fn mp3_is_played_and_nonsense_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let library = library("off");
    let file = async |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        library
            .clip(&Audio::File(path.to_str().unwrap().to_owned()))
            .await
    };
    // 1,152 samples a frame.
    let clip = file("a.mp3", &mp3()).await.unwrap();
    let wanted = 20 * 1152 * 8000 / 44_100;
    assert!(
        clip.samples.len().abs_diff(wanted) < 230,
        "{}",
        clip.samples.len()
    );
    assert!(clip.samples.iter().all(|sample| *sample == 0));
    for bytes in [&b"nonsense"[..], b"", b"RIFF\0\0\0\0WAVE", &wav(&[])] {
        let trouble = file("b", bytes).await;
        assert!(
            matches!(trouble, Err(AudioTrouble::Format(_))),
            "{trouble:?}"
        );
    }
}

/// What a server answers as its query says, and how often it was asked and answered in full.
async fn server() -> (SocketAddr, Arc<(AtomicUsize, AtomicUsize)>) {
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let counter = Arc::clone(&counts);
    let audio = async move |Query(query): Query<Vec<(String, String)>>, headers: HeaderMap| {
        counter.0.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut response = match headers.contains_key(header::IF_NONE_MATCH) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => {
                counter.1.fetch_add(1, Ordering::SeqCst);
                wav(&[7]).into_response()
            }
        };
        for (name, value) in query {
            let name: header::HeaderName = name.parse().unwrap();
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    };
    let routes = Router::new()
        .route("/a", get(audio))
        .route("/html", get(|| async { "<html>" }))
        .route("/large", get(|| async { vec![0_u8; LARGEST + 1] }))
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route("/once", get(|| async { Redirect::temporary("/a") }));
    (serve(routes).await, counts)
}

#[tokio::test]
async fn an_answer_is_used_for_as_long_as_its_server_says() {
    let (server, counts) = server().await;
    let library = library("off");
    for (query, asked, in_full) in [
        ("cache-control=max-age%3D60", 1, 1),
        ("cache-control=max-age%3D60&age=60&etag=%22x%22", 3, 1),
        ("cache-control=no-cache&etag=%22x%22", 3, 1),
        ("cache-control=no-store&etag=%22x%22", 3, 3),
        ("x-none=1", 3, 3),
    ] {
        counts.0.store(0, Ordering::SeqCst);
        counts.1.store(0, Ordering::SeqCst);
        let audio = url(format!("http://{server}/a?{query}"), false);
        for _ in 0..3 {
            assert_eq!(*library.clip(&audio).await.unwrap().samples, [7]);
        }
        let counted = (
            counts.0.load(Ordering::SeqCst),
            counts.1.load(Ordering::SeqCst),
        );
        assert_eq!(counted, (asked, in_full), "{query}");
    }
}

#[tokio::test]
async fn who_waits_for_the_same_asks_once() {
    let (server, counts) = server().await;
    let library = library("off");
    let audio = url(format!("http://{server}/once"), false);
    // Who goes away does not take what others wait for with him.
    let gone = tokio::time::timeout(Duration::from_millis(20), library.clip(&audio));
    let (gone, a, b) = tokio::join!(gone, library.clip(&audio), library.clip(&audio));
    assert!(gone.is_err() && a.is_ok() && b.is_ok());
    assert_eq!(counts.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_may_not_be_fetched_says_why() {
    let (server, counts) = server().await;
    let library = library("off");
    for (path, public, why) in [
        ("a", true, "the address is not public"),
        ("html", false, "text/plain is no audio"),
        ("large", false, "more than 10 MB"),
        ("loop", false, "more than 5 redirections"),
        ("none", false, "404"),
    ] {
        let trouble = library
            .clip(&url(format!("http://{server}/{path}"), public))
            .await;
        let (AudioTrouble::Fetch(text) | AudioTrouble::Format(text)) = trouble.unwrap_err() else {
            panic!("of another kind");
        };
        assert!(text.contains(why), "{path}: {text}");
    }
    let by_name = url(format!("http://localhost:{}/a", server.port()), true);
    assert!(library.clip(&by_name).await.is_err());
    assert_eq!(counts.0.load(Ordering::SeqCst), 0);
    // What the operator allows is allowed.
    let config = Voice {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        ..Voice::default()
    };
    let library = Library::new(&config).unwrap();
    assert!(
        library
            .clip(&url(format!("http://{server}/a"), true))
            .await
            .is_ok()
    );
    assert!(
        library
            .clip(&url("ftp://example.com/a".to_owned(), false))
            .await
            .is_err()
    );
}

fn program(folder: &Path, script: &str) -> Library {
    let path = folder.join("speak");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    library(path.to_str().unwrap())
}

#[tokio::test]
async fn a_program_says_texts_and_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("said.wav"), wav(&[9])).unwrap();
    let args = folder.path().join("args");
    let script = format!(
        "echo \"$@\" >>{}; cat >>{}; cat {}/said.wav",
        args.display(),
        args.display(),
        folder.path().display()
    );
    let speaker = program(folder.path(), &script);
    for _ in 0..2 {
        let clip = speaker.clip(&speech("-f /etc/passwd")).await.unwrap();
        assert_eq!(*clip.samples, [9]);
    }
    // Once, for the second time it was known; and the text was no argument.
    let seen = fs::read_to_string(&args).unwrap();
    assert_eq!(
        seen,
        "--stdin --stdout -b 1 -s 160 -v en-us\n-f /etc/passwd"
    );
    let speaker = program(folder.path(), "echo 'no such voice' >&2; exit 1");
    let trouble = speaker.clip(&speech("x")).await;
    assert!(matches!(trouble, Err(AudioTrouble::Speech(why)) if why.contains("no such voice")));
    let trouble = library("/nonexistent/speak").clip(&speech("x")).await;
    assert!(matches!(trouble, Err(AudioTrouble::Speech(why)) if why.contains("install")));
    let trouble = library("off").clip(&speech("x")).await;
    assert!(matches!(trouble, Err(AudioTrouble::Speech(why)) if why.contains("[voice] speech")));
}

#[tokio::test]
async fn an_endpoint_says_texts() {
    let asked = async |request: Request| -> Response {
        let body = axum::body::to_bytes(request.into_body(), 4096)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let wanted = serde_json::json!(
            {"text": "hello", "ssml": false, "language": "en-US", "voice": ""}
        );
        match body == wanted {
            true => wav(&[8]).into_response(),
            false => StatusCode::BAD_REQUEST.into_response(),
        }
    };
    let server = serve(Router::new().route("/say", post(asked))).await;
    let library = library(&format!("http://{server}/say"));
    assert_eq!(*library.clip(&speech("hello")).await.unwrap().samples, [8]);
    let trouble = library.clip(&speech("else")).await;
    assert!(matches!(trouble, Err(AudioTrouble::Speech(why)) if why.contains("400")));
}

#[tokio::test]
async fn espeak_ng_says_a_long_text() {
    let there = std::process::Command::new("espeak-ng")
        .arg("--version")
        .output()
        .is_ok();
    if !there {
        assert!(
            std::env::var_os("CI").is_none(),
            "scripts/setup.sh test installs espeak-ng"
        );
        eprintln!("skipped: scripts/setup.sh test installs espeak-ng");
        return;
    }
    let library = library("espeak-ng");
    let clip = library.clip(&speech("Welcome to Tandem.")).await.unwrap();
    let loudest = clip
        .samples
        .iter()
        .map(|sample| sample.unsigned_abs())
        .max();
    assert!(clip.samples.len() > 4000 && loudest > Some(2000));
    let long = library.clip(&speech(&"word ".repeat(800))).await.unwrap();
    assert!(long.samples.len() > 60 * RATE as usize);
    let ssml = Audio::Speech {
        text: "one<break time=\"3s\"/>two".to_owned(),
        ssml: true,
        language: "de-DE".to_owned(),
        voice: "woman".to_owned(),
    };
    assert!(library.clip(&ssml).await.unwrap().samples.len() > 3 * RATE as usize);
}

#[tokio::test]
async fn what_is_held_at_once_is_bounded_and_free_again_when_it_was_played() {
    let folder = tempfile::tempdir().unwrap();
    let library = library("off");
    let path = folder.path().join("a.wav");
    fs::write(&path, wav(&[1; 40_000])).unwrap();
    let audio = Audio::File(path.to_str().unwrap().to_owned());
    let room = library.shared.room.clone();
    let all = u32::try_from(room.available_permits()).unwrap();
    // Others have all but one of the two units that it takes.
    let others = room.clone().try_acquire_many_owned(all - 1).unwrap();
    let full = library.clip(&audio).await;
    assert!(
        matches!(&full, Err(AudioTrouble::Engine(why)) if why.contains("512 MiB")),
        "{full:?}"
    );
    drop(others);
    let clip = library.clip(&audio).await.unwrap();
    assert_eq!(room.available_permits(), all as usize - 2);
    // It is kept, and so stays.
    drop(clip);
    assert_eq!(room.available_permits(), all as usize - 2);
    fs::write(&path, wav(&[1; 400])).unwrap();
    drop(library.clip(&audio).await.unwrap());
    assert_eq!(room.available_permits(), all as usize - 1);
}

#[tokio::test]
async fn a_slow_server_holds_nobody_else_up() {
    let slow = Router::new().route(
        "/{name}",
        get(|| async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            StatusCode::OK
        }),
    );
    let slow = serve(slow).await;
    let quick = serve(Router::new().route("/a.wav", get(|| async { wav(&[1, 2]) }))).await;
    let library = library("off");
    let waiting: Vec<_> = (0..2 * MOST_FETCHES)
        .map(|number| {
            let library = library.clone();
            let audio = url(format!("http://{slow}/{number}"), false);
            tokio::spawn(async move { library.clip(&audio).await })
        })
        .collect();
    let audio = url(format!("http://{quick}/a.wav"), false);
    let clip = tokio::time::timeout(Duration::from_secs(10), library.clip(&audio)).await;
    assert_eq!(*clip.unwrap().unwrap().samples, [1, 2]);
    assert_eq!(
        library.shared.fetches.available_permits(),
        MOST_FETCHES - MOST_OF_SERVER
    );
    // Who does not wait any more leaves the server to the others.
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    for task in waiting {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    assert_eq!(library.shared.fetches.available_permits(), MOST_FETCHES);
}
