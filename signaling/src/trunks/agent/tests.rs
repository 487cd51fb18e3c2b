//! The agent in simulated time, against carriers that the tests script.

use std::collections::HashMap;

use control::config::Config;
use sip::{
    digest::{Algorithm, Challenge, Credentials, Ha1, Hash},
    header::HeaderName,
    message::Method,
};

use super::*;
use crate::{directory::Directory, net::Local, trunks::Registered};

const NODE: &str = "192.0.2.1:5060";
const CARRIER: &str = "hosts = [\"192.0.2.20\", \"192.0.2.21\"]";
const REGISTER: &str = "hosts = [\"sip:gw.carrier.test:5070\"]\nregister = { user = \"4930\", \
                        password = \"secret\", contact_user = \"in\" }";

/// The agent and the network around it.
struct Bed {
    agent: Agent,
    now: Instant,
    directory: Option<Directory>,
    trunks: Vec<Arc<Trunk>>,
    /// What was sent and not looked at yet: where to, and the request.
    sent: VecDeque<(Flow, Message)>,
    names: HashMap<&'static str, Vec<&'static str>>,
    /// What came of the last order to probe.
    probed: Vec<ProbeInfo>,
}

impl Bed {
    fn new(trunk: &str) -> Self {
        let mut bed = Self {
            agent: agent(),
            now: Instant::now(),
            directory: None,
            trunks: Vec::new(),
            sent: VecDeque::new(),
            names: HashMap::from([("gw.carrier.test", vec!["192.0.2.20", "192.0.2.21"])]),
            probed: Vec::new(),
        };
        bed.configure(trunk);
        bed
    }

    /// Swaps the directory: there is one trunk, or none where the text is empty.
    fn configure(&mut self, trunk: &str) {
        let text = match trunk {
            "" => String::new(),
            trunk => format!("[[trunks]]\nname = \"carrier\"\n{trunk}\n"),
        };
        let config = Config::parse(&text, Vec::new()).unwrap().config;
        let directory = Directory::new(&config, self.directory.as_ref());
        self.trunks = directory.trunks().to_vec();
        self.directory = Some(directory);
        self.agent.set_trunks(self.now, &self.trunks);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Transmit { flow, payload, .. } => {
                    let message = Message::parse(payload).unwrap();
                    message.validate().unwrap();
                    self.sent.push_back((flow, message));
                }
                Output::Resolve { token, authority } => {
                    let named = self.names.get(authority.host.as_str()).cloned();
                    let ips = named.unwrap_or_else(|| vec![authority.host.as_str()]);
                    let port = authority.port.unwrap_or(5060);
                    let hop = |ip: &str| Hop {
                        transport: authority.transport.unwrap_or(Transport::Udp),
                        remote: SocketAddr::new(ip.parse().unwrap(), port),
                        source: None,
                    };
                    let hops: Vec<_> = ips.into_iter().map(hop).collect();
                    self.agent.handle_resolved(self.now, token, &hops);
                }
                Output::Probed { hosts, .. } => self.probed = hosts,
            }
        }
    }

    /// Lets this much time pass.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.agent.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.agent.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// The next request that is sent, within a time that says how long it is waited for.
    fn request(&mut self, within: Duration) -> (Flow, Message) {
        let end = self.now + within;
        while self.sent.is_empty() && self.now < end {
            let next = self.agent.poll_timeout().unwrap_or(end).min(end);
            self.pass(next.saturating_duration_since(self.now));
        }
        self.sent.pop_front().expect("a request")
    }

    fn answer(
        &mut self,
        (flow, request): &(Flow, Message),
        status: u16,
        headers: &[(HeaderName, &str)],
    ) {
        let mut response = request.respond(status).to_tag("t");
        for (name, value) in headers {
            response = response.header(*name, value);
        }
        let response = response.build().unwrap();
        self.agent.handle_message(self.now, *flow, response);
        self.settle();
    }

    fn registration(&self) -> Registered {
        self.trunks[0].standing.registration().unwrap_or_default()
    }

    fn is_registered(&self) -> bool {
        self.registration()
            .until
            .is_some_and(|until| until > self.now)
    }

    fn down(&self) -> Vec<bool> {
        self.trunks[0]
            .host_refs()
            .map(|host| host.is_down(self.now))
            .collect()
    }
}

fn agent() -> Agent {
    let local = Local {
        transport: Transport::Udp,
        address: NODE.parse().unwrap(),
        sent_by: NODE.to_owned(),
    };
    let policy = Arc::new(Policy::new(&Config::default(), vec![local], 7));
    let metrics = Arc::new(Metrics::new().unwrap());
    Agent::new(policy, metrics, "mark-".into(), 9)
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn challenge(realm: &str, nonce: &str, hash: Hash, stale: bool) -> String {
    let mut challenge = Challenge::new(realm, nonce, Algorithm::from(hash));
    challenge.stale = stale;
    challenge.to_value().unwrap()
}

/// Whether a request's credentials are right, and for which nonce and count.
fn credentials(request: &Message) -> Option<(bool, String, String)> {
    let value = request
        .header(HeaderName::Authorization)
        .or_else(|| request.header(HeaderName::ProxyAuthorization))?;
    let given = Credentials::parse(value.value()).unwrap();
    let hash = given.algorithm.hash;
    let ha1 = Ha1::new(hash, "4930", &given.realm, "secret");
    let uri = request.request_uri().unwrap();
    assert_eq!(given.uri, uri.as_str());
    let right = given.verify(&ha1, "REGISTER", b"");
    let nc = given.nc.map(|nc| nc.to_string()).unwrap_or_default();
    Some((right, given.nonce.to_string(), nc))
}

#[test]
fn a_registration_answers_the_strongest_challenge_and_keeps_itself_up() {
    let mut bed = Bed::new(REGISTER);
    let first = bed.request(SPREAD);
    assert_eq!(first.0.remote.to_string(), "192.0.2.20:5070");
    assert_eq!(
        first.1.request_uri().unwrap().as_str(),
        "sip:gw.carrier.test"
    );
    assert_eq!(first.1.to().unwrap().uri_str(), "sip:4930@gw.carrier.test");
    let contact = first.1.contacts().next().unwrap().unwrap();
    assert_eq!(contact.uri_str(), "sip:in@192.0.2.1:5060");
    assert!(first.1.call_id().unwrap().starts_with("mark-"));
    assert_eq!(credentials(&first.1), None);

    let md5 = challenge("carrier.test", "n1", Hash::Md5, false);
    let sha = challenge("carrier.test", "n2", Hash::Sha256, false);
    let name = HeaderName::WwwAuthenticate;
    bed.answer(&first, 401, &[(name, &md5), (name, &sha)]);
    let second = bed.request(Duration::ZERO);
    let (right, nonce, _) = credentials(&second.1).unwrap();
    assert!(right);
    assert_eq!(nonce, "n2");
    assert_eq!(
        second.1.cseq().unwrap().number,
        first.1.cseq().unwrap().number + 1
    );
    assert_ne!(
        second.1.via().unwrap().branch(),
        first.1.via().unwrap().branch()
    );
    assert!(!bed.is_registered());

    let granted = "<sip:in@192.0.2.1:5060>;expires=600";
    bed.answer(
        &second,
        200,
        &[
            (HeaderName::Contact, granted),
            (HeaderName::Expires, "3600"),
        ],
    );
    assert!(bed.is_registered());
    assert_eq!(bed.registration().until, Some(bed.now + 10 * MINUTE));

    // Before it expires, unasked, with the nonce used once more.
    let began = bed.now;
    let refresh = bed.request(10 * MINUTE);
    let after = bed.now - began;
    assert!(after >= MINUTE * 15 / 2 && after < 9 * MINUTE, "{after:?}");
    assert_eq!(
        credentials(&refresh.1),
        Some((true, "n2".into(), "2".into()))
    );
    assert_eq!(refresh.1.call_id(), first.1.call_id());
    // The nonce is too old now: a new one, and no failure.
    let fresh = challenge("carrier.test", "n3", Hash::Sha256, true);
    bed.answer(&refresh, 401, &[(name, &fresh)]);
    let again = bed.request(Duration::ZERO);
    assert_eq!(credentials(&again.1), Some((true, "n3".into(), "1".into())));
    bed.answer(&again, 200, &[(HeaderName::Contact, granted)]);
    assert_eq!(bed.registration().error, None);
    assert!(bed.is_registered());
}

#[test]
fn a_challenge_of_another_realm_is_never_answered() {
    let mut bed = Bed::new(REGISTER);
    let first = bed.request(SPREAD);
    let foreign = challenge("bank.test", "n1", Hash::Md5, false);
    bed.answer(&first, 407, &[(HeaderName::ProxyAuthenticate, &foreign)]);
    assert!(bed.sent.is_empty());
    let error = bed.registration().error.unwrap();
    assert!(
        error.contains("bank.test") && error.contains("realm"),
        "{error}"
    );
    // The next attempt comes, later, and has nothing of it either.
    let next = bed.request(2 * MINUTE);
    assert_eq!(credentials(&next.1), None);

    // Nor is another one of the same carrier once one has let us in.
    let ours = challenge("carrier.test", "n2", Hash::Md5, false);
    bed.answer(&next, 401, &[(HeaderName::WwwAuthenticate, &ours)]);
    let answered = bed.request(Duration::ZERO);
    bed.answer(&answered, 200, &[]);
    assert!(bed.is_registered());
    let refresh = bed.request(HOUR);
    let other = challenge("gw.carrier.test", "n3", Hash::Md5, false);
    bed.answer(&refresh, 401, &[(HeaderName::WwwAuthenticate, &other)]);
    assert!(bed.sent.is_empty());
    assert!(
        bed.registration()
            .error
            .unwrap()
            .contains("gw.carrier.test")
    );
    assert!(bed.is_registered(), "the old one still holds");
}

#[test]
fn a_wrong_password_is_tried_once_and_then_rarely() {
    let mut bed = Bed::new(REGISTER);
    let mut pauses = Vec::new();
    for round in 0..8 {
        let began = bed.now;
        let first = bed.request(HOUR);
        if round > 0 {
            pauses.push((bed.now - began).as_secs());
        }
        let nonce = format!("n{round}");
        let value = challenge("carrier.test", &nonce, Hash::Md5, false);
        let header = (HeaderName::WwwAuthenticate, value.as_str());
        bed.answer(&first, 401, &[header]);
        let second = bed.request(Duration::ZERO);
        bed.answer(&second, 401, &[header]);
        assert!(bed.sent.is_empty());
        assert!(bed.registration().error.unwrap().contains("password"));
    }
    assert!((45..=75).contains(&pauses[0]), "{pauses:?}");
    assert!((90..=150).contains(&pauses[1]), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 2_250), "{pauses:?}");
    assert!(pauses[6] > 1_300, "{pauses:?}");
}

#[test]
fn endless_stale_nonces_are_not_answered_endlessly() {
    let mut bed = Bed::new(REGISTER);
    let mut request = bed.request(SPREAD);
    for nonce in ["a", "b"] {
        let value = challenge("carrier.test", nonce, Hash::Md5, true);
        bed.answer(&request, 401, &[(HeaderName::WwwAuthenticate, &value)]);
        request = bed.request(Duration::ZERO);
    }
    let value = challenge("carrier.test", "c", Hash::Md5, true);
    bed.answer(&request, 401, &[(HeaderName::WwwAuthenticate, &value)]);
    assert!(bed.sent.is_empty());
}

#[test]
fn a_lifetime_that_is_too_brief_is_raised_once() {
    let text = REGISTER.replace("contact_user = \"in\"", "expires = 60");
    let mut bed = Bed::new(&text);
    let first = bed.request(SPREAD);
    assert_eq!(first.1.expires(), Some(60));
    bed.answer(&first, 423, &[(HeaderName::MinExpires, "1800")]);
    let second = bed.request(Duration::ZERO);
    assert_eq!(second.1.expires(), Some(1800));
    bed.answer(&second, 423, &[(HeaderName::MinExpires, "3600")]);
    assert!(bed.sent.is_empty());
    assert!(bed.registration().error.unwrap().contains("423"));
}

#[test]
fn silent_and_failing_hosts_are_passed_over_and_tried_again_with_patience() {
    let mut bed = Bed::new(REGISTER);
    let first = bed.request(SPREAD);
    // The first address says nothing; what it gets are copies of the same request, for a while.
    let second = loop {
        let sent = bed.request(Duration::from_secs(5));
        if sent.0 != first.0 {
            break sent;
        }
        assert_eq!(sent.1.as_bytes(), first.1.as_bytes());
    };
    assert_eq!(second.0.remote.to_string(), "192.0.2.21:5070");
    bed.answer(&second, 503, &[(HeaderName::RetryAfter, "120 (busy)")]);
    assert!(bed.sent.is_empty());
    let began = bed.now;
    let third = bed.request(HOUR);
    let after = (bed.now - began).as_secs();
    assert!((90..=150).contains(&after), "{after}");
    bed.answer(&third, 200, &[]);
    assert!(bed.is_registered());
}

#[test]
fn it_is_taken_back_at_the_end_and_when_the_trunk_changes() {
    let mut bed = Bed::new(REGISTER);
    let first = bed.request(SPREAD);
    bed.answer(&first, 200, &[]);
    let standing = bed.trunks[0].clone();

    bed.configure("");
    assert_eq!(standing.standing.registration(), None);
    let leaving = bed.request(Duration::ZERO);
    assert_eq!(leaving.1.expires(), Some(0));
    assert_eq!(leaving.1.call_id(), first.1.call_id());
    // Challenged here too.
    let value = challenge("carrier.test", "n", Hash::Md5, false);
    bed.answer(&leaving, 401, &[(HeaderName::WwwAuthenticate, &value)]);
    let again = bed.request(Duration::ZERO);
    assert_eq!(again.1.expires(), Some(0));
    bed.answer(&again, 200, &[]);
    assert!(bed.agent.is_idle());

    bed.configure(REGISTER);
    let first = bed.request(SPREAD);
    bed.answer(&first, 200, &[]);
    bed.agent.stop(bed.now);
    bed.settle();
    let leaving = bed.request(Duration::ZERO);
    assert_eq!(leaving.1.expires(), Some(0));
    assert!(!bed.agent.is_idle());
    bed.pass(MINUTE);
    assert!(
        bed.agent.is_idle(),
        "a carrier that is silent holds nobody up"
    );
    assert!(bed.agent.layer.is_empty() && bed.agent.clients.is_empty());
    assert!(bed.agent.resolving.is_empty());
}

#[test]
fn a_directory_with_the_same_trunk_disturbs_nothing() {
    let mut bed = Bed::new(REGISTER);
    let first = bed.request(SPREAD);
    bed.answer(&first, 200, &[]);
    bed.configure(REGISTER);
    bed.settle();
    assert!(bed.sent.is_empty());
    assert!(bed.is_registered());
}

#[test]
fn hosts_are_asked_and_their_state_follows() {
    let probe = format!("{CARRIER}\nprobe = {{ interval = 10, failures = 2, successes = 2 }}");
    let mut bed = Bed::new(&probe);
    let alive = |request: &(Flow, Message)| request.0.remote.ip().to_string() == "192.0.2.20";
    // One host answers, 404 even: it is there. The other one does not.
    let mut asked = 0;
    let end = bed.now + 2 * MINUTE;
    while bed.now < end {
        bed.pass(Duration::from_millis(100));
        while let Some(request) = bed.sent.pop_front() {
            assert_eq!(request.1.method(), Some(&Method::Options));
            if alive(&request) {
                asked += 1;
                bed.answer(&request, 404, &[]);
            }
        }
    }
    assert!((10..=14).contains(&asked), "{asked}");
    assert_eq!(bed.down(), [false, true]);

    // It comes back, and has to answer twice.
    let mut answers = 0;
    while bed.down()[1] {
        bed.pass(Duration::from_millis(100));
        while let Some(request) = bed.sent.pop_front() {
            answers += u32::from(!alive(&request));
            bed.answer(&request, 200, &[]);
        }
    }
    assert_eq!(answers, 2);

    // An answer that says that it is out of service.
    while !bed.down()[1] {
        bed.pass(Duration::from_millis(100));
        while let Some(request) = bed.sent.pop_front() {
            let status = if alive(&request) { 200 } else { 503 };
            bed.answer(&request, status, &[]);
        }
    }
    let health = bed.trunks[0].standing.health(1).unwrap();
    assert!(health.last_error().unwrap().contains("503"));
    assert_eq!(bed.down(), [false, true]);

    // Nobody asks any more: it is given another chance.
    bed.configure(CARRIER);
    assert_eq!(bed.down(), [false, false]);
    bed.pass(MINUTE);
    assert!(bed.sent.is_empty());
    assert!(bed.agent.layer.is_empty());
}

#[test]
fn a_host_that_icmp_says_is_gone_is_not_waited_for() {
    let probe = format!("{CARRIER}\nprobe = {{ interval = 60, failures = 1 }}");
    let mut bed = Bed::new(&probe);
    let request = bed.request(SPREAD);
    bed.agent
        .handle_unreachable(bed.now, request.0.local, request.0.remote);
    assert_eq!(bed.down().iter().filter(|down| **down).count(), 1);
}

#[test]
fn answers_of_others_are_dropped() {
    let mut bed = Bed::new(REGISTER);
    let (flow, request) = bed.request(SPREAD);
    let stranger = request.respond(200).to_tag("x").build().unwrap();
    let stranger = stranger
        .edit()
        .replace(HeaderName::Via, "SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKx");
    bed.agent
        .handle_message(bed.now, flow, stranger.finish().unwrap());
    bed.agent.handle_message(bed.now, flow, request);
    assert!(!bed.is_registered());
    let page = bed.agent.metrics.text();
    assert!(
        page.contains("tandem_sip_drops_total{reason=\"not-ours\"} 1"),
        "{page}"
    );
}

#[test]
fn an_operator_has_every_host_asked_at_once() {
    let mut bed = Bed::new(CARRIER);
    let trunk = bed.trunks[0].clone();
    let silent = trunk.standing.health(0).unwrap().clone();
    assert!(silent.on_silence(bed.now, false).is_some());
    bed.agent.probe_once(bed.now, &trunk);
    bed.settle();
    let (first, second) = (bed.request(Duration::ZERO), bed.request(Duration::ZERO));
    assert_eq!(first.1.method(), Some(&Method::Options));
    bed.pass(Duration::from_millis(30));
    bed.answer(&second, 503, &[]);
    assert!(bed.probed.is_empty());
    bed.answer(&first, 404, &[]);
    let told: Vec<_> = bed
        .probed
        .iter()
        .map(|one| (one.status, one.took_ms))
        .collect();
    assert_eq!(told, [(Some(404), 30), (Some(503), 30)]);
    assert_eq!(bed.probed[0].error, None);
    assert!(bed.probed[1].error.as_ref().unwrap().contains("503"));
    // Any answer is a sign of life; none is held against a host that nothing will ask again.
    assert_eq!(bed.down(), [false, false]);
    assert!(bed.agent.is_idle());
}

#[test]
fn an_operator_waits_four_seconds_and_a_new_configuration_changes_nothing() {
    let mut bed = Bed::new("hosts = [\"gw.carrier.test\"]");
    let trunk = bed.trunks[0].clone();
    bed.agent.probe_once(bed.now, &trunk);
    bed.settle();
    let first = bed.request(Duration::ZERO);
    bed.configure("");
    // The host has another address, which is asked in the same time.
    bed.pass(Duration::from_secs(2));
    let other = bed
        .sent
        .iter()
        .find(|(flow, _)| flow.remote != first.0.remote);
    assert!(other.is_some() && bed.probed.is_empty());
    bed.pass(Duration::from_secs(2));
    let told = &bed.probed[0];
    assert_eq!((told.status, told.took_ms), (None, 4_000));
    assert_eq!(told.error.as_deref(), Some("no answer in time"));
    assert!(bed.agent.is_idle());

    bed.configure(CARRIER);
    let trunk = bed.trunks[0].clone();
    bed.agent.probe_once(bed.now, &trunk);
    bed.agent.stop(bed.now);
    bed.settle();
    assert!(
        bed.probed
            .iter()
            .all(|one| one.error.as_deref() == Some("the node is being stopped"))
    );
    assert_eq!(bed.probed.len(), 2);
}
