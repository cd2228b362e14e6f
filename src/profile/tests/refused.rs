//! Each class of bad input, with exactly the text that the user sees.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::super::error::MOST_SHOWN;
use super::super::{Document, Override, Purpose, compile};
use super::{compiled, context};

const TARGET: &str = "[target]\naddress = \"embedded\"\n";
const PHASE: &str =
    "[[phase]]\nname = \"steady\"\nload = \"constant-rate\"\nrate = \"50/s\"\nfor = \"10s\"\n";

/// Returns what the user sees for each case. The text of a case follows a target and a phase.
fn seen(cases: &[(&str, &str)]) -> String {
    let mut seen = String::new();
    for (case, text) in cases {
        let error = compiled(&format!("{TARGET}{PHASE}{text}"), &[]).expect_err(case);
        writeln!(seen, "## {case}\n{}\n", error.render(false)).unwrap();
    }
    seen
}

/// Returns what the user sees for each case. The text of a case is the whole profile.
fn seen_alone(cases: &[(&str, &str)]) -> String {
    let mut seen = String::new();
    for (case, text) in cases {
        let error = compiled(text, &[]).expect_err(case);
        writeln!(seen, "## {case}\n{}\n", error.render(false)).unwrap();
    }
    seen
}

#[test]
fn what_is_no_profile() {
    let seen = seen_alone(&[
        ("TOML syntax", "[target\naddress = \"embedded\"\n"),
        ("a text without its end", "name = \"x\nseed = 1\n"),
        ("a unit without quotes", "[[phase]]\nfor = 10s\n"),
        ("a key given twice", "seed = 1\nseed = 2\n"),
        ("limits alone", "[target]\naddress = \"embedded\"\n[limits]\ntoo-many-recipients = 5\n"),
        ("nothing at all", ""),
        ("no target", "[[phase]]\nload = \"constant-rate\"\nrate = \"1/s\"\nfor = \"1s\"\n"),
        ("no phase", TARGET),
        ("another schema", "schema = 2\n"),
        ("a table where a list is", "[phase]\nload = \"constant-rate\"\n"),
        (
            "a target that is none",
            "[target]\naddress = \"http://127.0.0.1:25\"\n[[phase]]\nload = \"constant-rate\"\nrate = \"1/s\"\nfor = \"1s\"\n",
        ),
    ]);
    insta::assert_snapshot!(seen);
}

#[test]
fn unknown_keys_and_words() {
    let seen = seen(&[
        ("a slip in a key", "[session]\nmesages = 5\n"),
        ("a hyphen for an underscore", "max-sessions = 5\n"),
        ("a slip in a table", "[sesion]\nmessages = 5\n"),
        ("nothing near", "[session]\nxyzzy = 5\n"),
        ("a slip in a word", "[session]\nhello = \"ehl0\"\n"),
        ("a slip in an inline table", "[listener]\ndelays = { greating = \"2ms\" }\n"),
        ("a load model that is none", "[[phase]]\nload = \"constant\"\n"),
        ("a phase that is none", "[[assert]]\nphase = \"stedy\"\nexpr = \"shed == 0\"\n"),
        ("a condition that is none", "[[expect]]\ncondition = \"too-many-conections\"\n"),
        ("a step that is none", "[[expect]]\nstep = \"helo\"\n"),
        ("a limit that is none", "[limits]\ntoo-many-mesages-per-session = 10\n"),
        ("a limit without a threshold", "[limits]\nresource-low = 10\n"),
    ]);
    insta::assert_snapshot!(seen);
}

#[test]
fn values_of_the_wrong_kind() {
    let seen = seen(&[
        ("a duration without a unit", "graceful_stop = 30\n"),
        ("a duration in bytes", "graceful_stop = \"30KiB\"\n"),
        ("a negative duration", "graceful_stop = \"-3s\"\n"),
        ("a rate without a time", "connect_rate = 50\n"),
        ("a size that is none", "[message]\nsize = \"big\"\n"),
        ("a negative number", "[message]\nrecipients = -1\n"),
        ("a text for a truth", "warmup = \"yes\"\n"),
        ("a number for a text", "[session]\nname = 5\n"),
        ("a range the wrong way round", "[session]\nthink = \"3s..1s\"\n"),
        ("a distribution without its end", "[message]\nsize = { min = \"1KiB\" }\n"),
        ("a distribution the wrong way round", "[message]\nsize = { min = \"2KiB\", max = \"1KiB\" }\n"),
        ("weights without a sum", "[session]\nmessages = [{ value = 1, weight = 0 }]\n"),
        ("a slip in a weighted list", "[session]\nmessages = [{ value = 1, wieght = 1 }]\n"),
        ("a size for a count", "[limits]\ntoo-many-recipients = \"20MiB\"\n"),
        ("a percentage without its sign", "[capacity]\nwidth = \"5\"\n"),
        ("an address that is none", "[message]\nto = \"nobody\"\n"),
        ("a name that would break the line", "[session]\nname = \"a\\r\\nQUIT\"\n"),
        ("a time-out of nothing", "[timeouts]\ngreeting = 0\n"),
        ("a code that is none", "[[expect]]\ncode = 42\n"),
        ("a code beyond its type", "[[expect]]\ncode = 70000\n"),
        (
            "a regular expression that is none",
            "[[classify]]\npattern = \"(\"\ncondition = \"rate-limited\"\n",
        ),
        ("a forced reply that is none", "[listener]\nreplies = [{ step = \"mail\", reply = \"no\" }]\n"),
        ("a burst beyond all numbers", "[[phase]]\nload = \"burst\"\nsize = 5000000000000\nfor = \"1s\"\n"),
    ]);
    insta::assert_snapshot!(seen);
}

#[test]
fn phases_that_make_no_sense() {
    let alone = |body: &str| format!("{TARGET}[[phase]]\n{body}\n");
    let cases = [
        ("no load", "name = \"x\""),
        ("no rate", "load = \"constant-rate\"\nfor = \"1s\""),
        ("no length", "load = \"constant-rate\"\nrate = \"1/s\""),
        ("a length of nothing", "load = \"constant-rate\"\nrate = \"1/s\"\nfor = \"0s\""),
        ("a rate of nothing", "load = \"constant-rate\"\nrate = \"0/s\"\nfor = \"1s\""),
        ("a key of another model", "load = \"constant-rate\"\nrate = \"1/s\"\nfor = \"1s\"\nsessions = 5"),
        (
            "arrivals of sessions",
            "load = \"constant-vus\"\nsessions = 5\nfor = \"1s\"\narrival = \"poisson\"",
        ),
        ("no sessions to send", "load = \"constant-rate\"\nrate = \"1/s\"\nfor = \"1s\"\nmax_sessions = 0"),
        ("a ramp of both kinds", "load = \"ramping-rate\"\nfrom = 5\nto = \"9/s\"\nfor = \"1s\""),
        ("a ramp of the other kind", "load = \"ramping-sessions\"\nfrom = 5\nto = \"9/s\"\nfor = \"1s\""),
        ("a ramp to nowhere", "load = \"ramping-rate\"\nfrom = \"5/s\"\nfor = \"1s\""),
        (
            "a ramp with two ends",
            "load = \"ramping-rate\"\nto = \"5/s\"\nstages = [{ for = \"1s\", rate = \"1/s\" }]",
        ),
        ("a stage of the other kind", "load = \"ramping-rate\"\nstages = [{ for = \"1s\", sessions = 5 }]"),
        ("a stage without its length", "load = \"ramping-rate\"\nstages = [{ rate = \"1/s\" }]"),
        ("a staircase of no steps", "load = \"staircase\"\nfrom = 1\nstep = 1\nevery = \"1s\"\nsteps = 0"),
        ("held messages", "load = \"held-sessions\"\nsessions = 5\nfor = \"1s\"\nunit = \"message\""),
        (
            "arrivals open before they are due",
            "load = \"constant-sessions\"\nsessions = 5\nfor = \"1s\"\nopen_first = true",
        ),
        (
            "an open load behind a gate",
            "load = \"constant-rate\"\nrate = \"1/s\"\nfor = \"1s\"\nopen_first = true",
        ),
        ("too few arrivals", "load = \"constant-rate\"\nrate = \"1/h\"\nfor = \"1s\"\narrival = \"poisson\""),
        ("too many arrivals", "load = \"constant-rate\"\nrate = \"1000000k/s\"\nfor = \"1h\""),
        ("only a warm-up", "load = \"constant-rate\"\nrate = \"1/s\"\nfor = \"1s\"\nwarmup = true"),
        ("a name that is none", "name = \"a b\"\nload = \"constant-rate\"\nrate = \"1/s\"\nfor = \"1s\""),
    ]
    .map(|(case, body)| (case, alone(body)));
    let cases: Vec<(&str, &str)> = cases.iter().map(|(case, text)| (*case, text.as_str())).collect();
    let seen = seen_alone(&cases);
    insta::assert_snapshot!(seen);
}

#[test]
fn what_does_not_fit_together() {
    let seen = seen(&[
        ("two phases of one name", PHASE),
        (
            "an endless phase before another",
            "[[phase]]\nload = \"shared-messages\"\nmessages = 5\nsessions = 1\n[[phase]]\nload = \"burst\"\nsize = 1\nfor = \"1s\"\n",
        ),
        ("thinking of open loads", "[session]\nthink = \"1s\"\n"),
        ("no messages for a phase of messages", "[session]\nmessages = { min = 0, max = 2 }\n"),
        (
            "0 messages in two meanings",
            "[[phase]]\nload = \"held-sessions\"\nsessions = 1\nfor = \"1s\"\n[session]\nmessages = 0\n",
        ),
        ("an expectation of everything", "[[expect]]\nwhen = \"sessions > 50\"\n"),
        ("a condition on sessions that is none", "[[expect]]\nstep = \"mail\"\nwhen = \"sessions < 50\"\n"),
        ("an assertion of nothing", "[[assert]]\nabort = true\n"),
        ("an expression that is none", "[[assert]]\nexpr = \"respons p99 < 800ms\"\n"),
        ("an expression without its value", "[[assert]]\nexpr = \"response p99 <\"\n"),
        ("an expectation that is not there", "[[assert]]\nexpr = \"expect.storm count > 0\"\n"),
        ("a built-in assertion that is none", "[[assert]]\nexpr = \"rejected == 0\"\nremove = true\n"),
        ("a window too short to measure", "[[assert]]\nexpr = \"shed == 0\"\nwindow = \"10ms\"\n"),
        (
            "a goal that is none",
            "[capacity]\ngoals = [{ name = \"strict\", slo = \"response p99 > fast\" }]\n",
        ),
        ("a goal without an upper limit", "[capacity]\ngoals = [{ slo = \"response p99 > 500ms\" }]\n"),
        ("a goal of a mean", "[capacity]\ngoals = [{ slo = \"response mean < 500ms\" }]\n"),
        ("a goal of a step", "[capacity]\ngoals = [{ slo = \"step.body p99 < 500ms\" }]\n"),
        (
            "two goals of one name",
            "[capacity]\ngoals = [{ name = \"a\", slo = \"p99 < 1s\" }, { name = \"a\", slo = \"p99 < 2s\" }]\n",
        ),
        ("a search that begins with sessions", "[capacity]\nstart = 20\n"),
        (
            "a search for sessions that begins with a rate",
            "[capacity]\nby = \"sessions\"\nstart = \"20/s\"\n",
        ),
        ("a search that ends before it begins", "[capacity]\nstart = \"20/s\"\nmax = \"10/s\"\n"),
        ("a width that is none", "[capacity]\nwidth = \"0%\"\n"),
        ("less than one trial decides", "[capacity]\ntrial = \"20s\"\nduration_sum = \"10s\"\n"),
        ("a confirmation shorter than a trial", "[capacity]\nconfirm = \"5s\"\n"),
        ("the size of messages that are files", "[capacity]\nby = \"size\"\n[message]\ntext = \"one\"\n"),
        ("a rule for every reply", "[[classify]]\ncondition = \"rate-limited\"\n"),
        ("a reply that is no reply", "[[classify]]\ncode = 421\ncondition = \"connect-refused\"\n"),
        ("a burst without its rate", "[listener]\nmessage_burst = 5\n"),
        ("more often than 100%", "[listener]\nserver_error_rate = \"101%\"\n"),
    ]);
    insta::assert_snapshot!(seen);
}

#[test]
fn bounds_of_a_listener_that_cannot_be() {
    let seen = seen(&[
        ("nobody that is no address", "[listener]\nunknown_recipients = [\"a@b.example\", \"nobody\"]\n"),
        ("a limit of nobody", "[listener]\nmax_invalid_recipients = 5\n"),
        ("a path beyond the longest", "[listener]\nmax_path_length = 257\n"),
        ("an end of data that is none", "[listener]\nend_of_data = \"loose\"\n"),
        ("the end of an outage that never begins", "[listener]\nunavailable_for = \"5s\"\n"),
        ("a time-out of no state", "[listener]\nstep_timeouts = { quit = \"5s\" }\n"),
        ("a tarpit without its delay", "[listener]\nerror_delay = { after = 10 }\n"),
    ]);
    insta::assert_snapshot!(seen);
}

#[test]
fn tls_that_makes_no_sense() {
    let target = |address: &str, body: &str| format!("[target]\naddress = \"{address}\"\n{body}\n{PHASE}");
    let cases = [
        ("details without TLS", target("embedded", "tls_options = { verify = false }")),
        ("TLS said twice", target("smtps://127.0.0.1:465", "tls = \"starttls\"")),
        ("no such file", target("embedded", "tls = \"starttls\"\ntls_options = { ca = \"missing.pem\" }")),
        ("no PEM", target("embedded", "tls = \"starttls\"\ntls_options = { ca = \"Cargo.toml\" }")),
        ("half a pair", target("embedded", "tls = \"implicit\"\ntls_options = { client_cert = \"a.pem\" }")),
        (
            "the other half",
            target("embedded", "tls = \"implicit\"\ntls_options = { client_key = \"a.pem\" }"),
        ),
        ("a name that is none", target("embedded", "tls = \"implicit\"\ntls_options = { sni = \"a b\" }")),
        ("a host that is no name", target("smtps://m_x..example:465", "")),
        ("a socket without a name", target("smtp+unix:/run/smtp", "tls = \"starttls\"")),
        (
            "a version that is none",
            target("embedded", "tls = \"implicit\"\ntls_options = { min_version = \"1.1\" }"),
        ),
        ("a listener's key without TLS", format!("{TARGET}{PHASE}[listener]\ncert_out = \"x\"\n")),
        (
            "a refusal before TLS that does not come first",
            format!("{TARGET}{PHASE}[listener]\ntls = \"starttls\"\nrefuse_before_tls = true\n"),
        ),
    ];
    let cases: Vec<(&str, &str)> = cases.iter().map(|(case, text)| (*case, text.as_str())).collect();
    insta::assert_snapshot!(seen_alone(&cases));
}

#[test]
fn client_addresses_that_cannot_be_had() {
    let case = |address: &str, rest: &str, listener: &str| {
        format!("[target]\naddress = \"{address}\"\n{rest}\n{PHASE}\n[listener]\n{listener}\n")
    };
    let cases = [
        ("no address", case("embedded", "sources = [\"127.0.0.2\", \"localhost\"]", "")),
        ("a range that is none", case("embedded", "sources = [\"127.0.0.9-127.0.0.2\"]", "")),
        ("a block with bits of its hosts", case("embedded", "sources = [\"127.0.1.7/24\"]", "")),
        ("too many to bind", case("embedded", "sources = [\"127.0.0.0/8\"]", "")),
        ("too many to carry", case("embedded", "sources = [\"::/64\"]\nproxy = \"v2\"", "proxy = true")),
        ("the other family", case("smtp://[::1]:25", "sources = [\"127.0.0.2\"]", "")),
        ("the embedded listener's family", case("embedded", "sources = [\"::1\"]", "")),
        ("both carriers", case("embedded", "sources = [\"::1\"]\nproxy = \"v1\"\nxclient = true", "")),
        ("nothing to tell", case("embedded", "xclient = true", "")),
        ("sources of a unix socket", case("smtp+unix:/x", "sources = [\"127.0.0.2\"]", "")),
        (
            "a header on a unix socket",
            case("embedded", "proxy = \"v1\"", "address = \"unix:/x\"\nproxy = true"),
        ),
        ("a header that is not expected", case("embedded", "proxy = \"v1\"", "")),
        ("a listener's place", case("embedded", "", "address = \"localhost:25\"")),
        ("whom it trusts", case("embedded", "", "trusted = [\"127.0.0.1\", \"10.0.0.0/33\"]")),
    ];
    let cases: Vec<(&str, &str)> = cases.iter().map(|(case, text)| (*case, text.as_str())).collect();
    insta::assert_snapshot!(seen_alone(&cases));
}

#[test]
fn misbehaviour_that_makes_no_sense() {
    let session = |body: &str| format!("{TARGET}[session]\n{body}\n{PHASE}");
    let cases = [
        ("half a stall", "misbehave = { stall = { after = \"rcpt\" } }"),
        ("a stall after nothing", "misbehave = { stall = { after = \"quit\", for = \"1s\" } }"),
        ("a stall after no step", "misbehave = { stall = { after = \"rctp\", for = \"1s\" } }"),
        ("to hold a pool", "quit = \"hold\""),
    ]
    .map(|(case, body)| (case, session(body)));
    let cases: Vec<(&str, &str)> = cases.iter().map(|(case, text)| (*case, text.as_str())).collect();
    insta::assert_snapshot!(seen_alone(&cases));
}

#[test]
fn overrides_that_lead_nowhere() {
    let mut seen = String::new();
    for set in [
        "session.messages",
        "=5",
        "session.mesages=5",
        "phase.stedy.rate=5/s",
        "phase.7.rate=5/s",
        "phase.steady=5/s",
        "phase.steady.rate=5",
        "phase.steady.rate.per=5",
        "message.size=[1, 2",
        "assert.0.expr=respons p99 < 1s",
        "target.address=http://localhost",
    ] {
        let error = compiled(&format!("{TARGET}{PHASE}"), &[set]).expect_err(set);
        writeln!(seen, "## --set '{set}'\n{}\n", error.render(false)).unwrap();
    }
    insta::assert_snapshot!(seen);
}

/// Profiles with faults of many kinds: a key, a word, a unit, a type, a bound, incompatible keys, unknown names. Each
/// fault is shown once, in order of place. A fault that only follows from another one is not shown.
#[test]
fn all_faults_are_shown_in_order_of_place() {
    let seen = seen_alone(&[
        (
            "a misspelt key before a wrong unit",
            "[target]\naddress = \"embedded\"\ntsl = \"none\"\n[session]\nhello = \"ehl0\"\n[[phase]]\nload = \"constant-rate\"\n\
             rate = \"50/s\"\nfor = 30\n",
        ),
        (
            "six kinds",
            "seed = \"x\"\n[target]\naddress = \"127.0.0.1:x\"\n[timeouts]\ngreeting = 0\n[session]\nmesages = 5\n[[phase]]\n\
             load = \"constant-rate\"\nfor = \"1s\"\n[[expect]]\nstep = \"helo\"\n[listener]\nserver_error_rate = \"101%\"\n",
        ),
        (
            "elements of lists",
            "[target]\naddress = \"embedded\"\n[[phase]]\nname = \"a\"\nload = \"burst\"\nsize = 5\nfor = \"1s\"\nrate = \"1/s\"\n\
             [[phase]]\nname = \"b\"\nload = \"constant-rate\"\nfor = \"1s\"\n[[assert]]\nexpr = \"p99 < fast\"\n[[assert]]\n\
             phase = \"c\"\nexpr = \"p99 < 1s\"\n[[classify]]\ncode = 421\n[limits]\ntoo-many = 5\ntoo-many-recipients = \"5%\"\n",
        ),
        (
            "what follows from a fault is none",
            "[target]\nadress = \"embedded\"\n[session]\nmessages = [{ value = 1, wieght = 1 }]\n[[phase]]\nname = \"a b\"\n\
             load = \"constant-rate\"\nrte = \"50/s\"\nfor = \"1s\"\n[[assert]]\nphase = \"a b\"\nexpr = \"p99 < 1s\"\n",
        ),
        (
            "a section whose name is misspelt",
            "[traget]\naddress = \"embedded\"\n[[phase]]\nload = \"burst\"\nsize = 0\n",
        ),
    ]);
    insta::assert_snapshot!(seen);
    let sets = ["session.hello=ehl0", "timeouts.data=0s"];
    let text = format!("{TARGET}{PHASE}unit = \"mesage\"\n");
    let error = compiled(&text, &sets).unwrap_err();
    let places: Vec<&str> =
        error.faults().iter().map(|fault| &*fault.place.as_ref().unwrap().origin).collect();
    assert_eq!(places, ["profile.toml", "--set", "--set"], "the file first, then each override");
}

#[test]
fn more_faults_than_a_screen_holds_are_not_all_shown() {
    let text: String = (0..30).map(|n| format!("[[expect]]\ncode = {n}\n")).collect();
    let shown = compiled(&format!("{TARGET}{PHASE}{text}"), &[]).unwrap_err().render(false);
    assert_eq!(shown.matches("is no reply code").count(), MOST_SHOWN, "{shown}");
    assert!(shown.ends_with("There are more than 20 errors; correct these first."), "{shown}");
}

#[test]
fn an_error_in_one_line_names_file_line_and_column() {
    let error = compiled("[target]\naddress = \"embedded\"\ntsl = \"none\"\n", &[]).unwrap_err();
    assert_eq!(error.faults()[0].to_string(), "profile.toml:3:1: unknown key `tsl`; did you mean `tls`?");
}

/// Returns texts that are nearly a profile: its lines in any order, with pieces cut out.
fn nearly() -> impl Strategy<Value = String> {
    let whole = include_str!("../../../profiles/quickstart.toml").to_owned() + super::plans::CONTRACT;
    let lines: Vec<String> = whole.lines().map(str::to_owned).collect();
    proptest::collection::vec(
        (proptest::sample::select(lines), any::<proptest::sample::Index>(), any::<bool>()),
        0..40,
    )
    .prop_map(|lines| {
        let cut = |(line, at, cut): (String, proptest::sample::Index, bool)| match line
            .char_indices()
            .nth(at.index(line.len().max(1)))
        {
            Some((at, _)) if cut => line[..at].to_owned() + "\n",
            _ => line + "\n",
        };
        lines.into_iter().map(cut).collect()
    })
}

#[test]
fn extensions_that_cannot_be() {
    let seen = seen(&[
        ("a word that is none", "[session.extensions]\nsmtputf8 = \"yes\"\n"),
        ("an extension that is none", "[session.extensions]\nutf8 = \"auto\"\n"),
        ("binary without BDAT", "[session]\nchunking = \"off\"\nextensions = { binarymime = \"auto\" }\n"),
        ("a chunk of nothing", "[session]\nchunk_size = 0\n"),
        ("never and more", "[session.extensions.dsn]\nnotify = [\"never\", \"delay\"]\n"),
        ("no time to deliver by", "[session.extensions]\ndeliverby = { late = \"notify\" }\n"),
        ("half a second to deliver by", "[session.extensions]\ndeliverby = { within = \"500ms\" }\n"),
        ("required of HELO", "[session]\nhello = \"helo\"\nextensions = { 8bitmime = \"require\" }\n"),
        ("pipelining required of HELO", "[session]\nhello = \"helo\"\npipelining = \"require\"\n"),
        ("HELO to LMTP", "[session]\nhello = \"helo\"\n[listener]\nprotocol = \"lmtp\"\n"),
        ("an offer that is none", "[listener]\nextensions = [\"etrn\"]\n"),
        ("an aside that is none", "[session]\nbetween = [\"help\"]\n"),
    ]);
    insta::assert_snapshot!(seen);
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in "\\PC*", nearly in nearly(), set in "[a-z.0-9]{0,20}=?[a-z0-9/\\[\"]{0,8}") {
        for text in [text, nearly] {
            let purposes = [Purpose::Run, Purpose::Search, Purpose::Listen];
            if let Err(error) = Document::parse("p", &text) {
                prop_assert!(!error.render(true).is_empty());
                prop_assert!(error.faults().iter().all(|fault| fault.place.is_some()));
                continue;
            }
            let mut document = Document::parse("p", &text).unwrap();
            if let Err(error) = Override::set(&set).and_then(|set| document.apply(set)) {
                prop_assert!(!error.render(false).is_empty());
            }
            for purpose in purposes {
                if let Err(error) = compile(&document, &context(purpose)) {
                    prop_assert!(!error.render(false).is_empty() && !error.to_string().is_empty());
                }
            }
        }
    }
}

#[test]
fn the_built_in_assertions_of_a_relay_are_among_those_that_can_be_removed() {
    let profile = |receive: &str| {
        let target = "[target]\naddress = \"smtp://127.0.0.1:2525\"\n";
        let assert = "[[assert]]\nexpr = \"rejected == 0\"\nremove = true\n";
        compiled(&format!("{target}{PHASE}{receive}{assert}"), &[]).unwrap_err().render(false)
    };
    let all = profile("[receive]\naddress = [\"127.0.0.1:2526\"]\n");
    for expr in ["`shed == 0`", "`missing == 0`", "`delivery.unexpected == 0`"] {
        assert!(all.contains(expr), "{expr}: {all}");
    }
    let without = profile("");
    assert!(without.contains("`shed == 0`") && !without.contains("missing"), "{without}");
}

#[test]
fn an_assertion_on_a_warm_up_is_refused() {
    let warm =
        "[[phase]]\nname = \"warm\"\nload = \"constant-rate\"\nrate = \"5/s\"\nfor = \"1s\"\nwarmup = true\n";
    let assert = "[[assert]]\nphase = \"warm\"\nexpr = \"response p99 < 800ms\"\n";
    let error = compiled(&format!("{TARGET}{warm}{PHASE}{assert}"), &[]).expect_err("it is never judged");
    insta::assert_snapshot!(error.render(false));
    let other = assert.replace("warm", "steady");
    compiled(&format!("{TARGET}{warm}{PHASE}{other}"), &[]).expect("a measured phase is judged");
}
