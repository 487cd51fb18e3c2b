//! What has been done so far, with rtpengine's names where they mean the same.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ng::{Command, Dictionary, Value, dictionary};

use super::{Answer, Front};
use crate::ng::{call::Totals, engine};

/// Counters since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    commands: [Done; Command::ALL.len()],
    errors: AtomicU64,
    calls: Mutex<Calls>,
    rates: Mutex<Rates>,
}

/// What had been carried when rates were last told, and what they were.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    at: Option<Instant>,
    /// Packets of the shards, packets of XDP, and what was refused, and the same a second.
    carried: [u64; 3],
    a_second: [u64; 3],
}

/// A command's count, and the microseconds that it took altogether.
#[derive(Debug, Default)]
struct Done {
    count: AtomicU64,
    micros: AtomicU64,
}

/// Calls that are over.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    all: u64,
    silent: u64,
    unanswered: u64,
    /// Streams of them in which nobody sent, and in which one party alone did.
    zero_way: u64,
    one_way: u64,
    lasted: Duration,
    totals: Totals,
}

impl Counts {
    pub(super) fn note(&self, command: Command, took: Duration, is_error: bool) {
        let at = Command::ALL.iter().position(|known| *known == command);
        if let Some(done) = at.and_then(|at| self.commands.get(at)) {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            done.count.fetch_add(1, Relaxed);
            done.micros.fetch_add(micros, Relaxed);
        }
        self.errors.fetch_add(u64::from(is_error), Relaxed);
    }

    pub(super) fn ended(&self, lasted: Duration, totals: Totals, why: &str) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.all += 1;
        calls.silent += u64::from(why == "silent");
        calls.unanswered += u64::from(why == "unanswered");
        calls.zero_way += totals.zero_way;
        calls.one_way += totals.one_way;
        calls.lasted += lasted;
        calls.totals.add_all(totals);
    }

    /// How much is carried a second: since this was last asked, a second ago at least.
    fn rates(&self, carried: [u64; 3]) -> [u64; 3] {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let millis = rates.at.map_or(0, |at| now.duration_since(at).as_millis());
        if rates.at.is_none() || millis >= 1_000 {
            let before = std::mem::replace(&mut rates.carried, carried);
            let millis = u64::try_from(millis).unwrap_or(u64::MAX);
            for ((rate, now), before) in rates.a_second.iter_mut().zip(carried).zip(before) {
                let more = now.saturating_sub(before).saturating_mul(1_000);
                *rate = more.checked_div(millis).unwrap_or(0);
            }
            rates.at = Some(now);
        }
        rates.a_second
    }

    /// Of every command: how often, and how long that took.
    fn control(&self) -> Dictionary {
        let (mut told, mut proxy) = (Dictionary::new(), Dictionary::new());
        for (command, done) in Command::ALL.iter().zip(&self.commands) {
            let Some(short) = short(*command) else {
                continue;
            };
            let count = Value::from_number(done.count.load(Relaxed));
            let micros = Duration::from_micros(done.micros.load(Relaxed));
            told.insert(format!("total{short}count").into_bytes(), count.clone());
            proxy.insert(format!("{short}count").into_bytes(), count);
            let duration = decimal(micros.as_secs_f64());
            proxy.insert(format!("{short}duration").into_bytes(), duration);
        }
        let errors = Value::from_number(self.errors.load(Relaxed));
        proxy.insert(b"errorcount".to_vec(), errors);
        proxy.insert(b"proxy".to_vec(), Value::from_text("all"));
        let proxies = Value::List(vec![Value::Dictionary(proxy)]);
        told.insert(b"proxies".to_vec(), proxies);
        let errors = Value::from_number(self.errors.load(Relaxed));
        told.insert(b"totalerrorcount".to_vec(), errors);
        told
    }
}

impl Front {
    pub(super) async fn statistics(&self) -> Answer {
        let page = engine::metrics(&self.media).await?;
        let relayed = |path: &str| {
            sum(
                &page,
                "tandem_media_packets_total",
                &[path, "result=\"forwarded\""],
            )
        };
        let kernel = relayed("path=\"xdp\"") + relayed("path=\"xdp-generic\"");
        let all = relayed("");
        let calls = *self
            .counts
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = self.calls.len();
        let number = |number: u64| Value::from_number(number);
        let average = match calls.all {
            0 => 0.0,
            #[expect(clippy::cast_precision_loss, reason = "an average of seconds")]
            count => calls.lasted.as_secs_f64() / count as f64,
        };
        let refused = sum(&page, "tandem_media_packets_total", &[]).saturating_sub(all);
        let rates = [all.saturating_sub(kernel), kernel, refused];
        let [user_rate, kernel_rate, error_rate] = self.counts.rates(rates);
        let offloaded = sum(&page, "tandem_media_legs_offloaded", &[]);
        let sessions = sum(&page, "tandem_media_sessions", &[]);
        let current = dictionary([
            ("sessionsown", Value::from_number(now)),
            ("sessionsforeign", number(0)),
            ("sessionstotal", Value::from_number(now)),
            ("transcodedmedia", number(0)),
            ("packetrate_user", number(user_rate)),
            ("packetrate_kernel", number(kernel_rate)),
            ("packetrate", number(user_rate + kernel_rate)),
            ("errorrate", number(error_rate)),
            ("media_kernel", number(offloaded)),
            (
                "media_userspace",
                number((2 * sessions).saturating_sub(offloaded)),
            ),
        ]);
        let total = dictionary([
            (
                "uptime",
                Value::from_text(self.started.elapsed().as_secs().to_string()),
            ),
            ("managedsessions", number(calls.all)),
            ("rejectedsessions", number(0)),
            ("timeoutsessions", number(calls.silent)),
            ("silenttimeoutsessions", number(0)),
            ("finaltimeoutsessions", number(0)),
            ("offertimeoutsessions", number(calls.unanswered)),
            (
                "regularterminatedsessions",
                number(calls.all - calls.silent - calls.unanswered),
            ),
            ("forcedterminatedsessions", number(0)),
            ("relayedpackets", number(all)),
            ("relayedpackets_kernel", number(kernel)),
            ("relayedpackets_user", number(all.saturating_sub(kernel))),
            ("zerowaystreams", number(calls.zero_way)),
            ("onewaystreams", number(calls.one_way)),
            ("relayedbytes", number(calls.totals.bytes)),
            ("relayedpacketerrors", number(calls.totals.errors)),
            ("totalcallsduration", decimal(calls.lasted.as_secs_f64())),
            ("avgcallduration", decimal(average)),
        ]);
        let used = sum(&page, "tandem_media_ports_used", &[]);
        let ports = sum(&page, "tandem_media_ports", &[]);
        let ports = dictionary([
            ("totals", number(ports)),
            ("used", number(used)),
            ("free", number(ports.saturating_sub(used))),
        ]);
        let interface = dictionary([
            ("name", Value::from_text("default")),
            ("ports", Value::Dictionary(ports)),
        ]);
        let statistics = dictionary([
            ("currentstatistics", Value::Dictionary(current)),
            ("totalstatistics", Value::Dictionary(total)),
            (
                "controlstatistics",
                Value::Dictionary(self.counts.control()),
            ),
            (
                "interfaces",
                Value::List(vec![Value::Dictionary(interface)]),
            ),
            ("transcoders", Value::List(Vec::new())),
        ]);
        Ok(dictionary([("statistics", Value::Dictionary(statistics))]))
    }
}

/// rtpengine's word for a command in the names of its counters.
const fn short(command: Command) -> Option<&'static str> {
    Some(match command {
        Command::Ping => "ping",
        Command::Offer => "offer",
        Command::Answer => "answer",
        Command::Delete => "delete",
        Command::Query => "query",
        Command::List => "list",
        Command::Statistics => "stats",
        Command::StartRecording => "startrec",
        Command::StopRecording => "stoprec",
        Command::BlockDtmf => "blkdtmf",
        Command::UnblockDtmf => "unblkdtmf",
        Command::BlockMedia => "blkmedia",
        Command::UnblockMedia => "unblkmedia",
        Command::SilenceMedia => "slnmedia",
        Command::UnsilenceMedia => "unslnmedia",
        Command::PlayDtmf => "playdtmf",
        Command::PlayMedia => "playmedia",
        Command::StopMedia => "stopmedia",
        Command::StartForwarding => "startfwd",
        Command::StopForwarding => "stopfwd",
        Command::SubscribeRequest => "subreq",
        Command::SubscribeAnswer => "subans",
        Command::Unsubscribe => "unsub",
        Command::Publish => "pub",
        _ => return None,
    })
}

/// The sum of a metric's lines that have all of `labels` in them.
fn sum(page: &str, name: &str, labels: &[&str]) -> u64 {
    let lines = page.lines().filter_map(|line| line.strip_prefix(name));
    let lines = lines.filter(|rest| rest.starts_with([' ', '{']));
    let lines = lines.filter(|rest| labels.iter().all(|label| rest.contains(label)));
    let values = lines.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counters"
    )]
    let sum = values.sum::<f64>() as u64;
    sum
}

/// Bencode has no fractions: they are texts.
fn decimal(number: f64) -> Value {
    Value::from_text(format!("{number:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_label() {
        let page = "# HELP a b\na_total{path=\"xdp\",result=\"ok\"} 3\n\
                    a_total{path=\"sockets\",result=\"ok\"} 4\na_total{path=\"xdp\",result=\"no\"} 9\na 7\n";
        assert_eq!(sum(page, "a_total", &["result=\"ok\""]), 7);
        assert_eq!(sum(page, "a_total", &["path=\"xdp\"", "result=\"ok\""]), 3);
        assert_eq!(sum(page, "a", &[]), 7);
    }
}
