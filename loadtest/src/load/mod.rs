//! A run: a node, calls through it with audio both ways, and a report.

mod picture;
mod place;
mod progress;
mod report;

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub use report::Report;

use crate::{
    audio::{self, Voice},
    bed::{BedError, Family, Layout},
    capture::{Capture, CaptureError, Delivery, Traffic, delivery},
    metrics::Page,
    node::{Form, Node, NodeError},
    process::{Interrupt, ProcessError, Tool},
    sipp::{Agent, Media, Outcome, Running, Scenario, Transport},
};
use picture::Delays;
use place::Place;
use progress::Progress;
use report::{percent, percentile};

/// What can go wrong with a run as such; calls that fail are in the report instead.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bed could not be made.
    #[error(transparent)]
    Bed(#[from] BedError),
    /// A capture failed.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The node failed.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// SIPp or another program could not be run.
    #[error(transparent)]
    Program(#[from] ProcessError),
    /// A file could not be written or read.
    #[error("{}: {error}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// No port of a loopback address is free.
    #[error("no port of {0} is free")]
    NoPort(IpAddr),
    /// More calls than one bed has ports for.
    #[error("{0} calls are too many for one run: 2,000 at most")]
    TooManyCalls(u32),
}

impl LoadError {
    /// Whether the user wanted it to end.
    pub const fn is_interrupt(&self) -> bool {
        matches!(
            self,
            Self::Program(ProcessError::Interrupted)
                | Self::Node(NodeError::Program(ProcessError::Interrupted))
                | Self::Capture(CaptureError::Program(ProcessError::Interrupted))
                | Self::Bed(BedError::Program(ProcessError::Interrupted))
        )
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder that the program `tandem` is in.
    pub programs: PathBuf,
    /// Where the report is written; logs go into a folder `work` beside it.
    pub report: PathBuf,
    /// Calls, all at the same time.
    pub calls: u32,
    /// New calls a second.
    pub rate: u32,
    /// Seconds of audio in each direction of a call.
    pub seconds: u32,
    /// Over what SIP travels.
    pub transport: Transport,
    /// IPv4 or IPv6; loopback has IPv4 only.
    pub family: Family,
    /// VLANs of the bed.
    pub layout: Layout,
    /// `[media] datapath`.
    pub datapath: String,
    /// On loopback also where namespaces could be made.
    pub loopback: bool,
}

/// SIPp's media ports are a thousand calls apart from the node's own range.
const MOST_CALLS: u32 = 2_000;
/// Audio ends this long before the BYE, so that no packet is on its way then.
const SILENCE_BEFORE_BYE: Duration = Duration::from_millis(1500);

/// Runs it and writes the report. Everything that was made for it is gone afterwards.
pub fn run(options: &Options, interrupt: &Interrupt) -> Result<Report, LoadError> {
    if options.calls > MOST_CALLS {
        return Err(LoadError::TooManyCalls(options.calls));
    }
    Tool::require(&[Tool::SIPP])?;
    let mut progress = Progress::new();
    let report = Run::new(options, interrupt)?.go(&mut progress);
    progress.finish();
    let report = report?;
    let written = report.write(&options.report);
    written.map_err(|error| file_error(&options.report, error))?;
    Ok(report)
}

struct Run<'a> {
    options: &'a Options,
    interrupt: &'a Interrupt,
    place: Place,
    work: PathBuf,
}

/// What the run left to be judged.
struct Found {
    caller: Outcome,
    callee: Outcome,
    concurrent: u64,
    captures: Option<(Vec<u8>, Vec<u8>)>,
    metrics: Page,
    node_cpu_pct: f64,
    stopped_well: bool,
}

impl<'a> Run<'a> {
    fn new(options: &'a Options, interrupt: &'a Interrupt) -> Result<Self, LoadError> {
        let work = options.report.with_file_name("work");
        let fresh = match fs::remove_dir_all(&work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir_all(&work),
        };
        fresh.map_err(|error| file_error(&work, error))?;
        let work = fs::canonicalize(&work).map_err(|error| file_error(&work, error))?;
        Ok(Self {
            place: Place::new(options)?,
            options,
            interrupt,
            work,
        })
    }

    fn go(&self, progress: &mut Progress) -> Result<Report, LoadError> {
        progress.step(&format!("bed: {}", self.place));
        let config = self.place.node_config(self.options);
        let node = Node::start(
            Form::Together,
            &self.options.programs,
            &config,
            self.place.node_space(),
            &self.work,
            self.interrupt,
        )?;
        let mode = node.metrics()?.labels("tandem_datapath_mode", "mode");
        progress.step(&format!(
            "node: SIP at {}, datapath {}",
            config.sip,
            mode.join(", ")
        ));
        if let Some(line) = node
            .log()
            .lines()
            .find(|line| line.contains("stepped down"))
        {
            // The whole reason, a verifier's log among others, is in the node's log.
            let start: String = line.chars().take(200).collect();
            progress.step(&format!("node says: {start}"));
        }
        let found = self.call(node, config.sip, progress)?;
        let report = self.judge(&found)?;
        if report.good() {
            self.remove_captures();
        }
        Ok(report)
    }

    /// Plays the calls and stops the node.
    fn call(
        &self,
        node: Node<'_>,
        target: SocketAddr,
        progress: &mut Progress,
    ) -> Result<Found, LoadError> {
        let ears = self.place.listen(self.options.calls)?;
        let captures = self.place.capture(&self.work)?;
        let cpu_before = node.cpu();
        let begun = Instant::now();

        let callee = self
            .callee()?
            .start(self.place.callee_space(), &self.work)?;
        self.interrupt.sleep(Duration::from_millis(500))?;
        let caller = self.caller(target)?;
        let limit = caller.limit;
        let caller = caller.start(self.place.caller_space(), &self.work)?;
        progress.step(&format!(
            "calls: {} with audio both ways for {} s",
            self.options.calls, self.options.seconds
        ));
        let (caller, concurrent) = self.watch(caller, limit, &node, progress)?;
        let callee = callee.stop(Duration::from_secs(10));
        let cpu = node.cpu().saturating_sub(cpu_before);
        let node_cpu_pct = cpu.as_secs_f64() * 100.0 / begun.elapsed().as_secs_f64();

        let captures = match captures {
            Some((at_caller, at_callee)) => Some((finish(at_caller)?, finish(at_callee)?)),
            None => None,
        };
        drop(ears);
        let metrics = self.settled_metrics(&node)?;
        progress.step("node: stopping");
        let stopped_well = node.stop()?;
        Ok(Found {
            caller,
            callee,
            concurrent,
            captures,
            metrics,
            node_cpu_pct,
            stopped_well,
        })
    }

    /// Follows the caller until all its calls are over; also says how many were up at once.
    fn watch(
        &self,
        mut caller: Running,
        limit: Duration,
        node: &Node<'_>,
        progress: &mut Progress,
    ) -> Result<(Outcome, u64), LoadError> {
        let begun = Instant::now();
        let expected = self.duration();
        let mut concurrent = 0;
        while caller.running() && begun.elapsed() < limit {
            self.interrupt.sleep(Duration::from_millis(500))?;
            let stats = caller.stats();
            concurrent = concurrent.max(stats.current);
            // A node that does not answer now is found out below.
            let forwarded = node.metrics().map_or(0, |page| forwarded(&page, &[]));
            let text = format!(
                "{} calls up, {} over, {} failed; {forwarded} RTP packets forwarded",
                stats.current, stats.successful, stats.failed
            );
            progress.at(begun.elapsed(), expected, &text);
        }
        let outcome = caller.finish(Duration::from_secs(5), self.interrupt)?;
        Ok((outcome, concurrent))
    }

    /// The metrics once the node has taken note of the last call's end.
    fn settled_metrics(&self, node: &Node<'_>) -> Result<Page, LoadError> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let page = node.metrics()?;
            if page.sum("tandem_calls_active", &[]) == 0.0 || Instant::now() > end {
                return Ok(page);
            }
            self.interrupt.sleep(Duration::from_millis(200))?;
        }
    }

    fn caller(&self, target: SocketAddr) -> Result<Agent, LoadError> {
        Ok(Agent {
            target: Some(target),
            media: self.media("caller", Voice::CALLER)?,
            media_port: Place::CALLER_MEDIA,
            talk: self.talk(),
            ..self.agent(Scenario::Caller, self.place.caller_sip())
        })
    }

    fn callee(&self) -> Result<Agent, LoadError> {
        Ok(Agent {
            media: self.media("callee", Voice::CALLEE)?,
            media_port: Place::CALLEE_MEDIA,
            ..self.agent(Scenario::Callee, self.place.callee_sip())
        })
    }

    fn agent(&self, scenario: Scenario, sip: SocketAddr) -> Agent {
        Agent {
            transport: self.options.transport,
            calls: self.options.calls,
            rate: self.options.rate,
            limit: self.duration() + Duration::from_secs(30),
            ..Agent::new(scenario, sip)
        }
    }

    fn media(&self, name: &str, voice: Voice) -> Result<Media, LoadError> {
        let count = self.options.seconds * audio::RATE;
        let path = self.work.join(name).with_extension(self.place.audio_kind());
        let written = if self.place.raw_sockets() {
            audio::write_pcap(&path, voice, 0, count)
        } else {
            audio::write_raw(&path, voice, 0, count)
        };
        written.map_err(|error| file_error(&path, error))?;
        Ok(if self.place.raw_sockets() {
            Media::Pcap(vec![path])
        } else {
            Media::Stream(path)
        })
    }

    fn talk(&self) -> Duration {
        Duration::from_secs(self.options.seconds.into()) + SILENCE_BEFORE_BYE
    }

    /// From the first INVITE to the last BYE.
    fn duration(&self) -> Duration {
        let ramp = self.options.calls.div_ceil(self.options.rate.max(1));
        self.talk() + Duration::from_secs(ramp.into())
    }

    fn judge(&self, found: &Found) -> Result<Report, LoadError> {
        let calls = u64::from(self.options.calls);
        let forwarded_all = forwarded(&found.metrics, &[]);
        let by_xdp = forwarded(&found.metrics, &[("path", "xdp")])
            + forwarded(&found.metrics, &[("path", "xdp-generic")]);
        let mos_count = found.metrics.sum("tandem_media_mos_count", &[]);
        let mos_avg = if mos_count > 0.0 {
            found.metrics.sum("tandem_media_mos_sum", &[]) / mos_count
        } else {
            0.0
        };
        let heard = self.listen_to(found)?;
        let total = heard.total();
        let mut setups = heard.setups;
        let mut report = Report {
            calls,
            answered: heard.answered,
            failed: calls.saturating_sub(found.caller.stats.successful),
            rtp_sent: total.sent,
            rtp_received: total.intact,
            loss_pct: percent(total.lost(), total.sent),
            datapath: found
                .metrics
                .labels("tandem_datapath_mode", "mode")
                .join(","),
            mos_avg,
            setup_ms_p50: percentile(&mut setups, 50),
            setup_ms_p99: percentile(&mut setups, 99),
            seconds: self.options.seconds,
            concurrent: found.concurrent,
            forward: heard.forward,
            backward: heard.backward,
            bad_checksums: heard.bad_checksums,
            counted_by: if found.captures.is_some() {
                "capture"
            } else {
                "node"
            },
            node_forwarded: forwarded_all,
            xdp_pct: percent(by_xdp, forwarded_all),
            node_cpu_pct: found.node_cpu_pct,
            retransmissions: found.caller.stats.retransmissions
                + found.callee.stats.retransmissions,
            problems: Vec::new(),
        };
        report.problems = self.problems(found, &report);
        self.draw(&heard.delays, &report)?;
        Ok(report)
    }

    /// Puts a picture of the calls beside the report.
    fn draw(&self, delays: &Delays, report: &Report) -> Result<(), LoadError> {
        let title = format!(
            "{} calls on {}: {:.3} % lost, MOS {:.2}",
            report.calls, report.datapath, report.loss_pct, report.mos_avg
        );
        let Some(picture) = delays.draw(&title) else {
            return Ok(());
        };
        let path = self.options.report.with_file_name("quality.svg");
        fs::write(&path, picture).map_err(|error| file_error(&path, error))
    }

    /// Everything that keeps a run from being good.
    fn problems(&self, found: &Found, report: &Report) -> Vec<String> {
        let mut problems = Vec::new();
        let mut unless = |good: bool, text: String| {
            if !good {
                problems.push(text);
            }
        };
        let (calls, total) = (report.calls, {
            let mut total = report.forward;
            total += report.backward;
            total
        });
        unless(
            report.answered == calls,
            format!(
                "{} of {calls} calls were not answered",
                calls - report.answered.min(calls)
            ),
        );
        for (name, outcome) in [("caller", &found.caller), ("callee", &found.callee)] {
            unless(
                outcome.all_well(calls),
                format!(
                    "SIPp as {name}: {} of {calls} calls went well, exit code {:?}, {:?}\n  {}",
                    outcome.stats.successful,
                    outcome.code,
                    outcome.stats.reasons,
                    outcome.errors.trim().replace('\n', "\n  ")
                ),
            );
        }
        let expected = calls * 2 * u64::from(self.options.seconds * audio::RATE);
        unless(
            total.sent == expected,
            format!("{} RTP packets were sent instead of {expected}", total.sent),
        );
        unless(
            total.perfect(),
            format!(
                "of {} RTP packets {} were lost, {} changed, {} came twice, {} came from nowhere",
                total.sent,
                total.lost(),
                total.altered,
                total.duplicated,
                total.foreign
            ),
        );
        unless(
            report.bad_checksums.unwrap_or(0) == 0,
            "frames with a wrong checksum were recorded".to_owned(),
        );
        unless(
            found.stopped_well,
            "the node did not stop without an error (see tandem.log)".to_owned(),
        );
        problems
    }

    /// What arrived, by the captures, or else by what the node says.
    fn listen_to(&self, found: &Found) -> Result<Heard, LoadError> {
        let Some((at_caller, at_callee)) = &found.captures else {
            return Ok(self.believe_node(found));
        };
        let at_caller = Traffic::read(at_caller).map_err(CaptureError::from)?;
        let at_callee = Traffic::read(at_callee).map_err(CaptureError::from)?;
        let (caller, callee) = self.place.sip_parties();
        let calls = delivery::calls(&at_caller, caller, &at_callee, callee);
        let setups: Vec<Duration> = calls.iter().filter_map(|call| call.setup).collect();
        let mut heard = Heard {
            answered: setups.len() as u64,
            setups,
            forward: Delivery::default(),
            backward: Delivery::default(),
            // Frames on loopback have no finished checksums.
            bad_checksums: self
                .place
                .has_wires()
                .then(|| (at_caller.bad_checksums.len() + at_callee.bad_checksums.len()) as u64),
            delays: Delays::default(),
        };
        for call in &calls {
            heard.forward += call.forward;
            heard.backward += call.backward;
            let ends = call.media;
            heard.delays.add(
                at_caller.flow(ends.caller, ends.node_for_caller),
                at_callee.flow(ends.node_for_callee, ends.callee),
            );
            heard.delays.add(
                at_callee.flow(ends.callee, ends.node_for_callee),
                at_caller.flow(ends.node_for_caller, ends.caller),
            );
        }
        Ok(heard)
    }

    /// Without a capture: each SIPp has sent what it was given, and the node knows what it forwarded.
    fn believe_node(&self, found: &Found) -> Heard {
        let successful = found.caller.stats.successful;
        let sent = successful * u64::from(self.options.seconds * audio::RATE);
        let forwarded = forwarded(&found.metrics, &[]);
        let part = |intact: u64| Delivery {
            sent,
            intact: intact.min(sent),
            ..Delivery::default()
        };
        Heard {
            answered: successful,
            setups: found.caller.setups.clone(),
            forward: part(forwarded.div_ceil(2)),
            backward: part(forwarded / 2),
            bad_checksums: None,
            delays: Delays::default(),
        }
    }

    /// Captures are large, and only of interest where something went wrong.
    fn remove_captures(&self) {
        for entry in fs::read_dir(&self.work).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|kind| kind == "pcap") {
                // One that stays is replaced by the next run.
                let _removed = fs::remove_file(entry.path());
            }
        }
    }
}

struct Heard {
    answered: u64,
    setups: Vec<Duration>,
    forward: Delivery,
    backward: Delivery,
    bad_checksums: Option<u64>,
    delays: Delays,
}

impl Heard {
    fn total(&self) -> Delivery {
        let mut total = self.forward;
        total += self.backward;
        total
    }
}

/// RTP packets that the node forwarded, on the path that `labels` say or on all.
fn forwarded(page: &Page, labels: &[(&str, &str)]) -> u64 {
    let mut labels = labels.to_vec();
    labels.push(("result", "forwarded"));
    let count = page.sum("tandem_media_packets_total", &labels);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter: whole, not negative, far below 2^52"
    )]
    let count = count as u64;
    count
}

fn finish(capture: Capture) -> Result<Vec<u8>, LoadError> {
    let path = capture.finish()?;
    fs::read(&path).map_err(|error| file_error(&path, error))
}

fn file_error(path: &Path, error: io::Error) -> LoadError {
    LoadError::File {
        path: path.to_owned(),
        error,
    }
}
