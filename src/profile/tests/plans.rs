//! Profiles and the plans that they become.

use std::time::Duration;

use super::super::check::{self, Has, Needs};
use super::super::overrides::{OverrideOrigin, apply_in_order};
use super::super::{Document, Override, Purpose, compile, resolved, schema};
use super::{compiled, context};
use crate::condition::expect::When;
use crate::experiment::limit::LimitKind;
use crate::listener::limits::{self, Delay, Dialect};
use crate::load::{Curve, LoadModel, Spacing, Think};
use crate::mail::MessageSize;
use crate::plan::{Messages, OnSaturation, Plan, Unit};
use crate::smtp::Step;
use crate::smtp::script::{Hello, Pipelining, Timeouts};

/// The profile of the contract, with every key that the contract names.
pub(super) const CONTRACT: &str = r#"
schema = 1
name = "mx-rollout"
seed = 42
[target]
address = "smtp://127.0.0.1:2525"
tls = "none"
sources = ["127.0.0.2-127.0.0.51"]
proxy = "none"
[timeouts]
connect = "30s"
greeting = "5m"
command = "5m"
data = "2m"
body = "10m"
session = "1h"
[session]
hello = "ehlo"
name = "load.example"
messages = 1
pipelining = "auto"
chunking = "auto"
auth = { mechanism = "plain", user_env = "U", password_env = "P" }
think = "0s"
quit = "clean"
[message]
from = "load@sender.example"
to = "user{n}@recipient.example"
recipients = 1
size = "4KiB"
[[phase]]
name = "warm"
load = "constant-rate"
rate = "50/s"
for = "10s"
warmup = true
[[phase]]
name = "storm"
load = "constant-rate"
rate = "400/s"
for = "60s"
arrival = "poisson"
unit = "message"
max_sessions = 200
on_saturation = "queue"
graceful_stop = "30s"
[[expect]]
phase = "storm"
step = "greeting"
condition = "too-many-connections-from-host"
when = "sessions > 50"
[[assert]]
phase = "storm"
expr = "response p99 < 800ms"
[[assert]]
expr = "unexpected rate < 0.1%"
window = "30s"
abort = true
[limits]
too-many-connections-from-host = 50
too-many-messages-per-session = 10
message-size-exceeded = "20MiB"
[capacity]
by = "rate"
start = "20/s"
max = "5000/s"
width = "5%"
trial = "20s"
duration_sum = "60s"
confirm = "60s"
warmup = "10s"
cooldown_max = "60s"
deadline = "20m"
goals = [{ name = "strict", slo = "response p99 < 500ms", failures = "0%" }]
[listener]
style = "cisco"
max_connections = 300
max_connections_per_host = 50
max_messages_per_session = 10
delays = { greeting = "2ms", body = "5ms..40ms" }
"#;

/// Returns the contract's profile without `auth`: its target has no TLS, and the login would be sent in clear text.
fn supported() -> String {
    CONTRACT.lines().filter(|line| !line.starts_with("auth")).collect::<Vec<_>>().join("\n")
}

/// Returns the load of the only phase of a profile.
fn load(phase: &str) -> crate::plan::Phase {
    let text = format!("[target]\naddress = \"embedded\"\n[[phase]]\n{phase}\n");
    compiled(&text, &[]).unwrap_or_else(|e| panic!("{}", e.render(false))).plan.phases.remove(0)
}

pub(super) fn plan(rest: &str) -> Plan {
    let text = format!("[target]\naddress = \"embedded\"\n{rest}\n");
    compiled(&text, &[]).unwrap_or_else(|e| panic!("{}", e.render(false))).plan
}

#[test]
fn the_preview_names_the_files_to_which_certificates_are_written() {
    let text = "[target]\naddress = \"embedded\"\ntls = \"starttls\"\n[listener]\ncert_out = \"mx.pem\"\n\
                [receive]\naddress = [\"127.0.0.1:2600\"]\n\
                [receive.listener]\ntls = \"starttls\"\ncert_out = \"next.pem\"\n\
                [[phase]]\nload = \"burst\"\nsize = 1\nfor = \"1s\"\n";
    let compiled = compiled(text, &[]).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let mut out = Vec::new();
    check::preview(&compiled, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    for (path, name) in [("mx.pem", "embedded listener"), ("next.pem", "receiver")] {
        assert!(out.contains(&format!("writes    {path}: the certificate of the {name}\n")), "{out}");
    }
}

#[test]
fn sessions_whose_messages_would_have_the_numbers_of_another_phase_are_refused() {
    let profile = |messages: &str, load: &str| {
        let text = format!(
            "[target]\naddress = \"embedded\"\n[session]\nmessages = {messages}\n[[phase]]\nname = \"many\"\n{load}\n"
        );
        compiled(&text, &[]).map(|_| ()).map_err(|error| error.render(false))
    };
    let rate = "unit = \"session\"\nload = \"constant-rate\"\nrate = \"1000/s\"\nfor = \"1000s\"";
    let error = profile("{ min = 1, max = 1000000 }", rate).unwrap_err();
    assert!(error.contains("the sessions of phase `many`, of up to 1000000 messages each"), "{error}");
    assert!(error.contains("profile.toml:4") && error.contains("lower the most messages"), "{error}");
    assert_eq!(profile("{ min = 1, max = 999999 }", rate), Ok(()));
    assert_eq!(profile("4000000000", "load = \"constant-sessions\"\nsessions = 2\nfor = \"1000s\""), Ok(()));
}

#[test]
fn the_contracts_profile_parses_and_only_its_clear_text_is_refused() {
    let document = Document::parse("p", CONTRACT).unwrap();
    assert!(document.read().is_ok());
    let error = compile(&document, &context(Purpose::Run)).unwrap_err();
    assert!(error.faults()[0].message.contains("the login would go out in clear text"), "{error}");

    let compiled = compiled(&supported(), &[]).unwrap();
    let plan = &compiled.plan;
    assert_eq!((plan.name.as_str(), plan.seed, plan.threads), ("mx-rollout", 42, 2));
    assert_eq!(plan.script.timeouts, Timeouts::default());
    assert_eq!((plan.script.hello, plan.script.pipelining), (Hello::Ehlo, Pipelining::Auto));
    assert_eq!((&plan.messages, &plan.mail.size), (&Messages::Fixed(1), &MessageSize::Fixed(4096)));
    assert!(plan.phases[0].warmup && !plan.phases[1].warmup);
    let LoadModel::Rate { curve, spacing } = &plan.phases[1].load.model else { panic!("a rate") };
    assert_eq!((curve, *spacing), (&Curve::constant(400.0), Spacing::Poisson));
    assert_eq!((plan.phases[0].max_sessions, plan.phases[1].max_sessions), (1000, 200));
    assert_eq!((plan.expects[0].phase, plan.expects[0].when), (Some(1), When::SessionsAbove(50)));
    let own: Vec<_> = compiled.assertions.iter().filter(|one| !one.builtin).collect();
    let texts: Vec<&str> = own.iter().map(|one| one.expr.text.as_str()).collect();
    assert_eq!(texts, ["response p99 < 800ms", "unexpected rate < 0.1%"]);
    assert!(own[1].abort && own[1].window == Some(Duration::from_secs(30)));
    let limit = |name| compiled.limits[&LimitKind::of(name).unwrap()];
    assert_eq!(limit("too-many-connections-from-host"), 50);
    assert_eq!(limit("message-size-exceeded"), 20 << 20);
    assert_eq!((compiled.listener.style, compiled.listener.max_connections), (Dialect::Cisco, Some(300)));
    let body = Delay { min: Duration::from_millis(5), max: Duration::from_millis(40) };
    assert_eq!(compiled.listener.delays.body, body);
}

#[test]
fn every_load_model_becomes_its_curve() {
    let seconds = Duration::from_secs;
    let rate = |phase: &str| match load(phase).load.model {
        LoadModel::Rate { curve, .. } => curve.points,
        other => panic!("{other:?}"),
    };
    let sessions = |phase: &str| match load(phase).load.model {
        LoadModel::Sessions { curve, .. } => curve.points,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        rate("load = \"constant-arrival-rate\"\nrate = \"600/min\"\nfor = \"5s\""),
        [(seconds(0), 10.0)]
    );
    assert_eq!(
        rate("load = \"ramping-rate\"\nfrom = \"10/s\"\nto = \"50/s\"\nfor = \"5s\""),
        [(seconds(0), 10.0), (seconds(5), 50.0)]
    );
    let stages = load(
        "load = \"ramping-rate\"\nstages = [{ for = \"2s\", rate = \"9/s\" }, { for = \"3s\", rate = \"1/s\" }]",
    );
    assert_eq!(stages.load.length, Some(seconds(5)));
    assert_eq!(
        stages.load.model,
        LoadModel::Rate {
            curve: Curve { points: vec![(seconds(0), 0.0), (seconds(2), 9.0), (seconds(5), 1.0)] },
            spacing: Spacing::Uniform
        }
    );
    assert_eq!(sessions("load = \"constant-vus\"\nsessions = 7\nfor = \"5s\""), [(seconds(0), 7.0)]);
    assert_eq!(
        sessions("load = \"ramping-sessions\"\nto = 20\nfor = \"5s\""),
        [(seconds(0), 0.0), (seconds(5), 20.0)]
    );
    assert_eq!(
        rate("load = \"staircase\"\nfrom = \"10/s\"\nstep = \"5/s\"\nevery = \"2s\"\nsteps = 2"),
        [(seconds(0), 10.0), (seconds(2), 10.0), (seconds(2), 15.0), (seconds(4), 15.0)]
    );
    let stairs = load("load = \"staircase\"\nfrom = 10\nstep = 5\nevery = \"2s\"\nsteps = 3");
    assert_eq!((stairs.load.length, stairs.unit, stairs.max_sessions), (Some(seconds(6)), Unit::Session, 20));
    let shared = load("load = \"shared-messages\"\nmessages = \"20k\"\nsessions = 5");
    assert_eq!(shared.load.model, LoadModel::Shared { total: 20_000, sessions: 5, think: Think::default() });
    assert_eq!((shared.load.length, shared.unit, shared.max_sessions), (None, Unit::Message, 5));
    let burst = load("load = \"burst\"\nsize = 100\nevery = \"2s\"\nfor = \"6s\"\non_saturation = \"drop\"");
    assert_eq!(burst.load.model, LoadModel::Burst { size: 100, every: seconds(2) });
    assert_eq!((burst.unit, burst.on_saturation), (Unit::Message, OnSaturation::Drop));
    let held = load("load = \"held-sessions\"\nsessions = 80\nfor = \"3s\"\ngraceful_stop = \"1s\"");
    assert_eq!(held.load.model, LoadModel::Held { sessions: 80, rate: f64::INFINITY });
    assert_eq!(
        (held.unit, held.graceful_stop, held.model.as_str()),
        (Unit::Session, seconds(1), "held-sessions")
    );
}

#[test]
fn zero_messages_mean_what_the_unit_says() {
    let messages = |unit: &str| {
        plan(&format!("[session]\nmessages = 0\n[[phase]]\nload = \"constant-rate\"\nrate = \"1/s\"\nfor = \"1s\"\nunit = \"{unit}\""))
            .messages
    };
    assert_eq!(messages("message"), Messages::Unlimited);
    assert_eq!(messages("session"), Messages::Fixed(0));
}

#[test]
fn distributions_are_read_in_all_three_forms() {
    let phase = "[[phase]]\nload = \"constant-vus\"\nsessions = 1\nfor = \"1s\"";
    let plan = plan(&format!(
        "[session]\nmessages = [{{ value = 1, weight = 9 }}, {{ value = 10, weight = 1 }}]\nthink = \"1s..3s\"\n\
         [message]\nsize = {{ min = \"1KiB\", max = \"1MiB\" }}\n{phase}"
    ));
    assert_eq!(plan.messages, Messages::Weighted(vec![(1, 9.0), (10, 1.0)]));
    assert_eq!(plan.mail.size, MessageSize::Uniform { min: 1024, max: 1 << 20 });
    let think = Think { min: Duration::from_secs(1), max: Duration::from_secs(3) };
    assert_eq!(plan.phases[0].load.model, LoadModel::Sessions { curve: Curve::constant(1.0), think });
}

#[test]
fn assertions_that_are_built_in_can_be_removed() {
    let text = format!("{}\n[[assert]]\nexpr = \"shed  ==  0\"\nremove = true\n", supported());
    let left = compiled(&text, &[]).unwrap().assertions;
    assert!(left.iter().any(|one| one.expr.text == "accepted > 0" && one.builtin));
    assert!(left.iter().all(|one| !one.expr.text.contains("shed")));
}

#[test]
fn overrides_find_phases_by_name_and_number_and_the_last_wins() {
    let compiled = compiled(
        &supported(),
        &[
            "phase.storm.rate=200/s",
            "phase.0.rate=10/s",
            "session.messages=10",
            "message.size={ min = 1000, max = 2000 }",
            "phase.storm.rate=300/s",
            "assert.2.expr=rejected == 0",
            "name=other",
            "threads=4",
        ],
    )
    .unwrap();
    let plan = compiled.plan;
    let rates: Vec<_> = plan.phases.iter().map(|phase| phase.load.model.clone()).collect();
    assert!(matches!(&rates[0], LoadModel::Rate { curve, .. } if *curve == Curve::constant(10.0)));
    assert!(matches!(&rates[1], LoadModel::Rate { curve, .. } if *curve == Curve::constant(300.0)));
    assert_eq!((plan.messages, plan.name.as_str(), plan.threads), (Messages::Fixed(10), "other", 4));
    assert_eq!(plan.mail.size, MessageSize::Uniform { min: 1000, max: 2000 });
    assert_eq!(compiled.assertions.last().unwrap().expr.text, "rejected == 0");
}

#[test]
fn a_flag_outranks_the_environment_and_that_outranks_set() {
    let rate = |origin, rate| Override::for_key(origin, "--rate", "phase.storm.rate", rate);
    let mut document = Document::parse("p", &supported()).unwrap();
    let set = Override::set("phase.storm.rate=3/s").unwrap();
    apply_in_order(
        &mut document,
        [rate(OverrideOrigin::Flag, "1/s"), rate(OverrideOrigin::Environment, "2/s"), set],
    )
    .unwrap();
    assert_eq!(document.read().unwrap().phase()[1].rate.unwrap().to_string(), "1/s");

    let mut document = Document::parse("p", &supported()).unwrap();
    document.apply(rate(OverrideOrigin::Flag, "1")).unwrap();
    let shown = document.read().unwrap_err();
    assert_eq!(shown.faults()[0].place.as_ref().unwrap().origin, "command line");
    assert!(shown.render(false).contains("--rate 1"), "{}", shown.render(false));
}

#[test]
fn what_is_resolved_is_rendered_and_read_again() {
    let document = Document::parse("p", CONTRACT).unwrap();
    let filled = resolved::fill(document.read().unwrap(), 9, "p");
    let again = Document::parse("again", &resolved::render(&filled)).unwrap().read().unwrap();
    assert_eq!(again, filled);
    assert_eq!(resolved::fill(again, 1, "q"), filled, "nothing is left to fill in");

    let first = compiled(
        "[target]\naddress = \"embedded\"\n[[phase]]\nload = \"burst\"\nsize = 5\nfor = \"1s\"\n",
        &[],
    )
    .unwrap();
    assert_eq!((first.plan.seed, first.plan.name.as_str()), (7, "profile"));
    insta::assert_snapshot!(first.resolved);
}

#[test]
fn seeds_beyond_tomls_integers_are_texts() {
    let text = "[target]\naddress = \"embedded\"\n[[phase]]\nload = \"burst\"\nsize = 5\nfor = \"1s\"\n";
    let first = compiled(text, &["seed=\"18446744073709551615\""]).unwrap();
    assert_eq!(first.plan.seed, u64::MAX);
    assert_eq!(compiled(&first.resolved, &[]).unwrap().plan.seed, u64::MAX);
}

#[test]
fn a_listener_alone_needs_no_target_and_a_search_no_phase() {
    let listen =
        Document::parse("p", "[listener]\nmax_connections = 5\nconnection_rate = \"60/min\"\n").unwrap();
    let compiled = compile(&listen, &context(Purpose::Listen)).unwrap();
    assert_eq!(compiled.listener.max_connections, Some(5));
    assert_eq!(compiled.listener.connection_rate.map(|rate| (rate.per_second, rate.burst)), Some((1.0, 60)));
    assert!(compile(&listen, &context(Purpose::Search)).is_err());
    let search = Document::parse(
        "p",
        "[target]\naddress = \"smtp://127.0.0.1:25\"\n[limits]\nidle-timeout = \"5m\"\n",
    )
    .unwrap();
    let limits = compile(&search, &context(Purpose::Search)).unwrap().limits;
    assert_eq!(limits[&LimitKind::of("idle-timeout").unwrap()], 300_000);
}

#[test]
fn the_bounds_of_a_listener_are_those_of_the_profile() {
    let compiled = |text: &str| {
        let document = Document::parse("p", text).unwrap();
        compile(&document, &context(Purpose::Listen)).unwrap().listener
    };
    let bounds = compiled(
        "[listener]
unknown_recipients = [\"nobody*@*\"]
max_invalid_recipients = 5
max_session_bytes = \"10KiB\"
max_junk_commands = 20
step_timeouts = { greeting = \"1s\", hello = \"2s\", mail = \"3s\", rcpt = \"4s\", data = \"5s\", body = \"6s\" }
end_of_data = \"lenient\"
max_path_length = 256
error_delay = { after = 10, delay = \"1s\" }
unavailable_after = \"2s\"
unavailable_for = \"3s\"
greylist = \"4s\"
",
    );
    assert_eq!(bounds.unknown_recipients, limits::Patterns::parse(&["nobody*@*"]).unwrap());
    assert_eq!(bounds.max_invalid_recipients, Some(5));
    assert_eq!(bounds.max_session_bytes, Some(10 << 10));
    assert_eq!(bounds.max_junk_commands, Some(20));
    assert_eq!(bounds.error_delay, Some(limits::ErrorDelay { after: 10, delay: Duration::from_secs(1) }));
    assert_eq!(bounds.max_path_length, Some(256));
    let seconds = [bounds.unavailable_after, bounds.unavailable_for, bounds.greylist]
        .map(|time| time.map(|time| time.as_secs()));
    assert_eq!(seconds, [Some(2), Some(3), Some(4)]);
    assert_eq!(bounds.end_of_data, limits::EndOfData::Lenient);
    let steps = [Step::Greeting, Step::Hello, Step::Mail, Step::Rcpt, Step::Data, Step::Body, Step::Quit];
    assert_eq!(
        steps.map(|step| bounds.step_timeouts.after(step).map(|time| time.as_secs())),
        [Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), None]
    );
    let strict = compiled("[listener]\nend_of_data = \"strict\"\n");
    assert_eq!(
        (strict.end_of_data, limits::Limits::default().end_of_data),
        (limits::EndOfData::Strict, limits::EndOfData::Strict)
    );
    assert_eq!(compiled("[listener]\n"), limits::Limits::default());
}

#[test]
fn needs_count_sessions_connections_and_both_ends() {
    let needs = |text: &str| Needs::of(&plan(text));
    let held =
        needs("[session]\nmessages = 0\n[[phase]]\nload = \"held-sessions\"\nsessions = 250\nfor = \"9s\"");
    assert_eq!(
        (held.sessions_peak, held.descriptors, held.arrivals.clone()),
        (250, 250 * 2 + 64 + 2 * 4, vec![Some(250)])
    );
    let rate = needs(
        "[session]\nmessages = 10\n[[phase]]\nload = \"constant-rate\"\nrate = \"100/s\"\nfor = \"10m\"",
    );
    assert_eq!(
        (rate.sessions_peak, rate.ports, rate.duration),
        (1000, 100 * 60 / 10 + 400, Some(Duration::from_secs(600)))
    );
    let lacking = held.lacking(&Has { descriptors: Some(256), ports: None, memory: Some(1) });
    assert_eq!(lacking.len(), 2);
    assert!(lacking[0].starts_with("572 descriptors are needed and 256 allowed"), "{lacking:?}");
}

#[test]
fn the_json_schema_accepts_the_contracts_profile_and_not_a_slip() {
    let schema = serde_json::to_value(schema::json_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let as_json = |text: &str| serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&as_json(CONTRACT)).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    for bad in [
        "sed = 1",
        "[session]\nhello = \"hi\"",
        "[timeouts]\nconnect = 5",
        "[timeouts]\nconnect = \"5 parsecs\"",
    ] {
        assert!(!validator.is_valid(&as_json(bad)), "{bad}");
    }
    assert!(
        validator.is_valid(&as_json("[[phase]]\nload = \"constant-vus\"\nsessions = 5\nfor = \"1s\"")),
        "aliases are known"
    );
}

#[test]
fn an_expect_without_a_name_is_named_by_its_place_from_one() {
    let asking = |name: &str| {
        let text = format!(
            "[target]\naddress = \"embedded\"\n[[phase]]\nname = \"a\"\nload = \"constant-sessions\"\nsessions = 1\nfor = \"1s\"\n\
             [[expect]]\ncode = 421\n[[expect]]\nname = \"own\"\ncode = 452\n[[assert]]\nexpr = \"expect.{name} == 0\"\n"
        );
        compiled(&text, &[]).is_ok()
    };
    assert!(asking("1") && asking("own"));
    // The second expectation has a name, and there is no third. Numbers begin at 1, as in the verdict.
    assert!(!asking("0") && !asking("2") && !asking("3"));
}

#[test]
fn tls_is_what_key_and_address_say() {
    use crate::smtp::script;
    let of = |head: &str, listener: &str| {
        let phase = "[[phase]]\nload = \"constant-rate\"\nrate = \"1/s\"\nfor = \"1s\"\n";
        let compiled = compiled(&format!("[target]\n{head}\n{phase}{listener}"), &[]).unwrap();
        // The stored profile repeats the run.
        let again = super::compiled(&compiled.resolved, &[]).unwrap();
        assert_eq!(again.resolved, compiled.resolved);
        (compiled.plan.script.tls, compiled.listener.tls)
    };
    let embedded = "address = \"embedded\"\ntls = \"starttls\"";
    assert_eq!(
        of(embedded, ""),
        (script::TlsMode::Starttls, script::TlsMode::Starttls),
        "it speaks as its clients do"
    );
    let stripped = "[listener]\ntls = \"none\"\n";
    assert_eq!(
        of(embedded, stripped),
        (script::TlsMode::Starttls, script::TlsMode::None),
        "unless `tls` says otherwise"
    );
    let smtps = "address = \"smtps://127.0.0.1:465\"";
    assert_eq!(of(smtps, ""), (script::TlsMode::Implicit, script::TlsMode::None));
    let told = of(&format!("{smtps}\ntls = \"implicit\"\ntls_options = {{ verify = false }}"), "");
    assert_eq!(told.0, script::TlsMode::Implicit);
    assert_eq!(of("address = \"smtp://127.0.0.1:25\"", "").0, script::TlsMode::None);
}

#[test]
fn the_hash_of_the_load_does_not_depend_on_the_target() {
    const PHASE: &str = "[[phase]]\nload = \"shared-messages\"\nmessages = 9\nsessions = 2\n";
    let of = |target: &str, rest: &str| {
        compiled(&format!("schema = 1\nseed = 1\n[target]\n{target}\n{rest}\n{PHASE}"), &[])
            .unwrap()
            .load_sha256
    };
    let one = of("address = \"smtp://127.0.0.1:2525\"", "");
    assert_eq!(one, of("address = \"smtp://mx.example:25\"\nallow = [\"mx.example\"]", ""));
    assert_eq!(one, of("address = \"smtp+unix:/run/mx\"", ""));
    let others = [
        of("address = \"embedded\"", ""),
        of("address = \"lmtp://127.0.0.1:24\"", ""),
        of("address = \"smtps://127.0.0.1:465\"", ""),
        of("address = \"smtp://127.0.0.1:2525\"\ntls = \"starttls\"", ""),
        of("address = \"smtp://127.0.0.1:2525\"", "[message]\nsize = \"5KiB\""),
        of("address = \"smtp://127.0.0.1:2525\"", "[session]\npipelining = \"full\""),
    ];
    assert!(!others.contains(&one), "{one} {others:?}");
}
