//! pipecat, as PyPI has it, is a bot of a whole node: unmodified but for the base URL of its REST client.

use std::{f64::consts::TAU, path::Path, process::Command};

use crate::{
    agents::{python_of, serve},
    call::noise,
    common::{Background, free_port},
    node::Node,
    phone::{Phone, likeness},
    voice::{ACCOUNT, TOKEN, node},
};

/// pipecat paces what it says by itself: on a busy machine it is late by a moment here and there, which is silence.
const ALIKE: f64 = 0.4;

/// A node whose number 200 leads to a bot of this rate.
fn bot(rate: &str) -> Option<(Node, Background)> {
    let python = python_of("pipecat")?;
    let port = free_port();
    let node = node(&format!("http://127.0.0.1:{port}/voice"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipecat/bot.py");
    let mut bot = Command::new(python);
    bot.arg(script)
        .args([rate, &format!("http://127.0.0.1:{}", node.api)])
        .args([ACCOUNT, TOKEN])
        .current_dir(node.dir.path());
    let (bot, _) = serve(&mut bot, port);
    Some((node, bot))
}

/// Half a second of a tone, in samples of 8,000 Hz.
fn tone(hertz: f64) -> Vec<i16> {
    let step = TAU * hertz / 8_000.0;
    (0..4_000)
        .map(|at| {
            #[expect(clippy::cast_possible_truncation, reason = "within 16 bits")]
            let sample = (8_000.0 * (step * f64::from(at)).sin()) as i16;
            sample
        })
        .collect()
}

/// A call that the bot has greeted.
fn greeted(node: &Node) -> Phone {
    let phone = Phone::call(node, "200");
    let greeting = tone(1_000.0);
    phone.hears("the greeting", |heard| likeness(&greeting, heard) > ALIKE);
    phone
}

/// The bot speaks: it is given 10 s at once, and interrupted.
fn speaks_and_is_interrupted(phone: &Phone) {
    let tone = tone(500.0);
    let before = phone.octets().len();
    phone.press('1');
    let since = |heard: &[i16]| likeness(&tone, &heard[before..]);
    phone.hears("the bot", |heard| since(heard) > ALIKE);
    phone.press('2');
    phone.hears_silence();
    let after = phone.heard().split_off(before);
    let loud = after.iter().filter(|sample| sample.unsigned_abs() > 1_000);
    assert!(loud.count() < 5 * 8_000, "the bot goes on");
}

#[test]
fn a_bot_at_8_khz_hears_speaks_is_interrupted_and_hangs_up() {
    let Some((node, _bot)) = bot("8000") else {
        return;
    };
    let phone = greeted(&node);
    let said = noise(2);
    phone.say(&said);
    phone.hears("its echo", |heard| likeness(&said, heard) > ALIKE);
    speaks_and_is_interrupted(&phone);
    phone.press('9');
    phone.is_hung_up_on();
}

#[test]
fn a_bot_at_24_khz_speaks_is_interrupted_and_hangs_up() {
    let Some((node, _bot)) = bot("24000") else {
        return;
    };
    let phone = greeted(&node);
    speaks_and_is_interrupted(&phone);
    phone.press('9');
    phone.is_hung_up_on();
}
