use store::Timestamp;

use super::*;

const CONFIG: &str = r#"
[sip]
domains = ["example.test", "other.test"]
emergency = ["112", "110"]

[numbering]
country = "49"

[[trunks]]
name = "a"
hosts = ["192.0.2.1"]
allow = ["192.0.2.1"]
numbers_in = [{ of = "both", normalise = { country = "49" } }]
numbers_out = [{ of = "both", match = "^\\+49", strip = 3, add = "0" }]
calls = 10

[[trunks]]
name = "b"
hosts = ["192.0.2.2"]
caller_id = ["+4930100", "+4930101"]
trusted = true
redirect = "follow"
failover = [503]

[[trunks]]
name = "c"
hosts = ["192.0.2.3"]

[[trunks]]
name = "led"
allow = ["192.0.2.4"]
account = "AC00000000000000000000000000000000"
voice_url = "https://app.test/trunk"
voice_method = "GET"

[[trunks]]
name = "astray"
allow = ["192.0.2.5"]
application = "ivr"

[[routes]]
prefix = "+49"
trunks = [{ trunk = "a", cost = 0.02 }, { trunk = "b", cost = 0.01 }]
ring_timeout = 45

[[routes]]
prefix = "+49151"
trunks = [{ trunk = "a", share = 75 }, { trunk = "b", share = 25 }]
media = "bypass"
failover = [500]

[[routes]]
prefix = "+49151"
trunks = ["c"]
ring_timeout = 12
times = ["mon-fri 08:00-18:00"]
zone = "Europe/Berlin"

[[routes]]
prefix = "+4917"
trunks = ["c"]
from = { users = ["@other.test"] }

[[routes]]
prefix = "+4917"
trunks = ["b"]
from = { trunks = ["a"], prefixes = ["+4989"] }

[[routes]]
prefix = "112"
trunks = ["a"]

[[numbers]]
number = "+4930100"
user = "alice"
forward = { busy = "+4930102", no_answer = "+49151999", unreachable = "sip:vm@192.0.2.7" }

[[numbers]]
number = "+4930101"
forward = "+4930100"

[[numbers]]
number = "+4930102"
group = "sales"

[[numbers]]
number = "+4930103"
trunk = "a"

[[numbers]]
number = "+4930104"
account = "AC00000000000000000000000000000000"
voice_url = "http://127.0.0.1:9000/voice"

[[accounts]]
sid = "AC00000000000000000000000000000000"
token = "0123456789abcdef"

[[numbers]]
number = "+4930107"
account = "AC11111111111111111111111111111111"
voice_url = "http://127.0.0.1:9000/voice"

[[numbers]]
number = "+4930105"
forward = "+4930106"

[[numbers]]
number = "+4930106"
forward = "+4930105"

[[numbers]]
number = "100"
user = "bob@other.test"

[[groups]]
name = "sales"
members = ["alice", "bob@other.test"]

[[blocks]]
number = "+49301999"
action = "silence"

[[blocks]]
prefix = "+4990"
of = "called"

[[limits]]
user = "*"
calls = 2

[[limits]]
prefix = "+49151"
calls = 1
longest = 600
"#;

/// Monday, 2026-01-05 07:30 UTC: 08:30 in Berlin.
const OFFICE: i64 = 1_767_598_200_000;
/// Sunday.
const SUNDAY: i64 = OFFICE - 24 * 3_600_000;

fn directory() -> Directory {
    Directory::new(&Config::parse(CONFIG, []).unwrap().config, None)
}

fn alice() -> Caller {
    Caller::User(Aor::new("alice", "Example.TEST"))
}

fn trunk(directory: &Directory, name: &str) -> Caller {
    let named = |trunk: &&Arc<Trunk>| trunk.name == name;
    Caller::Trunk(directory.trunks().iter().find(named).unwrap().clone())
}

fn query<'a>(caller: &'a Caller, from: &str, called: &'a str) -> Query<'a> {
    Query {
        caller,
        from: Presented {
            user: from.to_owned(),
            ..Presented::default()
        },
        called,
        named: Named::Nobody,
        by_document: None,
        is_call: true,
        at: Timestamp::from_millis(SUNDAY),
        draw: 7,
    }
}

fn plan(directory: &Directory, query: &Query<'_>) -> Plan {
    match directory.decide(query).decision {
        Decision::Plan(plan) => plan,
        other => panic!("{} has no plan: {other:?}", query.called),
    }
}

fn carriers(stage: &Stage) -> Vec<(&str, &str)> {
    let Destination::Carriers(carriers) = &stage.destination else {
        panic!("no carriers: {stage:?}");
    };
    let named = carriers.iter();
    named
        .map(|carrier| (carrier.trunk.name.as_str(), carrier.number.as_str()))
        .collect()
}

fn status(decision: &Decision) -> u16 {
    match decision {
        Decision::Refuse(refusal) => refusal.status,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_cheapest_trunk_comes_first_and_gets_the_number_as_it_wants_it() {
    let (directory, alice) = (directory(), alice());
    let plan = plan(&directory, &query(&alice, "alice", "0421 555-1234"));
    assert_eq!(plan.called, "+494215551234");
    assert_eq!(plan.route.as_deref(), Some("+49"));
    assert_eq!(
        carriers(&plan.stages[0]),
        [("b", "+494215551234"), ("a", "04215551234")]
    );
    assert_eq!(plan.stages[0].ring_timeout, Duration::from_secs(45));
    assert!(plan.relays());
    let Destination::Carriers(carriers) = &plan.stages[0].destination else {
        unreachable!();
    };
    assert!(carriers[0].follows && !carriers[1].follows);
    assert_eq!(
        (carriers[0].failover.as_ref(), carriers[1].failover.len()),
        (&[503][..], 5)
    );
}

#[test]
fn a_drained_trunk_gets_no_new_calls_but_emergencies() {
    let (directory, alice) = (directory(), alice());
    let drain = |name: &str, on| {
        let named = |trunk: &&Arc<Trunk>| trunk.name == name;
        let trunk = directory.trunks().iter().find(named).unwrap();
        assert!(trunk.standing.set_drained(on));
    };
    let anywhere = query(&alice, "alice", "+494215551234");
    drain("b", true);
    let one = plan(&directory, &anywhere);
    assert_eq!(carriers(&one.stages[0]), [("a", "04215551234")]);
    drain("a", true);
    assert_eq!(status(&directory.decide(&anywhere).decision), 503);
    assert_eq!(
        status(
            &directory
                .decide(&query(&alice, "alice", "+4930103"))
                .decision
        ),
        503
    );
    let help = plan(&directory, &query(&alice, "alice", "112"));
    assert_eq!(carriers(&help.stages[0]), [("a", "112")]);
    // Where it is drained, it may still call.
    let a = trunk(&directory, "a");
    plan(&directory, &query(&a, "1", "+4930100"));
    drain("b", false);
    let one = plan(&directory, &anywhere);
    assert_eq!(carriers(&one.stages[0]), [("b", "+494215551234")]);
}

#[test]
fn shares_are_kept_over_many_calls_and_one_draw_is_one_order() {
    let (directory, alice) = (directory(), alice());
    let mut query = query(&alice, "alice", "+4915112");
    let mut first = 0;
    for draw in 0..10_000 {
        query.draw = draw;
        let one = plan(&directory, &query);
        let again = plan(&directory, &query);
        assert_eq!(carriers(&one.stages[0]), carriers(&again.stages[0]));
        assert!(!one.relays(), "the route bypasses mediad");
        first += usize::from(carriers(&one.stages[0])[0].0 == "a");
    }
    assert!(
        (7_300..7_700).contains(&first),
        "{first} of 10000 by trunk a"
    );
}

#[test]
fn a_route_with_conditions_comes_first_while_they_hold() {
    let (directory, alice) = (directory(), alice());
    let mut query = query(&alice, "alice", "+4915112");
    query.at = Timestamp::from_millis(OFFICE);
    let names = |plan: &Plan| {
        carriers(&plan.stages[0])
            .iter()
            .map(|(name, _)| *name)
            .collect::<String>()
    };
    let office = plan(&directory, &query);
    assert!(names(&office).starts_with('c'));
    // Each of them rings as long as its own route says.
    let Destination::Carriers(tried) = &office.stages[0].destination else {
        unreachable!();
    };
    let seconds: Vec<_> = tried.iter().map(|one| one.ring_timeout.as_secs()).collect();
    assert_eq!(seconds, [12, 60, 60]);
    query.at = Timestamp::from_millis(OFFICE - 3_600_000);
    assert!(
        !names(&plan(&directory, &query)).contains('c'),
        "it is half past seven in Berlin"
    );
}

#[test]
fn a_route_of_others_leaves_the_call_to_the_shorter_prefix() {
    let directory = directory();
    let (alice, bob) = (alice(), Caller::User(Aor::new("bob", "other.test")));
    let names = |caller: &Caller, from: &str| -> Vec<String> {
        let plan = plan(&directory, &query(caller, from, "+491712345"));
        let carriers = carriers(&plan.stages[0]);
        carriers
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect()
    };
    assert_eq!(names(&alice, "alice"), ["b", "a"]);
    assert_eq!(names(&bob, "bob"), ["c"]);
    let a = trunk(&directory, "a");
    assert_eq!(names(&a, "0891234567"), ["b"]);
    assert_eq!(names(&a, "0301234567"), ["b", "a"]);
}

#[test]
fn a_number_leads_on_by_what_became_of_the_call() {
    let directory = directory();
    let a = trunk(&directory, "a");
    let short = directory
        .decide(&query(&a, "0301234567", "030100"))
        .decision;
    assert_eq!(status(&short), 404, "too short to be read");
    let plan = plan(&directory, &query(&a, "0301234567", "00 49 30100"));
    assert_eq!(plan.called, "+4930100");
    let user = |stage: &Stage| match &stage.destination {
        Destination::User(aor) => aor.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(user(&plan.stages[0]), "alice@example.test");
    assert_eq!(plan.stages[0].ring_timeout, FORWARDED_RING_TIMEOUT);
    let busy = plan.after(0, Outcome::Busy).unwrap();
    let Destination::Group(ring) = &plan.stages[busy].destination else {
        panic!("not the group");
    };
    assert_eq!(members(ring), [["alice@example.test", "bob@other.test"]]);
    let late = plan.after(0, Outcome::NoAnswer).unwrap();
    assert_eq!(carriers(&plan.stages[late]).len(), 2);
    assert_eq!(plan.stages[late].limits.len(), 1, "of its prefix");
    let away = plan.after(0, Outcome::Unreachable).unwrap();
    assert!(
        matches!(&plan.stages[away].destination, Destination::Uri(uri) if uri == "sip:vm@192.0.2.7")
    );
    assert_eq!(plan.after(0, Outcome::Failed), None);
    assert_eq!(plan.longest, Some(Duration::from_secs(600)));
    // In the log.
    let said = [0, busy, late, away].map(|at| plan.stages[at].destination.to_string());
    assert_eq!(
        said,
        [
            "user alice@example.test",
            "group sales",
            "trunks b, a",
            "sip:vm@192.0.2.7"
        ]
    );
}

/// Who is rung in each step.
fn members(ring: &Ring) -> Vec<Vec<String>> {
    let name = |member: &Member| match &member.destination {
        Destination::User(aor) => aor.to_string(),
        Destination::Carriers(carriers) => carriers[0].number.clone(),
        Destination::Uri(uri) => uri.clone(),
        other => panic!("{other:?}"),
    };
    let steps = ring.steps.iter();
    steps.map(|step| step.iter().map(name).collect()).collect()
}

#[test]
fn forwards_that_go_round_end() {
    let (directory, alice) = (directory(), alice());
    assert_eq!(
        status(
            &directory
                .decide(&query(&alice, "alice", "+4930105"))
                .decision
        ),
        482
    );
    let once = plan(&directory, &query(&alice, "alice", "+4930101"));
    assert!(matches!(&once.stages[0].destination, Destination::User(_)));
}

#[test]
fn calls_from_a_trunk_lead_to_its_application_where_no_number_says_otherwise() {
    let directory = directory();
    let led = trunk(&directory, "led");
    // Of any number, of one that has a route too, and of none.
    for called in ["+4915112345", "1234", "nobody"] {
        let mut query = query(&led, "+4989555", called);
        if called == "nobody" {
            query.named = Named::Unknown(Aor::new(called, "example.test"));
        }
        let plan = plan(&directory, &query);
        assert!(
            matches!(
                &plan.stages[..],
                [Stage { destination: Destination::Application(to), .. }]
                    if to.voice.url == "https://app.test/trunk" && !to.voice.post
            ),
            "{called}: {plan:?}"
        );
        let mut trail = Trail::kept();
        directory.decide_aloud(&query, &mut trail);
        let text = trail.into_reasons().join("\n");
        assert!(
            text.contains("calls from led lead to the application"),
            "{text}"
        );
    }
    let number = plan(&directory, &query(&led, "+4989555", "+4930100"));
    assert!(matches!(
        &number.stages[0].destination,
        Destination::User(_)
    ));
    let mut user = query(&led, "+4989555", "alice");
    user.named = Named::User(Aor::new("alice", "example.test"));
    let user = plan(&directory, &user);
    assert!(matches!(&user.stages[0].destination, Destination::User(_)));
    let emergency = plan(&directory, &query(&led, "+4989555", "112"));
    assert!(matches!(
        &emergency.stages[0].destination,
        Destination::Carriers(_)
    ));
    let astray = trunk(&directory, "astray");
    let decided = directory.decide(&query(&astray, "+4989555", "+4915112345"));
    assert_eq!(status(&decided.decision), 503);
}

#[test]
fn short_numbers_users_and_trunks_are_reached() {
    let (directory, alice) = (directory(), alice());
    let short = plan(&directory, &query(&alice, "alice", "100"));
    assert!(matches!(&short.stages[0].destination, Destination::User(aor) if aor.user() == "bob"));
    let mut by_name = query(&alice, "alice", "carol");
    by_name.named = Named::User(Aor::new("carol", "example.test"));
    assert!(matches!(
        &plan(&directory, &by_name).stages[0].destination,
        Destination::User(_)
    ));
    let pbx = plan(&directory, &query(&alice, "alice", "+4930103"));
    assert_eq!(carriers(&pbx.stages[0]), [("a", "030103")]);
    assert_eq!(
        status(&directory.decide(&query(&alice, "alice", "carol")).decision),
        404
    );
    let application = plan(&directory, &query(&alice, "alice", "+4930104"));
    assert!(matches!(
        &application.stages[0].destination,
        Destination::Application(to)
            if to.voice.url == "http://127.0.0.1:9000/voice"
                && directory.account(&to.account.sid) == Some(&to.account)
    ));
    let nobodys = directory
        .decide(&query(&alice, "alice", "+4930107"))
        .decision;
    assert!(matches!(
        nobodys,
        Decision::Refuse(no) if no.status == 503 && no.reason.contains("there is no account")
    ));
}

#[test]
fn blocks_stand_before_everything_but_emergencies() {
    let directory = directory();
    let a = trunk(&directory, "a");
    assert!(matches!(
        directory
            .decide(&query(&a, "+49301999", "+4930100"))
            .decision,
        Decision::Silence
    ));
    assert_eq!(
        status(&directory.decide(&query(&a, "1", "+49900")).decision),
        603
    );
    let help = plan(&directory, &query(&a, "+49301999", "112"));
    assert!(help.emergency && help.limits.is_empty() && help.longest.is_none());
    assert_eq!(carriers(&help.stages[0]), [("a", "112")]);
    let urn = plan(&directory, &query(&a, "+49301999", "urn:service:SOS.fire"));
    assert!(urn.emergency);
    assert_eq!(carriers(&urn.stages[0]), [("a", "112")]);
    let other = query(&a, "1", "urn:service:sosx");
    assert_eq!(status(&directory.decide(&other).decision), 404);
}

#[test]
fn limits_of_the_caller_the_number_and_each_trunk_are_told() {
    let (directory, alice) = (directory(), alice());
    let plan = plan(&directory, &query(&alice, "alice", "+4915112"));
    let names: Vec<_> = plan.limits.iter().map(|limit| &*limit.name).collect();
    assert_eq!(names, ["prefix 49151", "user alice@example.test"]);
    let Destination::Carriers(carriers) = &plan.stages[0].destination else {
        unreachable!();
    };
    let a = carriers
        .iter()
        .find(|carrier| carrier.trunk.name == "a")
        .unwrap();
    assert_eq!(
        (&*a.limits[0].name, a.limits[0].calls),
        ("trunk a", Some(10))
    );
}

#[test]
fn a_caller_is_shown_as_each_trunk_wants_it() {
    let directory = directory();
    let request = |from: &str| {
        let text = format!(
            "INVITE sip:1@example.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n\
             From: {from};tag=1\r\nTo: <sip:1@example.test>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        sip::message::Message::parse(text.into()).unwrap()
    };
    let shown = |caller: &Caller, from: &str, trunk: &str| {
        let request = request(from);
        let query = Query {
            from: Presented::of(&request, caller),
            ..query(caller, "", "+494212345")
        };
        let plan = plan(&directory, &query);
        let Destination::Carriers(carriers) = &plan.stages[0].destination else {
            unreachable!();
        };
        let carrier = carriers
            .iter()
            .find(|carrier| carrier.trunk.name == trunk)
            .unwrap();
        let changed = carrier.edits.apply(&request).unwrap().unwrap_or(request);
        String::from_utf8(changed.as_bytes().to_vec()).unwrap()
    };
    let alice = alice();
    let text = shown(&alice, "<sip:alice@example.test>", "b");
    assert!(
        text.contains("From: <sip:+4930100@example.test>;tag=1"),
        "{text}"
    );
    assert!(
        text.contains("P-Asserted-Identity: <sip:+4930100@example.test>"),
        "{text}"
    );
    let text = shown(&alice, "<sip:alice@example.test>", "a");
    assert!(text.contains("From: <sip:030100@example.test>"), "{text}");
    assert!(!text.contains("Asserted"), "{text}");
    let text = shown(&alice, "<sip:anonymous@anonymous.invalid>", "b");
    assert!(text.contains("sip:anonymous@anonymous.invalid"), "{text}");
    assert!(
        text.contains("P-Asserted-Identity: <sip:+4930100@example.test>\r\nPrivacy: id"),
        "{text}"
    );
    let text = shown(&alice, "<sip:anonymous@anonymous.invalid>", "a");
    assert!(
        !text.contains("30100"),
        "an untrusted trunk learns nothing: {text}"
    );
    let c = trunk(&directory, "c");
    let text = shown(&c, "<sip:+4930555@pbx>", "b");
    assert!(
        text.contains("From: <sip:+4930100@pbx>"),
        "not one of ours: {text}"
    );
}

#[test]
fn a_trail_tells_every_step() {
    let (directory, alice) = (directory(), alice());
    let mut trail = Trail::kept();
    drop(directory.decide_aloud(&query(&alice, "alice", "04215551234"), &mut trail));
    let reasons = trail.into_reasons().join("\n");
    for part in [
        "user alice@example.test",
        "[numbering]: 04215551234 is +494215551234",
        "prefix '+49' is the longest",
        "by trunk b, cost 0.01",
        "numbers_out of trunk a: +494215551234 is 04215551234",
    ] {
        assert!(reasons.contains(part), "{part}:\n{reasons}");
    }
}

#[test]
fn what_is_known_of_a_trunk_is_handed_on() {
    let config = Config::parse(CONFIG, []).unwrap().config;
    let before = Directory::new(&config, None);
    let host = before.trunks()[0].host_refs().next().unwrap();
    let now = std::time::Instant::now();
    host.on_silence(now);
    let after = Directory::new(&config, Some(&before));
    assert!(after.trunks()[0].host_refs().next().unwrap().is_down(now));
    assert!(!after.trunks()[1].host_refs().next().unwrap().is_down(now));
    assert!(Arc::ptr_eq(&before.meters, &after.meters));
}

#[test]
fn a_call_is_the_tenants_who_pays_for_it() {
    let mut owners = Owners::new("default");
    owners.give_domain("Other.test", "acme");
    owners.give_number("+49 30100", "acme");
    owners.give_number("+4930105", "beta");
    let (unread, owned) = (directory(), directory().owned(owners));
    let owner = |query: &Query<'_>| owned.decide(query).tenant;
    let of = |caller: &Caller, called: &str| owner(&query(caller, "+49301", called));
    // A user's is the caller's, whoever is called and whatever comes of it.
    let bob = Caller::User(Aor::new("bob", "OTHER.test"));
    for called in ["+4930105", "+49151", "alice", "+4990", "nobody"] {
        assert_eq!(of(&bob, called).as_deref(), Some("acme"), "{called}");
        assert_eq!(of(&alice(), called).as_deref(), Some("default"), "{called}");
    }
    // A trunk's is whom it calls, as the trunk's numbers are read; the node's where that is nobody.
    let a = trunk(&owned, "a");
    for (called, tenant) in [
        ("004930100", Some("acme")),
        ("+4930100", Some("acme")),
        ("4930105", Some("beta")),
        ("+4930105", Some("beta")),
        // The node's, and leads to a user.
        ("100", Some("acme")),
        ("+4930102", None),
        ("+491511", None),
        ("+4990", None),
    ] {
        assert_eq!(of(&a, called).as_deref(), tenant, "{called}");
    }
    let named = |named: fn(Aor) -> Named, user: &str, called| {
        let named = named(Aor::new(user, "other.test"));
        owner(&Query {
            named,
            ..query(&a, "1", called)
        })
    };
    for kind in [Named::User, Named::Disabled, Named::Unknown] {
        assert_eq!(named(kind, "x", "x").as_deref(), Some("acme"));
    }
    assert_eq!(named(Named::User, "x", "+4930105").as_deref(), Some("beta"));
    // Of a number that is written with the domain, not who has the domain.
    assert_eq!(named(Named::Unknown, "+49151", "+49151"), None);
    // Nor whose number is written as somebody's elsewhere.
    for called in ["+4930105", "+4930100"] {
        let elsewhere = Query {
            named: Named::Elsewhere("sip.partner.test".to_owned()),
            ..query(&Caller::Node, "1", called)
        };
        assert_eq!(owner(&elsewhere), None, "{called}");
    }

    // A node that could not read its store shows nobody's calls to anybody.
    assert_eq!(unread.decide(&query(&bob, "1", "+4930100")).tenant, None);
}

#[test]
fn a_tenants_account_is_shown_as_the_tenants_numbers_alone() {
    let mut owners = Owners::new("default");
    owners.give_domain("other.test", "acme");
    owners.give_number("+4930100", "acme");
    owners.give_number("+4930105", "beta");
    let owned = directory().owned(owners);
    for (from, allowed) in [
        ("sip:+4930100@other.test", true),
        ("sip:4930100@other.test", true),
        ("sip:+49-30-100@x.test", true),
        ("sip:anna@other.test", true),
        ("sip:anna@OTHER.test:5070", true),
        ("sip:+4930105@other.test", false),
        ("sip:%2B4930105@other.test", false),
        ("sip:%2B49%2030105;x=y@other.test", false),
        ("sip:4930105@other.test", false),
        ("sip:004930105@other.test", false),
        ("sip:+4930110@other.test", false),
        // Somebody of another's, and nobody.
        ("sip:ceo@example.test", false),
        ("anna", false),
    ] {
        assert_eq!(owned.may_show(Some("acme"), from), allowed, "{from}");
        // Whoever runs the node may.
        assert!(owned.may_show(None, from) && owned.may_show(Some("default"), from));
    }
    let by = owned.caller_for("AC1", Some("acme"));
    assert!(matches!(by, Some(Caller::User(user)) if user.as_str() == "AC1@other.test"));
    assert!(owned.caller_for("AC1", Some("gamma")).is_none());
}
