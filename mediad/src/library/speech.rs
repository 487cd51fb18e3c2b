//! Texts as audio: by a program that is called as espeak-ng is, or an endpoint over HTTP.
//!
//! The program gets its text by standard input, so that nothing of the text is ever an argument, and its voice from a
//! language of letters and digits. It writes a WAV file to standard output. The endpoint gets a POST of JSON,
//! `{"text", "ssml", "language", "voice"}`, and answers with a WAV or an MP3 file.

use std::{process::Stdio, time::Duration};

use control::media::AudioTrouble;
use reqwest::{Client, header::CONTENT_TYPE};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
    sync::Semaphore,
    time::timeout,
};

use super::{
    LARGEST,
    fetch::{self, Answer},
};

/// The longest text, in characters, markup and all.
const LONGEST: usize = 16_384;
/// For a text to be said, after those before it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Words a minute: a little slower than the program would, for the telephone.
const PACE: &str = "160";
/// The most audio of a program, in octets: ten minutes at its rate.
const MOST_SAID: usize = 3 * LARGEST;

/// A text, and who says it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Text {
    text: String,
    ssml: bool,
    language: String,
    voice: String,
}

impl Text {
    /// # Errors
    /// If it is too long, or has what may not be said.
    pub(super) fn new(
        text: &str,
        ssml: bool,
        language: &str,
        voice: &str,
    ) -> Result<Self, AudioTrouble> {
        let trouble = |why: &str| Err(AudioTrouble::Speech(why.to_owned()));
        if text.chars().nth(LONGEST).is_some() {
            return trouble("the text is longer than 16,384 characters: say it in parts");
        }
        if text.trim().is_empty() {
            return trouble("there is no text to say");
        }
        // Programs take the file that it names from their own machine.
        if ssml && text.to_ascii_lowercase().contains("<audio") {
            return trouble("<audio> within a text: play it instead");
        }
        // Controls mean something to some programs, and nothing to a listener.
        let text = text.replace(char::is_control, " ");
        Ok(Self {
            text,
            ssml,
            language: language.to_owned(),
            voice: voice.to_owned(),
        })
    }

    /// Octets of all of it.
    pub(super) const fn size(&self) -> usize {
        self.text.len() + self.language.len() + self.voice.len()
    }
}

#[derive(Debug)]
pub(super) struct Speaker {
    by: By,
    /// Texts that are said at once.
    turns: Semaphore,
}

#[derive(Debug)]
enum By {
    Nobody,
    Program(String),
    Endpoint(Client, String),
}

impl Speaker {
    /// As `[voice] speech` says, so many texts at once.
    pub(super) fn new(speech: &str, most: usize) -> Result<Self, reqwest::Error> {
        let is_url = speech.starts_with("http:") || speech.starts_with("https:");
        let by = match speech {
            "off" => By::Nobody,
            url if is_url => {
                let client = fetch::client(|client| client.timeout(PATIENCE))?;
                By::Endpoint(client, url.to_owned())
            }
            program => By::Program(program.to_owned()),
        };
        // An endpoint is another machine's work.
        let most = if is_url { 8 * most } else { most };
        Ok(Self {
            by,
            turns: Semaphore::new(most),
        })
    }

    pub(super) async fn say(&self, text: &Text) -> Result<Answer, AudioTrouble> {
        let _turn = self.turns.acquire().await;
        let said = match &self.by {
            By::Nobody => Err(
                "texts are not said here: set [voice] speech to espeak-ng or to a URL".to_owned(),
            ),
            By::Program(program) => {
                timeout(PATIENCE, run(program, text))
                    .await
                    .unwrap_or_else(|_| {
                        Err(format!(
                            "{program} took longer than {} s",
                            PATIENCE.as_secs()
                        ))
                    })
            }
            By::Endpoint(client, url) => ask(client, url, text).await,
        };
        said.map_err(AudioTrouble::Speech)
    }
}

/// Runs the program, which is killed where nobody waits for it any more.
async fn run(program: &str, text: &Text) -> Result<Answer, String> {
    let mut command = Command::new(program);
    command.args(["--stdin", "--stdout", "-b", "1", "-s", PACE, "-v"]);
    command.arg(voice(&text.language, &text.voice));
    if text.ssml {
        command.arg("-m");
    }
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.kill_on_drop(true).spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "{program} is not there: install it (apt-get install espeak-ng), or set [voice] speech"
        ),
        _ => format!("{program} cannot be run: {error}"),
    })?;
    let (Some(mut input), Some(output), Some(errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(format!("{program} has no input or output"));
    };
    let said = match text.ssml {
        true => format!("<speak>{}</speak>", text.text),
        false => text.text.clone(),
    };
    let give = async move {
        // Who ends without having read says why.
        drop(input.write_all(said.as_bytes()).await);
        drop(input);
    };
    let (mut body, mut complaint) = (Vec::new(), Vec::new());
    let mut output = output.take(MOST_SAID as u64);
    let mut errors = errors.take(4096);
    let (heard, complained, ()) = tokio::join!(
        output.read_to_end(&mut body),
        errors.read_to_end(&mut complaint),
        give
    );
    heard
        .and(complained)
        .map_err(|error| format!("{program}: {error}"))?;
    if body.len() == MOST_SAID {
        return Err("the text takes too long to say: say it in parts".to_owned());
    }
    // It may still write complaints that nobody reads.
    drop(errors);
    let status = child
        .wait()
        .await
        .map_err(|error| format!("{program}: {error}"))?;
    if !status.success() {
        let complaint = String::from_utf8_lossy(&complaint);
        return Err(format!(
            "{program} failed with {status}: {}",
            complaint.trim()
        ));
    }
    Ok(Answer { kind: None, body })
}

async fn ask(client: &Client, url: &str, text: &Text) -> Result<Answer, String> {
    let wanted = serde_json::json!({
        "text": text.text,
        "ssml": text.ssml,
        "language": text.language,
        "voice": text.voice,
    });
    let request = client.post(url).header(CONTENT_TYPE, "application/json");
    let response = request.body(wanted.to_string()).send().await;
    let response = response.map_err(|error| {
        format!(
            "[voice] speech cannot be asked: {}",
            fetch::told(&error.without_url())
        )
    })?;
    if !response.status().is_success() {
        return Err(format!("[voice] speech answered {}", response.status()));
    }
    fetch::body(response)
        .await
        .map_err(|why| format!("[voice] speech: {why}"))
}

/// The program's voice for a language such as `en-US`. Twilio's `man` and `woman` are variants of it; the names of its
/// other voices, such as `Polly.Joanna`, are of other engines, and say nothing here.
fn voice(language: &str, voice: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let language = language.to_ascii_lowercase();
    let mut name = match language.as_str() {
        "" => "en-us".to_owned(),
        "en-gb" | "en-us" | "es-419" | "pt-br" => language,
        "es-mx" | "es-us" | "es-ar" | "es-co" => "es-419".to_owned(),
        "en-au" | "en-nz" | "en-ie" | "en-in" | "en-za" => "en-gb".to_owned(),
        "en-ca" => "en-us".to_owned(),
        "zh-hk" | "zh-yue" => "yue".to_owned(),
        "zh-cn" | "zh-tw" | "cmn-cn" | "cmn-tw" => "cmn".to_owned(),
        "nb-no" | "no-no" => "nb".to_owned(),
        other
            if other.starts_with(|c: char| c.is_ascii_alphabetic())
                && other.chars().all(is_plain) =>
        {
            other.split('-').next().unwrap_or("en").to_owned()
        }
        _ => "en-us".to_owned(),
    };
    match voice {
        "man" => name.push_str("+m3"),
        "woman" | "alice" => name.push_str("+f3"),
        _ => {}
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_have_voices() {
        for (language, by, wanted) in [
            ("en-US", "", "en-us"),
            ("en-GB", "man", "en-gb+m3"),
            ("de-DE", "Polly.Vicki", "de"),
            ("es-MX", "woman", "es-419+f3"),
            ("--path=/etc", "x", "en-us"),
            ("../../x", "", "en-us"),
        ] {
            assert_eq!(voice(language, by), wanted, "{language}");
        }
    }

    #[test]
    fn texts_have_limits() {
        assert!(Text::new(&"ä".repeat(LONGEST), false, "de", "").is_ok());
        for (text, ssml) in [
            ("x".repeat(LONGEST + 1), false),
            ("\n".to_owned(), false),
            ("<Audio src='/etc/passwd'/>".to_owned(), true),
        ] {
            assert!(matches!(
                Text::new(&text, ssml, "", ""),
                Err(AudioTrouble::Speech(_))
            ));
        }
    }
}
