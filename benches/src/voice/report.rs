//! What was measured, for people and for programs.

use std::fmt;

use serde_json::{Value, json};

use super::{Audio, Figures, Plan, Soak};
use crate::spread::{Rounds, Spread};

/// What is wanted: the bridge's share each way (p50, p99), a clear (p99), the setup over the application's own time
/// (p99), in milliseconds, and a call's part of a core, in hundredths.
const SHARE: [f64; 2] = [5.0, 20.0];
const CLEAR: f64 = 20.0;
const SETUP: f64 = 50.0;
const JSON: f64 = 0.5;
const RAW: f64 = 0.4;
/// By how much a clock may be off after a long run, in milliseconds: a frame each at its beginning and end.
const DRIFT: f64 = 40.0;
/// By how much memory may grow in it.
const GROWTH: f64 = 1.05;

/// What came of it.
#[derive(Debug)]
pub struct Report {
    pub(super) plan: Plan,
    pub(super) rounds: Rounds<(Audio, usize), Figures>,
    /// Hundredths of a core of a call of the bare program.
    pub(super) floors: Rounds<usize, f64>,
    pub(super) soak: Option<Soak>,
}

/// A figure of a run.
type Figure = fn(&Figures) -> f64;

const FIGURES: [(&str, Figure); 10] = [
    ("there_ms_p50", |it| it.there[0]),
    ("there_ms_p99", |it| it.there[1]),
    ("back_ms_p50", |it| it.back[0]),
    ("back_ms_p99", |it| it.back[1]),
    ("clear_ms_p99", |it| it.clear[1]),
    ("setup_ms_p50", |it| it.setup[0]),
    ("setup_ms_p99", |it| it.setup[1]),
    ("cpu_percent", |it| it.cpu),
    ("cpu_percent_mediad", |it| it.cpu_media),
    ("lost", |it| (it.lost_there + it.lost_back) as f64),
];

impl Report {
    fn of(&self, audio: Audio, calls: usize, figure: Figure) -> Spread {
        self.rounds.of((audio, calls), figure)
    }

    /// What was not met, by the medians.
    pub fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for &calls in &self.plan.calls {
            for audio in Audio::ALL {
                let cpu = if audio == Audio::Raw { RAW } else { JSON };
                let wanted: [(&str, Figure, f64); 7] = [
                    ("to the server, p50 ms", |it| it.there[0], SHARE[0]),
                    ("to the server, p99 ms", |it| it.there[1], SHARE[1]),
                    ("to the phone, p50 ms", |it| it.back[0], SHARE[0]),
                    ("to the phone, p99 ms", |it| it.back[1], SHARE[1]),
                    ("clear, p99 ms", |it| it.clear[1], CLEAR),
                    ("INVITE to 200, p99 ms", |it| it.setup[1] - it.own, SETUP),
                    ("% of a core", |it| it.cpu, cpu),
                ];
                for (what, figure, most) in wanted {
                    // Without rounds only the long run is judged.
                    let Some(got) = self.of(audio, calls, figure).median() else {
                        continue;
                    };
                    if got > most {
                        let audio = audio.name();
                        missed.push(format!(
                            "{calls} calls, {audio}: {what}: {got:.2}, wanted {most}"
                        ));
                    }
                }
            }
        }
        if let Some(soak) = &self.soak {
            let Figures {
                lost_there,
                lost_back,
                drift_ms,
                ..
            } = soak.figures;
            // What is under way when it is counted makes a few more or less.
            let under_way = i64::try_from(self.plan.calls.iter().max().copied().unwrap_or(0));
            let under_way = under_way.unwrap_or(i64::MAX);
            if lost_there.abs() > under_way || lost_back.abs() > under_way {
                missed.push(format!(
                    "a long run lost {lost_there} frames there, {lost_back} back"
                ));
            }
            if drift_ms > DRIFT {
                missed.push(format!("the playback's clock was off by {drift_ms:.0} ms"));
            }
            let [before, after] = soak.memory.map(|kib| kib as f64);
            if after > before * GROWTH {
                missed.push(format!("memory grew from {before} to {after} KiB"));
            }
        }
        missed
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let runs = self.plan.calls.iter().flat_map(|calls| {
            Audio::ALL.map(|audio| {
                let mut run = serde_json::Map::new();
                run.insert("calls".to_owned(), json!(calls));
                run.insert("audio".to_owned(), json!(audio.name()));
                for (name, figure) in FIGURES {
                    run.insert(name.to_owned(), self.of(audio, *calls, figure).json());
                }
                let floor = self.floors.of(*calls, |share| *share).json();
                run.insert("cpu_percent_bare".to_owned(), floor);
                Value::Object(run)
            })
        });
        let soak = self.soak.as_ref().map(|soak| {
            json!({
                "seconds": self.plan.soak.as_secs(),
                "sent": soak.figures.sent,
                "lost_there": soak.figures.lost_there,
                "lost_back": soak.figures.lost_back,
                "drift_ms": soak.figures.drift_ms,
                "kib": soak.memory,
            })
        });
        json!({ "runs": runs.collect::<Vec<_>>(), "soak": soak, "missed": self.missed() })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "calls  audio  {:>27}  {:>27}  {:>20}  {:>20}  {:>19}  {:>9}  {:>7}",
            "to the server p50 / p99 ms",
            "to the phone p50 / p99 ms",
            "clear p99 ms",
            "INVITE to 200 p99 ms",
            "% of a core a call",
            "bare one",
            "lost"
        )?;
        for &calls in &self.plan.calls {
            for audio in Audio::ALL {
                let of = |figure: Figure| self.of(audio, calls, figure);
                let median = |figure: Figure| of(figure).median().unwrap_or(f64::NAN);
                writeln!(
                    f,
                    "{calls:>5}  {:<5}  {:>27}  {:>27}  {:>20}  {:>20}  {:>19}  {:>9}  {:>7}",
                    audio.name(),
                    format!(
                        "{:.2} / {:.2}",
                        median(|it| it.there[0]),
                        of(|it| it.there[1])
                    ),
                    format!(
                        "{:.2} / {:.2}",
                        median(|it| it.back[0]),
                        of(|it| it.back[1])
                    ),
                    format!("{:.1}", of(|it| it.clear[1])),
                    format!("{:.1}", of(|it| it.setup[1])),
                    format!("{:.2}", of(|it| it.cpu)),
                    format!(
                        "{:.2}",
                        self.floors
                            .of(calls, |share| *share)
                            .median()
                            .unwrap_or(f64::NAN)
                    ),
                    median(|it| (it.lost_there + it.lost_back) as f64),
                )?;
            }
        }
        if let Some(soak) = &self.soak {
            let it = &soak.figures;
            writeln!(
                f,
                "{} s: {} frames sent, {} lost there, {} back; clock off by {:.0} ms; {} KiB, then {} KiB",
                self.plan.soak.as_secs(),
                it.sent,
                it.lost_there,
                it.lost_back,
                it.drift_ms,
                soak.memory[0],
                soak.memory[1]
            )?;
        }
        for missed in self.missed() {
            writeln!(f, "not met: {missed}")?;
        }
        Ok(())
    }
}
